/* quantize_prune.c - layers left out of a model: those behind move up, and the keys that count them
 * say so. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tools/lib/quantize.h"

enum { MAX_LAYERS = 65536 };

void prune_fini(struct prune *p)
{
    mem_free(p->to);
    *p = (struct prune){0};
}

/* "7" or "7-9" at the front of text; what follows it, or NULL. */
static const char *take_range(const char *text, unsigned long *from, unsigned long *to)
{
    char *end;

    if (*text < '0' || *text > '9')
        return NULL;
    *from = *to = strtoul(text, &end, 10);
    if (*end == '-') {
        text = end + 1;
        if (*text < '0' || *text > '9')
            return NULL;
        *to = strtoul(text, &end, 10);
    }
    return *to >= *from ? end : NULL;
}

static int mark(struct prune *p, const char *text, struct err *e)
{
    const char *at = text;

    while (at) {
        unsigned long from, to;

        at = take_range(at, &from, &to);
        if (!at || (*at && *at != ','))
            break;
        if (to >= p->n)
            return err_set(e, E_RANGE, "--prune-layers %.40s: the model has layers 0 to %u", text,
                           p->n - 1);
        for (unsigned long l = from; l <= to; l++)
            p->to[l] = -1;
        if (!*at)
            return 0;
        at++;
    }
    return err_set(e, E_USAGE, "--prune-layers %.40s: expected layers such as 3,7-9", text);
}

int prune_init(struct prune *p, const char *text, const struct gguf *g, struct err *e)
{
    struct slice arch = {"", 0};
    char key[128];
    int rc;

    *p = (struct prune){0};
    if (!text)
        return 0;
    if ((rc = gguf_get_str(g, "general.architecture", &arch, e)) < 0)
        return rc;
    snprintf(key, sizeof key, "%.*s.block_count", (int)(arch.n < 64 ? arch.n : 64), arch.p);
    if ((rc = gguf_get_u32(g, key, &p->n, e)) <= 0)
        return rc < 0 ? rc : gguf_missing(g, key, e);
    if (p->n == 0 || p->n > MAX_LAYERS)
        return err_set(e, E_RANGE, "%s: %u layers", g->path, p->n);
    if (!(p->to = mem_array(p->n, sizeof *p->to, e)))
        return E_NOMEM;
    if ((rc = mark(p, text, e)) < 0)
        return rc;
    for (uint32_t l = 0; l < p->n; l++)
        if (p->to[l] == 0)
            p->to[l] = (int32_t)p->left++;
    return p->left ? 0 : err_set(e, E_USAGE, "--prune-layers %.40s: no layer would stay", text);
}

bool prune_name(const struct prune *p, struct slice name, char out[GGUF_MAX_NAME + 1])
{
    static const char prefix[] = "blk.";
    size_t i = sizeof prefix - 1;
    uint64_t layer = 0;

    memcpy(out, name.p, name.n);
    out[name.n] = 0;
    if (!p->to || !slice_starts(name, SLICE(prefix)))
        return true;
    while (i < name.n && name.p[i] >= '0' && name.p[i] <= '9' && layer < p->n)
        layer = 10 * layer + (uint64_t)(name.p[i++] - '0');
    if (i == sizeof prefix - 1 || i == name.n || name.p[i] != '.' || layer >= p->n)
        return true;
    if (p->to[layer] < 0)
        return false;
    /* a smaller number is not longer */
    snprintf(out, GGUF_MAX_NAME + 1, "blk.%d%.*s", p->to[layer], (int)(name.n - i), name.p + i);
    return true;
}

/* How many of the first n layers stay. */
static uint32_t left_of(const struct prune *p, uint64_t n)
{
    uint32_t left = 0;

    for (uint32_t l = 0; l < p->n && l < n; l++)
        left += p->to[l] >= 0;
    return left;
}

/* An array with a value per layer, of fixed-size elements. */
static int prune_array(const struct prune *p, struct gguf_out *w, const struct gguf_key *k,
                       struct err *e)
{
    uint64_t size = k->raw.n / k->array.n;
    char *raw = mem_array(p->left, (size_t)size, e);
    struct gguf_key less = *k;

    if (!raw)
        return E_NOMEM;
    for (uint32_t l = 0; l < p->n; l++)
        if (p->to[l] >= 0)
            memcpy(raw + (uint64_t)p->to[l] * size, k->raw.p + l * size, (size_t)size);
    less.raw = (struct slice){raw, (size_t)(p->left * size)};
    less.array.n = p->left;
    less.array.p = (const uint8_t *)raw;
    gguf_put_key(w, &less);
    mem_free(raw);
    return 0;
}

int prune_key(const struct prune *p, struct gguf_out *w, const struct gguf_key *k, struct err *e)
{
    static const char *const counts[] = {".block_count", ".leading_dense_block_count"};
    const struct gguf_array one = {k->type, 1, (const uint8_t *)k->raw.p, NULL};

    if (p->to && k->type == GGUF_ARR && k->array.n == p->n && k->array.type != GGUF_STR &&
        !slice_starts(k->name, SLICE("tokenizer.")) && !slice_starts(k->name, SLICE("general.")))
        return prune_array(p, w, k, e);
    for (size_t i = 0; p->to && gguf_type_is_int(k->type) && i < ARRAY_LEN(counts); i++)
        if (slice_ends(k->name, slice_of(counts[i]))) {
            int64_t n = gguf_int_at(&one, 0);
            char name[256];

            snprintf(name, sizeof name, "%.*s", (int)(k->name.n < 255 ? k->name.n : 255),
                     k->name.p);
            gguf_put_u32(w, name, left_of(p, n < 0 ? 0 : (uint64_t)n));
            return 0;
        }
    gguf_put_key(w, k);
    return 0;
}
