/* fuse.c - pairs of records that one record can do.
 *
 * Each row of the table looks at a record and at those it reads from, and proposes one record for
 * all. It is taken when the values in between have no other reader and the device can run it. What
 * is computed is rounded where the separate records round, so no bit of a result changes.
 */
#include <string.h>

#include "base/mem.h"
#include "plan/ops.h"

enum { MAX_GONE = 4 };

/* What a row of the table proposes: a record for place `at`, and which records it replaces. */
struct rewrite {
    struct op op;
    int32_t gone[MAX_GONE];
    int n_gone;
};

struct fuser {
    struct plan *p;
    const struct fuse_ask *ask;
    int32_t *writer; // [n_value] the one record that writes all of a value, -1: none or several
    int32_t *reads;  // [n_value] records that read it
};

static bool whole(const struct plan *p, const struct ref *r)
{
    return r->v >= 0 && r->at == 0 && r->cols == p->value[r->v].cols;
}

static bool is_one(float scale)
{
    return scale == 0.0f || scale == 1.0f;
}

/* The record of this kind that makes all of what in[k] of op reads, for op alone; -1: none. */
static int32_t maker(const struct fuser *f, const struct op *op, int k, int kind, int reads)
{
    const struct ref *r = &op->in[k];
    int32_t w;

    if (r->v < 0 || (w = f->writer[r->v]) < 0 || f->reads[r->v] != reads || r->v == f->p->logits ||
        r->v == f->p->hidden)
        return -1;
    return f->p->op[w].kind == kind ? w : -1;
}

static bool takes(struct rewrite *rw, const struct op *from, int32_t gone, const struct op *at)
{
    rw->op = *from;
    rw->op.layer = at->layer;
    rw->op.out[0] = at->out[0];
    rw->gone[0] = gone;
    rw->n_gone = 1;
    return true;
}

/* -- the table -- */

static bool linear_then_act(const struct fuser *f, int32_t i, struct rewrite *rw)
{
    const struct op *op = &f->p->op[i];
    int32_t m = whole(f->p, &op->in[0]) ? maker(f, op, 0, OP_linear, 1) : -1;

    if (m < 0 || f->p->op[m].act || f->p->op[m].in[1].v >= 0 || !is_one(f->p->op[m].a.lin.scale))
        return false;
    takes(rw, &f->p->op[m], m, op);
    rw->op.act = op->act;
    return true;
}

static bool linear_then_scale(const struct fuser *f, int32_t i, struct rewrite *rw)
{
    const struct op *op = &f->p->op[i];
    int32_t m = whole(f->p, &op->in[0]) ? maker(f, op, 0, OP_linear, 1) : -1;

    if (m < 0 || f->p->op[m].in[1].v >= 0 || !is_one(f->p->op[m].a.lin.scale))
        return false;
    takes(rw, &f->p->op[m], m, op);
    rw->op.a.lin.scale = op->a.lin.scale;
    return true;
}

static bool experts_then_scale(const struct fuser *f, int32_t i, struct rewrite *rw)
{
    const struct op *op = &f->p->op[i];
    int32_t m = whole(f->p, &op->in[0]) ? maker(f, op, 0, OP_moe_down, 1) : -1;

    if (m < 0 || f->p->op[m].in[3].v >= 0 || !is_one(f->p->op[m].a.moe.scale))
        return false;
    takes(rw, &f->p->op[m], m, op);
    rw->op.a.moe.scale = op->a.lin.scale;
    return true;
}

/* A residual added behind a record that has a place for it. */
static bool then_add(const struct fuser *f, int32_t i, struct rewrite *rw, int kind, int place)
{
    const struct op *op = &f->p->op[i];

    for (int k = 0; k < 2; k++) {
        int32_t m = whole(f->p, &op->in[k]) ? maker(f, op, k, kind, 1) : -1;
        if (m < 0 || f->p->op[m].in[place].v >= 0 || (kind == OP_linear && f->p->op[m].act))
            continue;
        takes(rw, &f->p->op[m], m, op);
        rw->op.in[place] = op->in[!k];
        return true;
    }
    return false;
}

static bool linear_then_add(const struct fuser *f, int32_t i, struct rewrite *rw)
{
    return then_add(f, i, rw, OP_linear, 1);
}

static bool experts_then_add(const struct fuser *f, int32_t i, struct rewrite *rw)
{
    return then_add(f, i, rw, OP_moe_down, 3);
}

static bool rmsnorm_then_add(const struct fuser *f, int32_t i, struct rewrite *rw)
{
    return then_add(f, i, rw, OP_rmsnorm, 1);
}

static bool layernorm_then_add(const struct fuser *f, int32_t i, struct rewrite *rw)
{
    return then_add(f, i, rw, OP_layernorm, 1);
}

static bool bare_linear(const struct op *op)
{
    return op->kind == OP_linear && !op->act && op->in[1].v < 0 && is_one(op->a.lin.scale);
}

/* up * act(gate), both matrices reading one input. */
static bool linears_then_mul(const struct fuser *f, int32_t i, struct rewrite *rw)
{
    const struct op *op = &f->p->op[i];
    const struct op *g, *u;
    int32_t mg, mu;

    if (!whole(f->p, &op->in[0]) || !whole(f->p, &op->in[1]) || op->in[0].v == op->in[1].v)
        return false;
    mu = maker(f, op, 0, OP_linear, 1);
    mg = maker(f, op, 1, OP_linear, 1);
    if (mu < 0 || mg < 0)
        return false;
    g = &f->p->op[mg];
    u = &f->p->op[mu];
    if (!bare_linear(g) || !bare_linear(u) || memcmp(&g->in[0], &u->in[0], sizeof g->in[0]) != 0)
        return false;
    takes(rw, g, mg, op);
    rw->op.kind = OP_glu;
    rw->op.act = op->act;
    rw->op.w[1] = u->w[0];
    rw->op.w[2] = g->w[1];
    rw->op.w[3] = u->w[1];
    rw->gone[rw->n_gone++] = mu;
    return true;
}

/* The same with gate and up in one matrix. */
static bool linear_then_mul(const struct fuser *f, int32_t i, struct rewrite *rw)
{
    const struct op *op = &f->p->op[i];
    int half = op->in[0].cols;
    int32_t m;

    if (op->in[0].v < 0 || op->in[0].v != op->in[1].v || op->in[1].at != 0 ||
        op->in[0].at != half || f->p->value[op->in[0].v].cols != 2 * half)
        return false;
    m = maker(f, op, 0, OP_linear, 1);
    if (m < 0 || !bare_linear(&f->p->op[m]))
        return false;
    takes(rw, &f->p->op[m], m, op);
    rw->op.kind = OP_glu;
    rw->op.act = op->act;
    rw->op.w[2] = rw->op.w[1];
    rw->op.w[1] = -1;
    rw->op.a.lin.fused = true;
    return true;
}

/* Two to four matrices of one input, written side by side into one value by successive records.
 * The last of them is the place. */
static bool linears_side_by_side(const struct fuser *f, int32_t i, struct rewrite *rw)
{
    const struct plan *p = f->p;
    const struct op *op = &p->op[i];
    int n = 1;

    if (!bare_linear(op) || op->out[0].at == 0 ||
        op->out[0].at + op->out[0].cols != p->value[op->out[0].v].cols)
        return false;
    for (int32_t k = i - 1; k >= 0 && n < 4; k--, n++) {
        const struct op *q = &p->op[k];
        if (!bare_linear(q) || q->out[0].v != op->out[0].v ||
            memcmp(&q->in[0], &op->in[0], sizeof q->in[0]) != 0 ||
            q->out[0].at + q->out[0].cols != p->op[k + 1].out[0].at)
            break;
    }
    if (n < 2 || p->op[i - n + 1].out[0].at != 0)
        return false;
    rw->op = *op;
    rw->op.kind = OP_linear_multi;
    rw->op.out[0] = (struct ref){op->out[0].v, 0, p->value[op->out[0].v].cols};
    rw->n_gone = 0;
    for (int k = 0; k < n; k++) {
        rw->op.w[k] = p->op[i - n + 1 + k].w[0];
        rw->op.w[4 + k] = p->op[i - n + 1 + k].w[1];
        if (k < n - 1)
            rw->gone[rw->n_gone++] = i - n + 1 + k;
    }
    for (int k = n; k < 4; k++)
        rw->op.w[k] = rw->op.w[4 + k] = -1;
    return true;
}

static const struct {
    int last; // kind of the pattern's last record
    bool (*match)(const struct fuser *f, int32_t i, struct rewrite *rw);
} rows[] = {
    {OP_act, linear_then_act},      {OP_scale, linear_then_scale},
    {OP_scale, experts_then_scale}, {OP_add, linear_then_add},
    {OP_add, experts_then_add},     {OP_add, rmsnorm_then_add},
    {OP_add, layernorm_then_add},   {OP_mul, linears_then_mul},
    {OP_mul, linear_then_mul},      {OP_linear, linears_side_by_side},
};

/* -- the pass -- */

/* How many records read each value, and the record that alone writes all of it. */
static void look(struct fuser *f)
{
    const struct plan *p = f->p;

    for (int32_t v = 0; v < p->n_value; v++) {
        f->writer[v] = -1;
        f->reads[v] = 0;
    }
    for (int32_t i = 0; i < p->n_op; i++) {
        const struct op *op = &p->op[i];
        for (size_t k = 0; k < ARRAY_LEN(op->out); k++)
            if (whole(p, &op->out[k]))
                f->writer[op->out[k].v] = i;
        for (size_t k = 0; k < ARRAY_LEN(op->in); k++) {
            bool again = false; // several places of one record count once
            for (size_t j = 0; j < k; j++)
                again |= op->in[j].v == op->in[k].v;
            if (op->in[k].v >= 0 && !again)
                f->reads[op->in[k].v]++;
        }
    }
}

/* Replaces record i and marks the others as gone (kind OP_KINDS). */
static void apply(struct fuser *f, int32_t i, const struct rewrite *rw)
{
    f->p->op[i] = rw->op;
    for (int k = 0; k < rw->n_gone; k++)
        f->p->op[rw->gone[k]].kind = OP_KINDS;
}

static int squeeze(struct plan *p)
{
    int32_t n = 0;
    int gone;

    for (int32_t i = 0; i < p->n_op; i++)
        if (p->op[i].kind != OP_KINDS)
            p->op[n++] = p->op[i];
    gone = p->n_op - n;
    p->n_op = n;
    return gone;
}

/* One walk over the records. Writers are looked up again after each change, which moves none. */
static int pass(struct fuser *f)
{
    look(f);
    for (int32_t i = 0; i < f->p->n_op; i++)
        for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
            struct rewrite rw;
            if (f->p->op[i].kind != rows[r].last || !rows[r].match(f, i, &rw) ||
                !f->ask->can(f->ask->ctx, &rw.op))
                continue;
            apply(f, i, &rw);
            if (rw.op.out[0].v >= 0 && whole(f->p, &rw.op.out[0]))
                f->writer[rw.op.out[0].v] = i;
        }
    return squeeze(f->p);
}

int plan_fuse(struct plan *p, const struct fuse_ask *ask, struct err *e)
{
    struct fuser f = {.p = p, .ask = ask};
    int total = 0, n, rc = E_NOMEM;

    f.writer = mem_array((uint64_t)p->n_value, sizeof *f.writer, e);
    f.reads = mem_array((uint64_t)p->n_value, sizeof *f.reads, e);
    if (!f.writer || !f.reads)
        goto done;
    while ((n = pass(&f)) > 0)
        total += n;
    plan_lifetimes(p);
    rc = total;
done:
    mem_free(f.writer);
    mem_free(f.reads);
    return rc;
}
