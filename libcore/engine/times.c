/* times.c - how long each record of the plan takes, and a whole step, for rill-bench --ops.
 *
 * Every record becomes a segment of its own, so the figures hold what a record costs when nothing
 * overlaps it: the start of the team and the packing of its input included. Nothing is computed
 * before: pages are filled with any numbers, so that as many sequences as memory holds may stand
 * behind as many positions as it holds.
 */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/seats.h"
#include "engine/step.h"
#include "plan/ops.h"

#define FILL 0x2a // as f16, f32 and whatever else keys and values are: small numbers

/* -- sequences that are already there -- */

static void drop_all(struct rill_engine *g, const int *seq, int n)
{
    for (int i = 0; i < n; i++)
        kv_drop(g->pool, seq[i]);
    step_tables(g);
}

/* Pages never written are one page of zeros, wherever they lie. */
static int fill(struct rill_engine *g, int seq, int n_pos, struct err *e)
{
    const struct plan *p = g->plan;
    uint32_t most = 0;
    char *some;
    int rc = 0;

    for (int k = 0; k < p->n_group; k++)
        most = p->group[k].bytes > most ? p->group[k].bytes : most;
    if (!(some = mem_new(most, e)))
        return E_NOMEM;
    memset(some, FILL, most);
    for (int k = 0; k < p->n_group; k++)
        for (int i = 0; i * KV_PAGE < n_pos && rc == 0; i++) {
            const uint32_t bytes = p->group[k].bytes;
            const struct mem from = {.p = some, .bytes = bytes, .kind = MEM_HOST, .host = true};
            const int32_t page = kv_page(g->pool, k, seq, i);

            if (page && g->be->copy(g->dev, g->seg.kv.pool, (uint64_t)page * 1024, from, 0,
                                    bytes) < 0)
                rc = err_set(e, E_DEVICE, "the device failed to take keys and values");
        }
    mem_free(some);
    return rc;
}

/* Sequence i of them; the whole pages of those behind the first are the first's, if they share. */
static int begin_one(struct rill_engine *g, const struct rill_times *t, int *seq, int i,
                     struct err *e)
{
    const int n = t->n_past + t->n_rows, common = t->n_past / KV_PAGE * KV_PAGE;
    const bool shares = t->shared && i > 0;

    seq[i] = shares ? kv_fork(g->pool, seq[0], common) : kv_begin(g->pool);
    if (seq[i] < 0)
        return err_set(e, E_RANGE, "%d sequences: at most %d", t->n_seq, kv_free_seqs(g->pool) + i);
    if (!kv_reserve(g->pool, seq[i], shares ? common : 0, n)) {
        kv_drop(g->pool, seq[i]);
        return err_set(e, E_RANGE, "%d positions of %d sequences do not fit into the key/value "
                       "memory", n, t->n_seq);
    }
    return shares ? 0 : fill(g, seq[i], n, e);
}

static int begin_all(struct rill_engine *g, const struct rill_times *t, int *seq, struct err *e)
{
    int rc = 0;

    for (int i = 0; i < t->n_seq && rc == 0; i++)
        if ((rc = begin_one(g, t, seq, i, e)) < 0)
            drop_all(g, seq, i);
    return rc;
}

static void layout(struct rill_engine *g, const struct rill_times *t, const int *seq)
{
    const int n = t->n_rows * t->n_seq;
    struct batch *b = &g->batch;

    *b = (struct batch){
        .id = g->id, .seq = g->row_seq, .pos = g->pos, .seqs = g->seqs, .out = g->out};
    for (int i = 0; i < n; i++) {
        g->id[i] = (int32_t)((int64_t)i * 7919 % g->lim.n_vocab);
        g->row_seq[i] = i / t->n_rows;
        g->pos[i] = t->n_past + i % t->n_rows;
    }
    for (int i = 0; i < t->n_seq; i++) {
        g->out[i] = (i + 1) * t->n_rows - 1;
        g->seqs[i] = (struct seq_in){.slot = seq[i],
                                     .len = t->n_past + t->n_rows,
                                     .state_read = t->n_past ? seq[i] : -1,
                                     .state_write = seq[i]};
    }
    *(t->n_rows > 1 ? &b->n_p : &b->n_g) = n;
    b->n_seq = b->n_out = t->n_seq;
    step_alike(g);
}

/* -- clocks -- */

#define IN_A_ROW 16 // runs of a device that works on while the host goes on

/* Seconds of n runs, one behind the other. */
static int time_runs(struct rill_engine *g, struct segment *s, int n, double *seconds)
{
    const double start = clock_seconds();
    int ticket = 0;

    for (int i = 0; i < n && ticket >= 0; i++)
        ticket = g->be->run(g->dev, s, &g->batch);
    if (ticket < 0 || g->be->wait(g->dev, ticket) < 0)
        return -1;
    *seconds = clock_seconds() - start;
    return 0;
}

/* The best of some runs. Where the device's memory is its own, of some dozen in a row, less one:
 * what it takes to start a run and hear of its end is not the segment's. */
static int time_segment(struct rill_engine *g, struct segment *s, int times, double *seconds,
                        struct err *e)
{
    const bool far = g->logits != NULL; // not the host's memory

    *seconds = 1e30;
    for (int k = 0; k < times; k++) {
        double one, all = 0;

        if (time_runs(g, s, 1, &one) < 0 || (far && time_runs(g, s, 1 + IN_A_ROW, &all) < 0))
            return err_set(e, E_DEVICE, "the device failed in records %d to %d", s->from,
                           s->to - 1);
        if (far)
            one = all > one ? (all - one) / IN_A_ROW : all / (1 + IN_A_ROW);
        *seconds = one < *seconds ? one : *seconds;
    }
    return 0;
}

static int time_record(struct rill_engine *g, struct rill_record *r, int times, rill_record_fn *fn,
                       void *ctx, struct err *e)
{
    struct segment s = g->seg;
    int rc;

    s.from = r->record;
    s.to = r->record + 1;
    s.kernel = NULL;
    s.impl = NULL;
    rc = g->be->prepare(g->dev, &s, e);
    if (rc < 0)
        return rc;
    rc = time_segment(g, &s, times, &r->seconds, e);
    r->kernel = s.kernel && s.kernel[0] ? s.kernel[0] : "";
    if (rc == 0)
        fn(ctx, r);
    s.to = s.from;
    g->be->prepare(g->dev, &s, NULL);
    return rc;
}

/* All records together. */
static int time_step(struct rill_engine *g, const struct op_cost *cost, int times,
                     rill_record_fn *fn, void *ctx, struct err *e)
{
    struct rill_record r = {.record = -1,
                            .layer = -1,
                            .name = "step",
                            .kernel = "",
                            .bytes = cost->bytes,
                            .flops = cost->flops};
    int rc = time_segment(g, &g->seg, times, &r.seconds, e);

    if (rc == 0)
        fn(ctx, &r);
    return rc;
}

static int time_all(struct rill_engine *g, const struct rill_times *t, rill_record_fn *fn,
                    void *ctx, struct err *e)
{
    const int n = t->n_rows * t->n_seq;
    const int64_t n_pos = (int64_t)t->n_seq * (t->n_past + t->n_rows);
    struct op_cost all = {0, 0};
    int rc = 0;

    for (int i = 0; i < g->plan->n_op && rc == 0; i++) {
        const struct op *op = &g->plan->op[i];
        const struct op_cost cost = op_cost(g->plan, op, n, t->n_seq, n_pos);
        struct rill_record r = {.record = i,
                                .layer = op->layer,
                                .name = op_name(op->kind),
                                .bytes = cost.bytes,
                                .flops = cost.flops};

        all.bytes += cost.bytes;
        all.flops += cost.flops;
        rc = time_record(g, &r, t->times, fn, ctx, e);
    }
    return rc < 0 ? rc : time_step(g, &all, t->times, fn, ctx, e);
}

int rill_engine_times(struct rill_engine *g, const struct rill_times *t, rill_record_fn *fn,
                      void *ctx, struct err *e)
{
    const int rows = t->n_rows < 1 || t->n_seq < 1 ? 0 : t->n_rows;
    int *seq;
    int rc;

    if (g->plan->encoder)
        return err_set(e, E_UNSUPPORTED, "records of an encoder cannot be timed");
    if (!rows || rows > g->seg.max_t / t->n_seq || t->n_seq > g->seg.max_s || t->n_past < 0 ||
        t->n_past > g->lim.n_ctx - rows)
        return err_set(e, E_RANGE,
                       "%d rows of %d sequences behind %d positions: at most %d rows, %d positions",
                       t->n_rows, t->n_seq, t->n_past, g->seg.max_t, g->lim.n_ctx);
    if (g->n_req)
        return err_set(e, E_BUSY, "records cannot be timed while requests run");
    if (!(seq = mem_array((uint64_t)t->n_seq, sizeof *seq, e)))
        return E_NOMEM;
    rc = begin_all(g, t, seq, e);
    if (rc == 0) {
        if (seats_copies(g) < 0)
            rc = err_set(e, E_DEVICE, "the device failed to copy keys and values");
        step_tables(g);
        layout(g, t, seq);
        rc = rc < 0 ? rc : time_all(g, t, fn, ctx, e);
        drop_all(g, seq, t->n_seq);
    }
    mem_free(seq);
    return rc;
}
