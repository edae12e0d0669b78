#!/bin/sh
# quantize.sh - whatever happens to rill-quantize, the file that was there stays, and no half of a
# new one gets its name. Run by tests/run.sh in the build directory, with the tools in PATH.
set -u
: "${SRCDIR:?}" "${LONG:=}"
model=$SRCDIR/share/rill-tales.gguf
if ! command -v rill-quantize >/dev/null || [ ! -f "$model" ]; then
    echo 'skipped: no rill-quantize or no embedded model'
    echo 'cli/quantize.sh: 0 passed, 0 failed, 1 skipped'
    exit 0
fi
T=$(pwd)/obj/check/tmp.quantize.sh
rm -rf "$T"
mkdir -p "$T"
passed=0 failed=0 skipped=0
ok() { # ok WHAT STATUS
    if [ "$2" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "failed: $1"; fi
}
quantize() {
    rill-quantize -q -t2 --allow-requantize "$@"
}

quantize "$model" "$T/new.gguf" Q5_K_M
ok "quantizing" $?
echo old >"$T/old"

# killed at any moment: the old file, or the whole new one
tries=6
[ -z "$LONG" ] || tries=50
i=0
while [ $i -lt $tries ]; do
    cp "$T/old" "$T/out.gguf"
    quantize "$model" "$T/out.gguf" Q5_K_M &
    pid=$!
    sleep "0.$(awk -v s="$$$i" 'BEGIN { srand(s); printf "%03d", rand() * 250 }')"
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    cmp -s "$T/out.gguf" "$T/old" || cmp -s "$T/out.gguf" "$T/new.gguf"
    ok "killed ($i): $(ls -l "$T/out.gguf")" $?
    i=$((i + 1))
done 2>/dev/null
rm -f "$T"/out.gguf.tmp-*

# interrupted: the old file, no temporary, death by the signal
cp "$T/old" "$T/out.gguf"
mkfifo "$T/pipe"
env --default-signal=INT rill-quantize -q --allow-requantize - "$T/out.gguf" Q5_K_M <"$T/pipe" 2>/dev/null &
pid=$!
exec 3>"$T/pipe"
head -c 3000000 "$model" >&3
kill -INT $pid
exec 3>&-
wait $pid
got=$?
[ "$(kill -l $got)" = INT ] && cmp -s "$T/out.gguf" "$T/old" && [ -z "$(ls "$T"/out.gguf.tmp-* 2>/dev/null)" ]
ok "interrupted: status $got, $(ls "$T")" $?

# no room for more: exit 4, the old file, no temporary (a limit on file sizes stands for the disk)
cp "$T/old" "$T/out.gguf"
(trap '' XFSZ; ulimit -f 1000; quantize "$model" "$T/out.gguf" Q5_K_M) 2>"$T/err"
got=$?
[ $got -eq 4 ] && cmp -s "$T/out.gguf" "$T/old" && [ -z "$(ls "$T"/out.gguf.tmp-* 2>/dev/null)" ] &&
    grep -q 'cannot write' "$T/err"
ok "a file that must not grow: status $got, $(cat "$T/err")" $?

# a full file system, where one can be made
if mkdir "$T/fs" && mount -t tmpfs -o size=1m none "$T/fs" 2>/dev/null; then
    cp "$T/old" "$T/fs/out.gguf"
    quantize "$model" "$T/fs/out.gguf" Q5_K_M 2>"$T/err"
    got=$?
    [ $got -eq 4 ] && cmp -s "$T/fs/out.gguf" "$T/old" && [ "$(ls "$T/fs" | wc -l)" -eq 1 ]
    ok "a full disk: status $got, $(cat "$T/err")" $?
    umount "$T/fs"
else
    echo 'skipped: no file system can be mounted here'
    skipped=1
fi

quantize "$model" /dev/full Q5_K_M 2>"$T/err"
[ $? -eq 4 ]
ok "a full device: $(cat "$T/err")" $?

# a split model stays split, and is the same model
if [ -r "${RILL_TESTDATA:-}/models/stories260K/stories260K.gguf" ]; then
    (cd "$T" && rill-quantize -q --keep-split "${RILL_TESTDATA}/models/stories260K/stories260K.gguf" s.gguf F16)
    [ -f "$T/s.gguf" ]
    ok "--keep-split of one file" $?
fi

rm -rf "$T"
echo "cli/quantize.sh: $passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
