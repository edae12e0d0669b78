/* engine.c - the token loop.
 *
 * One step: admit, pick, reserve pages, lay out the batch, run the plan, draw, and turn what was
 * drawn into events. Everything a step touches was allocated by open and submit.
 */
#include "engine/engine.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "engine/adapt.h"
#include "engine/ahead.h"
#include "engine/devdraw.h"
#include "engine/draft.h"
#include "engine/embed.h"
#include "engine/seats.h"
#include "engine/step.h"

#define MAX_ANSWERS 128 // to one prompt
#define MISSES      4   // times that nothing proposed was right before it is left off for a while

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
    uint64_t extra = 2 * (uint64_t)g->limits.max_out + (uint64_t)g->limits.max_apart;
    uint64_t each = 2 + OBEY_AHEAD;
    struct sched_pick *p = &g->pick;
    int rc = grow_one(&g->req, old, cap, sizeof *g->req, e);

    rc = rc < 0 ? rc : grow_one(&g->view, old, cap, sizeof *g->view, e);
    rc = rc < 0 ? rc : grow_one(&p->part, old, cap, sizeof *p->part, e);
    rc = rc < 0 ? rc : grow_one(&p->admit, old, cap, sizeof *p->admit, e);
    rc = rc < 0 ? rc : grow_one(&p->evict, old, cap, sizeof *p->evict, e);
    rc = rc < 0 ? rc : grow_one(&p->order, old, cap, sizeof *p->order, e);
    rc = rc < 0 ? rc : grow_one(&p->seen, old, cap, sizeof *p->seen, e);
    for (int i = 0; i < 2; i++)
        rc = rc < 0 ? rc : grow_one(&g->flight[i].part, old, cap, sizeof *g->flight[i].part, e);
    rc = rc < 0 ? rc
                : grow_one(&g->event, old ? each * old + extra : 0, each * cap + extra,
                           sizeof *g->event, e);
    if (rc == 0)
        g->cap = (int)cap;
    return rc;
}

/* A client that comes back, or comes for the first time, stands where the least served of the
 * others stands: it has no claim on the time when it was away. */
static void enter(struct rill_engine *g, const struct request *r)
{
    double least = g->served[r->s.client];
    bool others = false;

    for (int i = 0; i < g->n_req; i++) {
        int c = g->req[i]->s.client;

        if (c == r->s.client)
            return;
        least = !others || g->served[c] < least ? g->served[c] : least;
        others = true;
    }
    if (others && least > g->served[r->s.client])
        g->served[r->s.client] = least;
}

static int waiting(const struct rill_engine *g)
{
    int n = 0;

    for (int i = 0; i < g->n_req; i++)
        n += g->req[i]->s.state == SCHED_WAITING;
    return n;
}

static int check_room(const struct rill_engine *g, const struct rill_request *in, struct err *e)
{
    if (in->n < 0 || in->n > MAX_ANSWERS)
        return err_set(e, E_RANGE, "n %d: must be from 1 to %d", in->n, MAX_ANSWERS);
    if (g->max_queue > 0 && waiting(g) + (in->n > 1 ? in->n : 1) > g->max_queue)
        return err_set(e, E_BUSY, "the queue of %d requests is full", g->max_queue);
    return 0;
}

static int check_drafter(const struct rill_engine *g, const struct rill_request *in, struct err *e)
{
    if (in->draft_model < 0 || (in->draft_model > 0 && !draft_at(g, in->draft_model)))
        return err_set(e, E_RANGE, "draft_model %d: there is no such model", in->draft_model);
    return 0;
}

/* A constraint's place in the first answer. */
static int constrain(struct rill_engine *g, struct request *r, const struct rill_request *in,
                     struct err *e)
{
    const struct con *c = (const struct con *)in->constraint;
    int rc = 0;

    if (!c)
        return 0;
    if (!g->lim.tok || tok_model_of(g->lim.tok) == TOK_NONE)
        return err_set(e, E_UNSUPPORTED, "a constraint needs a vocabulary, the model has none");
    if (!g->vocab)
        rc = con_vocab_new(&g->vocab, g->lim.tok, e);
    if (rc == 0 && !g->mask && !(g->mask = mem_array(g->vocab->n_word, sizeof *g->mask, e)))
        rc = E_NOMEM;
    if (rc == 0)
        rc = obey_enter(&r->obey, &g->obeyed, c, g->vocab, e);
    if (rc == 0)
        r->place = con_begin(r->obey->matcher);
    return rc;
}

int rill_engine_submit(struct rill_engine *g, const struct rill_request *in, int *number,
                       struct err *e)
{
    const int first = g->n_req, n = in->n > 1 ? in->n : 1;
    int rc = check_room(g, in, e);

    rc = rc < 0 ? rc : check_drafter(g, in, e);
    for (int k = 0; k < n && rc == 0; k++) {
        struct request *r = NULL;

        if (g->n_req == g->cap && (rc = grow(g, e)) < 0)
            break;
        rc = request_new(&r, in, g->next_number, k, &g->lim, e);
        if (rc < 0)
            break;
        if ((rc = adapt_choose(g, r, in, e)) < 0) {
            request_free(r);
            break;
        }
        if (!kv_possible(g->pool, r->room)) {
            rc = err_set(e, E_RANGE, "%d positions do not fit into the key/value memory", r->room);
            request_free(r);
            break;
        }
        if ((rc = constrain(g, r, in, e)) < 0) {
            request_free(r);
            break;
        }
        r->drafter = r->draft ? draft_at(g, in->draft_model) : NULL;
        r->s.arrival = g->next_arrival++;
        r->s.since = g->stats.steps;
        if (in->deadline > 0)
            r->deadline = clock_seconds() + in->deadline;
        enter(g, r);
        g->req[g->n_req++] = r;
    }
    if (rc < 0) {
        while (g->n_req > first)
            request_free(g->req[--g->n_req]);
        return rc;
    }
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
        if (g->req[i]->finish) {
            ahead_forget(g, g->req[i]);
            request_free(g->req[i]);
        } else {
            g->req[k++] = g->req[i];
        }
    }
    g->n_req = k;
}

/* -- one step -- */

static void emit_done(struct rill_engine *g, struct request *r, size_t from)
{
    seats_leave(g, r);
    g->event[g->n_event++] = (struct rill_event){
        .request = r->number,
        .choice = r->choice,
        .kind = RILL_DONE,
        .finish = r->finish,
        .stop = r->stop.met,
        .code = r->code,
        .pos = r->n,
        .text = r->shown.p + from,
        .n_text = r->shown.n - from,
        .cached = r->cached,
        .message = r->message,
        .user = r->user,
    };
}

/* Those that were cancelled, whose time is over, or that failed without a step. */
static void drop_ended(struct rill_engine *g)
{
    const double now = clock_seconds();

    for (int i = 0; i < g->n_req; i++) {
        struct request *r = g->req[i];

        if (r->cancelled)
            request_end(r, RILL_CANCELLED);
        else if (r->deadline > 0 && now >= r->deadline)
            request_end(r, RILL_DEADLINE);
        if (r->finish)
            emit_done(g, r, 0);
    }
}

/* The grammar's side of a token: where it leads, and whether that is the end. */
static void obey(struct request *r, int32_t id)
{
    struct err e = {0};
    int rc = obey_token(r->obey, &r->place, id, &e);

    if (rc == 0)
        request_fail(r, E_RANGE, "request %d, position %d: token %d is not the grammar's",
                     r->number, r->n, id);
    else if (rc < 0)
        request_fail(r, rc, "request %d, position %d: %.80s", r->number, r->n, e.text);
    else if (obey_done(r->obey, r->place))
        request_end(r, RILL_STOP);
}

/* A token is the next one: drawn from row, or the only one a grammar left (row NULL). */
static void take(struct rill_engine *g, struct request *r, int32_t id, const float *row)
{
    const size_t from = r->shown.n;
    struct rill_event *ev;

    request_token(r, id, &g->lim);
    r->draft_rest -= r->draft_rest > 0;
    if (r->obey && !r->finish)
        obey(r, id);
    ev = &g->event[g->n_event++];
    *ev = (struct rill_event){
        .request = r->number,
        .choice = r->choice,
        .kind = RILL_TOKEN,
        .id = id,
        .pos = r->n - 1,
        .text = r->shown.p ? r->shown.p + from : "",
        .n_text = r->shown.n - from,
        .logits = r->logits ? row : NULL,
        .n_logits = r->logits && row ? g->lim.n_vocab : 0,
        .user = r->user,
    };
    if (r->logprobs && row) {
        struct rill_top *top = r->top + (ptrdiff_t)r->burst * r->n_top;

        ev->logprob = sampler_logprobs(&g->work, row, id, top, r->n_top);
        ev->top = top;
        ev->n_top = r->n_top;
    }
    r->burst++;
    if (r->finish)
        emit_done(g, r, r->shown.n);
}

/* Takes what the grammar leaves no choice about; true when there was such a token. */
static bool forward(struct rill_engine *g, struct request *r)
{
    int32_t id[OBEY_AHEAD];
    struct err e = {0};
    int n = obey_forced(r->obey, r->place, g->lim.tok, id, r->no_forward ? 1 : OBEY_AHEAD, &e);

    if (n < 0) {
        request_fail(r, n, "request %d, position %d: %.80s", r->number, r->n, e.text);
        emit_done(g, r, r->shown.n);
        return true;
    }
    for (int i = 0; i < n && !r->finish; i++, g->stats.forced++)
        take(g, r, id[i], NULL);
    return n > 0;
}

int rill_engine_steer(struct rill_engine *g, rill_steer_fn *fn, void *ctx, struct err *e)
{
    if (!g->steer_row && !(g->steer_row = mem_array((uint64_t)g->lim.n_vocab, sizeof(float), e)))
        return E_NOMEM;
    g->steer = fn;
    g->steer_ctx = ctx;
    return 0;
}

/* Another's say about a row. */
static int steer(struct rill_engine *g, const struct request *r, struct sampler_in *in,
                 struct err *e)
{
    const struct rill_event at = {
        .request = r->number, .choice = r->choice, .pos = r->n, .user = r->user};

    if (!r->steer || !g->steer)
        return 0;
    memcpy(g->steer_row, in->logits, (size_t)g->lim.n_vocab * sizeof *g->steer_row);
    in->logits = g->steer_row;
    return g->steer(g->steer_ctx, &at, g->steer_row, g->lim.n_vocab, e);
}

/* Why nothing can be drawn from a row (NULL: the device's): it is none, or what the request forbids
 * are all the others. */
static void fail_draw(const struct rill_engine *g, struct request *r, int code, const float *row,
                      const char *why)
{
    bool some = false;

    for (int i = 0; code == E_NUMERIC && row && i < g->lim.n_vocab; i++) {
        if (isnan(row[i]) || row[i] == INFINITY) {
            some = false;
            break;
        }
        some |= row[i] > -INFINITY;
    }
    if (code == E_NUMERIC)
        why = some ? "no token may come" : "the logits are not numbers";
    request_fail(r, some ? E_RANGE : code, "request %d, position %d, step %llu: %.80s", r->number,
                 r->n, (unsigned long long)g->stats.steps, why);
}

/* One token from row `out` of the step's logits, if the device has not drawn it already. */
static void drawn(struct rill_engine *g, struct request *r, int out)
{
    const int32_t far = devdraw_id(g, out);
    const float *row = far == DRAW_HOST ? step_logits(g, out) : NULL;
    struct sampler_in in = step_sampler(g, r, row, r->n);
    struct err e = {0};
    int id = 0;

    in.mu = &r->mirostat;
    if (r->obey) {
        if (forward(g, r))
            return;
        if (row)
            id = obey_mask(r->obey, r->place, g->mask, &e);
        in.mask = g->mask;
        in.n_mask = (int)g->vocab->n;
    }
    if (id == 0)
        id = row ? steer(g, r, &in, &e) : far;
    if (id == 0 && row)
        id = sampler_draw(&g->work, &in);
    if (id < 0) {
        fail_draw(g, r, id, in.logits, e.text);
        emit_done(g, r, r->shown.n);
        return;
    }
    g->stats.drawn++;
    take(g, r, id, row);
    if (r->obey && !r->finish && !r->no_forward)
        forward(g, r);
}

/* For those who wait, and who may think better of it. */
static void tell_progress(struct rill_engine *g, const struct request *r)
{
    g->event[g->n_event++] = (struct rill_event){
        .request = r->number,
        .choice = r->choice,
        .kind = RILL_PROMPT,
        .pos = r->stored,
        .text = "",
        .user = r->user,
    };
}

/* The other answers to the same prompt begin where the first one stands, if there are places; else
 * they wait like others and find the prompt in memory. */
static void fork_answers(struct rill_engine *g, const struct request *first, int out)
{
    for (int i = 0; i < g->n_req; i++) {
        struct request *r = g->req[i];

        if (r->number == first->number && r->choice > 0 && r->s.state == SCHED_WAITING &&
            !r->s.again && !r->finish && !r->prompt_logits && seats_fork(g, first, r))
            drawn(g, r, out);
    }
}

static void tell_prompt(struct rill_engine *g, struct request *r, int rows, int out)
{
    for (int i = 0; i < rows; i++) {
        int pos = r->stored - rows + i;
        struct rill_event *ev = &g->event[g->n_event++];

        *ev = (struct rill_event){
            .request = r->number,
            .choice = r->choice,
            .kind = RILL_LOGITS,
            .id = r->ids[pos],
            .pos = pos,
            .text = "",
            .logits = step_logits(g, out + i),
            .n_logits = g->lim.n_vocab,
            .user = r->user,
        };
        if (r->logprobs && pos + 1 < r->n_prompt) {
            struct rill_top *top = r->top + (ptrdiff_t)(1 + r->draft + i) * r->n_top;

            ev->logprob = sampler_logprobs(&g->work, ev->logits, r->ids[pos + 1], top, r->n_top);
            ev->top = top;
            ev->n_top = r->n_top;
            if (isnan(ev->logprob) && !r->finish)
                request_fail(r, E_NUMERIC,
                             "request %d, position %d, step %llu: the logits are not numbers",
                             r->number, pos + 1, (unsigned long long)g->stats.steps);
        }
    }
    r->told = r->stored;
}

/* How many to propose next: with the true one a power of two, since that many rows go through a
 * matrix together for little more than one (a step of the 1.1B Q4_K_M model: 1, 3, 5, 7, 8 rows in
 * 161, 195, 276, 308, 231 ms). Where nothing is ever accepted, proposing costs and gains nothing.
 */
static void adapt(struct request *r, int proposed, int kept)
{
    int next = r->draft_now;

    if (kept == proposed)
        next = 2 * next + 1;
    else if (next > 1 && kept <= next / 2)
        next /= 2;
    if (next <= r->draft)
        r->draft_now = next;
    if (kept == 0 && r->draft_miss > 0)
        r->draft_lag = 0;
    r->draft_miss = kept ? 0 : r->draft_miss + 1;
    if (r->draft_miss >= MISSES)
        r->draft_rest = r->draft_miss < 4 * MISSES ? r->draft_miss : 4 * MISSES;
}

/* Rows of r, the first `behind` of which it had drawn before: a token behind the true row and,
 * while what was drawn is what was proposed, behind each proposed one. The rows of wrong proposals
 * are forgotten. A state cannot be forgotten in part: it goes back to where it was before the step,
 * and the rows that were right are computed once more with those of the next. */
static int draw_ahead(struct rill_engine *g, struct request *r, int rows, int behind, int out)
{
    const bool spare = step_spares(g, r, rows);
    const int proposed = rows > behind + 1 ? rows - behind - 1 : 0;
    int kept = 0;

    for (int k = behind; k < rows && !r->finish; k++) {
        int32_t next = r->ids[r->n];

        drawn(g, r, out + k);
        if (r->finish || k + 1 == rows || r->ids[r->n - 1] != next)
            break;
        kept++;
    }
    g->stats.drafted += (uint64_t)proposed;
    g->stats.accepted += (uint64_t)kept;
    r->n_draft = 0;
    if (proposed)
        adapt(r, proposed, kept);
    if (r->finish || rows <= behind)
        return 0;
    if (!spare || kept == proposed)
        r->stored = r->n - 1;
    kv_trim(g->pool, r->seq, r->n - 1);
    return spare && kept == proposed ? seats_copy_state(g, r->seq, g->spare_state + r->seq) : 0;
}

/* Events of one part of the step; out is its first row with logits. Returns the next part's. */
static int collect(struct rill_engine *g, const struct flown *part, int out, struct err *e)
{
    struct request *r = part->r;
    const bool first = r->n == r->n_prompt;
    const bool told = r->s.prompt && r->s.outputs > 0;
    const bool ahead = !r->s.prompt && r->s.outputs > 0;
    const int behind = r->n - 1 - r->stored;
    int row;

    if (!ahead)
        r->stored += part->rows;
    else if (!step_spares(g, r, part->rows))
        r->stored += part->rows <= behind ? part->rows : behind + 1;
    g->served[r->s.client] += part->rows / (double)r->weight;
    if (seats_publish(g, r) < 0)
        return err_set(e, E_DEVICE, "the device failed to copy a state");
    if (r->embed) {
        embed_take(g, r, part->rows);
        if (r->finish)
            emit_done(g, r, 0);
        else if (r->progress)
            tell_progress(g, r);
        return out;
    }
    if (ahead) {
        if (draw_ahead(g, r, part->rows, behind, out) < 0)
            return err_set(e, E_DEVICE, "the device failed to copy a state");
        return out + part->rows;
    }
    if (told)
        tell_prompt(g, r, part->rows, out);
    out += told ? part->rows : r->stored == r->n;
    row = out - 1;
    if (r->finish) {
        emit_done(g, r, r->shown.n);
        return out;
    }
    if (r->stored < r->n) {
        if (r->progress)
            tell_progress(g, r);
        return out;
    }
    if (first && r->choice == 0)
        fork_answers(g, r, row);
    drawn(g, r, row);
    return out;
}

static int run_step(struct rill_engine *g, struct err *e)
{
    double begin = clock_seconds();
    const struct flight *f;
    int out = 0, rc = 0;

    drop_ended(g);
    if (g->n_event)
        return 0;
    if (!ahead_take(g)) {
        rc = seats_pick(g, e);
        if (rc < 0 || g->pick.n_part == 0)
            return rc;
        step_layout(g);
        rc = g->embed ? embed_run(g, e) : 0;
        step_measure(g);
        rc = rc < 0 ? rc : step_start(g, e);
    }
    rc = rc < 0 ? rc : ahead_start(g, e);
    rc = rc < 0 ? rc : step_finish(g, e);
    if (rc < 0)
        return rc;
    f = step_flight(g);
    for (int i = 0; i < f->n_part && out >= 0; i++)
        out = ahead_lost(g, &f->part[i], out) ? out + 1 : collect(g, &f->part[i], out, e);
    step_count(g, clock_seconds() - begin);
    return out < 0 ? out : 0;
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
        for (int i = 0; i < g->n_req; i++) {
            buf_clear(&g->req[i]->shown);
            g->req[i]->burst = 0;
        }
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
    out->gap = g->be->gap ? g->be->gap(g->dev) : 0;
    out->pages_used = c.pages_used;
    out->blocks_known = c.blocks;
    out->kv_bytes = g->seg.kv.pool.bytes;
    out->kv_held = c.held > 0 ? c.held : 0;
    out->running = out->waiting = 0;
    for (int i = 0; i < g->n_req; i++) // those that have ended stay until the next step
        if (!g->req[i]->finish)
            ++*(g->req[i]->s.state == SCHED_WAITING ? &out->waiting : &out->running);
}
