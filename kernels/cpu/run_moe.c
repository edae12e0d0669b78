/* run_moe.c - experts: the batch's pairs (token, rank) are sorted by expert, so that each matrix is
 * read once a step; a token's experts are summed in rank order whatever that sorting was.
 */
#include <string.h>

#include "kernels/cpu/cpu.h"

/* The order of a batch's pairs: pairs of expert e are pair[start[e]] .. pair[start[e + 1]). */
struct order {
    int32_t *start; // [n_expert + 1]
    int32_t *pair;  // [E]
    int32_t *place; // [E] where a pair went: pair[place[i]] == i
};

static struct order order_at(const struct cpu_ctx *c, const struct cpu_step *s)
{
    int32_t *p = (int32_t *)slot_ptr(c, s->slot[0]);

    int32_t *pair = p + s->op->a.moe.n_expert + 1;

    return (struct order){p, pair, pair + rows_of(c, ROWS_E)};
}

uint64_t sort_bytes(const struct segment *s, int32_t n_expert)
{
    return ((uint64_t)n_expert + 1 + 2 * (uint64_t)s->max_t * (uint64_t)s->plan->n_used) *
           sizeof(int32_t);
}

void run_route(const struct cpu_ctx *c, const struct cpu_step *s)
{
    const struct moe_args *m = &s->op->a.moe;
    int32_t *id = (int32_t *)(c->arena + s->out[0].at);
    float *w = (float *)(c->arena + s->out[1].at);
    int64_t a, b;

    share_rows(c, ROWS_T, &a, &b);
    for (int64_t t = a; t < b; t++)
        c->k->route(id + t * m->n_used, w + t * m->n_used, val_row(c, &s->in[0], t), s->vec[0],
                    (float *)c->own, m);
}

/* Counting sort by one member; pairs of an expert stay in the batch's order. */
void run_sort(const struct cpu_ctx *c, const struct cpu_step *s)
{
    const int32_t *id = (const int32_t *)(c->arena + s->in[1].at);
    const int32_t n_expert = s->op->a.moe.n_expert;
    const int64_t n = rows_of(c, ROWS_E);
    struct order o = order_at(c, s);

    if (c->member != 0)
        return;
    memset(o.start, 0, ((size_t)n_expert + 1) * sizeof *o.start);
    for (int64_t i = 0; i < n; i++)
        o.start[id[i]]++;
    for (int32_t e = 0, sum = 0; e <= n_expert; e++) {
        int32_t k = o.start[e];
        o.start[e] = sum;
        sum += k;
    }
    for (int64_t i = 0; i < n; i++) {
        o.place[i] = o.start[id[i]]++;
        o.pair[o.place[i]] = (int32_t)i;
    }
    for (int32_t e = n_expert; e > 0; e--) // each start has moved to the next one's place
        o.start[e] = o.start[e - 1];
    o.start[0] = 0;
}

/* slot[1]: the packed rows of x in sorted order. One token needs none of this: all read its row. */
void run_gather(const struct cpu_ctx *c, const struct cpu_step *s)
{
    const struct order o = order_at(c, s);
    uint8_t *to = slot_ptr(c, s->slot[1]);
    const size_t bytes = s->m[0].dot->packed(s->m[0].cols);
    int64_t a, b;

    if (c->n_t == 1)
        return;
    share(c, rows_of(c, ROWS_E), 1, &a, &b);
    for (int64_t i = a; i < b; i++) {
        const int64_t t = o.pair[i] / s->op->a.moe.n_used;
        const uint8_t *from = s->x.slot < 0 ? (const uint8_t *)val_row(c, &s->in[0], t)
                                            : slot_ptr(c, s->x.slot) + (size_t)t * s->x.stride;
        memcpy(to + (size_t)i * bytes, from, bytes);
    }
}

/* The pairs' rows of in[0], packed in sorted order. */
void run_pack_sorted(const struct cpu_ctx *c, const struct cpu_step *s)
{
    const struct order o = order_at(c, s);
    uint8_t *to = slot_ptr(c, s->x.slot);
    int64_t a, b;

    share(c, rows_of(c, ROWS_E), 1, &a, &b);
    for (int64_t i = a; i < b; i++)
        s->m[0].dot->pack(val_row(c, &s->in[0], o.pair[i]), s->m[0].cols,
                          to + (size_t)i * s->x.stride);
}

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* n columns from r on of expert e's results for k packed rows, bias added, in a tile. */
static void expert_tile(const struct cpu_ctx *c, float *tile, const struct cpu_mat *m, int32_t e,
                        int64_t r, int64_t n, const uint8_t *x, size_t stride, int64_t k)
{
    m->dot->rows(tile, n, m->w + (uint64_t)e * m->each + (size_t)r * m->row_bytes, m->row_bytes, x,
                 stride, m->cols, 0, n, k);
    if (m->bias)
        for (int64_t j = 0; j < k; j++)
            c->k->add(tile + j * n, tile + j * n, m->bias + e * m->bias_each + r, n);
}

void run_moe_glu(const struct cpu_ctx *c, const struct cpu_step *s)
{
    const struct moe_args *a = &s->op->a.moe;
    const struct cpu_mat *g = &s->m[0], *u = &s->m[1];
    const struct order o = order_at(c, s);
    const bool one = c->n_t == 1;
    const size_t stride = one ? s->x.stride : g->dot->packed(g->cols);
    const uint8_t *x = one && s->x.slot < 0 ? (const uint8_t *)val_row(c, &s->in[0], 0)
                                            : slot_ptr(c, one ? s->x.slot : s->slot[1]);
    float *tile = (float *)c->own, *tile_u = tile + CPU_TILE;
    int64_t r0, r1;

    while (take(c, s, g->rows, 32, &r0, &r1))
        for (int32_t e = 0; e < a->n_expert; e++)
            for (int64_t i = o.start[e]; i < o.start[e + 1]; i += 256) {
                const int64_t k = least(256, o.start[e + 1] - i);
                const int64_t nr = least(1024, CPU_TILE / k / 16 * 16);
                const uint8_t *rows = one ? x : x + (size_t)i * stride;

                for (int64_t r = r0; r < r1; r += nr) {
                    const int64_t n = least(nr, r1 - r);

                    expert_tile(c, tile, g, e, r, n, rows, stride, k);
                    expert_tile(c, tile_u, u, e, r, n, rows, stride, k);
                    for (int64_t j = 0; j < k; j++)
                        c->k->glu(val_row(c, &s->out[0], o.pair[i + j]) + r, tile + j * n,
                                  tile_u + j * n, n, a->act, a->limit);
                }
            }
}

#define DOWN_COLS 64 // columns of the result that all pairs' tiles are held for

uint64_t moe_down_own(const struct segment *s, const struct op *op)
{
    return ((uint64_t)s->max_t * (uint64_t)op->a.moe.n_used + 1) * DOWN_COLS * sizeof(float);
}

/* Tiles of all pairs for some columns first, then each token's sum in rank order. */
void run_moe_down(const struct cpu_ctx *c, const struct cpu_step *s)
{
    const struct moe_args *a = &s->op->a.moe;
    const struct cpu_mat *m = &s->m[0];
    const struct order o = order_at(c, s);
    const float *weight = (const float *)(c->arena + s->in[2].at);
    const float scale = a->scale == 0.0f ? 1.0f : a->scale;
    const uint8_t *x = slot_ptr(c, s->x.slot);
    float *sum = (float *)c->own, *tile = sum + DOWN_COLS;
    int64_t r0, r1;

    while (take(c, s, m->rows, 32, &r0, &r1))
        for (int64_t r = r0; r < r1; r += DOWN_COLS) {
            const int64_t n = least(DOWN_COLS, r1 - r);

            for (int32_t e = 0; e < a->n_expert; e++)
                if (o.start[e] < o.start[e + 1])
                    expert_tile(c, tile + o.start[e] * n, m, e, r, n,
                                x + (size_t)o.start[e] * s->x.stride, s->x.stride,
                                o.start[e + 1] - o.start[e]);
            for (int64_t t = 0; t < c->n_t; t++) {
                for (int64_t j = t * a->n_used; j < (t + 1) * a->n_used; j++)
                    c->k->mul_add(sum, tile + o.place[j] * n, n, weight[j], j == t * a->n_used);
                c->k->finish(val_row(c, &s->out[0], t) + r, sum, NULL,
                             s->in[3].used ? val_row(c, &s->in[3], t) + r : NULL, n, ACT_NONE,
                             scale);
            }
        }
}
