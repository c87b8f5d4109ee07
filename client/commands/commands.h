// Every command, as a coroutine: a file for each group. A command writes its results
// to shell->out and answers with what went wrong.
#pragma once

#include <string>

#include "client/shell.h"
#include "common/base/path.h"

namespace understudy::client {

// files.cc
Task<Status> run_create(Shell* shell, Command command);
Task<Status> run_read(Shell* shell, Command command);
Task<Status> run_put(Shell* shell, Command command);
Task<Status> run_get(Shell* shell, Command command);
Task<Status> run_append(Shell* shell, Command command);
Task<Status> run_delete(Shell* shell, Command command);
// info.cc
Task<Status> run_info(Shell* shell, Command command);
Task<Status> run_explain(Shell* shell, Command command);
// past.cc
Task<Status> run_history(Shell* shell, Command command);
Task<Status> run_undo(Shell* shell, Command command);
Task<Status> run_undelete(Shell* shell, Command command);
Task<Status> view_deleted(Shell* shell, bool all);
Task<Status> run_checkpoint(Shell* shell, Command command);
Task<Status> run_list_checkpoints(Shell* shell, Command command);
Task<Status> run_view_checkpoint(Shell* shell, Command command);
Task<Status> run_revert(Shell* shell, Command command);
// trees.cc
Task<Status> put_tree(Shell* shell, std::string local, std::string path);
Task<Status> get_tree(Shell* shell, std::string path, std::string local);
// documents.cc
Task<Status> run_write(Shell* shell, Command command);
Task<Status> run_locks(Shell* shell, Command command);
Task<Status> run_stream(Shell* shell, Command command);
// folders.cc
Task<Status> run_create_folder(Shell* shell, Command command);
Task<Status> run_delete_folder(Shell* shell, Command command);
Task<Status> run_move(Shell* shell, Command command);
Task<Status> run_view_folder(Shell* shell, Command command);
Task<Status> run_view(Shell* shell, Command command);
Task<Status> run_search(Shell* shell, Command command);
Task<Status> run_cd(Shell* shell, Command command);
Task<Status> run_pwd(Shell* shell, Command command);
// people.cc
Task<Status> run_add_user(Shell* shell, Command command);
Task<Status> run_passwd(Shell* shell, Command command);
Task<Status> run_login(Shell* shell, Command command);
Task<Status> run_logout(Shell* shell, Command command);
Task<Status> run_del_user(Shell* shell, Command command);
Task<Status> run_who_am_i(Shell* shell, Command command);
Task<Status> run_list(Shell* shell, Command command);
Task<Status> run_add_access(Shell* shell, Command command);
Task<Status> run_rem_access(Shell* shell, Command command);
Task<Status> run_request_access(Shell* shell, Command command);
Task<Status> run_view_requests(Shell* shell, Command command);
Task<Status> run_approve(Shell* shell, Command command);
Task<Status> run_deny(Shell* shell, Command command);
Task<Status> run_rotate_keys(Shell* shell, Command command);
// cluster.cc
Task<Status> run_status(Shell* shell, Command command);
Task<Status> run_events(Shell* shell, Command command);
Task<Status> run_wait(Shell* shell, Command command);
Task<Status> run_promote(Shell* shell, Command command);
Task<Status> run_handback(Shell* shell, Command command);
Task<Status> run_drain(Shell* shell, Command command);
Task<Status> run_replace(Shell* shell, Command command);
Task<Status> run_set_durability(Shell* shell, Command command);
// trust.cc
Task<Status> run_authority(Shell* shell, Command command);
Task<Status> run_join_token(Shell* shell, Command command);
Task<Status> run_join_tokens(Shell* shell, Command command);
Task<Status> run_revoke_token(Shell* shell, Command command);
Task<Status> run_rotate_authority(Shell* shell, Command command);
// help.cc
Task<Status> run_help(Shell* shell, Command command);
Task<Status> run_exit(Shell* shell, Command command);

// "file", "folder", "link"
std::string_view kind_name(wire::NodeKind kind);
// path, version, size_bytes
Json version_object(const std::string& path, const wire::VersionReply& reply);
// "put /a, version 1.2, 3 MB"
std::string done_line(std::string_view what, const std::string& path, const wire::VersionReply& reply);
// At a prompt a content that ends within a line gets the rest of it.
void end_line(Shell* shell, const OutputSink& sink);
// "epoch.counter", "none"
std::string version_text(const wire::VersionNumber& version);

}  // namespace understudy::client
