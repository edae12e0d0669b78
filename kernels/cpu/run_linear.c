/* run_linear.c - matrices times rows: members make columns of the result for all rows, piece by
 * piece.
 *
 * Results go through a small tile, where bias, activation, scale and residual are applied while
 * they are hot. Which member makes a column, and with how many others, changes no bit of it.
 */
#include <string.h>

#include "kernels/cpu/cpu.h"

#define UNIT   16  // columns of a result are dealt out in cache lines
#define TILE_X 272 // rows of x: 256 are a step's, and some others may come with them

struct span {
    int64_t r0, r1; // columns of the result
    int64_t i0, i1; // rows
};

/* What a member does next of n_out columns of the step's rows but those that went the second path;
 * false: nothing is left. A few columns of many rows (a router) are shared out by rows. */
static bool deal(const struct cpu_ctx *c, const struct cpu_step *st, int64_t n_out, struct span *s)
{
    const int64_t done = tiled_rows(c, st), n_x = rows_of(c, st->in[0].rows) - done;

    if (n_out < 2 * UNIT * c->n && n_x >= c->n) {
        if (s->r1)
            return false; // it had its share
        s->r1 = n_out;
        share(c, n_x, 1, &s->i0, &s->i1);
    } else {
        /* many rows pass some panels at once: fewer of them would fetch the rows more often */
        const bool wide = n_x > 64 && n_out >= 64 * UNIT * c->n;

        s->i0 = 0;
        s->i1 = n_x;
        if (!take(c, st, n_out, (wide ? 8 : 2) * UNIT, &s->r0, &s->r1))
            return false;
    }
    s->i0 += done;
    s->i1 += done;
    return s->i0 < s->i1;
}

/* Rows of x that a tile takes at once, whole groups of per: as evenly as may be, for the matrix is
 * unpacked for a few as for many. */
static int64_t tile_x(int64_t n_x, int per)
{
    const int64_t tiles = (n_x + TILE_X - 1) / TILE_X, even = (n_x + tiles - 1) / tiles;

    return per ? (even + per - 1) / per * per : even;
}

/* Rows of the matrix that a tile of so many rows of x takes. */
static int64_t tile_r(int64_t nx)
{
    int64_t r = CPU_TILE / nx / UNIT * UNIT;

    return r < 1024 ? r : 1024;
}

static const uint8_t *input(const struct cpu_ctx *c, const struct cpu_step *s, int64_t i)
{
    if (s->x.slot < 0)
        return (const uint8_t *)val_row(c, &s->in[0], i);
    return slot_ptr(c, s->x.slot) + (size_t)i * s->x.stride;
}

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* How a step's rows behind those of its second path lie in groups for a matrix. */
struct groups {
    const struct cpu_groups *g;
    const uint8_t *at;
    size_t bytes;  // of one
    int64_t first; // row
    int per;       // 0: they do not
};

static struct groups groups_of(const struct cpu_ctx *c, const struct cpu_step *s,
                               const struct cpu_mat *m)
{
    struct groups g = {.g = &m->dot->groups, .bytes = s->x.group, .first = tiled_rows(c, s)};

    if (s->x.slot < 0 || g.first != (s->x.rest ? c->b->n_p : 0))
        return g;
    g.per = m->wide ? in_groups(c, s, m->wide, s->x.wide, g.first) : 0;
    if (g.per) {
        g.g = m->wide;
        g.bytes = s->x.wide;
        g.at = slot_ptr(c, s->x.slot) + s->x.wide_at;
    } else {
        g.per = in_groups(c, s, g.g, g.bytes, g.first);
        g.at = slot_ptr(c, s->x.slot) + s->x.groups_at;
    }
    return g;
}

/* n columns from r on of m's results for k rows from i on, in a tile. */
static void multiply(const struct cpu_ctx *c, const struct cpu_step *s, const struct cpu_mat *m,
                     const struct groups *g, float *tile, int64_t r, int64_t n, int64_t i,
                     int64_t k)
{
    const uint8_t *w = m->w + (size_t)r * m->row_bytes;

    if (g->per && k >= g->g->least && (i - g->first) % g->per == 0)
        g->g->many(m->dot, tile, n, w, m->row_bytes,
                   g->at + (size_t)((i - g->first) / g->per) * g->bytes, g->per, m->cols, n, k);
    else
        m->dot->rows(tile, n, w, m->row_bytes, input(c, s, i), s->x.stride, m->cols, 0, n, k);
}

void linear_finish(const struct cpu_ctx *c, const struct cpu_step *s, const struct cpu_mat *m,
                   int64_t at, float *x, int64_t r, int64_t n, int64_t i)
{
    const bool plain = s->op->kind == OP_linear; // else a.lin is not ours, and nothing follows
    const float scale = plain && s->op->a.lin.scale != 0.0f ? s->op->a.lin.scale : 1.0f;

    c->k->finish(val_row(c, &s->out[0], i) + at + r, x, m->bias ? m->bias + r : NULL,
                 s->in[1].used ? val_row(c, &s->in[1], i) + at + r : NULL, n,
                 plain ? s->op->act : ACT_NONE, scale);
}

/* Columns [p.r0, p.r1) of m, which are columns at + those of the result. */
static void linear_part(const struct cpu_ctx *c, const struct cpu_step *s, const struct cpu_mat *m,
                        struct span p, int64_t at)
{
    const struct groups g = groups_of(c, s, m);
    const int64_t nx = tile_x(p.i1 - p.i0, g.per), nr = tile_r(nx);
    float *tile = (float *)c->own;

    for (int64_t r = p.r0; r < p.r1; r += nr)
        for (int64_t i = p.i0; i < p.i1; i += nx) {
            const int64_t n = least(nr, p.r1 - r), k = least(nx, p.i1 - i);

            multiply(c, s, m, &g, tile, r, n, i, k);
            for (int64_t j = 0; j < k; j++)
                linear_finish(c, s, m, at, tile + j * n, r, n, i + j);
        }
}

/* linear, and linear_multi: its matrices' columns are dealt out as one row of columns. */
void run_linear(const struct cpu_ctx *c, const struct cpu_step *s)
{
    struct span p = {0, 0, 0, 0};
    int64_t total = 0;

    if (tiled_rows(c, s))
        tiles_linear(c, s);
    for (int k = 0; k < s->n_m; k++)
        total += s->m[k].rows;
    while (deal(c, s, total, &p)) {
        int64_t at = 0;

        for (int k = 0; k < s->n_m; k++) {
            const int64_t rows = s->m[k].rows;
            struct span q = {p.r0 > at ? p.r0 - at : 0, least(p.r1 - at, rows), p.i0, p.i1};

            if (q.r0 < q.r1)
                linear_part(c, s, &s->m[k], q, at);
            at += rows;
        }
    }
}

void run_linear_heads(const struct cpu_ctx *c, const struct cpu_step *s)
{
    const struct cpu_mat *m = &s->m[0];
    const int64_t n_x = rows_of(c, s->in[0].rows), nx = n_x ? tile_x(n_x, 0) : 0;
    const int64_t head_in = s->op->a.heads.head_in, head_out = s->op->a.heads.head_out;
    const int64_t nr = n_x ? tile_r(nx) : 0;
    float *tile = (float *)c->own;
    int64_t a, b;

    share(c, n_x ? s->op->a.heads.n_head * m->rows : 0, UNIT, &a, &b);
    while (a < b) {
        const int64_t h = a / m->rows, r = a % m->rows;
        const int64_t n = least(least(nr, m->rows - r), b - a);

        for (int64_t i = 0; i < n_x; i += nx) {
            const int64_t k = least(nx, n_x - i);
            const uint8_t *x = s->x.slot < 0 ? (const uint8_t *)(val_row(c, &s->in[0], i) +
                                                                 h * head_in + s->op->a.heads.at_in)
                                             : input(c, s, h * n_x + i);

            m->dot->rows(tile, n, m->w + (uint64_t)h * m->each + (size_t)r * m->row_bytes,
                         m->row_bytes, x, s->x.stride, m->cols, 0, n, k);
            for (int64_t j = 0; j < k; j++)
                memcpy(val_row(c, &s->out[0], i + j) + h * head_out + s->op->a.heads.at_out + r,
                       tile + j * n, (size_t)n * sizeof *tile);
        }
        a += n;
    }
}

static void glu_part(const struct cpu_ctx *c, const struct cpu_step *s, struct span p)
{
    const struct cpu_mat *g = &s->m[0], *u = &s->m[1];
    const struct groups in = groups_of(c, s, g), in_u = groups_of(c, s, u);
    const int64_t nx = tile_x(p.i1 - p.i0, in.per), nr = tile_r(nx);
    float *tile = (float *)c->own, *tile_u = tile + CPU_TILE;

    for (int64_t r = p.r0; r < p.r1; r += nr)
        for (int64_t i = p.i0; i < p.i1; i += nx) {
            const int64_t n = least(nr, p.r1 - r), k = least(nx, p.i1 - i);

            multiply(c, s, g, &in, tile, r, n, i, k);
            multiply(c, s, u, &in_u, tile_u, r, n, i, k);
            for (int64_t j = 0; j < k; j++) {
                float *tg = tile + j * n, *tu = tile_u + j * n;

                if (g->bias)
                    c->k->add(tg, tg, g->bias + r, n);
                if (u->bias)
                    c->k->add(tu, tu, u->bias + r, n);
                c->k->glu(val_row(c, &s->out[0], i + j) + r, tg, tu, n, s->op->act,
                          s->op->a.lin.limit);
            }
        }
}

/* m[0] is gate, m[1] up; a fused matrix was split in two when the step was made. */
void run_glu(const struct cpu_ctx *c, const struct cpu_step *s)
{
    struct span p = {0, 0, 0, 0};

    if (tiled_rows(c, s))
        tiles_glu(c, s);
    while (deal(c, s, s->m[0].rows, &p))
        glu_part(c, s, p);
}
