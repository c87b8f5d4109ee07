// The client library: one session of one user with a cluster.
//
// It finds a file's acting primary through the name node and talks to it directly;
// when that one is dead, fenced or silent it asks again and goes on, with the
// same request id, until `timeout` has passed without progress. Reads are hedged
// to the other half. A session never sees a version older than one it wrote or
// saw. Many calls may be under way at once. Everything goes through Env.
//
// Results are the wire's messages (common/wire/understudy.proto). Paths are
// absolute (common/base/path.h).
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "client/links.h"
#include "client/transfer.h"
#include "common/env/env.h"
#include "common/env/task.h"
#include "common/wire/identity.pb.h"
#include "common/wire/understudy.pb.h"

namespace understudy::client {

enum class ReadFrom : uint8_t { kPrimary, kAny, kBackup };

// Where a user's tokens are kept between programs.
class TokenKeeper {
 public:
  virtual ~TokenKeeper() = default;
  // A log-in, or a renewal.
  virtual void keep(const std::string& user, const Bytes& token) = 0;
  virtual void password_changed(const std::string& user) = 0;
  // LOGOUT.
  virtual void forget(const std::string& user) = 0;
};

struct SessionOptions {
  std::vector<Address> name_nodes;
  // Who it speaks for, by a token or a password; with neither the name node refuses all but
  // login(). The token is renewed in time; the password logs in again when it is over.
  std::string user = "admin";
  Bytes token;
  std::string password;
  TokenKeeper* keeper = nullptr;  // Outlives the session.
  Duration timeout = std::chrono::seconds(30);  // Without progress, not in all.
  ReadFrom read_from = ReadFrom::kPrimary;
  bool sync = false;  // Every write with durability sync, whatever its folder says.
  Duration hedge_after = std::chrono::milliseconds(30);
  // Hears the fingerprints of the authorities that a name node says are to be believed.
  std::function<void(std::vector<Bytes>)> on_authorities;
};

struct ReadWant {
  uint64_t offset = 0;
  uint32_t length = 0;  // At most one chunk.
  Version version{};    // {0,0}: the newest.
};

struct ReadAnswer {
  Bytes bytes;
  FileId file = kNoFile;
  Version version{};
  uint64_t size_bytes = 0;
  uint32_t mode = 0;
  int64_t modified_us = 0;
  bool linearizable = false;
  std::string server;  // Who answered.
};

class Session {
 public:
  Session(Env& env, SessionOptions options);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  Env& env() { return env_; }
  const SessionOptions& options() const { return options_; }

  // Becomes that user. UNAUTHENTICATED leaves the session as it was.
  Task<Status> login(std::string user, std::string password);
  // The session is over, here and wherever its token was copied to; all: every session of the user.
  Task<Status> logout(bool all);
  // An empty user: the session's own.
  Task<Status> set_password(std::string user, std::string old_password, std::string password);

  // For the request field of a change.
  wire::RequestNumber next_request();

  // ---- Names and the cluster: the name node's calls.
  // `patience`: how long the name node may take by the call's own nature (WAIT).
  template <class ReplyMessage>
  Task<Result<ReplyMessage>> ask(wire::MessageType type, Bytes request, Duration patience = Duration(0)) {
    auto reply = co_await ask_name_node_as_user(type, std::move(request), patience);
    if (!reply) co_return std::unexpected(std::move(reply).error());
    ReplyMessage message;
    if (!message.ParseFromString(reply->message)) co_return std::unexpected(garbled());
    co_return message;
  }
  // The same for a change of names: what was known of any path is forgotten.
  template <class Request>
  Task<Result<wire::ChangeReply>> change(wire::MessageType type, Request request) {
    *request.mutable_request() = next_request();
    locations_.clear();
    auto reply = co_await ask<wire::ChangeReply>(type, request.SerializeAsString());
    locations_.clear();
    co_return reply;
  }
  // Never from the cache.
  Task<Result<wire::Location>> look_up(std::string path, bool follow_link);

  // ---- Files.
  // EXISTS if there is one.
  Task<Result<wire::VersionReply>> create(std::string path);
  // One chunk at most; a longer content is an upload().
  Task<Result<wire::VersionReply>> put(std::string path, Bytes content, Attributes attributes);
  Task<Result<wire::VersionReply>> append(std::string path, Bytes content);
  Task<Result<wire::VersionReply>> undo(std::string path);
  // Answers with the version that it names.
  Task<Result<wire::VersionReply>> checkpoint(std::string path, std::string tag);
  Task<Result<wire::VersionReply>> revert(std::string path, std::string tag);
  Task<Result<wire::StatReply>> stat(std::string path, bool count_words);
  // A page: from the newest version on, or behind `before`.
  Task<Result<wire::HistoryReply>> history(std::string path, Version before);
  // With a tag only that one, or NOT_FOUND.
  Task<Result<wire::ListCheckpointsReply>> checkpoints(std::string path, std::string tag);
  Task<Result<ReadAnswer>> read(std::string path, ReadWant want);

  // Of any size, in a bounded amount of memory; see transfer.h. `source` and `sink`
  // outlive the task.
  Task<Result<wire::VersionReply>> upload(std::string path, Source* source, UploadOptions options);
  Task<Result<ReadAnswer>> download(std::string path, DownloadOptions options, Sink* sink);

  // ---- The editing of a sentence, as client/sentence_edit.h goes about it. It lives at one
  // server, bound to one connection, and ends with either.
  struct Edit {
    std::string path;
    wire::Location location;
    wire::EditOpenReply opened;
  };
  // `before`: the same sentence as it was opened before and lost.
  Task<Result<Edit>> edit_open(std::string path, uint64_t sentence, std::optional<Edit> before);
  Task<CallOutcome> edit_insert(Edit edit, uint64_t word, Bytes content);
  // A repeat of `request` gets the first answer, also at another server than the edit's.
  Task<CallOutcome> edit_commit(Edit edit, wire::RequestNumber request);
  Task<Result<wire::VersionReply>> edit_committed(Edit edit, wire::RequestNumber request);
  Task<Status> edit_abort(Edit edit);
  // As edit_abort(), by itself.
  void edit_drop(Edit edit);
  // Until its connection is gone.
  Task<bool> edit_lost(Edit edit);

  // Goes on until it is answered, or for the timeout without progress (session_internal.h).
  class Patience;
  static Error garbled();

 private:
  using Create = wire::LocateRequest::Create;

  struct Cached {
    wire::Location location;
    Instant until{};
  };
  // A call to whoever is acting primary of a file.
  struct FileCall {
    std::string path;
    Create create = wire::LocateRequest::LOOK_UP;
    wire::MessageType type{};
    std::function<Bytes(const wire::Location&)> message;  // For the file at that location.
    Bytes body;
    bool change = false;
    wire::Right right() const;
  };
  struct FileReply {
    Reply reply;
    wire::Location location;
  };
  // Calls under way at once; whoever waits is told when one ends.
  struct Waiting;
  // An upload under way: its chunks on their way to one acting primary.
  struct Staging;
  // A download under way: the range reads of its window.
  struct Fetching;

  template <class Request>
  std::function<Bytes(const wire::Location&)> for_location(Request request);
  template <class ReplyMessage>
  Task<Result<ReplyMessage>> file_call(FileCall call);

  Task<Result<Reply>> ask_name_node(uint16_t type, Bytes request, Duration patience);
  Task<CallOutcome> ask_name_node_once(uint16_t type, Bytes request, Duration timeout);
  Task<Result<Reply>> ask_name_node_as_user(uint16_t type, Bytes request, Duration patience);
  // From the cache, if what is there gives `right`.
  Task<Result<wire::Location>> locate(std::string path, Create create, wire::RequestNumber request, wire::Right right);
  Task<Status> enter(wire::LoginRequest request);
  Task<void> renew();
  void take_token(const Bytes& token);
  // Whether another server serves the file now than `known` says; one quick question.
  Task<bool> has_moved(std::string path, wire::Location known);
  Task<void> take_back(uint64_t file_id);
  Task<Result<FileReply>> on_primary(FileCall call);
  // Waits for the acting primary's answer, however long it takes, but not for one
  // that is no acting primary any more: that is MOVED.
  Task<CallOutcome> call_watched(std::string path, wire::Location location, uint16_t type, Bytes message, Bytes body);
  // The answer of whichever half has one first; `server` is who it was.
  Task<CallOutcome> read_hedged(std::string path, wire::Location location, ReadWant want, std::string* server);
  Task<Status> stage_all(std::string path, wire::Location location, uint64_t upload_id, Staging* staging);
  Task<void> stage_chunk(std::string path, wire::Location location, uint64_t upload_id, uint64_t index, Bytes chunk,
                         Staging* staging);
  Task<void> fetch_chunk(std::string path, uint64_t index, ReadWant want, Fetching* fetching);
  Task<Status> fetch_rest(std::string path, Version version, uint64_t from, uint64_t to, Sink* sink,
                          DownloadOptions options);
  Task<void> deliver(Waiting* waiting, size_t slot, wire::Endpoint server, uint16_t type, Bytes message, Bytes body);
  wire::Durability durability_for(const wire::Location& location) const;
  Task<void> edit_drop_now(Edit edit);
  void saw(uint64_t file_id, const wire::VersionNumber& version);
  Version seen(uint64_t file_id) const;

  Env& env_;
  SessionOptions options_;
  Links links_;
  size_t name_node_ = 0;  // Which of options_.name_nodes answered last.
  int64_t renew_at_us_ = INT64_MAX;  // By this machine's clock; about is enough.
  bool entering_ = false;
  uint64_t client_id_;
  uint64_t sequence_ = 0;
  std::unordered_map<std::string, Cached> locations_;
  std::unordered_map<uint64_t, Version> seen_;
  TaskGroup dropping_;  // Last: its tasks use the rest.
};

Version version_of(const wire::VersionNumber& version);
wire::VersionNumber wire_version(Version version);

// The last part of how long a retry waits: 5, 10, 20, ... 100 ms.
class Backoff {
 public:
  Duration next() {
    Duration now = next_;
    next_ = std::min<Duration>(next_ * 2, std::chrono::milliseconds(100));
    return now;
  }

 private:
  Duration next_ = std::chrono::milliseconds(5);
};

}  // namespace understudy::client
