#!/usr/bin/env bash
# A short run of every measurement on a cluster of its own, in a temporary folder; `make bench`. One JSON line each.
# INSECURE=1: without TLS; the ratio of the two runs is what TLS costs.
# BIN: where the programs are.  SECONDS_EACH (default 3), BIG_BYTES (default 256 MiB), CLIENTS (default "8 32").
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bin=${BIN:-bin}
each=${SECONDS_EACH:-3}
folder=$(mktemp -d "${TMPDIR:-/tmp}/understudy-bench.XXXXXX")
cluster=$folder/cluster
trap '"$bin/understudy" down --data "$cluster" >&2 </dev/null; rm -rf "$folder"' EXIT
insecure=${INSECURE:+--insecure}
"$bin/understudy" up --data "$cluster" $insecure >&2 </dev/null

for clients in ${CLIENTS:-8 32}; do
  "$bin/understudy-bench" $insecure --data "$cluster" --clients "$clients" --seconds "$each" put get stat delete
done
"$bin/understudy-bench" $insecure --data "$cluster" --clients 1 --big-bytes "${BIG_BYTES:-268435456}" big

"$bin/understudy-bench" $insecure --data "$cluster" --clients "${IDLE:-2000}" idle

# The acting primary dies, then comes back and takes over again; then it hangs instead.
for event in KILL STOP; do
  "$bin/understudy-bench" $insecure --data "$cluster" --clients 8 --seconds 15 failover \
    --event "echo '{\"event\":\"SIG$event of ss1\"}'; kill -$event \$(cat '$cluster/ss1/pid')"
  [ $event = KILL ] || kill -CONT "$(cat "$cluster/ss1/pid")"
  "$bin/understudy" up --data "$cluster" $insecure >&2 </dev/null
  "$bin/understudy" $insecure --data "$cluster" WAIT >&2
done
BIN=$bin FILES=${RESYNC_FILES:-4000} bench/resync.sh 2>/dev/null
