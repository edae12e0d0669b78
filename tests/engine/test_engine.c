/* test_engine.c - the token loop over a scripted model: every request gets the answer it would get
 * alone, whatever else runs, and ends exactly once. */
#include "base/rng.h"
#include "tests/engine/scripted.h"

enum { MOST = 400 };

struct seen {
    int32_t id[MOST];
    int n;
    int done, finish, code;
    char text[MOST * 8];
    size_t n_text;
    int logits;      // prompt rows seen
};

static void take(struct seen *all, const struct rill_event *ev)
{
    struct seen *s = &all[ev->request];

    ck_assert_int_eq(s->done, 0);
    ck_assert_uint_lt(s->n_text + ev->n_text, sizeof s->text);
    if (ev->n_text)
        memcpy(s->text + s->n_text, ev->text, ev->n_text);
    s->n_text += ev->n_text;
    if (ev->kind == RILL_TOKEN)
        s->id[s->n++] = ev->id;
    if (ev->kind == RILL_LOGITS) {
        ck_assert_int_eq(ev->pos, s->logits++);
        ck_assert_ptr_nonnull(ev->logits);
    }
    if (ev->kind == RILL_DONE) {
        s->done = 1;
        s->finish = ev->finish;
        s->code = ev->code;
    }
}

static int drain(struct rill_engine *g, struct seen *all, int max, struct err *e)
{
    struct rill_event ev[16];
    int n;

    while ((n = rill_engine_step(g, ev, max, e)) > 0) {
        ck_assert_int_le(n, max);
        for (int i = 0; i < n; i++)
            take(all, &ev[i]);
    }
    return n;
}

static struct rill_request greedy(const int32_t *ids, int n_ids, int max_tokens)
{
    struct rill_request q = {.ids = ids, .n_ids = (size_t)n_ids, .max_tokens = max_tokens};

    q.sampling = rill_sampling_defaults();
    q.sampling.temperature = 0;
    q.ignore_eos = true;
    return q;
}

static struct rill_engine *open_guarded(struct script *s, const struct rill_engine_opts *o)
{
    struct rill_engine *g;
    struct err e = {0};

    ck_ok(rill_engine_open(&g, &s->model, o, &e), &e);
    engine_guard(g, true);
    return g;
}

START_TEST(one_request)
{
    const int32_t ids[5] = {1, 9, 3, 60, 2};
    struct script s;
    struct rill_engine *g;
    struct seen seen[1] = {0};
    struct rill_request q = greedy(ids, 5, 40);
    struct err e = {0};
    int32_t want[40];
    int number;

    script_open(&s, 256, 63);
    g = open_guarded(&s, NULL);
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    ck_assert_int_eq(drain(g, seen, 1, &e), 0);
    script_expect(ids, 5, 40, want);
    ck_assert_int_eq(seen[0].n, 40);
    ck_assert_mem_eq(seen[0].id, want, sizeof want);
    ck_assert_int_eq(seen[0].finish, RILL_LENGTH);
    ck_assert_uint_eq(seen[0].n_text, 40 * 4);
    rill_engine_close(g);
    script_close(&s);
}
END_TEST

/* Many requests of random lengths, submitted while others run, some cancelled; small batches, few
 * sequences and tight memory in turn. */
static void crowd(uint64_t seed)
{
    enum { N = 60 };
    static struct seen seen[N];
    static int32_t ids[N][100];
    struct rng r = {.seed = seed};
    struct rill_engine_opts o = {.max_seq = 1 + (int)(rng_next(&r) % 9),
                                 .max_batch = 1 + (int)(rng_next(&r) % 70)};
    int n_ids[N], n_max[N], cancelled[N] = {0};
    struct script s;
    struct rill_engine *g;
    struct err e = {0};
    int sent = 0;
    int n = 1;

    memset(seen, 0, sizeof seen);
    o.kv_bytes = 4u << 20;
    script_open(&s, 256, 63);
    g = open_guarded(&s, &o);
    while (sent < N || n > 0) {
        struct rill_event ev[3];

        while (sent < N && rng_next(&r) % 3) {
            struct rill_request q;
            int number;

            n_ids[sent] = 1 + (int)(rng_next(&r) % 99);
            n_max[sent] = 1 + (int)(rng_next(&r) % 60);
            for (int i = 0; i < n_ids[sent]; i++)
                ids[sent][i] = (int32_t)(rng_next(&r) % SCRIPT_V);
            q = greedy(ids[sent], n_ids[sent], n_max[sent]);
            q.priority = (int)(rng_next(&r) % 2);
            q.prompt_logits = rng_next(&r) % 4 == 0;
            engine_guard(g, false);
            ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
            engine_guard(g, true);
            ck_assert_int_eq(number, sent);
            sent++;
        }
        n = rill_engine_step(g, ev, 1 + (int)(rng_next(&r) % 3), &e);
        ck_assert_msg(n >= 0, "%s", e.text);
        for (int i = 0; i < n; i++)
            take(seen, &ev[i]);
        if (sent && rng_next(&r) % 50 == 0) {
            int who = (int)(rng_next(&r) % (uint64_t)sent);

            rill_engine_cancel(g, who);
            cancelled[who] = 1;
        }
    }
    for (int i = 0; i < N; i++) {
        int32_t want[MOST];

        script_expect(ids[i], n_ids[i], n_max[i], want);
        ck_assert_int_eq(seen[i].done, 1);
        if (seen[i].finish == RILL_CANCELLED)
            ck_assert_int_eq(cancelled[i], 1);
        else
            ck_assert_int_eq(seen[i].finish, RILL_LENGTH);
        if (seen[i].finish == RILL_LENGTH)
            ck_assert_int_eq(seen[i].n, n_max[i]);
        ck_assert_mem_eq(seen[i].id, want, (size_t)seen[i].n * sizeof *want);
    }
    ck_assert_int_le(s.dev.max_rows, o.max_batch > o.max_seq ? o.max_batch : o.max_seq);
    rill_engine_close(g);
    script_close(&s);
}

START_TEST(crowds)
{
    for (uint64_t seed = 0; seed < 12; seed++)
        crowd(seed);
}
END_TEST

START_TEST(ends)
{
    const int32_t ids[3] = {4, 5, 6};
    struct script s;
    struct rill_engine *g;
    static struct seen seen[4];
    struct rill_request q = greedy(ids, 3, 0);
    struct err e = {0};
    int32_t want[MOST];
    int number, end = 0;
    char stop_text[8];
    struct rill_stop stop = {stop_text, 3};

    memset(seen, 0, sizeof seen);
    script_expect(ids, 3, 125, want);
    while (want[end] != want[20])
        end++;
    script_open(&s, 128, want[20]);
    g = open_guarded(&s, NULL);
    engine_guard(g, false);
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e); // to the end of the context
    q.ignore_eos = false;
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e); // to the end token
    snprintf(stop_text, sizeof stop_text, "%02d>", want[7]);
    q.ignore_eos = true;
    q.stop = &stop;
    q.n_stop = 1;
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e); // to a stop string
    engine_guard(g, true);
    ck_assert_int_eq(drain(g, seen, 16, &e), 0);
    ck_assert_int_eq(seen[0].finish, RILL_CONTEXT);
    ck_assert_int_eq(seen[0].n, 125);
    ck_assert_int_eq(seen[1].finish, RILL_STOP);
    ck_assert_int_eq(seen[1].n, end + 1);
    ck_assert_uint_eq(seen[1].n_text, (size_t)end * 4);
    ck_assert_int_eq(seen[2].finish, RILL_STOP);
    ck_assert_uint_eq(seen[2].n_text, 7 * 4 + 1);
    rill_engine_close(g);
    script_close(&s);
}
END_TEST

START_TEST(failures_end_one_request_only)
{
    const int32_t ids[3] = {4, 5, 6};
    const int32_t more[30] = {7};
    struct script s;
    struct rill_engine *g;
    static struct seen seen[2];
    struct rill_request q = greedy(ids, 3, 10);
    struct err e = {0};
    int number;

    memset(seen, 0, sizeof seen);
    script_open(&s, 128, 63);
    s.dev.nan_pos = 9;
    g = open_guarded(&s, NULL);
    engine_guard(g, false);
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    q = greedy(more, 30, 10);
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    engine_guard(g, true);
    ck_assert_int_eq(drain(g, seen, 16, &e), 0);
    ck_assert_int_eq(seen[0].finish, RILL_FAILED);
    ck_assert_int_eq(seen[0].code, E_NUMERIC);
    ck_assert_int_eq(seen[0].n, 7);
    ck_assert_int_eq(seen[1].finish, RILL_LENGTH);
    rill_engine_close(g);
    s.dev.fail_at = s.dev.runs + 2;
    g = open_guarded(&s, NULL);
    engine_guard(g, false);
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    memset(seen, 0, sizeof seen);
    ck_fails(drain(g, seen, 16, &e), &e, E_DEVICE, "device");
    rill_engine_close(g);
    script_close(&s);
}
END_TEST

START_TEST(bad_requests)
{
    const int32_t ids[4] = {0, 63, 64, -1};
    static int32_t many[300];
    struct script s;
    struct rill_engine *g;
    struct rill_engine_opts o = {.max_seq = 2, .kv_bytes = (3 << 20)};
    struct err e = {0};
    struct rill_request q;
    int number;

    script_open(&s, 128, 63);
    g = open_guarded(&s, &o);
    engine_guard(g, false);
#define REFUSED(want, part)                                                                        \
    memset(&e, 0, sizeof e);                                                                       \
    ck_fails(rill_engine_submit(g, &q, &number, &e), &e, want, part)
    q = greedy(ids, 0, 1);
    REFUSED(E_RANGE, "no tokens");
    q = greedy(ids, 3, 1);
    REFUSED(E_RANGE, "token 2");
    q = greedy(ids + 3, 1, 1);
    REFUSED(E_RANGE, "-1");
    q = greedy(many, 128, 1);
    REFUSED(E_CONTEXT, "128");
    q = greedy(ids, 2, -1);
    REFUSED(E_RANGE, "max_tokens");
    q = greedy(ids, 2, 1);
    q.sampling.top_p = 2;
    REFUSED(E_RANGE, "top_p");
#undef REFUSED
    ck_assert_int_eq(drain(g, NULL, 1, &e), 0);
    rill_engine_cancel(g, 77);
    rill_engine_close(g);
    script_close(&s);
}
END_TEST

START_TEST(allocations_fail)
{
    const int32_t ids[3] = {4, 5, 6};
    struct rill_stop stop = {"xyz", 3};
    struct script s;
    bool hit = true;

    script_open(&s, 128, 63);
    for (long n = 0; hit; n++) {
        struct rill_engine *g = NULL;
        static struct seen seen[1];
        struct rill_request q = greedy(ids, 3, 5);
        struct err e = {0};
        int number;
        int rc;

        memset(seen, 0, sizeof seen);
        q.stop = &stop;
        q.n_stop = 1;
        mem_fail_after(n);
        rc = rill_engine_open(&g, &s.model, NULL, &e);
        if (rc == 0)
            rc = rill_engine_submit(g, &q, &number, &e);
        hit = mem_fail_hit();
        mem_fail_after(-1);
        ck_assert_int_eq(rc, hit ? E_NOMEM : 0);
        if (rc == 0)
            ck_assert_int_eq(drain(g, seen, 4, &e), 0);
        rill_engine_close(g);
    }
    script_close(&s);
}
END_TEST

TEST_MAIN("engine/engine", one_request, crowds, ends, failures_end_one_request_only, bad_requests,
          allocations_fail)
