/* lower_mat.c - the launches of records that multiply with matrices: linear, glu, experts,
 * adapters.
 */
#include "base/mem.h"
#include "kernels/cuda/lower.h"

/* -- matrices -- */

/* Has the norm that was launched last pack its result, if that is what k wants packed. */
static bool norm_packs(struct prep *p, const struct pack_args *k)
{
    struct launch *l = p->g->n > 0 ? &p->g->l[p->g->n - 1] : NULL;
    struct norm_args *a = l ? l->args : NULL;

    if (!a || p->d->plain || l->k != &kern_norm || l->grid_y != 1 || a->out.p != k->x.p ||
        a->group != k->cols || a->rows != k->rows || k->n_head != 1 || a->to || a->halves)
        return false;
    a->to = k->to;
    a->halves = k->halves;
    return true;
}

/* Has the attention that was launched last pack its result, if that is what k wants packed. */
static bool attn_packs(struct prep *p, const struct pack_args *k)
{
    bool found = false;

    for (int i = p->g->n - 1; i >= 0 && !p->d->plain; i--) {
        const struct launch *l = &p->g->l[i];
        struct attn_run_args *a = l->args;

        if (!a || !cuda_is_attn(l->k))
            break;
        if (a->out.p != k->x.p || (int64_t)a->n_head * a->dv != k->cols || a->dv % 32 ||
            k->rows != ROWS_T || k->n_head != 1 || a->to || a->halves)
            break;
        a->to = k->to;
        a->halves = k->halves;
        found = true;
    }
    return found;
}

/* Whether the kernel of the glu that was launched last, for one row, can pack x. */
static bool glu_can_pack(const struct prep *p, const float *x, int64_t cols, int n_head,
                         enum fmt_input form)
{
    return !p->d->plain && form != INPUT_PLAIN && n_head == 1 && p->glu.out && p->glu.out == x &&
           p->glu.cols == cols && cols % 32 == 0 && p->glu.end == p->g->n;
}

static void glu_packs(struct prep *p, const struct pack_args *k)
{
    struct gemv_args *a = p->g->l[p->glu.launch].args;

    if (!a)
        return;
    a->ticket = cuda_slot(p, SLOT_TICKET, (uint64_t)k->cols / 32 * sizeof *a->ticket);
    a->to = k->to;
    a->halves = k->halves;
}

/* in[0] of op in the form weight w wants; packed by a launch if it is not there yet. */
static void input_for(struct prep *p, const struct op *op, const struct weight *w,
                      struct gemv_args *a, int32_t n_head, int32_t head_in, int32_t at_in)
{
    struct ref r = op->in[0];
    const enum fmt_input form = cuda_kern(w)->input;
    const int rows = cuda_rows(p, r);
    const uint64_t bytes = (uint64_t)cuda_max_rows(p, rows) * (uint64_t)n_head *
                           (((uint64_t)w->cols + 31) / 32) *
                           (form == INPUT_X16 ? sizeof(struct x16) : sizeof(struct q32));
    void *to;

    r.at += at_in;
    a->x = cuda_view(p, r);
    a->head_in = head_in;
    a->n_head = n_head;
    if (form == INPUT_PLAIN)
        return;
    r.cols = (int32_t)w->cols;
    const bool by_glu = rows == ROWS_T && glu_can_pack(p, a->x.p, w->cols, n_head, form);
    const bool there = p->packed.v == r.v && p->packed.at == r.at && p->packed.cols == r.cols &&
                       p->packed_heads == n_head && p->packed_form == form;
    /* what a glu reads is packed, too, while it packs */
    to = there ? p->packed_at : cuda_slot(p, by_glu ? SLOT_PACK_GLU : SLOT_PACK, bytes);
    if (!to) // sizes are being learnt: any address that says "packed"
        to = p->g->block;
    a->xq = form == INPUT_Q32 ? to : NULL;
    a->xh = form == INPUT_X16 ? to : NULL;
    if (there)
        return;
    p->packed = r;
    p->packed_at = to;
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
    if (norm_packs(p, &k) || attn_packs(p, &k))
        return;
    if (by_glu)
        glu_packs(p, &k);
    struct launch *l = cuda_prep_launch(p, &kern_pack, &k, rows);
    l->grid_y = cuda_blocks(n_head * ((w->cols + 31) / 32), GEMV_THREADS / 32, 64);
    l->when = by_glu ? ALWAYS & ~(1u << ONE_ROW) : ALWAYS;
}

static void set_matrix(struct prep *p, struct gemv_args *a, int w, int bias, int64_t at)
{
    const struct weight *from = &p->p->w[w];
    const struct fmt_kern *k = cuda_kern(from);
    struct mat *m = &a->m[a->n_m++];

    *m = (struct mat){from->part[0].p, cuda_vector(p, bias, NULL), from->rows, at};
    a->row_bytes = cuda_row_bytes(k, from->fmt, from->cols);
    a->together = k->slice ? 2 : 0;
    a->cols = from->cols;
    a->each = a->row_bytes * (from->rows >> a->together);
    a->bias_each = from->rows;
}

/* The second half of a matrix that holds gate and up. */
static void split_matrix(struct gemv_args *a)
{
    struct mat *m = a->m;

    m[0].rows /= 2;
    m[1] = m[0];
    m[1].w += (m[0].rows >> a->together) * a->row_bytes;
    if (m[0].bias)
        m[1].bias = m[0].bias + m[0].rows;
    a->n_m = 2;
}

/* Devices differ in how much shared memory a block may have: 227 KiB on sm_90, 163 on sm_80, 99 on
 * sm_89 and sm_120. */
static bool has_room(const struct prep *p, const struct fmt_launch *f)
{
    return f->shared <= p->d->info.shared;
}

/* The kernel for so many rows: a table for each form that a matrix can lie in. Rings take matrices
 * one by one: what experts have is chosen on the device. */
static const struct fmt_launch *kernel_for(const struct prep *p, const struct weight *w, int mode,
                                           int v)
{
    const struct fmt_kern *k = cuda_kern(w);
    const struct fmt_launch *some = k->slice && p->d->layout != LAYOUT_DP4A
                                        ? gemv_small_panels(w->fmt)
                                        : gemv_half_some(w->fmt);
    const bool tiles = v > UP_TO_16 && k->tiles.k.name;

    if (k->slice && v == ONE_ROW && mode != GEMV_PAIRS && p->d->layout >= LAYOUT_PIECES &&
        has_room(p, gemv_rings(w->fmt)))
        return &gemv_rings(w->fmt)[p->d->layout - LAYOUT_PIECES];
    if (some && v >= UP_TO_8 && v <= UP_TO_32)
        for (int i = mode == GEMV_PAIRS ? 0 : v - UP_TO_8; i >= 0; i--) // few an expert
            if (has_room(p, &some[i]))
                return &some[i];
    if (v == MANY_ROWS && p->d->wide && mode != GEMV_PAIRS && gemv_wide(w->fmt, w->cols))
        return gemv_wide(w->fmt, w->cols);
    return v == ONE_ROW ? &k->few : tiles ? &k->tiles : &k->many;
}

/* Launches for every number of rows: a grid of tiles of rows, columns, and matrices. n_expert: of
 * TILES. */
static void launch_gemv(struct prep *p, struct gemv_args *a, const struct weight *w, int rows,
                        int64_t n_out, int64_t n_matrix, int32_t n_expert)
{
    const struct fmt_launch *before = NULL;
    struct launch *l = NULL;

    for (int v = VARIANTS - 1; v >= 0; v--) {
        const struct fmt_launch *k = kernel_for(p, w, a->mode, v);
        const struct gemv_shape shape =
            cuda_gemv_shape(k, a->cols, n_out, a->glu, p->d->info.units);

        if (k == before) {
            l->when |= 1u << v;
            continue;
        }
        before = k;
        a->split = shape.split;
        l = cuda_prep_launch(p, &k->k, a, rows);
        l->when = 1u << v;
        l->per = (uint32_t)k->rows;
        l->block = k->block;
        l->shared = shape.shared;
        l->grid_y = shape.grid_y;
        l->grid_z = (uint32_t)n_matrix;
        l->n_expert = n_expert;
        if (v == ONE_ROW && a->mode == GEMV_ROWS && k == &cuda_kern(w)->few &&
            cuda_kern(w)->heads.name) {
            const struct made m = {p->g->n - 1,         p->g->n, a->out.p, n_out, a->xq, a->xh,
                                   &cuda_kern(w)->heads};

            if (a->glu)
                p->glu = m;
            else if (p->n_made < (int)ARRAY_LEN(p->made))
                p->made[p->n_made++] = m;
        }
    }
}

static struct gemv_args gemv_of(const struct prep *p, const struct op *op)
{
    return (struct gemv_args){.s = p->g->step,
                              .out = cuda_view(p, op->out[0]),
                              .mode = GEMV_ROWS,
                              .rows = cuda_rows(p, op->in[0]),
                              .n_used = p->p->n_used,
                              .scale = 1.0f,
                              .div = 1};
}

/* linear, and linear_multi: matrices of one format go in one launch. */
void cuda_low_linear(struct prep *p, const struct op *op)
{
    const bool multi = op->kind == OP_linear_multi;
    int64_t at = 0;

    p->n_made = 0;
    for (int i = 0, k; i < (multi ? 4 : 1) && op->w[i] >= 0 && p->rc == 0; i = k) {
        const struct weight *w = &p->p->w[op->w[i]];
        struct gemv_args a = gemv_of(p, op);
        const int64_t first = at;

        if (!cuda_want(p, w->cols == op->in[0].cols, op, "input is not as wide as the matrix"))
            return;
        if (!multi) {
            a.act = op->act;
            a.scale = op->a.lin.scale == 0.0f ? 1.0f : op->a.lin.scale;
            a.add = cuda_view(p, op->in[1]);
        }
        for (k = i; k < (multi ? 4 : 1) && op->w[k] >= 0; k++) {
            const struct weight *o = &p->p->w[op->w[k]];
            if (cuda_kern(o) != cuda_kern(w) ||
                !cuda_want(p, o->cols == w->cols, op, "matrices of unequal width"))
                break;
            set_matrix(p, &a, op->w[k], op->w[multi ? 4 + k : 1], at - first);
            at += o->rows;
        }
        a.out.p += first;
        if (p->rc)
            return;
        input_for(p, op, w, &a, 1, 0, 0);
        launch_gemv(p, &a, w, a.rows, at - first, 1, 0);
    }
    cuda_want(p, at == op->out[0].cols, op, "result is not as wide as the matrices");
}

void cuda_low_linear_heads(struct prep *p, const struct op *op)
{
    const struct weight *w = &p->p->w[op->w[0]];
    struct gemv_args a = gemv_of(p, op);

    if (!cuda_want(p,
                   w->n == op->a.heads.n_head && w->cols == op->a.heads.n_in &&
                       w->rows == op->a.heads.n_out,
                   op, "stack of matrices and heads disagree"))
        return;
    set_matrix(p, &a, op->w[0], -1, 0);
    a.mode = GEMV_HEADS;
    a.head_out = op->a.heads.head_out;
    a.out.p += op->a.heads.at_out;
    input_for(p, op, w, &a, op->a.heads.n_head, op->a.heads.head_in, op->a.heads.at_in);
    launch_gemv(p, &a, w, a.rows, w->rows, w->n, 0);
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
    return cuda_want(p, a->m[0].rows == op->out[0].cols && a->m[1].rows == a->m[0].rows, op,
                     "result is not as wide as the matrices");
}

/* Pairs by expert, for ids in in[1]: tiles for each number of rows that w's kernels take at once.
 */
static void sort_pairs(struct prep *p, const struct op *op, struct gemv_args *g,
                       const struct weight *w)
{
    const int64_t pairs = cuda_max_rows(p, ROWS_E);
    const int32_t n = op->a.moe.n_expert;
    int32_t *at = cuda_slot(p, SLOT_SORT, (uint64_t)(4 + 4 * pairs) * sizeof *at);
    struct sort_args a = {.s = p->g->step,
                          .id = (const int32_t *)cuda_view(p, op->in[1]).p,
                          .n_expert = n,
                          .n_used = p->p->n_used};
    bool same = p->sorted == op->in[1].v;
    struct launch *l = NULL;

    if (!at)
        at = (int32_t *)p->g->block;
    g->n_tile = a.n_tile = at;
    g->pair = a.pair = at + 4;
    g->tile = a.tile = at + 4 + pairs;
    for (int v = 0; v < VARIANTS; v++)
        same = same && p->sorted_per[v] == kernel_for(p, w, GEMV_PAIRS, v)->rows;
    if (same)
        return;
    p->sorted = op->in[1].v;
    for (int v = 0; v < VARIANTS; v++) {
        a.per = p->sorted_per[v] = kernel_for(p, w, GEMV_PAIRS, v)->rows;
        if (v > 0 && p->sorted_per[v] == p->sorted_per[v - 1]) {
            l->when |= 1u << v;
            continue;
        }
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
    a->gate = (struct view){cuda_slot(p, SLOT_PAIRS, (uint64_t)(cuda_max_rows(p, of) * n_out) * 4),
                            n_out};
    for (int up = 0; up < 2 && p->rc == 0; up++) {
        const struct weight *w = &p->p->w[op->w[up]];
        struct gemv_args k = *a;

        if (!cuda_want(p, w->cols == op->in[0].cols && w->rows == n_out, op, "widths disagree"))
            return;
        set_matrix(p, &k, op->w[up], op->w[2 + up], 0);
        if (!up) {
            k.out = a->gate;
            k.gate = (struct view){NULL, 0};
            k.act = ACT_NONE;
        }
        if (rows == TILES)
            sort_pairs(p, op, &k, w);
        input_for(p, op, w, &k, 1, 0, 0);
        launch_gemv(p, &k, w, rows, n_out, 1, op->a.moe.n_expert);
    }
}

/* glu, and moe_glu with the rows of its pairs. */
static void lower_glu(struct prep *p, const struct op *op, struct gemv_args *a, int rows,
                      bool fused)
{
    const struct weight *w = &p->p->w[op->w[0]];

    if (!fused && cuda_kern(w) != cuda_kern(&p->p->w[op->w[1]])) {
        two_formats(p, op, a, rows);
        return;
    }
    if (!cuda_want(p, w->cols == op->in[0].cols, op, "input is not as wide as the matrix") ||
        !gate_up(p, a, op, fused))
        return;
    if (rows == TILES)
        sort_pairs(p, op, a, w);
    input_for(p, op, w, a, 1, 0, 0);
    launch_gemv(p, a, w, rows, op->out[0].cols, 1, op->a.moe.n_expert);
}

void cuda_low_glu(struct prep *p, const struct op *op)
{
    struct gemv_args a = gemv_of(p, op);

    a.act = op->act;
    a.limit = op->a.lin.limit;
    lower_glu(p, op, &a, a.rows, op->a.lin.fused || op->w[1] < 0);
}

/* -- experts -- */

void cuda_low_route(struct prep *p, const struct op *op)
{
    struct route_args a = {.s = p->g->step,
                           .logits = cuda_view(p, op->in[0]),
                           .id = (int32_t *)cuda_view(p, op->out[0]).p,
                           .w = cuda_view(p, op->out[1]).p,
                           .m = op->a.moe};
    struct launch *l;
    int64_t n_bias;

    a.m.scale = a.m.scale == 0.0f ? 1.0f : a.m.scale;
    a.bias = cuda_vector(p, op->w[0], &n_bias);
    cuda_want(p,
              a.m.n_expert > 0 && a.m.n_used > 0 && a.m.n_used <= a.m.n_expert &&
                  a.m.n_used == p->p->n_used && op->in[0].cols == a.m.n_expert &&
                  (!a.bias || n_bias == a.m.n_expert) && a.m.n_group <= ROUTE_GROUPS &&
                  (a.m.n_group < 2 || a.m.n_expert % a.m.n_group == 0) &&
                  cuda_whole(p, op->out[0]) && cuda_whole(p, op->out[1]),
              op, "router and experts disagree");
    l = cuda_prep_launch(p, &kern_route, &a, ROWS_T);
    l->block = 32;
    l->shared = (uint32_t)(2 * a.m.n_expert + ROUTE_GROUPS + a.m.n_used) * 4;
}

void cuda_low_moe_glu(struct prep *p, const struct op *op)
{
    struct gemv_args a = gemv_of(p, op);

    if (!cuda_want(p, cuda_whole(p, op->in[1]) && p->p->w[op->w[0]].n == op->a.moe.n_expert, op,
                   "experts' matrices disagree"))
        return;
    a.mode = GEMV_PAIRS;
    a.div = p->p->n_used;
    a.act = op->a.moe.act;
    a.limit = op->a.moe.limit;
    lower_glu(p, op, &a, TILES, op->w[1] < 0);
}

void cuda_low_moe_down(struct prep *p, const struct op *op)
{
    const struct weight *w = &p->p->w[op->w[0]];
    struct gemv_args a = gemv_of(p, op);
    struct combine_args c = {.s = p->g->step,
                             .w = cuda_view(p, op->in[2]).p,
                             .add = cuda_view(p, op->in[3]),
                             .out = cuda_view(p, op->out[0]),
                             .cols = op->out[0].cols,
                             .n_used = p->p->n_used,
                             .scale = op->a.moe.scale == 0.0f ? 1.0f : op->a.moe.scale};
    const uint64_t bytes = (uint64_t)cuda_max_rows(p, ROWS_E) * (uint64_t)c.cols * sizeof(float);

    if (!cuda_want(p,
                   cuda_whole(p, op->in[1]) && cuda_whole(p, op->in[2]) &&
                       w->n == op->a.moe.n_expert && w->cols == op->in[0].cols &&
                       w->rows == op->out[0].cols,
                   op, "experts' matrices disagree"))
        return;
    set_matrix(p, &a, op->w[0], op->w[1], 0);
    a.mode = GEMV_PAIRS;
    a.out = (struct view){cuda_slot(p, SLOT_PAIRS, bytes), c.cols};
    c.x = a.out.p;
    sort_pairs(p, op, &a, w);
    input_for(p, op, w, &a, 1, 0, 0);
    launch_gemv(p, &a, w, TILES, w->rows, 1, op->a.moe.n_expert);
    cuda_prep_launch(p, &kern_combine, &c, ROWS_T)->grid_y = cuda_blocks(c.cols, MAP_COLS, 64);
}

/* -- adapters -- */

void cuda_low_lora(struct prep *p, const struct op *op)
{
    const int rows = cuda_rows(p, op->out[0]);
    struct lora_args a = {.s = p->g->step,
                          .pair = p->g->pair + op->w[0],
                          .n_pair = p->g->n_pair,
                          .x = cuda_view(p, op->in[0]),
                          .out = cuda_view(p, op->out[0]),
                          .cols = op->in[0].cols,
                          .out_cols = op->out[0].cols,
                          .rows = rows,
                          .n_used = p->p->n_used};
    struct launch *l;

    if (!p->g->pair ||
        !cuda_want(p,
                   op->in[1].v == op->out[0].v && op->in[1].at == op->out[0].at && rows != ROWS_E,
                   op, "adapts another value than it reads"))
        return;
    a.low = cuda_slot(p, SLOT_LORA,
                      (uint64_t)cuda_max_rows(p, rows) * LORA_MIX * LORA_RANK * sizeof *a.low);
    l = cuda_prep_launch(p, &kern_lora_low, &a, rows);
    l->grid_y = LORA_MIX;
    l->grid_z = 4;
    cuda_prep_launch(p, &kern_lora_add, &a, rows)->grid_y =
        cuda_blocks(a.out_cols, MAP_THREADS, 64);
}

void cuda_low_steer(struct prep *p, const struct op *op)
{
    const int rows = cuda_rows(p, op->out[0]);
    const struct lora_args a = {.s = p->g->step,
                                .pair = p->g->pair + p->p->n_w + op->layer,
                                .n_pair = p->g->n_pair,
                                .out = cuda_view(p, op->out[0]),
                                .out_cols = op->out[0].cols,
                                .rows = rows,
                                .n_used = p->p->n_used};

    if (cuda_want(p, p->g->pair && op->layer >= 0 && rows != ROWS_E, op, "steers no layer's rows"))
        cuda_prep_launch(p, &kern_steer, &a, rows)->grid_y =
            cuda_blocks(a.out_cols, MAP_THREADS, 64);
}
