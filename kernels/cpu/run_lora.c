/* run_lora.c - adapters: for rows of requests that chose some, y += scale * B (A x), in place; or
 * behind a layer x += scale * v.
 *
 * Each member works on its own rows, or where rows are few on its own columns of y; the small
 * product A x is then made by every member for itself. Which way changes no bit.
 */
#include "kernels/cpu/cpu.h"

#define ROWS 16   // of one request that are worked on together
#define COLS 1024 // of y

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* x and its product with A in the form that rows of floats are read in, the product as it comes,
 * and a piece of y. */
uint64_t lora_own(const struct cpu_kernels *k, int32_t cols)
{
    const struct cpu_dot *d = &k->dot[FMT_F32];

    return ROWS * (uint64_t)(d->packed(cols) + d->packed(LORA_RANK)) +
           sizeof(float) * ROWS * (LORA_RANK + COLS);
}

/* Rows as dot products want them: where they are, or whole vectors in `to`. */
static const uint8_t *packed(const struct cpu_dot *d, const float *x, int64_t ld, int64_t n,
                             int64_t rows, uint8_t *to, size_t *stride)
{
    *stride = (size_t)ld * sizeof *x;
    if (d->packed(n) == (size_t)n * sizeof *x)
        return (const uint8_t *)x;
    *stride = d->packed(n);
    for (int64_t i = 0; i < rows; i++)
        d->pack(x + i * ld, n, to + (size_t)i * *stride);
    return to;
}

/* One adapter's part of rows [i, i + n), columns [r0, r1). */
static void apply(const struct cpu_ctx *c, const struct cpu_step *s, const struct lora_mat *m,
                  float scale, int64_t i, int64_t n, int64_t r0, int64_t r1)
{
    const struct cpu_dot *d = &c->k->dot[FMT_F32];
    const int64_t cols = s->in[0].cols, rank = m->rank;
    uint8_t *x_at = c->own, *low_at = x_at + ROWS * d->packed(cols);
    float *low = (float *)(low_at + ROWS * d->packed(LORA_RANK)), *tile = low + ROWS * LORA_RANK;
    size_t stride;
    const uint8_t *x = packed(d, val_row(c, &s->in[0], i), s->in[0].ld, cols, n, x_at, &stride);

    d->rows(low, rank, m->a, (size_t)cols * sizeof(float), x, stride, cols, 0, rank, n);
    x = packed(d, low, rank, rank, n, low_at, &stride);
    for (int64_t r = r0; r < r1; r += COLS) {
        const int64_t k = least(COLS, r1 - r);

        d->rows(tile, k, m->b + r * rank, (size_t)rank * sizeof(float), x, stride, rank, 0, k, n);
        for (int64_t j = 0; j < n; j++) {
            float *y = val_row(c, &s->out[0], i + j) + r;

            c->k->finish(y, tile + j * k, NULL, y, k, ACT_NONE, scale);
        }
    }
}

/* The request of row i of a value. */
static const struct seq_in *seq_of(const struct cpu_ctx *c, const struct cpu_step *s, int64_t i)
{
    const int32_t t = s->out[0].rows == ROWS_S ? c->b->out[i] : (int32_t)i;

    return &c->b->seqs[c->b->seq[t]];
}

void run_lora(const struct cpu_ctx *c, const struct cpu_step *s)
{
    const int64_t n = rows_of(c, s->out[0].rows);
    int64_t a = 0, b = n, r0 = 0, r1 = s->out[0].cols, end;

    if (n >= c->n)
        share(c, n, 1, &a, &b);
    else
        share(c, s->out[0].cols, 16, &r0, &r1);
    for (int64_t i = a; i < b; i = end) {
        const struct seq_in *q = seq_of(c, s, i);

        for (end = i + 1; end < b && end - i < ROWS && seq_of(c, s, end) == q;)
            end++;
        for (int k = 0; k < q->n_lora; k++) {
            const struct lora_mat *mat = c->seg->lora[q->lora[k].slot].mat;
            const struct lora_mat *m = mat ? &mat[s->op->w[0]] : NULL;

            if (m && m->rank > 0 && r0 < r1)
                apply(c, s, m, m->scale * q->lora[k].scale, i, end - i, r0, r1);
        }
    }
}

void run_steer(const struct cpu_ctx *c, const struct cpu_step *s)
{
    int64_t a, b;

    share(c, rows_of(c, s->out[0].rows), 1, &a, &b);
    for (int64_t i = a; i < b; i++) {
        const struct seq_in *q = seq_of(c, s, i);
        float *x = val_row(c, &s->out[0], i);

        for (int k = 0; k < q->n_lora; k++) {
            const struct lora_slot *l = &c->seg->lora[q->lora[k].slot];
            const float *v = l->dir ? l->dir[s->op->layer] : NULL;

            if (v)
                c->k->mul_add(x, v, s->out[0].cols, q->lora[k].scale, false);
        }
    }
}
