/* inspect_check.c - weights that are no number. */
#include "tools/lib/inspect.h"

#include <math.h>

#include "base/mem.h"
#include "base/thread.h"
#include "tools/lib/tool.h"

struct count {
    uint64_t nan, inf;
};

static void count_floats(const float *x, size_t n, struct count *c)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;

        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffff;
        c->inf += bits == 0x7f800000;
        c->nan += bits > 0x7f800000;
    }
}

/* No scale or minimum that could take a weight out of the finite: codes are below 2^8. */
static bool scales_tame(const struct fmt_info *f, const void *block)
{
    float s[FMT_SUBS_MAX] = {0};
    float m[FMT_SUBS_MAX] = {0};
    bool tame = true;

    f->scales(block, s, m);
    for (int i = 0; i < f->block / f->sub; i++)
        tame = tame && fabsf(s[i]) < 1e35f && fabsf(m[i]) < 1e35f; /* false for NaN */
    return tame;
}

static void count_blocks(const struct fmt_info *f, const uint8_t *p, uint64_t n, struct count *c)
{
    float x[FMT_BLOCK_MAX];
    size_t step = f->sub ? 1 : FMT_BLOCK_MAX / (size_t)f->block;

    for (uint64_t i = 0; i < n; i += step) {
        const uint8_t *block = p + i * (size_t)f->bytes;

        if (step > n - i)
            step = (size_t)(n - i);
        if (f->sub && scales_tame(f, block))
            continue;
        f->decode(block, x, step);
        count_floats(x, step * (size_t)f->block, c);
    }
}

struct check {
    const struct fmt_info *f;
    struct count *member; // [team]
};

static int check_chunk(void *arg, const struct scan *s, int member, uint64_t chunk, uint64_t row,
                       uint64_t n, const uint8_t *rows, struct err *e)
{
    const struct check *k = arg;
    const struct gguf_tensor *t = &s->src->g->tensor[s->tensor];

    (void)chunk;
    (void)row;
    (void)e;
    count_blocks(k->f, rows, n * (t->ne[0] / (uint64_t)k->f->block), &k->member[member]);
    return 0;
}

static void show_counts(struct show *o, const char *kind, struct slice name, int width,
                        uint64_t weights, const struct count *c, struct err *e)
{
    row_begin(o, kind);
    field_text(o, "name", width, name);
    field_num(o, "weights", 14, weights);
    field_num(o, "nan", 12, c->nan);
    field_num(o, "inf", 12, c->inf);
    row_end(o, e);
}

/* The NaN and infinite weights of tensor i. */
static int check_tensor(struct scan *s, struct check *k, uint32_t i, struct count *out,
                        struct err *e)
{
    int rc;

    s->fn = check_chunk;
    s->arg = k;
    rc = scan_tensor(s, i, e);
    *out = (struct count){0};
    for (int m = 0; m < team_size(s->team); m++) {
        out->nan += k->member[m].nan;
        out->inf += k->member[m].inf;
        k->member[m] = (struct count){0};
    }
    return rc;
}

/* Rows for people name only what was found, unless o->verbose. */
static int check_tensors(struct show *o, struct scan *s, struct count *member, struct err *e)
{
    const struct gguf *g = s->src->g;
    struct count all = {0};
    struct progress progress;
    uint64_t weights = 0, bytes = 0;
    int width = name_width(g), rc = 0;
    bool found = false;

    heading(o, "check: tensor, weights, NaN, infinite");
    for (uint32_t i = 0; i < g->n_tensor; i++) {
        uint64_t n = weights_of(&g->tensor[i]);

        weights = n > UINT64_MAX - weights ? UINT64_MAX : weights + n;
        bytes += g->tensor[i].bytes;
    }
    progress_begin(&progress, "checking", bytes, true);
    bytes = 0;
    for (uint32_t i = 0; i < g->n_tensor && rc == 0 && !e->code; i++) {
        const struct gguf_tensor *t = &g->tensor[i];
        struct check k = {format_of(t), member};
        struct count c;

        if (!k.f) {
            tool_warn("tensor %u is of the unknown type %u: not checked", i + 1, t->type);
            found = true;
            continue;
        }
        if (i + 1 < g->n_tensor && g->tensor[i + 1].p)
            gguf_willneed(g, &g->tensor[i + 1]);
        if ((rc = check_tensor(s, &k, i, &c, e)) < 0)
            break;
        all.nan += c.nan;
        all.inf += c.inf;
        if (o->json || o->tsv || c.nan || c.inf || o->verbose)
            show_counts(o, "check", t->name, width, weights_of(t), &c, e);
        progress_at(&progress, bytes += t->bytes);
    }
    progress_end(&progress);
    if (rc == 0)
        show_counts(o, "check_total", SLICE("all"), width, weights, &all, e);
    return e->code ? e->code : found || all.nan || all.inf;
}

int show_check(struct show *o, struct source *src, int threads, struct err *e)
{
    struct scan s;
    struct count *member = NULL;
    int rc = scan_init(&s, src, threads, e);

    if (rc == 0 && !(member = mem_array((uint64_t)team_size(s.team), sizeof *member, e)))
        rc = E_NOMEM;
    if (rc == 0)
        rc = check_tensors(o, &s, member, e);
    scan_fini(&s);
    mem_free(member);
    return rc;
}
