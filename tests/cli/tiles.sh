#!/bin/sh
# tiles.sh - what holds for all levels also holds where prompt rows are computed in tiles (AMX), and
# generated rows on another path: identity of answers, goldens of architectures, known beginnings,
# stored sequences. The level amx-emulated needs no tile unit. Run by tests/run.sh.
set -u
: "${SRCDIR:?}"
if ! RILL_CPU=amx-emulated rill-run -q -n 1 -p a >/dev/null 2>&1; then
    echo 'skipped: the level amx-emulated cannot run here'
    echo 'cli/tiles.sh: 0 passed, 0 failed, 1 skipped'
    exit 0
fi
passed=0 failed=0
for t in engine/test_identity engine/test_engine engine/test_kvfile engine/test_spec \
    engine/test_stories model/test_arch; do
    [ -x "obj/tests/$t" ] || continue
    if log=$(RILL_CPU=amx-emulated "obj/tests/$t" 2>&1); then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "failed: $t with RILL_CPU=amx-emulated"
        echo "$log" | tail -n 20
    fi
done
# the two paths do differ, and the plan says so
plan=$(RILL_CPU=amx-emulated rill-inspect --plan "$SRCDIR/share/rill-tales.gguf")
if echo "$plan" | grep -q "bf16 tiles"; then
    passed=$((passed + 1))
else
    failed=$((failed + 1))
    echo 'failed: no record of the plan runs in tiles'
fi
echo "cli/tiles.sh: $passed passed, $failed failed"
[ $failed -eq 0 ]
