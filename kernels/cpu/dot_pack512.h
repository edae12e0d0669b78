/* dot_pack512.h - inputs to struct x256 with AVX-512: the bits of q8_block, and with one scale for
 * 256 of them (dot_one512.h). */
#ifndef RILL_KERNELS_CPU_DOT_PACK512_H
#define RILL_KERNELS_CPU_DOT_PACK512_H

/* 16 inputs as codes; adding 1.5 * 2^23 rounds to nearest, ties to even. */
static DOT_INLINE void z_codes16(int8_t *restrict q, __m512 x, __m512 inv)
{
    const __m512 magic = _mm512_set1_ps(12582912.0f);
    const __m512 t = _mm512_sub_ps(_mm512_add_ps(_mm512_mul_ps(x, inv), magic), magic);

    _mm_storeu_si128((__m128i *)q, _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(t)));
}

static DOT_INLINE __m512i z_magnitude(const float *x)
{
    return _mm512_and_si512(_mm512_loadu_si512(x), _mm512_set1_epi32(0x7fffffff));
}

/* q8_group of n inputs, a multiple of 16. */
static DOT_INLINE float z_group(const float *restrict x, int8_t *restrict q, int n)
{
    __m512i mag = z_magnitude(x);

    for (int i = 16; i < n; i += 16)
        mag = _mm512_max_epu32(mag, z_magnitude(x + i));
    const uint32_t top = _mm512_reduce_max_epu32(mag);
    const float high = f32_of_bits(top);

    if (unlikely(top >= 0x7f800000u || high < 0x1p-100f)) {
        memset(q, 0, (size_t)n);
        return top >= 0x7f800000u ? f32_of_bits(0x7fc00000u) : 0.0f;
    }
    const __m512 inv = _mm512_set1_ps(127.0f / high);

    for (int i = 0; i < n; i += 16)
        z_codes16(q + i, _mm512_loadu_ps(x + i), inv);
    return high / 127.0f;
}

/* What else there is to say of codes and scales. */
static inline void z_sums(struct x256 *restrict out)
{
    __m512i t[4], sum;
    __m256i sum2;
    const __m256 d = _mm256_loadu_ps(out->d);

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

static inline void z_block(const float *restrict x, struct x256 *restrict out)
{
    for (int g = 0; g < 8; g++)
        out->d[g] = z_group(x + 32 * g, out->q + 32 * g, 32);
    z_sums(out);
}

static inline void z_block_one(const float *restrict x, struct x256 *restrict out)
{
    _mm256_storeu_ps(out->d, _mm256_set1_ps(z_group(x, out->q, 256)));
    z_sums(out);
}

static void z_pack(const float *restrict x, int64_t n, void *restrict out)
{
    q8_pack_by(x, n, out, z_block);
}

static void z_pack_one(const float *restrict x, int64_t n, void *restrict out)
{
    q8_pack_by(x, n, out, z_block_one);
}

#endif
