/* attn_wide.cu - attention of prompts by warpgroup products (sm_90a).
 *
 * Chosen by RILL_CUDA_ATTN=wgmma alone until a GPU has seen it. It is attn_many.cu's kernel, with
 * its tiles, stages, panels, scores and chunks; the products are a warpgroup's: 64 queries times
 * the 64 keys of a step, both out of shared memory, and e^score out of registers times V, 16
 * positions at a time. Their inner order is the instruction's own, so the bits are others than
 * those of few rows.
 *
 * Panels are what the instruction wants (PTX ISA, "Asynchronous warpgroup matrix shared memory
 * layout", 128-byte swizzle): of queries and keys, whose columns are the depth, eight rows are
 * 1,024 bytes; of V, whose rows are the depth, likewise, and the next 64 columns are a panel on.
 */
#include "kernels/cuda/attn.cuh"
#include "kernels/cuda/wgmma.cuh"

#ifndef RILL_SIMT

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

DEVICE void group_end(void)
{
    products_group();
    products_wait<0>();
}

/* 16 columns of 64 queries times 64 keys; add 0: from 0. */
DEVICE void scores(float (*c)[4], uint64_t q, uint64_t k, int add)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {" NAMES_32 "}, "
                 "%32, %33, p, 1, 1, 0, 0;\n}"
                 : SUMS_32(c, 0)
                 : "l"(q), "l"(k), "r"(add));
}

/* e^score of 64 queries and 16 positions times 64 columns of V. */
DEVICE void values_64(float (*c)[4], const uint32_t *p, uint64_t v)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {" NAMES_32 "}, "
                 "{%32, %33, %34, %35}, %36, p, 1, 1, 1;\n}"
                 : SUMS_32(c, 0)
                 : "r"(p[0]), "r"(p[1]), "r"(p[2]), "r"(p[3]), "l"(v), "r"(1));
}

/* And times 128. */
DEVICE void values_128(float (*c)[4], const uint32_t *p, uint64_t v)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {" NAMES_64 "}, "
                 "{%64, %65, %66, %67}, %68, p, 1, 1, 1;\n}"
                 : SUMS_64(c, 0)
                 : "r"(p[0]), "r"(p[1]), "r"(p[2]), "r"(p[3]), "l"(v), "r"(1));
}

/* What the four warps of the warpgroup see together. A warpgroup's work, and one of the block. */
DEVICE struct seen seen_by_group(const struct attn_run_args &a, const struct seen &mine)
{
    const int warp = (int)threadIdx.x / WARP;
    struct seen *all = (struct seen *)(shared_memory() + a.at.at_max), y = mine;

    if (threadIdx.x % WARP == 0)
        all[warp] = mine;
    __syncthreads();
    for (int i = warp / 4 * 4; i < warp / 4 * 4 + 4; i++) {
        y.low = min(y.low, all[i].low);
        y.high = max(y.high, all[i].high);
        y.all_low = max(y.all_low, all[i].all_low);
        y.all_high = min(y.all_high, all[i].all_high);
    }
    return y;
}

template <class S> DEVICE void attn_wide(const struct attn_run_args &a, const struct tile &t)
{
    enum { KEYS = S::STEP / 8, COLS = S::COLS / 8, ROWS = ATTN_ROWS * S::WARPS };
    static_assert(S::STEP == 64, "what the products below have");
    const int warp = (int)threadIdx.x / WARP;
    uint8_t *shared = (uint8_t *)shared_memory();
    const uint8_t *q_at = shared + a.at.at_many + warp / 4 * 64 * 128, *k_at, *v_at;
    const uint32_t one[2] = {0x3c003c00u, 0x3c003c00u};
    float acc[COLS][4] = {{0}}, sum[4] = {0};
    struct walk now = {t.from / S::STEP * S::STEP, attn_chunk_of(t.from)}, ahead = now;
    struct lane_rows l;

    if (shared_at(shared) % 1024) // the swizzle is of addresses
        asm volatile("trap;");
    for (int i = 1; i < a.at.n_stage; i++) {
        fetch_step<S>(a, t, shared + (i - 1) * a.at.stage, ahead.j);
        ahead = walk_next<S::STEP>(ahead, t, 1);
    }
    put_queries<S>(a, t, shared + a.at.at_many, ROWS, a.at.part_many);
    __syncthreads();
    lane_begin(a, t, &l, warp * ATTN_ROWS);
    const struct seen seen = seen_by_group(a, seen_by(l));
#pragma unroll 1
    for (int i = 0; now.j < t.to; i++) {
        const int32_t was = now.c, j = now.j, first = j + (int)threadIdx.x % 4 * 2;

        next_stage<S>(a, t, i, j, ahead.j, &k_at, &v_at);
        copies_shown();
        __syncthreads();
        ahead = walk_next<S::STEP>(ahead, t, 1);
        now = walk_next<S::STEP>(now, t, 1);
        if (j < seen.high && j + S::STEP > seen.low) {
            const bool whole = j >= seen.all_low && j + S::STEP <= seen.all_high;
            float s[KEYS][4] = {{0}}, keep[2];
            uint32_t p[S::STEP / 16][4];

            sums_stay<KEYS>(s);
            products_begin();
#pragma unroll
            for (int ks = 0; ks < S::COLS / 16; ks++) // 16 columns are 32 bytes, 64 a panel
                scores(s, describe(q_at + ks / 4 * ROWS * 128 + ks % 4 * 32, 16),
                       describe(k_at + ks / 4 * S::STEP * 128 + ks % 4 * 32, 16), ks > 0);
            group_end();
            sums_stay<KEYS>(s);
            step_powers<KEYS>(a, t, &l, s, first, whole, keep);
            keep_sums<COLS>(sum, acc, keep);
#pragma unroll
            for (int ks = 0; ks < S::STEP / 16; ks++) {
#pragma unroll
                for (int k = 0; k < 4; k++)
                    p[ks][k] =
                        two_f16(s[2 * ks + k / 2][k % 2 * 2], s[2 * ks + k / 2][k % 2 * 2 + 1]);
                mma_f16(sum, p[ks], one);
            }
            sums_stay<COLS>(acc);
            words_stay<S::STEP / 16>(p);
            products_begin();
#pragma unroll
            for (int ks = 0; ks < S::STEP / 16; ks++) {
                const uint64_t v = describe(v_at + ks * 16 * 128, S::STEP * 128);

                if (S::COLS == 128)
                    values_128(acc, p[ks], v);
                else
                    values_64(acc, p[ks], v);
            }
            group_end();
            sums_stay<COLS>(acc);
        }
        if (now.c != was || now.j >= t.to)
            chunk_end<COLS>(a, t, &l, was, false, sum, acc, 0, COLS);
    }
}

#endif

template <class S>
static __global__ void __launch_bounds__(S::THREADS, 1) k_attn_wide(struct attn_run_args a)
{
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    struct tile t;

    grid_wait();
    if (!tile_find(a, (int32_t)(gridDim.x - 1 - blockIdx.x), &t) || t.whole)
        return;
    attn_wide<S>(a, t);
    pack_tile(a, t);
#endif
}

static const struct rt_kern wide[WIDE_KERNS] = {
    KERN_OF((k_attn_wide<attn_kind<true, 2, 8, 64>>), struct attn_run_args, "cuda:attn wgmma 64"),
    KERN_OF((k_attn_wide<attn_kind<true, 2, 8, 128>>), struct attn_run_args, "cuda:attn wgmma 128"),
};
#endif

extern "C" const struct rt_kern *attn_wide(void)
{
#ifndef RILL_SIMT
    return wide;
#else
    return NULL;
#endif
}
