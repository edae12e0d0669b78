/* sched.c - see sched.h. */
#include "engine/sched.h"

/* Of what a step takes in any case, so much longer it may be for prompts, whatever the budget. */
#define PROMPT_SHARE 0.5

/* A step being filled. */
struct fill {
    const struct sched_req *req;
    const struct sched_limits *lim;
    struct sched_pick *out;
    int32_t rows[2];       // that still fit, and apart
    int32_t outputs;
    int64_t left;          // memory
    double seconds;        // that still fit, if there is a budget
    int n_prompt;          // parts of prompt rows, at the front of out->part
};

static int64_t urgency(const struct sched_req *r, const struct sched_limits *lim)
{
    uint64_t waited = lim->step > r->since ? lim->step - r->since : 0;

    if (r->state != SCHED_WAITING || lim->patience == 0)
        return r->priority;
    return r->priority + (int64_t)(waited / lim->patience);
}

bool sched_before(const struct sched_req *a, const struct sched_req *b,
                  const struct sched_limits *lim)
{
    int64_t x = urgency(a, lim), y = urgency(b, lim);

    if (x != y)
        return x > y;
    if (a->again != b->again)
        return a->again;
    if (!a->again && a->client != b->client && lim->served &&
        lim->served[a->client] != lim->served[b->client])
        return lim->served[a->client] < lim->served[b->client];
    return a->arrival < b->arrival;
}

/* Running requests are kept in a stable order, whatever their clients were served meanwhile. */
static bool older(const struct sched_req *a, const struct sched_req *b)
{
    if (a->priority != b->priority)
        return a->priority > b->priority;
    return a->arrival < b->arrival;
}

/* Indices of running requests, best first. Insertion sort: they arrive nearly in order. */
static int running(const struct sched_req *req, int n, int32_t *order)
{
    int k = 0;

    for (int i = 0; i < n; i++) {
        int j = k;

        if (req[i].state != SCHED_RUNNING)
            continue;
        for (; j > 0 && older(&req[i], &req[order[j - 1]]); j--)
            order[j] = order[j - 1];
        order[j] = i;
        k++;
    }
    return k;
}

int sched_victim(const struct sched_req *req, int n, const bool *skip)
{
    int worst = -1;

    for (int i = 0; i < n; i++)
        if (req[i].state == SCHED_RUNNING && !(skip && skip[i]) &&
            (worst < 0 || older(&req[worst], &req[i])))
            worst = i;
    return worst;
}

/* -- how many rows -- */

static int64_t blocks(const struct sched_limits *lim, int64_t n_pos)
{
    return (n_pos + lim->page - 1) / lim->page;
}

static int64_t memory(const struct fill *f, const struct sched_req *r, int32_t rows)
{
    return (blocks(f->lim, (int64_t)r->stored + rows) - blocks(f->lim, r->stored)) * f->lim->block;
}

static double cost(const struct sched_limits *lim, const struct sched_req *r, int32_t rows)
{
    double seen = (double)r->stored + 0.5 * rows;

    return rows * (lim->per_row + lim->per_pos * seen);
}

static int32_t granules(const struct fill *f, const struct sched_req *r, int32_t rows)
{
    int32_t end = r->stored + rows;

    if (!r->prompt || rows == r->rows)
        return rows;
    end -= end % f->lim->granule;
    return end > r->stored ? end - r->stored : 0;
}

/* A token is drawn behind these rows and nothing else is pending: these come first. */
static bool draws(const struct sched_req *r)
{
    return !r->prompt && r->rows == r->pending && (r->rows == 1 || r->outputs > 0);
}

/* Rows of r that fit into the step: all it has, or a cut of them. A prompt whose last rows have no
 * place for their logits ends a row earlier. */
static int32_t cut(const struct fill *f, const struct sched_req *r)
{
    const struct sched_limits *lim = f->lim;
    int32_t rows = r->rows < f->rows[r->apart] ? r->rows : f->rows[r->apart];

    if (r->whole)
        return rows == r->rows ? rows : 0;
    if (r->outputs > 0 && rows > f->outputs)
        rows = f->outputs;
    if (r->outputs == 0 && rows == r->pending && f->outputs == 0 && !r->apart)
        rows--;
    if (lim->budget > 0 && !draws(r) && cost(lim, r, rows) > f->seconds) {
        double each = lim->per_row + lim->per_pos * ((double)r->stored + rows);
        double fit = each > 0 && f->seconds > 0 ? f->seconds / each : 0;

        /* even where the budget is spent a granule goes on, lest a prompt behind many others
         * stop */
        if (fit < lim->granule)
            fit = lim->granule;
        rows = fit < rows ? (int32_t)fit : rows;
    }
    return granules(f, r, rows);
}

static void add(struct fill *f, int i, const struct sched_req *r, int32_t rows)
{
    struct sched_pick *o = f->out;

    f->rows[r->apart] -= rows;
    f->outputs -= r->apart ? 0 : r->outputs > 0 ? rows : rows == r->pending;
    f->left -= memory(f, r, rows);
    f->seconds -= cost(f->lim, r, rows);
    o->part[o->n_part++] = (struct sched_part){i, rows};
    if (!r->prompt)
        return;
    /* before the parts of generated rows */
    for (int k = o->n_part - 1; k > f->n_prompt; k--)
        o->part[k] = o->part[k - 1];
    o->part[f->n_prompt++] = (struct sched_part){i, rows};
}

/* -- running ones -- */

/* order[0, n): running requests, best first. Sends the last ones back until the rows of order[at]
 * fit into memory; false when it would be order[at] itself. Returns the new n in *n. */
static bool make_room(struct fill *f, const int32_t *order, int at, int *n, int32_t rows)
{
    while (memory(f, &f->req[order[at]], rows) > f->left) {
        if (*n - 1 <= at)
            return false;
        --*n;
        f->left += f->req[order[*n]].held;
        f->out->evict[f->out->n_evict++] = order[*n];
    }
    return true;
}

/* Where reading the weights and the rows that draw take the budget, prompts would go on by a
 * granule a step and nobody would be admitted: more and more steps for a few. So prompts have a
 * share of any step. */
static void leave_a_share(struct fill *f)
{
    const double share = PROMPT_SHARE * (f->lim->budget - f->seconds);

    f->seconds = f->seconds < share ? share : f->seconds;
}

/* Those that draw next, or the others. Returns how many of order are still running. */
static int serve_some(struct fill *f, int32_t *order, int n, bool drawing)
{
    for (int i = 0; i < n; i++) {
        const struct sched_req *r = &f->req[order[i]];
        int32_t rows;

        if (draws(r) != drawing)
            continue;
        rows = cut(f, r);
        if (rows == 0)
            continue;
        if (drawing || f->out->n_part == 0 ? make_room(f, order, i, &n, rows)
                                           : memory(f, r, rows) <= f->left)
            add(f, order[i], r, rows);
    }
    return n;
}

/* Those that draw next, each of which gets all its rows; then the others, which share what is left.
 * Nobody makes room at the cost of one that comes before it, and those of the second kind only if
 * otherwise nothing would run. */
static int serve(struct fill *f, int32_t *order, int n)
{
    n = serve_some(f, order, n, true);
    leave_a_share(f);
    return serve_some(f, order, n, false);
}

/* -- waiting ones -- */

static int next_waiting(const struct fill *f, int n)
{
    int best = -1;

    for (int i = 0; i < n; i++)
        if (f->req[i].state == SCHED_WAITING && !f->out->seen[i] &&
            (best < 0 || sched_before(&f->req[i], &f->req[best], f->lim)))
            best = i;
    if (best >= 0)
        f->out->seen[best] = true;
    return best;
}

/* Nobody overtakes the one that waits for memory. While others run, a block for each of them stays
 * free, so that they can go on for a while; alone, a request may have all there is. */
static void admit(struct fill *f, int n, int n_running)
{
    const struct sched_limits *lim = f->lim;
    struct sched_pick *o = f->out;
    int i;

    for (i = 0; i < n; i++)
        o->seen[i] = false;
    while (o->n_admit < lim->seqs && f->rows[0] + f->rows[1] > 0 && (i = next_waiting(f, n)) >= 0) {
        const int others = n_running + o->n_admit;
        struct sched_req r = f->req[i];
        int64_t left = f->left;
        int32_t rows;

        if (lim->ask && !lim->ask(lim->ctx, i, &r))
            continue;
        if (others > 0 && r.need + others * lim->block > f->left)
            return;
        rows = cut(f, &r);
        if (rows == 0 || (others > 0 && lim->budget > 0 && f->seconds <= 0))
            return;
        o->admit[o->n_admit++] = i;
        add(f, i, &r, rows);
        f->left = left - r.need; // all of it is promised, though only some rows are in this step
    }
}

void sched_pick(const struct sched_req *req, int n, const struct sched_limits *lim,
                struct sched_pick *out)
{
    struct fill f = {.req = req,
                     .lim = lim,
                     .out = out,
                     .rows = {lim->max_rows, lim->max_apart},
                     .outputs = lim->max_out,
                     .left = lim->left,
                     .seconds = lim->budget - lim->fixed};
    int n_running;

    out->n_part = out->n_admit = out->n_evict = 0;
    n_running = serve(&f, out->order, running(req, n, out->order));
    if (out->n_evict)
        return;
    /* what was promised to running prompts is not given away */
    f.left = lim->left;
    for (int k = 0; k < n_running; k++)
        f.left -= req[out->order[k]].need;
    admit(&f, n, n_running);
}
