/* vec.h - a vector of floats as wide as the instruction-set level has: 1, 4, 8 or 16 lanes.
 *
 * Kernels are written once over these functions; an isa_<level>.c instantiates them. With one lane
 * they are the definition. V_SCALAR forces one lane whatever the compiler's flags say. Every
 * function works lane by lane but v_sum and v_hmax, whose order is fixed for a width.
 */
#ifndef RILL_KERNELS_CPU_VEC_H
#define RILL_KERNELS_CPU_VEC_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "quant/half.h"

/* How functions are declared; a device compiler, which takes one lane, may have said otherwise, and
 * what its square root is (V_SQRT). */
#ifndef V_FN
#define V_FN static inline
#endif

#if !defined(V_SCALAR) && defined(__AVX512F__)

#include <immintrin.h>
#define V_N 16
typedef __m512 vf;

static inline __mmask16 v_mask(int n)
{
    return (__mmask16)((1u << n) - 1u);
}
static inline vf v_set(float x) { return _mm512_set1_ps(x); }
static inline vf v_load(const float *p) { return _mm512_loadu_ps(p); }
static inline vf v_load_n(const float *p, int n) { return _mm512_maskz_loadu_ps(v_mask(n), p); }
static inline void v_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
static inline void v_store_n(float *p, vf a, int n) { _mm512_mask_storeu_ps(p, v_mask(n), a); }
static inline vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static inline vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static inline vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static inline vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
static inline vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
static inline vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }
static inline vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
static inline vf v_lt(vf a, vf b, vf yes, vf no)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}
static inline vf v_abs(vf a) { return _mm512_abs_ps(a); }
static inline vf v_sqrt(vf a) { return _mm512_sqrt_ps(a); }
static inline vf v_sign(vf mag, vf sign)
{
    __m512i s = _mm512_and_si512(_mm512_castps_si512(sign), _mm512_set1_epi32((int)0x80000000));
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(mag), s));
}
static inline vf v_round(vf a) { return _mm512_roundscale_ps(a, 8); }
static inline vf v_exp2i(vf a, vf n)
{
    __m512i e = _mm512_slli_epi32(_mm512_cvtps_epi32(n), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), e));
}
static inline float v_sum(vf a)
{
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
static inline float v_hmax(vf a) { return _mm512_reduce_max_ps(a); }
static inline vf v_load_h(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
static inline vf v_load_h_n(const uint16_t *p, int n)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(v_mask(n), p));
}
/* Of four bytes a lane the i-th, as a number: signed; its low or high four bits less 8. */
static inline vf v_byte(const uint8_t *p, int i)
{
    const __m512i x = _mm512_sllv_epi32(_mm512_loadu_si512(p), _mm512_set1_epi32(24 - 8 * i));

    return _mm512_cvtepi32_ps(_mm512_srai_epi32(x, 24));
}
static inline vf v_nibble(const uint8_t *p, int i, bool high)
{
    const __m512i by = _mm512_set1_epi32(8 * i + (high ? 4 : 0));
    const vf number = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);

    return _mm512_permutexvar_ps(_mm512_srlv_epi32(_mm512_loadu_si512(p), by), number);
}
static inline void v_store_h(uint16_t *p, vf a)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a, 8));
}

#elif !defined(V_SCALAR) && defined(__AVX2__)

#include <immintrin.h>
#define V_N 8
typedef __m256 vf;

static inline __m256i v_mask(int n)
{
    static const int32_t lanes[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
    return _mm256_loadu_si256((const __m256i *)(lanes + 8 - n));
}
static inline vf v_set(float x) { return _mm256_set1_ps(x); }
static inline vf v_load(const float *p) { return _mm256_loadu_ps(p); }
static inline vf v_load_n(const float *p, int n) { return _mm256_maskload_ps(p, v_mask(n)); }
static inline void v_store(float *p, vf a) { _mm256_storeu_ps(p, a); }
static inline void v_store_n(float *p, vf a, int n) { _mm256_maskstore_ps(p, v_mask(n), a); }
static inline vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
static inline vf v_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
static inline vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
static inline vf v_div(vf a, vf b) { return _mm256_div_ps(a, b); }
static inline vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
static inline vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }
static inline vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }
static inline vf v_lt(vf a, vf b, vf yes, vf no)
{
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
static inline vf v_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
static inline vf v_sqrt(vf a) { return _mm256_sqrt_ps(a); }
static inline vf v_sign(vf mag, vf sign)
{
    return _mm256_or_ps(mag, _mm256_and_ps(_mm256_set1_ps(-0.0f), sign));
}
static inline vf v_round(vf a) { return _mm256_round_ps(a, 8); }
static inline vf v_exp2i(vf a, vf n)
{
    __m256i e = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), e));
}
static inline float v_sum(vf a)
{
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}
static inline float v_hmax(vf a)
{
    __m128 q = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    q = _mm_max_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_max_ss(q, _mm_movehdup_ps(q)));
}
static inline vf v_load_h(const uint16_t *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
static inline vf v_byte(const uint8_t *p, int i)
{
    const __m256i x = _mm256_loadu_si256((const __m256i *)p), by = _mm256_set1_epi32(24 - 8 * i);

    return _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_sllv_epi32(x, by), 24));
}
static inline vf v_nibble(const uint8_t *p, int i, bool high)
{
    const __m256i x = _mm256_loadu_si256((const __m256i *)p);
    const __m256i by = _mm256_set1_epi32(8 * i + (high ? 4 : 0));
    const __m256i q = _mm256_and_si256(_mm256_srlv_epi32(x, by), _mm256_set1_epi32(15));

    return _mm256_cvtepi32_ps(_mm256_sub_epi32(q, _mm256_set1_epi32(8)));
}
static inline vf v_load_h_n(const uint16_t *p, int n)
{
    uint16_t t[8] = {0};
    memcpy(t, p, (size_t)n * sizeof *p);
    return v_load_h(t);
}
static inline void v_store_h(uint16_t *p, vf a)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(a, 8));
}

#elif !defined(V_SCALAR) && defined(__ARM_NEON) && defined(__aarch64__)

#include <arm_neon.h>
#define V_N 4
typedef float32x4_t vf;

static inline vf v_set(float x) { return vdupq_n_f32(x); }
static inline vf v_load(const float *p) { return vld1q_f32(p); }
static inline vf v_load_n(const float *p, int n)
{
    float t[4] = {0};
    memcpy(t, p, (size_t)n * sizeof *p);
    return vld1q_f32(t);
}
static inline void v_store(float *p, vf a) { vst1q_f32(p, a); }
static inline void v_store_n(float *p, vf a, int n)
{
    float t[4];
    vst1q_f32(t, a);
    memcpy(p, t, (size_t)n * sizeof *p);
}
static inline vf v_add(vf a, vf b) { return vaddq_f32(a, b); }
static inline vf v_sub(vf a, vf b) { return vsubq_f32(a, b); }
static inline vf v_mul(vf a, vf b) { return vmulq_f32(a, b); }
static inline vf v_div(vf a, vf b) { return vdivq_f32(a, b); }
static inline vf v_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
static inline vf v_min(vf a, vf b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
static inline vf v_max(vf a, vf b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
static inline vf v_lt(vf a, vf b, vf yes, vf no) { return vbslq_f32(vcltq_f32(a, b), yes, no); }
static inline vf v_abs(vf a) { return vabsq_f32(a); }
static inline vf v_sqrt(vf a) { return vsqrtq_f32(a); }
static inline vf v_sign(vf mag, vf sign)
{
    return vbslq_f32(vdupq_n_u32(0x80000000u), sign, mag);
}
static inline vf v_round(vf a) { return vrndnq_f32(a); }
static inline vf v_exp2i(vf a, vf n)
{
    int32x4_t e = vshlq_n_s32(vcvtnq_s32_f32(n), 23);
    return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(a), e));
}
static inline float v_sum(vf a)
{
    float32x2_t h = vadd_f32(vget_low_f32(a), vget_high_f32(a));
    return vget_lane_f32(h, 0) + vget_lane_f32(h, 1);
}
static inline float v_hmax(vf a) { return vmaxvq_f32(a); }
static inline vf v_load_h(const uint16_t *p)
{
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
static inline vf v_byte(const uint8_t *p, int i)
{
    const float t[4] = {(int8_t)p[i], (int8_t)p[4 + i], (int8_t)p[8 + i], (int8_t)p[12 + i]};
    return vld1q_f32(t);
}
static inline vf v_nibble(const uint8_t *p, int i, bool high)
{
    float t[4];

    for (int k = 0; k < 4; k++)
        t[k] = (float)((high ? p[4 * k + i] >> 4 : p[4 * k + i] & 15) - 8);
    return vld1q_f32(t);
}
static inline vf v_load_h_n(const uint16_t *p, int n)
{
    uint16_t t[4] = {0};
    memcpy(t, p, (size_t)n * sizeof *p);
    return v_load_h(t);
}
static inline void v_store_h(uint16_t *p, vf a)
{
    vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(a)));
}

#else

#define V_N 1
typedef float vf;

V_FN vf v_set(float x) { return x; }
V_FN vf v_load(const float *p) { return *p; }
V_FN void v_store(float *p, vf a) { *p = a; }
V_FN vf v_load_n(const float *p, int n) { return n > 0 ? *p : 0.0f; }
V_FN void v_store_n(float *p, vf a, int n)
{
    if (n > 0)
        *p = a;
}
V_FN vf v_add(vf a, vf b) { return a + b; }
V_FN vf v_sub(vf a, vf b) { return a - b; }
V_FN vf v_mul(vf a, vf b) { return a * b; }
V_FN vf v_div(vf a, vf b) { return a / b; }
V_FN vf v_fma(vf a, vf b, vf c) { return a * b + c; }
V_FN vf v_min(vf a, vf b) { return a < b ? a : b; } // b when one is not a number
V_FN vf v_max(vf a, vf b) { return a > b ? a : b; }
V_FN vf v_lt(vf a, vf b, vf yes, vf no) { return a < b ? yes : no; }
V_FN vf v_abs(vf a) { return f32_of_bits(f32_bits(a) & 0x7fffffffu); }
V_FN vf v_sign(vf mag, vf sign)
{
    return f32_of_bits(f32_bits(mag) | (f32_bits(sign) & 0x80000000u));
}
/* Nearest integer, ties to even, for |a| < 2^22: the sum leaves no place for a fraction. */
V_FN vf v_round(vf a) { return a + 12582912.0f - 12582912.0f; }
V_FN vf v_exp2i(vf a, vf n)
{
    uint32_t whole = f32_bits(n + 12582912.0f); // n, in the low bits; not a number stays one below
    return n == n ? f32_of_bits(f32_bits(a) + (whole << 23)) : n;
}
V_FN float v_sum(vf a) { return a; }
V_FN float v_hmax(vf a) { return a; }
V_FN vf v_byte(const uint8_t *p, int i) { return (float)(int8_t)p[i]; }
V_FN vf v_nibble(const uint8_t *p, int i, int high)
{
    return (float)((high ? p[i] >> 4 : p[i] & 15) - 8);
}
V_FN vf v_load_h(const uint16_t *p) { return f16_to_f32(*p); }
V_FN vf v_load_h_n(const uint16_t *p, int n) { return n > 0 ? f16_to_f32(*p) : 0.0f; }
V_FN void v_store_h(uint16_t *p, vf a) { *p = f32_to_f16(a); }

#endif

/* Neighbours change places: 1 0 3 2 ... (two lanes at least). */
#if V_N == 16
static inline vf v_swap(vf a) { return _mm512_permute_ps(a, 0xb1); }
#elif V_N == 8
static inline vf v_swap(vf a) { return _mm256_permute_ps(a, 0xb1); }
#elif V_N == 4
static inline vf v_swap(vf a) { return vrev64q_f32(a); }
#endif

#if defined(V_SQRT)
V_FN float f_sqrt(float x) { return V_SQRT(x); }
#elif defined(__SSE2__)
#include <emmintrin.h>
static inline float f_sqrt(float x) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))); }
#else
static inline float f_sqrt(float x) { return __builtin_sqrtf(x); }
#endif

/* for (V_EACH(i, n)): i goes over [0, n) in steps of the width. v_at and v_put touch what is left
 * of n at i, if that is less; lanes beyond are 0. */
#define V_EACH(i, n) int i = 0; i < (n); i += V_N

V_FN vf v_at(const float *p, int i, int n)
{
    return i + V_N <= n ? v_load(p + i) : v_load_n(p + i, n - i);
}
V_FN void v_put(float *p, int i, int n, vf a)
{
    if (i + V_N <= n)
        v_store(p + i, a);
    else
        v_store_n(p + i, a, n - i);
}

#endif
