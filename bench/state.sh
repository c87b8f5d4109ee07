#!/usr/bin/env bash
# What servers hold in memory and on disk for each file, and how long they take to start, at FILES (default "10000 100000
# 1000000") small files: stopped in good order, and after kill -9 of all with the last files just written. One JSON line for
# each number of files and each start. A start ends when the pair serves: the longest of them is what is measured, so it holds
# at least one heartbeat's grant of a lease.  BIN: where the programs are.  SIZE (default 100 bytes).  KEEP=1: the folder stays, and is named.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../scripts/drill.sh"
cluster=$folder/cluster
trap 'stop_all; if [ -n "${KEEP:-}" ]; then echo "$folder" >&2; else rm -rf "$folder"; fi' EXIT

memory() { awk '/^RssAnon/ { print $2 * 1024 }' "/proc/$(pid_of "$1")/status"; }
disk() { du -sb "$cluster/$1" | cut -f1; }
serving() { pair_is ss1 serving true && pair_is ss1 acting_primary ss1 && in_sync ss1 ss1_backup; }
# start TEXT FILES
start() {
  local began ended
  began=$(now_ms)
  understudy up >&2
  until_true 300 serving
  ended=$(now_ms)
  printf '{"op":"start","after":"%s","files":%d,"ms":%d' "$1" "$2" $((ended - began))
  for server in nm1 ss1 ss1_backup; do
    printf ',"%s_memory":%d,"%s_disk":%d' "$server" "$(memory $server)" "$server" "$(disk $server)"
  done
  printf '}\n'
}

there=0
start nothing 0
for files in ${FILES:-10000 100000 1000000}; do
  more=$((files - there))
  "$bin/understudy-bench" --data "$cluster" --clients 64 --size "${SIZE:-100}" --files $((more / 64)) --seconds 1 stat >&2
  there=$files
  for server in nm1 ss1 ss1_backup; do
    printf '{"op":"state","server":"%s","files":%d,"memory_bytes":%d,"disk_bytes":%d,"memory_bytes_per_file":%d,"disk_bytes_per_file":%d}\n' \
      "$server" "$files" "$(memory $server)" "$(disk $server)" $(($(memory $server) / files)) $(($(disk $server) / files))
  done
  stop_all
  start kill-9 "$files"
  understudy down >&2
  start stop "$files"
done
