/* test_thread.c - teams of 1 to 8: every member runs once per call, barriers order their writes. */
#include "base/thread.h"

#include <time.h>

#include "base/mem.h"
#include "tests/suite.h"

enum { MAX = 8 };

struct job {
    struct team *team;
    int ran[MAX];
    int sum[MAX];
    int shared[2][MAX];
    int rounds;
};

static void count(void *arg, int member, int n)
{
    struct job *j = arg;

    j->ran[member] += n == team_size(j->team); // ck_assert is for one thread at a time
}

START_TEST(every_member_runs_once)
{
    for (int n = 1; n <= MAX; n++) {
        struct err e = {0};
        struct job j = {0};

        ck_ok(team_new(&j.team, n, &e), &e);
        for (int call = 1; call <= 300; call++) {
            team_run(j.team, count, &j);
            for (int m = 0; m < MAX; m++)
                if (j.ran[m] != (m < n ? call : 0))
                    ck_abort_msg("member %d of %d ran %d times in %d calls", m, n, j.ran[m], call);
        }
        team_free(j.team);
    }
}
END_TEST

/* Each round every member writes its cell and, after the barrier, reads all: one who ran ahead or
 * stayed behind would read another round's number. */
static void rounds(void *arg, int member, int n)
{
    struct job *j = arg;

    for (int r = 1; r <= j->rounds; r++) {
        j->shared[r & 1][member] = r;
        team_barrier(j->team);
        for (int m = 0; m < n; m++)
            j->sum[member] += j->shared[r & 1][m] == r;
    }
}

START_TEST(barrier_orders_writes)
{
    for (int n = 1; n <= MAX; n++) {
        struct err e = {0};
        struct job j = {.rounds = 200};

        ck_ok(team_new(&j.team, n, &e), &e);
        team_run(j.team, rounds, &j);
        team_run(j.team, rounds, &j);
        for (int m = 0; m < n; m++)
            ck_assert_int_eq(j.sum[m], 2 * j.rounds * n);
        team_free(j.team);
    }
}
END_TEST

START_TEST(members_wake_after_sleep)
{
    struct err e = {0};
    struct job j = {0};

    ck_ok(team_new(&j.team, 3, &e), &e);
    for (int call = 1; call <= 3; call++) {
        usleep(20000); /* far longer than members spin */
        team_run(j.team, count, &j);
        ck_assert_int_eq(j.ran[2], call);
    }
    team_free(j.team);
    team_free(NULL);
}
END_TEST

/* Members that have nothing to do sleep: of 150 ms they spin a small part at most. */
START_TEST(idle_members_use_no_processor)
{
    struct err e = {0};
    struct job j = {0};
    struct timespec before, after;

    ck_ok(team_new(&j.team, 4, &e), &e);
    team_run(j.team, count, &j);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    usleep(150000);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    ck_assert_int_lt((after.tv_sec - before.tv_sec) * 1000000000 + after.tv_nsec - before.tv_nsec,
                     30000000);
    team_free(j.team);
}
END_TEST

START_TEST(sizes_and_memory_are_checked)
{
    struct team *t = NULL;
    struct err e = {0};

    ck_fails(team_new(&t, 0, &e), &e, E_RANGE, "0 threads");
    e = (struct err){0};
    ck_fails(team_new(&t, 1025, &e), &e, E_RANGE, "1025 threads");
    e = (struct err){0};
    mem_fail_after(0);
    ck_fails(team_new(&t, 2, &e), &e, E_NOMEM, "out of memory");
    mem_fail_after(-1);
    ck_assert_ptr_null(t);
    ck_assert_int_ge(thread_cpus(), 1);
}
END_TEST

#if defined(__SSE2__)
static void square(void *arg, int member, int n)
{
    volatile float tiny = 1e-20f;

    (void)n;
    ((float *)arg)[member] = tiny * tiny;
}

START_TEST(members_flush_denormals)
{
    struct err e = {0};
    struct team *t;
    float got[2] = {1, 1};

    thread_ftz();
    ck_ok(team_new(&t, 2, &e), &e);
    team_run(t, square, got);
    ck_assert(got[0] == 0 && got[1] == 0);
    team_free(t);
}
END_TEST
#else
START_TEST(members_flush_denormals)
{
    test_skip("no SSE2");
}
END_TEST
#endif

TEST_MAIN("base/thread", every_member_runs_once, barrier_orders_writes, members_wake_after_sleep,
          idle_members_use_no_processor, sizes_and_memory_are_checked, members_flush_denormals)
