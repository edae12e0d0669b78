/* run_attn_tiles.c - attention of prompt rows where the level has tiles for it.
 *
 * A piece of work is rows of one sequence and heads that share a key/value head, many of them,
 * for pages are made tiles once for all. Pieces go to whoever comes. What a row gets does not
 * depend on how rows are cut (tiles_attn.inc).
 */
#include <string.h>

#include "kernels/cpu/attn.h"

enum {
    STATE_BYTES = 2048 * 1024, // of queries and sums: a block's lie in the first-level cache
    QUERIES_MAX = 2048,
    MIN_ROWS = 16, // of a piece: fewer would leave lanes without a query
};

struct tile_piece {
    const struct attn_args *m;
    const struct cpu_tile_attn *t;
    struct cpu_attn_job job;
    int64_t t0; // first row
    int kv_head, head;
    int32_t *pos, *from, *to;
    float *part, *k, *v, *row; // a block's partials, a page that is opened, turned queries
    size_t v_at;
};

static int piece_heads(const struct attn_args *m)
{
    return least(m->n_head / m->n_kv, CPU_HEADS);
}

static int queries_at_once(const struct cpu_tile_attn *t, const struct attn_args *m)
{
    const size_t each = t->own(m->dk, m->dv, 2 * t->block) - t->own(m->dk, m->dv, t->block);
    const int n = least((int64_t)(STATE_BYTES / each) * t->block, QUERIES_MAX);

    return most(n, piece_heads(m));
}

uint64_t attn_tiles_own(const struct cpu_tile_attn *t, const struct attn_args *m)
{
    const int n = queries_at_once(t, m);

    return (t->own(m->dk, m->dv, n) + 63) / 64 * 64 +
           sizeof(float) *
               ((uint64_t)t->block * (uint64_t)part_floats(m) +
                KV_PAGE * (uint64_t)(m->dk + m->dv) + (uint64_t)CPU_HEADS * (uint64_t)m->dk) +
           3 * sizeof(int32_t) * (uint64_t)n;
}

static void piece_memory(const struct cpu_ctx *c, struct tile_piece *p)
{
    const struct attn_args *m = p->m;
    const int n = queries_at_once(p->t, m);

    p->job.own = c->own;
    p->part = (float *)(c->own + (p->t->own(m->dk, m->dv, n) + 63) / 64 * 64);
    p->k = p->part + p->t->block * part_floats(m);
    p->v = p->k + (int64_t)KV_PAGE * m->dk;
    p->row = p->v + (int64_t)KV_PAGE * m->dv;
    p->pos = (int32_t *)(p->row + (int64_t)CPU_HEADS * m->dk);
    p->from = p->pos + n;
    p->to = p->from + n;
    p->job.pos = p->pos;
    p->job.from = p->from;
    p->job.to = p->to;
}

static void piece_begin(const struct cpu_ctx *c, const struct cpu_step *s, struct tile_piece *p)
{
    const struct attn_args *m = p->m;
    const bool turn = turned(c->seg->plan, m);
    const int h = p->job.n_head;

    p->job.slope = s->vec[1] ? s->vec[1] + p->head : NULL;
    for (int i = 0; i < p->job.n_row; i++) {
        const float *row = val_row(c, &s->in[0], p->t0 + i) + (int64_t)p->head * m->dk;

        p->pos[i] = c->b->pos[p->t0 + i];
        sees(c, m, p->t0 + i, &p->from[i], &p->to[i]);
        if (turn) {
            row = memcpy(p->row, row, (size_t)h * (size_t)m->dk * sizeof *row);
            c->k->turn(p->row, m->dk, h, true);
        }
        for (int k = 0; k < h; k++)
            p->t->query(&p->job, i * h + k, row + (int64_t)k * m->dk);
    }
    p->t->begin(&p->job);
}

/* A head's part of a page as f16 or f32: opened into to if it is neither. */
static const void *readable(const struct cpu_ctx *c, const uint8_t *page, int type, int cols,
                            bool keys, float *to)
{
    if (type == FMT_F16 || type == FMT_F32)
        return page;
    c->k->open(to, page, type, cols, keys);
    return to;
}

static void piece_span(const struct cpu_ctx *c, const struct tile_piece *p, int32_t base,
                       int32_t end)
{
    const struct attn_args *m = p->m;
    const int type_k = c->seg->plan->kv_type_k, type_v = c->seg->plan->kv_type_v;
    const struct seq_in *q = &c->b->seqs[c->b->seq[p->t0]];
    int n = 0;

    for (; n < p->t->span / KV_PAGE && base + n * KV_PAGE < end; n++) {
        const uint8_t *page = page_at(c, m->kv, q, base / KV_PAGE + n);
        const void *k = readable(c, page + (size_t)p->kv_head * head_bytes(type_k, m->dk), type_k,
                                 m->dk, true, p->k);
        const void *v = NULL;

        if (!m->v_in_k)
            v = readable(c, page + p->v_at + (size_t)p->kv_head * head_bytes(type_v, m->dv), type_v,
                         m->dv, false, p->v);
        p->t->page(&p->job, n, k, v, type_k == FMT_F16, type_v == FMT_F16);
    }
    p->t->pages(&p->job, base, n);
}

static void piece_end(const struct cpu_ctx *c, const struct cpu_step *s, const struct tile_piece *p)
{
    const int64_t each = part_floats(p->m);
    const int n = p->job.n_row * p->job.n_head, dv = p->m->dv;

    for (int i = 0; i < n; i++) {
        const int h = p->head + i % p->job.n_head;

        if (i % p->t->block == 0)
            p->t->end(&p->job, i / p->t->block, p->part, each);
        c->k->settle(val_row(c, &s->out[0], p->t0 + i / p->job.n_head) + (int64_t)h * dv,
                     p->part + i % p->t->block * each, dv, s->vec[0] ? s->vec[0] + h : NULL);
    }
}

static void piece_whole(const struct cpu_ctx *c, const struct cpu_step *s, struct tile_piece *p)
{
    int32_t from = INT32_MAX, to = 0;

    piece_begin(c, s, p);
    for (int i = 0; i < p->job.n_row; i++) {
        from = least(from, p->from[i]);
        to = most(to, p->to[i]);
    }
    for (int32_t base = from / p->t->span * p->t->span; base < to; base += p->t->span)
        piece_span(c, p, base, to);
    piece_end(c, s, p);
}

/* Rows of one sequence from t on, at most max. */
static int run_of_rows(const struct cpu_ctx *c, int64_t t, int max)
{
    int n = 1;

    while (n < max && t + n < c->b->n_p && c->b->seq[t + n] == c->b->seq[t])
        n++;
    return n;
}

/* Rows of a piece: so many that all members have some pieces, if there are rows enough. */
static int rows_at_once(const struct cpu_ctx *c, const struct tile_piece *p)
{
    const struct attn_args *m = p->m;
    const int heads = piece_heads(m), max = queries_at_once(p->t, m) / heads;
    const int64_t work = (int64_t)m->n_kv * ((m->n_head / m->n_kv + heads - 1) / heads);
    const int64_t parts = (4 * c->n + work - 1) / work;
    const int64_t rows = (c->b->n_p + parts - 1) / parts;

    return least(max, (rows + MIN_ROWS - 1) / MIN_ROWS * MIN_ROWS);
}

/* Pieces [a, b) of all; returns how many there are. Head by head. */
static int64_t pieces(const struct cpu_ctx *c, const struct cpu_step *s, struct tile_piece *p,
                      int64_t a, int64_t b)
{
    const int group = p->m->n_head / p->m->n_kv, heads = piece_heads(p->m);
    const int max = rows_at_once(c, p);
    int64_t n = 0;

    for (p->kv_head = 0; p->kv_head < p->m->n_kv; p->kv_head++)
        for (int g = 0; g < group; g += heads)
            for (p->t0 = 0; p->t0 < c->b->n_p; p->t0 += p->job.n_row, n++) {
                p->job.n_row = run_of_rows(c, p->t0, max);
                if (n < a || n >= b)
                    continue;
                p->head = p->kv_head * group + g;
                p->job.n_head = least(heads, group - g);
                piece_whole(c, s, p);
            }
    return n;
}

void tiles_attn(const struct cpu_ctx *c, const struct cpu_step *s)
{
    const struct attn_args *m = &s->op->a.attn;
    struct tile_piece p = {.m = m,
                           .t = s->tiles->attn,
                           .job = {.dk = m->dk,
                                   .dv = m->dv,
                                   .v_in_k = m->v_in_k,
                                   .scale = m->scale,
                                   .cap = m->softcap,
                                   .softcap = c->k->softcap},
                           .v_at = v_offset(c->seg->plan, m->kv)};
    const int64_t n = pieces(c, s, &p, 0, 0);
    int64_t a, b;

    piece_memory(c, &p);
    while (take_tiles(c, s, n, 1, &a, &b))
        pieces(c, s, &p, a, b);
}
