// The audit trail: one line for each request that a server was sent and answered, with who asked, for what, and what
// came of it. Secrets cannot come in: of a request's fields only numbers, yes or no, and the texts of a short list of
// names are shown; bytes (content, tokens, capabilities) never are.
//
//   2026-11-20T14:00:00.123456Z 127.0.0.1:5004 user=alice PUT file_id=77 epoch=12 request=9.4 bytes=4096: done version=12.3 in 310 us
//   2026-11-20T14:00:00.123456Z 127.0.0.1:5004 user=bob LOCATE path=/a right=WRITE: DENIED "no right to write; …" in 12 us
#pragma once

#include <string>
#include <string_view>

#include "common/base/log.h"
#include "common/env/env.h"
#include "common/env/task.h"
#include "common/wire/peer.h"

namespace understudy {

class Audit final : public RequestObserver {
 public:
  // The sink outlives it. Lines are flushed together once nothing is ready to run.
  Audit(Env& env, LineSink* sink, bool json);
  ~Audit() override;

  std::string describe(uint16_t type, BytesView message) override;
  void answered(const Peer& peer, uint16_t type, const std::string& what, size_t body_bytes, const Result<Reply>& result,
                Duration took) override;

 private:
  Env& env_;
  LineSink* sink_;
  bool json_;
  TaskGroup flushing_;
  bool flush_waits_ = false;
  Task<void> flush_soon();
};

}  // namespace understudy
