#!/usr/bin/env bash
# Heartbeats with real processes, at the default setting (1 s, 3 missed) and at the classic one (5 s, 3 missed), side by
# side: a server that hangs is failed after about three heartbeats and not before, one that is killed by proof, one
# that is slow but alive never.
. "$(dirname "${BASH_SOURCE[0]}")/scripts/drill.sh"

start_server() {
  local name=$1
  "$bin/understudy-ss" --name "$name" --data "$cluster/$name" --nm "$address" --listen 127.0.0.1:0 \
    --join-token "$cluster/nm1/join-token" \
    >>"$folder/output.$interval_ms.$name" 2>&1 </dev/null &
  pids[$name]=$!
  disown  # Its death is no news to the shell.
  # By which stop_all finds it even if it dies before it writes this itself.
  mkdir -p "$cluster/$name"
}

drill_at() {
  local interval_ms=$1 title=$2 cluster=$folder/$1 address elapsed_ms began_ms n
  local interval_s=$((interval_ms / 1000))
  declare -A pids
  trap 'kill -CONT "${pids[@]}" 2>/dev/null; kill -KILL "${pids[@]}" 2>/dev/null' EXIT
  mkdir -p "$cluster/nm1"
  "$bin/understudy-nm" --data "$cluster/nm1" --listen 127.0.0.1:0 --heartbeat-interval "${interval_ms}ms" \
    --heartbeat-misses 3 >"$folder/output.$interval_ms.nm1" 2>&1 </dev/null &
  pids[nm1]=$!
  disown
  until_true 20 test -s "$cluster/nm1/address" || { not_ok "$title: the name node starts"; return; }
  address=$(cat "$cluster/nm1/address")
  understudy() { "$bin/understudy" --nm "$address" --data "$cluster" "$@"; }
  start_server ss1
  start_server ss1_backup

  check "$title: both register and are in sync" until_true 60 in_sync ss1 ss1_backup
  check "$title: STATUS tells the setting" test \
    "$(understudy --json STATUS | grep -o '"heartbeat_interval_ms":[0-9]*,"failure_timeout_ms":[0-9]*')" = \
    "\"heartbeat_interval_ms\":$interval_ms,\"failure_timeout_ms\":$((3 * interval_ms))"

  # Slow but alive: it misses one heartbeat, again and again, never three.
  for n in 1 2 3; do
    kill -STOP "${pids[ss1_backup]}"
    sleep "$interval_s.3"
    kill -CONT "${pids[ss1_backup]}"
    until_true 10 beat_within ss1_backup "$interval_ms"
  done
  check "$title: a slow server that is alive is not failed" test "$(events failed ss1_backup)" = 0

  # Hanging, right behind a heartbeat: silence is counted from its answer.
  until_true $((3 * interval_s)) beat_within ss1_backup $((interval_ms / 4))
  kill -STOP "${pids[ss1_backup]}"
  began_ms=$(now_ms)
  until_true $((6 * interval_s)) member_is ss1_backup state failed
  elapsed_ms=$(($(now_ms) - began_ms))
  check "$title: a hanging server is failed" member_is ss1_backup state failed
  check "$title: and not before it missed three heartbeats (after $elapsed_ms ms)" test "$elapsed_ms" -ge $((interval_ms * 22 / 10))
  check "$title: and its partner goes on as acting primary" member_is ss1 acting_primary true

  kill -CONT "${pids[ss1_backup]}"
  check "$title: it wakes and is in sync again" until_true 60 in_sync ss1 ss1_backup

  # Killed: the name node proves its death, sooner than silence could tell.
  kill -KILL "${pids[ss1_backup]}"
  began_ms=$(now_ms)
  until_true $((6 * interval_s)) member_is ss1_backup state failed
  elapsed_ms=$(($(now_ms) - began_ms))
  check "$title: a killed server is failed by proof (after $elapsed_ms ms)" test "$elapsed_ms" -lt $((2 * interval_ms))
  check "$title: EVENTS tells of both failures" test "$(events failed ss1_backup)" = 2
  start_server ss1_backup
  check "$title: it starts again and is in sync" until_true 60 in_sync ss1 ss1_backup
  check "$title: its partner was never failed" test "$(events failed ss1)" = 0
}
# The last heartbeat is at most that old.
beat_within() {
  local age_ms
  age_ms=$(member "$1" last_heartbeat_ms)
  [ -n "$age_ms" ] && [ "$age_ms" -ge 0 ] && [ "$age_ms" -lt "$2" ]
}

# Two clusters at once: their waiting adds up to one.
(drill_at 5000 "5 s x 3") >"$folder/classic" 2>&1 &
(drill_at 1000 "1 s x 3") >"$folder/default" 2>&1
wait
cat "$folder/default" "$folder/classic"
passed=$(cat "$folder/default" "$folder/classic" | grep -c '^ok ')
failed=$(cat "$folder/default" "$folder/classic" | grep -c '^not ok ')
finish
