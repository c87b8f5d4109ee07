#!/usr/bin/env bash
# Real servers, and what an unlucky user does to them: each ends in one clear line on the right side, with nothing
# half-done left and no server down.
. "$(dirname "${BASH_SOURCE[0]}")/scripts/drill.sh"
cluster="$folder/a cluster" # Blanks on purpose.

# refused TEXT STATUS PATTERN COMMAND…: it ends with that status and one line on standard error that matches.
refused() {
  local text=$1 status=$2 pattern=$3 said got
  shift 3
  said=$("$@" 2>&1 >/dev/null </dev/null)
  got=$?
  if [ "$got" = "$status" ] && [[ $said =~ $pattern ]] && [ "$(wc -l <<<"$said")" = 1 ]; then
    ok "$text"
  else
    not_ok "$text"
    echo "  # status $got, said: $said"
  fi
}
nm=$bin/understudy-nm ss=$bin/understudy-ss
all_run() { kill -0 "$(pid_of nm1)" "$(pid_of ss1)" "$(pid_of ss1_backup)"; }

# ---- Data folders that are not for this server.
mkdir -p "$folder/home" && echo precious >"$folder/home/file"
another="$folder/another"
check 'a cluster starts' understudy up
at=$(cat "$cluster/nm1/address")
refused 'a second server in one folder' 1 '^error: LOCKED: .*another process' "$ss" --name ss1 --data "$cluster/ss1" --nm "$at"
refused 'a second name node in one folder' 1 '^error: LOCKED: ' "$nm" --data "$cluster/nm1" --listen 127.0.0.1:0
refused "a name node in a storage server's folder" 1 "^error: INVALID: .*storage server's" "$nm" --data "$cluster/ss1" --listen 127.0.0.1:0
refused "a name node in somebody's folder" 1 "^error: INVALID: .*not a name node's" "$nm" --data "$folder/home" --listen 127.0.0.1:0
refused "a storage server in somebody's folder" 1 "^error: INVALID: .*not a storage server's" "$ss" --name ss2 --data "$folder/home" --nm "$at"
check 'what is refused leaves nothing behind' [ "$(ls "$folder/home")" = file ]
token=(--join-token "$cluster/nm1/join-token")
refused 'an empty folder under a live name' 1 '^error: UNAUTHENTICATED: ss1 has a key already' "$ss" --name ss1 --data "$folder/e1" --nm "$at" "${token[@]}"
refused 'a second backup' 1 '^error: EXISTS: ss1 has a backup' "$ss" --name other --backup-of ss1 --data "$folder/e2" --nm "$at" "${token[@]}"
refused 'a name that is none' 1 '^error: INVALID: a/b' "$ss" --name a/b --data "$folder/e3" --nm "$at" "${token[@]}"
check 'the cluster stops' understudy down
cp -r "$cluster" "$another"
check 'and starts again' understudy up
at=$(cat "$cluster/nm1/address")
refused "another server's folder" 1 '^error: INVALID: .*belongs to ss1, not to ss9' "$ss" --name ss9 --data "$another/ss1" --nm "$at"
refused "the other half's folder" 1 '^error: INVALID: .*belongs to ss1_backup, not to ss1' "$ss" --name ss1 --data "$another/ss1_backup" --nm "$at"
refused "a name node's folder" 1 "^error: INVALID: .*not a storage server's" "$ss" --name ss9 --data "$another/nm1" --nm "$at"
check 'another cluster starts' "$bin/understudy" up --data "$folder/third"
refused "another cluster's folder" 1 '^error: (INVALID|UNAUTHENTICATED): ' "$ss" --name ss1 --data "$another/ss1" --nm "$(cat "$folder/third/nm1/address")"
check 'another cluster stops' "$bin/understudy" down --data "$folder/third"
sed -i 's/format 1/format 9/' "$another/ss1/store"
refused 'a newer format' 1 '^error: INVALID: .*format' "$ss" --name ss1 --data "$another/ss1" --nm "$at"
check 'the servers stand' all_run

# ---- What a script that asks for JSON relies on.
refused 'an option that is none, as JSON' 2 '^\{"error":\{"code":"INVALID",' understudy --json --frob PWD
refused 'a missing file, as JSON' 1 '^\{"error":\{"code":"NOT_FOUND",' understudy --json READ /none
check 'a folder' understudy CREATEFOLDER /folder
check 'a file to move' understudy CREATE /moving
check 'MOVE into a folder says where to' [ "$(understudy --json MOVE /moving /folder)" = '{"from":"/moving","to":"/folder/moving"}' ]

# ---- All killed at once: the shell that was open goes on.
check 'a file to read later' understudy PUT "$folder/home/file" /later
check 'on both' understudy WAIT
mkfifo "$folder/lines"
"$bin/understudy" --data "$cluster" <"$folder/lines" >"$folder/said" 2>&1 &
exec 3>"$folder/lines"
echo 'READ /later' >&3
check 'a shell reads' until_true 5 grep -q precious "$folder/said"
kill -9 "$(pid_of nm1)" "$(pid_of ss1)" "$(pid_of ss1_backup)"
check 'all are started again' understudy up
printf 'READ /later\nAPPEND /later more\n' >&3
check 'the shell goes on' until_true 20 grep -q 'appended to /later' "$folder/said"
exec 3>&-

# ---- Local files that are none.
mkdir -p "$folder/in/empty" && cd "$folder" || exit 1
printf 'content' >plain && ln -s plain in/link && mkfifo in/pipe pipe && ln -s target.txt to-target
check 'a file is put' understudy PUT plain /plain
refused 'GET onto a pipe' 1 '^error: INVALID: .*no plain file here' understudy GET /plain pipe
check 'leaves the pipe' [ -p pipe ]
refused 'PUT of a pipe nobody writes to' 1 '^error: INVALID: .*no plain file here' understudy PUT pipe /pipe
refused 'GET into a folder that is not there' 1 '^error: NOT_FOUND: .*make it first' understudy GET /plain nowhere/x
refused 'GET to no name' 1 '^error: INVALID: ' understudy GET /plain ''
check 'GET through a link' understudy GET /plain to-target
check 'writes where it leads' cmp plain target.txt
check 'and leaves it' [ -L to-target ]
check 'PUT -r leaves a pipe out' understudy PUT -r in /in
check 'and comes back without it' understudy GET -r /in out
check 'with all else' [ "$(cd out && find . | sort | tr '\n' ' ')" = '. ./empty ./link ' ]
ln -s "$folder/home" out/sub
check 'another' understudy PUT -r in /in2/sub
refused 'GET -r through a link inside' 1 '^error: NOT_FOLDER: .*is a link here' understudy GET -r /in2 out
check 'writes nothing behind it' [ "$(ls home)" = file ]
cd - >/dev/null || exit 1

finish
