/* lower_attn.c - the launches of records that have to do with keys and values.
 */
#include "base/mem.h"
#include "kernels/cuda/lower.h"
#include "kernels/tables.h"

/* -- attention -- */

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
