// The name node's calls to a storage server, with the wire's conversions beside them.
#pragma once

#include <algorithm>
#include <memory>
#include <map>
#include <string>
#include <vector>

#include "common/env/task.h"
#include "common/wire/call.h"
#include "common/wire/commands.pb.h"
#include "common/wire/peer.h"
#include "common/wire/understudy.pb.h"
#include "nm/catalogue_types.h"
#include "nm/core/compare_halves.h"
#include "nm/server_links.h"

namespace understudy {

class Catalogue;

// A server that does not answer for this long is as good as gone for one call; the
// failure detector decides about the server itself.
inline constexpr Duration kServerCallTimeout = std::chrono::seconds(30);

template <class R>
Task<Result<R>> not_connected(std::string server) {
  co_return fail(Code::kUnavailable, server + " is not connected");
}

// Sent at once. UNAVAILABLE if the server is not connected, or its connection is lost.
template <class R, class M>
Task<Result<R>> call_server(ServerLinks* links, const std::string& server, wire::MessageType type, const M& request,
                            Duration timeout = kServerCallTimeout) {
  std::shared_ptr<Peer> peer = links->peer(server);
  if (!peer) return not_connected<R>(server);
  return call<R>(peer.get(), type, request, timeout);
}

inline Version from_wire(const wire::VersionNumber& v) { return {Epoch{v.epoch()}, v.counter()}; }
inline void to_wire(const Version& v, wire::VersionNumber* out) {
  out->set_epoch(number(v.epoch));
  out->set_counter(v.counter);
}

inline HalfView half_view(const wire::FileDigest& d) {
  HalfView half{.present = true, .deleted = d.deleted(), .head = from_wire(d.head()), .meta_version = d.meta_version()};
  for (const auto& v : d.recent()) half.ancestors.push_back(from_wire(v));
  return half;
}

inline HalfView half_view(const wire::MemberStatReply& s) {
  HalfView half{.present = s.has_file(), .deleted = s.deleted(), .head = from_wire(s.head()),
                .meta_version = s.meta_version()};
  for (const auto& v : s.recent()) half.ancestors.push_back(from_wire(v));
  return half;
}

// What became of a version that only a failed half had.
struct Fate {
  Version as;           // It came back as this one of the acting primary; none: it did not.
  std::string kept_as;  // The checkpoint by which it is found; empty: none.
  std::string tag;      // It is a checkpoint, of that name.
  bool deletion = false;
};
using Fates = std::map<std::pair<FileId, Version>, Fate>;

// For EVENTS: what of a file was set aside on `server`, and what became of it, as far as that is known.
void add_set_aside_events(Catalogue& catalogue, const std::string& server, const wire::SetAsideDone& file,
                          const Fates& fates, wire::Command* command);

// The way back: what such a record tells of a node, which is its name and who may do what.
Node node_of(const wire::NameRecord& record);
// A node as storage servers keep it, with the whole access list.
wire::NameRecord name_record(Catalogue& catalogue, const Node& node);
// As it goes with every version: of a long list the beginning, and then as if it were a
// little older than the whole record.
wire::NameRecord short_name_record(Catalogue& catalogue, const Node& node);

}  // namespace understudy
