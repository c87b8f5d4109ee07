// TCP by libuv: connections that combine their writes, listeners, connecting.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <optional>

#include "common/base/log.h"
#include "common/uv/loop.h"

namespace understudy {
namespace {

constexpr size_t kReadSizeMax = 256 << 10;    // One read() gives at most this much.
constexpr size_t kUnreadMax = 256 << 10;      // No more is taken from the kernel while so much waits.
constexpr size_t kWriteAtOnceBytes = 1 << 20;  // Not worth waiting for the end of the drain.
constexpr size_t kPiecesPerCall = 512;        // Below IOV_MAX.
constexpr int kBacklog = 512;

// A peer whose machine died is noticed after kIdleSeconds + kProbes * kProbeSeconds.
constexpr int kIdleSeconds = 10;
constexpr int kProbeSeconds = 3;
constexpr int kProbes = 4;

struct HostPort {
  std::string host;
  std::string port;
};

std::optional<HostPort> split_address(const Address& address) {
  HostPort result;
  auto colon = address.rfind(':');
  if (colon == std::string::npos) return std::nullopt;
  result.host = address.substr(0, colon);
  result.port = address.substr(colon + 1);
  if (result.host.size() >= 2 && result.host.front() == '[' && result.host.back() == ']') {
    result.host = result.host.substr(1, result.host.size() - 2);
  } else if (result.host.find(':') != std::string::npos) {
    return std::nullopt;
  }
  bool digits = !result.port.empty() && result.port.size() <= 5 &&
                std::all_of(result.port.begin(), result.port.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (result.host.empty() || !digits || std::stoi(result.port) > 65535) return std::nullopt;
  return result;
}

Error not_an_address(const Address& address) {
  return Error{Code::kInvalid, address + ": not an address: want host:port or [v6-address]:port"};
}

// A numeric host, without asking any resolver.
bool numeric(const HostPort& where, sockaddr_storage& to) {
  int port = std::stoi(where.port);
  return uv_ip4_addr(where.host.c_str(), port, reinterpret_cast<sockaddr_in*>(&to)) == 0 ||
         uv_ip6_addr(where.host.c_str(), port, reinterpret_cast<sockaddr_in6*>(&to)) == 0;
}

Address address_text(const sockaddr_storage& from) {
  char name[INET6_ADDRSTRLEN] = "?";
  if (from.ss_family == AF_INET6) {
    auto* v6 = reinterpret_cast<const sockaddr_in6*>(&from);
    uv_ip6_name(v6, name, sizeof name);
    return "[" + std::string(name) + "]:" + std::to_string(ntohs(v6->sin6_port));
  }
  auto* v4 = reinterpret_cast<const sockaddr_in*>(&from);
  uv_ip4_name(v4, name, sizeof name);
  return std::string(name) + ":" + std::to_string(ntohs(v4->sin_port));
}

// One for all connections of the process: what arrives is copied out at once, in its true size.
struct ReadBuffer {
  std::unique_ptr<char[]> bytes{new char[kReadSizeMax]};
};

// The socket of one connection. It lives until its Connection let it go and libuv closed it.
class Stream final : public HandleOwner, public Flushable {
 public:
  Stream(UvLoop& loop, ReadBuffer& buffer) : loop_(loop), buffer_(buffer) {
    CHECK(uv_tcp_init(loop.uv(), &tcp_) == 0);
    tcp_.data = static_cast<HandleOwner*>(this);
  }

  uv_tcp_t* tcp() { return &tcp_; }
  uv_stream_t* stream() { return reinterpret_cast<uv_stream_t*>(&tcp_); }
  const Address& peer() const { return peer_; }

  // Once it is connected.
  void open() {
    uv_tcp_nodelay(&tcp_, 1);
    uv_tcp_keepalive(&tcp_, 1, kIdleSeconds);
    uv_os_fd_t fd;
    if (uv_fileno(reinterpret_cast<uv_handle_t*>(&tcp_), &fd) == 0) {
      int unanswered_ms = 1000 * (kIdleSeconds + kProbes * kProbeSeconds);
      setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &kProbeSeconds, sizeof kProbeSeconds);
      setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &kProbes, sizeof kProbes);
      setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unanswered_ms, sizeof unanswered_ms);
    }
    sockaddr_storage name{};
    int size = sizeof name;
    if (uv_tcp_getpeername(&tcp_, reinterpret_cast<sockaddr*>(&name), &size) == 0) peer_ = address_text(name);
  }

  Future<Result<Bytes>> read() {
    Promise<Result<Bytes>> promise(loop_);
    if (!unread_.empty()) {
      Bytes bytes = std::move(unread_.front());
      unread_.pop_front();
      unread_bytes_ -= bytes.size();
      if (!broken_ && !ended_ && unread_bytes_ <= kUnreadMax / 2) start_reading();
      promise.set(std::move(bytes));
    } else if (broken_) {
      promise.set(std::unexpected(*broken_));
    } else if (ended_) {
      promise.set(Bytes());
    } else {
      // A waiter of before was destroyed, or else it learns here that it is one too many.
      if (reader_) reader_->try_set(fail(Code::kInternal, "two reads of one connection at once"));
      reader_.emplace(promise);
      start_reading();
    }
    return promise.future();
  }

  Future<Status> write(std::vector<Bytes> pieces) {
    Promise<Status> promise(loop_);
    if (broken_) {
      promise.set(std::unexpected(*broken_));
      return promise.future();
    }
    for (Bytes& piece : pieces) {
      if (piece.empty()) continue;
      written_end_ += piece.size();
      pieces_.push_back(std::move(piece));
    }
    writes_.push_back({written_end_, promise});
    if (!dirty_) {
      dirty_ = true;
      loop_.flush_later(this);
    }
    if (written_end_ - taken_ >= kWriteAtOnceBytes) send();
    return promise.future();
  }

  void flush() override {
    dirty_ = false;
    send();
  }

  // All that waits fails with `error`, and so does all that comes.
  void break_with(Error error) {
    if (broken_) return;
    broken_ = std::move(error);
    uv_close(reinterpret_cast<uv_handle_t*>(&tcp_), [](uv_handle_t* handle) {
      auto* self = static_cast<Stream*>(static_cast<HandleOwner*>(handle->data));
      self->closed_ = true;
      self->delete_if_done();
    });
    for (Write& write : writes_) write.promise.try_set(std::unexpected(*broken_));
    writes_.clear();
    if (reader_) std::exchange(reader_, std::nullopt)->try_set(std::unexpected(*broken_));
  }

  void close() {
    unread_.clear();
    break_with({Code::kUnavailable, "connection with " + peer_ + " closed"});
  }

  // Nobody will touch it any more.
  void release() {
    close();
    released_ = true;
    delete_if_done();
  }

  void shutdown() override { break_with({Code::kUnavailable, "shutting down"}); }

 private:
  struct Write {
    uint64_t end;  // Counted in all bytes ever written here.
    Promise<Status> promise;
  };

  void delete_if_done() {
    // In `dirty_` state the loop still calls flush().
    if (closed_ && released_) {
      CHECK(!dirty_);
      delete this;
    }
  }

  void lost(int status) {
    break_with({Code::kUnavailable, "connection with " + peer_ + " lost: " + uv_words(status)});
  }

  void start_reading() {
    if (reading_) return;
    reading_ = true;
    auto allocate = [](uv_handle_t* handle, size_t, uv_buf_t* buffer) {
      auto* self = static_cast<Stream*>(static_cast<HandleOwner*>(handle->data));
      *buffer = uv_buf_init(self->buffer_.bytes.get(), kReadSizeMax);
    };
    auto arrived = [](uv_stream_t* stream, ssize_t size, const uv_buf_t* buffer) {
      static_cast<Stream*>(static_cast<HandleOwner*>(stream->data))->arrived(size, buffer->base);
    };
    int status = uv_read_start(stream(), allocate, arrived);
    if (status != 0) lost(status);
  }

  void stop_reading() {
    uv_read_stop(stream());
    reading_ = false;
  }

  void arrived(ssize_t size, const char* bytes) {
    if (size == 0) return;
    if (size == UV_EOF) {
      ended_ = true;
      stop_reading();
      if (reader_) std::exchange(reader_, std::nullopt)->try_set(Bytes());
      return;
    }
    if (size < 0) return lost(static_cast<int>(size));
    auto count = static_cast<size_t>(size);
    if (reader_) {
      std::exchange(reader_, std::nullopt)->try_set(Bytes(bytes, count));
      return;
    }
    if (!unread_.empty() && unread_.back().size() + count <= kReadSizeMax) {
      unread_.back().append(bytes, count);
    } else {
      unread_.emplace_back(bytes, count);
    }
    unread_bytes_ += count;
    if (unread_bytes_ >= kUnreadMax) stop_reading();
  }

  // Hands the kernel what it takes at once, and the rest to libuv.
  void send() {
    while (!broken_ && !in_flight_ && !pieces_.empty()) {
      gather(kPiecesPerCall);
      size_t offered = 0;
      for (const uv_buf_t& buffer : buffers_) offered += buffer.len;
      int sent = uv_try_write(stream(), buffers_.data(), static_cast<unsigned>(buffers_.size()));
      if (sent < 0 && sent != UV_EAGAIN) return lost(sent);
      if (sent > 0) taken(static_cast<size_t>(sent));
      if (sent < 0 || static_cast<size_t>(sent) < offered) return send_later();
    }
  }

  void send_later() {
    gather(pieces_.size());
    in_flight_ = written_end_ - taken_;
    request_.data = this;
    // The pieces stay where they are: a deque does not move what it holds, and nothing
    // is taken off its front before the callback, which comes even when the handle closes.
    int status = uv_write(&request_, stream(), buffers_.data(), static_cast<unsigned>(buffers_.size()),
                          [](uv_write_t* request, int status) {
                            auto* self = static_cast<Stream*>(request->data);
                            uint64_t size = std::exchange(self->in_flight_, 0);
                            if (self->broken_) return;
                            if (status != 0) return self->lost(status);
                            self->taken(size);
                            self->send();
                          });
    if (status != 0) {
      in_flight_ = 0;
      lost(status);
    }
  }

  void gather(size_t pieces_max) {
    buffers_.clear();
    size_t offset = front_offset_;
    for (size_t i = 0; i < pieces_.size() && i < pieces_max; ++i) {
      buffers_.push_back(uv_buf_init(pieces_[i].data() + offset, static_cast<unsigned>(pieces_[i].size() - offset)));
      offset = 0;
    }
  }

  void taken(uint64_t size) {
    taken_ += size;
    size += front_offset_;
    while (!pieces_.empty() && size >= pieces_.front().size()) {
      size -= pieces_.front().size();
      pieces_.pop_front();
    }
    front_offset_ = size;
    while (!writes_.empty() && writes_.front().end <= taken_) {
      writes_.front().promise.try_set({});
      writes_.pop_front();
    }
  }

  UvLoop& loop_;
  ReadBuffer& buffer_;
  uv_tcp_t tcp_;
  Address peer_ = "?";

  std::deque<Bytes> unread_;
  size_t unread_bytes_ = 0;
  std::optional<Promise<Result<Bytes>>> reader_;
  bool reading_ = false;
  bool ended_ = false;

  std::deque<Bytes> pieces_;  // Not yet taken by the kernel.
  size_t front_offset_ = 0;   // Of pieces_.front(), taken already.
  std::deque<Write> writes_;
  uint64_t written_end_ = 0;
  uint64_t taken_ = 0;
  uint64_t in_flight_ = 0;  // Bytes that libuv's write request covers.
  uv_write_t request_;
  std::vector<uv_buf_t> buffers_;
  bool dirty_ = false;

  std::optional<Error> broken_;
  bool closed_ = false;
  bool released_ = false;
};

class UvConnection final : public Connection {
 public:
  explicit UvConnection(Stream* stream) : stream_(stream) {}
  ~UvConnection() override { stream_->release(); }
  Future<Result<Bytes>> read() override { return stream_->read(); }
  Future<Status> write(std::vector<Bytes> pieces) override { return stream_->write(std::move(pieces)); }
  void close() override { stream_->close(); }
  Address peer() const override { return stream_->peer(); }
  // TCP proves nothing; common/tls does, over this.
  const PeerIdentity& identity() const override {
    static const PeerIdentity kNobody;
    return kNobody;
  }

 private:
  Stream* stream_;
};

// A listening socket, until its Listener let it go and libuv closed it. While nobody
// waits in accept(), callers stay in the kernel's backlog.
class Acceptor final : public HandleOwner {
 public:
  using Accepted = Result<std::unique_ptr<Connection>>;

  Acceptor(UvLoop& loop, ReadBuffer& buffer) : loop_(loop), buffer_(buffer) {
    CHECK(uv_tcp_init(loop.uv(), &tcp_) == 0);
    tcp_.data = static_cast<HandleOwner*>(this);
  }

  Status listen(const Address& address, const sockaddr_storage& where) {
    int status = uv_tcp_bind(&tcp_, reinterpret_cast<const sockaddr*>(&where), 0);
    if (status == 0) {
      status = uv_listen(stream(), kBacklog, [](uv_stream_t* server, int status) {
        auto* self = static_cast<Acceptor*>(static_cast<HandleOwner*>(server->data));
        if (status != 0) return log_warning(self->local_ + ": cannot accept a connection: " + uv_words(status));
        self->waiting_callers_ = true;
        self->match();
      });
    }
    if (status != 0) return fail(Code::kUnavailable, "cannot listen on " + address + ": " + uv_words(status));
    sockaddr_storage name{};
    int size = sizeof name;
    CHECK(uv_tcp_getsockname(&tcp_, reinterpret_cast<sockaddr*>(&name), &size) == 0);
    local_ = address_text(name);
    return {};
  }

  Future<Accepted> accept() {
    Promise<Accepted> promise(loop_);
    if (broken_) {
      promise.set(std::unexpected(*broken_));
    } else {
      waiters_.push_back(promise);
      match();
    }
    return promise.future();
  }

  const Address& local() const { return local_; }

  void close() {
    if (broken_) return;
    broken_ = Error{Code::kUnavailable, "listener on " + local_ + " closed"};
    uv_close(reinterpret_cast<uv_handle_t*>(&tcp_), [](uv_handle_t* handle) {
      auto* self = static_cast<Acceptor*>(static_cast<HandleOwner*>(handle->data));
      self->closed_ = true;
      self->delete_if_done();
    });
    for (auto& waiter : waiters_) waiter.try_set(std::unexpected(*broken_));
    waiters_.clear();
  }

  void release() {
    close();
    released_ = true;
    delete_if_done();
  }

  void shutdown() override { close(); }

 private:
  uv_stream_t* stream() { return reinterpret_cast<uv_stream_t*>(&tcp_); }

  void delete_if_done() {
    if (closed_ && released_) delete this;
  }

  void match() {
    while (waiting_callers_ && !waiters_.empty()) {
      auto* fresh = new Stream(loop_, buffer_);
      // libuv holds one accepted caller back, and reports the next only after it is fetched.
      waiting_callers_ = false;
      if (uv_accept(stream(), fresh->stream()) != 0) return fresh->release();
      fresh->open();
      auto waiter = std::move(waiters_.front());
      waiters_.pop_front();
      waiter.try_set(std::make_unique<UvConnection>(fresh));
    }
  }

  UvLoop& loop_;
  ReadBuffer& buffer_;
  uv_tcp_t tcp_;
  Address local_;
  bool waiting_callers_ = false;
  std::deque<Promise<Accepted>> waiters_;
  std::optional<Error> broken_;
  bool closed_ = false;
  bool released_ = false;
};

class UvListener final : public Listener {
 public:
  explicit UvListener(Acceptor* acceptor) : acceptor_(acceptor) {}
  ~UvListener() override { acceptor_->release(); }
  Future<Result<std::unique_ptr<Connection>>> accept() override { return acceptor_->accept(); }
  Address local() const override { return acceptor_->local(); }
  void close() override { acceptor_->close(); }

 private:
  Acceptor* acceptor_;
};

// One connect: look the name up, try its addresses in turn, all within one timeout.
// Deletes itself once libuv holds no request of it.
class Connecting {
 public:
  using Connected = Result<std::unique_ptr<Connection>>;

  Connecting(UvLoop& loop, ReadBuffer& buffer, Clock& clock, Address address)
      : loop_(loop), buffer_(buffer), clock_(clock), address_(std::move(address)), promise_(loop) {}

  Future<Connected> start(const HostPort& where, Duration timeout) {
    auto future = promise_.future();
    timer_ = clock_.schedule(clock_.now() + timeout, [this] { timed_out(); });
    sockaddr_storage address{};
    if (numeric(where, address)) {
      candidates_.push_back(address);
      try_next();
    } else {
      look_up(where);
    }
    return future;
  }

 private:
  void look_up(const HostPort& where) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    look_up_.data = this;
    auto found = [](uv_getaddrinfo_t* request, int status, addrinfo* list) {
      auto* self = static_cast<Connecting*>(request->data);
      self->looking_up_ = false;
      for (addrinfo* at = list; status == 0 && at; at = at->ai_next) {
        std::memcpy(&self->candidates_.emplace_back(), at->ai_addr, at->ai_addrlen);
      }
      uv_freeaddrinfo(list);
      if (status != 0) self->why_ = uv_words(status);
      self->try_next();
    };
    looking_up_ = true;
    int status = uv_getaddrinfo(loop_.uv(), &look_up_, found, where.host.c_str(), where.port.c_str(), &hints);
    if (status == 0) return;
    looking_up_ = false;
    why_ = uv_words(status);
    try_next();
  }

  void try_next() {
    while (!ended_ && !loop_.shutting_down() && tried_ < candidates_.size()) {
      stream_ = new Stream(loop_, buffer_);
      request_.data = this;
      auto connected = [](uv_connect_t* request, int status) {
        auto* self = static_cast<Connecting*>(request->data);
        Stream* stream = std::exchange(self->stream_, nullptr);
        if (status == 0 && !self->ended_) {
          stream->open();
          return self->end(std::make_unique<UvConnection>(stream));
        }
        self->why_ = uv_words(status);
        stream->release();
        self->try_next();
      };
      auto* to = reinterpret_cast<const sockaddr*>(&candidates_[tried_++]);
      int status = uv_tcp_connect(&request_, stream_->tcp(), to, connected);
      if (status == 0) return;
      why_ = uv_words(status);
      std::exchange(stream_, nullptr)->release();
    }
    end(fail(Code::kUnavailable, "cannot connect to " + address_ + ": " + why_));
  }

  void timed_out() {
    timer_.reset();
    ended_ = true;
    promise_.try_set(fail(Code::kUnavailable, "cannot connect to " + address_ + ": no answer in time"));
    // The request's callback follows, with ECANCELED, and ends the rest.
    if (stream_) stream_->shutdown();
    if (looking_up_) uv_cancel(reinterpret_cast<uv_req_t*>(&look_up_));
  }

  void end(Connected result) {
    if (timer_) clock_.cancel(*timer_);
    promise_.try_set(std::move(result));
    delete this;
  }

  UvLoop& loop_;
  ReadBuffer& buffer_;
  Clock& clock_;
  Address address_;
  Promise<Connected> promise_;
  std::optional<TimerId> timer_;
  std::vector<sockaddr_storage> candidates_;
  size_t tried_ = 0;
  Stream* stream_ = nullptr;
  uv_connect_t request_;
  uv_getaddrinfo_t look_up_;
  bool looking_up_ = false;
  bool ended_ = false;
  std::string why_ = "no address";
};

class UvNet final : public Net {
 public:
  UvNet(UvLoop& loop, Clock& clock) : loop_(loop), clock_(clock) {}

  Future<Result<std::unique_ptr<Connection>>> connect(Address address, Duration timeout) override {
    auto where = split_address(address);
    if (!where) {
      return ready_future<Result<std::unique_ptr<Connection>>>(loop_, std::unexpected(not_an_address(address)));
    }
    auto* connecting = new Connecting(loop_, buffer_, clock_, std::move(address));
    return connecting->start(*where, timeout);
  }

  Result<std::unique_ptr<Listener>> listen(const Address& address) override {
    auto where = split_address(address);
    if (!where) return std::unexpected(not_an_address(address));
    sockaddr_storage name{};
    if (!numeric(*where, name)) {
      // Blocks, once, when a server starts.
      addrinfo hints{};
      hints.ai_socktype = SOCK_STREAM;
      hints.ai_flags = AI_PASSIVE;
      uv_getaddrinfo_t request;
      int status = uv_getaddrinfo(loop_.uv(), &request, nullptr, where->host.c_str(), where->port.c_str(), &hints);
      if (status != 0) return fail(Code::kUnavailable, "cannot listen on " + address + ": " + uv_words(status));
      std::memcpy(&name, request.addrinfo->ai_addr, request.addrinfo->ai_addrlen);
      uv_freeaddrinfo(request.addrinfo);
    }
    auto* acceptor = new Acceptor(loop_, buffer_);
    auto listener = std::make_unique<UvListener>(acceptor);
    RETURN_IF_ERROR(acceptor->listen(address, name));
    return listener;
  }

 private:
  UvLoop& loop_;
  Clock& clock_;
  ReadBuffer buffer_;
};

}  // namespace

std::unique_ptr<Net> make_net(UvLoop& loop, Clock& clock) { return std::make_unique<UvNet>(loop, clock); }

}  // namespace understudy
