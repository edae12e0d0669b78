/* test_fails.c - a device whose calls fail, each in turn: the step says so, nothing hangs or is
 * lost, and an engine opened behind that answers as the first would have. */
#include "tests/suite.h"

#include "base/mem.h"
#include "rill.h"
#include "tests/simt/simt_run.h"

enum { DRAWN = 4 };

static const struct rill_engine_opts opts = {.max_seq = 2, .max_batch = 16, .n_ctx = 64};

/* One answer; how many of its tokens came, or the code of the step that failed. */
static int answer(struct rill_engine *g, bool here, int32_t id[DRAWN])
{
    const int32_t prompt[5] = {3, 1, 4, 1, 5};
    struct rill_request q = {
        .ids = prompt, .n_ids = 5, .max_tokens = DRAWN, .ignore_eos = true, .logprobs = here};
    struct rill_event ev;
    struct err e = {0};
    int number, n = 0, rc;

    q.sampling = rill_sampling_defaults();
    q.sampling.temperature = 0;
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    while ((rc = rill_engine_step(g, &ev, 1, &e)) > 0)
        if (ev.kind == RILL_TOKEN)
            id[n++] = ev.id;
    if (rc < 0)
        ck_assert_msg(rc == e.code && strstr(e.text, "device"), "%d: %s", rc, e.text);
    return rc < 0 ? rc : n;
}

/* here: tokens are drawn on the host; else on the device, and steps are started ahead. */
static void fail_each(bool here)
{
    const struct rill_model_opts mo = {.device = "cuda:0", .n_ctx = 64};
    int32_t want[DRAWN], got[DRAWN];
    struct rill_engine *g;
    struct rill_model *m;
    struct err e = {0};
    int rc = 0, n = 0;

    ck_ok(rill_model_open(&m, srcfile("tests/golden/arch/llama.gguf"), &mo, &e), &e);
    ck_ok(rill_engine_open(&g, m, &opts, &e), &e);
    ck_assert_int_eq(answer(g, here, want), DRAWN);
    rill_engine_close(g);
    while (rc != DRAWN) {
        ck_ok(rill_engine_open(&g, m, &opts, &e), &e);
        simt_fail_after = n;
        rc = answer(g, here, got);
        ck_assert_msg(rc == E_DEVICE || rc == DRAWN, "call %d: %d", n, rc);
        if (rc == DRAWN)
            ck_assert_mem_eq(got, want, sizeof got);
        rill_engine_close(g); // which finds the device as it is
        simt_fail_after = -1;
        n += n < 30 ? 1 : 7;
    }
    ck_assert_int_gt(n, 2 * DRAWN); // at least a copy and a launch each
    printf("%d calls\n", n);
    rill_model_close(m);
}

START_TEST(each_call)
{
#ifdef RILL_GPU
    test_skip("a GPU cannot be made to fail");
    return;
#endif
    fail_each(true);
    fail_each(false);
}
END_TEST

TEST_MAIN("simt/fails", each_call)
