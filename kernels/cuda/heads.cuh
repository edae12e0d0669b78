/* heads.cuh - what lies between a layer's first matrices and its attention: heads of queries and
 * keys are normed where the model does so and rotated, keys and values stored.
 *
 * Same bytes: a warp has a head of a row, and does what k_norm, k_rope_run and k_store do with as
 * many threads.
 */
#ifndef RILL_KERNELS_CUDA_HEADS_CUH
#define RILL_KERNELS_CUDA_HEADS_CUH

#include "kernels/cuda/pack.cuh"

/* The head's numbers in shared memory, normed where the model does so. They may be new. */
DEVICE const float *head_normed(const struct head_part &p, const float *x, int h)
{
    const int lane = (int)threadIdx.x % WARP, n = p.r.head_in;
    float *to = (float *)shared_memory();
    float sum = 0.0f;

    for (int i = lane; i < n; i += WARP) {
        to[i] = load_new(x + i);
        sum = fma_(to[i], to[i], sum);
    }
    if (p.w) {
        const float inv = 1.0f / f_sqrt(warp_sum(sum) / (float)n + p.eps);
        for (int i = lane; i < n; i += WARP)
            to[i] = to[i] * inv * p.w[(h * n + i) % p.n_w];
    }
    __syncwarp();
    return to;
}

/* A pair of columns is read by the lane that writes it. */
DEVICE float *head_rotated(const struct head_part &p, int64_t t, int h)
{
    const struct rope_args &r = p.r;
    const int lane = (int)threadIdx.x % WARP, half = r.n_rot / 2, end = r.at_in + r.n_rot;
    const float *x = head_normed(p, at_row(p.x, t) + (int64_t)h * r.head_in, h);
    const float *tab = p.tab + t * 2 * r.n_rot;
    float *y = at_row(p.out, t) + (int64_t)h * r.head_out;

    for (int i = lane; i < half; i += WARP) {
        const int j0 = r.mode == ROPE_NORM ? 2 * i : i;
        const int j1 = r.mode == ROPE_NORM ? 2 * i + 1 : i + half;
        const float u = x[r.at_in + j0], v = x[r.at_in + j1];

        y[r.at_out + j0] = u * tab[j0] + v * tab[r.n_rot + j0];
        y[r.at_out + j1] = v * tab[j1] + u * tab[r.n_rot + j1];
    }
    for (int i = lane; r.head_in == r.head_out && i < r.head_in; i += WARP)
        if (i < r.at_in || i >= end)
            y[i] = x[i];
    return y;
}

/* Row `row` of n numbers of a page, which are plain. */
DEVICE void head_put(uint8_t *page, int type, int64_t row, int n, const float *x)
{
    for (int i = (int)threadIdx.x % WARP; i < n; i += WARP)
        if (type == FMT_F32)
            ((float *)page)[row * n + i] = load_new(x + i);
        else
            ((uint16_t *)page)[row * n + i] =
                type == FMT_F16 ? f32_to_f16(load_new(x + i)) : f32_to_bf16(load_new(x + i));
}

/* Head h of row t: queries, then keys, then values. A warp's work; the head's columns in shared
 * memory. */
DEVICE void head_of(const struct heads_args &a, int64_t t, int h)
{
    const int n_q = a.q.r.n_head, n_k = a.k.r.n_head;
    const struct kv_args &kv = a.kv;

    if (h < n_q) {
        head_rotated(a.q, t, h);
        return;
    }
    h -= n_q;
    const int32_t pos = a.s.pos[t];
    const int32_t kib = kv.table[(int64_t)a.s.slot[t] * kv.max_page + pos / KV_PAGE];
    uint8_t *page = kv.pool + (uint64_t)(uint32_t)kib * 1024 + kv.at;
    if (h < n_k) {
        const float *y = head_rotated(a.k, t, h);

        __syncwarp();
        head_put(page, kv.type_k, (int64_t)h * KV_PAGE + pos % KV_PAGE, kv.dk, y);
        return;
    }
    h -= n_k;
    head_put(page + kv.v_at, kv.type_v, (int64_t)h * KV_PAGE + pos % KV_PAGE, kv.dv,
             at_row(a.v, t) + (int64_t)h * kv.dv);
}

/* -- behind a matrix -- */

/* Of the only row, with little room in registers. */
APART void head_behind(const struct heads_args *a, int h)
{
    head_of(*a, 0, h);
}

/* The block has made columns [at, at + n) of the only row: what is done behind it, by the last
 * block of a head, or of a group. All threads of the block; shared memory is free. Heads take
 * registers: only the kernels that are for them have that. */
template <bool HEADS> DEVICE void columns_behind(const struct gemv_args &a, int64_t at, int n)
{
    const int cols = HEADS ? a.head_cols : 32;
    const int64_t g = at / cols;

    if (!HEADS && !a.to && !a.halves)
        return;
    if (last_of(a.ticket + g, cols / n, (int32_t *)shared_memory())) {
        __syncthreads(); // all know
        if (HEADS && threadIdx.x < WARP)
            head_behind(a.heads, a.head + (int)g);
        if (!HEADS && threadIdx.x < WARP)
            pack_lanes(load_new(at_row(a.out, 0) + 32 * g + threadIdx.x), a.to ? a.to + g : NULL,
                       a.halves ? a.halves + g : NULL);
    }
    __syncthreads();
}

#endif
