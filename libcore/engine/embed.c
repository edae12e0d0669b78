/* embed.c - see embed.h. */
#include "engine/embed.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "engine/seats.h"
#include "engine/step.h"

struct embedder {
    struct plan *head; // owned, of a model with logits; NULL: the model's plan as it is
    const struct plan *plan;
    struct segment seg;
    uint64_t *at; // [n_value]
    struct batch batch;
    int32_t *id, *row_seq, *pos, *see, *type, *out; // [max rows]
    struct seq_in *seqs;                            // [max_seq]
    float *rows;   // [max rows x width] those of the last run that were wanted
    float *scores; // [max rows x n_score]
    int at_row;    // the next of them to be taken
    int width, n_score;
};

/* -- opening -- */

static int take_arrays(struct embedder *m, int max_rows, int max_seq, struct err *e)
{
    int32_t **const array[] = {&m->id, &m->row_seq, &m->pos, &m->see, &m->type, &m->out};
    const uint64_t n = (uint64_t)max_rows;

    for (size_t i = 0; i < ARRAY_LEN(array); i++)
        if (!(*array[i] = mem_array(n, sizeof **array[i], e)))
            return E_NOMEM;
    m->at = mem_array((uint64_t)m->plan->n_value, sizeof *m->at, e);
    m->seqs = mem_array((uint64_t)max_seq, sizeof *m->seqs, e);
    m->rows = mem_array(n * (uint64_t)m->width, sizeof *m->rows, e);
    m->scores = mem_array(n * (uint64_t)m->n_score, sizeof *m->scores, e);
    return m->at && m->seqs && m->rows && m->scores ? 0 : E_NOMEM;
}

int embed_open(struct embedder **out, const struct rill_engine *g, int max_rows, int max_seq,
               struct err *e)
{
    const struct plan *p = g->plan;
    struct embedder *m;
    int rc = 0;

    if (p->hidden < 0)
        return err_set(e, E_UNSUPPORTED, "%s: the model has no rows to make vectors of",
                       g->model->path);
    m = mem_new(sizeof *m, e);
    if (!m)
        return E_NOMEM;
    *out = m;
    if (!p->encoder)
        rc = plan_head(&m->head, p, e);
    if (rc < 0)
        return rc;
    m->plan = m->head ? m->head : p;
    m->width = p->value[p->hidden].cols;
    m->n_score = m->plan->logits >= 0 ? p->value[m->plan->logits].cols : 0;
    m->seg = (struct segment){
        .plan = m->plan, .to = m->plan->n_op, .max_t = max_rows, .max_s = max_rows};
    return take_arrays(m, max_rows, max_seq, e);
}

void embed_close(struct rill_engine *g)
{
    struct embedder *m = g->embed;

    if (!m)
        return;
    m->seg.to = m->seg.from;
    if (m->seg.impl)
        g->be->prepare(g->dev, &m->seg, NULL);
    plan_free(m->head);
    mem_free(m->at);
    mem_free(m->id);
    mem_free(m->row_seq);
    mem_free(m->pos);
    mem_free(m->see);
    mem_free(m->type);
    mem_free(m->out);
    mem_free(m->seqs);
    mem_free(m->rows);
    mem_free(m->scores);
    mem_free(m);
    g->embed = NULL;
}

uint64_t embed_arena(const struct embedder *m)
{
    return plan_arena(m->plan, m->seg.max_t, m->seg.max_s, m->at);
}

int embed_prepare(struct rill_engine *g, struct err *e)
{
    struct embedder *m = g->embed;

    m->seg.at = m->at;
    m->seg.arena = g->seg.arena;
    m->seg.kv = g->seg.kv;
    return g->be->prepare(g->dev, &m->seg, e);
}

struct segment *embed_segment(struct embedder *m)
{
    return &m->seg;
}

const struct batch *embed_batch(const struct embedder *m)
{
    return &m->batch;
}

/* -- a step -- */

/* Whether the row at a position is one that the vector is made of, and was not taken before. */
static bool wanted(const struct request *r, int32_t pos)
{
    switch (r->embed) {
    case RILL_EMBED_CLS:
    case RILL_EMBED_RANK:
        return pos == 0 && r->told == 0;
    case RILL_EMBED_LAST:
        return pos == r->n - 1;
    default:
        return pos >= r->told;
    }
}

static void add_part(struct embedder *m, const struct request *r, int rows)
{
    struct batch *b = &m->batch;

    for (int i = 0; i < rows; i++) {
        const int32_t row = b->n_p + i, pos = r->stored + i;

        m->id[row] = r->ids[pos];
        m->row_seq[row] = b->n_seq;
        m->pos[row] = pos;
        m->see[row] = r->whole ? r->n - 1 : pos;
        m->type[row] = r->types ? r->types[pos] : 0;
        if (wanted(r, pos))
            m->out[b->n_out++] = row;
    }
    m->seqs[b->n_seq++] = (struct seq_in){.slot = r->seq,
                                          .len = r->stored + rows,
                                          .state_read = r->stored ? r->seq : -1,
                                          .state_write = r->seq};
    b->n_p += rows;
}

/* The rows of a value, from the device. */
static int fetch(const struct rill_engine *g, const struct embedder *m, int value, float *to)
{
    struct mem host = {.p = to, .kind = MEM_HOST, .host = true};

    host.bytes = (uint64_t)m->batch.n_out * (uint64_t)m->plan->value[value].cols * sizeof *to;
    return host.bytes ? g->be->copy(g->dev, host, 0, m->seg.arena, m->at[value], host.bytes) : 0;
}

int embed_run(struct rill_engine *g, struct err *e)
{
    struct embedder *m = g->embed;
    struct batch *b = &m->batch;
    int ticket;

    *b = (struct batch){.id = m->id,
                        .seq = m->row_seq,
                        .pos = m->pos,
                        .see = m->plan->encoder ? m->see : NULL,
                        .type = m->type,
                        .seqs = m->seqs,
                        .out = m->out};
    m->at_row = 0;
    for (int i = 0; i < g->pick.n_part; i++)
        if (g->req[g->pick.part[i].req]->embed)
            add_part(m, g->req[g->pick.part[i].req], g->pick.part[i].rows);
    if (b->n_seq == 0)
        return 0;
    if (seats_copies(g) < 0)
        return err_set(e, E_DEVICE, "the device failed to copy keys and values");
    step_tables(g);
    ticket = g->be->run(g->dev, &m->seg, b);
    if (ticket < 0 || g->be->wait(g->dev, ticket) < 0)
        return err_set(e, E_DEVICE, "the device failed in a step of %d rows", b->n_p);
    if (fetch(g, m, m->plan->hidden, m->rows) < 0 ||
        (m->n_score && fetch(g, m, m->plan->logits, m->scores) < 0))
        return err_set(e, E_DEVICE, "the device failed to give back rows");
    return 0;
}

/* -- pooling -- */

/* Divided by its length, unless that is 0 or r wants it as it is. False: not of numbers. Sums are
 * in order of columns and in double, so they depend on the vector alone. */
static bool finish_vector(const struct request *r, float *v, int n)
{
    double sum = 0;

    for (int i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[i];
    if (!isfinite(sum))
        return false;
    for (int i = 0; i < n && sum > 0 && !r->raw_vector && r->embed != RILL_EMBED_RANK; i++)
        v[i] = (float)((double)v[i] / sqrt(sum));
    return true;
}

static void tell(struct rill_engine *g, struct request *r, float *v, int n, int pos)
{
    if (!finish_vector(r, v, n)) {
        request_fail(r, E_NUMERIC, "request %d, position %d: the vector is not of numbers",
                     r->number, pos);
        return;
    }
    g->event[g->n_event++] = (struct rill_event){
        .request = r->number,
        .kind = RILL_VECTOR,
        .id = r->ids[pos],
        .pos = pos,
        .text = "",
        .vector = v,
        .n_vector = n,
        .user = r->user,
    };
}

static void take_row(struct rill_engine *g, struct request *r, int pos)
{
    struct embedder *m = g->embed;
    float *row = m->rows + (int64_t)m->at_row * m->width;
    const float *scores = m->scores + (int64_t)m->at_row * m->n_score;

    m->at_row++;
    switch (r->embed) {
    case RILL_EMBED_NONE:
        if (!r->finish)
            tell(g, r, row, m->width, pos);
        break;
    case RILL_EMBED_MEAN:
        for (int i = 0; i < m->width; i++)
            r->sum[i] += (double)row[i];
        break;
    case RILL_EMBED_RANK:
        memcpy(r->vector, scores, (size_t)m->n_score * sizeof *scores);
        break;
    default:
        memcpy(r->vector, row, (size_t)m->width * sizeof *row);
        break;
    }
}

void embed_take(struct rill_engine *g, struct request *r, int rows)
{
    const struct embedder *m = g->embed;

    for (int pos = r->stored - rows; pos < r->stored; pos++)
        if (wanted(r, pos))
            take_row(g, r, pos);
    r->told = r->stored > r->told ? r->stored : r->told;
    if (r->stored < r->n || r->finish)
        return;
    for (int i = 0; i < m->width && r->embed == RILL_EMBED_MEAN; i++)
        r->vector[i] = (float)(r->sum[i] / r->n);
    if (r->embed != RILL_EMBED_NONE)
        tell(g, r, r->vector, r->embed == RILL_EMBED_RANK ? m->n_score : m->width, r->n - 1);
    if (!r->finish)
        request_end(r, RILL_STOP);
}
