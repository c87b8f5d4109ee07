#include "tests/sim/run_plan.h"

#include <algorithm>

#include "tests/sim/sim_random.h"

namespace understudy::sim {
namespace {

using namespace std::chrono_literals;

constexpr uint64_t kOwnFiles = 3;
constexpr uint64_t kSharedFiles = 4;
constexpr uint64_t kContestedFiles = 2;
constexpr uint64_t kDocuments = 2;
constexpr Duration kPauseMax = 60ms;

std::string text(uint64_t value) { return std::to_string(value); }

// ---- What clients do -------------------------------------------------------------

enum class Work : uint8_t {
  kFiles, kShared, kContested, kDocuments, kPast, kNames, kFolders, kBig, kLinks, kDeleted, kDurability, kAccess,
};
constexpr size_t kWorks = 12;

class ClientPlan {
 public:
  // `pause_max`: between two steps.
  ClientPlan(const Scene& scene, size_t client, std::vector<Work> works, Duration pause_max, SimRandom random)
      : scene_(scene), client_(client), works_(std::move(works)), pause_max_(pause_max), random_(random), own_("/c" + text(client) + "/") {
    for (uint64_t i = 0; i < kOwnFiles; ++i) files_.push_back(fresh());
  }

  void make(Duration until, std::vector<Step>* steps) {
    for (Duration at{}; at < until;) {
      Duration pause = random_.between(1ms, pause_max_);
      at += pause;
      steps->push_back({static_cast<int>(client_), pause, is_guest(scene_, client_) ? guest() : next()});
    }
  }

 private:
  std::string fresh() { return own_ + "n" + text(names_++); }
  std::string& any_own() { return files_[random_.below(files_.size())]; }
  std::string size() {
    uint64_t bytes = random_.below(2000);
    if (random_.one_in(12)) bytes = 70'000 + random_.below(60'000);
    return text(bytes);
  }

  std::vector<std::string> next() {
    switch (works_[random_.below(works_.size())]) {
      case Work::kFiles: return plain(any_own());
      case Work::kShared: return plain("/s/f" + text(random_.below(kSharedFiles)));
      case Work::kContested: {
        std::string path = "/x/f" + text(random_.below(kContestedFiles));
        if (random_.one_in(6)) return {"delete", path};
        return plain(path);
      }
      case Work::kDocuments: {
        std::string path = "/d/f" + text(random_.below(kDocuments));
        uint64_t what = random_.below(8);
        if (what == 0) return {"put-document", path};
        // Some sentences stay open for a while, some are left open.
        if (what < 5 && random_.one_in(5)) {
          return {"edit", path, text(random_.below(4)), random_.one_in(6) ? "drop" : text(random_.below(800))};
        }
        if (what < 5) return {"edit", path, text(random_.below(4))};
        return {"read", path};
      }
      case Work::kPast: return past(random_.one_in(3) ? "/s/f" + text(random_.below(kSharedFiles)) : any_own());
      case Work::kNames: {
        std::string& path = any_own();
        uint64_t what = random_.below(6);
        if (what == 0) return {"delete", path};
        if (what < 3) {
          std::string from = std::exchange(path, fresh());
          return {"move", from, path};
        }
        if (what == 3) path = fresh();
        return plain(path);
      }
      case Work::kFolders: {
        // What is in a folder goes with it.
        std::string folder = own_ + "d" + text(folders_);
        uint64_t what = random_.below(6);
        if (what == 0) return {"folder", folder};
        if (what == 1) {
          ++folders_;
          return {"delete-folder", folder};
        }
        return {"put", folder + "/f" + text(names_++), size()};
      }
      case Work::kBig: return {"put", any_own(), text(1'100'000 + random_.below(1'500'000))};
      case Work::kLinks: {
        // A link's name is used once, so that what is known of it is simple.
        uint64_t what = random_.below(6);
        if (what == 0 || link_.empty()) {
          link_ = own_ + "l" + text(names_++);
          return {"link", link_, any_own()};
        }
        if (what == 1) return {"delete", std::exchange(link_, "")};
        return {what < 4 ? "append" : "read", link_};
      }
      case Work::kDeleted: {
        const std::string& path = any_own();
        uint64_t what = random_.below(5);
        if (what == 0) return {"delete", path};
        if (what < 3) return {"undelete", path};
        return plain(path);
      }
      case Work::kDurability: {
        if (!random_.one_in(12)) return plain(any_own());
        return {"durability", "/c" + text(client_), random_.one_in(3) ? "async" : "sync"};
      }
      case Work::kAccess: {
        const std::string path = "/g/a" + text(client_);
        const std::string guest = "client" + text(scene_.clients - 1 - random_.below(std::max<uint64_t>(scene_.guests, 1)));
        uint64_t what = random_.below(8);
        if (what == 0) return {"put", path, size()};
        if (what == 1) return {"read", path};
        if (what < 5) return {"grant", path, guest, random_.one_in(2) ? "W" : "R"};
        if (what < 7) return {"revoke", path, guest};
        return {"append", path};
      }
    }
    return {"read", any_own()};
  }

  std::vector<std::string> guest() {
    const std::string path = "/g/a" + text(random_.below(scene_.clients - scene_.guests));
    return {random_.one_in(3) ? "append" : "read", path};
  }

  std::vector<std::string> plain(const std::string& path) {
    uint64_t what = random_.below(20);
    if (what < 6) return {"put", path, size()};
    if (what < 12) return {"append", path};
    return {"read", path};
  }

  std::vector<std::string> past(const std::string& path) {
    switch (random_.below(6)) {
      case 0:
      case 1: return {"undo", path};
      case 2: {
        tags_.push_back({path, "t" + text(client_) + "x" + text(tags_.size())});
        return {"checkpoint", path, tags_.back().second};
      }
      case 3: {
        if (tags_.empty()) return {"undo", path};
        auto& [tagged, tag] = tags_[random_.below(tags_.size())];
        return {"revert", tagged, tag};
      }
      default: return plain(path);
    }
  }

  const Scene& scene_;
  size_t client_;
  std::vector<Work> works_;
  Duration pause_max_;
  SimRandom random_;
  std::string own_;
  std::vector<std::string> files_;
  std::vector<std::pair<std::string, std::string>> tags_;
  uint64_t names_ = 0;
  uint64_t folders_ = 0;
  std::string link_;
};

// ---- What goes wrong ---------------------------------------------------------------

enum class Fault : uint8_t {
  kKill, kPause, kPartition, kClientPartition, kReset, kIsolate, kPowerCut, kPowerCutSoon, kStop, kSlowDisk,
  kFailingDisk, kFullDisk, kClockRate, kClockJump, kWallJump, kLossy, kDelay, kReplay, kNameNodeSetting, kLoseDisk, kMove,
  kClientsCut, kHalvesPartition, kBitRot,
};
constexpr size_t kFaults = 24;

class FaultPlan {
 public:
  FaultPlan(const Scene& scene, std::vector<Fault> kinds, SimRandom random)
      : scene_(scene), kinds_(std::move(kinds)), random_(random), servers_(server_names(scene)) {
    // Only one half of a pair loses what it had: what both lost is lost.
    bool home = random_.one_in(2);
    for (const std::string& pair : pair_names(scene)) frail_.push_back(home ? pair : pair + "_backup");
  }

  void make(std::vector<Step>* steps) {
    for (Duration at = pause(); at < scene_.faulty_for; at += pause()) steps->push_back({-1, at, strike()});
  }

 private:
  // Now and then one fault comes right behind another.
  Duration pause() { return random_.one_in(4) ? random_.between(1ms, 50ms) : random_.between(200ms, 3s); }
  std::string any() {
    // The name node is one of many, but everybody's.
    return random_.one_in(4) ? servers_[0] : servers_[random_.below(servers_.size())];
  }
  std::string any_storage() { return servers_[1 + random_.below(servers_.size() - 1)]; }
  std::string frail() { return frail_[random_.below(frail_.size())]; }
  // Who talks to whom.
  std::pair<std::string, std::string> link() {
    if (random_.one_in(4)) return halves();
    return {random_.one_in(2) ? client() : std::string("nm"), any_storage()};
  }
  std::pair<std::string, std::string> halves() {
    const std::string pair = "ss" + text(1 + random_.below(scene_.pairs));
    return {pair, pair + "_backup"};
  }
  std::string client() { return "client" + text(random_.below(scene_.clients)); }
  std::string time(Duration low, Duration high) { return render_duration(random_.between(low, high)); }

  std::vector<std::string> strike() {
    switch (kinds_[random_.below(kinds_.size())]) {
      case Fault::kKill: return {"kill", any(), "for", time(50ms, 5s)};
      case Fault::kPause: return {"pause", any(), "for", time(50ms, 6s)};
      case Fault::kPartition: return cut("nm", any_storage());
      case Fault::kClientPartition: return cut(client(), any());
      case Fault::kReset: return {"reset", random_.one_in(2) ? client() : std::string("nm"), any_storage()};
      case Fault::kIsolate: return {"isolate", any(), "for", time(100ms, 5s)};
      case Fault::kPowerCut: return {"power-cut", any(), "for", time(100ms, 3s)};
      // At the n-th crash point: in the middle of a write or a sync.
      case Fault::kPowerCutSoon: return {"power-cut-at", any(), text(1 + random_.below(200)), "for", time(500ms, 3s)};
      case Fault::kStop: return {"stop", any(), "for", time(500ms, 4s)};
      case Fault::kSlowDisk: return {"slow-disk", any(), "for", time(500ms, 3s)};
      // A failed sync or write ends whoever met it.
      case Fault::kFailingDisk:
        return {random_.one_in(2) ? "failing-sync" : "failing-write", any(), text(1 + random_.below(50)), "for", time(500ms, 3s)};
      case Fault::kFullDisk: return {"full-disk", any(), "for", time(100ms, 2s)};
      case Fault::kClockRate: return {"clock-rate", any(), text(980'000 + random_.below(40'000))};
      case Fault::kClockJump: return {"clock-jump", any(), time(10ms, 8s)};
      case Fault::kWallJump: return {"wall-jump", any(), random_.one_in(2) ? "forth" : "back", time(1s, 300s)};
      case Fault::kLossy: {
        auto [a, b] = link();
        return {"lossy", a, b, text(1 + random_.below(20)), "for", time(500ms, 4s)};
      }
      case Fault::kDelay: {
        auto [a, b] = link();
        return {"delay", a, b, time(1ms, 900ms), "for", time(500ms, 4s)};
      }
      case Fault::kClientsCut: {
        uint64_t way = random_.below(3);
        return {"cut-clients", any(), way == 0 ? "to" : way == 1 ? "from" : "both", "for", time(100ms, 6s)};
      }
      case Fault::kHalvesPartition: {
        auto [a, b] = halves();
        return cut(a, b);
      }
      case Fault::kBitRot: return {"bit-rot", frail(), text(random_.next() >> 20)};
      case Fault::kReplay: return {"replay", client(), any()};
      case Fault::kNameNodeSetting: return {"restart-nm", random_.one_in(2) ? "200ms" : "1000ms", "for", time(50ms, 1s)};
      case Fault::kMove: {
        std::string pair = "ss" + text(1 + random_.below(scene_.pairs));
        if (random_.one_in(3)) return {"hand-back", pair};
        if (random_.one_in(3)) return {"drain", any_storage()};
        return {"move", pair};
      }
      case Fault::kLoseDisk: return {"lose-disk", frail(), "for", time(500ms, 5s)};
    }
    return {"kill", any(), "for", "1000ms"};
  }

  std::vector<std::string> cut(const std::string& a, const std::string& b) {
    bool turned = random_.one_in(2);
    std::vector<std::string> words = {random_.one_in(3) ? "partition-one-way" : "partition", turned ? b : a, turned ? a : b};
    words.push_back("for");
    words.push_back(time(100ms, 6s));
    return words;
  }

  const Scene& scene_;
  std::vector<Fault> kinds_;
  SimRandom random_;
  std::vector<std::string> servers_;
  std::vector<std::string> frail_;
};

// About half of the kinds, at least one.
template <class Kind>
std::vector<Kind> some_of(size_t count, SimRandom& random) {
  std::vector<Kind> chosen;
  for (size_t i = 0; i < count; ++i) {
    if (random.one_in(2)) chosen.push_back(static_cast<Kind>(i));
  }
  if (chosen.empty()) chosen.push_back(static_cast<Kind>(random.below(count)));
  return chosen;
}

void choose_durability(Scene& scene, SimRandom& random) {
  if (random.one_in(3)) scene.durability = "sync";
  if (random.one_in(3)) scene.path = "direct";
  if (random.one_in(8)) scene.hints = "off";
  if (random.one_in(6)) scene.hint_ttl = 2s;
  if (random.one_in(8)) scene.hint_bytes = 200'000;
  if (random.one_in(4)) scene.retain = 2 + random.below(10);
  if (random.one_in(4)) scene.sync_clients = 1;
}

}  // namespace

RunScript plan_run(uint64_t seed, const PlanOptions& options) {
  SimRandom random = SimRandom(seed).split("plan");
  RunScript script;
  Scene& scene = script.scene;
  scene.seed = seed;
  scene.pairs = random.one_in(2) ? 1 : static_cast<uint32_t>(1 + random.below(4));
  if (options.pairs != 0) scene.pairs = options.pairs;
  scene.one_machine = random.one_in(2);
  scene.heartbeat = random.one_in(2) ? 200ms : 1000ms;
  scene.clients = static_cast<uint32_t>(2 + random.below(4));
  // Some run long enough for one return to meet the next failure again and again.
  scene.faulty_for = random.one_in(8) ? 60s : 8s + random.between(0s, 10s);
  if (options.faulty_for > Duration::zero()) scene.faulty_for = options.faulty_for;

  std::vector<Work> works = some_of<Work>(kWorks, random);
  if (std::ranges::find(works, Work::kFiles) == works.end()) works.push_back(Work::kFiles);
  std::vector<Fault> faults = some_of<Fault>(kFaults, random);
  if (random.one_in(16)) faults = {Fault::kMove};
  if (options.real) faults = {Fault::kKill, Fault::kKill, Fault::kPause, Fault::kPartition, Fault::kClientPartition, Fault::kIsolate, Fault::kStop, Fault::kMove};
  choose_durability(scene, random);
  if (options.real) {
    std::erase(works, Work::kAccess);
    scene.sync_clients = 0;
    scene.guests = 0;
    scene.hints = "on";
    scene.hint_bytes = Scene().hint_bytes;
  }
  // Many clients do as much as a few, together.
  Duration pause_max = kPauseMax;
  if (random.one_in(8)) {
    scene.clients = static_cast<uint32_t>(12 + random.below(20));
    pause_max *= 8;
  }
  if (std::ranges::find(works, Work::kAccess) != works.end()) {
    scene.guests = static_cast<uint32_t>(1 + random.below(2));
    scene.clients += scene.guests;
  }
  for (size_t i = 0; i < scene.clients; ++i) {
    ClientPlan(scene, i, works, pause_max, random.split("client " + text(i))).make(scene.faulty_for, &script.steps);
  }
  FaultPlan(scene, std::move(faults), random.split("faults")).make(&script.steps);
  // As the text says it, so that both are played alike.
  auto whole = [](Duration time) { return std::chrono::floor<std::chrono::milliseconds>(time); };
  scene.faulty_for = whole(scene.faulty_for);
  for (Step& step : script.steps) step.time = whole(step.time);
  return script;
}

}  // namespace understudy::sim
