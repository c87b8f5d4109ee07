// Every message that a storage server takes, behind its frames: from one who never said HELLO, from a client with
// capabilities of its own making and with right ones, from the pair's other half, and from its name node (that also
// answers the server's own calls with what the fuzzer says). It never ends by what a client says, answers in one line, and
// whoever shows no capability that is right changes nothing and reads nothing.
//
// An input is a row of steps: who, which message, how it is made, and what it is made of.
#include "common/base/chunk_hash.h"
#include "common/base/log.h"
#include "common/crypto/key_ring.h"
#include "ss/storage_server.h"
#include "tests/fuzz/journal.h"
#include "tests/fuzz/messages.h"
#include "tests/fuzz/party.h"

namespace understudy::fuzz {
namespace {

using namespace std::chrono_literals;

constexpr size_t kStepsMax = 24;
constexpr int kInputsMax = 300;  // Then the scene is set anew.
constexpr int64_t kNow = int64_t{1'700'000'000} * 1'000'000;  // NM time.
constexpr char kKey[] = "the key of this scene's capabilities";
constexpr uint64_t kFile = 5;         // Whose capability the user has.
constexpr uint64_t kSecretFile = 6;   // Whose nobody but the name node has.
constexpr uint64_t kFirstEpoch = 7;

class Scene {
 public:
  Scene() {
    world_.host("nm").act_as(PeerIdentity::Role::kNameNode, "nm1");
    for (std::string server : {"ss1", "ss1_backup"}) world_.host(server).act_as(PeerIdentity::Role::kStorageServer, server);
    Party::Options name_node{.host = "nm", .address = "nm:7400", .listens = true};
    name_node.honest = [this](uint16_t type, const Bytes& message) { return as_name_node(type, message); };
    parties_.emplace_back("nm", std::make_unique<Party>(world_, std::move(name_node)));
    begin_server();
    add("nobody", wire::HelloRequest::ROLE_NONE);
    add("stranger", wire::HelloRequest::CLIENT);
    add("ann", wire::HelloRequest::CLIENT);
    add("ss1_backup", wire::HelloRequest::STORAGE_SERVER);
    settle();
    serve(kFirstEpoch);
    for (uint64_t file : {kFile, kSecretFile}) {
      wire::PutRequest put;
      put.set_file_id(file);
      put.set_epoch(kFirstEpoch);
      put.set_user("admin");
      *put.mutable_name() = name_of(file);
      set_request(&put, 1, ++sequence_);
      party("nm").ask({wire::PUT, put.SerializeAsString(), "One sentence. Another one."});
    }
    settle();
    secret_ = head_of(kSecretFile);
    CHECK(secret_.has_file());
    gather_words();
  }
  ~Scene() {
    for (auto& process : world_.processes()) world_.kill(*process);
  }

  bool over() const { return over_; }

  void run(Input input) {
    const Lsn before = server_->state()->store->durable_lsn();
    strangers_only_ = clients_only_ = true;
    for (size_t step = 0; step < kStepsMax && !input.ended(); ++step) take_step(&input);
    settle();
    clients_only_so_far_ &= clients_only_;
    // A name node may end a server, which then says why; nobody else may.
    CHECK(server_ != nullptr || !clients_only_so_far_);
    if (server_ == nullptr) {
      over_ = true;
      return;
    }
    if (strangers_only_ && quiet_) CHECK(server_->state()->store->durable_lsn() == before);
    quiet_ = strangers_only_;
    if (clients_only_so_far_) {
      auto now = head_of(kSecretFile);
      CHECK(now.head().SerializeAsString() == secret_.head().SerializeAsString() && now.size_bytes() == secret_.size_bytes());
    }
    for (auto& [name, party] : parties_) {
      party->forget_answers();
      if (name == "nm" || (party->connected() && party->unanswered() == 0)) continue;
      party->begin_again();
    }
    // It serves on, or the next inputs would find it refusing everything.
    if (party("nm").unanswered() > 0 || !party("nm").connected()) over_ = true;
    settle();
    if (server_ == nullptr) {
      over_ = true;
      return;
    }
    const auto& fence = server_->state()->fence;
    if (!over_ && fence.serving() == kNoEpoch) serve(std::min(number(fence.greatest_seen()), UINT64_MAX - 1) + 1);
    if (server_ == nullptr || number(fence.greatest_seen()) > UINT64_MAX / 2) over_ = true;
  }

 private:
  static Task<void> run_server(Env& env, Scene* scene) {
    StorageServerOptions options;
    options.name = "ss1";
    options.folder = "/data";
    options.name_nodes = {"nm:7400"};
    options.listen = "ss1:7000";
    StorageServer server(env, options);
    scene->server_ = &server;
    co_await server.run();
    scene->server_ = nullptr;
    const Status& ended = server.result();
    CHECK(!ended && ended.error().code != Code::kInternal);
  }
  void begin_server() {
    world_.start(world_.host("ss1"), "ss1", [this](Env& env) { return run_server(env, this); });
    CHECK(world_.run_until([this] { return party("nm").connected(); }, 10s));
  }

  Result<Reply> as_name_node(uint16_t type, const Bytes& message) {
    switch (type) {
      case wire::HELLO: {
        wire::HelloReply reply;
        reply.set_protocol_version(1);
        return make_reply(reply);
      }
      case wire::REGISTER: {
        wire::RegisterReply reply;
        reply.set_cluster_id("c1");
        reply.set_heartbeat_interval_ms(1000 * 60);
        reply.set_failure_timeout_ms(1000 * 3600);
        reply.set_pair("ss1");
        reply.set_server_time_us(kNow);
        reply.mutable_second_copy()->mutable_other()->set_server("ss1_backup");
        reply.mutable_second_copy()->set_in_sync(true);
        auto* key = reply.add_capability_keys();
        key->set_id(1);
        key->set_secret(kKey);
        return make_reply(reply);
      }
      case wire::HEARTBEAT: {
        auto asked = parse_message<wire::HeartbeatRequest>(message);
        wire::HeartbeatReply reply;
        reply.set_lease_epoch(asked ? asked->epoch() : 0);
        reply.set_lease_ms(int64_t{1000} * 3600);
        return make_reply(reply);
      }
      case wire::ANNOUNCE: {
        auto asked = parse_message<wire::AnnounceRequest>(message);
        wire::AnnounceReply reply;
        reply.set_announced_lsn(asked ? asked->to_lsn() : 0);
        return make_reply(reply);
      }
      case wire::REPLICATE: {
        auto asked = parse_message<wire::ReplicateRequest>(message);
        wire::ReplicateReply reply;
        for (int i = 0; asked && i < asked->versions_size(); ++i) reply.add_outcomes();
        reply.set_holder("ss1_backup");
        return make_reply(reply);
      }
      case wire::PARTNER_FETCH: return fail(Code::kUnavailable, "the other half is away");
      default: return make_reply(wire::Done());
    }
  }

  void add(const std::string& name, wire::HelloRequest::Role role) {
    Party::Options options{.host = name, .address = "ss1:7000"};
    if (role != wire::HelloRequest::ROLE_NONE) {
      options.hello.emplace();
      options.hello->set_protocol_version(1);
      options.hello->set_role(role);
      options.hello->set_name(name);
    }
    parties_.emplace_back(name, std::make_unique<Party>(world_, std::move(options)));
  }
  Party& party(const std::string& name) {
    for (auto& [known, party] : parties_) {
      if (known == name) return *party;
    }
    CHECK(false);
  }
  // Until everybody has their answer, or has waited for long.
  void settle() {
    world_.run_until([this] { return std::ranges::all_of(parties_, [](auto& each) { return each.second->unanswered() == 0; }); }, 1s);
    world_.run_for(20ms);
  }
  void serve(uint64_t epoch) {
    wire::ServeRequest request;
    request.set_epoch(epoch);
    party("nm").ask({wire::SERVE, request.SerializeAsString(), {}});
    settle();
    epoch_ = epoch;
  }
  wire::MemberStatReply head_of(uint64_t file) {
    auto stat = server_->state()->store->member_stat(FileId{file});
    return stat ? *stat : wire::MemberStatReply();
  }
  static wire::NameRecord name_of(uint64_t file) {
    wire::NameRecord name;
    name.set_object_id(file);
    name.set_kind(wire::KIND_FILE);
    name.set_folder_id(1);
    name.set_name("f" + std::to_string(file));
    name.set_meta_version(3);
    return name;
  }
  static Bytes capability(uint64_t file, wire::Right right, uint64_t epoch, int64_t expires_us = kNow + int64_t{1} * 1'000'000'000'000,
                          std::string key = kKey) {
    wire::Capability capability;
    capability.set_file_id(file);
    capability.set_right(right);
    capability.set_user("ann");
    capability.set_access_generation(1);
    capability.set_epoch(epoch);
    capability.set_issued_us(kNow);
    capability.set_expires_us(expires_us);
    *capability.mutable_name() = name_of(file);
    KeyRing ring("understudy capability", 16);
    ring.set({{1, std::move(key)}});
    return ring.sign(1, capability.SerializeAsString());
  }
  void gather_words() {
    words_.numbers = {1, 2, kFile, kSecretFile, 8, kFirstEpoch, kFirstEpoch + 1, 65536, 1 << 20, (1 << 20) + 1, 200, UINT64_MAX,
                      uint64_t{1} << 63, INT64_MAX, uint64_t{1} << 32, 1'000'000};
    words_.texts = {"ss1", "ss1_backup", "ss2", "ann", "admin", "..", "/", "f5", "tag", "", std::string("a\0b", 3), std::string(256, 'x'),
                    "ss1_backup:7000", "nm:7400", "nowhere"};
    const Bytes content = "One sentence. Another one.";
    // The last of these are right nowhere but for reading.
    words_.bytes = {Bytes(32, 'h'), Bytes(16, 'h'), "", content, hash_bytes(content), hash_bytes("x"), "x", "New words. And more"};
    forged_ = {capability(kSecretFile, wire::RIGHT_OWN, kFirstEpoch, INT64_MAX, "another key"),
               capability(kSecretFile, wire::RIGHT_OWN, kFirstEpoch, kNow - 1), capability(kSecretFile, wire::RIGHT_OWN, kFirstEpoch - 1),
               Bytes(60, '\1'), "x"};
  }
  static Bytes hash_bytes(BytesView content) { return Bytes(chunk_hash(content).view()); }

  void take_step(Input* input) {
    auto& [name, who] = parties_[input->byte() % parties_.size()];
    const auto& types = message_types();
    const uint16_t type = types[input->byte() % types.size()];
    const uint8_t how = input->byte();
    const bool client = name != "nm" && name != "ss1_backup";
    const bool stranger = name == "nobody" || name == "stranger";
    clients_only_ &= client;
    strangers_only_ &= stranger;
    const bool answers = (how & 8) != 0 && name == "nm";
    auto message = message_of_type(type, answers ? "Reply" : "Request");
    Bytes bytes;
    if ((how & 1) != 0 || !message) {
      bytes = input->text(400);
    } else {
      maker_.fill(message.get(), input);
      if ((how & 2) != 0) {
        set_request(message.get(), 77, ++sequence_);
        set_number(message.get(), "epoch", epoch_);
      }
      if (name == "ann" && (how & 4) != 0) {
        set_number(message.get(), "file_id", kFile);
        set_bytes(message.get(), "capability", capability(kFile, (how & 32) != 0 ? wire::RIGHT_READ : wire::RIGHT_WRITE, epoch_));
      } else if (client) {
        set_bytes(message.get(), "capability", forged_[how / 32 % forged_.size()]);
      }
      bytes = message->SerializePartialAsString();
    }
    Bytes body = (how & 16) != 0 ? input->text(200) : "";
    if (answers) return who->will_answer(std::move(bytes), std::move(body));
    if (name == "nm" && type == wire::SERVE) {
      wire::ServeRequest serves;
      if (serves.ParseFromString(bytes)) epoch_ = serves.epoch();
    }
    who->ask({type, std::move(bytes), std::move(body)});
    if ((how & 64) != 0) settle();
  }

  sim::SimWorld world_{1};
  StorageServer* server_ = nullptr;
  bool over_ = false;  // What its name node said left nothing to go on with.
  bool strangers_only_ = true;
  bool clients_only_ = true;
  bool clients_only_so_far_ = true;
  bool quiet_ = false;  // Nothing but strangers in the input before.
  uint64_t sequence_ = 0;
  uint64_t epoch_ = 0;
  wire::MemberStatReply secret_;
  Words words_;
  std::vector<Bytes> forged_;
  MessageMaker maker_{&words_};
  std::vector<std::pair<std::string, std::unique_ptr<Party>>> parties_;
};

}  // namespace
}  // namespace understudy::fuzz

using namespace understudy;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static std::unique_ptr<fuzz::Scene> scene;
  static fuzz::Journal journal;
  static int inputs = 0;
  if (!scene || scene->over() || ++inputs > fuzz::kInputsMax) {
    scene.reset();
    scene = std::make_unique<fuzz::Scene>();
    journal.begin();
    inputs = 0;
  }
  journal.add(data, size);
  scene->run(fuzz::Input(data, size));
  return 0;
}

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  (void)log_open({.level = std::getenv("SIM_LOG") != nullptr ? LogLevel::kDebug : LogLevel::kOff});
  fuzz::replay(LLVMFuzzerTestOneInput);
  return 0;
}
