#!/bin/sh
# run.sh FILE.gold - command lines with what they must print. A test is a block of lines:
#
#     # what is shown                      its name
#     ? stories                            needs a file (see below), else the test is skipped
#     < standard input, \n and \0 as in printf %b; the line adds no newline
#     $ rill-tokenize -m "$stories" -l
#     > expected line of standard output
#     >- last line of it, without a newline
#     ! 3 words of standard error          exit status (0 if there is no such line), then a part
#
# and an empty line ends it. Output is compared byte for byte; without any > line it must be empty,
# with ">*" anything will do. Names for the commands: $T, a folder of this run; $DATA, the test
# data; $SRCDIR; $stories, the stories260K model; $tales, the embedded model (set as RILL_MODEL too).
# Run by tests/run.sh in the build directory, with the tools in PATH.
set -u
: "${SRCDIR:?}" "${RILL_TESTDATA:?}"
file=$1
name=cli/$(basename "$file" .gold)
T=$(pwd)/obj/check/tmp.$(basename "$file" .gold)
rm -rf "$T"
mkdir -p "$T"
DATA=$RILL_TESTDATA
stories=$DATA/models/stories260K/stories260K.gguf
tales=$SRCDIR/share/rill-tales.gguf
: "${CC:=cc}"
RILL_MODEL=$tales
export T DATA stories tales RILL_MODEL CC
passed=0 failed=0 skipped=0

reset() {
    title= needs= command= input= status=0 words= any= out=
}

fail() {
    [ "$bad" -eq 1 ] || printf '%s: %s\n' "$file" "$title"
    bad=1
    printf '  %s\n' "$*"
}

block() {
    [ -n "$command" ] || return 0
    for need in $needs; do
        eval "path=\$$need"
        [ -r "$path" ] && continue
        printf 'skipped: no %s\n' "$need"
        skipped=$((skipped + 1))
        return 0
    done
    bad=0
    printf '%b' "$input" >"$T/in"
    (cd "$T" && eval "$command") <"$T/in" >"$T/out" 2>"$T/err"
    got=$?
    printf '%b' "$out" >"$T/want"
    [ $got -eq "$status" ] || fail "exit status $got, not $status; it said: $(head -c 500 "$T/err")"
    [ -n "$any" ] || cmp -s "$T/want" "$T/out" ||
        fail "$(diff -a "$T/want" "$T/out" | head -n 20)"
    [ -z "$words" ] || grep -qF -- "$words" "$T/err" ||
        fail "standard error lacks '$words': $(head -c 500 "$T/err")"
    if [ $bad -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

# text for printf %b that prints the line as it is
literal() {
    printf '%s' "$1" | sed 's/\\/\\\\/g'
}

reset
while IFS= read -r line || [ -n "$line" ]; do
    case $line in
    '') block; reset ;;
    '# '*) [ -n "$title" ] || title=${line#??} ;;
    '? '*) needs="$needs ${line#??}" ;;
    '< '*) input=$input${line#??} ;;
    '$ '*) command=${line#??} ;;
    '>*') any=1 ;;
    '>- '*) out=$out$(literal "${line#???}") ;;
    '> '*) out="$out$(literal "${line#??}")\\n" ;;
    '>') out="$out\\n" ;;
    '! '*)
        line=${line#??}
        status=${line%% *}
        words=${line#"$status"}
        words=${words# }
        ;;
    *) echo "$file: cannot read '$line'"; failed=$((failed + 1)) ;;
    esac
done <"$file"
block
rm -rf "$T"
echo "$name: $passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
