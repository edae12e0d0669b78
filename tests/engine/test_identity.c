/* test_identity.c - an answer's bytes are the same whoever else is in the batch: 200 requests
 * (80 in a short run) with different settings alone, together, in small chunks, in so little
 * memory that they are sent back to wait, with and without host memory for them, and with
 * beginnings known from before. */
#include "base/mem.h"
#include "base/rng.h"
#include "engine/engine.h"
#include "tests/suite.h"

enum { N = 200, CHOICES = 3, IDS = 120, ROOM = 120, TEXT = 2048 };

static bool long_run(void)
{
    const char *full = getenv("LONG");

    return full && *full;
}

static int n_ask(void)
{
    return long_run() ? N : 80;
}

struct answer {
    int32_t id[ROOM];
    float logprob[ROOM];
    int n, finish;
    char text[TEXT];
    size_t n_text;
};

struct ask {
    int32_t ids[IDS];
    struct rill_request q;
    struct rill_stop stop;
    struct rill_bias bias[2];
};

static struct rill_model *open_model(const char *path, int threads)
{
    struct rill_model_opts o = {.device = "cpu", .threads = threads};
    struct rill_model *m = NULL;
    struct err e = {0};

    if (path)
        ck_ok(rill_model_open(&m, path, &o, &e), &e);
    return m;
}

static void settings(struct ask *a, struct rng *r, int i)
{
    struct rill_sampling *s = &a->q.sampling;

    *s = rill_sampling_defaults();
    s->temperature = i % 5 == 0 ? 0 : (float)(0.5 + rng_next_unit(r));
    if (i % 3 == 1)
        s->top_k = 1 + (int)(rng_next(r) % 40);
    if (i % 4 == 1)
        s->repetition_penalty = 1.2f;
    if (i % 7 == 1)
        s->dry_multiplier = 0.8f;
    if (i % 7 == 2)
        s->xtc_probability = 0.5f;
    if (i % 7 == 3)
        s->typical_p = 0.7f;
    if (i % 7 == 4)
        s->top_n_sigma = 1;
    if (i % 7 == 5)
        s->dynatemp_range = 0.4f;
    if (i % 11 == 6)
        s->mirostat = 1 + i % 2;
    if (i % 9 == 2)
        s->no_repeat_ngram = 3;
    if (i % 6 == 2) {
        s->has_seed = true;
        s->seed = rng_next(r);
    }
    if (i % 8 == 3) {
        a->bias[0] = (struct rill_bias){300, 2};
        a->bias[1] = (struct rill_bias){301, -INFINITY};
        s->bias = a->bias;
        s->n_bias = 2;
    }
}

static void make(struct ask *all, struct rill_model *m)
{

    static const char *const text[] = {
        "Once upon a time, there was a little girl named Lily. She loved to play outside in the "
        "park "
        "with her friends. One day, she saw",
        "Tom and his dog went to the lake. The sun was warm and the water was cold.", "The fox"};
    struct rng r = {.seed = 3};

    for (int i = 0; i < N; i++) {
        struct ask *a = &all[i];
        struct err e = {0};
        int32_t *ids;
        size_t n;

        memset(a, 0, sizeof *a);
        ck_ok(rill_tokenize(m, text[i % 3], strlen(text[i % 3]), RILL_ADD_SPECIAL, &ids, &n, &e),
              &e);
        n = n < 100 ? n : 100;
        memcpy(a->ids, ids, n * sizeof *ids);
        rill_free(ids);
        for (int k = (int)(rng_next(&r) % 20); k > 0; k--)
            a->ids[n++] = (int32_t)(260 + rng_next(&r) % 200);
        a->q = (struct rill_request){.ids = a->ids,
                                     .n_ids = n,
                                     .max_tokens = i < 12 ? 120 : 1 + (int)(rng_next(&r) % 6),
                                     .n = i % 10 == 0 ? CHOICES : 1,
                                     .ignore_eos = i % 4 == 0,
                                     .logprobs = true,
                                     .top_logprobs = i % 3,
                                     .priority = i < 12,
                                     .client = i % 5};
        a->stop = (struct rill_stop){" the", 4};
        a->q.stop = &a->stop;
        a->q.n_stop = i % 11 == 5;
        if (i % 13 == 6)
            a->q.min_tokens = a->q.max_tokens / 2;
        settings(a, &r, i);
    }
}

static void take(struct answer *all, int base, const struct rill_event *ev)
{
    struct answer *a = &all[(ev->request - base) * CHOICES + ev->choice];

    if (ev->kind == RILL_TOKEN) {
        a->id[a->n] = ev->id;
        a->logprob[a->n++] = ev->logprob;
    }
    ck_assert_uint_le(a->n_text + ev->n_text, sizeof a->text);
    if (ev->n_text)
        memcpy(a->text + a->n_text, ev->text, ev->n_text);
    a->n_text += ev->n_text;
    if (ev->kind == RILL_DONE)
        a->finish = ev->finish;
}

/* All requests through one engine, at most `together` at a time. */
static struct rill_stats ask_all(struct rill_model *m, const struct ask *all,
                                 const struct rill_engine_opts *o, int together, int turns,
                                 struct answer *out)
{
    struct rill_engine *g;
    struct rill_event ev[8];
    struct rill_stats stats;
    struct err e = {0};

    ck_ok(rill_engine_open(&g, m, o, &e), &e);
    for (int turn = 0; turn < turns; turn++) {
        memset(out, 0, sizeof *out * N * CHOICES);
        for (int i = 0; i < n_ask();) {
            int n;

            for (int k = 0; k < together && i < n_ask(); k++, i++) {
                struct rill_request q = all[i].q;
                int number;

                /* one without a seed gets it from its number, which a second turn changes */
                if (!q.sampling.has_seed) {
                    q.sampling.has_seed = true;
                    q.sampling.seed = (uint64_t)i;
                }
                ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
            }
            engine_guard(g, true);
            while ((n = rill_engine_step(g, ev, 8, &e)) > 0)
                for (int k = 0; k < n; k++)
                    take(out, turn * n_ask(), &ev[k]);
            ck_assert_msg(n == 0, "%s", e.text);
            engine_guard(g, false);
        }
    }
    rill_engine_stats(g, &stats);
    rill_engine_close(g);
    return stats;
}

static void compare(const struct answer *want, const struct answer *got, const char *how)
{
    for (int i = 0; i < N * CHOICES; i++)
        if (memcmp(&want[i], &got[i], sizeof *want) != 0)
            ck_abort_msg("%s: request %d, answer %d differs: '%.*s' and '%.*s'", how, i / CHOICES,
                         i % CHOICES, (int)want[i].n_text, want[i].text, (int)got[i].n_text,
                         got[i].text);
}

/* tight_bytes: key/value memory that is not enough for all. */
static void identical(const char *path, uint64_t tight_bytes)
{
    static struct ask all[N];
    static struct answer want[N * CHOICES], got[N * CHOICES];
    struct rill_model *m = open_model(path, 1);
    struct rill_engine_opts alone = {.max_seq = CHOICES, .no_cache = true, .n_ctx = 256};
    struct rill_engine_opts many = {.max_seq = 48, .max_batch = 400, .n_ctx = 256};
    struct rill_engine_opts small = {.max_seq = 9, .max_batch = 13, .n_ctx = 256};
    struct rill_engine_opts tight = {.max_seq = 40, .max_batch = 64, .n_ctx = 256};
    struct rill_engine_opts timed = many;
    struct rill_engine_opts ahead = many;
    struct rill_stats s;
    size_t shown = 0;

    if (!m)
        return;
    tight.kv_bytes = tight_bytes;
    timed.step_seconds = 1e-4;
    make(all, m);
    ask_all(m, all, &alone, 1, 1, want);
    for (int i = 0; i < N * CHOICES; i++)
        shown += want[i].n_text;
    ck_assert_uint_gt(shown, 1500);
    s = ask_all(m, all, &many, N, 2, got);
    compare(want, got, "together, the second time");
    ck_assert_uint_gt(s.cached_rows, s.prompt_rows / 2);
    ahead.max_draft = 8;
    for (int i = 0; i < N; i++)
        all[i].q.draft = i % 9;
    s = ask_all(m, all, &ahead, N, 1, got);
    compare(want, got, "with proposals");
    ck_assert_uint_gt(s.accepted, 0);
    ck_assert_uint_gt(s.drafted, s.accepted);
    for (int i = 0; i < N; i++)
        all[i].q.draft = 0;
    ask_all(m, all, &small, 50, 1, got);
    compare(want, got, "in small chunks");
    if (long_run()) {
        ask_all(m, all, &timed, N, 1, got);
        compare(want, got, "in short steps");
    }
    s = ask_all(m, all, &tight, N, 1, got);
    compare(want, got, "in little memory");
    ck_assert_uint_gt(s.preempted, 0);
    tight.swap_bytes = 16u << 20;
    tight.no_cache = true;
    s = ask_all(m, all, &tight, N, 1, got);
    compare(want, got, "in little memory, with host memory");
    ck_assert_uint_gt(s.swapped, 0);
    rill_model_close(m);
}

START_TEST(floats)
{
    identical(testdata("models/stories260K/stories260K.gguf"), (2u << 20) + (64u << 10));
}
END_TEST

/* Quantized matrices, from the model that comes with rill. */
START_TEST(quantized)
{
    if (long_run())
        identical(srcfile("share/rill-tales.gguf"), 5u << 20);
    else
        test_skip("only in a long run");
}
END_TEST

TEST_MAIN("engine/identity", floats, quantized)
