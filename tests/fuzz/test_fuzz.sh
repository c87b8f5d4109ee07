#!/usr/bin/env bash
# Every fuzzer's corpus once more, then a short slice of fuzzing from it, always the same one. `make fuzz` goes on
# for longer, under sanitizers and with the whole program's branches followed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
OUT=${OUT:-build/release}
folder=$(mktemp -d "${TMPDIR:-/tmp}/understudy-fuzz.XXXXXX")
trap 'rm -rf "$folder"' EXIT
passed=0 failed=0
check() {
  local what=$1
  shift
  if "$@" >"$folder/log" 2>&1; then
    passed=$((passed + 1))
    echo "ok $what"
  else
    failed=$((failed + 1))
    echo "not ok $what"
    tail -n 40 "$folder/log"
    for input in "$folder"/found-*; do
      [ -f "$input" ] && { echo "the input:"; od -c "$input" | head -n 40; }
    done
  fi
}
for source in tests/fuzz/fuzz_*.cc; do
  name=$(basename "$source" .cc)
  corpus=tests/fuzz/corpus/${name#fuzz_}
  mkdir -p "$folder/$name"
  # Whole servers take a thousand times as long as a parser.
  runs=20000
  case $name in fuzz_name_node | fuzz_storage_server) runs=2000 ;; esac
  options=(-artifact_prefix="$folder/found-" -timeout=250 -rss_limit_mb=2048)
  check "$name has a corpus" test -n "$(ls "$corpus" 2>/dev/null)"
  check "$name: its corpus" "$OUT/fuzz/$name" "${options[@]}" -runs=0 "$corpus"
  check "$name: $runs executions" "$OUT/fuzz/$name" "${options[@]}" -runs=$runs -seed=1 "$folder/$name" "$corpus"
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
