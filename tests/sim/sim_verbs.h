// The verbs of a story that concern the simulated world, whatever runs in it:
//
//   start NAME [ARGUMENT…]        a process NAME on the host NAME; the resolver says what it runs
//   kill NAME, pause NAME, resume NAME
//   power-cut HOST, power-on HOST
//   same-machine HOST HOST        before either is used: one machine, which proves deaths
//   partition A B, partition A -> B, isolate HOST
//   heal [A B], cut A B           cut resets the connections between them
//   slow A B LATENCY
//   run TIME
//   clock HOST PERCENT            its clock runs by so much too fast (-5: too slow)
//   jump HOST TIME                its clock leaps forward
//   disk-quota HOST BYTES|none, disk-fail HOST read|write|sync|name N, bit-rot HOST FILE BYTE
//   cut-power-at HOST N           at the N-th crash point from now
//   alive [NAME]                  who runs
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "common/base/result.h"
#include "tests/sim/script.h"
#include "tests/sim/sim_world.h"

namespace understudy::sim {

// What "start NAME ARGUMENT…" runs; `arguments` without the name.
using ProgramResolver = std::function<Result<SimMain>(const std::string& name, const std::vector<std::string>& arguments)>;

// `world` outlives the runner.
void add_sim_verbs(ScriptRunner& runner, SimWorld* world, ProgramResolver resolve);

}  // namespace understudy::sim
