#!/usr/bin/env bash
# People write sentences at a shell's prompt, on a terminal, and the acting primary is killed between two of their
# lines: what was typed is kept, the sentence is theirs again, and ETIRW commits it all once.
# Its shells sit on terminals of their own; where none can be made (no /dev/pts) there is nothing to drill.
if ! script -qfec true /dev/null >/dev/null 2>&1 </dev/null; then
  echo "skipped no terminal can be made here: not tried"
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
fi
. "$(dirname "${BASH_SOURCE[0]}")/scripts/drill.sh"
cluster=$folder/cluster

put_text() { printf "%s" "$1" | understudy PUT - "$2"; }
reads() { [ "$(understudy READ "$1")" = "$2" ]; }
# The shell of a user, on a terminal of its own: type NAME LINE types there, shown NAME TEXT looks at its screen.
open_shell() {
  local name=$1
  mkfifo "$folder/keys-$name"
  TERM=dumb XDG_STATE_HOME=$folder script -qfec "$bin/understudy --data $cluster" "$folder/screen-$name" \
    <"$folder/keys-$name" >/dev/null 2>&1 &
  shells="$shells $!"
  exec {keys[$name]}>"$folder/keys-$name"
}
declare -A keys
shells=
type_in() { printf '%s\n' "$2" >&"${keys[$1]}"; }
shown() { grep -qF -- "$2" "$folder/screen-$1"; }
open_sentences() { [ "$(understudy --json LOCKS | grep -c sentence)" = "$1" ]; }

check "a cluster starts" understudy up
check "both halves are in sync" until_true 30 in_sync ss1 ss1_backup
check "a document" put_text "$(printf 'The cat sat... \r\n\r\n\tThe dog ran?! e.g. here.')" /doc
check "it is on both halves" understudy WAIT

open_shell alice
open_shell bob
check "alice has a prompt" until_true 20 shown alice "TAB completes"
check "bob has a prompt" until_true 20 shown bob "TAB completes"
type_in alice "WRITE /doc 0"
type_in bob "WRITE /doc 1"
check "both have a sentence open" until_true 20 open_sentences 2
check "LOCKS shows them" test "$(understudy --json LOCKS /doc | grep -c '"path":"/doc"')" = 2
type_in alice "1 black"
check "alice's line is taken" until_true 20 shown alice "The black cat sat..."
type_in bob "1 old"
check "bob's line is taken" until_true 20 shown bob "The old dog ran?!"

kill -KILL "$(pid_of ss1)"
check "ss1_backup becomes acting primary" until_true 30 pair_is ss1 acting_primary ss1_backup
check "alice has her sentence again, and is told in one line" until_true 20 shown alice "ss1 was lost, ss1_backup serves now: nobody had changed your sentence"
check "bob too" until_true 20 shown bob "ss1 was lost, ss1_backup serves now: nobody had changed your sentence"
check "both have a sentence open" until_true 20 open_sentences 2
understudy WRITE /doc 1 --edit "0 x" >/dev/null 2>"$folder/refusal"
check "nobody else gets it" grep -q '^error: LOCKED: ' "$folder/refusal"
type_in alice "2 and white"
type_in alice "ETIRW"
check "alice commits" until_true 20 shown alice "wrote sentence 0 of /doc"

# ---- ss1 is back and takes over: bob has his sentence again at his next line. Then he loses it to an owner's word.
check "ss1 starts again" understudy up
check "ss1 takes over again" until_true 60 pair_is ss1 acting_primary ss1
type_in bob "0 Then"
check "bob's line is taken" until_true 20 shown bob "Then The old dog ran?!"
check "bob has his sentence open" until_true 20 open_sentences 1
check "the owner breaks the lock" understudy LOCKS --break /doc 1
type_in bob "ETIRW"
check "bob is told" until_true 20 shown bob "its lock was broken by the file's owner"
check "and keeps what he typed" until_true 20 shown bob "0 Then"
expected=$(printf 'The black and white cat sat... \r\n\r\n\tThe dog ran?! e.g. here.')
check "the document has alice's words once, all else as it was" reads /doc "$expected"

# ---- A shell that is killed frees its sentence at once; one-shot and script go through the same door.
type_in alice "WRITE /doc 1"
check "alice has it open" until_true 20 open_sentences 1
for shell in $shells; do pkill -KILL -P "$shell"; done
check "a killed shell frees its sentence" until_true 20 open_sentences 0
for shell in $shells; do wait "$shell" 2>/dev/null; done
check "one-shot, from the command line" understudy WRITE /doc 1 --edit "1 quick" --edit "0 So,"
printf '3 brown\nETIRW\n' | understudy WRITE /doc 1 >/dev/null 2>&1
check "one-shot, from standard input" reads /doc "$(printf 'The black and white cat sat... \r\n\r\n\tSo, The quick brown dog ran?! e.g. here.')"
printf 'WRITE /doc 0\n0 ok\n99 too far\n0 not taken\nETIRW\nREAD /doc\n' | understudy --keep-going >"$folder/out" 2>"$folder/refusal"
check "a script goes on behind ETIRW, with nothing changed" grep -q 'The black and white cat' "$folder/out"
check "and says which line it was" grep -q '^error: OUT_OF_RANGE: ' "$folder/refusal"
check "the cluster stops" understudy down
finish
