/* wgmma.cuh - what kernels of warpgroup products (sm_90a) share: the instruction's descriptors, its
 * groups, and the lists of registers that its sums are in.
 *
 * Both matrices lie in shared memory in rows of 128 bytes whose pieces of 16 are swizzled (PTX ISA,
 * "Asynchronous warpgroup matrix shared memory layout", 128-byte): eight rows are 1,024 bytes.
 */
#ifndef RILL_KERNELS_CUDA_WGMMA_CUH
#define RILL_KERNELS_CUDA_WGMMA_CUH

#include "kernels/cuda/common.cuh"

#if !defined(RILL_SIMT) && defined(__CUDA_ARCH_FEAT_SM90_ALL)

/* The names of 32, 64 and 128 sums in an instruction, and its operands: rows of four numbers from
 * c[i] on. */
#define NAMES_32 \
    "%0, %1, %2, %3, %4, %5, %6, %7" \
    ", %8, %9, %10, %11, %12, %13, %14, %15" \
    ", %16, %17, %18, %19, %20, %21, %22, %23" \
    ", %24, %25, %26, %27, %28, %29, %30, %31"
#define NAMES_64 \
    NAMES_32 \
    ", %32, %33, %34, %35, %36, %37, %38, %39" \
    ", %40, %41, %42, %43, %44, %45, %46, %47" \
    ", %48, %49, %50, %51, %52, %53, %54, %55" \
    ", %56, %57, %58, %59, %60, %61, %62, %63"
#define NAMES_128 \
    NAMES_64 \
    ", %64, %65, %66, %67, %68, %69, %70, %71" \
    ", %72, %73, %74, %75, %76, %77, %78, %79" \
    ", %80, %81, %82, %83, %84, %85, %86, %87" \
    ", %88, %89, %90, %91, %92, %93, %94, %95" \
    ", %96, %97, %98, %99, %100, %101, %102, %103" \
    ", %104, %105, %106, %107, %108, %109, %110, %111" \
    ", %112, %113, %114, %115, %116, %117, %118, %119" \
    ", %120, %121, %122, %123, %124, %125, %126, %127"
#define SUMS_4(c, i)   "+f"(c[i][0]), "+f"(c[i][1]), "+f"(c[i][2]), "+f"(c[i][3])
#define SUMS_16(c, i)  SUMS_4(c, i), SUMS_4(c, i + 1), SUMS_4(c, i + 2), SUMS_4(c, i + 3)
#define SUMS_32(c, i)  SUMS_16(c, i), SUMS_16(c, i + 4)
#define SUMS_64(c, i)  SUMS_32(c, i), SUMS_32(c, i + 8)
#define SUMS_128(c, i) SUMS_64(c, i), SUMS_64(c, i + 16)

/* What this thread has put into shared memory may be read by the tensor cores. */
DEVICE void copies_shown(void)
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* Rows from `at` on; next: bytes to the next 64 columns, where those are not the depth. */
DEVICE uint64_t describe(const void *at, uint32_t next)
{
    return (uint64_t)(shared_at(at) & 0x3ffff) >> 4 | (uint64_t)(next >> 4) << 16 |
           (uint64_t)(1024 >> 4) << 32 | 1ull << 62;
}

/* What was computed of sums stands before this, what is computed with them behind it. Products are
 * asynchronous, so the compiler takes their sums for made where they are begun, and would move
 * arithmetic on them across the fence in front of products and the wait behind them. */
template <int N> DEVICE void sums_stay(float (*c)[4])
{
#pragma unroll
    for (int i = 0; i < 4 * N; i++)
        asm volatile("" : "+f"(c[i / 4][i % 4])::"memory");
}

template <int N> DEVICE void words_stay(uint32_t (*p)[4]) // of A, where it is in registers
{
#pragma unroll
    for (int i = 0; i < 4 * N; i++)
        asm volatile("" : "+r"(p[i / 4][i % 4])::"memory");
}

DEVICE void products_begin(void)
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

DEVICE void products_group(void)
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <int LEFT> DEVICE void products_wait(void)
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}

#endif
#endif
