/* attn_many.cu - attention where a sequence has many rows: a prompt's, or rows beyond the number up
 * to which they are dealt out by chunks (attn.cu); and where many sequences begin with the same
 * pages: their partials of these. Same bytes as there: attn.cuh says how.
 */
#include "kernels/cuda/attn.cuh"

/* A warp has ATTN_ROWS queries, all keys of a step and all columns of V. KEPT: the queries stay in
 * registers, and their shared memory becomes the last stage. SPLIT: partials are left, not merged.
 */
template <class S, bool KEPT, bool SPLIT>
DEVICE void attn_many(const struct attn_run_args &a, const struct tile &t)
{
    enum { KEYS = S::STEP / 8, COLS = S::COLS / 8 };
    const int q0 = (int)threadIdx.x / WARP * ATTN_ROWS;
    const int n_ks = (a.dk + 15) / 16, n_pair = (a.dv + 15) / 16, rows = ATTN_ROWS * S::WARPS;
    uint8_t *shared = (uint8_t *)shared_memory();
    const uint8_t *q_at = shared + a.at.at_many, *k_at, *v_at;
    const uint32_t ones = S::HALF ? 0x3c003c00u : 0x3f803f80u, one[2] = {ones, ones};
    uint32_t kept[KEPT ? S::COLS / 16 : 1][4];
    float acc[COLS][4] = {{0}}, sum[4] = {0};
    struct walk now = {t.from / S::STEP * S::STEP, attn_chunk_of(t.from)}, ahead = now;
    struct lane_rows l;

    for (int i = 1; i < a.at.n_stage; i++) {
        fetch_step<S>(a, t, shared + (i - 1) * a.at.stage, ahead.j);
        ahead = walk_next<S::STEP>(ahead, t, 1);
    }
    put_queries<S>(a, t, shared + a.at.at_many, rows, a.at.part_many);
    __syncthreads();
    lane_begin(a, t, &l, q0);
#pragma unroll
    for (int ks = 0; KEPT && ks < S::COLS / 16; ks++)
        if (ks < n_ks)
            load_queries(kept[KEPT ? ks : 0], q_at, rows, q0, ks);
    const struct seen seen = seen_by(l);
#pragma unroll 1
    for (int i = 0; now.j < t.to; i++) {
        const int32_t was = now.c, j = now.j, first = j + (int)threadIdx.x % 4 * 2;

        next_stage<S>(a, t, i, j, ahead.j, &k_at, &v_at);
        ahead = walk_next<S::STEP>(ahead, t, 1);
        now = walk_next<S::STEP>(now, t, 1);
        if (j < seen.high && j + S::STEP > seen.low) {
            const bool whole = j >= seen.all_low && j + S::STEP <= seen.all_high;
            float s[KEYS][4] = {{0}}, keep[2];

#pragma unroll
            for (int ks = 0; ks < (KEPT ? S::COLS / 16 : n_ks); ks++)
                if (ks < n_ks)
                    for (int x = 0; x < (S::HALF ? 1 : a.at.parts); x++) {
                        uint32_t q[4];
                        if (!KEPT)
                            load_queries(q, q_at + x * a.at.part_many, rows, q0, ks);
                        for (int y = 0; S::HALF ? y < 1 : y < a.at.parts_k && x + y < a.at.parts;
                             y++)
#pragma unroll
                            for (int n = 0; n < KEYS; n += 2) {
                                uint32_t k[4];
                                load_keys(k, k_at + y * a.at.part_k, S::STEP, 8 * n, ks);
                                mma_16<S>(s[n], KEPT ? kept[KEPT ? ks : 0] : q, k);
                                mma_16<S>(s[n + 1], KEPT ? kept[KEPT ? ks : 0] : q, k + 2);
                            }
                    }
            step_powers<KEYS>(a, t, &l, s, first, whole, keep);
            if (keep[0] != 1.0f || keep[1] != 1.0f)
                keep_sums<COLS>(sum, acc, keep);
#pragma unroll
            for (int ks = 0; ks < S::STEP / 16; ks++)
                for (int x = 0; x < (S::HALF ? 1 : a.at.parts); x++) {
                    uint32_t p[4];
#pragma unroll
                    for (int k = 0; k < 4; k++) {
                        float *e = s[2 * ks + k / 2] + k % 2 * 2;
                        p[k] = S::HALF ? two_f16(e[0], e[1]) : two_bf16(e[0], e[1]);
                        if (!S::HALF) {
                            e[0] -= bf16_to_f32((uint16_t)p[k]);
                            e[1] -= bf16_to_f32((uint16_t)(p[k] >> 16));
                        }
                    }
                    mma_16<S>(sum, p, one);
                    for (int y = 0; S::HALF ? y < 1 : y < a.at.parts_v && x + y < a.at.parts; y++)
#pragma unroll
                        for (int n = 0; n < COLS / 2; n++)
                            if (n < n_pair) {
                                uint32_t v[4];
                                load_values(v, v_at + y * a.at.part_v, S::STEP, ks * 16, n);
                                mma_16<S>(acc[2 * n], p, v);
                                mma_16<S>(acc[2 * n + 1], p, v + 2);
                            }
                }
        }
        if (now.c != was || now.j >= t.to)
            chunk_end<COLS>(a, t, &l, was, SPLIT, sum, acc, 0, COLS);
    }
}

/* The longest rows, which are the last, begin first. Sequences with few rows are another launch's.
 */
template <class S, bool KEPT, int BLOCKS>
static __global__ void __launch_bounds__(S::THREADS, BLOCKS) k_attn_many(struct attn_run_args a)
{
    struct tile t;

    grid_wait();
    if (!tile_find(a, (int32_t)(gridDim.x - 1 - blockIdx.x), &t) || t.whole)
        return;
    attn_many<S, KEPT, false>(a, t);
    pack_tile(a, t);
}

/* Blocks a multiprocessor: as many as registers for queries and sums leave. */
extern "C" const struct rt_kern kern_attn_many[MANY_KERNS] = {
    KERN_OF((k_attn_many<attn_kind<true, 2, 8, 64>, true, 1>), struct attn_run_args,
            "cuda:attn many 64"),
    KERN_OF((k_attn_many<attn_kind<true, 2, 8, 128>, true, 1>), struct attn_run_args,
            "cuda:attn many 128"),
    KERN_OF((k_attn_many<attn_kind<true, 1, 4, 256>, false, 2>), struct attn_run_args,
            "cuda:attn many 256"),
    KERN_OF((k_attn_many<attn_kind<false, 1, 8, 128>, false, 1>), struct attn_run_args,
            "cuda:attn many in parts"),
};

/* Chunk c, counted over all tiles of rows that begin alike, of a key/value head. The pages are
 * those of the first row's sequence. A warp's work. */
DEVICE void shared_find(const struct attn_run_args &a, int32_t c, int kv_head, struct tile *t)
{
    const int32_t *tile = a.s.tile;
    int r = 0;

    for (int i = (int)threadIdx.x % WARP; i < a.s.n[4] && tile[4 * i + 3] <= c; i += WARP)
        r = i;
    tile += 4 * warp_max_int(r);
    c -= tile[3];
    t->first = tile[0];
    t->n = tile[1] - tile[0];
    t->kv_head = kv_head;
    t->nh = a.n_head / a.kv.n_kv;
    t->head = kv_head * t->nh;
    t->nq = t->n * t->nh;
    t->whole = false;
    t->slot = a.s.slot[t->first];
    t->from = attn_chunk_at(c);
    t->to = attn_chunk_at(c + 1);
    t->own = 0;
    t->part0 = a.s.n[5];
}

/* A block takes chunks in turn with the others. */
template <class S, bool KEPT, int BLOCKS>
static __global__ void __launch_bounds__(S::THREADS, BLOCKS) k_attn_shared(struct attn_run_args a)
{
    grid_wait();
    const int32_t *last = a.s.tile + 4 * (a.s.n[4] - 1);
    const int32_t n = a.s.n[4] > 0 ? (last[2] + last[3]) * a.kv.n_kv : 0;

#pragma unroll 1
    for (int32_t i = (int32_t)blockIdx.z; i < n; i += (int32_t)gridDim.z) {
        struct tile t;

        shared_find(a, i / a.kv.n_kv, i % a.kv.n_kv, &t);
        attn_many<S, KEPT, true>(a, t);
        __syncthreads();
    }
}

extern "C" const struct rt_kern kern_attn_shared[MANY_KERNS] = {
    KERN_OF((k_attn_shared<attn_kind<true, 2, 8, 64>, true, 1>), struct attn_run_args,
            "cuda:attn shared 64"),
    KERN_OF((k_attn_shared<attn_kind<true, 2, 8, 128>, true, 1>), struct attn_run_args,
            "cuda:attn shared 128"),
    KERN_OF((k_attn_shared<attn_kind<true, 1, 4, 256>, false, 2>), struct attn_run_args,
            "cuda:attn shared 256"),
    KERN_OF((k_attn_shared<attn_kind<false, 1, 8, 128>, false, 1>), struct attn_run_args,
            "cuda:attn shared in parts"),
};
