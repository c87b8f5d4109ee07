// An authority and what it issues, for tests: keys are made anew for every run.
#pragma once

#include "common/tls/certificates.h"
#include "common/tls/tls_credentials.h"

namespace understudy {

class TestAuthority {
 public:
  static WallTime now() { return std::chrono::time_point_cast<WallTime::duration>(std::chrono::system_clock::now()); }
  static Validity around_now() { return {now() - std::chrono::hours(1), now() + std::chrono::hours(1)}; }
  static Validity past() { return {now() - std::chrono::hours(2), now() - std::chrono::hours(1)}; }

  explicit TestAuthority(const std::string& name = "test authority") {
    signer.private_key = *make_private_key();
    signer.certificate = *make_authority_certificate(signer.private_key, name, around_now());
  }

  Bytes fingerprint() const { return *fingerprint_of_key(signer.private_key); }

  // What a server with that name shows; it believes this authority.
  TlsMaterial server(PeerIdentity::Role role, const std::string& name, Validity validity = around_now()) const {
    TlsMaterial material;
    material.private_key = *make_private_key();
    Bytes request = *make_certificate_request(material.private_key);
    auto issued = issue_certificate(signer, request, role, name, validity);
    CHECK(issued);
    material.certificates = {*issued, signer.certificate};
    material.authorities = {signer.certificate};
    return material;
  }
  TlsMaterial name_node() const { return server(PeerIdentity::Role::kNameNode, "nm1"); }
  TlsMaterial storage_server(const std::string& name) const { return server(PeerIdentity::Role::kStorageServer, name); }
  TlsMaterial client() const {
    TlsMaterial material;
    material.authorities = {signer.certificate};
    return material;
  }

  Signer signer;
};

}  // namespace understudy
