#!/bin/sh
# signals.sh - how rill-run ends when it is interrupted, when nobody reads, when the disk is full.
# Run by tests/run.sh in the build directory, with the tools in PATH.
set -u
: "${SRCDIR:?}"
RILL_MODEL=$SRCDIR/share/rill-tales.gguf
export RILL_MODEL
if ! command -v rill-run >/dev/null || [ ! -f "$RILL_MODEL" ]; then
    echo 'skipped: no rill-run or no embedded model'
    echo 'cli/signals: 0 passed, 0 failed, 1 skipped'
    exit 0
fi
T=$(pwd)/obj/check/tmp.signals
rm -rf "$T"
mkdir -p "$T"
passed=0 failed=0
ok() { # ok WHAT STATUS
    if [ "$2" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "failed: $1"; fi
}
# a story that does not end by itself within this test
long='-q --ignore-eos -n 100000 -l'

# interrupted while it writes: what is made is out, and it dies of the signal
for sig in INT TERM; do
    mkfifo "$T/out.$sig" "$T/in.$sig"
    # sh starts background commands with SIGINT ignored, which rill-run would respect
    # shellcheck disable=SC2086
    env --default-signal=INT rill-run $long <"$T/in.$sig" >"$T/out.$sig" 2>"$T/err" &
    pid=$!
    exec 4>"$T/in.$sig" 3<"$T/out.$sig"
    i=0
    while [ $i -lt 200 ]; do echo 'Once upon a time'; i=$((i + 1)); done >&4
    dd bs=1 count=1 <&3 >"$T/first" 2>/dev/null
    kill -s $sig $pid
    cat <&3 >"$T/rest" &
    wait $pid
    got=$?
    exec 3<&- 4>&-
    wait
    # a shell shows death by signal N as 128 + N
    [ "$(kill -l $got)" = $sig ] && [ -s "$T/first" ] && [ ! -s "$T/err" ]
    ok "SIG$sig: status $got, said: $(cat "$T/err")" $?
done

# nobody reads any more: quiet
# shellcheck disable=SC2086
{
    yes 'Once upon a time' | head -n 2000 | env --default-signal=PIPE rill-run $long 2>"$T/err"
    echo $? >"$T/status"
} | head -c 1 >/dev/null
[ "$(kill -l "$(cat "$T/status")")" = PIPE ] && [ ! -s "$T/err" ]
ok "SIGPIPE: status $(cat "$T/status"), said: $(cat "$T/err")" $?

# what cannot be written is an error that may go away
rill-run -q -p 'Once upon a time' -n 5 >/dev/full 2>"$T/err"
[ $? -eq 4 ] && grep -q '^rill-run: standard output: cannot write: No space' "$T/err"
ok "a full disk: $(cat "$T/err")" $?

rm -rf "$T"
echo "cli/signals: $passed passed, $failed failed"
[ $failed -eq 0 ]
