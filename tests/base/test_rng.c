/* test_rng.c - draws are a function of their key, even, and independent along each part of it. */
#include "base/rng.h"

#include <math.h>

#include "tests/suite.h"

START_TEST(fixed_for_ever)
{
    /* Saved sessions and recordings depend on these; computed from the definition in rng.h with
     * an independent program. */
    ck_assert(rng_bits(0, 0, 0, 0) == 0x238275bc38fcbe91u);
    ck_assert(rng_bits(42, 0, 7, 0) == 0x55be888977820befu);
    ck_assert(rng_bits(42, 1, 7, 3) == 0x7ac97b68cfe7036au);
    ck_assert(rng_bits(UINT64_MAX, UINT32_MAX, UINT64_MAX, UINT32_MAX) == 0x595b17f487c0e71bu);
}
END_TEST

/* Mean and variance of uniform draws, and their correlation with the draw before. */
static void check_even(double (*draw)(uint64_t i))
{
    enum { N = 100000 };
    double sum = 0, square = 0, cross = 0, last = 0.5;

    for (uint64_t i = 0; i < N; i++) {
        double u = draw(i);

        if (u < 0 || u >= 1)
            ck_abort_msg("%g", u);
        sum += u;
        square += (u - 0.5) * (u - 0.5);
        cross += (u - 0.5) * (last - 0.5);
        last = u;
    }
    /* six standard deviations of each statistic */
    ck_assert_double_lt(fabs(sum / N - 0.5), 6 * 0.2887 / sqrt(N));
    ck_assert_double_lt(fabs(square / N - 1.0 / 12), 6 * 0.0745 / sqrt(N));
    ck_assert_double_lt(fabs(cross / N), 6 / 12.0 / sqrt(N));
}

static double by_seed(uint64_t i)
{
    return rng_unit(i, 0, 5, 0);
}

static double by_choice(uint64_t i)
{
    return rng_unit(1, (uint32_t)i, 5, 0);
}

static double by_position(uint64_t i)
{
    return rng_unit(1, 0, i, 0);
}

static double by_draw(uint64_t i)
{
    return rng_unit(1, 0, 5, (uint32_t)i);
}

START_TEST(even_along_every_part)
{
    check_even(by_seed);
    check_even(by_choice);
    check_even(by_position);
    check_even(by_draw);
}
END_TEST

START_TEST(stream_is_normal_enough)
{
    enum { N = 20000 };
    struct rng a = {.seed = 3};
    struct rng b = {.seed = 3};
    double sum = 0, square = 0;

    for (int i = 0; i < N; i++) {
        double v = rng_next_normal(&a);

        if (fabs(v) > 6 || v != rng_next_normal(&b))
            ck_abort_msg("%g", v);
        sum += v;
        square += v * v;
    }
    ck_assert_double_lt(fabs(sum / N), 6 / sqrt(N));
    ck_assert_double_lt(fabs(square / N - 1), 6 * 1.42 / sqrt(N));
    ck_assert(rng_next_unit(&a) < 1);
}
END_TEST

TEST_MAIN("base/rng", fixed_for_ever, even_along_every_part, stream_is_normal_enough)
