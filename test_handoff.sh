#!/usr/bin/env bash
# Hinted handoff with real processes: data, the backup is killed, more data, it returns and has everything. Then the
# source is killed before the target returns: what was acknowledged with durability sync, and what was hinted, comes from
# the name node. Then again with the time limit of hints over: resync brings what they held.
. "$(dirname "${BASH_SOURCE[0]}")/scripts/drill.sh"
cluster=$folder/cluster

put() { printf "%s" "$1" | understudy PUT - "$2"; }
put_sync() { printf "%s" "$1" | understudy --durability sync PUT - "$2"; }
reads() { [ "$(understudy READ "$2")" = "$1" ]; }
gone() { ! understudy READ "$1" 2>&1 | grep -qv '^error: NOT_FOUND: '; }
has_hints() { [ "$(member "$1" hints)" -ge "$2" ]; }
event_says() { understudy EVENTS | grep -q "$1"; }

# Data of every kind, before: kept as they should read back in $folder/now.
before() {
  local i
  for i in $(seq 1 20); do put "before $1 $i" "/d/$1-$i" || return; done
  head -c 3000000 /dev/urandom >"$folder/big-$1"
  understudy PUT "$folder/big-$1" "/d/big-$1"
}
# While the target is away: new files, overwrites, appends, deletes, a big file and a move; half of it sync.
meanwhile() {
  local i
  for i in 1 2 3; do put "changed $1 $i" "/d/$1-$i" || return; done
  for i in 4 5 6; do put_sync "changed sync $1 $i" "/d/$1-$i" || return; done
  understudy APPEND "/d/$1-7" " and more" || return
  understudy --durability sync APPEND "/d/$1-7" " and sync" || return
  for i in 8 9; do understudy DELETE "/d/$1-$i" || return; done
  put "new $1" "/d/new-$1" && put_sync "new sync $1" "/d/new-sync-$1" || return
  head -c 2500000 /dev/urandom >"$folder/big-sync-$1"
  understudy --durability sync PUT "$folder/big-sync-$1" "/d/big-sync-$1" || return
  understudy MOVE "/d/$1-10" "/d/moved-$1"
}
sync_is_there() {
  local i
  for i in 4 5 6; do reads "changed sync $1 $i" "/d/$1-$i" || return; done
  reads "before $1 7 and more and sync" "/d/$1-7" && reads "new sync $1" "/d/new-sync-$1" || return
  rm -f "$folder/out"
  understudy GET "/d/big-sync-$1" "$folder/out" && cmp "$folder/out" "$folder/big-sync-$1" || return
  gone "/d/$1-8" && gone "/d/$1-9"
}
all_is_there() {
  local i
  for i in 1 2 3; do reads "changed $1 $i" "/d/$1-$i" || return; done
  for i in 11 15 20; do reads "before $1 $i" "/d/$1-$i" || return; done
  sync_is_there "$1" && reads "new $1" "/d/new-$1" && reads "before $1 10" "/d/moved-$1" || return
  rm -f "$folder/out"
  understudy GET "/d/big-$1" "$folder/out" && cmp "$folder/out" "$folder/big-$1"
}

# The name node's options count when it starts.
start() { "$bin/understudy" up --data "$cluster" --heartbeat-interval 200ms --hint-interval 100ms "$@"; }
start_only() {
  setsid "$bin/understudy-ss" --name "$1" --data "$cluster/$1" --nm "$(cat "$cluster/nm1/address")" >/dev/null 2>&1 &
}
stop_only() {
  local pid
  pid=$(pid_of "$1") && kill -TERM "$pid" && until_true 20 eval "! kill -0 $pid"
}

check "a cluster starts" start
check "both halves are in sync" until_true 30 in_sync ss1 ss1_backup
check "a folder" understudy CREATEFOLDER /d

# ---- Killed, and back.
check "data" before a
check "WAIT: it is on both halves" understudy WAIT
kill -KILL "$(pid_of ss1_backup)"
check "ss1_backup is failed" until_true 30 member_is ss1_backup state failed
check "more data: files, changes, deletions, a big one, half of it sync" meanwhile a
check "the name node keeps hints, which STATUS shows" until_true 20 has_hints ss1_backup 10
check "some of them stand for acknowledgements" test "$(member ss1_backup sync_hints)" -ge 6
check "it returns" understudy up
check "both halves are in sync" until_true 60 in_sync ss1 ss1_backup
check "WAIT: all is on both halves" understudy WAIT
check "EVENTS: the hints were handed off" until_true 10 event_says "handed off to ss1_backup"
check "no hint is left" test "$(member ss1_backup hints)" = 0
kill -KILL "$(pid_of ss1)"
check "ss1_backup alone has everything" until_true 30 all_is_there a
check "ss1 returns" understudy up
check "both halves are in sync" until_true 60 in_sync ss1 ss1_backup
check "ss1 acts again" until_true 60 pair_is ss1 acting_primary ss1

# ---- The source is lost before the target returns: the target and the name node's hints rebuild what was promised.
check "data" before b
check "WAIT: it is on both halves" understudy WAIT
kill -KILL "$(pid_of ss1_backup)"
check "ss1_backup is failed" until_true 30 member_is ss1_backup state failed
check "more data" meanwhile b
check "hints for all of it are there" until_true 20 has_hints ss1_backup 11
kill -KILL "$(pid_of ss1)"
mv "$cluster/ss1" "$folder/lost-ss1"
check "the target returns alone" start_only ss1_backup
check "it is restored from hints, and acts" until_true 60 pair_is ss1 acting_primary ss1_backup
check "everything is there, deletions too" all_is_there b
check "writes go on" put_sync "after the loss" /d/after-loss
mv "$folder/lost-ss1" "$cluster/ss1"
check "the source returns after all" understudy up
check "both halves are in sync" until_true 60 in_sync ss1 ss1_backup
check "ss1 acts again" until_true 60 pair_is ss1 acting_primary ss1
check "everything is there" all_is_there b
check "what was written meanwhile too" reads "after the loss" /d/after-loss

# ---- The same with the time limit over: only promised hints stay, and resync takes over.
check "the name node stops" stop_only nm1
check "it starts with a short time limit" start --hint-ttl 300ms
check "both halves are in sync" until_true 60 in_sync ss1 ss1_backup
check "data" before c
check "WAIT: it is on both halves" understudy WAIT
kill -KILL "$(pid_of ss1_backup)"
check "ss1_backup is failed" until_true 30 member_is ss1_backup state failed
check "more data" meanwhile c
check "EVENTS: hints expired" until_true 20 event_says "for ss1_backup expired"
only_promised() { [ "$(member ss1_backup hints)" = "$(member ss1_backup sync_hints)" ]; }
check "only the promised ones stay" until_true 20 only_promised
kill -KILL "$(pid_of ss1)"
check "the target returns alone" start_only ss1_backup
promised_handed() { [ "$(member ss1_backup sync_hints)" = 0 ]; }
check "the promised hints are handed off" until_true 60 promised_handed
check "it does not act: what is not promised is on ss1 only" pair_is ss1 acting_primary ss1
check "ss1 returns" understudy up
check "resync brings the rest" until_true 60 in_sync ss1 ss1_backup
check "everything is there" all_is_there c
kill -KILL "$(pid_of ss1)"
check "ss1_backup alone has everything" until_true 30 all_is_there c

check "the cluster stops" understudy down
check "no process is left" test -z "$(server_pids)"
finish
