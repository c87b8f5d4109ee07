// Every message that a name node takes, behind its frames: from one who never said HELLO, from a stranger, a user, an
// administrator and two storage servers (that also answer the name node's own calls with what the fuzzer says). It never
// ends, answers in one line, a stranger changes nothing, and a user nothing of what is another's.
//
// An input is a row of steps: who, which message, how it is made, and what it is made of.
#include "common/base/log.h"
#include "common/tls/certificates.h"
#include "common/tls/join_token.h"
#include "common/tls/tls_net.h"
#include "nm/catalogue_db.h"
#include "nm/name_node.h"
#include "tests/fuzz/journal.h"
#include "tests/fuzz/messages.h"
#include "tests/fuzz/party.h"

namespace understudy::fuzz {
namespace {

using namespace std::chrono_literals;

constexpr size_t kStepsMax = 24;
constexpr int kInputsMax = 300;  // Then the scene is set anew.
constexpr char kSecretFile[] = "/secret";
constexpr char kAdmin[] = "admin";
constexpr char kPassword[] = "a password";

class Scene {
 public:
  Scene() {
    world_.host("nm").act_as(PeerIdentity::Role::kNameNode, "nm1");
    for (std::string server : {"ss1", "ss1_backup"}) {
      world_.host(server).act_as(PeerIdentity::Role::kStorageServer, server);
      world_.host(server).identity.key = sha256(server);
    }
    process_ = &world_.start(world_.host("nm"), "nm", [this](Env& env) { return run_node(env, this); });
    process_->spawn(note_start(node_, this));
    CHECK(world_.run_until([this] { return started_; }, 60s));
    add("nobody", wire::HelloRequest::ROLE_NONE);
    add("stranger", wire::HelloRequest::CLIENT);
    add("ann", wire::HelloRequest::CLIENT);
    add(kAdmin, wire::HelloRequest::CLIENT);
    add("ss1", wire::HelloRequest::STORAGE_SERVER);
    add("ss1_backup", wire::HelloRequest::STORAGE_SERVER);
    settle();
    log_in(kAdmin);
    wire::AddUserRequest user;
    user.set_name("ann");
    user.set_password(kPassword);
    say(kAdmin, wire::ADD_USER, user);
    log_in("ann");
    for (std::string server : {"ss1", "ss1_backup"}) {
      wire::RegisterRequest request;
      request.set_server(server);
      request.set_store_id(std::string(32, server == "ss1" ? 'a' : 'b'));
      request.set_incarnation(7);
      request.set_empty(true);
      request.set_address(server + ":7000");
      say(server, wire::REGISTER, request);
      wire::HeartbeatRequest heartbeat;
      heartbeat.set_server(server);
      heartbeat.set_incarnation(7);
      say(server, wire::HEARTBEAT, heartbeat);
    }
    world_.run_for(1s);
    make_file("ann", "/mine");
    make_file(kAdmin, kSecretFile);
    wire::CreateFolderRequest folder;
    folder.set_path("/folder");
    say("ann", wire::CREATE_FOLDER, folder);
    announce();
    secret_ = *catalogue().find(kSecretFile);
    gather_words();
  }
  ~Scene() {
    for (auto& process : world_.processes()) world_.kill(*process);
  }

  bool ended() const { return node_ == nullptr || node_->catalogue() == nullptr; }

  void run(Input input) {
    const auto before = what_stands();
    bool only_strangers = true;
    for (size_t step = 0; step < kStepsMax && !input.ended(); ++step) only_strangers &= take_step(&input);
    settle();
    CHECK(!ended());
    if (only_strangers && quiet_) CHECK(what_stands() == before);
    quiet_ = only_strangers;
    if (!others_acted_) {
      auto now = catalogue().node(secret_.id);
      CHECK(now && now->owner == kAdmin && now->name == secret_.name && now->announced == secret_.announced);
      CHECK(catalogue().right_of(*now, "ann") == Right::kNone);
    }
    // Those who were thrown out, or wait for something that does not come, come again.
    for (auto& [name, party] : parties_) {
      party->forget_answers();
      if (party->connected() && party->unanswered() == 0) continue;
      party->begin_again();
      settle();
      if (name == "ann" || name == kAdmin) log_in(name);
    }
    CHECK(!ended());
  }

 private:
  // Not what the name node does by itself: the halves of a pair go on being compared.
  std::array<uint64_t, 5> what_stands() {
    return {catalogue().files(), catalogue().folders(), catalogue().people_changes(), catalogue().join_tokens().size(),
            catalogue().servers().size()};
  }
  static Task<void> run_node(Env& env, Scene* scene) {
    // Certificates are given out and asked about as over TLS; connections say who they are by the simulator's word.
    TlsCredentials credentials;
    TlsNet tls(env, &credentials);
    NameNodeOptions options;
    options.folder = "/data";
    options.listen = "nm:7400";
    options.tls = &tls;
    options.monitor.heartbeat_interval = 1h;
    options.monitor.failure_timeout = 3h;
    options.identity.password_cost = {.log2_n = 2, .r = 1, .p = 1};
    options.identity.first_password = kPassword;
    NameNode node(env, options);
    scene->node_ = &node;
    auto ended = co_await node.run();
    CHECK(ended.has_value());
    scene->node_ = nullptr;
  }
  static Task<void> note_start(NameNode* node, Scene* scene) {
    auto started = node->started();
    co_await started;
    scene->started_ = true;
  }

  Catalogue& catalogue() { return const_cast<Catalogue&>(*node_->catalogue()); }

  void add(const std::string& name, wire::HelloRequest::Role role) {
    Party::Options options{.host = name, .address = "nm:7400"};
    if (role != wire::HelloRequest::ROLE_NONE) {
      options.hello.emplace();
      options.hello->set_protocol_version(1);
      options.hello->set_role(role);
      options.hello->set_name(name);
    }
    if (role == wire::HelloRequest::STORAGE_SERVER) {
      // Does what it is told, as far as an empty answer says so.
      options.honest = [](uint16_t type, const Bytes&) -> Result<Reply> {
        auto reply = message_of_type(type, "Reply");
        if (type == wire::DIGEST) {
          for (int i = 0; i < 1024; ++i) static_cast<wire::DigestReply&>(*reply).add_partitions(0);
        }
        return reply ? make_reply(*reply) : Reply{};
      };
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
  void say(const std::string& who, uint16_t type, google::protobuf::Message& message) {
    set_request(&message, 1, ++sequence_);
    party(who).ask({type, message.SerializeAsString(), {}});
    settle();
  }
  void log_in(const std::string& user) {
    wire::LoginRequest login;
    login.set_user(user);
    login.set_password(kPassword);
    say(user, wire::LOGIN, login);
  }
  void make_file(const std::string& user, const std::string& path) {
    wire::LocateRequest locate;
    locate.set_path(path);
    locate.set_create(wire::LocateRequest::EXCLUSIVE);
    say(user, wire::LOCATE, locate);
  }
  void announce() {
    wire::AnnounceRequest announced;
    announced.set_server("ss1");
    announced.set_incarnation(7);
    announced.set_epoch(number(catalogue().pair("ss1")->epoch));
    announced.set_to_lsn(100);
    for (const char* path : {"/mine", kSecretFile}) {
      auto* item = announced.add_items();
      item->set_file_id(number(catalogue().find(path)->id));
      item->mutable_version()->set_epoch(announced.epoch());
      item->mutable_version()->set_counter(1);
      item->set_lsn(50);
      item->set_kind(wire::CHANGE_PUT);
    }
    say("ss1", wire::ANNOUNCE, announced);
  }
  void gather_words() {
    const uint64_t epoch = number(catalogue().pair("ss1")->epoch);
    const uint64_t mine = number(catalogue().find("/mine")->id);
    words_.numbers = {1, 2, mine, number(secret_.id), number(catalogue().find("/folder")->id), epoch, epoch + 1, 7, 100, 200,
                      UINT64_MAX, uint64_t{1} << 63, INT64_MAX, 1'000'000};
    words_.texts = {"/mine", kSecretFile, "/folder", "/folder/new", "/new", "/", "..", "../..", "/folder/../secret", "ann", kAdmin, "bob",
                    kPassword, "another password", "ss1", "ss1_backup", "ss2", "ss2_backup", "nm1", "", "a/b", std::string("a\0b", 3),
                    std::string(256, 'x'), "/" + std::string(4000, 'y'), std::string(32, 'a'), std::string(32, 'b'), std::string(32, 'c')};
    words_.bytes = {Bytes(32, 'h'), Bytes(64, 'h'), ""};
    wire::LoginReply reply;
    party("ann").process();
    log_in("ann");
    if (party("ann").last() && *party("ann").last() && reply.ParseFromString((*party("ann").last())->message)) {
      words_.bytes.push_back(reply.token());
      Bytes changed = reply.token();
      changed[40] = static_cast<char>(changed[40] ^ 1);
      words_.bytes.push_back(changed);
    }
    if (auto key = make_private_key()) {
      if (auto request = make_certificate_request(*key)) words_.bytes.push_back(*request);
    }
    auto text = world_.host("nm").disk.peek("/data/join-token");
    auto token = parse_join_token(text && text->ends_with('\n') ? text->substr(0, text->size() - 1) : text.value_or(""));
    if (token) {
      words_.texts.push_back(token->id);
      words_.bytes.push_back(token->secret);
    }
  }

  // Whether a stranger took it.
  bool take_step(Input* input) {
    auto& [name, who] = parties_[input->byte() % parties_.size()];
    const auto& types = message_types();
    const uint16_t type = types[input->byte() % types.size()];
    const uint8_t how = input->byte();
    const bool stranger = name == "nobody" || name == "stranger";
    if (!stranger && name != "ann") others_acted_ = true;
    const bool answers = (how & 8) != 0 && name.starts_with("ss1");
    auto message = message_of_type(type, answers ? "Reply" : "Request");
    if (!message && answers) message = message_of_type(wire::PUT, "Request");
    Bytes bytes;
    if ((how & 1) != 0 || !message) {
      bytes = input->text(400);
    } else {
      maker_.fill(message.get(), input);
      if ((how & 2) != 0) {
        set_request(message.get(), 77, ++sequence_);
        set_number(message.get(), "incarnation", 7);
        if (name.starts_with("ss1")) {
          set_text(message.get(), "server", name);
          set_number(message.get(), "epoch", number(catalogue().pair("ss1") ? catalogue().pair("ss1")->epoch : kNoEpoch));
        }
      }
      bytes = message->SerializePartialAsString();
    }
    Bytes body = (how & 4) != 0 ? input->text(200) : "";
    if (answers) {
      who->will_answer(std::move(bytes), std::move(body));
      return false;
    }
    who->ask({type, std::move(bytes), std::move(body)});
    if ((how & 16) != 0) settle();
    // A stranger who logs in is none, and a server's certificate is made for whoever has the token.
    return stranger && type != wire::LOGIN && type != wire::ENROLL && type != wire::HELLO;
  }

  sim::SimWorld world_{1};
  sim::SimProcess* process_ = nullptr;
  NameNode* node_ = nullptr;
  bool started_ = false;
  bool others_acted_ = false;
  bool quiet_ = false;  // Nothing but strangers in the input before.
  uint64_t sequence_ = 0;
  Node secret_;
  Words words_;
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
  if (!scene || ++inputs > fuzz::kInputsMax) {
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
