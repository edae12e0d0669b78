/* test_stories.c - a trained model from its file to logits, against the reference's, and the same
 * bits however the rows are cut, batched or spread over threads. */
#include <math.h>

#include "engine/engine.h"
#include "tests/suite.h"

enum { N = 64, V = 512 };

static struct rill_model *open_stories(const char *name, int threads)
{
    struct rill_model_opts o = {.device = "cpu", .threads = threads};
    const char *path = testdata(name);
    struct rill_model *m = NULL;
    struct err e = {0};

    if (path)
        ck_ok(rill_model_open(&m, path, &o, &e), &e);
    return m;
}

static void read_ids(int32_t *ids)
{
    FILE *f = fopen(testdata("models/stories260K/greedy64.ids"), "r");

    ck_assert_ptr_nonnull(f);
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(fscanf(f, "%d", &ids[i]), 1);
    fclose(f);
}

/* Logits of all N prompt rows of n_copy equal requests; returns those of the last request. */
static void prompt_logits(struct rill_model *m, const int32_t *ids, int max_batch, int n_copy,
                          float *out)
{
    struct rill_engine_opts o = {.max_seq = n_copy, .max_batch = max_batch};
    struct rill_request q = {.ids = ids, .n_ids = N, .max_tokens = 1, .prompt_logits = true};
    struct rill_engine *g;
    struct rill_event ev;
    struct err e = {0};
    int number = 0, n, rows = 0;

    q.sampling = rill_sampling_defaults();
    ck_ok(rill_engine_open(&g, m, &o, &e), &e);
    for (int i = 0; i < n_copy; i++)
        ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    while ((n = rill_engine_step(g, &ev, 1, &e)) > 0) {
        if (ev.kind != RILL_LOGITS || ev.request != number)
            continue;
        memcpy(out + (size_t)ev.pos * V, ev.logits, V * sizeof *out);
        rows++;
    }
    ck_assert_msg(n == 0, "%s", e.text);
    ck_assert_int_eq(rows, N);
    rill_engine_close(g);
}

static void compare(const char *name, double tolerance)
{
    struct rill_model *m = open_stories(name, 2);
    static float got[N * V], want[N * V];
    int32_t ids[N];
    double worst = 0;
    FILE *f;

    if (!m)
        return;
    read_ids(ids);
    prompt_logits(m, ids, 512, 1, got);
    f = fopen(testdata("models/stories260K/greedy64.logits.f32"), "rb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fread(want, sizeof *want, N * V, f), N * V);
    fclose(f);
    for (int i = 0; i < N * V; i++) {
        const double d = fabs((double)got[i] - want[i]);

        if (!(d <= worst)) // what is not a number is as far off as can be
            worst = isnan(d) ? INFINITY : d;
    }
    ck_assert_msg(worst <= tolerance, "%s: off by %g", name, worst);
    rill_model_close(m);
}

START_TEST(reference_logits)
{
    compare("models/stories260K/stories260K.gguf", 1e-4);
}
END_TEST

/* Rounded weights change the logits by as much as the rounding says: 2^-11 and 2^-8 relative. Tiles
 * round all to bf16, what attention multiplies too, and its weights a little more than that. */
START_TEST(rounded_weights_stay_near)
{
    struct rill_model *m = open_stories("models/stories260K/stories260K.F16.gguf", 1);
    struct rill_model_info info;
    bool tiles;

    if (!m)
        return;
    rill_model_info(m, &info);
    tiles = strstr(info.device, "amx") || strstr(info.device, "bf16");
    rill_model_close(m);
    compare("models/stories260K/stories260K.F16.gguf", tiles ? 0.25 : 0.02);
    compare("models/stories260K/stories260K.BF16.gguf", tiles ? 0.3 : 0.2);
}
END_TEST

START_TEST(cuts_batches_and_threads_change_no_bit)
{
    static const struct {
        int threads, max_batch, n_copy;
    } how[] = {{1, 512, 1}, {2, 1, 1}, {3, 7, 1}, {2, 33, 4}, {8, 64, 3}};
    static float first[N * V], got[N * V];
    int32_t ids[N];

    for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
        struct rill_model *m = open_stories("models/stories260K/stories260K.gguf", how[i].threads);

        if (!m)
            return;
        read_ids(ids);
        prompt_logits(m, ids, how[i].max_batch, how[i].n_copy, i ? got : first);
        if (i)
            ck_assert_mem_eq(got, first, sizeof first);
        rill_model_close(m);
    }
}
END_TEST

/* As many rows of logits in a step as were asked for, and none in front of logits_from: the bits
 * are those of one row after another. */
START_TEST(some_of_the_logits)
{
    struct rill_model *m = open_stories("models/stories260K/stories260K.gguf", 2);
    struct rill_engine_opts o = {.max_seq = 1, .max_logits = N};
    struct rill_request q = {.n_ids = N, .max_tokens = 1, .prompt_logits = true, .logits_from = 21};
    static float want[N * V];
    struct rill_engine *g;
    struct rill_event ev[N + 2];
    struct rill_stats stats;
    int32_t ids[N];
    struct err e = {0};
    int number, n, rows = 0;

    if (!m)
        return;
    read_ids(ids);
    prompt_logits(m, ids, 512, 1, want);
    q.ids = ids;
    q.sampling = rill_sampling_defaults();
    ck_ok(rill_engine_open(&g, m, &o, &e), &e);
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    while ((n = rill_engine_step(g, ev, N + 2, &e)) > 0)
        for (int i = 0; i < n; i++) {
            if (ev[i].kind != RILL_LOGITS)
                continue;
            ck_assert_int_eq(ev[i].pos, 21 + rows);
            ck_assert_mem_eq(ev[i].logits, want + (21 + rows) * V, V * sizeof *want);
            rows++;
        }
    ck_assert_int_eq(n, 0);
    ck_assert_int_eq(rows, N - 21);
    rill_engine_stats(g, &stats);
    ck_assert_uint_eq(stats.steps, 2);
    rill_engine_close(g);
    o.max_logits = -1;
    ck_assert_int_eq(rill_engine_open(&g, m, &o, &e), E_RANGE);
    rill_model_close(m);
}
END_TEST

/* The token drawn in the decode phase comes from the same bits as in the prompt phase. */
START_TEST(decode_agrees_with_prompt)
{
    struct rill_model *m = open_stories("models/stories260K/stories260K.gguf", 2);
    static float want[N * V];
    struct rill_request q = {.n_ids = 1, .max_tokens = N - 1, .logits = true};
    struct rill_engine *g;
    struct rill_event ev;
    struct err e = {0};
    int32_t ids[N];
    int number;

    if (!m)
        return;
    read_ids(ids);
    prompt_logits(m, ids, 512, 1, want);
    ck_ok(rill_engine_open(&g, m, NULL, &e), &e);
    q.ids = ids;
    q.sampling = rill_sampling_defaults();
    q.sampling.temperature = 0;
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    engine_guard(g, true);
    while (rill_engine_step(g, &ev, 1, &e) > 0)
        if (ev.kind == RILL_TOKEN) {
            ck_assert_int_eq(ev.id, ids[ev.pos]);
            ck_assert_mem_eq(ev.logits, want + (size_t)(ev.pos - 1) * V, V * sizeof *want);
        }
    rill_engine_close(g);
    rill_model_close(m);
}
END_TEST

TEST_MAIN("engine/stories", reference_logits, rounded_weights_stay_near,
          cuts_batches_and_threads_change_no_bit, some_of_the_logits, decode_agrees_with_prompt)
