#!/usr/bin/env bash
# What sync durability costs, and both replication paths: puts of 4 KiB by 1, 8 and 32 clients, async and sync in turn on one
# cluster, through the name node and from half to half; and a big file. One JSON line each, with the path and the durability in
# front. cpu_us_nm1 is the name node's processor time a put: of an async one that is its job.
# BIN: where the programs are.  SECONDS_EACH (default 3), BIG_BYTES (default 256 MiB), CLIENTS (default "1 8 32").
# PATHS (default "relay direct").
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bin=${BIN:-bin}
folder=$(mktemp -d "${TMPDIR:-/tmp}/understudy-bench.XXXXXX")
trap 'for c in "$folder"/*/; do "$bin/understudy" down --data "$c" >&2 </dev/null || true; done; rm -rf "$folder"' EXIT
for path in ${PATHS:-relay direct}; do
  cluster=$folder/$path
  "$bin/understudy" up --data "$cluster" --replication-path "$path" >&2 </dev/null
  "$bin/understudy" --data "$cluster" WAIT >&2
  for clients in ${CLIENTS:-1 8 32}; do
    for durability in async sync; do
      flag=; [ $durability = sync ] && flag=--sync
      printf '%s %s ' "$path" "$durability"
      "$bin/understudy-bench" --data "$cluster" --clients "$clients" --seconds "${SECONDS_EACH:-3}" $flag put | grep '"op":"put"'
    done
  done
  for durability in async sync; do
    flag=; [ $durability = sync ] && flag=--sync
    "$bin/understudy-bench" --data "$cluster" --clients 1 --big-bytes "${BIG_BYTES:-268435456}" $flag big |
      grep '"op":"big-put' | sed "s/^/$path $durability /"
  done
  "$bin/understudy" down --data "$cluster" >&2 </dev/null
done
