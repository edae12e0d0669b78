/* test_embed.c - requests for vectors: against the rows that the original gives
 * (tests/golden/arch), every way of pooling, and the same bytes whatever else is in the engine. */
#include "tests/suite.h"

#include <math.h>

#include "base/mem.h"
#include "engine/engine.h"
#include "file/gguf.h"
#include "rill.h"

enum { N = 40, WIDTH = 32, MAX_REQ = 64 };

struct rig {
    struct rill_model *m;
    struct rill_engine *g;
    struct err e;
};

static void rig_open_ctx(struct rig *r, const char *name, struct rill_engine_opts o, int n_ctx)
{
    const struct rill_model_opts mo = {.device = "cpu:2", .n_ctx = n_ctx};
    char path[128];

    memset(r, 0, sizeof *r);
    snprintf(path, sizeof path, "tests/golden/arch/%s.gguf", name);
    ck_ok(rill_model_open(&r->m, srcfile(path), &mo, &r->e), &r->e);
    ck_ok(rill_engine_open(&r->g, r->m, &o, &r->e), &r->e);
    engine_guard(r->g, true);
}

static void rig_open(struct rig *r, const char *name, struct rill_engine_opts o)
{
    rig_open_ctx(r, name, o, 64);
}

static void rig_close(struct rig *r)
{
    rill_engine_close(r->g);
    rill_model_close(r->m);
}

static const struct rill_engine_opts vectors = {.embed = true};

/* The ids and types the goldens were made with. */
static void golden_ids(int32_t ids[N], unsigned char types[N])
{
    for (int i = 0; i < N; i++) {
        ids[i] = (i * 37 + 11) % 64;
        types[i] = i >= 25;
    }
}

static void golden_rows(const char *name, float *row, size_t n)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof path, "tests/golden/arch/%s.logits", name);
    f = fopen(srcfile(path), "rb");
    ck_assert_msg(f != NULL, "%s", path);
    ck_assert_uint_eq(fread(row, sizeof *row, n, f), n);
    fclose(f);
}

/* What came of one request. */
struct got {
    float v[N * WIDTH];
    int n_vector, width, pos[N], finish;
    int32_t ids[N];
    int n_ids;
    char message[160];
};

/* All requests at once; numbers[i] is the i-th's. */
static void follow(struct rig *r, struct got *got)
{
    struct rill_event ev[7];
    int n;

    while ((n = rill_engine_step(r->g, ev, 7, &r->e)) > 0)
        for (int i = 0; i < n; i++) {
            struct got *x = &got[*(const int *)ev[i].user];

            if (ev[i].kind == RILL_VECTOR) {
                x->width = ev[i].n_vector;
                x->pos[x->n_vector] = ev[i].pos;
                memcpy(x->v + x->n_vector++ * ev[i].n_vector, ev[i].vector,
                       (size_t)ev[i].n_vector * sizeof(float));
            } else if (ev[i].kind == RILL_TOKEN) {
                if (x->n_ids >= 0)
                    x->ids[x->n_ids++] = ev[i].id;
            } else if (ev[i].kind == RILL_DONE) {
                x->finish = ev[i].finish;
                snprintf(x->message, sizeof x->message, "%s", ev[i].message ? ev[i].message : "");
            }
        }
    ck_ok(n, &r->e);
}

static void one(struct rig *r, struct rill_request q, struct got *got)
{
    int zero = 0, number;

    memset(got, 0, sizeof *got);
    q.user = &zero;
    r->e = (struct err){0};
    ck_ok(rill_engine_submit(r->g, &q, &number, &r->e), &r->e);
    follow(r, got);
    ck_assert_msg(got->finish == RILL_STOP, "%d: %s", got->finish, got->message);
}

static void near(const float *got, const double *want, int n, bool unit, const char *what)
{
    double len = 0, most = 0;

    for (int i = 0; i < n; i++)
        len += want[i] * want[i];
    for (int i = 0; i < n; i++)
        most = fmax(most, fabs(want[i]));
    for (int i = 0; i < n; i++) {
        double w = unit ? want[i] / sqrt(len) : want[i];

        if (!(fabs((double)got[i] - w) <= 1e-4 * (unit ? most / sqrt(len) : most)))
            ck_abort_msg("%s: number %d is %g, not %g", what, i, (double)got[i], w);
    }
}

static void check_pooling(const char *name)
{
    float row[N * WIDTH];
    double mean[WIDTH] = {0}, at[WIDTH];
    unsigned char types[N];
    int32_t ids[N];
    struct got *got = mem_new(sizeof *got, NULL);
    struct rill_request q = {.ids = ids, .n_ids = N, .types = types};
    struct rig r;

    golden_ids(ids, types);
    golden_rows(name, row, N * WIDTH);
    for (int i = 0; i < N * WIDTH; i++)
        mean[i % WIDTH] += (double)row[i] / N;
    rig_open(&r, name, (struct rill_engine_opts){0});
    for (int raw = 0; raw < 2; raw++) {
        q.raw_vector = raw;
        q.embed = RILL_EMBED_MEAN;
        one(&r, q, got);
        ck_assert_int_eq(got->n_vector, 1);
        near(got->v, mean, WIDTH, !raw, "mean");
        q.embed = RILL_EMBED_CLS;
        one(&r, q, got);
        for (int i = 0; i < WIDTH; i++)
            at[i] = (double)row[i];
        near(got->v, at, WIDTH, !raw, "cls");
        q.embed = RILL_EMBED_LAST;
        one(&r, q, got);
        for (int i = 0; i < WIDTH; i++)
            at[i] = (double)row[(N - 1) * WIDTH + i];
        near(got->v, at, WIDTH, !raw, "last");
        q.embed = RILL_EMBED_NONE;
        one(&r, q, got);
        ck_assert_int_eq(got->n_vector, N);
        for (int t = 0; t < N; t++) {
            ck_assert_int_eq(got->pos[t], t);
            for (int i = 0; i < WIDTH; i++)
                at[i] = (double)row[t * WIDTH + i];
            near(got->v + t * WIDTH, at, WIDTH, !raw, "none");
        }
    }
    rig_close(&r);
    mem_free(got);
}

START_TEST(bert_rows_are_pooled)
{
    check_pooling("bert");
}
END_TEST

START_TEST(nomic_bert_rows_are_pooled)
{
    check_pooling("nomic-bert");
}
END_TEST

START_TEST(a_reranker_scores)
{
    float row[N * WIDTH + 1];
    unsigned char types[N];
    int32_t ids[N];
    struct got *got = mem_new(sizeof *got, NULL);
    struct rill_request q = {.ids = ids, .n_ids = N, .types = types, .embed = RILL_EMBED_MODEL};
    struct rill_model_info info;
    struct rig r;

    golden_ids(ids, types);
    golden_rows("bert-rank", row, N * WIDTH + 1);
    rig_open(&r, "bert-rank", (struct rill_engine_opts){0});
    rill_model_info(r.m, &info);
    ck_assert(info.encoder && info.pooling == RILL_EMBED_RANK && info.n_score == 1 &&
              info.n_type == 2);
    one(&r, q, got);
    ck_assert_int_eq(got->width, 1);
    ck_assert(fabsf(got->v[0] - row[N * WIDTH]) <= 1e-4f * fabsf(row[N * WIDTH]));
    /* the types of a pair's second text matter */
    q.types = NULL;
    one(&r, q, got);
    ck_assert(fabsf(got->v[0] - row[N * WIDTH]) > 1e-3f);
    rig_close(&r);
    mem_free(got);
}
END_TEST

START_TEST(a_decoders_rows_make_its_logits)
{
    int32_t ids[N];
    unsigned char types[N];
    float *logits = mem_array(N * 64, sizeof *logits, NULL);
    struct got *last = mem_new(sizeof *last, NULL), *all = mem_new(sizeof *all, NULL);
    struct rill_request q = {.ids = ids, .n_ids = N, .embed = RILL_EMBED_MODEL, .raw_vector = true};
    double mean[WIDTH] = {0};
    struct gguf *file;
    struct rig r;

    golden_ids(ids, types);
    golden_rows("llama", logits, N * 64);
    rig_open(&r, "llama", vectors);
    ck_ok(gguf_open(&file, srcfile("tests/golden/arch/llama.gguf"), 0, &r.e), &r.e);
    const float *table = (const float *)(const void *)gguf_tensor(file, "token_embd.weight")->p;
    one(&r, q, last);
    q.embed = RILL_EMBED_NONE;
    one(&r, q, all);
    ck_assert_int_eq(all->n_vector, N);
    ck_assert(memcmp(last->v, all->v + (N - 1) * WIDTH, WIDTH * sizeof(float)) == 0);
    for (int t = 0; t < N; t++)
        for (int k = 0; k < 64; k++) {
            double sum = 0;

            for (int i = 0; i < WIDTH; i++)
                sum += (double)table[k * WIDTH + i] * (double)all->v[t * WIDTH + i];
            if (!(fabs(sum - (double)logits[t * 64 + k]) < 1e-3))
                ck_abort_msg("position %d, token %d: %g", t, k, sum);
        }
    for (int i = 0; i < N * WIDTH; i++)
        mean[i % WIDTH] += (double)all->v[i] / N;
    q.embed = RILL_EMBED_MEAN;
    q.raw_vector = false;
    one(&r, q, last);
    near(last->v, mean, WIDTH, true, "mean");
    gguf_close(file);
    rig_close(&r);
    mem_free(last);
    mem_free(all);
    mem_free(logits);
}
END_TEST

/* -- the same bytes -- */

struct mix {
    int32_t ids[MAX_REQ][N];
    struct rill_request q[MAX_REQ];
    int which[MAX_REQ], n;
};

/* Texts of all lengths, some with a common beginning; generation between them. */
static struct mix *mix_new(bool encoder)
{
    struct mix *m = mem_new(sizeof *m, NULL);

    for (m->n = 0; m->n < 32; m->n++) {
        int k = m->n, len = k % 3 == 0 ? N : 1 + k * 7 % N;

        for (int i = 0; i < len; i++)
            m->ids[k][i] = (i * 37 + (i < 33 && k % 3 == 0 ? 11 : k + 3)) % 64;
        m->which[k] = k;
        m->q[k] = (struct rill_request){
            .ids = m->ids[k],
            .n_ids = (size_t)len,
            .embed = RILL_EMBED_NONE + k % 4,
            .raw_vector = k % 5 == 0,
            .user = &m->which[k],
        };
        if (!encoder && k % 4 == 1) {
            m->q[k].embed = RILL_EMBED_OFF;
            m->q[k].max_tokens = 9;
            m->q[k].ignore_eos = true;
            m->q[k].sampling = rill_sampling_defaults();
            m->q[k].sampling.has_seed = true;
            m->q[k].sampling.seed = (uint64_t)k;
        }
    }
    return m;
}

static struct got *mix_play(struct mix *m, const char *name, struct rill_engine_opts o, bool alone)
{
    struct got *got = mem_array((uint64_t)m->n, sizeof *got, NULL);
    struct rig r;
    int number;

    rig_open(&r, name, o);
    for (int k = 0; k < m->n; k++) {
        ck_ok(rill_engine_submit(r.g, &m->q[k], &number, &r.e), &r.e);
        if (alone)
            follow(&r, got);
    }
    follow(&r, got);
    rig_close(&r);
    return got;
}

static void same_whatever_the_batch(const char *name, bool encoder)
{
    struct mix *m = mix_new(encoder);
    const struct rill_engine_opts ways[] = {
        {.embed = true, .max_seq = 1, .no_cache = true},
        {.embed = true, .max_seq = 16},
        {.embed = true, .max_seq = 5, .max_batch = 7},
        {.embed = true, .max_seq = 16, .max_batch = 64, .step_seconds = 1e-5},
    };
    struct got *first = mix_play(m, name, ways[0], true);

    for (int k = 0; k < m->n; k++)
        ck_assert_int_eq(first[k].n_vector, m->q[k].embed == RILL_EMBED_OFF    ? 0
                                            : m->q[k].embed == RILL_EMBED_NONE ? (int)m->q[k].n_ids
                                                                               : 1);
    for (size_t w = 1; w < ARRAY_LEN(ways); w++) {
        struct got *got = mix_play(m, name, ways[w], false);

        for (int k = 0; k < m->n; k++)
            if (memcmp(&got[k], &first[k], sizeof got[k]) != 0)
                ck_abort_msg("%s: request %d differs in way %zu (%s)", name, k, w, got[k].message);
        mem_free(got);
    }
    mem_free(first);
    mem_free(m);
}

START_TEST(an_encoders_vectors_are_the_same_in_any_company)
{
    same_whatever_the_batch("bert", true);
    same_whatever_the_batch("nomic-bert", true);
}
END_TEST

START_TEST(a_decoders_vectors_are_the_same_in_any_company)
{
    same_whatever_the_batch("llama", false);
    same_whatever_the_batch("gemma2", false);
    same_whatever_the_batch("rwkv7", false);
}
END_TEST

/* Texts that are sent back to wait in their middle: others that generate need the memory. */
static struct got *play_long(struct rill_engine_opts o, bool alone, uint64_t *preempted)
{
    enum { GEN = 16, ALL = 18, LEN = 1000, AT = 400 };
    struct got *got = mem_array(ALL, sizeof *got, NULL);
    int32_t *ids = mem_array(LEN, sizeof *ids, NULL);
    int which[ALL], number;
    struct rill_stats stats;
    struct rig r;

    rig_open_ctx(&r, "llama", o, 1024);
    for (int k = 0; k < ALL; k++) {
        struct rill_request q = {.ids = ids, .n_ids = k < GEN ? 5 : LEN};

        which[k] = k;
        q.user = &which[k];
        for (int i = 0; i < LEN; i++)
            ids[i] = (i * 7 + k * 13 + i / 9) % 64;
        q.embed = k < GEN ? RILL_EMBED_OFF : k % 2 ? RILL_EMBED_MEAN : RILL_EMBED_LAST;
        q.max_tokens = k < GEN ? 500 : 0;
        q.ignore_eos = true;
        q.sampling = rill_sampling_defaults();
        if (k < GEN && alone)
            continue;
        if (k == GEN && !alone) /* most of the memory is taken when they come */
            for (struct rill_event ev[GEN]; rill_engine_step(r.g, ev, GEN, &r.e) > 0;)
                if (ev[0].pos >= AT)
                    break;
        ck_ok(rill_engine_submit(r.g, &q, &number, &r.e), &r.e);
        if (alone)
            follow(&r, got);
    }
    for (int k = 0; k < GEN; k++)
        got[k].n_ids = -1; // they are not kept
    follow(&r, got);
    rill_engine_stats(r.g, &stats);
    *preempted = stats.preempted;
    rig_close(&r);
    mem_free(ids);
    return got;
}

START_TEST(sent_back_in_the_middle)
{
    struct rill_engine_opts o = {
        .embed = true, .max_seq = 18, .max_batch = 18, .kv_bytes = 2200 << 10};
    uint64_t times;
    struct got *alone = play_long(vectors, true, &times);

    for (int swap = 0; swap < 2; swap++) {
        struct got *got;

        o.swap_bytes = swap ? 4 << 20 : 0;
        got = play_long(o, false, &times);
        ck_assert_uint_gt(times, 0);
        for (int k = 16; k < 18; k++)
            if (got[k].n_vector != 1 || memcmp(got[k].v, alone[k].v, WIDTH * sizeof(float)) != 0)
                ck_abort_msg("request %d differs, swap %d", k, swap);
        mem_free(got);
    }
    mem_free(alone);
}
END_TEST

START_TEST(a_known_beginning_is_found)
{
    struct mix *m = mix_new(false);
    struct got *got = mem_array((uint64_t)m->n, sizeof *got, NULL);
    struct rill_stats was, now;
    int number;
    struct rig r;

    rig_open(&r, "llama", vectors);
    for (int round = 0; round < 2; round++) {
        m->q[3].embed = RILL_EMBED_LAST;
        rill_engine_stats(r.g, &was);
        ck_ok(rill_engine_submit(r.g, &m->q[round * 3], &number, &r.e), &r.e);
        follow(&r, got);
        rill_engine_stats(r.g, &now);
        ck_assert_uint_eq(now.cached_rows - was.cached_rows, round ? 32 : 0);
    }
    rig_close(&r);
    mem_free(got);
    mem_free(m);
}
END_TEST

/* -- what cannot be -- */

static void refused(struct rig *r, const struct rill_request *q, int code, const char *part)
{
    int number;

    r->e = (struct err){0};
    ck_fails(rill_engine_submit(r->g, q, &number, &r->e), &r->e, code, part);
}

START_TEST(what_cannot_be_is_said)
{
    int32_t ids[65] = {0};
    unsigned char types[65] = {0};
    struct rill_request q = {.ids = ids, .n_ids = 65, .embed = RILL_EMBED_MODEL};
    struct got *got = mem_new(sizeof *got, NULL);
    struct rig r;

    rig_open(&r, "bert", (struct rill_engine_opts){.max_batch = 4});
    refused(&r, &q, E_CONTEXT, "the text has 65 tokens, the context 64");
    q.n_ids = 64; /* the whole context, more rows than a step was asked to have */
    one(&r, q, got);
    q.n_ids = 3;
    types[2] = 2;
    q.types = types;
    refused(&r, &q, E_RANGE, "has type 2");
    q.types = NULL;
    q.embed = RILL_EMBED_RANK;
    refused(&r, &q, E_UNSUPPORTED, "no reranker");
    q.embed = RILL_EMBED_OFF;
    refused(&r, &q, E_UNSUPPORTED, "encoder");
    q.embed = RILL_EMBED_RANK + 1;
    refused(&r, &q, E_RANGE, "pooling 7");
    q.embed = RILL_EMBED_MEAN;
    q.n = 2;
    refused(&r, &q, E_UNSUPPORTED, "one answer");
    rig_close(&r);
    rig_open(&r, "llama", (struct rill_engine_opts){0});
    q.n = 0;
    refused(&r, &q, E_UNSUPPORTED, "was not opened");
    rig_close(&r);
    mem_free(got);
}
END_TEST

START_TEST(cancelled_in_the_middle)
{
    int32_t ids[64] = {0};
    struct rill_request q = {.ids = ids, .n_ids = 64, .embed = RILL_EMBED_MEAN, .progress = true};
    struct rill_event ev;
    int number, zero = 0;
    struct rig r;

    rig_open(&r, "llama", (struct rill_engine_opts){.embed = true, .max_batch = 32});
    q.user = &zero;
    ck_ok(rill_engine_submit(r.g, &q, &number, &r.e), &r.e);
    ck_assert_int_eq(rill_engine_step(r.g, &ev, 1, &r.e), 1);
    ck_assert(ev.kind == RILL_PROMPT && ev.pos == 32);
    rill_engine_cancel(r.g, number);
    ck_assert_int_eq(rill_engine_step(r.g, &ev, 1, &r.e), 1);
    ck_assert(ev.kind == RILL_DONE && ev.finish == RILL_CANCELLED);
    ck_assert_int_eq(rill_engine_step(r.g, &ev, 1, &r.e), 0);
    rig_close(&r);
}
END_TEST

START_TEST(every_allocation_may_fail)
{
    const struct rill_model_opts mo = {.device = "cpu:1", .n_ctx = 64};
    static const char *const names[] = {"bert-rank", "llama"};
    int32_t ids[N] = {1, 2, 3};
    struct rill_request q = {.ids = ids, .n_ids = N, .embed = RILL_EMBED_MEAN};

    for (int k = 0; k < 2; k++) {
        char path[128];
        struct rill_model *m;
        struct err e = {0};
        bool done = false;

        snprintf(path, sizeof path, "tests/golden/arch/%s.gguf", names[k]);
        ck_ok(rill_model_open(&m, srcfile(path), &mo, &e), &e);
        for (int n = 0; !done && n < 2000; n++) {
            struct rill_engine *g = NULL;
            struct rill_event ev;
            int number, rc;

            mem_fail_after(n);
            rc = rill_engine_open(&g, m, &vectors, &e);
            rc = rc < 0 ? rc : rill_engine_submit(g, &q, &number, &e);
            done = rc == 0 && rill_engine_step(g, &ev, 1, &e) == 1;
            mem_fail_after(-1);
            ck_assert(rc == 0 || rc == E_NOMEM);
            rill_engine_close(g);
        }
        ck_assert(done);
        rill_model_close(m);
    }
}
END_TEST

TEST_MAIN("engine/embed", bert_rows_are_pooled, nomic_bert_rows_are_pooled, a_reranker_scores,
          a_decoders_rows_make_its_logits, an_encoders_vectors_are_the_same_in_any_company,
          a_decoders_vectors_are_the_same_in_any_company, sent_back_in_the_middle,
          a_known_beginning_is_found, what_cannot_be_is_said, cancelled_in_the_middle,
          every_allocation_may_fail)
