/* dot_pack512.h - inputs to struct x256 with AVX-512: the bits of q8_block. */
#ifndef RILL_KERNELS_CPU_DOT_PACK512_H
#define RILL_KERNELS_CPU_DOT_PACK512_H

/* 16 inputs as codes; adding 1.5 * 2^23 rounds to nearest, ties to even. */
static DOT_INLINE void z_codes16(int8_t *restrict q, __m512 x, __m512 inv)
{
    const __m512 magic = _mm512_set1_ps(12582912.0f);
    const __m512 t = _mm512_sub_ps(_mm512_add_ps(_mm512_mul_ps(x, inv), magic), magic);

    _mm_storeu_si128((__m128i *)q, _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(t)));
}

/* q8_group */
static DOT_INLINE float z_group(const float *restrict x, int8_t *restrict q)
{
    const __m512i mag = _mm512_set1_epi32(0x7fffffff);
    const __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + 16);
    const uint32_t top =
        _mm512_reduce_max_epu32(_mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(a), mag),
                                                 _mm512_and_si512(_mm512_castps_si512(b), mag)));
    const float high = f32_of_bits(top);
    __m512 inv;

    if (unlikely(top >= 0x7f800000u || high < 0x1p-100f)) {
        memset(q, 0, 32);
        return top >= 0x7f800000u ? f32_of_bits(0x7fc00000u) : 0.0f;
    }
    inv = _mm512_set1_ps(127.0f / high);
    z_codes16(q, a, inv);
    z_codes16(q + 16, b, inv);
    return high / 127.0f;
}

static inline void z_block(const float *restrict x, struct x256 *restrict out)
{
    __m512i t[4], sum;
    __m256i sum2;
    __m256 d;

    for (int g = 0; g < 8; g++)
        out->d[g] = z_group(x + 32 * g, out->q + 32 * g);
    d = _mm256_loadu_ps(out->d);
    for (int c = 0; c < 4; c++)
        t[c] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), z_set1(1), z_load64(out->q + 64 * c));
    sum = z_parts_16(t, 1);
    sum2 = _mm512_cvtepi64_epi32(_mm512_add_epi32(sum, _mm512_srli_epi64(sum, 32)));
    _mm256_storeu_ps(out->sum_32, _mm256_mul_ps(d, _mm256_cvtepi32_ps(sum2)));
    _mm512_storeu_ps(out->sum_16, _mm512_mul_ps(z_twice(d), _mm512_cvtepi32_ps(sum)));
    _mm256_storeu_si256((__m256i *)out->back_32,
                        _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32(sum2, 7)));
    _mm512_storeu_si512(out->back_16,
                        _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(sum, 7)));
    _mm256_storeu_si256((__m256i *)out->sum, _mm512_cvtepi32_epi16(sum));
}

static void z_pack(const float *restrict x, int64_t n, void *restrict out)
{
    q8_pack_by(x, n, out, z_block);
}

#endif
