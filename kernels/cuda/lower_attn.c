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

void cuda_low_attn(struct prep *p, const struct op *op)
{
    const struct attn_args *m = &op->a.attn;
    const int32_t n_chunk = (p->p->n_ctx + ATTN_CHUNK - 1) / ATTN_CHUNK;
    uint32_t shared = 0;
    const int k = heads_at_once(m, &shared);
    const int few = p->s->max_t < FEW ? p->s->max_t : FEW;
    struct attn_run_args a = {.s = p->g->step,
                              .kv = kv_of(p, op),
                              .q = cuda_view(p, op->in[0]),
                              .out = cuda_view(p, op->out[0]),
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

    if (!cuda_want(p,
                   m->n_head % m->n_kv == 0 && (int64_t)m->n_head * m->dk == op->in[0].cols &&
                       (int64_t)m->n_head * m->dv == op->out[0].cols,
                   op, "heads and widths disagree"))
        return;
    a.wide = (m->dk % 32 == 0 || plan_kv_row(a.kv.type_k, m->dk) % 16 == 0) && a.kv.at % 16 == 0;
    a.sink = cuda_vector(p, op->w[0], &n_sink);
    cuda_want(p, !a.sink || n_sink == m->n_head, op, "one sink per head expected");
    a.slope = slopes(p, op);
    for (int split = 0; split < 2; split++) {
        if (split) {
            a.part = cuda_slot(p, SLOT_PARTS,
                               (uint64_t)few * (uint64_t)m->n_head * (uint64_t)n_chunk *
                                   ((uint64_t)m->dv + 2) * sizeof(float));
            a.part = a.part ? a.part : (float *)p->g->block;
            if (n_chunk <= MERGE_CHUNKS && !p->d->plain)
                a.ticket = cuda_slot(p, SLOT_TICKET, (uint64_t)few * (uint64_t)m->n_head * 4);
        }
        l = cuda_prep_launch(p, &kern_attn_run[k], &a, ROWS_T);
        l->when = split ? FEW_ROWS : ALWAYS & ~FEW_ROWS;
        l->grid_y = (uint32_t)(m->n_kv * ((m->n_head / m->n_kv + (k == 0 ? 1 : 4 * k) - 1) /
                                          (k == 0 ? 1 : 4 * k)));
        l->grid_z = split ? (uint32_t)a.n_split : 1;
        l->block = ATTN_THREADS;
        l->shared = shared;
    }
    if (n_chunk <= MERGE_CHUNKS && !p->d->plain)
        return;
    l = cuda_prep_launch(p, &kern_attn_merge, &a, ROWS_T);
    l->when = FEW_ROWS;
    l->grid_y = (uint32_t)m->n_head;
    l->block = ATTN_THREADS;
}

static bool kv_fits(int type, int cols)
{
    return type == FMT_F32 || type == FMT_F16 || type == FMT_BF16 || type == FMT_KV_F8 ||
           ((type == FMT_Q8_0 || type == FMT_Q4_0) && cols % 32 == 0);
}

bool cuda_attn_good(const struct plan *p, const struct op *op)
{
    const struct attn_args *m = &op->a.attn;
    uint32_t shared;

    return kv_fits(p->kv_type_k, m->dk) && (m->v_in_k || kv_fits(p->kv_type_v, m->dv)) &&
           m->kv >= 0 && m->kv < p->n_kv && m->n_kv > 0 && m->dk <= 4096 && m->dv <= 4096 &&
           (op->kind == OP_kv_store || heads_at_once(m, &shared) >= 0);
}
