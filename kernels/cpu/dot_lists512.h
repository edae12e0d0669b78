/* dot_lists512.h - weights that are points out of a list (IQ1, IQ2, IQ3), 256 at a time.
 *
 * x_open(o, b), where OPEN_x: the 256 codes at b. Where SIGNS_x, they are magnitudes and o->neg
 * says which are negative: to negate inputs takes less than to make signed weights unsigned. BACK_x
 * and scales as in dot_avx512.h.
 *
 * Numbers of points are put together as words, 32 at once. Lists of up to 512 points are looked up
 * in registers, a word holding a point's weights as two or three bits each: 32 lookups take 17 or
 * 34 operations. Out of longer ones each point is a load of its own, which leaves the rest of a
 * register as it is; the numbers go through memory, as taking words out of a register costs more.
 */
#ifndef RILL_KERNELS_CPU_DOT_LISTS512_H
#define RILL_KERNELS_CPU_DOT_LISTS512_H

#include "kernels/cpu/dot_lists.h"

/* -- long lists -- */

/* Points number n[0] .. n[3] of eight weights: the fewest masks, they fill the mask registers. */
static DOT_INLINE __m256i z_four8(const uint64_t *list, const volatile uint16_t *n)
{
    __m256i v = _mm256_castsi128_si256(_mm_loadl_epi64((const __m128i *)(list + n[0])));

    v = _mm256_mask_set1_epi64(v, 2, (long long)list[n[1]]);
    v = _mm256_mask_set1_epi64(v, 4, (long long)list[n[2]]);
    return _mm256_mask_set1_epi64(v, 8, (long long)list[n[3]]);
}

static DOT_INLINE __m512i z_points8(const uint64_t *list, const volatile uint16_t *n)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(z_four8(list, n)), z_four8(list, n + 4), 1);
}

static DOT_INLINE void z_put_words(void *restrict words, __m512i n)
{
    char *p = (char *)words;

    /* loads are served sooner out of two halves than out of a whole */
    _mm256_store_si256((__m256i *)p, _mm512_castsi512_si256(n));
    _mm256_store_si256((__m256i *)(p + 32), _mm512_extracti64x4_epi64(n, 1));
}

/* 256 weights: points of eight whose numbers are the words of n. */
static DOT_INLINE void z_all8(struct z_codes *restrict o, const uint64_t *list, __m512i n)
{
    _Alignas(64) uint16_t word[32];

    z_put_words(word, n);
    for (int c = 0; c < 4; c++)
        o->q[c] = z_points8(list, word + 8 * c);
}

static inline __m512i z_words_of(const uint8_t *p) // of 32 bytes
{
    return _mm512_cvtepu8_epi16(z_load32(p));
}

/* -- short lists: points as words of two or three bits a weight, looked up in registers -- */

#define GRID(type, name, n) _Alignas(64) static const uint16_t z_##name[n]
/* bits as z_spread8 and z_spread4 want them: weights of even number in the low byte */
#define P8(w, c)                                                                                   \
    (((c)&3) | ((c) >> 2 & 12) | ((c) >> 4 & 48) | ((c) >> 6 & 192) | ((c) << 6 & 0x300) |         \
     ((c) << 4 & 0xc00) | ((c) << 2 & 0x3000) | ((c)&0xc000))
#define P4(w, c) (((c)&7) | ((c) >> 3 & 070) | ((c) << 5 & 0x700) | ((c) << 2 & 0x3800))
#include "quant/grids.c"
#undef GRID
#undef P8
#undef P4

/* Words number n out of 256. */
static DOT_INLINE __m512i z_word256(const uint16_t *list, __m512i n)
{
    const __m512i *t = (const __m512i *)list;
    const __mmask32 six = _mm512_test_epi16_mask(n, _mm512_set1_epi16(64));
    const __m512i a = _mm512_mask_blend_epi16(six, _mm512_permutex2var_epi16(t[0], n, t[1]),
                                              _mm512_permutex2var_epi16(t[2], n, t[3]));
    const __m512i b = _mm512_mask_blend_epi16(six, _mm512_permutex2var_epi16(t[4], n, t[5]),
                                              _mm512_permutex2var_epi16(t[6], n, t[7]));

    return _mm512_mask_blend_epi16(_mm512_test_epi16_mask(n, _mm512_set1_epi16(128)), a, b);
}

static DOT_INLINE __m512i z_word512(const uint16_t *list, __m512i n)
{
    return _mm512_mask_blend_epi16(_mm512_test_epi16_mask(n, _mm512_set1_epi16(256)),
                                   z_word256(list, n), z_word256(list + 256, n));
}

/* Words of which lane L (128 bits) has those of groups 2 L and 2 L + 1 of every 64 weights. */
static DOT_INLINE void z_spread8(struct z_codes *restrict o, __m512i words)
{
    const __m512i values = _mm512_set1_epi32(8 | 25 << 8 | 43 << 16);
    const __m512i by = _mm512_set1_epi64(0x0006000400020000);
    const __m512i first =
        _mm512_broadcast_i32x4(_mm_set_epi64x(0x0302030203020302, 0x0100010001000100));

    for (int c = 0; c < 4; c++) {
        const __m512i at = _mm512_add_epi8(first, z_set1(4 * c));
        const __m512i v = _mm512_srlv_epi16(_mm512_shuffle_epi8(words, at), by);

        o->q[c] = _mm512_shuffle_epi8(values, _mm512_and_si512(v, z_set1(3)));
    }
}

/* Of groups 4 L .. 4 L + 3 of each 64 weights: the first 64 and the second. */
static DOT_INLINE void z_spread4(__m512i *restrict q, __m512i words, __m512i values)
{
    const __m512i by = _mm512_set1_epi32(3 << 16);

    for (int c = 0; c < 2; c++) {
        const __m512i v =
            c ? _mm512_unpackhi_epi16(words, words) : _mm512_unpacklo_epi16(words, words);

        q[c] = _mm512_shuffle_epi8(values, _mm512_and_si512(_mm512_srlv_epi16(v, by), z_set1(7)));
    }
}

/* Fours of words in the order z_spread4 wants. */
static inline __m512i z_fours(__m512i n)
{
    return _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7), n);
}

/* -- signs -- */

static DOT_INLINE void z_signs(struct z_codes *restrict o, const uint8_t *p)
{
    for (int c = 0; c < 4; c++)
        o->neg[c] = _cvtu64_mask64(bits_u64(p + 8 * c));
}

static DOT_INLINE void z_even_signs(struct z_codes *restrict o, __m256i n)
{
    _Alignas(32) uint8_t all[32];

    _mm256_store_si256((__m256i *)all, list_even_signs(n));
    z_signs(o, all);
}

/* d * (0.5 + scale) * 0.25. */
static inline __m512 z_half_scales(const uint8_t *p, float d)
{
    return _mm512_mul_ps(z_bytes(list_half_scales(p)), _mm512_set1_ps(0.125f * d));
}

/* -- IQ2 -- */

/* Words 2 k + 1 of 16: sign numbers and a scale. */
static inline __m256i iq2_xxs_words(const struct iq2_xxs *b)
{
    return _mm512_cvtepi64_epi32(_mm512_srli_epi64(z_load64(b->qs), 32));
}

#define SIMD_iq2_xxs  1
#define OPEN_iq2_xxs  1
#define SIGNS_iq2_xxs 1
#define MOST_iq2_xxs  43
#define BACK_iq2_xxs  0
static DOT_INLINE void iq2_xxs_open(struct z_codes *restrict o, const struct iq2_xxs *b)
{
    /* pairs of numbers in the order z_spread8 wants */
    const __m512i at = _mm512_castsi256_si512(
        _mm256_setr_epi16(0, 8, 16, 24, 1, 9, 17, 25, 4, 12, 20, 28, 5, 13, 21, 29));
    const __m512i n = _mm512_permutexvar_epi16(at, z_load64(b->qs));

    z_spread8(o, z_word256(z_iq2_xxs_grid, _mm512_cvtepu8_epi16(_mm512_castsi512_si256(n))));
    z_even_signs(o, list_sevens(iq2_xxs_words(b)));
}

static inline __m256 iq2_xxs_s(const struct iq2_xxs *b)
{
    return list_top_scales(iq2_xxs_words(b), 0.25f * bits_half(b->d));
}

#define SIMD_iq2_xs  1
#define OPEN_iq2_xs  1
#define SIGNS_iq2_xs 1
#define MOST_iq2_xs  43
#define BACK_iq2_xs  0
static DOT_INLINE void iq2_xs_open(struct z_codes *restrict o, const struct iq2_xs *b)
{
    const __m512i w = z_load64(b->qs);

    const __m512i at = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);

    z_spread8(o, z_word512(z_iq2_xs_grid, _mm512_permutexvar_epi32(at, w)));
    z_even_signs(o, _mm512_cvtepi16_epi8(_mm512_srli_epi16(w, 9)));
}

static inline __m512 iq2_xs_s(const struct iq2_xs *b)
{
    return z_half_scales(b->scales, bits_half(b->d));
}

#define SIMD_iq2_s  1
#define OPEN_iq2_s  1
#define SIGNS_iq2_s 1
#define MOST_iq2_s  43
#define BACK_iq2_s  0
static DOT_INLINE void iq2_s_open(struct z_codes *restrict o, const struct iq2_s *b)
{
    /* a byte of qh to the four words whose high bits it has; those to bits 8 and 9 */
    const __m512i at = _mm512_set_epi64(0x0007000700070007, 0x0006000600060006, 0x0005000500050005,
                                        0x0004000400040004, 0x0003000300030003, 0x0002000200020002,
                                        0x0001000100010001, 0);
    const __m512i up = _mm512_set1_epi64(0x0002000400060008);
    const __m512i h = _mm512_shuffle_epi8(_mm512_set1_epi64((long long)bits_u64(b->qh)), at);
    const __m512i high = _mm512_and_si512(_mm512_sllv_epi16(h, up), _mm512_set1_epi16(0x300));

    z_all8(o, iq2_s_grid, _mm512_or_si512(z_words_of(b->qs), high));
    z_signs(o, b->signs);
}

static inline __m512 iq2_s_s(const struct iq2_s *b)
{
    return z_half_scales(b->scales, bits_half(b->d));
}

/* -- IQ3 -- */

#define SIMD_iq3_xxs  1
#define OPEN_iq3_xxs  1
#define SIGNS_iq3_xxs 1
#define MOST_iq3_xxs  62
#define BACK_iq3_xxs  0
static DOT_INLINE void iq3_xxs_open(struct z_codes *restrict o, const struct iq3_xxs *b)
{
    const __m512i values = _mm512_set1_epi64(0x3e342c241c140c04);

    for (int c = 0; c < 4; c += 2)
        z_spread4(o->q + c, z_word256(z_iq3_xxs_grid, z_fours(z_words_of(b->qs + 16 * c))), values);
    z_even_signs(o, list_sevens(z_load32(b->signs)));
}

static inline __m256 iq3_xxs_s(const struct iq3_xxs *b)
{
    return list_top_scales(z_load32(b->signs), 0.5f * bits_half(b->d));
}

/* The ninth bits of 32 words. */
static inline __m512i z_ninth_bits(__m512i n, const uint8_t *p)
{
    return _mm512_mask_add_epi16(n, _cvtu32_mask32(bits_u32(p)), n, _mm512_set1_epi16(256));
}

#define SIMD_iq3_s  1
#define OPEN_iq3_s  1
#define SIGNS_iq3_s 1
#define MOST_iq3_s  15
#define BACK_iq3_s  0
static DOT_INLINE void iq3_s_open(struct z_codes *restrict o, const struct iq3_s *b)
{
    const __m512i values = _mm512_set1_epi64(0x0f0d0b0907050301);

    for (int c = 0; c < 4; c += 2) {
        const __m512i n = z_ninth_bits(z_words_of(b->qs + 16 * c), b->qh + 2 * c);

        z_spread4(o->q + c, z_word512(z_iq3_s_grid, z_fours(n)), values);
    }
    z_signs(o, b->signs);
}

/* -- IQ1: 8 * point, plus 1 or minus 1 -- */

/* Codes plus 9: points are -1, 0 or 1; plus has a bit for each group of eight. */
static DOT_INLINE void z_shifted(struct z_codes *restrict o, __m512i n, __mmask32 plus)
{
    /* a byte with its top bit set becomes 0 */
    const __m512i eights = _mm512_set1_epi16(0x1008);

    z_all8(o, iq1_s_grid, n);
    for (int c = 0; c < 4; c++) {
        const __m512i v = _mm512_shuffle_epi8(eights, o->q[c]);

        o->q[c] = _mm512_mask_add_epi64(v, (__mmask8)(plus >> 8 * c), v, z_set1(2));
    }
}

/* Numbers of points; words whose top bit says that the shift is negative. */
static DOT_INLINE __m512i iq1_s_points(const struct iq1_s *b, __m512i *restrict minus)
{
    const __m512i at = _mm512_set_epi64(0x0f0e0f0e0f0e0f0e, 0x0d0c0d0c0d0c0d0c, 0x0b0a0b0a0b0a0b0a,
                                        0x0908090809080908, 0x0706070607060706, 0x0504050405040504,
                                        0x0302030203020302, 0x0100010001000100);
    const __m512i h = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(z_load16(b->qh)), at);
    const __m512i three = _mm512_srlv_epi16(h, _mm512_set1_epi64(0x0009000600030000));
    const __m512i high = _mm512_and_si512(_mm512_slli_epi16(three, 8), _mm512_set1_epi16(0x700));

    *minus = h;
    return _mm512_or_si512(z_words_of(b->qs), high);
}

#define SIMD_iq1_s 1
#define OPEN_iq1_s 1
#define BACK_iq1_s BACK_NINE
static DOT_INLINE void iq1_s_open(struct z_codes *restrict o, const struct iq1_s *b)
{
    __m512i minus;
    const __m512i n = iq1_s_points(b, &minus);

    z_shifted(o, n, ~_mm512_movepi16_mask(minus));
}

/* Numbers of points, and whose shift is positive. */
static DOT_INLINE __m512i iq1_m_points(const struct iq1_m *b, __mmask32 *restrict plus)
{
    /* bytes of qh as words, twice: their low nibbles, then their high ones, to bits 8 to 11 */
    const __m512i h = _mm512_cvtepu8_epi32(z_load16(b->qh));
    const __m512i high = _mm512_or_si512(_mm512_slli_epi32(h, 8), _mm512_slli_epi32(h, 20));
    const __m512i three = _mm512_and_si512(high, _mm512_set1_epi16(0x700));

    *plus = _mm512_testn_epi16_mask(high, _mm512_set1_epi16(0x800));
    return _mm512_or_si512(z_words_of(b->qs), three);
}

#define SIMD_iq1_m 1
#define OPEN_iq1_m 1
#define BACK_iq1_m BACK_NINE
static DOT_INLINE void iq1_m_open(struct z_codes *restrict o, const struct iq1_m *b)
{
    __mmask32 plus;
    const __m512i n = iq1_m_points(b, &plus);

    z_shifted(o, n, plus);
}

static inline __m512 iq1_m_s(const struct iq1_m *b)
{
    float d;
    const __m128i odd = list_iq1_m_scales(b, &d);

    return _mm512_mul_ps(z_bytes(odd), _mm512_set1_ps(0.125f * d));
}

#endif
