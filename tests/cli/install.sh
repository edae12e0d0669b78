#!/bin/sh
# install.sh - what "make install DESTDIR=" puts where, and that a program can be built from it.
# Run by tests/run.sh in the build directory.
set -u
: "${SRCDIR:?}" "${CC:=cc}"
T=$(pwd)/obj/check/tmp.install
rm -rf "$T"
mkdir -p "$T"
passed=0 failed=0 skipped=0
ok() { # ok WHAT STATUS
    if [ "$2" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "failed: $1"; fi
}
unset MAKEFLAGS MFLAGS MAKELEVEL || :

make -s install DESTDIR="$T/d" prefix=/opt/rill exec_prefix=/opt/rill bindir=/opt/rill/bin \
    libdir=/opt/rill/lib includedir=/opt/rill/include datadir=/opt/rill/share \
    mandir=/opt/rill/share/man >"$T/log" 2>&1
ok "make install: $(tail -n 3 "$T/log")" $?
root=$T/d/opt/rill
for t in rill-*; do
    case $t in *.* | *\**) continue ;; esac
    [ -x "$t" ] || continue
    "$root/bin/$t" --version >/dev/null && [ -f "$root/share/man/man1/$t.1" ] &&
        [ -f "$root/share/bash-completion/completions/$t" ] &&
        [ -f "$root/share/zsh/site-functions/_$t" ] &&
        [ -f "$root/share/fish/vendor_completions.d/$t.fish" ]
    ok "$t with its manual and completion" $?
done
[ -f "$root/share/man/man7/rill.7" ] && grep -q '^Version: [0-9]' "$root/lib/pkgconfig/rill.pc"
ok 'rill(7) and rill.pc' $?

cat >"$T/use.c" <<'END'
#include <rill/rill.h>
#include <stdio.h>
int main(int argc, char **argv)
{
    struct err e = {0};
    struct rill_model *m = NULL;
    if (argc > 1 && rill_model_open(&m, argv[1], NULL, &e) < 0) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    rill_model_close(m);
    return 0;
}
END
if nm obj/librill.a 2>/dev/null | grep -q ' T rill_model_open$'; then
    # the sanitizer build's library needs the sanitizers
    san=$(sed -n 's/^SANITIZE = \(..*\)/-fsanitize=\1/p' config.mk)
    # shellcheck disable=SC2046,SC2086
    $CC -std=c11 -Wall -Wextra -Werror $san -I"$root/include" -o "$T/use" "$T/use.c" \
        -L"$root/lib" -lrill $(sed -n 's/^LIBS = //p; s/^CUDA_LIBS = //p' config.mk) >"$T/log" 2>&1 &&
        "$T/use" ${TALES:+"$TALES"}
    ok "a program on librill.a: $(head -n 5 "$T/log")" $?
else
    skipped=$((skipped + 1))
    echo 'skipped: no rill_model_open in the library'
fi
if [ -f "$SRCDIR/share/rill-tales.gguf" ] && [ -x rill-run ]; then
    (unset RILL_MODEL; cd "$T" && "$root/bin/rill-run" -p 'Once upon a time' -n 4 >out 2>err) &&
        [ -s "$T/out" ] && grep -q "$root/bin/../share/rill/rill-tales.gguf" "$T/err"
    ok "the installed rill-run finds its model: $(cat "$T/err")" $?
else
    skipped=$((skipped + 1))
    echo 'skipped: no embedded model'
fi
make -s uninstall DESTDIR="$T/d" prefix=/opt/rill bindir=/opt/rill/bin libdir=/opt/rill/lib \
    includedir=/opt/rill/include datadir=/opt/rill/share mandir=/opt/rill/share/man >"$T/log" 2>&1 &&
    [ -z "$(find "$T/d" -type f)" ]
ok "make uninstall leaves: $(find "$T/d" -type f | head -n 3)" $?
rm -rf "$T"
echo "cli/install: $passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
