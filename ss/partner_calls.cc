#include "ss/partner_calls.h"

#include "common/base/log.h"
#include "common/wire/call.h"
#include "ss/wire_convert.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

constexpr Duration kFetchTimeout = 10s;
constexpr Duration kReportAgain = 1s;
constexpr size_t kEventsMax = 1000;
constexpr int kEventsInCall = 100;

}  // namespace

Task<Result<Reply>> PartnerCalls::fetch(wire::PartnerFetchRequest request) {
  request.set_server(state_->options.name);
  auto asking = link_->ask(wire::PARTNER_FETCH, request.SerializeAsString(), kFetchTimeout);
  co_return co_await asking;
}

Task<Result<Bytes>> PartnerCalls::chunk(FileId file, ChunkHash hash, Version version) {
  wire::PartnerFetchRequest request;
  auto* chunk = request.mutable_chunk();
  chunk->set_file_id(number(file));
  chunk->set_hash(Bytes(hash.view()));
  *chunk->mutable_version() = to_wire(version);
  chunk->set_for_repair(true);
  CO_ASSIGN_OR_RETURN(Reply reply, co_await fetch(std::move(request)));
  co_return std::move(reply.body);
}

Task<Result<wire::VersionRecord>> PartnerCalls::version(FileId file, Version parent, Version version) {
  wire::PartnerFetchRequest request;
  auto* item = request.mutable_versions()->add_items();
  item->set_file_id(number(file));
  *item->mutable_from() = to_wire(parent);
  *item->mutable_to() = to_wire(version);
  request.mutable_versions()->set_for_repair(true);
  CO_ASSIGN_OR_RETURN(Reply reply, co_await fetch(std::move(request)));
  CO_ASSIGN_OR_RETURN(auto answer, parse_message<wire::PartnerFetchReply>(reply.message));
  if (answer.versions().files_size() == 1) {
    for (auto& record : *answer.mutable_versions()->mutable_files(0)->mutable_versions()) {
      if (from_wire(record.version()) == version) co_return std::move(record);
    }
  }
  co_return fail(Code::kNotFound, "the partner does not have version " + version.to_string());
}

Task<Result<wire::NameRecord>> PartnerCalls::name(FileId object) {
  wire::PartnerFetchRequest request;
  request.set_name_of(number(object));
  CO_ASSIGN_OR_RETURN(Reply reply, co_await fetch(std::move(request)));
  CO_ASSIGN_OR_RETURN(auto answer, parse_message<wire::PartnerFetchReply>(reply.message));
  co_return std::move(*answer.mutable_name());
}

void PartnerCalls::report(wire::Event event) {
  log_warning(event.kind() + ": " + event.text());
  if (events_.size() >= kEventsMax) events_.pop_front();
  events_.push_back(std::move(event));
  reported_.notify_all();
}

Task<void> PartnerCalls::run() {
  while (true) {
    while (events_.empty()) {
      auto reported = reported_.wait();
      co_await reported;
    }
    wire::ReportDamageRequest request;
    request.set_server(state_->options.name);
    const auto count = std::min<size_t>(events_.size(), kEventsInCall);
    for (size_t i = 0; i < count; ++i) *request.add_events() = events_[i];
    auto asking = link_->ask(wire::REPORT_DAMAGE, request.SerializeAsString(), kFetchTimeout);
    auto told = co_await asking;
    if (told) {
      events_.erase(events_.begin(), events_.begin() + static_cast<long>(std::min(count, events_.size())));
    } else {
      auto pause = sleep_for(state_->env, kReportAgain);
      co_await pause;
    }
  }
}

}  // namespace understudy
