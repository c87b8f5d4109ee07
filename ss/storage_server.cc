#include "ss/storage_server.h"

#include <fmt/format.h>

#include "common/base/log.h"
#include "common/env/env_util.h"
#include "common/wire/peer.h"
#include "ss/announcer.h"
#include "ss/client_calls.h"
#include "ss/enrollment.h"
#include "ss/name_node_link.h"
#include "ss/partner_calls.h"
#include "ss/replica_calls.h"
#include "ss/partner_link.h"
#include "ss/pull_calls.h"
#include "ss/second_copies.h"
#include "ss/sync_writes.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;

constexpr Duration kHousekeepingInterval = 10s;
constexpr Duration kLookForToken = std::chrono::seconds(2);
// Without a name node there is nobody to announce to: do not wait long for one.
constexpr Duration kStopLimitAlone = 500ms;

}  // namespace

StorageServer::StorageServer(Env& env, StorageServerOptions options)
    : env_(env), options_(std::move(options)), changed_(env.executor), crowd_(env, options_.clients_max), tasks_(env.executor) {}

StorageServer::~StorageServer() {
  tasks_.cancel();
  if (state_) state_->changes.cancel();
}

void StorageServer::stop() {
  stopping_ = true;
  changed_.notify_all();
}

void StorageServer::end(Error error) {
  if (!failure_) failure_ = std::move(error);
  changed_.notify_all();
}

Task<Status> StorageServer::open() {
  FileStoreOptions store;
  store.folder = options_.folder;
  store.compaction_bytes_per_second = options_.compaction_mib_per_second << 20;
  store.segment_size = options_.segment_size;
  store.checkpoint_records = options_.checkpoint_records;
  store.may_append = [this](Epoch epoch) { return state_->fence.check_change(epoch, env_.clock.now()); };
  CO_ASSIGN_OR_RETURN(store_, co_await FileStore::open(env_, std::move(store)));
  std::string owner = store_->server_name();
  if (!owner.empty() && owner != options_.name) {
    store_.reset();
    co_return fail(Code::kInvalid, "the data folder " + options_.folder + " belongs to " + owner +
                                       ", not to " + options_.name + "; give another --data or --name");
  }
  state_ = std::make_unique<ServerState>(env_, options_, store_.get());
  state_->cluster_id = store_->cluster_id();
  co_return Status{};
}

Task<void> StorageServer::run() {
  result_ = co_await serve();
  // Whatever still runs is over: nothing is acknowledged behind the result.
  tasks_.cancel();
  if (state_) state_->changes.cancel();
  if (listener_) listener_->close();
  if (store_) {
    store_->set_partner(nullptr);
    auto closed = co_await store_->close();
    if (result_ && !closed) result_ = closed;
    // For people and scripts; nothing depends on them.
    for (const char* note : {"/pid", "/address"}) (void)env_.disk.remove(options_.folder + note);
  }
}

Task<Status> StorageServer::serve() {
  if (!state_) CO_RETURN_IF_ERROR(co_await open());
  if (options_.enrollment) {
    tasks_.spawn(enroll());
    while (!enrolled_ && !stopping_ && !failure_) {
      auto changed = changed_.wait();
      co_await changed;
    }
    if (failure_) co_return std::unexpected(*failure_);
    if (stopping_) co_return Status{};
  }
  CO_ASSIGN_OR_RETURN(listener_, env_.net.listen(options_.listen));
  address_ = options_.advertise.empty() ? listener_->local() : options_.advertise;
  // For people and scripts: on a full disk it serves without.
  auto noted = co_await replace_small_file(env_, options_.folder + "/pid", std::to_string(env_.processes.self().pid) + "\n");
  if (noted) noted = co_await replace_small_file(env_, options_.folder + "/address", address_ + "\n");
  if (!noted && noted.error().code != Code::kNoSpace) co_return noted;
  if (!noted) log_warning(noted.error().message);

  Incarnation incarnation = env_.random.next() | 1;
  state_->observer = observer_;
  partner_ = std::make_unique<PartnerLink>(state_.get());
  pull_calls_ = std::make_unique<PullCalls>(state_.get(), partner_.get());
  second_copies_ = std::make_unique<SecondCopies>(state_.get(), partner_.get(), incarnation);
  sync_writes_ = std::make_unique<SyncWrites>(env_, store_.get(), &state_->fence, second_copies_.get());
  state_->sync_writes = sync_writes_.get();
  announcer_ = std::make_unique<Announcer>(state_.get(), incarnation);
  client_calls_ = std::make_unique<ClientCalls>(state_.get());
  replica_calls_ = std::make_unique<ReplicaCalls>(state_.get(), announcer_.get(), client_calls_.get(),
                                                  pull_calls_.get(), [this] { link_->heartbeat_soon(); });
  client_calls_->set_partner_calls(replica_calls_.get());
  link_ = std::make_unique<NameNodeLink>(state_.get(), announcer_.get(), replica_calls_.get(), second_copies_.get(),
                                         incarnation, address_);
  log_info(fmt::format("storage server {} at {}, store {}, log up to {}, {} files", options_.name, address_,
                       store_->store_id(), number(store_->durable_lsn()), store_->file_count()));
  repair_calls_ = std::make_unique<PartnerCalls>(state_.get(), link_.get());
  store_->set_partner(repair_calls_.get());
  tasks_.spawn(repair_calls_->run());
  tasks_.spawn(store_->scrub(options_.scrub));
  tasks_.spawn(watch_store());
  tasks_.spawn(sync_writes_->run());
  tasks_.spawn(accept_clients());
  tasks_.spawn(stay_linked());
  if (options_.enrollment) tasks_.spawn(watch_token());
  tasks_.spawn(keep_house());
  tasks_.spawn(client_calls_->watch_writers());
  while (!stopping_ && !failure_) {
    auto changed = changed_.wait();
    co_await changed;
  }
  if (failure_) co_return std::unexpected(*failure_);
  co_await shut_down();
  if (failure_) co_return std::unexpected(*failure_);
  co_return Status{};
}

Task<void> StorageServer::enroll() {
  auto begun = co_await options_.enrollment->begin();
  if (!begun) co_return end(begun.error());
  enrolled_ = true;
  changed_.notify_all();
}

// An operator may have put another token there.
Task<void> StorageServer::watch_token() {
  for (;;) {
    co_await sleep_for(env_, kLookForToken);
    if (!link_->registered()) co_await options_.enrollment->rejoin_if_told();
  }
}

Task<void> StorageServer::accept_clients() {
  for (;;) {
    auto connection = co_await listener_->accept();
    if (connection) {
      // Too many: those who are there go on.
      if (!crowd_.complete()) tasks_.spawn(serve_client(std::move(*connection)));
      continue;
    }
    if (stopping_) co_return;
    // Out of descriptors, say: those who are connected go on.
    log_warning("cannot accept a client: " + connection.error().to_string());
    co_await sleep_for(env_, 100ms);
  }
}

Task<void> StorageServer::serve_client(std::unique_ptr<Connection> connection) {
  Peer peer(env_, std::move(connection), client_calls_.get(),
            {.handled_bytes_max = ServerState::kClientBytesMax, .crowd = &crowd_, .observer = observer_});
  co_await peer.run();
  // What it asked for ends even so: a staged chunk finds its upload.
  co_await peer.join_handlers();
  client_calls_->forget(&peer);
}

Task<void> StorageServer::stay_linked() { end(co_await link_->run()); }

Task<void> StorageServer::watch_store() { end(co_await store_->failed()); }

Task<void> StorageServer::keep_house() {
  for (;;) {
    co_await sleep_for(env_, kHousekeepingInterval);
    state_->uploads.expire(env_.clock.now());
    state_->edits.expire(env_.clock.now());
  }
}

Task<void> StorageServer::drain(Epoch epoch, Promise<Unit> done) {
  auto drained = co_await replica_calls_->drain(epoch);
  if (!drained) log_warning("stopping without having announced all: " + drained.error().to_string());
  done.try_set({});
}

Task<void> StorageServer::shut_down() {
  if (state_->fence.serving() != kNoEpoch && link_->registered()) {
    auto handed_over = co_await link_->ask_for_hand_over(options_.stop_limit);
    if (!handed_over) log_warning("stopping without a hand-over: " + handed_over.error().to_string());
  }
  state_->stopping = true;
  if (Epoch epoch = state_->fence.serving(); epoch != kNoEpoch) {
    Promise<Unit> done(env_.executor);
    tasks_.spawn(drain(epoch, done));
    Duration limit = link_->registered() ? options_.stop_limit : kStopLimitAlone;
    auto timer = env_.clock.schedule(env_.clock.now() + limit, [done] { done.try_set({}); });
    co_await done.future();
    env_.clock.cancel(timer);
    co_await sync_writes_->remember();
    // Not in time: the changes still under way get "outcome unknown".
    state_->fence.end_drain(epoch);
    state_->epoch_ended();
  }
  if (link_->registered()) {
    if (auto left = co_await link_->leave(); !left) log_warning("leaving: " + left.error().to_string());
  }
  // No more clients; those who have an answer coming get it.
  listener_->close();
  co_await yield_now(env_);
}

}  // namespace understudy
