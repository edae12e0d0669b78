#!/bin/sh
# jsonl-kill.sh - a batch that is killed at random moments, again and again, and taken up each time ends
# in the same file as one that is left alone.
set -u
: "${SRCDIR:?}" "${LONG:=}"
T=$(pwd)/obj/check/tmp.jsonl-kill
rm -rf "$T"
mkdir -p "$T"
RILL_MODEL=$SRCDIR/share/rill-tales.gguf
export RILL_MODEL
kills=4
[ -z "$LONG" ] || kills=50
passed=0 failed=0

if [ ! -r "$RILL_MODEL" ]; then
    echo 'skipped: no tales'
    echo 'cli/jsonl-kill: 0 passed, 0 failed, 1 skipped'
    exit 0
fi
i=0
while [ $i -lt $((kills * 6)) ]; do
    i=$((i + 1))
    printf '{"custom_id":"n%d","prompt":"Once there was a %d","max_tokens":%d}\n' $i $i $((i % 9 + 4))
done >"$T/in"
rill-run -q -t 1 --jsonl --parallel 4 -o "$T/whole" <"$T/in" || failed=$((failed + 1))
: >"$T/out"
i=0
while [ $i -lt $kills ]; do
    i=$((i + 1))
    rill-run -q -t 1 --jsonl --parallel 4 -o "$T/out" --resume <"$T/in" 2>/dev/null &
    pid=$!
    # until some lines more are there, and then in the middle of anything
    have=$(wc -l <"$T/out")
    tries=0
    while [ "$(wc -l <"$T/out")" -lt $((have + i % 3 + 1)) ] && kill -0 $pid 2>/dev/null &&
        [ $tries -lt 3000 ]; do
        tries=$((tries + 1))
    done
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    # what was written so far is a beginning of the whole
    size=$(wc -c <"$T/out")
    head -c "$size" "$T/whole" | cmp -s - "$T/out" || {
        echo "after kill $i the file is no beginning of the whole"
        failed=$((failed + 1))
    }
done
rill-run -q -t 1 --jsonl --parallel 4 -o "$T/out" --resume <"$T/in"
if cmp "$T/whole" "$T/out"; then passed=1; else failed=$((failed + 1)); fi
rm -rf "$T"
echo "cli/jsonl-kill: $passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
