// Inside the catalogue only: one command on its way, and the conversions of numbers.
#pragma once

#include "common/base/path.h"
#include "common/wire/commands.pb.h"
#include "nm/catalogue_db.h"

namespace understudy {

struct Catalogue::Change {
  uint64_t index = 0;
  int64_t now_us = 0;
  std::string user;
  wire::CommandOutcome outcome;
  std::vector<wire::Event> events;  // Beside those that came with the command.

  bool refused() const { return outcome.code() != 0; }
  // Before anything was changed.
  void refuse(const Error& error) {
    outcome.set_code(static_cast<uint32_t>(error.code));
    outcome.set_message(error.message);
  }
  void refuse(Code code, std::string message) { refuse(Error{code, std::move(message)}); }
};

inline Version version_of(const wire::VersionNumber& number) { return {Epoch{number.epoch()}, number.counter()}; }

inline void set_version(wire::VersionNumber* to, Version version) {
  to->set_epoch(number(version.epoch));
  to->set_counter(version.counter);
}

}  // namespace understudy
