/* tile.h - the few operations on tiles that kernels use, by the tile unit or by plain loops.
 *
 * Eight tiles of 16 rows of 64 bytes. In tile_dot(c, a, b), a has 32 columns of bf16 in each of 16
 * rows; b has, in row k, columns 2 k and 2 k + 1 of 16 others side by side; the sums, c, are f32,
 * a's rows times b's. Two chains of fused multiply-adds from zero, over even and over odd columns,
 * are added, then added to the sum; numbers below the normal ones count as zero. That is
 * what TDPBF16PS does (measured: no other bit in millions), and what the loops here do, under
 * thread_ftz. TILE_EMULATED picks the loops.
 *
 * Without a unit for tiles (TILE_PAIRS) they stay in memory, and tile_pairs multiplies a row of a
 * tile of weights: odd columns, then even ones, are fused to the sums. So Intel's manual describes
 * VDPBF16PS.
 */
#ifndef RILL_KERNELS_CPU_TILE_H
#define RILL_KERNELS_CPU_TILE_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

/* What functions that use tiles begin with, unless their caller gives them its tile_file_. */
#define TILE_OPEN                                                                                  \
    struct tile_file tile_memory_, *tile_file_ = &tile_memory_;                                    \
    (void)tile_file_

#define TILE_ROWS  16
#define TILE_COLS  32 // bf16 columns of a tile
#define TILE_BYTES 1024

#ifdef TILE_EMULATED

static inline __m512 tile_odd(__m512i pairs)
{
    return _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32((int)0xffff0000)));
}

static inline __m512 tile_even(__m512i pairs)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
}

#ifdef TILE_PAIRS

#define TILE_LEVEL "avx512-bf16-emulated"

static inline __m512 tile_pairs(__m512 sum, __m512i w, __m512i x)
{
    sum = _mm512_fmadd_ps(tile_odd(w), tile_odd(x), sum);
    return _mm512_fmadd_ps(tile_even(w), tile_even(x), sum);
}

#else

#define TILE_LEVEL "amx-emulated"

struct tile_file {
    _Alignas(64) uint8_t t[8][TILE_BYTES];
};

static inline void tile_take(uint8_t *t, const void *p, size_t stride)
{
    for (size_t r = 0; r < TILE_ROWS; r++)
        memcpy(t + 64 * r, (const char *)p + r * stride, 64);
}

static inline void tile_put(const uint8_t *t, void *p, size_t stride)
{
    for (size_t r = 0; r < TILE_ROWS; r++)
        memcpy((char *)p + r * stride, t + 64 * r, 64);
}

static inline void tile_multiply(uint8_t *c, const uint8_t *a, const uint8_t *b)
{
    for (int m = 0; m < TILE_ROWS; m++) {
        __m512 even = _mm512_setzero_ps(), odd = even, sum = _mm512_load_ps(c + 64 * m);

        for (int k = 0; k < TILE_COLS / 2; k++) {
            uint32_t pair;
            memcpy(&pair, a + 64 * m + 4 * k, 4);
            const __m512i x = _mm512_set1_epi32((int)pair), w = _mm512_load_si512(b + 64 * k);

            even = _mm512_fmadd_ps(tile_even(x), tile_even(w), even);
            odd = _mm512_fmadd_ps(tile_odd(x), tile_odd(w), odd);
        }
        _mm512_store_ps(c + 64 * m, _mm512_add_ps(sum, _mm512_add_ps(even, odd)));
    }
}

#define tile_load(n, p, stride)      tile_take(tile_file_->t[n], p, stride)
#define tile_load_once(n, p, stride) tile_load(n, p, stride)
#define tile_store(n, p, stride)     tile_put(tile_file_->t[n], p, stride)
#define tile_zero(n)                 memset(tile_file_->t[n], 0, TILE_BYTES)
#define tile_dot(c, a, b) \
    tile_multiply(tile_file_->t[c], tile_file_->t[a], tile_file_->t[b])

#endif

#define tile_begin() ((void)0)
#define tile_fence() ((void)0)

/* Nearest bf16, ties to even, as the low half of each lane; too small to be normal: zero. */
static inline __m512i tile_round1(__m512 v)
{
    const __m512i b = _mm512_castps_si512(v), one = _mm512_set1_epi32(1);
    const __m512i up = _mm512_add_epi32(_mm512_set1_epi32(0x7fff),
                                        _mm512_and_si512(_mm512_srli_epi32(b, 16), one));
    const __m512i r = _mm512_srli_epi32(_mm512_add_epi32(b, up), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    const __mmask16 normal = _mm512_test_epi32_mask(b, _mm512_set1_epi32(0x7f800000));

    return _mm512_mask_mov_epi32(_mm512_maskz_mov_epi32(normal, r), nan, _mm512_set1_epi32(0x7fc0));
}

static inline __m512i tile_round2(__m512 even, __m512 odd)
{
    return _mm512_or_si512(tile_round1(even), _mm512_slli_epi32(tile_round1(odd), 16));
}

/* 16 numbers, then 16 more, side by side. */
static inline __m512i tile_round32(__m512 a, __m512 b)
{
    const __m256i low = _mm512_cvtepi32_epi16(tile_round1(a));

    return _mm512_inserti64x4(_mm512_castsi256_si512(low), _mm512_cvtepi32_epi16(tile_round1(b)),
                              1);
}

#else

#ifdef TILE_PAIRS

#define TILE_LEVEL   "avx512-bf16"
#define tile_begin() ((void)0)

static inline __m512 tile_pairs(__m512 sum, __m512i w, __m512i x)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)w, (__m512bh)x);
}

#else

#define TILE_LEVEL "amx"

/* The configuration, once for many tiles: eight of 16 rows, 64 bytes each. In assembly because the
 * compilers' function does not say that all 64 bytes are read (gcc 12). */
struct tile_config {
    uint8_t palette, start, none[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};
_Static_assert(sizeof(struct tile_config) == 64, "layout of the tile configuration");

static inline void tile_begin(void)
{
    struct tile_config c = {.palette = 1};

    for (int t = 0; t < 8; t++) {
        c.row_bytes[t] = 64;
        c.rows[t] = TILE_ROWS;
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(c));
}

struct tile_file {
    char none;
};

/* The operations do not tell the compiler which memory they read: tile_fence() stands between what
 * is written and what tiles load of it. tile_load_once: of what need not stay in the first-level
 * cache. */
#define tile_load(n, p, stride)      _tile_loadd(n, p, stride)
#define tile_load_once(n, p, stride) _tile_stream_loadd(n, p, stride)
#define tile_store(n, p, stride)     _tile_stored(n, p, stride)
#define tile_zero(n)                 _tile_zero(n)
#define tile_dot(c, a, b)            _tile_dpbf16ps(c, a, b)

#endif

#define tile_fence() __asm__ volatile("" : : : "memory")

/* Even lanes' bf16 in the low, odd ones' in the high half of each lane. */
static inline __m512i tile_round2(__m512 even, __m512 odd)
{
    const __m512i order =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);

    return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(odd, even));
}

static inline __m512i tile_round32(__m512 a, __m512 b)
{
    return (__m512i)_mm512_cvtne2ps_pbh(b, a);
}

#endif

#endif
