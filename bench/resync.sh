#!/usr/bin/env bash
# How long a half that was away takes to be in sync again, and how many bytes that moves: 500 of 20,000 files of 4 KiB
# change meanwhile. One JSON line. Times are the name node's own, from EVENTS: registered, in-sync, handed-back. Bytes are
# what the name node, through which everything travels, read and wrote meanwhile (its own log included).
# BIN: where the programs are.  FILES (default 20000), CHANGED (default 500), SIZE of a file (default 4096), CLIENTS that make them
# (default 8).  CLUSTER: a local cluster that has FILES of this size by so many clients already (KEEP=1 bench/state.sh, CLIENTS=64
# SIZE=100); it stays.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/drill.sh"
cluster=${CLUSTER:-$folder/cluster}
files=${FILES:-20000}
changed=${CHANGED:-500}
size=${SIZE:-4096}
clients=${CLIENTS:-8}
trap 'understudy down >&2 || true; stop_all; rm -rf "$folder"' EXIT

understudy up >&2
[ -n "${CLUSTER:-}" ] || "$bin/understudy-bench" --data "$cluster" --clients "$clients" --size "$size" --files $((files / clients)) --seconds 1 stat >&2
tree=$(understudy VIEWFOLDER / | awk '{ print $NF }' | grep '^bench-' | head -n 1)
head -c "$size" /dev/urandom >"$folder/new"
for ((n = 0; n < changed; n++)); do echo "PUT $folder/new /${tree%/}/c$((n % clients))/f$((n / clients))"; done >"$folder/changes"

kill -KILL "$(pid_of ss1)"
until_true 30 pair_is ss1 acting_primary ss1_backup
understudy -q <"$folder/changes" >&2
before=$(awk '/^rchar|^wchar/ { sum += $2 } END { print sum }' "/proc/$(pid_of nm1)/io")
understudy up >&2
until_true 120 pair_is ss1 acting_primary ss1
after=$(awk '/^rchar|^wchar/ { sum += $2 } END { print sum }' "/proc/$(pid_of nm1)/io")

# The last event of each kind that ss1 had.
understudy --json EVENTS | awk -v bytes=$((after - before)) -v files="$files" -v changed="$changed" -v size="$size" '
  function seconds(line, part) {
    match(line, /T[0-9:.]+Z/)
    split(substr(line, RSTART + 1, RLENGTH - 2), part, ":")
    return part[1] * 3600 + part[2] * 60 + part[3]
  }
  /"server":"ss1"/ && match($0, /"kind":"[a-z-]+"/) { at[substr($0, RSTART + 8, RLENGTH - 9)] = seconds($0) }
  END {
    printf "{\"op\":\"resync\",\"files\":%d,\"changed\":%d,\"in_sync_ms\":%.0f,\"handed_back_ms\":%.0f,\"relay_bytes\":%d,\"times_changed_bytes\":%.2f}\n",
      files, changed, (at["in-sync"] - at["registered"]) * 1000, (at["handed-back"] - at["registered"]) * 1000, bytes, bytes / (changed * size)
  }'
