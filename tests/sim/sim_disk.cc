#include "tests/sim/sim_disk.h"

#include <algorithm>
#include <cstring>
#include <ranges>

#include "tests/sim/sim_vfs.h"
#include "tests/sim/sim_world.h"

namespace understudy::sim {
namespace {

constexpr uint64_t kSectorBytes = 512;
constexpr uint64_t kDiskBytes = 1ull << 40;  // What a disk without a quota claims to hold.

std::vector<std::string> parts_of(const std::string& path) {
  std::vector<std::string> parts;
  for (auto part : std::views::split(path, '/')) {
    std::string_view text(part.begin(), part.end());
    if (!text.empty() && text != ".") parts.emplace_back(text);
  }
  return parts;
}

void put_bytes(Bytes& content, uint64_t offset, BytesView bytes) {
  if (content.size() < offset + bytes.size()) content.resize(offset + bytes.size());
  std::memcpy(content.data() + offset, bytes.data(), bytes.size());
}

void apply_change(Bytes& content, const SimInode::Unsynced& change) {
  if (change.truncation) {
    content.resize(change.offset);
  } else {
    put_bytes(content, change.offset, change.bytes);
  }
}

}  // namespace

SimDisk::SimDisk(SimWorld& world, SimHost& host, SimRandom random)
    : world_(world), host_(host), random_(random), vfs_(std::make_unique<SimVfs>(*this, random.split("vfs"))) {
  root_ = make_inode(FileInfo::Kind::kFolder);
}

SimDisk::~SimDisk() = default;

// --- faults

void SimDisk::fail_call(DiskCall call, uint64_t n, Code code) { failure_ = {call, n, code}; }
void SimDisk::fail_any_call(uint64_t n, Code code) { failure_ = {std::nullopt, n, code}; }

Status SimDisk::called(DiskCall call) {
  ++calls_[static_cast<size_t>(call)];
  if (!failure_ || (failure_->call && *failure_->call != call) || --failure_->countdown > 0) return {};
  Code code = failure_->code;
  failure_.reset();
  return fail(code, "injected disk error");
}

void SimDisk::set_latency(DiskLatency write, DiskLatency sync, DiskLatency read) {
  write_latency_ = write;
  sync_latency_ = sync;
  read_latency_ = read;
}

bool SimDisk::flip_bit(const std::string& path, uint64_t byte, unsigned bit) {
  InodeRef inode = find(path);
  if (!inode || byte >= inode->content.size()) return false;
  inode->content[byte] ^= static_cast<char>(1u << bit);
  if (byte < inode->durable.size()) inode->durable[byte] ^= static_cast<char>(1u << bit);
  return true;
}

bool SimDisk::crash_point() {
  ++crash_points_;
  if (strike_ && crash_points_ == strike_at_) std::exchange(strike_, nullptr)();
  if (crash_points_ != cut_at_) return false;
  world_.power_cut(host_);
  return true;
}

std::optional<Bytes> SimDisk::peek(const std::string& path, bool durable) const {
  InodeRef inode = root_;
  for (const std::string& part : parts_of(path)) {
    auto& entries = durable ? inode->durable_entries : inode->entries;
    auto found = entries.find(part);
    if (found == entries.end()) return std::nullopt;
    inode = found->second;
  }
  return durable ? inode->durable : inode->content;
}

void SimDisk::put(const std::string& path, Bytes content) {
  std::string name;
  size_t slash = path.rfind('/');
  if (slash != std::string::npos && slash > 0) CHECK(make_folder(path.substr(0, slash)).has_value());
  auto inode = open(path, OpenMode::kCreate);
  CHECK(inode.has_value());
  (*inode)->content = content;
  (*inode)->durable = std::move(content);
  (*inode)->unsynced.clear();
  for (NameChange& change : std::exchange(name_changes_, {})) {
    for (auto& entry : change.entries) {
      if (entry.inode) {
        entry.folder->durable_entries[entry.name] = entry.inode;
      } else {
        entry.folder->durable_entries.erase(entry.name);
      }
    }
  }
}

// --- names

InodeRef SimDisk::make_inode(FileInfo::Kind kind) {
  auto inode = std::make_shared<SimInode>();
  inode->id = next_inode_++;
  inode->kind = kind;
  if (kind == FileInfo::Kind::kFolder) inode->mode = 0755;
  inode->modified = host_.clock.wall(world_.now());
  return inode;
}

InodeRef SimDisk::find(const std::string& path) const {
  InodeRef inode = root_;
  for (const std::string& part : parts_of(path)) {
    auto found = inode->entries.find(part);
    if (found == inode->entries.end()) return nullptr;
    inode = found->second;
  }
  return inode;
}

InodeRef SimDisk::parent_of(const std::string& path, std::string& name) const {
  auto parts = parts_of(path);
  if (parts.empty()) return nullptr;
  name = parts.back();
  parts.pop_back();
  InodeRef inode = root_;
  for (const std::string& part : parts) {
    auto found = inode->entries.find(part);
    if (found == inode->entries.end() || found->second->kind != FileInfo::Kind::kFolder) return nullptr;
    inode = found->second;
  }
  return inode;
}

void SimDisk::change_names(NameChange change) {
  for (auto& entry : change.entries) {
    if (entry.inode) {
      entry.folder->entries[entry.name] = entry.inode;
    } else {
      entry.folder->entries.erase(entry.name);
    }
  }
  name_changes_.push_back(std::move(change));
}

Result<InodeRef> SimDisk::open(const std::string& path, OpenMode mode) {
  std::string name;
  InodeRef folder = parent_of(path, name);
  if (!folder) return fail(Code::kNotFound, path + ": no such folder");
  auto found = folder->entries.find(name);
  if (found != folder->entries.end()) {
    if (mode == OpenMode::kCreateExclusive) return fail(Code::kExists, path + ": it is there already");
    if (found->second->kind == FileInfo::Kind::kFolder) return fail(Code::kIsFolder, path + ": is a folder");
    return found->second;
  }
  if (mode == OpenMode::kRead || mode == OpenMode::kReadWrite) return fail(Code::kNotFound, path + ": no such file");
  InodeRef inode = make_inode(FileInfo::Kind::kFile);
  change_names({{{folder, name, inode}}});
  return inode;
}

Status SimDisk::make_folder(const std::string& path) {
  InodeRef folder = root_;
  for (const std::string& part : parts_of(path)) {
    auto found = folder->entries.find(part);
    InodeRef next = found == folder->entries.end() ? nullptr : found->second;
    if (next && next->kind != FileInfo::Kind::kFolder) return fail(Code::kNotFolder, path + ": not a folder");
    if (!next) {
      next = make_inode(FileInfo::Kind::kFolder);
      change_names({{{folder, part, next}}});
    }
    folder = next;
  }
  return {};
}

Status SimDisk::rename(const std::string& from, const std::string& to) {
  std::string from_name, to_name;
  InodeRef from_folder = parent_of(from, from_name);
  InodeRef to_folder = parent_of(to, to_name);
  InodeRef inode = find(from);
  if (!from_folder || !inode) return fail(Code::kNotFound, from + ": no such file");
  if (!to_folder) return fail(Code::kNotFound, to + ": no such folder");
  InodeRef replaced = find(to);
  if (replaced == inode) return {};
  if (replaced && replaced->kind == FileInfo::Kind::kFolder) {
    if (inode->kind != FileInfo::Kind::kFolder) return fail(Code::kIsFolder, to + ": is a folder");
    if (!replaced->entries.empty()) return fail(Code::kNotEmpty, to + ": the folder is not empty");
  }
  change_names({{{from_folder, from_name, nullptr}, {to_folder, to_name, inode}}});
  return {};
}

Status SimDisk::remove(const std::string& path) {
  std::string name;
  InodeRef folder = parent_of(path, name);
  InodeRef inode = find(path);
  if (!folder || !inode) return fail(Code::kNotFound, path + ": no such file");
  if (!inode->entries.empty()) return fail(Code::kNotEmpty, path + ": the folder is not empty");
  change_names({{{folder, name, nullptr}}});
  return {};
}

Status SimDisk::make_link(const std::string& target, const std::string& path) {
  std::string name;
  InodeRef folder = parent_of(path, name);
  if (!folder) return fail(Code::kNotFound, path + ": no such folder");
  if (folder->entries.contains(name)) return fail(Code::kExists, path + ": it is there already");
  InodeRef inode = make_inode(FileInfo::Kind::kLink);
  inode->link_target = target;
  change_names({{{folder, name, inode}}});
  return {};
}

Status SimDisk::sync_folder(const std::string& path) {
  InodeRef folder = find(path);
  if (!folder) return fail(Code::kNotFound, path + ": no such folder");
  // Its changes, and, since a change is durable as a whole and changes of one folder
  // are in order, those before them in every folder they touch.
  std::vector<SimInode*> touched{folder.get()};
  std::vector<NameChange> now, later;
  for (NameChange& change : std::views::reverse(name_changes_)) {
    bool included = std::ranges::any_of(change.entries, [&](auto& entry) {
      return std::ranges::find(touched, entry.folder.get()) != touched.end();
    });
    if (included) {
      for (auto& entry : change.entries) touched.push_back(entry.folder.get());
    }
    (included ? now : later).push_back(std::move(change));
  }
  for (NameChange& change : std::views::reverse(now)) {
    for (auto& entry : change.entries) {
      if (entry.inode) {
        entry.folder->durable_entries[entry.name] = entry.inode;
      } else {
        entry.folder->durable_entries.erase(entry.name);
      }
    }
  }
  std::ranges::reverse(later);
  name_changes_ = std::move(later);
  return {};
}

// --- content

uint64_t SimDisk::used_bytes() const {
  uint64_t total = 0;
  std::vector<const SimInode*> open{root_.get()};
  while (!open.empty()) {
    const SimInode* inode = open.back();
    open.pop_back();
    total += inode->content.size();
    for (auto& [name, child] : inode->entries) open.push_back(child.get());
  }
  return total;
}

DiskSpace SimDisk::space() const {
  const uint64_t end = quota_.value_or(kDiskBytes);
  return {end - std::min(end, used_bytes()), total_.value_or(kDiskBytes)};
}

Status SimDisk::write(SimInode& inode, uint64_t offset, BytesView bytes) {
  Status refused;
  if (quota_ && offset + bytes.size() > inode.content.size()) {
    uint64_t growth = offset + bytes.size() - inode.content.size();
    uint64_t free = *quota_ - std::min(*quota_, used_bytes());
    if (growth > free) {
      // As much as fits is written, as a file system does.
      refused = fail(Code::kNoSpace, "no space left on the disk");
      bytes = bytes.substr(0, bytes.size() - std::min<uint64_t>(bytes.size(), growth - free));
    }
  }
  if (!bytes.empty()) {
    put_bytes(inode.content, offset, bytes);
    inode.unsynced.push_back({next_sequence_++, offset, Bytes(bytes), false});
  }
  inode.modified = host_.clock.wall(world_.now());
  return refused;
}

Status SimDisk::truncate(SimInode& inode, uint64_t size) {
  inode.content.resize(size);
  inode.unsynced.push_back({next_sequence_++, size, {}, true});
  return {};
}

void SimDisk::finish_sync(SimInode& inode, uint64_t mark) {
  while (!inode.unsynced.empty() && inode.unsynced.front().sequence < mark) {
    apply_change(inode.durable, inode.unsynced.front());
    inode.unsynced.pop_front();
  }
}

void SimDisk::fail_sync(SimInode& inode, uint64_t mark) {
  while (!inode.unsynced.empty() && inode.unsynced.front().sequence < mark) inode.unsynced.pop_front();
}

bool SimDisk::lock(const std::string& path, SimProcess* process) { return locks_.emplace(path, process).second; }
void SimDisk::unlock(const std::string& path) { locks_.erase(path); }

void SimDisk::process_died(SimProcess& process) {
  std::erase_if(locks_, [&](auto& entry) { return entry.second == &process; });
  vfs_->process_died(process);
}

// --- power cuts

void SimDisk::lose_unsynced(SimInode& inode) {
  enum class Fate : uint8_t { kLost, kKept, kTorn, kCutShort };
  auto fate = static_cast<Fate>(random_.below(4));
  size_t kept_whole = random_.below(inode.unsynced.size() + 1);
  for (size_t i = 0; i < inode.unsynced.size(); ++i) {
    const SimInode::Unsynced& change = inode.unsynced[i];
    if (fate == Fate::kLost) break;
    bool whole = fate == Fate::kKept || (fate == Fate::kCutShort && i < kept_whole);
    if (fate == Fate::kCutShort && i > kept_whole) break;
    if (whole || change.truncation) {
      if (whole || random_.one_in(2)) apply_change(inode.durable, change);
      continue;
    }
    // Sector by sector: any of them (torn), or the first so many (cut short).
    uint64_t end = change.offset + change.bytes.size();
    uint64_t first_sector = change.offset / kSectorBytes;
    uint64_t sectors = (end + kSectorBytes - 1) / kSectorBytes - first_sector;
    uint64_t prefix = random_.below(sectors + 1);
    for (uint64_t sector = 0; sector < sectors; ++sector) {
      bool kept = fate == Fate::kTorn ? random_.one_in(2) : sector < prefix;
      if (!kept) continue;
      uint64_t from = std::max(change.offset, (first_sector + sector) * kSectorBytes);
      uint64_t to = std::min(end, (first_sector + sector + 1) * kSectorBytes);
      put_bytes(inode.durable, from, BytesView(change.bytes).substr(from - change.offset, to - from));
    }
  }
  // The size may have reached the disk without the bytes: they read as zeros then.
  if (inode.durable.size() < inode.content.size() && random_.one_in(4)) inode.durable.resize(inode.content.size());
  inode.unsynced.clear();
}

void SimDisk::restart_from_durable() {
  // Names first: the first so many changes survive.
  size_t kept = random_.below(name_changes_.size() + 1);
  for (size_t i = 0; i < kept; ++i) {
    for (auto& entry : name_changes_[i].entries) {
      if (entry.inode) {
        entry.folder->durable_entries[entry.name] = entry.inode;
      } else {
        entry.folder->durable_entries.erase(entry.name);
      }
    }
  }
  name_changes_.clear();
  std::vector<SimInode*> open{root_.get()};
  while (!open.empty()) {
    SimInode* inode = open.back();
    open.pop_back();
    if (!inode->unsynced.empty()) lose_unsynced(*inode);
    inode->content = inode->durable;
    inode->entries = inode->durable_entries;
    for (auto& [name, child] : inode->entries) open.push_back(child.get());
  }
}

void SimDisk::lose_power() {
  ++generation_;
  cut_at_ = 0;
  locks_.clear();
  vfs_->lose_power();
  // On copies: handles that are still to be closed keep the old files.
  copy_after_power_cut(*this);
}

void SimDisk::replace() {
  ++generation_;
  cut_at_ = 0;
  locks_.clear();
  vfs_->lose_power();
  failure_.reset();
  name_changes_.clear();
  root_ = make_inode(FileInfo::Kind::kFolder);
}

void SimDisk::copy_after_power_cut(const SimDisk& other) {
  std::map<uint64_t, InodeRef> copies;  // By inode number.
  std::vector<std::pair<const SimInode*, SimInode*>> open;
  auto copy = [&](const InodeRef& from) {
    auto [at, fresh] = copies.try_emplace(from->id);
    if (fresh) {
      at->second = std::make_shared<SimInode>(*from);
      open.emplace_back(from.get(), at->second.get());
    }
    return at->second;
  };
  InodeRef root = copy(other.root_);
  std::vector<NameChange> changes = other.name_changes_;
  for (NameChange& change : changes) {
    for (auto& entry : change.entries) {
      entry.folder = copy(entry.folder);
      if (entry.inode) entry.inode = copy(entry.inode);
    }
  }
  while (!open.empty()) {
    SimInode* inode = open.back().second;
    open.pop_back();
    for (auto& [name, child] : inode->entries) child = copy(child);
    for (auto& [name, child] : inode->durable_entries) child = copy(child);
  }
  root_ = std::move(root);
  name_changes_ = std::move(changes);
  next_inode_ = std::max(next_inode_, other.next_inode_);
  next_sequence_ = std::max(next_sequence_, other.next_sequence_);
  restart_from_durable();
}

}  // namespace understudy::sim
