// A story's stage with a whole cluster on it, and its verbs (beside sim_verbs.h's).
// `start nm`, `start ss1 --data /other`: the real servers, one on each host; the
// heartbeat is 1 s x 3 unless `start nm` says otherwise.
//
//   stop NAME, ended NAME            as SIGTERM does; what a process ended with by itself
//   certificate HOST NAME|none       what its processes prove to be from now on (a server's own name, if nothing is said)
//   users NAME...                    registers them; everybody else is an administrator
//   as USER: COMMAND [< TEXT]        a command of the shell, to its end; TEXT (with \n) is its input
//   begin USER: COMMAND              … under way while the story goes on
//   type USER: LINE                  a line of its input
//   end USER                         its answer, once it ends
//   local USER FILE BYTES            a file of so many bytes on the user's machine
//   same USER FILE FILE
//   until CONDITION LIMIT            in-sync | serving NAME | failed NAME | returning NAME | idle |
//                                    event "TEXT" | ended NAME
//   pair                             the pairs in one line each
//   events KIND…                     the events of these kinds
//   fill USER FOLDER COUNT BYTES     puts files f0, f1, …, each time with other contents
//   check USER                       reads all that was filled
//   appends USER PATH COUNT          so many lines, one by one; direct-appends USER SERVER PATH COUNT
//   lines USER PATH                  how many it has
//   halves NAME NAME                 whether both hold the same
//   copies PATH                      which version each half has
//   locate USER PATH                 what the name node says, kept for:
//   direct USER SERVER PUT|APPEND|READ|STAT PATH [TEXT]   straight to that server, under the epoch kept
//   again USER SERVER [newer-epoch]  the last direct change, with its request id
#pragma once

#include <memory>

#include "tests/sim/script.h"

namespace understudy::sim {

std::unique_ptr<Stage> make_cluster_stage(uint64_t seed);

}  // namespace understudy::sim
