#include "tests/sim/invariants.h"

#include <algorithm>
#include <set>

namespace understudy::sim {
namespace {

constexpr size_t kViolationsMax = 20;

std::string name_of(FileId file, Version version) {
  return "file " + std::to_string(number(file)) + " version " + version.to_string();
}

std::string list_of(const std::vector<Token>& tokens) {
  std::string text;
  for (Token token : tokens) text += (text.empty() ? "" : " ") + std::to_string(token);
  return "[" + text + "]";
}

using FileVersion = std::pair<FileId, Version>;

// What EVENTS tells of versions that are not in a line, or are gone.
struct Told {
  explicit Told(const FinalState& state) {
    for (const auto& event : state.events) {
      FileVersion version{FileId{event.file_id()}, {Epoch{event.version().epoch()}, event.version().counter()}};
      if (event.kind() == "divergent" || event.kind() == "rescued") aside.insert(version);
      if (event.kind() == "lost") lost.insert(version.first);
    }
  }
  std::set<FileVersion> aside;
  std::set<FileId> lost;
};

// ---- What one client knows of the names that nobody else uses ----------------------

class OwnNames {
 public:
  OwnNames(const History& history, size_t session, Violations* violations)
      : history_(history), session_(session), violations_(violations) {}

  void run() {
    for (const Op& op : history_.ops()) {
      if (op.session == session_ && op.outcome != Op::Outcome::kUnderWay && is_own(op.path)) step(op);
    }
  }

 private:
  struct Name {
    enum class State : uint8_t { kAbsent, kPresent, kMaybe } state = State::kAbsent;
    bool doomed = false;         // Something was begun that may end at any time: nothing is known.
    std::set<Token> makers;      // Whose content a read may find.
    std::set<Token> ever;        // Whose content UNDO may bring back.
    std::map<std::string, std::set<Token>> tags;
  };

  bool is_own(const std::string& path) const { return path.starts_with("/c" + std::to_string(session_) + "/"); }
  void violated(const Op& op, const std::string& what) { violations_->add("session", to_string(op) + ": " + what); }

  void step(const Op& op) {
    if (op.kind == Op::Kind::kMakeFolder) return;
    if (op.kind == Op::Kind::kRemoveFolder) return removed_folder(op);
    if (std::ranges::any_of(doomed_folders_, [&](auto& folder) { return op.path.starts_with(folder); })) return;
    Name& name = names_[op.path];
    name.doomed |= op.may_come_again;
    if (name.doomed) {
      if (op.kind == Op::Kind::kMove) names_[op.to].doomed = true;
      return;
    }
    bool done = op.outcome == Op::Outcome::kDone;
    if (!done && op.code == Code::kNotFound && name.state == Name::State::kPresent && op.kind != Op::Kind::kRevert) {
      violated(op, "it was there");
    }
    switch (op.kind) {
      case Op::Kind::kPut:
      case Op::Kind::kPutDocument:
      case Op::Kind::kAppend:
      case Op::Kind::kEdit: return wrote(op, name);
      case Op::Kind::kRead: return read(op, name);
      case Op::Kind::kUndo:
      case Op::Kind::kRevert: return went_back(op, name);
      case Op::Kind::kCheckpoint:
        if (op.outcome != Op::Outcome::kRefused) name.tags[op.tag] = name.makers;
        if (op.code == Code::kExists && !done) violated(op, "nobody else gave that name");
        return;
      case Op::Kind::kDelete:
        if (done) {
          name = {};
        } else if (may_end_later(op)) {
          name.doomed = true;
        }
        return;
      case Op::Kind::kMove:
        if (done) {
          names_[op.to] = std::exchange(name, {});
        } else if (may_end_later(op)) {
          name.doomed = names_[op.to].doomed = true;
        }
        return;
      case Op::Kind::kMakeFolder:
      case Op::Kind::kRemoveFolder: return;
    }
  }

  void removed_folder(const Op& op) {
    bool done = op.outcome == Op::Outcome::kDone;
    if (op.may_come_again || (!done && may_end_later(op))) doomed_folders_.insert(op.path + "/");
    for (auto& [path, inside] : names_) {
      if (done && path.starts_with(op.path + "/")) inside = {};
    }
  }

  static bool may_end_later(const Op& op) {
    return op.outcome == Op::Outcome::kUnknown || op.code == Code::kUnavailable;
  }

  void wrote(const Op& op, Name& name) {
    if (op.outcome == Op::Outcome::kDone) {
      name.state = Name::State::kPresent;
      name.makers = {op.token};
    } else {
      if (op.outcome == Op::Outcome::kUnknown) name.makers.insert(op.token);
      // A name may have been made although nothing was written under it.
      if (name.state == Name::State::kAbsent) name.state = Name::State::kMaybe;
    }
    if (op.outcome != Op::Outcome::kRefused) name.ever.insert(op.token);
  }

  void went_back(const Op& op, Name& name) {
    if (op.outcome == Op::Outcome::kRefused) return;
    if (op.kind == Op::Kind::kUndo) {
      name.makers = name.ever;
    } else if (op.outcome == Op::Outcome::kDone) {
      name.makers = name.tags[op.tag];
    } else {
      name.makers.insert(name.tags[op.tag].begin(), name.tags[op.tag].end());
    }
    // What an UNDO goes behind may have been empty.
    name.ever.insert(name.makers.begin(), name.makers.end());
  }

  void read(const Op& op, const Name& name) {
    if (op.outcome != Op::Outcome::kDone || !op.tokens) return;
    if (name.state == Name::State::kAbsent) return violated(op, "it was deleted, or never made, and is there");
    Token maker = op.tokens->empty() ? 0 : op.tokens->back();
    if (!name.makers.contains(maker)) {
      std::vector<Token> expected(name.makers.begin(), name.makers.end());
      violated(op, "made by write " + std::to_string(maker) + ", this session knows of " + list_of(expected));
    }
  }

  const History& history_;
  size_t session_;
  Violations* violations_;
  std::map<std::string, Name> names_;
  std::set<std::string> doomed_folders_;  // Their removal may end at any time.
};

// ---- Errors ------------------------------------------------------------------------

void check_errors(const History& history, Violations* violations) {
  for (const Op& op : history.ops()) {
    if (op.outcome != Op::Outcome::kRefused && op.outcome != Op::Outcome::kUnknown) continue;
    bool fine = op.code == Code::kUnavailable || op.code == Code::kNotFound || op.code == Code::kNoSpace;
    switch (op.kind) {
      case Op::Kind::kPut:
      case Op::Kind::kPutDocument:
      case Op::Kind::kAppend:
      case Op::Kind::kDelete:
      case Op::Kind::kRevert: fine |= op.code == Code::kLocked || op.code == Code::kConflict; break;
      case Op::Kind::kEdit: fine |= op.code == Code::kLocked || op.code == Code::kConflict || op.code == Code::kOutOfRange; break;
      case Op::Kind::kUndo: fine |= op.code == Code::kLocked || op.code == Code::kConflict; break;
      case Op::Kind::kCheckpoint:
      case Op::Kind::kMakeFolder: fine |= op.code == Code::kExists; break;
      case Op::Kind::kMove: fine |= op.code == Code::kExists || op.code == Code::kConflict; break;
      case Op::Kind::kRemoveFolder: fine |= op.code == Code::kNotEmpty; break;
      case Op::Kind::kRead: fine |= op.code == Code::kConflict; break;
    }
    if (!fine) violations->add("error", to_string(op));
  }
}

// What was under way or done when a disk was lost, and not on its other half.
bool may_be_gone(const History& history, const Op& op) {
  return std::ranges::any_of(history.losses, [&](const Loss& loss) {
    return op.begun <= loss.at && std::ranges::find(loss.survived, FileVersion{op.file, op.version}) == loss.survived.end();
  });
}

// ---- Time ----------------------------------------------------------------------------

// In the order in which they were answered; an operation that began later may not be of an older version.
void check_order(const History& history, const Told& told, Violations* violations) {
  std::vector<const Op*> ended;
  for (const Op& op : history.ops()) {
    if (op.outcome == Op::Outcome::kDone && op.version && op.file != kNoFile) ended.push_back(&op);
  }
  std::vector<const Op*> begun = ended;
  auto place = [](const Op* op, Instant at) { return std::pair(at, op->token); };
  std::ranges::sort(ended, {}, [&](const Op* op) { return place(op, op->ended); });
  std::ranges::sort(begun, {}, [&](const Op* op) { return place(op, op->begun); });
  std::map<FileId, const Op*> newest;                         // By version, of what has ended.
  std::map<std::pair<size_t, FileId>, const Op*> of_session;  // The same within one session.
  auto end = ended.begin();
  for (const Op* op : begun) {
    for (; end != ended.end() && (*end)->ended < op->begun; ++end) {
      const Op*& session = of_session[{(*end)->session, (*end)->file}];
      if (session == nullptr || session->version < (*end)->version) session = *end;
      bool counts = (*end)->kind != Op::Kind::kRead || (*end)->linearizable;
      if (!counts || told.aside.contains({(*end)->file, (*end)->version}) || told.lost.contains((*end)->file)) continue;
      if (!(*end)->sync && may_be_gone(history, **end)) continue;
      const Op*& slot = newest[(*end)->file];
      if (slot == nullptr || slot->version < (*end)->version) slot = *end;
    }
    if (op->kind == Op::Kind::kRead || makes_version(op->kind)) {
      auto seen = of_session.find({op->session, op->file});
      if (seen != of_session.end() && op->version < seen->second->version) {
        violations->add("session", to_string(*op) + ": time went back; before it " + to_string(*seen->second));
      }
    }
    if (op->kind == Op::Kind::kRead && !op->linearizable) continue;
    auto before = newest.find(op->file);
    if (before != newest.end() && op->version < before->second->version) {
      violations->add("order", to_string(*op) + " is older than what was answered before it began: " + to_string(*before->second));
    }
  }
}

// Reads among themselves and with what is kept.
class OneContent {
 public:
  explicit OneContent(Violations* violations) : violations_(violations) {}
  void add(FileId file, Version version, const std::vector<Token>& tokens, const std::string& where) {
    auto [known, fresh] = known_.try_emplace({file, version}, tokens, where);
    if (fresh || known->second.first == tokens) return;
    violations_->add("one-content", name_of(file, version) + " is " + list_of(tokens) + " (" + where + "), and " +
                                        list_of(known->second.first) + " (" + known->second.second + ")");
  }

 private:
  Violations* violations_;
  std::map<FileVersion, std::pair<std::vector<Token>, std::string>> known_;
};

// ---- The healed cluster ------------------------------------------------------------------

class StateCheck {
 public:
  StateCheck(const History& history, const FinalState& state, Violations* violations)
      : history_(history), state_(state), violations_(violations), told_(state) {}

  void run() {
    OneContent contents(violations_);
    for (const auto& half : state_.halves) {
      for (const auto& [at, kept] : half.versions) {
        if (kept.trimmed) continue;
        std::string where = half.server + " " + name_of(at.first, at.second);
        check_content(history_, where, kept.tokens, violations_);
        contents.add(at.first, at.second, kept.tokens, half.server);
      }
      for (const auto& [id, file] : half.files) check_line(half, id, file);
    }
    for (const Op& op : history_.ops()) {
      if (op.kind == Op::Kind::kRead && op.tokens && op.version) {
        contents.add(op.file, op.version, *op.tokens, to_string(op));
      }
    }
    check_equal();
    check_acknowledged();
    check_losses();
  }

 private:
  const FinalState::Kept* kept(const FinalState::Half& half, FileId file, Version version) const {
    auto at = half.versions.find({file, version});
    return at == half.versions.end() ? nullptr : &at->second;
  }

  void check_line(const FinalState::Half& half, FileId id, const FinalState::File& file) {
    std::map<std::pair<uint64_t, uint64_t>, Version> requests;
    std::set<std::string> tags;
    for (Version version : file.line) {
      const FinalState::Kept* own = kept(half, id, version);
      if (own == nullptr) continue;
      std::string where = half.server + " " + name_of(id, version);
      auto [other, fresh] = requests.try_emplace({own->request.client, own->request.sequence}, version);
      if (!fresh && own->request.client != 0) {
        violations_->add("once", where + " and " + other->second.to_string() + " are of one request");
      }
      if (own->kind == wire::CHANGE_CHECKPOINT && !tags.insert(own->tag).second) {
        violations_->add("once", where + ": the checkpoint " + own->tag + " stands twice");
      }
      check_past(half, id, where, *own);
    }
  }

  void check_past(const FinalState::Half& half, FileId id, const std::string& where, const FinalState::Kept& own) {
    bool copies = own.kind == wire::CHANGE_CHECKPOINT;
    bool adds = own.kind == wire::CHANGE_APPEND || own.kind == wire::CHANGE_EDIT;
    const FinalState::Kept* base = copies || adds ? kept(half, id, own.parent)
                                   : own.kind == wire::CHANGE_UNDO || own.kind == wire::CHANGE_REVERT
                                       ? kept(half, id, own.undo_target)
                                       : nullptr;
    if (base == nullptr || base->trimmed || own.trimmed) return;
    if (!adds) {
      if (base->tokens != own.tokens) violations_->add("past", where + " is " + list_of(own.tokens) + ", what it goes back to " + list_of(base->tokens));
      return;
    }
    std::set<Token> before(base->tokens.begin(), base->tokens.end());
    std::set<Token> after(own.tokens.begin(), own.tokens.end());
    // What a client asked for otherwise (an APPEND of nothing, an edit of other words) does not occur.
    if (after.size() != before.size() + 1 || !std::ranges::includes(after, before)) {
      violations_->add("past", where + " is " + list_of(own.tokens) + ", its parent " + list_of(base->tokens));
    }
  }

  void check_equal() {
    std::map<std::string, std::vector<const FinalState::Half*>> pairs;
    for (const auto& half : state_.halves) pairs[half.pair].push_back(&half);
    for (const auto& [pair, halves] : pairs) {
      if (halves.size() != 2) continue;
      std::set<FileId> ids;
      for (const auto* half : halves) {
        for (const auto& [id, file] : half->files) {
          if (file.head || !state_.removed_names.contains(id)) ids.insert(id);
        }
      }
      for (FileId id : ids) {
        auto text = [&](const FinalState::Half& half) {
          auto at = half.files.find(id);
          if (at == half.files.end()) return std::string("unknown");
          const FinalState::File& file = at->second;
          return file.deleted ? "deleted" : file.head.to_string() + ", name of " + std::to_string(file.name_version);
        };
        std::string a = text(*halves[0]), b = text(*halves[1]);
        if (a != b) {
          violations_->add("equal", "file " + std::to_string(number(id)) + " is " + a + " on " + halves[0]->server + ", " +
                                        b + " on " + halves[1]->server);
        }
      }
    }
  }

  // Deleted for good, at somebody's wish.
  bool is_deleted(FileId file) const {
    return std::ranges::any_of(state_.halves, [&](auto& half) {
      auto at = half.files.find(file);
      return at != half.files.end() && at->second.deleted;
    });
  }

  void check_acknowledged() {
    for (const Op& op : history_.ops()) {
      if (op.outcome != Op::Outcome::kDone || !makes_version(op.kind)) continue;
      bool found = false, in_line = false;
      for (const auto& half : state_.halves) {
        auto file = half.files.find(op.file);
        if (file == half.files.end()) continue;
        bool on_line = std::ranges::find(file->second.line, op.version) != file->second.line.end();
        bool set_aside = std::ranges::find(file->second.aside, op.version) != file->second.aside.end();
        found |= on_line || set_aside;
        in_line |= on_line;
        const FinalState::Kept* version = kept(half, op.file, op.version);
        if (version == nullptr || version->trimmed || op.kind == Op::Kind::kUndo || op.kind == Op::Kind::kRevert) continue;
        if (std::ranges::find(version->tokens, op.token) == version->tokens.end()) {
          violations_->add("lost", to_string(op) + ": that version on " + half.server + " is " + list_of(version->tokens));
        }
      }
      if (in_line || is_deleted(op.file)) continue;
      if (!found) {
        bool whole = std::ranges::all_of(state_.halves, [&](auto& half) {
          auto file = half.files.find(op.file);
          return file == half.files.end() || file->second.whole_line;
        });
        if (whole && (op.sync || !may_be_gone(history_, op))) violations_->add("lost", to_string(op) + ": is nowhere");
      } else if (op.sync) {
        violations_->add("lost", to_string(op) + ": acknowledged in sync mode, and set aside");
      } else if (!told_.aside.contains({op.file, op.version})) {
        violations_->add("lost", to_string(op) + ": is set aside, and no event says so");
      }
    }
  }

  void check_losses() {
    for (const Loss& loss : history_.losses) {
      for (FileId file : loss.announced_gone) {
        if (told_.lost.contains(file) || is_deleted(file)) continue;
        violations_->add("lost", "file " + std::to_string(number(file)) + ": its announced version went with the disk of " +
                                     loss.server + ", and no event says so");
      }
    }
  }

  const History& history_;
  const FinalState& state_;
  Violations* violations_;
  Told told_;
};

}  // namespace

void Violations::add(const std::string& rule, const std::string& what) {
  if (all_.size() < kViolationsMax) all_.push_back("[" + rule + "] " + what);
}

void check_content(const History& history, const std::string& where, const std::vector<Token>& tokens,
                   Violations* violations) {
  std::set<Token> seen;
  for (Token token : tokens) {
    if (token == 0 || token > history.ops().size()) {
      return violations->add("content", where + ": write " + std::to_string(token) + " was never asked for");
    }
    if (!seen.insert(token).second) violations->add("content", where + ": write " + std::to_string(token) + " took effect twice");
    if (history.op(token).outcome == Op::Outcome::kRefused && !history.op(token).may_come_again) {
      violations->add("content", where + ": has what was refused with nothing changed: " + to_string(history.op(token)));
    }
  }
}

void check_answers(const History& history, const FinalState& state, Violations* violations) {
  std::set<size_t> sessions;
  for (const Op& op : history.ops()) sessions.insert(op.session);
  for (size_t session : sessions) OwnNames(history, session, violations).run();
  check_errors(history, violations);
  check_order(history, Told(state), violations);
}

void check_state(const History& history, const FinalState& state, Violations* violations) {
  StateCheck(history, state, violations).run();
}

std::vector<std::string> EpochWatch::look(const std::vector<Half>& halves, Violations* violations) {
  std::vector<std::string> fresh;
  std::map<std::string, std::string> live;  // By pair.
  for (const Half& half : halves) {
    if (half.serving != kNoEpoch) {
      auto [holder, first] = holders_.try_emplace(half.serving, half.server);
      if (first) fresh.push_back(half.server);
      if (holder->second != half.server) {
        violations->add("epoch", "epoch " + std::to_string(number(half.serving)) + " is served by " + half.server + " and " + holder->second);
      }
    }
    if (!half.lease_live) continue;
    auto [other, first] = live.try_emplace(half.pair, half.server);
    if (!first) violations->add("epoch", half.server + " and " + other->second + " both hold a live lease");
  }
  return fresh;
}

}  // namespace understudy::sim
