/* dot_lists.h - what dot_lists256.h and dot_lists512.h share: numbers of signs, and scales, which
 * take no more than 256 bits on either level.
 */
#ifndef RILL_KERNELS_CPU_DOT_LISTS_H
#define RILL_KERNELS_CPU_DOT_LISTS_H

/* -- signs -- */

/* Bytes of sign numbers of 7 bits: the eighth makes their sum even. */
static inline __m256i list_even_signs(__m256i n)
{
    const __m256i odd = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0));
    const __m256i both =
        _mm256_and_si256(_mm256_xor_si256(n, _mm256_srli_epi16(n, 4)), _mm256_set1_epi8(15));

    return _mm256_or_si256(n, _mm256_shuffle_epi8(odd, both));
}

/* Four numbers of 7 bits in each of eight words, to bytes. */
static inline __m256i list_sevens(__m256i w)
{
    __m256i n = _mm256_and_si256(w, _mm256_set1_epi32(0x7f));

    n = _mm256_or_si256(n, _mm256_and_si256(_mm256_slli_epi32(w, 1), _mm256_set1_epi32(0x7f00)));
    n = _mm256_or_si256(n, _mm256_and_si256(_mm256_slli_epi32(w, 2), _mm256_set1_epi32(0x7f0000)));
    return _mm256_or_si256(
        n, _mm256_and_si256(_mm256_slli_epi32(w, 3), _mm256_set1_epi32(0x7f000000)));
}

/* -- scales -- */

/* Eight words' top four bits v: (0.5 + v) * d, which f32 holds exactly. */
static inline __m256 list_top_scales(__m256i w, float d)
{
    const __m256i odd = _mm256_or_si256(_mm256_srli_epi32(w, 27), _mm256_set1_epi32(1));

    return _mm256_mul_ps(_mm256_cvtepi32_ps(odd), _mm256_set1_ps(0.5f * d));
}

/* Of sixteen 4-bit scales of 8 bytes: 1 + 2 * scale. */
static inline __m128i list_half_scales(const uint8_t *p)
{
    const __m128i bytes = _mm_loadl_epi64((const __m128i *)p);
    const __m128i both = _mm_unpacklo_epi8(_mm_slli_epi16(bytes, 4), bytes);

    return _mm_or_si128(_mm_and_si128(_mm_srli_epi16(both, 3), _mm_set1_epi8(30)),
                        _mm_set1_epi8(1));
}

static inline __m256 iq3_s_s(const struct iq3_s *b)
{
    const __m256i l = _mm256_srlv_epi32(_mm256_set1_epi32((int)bits_u32(b->scales)),
                                        _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
    const __m256i v = _mm256_and_si256(l, _mm256_set1_epi32(15));
    const __m256i odd = _mm256_add_epi32(_mm256_add_epi32(v, v), _mm256_set1_epi32(1));

    return _mm256_mul_ps(_mm256_cvtepi32_ps(odd), _mm256_set1_ps(bits_half(b->d)));
}

static inline __m256 iq1_s_s(const struct iq1_s *b)
{
    const __m256i h = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)b->qh));
    const __m256i v = _mm256_and_si256(_mm256_srli_epi32(h, 11), _mm256_set1_epi32(14));
    const __m256i odd = _mm256_or_si256(v, _mm256_set1_epi32(1));

    return _mm256_mul_ps(_mm256_cvtepi32_ps(odd), _mm256_set1_ps(0.125f * bits_half(b->d)));
}

/* Of its sixteen 3-bit scales, 1 + 2 * scale; *d: the factor of all. */
static inline __m128i list_iq1_m_scales(const struct iq1_m *b, float *d)
{
    const uint64_t all = bits_u64(b->scales), twelve = _pext_u64(all, 0x0fff0fff0fff0fffull);
    const uint64_t three = 0x0e0e0e0e0e0e0e0eull;
    const __m128i bytes = _mm_set_epi64x((long long)_pdep_u64(twelve >> 24, three),
                                         (long long)_pdep_u64(twelve, three));

    *d = bits_half((uint16_t)_pext_u64(all, 0xf000f000f000f000ull));
    return _mm_or_si128(bytes, _mm_set1_epi8(1));
}

#endif
