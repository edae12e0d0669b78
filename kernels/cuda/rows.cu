/* rows.cu - kernels that work on a row at a time, or on numbers one by one.
 *
 * Same bytes: a block works on one row (or one group of its columns) and reads no other; sums are
 * dealt to threads by column and added by a fixed tree, so their order depends on the width alone.
 */
#include "kernels/cuda/pack.cuh"

#ifndef RILL_PERSIST
static __global__ void __launch_bounds__(GEMV_THREADS) k_pack(struct pack_args a)
{
    grid_wait();
    const int warp = (int)threadIdx.x / WARP;
    const int64_t r = blockIdx.x, groups = (a.cols + 31) / 32, all = groups * a.n_head;

    if (r >= n_rows(&a.s, a.rows, a.n_used))
        return;
    for (int64_t g = (int64_t)blockIdx.y * (GEMV_THREADS / WARP) + warp; g < all;
         g += (int64_t)gridDim.y * (GEMV_THREADS / WARP)) {
        const int64_t col = g % groups * 32;

        pack_32(at_row(a.x, r) + g / groups * a.head_in + col, a.cols - col,
                a.to ? a.to + r * all + g : NULL, a.halves ? a.halves + r * all + g : NULL);
    }
}
KERN(pack);
#endif

/* rmsnorm and layernorm of one group of a row's columns, x: what is taken away from each number and
 * what it is multiplied with. The first n threads of the block add them up; t: a float per warp. */
struct norm_by {
    float mean, inv;
};

DEVICE struct norm_by norm_of(const struct norm_args &a, const float *x, int n, float *t)
{
    const int tid = (int)threadIdx.x;
    float sum = 0.0f, mean = 0.0f;

    if (a.center) {
        for (int i = tid; tid < n && i < a.group; i += n)
            sum += x[i];
        mean = block_sum_of(sum, t, n / WARP) / (float)a.group;
        sum = 0.0f;
    }
    for (int i = tid; tid < n && i < a.group; i += n) {
        const float d = x[i] - mean;
        sum = fma_(d, d, sum);
    }
    return {mean, 1.0f / f_sqrt(block_sum_of(sum, t, n / WARP) / (float)a.group + a.eps)};
}

/* Column i of row r. */
DEVICE float norm_at(const struct norm_args &a, const struct norm_by &by, int64_t r, int64_t i)
{
    float v = (at_row(a.x, r)[i] - by.mean) * by.inv;

    if (a.w)
        v *= a.w[i % a.n_w];
    if (a.b)
        v += a.b[i % a.n_w];
    if (a.add.p)
        v += at_row(a.add, r)[i];
    return v;
}

#ifndef RILL_PERSIST
static __global__ void k_norm(struct norm_args a)
{
    grid_wait();
    const int64_t r = blockIdx.x, at = (int64_t)blockIdx.y * a.group;

    if (r >= n_rows(&a.s, a.rows, a.n_used))
        return;
    const struct norm_by by =
        norm_of(a, at_row(a.x, r) + at, (int)blockDim.x, (float *)shared_memory());
    float *y = at_row(a.out, r) + at;
    for (int i = (int)threadIdx.x; i < a.group; i += (int)blockDim.x)
        y[i] = norm_at(a, by, r, at + i);
    if (!a.to && !a.halves)
        return;
    __syncthreads(); // the row is written: what reads it packed needs no launch for that
    const int64_t groups = ((int64_t)a.group + 31) / 32;
    for (int64_t g = threadIdx.x / WARP; g < groups; g += blockDim.x / WARP)
        pack_32(y + 32 * g, a.group - 32 * g, a.to ? a.to + r * groups + g : NULL,
                a.halves ? a.halves + r * groups + g : NULL);
}
KERN(norm);
#endif

/* -- rotary positions: the angle is formed in double precision, as on the CPU -- */

DEVICE void rope_table_block(const struct rope_table_args &a)
{
    const int64_t t = blockIdx.x;
    const int n = a.r.n_rot, half = n / 2;
    const float scale = a.r.attn_factor == 0.0f ? 1.0f : a.r.attn_factor;

    if (t >= a.s.n[0])
        return;
    float *tab = a.tab + t * 2 * n;
    for (int i = (int)threadIdx.x; i < half; i += (int)blockDim.x) {
        const int j0 = a.r.mode == ROPE_NORM ? 2 * i : i;
        const int j1 = a.r.mode == ROPE_NORM ? 2 * i + 1 : i + half;
        double s, c;

        d_sincos((double)a.s.rot[t] * (double)a.freq[i], &s, &c);
        tab[j0] = tab[j1] = (float)c * scale;
        tab[n + j0] = -(float)s * scale;
        tab[n + j1] = (float)s * scale;
    }
}

/* A thread turns a pair, reading both before it writes either; then the other columns are
 * copied. */
DEVICE void rope_run_block(const struct rope_run_args &a)
{
    const struct rope_args &r = a.r;
    const int64_t t = blockIdx.x, h = blockIdx.y;
    const int half = r.n_rot / 2, end = r.at_in + r.n_rot;

    if (t >= a.s.n[0])
        return;
    const float *x = at_row(a.x, t) + h * r.head_in, *tab = a.tab + t * 2 * r.n_rot;
    float *y = at_row(a.out, t) + h * r.head_out;
    for (int i = (int)threadIdx.x; i < half; i += (int)blockDim.x) {
        const int j0 = r.mode == ROPE_NORM ? 2 * i : i;
        const int j1 = r.mode == ROPE_NORM ? 2 * i + 1 : i + half;
        const float p = x[r.at_in + j0], q = x[r.at_in + j1];

        y[r.at_out + j0] = p * tab[j0] + q * tab[r.n_rot + j0];
        y[r.at_out + j1] = q * tab[j1] + p * tab[r.n_rot + j1];
    }
    if (r.head_in != r.head_out || y == x)
        return;
    for (int i = (int)threadIdx.x; i < r.head_in; i += (int)blockDim.x)
        if (i < r.at_in || i >= end)
            y[i] = x[i];
}

/* -- number by number -- */

DEVICE float map_one(const struct map_args &a, int64_t r, int64_t i)
{
    switch (a.kind) {
    case MAP_ADD:
        return at_row(a.x, r)[i] + at_row(a.b, r)[i];
    case MAP_MUL:
        return at_row(a.x, r)[i] * act_of(at_row(a.b, r)[i], a.act);
    case MAP_SCALE:
        return at_row(a.x, r)[i] * a.scale;
    case MAP_ACT:
        return act_of(at_row(a.x, r)[i], a.act);
    case MAP_SOFTCAP:
        return a.scale * v_tanh(at_row(a.x, r)[i] * (1.0f / a.scale));
    case MAP_LERP: {
        const float x = at_row(a.x, r)[i % a.in_cols], y = at_row(a.b, r)[i % a.in_cols];
        return fma_(y - x, a.c.p ? at_row(a.c, r)[i] : a.w[i], x);
    }
    default:
        return at_row(a.x, r)[i];
    }
}

DEVICE void map_block(const struct map_args &a)
{
    const int64_t r = blockIdx.x;

    if (r >= n_rows(&a.s, a.rows, a.n_used))
        return;
    const int64_t from = a.kind == MAP_TAKE ? a.s.out[r] : r;
    for (int64_t i = (int64_t)blockIdx.y * MAP_THREADS + threadIdx.x; i < a.cols;
         i += (int64_t)gridDim.y * MAP_THREADS)
        at_row(a.out, r)[i] = map_one(a, from, i);
}

#ifndef RILL_PERSIST
static __global__ void k_rope_table(struct rope_table_args a)
{
    grid_wait();
    rope_table_block(a);
}
KERN(rope_table);

static __global__ void k_rope_run(struct rope_run_args a)
{
    grid_wait();
    rope_run_block(a);
}
KERN(rope_run);

static __global__ void __launch_bounds__(MAP_THREADS) k_map(struct map_args a)
{
    grid_wait();
    map_block(a);
}
KERN(map);

/* -- the limit -- */

static __global__ void __launch_bounds__(MAP_THREADS) k_read(struct read_args a)
{
    const int64_t step = (int64_t)gridDim.x * MAP_THREADS;
    const uint4 *p = (const uint4 *)a.p;
    uint32_t sum = 0;

    for (int64_t i = (int64_t)blockIdx.x * MAP_THREADS + threadIdx.x; i < a.n; i += 4 * step) {
        uint4 v[4] = {}; // as many loads under way
#pragma unroll
        for (int k = 0; k < 4; k++)
            if (i + k * step < a.n)
                v[k] = p[i + k * step];
#pragma unroll
        for (int k = 0; k < 4; k++)
            sum += v[k].x ^ v[k].y ^ v[k].z ^ v[k].w;
    }
    if (sum == 0x9e3779b9u)
        *a.out = sum;
}
KERN(read);
#endif
