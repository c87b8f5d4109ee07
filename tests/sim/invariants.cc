#include "tests/sim/invariants.h"

#include <algorithm>
#include <set>

#include "tests/sim/own_names.h"

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

// ---- Errors ------------------------------------------------------------------------

void check_errors(const History& history, Violations* violations) {
  for (const Op& op : history.ops()) {
    if (op.outcome != Op::Outcome::kRefused && op.outcome != Op::Outcome::kUnknown) continue;
    bool passing = op.outcome == Op::Outcome::kUnknown || op.code == Code::kUnavailable || op.code == Code::kNoSpace;
    // (A sentence that is open then is taken again by client/sentence_edit.h, which test_rolling.sh goes through.)
    if (passing && history.setting.calm && op.kind != Op::Kind::kEdit) violations->add("error", to_string(op) + ": while acting primaries were moved as planned");
    bool fine = passing || op.code == Code::kNotFound;
    fine |= op.code == Code::kDenied && history.setting.guests.contains(op.session);
    switch (op.kind) {
      case Op::Kind::kPut:
      case Op::Kind::kPutDocument:
      case Op::Kind::kAppend:
      case Op::Kind::kDelete:
      case Op::Kind::kRevert: fine |= op.code == Code::kLocked || op.code == Code::kConflict; break;
      case Op::Kind::kEdit: fine |= op.code == Code::kLocked || op.code == Code::kConflict || op.code == Code::kOutOfRange; break;
      case Op::Kind::kUndo: fine |= op.code == Code::kLocked || op.code == Code::kConflict; break;
      case Op::Kind::kCheckpoint:
      case Op::Kind::kLink:
      case Op::Kind::kUndelete:
      case Op::Kind::kMakeFolder: fine |= op.code == Code::kExists; break;
      case Op::Kind::kGrant:
      case Op::Kind::kRevoke:
      case Op::Kind::kDurability: break;
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
      bool excepted = !history.setting.sync && !(*end)->sync &&
                      (told.aside.contains({(*end)->file, (*end)->version}) || told.lost.contains((*end)->file) ||
                       may_be_gone(history, **end));
      if (!counts || excepted) continue;
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
    if (before == newest.end() || op->version > before->second->version) continue;
    if (op->version < before->second->version || makes_version(op->kind)) {
      violations->add("order", to_string(*op) + " is no newer than what was answered before it began: " + to_string(*before->second));
    }
  }
  std::map<FileVersion, const Op*> made;
  for (const Op* op : ended) {
    if (makes_version(op->kind)) made.emplace(FileVersion{op->file, op->version}, op);
  }
  for (const Op* op : ended) {
    auto maker = op->kind == Op::Kind::kRead ? made.find({op->file, op->version}) : made.end();
    if (maker != made.end() && op->ended < maker->second->begun) {
      violations->add("order", to_string(*op) + " is of what was asked for later: " + to_string(*maker->second));
    }
  }
}

// It may take effect until then; a repeat of what was done gets its answer.
Instant may_act_until(const Op& op) { return op.outcome == Op::Outcome::kDone ? op.ended : Instant::max(); }
bool may_act(const Op& op) {
  return op.outcome != Op::Outcome::kRefused || op.code == Code::kUnavailable || op.may_come_again;
}

void check_gone(const History& history, Violations* violations) {
  std::map<FileId, const Op*> deleted;  // The first acknowledged one of each.
  std::map<std::string, Instant> may_be_back;
  for (const Op& op : history.ops()) {
    if (op.kind == Op::Kind::kUndelete && may_act(op)) may_be_back.try_emplace(op.path, op.begun);
    bool done = op.kind == Op::Kind::kDelete && op.outcome == Op::Outcome::kDone && op.file != kNoFile;
    auto known = deleted.find(op.file);
    if (done && (known == deleted.end() || op.ended < known->second->ended)) deleted[op.file] = &op;
  }
  for (const Op& op : history.ops()) {
    bool counts = op.kind == Op::Kind::kRead ? op.linearizable : makes_version(op.kind);
    auto gone = op.outcome == Op::Outcome::kDone && counts ? deleted.find(op.file) : deleted.end();
    if (gone == deleted.end() || gone->second->ended >= op.begun) continue;
    auto back = may_be_back.find(gone->second->path);
    if (back != may_be_back.end() && back->second < op.ended) continue;
    violations->add("gone", to_string(op) + ": was deleted before it began: " + to_string(*gone->second));
  }
}

// Of names that nobody deleted or moved at any time.
void check_there(const History& history, Violations* violations) {
  std::set<std::string> touched;
  std::vector<std::string> folders;
  std::map<std::string, const Op*> made;
  for (const Op& op : history.ops()) {
    bool changes = op.kind == Op::Kind::kDelete || op.kind == Op::Kind::kMove || op.kind == Op::Kind::kLink;
    if (changes) touched.insert({op.path, op.to});
    if (op.kind == Op::Kind::kRemoveFolder) folders.push_back(op.path + "/");
  }
  for (const Op& op : history.ops()) {
    const bool kept = op.sync || !may_be_gone(history, op);
    if (!makes_version(op.kind) || op.outcome != Op::Outcome::kDone || touched.contains(op.path) || !kept) continue;
    if (std::ranges::any_of(folders, [&](auto& folder) { return op.path.starts_with(folder); })) continue;
    const Op*& first = made[op.path];
    if (first == nullptr || op.ended < first->ended) first = &op;
  }
  for (const Op& op : history.ops()) {
    auto first = made.find(op.path);
    if (op.kind != Op::Kind::kRead || op.outcome != Op::Outcome::kRefused || op.code != Code::kNotFound) continue;
    if (first == made.end() || first->second->ended >= op.begun) continue;
    violations->add("there", to_string(op) + ": nobody deleted it since " + to_string(*first->second));
  }
}

// ---- What was asked for: durability, access --------------------------------------------

void check_durability(const History& history, Violations* violations) {
  for (const Op& op : history.ops()) {
    if (op.outcome != Op::Outcome::kDone || !makes_version(op.kind) || op.sync) continue;
    bool asked = history.setting.sync_sessions.contains(op.session);
    // Of a folder that only this session uses.
    const std::string own = "/c" + std::to_string(op.session);
    bool open_end = false;  // Some wish for less may take effect at any time.
    for (const Op& set : history.ops()) {
      bool same = set.kind == Op::Kind::kDurability && set.path == own && op.path.starts_with(own + "/") && may_act(set);
      if (!same || set.begun > op.ended) continue;
      bool surely = set.outcome == Op::Outcome::kDone && set.ended < op.begun;
      if (set.tag != "sync") {
        asked = history.setting.sync_sessions.contains(op.session);
        open_end |= may_act_until(set) == Instant::max();
      } else if (surely && !open_end) {
        asked = true;
      }
    }
    if (asked) violations->add("durability", to_string(op) + ": acknowledged as async");
  }
}

class AccessCheck {
 public:
  AccessCheck(const History& history, Violations* violations) : history_(history), violations_(violations) {}

  void run() {
    for (const Op& op : history_.ops()) {
      if (!history_.setting.guests.contains(op.session)) continue;
      const std::string guest = "client" + std::to_string(op.session);
      const bool writes = makes_version(op.kind);
      if (op.outcome == Op::Outcome::kDone && !may_have(op, guest, writes)) {
        violations_->add("access", to_string(op) + ": nobody had given it, or it was taken away");
      }
      if (op.outcome == Op::Outcome::kRefused && op.code == Code::kDenied && surely_has(op, guest, writes)) {
        violations_->add("access", to_string(op) + ": it was given");
      }
    }
  }

 private:
  // What `change` says of the right that is asked about; nothing: it is about somebody or something else.
  static std::optional<bool> gives(const Op& change, const Op& op, const std::string& guest, bool writes) {
    bool about = (change.kind == Op::Kind::kGrant || change.kind == Op::Kind::kRevoke) && change.path == op.path &&
                 change.tag.substr(0, change.tag.find(' ')) == guest && may_act(change);
    if (!about) return std::nullopt;
    return change.kind == Op::Kind::kGrant && (!writes || change.tag.ends_with(" W"));
  }

  // A half that was cut off from the name node then serves reads for as long as a capability lasts, and says
  // that they are not linearizable (docs/security.md).
  static Duration served_after(const Op& op) {
    return op.kind == Op::Kind::kRead && !op.linearizable ? std::chrono::seconds(60) : Duration(0);
  }

  bool may_have(const Op& op, const std::string& guest, bool writes) const {
    return std::ranges::any_of(history_.ops(), [&](const Op& given) {
      if (gives(given, op, guest, writes) != true || given.begun > op.ended) return false;
      return std::ranges::none_of(history_.ops(), [&](const Op& taken) {
        return gives(taken, op, guest, writes) == false && taken.outcome == Op::Outcome::kDone && !taken.may_come_again &&
               taken.begun > may_act_until(given) && taken.ended + served_after(op) < op.begun;
      });
    });
  }

  bool surely_has(const Op& op, const std::string& guest, bool writes) const {
    return std::ranges::any_of(history_.ops(), [&](const Op& given) {
      bool before = gives(given, op, guest, writes) == true && given.outcome == Op::Outcome::kDone && given.ended < op.begun;
      // A name that never got a version goes, and with it what was given.
      if (!before || !had_version(given)) return false;
      return std::ranges::none_of(history_.ops(), [&](const Op& taken) {
        return gives(taken, op, guest, writes) == false && may_act_until(taken) > given.begun && taken.begun < op.ended;
      });
    });
  }

  bool had_version(const Op& given) const {
    return std::ranges::any_of(history_.ops(), [&](const Op& op) {
      return makes_version(op.kind) && op.path == given.path && op.outcome == Op::Outcome::kDone && op.ended < given.begun;
    });
  }

  const History& history_;
  Violations* violations_;
};

// ---- Epochs ------------------------------------------------------------------------------

void check_epochs(const History& history, const FinalState& state, Violations* violations) {
  std::map<FileId, std::string> pairs;
  for (const auto& half : state.halves) {
    for (const auto& [id, file] : half.files) pairs[id] = file.head ? half.pair : pairs[id];
  }
  std::vector<const Op*> ended;
  for (const Op& op : history.ops()) {
    if (op.outcome != Op::Outcome::kDone || op.epoch == kNoEpoch || pairs[op.file].empty()) continue;
    ended.push_back(&op);
    auto holder = state.holders.find(op.epoch);
    if (holder != state.holders.end() && holder->second.substr(0, holder->second.find('_')) != pairs[op.file]) {
      violations->add("epoch", to_string(op) + ": under epoch " + std::to_string(number(op.epoch)) + ", that of " + holder->second);
    }
    if (op.version.epoch > op.epoch) {
      violations->add("epoch", to_string(op) + ": acknowledged under the older epoch " + std::to_string(number(op.epoch)));
    }
  }
  std::vector<const Op*> begun = ended;
  std::ranges::sort(ended, {}, [](const Op* op) { return std::pair(op->ended, op->token); });
  std::ranges::sort(begun, {}, [](const Op* op) { return std::pair(op->begun, op->token); });
  std::map<std::string, const Op*> latest;
  auto end = ended.begin();
  for (const Op* op : begun) {
    for (; end != ended.end() && (*end)->ended < op->begun; ++end) {
      const Op*& slot = latest[pairs[(*end)->file]];
      if (slot == nullptr || slot->epoch < (*end)->epoch) slot = *end;
    }
    const Op* before = latest[pairs[op->file]];
    if (before != nullptr && op->epoch < before->epoch) {
      violations->add("epoch", to_string(*op) + ": under epoch " + std::to_string(number(op->epoch)) + ", behind one under " +
                                   std::to_string(number(before->epoch)) + ": " + to_string(*before));
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
      if (file.whole_line) check_past(half, id, where, *own);
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

  // Retention takes old records on each half in its own time.
  static bool whole(FileId id, const std::vector<const FinalState::Half*>& halves) {
    return std::ranges::all_of(halves, [&](auto* half) {
      auto at = half->files.find(id);
      return at != half->files.end() && at->second.whole_line;
    });
  }
  static std::string line_of(const std::vector<Version>& line) {
    std::string text = ", line";
    for (Version version : line) text += " " + version.to_string();
    return text;
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
          if (file.deleted) return std::string("deleted");
          std::string text = file.head.to_string() + ", name of " + std::to_string(file.name_version);
          if (whole(id, halves)) text += line_of(file.line);
          return text;
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
  for (size_t session : sessions) check_own_names(history, session, violations);
  check_errors(history, violations);
  check_order(history, Told(state), violations);
  check_gone(history, violations);
  check_there(history, violations);
  check_durability(history, violations);
  AccessCheck(history, violations).run();
  check_epochs(history, state, violations);
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
