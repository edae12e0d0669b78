/* fuzz_safetensors.c - any bytes as a safetensors file: opening must fail with a sentence or give
 * tensors all of whose bytes can be read.
 */
#include "tests/fuzz/replay.h"

#include <stdlib.h>
#include <string.h>

#include "file/safetensors.h"

static volatile double sink; // keeps the reads

static void need(bool ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct safetensors *s;
    struct err e = {0};
    uint64_t total = 0;

    if (st_open_mem(&s, "f", p, n, &e) < 0) {
        need(strncmp(e.text, "f: ", 3) == 0 && err_exit_status(e.code) == 3);
        return 0;
    }
    for (uint32_t i = 0; i < s->n_tensor; i++) {
        const struct st_tensor *t = &s->tensor[i];

        need(t->p >= p + 8 && t->bytes <= (uint64_t)(p + n - t->p));
        need(t->n * st_type_bytes(t->type) == t->bytes);
        need(st_find(s, t->name) == t);
        total += t->bytes;
        for (uint64_t k = 0; k < t->n; k++)
            sink += st_number(t->type, t->p, k);
    }
    for (uint32_t i = 0; i < s->n_meta; i++)
        for (size_t k = 0; k < s->meta[i].value.n; k++)
            sink += s->meta[i].value.p[k];
    need(total <= n - 8);
    st_close(s);
    return 0;
}
