#!/usr/bin/env bash
# run_tests.sh TEST…: runs GoogleTest binaries and drills (test_*.sh), two at a time, each with its own time
# limit and temporary folder; shows the output of those that fail; ends with one line `N passed, N failed`
# (`, N skipped`) over all their cases. Fails if one failed or nothing ran.
#
# OUT: the build's folder, for logs.  BIN: where the programs are, for drills.  ONLY: patterns of names to run.
# TEST_SECONDS: the limit for each (default 300; sanitizers make it slower: 900).  JOBS: how many at a time.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OUT=${OUT:-build/release} BIN=${BIN:-bin}
case $OUT in *release*) default_seconds=300 ;; *) default_seconds=900 ;; esac
export TEST_SECONDS=${TEST_SECONDS:-$default_seconds}
export RESULTS=$OUT/results
rm -rf "$RESULTS"
mkdir -p "$RESULTS"

# Counts of one GoogleTest report. The result of a crashed binary is no report.
xml_counts() {
  awk '
    function number(name) { return match($0, " " name "=\"[0-9]+\"") ? substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 4) : 0 }
    /^<testsuites / && !seen++ { tests = number("tests"); failed = number("failures") + number("errors"); disabled = number("disabled") }
    /^    <testcase / && /result="skipped"/ { skipped++ }
    END { print tests - failed - disabled - skipped, failed + 0, skipped + disabled + 0 }' "$1"
}

# Counts of a binary that ended before it could report: what its log shows as passed, and one failure more.
log_counts() {
  awk '/^\[       OK \] / { passed++ } /^\[  FAILED  \] .*\([0-9]+ ms\)$/ { failed++ }
       END { print passed + 0, failed + 1, 0 }' "$1"
}

# Counts of a drill: its `ok`, `not ok` and `skipped` lines, which its last line must agree with.
drill_counts() {
  awk '/^ok / { passed++ } /^not ok / { failed++ } /^skipped / { skipped++ } { last = $0 }
       END { said = (passed + 0) " passed, " (failed + 0) " failed"
             if (skipped) said = said ", " skipped " skipped"
             if (last != said) failed++
             print passed + 0, failed + 0, skipped + 0 }' "$1"
}

run_one() {
  local test=$1 name log status counts passed failed skipped start=$EPOCHREALTIME
  # A drill and a unit test may have one name: test_x.sh, test_x.
  name=$(basename "$test")
  log=$RESULTS/$name.log
  local folder
  folder=$(mktemp -d "${TMPDIR:-/tmp}/understudy-test.XXXXXX")
  case $test in
    *.sh)
      TMPDIR=$folder timeout -k 10 "$TEST_SECONDS" bash "$test" >"$log" 2>&1 </dev/null
      status=$?
      counts=$(drill_counts "$log") ;;
    *)
      TMPDIR=$folder TEST_TMPDIR=$folder timeout -k 10 "$TEST_SECONDS" \
        "$test" --gtest_output="xml:$RESULTS/$name.xml" >"$log" 2>&1 </dev/null
      status=$?
      if [ -s "$RESULTS/$name.xml" ] && [ "$status" -le 1 ]; then
        counts=$(xml_counts "$RESULTS/$name.xml")
      else
        counts=$(log_counts "$log")
      fi ;;
  esac
  read -r passed failed skipped <<<"$counts"
  # A status that the cases do not explain is a failure of its own, and so is a test without cases.
  [ "$status" = 0 ] || [ "$failed" -gt 0 ] || failed=1
  [ $((passed + failed + skipped)) -gt 0 ] || failed=1
  echo "$passed $failed $skipped" >"$RESULTS/$name.counts"
  local seconds
  seconds=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
  if [ "$failed" = 0 ]; then
    rm -rf "$folder"
    echo "ok      $name: $passed passed${skipped:+, $skipped skipped} in $seconds s" | sed 's/, 0 skipped//'
  else
    # In one piece, so that two failures do not mingle.
    local note=
    [ "$status" -ge 124 ] && [ "$status" != 255 ] && note=" (status $status: over $TEST_SECONDS s, or killed)"
    { echo "FAILED  $name: $passed passed, $failed failed in $seconds s$note; its files: $folder; its output:"
      sed 's/^/    /' "$log" | tail -n 300
    } | cat
  fi
}
export -f run_one xml_counts log_counts drill_counts

chosen=()
for test in "$@"; do
  name=$(basename "$test" .sh)
  [ -n "${ONLY:-}" ] || { chosen+=("$test"); continue; }
  for pattern in $ONLY; do
    # shellcheck disable=SC2053  # A pattern is meant.
    [[ $name == $pattern ]] && chosen+=("$test") && break
  done
done
# Drills first: they wait more than they work.
printf '%s\n' "${chosen[@]}" | sed '/^$/d' | sort -t. -k2,2r -s |
  xargs -r -P "${JOBS:-2}" -I{} bash -c 'run_one "$1"' run_one {}

cat /dev/null "$RESULTS"/*.counts 2>/dev/null | awk -v expected="${#chosen[@]}" '
  { passed += $1; failed += $2; skipped += $3 }
  END {
    failed += expected - NR
    line = (passed + 0) " passed, " (failed + 0) " failed"
    if (skipped) line = line ", " skipped " skipped"
    print line
    exit failed > 0 || passed == 0
  }'
