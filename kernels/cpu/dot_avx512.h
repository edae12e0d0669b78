/* dot_avx512.h - weights of each format as 64 unsigned bytes at a time, and their scales.
 *
 * x_u64(b, c): codes 64 c .. 64 c + 63 of 256 weights at b, each plus the format's offset, which is
 * 128 >> BACK_x, or 9 or 12; no offset where BACK_x is NO_BACK. MOST_x: the greatest, if not 255.
 * x_s(b), x_m(b): scales and mins of 256 weights, 16 of them or 8; x_numbers4(s, m, b), where
 * FOUR_x: those of four rows, which together take fewer operations. x_lanes(q, b), where LANES_x:
 * 256 codes in an order that takes less to add up (z_lanes_dot). A format not here goes through its
 * codes() and scales().
 *
 * No gather instructions: microcode against data sampling made them slow on the machines that
 * have AVX-512 without VBMI.
 */
#ifndef RILL_KERNELS_CPU_DOT_AVX512_H
#define RILL_KERNELS_CPU_DOT_AVX512_H

#include "kernels/cpu/dot_bits.h"

#define NO_BACK     99
#define BACK_NINE   98
#define BACK_TWELVE 97

/* 256 codes of a row, plus an offset; magnitudes where the format has SIGNS_x. */
struct z_codes {
    __m512i q[4];
    __mmask64 neg[4];
};

/* -- pieces -- */

static inline __m512i z_set1(int v)
{
    return _mm512_set1_epi8((char)v);
}

static inline __m128i z_load16(const void *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

static inline __m256i z_load32(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

static inline __m512i z_load64(const void *p)
{
    return _mm512_loadu_si512(p);
}

/* 32 bytes twice. */
static inline __m512i z_twice32(const void *p)
{
    return _mm512_broadcast_i64x4(z_load32(p));
}

/* 16 bytes twice, then 16 others twice. */
static inline __m512i z_twice16(const void *p, const void *p2)
{
    __m512i a = _mm512_broadcast_i32x4(z_load16(p));

    return _mm512_mask_broadcast_i32x4(a, 0xff00, z_load16(p2));
}

/* 32 bytes, then 32 others. */
static inline __m512i z_pair32(const void *p, const void *p2)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(z_load32(p)), z_load32(p2), 1);
}

/* Low four bits of every even, high four of every odd 16 bytes. */
static inline __m512i z_nibbles(__m512i a)
{
    const __m512i by = _mm512_set_epi64(4, 4, 0, 0, 4, 4, 0, 0);

    return _mm512_and_si512(_mm512_srlv_epi64(a, by), z_set1(15));
}

/* Bits from bit lo on of the first, from bit hi on of the second 32 bytes. */
static inline __m512i z_shift(__m512i a, int lo, int hi)
{
    return _mm512_srlv_epi64(a, _mm512_set_epi64(hi, hi, hi, hi, lo, lo, lo, lo));
}

static inline __m512i z_table(const int8_t *values, int offset)
{
    return _mm512_add_epi8(_mm512_broadcast_i32x4(z_load16(values)), z_set1(offset));
}

/* add where bit c of the first, bit c + 1 of the second 32 bytes is set. */
static inline __m512i z_add_bit(__m512i a, __m512i bytes, int c, int add)
{
    const __m512i bit = _mm512_inserti64x4(z_set1(1 << c), _mm256_set1_epi8((char)(2 << c)), 1);

    return _mm512_mask_add_epi8(a, _mm512_test_epi8_mask(bytes, bit), a, z_set1(add));
}

/* Four words, four times. */
static inline __m512i z_words4(int a, int b, int c, int d)
{
    return _mm512_setr_epi32(a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d);
}

static inline __m512 z_bytes(__m128i a) // unsigned
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(a));
}

static inline __m256 z_bytes8(uint64_t a) // unsigned
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)a)));
}

/* Eight binary16 numbers, stride bytes apart. */
static inline __m256 z_halves(const void *p, int stride)
{
    const char *b = (const char *)p;
    uint16_t h[8];

    for (int k = 0; k < 8; k++)
        memcpy(&h[k], b + k * stride, 2);
    return _mm256_cvtph_ps(_mm_set_epi16((short)h[7], (short)h[6], (short)h[5], (short)h[4],
                                         (short)h[3], (short)h[2], (short)h[1], (short)h[0]));
}

static inline __m512 z_pair8(__m256 a, __m256 b)
{
    return _mm512_insertf32x8(_mm512_castps256_ps512(a), b, 1);
}

/* The binary16 scales of eight blocks of 18 bytes: every ninth word of 128 bytes. */
static inline __m256 z_ninths(const void *p)
{
    const __m512i at = _mm512_castsi128_si512(_mm_setr_epi16(0, 9, 18, 27, 36, 45, 54, 63));
    const __m512i v = _mm512_permutex2var_epi16(z_load64(p), at, z_load64((const char *)p + 64));

    return _mm256_cvtph_ps(_mm512_castsi512_si128(v));
}

static DOT_INLINE __m128i z_quarter(__m512i a, int k)
{
    return k == 0   ? _mm512_castsi512_si128(a)
           : k == 1 ? _mm512_extracti32x4_epi32(a, 1)
           : k == 2 ? _mm512_extracti32x4_epi32(a, 2)
                    : _mm512_extracti32x4_epi32(a, 3);
}

/* Words of 128 bytes at a, and of those at b, in the order of at, which says it twice. */
static DOT_INLINE __m512i z_words2(const void *a, const void *b, __m512i at)
{
    return _mm512_mask_blend_epi32(
        0xff00, _mm512_permutex2var_epi32(z_load64(a), at, z_load64((const char *)a + 64)),
        _mm512_permutex2var_epi32(z_load64(b), at, z_load64((const char *)b + 64)));
}

/* z_ninths of two rows: the scales of even blocks are in the low, of odd ones in the high half of a
 * word. */
static DOT_INLINE __m512 z_ninths2(const void *a, const void *b)
{
    const __m512i at = _mm512_setr_epi32(0, 4, 9, 13, 18, 22, 27, 31, 0, 4, 9, 13, 18, 22, 27, 31);
    const __m512i v = _mm512_srlv_epi32(z_words2(a, b, at), _mm512_set1_epi64(16ll << 32));

    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
}

/* 16 bytes from each of four blocks. */
static DOT_INLINE __m512i z_four16(const void *a, const void *b, const void *c, const void *d)
{
    __m512i v = _mm512_inserti32x4(_mm512_castsi128_si512(z_load16(a)), z_load16(b), 1);

    v = _mm512_inserti32x4(v, z_load16(c), 2);
    return _mm512_inserti32x4(v, z_load16(d), 3);
}

/* The low four bits of bytes, and the high ones. */
static DOT_INLINE void z_low_high(__m512i *q, __m512i v)
{
    q[0] = _mm512_and_si512(v, z_set1(15));
    q[1] = _mm512_and_si512(_mm512_srli_epi16(v, 4), z_set1(15));
}

/* What codes of z_signed have more than they should; none where that would not leave them in signed
 * bytes. */
#define z_offset(by)                                                                               \
    ((by) == NO_BACK || (by) == 0 ? 0                                                              \
     : (by) == BACK_NINE          ? 9                                                              \
     : (by) == BACK_TWELVE        ? 12                                                             \
                                  : 128 >> ((by)&31))

/* 64 codes as signed bytes. */
static DOT_INLINE __m512i z_signed(const struct z_codes *o, int c, int by, bool is_signed)
{
    if (is_signed)
        return _mm512_mask_sub_epi8(o->q[c], o->neg[c], _mm512_setzero_si512(), o->q[c]);
    return by == 0 ? _mm512_xor_si512(o->q[c], z_set1(-128)) : o->q[c];
}

static inline __m512i z_wide_8(__m256 a)
{
    return _mm512_castps_si512(_mm512_castps256_ps512(a));
}

static inline __m512i z_wide_16(__m512 a)
{
    return _mm512_castps_si512(a);
}

/* -- blocks of 32 with a binary16 scale -- */

#define SIMD_q4_0 1
#define MOST_q4_0 15
#define BACK_q4_0 4
static inline __m512i q4_0_u64(const struct q4_0 *b, int c)
{
    return z_nibbles(z_twice16(b[2 * c].qs, b[2 * c + 1].qs));
}

static inline __m256 q4_0_s(const struct q4_0 *b)
{
    return z_ninths(b);
}

#define LANES_q4_0 1
static DOT_INLINE void q4_0_lanes(__m512i *q, const struct q4_0 *b)
{
    z_low_high(q, z_four16(b[0].qs, b[1].qs, b[2].qs, b[3].qs));
    z_low_high(q + 2, z_four16(b[4].qs, b[5].qs, b[6].qs, b[7].qs));
}

#define FOUR_q4_0 1
static DOT_INLINE void q4_0_numbers4(__m512 *restrict s, __m512 *restrict m,
                                     const struct q4_0 *const *b)
{
    for (int k = 0; k < 2; k++)
        s[k] = m[k] = z_ninths2(b[2 * k], b[2 * k + 1]);
}

#define SIMD_q4_1 1
#define MOST_q4_1 15
#define BACK_q4_1 NO_BACK
static inline __m512i q4_1_u64(const struct q4_1 *b, int c)
{
    return z_nibbles(z_twice16(b[2 * c].qs, b[2 * c + 1].qs));
}

static inline __m256 q4_1_s(const struct q4_1 *b)
{
    return z_halves(&b->d, sizeof *b);
}

static inline __m256 q4_1_m(const struct q4_1 *b)
{
    return z_halves(&b->m, sizeof *b);
}

/* The fifth bits of two blocks. */
static inline __m512i z_fifth(__m512i a, const uint8_t *qh, const uint8_t *qh2)
{
    __mmask64 k = _cvtu64_mask64((uint64_t)bits_u32(qh) | (uint64_t)bits_u32(qh2) << 32);

    return _mm512_mask_add_epi8(a, k, a, z_set1(16));
}

#define SIMD_q5_0 1
#define MOST_q5_0 31
#define BACK_q5_0 3
static inline __m512i q5_0_u64(const struct q5_0 *b, int c)
{
    b += 2 * c;
    return z_fifth(z_nibbles(z_twice16(b[0].qs, b[1].qs)), b[0].qh, b[1].qh);
}

static inline __m256 q5_0_s(const struct q5_0 *b)
{
    return z_halves(&b->d, sizeof *b);
}

#define SIMD_q5_1 1
#define MOST_q5_1 31
#define BACK_q5_1 NO_BACK
static inline __m512i q5_1_u64(const struct q5_1 *b, int c)
{
    b += 2 * c;
    return z_fifth(z_nibbles(z_twice16(b[0].qs, b[1].qs)), b[0].qh, b[1].qh);
}

static inline __m256 q5_1_s(const struct q5_1 *b)
{
    return z_halves(&b->d, sizeof *b);
}

static inline __m256 q5_1_m(const struct q5_1 *b)
{
    return z_halves(&b->m, sizeof *b);
}

#define SIMD_q8_0 1
#define BACK_q8_0 0
static inline __m512i q8_0_u64(const struct q8_0 *b, int c)
{
    return _mm512_xor_si512(z_pair32(b[2 * c].qs, b[2 * c + 1].qs), z_set1(-128));
}

static inline __m256 q8_0_s(const struct q8_0 *b)
{
    return z_halves(&b->d, sizeof *b);
}

#define SIMD_iq4_nl 1
#define BACK_iq4_nl 0
static inline __m512i iq4_nl_u64(const struct iq4_nl *b, int c)
{
    return _mm512_shuffle_epi8(z_table(iq4_values, 128),
                               z_nibbles(z_twice16(b[2 * c].qs, b[2 * c + 1].qs)));
}

static inline __m256 iq4_nl_s(const struct iq4_nl *b)
{
    return z_ninths(b);
}

static DOT_INLINE void z_lookup(__m512i *q, __m512i table)
{
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++)
        q[k] = _mm512_shuffle_epi8(table, q[k]);
}

#define LANES_iq4_nl 1
static DOT_INLINE void iq4_nl_lanes(__m512i *q, const struct iq4_nl *b)
{
    z_low_high(q, z_four16(b[0].qs, b[1].qs, b[2].qs, b[3].qs));
    z_low_high(q + 2, z_four16(b[4].qs, b[5].qs, b[6].qs, b[7].qs));
    z_lookup(q, z_table(iq4_values, 128));
}

#define FOUR_iq4_nl 1
static DOT_INLINE void iq4_nl_numbers4(__m512 *restrict s, __m512 *restrict m,
                                       const struct iq4_nl *const *b)
{
    for (int k = 0; k < 2; k++)
        s[k] = m[k] = z_ninths2(b[2 * k], b[2 * k + 1]);
}

/* -- floating-point scales of 8 bits -- */

static inline __m512i z_e2m1(__m512i nibbles, int offset) // doubled, plus offset
{
    const __m512i v = _mm512_broadcast_i32x4(bits_e2m1());

    return _mm512_shuffle_epi8(_mm512_add_epi8(v, z_set1(offset)), nibbles);
}

#define SIMD_mxfp4 1
#define MOST_mxfp4 24
#define BACK_mxfp4 BACK_TWELVE
static inline __m512i mxfp4_u64(const struct mxfp4 *b, int c)
{
    return z_e2m1(z_nibbles(z_twice16(b[2 * c].qs, b[2 * c + 1].qs)), 12);
}

static inline __m256 mxfp4_s(const struct mxfp4 *b)
{
    /* byte 17 k is the low half of a word, or the high one where k is odd */
    const __m512i at = _mm512_castsi128_si512(_mm_setr_epi16(0, 8, 17, 25, 34, 42, 51, 59));
    const __m128i v = _mm512_castsi512_si128(
        _mm512_permutex2var_epi16(z_load64(b), at, z_load64((const char *)b + 64)));
    const __m128i low = _mm_srlv_epi16(v, _mm_setr_epi16(0, 8, 0, 8, 0, 8, 0, 8));
    const __m256i e = _mm256_cvtepu16_epi32(_mm_and_si128(low, _mm_set1_epi16(255)));
    const __m256i small = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e); // e < 2
    const __m256i usual = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    const __mmask8 tiny = _mm256_cmplt_epi32_mask(e, _mm256_set1_epi32(2));

    return _mm256_castsi256_ps(_mm256_mask_blend_epi32(tiny, usual, small));
}

#define LANES_mxfp4 1
static DOT_INLINE void mxfp4_lanes(__m512i *q, const struct mxfp4 *b)
{
    z_low_high(q, z_four16(b[0].qs, b[1].qs, b[2].qs, b[3].qs));
    z_low_high(q + 2, z_four16(b[4].qs, b[5].qs, b[6].qs, b[7].qs));
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++)
        q[k] = z_e2m1(q[k], 12);
}

/* 2^(e - 128), as mxfp4_s has it for eight. */
static inline __m512 z_e8m0(__m512i e)
{
    const __m512i small = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), e);
    const __m512i usual = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
    const __mmask16 tiny = _mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2));

    return _mm512_castsi512_ps(_mm512_mask_blend_epi32(tiny, usual, small));
}

/* Blocks of 17 bytes: the exponents of four of them are in bytes 0 to 3 of words. */
#define FOUR_mxfp4 1
static DOT_INLINE void mxfp4_numbers4(__m512 *restrict s, __m512 *restrict m,
                                      const struct mxfp4 *const *b)
{
    const __m512i at = _mm512_setr_epi32(0, 4, 8, 12, 17, 21, 25, 29, 0, 4, 8, 12, 17, 21, 25, 29);

    for (int k = 0; k < 2; k++) {
        const __m512i v =
            _mm512_srlv_epi32(z_words2(b[2 * k], b[2 * k + 1], at), z_words4(0, 8, 16, 24));

        s[k] = m[k] = z_e8m0(_mm512_and_si512(v, _mm512_set1_epi32(255)));
    }
}

#define SIMD_nvfp4 1
#define MOST_nvfp4 24
#define BACK_nvfp4 BACK_TWELVE
static inline __m512i nvfp4_u64(const struct nvfp4 *b, int c)
{
    const __m512i twice8 = _mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0);
    const __m512i by = _mm512_set_epi64(4, 0, 4, 0, 4, 0, 4, 0);
    const __m512i a = _mm512_permutexvar_epi64(twice8, _mm512_castsi256_si512(z_load32(b[c].qs)));

    return z_e2m1(_mm512_and_si512(_mm512_srlv_epi64(a, by), z_set1(15)), 12);
}

static inline __m512 nvfp4_s(const struct nvfp4 *b)
{
    const __m128i bytes = _mm_setr_epi32((int)bits_u32(b[0].d), (int)bits_u32(b[1].d),
                                         (int)bits_u32(b[2].d), (int)bits_u32(b[3].d));
    const __m512i e = _mm512_cvtepu8_epi32(bytes);
    const __m512i low = _mm512_and_si512(e, _mm512_set1_epi32(127));
    const __m512i usual =
        _mm512_add_epi32(_mm512_slli_epi32(low, 20), _mm512_set1_epi32(119 << 23));
    const __m512 small = _mm512_mul_ps(_mm512_cvtepi32_ps(low), _mm512_set1_ps(0x1p-10f));
    const __mmask16 tiny = _mm512_cmplt_epi32_mask(low, _mm512_set1_epi32(8));
    const __mmask16 some = _mm512_cmpneq_epi32_mask(e, _mm512_set1_epi32(127));

    return _mm512_maskz_mov_ps(some, _mm512_mask_blend_ps(tiny, _mm512_castsi512_ps(usual), small));
}

/* -- blocks of 256 -- */

#define SIMD_q2_k 1
#define OPEN_q2_k 1 // elsewhere: tile_lines.h, dot_whole512.h
static DOT_INLINE __m512 q2_k_s(const struct q2_k *b)
{
    const __m128i s = _mm_and_si128(z_load16(b->scales), _mm_set1_epi8(15));

    return _mm512_mul_ps(z_bytes(s), _mm512_set1_ps(bits_half(b->d)));
}

static DOT_INLINE __m512 q2_k_m(const struct q2_k *b)
{
    const __m128i m = _mm_and_si128(_mm_srli_epi16(z_load16(b->scales), 4), _mm_set1_epi8(15));

    return _mm512_mul_ps(z_bytes(m), _mm512_set1_ps(-bits_half(b->dmin)));
}

#define SIMD_q3_k 1
#define OPEN_q3_k 1
/* The scales as bytes, 32 too large. */
static DOT_INLINE __m128i q3_k_six(const struct q3_k *b)
{
    const __m128i l = _mm_loadl_epi64((const __m128i *)b->scales);
    const __m128i low =
        _mm_and_si128(_mm_unpacklo_epi64(l, _mm_srli_epi16(l, 4)), _mm_set1_epi8(15));
    const __m128i top =
        _mm_srlv_epi32(_mm_set1_epi32((int)bits_u32(b->scales + 8)), _mm_setr_epi32(0, 2, 4, 6));

    return _mm_or_si128(low, _mm_slli_epi16(_mm_and_si128(top, _mm_set1_epi8(3)), 4));
}

static DOT_INLINE __m512 q3_k_s(const struct q3_k *b)
{
    const __m512i s = _mm512_cvtepi8_epi32(_mm_sub_epi8(q3_k_six(b), _mm_set1_epi8(32)));

    return _mm512_mul_ps(_mm512_cvtepi32_ps(s), _mm512_set1_ps(bits_half(b->d)));
}

#define SIMD_q4_k 1
#define MOST_q4_k 15
#define BACK_q4_k NO_BACK
static inline __m512i q4_k_u64(const struct q4_k *b, int c)
{
    return _mm512_and_si512(z_shift(z_twice32(b->qs + 32 * c), 0, 4), z_set1(15));
}

static inline __m256 q4_k_s(const struct q4_k *b)
{
    return _mm256_mul_ps(z_bytes8(bits_k_scales(b->scales)), _mm256_set1_ps(bits_half(b->d)));
}

static inline __m256 q4_k_m(const struct q4_k *b)
{
    return _mm256_mul_ps(z_bytes8(bits_k_mins(b->scales)), _mm256_set1_ps(-bits_half(b->dmin)));
}

/* Scales and mins of four rows of q4_k or q5_k, whose blocks begin with d, dmin and twelve bytes
 * (k_scales.h): eight scales of each row, then eight mins of each; returns d and -dmin by turns. */
static DOT_INLINE __m256 z_k_bytes4(__m512i *restrict bytes, const void *const *b)
{
    __m512i h = _mm512_castsi128_si512(z_load16(b[0]));

    h = _mm512_inserti32x4(h, z_load16(b[1]), 1);
    h = _mm512_inserti32x4(h, z_load16(b[2]), 2);
    h = _mm512_inserti32x4(h, z_load16(b[3]), 3);
    /* words of a row: scales 0 to 3 and 4 to 7, mins 0 to 3 and 4 to 7 */
    const __m512i six = _mm512_srlv_epi32(_mm512_shuffle_epi32(h, 0xa5), z_words4(0, 2, 0, 2));
    const __m512i four = _mm512_srlv_epi32(_mm512_shuffle_epi32(h, 0xff), z_words4(0, 0, 0, 4));
    const __m512i low = _mm512_and_si512(four, z_words4(0, 0x0f0f0f0f, 0, 0x0f0f0f0f));
    const __m512i all = _mm512_or_si512(
        low, _mm512_and_si512(six, z_words4(0x3f3f3f3f, 0x30303030, 0x3f3f3f3f, 0x30303030)));
    const __m512i firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m256 halves =
        _mm256_cvtph_ps(_mm512_castsi512_si128(_mm512_permutexvar_epi32(firsts, h)));

    *bytes = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7), all);
    return _mm256_xor_ps(halves, _mm256_setr_ps(0, -0.0f, 0, -0.0f, 0, -0.0f, 0, -0.0f));
}

/* z_k_bytes4 as floats: two rows per register, mins negated. */
static DOT_INLINE void z_k_numbers4(__m512 *restrict s, __m512 *restrict m, const void *const *b)
{
    __m512i bytes;
    const __m512 f = _mm512_castps256_ps512(z_k_bytes4(&bytes, b));

#pragma GCC unroll 2
    for (int k = 0; k < 2; k++) {
        const __m512i two = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2);
        const __m512 d = _mm512_permutexvar_ps(_mm512_add_epi32(two, _mm512_set1_epi32(4 * k)), f);
        const __m512 less =
            _mm512_permutexvar_ps(_mm512_add_epi32(two, _mm512_set1_epi32(4 * k + 1)), f);

        s[k] = _mm512_mul_ps(z_bytes(z_quarter(bytes, k)), d);
        m[k] = _mm512_mul_ps(z_bytes(z_quarter(bytes, 2 + k)), less);
    }
}

#define FOUR_q4_k 1
static DOT_INLINE void q4_k_numbers4(__m512 *restrict s, __m512 *restrict m,
                                     const struct q4_k *const *b)
{
    const void *const p[4] = {b[0], b[1], b[2], b[3]};

    z_k_numbers4(s, m, p);
}

#define SIMD_q5_k 1
#define MOST_q5_k 31
#define BACK_q5_k NO_BACK
static inline __m512i q5_k_u64(const struct q5_k *b, int c)
{
    const __m512i low = _mm512_and_si512(z_shift(z_twice32(b->qs + 32 * c), 0, 4), z_set1(15));

    return z_add_bit(low, z_twice32(b->qh), 2 * c, 16);
}

static inline __m256 q5_k_s(const struct q5_k *b)
{
    return _mm256_mul_ps(z_bytes8(bits_k_scales(b->scales)), _mm256_set1_ps(bits_half(b->d)));
}

static inline __m256 q5_k_m(const struct q5_k *b)
{
    return _mm256_mul_ps(z_bytes8(bits_k_mins(b->scales)), _mm256_set1_ps(-bits_half(b->dmin)));
}

#define FOUR_q5_k 1
static DOT_INLINE void q5_k_numbers4(__m512 *restrict s, __m512 *restrict m,
                                     const struct q5_k *const *b)
{
    const void *const p[4] = {b[0], b[1], b[2], b[3]};

    z_k_numbers4(s, m, p);
}

#define SIMD_q6_k 1
#define MOST_q6_k 63
#define BACK_q6_k 2
static inline __m512i q6_k_u64(const struct q6_k *b, int c)
{
    const __m512i ql = z_load64(b->ql + c / 2 * 64);
    const __m512i qh = z_twice32(b->qh + c / 2 * 32);
    const __m512i low = _mm512_and_si512(c % 2 ? _mm512_srli_epi16(ql, 4) : ql, z_set1(15));
    const __m512i high =
        c % 2 ? z_shift(qh, 0, 2) : _mm512_sllv_epi64(qh, _mm512_set_epi64(2, 2, 2, 2, 4, 4, 4, 4));

    return _mm512_or_si512(low, _mm512_and_si512(high, z_set1(0x30)));
}

static inline __m512 q6_k_s(const struct q6_k *b)
{
    const __m512i v = _mm512_cvtepi8_epi32(z_load16(b->scales));

    return _mm512_mul_ps(_mm512_cvtepi32_ps(v), _mm512_set1_ps(bits_half(b->d)));
}

#define SIMD_iq4_xs 1
#define BACK_iq4_xs 0
static inline __m512i iq4_xs_u64(const struct iq4_xs *b, int c)
{
    return _mm512_shuffle_epi8(z_table(iq4_values, 128),
                               z_nibbles(z_twice16(b->qs + 32 * c, b->qs + 32 * c + 16)));
}

#define LANES_iq4_xs 1
static DOT_INLINE void iq4_xs_lanes(__m512i *q, const struct iq4_xs *b)
{
    z_low_high(q, z_load64(b->qs));
    z_low_high(q + 2, z_load64(b->qs + 64));
    z_lookup(q, z_table(iq4_values, 128));
}

static inline __m256 iq4_xs_s(const struct iq4_xs *b)
{
    const __m256i l = _mm256_srlv_epi32(_mm256_set1_epi32((int)bits_u32(b->scales_l)),
                                        _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
    const __m256i h = _mm256_srlv_epi32(_mm256_set1_epi32(b->scales_h),
                                        _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14));
    const __m256i six =
        _mm256_or_si256(_mm256_and_si256(l, _mm256_set1_epi32(15)),
                        _mm256_slli_epi32(_mm256_and_si256(h, _mm256_set1_epi32(3)), 4));
    const __m256i v = _mm256_sub_epi32(six, _mm256_set1_epi32(32));

    return _mm256_mul_ps(_mm256_cvtepi32_ps(v), _mm256_set1_ps(bits_half(b->d)));
}

/* The digit that comes up when bytes are multiplied by power (of 3, a byte's in its 16-bit lane).
 */
static inline __m512i z_digits(__m512i bytes, __m512i power)
{
    const __m512i low = _mm512_set1_epi16(255), three = _mm512_set1_epi16(3);
    const __m512i a =
        _mm512_and_si512(_mm512_mullo_epi16(_mm512_and_si512(bytes, low), power), low);
    const __m512i b = _mm512_and_si512(_mm512_mullo_epi16(_mm512_srli_epi16(bytes, 8), power), low);

    return _mm512_or_si512(_mm512_srli_epi16(_mm512_mullo_epi16(a, three), 8),
                           _mm512_andnot_si512(low, _mm512_mullo_epi16(b, three)));
}

#define SIMD_tq1_0 1
#define MOST_tq1_0 2
#define BACK_tq1_0 7
static inline __m512i tq1_0_u64(const struct tq1_0 *b, int c)
{
    /* of 16 bytes each */
    static const int16_t power[4][4] = {
        {1, 1, 3, 3}, {9, 9, 27, 27}, {81, 81, 1, 3}, {9, 27, 81, 0}};
    const __m512i last = _mm512_broadcast_i32x4(z_load16(b->qs + 32));
    const __m512i by = _mm512_broadcast_i64x4(_mm256_setr_epi16(
        power[c][0], power[c][1], power[c][2], power[c][3], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0));
    const __m512i lane = _mm512_mask_set1_epi64(
        _mm512_mask_set1_epi64(
            _mm512_mask_set1_epi64(_mm512_setzero_si512(), 0x0c, 0x0001000100010001ll), 0x30,
            0x0002000200020002ll),
        0xc0, 0x0003000300030003ll);
    const __m512i powers = _mm512_permutexvar_epi16(lane, by);

    if (c < 2)
        return z_digits(z_twice32(b->qs), powers);
    if (c == 2)
        return z_digits(_mm512_inserti64x4(last, z_load32(b->qs), 0), powers);
    return z_digits(_mm512_inserti32x4(last, _mm_set1_epi32((int)bits_u32(b->qh)), 3),
                    _mm512_inserti32x4(powers, _mm_setr_epi16(1, 1, 3, 3, 9, 9, 27, 27), 3));
}

static inline __m256 tq1_0_s(const struct tq1_0 *b)
{
    return _mm256_set1_ps(bits_half(b->d));
}

#define SIMD_tq2_0 1
#define MOST_tq2_0 3
#define BACK_tq2_0 7
static inline __m512i tq2_0_u64(const struct tq2_0 *b, int c)
{
    const int k = c % 2 * 4;

    return _mm512_and_si512(z_shift(z_twice32(b->qs + c / 2 * 32), k, k + 2), z_set1(3));
}

static inline __m256 tq2_0_s(const struct tq2_0 *b)
{
    return _mm256_set1_ps(bits_half(b->d));
}

#endif
