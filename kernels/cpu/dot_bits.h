/* dot_bits.h - small things the unpackers of every x86 level need: words out of blocks, scales and
 * signs as bytes, values of codes.
 */
#ifndef RILL_KERNELS_CPU_DOT_BITS_H
#define RILL_KERNELS_CPU_DOT_BITS_H

#include <immintrin.h>

static inline uint64_t bits_u64(const void *p)
{
    uint64_t v;

    memcpy(&v, p, 8);
    return v;
}

static inline uint32_t bits_u32(const void *p)
{
    uint32_t v;

    memcpy(&v, p, 4);
    return v;
}

static inline float bits_half(uint16_t h)
{
    return _cvtsh_ss(h);
}

/* The scales and mins of k_scales.h as bytes. */
static inline uint64_t bits_k_scales(const uint8_t *p)
{
    const uint32_t a = bits_u32(p), c = bits_u32(p + 8);
    const uint32_t high = (c & 0x0f0f0f0fu) | (a >> 2 & 0x30303030u);

    return (a & 0x3f3f3f3fu) | (uint64_t)high << 32;
}

static inline uint64_t bits_k_mins(const uint8_t *p)
{
    const uint32_t a = bits_u32(p + 4), c = bits_u32(p + 8);
    const uint32_t high = (c >> 4 & 0x0f0f0f0fu) | (a >> 2 & 0x30303030u);

    return (a & 0x3f3f3f3fu) | (uint64_t)high << 32;
}

/* The 16 values that e2m1_doubled has. */
static inline __m128i bits_e2m1(void)
{
    return _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
}

/* Sign numbers of 7 bits, four in each 32-bit word, to eight bytes of signs (iq_signs). */
static inline uint64_t bits_signs(uint32_t a, uint32_t b)
{
    const uint64_t seven = 0x7f7f7f7f7f7f7f7full;
    const uint64_t n = _pdep_u64((uint64_t)(a & 0xfffffffu) | (uint64_t)b << 28, seven);
    uint64_t odd = n ^ n >> 4;

    odd ^= odd >> 2;
    odd ^= odd >> 1;
    return n | (odd & 0x0101010101010101ull) << 7;
}

/* -- what comes next from memory -- */

/* Rows that will be unpacked next. They are asked for line by line while products are under way, or
 * memory would rest meanwhile. */
struct ahead {
    uintptr_t at;       // it may lie behind the matrix, where asking does nothing
    int64_t left, some; // bytes; to ask for at a time
    int64_t due;        // of those not asked for yet, as lines are asked for whole
};

/* Bytes behind at, to be asked for in so many calls. */
static inline struct ahead ahead_of(const void *w, size_t at, int64_t bytes, int64_t calls)
{
    return (struct ahead){(uintptr_t)w + at, bytes, (bytes + calls - 1) / calls, 0};
}

static inline void ahead_ask(struct ahead *a)
{
    for (a->due += a->some; a->due > 0 && a->left > 0; a->due -= 64, a->at += 64, a->left -= 64)
        _mm_prefetch((const char *)a->at, _MM_HINT_T1);
}

#endif
