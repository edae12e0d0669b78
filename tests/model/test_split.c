/* test_split.c - a plan dealt out over several devices gives the bytes of one device: every
 * architecture, layers and experts apart, prompts in pieces; and what cannot be dealt out is said.
 *
 * Another room's test may name other devices. */
#include "tests/model/arch_cases.h"
#include "tests/model/runner.h"

#ifndef SPLIT_NAME
#define SPLIT_NAME  "model/split"
#define SPLIT_ONE   "cpu:1"
#define SPLIT_MANY  "cpu:1,cpu:2", "cpu:2=1,cpu:1", "cpu:1,cpu:2=99", "cpu:1,experts=cpu:2"
#define SPLIT_CASES ARCH_CASES
#endif

enum { N = 40 };

static void fill(int32_t *ids, int n_vocab)
{
    for (int i = 0; i < N; i++)
        ids[i] = (i * 37 + 11) % n_vocab;
}

static void open_on(struct runner *r, const char *name, const char *device)
{
    const struct model_opts opts = MODEL_OPTS;
    struct model_opts o = opts;
    char path[128];

    snprintf(path, sizeof path, "tests/golden/arch/%s.gguf", name);
    o.device = device;
    o.n_ctx = 64;
    runner_open(r, srcfile(path), &o);
}

static void check_case(const char *name)
{
    static const char *const many[] = {SPLIT_MANY};
    struct runner one;
    int32_t ids[N];

    open_on(&one, name, SPLIT_ONE);
    const int cols = runner_cols(&one), piece = one.m->plan->encoder ? N : 17;
    const size_t n = (size_t)N * (size_t)cols;
    float *want = mem_array(n, sizeof *want, NULL), *got = mem_array(n, sizeof *got, NULL);
    fill(ids, one.m->h.n_vocab);
    runner_list(&one, ids, N, piece, false, want);
    for (size_t i = 0; i < ARRAY_LEN(many); i++) {
        struct runner r;

        open_on(&r, name, many[i]);
        runner_list(&r, ids, N, piece, false, got);
        ck_assert_msg(memcmp(want, got, n * sizeof *want) == 0, "%s: other bytes on %s", name,
                      many[i]);
        runner_close(&r);
    }
    runner_close(&one);
    mem_free(want);
    mem_free(got);
}

SPLIT_CASES(ARCH_TEST)

/* Each device has the weights of its own layers only, and both a table that both ends read. */
START_TEST(records_are_where_they_were_put)
{
    struct runner r;
    int both = 0;

    open_on(&r, "llama", "cpu:1=1,cpu:2");
    for (int i = 0; i < r.m->plan->n_op; i++)
        both |= r.m->plan->op[i].layer > 0;
    ck_assert_int_eq(both, 1);
    ck_assert_ptr_nonnull(strstr(r.m->be->name, "split"));
    for (int i = 0; i < r.m->plan->n_op; i++)
        ck_assert_ptr_nonnull(r.seg.kernel[i]);
    runner_close(&r);
}
END_TEST

START_TEST(wrong_lists_are_told)
{
    static const struct {
        const char *device, *says;
    } wrong[] = {
        {"cpu:1=1,cpu:2=0", "on no device"},
        {"cpu:1,cpu:1", "named twice"},
        {"cpu:1=x,cpu:2", "expected =LAYERS"},
        {"experts=cpu:1,cpu:2", "comes last"},
        {"cpu:1,nonsense", "expected cpu"},
        {"cpu:1,cpu:0", "expected a number of threads"},
        {",", "expected cpu"},
    };

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        const struct model_opts opts = MODEL_OPTS;
        struct model_opts o = opts;
        struct model *m = NULL;
        struct err e = {0};

        o.device = wrong[i].device;
        ck_assert_int_lt(model_open(&m, srcfile("tests/golden/arch/llama.gguf"), &o, &e), 0);
        ck_assert_msg(strstr(e.text, wrong[i].says) != NULL, "%s: %s", wrong[i].device, e.text);
    }
}
END_TEST

TEST_MAIN(SPLIT_NAME, SPLIT_CASES(ARCH_ITEM) wrong_lists_are_told, records_are_where_they_were_put)
