// What this process shows of itself on its connections, and whom it believes. Replaced
// while connections live: those that are there keep what they began with (TlsNet closes
// the ones whose other end is not believed any more).
//
// One thread; outlives every TlsNet made with it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "common/base/types.h"

namespace understudy {

class TlsContext;  // Private to common/tls: OpenSSL's view of it.

struct TlsMaterial {
  Bytes private_key;                // Empty: shows nothing, as clients do.
  std::vector<Bytes> certificates;  // Its own first, then what leads up to an authority, that one included.
  std::vector<Bytes> authorities;   // Believed.
  std::vector<Bytes> fingerprints;  // Of authorities that are believed too; the other end shows their certificates.
  // Believes the first authority that it is shown, and only that one from then on. Only by a user's explicit wish.
  bool believe_first = false;
};

class TlsCredentials {
 public:
  TlsCredentials();
  ~TlsCredentials();
  TlsCredentials(const TlsCredentials&) = delete;
  TlsCredentials& operator=(const TlsCredentials&) = delete;

  // INVALID: something in it is damaged, or key and certificate do not belong together; then
  // all stays as it was.
  Status set(TlsMaterial material);
  const TlsMaterial& material() const { return material_; }
  // Whom to believe is known: connections can be made.
  bool ready() const;
  bool believes(BytesView authority_fingerprint) const;

  // For common/tls: nullptr before the first set().
  const std::shared_ptr<TlsContext>& context() const { return context_; }
  // An authority was shown while believe_first.
  void believe(Bytes fingerprint);

 private:
  TlsMaterial material_;
  std::vector<Bytes> believed_;  // Fingerprints.
  std::shared_ptr<TlsContext> context_;
};

}  // namespace understudy
