/* test_sched.c - the pick: limits hold, nobody starves, prompts come first in a batch.
 *
 * The simulation serves 100,000 random requests (some thousand in a short run) by picks alone, with
 * memory counted as the pick counts it.
 */
#include "engine/sched.h"

#include "base/mem.h"
#include "base/rng.h"
#include "tests/suite.h"

enum { PAGE = 32, MOST = 512 };

/* What a pick needs beside the requests, for at most MOST of them. */
struct desk {
    struct sched_limits lim;
    struct sched_pick pick;
    struct sched_part part[MOST];
    int32_t admit[MOST], evict[MOST], order[MOST];
    bool seen[MOST];
};

static void desk_init(struct desk *d)
{
    d->lim = (struct sched_limits){.max_rows = 64,
                                   .max_out = 16,
                                   .granule = 1,
                                   .page = PAGE,
                                   .block = 1,
                                   .left = 1000,
                                   .seqs = 16,
                                   .patience = 2000};
    d->pick = (struct sched_pick){
        .part = d->part, .admit = d->admit, .evict = d->evict, .order = d->order, .seen = d->seen};
}

/* A request with so many positions stored and rows pending. */
static struct sched_req req(int state, uint64_t arrival, bool prompt, int stored, int pending)
{
    return (struct sched_req){.state = state,
                              .arrival = arrival,
                              .prompt = prompt,
                              .stored = stored,
                              .rows = pending,
                              .pending = pending,
                              .held = (stored + PAGE - 1) / PAGE,
                              .need = (stored + pending + PAGE - 1) / PAGE -
                                      (stored + PAGE - 1) / PAGE};
}

START_TEST(prompts_before_decodes)
{
    struct sched_req r[3] = {req(SCHED_RUNNING, 0, false, 40, 1),
                             req(SCHED_RUNNING, 1, true, 0, 10),
                             req(SCHED_RUNNING, 2, false, 7, 1)};
    struct desk d;

    desk_init(&d);
    d.lim.max_rows = 8;
    sched_pick(r, 3, &d.lim, &d.pick);
    ck_assert_int_eq(d.pick.n_part, 3);
    ck_assert_int_eq(d.part[0].req, 1);
    ck_assert_int_eq(d.part[0].rows, 6);
    ck_assert_int_eq(d.part[1].req, 0);
    ck_assert_int_eq(d.part[2].req, 2);
}
END_TEST

START_TEST(granules_cut)
{
    struct sched_req r[1] = {req(SCHED_RUNNING, 0, true, 0, 100)};
    struct desk d;

    desk_init(&d);
    d.lim.max_rows = 70;
    d.lim.granule = 32;
    sched_pick(r, 1, &d.lim, &d.pick);
    ck_assert_int_eq(d.part[0].rows, 64);
    r[0] = req(SCHED_RUNNING, 0, true, 64, 36);
    sched_pick(r, 1, &d.lim, &d.pick);
    ck_assert_int_eq(d.part[0].rows, 36);
}
END_TEST

START_TEST(outputs_bound_the_chunk)
{
    struct sched_req r[2] = {req(SCHED_RUNNING, 0, true, 0, 100),
                             req(SCHED_RUNNING, 1, true, 0, 9)};
    struct desk d;

    desk_init(&d);
    r[0].outputs = 100;
    d.lim.max_out = 8;
    sched_pick(r, 2, &d.lim, &d.pick);
    ck_assert_int_eq(d.pick.n_part, 2);
    ck_assert_int_eq(d.part[0].rows, 8);
    ck_assert_int_eq(d.part[1].rows, 8); // all but the last, whose logits have no place
}
END_TEST

START_TEST(time_bounds_the_chunk)
{
    struct sched_req r[2] = {req(SCHED_RUNNING, 0, false, 10, 1),
                             req(SCHED_RUNNING, 1, true, 0, 500)};
    struct desk d;

    desk_init(&d);
    d.lim.max_rows = 512;
    d.lim.budget = 0.1;
    d.lim.fixed = 0.02;
    d.lim.per_row = 0.001;
    sched_pick(r, 2, &d.lim, &d.pick);
    ck_assert_int_eq(d.part[0].req, 1);
    ck_assert_int_ge(d.part[0].rows, 77);
    ck_assert_int_le(d.part[0].rows, 79);
    d.lim.fixed = 0.2; // hopeless: still half of what the step takes anyway
    sched_pick(r, 2, &d.lim, &d.pick);
    ck_assert_int_eq(d.pick.n_part, 2);
    ck_assert_int_ge(d.part[0].rows, 99);
    ck_assert_int_le(d.part[0].rows, 101);
    d.lim.per_row = 1; // so slow that this is no row: one, lest it never ends
    sched_pick(r, 2, &d.lim, &d.pick);
    ck_assert_int_eq(d.pick.n_part, 2);
    ck_assert_int_eq(d.part[0].rows, 1);
}
END_TEST

/* Rows that draw take all of the budget: those who wait are admitted all the same, with a part of
 * their rows. */
START_TEST(many_who_draw_leave_time_for_prompts)
{
    struct sched_req r[21];
    struct desk d;

    desk_init(&d);
    for (int i = 0; i < 20; i++)
        r[i] = req(SCHED_RUNNING, (uint64_t)i, false, 10, 1);
    r[20] = req(SCHED_WAITING, 20, true, 0, 40);
    d.lim.max_rows = 512;
    d.lim.budget = 0.1;
    d.lim.fixed = 0.02;
    d.lim.max_out = 32;
    d.lim.per_row = 0.006;
    sched_pick(r, 21, &d.lim, &d.pick);
    ck_assert_int_eq(d.pick.n_admit, 1);
    ck_assert_int_eq(d.pick.n_part, 21);
    ck_assert_int_eq(d.part[0].req, 20);
    ck_assert_int_ge(d.part[0].rows, 11); // 0.07 s
    ck_assert_int_le(d.part[0].rows, 12);
}
END_TEST

START_TEST(order_of_waiting)
{
    struct sched_req r[5];
    double served[2] = {10, 5};
    struct desk d;

    desk_init(&d);
    for (int i = 0; i < 5; i++)
        r[i] = req(SCHED_WAITING, (uint64_t)i, true, 0, 4);
    r[1].priority = 1; // first
    r[4].again = true; // then the one sent back
    r[3].client = 1;   // then the client that got less
    d.lim.served = served;
    sched_pick(r, 5, &d.lim, &d.pick);
    ck_assert_int_eq(d.pick.n_admit, 5);
    ck_assert_int_eq(d.admit[0], 1);
    ck_assert_int_eq(d.admit[1], 4);
    ck_assert_int_eq(d.admit[2], 3);
    ck_assert_int_eq(d.admit[3], 0);
    ck_assert_int_eq(d.admit[4], 2);
    d.lim.step = 5000; // who waited long enough comes before priority 1
    r[1].since = 4999;
    r[4].since = r[3].since = r[0].since = 4999;
    sched_pick(r, 5, &d.lim, &d.pick);
    ck_assert_int_eq(d.admit[0], 2);
    ck_assert_int_eq(d.admit[1], 1);
}
END_TEST

START_TEST(memory_admits_and_evicts)
{
    struct sched_req r[4] = {req(SCHED_RUNNING, 0, false, 32, 1),
                             req(SCHED_RUNNING, 1, false, 64, 1),
                             req(SCHED_WAITING, 2, true, 0, 64), req(SCHED_WAITING, 3, true, 0, 1)};
    struct desk d;

    desk_init(&d);
    d.lim.left = 5; // both need a page; then 2 + 2 of the headroom do not fit, and nobody overtakes
    sched_pick(r, 4, &d.lim, &d.pick);
    ck_assert_int_eq(d.pick.n_part, 2);
    ck_assert_int_eq(d.pick.n_admit, 0);
    d.lim.left = 6;
    sched_pick(r, 4, &d.lim, &d.pick);
    ck_assert_int_eq(d.pick.n_admit, 1);
    d.lim.left = 0; // the last to come goes back
    sched_pick(r, 4, &d.lim, &d.pick);
    ck_assert_int_eq(d.pick.n_evict, 1);
    ck_assert_int_eq(d.evict[0], 1);
    ck_assert_int_eq(d.pick.n_part, 1);
    ck_assert_int_eq(d.part[0].req, 0);
    ck_assert_int_eq(sched_victim(r, 4, NULL), 1);
    r[1].priority = 1;
    ck_assert_int_eq(sched_victim(r, 4, NULL), 0);
}
END_TEST

/* -- the simulation -- */

struct job {
    int n_prompt, n_made, n_max; // of tokens
    uint64_t came, began;        // steps
    uint64_t ahead;              // rows and draws of all that came before it and were not done
};

struct sim {
    struct desk d;
    struct rng r;
    struct sched_req q[MOST];
    struct job job[MOST];
    int n;
    int64_t memory, used;
    int seqs;
    uint64_t step, evictions, done, longest;
};

static int64_t pages(int64_t n)
{
    return (n + PAGE - 1) / PAGE;
}

static void refresh(struct sim *s, int i)
{
    struct sched_req *q = &s->q[i];
    struct job *j = &s->job[i];
    int n = j->n_prompt + j->n_made;

    q->pending = n - q->stored;
    q->prompt = q->stored < j->n_prompt;
    q->rows = q->prompt ? j->n_prompt - q->stored : q->pending;
    q->held = pages(q->stored);
    q->need = pages(n) - q->held;
}

static uint64_t work_left(const struct sim *s, int i)
{
    return (uint64_t)(s->job[i].n_prompt + s->job[i].n_max);
}

static void arrive(struct sim *s, uint64_t number, int longest)
{
    struct job *j = &s->job[s->n];

    *j = (struct job){.n_prompt = 1 + (int)(rng_next(&s->r) % (uint64_t)longest),
                      .n_max = 1 + (int)(rng_next(&s->r) % 60),
                      .came = s->step};
    for (int i = 0; i < s->n; i++)
        j->ahead += work_left(s, i);
    s->q[s->n] = (struct sched_req){.state = SCHED_WAITING, .arrival = number, .since = s->step};
    refresh(s, s->n++);
}

static void count_memory(const struct sim *s)
{
    int64_t used = 0;
    int running = 0;

    for (int i = 0; i < s->n; i++) {
        used += pages(s->q[i].stored);
        running += s->q[i].state == SCHED_RUNNING;
    }
    if (used != s->used || used > s->memory || running > s->seqs)
        ck_abort_msg("step %d: %d pages of %d, %d sequences", (int)s->step, (int)used,
                     (int)s->memory, running);
}

static void apply(struct sim *s)
{
    const struct sched_pick *p = &s->d.pick;
    int rows = 0, out = 0;

    for (int k = 0; k < p->n_evict; k++) {
        struct sched_req *q = &s->q[p->evict[k]];

        if (q->state != SCHED_RUNNING)
            ck_abort_msg("sent back twice");
        s->used -= pages(q->stored);
        q->stored = 0;
        q->state = SCHED_WAITING;
        q->again = true;
        q->since = s->step;
        s->evictions++;
    }
    for (int k = 0; k < p->n_admit; k++)
        s->q[p->admit[k]].state = SCHED_RUNNING;
    for (int k = 0; k < p->n_part; k++) {
        int i = p->part[k].req;
        struct sched_req *q = &s->q[i];
        struct job *j = &s->job[i];

        if (q->state != SCHED_RUNNING || p->part[k].rows < 1 || p->part[k].rows > q->rows)
            ck_abort_msg("a part of %d rows of %d", p->part[k].rows, q->rows);
        if (k > 0 && q->prompt && !s->q[p->part[k - 1].req].prompt)
            ck_abort_msg("a prompt behind generated rows");
        if (!j->began)
            j->began = s->step + 1;
        rows += p->part[k].rows;
        s->used += pages(q->stored + p->part[k].rows) - pages(q->stored);
        q->stored += p->part[k].rows;
    }
    for (int k = 0; k < p->n_part; k++) {
        int i = p->part[k].req;

        if (s->q[i].stored == s->job[i].n_prompt + s->job[i].n_made) {
            out++;
            s->job[i].n_made++;
        }
    }
    if (rows > s->d.lim.max_rows || out > s->d.lim.max_out)
        ck_abort_msg("%d rows, %d outputs", rows, out);
}

static void leave(struct sim *s)
{
    for (int i = 0; i < s->n;) {
        struct job *j = &s->job[i];
        uint64_t wait = j->began - j->came;

        if (j->n_made < j->n_max) {
            refresh(s, i++);
            continue;
        }
        /* every step does a row or a draw of somebody ahead, were it only one; what preemption
         * makes anew is counted on top */
        if (wait > j->ahead + 1 + s->evictions * MOST)
            ck_abort_msg("a wait of %d steps behind %d rows", (int)wait, (int)j->ahead);
        s->longest = wait > s->longest ? wait : s->longest;
        s->used -= pages(s->q[i].stored);
        s->done++;
        s->n--; // in order, as an engine keeps them
        memmove(s->q + i, s->q + i + 1, (size_t)(s->n - i) * sizeof *s->q);
        memmove(s->job + i, s->job + i + 1, (size_t)(s->n - i) * sizeof *s->job);
    }
}

static uint64_t simulate(uint64_t seed, int total)
{
    static struct sim s;
    int longest;

    memset(&s, 0, sizeof s);
    s.r.seed = seed;
    desk_init(&s.d);
    s.seqs = 1 + (int)(rng_next(&s.r) % 40);
    longest = 1 + (int)(rng_next(&s.r) % 400);
    s.d.lim.max_rows = s.seqs + (int)(rng_next(&s.r) % 100);
    s.d.lim.max_out = s.seqs;
    s.d.lim.granule = 1 + (int)(rng_next(&s.r) % 2) * 7;
    s.d.lim.max_rows += s.d.lim.granule;
    s.memory = pages(longest + 60) + (int)(rng_next(&s.r) % 60);
    for (int sent = 0; sent < total || s.n > 0; s.step++) {
        while (sent < total && s.n < MOST && (s.n == 0 || rng_next(&s.r) % 3 == 0))
            arrive(&s, (uint64_t)sent++, longest);
        s.d.lim.left = s.memory - s.used;
        s.d.lim.seqs = s.seqs;
        for (int i = 0; i < s.n; i++)
            s.d.lim.seqs -= s.q[i].state == SCHED_RUNNING;
        s.d.lim.step = s.step;
        sched_pick(s.q, s.n, &s.d.lim, &s.d.pick);
        if (s.d.pick.n_part == 0 && s.d.pick.n_evict == 0)
            ck_abort_msg("seed %d, step %d: nothing runs", (int)seed, (int)s.step);
        apply(&s);
        count_memory(&s);
        leave(&s);
    }
    ck_assert_uint_eq(s.done, (uint64_t)total);
    return s.evictions;
}

START_TEST(random_requests)
{
    const char *full = getenv("LONG");
    int runs = full && *full ? 100 : 10, each = full && *full ? 1000 : 300;
    uint64_t evictions = 0;

    for (int i = 0; i < runs; i++)
        evictions += simulate((uint64_t)i, each);
    ck_assert_uint_gt(evictions, 0);
}
END_TEST

/* Two clients that always have work: they are served as their weights say. */
START_TEST(weights_are_shares)
{
    struct desk d;
    double served[2] = {0}, weight[2] = {1, 3};
    int got[2] = {0};

    desk_init(&d);
    d.lim.served = served;
    d.lim.seqs = 1;
    for (int step = 0; step < 4000; step++) {
        struct sched_req r[2] = {req(SCHED_WAITING, 0, true, 0, 10),
                                 req(SCHED_WAITING, 1, true, 0, 10)};

        r[1].client = 1;
        sched_pick(r, 2, &d.lim, &d.pick);
        ck_assert_int_eq(d.pick.n_admit, 1);
        got[d.admit[0]]++;
        served[d.admit[0]] += 10 / weight[d.admit[0]];
    }
    ck_assert_int_le(abs(got[1] - 3 * got[0]), 4);
}
END_TEST

TEST_MAIN("engine/sched", prompts_before_decodes, granules_cut, outputs_bound_the_chunk,
          time_bounds_the_chunk, many_who_draw_leave_time_for_prompts, order_of_waiting,
          memory_admits_and_evicts, random_requests, weights_are_shares)
