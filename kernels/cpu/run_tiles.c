/* run_tiles.c - the prompt rows of linear and glu where the level has a second path for them.
 *
 * Every member makes columns of the result, piece by piece. A slice of TILES_X inputs stays in its
 * second-level cache while TILES_R rows of the matrix pass, and so do their sums, which are kept as
 * f32 in private memory until all slices are added.
 */
#include "kernels/cpu/cpu.h"

enum {
    TILES_X = 512, // rows of inputs at once
    TILES_R = 512, // columns of the result; of a gated pair half of it each
    TILES_UNIT = 32,
    TILES_TAKE = 128, // columns that a member takes: fewer would fetch the inputs too often
    TILES_APART = 16, // floats between rows of sums, lest all begin in one set of the cache
};

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t whole(int64_t n)
{
    return (n + TILES_UNIT - 1) / TILES_UNIT * TILES_UNIT;
}

/* Sums of one call, or of a gated pair of calls, and then what the level itself needs. */
static const uint64_t sum_bytes = sizeof(float) * TILES_X * (TILES_R + 2 * TILES_APART);

uint64_t tiles_own(const struct cpu_tiles *t)
{
    return sum_bytes + t->own;
}

/* Columns [r, r + n_r) of m for rows [i, i + n_x): n_x rows of sums, ld apart. */
static void sums(const struct cpu_ctx *c, const struct cpu_step *s, const struct cpu_mat *m,
                 float *y, int64_t ld, int64_t r, int64_t n_r, int64_t i, int64_t n_x)
{
    const struct cpu_tile_job j = {
        .panel = &m->dot->panel,
        .w = m->w + (size_t)r * m->row_bytes,
        .row_bytes = m->row_bytes,
        .x = slot_ptr(c, s->xt.slot) + (size_t)i * s->xt.stride,
        .x_bytes = s->xt.stride,
        .n = m->cols,
        .n_r = n_r,
        .n_x = n_x,
    };

    s->tiles->rows(y, ld, &j, c->own + sum_bytes);
}

/* Columns [r0, r1) of m, which are columns at + those of the result. */
static void linear_part(const struct cpu_ctx *c, const struct cpu_step *s, const struct cpu_mat *m,
                        int64_t r0, int64_t r1, int64_t at)
{
    const bool plain = s->op->kind == OP_linear;
    const float scale = plain && s->op->a.lin.scale != 0.0f ? s->op->a.lin.scale : 1.0f;
    const int64_t n_p = tiled_rows(c, s);
    float *y = (float *)c->own;

    for (int64_t i = 0; i < n_p; i += TILES_X)
        for (int64_t r = r0; r < r1; r += TILES_R) {
            const int64_t n = least(TILES_R, r1 - r), k = least(TILES_X, n_p - i);
            const int64_t ld = whole(n) + TILES_APART;

            sums(c, s, m, y, ld, r, n, i, k);
            for (int64_t j = 0; j < k; j++)
                c->k->finish(val_row(c, &s->out[0], i + j) + at + r, y + j * ld,
                             m->bias ? m->bias + r : NULL,
                             s->in[1].used ? val_row(c, &s->in[1], i + j) + at + r : NULL, n,
                             plain ? s->op->act : ACT_NONE, scale);
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

/* Columns [r, r + n) of row i of a result, as its reader wants them; r is a multiple of 32. */
static void pack_part(const struct cpu_ctx *c, const struct cpu_step *s, const float *y, int64_t i,
                      int64_t r, int64_t n)
{
    uint8_t *group = slot_ptr(c, s->to.slot) + (size_t)(i / 32 * 32) * s->to.stride;

    s->tiles->pack(y, n, (int)(i % 32), group + r * 64);
}

static void glu_part(const struct cpu_ctx *c, const struct cpu_step *s, int64_t a, int64_t b)
{
    const struct cpu_mat *g = &s->m[0], *u = &s->m[1];
    const int64_t n_p = tiled_rows(c, s), step = TILES_R / 2;
    float *yg = (float *)c->own, *yu = yg + TILES_X * (step + TILES_APART);

    for (int64_t i = 0; i < n_p; i += TILES_X)
        for (int64_t r = a; r < b; r += step) {
            const int64_t n = least(step, b - r), k = least(TILES_X, n_p - i);
            const int64_t ld = whole(n) + TILES_APART;

            sums(c, s, g, yg, ld, r, n, i, k);
            sums(c, s, u, yu, ld, r, n, i, k);
            for (int64_t j = 0; j < k; j++) {
                float *tg = yg + j * ld, *tu = yu + j * ld;

                if (g->bias)
                    c->k->add(tg, tg, g->bias + r, n);
                if (u->bias)
                    c->k->add(tu, tu, u->bias + r, n);
                c->k->glu(s->to.slot < 0 ? val_row(c, &s->out[0], i + j) + r : tg, tg, tu, n,
                          s->op->act, s->op->a.lin.limit);
                if (s->to.slot >= 0)
                    pack_part(c, s, tg, i + j, r, n);
            }
        }
}

void tiles_glu(const struct cpu_ctx *c, const struct cpu_step *s)
{
    int64_t a, b;

    while (take_tiles(c, s, s->m[0].rows, unit(c, s), &a, &b))
        glu_part(c, s, a, b);
}
