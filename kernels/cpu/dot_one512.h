/* dot_one512.h - blocks of 256 whose parts have whole numbers as scales, times inputs of one scale.
 *
 * Where ONE_x (the base of digits in tiles_digits.inc) 256 inputs share their scale D (z_pack_one),
 * so that
 *
 *     T = sum over columns of s * code * x code      M = sum over parts of m * sum of x codes
 *
 * are exact integers below 2^28, and a row is ((float)T * d - (float)M * dmin) * D, fused, step
 * after step in one chain. Every path computes T and M as it likes, and then does what z_one_add
 * does. llama.cpp multiplies these formats so, too.
 *
 * x_one4(o, b): what is common to the blocks of four rows; x_one(s, b, o, k): scales of row k as
 * words, for 64 columns each; the start of T, which takes back what codes have more than they
 * should.
 */
#ifndef RILL_KERNELS_CPU_DOT_ONE512_H
#define RILL_KERNELS_CPU_DOT_ONE512_H

struct one4 {
    __m512i s, m; // words, eight of each row; Q6_K has its own scales
    __m128 d, less;
};

/* Each row's lanes added up. */
static DOT_INLINE __m128i z_one_sum4(const __m512i *a)
{
    const __m512i t =
        _mm512_add_epi32(_mm512_unpacklo_epi32(a[0], a[1]), _mm512_unpackhi_epi32(a[0], a[1]));
    const __m512i u =
        _mm512_add_epi32(_mm512_unpacklo_epi32(a[2], a[3]), _mm512_unpackhi_epi32(a[2], a[3]));
    const __m512i v = _mm512_add_epi32(_mm512_unpacklo_epi64(t, u), _mm512_unpackhi_epi64(t, u));
    const __m256i h = _mm256_add_epi32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));

    return _mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
}

/* -M dmin of four rows. */
static DOT_INLINE __m128 z_one_mins4(const struct one4 *o, const struct x256 *x)
{
    const __m256i two = _mm256_madd_epi16(z_load32(x->sum), _mm256_set1_epi16(1));
    __m512i v = _mm512_madd_epi16(_mm512_broadcast_i32x4(_mm256_cvtepi32_epi16(two)), o->m);

    v = _mm512_add_epi32(v, _mm512_shuffle_epi32(v, 0x4e));
    v = _mm512_add_epi32(v, _mm512_shuffle_epi32(v, 0xb1));
    v = _mm512_permutexvar_epi32(z_words4(0, 4, 8, 12), v);
    return _mm_mul_ps(_mm_cvtepi32_ps(_mm512_castsi512_si128(v)), o->less);
}

/* A chain goes on. */
static inline __m128 z_one_add(__m128 sum, __m128 t, __m128 d, __m128 less, bool min, __m128 by)
{
    return _mm_fmadd_ps(min ? _mm_fmadd_ps(t, d, less) : _mm_mul_ps(t, d), by, sum);
}

/* Words a to d of v, eight times each. */
static DOT_INLINE __m512i z_one_words(__m512i v, int a, int b, int c, int d)
{
#ifdef __AVX512VBMI__ /* permuting words takes two operations, bytes one */
    const long long each = 0x0202020202020202, next = 0x0100010001000100;

    return _mm512_permutexvar_epi8(
        _mm512_set_epi64(d * each + next, d * each + next, c * each + next, c * each + next,
                         b * each + next, b * each + next, a * each + next, a * each + next),
        v);
#else
    const long long each = 0x0001000100010001;

    return _mm512_permutexvar_epi16(_mm512_set_epi64(d * each, d * each, c * each, c * each,
                                                     b * each, b * each, a * each, a * each),
                                    v);
#endif
}

/* Of eight for row k those of parts p and p2, 16 times each. */
static DOT_INLINE __m512i z_one_parts(__m512i v, int k, int p, int p2)
{
    return z_one_words(v, 8 * k + p, 8 * k + p, 8 * k + p2, 8 * k + p2);
}

/* Scales, mins and their factors of four rows of q4_k or q5_k. */
static DOT_INLINE void z_one_k(struct one4 *restrict o, const void *const *b)
{
    __m512i bytes;
    const __m256 f = z_k_bytes4(&bytes, b);
    const __m256 turn = _mm256_permutevar8x32_ps(f, _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7));

    o->s = _mm512_cvtepu8_epi16(_mm512_castsi512_si256(bytes));
    o->m = _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(bytes, 1));
    o->d = _mm256_castps256_ps128(turn);
    o->less = _mm256_extractf128_ps(turn, 1);
}

static DOT_INLINE __m512i z_one_k_scales(__m512i *restrict s, const void *b, const struct one4 *o,
                                         int k)
{
    (void)b;
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++)
        s[c] = z_one_parts(o->s, k, 2 * c, 2 * c + 1);
    return _mm512_setzero_si512();
}

#define ONE_q4_k  8
#define q4_k_one4 z_one_k
#define q4_k_one  z_one_k_scales

#define ONE_q5_k  8
#define q5_k_one4 z_one_k
#define q5_k_one  z_one_k_scales

#define ONE_q6_k 256
static DOT_INLINE void q6_k_one4(struct one4 *restrict o, const void *const *b)
{
    uint16_t d[8] = {0};

    for (int k = 0; k < 4; k++)
        d[k] = ((const struct q6_k *)b[k])->d;
    o->d = _mm_cvtph_ps(z_load16(d));
}

static DOT_INLINE __m512i q6_k_one(__m512i *restrict s, const void *b, const struct one4 *o, int k)
{
    const __m256i words = _mm256_cvtepi8_epi16(z_load16(((const struct q6_k *)b)->scales));

    (void)o, (void)k;
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++)
        s[c] = z_one_words(_mm512_castsi256_si512(words), 4 * c, 4 * c + 1, 4 * c + 2, 4 * c + 3);
    /* words for the sums of 16 inputs: -32 times scales */
    return _mm512_zextsi256_si512(
        _mm256_slli_epi16(_mm256_sub_epi16(_mm256_setzero_si256(), words), 5));
}

#endif
