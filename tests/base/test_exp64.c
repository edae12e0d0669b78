/* test_exp64.c - e^x against libm's, in units of the last place. */
#include "tests/suite.h"

#include <math.h>

#include "base/exp64.h"
#include "base/rng.h"

START_TEST(near_enough)
{
    struct rng r = {3, 0};
    double worst = 0;

    for (int i = 0; i < 200000; i++) {
        const double x = i < 100000 ? -30 * rng_next_unit(&r) : 1400 * rng_next_unit(&r) - 700;
        const double want = exp(x),
                     off = fabs(exp64(x) - want) / (nextafter(want, INFINITY) - want);

        worst = off > worst ? off : worst;
    }
    ck_assert_msg(worst < 1.5, "off by %g", worst);
}
END_TEST

START_TEST(ends)
{
    ck_assert(exp64(0.0) == 1.0);
    ck_assert(exp64(-0.0) == 1.0);
    ck_assert(exp64(-701.0) == 0.0);
    ck_assert(exp64(-INFINITY) == 0.0);
    ck_assert(exp64(-1e300) == 0.0);
    ck_assert(exp64(-699.0) > 0.0);
}
END_TEST

TEST_MAIN("base/exp64", near_enough, ends)
