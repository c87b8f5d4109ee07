// What tests of the catalogue stand on: one catalogue on a simulated disk, and commands by the line.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "common/wire/commands.pb.h"
#include "nm/catalogue_db.h"
#include "tests/sim/sim_world.h"

namespace understudy {

using wire::Command;
using wire::CommandOutcome;

inline const std::string kStoreA(32, 'a'), kStoreB(32, 'b'), kStoreC(32, 'c');

// Every row but the database's own id, in words.
inline std::string dump(const std::string& path, const std::string& vfs) {
  auto db = SqliteDb::open(path, {.vfs = vfs}).value();
  std::ostringstream out;
  for (auto [table, columns] : {std::pair{"cluster", 11}, {"nodes", 18}, {"servers", 14}, {"retired_stores", 2}, {"pairs", 8},
                                {"jobs", 13}, {"requests", 5}, {"events", 2}}) {
    auto rows = db->statement(std::string("SELECT * FROM ") + table + " ORDER BY 1, 2");
    while (rows.step().value()) {
      out << table << ":";
      for (int i = 0; i < columns; ++i) {
        if (std::string(table) != "cluster" || i != 1) out << " " << rows.column_bytes(i);
      }
      out << "\n";
    }
  }
  return out.str();
}

class CatalogueTest : public testing::Test {
 protected:
  void SetUp() override {
    host_.disk.put("/nm/here", "");
    open();
  }
  void TearDown() override { catalogue_.reset(); }

  void open(std::string path = "/nm/catalogue.db") {
    catalogue_.reset();
    path_ = path;
    auto opened = Catalogue::open(process_->env(), path, [this](Error error) { fatal_ = error; });
    ASSERT_TRUE(opened) << opened.error().to_string();
    catalogue_ = *std::move(opened);
  }
  std::string content() {
    EXPECT_TRUE(catalogue_->commit());
    catalogue_.reset();
    auto text = dump(path_, process_->env().disk.sqlite_vfs());
    open(path_);
    return text;
  }

  CommandOutcome apply_at(uint64_t index, const Bytes& command) {
    CommandOutcome outcome;
    EXPECT_TRUE(outcome.ParseFromString(catalogue_->apply(index, command)));
    return outcome;
  }
  CommandOutcome apply(Command command) {
    if (command.time_us() == 0) command.set_time_us(now_us_);
    log_.push_back(command.SerializeAsString());
    return apply_at(log_.size() + 1, log_.back());
  }
  // Done, or the test fails.
  CommandOutcome done(const Command& command) {
    auto outcome = apply(command);
    EXPECT_EQ(outcome.code(), 0u) << outcome.message();
    return outcome;
  }
  // Refused with `code`, with everything but the applied index as it was.
  void refused(Code code, const Command& command) {
    auto before = without_index(content());
    auto outcome = apply(command);
    EXPECT_EQ(code_from_number(outcome.code()), code) << outcome.message();
    EXPECT_FALSE(outcome.message().empty());
    EXPECT_EQ(without_index(content()), before) << outcome.message();
  }
  static std::string without_index(std::string text) { return text.substr(text.find("\nnodes:")); }

  Command file(const std::string& path, bool exclusive = true) {
    Command c;
    c.mutable_create_file()->set_path(path);
    c.mutable_create_file()->set_exclusive(exclusive);
    return c;
  }
  Command folder(const std::string& path, bool parents = false) {
    Command c;
    c.mutable_create_folder()->set_path(path);
    c.mutable_create_folder()->set_parents(parents);
    return c;
  }
  Command link(const std::string& path, const std::string& target) {
    Command c;
    c.mutable_create_link()->set_path(path);
    c.mutable_create_link()->set_target(target);
    return c;
  }
  Command move(const std::string& from, const std::string& to) {
    Command c;
    c.mutable_move()->set_from(from);
    c.mutable_move()->set_to(to);
    return c;
  }
  Command intent(const std::string& path) {
    Command c;
    c.mutable_remove_intent()->set_path(path);
    return c;
  }
  Command removed(uint64_t id, uint64_t epoch, uint64_t counter) {
    Command c;
    auto* f = c.mutable_remove_done()->add_files();
    f->set_object_id(id);
    f->set_epoch(epoch);
    f->mutable_version()->set_epoch(epoch);
    f->mutable_version()->set_counter(counter);
    return c;
  }
  Command remove_folder(const std::string& path, bool recursive) {
    Command c;
    c.mutable_remove_folder()->set_path(path);
    c.mutable_remove_folder()->set_recursive(recursive);
    return c;
  }
  Command hello(const std::string& server, const std::string& store, bool empty = true, uint64_t end = 0) {
    Command c;
    auto* r = c.mutable_register_server()->mutable_request();
    r->set_server(server);
    r->set_store_id(store);
    r->set_incarnation(++incarnation_);
    r->set_empty(empty);
    r->set_log_end_lsn(end);
    return c;
  }
  Command epoch(const std::string& server, bool other_failed = false, bool forced = false) {
    Command c;
    c.mutable_begin_epoch()->set_pair("ss1");
    c.mutable_begin_epoch()->set_server(server);
    c.mutable_begin_epoch()->set_other_failed(other_failed);
    c.mutable_begin_epoch()->set_forced(forced);
    return c;
  }
  Command in_sync(const std::string& server) {
    Command c;
    c.mutable_member_in_sync()->set_server(server);
    return c;
  }
  Command failed(const std::string& server) {
    Command c;
    c.mutable_member_failed()->set_server(server);
    return c;
  }
  Command announce(const std::string& server, uint64_t epoch, uint64_t from, uint64_t to) {
    Command c;
    auto* a = c.mutable_announced();
    a->set_server(server);
    a->set_store_id(catalogue_->server(server)->store_id);
    a->set_epoch(epoch);
    a->set_from_lsn(from);
    a->set_to_lsn(to);
    return c;
  }
  void add_item(Command& c, uint64_t id, uint64_t counter, uint64_t parent, uint64_t lsn,
                wire::ChangeKind kind = wire::CHANGE_PUT) {
    auto* item = c.mutable_announced()->add_items();
    item->set_file_id(id);
    item->mutable_version()->set_epoch(c.announced().epoch());
    item->mutable_version()->set_counter(counter);
    if (parent) item->mutable_parent()->set_epoch(c.announced().epoch());
    item->mutable_parent()->set_counter(parent);
    item->set_lsn(lsn);
    item->set_bytes(100);
    item->set_size_bytes(10 * counter);
    item->set_kind(kind);
  }
  Command asked(Command command, uint64_t sequence) {
    command.mutable_request()->set_client(77);
    command.mutable_request()->set_sequence(sequence);
    return command;
  }
  // A pair in sync; returns its epoch.
  uint64_t make_pair() {
    done(hello("ss1", kStoreA));
    done(hello("ss1_backup", kStoreB));
    done(in_sync("ss1_backup"));
    return done(epoch("ss1")).epoch();
  }
  const Server& server(const std::string& name) { return *catalogue_->server(name); }
  std::vector<Job> jobs(const std::string& target) { return catalogue_->jobs(server(target).id, 0, 100); }
  std::string path_of(uint64_t id) {
    auto path = catalogue_->path_of(FileId{id});
    return path ? *path : path.error().to_string();
  }

  sim::SimWorld world_{3};
  sim::SimHost& host_ = world_.host("nm");
  sim::SimProcess* process_ = &world_.start(host_, "nm");
  std::unique_ptr<Catalogue> catalogue_;
  std::string path_;
  std::optional<Error> fatal_;
  std::vector<Bytes> log_;
  int64_t now_us_ = 1'000'000;
  uint64_t incarnation_ = 100;
};

}  // namespace understudy
