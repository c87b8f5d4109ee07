// What clients asked of a cluster and what they were answered: all that the invariants
// (invariants.h) know of a run besides what the cluster holds in the end. The simulator's
// clients and those of the chaos test record it alike.
//
// Every write has a token of its own, and its bytes say so: a PUT's content begins anew
// with its token, an APPEND adds a line with its token, an edit a word. So a content tells
// which writes it is made of.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/base/types.h"

namespace understudy::sim {

using Token = uint64_t;

Bytes put_content(Token token, uint64_t size);
Bytes append_content(Token token);
// A text of four sentences, and the word that an edit puts into one of them.
Bytes document_content(Token token);
Bytes edit_word(Token token);
// The tokens: the PUT's first, appends in order, of a document the edits' in ascending
// order. Nothing if it is not the whole of what some writes made; an empty file is whole.
std::optional<std::vector<Token>> tokens_of(BytesView content);

struct Op {
  enum class Kind : uint8_t {
    kPut, kPutDocument, kAppend, kEdit, kUndo, kCheckpoint, kRevert, kRead, kDelete, kMove, kMakeFolder, kRemoveFolder,
    kLink, kUndelete, kGrant, kRevoke, kDurability,
  };
  enum class Outcome : uint8_t { kUnderWay, kDone, kRefused, kUnknown };

  size_t session = 0;
  Kind kind{};
  std::string path;
  std::string to;      // Of a MOVE; of a link, where it leads.
  std::string tag;     // Of a CHECKPOINT or REVERT; whom access is given, and which: "client3 W"; a durability.
  Token token = 0;     // Its place in the history, from 1.
  Instant begun{};
  Instant ended{};
  Outcome outcome = Outcome::kUnderWay;
  Code code = Code::kInternal;  // If it was not done.
  std::string error;
  bool may_come_again = false;  // Refused, but a copy of its bytes was sent later.
  FileId file = kNoFile;        // If it was done, of what has versions, or was deleted or brought back.
  Version version;
  Epoch epoch = kNoEpoch;       // That the acknowledgement names.
  bool sync = false;            // Acknowledged as durable on two machines.
  bool linearizable = false;    // Of a READ.
  std::string server;           // Who answered a READ.
  Bytes content;                // Of a READ, unless it was empty; dropped once inspected.
  std::optional<std::vector<Token>> tokens;  // Of a READ.
};
const char* name_of(Op::Kind kind);
bool makes_version(Op::Kind kind);
std::string to_string(const Op& op);

// What the run's scene says of it.
struct Setting {
  bool sync = false;                // The cluster's durability.
  std::set<size_t> sync_sessions;   // Those that ask for it with every write.
  std::set<size_t> guests;          // Sessions of users who have what they were given, and nothing else.
  bool calm = false;                // Nothing goes wrong: acting primaries are moved as planned, and that is all.
};

// A disk that was lost for good, or whose bytes rotted, with all that only it held.
struct Loss {
  std::string server;
  Instant at{};
  // What its other half held then: this must not be missing.
  std::vector<std::pair<FileId, Version>> survived;
  // Files whose announced version the other half did not hold: to be named.
  std::vector<FileId> announced_gone;
};

class History {
 public:
  Op& begin(size_t session, Op::Kind kind, std::string path, Instant now);
  void done(Token token, Instant now);
  void failed(Token token, const Error& error, Instant now);
  // What this session was refused may be asked for once more by a copy of its bytes.
  void refusals_are_open(size_t session);

  Op& op(Token token) { return ops_[token - 1]; }
  const Op& op(Token token) const { return ops_[token - 1]; }
  const std::vector<Op>& ops() const { return ops_; }
  size_t count(Op::Kind kind, Op::Outcome outcome) const;
  size_t writes(Op::Outcome outcome) const;

  std::vector<Loss> losses;
  Setting setting;

 private:
  std::vector<Op> ops_;
};

}  // namespace understudy::sim
