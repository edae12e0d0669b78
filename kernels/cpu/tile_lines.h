/* tile_lines.h - weights as bf16, 32 columns of a row at a time, for tiles (tiles.inc).
 *
 * A code times its scale, plus its min, is rounded once to f32 and once to bf16, halves up. Where a
 * format has LINE_x as
 *
 * - BY_TABLE, x_index(b, p) are the codes of columns 32 p .. 32 p + 31 of block b, in the low four
 *   bits of words, and x_values what they stand for: 16 numbers times the scale are rounded, and 32
 *   looked up;
 * - BY_TWO_TABLES, 16 columns each have a scale, and three bits of a word are the code: numbers 0
 *   to 7 are those of the first 16 columns, 8 to 15 of the others. x_index and x_values likewise;
 * - BY_BYTES, x_bytes(b, p) are the codes as signed bytes;
 * - BY_HALVES, they are bf16 or f16.
 *
 * Blocks of 32 have their scale, binary16, in d, or x_scale(b) where SCALE_x; codes of tables are
 * the nibbles of qs there, without x_index. Scales of other blocks come from x_s and x_m, 256
 * columns at a time; and formats that are not here are opened so (dot_avx512.h).
 */
#ifndef RILL_KERNELS_CPU_TILE_LINES_H
#define RILL_KERNELS_CPU_TILE_LINES_H

#include "kernels/cpu/dot_bits.h"

#define BY_TABLE      1
#define BY_TWO_TABLES 2
#define BY_BYTES      3
#define BY_HALVES     4

static DOT_INLINE __m512i z_plus_half(__m512 v)
{
    return _mm512_add_epi32(_mm512_castps_si512(v), _mm512_set1_epi32(0x8000));
}

/* Bit 31 of a and b, and those below that bf16 keeps, as words; and of v, twice. Permuting words
 * takes two operations, and of two registers three; bytes one. */
#ifdef __AVX512VBMI__
#define Z_HALVES                                                                                   \
    _mm512_set_epi64(0x3f3e3b3a37363332, 0x2f2e2b2a27262322, 0x1f1e1b1a17161312,                   \
                     0x0f0e0b0a07060302, 0x3f3e3b3a37363332, 0x2f2e2b2a27262322,                   \
                     0x1f1e1b1a17161312, 0x0f0e0b0a07060302)

static DOT_INLINE __m512i z_halves_twice(__m512 v)
{
    return _mm512_permutexvar_epi8(Z_HALVES, z_plus_half(v));
}

static DOT_INLINE __m512i z_halves_up(__m512 a, __m512 b)
{
    return _mm512_mask_permutexvar_epi8(z_halves_twice(a), 0xffffffff00000000, Z_HALVES,
                                        z_plus_half(b));
}
#else
static DOT_INLINE __m512i z_halves_up(__m512 a, __m512 b)
{
    const __m512i order =
        _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27,
                         25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);

    return _mm512_permutex2var_epi16(z_plus_half(a), order, z_plus_half(b));
}

static DOT_INLINE __m512i z_halves_twice(__m512 v)
{
    return z_halves_up(v, v);
}
#endif

/* What is no number has no low bits, so that rounding does not carry into its sign. */
static DOT_INLINE __m512 z_plain_nan(__m512 v)
{
    return _mm512_mask_mov_ps(v, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q),
                              _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000)));
}

/* 16 numbers of which 32 are looked up. */
static DOT_INLINE __m512i z_look_up(__m512 numbers, __m512i index)
{
    return _mm512_permutexvar_epi16(index, z_halves_twice(numbers));
}

/* 32 signed bytes, the first 16 times s plus m, the others times s2 plus m2; or only times. */
static DOT_INLINE __m512i z_line_bytes(__m256i q, __m512 s, __m512 s2, __m512 m, __m512 m2,
                                       bool min)
{
    const __m512 a = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_castsi256_si128(q)));
    const __m512 b = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_extracti128_si256(q, 1)));

    return min ? z_halves_up(_mm512_fmadd_ps(a, s, m), _mm512_fmadd_ps(b, s2, m2))
               : z_halves_up(_mm512_mul_ps(a, s), _mm512_mul_ps(b, s2));
}

/* A binary16 number in all lanes; what is none is plain (z_plain_nan). */
static DOT_INLINE __m512 z_half(uint16_t h)
{
    h = (h & 0x7fff) > 0x7c00 ? 0x7e00 : h;
    return _mm512_cvtph_ps(_mm256_set1_epi16((short)h));
}

/* -- codes of 32 columns -- */

#define LINE_f16  BY_HALVES
#define LINE_bf16 BY_HALVES

/* Low and high nibbles of 16 bytes, in the low bits of words. */
static DOT_INLINE __m512i z_index_both(const uint8_t *qs)
{
    const __m512i v = _mm512_cvtepu8_epi16(_mm256_broadcastsi128_si256(z_load16(qs)));

    return _mm512_srlv_epi16(v,
                             _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(4), 1));
}

/* Low, or high, nibbles of 32 bytes. */
static DOT_INLINE __m512i z_index_one(const uint8_t *qs, int high)
{
    return _mm512_srl_epi16(_mm512_cvtepu8_epi16(z_load32(qs)), _mm_cvtsi32_si128(4 * high));
}

static DOT_INLINE __m256i z_bytes_both(const uint8_t *qs)
{
    const __m128i v = z_load16(qs);

    return _mm256_and_si256(
        _mm256_inserti128_si256(_mm256_castsi128_si256(v), _mm_srli_epi16(v, 4), 1),
        _mm256_set1_epi8(15));
}

#define Z_COUNT(first)                                                                             \
    _mm512_setr_ps((first), (first) + 1, (first) + 2, (first) + 3, (first) + 4, (first) + 5,       \
                   (first) + 6, (first) + 7, (first) + 8, (first) + 9, (first) + 10, (first) + 11, \
                   (first) + 12, (first) + 13, (first) + 14, (first) + 15)

#define LINE_q4_0   BY_TABLE
#define q4_0_values Z_COUNT(-8.0f)

#define LINE_q4_1   BY_TABLE
#define q4_1_values Z_COUNT(0.0f)

#define LINE_q4_k   BY_TABLE
#define q4_k_values Z_COUNT(0.0f)
static DOT_INLINE __m512i q4_k_index(const struct q4_k *b, int p)
{
    return z_index_one(b->qs + p / 2 * 32, p % 2);
}

static DOT_INLINE __m512 z_numbers(__m128i values)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(values));
}

#define LINE_iq4_nl   BY_TABLE
#define iq4_nl_values z_numbers(z_load16(iq4_values))

#define LINE_iq4_xs   BY_TABLE
#define iq4_xs_values z_numbers(z_load16(iq4_values))
static DOT_INLINE __m512i iq4_xs_index(const struct iq4_xs *b, int p)
{
    return z_index_both(b->qs + 16 * p);
}

#define LINE_mxfp4   BY_TABLE
#define mxfp4_values z_numbers(bits_e2m1())
#define SCALE_mxfp4  1
static DOT_INLINE __m512 mxfp4_scale(const struct mxfp4 *b)
{
    return _mm512_set1_ps(e8m0_half_to_f32(b->e));
}

#define LINE_nvfp4 BY_BYTES
static DOT_INLINE __m256i nvfp4_bytes(const struct nvfp4 *b, int p)
{
    const __m128i v = z_load16(b->qs + p % 2 * 16);
    const __m256i by = _mm256_permute4x64_epi64(
        _mm256_inserti128_si256(_mm256_castsi128_si256(v), _mm_srli_epi16(v, 4), 1), 0xd8);

    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bits_e2m1()),
                               _mm256_and_si256(by, _mm256_set1_epi8(15)));
}

static DOT_INLINE __m256i z_bytes_five(__m256i q, const uint8_t *qh)
{
    return _mm256_mask_add_epi8(q, _cvtu32_mask32(bits_u32(qh)), q, _mm256_set1_epi8(16));
}

#define LINE_q5_0 BY_BYTES
static DOT_INLINE __m256i q5_0_bytes(const struct q5_0 *b, int p)
{
    (void)p;
    return _mm256_sub_epi8(z_bytes_five(z_bytes_both(b->qs), b->qh), _mm256_set1_epi8(16));
}

#define LINE_q5_1 BY_BYTES
static DOT_INLINE __m256i q5_1_bytes(const struct q5_1 *b, int p)
{
    (void)p;
    return z_bytes_five(z_bytes_both(b->qs), b->qh);
}

#define LINE_q8_0 BY_BYTES
static DOT_INLINE __m256i q8_0_bytes(const struct q8_0 *b, int p)
{
    (void)p;
    return z_load32(b->qs);
}

/* Bits from bit `by` on of 32 bytes; what of them is wanted. */
static DOT_INLINE __m256i z_bits32(const uint8_t *bytes, int by, int mask)
{
    return _mm256_and_si256(_mm256_srl_epi16(z_load32(bytes), _mm_cvtsi32_si128(by)),
                            _mm256_set1_epi8((char)mask));
}

#define LINE_q5_k BY_BYTES
static DOT_INLINE __m256i q5_k_bytes(const struct q5_k *b, int p)
{
    return _mm256_or_si256(z_bits32(b->qs + p / 2 * 32, p % 2 * 4, 15),
                           _mm256_slli_epi16(z_bits32(b->qh, p, 1), 4));
}

#define LINE_q6_k BY_BYTES
static DOT_INLINE __m256i q6_k_bytes(const struct q6_k *b, int p)
{
    const int half = p / 4, k = p % 4;
    const __m256i low = z_bits32(b->ql + half * 64 + k % 2 * 32, k / 2 * 4, 15);
    const __m256i high = _mm256_slli_epi16(z_bits32(b->qh + half * 32, 2 * k, 3), 4);

    return _mm256_sub_epi8(_mm256_or_si256(low, high), _mm256_set1_epi8(32));
}

/* Two bits of columns 32 p and on, as words; 8 is added for the last 16. */
static DOT_INLINE __m512i z_index_two(const uint8_t *qs, int p)
{
    const __m512i v = _mm512_srl_epi16(_mm512_cvtepu8_epi16(z_load32(qs + p / 4 * 32)),
                                       _mm_cvtsi32_si128(p % 4 * 2));

    return _mm512_or_si512(_mm512_and_si512(v, _mm512_set1_epi16(3)),
                           _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(8), 1));
}

#define LINE_q2_k   BY_TWO_TABLES
#define q2_k_values _mm512_setr_ps(0, 1, 2, 3, 0, 0, 0, 0, 0, 1, 2, 3, 0, 0, 0, 0)
static DOT_INLINE __m512i q2_k_index(const struct q2_k *b, int p)
{
    return z_index_two(b->qs, p);
}

#define LINE_q3_k   BY_TWO_TABLES
#define q3_k_values _mm512_setr_ps(-4, -3, -2, -1, 0, 1, 2, 3, -4, -3, -2, -1, 0, 1, 2, 3)
static DOT_INLINE __m512i q3_k_index(const struct q3_k *b, int p)
{
    const __m512i third =
        _mm512_srl_epi16(_mm512_cvtepu8_epi16(z_load32(b->hmask)), _mm_cvtsi32_si128(p));

    /* two bits, or bit 2 of four times the third */
    return _mm512_ternarylogic_epi32(z_index_two(b->qs, p), _mm512_slli_epi16(third, 2),
                                     _mm512_set1_epi16(4), 0xf8);
}

#endif
