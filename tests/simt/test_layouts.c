/* test_layouts.c - how matrices lie and which records share a launch changes no bit of a model's
 * logits, and how many launches a token takes. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "model/random.h"
#include "rill.h"
#include "tests/model/runner.h"
#include "tests/simt/simt_run.h"

#define SMALL "tiny,ffn=256,vocab=304"

enum { N = 9, PIECES = 2 };
static const int piece[PIECES] = {1, 9};

/* The logits of N rows, piece by piece; the launches of the last step of one row. */
static float *logits_of(const char *path, const char *gemv, const char *fuse, int *n,
                        long *launches)
{
    const struct model_opts opts = MODEL_OPTS;
    struct model_opts o = opts;
    struct runner r;
    int32_t ids[N];
    float *out;

    setenv("RILL_CUDA_GEMV", gemv, 1);
    setenv("RILL_CUDA_FUSE", fuse, 1);
    o.device = "cuda:0";
    o.n_ctx = 64;
    runner_open(&r, path, &o);
    *n = N * runner_cols(&r);
    out = mem_array((uint64_t)*n * PIECES, sizeof *out, NULL);
    for (int i = 0; i < N; i++)
        ids[i] = (i * 37 + 11) % r.m->h.n_vocab;
    for (int k = 0; k < PIECES; k++) {
        const long before = simt_launches;
        runner_list(&r, ids, N, piece[k], true, out + (size_t)*n * (size_t)k);
        if (piece[k] == 1)
            *launches = (simt_launches - before) / N;
    }
    runner_close(&r);
    unsetenv("RILL_CUDA_GEMV");
    unsetenv("RILL_CUDA_FUSE");
    return out;
}

static const char *model_of(const struct random_model *m)
{
    const char *path = tmpfile_path("layouts.gguf");
    struct err e = {0};

    ck_ok(random_model_write(path, m, &e), &e);
    return path;
}

static void check_model(const char *shape, const char *type, const char *arch, int per_layer,
                        int others, size_t ways)
{
    static const char *const how[][2] = {{"panels", "1"}, {"panels", "0"}, {"file", "1"},
                                         {"dp4a", "1"},   {"pieces", "1"}, {"bulk", "0"}};
    const struct random_model m = {.shape = shape, .type = type, .arch = arch, .seed = 3};
    const char *path = model_of(&m);
    float *want = NULL;
    long launches;
    int n;

    for (size_t i = 0; i < ways && i < ARRAY_LEN(how); i++) {
        float *got = logits_of(path, how[i][0], how[i][1], &n, &launches);

        ck_assert_msg(!want || memcmp(want, got, (size_t)n * PIECES * sizeof *got) == 0,
                      "%s %s: other bits with %s and RILL_CUDA_FUSE=%s", arch, type, how[i][0],
                      how[i][1]);
        for (int k = 0; k < n; k++)
            ck_assert_msg(got[k] - got[k] == 0.0f, "%s %s: logit %d is %g", arch, type, k,
                          (double)got[k]);
        if (i == 0 && launches != 2 * per_layer + others)
            ck_abort_msg("%s %s: %ld launches a token, expected %d", arch, type, launches,
                         2 * per_layer + others);
        mem_free(want);
        want = got;
    }
    mem_free(want);
    unlink(path);
}

/* Norm, q|k|v with its heads, attention, output; norm, gate and up, down. Once: the token's row,
 * angles, rows that want logits, norm, head. */
START_TEST(dense_models)
{
    check_model(SMALL, "Q4_K", "llama", 7, 5, 6);
    check_model(SMALL, "Q8_0", "qwen3", 7, 5, 3);
    check_model(SMALL, "BF16", "qwen3", 7, 5, 2);
}
END_TEST

/* Instead of the last three: norm, router, its choice, sorting, packing, gate and up, packing,
 * down, sum. */
START_TEST(models_with_experts)
{
    check_model(SMALL ",experts=8,used=2", "Q4_0", "qwen3moe", 13, 5, 4);
}
END_TEST

/* All rows at once, and one by one: blocks of keys and values need not be known by the path of
 * their rows, as kernels with other numbers for many rows would have it. */
START_TEST(rows_have_one_path)
{
    enum { ROWS = 34 };
    static const char *const from[] = {"qwen3moe", "rwkv7", "llama", "gpt-oss", "deepseek2-lite",
                                       "granitehybrid"};
    const char *l = getenv("LONG");
    const size_t n_from = l && *l ? ARRAY_LEN(from) : 2;
    const struct model_opts opts = MODEL_OPTS;
    const struct random_model m = {.shape = SMALL ",layers=1", .type = "Q4_K", .seed = 3};
    const char *path = model_of(&m);

    for (size_t i = 0; i <= n_from; i++) {
        struct model_opts o = opts;
        struct runner r;
        char name[64];
        int32_t ids[ROWS];

        snprintf(name, sizeof name, "tests/golden/arch/%s.gguf",
                 i < n_from ? from[i] : "");
        o.device = "cuda:0";
        o.n_ctx = 64;
        runner_open(&r, i < n_from ? srcfile(name) : path, &o);
        ck_assert(r.seg.one_path);
        const size_t n = (size_t)ROWS * (size_t)runner_cols(&r);
        float *x = mem_array(2 * n, sizeof *x, NULL);
        for (int k = 0; k < ROWS; k++)
            ids[k] = (k * 37 + 11) % r.m->h.n_vocab;
        runner_list(&r, ids, ROWS, ROWS, false, x);
        runner_list(&r, ids, ROWS, 1, true, x + n);
        ck_assert_msg(memcmp(x, x + n, n * sizeof *x) == 0, "%s: other bits one by one", name);
        mem_free(x);
        runner_close(&r);
    }
    unlink(path);
#ifndef RILL_GPU
    struct model_opts o = opts;
    struct runner r;

    setenv("RILL_CUDA_GEMM", "wgmma", 1);
    o.device = "cuda:0";
    o.n_ctx = 64;
    runner_open(&r, srcfile("tests/golden/arch/llama.gguf"), &o);
    ck_assert(!r.seg.one_path);
    runner_close(&r);
    unsetenv("RILL_CUDA_GEMM");
#endif
}
END_TEST

/* As on sm_80, and on sm_89 and sm_120: kernels that do not fit leave the place to others. */
START_TEST(blocks_with_less_shared_memory)
{
#ifndef RILL_GPU
    static const char *const gemv[] = {"panels", "pieces"};
    const struct random_model m = {.shape = SMALL, .type = "Q8_0", .seed = 3};
    const char *path = model_of(&m);
    long launches;
    int n;
    float *want = logits_of(path, "panels", "1", &n, &launches);

    for (int i = 0; i < 2; i++) {
        simt_shared_most = i ? 99 << 10 : 163 << 10;
        float *got = logits_of(path, gemv[i], "1", &n, &launches);

        ck_assert_mem_eq(want, got, (size_t)n * PIECES * sizeof *got);
        mem_free(got);
    }
    simt_shared_most = 227 << 10;
    mem_free(want);
    unlink(path);
#endif
}
END_TEST

static void answer(struct rill_engine *g, int32_t *id, int n)
{
    int32_t prompt[21];
    struct rill_request q = {.ids = prompt, .n_ids = 21, .max_tokens = n, .ignore_eos = true};
    struct rill_event ev;
    struct err e = {0};
    int number, k = 0;

    for (int i = 0; i < 21; i++)
        prompt[i] = (i * 37 + 11) % 200;
    q.sampling = rill_sampling_defaults();
    q.sampling.temperature = 0;
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    while (rill_engine_step(g, &ev, 1, &e) > 0)
        if (ev.kind == RILL_TOKEN)
            id[k++] = ev.id;
    ck_assert_int_eq(k, n);
}

/* A graph has blocks for logits that nobody wants in a piece of a prompt. */
START_TEST(graphs_of_rows_without_logits)
{
    const struct random_model m = {.shape = "tiny", .type = "Q4_K", .seed = 3};
    const char *path = model_of(&m);
    int32_t id[2][4];

    for (int i = 0; i < 2; i++) {
        const struct rill_model_opts mo = {.device = "cuda:0", .n_ctx = 64};
        const struct rill_engine_opts eo = {.max_seq = 8, .max_batch = i ? 64 : 8, .n_ctx = 64};
        struct rill_model *model;
        struct rill_engine *g;
        struct err e = {0};

        ck_ok(rill_model_open(&model, path, &mo, &e), &e);
        ck_ok(rill_engine_open(&g, model, &eo, &e), &e);
        answer(g, id[i], 4);
        rill_engine_close(g);
        rill_model_close(model);
    }
    ck_assert_mem_eq(id[0], id[1], sizeof id[0]);
    unlink(path);
}
END_TEST

/* -- requests that begin alike -- */

enum { ALIKE = 34, COMMON = 514, MAKE = 3 };

struct made {
    int32_t id[MAKE];
    float logprob[MAKE];
    int n;
};

/* n requests of which all but the first begin with COMMON tokens; the launches of all steps. */
static long answers(const char *path, const char *share, int n, struct made *out)
{
    const struct rill_model_opts mo = {.device = "cuda:0", .n_ctx = 640};
    const struct rill_engine_opts eo = {.max_seq = n, .max_batch = 64, .n_ctx = 640};
    struct rill_model *model;
    struct rill_engine *g;
    struct rill_event ev;
    struct err e = {0};
    int32_t ids[COMMON + ALIKE];
    int number;

    setenv("RILL_CUDA_SHARE", share, 1);
    ck_ok(rill_model_open(&model, path, &mo, &e), &e);
    ck_ok(rill_engine_open(&g, model, &eo, &e), &e);
    const long before = simt_launches;
    for (int i = 0; i < n; i++) {
        struct rill_request q = {.ids = ids, .max_tokens = MAKE, .logprobs = true};

        for (int k = 0; k < COMMON + ALIKE; k++)
            ids[k] = (k * k * 13 + k * 7 + (k < COMMON && i ? 0 : 31 * i + 5)) % 200;
        q.ids = i ? ids : ids + COMMON;
        q.n_ids = i ? COMMON + 1 + (size_t)(i % 3) : 5;
        q.ignore_eos = true;
        q.sampling = rill_sampling_defaults();
        q.sampling.temperature = 0;
        ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    }
    while (rill_engine_step(g, &ev, 1, &e) > 0)
        if (ev.kind == RILL_TOKEN) {
            struct made *m = &out[ev.request];

            m->id[m->n] = ev.id;
            m->logprob[m->n++] = ev.logprob;
        }
    const long launches = simt_launches - before;
    rill_engine_close(g);
    rill_model_close(model);
    unsetenv("RILL_CUDA_SHARE");
    return launches;
}

/* What sequences have in common is made once for all of them: other launches, the same bits; where
 * there is enough of it, unasked. */
START_TEST(beginnings_in_common)
{
    static const struct {
        int n;
        const char *share;
    } with[] = {{7, "1"}, {ALIKE, ""}};
    const struct random_model m = {.shape = "dim=32,layers=1,heads=2,kv=1,ffn=32,vocab=300",
                                   .type = "Q8_0",
                                   .seed = 3};
    const char *path = model_of(&m);

    for (size_t i = 0; i < ARRAY_LEN(with); i++) {
        struct made want[ALIKE] = {{.n = 0}}, got[ALIKE] = {{.n = 0}};
        const long apart = answers(path, "0", with[i].n, want),
                   together = answers(path, with[i].share, with[i].n, got);

        ck_assert_int_eq(got[with[i].n - 1].n, MAKE);
        ck_assert_mem_eq(want, got, sizeof got);
#ifndef RILL_GPU
        ck_assert_int_gt(together, apart);
#else
        (void)(together + apart);
#endif
    }
    unlink(path);
}
END_TEST

TEST_MAIN("simt/layouts", dense_models, models_with_experts, rows_have_one_path,
          blocks_with_less_shared_memory, graphs_of_rows_without_logits, beginnings_in_common)
