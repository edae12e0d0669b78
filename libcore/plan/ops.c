/* ops.c - the table of record kinds and what a record costs. */
#include "plan/ops.h"

#include "base/mem.h"

static const struct op_info infos[] = {
#define OP(name, inputs, weights, flops, bytes, text) [OP_##name] = {#name, inputs, weights, text},
#include "plan/ops.def"
#undef OP
};
_Static_assert(OP_KINDS <= 48, "the cap on kinds of records");

static const char *const acts[ACT_KINDS] = {
    [ACT_NONE] = "none", [ACT_SILU] = "silu",       [ACT_GELU] = "gelu",
    [ACT_RELU] = "relu", [ACT_RELU2] = "relu2",     [ACT_GELU_TANH] = "gelu_tanh",
    [ACT_TANH] = "tanh", [ACT_SIGMOID] = "sigmoid", [ACT_SWIGLU_OAI] = "swiglu_oai",
};

const struct op_info *op_info(int kind)
{
    return kind >= 0 && kind < OP_KINDS ? &infos[kind] : NULL;
}

const char *op_name(int kind)
{
    const struct op_info *i = op_info(kind);

    return i ? i->name : "?";
}

const char *act_name(int act)
{
    return act >= 0 && act < ACT_KINDS ? acts[act] : "?";
}

/* -- cost -- */

/* Rows a record works on: pairs, if it has any; else those it writes; else those it reads. */
static int64_t work_rows(const struct plan *p, const struct op *op, int64_t n_t, int64_t n_s)
{
    const struct ref *r = op->out[0].v >= 0 ? &op->out[0] : &op->in[0];

    for (size_t i = 0; i < ARRAY_LEN(op->in); i++)
        if (op->in[i].v >= 0 && p->value[op->in[i].v].rows == ROWS_E)
            r = &op->in[i];
    return r->v >= 0 ? plan_rows(p, p->value[r->v].rows, n_t, n_s) : 0;
}

/* Bytes of a record's weights that are read: of a stack of experts only those that some row chose,
 * every choice being equally likely. */
static double weight_bytes(const struct plan *p, const struct op *op, double pairs)
{
    double sum = 0;

    for (size_t i = 0; i < ARRAY_LEN(op->w); i++) {
        const struct weight *w = op->w[i] >= 0 ? &p->w[op->w[i]] : NULL;
        double bytes = 0, missed = 1;
        if (!w)
            continue;
        for (size_t k = 0; k < ARRAY_LEN(w->part); k++)
            bytes += (double)w->part[k].bytes;
        if (op->kind == OP_moe_glu || op->kind == OP_moe_down) {
            for (int64_t k = 0; k < (int64_t)pairs && missed > 1e-6; k++)
                missed *= 1.0 - 1.0 / w->n;
            bytes *= 1.0 - missed;
        }
        sum += bytes;
    }
    return sum;
}

static double kv_bytes(const struct plan *p, const struct op *op)
{
    const struct kv_layer *l;

    if (op->kind != OP_attn)
        return 0;
    l = &p->kv[op->a.attn.kv];
    return (double)plan_kv_row(p->kv_type_k, l->n_kv * l->dk) +
           (l->dv ? (double)plan_kv_row(p->kv_type_v, l->n_kv * l->dv) : 0);
}

struct op_cost op_cost(const struct plan *p, const struct op *op, int64_t n_t, int64_t n_s,
                       int64_t n_pos)
{
    double R = (double)work_rows(p, op, n_t, n_s);
    double I = op->in[0].v >= 0 ? op->in[0].cols : 0;
    double O = op->out[0].v >= 0 ? op->out[0].cols : 0;
    double W = weight_bytes(p, op, R);
    double H = op->kind == OP_linear_heads ? op->a.heads.n_head : 1;
    double S = op->kind == OP_ssm_scan ? op->a.scan.d_state : op->a.scan.head_dim;
    double K = kv_bytes(p, op);
    double P = (double)n_pos;
    struct op_cost c = {0, 0};

    if (op->kind == OP_attn && op->a.attn.window && (double)op->a.attn.window * R < P)
        P = (double)op->a.attn.window * R;
    switch (op->kind) {
#define OP(name, inputs, weights, flops_, bytes_, text)                                            \
    case OP_##name:                                                                                \
        c.flops = (flops_);                                                                        \
        c.bytes = (bytes_);                                                                        \
        break;
#include "plan/ops.def"
#undef OP
    }
    return c;
}
