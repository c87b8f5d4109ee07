#include "nm/sessions.h"

#include <fmt/format.h>

#include "common/base/log.h"
#include "common/base/path.h"
#include "nm/catalogue_db.h"

namespace understudy {
namespace {

constexpr size_t kKeySize = 32;
constexpr size_t kSaltSize = 16;
constexpr size_t kFirstPasswordSize = 20;
// For a password that nobody can guess the hash need not be slow.
constexpr PasswordCost kFirstPasswordCost{.log2_n = 10, .r = 8, .p = 1};

constexpr char kLogInFirst[] = "log in first: LOGIN name, or give --user NAME and its password";

std::string readable_password(Random& random) {
  constexpr std::string_view kLetters = "abcdefghijkmnpqrstuvwxyz23456789";  // 5 bits each.
  std::string password;
  for (unsigned char byte : random_bytes(random, kFirstPasswordSize)) password += kLetters[byte % kLetters.size()];
  return password;
}

}  // namespace

int64_t name_node_time_us(Env& env, const Catalogue& catalogue) {
  return std::max<int64_t>(catalogue.time_us(), env.clock.wall().time_since_epoch().count());
}

Sessions::Sessions(Env& env, IdentityOptions options, Catalogue* catalogue, Proposer* proposer)
    : env_(env), options_(std::move(options)), catalogue_(catalogue), proposer_(proposer), hashing_(env.executor, kHashesAtOnce) {}

Task<Status> Sessions::begin(std::string folder) {
  if (catalogue_->keys("").empty()) {
    wire::Command command;
    command.mutable_add_keys()->add_keys()->set_secret(random_bytes(env_.random, kKeySize));
    auto added = co_await proposer_->propose(std::move(command));
    if (!added) co_return std::unexpected(added.error());
  }
  if (!catalogue_->users("", 1).empty()) co_return Status{};
  std::string password = options_.first_password.empty() ? readable_password(env_.random) : options_.first_password;
  // Before the user is there: whoever starts after a power cut here begins anew.
  CO_RETURN_IF_ERROR(co_await write_credentials(std::move(folder), password));
  wire::Command command;
  auto* user = command.mutable_add_user();
  user->set_name(kFirstUser);
  user->set_administrator(true);
  *user->mutable_password() = hash_password(password, random_bytes(env_.random, kSaltSize), kFirstPasswordCost);
  auto added = co_await proposer_->propose(std::move(command));
  if (!added) co_return std::unexpected(added.error());
  co_return Status{};
}

// Readable by the owner of the folder before anything stands in it.
Task<Status> Sessions::write_credentials(std::string folder, std::string password) {
  std::string name = folder + "/admin-credentials";
  (void)env_.disk.remove(name);  // Of a start that was cut short.
  auto file = env_.disk.open(name, OpenMode::kCreateExclusive);
  if (!file) co_return std::unexpected(file.error());
  CO_RETURN_IF_ERROR(env_.disk.set_attributes(name, 0600, env_.clock.wall()));
  std::vector<Bytes> pieces{fmt::format("{} {}\n", kFirstUser, password)};
  auto writing = (*file)->write(0, std::move(pieces), Sync::kYes);
  CO_RETURN_IF_ERROR(co_await writing);
  co_return env_.disk.sync_folder(folder);
}

void Sessions::look_at_keys() {
  if (keys_looked_at_ == catalogue_->people_changes()) return;
  keys_looked_at_ = catalogue_->people_changes();
  std::vector<KeyRing::Key> keys;
  for (auto& row : catalogue_->keys("")) keys.push_back({row.id, std::move(row.secret)});
  keys_.set(std::move(keys));
}

wire::LoginReply Sessions::welcome(const Caller& caller) {
  look_at_keys();
  wire::SessionToken token;
  token.set_user(caller.user);
  token.set_user_generation(caller.user_generation);
  token.set_expires_us(caller.expires_us);
  token.set_session(caller.session);
  wire::LoginReply reply;
  reply.set_token(keys_.sign(keys_.newest(), token.SerializeAsString()));
  reply.set_left_ms(left_ms(caller));
  reply.set_user(caller.user);
  reply.set_administrator(catalogue_->is_administrator(caller.user));
  return reply;
}

Result<Caller> Sessions::caller(BytesView token) {
  look_at_keys();
  auto message = keys_.open(token);
  wire::SessionToken session;
  if (!message || !session.ParseFromArray(message->data(), static_cast<int>(message->size()))) {
    return fail(Code::kUnauthenticated, "the session's token is not of this cluster, or long over; log in again: LOGIN name");
  }
  Caller caller{.user = session.user(), .user_generation = session.user_generation(), .expires_us = session.expires_us(),
                .session = session.session()};
  RETURN_IF_ERROR(check(&caller));
  return caller;
}

Status Sessions::check(Caller* caller) {
  if (caller->user.empty()) return fail(Code::kUnauthenticated, kLogInFirst);
  if (name_node_time_us(env_, *catalogue_) >= caller->expires_us) {
    return fail(Code::kUnauthenticated, "the session of " + caller->user + " is over; log in again: LOGIN " + caller->user);
  }
  if (caller->looked_up_at == catalogue_->people_changes()) return {};
  if (caller->session == 0 || catalogue_->session_ended(caller->session)) {
    return fail(Code::kUnauthenticated, "the session of " + caller->user + " was ended; log in again: LOGIN " + caller->user);
  }
  auto user = catalogue_->user(caller->user);
  if (!user) return fail(Code::kUnauthenticated, "there is no user " + caller->user + " any more");
  if (user->generation != caller->user_generation) {
    return fail(Code::kUnauthenticated, "the password of " + caller->user + " was changed; log in again: LOGIN " + caller->user);
  }
  caller->looked_up_at = catalogue_->people_changes();
  return {};
}

int64_t Sessions::left_ms(const Caller& caller) const {
  return std::max<int64_t>(0, caller.expires_us - name_node_time_us(env_, *catalogue_)) / 1000;
}

wire::PasswordHash Sessions::no_password() const {
  wire::PasswordHash hash;
  hash.set_log2_n(options_.password_cost.log2_n);
  hash.set_r(options_.password_cost.r);
  hash.set_p(options_.password_cost.p);
  hash.set_salt("nobody");
  hash.set_hash("none");
  return hash;
}

namespace {

struct Hashing {
  std::string password;
  Bytes salt;
  PasswordCost cost;
  wire::PasswordHash hash;
  bool matches = false;
  ~Hashing() { password.assign(password.size(), '\0'); }
};

// One place among those who wait for the worker; given back also when cancelled.
class Waiting {
 public:
  explicit Waiting(uint32_t* count) : count_(count) { ++*count_; }
  Waiting(const Waiting&) = delete;
  ~Waiting() { --*count_; }

 private:
  uint32_t* count_;
};

class Units {
 public:
  explicit Units(Semaphore* semaphore) : semaphore_(semaphore) {}
  Units(const Units&) = delete;
  ~Units() { semaphore_->release(1); }

 private:
  Semaphore* semaphore_;
};

}  // namespace

Task<Status> Sessions::check_password(std::string user, std::string password, std::string host) {
  if (Duration wait = throttle_.wait(user, host, env_.clock.now()); wait > Duration::zero()) {
    auto seconds = std::chrono::ceil<std::chrono::seconds>(wait).count();
    co_return fail(Code::kUnauthenticated, fmt::format("too many failed log-ins of {}; try again in {} s", printable(user), seconds));
  }
  if (hashes_waiting_ >= kHashesWaitingMax) co_return fail(Code::kUnavailable, "too many log in at once; try again");
  Waiting waiting(&hashes_waiting_);
  auto known = catalogue_->user(user);
  // The worker owns what it works on: the caller may be cancelled.
  auto hashing = std::make_shared<Hashing>();
  hashing->password = std::move(password);
  if (!known || !hashing->hash.ParseFromString(known->password) || hashing->hash.hash().empty()) hashing->hash = no_password();
  co_await hashing_.acquire(1);
  Units units(&hashing_);
  auto done = env_.workers.run([hashing] { hashing->matches = password_matches(hashing->hash, hashing->password); });
  co_await done;
  if (hashing->matches) {
    throttle_.succeeded(user, host);
    co_return Status{};
  }
  throttle_.failed(user, host, env_.clock.now());
  co_return fail(Code::kUnauthenticated, "wrong user or password");
}

Task<Result<wire::PasswordHash>> Sessions::hash(std::string password) {
  CO_RETURN_IF_ERROR(check_new_password(password));
  if (hashes_waiting_ >= kHashesWaitingMax) co_return fail(Code::kUnavailable, "too many set passwords at once; try again");
  Waiting waiting(&hashes_waiting_);
  auto hashing = std::make_shared<Hashing>();
  hashing->password = std::move(password);
  hashing->salt = random_bytes(env_.random, kSaltSize);
  hashing->cost = options_.password_cost;
  co_await hashing_.acquire(1);
  Units units(&hashing_);
  auto done = env_.workers.run([hashing] { hashing->hash = hash_password(hashing->password, hashing->salt, hashing->cost); });
  co_await done;
  co_return hashing->hash;
}

Task<Result<wire::LoginReply>> Sessions::login(wire::LoginRequest request, std::string host) {
  int64_t life_us = std::chrono::duration_cast<std::chrono::microseconds>(options_.session_life).count();
  if (!request.token().empty()) {
    auto known = caller(request.token());
    if (!known) co_return std::unexpected(known.error());
    known->expires_us = name_node_time_us(env_, *catalogue_) + life_us;
    co_return welcome(*known);
  }
  if (auto valid = check_user_name(request.user()); !valid) co_return std::unexpected(valid.error());
  // Before the wait: a password that changes meanwhile ends this session too.
  auto user = catalogue_->user(request.user());
  CO_RETURN_IF_ERROR(co_await check_password(request.user(), request.password(), host));
  if (!user) co_return fail(Code::kUnauthenticated, "wrong user or password");
  Caller caller{.user = request.user(),
                .user_generation = user->generation,
                .expires_us = name_node_time_us(env_, *catalogue_) + life_us,
                .session = env_.random.next() >> 1 | 1};
  co_return welcome(caller);
}

Task<Status> Sessions::end(Caller caller, bool all) {
  wire::Command command;
  if (all) {
    auto user = catalogue_->user(caller.user);
    if (!user) co_return Status{};
    // The same password; its next generation.
    command.set_user(caller.user);
    command.mutable_set_password()->set_name(caller.user);
    if (!command.mutable_set_password()->mutable_password()->ParseFromString(user->password)) {
      co_return fail(Code::kInternal, "the password's hash is damaged");
    }
  } else {
    // Renewed at this moment, it would hold for so long.
    int64_t life_us = std::chrono::duration_cast<std::chrono::microseconds>(options_.session_life).count();
    command.mutable_end_session()->set_session(caller.session);
    command.mutable_end_session()->set_expires_us(name_node_time_us(env_, *catalogue_) + life_us);
  }
  auto ended = co_await proposer_->propose(std::move(command));
  if (!ended) co_return std::unexpected(ended.error());
  co_return Status{};
}

}  // namespace understudy
