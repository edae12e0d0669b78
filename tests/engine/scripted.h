/* scripted.h - a backend whose logits follow a rule instead of weights, so that everything above
 * a plan can be tested without any.
 *
 * The rule: behind position pos comes token (5 * sum + pos) mod V, where sum adds id * (place + 1)
 * over the sequence; its logit is 4, the others' 0. Ids are read back through the key/value pages,
 * so a wrong page table shows as a wrong token.
 */
#ifndef RILL_TESTS_ENGINE_SCRIPTED_H
#define RILL_TESTS_ENGINE_SCRIPTED_H

#include <math.h>

#include "base/mem.h"
#include "engine/engine.h"
#include "engine/public.h"
#include "tests/suite.h"

enum { SCRIPT_V = 64, SCRIPT_PAGE = 1024 };

struct dev {
    int runs;
    int fail_at;    // run that fails, 0: none
    int nan_pos;    // position whose logits are NaN, -1: none
    int max_rows;   // most rows in a run
    int mixed;      // runs with prompt and generated rows
};

static int32_t script_next(int64_t sum, int32_t pos)
{
    return (int32_t)((sum * 5 + pos) % SCRIPT_V);
}

static void script_info(const struct dev *d, struct dev_info *out)
{
    (void)d;
    *out = (struct dev_info){.name = "script", .bytes_free = 64 << 20, .units = 1, .host = true};
}

static int script_mem(struct dev *d, uint64_t n, enum mem_kind k, void *host, struct mem *out,
                      struct err *e)
{
    (void)d;
    (void)host;
    *out = (struct mem){.p = mem_aligned(n, 64, e), .bytes = n, .kind = (uint8_t)k, .host = true};
    return out->p ? 0 : E_NOMEM;
}

static void script_unmem(struct dev *d, struct mem *m)
{
    (void)d;
    mem_free(m->p);
}

static int script_copy(struct dev *d, struct mem to, uint64_t at, struct mem from, uint64_t from_at,
                       uint64_t n)
{
    (void)d;
    memcpy((char *)to.p + at, (const char *)from.p + from_at, n);
    return 0;
}

static int script_prepare(struct dev *d, struct segment *s, struct err *e)
{
    (void)e;
    s->impl = s->from < s->to ? d : NULL;
    return 0;
}

static int32_t *script_cell(const struct segment *s, int32_t slot, int32_t pos)
{
    const int32_t *table = s->kv.table.p;
    int32_t kib = table[slot * s->kv.max_page + pos / KV_PAGE];

    ck_assert_int_gt(kib, 0);
    return (int32_t *)((char *)s->kv.pool.p + (int64_t)kib * 1024) + pos % KV_PAGE;
}

static int script_run(struct dev *d, struct segment *s, const struct batch *b)
{
    float *logits = (float *)(void *)((char *)s->arena.p + s->at[0]);
    int rows = b->n_p + b->n_g;

    ck_assert_int_le(rows, s->max_t);
    ck_assert_int_le(b->n_out, s->max_s);
    d->max_rows = rows > d->max_rows ? rows : d->max_rows;
    d->mixed += b->n_p > 0 && b->n_g > 0;
    if (++d->runs == d->fail_at)
        return -1;
    for (int i = 0; i < rows; i++)
        *script_cell(s, b->seqs[b->seq[i]].slot, b->pos[i]) = b->id[i];
    for (int i = 0; i < b->n_out; i++) {
        int row = b->out[i];
        int64_t sum = 0;

        for (int p = 0; p <= b->pos[row]; p++)
            sum += *script_cell(s, b->seqs[b->seq[row]].slot, p) * (p + 1);
        for (int v = 0; v < SCRIPT_V; v++)
            logits[i * SCRIPT_V + v] = d->nan_pos == b->pos[row] ? NAN : 0;
        logits[i * SCRIPT_V + script_next(sum, b->pos[row])] += 4;
    }
    return 0;
}

static int script_wait(struct dev *d, int ticket)
{
    (void)d;
    return ticket;
}

static const struct backend script_backend = {
    .name = "script",
    .info = script_info,
    .mem = script_mem,
    .unmem = script_unmem,
    .copy = script_copy,
    .prepare = script_prepare,
    .run = script_run,
    .wait = script_wait,
};

/* A model of one value, the logits, with one group of pages and a vocabulary "<00>" to "<63>";
 * one token ends a text. */
struct script {
    struct rill_model model;
    struct dev dev;
    struct plan plan;
    struct value value;
    struct kv_group group;
    struct tok *tok;
};

static inline void script_open(struct script *s, int n_ctx, int32_t eos)
{
    static char text[SCRIPT_V][8];
    struct slice piece[SCRIPT_V];
    struct tok_spec spec;
    struct err e = {0};

    tok_spec_init(&spec);
    for (int i = 0; i < SCRIPT_V; i++) {
        snprintf(text[i], sizeof text[i], "<%02u>", (unsigned)i % 100);
        piece[i] = slice_of(text[i]);
    }
    spec.model = TOK_SPM;
    spec.n = SCRIPT_V;
    spec.piece = piece;
    spec.role[TOK_EOS] = eos;
    *s = (struct script){.dev = {.nan_pos = -1}};
    ck_ok(tok_new(&s->tok, &spec, &e), &e);
    s->value = (struct value){.rows = ROWS_S, .cols = SCRIPT_V};
    s->group = (struct kv_group){.n_layer = 1, .bytes = SCRIPT_PAGE};
    s->plan = (struct plan){.value = &s->value,
                            .n_value = 1,
                            .group = &s->group,
                            .n_group = 1,
                            .granule = 1,
                            .n_ctx = n_ctx};
    s->model = (struct rill_model){.be = &script_backend,
                                   .dev = &s->dev,
                                   .plan = &s->plan,
                                   .tok = s->tok,
                                   .path = "script"};
}

static inline void script_close(struct script *s)
{
    tok_free(s->tok);
}

/* What the rule gives after a prompt: n tokens into out. */
static inline void script_expect(const int32_t *ids, int n_ids, int n, int32_t *out)
{
    int64_t sum = 0;

    for (int i = 0; i < n_ids; i++)
        sum += ids[i] * (i + 1);
    for (int k = 0; k < n; k++) {
        int pos = n_ids + k - 1;

        out[k] = script_next(sum, pos);
        sum += out[k] * (pos + 2);
    }
}

#endif
