/* lower.c - the launches of each kind of record, and which records the device can run.
 *
 * The builder has checked shapes already; what is checked here is what the kernels rely on.
 */
#include <string.h>

#include "base/mem.h"
#include "kernels/cuda/cuda.h"
#include "kernels/tables.h"

const struct fmt_kern *cuda_fmt(int fmt)
{
    const struct fmt_kern *k = gemv_half(fmt);

    k = k ? k : gemv_plain(fmt);
    k = k ? k : gemv_small(fmt);
    k = k ? k : gemv_large(fmt);
    return k ? k : gemv_points(fmt);
}

static bool want(struct prep *p, bool good, const struct op *op, const char *what)
{
    if (!good)
        cuda_prep_fail(p, op, what);
    return p->rc == 0;
}

/* -- values, weights, memory -- */

static int64_t max_rows(const struct prep *p, int rows)
{
    return plan_rows(p->p, rows, p->s->max_t, p->s->max_s);
}

static struct view view_of(const struct prep *p, struct ref r)
{
    if (r.v < 0)
        return (struct view){NULL, 0};
    return (struct view){(float *)((uint8_t *)p->s->arena.p + p->s->at[r.v]) + r.at,
                         p->p->value[r.v].cols};
}

static int rows_of(const struct prep *p, struct ref r)
{
    return p->p->value[r.v].rows;
}

static bool whole(const struct prep *p, struct ref r)
{
    return r.v >= 0 && r.at == 0 && r.cols == p->p->value[r.v].cols;
}

/* Memory that the records after this one use too. */
static void *slot_for(struct prep *p, enum slot slot, uint64_t bytes)
{
    p->want[slot] = bytes > p->want[slot] ? bytes : p->want[slot];
    return p->slot[slot];
}

/* n floats of the host in device memory that lives as long as the segment. */
static float *upload(struct prep *p, const float *x, uint64_t n)
{
    float *to = cuda_prep_mem(p, n * sizeof *to);

    if (to && (rt_copy(p->d->rt, to, x, n * sizeof *to) < 0 || rt_sync(p->d->rt) < 0) && p->rc == 0)
        p->rc = err_set(p->e, E_DEVICE, "cuda: %s", rt_error());
    return to;
}

/* A weight as floats of the device: itself when it is F32, else made by its format's kernel. NULL
 * for -1; n: how many. */
static const float *vector(struct prep *p, int w, int64_t *n)
{
    const struct weight *from = w < 0 ? NULL : &p->p->w[w];
    const struct fmt_kern *k = from ? cuda_fmt(from->fmt) : NULL;
    uint64_t row_bytes;

    if (n)
        *n = from ? from->n * from->rows * from->cols : 0;
    if (!from || p->rc)
        return NULL;
    if (from->fmt == FMT_F32 && (uintptr_t)from->part[0].p % sizeof(float) == 0)
        return from->part[0].p;
    if (!k || !fmt_row_bytes(from->fmt, (uint64_t)from->cols, &row_bytes)) {
        p->rc = err_set(p->e, E_UNSUPPORTED, "cuda: %s: no kernel for its format", from->name);
        return NULL;
    }
    if (!p->vec[w]) {
        const int64_t rows = from->n * from->rows;
        float *to = cuda_prep_mem(p, (uint64_t)(rows * from->cols) * sizeof *to);
        const struct fetch_args a = {.w = from->part[0].p,
                                     .row_bytes = (int64_t)row_bytes,
                                     .cols = from->cols,
                                     .out = {to, from->cols},
                                     .scale = 1.0f,
                                     .mode = FETCH_ALL};
        const struct rt_launch l = {&k->fetch, {(uint32_t)rows, 1, 1}, MAP_THREADS, 0, &a};

        if (to && rt_launch(p->d->rt, &l) < 0 && p->rc == 0)
            p->rc = err_set(p->e, E_DEVICE, "cuda: %s", rt_error());
        p->vec[w] = to;
    }
    return p->vec[w];
}

/* What is packed, or sorted, no longer agrees with a value that is written anew. */
static void wrote(struct prep *p, const struct op *op)
{
    for (size_t i = 0; i < ARRAY_LEN(op->out); i++) {
        if (op->out[i].v < 0)
            continue;
        if (p->packed.v == op->out[i].v)
            p->packed.v = -1;
        if (p->sorted == op->out[i].v)
            p->sorted = -1;
    }
}

static uint32_t blocks(int64_t n, int64_t per, int64_t most)
{
    const int64_t k = (n + per - 1) / per;

    return (uint32_t)(k < 1 ? 1 : k < most ? k : most);
}

/* -- element by element, row by row -- */

static void low_map(struct prep *p, const struct op *op, enum map_kind kind)
{
    struct map_args a = {.s = p->g->step,
                         .x = view_of(p, op->in[0]),
                         .b = view_of(p, op->in[1]),
                         .c = view_of(p, op->in[2]),
                         .out = view_of(p, op->out[0]),
                         .cols = op->out[0].cols,
                         .in_cols = op->in[0].cols,
                         .scale = op->a.lin.scale,
                         .kind = (int32_t)kind,
                         .act = op->act,
                         .rows = rows_of(p, op->out[0]),
                         .n_used = p->p->n_used};
    struct launch *l;
    int64_t n;

    if (kind == MAP_SCALE && a.scale == 0.0f)
        a.scale = 1.0f;
    if (kind == MAP_LERP) {
        a.w = vector(p, op->w[0], &n);
        want(p, a.in_cols > 0 && a.cols % a.in_cols == 0 && (a.c.p ? op->in[2].cols : n) == a.cols,
             op, "widths of the mix disagree");
    }
    l = cuda_prep_launch(p, &kern_map, &a, a.rows);
    l->grid_y = blocks(a.cols, MAP_COLS, 64);
}

static void low_take_rows(struct prep *p, const struct op *op)
{
    low_map(p, op, MAP_TAKE);
}
static void low_copy(struct prep *p, const struct op *op)
{
    low_map(p, op, MAP_COPY);
}
static void low_add(struct prep *p, const struct op *op)
{
    low_map(p, op, MAP_ADD);
}
static void low_mul(struct prep *p, const struct op *op)
{
    low_map(p, op, MAP_MUL);
}
static void low_scale(struct prep *p, const struct op *op)
{
    low_map(p, op, MAP_SCALE);
}
static void low_act(struct prep *p, const struct op *op)
{
    low_map(p, op, MAP_ACT);
}
static void low_softcap(struct prep *p, const struct op *op)
{
    low_map(p, op, MAP_SOFTCAP);
}
static void low_lerp(struct prep *p, const struct op *op)
{
    low_map(p, op, MAP_LERP);
}

static void low_embed(struct prep *p, const struct op *op)
{
    static const int32_t mode[] = {FETCH_TOKEN, FETCH_POSITION, FETCH_TYPE};

    for (int i = 0; i < 3; i++) {
        if (op->w[i] < 0)
            continue;
        const struct weight *w = &p->p->w[op->w[i]];
        struct fetch_args a = {.s = p->g->step,
                               .w = w->part[0].p,
                               .cols = w->cols,
                               .out = view_of(p, op->out[0]),
                               .scale = op->a.lin.scale == 0.0f ? 1.0f : op->a.lin.scale,
                               .mode = mode[i]};

        if (want(p, w->cols == op->out[0].cols, op, "table is not as wide as the value"))
            cuda_prep_launch(p, &cuda_fmt(w->fmt)->fetch, &a, ROWS_T);
    }
}

static void low_norm(struct prep *p, const struct op *op)
{
    const int32_t n = op->out[0].cols, group = op->a.norm.group ? op->a.norm.group : n;
    struct norm_args a = {.s = p->g->step,
                          .x = view_of(p, op->in[0]),
                          .add = view_of(p, op->in[1]),
                          .out = view_of(p, op->out[0]),
                          .group = group,
                          .eps = op->a.norm.eps,
                          .center = op->kind == OP_layernorm,
                          .rows = rows_of(p, op->out[0]),
                          .n_used = p->p->n_used};
    struct launch *l;
    int64_t n_w = 0, n_b = 0;

    a.w = vector(p, op->w[0], &n_w);
    if (a.center)
        a.b = vector(p, op->w[1], &n_b);
    n_w = n_w ? n_w : n_b;
    a.n_w = (int32_t)(n_w ? n_w : n);
    if (!want(p,
              group > 0 && n % group == 0 && (n_w == 0 || n_w == n || n_w == group) &&
                  (n_b == 0 || n_b == n_w) && op->in[0].cols == n,
              op, "widths of the norm disagree"))
        return;
    l = cuda_prep_launch(p, &kern_norm, &a, a.rows);
    l->grid_y = (uint32_t)(n / group);
    l->block = group <= 256 ? 32 : group <= 1024 ? 128 : 512; // a thread per 8 columns or more
    l->shared = 16 * sizeof(float);
}

/* -- rotary positions -- */

static bool same_rotation(const struct rope_args *a, const struct rope_args *b)
{
    return a->n_rot == b->n_rot && a->mode == b->mode && a->n_ctx_orig == b->n_ctx_orig &&
           a->base == b->base && a->freq_scale == b->freq_scale && a->ext_factor == b->ext_factor &&
           a->attn_factor == b->attn_factor && a->beta_fast == b->beta_fast &&
           a->beta_slow == b->beta_slow && a->ramp_exact == b->ramp_exact;
}

static struct table *new_table(struct prep *p, const struct op *op)
{
    const struct rope_args *a = &op->a.rope;
    struct table *t = &p->table[p->n_table];
    const int16_t w = op->w[0];
    const struct fmt_info *f = w >= 0 ? fmt_find(p->p->w[w].fmt) : NULL;
    float *host = mem_array((uint64_t)a->n_rot / 2 + 1, sizeof *host, p->e);
    float *factor = NULL;
    int64_t n = 0;
    const float *dev = vector(p, w, &n);

    if (f)
        factor = mem_array((uint64_t)n, sizeof *factor, p->e);
    if (!host || (f && !factor)) {
        p->rc = p->rc ? p->rc : E_NOMEM;
    } else if (want(p, !f || n >= a->n_rot / 2, op, "too few rotation factors") &&
               (!f || (rt_copy(p->d->rt, factor, dev, (uint64_t)n * sizeof *factor) == 0 &&
                       rt_sync(p->d->rt) == 0))) {
        rope_frequencies(host, a, factor);
        *t = (struct table){.a = *a, .factors = w};
        t->freq = upload(p, host, (uint64_t)a->n_rot / 2);
        t->tab = cuda_prep_mem(p, (uint64_t)p->s->max_t * 2 * (uint64_t)a->n_rot * sizeof(float));
        p->n_table++;
    }
    mem_free(host);
    mem_free(factor);
    return t;
}

/* The table for this rotation, with a launch that fills it if none does yet. */
static const float *rope_table(struct prep *p, const struct op *op)
{
    const struct rope_args *a = &op->a.rope;
    struct table *t = NULL;

    for (int i = 0; i < p->n_table; i++)
        if (p->table[i].factors == op->w[0] && same_rotation(&p->table[i].a, a))
            t = &p->table[i];
    if (!t && want(p, a->n_rot > 0 && a->n_rot % 2 == 0 && a->base > 0.0f, op, "bad rotation") &&
        want(p, p->n_table < (int)ARRAY_LEN(p->table), op, "too many rotations"))
        t = new_table(p, op);
    if (!t || p->rc)
        return NULL;
    if (!t->emitted) {
        const struct rope_table_args args = {p->g->step, t->tab, t->freq, *a};
        cuda_prep_launch(p, &kern_rope_table, &args, ROWS_T)->block = 32;
    }
    t->emitted = true;
    return t->tab;
}

static void low_rope(struct prep *p, const struct op *op)
{
    const struct rope_args *r = &op->a.rope;
    const struct rope_run_args a = {p->g->step, view_of(p, op->in[0]), view_of(p, op->out[0]),
                                    rope_table(p, op), *r};
    struct launch *l;

    if (!want(p,
              r->n_head > 0 && r->at_in + r->n_rot <= r->head_in &&
                  r->at_out + r->n_rot <= r->head_out &&
                  (int64_t)r->n_head * r->head_in <= op->in[0].cols &&
                  (int64_t)r->n_head * r->head_out <= op->out[0].cols,
              op, "heads do not fit the values"))
        return;
    l = cuda_prep_launch(p, &kern_rope_run, &a, ROWS_T);
    l->grid_y = (uint32_t)r->n_head;
    l->block = r->n_rot <= 64 ? 32 : 64;
}

/* -- matrices -- */

/* Has the norm that was launched last pack its result, if that is what k wants packed. */
static bool norm_packs(struct prep *p, const struct pack_args *k)
{
    struct launch *l = p->g->n > 0 ? &p->g->l[p->g->n - 1] : NULL;
    struct norm_args *a = l ? l->args : NULL;

    if (!a || l->k != &kern_norm || l->grid_y != 1 || a->out.p != k->x.p || a->group != k->cols ||
        a->rows != k->rows || k->n_head != 1 || a->to || a->halves)
        return false;
    a->to = k->to;
    a->halves = k->halves;
    return true;
}

/* in[0] of op in the form weight w wants; packed by a launch if it is not there yet. */
static void input_for(struct prep *p, const struct op *op, const struct weight *w,
                      struct gemv_args *a, int32_t n_head, int32_t head_in, int32_t at_in)
{
    struct ref r = op->in[0];
    const enum fmt_input form = cuda_fmt(w->fmt)->input;
    const int rows = rows_of(p, r);
    const uint64_t bytes = (uint64_t)max_rows(p, rows) * (uint64_t)n_head *
                           (((uint64_t)w->cols + 31) / 32) *
                           (form == INPUT_X16 ? sizeof(struct x16) : sizeof(struct q32));
    void *to;

    r.at += at_in;
    a->x = view_of(p, r);
    a->head_in = head_in;
    a->n_head = n_head;
    if (form == INPUT_PLAIN)
        return;
    r.cols = (int32_t)w->cols;
    to = slot_for(p, SLOT_PACK, bytes);
    if (!to) // sizes are being learnt: any address that says "packed"
        to = p->g->block;
    a->xq = form == INPUT_Q32 ? to : NULL;
    a->xh = form == INPUT_X16 ? to : NULL;
    if (p->packed.v == r.v && p->packed.at == r.at && p->packed.cols == r.cols &&
        p->packed_heads == n_head && p->packed_form == form)
        return;
    p->packed = r;
    p->packed_heads = n_head;
    p->packed_form = form;
    const struct pack_args k = {.s = p->g->step,
                                .x = a->x,
                                .to = form == INPUT_Q32 ? to : NULL,
                                .halves = form == INPUT_X16 ? to : NULL,
                                .cols = w->cols,
                                .rows = rows,
                                .n_used = p->p->n_used,
                                .n_head = n_head,
                                .head_in = head_in};
    if (!norm_packs(p, &k))
        cuda_prep_launch(p, &kern_pack, &k, rows)->grid_y =
            blocks(n_head * ((w->cols + 31) / 32), GEMV_THREADS / 32, 64);
}

static void set_matrix(struct prep *p, struct gemv_args *a, int w, int bias, int64_t at)
{
    const struct weight *from = &p->p->w[w];
    struct mat *m = &a->m[a->n_m++];
    uint64_t bytes = 0;

    fmt_row_bytes(from->fmt, (uint64_t)from->cols, &bytes);
    *m = (struct mat){from->part[0].p, vector(p, bias, NULL), from->rows, at};
    a->row_bytes = (int64_t)bytes;
    a->cols = from->cols;
    a->each = (int64_t)bytes * from->rows;
    a->bias_each = from->rows;
}

/* The second half of a matrix that holds gate and up. */
static void split_matrix(struct gemv_args *a)
{
    struct mat *m = a->m;

    m[0].rows /= 2;
    m[1] = m[0];
    m[1].w += m[0].rows * a->row_bytes;
    if (m[0].bias)
        m[1].bias = m[0].bias + m[0].rows;
    a->n_m = 2;
}

static const struct fmt_launch *kernel_for(const struct fmt_kern *k, int v)
{
    return v == ONE_ROW ? &k->few : v == MANY_ROWS && k->tiles.k.name ? &k->tiles : &k->many;
}

/* Launches for one row, for few and for many: a grid of tiles of rows, columns, and matrices.
 * n_expert: of TILES. */
static void launch_gemv(struct prep *p, const struct gemv_args *a, int fmt, int rows, int64_t n_out,
                        int64_t n_matrix, int32_t n_expert)
{
    for (int v = VARIANTS - 1; v >= 0; v--) {
        const struct fmt_launch *k = kernel_for(cuda_fmt(fmt), v);
        const bool halves = a->glu && k == &cuda_fmt(fmt)->tiles;
        struct launch *l = cuda_prep_launch(p, &k->k, a, rows);

        l->when = 1u << v;
        l->per = (uint32_t)k->rows;
        l->block = k->block;
        l->shared = k->shared;
        l->grid_y = blocks(n_out, halves ? k->cols / 2 : k->cols, 65535);
        l->grid_z = (uint32_t)n_matrix;
        l->n_expert = n_expert;
    }
}

static struct gemv_args gemv_of(const struct prep *p, const struct op *op)
{
    return (struct gemv_args){.s = p->g->step,
                              .out = view_of(p, op->out[0]),
                              .mode = GEMV_ROWS,
                              .rows = rows_of(p, op->in[0]),
                              .n_used = p->p->n_used,
                              .scale = 1.0f,
                              .div = 1};
}

/* linear, and linear_multi: matrices of one format go in one launch. */
static void low_linear(struct prep *p, const struct op *op)
{
    const bool multi = op->kind == OP_linear_multi;
    int64_t at = 0;

    for (int i = 0, k; i < (multi ? 4 : 1) && op->w[i] >= 0 && p->rc == 0; i = k) {
        const struct weight *w = &p->p->w[op->w[i]];
        struct gemv_args a = gemv_of(p, op);
        const int64_t first = at;

        if (!want(p, w->cols == op->in[0].cols, op, "input is not as wide as the matrix"))
            return;
        if (!multi) {
            a.act = op->act;
            a.scale = op->a.lin.scale == 0.0f ? 1.0f : op->a.lin.scale;
            a.add = view_of(p, op->in[1]);
        }
        for (k = i; k < (multi ? 4 : 1) && op->w[k] >= 0; k++) {
            const struct weight *o = &p->p->w[op->w[k]];
            if (o->fmt != w->fmt || !want(p, o->cols == w->cols, op, "matrices of unequal width"))
                break;
            set_matrix(p, &a, op->w[k], op->w[multi ? 4 + k : 1], at - first);
            at += o->rows;
        }
        a.out.p += first;
        if (p->rc)
            return;
        input_for(p, op, w, &a, 1, 0, 0);
        launch_gemv(p, &a, w->fmt, a.rows, at - first, 1, 0);
    }
    want(p, at == op->out[0].cols, op, "result is not as wide as the matrices");
}

static void low_linear_heads(struct prep *p, const struct op *op)
{
    const struct weight *w = &p->p->w[op->w[0]];
    struct gemv_args a = gemv_of(p, op);

    if (!want(p,
              w->n == op->a.heads.n_head && w->cols == op->a.heads.n_in &&
                  w->rows == op->a.heads.n_out,
              op, "stack of matrices and heads disagree"))
        return;
    set_matrix(p, &a, op->w[0], -1, 0);
    a.mode = GEMV_HEADS;
    a.head_out = op->a.heads.head_out;
    a.out.p += op->a.heads.at_out;
    input_for(p, op, w, &a, op->a.heads.n_head, op->a.heads.head_in, op->a.heads.at_in);
    launch_gemv(p, &a, w->fmt, a.rows, w->rows, w->n, 0);
}

/* Gate and up: two matrices, or the halves of one. */
static bool gate_up(struct prep *p, struct gemv_args *a, const struct op *op, bool fused)
{
    set_matrix(p, a, op->w[0], op->w[2], 0);
    if (fused)
        split_matrix(a);
    else
        set_matrix(p, a, op->w[1], op->w[3], 0);
    a->glu = 1;
    if (fused)
        a->bias_each = 2 * a->m[0].rows;
    return want(p, a->m[0].rows == op->out[0].cols && a->m[1].rows == a->m[0].rows, op,
                "result is not as wide as the matrices");
}

/* Pairs by expert, for ids in in[1]: tiles for each number of rows that k's kernels take at once.
 */
static void sort_pairs(struct prep *p, const struct op *op, struct gemv_args *g,
                       const struct fmt_kern *k)
{
    const int64_t pairs = max_rows(p, ROWS_E);
    const int32_t n = op->a.moe.n_expert;
    int32_t *at = slot_for(p, SLOT_SORT, (uint64_t)(4 + 4 * pairs) * sizeof *at);
    struct sort_args a = {.s = p->g->step,
                          .id = (const int32_t *)view_of(p, op->in[1]).p,
                          .n_expert = n,
                          .n_used = p->p->n_used};
    bool same = p->sorted == op->in[1].v;

    if (!at)
        at = (int32_t *)p->g->block;
    g->n_tile = a.n_tile = at;
    g->pair = a.pair = at + 4;
    g->tile = a.tile = at + 4 + pairs;
    for (int v = 0; v < VARIANTS; v++)
        same = same && p->sorted_per[v] == kernel_for(k, v)->rows;
    if (same)
        return;
    p->sorted = op->in[1].v;
    for (int v = 0; v < VARIANTS; v++) {
        struct launch *l;

        a.per = p->sorted_per[v] = kernel_for(k, v)->rows;
        l = cuda_prep_launch(p, &kern_sort, &a, ROWS_1);
        l->when = 1u << v;
        l->block = SORT_THREADS;
        l->shared = (uint32_t)n * 3 * sizeof(int32_t);
    }
}

/* Gate and up of different formats: the gate goes to memory of its own first. */
static void two_formats(struct prep *p, const struct op *op, struct gemv_args *a, int rows)
{
    const int64_t n_out = op->out[0].cols;
    const int of = rows == TILES ? ROWS_E : a->rows;

    a->n_m = 0;
    a->gate =
        (struct view){slot_for(p, SLOT_PAIRS, (uint64_t)(max_rows(p, of) * n_out) * 4), n_out};
    for (int up = 0; up < 2 && p->rc == 0; up++) {
        const struct weight *w = &p->p->w[op->w[up]];
        struct gemv_args k = *a;

        if (!want(p, w->cols == op->in[0].cols && w->rows == n_out, op, "widths disagree"))
            return;
        set_matrix(p, &k, op->w[up], op->w[2 + up], 0);
        if (!up) {
            k.out = a->gate;
            k.gate = (struct view){NULL, 0};
            k.act = ACT_NONE;
        }
        if (rows == TILES)
            sort_pairs(p, op, &k, cuda_fmt(w->fmt));
        input_for(p, op, w, &k, 1, 0, 0);
        launch_gemv(p, &k, w->fmt, rows, n_out, 1, op->a.moe.n_expert);
    }
}

/* glu, and moe_glu with the rows of its pairs. */
static void lower_glu(struct prep *p, const struct op *op, struct gemv_args *a, int rows,
                      bool fused)
{
    const struct weight *w = &p->p->w[op->w[0]];

    if (!fused && w->fmt != p->p->w[op->w[1]].fmt) {
        two_formats(p, op, a, rows);
        return;
    }
    if (!want(p, w->cols == op->in[0].cols, op, "input is not as wide as the matrix") ||
        !gate_up(p, a, op, fused))
        return;
    if (rows == TILES)
        sort_pairs(p, op, a, cuda_fmt(w->fmt));
    input_for(p, op, w, a, 1, 0, 0);
    launch_gemv(p, a, w->fmt, rows, op->out[0].cols, 1, op->a.moe.n_expert);
}

static void low_glu(struct prep *p, const struct op *op)
{
    struct gemv_args a = gemv_of(p, op);

    a.act = op->act;
    a.limit = op->a.lin.limit;
    lower_glu(p, op, &a, a.rows, op->a.lin.fused || op->w[1] < 0);
}

/* -- attention -- */

static uint32_t type_bytes(int type)
{
    return type == FMT_F32 ? 4 : 2;
}

static struct kv_args kv_of(struct prep *p, const struct op *op)
{
    const struct plan *pl = p->p;
    const struct kv_layer *l = &pl->kv[op->a.attn.kv];
    const struct kv_bind *b = &p->s->kv;

    want(p,
         l->n_kv == op->a.attn.n_kv && l->dk == op->a.attn.dk &&
             (op->a.attn.v_in_k || l->dv == op->a.attn.dv),
         op, "key/value layer has another shape");
    return (struct kv_args){
        .pool = b->pool.p,
        .table = (const int32_t *)b->table.p + (int64_t)l->group * b->max_seq * b->max_page,
        .max_page = b->max_page,
        .at = l->at,
        .v_at = (uint32_t)l->n_kv * KV_PAGE * (uint32_t)l->dk * type_bytes(pl->kv_type_k),
        .type_k = pl->kv_type_k,
        .type_v = pl->kv_type_v,
        .n_kv = l->n_kv,
        .dk = l->dk,
        .dv = op->a.attn.dv};
}

static void low_kv_store(struct prep *p, const struct op *op)
{
    const struct store_args a = {p->g->step, kv_of(p, op), view_of(p, op->in[0]),
                                 view_of(p, op->in[1])};

    want(p, (int64_t)a.kv.n_kv * a.kv.dk == op->in[0].cols, op, "K has another width");
    cuda_prep_launch(p, &kern_store, &a, ROWS_T)->block = ATTN_THREADS;
}

/* Query heads that go together: as many as share a key/value head and fit shared memory. */
static int heads_at_once(const struct attn_args *m, uint32_t *shared)
{
    const int group = m->n_head / m->n_kv;

    for (int k = group > 4 ? 2 : group > 1 ? 1 : 0; k >= 0; k--) {
        const uint32_t heads = k == 0 ? 1 : k == 1 ? 4 : 8;

        *shared = heads * ((uint32_t)m->dk + ATTN_CHUNK + 2 + (uint32_t)m->dv) * 4;
        if (*shared <= 48u << 10)
            return k;
    }
    return -1;
}

/* A slope per head; NULL: none. */
static const float *slopes(struct prep *p, const struct op *op)
{
    const struct attn_args *m = &op->a.attn;
    float *host;
    int i;

    for (i = 0; i < p->n_slope; i++)
        if (p->slope[i].alibi == m->alibi && p->slope[i].n_head == m->n_head)
            return p->slope[i].dev;
    if (m->alibi == 0.0f || !want(p, i < (int)ARRAY_LEN(p->slope), op, "too many kinds of slopes"))
        return NULL;
    host = mem_array((uint64_t)m->n_head, sizeof *host, p->e);
    if (!host) {
        p->rc = E_NOMEM;
        return NULL;
    }
    alibi_slopes(host, m);
    p->slope[i].alibi = m->alibi;
    p->slope[i].n_head = m->n_head;
    p->slope[i].dev = upload(p, host, (uint64_t)m->n_head);
    p->n_slope++;
    mem_free(host);
    return p->slope[i].dev;
}

static void low_attn(struct prep *p, const struct op *op)
{
    const struct attn_args *m = &op->a.attn;
    const int32_t n_chunk = (p->p->n_ctx + ATTN_CHUNK - 1) / ATTN_CHUNK;
    uint32_t shared = 0;
    const int k = heads_at_once(m, &shared);
    const int few = p->s->max_t < FEW ? p->s->max_t : FEW;
    struct attn_run_args a = {.s = p->g->step,
                              .kv = kv_of(p, op),
                              .q = view_of(p, op->in[0]),
                              .out = view_of(p, op->out[0]),
                              .n_chunk = n_chunk,
                              .n_split = n_chunk < 32 ? n_chunk : 32,
                              .n_head = m->n_head,
                              .dk = m->dk,
                              .dv = m->dv,
                              .window = m->window,
                              .v_in_k = m->v_in_k,
                              .scale = m->scale,
                              .softcap = m->softcap};
    int64_t n_sink;
    struct launch *l;

    if (!want(p,
              m->n_head % m->n_kv == 0 && (int64_t)m->n_head * m->dk == op->in[0].cols &&
                  (int64_t)m->n_head * m->dv == op->out[0].cols,
              op, "heads and widths disagree"))
        return;
    a.wide = (uint64_t)m->dk * type_bytes(a.kv.type_k) % 16 == 0 && a.kv.at % 16 == 0;
    a.sink = vector(p, op->w[0], &n_sink);
    want(p, !a.sink || n_sink == m->n_head, op, "one sink per head expected");
    a.slope = slopes(p, op);
    for (int split = 0; split < 2; split++) {
        if (split) {
            a.part = slot_for(p, SLOT_PARTS,
                              (uint64_t)few * (uint64_t)m->n_head * (uint64_t)n_chunk *
                                  ((uint64_t)m->dv + 2) * sizeof(float));
            a.part = a.part ? a.part : (float *)p->g->block;
        }
        l = cuda_prep_launch(p, &kern_attn_run[k], &a, ROWS_T);
        l->when = split ? 1u << ONE_ROW | 1u << FEW_ROWS : 1u << MANY_ROWS;
        l->grid_y = (uint32_t)(m->n_kv * ((m->n_head / m->n_kv + (k == 0 ? 1 : 4 * k) - 1) /
                                          (k == 0 ? 1 : 4 * k)));
        l->grid_z = split ? (uint32_t)a.n_split : 1;
        l->block = ATTN_THREADS;
        l->shared = shared;
    }
    l = cuda_prep_launch(p, &kern_attn_merge, &a, ROWS_T);
    l->when = 1u << ONE_ROW | 1u << FEW_ROWS;
    l->grid_y = (uint32_t)m->n_head;
    l->block = ATTN_THREADS;
}

/* -- experts -- */

static void low_route(struct prep *p, const struct op *op)
{
    struct route_args a = {.s = p->g->step,
                           .logits = view_of(p, op->in[0]),
                           .id = (int32_t *)view_of(p, op->out[0]).p,
                           .w = view_of(p, op->out[1]).p,
                           .m = op->a.moe};
    struct launch *l;
    int64_t n_bias;

    a.m.scale = a.m.scale == 0.0f ? 1.0f : a.m.scale;
    a.bias = vector(p, op->w[0], &n_bias);
    want(p,
         a.m.n_expert > 0 && a.m.n_used > 0 && a.m.n_used <= a.m.n_expert &&
             a.m.n_used == p->p->n_used && op->in[0].cols == a.m.n_expert &&
             (!a.bias || n_bias == a.m.n_expert) && a.m.n_group <= ROUTE_GROUPS &&
             (a.m.n_group < 2 || a.m.n_expert % a.m.n_group == 0) && whole(p, op->out[0]) &&
             whole(p, op->out[1]),
         op, "router and experts disagree");
    l = cuda_prep_launch(p, &kern_route, &a, ROWS_T);
    l->block = 32;
    l->shared = (uint32_t)(2 * a.m.n_expert + ROUTE_GROUPS + a.m.n_used) * 4;
}

static void low_moe_glu(struct prep *p, const struct op *op)
{
    struct gemv_args a = gemv_of(p, op);

    if (!want(p, whole(p, op->in[1]) && p->p->w[op->w[0]].n == op->a.moe.n_expert, op,
              "experts' matrices disagree"))
        return;
    a.mode = GEMV_PAIRS;
    a.div = p->p->n_used;
    a.act = op->a.moe.act;
    a.limit = op->a.moe.limit;
    lower_glu(p, op, &a, TILES, op->w[1] < 0);
}

static void low_moe_down(struct prep *p, const struct op *op)
{
    const struct weight *w = &p->p->w[op->w[0]];
    struct gemv_args a = gemv_of(p, op);
    struct combine_args c = {.s = p->g->step,
                             .w = view_of(p, op->in[2]).p,
                             .add = view_of(p, op->in[3]),
                             .out = view_of(p, op->out[0]),
                             .cols = op->out[0].cols,
                             .n_used = p->p->n_used,
                             .scale = op->a.moe.scale == 0.0f ? 1.0f : op->a.moe.scale};
    const uint64_t bytes = (uint64_t)max_rows(p, ROWS_E) * (uint64_t)c.cols * sizeof(float);

    if (!want(p,
              whole(p, op->in[1]) && whole(p, op->in[2]) && w->n == op->a.moe.n_expert &&
                  w->cols == op->in[0].cols && w->rows == op->out[0].cols,
              op, "experts' matrices disagree"))
        return;
    set_matrix(p, &a, op->w[0], op->w[1], 0);
    a.mode = GEMV_PAIRS;
    a.out = (struct view){slot_for(p, SLOT_PAIRS, bytes), c.cols};
    c.x = a.out.p;
    sort_pairs(p, op, &a, cuda_fmt(w->fmt));
    input_for(p, op, w, &a, 1, 0, 0);
    launch_gemv(p, &a, w->fmt, TILES, w->rows, 1, op->a.moe.n_expert);
    cuda_prep_launch(p, &kern_combine, &c, ROWS_T)->grid_y = blocks(c.cols, MAP_COLS, 64);
}

/* -- adapters -- */

static void low_lora(struct prep *p, const struct op *op)
{
    const int rows = rows_of(p, op->out[0]);
    struct lora_args a = {.s = p->g->step,
                          .pair = p->g->pair + op->w[0],
                          .n_pair = p->p->n_w,
                          .x = view_of(p, op->in[0]),
                          .out = view_of(p, op->out[0]),
                          .cols = op->in[0].cols,
                          .out_cols = op->out[0].cols,
                          .rows = rows,
                          .n_used = p->p->n_used};
    struct launch *l;

    if (!p->g->pair ||
        !want(p, op->in[1].v == op->out[0].v && op->in[1].at == op->out[0].at && rows != ROWS_E, op,
              "adapts another value than it reads"))
        return;
    a.low =
        slot_for(p, SLOT_LORA, (uint64_t)max_rows(p, rows) * LORA_MIX * LORA_RANK * sizeof *a.low);
    l = cuda_prep_launch(p, &kern_lora_low, &a, rows);
    l->grid_y = LORA_MIX;
    l->grid_z = 4;
    cuda_prep_launch(p, &kern_lora_add, &a, rows)->grid_y = blocks(a.out_cols, MAP_THREADS, 64);
}

/* -- recurrent records -- */

/* As many sequences as there are rows in the page tables. */
int cuda_most_runs(const struct segment *s)
{
    return s->kv.max_seq > 0 ? s->kv.max_seq : 1;
}

static struct state_args state_of(struct prep *p, const struct op *op, uint64_t bytes)
{
    const struct scan_args *a = &op->a.scan;

    want(p,
         a->state_bytes >= bytes && a->state_at % 4 == 0 &&
             (uint64_t)a->state_at + a->state_bytes <= p->p->state_bytes,
         op, "no room for its state");
    return (struct state_args){
        .s = p->g->step,
        .state = p->s->kv.state.p,
        .spare = slot_for(p, SLOT_SPARE, (uint64_t)cuda_most_runs(p->s) * a->state_bytes),
        .slot_bytes = p->p->state_bytes,
        .a = *a,
        .x = view_of(p, op->in[0]),
        .dt = view_of(p, op->in[1]),
        .out = view_of(p, op->out[0]),
        .cols = op->in[0].cols};
}

static void low_conv1d(struct prep *p, const struct op *op)
{
    const int64_t n = op->in[0].cols, width = op->a.scan.width;
    struct state_args a = state_of(p, op, (uint64_t)((width - 1) * n) * 4);
    int64_t n_w, n_b;

    a.w[0] = vector(p, op->w[0], &n_w);
    a.w[1] = vector(p, op->w[1], &n_b);
    want(p, width > 0 && n_w == n * width && (n_b == 0 || n_b == n) && op->out[0].cols == n, op,
         "widths of the convolution disagree");
    cuda_prep_launch(p, &kern_conv, &a, RUNS)->grid_y = blocks(n, MAP_THREADS, 65535);
}

static void low_shift(struct prep *p, const struct op *op)
{
    const struct state_args a = state_of(p, op, (uint64_t)op->in[0].cols * 4);

    cuda_prep_launch(p, &kern_shift, &a, RUNS)->grid_y = blocks(a.cols, MAP_THREADS, 65535);
}

static void low_ssm_scan(struct prep *p, const struct op *op)
{
    const struct scan_args *s = &op->a.scan;
    const int64_t inner = (int64_t)s->n_head * s->head_dim;
    struct state_args a = state_of(p, op, (uint64_t)(inner * s->d_state) * 4);
    struct launch *l;
    int64_t n[3];

    for (int i = 0; i < 3; i++) {
        a.w[i] = vector(p, op->w[i], &n[i]);
        want(p, i > 0 ? n[i] == 0 || n[i] == s->n_head : n[i] == s->n_head, op,
             "one number per head expected");
    }
    want(p,
         s->n_group > 0 && s->n_head % s->n_group == 0 && op->out[0].cols == inner &&
             op->in[0].cols == inner + 2 * (int64_t)s->n_group * s->d_state &&
             op->in[1].cols == s->n_head,
         op, "widths of the scan disagree");
    l = cuda_prep_launch(p, &kern_scan, &a, RUNS);
    l->grid_y = (uint32_t)s->n_head;
    l->block = ((uint32_t)s->head_dim + 31) / 32 * 32;
}

static void low_rwkv(struct prep *p, const struct op *op)
{
    const struct scan_args *s = &op->a.scan;
    const int64_t width = (int64_t)s->n_head * s->head_dim;
    struct state_args a = state_of(p, op, (uint64_t)(width * s->head_dim) * 4);
    struct launch *l;
    int64_t n;

    for (int i = 0; i < 5; i++) {
        a.w[i] = vector(p, op->w[i], &n);
        want(p, n == width, op, "a vector of another width");
    }
    want(p, op->in[0].cols == 5 * width && op->out[0].cols == width, op,
         "widths of the mixing disagree");
    l = cuda_prep_launch(p, &kern_rwkv, &a, RUNS);
    l->grid_y = (uint32_t)s->n_head;
    l->block = ((uint32_t)s->head_dim + 31) / 32 * 32;
    l->shared = (5 * (uint32_t)s->head_dim + 32) * sizeof(float);
}

/* -- the table -- */

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

/* The weights a record multiplies with, reads rows of, or takes as vectors. */
static bool weights_good(const struct plan *p, const struct op *op)
{
    for (size_t i = 0; i < ARRAY_LEN(op->w); i++)
        if (op->w[i] >= 0 && !cuda_fmt(p->w[op->w[i]].fmt))
            return false;
    return true;
}

static bool attn_good(const struct plan *p, const struct op *op)
{
    const struct attn_args *m = &op->a.attn;
    uint32_t shared;
    const bool types =
        (p->kv_type_k == FMT_F32 || p->kv_type_k == FMT_F16 || p->kv_type_k == FMT_BF16) &&
        (p->kv_type_v == FMT_F32 || p->kv_type_v == FMT_F16 || p->kv_type_v == FMT_BF16);

    return types && m->kv >= 0 && m->kv < p->n_kv && m->n_kv > 0 &&
           (op->kind == OP_kv_store || heads_at_once(m, &shared) >= 0);
}

bool cuda_can(const struct dev *d, const struct plan *p, const struct op *op)
{
    (void)d;
    if (op->kind >= OP_KINDS || !lower[op->kind] || !weights_good(p, op))
        return false;
    switch (op->kind) {
    case OP_attn:
    case OP_kv_store:
        return attn_good(p, op);
    case OP_moe_route: // its row lies in shared memory
        return op->a.moe.n_expert <= 4096 && op->a.moe.n_used <= 64;
    case OP_ssm_scan:
        return op->a.scan.head_dim <= 1024;
    case OP_rwkv:
        return op->a.scan.head_dim <= RWKV_COLS;
    default:
        return true;
    }
}

void cuda_lower(struct prep *p, const struct op *op)
{
    lower[op->kind](p, op);
    wrote(p, op);
}
