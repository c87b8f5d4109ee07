// What must hold of every run, whatever went wrong in it: docs/consistency.md's promises
// as checks of what clients were answered (History) and of what the healed cluster
// holds (FinalState). Nothing here knows how a run is made, or which faults it met.
//
// Each broken rule is a line "[rule] what". The rules:
//
//   content      A content is made of whole writes that were asked for, none of them twice, none refused.
//   one-content  One version of a file has one content, in every read and on both halves.
//   lost         What was acknowledged is there: in sync mode in the line of the current version, whatever machine
//                was lost; in async mode there, or set aside and told of in EVENTS; on a disk that was lost for
//                good only what its other half did not have, and each file whose announced version went is named.
//   once         In one line of versions a request stands once; a checkpoint's name is given once.
//   past         UNDO and REVERT have the content that they name, an APPEND or edit its parent's and one more.
//   session      A client's own files are as its answers said; no session sees time go backwards.
//   order        A linearizable read or acknowledged change of a file is of a version no older than what
//                was acknowledged or read before it began, a change of a newer one; no read is of a version that is
//                yet to be asked for. In sync mode there is no exception: with one-content and past, the history
//                of each file is linearizable. In async mode what EVENTS tells of is excepted.
//   gone         A file whose DELETE was acknowledged is neither read nor changed, until UNDELETE.
//   there        A name under which something was acknowledged is found, until it is deleted or moved: what
//                cannot be read now is UNAVAILABLE.
//   durability   Where sync was asked for (cluster, folder, session) no acknowledgement is of less.
//   access       Whoever was given no access, or had it taken away, gets nothing; whoever has it is not refused.
//   error        A refusal is one that the request can meet; planned moves alone make none.
//   epoch        An epoch has one holder, and a pair one live lease; nobody acknowledges under an epoch
//                when its pair has acknowledged under a later one, or for files of another pair.
//   begins       An epoch begins with every version that was acknowledged in sync mode, in the line of its file.
//   equal        Both halves of a pair hold the same versions in the same line.
//   left-behind  When all is done no lock, session, upload, job or hint is left, nothing half removed.
//   bounded      Queues never get longer than what there is to do, hints never larger than their budget.
//   ends         Every request is answered, the healed cluster gets in sync, and WAIT ends.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/wire/understudy.pb.h"
#include "tests/sim/run_history.h"

namespace understudy::sim {

class Violations {
 public:
  void add(const std::string& rule, const std::string& what);
  const std::vector<std::string>& all() const { return all_; }
  bool none() const { return all_.empty(); }

 private:
  std::vector<std::string> all_;
};

// What the healed cluster holds.
struct FinalState {
  struct Kept {
    Version parent;
    wire::ChangeKind kind = wire::CHANGE_NONE;
    RequestId request;
    Version undo_target;
    std::string tag;
    bool trimmed = false;          // Its content is gone by retention, or is not looked at.
    std::vector<Token> tokens;
  };
  struct File {
    bool deleted = false;
    Version head;
    uint64_t name_version = 0;
    std::vector<Version> line;     // Newest first; checkpoints and all.
    std::vector<Version> aside;
    bool whole_line = true;        // `line` reaches back to the first version.
  };
  struct Half {
    std::string server;
    std::string pair;
    std::map<FileId, File> files;
    std::map<std::pair<FileId, Version>, Kept> versions;
  };
  std::vector<Half> halves;
  std::vector<wire::Event> events;
  std::map<Epoch, std::string> holders;  // Whom somebody saw serving an epoch; not all are seen.
  // Folders and links that were removed: servers keep what they were told of them, new ones are not told.
  std::set<FileId> removed_names;
};

// To be called for each content that was read, where and when it was.
void check_content(const History& history, const std::string& where, const std::vector<Token>& tokens, Violations* violations);

// What answers tell: session, order, gone, there, durability, access, error, epoch.
void check_answers(const History& history, const FinalState& state, Violations* violations);
// What the cluster holds, against the answers: the other rules.
void check_state(const History& history, const FinalState& state, Violations* violations);

// Watches epochs and leases while a run goes on.
class EpochWatch {
 public:
  struct Half {
    std::string server;
    std::string pair;
    Epoch serving = kNoEpoch;
    bool lease_live = false;
  };
  // All halves at one instant. Gives those that serve an epoch for the first time.
  std::vector<std::string> look(const std::vector<Half>& halves, Violations* violations);
  const std::map<Epoch, std::string>& holders() const { return holders_; }

 private:
  std::map<Epoch, std::string> holders_;
};

}  // namespace understudy::sim
