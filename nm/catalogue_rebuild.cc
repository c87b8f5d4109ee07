#include "nm/catalogue_rebuild.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_map>

#include "common/base/path.h"
#include "nm/server_calls.h"

namespace understudy {
namespace {

// Above everything that was seen: a server that was away may have seen later epochs, and
// files may have been begun that nobody has. Neither number is ever given again.
constexpr uint64_t kMargin = 1'000'000;
constexpr uint64_t kCounterMask = (uint64_t{1} << 54) - 1;
constexpr std::string_view kBackupEnding = "_backup";
constexpr int kInTransaction = 10'000;

constexpr const char* kScratchSchema = R"sql(
CREATE TABLE seen(id INTEGER, server TEXT, content BLOB, PRIMARY KEY(id, server)) WITHOUT ROWID;
)sql";

std::string home_of(const wire::RegisterRequest& request) {
  if (!request.backup_of().empty()) return request.backup_of();
  std::string_view name = request.server();
  return std::string(name.ends_with(kBackupEnding) ? name.substr(0, name.size() - kBackupEnding.size()) : name);
}

}  // namespace

struct CatalogueRebuild::Seen {
  std::string server;
  wire::ListedObject object;
};

std::string RebuildSummary::to_string() const {
  std::string text = fmt::format("{} files, {} folders; {} deleted files stay deleted", files, folders, deleted);
  if (found > 0) text += fmt::format("; under /lost+found, whose folder or name nobody knew: {}", found);
  if (renamed > 0) text += fmt::format("; renamed, because two had one name: {}", renamed);
  return text;
}

Result<std::unique_ptr<CatalogueRebuild>> CatalogueRebuild::begin(Env& env, std::string path, std::string scratch) {
  std::unique_ptr<CatalogueRebuild> rebuild(new CatalogueRebuild());
  auto id = fmt::format("{:016x}{:016x}", env.random.next(), env.random.next());
  ASSIGN_OR_RETURN(rebuild->store_, CatalogueStore::open(std::move(path), env.disk.sqlite_vfs(), id));
  rebuild->summary_.database_id = rebuild->store_->database_id();
  ASSIGN_OR_RETURN(rebuild->scratch_, SqliteDb::open(std::move(scratch), {.vfs = env.disk.sqlite_vfs()}));
  RETURN_IF_ERROR(rebuild->scratch_->execute(kScratchSchema));
  RETURN_IF_ERROR(rebuild->scratch_->begin());
  return rebuild;
}

CatalogueRebuild::~CatalogueRebuild() = default;

Status CatalogueRebuild::add_server(const wire::RegisterRequest& request) {
  const std::string name = printable(request.server());
  RETURN_IF_ERROR(check_name(request.server()));
  if (request.empty() || request.cluster_id().empty()) {
    return fail(Code::kInvalid, name + ": its data folder is empty: nothing can be rebuilt from it; start it when the "
                                       "catalogue is there again");
  }
  if (!cluster_id_.empty() && request.cluster_id() != cluster_id_) {
    return fail(Code::kConflict, fmt::format("{}: is of cluster {}, the others are of {}", name,
                                             printable(request.cluster_id()), cluster_id_));
  }
  const std::string home = home_of(request);
  for (const auto& [other, member] : members_) {
    if (other == request.server() || home_of(member.request) != home) continue;
    if ((home == other) == (home == request.server())) {
      return fail(Code::kConflict, fmt::format("{} and {} are both a backup of {}", name, other, home));
    }
  }
  cluster_id_ = request.cluster_id();
  greatest_ = std::max({greatest_, request.epoch(), request.epoch_seen()});
  Member& member = members_[request.server()];
  member.request = request;
  member.absent = false;
  return {};
}

Status CatalogueRebuild::add_absent(const std::string& name) {
  RETURN_IF_ERROR(check_name(name));
  Member& member = members_[name];
  member.absent = true;
  member.request.set_server(name);
  return {};
}

Status CatalogueRebuild::add_objects(const std::string& server, const wire::ListObjectsReply& page) {
  for (const auto& object : page.objects()) {
    greatest_ = std::max({greatest_, object.name().meta_version(), object.head().epoch()});
    greatest_object_ = std::max(greatest_object_, object.name().object_id() & kCounterMask);
    RETURN_IF_ERROR(scratch_->statement("INSERT OR REPLACE INTO seen VALUES(?1, ?2, ?3)")
                        .bind(object.name().object_id())
                        .bind_text(server)
                        .bind_blob(object.SerializeAsString())
                        .run());
  }
  return {};
}

Task<Result<RebuildSummary>> CatalogueRebuild::finish(int64_t now_us) {
  now_us_ = now_us;
  summary_.index = greatest_ + kMargin;
  summary_.cluster_id = cluster_id_;
  auto& cluster = store_->cluster;
  cluster.cluster_id = cluster_id_;
  cluster.applied_index = summary_.index;
  cluster.time_us = now_us;
  cluster.next_object = greatest_object_ + kMargin;
  CO_RETURN_IF_ERROR(store_->db().begin());
  make_members();
  CO_RETURN_IF_ERROR(insert_objects());
  settle_folders();
  tell_all_names();
  summary_.files = cluster.files;
  summary_.folders = cluster.folders;
  wire::Event event;
  event.set_id(cluster.next_event++);
  event.set_time_us(now_us);
  event.set_kind("rebuilt");
  event.set_text("the catalogue was rebuilt from what storage servers keep of names: " + summary_.to_string());
  store_->put_event(event.id(), event.SerializeAsString());
  store_->write_back();
  if (store_->error()) co_return std::unexpected(*store_->error());
  CO_RETURN_IF_ERROR(store_->db().commit());
  CO_RETURN_IF_ERROR(store_->db().checkpoint_here());
  co_return summary_;
}

void CatalogueRebuild::make_members() {
  auto& cluster = store_->cluster;
  for (auto& [name, member] : members_) {
    const auto& request = member.request;
    const std::string home = home_of(request);
    Pair* pair = store_->pair_named(home);
    if (!pair) {
      PairId id{cluster.next_member++};
      pair = &store_->pairs[id];
      pair->id = id;
      pair->name = home;
    }
    member.id = ServerId{cluster.next_member++};
    member.pair = pair->id;
    Server& server = store_->servers[member.id];
    server.id = member.id;
    server.name = name;
    server.pair = pair->id;
    server.is_backup = home != name;
    (server.is_backup ? pair->backup : pair->home) = member.id;
    server.failed = true;  // Until it registers.
    if (member.absent) continue;
    server.store_id = request.store_id();
    server.incarnation = request.incarnation();
    server.address = request.address();
    server.machine = request.machine();
    server.pid = request.pid();
    server.pid_start_time = request.pid_start_time();
    // What it has is listed, whoever was told of it before.
    server.announced_lsn = server.confirmed_lsn = Lsn{request.log_end_lsn()};
    server.failed = false;
    // Who served last has what was acknowledged last; of two that never did, the home primary.
    const Epoch served{request.epoch()};
    const bool first = pair->acting == kNoServer;
    if (first || served > pair->epoch || (served == pair->epoch && !server.is_backup)) {
      if (!first) store_->servers[pair->acting].in_sync = false;
      pair->acting = member.id;
      pair->epoch = served;
      server.in_sync = true;
    }
  }
  // What the others have confirmed, nobody knows.
  for (const auto& [id, server] : store_->servers) store_->set_unfilled(id, !server.in_sync);
}

Status CatalogueRebuild::insert_objects() {
  auto rows = scratch_->statement("SELECT id, server, content FROM seen ORDER BY id, server");
  std::vector<Seen> all;
  uint64_t id = 0;
  int inserted = 0;
  while (true) {
    ASSIGN_OR_RETURN(bool found, rows.step());
    if (!all.empty() && (!found || rows.column_uint64(0) != id)) {
      insert_object(all);
      all.clear();
      if (++inserted % kInTransaction == 0) {
        RETURN_IF_ERROR(store_->db().commit());
        RETURN_IF_ERROR(store_->db().begin());
      }
    }
    if (!found) return store_->error() ? std::unexpected(*store_->error()) : Status();
    id = rows.column_uint64(0);
    Seen seen{std::string(rows.column_bytes(1)), {}};
    BytesView content = rows.column_bytes(2);
    if (!seen.object.ParseFromArray(content.data(), static_cast<int>(content.size()))) {
      return fail(Code::kCorrupt, "the scratch database of the rebuilding cannot be read");
    }
    all.push_back(std::move(seen));
  }
}

// What the servers say of one object, decided.
void CatalogueRebuild::insert_object(const std::vector<Seen>& all) {
  const Seen* named = nullptr;  // Who knows its newest name,
  const Seen* held = nullptr;   // and who its newest version: the acting primary if it has one.
  int64_t created_us = 0;
  bool held_by_acting = false;
  for (const Seen& seen : all) {
    const Member& member = members_[seen.server];
    if (!named || seen.object.name().meta_version() > named->object.name().meta_version() ||
        (seen.object.name().meta_version() == named->object.name().meta_version() && named->object.name().name().empty())) {
      named = &seen;
    }
    if (!from_wire(seen.object.head())) continue;
    const bool acts = store_->pairs[member.pair].acting == member.id;
    const bool newer = !held || from_wire(seen.object.head()) > from_wire(held->object.head());
    if (acts || (!held_by_acting && newer)) held = &seen;
    held_by_acting = held_by_acting || acts;
    if (seen.object.created_us() != 0 && (created_us == 0 || seen.object.created_us() < created_us)) {
      created_us = seen.object.created_us();
    }
  }
  // The newest version that anybody has says whether it is deleted: one that was undeleted goes onto its tombstone.
  const Seen& newest = *std::ranges::max_element(all, {}, [](const Seen& seen) { return from_wire(seen.object.head()); });
  if (newest.object.deleted()) {
    ++summary_.deleted;
    return;
  }
  if (held && held->object.deleted()) held = &newest;
  const auto& name = named->object.name();
  Node node;
  node.id = FileId{name.object_id()};
  if (node.id == kRootFolder || node.id == kTrashFolder) return;
  if (name.kind() == wire::KIND_FOLDER) store_->set_durability(node.id, static_cast<uint8_t>(name.durability()));
  if (held) {
    const auto& object = held->object;
    const Member& member = members_[held->server];
    node = node_of(name);
    node.kind = NodeKind::kFile;
    node.pair = member.pair;
    node.created_us = created_us;
    node.modified_us = std::max(node.modified_us, object.modified_us());
    if (node.mode == 0) node.mode = object.mode();
    node.announced = from_wire(object.head());
    node.size_bytes = object.size_bytes();
    node.announced_by = member.id;
    node.announced_lsn = store_->servers[member.id].announced_lsn;
  } else {
    // A name that is gone, or a file that never got a version.
    if (name.kind() != wire::KIND_FOLDER && name.kind() != wire::KIND_LINK) return;
    node = node_of(name);
    node.created_us = created_us ? created_us : node.modified_us;
  }
  // Users stand in no server's log; an administrator adds them again, and what they may do is there.
  for (const auto& user : name.readers()) store_->people().put_access(node.id, user, Right::kRead);
  for (const auto& user : name.writers()) store_->people().put_access(node.id, user, Right::kWrite);
  insert_named(std::move(node));
}

void CatalogueRebuild::insert_named(Node node) {
  if (node.name.empty()) {
    node.name = fmt::format("{:016x}", number(node.id));
    node.parent = kNoFile;
  }
  // Whatever a server says it is called: what is no name would lead out of its folder wherever names are joined.
  if (!check_name(node.name)) node.name = fmt::format("{:016x}", number(node.id));
  if (auto there = store_->child(node.parent, node.name)) {
    // One of them was renamed or removed, and nobody who is here was told: the newer one keeps the name.
    Node loser = node.meta_version > there->meta_version ? *there : node;
    loser.name += fmt::format(" (recovered {:016x})", number(loser.id));
    loser.meta_version = summary_.index;
    ++summary_.renamed;
    if (loser.id != there->id) {
      store_->insert_node(loser);
      return;
    }
    store_->update_node(*there, loser);
  }
  store_->insert_node(node);
}

FileId CatalogueRebuild::new_id() {
  uint64_t n = store_->cluster.next_object++;
  return FileId{((n * 0x9e3779b97f4a7c15u) >> 54) << 54 | n};
}

FileId CatalogueRebuild::lost_and_found() {
  if (lost_and_found_ != kNoFile) return lost_and_found_;
  Node folder;
  folder.id = new_id();
  folder.parent = kRootFolder;
  folder.kind = NodeKind::kFolder;
  folder.name = "lost+found";
  for (int n = 2; store_->child(kRootFolder, folder.name); ++n) folder.name = fmt::format("lost+found-{}", n);
  folder.owner = "admin";
  folder.created_us = folder.modified_us = now_us_;
  folder.meta_version = summary_.index;
  store_->insert_node(folder);
  return lost_and_found_ = folder.id;
}

void CatalogueRebuild::bring_back(FileId id) {
  auto old = store_->node(id);
  if (!old) return;
  Node node = *old;
  node.parent = lost_and_found();
  node.meta_version = summary_.index;
  if (store_->child(node.parent, node.name)) node.name += fmt::format(" ({:016x})", number(id));
  store_->update_node(*old, node);
  ++summary_.found;
}

// Everything hangs under the root or the trash.
void CatalogueRebuild::settle_folders() {
  std::unordered_map<FileId, std::pair<FileId, uint64_t>> parents;  // Of folders: where they hang, meta_version.
  {
    auto rows = store_->db().statement("SELECT id, parent, meta_version FROM nodes WHERE kind = 2 ORDER BY id");
    while (rows.step().value_or(false)) {
      parents[FileId{rows.column_uint64(0)}] = {FileId{rows.column_uint64(1)}, rows.column_uint64(2)};
    }
  }
  std::vector<FileId> orphans;
  {
    auto rows = store_->db().statement(
        "SELECT n.id FROM nodes n LEFT JOIN nodes f ON f.id = n.parent AND f.kind = 2 "
        "WHERE f.id IS NULL AND n.id > 2 OR f.id IS NULL AND n.id < 0 ORDER BY n.id");
    while (rows.step().value_or(false)) orphans.push_back(FileId{rows.column_uint64(0)});
  }
  for (FileId id : orphans) {
    bring_back(id);
    if (auto folder = parents.find(id); folder != parents.end()) folder->second.first = kRootFolder;
  }
  // A circle, of moves that nobody was told of in full: its oldest one comes out of it.
  std::set<FileId> ids, settled = {kRootFolder, kTrashFolder};
  for (const auto& [id, place] : parents) ids.insert(id);
  for (FileId id : ids) {
    std::vector<FileId> way;
    FileId at = id;
    while (!settled.contains(at) && std::ranges::find(way, at) == way.end()) {
      way.push_back(at);
      at = parents[at].first;
    }
    if (!settled.contains(at)) {
      auto circle = std::ranges::find(way, at);
      auto oldest = std::ranges::min_element(circle, way.end(), {}, [&](FileId one) { return parents[one].second; });
      bring_back(*oldest);
    }
    settled.insert(way.begin(), way.end());
  }
}

// Every server is told every folder and link: whoever missed the last changes has them now.
void CatalogueRebuild::tell_all_names() {
  auto tell = [this](const Server& server, FileId object, uint64_t meta_version) {
    Job job;
    job.target = server.id;
    job.object = object;
    job.sequence = store_->cluster.next_job++;
    job.kind = JobKind::kMetadata;
    job.meta_version = meta_version;
    job.created_us = now_us_;
    store_->put_job({}, job);
  };
  const auto names = store_->names();
  std::vector<std::pair<FileId, PairId>> files;  // That got another name or place here.
  {
    auto rows = store_->db().statement("SELECT id, pair FROM nodes WHERE kind = 1 AND meta_version = ?1 ORDER BY id");
    rows.bind(summary_.index);
    while (rows.step().value_or(false)) files.emplace_back(FileId{rows.column_uint64(0)}, PairId{rows.column_uint64(1)});
  }
  for (const auto& [id, server] : store_->servers) {
    for (const auto& [object, meta_version] : names) tell(server, object, meta_version);
    for (const auto& [object, pair] : files) {
      if (pair == server.pair) tell(server, object, summary_.index);
    }
  }
}

}  // namespace understudy
