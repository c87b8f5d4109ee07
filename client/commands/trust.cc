// AUTHORITY, JOINTOKEN, JOINTOKENS, REVOKETOKEN, ROTATEAUTHORITY.
#include "client/commands/commands.h"
#include "common/tls/certificates.h"
#include "common/wire/trust.pb.h"

namespace understudy::client {

Task<Status> run_authority(Shell* shell, Command) {
  auto asking = shell->session.ask<wire::AuthorityReply>(wire::AUTHORITY, {});
  CO_ASSIGN_OR_RETURN(wire::AuthorityReply reply, co_await asking);
  std::vector<std::string> fingerprints;
  std::string text;
  for (const Bytes& certificate : reply.authorities()) {
    CO_ASSIGN_OR_RETURN(CertificateFacts facts, read_certificate(certificate));
    fingerprints.push_back(fingerprint_text(facts.key));
    text += "# " + fingerprints.back() + "\n" + to_pem(kPemCertificate, certificate);
  }
  if (shell->out.json()) {
    shell->out.object(Json().texts("fingerprints", fingerprints).text("pem", text));
  } else {
    text.pop_back();
    shell->out.line(text);
  }
  co_return Status{};
}

Task<Status> run_join_token(Shell* shell, Command command) {
  wire::IssueTokenRequest request;
  *request.mutable_request() = shell->session.next_request();
  if (auto lifetime = command.value("--lifetime")) {
    CO_ASSIGN_OR_RETURN(Duration wanted, parse_duration(*lifetime));
    request.set_lifetime_ms(std::chrono::duration_cast<std::chrono::milliseconds>(wanted).count());
    if (request.lifetime_ms() <= 0) co_return fail(Code::kInvalid, "--lifetime is more than 0");
  }
  auto asking = shell->session.ask<wire::IssueTokenReply>(wire::ISSUE_TOKEN, request.SerializeAsString());
  CO_ASSIGN_OR_RETURN(wire::IssueTokenReply reply, co_await asking);
  if (shell->out.json()) {
    shell->out.object(Json().text("token", reply.token()).number("expires_us", reply.expires_us()));
  } else {
    shell->out.line(reply.token());
  }
  co_return Status{};
}

Task<Status> run_join_tokens(Shell* shell, Command) {
  auto asking = shell->session.ask<wire::ListTokensReply>(wire::LIST_TOKENS, {});
  CO_ASSIGN_OR_RETURN(wire::ListTokensReply reply, co_await asking);
  for (const auto& token : reply.tokens()) {
    if (shell->out.json()) {
      shell->out.object(Json().text("id", token.id()).number("expires_us", token.expires_us()));
    } else {
      shell->out.line(token.id() + "  until " + format_time(token.expires_us()));
    }
  }
  co_return Status{};
}

Task<Status> run_revoke_token(Shell* shell, Command command) {
  bool all = command.has("--all");
  if (all != command.arguments.empty()) co_return fail(Code::kInvalid, "use: REVOKETOKEN id, or REVOKETOKEN --all");
  wire::RevokeTokenRequest request;
  *request.mutable_request() = shell->session.next_request();
  if (!all) request.set_id(command.arguments[0]);
  auto asking = shell->session.ask<wire::Done>(wire::REVOKE_TOKEN, request.SerializeAsString());
  CO_RETURN_IF_ERROR(co_await asking);
  shell->out.done(all ? "no join token holds any more; the name node wrote a new one into its data folder"
                      : "join token " + request.id() + " holds no more", Json().text("id", all ? "all" : request.id()));
  co_return Status{};
}

Task<Status> run_rotate_authority(Shell* shell, Command command) {
  wire::RotateAuthorityRequest request;
  *request.mutable_request() = shell->session.next_request();
  request.set_finish(command.has("--finish"));
  request.set_force(command.has("--force"));
  if (request.force() && !request.finish()) co_return fail(Code::kInvalid, "--force goes with --finish");
  auto asking = shell->session.ask<wire::RotateAuthorityReply>(wire::ROTATE_AUTHORITY, request.SerializeAsString());
  CO_ASSIGN_OR_RETURN(wire::RotateAuthorityReply reply, co_await asking);
  shell->out.done(reply.text(), Json().text("text", reply.text()));
  co_return Status{};
}

}  // namespace understudy::client
