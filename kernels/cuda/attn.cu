/* attn.cu - storing of keys and values, and attention where rows are few: a tile's chunks are dealt
 * out to as many blocks as the device has room for, and the last of them merges what the others
 * made. Same bytes: attn.cuh says how. A stored row is what its format's encoder makes of it. What
 * is not a kernel's entry is in persist.cu, too.
 */
#include "kernels/cuda/attn.cuh"

/* -- storing -- */

/* 32 columns by a warp: what the formats' encoders give (quant/q8_0.h, quant/q4_0.h). */
DEVICE void put_block(uint8_t *code, uint16_t *scale, int type, const float *x, int lane)
{
    const float size = x[lane] > 0.0f ? x[lane] : x[lane] < 0.0f ? -x[lane] : 0.0f;
    const float high = warp_max(size);

    if (type == FMT_Q8_0) {
        const float d = high / 127.0f, inv = d != 0.0f ? 1.0f / d : 0.0f;
        code[lane] = (uint8_t)fmt_round(x[lane] * inv, -128, 127);
        if (lane == 0)
            *scale = f32_to_f16(d);
        return;
    }
    const int first = 31 - warp_max_int(size == high ? 31 - lane : 0);
    const float d = (high > 0.0f ? x[first] : 0.0f) / -8.0f, inv = d != 0.0f ? 1.0f / d : 0.0f;
    if (lane < 16)
        code[lane] = (uint8_t)(fmt_cut(x[lane] * inv + 8.5f, 0, 15) |
                               fmt_cut(x[lane + 16] * inv + 8.5f, 0, 15) << 4);
    if (lane == 0)
        *scale = f32_to_f16(d);
}

/* A head's row x, n columns, to its place. t: shared memory for a row, used by blocks. */
DEVICE void put_row(const struct kv_row &to, int type, const float *x, int n, bool turned, float *t)
{
    const int tid = (int)threadIdx.x;

    if (!in_blocks(type)) {
        for (int i = tid; i < n; i += ATTN_THREADS)
            if (type == FMT_F32)
                ((float *)to.code)[i] = x[i];
            else if (type == FMT_KV_F8)
                ((uint8_t *)to.code)[i] = f32_to_f8(x[i]);
            else
                ((uint16_t *)to.code)[i] = type == FMT_F16 ? f32_to_f16(x[i]) : f32_to_bf16(x[i]);
        return;
    }
    for (int i = tid; i < n; i += ATTN_THREADS)
        t[i] = x[i];
    if (turned)
        turn<ATTN_THREADS>(t, n, false);
    __syncthreads();
    for (int b = tid / WARP; b < n / 32; b += ATTN_THREADS / WARP)
        put_block((uint8_t *)to.code + b * row_codes(type, 32), (uint16_t *)to.scale + b, type,
                  t + 32 * b, tid % WARP);
    __syncthreads();
}

/* A row of the batch, a head of it. */
DEVICE void store_block(const struct store_args &a)
{
    const int64_t t = blockIdx.x, head = blockIdx.y;
    const struct kv_args &kv = a.kv;
    float *row = (float *)shared_memory();

    if (t >= a.s.n[0])
        return;
    const int32_t pos = a.s.pos[t], at = pos % KV_PAGE;
    const uint8_t *page = page_of(kv, a.s.slot[t], pos / KV_PAGE);
    put_row(kv_row_of(page, kv.type_k, kv.dk, head, at), kv.type_k, at_row(a.k, t) + head * kv.dk,
            kv.dk, kv.turned, row);
    if (a.v.p)
        put_row(kv_row_of(page + kv.v_at, kv.type_v, kv.dv, head, at), kv.type_v,
                at_row(a.v, t) + head * kv.dv, kv.dv, false, row);
}

/* -- merging -- */

/* Of a query, for MERGE_CHUNKS of its chunks: s and t of each, max and sum so far, what is
 * multiplied with at the end, its first and last chunk. */
struct merging {
    float st[2 * MERGE_CHUNKS], max, sum, end;
    int32_t c0, c1;
};

static_assert(ATTN_ROWS * sizeof(struct merging) <= MERGE_SHARED, "what the launch asks for");

DEVICE void merge_scales(const struct attn_run_args &a, const struct tile &t, int i, int32_t b,
                         struct merging *s)
{
    const struct query q = query_of(a, t, i);
    const float *part = part_of(a, t, q.t, q.head, 0);
    struct merge m = {s->max, s->sum, 1.0f, 1.0f};

    if (b == attn_chunk_of(t.from)) {
        s->c0 = attn_chunk_of(q.from);
        s->c1 = attn_chunk_of(q.to - 1);
        m = {MINUS_INF, 0.0f, 1.0f, 1.0f};
    }
    for (int32_t c = b < s->c0 ? s->c0 : b; c <= s->c1 && c < b + MERGE_CHUNKS; c++) {
        merge_next(&m, load_new(part + (int64_t)c * (a.dv + 2)),
                   load_new(part + (int64_t)c * (a.dv + 2) + 1));
        s->st[2 * (c - b)] = m.s;
        s->st[2 * (c - b) + 1] = m.t;
    }
    s->max = m.max;
    s->sum = m.sum;
    s->end = merge_end(&m, a.sink ? a.sink + q.head : NULL);
}

template <int THREADS> DEVICE void merge_tile(const struct attn_run_args &a, const struct tile &t)
{
    struct merging *at = (struct merging *)shared_memory();
    const int32_t end = attn_chunk_of(t.to - 1);

    for (int32_t b = attn_chunk_of(t.from); b <= end; b += MERGE_CHUNKS) {
        __syncthreads();
        for (int q = (int)threadIdx.x; q < t.nq; q += THREADS)
            merge_scales(a, t, q, b, at + q);
        __syncthreads();
        for (int i = (int)threadIdx.x; i < t.nq * a.dv; i += THREADS) {
            const int q = i / a.dv, d = i % a.dv;
            const struct merging &s = at[q];
            const int64_t row = t.first + q / t.nh, head = t.head + q % t.nh;
            const float *part = part_of(a, t, (int32_t)row, (int)head, 0) + 2 + d;
            float *to = at_row(a.out, row) + head * a.dv + d, x = b > s.c0 ? *to : 0.0f;

#pragma unroll 8
            for (int32_t c = b < s.c0 ? s.c0 : b; c <= s.c1 && c < b + MERGE_CHUNKS; c++)
                x = merge_number(x, load_new(part + (int64_t)c * (a.dv + 2)),
                                 {0.0f, 0.0f, s.st[2 * (c - b)], s.st[2 * (c - b) + 1]}, c == s.c0,
                                 c == s.c1, s.end);
            *to = x;
        }
    }
}

/* -- attention -- */

/* A tile, and all its own chunks or every n_split-th. How many blocks share a tile changes no bit:
 * a chunk's partial is the same whoever makes it, and they are merged in order, behind those that
 * were made for several sequences at once. */
template <class S> DEVICE void few_block(const struct attn_run_args &a)
{
    struct tile t;

    if (!tile_find(a, (int32_t)blockIdx.x, &t) || (a.apart && !t.whole))
        return;
    const int32_t rows = a.s.n[0], per = a.at.per, tiles = min(rows, a.s.n[2] + rows / per);
    const int32_t most = a.part && rows <= ATTN_SPLIT ? max(1, a.n_split / tiles) : 1;
    const int32_t n_split = min(most, (int32_t)gridDim.z);
    const int32_t from = t.from;
    t.from = max(from, attn_chunk_at(t.own));
    const int32_t c0 = attn_chunk_of(t.from), n_chunk = attn_chunk_of(t.to - 1) + 1 - c0;
    const int32_t z = (int32_t)blockIdx.z, after = (z - c0 % n_split + n_split) % n_split;
    const int32_t blocks = min(n_chunk, n_split);

    if (z >= n_split || after >= n_chunk)
        return;
    attn_few<S>(a, t, c0 + after, n_split, blocks > 1 || t.own > 0);
    if (blocks > 1) {
        int32_t *ticket = a.ticket + (int64_t)blockIdx.x * gridDim.y + blockIdx.y;

        if (!last_of(ticket, blocks, (int32_t *)(shared_memory() + a.at.at_max)))
            return;
    }
    if (blocks > 1 || t.own > 0) {
        t.from = from;
        merge_tile<S::THREADS>(a, t);
    }
    pack_tile(a, t);
}

#ifndef RILL_PERSIST
static __global__ void __launch_bounds__(ATTN_THREADS) k_store(struct store_args a)
{
    grid_wait();
    store_block(a);
}
KERN(store);

template <class S, int BLOCKS>
static __global__ void __launch_bounds__(S::THREADS, BLOCKS) k_attn_few(struct attn_run_args a)
{
    grid_wait();
    few_block<S>(a);
}

/* Blocks a multiprocessor: as many as leave no spills; stages of two or three fit. */
extern "C" const struct rt_kern kern_attn_few[FEW_KERNS] = {
    KERN_OF((k_attn_few<attn_kind<true, 2, 4, 128>, 3>), struct attn_run_args, "cuda:attn few"),
    KERN_OF((k_attn_few<attn_kind<true, 1, 4, 512>, 2>), struct attn_run_args,
            "cuda:attn few large"),
    KERN_OF((k_attn_few<attn_kind<false, 1, 4, 128>, 3>), struct attn_run_args,
            "cuda:attn few in parts"),
    KERN_OF((k_attn_few<attn_kind<false, 1, 4, 512>, 2>), struct attn_run_args,
            "cuda:attn few large in parts"),
};
#endif
