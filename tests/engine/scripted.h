/* scripted.h - a backend whose logits follow a rule instead of weights, so that everything above a
 * plan can be tested without any.
 *
 * The rule: behind position pos comes token (5 * sum + pos) mod V, where sum adds id * (place + 1)
 * over the sequence, and 7 * (place + 3) for each row computed as a generated one; its logit is 4,
 * the others' 0 (or small ones that depend on sum, where `noise` is set). What was stored is read
 * back through the key/value pages, so a wrong page table, a page of another's, or a row computed
 * on the wrong path shows as a wrong token. A second group of pages has a window: what lies in it
 * must be the same. A recurrent model keeps the sum in its state instead.
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
    bool recurrent; // the sum comes from the state, pages are not read
    bool one_path;  // generated rows count like prompt rows
    bool noise;
    int wrong; // not 0: at multiples of this position the next token is another
    int walk;  // not 0: the next token is a walk with steps of this size, 60 long
    int runs;
    int fail_at;  // run that fails, 0: none
    int nan_pos;  // position whose logits are NaN, -1: none
    int max_rows; // most rows in a run
    int64_t rows; // in all runs
    int mixed;    // runs with prompt and generated rows
    uint64_t pinned; // bytes of host memory taken
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
    (void)host;
    d->pinned += k == MEM_PINNED ? n : 0;
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
    s->one_path = d->one_path;
    return 0;
}

static int32_t *script_cell(const struct segment *s, int g, int32_t slot, int32_t pos)
{
    const int32_t *table = s->kv.table.p;
    int32_t kib = table[((int64_t)g * s->kv.max_seq + slot) * s->kv.max_page + pos / KV_PAGE];

    if (kib <= 0) // ck_assert costs a system call each time
        ck_abort_msg("position %d of sequence %d has no page", pos, slot);
    return (int32_t *)((char *)s->kv.pool.p + (int64_t)kib * 1024) + pos % KV_PAGE;
}

/* What a row leaves behind: its id, and whether it was a generated one. */
static int32_t script_mark(const struct dev *d, const struct batch *b, int row)
{
    return b->id[row] + 1 + (row >= b->n_p && !d->one_path ? 1024 : 0);
}

static int64_t script_part(int32_t mark, int32_t pos)
{
    if (mark <= 0)
        ck_abort_msg("position %d was never stored", pos);
    return (int64_t)(mark % 1024 - 1) * (pos + 1) + (mark >= 1024 ? 7 * (pos + 3) : 0);
}

static int64_t *script_state(const struct segment *s, int32_t slot)
{
    return (int64_t *)(void *)((char *)s->kv.state.p +
                              (int64_t)slot * s->plan->state_bytes);
}

/* Sums up to each row, from the pages. Keys behind a window are as in the first group. */
static int64_t script_sum(const struct segment *s, int32_t slot, int32_t pos)
{
    int64_t sum = 0;

    for (int p = 0; p <= pos; p++)
        sum += script_part(*script_cell(s, 0, slot, p), p);
    for (int g = 1; g < s->plan->n_group; g++)
        for (int p = pos - s->plan->group[g].window + 1 < 0 ? 0
                                                            : pos - s->plan->group[g].window + 1;
             p <= pos; p++)
            if (*script_cell(s, g, slot, p) != *script_cell(s, 0, slot, p))
                ck_abort_msg("position %d differs behind a window", p);
    return sum;
}

static void script_logits(const struct dev *d, float *logits, int64_t sum, int32_t pos)
{
    int32_t next = d->walk ? (pos % 60) * d->walk % 61 : script_next(sum, pos);

    if (d->wrong && pos % d->wrong == 0)
        next = (next + 1) % SCRIPT_V;

    for (int v = 0; v < SCRIPT_V; v++)
        logits[v] = d->nan_pos == pos ? NAN
                    : d->noise        ? (float)((sum * 31 + v * 17 + pos) % 29) / 8
                                      : 0;
    logits[next] += 4;
}

static int script_run(struct dev *d, struct segment *s, const struct batch *b)
{
    float *logits = (float *)(void *)((char *)s->arena.p + s->at[0]);
    int rows = b->n_p + b->n_g;
    int out = 0;

    ck_assert_int_le(rows, s->max_t);
    ck_assert_int_le(b->n_out, s->max_s);
    d->max_rows = rows > d->max_rows ? rows : d->max_rows;
    d->mixed += b->n_p > 0 && b->n_g > 0;
    d->rows += rows;
    if (++d->runs == d->fail_at)
        return -1;
    for (int i = 0; i < rows; i++) {
        const struct seq_in *q = &b->seqs[b->seq[i]];

        for (int g = 0; g < s->plan->n_group; g++)
            *script_cell(s, g, q->slot, b->pos[i]) = script_mark(d, b, i);
    }
    for (int i = 0; i < rows; i++) {
        const struct seq_in *q = &b->seqs[b->seq[i]];
        int64_t sum = 0;

        if (d->recurrent) {
            bool first = i == 0 || b->seq[i - 1] != b->seq[i];
            int64_t *to = script_state(s, q->state_write);

            if (first)
                *to = q->state_read < 0 ? 0 : *script_state(s, q->state_read);
            *to += script_part(script_mark(d, b, i), b->pos[i]);
            sum = *to;
        }
        if (out == b->n_out || b->out[out] != i)
            continue;
        if (!d->recurrent)
            sum = script_sum(s, q->slot, b->pos[i]);
        script_logits(d, logits + out++ * SCRIPT_V, sum, b->pos[i]);
    }
    ck_assert_int_eq(out, b->n_out);
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
    struct kv_group group[2];
    struct tok *tok;
};

enum script_kind {
    SCRIPT_PLAIN,
    SCRIPT_WINDOW,    // a second group of pages with a window
    SCRIPT_RECURRENT, // a state, and pages as hybrid models have
    SCRIPT_STATE,     // a state alone
    SCRIPT_KINDS,
    SCRIPT_TIGHT, // large pages
    SCRIPT_HEAVY  // large pages and a large state
};
enum { SCRIPT_WIDTH = 70 }; // of the window
enum { SCRIPT_STATE_BYTES = 1 << 20 }; // of a large state

static inline void script_open_kind(struct script *s, int n_ctx, int32_t eos, int kind)
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
    s->group[0] = (struct kv_group){.n_layer = 1, .bytes = SCRIPT_PAGE};
    s->group[1] = (struct kv_group){.n_layer = 1, .bytes = 2 * SCRIPT_PAGE, .window = SCRIPT_WIDTH};
    if (kind == SCRIPT_TIGHT || kind == SCRIPT_HEAVY)
        s->group[0].bytes = 128 * SCRIPT_PAGE;
    s->dev.recurrent =
        kind == SCRIPT_RECURRENT || kind == SCRIPT_STATE || kind == SCRIPT_HEAVY;
    s->plan = (struct plan){.value = &s->value,
                            .n_value = 1,
                            .group = s->group,
                            .n_group = kind == SCRIPT_STATE    ? 0
                                       : kind == SCRIPT_WINDOW ? 2
                                                               : 1,
                            .granule = s->dev.recurrent ? 8 : 1,
                            .state_bytes = kind == SCRIPT_HEAVY   ? SCRIPT_STATE_BYTES
                                           : s->dev.recurrent ? 8
                                                              : 0,
                            .n_ctx = n_ctx};
    s->model = (struct rill_model){
        .be = &script_backend, .dev = &s->dev, .plan = &s->plan, .tok = s->tok, .path = "script"};
}

static inline void script_open(struct script *s, int n_ctx, int32_t eos)
{
    script_open_kind(s, n_ctx, eos, SCRIPT_PLAIN);
}

static inline void script_close(struct script *s)
{
    tok_free(s->tok);
}

/* What the rule gives after a prompt: n tokens into out. */
static inline void script_expect_on(bool one_path, const int32_t *ids, int n_ids, int n,
                                    int32_t *out)
{
    int64_t sum = 0;

    for (int i = 0; i < n_ids; i++)
        sum += ids[i] * (i + 1);
    for (int k = 0; k < n; k++) {
        int pos = n_ids + k - 1;

        out[k] = script_next(sum, pos);
        sum += script_part(out[k] + 1 + (one_path ? 0 : 1024), pos + 1);
    }
}

static inline void script_expect(const int32_t *ids, int n_ids, int n, int32_t *out)
{
    script_expect_on(false, ids, n_ids, n, out);
}

#endif
