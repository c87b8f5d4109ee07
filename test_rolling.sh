#!/usr/bin/env bash
# A cluster is restarted process by process, and moved about by PROMOTE, HANDBACK and DRAIN, under writers and readers, in a
# folder where written means on two machines too, with sentences being written and big files on their way: none of
# their commands fails, and everything that was written is there. First through the name node, then from half to half.
. "$(dirname "${BASH_SOURCE[0]}")/scripts/drill.sh"
cluster=$folder/cluster
options=()

: >"$folder/acked"
: >"$folder/refused"
touch "$folder/working"
# Behind a hedged read another half's answer may be older, and says so: then once more, until the primary was the faster.
newest() {
  local tries said=$folder/said-$BASHPID out
  for tries in $(seq 100); do
    out=$(understudy "$@" 2>"$said") || { cat "$said"; return 1; }
    grep -q 'may not be the newest' "$said" || break
    [ "$1" = GET ] && rm -f "$3"
  done
  printf '%s\n' "$out"
}
# Each writer in its own files, one command after the other: a new file, an overwrite, an append, then reads it back.
writer() {
  local n=0 out
  while [ -e "$folder/working" ]; do
    n=$((n + 1))
    out=$({ printf 'first %d\n' "$n" | understudy -q PUT - "/w$1/$n" &&
      printf 'text %d\n' "$n" | understudy -q PUT - "/w$1/$n" && understudy -q APPEND "/w$1/$n" more; } 2>&1 >/dev/null) ||
      echo "writer $1, file $n: $out" >>"$folder/refused"
    out=$(newest READ "/w$1/$n")
    [ "$out" = "text $n
more" ] || echo "reader $1, file $n: $out" >>"$folder/refused"
    echo "/w$1/$n" >>"$folder/acked"
  done
}
# One sentence after the other at the end of one file, each open for a while.
editor() {
  local n=0 out
  while [ -e "$folder/working" ]; do
    out=$({ printf 'WRITE /e/text %d\n0 Sentence %d.\n' "$n" "$n"; sleep 0.7; printf 'ETIRW\n'; } | understudy -q 2>&1 >/dev/null) ||
      echo "sentence $n: $out" >>"$folder/refused"
    n=$((n + 1))
    echo "$n" >"$folder/sentences"
  done
}
# Files of so many chunks that there are lists of them, and back.
big_writer() {
  local n=0 out
  while [ -e "$folder/working" ]; do
    n=$((n + 1))
    head -c 48000000 /dev/urandom >"$folder/big"
    out=$(understudy -q PUT "$folder/big" "/big/$((n % 2))" 2>&1 >/dev/null) || echo "big file $n: $out" >>"$folder/refused"
    out=$(newest GET "/big/$((n % 2))" "$folder/big-back" 2>&1) || echo "big file $n: $out" >>"$folder/refused"
    cmp "$folder/big" "$folder/big-back" >>"$folder/refused" 2>&1
    rm -f "$folder/big-back"
    echo "$n" >"$folder/big-files"
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
  until_true 30 test ! -e "/proc/$pid" && until_true 30 understudy up "${options[@]}"
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

# Moved about and restarted, with everybody at work.
tour() {
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

  for server in ss1_backup ss1 nm1; do
    check "$server is stopped and started" restart "$server"
    check "both halves are in sync, ss1 acts" until_true 60 healthy ss1
    check "work goes on" goes_on
  done
}
path_is() { understudy --json STATUS | grep -q "\"replication_path\":\"$1\""; }
at_least() { [ "$(cat "$folder/$1")" -ge "$2" ]; }
every_sentence() {
  local n
  n=$(cat "$folder/sentences")
  [ "$(understudy READ /e/text)" = "$(seq -s ' ' -f 'Sentence %.0f.' 0 $((n - 1)))" ]
}

check "a cluster starts" understudy up
check "both halves are in sync" until_true 30 healthy ss1
writers=()
for n in 1 2 3; do
  check "a folder for writer $n" understudy CREATEFOLDER "/w$n"
done
check "one of them is for what is on two machines" understudy SETDURABILITY /w3 sync
for n in 1 2 3; do
  writer "$n" &
  writers+=($!)
done
for name in e big; do check "a folder /$name" understudy CREATEFOLDER "/$name"; done
check "a text" understudy CREATE /e/text
editor &
writers+=($!)
big_writer &
writers+=($!)
check "work goes on" goes_on
tour
options=(--replication-path direct)
check "the name node starts with the direct path" restart nm1
check "which STATUS shows" path_is direct
check "both halves are in sync, ss1 acts" until_true 60 healthy ss1
tour

rm "$folder/working"
wait "${writers[@]}"
check "not one command was refused" nobody_was_refused
check "everything that was written is there" all_there
check "every sentence stands where it was put" every_sentence
check "there were enough of them" at_least sentences 10
check "and of big files" at_least big-files 4
check "all of it is on both machines" understudy WAIT 30
finish
