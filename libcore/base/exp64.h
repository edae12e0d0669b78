/* exp64.h - e to the power of x in double precision, by additions and multiplications alone: the
 * same bits on every machine and on a GPU, so that a draw is the same wherever it is made.
 *
 * Off by less than 1.5 units of the last place for x from -700 to 700; 0 below.
 */
#ifndef RILL_BASE_EXP64_H
#define RILL_BASE_EXP64_H

#include <stdint.h>
#include <string.h>

#ifndef EXP64_FN
#define EXP64_FN static inline
#endif

EXP64_FN double exp64(double x)
{
    const double shift =
        6755399441055744.0; // 1.5 * 2^52: what is added to it is rounded to integers
    double k, r, p, two_k;
    uint64_t bits;

    if (!(x > -700.0))
        return 0.0;
    k = x * 1.4426950408889634 + shift - shift;
    /* ln 2 in two parts, the first with so few digits that k times it is exact */
    r = x - k * 6.93147180369123816490e-01 - k * 1.90821492927058770002e-10;
    p = 1.0 / 6227020800.0; // Taylor to the 13th: |r| is below 0.347
    p = p * r + 1.0 / 479001600.0;
    p = p * r + 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    bits = (uint64_t)((int64_t)k + 1023) << 52;
    memcpy(&two_k, &bits, sizeof two_k);
    return p * two_k;
}

#endif
