/* runner.h - runs a model's plan on a device without an engine: one sequence, pages in order. */
#ifndef RILL_TESTS_RUNNER_H
#define RILL_TESTS_RUNNER_H

#include "tests/suite.h"

#include "base/mem.h"
#include "model/model.h"

enum { RUN_ROWS = 64, RUN_PAGES = 4, RUN_SLOTS = 2 };

struct runner {
    struct model *m;
    struct segment seg;
    uint64_t *at;
    int32_t done; // positions of the sequence
    int32_t slot; // where the recurrent state was left, -1: nowhere yet
    struct err e;
};

static inline void runner_bind(struct runner *r)
{
    const struct plan *p = r->m->plan;
    struct kv_bind *kv = &r->seg.kv;
    const struct backend *be = r->m->be;
    uint64_t at = 1024; // page 0: scratch
    const uint64_t entries = (uint64_t)(p->n_group + 1) * RUN_PAGES;
    int32_t *table = mem_array(entries, sizeof *table, &r->e);
    struct mem host = {.p = table, .bytes = entries * sizeof *table, .host = true};

    for (int g = 0; g < p->n_group; g++)
        at = p->group[g].bytes > at ? p->group[g].bytes : at;
    uint64_t first = at;
    for (int g = 0; g < p->n_group; g++)
        at += (uint64_t)RUN_PAGES * p->group[g].bytes;
    kv->max_seq = 1;
    kv->max_page = RUN_PAGES;
    ck_ok(be->mem(r->m->dev, at, MEM_DEVICE, NULL, &kv->pool, &r->e), &r->e);
    ck_ok(be->mem(r->m->dev, host.bytes, MEM_DEVICE, NULL, &kv->table, &r->e), &r->e);
    ck_ok(be->mem(r->m->dev, (uint64_t)p->state_bytes * RUN_SLOTS + 64, MEM_DEVICE, NULL,
                  &kv->state, &r->e),
          &r->e);
    at = first;
    /* pages back to front, so that their order in memory is not the sequence's */
    for (int g = 0; g < p->n_group; g++)
        for (int i = RUN_PAGES - 1; i >= 0; i--) {
            table[g * RUN_PAGES + i] = (int32_t)(at / 1024);
            at += p->group[g].bytes;
        }
    ck_assert_int_eq(be->copy(r->m->dev, kv->table, 0, host, 0, host.bytes), 0);
    mem_free(table);
}

static inline void runner_reset(struct runner *r)
{
    r->done = 0;
    r->slot = -1;
}

static inline void runner_open(struct runner *r, const char *path, const struct model_opts *o)
{
    memset(r, 0, sizeof *r);
    ck_ok(model_open(&r->m, path, o, &r->e), &r->e);
    r->seg.plan = r->m->plan;
    r->seg.to = r->m->plan->n_op;
    r->seg.max_t = r->seg.max_s = RUN_ROWS;
    r->at = mem_array((uint64_t)r->m->plan->n_value, sizeof *r->at, &r->e);
    ck_assert_ptr_nonnull(r->at);
    ck_ok(r->m->be->mem(r->m->dev, plan_arena(r->m->plan, RUN_ROWS, RUN_ROWS, r->at), MEM_DEVICE,
                        NULL, &r->seg.arena, &r->e),
          &r->e);
    r->seg.at = r->at;
    runner_bind(r);
    ck_ok(r->m->be->prepare(r->m->dev, &r->seg, &r->e), &r->e);
    runner_reset(r);
}

static inline void runner_close(struct runner *r)
{
    const struct backend *be = r->m->be;

    r->seg.to = r->seg.from;
    ck_ok(be->prepare(r->m->dev, &r->seg, &r->e), &r->e);
    be->unmem(r->m->dev, &r->seg.arena);
    be->unmem(r->m->dev, &r->seg.kv.pool);
    be->unmem(r->m->dev, &r->seg.kv.table);
    be->unmem(r->m->dev, &r->seg.kv.state);
    mem_free(r->at);
    model_close(r->m);
}

/* What is compared: logits, or of an encoder its rows. */
static inline int runner_cols(const struct runner *r)
{
    return r->m->plan->encoder ? r->m->h.n_embd : r->m->h.n_vocab;
}

/* Runs n rows behind those done before; their logits go to out [n x runner_cols]. An encoder's rows
 * see each other; those from 25 on have type 1. */
static inline void runner_step(struct runner *r, const int32_t *ids, int n, bool generated,
                               float *out)
{
    const struct plan *p = r->m->plan;
    int32_t seq[RUN_ROWS] = {0}, pos[RUN_ROWS], rows[RUN_ROWS], see[RUN_ROWS], type[RUN_ROWS];
    struct seq_in in = {
        .len = r->done + n, .state_read = r->slot, .state_write = r->slot == 0};
    struct batch b = {.n_p = generated ? 0 : n,
                      .n_g = generated ? n : 0,
                      .n_seq = 1,
                      .n_out = n,
                      .id = ids,
                      .seq = seq,
                      .pos = pos,
                      .seqs = &in,
                      .out = rows};
    int ticket;

    ck_assert_int_le(n, RUN_ROWS);
    for (int i = 0; i < n; i++) {
        pos[i] = r->done + i;
        rows[i] = i;
        see[i] = n - 1;
        type[i] = i >= 25;
    }
    if (p->encoder) {
        b.see = see;
        b.type = type;
    }
    ticket = r->m->be->run(r->m->dev, &r->seg, &b);
    ck_assert_int_ge(ticket, 0);
    ck_assert_int_ge(r->m->be->wait(r->m->dev, ticket), 0);
    struct mem host = {.p = out, .host = true};
    host.bytes = (uint64_t)n * (uint64_t)runner_cols(r) * sizeof *out;
    ck_assert_int_eq(
        r->m->be->copy(r->m->dev, host, 0, r->seg.arena,
                       r->at[p->encoder ? p->hidden : p->logits], host.bytes),
        0);
    r->done += n;
    r->slot = in.state_write;
}

/* The same for a whole list in pieces of `piece` rows, from the start. */
static inline void runner_list(struct runner *r, const int32_t *ids, int n, int piece,
                               bool generated, float *out)
{
    runner_reset(r);
    for (int i = 0; i < n; i += piece)
        runner_step(r, ids + i, n - i < piece ? n - i : piece, generated,
                    out + (size_t)i * (size_t)runner_cols(r));
}

/* An encoder's scores of the first row of the last step; returns how many. */
static inline int runner_scores(struct runner *r, float *out, int cap)
{
    const struct plan *p = r->m->plan;
    const int n = p->encoder && p->logits >= 0 ? p->value[p->logits].cols : 0;
    struct mem host = {.p = out, .host = true, .bytes = (uint64_t)n * sizeof *out};

    ck_assert_int_le(n, cap);
    if (n)
        ck_assert_int_eq(
            r->m->be->copy(r->m->dev, host, 0, r->seg.arena, r->at[p->logits], host.bytes), 0);
    return n;
}

#endif
