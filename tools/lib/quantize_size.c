/* quantize_size.c - types that fit a number of bytes, chosen by measured errors.
 *
 * Of each tensor some rows are encoded in every candidate format; the error is the squared one over
 * the sum of squares, with an importance matrix that of what the matrix puts out. What one matrix
 * loses of its own output counts like what another loses, however large they are: then the sum over
 * tensors is to be least within the bytes. For that a price per byte is looked for at which the
 * cheapest choices just fit, and what is left is spent where it gains most.
 */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/thread.h"
#include "kernels/encode.h"
#include "quant/search.h"
#include "tools/lib/quantize.h"
#include "tools/lib/tool.h"

enum { SAMPLE_WEIGHTS = 1 << 16, LEAST_ROWS = 8, MAX_CHOICES = 24 };

int tensor_means(const struct imatrix *im, const char *path, const struct gguf_tensor *t,
                 float **out, struct err *e)
{
    const struct imatrix_entry *x = im ? imatrix_find(im, t->name) : NULL;
    char name[96];
    uint64_t n = t->ne[0] * t->ne[2];

    *out = NULL;
    if (!x)
        return 0;
    if ((uint64_t)x->cols * x->mats != n) {
        if (slice_is(t->name, "token_embd.weight"))
            return 0; /* counted as the output it also is, or not at all */
        return err_set(e, E_FORMAT, "%s: tensor '%s': %u x %u values, the model has %llu x %llu",
                       path, gguf_show(name, sizeof name, t->name), x->mats, x->cols,
                       (unsigned long long)t->ne[2], (unsigned long long)t->ne[0]);
    }
    if (!(*out = mem_array(n, sizeof **out, e)))
        return E_NOMEM;
    imatrix_means(x, *out);
    return 0;
}

/* -- measuring -- */

/* In the order of their bits; those that need an importance matrix only with one. */
static const struct {
    int fmt;
    bool weighted;
} candidates[] = {
    {FMT_IQ2_XXS, true}, {FMT_IQ2_XS, true}, {FMT_IQ2_S, true}, {FMT_Q2_K, false},
    {FMT_IQ3_XXS, true}, {FMT_IQ3_S, true},  {FMT_Q3_K, false}, {FMT_IQ4_XS, false},
    {FMT_IQ4_NL, false}, {FMT_Q4_K, false},  {FMT_Q4_0, false}, {FMT_Q4_1, false},
    {FMT_Q5_K, false},   {FMT_Q5_0, false},  {FMT_Q5_1, false}, {FMT_Q6_K, false},
    {FMT_Q8_0, false},   {FMT_F16, false},
};

struct choice {
    int fmt;
    uint64_t bytes; // of the tensor, padded
    double error;
};

struct choices {
    struct choice at[MAX_CHOICES];
    int n, now;
};

struct member {
    uint8_t *raw, *blocks;
    float *x, *y;
    struct err e;
};

struct measure {
    const struct size_in *in;
    uint32_t i; // tensor in work
    const struct gguf_tensor *t;
    const float *means;
    uint64_t n_row; // of the sample
    int fmt[MAX_CHOICES], n_fmt;
    const struct encoder *enc[MAX_CHOICES];
    struct decoder from, to[MAX_CHOICES];
    double *error, *base; // [n_fmt x n_row], [n_row]
    struct member *m;
};

static double error_of(const float *x, const float *y, const float *w, uint64_t n)
{
    double sum = 0.0;

    for (uint64_t i = 0; i < n; i++) {
        double d = (double)x[i] - (y ? (double)y[i] : 0.0);

        sum += (w ? (double)w[i] : 1.0) * d * d;
    }
    return sum;
}

static void measure_rows(void *arg, int member, int n)
{
    const struct measure *k = arg;
    const struct gguf_tensor *t = k->t;
    struct member *m = &k->m[member];
    uint64_t cols = t->ne[0], rows = source_n_rows(t);

    thread_ieee();
    for (uint64_t r = (uint64_t)member; r < k->n_row && !m->e.code; r += (uint64_t)n) {
        uint64_t row = (uint64_t)((double)rows * (double)r / (double)k->n_row);
        const float *w = k->means ? k->means + row / t->ne[1] % t->ne[2] * cols : NULL;
        const uint8_t *p = t->p ? t->p + row * source_row_bytes(t) : m->raw;

        if (!t->p && source_rows(k->in->src, k->in->from[k->i], row, 1, m->raw, &m->e) < 0)
            break;
        decode_row(&k->from, p, cols, m->x);
        k->base[r] = error_of(m->x, NULL, w, cols);
        for (int f = 0; f < k->n_fmt; f++) {
            encode_row(k->enc[f], m->x, w, cols, m->blocks);
            if (k->in->search)
                search_row(k->fmt[f], m->x, w, cols, m->blocks);
            decode_row(&k->to[f], m->blocks, cols, m->y);
            k->error[(uint64_t)f * k->n_row + r] = error_of(m->x, m->y, w, cols);
        }
    }
}

static uint64_t padded(uint64_t bytes, uint32_t alignment)
{
    return (bytes + alignment - 1) / alignment * alignment;
}

static uint64_t bytes_as(const struct gguf_tensor *t, int fmt)
{
    uint64_t n = 0;

    fmt_row_bytes(fmt, t->ne[0], &n);
    return n * source_n_rows(t);
}

/* Which formats tensor t could have. */
static void list_formats(struct measure *k, struct encoder **encoders, struct err *e)
{
    uint64_t bits = 8 * k->t->bytes;

    k->n_fmt = 0;
    for (size_t c = 0; c < ARRAY_LEN(candidates) && !e->code; c++) {
        int f = candidates[c].fmt;

        if (k->t->ne[0] % (uint64_t)fmt_find(f)->block != 0 || f == (int)k->t->type ||
            (candidates[c].weighted && !k->means) || 8 * bytes_as(k->t, f) >= bits)
            continue;
        if ((encoders[f] || encoder_new(&encoders[f], f, e) == 0) &&
            decoder_find(&k->to[k->n_fmt], f, e) == 0) {
            k->enc[k->n_fmt] = encoders[f];
            k->fmt[k->n_fmt++] = f;
        }
    }
}

static int run_measure(struct measure *k, struct choices *out, struct err *e)
{
    int n = team_size(k->in->team), rc = 0;
    uint64_t cols = k->t->ne[0];
    double base = 0.0;

    k->error = mem_array(k->n_row * (uint64_t)k->n_fmt, sizeof *k->error, e);
    k->base = mem_array(k->n_row, sizeof *k->base, e);
    rc = k->error && k->base ? 0 : E_NOMEM;
    for (int m = 0; m < n && rc == 0; m++) {
        struct member *b = &k->m[m];

        *b = (struct member){.raw = mem_array(1, (size_t)source_row_bytes(k->t), e),
                             .blocks = mem_array(cols, 4, e),
                             .x = mem_array(cols, sizeof(float), e),
                             .y = mem_array(cols, sizeof(float), e)};
        rc = b->raw && b->blocks && b->x && b->y ? 0 : E_NOMEM;
    }
    if (rc == 0)
        team_run(k->in->team, measure_rows, k);
    for (int m = 0; m < n; m++) {
        if (rc == 0 && k->m[m].e.code)
            rc = err_set(e, k->m[m].e.code, "%s", k->m[m].e.text);
        mem_free(k->m[m].raw);
        mem_free(k->m[m].blocks);
        mem_free(k->m[m].x);
        mem_free(k->m[m].y);
        k->m[m] = (struct member){0};
    }
    for (uint64_t r = 0; r < k->n_row && rc == 0; r++)
        base += k->base[r];
    for (int f = 0; f < k->n_fmt && rc == 0; f++) {
        double sum = 0.0;

        for (uint64_t r = 0; r < k->n_row; r++)
            sum += k->error[(uint64_t)f * k->n_row + r];
        sum = base > 0.0 ? sum / base : 0.0;
        if (isfinite(sum)) /* else it cannot hold these weights */
            out->at[out->n++] = (struct choice){
                k->fmt[f], padded(bytes_as(k->t, k->fmt[f]), k->in->alignment), sum};
    }
    mem_free(k->error);
    mem_free(k->base);
    return rc;
}

static int measure_tensor(struct size_in *s, uint32_t i, struct member *m,
                          struct encoder **encoders, struct choices *out, struct err *e)
{
    const struct gguf_tensor *t = &s->src->g->tensor[s->from[i]];
    struct measure k = {.in = s, .i = i, .t = t, .m = m};
    uint64_t rows = source_n_rows(t);
    float *means = NULL;
    int rc;

    out->at[0] = (struct choice){(int)t->type, padded(t->bytes, s->alignment), 0.0};
    out->n = 1;
    if (s->t[i].chosen || !s->may(s->arg, i) || !fmt_find((int)t->type) ||
        (fmt_find((int)t->type)->sub && !s->requantize)) {
        out->at[0].fmt = s->t[i].to;
        out->at[0].bytes = padded(bytes_as(t, s->t[i].to), s->alignment);
        out->at[0].error = -1.0;
        return 0;
    }
    k.n_row = SAMPLE_WEIGHTS / t->ne[0];
    k.n_row = k.n_row < LEAST_ROWS ? LEAST_ROWS : k.n_row;
    k.n_row = k.n_row < rows ? k.n_row : rows;
    if ((rc = source_begin(s->src, s->from[i], e)) == 0 &&
        (rc = tensor_means(s->im, "importance matrix", t, &means, e)) == 0 &&
        (rc = decoder_find(&k.from, (int)t->type, e)) == 0) {
        k.means = means;
        list_formats(&k, encoders, e);
        rc = e->code ? e->code : run_measure(&k, out, e);
    }
    source_done(s->src, s->from[i]);
    mem_free(means);
    return rc;
}

/* -- choosing -- */

/* The choice of least error plus price times bytes; of equal ones the smaller. */
static int best_at(const struct choices *c, double price)
{
    int best = 0;

    for (int k = 1; k < c->n; k++) {
        double now = c->at[best].error + price * (double)c->at[best].bytes;
        double then = c->at[k].error + price * (double)c->at[k].bytes;

        if (then < now || (then == now && c->at[k].bytes < c->at[best].bytes))
            best = k;
    }
    return best;
}

static uint64_t choose_at(struct choices *c, uint32_t n, double price)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < n; i++) {
        c[i].now = best_at(&c[i], price);
        bytes += c[i].at[c[i].now].bytes;
    }
    return bytes;
}

/* Spends what is left: one step up at a time, where a byte gains most. */
static void spend(struct choices *c, uint32_t n, uint64_t left)
{
    for (;;) {
        double most = 0.0;
        uint32_t which = 0;
        int to = -1;

        for (uint32_t i = 0; i < n; i++) {
            const struct choice *now = &c[i].at[c[i].now];

            for (int k = 0; k < c[i].n; k++) {
                const struct choice *up = &c[i].at[k];
                double gain = now->error - up->error;

                if (up->bytes <= now->bytes || up->bytes - now->bytes > left || gain <= 0.0)
                    continue;
                gain /= (double)(up->bytes - now->bytes);
                if (gain > most) {
                    most = gain;
                    which = i;
                    to = k;
                }
            }
        }
        if (to < 0)
            return;
        left -= c[which].at[to].bytes - c[which].at[c[which].now].bytes;
        c[which].now = to;
    }
}

static int solve(struct choices *c, uint32_t n, uint64_t budget, struct err *e)
{
    double low = -40.0, high = 4.0; /* powers of ten */
    uint64_t bytes = choose_at(c, n, pow(10.0, high));
    char need[16], have[16];

    if (bytes > budget)
        return err_set(e, E_RANGE, "%s of tensors at least, %s fit: no mix is so small",
                       tool_bytes(bytes, need), tool_bytes(budget, have));
    for (int k = 0; k < 60; k++) {
        double mid = (low + high) / 2.0;

        if (choose_at(c, n, pow(10.0, mid)) <= budget)
            high = mid;
        else
            low = mid;
    }
    bytes = choose_at(c, n, pow(10.0, high));
    spend(c, n, budget - bytes);
    return 0;
}

int size_choose(struct size_in *s, struct err *e)
{
    struct encoder *encoders[FMT_ID_END] = {NULL};
    struct choices *c = mem_array(s->n, sizeof *c, e);
    struct member *m = mem_array((uint64_t)team_size(s->team), sizeof *m, e);
    struct progress bar;
    int rc = c && m ? 0 : E_NOMEM;

    progress_begin(&bar, "measuring", s->n, false);
    for (uint32_t i = 0; i < s->n && rc == 0; i++) {
        rc = measure_tensor(s, i, m, encoders, &c[i], e);
        if (rc == 0 && tool_interrupted())
            rc = err_set(e, E_CANCELLED, "interrupted");
        progress_at(&bar, i + 1);
    }
    progress_end(&bar);
    if (rc == 0)
        rc = solve(c, s->n, s->budget, e);
    for (uint32_t i = 0; i < s->n && rc == 0; i++) {
        s->t[i].wanted = s->t[i].to = c[i].at[c[i].now].fmt;
        s->error[i] = c[i].at[c[i].now].error;
    }
    for (int f = 0; f < FMT_ID_END; f++)
        encoder_free(encoders[f]);
    mem_free(c);
    mem_free(m);
    return rc;
}
