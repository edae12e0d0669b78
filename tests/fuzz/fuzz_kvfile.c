/* fuzz_kvfile.c - any bytes as a file of keys and values: reading it must fail with a sentence or
 * give texts all of which can be read; and where it is of the model that is there, loading it
 * leaves an engine that works. The other half of the inputs are changes to a file of two texts.
 *
 * The checksum is put right, so that what it guards is looked at.
 */
#define _GNU_SOURCE 1 // memfd_create
#include "tests/fuzz/replay.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/engine.h"
#include "engine/kvfile.h"
#include "model/random.h"

enum { PROMPT = 70, ROOM = 1 << 17 };

static struct {
    int fd;
    char path[32];
    struct rill_model *model;
    struct rill_engine *g;
    char good[ROOM]; // [n_good]
    size_t n_good;
} fz = {.fd = -1};

static void need(bool ok)
{
    if (!ok)
        abort();
}

static void run(int n, int first)
{
    int32_t ids[PROMPT];
    struct rill_request q = {.ids = ids, .n_ids = (size_t)n, .max_tokens = 2};
    struct rill_event ev[4];
    struct err e = {0};
    int number;

    for (int i = 0; i < n; i++)
        ids[i] = 3 + i + (i < 40 ? 0 : first);
    q.sampling = rill_sampling_defaults();
    need(rill_engine_submit(fz.g, &q, &number, &e) == 0);
    while (rill_engine_step(fz.g, ev, 4, &e) > 0)
        ;
}

/* A model of made weights, an engine, and a file of it. */
static void begin(void)
{
    const struct random_model m = {.shape = "dim=32,layers=1,ffn=32,vocab=300", .type = "F32"};
    const struct rill_model_opts mo = {.device = "cpu:1", .n_ctx = 256};
    const struct rill_engine_opts eo = {.max_seq = 2, .kv_bytes = 8 << 20};
    char path[64];
    struct rill_kv kv;
    struct err e = {0};
    int fd;

    snprintf(path, sizeof path, "/tmp/fuzz-kvfile-%ld", (long)getpid());
    need(random_model_write(path, &m, &e) == 0);
    need(rill_model_open(&fz.model, path, &mo, &e) == 0);
    need(rill_engine_open(&fz.g, fz.model, &eo, &e) == 0);
    run(PROMPT, 0);
    run(PROMPT, 1);
    need(rill_engine_kv_known(fz.g, 0, &kv, &e) == 0 && kv.n_more == 1);
    need(rill_engine_kv_save(fz.g, &kv, path, &e) == 0);
    rill_kv_fini(&kv);
    fd = open(path, O_RDONLY);
    fz.n_good = (size_t)read(fd, fz.good, ROOM);
    need(fz.n_good < ROOM);
    close(fd);
    unlink(path);
    fz.fd = memfd_create("kv", 0);
    need(fz.fd >= 0);
    snprintf(fz.path, sizeof fz.path, "/proc/self/fd/%d", fz.fd);
}

static void load(char *file, size_t n)
{
    struct rill_kv kv;
    struct err e = {0};
    int rc;

    kvfile_seal(file, n);
    need(ftruncate(fz.fd, 0) == 0 && pwrite(fz.fd, file, n, 0) == (ssize_t)n);
    if (rill_kv_open(&kv, fz.path, &e) < 0) {
        need(e.text[0] != 0);
        return;
    }
    rill_kv_fini(&kv);
    memset(&e, 0, sizeof e);
    rc = rill_engine_kv_load(fz.g, fz.path, &kv, &e);
    if (rc < 0)
        need(e.text[0] != 0);
    else
        rill_kv_fini(&kv);
    if (rc == 0 || n % 8 == 0) // answers take longer than all the rest
        run(PROMPT, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static char file[ROOM];
    size_t size;

    if (fz.fd < 0)
        begin();
    if (n < 16 || n > ROOM)
        return 0;
    memcpy(file, p, n);
    if (!(p[n - 1] & 1)) {
        load(file, n);
        return 0;
    }
    /* places and their new bytes; the first says where the file ends */
    memcpy(file, fz.good, fz.n_good);
    size = p[0] < 200 ? fz.n_good : 16 + (p[1] << 8 | p[2]) % (fz.n_good - 16);
    for (size_t i = 3; i + 4 <= n; i += 4) {
        size_t at = (size_t)(p[i] << 8 | p[i + 1]);

        if (p[i + 2] & 1) // most of what matters lies in front
            at %= 512;
        file[at % fz.n_good] = (char)p[i + 3];
    }
    load(file, size);
    return 0;
}
