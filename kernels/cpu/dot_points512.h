/* dot_points512.h - rows of IQ1 times few inputs.
 *
 * Weights are 8 * point, plus or minus 1: points plus 1 are multiplied and added up eight times,
 * and 7 or 9 times the inputs go off again, exactly. So points need no work once they are loaded;
 * and they are loaded in such an order that a lane of four registers belongs to one part, for fewer
 * lanes to add up. x_four is as in dot_whole512.h, its sums those of dot_avx512.inc.
 */
#ifndef RILL_KERNELS_CPU_DOT_POINTS512_H
#define RILL_KERNELS_CPU_DOT_POINTS512_H

/* Point i of a row, fours of whose numbers are in eight words. */
static DOT_INLINE long long z_point(const uint64_t *fours, int i)
{
    return (long long)iq1_s_grid[(uint16_t)(fours[i / 4] >> i % 4 * 16)];
}

/* Points i, i + 8, i + step, i + step + 8. */
static DOT_INLINE __m256i z_four_apart(const uint64_t *fours, int i, int step)
{
    __m256i v = _mm256_castsi128_si256(_mm_cvtsi64_si128(z_point(fours, i)));

    v = _mm256_mask_set1_epi64(v, 2, z_point(fours, i + 8));
    v = _mm256_mask_set1_epi64(v, 4, z_point(fours, i + step));
    return _mm256_mask_set1_epi64(v, 8, z_point(fours, i + step + 8));
}

/* Those points, then those that come more behind them; 1 is added to weights. */
static DOT_INLINE __m512i z_points_apart(const uint64_t *fours, int i, int step, int more)
{
    const __m512i v = _mm512_inserti64x4(_mm512_castsi256_si512(z_four_apart(fours, i, step)),
                                         z_four_apart(fours, i + more, step), 1);

    return _mm512_sub_epi8(v, z_set1(-1));
}

/* 32 words through memory, and four at a time out of it: words one by one would come later. */
static DOT_INLINE void z_fours_of(uint64_t *restrict fours, __m512i words)
{
    _Alignas(64) uint64_t all[8];

    z_put_words(all, words);
    for (int i = 0; i < 8; i++)
        fours[i] = ((const volatile uint64_t *)all)[i];
}

/* 256 inputs in the order of points, and their sums times -7 and -9. */
struct z_less {
    __m512i in[4];
    __m512i seven, nine;
};

/* 128 inputs by eights: even ones of the two halves by turns, then odd ones. */
static DOT_INLINE void z_halves_of(__m512i *restrict v, const int8_t *x)
{
    v[0] = _mm512_unpacklo_epi64(z_load64(x), z_load64(x + 64));
    v[1] = _mm512_unpackhi_epi64(z_load64(x), z_load64(x + 64));
}

static DOT_INLINE void iq1_s_inputs(struct z_less *restrict o, const struct x256 *x)
{
    const __m512i back = z_twice32(x->back_32);
    const __m512i eight = _mm512_srai_epi32(back, 4), one = _mm512_srai_epi32(back, 7);
    __m512i v[4];

    z_halves_of(v, x->q);
    z_halves_of(v + 2, x->q + 128);
#pragma GCC unroll 2
    for (int k = 0; k < 2; k++) {
        o->in[k] = _mm512_shuffle_i64x2(v[k], v[2 + k], 0x88);
        o->in[2 + k] = _mm512_shuffle_i64x2(v[k], v[2 + k], 0xdd);
    }
    o->seven = _mm512_sub_epi32(eight, one);
    o->nine = _mm512_add_epi32(eight, one);
}

#define OWN_iq1_s 1
static DOT_INLINE void iq1_s_four(__m512 (*restrict sum)[FEW], const struct iq1_s *const *b,
                                  const char *x, size_t x_bytes, int inputs)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 1, 5, 8, 12, 9, 13, 2, 6, 3, 7, 10, 14, 11, 15);
    struct z_less less[FEW];

    for (int i = 0; i < inputs; i++)
        iq1_s_inputs(&less[i], (const struct x256 *)(x + (size_t)i * x_bytes));
#pragma GCC unroll 2
    for (int k = 0; k < 2; k++) {
        const struct iq1_s *const *r = b + 2 * k;
        const __m256i h = _mm256_inserti128_si256(_mm256_castsi128_si256(z_load16(r[0]->qh)),
                                                  z_load16(r[1]->qh), 1);
        const __m512i v = _mm512_and_si512(_mm512_srli_epi32(_mm512_cvtepu16_epi32(h), 11),
                                           _mm512_set1_epi32(14));
        const __m512i odd = _mm512_or_si512(v, _mm512_set1_epi32(1));
        const __m512 s = _mm512_mul_ps(_mm512_cvtepi32_ps(odd),
                                       z_pair8(_mm256_set1_ps(0.125f * bits_half(r[0]->d)),
                                               _mm256_set1_ps(0.125f * bits_half(r[1]->d))));
        const __mmask16 minus = _mm256_movepi16_mask(h);
        __m512i p[2][4];

#pragma GCC unroll 2
        for (int l = 0; l < 2; l++) {
            uint64_t word[8];
            __m512i unused;

            z_fours_of(word, iq1_s_points(r[l], &unused));
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++)
                p[l][j] = z_points_apart(word, j, 4, 16);
        }
        for (int i = 0; i < inputs; i++) {
            const struct x256 *xi = (const struct x256 *)(x + (size_t)i * x_bytes);
            const __m512 d = _mm512_broadcast_f32x8(_mm256_loadu_ps(xi->d));
            __m512i t = _mm512_setzero_si512(), t2 = t;

#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) {
                t = _mm512_dpbusd_epi32(t, p[0][j], less[i].in[j]);
                t2 = _mm512_dpbusd_epi32(t2, p[1][j], less[i].in[j]);
            }
            t = _mm512_madd_epi16(_mm512_packs_epi32(t, t2), _mm512_set1_epi16(8));
            t = _mm512_add_epi32(_mm512_permutexvar_epi32(order, t),
                                 _mm512_mask_blend_epi32(minus, less[i].seven, less[i].nine));
            sum[k][i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(t), _mm512_mul_ps(s, d), sum[k][i]);
        }
    }
}

/* Of parts in lane l of four registers, part 4 c + l being in the c-th: all in order. */
static inline __m512i z_parts_order(__m512i a)
{
    return _mm512_permutexvar_epi32(
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), a);
}

static DOT_INLINE void iq1_m_inputs(struct z_less *restrict o, const struct x256 *x)
{
    __m512i four[4]; // sums of four

#pragma GCC unroll 4
    for (int k = 0; k < 4; k++)
        four[k] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), z_set1(1), z_load64(x->q + 64 * k));
    const __m512i eights =
        z_parts_order(_mm512_packs_epi32(z_pairs(four[0], four[1]), z_pairs(four[2], four[3])));

    z_halves_of(o->in, x->q);
    z_halves_of(o->in + 2, x->q + 128);
    o->seven = _mm512_mullo_epi16(eights, _mm512_set1_epi16(-7));
    o->nine = _mm512_mullo_epi16(eights, _mm512_set1_epi16(-9));
}

#define OWN_iq1_m 1
static DOT_INLINE void iq1_m_four(__m512 (*restrict sum)[FEW], const struct iq1_m *const *b,
                                  const char *x, size_t x_bytes, int inputs)
{
    const __m512i one = _mm512_set1_epi16(1), zero = _mm512_setzero_si512();
    struct z_less less[FEW];

    for (int i = 0; i < inputs; i++)
        iq1_m_inputs(&less[i], (const struct x256 *)(x + (size_t)i * x_bytes));
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        const __m512 s = iq1_m_s(b[k]);
        uint64_t word[8];
        __mmask32 plus;
        __m512i p[4];

        z_fours_of(word, iq1_m_points(b[k], &plus));
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            p[j] = z_points_apart(word, j % 2 + j / 2 * 16, 2, 4);
        for (int i = 0; i < inputs; i++) {
            const struct x256 *xi = (const struct x256 *)(x + (size_t)i * x_bytes);
            const __m512 d = z_twice(_mm256_loadu_ps(xi->d));
            const __m512i *in = less[i].in;
            const __m512i t =
                _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(zero, p[0], in[0]), p[1], in[1]);
            const __m512i t2 =
                _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(zero, p[2], in[2]), p[3], in[3]);
            const __m512i parts =
                _mm512_madd_epi16(_mm512_packs_epi32(t, t2), _mm512_set1_epi16(8));
            const __m512i dot = _mm512_dpwssd_epi32(
                z_parts_order(parts), _mm512_mask_blend_epi16(plus, less[i].nine, less[i].seven),
                one);

            sum[k][i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_mul_ps(s, d), sum[k][i]);
        }
    }
}

#endif
