/* fuzz_zst.c - any bytes as a compressed file: reading must fail with a sentence, or give bytes
 * that are the same read whole and in pieces; a model in it opens, or a sentence says why not.
 */
#define _GNU_SOURCE
#include "tests/fuzz/replay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "file/gguf.h"
#include "file/zst.h"

enum { MOST = 1 << 20 };

static void need(bool ok)
{
    if (!ok)
        abort();
}

static void need_sentence(int rc, const struct err *e, const char *name)
{
    int status = err_exit_status(rc);

    need(rc < 0 && strncmp(e->text, name, strlen(name)) == 0 && (status == 3 || status == 4));
}

/* In pieces of n bytes; how far they came. */
static uint64_t read_pieces(struct zst *z, uint8_t *out, uint64_t n)
{
    struct err e = {0};
    uint64_t at = 0, got = 1;

    while (got && at < MOST) {
        if (zst_read(z, at, out + at, n < MOST - at ? n : MOST - at, &got, NULL, &e) < 0) {
            need_sentence(e.code, &e, "f: ");
            break;
        }
        at += got;
    }
    return at;
}

static void fuzz_reader(const uint8_t *p, size_t n)
{
    struct file_view v = {p, n, false, NULL};
    struct err e = {0};
    struct zst *z;
    uint8_t *all, *some;
    uint64_t got;
    int rc = zst_open(&z, "f", &v, &e);

    if (rc < 0) {
        need_sentence(rc, &e, "f: ");
        return;
    }
    all = calloc(2, MOST);
    some = all + MOST;
    need(all != NULL);
    if ((rc = zst_read(z, 0, all, MOST, &got, NULL, &e)) < 0) {
        need_sentence(rc, &e, "f: ");
        got = 0;
    } else {
        need(zst_bytes(z) == UINT64_MAX || got == (zst_bytes(z) < MOST ? zst_bytes(z) : MOST));
        need(read_pieces(z, some, 777) == got && memcmp(all, some, got) == 0);
    }
    free(all);
    zst_close(z);
}

static void fuzz_model(const uint8_t *p, size_t n)
{
    int fd = memfd_create("f", 0);
    struct err e = {0};
    struct gguf *g;
    char path[64];
    int rc;

    need(fd >= 0 && write(fd, p, n) == (ssize_t)n);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if ((rc = gguf_open(&g, path, GGUF_PACKED, &e)) < 0) {
        need_sentence(rc, &e, path);
    } else {
        struct gguf_packing z;

        gguf_packing(g, &z);
        if (z.bytes < MOST && (rc = gguf_unpack(g, &e)) < 0)
            need_sentence(rc, &e, path);
        gguf_close(g);
    }
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    if (!zst_magic(p, n))
        return 0;
    fuzz_reader(p, n);
    fuzz_model(p, n);
    return 0;
}
