/* lower.c - the launches of each kind of record, and which records the device can run: the table,
 * and records that go element by element, row by row, or from state to state.
 *
 * The builder has checked shapes already; what is checked here is what the kernels rely on.
 */
#include <string.h>

#include "base/mem.h"
#include "kernels/cuda/lower.h"
#include "kernels/tables.h"

bool cuda_want(struct prep *p, bool good, const struct op *op, const char *what)
{
    if (!good)
        cuda_prep_fail(p, op, what);
    return p->rc == 0;
}

/* -- values, weights, memory -- */

int64_t cuda_max_rows(const struct prep *p, int rows)
{
    return plan_rows(p->p, rows, p->s->max_t, p->s->max_s);
}

struct view cuda_view(const struct prep *p, struct ref r)
{
    if (r.v < 0)
        return (struct view){NULL, 0};
    return (struct view){(float *)((uint8_t *)p->s->arena.p + p->s->at[r.v]) + r.at,
                         p->p->value[r.v].cols};
}

int cuda_rows(const struct prep *p, struct ref r)
{
    return p->p->value[r.v].rows;
}

bool cuda_whole(const struct prep *p, struct ref r)
{
    return r.v >= 0 && r.at == 0 && r.cols == p->p->value[r.v].cols;
}

/* Memory that the records after this one use too. */
void *cuda_slot(struct prep *p, enum slot slot, uint64_t bytes)
{
    p->want[slot] = bytes > p->want[slot] ? bytes : p->want[slot];
    return p->slot[slot];
}

/* n floats of the host in device memory that lives as long as the segment. */
float *cuda_upload(struct prep *p, const float *x, uint64_t n)
{
    float *to = cuda_prep_mem(p, n * sizeof *to);

    if (to && (rt_copy(p->d->rt, to, x, n * sizeof *to) < 0 || rt_sync(p->d->rt) < 0) && p->rc == 0)
        p->rc = err_set(p->e, E_DEVICE, "cuda: %s", rt_error());
    return to;
}

/* A weight as floats of the device: itself when it is F32, else made by its format's kernel. NULL
 * for -1; n: how many. */
const float *cuda_vector(struct prep *p, int w, int64_t *n)
{
    const struct weight *from = w < 0 ? NULL : &p->p->w[w];
    const struct fmt_kern *k = from ? cuda_kern(from) : NULL;
    int64_t row_bytes;

    if (n)
        *n = from ? from->n * from->rows * from->cols : 0;
    if (!from || p->rc)
        return NULL;
    if (from->fmt == FMT_F32 && (uintptr_t)from->part[0].p % sizeof(float) == 0)
        return from->part[0].p;
    row_bytes = k ? cuda_row_bytes(k, from->fmt, from->cols) : 0;
    if (!row_bytes) {
        p->rc = err_set(p->e, E_UNSUPPORTED, "cuda: %s: no kernel for its format", from->name);
        return NULL;
    }
    if (!p->vec[w]) {
        const int64_t rows = from->n * from->rows;
        float *to = cuda_prep_mem(p, (uint64_t)(rows * from->cols) * sizeof *to);
        const struct fetch_args a = {.w = from->part[0].p,
                                     .row_bytes = row_bytes,
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

void cuda_wrote(struct prep *p, const struct op *op)
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

uint32_t cuda_blocks(int64_t n, int64_t per, int64_t most)
{
    const int64_t k = (n + per - 1) / per;

    return (uint32_t)(k < 1 ? 1 : k < most ? k : most);
}

/* -- element by element, row by row -- */

static void low_map(struct prep *p, const struct op *op, enum map_kind kind)
{
    struct map_args a = {.s = p->g->step,
                         .x = cuda_view(p, op->in[0]),
                         .b = cuda_view(p, op->in[1]),
                         .c = cuda_view(p, op->in[2]),
                         .out = cuda_view(p, op->out[0]),
                         .cols = op->out[0].cols,
                         .in_cols = op->in[0].cols,
                         .scale = op->a.lin.scale,
                         .kind = (int32_t)kind,
                         .act = op->act,
                         .rows = cuda_rows(p, op->out[0]),
                         .n_used = p->p->n_used};
    struct launch *l;
    int64_t n;

    if (kind == MAP_SCALE && a.scale == 0.0f)
        a.scale = 1.0f;
    if (kind == MAP_LERP) {
        a.w = cuda_vector(p, op->w[0], &n);
        cuda_want(
            p, a.in_cols > 0 && a.cols % a.in_cols == 0 && (a.c.p ? op->in[2].cols : n) == a.cols,
            op, "widths of the mix disagree");
    }
    l = cuda_prep_launch(p, &kern_map, &a, a.rows);
    l->grid_y = cuda_blocks(a.cols, MAP_COLS, 64);
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
                               .row_bytes = cuda_row_bytes(cuda_kern(w), w->fmt, w->cols),
                               .cols = w->cols,
                               .out = cuda_view(p, op->out[0]),
                               .scale = op->a.lin.scale == 0.0f ? 1.0f : op->a.lin.scale,
                               .mode = mode[i]};

        if (cuda_want(p, w->cols == op->out[0].cols, op, "table is not as wide as the value"))
            cuda_prep_launch(p, &cuda_kern(w)->fetch, &a, ROWS_T);
    }
}

static void low_norm(struct prep *p, const struct op *op)
{
    const int32_t n = op->out[0].cols, group = op->a.norm.group ? op->a.norm.group : n;
    struct norm_args a = {.s = p->g->step,
                          .x = cuda_view(p, op->in[0]),
                          .add = cuda_view(p, op->in[1]),
                          .out = cuda_view(p, op->out[0]),
                          .group = group,
                          .eps = op->a.norm.eps,
                          .center = op->kind == OP_layernorm,
                          .rows = cuda_rows(p, op->out[0]),
                          .n_used = p->p->n_used};
    struct launch *l;
    int64_t n_w = 0, n_b = 0;

    a.w = cuda_vector(p, op->w[0], &n_w);
    if (a.center)
        a.b = cuda_vector(p, op->w[1], &n_b);
    n_w = n_w ? n_w : n_b;
    a.n_w = (int32_t)(n_w ? n_w : n);
    if (!cuda_want(p,
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
    const float *dev = cuda_vector(p, w, &n);

    if (f)
        factor = mem_array((uint64_t)n, sizeof *factor, p->e);
    if (!host || (f && !factor)) {
        p->rc = p->rc ? p->rc : E_NOMEM;
    } else if (cuda_want(p, !f || n >= a->n_rot / 2, op, "too few rotation factors") &&
               (!f || (rt_copy(p->d->rt, factor, dev, (uint64_t)n * sizeof *factor) == 0 &&
                       rt_sync(p->d->rt) == 0))) {
        rope_frequencies(host, a, factor);
        *t = (struct table){.a = *a, .factors = w};
        t->freq = cuda_upload(p, host, (uint64_t)a->n_rot / 2);
        t->tab = cuda_prep_mem(p, (uint64_t)p->s->max_t * 2 * (uint64_t)a->n_rot * sizeof(float));
        p->n_table++;
    }
    mem_free(host);
    mem_free(factor);
    return t;
}

/* The table for this rotation, with a launch that fills it if none does yet. */
const float *cuda_rope_table(struct prep *p, const struct op *op)
{
    const struct rope_args *a = &op->a.rope;
    struct table *t = NULL;

    for (int i = 0; i < p->n_table; i++)
        if (p->table[i].factors == op->w[0] && same_rotation(&p->table[i].a, a))
            t = &p->table[i];
    if (!t &&
        cuda_want(p, a->n_rot > 0 && a->n_rot % 2 == 0 && a->base > 0.0f, op, "bad rotation") &&
        cuda_want(p, p->n_table < (int)ARRAY_LEN(p->table), op, "too many rotations"))
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

bool cuda_rope_good(const struct op *op)
{
    const struct rope_args *r = &op->a.rope;

    return r->n_head > 0 && r->at_in + r->n_rot <= r->head_in &&
           r->at_out + r->n_rot <= r->head_out &&
           (int64_t)r->n_head * r->head_in <= op->in[0].cols &&
           (int64_t)r->n_head * r->head_out <= op->out[0].cols;
}

static void low_rope(struct prep *p, const struct op *op)
{
    const struct rope_args *r = &op->a.rope;
    const struct rope_run_args a = {p->g->step, cuda_view(p, op->in[0]), cuda_view(p, op->out[0]),
                                    cuda_rope_table(p, op), *r};
    struct launch *l;

    if (!cuda_want(p, cuda_rope_good(op), op, "heads do not fit the values"))
        return;
    l = cuda_prep_launch(p, &kern_rope_run, &a, ROWS_T);
    l->grid_y = (uint32_t)r->n_head;
    l->block = r->n_rot <= 64 ? 32 : 64;
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

    cuda_want(p,
              a->state_bytes >= bytes && a->state_at % 4 == 0 &&
                  (uint64_t)a->state_at + a->state_bytes <= p->p->state_bytes,
              op, "no room for its state");
    return (struct state_args){
        .s = p->g->step,
        .state = p->s->kv.state.p,
        .spare = cuda_slot(p, SLOT_SPARE, (uint64_t)cuda_most_runs(p->s) * a->state_bytes),
        .slot_bytes = p->p->state_bytes,
        .a = *a,
        .x = cuda_view(p, op->in[0]),
        .dt = cuda_view(p, op->in[1]),
        .out = cuda_view(p, op->out[0]),
        .cols = op->in[0].cols};
}

static void low_conv1d(struct prep *p, const struct op *op)
{
    const int64_t n = op->in[0].cols, width = op->a.scan.width;
    struct state_args a = state_of(p, op, (uint64_t)((width - 1) * n) * 4);
    int64_t n_w, n_b;

    a.w[0] = cuda_vector(p, op->w[0], &n_w);
    a.w[1] = cuda_vector(p, op->w[1], &n_b);
    cuda_want(p, width > 0 && n_w == n * width && (n_b == 0 || n_b == n) && op->out[0].cols == n,
              op, "widths of the convolution disagree");
    cuda_prep_launch(p, &kern_conv, &a, RUNS)->grid_y = cuda_blocks(n, MAP_THREADS, 65535);
}

static void low_shift(struct prep *p, const struct op *op)
{
    const struct state_args a = state_of(p, op, (uint64_t)op->in[0].cols * 4);

    cuda_prep_launch(p, &kern_shift, &a, RUNS)->grid_y = cuda_blocks(a.cols, MAP_THREADS, 65535);
}

static void low_ssm_scan(struct prep *p, const struct op *op)
{
    const struct scan_args *s = &op->a.scan;
    const int64_t inner = (int64_t)s->n_head * s->head_dim;
    struct state_args a = state_of(p, op, (uint64_t)(inner * s->d_state) * 4);
    struct launch *l;
    int64_t n[3];

    for (int i = 0; i < 3; i++) {
        a.w[i] = cuda_vector(p, op->w[i], &n[i]);
        cuda_want(p, i > 0 ? n[i] == 0 || n[i] == s->n_head : n[i] == s->n_head, op,
                  "one number per head expected");
    }
    cuda_want(p,
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
        a.w[i] = cuda_vector(p, op->w[i], &n);
        cuda_want(p, n == width, op, "a vector of another width");
    }
    cuda_want(p, op->in[0].cols == 5 * width && op->out[0].cols == width, op,
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
    [OP_linear] = cuda_low_linear,
    [OP_linear_multi] = cuda_low_linear,
    [OP_linear_heads] = cuda_low_linear_heads,
    [OP_lora] = cuda_low_lora,
    [OP_steer] = cuda_low_steer,
    [OP_glu] = cuda_low_glu,
    [OP_rope] = low_rope,
    [OP_kv_store] = cuda_low_kv_store,
    [OP_attn] = cuda_low_attn,
    [OP_moe_route] = cuda_low_route,
    [OP_moe_glu] = cuda_low_moe_glu,
    [OP_moe_down] = cuda_low_moe_down,
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

bool cuda_can(const struct dev *d, const struct plan *p, const struct op *op)
{
    (void)d;
    if (op->kind >= OP_KINDS || !lower[op->kind] || !weights_good(p, op))
        return false;
    switch (op->kind) {
    case OP_attn:
    case OP_kv_store:
        return cuda_attn_good(p, op);
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
    cuda_wrote(p, op);
}
