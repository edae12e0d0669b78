/* inspect_hash.c - what tells a tensor's content, and a model's, from others.
 *
 * XXH3 with 128 bits: it finds every accident, but is no proof against somebody who makes two files
 * with the same hash on purpose.
 */
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/mem.h"
#include "tools/lib/inspect.h"
#include "tools/lib/tool.h"

enum { BATCH_BYTES = 4 << 20 };

static void to_hex(XXH128_hash_t hash, char out[33])
{
    XXH128_canonical_t c;

    XXH128_canonicalFromHash(&c, hash);
    for (size_t i = 0; i < sizeof c.digest; i++)
        snprintf(out + 2 * i, 3, "%02x", c.digest[i]);
}

static int hash_of(struct source *src, uint32_t i, XXH128_hash_t *out, struct err *e)
{
    const struct gguf_tensor *t = &src->g->tensor[i];
    uint64_t bytes = source_row_bytes(t), n = source_n_rows(t);
    uint64_t per = bytes ? BATCH_BYTES / bytes : 1;
    uint8_t *raw = NULL;
    XXH3_state_t s;
    int rc = 0;

    per = per == 0 ? 1 : per < n ? per : n;
    XXH3_128bits_reset(&s);
    if (!t->p && t->bytes && !(raw = mem_array(per, (size_t)bytes, e)))
        return E_NOMEM;
    for (uint64_t row = 0; t->bytes && row < n && rc == 0; row += per) {
        uint64_t rows = n - row < per ? n - row : per;
        const uint8_t *p;

        if ((rc = scan_rows(src, i, row, rows, raw, &p, e)) == 0)
            XXH3_128bits_update(&s, p, (size_t)(rows * bytes));
        if (tool_interrupted())
            rc = err_set(e, E_CANCELLED, "interrupted");
    }
    source_done(src, i);
    mem_free(raw);
    *out = XXH3_128bits_digest(&s);
    return rc;
}

int hash_tensor(struct source *src, uint32_t i, char out[33], struct err *e)
{
    XXH128_hash_t h;
    int rc = hash_of(src, i, &h, e);

    to_hex(h, out);
    return rc;
}

struct hashed {
    const struct gguf_tensor *t;
    XXH128_hash_t hash;
};

static int by_name(const void *a, const void *b)
{
    struct slice x = ((const struct hashed *)a)->t->name, y = ((const struct hashed *)b)->t->name;
    int c = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);

    return c ? c : (x.n > y.n) - (x.n < y.n);
}

static void add_u64(XXH3_state_t *s, uint64_t v)
{
    uint8_t b[8];

    for (int i = 0; i < 8; i++)
        b[i] = (uint8_t)(v >> (8 * i));
    XXH3_128bits_update(s, b, sizeof b);
}

/* Of all tensors in the order of their names: name, 0, type, the four dimensions, and the hash. */
static void hash_all(struct hashed *h, uint32_t n, char out[33])
{
    XXH3_state_t s;
    XXH128_canonical_t c;

    qsort(h, n, sizeof *h, by_name);
    XXH3_128bits_reset(&s);
    for (uint32_t i = 0; i < n; i++) {
        XXH3_128bits_update(&s, h[i].t->name.p, h[i].t->name.n);
        XXH3_128bits_update(&s, "", 1);
        add_u64(&s, h[i].t->type);
        for (int d = 0; d < GGUF_MAX_DIMS; d++)
            add_u64(&s, h[i].t->ne[d]);
        XXH128_canonicalFromHash(&c, h[i].hash);
        XXH3_128bits_update(&s, c.digest, sizeof c.digest);
    }
    to_hex(XXH3_128bits_digest(&s), out);
}

int show_hashes(struct show *o, struct source *src, struct err *e)
{
    const struct gguf *g = src->g;
    struct hashed *h = mem_array(g->n_tensor + 1u, sizeof *h, e);
    int width = name_width(g), rc = h ? 0 : E_NOMEM;
    char text[33], type[24];
    struct progress bar;
    uint64_t bytes = 0;

    heading(o, "hashes (XXH3-128):");
    for (uint32_t i = 0; i < g->n_tensor; i++)
        bytes += g->tensor[i].bytes;
    progress_begin(&bar, "reading", bytes, true);
    bytes = 0;
    for (uint32_t i = 0; i < g->n_tensor && rc == 0 && !e->code; i++) {
        const struct gguf_tensor *t = &g->tensor[i];

        h[i].t = t;
        if (!t->bytes) {
            rc = err_set(e, E_UNSUPPORTED, "%s: tensor %u is of the unknown type %u", g->path,
                         i + 1, t->type);
            break;
        }
        if ((rc = hash_of(src, i, &h[i].hash, e)) < 0)
            break;
        to_hex(h[i].hash, text);
        row_begin(o, "hash");
        field_text(o, "name", width, t->name);
        field_str(o, "type", 8, type_name(t, type));
        field_shape(o, t, 20);
        field_str(o, "xxh3_128", 0, text);
        row_end(o, e);
        progress_at(&bar, bytes += t->bytes);
    }
    progress_end(&bar);
    if (rc == 0) {
        hash_all(h, g->n_tensor, text);
        row_begin(o, "hash_all");
        field_str(o, "name", width, "all");
        field_str(o, "xxh3_128", 0, text);
        row_end(o, e);
        heading(o, "%s", "");
    }
    mem_free(h);
    return rc < 0 ? rc : e->code;
}
