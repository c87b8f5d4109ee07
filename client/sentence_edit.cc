#include "client/sentence_edit.h"

#include "client/session_internal.h"
#include "common/base/path.h"

namespace understudy::client {
namespace {

// An answer about the line itself: the editing goes on.
bool of_the_line(Code code) { return code == Code::kOutOfRange || code == Code::kInvalid; }

}  // namespace

class SentenceEdit::Turn {
 public:
  explicit Turn(Semaphore* turn) : turn_(turn) {}
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() { turn_->release(1); }

 private:
  Semaphore* turn_;
};

SentenceEdit::SentenceEdit(Session* session, std::string path, uint64_t sentence,
                           std::function<void(std::string)> tell)
    : session_(session), path_(std::move(path)), sentence_(sentence), tell_(std::move(tell)),
      turn_(session->env().executor, 1) {}

SentenceEdit::~SentenceEdit() {
  if (edit_) session_->edit_drop(*std::move(edit_));
}

Task<Status> SentenceEdit::open() {
  auto opening = session_->edit_open(path_, sentence_, std::nullopt);
  CO_ASSIGN_OR_RETURN(edit_, co_await opening);
  co_return Status{};
}

Error SentenceEdit::over(Error error) {
  error_ = error;
  return error;
}

// Every line again, at the server that has the sentence now.
Task<Status> SentenceEdit::replay() {
  for (const Line& line : std::vector<Line>(lines_)) {
    auto outcome = co_await session_->edit_insert(*edit_, line.word, line.content);
    if (!outcome.result) co_return std::unexpected(std::move(outcome.result.error()));
  }
  co_return Status{};
}

// `reason`: why it is to be taken again. Refused, the editing is over.
Task<Status> SentenceEdit::take_again(std::string reason, Session::Patience* patience, bool handed_over) {
  const std::string before = edit_->location.primary().server();
  const uint64_t number_before = edit_->opened.sentence();
  for (;;) {
    auto going_on = patience->again(reason);
    if (!co_await going_on) co_return std::unexpected(over(patience->error()));
    auto opening = session_->edit_open(path_, sentence_, *edit_);
    auto again = co_await opening;
    if (!again) co_return std::unexpected(over(std::move(again).error()));
    edit_ = *std::move(again);
    auto replayed = co_await replay();
    if (replayed) break;
    if (!may_pass(replayed.error().code)) co_return std::unexpected(over(std::move(replayed).error()));
    reason = std::move(replayed).error().message;
  }
  const std::string& now = edit_->location.primary().server();
  const uint64_t number = edit_->opened.sentence();
 const std::string moved = now == before ? before + " gave its sentences up and serves again" : before + " has handed over to " + now;
  const std::string lost = now == before ? "the connection to " + before + " was lost and made again" : before + " was lost, " + now + " serves now";
  tell_((handed_over ? moved : lost) +
        ": nobody had changed your sentence, it is yours again with all you typed" +
        (number == number_before ? "" : ", as sentence " + std::to_string(number)));
  co_return Status{};
}

Task<Result<wire::EditInsertReply>> SentenceEdit::insert(Line line) {
  co_await turn_.acquire(1);
  Turn turn(&turn_);
  if (error_) co_return std::unexpected(*error_);
  Session::Patience patience(session_, printable(path_), false);
  for (;;) {
    auto outcome = co_await session_->edit_insert(*edit_, line.word, line.content);
    wire::EditInsertReply reply;
    if (outcome.result && !reply.ParseFromString(outcome.result->message)) outcome.result = std::unexpected(Session::garbled());
    if (outcome.result) {
      lines_.push_back(std::move(line));
      co_return reply;
    }
    Error error = std::move(outcome.result.error());
    if (of_the_line(error.code)) co_return std::unexpected(std::move(error));
    if (!may_pass(error.code)) co_return std::unexpected(over(std::move(error)));
    CO_RETURN_IF_ERROR(co_await take_again(std::move(error.message), &patience));
  }
}

Task<Result<wire::VersionReply>> SentenceEdit::commit() {
  co_await turn_.acquire(1);
  Turn turn(&turn_);
  if (error_) co_return std::unexpected(*error_);
  if (request_.client() == 0) request_ = session_->next_request();
  bool sent = false;
  Session::Patience patience(session_, printable(path_), true);
  for (;;) {
    auto outcome = co_await session_->edit_commit(*edit_, request_);
    if (outcome.result) {
      wire::VersionReply reply;
      if (!reply.ParseFromString(outcome.result->message)) co_return std::unexpected(over(Session::garbled()));
      edit_.reset();
      co_return reply;
    }
    Error error = std::move(outcome.result.error());
    if (!may_pass(error.code)) co_return std::unexpected(over(std::move(error)));
    if (outcome.sent) {
      sent = true;
      patience.was_sent();
      // It may have been committed: then whoever serves now has the answer.
      auto asking = session_->edit_committed(*edit_, request_);
      auto committed = co_await asking;
      if (committed) {
        edit_.reset();
        co_return committed;
      }
      if (committed.error().code != Code::kConflict) co_return std::unexpected(over(std::move(committed).error()));
    }
    auto taken = co_await take_again(std::move(error.message), &patience);
    if (taken) continue;
    if (!sent) co_return std::unexpected(std::move(taken).error());
    // The server that was lost may have committed it, and may come back with it.
    co_return std::unexpected(over({Code::kUnavailable, "outcome unknown: " + taken.error().message +
                                                            "; READ the file before you repeat it"}));
  }
}

Task<Status> SentenceEdit::abort() {
  co_await turn_.acquire(1);
  Turn turn(&turn_);
  if (!edit_ || error_) co_return Status{};
  Session::Edit edit = *std::exchange(edit_, std::nullopt);
  auto aborting = session_->edit_abort(std::move(edit));
  co_return co_await aborting;
}

Task<void> SentenceEdit::keep() {
  while (edit_ && !error_) {
    const uint64_t watched = edit_->opened.session();
    auto losing = session_->edit_lost(*edit_);
    const bool handed_over = co_await losing;
    co_await turn_.acquire(1);
    Turn turn(&turn_);
    if (!edit_ || error_ || edit_->opened.session() != watched) continue;
    Session::Patience patience(session_, printable(path_), false);
    auto taking = take_again(handed_over ? "its server handed over" : "its connection was lost", &patience, handed_over);
    auto taken = co_await taking;
    if (!taken) tell_("your sentence is lost (" + taken.error().message + "); what you typed is shown at your next line");
  }
}

}  // namespace understudy::client
