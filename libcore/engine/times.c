/* times.c - how long each record of the plan takes, for rill-bench --ops.
 *
 * Every record becomes a segment of its own, so the figures hold what a record costs when nothing
 * overlaps it: the start of the team and the packing of its input included.
 */
#include "base/clock.h"
#include "engine/step.h"
#include "plan/ops.h"

static void layout(struct rill_engine *g, int seq, int n_rows, int n_past)
{
    struct batch *b = &g->batch;

    *b = (struct batch){
        .id = g->id, .seq = g->row_seq, .pos = g->pos, .seqs = g->seqs, .out = g->out};
    for (int i = 0; i < n_rows; i++) {
        g->id[i] = (int32_t)((int64_t)i * 7919 % g->lim.n_vocab);
        g->row_seq[i] = 0;
        g->pos[i] = n_past + i;
    }
    g->out[0] = n_rows - 1;
    g->seqs[0] = (struct seq_in){.slot = seq,
                                 .len = n_past + n_rows,
                                          .state_read = n_past ? seq : -1,
                                 .state_write = seq};
    b->n_p = n_rows > 1 ? n_rows : 0;
    b->n_g = n_rows > 1 ? 0 : 1;
    b->n_seq = b->n_out = 1;
}

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

/* A record by itself: the best of some runs. Where the device's memory is its own, of some dozen in
 * a row, less one: what it takes to start a run and hear of its end is not the record's. */
static int time_record(struct rill_engine *g, struct rill_record *r, int times, rill_record_fn *fn,
                       void *ctx, struct err *e)
{
    const bool far = g->logits != NULL; // not the host's memory
    struct segment s = g->seg;
    int rc;

    s.from = r->record;
    s.to = r->record + 1;
    s.kernel = NULL;
    s.impl = NULL;
    rc = g->be->prepare(g->dev, &s, e);
    if (rc < 0)
        return rc;
    r->seconds = 1e30;
    for (int k = 0; k < times && rc == 0; k++) {
        double one, all = 0;

        if (time_runs(g, &s, 1, &one) < 0 || (far && time_runs(g, &s, 1 + IN_A_ROW, &all) < 0))
            rc = err_set(e, E_DEVICE, "the device failed in record %d", r->record);
        else if (far)
            one = all > one ? (all - one) / IN_A_ROW : all / (1 + IN_A_ROW);
        if (rc == 0 && one < r->seconds)
            r->seconds = one;
    }
    r->kernel = s.kernel && s.kernel[0] ? s.kernel[0] : "";
    if (rc == 0)
        fn(ctx, r);
    s.to = s.from;
    g->be->prepare(g->dev, &s, NULL);
    return rc;
}

int rill_engine_times(struct rill_engine *g, int n_rows, int n_past, int times, rill_record_fn *fn,
                      void *ctx, struct err *e)
{
    int rc = 0;
    int seq;

    if (g->plan->encoder)
        return err_set(e, E_UNSUPPORTED, "records of an encoder cannot be timed");
    if (n_rows < 1 || n_rows > g->seg.max_t || n_past < 0 || n_past > g->lim.n_ctx - n_rows)
        return err_set(e, E_RANGE, "%d rows behind %d positions: at most %d rows, %d positions",
                       n_rows, n_past, g->seg.max_t, g->lim.n_ctx);
    if (g->n_req || (seq = kv_begin(g->pool)) < 0)
        return err_set(e, E_BUSY, "records cannot be timed while requests run");
    if (!kv_reserve(g->pool, seq, 0, n_past + n_rows))
        rc = err_set(e, E_RANGE, "%d positions do not fit into the key/value memory",
                     n_past + n_rows);
    step_tables(g);
    layout(g, seq, n_rows, n_past);
    for (int i = 0; i < g->plan->n_op && rc == 0; i++) {
        const struct op *op = &g->plan->op[i];
        const struct op_cost cost = op_cost(g->plan, op, n_rows, 1, n_past + n_rows);
        struct rill_record r = {.record = i,
                                .layer = op->layer,
                                .name = op_name(op->kind),
                                .bytes = cost.bytes,
                                .flops = cost.flops};

        rc = time_record(g, &r, times, fn, ctx, e);
    }
    kv_drop(g->pool, seq);
    step_tables(g);
    return rc;
}
