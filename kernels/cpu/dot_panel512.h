/* dot_panel512.h - what AVX-512 kernels of all formats share: adding lanes up, and panels.
 *
 * Codes of a panel are unsigned; those of formats with negative ones have 128 added.
 */
#ifndef RILL_KERNELS_CPU_DOT_PANEL512_H
#define RILL_KERNELS_CPU_DOT_PANEL512_H

enum {
    FEW = 4,         // inputs up to which unpacking a panel does not pay
    PANEL_GROUP = 6, // inputs that pass a panel together: 12 sums hide the products' latency, and
                     // with 12 chains fill the registers
};

/* -- codes and offsets -- */

/* 64 codes times inputs, four products added up. */
static DOT_INLINE __m512i z_dot(const struct z_codes *o, int c, __m512i x, bool is_signed)
{
    if (is_signed)
        x = _mm512_mask_sub_epi8(x, o->neg[c], _mm512_setzero_si512(), x);
    return _mm512_dpbusd_epi32(_mm512_setzero_si512(), o->q[c], x);
}

/* Takes back what the offset added; back is -128 times the sum of inputs. */
static inline __m512i z_back(__m512i dot, __m512i back, int by)
{
    if (by == NO_BACK)
        return dot;
    if (by == BACK_NINE || by == BACK_TWELVE)
        return _mm512_add_epi32(dot,
                                _mm512_add_epi32(_mm512_srai_epi32(back, 4),
                                                 _mm512_srai_epi32(back, by == BACK_NINE ? 7 : 5)));
    return _mm512_add_epi32(dot, _mm512_srai_epi32(back, (unsigned)by));
}

/* Codes with an offset of 128, unless they have none. */
static inline __m512i z_back_128(__m512i q, int by)
{
    if (by == NO_BACK)
        return q;
    return _mm512_add_epi8(q, z_set1(by == BACK_NINE     ? 128 - 9
                                     : by == BACK_TWELVE ? 128 - 12
                                                         : 128 - (128 >> (by & 31))));
}

/* Negates where signs has a bit, then adds 128. */
static inline __m512i z_sign(__m512i a, __mmask64 signs)
{
    return _mm512_xor_si512(_mm512_mask_sub_epi8(a, signs, _mm512_setzero_si512(), a),
                            z_set1(-128));
}

/* 64 codes to two parts, which are so many bytes apart. */
static DOT_INLINE void z_put_codes(char *restrict out, int64_t apart, __m512i codes)
{
    _mm256_store_si256((__m256i *)out, _mm512_castsi512_si256(codes));
    _mm256_store_si256((__m256i *)(out + apart), _mm512_extracti64x4_epi64(codes, 1));
}

/* Numbers of four rows, eight of each of two to a register, part by part. */
static DOT_INLINE void z_put_numbers(char *restrict out, int64_t apart, const __m512 *s)
{
    const __m512i at = _mm512_setr_epi32(0, 8, 16, 24, 1, 9, 17, 25, 2, 10, 18, 26, 3, 11, 19, 27);

#pragma GCC unroll 2
    for (int k = 0; k < 2; k++) {
        const __m512 t =
            _mm512_permutex2var_ps(s[0], _mm512_add_epi32(at, _mm512_set1_epi32(4 * k)), s[1]);

#pragma GCC unroll 4
        for (int l = 0; l < 4; l++)
            _mm_store_ps((float *)(out + apart * (4 * k + l)), _mm512_extractf32x4_ps(t, l));
    }
}

/* -- lanes to parts -- */

/* Sums of two neighbours in a lane, of a and then of b; 16 bits must hold the addends. */
static inline __m512i z_pairs(__m512i a, __m512i b)
{
    return _mm512_madd_epi16(_mm512_packs_epi32(a, b), _mm512_set1_epi16(1));
}

/* Of the same addends, one of each pair. */
static inline __m512i z_every2(__m512i a, __m512i b, bool odd)
{
    const __m512 x = _mm512_castsi512_ps(a), y = _mm512_castsi512_ps(b);

    return _mm512_castps_si512(odd ? _mm512_shuffle_ps(x, y, 0xdd) : _mm512_shuffle_ps(x, y, 0x88));
}

static inline __m512i z_pairs_wide(__m512i a, __m512i b)
{
    return _mm512_add_epi32(z_every2(a, b, false), z_every2(a, b, true));
}

/* Register c, lane L (128 bits) has four sums of part 4 c + L: they are added, parts in order. Each
 * is of four products of codes up to most with inputs up to 127. */
static DOT_INLINE __m512i z_parts(const __m512i *t, int most)
{
    if (most * 127 * 8 < 32768)
        return z_pairs(z_pairs(t[0], t[1]), z_pairs(t[2], t[3]));
    if (most * 127 * 4 < 32768)
        return z_pairs_wide(z_pairs(t[0], t[1]), z_pairs(t[2], t[3]));
    return z_pairs_wide(z_pairs_wide(t[0], t[1]), z_pairs_wide(t[2], t[3]));
}

static DOT_INLINE __m512i z_parts_16(const __m512i *t, int most)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);

    return _mm512_permutexvar_epi32(order, z_parts(t, most));
}

/* Two rows, parts of 32: those of the first, those of the second. */
static DOT_INLINE __m512i z_parts_32(const __m512i *t, const __m512i *t2, int most)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
    const __m512i a = z_parts(t, most), b = z_parts(t2, most);
    const __m512i sum =
        _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd));

    return _mm512_permutexvar_epi32(order, sum);
}

/* Two rows, parts of 32, whose register 2 k has the first and 2 k + 1 the second 16 codes of parts
 * 4 k .. 4 k + 3: their integers come four to a part, not eight. */
static DOT_INLINE __m512i z_lanes_dot(const __m512i *a, const __m512i *b, const int8_t *x, int most)
{
    __m512i t[4];

#pragma GCC unroll 2
    for (int k = 0; k < 2; k++) {
        const __m512i in = z_load64(x + 128 * k), in2 = z_load64(x + 128 * k + 64);
        const __m512i first = _mm512_shuffle_i64x2(in, in2, 0x88);
        const __m512i second = _mm512_shuffle_i64x2(in, in2, 0xdd);

        t[k] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), a[2 * k], first);
        t[k] = _mm512_dpbusd_epi32(t[k], a[2 * k + 1], second);
        t[2 + k] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), b[2 * k], first);
        t[2 + k] = _mm512_dpbusd_epi32(t[2 + k], b[2 * k + 1], second);
    }
    return z_parts_16(t, 2 * most);
}

/* Each of eight numbers twice. */
static inline __m512 z_twice(__m256 a)
{
    const __m512i order = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);

    return _mm512_permutexvar_ps(order, _mm512_castps256_ps512(a));
}

/* dot_tree over 16 lanes, or over half number k of them. */
static inline float z_tree(__m512 a, int halves, int k)
{
    const __m256 low = _mm512_castps512_ps256(a), high = _mm512_extractf32x8_ps(a, 1);
    const __m256 v = halves == 1 ? _mm256_add_ps(low, high) : k ? high : low;
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}

/* -- panels -- */

/* Element j of register i becomes element i of line j, lines being 128 bytes apart; n are wanted.
 */
static void z_transpose(char *restrict out, const __m512i *a, int n)
{
    __m512i t[16], u[16];

    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int k = 0; k < 2; k++) {
            u[i + 2 * k] = _mm512_unpacklo_epi64(t[i + k], t[i + 2 + k]);
            u[i + 2 * k + 1] = _mm512_unpackhi_epi64(t[i + k], t[i + 2 + k]);
        }
    /* u[4 g + k] has, in lane L, elements 4 L + k of registers 4 g .. 4 g + 3 */
    for (int k = 0; k < 4; k++) {
        const __m512i lo = _mm512_shuffle_i32x4(u[k], u[4 + k], 0x88);
        const __m512i lo2 = _mm512_shuffle_i32x4(u[8 + k], u[12 + k], 0x88);
        const __m512i hi = _mm512_shuffle_i32x4(u[k], u[4 + k], 0xdd);
        const __m512i hi2 = _mm512_shuffle_i32x4(u[8 + k], u[12 + k], 0xdd);
        /* lo: lanes 0 and 2 of both; hi: lanes 1 and 3 */
        _mm512_store_si512(out + k * 128, _mm512_shuffle_i32x4(lo, lo2, 0x88));
        _mm512_store_si512(out + (4 + k) * 128, _mm512_shuffle_i32x4(hi, hi2, 0x88));
        if (n > 8) {
            _mm512_store_si512(out + (8 + k) * 128, _mm512_shuffle_i32x4(lo, lo2, 0xdd));
            _mm512_store_si512(out + (12 + k) * 128, _mm512_shuffle_i32x4(hi, hi2, 0xdd));
        }
    }
}

/* Codes that were multiplied by whole scales: (d dot - dmin M) times the inputs' d, M being two
 * mins times the sums of 16 inputs. Lines of eight parts: d; -dmin; mins, two of 16 bits. */
static inline __m512 panel_whole(__m512 sum, __m512i dot, const char *scales, __m512 d,
                                 const int16_t *inputs)
{
    const __m512i m = _mm512_madd_epi16(_mm512_load_si512(scales + 16 * 128),
                                        _mm512_set1_epi32((int)bits_u32(inputs)));
    const __m512 less = _mm512_mul_ps(_mm512_cvtepi32_ps(m), _mm512_load_ps(scales + 8 * 128));

    return _mm512_fmadd_ps(_mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_load_ps(scales), less),
                           d, sum);
}

/* Four products of a lane's codes with the same four of an input, which come out of memory: as one
 * instruction, where a broadcast of its own would be used twice. Half of the inputs go so. All of
 * them would make the load ports the limit, none of them the front end where a core has two threads
 * (docs/performance.md). */
static DOT_INLINE __m512i panel_dot(__m512i dot, __m512i codes, const int8_t *x)
{
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(dot) : "v"(codes), "m"(*(const int8_t(*)[4])x));
    return dot;
}

/* The same part of some steps times inputs: its chains [inputs][2] stay in registers meanwhile. x:
 * the 32 columns that the part is in, or is half number h of. All but steps are constants where
 * this is called. */
static DOT_INLINE void panel_part(__m512 *restrict chain, const char *q, const char *scales,
                                  const struct x32x6 *x, int64_t steps, int parts, int h, int min,
                                  int back, int inputs)
{
    __m512 sum[PANEL_GROUP][2];

#pragma GCC unroll 8
    for (int i = 0; i < inputs; i++) {
        sum[i][0] = chain[2 * i];
        sum[i][1] = chain[2 * i + 1];
    }
    for (; steps > 0; steps--, x++) {
        __m512i dot[PANEL_GROUP][2];

#pragma GCC unroll 8
        for (int i = 0; i < inputs; i++)
            dot[i][0] = dot[i][1] =
                !back ? _mm512_setzero_si512()
                      : _mm512_set1_epi32(parts == 8 ? x->back_32[i] : x->back_16[h][i]);
#pragma GCC unroll 8
        for (int k = 0; k < 64 / parts; k++) {
            const __m512i a = _mm512_load_si512(q + 128 * k);
            const __m512i b = _mm512_load_si512(q + 128 * k + 64);

#pragma GCC unroll 8
            for (int i = 0; i < inputs; i++) {
                const int8_t *at = x->q[i] + 16 * h + 4 * k;

                if (i < inputs / 2) {
                    dot[i][0] = panel_dot(dot[i][0], a, at);
                    dot[i][1] = panel_dot(dot[i][1], b, at);
                } else {
                    const __m512i in = _mm512_set1_epi32((int)bits_u32(at));

                    dot[i][0] = _mm512_dpbusd_epi32(dot[i][0], a, in);
                    dot[i][1] = _mm512_dpbusd_epi32(dot[i][1], b, in);
                }
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < inputs; i++)
#pragma GCC unroll 2
            for (int k = 0; k < 2; k++) {
                const __m512 d = _mm512_set1_ps(x->d[i]);

                if (min == 2) {
                    sum[i][k] = panel_whole(sum[i][k], dot[i][k], scales + k * 64, d, x->sum[i]);
                    continue;
                }
                const __m512 s = _mm512_mul_ps(_mm512_load_ps(scales + k * 64), d);

                sum[i][k] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[i][k]), s, sum[i][k]);
                if (min)
                    sum[i][k] = _mm512_fmadd_ps(
                        _mm512_load_ps(scales + parts * 128 + k * 64),
                        _mm512_set1_ps(parts == 8 ? x->sum_32[i] : x->sum_16[h][i]), sum[i][k]);
            }
        q += 128 * (64 + parts * (1 + min));
        scales += 128 * (64 + parts * (1 + min));
    }
#pragma GCC unroll 8
    for (int i = 0; i < inputs; i++) {
        chain[2 * i] = sum[i][0];
        chain[2 * i + 1] = sum[i][1];
    }
}

#include "kernels/cpu/dot_panel.h"

#define PANEL_MULS(parts, min, back)                                                               \
    PANEL_MUL(parts, min, back, 4)                                                                 \
    PANEL_MUL(parts, min, back, 5)                                                                 \
    PANEL_MUL(parts, min, back, 6)
PANEL_MULS(8, 0, 0)
PANEL_MULS(8, 0, 1)
PANEL_MULS(8, 1, 0)
PANEL_MULS(8, 2, 0)
PANEL_MULS(16, 0, 0)
PANEL_MULS(16, 0, 1)

/* For formats of so many parts; back: 128 has been added to the codes. */
static panel_mul_fn *const *panel_muls(int parts, int min, bool back)
{
    static panel_mul_fn *const fn[2][4][3] = {
        {{panel_mul_8004, panel_mul_8005, panel_mul_8006},
         {panel_mul_8014, panel_mul_8015, panel_mul_8016},
         {panel_mul_8104, panel_mul_8105, panel_mul_8106},
         {panel_mul_8204, panel_mul_8205, panel_mul_8206}},
        {{panel_mul_16004, panel_mul_16005, panel_mul_16006},
         {panel_mul_16014, panel_mul_16015, panel_mul_16016}},
    };

    return fn[parts == 16][min ? 1 + min : back];
}

#endif
