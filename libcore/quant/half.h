/* half.h - the small floating-point types: exact conversions in plain integer arithmetic.
 *
 * No intrinsics and no tables, so that every compiler and device gives the same bits. Not a number
 * stays not a number and becomes quiet, as the F16C instructions have it. Common subset of C11 and
 * C++17.
 */
#ifndef RILL_QUANT_HALF_H
#define RILL_QUANT_HALF_H

#include "quant/fmt.h"

FMT_FN float f32_of_bits(uint32_t u)
{
    float f;

    memcpy(&f, &u, sizeof f);
    return f;
}

FMT_FN uint32_t f32_bits(float f)
{
    uint32_t u;

    memcpy(&u, &f, sizeof u);
    return u;
}

/* IEEE binary16: 1 sign, 5 exponent (bias 15), 10 fraction bits. */
FMT_FN float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t mag = h & 0x7fffu;

    if (mag > 0x7c00u)
        return f32_of_bits(sign | 0x7fc00000u | mag << 13);
    if (mag == 0x7c00u)
        return f32_of_bits(sign | 0x7f800000u);
    if (mag >= 0x400u)
        return f32_of_bits(sign | ((mag << 13) + (112u << 23)));
    return f32_of_bits(sign | f32_bits((float)mag * 0x1p-24f));
}

/* Rounds to nearest, ties to even. */
FMT_FN uint16_t f32_to_f16(float f)
{
    uint32_t bits = f32_bits(f);
    uint32_t sign = bits >> 16 & 0x8000u;
    uint32_t mag = bits & 0x7fffffffu;

    if (mag > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (mag >> 13 & 0x3ffu));
    if (mag >= 0x477ff000u) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (mag < 0x38800000u) /* below 2^-14: a sum with 0.5 has its last bit at 2^-24 */
        return (uint16_t)(sign | (f32_bits(f32_of_bits(mag) + 0.5f) - 0x3f000000u));
    mag += 0xfffu + (mag >> 13 & 1u);
    return (uint16_t)(sign | (mag - 0x38000000u) >> 13);
}

/* The upper half of a binary32. */
FMT_FN float bf16_to_f32(uint16_t h)
{
    return f32_of_bits((uint32_t)h << 16);
}

/* Rounds to nearest, ties to even. */
FMT_FN uint16_t f32_to_bf16(float f)
{
    uint32_t bits = f32_bits(f);

    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/* OCP E4M3 without infinities: 1 sign, 4 exponent (bias 7), 3 fraction bits, at most 448. */
FMT_FN float f8_to_f32(uint8_t v)
{
    uint32_t sign = (uint32_t)(v & 0x80u) << 24;
    uint32_t mag = v & 0x7fu;

    if (mag == 0x7fu)
        return f32_of_bits(sign | 0x7fc00000u);
    if (mag >= 8u)
        return f32_of_bits(sign | ((mag << 20) + (120u << 23)));
    return f32_of_bits(sign | f32_bits((float)mag * 0x1p-9f));
}

/* Rounds to nearest, ties to even; what is larger becomes 448. */
FMT_FN uint8_t f32_to_f8(float f)
{
    uint32_t bits = f32_bits(f);
    uint32_t sign = bits >> 24 & 0x80u;
    uint32_t mag = bits & 0x7fffffffu;

    if (mag > 0x7f800000u)
        return (uint8_t)(sign | 0x7fu);
    if (mag >= 0x43e00000u)
        return (uint8_t)(sign | 0x7eu);
    if (mag < 0x3c800000u) /* below 2^-6: a sum with 2^14 has its last bit at 2^-9 */
        return (uint8_t)(sign | (f32_bits(f32_of_bits(mag) + 0x1p14f) - 0x46800000u));
    mag += 0x7ffffu + (mag >> 20 & 1u);
    return (uint8_t)(sign | (mag - 0x3c000000u) >> 20);
}

/* Half of an OCP E8M0 scale: 2^(e-128). The half makes up for e2m1 values being kept doubled. 255,
 * not a number in the standard, is 2^127 here as in the reference. */
FMT_FN float e8m0_half_to_f32(uint8_t e)
{
    return f32_of_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

/* Half of an unsigned E4M3 scale (4 exponent bits of bias 7, 3 fraction bits; bit 7 is not looked
 * at except that 0x7f alone is the missing value and gives 0). */
FMT_FN float ue4m3_half_to_f32(uint8_t e)
{
    uint32_t exponent = e >> 3 & 15u;
    uint32_t fraction = e & 7u;

    if (e == 0x7f)
        return 0.0f;
    if (exponent == 0)
        return (float)fraction * 0x1p-10f;
    return f32_of_bits((exponent + 119u) << 23 | fraction << 20);
}

/* The nearest unsigned E4M3, halves up; not a number and negative values give 0. All that would
 * need the highest exponent (from 248 up) gives the largest value, 448, as the reference has it. */
FMT_FN uint8_t f32_to_ue4m3(float f)
{
    if (!(f > 0.0f))
        return 0;
    if (f >= 0x1p-6f) {
        uint32_t up = f32_bits(f) + (1u << 19);
        uint32_t code = (up >> 20) - (120u << 3);

        return code >= 0x78u ? 0x7e : (uint8_t)code;
    }
    int n = (int)(f * 512.0f + 0.5f);

    return (uint8_t)(n > 7 ? 7 : n);
}

/* An e2m1 value, doubled so that it is a whole number: 0 1 2 3 4 6 8 12 and their negatives. */
FMT_FN int8_t e2m1_doubled(unsigned code)
{
    unsigned exponent = code >> 1 & 3u;
    int v = (int)(exponent ? (2u + (code & 1u)) << (exponent - 1u) : (code & 1u));

    return (int8_t)(code & 8u ? -v : v);
}

/* Number of the nearest doubled e2m1 value times d; of two equally near, the first. */
FMT_FN unsigned e2m1_nearest(float x, float d)
{
    unsigned best = 0;
    float best_off = x < 0.0f ? -x : x;

    for (unsigned c = 1; c < 16; c++) {
        float off = (float)e2m1_doubled(c) * d - x;

        off = off < 0.0f ? -off : off;
        if (off < best_off) {
            best = c;
            best_off = off;
        }
    }
    return best;
}

#endif
