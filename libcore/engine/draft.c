/* draft.c - see draft.h. */
#include "engine/draft.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "engine/seats.h"
#include "engine/step.h"

struct drafter {
    struct drafter *next;  // on another model
    struct rill_engine *d; // on the smaller model
    int32_t *ahead;        // [max_seq] requests with a row of logits in the batch, in its order
    int n_ahead;
    float *row; // [vocabulary] NULL: the smaller model's rows are as long
};

/* -- opening -- */

static int same_vocabulary(const struct rill_model *a, const struct rill_model *b, struct err *e)
{
    const struct tok *x = a->tok, *y = b->tok;

    if (!x || !y)
        return err_set(e, E_UNSUPPORTED, "%s: proposes tokens only where both have a vocabulary",
                       b->path);
    if (tok_count(x) != tok_count(y))
        return err_set(e, E_UNSUPPORTED, "%s: has %u tokens, %s has %u: it cannot propose any",
                       b->path, tok_count(y), a->path, tok_count(x));
    for (uint32_t i = 0; i < tok_count(x); i++)
        if (!slice_eq(tok_piece(x, (int32_t)i), tok_piece(y, (int32_t)i)) ||
            tok_kind_of(x, (int32_t)i) != tok_kind_of(y, (int32_t)i))
            return err_set(e, E_UNSUPPORTED,
                           "%s: token %u is not that of %s: it cannot propose any", b->path, i,
                           a->path);
    return 0;
}

int draft_open(struct rill_engine *g, struct rill_model *m, struct err *e)
{
    struct rill_engine_opts o = {.max_seq = g->seg.kv.max_seq,
                                 .max_batch = g->seg.max_t,
                                 .max_draft = 1}; // it needs states to go back to, too
    struct drafter *f, **last = &g->drafter;
    int rc = same_vocabulary(g->model, m, e);

    if (rc < 0)
        return rc;
    f = mem_new(sizeof *f, e);
    if (!f)
        return E_NOMEM;
    if (m->plan && m->plan->n_ctx > g->lim.n_ctx)
        o.n_ctx = g->lim.n_ctx;
    rc = rill_engine_open(&f->d, m, &o, e);
    if (rc == 0 && !(f->ahead = mem_array((uint64_t)o.max_seq, sizeof *f->ahead, e)))
        rc = E_NOMEM;
    if (rc == 0 && f->d->lim.n_vocab < g->lim.n_vocab &&
        !(f->row = mem_array((uint64_t)g->lim.n_vocab, sizeof *f->row, e)))
        rc = E_NOMEM;
    if (rc < 0) {
        draft_close(f);
        return rc;
    }
    while (*last)
        last = &(*last)->next;
    *last = f;
    return 0;
}

void draft_close(struct drafter *f)
{
    while (f) {
        struct drafter *next = f->next;

        rill_engine_close(f->d);
        mem_free(f->ahead);
        mem_free(f->row);
        mem_free(f);
        f = next;
    }
}

struct drafter *draft_at(const struct rill_engine *g, int i)
{
    struct drafter *f = g->drafter;

    while (f && i-- > 0)
        f = f->next;
    return f;
}

/* -- sequences -- */

void draft_leave(struct request *r)
{
    if (r->draft_seq >= 0)
        kv_drop(r->drafter->d->pool, r->draft_seq);
    r->draft_seq = -1;
    r->draft_stored = 0;
}

static bool seat(struct rill_engine *d, struct request *r)
{
    const struct kv_text t = request_text(r);
    struct kv_match m;

    r->draft_seq = kv_begin(d->pool);
    if (r->draft_seq < 0)
        return false;
    r->draft_stored = 0;
    if (d->plan->state_bytes) // no states are kept for later here
        return true;
    m = kv_look(d->pool, &t, r->n - 1, d->limits.granule);
    kv_attach(d->pool, r->draft_seq, &m);
    r->draft_stored = m.n_pos;
    return true;
}

/* Forgets what was stored of proposals that were not kept: the last token's row is computed next,
 * whatever happened. False: there is no way back. */
static bool go_back(struct rill_engine *d, struct request *r)
{
    if (r->draft_stored < r->n)
        return true;
    if (d->plan->state_bytes)
        return false;
    r->draft_stored = r->n - 1;
    kv_trim(d->pool, r->draft_seq, r->draft_stored);
    return true;
}

/* -- batches -- */

static void begin(struct drafter *f)
{
    struct rill_engine *d = f->d;

    d->now = &d->seg;
    d->batch = (struct batch){
        .id = d->id, .seq = d->row_seq, .pos = d->pos, .seqs = d->seqs, .out = d->out};
    f->n_ahead = 0;
}

/* Rows [from, to) of request i. ahead: of proposals, whose states are not kept. */
static void add(struct drafter *f, const struct request *r, int i, int from, int to, bool ahead,
                bool draws)
{
    struct rill_engine *d = f->d;
    struct batch *b = &d->batch;
    const int spare = d->spare_state + r->draft_seq;
    int32_t row = b->n_p + b->n_g;

    for (int pos = from; pos < to; pos++, row++) {
        d->id[row] = r->ids[pos];
        d->row_seq[row] = b->n_seq;
        d->pos[row] = pos;
    }
    if (draws) {
        d->out[b->n_out++] = row - 1;
        f->ahead[f->n_ahead++] = i;
    }
    d->seqs[b->n_seq++] =
        (struct seq_in){.slot = r->draft_seq,
                        .len = to,
                        .state_read = from == 0                         ? -1
                                      : ahead && from > r->draft_stored ? spare
                                                                        : r->draft_seq,
                        .state_write = ahead ? spare : r->draft_seq};
    *(ahead ? &b->n_g : &b->n_p) += to - from;
}

/* The most tokens to propose behind r now. */
static int wanted(const struct request *r)
{
    int most = r->drafter->d->lim.n_ctx - r->n;

    if (r->stored < r->n_prompt || r->n == r->n_prompt || r->n_draft || r->draft_rest)
        return 0;
    return r->draft_want < most ? r->draft_want : most;
}

/* Whether it has rows for all tokens to come: tables may be longer than vocabularies. */
static bool known(const struct rill_engine *d, const struct request *r, int to)
{
    for (int i = r->draft_stored; i < to; i++)
        if (r->ids[i] >= d->lim.n_vocab)
            return false;
    return true;
}

/* What request i lacks of its text, as far as its own model has come: one step behind it in the
 * prompt. Returns the rows. */
static int follow(struct rill_engine *g, int i, int left)
{
    struct request *r = g->req[i];
    struct rill_engine *d = r->drafter->d;
    const int most = wanted(r);
    int to = r->stored < r->n_prompt ? r->stored : r->n;

    if (r->n_draft || (r->stored >= r->n_prompt && most <= 0) || (r->draft_seq < 0 && !seat(d, r)))
        return 0;
    if (!go_back(d, r)) {
        draft_leave(r);
        return 0;
    }
    to = to > r->draft_stored + left ? r->draft_stored + left : to;
    if (to <= r->draft_stored || to > d->lim.n_ctx || !known(d, r, to))
        return 0;
    kv_slide(d->pool, r->draft_seq, r->draft_stored);
    if (!kv_reserve(d->pool, r->draft_seq, r->draft_stored, to == r->n ? to + most : to)) {
        draft_leave(r);
        return 0;
    }
    left = to - r->draft_stored;
    add(r->drafter, r, i, r->draft_stored, to, false, to == r->n && most > 0);
    r->draft_stored = to;
    return left;
}

/* A proposal from each row of logits. */
static void draw(struct rill_engine *g, struct drafter *f)
{
    for (int k = 0; k < f->n_ahead; k++) {
        struct request *r = g->req[f->ahead[k]];
        const float *row = step_logits(f->d, k);
        struct sampler_in in;
        int id;

        if (f->row) {
            memcpy(f->row, row, (size_t)f->d->lim.n_vocab * sizeof *row);
            for (int v = f->d->lim.n_vocab; v < g->lim.n_vocab; v++)
                f->row[v] = -INFINITY;
            row = f->row;
        }
        in = step_sampler(g, r, row, r->n + r->n_draft);
        id = sampler_draw(&g->work, &in);
        if (id >= 0)
            r->ids[r->n + r->n_draft++] = id;
        if (id < 0 || (g->lim.tok && tok_is_end(g->lim.tok, id)))
            r->draft_want = r->n_draft;
    }
}

/* The next row of all that want more. */
static bool go_ahead(struct rill_engine *g, struct drafter *f, int step)
{
    begin(f);
    for (int i = 0; i < g->n_req; i++) {
        struct request *r = g->req[i];
        const int at = r->n + r->n_draft - 1;

        if (r->drafter != f || r->seq < 0 || r->draft_seq < 0 || r->n_draft != step ||
            r->draft_want <= step || at + 1 >= f->d->lim.n_ctx)
            continue;
        add(f, r, i, at, at + 1, true, true);
        if (!f->d->plan->state_bytes)
            r->draft_stored = at + 1;
    }
    return f->n_ahead > 0;
}

static void publish(struct rill_engine *g, struct drafter *f)
{
    struct rill_engine *d = f->d;

    for (int i = 0; i < g->n_req && !d->plan->state_bytes; i++) {
        const struct request *r = g->req[i];
        const struct kv_text t = request_text(r);

        if (r->drafter == f && r->draft_seq >= 0)
            kv_publish(d->pool, r->draft_seq, &t,
                       r->draft_stored < r->n_prompt ? r->draft_stored : r->n_prompt);
    }
}

static int propose(struct rill_engine *g, struct drafter *f, struct err *e)
{
    int left = f->d->seg.max_t;
    int rc;

    begin(f);
    for (int i = 0; i < g->n_req && left > 0; i++)
        if (g->req[i]->drafter == f && g->req[i]->seq >= 0 && g->req[i]->draft &&
            !g->req[i]->finish)
            left -= follow(g, i, left);
    if (f->d->batch.n_seq == 0)
        return 0;
    rc = step_run(f->d, e);
    if (rc < 0)
        return rc;
    publish(g, f);
    draw(g, f);
    for (int step = 1; go_ahead(g, f, step); step++) {
        rc = step_run(f->d, e);
        if (rc < 0)
            return rc;
        draw(g, f);
    }
    return 0;
}

int draft_propose(struct rill_engine *g, struct err *e)
{
    int rc = 0;

    for (struct drafter *f = g->drafter; f && rc == 0; f = f->next)
        rc = propose(g, f, e);
    return rc;
}
