#!/bin/sh
# symbols.sh - what the built objects show: a per-ISA object exports one table and nothing else, the
# library has no mutable state but base's test hooks, and no name that is not rill's.
# Run in the build directory; ends like a test program (tests/run.sh).
passed=0 failed=0
bad() {
    echo "$*"
    failed=$((failed + 1))
}
if grep -q '^SANITIZE = .' config.mk; then
    echo 'skipped: sanitizers add symbols of their own'
    echo 'tree/symbols: 0 passed, 0 failed, 1 skipped'
    exit 0
fi

for o in obj/kernels/cpu/isa_*.o; do
    [ -f "$o" ] || continue
    names=$(nm -g --defined-only "$o" | awk '{ print $NF }')
    if [ "$(printf '%s\n' "$names" | wc -l)" -eq 1 ] && [ -n "$names" ]; then
        passed=$((passed + 1))
    else
        bad "$o exports: $(printf %s "$names" | tr '\n' ' ')"
    fi
done

# .data and .bss hold what can be written; .data.rel.ro is constant once loaded; nvcc keeps its own
for o in $(find obj/libcore obj/kernels -name '*.o' | sort); do
    case $o in obj/libcore/base/mem.o | obj/libcore/base/file.o) continue ;; esac
    state=$(objdump -t "$o" | awk '$0 ~ /[ \t](\.data|\.bss|\.tbss|\.tdata|\*COM\*)(\.[A-Za-z_][^ \t]*)?[ \t]/ &&
        $0 !~ /\.data\.rel\.ro/ && $NF !~ /^(\.|__cuda|_ZL[0-9]+__cuda|_Z(GV)?ZL[0-9]+__device_stub|DW\.ref\.)/ {
        print $NF }')
    if [ -z "$state" ]; then
        passed=$((passed + 1))
    else
        bad "$o: mutable state: $(printf %s "$state" | tr '\n' ' ')"
    fi
done
echo "tree/symbols: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
