/* run_rows.c - steps in which a member works on rows of its own: no meeting between two of them. */
#include <string.h>

#include "kernels/cpu/cpu.h"

static void decode_row(float *out, const struct cpu_ctx *c, const struct cpu_mat *m, int fmt,
                       int64_t row)
{
    const struct fmt_info *f = fmt_find(fmt);

    (void)c;
    f->decode(m->w + (size_t)row * m->row_bytes, out, (size_t)m->cols / (size_t)f->block);
}

void run_embed(const struct cpu_ctx *c, const struct cpu_step *s)
{
    const struct weight *w = c->seg->plan->w;
    const float scale = s->op->a.lin.scale;
    const int64_t n = s->out[0].cols;
    int64_t a, b;

    share_rows(c, s->out[0].rows, &a, &b);
    for (int64_t t = a; t < b; t++) {
        float *y = val_row(c, &s->out[0], t), *tmp = (float *)c->own;

        if (c->b->id[t] == ID_EMBD) {
            memcpy(y, c->b->embd + t * n, (size_t)n * sizeof *y);
        } else {
            decode_row(y, c, &s->m[0], w[s->op->w[0]].fmt, c->b->id[t]);
            if (scale != 0.0f && scale != 1.0f)
                c->k->scale(y, y, n, scale);
        }
        for (int i = 1, m = 1; i < 3; i++) {
            if (s->op->w[i] < 0)
                continue;
            decode_row(tmp, c, &s->m[m++], w[s->op->w[i]].fmt,
                       i == 1       ? c->b->pos[t]
                       : c->b->type ? c->b->type[t]
                                    : 0);
            c->k->add(y, y, tmp, n);
        }
    }
}

void run_take_rows(const struct cpu_ctx *c, const struct cpu_step *s)
{
    int64_t a, b;

    share_rows(c, ROWS_S, &a, &b);
    for (int64_t i = a; i < b; i++)
        memcpy(val_row(c, &s->out[0], i), val_row(c, &s->in[0], c->b->out[i]),
               (size_t)s->out[0].cols * sizeof(float));
}

void run_copy(const struct cpu_ctx *c, const struct cpu_step *s)
{
    int64_t a, b;

    share_rows(c, s->out[0].rows, &a, &b);
    for (int64_t i = a; i < b; i++)
        memmove(val_row(c, &s->out[0], i), val_row(c, &s->in[0], i),
                (size_t)s->out[0].cols * sizeof(float));
}

void run_rmsnorm(const struct cpu_ctx *c, const struct cpu_step *s)
{
    const int n = s->out[0].cols, group = s->op->a.norm.group ? s->op->a.norm.group : n;
    int64_t a, b;

    share_rows(c, s->out[0].rows, &a, &b);
    for (int64_t i = a; i < b; i++)
        c->k->rmsnorm(val_row(c, &s->out[0], i), val_row(c, &s->in[0], i), s->vec[0],
                      s->in[1].used ? val_row(c, &s->in[1], i) : NULL, n, group, s->n_vec,
                      s->op->a.norm.eps);
}

void run_layernorm(const struct cpu_ctx *c, const struct cpu_step *s)
{
    const int n = s->out[0].cols, group = s->op->a.norm.group ? s->op->a.norm.group : n;
    int64_t a, b;

    share_rows(c, s->out[0].rows, &a, &b);
    for (int64_t i = a; i < b; i++)
        c->k->layernorm(val_row(c, &s->out[0], i), val_row(c, &s->in[0], i), s->vec[0], s->vec[1],
                        s->in[1].used ? val_row(c, &s->in[1], i) : NULL, n, group, s->n_vec,
                        s->op->a.norm.eps);
}

/* slot[0]: [T x 2 n_rot]; vec[0]: frequencies. One table serves all records that rotate alike. */
void run_rope_table(const struct cpu_ctx *c, const struct cpu_step *s)
{
    const struct rope_args *r = &s->op->a.rope;
    float *tab = (float *)slot_ptr(c, s->slot[0]);
    int64_t a, b;

    share_rows(c, ROWS_T, &a, &b);
    for (int64_t t = a; t < b; t++)
        c->k->rope_table(tab + t * 2 * r->n_rot, s->vec[0],
                         c->b->rpos ? c->b->rpos[t][0] : c->b->pos[t], r);
}

void run_rope(const struct cpu_ctx *c, const struct cpu_step *s)
{
    const struct rope_args *r = &s->op->a.rope;
    const float *tab = (const float *)slot_ptr(c, s->slot[0]);
    int64_t a, b;

    share_rows(c, ROWS_T, &a, &b);
    for (int64_t t = a; t < b; t++)
        c->k->rope(val_row(c, &s->out[0], t), val_row(c, &s->in[0], t), tab + t * 2 * r->n_rot, r);
}

void run_add(const struct cpu_ctx *c, const struct cpu_step *s)
{
    int64_t a, b;

    share_rows(c, s->out[0].rows, &a, &b);
    for (int64_t i = a; i < b; i++)
        c->k->add(val_row(c, &s->out[0], i), val_row(c, &s->in[0], i), val_row(c, &s->in[1], i),
                  s->out[0].cols);
}

void run_mul(const struct cpu_ctx *c, const struct cpu_step *s)
{
    int64_t a, b;

    share_rows(c, s->out[0].rows, &a, &b);
    for (int64_t i = a; i < b; i++)
        c->k->mul_act(val_row(c, &s->out[0], i), val_row(c, &s->in[0], i), val_row(c, &s->in[1], i),
                      s->out[0].cols, s->op->act);
}

void run_scale(const struct cpu_ctx *c, const struct cpu_step *s)
{
    const float scale = s->op->a.lin.scale == 0.0f ? 1.0f : s->op->a.lin.scale;
    int64_t a, b;

    share_rows(c, s->out[0].rows, &a, &b);
    for (int64_t i = a; i < b; i++)
        c->k->scale(val_row(c, &s->out[0], i), val_row(c, &s->in[0], i), s->out[0].cols, scale);
}

void run_act(const struct cpu_ctx *c, const struct cpu_step *s)
{
    int64_t a, b;

    share_rows(c, s->out[0].rows, &a, &b);
    for (int64_t i = a; i < b; i++)
        c->k->act(val_row(c, &s->out[0], i), val_row(c, &s->in[0], i), s->out[0].cols, s->op->act);
}

/* Mostly of a few rows of logits, each as long as the vocabulary: the columns are shared out. */
void run_softcap(const struct cpu_ctx *c, const struct cpu_step *s)
{
    int64_t a, b, n = rows_of(c, s->out[0].rows);

    share(c, s->out[0].cols, 16, &a, &b);
    for (int64_t i = 0; i < n && a < b; i++)
        c->k->softcap(val_row(c, &s->out[0], i) + a, val_row(c, &s->in[0], i) + a, b - a,
                      s->op->a.lin.scale);
}

/* A vector of m times the input's columns gives m results side by side. */
void run_lerp(const struct cpu_ctx *c, const struct cpu_step *s)
{
    const int64_t n = s->in[0].cols, m = s->out[0].cols / n;
    int64_t a, b;

    share_rows(c, s->out[0].rows, &a, &b);
    for (int64_t i = a; i < b; i++)
        for (int64_t j = 0; j < m; j++)
            c->k->lerp(val_row(c, &s->out[0], i) + j * n, val_row(c, &s->in[0], i),
                       val_row(c, &s->in[1], i),
                       s->in[2].used ? val_row(c, &s->in[2], i) + j * n : s->vec[0] + j * n, n);
}

/* Packed rows [a, b) to groups, the first of which begins with row first; per 0: to none. */
static void group_rows(const struct cpu_ctx *c, const struct cpu_step *s,
                       const struct cpu_groups *g, int per, uint64_t at, size_t bytes,
                       int64_t first, int64_t a, int64_t b)
{
    uint8_t *to = slot_ptr(c, s->x.slot);

    if (per)
        cpu_put_groups(g, to + (size_t)first * s->x.stride, s->x.stride, s->m[0].cols, per, to + at,
                       bytes, a - first, b - first);
}

/* in[0]'s rows behind the first ones, in the form that m[0]'s format reads. */
static void pack_behind(const struct cpu_ctx *c, const struct cpu_step *s, int64_t first)
{
    const struct cpu_dot *d = s->m[0].dot;
    const struct cpu_groups *g = &d->groups, *wide = s->m[0].wide;
    int64_t a, b;

    share_rows(c, s->in[0].rows, &a, &b);
    if (a < first)
        a = first;
    for (int64_t i = a; i < b; i++)
        d->pack(val_row(c, &s->in[0], i), s->m[0].cols,
                slot_ptr(c, s->x.slot) + (size_t)i * s->x.stride);
    const int per = in_groups(c, s, wide, s->x.wide, first);

    group_rows(c, s, wide, per, s->x.wide_at, s->x.wide, first, a, b);
    if (!per || !d->panel.one) /* else all matrices that read them want wide ones */
        group_rows(c, s, g, in_groups(c, s, g, s->x.group, first), s->x.groups_at, s->x.group,
                   first, a, b);
}

void run_pack(const struct cpu_ctx *c, const struct cpu_step *s)
{
    pack_behind(c, s, 0);
}

/* Rows behind those that go the second path. */
void run_pack_rest(const struct cpu_ctx *c, const struct cpu_step *s)
{
    pack_behind(c, s, c->b->n_p);
}

void run_pack_tiles(const struct cpu_ctx *c, const struct cpu_step *s)
{
    uint8_t *to = slot_ptr(c, s->xt.slot);
    int64_t a, b;

    share_rows(c, s->in[0].rows, &a, &b);
    b = b < c->b->n_p ? b : c->b->n_p;
    for (int64_t i = a, i1; i < b; i = i1) {
        i1 = i / 32 * 32 + 32 < b ? i / 32 * 32 + 32 : b;
        s->tiles->pack(val_row(c, &s->in[0], i), s->in[0].ld, s->m[0].cols, (int)(i % 32),
                       (int)(i1 - i), to + (size_t)(i / 32 * 32) * s->xt.stride);
    }
}

/* Likewise head by head; a head's rows lie together. */
void run_pack_heads(const struct cpu_ctx *c, const struct cpu_step *s)
{
    uint8_t *to = slot_ptr(c, s->x.slot);
    const int64_t n = rows_of(c, s->in[0].rows);
    int64_t a, b;

    share_rows(c, s->in[0].rows, &a, &b);
    for (int64_t i = a; i < b; i++)
        for (int64_t h = 0; h < s->op->a.heads.n_head; h++)
            s->m[0].dot->pack(val_row(c, &s->in[0], i) + h * s->op->a.heads.head_in +
                                  s->op->a.heads.at_in,
                              s->m[0].cols, to + (size_t)(h * n + i) * s->x.stride);
}
