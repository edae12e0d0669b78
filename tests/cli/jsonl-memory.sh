#!/bin/sh
# jsonl-memory.sh - memory of rill-run --jsonl does not grow with its input, neither with lines that
# are wrong nor with such as are answered.
set -u
: "${SRCDIR:?}" "${LONG:=}"
T=$(pwd)/obj/check/tmp.jsonl-memory
rm -rf "$T"
mkdir -p "$T"
few=2000 many=20000 answered=400 room=1024 # room: KB that it may be more
[ -z "$LONG" ] || many=200000 answered=10000
# freed memory stays with a sanitizer for a while
grep -q '^SANITIZE = .' config.mk 2>/dev/null && room=65536
passed=0 failed=0

# The lines, then the most memory that the reader had, once it has answered them all.
feed() {
    cat "$T/in"
    tries=0
    while [ "$(wc -l <"$T/out")" -lt "$1" ] && [ $tries -lt 600 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    awk '/^VmHWM/ { print $2 }' "/proc/$(cat "$T/pid")/status" >"$T/most"
}

# KB for so many times a line
most() {
    yes "$2" | head -n "$1" >"$T/in"
    : >"$T/out"
    feed "$1" | sh -c 'echo $$ >"$1"; shift; exec "$@"' sh "$T/pid" \
        rill-run -q -t 1 -m "$T/tiny" --raw --jsonl --parallel 8 -c 64 >"$T/out" 2>/dev/null
    [ "$(wc -l <"$T/out")" -eq "$1" ] && cat "$T/most"
}

compare() {
    a=$(most "$2" "$1") b=$(most "$3" "$1")
    if [ "${a:-0}" -gt 0 ] && [ "${b:-0}" -gt 0 ] && [ "$b" -le $((a + room)) ]; then
        passed=$((passed + 1))
        return
    fi
    echo "$1: ${a:-?} KB for $2 lines, ${b:-?} KB for $3"
    failed=$((failed + 1))
}

if [ ! -r /proc/self/status ]; then
    echo 'skipped: no /proc'
    echo 'cli/jsonl-memory: 0 passed, 0 failed, 1 skipped'
    exit 0
fi
obj/tests/mkmodel --shape dim=32,layers=1,ffn=32,vocab=300 -o "$T/tiny" || {
    echo "cli/jsonl-memory: 0 passed, 1 failed, 0 skipped"
    exit 1
}
compare '{"prompt":5}' $few $many
compare '{"prompt":[1,2,3],"max_tokens":2}' $((answered / 4)) $answered

# a line that does not end is no reason to take all memory, nor to answer nothing behind it
{
    head -c 200000000 /dev/zero | tr '\0' x
    printf '\n{"prompt":[1,2,3],"max_tokens":2}\n'
} >"$T/in"
: >"$T/out"
feed 2 | sh -c 'echo $$ >"$1"; shift; exec "$@"' sh "$T/pid" \
    rill-run -q -t 1 -m "$T/tiny" --raw --jsonl -c 64 >"$T/out"
if grep -q 'more than 67108864 bytes.*"custom_id":1}' "$T/out" && grep -q 'cmpl-2' "$T/out" &&
    { [ $room -gt 1024 ] || [ "$(cat "$T/most")" -lt 160000 ]; }; then
    passed=$((passed + 1))
else
    echo "a line without an end: $(cat "$T/most") KB"
    cut -c 1-200 "$T/out"
    failed=$((failed + 1))
fi
rm -rf "$T"
echo "cli/jsonl-memory: $passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
