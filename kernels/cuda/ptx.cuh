/* ptx.cuh - instructions that CUDA C has no word for; the only place with assembly.
 *
 * Products of small matrices by a warp (PTX ISA, "Matrix multiply-accumulate operation using mma
 * instruction"): A is 16 rows by k, B k by 8, C 16 by 8. With g = lane / 4 and t = lane % 4 a lane
 * holds of A the rows g and g + 8 (a[0], a[1]; with k = 32 also a[2], a[3], 16 columns on), four
 * codes each from column 4 t on; of B the column g, codes from row 4 t on; of C the columns 2 t and
 * 2 t + 1 of row g (c[0], c[1]) and of row g + 8 (c[2], c[3]). Sums of integers are exact, so their
 * order within an instruction is nobody's concern. Of bf16 and f16 (k = 16) a word holds two:
 * columns 2 t and 2 t + 1 of rows g and g + 8 (a[0], a[1]) and 8 columns on (a[2], a[3]); B
 * likewise.
 */
#ifndef RILL_KERNELS_CUDA_PTX_CUH
#define RILL_KERNELS_CUDA_PTX_CUH

#include <stdint.h>

#ifndef RILL_SIMT
static __device__ __forceinline__ float f16_to_f32(uint16_t h)
{
    float f;

    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
    return f;
}

static __device__ __forceinline__ uint16_t f32_to_f16(float f)
{
    uint16_t h;

    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
    return h;
}

static __device__ __forceinline__ uint16_t f32_to_bf16(float f)
{
    uint16_t h;

    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(f));
    return h;
}

/* Every kernel's first words. Where launches may overlap (rt_cuda.cu, programmatic dependent
 * launch) the next kernel's blocks may come to the device from here on, and what the one before
 * wrote is there once this returns; elsewhere neither does anything. */
static __device__ __forceinline__ void grid_wait(void)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* What no kernel writes may be asked for before that. */
static __device__ __forceinline__ void prefetch_l2(const void *p)
{
    asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
}

/* Loads of what is read once: they leave the first cache to the inputs. They stay in front of a
 * grid_wait that they are written in front of. */
static __device__ __forceinline__ uint4 stream_16(const void *p)
{
    uint4 v;

    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
}

static __device__ __forceinline__ uint2 stream_8(const void *p)
{
    uint2 v;

    asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0,%1}, [%2];"
                 : "=r"(v.x), "=r"(v.y)
                 : "l"(p));
    return v;
}

static __device__ __forceinline__ uint32_t stream_4(const void *p)
{
    uint32_t v;

    asm volatile("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(v) : "l"(p));
    return v;
}

static __device__ __forceinline__ uint32_t stream_2(const void *p)
{
    uint16_t v;

    asm volatile("ld.global.nc.L1::no_allocate.u16 %0, [%1];" : "=h"(v) : "l"(p));
    return v;
}

/* Copies to shared memory that nobody waits for, 16 bytes a thread: those asked for before
 * copies_group() are a group; copies_wait<N>() leaves the thread's last N under way. */
static __device__ __forceinline__ uint32_t shared_at(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

static __device__ __forceinline__ void copy_16(void *to, const void *from)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_at(to)), "l"(from)
                 : "memory");
}

static __device__ __forceinline__ void copies_group(void)
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

template <int N> static __device__ __forceinline__ void copies_wait(void)
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* Zeros where nothing is there to be copied; `from` is an address all the same. */
static __device__ __forceinline__ void copy_16_or_zeros(void *to, const void *from, bool there)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_at(to)), "l"(from),
                 "r"(there ? 16 : 0)
                 : "memory");
}

/* N matrices of 8 by 8 numbers of 16 bits out of shared memory. Lane l says where row l % 8 of
 * matrix l / 8 is; w[i] gets columns 2 t and 2 t + 1 of row g of matrix i, TURNED: rows 2 t and
 * 2 t + 1 of column g. */
template <int N, bool TURNED>
static __device__ __forceinline__ void load_8x8(uint32_t *w, const void *row)
{
    static_assert(N == 2 || N == 4, "what there is");
    if (N == 2 && !TURNED)
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                     : "=r"(w[0]), "=r"(w[1])
                     : "r"(shared_at(row))
                     : "memory");
    else if (N == 2)
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                     : "=r"(w[0]), "=r"(w[1])
                     : "r"(shared_at(row))
                     : "memory");
    else if (!TURNED)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(w[0]), "=r"(w[1]), "=r"(w[N - 2]), "=r"(w[N - 1])
                     : "r"(shared_at(row))
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(w[0]), "=r"(w[1]), "=r"(w[N - 2]), "=r"(w[N - 1])
                     : "r"(shared_at(row))
                     : "memory");
}

/* Two numbers of 16 bits to a word, rounded to nearest; two products, two differences of F16. */
static __device__ __forceinline__ uint32_t two_f16(float low, float high)
{
    uint32_t w;

    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(w) : "f"(high), "f"(low));
    return w;
}

static __device__ __forceinline__ uint32_t two_bf16(float low, float high)
{
    uint32_t w;

    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(w) : "f"(high), "f"(low));
    return w;
}

static __device__ __forceinline__ uint32_t mul_f16x2(uint32_t a, uint32_t b)
{
    uint32_t w;

    asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(w) : "r"(a), "r"(b));
    return w;
}

static __device__ __forceinline__ uint32_t sub_f16x2(uint32_t a, uint32_t b)
{
    uint32_t w;

    asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(w) : "r"(a), "r"(b));
    return w;
}

/* The same by the copy engine, from sm_90 on. A barrier is opened, for one thread that says with
 * bulk_expect() how many bytes come, and passed in turn 0, 1, 0 ... when they are there. */
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
static __device__ __forceinline__ void bulk_open(uint64_t *bar)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_at(bar)) : "memory");
}

static __device__ __forceinline__ void bulk_opened(void)
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

static __device__ __forceinline__ void bulk_expect(uint64_t *bar, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_at(bar)),
                 "r"(bytes)
                 : "memory");
}

static __device__ __forceinline__ void bulk_copy(void *to, const void *from, uint32_t bytes,
                                                 uint64_t *bar)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1], %2, [%3];" ::"r"(shared_at(to)),
                 "l"(from), "r"(bytes), "r"(shared_at(bar))
                 : "memory");
}

static __device__ __forceinline__ void bulk_wait(uint64_t *bar, uint32_t turn)
{
    uint32_t done = 0;

    while (!done)
        asm volatile("{\n.reg .pred p;\n"
                     "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                     "selp.u32 %0, 1, 0, p;\n}"
                     : "=r"(done)
                     : "r"(shared_at(bar)), "r"(turn)
                     : "memory");
}
#else // never chosen there
static __device__ __forceinline__ void bulk_open(uint64_t *)
{
}
static __device__ __forceinline__ void bulk_opened(void)
{
}
static __device__ __forceinline__ void bulk_expect(uint64_t *, uint32_t)
{
}
static __device__ __forceinline__ void bulk_copy(void *, const void *, uint32_t, uint64_t *)
{
}
static __device__ __forceinline__ void bulk_wait(uint64_t *, uint32_t)
{
}
#endif

/* Counters in memory by which blocks of one launch wait for each other: who has waited for a count
 * sees what was written before it was raised. By one thread, the others behind a barrier. */
static __device__ __forceinline__ void raise_count(uint32_t *p)
{
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(p) : "memory");
}

static __device__ __forceinline__ void wait_count(const uint32_t *p, uint32_t want)
{
    uint32_t is;

    for (;;) {
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(is) : "l"(p) : "memory");
        if ((int32_t)(is - want) >= 0)
            return;
        __nanosleep(20);
    }
}

/* Words that a launch and the host share while it runs: pinned memory. */
static __device__ __forceinline__ void tell_host(int32_t *p, int32_t v)
{
    asm volatile("st.relaxed.sys.global.s32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}

static __device__ __forceinline__ int32_t host_said(const int32_t *p)
{
    int32_t v;

    asm volatile("ld.relaxed.sys.global.s32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
    return v;
}

/* volatile: all lanes must come to these, so they stay where they are written. */
static __device__ __forceinline__ void mma_s8_k32(int *c, const int *a, const int *b)
{
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
        "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

static __device__ __forceinline__ void mma_s8_k16(int *c, const int *a, const int *b)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 "
        "{%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(b[0]));
}

static __device__ __forceinline__ void mma_bf16(float *c, const uint32_t *a, const uint32_t *b)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

static __device__ __forceinline__ void mma_f16(float *c, const uint32_t *a, const uint32_t *b)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif
#endif
