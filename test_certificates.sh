#!/usr/bin/env bash
# Certificates with real processes: a cluster by hand, joining, names that belong to keys, plaintext where TLS is meant and
# the reverse, renewal and a new authority under running servers.
. "$(dirname "${BASH_SOURCE[0]}")/scripts/drill.sh"
cluster=$folder/cluster
nm=$bin/understudy-nm ss=$bin/understudy-ss cli=$bin/understudy
export XDG_CONFIG_HOME=$folder/config

# refused TEXT STATUS PATTERN COMMAND…: ends with that status and says one line that matches.
refused() {
  local text=$1 status=$2 pattern=$3 said got
  shift 3
  said=$(timeout 20 "$@" 2>&1 >/dev/null </dev/null)
  got=$?
  said=$(grep -v '^warning: ' <<<"$said")
  if [ "$got" = "$status" ] && [[ $said =~ $pattern ]] && [ "$(wc -l <<<"$said")" = 1 ]; then
    ok "$text"
  else
    not_ok "$text"
    echo "  # status $got, said: $said"
  fi
}
start() {
  mkdir -p "$cluster/$1"
  "${@:2}" >>"$folder/output.$1" 2>&1 </dev/null &
  disown
}
start_ss() { start "$1" "$ss" --name "$1" --data "$cluster/$1" --nm "$at" "${@:2}"; }
both_in_sync() { understudy() { "$cli" --nm "$at" --ca "$cluster/nm1/ca.pem" "$@"; }; in_sync ss1 ss1_backup; }

start nm1 "$nm" --data "$cluster/nm1" --listen 127.0.0.1:0 --certificate-lifetime 6s
until_true 30 test -s "$cluster/nm1/address"
at=$(cat "$cluster/nm1/address")
export UNDERSTUDY_PASSWORD=$(cut -d' ' -f2 "$cluster/nm1/admin-credentials")
check 'the authority is readable by its owner only' [ "$(stat -c %a "$cluster/nm1/authority.pem" "$cluster/nm1/join-token" | tr '\n' ' ')" = '600 600 ' ]
refused 'a server without certificate and token' 1 '^error: UNAUTHENTICATED: ss1 has no certificate yet; give --join-token' "$ss" --name ss1 --data "$folder/e1" --nm "$at"
echo nonsense >"$folder/nonsense"
refused 'a token that is none' 1 '^error: INVALID: .*not a join token' "$ss" --name ss1 --data "$folder/e2" --nm "$at" --join-token "$folder/nonsense"
sed 's/join:1:....../join:1:000000/' "$cluster/nm1/join-token" >"$folder/forged"
refused 'a forged token' 1 '^error: UNAUTHENTICATED: the join token' "$ss" --name ss1 --data "$folder/e3" --nm "$at" --join-token "$folder/forged"
start_ss ss1 --join-token "$cluster/nm1/join-token"
start_ss ss1_backup --join-token "$cluster/nm1/join-token"
check 'a pair joins by token' until_true 30 both_in_sync
understudy() { "$cli" --nm "$at" --ca "$cluster/nm1/ca.pem" "$@"; }
check "a server's key is readable by its owner only" [ "$(stat -c %a "$cluster/ss1/server.pem")" = 600 ]
refused 'a name that has a key' 1 '^error: UNAUTHENTICATED: ss1 has a key already' "$ss" --name ss1 --data "$folder/e4" --nm "$at" --join-token "$cluster/nm1/join-token"
check 'no secret in a log' [ -z "$(grep -rlF "$(cut -d: -f4 "$cluster/nm1/join-token")" "$cluster"/*/log "$folder"/output.*)" ]

# ---- Clients.
unset UNDERSTUDY_CA
check 'a client with the file' understudy STATUS
fingerprint=$(understudy AUTHORITY | grep -o 'sha256:[0-9a-f]*')
check 'a client with the fingerprint' "$cli" --nm "$at" --ca "$fingerprint" STATUS
refused 'a client with nothing' 1 '^error: UNAUTHENTICATED: nothing tells that .* give --ca' "$cli" --nm "$at" STATUS
refused 'a client with another fingerprint' 1 "^error: UNAUTHENTICATED: .*not this cluster's" "$cli" --nm "$at" --ca "sha256:$(printf '0%.0s' {1..64})" STATUS
refused 'a plaintext client' 1 '^error: INVALID: .*TLS' "$cli" --insecure --nm "$at" STATUS
check 'trust on first use, when it is asked for' "$cli" --nm "$at" --trust-first STATUS
check 'is remembered' "$cli" --nm "$at" STATUS
# Another machine's, that sleeps through what comes.
check 'on another machine too' env XDG_CONFIG_HOME="$folder/asleep" "$cli" --nm "$at" --trust-first STATUS

# ---- A user's credentials with --nm: a first run with the password, a second one with what was kept, and no third.
secret=the-password-of-ann
ann() { env -u UNDERSTUDY_PASSWORD "$cli" --nm "$at" "$@"; }
is_ann() { [ "$(ann WHOAMI)" = ann ]; }
kept=$XDG_CONFIG_HOME/understudy/credentials
check 'a user is added' env UNDERSTUDY_NEW_PASSWORD=$secret "$cli" --nm "$at" --ca "$cluster/nm1/ca.pem" ADDUSER ann
check 'logs in' env UNDERSTUDY_PASSWORD=$secret "$cli" --nm "$at" LOGIN ann
check 'and is known the next time' is_ann
check 'by a file that is their own' [ "$(stat -c %a "$kept")" = 600 ]
chmod 644 "$kept"
check 'whose mode is mended' eval 'is_ann && [ "$(stat -c %a "$kept")" = 600 ]'
cp "$kept" "$folder/stolen"
check 'a file of theirs' eval 'echo three | ann PUT - /three'
check 'leaves' ann LOGOUT
refused 'is known no more' 1 '^error: UNAUTHENTICATED: ' env -u UNDERSTUDY_PASSWORD "$cli" --nm "$at" WHOAMI
cp "$folder/stolen" "$kept"
refused 'nor is who copied the file before' 1 '^error: UNAUTHENTICATED: .*ended' env -u UNDERSTUDY_PASSWORD "$cli" --nm "$at" WHOAMI
refused 'who owns something is not just removed' 1 '^error: CONFLICT: ann owns /three' "$cli" --nm "$at" --ca "$cluster/nm1/ca.pem" --user admin DELUSER ann
check 'but with an heir' understudy --user admin DELUSER ann --give-to admin
refused 'and does not come back' 1 '^error: UNAUTHENTICATED: wrong user or password' env UNDERSTUDY_PASSWORD=$secret "$cli" --nm "$at" LOGIN ann
rm -f "$kept"

# ---- The audit trail has it all, and no secret is anywhere.
audited() { grep -q "$2" "$cluster/$1/audit"; }
check 'audited: who logged in, who was refused' eval "audited nm1 ' LOGIN user=ann: done ' && audited nm1 ' LOGIN user=ann: UNAUTHENTICATED '"
check 'audited: a log-out and a removal' eval "audited nm1 'user=ann LOGOUT' && audited nm1 'user=admin REMOVE_USER .*name=ann .*: CONFLICT'"
check 'audited: a write at the storage server' audited ss1 'user=ann PUT .*: done version='
check 'audited: servers among themselves' eval "audited nm1 'server=ss1 REGISTER' && audited ss1 'server=nm1 SERVE' && audited ss1_backup 'server=nm1 APPLY'"
check 'no password and no token in a log or an error' eval '! grep -rlaF -e "$secret" -e "$UNDERSTUDY_PASSWORD" -e "$(cut -d" " -f3 "$folder/stolen")" "$cluster"/*/log "$cluster"/*/audit "$folder"/output.*'
check 'nor in the list of processes' eval '! cat /proc/[0-9]*/cmdline 2>/dev/null | tr "\0" "\n" | grep -qxF -e "$UNDERSTUDY_PASSWORD" -e "$(cut -d: -f4 "$cluster/nm1/join-token")"'
refused '--insecure beyond this machine' 1 '^error: INVALID: .*--insecure is for this machine' "$cli" --insecure --nm 192.0.2.1:7400 STATUS
refused 'a name node that listens to all without TLS' 2 '^error: INVALID: .*--insecure is for this machine' "$nm" --data "$folder/e5" --listen 0.0.0.0:0 --insecure

# ---- An insecure cluster, and who meets it.
unset UNDERSTUDY_PASSWORD
check 'an insecure cluster starts by name' "$cli" up --data "$folder/open" --insecure
open=$(cat "$folder/open/nm1/address")
check 'its client' "$cli" --insecure --data "$folder/open" STATUS
check 'it warns in the log' grep -q 'warn.*--insecure' "$folder/open/nm1/log"
refused 'a TLS client at its port' 1 '^error: INVALID: .*--insecure' "$cli" --nm "$open" --ca "$fingerprint" STATUS
check 'it stops' "$cli" down --data "$folder/open"
export UNDERSTUDY_PASSWORD=$(cut -d' ' -f2 "$cluster/nm1/admin-credentials")

# ---- Renewal, and a new authority, while files go in.
first=$(sha256sum <"$cluster/ss1/server.pem")
renewed() { [ "$(sha256sum <"$cluster/ss1/server.pem")" != "$first" ]; }
check 'a file' eval 'echo one | understudy PUT - /one'
check 'a certificate renews itself' until_true 20 renewed
check 'a new authority' understudy ROTATEAUTHORITY
cp "$cluster/nm1/ca.pem" "$folder/both.pem"
check 'who trusted at first sight hears of it' "$cli" --nm "$at" STATUS
check 'who knows only the old one goes on' "$cli" --nm "$at" --ca "$fingerprint" STATUS
refused 'one at a time' 1 '^error: CONFLICT: ' "$cli" --nm "$at" --ca "$folder/both.pem" ROTATEAUTHORITY
check 'the old one ends when all servers are over' until_true 20 "$cli" --nm "$at" --ca "$folder/both.pem" ROTATEAUTHORITY --finish
refused 'it is believed no more' 1 '^error: UNAUTHENTICATED: ' "$cli" --nm "$at" --ca "$fingerprint" STATUS
check 'who trusted at first sight has followed' "$cli" --nm "$at" STATUS
refused 'who slept through it has to be told' 1 '^error: UNAUTHENTICATED: ' env XDG_CONFIG_HOME="$folder/asleep" "$cli" --nm "$at" STATUS
check 'both halves are there' until_true 30 both_in_sync
check 'the file is' [ "$(understudy READ /one)" = one ]
check 'and another goes in' eval 'echo two | understudy PUT - /two'
check 'to both halves' understudy WAIT 20

# ---- A server that was away until its certificate expired, with nothing but its key.
kill -KILL "$(cat "$cluster/ss1_backup/pid")"
certificate_expired() { "$cli" inspect "$cluster/ss1_backup/server.pem" | grep -q 'ss1_backup, .*, expired '; }
check 'its certificate expires' until_true 20 certificate_expired
start_ss ss1_backup
check 'it comes back by its key' until_true 30 both_in_sync
finish
