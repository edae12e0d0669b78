/* seats.c - see seats.h. */
#include "engine/seats.h"

#include <string.h>

#include "engine/draft.h"
#include "engine/step.h"

/* A prompt waits for another that is computing the same beginning when it gains this many rows. */
#define WORTH_WAITING (2 * KV_PAGE)

/* -- copies -- */

struct copying {
    struct rill_engine *g;
    int rc;
};

static void copy_page(void *ctx, uint64_t to, uint64_t from, uint64_t n)
{
    struct copying *c = ctx;
    struct rill_engine *g = c->g;

    if (c->rc == 0)
        c->rc = g->be->copy(g->dev, g->seg.kv.pool, to, g->seg.kv.pool, from, n);
}

int seats_copies(struct rill_engine *g)
{
    struct copying c = {g, 0};

    kv_copies(g->pool, copy_page, &c);
    return c.rc;
}

int seats_copy_state(struct rill_engine *g, int to, int from)
{
    const uint64_t n = g->plan->state_bytes;

    return g->be->copy(g->dev, g->seg.kv.state, n * (uint64_t)to, g->seg.kv.state,
                       n * (uint64_t)from, n);
}

/* -- getting a place -- */

/* Rows that may be found in memory: never the last, whose logits are wanted. */
static int most_known(const struct request *r)
{
    if (r->prompt_logits || (r->embed && r->embed != RILL_EMBED_LAST))
        return r->told < r->n - 1 ? r->told : r->n - 1;
    return r->n - 1;
}

static struct kv_match known(const struct rill_engine *g, const struct request *r)
{
    const struct kv_text t = request_text(r);

    return kv_look(g->pool, &t, r->swap >= 0 ? r->stored : most_known(r), g->limits.granule);
}

/* Where the recurrent state should be kept next: where others have gone on differently, then at the
 * end of the prompt. */
static int next_mark(const struct rill_engine *g, const struct request *r, int seen)
{
    int last = (r->n_prompt - 1) / KV_PAGE * KV_PAGE;

    if (!g->plan->state_bytes || !g->cache)
        return 0;
    last -= last % g->limits.granule;
    if (seen > r->stored)
        return seen;
    return last > r->stored ? last : 0;
}

static int start(struct rill_engine *g, struct request *r)
{
    struct kv_match m = known(g, r);
    int rc = 0;

    r->seq = kv_begin(g->pool);
    r->order = 0;
    r->s.state = SCHED_RUNNING;
    kv_attach(g->pool, r->seq, &m);
    if (r->swap >= 0) {
        kv_skip(g->pool, r->seq, r->stored);
        if (!kv_reserve(g->pool, r->seq, m.n_pos, r->stored))
            return E_BUSY;
        rc = seats_copies(g);
        rc = rc < 0 ? rc : swap_in(g->swap, (int)r->swap, r->seq, m.n_pos);
        swap_drop(g->swap, (int)r->swap);
        r->swap = -1;
        request_look(r);
        return rc;
    }
    if (m.state >= 0)
        rc = seats_copy_state(g, r->seq, m.state);
    r->stored = m.n_pos;
    r->mark = next_mark(g, r, m.known);
    request_look(r);
    if (!r->s.again) {
        r->cached = m.n_pos;
        g->stats.cached_rows += (uint64_t)m.n_pos;
    }
    return rc;
}

bool seats_fork(struct rill_engine *g, const struct request *from, struct request *to)
{
    int seq = kv_fork(g->pool, from->seq, from->stored);

    if (seq < 0)
        return false;
    if (g->plan->state_bytes && seats_copy_state(g, seq, from->seq) < 0) {
        kv_drop(g->pool, seq);
        return false;
    }
    to->seq = seq;
    to->order = 0;
    to->s.state = SCHED_RUNNING;
    to->stored = from->stored;
    to->cached = from->n_prompt;
    return true;
}

/* -- losing it -- */

void seats_leave(struct rill_engine *g, struct request *r)
{
    if (r->seq >= 0)
        kv_drop(g->pool, r->seq);
    draft_leave(r);
    swap_drop(g->swap, (int)r->swap);
    r->seq = -1;
    r->swap = -1;
    if (g->solo == r)
        g->solo = NULL;
}

static void stand(struct rill_engine *g, struct request *r)
{
    kv_drop(g->pool, r->seq);
    draft_leave(r);
    r->seq = -1;
    r->n_draft = 0;
    r->s.state = SCHED_WAITING;
    r->s.again = true;
    r->s.since = g->limits.step;
}

static void unseat(struct rill_engine *g, int i)
{
    stand(g, g->req[i]);
    g->view[i] = g->req[i]->s;
    for (int k = 0; k < g->pick.n_part; k++)
        if (g->pick.part[k].req == i)
            g->pick.part[k].rows = 0;
}

/* Sends a running request back to wait. Its rows will be computed again on the path each was
 * computed on, or come back from host memory, so its answer does not change. */
static void send_back(struct rill_engine *g, int i)
{
    struct request *r = g->req[i];

    if (g->swap && r->stored > 0 && seats_copies(g) == 0)
        r->swap = swap_out(g->swap, r->seq, r->stored);
    g->stats.preempted++;
    g->stats.swapped += r->swap >= 0;
    if (r->swap < 0)
        r->stored = 0;
    unseat(g, i);
}

void seats_again(struct rill_engine *g, struct request *r)
{
    g->stats.preempted++;
    r->stored = 0;
    stand(g, r);
}

/* -- asking the scheduler -- */

/* Whether a running request will soon have computed blocks that r needs and nobody knows yet. */
static bool computed_by(const struct request *other, const struct request *r, int n_pos)
{
    const int limit = r->prompt_logits && r->told < r->n_prompt ? r->told : r->n_prompt;
    int most = other->n_prompt < limit ? other->n_prompt : limit;
    int same = 0;

    if (other == r || other->key != r->key || other->stored > n_pos + KV_PAGE ||
        other->s.state != SCHED_RUNNING || most < n_pos + WORTH_WAITING)
        return false;
    most = n_pos + WORTH_WAITING;
    while (same < most && other->ids[same] == r->ids[same] &&
           request_is_prompt(other, same) == request_is_prompt(r, same))
        same++;
    return same == most && other->stored < most;
}

/* Whether an answer waits for its request's first one, whose prompt it will share. */
static bool shared_soon(const struct rill_engine *g, const struct request *r)
{
    for (int i = 0; r->choice > 0 && !r->s.again && i < g->n_req; i++) {
        const struct request *first = g->req[i];

        if (first->number == r->number && first->choice == 0)
            return !first->finish && first->n == first->n_prompt;
    }
    return false;
}

static bool must_wait(const struct rill_engine *g, const struct request *r, int n_pos)
{
    if ((g->solo && g->solo != r) || shared_soon(g, r))
        return true;
    if (!g->cache || r->embed || r->s.again)
        return false;
    for (int i = 0; i < g->n_req; i++)
        if (computed_by(g->req[i], r, n_pos))
            return true;
    return false;
}

/* What a waiting request would need now. The part of it that is computed by someone admitted in
 * this same step is not seen yet; it is found in the next. */
static bool ask(void *ctx, int i, struct sched_req *s)
{
    struct rill_engine *g = ctx;
    struct request *r = g->req[i];
    struct kv_match m = known(g, r);
    int stored = r->stored;

    if (must_wait(g, r, m.n_pos))
        return false;
    for (int k = 0; k < g->pick.n_admit; k++) {
        struct request *other = g->req[g->pick.admit[k]];
        bool soon;

        other->s.state = SCHED_RUNNING;
        soon = g->cache && !r->embed && computed_by(other, r, m.n_pos);
        other->s.state = SCHED_WAITING;
        if (soon)
            return false;
    }
    if (r->swap < 0) { // as start() will leave it
        r->stored = m.n_pos;
        r->mark = next_mark(g, r, m.known);
    }
    request_look(r);
    *s = r->s;
    s->need = kv_cost(g->pool, r->n) - kv_cost(g->pool, m.n_pos) + m.idle;
    r->stored = stored;
    request_look(r);
    return true;
}

/* Whether r is about to draw: what it lacks are rows it drew itself, few enough to give the logits
 * of all of them. With states those of the last step may be among them (engine.c, draw_ahead). */
static bool draws_next(const struct rill_engine *g, const struct request *r)
{
    if (r->seq < 0 || r->stored < r->n_prompt || r->n == r->n_prompt)
        return false;
    return g->plan->state_bytes ? r->n - r->stored <= 1 + r->draft : r->stored == r->n - 1;
}

/* Proposes tokens behind a request that is about to draw; what was proposed in a step that had no
 * room for it stays. In little memory there is no room for what may be wrong. */
static void propose(struct rill_engine *g, struct request *r, bool tight)
{
    const int behind = r->n - 1 - r->stored;
    int most = r->draft_now < r->room - r->n - 1 ? r->draft_now : r->room - r->n - 1;

    r->draft_want = 0;
    if (r->draft == 0 || tight || !draws_next(g, r)) {
        r->n_draft = 0;
        return;
    }
    if (r->n_draft || r->draft_rest > 0)
        return;
    most = most < r->draft - behind ? most : r->draft - behind;
    r->draft_want = most > 0 ? most : 0;
    r->n_draft = spec_propose(g->corpus, r->ids, r->n, r->drafter ? DRAFT_SURE : SPEC_LEAST,
                              r->draft_want, &r->draft_lag, r->ids + r->n);
}

static int look(struct rill_engine *g, struct err *e)
{
    const int64_t block = kv_block_cost(g->pool);
    const int64_t left = kv_left(g->pool);
    const bool tight = left < 2 * (int64_t)g->n_req * block;
    int rc = 0;

    for (int i = 0; i < g->n_req; i++)
        propose(g, g->req[i], tight);
    if (g->drafter)
        rc = draft_propose(g, e);
    for (int i = 0; i < g->n_req; i++) {
        struct request *r = g->req[i];

        request_look(r);
        if (r->seq >= 0) {
            r->s.need = kv_more(g->pool, r->seq, r->stored, r->n + r->n_draft);
            r->s.held = tight ? kv_alone(g->pool, r->seq) : 0;
        }
        g->view[i] = r->s;
    }
    g->limits.block = block;
    g->limits.left = left;
    g->limits.seqs = kv_free_seqs(g->pool);
    g->limits.step = g->stats.steps;
    g->limits.served = g->served;
    g->limits.ask = ask;
    g->limits.ctx = g;
    g->limits.fixed = g->cost_bytes * g->seconds_per_cost;
    g->limits.per_row = g->cost_row * g->seconds_per_cost;
    g->limits.per_pos = g->cost_pos * g->seconds_per_cost;
    return rc;
}

/* -- memory for the step -- */

/* The pages of one part. The scheduler counted memory as a whole; where it turns out to be in the
 * wrong pieces, the last to come go back to wait, this one if need be. */
static void reserve(struct rill_engine *g, struct sched_part *part)
{
    struct request *r = g->req[part->req];

    while (part->rows) {
        int victim;

        kv_slide(g->pool, r->seq, r->stored);
        if (kv_reserve(g->pool, r->seq, r->stored, r->stored + part->rows))
            return;
        victim = sched_victim(g->view, g->n_req, NULL);
        send_back(g, victim);
    }
}

/* Nothing can run though somebody should: memory is in pieces. The first of all gets it for itself
 * alone; if it cannot go on even so, it ends. */
static void unstick(struct rill_engine *g)
{
    int best = -1;

    for (int i = 0; i < g->n_req; i++)
        if (best < 0 || sched_before(&g->view[i], &g->view[best], &g->limits))
            best = i;
    for (int i = 0; i < g->n_req; i++)
        if (g->req[i]->seq >= 0)
            send_back(g, i);
    kv_forget(g->pool);
    if (g->stuck && g->solo == g->req[best])
        request_fail(g->req[best], E_NOMEM, "request %d does not fit into the key/value memory",
                     g->req[best]->number);
    g->solo = g->req[best];
    g->stuck = true;
}

static void drop_empty_parts(struct rill_engine *g)
{
    int n = 0;

    for (int k = 0; k < g->pick.n_part; k++)
        if (g->pick.part[k].rows)
            g->pick.part[n++] = g->pick.part[k];
    g->pick.n_part = n;
}

int seats_pick(struct rill_engine *g, struct err *e)
{
    int rc = look(g, e);

    if (rc < 0)
        return rc;
    sched_pick(g->view, g->n_req, &g->limits, &g->pick);
    for (int k = 0; k < g->pick.n_evict; k++)
        send_back(g, g->pick.evict[k]);
    for (int k = 0; k < g->pick.n_admit; k++) {
        struct request *r = g->req[g->pick.admit[k]];

        rc = start(g, r);
        g->view[g->pick.admit[k]] = r->s;
        if (rc == E_BUSY)
            unseat(g, g->pick.admit[k]); // its pages are in the wrong pieces: later
        else if (rc < 0)
            return err_set(e, E_DEVICE, "the device failed to copy keys and values");
    }
    for (int k = 0; k < g->pick.n_part; k++)
        reserve(g, &g->pick.part[k]);
    drop_empty_parts(g);
    if (g->pick.n_part == 0 && g->n_req > 0)
        unstick(g);
    else
        g->stuck = false;
    return 0;
}

/* -- afterwards -- */

int seats_publish(struct rill_engine *g, struct request *r)
{
    const struct kv_text t = request_text(r);
    const bool prompt_done = r->stored >= r->n_prompt;
    int rc = 0;

    if (r->whole) // what its rows hold depends on all of the text
        return 0;
    kv_publish(g->pool, r->seq, &t, r->stored);
    if (r->mark > 0 && r->stored == r->mark) {
        int slot = kv_checkpoint(g->pool, r->seq);

        if (slot >= 0)
            rc = seats_copy_state(g, slot, r->seq);
        r->mark = next_mark(g, r, 0);
    }
    if (r->pin && prompt_done) {
        kv_pin(g->pool, r->seq);
        r->pin = false;
    }
    return rc;
}
