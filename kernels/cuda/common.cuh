/* common.cuh - what every kernel file stands on.
 *
 * A kernel is a function of one structure, blocks are one-dimensional and whole warps, and shared
 * memory is one piece that the launch sized: shared_memory(). The same text is compiled by nvcc for
 * a device and by the host's compiler for tests/simt (RILL_SIMT; the words of CUDA come by
 * -include). Not a number, infinity and rounding are IEEE's: no contraction (-fmad=false), fused
 * only where fma_ says so.
 *
 * The sums over a warp are butterflies: one order of additions, the same in every lane.
 */
#ifndef RILL_KERNELS_CUDA_COMMON_CUH
#define RILL_KERNELS_CUDA_COMMON_CUH

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef RILL_SIMT
#define V_SQRT(x) sqrtf(x)
#else
#define V_SQRT(x) __fsqrt_rn(x)
#endif

#define DEVICE   static __device__ __forceinline__
#define APART    static __device__ __attribute__((noinline))
#define V_FN     static __device__ inline
#define FMT_FN   static __device__ inline
#define V_SCALAR 1

#ifndef RILL_SIMT // a device has instructions for these; only what is no number gets other bits
#define f16_to_f32  f16_to_f32_by_bits
#define f32_to_f16  f32_to_f16_by_bits
#define f32_to_bf16 f32_to_bf16_by_bits
#include "quant/half.h"
#undef f16_to_f32
#undef f32_to_f16
#undef f32_to_bf16
#endif

#include "kernels/cuda/ptx.cuh"

#include "kernels/cpu/fmath.h"
#include "kernels/cuda/kern.h"

#define WARP 32

#ifdef RILL_SIMT
DEVICE uint32_t two_f16(float low, float high)
{
    return f32_to_f16(low) | (uint32_t)f32_to_f16(high) << 16;
}

DEVICE uint32_t two_bf16(float low, float high)
{
    return f32_to_bf16(low) | (uint32_t)f32_to_bf16(high) << 16;
}

DEVICE uint32_t mul_f16x2(uint32_t a, uint32_t b)
{
    return two_f16(f16_to_f32((uint16_t)a) * f16_to_f32((uint16_t)b),
                   f16_to_f32((uint16_t)(a >> 16)) * f16_to_f32((uint16_t)(b >> 16)));
}

DEVICE uint32_t sub_f16x2(uint32_t a, uint32_t b)
{
    return two_f16(f16_to_f32((uint16_t)a) - f16_to_f32((uint16_t)b),
                   f16_to_f32((uint16_t)(a >> 16)) - f16_to_f32((uint16_t)(b >> 16)));
}

#define KERN_FN(fn)         NULL
#define KERN_CALL(fn, type) [](const void *a) { fn(*(const type *)a); }
#else
#define KERN_FN(fn)         (const void *)(fn)
#define KERN_CALL(fn, type) NULL

extern __shared__ __align__(16) char shared_bytes[];

DEVICE char *shared_memory(void)
{
    return shared_bytes;
}

DEVICE float fma_(float a, float b, float c)
{
    return __fmaf_rn(a, b, c);
}

DEVICE int dot4(int a, int b, int c)
{
    return __dp4a(a, b, c);
}

/* The bytes of low and high that the digits of `pick` name. */
DEVICE uint32_t byte_perm(uint32_t low, uint32_t high, uint32_t pick)
{
    return __byte_perm(low, high, pick);
}

DEVICE float warp_sum(float x)
{
    for (int m = WARP / 2; m; m /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, m);
    return x;
}

/* The first n of N numbers, each added for itself. */
template <int N> DEVICE void warp_sums(float *x, int n)
{
#pragma unroll
    for (int j = 0; j < N; j++)
        if (j < n)
            x[j] = warp_sum(x[j]);
}

/* The first n of N sums: to the sums of lanes W i to W i + W - 1 theirs are added in order. */
template <int N, int W> DEVICE void warp_chains(float *sum, const float *x, int n)
{
#pragma unroll
    for (int j = 0; j < N; j++)
        if (j < n)
#pragma unroll
            for (int i = 0; i < W; i++)
                sum[j] += __shfl_sync(0xffffffffu, x[j], i, W);
}

DEVICE float warp_max(float x)
{
    for (int m = WARP / 2; m; m /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, m));
    return x;
}

/* Over four neighbouring lanes. */
DEVICE float quad_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

/* One instruction each: of whole numbers any order will do. */
DEVICE int warp_sum_int(int x)
{
    return __reduce_add_sync(0xffffffffu, x);
}

DEVICE int warp_max_int(int x)
{
    return __reduce_max_sync(0xffffffffu, x);
}

/* The lanes that have the same number. */
DEVICE uint32_t warp_same(int x)
{
    return __match_any_sync(0xffffffffu, x);
}

/* By any thread of the block; n is shared memory. */
DEVICE void count_one(int32_t *n)
{
    atomicAdd(n, 1);
}

/* What another block of this launch has written. */
template <class T> DEVICE T load_new(const T *p)
{
    return __ldcg(p);
}

/* Whether this block is the last of n to come here: it sees what the others wrote before. The
 * ticket is 0 again then. keep: a place of shared memory. */
DEVICE bool last_of(int32_t *ticket, int32_t n, int32_t *keep)
{
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        *keep = atomicAdd(ticket, 1) == n - 1;
        if (*keep) {
            *ticket = 0;
            __threadfence();
        }
    }
    __syncthreads();
    return *keep != 0;
}
#endif

/* The definition of a kernel's entry; kern.h has its declaration. */
#define KERN_OF(fn, type, name)                                                                    \
    {                                                                                              \
        name, KERN_FN(fn), KERN_CALL(fn, type), (uint32_t)sizeof(type), false                      \
    }
#define KERN(what)                                                                                 \
    extern "C" const struct rt_kern kern_##what =                                                  \
        KERN_OF(k_##what, struct what##_args, "cuda:" #what)

DEVICE float *at_row(struct view v, int64_t r)
{
    return v.p + r * v.ld;
}

/* Rows of a kind that this step has. */
DEVICE int n_rows(const struct step *s, int rows, int n_used)
{
    return rows == ROWS_T   ? s->n[0]
           : rows == ROWS_S ? s->n[1]
           : rows == ROWS_E ? s->n[0] * n_used
                            : 1;
}

DEVICE float act_of(float x, int act)
{
    switch (act) {
    case ACT_SILU:
        return v_silu(x);
    case ACT_GELU:
        return v_gelu(x);
    case ACT_GELU_TANH:
        return v_gelu_tanh(x);
    case ACT_RELU:
        return v_max(0.0f, x);
    case ACT_RELU2:
        x = v_max(0.0f, x);
        return x * x;
    case ACT_SIGMOID:
        return v_sigmoid(x);
    case ACT_TANH:
        return v_tanh(x);
    default:
        return x;
    }
}

/* Gate and up to one number (plan.h). */
DEVICE float glu_of(float g, float u, int act, float limit)
{
    if (act != ACT_SWIGLU_OAI)
        return u * act_of(g, act);
    g = v_min(limit, g);
    u = v_max(-limit, v_min(limit, u));
    return g * v_sigmoid(g * 1.702f) * (u + 1.0f);
}

/* Sum over the block's first n warps, the same in every thread; uses a float per warp of shared
 * memory at t. Threads of a block of one warp meet nowhere. */
DEVICE float block_sum_of(float x, float *t, int n)
{
    x = warp_sum(x);
    if (blockDim.x == WARP)
        return x;
    if (threadIdx.x % WARP == 0)
        t[threadIdx.x / WARP] = x;
    __syncthreads();
    x = n == 1 ? t[0] : 0.0f + t[0];
    for (int i = 1; i < n; i++)
        x += t[i];
    __syncthreads();
    return x;
}

DEVICE float block_sum(float x, float *t)
{
    return block_sum_of(x, t, (int)blockDim.x / WARP);
}

#endif
