/* peak.c - see kernels/peak.h. */
#include "base/clock.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/peak.h"

enum { ROUNDS = 1 << 14, TIMES = 40 }; // a member's time at a time, a few milliseconds in all

struct job {
    uint64_t (*peak)(uint64_t n);
    uint64_t done;
};

static void member_peak(void *arg, int member, int n)
{
    struct job *j = (struct job *)arg;

    (void)member;
    (void)n;
    __atomic_fetch_add(&j->done, j->peak(ROUNDS), __ATOMIC_RELAXED);
}

double peak_products(struct team *t)
{
    struct err e = {0};
    const struct cpu_tiles *tiles;
    const struct cpu_kernels *k = cpu_detect(&tiles, &e);
    double best = 0;

    if (!k)
        return 0;
    for (int i = 0; i < TIMES; i++) {
        struct job j = {tiles ? tiles->peak : k->peak, 0};
        const double start = clock_seconds();

        team_run(t, member_peak, &j);
        const double v = (double)j.done / (clock_seconds() - start);
        best = v > best ? v : best;
    }
    return best;
}
