// Inside the client library: waiting, for session.cc and its siblings only.
#pragma once

#include <optional>
#include <string>

#include "client/session.h"
#include "common/env/sync.h"

namespace understudy::client {

// A storage server's refusals that another attempt, behind another look at the name
// node, may not meet. UNAUTHENTICATED there: what the name node gave out is not good any more.
inline bool may_pass(Code code) {
  return code == Code::kUnavailable || code == Code::kStaleEpoch || code == Code::kMoved || code == Code::kUnauthenticated;
}

// A storage server's refusal in the asker's words. Servers know a file by its id, the
// asker by its path; and a half that has no version of a file that the name node
// knows one of does not make it a missing file: its versions are on the other half.
Error refusal(Error error, const std::string& path, const wire::Location& location);

// How long to go on, and what to say in the end.
class Session::Patience {
 public:
  Patience(Session* session, std::string what, bool change)
      : session_(session), what_(std::move(what)), change_(change), until_(now() + session->options_.timeout) {}

  void progressed() { until_ = now() + session_->options_.timeout; }
  // The outcome of an attempt is not known: whoever answers later may not know of it either.
  void was_sent() { sent_ = true; }
  bool sent() const { return sent_; }
  // False once it is time to give up; waits a little before the next attempt.
  Task<bool> again(std::string reason) {
    reason_ = std::move(reason);
    Duration pause = backoff_.next();
    if (now() + pause > until_) co_return false;
    auto slept = sleep_for(session_->env_, pause);
    co_await slept;
    co_return true;
  }
  // What the name node's refusal means for all that was tried before.
  Error because(Error refusal) {
    // A full disk refuses before it is known whether the request was done before.
    bool blind = refusal.code == Code::kUnavailable || refusal.code == Code::kNoSpace;
    return blind ? unless_sent(std::move(refusal)) : refusal;
  }
  // A storage server, or the way to it, refuses. What was sent before may be done all the same, at a
  // server that is away and comes back with it.
  Error unless_sent(Error refusal) {
    if (!change_ || !sent_ || refusal.message.starts_with(kUnknown)) return refusal;
    reason_ = std::move(refusal.message);
    if (reason_.starts_with(what_ + ": ")) reason_.erase(0, what_.size() + 2);
    if (size_t advice = reason_.rfind("; "); advice != reason_.npos) reason_.resize(advice);
    return error();
  }
  Error error() const {
    std::string text = what_.empty() ? reason_ : what_ + ": " + reason_;
    if (change_ && sent_) {
      return {Code::kUnavailable, kUnknown + text + "; see whether it happened before you repeat it"};
    }
    return {Code::kUnavailable, text + (change_ ? "; nothing was changed, try again" : "; try again")};
  }

 private:
  static constexpr const char* kUnknown = "outcome unknown: ";
  Instant now() const { return session_->env_.clock.now(); }
  Session* session_;
  std::string what_;
  bool change_;
  bool sent_ = false;
  Instant until_;
  std::string reason_;
  Backoff backoff_;
};

struct Session::Waiting {
  explicit Waiting(Env& env) : env(env), changed(env.executor), tasks(env.executor) {}
  // A wake-up at `at` at the latest.
  Task<void> wait_until(Instant at) {
    struct Timer {
      Env& env;
      TimerId id;
      ~Timer() { env.clock.cancel(id); }
    };
    auto future = changed.wait();
    Notifier* wake = &changed;
    Timer timer{env, env.clock.schedule(at, [wake] { wake->notify_all(); })};
    co_await future;
  }

  Env& env;
  Notifier changed;
  std::optional<CallOutcome> outcomes[2];
  TaskGroup tasks;  // Last: its tasks use the rest.
};

}  // namespace understudy::client
