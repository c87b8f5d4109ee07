// Between the wire's messages and our own types.
#pragma once

#include "common/base/types.h"
#include "common/wire/understudy.pb.h"

namespace understudy {

inline wire::VersionNumber to_wire(Version version) {
  wire::VersionNumber number_of;
  number_of.set_epoch(number(version.epoch));
  number_of.set_counter(version.counter);
  return number_of;
}

inline Version from_wire(const wire::VersionNumber& version) {
  return {Epoch{version.epoch()}, version.counter()};
}

inline RequestId from_wire(const wire::RequestNumber& request) {
  return {request.client(), request.sequence()};
}

}  // namespace understudy
