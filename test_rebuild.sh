#!/usr/bin/env bash
# Every name node's disk is lost, in a cluster with certificates and users: the namespace comes back from the storage
# servers, which stay where they are. Once without anything that was the name node's, once with its authority.pem.
. "$(dirname "${BASH_SOURCE[0]}")/scripts/drill.sh"
cluster=$folder/cluster
export XDG_CONFIG_HOME=$folder/config
admin_password() { cut -d' ' -f2 "$cluster/nm1/admin-credentials"; }
as() {
  local user=$1 password=$1-secret
  shift
  [ "$user" = admin ] && password=$(admin_password)
  UNDERSTUDY_PASSWORD=$password UNDERSTUDY_NEW_PASSWORD=${new_password:-} timeout 60 "$bin/understudy" --nm "$at" --ca "$ca" --user "$user" "$@" </dev/null
}
understudy() { as admin "$@"; }
start() {
  mkdir -p "$cluster/$1"
  "${@:2}" >>"$folder/output.$1" 2>&1 </dev/null &
  disown
}
start_nm() { start nm1 "$bin/understudy-nm" --data "$cluster/nm1" --heartbeat-interval 300ms "$@"; }
start_ss() { start "$1" "$bin/understudy-ss" --name "$1" --data "$cluster/$1" --nm "$at" --join-token "$folder/join-token"; }
both_in_sync() { in_sync ss1 ss1_backup; }
lose_the_name_node() {
  local pid
  pid=$(pid_of nm1)
  kill -9 "$pid"
  until_true 10 [ ! -e "/proc/$pid" ]
  rm -rf "$cluster/nm1"
}
# All that is to come back, in words.
told() {
  local path
  for path in /notes /notes/a.txt /notes/tree/deep/b; do as alice INFO "$path" 2>&1 | grep -v '^last access'; done
  as alice HISTORY /notes/a.txt
  as alice LISTCHECKPOINTS /notes/a.txt
  as alice VIEWCHECKPOINT /notes/a.txt draft
  as alice VIEWFOLDER /notes
  as admin VIEW -a
}

start_nm --listen 127.0.0.1:0
until_true 30 test -s "$cluster/nm1/address"
at=$(cat "$cluster/nm1/address")
ca=$cluster/nm1/ca.pem
until_true 10 test -s "$cluster/nm1/join-token"
cp "$cluster/nm1/join-token" "$folder/join-token"
start_ss ss1
start_ss ss1_backup
check 'a pair is in sync' until_true 60 both_in_sync
for user in alice bob; do new_password=$user-secret as admin ADDUSER "$user" >/dev/null 2>&1 || not_ok "ADDUSER $user"; done

mkdir -p "$folder/tree/deep" "$folder/tree/empty"
for n in $(seq 40); do echo "file $n of the tree" >"$folder/tree/$n"; done
head -c 3000000 /dev/urandom >"$folder/tree/deep/b"
as alice CREATEFOLDER /notes || not_ok CREATEFOLDER
as alice PUT -r "$folder/tree" /notes/tree 2>/dev/null || not_ok PUT
as alice CREATE /notes/a.txt 2>/dev/null
as alice APPEND /notes/a.txt 'The first.' 2>/dev/null
as alice CHECKPOINT /notes/a.txt draft 2>/dev/null
as alice APPEND /notes/a.txt ' The second.' 2>/dev/null
as alice ADDACCESS -R /notes/a.txt bob 2>/dev/null
as alice CREATE /notes/gone 2>/dev/null && as alice DELETE /notes/gone 2>/dev/null
check 'all is on both halves' as admin WAIT
told >"$folder/before"
check 'there is something to come back' [ "$(grep -c . "$folder/before")" -gt 20 ]

# What came back is what was there, for whom it was there.
all_is_back() {
  local what=$1
  told >"$folder/after"
  check "$what: names, owners, access, versions and checkpoints" diff "$folder/before" "$folder/after"
  rm -rf "$folder/back"
  as alice GET -r /notes/tree "$folder/back" 2>/dev/null
  check "$what: every byte" diff -r "$folder/tree" "$folder/back"
  check "$what: bob may read" [ "$(as bob READ /notes/a.txt)" = 'The first. The second.' ]
  check "$what: and not write" bash -c '! "$@" 2>/dev/null' - env UNDERSTUDY_PASSWORD=bob-secret timeout 60 "$bin/understudy" --nm "$at" --ca "$ca" --user bob APPEND /notes/a.txt no
  check "$what: what was deleted is not" bash -c '! "$@" 2>/dev/null' - env UNDERSTUDY_PASSWORD=alice-secret timeout 60 "$bin/understudy" --nm "$at" --ca "$ca" --user alice READ /notes/gone
}
rebuilt() { [ -s "$cluster/nm1/catalogue.db" ] && both_in_sync; }
set_passwords() { for user in alice bob; do new_password=$user-secret as admin PASSWD "$user" >/dev/null 2>&1 || not_ok "PASSWD $user"; done; }

# ---- Nothing of the name node is left. The servers go on running; each is given the new token.
lose_the_name_node
start_nm --listen "$at" --rebuild-from-servers ss1,ss1_backup
check 'a new authority has a token' until_true 30 test -s "$cluster/nm1/join-token"
cp "$cluster/nm1/join-token" "$folder/join-token"
check 'the servers join it by themselves, and the catalogue is rebuilt' until_true 60 rebuilt
check 'nobody logs in with an old password' bash -c '! "$@" 2>/dev/null' - env UNDERSTUDY_PASSWORD=alice-secret timeout 60 "$bin/understudy" --nm "$at" --ca "$ca" --user alice WHOAMI
check 'LIST tells who is to get a password' bash -c '[ "$(printf "%s\n" "$1" | grep -c "alice\|bob")" = 2 ]' - "$(as admin LIST)"
set_passwords
all_is_back 'without the authority'

# ---- Its authority.pem was copied away: nobody has to be told anything.
cp "$cluster/nm1/authority.pem" "$cluster/nm1/ca.pem" "$folder"
lose_the_name_node
mkdir -p "$cluster/nm1"
cp "$folder/authority.pem" "$cluster/nm1"
chmod 600 "$cluster/nm1/authority.pem"
start_nm --listen "$at" --rebuild-from-servers ss1,ss1_backup
ca=$folder/ca.pem
check 'with its authority nothing is to be done at the servers' until_true 60 rebuilt
set_passwords
all_is_back 'with the authority'
finish
