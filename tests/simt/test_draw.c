/* test_draw.c - tokens drawn on the device are the very tokens that the engine's sampler draws:
 * rows of all kinds, all settings the device knows; and an engine whose device draws answers the
 * same as one that takes its logits to the host. */
#include "tests/suite.h"

#include <math.h>

#include "base/mem.h"
#include "base/rng.h"
#include "engine/engine.h"
#include "kernels/cuda/cuda.h"
#include "tests/simt/simt_run.h"

enum { VOCAB = 5003, HISTORY = 90, EDITS = 512 };

struct bench {
    struct rt *rt;
    struct sampler_work w;
    float *x; // [VOCAB]
    float *dev_x, *dev_work;
    struct draw_edit *dev_edit;
    struct draw_part *dev_part;
    int32_t *dev_ticket;
    uint32_t *dev_mask;
    int32_t *dev_out, *dev_last; // [1], [2]
    int host;                    // draws given back
};

static void *device(struct rt *rt, uint64_t n)
{
    void *p = rt_alloc(rt, n);

    ck_assert_ptr_nonnull(p);
    return p;
}

static void open_bench(struct bench *b)
{
    *b = (struct bench){0};
    ck_assert_int_eq(rt_open(&b->rt, 0), 0);
    ck_assert_int_eq(sampler_work_init(&b->w, VOCAB, 1024, NULL), 0);
    b->x = mem_array(VOCAB, sizeof *b->x, NULL);
    b->dev_x = device(b->rt, VOCAB * sizeof *b->dev_x);
    b->dev_work = device(b->rt, (VOCAB + 31) / 32 * 32 * sizeof *b->dev_work);
    b->dev_part = device(b->rt, DRAW_PARTS * sizeof *b->dev_part);
    b->dev_ticket = device(b->rt, sizeof *b->dev_ticket);
    ck_assert_int_eq(rt_zero(b->rt, b->dev_ticket, sizeof *b->dev_ticket), 0);
    b->dev_edit = device(b->rt, EDITS * sizeof *b->dev_edit);
    b->dev_mask = device(b->rt, (VOCAB + 31) / 32 * 4);
    b->dev_out = device(b->rt, 4);
    b->dev_last = device(b->rt, 8);
}

static void close_bench(struct bench *b)
{
    mem_free(b->x);
    sampler_work_fini(&b->w);
    rt_free(b->rt, b->dev_x);
    rt_free(b->rt, b->dev_work);
    rt_free(b->rt, b->dev_part);
    rt_free(b->rt, b->dev_ticket);
    rt_free(b->rt, b->dev_edit);
    rt_free(b->rt, b->dev_mask);
    rt_free(b->rt, b->dev_out);
    rt_free(b->rt, b->dev_last);
    rt_close(b->rt);
}

static void to_device(struct bench *b, void *to, const void *from, uint64_t n)
{
    ck_assert_int_eq(rt_copy(b->rt, to, from, n), 0);
}

/* By so many blocks; before: what the slot drew last. */
static int32_t drawn(struct bench *b, const struct draw *d, uint32_t blocks, int32_t before)
{
    const struct draw_args a = {.from = {.logits = b->dev_x,
                                         .ld = VOCAB,
                                         .edit = b->dev_edit,
                                         .mask = b->dev_mask,
                                         .work = b->dev_work,
                                         .part = b->dev_part,
                                         .ticket = b->dev_ticket,
                                         .out = b->dev_out,
                                         .last = b->dev_last,
                                         .n_vocab = VOCAB,
                                         .n_word = (VOCAB + 31) / 32},
                                .row = {{.slot = 1,
                                         .n_edit = d->n_edit,
                                         .n_mask = d->mask ? d->n_mask : -1,
                                         .late = d->late,
                                         .rule = d->rule}}};
    int32_t id = 0, last = -7;

    to_device(b, b->dev_x, b->x, VOCAB * sizeof *b->x);
    to_device(b, b->dev_last + 1, &before, sizeof before);
    to_device(b, b->dev_edit, d->edit, (uint64_t)d->n_edit * sizeof *d->edit);
    if (d->mask)
        to_device(b, b->dev_mask, d->mask, (VOCAB + 31) / 32 * 4);
    simt_seed++;
    ck_assert_int_eq(
        rt_launch(b->rt,
                  &(struct rt_launch){&kern_draw, {1, blocks, 1}, DRAW_THREADS, DRAW_SHARED, &a}),
        0);
    to_device(b, &id, b->dev_out, sizeof id);
    to_device(b, &last, b->dev_last + 1, sizeof last);
    ck_assert_int_eq(rt_sync(b->rt), 0);
    ck_assert_int_eq(last, id < 0 ? 0 : id);
    return id;
}

/* kind 0: as models make them; 1: flat, many alike; 2: a few stand out. */
static void fill(float *x, int kind, struct rng *r)
{
    for (int i = 0; i < VOCAB; i++) {
        const double v = rng_next_normal(r);
        x[i] = (float)(kind == 0 ? 3 * v : kind == 1 ? floor(4 * v) / 16 : v);
        if (kind == 2 && i % 701 == 5)
            x[i] += 9;
    }
}

static void settings(struct rill_sampling *s, int i, struct rng *r)
{
    *s = rill_sampling_defaults();
    s->temperature = i % 7 == 0 ? 0 : (float)(0.3 + 1.2 * rng_next_unit(r));
    s->top_k = i % 3 == 0 ? 0 : i % 3 == 1 ? 1 + (int)(rng_next(r) % 60) : VOCAB / (1 + i % 5);
    s->top_p = i % 4 == 0 ? 1 : (float)(0.2 + 0.75 * rng_next_unit(r));
    s->min_p = i % 5 < 2 ? 0 : (float)(0.2 * rng_next_unit(r));
    if (i % 2) {
        s->repetition_penalty = 1.3f;
        s->frequency_penalty = 0.2f;
        s->presence_penalty = -0.4f;
        s->penalty_last = i % 4 == 1 ? -1 : 30;
    }
}

static void check(struct bench *b, int i, struct rng *r)
{
    static struct draw_edit room[EDITS];
    static uint32_t mask[(VOCAB + 31) / 32];
    const struct rill_bias bias[3] = {{17, 4.0f}, {901, -INFINITY}, {4999, 2.5f}};
    const int32_t ban[2] = {17, 2000};
    const uint32_t blocks = i == 51 ? DRAW_PARTS : i % 8 == 5 ? 3 : 1;
    int32_t history[HISTORY];
    struct rill_sampling s;
    struct sampler_in in = {.sampling = &s,
                            .logits = b->x,
                            .history = history,
                            .n = HISTORY,
                            .n_prompt = 9,
                            .seed = (uint64_t)i,
                            .choice = (uint32_t)i % 3};
    struct draw d;

    settings(&s, i, r);
    for (int k = 0; k < HISTORY; k++)
        history[k] = (int32_t)(rng_next(r) % (k % 2 ? 40 : VOCAB));
    if (i % 6 == 2)
        s.bias = bias, s.n_bias = 3;
    if (i % 8 == 3)
        in.ban = ban, in.n_ban = 2;
    if (i % 9 == 4) {
        for (size_t k = 0; k < ARRAY_LEN(mask); k++)
            mask[k] = (uint32_t)(rng_next(r) & rng_next(r));
        in.mask = mask;
        in.n_mask = VOCAB - 100;
    }
    ck_assert(sampler_as_draw(&b->w, &in, &d, room, EDITS));
    const int32_t want = sampler_draw(&b->w, &in), last = history[HISTORY - 1],
                  got = drawn(b, &d, blocks, -7);
    b->host += got == DRAW_HOST;
    ck_assert_msg(got == want || got == DRAW_HOST,
                  "draw %d: %d, the sampler's is %d (temperature %g, top_k %d, top_p %g, min_p %g)",
                  i, got, want, (double)s.temperature, s.top_k, (double)s.top_p, (double)s.min_p);
    ck_assert_msg(got != DRAW_HOST || s.min_p == 0 || s.top_k > 0, "draw %d: left to the host", i);
    if (i % 6 != 1)
        return;
    in.n_late = 1;                // the last token is the device's to know
    history[HISTORY - 1] = VOCAB; // who reads it is found out
    ck_assert(sampler_as_draw(&b->w, &in, &d, room, EDITS));
    ck_assert_int_eq(d.late, 1);
    for (int k = 0; k < d.n_edit; k++)
        ck_assert_int_lt(room[k].id, VOCAB);
    ck_assert_int_eq(drawn(b, &d, 2, last), got);
}

START_TEST(draws_are_the_samplers)
{
    const char *l = getenv("LONG");
    const int n = l && *l ? 120 : 54;
    struct bench b;
    struct rng r = {5, 0};

    open_bench(&b);
    for (int i = 0; i < n; i++) {
        fill(b.x, i % 3, &r);
        check(&b, i, &r);
    }
    ck_assert_int_gt(b.host, 0); // some want more candidates than fit
    ck_assert_int_lt(b.host, n / 3);
    close_bench(&b);
}
END_TEST

START_TEST(rows_that_are_no_numbers_are_told)
{
    struct rill_sampling s = rill_sampling_defaults();
    struct bench b;
    struct rng r = {6, 0};

    open_bench(&b);
    for (int i = 0; i < 6; i++) {
        struct draw d = {.rule = {.repetition = 1,
                                  .temperature = i % 2 ? 0.0f : s.temperature,
                                  .top_p = 1}};

        fill(b.x, 0, &r);
        if (i < 2)
            b.x[VOCAB - 1] = NAN;
        else if (i < 4)
            b.x[3] = INFINITY;
        else
            for (int k = 0; k < VOCAB; k++)
                b.x[k] = -INFINITY;
        ck_assert_int_eq(drawn(&b, &d, 1 + (uint32_t)i, 3), E_NUMERIC);
    }
    close_bench(&b);
}
END_TEST

/* What the device has no way for stays on the host. */
START_TEST(other_settings_stay_on_the_host)
{
    static const int32_t history[4] = {1, 2, 3, 4}, allowed[2] = {1, 2};
    static const struct rill_bias twice[2] = {{7, 1.0f}, {7, 1.0f}};
    struct draw_edit room[8];
    struct sampler_work w = {0};
    struct draw d;

    ck_assert_int_eq(sampler_work_init(&w, 100, 16, NULL), 0);
    for (int i = 0; i < 8; i++) {
        struct rill_sampling s = rill_sampling_defaults();
        const struct sampler_in in = {.sampling = &s, .history = history, .n = 4};

        if (i == 1)
            s.typical_p = 0.5f;
        if (i == 2)
            s.dry_multiplier = 1;
        if (i == 3)
            s.no_repeat_ngram = 2;
        if (i == 4)
            s.allowed = allowed, s.n_allowed = 2;
        if (i == 5)
            s.bias = twice, s.n_bias = 2;
        if (i == 6)
            s.order[0] = RILL_TEMPERATURE;
        if (i == 7)
            s.xtc_probability = 0.5f;
        ck_assert_int_eq(sampler_as_draw(&w, &in, &d, room, 8), i == 0);
    }
    sampler_work_fini(&w);
}
END_TEST

/* -- an engine -- */

static void answer(struct rill_engine *g, int seed, bool logprobs, int32_t *id)
{
    const int32_t prompt[5] = {3, 1, 4, 1, 5};
    struct rill_request q = {
        .ids = prompt, .n_ids = 5, .max_tokens = 12, .ignore_eos = true, .logprobs = logprobs};
    struct rill_event ev;
    struct err e = {0};
    int number, n = 0;

    q.sampling = rill_sampling_defaults();
    q.sampling.temperature = seed ? 1.2f : 0.0f;
    q.sampling.repetition_penalty = 1.1f;
    q.sampling.has_seed = true;
    q.sampling.seed = (uint64_t)seed;
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    while (rill_engine_step(g, &ev, 1, &e) > 0)
        if (ev.kind == RILL_TOKEN)
            id[n++] = ev.id;
    ck_assert_int_eq(n, 12);
}

START_TEST(engines_answer_the_same)
{
    static const char *const device[] = {"cuda:0", "cpu:1=1,cuda:0"};

    for (size_t k = 0; k < ARRAY_LEN(device); k++) {
        const struct rill_model_opts mo = {.device = device[k], .n_ctx = 64};
        const struct rill_engine_opts eo = {.max_seq = 2, .max_batch = 16, .n_ctx = 64};
        struct rill_model *m;
        struct rill_engine *g;
        struct rill_stats s;
        struct err e = {0};

        ck_ok(rill_model_open(&m, srcfile("tests/golden/arch/llama.gguf"), &mo, &e), &e);
        ck_ok(rill_engine_open(&g, m, &eo, &e), &e);
        for (int seed = 0; seed < 3; seed++) {
            int32_t far[12], here[12];

            answer(g, seed, false, far);
            answer(g, seed, true, here);
            ck_assert_mem_eq(far, here, sizeof far);
        }
        rill_engine_stats(g, &s);
        ck_assert_uint_eq(s.device_drawn, 3 * 12);
        ck_assert_uint_eq(s.drawn, 6 * 12);
        rill_engine_close(g);
        rill_model_close(m);
    }
}
END_TEST

/* -- under a grammar -- */

static int spelled(struct rill_engine *g, const struct rill_constraint *c, bool here, int seed,
                   char *text, size_t cap)
{
    const int32_t prompt[2] = {300, 310};
    struct rill_request q = {
        .ids = prompt, .n_ids = 2, .max_tokens = 8, .constraint = c, .logprobs = here};
    struct rill_event ev;
    struct err e = {0};
    size_t n = 0;
    int number, rc;

    q.sampling = rill_sampling_defaults();
    q.sampling.temperature = 2.0f;
    q.sampling.has_seed = true;
    q.sampling.seed = (uint64_t)seed;
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    while ((rc = rill_engine_step(g, &ev, 1, &e)) > 0) {
        ck_assert_msg(ev.finish != RILL_FAILED, "%s", ev.message);
        for (size_t i = 0; i < ev.n_text && n + 1 < cap; i++)
            text[n++] = ev.text[i];
    }
    text[n] = 0;
    return rc;
}

/* The mask goes to the device with the draw: the text obeys, and is what the host would draw. */
START_TEST(grammars_go_to_the_device)
{
    static const char grammar[] = "root ::= [a-f] [0-9]";
    const struct rill_stop text = {grammar, sizeof grammar - 1};
    const struct rill_model_opts mo = {.device = "cuda:0", .n_ctx = 64};
    const struct rill_engine_opts eo = {.max_seq = 1, .max_batch = 8, .n_ctx = 64};
    struct rill_constraint *c;
    struct rill_model *m;
    struct rill_engine *g;
    struct rill_stats s;
    struct err e = {0};

    ck_ok(rill_model_open(&m, srcfile("share/rill-tales.gguf"), &mo, &e), &e);
    ck_ok(rill_engine_open(&g, m, &eo, &e), &e);
    ck_ok(rill_constraint_new(&c, RILL_GRAMMAR, &text, 1, NULL, &e), &e);
    for (int seed = 0; seed < 2; seed++) {
        char far[64], here[64];

        ck_ok(spelled(g, c, false, seed, far, sizeof far), &e);
        rill_engine_stats(g, &s);
        ck_assert_uint_ge(s.device_drawn, 2 * (uint64_t)(seed + 1));
        ck_assert_uint_eq(s.ahead, 0);
        ck_ok(spelled(g, c, true, seed, here, sizeof here), &e);
        ck_assert_str_eq(far, here);
        ck_assert_msg(strlen(far) == 2 && strchr("abcdef", far[0]) && strchr("0123456789", far[1]),
                      "%s", far);
    }
    rill_constraint_free(c);
    rill_engine_close(g);
    rill_model_close(m);
}
END_TEST

/* -- steps that are started before the one in front of them is read -- */

enum { ASKS = 5, MOST = 20 };

struct said {
    int32_t id[ASKS + 1][MOST];
    int n[ASKS + 1], finish[ASKS + 1];
};

static int submit(struct rill_engine *g, int i, bool here)
{
    static int32_t prompt[ASKS + 1][40];
    struct rill_request q = {.ids = prompt[i],
                             .n_ids = (size_t)(5 + 7 * i),
                             .max_tokens = 4 + 3 * i,
                             .ignore_eos = true,
                             .logprobs = here};
    struct err e = {0};
    int number;

    for (size_t k = 0; k < q.n_ids; k++)
        prompt[i][k] = (int32_t)((7 * k + (size_t)i) % 60);
    q.sampling = rill_sampling_defaults();
    q.sampling.temperature = i % 3 ? 1.1f : 0.0f;
    q.sampling.has_seed = true;
    q.sampling.seed = (uint64_t)i;
    if (i % 2) { // which count what the host has not seen yet
        q.sampling.repetition_penalty = 1.6f;
        q.sampling.frequency_penalty = 0.9f;
        q.sampling.penalty_last = i == 1 ? -1 : 4;
    }
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    return number;
}

/* All but the last at once; that one comes, and one goes, while others run. */
static void ask_all(struct rill_engine *g, bool here, struct said *out)
{
    struct rill_event ev;
    struct err e = {0};
    int of[ASKS + 1], n, events = 0;

    memset(out, 0, sizeof *out);
    for (int i = 0; i < ASKS; i++)
        of[i] = submit(g, i, here);
    of[ASKS] = -1;
    engine_guard(g, true);
    while ((n = rill_engine_step(g, &ev, 1, &e)) > 0) {
        for (int i = 0; i <= ASKS; i++) {
            if (ev.request != of[i])
                continue;
            if (ev.kind == RILL_TOKEN)
                out->id[i][out->n[i]++] = ev.id;
            if (ev.kind == RILL_DONE)
                out->finish[i] = ev.finish;
        }
        if (++events == 22)
            of[ASKS] = submit(g, ASKS, here);
        if (events == 30)
            rill_engine_cancel(g, of[ASKS - 1]);
    }
    ck_ok(n, &e);
    engine_guard(g, false);
}

START_TEST(steps_do_not_wait_for_each_other)
{
    const struct rill_model_opts mo = {.device = "cuda:0", .n_ctx = 128};
    const struct rill_engine_opts eo = {.max_seq = ASKS + 1, .max_batch = 64, .n_ctx = 128};
    const struct rill_engine_opts few = {.max_seq = 2, .max_batch = 64, .n_ctx = 128};
    static struct said want, got;
    struct rill_model *m;
    struct rill_engine *g;
    struct rill_stats before, after;
    struct err e = {0};

    ck_ok(rill_model_open(&m, srcfile("tests/golden/arch/llama.gguf"), &mo, &e), &e);
    ck_ok(rill_engine_open(&g, m, &eo, &e), &e);
    ask_all(g, true, &want);
    rill_engine_stats(g, &before);
    ck_assert_uint_eq(before.ahead, 0);
    for (int turn = 0; turn < 2; turn++) {
        const struct simt_count count = simt_count;

        ask_all(g, false, &got);
        for (int i = 0; i <= ASKS; i++) {
            if (i == ASKS - 1) // how far it came before it was told to go is another matter
                continue;
            ck_assert_int_eq(got.n[i], 4 + 3 * i);
            ck_assert_int_eq(got.finish[i], RILL_LENGTH);
        }
        ck_assert_int_eq(got.finish[ASKS - 1], RILL_CANCELLED);
        for (int i = 0; i <= ASKS; i++)
            ck_assert_mem_eq(want.id[i], got.id[i],
                             (size_t)(want.n[i] < got.n[i] ? want.n[i] : got.n[i]) * 4);
        rill_engine_stats(g, &after);
        ck_assert_uint_ge(after.ahead - before.ahead, 8);
        ck_assert(after.gap > 0 && after.gap < 1);
#ifdef RILL_GPU
        (void)count;
#else
        /* nothing is recorded or taken, nobody waits for all, and work is left behind each wait */
        ck_assert_uint_eq(simt_count.syncs, count.syncs);
        ck_assert_uint_eq(simt_count.allocs, count.allocs);
        ck_assert_uint_eq(simt_count.recorded, count.recorded);
        ck_assert_uint_ge(simt_count.ahead - count.ahead, after.ahead - before.ahead);
#endif
        before = after;
    }
    rill_engine_close(g);
    /* while others wait for a place, too */
    ck_ok(rill_engine_open(&g, m, &few, &e), &e);
    ask_all(g, false, &got);
    rill_engine_stats(g, &after);
    ck_assert_uint_ge(after.ahead, 8);
    for (int i = 0; i <= ASKS; i++)
        ck_assert_mem_eq(want.id[i], got.id[i],
                         (size_t)(want.n[i] < got.n[i] ? want.n[i] : got.n[i]) * 4);
    ck_assert_int_eq(got.finish[ASKS], RILL_LENGTH);
    rill_engine_close(g);
    rill_model_close(m);
}
END_TEST

/* -- recurrent state, and draws that come back -- */

static int (*real_drawn)(struct dev *, struct segment *, int, int32_t *, int);
static int draws; // so far; every sixth is for the host

static int some_come_back(struct dev *d, struct segment *s, int ticket, int32_t *id, int n)
{
    const int rc = real_drawn(d, s, ticket, id, n);

    for (int i = 0; i < n; i++)
        if (++draws % 6 == 0)
            id[i] = DRAW_HOST;
    return rc;
}

/* Two answers; how many steps were started ahead. */
static uint64_t two_answers(struct rill_engine *g, bool here, int32_t id[2][MOST])
{
    struct rill_stats before, after;
    struct rill_event ev;
    struct err e = {0};
    int of[2], n[2] = {0}, rc;

    rill_engine_stats(g, &before);
    for (int i = 0; i < 2; i++)
        of[i] = submit(g, 2 + i, here);
    while ((rc = rill_engine_step(g, &ev, 1, &e)) > 0)
        for (int i = 0; i < 2; i++)
            if (ev.kind == RILL_TOKEN && ev.request == of[i])
                id[i][n[i]++] = ev.id;
    ck_ok(rc, &e);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(n[i], 4 + 3 * (2 + i));
    rill_engine_stats(g, &after);
    return after.ahead - before.ahead;
}

START_TEST(states_go_on_with_the_device)
{
    static const char *const model[] = {"llama", "rwkv7", "granitehybrid"};

    for (size_t k = 0; k < ARRAY_LEN(model); k++) {
        const struct rill_model_opts mo = {.device = "cuda:0", .n_ctx = 128};
        const struct rill_engine_opts eo = {.max_seq = 3, .max_batch = 64, .n_ctx = 128};
        int32_t want[2][MOST], got[2][MOST];
        struct rill_model *m;
        struct rill_engine *g;
        struct backend some;
        struct err e = {0};
        char path[64];

        snprintf(path, sizeof path, "tests/golden/arch/%s.gguf", model[k]);
        memset(want, 0, sizeof want);
        memset(got, 0, sizeof got);
        ck_ok(rill_model_open(&m, srcfile(path), &mo, &e), &e);
        ck_ok(rill_engine_open(&g, m, &eo, &e), &e);
        ck_assert_uint_eq(two_answers(g, true, want), 0);
        ck_assert_uint_ge(two_answers(g, false, got), 8);
        ck_assert_mem_eq(want, got, sizeof want);
        some = *g->be;
        real_drawn = some.drawn;
        some.drawn = some_come_back;
        g->be = &some;
        draws = 0;
        ck_assert_uint_ge(two_answers(g, false, got), 1);
        ck_assert_mem_eq(want, got, sizeof want);
        rill_engine_close(g);
        rill_model_close(m);
    }
}
END_TEST

TEST_MAIN("simt/draw", draws_are_the_samplers, rows_that_are_no_numbers_are_told,
          other_settings_stay_on_the_host, engines_answer_the_same, grammars_go_to_the_device,
          steps_do_not_wait_for_each_other, states_go_on_with_the_device)
