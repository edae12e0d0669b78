/* test_adapt.c - adapters while the model runs: the logits are those of the merged model, and every
 * request gets the bytes it would get alone, whatever adapters others have in the same step. */
#include <math.h>

#include "base/mem.h"
#include "base/rng.h"
#include "engine/engine.h"
#include "model/lora.h"
#include "model/model.h"
#include "quant/quant.h"
#include "tests/suite.h"

/* Another room's test may name another device, what it is allowed to be off, and do less. */
#ifndef ADAPT_DEVICE
#define ADAPT_DEVICE "cpu"
#define ADAPT_NAME   "engine/adapt"
#define ADAPT_TOL    2e-4f
#define ADAPT_MAKE   40
#define ADAPT_TURNS  2
#define ADAPT_FAILS  1 // every allocation fails once, or every n-th
#endif

enum { MAKE = ADAPT_MAKE, ASKS = 10 };

/* own: read to be changed, on the CPU. */
static struct rill_model *open_model(const char *path, int threads, bool own)
{
    struct rill_model_opts o = {
        .device = own ? "cpu" : ADAPT_DEVICE, .threads = threads, .no_mmap = own, .n_ctx = 256};
    struct rill_model *m = NULL;
    struct err e = {0};

    if (path)
        ck_ok(rill_model_open(&m, path, &o, &e), &e);
    return m;
}

/* Matrices of the layers, all of them or every `step`-th. */
static bool wanted(const struct weight *w, int i, int step)
{
    return w->n == 1 && w->rows > 1 && strncmp(w->name, "blk.", 4) == 0 && i % step == 0;
}

static void fill(float *p, int64_t n, float size, struct rng *r)
{
    for (int64_t i = 0; i < n; i++)
        p[i] = size * (float)(2 * rng_next_unit(r) - 1);
}

/* An adapter with random pairs, as a file. */
static void make(const struct model *m, const char *path, int rank, int step, uint64_t seed)
{
    struct lora_pair *pair = mem_array((uint64_t)m->n_w, sizeof *pair, NULL);
    struct lora l = {.pair = pair};
    struct rng r = {.seed = seed};
    struct err e = {0};

    for (int i = 0; i < m->n_w; i++) {
        const struct weight *w = &m->w[i];
        struct lora_pair *p = &pair[l.n_pair];

        if (!wanted(w, i, step))
            continue;
        *p = (struct lora_pair){.n = 1, .rank = rank, .rows = w->rows, .cols = w->cols};
        memcpy(p->name, w->name, sizeof p->name);
        p->alpha = 2 * (float)rank;
        p->scale = 2;
        p->type = FMT_F32;
        p->a = mem_array((uint64_t)(rank * w->cols), sizeof *p->a, NULL);
        p->b = mem_array((uint64_t)(rank * w->rows), sizeof *p->b, NULL);
        fill(p->a, rank * w->cols, 0.1f, &r);
        fill(p->b, rank * w->rows, 0.1f, &r);
        l.n_pair++;
    }
    ck_ok(lora_write(&l, m->arch, path, FMT_F32, &e), &e);
    for (uint32_t i = 0; i < l.n_pair; i++) {
        mem_free(pair[i].a);
        mem_free(pair[i].b);
    }
    mem_free(pair);
}

/* Adds it to the weights of a model that was read, not mapped. */
static void merge(struct model *m, const char *path, float s)
{
    struct lora *l;
    struct err e = {0};

    ck_ok(lora_open(&l, path, m->arch, &m->h, &e), &e);
    for (int i = 0; i < m->n_w; i++) {
        const struct lora_pair *p = lora_find(l, slice_of(m->w[i].name));

        for (int64_t k = 0; p && k < p->rows; k++)
            lora_add_row(p, s, 0, k, (float *)m->w[i].part[0].p + k * p->cols);
    }
    lora_close(l);
}

struct answer {
    int32_t id[MAKE];
    float logprob[MAKE];
    int n;
};

static void submit(struct rill_engine *g, const struct rill_lora_use *use, int n_use, int i)
{
    static int32_t ids[ASKS][20];
    struct rill_request q = {
        .ids = ids[i], .n_ids = (size_t)(6 + i), .max_tokens = MAKE, .lora = use, .n_lora = n_use};
    struct err e = {0};
    int number;

    for (size_t k = 0; k < q.n_ids; k++)
        ids[i][k] = k < 4 ? (int32_t)(260 + k) : (int32_t)(260 + (7 * k + (size_t)i) % 200);
    q.ignore_eos = true;
    q.logprobs = true;
    q.sampling = rill_sampling_defaults();
    q.sampling.temperature = 0.2f * (float)(i % 4);
    q.sampling.has_seed = true;
    q.sampling.seed = (uint64_t)i;
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
}

static void drain(struct rill_engine *g, struct answer *out, int first)
{
    struct rill_event ev;
    struct err e = {0};
    int rc;

    engine_guard(g, true);
    while ((rc = rill_engine_step(g, &ev, 1, &e)) > 0)
        if (ev.kind == RILL_TOKEN) {
            struct answer *a = &out[ev.request - first];

            a->id[a->n] = ev.id;
            a->logprob[a->n++] = ev.logprob;
        }
    ck_assert_msg(rc == 0, "%s", e.text);
    engine_guard(g, false);
}

/* -- against the merged model -- */

static void logits_of(struct rill_model *m, const struct rill_lora_use *use, int n_use,
                      const char *const *load, float *out)
{
    static const int32_t ids[] = {1, 300, 301, 280, 333, 290, 410, 275, 299, 401, 264, 390};
    struct rill_request q = {.ids = ids,
                             .n_ids = ARRAY_LEN(ids),
                             .max_tokens = 1,
                             .prompt_logits = true,
                             .lora = use,
                             .n_lora = n_use};
    struct rill_engine_opts o = {.max_seq = 1, .max_lora = load ? 3 : 0};
    struct rill_engine *g;
    struct rill_event ev;
    struct err e = {0};
    int number;

    q.sampling = rill_sampling_defaults();
    ck_ok(rill_engine_open(&g, m, &o, &e), &e);
    for (int i = 0; load && load[i]; i++) {
        ck_ok(rill_engine_lora_load(g, load[i], &number, &e), &e);
        ck_assert_int_eq(number, i);
    }
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    while (rill_engine_step(g, &ev, 1, &e) > 0)
        if (ev.kind == RILL_LOGITS)
            memcpy(out + 512 * ev.pos, ev.logits, 512 * sizeof *out);
    rill_engine_close(g);
}

/* The largest difference, and how far the adapter moves anything at all. */
static void near(const float *want, const float *got, const float *plain)
{
    float diff = 0, moved = 0;

    for (int i = 0; i < 512 * 12; i++) {
        diff = fmaxf(diff, fabsf(want[i] - got[i]));
        moved = fmaxf(moved, fabsf(want[i] - plain[i]));
    }
    ck_assert_float_gt(moved, 1);
    ck_assert_float_lt(diff, ADAPT_TOL);
}

/* Rank 3 fills no vector, rank 16 does; half of one with two thirds of the other. */
START_TEST(as_the_merged_model)
{
    static float plain[512 * 12], want[512 * 12], got[512 * 12];
    const char *stories = testdata("models/stories260K/stories260K.gguf");
    const char *one = tmpfile_path("one.gguf"), *two = tmpfile_path("two.gguf");
    const char *const load[] = {one, two, NULL};
    const struct rill_lora_use use[] = {{0, 0.5f}, {1, 0.7f}};

    for (int mix = 1; stories && mix <= 2; mix++) {
        struct rill_model *m = open_model(stories, 2, false), *own = open_model(stories, 2, true);

        make(m->m, one, 3, 1, 1);
        make(m->m, two, 16, 2, 2);
        logits_of(m, NULL, 0, NULL, plain);
        logits_of(m, use, mix, load, got);
        merge(own->m, one, 0.5f);
        if (mix == 2)
            merge(own->m, two, 0.7f);
        logits_of(own, NULL, 0, NULL, want);
        near(want, got, plain);
        logits_of(m, NULL, 0, load, got); // loaded, but not chosen
        ck_assert_mem_eq(plain, got, sizeof got);
        rill_model_close(own);
        rill_model_close(m);
        unlink(one);
        unlink(two);
    }
}
END_TEST

/* -- in company -- */

static void use_of(int i, struct rill_lora_use use[2], int *n)
{
    *n = i % 4 == 3 ? 2 : i % 4 == 2 ? 0 : 1;
    use[0] = (struct rill_lora_use){i % 2, 0.25f + 0.25f * (float)(i % 3)};
    use[1] = (struct rill_lora_use){2, 1};
}

static struct rill_engine *open_engine(struct rill_model *m, int max_seq, int max_batch,
                                       const char *const *load)
{
    struct rill_engine_opts o = {
        .max_seq = max_seq, .max_batch = max_batch, .n_ctx = 128, .max_lora = 3};
    struct rill_engine *g;
    struct err e = {0};
    int id;

    ck_ok(rill_engine_open(&g, m, &o, &e), &e);
    for (int i = 0; load[i]; i++)
        ck_ok(rill_engine_lora_load(g, load[i], &id, &e), &e);
    return g;
}

/* The same requests alone and together, twice, so that the second time finds what is known; equal
 * beginnings with other adapters must not be. */
START_TEST(bytes_do_not_depend_on_others)
{
    static struct answer want[ASKS], got[ASKS];
    struct rill_model *m = open_model(testdata("models/stories260K/stories260K.gguf"), 1, false);
    const char *const load[] = {tmpfile_path("a.gguf"), tmpfile_path("b.gguf"),
                                tmpfile_path("c.gguf"), NULL};
    struct rill_engine *g;
    struct rill_lora_use use[2];
    int n;

    if (!m)
        return;
    for (int i = 0; i < 3; i++)
        make(m->m, load[i], 4 + i, 1 + i % 2, (uint64_t)(10 + i));
    for (int i = 0; i < ASKS; i++) {
        g = open_engine(m, 1, 0, load);
        use_of(i, use, &n);
        submit(g, use, n, i);
        drain(g, &want[i], 0);
        ck_assert_int_eq(want[i].n, MAKE);
        rill_engine_close(g);
    }
    ck_assert_mem_ne(want[0].id, want[2].id, sizeof want[0].id);
    for (int threads = 0; threads < ADAPT_TURNS; threads++) { // as many threads as rows, and fewer
        struct rill_model *other =
            open_model(testdata("models/stories260K/stories260K.gguf"), 1 + 2 * threads, false);

        g = open_engine(other, ASKS, threads ? 0 : 16, load);
        for (int turn = 0; turn < 2; turn++) {
            memset(got, 0, sizeof got);
            for (int i = 0; i < ASKS; i++) {
                use_of(i, use, &n);
                submit(g, use, n, i);
            }
            drain(g, got, turn * ASKS);
            ck_assert_mem_eq(got, want, sizeof want);
        }
        rill_engine_close(g);
        rill_model_close(other);
    }
    for (int i = 0; i < 3; i++)
        unlink(load[i]);
    rill_model_close(m);
}
END_TEST

/* Loaded in another's place: what is known of that one is not found. */
START_TEST(loaded_and_unloaded)
{
    static struct answer first, second, again;
    struct rill_model *m = open_model(testdata("models/stories260K/stories260K.gguf"), 1, false);
    const char *a = tmpfile_path("a.gguf"), *b = tmpfile_path("b.gguf");
    const char *const none[] = {NULL};
    const struct rill_lora_use use = {0, 1}, missing = {1, 1}, wild = {0, NAN};
    struct rill_request q = {.n_ids = 1, .lora = &missing, .n_lora = 1};
    struct rill_engine *g, *plain;
    struct rill_lora list[2];
    struct err e = {0};
    const int32_t id = 5;
    int slot;

    if (!m)
        return;
    make(m->m, a, 2, 1, 1);
    make(m->m, b, 2, 1, 2);
    g = open_engine(m, 2, 0, none);
    ck_ok(rill_engine_lora_load(g, a, &slot, &e), &e);
    submit(g, &use, 1, 9);
    ck_fails(rill_engine_lora_unload(g, 0, &e), &e, E_BUSY, "adapter 0 is used");
    drain(g, &first, 0);
    ck_ok(rill_engine_lora_unload(g, 0, &e), &e);
    e = (struct err){0};
    ck_fails(rill_engine_lora_unload(g, 0, &e), &e, E_RANGE, "not loaded");
    ck_ok(rill_engine_lora_load(g, b, &slot, &e), &e);
    ck_assert_int_eq(slot, 0);
    submit(g, &use, 1, 9);
    drain(g, &second, 1);
    ck_assert_mem_ne(first.id, second.id, sizeof first.id);
    ck_ok(rill_engine_lora_unload(g, 0, &e), &e);
    ck_ok(rill_engine_lora_load(g, a, &slot, &e), &e);
    submit(g, &use, 1, 9);
    drain(g, &again, 2);
    ck_assert_mem_eq(&first, &again, sizeof first);
    ck_assert_int_eq(rill_engine_lora_list(g, list, 2), 1);
    ck_assert_str_eq(list[0].path, a);
    ck_assert_int_gt(list[0].n_matrix, 30);

    q.ids = &id;
    q.sampling = rill_sampling_defaults();
    e = (struct err){0};
    ck_fails(rill_engine_submit(g, &q, &slot, &e), &e, E_RANGE, "adapter 1 is not loaded");
    q.lora = &wild;
    e = (struct err){0};
    ck_fails(rill_engine_submit(g, &q, &slot, &e), &e, E_RANGE, "scale");
    e = (struct err){0};
    ck_ok(rill_engine_open(&plain, m, NULL, &e), &e);
    ck_fails(rill_engine_lora_load(plain, a, &slot, &e), &e, E_BUSY, "no place");
    rill_engine_close(plain);
    rill_engine_close(g);
    rill_model_close(m);
    unlink(a);
    unlink(b);
}
END_TEST

/* What can only be merged is said, and every allocation may fail. */
START_TEST(refusals)
{
    struct rill_model *m = open_model(testdata("models/stories260K/stories260K.gguf"), 1, false);
    const char *a = tmpfile_path("a.gguf");
    struct rill_engine_opts o = {.max_seq = 1, .n_ctx = 64, .max_lora = 1};
    struct rill_engine *g = NULL;
    struct lora_pair table = {.name = "token_embd.weight",
                              .n = 1,
                              .rank = 1,
                              .rows = 512,
                              .cols = 64,
                              .alpha = 1,
                              .scale = 1,
                              .type = FMT_F32};
    struct lora l = {.pair = &table, .n_pair = 1};
    static float numbers[512];
    struct err e = {0};
    int slot, rc = -1;

    if (!m)
        return;
    table.a = table.b = numbers;
    ck_ok(lora_write(&l, m->m->arch, a, FMT_F32, &e), &e);
    ck_ok(rill_engine_open(&g, m, &o, &e), &e);
    ck_fails(rill_engine_lora_load(g, a, &slot, &e), &e, E_UNSUPPORTED, "rill-convert");
    rill_engine_close(g);
    make(m->m, a, 2, 1, 1);
    for (int n = 1; rc < 0; n += ADAPT_FAILS) {
        e = (struct err){0};
        mem_fail_after(n);
        rc = rill_engine_open(&g, m, &o, &e);
        if (rc == 0) {
            rc = rill_engine_lora_load(g, a, &slot, &e);
            mem_fail_after(-1);
            rill_engine_close(g);
        }
        mem_fail_after(-1);
        ck_assert(rc == 0 || rc == E_NOMEM);
    }
    rill_model_close(m);
    unlink(a);
}
END_TEST

TEST_MAIN(ADAPT_NAME, as_the_merged_model, bytes_do_not_depend_on_others, loaded_and_unloaded,
          refusals)
