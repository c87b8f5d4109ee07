#!/usr/bin/env bash
# A pair loses each of its halves in turn, with real processes, while clients go on: nothing that was waited for is ever
# missing or different, and what was acknowledged is readable or listed.
. "$(dirname "${BASH_SOURCE[0]}")/scripts/drill.sh"
cluster=$folder/cluster

# ---- What goes in: a tree with what real trees have.
mkdir -p "$folder/in/empty folder" "$folder/in/deep/er"
awk -v folder="$folder/in" 'BEGIN {
  srand(1)
  for (i = 1; i <= 120; i++) {
    file = folder "/file" i
    for (line = int(rand() * rand() * 400); line >= 0; line--) printf "%d %.9f\n", i, rand() >file
    close(file)
  }
}'
head -c 20000000 /dev/urandom >"$folder/in/deep/er/big"
: >"$folder/in/empty file"
printf 'no newline, bytes \001\377\376' >"$folder/in/deep/odd näme"
ln -s deep/er/big "$folder/in/link"

# Puts w1, w2, … one after the other for as long as $folder/writing is there; those acknowledged stand in `acked`.
writer() {
  local n=0
  while [ -e "$folder/writing" ]; do
    n=$((n + 1))
    if printf 'written %d\n' "$n" | understudy -q PUT - "/w/$n" >/dev/null 2>>"$folder/writer-errors"; then
      echo "$n" >>"$folder/acked"
    fi
  done
}
acked() { wc -l <"$folder/acked"; }
acked_more_than() { [ "$(acked)" -gt "$1" ]; }

put_text() { printf "%s" "$1" | understudy PUT - "$2"; }

same_tree() {
  rm -rf "$folder/out"
  understudy GET -r /tree "$folder/out" && diff -r --no-dereference "$folder/in" "$folder/out"
}

# Every acknowledged put reads back, or, if it was on the failed half only, is listed as set aside.
acked_are_there() {
  local n missing=0
  understudy --json EVENTS >"$folder/events"
  while read -r n; do
    [ "$(understudy READ "/w/$n" 2>/dev/null)" = "written $n" ] && continue
    grep '"kind":"divergent"' "$folder/events" | grep -qF "\"path\":\"/w/$n\"" && continue
    echo "/w/$n: acknowledged, neither readable nor listed: $(understudy READ "/w/$n" 2>&1)"
    missing=$((missing + 1))
  done <"$folder/acked"
  [ "$missing" = 0 ]
}

check "a cluster starts" understudy up
check "both halves are in sync" until_true 30 in_sync ss1 ss1_backup
check "a tree goes in" understudy PUT -r "$folder/in" /tree
check "WAIT: it is on both halves" understudy WAIT
check "STATUS says so" grep -q '^all data is on both machines' <(understudy STATUS)
check "a folder for the writer" understudy CREATEFOLDER /w

: >"$folder/acked"
: >"$folder/writing"
writer &
writer=$!
check "writes are acknowledged" until_true 20 acked_more_than 10

# ---- ss1 is killed.
kill -KILL "$(pid_of ss1)"
check "ss1_backup becomes acting primary" until_true 30 pair_is ss1 acting_primary ss1_backup
check "EVENTS tells of it" test "$(events promoted ss1_backup)" = 1
check "the tree reads back byte for byte from ss1_backup" same_tree
before=$(acked)
check "writes go on by themselves" until_true 30 acked_more_than $((before + 10))

# ---- It returns.
check "ss1 starts again" understudy up
check "ss1 is filled with what it missed and takes over again" until_true 60 pair_is ss1 acting_primary ss1
check "both halves are in sync" until_true 60 in_sync ss1 ss1_backup
before=$(acked)
check "writes go on by themselves" until_true 30 acked_more_than $((before + 10))
rm "$folder/writing"
wait "$writer"
check "no write of the whole time failed ($(acked) acknowledged)" test ! -s "$folder/writer-errors"
check "WAIT: all is on both halves" understudy WAIT
check "every acknowledged write is readable, or listed as set aside" acked_are_there

# ---- Now its partner is killed: what ss1 has stands alone.
kill -KILL "$(pid_of ss1_backup)"
check "ss1_backup is failed" until_true 30 member_is ss1_backup state failed
check "the tree reads back byte for byte from ss1" same_tree
check "every acknowledged write is still there" acked_are_there
check "ss1_backup starts again" understudy up
check "both halves are in sync" until_true 60 in_sync ss1 ss1_backup

# ---- ss1 hangs instead, through its lease, and wakes.
stopped=$(pid_of ss1)
kill -STOP "$stopped"
check "a put during the hang is acknowledged, by ss1_backup" put_text "written while ss1 hung" /during
check "ss1_backup acts as primary" pair_is ss1 acting_primary ss1_backup
kill -CONT "$stopped"
check "ss1 wakes, is filled and takes over again" until_true 60 pair_is ss1 acting_primary ss1
check "both halves are in sync" until_true 60 in_sync ss1 ss1_backup
check "what was put meanwhile is there" test "$(understudy READ /during)" = "written while ss1 hung"

# ---- A deletion while a half is away does not come back.
kill -KILL "$(pid_of ss1)"
check "ss1_backup becomes acting primary" until_true 30 pair_is ss1 acting_primary ss1_backup
check "a file is deleted meanwhile" understudy DELETE /during
check "ss1 starts again" understudy up
check "ss1 takes over again" until_true 60 pair_is ss1 acting_primary ss1
understudy READ /during >/dev/null 2>"$folder/refusal"
check "the deleted file stays deleted" grep -q '^error: NOT_FOUND: ' "$folder/refusal"

# ---- The name node is killed.
kill -KILL "$(pid_of nm1)"
check "the name node starts again" understudy up
check "both halves are in sync" until_true 60 in_sync ss1 ss1_backup
check "the tree reads back byte for byte" same_tree

check "the cluster stops" understudy down
check "no process is left" test -z "$(server_pids)"
check "the cluster starts again" understudy up
check "the tree reads back byte for byte" same_tree
check "the cluster stops" understudy down
finish
