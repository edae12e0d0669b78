/* dot_whole512.h - rows whose parts of 16 weights have whole numbers as scales, few inputs.
 *
 * Two parts share an input's scale D. Sums of products times scales, S, and of inputs times mins,
 * M, are exact over 32 columns; a chain for these then takes (d S - dmin M) D, two conversions and
 * three operations instead of twice as many. Panels of these formats do the same (dot_panel512.h).
 *
 * x_four(sum, b, x, x_bytes, inputs), where WHOLE_x: 256 columns of four rows at b times inputs;
 * sum[k][i] has eight chains of row 2 k, then those of 2 k + 1.
 */
#ifndef RILL_KERNELS_CPU_DOT_WHOLE512_H
#define RILL_KERNELS_CPU_DOT_WHOLE512_H

/* Two binary16 numbers of each of four places: those of place k at 2 k. */
static DOT_INLINE __m512 z_two_halves(const void *p0, const void *p1, const void *p2,
                                      const void *p3)
{
    const __m128i a =
        _mm_setr_epi32((int)bits_u32(p0), (int)bits_u32(p1), (int)bits_u32(p2), (int)bits_u32(p3));

    return _mm512_castps256_ps512(_mm256_cvtph_ps(a));
}

/* Two rows' numbers, k and k2, eight times each. */
static DOT_INLINE __m512 z_eight_of(__m512 a, int k, int k2)
{
    return _mm512_permutexvar_ps(_mm512_inserti64x4(_mm512_set1_epi32(k), _mm256_set1_epi32(k2), 1),
                                 a);
}

/* 64 bytes of each of two rows, by turns: of 16 bytes v[0] has the first, v[1] the second eight. */
static DOT_INLINE void z_turns(__m512i *restrict v, __m512i a, __m512i b)
{
    v[0] = _mm512_unpacklo_epi64(a, b);
    v[1] = _mm512_unpackhi_epi64(a, b);
}

/* Columns [32 k, 32 k + 32) of both halves of 256 inputs: in[k] for v[0], in[4 + k] for v[1]. */
static DOT_INLINE void z_inputs2(__m512i *restrict in, const int8_t *x)
{
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        const __m512i v = z_pair32(x + 32 * k, x + 128 + 32 * k);

        in[k] = _mm512_unpacklo_epi64(v, v);
        in[4 + k] = _mm512_unpackhi_epi64(v, v);
    }
}

/* Sums of 16 products of two rows as words, the parts of the first row, then those of the second;
 * q[k] and q[4 + k] have the codes for in[k] and in[4 + k]. All come out so many times as large as
 * codes of odd k are. */
static DOT_INLINE __m512i z_parts2(const __m512i *q, const __m512i *in, short times)
{
    const __m512i by = _mm512_unpacklo_epi64(_mm512_set1_epi16(times), _mm512_set1_epi16(1));
    const __m512i order =
        _mm512_set_epi16(31, 23, 29, 21, 27, 19, 25, 17, 15, 7, 13, 5, 11, 3, 9, 1, 30, 22, 28, 20,
                         26, 18, 24, 16, 14, 6, 12, 4, 10, 2, 8, 0);
    __m512i t[4];

#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        t[k] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), q[k], in[k]);
        t[k] = _mm512_dpbusd_epi32(t[k], q[4 + k], in[4 + k]);
    }
    const __m512i a = _mm512_madd_epi16(_mm512_packs_epi32(t[0], t[1]), by);
    const __m512i b = _mm512_madd_epi16(_mm512_packs_epi32(t[2], t[3]), by);

    return _mm512_permutexvar_epi16(order, _mm512_packs_epi32(a, b));
}

/* Two bits of columns [32 k, 32 k + 32), four times as large where k is odd. */
static DOT_INLINE void z_codes2(__m512i *restrict q, const uint8_t *p, const uint8_t *p2)
{
    __m512i v[2];

    z_turns(v, z_load64(p), z_load64(p2));
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        const __m512i high = _mm512_srli_epi16(v[h], 4);

        q[4 * h] = _mm512_and_si512(v[h], z_set1(3));
        q[4 * h + 1] = _mm512_and_si512(v[h], z_set1(12));
        q[4 * h + 2] = _mm512_and_si512(high, z_set1(3));
        q[4 * h + 3] = _mm512_and_si512(high, z_set1(12));
    }
}

#define OWN_q2_k   1
#define WHOLE_q2_k 1
#define BACK_q2_k  NO_BACK
static DOT_INLINE void q2_k_four(__m512 (*restrict sum)[FEW], const struct q2_k *const *b,
                                 const char *x, size_t x_bytes, int inputs)
{
    const __m512 f = _mm512_mul_ps(z_two_halves(&b[0]->d, &b[1]->d, &b[2]->d, &b[3]->d),
                                   _mm512_castsi512_ps(_mm512_set1_epi64(0xbf8000003e800000)));
    __m512i q[2][8], s[2], m[2];

#pragma GCC unroll 2
    for (int k = 0; k < 2; k++) {
        const struct q2_k *const *r = b + 2 * k;
        const __m512i sm = _mm512_cvtepu8_epi16(_mm256_inserti128_si256(
            _mm256_castsi128_si256(z_load16(r[0]->scales)), z_load16(r[1]->scales), 1));

        z_codes2(q[k], r[0]->qs, r[1]->qs);
        s[k] = _mm512_and_si512(sm, _mm512_set1_epi16(15));
        m[k] = _mm512_srli_epi16(sm, 4);
    }
    for (int i = 0; i < inputs; i++) {
        const struct x256 *xi = (const struct x256 *)(x + (size_t)i * x_bytes);
        const __m512 d = _mm512_broadcast_f32x8(_mm256_loadu_ps(xi->d));
        __m512i in[8];

        z_inputs2(in, xi->q);
#pragma GCC unroll 2
        for (int k = 0; k < 2; k++) {
            const __m512i dot = _mm512_madd_epi16(z_parts2(q[k], in, 4), s[k]);
            const __m512i low = _mm512_madd_epi16(z_twice32(xi->sum), m[k]);
            const __m512 less =
                _mm512_mul_ps(_mm512_cvtepi32_ps(low), z_eight_of(f, 4 * k + 1, 4 * k + 3));

            sum[k][i] = _mm512_fmadd_ps(
                _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), z_eight_of(f, 4 * k, 4 * k + 2), less), d,
                sum[k][i]);
        }
    }
}

/* Bytes times a number of each 16, part 4 c + L of 16 words being that of lane L of register c. */
static DOT_INLINE __m512i z_by_part(__m512i bytes, __m256i words, int c)
{
    const __m512i at =
        _mm512_set_epi64(0x0003000300030003, 0x0003000300030003, 0x0002000200020002,
                         0x0002000200020002, 0x0001000100010001, 0x0001000100010001, 0, 0);

    return _mm512_mullo_epi16(
        bytes, _mm512_permutexvar_epi16(_mm512_add_epi16(at, _mm512_set1_epi16((short)(4 * c))),
                                        _mm512_castsi256_si512(words)));
}

/* Two bits of columns [64 c, 64 c + 64) of 128 columns in 32 bytes. */
static DOT_INLINE __m512i z_two_of(const uint8_t *qs, int c)
{
    const int k = c % 2 * 4;

    return _mm512_and_si512(z_shift(z_twice32(qs + c / 2 * 32), k, k + 2), z_set1(3));
}

/* A row for panel_open: codes times their scales; d, -dmin, and mins by twos. */
static DOT_INLINE void q2_k_whole(char *restrict out, int64_t apart, char *restrict numbers,
                                  int64_t next, const struct q2_k *b)
{
    const float d = bits_half(b->d), less = -bits_half(b->dmin);
    const __m256i sm = _mm256_cvtepu8_epi16(z_load16(b->scales));
    const __m256i s = _mm256_and_si256(sm, _mm256_set1_epi16(15));
    _Alignas(32) int16_t mins[16];

#pragma GCC unroll 4
    for (int c = 0; c < 4; c++)
        z_put_codes(out + 2 * apart * c, apart, z_by_part(z_two_of(b->qs, c), s, c));
    _mm256_store_si256((__m256i *)mins, _mm256_srli_epi16(sm, 4));
    for (int p = 0; p < 8; p++) {
        memcpy(numbers + next * p, &d, 4);
        memcpy(numbers + next * (8 + p), &less, 4);
        memcpy(numbers + next * (16 + p), mins + 2 * p, 4);
    }
}

/* Three bits of columns [32 k, 32 k + 32), twice as large where k is odd. */
static DOT_INLINE void z_codes3(__m512i *restrict q, const struct q3_k *b, const struct q3_k *b2)
{
    const __m512i half = _mm512_set_epi64(4, 4, 4, 4, 0, 0, 0, 0);
    __m512i v[2], top[2];

    z_turns(v, z_load64(b->qs), z_load64(b2->qs));
    z_turns(top, z_twice32(b->hmask), z_twice32(b2->hmask));
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        const __m512i t = _mm512_srlv_epi64(top[h], half), up = _mm512_slli_epi16(t, 2);

#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            const __m512i low = k ? _mm512_srli_epi16(v[h], k == 1 ? 1 : k + 2) : v[h];

            /* low & 3 | top & 4, or twice that */
            q[4 * h + k] = _mm512_ternarylogic_epi32(_mm512_and_si512(low, z_set1(k % 2 ? 6 : 3)),
                                                     k < 2 ? up : t, z_set1(k % 2 ? 8 : 4), 0xf8);
        }
    }
}

/* Codes have 4 added, and are multiplied by 32 - scale, whose greatest product still is a byte in
 * panels: that, negated, times -d. */
#define OWN_q3_k   1
#define WHOLE_q3_k 1
#define BACK_q3_k  5
static DOT_INLINE void q3_k_four(__m512 (*restrict sum)[FEW], const struct q3_k *const *b,
                                 const char *x, size_t x_bytes, int inputs)
{
    /* the last 16 bytes: two of codes, eight of low bits, four of high ones, d; a row per lane */
    const size_t at = sizeof **b - 16;
    const __m512i a = z_four16((const char *)b[0] + at, (const char *)b[1] + at,
                               (const char *)b[2] + at, (const char *)b[3] + at);
    const __m512i l = _mm512_shuffle_epi8(
        a, _mm512_broadcast_i32x4(_mm_setr_epi8(2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5, 6, 7, 8, 9)));
    const __m512i high = _mm512_shuffle_epi8(
        a, _mm512_broadcast_i32x4(
               _mm_setr_epi8(10, 11, 12, 13, 10, 11, 12, 13, 10, 11, 12, 13, 10, 11, 12, 13)));
    const __m512i low4 = _mm512_and_si512(
        _mm512_srlv_epi64(l, _mm512_set_epi64(4, 0, 4, 0, 4, 0, 4, 0)), z_set1(15));
    const __m512i top =
        _mm512_and_si512(_mm512_rolv_epi32(high, z_words4(4, 2, 0, 30)), z_set1(48));
    const __m512i bytes = _mm512_sub_epi8(z_set1(32), _mm512_or_si512(low4, top));
    const __m512 f = _mm512_xor_ps(
        _mm512_castps256_ps512(_mm256_cvtph_ps(_mm512_cvtepi64_epi16(_mm512_srli_epi64(a, 48)))),
        _mm512_set1_ps(-0.0f));
    const __m512i s[2] = {_mm512_cvtepi8_epi16(_mm512_castsi512_si256(bytes)),
                          _mm512_cvtepi8_epi16(_mm512_extracti64x4_epi64(bytes, 1))};
    __m512i q[2][8];

    z_codes3(q[0], b[0], b[1]);
    z_codes3(q[1], b[2], b[3]);
    for (int i = 0; i < inputs; i++) {
        const struct x256 *xi = (const struct x256 *)(x + (size_t)i * x_bytes);
        const __m512 d = _mm512_broadcast_f32x8(_mm256_loadu_ps(xi->d));
        const __m512i back =
            _mm512_mullo_epi16(z_twice32(xi->sum), _mm512_set1_epi16(-8)); // twice -4
        __m512i in[8];

        z_inputs2(in, xi->q);
#pragma GCC unroll 2
        for (int k = 0; k < 2; k++) {
            const __m512i twice =
                _mm512_dpwssd_epi32(_mm512_madd_epi16(back, s[k]), z_parts2(q[k], in, 2), s[k]);

            sum[k][i] =
                _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_srai_epi32(twice, 1)),
                                _mm512_mul_ps(z_eight_of(f, 4 * k + 1, 4 * k + 3), d), sum[k][i]);
        }
    }
}

/* As q2_k_whole: codes less 4 times 32 - scale; -d. */
static DOT_INLINE void q3_k_whole(char *restrict out, int64_t apart, char *restrict numbers,
                                  int64_t next, const struct q3_k *b)
{
    const float d = -bits_half(b->d);
    const __m256i by = _mm256_sub_epi16(_mm256_set1_epi16(32), _mm256_cvtepu8_epi16(q3_k_six(b)));
    const __m512i high = z_twice32(b->hmask);

#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        const __m512i code = z_add_bit(z_two_of(b->qs, c), high, 2 * c, 4);
        const __m512i v = z_by_part(code, by, c);
        /* to two bytes at once: with 128 none is negative */
        const __m512i less = z_by_part(z_set1(4), by, c);

        z_put_codes(
            out + 2 * apart * c, apart,
            _mm512_xor_si512(
                _mm512_add_epi16(v, _mm512_sub_epi16(_mm512_set1_epi16((short)0x8080), less)),
                z_set1(-128)));
    }
    for (int p = 0; p < 8; p++)
        memcpy(numbers + next * p, &d, 4);
}

#endif
