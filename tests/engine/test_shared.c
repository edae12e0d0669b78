/* test_shared.c - beginnings that requests have in common are held once and read together, and no
 * answer's bits show it: dense attention, windows, sinks, latent attention, recurrent layers. */
#include <unistd.h>

#include "base/mem.h"
#include "engine/engine.h"
#include "model/random.h"
#include "tests/suite.h"

enum { ASKS = 12, MAKE = 8, IDS = 760 };

struct answer {
    int32_t id[MAKE];
    float logprob[MAKE];
    int n;
};

struct ask {
    int32_t ids[IDS];
    int n;
};

/* A tree: half of them begin with the same `long` tokens, two of which go on together for a while;
 * a quarter leave them early, and the others are on their own. */
static void make(struct ask *all, int n_long, int n_vocab)
{
    for (int i = 0; i < ASKS; i++) {
        const int shared = i % 4 < 2 ? n_long : i % 4 == 2 ? n_long / 2 + 7 : 0;

        all[i].n = n_long + 2 + 3 * i % 40;
        for (int k = 0; k < all[i].n; k++)
            all[i].ids[k] =
                (k * k * 13 + k * 7 + (k < shared ? 0 : 31 * (i / 8 + 1) + i)) % n_vocab;
    }
}

static struct rill_stats go(struct rill_model *m, const struct ask *all, int from, int to,
                            int max_batch, struct answer *out)
{
    struct rill_engine_opts o = {
        .max_seq = to - from, .max_batch = max_batch, .no_cache = to - from == 1};
    struct rill_engine *g;
    struct rill_event ev;
    struct rill_stats s;
    struct err e = {0};
    int rc, number;

    ck_ok(rill_engine_open(&g, m, &o, &e), &e);
    for (int i = from; i < to; i++) {
        struct rill_request q = {
            .ids = all[i].ids, .n_ids = (size_t)all[i].n, .max_tokens = MAKE, .logprobs = true};

        q.ignore_eos = true;
        q.sampling = rill_sampling_defaults();
        q.sampling.temperature = 0;
        ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    }
    engine_guard(g, true);
    while ((rc = rill_engine_step(g, &ev, 1, &e)) > 0)
        if (ev.kind == RILL_TOKEN) {
            struct answer *a = &out[from + ev.request];

            a->id[a->n] = ev.id;
            a->logprob[a->n++] = ev.logprob;
        }
    ck_assert_msg(rc == 0, "%s", e.text);
    rill_engine_stats(g, &s);
    rill_engine_close(g);
    return s;
}

static void together(const char *path, int n_long)
{
    static struct ask all[ASKS];
    static struct answer want[ASKS], got[ASKS];
    const int threads[] = {1, 3};

    if (!path)
        return;
    for (size_t t = 0; t < ARRAY_LEN(threads); t++) {
        struct rill_model_opts o = {.device = "cpu", .threads = threads[t], .n_ctx = n_long + 60};
        struct rill_model *m;
        struct rill_stats s;
        struct err e = {0};

        ck_ok(rill_model_open(&m, path, &o, &e), &e);
        if (t == 0) {
            make(all, n_long, m->plan->value[m->plan->logits].cols);
            memset(want, 0, sizeof want);
            for (int i = 0; i < ASKS; i++)
                go(m, all, i, i + 1, 0, want);
        }
        memset(got, 0, sizeof got);
        s = go(m, all, 0, ASKS, 300, got);
        ck_assert_mem_eq(got, want, sizeof want);
        ck_assert_uint_gt(s.cached_rows, (uint64_t)(3 * n_long));
        rill_model_close(m);
    }
}

/* Beyond one partial of 512 positions. */
START_TEST(long_beginnings)
{
    together(testdata("models/stories260K/stories260K.gguf"), 700);
}
END_TEST

START_TEST(every_kind_of_attention)
{
    static const char *const files[] = {"deepseek2", "gemma3", "gpt-oss", "granitehybrid",
                                        "starcoder2"};
    char name[64];

    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        snprintf(name, sizeof name, "tests/golden/arch/%s.gguf", files[i]);
        together(srcfile(name), 200);
    }
}
END_TEST

/* -- what a step takes -- */

struct took {
    double attention, step;
};

static void add_record(void *ctx, const struct rill_record *r)
{
    struct took *t = ctx;

    if (strcmp(r->name, "attn") == 0)
        t->attention += r->seconds;
    if (r->record < 0)
        t->step = r->seconds;
}

/* A step of as many sequences as the engine takes. */
static struct took time_step(struct rill_engine *g, int n_seq, int n_past, bool shared)
{
    const struct rill_times what = {
        .n_seq = n_seq, .n_rows = 1, .n_past = n_past, .shared = shared, .times = 5};
    struct took t = {0};
    struct err e = {0};

    ck_ok(rill_engine_times(g, &what, add_record, &t, &e), &e);
    ck_assert_double_gt(t.attention, 0);
    ck_assert_double_gt(t.step, t.attention / 8); // not the same run, and others run beside
    return t;
}

/* A step of many requests behind one beginning is less work than one of as many that have each
 * their own. On a machine that does nothing else it is 6 times faster, and attention 9 times. */
START_TEST(read_together_is_faster)
{
    enum { SEQS = 32, PAST = 1024 };
    const struct random_model shape = {.shape = "dim=512,layers=1,heads=16,kv=16,ffn=512,vocab=300",
                                       .type = "Q8_0"};
    const struct rill_model_opts mo = {.device = "cpu", .threads = 1, .n_ctx = PAST + 32};
    const struct rill_engine_opts eo = {.max_seq = SEQS, .n_ctx = PAST + 32};
    const char *path = tmpfile_path("shared.gguf");
    struct rill_model *m = NULL;
    struct rill_engine *g = NULL;
    struct took apart, together;
    struct rill_times bad = {.n_seq = SEQS + 1, .n_rows = 1, .times = 1};
    struct err e = {0};

    ck_ok(random_model_write(path, &shape, &e), &e);
    ck_ok(rill_model_open(&m, path, &mo, &e), &e);
    ck_ok(rill_engine_open(&g, m, &eo, &e), &e);
    apart = time_step(g, SEQS, PAST, false);
    together = time_step(g, SEQS, PAST, true);
    printf("32 behind 1,024: attention %.2f ms apart, %.2f together; the step %.2f and %.2f\n",
           1e3 * apart.attention, 1e3 * together.attention, 1e3 * apart.step, 1e3 * together.step);
    if (!SANITIZED) {
        ck_assert_double_gt(apart.attention, 2 * together.attention);
        ck_assert_double_gt(apart.step, 1.3 * together.step);
    }
    bad.n_seq = SEQS + 1;
    ck_assert_int_eq(rill_engine_times(g, &bad, add_record, &apart, &e), E_RANGE);
    rill_engine_close(g);
    rill_model_close(m);
    unlink(path);
}
END_TEST

TEST_MAIN("engine/shared", long_beginnings, every_kind_of_attention, read_together_is_faster)
