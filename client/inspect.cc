#include "client/inspect.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/checksum.h"
#include "common/base/chunk_hash.h"
#include "common/base/coding.h"
#include "common/base/path.h"
#include "common/segment_log/log_reader.h"
#include "common/sqlite/sqlite_db.h"
#include "common/tls/certificates.h"
#include "common/tls/join_token.h"
#include "common/wire/commands.pb.h"
#include "common/wire/durability.pb.h"
#include "ss/records.h"

namespace understudy::client {
namespace {

constexpr std::string_view kSqliteMagic = "SQLite format 3";
constexpr uint32_t kNoteSizeMax = 1 << 16;

// A name node's Raft entry has a head of fixed size: index, term, type.
constexpr size_t kRaftHeadSize = 18;

// A version of a big file names thousands of chunks.
constexpr size_t kWordsMax = 600;

template <class Message>
std::string message_words(std::string_view name, const LogRecord& record) {
  Message message;
  if (!message.ParseFromString(record.head)) return std::string(name) + ", not readable";
  std::string words = std::string(name) + " " + message.ShortDebugString();
  if (words.size() > kWordsMax) words = words.substr(0, kWordsMax) + " ...";
  if (!record.body.empty()) words += ", " + counted(record.body.size(), "byte");
  return words;
}

// In a name node's hint store: a chunk has bytes, as no epoch has, and a hint a target, as no chunk has.
std::optional<std::string> hint_words(const LogRecord& record) {
  wire::HintChunk chunk;
  wire::HintRecord hint;
  if (record.type == 1 && !record.body.empty() && chunk.ParseFromString(record.head) && chunk.hash().size() == sizeof(ChunkHash::bytes)) {
    return fmt::format("HINT CHUNK file {:016x}{}, {}", chunk.file_id(), chunk.level() > 0 ? fmt::format(", list {}", chunk.level()) : "",
                       counted(record.body.size(), "byte"));
  }
  if (record.type != 2 || !hint.ParseFromString(record.head) || hint.target().empty()) return std::nullopt;
  return fmt::format("HINT for {}", hint.target()) + message_words<wire::HintRecord>(",", record);
}

std::string storage_record_words(const LogRecord& record) {
  if (auto hint = hint_words(record)) return *hint;
  switch (static_cast<RecordType>(record.type)) {
    case RecordType::kEpoch: return message_words<wire::EpochRecord>("EPOCH", record);
    case RecordType::kChunk: return message_words<wire::ChunkRecord>("CHUNK", record);
    case RecordType::kVersion: return message_words<wire::LocalVersion>("VERSION", record);
    case RecordType::kName: return message_words<wire::NameRecord>("NAME", record);
    case RecordType::kAside: return message_words<wire::AsideRecord>("ASIDE", record);
    case RecordType::kState: return message_words<wire::StateRecord>("STATE", record);
    case RecordType::kTrim: return message_words<wire::TrimRecord>("TRIM", record);
    case RecordType::kGap: return fmt::format("GAP, {}: what stood here was damaged, and is not needed", counted(record.body.size(), "byte"));
  }
  return fmt::format("unknown, head {}, body {}", counted(record.head.size(), "byte"),
                     counted(record.body.size(), "byte"));
}

// Keys, and what a password could be guessed by.
void hide_secrets(wire::Command* command) {
  if (command->has_add_keys()) {
    for (auto& key : *command->mutable_add_keys()->mutable_keys()) key.set_secret("(hidden)");
  }
  for (auto* hash : {command->has_add_user() ? command->mutable_add_user()->mutable_password() : nullptr,
                     command->has_set_password() ? command->mutable_set_password()->mutable_password() : nullptr}) {
    if (hash == nullptr) continue;
    hash->set_salt("(hidden)");
    hash->set_hash("(hidden)");
  }
}

std::string raft_entry_line(const LogRecord& record) {
  BytesView head = record.head;
  uint64_t index = 0, term = 0;
  uint16_t type = 0;
  bool whole = get_fixed(head, index) && get_fixed(head, term) && get_fixed(head, type);
  CHECK(whole);
  wire::Command command;
  std::string words = fmt::format("raft entry {} of term {}, type {}", index, term, type);
  // Type 1 is a command (RAFT_COMMAND); the others are Raft's own.
  bool readable = type == 1 && command.ParseFromString(record.body);
  if (readable) hide_secrets(&command);
  if (readable) words += ": " + command.ShortDebugString();
  return words;
}

// Debug strings escape what is not plain text; this is for names in UTF-8.
std::string one_line(std::string words) {
  for (char& c : words) {
    if (static_cast<uint8_t>(c) < 0x20) c = ' ';
  }
  return words;
}

void show_record(Output* out, const LogRecord& record) {
  bool raft = record.type == 1 && record.head.size() == kRaftHeadSize;
  std::string words = raft ? raft_entry_line(record) : storage_record_words(record);
  if (out->json()) {
    out->object(Json().count("lsn", number(record.lsn)).count("durable_lsn", number(record.durable_lsn))
                    .count("type", record.type).count("head_size", record.head.size())
                    .count("body_size", record.body.size()).text("text", words));
  } else {
    out->line(fmt::format("{:>12}  {}", number(record.lsn), one_line(words)));
  }
}

void show_damage(Output* out, Lsn from, Lsn to) {
  std::string words = fmt::format("DAMAGED: {} that had been durable do not fit their checksum", counted(number(to) - number(from), "byte"));
  if (out->json()) {
    out->object(Json().count("lsn", number(from)).count("damaged_bytes", number(to) - number(from)).text("text", words));
  } else {
    out->line(fmt::format("{:>12}  {}", number(from), words));
  }
}

// Each record in words. `reader` outlives the task.
Task<Status> inspect_records(LogReader* reader, Output* out) {
  uint64_t records = 0, damages = 0;
  for (;;) {
    auto next = reader->next();
    CO_ASSIGN_OR_RETURN(auto record, co_await next);
    if (record) {
      ++records;
      show_record(out, *record);
      continue;
    }
    if (reader->at_file_end()) break;
    auto proving = reader->proves_damage();
    CO_ASSIGN_OR_RETURN(bool damaged, co_await proving);
    if (!damaged) break;
    // What is behind it can be read all the same.
    ++damages;
    const Lsn from = reader->position();
    auto skipping = reader->skip_damage();
    CO_RETURN_IF_ERROR(co_await skipping);
    show_damage(out, from, reader->position());
  }
  std::string end = fmt::format("{}; valid up to position {}", counted(records, "record"), number(reader->position()));
  if (!reader->at_file_end()) end += "; a torn or not yet written tail behind it";
  if (damages > 0) co_return fail(Code::kCorrupt, fmt::format("{}; damaged in {}", end, counted(damages, "place")));
  out->note(end);
  co_return Status{};
}

Task<Status> inspect_segment(Env& env, std::string path, Output* out) {
  CO_ASSIGN_OR_RETURN(std::shared_ptr<File> file, env.disk.open(path, OpenMode::kRead));
  CO_ASSIGN_OR_RETURN(uint64_t size, file->size());
  auto reading = file->read(0, kSegmentHeaderSize);
  CO_ASSIGN_OR_RETURN(Bytes header_bytes, co_await reading);
  CO_ASSIGN_OR_RETURN(auto header, decode_segment_header(header_bytes));
  if (!header) co_return fail(Code::kCorrupt, path + ": the header of this segment is damaged or torn");
  out->note(fmt::format("a segment of a log, format {}, of store {}, {}; its records begin at position {}",
                        kSegmentFormat, header->store_id, counted(size, "byte"), number(header->base_lsn)));
  LogReader reader(file, path, header->base_lsn, Lsn{number(header->base_lsn) + kSegmentHeaderSize}, size);
  auto inspecting = inspect_records(&reader, out);
  co_return co_await inspecting;
}

Task<Status> inspect_packed(Env& env, std::string path, Output* out) {
  CO_ASSIGN_OR_RETURN(std::shared_ptr<File> file, env.disk.open(path, OpenMode::kRead));
  CO_ASSIGN_OR_RETURN(uint64_t size, file->size());
  auto loading = load_packed(file, path);
  CO_ASSIGN_OR_RETURN(auto packed, co_await loading);
  const PackedHeader& header = packed->header;
  out->note(fmt::format("what compaction left of a log's positions {} to {}, format {}, of store {}, {}, packed when the log ended at {}",
                        number(header.base), number(header.end), kPackedFormat, header.store_id, counted(size, "byte"),
                        number(header.packed_at)));
  LogReader reader(file, path, packed, header.base);
  auto inspecting = inspect_records(&reader, out);
  co_return co_await inspecting;
}

// One value, or nothing.
std::string value_of(SqliteDb* db, std::string_view sql) {
  auto get = db->statement(sql);
  auto row = get.step();
  return row && *row ? std::string(get.column_bytes(0)) : "";
}

std::string database_words(SqliteDb* db, const std::vector<std::string>& tables) {
  auto has = [&](std::string_view name) { return std::ranges::find(tables, name) != tables.end(); };
  if (has("nodes") && has("cluster")) {
    return "the catalogue of a name node: cluster " + value_of(db, "SELECT cluster_id FROM cluster") + ", database " +
           value_of(db, "SELECT database_id FROM cluster") + ", applied up to entry " +
           value_of(db, "SELECT applied_index FROM cluster") + " of the Raft log";
  }
  if (has("changes") && has("objects")) {
    std::string summary = value_of(db, "SELECT value FROM meta WHERE key = 'summary'");
    BytesView bytes = summary;
    uint64_t covered = 0;
    std::string upto = get_fixed(bytes, covered) ? std::to_string(covered) : "?";
    return "the index of a storage server's log: " + value_of(db, "SELECT value FROM meta WHERE key = 'store'") + ", covers the log up to position " +
           upto + "; it can be made anew: understudy-ss --rebuild-index";
  }
  return "an SQLite database";
}

Status inspect_database(const std::string& path, Output* out) {
  auto opened = SqliteDb::open(path, {});
  if (!opened) return fail(opened.error().code, "an SQLite database that cannot be opened: " + opened.error().message);
  auto db = *std::move(opened);
  std::vector<std::string> tables;
  {
    auto list = db->statement("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name");
    for (;;) {
      ASSIGN_OR_RETURN(bool row, list.step());
      if (!row) break;
      tables.emplace_back(list.column_bytes(0));
    }
  }
  out->note(database_words(db.get(), tables));
  for (const std::string& table : tables) {
    auto count = db->statement("SELECT count(*) FROM \"" + table + "\"");
    auto row = count.step();
    if (!row) {
      out->note("DAMAGED: " + table + ": " + row.error().message);
      continue;
    }
    uint64_t rows = *row ? count.column_uint64(0) : 0;
    if (out->json()) {
      out->object(Json().text("table", table).count("rows", rows));
    } else {
      out->line(fmt::format("{:<24} {}", table, counted(rows, "row")));
    }
  }
  auto check = db->statement("PRAGMA integrity_check(10)");
  std::string problems;
  for (;;) {
    ASSIGN_OR_RETURN(bool row, check.step());
    if (!row) break;
    if (check.column_bytes(0) != "ok") problems += (problems.empty() ? "" : "; ") + std::string(check.column_bytes(0));
  }
  if (!problems.empty()) return fail(Code::kCorrupt, "SQLite's own check finds: " + one_line(problems));
  out->note("SQLite's own check finds nothing wrong");
  return {};
}

// Never a key itself: what is shown may be passed on.
Status inspect_pem(BytesView text, WallTime now, Output* out) {
  ASSIGN_OR_RETURN(auto blocks, parse_pem(text));
  for (const PemBlock& block : blocks) {
    std::string line = block.label == kPemPrivateKey ? "a private key, which is not shown" : block.label;
    auto facts = block.label == kPemCertificate ? read_certificate(block.content) : fail(Code::kInvalid, "");
    if (facts) {
      bool authority = facts->role == PeerIdentity::Role::kNone;
      std::string what = authority ? facts->self_signed ? "an authority" : "an authority, signed by another"
                         : facts->role == PeerIdentity::Role::kNameNode ? "name node " + facts->name
                                                                        : "storage server " + facts->name;
      line = what + ", " + fingerprint_text(facts->key) + (facts->validity.to < now ? ", expired " : ", until ") +
             format_time(facts->validity.to.time_since_epoch().count());
    }
    if (out->json()) {
      out->object(Json().text("text", line));
    } else {
      out->line(line);
    }
  }
  return {};
}

Status inspect_join_token(BytesView text, Output* out) {
  ASSIGN_OR_RETURN(JoinToken token, parse_join_token(text));
  std::string line = "join token " + token.id + " of " + fingerprint_text(token.authority) + ", until " +
                     format_time(token.expires.time_since_epoch().count()) + "; its secret is not shown";
  if (out->json()) {
    out->object(Json().text("text", line));
  } else {
    out->line(line);
  }
  return {};
}

bool get_words(BytesView& in, std::string& text) {
  uint32_t size = 0;
  if (!get_fixed(in, size) || in.size() < size) return false;
  text = in.substr(0, size);
  in.remove_prefix(size);
  return true;
}

constexpr uint32_t kTermMagic = 0x6d725455;      // "UTrm", as nm/raft_io.cc writes it.
constexpr uint32_t kSnapshotMagic = 0x70735355;  // "USsp"

// The two small files beside a Raft log; nothing for any other.
std::optional<Result<std::string>> raft_note(BytesView bytes) {
  uint32_t magic = 0, format = 0;
  BytesView in = bytes;
  if (!get_fixed(in, magic) || (magic != kTermMagic && magic != kSnapshotMagic) || !get_fixed(in, format)) return std::nullopt;
  const char* what = magic == kTermMagic ? "term and vote of a Raft log" : "a snapshot's descriptor of a Raft log";
  if (bytes.size() < 16 || load_fixed<uint64_t>(bytes.data() + bytes.size() - 8) != checksum(bytes.substr(0, bytes.size() - 8))) {
    return fail(Code::kCorrupt, std::string(what) + ", and its checksum does not fit");
  }
  uint64_t one = 0, two = 0, three = 0, four = 0;
  std::string text, database;
  if (magic == kTermMagic) {
    if (!get_fixed(in, one) || !get_fixed(in, two) || !get_words(in, text)) return fail(Code::kCorrupt, std::string(what) + ", cut short");
    return fmt::format("{}, format {}: term {}, {}, store {}", what, format, one,
                       two == 0 ? "no vote given" : "voted for " + std::to_string(two), text);
  }
  if (!get_fixed(in, one) || !get_fixed(in, two) || !get_fixed(in, three) || !get_fixed(in, four) || !get_words(in, text) ||
      !get_words(in, database)) {
    return fail(Code::kCorrupt, std::string(what) + ", cut short");
  }
  return fmt::format("{}, format {}: everything up to entry {} of term {} is in database {}; the log is replayed from position {}", what,
                     format, one, two, database, four);
}

}  // namespace

Task<Status> inspect_file(Env& env, std::string path, Output* out) {
  CO_ASSIGN_OR_RETURN(FileInfo info, env.disk.info(path));
  if (info.kind == FileInfo::Kind::kFolder) co_return fail(Code::kIsFolder, printable(path) + " is a folder; name a file in it");
  CO_ASSIGN_OR_RETURN(auto file, env.disk.open(path, OpenMode::kRead));
  auto reading = file->read(0, kNoteSizeMax);
  CO_ASSIGN_OR_RETURN(Bytes start, co_await reading);
  if (start.starts_with(kSegmentMagic)) {
    auto inspecting = inspect_segment(env, path, out);
    co_return co_await inspecting;
  }
  if (start.starts_with(kPackedMagic)) {
    auto inspecting = inspect_packed(env, path, out);
    co_return co_await inspecting;
  }
  if (start.starts_with(kSqliteMagic)) co_return inspect_database(path, out);
  if (start.starts_with("-----BEGIN ")) co_return inspect_pem(start, env.clock.wall(), out);
  if (start.starts_with("understudy-join:")) co_return inspect_join_token(start, out);
  if (path.ends_with("-wal") || path.ends_with("-shm")) {
    out->note(fmt::format("SQLite's {} of {}: look at that one", path.ends_with("-wal") ? "write-ahead log" : "shared index of the write-ahead log",
                          printable(path.substr(0, path.size() - 4))));
    co_return Status{};
  }
  if (auto note = raft_note(start)) {
    if (!*note) co_return std::unexpected(note->error());
    if (out->json()) out->object(Json().text("text", **note));
    else out->line(**note);
    co_return Status{};
  }
  if (path.ends_with("/lock") && start.empty()) {
    out->note("a lock: the server that runs in this folder holds it");
    co_return Status{};
  }
  if (start.starts_with("understudy store, format")) out->note("what makes this folder a storage server's, and its store id");
  if (start.starts_with("understudy scrub, format")) out->note("how far the scrubber came; nothing depends on it");
  // What is for people (pid, address, cluster.json, log) is words already.
  bool text = start.size() < kNoteSizeMax ? is_valid_utf8(start) : path.ends_with("log");
  if (start.empty()) {
    out->note("empty");
  } else if (text && start.find('\0') == start.npos) {
    if (start.ends_with('\n')) start.pop_back();
    if (out->json()) {
      out->object(Json().text("text", start));
    } else {
      out->line(start);
    }
  } else {
    co_return fail(Code::kInvalid, printable(path) + " is no file that this version knows; name a segment, a database or a note");
  }
  co_return Status{};
}

}  // namespace understudy::client
