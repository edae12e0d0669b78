/* dot_avx2.h - weights of each format as 32 bytes at a time, and their scales.
 *
 * x_y32(b, c): codes 32 c .. 32 c + 31 of 256 weights at b. KIND_x says in which form: UNSIGNED, at
 * most 127, each plus an offset of 128 >> BACK_x (NO_BACK: none); or SIGNED, any, through y_signed;
 * BITS_x of unsigned ones. What can be unsigned should be: products of signed codes cost signs, and
 * wide ones are added up sooner; with VNNI neither, so signed ones get an offset of 128 too.
 * x_s(b), x_m(b): scales and mins of 256 weights. A format not here goes through its codes() and
 * scales().
 */
#ifndef RILL_KERNELS_CPU_DOT_AVX2_H
#define RILL_KERNELS_CPU_DOT_AVX2_H

#include "kernels/cpu/dot_bits.h"

#define NO_BACK  99
#define UNSIGNED 1
#define SIGNED   2

#ifdef __AVXVNNI__
#define BACK_SIGNED 0
#else
#define BACK_SIGNED NO_BACK
#endif

/* 16 floats: the scales of parts of 16. */
struct y16 {
    __m256 v[2];
};

/* -- pieces -- */

static inline __m256i y_set1(int v)
{
    return _mm256_set1_epi8((char)v);
}

/* Signed codes as products want them. */
static inline __m256i y_signed(__m256i codes)
{
    return BACK_SIGNED == NO_BACK ? codes : _mm256_xor_si256(codes, y_set1(128));
}

static inline __m128i y_load16(const void *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

static inline __m256i y_load32(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

/* Low four bits of 16 bytes, then their high four. */
static inline __m256i y_nibbles(const void *p)
{
    const __m128i q = y_load16(p);

    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(q, 4), q), y_set1(15));
}

/* Bits [from, from + width) of 32 bytes. */
static inline __m256i y_bits(const void *p, int from, int width)
{
    return _mm256_and_si256(_mm256_srli_epi16(y_load32(p), from), y_set1((1 << width) - 1));
}

/* Bit c of 32 bytes, moved to bit to. */
static inline __m256i y_bit(const void *p, int c, int to)
{
    const __m256i a = y_load32(p);

    return _mm256_and_si256(c < to ? _mm256_slli_epi16(a, to - c) : _mm256_srli_epi16(a, c - to),
                            y_set1(1 << to));
}

/* 32 bits as 32 bytes of zeros or ones. */
static inline __m256i y_mask(uint32_t bits)
{
    const __m256i byte =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201ull);
    const __m256i v = _mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), byte);

    return _mm256_cmpeq_epi8(_mm256_and_si256(v, bit), bit);
}

static inline __m256i y_table(__m128i values, __m256i nibbles)
{
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(values), nibbles);
}

static inline __m256 y_bytes(uint64_t a) // unsigned
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)a)));
}

/* Eight binary16 numbers, stride bytes apart. */
static inline __m256 y_halves(const void *p, int stride)
{
    const char *b = (const char *)p;
    uint16_t h[8];

    for (int k = 0; k < 8; k++)
        memcpy(&h[k], b + k * stride, 2);
    return _mm256_cvtph_ps(_mm_set_epi16((short)h[7], (short)h[6], (short)h[5], (short)h[4],
                                         (short)h[3], (short)h[2], (short)h[1], (short)h[0]));
}

static inline struct y16 y_times(struct y16 a, float d)
{
    for (int k = 0; k < 2; k++)
        a.v[k] = _mm256_mul_ps(a.v[k], _mm256_set1_ps(d));
    return a;
}

/* -- blocks of 32 -- */

#define KIND_q4_0 UNSIGNED
#define BITS_q4_0 4
#define BACK_q4_0 4
static inline __m256i q4_0_y32(const struct q4_0 *b, int c)
{
    return y_nibbles(b[c].qs);
}

static inline __m256 q4_0_s(const struct q4_0 *b)
{
    return y_halves(&b->d, sizeof *b);
}

#define KIND_q4_1 UNSIGNED
#define BITS_q4_1 4
#define BACK_q4_1 NO_BACK
static inline __m256i q4_1_y32(const struct q4_1 *b, int c)
{
    return y_nibbles(b[c].qs);
}

static inline __m256 q4_1_s(const struct q4_1 *b)
{
    return y_halves(&b->d, sizeof *b);
}

static inline __m256 q4_1_m(const struct q4_1 *b)
{
    return y_halves(&b->m, sizeof *b);
}

static inline __m256i y_fifth(const uint8_t *qs, const uint8_t *qh)
{
    return _mm256_or_si256(y_nibbles(qs), _mm256_and_si256(y_mask(bits_u32(qh)), y_set1(16)));
}

#define KIND_q5_0 UNSIGNED
#define BITS_q5_0 5
#define BACK_q5_0 3
static inline __m256i q5_0_y32(const struct q5_0 *b, int c)
{
    return y_fifth(b[c].qs, b[c].qh);
}

static inline __m256 q5_0_s(const struct q5_0 *b)
{
    return y_halves(&b->d, sizeof *b);
}

#define KIND_q5_1 UNSIGNED
#define BITS_q5_1 5
#define BACK_q5_1 NO_BACK
static inline __m256i q5_1_y32(const struct q5_1 *b, int c)
{
    return y_fifth(b[c].qs, b[c].qh);
}

static inline __m256 q5_1_s(const struct q5_1 *b)
{
    return y_halves(&b->d, sizeof *b);
}

static inline __m256 q5_1_m(const struct q5_1 *b)
{
    return y_halves(&b->m, sizeof *b);
}

#define KIND_q8_0 SIGNED
#define BITS_q8_0 0
#define BACK_q8_0 BACK_SIGNED
static inline __m256i q8_0_y32(const struct q8_0 *b, int c)
{
    return y_signed(y_load32(b[c].qs));
}

static inline __m256 q8_0_s(const struct q8_0 *b)
{
    return y_halves(&b->d, sizeof *b);
}

static inline __m256i y_iq4(__m256i nibbles)
{
    const __m256i values = _mm256_castsi128_si256(y_load16(iq4_values)); // in its lower half

    return y_table(_mm256_castsi256_si128(y_signed(values)), nibbles);
}

#define KIND_iq4_nl SIGNED
#define BITS_iq4_nl 0
#define BACK_iq4_nl BACK_SIGNED
static inline __m256i iq4_nl_y32(const struct iq4_nl *b, int c)
{
    return y_iq4(y_nibbles(b[c].qs));
}

static inline __m256 iq4_nl_s(const struct iq4_nl *b)
{
    return y_halves(&b->d, sizeof *b);
}

static inline __m256i y_e2m1(__m256i nibbles) // doubled, plus 16
{
    return y_table(_mm_add_epi8(bits_e2m1(), _mm_set1_epi8(16)), nibbles);
}

#define KIND_mxfp4 UNSIGNED
#define BITS_mxfp4 5
#define BACK_mxfp4 3
static inline __m256i mxfp4_y32(const struct mxfp4 *b, int c)
{
    return y_e2m1(y_nibbles(b[c].qs));
}

static inline __m256 mxfp4_s(const struct mxfp4 *b)
{
    const __m256i e =
        _mm256_setr_epi32(b[0].e, b[1].e, b[2].e, b[3].e, b[4].e, b[5].e, b[6].e, b[7].e);
    const __m256i small = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e); // e < 2
    const __m256i usual = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    const __m256i tiny = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e);

    return _mm256_castsi256_ps(_mm256_blendv_epi8(usual, small, tiny));
}

#define KIND_nvfp4 UNSIGNED
#define BITS_nvfp4 5
#define BACK_nvfp4 3
static inline __m256i nvfp4_y32(const struct nvfp4 *b, int c)
{
    const __m128i q = y_load16(b[c / 2].qs + c % 2 * 16);
    const __m128i low = _mm_and_si128(q, _mm_set1_epi8(15));
    const __m128i high = _mm_and_si128(_mm_srli_epi16(q, 4), _mm_set1_epi8(15));

    return y_e2m1(_mm256_set_m128i(_mm_unpackhi_epi64(low, high), _mm_unpacklo_epi64(low, high)));
}

static inline __m256 y_ue4m3(__m256i e)
{
    const __m256i low = _mm256_and_si256(e, _mm256_set1_epi32(127));
    const __m256i usual =
        _mm256_add_epi32(_mm256_slli_epi32(low, 20), _mm256_set1_epi32(119 << 23));
    const __m256 small = _mm256_mul_ps(_mm256_cvtepi32_ps(low), _mm256_set1_ps(0x1p-10f));
    const __m256i tiny = _mm256_cmpgt_epi32(_mm256_set1_epi32(8), low);
    const __m256i none = _mm256_cmpeq_epi32(e, _mm256_set1_epi32(127));

    return _mm256_andnot_ps(
        _mm256_castsi256_ps(none),
        _mm256_blendv_ps(_mm256_castsi256_ps(usual), small, _mm256_castsi256_ps(tiny)));
}

static inline struct y16 nvfp4_s(const struct nvfp4 *b)
{
    const __m128i e = _mm_setr_epi32((int)bits_u32(b[0].d), (int)bits_u32(b[1].d),
                                     (int)bits_u32(b[2].d), (int)bits_u32(b[3].d));

    return (struct y16){{y_ue4m3(_mm256_cvtepu8_epi32(e)),
                         y_ue4m3(_mm256_cvtepu8_epi32(_mm_unpackhi_epi64(e, e)))}};
}

/* -- blocks of 256 -- */

static inline struct y16 y_bytes16(__m128i a) // unsigned
{
    return (struct y16){{_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(a)),
                         _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_unpackhi_epi64(a, a)))}};
}

static inline struct y16 y_signed16(__m128i a)
{
    return (struct y16){{_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(a)),
                         _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_unpackhi_epi64(a, a)))}};
}

#define KIND_q2_k UNSIGNED
#define BITS_q2_k 2
#define BACK_q2_k NO_BACK
static inline __m256i q2_k_y32(const struct q2_k *b, int c)
{
    return y_bits(b->qs + c / 4 * 32, c % 4 * 2, 2);
}

static inline struct y16 q2_k_s(const struct q2_k *b)
{
    const __m128i low = _mm_and_si128(y_load16(b->scales), _mm_set1_epi8(15));

    return y_times(y_bytes16(low), bits_half(b->d));
}

static inline struct y16 q2_k_m(const struct q2_k *b)
{
    const __m128i high = _mm_and_si128(_mm_srli_epi16(y_load16(b->scales), 4), _mm_set1_epi8(15));

    return y_times(y_bytes16(high), -bits_half(b->dmin));
}

#define KIND_q3_k UNSIGNED
#define BITS_q3_k 3
#define BACK_q3_k 5
static inline __m256i q3_k_y32(const struct q3_k *b, int c)
{
    return _mm256_or_si256(y_bits(b->qs + c / 4 * 32, c % 4 * 2, 2), y_bit(b->hmask, c, 2));
}

static inline struct y16 q3_k_s(const struct q3_k *b)
{
    const uint64_t low = bits_u64(b->scales);
    const uint32_t high = bits_u32(b->scales + 8);
    const __m128i l =
        _mm_and_si128(_mm_set_epi64x((long long)(low >> 4), (long long)low), _mm_set1_epi8(15));
    const __m128i h = _mm_and_si128(
        _mm_srlv_epi32(_mm_set1_epi32((int)high), _mm_setr_epi32(0, 2, 4, 6)), _mm_set1_epi8(3));
    const __m128i six = _mm_or_si128(l, _mm_slli_epi16(h, 4));

    return y_times(y_signed16(_mm_sub_epi8(six, _mm_set1_epi8(32))), bits_half(b->d));
}

#define KIND_q4_k UNSIGNED
#define BITS_q4_k 4
#define BACK_q4_k NO_BACK
static inline __m256i q4_k_y32(const struct q4_k *b, int c)
{
    return y_bits(b->qs + c / 2 * 32, c % 2 * 4, 4);
}

static inline __m256 q4_k_s(const struct q4_k *b)
{
    return _mm256_mul_ps(y_bytes(bits_k_scales(b->scales)), _mm256_set1_ps(bits_half(b->d)));
}

static inline __m256 q4_k_m(const struct q4_k *b)
{
    return _mm256_mul_ps(y_bytes(bits_k_mins(b->scales)), _mm256_set1_ps(-bits_half(b->dmin)));
}

#define KIND_q5_k UNSIGNED
#define BITS_q5_k 5
#define BACK_q5_k NO_BACK
static inline __m256i q5_k_y32(const struct q5_k *b, int c)
{
    return _mm256_or_si256(y_bits(b->qs + c / 2 * 32, c % 2 * 4, 4), y_bit(b->qh, c, 4));
}

static inline __m256 q5_k_s(const struct q5_k *b)
{
    return _mm256_mul_ps(y_bytes(bits_k_scales(b->scales)), _mm256_set1_ps(bits_half(b->d)));
}

static inline __m256 q5_k_m(const struct q5_k *b)
{
    return _mm256_mul_ps(y_bytes(bits_k_mins(b->scales)), _mm256_set1_ps(-bits_half(b->dmin)));
}

#define KIND_q6_k UNSIGNED
#define BITS_q6_k 6
#define BACK_q6_k 2
static inline __m256i q6_k_y32(const struct q6_k *b, int c)
{
    const int h = c / 4, k = c % 4;
    const __m256i low = y_bits(b->ql + 64 * h + 32 * (k % 2), k / 2 * 4, 4);

    return _mm256_or_si256(low, _mm256_slli_epi16(y_bits(b->qh + 32 * h, 2 * k, 2), 4));
}

static inline struct y16 q6_k_s(const struct q6_k *b)
{
    return y_times(y_signed16(y_load16(b->scales)), bits_half(b->d));
}

#define KIND_iq4_xs SIGNED
#define BITS_iq4_xs 0
#define BACK_iq4_xs BACK_SIGNED
static inline __m256i iq4_xs_y32(const struct iq4_xs *b, int c)
{
    return y_iq4(y_nibbles(b->qs + 16 * c));
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
static inline __m256i y_digits(__m256i bytes, __m256i power)
{
    const __m256i low = _mm256_set1_epi16(255), three = _mm256_set1_epi16(3);
    const __m256i a =
        _mm256_and_si256(_mm256_mullo_epi16(_mm256_and_si256(bytes, low), power), low);
    const __m256i b = _mm256_and_si256(_mm256_mullo_epi16(_mm256_srli_epi16(bytes, 8), power), low);

    return _mm256_or_si256(_mm256_srli_epi16(_mm256_mullo_epi16(a, three), 8),
                           _mm256_andnot_si256(low, _mm256_mullo_epi16(b, three)));
}

#define KIND_tq1_0 UNSIGNED
#define BITS_tq1_0 2
#define BACK_tq1_0 7
static inline __m256i tq1_0_y32(const struct tq1_0 *b, int c)
{
    static const int16_t power[5] = {1, 3, 9, 27, 81};
    const __m128i last = y_load16(b->qs + 32);

    if (c < 5)
        return y_digits(y_load32(b->qs), _mm256_set1_epi16(power[c]));
    if (c < 7)
        return y_digits(
            _mm256_set_m128i(last, last),
            _mm256_set_m128i(_mm_set1_epi16(power[2 * c - 9]), _mm_set1_epi16(power[2 * c - 10])));
    return y_digits(
        _mm256_set_m128i(_mm_set1_epi32((int)bits_u32(b->qh)), last),
        _mm256_set_m128i(_mm_setr_epi16(1, 1, 3, 3, 9, 9, 27, 27), _mm_set1_epi16(power[4])));
}

static inline __m256 tq1_0_s(const struct tq1_0 *b)
{
    return _mm256_set1_ps(bits_half(b->d));
}

#define KIND_tq2_0 UNSIGNED
#define BITS_tq2_0 2
#define BACK_tq2_0 7
static inline __m256i tq2_0_y32(const struct tq2_0 *b, int c)
{
    return y_bits(b->qs + c / 4 * 32, c % 4 * 2, 2);
}

static inline __m256 tq2_0_s(const struct tq2_0 *b)
{
    return _mm256_set1_ps(bits_half(b->d));
}

/* -- lanes to parts -- */

/* Register c, lane L has four sums of part 2 c + L: they are added, parts 0 2 4 6 then 1 3 5 7. */
static inline __m256i y_parts(const __m256i *t)
{
    const __m256i a =
        _mm256_add_epi32(_mm256_unpacklo_epi32(t[0], t[1]), _mm256_unpackhi_epi32(t[0], t[1]));
    const __m256i b =
        _mm256_add_epi32(_mm256_unpacklo_epi32(t[2], t[3]), _mm256_unpackhi_epi32(t[2], t[3]));

    return _mm256_add_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
}

/* Eight parts of 32 from eight registers. */
static inline __m256i y_parts_32(const __m256i *t)
{
    const __m256i a = y_parts(t), b = y_parts(t + 4);

    return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20),
                            _mm256_permute2x128_si256(a, b, 0x31));
}

/* Eight parts of 16 from four registers. */
static inline __m256i y_parts_16(const __m256i *t)
{
    return _mm256_permutevar8x32_epi32(y_parts(t), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* Products of codes, four added up: exact, as neither 127 * 127 nor 128 * 127 taken twice reaches
 * 2^15. */
static inline __m256i y_dot(__m256i w, __m256i x, bool is_signed)
{
#ifdef __AVXVNNI__
    (void)is_signed;
    return _mm256_dpbusd_avx_epi32(_mm256_setzero_si256(), w, x);
#else
    const __m256i pairs = is_signed
                              ? _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w))
                              : _mm256_maddubs_epi16(w, x);

    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#endif
}

#endif
