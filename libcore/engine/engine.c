/* engine.c - the token loop.
 *
 * One step: admit, pick, reserve pages, lay out the batch, run the plan, draw, and turn what was
 * drawn into events. Everything a step touches was allocated by open and submit.
 */
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "engine/step.h"

/* -- requests -- */

static int grow_one(void *array, uint64_t old_n, uint64_t n, size_t size, struct err *e)
{
    void *old;
    void *p;

    memcpy(&old, array, sizeof old);
    p = mem_resize(old, old_n, n, size, e);
    if (!p)
        return E_NOMEM;
    memcpy(array, &p, sizeof p);
    return 0;
}

/* Room for more requests. The cap changes last: whatever fails before leaves it as it was. */
static int grow(struct rill_engine *g, struct err *e)
{
    uint64_t old = (uint64_t)g->cap;
    uint64_t cap = old ? old * 2 : 8;
    uint64_t extra = (uint64_t)g->limits.max_out;
    int rc = grow_one(&g->req, old, cap, sizeof *g->req, e);

    rc = rc < 0 ? rc : grow_one(&g->view, old, cap, sizeof *g->view, e);
    rc = rc < 0 ? rc : grow_one(&g->part, old, cap, sizeof *g->part, e);
    rc = rc < 0 ? rc : grow_one(&g->order, old, cap, sizeof *g->order, e);
    rc = rc < 0 ? rc : grow_one(&g->event, old ? 2 * old + extra : 0, 2 * cap + extra,
                                sizeof *g->event, e);
    if (rc == 0)
        g->cap = (int)cap;
    return rc;
}

int rill_engine_submit(struct rill_engine *g, const struct rill_request *in, int *number,
                       struct err *e)
{
    struct request *r;
    int rc;

    if (g->n_req == g->cap && grow(g, e) < 0)
        return E_NOMEM;
    rc = request_new(&r, in, g->next_number, &g->lim, e);
    if (rc < 0)
        return rc;
    if (!kv_possible(g->pool, r->room)) {
        rc = err_set(e, E_RANGE, "%d positions do not fit into the key/value memory", r->room);
        request_free(r);
        return rc;
    }
    g->req[g->n_req++] = r;
    *number = g->next_number++;
    return 0;
}

void rill_engine_cancel(struct rill_engine *g, int number)
{
    for (int i = 0; i < g->n_req; i++)
        if (g->req[i]->number == number)
            g->req[i]->cancelled = true;
}

/* Requests that ended in the last step: their events have been read by now. */
static void sweep(struct rill_engine *g)
{
    int k = 0;

    for (int i = 0; i < g->n_req; i++) {
        if (g->req[i]->finish)
            request_free(g->req[i]);
        else
            g->req[k++] = g->req[i];
    }
    g->n_req = k;
}

/* -- one step -- */

static void emit_done(struct rill_engine *g, struct request *r, size_t from)
{
    if (r->seq >= 0)
        kv_drop(g->pool, r->seq);
    g->event[g->n_event++] = (struct rill_event){
        .request = r->number,
        .kind = RILL_DONE,
        .finish = r->finish,
        .code = r->code,
        .pos = r->n,
        .text = r->shown.p + from,
        .n_text = r->shown.n - from,
        .message = r->message,
        .user = r->user,
    };
}

static void drop_cancelled(struct rill_engine *g)
{
    for (int i = 0; i < g->n_req; i++) {
        if (!g->req[i]->cancelled)
            continue;
        request_end(g->req[i], RILL_CANCELLED);
        emit_done(g, g->req[i], 0);
    }
}

static void look(struct rill_engine *g)
{
    for (int i = 0; i < g->n_req; i++)
        g->view[i] = g->req[i]->s;
}

static void admit(struct rill_engine *g)
{
    int i;

    while ((i = sched_next_waiting(g->view, g->n_req)) >= 0) {
        struct request *r = g->req[i];
        int seq = kv_commit(g->pool, r->room);

        if (seq < 0)
            return; // nobody overtakes the one that waits for room
        r->seq = seq;
        r->s.state = SCHED_PROMPT;
        g->view[i] = r->s;
    }
}

static void drawn(struct rill_engine *g, struct request *r, const float *row)
{
    int id = sampler_draw(&g->work, &r->sampling, row, r->ids, r->n, r->seed, 0);
    size_t shown;

    if (id < 0) {
        request_fail(r, id, "request %d, position %d: the logits are not numbers", r->number, r->n);
        emit_done(g, r, r->shown.n);
        return;
    }
    request_token(r, id, &g->lim);
    g->stats.drawn++;
    shown = r->finish ? r->shown.n : 0;
    g->event[g->n_event++] = (struct rill_event){
        .request = r->number,
        .kind = RILL_TOKEN,
        .id = id,
        .pos = r->n - 1,
        .text = r->shown.p ? r->shown.p : "",
        .n_text = r->shown.n,
        .logits = r->logits ? row : NULL,
        .user = r->user,
    };
    if (r->finish)
        emit_done(g, r, shown);
    r->s.state = SCHED_DECODE;
}

/* Events of one part of the step; out is its first row with logits. Returns the next part's. */
static int collect(struct rill_engine *g, const struct sched_part *part, int out)
{
    struct request *r = g->req[part->req];
    bool last;

    r->stored += part->rows;
    r->s.rows -= r->s.state == SCHED_PROMPT ? part->rows : 0;
    last = r->stored == r->n;
    if (r->prompt_logits && r->s.state == SCHED_PROMPT) {
        for (int i = 0; i < part->rows; i++)
            g->event[g->n_event++] = (struct rill_event){
                .request = r->number,
                .kind = RILL_LOGITS,
                .id = r->ids[r->stored - part->rows + i],
                .pos = r->stored - part->rows + i,
                .text = "",
                .logits = step_logits(g, out + i),
                .user = r->user,
            };
        r->s.outputs -= part->rows;
        out += part->rows;
        if (last)
            drawn(g, r, step_logits(g, out - 1));
    } else if (last) {
        drawn(g, r, step_logits(g, out++));
    }
    return out;
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int run_step(struct rill_engine *g, struct err *e)
{
    double begin = seconds();
    int out = 0;
    int n;
    int rc;

    drop_cancelled(g);
    if (g->n_event)
        return 0;
    look(g);
    admit(g);
    n = sched_pick(g->view, g->n_req, &g->limits, g->part, g->order);
    if (n == 0)
        return 0;
    step_layout(g, n);
    rc = step_run(g, e);
    if (rc < 0)
        return rc;
    for (int i = 0; i < n; i++)
        out = collect(g, &g->part[i], out);
    step_count(g, seconds() - begin);
    return 0;
}

int rill_engine_step(struct rill_engine *g, struct rill_event *ev, int max, struct err *e)
{
    int n;

    while (g->at_event == g->n_event) {
        bool guard;
        int rc;

        g->at_event = g->n_event = 0;
        sweep(g);
        if (g->n_req == 0)
            return 0;
        for (int i = 0; i < g->n_req; i++)
            buf_clear(&g->req[i]->shown);
        guard = mem_guard(g->guard);
        rc = run_step(g, e);
        mem_guard(guard);
        if (rc < 0)
            return rc;
    }
    n = g->n_event - g->at_event < max ? g->n_event - g->at_event : max;
    memcpy(ev, g->event + g->at_event, (size_t)n * sizeof *ev);
    g->at_event += n;
    return n;
}

void rill_engine_stats(const struct rill_engine *g, struct rill_stats *out)
{
    struct kv_count c;

    kv_count(g->pool, &c);
    *out = g->stats;
    out->pages_used = c.pages_used;
}
