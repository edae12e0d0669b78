#!/bin/sh
# run.sh FUZZER... - runs each libFuzzer program for $RUNS inputs from made seeds, one after the other;
# called by "make fuzz" in the build directory. What it finds lies in obj/fuzz/found/, what it learned
# in obj/fuzz/corpus/NAME, where the next run goes on.
#
# More: obj/fuzz/fuzz_gguf -help=1. Replaying without libFuzzer, for afl-fuzz or a debugger: compile
# tests/fuzz/fuzz_NAME.c with -DRILL_REPLAY against librill.a.
set -eu
: "${SRCDIR:?}" "${RUNS:?}"
export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}allocator_may_return_null=0"

mkdir -p obj/fuzz/seeds obj/fuzz/found
"$SRCDIR/scripts/fuzz-seeds.sh" obj/fuzz/seeds
failed=0
for f in "$@"; do
    name=${f##*/fuzz_}
    corpus=obj/fuzz/corpus/$name
    mkdir -p "$corpus" "obj/fuzz/seeds/$name"
    dict=$SRCDIR/tests/fuzz/$name.dict
    log=obj/fuzz/$name.log
    case $name in # how long an input may be, and where made seeds are beside those of the script
    model) max=200000 made=$SRCDIR/tests/golden/arch ;;
    *) max=4096 made= ;;
    esac
    if "$f" -runs="$RUNS" -timeout=2 -entropic=0 -max_len=$max -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="obj/fuzz/found/$name-" $([ ! -f "$dict" ] || echo "-dict=$dict") \
        "$corpus" "obj/fuzz/seeds/$name" ${made:+"$made"} >"$log" 2>&1; then
        echo "fuzz_$name: $(sed -n 's/^stat::number_of_executed_units: //p' "$log") executions, nothing found"
    else
        echo "fuzz_$name: FAILED" && tail -n 60 "$log"
        failed=1
    fi
done
exit $failed
