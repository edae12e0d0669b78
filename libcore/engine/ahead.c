/* ahead.c - see ahead.h. */
#include "engine/ahead.h"

#include "engine/devdraw.h"
#include "engine/seats.h"
#include "engine/step.h"

#define IN_A_ROW 8 // steps ahead while somebody waits: then the scheduler is asked again

/* Whether nobody can come in: all places are taken. */
static bool full(const struct rill_engine *g)
{
    return kv_free_seqs(g->pool) == 0 && g->in_a_row < IN_A_ROW;
}

/* Whether all that run draw in this step, so that the next one's rows are known. */
static bool can(struct rill_engine *g)
{
    const struct flight *f = step_flight(g);
    int n = 0;

    if (!g->seg.keeps || !f->far || g->drafter || g->dump || g->columns || g->solo)
        return false;
    for (int i = 0; i < g->n_req; i++)
        n += !g->req[i]->finish && !(g->req[i]->s.state == SCHED_WAITING && full(g));
    for (int i = 0; i < f->n_part; i++) {
        const struct request *r = f->part[i].r;

        if (!r || r->finish) // of the step before: it draws nothing
            continue;
        if (r->embed || f->part[i].pos + f->part[i].rows != r->n || r->draft || r->mark == r->n ||
            !devdraw_alone(g, r))
            return false;
        n--;
    }
    return n == 0;
}

/* Pages for one more row each; false: there is no room, or nobody goes on. */
static bool reserve(struct rill_engine *g)
{
    const struct flight *f = step_flight(g);
    bool any = false;

    if (kv_left(g->pool) < 2 * (int64_t)f->n_part * kv_block_cost(g->pool))
        return false;
    for (int i = 0; i < f->n_part; i++) {
        const struct request *r = f->part[i].r;

        if (!r || r->finish || r->n + 1 >= r->room)
            continue;
        kv_slide(g->pool, r->seq, r->n);
        if (!kv_reserve(g->pool, r->seq, r->n, r->n + 1))
            return false;
        any = true;
    }
    return any;
}

int ahead_most(struct rill_engine *g)
{
    const struct flown *part = step_flight(g)->part;
    const int left = part->r->room - 1 - part->pos;
    const int n = g->now->in_a_row < left ? g->now->in_a_row : left;

    if (n < 2 || g->n_req > 1 || !(g->coming || can(g)) ||
        kv_left(g->pool) < 2 * kv_block_cost(g->pool) ||
        !kv_reserve(g->pool, part->r->seq, part->pos, part->pos + n))
        return 1;
    return n;
}

int ahead_start(struct rill_engine *g, struct err *e)
{
    const struct flight *f = step_flight(g);
    int rc;

    if (f->ticket < 0 || f->at + 1 < f->n_step || !can(g) || !reserve(g))
        return 0;
    g->turn = !g->turn;
    g->coming = true;
    step_begin(g);
    for (int i = 0; i < f->n_part; i++) {
        struct request *r = f->part[i].r;

        if (r && !r->finish && r->n + 1 < r->room)
            step_next(g, r, r->n);
    }
    step_measure(g);
    rc = step_start(g, e);
    g->turn = !g->turn;
    g->stats.ahead++;
    g->in_a_row++;
    return rc;
}

bool ahead_take(struct rill_engine *g)
{
    struct flight *f = step_flight(g);
    bool any = false;

    if (f->at + 1 < f->n_step) {
        f->at++;
        f->part->pos++;
    } else if (g->coming) {
        g->coming = false;
        g->turn = !g->turn;
        f = step_flight(g);
    } else {
        g->in_a_row = 0;
        return false;
    }
    for (int i = 0; i < f->n_part; i++)
        any = any || (f->part[i].r && !f->part[i].r->finish);
    if (!any || g->n_req > 1)
        devdraw_enough(g, g->turn);
    return any;
}

bool ahead_lost(struct rill_engine *g, const struct flown *part, int out)
{
    struct request *r = part->r;

    if (!r || r->finish || r->stored != part->pos || devdraw_id(g, out) == DRAW_NONE)
        return true;
    if (!g->coming || devdraw_id(g, out) != DRAW_HOST)
        return false;
    r->host_draws = true; // computed again, with logits
    devdraw_enough(g, !g->turn);
    if (g->plan->state_bytes) // which has gone on meanwhile
        seats_again(g, r);
    return true;
}

void ahead_forget(struct rill_engine *g, const struct request *r)
{
    for (int k = 0; k < 2; k++) {
        struct flight *f = &g->flight[k];

        for (int i = 0; i < f->n_part; i++)
            if (f->part[i].r == r) {
                f->part[i].r = NULL;
                devdraw_enough(g, k);
            }
    }
}
