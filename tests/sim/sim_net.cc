#include "tests/sim/sim_net.h"

#include <algorithm>
#include <charconv>

#include "tests/sim/sim_world.h"

namespace understudy::sim {

namespace {

constexpr size_t kKernelBufferBytes = 256 << 10;  // Each of send and receive, per connection.
constexpr size_t kSegmentBytesMax = 64 << 10;
constexpr size_t kRoomBytesMin = 16 << 10;         // Wait for this much room rather than send crumbs.
constexpr size_t kBacklogMax = 128;
constexpr Duration kRetransmitAfter = std::chrono::milliseconds(200);
constexpr size_t kRecordingsMax = 3;
constexpr size_t kRecordedBytesMax = 256 << 10;
constexpr uint8_t kData = 0;
constexpr uint8_t kEnd = 1;
constexpr uint8_t kReset = 2;

// Bytes in, bytes out, in order.
class ByteQueue {
 public:
  size_t size() const { return bytes_.size() - start_; }
  void append(BytesView more) { bytes_.append(more); }
  Bytes take(size_t count) {
    Bytes taken = bytes_.substr(start_, count);
    start_ += taken.size();
    if (start_ * 2 >= bytes_.size()) {
      bytes_.erase(0, start_);
      start_ = 0;
    }
    return taken;
  }
  void clear() {
    bytes_.clear();
    start_ = 0;
  }

 private:
  Bytes bytes_;
  size_t start_ = 0;
};

std::optional<std::pair<std::string, uint16_t>> parse_address(const Address& address) {
  size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0) return std::nullopt;
  bool bracketed = address.front() == '[' && address[colon - 1] == ']';
  if (!bracketed && address.find(':') != colon) return std::nullopt;
  uint16_t port = 0;
  const char* end = address.data() + address.size();
  auto [at, error] = std::from_chars(address.data() + colon + 1, end, port);
  if (error != std::errc() || at != end) return std::nullopt;
  return std::pair(address.substr(0, colon), port);
}

bool is_self(const std::string& name) {
  return name == "localhost" || name == "127.0.0.1" || name == "0.0.0.0" || name == "[::1]";
}

}  // namespace

struct PendingWrite {
  Bytes bytes;
  size_t taken = 0;
  Promise<Status> done;
};

struct Segment {
  uint8_t kind;
  Bytes bytes;
  Instant arrives;
};

// The kernel's end of a connection. It outlives the process that closes it until
// what was sent has arrived.
struct SimSocket {
  uint64_t id;
  SimHost* host;
  SimProcess* process;
  Address local;
  Address peer_address;
  PeerIdentity peer_identity;
  SimHost* peer_host = nullptr;
  std::weak_ptr<SimSocket> peer;

  std::deque<PendingWrite> writes;  // Not yet taken by the kernel.
  ByteQueue unsent;
  size_t unacknowledged = 0;        // Taken by the kernel, unsent ones too.
  size_t acknowledgements_held = 0; // Arrived, but the way back is blocked.
  size_t in_flight = 0;
  std::deque<Segment> flight;
  Instant last_arrival{};
  bool armed = false;
  bool watched = false;
  uint64_t progress = 0;

  ByteQueue received;
  std::optional<Promise<Result<Bytes>>> reader;
  bool end_of_stream = false;
  bool broken = false;
  bool closed = false;    // By its process.
  bool end_sent = false;
  bool lost = false;      // Its machine lost power: nobody is there to answer.
  bool dialed = false;
};

struct SimListenerState {
  SimHost* host;
  SimProcess* process;
  Address local;
  uint16_t port;
  bool closed = false;
  std::deque<SocketRef> backlog;
  std::optional<Promise<Result<std::unique_ptr<Connection>>>> acceptor;
};

struct SimConnecting {
  SimProcess* process;
  std::string host;
  uint16_t port;
  Address address;
  Instant deadline;
  Promise<Result<std::unique_ptr<Connection>>> done;
  EventId timeout{};
  bool finished = false;
};

namespace {

class SimConnection final : public Connection {
 public:
  SimConnection(SimNet& net, Executor& executor, SocketRef socket)
      : net_(net), executor_(executor), socket_(std::move(socket)) {}
  ~SimConnection() override { net_.close(socket_); }
  Future<Result<Bytes>> read() override { return net_.read(socket_, executor_); }
  Future<Status> write(std::vector<Bytes> pieces) override {
    return net_.write(socket_, executor_, std::move(pieces));
  }
  void close() override { net_.close(socket_); }
  Address peer() const override { return socket_->peer_address; }
  const PeerIdentity& identity() const override { return socket_->peer_identity; }

 private:
  SimNet& net_;
  Executor& executor_;
  SocketRef socket_;
};

class SimListener final : public Listener {
 public:
  SimListener(SimNet& net, Executor& executor, std::shared_ptr<SimListenerState> state)
      : net_(net), executor_(executor), state_(std::move(state)) {}
  ~SimListener() override { net_.close_listener(state_); }
  Future<Result<std::unique_ptr<Connection>>> accept() override { return net_.accept(state_, executor_); }
  Address local() const override { return state_->local; }
  void close() override { net_.close_listener(state_); }

 private:
  SimNet& net_;
  Executor& executor_;
  std::shared_ptr<SimListenerState> state_;
};

}  // namespace

SimNet::SimNet(SimWorld& world, SimRandom random) : world_(world), random_(random) {}
SimNet::~SimNet() = default;

void SimNet::partition_one_way(const std::string& from, const std::string& to) { blocked_.insert({from, to}); }

void SimNet::partition(const std::string& a, const std::string& b) {
  partition_one_way(a, b);
  partition_one_way(b, a);
}

void SimNet::isolate(const std::string& host) { isolated_.insert(host); }

void SimNet::rejoin(const std::string& host) {
  isolated_.erase(host);
  links_changed();
}

void SimNet::heal(const std::string& a, const std::string& b) {
  blocked_.erase({a, b});
  blocked_.erase({b, a});
  links_changed();
}

void SimNet::heal_all() {
  blocked_.clear();
  isolated_.clear();
  links_changed();
}

void SimNet::set_link(const std::string& a, const std::string& b, LinkOptions options) {
  links_[{a, b}] = options;
  links_[{b, a}] = options;
}

void SimNet::clear_link(const std::string& a, const std::string& b) {
  links_.erase({a, b});
  links_.erase({b, a});
}

void SimNet::record(const SimSocket& socket, BytesView bytes) {
  auto& kept = recordings_[{socket.host->name, socket.peer_host->name}];
  auto at = std::ranges::find(kept, socket.id, &Recording::socket);
  if (at == kept.end()) {
    if (kept.size() == kRecordingsMax) kept.pop_front();
    at = kept.insert(kept.end(), {socket.id, socket.peer_address, {}});
  }
  if (at->bytes.size() + bytes.size() <= kRecordedBytesMax) at->bytes += bytes;
}

std::optional<std::pair<Address, Bytes>> SimNet::recorded(const std::string& from, const std::string& to) const {
  auto kept = recordings_.find({from, to});
  if (kept == recordings_.end() || kept->second.empty()) return std::nullopt;
  return std::pair(kept->second.front().address, kept->second.front().bytes);
}

const LinkOptions& SimNet::link(const std::string& from, const std::string& to) const {
  auto own = links_.find({from, to});
  return own == links_.end() ? default_link_ : own->second;
}

bool SimNet::open(const SimHost& from, const SimHost& to) const {
  if (&from == &to) return true;
  return !blocked_.contains({from.name, to.name}) && !isolated_.contains(from.name) && !isolated_.contains(to.name);
}

Duration SimNet::latency(const SimHost& from, const SimHost& to) {
  if (&from == &to) return random_.between(std::chrono::microseconds(10), std::chrono::microseconds(40));
  const LinkOptions& options = link(from.name, to.name);
  return random_.between(options.latency_min, options.latency_max);
}

void SimNet::links_changed() {
  // What was held goes out again when the senders next retransmit.
  std::vector<SocketRef> all;
  for (auto& [id, socket] : sockets_) all.push_back(socket);
  for (auto& socket : all) {
    SocketRef peer = socket->peer.lock();
    if (socket->acknowledgements_held > 0 && open(*socket->peer_host, *socket->host)) {
      acknowledge(socket, std::exchange(socket->acknowledgements_held, 0));
    }
    if (socket->flight.empty() || socket->armed) continue;
    Instant again = world_.now() + random_.between(std::chrono::milliseconds(1), std::chrono::milliseconds(200));
    for (Segment& segment : socket->flight) segment.arrives = std::max(segment.arrives, again);
    arm(socket);
  }
}

void SimNet::cut(const std::string& a, const std::string& b) {
  std::vector<SocketRef> between;
  for (auto& [id, socket] : sockets_) {
    if (socket->host->name == a && socket->peer_host->name == b) between.push_back(socket);
    if (socket->host->name == b && socket->peer_host->name == a) between.push_back(socket);
  }
  for (auto& socket : between) break_socket(socket, "connection reset");
}

// --- connecting

Future<Result<std::unique_ptr<Connection>>> SimNet::connect(SimProcess& process, Address address, Duration timeout) {
  Executor& executor = process.env().executor;
  Promise<Result<std::unique_ptr<Connection>>> done(executor);
  if (!process.alive()) return done.future();
  auto parsed = parse_address(address);
  if (!parsed) {
    done.set(fail(Code::kInvalid, address + ": not an address"));
    return done.future();
  }
  auto connecting = std::make_shared<SimConnecting>(
      SimConnecting{&process, is_self(parsed->first) ? process.host().name : parsed->first, parsed->second, address,
                    world_.now() + timeout, done});
  connecting->timeout =
      world_.events().add(connecting->deadline, EventKind::kNetTimeout, process.pid(), [this, connecting] {
        finish_connect(connecting, fail(Code::kUnavailable, connecting->address + ": no answer"));
      });
  try_connect(std::move(connecting));
  return done.future();
}

// The first result counts; a connection that comes too late is destroyed, which closes it.
void SimNet::finish_connect(const std::shared_ptr<SimConnecting>& connecting,
                            Result<std::unique_ptr<Connection>> result) {
  if (std::exchange(connecting->finished, true)) return;
  world_.events().cancel(connecting->timeout);
  connecting->done.set(std::move(result));
}

void SimNet::try_connect(std::shared_ptr<SimConnecting> connecting) {
  // SYN, and the same again every so often, as long as nothing answers.
  SimHost& from = connecting->process->host();
  bool known = false;
  for (SimHost* host : world_.hosts()) known |= host->name == connecting->host;
  Instant answered = world_.now() + (known ? latency(from, world_.host(connecting->host)) : Duration::zero());
  world_.events().add(answered, EventKind::kConnect, connecting->process->pid(), [this, connecting, known] {
    if (connecting->finished || !connecting->process->alive()) return;
    if (!known) {
      finish_connect(connecting, fail(Code::kUnavailable, connecting->address + ": no such host"));
      return;
    }
    SimHost& from = connecting->process->host();
    SimHost& to = world_.host(connecting->host);
    if (!to.powered || !open(from, to) || !open(to, from)) {
      Instant again = world_.now() + random_.between(std::chrono::milliseconds(100), std::chrono::milliseconds(500));
      if (again >= connecting->deadline) return;
      world_.events().add(again, EventKind::kConnect, connecting->process->pid(), [this, connecting] {
        if (!connecting->finished && connecting->process->alive()) try_connect(connecting);
      });
      return;
    }
    Instant back = world_.now() + latency(to, from);
    auto listener = listeners_.find({to.name, connecting->port});
    if (listener == listeners_.end() || listener->second->backlog.size() >= kBacklogMax) {
      world_.events().add(back, EventKind::kConnect, connecting->process->pid(), [this, connecting] {
        finish_connect(connecting, fail(Code::kUnavailable, connecting->address + ": connection refused"));
      });
      return;
    }
    auto state = listener->second;
    uint16_t port = next_port_.try_emplace(from.name, 40000).first->second++;
    SocketRef near = make_socket(*connecting->process, from.address(port), connecting->address);
    SocketRef far = make_socket(*state->process, state->local, from.address(port));
    near->dialed = true;
    near->peer = far;
    far->peer = near;
    near->peer_host = far->host;
    far->peer_host = near->host;
    near->peer_identity = to.identity;
    far->peer_identity = from.identity;
    Executor& far_executor = state->process->env().executor;
    if (state->acceptor) {
      std::exchange(state->acceptor, std::nullopt)->try_set(std::make_unique<SimConnection>(*this, far_executor, far));
    } else {
      state->backlog.push_back(far);
    }
    world_.events().add(back, EventKind::kConnect, connecting->process->pid(), [this, connecting, near] {
      finish_connect(connecting,
                     std::make_unique<SimConnection>(*this, connecting->process->env().executor, near));
    });
  });
}

SocketRef SimNet::make_socket(SimProcess& process, Address local, Address peer) {
  auto socket = std::make_shared<SimSocket>();
  socket->id = next_socket_++;
  socket->host = &process.host();
  socket->process = &process;
  socket->local = std::move(local);
  socket->peer_address = std::move(peer);
  sockets_.emplace(socket->id, socket);
  return socket;
}

Result<std::unique_ptr<Listener>> SimNet::listen(SimProcess& process, const Address& address) {
  auto parsed = parse_address(address);
  if (!parsed) return fail(Code::kInvalid, address + ": not an address");
  if (!process.alive()) return fail(Code::kUnavailable, "the process is dead");
  const std::string& host = process.host().name;
  if (!is_self(parsed->first) && parsed->first != host) {
    return fail(Code::kUnavailable, address + ": not an address of this machine");
  }
  uint16_t port = parsed->second;
  if (port == 0) {
    auto& next = next_port_.try_emplace(host, 40000).first->second;
    while (listeners_.contains({host, next})) ++next;
    port = next++;
  }
  if (listeners_.contains({host, port})) return fail(Code::kUnavailable, address + ": address already in use");
  auto state = std::make_shared<SimListenerState>(
      SimListenerState{&process.host(), &process, process.host().address(port), port});
  listeners_.emplace(ListenKey{host, port}, state);
  return std::make_unique<SimListener>(*this, process.env().executor, std::move(state));
}

Future<Result<std::unique_ptr<Connection>>> SimNet::accept(std::shared_ptr<SimListenerState> listener,
                                                           Executor& executor) {
  Promise<Result<std::unique_ptr<Connection>>> promise(executor);
  if (listener->closed) {
    promise.set(fail(Code::kUnavailable, "the listener is closed"));
  } else if (!listener->backlog.empty()) {
    promise.set(std::make_unique<SimConnection>(*this, executor, listener->backlog.front()));
    listener->backlog.pop_front();
  } else {
    listener->acceptor = promise;
  }
  return promise.future();
}

void SimNet::close_listener(const std::shared_ptr<SimListenerState>& listener) {
  if (std::exchange(listener->closed, true)) return;
  listeners_.erase({listener->host->name, listener->port});
  for (auto& socket : std::exchange(listener->backlog, {})) close(socket);
  if (listener->acceptor) {
    std::exchange(listener->acceptor, std::nullopt)->try_set(fail(Code::kUnavailable, "the listener is closed"));
  }
}

// --- bytes

Future<Result<Bytes>> SimNet::read(SocketRef socket, Executor& executor) {
  Promise<Result<Bytes>> promise(executor);
  if (socket->closed) {
    promise.set(fail(Code::kUnavailable, "the connection is closed"));
  } else if (socket->received.size() > 0) {
    promise.set(socket->received.take(kKernelBufferBytes));
    if (auto peer = socket->peer.lock()) pump(peer);  // There is room again.
  } else if (socket->broken) {
    promise.set(fail(Code::kUnavailable, "the connection is broken"));
  } else if (socket->end_of_stream) {
    promise.set(Bytes());
  } else {
    socket->reader = promise;
  }
  return promise.future();
}

Future<Status> SimNet::write(SocketRef socket, Executor& executor, std::vector<Bytes> pieces) {
  Promise<Status> promise(executor);
  if (socket->closed || socket->broken) {
    promise.set(fail(Code::kUnavailable, "the connection is broken"));
    return promise.future();
  }
  Bytes bytes;
  for (Bytes& piece : pieces) {
    if (bytes.empty()) {
      bytes = std::move(piece);
    } else {
      bytes += piece;
    }
  }
  if (recording_ && socket->dialed) record(*socket, bytes);
  socket->writes.push_back({std::move(bytes), 0, promise});
  pump(socket);
  return promise.future();
}

void SimNet::pump(const SocketRef& socket) {
  if (socket->broken || socket->lost) return;
  while (!socket->writes.empty()) {
    PendingWrite& write = socket->writes.front();
    size_t left = write.bytes.size() - write.taken;
    size_t room = kKernelBufferBytes - socket->unacknowledged;
    if (room < std::min(left, kRoomBytesMin)) break;
    size_t count = std::min(left, room);
    socket->unsent.append(BytesView(write.bytes).substr(write.taken, count));
    socket->unacknowledged += count;
    write.taken += count;
    if (write.taken < write.bytes.size()) break;
    write.done.try_set({});
    socket->writes.pop_front();
  }
  auto peer = socket->peer.lock();
  size_t filled = socket->in_flight + (peer ? peer->received.size() : 0);
  while (socket->unsent.size() > 0 &&
         filled + std::min(socket->unsent.size(), kRoomBytesMin) <= kKernelBufferBytes) {
    size_t count = std::min({socket->unsent.size(), kSegmentBytesMax, kKernelBufferBytes - filled});
    if (random_.one_in(8)) count = 1 + random_.below(count);
    filled += count;
    enqueue(socket, kData, socket->unsent.take(count));
  }
  if (socket->closed && socket->unsent.size() == 0 && !std::exchange(socket->end_sent, true)) {
    enqueue(socket, kEnd, {});
  }
}

void SimNet::enqueue(const SocketRef& socket, uint8_t kind, Bytes bytes) {
  Instant at = std::max(socket->last_arrival, world_.now() + latency(*socket->host, *socket->peer_host));
  uint64_t speed = socket->host == socket->peer_host ? LinkOptions{}.bytes_per_second
                                                     : link(socket->host->name, socket->peer_host->name).bytes_per_second;
  at += Duration(static_cast<int64_t>(bytes.size() * 1'000'000'000 / speed));
  if (uint32_t loss = link(socket->host->name, socket->peer_host->name).loss_percent; loss > 0) {
    for (Duration wait = kRetransmitAfter; random_.below(100) < loss; wait *= 2) at += wait;
  }
  socket->last_arrival = at;
  socket->in_flight += bytes.size();
  socket->flight.push_back({kind, std::move(bytes), at});
  arm(socket);
}

void SimNet::arm(const SocketRef& socket) {
  if (socket->armed || socket->flight.empty()) return;
  socket->armed = true;
  Instant at = std::max(world_.now(), socket->flight.front().arrives);
  world_.events().add(at, EventKind::kArrival, socket->id, [this, socket] {
    socket->armed = false;
    arrive(socket);
  });
}

void SimNet::arrive(const SocketRef& socket) {
  if (socket->flight.empty()) return;
  SocketRef peer = socket->peer.lock();
  if (!open(*socket->host, *socket->peer_host) || !socket->peer_host->powered) {
    watch_progress(socket);
    return;  // links_changed() or host_back() goes on.
  }
  Segment segment = std::move(socket->flight.front());
  socket->flight.pop_front();
  socket->in_flight -= segment.bytes.size();
  ++socket->progress;
  world_.trace(EventKind::kArrival, socket->id, checksum(segment.bytes, segment.kind));
  bool answered_by_reset = !peer || peer->closed || peer->broken || peer->lost;
  if (answered_by_reset) {
    if (segment.kind == kData) send_reset(socket);
  } else if (segment.kind == kReset) {
    break_socket(peer, "reset by the peer");
  } else if (segment.kind == kEnd) {
    peer->end_of_stream = true;
    if (peer->reader) std::exchange(peer->reader, std::nullopt)->try_set(Bytes());
  } else {
    bytes_delivered_ += segment.bytes.size();
    size_t size = segment.bytes.size();
    peer->received.append(segment.bytes);
    if (peer->reader) {
      std::exchange(peer->reader, std::nullopt)->try_set(peer->received.take(kKernelBufferBytes));
    }
    if (open(*socket->peer_host, *socket->host)) {
      acknowledge(socket, size);
    } else {
      socket->acknowledgements_held += size;
      watch_progress(socket);
    }
  }
  arm(socket);
  forget_if_done(socket);
}

void SimNet::acknowledge(const SocketRef& socket, size_t size) {
  socket->unacknowledged -= std::min(socket->unacknowledged, size);
  ++socket->progress;
  pump(socket);
}

// Sent, and nothing came back: after a while the sender gives up.
void SimNet::watch_progress(const SocketRef& socket) {
  if (std::exchange(socket->watched, true)) return;
  world_.events().add(world_.now() + give_up_after_, EventKind::kNetTimeout, socket->id,
                      [this, socket, before = socket->progress] {
    socket->watched = false;
    if (socket->progress == before) {
      break_socket(socket, "no answer from the peer");
      socket->flight.clear();
      socket->in_flight = 0;
      forget_if_done(socket);
    } else if (!socket->flight.empty() || socket->acknowledgements_held > 0) {
      watch_progress(socket);
    }
  });
}

// Nobody takes what `socket` sends: its side learns of it after a while.
void SimNet::send_reset(const SocketRef& socket) {
  Duration delay = latency(*socket->peer_host, *socket->host);
  world_.events().add(world_.now() + delay, EventKind::kArrival, socket->id, [this, socket] {
    if (open(*socket->peer_host, *socket->host)) break_socket(socket, "reset by the peer");
  });
}

// What has arrived can still be read; all else fails.
void SimNet::break_socket(const SocketRef& socket, const char* why) {
  if (std::exchange(socket->broken, true)) return;
  socket->unsent.clear();
  if (socket->reader) {
    std::exchange(socket->reader, std::nullopt)
        ->try_set(fail(Code::kUnavailable, socket->peer_address + ": " + why));
  }
  for (PendingWrite& write : std::exchange(socket->writes, {})) {
    write.done.try_set(fail(Code::kUnavailable, socket->peer_address + ": " + why));
  }
  forget_if_done(socket);
}

void SimNet::close(const SocketRef& socket) {
  if (std::exchange(socket->closed, true)) return;
  if (socket->reader) {
    std::exchange(socket->reader, std::nullopt)->try_set(fail(Code::kUnavailable, "the connection is closed"));
  }
  for (PendingWrite& write : std::exchange(socket->writes, {})) {
    write.done.try_set(fail(Code::kUnavailable, "the connection is closed"));
  }
  if (!socket->broken && !socket->lost) {
    if (socket->received.size() > 0) {
      // As TCP: closing with unread bytes is a reset, and what was not yet sent is gone.
      socket->unsent.clear();
      socket->end_sent = true;
      enqueue(socket, kReset, {});
    } else {
      pump(socket);
    }
  }
  forget_if_done(socket);
}

void SimNet::forget_if_done(const SocketRef& socket) {
  bool sent = socket->broken || socket->lost || (socket->end_sent && socket->flight.empty());
  if (socket->closed && sent) sockets_.erase(socket->id);
}

void SimNet::process_died(SimProcess& process) {
  std::vector<std::shared_ptr<SimListenerState>> listeners;
  for (auto& [key, listener] : listeners_) {
    if (listener->process == &process) listeners.push_back(listener);
  }
  for (auto& listener : listeners) close_listener(listener);
  std::vector<SocketRef> sockets;
  for (auto& [id, socket] : sockets_) {
    if (socket->process == &process) sockets.push_back(socket);
  }
  for (auto& socket : sockets) close(socket);
}

void SimNet::host_lost(SimHost& host) {
  std::vector<std::shared_ptr<SimListenerState>> listeners;
  for (auto& [key, listener] : listeners_) {
    if (listener->host == &host) listeners.push_back(listener);
  }
  std::vector<SocketRef> sockets;
  for (auto& [id, socket] : sockets_) {
    if (socket->host == &host) sockets.push_back(socket);
  }
  for (auto& socket : sockets) {
    socket->lost = true;
    socket->unsent.clear();
    socket->flight.clear();  // What its interface had not sent.
    socket->in_flight = 0;
    close(socket);
  }
  for (auto& listener : listeners) close_listener(listener);
}

void SimNet::host_back(SimHost& host) { links_changed(); }

}  // namespace understudy::sim
