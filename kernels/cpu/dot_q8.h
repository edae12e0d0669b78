/* dot_q8.h - the form of inputs that quantized weights are multiplied with: int8 and scales.
 *
 * A row of inputs is cut into groups of 256; of every 32 the largest magnitude becomes 127, or in a
 * second form that of all 256. Exact integer sums of the codes come along: they apply a weight's
 * min, and take back the offset of weights that a kernel keeps as unsigned numbers. Every operation
 * is exact or rounded once, so all levels make the same bits.
 */
#ifndef RILL_KERNELS_CPU_DOT_Q8_H
#define RILL_KERNELS_CPU_DOT_Q8_H

#include <stdint.h>
#include <string.h>

#include "quant/half.h"

/* 256 inputs: x[i] ~= d[i / 32] * q[i]. What lies behind the row's end is zero. */
struct x256 {
    int8_t q[256]; // -127..127
    float d[8];
    float sum_32[8]; // d times the sum of 32 codes, of 16
    float sum_16[16];
    int32_t back_32[8]; // -128 times the sum of 32 codes, of 16
    int32_t back_16[16];
    int16_t sum[16]; // of 16 codes
};
_Static_assert(sizeof(struct x256) == 512, "layout of struct x256");

/* An odd number of 512 bytes: in a first-level cache, where places repeat every 4096, eight rows
 * that are read together then lie side by side. */
static inline size_t q8_packed(int64_t n)
{
    return (size_t)((n + 255) / 256 | 1) * sizeof(struct x256);
}

/* One group of n. Inputs below 2^-100 count as zero: their reciprocal would overflow. Infinity
 * and not a number make the group not a number, as they would any sum they are in. */
static inline float q8_group(const float *restrict x, int8_t *restrict q, int n)
{
    uint32_t top = 0;

    for (int i = 0; i < n; i++) {
        uint32_t mag = f32_bits(x[i]) & 0x7fffffffu;
        top = mag > top ? mag : top;
    }
    if (top >= 0x7f800000u) {
        memset(q, 0, (size_t)n);
        return f32_of_bits(0x7fc00000u);
    }
    float high = f32_of_bits(top);
    if (high < 0x1p-100f) {
        memset(q, 0, (size_t)n);
        return 0.0f;
    }
    float inv = 127.0f / high;
    for (int i = 0; i < n; i++) /* adding 1.5 * 2^23 rounds to nearest, ties to even */
        q[i] = (int8_t)(int32_t)(x[i] * inv + 12582912.0f - 12582912.0f);
    return high / 127.0f;
}

static inline void q8_sums(struct x256 *restrict out)
{
    for (int g = 0; g < 8; g++) {
        const float d = out->d[g];
        int sum[2] = {0, 0};

        for (int h = 0; h < 2; h++)
            for (int i = 0; i < 16; i++)
                sum[h] += out->q[32 * g + 16 * h + i];
        out->sum_16[2 * g] = d * (float)sum[0];
        out->sum_16[2 * g + 1] = d * (float)sum[1];
        out->sum_32[g] = d * (float)(sum[0] + sum[1]);
        out->back_16[2 * g] = -128 * sum[0];
        out->back_16[2 * g + 1] = -128 * sum[1];
        out->back_32[g] = -128 * (sum[0] + sum[1]);
        out->sum[2 * g] = (int16_t)sum[0];
        out->sum[2 * g + 1] = (int16_t)sum[1];
    }
}

static inline void q8_block(const float *restrict x, struct x256 *restrict out)
{
    for (int g = 0; g < 8; g++)
        out->d[g] = q8_group(x + 32 * g, out->q + 32 * g, 32);
    q8_sums(out);
}

static inline void q8_block_one(const float *restrict x, struct x256 *restrict out)
{
    out->d[0] = q8_group(x, out->q, 256);
    for (int g = 1; g < 8; g++)
        out->d[g] = out->d[0];
    q8_sums(out);
}

/* A row, by a level's own way of making 256 of it. */
static inline void q8_pack_by(const float *restrict x, int64_t n, void *restrict out,
                              void (*block)(const float *restrict x, struct x256 *restrict out))
{
    struct x256 *b = (struct x256 *)out;

    for (; n >= 256; n -= 256, x += 256)
        block(x, b++);
    if (n > 0) {
        float rest[256] = {0};

        memcpy(rest, x, (size_t)n * sizeof *x);
        block(rest, b);
    }
}

static inline void q8_pack(const float *restrict x, int64_t n, void *restrict out)
{
    q8_pack_by(x, n, out, q8_block);
}

/* The other form: one scale for 256 inputs, which some levels want for formats whose blocks of 256
 * have whole numbers as scales. */
static inline void q8_pack_one(const float *restrict x, int64_t n, void *restrict out)
{
    q8_pack_by(x, n, out, q8_block_one);
}

/* Inputs side by side, for kernels of many: 32 columns of up to six of them (or two parts of 16),
 * with what struct x256 says of them. What makes one product is in neighbouring cache lines. */
struct x32x6 {
    _Alignas(64) int8_t q[6][32];
    float d[6], sum_32[6];
    int32_t back_32[6], back_16[2][6];
    float sum_16[2][6];
    int16_t sum[6][2];
};

/* A group of rows of n inputs: [8][steps of 256] parts, those of a chain one behind another. */
static inline size_t q8_group_bytes(int64_t n)
{
    return (size_t)((n + 255) / 256) * 8 * sizeof(struct x32x6);
}

/* Steps of a row become number at of a group that has n_step of them. */
static inline void q8_group_steps(const struct x256 *restrict row, int64_t steps, int at,
                                  struct x32x6 *restrict out, int64_t n_step)
{
    for (int64_t t = 0; t < steps; t++)
        for (int p = 0; p < 8; p++) {
            struct x32x6 *o = out + p * n_step + t;

            memcpy(o->q[at], row[t].q + 32 * p, 32);
            o->d[at] = row[t].d[p];
            o->sum_32[at] = row[t].sum_32[p];
            o->back_32[at] = row[t].back_32[p];
            for (int h = 0; h < 2; h++) {
                o->sum_16[h][at] = row[t].sum_16[2 * p + h];
                o->back_16[h][at] = row[t].back_16[2 * p + h];
                o->sum[at][h] = row[t].sum[2 * p + h];
            }
        }
}

static inline void q8_group_put(const void *restrict rows, size_t stride, int count, int64_t n,
                                int at, void *restrict group)
{
    for (int i = 0; i < count; i++)
        q8_group_steps((const struct x256 *)((const char *)rows + (size_t)i * stride),
                       (n + 255) / 256, at + i, (struct x32x6 *)group, (n + 255) / 256);
}

#endif
