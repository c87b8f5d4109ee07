#include "tests/sim/direct_calls.h"

#include "client/links.h"
#include "common/wire/call.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

constexpr Duration kTimeout = 5s;

// One call over a connection of its own.
Task<Result<Reply>> call_once(Env& env, Address address, uint16_t type, Bytes message, Bytes body) {
  client::Links links(env, "direct", {});
  auto outcome = co_await links.call(std::move(address), {}, type, std::move(message), std::move(body), kTimeout);
  co_return std::move(outcome.result);
}

}  // namespace

Result<wire::Location> DirectCalls::locate(SimClient& client, const std::string& path) {
  auto location = client.await(client.session().look_up(path, true), 60s);
  if (!location) return fail(Code::kUnavailable, "no answer");
  if (*location) locations_[path] = **location;
  return *std::move(location);
}

Result<std::string> DirectCalls::send(SimClient& client, const Address& address, const std::string& what,
                                      const std::string& path, const std::string& text) {
  auto known = locations_.find(path);
  if (known == locations_.end()) return fail(Code::kInvalid, "locate " + path + " first");
  const wire::Location& location = known->second;
  auto fill_in = [&](auto& request) {
    request.set_file_id(location.file_id());
    request.set_epoch(location.epoch());
    if constexpr (requires { request.set_durability(wire::DURABILITY_SYNC); }) {
      request.set_durability(client.session().options().sync ? wire::DURABILITY_SYNC : location.durability());
    }
    request.set_capability(location.capability());
    if constexpr (requires { request.mutable_request(); }) {
      request.mutable_request()->set_client(client_id_);
      request.mutable_request()->set_sequence(++sequence_);
    }
  };
  Call made;
  if (what == "PUT") {
    wire::PutRequest request;
    fill_in(request);
    last_change_ = made = {wire::PUT, request.SerializeAsString(), text};
  } else if (what == "APPEND") {
    wire::AppendRequest request;
    fill_in(request);
    last_change_ = made = {wire::APPEND, request.SerializeAsString(), text};
  } else if (what == "READ" || what == "READ-ANY") {
    wire::ReadRequest request;
    fill_in(request);
    if (what == "READ-ANY") request.set_epoch(0);
    request.set_length(1 << 20);
    made = {wire::READ, request.SerializeAsString(), {}};
  } else {
    return fail(Code::kInvalid, what + ": PUT, APPEND, READ or READ-ANY");
  }
  if (made.type != wire::READ) last_path_ = path;
  return call(client, address, made);
}

Result<std::string> DirectCalls::again(SimClient& client, const Address& address, bool newer_epoch) {
  Call repeat = last_change_;
  auto refresh = [&](auto request) {
    request.ParseFromString(repeat.message);
    request.set_epoch(locations_[last_path_].epoch());
    request.set_capability(locations_[last_path_].capability());
    repeat.message = request.SerializeAsString();
  };
  if (newer_epoch) repeat.type == wire::PUT ? refresh(wire::PutRequest()) : refresh(wire::AppendRequest());
  return call(client, address, repeat);
}

Result<std::string> DirectCalls::call(SimClient& client, const Address& address, const Call& call) {
  auto answer = client.await(call_once(client.env(), address, call.type, call.message, call.body), 60s);
  if (!answer) return fail(Code::kUnavailable, "no answer");
  ASSIGN_OR_RETURN(Reply reply, *std::move(answer));
  if (call.type == wire::READ) {
    ASSIGN_OR_RETURN(auto message, parse_message<wire::ReadReply>(reply.message));
    return reply.body + (message.linearizable() ? "" : "\n(not linearizable)");
  }
  ASSIGN_OR_RETURN(auto message, parse_message<wire::VersionReply>(reply.message));
  return "version " + std::to_string(message.version().epoch()) + "." + std::to_string(message.version().counter()) +
         ", " + std::to_string(message.size_bytes()) + " bytes";
}

}  // namespace understudy::sim
