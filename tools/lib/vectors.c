/* vectors.c - see vectors.h. */
#include "tools/lib/vectors.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

/* A record that is worked on, or waits for those before it. */
struct place {
    uint64_t number;
    struct buf out;
    size_t n_ids;
    int n_vector; // so far
    bool done;
    int code; // of a failure
    char message[160];
};

struct vectors {
    struct rill_engine *g;
    const struct vectors_opts *o;
    struct rill_model_info info;
    struct slice prompt;
    struct records *in;
    struct buf text;      // of the record
    struct place *place;  // [cap], a ring
    uint64_t first, next; // records printed and read
    uint64_t cap;
    bool end;
};

/* -- tokens -- */

/* The tokens of a record. */
struct ids {
    int32_t *ids;
    unsigned char *types; // of a pair, or NULL
    size_t n;
};

static int pair_of(const struct vectors *v, struct slice first, struct slice second, unsigned flags,
                   struct ids *out, struct err *e)
{
    return rill_tokenize_pair(v->o->model, first.p, first.n, second.p, second.n,
                              flags | RILL_ADD_SPECIAL, &out->ids, &out->types, &out->n, e);
}

/* What one record is made of. */
static int tokens(const struct vectors *v, struct slice text, struct ids *out, struct err *e)
{
    const unsigned flags = v->o->special ? RILL_PARSE_SPECIAL : 0;
    const char *tab;

    if (v->o->embed != RILL_EMBED_RANK)
        return rill_tokenize(v->o->model, text.p, text.n, flags | RILL_ADD_SPECIAL, &out->ids,
                             &out->n, e);
    if (v->o->has_query)
        return pair_of(v, v->prompt, text, flags, out, e);
    tab = text.n ? memchr(text.p, '\t', text.n) : NULL;
    if (!tab)
        return err_set(e, E_FORMAT, "a pair is a query, a tab and a document");
    return pair_of(v, (struct slice){text.p, (size_t)(tab - text.p)},
                   (struct slice){tab + 1, text.n - (size_t)(tab - text.p) - 1}, flags, out, e);
}

/* -- reading -- */

/* 1: a record in v->text; 0: there is none; negative. */
static int next_record(struct vectors *v, struct err *e)
{
    const bool before = v->prompt.n && !(v->o->embed == RILL_EMBED_RANK && v->o->has_query);
    struct slice record;
    int rc;

    buf_clear(&v->text);
    if (before)
        buf_slice(&v->text, v->prompt);
    if (!v->in)
        return v->next == 0;
    rc = records_next(v->in, &record, e);
    if (rc <= 0)
        return rc;
    if (before)
        buf_byte(&v->text, '\n');
    buf_slice(&v->text, record);
    return v->text.bad ? err_nomem(e, v->text.n) : 1;
}

/* What is wrong with a record names it, if there is more than one. */
static int blame(const struct vectors *v, uint64_t number, struct err *e)
{
    char which[32];
    const int code = e->code;

    snprintf(which, sizeof which, "record %llu", (unsigned long long)number + 1);
    if (v->in)
        err_prefix(e, which);
    return code;
}

static int submit(struct vectors *v, struct err *e)
{
    struct place *p = &v->place[v->next % v->cap];
    struct ids ids = {0};
    struct rill_request q = {.embed = v->o->embed, .raw_vector = v->o->raw, .user = p};
    int number;
    int rc = tokens(v, buf_view(&v->text), &ids, e);

    if (rc == 0) {
        buf_clear(&p->out);
        *p = (struct place){.number = v->next, .out = p->out, .n_ids = ids.n};
        q.ids = ids.ids;
        q.n_ids = ids.n;
        q.types = ids.types;
        rc = rill_engine_submit(v->g, &q, &number, e);
    }
    rill_free(ids.ids);
    rill_free(ids.types);
    if (rc < 0)
        return blame(v, v->next, e);
    v->next++;
    return 0;
}

/* Reads while there are places, but waits for input only when nothing else is to be done. */
static int fill(struct vectors *v, struct err *e)
{
    int rc;

    while (!v->end && v->next - v->first < v->cap) {
        if (v->in && v->next > v->first && !records_ready(v->in))
            return 0;
        rc = next_record(v, e);
        if (rc < 0)
            return rc;
        if (rc == 0)
            v->end = true;
        else if ((rc = submit(v, e)) < 0)
            return rc;
    }
    return 0;
}

/* -- writing -- */

static void put_f32(struct buf *out, const float *x, int n)
{
    for (int i = 0; i < n; i++) {
        uint32_t bits;

        memcpy(&bits, &x[i], sizeof bits);
        for (int k = 0; k < 4; k++)
            buf_byte(out, (uint8_t)(bits >> 8 * k));
    }
}

static void put_numbers(struct buf *out, const float *x, int n)
{
    buf_byte(out, '[');
    for (int i = 0; i < n; i++)
        buf_printf(out, i ? ",%.9g" : "%.9g", (double)x[i]);
    buf_byte(out, ']');
}

static void put_vector(const struct vectors *v, struct place *p, const struct rill_event *ev)
{
    const bool list = v->o->embed == RILL_EMBED_NONE ||
                      (v->o->embed == RILL_EMBED_MODEL && v->info.pooling == RILL_EMBED_NONE);

    if (v->o->f32) {
        put_f32(&p->out, ev->vector, ev->n_vector);
        return;
    }
    if (list)
        buf_byte(&p->out, p->n_vector ? ',' : '[');
    if (v->o->embed == RILL_EMBED_RANK && ev->n_vector == 1)
        buf_printf(&p->out, "%.9g", (double)ev->vector[0]);
    else
        put_numbers(&p->out, ev->vector, ev->n_vector);
    p->n_vector++;
    if (list && ev->pos + 1 == (int)p->n_ids)
        buf_byte(&p->out, ']');
}

static int print(const struct vectors *v, const struct place *p, struct err *e)
{
    if (p->out.bad)
        return err_nomem(e, p->out.n);
    if (v->o->f32) {
        fwrite(p->out.p, 1, p->out.n, stdout);
    } else if (v->o->json) {
        bool rank = v->o->embed == RILL_EMBED_RANK;

        printf("{\"object\":\"%s\",\"index\":%llu,\"%s\":%s,\"prompt_tokens\":%zu}\n",
               rank ? "score" : "embedding", (unsigned long long)p->number,
               rank ? "score" : "embedding", buf_view(&p->out).p, p->n_ids);
    } else {
        fwrite(p->out.p, 1, p->out.n, stdout);
        putchar('\n');
    }
    return 0;
}

/* What is finished, as far as all before it is. */
static int flush(struct vectors *v, struct err *e)
{
    int rc = 0;

    while (rc == 0 && v->first < v->next && v->place[v->first % v->cap].done) {
        const struct place *p = &v->place[v->first % v->cap];

        if (p->code < 0) {
            err_set(e, p->code, "%s", p->message);
            return blame(v, p->number, e);
        }
        rc = print(v, p, e);
        v->first++;
    }
    fflush(stdout);
    return rc;
}

static int step(struct vectors *v, struct err *e)
{
    struct rill_event ev[64];
    int n = rill_engine_step(v->g, ev, 64, e);

    for (int i = 0; i < n; i++) {
        struct place *p = ev[i].user;

        if (ev[i].kind == RILL_VECTOR)
            put_vector(v, p, &ev[i]);
        if (ev[i].kind != RILL_DONE)
            continue;
        p->done = true;
        if (ev[i].finish == RILL_FAILED) {
            p->code = ev[i].code;
            snprintf(p->message, sizeof p->message, "%s", ev[i].message);
        }
    }
    return n < 0 ? n : 0;
}

int vectors_run(struct rill_engine *g, const struct vectors_opts *o, struct records *in,
                struct slice prompt, struct err *e)
{
    struct vectors v = {
        .g = g, .o = o, .prompt = prompt, .in = in, .cap = 2 * (uint64_t)o->parallel};
    struct err first = {0}, *why = &first;
    int rc = 0, bad = 0;

    rill_model_info(o->model, &v.info);
    v.place = mem_array(v.cap, sizeof *v.place, e);
    if (!v.place)
        return E_NOMEM;
    while (rc == 0 && !tool_interrupted() && !ferror(stdout)) {
        if (bad == 0 && (bad = fill(&v, why)) < 0)
            v.end = true; // what came before is answered still
        if (v.end && v.first == v.next)
            break;
        rc = step(&v, e);
        rc = rc < 0 ? rc : flush(&v, e);
    }
    if (rc == 0 && bad < 0) {
        *e = first;
        rc = bad;
    }
    for (uint64_t i = 0; i < v.cap; i++)
        buf_fini(&v.place[i].out);
    mem_free(v.place);
    buf_fini(&v.text);
    return rc;
}
