#include "ss/second_copies.h"

#include "common/wire/call.h"
#include "common/wire/durability.pb.h"
#include "common/wire/peer.h"
#include "ss/partner_link.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

// The name node answers sooner: it waits for the other half, or for its failure, no longer.
constexpr Duration kHoldTimeout = 30s;
// A silent other half is soon failed; the name node then keeps a hint.
constexpr Duration kDirectTimeout = 2s;

}  // namespace

void SecondCopies::learn(const wire::SecondCopy& route) {
  route_ = route;
  state_->partner = route.other().server();
}

Status SecondCopies::possible() const {
  if (name_node_ == nullptr) {
    // The lease decides how long.
    if (may_go_directly()) return {};
    return fail(Code::kUnavailable, "a write with durability sync needs the name node, and none answers");
  }
  if (!route_.refusal().empty()) {
    return fail(Code::kUnavailable, "durability sync cannot be had: " + route_.refusal());
  }
  return {};
}

Task<Result<SecondHolders::Answer>> SecondCopies::hold(Epoch epoch, std::vector<wire::VersionRecord> versions) {
  if (may_go_directly()) {
    auto answer = co_await directly(epoch, versions);
    // Out of reach from here: the name node may reach it, or knows that it failed.
    if (answer || answer.error().code != Code::kUnavailable || name_node_ == nullptr) co_return answer;
  }
  co_return co_await by_name_node(epoch, std::move(versions));
}

Task<Result<SecondHolders::Answer>> SecondCopies::directly(Epoch epoch, std::vector<wire::VersionRecord> versions) {
  wire::ApplyRequest apply;
  apply.set_epoch(number(epoch));
  apply.set_pair(state_->pair);
  for (auto& version : versions) {
    if (version.list_level() > 0) co_return fail(Code::kUnavailable, "a list of chunks in chunks goes through the name node");
    if (version.chunks_size() > 0 && version.inline_content().empty()) CO_RETURN_IF_ERROR(co_await send_chunks(version));
    *apply.add_items()->mutable_version() = std::move(version);
  }
  const wire::Endpoint other = route_.other();
  CO_ASSIGN_OR_RETURN(auto applied, co_await partner_->call<wire::ApplyReply>(other, wire::APPLY, std::move(apply), kDirectTimeout));
  Answer answer;
  answer.outcomes.assign(applied.outcomes().begin(), applied.outcomes().end());
  answer.holder = other.server();
  answer.other_half = true;
  for (const auto& outcome : answer.outcomes) {
    // What it refuses is for the name node to settle.
    if (outcome.outcome() == wire::ApplyOutcome::REFUSED) co_return fail(Code::kUnavailable, outcome.text());
  }
  co_return answer;
}

Task<Status> SecondCopies::send_chunks(wire::VersionRecord version) {
  const wire::Endpoint other = route_.other();
  wire::MissingChunksRequest ask;
  ask.set_file_id(version.file_id());
  *ask.mutable_have() = version.parent();
  *ask.mutable_source() = version.undo_target();
  for (const auto& chunk : version.chunks()) ask.add_hashes(chunk.hash());
  CO_ASSIGN_OR_RETURN(auto missing,
                      co_await partner_->call<wire::MissingChunksReply>(other, wire::MISSING_CHUNKS, std::move(ask), kDirectTimeout));
  for (uint32_t index : missing.missing()) {
    if (index >= static_cast<uint32_t>(version.chunks_size())) co_return fail(Code::kInternal, "chunk index");
    wire::FetchChunkRequest fetch;
    fetch.set_file_id(version.file_id());
    fetch.set_hash(version.chunks(static_cast<int>(index)).hash());
    *fetch.mutable_version() = version.version();
    wire::StoreChunkRequest store;
    store.set_file_id(version.file_id());
    store.set_hash(fetch.hash());
    CO_ASSIGN_OR_RETURN(Bytes content, co_await state_->store->fetch_chunk(std::move(fetch)));
    CO_RETURN_IF_ERROR(co_await partner_->call<wire::Done>(other, wire::STORE_CHUNK, std::move(store), kDirectTimeout, std::move(content)));
  }
  co_return Status{};
}

Task<Result<SecondHolders::Answer>> SecondCopies::by_name_node(Epoch epoch, std::vector<wire::VersionRecord> versions) {
  if (name_node_ == nullptr) co_return fail(Code::kUnavailable, "no name node answers");
  wire::ReplicateRequest request;
  request.set_server(state_->options.name);
  request.set_incarnation(incarnation_);
  request.set_epoch(number(epoch));
  for (auto& version : versions) *request.add_versions() = std::move(version);
  auto reply = co_await call<wire::ReplicateReply>(name_node_, wire::REPLICATE, request, kHoldTimeout);
  if (!reply) co_return std::unexpected(reply.error());
  Answer answer;
  answer.outcomes.assign(reply->outcomes().begin(), reply->outcomes().end());
  answer.holder = reply->holder();
  answer.other_half = !reply->hinted();
  co_return answer;
}

}  // namespace understudy
