/* dot_lists256.h - weights that are points out of a list (IQ1, IQ2, IQ3), 256 at a time, AVX2.
 *
 * x_open256(q, b), where OPEN_x: the 256 codes at b. Numbers of points are put together as
 * words, 16 at once; they go through memory to where loads take them, as taking words out of a
 * register costs more. Scales as in dot_avx2.h.
 */
#ifndef RILL_KERNELS_CPU_DOT_LISTS256_H
#define RILL_KERNELS_CPU_DOT_LISTS256_H

#include "kernels/cpu/dot_lists.h"

/* -- points -- */

static DOT_INLINE __m256i y_points8(const uint64_t *list, const volatile uint16_t *n)
{
    return _mm256_set_epi64x((long long)list[n[3]], (long long)list[n[2]], (long long)list[n[1]],
                             (long long)list[n[0]]);
}

static DOT_INLINE __m256i y_points4(const uint32_t *list, const volatile uint16_t *n)
{
    return _mm256_set_epi32((int)list[n[7]], (int)list[n[6]], (int)list[n[5]], (int)list[n[4]],
                            (int)list[n[3]], (int)list[n[2]], (int)list[n[1]], (int)list[n[0]]);
}

/* 256 weights: points of eight whose numbers are these words. */
static DOT_INLINE void y_all8(__m256i *restrict q, const uint64_t *list, __m256i n, __m256i n2)
{
    _Alignas(32) uint16_t word[32];

    _mm256_store_si256((__m256i *)word, n);
    _mm256_store_si256((__m256i *)(word + 16), n2);
    for (int c = 0; c < 8; c++)
        q[c] = y_points8(list, word + 4 * c);
}

/* 64 weights: of four. */
static DOT_INLINE void y_two4(__m256i *restrict q, const uint32_t *list, __m256i n)
{
    _Alignas(32) uint16_t word[16];

    _mm256_store_si256((__m256i *)word, n);
    for (int c = 0; c < 2; c++)
        q[c] = y_points4(list, word + 8 * c);
}

static inline __m256i y_words_of(const uint8_t *p) // of 16 bytes
{
    return _mm256_cvtepu8_epi16(y_load16(p));
}

/* -- signs -- */

/* Negates weights that have a bit in 32 bytes, then adds 64: none is above 62. */
static DOT_INLINE void y_signs(__m256i *restrict q, const uint8_t *p)
{
    for (int c = 0; c < 8; c++) {
        const __m256i m = y_mask(bits_u32(p + 4 * c));

        q[c] = _mm256_sub_epi8(_mm256_xor_si256(q[c], m), _mm256_sub_epi8(m, y_set1(64)));
    }
}

static DOT_INLINE void y_even_signs(__m256i *restrict q, __m256i n)
{
    _Alignas(32) uint8_t all[32];

    _mm256_store_si256((__m256i *)all, list_even_signs(n));
    y_signs(q, all);
}

/* d * (0.5 + scale) * 0.25. */
static inline struct y16 y_half_scales(const uint8_t *p, float d)
{
    return y_times(y_bytes16(list_half_scales(p)), 0.125f * d);
}

/* -- IQ2 -- */

/* Words 2 k, or 2 k + 1, of 16. */
static inline __m256i iq2_xxs_words(const struct iq2_xxs *b, bool odd)
{
    const __m256 v = _mm256_loadu_ps((const float *)b->qs);
    const __m256 v2 = _mm256_loadu_ps((const float *)(b->qs + 32));

    return _mm256_permute4x64_epi64(
        _mm256_castps_si256(odd ? _mm256_shuffle_ps(v, v2, 0xdd) : _mm256_shuffle_ps(v, v2, 0x88)),
        0xd8);
}

#define KIND_iq2_xxs UNSIGNED
#define OPEN_iq2_xxs 1
#define BITS_iq2_xxs 7
#define BACK_iq2_xxs 1
static DOT_INLINE void iq2_xxs_open256(__m256i *restrict q, const struct iq2_xxs *b)
{
    const __m256i n = iq2_xxs_words(b, false);

    y_all8(q, iq2_xxs_grid, _mm256_cvtepu8_epi16(_mm256_castsi256_si128(n)),
           _mm256_cvtepu8_epi16(_mm256_extracti128_si256(n, 1)));
    y_even_signs(q, list_sevens(iq2_xxs_words(b, true)));
}

static inline __m256 iq2_xxs_s(const struct iq2_xxs *b)
{
    return list_top_scales(iq2_xxs_words(b, true), 0.25f * bits_half(b->d));
}

#define KIND_iq2_xs UNSIGNED
#define OPEN_iq2_xs 1
#define BITS_iq2_xs 7
#define BACK_iq2_xs 1
static DOT_INLINE void iq2_xs_open256(__m256i *restrict q, const struct iq2_xs *b)
{
    const __m256i w = y_load32(b->qs), w2 = y_load32(b->qs + 16), low = _mm256_set1_epi16(511);

    y_all8(q, iq2_xs_grid, _mm256_and_si256(w, low), _mm256_and_si256(w2, low));
    y_even_signs(q,
                 _mm256_permute4x64_epi64(
                     _mm256_packus_epi16(_mm256_srli_epi16(w, 9), _mm256_srli_epi16(w2, 9)), 0xd8));
}

static inline struct y16 iq2_xs_s(const struct iq2_xs *b)
{
    return y_half_scales(b->scales, bits_half(b->d));
}

/* Numbers of 16 points: the high two bits are in four bytes, four times two a byte. */
static inline __m256i iq2_s_numbers(const uint8_t *low, const uint8_t *high)
{
    const __m256i at = _mm256_setr_epi64x(0x0000000000000000, 0x0101010101010101,
                                          0x0202020202020202, 0x0303030303030303);
    const __m256i h = _mm256_shuffle_epi8(_mm256_set1_epi32((int)bits_u32(high)), at);
    const __m256i up = _mm256_mullo_epi16(h, _mm256_set1_epi64x(0x0004001000400100));

    return _mm256_or_si256(y_words_of(low), _mm256_and_si256(up, _mm256_set1_epi16(0x300)));
}

#define KIND_iq2_s UNSIGNED
#define OPEN_iq2_s 1
#define BITS_iq2_s 7
#define BACK_iq2_s 1
static DOT_INLINE void iq2_s_open256(__m256i *restrict q, const struct iq2_s *b)
{
    y_all8(q, iq2_s_grid, iq2_s_numbers(b->qs, b->qh), iq2_s_numbers(b->qs + 16, b->qh + 4));
    y_signs(q, b->signs);
}

static inline struct y16 iq2_s_s(const struct iq2_s *b)
{
    return y_half_scales(b->scales, bits_half(b->d));
}

/* -- IQ3 -- */

#define KIND_iq3_xxs UNSIGNED
#define OPEN_iq3_xxs 1
#define BITS_iq3_xxs 7
#define BACK_iq3_xxs 1
static DOT_INLINE void iq3_xxs_open256(__m256i *restrict q, const struct iq3_xxs *b)
{
    for (int c = 0; c < 4; c++)
        y_two4(q + 2 * c, iq3_xxs_grid, y_words_of(b->qs + 16 * c));
    y_even_signs(q, list_sevens(y_load32(b->signs)));
}

static inline __m256 iq3_xxs_s(const struct iq3_xxs *b)
{
    return list_top_scales(y_load32(b->signs), 0.5f * bits_half(b->d));
}

/* The ninth bits of 16 words. */
static inline __m256i y_ninth_bits(__m256i n, const uint8_t *p)
{
    const __m256i bit = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096,
                                          8192, 16384, -32768);
    const __m256i h = _mm256_and_si256(_mm256_set1_epi16((short)(p[0] | p[1] << 8)), bit);

    return _mm256_or_si256(n, _mm256_and_si256(_mm256_cmpeq_epi16(h, bit), _mm256_set1_epi16(256)));
}

#define KIND_iq3_s UNSIGNED
#define OPEN_iq3_s 1
#define BITS_iq3_s 7
#define BACK_iq3_s 1
static DOT_INLINE void iq3_s_open256(__m256i *restrict q, const struct iq3_s *b)
{
    for (int c = 0; c < 4; c++)
        y_two4(q + 2 * c, iq3_s_grid, y_ninth_bits(y_words_of(b->qs + 16 * c), b->qh + 2 * c));
    y_signs(q, b->signs);
}

/* -- IQ1: 8 * point, plus 1 or minus 1; plus 16 -- */

/* Points' numbers; a group's shift is minus 1 where its word of signs has the top bit. */
static DOT_INLINE void y_shifted(__m256i *restrict q, const __m256i *n, const __m256i *signs)
{
    _Alignas(32) int16_t sign[32];

    for (int k = 0; k < 2; k++)
        _mm256_store_si256((__m256i *)sign + k, _mm256_srai_epi16(signs[k], 15));
    y_all8(q, iq1_s_grid, n[0], n[1]);
    for (int c = 0; c < 8; c++) {
        const __m256i minus =
            _mm256_cvtepi16_epi64(_mm_loadl_epi64((const __m128i *)(sign + 4 * c)));
        const __m256i eight = _mm256_and_si256(_mm256_slli_epi16(q[c], 3), y_set1(-8));

        q[c] =
            _mm256_add_epi8(eight, _mm256_add_epi8(_mm256_or_si256(minus, y_set1(1)), y_set1(16)));
    }
}

#define KIND_iq1_s UNSIGNED
#define OPEN_iq1_s 1
#define BITS_iq1_s 5
#define BACK_iq1_s 3
static DOT_INLINE void iq1_s_open256(__m256i *restrict q, const struct iq1_s *b)
{
    __m256i n[2], h[2];

    for (int k = 0; k < 2; k++) {
        const __m256i at = _mm256_setr_epi64x(0x0100010001000100, 0x0302030203020302,
                                              0x0504050405040504, 0x0706070607060706);
        const __m256i words = _mm256_set1_epi64x((long long)bits_u64(b->qh + 4 * k));
        __m256i high;

        h[k] = _mm256_shuffle_epi8(words, at);
        high = _mm256_mullo_epi16(h[k], _mm256_set1_epi64x(0x0000000400200100));
        high = _mm256_blend_epi16(high, _mm256_srli_epi16(h[k], 1), 0x88);
        n[k] = _mm256_or_si256(y_words_of(b->qs + 16 * k),
                               _mm256_and_si256(high, _mm256_set1_epi16(0x700)));
    }
    y_shifted(q, n, h);
}

#define KIND_iq1_m UNSIGNED
#define OPEN_iq1_m 1
#define BITS_iq1_m 5
#define BACK_iq1_m 3
static DOT_INLINE void iq1_m_open256(__m256i *restrict q, const struct iq1_m *b)
{
    __m256i n[2], signs[2];

    for (int k = 0; k < 2; k++) {
        /* a byte's low nibble to bits 8 to 11 of one word, its high one to those of the next */
        const __m256i h = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(b->qh + 8 * k)));
        const __m256i high = _mm256_or_si256(_mm256_slli_epi32(h, 8), _mm256_slli_epi32(h, 20));

        signs[k] = _mm256_slli_epi16(high, 4);
        n[k] = _mm256_or_si256(y_words_of(b->qs + 16 * k),
                               _mm256_and_si256(high, _mm256_set1_epi16(0x700)));
    }
    y_shifted(q, n, signs);
}

static inline struct y16 iq1_m_s(const struct iq1_m *b)
{
    float d;
    const __m128i odd = list_iq1_m_scales(b, &d);

    return y_times(y_bytes16(odd), 0.125f * d);
}

#endif
