# What the drills share: checks, a temporary folder, waiting for events, and no process left behind. Sourced by
# test_*.sh at the top of the tree; uses sh tools, awk and coreutils only.
#
# A drill prints `ok …` or `not ok …` for each check and ends with finish. BIN: where the programs are.

set -u
bin=$(cd "${BIN:-bin}" && pwd) || exit 1
folder=$(mktemp -d "${TMPDIR:-/tmp}/understudy-drill.XXXXXX")
passed=0
failed=0

ok() { passed=$((passed + 1)); echo "ok $*"; }
not_ok() { failed=$((failed + 1)); echo "not ok $*"; }
# check TEXT COMMAND…: ok if the command succeeds; else its output is shown.
check() {
  local text=$1 output
  shift
  if output=$("$@" 2>&1); then ok "$text"; else not_ok "$text"; printf '%s\n' "$output" | head -n 20 | sed 's/^/  # /'; fi
}

# Every server of this drill has a folder below $folder with its pid in it.
server_pids() {
  local file pid
  for file in "$folder"/*/pid "$folder"/*/*/pid; do
    [ -s "$file" ] || continue
    read -r pid <"$file"
    [[ $(readlink "/proc/$pid/exe") == "$bin"/* ]] && echo "$pid"
  done
}
stop_all() {
  local pids
  pids=$(server_pids)
  [ -z "$pids" ] && return
  kill -CONT $pids 2>/dev/null
  kill -KILL $pids 2>/dev/null
  # Not our children, so there is nothing to wait on but their disappearance.
  for _ in $(seq 100); do [ -z "$(server_pids)" ] && return; sleep 0.05; done
}
# Whatever ends the drill, nothing of it goes on running.
trap stop_all EXIT
trap 'exit 143' TERM INT HUP

finish() {
  stop_all
  if [ -n "$(server_pids)" ]; then not_ok "no process is left behind"; fi
  if [ "$failed" = 0 ]; then
    rm -rf "$folder"
  else
    for log in "$folder"/*/log "$folder"/*/*/log; do
      [ -s "$log" ] && { echo "  # the end of $log:"; tail -n 15 "$log" | sed 's/^/  #   /'; }
    done
    echo "  # files: $folder"
  fi
  echo "$passed passed, $failed failed"
  trap - EXIT
  [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
  exit
}

now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }

# until_true SECONDS COMMAND…: asks again every 50 ms until the command succeeds.
until_true() {
  local end=$(($(now_ms) + $1 * 1000))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$(now_ms)" -lt "$end" ] || return 1
    sleep 0.05
  done
}

pid_of() { cat "$cluster/$1/pid"; }
understudy() {
  case $1 in
    up | down) "$bin/understudy" "$1" --data "$cluster" "${@:2}" ;;
    *) "$bin/understudy" --data "$cluster" "$@" ;;
  esac
}

# One field of a server, of a pair or of the cluster, as STATUS --json has it.
member() { understudy --json STATUS | tr '{' '\n' | sed -n "s/^\"server\":\"$1\",.*\"$2\":\"\{0,1\}\([^\",}]*\).*/\1/p"; }
pair() { understudy --json STATUS | tr '{' '\n' | sed -n "s/^\"pair\":\"$1\",.*\"$2\":\"\{0,1\}\([^\",}]*\).*/\1/p"; }
member_is() { [ "$(member "$1" "$2")" = "$3" ]; }
pair_is() { [ "$(pair "$1" "$2")" = "$3" ]; }
in_sync() {
  local server
  for server in "$@"; do member_is "$server" state alive && member_is "$server" in_sync true || return 1; done
}
# How many events of a kind a server had.
events() { understudy --json EVENTS | grep -c "\"kind\":\"$1\",\"server\":\"$2\""; }
