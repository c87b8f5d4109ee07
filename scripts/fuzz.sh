#!/usr/bin/env bash
# fuzz.sh: runs the fuzzers that were built in OUT, one after the other, FUZZ_SECONDS each (60). Inputs that reach
# something new are collected in OUT/corpus; KEEP=1 puts those that add to tests/fuzz/corpus there. A finding is a
# file OUT/found-…; run the fuzzer with it as its only argument to see it again, and keep it in the corpus. Those of whole
# servers go on in one scene for some hundred inputs: what it needs besides stands in OUT/NAME.journal, and
# FUZZ_REPLAY=that file shows it again.
# ONLY: patterns of names to run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
OUT=${OUT:-build/fuzz}
status=0
for source in tests/fuzz/fuzz_*.cc; do
  name=$(basename "$source" .cc)
  chosen=${ONLY:+no}
  for pattern in ${ONLY:-}; do
    # shellcheck disable=SC2053  # A pattern is meant.
    [[ $name == $pattern ]] && chosen=
  done
  [ -z "$chosen" ] || continue
  kept=tests/fuzz/corpus/${name#fuzz_}
  found=$OUT/corpus/$name
  mkdir -p "$kept" "$found"
  if FUZZ_JOURNAL=$OUT/$name.journal "$OUT/fuzz/$name" -max_total_time="${FUZZ_SECONDS:-60}" -timeout=250 -rss_limit_mb=2048 -print_final_stats=1 \
      -artifact_prefix="$OUT/found-$name-" "$found" "$kept" >"$OUT/$name.log" 2>&1; then
    result="no finding"
    [ -z "${KEEP:-}" ] || "$OUT/fuzz/$name" -merge=1 "$kept" "$found" >>"$OUT/$name.log" 2>&1
  else
    result="FOUND SOMETHING: $OUT/$name.log"
    status=1
  fi
  echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$OUT/$name.log" | head -n 1) executions, $result"
done
exit $status
