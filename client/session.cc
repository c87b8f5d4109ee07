#include "client/session.h"

#include <fmt/format.h>

#include <algorithm>

#include "client/session_internal.h"
#include "common/base/chunk_hash.h"
#include "common/base/path.h"

namespace understudy::client {
namespace {

using namespace std::chrono_literals;

constexpr Duration kLocationLife = 1s;
// A name node that says nothing for so long is asked again over a new connection.
constexpr Duration kNameNodeSilence = 5s;
// A call not answered for so long: is that server still the acting primary?
constexpr Duration kLookAgain = 200ms;
constexpr uint32_t kHistoryPage = 500;
// A token is renewed when it holds no longer than this.
constexpr Duration kRenewBefore = 6h;
}  // namespace

Version version_of(const wire::VersionNumber& version) { return {Epoch{version.epoch()}, version.counter()}; }

wire::VersionNumber wire_version(Version version) {
  wire::VersionNumber number_;
  number_.set_epoch(number(version.epoch));
  number_.set_counter(version.counter);
  return number_;
}

Error refusal(Error error, const std::string& path, const wire::Location& location) {
  if (error.code == Code::kNotFound && location.newest_absent()) {
    return {Code::kUnavailable, printable(path) + ": its versions are only on the half of " + location.pair() +
                                    " that is away; they come back with it"};
  }
  std::string name = fmt::format("file {:016x}", location.file_id());
  if (size_t at = error.message.find(name); at != error.message.npos) {
    error.message.replace(at, name.size(), printable(path));
  }
  return error;
}

Session::Session(Env& env, SessionOptions options)
    : env_(env), options_(std::move(options)), links_(env, options_.user, options_.name_nodes), client_id_(env.random.next() | 1), dropping_(env.executor) {
  CHECK(!options_.name_nodes.empty());
  links_.on_authorities(options_.on_authorities);
  if (!options_.token.empty()) take_token(options_.token);
}

Session::~Session() = default;

Error Session::garbled() { return {Code::kInternal, "a server's answer could not be understood; are the versions alike?"}; }

wire::RequestNumber Session::next_request() {
  wire::RequestNumber request;
  request.set_client(client_id_);
  request.set_sequence(++sequence_);
  return request;
}

void Session::saw(uint64_t file_id, const wire::VersionNumber& version) {
  Version& newest = seen_[file_id];
  newest = std::max(newest, version_of(version));
}

Version Session::seen(uint64_t file_id) const {
  auto found = seen_.find(file_id);
  return found == seen_.end() ? Version{} : found->second;
}

// ---- The name node ---------------------------------------------------------------

Task<CallOutcome> Session::ask_name_node_once(uint16_t type, Bytes request, Duration timeout) {
  size_t asked = name_node_;
  auto outcome = co_await links_.call(options_.name_nodes[asked], {}, type, std::move(request), {}, timeout);
  if (!outcome.result && outcome.result.error().code == Code::kUnavailable && asked == name_node_) {
    name_node_ = (asked + 1) % options_.name_nodes.size();
  }
  co_return outcome;
}

wire::Right Session::FileCall::right() const {
  bool looks = type == wire::READ || type == wire::STAT || type == wire::HISTORY || type == wire::LIST_CHECKPOINTS;
  return looks ? wire::RIGHT_READ : wire::RIGHT_WRITE;
}

// ---- Who it speaks for -------------------------------------------------------------

void Session::take_token(const Bytes& token) {
  options_.token = token;
  links_.set_token(token);
  // Its text is in the open, behind the key's id and the MAC.
  constexpr size_t kSignatureSize = 4 + 32;
  wire::SessionToken session;
  renew_at_us_ = INT64_MAX;
  if (token.size() < kSignatureSize || !session.ParseFromString(token.substr(kSignatureSize))) return;
  renew_at_us_ = session.expires_us() - std::chrono::duration_cast<std::chrono::microseconds>(kRenewBefore).count();
}

Task<Status> Session::enter(wire::LoginRequest request) {
  auto asking = ask_name_node(wire::LOGIN, request.SerializeAsString(), Duration(0));
  auto answer = co_await asking;
  if (!answer) co_return std::unexpected(std::move(answer).error());
  wire::LoginReply reply;
  if (!reply.ParseFromString(answer->message)) co_return std::unexpected(garbled());
  options_.user = reply.user();
  take_token(reply.token());
  renew_at_us_ = env_.clock.wall().time_since_epoch().count() + reply.left_ms() * 1000 / 2;
  if (options_.keeper) options_.keeper->keep(reply.user(), reply.token());
  co_return Status{};
}

Task<Status> Session::login(std::string user, std::string password) {
  wire::LoginRequest request;
  request.set_user(user);
  request.set_password(password);
  auto entering = enter(std::move(request));
  CO_RETURN_IF_ERROR(co_await entering);
  options_.password = std::move(password);
  locations_.clear();  // They say what another might do.
  co_return Status{};
}

Task<Status> Session::logout(bool all) {
  options_.password.clear();
  wire::LogoutRequest request;
  request.set_all(all);
  auto leaving = change(wire::LOGOUT, request);
  auto left = co_await leaving;
  // One that is over already needs no ending.
  if (!left && (all || left.error().code != Code::kUnauthenticated)) co_return std::unexpected(std::move(left).error());
  options_.token.clear();
  links_.set_token({});
  renew_at_us_ = INT64_MAX;
  locations_.clear();
  if (options_.keeper) options_.keeper->forget(options_.user);
  co_return Status{};
}

// Before a token is over; a failure shows when it is.
Task<void> Session::renew() {
  struct Flag {
    bool& flag;
    ~Flag() { flag = false; }
  };
  entering_ = true;
  Flag until_done{entering_};
  wire::LoginRequest request;
  request.set_token(options_.token);
  auto entering = enter(std::move(request));
  auto entered = co_await entering;
  // Not at every call.
  if (!entered) renew_at_us_ = env_.clock.wall().time_since_epoch().count() + 60'000'000;
}

Task<Status> Session::set_password(std::string user, std::string old_password, std::string password) {
  if (user.empty()) user = options_.user;
  wire::SetPasswordRequest request;
  request.set_user(user);
  request.set_old_password(std::move(old_password));
  request.set_password(password);
  auto changing = change(wire::SET_PASSWORD, request);
  CO_RETURN_IF_ERROR(co_await changing);
  if (options_.keeper) options_.keeper->password_changed(user);
  if (user != options_.user) co_return Status{};
  // It ended the session too.
  auto entering = login(user, std::move(password));
  co_return co_await entering;
}

Task<Result<Reply>> Session::ask_name_node_as_user(uint16_t type, Bytes request, Duration patience) {
  if (!entering_ && env_.clock.wall().time_since_epoch().count() >= renew_at_us_) {
    auto renewing = renew();
    co_await renewing;
  }
  if (options_.token.empty() && !options_.password.empty()) {
    auto entering = login(options_.user, options_.password);
    CO_RETURN_IF_ERROR(co_await entering);
  }
  Bytes token = options_.token;
  auto asking = ask_name_node(type, request, patience);
  auto answer = co_await asking;
  bool refused = !answer && answer.error().code == Code::kUnauthenticated;
  if (!refused || options_.password.empty()) co_return answer;
  if (token == options_.token) {
    auto entering = login(options_.user, options_.password);
    CO_RETURN_IF_ERROR(co_await entering);
  }
  auto again = ask_name_node(type, std::move(request), patience);
  co_return co_await again;
}

Task<Result<Reply>> Session::ask_name_node(uint16_t type, Bytes request, Duration patience) {
  bool change = type == wire::CREATE_FOLDER || type == wire::CREATE_LINK || type == wire::REMOVE ||
                type == wire::MOVE || type == wire::SET_ATTRIBUTES || type == wire::SET_DURABILITY || type == wire::PROMOTE ||
                type == wire::MOVE_PRIMARY || type == wire::REPLACE || type == wire::UNDELETE ||
                (type >= wire::ADD_USER && type <= wire::REMOVE_USER && type != wire::RAISE_ACCESS && type != wire::LOGOUT && type != wire::LIST_USERS &&
                 type != wire::WHO_AM_I && type != wire::LIST_REQUESTS);
  Patience waiting(this, "", change);
  for (;;) {
    Duration attempt = std::min<Duration>(options_.timeout, kNameNodeSilence) + patience;
    Instant silent_at = env_.clock.now() + attempt;
    Address asked = options_.name_nodes[name_node_];
    auto outcome = co_await ask_name_node_once(type, request, attempt);
    if (outcome.result) co_return std::move(outcome.result);
    // A machine that lost its power says nothing, not even that it forgot the connection.
    if (env_.clock.now() >= silent_at) links_.hang_up(asked);
    Code code = outcome.result.error().code;
    if (!may_pass(code) || code == Code::kUnauthenticated) {
      co_return std::unexpected(waiting.because(std::move(outcome.result.error())));
    }
    if (outcome.sent) waiting.was_sent();
    auto going_on = waiting.again(std::move(outcome.result.error().message));
    if (!co_await going_on) co_return std::unexpected(waiting.error());
  }
}

Task<Result<wire::Location>> Session::look_up(std::string path, bool follow_link) {
  wire::LocateRequest request;
  request.set_path(path);
  request.set_follow_link(follow_link);
  auto asking = ask<wire::LocateReply>(wire::LOCATE, request.SerializeAsString());
  auto reply = co_await asking;
  if (!reply) co_return std::unexpected(std::move(reply).error());
  co_return std::move(*reply->mutable_location());
}

Task<Result<wire::Location>> Session::locate(std::string path, Create create, wire::RequestNumber request,
                                             wire::Right right) {
  if (create != wire::LocateRequest::EXCLUSIVE) {
    auto cached = locations_.find(path);
    bool good = cached != locations_.end() && env_.clock.now() < cached->second.until &&
                cached->second.location.right() >= static_cast<uint32_t>(right);
    if (good) co_return cached->second.location;
  }
  wire::LocateRequest question;
  question.set_path(path);
  question.set_create(create);
  question.set_follow_link(true);
  question.set_right(right);
  if (create != wire::LocateRequest::LOOK_UP) *question.mutable_request() = request;
  auto asking = ask<wire::LocateReply>(wire::LOCATE, question.SerializeAsString());
  auto reply = co_await asking;
  if (!reply) co_return std::unexpected(std::move(reply).error());
  const wire::Location& location = reply->location();
  if (location.kind() == wire::KIND_FOLDER) {
    co_return fail(Code::kIsFolder, printable(path) + " is a folder; name a file");
  }
  // A bound on memory; the cache is short-lived anyway.
  if (locations_.size() > 10'000) locations_.clear();
  Cached& cached = locations_[path];
  cached = {location, env_.clock.now() + kLocationLife};
  cached.location.clear_created();  // That was this asker.
  co_return location;
}

Task<bool> Session::has_moved(std::string path, wire::Location known) {
  wire::LocateRequest question;
  question.set_path(path);
  question.set_follow_link(true);
  auto outcome = co_await ask_name_node_once(wire::LOCATE, question.SerializeAsString(), 1s);
  wire::LocateReply reply;
  if (!outcome.result || !reply.ParseFromString(outcome.result->message)) co_return false;
  const wire::Location& now = reply.location();
  co_return now.file_id() != known.file_id() ||
      (now.epoch() != 0 && (now.epoch() != known.epoch() || now.primary().address() != known.primary().address()));
}

// ---- The acting primary ------------------------------------------------------------

Task<void> Session::deliver(Waiting* waiting, size_t slot, wire::Endpoint server, uint16_t type, Bytes message, Bytes body) {
  // The wait has no end of its own: whoever waits decides that.
  auto outcome = co_await links_.call(server.address(), server.server(), type, std::move(message), std::move(body), 24h);
  // These two say that nothing was begun there.
  const Code code = outcome.result ? Code{} : outcome.result.error().code;
  if (!outcome.result && (code == Code::kMoved || code == Code::kStaleEpoch)) outcome.sent = false;
  waiting->outcomes[slot].emplace(std::move(outcome));
  waiting->changed.notify_all();
}

Task<CallOutcome> Session::call_watched(std::string path, wire::Location location, uint16_t type, Bytes message,
                                        Bytes body) {
  Waiting waiting(env_);
  waiting.tasks.spawn(
      deliver(&waiting, 0, location.primary(), type, std::move(message), std::move(body)));
  Instant give_up = env_.clock.now() + options_.timeout;
  Instant look = env_.clock.now() + kLookAgain;
  while (!waiting.outcomes[0]) {
    co_await waiting.wait_until(look);
    if (waiting.outcomes[0] || env_.clock.now() < look) continue;
    if (env_.clock.now() >= give_up) {
      co_return CallOutcome{fail(Code::kUnavailable, location.primary().server() + " does not answer"), true};
    }
    bool moved = co_await has_moved(path, location);
    if (!waiting.outcomes[0] && moved) {
      co_return CallOutcome{fail(Code::kMoved, location.primary().server() + " is not acting primary any more"), true};
    }
    look = env_.clock.now() + kLookAgain;
  }
  co_return std::move(*waiting.outcomes[0]);
}

// A name that was made for a content that was refused goes again, unless somebody else
// gave it one meanwhile. It would go by itself, but late.
Task<void> Session::take_back(uint64_t file_id) {
  wire::RemoveRequest request;
  *request.mutable_request() = next_request();
  request.set_unborn_id(file_id);
  auto asking = ask_name_node_once(wire::REMOVE, request.SerializeAsString(), 2s);
  static_cast<void>(co_await asking);
}

Task<Result<Session::FileReply>> Session::on_primary(FileCall call) {
  Patience patience(this, printable(call.path), call.change);
  wire::RequestNumber create_request;
  if (call.create != wire::LocateRequest::LOOK_UP) create_request = next_request();
  bool looked_afresh = false;
  uint64_t made = 0;  // The file whose name this call made.
  for (;;) {
    bool from_cache = call.create != wire::LocateRequest::EXCLUSIVE && locations_.contains(call.path);
    auto locating = locate(call.path, call.create, create_request, call.right());
    auto located = co_await locating;
    if (!located) co_return std::unexpected(patience.not_reached(std::move(located).error()));
    wire::Location location = *std::move(located);
    // The name is made: from here on only where it is can change.
    if (location.created()) {
      call.create = wire::LocateRequest::LOOK_UP;
      made = location.file_id();
    }
    std::string reason = "no server of " + location.pair() + " takes writes now";
    if (location.epoch() != 0 && !location.primary().address().empty()) {
      auto outcome =
          co_await call_watched(call.path, location, call.type, call.message(location), call.body);
      if (outcome.result) co_return FileReply{std::move(*outcome.result), std::move(location)};
      Error& error = outcome.result.error();
      // What was known of the path may have been the mistake.
      bool stale_path = error.code == Code::kNotFound && from_cache && !looked_afresh;
      if (!may_pass(error.code) && !stale_path) {
        if (made != 0 && error.code != Code::kExists) co_await take_back(made);
        const bool denied = error.code == Code::kDenied;
        Error refused = refusal(std::move(error), call.path, location);
        co_return std::unexpected(denied ? patience.not_reached(std::move(refused)) : std::move(refused));
      }
      if (stale_path) looked_afresh = true;
      if (outcome.sent && error.code == Code::kUnavailable) patience.was_sent();
      if (outcome.sent && error.code == Code::kMoved) patience.was_sent();
      reason = std::move(error.message);
    }
    locations_.erase(call.path);
    auto going_on = patience.again(std::move(reason));
    if (!co_await going_on) co_return std::unexpected(patience.error());
  }
}

// A writer may ask for more than the folder says, never for less.
wire::Durability Session::durability_for(const wire::Location& location) const {
  return options_.sync ? wire::DURABILITY_SYNC : location.durability();
}

namespace {

// Reads promise nothing.
template <class Request>
void promise(Request* request, wire::Durability durability) {
  if constexpr (requires { request->set_durability(durability); }) request->set_durability(durability);
}

}  // namespace

template <class Request>
std::function<Bytes(const wire::Location&)> Session::for_location(Request request) {
  return [request, this](const wire::Location& location) {
    Request filled = request;
    promise(&filled, durability_for(location));
    filled.set_file_id(location.file_id());
    filled.set_epoch(location.epoch());
    if constexpr (requires { filled.mutable_capability(); }) filled.set_capability(location.capability());
    return filled.SerializeAsString();
  };
}

template <class ReplyMessage>
Task<Result<ReplyMessage>> Session::file_call(FileCall call) {
  auto calling = on_primary(std::move(call));
  auto answer = co_await calling;
  if (!answer) co_return std::unexpected(std::move(answer).error());
  ReplyMessage message;
  if (!message.ParseFromString(answer->reply.message)) co_return std::unexpected(garbled());
  if constexpr (requires { message.version(); }) saw(answer->location.file_id(), message.version());
  if constexpr (requires { message.set_file_id(0); }) message.set_file_id(answer->location.file_id());
  co_return message;
}

// ---- Files -------------------------------------------------------------------------

Task<Result<wire::VersionReply>> Session::create(std::string path) {
  wire::PutRequest request;
  *request.mutable_request() = next_request();
  request.set_exclusive(true);
  FileCall call{std::move(path), wire::LocateRequest::EXCLUSIVE, wire::PUT, for_location(request), {}, true};
  return file_call<wire::VersionReply>(std::move(call));
}

Task<Result<wire::VersionReply>> Session::put(std::string path, Bytes content, Attributes attributes) {
  CHECK(content.size() <= kChunkSizeMax);
  wire::PutRequest request;
  *request.mutable_request() = next_request();
  request.set_mode(attributes.mode);
  request.set_modified_us(attributes.modified_us);
  FileCall call{std::move(path), wire::LocateRequest::IF_MISSING, wire::PUT, for_location(request), std::move(content),
                true};
  return file_call<wire::VersionReply>(std::move(call));
}

Task<Result<wire::VersionReply>> Session::append(std::string path, Bytes content) {
  CHECK(content.size() <= kChunkSizeMax);
  wire::AppendRequest request;
  *request.mutable_request() = next_request();
  FileCall call{std::move(path), wire::LocateRequest::LOOK_UP, wire::APPEND, for_location(request), std::move(content),
                true};
  return file_call<wire::VersionReply>(std::move(call));
}

Task<Result<wire::StatReply>> Session::stat(std::string path, bool count_words) {
  wire::StatRequest request;
  request.set_count_words(count_words);
  FileCall call{std::move(path), wire::LocateRequest::LOOK_UP, wire::STAT, for_location(request), {}, false};
  return file_call<wire::StatReply>(std::move(call));
}

// ---- The past ------------------------------------------------------------------------

Task<Result<wire::VersionReply>> Session::undo(std::string path) {
  wire::UndoRequest request;
  *request.mutable_request() = next_request();
  FileCall call{std::move(path), wire::LocateRequest::LOOK_UP, wire::UNDO, for_location(request), {}, true};
  return file_call<wire::VersionReply>(std::move(call));
}

Task<Result<wire::VersionReply>> Session::checkpoint(std::string path, std::string tag) {
  wire::CheckpointRequest request;
  *request.mutable_request() = next_request();
  request.set_tag(std::move(tag));
  FileCall call{std::move(path), wire::LocateRequest::LOOK_UP, wire::CHECKPOINT, for_location(request), {}, true};
  return file_call<wire::VersionReply>(std::move(call));
}

Task<Result<wire::VersionReply>> Session::revert(std::string path, std::string tag) {
  wire::RevertRequest request;
  *request.mutable_request() = next_request();
  request.set_tag(std::move(tag));
  FileCall call{std::move(path), wire::LocateRequest::LOOK_UP, wire::REVERT, for_location(request), {}, true};
  return file_call<wire::VersionReply>(std::move(call));
}

Task<Result<wire::ListCheckpointsReply>> Session::checkpoints(std::string path, std::string tag) {
  wire::ListCheckpointsRequest request;
  request.set_tag(std::move(tag));
  FileCall call{std::move(path), wire::LocateRequest::LOOK_UP, wire::LIST_CHECKPOINTS, for_location(request), {}, false};
  return file_call<wire::ListCheckpointsReply>(std::move(call));
}

Task<Result<wire::HistoryReply>> Session::history(std::string path, Version before) {
  wire::HistoryRequest request;
  *request.mutable_before() = wire_version(before);
  request.set_limit(kHistoryPage);
  FileCall call{std::move(path), wire::LocateRequest::LOOK_UP, wire::HISTORY, for_location(request), {}, false};
  return file_call<wire::HistoryReply>(std::move(call));
}

// ---- Editing a sentence --------------------------------------------------------------

Task<Result<Session::Edit>> Session::edit_open(std::string path, uint64_t sentence, std::optional<Edit> before) {
  wire::EditOpenRequest request;
  request.set_sentence(sentence);
  if (before) {
    request.set_sentence(before->opened.sentence());
    *request.mutable_version() = before->opened.version();
    request.set_session(before->opened.session());
  }
  FileCall call{path, wire::LocateRequest::LOOK_UP, wire::EDIT_OPEN, for_location(request), {}, false};
  auto calling = on_primary(std::move(call));
  auto answer = co_await calling;
  if (!answer) co_return std::unexpected(std::move(answer).error());
  Edit edit;
  if (!edit.opened.ParseFromString(answer->reply.message)) co_return std::unexpected(garbled());
  edit.path = std::move(path);
  edit.location = std::move(answer->location);
  co_return edit;
}

Task<CallOutcome> Session::edit_insert(Edit edit, uint64_t word, Bytes content) {
  wire::EditInsertRequest request;
  request.set_session(edit.opened.session());
  request.set_word(word);
  request.set_content(std::move(content));
  return call_watched(edit.path, edit.location, wire::EDIT_INSERT, request.SerializeAsString(), {});
}

Task<CallOutcome> Session::edit_commit(Edit edit, wire::RequestNumber number) {
  wire::EditCommitRequest request;
  request.set_session(edit.opened.session());
  *request.mutable_request() = number;
  // The sentence was opened a while ago: what its folder says now counts, and the old capability may be over.
  auto locating = locate(edit.path, wire::LocateRequest::LOOK_UP, {}, wire::RIGHT_WRITE);
  auto located = co_await locating;
  if (!located && located.error().code == Code::kDenied) co_return CallOutcome{std::unexpected(located.error()), false};
  bool same = located && located->file_id() == edit.location.file_id() && located->epoch() == edit.location.epoch();
  Bytes message = for_location(request)(same ? *located : edit.location);
  auto outcome = co_await call_watched(edit.path, edit.location, wire::EDIT_COMMIT, std::move(message), {});
  wire::VersionReply reply;
  if (outcome.result && reply.ParseFromString(outcome.result->message)) {
    saw(edit.location.file_id(), reply.version());
    reply.set_file_id(edit.location.file_id());  // As in every answer about a version.
    outcome.result->message = reply.SerializeAsString();
  }
  co_return outcome;
}

Task<Result<wire::VersionReply>> Session::edit_committed(Edit edit, wire::RequestNumber number) {
  wire::EditCommitRequest request;
  request.set_session(edit.opened.session());
  *request.mutable_request() = number;
  FileCall call{edit.path, wire::LocateRequest::LOOK_UP, wire::EDIT_COMMIT, for_location(request), {}, true};
  return file_call<wire::VersionReply>(std::move(call));
}

Task<Status> Session::edit_abort(Edit edit) {
  wire::EditAbortRequest request;
  request.set_session(edit.opened.session());
  const wire::Endpoint& at = edit.location.primary();
  auto outcome = co_await links_.call(at.address(), at.server(), wire::EDIT_ABORT, request.SerializeAsString(), {}, 2s);
  // A server that is gone has dropped the edit too.
  if (!outcome.result && !may_pass(outcome.result.error().code)) {
    co_return std::unexpected(std::move(outcome.result.error()));
  }
  co_return Status{};
}

Task<void> Session::edit_drop_now(Edit edit) {
  auto aborting = edit_abort(std::move(edit));
  static_cast<void>(co_await aborting);
}

void Session::edit_drop(Edit edit) { dropping_.spawn(edit_drop_now(std::move(edit))); }

Task<bool> Session::edit_lost(Edit edit) { return links_.lost(edit.location.primary().address(), edit.opened.session()); }

}  // namespace understudy::client
