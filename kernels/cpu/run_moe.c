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

/* An expert's packed rows, [from, to) of the sorted ones, and how they lie in groups, which are its
 * alone. */
struct rows {
    int64_t from, to;
    uint8_t *at, *groups;
    size_t stride, group; // bytes
    int per;              // rows of a group; 0: they lie in none
};

static struct rows rows_for(const struct cpu_ctx *c, const struct cpu_step *s,
                            const struct order *o, int32_t e, const struct cpu_input *x)
{
    const struct cpu_groups *g = &s->m[0].dot->groups;
    struct rows r = {.from = o->start[e], .to = o->start[e + 1], .stride = x->stride};

    if (x->slot < 0)
        return r;
    r.at = slot_ptr(c, x->slot) + (size_t)r.from * x->stride;
    if (x->group && r.to - r.from >= cpu_put_from(g)) {
        /* rows in front fill no more groups than these: one is begun for each expert */
        r.groups = slot_ptr(c, x->slot) + x->groups_at + (size_t)(r.from / g->most + e) * x->group;
        r.group = x->group;
        r.per = cpu_group(g->most, r.to - r.from);
    }
    return r;
}

uint64_t sorted_rows(struct cpu_input *x, const struct cpu_dot *d, int64_t cols, uint64_t n,
                     int32_t n_expert)
{
    x->stride = (d->packed(cols) + 63) / 64 * 64;
    x->groups_at = x->stride * n;
    x->group = d->groups.most ? d->groups.bytes(cols) : 0;
    return x->groups_at +
           x->group * (x->group ? n / (uint64_t)d->groups.most + (uint64_t)n_expert + 1 : 0);
}

/* A member's share of rows in sorted order: put there by a function, then into groups. */
static void sort_rows(const struct cpu_ctx *c, const struct cpu_step *s, const struct cpu_input *x,
                      void (*put)(const struct cpu_ctx *, const struct cpu_step *, int64_t pair,
                                  uint8_t *to))
{
    const struct order o = order_at(c, s);
    int64_t a, b;

    share(c, rows_of(c, ROWS_E), 1, &a, &b);
    for (int32_t e = 0; e < s->op->a.moe.n_expert; e++) {
        const struct rows r = rows_for(c, s, &o, e, x);

        const int64_t i0 = r.from > a ? r.from : a, i1 = r.to < b ? r.to : b;

        for (int64_t i = i0; i < i1; i++)
            put(c, s, o.pair[i], r.at + (size_t)(i - r.from) * r.stride);
        if (r.per)
            cpu_put_groups(&s->m[0].dot->groups, r.at, r.stride, s->m[0].cols, r.per, r.groups,
                           r.group, i0 - r.from, i1 - r.from);
    }
}

static void gather(const struct cpu_ctx *c, const struct cpu_step *s, int64_t pair, uint8_t *to)
{
    const int64_t t = pair / s->op->a.moe.n_used;
    const uint8_t *from = s->x.slot < 0 ? (const uint8_t *)val_row(c, &s->in[0], t)
                                        : slot_ptr(c, s->x.slot) + (size_t)t * s->x.stride;

    memcpy(to, from, s->m[0].dot->packed(s->m[0].cols));
}

static void pack(const struct cpu_ctx *c, const struct cpu_step *s, int64_t pair, uint8_t *to)
{
    s->m[0].dot->pack(val_row(c, &s->in[0], pair), s->m[0].cols, to);
}

/* xt: the packed rows of x in sorted order. One token needs none of this: all read its row. */
void run_gather(const struct cpu_ctx *c, const struct cpu_step *s)
{
    if (c->n_t > 1)
        sort_rows(c, s, &s->xt, gather);
}

/* The pairs' rows of in[0], packed in sorted order. */
void run_pack_sorted(const struct cpu_ctx *c, const struct cpu_step *s)
{
    sort_rows(c, s, &s->x, pack);
}

static inline int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* n columns from r on of expert e's results for k of its rows from i on, the first of a group, bias
 * added, in a tile. */
static void expert_tile(const struct cpu_ctx *c, float *tile, const struct cpu_mat *m, int32_t e,
                        int64_t r, int64_t n, const struct rows *x, int64_t i, int64_t k)
{
    const uint8_t *w = m->w + (uint64_t)e * m->each + (size_t)r * m->row_bytes;

    i -= x->from;
    if (x->per && k >= m->dot->groups.least)
        m->dot->groups.many(m->dot, tile, n, w, m->row_bytes,
                            x->groups + (size_t)(i / x->per) * x->group, x->per, m->cols, n, k);
    else
        m->dot->rows(tile, n, w, m->row_bytes, x->at + (size_t)i * x->stride, x->stride, m->cols, 0,
                     n, k);
    if (m->bias)
        for (int64_t j = 0; j < k; j++)
            c->k->add(tile + j * n, tile + j * n, m->bias + e * m->bias_each + r, n);
}

/* Columns [r0, r1) of an expert's gate and up for its rows. */
static void expert_glu(const struct cpu_ctx *c, const struct cpu_step *s, const struct order *o,
                       int32_t e, const struct rows *x, int64_t r0, int64_t r1)
{
    const struct moe_args *a = &s->op->a.moe;
    const int64_t some = x->per ? 256 / x->per * x->per : 256;
    float *tile = (float *)c->own, *tile_u = tile + CPU_TILE;

    for (int64_t i = x->from; i < x->to; i += some) {
        const int64_t k = least(some, x->to - i), nr = least(1024, CPU_TILE / k / 16 * 16);

        for (int64_t r = r0; r < r1; r += nr) {
            const int64_t n = least(nr, r1 - r);

            expert_tile(c, tile, &s->m[0], e, r, n, x, i, k);
            expert_tile(c, tile_u, &s->m[1], e, r, n, x, i, k);
            for (int64_t j = 0; j < k; j++)
                c->k->glu(val_row(c, &s->out[0], o->pair[i + j]) + r, tile + j * n, tile_u + j * n,
                          n, a->act, a->limit);
        }
    }
}

void run_moe_glu(const struct cpu_ctx *c, const struct cpu_step *s)
{
    const struct order o = order_at(c, s);
    int64_t r0, r1;

    while (take(c, s, s->m[0].rows, 32, &r0, &r1))
        for (int32_t e = 0; e < s->op->a.moe.n_expert; e++) {
            struct rows x = rows_for(c, s, &o, e, &s->xt);

            if (c->n_t == 1) { /* all read the token's row where it is */
                x.at = s->x.slot < 0 ? (uint8_t *)val_row(c, &s->in[0], 0) : slot_ptr(c, s->x.slot);
                x.per = 0;
            }
            expert_glu(c, s, &o, e, &x, r0, r1);
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
    float *sum = (float *)c->own, *tile = sum + DOWN_COLS;
    int64_t r0, r1;

    while (take(c, s, m->rows, 32, &r0, &r1))
        for (int64_t r = r0; r < r1; r += DOWN_COLS) {
            const int64_t n = least(DOWN_COLS, r1 - r);

            for (int32_t e = 0; e < a->n_expert; e++) {
                const struct rows x = rows_for(c, s, &o, e, &s->x);

                if (x.from < x.to)
                    expert_tile(c, tile + x.from * n, m, e, r, n, &x, x.from, x.to - x.from);
            }
            for (int64_t t = 0; t < c->n_t; t++) {
                for (int64_t j = t * a->n_used; j < (t + 1) * a->n_used; j++)
                    c->k->mul_add(sum, tile + o.place[j] * n, n, weight[j], j == t * a->n_used);
                c->k->finish(val_row(c, &s->out[0], t) + r, sum, NULL,
                             s->in[3].used ? val_row(c, &s->in[3], t) + r : NULL, n, ACT_NONE,
                             scale);
            }
        }
}
