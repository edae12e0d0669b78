/* test_split.c - an engine on several devices: answers, forks of them, known beginnings, and saved
 * keys and values are those of one device. */
#include "base/mem.h"
#include "engine/engine.h"
#include "tests/suite.h"

enum { ASKS = 10, CHOICES = 2, IDS = 70, MAKE = 24 };

struct answers {
    int32_t id[ASKS][CHOICES][MAKE];
    int n[ASKS][CHOICES];
};

static struct rill_model *open_model(const char *name, const char *device)
{
    struct rill_model_opts o = {.device = device, .n_ctx = 128};
    struct rill_model *m = NULL;
    struct err e = {0};
    char path[128];

    snprintf(path, sizeof path, "tests/golden/arch/%s.gguf", name);
    ck_ok(rill_model_open(&m, srcfile(path), &o, &e), &e);
    return m;
}

static int n_vocab(const struct rill_model *m)
{
    struct rill_model_info info;

    rill_model_info(m, &info);
    return info.n_vocab;
}

/* All at once: beginnings in common, two answers each. */
static struct rill_stats ask_all(struct rill_engine *g, int vocab, struct answers *out)
{
    struct rill_event ev;
    struct rill_stats s;
    struct err e = {0};
    int of[ASKS], n;

    memset(out, 0, sizeof *out);
    for (int i = 0; i < ASKS; i++) {
        int32_t ids[IDS];
        struct rill_request q = {
            .ids = ids, .n_ids = IDS, .n = CHOICES, .max_tokens = MAKE, .ignore_eos = true};

        q.sampling = rill_sampling_defaults();
        q.sampling.temperature = i % 3 ? 1.0f : 0.0f;
        q.sampling.has_seed = true;
        q.sampling.seed = (uint64_t)i;
        for (int k = 0; k < IDS; k++)
            ids[k] = (k < 40 + i ? k * 7 + i % 2 : k * 5 + i) % vocab;
        ck_ok(rill_engine_submit(g, &q, &of[i], &e), &e);
    }
    while ((n = rill_engine_step(g, &ev, 1, &e)) > 0)
        for (int i = 0; i < ASKS && ev.kind == RILL_TOKEN; i++)
            if (of[i] == ev.request)
                out->id[i][ev.choice][out->n[i][ev.choice]++] = ev.id;
    ck_ok(n, &e);
    rill_engine_stats(g, &s);
    return s;
}

static struct rill_engine *open_engine(struct rill_model *m)
{
    struct rill_engine_opts o = {.max_seq = 24, .max_batch = 96, .n_ctx = 128};
    struct rill_engine *g;
    struct err e = {0};

    ck_ok(rill_engine_open(&g, m, &o, &e), &e);
    return g;
}

static void check_model(const char *name)
{
    static const char *const device[] = {"cpu:1", "cpu:1,cpu:2", "cpu:2=1,cpu:1,experts=cpu:3"};
    static struct answers want, got;

    for (size_t i = 0; i < ARRAY_LEN(device); i++) {
        struct rill_model *m = open_model(name, device[i]);
        struct rill_engine *g = open_engine(m);
        struct rill_stats s;

        ask_all(g, n_vocab(m), i ? &got : &want);
        ck_assert_msg(memcmp(&want, i ? &got : &want, sizeof want) == 0, "%s on %s", name,
                      device[i]);
        s = ask_all(g, n_vocab(m), &got);
        ck_assert_msg(memcmp(&want, &got, sizeof want) == 0, "%s on %s, known", name, device[i]);
        ck_assert_uint_gt(s.cached_rows, 0);
        rill_engine_close(g);
        rill_model_close(m);
    }
    ck_assert_int_eq(want.n[ASKS - 1][CHOICES - 1], MAKE);
}

START_TEST(answers_are_the_same)
{
    check_model("llama");
    check_model("gpt-oss");       // two groups of pages
    check_model("granitehybrid"); // recurrent state, experts
}
END_TEST

/* Keys and values saved on two devices go on there; on others, and where these have other layers,
 * they are refused. */
struct other {
    const char *device, *say;
};

static void check_saved(const char *name, const char *said, const struct other *others,
                        size_t n_other)
{
    const char *path = tmpfile_path("split.kv");
    struct rill_model *m = open_model(name, "cpu:1,cpu:2");
    struct rill_engine *g = open_engine(m);
    int32_t ids[100];
    unsigned char made[100] = {0};
    struct rill_kv kv = {.ids = ids, .made = made, .n = 64};
    struct rill_request q = {.ids = ids, .n_ids = 64, .max_tokens = 20, .ignore_eos = true};
    struct rill_event ev;
    struct err e = {0};
    int32_t first[20], second[20];
    int number, n = 0, cached = 0;

    q.sampling = rill_sampling_defaults();
    q.sampling.temperature = 0.0f;
    for (int i = 0; i < 64; i++)
        ids[i] = (i * 11 + 3) % n_vocab(m);
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    while (rill_engine_step(g, &ev, 1, &e) > 0)
        if (ev.kind == RILL_TOKEN)
            first[n++] = ev.id;
    ck_assert_int_eq(n, 20);
    ck_ok(rill_engine_kv_save(g, &kv, path, &e), &e);
    rill_engine_close(g);

    g = open_engine(m);
    ck_ok(rill_engine_kv_load(g, path, &kv, &e), &e);
    ck_assert_msg(strncmp(kv.device, said, strlen(said)) == 0, "%s", kv.device);
    rill_kv_fini(&kv);
    n = 0;
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    while (rill_engine_step(g, &ev, 1, &e) > 0) {
        if (ev.kind == RILL_TOKEN)
            second[n++] = ev.id;
        if (ev.kind == RILL_DONE)
            cached = ev.cached;
    }
    ck_assert_int_gt(cached, 0);
    ck_assert_int_eq(n, 20);
    ck_assert_mem_eq(first, second, sizeof first);
    rill_engine_close(g);
    rill_model_close(m);

    for (size_t i = 0; i < n_other; i++) {
        m = open_model(name, others[i].device);
        g = open_engine(m);
        memset(&e, 0, sizeof e);
        ck_assert_int_lt(rill_engine_kv_load(g, path, &kv, &e), 0);
        ck_assert_msg(strstr(e.text, others[i].say) != NULL, "%s", e.text);
        rill_engine_close(g);
        rill_model_close(m);
    }
    unlink(path);
}

START_TEST(saved_keys_go_on)
{
    static const struct other state[] = {{"cpu:1", "made on device 'cpu 1, "}};
    static const struct other layers[] = {
        {"cpu:1", "made on device 'cpu 1 + cpu 1, "},
        {"cpu:2=2,cpu:1", "this is 'cpu 2, "},
    };

    check_saved("granitehybrid", "cpu 1, ", state, ARRAY_LEN(state)); // one layer has keys
    check_saved("llama", "cpu 1 + cpu 1, ", layers, ARRAY_LEN(layers));
}
END_TEST

TEST_MAIN("engine/split", answers_are_the_same, saved_keys_go_on)
