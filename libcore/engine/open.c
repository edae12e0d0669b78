/* open.c - an engine made and unmade: memory sized and taken, once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "engine/adapt.h"
#include "engine/devdraw.h"
#include "engine/draft.h"
#include "engine/embed.h"
#include "engine/engine.h"
#include "engine/step.h"
#include "plan/ops.h"

#define MAX_BATCH 65536
#define MAX_DRAFT 64
#define DRAFT     8 // tokens proposed by a smaller model, unless told otherwise
/* Rows with logits a step can give at least: prompt rows that want them come in chunks of this. */
#define LEAST_OUT 16
/* Steps of waiting that count as one level of priority. */
#define PATIENCE 2000

void engine_rows(struct engine_sizes *s)
{
    if (s->max_seq == 0)
        s->max_seq = 8;
    if (s->max_batch == 0)
        s->max_batch = 512;
    if (s->max_batch < s->max_seq)
        s->max_batch = s->max_seq;
    if (s->max_out < s->max_seq * (1 + s->max_draft))
        s->max_out = s->max_seq * (1 + s->max_draft);
    if (s->max_out < LEAST_OUT)
        s->max_out = LEAST_OUT;
    if (s->max_batch < s->max_out && s->max_draft)
        s->max_batch = s->max_out; // everyone's proposals fit into a step
    if (s->max_out > s->max_batch)
        s->max_out = s->max_batch;
    s->n_state = s->max_seq;
    s->n_spare = s->max_draft ? s->max_seq : 0;
}

/* How much key/value memory, and so how long a context: what was asked for, or what max_seq full
 * sequences need, at most half of what is free. A context that then fits no single sequence is
 * made shorter, unless it was asked for. */
static int size_up(const struct rill_model *m, const struct rill_engine_opts *o,
                   struct engine_sizes *s, struct err *e)
{
    const struct plan *p = m->plan;
    struct dev_info info;
    uint64_t most;

    *s = (struct engine_sizes){.max_seq = o->max_seq,
                               .max_batch = o->max_batch,
                               .max_draft = o->max_draft == 0 && o->draft ? DRAFT : o->max_draft,
                               .max_out = o->max_logits,
                               .n_ctx = p->n_ctx};
    if (o->max_logits < 0 || o->max_logits > MAX_BATCH)
        return err_set(e, E_RANGE, "%d rows with logits: must be 0 to %d", o->max_logits,
                       MAX_BATCH);
    if (o->max_draft < 0 || o->max_draft > MAX_DRAFT)
        return err_set(e, E_RANGE, "%d tokens proposed ahead: must be 0 to %d", o->max_draft,
                       MAX_DRAFT);
    if (o->max_seq < 0 || o->max_seq > ENGINE_MAX_SEQ)
        return err_set(e, E_RANGE, "%d sequences: must be 1 to %d", o->max_seq, ENGINE_MAX_SEQ);
    if (o->max_batch < 0 || o->max_batch > MAX_BATCH)
        return err_set(e, E_RANGE, "%d rows in a step: must be 1 to %d", o->max_batch, MAX_BATCH);
    if (o->n_ctx < 0 || o->n_ctx > p->n_ctx)
        return err_set(e, E_RANGE, "a context of %d: the model was opened for %d", o->n_ctx,
                       p->n_ctx);
    engine_rows(s);
    if (o->n_ctx)
        s->n_ctx = o->n_ctx;
    m->be->info(m->dev, &info);
    most = o->kv_bytes ? o->kv_bytes : info.bytes_free / 2;
    s->kv = kv_bytes_for(p->group, p->n_group, s->max_seq, s->n_ctx, s->max_batch);
    if (s->kv > most || o->kv_bytes)
        s->kv = most;
    while (!o->n_ctx && s->n_ctx > 256 &&
           kv_bytes_for(p->group, p->n_group, 1, s->n_ctx, s->max_batch) > s->kv)
        s->n_ctx -= s->n_ctx / 8;
    return 0;
}

static int take_memory(struct rill_engine *g, const struct engine_sizes *s, struct err *e)
{
    struct kv_bind *kv = &g->seg.kv;
    const struct plan *p = g->plan;
    const struct kv_opts o = {.group = p->group,
                              .n_group = p->n_group,
                              .bytes = s->kv,
                              .max_seq = s->max_seq,
                              .max_pos = s->n_ctx,
                              .max_rows = s->max_batch,
                              .n_state = p->state_bytes ? s->n_state : -1,
                              .cache = g->cache,
                              .seed = rng_bits(g->lim.seed, 1, (uint64_t)(uintptr_t)g, 0)};
    uint64_t table;
    int rc = kv_open(&g->pool, &o, e);

    if (rc < 0)
        return rc;
    kv_table(g->pool, &table);
    kv->max_seq = s->max_seq;
    kv->max_page = kv_max_page(g->pool);
    rc = g->be->mem(g->dev, s->kv, MEM_DEVICE, NULL, &kv->pool, e);
    rc = rc < 0 ? rc : g->be->mem(g->dev, table, MEM_DEVICE, NULL, &kv->table, e);
    if (rc == 0 && p->state_bytes)
        rc = g->be->mem(g->dev,
                        (uint64_t)p->state_bytes * (uint64_t)(s->max_seq + s->n_state + s->n_spare),
                        MEM_DEVICE, NULL, &kv->state, e);
    return rc;
}

/* apart: no two values share memory, so that all can be read after a step. */
static int take_arena(struct rill_engine *g, bool apart, struct err *e)
{
    const struct plan *p = g->plan;
    uint64_t bytes = p->encoder ? 0 : plan_arena(p, g->seg.max_t, g->seg.max_s, g->at);

    if (g->embed && embed_arena(g->embed) > bytes)
        bytes = embed_arena(g->embed);
    if (g->adapters && adapt_arena(g->adapters, &g->seg) > bytes)
        bytes = adapt_arena(g->adapters, &g->seg);
    if (apart) {
        bytes = 0;
        for (int i = 0; i < p->n_value; i++) {
            int64_t rows = plan_rows(p, p->value[i].rows, g->seg.max_t, g->seg.max_s);

            g->at[i] = bytes;
            bytes += ((uint64_t)rows * (uint64_t)p->value[i].cols * 4 + 63) & ~(uint64_t)63;
        }
    }
    return g->be->mem(g->dev, bytes, MEM_DEVICE, NULL, &g->seg.arena, e);
}

static int take_batch(struct rill_engine *g, const struct engine_sizes *s, struct err *e)
{
    uint64_t rows = (uint64_t)s->max_batch;
    struct dev_info info;

    g->id = mem_array(rows, sizeof *g->id, e);
    g->row_seq = mem_array(rows, sizeof *g->row_seq, e);
    g->pos = mem_array(rows, sizeof *g->pos, e);
    g->out = mem_array((uint64_t)g->seg.max_s, sizeof *g->out, e);
    g->seqs = mem_array((uint64_t)s->max_seq, sizeof *g->seqs, e);
    g->alike = mem_array((uint64_t)s->max_seq, sizeof *g->alike, e);
    g->at = mem_array((uint64_t)g->plan->n_value, sizeof *g->at, e);
    if (!g->id || !g->row_seq || !g->pos || !g->out || !g->seqs || !g->alike || !g->at)
        return E_NOMEM;
    g->be->info(g->dev, &info);
    if (info.host || g->plan->encoder)
        return 0;
    g->logits = mem_array((uint64_t)g->seg.max_s * (uint64_t)g->lim.n_vocab, sizeof *g->logits, e);
    return g->logits ? 0 : E_NOMEM;
}

static int take_swap(struct rill_engine *g, uint64_t bytes, struct err *e)
{
    const struct swap_device d = {.be = g->be,
                                  .dev = g->dev,
                                  .kv = &g->seg.kv,
                                  .pool = g->pool,
                                  .group = g->plan->group,
                                  .n_group = g->plan->n_group,
                                  .state_bytes = g->plan->state_bytes};

    return bytes ? swap_open(&g->swap, &d, bytes, e) : 0;
}

/* Tokens that have a text and logits: a file may have more of one than of the other. */
static int n_named(const struct rill_engine *g)
{
    const struct tok *t = g->lim.tok;

    if (!t || tok_count(t) > (uint32_t)g->lim.n_vocab)
        return t ? g->lim.n_vocab : 0;
    return (int)tok_count(t);
}

/* Tokens that end a generation, so that they can be forbidden for a while. */
static int find_ends(struct rill_engine *g, struct err *e)
{
    const struct tok *t = g->lim.tok;
    int n = 0;

    for (int i = 0; i < n_named(g); i++)
        n += tok_is_end(t, i);
    g->end_ids = mem_array((uint64_t)n, sizeof *g->end_ids, e);
    if (!g->end_ids)
        return E_NOMEM;
    for (int i = 0; i < n_named(g); i++)
        if (tok_is_end(t, i))
            g->end_ids[g->n_end++] = i;
    return 0;
}

/* DRY's usual sequence breakers: a newline, a colon, a quotation mark, an asterisk. */
static void find_breakers(struct rill_engine *g)
{
    static const struct rill_stop usual[] = {{"\n", 1}, {":", 1}, {"\"", 1}, {"*", 1}};

    sampler_breakers(g->work.breaker, g->lim.tok, n_named(g), usual, (int)ARRAY_LEN(usual));
}

static size_t longest_piece(const struct tok *t)
{
    size_t most = 0;

    for (uint32_t i = 0; t && i < tok_count(t); i++) {
        size_t n = tok_piece(t, (int32_t)i).n;

        most = n > most ? n : most;
    }
    return most;
}

/* Token ids there are: what logits are over, else the rows of the table. */
static int vocabulary(const struct plan *p)
{
    for (int i = 0; i < p->n_op && p->encoder; i++)
        if (p->op[i].kind == OP_embed)
            return (int)p->w[p->op[i].w[0]].rows;
    return p->value[p->logits].cols;
}

/* An encoder runs a text in one step, so a step has room for the longest. */
static int take_embedder(struct rill_engine *g, const struct rill_engine_opts *o,
                         const struct engine_sizes *s, struct err *e)
{
    struct rill_model_info info;
    int rows = s->max_batch;

    if (!o->embed && !g->plan->encoder)
        return 0;
    if (g->plan->encoder && rows < s->n_ctx)
        rows = s->n_ctx;
    rill_model_info(g->model, &info);
    g->lim.embed = true;
    g->lim.encoder = g->plan->encoder;
    g->lim.pooling = info.pooling;
    g->lim.n_score = info.n_score;
    g->lim.n_type = info.n_type;
    g->limits.max_apart = rows;
    if (g->plan->hidden >= 0)
        g->lim.width = g->plan->value[g->plan->hidden].cols;
    return embed_open(&g->embed, g, rows, s->max_seq, e);
}

/* The plans, once their memory is there. */
static int prepare(struct rill_engine *g, struct err *e)
{
    int rc = 0;

    g->seg.at = g->at;
    if (!g->plan->encoder)
        rc = g->be->prepare(g->dev, &g->seg, e);
    if (rc == 0 && g->adapters)
        rc = adapt_prepare(g, e);
    if (rc == 0 && g->embed)
        rc = embed_prepare(g, e);
    g->now = &g->seg;
    g->lim.one_path = g->plan->encoder || g->seg.one_path;
    return rc;
}

static double step_seconds(const struct rill_engine *g, const struct rill_engine_opts *o)
{
    struct dev_info info;

    g->be->info(g->dev, &info);
    return o->step_seconds >= 0 ? o->step_seconds : info.host ? 0.25 : 0.05;
}

static int start(struct rill_engine *g, const struct rill_engine_opts *o, struct err *e)
{
    const struct plan *p = g->plan;
    struct engine_sizes s = {0};
    int rc = size_up(g->model, o, &s, e);

    if (rc < 0)
        return rc;
    if (p->encoder && (o->max_lora || o->draft))
        return err_set(e, E_UNSUPPORTED, "%s: an encoder has no adapters and nothing to draft",
                       g->model->path);
    g->lim = (struct request_limits){.tok = g->model->tok,
                                     .n_ctx = s.n_ctx,
                                     .n_vocab = vocabulary(p),
                                     .max_piece = longest_piece(g->model->tok),
                                     .max_draft = s.max_draft,
                                     .seed = o->seed};
    g->seg.plan = p;
    g->seg.to = p->n_op;
    g->seg.max_t = s.max_batch;
    g->seg.max_s = s.max_out;
    g->lim.max_out = s.max_out;
    g->limits = (struct sched_limits){.max_rows = s.max_batch,
                                      .max_out = g->seg.max_s,
                                      .granule = p->granule > 0 ? p->granule : 1,
                                      .page = KV_PAGE,
                                      .patience = PATIENCE,
                                      .budget = step_seconds(g, o)};
    g->max_queue = o->max_queue;
    g->spare_state = s.max_seq + s.n_state;
    g->cache = !o->no_cache && !p->encoder;
    rc = take_batch(g, &s, e);
    rc = rc < 0 ? rc : take_memory(g, &s, e);
    if (rc == 0 && o->max_lora)
        rc = adapt_open(&g->adapters, g, o->max_lora, e);
    rc = rc < 0 ? rc : take_embedder(g, o, &s, e);
    rc = rc < 0 ? rc : take_arena(g, false, e);
    rc = rc < 0 ? rc : devdraw_open(&g->devdraw, g, e);
    rc = rc < 0 ? rc : sampler_work_init(&g->work, g->lim.n_vocab, s.n_ctx, e);
    rc = rc < 0 ? rc : take_swap(g, o->swap_bytes, e);
    rc = rc < 0 ? rc : find_ends(g, e);
    if (rc == 0)
        find_breakers(g);
    rc = rc < 0 ? rc : prepare(g, e);
    step_cost_init(g, g->model->info.units);
    if (rc == 0 && o->draft)
        rc = draft_open(g, o->draft, e);
    return rc;
}

int rill_engine_open(struct rill_engine **out, struct rill_model *m,
                     const struct rill_engine_opts *opts, struct err *e)
{
    static const struct rill_engine_opts none;
    struct rill_engine *g;
    int rc;

    if (!m->plan)
        return err_set(e, E_USAGE, "%s: opened for its vocabulary only", m->path);
    if (m->plan->logits < 0 && !m->plan->encoder)
        return err_set(e, E_UNSUPPORTED, "%s: the model has no output over a vocabulary", m->path);
    g = mem_new(sizeof *g, e);
    if (!g)
        return E_NOMEM;
    g->model = m;
    g->be = m->be;
    g->dev = m->dev;
    g->plan = m->plan;
    rc = start(g, opts ? opts : &none, e);
    if (rc < 0) {
        rill_engine_close(g);
        return rc;
    }
    *out = g;
    return 0;
}

static void drop_mem(struct rill_engine *g, struct mem *m)
{
    if (m->p)
        g->be->unmem(g->dev, m);
}

void rill_engine_close(struct rill_engine *g)
{
    if (!g)
        return;
    g->seg.to = g->seg.from;
    if (g->seg.impl)
        g->be->prepare(g->dev, &g->seg, NULL);
    for (int i = 0; i < g->n_req; i++)
        request_free(g->req[i]);
    adapt_close(g);
    embed_close(g);
    drop_mem(g, &g->seg.arena);
    drop_mem(g, &g->seg.kv.pool);
    drop_mem(g, &g->seg.kv.table);
    drop_mem(g, &g->seg.kv.state);
    swap_close(g->swap);
    corpus_free(g->corpus);
    draft_close(g->drafter);
    kv_close(g->pool);
    sampler_work_fini(&g->work);
    devdraw_close(g->devdraw);
    con_vocab_free(g->vocab);
    mem_free(g->steer_row);
    mem_free(g->mask);
    mem_free(g->end_ids);
    mem_free(g->req);
    mem_free(g->view);
    mem_free(g->pick.part);
    mem_free(g->pick.admit);
    mem_free(g->pick.evict);
    mem_free(g->pick.order);
    mem_free(g->pick.seen);
    for (int i = 0; i < 2; i++)
        mem_free(g->flight[i].part);
    mem_free(g->event);
    mem_free(g->id);
    mem_free(g->row_seq);
    mem_free(g->pos);
    mem_free(g->out);
    mem_free(g->seqs);
    mem_free(g->alike);
    mem_free(g->at);
    mem_free(g->logits);
    mem_free(g->dump_row);
    mem_free(g);
}

int rill_engine_draft(struct rill_engine *g, struct rill_model *m, struct err *e)
{
    if (g->n_req > 0)
        return err_set(e, E_BUSY, "a model that proposes tokens comes before the requests");
    if (!g->lim.max_draft)
        return err_set(e, E_USAGE, "a model that proposes tokens, where none may be proposed");
    return draft_open(g, m, e);
}

int rill_engine_corpus(struct rill_engine *g, const int32_t *ids, size_t n, struct err *e)
{
    if (n > INT32_MAX)
        return err_set(e, E_RANGE, "a corpus of %zu tokens: at most %d", n, INT32_MAX);
    corpus_free(g->corpus);
    g->corpus = NULL;
    return n ? corpus_new(&g->corpus, ids, (int)n, e) : 0;
}

int rill_engine_ctx(const struct rill_engine *g)
{
    return g->lim.n_ctx;
}

void engine_guard(struct rill_engine *g, bool on)
{
    g->guard = on;
}

/* "7" or "3-7"; NULL: all. */
static int parse_records(const struct rill_engine *g, const char *text, int *from, int *to,
                         struct err *e)
{
    char *end = NULL;
    long a = 0;
    long b = g->plan->n_op - 1;

    if (text) {
        a = b = strtol(text, &end, 10);
        if (end != text && *end == '-')
            b = strtol(end + 1, &end, 10);
        if (end == text || *end || a < 0 || b < a || b >= g->plan->n_op)
            return err_set(e, E_USAGE, "records '%s': must be N or N-M below %d", text,
                           g->plan->n_op);
    }
    *from = (int)a;
    *to = (int)b + 1;
    return 0;
}

/* Lays the values out again, so that none shares memory with another. */
static int set_apart(struct rill_engine *g, struct err *e)
{
    struct dev_info info;
    int rc;

    if (g->adapters)
        return err_set(e, E_UNSUPPORTED, "values cannot be dumped where there may be adapters");
    g->be->info(g->dev, &info);
    if (!info.host || g->embed)
        return err_set(e, E_UNSUPPORTED, "values of this %s cannot be dumped",
                       info.host ? "model or engine" : "device");
    drop_mem(g, &g->seg.arena);
    g->seg.arena = (struct mem){0};
    rc = take_arena(g, true, e);
    return rc < 0 ? rc : g->be->prepare(g->dev, &g->seg, e);
}

int rill_engine_columns(struct rill_engine *g, rill_columns_fn *fn, void *ctx, struct err *e)
{
    int rc = set_apart(g, e);

    if (rc == 0) {
        g->columns = fn;
        g->columns_ctx = ctx;
    }
    return rc;
}

int rill_engine_dump(struct rill_engine *g, const char *records, rill_dump_fn *fn, void *ctx,
                     struct err *e)
{
    const struct plan *p = g->plan;
    int64_t most = 0;
    int rc = parse_records(g, records, &g->dump_from, &g->dump_to, e);

    if (rc < 0)
        return rc;
    for (int i = 0; i < p->n_value; i++) {
        int64_t n = plan_rows(p, p->value[i].rows, g->seg.max_t, g->seg.max_s) * p->value[i].cols;

        most = n > most ? n : most;
    }
    g->dump_row = mem_array((uint64_t)most, sizeof *g->dump_row, e);
    if (!g->dump_row)
        return E_NOMEM;
    rc = set_apart(g, e);
    if (rc == 0) {
        g->dump = fn;
        g->dump_ctx = ctx;
    }
    return rc;
}
