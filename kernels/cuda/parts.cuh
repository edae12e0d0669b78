/* parts.cuh - 32 weights of a block: codes, scales and mins, as the formats' headers define them.
 *
 * <format>_part(b, p, q, s, m): weights [32 p, 32 p + 32) of a block; s and m have one place for
 * 32 weights, or two where 16 share a scale. tests/simt holds each against codes() and scales().
 */
#ifndef RILL_KERNELS_CUDA_PARTS_CUH
#define RILL_KERNELS_CUDA_PARTS_CUH

#ifdef RILL_CUDA_GRIDS
/* The device's copy of the lists of points; on the host there is no other than the library's. */
#ifdef RILL_SIMT
#include "quant/grids.h"
#else
#define FMT_GRID(list)      device_##list
#define GRID(type, name, n) static __device__ const type device_##name[n]
#include "quant/grids.c"
#undef A
#undef B
#undef X
#undef S
#endif
#endif

#include "quant/formats.def"

/* A block is one part. */
#define PART_WHOLE(name)                                                                           \
    DEVICE void name##_part(const struct name *b, int p, int8_t *q, float *s, float *m)            \
    {                                                                                              \
        (void)p;                                                                                   \
        name##_codes(b, q);                                                                        \
        name##_scales(b, s, m);                                                                    \
    }
PART_WHOLE(q4_0)
PART_WHOLE(q4_1)
PART_WHOLE(q5_0)
PART_WHOLE(q5_1)
PART_WHOLE(q8_0)
PART_WHOLE(mxfp4)

DEVICE void nvfp4_part(const struct nvfp4 *b, int p, int8_t *q, float *s, float *m)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const uint8_t *from = b->qs + 16 * p + 8 * h;
#pragma unroll
        for (int j = 0; j < 8; j++) {
            q[16 * h + j] = e2m1_doubled(from[j] & 15u);
            q[16 * h + 8 + j] = e2m1_doubled(from[j] >> 4);
        }
        s[h] = ue4m3_half_to_f32(b->d[2 * p + h]);
        m[h] = 0.0f;
    }
}

DEVICE void q2_k_part(const struct q2_k *b, int p, int8_t *q, float *s, float *m)
{
    const uint8_t *from = b->qs + p / 4 * 32;
    const int shift = p % 4 * 2;

#pragma unroll
    for (int l = 0; l < 32; l++)
        q[l] = (int8_t)(from[l] >> shift & 3);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        s[h] = f16_to_f32(b->d) * (float)(b->scales[2 * p + h] & 15);
        m[h] = -(f16_to_f32(b->dmin) * (float)(b->scales[2 * p + h] >> 4));
    }
}

DEVICE void q3_k_part(const struct q3_k *b, int p, int8_t *q, float *s, float *m)
{
    const uint8_t *from = b->qs + p / 4 * 32;
    const int shift = p % 4 * 2;

#pragma unroll
    for (int l = 0; l < 32; l++)
        q[l] = (int8_t)(((from[l] >> shift & 3) | (b->hmask[l] >> p & 1) << 2) - 4);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        s[h] = f16_to_f32(b->d) * (float)q3_k_scale(b, 2 * p + h);
        m[h] = 0.0f;
    }
}

DEVICE void q4_k_part(const struct q4_k *b, int p, int8_t *q, float *s, float *m)
{
    const uint8_t *from = b->qs + p / 2 * 32;
    const int shift = p % 2 * 4;

#pragma unroll
    for (int l = 0; l < 32; l++)
        q[l] = (int8_t)(from[l] >> shift & 15);
    s[0] = f16_to_f32(b->d) * (float)k_scale(b->scales, p);
    m[0] = -(f16_to_f32(b->dmin) * (float)k_min(b->scales, p));
}

DEVICE void q5_k_part(const struct q5_k *b, int p, int8_t *q, float *s, float *m)
{
    const uint8_t *from = b->qs + p / 2 * 32;
    const int shift = p % 2 * 4;

#pragma unroll
    for (int l = 0; l < 32; l++)
        q[l] = (int8_t)((from[l] >> shift & 15) | (b->qh[l] >> p & 1) << 4);
    s[0] = f16_to_f32(b->d) * (float)k_scale(b->scales, p);
    m[0] = -(f16_to_f32(b->dmin) * (float)k_min(b->scales, p));
}

DEVICE void q6_k_part(const struct q6_k *b, int p, int8_t *q, float *s, float *m)
{
    const uint8_t *low = b->ql + p / 4 * 64 + p % 2 * 32, *high = b->qh + p / 4 * 32;
    const int shift = p % 4 / 2 * 4, shift_h = p % 4 * 2;

#pragma unroll
    for (int l = 0; l < 32; l++)
        q[l] = (int8_t)(((low[l] >> shift & 15) | (high[l] >> shift_h & 3) << 4) - 32);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        s[h] = f16_to_f32(b->d) * (float)b->scales[2 * p + h];
        m[h] = 0.0f;
    }
}

DEVICE void tq1_0_part(const struct tq1_0 *b, int p, int8_t *q, float *s, float *m)
{
#pragma unroll 4
    for (int l = 0; l < 32; l++)
        q[l] = (int8_t)tq1_0_code(b, 32 * p + l);
    s[0] = f16_to_f32(b->d);
    m[0] = 0.0f;
}

DEVICE void tq2_0_part(const struct tq2_0 *b, int p, int8_t *q, float *s, float *m)
{
    const uint8_t *from = b->qs + p / 4 * 32;
    const int shift = p % 4 * 2;

#pragma unroll
    for (int l = 0; l < 32; l++)
        q[l] = (int8_t)((from[l] >> shift & 3) - 1);
    s[0] = f16_to_f32(b->d);
    m[0] = 0.0f;
}

#ifdef RILL_CUDA_GRIDS
PART_WHOLE(iq4_nl)

DEVICE void iq4_xs_part(const struct iq4_xs *b, int p, int8_t *q, float *s, float *m)
{
    const uint8_t *from = b->qs + 16 * p;

#pragma unroll
    for (int j = 0; j < 16; j++) {
        q[j] = FMT_GRID(iq4_values)[from[j] & 15];
        q[j + 16] = FMT_GRID(iq4_values)[from[j] >> 4];
    }
    s[0] = f16_to_f32(b->d) * (float)iq4_xs_scale(b, p);
    m[0] = 0.0f;
}

DEVICE void iq2_xxs_part(const struct iq2_xxs *b, int p, int8_t *q, float *s, float *m)
{
    const uint32_t word = fmt_u32(b->qs + 8 * p + 4);

#pragma unroll
    for (int g = 0; g < 4; g++)
        grid8_signed(FMT_GRID(iq2_xxs_grid)[b->qs[8 * p + g]], iq_signs(word >> 7 * g & 127u),
                     q + 8 * g);
    s[0] = f16_to_f32(b->d) * (0.5f + (float)(word >> 28)) * 0.25f;
    m[0] = 0.0f;
}

DEVICE void iq2_xs_part(const struct iq2_xs *b, int p, int8_t *q, float *s, float *m)
{
#pragma unroll
    for (int g = 0; g < 4; g++) {
        const unsigned word = b->qs[4 * p + g];
        grid8_signed(FMT_GRID(iq2_xs_grid)[word & 511u], iq_signs(word >> 9), q + 8 * g);
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        s[h] = f16_to_f32(b->d) * (0.5f + (float)(b->scales[p] >> (h * 4) & 15)) * 0.25f;
        m[h] = 0.0f;
    }
}

DEVICE void iq2_s_part(const struct iq2_s *b, int p, int8_t *q, float *s, float *m)
{
#pragma unroll
    for (int g = 0; g < 4; g++)
        grid8_signed(FMT_GRID(iq2_s_grid)[iq2_s_point(b, 4 * p + g)], b->signs[4 * p + g],
                     q + 8 * g);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        s[h] = f16_to_f32(b->d) * (0.5f + (float)(b->scales[p] >> (h * 4) & 15)) * 0.25f;
        m[h] = 0.0f;
    }
}

DEVICE void iq3_xxs_part(const struct iq3_xxs *b, int p, int8_t *q, float *s, float *m)
{
    const uint32_t word = fmt_u32(b->signs + 4 * p);

#pragma unroll
    for (int g = 0; g < 4; g++) {
        const uint64_t low = FMT_GRID(iq3_xxs_grid)[b->qs[8 * p + 2 * g]];
        const uint64_t high = FMT_GRID(iq3_xxs_grid)[b->qs[8 * p + 2 * g + 1]];
        grid8_signed(low | high << 32, iq_signs(word >> 7 * g & 127u), q + 8 * g);
    }
    s[0] = f16_to_f32(b->d) * (0.5f + (float)(word >> 28)) * 0.5f;
    m[0] = 0.0f;
}

DEVICE void iq3_s_part(const struct iq3_s *b, int p, int8_t *q, float *s, float *m)
{
#pragma unroll
    for (int k = 0; k < 4; k++) {
        const int g = 4 * p + k;
        const uint64_t low = FMT_GRID(iq3_s_grid)[iq3_s_point(b, 2 * g)];
        const uint64_t high = FMT_GRID(iq3_s_grid)[iq3_s_point(b, 2 * g + 1)];
        grid8_signed(low | high << 32, b->signs[g], q + 8 * k);
    }
    s[0] = f16_to_f32(b->d) * (float)(1 + 2 * (b->scales[p / 2] >> (p % 2 * 4) & 15));
    m[0] = 0.0f;
}

DEVICE void iq1_s_part(const struct iq1_s *b, int p, int8_t *q, float *s, float *m)
{
#pragma unroll
    for (int g = 0; g < 4; g++)
        grid8_shifted(FMT_GRID(iq1_s_grid)[iq1_s_point(b, 4 * p + g)], b->qh[p] & 0x8000u ? -1 : 1,
                      q + 8 * g);
    s[0] = f16_to_f32(b->d) * (float)(2 * (b->qh[p] >> 12 & 7) + 1) * 0.125f;
    m[0] = 0.0f;
}

DEVICE void iq1_m_part(const struct iq1_m *b, int p, int8_t *q, float *s, float *m)
{
#pragma unroll
    for (int k = 0; k < 4; k++) {
        const int g = 4 * p + k;
        const unsigned nibble = iq1_m_nibble(b, g);
        grid8_shifted(FMT_GRID(iq1_s_grid)[b->qs[g] | (nibble & 7u) << 8], nibble & 8u ? -1 : 1,
                      q + 8 * k);
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        s[h] = iq1_m_d(b) * (float)(2 * iq1_m_scale(b, 2 * p + h) + 1) * 0.125f;
        m[h] = 0.0f;
    }
}
#endif
#endif
