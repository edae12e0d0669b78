/* arena.c - where values and key/value rows lie: lives of values, one block of memory for all of
 * them, and the layout of pages.
 */
#include "plan/plan.h"

#include "base/mem.h"
#include "quant/quant.h"

enum { ALIGN = 64 };

static void touch(struct value *v, int32_t at)
{
    if (v->born < 0)
        v->born = at;
    v->dies = at;
}

void plan_lifetimes(struct plan *p)
{
    for (int32_t i = 0; i < p->n_value; i++)
        p->value[i].born = p->value[i].dies = -1;
    for (int32_t i = 0; i < p->n_op; i++) {
        const struct op *op = &p->op[i];
        for (size_t k = 0; k < ARRAY_LEN(op->out); k++)
            if (op->out[k].v >= 0)
                touch(&p->value[op->out[k].v], i);
        for (size_t k = 0; k < ARRAY_LEN(op->in); k++)
            if (op->in[k].v >= 0)
                touch(&p->value[op->in[k].v], i);
    }
    /* the caller reads these two when the last record has run */
    if (p->logits >= 0)
        p->value[p->logits].dies = p->n_op;
    if (p->hidden >= 0)
        p->value[p->hidden].dies = p->n_op;
}

int64_t plan_rows(const struct plan *p, int rows, int64_t n_t, int64_t n_s)
{
    switch (rows) {
    case ROWS_T:
        return n_t;
    case ROWS_S:
        return n_s;
    case ROWS_E:
        return n_t * p->n_used;
    default:
        return 1;
    }
}

static uint64_t value_bytes(const struct plan *p, const struct value *v, int64_t n_t, int64_t n_s)
{
    uint64_t n = (uint64_t)plan_rows(p, v->rows, n_t, n_s) * (uint64_t)v->cols * 4;

    return v->born < 0 ? 0 : (n + ALIGN - 1) & ~(uint64_t)(ALIGN - 1);
}

/* A record's inputs and outputs are alive together: nothing is computed in place. */
static bool alive_together(const struct value *a, const struct value *b)
{
    return a->born >= 0 && b->born >= 0 && a->born <= b->dies && b->born <= a->dies;
}

/* Each value takes the lowest place that is free during its life. Few are alive at a time, so the
 * search ends after a few steps. */
uint64_t plan_arena(const struct plan *p, int64_t n_t, int64_t n_s, uint64_t *at)
{
    uint64_t total = 0;

    for (int32_t i = 0; i < p->n_value; i++) {
        const struct value *v = &p->value[i];
        uint64_t n = value_bytes(p, v, n_t, n_s);
        uint64_t try = 0;
        for (int32_t k = 0; k < i; k++) {
            uint64_t end = at[k] + value_bytes(p, &p->value[k], n_t, n_s);
            if (n && alive_together(v, &p->value[k]) && at[k] < try + n && try < end) {
                try = end;
                k = -1;
            }
        }
        at[i] = try;
        if (try + n > total)
            total = try + n;
    }
    return total;
}

/* -- pages -- */

uint32_t plan_kv_row(int type, int32_t n)
{
    uint64_t bytes = 0;

    if (type == FMT_KV_F8)
        return (uint32_t)n;
    if (!fmt_row_bytes(type, (uint64_t)n, &bytes) || bytes > UINT32_MAX)
        return 0;
    return (uint32_t)bytes;
}

static const char *type_name(int type)
{
    const struct fmt_info *f = fmt_find(type);

    return f ? f->name : type == FMT_KV_F8 ? "F8" : "an unknown type";
}

int plan_kv_layout(struct plan *p, int type_k, int type_v, struct err *e)
{
    for (int32_t g = 0; g < p->n_group; g++) {
        uint64_t at = 0;
        for (int32_t i = 0; i < p->n_kv; i++) {
            struct kv_layer *l = &p->kv[i];
            uint64_t row_k = (uint64_t)l->n_kv * plan_kv_row(type_k, l->dk);
            uint64_t row_v = l->dv ? (uint64_t)l->n_kv * plan_kv_row(type_v, l->dv) : 0;
            if (l->group != g)
                continue;
            if (!row_k || (l->dv && !row_v))
                return err_set(e, E_UNSUPPORTED,
                               "keys in %s and values in %s cannot have %d and %d columns a head",
                               type_name(type_k), type_name(type_v), l->dk, l->dv);
            l->at = (uint32_t)at;
            at += KV_PAGE * (row_k + row_v);
            if (at > UINT32_MAX - 1024)
                return err_set(e, E_UNSUPPORTED, "a key/value page of more than 4 GiB");
        }
        p->group[g].bytes = (uint32_t)((at + 1023) & ~UINT64_C(1023));
    }
    p->kv_type_k = type_k;
    p->kv_type_v = type_v;
    return 0;
}
