#include "nm/raft_io.h"

#include <fmt/format.h>

#include <cstring>

#include "common/base/checksum.h"
#include "common/base/coding.h"
#include "common/base/log.h"
#include "common/env/env_util.h"

extern "C" {
#include <raft.h>
}

namespace understudy {
namespace {

constexpr uint32_t kEntryRecord = 1;  // Record type in the segment log.
constexpr uint32_t kFormat = 1;
constexpr uint32_t kTermMagic = 0x6d725455;      // "UTrm"
constexpr uint32_t kSnapshotMagic = 0x70735355;  // "USsp"
constexpr uint32_t kSmallFileMax = 1 << 20;
constexpr size_t kEntryHeadSize = 18;

void put_string(Bytes& out, BytesView text) {
  put_fixed<uint32_t>(out, static_cast<uint32_t>(text.size()));
  out.append(text);
}

bool get_string(BytesView& in, std::string& text) {
  uint32_t size = 0;
  if (!get_fixed(in, size) || in.size() < size) return false;
  text = in.substr(0, size);
  in.remove_prefix(size);
  return true;
}

Bytes sealed(Bytes content) {
  put_fixed<uint64_t>(content, checksum(content));
  return content;
}

// Takes the checksum off the end and magic and format off the front.
Status unseal(BytesView& bytes, uint32_t magic, const std::string& what) {
  if (bytes.size() < 16) return fail(Code::kCorrupt, what + ": cut short");
  auto content = bytes.substr(0, bytes.size() - 8);
  if (load_fixed<uint64_t>(bytes.data() + content.size()) != checksum(content)) {
    return fail(Code::kCorrupt, what + ": wrong checksum");
  }
  uint32_t found_magic = 0, format = 0;
  if (!get_fixed(content, found_magic) || !get_fixed(content, format) || found_magic != magic) {
    return fail(Code::kCorrupt, what + ": no such file of ours");
  }
  if (format != kFormat) return fail(Code::kInvalid, fmt::format("{}: format {}, this program knows {}", what, format, kFormat));
  bytes = content;
  return {};
}

void* raft_copy(BytesView bytes) {
  void* copy = raft_malloc(bytes.size() ? bytes.size() : 1);
  CHECK(copy);
  if (!bytes.empty()) std::memcpy(copy, bytes.data(), bytes.size());
  return copy;
}

// C-Raft encodes configurations but keeps decoding to itself; ours is
// {voter count}{id, role, address}*.
Bytes encode_servers(const raft_configuration& configuration) {
  Bytes out;
  put_fixed<uint32_t>(out, configuration.n);
  for (unsigned i = 0; i < configuration.n; ++i) {
    put_fixed<uint64_t>(out, configuration.servers[i].id);
    put_fixed<uint32_t>(out, static_cast<uint32_t>(configuration.servers[i].role));
    put_string(out, configuration.servers[i].address);
  }
  return out;
}

bool decode_servers(BytesView in, raft_configuration* configuration) {
  raft_configuration_init(configuration);
  uint32_t count = 0;
  if (!get_fixed(in, count)) return false;
  for (uint32_t i = 0; i < count; ++i) {
    uint64_t id = 0;
    uint32_t role = 0;
    std::string address;
    if (!get_fixed(in, id) || !get_fixed(in, role) || !get_string(in, address)) return false;
    if (raft_configuration_add(configuration, id, address.c_str(), static_cast<int>(role)) != 0) return false;
  }
  return true;
}

}  // namespace

// ---- C-Raft's calls -----------------------------------------------------------------

struct RaftIo::Calls {
  static RaftIo* self(const raft_io* io) { return static_cast<RaftIo*>(io->impl); }

  static int init(raft_io*, raft_id, const char*) { return 0; }

  static void close(raft_io* io, raft_io_close_cb done) {
    self(io)->cancel_all();
    if (done) done(io);
  }

  static int load(raft_io* io, raft_term* term, raft_id* voted_for, raft_snapshot** snapshot, raft_index* start_index,
                  raft_entry* entries[], size_t* n_entries) {
    RaftIo* me = self(io);
    *term = me->term_;
    *voted_for = me->voted_for_;
    *snapshot = me->snapshot_.index ? make_snapshot(me->snapshot_) : nullptr;
    *start_index = me->snapshot_.index + 1;
    *n_entries = me->loaded_.size();
    *entries = nullptr;
    if (me->loaded_.empty()) return 0;
    *entries = static_cast<raft_entry*>(raft_calloc(me->loaded_.size(), sizeof(raft_entry)));
    CHECK(*entries);
    for (size_t i = 0; !me->loaded_.empty(); ++i) {
      const Loaded& from = me->loaded_.front();
      (*entries)[i] = {.term = from.term,
                       .type = from.type,
                       .buf = {.base = raft_copy(from.bytes), .len = from.bytes.size()},
                       .batch = nullptr};
      me->loaded_.pop_front();
    }
    return 0;
  }

  static raft_snapshot* make_snapshot(const Descriptor& descriptor) {
    auto* snapshot = static_cast<raft_snapshot*>(raft_calloc(1, sizeof(raft_snapshot)));
    CHECK(snapshot);
    snapshot->index = descriptor.index;
    snapshot->term = descriptor.term;
    snapshot->configuration_index = descriptor.configuration_index;
    CHECK(decode_servers(descriptor.configuration, &snapshot->configuration));
    snapshot->n_bufs = 1;
    snapshot->bufs = static_cast<raft_buffer*>(raft_malloc(sizeof(raft_buffer)));
    CHECK(snapshot->bufs);
    snapshot->bufs[0] = {.base = raft_copy(descriptor.database_id), .len = descriptor.database_id.size()};
    return snapshot;
  }

  static int start(raft_io* io, unsigned msecs, raft_io_tick_cb on_tick, raft_io_recv_cb) {
    RaftIo* me = self(io);
    me->on_tick_ = on_tick;
    me->tick_every_ = std::chrono::milliseconds(msecs);
    me->tick();
    return 0;
  }

  static int bootstrap(raft_io*, const raft_configuration*) { return RAFT_CANTBOOTSTRAP; }  // open() made the group.
  static int recover(raft_io*, const raft_configuration*) { return RAFT_INVALID; }

  static int set_term(raft_io* io, raft_term term) {
    self(io)->term_ = term;
    self(io)->voted_for_ = 0;
    self(io)->save_term();
    return 0;
  }
  static int set_vote(raft_io* io, raft_id server) {
    self(io)->voted_for_ = server;
    self(io)->save_term();
    return 0;
  }

  // There is nobody else in a group of one. Where others come, a message waits here
  // until term_dirty_ is false.
  static int send(raft_io*, raft_io_send*, const raft_message*, raft_io_send_cb) { return RAFT_NOCONNECTION; }

  static int append(raft_io* io, raft_io_append* request, const raft_entry entries[], unsigned n, raft_io_append_cb done) {
    RaftIo* me = self(io);
    if (me->closed_) return RAFT_CANCELED;
    CHECK(n > 0);
    request->cb = done;
    me->appending_.push_back({.request = request, .first_index = me->last_index() + 1});
    Lsn first = kNoLsn;
    for (unsigned i = 0; i < n; ++i) {
      const raft_entry& entry = entries[i];
      SegmentLog::Done when_last;
      if (i + 1 == n) when_last = [me](const Status& status) { me->appended(status); };
      Lsn lsn = me->append_record(me->last_index() + 1, entry.term, entry.type,
                                  Bytes(static_cast<const char*>(entry.buf.base), entry.buf.len), std::move(when_last));
      if (i == 0) first = lsn;
    }
    // append() never calls back from within, so the request is still the last.
    me->appending_.back().first = first;
    return 0;
  }

  static int truncate(raft_io* io, raft_index index) {
    self(io)->forget_from(index);
    return 0;
  }

  static int snapshot_put(raft_io* io, unsigned, raft_io_snapshot_put* request, const raft_snapshot* snapshot,
                          raft_io_snapshot_put_cb done) {
    RaftIo* me = self(io);
    if (me->closed_ || me->putting_) return RAFT_BUSY;
    request->cb = done;
    me->putting_ = request;
    Descriptor descriptor{.index = snapshot->index,
                          .term = snapshot->term,
                          .configuration_index = snapshot->configuration_index,
                          .configuration = encode_servers(snapshot->configuration),
                          .database_id = me->options_.database_id};
    me->tasks_.spawn(me->put_snapshot(std::move(descriptor)));
    return 0;
  }

  static int snapshot_get(raft_io* io, raft_io_snapshot_get* request, raft_io_snapshot_get_cb done) {
    if (self(io)->snapshot_.index == 0) return RAFT_NOTFOUND;
    done(request, make_snapshot(self(io)->snapshot_), 0);
    return 0;
  }

  static raft_time time(raft_io* io) {
    return static_cast<raft_time>(
        std::chrono::duration_cast<std::chrono::milliseconds>(self(io)->env_.clock.now().time_since_epoch()).count());
  }
  static int random(raft_io* io, int min, int max) {
    uint64_t span = static_cast<uint64_t>(max - min) + 1;
    return min + static_cast<int>(self(io)->env_.random.next() % span);
  }
  static int async_work(raft_io*, raft_io_async_work* request, raft_io_async_work_cb done) {
    done(request, request->work(request));
    return 0;
  }
};

RaftIo::RaftIo(Env& env, RaftIoOptions options)
    : env_(env), options_(std::move(options)), face_(std::make_unique<raft_io>()), tasks_(env.executor) {
  *face_ = {};
  face_->version = 2;  // C-Raft keeps itself in `data`.
  face_->impl = this;
  face_->init = Calls::init;
  face_->close = Calls::close;
  face_->load = Calls::load;
  face_->start = Calls::start;
  face_->bootstrap = Calls::bootstrap;
  face_->recover = Calls::recover;
  face_->set_term = Calls::set_term;
  face_->set_vote = Calls::set_vote;
  face_->send = Calls::send;
  face_->append = Calls::append;
  face_->truncate = Calls::truncate;
  face_->snapshot_put = Calls::snapshot_put;
  face_->snapshot_get = Calls::snapshot_get;
  face_->time = Calls::time;
  face_->random = Calls::random;
  face_->async_work = Calls::async_work;
}

RaftIo::~RaftIo() {
  cancel_all();
  tasks_.cancel();
}

void RaftIo::cancel_all() {
  closed_ = true;
  if (tick_timer_) env_.clock.cancel(*tick_timer_);
  tick_timer_.reset();
  while (!appending_.empty()) finish_append(RAFT_CANCELED);
  if (auto* request = std::exchange(putting_, nullptr)) request->cb(request, RAFT_CANCELED);
}

void RaftIo::tick() {
  tick_timer_ = env_.clock.schedule(env_.clock.now() + tick_every_, [this] {
    tick();
    on_tick_(face_.get());
  });
}

// ---- Opening ------------------------------------------------------------------------

Task<Result<std::unique_ptr<RaftIo>>> RaftIo::open(Env& env, RaftIoOptions options) {
  std::unique_ptr<RaftIo> io(new RaftIo(env, std::move(options)));
  CO_RETURN_IF_ERROR(co_await io->load());
  co_return io;
}

Task<Status> RaftIo::begin_behind(Env& env, RaftIoOptions options, uint64_t index) {
  RaftIo io(env, std::move(options));
  CO_RETURN_IF_ERROR(make_folder_durably(env, io.options_.folder));
  CO_RETURN_IF_ERROR(co_await io.read_term());
  Descriptor descriptor{.index = index,
                        .term = io.term_,
                        .configuration_index = index,
                        .configuration = io.servers_of_one(),
                        .database_id = io.options_.database_id};
  co_return co_await replace_small_file(env, io.snapshot_path(), encode_descriptor(descriptor));
}

Task<Status> RaftIo::load() {
  CO_RETURN_IF_ERROR(make_folder_durably(env_, options_.folder));
  CO_RETURN_IF_ERROR(co_await read_term());
  CO_RETURN_IF_ERROR(co_await read_descriptor());
  first_index_ = snapshot_.index + 1;
  SegmentLogOptions log_options{.folder = options_.folder + "/log",
                                .store_id = store_id_,
                                .segment_size = options_.segment_size,
                                .damaged = [this](Lsn, Lsn) { damaged_ = true; }};
  auto opened = co_await SegmentLog::open(env_, log_options, snapshot_.replay_from,
                                          [this](LogRecord record) { return replay(std::move(record)); });
  if (!opened) co_return std::unexpected(opened.error());
  log_ = *std::move(opened);
  if (begins_anew_) {
    CO_RETURN_IF_ERROR(co_await options_.make_durable());
    CO_RETURN_IF_ERROR(co_await replace_small_file(env_, snapshot_path(), encode_descriptor(snapshot_)));
    CO_RETURN_IF_ERROR(log_->trim_before(snapshot_.replay_from));
    log_warning(fmt::format("{}/log was damaged; the catalogue has what stood there, and the log begins anew behind entry {}",
                            options_.folder, snapshot_.index));
  }
  if (last_index() == 0) CO_RETURN_IF_ERROR(co_await make_group());
  co_return Status{};
}

Task<Status> RaftIo::read_term() {
  auto read = co_await read_small_file(env_, term_path(), kSmallFileMax);
  if (!read && read.error().code != Code::kNotFound) co_return std::unexpected(read.error());
  if (!read) {
    for (int i = 0; i < 2; ++i) store_id_ += fmt::format("{:016x}", env_.random.next());
    term_ = 1;
    co_return co_await replace_small_file(env_, term_path(), encode_term());
  }
  BytesView in = *read;
  CO_RETURN_IF_ERROR(unseal(in, kTermMagic, term_path()));
  if (!get_fixed(in, term_) || !get_fixed(in, voted_for_) || !get_string(in, store_id_)) {
    co_return fail(Code::kCorrupt, term_path() + ": cut short");
  }
  co_return Status{};
}

Bytes RaftIo::encode_term() const {
  Bytes out;
  put_fixed<uint32_t>(out, kTermMagic);
  put_fixed<uint32_t>(out, kFormat);
  put_fixed<uint64_t>(out, term_);
  put_fixed<uint64_t>(out, voted_for_);
  put_string(out, store_id_);
  return sealed(std::move(out));
}

Task<Status> RaftIo::read_descriptor() {
  auto read = co_await read_small_file(env_, snapshot_path(), kSmallFileMax);
  if (!read && read.error().code == Code::kNotFound) co_return Status{};
  if (!read) co_return std::unexpected(read.error());
  BytesView in = *read;
  CO_RETURN_IF_ERROR(unseal(in, kSnapshotMagic, snapshot_path()));
  CO_RETURN_IF_ERROR(decode_descriptor(in, snapshot_));
  if (snapshot_.database_id != options_.database_id) {
    co_return fail(Code::kCorrupt, fmt::format("{}: belongs to database {}, but the one here is {}", snapshot_path(),
                                               snapshot_.database_id, options_.database_id));
  }
  co_return Status{};
}

Bytes RaftIo::encode_descriptor(const Descriptor& descriptor) {
  Bytes out;
  put_fixed<uint32_t>(out, kSnapshotMagic);
  put_fixed<uint32_t>(out, kFormat);
  put_fixed<uint64_t>(out, descriptor.index);
  put_fixed<uint64_t>(out, descriptor.term);
  put_fixed<uint64_t>(out, descriptor.configuration_index);
  put_fixed<uint64_t>(out, number(descriptor.replay_from));
  put_string(out, descriptor.configuration);
  put_string(out, descriptor.database_id);
  return sealed(std::move(out));
}

Status RaftIo::decode_descriptor(BytesView in, Descriptor& descriptor) {
  uint64_t replay_from = 0;
  if (!get_fixed(in, descriptor.index) || !get_fixed(in, descriptor.term) ||
      !get_fixed(in, descriptor.configuration_index) || !get_fixed(in, replay_from) ||
      !get_string(in, descriptor.configuration) || !get_string(in, descriptor.database_id)) {
    return fail(Code::kCorrupt, "snapshot descriptor: cut short");
  }
  descriptor.replay_from = Lsn{replay_from};
  raft_configuration configuration;
  bool valid = decode_servers(descriptor.configuration, &configuration);
  raft_configuration_close(&configuration);
  if (!valid) return fail(Code::kCorrupt, "snapshot descriptor: no such configuration");
  return {};
}

Status RaftIo::replay(LogRecord record) {
  BytesView head = record.head;
  uint64_t index = 0, term = 0;
  uint16_t type = 0;
  if (record.type != kEntryRecord || !get_fixed(head, index) || !get_fixed(head, term) || !get_fixed(head, type)) {
    return fail(Code::kCorrupt, fmt::format("{}/log: no Raft entry at {}", options_.folder, number(record.lsn)));
  }
  if (index <= snapshot_.index) return {};
  if (index > last_index() + 1) {
    if (!damaged_ || index > options_.applied_index + 1) {
      return fail(Code::kCorrupt, fmt::format("{}/log: is damaged: entry {} follows entry {}", options_.folder, index, last_index()));
    }
    // A group of one has had one term, and no other configuration.
    begins_anew_ = true;
    positions_.clear();
    loaded_.clear();
    log_bytes_ = 0;
    snapshot_ = {.index = index - 1,
                 .term = term,
                 .configuration_index = index - 1,
                 .configuration = servers_of_one(),
                 .database_id = options_.database_id,
                 .replay_from = record.lsn};
    first_index_ = index;
  }
  while (last_index() >= index) loaded_.pop_back(), forget_from(last_index());
  auto size = static_cast<uint32_t>(record.body.size());
  positions_.push_back({record.lsn, size});
  log_bytes_ += size;
  term_ = std::max(term_, term);  // Appends do not wait for the term file.
  loaded_.push_back({.term = term, .type = type, .bytes = std::move(record.body)});
  return {};
}

Bytes RaftIo::servers_of_one() const {
  raft_configuration configuration;
  raft_configuration_init(&configuration);
  CHECK(raft_configuration_add(&configuration, options_.id, options_.address.c_str(), RAFT_VOTER) == 0);
  Bytes servers = encode_servers(configuration);
  raft_configuration_close(&configuration);
  return servers;
}

// The first entry of every log is its first configuration.
Task<Status> RaftIo::make_group() {
  Bytes configuration = configuration_of_one();
  Lsn lsn = append_record(1, term_, RAFT_CHANGE, configuration, nullptr);
  loaded_.push_back({.term = term_, .type = RAFT_CHANGE, .bytes = std::move(configuration)});
  co_return co_await log_->durable(Lsn{number(lsn) + 1});
}

Bytes RaftIo::configuration_of_one() const {
  raft_configuration configuration;
  raft_configuration_init(&configuration);
  CHECK(raft_configuration_add(&configuration, options_.id, options_.address.c_str(), RAFT_VOTER) == 0);
  raft_buffer encoded{};
  CHECK(raft_configuration_encode(&configuration, &encoded) == 0);
  Bytes bytes(static_cast<const char*>(encoded.base), encoded.len);
  raft_free(encoded.base);
  raft_configuration_close(&configuration);
  return bytes;
}

// ---- Appending ------------------------------------------------------------------------

Lsn RaftIo::append_record(uint64_t index, uint64_t term, uint16_t type, Bytes bytes, SegmentLog::Done done) {
  LogEntry entry{.type = kEntryRecord};
  entry.head.reserve(kEntryHeadSize);
  put_fixed<uint64_t>(entry.head, index);
  put_fixed<uint64_t>(entry.head, term);
  put_fixed<uint16_t>(entry.head, type);
  auto size = static_cast<uint32_t>(bytes.size());
  entry.body = std::move(bytes);
  Lsn lsn = log_->append(std::move(entry), std::move(done));
  positions_.push_back({lsn, size});
  log_bytes_ += size;
  return lsn;
}

void RaftIo::forget_from(uint64_t index) {
  while (last_index() >= index && !positions_.empty()) {
    log_bytes_ -= positions_.back().size;
    positions_.pop_back();
  }
}

void RaftIo::appended(const Status& status) {
  if (closed_ || appending_.empty()) return;
  if (status) return finish_append(0);
  if (status.error().code != Code::kNoSpace) return options_.fatal(status.error());
  tasks_.spawn(refuse(appending_.front().first));
}

// A refused batch may have its first entries on disk, where a segment ended between
// them: they must not come back after a crash, since the caller is told "refused".
Task<void> RaftIo::refuse(Lsn first) {
  if (number(log_->durable_end()) > number(first)) {
    auto cut = co_await log_->truncate_from(first);
    if (!cut) {
      options_.fatal(cut.error());
      co_return;
    }
  }
  if (closed_ || appending_.empty()) co_return;
  forget_from(appending_.front().first_index);
  finish_append(RAFT_NOSPACE);
}

void RaftIo::finish_append(int status) {
  auto* request = appending_.front().request;
  appending_.pop_front();
  request->cb(request, status);
}

void RaftIo::save_term() {
  term_dirty_ = true;
  if (!term_writing_) tasks_.spawn(write_term());
}

Task<void> RaftIo::write_term() {
  term_writing_ = true;
  while (term_dirty_) {
    term_dirty_ = false;
    auto written = co_await replace_small_file(env_, term_path(), encode_term());
    if (!written) {
      options_.fatal(written.error());
      co_return;
    }
  }
  term_writing_ = false;
}

// ---- Snapshots ------------------------------------------------------------------------

Task<void> RaftIo::put_snapshot(Descriptor descriptor) {
  uint64_t index = descriptor.index;
  auto written = co_await write_snapshot(std::move(descriptor));
  // A failed sync is never tried again: after it, nobody knows what is on the disk.
  if (!written && written.error().code != Code::kNoSpace && written.error().code != Code::kUnavailable) {
    options_.fatal(written.error());
    co_return;
  }
  // C-Raft keeps its entries and tries again with one of the next.
  if (!written) log_warning(fmt::format("no snapshot at {}: {}", index, written.error().to_string()));
  if (auto* request = std::exchange(putting_, nullptr)) request->cb(request, written ? 0 : RAFT_IOERR);
}

Task<Status> RaftIo::write_snapshot(Descriptor descriptor) {
  CO_RETURN_IF_ERROR(co_await options_.make_durable());
  if (descriptor.index < first_index_ || descriptor.index > last_index()) {
    co_return fail(Code::kInternal, fmt::format("entry {} is not in the log", descriptor.index));
  }
  // The last entry in the snapshot, and not the next: that one may not be durable, or there.
  descriptor.replay_from = positions_[descriptor.index - first_index_].lsn;
  CO_RETURN_IF_ERROR(co_await replace_small_file(env_, snapshot_path(), encode_descriptor(descriptor)));
  snapshot_ = std::move(descriptor);
  while (first_index_ <= snapshot_.index) {
    log_bytes_ -= positions_.front().size;
    positions_.pop_front();
    ++first_index_;
  }
  co_return log_->trim_before(snapshot_.replay_from);
}

}  // namespace understudy
