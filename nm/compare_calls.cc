#include "nm/compare_calls.h"

#include <algorithm>

#include "nm/server_calls.h"

namespace understudy {
namespace {

// As many ancestors as an answer names (FileDigest.recent).
constexpr size_t kNamedMax = 64;

bool names(const HalfView& half, const Version& version) {
  return half.head == version || std::ranges::find(half.ancestors, version) != half.ancestors.end();
}

bool has_more(const HalfView& half) { return half.ancestors.size() >= kNamedMax; }

// Whether `older` stands in the line that ends with `newer` there.
Task<Result<bool>> is_in_line(ServerLinks* links, std::string server, FileId file, Version older, Version newer) {
  wire::FetchRequest request;
  auto* item = request.add_items();
  item->set_file_id(number(file));
  to_wire(older, item->mutable_from());
  to_wire(newer, item->mutable_to());
  auto reply = co_await call_server<wire::FetchReply>(links, server, wire::FETCH, request);
  if (!reply) co_return std::unexpected(reply.error());
  if (reply->files_size() != 1) co_return fail(Code::kInternal, server + " answered for another file");
  // No bytes were asked for: NOT_YET is all there is to say of versions that do follow.
  auto outcome = reply->files(0).outcome();
  co_return outcome == wire::FetchedFile::OK || outcome == wire::FetchedFile::NOT_YET;
}

// Names the newest of `versions` that stands in the half's line, if one does.
Task<Status> name_common(ServerLinks* links, std::string server, FileId file, std::vector<Version> versions,
                         HalfView* half) {
  for (const Version& version : versions) {
    CO_ASSIGN_OR_RETURN(bool found, co_await is_in_line(links, server, file, version, half->head));
    if (!found) continue;
    half->ancestors.push_back(version);
    break;
  }
  co_return Status{};
}

bool share_a_version(const HalfView& source, const HalfView& target) {
  return names(source, target.head) || names(target, source.head) ||
         std::ranges::any_of(target.ancestors, [&](const Version& version) { return names(source, version); });
}

}  // namespace

Task<Result<HalvesPlan>> compare_asking(ServerLinks* links, std::string source_server, std::string target_server,
                                        FileId file, HalfView source, HalfView target) {
  if (source.head && target.head && !share_a_version(source, target)) {
    std::vector<Version> line = target.ancestors;
    line.insert(line.begin(), target.head);
    if (has_more(source)) CO_RETURN_IF_ERROR(co_await name_common(links, source_server, file, std::move(line), &source));
  }
  if (source.head && target.head && !share_a_version(source, target)) {
    std::vector<Version> line = source.ancestors;
    line.insert(line.begin(), source.head);
    if (has_more(target)) CO_RETURN_IF_ERROR(co_await name_common(links, target_server, file, std::move(line), &target));
  }
  co_return compare_halves(source, target);
}

}  // namespace understudy
