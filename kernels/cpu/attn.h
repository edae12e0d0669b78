/* attn.h - where keys and values lie, and what rows see of them: for kv_store and attention. */
#ifndef RILL_KERNELS_CPU_ATTN_H
#define RILL_KERNELS_CPU_ATTN_H

#include "kernels/cpu/cpu.h"

static inline int32_t least(int64_t a, int64_t b)
{
    return (int32_t)(a < b ? a : b);
}

static inline int32_t most(int64_t a, int64_t b)
{
    return (int32_t)(a > b ? a : b);
}

/* Where a page of a sequence lies, in KiB; 0: nowhere. */
static inline int32_t table_entry(const struct cpu_ctx *c, int kv, const struct seq_in *q,
                                  int32_t page)
{
    const struct kv_bind *k = &c->seg->kv;
    const int32_t *table = k->table.p;

    return table[((int64_t)c->seg->plan->kv[kv].group * k->max_seq + q->slot) * k->max_page + page];
}

/* The layer's part of it. */
static inline uint8_t *page_at(const struct cpu_ctx *c, int kv, const struct seq_in *q,
                               int32_t page)
{
    return (uint8_t *)c->seg->kv.pool.p + (uint64_t)(uint32_t)table_entry(c, kv, q, page) * 1024 +
           c->seg->plan->kv[kv].at;
}

/* Bytes of a head's part of a page. */
static inline size_t head_bytes(int type, int cols)
{
    return KV_PAGE * (size_t)plan_kv_row(type, cols);
}

/* Where V begins in a layer's part of a page. */
static inline size_t v_offset(const struct plan *p, int kv)
{
    const struct kv_layer *l = &p->kv[kv];

    return (size_t)l->n_kv * head_bytes(p->kv_type_k, l->dk);
}

/* Whether K and queries are turned: not where V is read out of K. */
static inline bool turned(const struct plan *p, const struct attn_args *m)
{
    return p->kv_type_k == FMT_Q4_0 && p->kv[m->kv].dv > 0;
}

/* Positions that a row sees: [*from, *to). */
static inline void sees(const struct cpu_ctx *c, const struct attn_args *m, int64_t t,
                        int32_t *from, int32_t *to)
{
    const int32_t pos = c->b->pos[t];

    *to = (c->b->see ? c->b->see[t] : pos) + 1;
    *from = m->window > 0 ? most(0, pos - m->window + 1) : 0;
}

#endif
