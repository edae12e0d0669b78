/* dot_fill512.h - 16 rows of a format as half of a panel step, without passing through single rows.
 *
 * x_fill(out, w, row_bytes): 256 columns of 16 whole rows, to the lines and numbers that panel_fill
 * of dot_avx512.inc makes of them row by row, in the same bits, or, where ONE_x, to those of
 * dot_one_panel512.h. 16 bytes of each row are brought together so that a row has a lane; codes are
 * taken apart there, four columns to a lane.
 */
#ifndef RILL_KERNELS_CPU_DOT_FILL512_H
#define RILL_KERNELS_CPU_DOT_FILL512_H

/* -- pieces -- */

/* 16 bytes at p of each of 16 rows: register k has bytes 4 k .. 4 k + 3 of all, a row per lane. */
static DOT_INLINE void z_quads(__m512i *restrict out, const char *p, size_t row_bytes)
{
    const char *p1 = p + 4 * row_bytes, *p2 = p + 8 * row_bytes, *p3 = p + 12 * row_bytes;
    __m512i a[4];

#pragma GCC unroll 4
    for (size_t k = 0; k < 4; k++) {
        a[k] = _mm512_castsi128_si512(z_load16(p + k * row_bytes));
        a[k] = _mm512_inserti32x4(a[k], z_load16(p1 + k * row_bytes), 1);
        a[k] = _mm512_inserti32x4(a[k], z_load16(p2 + k * row_bytes), 2);
        a[k] = _mm512_inserti32x4(a[k], z_load16(p3 + k * row_bytes), 3);
    }
    const __m512i t0 = _mm512_unpacklo_epi32(a[0], a[1]), t1 = _mm512_unpackhi_epi32(a[0], a[1]);
    const __m512i t2 = _mm512_unpacklo_epi32(a[2], a[3]), t3 = _mm512_unpackhi_epi32(a[2], a[3]);

    out[0] = _mm512_unpacklo_epi64(t0, t2);
    out[1] = _mm512_unpackhi_epi64(t0, t2);
    out[2] = _mm512_unpacklo_epi64(t1, t3);
    out[3] = _mm512_unpackhi_epi64(t1, t3);
}

/* 32 bytes at p of each of 16 rows: register k has bytes 4 k .. 4 k + 3 of all, a row per lane. Few
 * wide loads: each may have to wait for a store at the same place of another page. */
static DOT_INLINE void z_eight(__m512i *restrict out, const char *p, size_t row_bytes)
{
    const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
    const __m512i high = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
    const char *p8 = p + 8 * row_bytes;
    __m512i a[8], t[8];

#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++)
        a[i] = z_pair32(p + i * row_bytes, p8 + i * row_bytes);
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
    /* a[4 g + k]: of rows 4 g .. 4 g + 3 words k and 4 + k, of rows 8 + 4 g .. the same */
#pragma GCC unroll 2
    for (int g = 0; g < 8; g += 4)
#pragma GCC unroll 2
        for (int k = 0; k < 2; k++) {
            a[g + 2 * k] = _mm512_unpacklo_epi64(t[g + k], t[g + 2 + k]);
            a[g + 2 * k + 1] = _mm512_unpackhi_epi64(t[g + k], t[g + 2 + k]);
        }
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        out[k] = _mm512_permutex2var_epi64(a[k], low, a[4 + k]);
        out[4 + k] = _mm512_permutex2var_epi64(a[k], high, a[4 + k]);
    }
}

/* 4 bytes at p of each row. */
static DOT_INLINE __m512i z_words(const char *p, size_t row_bytes)
{
    __m512i a[4];

#pragma GCC unroll 4
    for (size_t k = 0; k < 4; k++) {
        __m128i v[4];

#pragma GCC unroll 4
        for (size_t l = 0; l < 4; l++)
            v[l] = _mm_cvtsi32_si128((int)bits_u32(p + (4 * l + k) * row_bytes));
        a[k] = _mm512_castsi128_si512(v[0]);
        a[k] = _mm512_inserti32x4(a[k], v[1], 1);
        a[k] = _mm512_inserti32x4(a[k], v[2], 2);
        a[k] = _mm512_inserti32x4(a[k], v[3], 3);
    }
    return _mm512_unpacklo_epi64(_mm512_unpacklo_epi32(a[0], a[1]),
                                 _mm512_unpacklo_epi32(a[2], a[3]));
}

/* Binary16 numbers in the low halves of the lanes. */
static inline __m512 z_low_halves(__m512i a)
{
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a));
}

static inline __m512 z_high_halves(__m512i a)
{
    return z_low_halves(_mm512_srli_epi32(a, 16));
}

static inline __m512i z_low4(__m512i a)
{
    return _mm512_and_si512(a, z_set1(15));
}

static inline __m512i z_high4(__m512i a)
{
    return _mm512_and_si512(_mm512_srli_epi32(a, 4), z_set1(15));
}

static inline void z_line(char *out, int64_t line, __m512i a)
{
    _mm512_store_si512(out + line * 128, a);
}

static inline void z_scale(char *out, int64_t part, __m512 a)
{
    _mm512_store_ps(out + 8192 + part * 128, a);
}

/* -- blocks of 32 whose nibbles are columns k and k + 16 -- */

enum nibble { N_PLAIN, N_OFFSET, N_TABLE, N_FIFTH, N_FIFTH_OFFSET, N_E2M1 };

/* Bits 4 k .. 4 k + 3 of each lane, as bit 4 of its bytes. */
static inline __m512i z_fifth_lanes(__m512i qh, int k)
{
    const __m512i four =
        _mm512_and_si512(_mm512_srli_epi32(qh, (unsigned)(4 * k)), _mm512_set1_epi32(15));
    /* copies at 0, 7, 14, 21 put bit b at 8 b, with others around it */
    const __m512i spread = _mm512_and_si512(_mm512_mullo_epi32(four, _mm512_set1_epi32(0x00204081)),
                                            _mm512_set1_epi32(0x01010101));

    return _mm512_slli_epi32(spread, 4);
}

static DOT_INLINE __m512i z_nibble_codes(__m512i q, enum nibble how, __m512i table, __m512i qh,
                                         int k)
{
    switch (how) {
    case N_PLAIN:
        return q;
    case N_OFFSET:
        return _mm512_add_epi8(q, z_set1(128 - 8));
    case N_FIFTH:
        return _mm512_or_si512(q, z_fifth_lanes(qh, k));
    case N_FIFTH_OFFSET:
        return _mm512_add_epi8(_mm512_or_si512(q, z_fifth_lanes(qh, k)), z_set1(128 - 16));
    default:
        return _mm512_shuffle_epi8(table, q);
    }
}

/* Block b of 16 rows: bytes of its codes at p. */
static DOT_INLINE void z_nibble_block(char *restrict out, int b, const char *p, size_t row_bytes,
                                      enum nibble how, __m512i table, __m512i qh)
{
    __m512i q[4];

    z_quads(q, p, row_bytes);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        z_line(out, 8 * b + j, z_nibble_codes(z_low4(q[j]), how, table, qh, j));
        z_line(out, 8 * b + 4 + j, z_nibble_codes(z_high4(q[j]), how, table, qh, 4 + j));
    }
}

#define FILL_q4_0 1
static void q4_0_fill(char *restrict out, const char *w, size_t row_bytes)
{
    for (int b = 0; b < 8; b++, w += sizeof(struct q4_0)) {
        z_nibble_block(out, b, w + offsetof(struct q4_0, qs), row_bytes, N_OFFSET,
                       _mm512_setzero_si512(), _mm512_setzero_si512());
        z_scale(out, b, z_low_halves(z_words(w, row_bytes)));
    }
}

#define FILL_q4_1 1
static void q4_1_fill(char *restrict out, const char *w, size_t row_bytes)
{
    for (int b = 0; b < 8; b++, w += sizeof(struct q4_1)) {
        const __m512i d = z_words(w, row_bytes);

        z_nibble_block(out, b, w + offsetof(struct q4_1, qs), row_bytes, N_PLAIN, d, d);
        z_scale(out, b, z_low_halves(d));
        z_scale(out, 8 + b, z_high_halves(d));
    }
}

#define FILL_q5_0 1
static void q5_0_fill(char *restrict out, const char *w, size_t row_bytes)
{
    for (int b = 0; b < 8; b++, w += sizeof(struct q5_0)) {
        const __m512i qh = z_words(w + offsetof(struct q5_0, qh), row_bytes);

        z_nibble_block(out, b, w + offsetof(struct q5_0, qs), row_bytes, N_FIFTH_OFFSET, qh, qh);
        z_scale(out, b, z_low_halves(z_words(w, row_bytes)));
    }
}

#define FILL_q5_1 1
static void q5_1_fill(char *restrict out, const char *w, size_t row_bytes)
{
    for (int b = 0; b < 8; b++, w += sizeof(struct q5_1)) {
        const __m512i d = z_words(w, row_bytes);
        const __m512i qh = z_words(w + offsetof(struct q5_1, qh), row_bytes);

        z_nibble_block(out, b, w + offsetof(struct q5_1, qs), row_bytes, N_FIFTH, qh, qh);
        z_scale(out, b, z_low_halves(d));
        z_scale(out, 8 + b, z_high_halves(d));
    }
}

#define FILL_iq4_nl 1
static void iq4_nl_fill(char *restrict out, const char *w, size_t row_bytes)
{
    const __m512i table = z_table(iq4_values, 128);

    for (int b = 0; b < 8; b++, w += sizeof(struct iq4_nl)) {
        z_nibble_block(out, b, w + offsetof(struct iq4_nl, qs), row_bytes, N_TABLE, table, table);
        z_scale(out, b, z_low_halves(z_words(w, row_bytes)));
    }
}

#define FILL_mxfp4 1
static void mxfp4_fill(char *restrict out, const char *w, size_t row_bytes)
{
    const __m512i nibbles =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    const __m512i table = z_e2m1(nibbles, 128);

    for (int b = 0; b < 8; b++, w += sizeof(struct mxfp4)) {
        const __m512i e = _mm512_and_si512(z_words(w, row_bytes), _mm512_set1_epi32(255));

        z_nibble_block(out, b, w + offsetof(struct mxfp4, qs), row_bytes, N_E2M1, table, e);
        z_scale(out, b, z_e8m0(e));
    }
}

#define FILL_q8_0 1
static void q8_0_fill(char *restrict out, const char *w, size_t row_bytes)
{
    for (int b = 0; b < 8; b++, w += sizeof(struct q8_0)) {
        __m512i q[8];

        z_eight(q, w + offsetof(struct q8_0, qs), row_bytes);
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++)
            z_line(out, 8 * b + j, _mm512_xor_si512(q[j], z_set1(-128)));
        z_scale(out, b, z_low_halves(z_words(w, row_bytes)));
    }
}

/* -- blocks of 256 -- */

/* Bytes k and l of each lane as words. */
static DOT_INLINE __m512i z_two_words(__m512i a, int k, int l)
{
    const __m512i lanes = z_words4(0, 0x00040004, 0x00080008, 0x000c000c);
    const int at = (int)0x80008000 + k + (l << 16);

    return _mm512_shuffle_epi8(a, _mm512_add_epi32(lanes, _mm512_set1_epi32(at)));
}

/* Two words of each lane to a line each. */
static DOT_INLINE void z_apart(char *restrict out, int64_t line, __m512i two)
{
    z_line(out, line, _mm512_and_si512(two, _mm512_set1_epi32(0xffff)));
    z_line(out, line + 1, _mm512_srli_epi32(two, 16));
}

/* Scales and mins of q4_k and q5_k: h is the first 16 bytes. */
static DOT_INLINE void z_k_numbers(char *restrict out, const __m512i *h)
{
    const __m512i six = z_set1(0x3f), top = z_set1(0x30);
    const __m512i s[2] = {
        _mm512_and_si512(h[1], six),
        _mm512_or_si512(z_low4(h[3]), _mm512_and_si512(_mm512_srli_epi32(h[1], 2), top))};
    const __m512i m[2] = {
        _mm512_and_si512(h[2], six),
        _mm512_or_si512(z_high4(h[3]), _mm512_and_si512(_mm512_srli_epi32(h[2], 2), top))};

#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        const __m512i two = z_two_words(s[k / 2], k % 2 * 2, k % 2 * 2 + 1);

        z_apart(out, 64 + 2 * k, two);
        z_line(out, 72 + k, two);
        z_line(out, 76 + k, z_two_words(m[k / 2], k % 2 * 2, k % 2 * 2 + 1));
    }
    z_scale(out, 16, z_low_halves(h[0]));
    z_scale(out, 17,
            _mm512_mul_ps(_mm512_xor_ps(z_high_halves(h[0]), _mm512_set1_ps(-0.0f)),
                          _mm512_set1_ps(0.125f)));
}

#define FILL_q4_k 1
static void q4_k_fill(char *restrict out, const char *w, size_t row_bytes)
{
    __m512i q[8];

    z_quads(q, w, row_bytes);
    z_k_numbers(out, q);
    w += offsetof(struct q4_k, qs);
    for (int c = 0; c < 4; c++) {
        z_eight(q, w + 32 * c, row_bytes);
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++) {
            z_line(out, 16 * c + j, z_low4(q[j]));
            z_line(out, 16 * c + 8 + j, z_high4(q[j]));
        }
    }
}

/* Bit p of each byte as bit 4. */
static inline __m512i z_bit_to_4(__m512i a, int p)
{
    const __m512i v =
        p < 4 ? _mm512_slli_epi32(a, (unsigned)(4 - p)) : _mm512_srli_epi32(a, (unsigned)(p - 4));

    return _mm512_and_si512(v, z_set1(16));
}

#define FILL_q5_k 1
static void q5_k_fill(char *restrict out, const char *w, size_t row_bytes)
{
    __m512i q[8], high[8];

    z_quads(q, w, row_bytes);
    z_k_numbers(out, q);
    z_eight(high, w + offsetof(struct q5_k, qh), row_bytes);
    w += offsetof(struct q5_k, qs);
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        z_eight(q, w + 32 * c, row_bytes);
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++) {
            z_line(out, 16 * c + j, _mm512_or_si512(z_low4(q[j]), z_bit_to_4(high[j], 2 * c)));
            z_line(out, 16 * c + 8 + j,
                   _mm512_or_si512(z_high4(q[j]), z_bit_to_4(high[j], 2 * c + 1)));
        }
    }
}

/* Four codes of q6_k in parts of 32 columns: a and b have the low bits, high two more of each. */
static DOT_INLINE void z_six_bits(char *restrict out, __m512i a, __m512i b, __m512i high)
{
    const __m512i top = z_set1(0x30);
    const __m512i v[4] = {
        _mm512_or_si512(z_low4(a), _mm512_and_si512(_mm512_slli_epi32(high, 4), top)),
        _mm512_or_si512(z_low4(b), _mm512_and_si512(_mm512_slli_epi32(high, 2), top)),
        _mm512_or_si512(z_high4(a), _mm512_and_si512(high, top)),
        _mm512_or_si512(z_high4(b), _mm512_and_si512(_mm512_srli_epi32(high, 2), top)),
    };

#pragma GCC unroll 4
    for (int k = 0; k < 4; k++)
        z_line(out, 8 * k, v[k]);
}

#define FILL_q6_k 1
static void q6_k_fill(char *restrict out, const char *w, size_t row_bytes)
{
    const __m512 d = z_high_halves(z_words(w + offsetof(struct q6_k, d) - 2, row_bytes));
    __m512i a[8], b[8], high[8];

    z_quads(a, w + offsetof(struct q6_k, scales), row_bytes);
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) { /* to the upper halves of words, then down with their signs */
        const __m512i up = z_two_words(a[k / 2], k % 2 * 2, k % 2 * 2 + 1);

        z_apart(out, 64 + 2 * k, _mm512_srai_epi16(_mm512_slli_epi16(up, 8), 8));
    }
    z_scale(out, 16, d);
    for (int h = 0; h < 2; h++) {
        z_eight(a, w + 64 * h, row_bytes);
        z_eight(b, w + 64 * h + 32, row_bytes);
        z_eight(high, w + offsetof(struct q6_k, qh) + 32 * h, row_bytes);
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++)
            z_six_bits(out + (32 * h + j) * 128, a[j], b[j], high[j]);
    }
}

#define FILL_iq4_xs 1
static void iq4_xs_fill(char *restrict out, const char *w, size_t row_bytes)
{
    const __m512i table = z_table(iq4_values, 128);
    const __m512i h = z_words(w, row_bytes), l = z_words(w + 4, row_bytes);
    const __m512 d = z_low_halves(h);

#pragma GCC unroll 8
    for (int p = 0; p < 8; p++) {
        const __m512i low =
            _mm512_and_si512(_mm512_srli_epi32(l, (unsigned)(4 * p)), _mm512_set1_epi32(15));
        const __m512i high =
            _mm512_and_si512(_mm512_srli_epi32(h, (unsigned)(16 + 2 * p)), _mm512_set1_epi32(3));
        const __m512i six = _mm512_or_si512(low, _mm512_slli_epi32(high, 4));

        z_scale(out, p,
                _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(six, _mm512_set1_epi32(32))), d));
    }
    for (int p = 0; p < 8; p += 2) {
        __m512i q[8];

        z_eight(q, w + offsetof(struct iq4_xs, qs) + 16 * p, row_bytes);
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++) {
            char *to = out + (8 * p + j / 4 * 8 + j % 4) * 128;

            z_line(to, 0, _mm512_shuffle_epi8(table, z_low4(q[j])));
            z_line(to, 4, _mm512_shuffle_epi8(table, z_high4(q[j])));
        }
    }
}

/* Two bits of each byte from bit 2 k on. */
static inline __m512i z_two_bits(__m512i a, int k)
{
    return _mm512_and_si512(_mm512_srli_epi32(a, (unsigned)(2 * k)), z_set1(3));
}

/* Codes come multiplied by their scales, at most 45: panel_whole has the rest. */
#define FILL_q2_k 1
static void q2_k_fill(char *restrict out, const char *w, size_t row_bytes)
{
    const __m512i dd = z_words(w + offsetof(struct q2_k, d), row_bytes);
    const __m512 d = z_low_halves(dd);
    const __m512 less = _mm512_xor_ps(z_high_halves(dd), _mm512_set1_ps(-0.0f));
    __m512i q[8], sm[4];

    z_quads(sm, w + offsetof(struct q2_k, scales), row_bytes);
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        z_eight(q, w + offsetof(struct q2_k, qs) + 32 * h, row_bytes);
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            const int g = 4 * h + k, b = g % 2 * 2;
            const __m512i s = z_low4(sm[g / 2]), m = z_high4(sm[g / 2]);
            const __m512i by[2] = {z_two_words(s, b, b), z_two_words(s, b + 1, b + 1)};

            z_scale(out, g, d);
            z_scale(out, 8 + g, less);
            z_line(out, 64 + 16 + g, z_two_words(m, b, b + 1));
#pragma GCC unroll 8
            for (int j = 0; j < 8; j++)
                z_line(out, 8 * g + j, _mm512_mullo_epi16(z_two_bits(q[j], k), by[j / 4]));
        }
    }
}

/* 128 plus codes less 4 times 32 - scale, which a byte holds, times -d. */
#define FILL_q3_k 1
static void q3_k_fill(char *restrict out, const char *w, size_t row_bytes)
{
    const __m512 d = z_high_halves(z_words(w + offsetof(struct q3_k, d) - 2, row_bytes));
    const __m512i l[2] = {z_words(w + offsetof(struct q3_k, scales), row_bytes),
                          z_words(w + offsetof(struct q3_k, scales) + 4, row_bytes)};
    const __m512i top = z_words(w + offsetof(struct q3_k, scales) + 8, row_bytes);
    __m512i q[8], mask[8];

    z_eight(mask, w, row_bytes);
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        z_eight(q, w + offsetof(struct q3_k, qs) + 32 * h, row_bytes);
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            const int g = 4 * h + k, v = g / 2, b = g % 2 * 2;
            const __m512i low = v < 2 ? z_low4(l[v]) : z_high4(l[v - 2]);
            const __m512i six = _mm512_or_si512(low, _mm512_slli_epi32(z_two_bits(top, v), 4));
            __m512i by[2], add[2];

            for (int i = 0; i < 2; i++) {
                by[i] = _mm512_sub_epi16(_mm512_set1_epi16(32), z_two_words(six, b + i, b + i));
                /* to two bytes at once: with that none is negative */
                add[i] = _mm512_sub_epi16(_mm512_set1_epi16((short)0x8080),
                                          _mm512_mullo_epi16(by[i], _mm512_set1_epi16(0x0404)));
            }
            z_scale(out, g, _mm512_xor_ps(d, _mm512_set1_ps(-0.0f)));
#pragma GCC unroll 8
            for (int j = 0; j < 8; j++) {
                const __m512i bit = _mm512_srli_epi32(z_bit_to_4(mask[j], g), 2);
                const __m512i code = _mm512_or_si512(z_two_bits(q[j], k), bit);

                z_line(out, 8 * g + j,
                       _mm512_add_epi16(_mm512_mullo_epi16(code, by[j / 4]), add[j / 4]));
            }
        }
    }
}

#endif
