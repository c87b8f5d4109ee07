// One client of a run: does its steps one after the other through the client library and
// writes into the history what it asked for and was answered. It checks nothing but
// that a content is of whole writes.
//
// Steps: put PATH SIZE, put-document PATH, append PATH, edit PATH SENTENCE [MS: how long it stays
// open, drop: for ever], undo PATH, checkpoint PATH TAG, revert PATH TAG, read PATH, delete PATH,
// undelete PATH, move PATH TO, link PATH TO, folder PATH, delete-folder PATH, grant PATH USER R|W,
// revoke PATH USER, durability FOLDER sync|async.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "client/session.h"
#include "tests/sim/invariants.h"
#include "tests/sim/run_script.h"

namespace understudy::sim {

// What all clients of a run share; it outlives them.
struct RunRecord {
  History history;
  Violations violations;
  std::function<Instant()> now;  // One clock for all of them.
  std::function<void(const std::string& who, const std::string& what)> tell = [](auto&, auto&) {};
  bool stopping = false;         // Clients end after the step that they are at.
};

class RunClient {
 public:
  // All outlive its tasks.
  RunClient(Env& env, client::Session* session, RunRecord* record, size_t number)
      : env_(env), session_(session), record_(record), number_(number) {}

  // The folders that steps use; false if they cannot be made.
  Task<bool> prepare();
  Task<void> run(std::vector<Step> steps);
  Task<void> read_all(std::vector<std::string> paths);
  bool ended() const { return ended_; }

 private:
  Task<void> perform(std::vector<std::string> words);
  Task<void> write(Op::Kind kind, std::string path, uint64_t size);
  Task<void> edit(std::string path, uint64_t sentence, std::string open_for);
  Task<void> go_back(Op::Kind kind, std::string path, std::string tag);
  Task<void> read(std::string path);
  Task<void> change_names(Op::Kind kind, std::string path, std::string to);
  Task<void> change_setting(Op::Kind kind, std::string path, std::string whom, std::string what);
  Token begin(Op::Kind kind, const std::string& path);
  void note(Token token, const Result<wire::VersionReply>& reply);
  void end(Token token, const Status& status);

  Env& env_;
  client::Session* session_;
  RunRecord* record_;
  size_t number_;
  bool ended_ = false;
};

// "move PAIR", "hand-back PAIR" or "drain SERVER", as an operator says it; whatever comes of it.
Task<void> move_primary(client::Session* session, std::vector<std::string> words);

}  // namespace understudy::sim
