#include "tests/sim/own_names.h"

#include <algorithm>
#include <map>
#include <utility>

namespace understudy::sim {
namespace {

std::string list_of(const std::set<Token>& tokens) {
  std::string text;
  for (Token token : tokens) text += (text.empty() ? "" : " ") + std::to_string(token);
  return "[" + text + "]";
}

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
    if (op.kind == Op::Kind::kDurability || op.kind == Op::Kind::kGrant || op.kind == Op::Kind::kRevoke) return;
    if (op.kind == Op::Kind::kLink) return linked(op);
    auto link = links_.find(op.path);
    if (link != links_.end() && op.kind == Op::Kind::kDelete && op.outcome == Op::Outcome::kDone) {
      links_.erase(link);
      return;
    }
    Name& name = names_[link == links_.end() ? op.path : link->second];
    // What leads here nobody knows any more once that is uncertain.
    if (link != links_.end() && (op.kind == Op::Kind::kDelete || names_[op.path].doomed)) {
      names_[op.path].doomed = true;
      return;
    }
    name.doomed |= op.may_come_again;
    if (name.doomed) {
      if (op.kind == Op::Kind::kMove) names_[op.to].doomed = true;
      return;
    }
    bool done = op.outcome == Op::Outcome::kDone;
    if (op.kind == Op::Kind::kUndelete) return came_back(op, name);
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
          deleted_[op.path] = std::exchange(name, {});
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
      default: return;
    }
  }

  void linked(const Op& op) {
    Name& name = names_[op.path];
    if (op.outcome == Op::Outcome::kDone && !name.doomed) {
      links_[op.path] = op.to;
    } else {
      const bool unclear = op.may_come_again || may_end_later(op);
      name.doomed |= unclear;
      // What is written through it, if it is there, is written there.
      if (unclear) names_[op.to].doomed = true;
    }
  }

  // UNDELETE brings back what was deleted last under that name.
  void came_back(const Op& op, Name& name) {
    auto before = deleted_.find(op.path);
    bool known = before != deleted_.end() && before->second.state == Name::State::kPresent;
    if (op.outcome == Op::Outcome::kDone) {
      if (name.state == Name::State::kPresent) return violated(op, "the name was taken");
      if (!known) {
        name.doomed = true;
        return;
      }
      name = std::exchange(before->second, {});
      name.makers = name.ever;  // As of an UNDO: after a failover it may go by an older version.
    } else if (may_end_later(op)) {
      name.doomed = true;
    } else if (op.error.find("its content is kept no more") != std::string::npos) {
      // OPEN (kept/undelete-without-content.open): the half that acts by now never had it.
      name.doomed = true;
    } else if (op.code == Code::kNotFound && known && name.state == Name::State::kAbsent) {
      violated(op, "it was deleted, and is kept");
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
      violated(op, "made by write " + std::to_string(maker) + ", this session knows of " + list_of(name.makers));
    }
  }

  const History& history_;
  size_t session_;
  Violations* violations_;
  std::map<std::string, Name> names_;
  std::map<std::string, Name> deleted_;          // What went last under a name.
  std::map<std::string, std::string> links_;     // Where they lead.
  std::set<std::string> doomed_folders_;  // Their removal may end at any time.
};

}  // namespace

void check_own_names(const History& history, size_t session, Violations* violations) {
  OwnNames(history, session, violations).run();
}

}  // namespace understudy::sim
