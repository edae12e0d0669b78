/* test_load.c - a day of random load: requests that come in bursts, are cancelled, run out of time,
 * fork, propose, are sent back to wait; every answer is right, and at the end of each hour, when
 * all have ended, the engine holds what it held before.
 *
 * A step counts as 50 ms. A short run has short hours; with LONG they are whole ones (or as many as
 * pass in five minutes, for sanitizers).
 */
#include <malloc.h>
#include <time.h>

#include "base/rng.h"
#include "tests/engine/scripted.h"

enum { IDS = 200, AT_ONCE = 40, CHOICES = 3, MAKE = 60, HOURS = 24 };
/* Glibc counts up to 7 freed pieces of each of 64 sizes, 1 KiB at most, as held. It is a byte for
 * each answer of a day. */
enum { CACHED = 7 * 64 * 528 };

/* What has been allocated; of a sanitizer's allocator, where there is one. */
size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static size_t held(void)
{
    if (__sanitizer_get_current_allocated_bytes)
        return __sanitizer_get_current_allocated_bytes();
    return mallinfo2().uordblks;
}

static bool long_run(void)
{
    const char *full = getenv("LONG");

    return full && *full;
}

struct job {
    int32_t ids[IDS], want[MAKE];
    int n_ids, n_max, n, number, left; // answers, and those still to come
    int at[CHOICES];                   // tokens of each
};

struct load {
    struct script s, small;
    struct rill_engine *g;
    struct rng r;
    struct job job[AT_ONCE];
    int n_job;
    bool crowd; // requests have as many answers as there can be
    uint64_t ended, cancelled;
};

static int up_to(struct load *l, int n)
{
    return (int)(rng_next(&l->r) % (uint64_t)n);
}

static void submit(struct load *l)
{
    struct job *j = NULL;
    struct rill_request q = {0};
    struct err e = {0};
    int family = up_to(l, 5);

    for (int i = 0; i < AT_ONCE && !j; i++)
        if (l->job[i].left == 0)
            j = &l->job[i];
    if (!j)
        return;
    j->n_ids = 1 + up_to(l, IDS - 1);
    j->n_max = 1 + up_to(l, up_to(l, 4) ? 12 : MAKE);
    j->n = j->left = l->crowd ? CHOICES : up_to(l, 4) ? 1 : 1 + up_to(l, CHOICES);
    memset(j->at, 0, sizeof j->at);
    for (int k = 0; k < j->n_ids; k++) // five beginnings that come again and again
        j->ids[k] =
            k < 100 && family < 4 ? (k * k * (family + 3) + k) % SCRIPT_V : up_to(l, SCRIPT_V);
    script_expect_on(true, j->ids, j->n_ids, j->n_max, j->want);
    q.ids = j->ids;
    q.n_ids = (size_t)j->n_ids;
    q.max_tokens = j->n_max;
    q.n = j->n;
    q.ignore_eos = true;
    q.sampling = rill_sampling_defaults();
    q.sampling.temperature = 0;
    q.priority = up_to(l, 3);
    q.client = up_to(l, 4);
    q.draft = up_to(l, 5);
    q.prompt_logits = up_to(l, 20) == 0;
    q.logprobs = up_to(l, 10) == 0;
    q.deadline = up_to(l, 200) == 0 ? 1e-9 : 0;
    q.salt = (uint64_t)up_to(l, 2);
    q.user = j;
    ck_ok(rill_engine_submit(l->g, &q, &j->number, &e), &e);
    if (up_to(l, 12) == 0) {
        rill_engine_cancel(l->g, j->number);
        rill_engine_cancel(l->g, j->number);
    }
    l->n_job++;
}

static void take(struct load *l, const struct rill_event *ev)
{
    struct job *j = ev->user;

    if (ev->kind == RILL_TOKEN && ev->id != j->want[j->at[ev->choice]++])
        ck_abort_msg("request %d, answer %d, token %d is wrong", ev->request, ev->choice,
                     j->at[ev->choice] - 1);
    if (ev->kind != RILL_DONE)
        return;
    if (ev->finish != RILL_LENGTH && ev->finish != RILL_CANCELLED && ev->finish != RILL_DEADLINE)
        ck_abort_msg("request %d ended by %d: %s", ev->request, ev->finish, ev->message);
    if (ev->finish == RILL_LENGTH && j->at[ev->choice] != j->n_max)
        ck_abort_msg("request %d has %d tokens of %d", ev->request, j->at[ev->choice], j->n_max);
    l->cancelled += ev->finish != RILL_LENGTH;
    l->ended++;
    l->n_job -= --j->left == 0;
}

/* Load for so many steps, then none until all have ended. */
static void hour(struct load *l, int steps)
{
    struct rill_event ev[7];
    struct rill_stats st;
    struct err e = {0};
    int n = 1;

    for (int i = 0; i < steps || n > 0; i++) {
        const int busy = i / 500 % 3; // bursts and lulls

        while (i < steps && up_to(l, 3) < busy && l->n_job < AT_ONCE)
            submit(l);
        if (i < steps && up_to(l, 40) == 0 && l->job[i % AT_ONCE].left)
            rill_engine_cancel(l->g, l->job[i % AT_ONCE].number);
        engine_guard(l->g, true);
        n = rill_engine_step(l->g, ev, 1 + up_to(l, 7), &e);
        engine_guard(l->g, false);
        ck_assert_msg(n >= 0, "%s", e.text);
        for (int k = 0; k < n; k++)
            take(l, &ev[k]);
    }
    rill_engine_stats(l->g, &st);
    ck_assert_int_eq(l->n_job, 0);
    ck_assert_int_eq(st.running + st.waiting, 0);
    ck_assert_int_eq(kv_free_seqs(l->g->pool), l->g->seg.kv.max_seq);
}

static void day(int kind, uint64_t kv, uint64_t swap)
{
    static struct load l;
    struct rill_engine_opts o = {
        .max_seq = 12, .max_batch = 200, .kv_bytes = kv, .swap_bytes = swap, .max_draft = 4};
    const time_t end = time(NULL) + 280;
    const int steps = long_run() ? 72000 : 300;
    size_t most = 0;
    struct rill_stats st;
    struct err e = {0};
    int h = 0;

    memset(&l, 0, sizeof l);
    l.r.seed = (uint64_t)kind + 1;
    script_open_kind(&l.s, 384, 63, kind);
    script_open_kind(&l.small, 384, 63, SCRIPT_PLAIN);
    l.s.dev.one_path = l.small.dev.one_path = true;
    l.small.dev.wrong = 5;
    o.draft = &l.small.model;
    ck_ok(rill_engine_open(&l.g, &l.s.model, &o, &e), &e);
    l.crowd = true; // what grows with the number of requests is to do so in the first hour
    for (int i = 0; i < AT_ONCE; i++)
        submit(&l);
    l.crowd = false;
    for (; h < HOURS && (h < 3 || time(NULL) < end); h++) {
        hour(&l, h == 0 ? 2000 : steps);
        if (h == 0 || held() > most + CACHED) {
            ck_assert_msg(h == 0, "hour %d: %zu bytes are held, %zu before", h, held(), most);
            most = held();
        }
    }
    rill_engine_stats(l.g, &st);
    printf(
        "%d hours of %d steps: %llu answers, %llu cancelled or late, %llu sent back, %llu of %llu "
        "proposals right; %zu bytes held after the first hour, %zu at the end\n",
        h, steps, (unsigned long long)l.ended, (unsigned long long)l.cancelled,
        (unsigned long long)st.preempted, (unsigned long long)st.accepted,
        (unsigned long long)st.drafted, most, held());
    ck_assert_uint_gt(l.ended, 200);
    rill_engine_close(l.g);
    script_close(&l.s);
    script_close(&l.small);
}

START_TEST(a_day_in_plenty)
{
    day(SCRIPT_RECURRENT, 5u << 20, 0);
}
END_TEST

START_TEST(a_day_in_little_memory)
{
    day(SCRIPT_TIGHT, (2u << 20) + (256u << 10), 4u << 20);
}
END_TEST

TEST_MAIN("engine/load", a_day_in_plenty, a_day_in_little_memory)
