/* print.c - a plan as text, one line a record; the format is described in rill-plan(5). */
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "plan/ops.h"
#include "quant/quant.h"

static const char *const row_names[] = {
    [ROWS_T] = "T", [ROWS_S] = "S", [ROWS_E] = "E", [ROWS_1] = "1"};
static const char *const gate_names[] = {
    [GATE_SOFTMAX] = "softmax", [GATE_SIGMOID] = "sigmoid", [GATE_SOFTMAX_TOPK] = "softmax_topk"};

static void put_ref(const struct plan *p, struct buf *out, const struct ref *r, bool shape)
{
    const struct value *v = &p->value[r->v];

    buf_printf(out, "v%d", r->v);
    if (shape)
        buf_printf(out, ":%sx%d", row_names[v->rows], v->cols);
    if (r->at != 0 || r->cols != v->cols)
        buf_printf(out, "[%d:%d]", r->at, r->at + r->cols);
}

static void put_weight(const struct plan *p, struct buf *out, int w)
{
    const struct weight *t = &p->w[w];
    const struct fmt_info *f = fmt_find(t->fmt);

    buf_printf(out, "%s{%s ", t->name, f ? f->name : "?");
    if (t->n > 1)
        buf_printf(out, "%dx", t->n);
    buf_printf(out, "%lldx%lld}", (long long)t->rows, (long long)t->cols);
}

/* An argument that is not at its usual value. */
static void put_int(struct buf *out, const char *name, int64_t v, int64_t usual)
{
    if (v != usual)
        buf_printf(out, " %s=%lld", name, (long long)v);
}

static void put_real(struct buf *out, const char *name, double v, double usual)
{
    if (v != usual)
        buf_printf(out, " %s=%g", name, v);
}

static void put_rope(struct buf *out, const struct rope_args *a)
{
    buf_printf(out, " heads=%d %s rot=%d", a->n_head, a->mode == ROPE_NEOX ? "neox" : "norm",
               a->n_rot);
    buf_printf(out, " in=%d+%d", a->head_in, a->at_in);
    if (a->head_in != a->head_out || a->at_in != a->at_out)
        buf_printf(out, " out=%d+%d", a->head_out, a->at_out);
    buf_printf(out, " base=%g", (double)a->base);
    put_real(out, "freq_scale", (double)a->freq_scale, 1);
    put_real(out, "ext", (double)a->ext_factor, 0);
    if (a->attn_factor != 0.0f)
        put_real(out, "attn", (double)a->attn_factor, 1);
    if (a->ext_factor != 0.0f)
        buf_printf(out, " beta=%g,%g orig=%d", (double)a->beta_fast, (double)a->beta_slow,
                   a->n_ctx_orig);
    if (a->ramp_exact)
        buf_str(out, " ramp=exact");
}

static void put_attn(const struct plan *p, struct buf *out, const struct op *op)
{
    const struct attn_args *a = &op->a.attn;

    buf_printf(out, " kv=%d group=%d heads=%d/%d dk=%d dv=%d", a->kv, p->kv[a->kv].group, a->n_head,
               a->n_kv, a->dk, a->dv);
    put_int(out, "window", a->window, 0);
    if (a->v_in_k)
        buf_str(out, " v_in_k");
    put_real(out, "scale", (double)a->scale, 0);
    put_real(out, "softcap", (double)a->softcap, 0);
    put_real(out, "alibi", (double)a->alibi, 0);
}

static void put_moe(struct buf *out, const struct op *op)
{
    const struct moe_args *a = &op->a.moe;

    buf_printf(out, " experts=%d/%d", a->n_used, a->n_expert);
    if (op->kind == OP_moe_route) {
        buf_printf(out, " gate=%s", gate_names[a->gate]);
        if (a->n_group)
            buf_printf(out, " groups=%d/%d", a->n_group_used, a->n_group);
        if (a->norm)
            buf_str(out, " norm");
    }
    if (op->kind == OP_moe_glu) {
        buf_printf(out, " act=%s", act_name(a->act));
        put_real(out, "limit", (double)a->limit, 0);
    } else if (a->scale != 0.0f) {
        put_real(out, "scale", (double)a->scale, 1);
    }
}

static void put_scan(struct buf *out, const struct op *op)
{
    const struct scan_args *a = &op->a.scan;

    put_int(out, "heads", a->n_head, 0);
    put_int(out, "dim", a->head_dim, 0);
    put_int(out, "groups", a->n_group, 0);
    put_int(out, "state", a->d_state, 0);
    put_int(out, "width", a->width, 0);
    if (a->act)
        buf_printf(out, " act=%s", act_name(a->act));
    put_real(out, "eps", (double)a->eps, 0);
    buf_printf(out, " slot=%u+%u", a->state_at, a->state_bytes);
}

static void put_args(const struct plan *p, struct buf *out, const struct op *op)
{
    switch (op->kind) {
    case OP_rmsnorm:
    case OP_layernorm:
        buf_printf(out, " eps=%g", (double)op->a.norm.eps);
        put_int(out, "group", op->a.norm.group, 0);
        return;
    case OP_rope:
        put_rope(out, &op->a.rope);
        return;
    case OP_kv_store:
        buf_printf(out, " kv=%d group=%d", op->a.attn.kv, p->kv[op->a.attn.kv].group);
        return;
    case OP_attn:
        put_attn(p, out, op);
        return;
    case OP_linear_heads:
        buf_printf(out, " heads=%d in=%d+%d out=%d+%d", op->a.heads.n_head, op->a.heads.head_in,
                   op->a.heads.at_in, op->a.heads.head_out, op->a.heads.at_out);
        return;
    case OP_moe_route:
    case OP_moe_glu:
    case OP_moe_down:
        put_moe(out, op);
        return;
    case OP_conv1d:
    case OP_shift:
    case OP_ssm_scan:
    case OP_rwkv:
        put_scan(out, op);
        return;
    default:
        break;
    }
    if (op->act)
        buf_printf(out, " act=%s", act_name(op->act));
    if (op->kind == OP_softcap)
        buf_printf(out, " cap=%g", (double)op->a.lin.scale);
    else if (op->a.lin.scale != 0.0f)
        put_real(out, "scale", (double)op->a.lin.scale, 1);
    put_real(out, "limit", (double)op->a.lin.limit, 0);
    if (op->a.lin.fused)
        buf_str(out, " fused");
}

static void put_op(const struct plan *p, struct buf *out, int32_t i)
{
    const struct op *op = &p->op[i];
    const char *sep = " ";

    buf_printf(out, "%5d ", i);
    if (op->layer >= 0)
        buf_printf(out, "%4d ", op->layer);
    else
        buf_str(out, "   - ");
    buf_printf(out, "%-12s", op_name(op->kind));
    for (size_t k = 0; k < ARRAY_LEN(op->out); k++)
        if (op->out[k].v >= 0) {
            buf_str(out, sep);
            put_ref(p, out, &op->out[k], true);
            sep = ", ";
        }
    buf_str(out, *sep == ',' ? " =" : "");
    sep = " ";
    for (size_t k = 0; k < ARRAY_LEN(op->in); k++)
        if (op->in[k].v >= 0) {
            buf_str(out, sep);
            put_ref(p, out, &op->in[k], false);
            sep = ", ";
        }
    for (size_t k = 0; k < ARRAY_LEN(op->w); k++)
        if (op->w[k] >= 0) {
            buf_str(out, sep);
            put_weight(p, out, op->w[k]);
            sep = ", ";
        }
    put_args(p, out, op);
}

void plan_print(const struct plan *p, struct buf *out,
                const char *(*kernel)(const void *ctx, const struct op *op), const void *ctx)
{
    buf_printf(out, "# %d records, %d values, context %d", p->n_op, p->n_value, p->n_ctx);
    if (p->n_used)
        buf_printf(out, ", %d experts a token", p->n_used);
    if (p->state_bytes)
        buf_printf(out, ", state %u bytes", p->state_bytes);
    if (p->granule > 1)
        buf_printf(out, ", granule %d", p->granule);
    buf_byte(out, '\n');
    for (int32_t g = 0; g < p->n_group; g++) {
        buf_printf(out, "# group %d: %d layers, ", g, p->group[g].n_layer);
        if (p->group[g].window)
            buf_printf(out, "window %d, ", p->group[g].window);
        buf_printf(out, "%u bytes a page of %d\n", p->group[g].bytes, KV_PAGE);
    }
    for (int32_t i = 0; i < p->n_op; i++) {
        const char *name = kernel ? kernel(ctx, &p->op[i]) : NULL;
        put_op(p, out, i);
        if (name)
            buf_printf(out, " ; %s", name);
        buf_byte(out, '\n');
    }
}
