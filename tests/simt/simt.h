/* simt.h - the words of CUDA that the kernels use, on the host.
 *
 * A block's threads are fibers of one thread. They run in a seeded, changing order until they meet:
 * at __syncthreads() all threads of the block must arrive, at an exchange of a warp all its lanes;
 * one that is missing ends the program with a sentence. Shared memory is poisoned when a block
 * begins and has marks behind it. This proves indexing, barriers and masks; not races between
 * blocks, which run one after the other, or in turns where they wait for each other.
 */
#ifndef RILL_TESTS_SIMT_H
#define RILL_TESTS_SIMT_H

#include <math.h>
#include <stdint.h>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__
#define __launch_bounds__(...)
#define __grid_constant__

struct simt_dim {
    uint32_t x, y, z;
};
struct simt_place {
    struct simt_dim thread, block, block_dim, grid;
};
struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};
struct alignas(8) uint2 {
    uint32_t x, y;
};
struct alignas(16) int4 {
    int32_t x, y, z, w;
};
struct alignas(16) float4 {
    float x, y, z, w;
};

extern struct simt_place simt_now; // the thread that is running
#define threadIdx (simt_now.thread)
#define blockIdx  (simt_now.block)
#define blockDim  (simt_now.block_dim)
#define gridDim   (simt_now.grid)

enum simt_meet {
    MEET_BLOCK,
    MEET_WARP,
    MEET_SUM,
    MEET_MAX,
    MEET_SUM_INT,
    MEET_MAX_INT,
    MEET_CHAINS,
    MEET_QUAD,
    MEET_SAME,
    MEET_LOAD,
    MEET_MMA,
    MEET_SPIN // nobody: another block may have changed memory when this returns
};
struct simt_word {
    float f = 0.0f;
    int i = 0;
    /* MEET_SUM: i numbers instead of f, each added for itself; MEET_CHAINS: to them are added those
     * of `add` of as many lanes as width says, in order */
    float *sums = nullptr;
    const float *add = nullptr;
    int width = 0;
    /* MEET_MMA: the lane's parts of the matrices (ptx.cuh); i columns of A at once, 0: 16 of bf16,
     * 1: of f16. MEET_LOAD: to c from a, i matrices, turned where width is 1 */
    void *c = nullptr;
    const void *a = nullptr, *b = nullptr;
};
char *simt_shared(void);
struct simt_word simt_meet(enum simt_meet what, struct simt_word mine);

static inline char *shared_memory(void)
{
    return simt_shared();
}

static inline void grid_wait(void)
{
}

/* Loads must be aligned as on a device. */
template <class T> static inline T simt_load(const void *p)
{
    if ((uintptr_t)p % sizeof(T))
        __builtin_trap();
    return *(const T *)p;
}

static inline uint4 stream_16(const void *p)
{
    return simt_load<uint4>(p);
}

static inline uint2 stream_8(const void *p)
{
    return simt_load<uint2>(p);
}

static inline uint32_t stream_4(const void *p)
{
    return simt_load<uint32_t>(p);
}

static inline uint32_t stream_2(const void *p)
{
    return simt_load<uint16_t>(p);
}

/* Copies happen when they are waited for, no sooner. */
void simt_copy(void *to, const void *from, uint32_t n, void *bar); // bar NULL: of the thread
void simt_copies_group(void);
void simt_copies_wait(int left);
void simt_bulk_open(void *bar);
void simt_bulk_expect(void *bar, uint32_t bytes);
void simt_bulk_wait(void *bar, uint32_t turn);

static inline void copy_16(void *to, const void *from)
{
    simt_copy(to, from, 16, nullptr);
}

static inline void copy_16_or_zeros(void *to, const void *from, bool there)
{
    alignas(16) static const char zeros[16] = {0};

    simt_copy(to, there ? from : zeros, 16, nullptr);
}

static inline void copies_group(void)
{
    simt_copies_group();
}

template <int N> static inline void copies_wait(void)
{
    simt_copies_wait(N);
}

static inline void bulk_open(uint64_t *bar)
{
    simt_bulk_open(bar);
}

static inline void bulk_opened(void)
{
}

static inline void bulk_expect(uint64_t *bar, uint32_t bytes)
{
    simt_bulk_expect(bar, bytes);
}

static inline void bulk_copy(void *to, const void *from, uint32_t bytes, uint64_t *bar)
{
    simt_copy(to, from, bytes, bar);
}

static inline void bulk_wait(uint64_t *bar, uint32_t turn)
{
    simt_bulk_wait(bar, turn);
}

/* Counters that other blocks of the launch raise. */
static inline void raise_count(uint32_t *p)
{
    ++*p;
}

static inline void wait_count(const uint32_t *p, uint32_t want)
{
    while ((int32_t)(*(const volatile uint32_t *)p - want) < 0)
        simt_meet(MEET_SPIN, simt_word{});
}

/* Words that the host reads while a launch runs: a test may do so, too. */
extern "C" void (*simt_told)(int32_t *p);

static inline void tell_host(int32_t *p, int32_t v)
{
    *p = v;
    if (simt_told)
        simt_told(p);
}

static inline int32_t host_said(const int32_t *p)
{
    return *p;
}

static inline uint32_t byte_perm(uint32_t low, uint32_t high, uint32_t pick)
{
    const uint64_t from = low | (uint64_t)high << 32;
    uint32_t w = 0;

    for (int i = 0; i < 4; i++)
        w |= (uint32_t)(from >> (pick >> 4 * i & 7) * 8 & 0xff) << 8 * i;
    return w;
}

static inline void prefetch_l2(const void *p)
{
    (void)*(const volatile char *)p; // must be there
}

static inline void __syncthreads(void)
{
    simt_meet(MEET_BLOCK, simt_word{});
}

static inline void __syncwarp(void)
{
    simt_meet(MEET_WARP, simt_word{});
}

static inline float warp_sum(float x)
{
    return simt_meet(MEET_SUM, simt_word{x, 0, nullptr}).f;
}

template <int N> static inline void warp_sums(float *x, int n)
{
    simt_meet(MEET_SUM, simt_word{0.0f, n, x});
}

template <int N, int W> static inline void warp_chains(float *sum, const float *x, int n)
{
    simt_meet(MEET_CHAINS, simt_word{0.0f, n, sum, x, W});
}

static inline void mma_s8_k32(int *c, const int *a, const int *b)
{
    simt_meet(MEET_MMA, simt_word{0.0f, 32, nullptr, nullptr, 0, c, a, b});
}

static inline void mma_s8_k16(int *c, const int *a, const int *b)
{
    simt_meet(MEET_MMA, simt_word{0.0f, 16, nullptr, nullptr, 0, c, a, b});
}

static inline void mma_bf16(float *c, const uint32_t *a, const uint32_t *b)
{
    simt_meet(MEET_MMA, simt_word{0.0f, 0, nullptr, nullptr, 0, c, a, b});
}

static inline void mma_f16(float *c, const uint32_t *a, const uint32_t *b)
{
    simt_meet(MEET_MMA, simt_word{0.0f, 1, nullptr, nullptr, 0, c, a, b});
}

template <int N, bool TURNED> static inline void load_8x8(uint32_t *w, const void *row)
{
    simt_meet(MEET_LOAD, simt_word{0.0f, N, nullptr, nullptr, TURNED, w, row, nullptr});
}

static inline float quad_max(float x)
{
    return simt_meet(MEET_QUAD, simt_word{x, 0, nullptr}).f;
}

template <class T> static inline T load_new(const T *p)
{
    return *p;
}

/* Blocks run one after the other. */
static inline bool last_of(int32_t *ticket, int32_t n, int32_t *keep)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        *keep = ++*ticket == n;
        *ticket = *keep ? 0 : *ticket;
    }
    __syncthreads();
    return *keep != 0;
}

static inline float warp_max(float x)
{
    return simt_meet(MEET_MAX, simt_word{x, 0, nullptr}).f;
}

static inline int warp_sum_int(int x)
{
    return simt_meet(MEET_SUM_INT, simt_word{0.0f, x, nullptr}).i;
}

static inline int warp_max_int(int x)
{
    return simt_meet(MEET_MAX_INT, simt_word{0.0f, x, nullptr}).i;
}

static inline uint32_t warp_same(int x)
{
    return (uint32_t)simt_meet(MEET_SAME, simt_word{0.0f, x, nullptr}).i;
}

static inline void count_one(int32_t *n)
{
    ++*n;
}

static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}

static inline int32_t min(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static inline int32_t max(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

static inline float fma_(float a, float b, float c)
{
    return fmaf(a, b, c);
}

static inline int __clz(int x)
{
    return __builtin_clz((unsigned)x);
}

static inline int dot4(int a, int b, int c)
{
    for (int k = 0; k < 32; k += 8)
        c += (int8_t)(a >> k) * (int8_t)(b >> k);
    return c;
}

#endif
