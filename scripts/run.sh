#!/usr/bin/env bash
# A local cluster under ./var (it persists) and the shell on it: what `make run` does once all is built. Standard
# input that is no terminal is executed as commands. Stops the cluster at the end if it was started here.
#
# run.sh [--logs]: with the servers' logs interleaved on standard error (`make cluster`).
# BIN: where the programs are.  DATA: another folder than ./var.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bin=${BIN:-bin}
data=${DATA:-var}

is_up() {
  local pid
  read -r pid <"$data/nm1/pid" || return 1
  [[ $(readlink "/proc/$pid/exe") == */understudy-nm* ]]
}

tail_pid=
started=no
finish() {
  [ -z "$tail_pid" ] || kill "$tail_pid"
  if [ "$started" = yes ]; then "$bin/understudy" down --data "$data" >&2 </dev/null; fi
}
trap finish EXIT
trap 'exit 143' TERM HUP
trap : INT  # The shell's own business.

is_up 2>/dev/null || started=yes
# Also when it is up: a server that was killed meanwhile comes back.
"$bin/understudy" up --data "$data" >&2 </dev/null || exit

# Each line behind its server's name, in its colour.
colour_logs() {
  local line name= heading='^==> .*/([^/]+)/log <==$'
  declare -A colours=()
  while IFS= read -r line; do
    if [[ $line =~ $heading ]]; then
      name=${BASH_REMATCH[1]}
      [ -n "${colours[$name]:-}" ] || colours[$name]=$((31 + ${#colours[@]} % 6))
    elif [ -n "$line" ]; then
      printf '\033[%dm%-10s\033[0m %s\n' "${colours[$name]:-0}" "$name" "$line"
    fi
  done
}
if [ "${1:-}" = --logs ]; then
  tail -n 4 -F "$data"/*/log > >(colour_logs >&2) 2>/dev/null &
  tail_pid=$!
fi

"$bin/understudy" --data "$data"
