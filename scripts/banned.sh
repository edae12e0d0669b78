#!/bin/sh
# banned.sh - calls that are not made here, files that grew too long, and other plain offences.
# Prints each as file:line: and ends like a test program (tests/run.sh).
cd "${SRCDIR:-$(dirname "$0")/..}" || exit 1

find libcore kernels tools tests \( -name '*.[ch]' -o -name '*.inc' -o -name '*.def' \
    -o -name '*.cu' -o -name '*.cuh' \) | sort | tr '\n' '\0' | xargs -0 awk '
function ban(names, why, n, a, i) {
    n = split(names, a, " ")
    for (i = 1; i <= n; i++) reason[a[i]] = why
}
BEGIN {
    ban("strcpy strcat sprintf vsprintf gets strtok strncpy strncat", "can overrun or truncate")
    ban("atoi atol atoll atof", "hides errors: strtol, strtod")
    ban("alloca", "allocates on the stack")
    ban("rand srand random drand48", "base/rng.h")
    ban("tmpnam mktemp tempnam system popen", "unsafe")
    ban("setjmp longjmp", "jumps over cleanup")
    # only in libcore and kernels
    split("printf fprintf vprintf vfprintf puts fputs putchar fputc perror", say, " ")
    split("exit _exit abort raise", leave, " ")
    split("fopen fdopen freopen open creat mmap munmap unlink rename fread fwrite read write", io, " ")
    split("malloc calloc realloc reallocarray strdup strndup aligned_alloc posix_memalign asprintf", mem, " ")
    split("exp expf exp2 exp2f log logf log2f tanh tanhf erf erff sin sinf cos cosf pow powf", libm, " ")
    for (i in say) lib[say[i]] = "the library never prints"
    for (i in leave) lib[leave[i]] = "the library never exits"
    for (i in io) lib[io[i]] = "files go through base/file.h"
    for (i in mem) alloc[mem[i]] = "memory comes from base/mem.h"
    for (i in libm) math[libm[i]] = "kernels use their own functions, never libm"
}
function offence(why) {
    printf "%s:%d: %s\n", FILENAME, FNR, why
    bad[FILENAME] = 1
}
function check_call(name) {
    if (name in reason) offence(name "(): " reason[name])
    if (in_lib && (name in lib) && !(home && (name in lib))) offence(name "(): " lib[name])
    if (!in_tests && !home && (name in alloc)) offence(name "(): " alloc[name])
    if (in_kernels && (name in math)) offence(name "(): " math[name])
}
# what is left of a line without comments and the insides of strings
function code(s, out, c, two, i, n) {
    out = ""
    n = length(s)
    for (i = 1; i <= n; i++) {
        c = substr(s, i, 1)
        two = substr(s, i, 2)
        if (in_comment) {
            if (two == "*/") { in_comment = 0; i++ }
        } else if (quote != "") {
            if (c == "\\") i++
            else if (c == quote) { quote = ""; out = out c }
        } else if (two == "/*") { in_comment = 1; i++ }
        else if (two == "//") break
        else {
            if (c == "\"" || c == "\047") quote = c
            out = out c
        }
    }
    quote = ""
    return out
}
FNR == 1 {
    files++
    in_comment = 0
    in_tests = FILENAME ~ /^tests\//
    in_lib = FILENAME ~ /^(libcore|kernels)\//
    in_kernels = FILENAME ~ /^kernels\//
    home = FILENAME ~ /^libcore\/base\/(mem|file)\.c$/
}
FNR == 1201 { offence("more than 1200 lines: split by subject") }
/[ \t]$/ { offence("space at the end of the line") }
/\t/ { offence("tab") }
/(TODO|FIXME|XXX)[^A-Za-z0-9]/ { offence("unfinished") }
{
    long = $0
    gsub(/[\200-\277]/, "", long) # bytes after the first of a character
    # one long string, such as a regular expression, reads better whole
    if (length(long) > 100) gsub(/"([^"\\]|\\.)*"/, "\"\"", long)
    if (length(long) > 100) offence("more than 100 columns")
    c = code($0)
    if (in_lib && FILENAME !~ /^libcore\/base\// && c ~ /include *<(stdatomic|pthread)\.h>/)
        offence("threads and atomics live in base/thread.c")
    while (match(c, /[A-Za-z_][A-Za-z0-9_]* *\(/)) {
        before = substr(c, RSTART - 1, 1)
        arrow = substr(c, RSTART - 2, 2)
        name = substr(c, RSTART, RLENGTH - 1)
        sub(/ *$/, "", name)
        # a member is somebody else: b->open(...)
        if (before != "." && arrow != "->" && before !~ /[A-Za-z0-9_*]/) check_call(name)
        c = substr(c, RSTART + RLENGTH)
    }
}
END {
    for (f in bad) n++
    printf "tree/banned: %d passed, %d failed\n", files - n, n
    exit n > 0
}'
