/* wide.cu - many rows of inputs times BF16 matrices by warpgroup products (sm_90a).
 *
 * Chosen by RILL_CUDA_GEMM=wgmma alone until a GPU has seen it. Inputs are one bf16 each (the first
 * half of x16): other numbers than half.cuh makes, and none that depends on the number of rows.
 *
 * A block makes WIDE_COLS columns of the result for WIDE_ROWS rows of inputs, 64 columns of the
 * matrix at a time, in stages: a warpgroup copies, two multiply 64 columns of the result each, the
 * weights being the instruction's A. Both lie in shared memory in rows of 128 bytes whose pieces of
 * 16 are swizzled (PTX ISA, "Asynchronous warpgroup matrix shared memory layout", 128-byte): piece
 * c of row r is at c ^ r % 8. With gate and up, of every 16 rows of A the first eight are gate's,
 * so that both numbers of a column lie in one thread.
 */
#include "kernels/cuda/gemv.cuh"
#include "kernels/cuda/wgmma.cuh"

#ifndef RILL_SIMT

#define WIDE_DEPTH  64 // columns of the matrix of a stage
#define WIDE_STAGES 4
#define WIDE_W      (WIDE_COLS * WIDE_DEPTH * 2)
#define WIDE_STAGE  (WIDE_W + WIDE_ROWS * WIDE_DEPTH * 2)
#define WIDE_COPIES 128 // threads that copy
#define WIDE_LD     132 // from row to row of the results
#define WIDE_LAG    2   // stages that a thread has under way before it says that one is there

static_assert(WIDE_ROWS * WIDE_LD * 4 <= WIDE_STAGES * WIDE_STAGE, "results fit");
static_assert(WIDE_SHARED == WIDE_STAGES * WIDE_STAGE + 2048, "stages, their barriers, alignment");

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

DEVICE void barrier_open(uint64_t *bar, uint32_t n)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_at(bar)), "r"(n)
                 : "memory");
}

DEVICE void barrier_arrive(uint64_t *bar)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_at(bar)) : "memory");
}

/* c += A B of 16 columns of the matrix: A 64 rows, B 256; add 0: from 0. */
DEVICE void products(float (*c)[4], uint64_t a, uint64_t b, int add)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {" NAMES_128 "}, "
                 "%128, %129, p, 1, 1, 0, 0;\n}"
                 : SUMS_128(c, 0)
                 : "l"(a), "l"(b), "r"(add));
}

/* Row r of A: where it begins. */
DEVICE const uint8_t *wide_weights(const struct gemv_args &a, int r)
{
    const int64_t first = (int64_t)blockIdx.y * (a.glu ? WIDE_COLS / 2 : WIDE_COLS);

    return gemv_weights(a, a.mode == GEMV_HEADS ? (int32_t)blockIdx.z : 0,
                        a.glu ? first + r / 16 * 8 + r % 8 : first + r, a.glu ? r / 8 % 2 : 0);
}

/* The copying warpgroup: thread i has piece i % 8 of rows i / 8, i / 8 + 16 ... */
DEVICE void wide_copy(const struct gemv_args &a, uint8_t *stages, uint64_t *full, uint64_t *empty,
                      int n)
{
    const int tid = (int)threadIdx.x, piece = tid % 8, row = tid / 8;
    const int64_t steps = a.cols / WIDE_DEPTH, units = a.cols / 32;
    const int32_t matrix = a.mode == GEMV_HEADS ? (int32_t)blockIdx.z : 0;
    const int32_t first = (int32_t)blockIdx.x * WIDE_ROWS;
    const uint32_t swizzled = (uint32_t)(row * 128 + (piece ^ row % 8) * 16);
    const uint8_t *w[WIDE_COLS / 16];

#pragma unroll
    for (int i = 0; i < WIDE_COLS / 16; i++)
        w[i] = wide_weights(a, row + 16 * i) + piece * 16;
    const uint8_t *x = (const uint8_t *)gemv_input(a, first, matrix) +
                       piece / 4 * sizeof(struct x16) + piece % 4 * 16;
    const int64_t x_row =
        (a.mode == GEMV_HEADS ? a.n_head : 1) * units * (int64_t)sizeof(struct x16);

    for (int64_t s = 0; s < steps + WIDE_LAG; s++) {
        if (s < steps) {
            const int at = (int)(s % WIDE_STAGES);
            uint8_t *to = stages + at * WIDE_STAGE + swizzled;

            if (s >= WIDE_STAGES)
                bulk_wait(empty + at, (uint32_t)((s / WIDE_STAGES + 1) & 1));
#pragma unroll
            for (int i = 0; i < WIDE_COLS / 16; i++)
                copy_16(to + i * 16 * 128, w[i] + s * WIDE_DEPTH * 2);
#pragma unroll 4
            for (int i = 0; i < WIDE_ROWS / 16; i++) {
                const int r = row + 16 * i < n ? row + 16 * i : n - 1;
                copy_16(to + WIDE_W + i * 16 * 128,
                        x + r * x_row + s * (WIDE_DEPTH / 32) * (int64_t)sizeof(struct x16));
            }
        }
        copies_group();
        if (s >= WIDE_LAG) {
            copies_wait<WIDE_LAG>();
            copies_shown();
            barrier_arrive(full + (s - WIDE_LAG) % WIDE_STAGES);
        }
    }
}

/* Both multiplying warpgroups are here. */
DEVICE void multipliers_meet(void)
{
    asm volatile("bar.sync 1, 256;" ::: "memory");
}

/* The numbers go through shared memory, as in tile.cuh. */
DEVICE void wide_end(const struct gemv_args &a, float *tile, const float (*c)[4], int tid, int n)
{
    const int lane = tid % WARP, row = tid / WARP * 16 + lane / 4; // and 8 on
    const int64_t first = (int64_t)blockIdx.y * (a.glu ? WIDE_COLS / 2 : WIDE_COLS);

    multipliers_meet();
#pragma unroll
    for (int i = 0; i < 32; i++)
#pragma unroll
        for (int k = 0; k < 4; k++)
            tile[(i * 8 + lane % 4 * 2 + k % 2) * WIDE_LD + row + k / 2 * 8] = c[i][k];
    multipliers_meet();
#pragma unroll 1
    for (int i = tid; i < n * WIDE_COLS; i += WIDE_THREADS - WIDE_COPIES) {
        const int r = i / WIDE_COLS, k = i % WIDE_COLS;
        const float *v = tile + r * WIDE_LD + k;
        int64_t at = first + (a.glu ? k / 16 * 8 + k % 8 : k);
        const int m = gemv_matrix(a, &at);

        if (m < a.n_m && !(a.glu && k / 8 % 2))
            gemv_finish(a, a.m[m], at, (int32_t)blockIdx.x * WIDE_ROWS + r,
                        a.mode == GEMV_HEADS ? (int32_t)blockIdx.z : 0, v[0], v[a.glu ? 8 : 0]);
    }
}

/* A multiplying warpgroup. */
DEVICE void wide_multiply(const struct gemv_args &a, uint8_t *stages, uint64_t *full,
                          uint64_t *empty, int n)
{
    const int tid = (int)threadIdx.x - WIDE_COPIES, group = tid / 128;
    const int64_t steps = a.cols / WIDE_DEPTH;
    float c[32][4] = {{0}};

    sums_stay<32>(c);
    for (int64_t s = 0; s < steps; s++) {
        const int at = (int)(s % WIDE_STAGES);
        const uint8_t *from = stages + at * WIDE_STAGE;
        const uint64_t w = describe(from + group * 64 * 128, 16), x = describe(from + WIDE_W, 16);

        bulk_wait(full + at, (uint32_t)(s / WIDE_STAGES & 1));
        products_begin();
#pragma unroll
        for (int k = 0; k < WIDE_DEPTH / 16; k++) // 32 bytes on
            products(c, w + 2 * k, x + 2 * k, s > 0 || k > 0);
        products_group();
        products_wait<1>();
        if (s > 0 && tid % WARP == 0) // a warp waits for its own products alone
            barrier_arrive(empty + (s - 1) % WIDE_STAGES);
    }
    products_wait<0>();
    sums_stay<32>(c);
    wide_end(a, (float *)stages, c, tid, n);
}

#endif

static __global__ void __launch_bounds__(WIDE_THREADS, 1) k_wide(struct gemv_args a)
{
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    uint8_t *shared = (uint8_t *)shared_memory();
    uint8_t *stages = shared + (1024 - shared_at(shared) % 1024) % 1024;
    uint64_t *full = (uint64_t *)(stages + WIDE_STAGES * WIDE_STAGE), *empty = full + WIDE_STAGES;

    if (threadIdx.x == 0)
        for (int i = 0; i < WIDE_STAGES; i++) {
            barrier_open(full + i, WIDE_COPIES);
            barrier_open(empty + i, (WIDE_THREADS - WIDE_COPIES) / WARP);
        }
    bulk_opened();
    __syncthreads();
    grid_wait();
    const int left = n_rows(&a.s, a.rows, a.n_used) - (int)blockIdx.x * WIDE_ROWS;
    const int n = left < WIDE_ROWS ? left : WIDE_ROWS;

    if (n <= 0)
        return;
    if (threadIdx.x < WIDE_COPIES) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 88;");
        wide_copy(a, stages, full, empty, n);
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 208;");
        wide_multiply(a, stages, full, empty, n);
    }
#endif
}

static const struct fmt_launch wide = {
    KERN_OF(k_wide, struct gemv_args, "cuda: BF16 by warpgroups"),
    WIDE_ROWS,
    WIDE_COLS,
    WIDE_THREADS,
    WIDE_SHARED,
    0};
#endif

extern "C" const struct fmt_launch *gemv_wide(int fmt, int64_t cols)
{
#ifndef RILL_SIMT
    if (fmt == FMT_BF16 && cols % WIDE_DEPTH == 0)
        return &wide;
#endif
    (void)fmt;
    (void)cols;
    return NULL;
}
