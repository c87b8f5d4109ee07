// The simulated network: TCP-like streams between hosts, with seeded latency and
// segments split anywhere, bounded send and receive buffers, and faults.
//
// As with TCP, a partition stalls what is under way and delivers it after heal()
// unless the sender gave up first; a killed process's kernel still sends what it had
// taken and says goodbye; a machine without power says nothing until it is back, and
// then answers the next segment with a reset. Addresses are "host:port"; "localhost",
// "127.0.0.1" and "0.0.0.0" are the host itself.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/env/env.h"
#include "tests/sim/sim_events.h"
#include "tests/sim/sim_random.h"

namespace understudy::sim {

class SimProcess;
class SimWorld;
struct SimHost;
struct SimSocket;
struct SimListenerState;
struct SimConnecting;

using SocketRef = std::shared_ptr<SimSocket>;

struct LinkOptions {
  Duration latency_min = std::chrono::microseconds(50);
  Duration latency_max = std::chrono::microseconds(500);
  uint64_t bytes_per_second = 1'000'000'000;
  uint32_t loss_percent = 0;  // Of segments: they come after one or more retransmissions.
};

class SimNet {
 public:
  SimNet(SimWorld& world, SimRandom random);
  ~SimNet();

  // Nothing passes from one to the other; heal() ends it and delivers what was held.
  void partition_one_way(const std::string& from, const std::string& to);
  void partition(const std::string& a, const std::string& b);
  // From and to every host there is, or will be.
  void isolate(const std::string& host);
  void rejoin(const std::string& host);  // Ends isolate().
  void heal(const std::string& a, const std::string& b);
  void heal_all();
  // Resets every connection between the two.
  void cut(const std::string& a, const std::string& b);
  // Both directions; for every pair that has none of its own: set_default_link.
  void set_link(const std::string& a, const std::string& b, LinkOptions options);
  void clear_link(const std::string& a, const std::string& b);
  // Keeps what each dialer sends from now on, for what it sent to that host once: the
  // address and bytes of the oldest connection that is kept.
  void record_streams() { recording_ = true; }
  std::optional<std::pair<Address, Bytes>> recorded(const std::string& from, const std::string& to) const;
  void set_default_link(LinkOptions options) { default_link_ = options; }
  // How long a sender waits for acknowledgements before it breaks the connection.
  void set_give_up_after(Duration duration) { give_up_after_ = duration; }

  uint64_t bytes_delivered() const { return bytes_delivered_; }
  size_t open_sockets() const { return sockets_.size(); }

  // The rest is for the simulator's own parts.
  Future<Result<std::unique_ptr<Connection>>> connect(SimProcess& process, Address address, Duration timeout);
  Result<std::unique_ptr<Listener>> listen(SimProcess& process, const Address& address);
  Future<Result<Bytes>> read(SocketRef socket, Executor& executor);
  Future<Status> write(SocketRef socket, Executor& executor, std::vector<Bytes> pieces);
  void close(const SocketRef& socket);
  Future<Result<std::unique_ptr<Connection>>> accept(std::shared_ptr<SimListenerState> listener, Executor& executor);
  void close_listener(const std::shared_ptr<SimListenerState>& listener);
  void process_died(SimProcess& process);
  void host_lost(SimHost& host);  // Power gone: silence.
  void host_back(SimHost& host);

 private:
  using Pair = std::pair<std::string, std::string>;
  using ListenKey = std::pair<std::string, uint16_t>;

  bool open(const SimHost& from, const SimHost& to) const;
  Duration latency(const SimHost& from, const SimHost& to);
  const LinkOptions& link(const std::string& from, const std::string& to) const;
  void try_connect(std::shared_ptr<SimConnecting> connecting);
  void finish_connect(const std::shared_ptr<SimConnecting>& connecting, Result<std::unique_ptr<Connection>> result);
  SocketRef make_socket(SimProcess& process, Address local, Address peer);
  void pump(const SocketRef& socket);       // From writes into the send buffer, and onto the wire.
  void enqueue(const SocketRef& socket, uint8_t kind, Bytes bytes);
  void arm(const SocketRef& socket);        // See that the first segment in flight arrives.
  void arrive(const SocketRef& socket);
  void acknowledge(const SocketRef& socket, size_t size);
  void watch_progress(const SocketRef& socket);
  void send_reset(const SocketRef& socket);
  void break_socket(const SocketRef& socket, const char* why);
  void forget_if_done(const SocketRef& socket);
  void record(const SimSocket& socket, BytesView bytes);
  void links_changed();

  SimWorld& world_;
  SimRandom random_;
  LinkOptions default_link_;
  Duration give_up_after_ = std::chrono::seconds(60);
  std::map<Pair, LinkOptions> links_;
  std::set<Pair> blocked_;
  std::set<std::string> isolated_;
  std::map<uint64_t, SocketRef> sockets_;
  std::map<ListenKey, std::shared_ptr<SimListenerState>> listeners_;
  std::map<std::string, uint16_t> next_port_;
  uint64_t next_socket_ = 1;
  uint64_t bytes_delivered_ = 0;
  bool recording_ = false;
  struct Recording {
    uint64_t socket;
    Address address;
    Bytes bytes;
  };
  std::map<Pair, std::deque<Recording>> recordings_;  // Of each way, the newest few.
};

// One process's view: Env's network.
class SimNetView final : public Net {
 public:
  SimNetView(SimNet& net, SimProcess& process) : net_(net), process_(process) {}
  Future<Result<std::unique_ptr<Connection>>> connect(Address address, Duration timeout) override {
    return net_.connect(process_, std::move(address), timeout);
  }
  Result<std::unique_ptr<Listener>> listen(const Address& address) override {
    return net_.listen(process_, address);
  }

 private:
  SimNet& net_;
  SimProcess& process_;
};

}  // namespace understudy::sim
