/* test_draft.c - a smaller model proposes tokens: answers keep their bytes and come in fewer steps,
 * and a model that cannot propose is refused. */
#include "base/mem.h"
#include "engine/engine.h"
#include "tests/suite.h"

enum { N = 6, LENGTH = 120, TEXT = 4096 };

struct answers {
    int32_t id[N][LENGTH];
    float logprob[N][LENGTH];
    int n[N];
};

static struct rill_model *open_model(const char *path)
{
    struct rill_model_opts o = {.device = "cpu", .threads = 1};
    struct rill_model *m = NULL;
    struct err e = {0};

    if (path)
        ck_ok(rill_model_open(&m, path, &o, &e), &e);
    return m;
}

/* Six requests at once, with temperatures from 0 to 1.5 and penalties; every other one has its
 * proposals from the second model, if there is one. */
static struct rill_stats ask(struct rill_model *m, struct rill_model *draft,
                             struct rill_model *second, int max, int batch, struct answers *out)
{
    static const char text[] = "Once upon a time there was a little boy who liked to play";
    struct rill_engine_opts o = {
        .max_seq = N, .n_ctx = 256, .max_draft = max, .draft = draft, .max_batch = batch};
    struct rill_engine *g;
    struct rill_stats s;
    struct rill_event ev;
    struct err e = {0};
    int32_t *ids;
    size_t n_ids;
    int rc;

    memset(out, 0, sizeof *out);
    ck_ok(rill_tokenize(m, text, strlen(text), RILL_ADD_SPECIAL, &ids, &n_ids, &e), &e);
    ck_ok(rill_engine_open(&g, m, &o, &e), &e);
    if (second)
        ck_ok(rill_engine_draft(g, second, &e), &e);
    for (int i = 0; i < N; i++) {
        struct rill_request q = {.ids = ids, .n_ids = n_ids - (size_t)i, .max_tokens = LENGTH};
        int number;

        q.draft = max ? max - i % 3 : 0;
        q.draft_model = second ? i % 2 : 0;
        q.ignore_eos = true;
        q.logprobs = true;
        q.sampling = rill_sampling_defaults();
        q.sampling.temperature = 0.3f * (float)i;
        q.sampling.repetition_penalty = i % 2 ? 1.1f : 1;
        ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    }
    engine_guard(g, true);
    while ((rc = rill_engine_step(g, &ev, 1, &e)) > 0)
        if (ev.kind == RILL_TOKEN) {
            out->id[ev.request][out->n[ev.request]] = ev.id;
            out->logprob[ev.request][out->n[ev.request]++] = ev.logprob;
        }
    ck_assert_msg(rc == 0, "%s", e.text);
    rill_engine_stats(g, &s);
    rill_engine_close(g);
    rill_free(ids);
    return s;
}

START_TEST(the_same_bytes_in_fewer_steps)
{
    static struct answers want, got;
    struct rill_model *m = open_model(testdata("models/stories260K/stories260K.gguf"));
    struct rill_model *half =
        m ? open_model(testdata("models/stories260K/stories260K.F16.gguf")) : NULL;
    struct rill_stats plain, s;

    if (!m)
        return;
    plain = ask(m, NULL, NULL, 0, 0, &want);
    s = ask(m, half, NULL, 8, 0, &got);
    ck_assert_mem_eq(&got, &want, sizeof want);
    ck_assert_uint_lt(s.steps, plain.steps / 3);
    ck_assert_uint_gt(s.accepted, s.drafted * 3 / 4);
    s = ask(m, half, NULL, 3, 16, &got); // where not all of it fits into a step
    ck_assert_mem_eq(&got, &want, sizeof want);
    s = ask(m, half, m, 8, 0, &got); // and where some are proposed to by another
    ck_assert_mem_eq(&got, &want, sizeof want);
    ck_assert_uint_lt(s.steps, plain.steps / 3);
    ck_assert_uint_gt(s.accepted, s.drafted * 3 / 4);
    s = ask(m, m, half, 3, 16, &got);
    ck_assert_mem_eq(&got, &want, sizeof want);
    rill_model_close(half);
    rill_model_close(m);
}
END_TEST

START_TEST(another_vocabulary_is_refused)
{
    struct rill_model *m = open_model(testdata("models/stories260K/stories260K.gguf"));
    struct rill_model *other = m ? open_model(srcfile("share/rill-tales.gguf")) : NULL;
    struct rill_model *large = m ? open_model(testdata("models/llama-2-tiny-random/"
                                                       "llama-2-tiny-random.gguf"))
                                 : NULL;
    struct rill_engine_opts o = {.n_ctx = 256, .draft = other};
    const int32_t id = 3;
    struct rill_request q = {.ids = &id, .n_ids = 1, .max_tokens = 1, .draft = 2};
    struct rill_engine *g = NULL;
    struct err e = {0};
    int number;

    if (!m)
        return;
    ck_fails(rill_engine_open(&g, m, &o, &e), &e, E_UNSUPPORTED, "rill-tales.gguf");
    o.draft = large;
    e = (struct err){0};
    ck_fails(rill_engine_open(&g, m, &o, &e), &e, E_UNSUPPORTED, "32000 tokens");
    o.draft = NULL;
    o.max_draft = 2;
    e = (struct err){0};
    ck_ok(rill_engine_open(&g, m, &o, &e), &e);
    ck_fails(rill_engine_draft(g, other, &e), &e, E_UNSUPPORTED, "rill-tales.gguf");
    e = (struct err){0};
    q.draft_model = 1; // the first one added, and none was
    ck_fails(rill_engine_submit(g, &q, &number, &e), &e, E_RANGE, "draft_model 1");
    rill_engine_close(g);
    rill_model_close(large);
    rill_model_close(other);
    rill_model_close(m);
}
END_TEST

/* -- models with recurrent state -- */

enum { LONG = 90 };

static struct rill_stats go(struct rill_model *m, const int32_t *corpus, int draft, float hot,
                            int32_t *out)
{
    const int32_t ids[] = {3, 5, 7, 11, 13, 17, 19, 23};
    struct rill_engine_opts o = {.max_seq = 2, .n_ctx = 128, .max_draft = 9};
    struct rill_request q = {
        .ids = ids, .n_ids = ARRAY_LEN(ids), .max_tokens = LONG, .draft = draft};
    struct rill_engine *g;
    struct rill_stats s;
    struct rill_event ev;
    struct err e = {0};
    int number, n = 0;

    q.ignore_eos = true;
    q.sampling = rill_sampling_defaults();
    q.sampling.temperature = hot;
    ck_ok(rill_engine_open(&g, m, &o, &e), &e);
    if (corpus)
        ck_ok(rill_engine_corpus(g, corpus, LONG, &e), &e);
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    while (rill_engine_step(g, &ev, 1, &e) > 0)
        if (ev.kind == RILL_TOKEN)
            out[n++] = ev.id;
    ck_assert_int_eq(n, LONG);
    rill_engine_stats(g, &s);
    rill_engine_close(g);
    return s;
}

/* A corpus that holds the answer with a wrong token now and then: what follows it is taken back,
 * and the state with it. */
START_TEST(states_go_back)
{
    static const char *const files[] = {"tests/golden/arch/rwkv7.gguf",
                                        "tests/golden/arch/granitehybrid.gguf"};

    for (size_t i = 0; i < 2 * ARRAY_LEN(files); i++) {
        struct rill_model *m = open_model(srcfile(files[i / 2]));
        struct rill_model_info info;
        int32_t want[LONG], got[LONG], corpus[LONG];
        struct rill_stats plain, s;
        const float hot = i % 2 ? 1 : 0;

        rill_model_info(m, &info);
        ck_assert_uint_gt(info.state_bytes, 0);
        plain = go(m, NULL, 0, hot, want);
        memcpy(corpus, want, sizeof corpus);
        for (int k = 11; k < LONG; k += 11)
            corpus[k] = corpus[k] ? corpus[k] - 1 : 1;
        s = go(m, corpus, 9, hot, got);
        ck_assert_mem_eq(got, want, sizeof want);
        ck_assert_uint_gt(s.accepted, LONG / 4);
        ck_assert_uint_gt(s.drafted, s.accepted);
        ck_assert_uint_lt(s.steps, plain.steps * 3 / 4);
        rill_model_close(m);
    }
}
END_TEST

TEST_MAIN("engine/draft", states_go_back, the_same_bytes_in_fewer_steps,
          another_vocabulary_is_refused)
