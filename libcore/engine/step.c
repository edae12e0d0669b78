/* step.c - see step.h. */
#include "engine/step.h"

#include <string.h>

#include "engine/adapt.h"
#include "engine/ahead.h"
#include "engine/columns.h"
#include "engine/devdraw.h"
#include "engine/embed.h"
#include "engine/seats.h"
#include "plan/ops.h"

#define SORT_PAGES 16

bool step_spares(const struct rill_engine *g, const struct request *r, int rows)
{
    return g->plan->state_bytes && r->n_draft && rows > r->n - r->stored;
}

/* The plan with adapters runs where one request has any. */
static void choose_adapters(struct rill_engine *g, const struct request *r, struct seq_in *q)
{
    q->n_lora = r->n_lora;
    for (int k = 0; k < r->n_lora; k++) {
        q->lora[k].slot = r->lora[k].id;
        q->lora[k].scale = r->lora[k].scale;
    }
    if (r->n_lora)
        g->now = adapt_segment(g->adapters);
}

/* Rows from position pos on; those whose tokens are not known yet are what r draws last. */
static void add_rows(struct rill_engine *g, struct request *r, int pos, int rows, bool prompt)
{
    struct batch *b = &g->batch;
    struct flight *f = step_flight(g);
    int32_t row = b->n_p + b->n_g;

    for (int i = 0; i < rows; i++) {
        g->id[row + i] = pos + i < r->n + r->n_draft ? r->ids[pos + i] : -1 - r->seq;
        g->row_seq[row + i] = b->n_seq;
        g->pos[row + i] = pos + i;
        if (r->s.outputs > 0 || pos + i + 1 >= r->n)
            g->out[b->n_out++] = row + i;
    }
    g->seqs[b->n_seq++] = (struct seq_in){
        .slot = r->seq,
        .len = pos + rows,
        .state_read = pos ? r->seq : -1,
        .state_write = step_spares(g, r, rows) ? g->spare_state + r->seq : r->seq,
    };
    choose_adapters(g, r, &g->seqs[b->n_seq - 1]);
    *(prompt ? &b->n_p : &b->n_g) += rows;
    f->part[f->n_part++] = (struct flown){r, pos, rows};
}

/* Order of two parts by the pages that their sequences have, a chunk of them at a time (pages in
 * common are a beginning), then by request. */
static bool comes_first(const struct rill_engine *g, const struct sched_part *a,
                        const struct sched_part *b)
{
    const int most = g->plan->n_group ? kv_max_page(g->pool) : 0;

    for (int i = 0; i < most; i += SORT_PAGES) {
        const int32_t x = kv_page(g->pool, 0, g->req[a->req]->seq, i);
        const int32_t y = kv_page(g->pool, 0, g->req[b->req]->seq, i);

        if (x != y)
            return x < y;
    }
    return a->req < b->req;
}

static bool was_first(const struct rill_engine *g, const struct sched_part *a,
                      const struct sched_part *b)
{
    return g->req[a->req]->order < g->req[b->req]->order;
}

/* Parts of generated rows that begin with the same pages are put side by side, so that a backend
 * can read those once for all. Pages are looked at when somebody is new; else the order is that of
 * the last time. Shell's sort, in place. */
static void sort_parts(struct rill_engine *g)
{
    struct sched_part *part = g->pick.part;
    int n = g->pick.n_part, gap = 1;
    bool fresh = false;

    while (n > 0 && g->req[part->req]->s.prompt) {
        part++;
        n--;
    }
    for (int i = 0; i < n && !fresh; i++)
        fresh = g->req[part[i].req]->order == 0;
    while (gap < n / 3)
        gap = 3 * gap + 1;
    for (; gap > 0; gap /= 3)
        for (int i = gap; i < n; i++) {
            const struct sched_part p = part[i];
            int k = i;

            for (; k >= gap && (fresh ? comes_first : was_first)(g, &p, &part[k - gap]); k -= gap)
                part[k] = part[k - gap];
            part[k] = p;
        }
    for (int i = 0; i < n && fresh; i++)
        g->req[part[i].req]->order = i + 1;
}

void step_begin(struct rill_engine *g)
{
    struct flight *f = step_flight(g);

    g->now = &g->seg;
    g->batch = (struct batch){
        .id = g->id, .seq = g->row_seq, .pos = g->pos, .seqs = g->seqs, .out = g->out};
    f->n_part = f->n_step = f->at = 0;
    f->ticket = -1;
    f->far = false;
}

void step_layout(struct rill_engine *g)
{
    struct flight *f = step_flight(g);

    step_begin(g);
    sort_parts(g);
    for (int i = 0; i < g->pick.n_part; i++) {
        const struct sched_part *part = &g->pick.part[i];
        struct request *r = g->req[part->req];

        if (r->embed)
            f->part[f->n_part++] = (struct flown){r, r->stored, part->rows};
        else
            add_rows(g, r, r->stored, part->rows, r->s.prompt);
    }
}

void step_next(struct rill_engine *g, struct request *r, int pos)
{
    add_rows(g, r, pos, 1, false);
}

static void push_table(void *ctx, uint64_t at, uint64_t n)
{
    struct rill_engine *g = ctx;
    uint64_t bytes;
    const int32_t *table = kv_table(g->pool, &bytes);
    struct mem host = {
        .p = (void *)(uintptr_t)table, .bytes = bytes, .kind = MEM_HOST, .host = true};

    g->be->copy(g->dev, g->seg.kv.table, at, host, at, n);
}

void step_tables(struct rill_engine *g)
{
    kv_changed(g->pool, push_table, g);
}

/* The chosen records' values, row by row without the columns of others. */
static void dump(struct rill_engine *g)
{
    const struct batch *b = &g->batch;

    for (int i = g->dump_from; i < g->dump_to; i++) {
        const struct op *op = &g->plan->op[i];
        const struct value *v;
        struct ref o = op->out[0];
        int rows;

        if (o.v < 0)
            continue;
        v = &g->plan->value[o.v];
        rows = (int)plan_rows(g->plan, v->rows, b->n_p + b->n_g, b->n_out);
        for (int r = 0; r < rows; r++) {
            const char *from =
                (const char *)g->seg.arena.p + g->at[o.v] + ((int64_t)r * v->cols + o.at) * 4;

            memcpy(g->dump_row + (int64_t)r * o.cols, from, (size_t)o.cols * 4);
        }
        g->dump(g->dump_ctx, i, op_info(op->kind)->name, rows, o.cols, g->dump_row);
    }
}

static int fetch(struct rill_engine *g, struct err *e)
{
    const struct batch *b = &g->batch;
    struct mem host = {.p = g->logits, .kind = MEM_HOST, .host = true};

    if (!g->logits || !b->n_out)
        return 0;
    host.bytes = (uint64_t)b->n_out * (uint64_t)g->lim.n_vocab * 4;
    if (g->be->copy(g->dev, host, 0, g->seg.arena, g->now->at[g->now->plan->logits], host.bytes) <
        0)
        return err_set(e, E_DEVICE, "the device failed to give back the logits");
    return 0;
}

void step_alike(struct rill_engine *g)
{
    const struct batch *b = &g->batch;

    for (int i = 0; i < b->n_seq; i++) {
        const struct seq_in *q = &g->seqs[i], *was = i ? q - 1 : NULL;

        g->alike[i] = was ? kv_alike(g->pool, was->slot, q->slot,
                                     (was->len < q->len ? was->len : q->len) / KV_PAGE)
                          : 0;
    }
    g->batch.alike = g->alike;
}

/* Before a step: pages that are to be there, and where. */
static int ready(struct rill_engine *g, struct err *e)
{
    if (seats_copies(g) < 0)
        return err_set(e, E_DEVICE, "the device failed to copy keys and values");
    step_tables(g);
    step_alike(g);
    return 0;
}

static int start(struct rill_engine *g, int *ticket, struct err *e)
{
    struct batch *b = &g->batch;
    const int rc = ready(g, e);

    if (rc < 0)
        return rc;
    *ticket = g->be->run(g->dev, g->now, b);
    if (*ticket < 0)
        return err_set(e, E_DEVICE, "the device failed in a step of %d rows", b->n_p + b->n_g);
    return 0;
}

static int finish(struct rill_engine *g, int ticket, struct err *e)
{
    if (g->be->wait(g->dev, ticket) < 0)
        return err_set(e, E_DEVICE, "the device failed in a step");
    return 0;
}

int step_start(struct rill_engine *g, struct err *e)
{
    struct flight *f = step_flight(g);
    int rc;

    if (!g->batch.n_seq)
        return 0;
    f->far = devdraw_plan(g);
    if (f->far && devdraw_one(g)) {
        f->n_step = devdraw_more(g, ahead_most(g));
        rc = ready(g, e);
        return rc < 0 ? rc : devdraw_steps(g, e);
    }
    rc = start(g, &f->ticket, e);
    return rc < 0 ? rc : devdraw_start(g, e);
}

/* While the next step is under way, logits are no longer there; nobody wants them then. */
int step_finish(struct rill_engine *g, struct err *e)
{
    struct flight *f = step_flight(g);
    bool left = false;
    int rc;

    if (f->ticket < 0)
        return 0;
    rc = g->coming || f->n_step ? 0 : finish(g, f->ticket, e);
    rc = rc < 0 ? rc : devdraw_finish(g, &left, e);
    if (rc < 0 || g->coming)
        return rc;
    if ((!f->far || left) && (rc = fetch(g, e)) < 0)
        return rc;
    if (g->dump)
        dump(g);
    if (g->columns)
        columns_step(g);
    return 0;
}

int step_run(struct rill_engine *g, struct err *e)
{
    int ticket, rc = start(g, &ticket, e);

    rc = rc < 0 ? rc : finish(g, ticket, e);
    return rc < 0 ? rc : fetch(g, e);
}

struct sampler_in step_sampler(const struct rill_engine *g, const struct request *r,
                               const float *row, int n)
{
    return (struct sampler_in){
        .sampling = &r->sampling,
        .logits = row,
        .history = r->ids,
        .n = n,
        .n_prompt = r->n_prompt,
        .seed = r->seed,
        .choice = (uint32_t)r->choice,
        .ban = g->end_ids,
        .breaker = r->breaker,
        .n_ban = n - r->n_prompt < r->min_tokens ? g->n_end : 0,
    };
}

const float *step_logits(const struct rill_engine *g, int out)
{
    const char *base = g->logits ? (const char *)g->logits
                                 : (const char *)g->seg.arena.p + g->now->at[g->now->plan->logits];

    return (const float *)(const void *)base + (int64_t)out * g->plan->value[g->plan->logits].cols;
}

static struct op_cost cost_of(const struct plan *p, int n_t, int n_s, int64_t n_pos)
{
    struct op_cost sum = {0, 0};

    for (int i = 0; i < p->n_op; i++) {
        const struct op_cost c = op_cost(p, &p->op[i], n_t, n_s, n_pos);

        sum.flops += c.flops;
        sum.bytes += c.bytes;
    }
    return sum;
}

/* A first guess of what a unit can do, put right by what steps are measured to take. */
#define BYTES_PER_SECOND 1e10
#define FLOPS_PER_UNIT   2e10

void step_cost_init(struct rill_engine *g, int units)
{
    const double flops = FLOPS_PER_UNIT * (units > 0 ? units : 1);
    const struct op_cost one = cost_of(g->plan, 1, 1, 0), many = cost_of(g->plan, 65, 1, 0);

    g->cost_bytes = one.bytes / BYTES_PER_SECOND;
    g->cost_row = (many.flops - one.flops) / 64 / flops;
    g->cost_pos = (cost_of(g->plan, 1, 1, 1000).flops - one.flops) / 1000 / flops;
    g->seconds_per_cost = 1;
}

static double guess_of(const struct rill_engine *g, const struct batch *b)
{
    const int n = b->n_p + b->n_g;
    double guess = n ? g->cost_bytes : 0;

    for (int i = 0; i < n; i++)
        guess += g->cost_row + g->cost_pos * (b->see ? b->see[i] : b->pos[i]);
    return guess;
}

/* Steps differ, so the measure moves slowly; a single slow step changes it by at most a quarter. */
static void learn(struct rill_engine *g, double guess, double seconds)
{
    if (guess > 0 && seconds > 0) {
        double ratio = seconds / guess;

        if (g->stats.steps > 0 && ratio > 2 * g->seconds_per_cost)
            ratio = 2 * g->seconds_per_cost;
        g->seconds_per_cost += (ratio - g->seconds_per_cost) * (g->stats.steps ? 0.25 : 1);
    }
}

static struct op_cost batch_cost(const struct plan *p, const struct batch *b)
{
    const int n = b->n_p + b->n_g;
    int64_t n_pos = 0;

    for (int i = 0; i < b->n_seq; i++)
        n_pos += b->seqs[i].len;
    return n ? cost_of(p, n, b->n_out, n_pos) : (struct op_cost){0, 0};
}

void step_measure(struct rill_engine *g)
{
    const struct batch *apart = g->embed && !g->coming ? embed_batch(g->embed) : NULL;
    struct flight *f = step_flight(g);

    f->cost = batch_cost(g->plan, &g->batch);
    f->guess = guess_of(g, &g->batch);
    f->n_p = g->batch.n_p;
    if (apart) {
        const struct op_cost more = batch_cost(g->plan, apart);

        f->cost.bytes += more.bytes;
        f->cost.flops += more.flops;
        f->guess += guess_of(g, apart);
        f->n_p += apart->n_p;
    }
}

void step_count(struct rill_engine *g, double seconds)
{
    const struct flight *f = step_flight(g);

    if (f->n_step && devdraw_id(g, 0) == DRAW_NONE)
        return;
    learn(g, f->guess, seconds);
    g->stats.steps++;
    g->stats.prompt_rows += (uint64_t)f->n_p;
    g->stats.bytes += (uint64_t)f->cost.bytes;
    if (f->n_p) {
        g->stats.prompt_seconds += seconds;
        g->stats.prompt_flops += f->cost.flops;
    } else {
        g->stats.decode_seconds += seconds;
        g->stats.decode_bytes += (uint64_t)f->cost.bytes;
        g->stats.decode_flops += f->cost.flops;
    }
}
