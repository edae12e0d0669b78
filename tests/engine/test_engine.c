/* test_engine.c - the token loop over a scripted model: every request gets the answer it would get
 * alone, whatever else runs, and ends exactly once. */
#include "base/rng.h"
#include "tests/engine/scripted.h"

enum { MOST = 400 };

enum { CHOICES = 4 };

struct seen {
    int32_t id[MOST];
    int n;
    int done, finish, code, cached;
    char message[160];
    char text[MOST * 8];
    size_t n_text;
    int logits; // prompt rows seen
};

static void take(struct seen *all, const struct rill_event *ev)
{
    struct seen *s = &all[ev->request * CHOICES + ev->choice];

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
        s->cached = ev->cached;
        snprintf(s->message, sizeof s->message, "%s", ev->message ? ev->message : "");
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
    static struct seen seen[CHOICES];
    struct rill_request q = greedy(ids, 5, 40);
    struct err e = {0};
    int32_t want[40];
    int number;

    script_open(&s, 256, 63);
    g = open_guarded(&s, NULL);
    engine_guard(g, false);
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    engine_guard(g, true);
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

/* -- crowds: many requests of random lengths with shared beginnings, submitted while others run,
 * some cancelled; small batches, few sequences and little memory in turn -- */

enum { CROWD = 60, IDS = 160 };

struct crowd {
    int32_t ids[CROWD][IDS];
    int n_ids[CROWD], n_max[CROWD], n[CROWD];
    bool cancelled[CROWD];
    struct seen seen[CROWD * CHOICES];
    struct rng r;
};

static int up_to(struct crowd *c, int n)
{
    return (int)(rng_next(&c->r) % (uint64_t)n);
}

static void submit_one(struct crowd *c, struct rill_engine *g, int i, int max_draft)
{
    struct rill_request q;
    struct err e = {0};
    int number, same = i > 0 ? up_to(c, i) : 0;

    c->n_ids[i] = 1 + up_to(c, IDS);
    c->n_max[i] = 1 + up_to(c, 60);
    for (int k = 0; k < c->n_ids[i]; k++)
        c->ids[i][k] = up_to(c, SCRIPT_V);
    if (i > 0 && up_to(c, 3)) // begins as another does
        memcpy(c->ids[i], c->ids[same], (size_t)(up_to(c, c->n_ids[i]) + 1) * sizeof **c->ids);
    for (int k = 0; k < c->n_ids[i]; k++)
        c->ids[i][k] &= SCRIPT_V - 1;
    q = greedy(c->ids[i], c->n_ids[i], c->n_max[i]);
    q.priority = up_to(c, 2);
    q.client = up_to(c, 3);
    q.weight = (float)(1 + q.client);
    q.prompt_logits = up_to(c, 5) == 0;
    q.pin = up_to(c, 40) == 0;
    q.n = 1 + up_to(c, CHOICES);
    q.draft = up_to(c, max_draft + 1);
    c->n[i] = q.n;
    engine_guard(g, false);
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    engine_guard(g, true);
    ck_assert_int_eq(number, i);
}

static void check_crowd(const struct crowd *c, bool one_path)
{
    for (int i = 0; i < CROWD; i++)
        for (int k = 0; k < c->n[i]; k++) {
            const struct seen *s = &c->seen[i * CHOICES + k];
            int32_t want[MOST];

            script_expect_on(one_path, c->ids[i], c->n_ids[i], c->n_max[i], want);
            ck_assert_int_eq(s->done, 1);
            if (s->finish == RILL_CANCELLED)
                ck_assert(c->cancelled[i]);
            else
                ck_assert_int_eq(s->finish, RILL_LENGTH);
            if (s->finish == RILL_LENGTH)
                ck_assert_int_eq(s->n, c->n_max[i]);
            ck_assert_mem_eq(s->id, want, (size_t)s->n * sizeof *want);
        }
}

/* draft: kind of the smaller model that proposes tokens, of which one in seven is wrong; -1: none.
 */
static struct rill_stats crowd(uint64_t seed, int kind, uint64_t kv, uint64_t swap, int draft)
{
    static struct crowd c;
    struct rill_engine_opts o = {.kv_bytes = kv, .swap_bytes = swap};
    struct rill_stats stats;
    struct script s, small;
    struct rill_engine *g;
    struct err e = {0};
    int sent = 0, n = 1;

    memset(&c, 0, sizeof c);
    c.r.seed = seed;
    o.max_seq = 1 + up_to(&c, 9);
    o.max_batch = 8 + up_to(&c, 70);
    o.no_cache = seed % 4 == 3;
    o.max_draft = seed % 2 ? 6 : 0;
    o.step_seconds = seed % 3 == 1 ? 1e-5 : 0;
    script_open_kind(&s, 256, 63, kind);
    script_open_kind(&small, seed % 5 ? 256 : 100, 63, draft < 0 ? SCRIPT_PLAIN : draft);
    if (draft >= 0) {
        s.dev.one_path = small.dev.one_path = true;
        small.dev.wrong = 7;
        o.max_draft = 6;
        o.draft = &small.model;
    }
    g = open_guarded(&s, &o);
    while (sent < CROWD || n > 0) {
        struct rill_event ev[3];

        while (sent < CROWD && up_to(&c, 3))
            submit_one(&c, g, sent++, o.max_draft);
        n = rill_engine_step(g, ev, 1 + up_to(&c, 3), &e);
        ck_assert_msg(n >= 0, "%s", e.text);
        for (int i = 0; i < n; i++)
            take(c.seen, &ev[i]);
        if (sent && up_to(&c, 50) == 0) {
            int who = up_to(&c, sent);

            rill_engine_cancel(g, who);
            c.cancelled[who] = true;
        }
    }
    check_crowd(&c, draft >= 0);
    ck_assert_int_le(s.dev.max_rows, g->seg.max_t);
    ck_assert_uint_le(s.dev.pinned, swap);
    rill_engine_stats(g, &stats);
    rill_engine_close(g);
    script_close(&s);
    script_close(&small);
    return stats;
}

START_TEST(crowds)
{
    for (int kind = 0; kind < SCRIPT_KINDS; kind++) {
        uint64_t cached = 0;

        for (uint64_t seed = 0; seed < 6; seed++)
            cached += crowd(seed, kind, 5u << 20, 0, -1).cached_rows;
        ck_assert_msg(cached > 0, "kind %d", kind);
    }
}
END_TEST

/* A smaller model proposes: whatever kind it is of, and whatever kind the other is of. */
START_TEST(crowds_with_a_smaller_model)
{
    for (int kind = 0; kind < SCRIPT_KINDS; kind++)
        for (int draft = 0; draft < SCRIPT_KINDS; draft++) {
            struct rill_stats s = crowd((uint64_t)(7 * kind + draft), kind, 5u << 20, 0, draft);

            ck_assert_uint_gt(s.accepted, s.drafted / 2);
            ck_assert_uint_gt(s.drafted, s.accepted);
        }
    for (uint64_t seed = 0; seed < 4; seed++)
        crowd(100 + seed, SCRIPT_TIGHT, (2u << 20) + (128u << 10), seed % 2 ? 4u << 20 : 0,
              SCRIPT_RECURRENT);
}
END_TEST

/* A page is 128 KiB here: memory for 16 blocks, of which one sequence may need seven. */
START_TEST(crowds_in_little_memory)
{
    uint64_t preempted = 0, swapped = 0;

    for (uint64_t seed = 0; seed < 16; seed++) {
        struct rill_stats s =
            crowd(100 + seed, SCRIPT_TIGHT, (2u << 20) + (128u << 10), seed % 2 ? 4u << 20 : 0, -1);

        preempted += s.preempted;
        swapped += s.swapped;
    }
    ck_assert_uint_ge(preempted, 10);
    ck_assert_uint_gt(swapped, 5);
}
END_TEST

/* States of those that wait are as large as a slab of pages: they come out of the same bytes. */
START_TEST(host_memory_is_bounded)
{
    struct rill_engine_opts o = {.swap_bytes = 2 * SCRIPT_STATE_BYTES - 1};
    struct rill_engine *g = NULL;
    struct err e = {0};
    struct script s;
    uint64_t swapped = 0;

    for (uint64_t seed = 0; seed < 8; seed++)
        swapped += crowd(100 + seed, SCRIPT_HEAVY, (2u << 20) + (128u << 10),
                         (4u << 20) + (256u << 10), -1)
                       .swapped;
    ck_assert_uint_gt(swapped, 5);
    script_open_kind(&s, 256, 63, SCRIPT_HEAVY);
    ck_assert_int_eq(rill_engine_open(&g, &s.model, &o, &e), E_RANGE);
    ck_assert_ptr_nonnull(strstr(e.text, "at least 2097152 are needed"));
    ck_assert_ptr_null(g);
    script_close(&s);
}
END_TEST

/* -- proposals -- */

/* A text that goes round in circles, when `next` is a fixed walk: all that is proposed is right.
 * The same text comes in far fewer steps, and with a corpus from the first token on. */
START_TEST(proposals_save_steps)
{
    enum { N = 200 };
    const int32_t ids[2] = {5, 6};
    struct script s;
    static struct seen seen[CHOICES], plain[CHOICES];
    struct rill_engine_opts o = {.max_seq = 2, .max_draft = 16};
    struct rill_request q = greedy(ids, 2, N);
    struct rill_stats stats;
    struct rill_engine *g;
    struct err e = {0};
    int number, runs[3];

    for (int how = 0; how < 3; how++) {
        memset(seen, 0, sizeof seen);
        script_open(&s, 256, 63);
        s.dev.walk = 7;
        g = open_guarded(&s, &o);
        engine_guard(g, false);
        q.draft = how ? 16 : 0;
        if (how == 2)
            ck_ok(rill_engine_corpus(g, plain[0].id, N, &e), &e);
        ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
        engine_guard(g, true);
        ck_assert_int_eq(drain(g, seen, 16, &e), 0);
        rill_engine_stats(g, &stats);
        runs[how] = s.dev.runs;
        if (how == 0)
            memcpy(plain, seen, sizeof plain);
        else
            ck_assert_mem_eq(seen, plain, sizeof plain);
        ck_assert_uint_eq(stats.accepted > 0, how > 0);
        ck_assert_uint_le(stats.accepted, stats.drafted);
        rill_engine_close(g);
        script_close(&s);
    }
    ck_assert_int_eq(runs[0], N);
    ck_assert_int_lt(runs[1], N / 2);
    ck_assert_int_lt(runs[2], N / 5);
}
END_TEST

/* A text that goes round in circles, but for one token in 17: it is followed all the same. */
START_TEST(changed_words_save_steps_too)
{
    enum { N = 400 };
    const int32_t ids[2] = {5, 6};
    struct rill_engine_opts o = {.max_seq = 1, .max_draft = 16};
    struct rill_request q = greedy(ids, 2, N);
    static struct seen seen[CHOICES], plain[CHOICES];
    struct rill_engine *g;
    struct script s;
    struct err e = {0};
    int number;

    for (int how = 0; how < 2; how++) {
        memset(seen, 0, sizeof seen);
        script_open(&s, 512, 63);
        s.dev.walk = 7;
        s.dev.wrong = 17;
        g = open_guarded(&s, &o);
        engine_guard(g, false);
        q.draft = how ? 16 : 0;
        ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
        engine_guard(g, true);
        ck_assert_int_eq(drain(g, seen, 16, &e), 0);
        if (how == 0)
            memcpy(plain, seen, sizeof plain);
        ck_assert_mem_eq(seen, plain, sizeof plain);
        ck_assert_int_le(s.dev.runs, how ? N / 2 : N);
        rill_engine_close(g);
        script_close(&s);
    }
}
END_TEST

/* -- known beginnings -- */

START_TEST(a_second_request_finds_the_first)
{
    struct script s;
    struct rill_engine *g;
    static struct seen seen[3 * CHOICES];
    static int32_t ids[100];
    int32_t want[20];
    struct rill_request q = greedy(ids, 100, 20);
    struct rill_stats stats;
    struct err e = {0};
    int number;

    memset(seen, 0, sizeof seen);
    for (int i = 0; i < 100; i++)
        ids[i] = i * i % SCRIPT_V;
    script_expect(ids, 100, 20, want);
    script_open(&s, 256, 63);
    g = open_guarded(&s, NULL);
    for (int i = 0; i < 3; i++) {
        engine_guard(g, false);
        q.salt = i == 2;
        ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
        engine_guard(g, true);
        ck_assert_int_eq(drain(g, seen, 16, &e), 0);
        ck_assert_mem_eq(seen[i * CHOICES].id, want, sizeof want);
    }
    ck_assert_int_eq(seen[0].cached, 0);
    ck_assert_int_eq(seen[1 * CHOICES].cached, 96);
    ck_assert_int_eq(seen[2 * CHOICES].cached, 0); // another client's
    rill_engine_stats(g, &stats);
    ck_assert_uint_eq(stats.cached_rows, 96);
    ck_assert_uint_eq(stats.prompt_rows, 100 + 4 + 100);
    rill_engine_close(g);
    script_close(&s);
}
END_TEST

/* Many requests over one beginning, submitted together: it is computed once and held once. */
START_TEST(a_shared_beginning_is_computed_once)
{
    enum { N = 16 };
    struct script s;
    struct rill_engine *g;
    static struct seen seen[N * CHOICES];
    static int32_t ids[N][140];
    struct rill_engine_opts o = {.max_seq = N, .max_batch = 64};
    struct rill_stats stats;
    struct err e = {0};
    int number;

    memset(seen, 0, sizeof seen);
    script_open(&s, 256, 63);
    g = open_guarded(&s, &o);
    engine_guard(g, false);
    for (int i = 0; i < N; i++) {
        struct rill_request q;

        for (int k = 0; k < 140; k++)
            ids[i][k] = (k < 130 ? k * 7 : k * 7 + i) % SCRIPT_V;
        q = greedy(ids[i], 140, 30);
        ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    }
    engine_guard(g, true);
    for (int k = 0; k < 8; k++) {
        struct rill_event ev[64];
        int n = rill_engine_step(g, ev, 64, &e);

        ck_assert_int_gt(n, 0);
        for (int i = 0; i < n; i++)
            take(seen, &ev[i]);
    }
    rill_engine_stats(g, &stats);
    ck_assert_int_eq(stats.pages_used, 4 + N); // four shared blocks, one of each one's own
    ck_assert_int_eq(drain(g, seen, 16, &e), 0);
    rill_engine_stats(g, &stats);
    ck_assert_uint_eq(stats.prompt_rows, 140 + (N - 1) * 12);
    for (int i = 0; i < N; i++) {
        int32_t want[30];

        script_expect(ids[i], 140, 30, want);
        ck_assert_mem_eq(seen[i * CHOICES].id, want, sizeof want);
    }
    rill_engine_close(g);
    script_close(&s);
}
END_TEST

/* -- the life of a request -- */

START_TEST(several_answers)
{
    const int32_t ids[40] = {3, 1, 4, 1, 5};
    struct script s;
    struct rill_engine *g;
    static struct seen seen[2 * CHOICES], first[2 * CHOICES];
    struct rill_request q = greedy(ids, 40, 25);
    struct rill_stats stats;
    struct err e = {0};
    int number, differ = 0;

    memset(seen, 0, sizeof seen);
    script_open(&s, 256, 63);
    s.dev.noise = true;
    g = open_guarded(&s, NULL);
    engine_guard(g, false);
    q.n = 4;
    q.sampling.temperature = 3;
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    engine_guard(g, true);
    ck_assert_int_eq(drain(g, seen, 16, &e), 0);
    rill_engine_stats(g, &stats);
    ck_assert_uint_eq(stats.prompt_rows, 40); // once for all
    for (int k = 0; k < 4; k++) {
        ck_assert_int_eq(seen[k].n, 25);
        differ += memcmp(seen[k].id, seen[0].id, sizeof(int32_t) * 25) != 0;
    }
    ck_assert_int_eq(differ, 3);
    rill_engine_close(g);

    /* with one sequence they come one after the other, and are the same */
    memcpy(first, seen, sizeof first);
    memset(seen, 0, sizeof seen);
    g = open_guarded(&s, &(struct rill_engine_opts){.max_seq = 1, .max_batch = 16});
    engine_guard(g, false);
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    engine_guard(g, true);
    ck_assert_int_eq(drain(g, seen, 16, &e), 0);
    for (int k = 0; k < 4; k++)
        ck_assert_mem_eq(seen[k].id, first[k].id, sizeof first[k].id);
    engine_guard(g, false);
    q.n = 1000;
    ck_fails(rill_engine_submit(g, &q, &number, &e), &e, E_RANGE, "n 1000");
    rill_engine_close(g);
    script_close(&s);
}
END_TEST

/* More answers than there are sequences, or than memory holds at once, come in turns; a request
 * that could never fit is refused. */
START_TEST(more_answers_than_fit)
{
    enum { ALL = 50 };
    const int32_t ids[3] = {1, 9, 3};
    static int32_t many[700];
    struct script s;
    struct rill_engine_opts o = {
        .max_seq = 3, .kv_bytes = (2u << 20) + (128u << 10), .n_ctx = 1024};
    struct rill_request q = greedy(ids, 3, 40);
    struct rill_engine *g;
    struct rill_event ev;
    struct err e = {0};
    int number, n[ALL] = {0}, done = 0, rc;
    int32_t want[40];

    script_open_kind(&s, 1024, 63, SCRIPT_TIGHT);
    g = open_guarded(&s, &o);
    engine_guard(g, false);
    q.n = ALL;
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    q = greedy(many, 600, 10);
    ck_fails(rill_engine_submit(g, &q, &number, &e), &e, E_RANGE, "do not fit");
    script_expect(ids, 3, 40, want);
    while ((rc = rill_engine_step(g, &ev, 1, &e)) > 0) {
        done += ev.kind == RILL_DONE;
        if (ev.kind == RILL_TOKEN)
            ck_assert_int_eq(ev.id, want[n[ev.choice]++]);
    }
    ck_assert_int_eq(rc, 0);
    ck_assert_int_eq(done, ALL);
    rill_engine_close(g);
    script_close(&s);
}
END_TEST

START_TEST(cancelled_in_the_prompt)
{
    static int32_t ids[200];
    struct script s;
    struct rill_engine *g;
    static struct seen seen[2 * CHOICES];
    struct rill_engine_opts o = {.max_batch = 16};
    struct rill_request q = greedy(ids, 200, 25);
    struct rill_request p = greedy(ids, 2, 12);
    struct rill_event ev;
    struct err e = {0};
    int number, runs;

    memset(seen, 0, sizeof seen);
    script_open(&s, 256, 63);
    g = open_guarded(&s, &o);
    engine_guard(g, false);
    ck_ok(rill_engine_submit(g, &p, &number, &e), &e);
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    engine_guard(g, true);
    ck_assert_int_eq(rill_engine_step(g, &ev, 1, &e), 1);
    ck_assert_int_eq(ev.request, 0);
    rill_engine_cancel(g, number);
    rill_engine_cancel(g, number); // twice: once
    runs = s.dev.runs;
    ck_assert_int_eq(rill_engine_step(g, &ev, 1, &e), 1);
    ck_assert_int_eq(ev.request, 1);
    ck_assert_int_eq(ev.finish, RILL_CANCELLED);
    ck_assert_int_eq(s.dev.runs, runs);
    ck_assert_int_eq(drain(g, seen, 16, &e), 0);
    rill_engine_cancel(g, number);
    rill_engine_close(g);
    script_close(&s);
}
END_TEST

START_TEST(progress_is_told_and_may_end_it)
{
    const struct rill_engine_opts o = {.max_batch = 16};
    int32_t ids[100];
    struct script s;
    struct rill_engine *g;
    struct rill_event ev;
    struct err e = {0};
    struct rill_request q;
    int number, told = 0, n_done = 0;

    for (int i = 0; i < 100; i++)
        ids[i] = i % 50;
    script_open(&s, 256, 63);
    g = open_guarded(&s, &o);
    q = greedy(ids, 100, 4);
    q.progress = true;
    engine_guard(g, false);
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    engine_guard(g, true);
    while (told < 3 && rill_engine_step(g, &ev, 1, &e) > 0) {
        ck_assert_int_eq(ev.kind, RILL_PROMPT);
        ck_assert_int_eq(ev.pos, ++told * 16);
    }
    rill_engine_cancel(g, number);
    while (rill_engine_step(g, &ev, 1, &e) > 0) {
        ck_assert_int_eq(ev.kind, RILL_DONE);
        ck_assert_int_eq(ev.finish, RILL_CANCELLED);
        n_done++;
    }
    ck_assert_int_eq(n_done, 1);
    rill_engine_close(g);
    script_close(&s);
}
END_TEST

START_TEST(deadlines_and_full_queues)
{
    const int32_t ids[3] = {1, 2, 3};
    struct script s;
    struct rill_engine *g;
    static struct seen seen[4 * CHOICES];
    struct rill_engine_opts o = {.max_seq = 1, .max_queue = 2};
    struct rill_request q = greedy(ids, 3, 5);
    struct err e = {0};
    int number;

    memset(seen, 0, sizeof seen);
    script_open(&s, 256, 63);
    g = open_guarded(&s, &o);
    engine_guard(g, false);
    q.deadline = 1e-9;
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    q.deadline = 0;
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    ck_fails(rill_engine_submit(g, &q, &number, &e), &e, E_BUSY, "queue");
    engine_guard(g, true);
    ck_assert_int_eq(drain(g, seen, 16, &e), 0);
    ck_assert_int_eq(seen[0].finish, RILL_DEADLINE);
    ck_assert_int_eq(seen[0].n, 0);
    ck_assert_int_eq(seen[1 * CHOICES].finish, RILL_LENGTH);
    rill_engine_close(g);
    script_close(&s);
}
END_TEST

START_TEST(min_tokens_puts_off_the_end)
{
    const int32_t ids[3] = {4, 5, 6};
    struct script s;
    struct rill_engine *g;
    static struct seen seen[CHOICES];
    struct rill_request q = greedy(ids, 3, 60);
    struct rill_stop stop = {"<", 1};
    struct err e = {0};
    int32_t want[60];
    int number;

    memset(seen, 0, sizeof seen);
    script_expect(ids, 3, 60, want);
    script_open(&s, 128, want[0]); // would end at once
    s.dev.noise = true;
    g = open_guarded(&s, NULL);
    engine_guard(g, false);
    q.ignore_eos = false;
    q.min_tokens = 10;
    q.stop = &stop;
    q.n_stop = 1;
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    engine_guard(g, true);
    ck_assert_int_eq(drain(g, seen, 16, &e), 0);
    ck_assert_int_eq(seen[0].n, 11);
    for (int i = 0; i < 10; i++)
        ck_assert_int_ne(seen[0].id[i], want[0]);
    ck_assert_uint_eq(seen[0].n_text, 10 * 4);
    ck_assert_int_eq(seen[0].finish, RILL_STOP);
    rill_engine_close(g);
    script_close(&s);
}
END_TEST

/* Against the definition, in double precision. */
START_TEST(logprobs)
{
    const int32_t ids[70] = {4, 5, 6};
    struct script s;
    struct rill_engine *g;
    struct rill_request q = greedy(ids, 70, 6);
    struct rill_event ev;
    struct err e = {0};
    int number, prompt = 0, drawn = 0;

    script_open(&s, 128, 63);
    s.dev.noise = true;
    g = open_guarded(&s, NULL);
    engine_guard(g, false);
    q.logprobs = q.logits = q.prompt_logits = true;
    q.top_logprobs = 5;
    q.sampling.temperature = 2; // changes the draw, not the logarithms
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    engine_guard(g, true);
    while (rill_engine_step(g, &ev, 1, &e) > 0) {
        double sum = 0;
        int32_t id = ev.kind == RILL_TOKEN ? ev.id : ev.pos < 69 ? ids[ev.pos + 1] : 0;

        if (ev.kind == RILL_DONE)
            continue;
        for (int v = 0; v < SCRIPT_V; v++)
            sum += exp((double)ev.logits[v]);
        if (ev.kind == RILL_TOKEN || ev.pos < 69)
            ck_assert_double_eq_tol((double)ev.logprob, (double)ev.logits[id] - log(sum), 1e-5);
        prompt += ev.kind == RILL_LOGITS;
        drawn += ev.kind == RILL_TOKEN;
        ck_assert_int_eq(ev.n_top, ev.kind == RILL_TOKEN || ev.pos < 69 ? 5 : 0);
        for (int k = 0; k < ev.n_top; k++) {
            int rank = 0;

            for (int v = 0; v < SCRIPT_V; v++)
                rank += ev.logits[v] > ev.logits[ev.top[k].id] ||
                        (ev.logits[v] == ev.logits[ev.top[k].id] && v < ev.top[k].id);
            ck_assert_int_eq(rank, k);
            ck_assert_double_eq_tol((double)ev.top[k].logprob,
                                    (double)ev.logits[ev.top[k].id] - log(sum), 1e-5);
        }
    }
    ck_assert_int_eq(prompt, 70);
    ck_assert_int_eq(drawn, 6);
    rill_engine_close(g);
    script_close(&s);
}
END_TEST

START_TEST(ends)
{
    const int32_t ids[3] = {4, 5, 6};
    struct script s;
    struct rill_engine *g;
    static struct seen seen[4 * CHOICES];
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
    ck_assert_int_eq(seen[1 * CHOICES].finish, RILL_STOP);
    ck_assert_int_eq(seen[1 * CHOICES].n, end + 1);
    ck_assert_uint_eq(seen[1 * CHOICES].n_text, (size_t)end * 4);
    ck_assert_int_eq(seen[2 * CHOICES].finish, RILL_STOP);
    ck_assert_uint_eq(seen[2 * CHOICES].n_text, 7 * 4 + 1);
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
    static struct seen seen[3 * CHOICES];
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
    ck_assert_str_eq(seen[0].message, "request 0, position 10, step 7: the logits are not numbers");
    ck_assert_int_eq(seen[0].n, 7);
    ck_assert_int_eq(seen[1 * CHOICES].finish, RILL_LENGTH);
    q.prompt_logits = q.logprobs = true; // a row in the middle of a prompt
    engine_guard(g, false);
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    engine_guard(g, true);
    memset(seen, 0, sizeof seen);
    ck_assert_int_eq(drain(g, seen, 16, &e), 0);
    ck_assert_int_eq(seen[number * CHOICES].finish, RILL_FAILED);
    ck_assert_int_eq(seen[number * CHOICES].code, E_NUMERIC);
    ck_assert_ptr_nonnull(strstr(seen[number * CHOICES].message, ", position 10, step "));
    rill_engine_close(g);
    q.prompt_logits = q.logprobs = false;
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

/* What a request forbids itself is not the model's fault. */
START_TEST(nothing_may_come)
{
    const int32_t ids[3] = {4, 5, 6}, allowed[1] = {7};
    const struct rill_bias never = {7, -INFINITY};
    static struct seen seen[2 * CHOICES];

    for (int k = 0; k < 2; k++) {
        struct rill_request q = greedy(ids, 3, 10);
        struct rill_engine *g;
        struct script s;
        struct err e = {0};
        int number;

        memset(seen, 0, sizeof seen);
        script_open(&s, 128, 63);
        g = open_guarded(&s, NULL);
        engine_guard(g, false);
        q.sampling.temperature = (float)k;
        q.sampling.allowed = allowed;
        q.sampling.n_allowed = 1;
        q.sampling.bias = &never;
        q.sampling.n_bias = 1;
        ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
        ck_assert_int_eq(drain(g, seen, 16, &e), 0);
        ck_assert_int_eq(seen[0].code, E_RANGE);
        ck_assert_str_eq(seen[0].message, "request 0, position 3, step 0: no token may come");
        rill_engine_close(g);
        script_close(&s);
    }
}
END_TEST

/* -- another's say -- */

struct say {
    int calls, fail_at;
};

static int say(void *ctx, const struct rill_event *at, float *row, int n_row, struct err *e)
{
    struct say *s = ctx;

    ck_assert_int_eq(n_row, SCRIPT_V);
    if (++s->calls == s->fail_at)
        return err_set(e, E_IO, "nobody answers");
    row[at->pos * 3 % 60] += 100;
    return 0;
}

/* It counts for those who asked, one call a token whatever was proposed, and its failure is theirs.
 */
START_TEST(somebody_else_has_a_say)
{
    const int32_t ids[4] = {4, 5, 6, 7};
    const struct rill_engine_opts o = {.max_seq = 3, .max_draft = 4};
    static struct seen seen[3 * CHOICES];
    int32_t want[10];

    script_expect(ids, 3, 10, want);
    for (int fail_at = 0; fail_at <= 4; fail_at += 4) {
        struct say by = {.fail_at = fail_at};
        struct rill_request q = greedy(ids, 4, 20);
        struct rill_engine *g;
        struct script s;
        struct err e = {0};
        int number;

        memset(seen, 0, sizeof seen);
        script_open(&s, 128, 63);
        g = open_guarded(&s, &o);
        engine_guard(g, false);
        ck_ok(rill_engine_steer(g, say, &by, &e), &e);
        q.steer = true;
        q.draft = 4;
        ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
        q = greedy(ids, 3, 10);
        ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
        engine_guard(g, true);
        ck_assert_int_eq(drain(g, seen, 16, &e), 0);
        ck_assert_mem_eq(seen[1 * CHOICES].id, want, sizeof want);
        ck_assert_int_eq(seen[0].n, fail_at ? 3 : 20);
        ck_assert_int_eq(by.calls, fail_at ? 4 : 20);
        for (int i = 0; i < seen[0].n; i++)
            ck_assert_int_eq(seen[0].id[i], (4 + i) * 3 % 60);
        ck_assert_int_eq(seen[0].finish, fail_at ? RILL_FAILED : RILL_LENGTH);
        if (fail_at) {
            ck_assert_int_eq(seen[0].code, E_IO);
            ck_assert_ptr_nonnull(strstr(seen[0].message, "nobody answers"));
        }
        rill_engine_close(g);
        script_close(&s);
    }
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
    q.n = 129;
    REFUSED(E_RANGE, "n 129");
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
        static struct seen seen[CHOICES];
        struct rill_request q = greedy(ids, 3, 5);
        struct rill_engine_opts o = {.swap_bytes = 4 << 20};
        struct err e = {0};
        int number;
        int rc;

        memset(seen, 0, sizeof seen);
        q.stop = &stop;
        q.n_stop = 1;
        mem_fail_after(n);
        rc = rill_engine_open(&g, &s.model, &o, &e);
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

TEST_MAIN("engine/engine", one_request, crowds, crowds_in_little_memory, host_memory_is_bounded,
          crowds_with_a_smaller_model, proposals_save_steps, changed_words_save_steps_too,
          a_second_request_finds_the_first, a_shared_beginning_is_computed_once, several_answers,
          more_answers_than_fit, cancelled_in_the_prompt, progress_is_told_and_may_end_it,
          deadlines_and_full_queues, min_tokens_puts_off_the_end, logprobs, ends,
          failures_end_one_request_only, nothing_may_come, somebody_else_has_a_say, bad_requests,
          allocations_fail)
