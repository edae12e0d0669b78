#!/bin/sh
# run.sh [WORD...] - runs every test program of the build in the current directory, two or more at a
# time, and adds up. With words: only those whose name contains one (quant, text/jinja, cli/run.gold).
#
# A test program is anything whose last matching line is "name: N passed, N failed[, N skipped]" and
# whose exit status is 0 when none failed. One that crashes, hangs or says nothing is one failure.
# Here: the libcheck programs, checkkern, tests/cli/*.gold and *.sh, and checks of the tree itself.
set -u
: "${SRCDIR:?}" "${LONG:=}"
export SRCDIR LONG
[ -n "${RILL_TESTDATA-}" ] || RILL_TESTDATA=$SRCDIR/../shared/data
export RILL_TESTDATA
unset RILL_MODEL RILL_CPU RILL_NOFUSE NO_COLOR || :
LC_ALL=C.UTF-8
export LC_ALL

if [ "${1-}" = --one ]; then
    prog=$2
    log=obj/check/$(printf %s "${prog#"$SRCDIR"/}" | tr '/ ' '__').log
    start=$(date +%s)
    case $prog in
    *.gold) under=$SRCDIR/tests/cli/run.sh ;;
    *.sh) under= ;;
    *) under=${RUNNER-} ;; # an emulator (scripts/check-neon)
    esac
    limit=300
    if [ -n "$LONG${RUNNER-}" ] || [ -n "${VALGRIND-}" ] || grep -q '^SANITIZE = .' config.mk; then
        limit=3000 # and libcheck's own limit for a test
        CK_TIMEOUT_MULTIPLIER=${CK_TIMEOUT_MULTIPLIER:-10}
        export CK_TIMEOUT_MULTIPLIER
    fi
    timeout $limit $under "$prog" >"$log" 2>&1 </dev/null
    rc=$?
    last=$(grep -aE '^[^:]+: [0-9]+ passed, [0-9]+ failed' "$log" | tail -n 1)
    name=${last%%:*}
    if [ -z "$last" ]; then
        name=${prog#"$SRCDIR"/}
        last="$name: 0 passed, 1 failed"
        echo "exit status $rc without a summary" >>"$log"
    elif [ $rc -ne 0 ] && [ "${last#* passed, 0 failed}" != "$last" ]; then
        last="$name: 0 passed, 1 failed"
        echo "exit status $rc" >>"$log"
    fi
    took=$(($(date +%s) - start))
    [ "$took" -lt 3 ] && took= || took=" (${took} s)"
    case $last in
    *' 0 failed'*) printf '%s%s\n' "$last" "$took" ;;
    *) printf '%s%s\n%s\n' "$last" "$took" "$(sed 's/^/    /' "$log" | tail -n 60)" ;;
    esac
    echo "$last" >"${log%.log}.sum"
    exit 0
fi

rm -rf obj/check
mkdir -p obj/check
list() {
    find obj/tests -type f -name 'test_*' -perm -u+x ! -name '*.o' ! -name '*.d' | sort |
        while read -r t; do [ ! -f "$SRCDIR/${t#obj/}.c" ] || echo "$t"; done
    [ ! -x obj/tests/checkkern ] || echo obj/tests/checkkern
    for t in "$SRCDIR"/tests/cli/*.gold "$SRCDIR"/tests/cli/*.sh; do
        case $t in */run.sh | */lib.sh | */\**) ;; *) echo "$t" ;; esac
    done
    for t in layers banned symbols options; do echo "$SRCDIR/scripts/$t.sh"; done
}
list | while read -r t; do
    [ $# -gt 0 ] || echo "$t"
    for word in "$@"; do
        short=$(echo "${t#"$SRCDIR"/}" | sed 's,^obj/tests/,,; s,test_,,')
        case $short in *"$word"*) echo "$t" && break ;; esac
    done
done >obj/check/list
[ -s obj/check/list ] || { echo "no test's name contains: $*" >&2 && exit 1; }
tr '\n' '\0' <obj/check/list |
    xargs -0 -n 1 -P "${JOBS:-$(nproc 2>/dev/null || echo 2)}" "$0" --one

grep -ahE '^skipped: ' obj/check/*.log 2>/dev/null | sort | uniq -c | sed 's/^ */    /; s/ skipped:/ x skipped:/'
cat obj/check/*.sum 2>/dev/null | awk -v programs="$(wc -l <obj/check/list)" '
    { n++; for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) p += $(i - 1); if ($i ~ /^failed/) f += $(i - 1)
        if ($i ~ /^skipped/) s += $(i - 1) } }
    END {
        f += programs - n
        printf "%d passed, %d failed%s\n", p, f, s ? ", " s " skipped" : ""
        exit f > 0 || p == 0
    }'
