/* lower_attn.c - the launches of records that have to do with keys and values.
 */
#include "base/mem.h"
#include "kernels/cuda/lower.h"
#include "kernels/tables.h"

static struct kv_args kv_of(struct prep *p, const struct op *op)
{
    const struct plan *pl = p->p;
    const struct kv_layer *l = &pl->kv[op->a.attn.kv];
    const struct kv_bind *b = &p->s->kv;

    cuda_want(p,
              l->n_kv == op->a.attn.n_kv && l->dk == op->a.attn.dk &&
                  (op->a.attn.v_in_k || l->dv == op->a.attn.dv),
              op, "key/value layer has another shape");
    return (struct kv_args){
        .pool = b->pool.p,
        .table = (const int32_t *)b->table.p + (int64_t)l->group * b->max_seq * b->max_page,
        .max_page = b->max_page,
        .at = l->at,
        .v_at = (uint32_t)l->n_kv * KV_PAGE * plan_kv_row(pl->kv_type_k, l->dk),
        .type_k = pl->kv_type_k,
        .type_v = pl->kv_type_v,
        .n_kv = l->n_kv,
        .dk = l->dk,
        .dv = op->a.attn.dv,
        .turned = pl->kv_type_k == FMT_Q4_0 && l->dv > 0}; // V is not read out of turned K
}

void cuda_low_kv_store(struct prep *p, const struct op *op)
{
    const struct store_args a = {p->g->step, kv_of(p, op), cuda_view(p, op->in[0]),
                                 cuda_view(p, op->in[1])};
    struct launch *l;

    cuda_want(p, (int64_t)a.kv.n_kv * a.kv.dk == op->in[0].cols, op, "K has another width");
    l = cuda_prep_launch(p, &kern_store, &a, ROWS_T);
    l->grid_y = (uint32_t)a.kv.n_kv;
    l->block = ATTN_THREADS;
    l->shared = (uint32_t)(a.kv.dk > a.kv.dv ? a.kv.dk : a.kv.dv) * sizeof(float);
}

/* -- what lies in front of it, in one launch (heads.cu) -- */

/* The records of such a launch. */
struct heads {
    const struct op *rope[2], *norm[2], *store; // of queries, of keys; norm NULL: none
    int n;
};

static bool same_ref(const struct ref *a, const struct ref *b)
{
    return a->v >= 0 && a->v == b->v && a->at == b->at && a->cols == b->cols;
}

static int readers(const struct plan *p, int32_t v)
{
    int n = 0;

    for (int32_t i = 0; i < p->n_op; i++)
        for (size_t k = 0; k < ARRAY_LEN(p->op[i].in); k++)
            n += p->op[i].in[k].v == v;
    return n + (p->logits == v) + (p->hidden == v);
}

/* A norm of heads that goes into the rotation behind it. */
static bool norm_fits(const struct prep *p, const struct op *norm, const struct op *rope)
{
    const struct rope_args *r = &rope->a.rope;

    return norm->in[1].v < 0 && norm->w[0] >= 0 && norm->a.norm.group == r->head_in &&
           r->head_in == r->head_out && r->head_in <= 256 &&
           norm->out[0].cols == r->n_head * r->head_in && cuda_whole(p, norm->out[0]) &&
           readers(p->p, norm->out[0].v) == 1;
}

static bool plain_type(int type)
{
    return type == FMT_F32 || type == FMT_F16 || type == FMT_BF16;
}

/* Rotations of queries and keys, each with or without its norm, and a kv_store behind them. */
static bool find_heads(const struct prep *p, int32_t i, struct heads *h)
{
    const struct op *norm[2], *rope[2];
    int n_norm = 0, n_rope = 0;

    *h = (struct heads){0};
    for (; i < p->s->to && h->n < 5 && !h->store; i++, h->n++) {
        const struct op *op = &p->p->op[i];

        if (op->kind == OP_rmsnorm && n_norm < 2)
            norm[n_norm++] = op;
        else if (op->kind == OP_rope && n_rope < 2 && cuda_rope_good(op))
            rope[n_rope++] = op;
        else if (op->kind == OP_kv_store && n_rope == 2)
            h->store = op;
        else
            return false;
    }
    if (!h->store)
        return false;
    for (int k = 0; k < 2; k++)
        h->rope[same_ref(&rope[k]->out[0], &h->store->in[0])] = rope[k];
    for (int k = 0; k < n_norm; k++)
        for (int to = 0; to < 2; to++)
            if (h->rope[to] && same_ref(&norm[k]->out[0], &h->rope[to]->in[0]) &&
                norm_fits(p, norm[k], h->rope[to]))
                h->norm[to] = norm[k];
    return h->rope[0] && h->rope[1] && !h->norm[0] + !h->norm[1] == 2 - n_norm;
}

/* Whether no number of a, n columns of it, can lie where one of b lies. */
static bool apart(const struct prep *p, struct view a, int64_t n, struct view b, int64_t m)
{
    const float *a_end = a.p + (p->s->max_t - 1) * a.ld + n;
    const float *b_end = b.p + (p->s->max_t - 1) * b.ld + m;

    if (!a.p || !b.p || a_end <= b.p || b_end <= a.p)
        return true;
    if (a.ld != b.ld)
        return false;
    const int64_t off = ((b.p - a.p) % a.ld + a.ld) % a.ld; // where b's columns begin, a's at 0
    return off >= n && off + m <= a.ld;
}

static struct head_part head_part(struct prep *p, const struct op *rope, const struct op *norm)
{
    struct head_part h = {.x = cuda_view(p, norm ? norm->in[0] : rope->in[0]),
                          .out = cuda_view(p, rope->out[0]),
                          .tab = cuda_rope_table(p, rope),
                          .r = rope->a.rope};
    int64_t n_w = 0;

    if (norm) {
        h.w = cuda_vector(p, norm->w[0], &n_w);
        h.n_w = (int32_t)n_w;
        h.eps = norm->a.norm.eps;
    }
    return h;
}

/* A head's block reads nothing that another writes, and writes where it reads or elsewhere. */
static bool heads_apart(const struct prep *p, const struct heads_args *a)
{
    const struct head_part *part[2] = {&a->q, &a->k};
    int64_t in[2], out[2];

    for (int i = 0; i < 2; i++) {
        in[i] = (int64_t)part[i]->r.n_head * part[i]->r.head_in;
        out[i] = (int64_t)part[i]->r.n_head * part[i]->r.head_out;
    }
    for (int i = 0; i < 2; i++) {
        const struct view o = part[i]->out, x = part[i]->x;
        const bool in_place =
            o.p == x.p && o.ld == x.ld && part[i]->r.head_in == part[i]->r.head_out;

        if ((!in_place && !apart(p, o, out[i], x, in[i])) ||
            !apart(p, o, out[i], part[!i]->x, in[!i]) ||
            !apart(p, o, out[i], a->v, (int64_t)a->kv.n_kv * a->kv.dv))
            return false;
    }
    return apart(p, a->q.out, out[0], a->k.out, out[1]);
}

/* The number of the head that begins at x; -1: none does. */
static int head_at(const struct heads_args *a, const float *x)
{
    const int n_q = a->q.r.n_head, n_k = a->k.r.n_head, cols = a->q.r.head_in;
    const float *const begin[3] = {a->q.x.p, a->k.x.p, a->v.p};
    const int before[4] = {0, n_q, n_q + n_k, n_q + 2 * n_k};

    for (int i = 0; i < 3; i++) {
        const int64_t off = x - begin[i];

        if (off >= 0 && off % cols == 0 && off / cols < before[i + 1] - before[i])
            return before[i] + (int)(off / cols);
    }
    return -1;
}

/* Whether the matrices that were launched last make all heads, whole ones and in their order. */
static bool heads_made(const struct prep *p, const struct heads_args *a)
{
    const int n_head = a->q.r.n_head + 2 * a->k.r.n_head, cols = a->q.r.head_in;
    int n = 0;

    if (!a->v.p || a->k.r.head_in != cols || a->kv.dv != cols || cols % 16 || p->n_made == 0 ||
        p->made[p->n_made - 1].end != p->g->n)
        return false;
    for (int i = 0; i < p->n_made; i++) {
        const struct made *m = &p->made[i];
        const int first = head_at(a, m->out);

        if (m->cols % cols || first < 0 || m->xq != p->made[0].xq || m->xh != p->made[0].xh)
            return false; // not packed once: where a head goes may lie what is still to be packed
        for (int k = 0; k < m->cols / cols; k++, n++)
            if (head_at(a, m->out + k * cols) != first + k)
                return false;
    }
    return n == n_head;
}

/* For one row they go on with the heads themselves: the last block of each. */
static void heads_behind(struct prep *p, const struct heads_args *a)
{
    const int cols = a->q.r.head_in, i = p->n_heads++;
    int32_t *ticket = cuda_slot(p, SLOT_TICKET, (uint64_t)(a->q.r.n_head + 2 * a->k.r.n_head) * 4);

    if (!p->heads) // they are being counted
        return;
    if (rt_copy(p->d->rt, p->heads + i, a, sizeof *a) < 0 && p->rc == 0)
        p->rc = err_set(p->e, E_DEVICE, "cuda: %s", rt_error());
    for (int k = 0; k < p->n_made; k++) {
        struct launch *l = &p->g->l[p->made[k].launch];
        struct gemv_args *g = l->args;

        if (!g)
            return;
        l->k = p->made[k].heads;
        g->heads = p->heads + i;
        g->head_cols = cols;
        g->head = head_at(a, p->made[k].out);
        g->ticket = ticket;
        if (l->shared < (uint32_t)cols * sizeof(float))
            l->shared = (uint32_t)cols * sizeof(float);
    }
}

int cuda_low_heads(struct prep *p, int32_t i)
{
    struct heads h;
    struct heads_args a;
    struct launch *l;

    if (p->d->plain || !find_heads(p, i, &h) || !plain_type(p->p->kv_type_k) ||
        !plain_type(p->p->kv_type_v))
        return 0;
    a = (struct heads_args){.s = p->g->step,
                            .q = head_part(p, h.rope[0], h.norm[0]),
                            .k = head_part(p, h.rope[1], h.norm[1]),
                            .kv = kv_of(p, h.store),
                            .v = cuda_view(p, h.store->in[1])};
    if (p->rc || a.k.r.n_head != a.kv.n_kv || a.k.r.head_out != a.kv.dk ||
        (int64_t)a.kv.n_kv * a.kv.dk != h.store->in[0].cols ||
        (h.norm[0] && a.q.n_w != a.q.r.head_in && a.q.n_w != h.norm[0]->out[0].cols) ||
        (h.norm[1] && a.k.n_w != a.k.r.head_in && a.k.n_w != h.norm[1]->out[0].cols) ||
        !heads_apart(p, &a))
        return 0;
    const bool behind = heads_made(p, &a);
    if (behind)
        heads_behind(p, &a);
    l = cuda_prep_launch(p, &kern_heads, &a, ROWS_T);
    l->when = behind ? ALWAYS & ~(1u << ONE_ROW) : ALWAYS;
    l->grid_y = (uint32_t)(a.q.r.n_head + (a.v.p ? 2 : 1) * a.kv.n_kv);
    l->block = 32;
    l->shared = (uint32_t)(a.q.r.head_in > a.k.r.head_in ? a.q.r.head_in : a.k.r.head_in) *
                (uint32_t)sizeof(float);
    for (int k = 0; k < h.n; k++)
        cuda_wrote(p, &p->p->op[i + k]);
    return h.n;
}

/* -- attention -- */

/* How the kernels of attn.cu and attn_many.cu are made: enum attn_few, attn_many. */
struct attn_made {
    bool half;
    int pages, warps, dk, dv; // at most so many columns
    bool kept;                // queries stay in registers
};
static const struct attn_made few_made[FEW_KERNS] = {{true, 2, 4, 128, 128, false},
                                                     {true, 1, 4, 4096, 512, false},
                                                     {false, 1, 4, 4096, 128, false},
                                                     {false, 1, 4, 4096, 512, false}};
/* The same by all warps of persist.cu's block. */
static const struct attn_made persist_made[FEW_KERNS] = {{true, 2, 16, 128, 128, false},
                                                         {true, 1, 16, 4096, 512, false},
                                                         {false, 1, 16, 4096, 128, false},
                                                         {false, 1, 16, 4096, 512, false}};
static const struct attn_made many_made[MANY_KERNS] = {{true, 2, 8, 64, 64, true},
                                                       {true, 2, 8, 128, 128, true},
                                                       {true, 1, 4, 4096, 256, false},
                                                       {false, 1, 8, 4096, 128, false}};

static const struct attn_made wide_made[WIDE_KERNS] = {{true, 2, 8, 64, 64, false},
                                                       {true, 2, 8, 128, 128, false}};

bool cuda_is_attn(const struct rt_kern *k)
{
    return (attn_wide() && k >= attn_wide() && k < attn_wide() + WIDE_KERNS) ||
           (k >= kern_attn_few && k < kern_attn_few + FEW_KERNS) ||
           (k >= kern_attn_many && k < kern_attn_many + MANY_KERNS);
}

/* Shared memory that a block may have. */
static int32_t shared_most(int sm)
{
    return sm == 80 || sm == 87                  ? 163 << 10
           : sm == 90 || (sm >= 100 && sm < 120) ? 227 << 10
                                                 : 99 << 10;
}

/* Whether rows are multiplied with as F16: what they are of loses nothing by it that a page has. */
static bool in_halves(int type, int n)
{
    return n % 16 == 0 &&
           (type == FMT_F16 || type == FMT_KV_F8 || type == FMT_Q8_0 || type == FMT_Q4_0);
}

/* Numbers of bf16 that are what a page has. */
static int parts_of(int type)
{
    return type == FMT_BF16 || type == FMT_KV_F8 ? 1 : type == FMT_F16 ? 2 : 3;
}

/* Bytes of a part of so many rows as panels. */
static int32_t panels(int rows, int n)
{
    return (n + 63) / 64 * rows * 128;
}

static int32_t raw_bytes(int pages, int type, int n)
{
    return pages * KV_PAGE * (int32_t)plan_kv_row(type, n);
}

/* Threads' numbers, which are below 1,024, are divided by the pieces of a row with it, which are at
 * most 512. */
static int32_t reciprocal(int n)
{
    const int32_t pieces = (n + 15) / 16 * 2;

    return ((1 << 20) + pieces - 1) / pieces;
}

/* Shared memory for n_stage stages, all of it in at; how much there must be. */
static int32_t lay_shared(struct attn_shape *at, const struct attn_run_args *a,
                          const struct attn_made *m, bool many, int n_stage)
{
    const int step = m->pages * KV_PAGE, rows = many ? ATTN_ROWS * m->warps : ATTN_ROWS;
    const int type = m->half ? FMT_F16 : FMT_BF16;
    const int whole = (a->dk + 15) / 16 * 16;
    int32_t to;

    at->n_stage = n_stage;
    at->by_k = reciprocal(a->dk);
    at->by_v = reciprocal(a->dv);
    at->parts_k = m->half ? 1 : parts_of(a->kv.type_k);
    at->parts_v = m->half ? 1 : a->v_in_k ? at->parts_k : parts_of(a->kv.type_v);
    at->parts = m->half ? 1 : at->parts_k == 1 && at->parts_v == 1 ? 2 : 3;
    at->part_k = panels(step, a->dk);
    at->part_v = a->v_in_k ? at->part_k : panels(step, a->dv);
    at->unpack_k = a->kv.type_k != type || a->dk % 16 != 0;
    at->unpack_v = !a->v_in_k && (a->kv.type_v != type || a->dv % 16 != 0);
    at->stage_v = at->unpack_k ? raw_bytes(m->pages, a->kv.type_k, a->dk) : at->part_k;
    at->stage_v = (at->stage_v + 1023) / 1024 * 1024; // the swizzle of wgmma is of addresses
    at->stage = at->stage_v + (a->v_in_k      ? 0
                               : at->unpack_v ? raw_bytes(m->pages, a->kv.type_v, a->dv)
                                              : at->part_v);
    at->stage = (at->stage + 1023) / 1024 * 1024;
    at->part_q = panels(ATTN_ROWS, a->dk);
    at->part_many = panels(rows, a->dk);
    at->ld_p = 2 * step + 16; // 4 banks on
    at->part_p = ATTN_ROWS * at->ld_p;
    to = n_stage * at->stage;
    at->at_many = m->kept ? to - at->stage : to; // the last stage is asked for when they are kept
    at->at_k = to;
    to += at->unpack_k ? at->parts_k * at->part_k : 0;
    at->at_v = to;
    to += at->unpack_v ? at->parts_v * at->part_v : 0;
    if (!m->kept)
        at->at_many = to;
    if (many && at->at_many + at->parts * at->part_many > to)
        to = at->at_many + at->parts * at->part_many;
    at->at_q = to;
    at->at_p = at->at_q + (many ? 0 : at->parts * at->part_q);
    at->at_max = at->at_p + (many ? 0 : at->parts * at->part_p);
    at->at_scale = at->at_max + m->warps * ATTN_ROWS * (int32_t)sizeof(float);
    at->at_scratch = at->at_scale + rows * (int32_t)sizeof(float);
    to = at->at_scratch + m->warps * whole * (int32_t)sizeof(float);
    return to > MERGE_SHARED ? to : MERGE_SHARED;
}

/* Kernels of a table; shared memory that a block has, and how much more if that is too little. */
struct attn_table {
    const struct attn_made *made;
    const struct rt_kern *k;
    int n;
    bool many;
    int32_t room[2];
};

/* As many stages as there is room for, two if there can be. */
static struct attn_kern attn_kern(const struct attn_run_args *a, const struct attn_table *of)
{
    const struct attn_made *m = of->made;
    const int32_t group = a->n_head / a->kv.n_kv;
    const bool half = in_halves(a->kv.type_k, a->dk) &&
                      (a->v_in_k ? a->dv % 16 == 0 : in_halves(a->kv.type_v, a->dv));
    struct attn_kern y = {0};
    int i = 0;

    while (i < of->n && (m[i].half != half || a->dk > m[i].dk || a->dv > m[i].dv))
        i++;
    for (int second = 0; i < of->n && second < 2 && !y.k; second++)
        for (int stages = 4; stages > 1 - second && !y.k; stages--) {
            const int32_t bytes = lay_shared(&y.at, a, m + i, of->many, stages);

            y.shared = (uint32_t)bytes;
            y.k = bytes <= of->room[second] ? of->k + i : NULL;
        }
    if (!y.k)
        return y;
    const int rows = of->many ? ATTN_ROWS * m[i].warps : ATTN_ROWS;
    y.at.heads = group < rows ? group : rows;
    y.at.per = rows / y.at.heads;
    y.at.subs = (group + rows - 1) / rows;
    y.block = (uint32_t)m[i].warps * 32;
    y.grid_y = (uint32_t)(a->kv.n_kv * y.at.subs);
    return y;
}

/* Two blocks share a multiprocessor if they can. */
static struct attn_kern attn_launched(const struct attn_run_args *a, const struct attn_made *made,
                                      int n, const struct rt_kern *k, bool many, int sm)
{
    const int32_t most = shared_most(sm);
    const struct attn_table of = {made, k, n, many, {most / 2 - 1024, most}};

    return attn_kern(a, &of);
}

struct attn_kern cuda_attn_few(const struct attn_run_args *a, int sm)
{
    return attn_launched(a, few_made, FEW_KERNS, kern_attn_few, false, sm);
}

struct attn_kern cuda_attn_persist(const struct attn_run_args *a, int32_t room, int32_t most)
{
    const struct attn_table of = {persist_made, kern_attn_few, FEW_KERNS, false, {room, most}};

    return attn_kern(a, &of);
}

/* Its steps are those of few, or it would make other bits. */
struct attn_kern cuda_attn_many(const struct attn_run_args *a, int sm)
{
    return attn_launched(a, many_made, MANY_KERNS, kern_attn_many, true, sm);
}

struct attn_kern cuda_attn_shared(const struct attn_run_args *a, int sm)
{
    const int32_t group = a->n_head / a->kv.n_kv;

    if (a->window > 0 || group > ATTN_ROWS || a->n_chunk < 2)
        return (struct attn_kern){0};
    return attn_launched(a, many_made, MANY_KERNS, kern_attn_shared, true, sm);
}

struct attn_kern cuda_attn_wide(const struct attn_run_args *a, int sm)
{
    if (sm != 90 || !attn_wide() || a->dk != a->dv || (a->dk != 64 && a->dk != 128))
        return (struct attn_kern){0};
    return attn_launched(a, wide_made, WIDE_KERNS, attn_wide(), true, sm);
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
    if (m->alibi == 0.0f ||
        !cuda_want(p, i < (int)ARRAY_LEN(p->slope), op, "too many kinds of slopes"))
        return NULL;
    host = mem_array((uint64_t)m->n_head, sizeof *host, p->e);
    if (!host) {
        p->rc = E_NOMEM;
        return NULL;
    }
    alibi_slopes(host, m);
    p->slope[i].alibi = m->alibi;
    p->slope[i].n_head = m->n_head;
    p->slope[i].dev = cuda_upload(p, host, (uint64_t)m->n_head);
    p->n_slope++;
    mem_free(host);
    return p->slope[i].dev;
}

static struct launch *attn_launch(struct prep *p, struct attn_run_args *a,
                                  const struct attn_kern *k, uint32_t when, uint32_t blocks)
{
    struct launch *l;

    a->at = k->at;
    l = cuda_prep_launch(p, k->k, a, SPANS);
    l->when = when;
    l->per = (uint32_t)k->at.per;
    l->grid_y = k->grid_y;
    l->grid_z = blocks;
    l->block = k->block;
    l->shared = k->shared;
    return l;
}

/* -- rows that begin alike -- */

#define SHARED_PARTS (UINT64_C(256) << 20) // bytes of partials at most

static int32_t most_32(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

static int32_t least_32(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* A launch for their partials, k NULL: none. What they spare must be four of few's blocks for each
 * multiprocessor: up to there these lie beside each other. */
static struct attn_kern shared_kern(struct prep *p, const struct attn_run_args *a, uint64_t row)
{
    const struct segment *s = p->s;
    const struct attn_kern none = {0}, k = cuda_attn_shared(a, p->d->info.sm);
    struct share_rule *r = &p->g->share;
    const int32_t wanted = most_32(s->kv.max_seq, ATTN_SPLIT);
    const int32_t fit = (int32_t)(SHARED_PARTS / row < INT32_MAX ? SHARED_PARTS / row : INT32_MAX);
    const int32_t room = least_32(s->max_t, most_32(least_32(wanted, fit), ATTN_SPLIT));
    const int64_t least = 4 * (int64_t)p->d->info.units / a->kv.n_kv;
    const bool first = r->rows == 0;

    if (!k.k || p->d->share == SHARE_NEVER || s->kv.max_seq < 2)
        return none;
    r->room = first ? room : least_32(r->room, room);
    r->rows = least_32(first ? k.at.per : least_32(r->rows, k.at.per), r->room);
    r->run = least_32(first ? ATTN_ROWS : r->run, ATTN_ROWS / k.at.heads);
    if (p->d->share == SHARE_LESS && least > r->least)
        r->least = least;
    return k;
}

static void shared_launch(struct prep *p, struct attn_run_args *a, const struct attn_kern *k)
{
    struct launch *l = attn_launch(p, a, k, ALWAYS & ~(1u << ONE_ROW), 1);

    l->rows = ROWS_1;
    l->per = 1;
    l->grid_y = 1;
    l->grid_z = (uint32_t)p->d->info.units * (k->block > 128 ? 1 : 2);
    l->shared_only = true;
}

/* Up to ATTN_SPLIT rows several blocks share one, as long as the device has multiprocessors for
 * them: four a multiprocessor. */
void cuda_low_attn(struct prep *p, const struct op *op)
{
    static const struct {
        uint32_t when;
        int32_t rows; // at least
    } few_rows[] = {
        {1u << ONE_ROW, 1}, {1u << UP_TO_8, 2}, {1u << UP_TO_16, 9}, {1u << UP_TO_32, 17}};
    const struct attn_args *m = &op->a.attn;
    const int few = p->s->max_t < ATTN_SPLIT ? p->s->max_t : ATTN_SPLIT;
    struct attn_run_args a = {.s = p->g->step,
                              .kv = kv_of(p, op),
                              .q = cuda_view(p, op->in[0]),
                              .out = cuda_view(p, op->out[0]),
                              .n_chunk = attn_chunk_of(p->p->n_ctx - 1) + 1,
                              .n_head = m->n_head,
                              .dk = m->dk,
                              .dv = m->dv,
                              .window = m->window,
                              .v_in_k = m->v_in_k,
                              .scale = m->scale,
                              .softcap = m->softcap};
    const uint64_t row =
        (uint64_t)m->n_head * (uint64_t)a.n_chunk * ((uint64_t)m->dv + 2) * sizeof(float);
    struct attn_kern k, many, shared;
    int64_t n_sink;
    int32_t blocks;

    if (!cuda_want(p,
                   m->n_head % m->n_kv == 0 && (int64_t)m->n_head * m->dk == op->in[0].cols &&
                       (int64_t)m->n_head * m->dv == op->out[0].cols && a.kv.at % 16 == 0,
                   op, "heads and widths disagree"))
        return;
    k = cuda_attn_few(&a, p->d->info.sm);
    many = cuda_attn_many(&a, p->d->info.sm);
    if (p->d->wide_attn && cuda_attn_wide(&a, p->d->info.sm).k)
        many = cuda_attn_wide(&a, p->d->info.sm);
    if (!cuda_want(p, k.k != NULL, op, "heads are too wide for shared memory"))
        return;
    a.sink = cuda_vector(p, op->w[0], &n_sink);
    cuda_want(p, !a.sink || n_sink == m->n_head, op, "one sink per head expected");
    a.slope = slopes(p, op);
    blocks = (4 * p->d->info.units + (int32_t)k.grid_y - 1) / (int32_t)k.grid_y;
    a.n_split = blocks < a.n_chunk ? blocks : a.n_chunk;
    shared = shared_kern(p, &a, row);
    a.shared = shared.k != NULL;
    if (a.n_split > 1 || a.shared) {
        a.part = cuda_slot(p, SLOT_PARTS, (uint64_t)(a.shared ? p->g->share.room : few) * row);
        a.part = a.part ? a.part : (float *)p->g->block;
        a.ticket = cuda_slot(p, SLOT_TICKET, 2 * ATTN_SPLIT * (uint64_t)k.grid_y * 4);
    }
    if (a.shared)
        shared_launch(p, &a, &shared);
    for (size_t i = 0; i < ARRAY_LEN(few_rows); i++) {
        blocks = (a.n_split + few_rows[i].rows - 1) / few_rows[i].rows;
        attn_launch(p, &a, &k, few_rows[i].when, (uint32_t)blocks);
    }
    a.part = a.shared ? a.part : NULL;
    a.apart = many.k != NULL;
    attn_launch(p, &a, &k, 1u << MANY_ROWS, 1);
    if (many.k)
        attn_launch(p, &a, &many, 1u << MANY_ROWS, 1);
}

static bool kv_fits(int type, int cols)
{
    return type == FMT_F32 || type == FMT_F16 || type == FMT_BF16 || type == FMT_KV_F8 ||
           ((type == FMT_Q8_0 || type == FMT_Q4_0) && cols % 32 == 0);
}

bool cuda_attn_good(const struct plan *p, const struct op *op)
{
    const struct attn_args *m = &op->a.attn;

    return kv_fits(p->kv_type_k, m->dk) && (m->v_in_k || kv_fits(p->kv_type_v, m->dv)) &&
           m->kv >= 0 && m->kv < p->n_kv && m->n_kv > 0 && m->dk <= 4096 && m->dv <= 4096 &&
           (op->kind == OP_kv_store || m->dv <= 512);
}
