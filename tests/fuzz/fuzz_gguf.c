/* fuzz_gguf.c - any bytes as a GGUF file: opening must fail with a sentence or give a view all of
 * which can be read.
 */
#include "tests/fuzz/replay.h"

#include <stdlib.h>
#include <string.h>

#include "file/gguf.h"
#include "quant/quant.h"

static volatile uint64_t sink; // keeps the reads

static void need(bool ok)
{
    if (!ok)
        abort();
}

static void read_key(const struct gguf *g, const struct gguf_key *k)
{
    char name[256];
    struct gguf_array a;
    struct slice s;
    uint32_t u[3];
    float f[3];
    bool b[3];
    int64_t i64;
    uint64_t sum = 0;

    for (size_t i = 0; i < k->raw.n; i++)
        sum += (unsigned char)k->raw.p[i];
    for (uint64_t i = 0; i < k->array.n; i++) {
        s = gguf_str_at(&k->array, i);
        for (size_t j = 0; j < s.n; j++)
            sum += (unsigned char)s.p[j];
        sum += (uint64_t)gguf_int_at(&k->array, i) + (gguf_float_at(&k->array, i) > 0);
    }
    sink += sum;
    if (k->name.n >= sizeof name || memchr(k->name.p, 0, k->name.n))
        return;
    memcpy(name, k->name.p, k->name.n);
    name[k->name.n] = 0;
    need(gguf_find(g, name) == k);
    gguf_get_u32(g, name, u, NULL);
    gguf_get_i64(g, name, &i64, NULL);
    gguf_get_u64(g, name, &sum, NULL);
    gguf_get_f32(g, name, f, NULL);
    gguf_get_bool(g, name, b, NULL);
    gguf_get_str(g, name, &s, NULL);
    gguf_get_strs(g, name, &a, NULL);
    gguf_get_u32s(g, name, u, 3, NULL);
    gguf_get_f32s(g, name, f, 3, NULL);
    gguf_get_bools(g, name, b, 3, NULL);
}

static void read_tensor(const struct gguf *g, const struct gguf_tensor *t)
{
    const struct fmt_info *f = t->bytes ? fmt_find((int)t->type) : NULL;
    const struct gguf_part *part = &g->part[t->part];
    float out[FMT_BLOCK_MAX];

    if (!f)
        return;
    need(t->p >= part->view.p + part->data_at);
    need(t->bytes <= (uint64_t)(part->view.p + part->view.n - t->p));
    /* the first and the last block: the ones that could lie outside */
    f->decode(t->p, out, 1);
    sink += (uint64_t)(out[0] > 0);
    f->decode(t->p + t->bytes - (size_t)f->bytes, out, 1);
    sink += (uint64_t)(out[0] > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct err e = {0};
    struct gguf *g;
    char shown[64];
    uint64_t *aligned = malloc(n + 8); /* as a mapping or file_read() would be */

    if (!aligned)
        return 0;
    memcpy(aligned, p, n);
    if (gguf_open_mem(&g, "f", aligned, n, &e) < 0) {
        need(strncmp(e.text, "f: ", 3) == 0 && err_exit_status(e.code) == 3);
        free(aligned);
        return 0;
    }
    for (uint32_t i = 0; i < g->n_key; i++) {
        read_key(g, &g->key[i]);
        need(strlen(gguf_show(shown, sizeof shown, g->key[i].name)) < sizeof shown);
    }
    for (uint32_t i = 0; i < g->n_tensor; i++)
        read_tensor(g, &g->tensor[i]);
    gguf_close(g);
    free(aligned);
    return 0;
}
