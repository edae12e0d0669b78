/* dot_panel256.h - panels with AVX2.
 *
 * Codes of a panel are as the format's open256 gives them: signed, or unsigned and so small that a
 * run of products, two by two, stays within 16 bits: 2^15 holds 8 pairs of 4-bit codes times 127, 4
 * of 5 bits, 2 of 6, 1 of 7. What is added to unsigned codes (BACK) is taken back by the sums of
 * inputs. With VNNI products are added to 32 bits: all codes are unsigned, and of those with an
 * offset it is 128 here, so formats share functions.
 */
#ifndef RILL_KERNELS_CPU_DOT_PANEL256_H
#define RILL_KERNELS_CPU_DOT_PANEL256_H

/* PANEL_GROUP: inputs that pass a panel together: with two sums each, and their products with
 * AVX2, they fill the registers. PANEL_FORM of codes: bits of unsigned ones (0: signed) and BACK.
 * panel_codes makes codes with an offset of 128 >> by those of a panel. */
#ifdef __AVXVNNI__
enum { PANEL_GROUP = 6 };
#define PANEL_FORM(bits, by) ((by) == NO_BACK ? NO_BACK : 0)

static DOT_INLINE __m256i panel_codes(__m256i q, int by)
{
    return by == NO_BACK || by == 0 ? q : _mm256_add_epi8(q, y_set1(128 - (128 >> (by & 7))));
}

/* Lines [0, run) of a part; a and b are of the panel's two halves. */
static DOT_INLINE void panel_run(__m256i (*restrict dot)[2], const char *q, const int8_t *x,
                                 int run, bool is_signed, int inputs)
{
    (void)is_signed;
#pragma GCC unroll 8
    for (int k = 0; k < run; k++) {
        const __m256i a = _mm256_load_si256((const __m256i *)(q + 64 * k));
        const __m256i b = _mm256_load_si256((const __m256i *)(q + 64 * k + 32));

#pragma GCC unroll 6
        for (int i = 0; i < inputs; i++) {
            const __m256i in = _mm256_set1_epi32((int)bits_u32(x + 32 * i + 4 * k));

            dot[i][0] = _mm256_dpbusd_avx_epi32(dot[i][0], a, in);
            dot[i][1] = _mm256_dpbusd_avx_epi32(dot[i][1], b, in);
        }
    }
}

static inline int panel_most(int bits)
{
    (void)bits;
    return 8;
}
#else
enum { PANEL_GROUP = 4 };
#define PANEL_FORM(bits, by) ((bits)*100 + (by))

static DOT_INLINE __m256i panel_codes(__m256i q, int by)
{
    (void)by;
    return q;
}

static DOT_INLINE __m256i panel_pairs(__m256i w, __m256i x, bool is_signed)
{
    return is_signed ? _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w))
                     : _mm256_maddubs_epi16(w, x);
}

/* Sums are made in the order in which they are written: a compiler that makes trees of them has all
 * products wait in memory. */
static DOT_INLINE void panel_stay(__m256i *a, __m256i *b)
{
    __asm__("" : "+x"(*a), "+x"(*b));
}

/* Lines [k, k + run) of a part, summed in 16 bits; a and b are of the panel's two halves. */
static DOT_INLINE void panel_run(__m256i (*restrict dot)[2], const char *q, const int8_t *x,
                                 int run, bool is_signed, int inputs)
{
    const __m256i one = _mm256_set1_epi16(1);
    __m256i pairs[PANEL_GROUP][2];

#pragma GCC unroll 8
    for (int k = 0; k < run; k++) {
        const __m256i a = _mm256_load_si256((const __m256i *)(q + 64 * k));
        const __m256i b = _mm256_load_si256((const __m256i *)(q + 64 * k + 32));

#pragma GCC unroll 4
        for (int i = 0; i < inputs; i++) {
            const __m256i in = _mm256_set1_epi32((int)bits_u32(x + 32 * i + 4 * k));
            const __m256i p = panel_pairs(a, in, is_signed), p2 = panel_pairs(b, in, is_signed);

            pairs[i][0] = k ? _mm256_add_epi16(pairs[i][0], p) : p;
            pairs[i][1] = k ? _mm256_add_epi16(pairs[i][1], p2) : p2;
            panel_stay(&pairs[i][0], &pairs[i][1]);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < inputs; i++) {
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++)
            dot[i][h] = _mm256_add_epi32(dot[i][h], _mm256_madd_epi16(pairs[i][h], one));
        panel_stay(&dot[i][0], &dot[i][1]);
    }
}

/* Lines of a run. */
static inline int panel_most(int bits)
{
    return bits == 0 || bits == 7 ? 1 : bits == 6 ? 2 : bits == 5 ? 4 : 8;
}
#endif

/* The same part of some steps times inputs: its chains [inputs][2]. x: the 32 columns that the part
 * is in, or is half number h of. All but steps are constants where this is called. */
static DOT_INLINE void panel_part(__m256 *restrict chain, const char *q, const char *scales,
                                  const struct x32x6 *x, int64_t steps, int parts, int h, bool min,
                                  int form, int inputs)
{
    const int lines = 64 / parts, bits = form / 100, by = form % 100;
    const int run = panel_most(bits) < lines ? panel_most(bits) : lines;

    for (; steps > 0; steps--, x++) {
        __m256i dot[PANEL_GROUP][2];

#pragma GCC unroll 6
        for (int i = 0; i < inputs; i++) {
            const int32_t *back = parts == 8 ? &x->back_32[i] : &x->back_16[h][i];

            dot[i][0] = dot[i][1] = by == NO_BACK
                                        ? _mm256_setzero_si256()
                                        : _mm256_srai_epi32(_mm256_set1_epi32(*back), by & 31);
        }
#pragma GCC unroll 8
        for (int k = 0; k < lines; k += run)
            panel_run(dot, q + 64 * k, x->q[0] + 16 * h + 4 * k, run, bits == 0, inputs);
#pragma GCC unroll 6
        for (int i = 0; i < inputs; i++)
#pragma GCC unroll 2
            for (int k = 0; k < 2; k++) {
                const __m256 d = _mm256_set1_ps(x->d[i]);
                const __m256 s = _mm256_mul_ps(_mm256_load_ps((const float *)(scales + k * 32)), d);
                __m256 sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[i][k]), s, chain[2 * i + k]);

                if (min)
                    sum = _mm256_fmadd_ps(
                        _mm256_load_ps((const float *)(scales + parts * 64 + k * 32)),
                        _mm256_set1_ps(parts == 8 ? x->sum_32[i] : x->sum_16[h][i]), sum);
                chain[2 * i + k] = sum;
            }
        q += 64 * (64 + parts * (1 + min));
        scales += 64 * (64 + parts * (1 + min));
    }
}

#include "kernels/cpu/dot_panel.h"

/* Element j of register i becomes element i of line j. */
static inline void y_transpose(char *restrict out, const __m256i *a)
{
    __m256i t[8], u[8];

    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_epi32(a[i], a[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi32(a[i], a[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int k = 0; k < 2; k++) {
            u[i + 2 * k] = _mm256_unpacklo_epi64(t[i + k], t[i + 2 + k]);
            u[i + 2 * k + 1] = _mm256_unpackhi_epi64(t[i + k], t[i + 2 + k]);
        }
    for (int k = 0; k < 4; k++) {
        _mm256_store_si256((__m256i *)(out + k * PANEL_LINE),
                           _mm256_permute2x128_si256(u[k], u[4 + k], 0x20));
        _mm256_store_si256((__m256i *)(out + (4 + k) * PANEL_LINE),
                           _mm256_permute2x128_si256(u[k], u[4 + k], 0x31));
    }
}

/* Forms as numbers: names are made of them. */
#ifdef __AVXVNNI__
#define PANEL_FORMS(OF) OF(8, 0, 0) OF(8, 1, 99) OF(16, 0, 0) OF(16, 1, 99)
#define PANEL_MULS(parts, min, form)                                                               \
    PANEL_MUL(parts, min, form, 4) PANEL_MUL(parts, min, form, 5) PANEL_MUL(parts, min, form, 6)
#define PANEL_FNS(name)                                                                            \
    {                                                                                              \
        name##4, name##5, name##6                                                                  \
    }
#else
#define PANEL_FORMS(OF)                                                                            \
    OF(8, 0, 404)                                                                                  \
    OF(8, 1, 499) OF(8, 0, 503) OF(8, 1, 599) OF(8, 0, 207) OF(8, 0, 701) OF(8, 0, 99)             \
        OF(16, 1, 299) OF(16, 0, 305) OF(16, 0, 503) OF(16, 0, 602) OF(16, 0, 701) OF(16, 0, 99)
#define PANEL_MULS(parts, min, form) PANEL_MUL(parts, min, form, 4)
#define PANEL_FNS(name)                                                                            \
    {                                                                                              \
        name##4                                                                                    \
    }
#endif
PANEL_FORMS(PANEL_MULS)

/* NULL: no panels for such codes. */
static panel_mul_fn *const *panel_muls(int parts, bool min, int form)
{
#define PANEL_ROW(parts, min, form) {parts, form, min, PANEL_FNS(panel_mul_##parts##min##form)},
    static const struct {
        int parts, form;
        bool min;
        panel_mul_fn *fn[PANEL_GROUP - 3];
    } mul[] = {PANEL_FORMS(PANEL_ROW)};

    for (size_t i = 0; i < ARRAY_LEN(mul); i++)
        if (mul[i].parts == parts && mul[i].form == form && mul[i].min == min)
            return mul[i].fn;
    return NULL;
}

#endif
