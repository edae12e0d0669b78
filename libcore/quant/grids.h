/* grids.h - the codebooks of the IQ formats, and how a group of weights is read out of one.
 *
 * A point of eight weights is a uint64_t, of four a uint32_t; byte j, lowest first, is weight j as
 * a signed number. The lists live once, in grids.c; a device compiler says with FMT_GRID where its
 * copy is.
 */
#ifndef RILL_QUANT_GRIDS_H
#define RILL_QUANT_GRIDS_H

#include "quant/fmt.h"

#ifdef __cplusplus
extern "C" {
#endif
extern const uint64_t iq1_s_grid[2048];  // -1 0 1; IQ1_M too
extern const uint64_t iq2_xxs_grid[256]; // 8 25 43
extern const uint64_t iq2_xs_grid[512];  // 8 25 43
extern const uint64_t iq2_s_grid[1024];  // 8 25 43
extern const uint32_t iq3_xxs_grid[256]; // 4 12 20 28 36 44 52 62
extern const uint32_t iq3_s_grid[512];   // 1 3 5 7 9 11 13 15
extern const int8_t iq4_values[16];      // IQ4_NL and IQ4_XS, rising
#ifdef __cplusplus
}
#endif

#ifndef FMT_GRID
#define FMT_GRID(list) list
#endif

/* Weight j of a point. */
FMT_FN int grid8(const uint64_t *list, unsigned point, int j)
{
    return (int8_t)(list[point] >> 8 * j & 0xffu);
}

FMT_FN int grid4(const uint32_t *list, unsigned point, int j)
{
    return (int8_t)(list[point] >> 8 * j & 0xffu);
}

/* Eight sign bits (1: negative) from a sign number of 7 bits: the eighth makes their sum even. */
FMT_FN unsigned iq_signs(unsigned n)
{
    unsigned odd = n ^ n >> 4;

    odd ^= odd >> 2;
    odd ^= odd >> 1;
    return n | (odd & 1u) << 7;
}

/* The eight weights of a point, negated where signs has a bit. */
FMT_FN void grid8_signed(uint64_t point, unsigned signs, int8_t *q)
{
    for (int j = 0; j < 8; j++) {
        int v = (int8_t)(point >> 8 * j & 0xffu);

        q[j] = (int8_t)(signs >> j & 1u ? -v : v);
    }
}

/* Eight times each weight of a point, plus shift. */
FMT_FN void grid8_shifted(uint64_t point, int shift, int8_t *q)
{
    for (int j = 0; j < 8; j++)
        q[j] = (int8_t)(8 * (int8_t)(point >> 8 * j & 0xffu) + shift);
}

#endif
