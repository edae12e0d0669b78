/* run_state.c - recurrent records: every member runs whole sequences for heads or columns of its
 * own.
 *
 * A sequence's state is copied from the slot it reads to the slot it writes and renewed there, or
 * in private memory when it is to be forgotten.
 */
#include <string.h>

#include "kernels/cpu/cpu.h"

/* Rows [t0, t1) of the batch that are one sequence's. */
struct run {
    int64_t t0, t1;
    const struct seq_in *seq;
};

static bool next_run(const struct cpu_ctx *c, struct run *r, int64_t from)
{
    const int32_t *seq = c->b->seq;

    if (from >= c->n_t)
        return false;
    r->t0 = from;
    for (r->t1 = from + 1; r->t1 < c->n_t && seq[r->t1] == seq[from];)
        r->t1++;
    r->seq = &c->b->seqs[seq[from]];
    return true;
}

static float *slot_state(const struct cpu_ctx *c, int32_t slot, const struct cpu_step *s)
{
    return (float *)((uint8_t *)c->seg->kv.state.p + (uint64_t)slot * c->seg->plan->state_bytes +
                     s->op->a.scan.state_at);
}

/* n floats at offset at of a sequence's state, ready to be renewed in place. */
static float *state_begin(const struct cpu_ctx *c, const struct cpu_step *s, const struct seq_in *q,
                          int64_t at, int64_t n, float *mine)
{
    float *to = q->state_write >= 0 ? slot_state(c, q->state_write, s) + at : mine;

    if (q->state_read < 0)
        memset(to, 0, (size_t)n * sizeof *to);
    else if (q->state_read != q->state_write)
        memcpy(to, slot_state(c, q->state_read, s) + at, (size_t)n * sizeof *to);
    return to;
}

void run_conv1d(const struct cpu_ctx *c, const struct cpu_step *s)
{
    const struct scan_args *a = &s->op->a.scan;
    const int64_t ld = s->in[0].cols;
    struct run r;
    int64_t c0, c1;

    share(c, ld, 16, &c0, &c1);
    if (c0 == c1)
        return;
    for (int64_t t = 0; next_run(c, &r, t); t = r.t1) {
        const bool kept = r.seq->state_write >= 0;
        float *state = kept ? slot_state(c, r.seq->state_write, s) : (float *)c->own;
        const float *old = r.seq->state_read < 0 ? NULL : slot_state(c, r.seq->state_read, s);

        for (int64_t j = 0; j < a->width - 1; j++) {
            const size_t bytes = (size_t)(c1 - c0) * sizeof *state;
            if (!old)
                memset(state + j * ld + c0, 0, bytes);
            else if (old != state)
                memcpy(state + j * ld + c0, old + j * ld + c0, bytes);
        }
        c->k->conv(val_row(c, &s->out[0], r.t0), s->out[0].ld, val_row(c, &s->in[0], r.t0),
                   s->in[0].ld, state, s->vec[0], s->vec[1], ld, (int)c0, (int)c1, a->width,
                   r.t1 - r.t0, a->act);
    }
}

void run_shift(const struct cpu_ctx *c, const struct cpu_step *s)
{
    struct run r;
    int64_t a, b;

    share(c, s->in[0].cols, 16, &a, &b);
    if (a == b)
        return;
    for (int64_t t = 0; next_run(c, &r, t); t = r.t1) {
        const size_t bytes = (size_t)(b - a) * sizeof(float);
        float *state = state_begin(c, s, r.seq, a, b - a, (float *)c->own);

        memcpy(val_row(c, &s->out[0], r.t0) + a, state, bytes);
        for (int64_t i = r.t0 + 1; i < r.t1; i++)
            memcpy(val_row(c, &s->out[0], i) + a, val_row(c, &s->in[0], i - 1) + a, bytes);
        memcpy(state, val_row(c, &s->in[0], r.t1 - 1) + a, bytes);
    }
}

void run_ssm_scan(const struct cpu_ctx *c, const struct cpu_step *s)
{
    const struct scan_args *a = &s->op->a.scan;
    const int64_t each = (int64_t)a->head_dim * a->d_state,
                  inner = (int64_t)a->n_head * a->head_dim;
    struct run r;
    int64_t h0, h1;

    share(c, a->n_head, 1, &h0, &h1);
    for (int64_t t = 0; next_run(c, &r, t); t = r.t1)
        for (int64_t h = h0; h < h1; h++) {
            const int64_t g = h / (a->n_head / a->n_group);
            const float *x = val_row(c, &s->in[0], r.t0);
            struct cpu_scan k = {
                .x = x + h * a->head_dim,
                .b = x + inner + g * a->d_state,
                .c = x + inner + (a->n_group + g) * a->d_state,
                .dt = val_row(c, &s->in[1], r.t0) + h,
                .ldx = s->in[0].ld,
                .ldb = s->in[0].ld,
                .lddt = s->in[1].ld,
                .y = val_row(c, &s->out[0], r.t0) + h * a->head_dim,
                .ldy = s->out[0].ld,
                .a = s->vec[0][h],
                .d = s->vec[1] ? s->vec[1][h] : 0.0f,
                .dt_bias = s->vec[2] ? s->vec[2][h] : 0.0f,
                .head_dim = a->head_dim,
                .d_state = a->d_state,
                .n_t = r.t1 - r.t0,
            };
            c->k->scan(state_begin(c, s, r.seq, h * each, each, (float *)c->own), &k);
        }
}

void run_rwkv(const struct cpu_ctx *c, const struct cpu_step *s)
{
    const struct scan_args *a = &s->op->a.scan;
    const int64_t d = a->head_dim, each = d * d, width = a->n_head * d;
    struct run r;
    int64_t h0, h1;

    share(c, a->n_head, 1, &h0, &h1);
    for (int64_t t = 0; next_run(c, &r, t); t = r.t1)
        for (int64_t h = h0; h < h1; h++) {
            const float *x = val_row(c, &s->in[0], r.t0) + h * d;
            struct cpu_rwkv k = {
                .r = x,
                .w = x + width,
                .k = x + 2 * width,
                .v = x + 3 * width,
                .a = x + 4 * width,
                .ldx = s->in[0].ld,
                .y = val_row(c, &s->out[0], r.t0) + h * d,
                .ldy = s->out[0].ld,
                .k_k = s->vec[0] + h * d,
                .k_a = s->vec[1] + h * d,
                .r_k = s->vec[2] + h * d,
                .ln_w = s->vec[3] + h * d,
                .ln_b = s->vec[4] + h * d,
                .eps = a->eps,
                .head_dim = a->head_dim,
                .n_t = r.t1 - r.t0,
            };
            c->k->rwkv(state_begin(c, s, r.seq, h * each, each, (float *)c->own), &k);
        }
}
