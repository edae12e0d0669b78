/* inspect_diff.c - in what two models differ: keys, and tensor by tensor.
 *
 * Sums over a tensor are formed chunk by chunk and added in order, so that no figure depends on the
 * number of threads.
 */
#include <math.h>

#include "base/mem.h"
#include "base/thread.h"
#include "kernels/encode.h"
#include "tools/lib/inspect.h"
#include "tools/lib/tool.h"

enum { PIECE_BLOCKS = 16 }; // of the larger kind of the two

/* -- keys -- */

enum part { METADATA, TOKENIZER, TEMPLATE };

static enum part part_of(struct slice name)
{
    if (slice_starts(name, SLICE("tokenizer.chat_template")))
        return TEMPLATE;
    return slice_starts(name, SLICE("tokenizer.")) ? TOKENIZER : METADATA;
}

static bool wanted(const struct diff_parts *p, struct slice name)
{
    const bool by_part[] = {p->metadata, p->tokenizer, p->template};

    return by_part[part_of(name)] && !slice_starts(name, SLICE("split."));
}

static bool same_key(const struct gguf_key *a, const struct gguf_key *b)
{
    return a->type == b->type && slice_eq(a->raw, b->raw) &&
           (a->type != GGUF_ARR || (a->array.type == b->array.type && a->array.n == b->array.n));
}

static bool same_element(const struct gguf_array *a, const struct gguf_array *b, uint64_t i)
{
    if (a->type == GGUF_STR)
        return slice_eq(gguf_str_at(a, i), gguf_str_at(b, i));
    if (gguf_type_is_int(a->type) || a->type == GGUF_BOOL)
        return gguf_int_at(a, i) == gguf_int_at(b, i);
    return gguf_float_at(a, i) == gguf_float_at(b, i);
}

/* Where two values of a kind part: the line of a text, the element of an array. */
static void add_where(struct buf *out, const struct gguf_key *a, const struct gguf_key *b)
{
    uint64_t n = 0;

    if (a->type == GGUF_STR && b->type == GGUF_STR && memchr(a->raw.p, '\n', a->raw.n)) {
        for (size_t i = 0; i < a->raw.n && i < b->raw.n && a->raw.p[i] == b->raw.p[i]; i++)
            n += a->raw.p[i] == '\n';
        buf_printf(out, "from line %llu on", (unsigned long long)n + 1);
    } else if (a->type == GGUF_ARR && b->type == GGUF_ARR && a->array.type == b->array.type) {
        while (n < a->array.n && n < b->array.n && same_element(&a->array, &b->array, n))
            n++;
        buf_printf(out, "from element %llu on", (unsigned long long)n);
    }
}

static void key_side(struct show *o, const char *type_field, const char *field,
                     const struct gguf_key *k)
{
    char type[32];

    if (!k) {
        field_none(o, type_field, 0);
        field_none(o, field, 0);
        return;
    }
    field_str(o, type_field, 0, key_type(k, type));
    field_begin(o, field);
    add_value(o, k);
}

static void show_key_diff(struct show *o, const struct gguf_key *a, const struct gguf_key *b,
                          struct err *e)
{
    static const char *const parts[] = {"metadata", "tokenizer", "template"};
    struct slice name = a ? a->name : b->name;
    struct buf where = {0};

    row_begin(o, "diff_key");
    field_str(o, "part", 9, parts[part_of(name)]);
    field_text(o, "name", 32, name);
    key_side(o, "type_a", "a", a);
    if (!o->json && !o->tsv)
        buf_str(&o->row, "  |");
    key_side(o, "type_b", "b", b);
    if (a && b)
        add_where(&where, a, b);
    if (where.bad)
        err_nomem(e, where.n);
    if (where.n)
        field_text(o, "where", 0, buf_view(&where));
    else if (o->json || o->tsv)
        field_none(o, "where", 0);
    buf_fini(&where);
    row_end(o, e);
}

/* Returns how many differ. */
static uint64_t diff_keys(struct show *o, const struct gguf *a, const struct gguf *b,
                          const struct diff_parts *parts, struct err *e)
{
    uint64_t n = 0;
    uint32_t at;

    for (uint32_t i = 0; i < a->n_key && !e->code; i++) {
        const struct gguf_key *k = &a->key[i], *other = NULL;

        if (!wanted(parts, k->name))
            continue;
        if (map_get(&b->key_map, k->name, &at))
            other = &b->key[at];
        if (other && same_key(k, other))
            continue;
        show_key_diff(o, k, other, e);
        n++;
    }
    for (uint32_t i = 0; i < b->n_key && !e->code; i++) {
        const struct gguf_key *k = &b->key[i];

        if (!wanted(parts, k->name) || map_get(&a->key_map, k->name, &at))
            continue;
        show_key_diff(o, NULL, k, e);
        n++;
    }
    return n;
}

/* -- tensors -- */

struct sums {
    double most, error; // largest and sum of |a - b|
    double dot, aa, bb; // for the cosine
    bool differ;        // in any bit
};

struct pair {
    struct source *b;
    uint32_t ib;
    const struct fmt_info *fa, *fb;
    struct decoder da, db;
    uint8_t **raw;      // [team] b's rows
    struct sums *chunk; // [scan_chunks]
};

static void add_numbers(const float *x, const float *y, size_t n, struct sums *s)
{
    for (size_t i = 0; i < n; i++) {
        double a = (double)x[i], b = (double)y[i];
        double d = a == b ? 0.0 : fabs(a - b); /* infinite both: no difference */

        s->most = d > s->most || isnan(d) ? d : s->most;
        s->error += d;
        s->dot += a * b;
        s->aa += a * a;
        s->bb += b * b;
    }
}

static int pair_chunk(void *arg, const struct scan *s, int member, uint64_t chunk, uint64_t row,
                      uint64_t n, const uint8_t *rows, struct err *e)
{
    const struct pair *p = arg;
    const struct gguf_tensor *ta = &s->src->g->tensor[s->tensor], *tb = &p->b->g->tensor[p->ib];
    uint64_t left = n * ta->ne[0];
    struct sums *sum = &p->chunk[chunk];
    const uint8_t *other;
    float x[PIECE_BLOCKS * FMT_BLOCK_MAX], y[PIECE_BLOCKS * FMT_BLOCK_MAX];
    int rc = scan_rows(p->b, p->ib, row, n, p->raw[member], &other, e);

    if (rc < 0)
        return rc;
    sum->differ =
        ta->type != tb->type || memcmp(rows, other, (size_t)(n * source_row_bytes(ta))) != 0;
    while (left > 0) {
        uint64_t step = ARRAY_LEN(x) < left ? ARRAY_LEN(x) : left;
        uint64_t na = step / (uint64_t)p->fa->block, nb = step / (uint64_t)p->fb->block;

        p->da.run(rows, x, (size_t)na);
        p->db.run(other, y, (size_t)nb);
        add_numbers(x, y, (size_t)step, sum);
        rows += na * (uint64_t)p->fa->bytes;
        other += nb * (uint64_t)p->fb->bytes;
        left -= step;
    }
    return 0;
}

static int compare(struct scan *s, uint32_t i, struct pair *p, struct sums *out, struct err *e)
{
    const struct gguf_tensor *ta = &s->src->g->tensor[i], *tb = &p->b->g->tensor[p->ib];
    uint64_t n = scan_chunks(ta);
    int rc = decoder_find(&p->da, (int)ta->type, e), members = team_size(s->team);

    *out = (struct sums){0};
    rc = rc < 0 ? rc : decoder_find(&p->db, (int)tb->type, e);
    rc = rc < 0 ? rc : source_begin(p->b, p->ib, e);
    p->raw = mem_array((uint64_t)members, sizeof *p->raw, e);
    p->chunk = mem_array(n, sizeof *p->chunk, e);
    if (rc == 0 && (!p->raw || !p->chunk))
        rc = E_NOMEM;
    /* a chunk has as many rows of b as of a, and at most 64 Ki weights or one row */
    for (int m = 0; m < members && !tb->p && rc == 0; m++) {
        uint64_t rows = (1 << 16) / tb->ne[0];

        rows = rows == 0 ? 1 : rows < source_n_rows(tb) ? rows : source_n_rows(tb);
        if (!(p->raw[m] = mem_array(rows, (size_t)source_row_bytes(tb), e)))
            rc = E_NOMEM;
    }
    s->fn = pair_chunk;
    s->arg = p;
    if (rc == 0)
        rc = scan_tensor(s, i, e);
    for (uint64_t c = 0; c < n && rc == 0; c++) {
        const struct sums *k = &p->chunk[c];

        out->most = k->most > out->most || isnan(k->most) ? k->most : out->most;
        out->error += k->error;
        out->dot += k->dot;
        out->aa += k->aa;
        out->bb += k->bb;
        out->differ |= k->differ;
    }
    for (int m = 0; m < members && p->raw; m++)
        mem_free(p->raw[m]);
    source_done(p->b, p->ib);
    mem_free(p->raw);
    mem_free(p->chunk);
    return rc;
}

static void tensor_side(struct show *o, const char *type_field, const char *hash_field,
                        const struct gguf_tensor *t, const char *hash)
{
    char type[24];

    if (t) {
        field_str(o, type_field, 8, type_name(t, type));
        field_str(o, hash_field, 32, *hash ? hash : "-");
    } else {
        field_none(o, type_field, 8);
        field_none(o, hash_field, 32);
    }
}

static bool same_shape(const struct gguf_tensor *a, const struct gguf_tensor *b)
{
    return memcmp(a->ne, b->ne, sizeof a->ne) == 0;
}

/* One tensor of either or both models: 1 when they differ. a, b: its place, or -1. */
static int diff_tensor(struct show *o, struct scan *s, int64_t a, struct source *src_b, int64_t b,
                       int width, struct err *e)
{
    struct source *src_a = s->src;
    const struct gguf_tensor *ta = a < 0 ? NULL : &src_a->g->tensor[a];
    const struct gguf_tensor *tb = b < 0 ? NULL : &src_b->g->tensor[b];
    struct pair p = {.b = src_b, .ib = (uint32_t)b};
    char hash_a[33] = "", hash_b[33] = "";
    const char *status = !tb ? "only_a" : !ta ? "only_b" : "same";
    struct sums sum = {0};
    bool compared = false;
    double n;
    int rc = 0;

    if (ta && ta->bytes)
        rc = hash_tensor(src_a, (uint32_t)a, hash_a, e);
    if (tb && tb->bytes && rc == 0)
        rc = hash_tensor(src_b, (uint32_t)b, hash_b, e);
    if (ta && tb && rc == 0) {
        p.fa = format_of(ta);
        p.fb = format_of(tb);
        if (!same_shape(ta, tb)) {
            status = "shape";
        } else if (p.fa && p.fb) {
            rc = compare(s, (uint32_t)a, &p, &sum, e);
            status = sum.differ ? "differ" : "same";
            compared = true;
        } else {
            status = "unknown";
        }
    }
    if (rc < 0 || (slice_is(slice_of(status), "same") && !o->verbose && !o->json && !o->tsv))
        return rc;
    n = (double)weights_of(ta ? ta : tb);
    row_begin(o, "diff_tensor");
    field_text(o, "name", width, ta ? ta->name : tb->name);
    field_str(o, "status", 7, status);
    tensor_side(o, "type_a", "hash_a", ta, hash_a);
    tensor_side(o, "type_b", "hash_b", tb, hash_b);
    if (compared) {
        double norms = sqrt(sum.aa) * sqrt(sum.bb);

        field_real(o, "max_error", 12, sum.most);
        field_real(o, "mean_error", 12, sum.error / n);
        field_real(o, "cosine", 0, norms > 0.0 ? sum.dot / norms : sum.differ ? 0.0 : 1.0);
    } else if (o->json || o->tsv) {
        field_none(o, "max_error", 0);
        field_none(o, "mean_error", 0);
        field_none(o, "cosine", 0);
    }
    row_end(o, e);
    return e->code ? e->code : status[0] != 's' || status[1] != 'a';
}

static int diff_tensors(struct show *o, struct source *a, struct source *b, int threads,
                        uint64_t *n, struct err *e)
{
    struct scan s;
    struct progress bar;
    int wa = name_width(a->g), wb = name_width(b->g), width = wa > wb ? wa : wb;
    int rc = scan_init(&s, a, threads, e);

    heading(o, "tensors: status, type and XXH3-128 in A and in B, largest and mean error, cosine");
    progress_begin(&bar, "comparing", a->g->n_tensor + b->g->n_tensor, false);
    for (uint32_t i = 0; i < a->g->n_tensor && rc >= 0; i++) {
        uint32_t at;
        bool both = map_get(&b->g->tensor_map, a->g->tensor[i].name, &at);

        rc = diff_tensor(o, &s, i, b, both ? (int64_t)at : -1, width, e);
        *n += rc > 0;
        progress_at(&bar, i + 1);
    }
    for (uint32_t i = 0; i < b->g->n_tensor && rc >= 0; i++) {
        uint32_t at;

        if (map_get(&a->g->tensor_map, b->g->tensor[i].name, &at))
            continue;
        rc = diff_tensor(o, &s, -1, b, i, width, e);
        *n += rc > 0;
    }
    progress_end(&bar);
    scan_fini(&s);
    return rc < 0 ? rc : 0;
}

int show_diff(struct show *o, struct source *a, struct source *b, const struct diff_parts *parts,
              int threads, struct err *e)
{
    uint64_t keys = 0, tensors = 0;
    int rc = 0;

    if (parts->metadata || parts->tokenizer || parts->template) {
        heading(o, "keys: part, name, type and value in A | in B");
        keys = diff_keys(o, a->g, b->g, parts, e);
    }
    if (parts->tensors && !e->code)
        rc = diff_tensors(o, a, b, threads, &tensors, e);
    if (rc == 0 && !e->code) {
        row_begin(o, "diff");
        if (o->json || o->tsv) {
            field_num(o, "keys", 0, keys);
            field_num(o, "tensors", 0, tensors);
        } else if (keys || tensors) {
            buf_printf(&o->row, "they differ in %llu key%s and %llu tensor%s",
                       (unsigned long long)keys, keys == 1 ? "" : "s", (unsigned long long)tensors,
                       tensors == 1 ? "" : "s");
        } else {
            buf_str(&o->row, "they are the same");
        }
        row_end(o, e);
    }
    return rc < 0 ? rc : e->code ? e->code : keys || tensors;
}
