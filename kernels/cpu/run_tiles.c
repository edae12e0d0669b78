/* run_tiles.c - the prompt rows of linear and glu where the level has a second path for them.
 *
 * Every member makes columns of the result, piece by piece. A slice of TILES_X inputs stays in its
 * second-level cache while TILES_R rows of the matrix pass, and so do their sums, which are kept as
 * f32 in private memory until all slices are added.
 */
#include <string.h>

#include "kernels/cpu/cpu.h"

enum {
    TILES_X = 512, // rows of inputs at once
    TILES_R = 512, // columns of the result; of a gated pair half of it each
    TILES_UNIT = 32,
    TILES_TAKE = 256,        // columns that a member takes: fewer would fetch the inputs too often
    TILES_LD = TILES_X + 16, // of sums: no power of two, lest all begin in one set of the cache
    TILES_LDR = TILES_R + 16,
};

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t whole(int64_t n)
{
    return (n + TILES_UNIT - 1) / TILES_UNIT * TILES_UNIT;
}

/* Sums of one call, or of a gated pair of calls, a row for each column of the result; 16 rows of
 * results; and then what the level itself needs. */
static const uint64_t sum_bytes = sizeof(float) * (TILES_R * TILES_LD + 16 * TILES_LDR);

uint64_t tiles_own(const struct cpu_tiles *t)
{
    return sum_bytes + t->own;
}

/* Columns [r, r + n_r) of m for rows [i, i + n_x): n_r rows of sums, TILES_LD apart; then those of
 * m2, if it is one, from whole(n_r) on. */
static void sums(const struct cpu_ctx *c, const struct cpu_step *s, const struct cpu_mat *m,
                 const struct cpu_mat *m2, float *y, int64_t r, int64_t n_r, int64_t i, int64_t n_x)
{
    const struct cpu_tile_job j = {
        .fmt = m->fmt,
        .w = m->w + (size_t)r * m->row_bytes,
        .w2 = m2 ? m2->w + (size_t)r * m->row_bytes : NULL,
        .row_bytes = m->row_bytes,
        .x = slot_ptr(c, s->xt.slot) + (size_t)i * s->xt.stride,
        .x_bytes = s->xt.stride,
        .n = m->cols,
        .n_r = n_r,
        .n_x = n_x,
    };

    s->tiles->rows(y, TILES_LD, &j, c->own + sum_bytes);
}

/* n results of row j, in order: with the first of 16 rows all of them are turned. */
static float *result_row(const struct cpu_ctx *c, const struct cpu_step *s, const float *y,
                         int64_t n, int64_t j)
{
    float *to = (float *)c->own + TILES_R * TILES_LD;

    if (j % 16 == 0)
        s->tiles->back(to, TILES_LDR, y + j, TILES_LD, n);
    return to + j % 16 * TILES_LDR;
}

/* Columns [r0, r1) of m, which are columns at + those of the result. */
static void linear_part(const struct cpu_ctx *c, const struct cpu_step *s, const struct cpu_mat *m,
                        int64_t r0, int64_t r1, int64_t at)
{
    const int64_t n_p = tiled_rows(c, s);
    float *y = (float *)c->own;

    for (int64_t i = 0; i < n_p; i += TILES_X)
        for (int64_t r = r0; r < r1; r += TILES_R) {
            const int64_t n = least(TILES_R, r1 - r), k = least(TILES_X, n_p - i);

            sums(c, s, m, NULL, y, r, n, i, k);
            for (int64_t j = 0; j < k; j++)
                linear_finish(c, s, m, at, result_row(c, s, y, n, j), r, n, i + j);
        }
}

/* Columns that are taken at least. */
static int64_t unit(const struct cpu_ctx *c, const struct cpu_step *s)
{
    return tiled_rows(c, s) > 128 ? TILES_TAKE : TILES_UNIT;
}

/* linear, and linear_multi: its matrices' columns are dealt out as one row of columns. */
void tiles_linear(const struct cpu_ctx *c, const struct cpu_step *s)
{
    int64_t total = 0, a, b;

    for (int k = 0; k < s->n_m; k++)
        total += s->m[k].rows;
    while (take_tiles(c, s, total, unit(c, s), &a, &b))
        for (int64_t k = 0, at = 0; k < s->n_m; at += s->m[k++].rows) {
            const int64_t r0 = a > at ? a - at : 0, r1 = least(b - at, s->m[k].rows);

            if (r0 < r1)
                linear_part(c, s, &s->m[k], r0, r1, at);
        }
}

/* Rows of sums, one column of the result each. */
static void add_bias(float *y, const float *bias, int64_t n_r, int64_t n)
{
    for (int64_t r = 0; r < n_r; r++)
        for (int64_t j = 0; j < n; j++)
            y[r * TILES_LD + j] += bias[r];
}

/* Columns [r, r + n_r) of the results of rows [i, i + n), as their reader wants them. */
static void hand_on(const struct cpu_ctx *c, const struct cpu_step *s, const float *y, int64_t r,
                    int64_t n_r, int64_t i, int64_t n)
{
    if (s->to.slot >= 0) {
        for (int64_t j = 0; j < n; j += 32)
            s->tiles->repack(y + j, TILES_LD, n_r,
                             slot_ptr(c, s->to.slot) + (size_t)(i + j) * s->to.stride + r * 64);
        return;
    }
    for (int64_t j = 0; j < n; j++)
        memcpy(val_row(c, &s->out[0], i + j) + r, result_row(c, s, y, n_r, j),
               (size_t)n_r * sizeof *y);
}

static void glu_part(const struct cpu_ctx *c, const struct cpu_step *s, int64_t a, int64_t b)
{
    const struct cpu_mat *g = &s->m[0], *u = &s->m[1];
    const int64_t n_p = tiled_rows(c, s), step = TILES_R / 2;
    const bool alike = g->fmt == u->fmt; /* both pass their inputs by turns */
    float *yg = (float *)c->own, *yu;

    for (int64_t i = 0; i < n_p; i += TILES_X)
        for (int64_t r = a; r < b; r += step) {
            const int64_t n = least(step, b - r), k = least(TILES_X, n_p - i);

            yu = yg + whole(n) * TILES_LD;
            sums(c, s, g, alike ? u : NULL, yg, r, n, i, k);
            if (!alike)
                sums(c, s, u, NULL, yu, r, n, i, k);
            if (g->bias)
                add_bias(yg, g->bias + r, n, k);
            if (u->bias)
                add_bias(yu, u->bias + r, n, k);
            for (int64_t j = 0; j < n; j++) /* sums of nobody's rows too: no bits of a rest */
                c->k->glu(yg + j * TILES_LD, yg + j * TILES_LD, yu + j * TILES_LD, whole(k),
                          s->op->act, s->op->a.lin.limit);
            hand_on(c, s, yg, r, n, i, k);
        }
}

void tiles_glu(const struct cpu_ctx *c, const struct cpu_step *s)
{
    int64_t a, b;

    while (take_tiles(c, s, s->m[0].rows, unit(c, s), &a, &b))
        glu_part(c, s, a, b);
}
