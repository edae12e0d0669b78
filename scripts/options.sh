#!/bin/sh
# options.sh - the option table of each tool, its man page and its completions say the same, and
# what the man pages show as examples works.
# mandoc and the three shells check what they can where they are installed. Run in the build
# directory; ends like a test program (tests/run.sh).
: "${SRCDIR:?}"
passed=0 failed=0 skipped=0
check() { # check WHAT STATUS
    if [ "$2" -eq 0 ]; then passed=$((passed + 1)); else echo "$1"; failed=$((failed + 1)); fi
}
tmp=obj/check/options.$$
trap 'rm -rf $tmp.*' EXIT

# Flags of every ".It Fl a , Fl -long Ar X" line, one a line with its dash.
man_options() {
    awk '$1 == ".It" {
        fl = 0
        for (i = 2; i <= NF; i++) {
            if ($i == "Fl") fl = 1
            else if ($i ~ /^(Ar|Ns|Cm|Op|Oo|Oc|Li|Sy|Ic|Pa|No|Xo)$/) fl = 0
            else if (fl && $i != "," && $i != "|") { sub(/,$/, "", $i); print "-" $i }
        }
    }' "$1" | sort -u
}

for tool in rill-*; do
    case $tool in *.* | *\**) continue ;; esac
    [ -x "$tool" ] || continue
    page=$SRCDIR/man/$tool.1
    "./$tool" --completion list | tr ' ' '\n' | sort -u >$tmp.table
    if [ -f "$page" ]; then
        man_options "$page" >$tmp.man
        cmp -s $tmp.table $tmp.man
        check "$tool: table (<) and man page (>) differ: $(diff $tmp.table $tmp.man | grep '[<>]' | tr '\n' ' ')" $?
    else
        check "$tool: no man page man/$tool.1" 1
    fi
    "./$tool" --help >$tmp.help 2>$tmp.err && [ ! -s $tmp.err ] && grep -q '^Usage: ' $tmp.help
    check "$tool --help fails" $?
    awk 'length($0) > 80 { exit 1 }' $tmp.help
    check "$tool --help: a line is longer than 80 columns" $?
    "./$tool" --version | grep -qx "$tool $(cat "$SRCDIR/VERSION")"
    check "$tool --version" $?
    "./$tool" --no-such-option >$tmp.out 2>$tmp.err
    [ $? -eq 2 ] && [ ! -s $tmp.out ] && grep -q "^$tool: unknown option '--no-such-option'" $tmp.err
    check "$tool: an unknown option" $?
    for shell in bash zsh fish; do
        if command -v $shell >/dev/null 2>&1; then
            $shell -n "obj/completion/$tool.$shell" 2>$tmp.err && [ ! -s $tmp.err ]
            check "obj/completion/$tool.$shell: $(cat $tmp.err)" $?
        else
            skipped=$((skipped + 1))
        fi
    done
    if command -v bash >/dev/null 2>&1; then
        bash -c ". obj/completion/$tool.bash; COMP_WORDS=($tool --hel); COMP_CWORD=1
            $(sed -n 's/^complete -F \([^ ]*\) .*/\1/p' "obj/completion/$tool.bash"); [ \"\${COMPREPLY[*]}\" = --help ]"
        check "$tool: bash completes --hel to --help" $?
    fi
done
# Every ".Dl $ command" of a page must succeed. They run in a folder where model.gguf is
# the embedded model and story.txt some text; they may use no other file. rill-pull would need the
# network; tests/cli/pull.sh has a hub for it.
examples() {
    sed -n 's/^\.Dl \$ //p' "$1" |
        sed -e 's/\\e/\\/g' -e "s/\\\\(aq/'/g" -e 's/\\(dq/"/g' -e 's/\\&//g' -e 's/\\-/-/g'
}
run_examples() {
    dir=$(pwd)/$tmp.d
    mkdir -p "$dir"
    ln -sf "$SRCDIR/share/rill-tales.gguf" "$dir/model.gguf"
    printf 'Once upon a time there was a fox.\nThe fox had a red ball.\n' >"$dir/story.txt"
    examples "$1" >$tmp.lines
    while IFS= read -r line; do
        case $line in *rill-pull*) continue ;; esac
        if [ -f "$SRCDIR/share/rill-tales.gguf" ]; then
            (cd "$dir" && PATH=${dir%/obj/check/*}:$PATH timeout 60 sh -c "$line") \
                </dev/null >$tmp.out 2>&1
            check "$1: example fails: $line: $(tail -n 3 $tmp.out)" $?
        else
            skipped=$((skipped + 1))
        fi
    done <$tmp.lines
    rm -rf "$dir"
}

for page in "$SRCDIR"/man/*.[157]; do
    [ -f "$page" ] || continue
    if command -v mandoc >/dev/null 2>&1; then
        # pages of this project that are not installed here yet cannot be found by mandoc
        mandoc -Tlint -W warning "$page" | grep -v 'referenced manual not found' >$tmp.lint
        [ ! -s $tmp.lint ]
        check "$(cat $tmp.lint)" $?
    else
        skipped=$((skipped + 1))
    fi
    run_examples "$page"
done
echo "tree/options: $passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
