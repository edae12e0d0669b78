/* replay.h - main() of a fuzz entry built without a fuzzer: runs every file named, or standard
 * input, once. For replaying what was found, for afl-fuzz (... -- ./fuzz_x @@) and for coverage.
 *
 * clang -fsanitize=fuzzer brings its own main(); compile with -DRILL_REPLAY to get this one.
 */
#ifndef RILL_TESTS_FUZZ_REPLAY_H
#define RILL_TESTS_FUZZ_REPLAY_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#ifdef RILL_REPLAY
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

static int replay(const char *path)
{
    struct file_view v;
    struct err e = {0};
    uint8_t *copy;

    if (file_read(&v, path, 0, &e) < 0) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    copy = malloc(v.n ? v.n : 1); /* of exactly that size, for the sanitizer */
    if (copy) {
        memcpy(copy, v.p, v.n);
        LLVMFuzzerTestOneInput(copy, v.n);
    }
    free(copy);
    file_unmap(&v);
    return 0;
}

int main(int argc, char **argv)
{
    int bad = argc < 2 ? replay("-") : 0;

    for (int i = 1; i < argc; i++)
        bad |= replay(argv[i]);
    return bad;
}
#endif

#endif
