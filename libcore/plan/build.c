/* build.c - the builder's frame: weights by name, values, records, the sticky error.
 *
 * Which records an architecture's call becomes is in records.c.
 */
#include "builder.h"

#include <stdio.h>

#include "base/mem.h"
#include "quant/quant.h"

enum {
    MAX_COLS = 1 << 27, // of a value: bytes of 2^31 rows still fit 63 bits
    MAX_OPS = 1 << 17,
};

/* -- life and errors -- */

int b_new(struct builder **out, struct weight *w, int n_w, int n_ctx, struct err *e)
{
    struct builder *b = mem_new(sizeof *b, e);
    int rc = E_NOMEM;

    *out = NULL;
    if (!b || !(b->plan = mem_new(sizeof *b->plan, e)))
        goto fail;
    b->e = e;
    b->layer = -1;
    b->plan->w = w;
    b->plan->n_w = n_w;
    b->plan->n_ctx = n_ctx;
    b->plan->granule = 1;
    b->plan->logits = b->plan->hidden = -1;
    if (n_w > INT16_MAX) {
        rc = err_set(e, E_UNSUPPORTED, "%d tensors, a plan holds at most %d", n_w, INT16_MAX);
        goto fail;
    }
    if ((rc = map_init(&b->names, (uint64_t)n_w, e)) < 0)
        goto fail;
    for (int i = 0; i < n_w; i++)
        if ((rc = map_put(&b->names, slice_of(w[i].name), (uint32_t)i, e)) < 0)
            goto fail;
    *out = b;
    return 0;
fail:
    b_free(b);
    return rc;
}

void b_free(struct builder *b)
{
    if (!b)
        return;
    plan_free(b->plan);
    map_fini(&b->names);
    mem_free(b);
}

void plan_free(struct plan *p)
{
    if (!p)
        return;
    mem_free(p->op);
    mem_free(p->value);
    mem_free(p->kv);
    mem_free(p->group);
    mem_free(p);
}

int plan_head(struct plan **out, const struct plan *p, struct err *e)
{
    struct plan *h = mem_dup(p, sizeof *p, e);

    *out = NULL;
    if (!h)
        return E_NOMEM;
    h->n_op = 0;
    for (int32_t i = 0; i < p->n_op; i++)
        for (size_t k = 0; k < ARRAY_LEN(p->op[i].out); k++)
            if (p->hidden >= 0 && p->op[i].out[k].v == p->hidden)
                h->n_op = i + 1;
    h->logits = -1;
    h->op = mem_dup(p->op, (uint64_t)h->n_op * sizeof *h->op, e);
    h->value = mem_dup(p->value, (uint64_t)p->n_value * sizeof *h->value, e);
    h->kv = mem_dup(p->kv, (uint64_t)p->n_kv * sizeof *h->kv, e);
    h->group = mem_dup(p->group, (uint64_t)p->n_group * sizeof *h->group, e);
    if (!h->op || !h->value || !h->kv || !h->group) {
        plan_free(h);
        return E_NOMEM;
    }
    plan_lifetimes(h);
    *out = h;
    return 0;
}

struct plan *b_take(struct builder *b)
{
    struct plan *p = b->plan;

    if (b->code < 0)
        return NULL;
    b->plan = NULL;
    b->code = E_USAGE;
    plan_lifetimes(p);
    return p;
}

int b_status(const struct builder *b)
{
    return b->code;
}

int b_fail(struct builder *b, int code, const char *fmt, ...)
{
    char text[400];
    va_list ap;

    if (b->code < 0)
        return b->code;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    b->code = code;
    return err_set(b->e, code, "%s", text);
}

void b_adapted(struct builder *b, bool steered)
{
    b->adapted = true;
    b->steered = steered;
}

/* What a layer made last goes on to the next: a whole value as wide as the first one. */
static void steer(struct builder *b)
{
    const struct plan *p = b->plan;
    struct op op = b_op(b, OP_steer);

    op.out[0] = op.in[0] = p->op[p->n_op - 1].out[0];
    if (b->code < 0 || op.out[0].v < 0 || op.out[0].at != 0 ||
        op.out[0].cols != p->value[op.out[0].v].cols || op.out[0].cols != p->op[0].out[0].cols)
        return; // control vectors with a direction here are refused
    b_emit(b, &op);
}

void b_layer(struct builder *b, int layer)
{
    if (b->steered && b->layer >= 0 && layer != b->layer && b->plan->n_op > 0)
        steer(b);
    b->layer = layer;
}

/* Makes room for one more element in an array of the plan. */
static bool grow(struct builder *b, void **p, int32_t n, uint64_t *cap, size_t size)
{
    uint64_t want = *cap ? *cap * 2 : 64;
    void *q;

    if (b->code < 0)
        return false;
    if ((uint64_t)n < *cap)
        return true;
    if (n >= MAX_OPS) {
        b_fail(b, E_UNSUPPORTED, "a plan of more than %d records", MAX_OPS);
        return false;
    }
    if (!(q = mem_resize(*p, *cap, want, size, b->e))) {
        b->code = E_NOMEM;
        return false;
    }
    *p = q;
    *cap = want;
    return true;
}

/* -- weights -- */

static wref find(struct builder *b, const char *name, int layer, const char *suffix, bool must)
{
    char full[128];
    uint32_t i;

    if (b->code < 0)
        return -1;
    if (layer >= 0)
        snprintf(full, sizeof full, "blk.%d.%s%s", layer, name, suffix);
    else
        snprintf(full, sizeof full, "%s%s", name, suffix);
    if (map_get(&b->names, slice_of(full), &i))
        return (wref)i;
    if (must)
        b_fail(b, E_FORMAT, "tensor '%s' is missing", full);
    return -1;
}

wref W(struct builder *b, const char *name, int layer)
{
    return find(b, name, layer, ".weight", true);
}

wref Wopt(struct builder *b, const char *name, int layer)
{
    return find(b, name, layer, ".weight", false);
}

wref Wb(struct builder *b, const char *name, int layer)
{
    return find(b, name, layer, ".bias", true);
}

wref Bopt(struct builder *b, const char *name, int layer)
{
    return find(b, name, layer, ".bias", false);
}

wref Wraw(struct builder *b, const char *name, int layer)
{
    return find(b, name, layer, "", false);
}

const struct weight *b_weight(const struct builder *b, wref w)
{
    return b->code < 0 || w < 0 || w >= b->plan->n_w ? NULL : &b->plan->w[w];
}

int b_context(const struct builder *b)
{
    return b->plan ? b->plan->n_ctx : 0;
}

bool b_need_vector(struct builder *b, wref w, int64_t n)
{
    const struct weight *p;

    if (b->code < 0)
        return false;
    if (w < 0)
        return true;
    p = b_weight(b, w);
    if (p->n * p->rows * p->cols != n)
        b_fail(b, E_FORMAT, "tensor '%s': %lld numbers, expected %lld", p->name,
               (long long)(p->n * p->rows * p->cols), (long long)n);
    else if (p->fmt != FMT_F32)
        b_fail(b, E_UNSUPPORTED, "tensor '%s': a vector must be F32", p->name);
    return b->code == 0;
}

int b_need_matrix(struct builder *b, wref w, int n, int64_t rows, int64_t cols)
{
    const struct weight *p = b_weight(b, w);

    if (b->code < 0)
        return 0;
    if (!p)
        b_fail(b, E_USAGE, "a matrix is missing in a plan");
    else if (p->n != n)
        b_fail(b, E_FORMAT, "tensor '%s': %d matrices, expected %d", p->name, p->n, n);
    else if (p->cols != cols)
        b_fail(b, E_FORMAT, "tensor '%s': %lld columns, expected %lld", p->name, (long long)p->cols,
               (long long)cols);
    else if (rows && p->rows != rows)
        b_fail(b, E_FORMAT, "tensor '%s': %lld rows, expected %lld", p->name, (long long)p->rows,
               (long long)rows);
    else if (p->rows > MAX_COLS)
        b_fail(b, E_UNSUPPORTED, "tensor '%s': more than %d rows", p->name, MAX_COLS);
    return b->code < 0 ? 0 : (int)p->rows;
}

/* -- values -- */

val b_value(struct builder *b, enum row_kind rows, int cols)
{
    struct plan *p = b->plan;

    if (b->code == 0 && (cols <= 0 || cols > MAX_COLS))
        b_fail(b, E_RANGE, "a value of %d columns in a plan", cols);
    if (!grow(b, (void **)&p->value, b->code < 0 ? 0 : p->n_value, &b->cap_value, sizeof *p->value))
        return B_NONE;
    p->value[p->n_value] =
        (struct value){.rows = (uint8_t)rows, .cols = cols, .born = -1, .dies = -1};
    return (val){p->n_value++, 0, cols};
}

val b_cols(struct builder *b, val v, int at, int cols)
{
    if (b->code < 0)
        return B_NONE;
    if (v.v < 0 || at < 0 || cols <= 0 || cols > v.cols || at > v.cols - cols) {
        b_fail(b, E_RANGE, "columns %d to %lld of a value of %d", at, (long long)at + cols, v.cols);
        return B_NONE;
    }
    return (val){v.v, v.at + at, cols};
}

bool b_need_value(struct builder *b, val x, int cols, const char *what)
{
    if (b->code < 0)
        return false;
    if (x.v < 0)
        b_fail(b, E_USAGE, "%s: an input is missing in a plan", what);
    else if (cols && x.cols != cols)
        b_fail(b, E_FORMAT, "%s: %d columns, expected %d", what, x.cols, cols);
    return b->code == 0;
}

/* -- records -- */

struct op b_op(const struct builder *b, enum op_kind kind)
{
    struct op op = {.kind = (uint8_t)kind, .layer = (int16_t)b->layer};

    for (size_t i = 0; i < ARRAY_LEN(op.out); i++)
        op.out[i] = B_NONE;
    for (size_t i = 0; i < ARRAY_LEN(op.in); i++)
        op.in[i] = B_NONE;
    for (size_t i = 0; i < ARRAY_LEN(op.w); i++)
        op.w[i] = -1;
    return op;
}

void b_emit(struct builder *b, const struct op *op)
{
    struct plan *p = b->plan;

    if (b->code < 0 || !grow(b, (void **)&p->op, p->n_op, &b->cap_op, sizeof *p->op))
        return;
    for (size_t i = 0; i < ARRAY_LEN(op->in); i++)
        if (op->in[i].v >= 0 && p->value[op->in[i].v].born < 0) {
            b_fail(b, E_USAGE, "a record reads value %d before it is written", op->in[i].v);
            return;
        }
    for (size_t i = 0; i < ARRAY_LEN(op->out); i++)
        if (op->out[i].v >= 0 && p->value[op->out[i].v].born < 0)
            p->value[op->out[i].v].born = p->n_op;
    p->op[p->n_op++] = *op;
}

uint32_t b_state(struct builder *b, uint64_t bytes)
{
    uint64_t at = b->plan->state_bytes, end;

    if (b->code < 0)
        return 0;
    if (!add_ok(at, bytes, &end) || !pad_ok(end, 64, &end) || end > UINT32_MAX) {
        b_fail(b, E_UNSUPPORTED, "more than 4 GiB of recurrent state per sequence");
        return 0;
    }
    b->plan->state_bytes = (uint32_t)end;
    return (uint32_t)at;
}

/* The group of layers with this window and these row sizes; made when there is none yet. */
static int group_of(struct builder *b, int window, const struct kv_layer *like)
{
    struct plan *p = b->plan;

    for (int i = 0; i < p->n_kv; i++) {
        const struct kv_layer *l = &p->kv[i];
        if (p->group[l->group].window == window && l->n_kv * l->dk == like->n_kv * like->dk &&
            l->n_kv * l->dv == like->n_kv * like->dv)
            return l->group;
    }
    if (!grow(b, (void **)&p->group, p->n_group, &b->cap_group, sizeof *p->group))
        return -1;
    p->group[p->n_group] = (struct kv_group){.window = window};
    return p->n_group++;
}

int b_kv_store(struct builder *b, val k, val v, int n_kv, int dk, int dv, int window)
{
    struct plan *p = b->plan;
    struct kv_layer l = {.n_kv = n_kv, .dk = dk, .dv = dv};
    struct op op = b_op(b, OP_kv_store);

    if (b->code < 0)
        return -1;
    if (n_kv <= 0 || dk <= 0 || dv < 0 || window < 0 || (int64_t)n_kv * dk > MAX_COLS ||
        (int64_t)n_kv * dv > MAX_COLS)
        return b_fail(b, E_RANGE, "key/value layer of %d heads of %d and %d columns", n_kv, dk, dv);
    b_need_value(b, k, n_kv * dk, "keys");
    if (dv)
        b_need_value(b, v, n_kv * dv, "values");
    l.group = b->code < 0 ? -1 : group_of(b, window, &l);
    if (l.group < 0 || !grow(b, (void **)&p->kv, p->n_kv, &b->cap_kv, sizeof *p->kv))
        return -1;
    p->kv[p->n_kv] = l;
    p->group[l.group].n_layer++;
    op.in[0] = k;
    op.in[1] = dv ? v : B_NONE;
    op.a.attn.kv = p->n_kv;
    op.a.attn.n_kv = n_kv;
    op.a.attn.dk = dk;
    op.a.attn.dv = dv;
    op.a.attn.window = window;
    b_emit(b, &op);
    return p->n_kv++;
}
