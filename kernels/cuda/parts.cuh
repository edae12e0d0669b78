/* parts.cuh - 32 weights of a block: codes, scales and mins, as the formats' headers define them.
 *
 * <format>_part(b, p, q, s, m): weights [32 p, 32 p + 32) of a block; s and m have one place for
 * 32 weights, or two where 16 share a scale. tests/simt holds each against codes() and scales().
 *
 * Codes are worked on four to a word, and loaded in the widest words that their place in a row
 * allows: 16 bytes where blocks are multiples of 16 (Q4_K, Q5_K), else 4 or 2.
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

/* N words from an address that is a multiple of A. */
template <int A, int N> DEVICE void words_at(uint32_t *w, const void *from)
{
#pragma unroll
    for (int i = 0; i < N; i++) {
        if (A == 16) {
            const uint4 v = ((const uint4 *)from)[i / 4];
            w[i] = i % 4 == 0 ? v.x : i % 4 == 1 ? v.y : i % 4 == 2 ? v.z : v.w;
        } else if (A == 4) {
            w[i] = ((const uint32_t *)from)[i];
        } else {
            w[i] = ((const uint16_t *)from)[2 * i] | (uint32_t)((const uint16_t *)from)[2 * i + 1]
                                                         << 16;
        }
    }
}

/* n from each of four bytes below 128. */
DEVICE uint32_t four_less(uint32_t w, uint32_t n)
{
    return ((w | 0x80808080u) - n * 0x01010101u) ^ 0x80808080u;
}

/* The low four bits, to bit 4 of a byte each. */
DEVICE uint32_t four_fifths(uint32_t b)
{
    return (b & 1u) << 4 | (b & 2u) << 11 | (b & 4u) << 18 | (b & 8u) << 25;
}

/* A block is one part. */
#define PART_WHOLE(name)                                                                           \
    DEVICE void name##_part(const struct name *b, int p, int8_t *q, float *s, float *m)            \
    {                                                                                              \
        (void)p;                                                                                   \
        name##_codes(b, q);                                                                        \
        name##_scales(b, s, m);                                                                    \
    }
PART_WHOLE(mxfp4)

/* And its codes are nibbles, the low ones first, of which `less` is taken away. */
#define PART_NIBBLES(name, align, less)                                                            \
    DEVICE void name##_part(const struct name *b, int p, int8_t *q, float *s, float *m)            \
    {                                                                                              \
        uint32_t w[4], c[8];                                                                       \
                                                                                                   \
        (void)p;                                                                                   \
        words_at<align, 4>(w, b->qs);                                                              \
        _Pragma("unroll") for (int i = 0; i < 4; i++)                                              \
        {                                                                                          \
            c[i] = four_less(w[i] & 0x0f0f0f0fu, less);                                            \
            c[i + 4] = four_less(w[i] >> 4 & 0x0f0f0f0fu, less);                                   \
        }                                                                                          \
        memcpy(q, c, sizeof c);                                                                    \
        name##_scales(b, s, m);                                                                    \
    }
PART_NIBBLES(q4_0, 2, 8u)
PART_NIBBLES(q4_1, 4, 0u)

/* And with a fifth bit of each code elsewhere. */
#define PART_FIVE(name, align, less)                                                               \
    DEVICE void name##_part(const struct name *b, int p, int8_t *q, float *s, float *m)            \
    {                                                                                              \
        uint32_t w[4], c[8], h;                                                                    \
                                                                                                   \
        (void)p;                                                                                   \
        words_at<align, 4>(w, b->qs);                                                              \
        words_at<align, 1>(&h, b->qh);                                                             \
        _Pragma("unroll") for (int i = 0; i < 4; i++)                                              \
        {                                                                                          \
            c[i] = four_less((w[i] & 0x0f0f0f0fu) | four_fifths(h >> 4 * i), less);                \
            c[i + 4] =                                                                             \
                four_less((w[i] >> 4 & 0x0f0f0f0fu) | four_fifths(h >> (16 + 4 * i)), less);       \
        }                                                                                          \
        memcpy(q, c, sizeof c);                                                                    \
        name##_scales(b, s, m);                                                                    \
    }
PART_FIVE(q5_0, 2, 16u)
PART_FIVE(q5_1, 4, 0u)

DEVICE void q8_0_part(const struct q8_0 *b, int p, int8_t *q, float *s, float *m)
{
    uint32_t w[8];

    (void)p;
    words_at<2, 8>(w, b->qs);
    memcpy(q, w, sizeof w);
    q8_0_scales(b, s, m);
}

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
    const int shift = p % 4 * 2;
    uint32_t w[8];

    words_at<4, 8>(w, b->qs + p / 4 * 32);
#pragma unroll
    for (int i = 0; i < 8; i++)
        w[i] = w[i] >> shift & 0x03030303u;
    memcpy(q, w, sizeof w);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        s[h] = f16_to_f32(b->d) * (float)(b->scales[2 * p + h] & 15);
        m[h] = -(f16_to_f32(b->dmin) * (float)(b->scales[2 * p + h] >> 4));
    }
}

DEVICE void q3_k_part(const struct q3_k *b, int p, int8_t *q, float *s, float *m)
{
    const int shift = p % 4 * 2;
    uint32_t w[8], high[8];

    words_at<2, 8>(w, b->qs + p / 4 * 32);
    words_at<2, 8>(high, b->hmask);
#pragma unroll
    for (int i = 0; i < 8; i++)
        w[i] = four_less((w[i] >> shift & 0x03030303u) | (high[i] >> p & 0x01010101u) << 2, 4u);
    memcpy(q, w, sizeof w);
#pragma unroll
    for (int h = 0; h < 2; h++) {
        s[h] = f16_to_f32(b->d) * (float)q3_k_scale(b, 2 * p + h);
        m[h] = 0.0f;
    }
}

/* The head of a Q4_K or Q5_K block, d and dmin and 12 bytes of scales: scale and min of part p, as
 * quant/k_scales.h has them. */
DEVICE void k_head(const uint4 &w, int p, float *s, float *m)
{
    const int at = p % 4 * 8;
    const uint32_t x = w.y >> at, y = w.z >> at, z = w.w >> at;
    const uint32_t scale = p < 4 ? x & 63u : (z & 15u) | (x >> 6 & 3u) << 4;
    const uint32_t min = p < 4 ? y & 63u : (z >> 4 & 15u) | (y >> 6 & 3u) << 4;

    s[0] = f16_to_f32((uint16_t)w.x) * (float)scale;
    m[0] = -(f16_to_f32((uint16_t)(w.x >> 16)) * (float)min);
}

DEVICE void q4_k_part(const struct q4_k *b, int p, int8_t *q, float *s, float *m)
{
    const int shift = p % 2 * 4;
    uint32_t w[8];

    words_at<16, 8>(w, b->qs + p / 2 * 32);
#pragma unroll
    for (int i = 0; i < 8; i++)
        w[i] = w[i] >> shift & 0x0f0f0f0fu;
    memcpy(q, w, sizeof w);
    k_head(*(const uint4 *)b, p, s, m);
}

DEVICE void q5_k_part(const struct q5_k *b, int p, int8_t *q, float *s, float *m)
{
    const int shift = p % 2 * 4;
    uint32_t w[8], high[8];

    words_at<16, 8>(w, b->qs + p / 2 * 32);
    words_at<16, 8>(high, b->qh);
#pragma unroll
    for (int i = 0; i < 8; i++)
        w[i] = (w[i] >> shift & 0x0f0f0f0fu) | (high[i] >> p & 0x01010101u) << 4;
    memcpy(q, w, sizeof w);
    k_head(*(const uint4 *)b, p, s, m);
}

DEVICE void q6_k_part(const struct q6_k *b, int p, int8_t *q, float *s, float *m)
{
    const int shift = p % 4 / 2 * 4, shift_h = p % 4 * 2;
    uint32_t w[8], high[8];

    words_at<2, 8>(w, b->ql + p / 4 * 64 + p % 2 * 32);
    words_at<2, 8>(high, b->qh + p / 4 * 32);
#pragma unroll
    for (int i = 0; i < 8; i++)
        w[i] =
            four_less((w[i] >> shift & 0x0f0f0f0fu) | (high[i] >> shift_h & 0x03030303u) << 4, 32u);
    memcpy(q, w, sizeof w);
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
    const int shift = p % 4 * 2;
    uint32_t w[8];

    words_at<2, 8>(w, b->qs + p / 4 * 32);
#pragma unroll
    for (int i = 0; i < 8; i++)
        w[i] = four_less(w[i] >> shift & 0x03030303u, 1u);
    memcpy(q, w, sizeof w);
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
