/* batch.c - see batch.h. */
#include "kernels/batch.h"

/* All but the token ids. */
static bool rows_good(const struct segment *s, const struct batch *b)
{
    const struct plan *p = s->plan;
    const int64_t n = (int64_t)b->n_p + b->n_g;
    const int64_t n_pos = p->n_kv > 0 ? (int64_t)s->kv.max_page * KV_PAGE : INT32_MAX;
    const int64_t n_slot = p->state_bytes ? (int64_t)(s->kv.state.bytes / p->state_bytes) : 0;

    if (b->n_p < 0 || b->n_g < 0 || n > s->max_t || b->n_out < 0 || b->n_out > s->max_s)
        return false;
    for (int64_t t = 0; t < n; t++)
        if (b->seq[t] < 0 || b->seq[t] >= b->n_seq || b->pos[t] < 0 || b->pos[t] >= n_pos ||
            (b->see && (b->see[t] < b->pos[t] || b->see[t] >= n_pos)))
            return false;
    for (int32_t i = 0; i < b->n_out; i++)
        if (b->out[i] < 0 || b->out[i] >= n)
            return false;
    for (int32_t i = 0; i < b->n_seq; i++) {
        const struct seq_in *q = &b->seqs[i];

        if (q->n_lora < 0 || q->n_lora > LORA_MIX || (b->alike && b->alike[i] < 0))
            return false;
        for (int k = 0; k < q->n_lora; k++)
            if (q->lora[k].slot < 0 || q->lora[k].slot >= s->n_lora ||
                (!s->lora[q->lora[k].slot].mat && !s->lora[q->lora[k].slot].dir))
                return false;
        if ((p->n_kv > 0 && (q->slot < 0 || q->slot >= s->kv.max_seq)) ||
            (p->state_bytes && (q->state_read >= n_slot || q->state_write >= n_slot)))
            return false;
    }
    return true;
}

static bool id_good(const struct segment *s, const struct batch *b, int32_t id, int64_t n)
{
    if (id == ID_EMBD)
        return b->embd;
    return id < 0 ? s->keeps && -1 - id < s->kv.max_seq : id < n;
}

/* Token ids, and positions and types where there are tables of them. */
static bool ids_good(const struct segment *s, const struct batch *b)
{
    for (int32_t i = s->from; i < s->to; i++) {
        const struct op *op = &s->plan->op[i];

        if (op->kind != OP_embed)
            continue;
        for (int32_t t = 0; t < b->n_p + b->n_g; t++) {
            if (!id_good(s, b, b->id[t], s->plan->w[op->w[0]].rows))
                return false;
            if (op->w[1] >= 0 && b->pos[t] >= s->plan->w[op->w[1]].rows)
                return false;
            if (op->w[2] >= 0 && b->type &&
                (b->type[t] < 0 || b->type[t] >= s->plan->w[op->w[2]].rows))
                return false;
        }
    }
    return true;
}

bool batch_good(const struct segment *s, const struct batch *b)
{
    return rows_good(s, b) && ids_good(s, b);
}

int32_t batch_alike(const struct batch *b, int64_t t)
{
    if (b->seq[t] == b->seq[t - 1])
        return INT32_MAX;
    return b->alike && b->seq[t] == b->seq[t - 1] + 1 ? b->alike[b->seq[t]] : 0;
}
