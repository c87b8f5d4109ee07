// A whole cluster with one fault in one place, for every place: the power of one host, or of all,
// is cut at the n-th write or sync of one of them, its n-th disk call fails, or its disk is full
// from there on, while a user does a little of everything, so that every kind of record, the packing of
// segments, the checkpoints of both indexes and the Raft log's snapshots are under way somewhere.
// Who falls is started again; in the end, behind one more power cut of everything, all that was
// acknowledged is there, on both halves, once (promises 1, 3 and 7), and what another user read all the
// time was never anything but a whole version, and never an older one than before (promise 5).
//
// `make test` takes every SWEEP_STEP-th place (default 149), SWEEP_STEP=1 takes all: `make sweep`.
#include <gtest/gtest.h>

#include <cstdlib>

#include "common/segment_log/log_format.h"
#include "ss/records.h"
#include "ss/store_check.h"
#include "tests/sim/cluster.h"
#include "tests/sim/filled_files.h"
#include "tests/sim/script.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

constexpr Duration kSlice = 5ms;
constexpr Duration kCommandLimit = 120s;
constexpr Duration kOffFor = 300ms;
constexpr Duration kFullFor = 5s;
constexpr uint64_t kRoomForDeletions = 12 << 20;  // Less than content may take, more than a deletion needs.

const std::vector<std::string> kHosts = {"nm", "ss1", "ss1_backup"};

// Commands of a user; `!` is what happens to her cluster.
const std::vector<std::string> kStory = {
    "CREATEFOLDER -p /d/e",
    "PUT -r /tree /d/tree",
    "CREATE /d/a",
    "CREATE /d/v",
    "CREATE /d/back",
    "APPEND /d/a one.",
    "ADDACCESS -R /d/a bob",
    "CHECKPOINT /d/a first",
    "APPEND /d/a ' two.'",
    "UNDO /d/a",
    "WAIT",
    "!rot ss1 cluster_id",  // A small record, which a GAP takes the place of.
    "APPEND /d/a ' three.'",
    "REVERT /d/a first",
    "WRITE /d/a 0 --edit '0 Well,'",
    "PUT /big1 /d/big",
    "PUT /big2 /d/big",
    "MOVE /d/a /d/e/moved",
    "CREATE /d/gone",
    "DELETE /d/gone",
    "CREATEFOLDER /d/x",
    "CREATE /d/x/f",
    "DELETEFOLDER -r /d/x",
    "PUT /r1 /d/r",
    "PUT /r2 /d/r",
    "PUT /r3 /d/r",
    "PUT /r4 /d/r",
    "SETDURABILITY /d/e sync",
    "APPEND /d/e/moved ' four.'",
    "!down ss1_backup",
    "APPEND /d/e/moved ' five.'",  // Held by the name node.
    "APPEND /d/v base.",
    "!pass 1500ms",  // It takes hints of what is async too.
    "!up",
    "PUT /big3 /d/big",
    "PUT /r5 /d/r",
    "PUT /r6 /d/r",
    "PUT /r7 /d/r",
    "PUT /r8 /d/r",
    "WAIT",
    "!rot ss1 base.",
    "READ /d/v",
    "!apart nm ss1",
    "APPEND /d/v ' lost.'",  // Acknowledged by one who is cut off, and falls.
    "!down ss1",
    "!together",
    "APPEND /d/v ' kept.'",
    "!up",
    "WAIT",
    "APPEND /d/back 'it comes back'",
    "DELETE /d/back",
    "UNDELETE /d/back",
    "!pass 3s",
};

enum class FaultKind : uint8_t { kPower, kAllPower, kError, kNoSpace, kLittleSpace, kNoSpaceAtAll };

struct Fault {
  std::string host;
  FaultKind kind = FaultKind::kPower;
  uint64_t at = 0;  // From the beginning of the story; 0: never.
};

std::vector<std::string> words_of(const std::string& line) {
  std::vector<std::string> words;
  for (size_t at = 0; at < line.size();) {
    const size_t end = std::min(line.find(' ', at), line.size());
    words.push_back(line.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

class Play {
 public:
  Play(uint64_t seed, Fault fault) : world_(seed), cluster_(world_), fault_(std::move(fault)) {}

  // What went wrong; empty: nothing.
  std::string run() {
    const bool together = fault_.kind == FaultKind::kAllPower;
    for (const auto& host : kHosts) world_.host(host, together ? "machine" : "machine-of-" + host);
    for (const auto& host : kHosts) start(host);
    if (!in_sync(60s)) return "the cluster did not come up";
    prepare();
    const uint64_t before = passed();
    arm();
    began_ = true;
    for (const auto& line : kStory) {
      std::string wrong = line.starts_with('!') ? act(words_of(line.substr(1))) : tell(line);
      if (!wrong.empty()) return line + ": " + wrong;
      if (!wrong_.empty()) return line + ": meanwhile: " + wrong_;
    }
    places_ = passed() - before;
    make_room();
    for (const auto& host : kHosts) {
      world_.host(host).disk.fail_no_call();
      world_.host(host).disk.cut_power_at(0);
      world_.host(host).disk.strike_at(0, nullptr);
    }
    return check();
  }
  // Of the kind that the fault is of, so many in the story on that host.
  uint64_t places() const { return places_; }
  const std::set<std::string>& made() const { return made_; }

 private:
  SimDisk& disk() { return world_.host(fault_.host).disk; }
  uint64_t passed() {
    if (fault_.kind == FaultKind::kError) return disk().calls();
    return fault_.kind == FaultKind::kNoSpace ? disk().calls(DiskCall::kWrite) : disk().crash_points();
  }

  void arm() {
    if (fault_.at == 0) return;
    switch (fault_.kind) {
      case FaultKind::kPower:
      case FaultKind::kAllPower: return disk().cut_power_at(fault_.at);
      case FaultKind::kError: return disk().fail_any_call(fault_.at, Code::kInternal);
      case FaultKind::kNoSpace: return disk().fail_call(DiskCall::kWrite, fault_.at, Code::kNoSpace);
      case FaultKind::kLittleSpace:
      case FaultKind::kNoSpaceAtAll:
        disk().strike_at(fault_.at, [this] {
          full_since_ = world_.now();
          disk().leave_free(fault_.kind == FaultKind::kLittleSpace ? kRoomForDeletions : 0);
        });
    }
  }

  void prepare() {
    SimDisk& alice = world_.host("alice").disk;
    for (const std::string n : {"1", "2", "3"}) {
      // The end of each is that of all.
      alice.put("/big" + n, labelled_content("/big" + n, 60'000) + labelled_content("/big", 90'000));
      contents_["/d/big"].push_back(*alice.peek("/big" + n));
    }
    for (const std::string n : {"1", "2", "3", "4", "5", "6", "7", "8"}) {
      alice.put("/r" + n, labelled_content("/r" + n, 6'000));
      contents_["/d/r"].push_back(*alice.peek("/r" + n));
    }
    alice.put("/tree/inner/leaf", "a leaf");
    (void)alice.make_link("inner/leaf", "/tree/link");
    contents_["/d/tree/inner/leaf"] = {"a leaf"};
    for (int n = 0; n < kSpares; ++n) (void)perform("CREATE /spare" + std::to_string(n));
    CHECK(cluster_.add_users({"bob"}).has_value());
    (void)cluster_.client("carol");
  }

  void start(const std::string& name) {
    if (name == "nm") {
      cluster_.start(name, {"--heartbeat-interval", "200ms", "--retain-versions", "2", "--hint-interval", "1s",
                            "--log-segment-size", "4096", "--snapshot-entries", "15"});
    } else {
      cluster_.start(name, {"--segment-size", "16384", "--checkpoint-records", "10", "--scrub-interval", "2s"});
    }
  }

  // Who fell is started again, unless it is to be down; and somebody reads all the time.
  void pass(Duration time) {
    for (Instant end = world_.now() + time; world_.now() < end;) {
      world_.run_for(kSlice);
      if (began_) read_on();
      if (began_ && fault_.at == 0) note_records();
      start_fallen();
    }
  }
  void start_fallen() {
    if (full_since_ && world_.now() > *full_since_ + kFullFor) make_room();
    for (const auto& name : kHosts) {
      SimHost& host = world_.host(name);
      SimProcess* process = world_.find_process(name);
      const auto ended = cluster_.result(name);
      if (host.powered && process->alive() && !ended) continue;
      if (full_since_ && name == fault_.host && ended && !*ended) {
        wrong_ = name + " ended with its disk full: " + ended->error().to_string();
      }
      if (down_.contains(name)) continue;
      if (!fell_.contains(name)) {
        fell_[name] = world_.now();
        if (!host.powered) cut_again(host);
      }
      if (world_.now() < fell_[name] + kOffFor) continue;
      fell_.erase(name);
      if (!host.powered) world_.power_on(host);
      start(name);
    }
  }
  // Every other time the power goes once more while it comes back.
  void cut_again(SimHost& host) { host.disk.cut_power_at(fault_.at % 2 == 1 && !cut_again_ ? 1 + fault_.at % 23 : 0), cut_again_ = true; }

  void make_room() {
    if (!full_since_) return;
    full_since_.reset();
    disk().set_quota(std::nullopt);
  }

  std::string perform(const std::string& line) {
    CommandRun& run = cluster_.client("alice").begin(line);
    run.end_input();
    const Instant end = world_.now() + kCommandLimit;
    while (!run.ended() && world_.now() < end) pass(kSlice);
    std::string answer = run.ended() ? run.output() : "error: no answer";
    // Who answered may be told too.
    if (const size_t note = answer.find("\nnote: "); note != std::string::npos) answer.resize(note);
    return answer;
  }

  // Everything is answered with done, but for want of space; then it is done once there is some.
  std::string tell(const std::string& line) {
    std::string answer = perform(line);
    const bool full = fault_.kind == FaultKind::kNoSpace || fault_.kind == FaultKind::kLittleSpace || fault_.kind == FaultKind::kNoSpaceAtAll;
    // Deleting and its reverse are two steps, between which a disk may fill up for good: then nobody says that nothing happened.
    const bool two_steps = line.starts_with("DELETE ") || line.starts_with("UNDELETE ");
    const bool begun = two_steps && answer.find("outcome unknown: the name node's disk is full") != std::string::npos;
    if (full && (begun || answer.find("error: NO_SPACE: ") != std::string::npos)) {
      if (std::string wrong = look_while_full(); !wrong.empty()) return wrong;
      make_room();
      pass(2s);
      answer = perform(line);
      const bool done = answer.find(line.starts_with("UNDELETE ") ? "error: EXISTS: " : "error: NOT_FOUND: ") != std::string::npos;
      if (begun && done) return "";
    }
    return answer.find("error:") == std::string::npos ? "" : answer;
  }
  std::string look_while_full() {
    if (!full_since_) return "";
    std::string answer = perform("READ /spare0");
    if (answer.find("error:") != std::string::npos) return "READ while the disk is full: " + answer;
    if (fault_.kind == FaultKind::kLittleSpace) {
      answer = perform("DELETE /spare" + std::to_string(++deleted_));
      if (answer.find("error:") != std::string::npos) return "DELETE while the disk is full: " + answer;
    }
    return "";
  }

  std::string act(std::vector<std::string> words) {
    const std::string& verb = words[0];
    // (With the other half away too, nobody could go on.)
    if ((verb == "down" && !apart_) || verb == "apart") {
      if (!in_sync(60s)) return "the halves did not come to be in sync";
    }
    if (verb == "pass") {
      pass(*parse_duration(words[1]));
    } else if (verb == "down") {
      down_.insert(words[1]);
      if (SimProcess* process = world_.find_process(words[1]); process->alive()) world_.kill(*process);
    } else if (verb == "up") {
      down_.clear();
    } else if (verb == "apart") {
      apart_ = true;
      world_.net().partition(words[1], words[2]);
    } else if (verb == "together") {
      apart_ = false;
      world_.net().heal_all();
    } else {
      CHECK(verb == "rot");
      rot(words[1], words[2]);
    }
    return "";
  }
  // One bit, where that text stands last.
  void rot(const std::string& host, const std::string& text) {
    SimDisk& disk = world_.host(host).disk;
    auto folder = disk.find("/data/segments");
    if (!folder) return;
    std::string last;
    uint64_t place = 0;
    for (auto& [name, inode] : folder->entries) {
      const size_t at = inode->content.rfind(text);
      if (at == Bytes::npos) continue;
      last = name;
      place = at;
    }
    if (!last.empty()) (void)disk.flip_bit("/data/segments/" + last, place);
  }

  // What kinds of records came to stand in a segment, and what else was made.
  void note_records() {
    if (world_.now() < noted_ + 50ms) return;
    noted_ = world_.now();
    for (const std::string host : {"ss1", "ss1_backup"}) {
      auto folder = world_.host(host).disk.find("/data/segments");
      if (!folder) continue;
      for (auto& [name, inode] : folder->entries) {
        const auto base = parse_segment_name(name);
        if (!base) made_.insert(name.substr(name.find('.') + 1));
        if (!base) continue;
        for (uint64_t at = kSegmentHeaderSize; at + kRecordHeaderSize <= inode->content.size();) {
          RecordHeader header;
          if (!decode_record_header(BytesView(inode->content).substr(at), Lsn{number(*base) + at}, header)) break;
          made_.insert(std::to_string(header.type));
          at += record_size(header.payload_size());
        }
      }
    }
    for (const char* path : {"/data/raft/snapshot", "/data/raft/log/0000000000000000.log", "/data/hints/promised", "/data/hints/expiring"}) {
      auto inode = world_.host("nm").disk.find(path);
      if (!inode) continue;
      uint64_t bytes = 0;
      for (auto& [name, file] : inode->entries) bytes += file->content.size() - kSegmentHeaderSize;
      if (inode->kind == FileInfo::Kind::kFile || bytes > 0) made_.insert(path);
    }
  }

  // Carol reads one file after the other.
  void read_on() {
    if (reading_ && !reading_->ended()) return;
    if (reading_) look_at_read(reading_->output());
    auto at = contents_.upper_bound(read_);
    read_ = at == contents_.end() ? contents_.begin()->first : at->first;
    reading_ = &cluster_.client("carol").begin("GET " + read_ + " /got");
    reading_->end_input();
  }
  void look_at_read(const std::string& answer) {
    if (answer.find("error:") != std::string::npos) {
      // Nothing is to be seen of it before it is there, and of nobody's damage.
      const bool may_be = answer.find("error: UNAVAILABLE") != std::string::npos ||
                          (answer.find("error: NOT_FOUND") != std::string::npos && !seen_.contains(read_));
      if (!may_be) wrong_ = "GET " + read_ + ": " + answer;
      return;
    }
    const Bytes got = world_.host("carol").disk.peek("/got").value_or("(nothing)");
    const auto& all = contents_[read_];
    auto found = std::ranges::find(all, got);
    if (found == all.end()) {
      // A name may be there before its first version.
      if (!got.empty() || seen_.contains(read_)) wrong_ = "GET " + read_ + ": bytes that nobody put there: " + got.substr(0, 40);
      return;
    }
    const auto index = static_cast<size_t>(found - all.begin());
    if (seen_.contains(read_) && index < seen_[read_]) wrong_ = "GET " + read_ + ": an older version than before";
    seen_[read_] = index;
  }

  bool in_sync(Duration limit) {
    const Instant end = world_.now() + limit;
    while (world_.now() < end) {
      pass(20ms);
      auto status = cluster_.status();
      if (!status || status->pairs_size() != 1 || status->pairs(0).members_size() != 2 || !status->pairs(0).serving()) continue;
      if (status->pairs(0).acting_primary() != "ss1") continue;
      const auto& members = status->pairs(0).members();
      if (std::ranges::all_of(members, [](auto& half) {
            return half.in_sync() && half.jobs() == 0 && half.state() == wire::MemberStatus::ALIVE;
          })) {
        return true;
      }
    }
    return false;
  }

  std::string check() {
    began_ = false;
    if (!in_sync(120s)) return "the halves did not come to be in sync";
    if (std::string wrong = check_content(); !wrong.empty()) return wrong;
    // Everybody once more, from what is on the disks.
    for (const auto& name : kHosts) world_.power_cut(world_.host(name));
    if (!in_sync(120s)) return "the halves did not come to be in sync behind the last power cut";
    if (std::string wrong = check_content(); !wrong.empty()) return "behind the last power cut: " + wrong;
    auto one = cluster_.digest("ss1"), other = cluster_.digest("ss1_backup");
    if (!one || !other || !std::ranges::equal(one->partitions(), other->partitions())) return "the halves differ";
    return check_folders();
  }
  std::string check_content() {
    struct Wanted {
      std::string line, answer;
    };
    // With the power of all, the half that rots comes back damaged and the other one acts: what only it had acknowledged comes
    // back, too late to be the newest if the file changed meanwhile.
    const std::string moved = perform("READ /d/e/moved");
    const bool beside = fault_.kind == FaultKind::kAllPower && moved == "one. four. five." && stands_beside("/d/e/moved", "Well, one.");
    if (moved != "Well, one. four. five." && !beside) return "READ /d/e/moved: " + moved + "; " + perform("LISTCHECKPOINTS /d/e/moved");
    const Wanted all[] = {
                          {"VIEWCHECKPOINT /d/e/moved first", "one."},
                          {"VIEWFOLDER /d", "back\nbig\ne/\nr\ntree/\nv\n"},
                          {"VIEWFOLDER /d/tree", "inner/\nlink -> inner/leaf\n"},
                          {"READ /d/back", "it comes back"},
                          {"GET /d/big /back3", ""},
                          {"GET /d/r /back8", ""}};
    for (const auto& [line, wanted] : all) {
      const std::string answer = perform(line);
      if (line.starts_with("GET") ? answer.find("error:") != std::string::npos : answer != wanted) return line + ": " + answer;
    }
    auto& alice = world_.host("alice").disk;
    if (alice.peek("/back3") != alice.peek("/big3")) return "/d/big is not what was put there";
    if (alice.peek("/back8") != alice.peek("/r8")) return "/d/r is not what was put there";
    for (const char* gone : {"/d/gone", "/d/x", "/d/a"}) {
      const std::string answer = perform("INFO " + std::string(gone));
      if (answer.find("NOT_FOUND") == std::string::npos) return std::string(gone) + " came back: " + answer;
    }
    for (int n = 0; n < kSpares; ++n) {
      const std::string answer = perform("READ /spare" + std::to_string(n));
      const bool gone = answer.find("NOT_FOUND") != std::string::npos;
      if (gone != (n > 0 && n <= deleted_)) return "READ /spare" + std::to_string(n) + ": " + answer;
    }
    return check_diverged();
  }
  // What one half acknowledged alone is in the line, or beside it.
  std::string check_diverged() {
    const std::string head = perform("READ /d/v");
    if (head == "base. lost. kept.") return "";
    if (head != "base. kept." && head != "base. kept. lost.") return "READ /d/v: " + head;
    if (head == "base. kept. lost." || stands_beside("/d/v", "base. lost.")) return "";
    return "LISTCHECKPOINTS /d/v: " + perform("LISTCHECKPOINTS /d/v");
  }
  // Under a name that tells so.
  bool stands_beside(const std::string& path, const std::string& content) {
    const std::string tags = perform("LISTCHECKPOINTS " + path);
    for (size_t at = 0; (at = tags.find("recovered-", at)) != std::string::npos; ++at) {
      const std::string tag = tags.substr(at, tags.find_first_of(" \n", at) - at);
      if (perform("VIEWCHECKPOINT " + path + " " + tag) == content) return true;
    }
    return false;
  }
  // All that stands in the log is whole, and the index says the same.
  std::string check_folders() {
    for (const std::string name : {"ss1", "ss1_backup"}) {
      world_.kill(*world_.find_process(name));
      auto& process = world_.start(world_.host(name), "check-" + name);
      std::string said;
      auto checked = world_.try_await(process, check_store(process.env(), "/data", [&](std::string line) { said += line + "\n"; }));
      if (!checked || !*checked) return name + " cannot be checked: " + (checked ? checked->error().to_string() : "no answer");
      if ((*checked)->damages > 0) return name + ": " + said;
      world_.kill(process);
    }
    return "";
  }

  static constexpr int kSpares = 12;

  SimWorld world_;
  Cluster cluster_;
  Fault fault_;
  uint64_t places_ = 0;
  bool began_ = false;
  bool cut_again_ = false;
  bool apart_ = false;
  int deleted_ = 0;
  std::string wrong_;
  std::optional<Instant> full_since_;
  std::set<std::string> down_;
  std::map<std::string, Instant> fell_;
  std::map<std::string, std::vector<Bytes>> contents_;  // Of files that somebody reads: one after the other.
  std::map<std::string, size_t> seen_;
  std::set<std::string> made_;
  Instant noted_{};
  CommandRun* reading_ = nullptr;
  std::string read_;
};

uint64_t number_from(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr && *text != '\0' ? std::max<uint64_t>(1, std::strtoull(text, nullptr, 10)) : otherwise;
}

struct Sweep {
  const char* host;
  FaultKind kind;
};

// What the places are places in.
TEST(SimSweeps, TheStoryWritesAllThereIs) {
  Play calm(number_from("SWEEP_SEED", 1), {"ss1", FaultKind::kPower, 0});
  ASSERT_EQ(calm.run(), "");
  for (RecordType type : {RecordType::kEpoch, RecordType::kChunk, RecordType::kVersion, RecordType::kName, RecordType::kAside,
                        RecordType::kState, RecordType::kTrim, RecordType::kGap}) {
    EXPECT_TRUE(calm.made().contains(std::to_string(static_cast<uint32_t>(type)))) << static_cast<uint32_t>(type);
  }
  for (const char* made : {"pack", "/data/raft/snapshot", "/data/hints/promised", "/data/hints/expiring"}) {
    EXPECT_TRUE(calm.made().contains(made)) << made;
  }
}

class SimSweep : public testing::TestWithParam<Sweep> {};

// SWEEP_SEED=2 makes all times others; SWEEP_AT=17 takes one place alone.
TEST_P(SimSweep, NothingAcknowledgedIsLost) {
  const auto& [host, kind] = GetParam();
  const uint64_t seed = number_from("SWEEP_SEED", 1);
  Play calm(seed, {host, kind, 0});
  ASSERT_EQ(calm.run(), "");
  ASSERT_GT(calm.places(), 100u);
  const uint64_t only = number_from("SWEEP_AT", 0);
  uint64_t failures = 0;
  for (uint64_t at = only ? only : 1; at <= (only ? only : calm.places()) && failures < 5; at += number_from("SWEEP_STEP", 149)) {
    Play play(seed, {host, kind, at});
    std::string wrong = play.run();
    EXPECT_EQ(wrong, "") << "SWEEP_AT=" << at << " of " << calm.places();
    failures += !wrong.empty();
  }
  RecordProperty("places", std::to_string(calm.places()));
}

std::string name_of(const testing::TestParamInfo<Sweep>& one) {
  static const char* const kinds[] = {"power", "power_of_all", "error", "no_space_once", "little_space", "no_space"};
  return std::string(one.param.host) + "_" + kinds[static_cast<int>(one.param.kind)];
}

std::vector<Sweep> all_sweeps() {
  std::vector<Sweep> all;
  for (const auto& host : kHosts) {
    for (auto kind : {FaultKind::kPower, FaultKind::kAllPower, FaultKind::kError, FaultKind::kNoSpace, FaultKind::kLittleSpace,
                      FaultKind::kNoSpaceAtAll}) {
      all.push_back({host.c_str(), kind});
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Places, SimSweep, testing::ValuesIn(all_sweeps()), name_of);

}  // namespace
}  // namespace understudy::sim
