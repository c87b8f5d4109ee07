#!/usr/bin/env bash
# A cluster is restarted process by process, and moved about by PROMOTE, HANDBACK and DRAIN, under writers and readers:
# none of their commands fails, and everything that was written is there.
. "$(dirname "${BASH_SOURCE[0]}")/scripts/drill.sh"
cluster=$folder/cluster

: >"$folder/acked"
: >"$folder/refused"
touch "$folder/working"
# Each writer in its own files, one command after the other: a new file, an overwrite, an append, then reads it back.
writer() {
  local n=0 out
  while [ -e "$folder/working" ]; do
    n=$((n + 1))
    out=$({ printf 'first %d\n' "$n" | understudy -q PUT - "/w$1/$n" &&
      printf 'text %d\n' "$n" | understudy -q PUT - "/w$1/$n" && understudy -q APPEND "/w$1/$n" more; } 2>&1 >/dev/null) ||
      echo "writer $1, file $n: $out" >>"$folder/refused"
    out=$(understudy -q READ "/w$1/$n" 2>&1)
    [ "$out" = "text $n
more" ] || echo "reader $1, file $n: $out" >>"$folder/refused"
    echo "/w$1/$n" >>"$folder/acked"
  done
}
acked() { wc -l <"$folder/acked"; }
acked_more_than() { [ "$(acked)" -gt "$1" ]; }
goes_on() { local before; before=$(acked); until_true 30 acked_more_than $((before + 6)); }
healthy() { in_sync ss1 ss1_backup && pair_is ss1 acting_primary "$1"; }
# Stops one server as an operator does, and starts what is missing.
restart() {
  local pid
  pid=$(pid_of "$1")
  kill -TERM "$pid"
  until_true 30 test ! -e "/proc/$pid" && until_true 30 understudy up
}
nobody_was_refused() { [ ! -s "$folder/refused" ] || { cat "$folder/refused"; return 1; }; }
all_there() {
  local path n
  while read -r path; do
    n=${path##*/}
    [ "$(understudy READ "$path" 2>&1)" = "text $n
more" ] || { echo "$path: $(understudy READ "$path" 2>&1)"; return 1; }
  done <"$folder/acked"
}

check "a cluster starts" understudy up
check "both halves are in sync" until_true 30 healthy ss1
writers=()
for n in 1 2 3; do
  check "a folder for writer $n" understudy CREATEFOLDER "/w$n"
  writer "$n" &
  writers+=($!)
done
check "work goes on" goes_on

check "PROMOTE moves it to the backup" understudy PROMOTE ss1
check "which acts" healthy ss1_backup
check "work goes on" goes_on
check "HANDBACK moves it home" understudy HANDBACK ss1
check "which acts" healthy ss1
check "work goes on" goes_on

check "DRAIN: nothing stands on ss1 alone" understudy DRAIN ss1
check "ss1 is stopped and started" restart ss1
check "it is in sync again, and does not act" until_true 30 healthy ss1_backup
check "work goes on" goes_on
check "ss1 acts again when it is asked to" understudy HANDBACK ss1

for server in ss1_backup ss1 nm1 ss1; do
  check "$server is stopped and started" restart "$server"
  check "both halves are in sync, ss1 acts" until_true 60 healthy ss1
  check "work goes on" goes_on
done

rm "$folder/working"
wait "${writers[@]}"
check "not one command was refused" nobody_was_refused
check "everything that was written is there" all_there
check "and on both machines" understudy WAIT 30
finish
