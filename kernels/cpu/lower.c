/* lower.c - the steps of each kind of record, and what makes a record one that the CPU can run.
 *
 * The builder has checked shapes already; what is checked here is what the kernels rely on.
 */
#include "kernels/cpu/prep.h"
#include "kernels/tables.h"

#define PARTS_MAX (32ull << 20) // bytes of attention partials, unless one row needs more

static void low_embed(struct prep *p, const struct op *op)
{
    struct cpu_step *s = prep_by_row(p, run_embed, op);

    prep_matrix(p, s, op->w[0], -1);
    for (int i = 1; i < 3; i++)
        if (op->w[i] >= 0)
            prep_matrix(p, s, op->w[i], -1);
    for (int i = 0; i < s->n_m; i++)
        prep_want(p, s->m[i].cols == op->out[0].cols, op, "table is not as wide as the value");
    prep_own(p, (uint64_t)op->out[0].cols * sizeof(float));
    prep_end(p, s);
}

static void low_take_rows(struct prep *p, const struct op *op)
{
    prep_end(p, prep_by_column(p, run_take_rows, op));
}

static void low_norm(struct prep *p, const struct op *op)
{
    const bool layer = op->kind == OP_layernorm;
    struct cpu_step *s = prep_by_row(p, layer ? run_layernorm : run_rmsnorm, op);
    const int32_t n = op->out[0].cols, group = op->a.norm.group ? op->a.norm.group : n;
    int64_t n_w = 0, n_b = 0;

    s->vec[0] = prep_vector(p, op->w[0], &n_w);
    if (layer)
        s->vec[1] = prep_vector(p, op->w[1], &n_b);
    n_w = n_w ? n_w : n_b;
    s->n_vec = (int32_t)(n_w ? n_w : n);
    prep_want(p,
              group > 0 && n % group == 0 && (n_w == 0 || n_w == n || n_w == group) &&
                  (n_b == 0 || n_b == n_w) && op->in[0].cols == n,
              op, "widths of the norm disagree");
    prep_end(p, s);
}

static void low_linear(struct prep *p, const struct op *op)
{
    const bool multi = op->kind == OP_linear_multi;
    int64_t total = 0;
    const struct prep_inputs in = prep_inputs_for(p, op, multi ? 4 : 1);
    struct cpu_step *s = prep_by_column(p, run_linear, op);

    for (int i = 0; i < (multi ? 4 : 1) && op->w[i] >= 0 && p->rc == 0; i++) {
        prep_matrix(p, s, op->w[i], op->w[multi ? 4 + i : 1]);
        total += s->m[i].rows;
        if (s->m[i].dot && s->m[i].dot->pack != s->m[0].dot->pack)
            prep_fail(p, E_UNSUPPORTED, "matrices of one input want it in different forms", op);
    }
    prep_want(p, total == op->out[0].cols, op, "result is not as wide as the matrices");
    prep_use(p, s, &in);
    prep_own(p, CPU_TILE * sizeof(float));
    prep_end(p, s);
}

static void low_steer(struct prep *p, const struct op *op)
{
    prep_end(p, prep_by_row(p, run_steer, op));
}

static void low_lora(struct prep *p, const struct op *op)
{
    const struct weight *w = &p->p->w[op->w[0]];

    prep_want(p, w->n == 1 && w->cols == op->in[0].cols && w->rows == op->out[0].cols, op,
              "widths of the adapted matrix disagree");
    prep_own(p, lora_own(p->k, op->in[0].cols));
    prep_end(p, prep_by_column(p, run_lora, op));
}

static void low_linear_heads(struct prep *p, const struct op *op)
{
    struct cpu_step probe = {.n_m = 0};
    struct cpu_step *s;
    struct cpu_input x = {-1, 0};
    uint32_t key = 0;

    prep_matrix(p, &probe, op->w[0], -1);
    if (p->rc ||
        !prep_want(p,
                   probe.m[0].n == op->a.heads.n_head && probe.m[0].cols == op->a.heads.n_in &&
                       probe.m[0].rows == op->a.heads.n_out,
                   op, "stack of matrices and heads disagree"))
        return;
    if (prep_reads_plain(p, &probe.m[0])) {
        x.stride = (size_t)p->p->value[op->in[0].v].cols * sizeof(float);
    } else {
        key = ++p->key;
        x = (struct cpu_input){prep_pack_slot(p),
                               (probe.m[0].dot->packed(probe.m[0].cols) + 63) / 64 * 64};
        s = prep_begin(p, run_pack_heads, op);
        s->m[0] = probe.m[0];
        s->x = x;
        prep_grow_slot(p, x.slot,
                       x.stride * (uint64_t)(prep_max_rows(p, s->in[0].rows) * op->a.heads.n_head));
        prep_touch_value(p, op->in[0], prep_by_rows(s->in[0].rows), false);
        prep_touch_slot(p, x.slot, key, prep_by_rows(s->in[0].rows), true);
        prep_end(p, s);
    }
    s = prep_by_column(p, run_linear_heads, op);
    s->m[0] = probe.m[0];
    s->x = x;
    if (x.slot >= 0)
        prep_touch_slot(p, x.slot, key, 0, false);
    prep_own(p, CPU_TILE * sizeof(float));
    prep_end(p, s);
}

/* Gate and up of a step: two matrices, or the halves of one. */
static void gate_up(struct prep *p, struct cpu_step *s, const struct op *op, bool fused)
{
    prep_matrix(p, s, op->w[0], op->w[2]);
    if (!fused) {
        prep_matrix(p, s, op->w[1], op->w[3]);
        return;
    }
    s->m[0].rows /= 2;
    s->m[1] = s->m[0];
    s->n_m = 2;
    if (p->rc == 0)
        s->m[1].w += (uint64_t)s->m[0].rows * s->m[0].row_bytes;
    if (s->m[0].bias)
        s->m[1].bias = s->m[0].bias + s->m[0].rows;
}

static void low_glu(struct prep *p, const struct op *op)
{
    const struct prep_inputs in = prep_inputs_for(p, op, op->a.lin.fused ? 1 : 2);
    struct cpu_step *s = prep_by_column(p, run_glu, op);

    gate_up(p, s, op, op->a.lin.fused || op->w[1] < 0);
    if (p->rc == 0 && prep_want(p, s->m[0].rows == op->out[0].cols && s->m[1].rows == s->m[0].rows,
                                op, "result is not as wide as the matrices"))
        prep_want(p, s->m[0].dot->pack == s->m[1].dot->pack, op,
                  "gate and up want their input in different forms");
    prep_use(p, s, &in);
    prep_result(p, s);
    prep_own(p, 2 * CPU_TILE * sizeof(float));
    prep_end(p, s);
}

/* -- rotary positions -- */

static bool same_rotation(const struct rope_args *a, const struct rope_args *b)
{
    return a->n_rot == b->n_rot && a->mode == b->mode && a->n_ctx_orig == b->n_ctx_orig &&
           a->base == b->base && a->freq_scale == b->freq_scale && a->ext_factor == b->ext_factor &&
           a->attn_factor == b->attn_factor && a->beta_fast == b->beta_fast &&
           a->beta_slow == b->beta_slow && a->ramp_exact == b->ramp_exact;
}

/* The slot of a table for this rotation, with a step that fills it if none does yet. */
static int rope_table(struct prep *p, const struct op *op)
{
    const struct rope_args *a = &op->a.rope;
    const int16_t factors = op->w[0];
    struct cpu_step *s;
    int64_t n_factor;
    const float *factor;
    float *freq;
    int slot;

    for (int i = 0; i < p->n_table; i++)
        if (p->table[i].factors == factors && same_rotation(&p->table[i].a, a))
            return p->table[i].slot;
    if (!prep_want(p, a->n_rot > 0 && a->n_rot % 2 == 0 && a->base > 0.0f, op, "bad rotation"))
        return 0;
    factor = prep_vector(p, factors, &n_factor);
    prep_want(p, !factor || n_factor >= a->n_rot / 2, op, "too few rotation factors");
    slot = prep_new_slot(p, (uint64_t)p->s->max_t * 2 * (uint64_t)a->n_rot * sizeof(float));
    freq = prep_keep(p, (uint64_t)a->n_rot / 2);
    if (p->rc)
        return 0;
    rope_frequencies(freq, a, factor);
    p->table[p->n_table++] = (struct table){*a, factors, slot};
    s = prep_begin(p, run_rope_table, op);
    s->slot[0] = slot;
    s->vec[0] = freq;
    prep_touch_slot(p, slot, 0, prep_by_rows(ROWS_T), true);
    prep_end(p, s);
    return slot;
}

static void low_rope(struct prep *p, const struct op *op)
{
    const struct rope_args *a = &op->a.rope;
    int slot = rope_table(p, op);
    struct cpu_step *s;

    if (!prep_want(p,
                   a->n_head > 0 && a->at_in + a->n_rot <= a->head_in &&
                       a->at_out + a->n_rot <= a->head_out &&
                       (int64_t)a->n_head * a->head_in <= op->in[0].cols &&
                       (int64_t)a->n_head * a->head_out <= op->out[0].cols,
                   op, "heads do not fit the values"))
        return;
    s = prep_by_row(p, run_rope, op);
    s->slot[0] = slot;
    prep_touch_slot(p, slot, 0, prep_by_rows(ROWS_T), false);
    prep_end(p, s);
}

/* -- attention -- */

static bool kv_fits(int type, int cols)
{
    switch (type) {
    case FMT_F32:
    case FMT_F16:
    case FMT_BF16:
    case FMT_KV_F8:
        return true;
    case FMT_Q8_0:
    case FMT_Q4_0:
        return cols % 32 == 0;
    default:
        return false;
    }
}

static bool attn_fits(struct prep *p, const struct op *op)
{
    const struct attn_args *a = &op->a.attn;
    const struct plan *pl = p->p;

    if (!prep_want(p, a->kv >= 0 && a->kv < pl->n_kv, op, "no such key/value layer") ||
        !prep_want(p, kv_fits(pl->kv_type_k, a->dk) && (a->v_in_k || kv_fits(pl->kv_type_v, a->dv)),
                   op,
                   "key/value memory must be F32, F16, BF16, F8, Q8_0 or Q4_0, the last two for "
                   "heads of a multiple of 32"))
        return false;
    const struct kv_layer *l = &pl->kv[a->kv];
    return prep_want(p, l->n_kv == a->n_kv && l->dk == a->dk && (a->v_in_k || l->dv == a->dv), op,
                     "key/value layer has another shape");
}

static void low_kv_store(struct prep *p, const struct op *op)
{
    struct cpu_step *s;

    if (!attn_fits(p, op))
        return;
    prep_own(p, (uint64_t)op->in[0].cols * sizeof(float));
    s = prep_begin(p, run_kv_store, op);
    prep_touch_value(p, op->in[0], prep_by_rows(ROWS_T), false);
    prep_touch_value(p, op->in[1], prep_by_rows(ROWS_T), false);
    prep_touch_kv(p, op->a.attn.kv, true, prep_by_rows(ROWS_T));
    prep_want(p, (int64_t)op->a.attn.n_kv * op->a.attn.dk == op->in[0].cols, op,
              "K has another width");
    prep_end(p, s);
}

/* A slope per head; NULL: none. */
static const float *slopes(struct prep *p, const struct attn_args *a)
{
    float *s = a->alibi == 0.0f ? NULL : prep_keep(p, (uint64_t)a->n_head);

    if (s)
        alibi_slopes(s, a);
    return s;
}

/* Room for partials: every chunk of a row's history, for as many rows as may be dealt out by chunks
 * (run_attn.c) and PARTS_MAX has place for. */
static uint64_t parts_bytes(const struct prep *p, const struct attn_args *a)
{
    const uint64_t n_chunk = ((uint64_t)p->p->n_ctx + CPU_CHUNK - 1) / CPU_CHUNK;
    const uint64_t row = (uint64_t)a->n_head * n_chunk * (uint64_t)part_floats(a) * sizeof(float);
    uint64_t rows = PIECES_EACH * (uint64_t)p->n_member / (uint64_t)a->n_kv;

    if (p->n_member == 1 || n_chunk < 2)
        return 0;
    rows = rows < PARTS_MAX / row ? rows : PARTS_MAX / row;
    rows = rows < (uint64_t)p->s->max_t ? rows : (uint64_t)p->s->max_t;
    return row * (rows ? rows : 1);
}

static void low_attn(struct prep *p, const struct op *op)
{
    const struct attn_args *a = &op->a.attn;
    struct cpu_step *s;
    const struct cpu_tiles *tiles =
        p->tiles && p->tiles->attn && prep_rounds(p) ? p->tiles : NULL;
    const float *sink, *slope;
    int64_t n_sink;

    if (!attn_fits(p, op) || !prep_want(p,
                                        a->n_kv > 0 && a->n_head % a->n_kv == 0 &&
                                            (int64_t)a->n_head * a->dk == op->in[0].cols &&
                                            (int64_t)a->n_head * a->dv == op->out[0].cols &&
                                            a->dv <= a->dk + (a->v_in_k ? 0 : a->dv),
                                        op, "heads and widths disagree"))
        return;
    sink = prep_vector(p, op->w[0], &n_sink);
    prep_want(p, !sink || n_sink == a->n_head, op, "one sink per head expected");
    slope = slopes(p, a);
    if (p->part_slot < 0)
        p->part_slot = prep_new_slot(p, 0);
    prep_own(p, attn_own(a));
    if (tiles) {
        prep_own(p, attn_tiles_own(tiles->attn, a));
        p->s->one_path = false;
    }
    for (int i = 0; i < 2; i++) {
        s = i == 0 ? prep_by_column(p, run_attn, op) : prep_begin(p, run_attn_merge, op);
        s->vec[0] = sink;
        s->vec[1] = slope;
        s->tiles = tiles;
        s->slot[0] = p->part_slot;
        s->slot_bytes = parts_bytes(p, a);
        prep_grow_slot(p, p->part_slot, s->slot_bytes);
        prep_touch_slot(p, p->part_slot, 0, 0, i == 0);
        if (i == 0)
            prep_touch_kv(p, a->kv, false, 0);
        else
            prep_touch_value(p, op->out[0], prep_by_rows(ROWS_T), true);
        prep_end(p, s);
    }
}

/* -- experts -- */

static bool whole(const struct prep *p, struct ref r)
{
    return r.v >= 0 && r.at == 0 && r.cols == p->p->value[r.v].cols;
}

static void low_route(struct prep *p, const struct op *op)
{
    const struct moe_args *a = &op->a.moe;
    struct cpu_step *s = prep_by_row(p, run_route, op);
    int64_t n_bias;

    s->vec[0] = prep_vector(p, op->w[0], &n_bias);
    prep_want(p,
              a->n_expert > 0 && a->n_used > 0 && a->n_used <= a->n_expert &&
                  a->n_used == p->p->n_used && op->in[0].cols == a->n_expert &&
                  (!s->vec[0] || n_bias == a->n_expert) && a->n_group <= MOE_GROUPS_MAX &&
                  (a->n_group < 2 || a->n_expert % a->n_group == 0) && whole(p, op->out[0]) &&
                  whole(p, op->out[1]),
              op, "router and experts disagree");
    prep_own(p, 2 * (uint64_t)a->n_expert * sizeof(float));
    prep_end(p, s);
}

/* The order of pairs by expert, for ids in in[1]. */
static void sorted(struct prep *p, const struct op *op)
{
    struct cpu_step *s;

    if (p->sort_slot < 0)
        p->sort_slot = prep_new_slot(p, 0);
    prep_grow_slot(p, p->sort_slot, sort_bytes(p->s, op->a.moe.n_expert));
    if (p->sorted == op->in[1].v)
        return;
    s = prep_begin(p, run_sort, op);
    s->slot[0] = p->sort_slot;
    prep_touch_value(p, op->in[1], 0, false);
    prep_touch_slot(p, p->sort_slot, 0, 0, true);
    prep_end(p, s);
    p->sorted = op->in[1].v;
}

static void low_moe_glu(struct prep *p, const struct op *op)
{
    const struct moe_args *a = &op->a.moe;
    uint32_t key, key2 = ++p->key;
    struct cpu_input x = prep_input_for(p, op, op->w[0], &key);
    struct cpu_step *s = NULL;
    struct cpu_input xt = {.slot = prep_pack_slot(p)};

    if (p->rc || !prep_want(p, whole(p, op->in[1]), op, "expert ids must be a whole value"))
        return;
    if (xt.slot == x.slot)
        xt.slot = prep_pack_slot(p);
    sorted(p, op);
    for (int i = 0; i < 2; i++) {
        s = i == 0 ? prep_begin(p, run_gather, op) : prep_by_column(p, run_moe_glu, op);
        gate_up(p, s, op, op->w[1] < 0);
        if (p->rc)
            return;
        prep_grow_slot(p, xt.slot,
                       sorted_rows(&xt, s->m[0].dot, s->m[0].cols,
                                   (uint64_t)prep_max_rows(p, ROWS_E), a->n_expert));
        s->x = x;
        s->xt = xt;
        s->slot[0] = p->sort_slot;
        if (i == 0)
            prep_touch_value(p, op->in[0], 0, false);
        if (x.slot >= 0)
            prep_touch_slot(p, x.slot, key, 0, false);
        prep_touch_slot(p, p->sort_slot, 0, 0, false);
        prep_touch_slot(p, xt.slot, key2, 0, i == 0);
        prep_end(p, s);
    }
    prep_want(p,
              s->m[0].rows == op->out[0].cols && s->m[1].rows == s->m[0].rows &&
                  s->m[0].n == a->n_expert && s->m[1].n == a->n_expert &&
                  s->m[0].dot->pack == s->m[1].dot->pack,
              op, "experts' matrices disagree");
    prep_own(p, 2 * CPU_TILE * sizeof(float));
}

static void low_moe_down(struct prep *p, const struct op *op)
{
    const struct moe_args *a = &op->a.moe;
    const int slot = prep_pack_slot(p);
    uint32_t key = ++p->key;
    struct cpu_step *s = NULL;

    if (!prep_want(p, whole(p, op->in[1]) && whole(p, op->in[2]), op,
                   "ids and weights must be whole values"))
        return;
    sorted(p, op);
    for (int i = 0; i < 2; i++) {
        s = i == 0 ? prep_begin(p, run_pack_sorted, op) : prep_by_column(p, run_moe_down, op);
        prep_matrix(p, s, op->w[0], op->w[1]);
        if (p->rc)
            return;
        s->x.slot = slot;
        prep_grow_slot(p, slot,
                       sorted_rows(&s->x, s->m[0].dot, s->m[0].cols,
                                   (uint64_t)prep_max_rows(p, ROWS_E), a->n_expert));
        s->slot[0] = p->sort_slot;
        if (i == 0)
            prep_touch_value(p, op->in[0], 0, false);
        prep_touch_slot(p, p->sort_slot, 0, 0, false);
        prep_touch_slot(p, slot, key, 0, i == 0);
        prep_end(p, s);
    }
    prep_want(p,
              s->m[0].rows == op->out[0].cols && s->m[0].cols == op->in[0].cols &&
                  s->m[0].n == a->n_expert,
              op, "experts' matrices disagree");
    prep_own(p, moe_down_own(p->s, op));
}

/* -- recurrent records -- */

static struct cpu_step *recurrent(struct prep *p, cpu_fn *fn, const struct op *op, uint64_t state)
{
    struct cpu_step *s = prep_by_column(p, fn, op);
    const struct scan_args *a = &op->a.scan;

    prep_want(p,
              a->state_bytes >= state && a->state_at % 4 == 0 &&
                  (uint64_t)a->state_at + a->state_bytes <= p->p->state_bytes,
              op, "no room for its state");
    prep_own(p, state);
    return s;
}

static void low_conv1d(struct prep *p, const struct op *op)
{
    const struct scan_args *a = &op->a.scan;
    const int64_t n = op->in[0].cols;
    struct cpu_step *s = recurrent(p, run_conv1d, op, (uint64_t)(a->width - 1) * (uint64_t)n * 4);
    int64_t n_w, n_b;
    const float *w = prep_vector(p, op->w[0], &n_w);
    float *across;

    s->vec[1] = prep_vector(p, op->w[1], &n_b);
    if (!prep_want(p,
                   a->width > 0 && n_w == n * a->width && (n_b == 0 || n_b == n) &&
                       op->out[0].cols == n,
                   op, "widths of the convolution disagree"))
        return;
    across = prep_keep(p, (uint64_t)n_w); // [width][n]: columns are worked on side by side
    for (int64_t i = 0; across && w && i < n_w; i++)
        across[i % a->width * n + i / a->width] = w[i];
    s->vec[0] = across;
    prep_end(p, s);
}

static void low_shift(struct prep *p, const struct op *op)
{
    prep_end(p, recurrent(p, run_shift, op, (uint64_t)op->in[0].cols * 4));
}

static void low_ssm_scan(struct prep *p, const struct op *op)
{
    const struct scan_args *a = &op->a.scan;
    const int64_t inner = (int64_t)a->n_head * a->head_dim;
    struct cpu_step *s = recurrent(p, run_ssm_scan, op, (uint64_t)inner * (uint64_t)a->d_state * 4);
    int64_t n[3];

    for (int i = 0; i < 3; i++) {
        s->vec[i] = prep_vector(p, op->w[i], &n[i]);
        prep_want(p, i > 0 ? n[i] == 0 || n[i] == a->n_head : n[i] == a->n_head, op,
                  "one number per head expected");
    }
    prep_want(p,
              a->n_group > 0 && a->n_head % a->n_group == 0 && op->out[0].cols == inner &&
                  op->in[0].cols == inner + 2 * (int64_t)a->n_group * a->d_state &&
                  op->in[1].cols == a->n_head,
              op, "widths of the scan disagree");
    prep_end(p, s);
}

static void low_rwkv(struct prep *p, const struct op *op)
{
    const struct scan_args *a = &op->a.scan;
    const int64_t width = (int64_t)a->n_head * a->head_dim;
    struct cpu_step *s = recurrent(p, run_rwkv, op, (uint64_t)width * (uint64_t)a->head_dim * 4);
    int64_t n;

    for (int i = 0; i < 5; i++) {
        s->vec[i] = prep_vector(p, op->w[i], &n);
        prep_want(p, n == width, op, "a vector of another width");
    }
    prep_want(p, a->head_dim <= RWKV_MAX && op->in[0].cols == 5 * width && op->out[0].cols == width,
              op, "widths of the mixing disagree");
    prep_end(p, s);
}

/* -- plain records -- */

static void low_copy(struct prep *p, const struct op *op)
{
    prep_end(p, prep_by_row(p, run_copy, op));
}
static void low_add(struct prep *p, const struct op *op)
{
    prep_end(p, prep_by_row(p, run_add, op));
}
static void low_mul(struct prep *p, const struct op *op)
{
    prep_end(p, prep_by_row(p, run_mul, op));
}
static void low_scale(struct prep *p, const struct op *op)
{
    prep_end(p, prep_by_row(p, run_scale, op));
}
static void low_act(struct prep *p, const struct op *op)
{
    prep_end(p, prep_by_row(p, run_act, op));
}
static void low_softcap(struct prep *p, const struct op *op)
{
    prep_end(p, prep_by_column(p, run_softcap, op));
}

static void low_lerp(struct prep *p, const struct op *op)
{
    struct cpu_step *s = prep_by_row(p, run_lerp, op);
    int64_t n;

    s->vec[0] = prep_vector(p, op->w[0], &n);
    prep_want(p,
              op->in[0].cols > 0 && op->out[0].cols % op->in[0].cols == 0 &&
                  (op->in[2].v >= 0 ? op->in[2].cols : n) == op->out[0].cols,
              op, "widths of the mix disagree");
    prep_end(p, s);
}

static void (*const lower[OP_KINDS])(struct prep *p, const struct op *op) = {
    [OP_embed] = low_embed,
    [OP_take_rows] = low_take_rows,
    [OP_copy] = low_copy,
    [OP_rmsnorm] = low_norm,
    [OP_layernorm] = low_norm,
    [OP_linear] = low_linear,
    [OP_linear_multi] = low_linear,
    [OP_linear_heads] = low_linear_heads,
    [OP_lora] = low_lora,
    [OP_steer] = low_steer,
    [OP_glu] = low_glu,
    [OP_rope] = low_rope,
    [OP_kv_store] = low_kv_store,
    [OP_attn] = low_attn,
    [OP_moe_route] = low_route,
    [OP_moe_glu] = low_moe_glu,
    [OP_moe_down] = low_moe_down,
    [OP_conv1d] = low_conv1d,
    [OP_shift] = low_shift,
    [OP_lerp] = low_lerp,
    [OP_ssm_scan] = low_ssm_scan,
    [OP_rwkv] = low_rwkv,
    [OP_add] = low_add,
    [OP_mul] = low_mul,
    [OP_scale] = low_scale,
    [OP_act] = low_act,
    [OP_softcap] = low_softcap,
};

bool cpu_lowers(int kind)
{
    return kind >= 0 && kind < OP_KINDS && lower[kind];
}

void cpu_lower(struct prep *p, const struct op *op)
{
    if (cpu_lowers(op->kind))
        lower[op->kind](p, op);
    else
        prep_fail(p, E_UNSUPPORTED, "no such kind", op);
}

bool cpu_can(const struct dev *d, const struct plan *p, const struct op *op)
{
    const struct weight *w;

    if (!cpu_lowers(op->kind))
        return false;
    if (op->kind != OP_linear_multi)
        return true;
    w = &p->w[op->w[0]];
    for (int i = 0; i < 4 && op->w[i] >= 0; i++) { // one packed input must serve them all
        const struct weight *o = &p->w[op->w[i]];
        if (o->fmt < 0 || o->fmt >= CPU_FMT_MAX || w->fmt < 0 || w->fmt >= CPU_FMT_MAX ||
            d->k->dot[o->fmt].pack != d->k->dot[w->fmt].pack)
            return false;
    }
    return true;
}
