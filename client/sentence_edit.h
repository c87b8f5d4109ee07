// One WRITE, from opening to ETIRW, that outlives the server it was begun at: what was
// typed is kept here, and when the server is lost the sentence is taken again from
// whoever serves now, if nobody changed it, and what was typed is put in once more.
//
// Call one at a time of open(), insert(), commit() and abort(); keep() beside them.
// Destroyed before commit() or abort(), it lets go of the sentence.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "client/session.h"

namespace understudy::client {

class SentenceEdit {
 public:
  struct Line {
    uint64_t word = 0;
    Bytes content;
  };

  // `tell` gets a line for the user whenever the sentence was taken again. All outlive it.
  SentenceEdit(Session* session, std::string path, uint64_t sentence, std::function<void(std::string)> tell);
  ~SentenceEdit();
  SentenceEdit(const SentenceEdit&) = delete;
  SentenceEdit& operator=(const SentenceEdit&) = delete;

  Task<Status> open();
  // Refused with OUT_OF_RANGE or INVALID the editing goes on; with anything else it is over: lost().
  Task<Result<wire::EditInsertReply>> insert(Line line);
  // Takes effect at most once, whatever was lost on the way.
  Task<Result<wire::VersionReply>> commit();
  Task<Status> abort();
  // Takes the sentence again as soon as its server is lost or hands its files over, while the user thinks. Until cancelled.
  Task<void> keep();

  const wire::EditOpenReply& opened() const { return edit_->opened; }
  bool lost() const { return error_.has_value(); }
  // What was put in so far.
  const std::vector<Line>& lines() const { return lines_; }

 private:
  class Turn;
  // handed_over: its server gave it up by itself.
  Task<Status> take_again(std::string reason, Session::Patience* patience, bool handed_over = false);
  Task<Status> replay();
  Error over(Error error);

  Session* session_;
  std::string path_;
  uint64_t sentence_;
  std::function<void(std::string)> tell_;
  std::optional<Session::Edit> edit_;  // While it is open.
  std::vector<Line> lines_;
  wire::RequestNumber request_;        // Of the commit.
  std::optional<Error> error_;
  Semaphore turn_;                     // keep() and the calls take turns.
};

}  // namespace understudy::client
