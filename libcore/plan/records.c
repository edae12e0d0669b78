/* records.c - what each call of an architecture becomes.
 *
 * The plan is written in its plainest form: a matrix with an activation is two records. What a
 * device can do in one step is put together afterwards, by fuse.c, so that RILL_NOFUSE=1 leaves
 * exactly the records written here.
 */
#include "builder.h"

#include "plan/ops.h"

enum {
    MAX_LERP = 64,     // results a lerp may have side by side
    MAX_HEADS = 16384, // heads, and columns of one: products fit an int
};

static int rows_of(const struct builder *b, val x)
{
    return b->plan->value[x.v].rows;
}

/* A new value with x's rows. */
static val like(struct builder *b, val x, int cols)
{
    return b->code < 0 || x.v < 0 ? B_NONE : b_value(b, rows_of(b, x), cols);
}

static bool plain(float scale)
{
    return scale == 0.0f || scale == 1.0f;
}

/* -- rows in and out -- */

static val embed(struct builder *b, wref table, wref positions, wref types, float scale)
{
    const struct weight *t = b_weight(b, table);
    struct op op = b_op(b, OP_embed);

    if (!t || !b_need_matrix(b, table, 1, 0, t->cols))
        return B_NONE;
    if (t->cols > INT32_MAX) {
        b_fail(b, E_RANGE, "tensor '%s': %lld columns", t->name, (long long)t->cols);
        return B_NONE;
    }
    if (positions >= 0 && b_need_matrix(b, positions, 1, 0, t->cols) < b_context(b))
        b_fail(b, E_RANGE, "tensor '%s' has %lld positions, the context is %d",
               b_weight(b, positions)->name, (long long)b_weight(b, positions)->rows, b_context(b));
    if (types >= 0)
        b_need_matrix(b, types, 1, 0, t->cols);
    op.out[0] = b_value(b, ROWS_T, (int)t->cols);
    op.w[0] = (int16_t)table;
    op.w[1] = (int16_t)positions;
    op.w[2] = (int16_t)types;
    op.a.lin.scale = scale;
    b_emit(b, &op);
    return op.out[0];
}

val b_embed(struct builder *b, wref table, wref positions, float scale)
{
    return embed(b, table, positions, -1, scale);
}

val b_embed_typed(struct builder *b, wref table, wref positions, wref types)
{
    return embed(b, table, positions, types, 1.0f);
}

/* A record of one input and one output of the same width. */
static val simple(struct builder *b, enum op_kind kind, val to, val x, int act, float scale)
{
    struct op op = b_op(b, kind);

    if (!b_need_value(b, x, 0, op_name(kind)))
        return B_NONE;
    op.out[0] = to.v >= 0 ? to : like(b, x, x.cols);
    b_need_value(b, op.out[0], x.cols, op_name(kind));
    op.in[0] = x;
    op.act = (uint8_t)act;
    op.a.lin.scale = scale;
    b_emit(b, &op);
    return op.out[0];
}

val b_take_rows(struct builder *b, val x)
{
    if (!b_need_value(b, x, 0, "take_rows"))
        return B_NONE;
    if (rows_of(b, x) != ROWS_T) {
        b_fail(b, E_USAGE, "take_rows of rows that are not the batch's");
        return B_NONE;
    }
    return simple(b, OP_take_rows, b_value(b, ROWS_S, x.cols), x, 0, 0);
}

val b_copy_to(struct builder *b, val to, val x)
{
    return simple(b, OP_copy, to, x, 0, 0);
}

val b_scale(struct builder *b, val x, float s)
{
    return plain(s) && s != 0.0f ? x : simple(b, OP_scale, B_NONE, x, 0, s);
}

val b_act(struct builder *b, val x, enum act_kind act)
{
    return act == ACT_NONE ? x : simple(b, OP_act, B_NONE, x, act, 0);
}

val b_act_to(struct builder *b, val to, val x, enum act_kind act)
{
    return simple(b, OP_act, to, x, act, 0);
}

/* -- two inputs -- */

static val pair(struct builder *b, enum op_kind kind, val to, val x, val y, int act)
{
    struct op op = b_op(b, kind);

    if (!b_need_value(b, x, 0, op_name(kind)) || !b_need_value(b, y, x.cols, op_name(kind)))
        return B_NONE;
    if (rows_of(b, x) != rows_of(b, y)) {
        b_fail(b, E_USAGE, "%s of values with different rows", op_name(kind));
        return B_NONE;
    }
    op.out[0] = to.v >= 0 ? to : like(b, x, x.cols);
    op.in[0] = x;
    op.in[1] = y;
    op.act = (uint8_t)act;
    b_emit(b, &op);
    return op.out[0];
}

val b_add(struct builder *b, val x, val y)
{
    return pair(b, OP_add, B_NONE, x, y, 0);
}

val b_mul(struct builder *b, val x, val y, enum act_kind act_of_y)
{
    return pair(b, OP_mul, B_NONE, x, y, act_of_y);
}

/* -- norms -- */

static val norm(struct builder *b, enum op_kind kind, val to, val x, const wref w[2], float eps,
                int group)
{
    struct op op = b_op(b, kind);

    if (!b_need_value(b, x, 0, op_name(kind)))
        return B_NONE;
    if (group < 0 || (group && x.cols % group)) {
        b_fail(b, E_FORMAT, "%s: %d columns in groups of %d", op_name(kind), x.cols, group);
        return B_NONE;
    }
    for (int i = 0; i < 2; i++) {
        const struct weight *p = b_weight(b, w[i]);
        b_need_vector(b, w[i], group && p && p->n * p->rows * p->cols == group ? group : x.cols);
        op.w[i] = (int16_t)w[i];
    }
    op.out[0] = to.v >= 0 ? to : like(b, x, x.cols);
    b_need_value(b, op.out[0], x.cols, op_name(kind));
    op.in[0] = x;
    op.a.norm.eps = eps;
    op.a.norm.group = group == x.cols ? 0 : group;
    b_emit(b, &op);
    return op.out[0];
}

val b_rmsnorm(struct builder *b, val x, wref w, float eps, int group, val add)
{
    val y = norm(b, OP_rmsnorm, B_NONE, x, (wref[2]){w, -1}, eps, group);

    return add.v >= 0 ? b_add(b, y, add) : y;
}

val b_rmsnorm_to(struct builder *b, val to, val x, wref w, float eps, int group)
{
    return norm(b, OP_rmsnorm, to, x, (wref[2]){w, -1}, eps, group);
}

val b_layernorm(struct builder *b, val x, wref w, wref bias, float eps, int group, val add)
{
    val y = norm(b, OP_layernorm, B_NONE, x, (wref[2]){w, bias}, eps, group);

    return add.v >= 0 ? b_add(b, y, add) : y;
}

/* -- matrices -- */

static void lora(struct builder *b, val y, val x, wref w)
{
    struct op op = b_op(b, OP_lora);

    op.out[0] = y;
    op.in[0] = x;
    op.in[1] = y;
    op.w[0] = (int16_t)w;
    b_emit(b, &op);
}

static val linear(struct builder *b, val to, val x, wref w, wref bias)
{
    struct op op = b_op(b, OP_linear);
    int rows;

    if (!b_need_value(b, x, 0, "linear") || !(rows = b_need_matrix(b, w, 1, 0, x.cols)))
        return B_NONE;
    b_need_vector(b, bias, rows);
    op.out[0] = to.v >= 0 ? to : like(b, x, rows);
    if (b->code == 0 && op.out[0].cols != rows)
        b_fail(b, E_FORMAT, "tensor '%s': %d rows, expected %d", b_weight(b, w)->name, rows,
               op.out[0].cols);
    op.in[0] = x;
    op.w[0] = (int16_t)w;
    op.w[1] = (int16_t)bias;
    b_emit(b, &op);
    if (b->adapted)
        lora(b, op.out[0], x, w);
    return op.out[0];
}

val b_linear(struct builder *b, val x, wref w, wref bias)
{
    return linear(b, B_NONE, x, w, bias);
}

val b_linear_act(struct builder *b, val x, wref w, wref bias, enum act_kind act)
{
    return b_act(b, linear(b, B_NONE, x, w, bias), act);
}

val b_linear_add(struct builder *b, val x, wref w, wref bias, float scale, val add)
{
    val y = linear(b, B_NONE, x, w, bias);

    if (!plain(scale))
        y = b_scale(b, y, scale);
    return b_add(b, y, add);
}

val b_linear_to(struct builder *b, val to, val x, wref w, wref bias, enum act_kind act)
{
    if (act == ACT_NONE)
        return linear(b, to, x, w, bias);
    return simple(b, OP_act, to, linear(b, B_NONE, x, w, bias), act, 0);
}

val b_linear_multi(struct builder *b, val x, const wref *w, const wref *bias, int n)
{
    int at = 0, total = 0;
    val out;

    if (!b_need_value(b, x, 0, "linear"))
        return B_NONE;
    for (int i = 0; i < n && b->code == 0; i++)
        total += b_need_matrix(b, w[i], 1, 0, x.cols);
    out = like(b, x, total);
    for (int i = 0; i < n && b->code == 0; i++) {
        int rows = (int)b_weight(b, w[i])->rows;
        linear(b, b_cols(b, out, at, rows), x, w[i], bias ? bias[i] : -1);
        at += rows;
    }
    return out;
}

val b_linear_heads(struct builder *b, val to, val x, wref w, int n_head, int head_in, int at_in,
                   int head_out, int at_out)
{
    const struct weight *p = b_weight(b, w);
    struct op op = b_op(b, OP_linear_heads);

    if (!p || n_head > MAX_HEADS || head_in > MAX_HEADS || head_out > MAX_HEADS ||
        !b_need_value(b, x, n_head * head_in, p->name) ||
        !b_need_value(b, to, n_head * head_out, p->name) ||
        !b_need_matrix(b, w, n_head, 0, p->cols))
        return B_NONE;
    if (at_in < 0 || at_out < 0 || at_in + p->cols > head_in || at_out + p->rows > head_out) {
        b_fail(b, E_FORMAT, "tensor '%s': %lld x %lld does not fit heads of %d and %d columns",
               p->name, (long long)p->rows, (long long)p->cols, head_out, head_in);
        return B_NONE;
    }
    op.out[0] = to;
    op.in[0] = x;
    op.w[0] = (int16_t)w;
    op.a.heads.n_head = n_head;
    op.a.heads.head_in = head_in;
    op.a.heads.head_out = head_out;
    op.a.heads.at_in = at_in;
    op.a.heads.at_out = at_out;
    op.a.heads.n_in = (int)p->cols;
    op.a.heads.n_out = (int)p->rows;
    b_emit(b, &op);
    return to;
}

val b_glu(struct builder *b, val x, wref gate, wref up, wref gate_b, wref up_b, enum act_kind act,
          float limit)
{
    struct op op = b_op(b, OP_glu);
    int rows;
    val g, u;

    if (!b_need_value(b, x, 0, "glu") || !(rows = b_need_matrix(b, gate, 1, 0, x.cols)))
        return B_NONE;
    if (up < 0 && rows % 2) {
        b_fail(b, E_FORMAT, "tensor '%s': %d rows cannot be halved", b_weight(b, gate)->name, rows);
        return B_NONE;
    }
    if (act != ACT_SWIGLU_OAI) {
        g = linear(b, B_NONE, x, gate, gate_b);
        if (up >= 0)
            return b_mul(b, linear(b, B_NONE, x, up, up_b), g, act);
        u = b_cols(b, g, rows / 2, rows / 2);
        return b_mul(b, u, b_cols(b, g, 0, rows / 2), act);
    }
    /* clamps both sides: no plainer records say that */
    if (up >= 0)
        b_need_matrix(b, up, 1, rows, x.cols);
    b_need_vector(b, gate_b, rows);
    b_need_vector(b, up_b, rows);
    op.out[0] = like(b, x, up < 0 ? rows / 2 : rows);
    op.in[0] = x;
    op.w[0] = (int16_t)gate;
    op.w[1] = (int16_t)up;
    op.w[2] = (int16_t)gate_b;
    op.w[3] = (int16_t)up_b;
    op.act = (uint8_t)act;
    op.a.lin.limit = limit;
    op.a.lin.fused = up < 0;
    b_emit(b, &op);
    return op.out[0];
}

/* -- attention -- */

val b_rope_to(struct builder *b, val to, val x, const struct rope_args *a, wref factors)
{
    struct op op = b_op(b, OP_rope);

    if (b->code < 0)
        return B_NONE;
    if (a->n_head <= 0 || a->n_head > MAX_HEADS || a->head_in > MAX_HEADS ||
        a->head_out > MAX_HEADS || a->n_rot <= 0 || a->n_rot % 2 || a->at_in < 0 || a->at_out < 0 ||
        a->at_in + a->n_rot > a->head_in || a->at_out + a->n_rot > a->head_out) {
        b_fail(b, E_FORMAT, "%d rotated columns in heads of %d", a->n_rot, a->head_in);
        return B_NONE;
    }
    b_need_value(b, x, a->n_head * a->head_in, "rope");
    b_need_value(b, to, a->n_head * a->head_out, "rope");
    b_need_vector(b, factors, a->n_rot / 2);
    op.out[0] = to;
    op.in[0] = x;
    op.w[0] = (int16_t)factors;
    op.a.rope = *a;
    b_emit(b, &op);
    return to;
}

val b_rope(struct builder *b, val x, const struct rope_args *a, wref factors)
{
    return b_rope_to(b, like(b, x, x.cols), x, a, factors);
}

val b_attn(struct builder *b, val q, const struct attn_args *a, wref sinks)
{
    struct op op = b_op(b, OP_attn);
    const struct kv_layer *l;

    if (b->code < 0)
        return B_NONE;
    if (a->kv < 0 || a->kv >= b->plan->n_kv) {
        b_fail(b, E_USAGE, "attention over key/value layer %d", a->kv);
        return B_NONE;
    }
    l = &b->plan->kv[a->kv];
    if (l->n_kv != a->n_kv || l->dk != a->dk || a->v_in_k != (l->dv == 0) || a->n_head <= 0 ||
        a->n_head > MAX_HEADS || a->n_head % a->n_kv || a->dv <= 0 ||
        (a->v_in_k ? a->dv > a->dk : a->dv != l->dv) ||
        a->window != b->plan->group[l->group].window) {
        b_fail(b, E_FORMAT, "attention of %d heads over %d key/value heads of %d and %d columns",
               a->n_head, l->n_kv, l->dk, l->dv);
        return B_NONE;
    }
    b_need_value(b, q, a->n_head * a->dk, "queries");
    b_need_vector(b, sinks, a->n_head);
    op.out[0] = like(b, q, a->n_head * a->dv);
    op.in[0] = q;
    op.w[0] = (int16_t)sinks;
    op.a.attn = *a;
    b_emit(b, &op);
    return op.out[0];
}

/* -- experts -- */

/* ids and weights of the chosen experts. */
static struct op route(struct builder *b, const struct moe_in *in, const struct moe_args *a)
{
    struct op op = b_op(b, OP_moe_route);

    b_need_value(b, in->router, a->n_expert, "router");
    b_need_vector(b, in->bias, a->n_expert);
    op.out[0] = like(b, in->router, a->n_used);
    op.out[1] = like(b, in->router, a->n_used);
    if (b->code == 0)
        b->plan->value[op.out[0].v].type = VAL_I32;
    op.in[0] = in->router;
    op.w[0] = (int16_t)in->bias;
    op.a.moe = *a;
    b_emit(b, &op);
    return op;
}

/* The first matrices of the chosen experts: [E x ff]. */
static val experts_glu(struct builder *b, const struct moe_in *in, const struct moe_args *a,
                       val ids)
{
    struct op op = b_op(b, OP_moe_glu);
    int rows = b_need_matrix(b, in->gate, a->n_expert, 0, in->x.cols);

    if (in->up >= 0)
        b_need_matrix(b, in->up, a->n_expert, rows, in->x.cols);
    else if (rows % 2)
        b_fail(b, E_FORMAT, "tensor '%s': %d rows cannot be halved", b_weight(b, in->gate)->name,
               rows);
    b_need_vector(b, in->gate_b, (int64_t)rows * a->n_expert);
    b_need_vector(b, in->up_b, (int64_t)rows * a->n_expert);
    if (b->code < 0)
        return B_NONE;
    op.out[0] = b_value(b, ROWS_E, in->up >= 0 ? rows : rows / 2);
    op.in[0] = in->x;
    op.in[1] = ids;
    op.w[0] = (int16_t)in->gate;
    op.w[1] = (int16_t)in->up;
    op.w[2] = (int16_t)in->gate_b;
    op.w[3] = (int16_t)in->up_b;
    op.act = (uint8_t)a->act;
    op.a.moe = *a;
    b_emit(b, &op);
    return op.out[0];
}

val b_moe(struct builder *b, const struct moe_in *in, const struct moe_args *a)
{
    struct op op = b_op(b, OP_moe_down);
    struct op r;
    int rows;

    if (!b_need_value(b, in->x, 0, "experts"))
        return B_NONE;
    if (a->n_expert <= 0 || a->n_used <= 0 || a->n_used > a->n_expert || a->n_group < 0 ||
        (a->n_group &&
         (a->n_expert % a->n_group || a->n_group_used <= 0 || a->n_group_used > a->n_group ||
          a->n_used > a->n_group_used * (a->n_expert / a->n_group))) ||
        (b->plan->n_used && b->plan->n_used != a->n_used)) {
        b_fail(b, E_FORMAT, "%d of %d experts in %d groups", a->n_used, a->n_expert, a->n_group);
        return B_NONE;
    }
    if (rows_of(b, in->x) != ROWS_T) {
        b_fail(b, E_USAGE, "experts of rows that are not the batch's");
        return B_NONE;
    }
    b->plan->n_used = a->n_used;
    r = route(b, in, a);
    op.in[0] = experts_glu(b, in, a, r.out[0]);
    rows = b_need_matrix(b, in->down, a->n_expert, 0, op.in[0].cols);
    b_need_vector(b, in->down_b, (int64_t)rows * a->n_expert);
    op.out[0] = like(b, in->x, rows);
    op.in[1] = r.out[0];
    op.in[2] = r.out[1];
    op.w[0] = (int16_t)in->down;
    op.w[1] = (int16_t)in->down_b;
    op.a.moe = *a;
    op.a.moe.scale = 1.0f;
    b_emit(b, &op);
    if (!plain(in->out_scale))
        op.out[0] = b_scale(b, op.out[0], in->out_scale);
    return in->add.v >= 0 ? b_add(b, op.out[0], in->add) : op.out[0];
}

/* -- recurrent records -- */

val b_conv1d(struct builder *b, val x, wref w, wref bias, enum act_kind act)
{
    const struct weight *p = b_weight(b, w);
    struct op op = b_op(b, OP_conv1d);

    if (!p || !b_need_value(b, x, 0, "conv1d") || !b_need_matrix(b, w, 1, x.cols, p->cols) ||
        !b_need_vector(b, w, x.cols * p->cols) || !b_need_vector(b, bias, x.cols))
        return B_NONE;
    if (p->cols < 2 || p->cols > 64) {
        b_fail(b, E_UNSUPPORTED, "tensor '%s': %lld taps", p->name, (long long)p->cols);
        return B_NONE;
    }
    op.out[0] = like(b, x, x.cols);
    op.in[0] = x;
    op.w[0] = (int16_t)w;
    op.w[1] = (int16_t)bias;
    op.a.scan.width = (int)p->cols;
    op.a.scan.act = act;
    op.a.scan.state_bytes = (uint32_t)((p->cols - 1) * x.cols * 4);
    op.a.scan.state_at = b_state(b, op.a.scan.state_bytes);
    b_emit(b, &op);
    return op.out[0];
}

val b_shift(struct builder *b, val x)
{
    struct op op = b_op(b, OP_shift);

    if (!b_need_value(b, x, 0, "shift"))
        return B_NONE;
    op.out[0] = like(b, x, x.cols);
    op.in[0] = x;
    op.a.scan.state_bytes = (uint32_t)x.cols * 4;
    op.a.scan.state_at = b_state(b, op.a.scan.state_bytes);
    b_emit(b, &op);
    return op.out[0];
}

static val lerp(struct builder *b, val x, val y, val gate, wref w)
{
    const struct weight *p = b_weight(b, w);
    int64_t n = p ? p->n * p->rows * p->cols : 0;
    struct op op = b_op(b, OP_lerp);

    if (!b_need_value(b, x, 0, "lerp") || !b_need_value(b, y, x.cols, "lerp"))
        return B_NONE;
    if (p && (n % x.cols || n > MAX_LERP * (int64_t)x.cols || n <= 0)) {
        b_fail(b, E_FORMAT, "tensor '%s': %lld numbers, expected a multiple of %d", p->name,
               (long long)n, x.cols);
        return B_NONE;
    }
    if (p)
        b_need_vector(b, w, n);
    else
        b_need_value(b, gate, x.cols, "lerp");
    op.out[0] = like(b, x, p ? (int)n : x.cols);
    op.in[0] = x;
    op.in[1] = y;
    op.in[2] = gate;
    op.w[0] = (int16_t)w;
    b_emit(b, &op);
    return op.out[0];
}

val b_lerp(struct builder *b, val x, val y, wref w)
{
    return lerp(b, x, y, B_NONE, w);
}

val b_lerp_by(struct builder *b, val x, val y, val gate)
{
    return lerp(b, x, y, gate, -1);
}

val b_ssm_scan(struct builder *b, val xbc, val dt, wref a, wref d, wref dt_bias, int n_head,
               int head_dim, int n_group, int d_state)
{
    struct op op = b_op(b, OP_ssm_scan);

    if (b->code < 0)
        return B_NONE;
    if (n_group <= 0 || n_head <= 0 || n_head % n_group || head_dim <= 0 || d_state <= 0 ||
        n_head > MAX_HEADS || head_dim > MAX_HEADS || d_state > MAX_HEADS) {
        b_fail(b, E_FORMAT, "state-space scan of %d heads in %d groups", n_head, n_group);
        return B_NONE;
    }
    b_need_value(b, xbc, n_head * head_dim + 2 * n_group * d_state, "ssm_scan");
    b_need_value(b, dt, n_head, "ssm_scan");
    b_need_vector(b, a, n_head);
    b_need_vector(b, d, n_head);
    b_need_vector(b, dt_bias, n_head);
    op.out[0] = like(b, xbc, n_head * head_dim);
    op.in[0] = xbc;
    op.in[1] = dt;
    op.w[0] = (int16_t)a;
    op.w[1] = (int16_t)d;
    op.w[2] = (int16_t)dt_bias;
    op.a.scan.n_head = n_head;
    op.a.scan.head_dim = head_dim;
    op.a.scan.n_group = n_group;
    op.a.scan.d_state = d_state;
    op.a.scan.state_bytes = (uint32_t)(n_head * head_dim) * (uint32_t)d_state * 4;
    op.a.scan.state_at = b_state(b, (uint64_t)n_head * (uint64_t)head_dim * (uint64_t)d_state * 4);
    b_emit(b, &op);
    return op.out[0];
}

val b_rwkv(struct builder *b, val in, wref k_k, wref k_a, wref r_k, wref ln_w, wref ln_b,
           int n_head, int head_dim, float eps)
{
    const wref w[5] = {k_k, k_a, r_k, ln_w, ln_b};
    struct op op = b_op(b, OP_rwkv);
    int width = in.cols / 5;

    if (b->code == 0 && (head_dim <= 0 || n_head != width / head_dim))
        b_fail(b, E_FORMAT, "rwkv: %d columns for %d heads of %d", width, n_head, head_dim);
    if (!b_need_value(b, in, n_head * head_dim * 5, "rwkv"))
        return B_NONE;
    for (int i = 0; i < 5; i++) {
        b_need_vector(b, w[i], width);
        op.w[i] = (int16_t)w[i];
    }
    op.out[0] = like(b, in, width);
    op.in[0] = in;
    op.a.scan.n_head = n_head;
    op.a.scan.head_dim = head_dim;
    op.a.scan.eps = eps;
    op.a.scan.state_bytes = (uint32_t)width * (uint32_t)head_dim * 4;
    op.a.scan.state_at = b_state(b, (uint64_t)width * (uint64_t)head_dim * 4);
    b_emit(b, &op);
    return op.out[0];
}

/* -- the end -- */

void b_logits(struct builder *b, val x, wref w, wref bias, float scale, float softcap)
{
    val y;

    if (!b_need_value(b, x, 0, "logits"))
        return;
    b_layer(b, -1);
    if (rows_of(b, x) == ROWS_T)
        x = b_take_rows(b, x);
    y = linear(b, B_NONE, x, w, bias);
    if (!plain(scale))
        y = b_scale(b, y, scale);
    if (softcap > 0.0f)
        y = simple(b, OP_softcap, B_NONE, y, 0, softcap);
    if (b->code < 0)
        return;
    if (x.at != 0 || x.cols != b->plan->value[x.v].cols) {
        b_fail(b, E_USAGE, "logits of some columns of a value");
        return;
    }
    b->plan->hidden = x.v;
    b->plan->logits = y.v;
}

void b_encoded(struct builder *b, val x, wref pre, wref pre_bias, wref w, wref bias)
{
    val y;

    b_layer(b, -1);
    x = b_take_rows(b, x);
    if (b->code < 0)
        return;
    b->plan->encoder = true;
    b->plan->hidden = x.v;
    if (w < 0)
        return;
    y = pre >= 0 ? b_linear_act(b, x, pre, pre_bias, ACT_TANH) : x;
    y = linear(b, B_NONE, y, w, bias);
    if (b->code == 0)
        b->plan->logits = y.v;
}
