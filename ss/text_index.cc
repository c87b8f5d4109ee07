#include "ss/text_index.h"

#include <algorithm>
#include <cstring>

namespace understudy {
namespace {

// A text up to this size is scanned where it stands; a longer one by a worker.
constexpr size_t kScannedAtOnce = 64 << 10;
constexpr uint64_t kChunkEntryBytes = sizeof(TextSummary) + 160;

// What a worker works on; shared, because whoever waits may be cancelled.
struct Scanning {
  Bytes piece;
  TextSummary summary;
};
struct Finding {
  SentenceFinder finder;
  Bytes piece;
  bool more = true;
};

}  // namespace

template <class Key, class Value, class Hash>
const Value* TextIndex::Recent<Key, Value, Hash>::find(const Key& key) {
  auto found = entries.find(key);
  if (found == entries.end()) return nullptr;
  uses.splice(uses.begin(), uses, found->second.use);
  return &found->second.value;
}

template <class Key, class Value, class Hash>
void TextIndex::Recent<Key, Value, Hash>::put(const Key& key, Value value, uint64_t size, uint64_t bytes_max) {
  auto [at, fresh] = entries.try_emplace(key);
  if (fresh) {
    uses.push_front(key);
    at->second.use = uses.begin();
  } else {
    uses.splice(uses.begin(), uses, at->second.use);
    bytes -= at->second.bytes;
  }
  at->second.value = std::move(value);
  at->second.bytes = size;
  bytes += size;
  while (bytes > bytes_max && entries.size() > 1) {
    auto oldest = entries.find(uses.back());
    bytes -= oldest->second.bytes;
    entries.erase(oldest);
    uses.pop_back();
  }
}

size_t TextIndex::ChunkKeyHash::operator()(const ChunkKey& key) const {
  uint64_t part = 0;  // Of a hash any part is as good as the whole.
  std::memcpy(&part, key.hash.bytes.data(), sizeof part);
  return part ^ number(key.file);
}

// One build of a file, until it ends or is cancelled.
class TextIndex::Building {
 public:
  Building(TextIndex* index, FileId file) : index_(index), file_(file) { index_->building_.insert(file_); }
  Building(const Building&) = delete;
  Building& operator=(const Building&) = delete;
  ~Building() {
    index_->building_.erase(file_);
    index_->built_.notify_all();
  }

 private:
  TextIndex* index_;
  FileId file_;
};

TextIndex::TextIndex(Env& env, FileStore* store, uint64_t bytes_max)
    : env_(env), store_(store), bytes_max_(bytes_max), built_(env.executor) {}

Task<Result<TextSummary>> TextIndex::summarize(FileId file, Version version, uint64_t offset, uint32_t size) {
  auto scanning = std::make_shared<Scanning>();
  CO_ASSIGN_OR_RETURN(scanning->piece, co_await store_->read(file, version, offset, size));
  if (scanning->piece.size() != size) co_return fail(Code::kCorrupt, "the file is shorter than its version says");
  bytes_scanned_ += size;
  auto scan = [scanning] { scanning->summary = TextSummary::of(scanning->piece); };
  if (size <= kScannedAtOnce) {
    scan();
  } else {
    auto scanned = env_.workers.run(scan);
    co_await scanned;
  }
  co_return scanning->summary;
}

Task<Result<TextIndex::TextRef>> TextIndex::build(FileId file, Version version) {
  Building building(this, file);
  CO_ASSIGN_OR_RETURN(VersionInfo info, store_->info(file, version));
  CO_ASSIGN_OR_RETURN(auto chunks, co_await store_->chunks(file, version));
  auto text = std::make_shared<Text>();
  text->version = version;
  TextSummary whole;
  ScanPoint at;
  auto add = [&](const TextSummary& part) {
    text->parts.push_back(at);
    at = {at.offset + part.bytes(), at.sentences + part.sentences(at.state), part.exit(at.state)};
    whole.append(part);
  };
  if (chunks.empty() && info.size_bytes > 0) {
    // Inline: as long as a chunk may be, and not worth remembering but in `text`.
    CO_ASSIGN_OR_RETURN(TextSummary part,
                        co_await summarize(file, version, 0, static_cast<uint32_t>(info.size_bytes)));
    add(part);
  }
  for (const auto& chunk : chunks) {
    const ChunkKey key{file, chunk.hash};
    if (const TextSummary* known = chunks_.find(key)) {
      add(*known);
      continue;
    }
    CO_ASSIGN_OR_RETURN(TextSummary part, co_await summarize(file, version, at.offset, chunk.size));
    chunks_.put(key, part, kChunkEntryBytes, bytes_max_);
    add(part);
  }
  text->end = at;
  text->counts = whole.counts();
  texts_.put(file, text, sizeof(Text) + 160 + text->parts.size() * sizeof(ScanPoint), bytes_max_);
  co_return text;
}

Task<Result<TextIndex::TextRef>> TextIndex::text(FileId file, Version version) {
  for (;;) {
    if (const TextRef* known = texts_.find(file); known != nullptr && (*known)->version == version) co_return *known;
    if (!building_.contains(file)) break;
    auto built = built_.wait();
    co_await built;
  }
  co_return co_await build(file, version);
}

Task<Result<TextCounts>> TextIndex::counts(FileId file, Version version) {
  CO_ASSIGN_OR_RETURN(TextRef text, co_await this->text(file, version));
  co_return text->counts;
}

Task<Result<ScanPoint>> TextIndex::end(FileId file, Version version) {
  CO_ASSIGN_OR_RETURN(TextRef text, co_await this->text(file, version));
  co_return text->end;
}

Task<Result<Sentence>> TextIndex::find(FileId file, Version version, uint64_t ordinal) {
  CO_ASSIGN_OR_RETURN(TextRef text, co_await this->text(file, version));
  if (ordinal >= text->end.sentences) co_return SentenceFinder(ordinal, text->end).finish();
  // The last part in front of which not more than `ordinal` sentences have begun: it begins there.
  auto part = std::ranges::upper_bound(text->parts, ordinal, {}, &ScanPoint::sentences);
  auto finding = std::make_shared<Finding>(Finding{SentenceFinder(ordinal, *--part), {}});
  for (size_t i = part - text->parts.begin(); finding->more && i < text->parts.size(); ++i) {
    const uint64_t begin = text->parts[i].offset;
    const uint64_t end = i + 1 < text->parts.size() ? text->parts[i + 1].offset : text->end.offset;
    CO_ASSIGN_OR_RETURN(finding->piece,
                        co_await store_->read(file, version, begin, static_cast<uint32_t>(end - begin)));
    if (finding->piece.size() != end - begin) co_return fail(Code::kCorrupt, "the file is shorter than its version says");
    auto feed = [finding] { finding->more = finding->finder.feed(finding->piece); };
    if (finding->piece.size() <= kScannedAtOnce) {
      feed();
    } else {
      auto fed = env_.workers.run(feed);
      co_await fed;
    }
  }
  co_return finding->finder.finish();
}

}  // namespace understudy
