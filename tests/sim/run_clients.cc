#include "tests/sim/run_clients.h"

#include <cstdio>
#include <cstdlib>

#include "tests/sim/filled_files.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

constexpr int kOwnFiles = 3;
constexpr int kSharedFiles = 4;

bool outcome_unknown(const Error& error) { return error.message.find("outcome unknown") != std::string::npos; }

}  // namespace

RunClient::RunClient(Cluster& cluster, RunLedger* ledger, int number, SimRandom random)
    : ledger_(ledger),
      name_("client" + std::to_string(number)),
      folder_("/" + name_),
      random_(random),
      client_(cluster.client(name_)) {
  for (int i = 0; i < kOwnFiles; ++i) {
    own_.push_back(std::make_unique<Own>());
    own_.back()->path = fresh_path();
  }
}

bool RunClient::prepare() {
  for (const std::string& folder : {folder_, std::string("/shared")}) {
    wire::CreateFolderRequest request;
    request.set_path(folder);
    request.set_exist_ok(true);
    auto made = client_.await(client_.session().change(wire::CREATE_FOLDER, request), 60s);
    if (!made || !*made) return false;
  }
  return true;
}

void RunClient::begin() { client_.spawn(run()); }

std::string RunClient::fresh_path() { return folder_ + "/n" + std::to_string(names_++); }

Task<void> RunClient::run() {
  while (!stopping_) {
    bool shared = random_.one_in(3);
    Own* own = shared ? nullptr : own_[random_.below(kOwnFiles)].get();
    std::string path = shared ? "/shared/s" + std::to_string(random_.below(kSharedFiles)) : own->path;
    uint64_t what = random_.below(20);
    if (what < 6) {
      co_await write(path, own);
    } else if (what < 11) {
      co_await append(path, own);
    } else if (what < 18 || shared) {
      co_await read(path, own);
    } else if (what < 19) {
      co_await remove(own);
    } else {
      co_await move(own);
    }
    co_await sleep_for(client_.env(), random_.between(1ms, 60ms));
  }
  stopped_ = true;
}

void RunClient::tell(const std::string& what, const std::string& answer) {
  static const bool print = std::getenv("SIM_LOG") != nullptr;
  if (!print) return;
  double seconds = std::chrono::duration<double>(client_.world().now().time_since_epoch() - std::chrono::hours(1)).count();
  std::fprintf(stderr, "%12.6f %-12s %s: %s\n", seconds, name_.c_str(), what.c_str(), answer.c_str());
}

void RunClient::check_error(const std::string& what, const Error& error, const Own* own) {
  tell(what, error.to_string());
  bool fine = error.code == Code::kUnavailable || error.code == Code::kNotFound ||
              error.code == Code::kConflict || error.code == Code::kNoSpace;
  if (own != nullptr && own->state == Own::State::kPresent && error.code == Code::kNotFound) fine = false;
  if (!fine) ledger_->violated(name_ + " " + what + ": " + error.to_string());
}

void RunClient::note_write(Token token, const Result<wire::VersionReply>& reply, const std::string& what, Own* own) {
  if (reply) {
    tell(what, "write " + std::to_string(token) + " is version " + client::version_of(reply->version()).to_string());
    ledger_->end_write(token, RunLedger::Outcome::kAcknowledged, client::version_of(reply->version()));
    if (own == nullptr) return;
    own->state = Own::State::kPresent;
    own->makers = {token};
    return;
  }
  bool unknown = outcome_unknown(reply.error());
  check_error(what, reply.error(), own);
  ledger_->end_write(token, unknown ? RunLedger::Outcome::kUnknown : RunLedger::Outcome::kRefused, {});
  if (own == nullptr) return;
  if (unknown) own->makers.insert(token);
  // A name may have been made although nothing was written under it.
  if (own->state == Own::State::kAbsent) own->state = Own::State::kMaybe;
}

Task<void> RunClient::write(std::string path, Own* own) {
  Token token = ledger_->begin_write(path);
  uint64_t size = random_.below(2000);
  if (random_.one_in(12)) size = 70'000 + random_.below(60'000);
  if (random_.one_in(40)) size = 1'200'000;
  GivenSource source(put_content(token, size));
  auto reply = co_await client_.session().upload(path, &source, {});
  note_write(token, reply, "PUT " + path, own);
}

Task<void> RunClient::append(std::string path, Own* own) {
  Token token = ledger_->begin_write(path);
  auto reply = co_await client_.session().append(path, append_content(token));
  note_write(token, reply, "APPEND " + path, own);
}

Task<void> RunClient::read(std::string path, Own* own) {
  KeptSink kept;
  auto answer = co_await client_.session().download(path, {}, &kept);
  note_read(path, answer, kept.content, own);
}

void RunClient::note_read(const std::string& path, const Result<client::ReadAnswer>& answer, BytesView content,
                          const Own* own) {
  ++reads_;
  if (!answer) return check_error("READ " + path, answer.error(), own);
  auto tokens = ledger_->inspect(name_ + " READ " + path + " version " + answer->version.to_string(), content);
  if (!tokens || own == nullptr) return;
  if (own->state == Own::State::kAbsent) ledger_->violated(name_ + " READ " + path + ": it was deleted, and is there");
  if (tokens->empty() || !own->makers.contains(tokens->back())) {
    std::string expected;
    for (Token token : own->makers) expected += " " + std::to_string(token);
    ledger_->violated(name_ + " READ " + path + " version " + answer->version.to_string() + " from " + answer->server +
                      ": made by write " + (tokens->empty() ? "none" : std::to_string(tokens->back())) +
                      ", the newest one that this session knows is" + expected);
  }
}

void RunClient::abandon(Own* own) {
  own->path = fresh_path();
  own->state = Own::State::kAbsent;
  own->makers.clear();
}

Task<void> RunClient::remove(Own* own) {
  wire::RemoveRequest request;
  request.set_path(own->path);
  auto reply = co_await client_.session().change(wire::REMOVE, request);
  if (!reply) {
    check_error("DELETE " + own->path, reply.error(), own);
    // Begun, it may end at any time; what was really refused has not begun.
    if (reply.error().code == Code::kUnavailable) abandon(own);
    co_return;
  }
  tell("DELETE " + own->path, "done");
  own->state = Own::State::kAbsent;
  own->makers.clear();
}

Task<void> RunClient::move(Own* own) {
  std::string to = fresh_path();
  wire::MoveRequest request;
  request.set_from(own->path);
  request.set_to(to);
  auto reply = co_await client_.session().change(wire::MOVE, request);
  if (reply) {
    tell("MOVE " + own->path, "is " + to);
    own->path = to;
  } else {
    check_error("MOVE " + own->path, reply.error(), own);
    if (reply.error().code == Code::kUnavailable) abandon(own);
  }
}

void RunClient::check_own_files() {
  for (auto& own : own_) {
    KeptSink kept;
    auto answer = client_.await(client_.session().download(own->path, {}, &kept), 120s);
    if (!answer) {
      // Its task still uses `kept`.
      ledger_->violated(name_ + " READ " + own->path + ": no answer from the healed cluster");
      CHECK(answer.has_value());
      return;
    }
    if (!*answer && answer->error().code != Code::kNotFound) {
      ledger_->violated(name_ + " READ " + own->path + " in the healed cluster: " + answer->error().to_string());
      continue;
    }
    note_read(own->path, *answer, kept.content, own.get());
  }
}

}  // namespace understudy::sim
