/* test_sched.c - the pick: limits hold, nobody starves, prompts come first in a batch. */
#include "engine/sched.h"

#include "base/rng.h"
#include "tests/suite.h"

enum { N = 24 };

START_TEST(prompts_before_decodes)
{
    struct sched_req r[3] = {{SCHED_DECODE, 0, 0, 0, 0},
                             {SCHED_PROMPT, 0, 1, 10, 0},
                             {SCHED_DECODE, 0, 2, 0, 0}};
    struct sched_limits lim = {8, 8, 1};
    struct sched_part part[3];
    int32_t order[3];

    ck_assert_int_eq(sched_pick(r, 3, &lim, part, order), 3);
    ck_assert_int_eq(part[0].req, 1);
    ck_assert_int_eq(part[0].rows, 6);
    ck_assert_int_eq(part[1].req, 0);
    ck_assert_int_eq(part[2].req, 2);
}
END_TEST

START_TEST(granule_cuts)
{
    struct sched_req r[1] = {{SCHED_PROMPT, 0, 0, 100, 0}};
    struct sched_limits lim = {70, 4, 32};
    struct sched_part part[1];
    int32_t order[1];

    ck_assert_int_eq(sched_pick(r, 1, &lim, part, order), 1);
    ck_assert_int_eq(part[0].rows, 64);
    r[0].rows = 36;
    ck_assert_int_eq(sched_pick(r, 1, &lim, part, order), 1);
    ck_assert_int_eq(part[0].rows, 36);
}
END_TEST

START_TEST(outputs_bound_the_chunk)
{
    struct sched_req r[1] = {{SCHED_PROMPT, 0, 0, 100, 100}};
    struct sched_limits lim = {64, 8, 1};
    struct sched_part part[1];
    int32_t order[1];

    ck_assert_int_eq(sched_pick(r, 1, &lim, part, order), 1);
    ck_assert_int_eq(part[0].rows, 8);
}
END_TEST

START_TEST(waiting_by_priority_then_arrival)
{
    struct sched_req r[4] = {{SCHED_WAITING, 0, 5, 1, 0},
                             {SCHED_WAITING, 1, 9, 1, 0},
                             {SCHED_WAITING, 1, 7, 1, 0},
                             {SCHED_DECODE, 9, 1, 0, 0}};

    ck_assert_int_eq(sched_next_waiting(r, 4), 2);
    ck_assert_int_eq(sched_next_waiting(r + 3, 1), -1);
}
END_TEST

/* Random arrivals served to the end: limits are never passed, and every request is finished within
 * a bound that follows from the work ahead of it. */
static void simulate(uint64_t seed)
{
    struct rng g = {.seed = seed};
    struct sched_limits lim = {1 + (int)(rng_next(&g) % 40) + N, N, 1 + (int)(rng_next(&g) % 8)};
    struct sched_req r[N];
    int decode_left[N];
    int live = N, steps = 0;
    int64_t work = 0;

    for (int i = 0; i < N; i++) {
        r[i] = (struct sched_req){SCHED_PROMPT, (int)(rng_next(&g) % 3), (uint64_t)i,
                                  1 + (int)(rng_next(&g) % 200), 0};
        decode_left[i] = 1 + (int)(rng_next(&g) % 30);
        work += r[i].rows / lim.granule + 1 + decode_left[i];
    }
    while (live > 0) {
        struct sched_part part[N];
        int32_t order[N];
        int n = sched_pick(r, live, &lim, part, order);
        int rows = 0, decodes = 0;

        ck_assert_int_gt(n, 0);
        ck_assert_int_lt(steps++, work);
        for (int k = 0; k < n; k++) {
            struct sched_req *q = &r[part[k].req];

            ck_assert_int_gt(part[k].rows, 0);
            rows += part[k].rows;
            if (q->state == SCHED_DECODE) {
                decodes++;
                decode_left[part[k].req]--;
                continue;
            }
            ck_assert_int_eq(decodes, 0);
            ck_assert_int_le(part[k].rows, q->rows);
            if (part[k].rows < q->rows)
                ck_assert_int_eq(part[k].rows % lim.granule, 0);
            q->rows -= part[k].rows;
            if (q->rows == 0)
                q->state = SCHED_DECODE;
        }
        ck_assert_int_le(rows, lim.max_rows);
        for (int i = 0; i < live; i++)
            if (r[i].state == SCHED_DECODE && decode_left[i] <= 0) {
                r[i] = r[--live];
                decode_left[i] = decode_left[live];
                i--;
            }
    }
}

START_TEST(simulations)
{
    for (uint64_t seed = 0; seed < 300; seed++)
        simulate(seed);
}
END_TEST

TEST_MAIN("engine/sched", prompts_before_decodes, granule_cuts, outputs_bound_the_chunk,
          waiting_by_priority_then_arrival, simulations)
