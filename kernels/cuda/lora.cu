/* lora.cu - adapters: rows of requests that chose some get y += scale * B (A x), in place,
 * and behind a layer x += scale * v.
 *
 * Same bytes: a row's sums depend on the matrices alone. A x by a chain of every 32nd column a lane
 * and a butterfly; B's products by a chain over the rank; adapters are added in the row's order.
 */
#include "kernels/cuda/common.cuh"

/* The pair that row r of the result has from its adapter k; rank 0: none. */
DEVICE struct lora_pair pair_of(const struct lora_args &a, int64_t r, int k, float *scale)
{
    const int64_t t = a.rows == ROWS_S ? a.s.out[r] : r;
    const struct lora_use *use = a.s.use + t;

    *scale = 0.0f;
    if (use->slot[k] < 0)
        return {NULL, NULL, 0, 0.0f};
    const struct lora_pair p = a.pair[use->slot[k] * a.n_pair];
    *scale = p.scale * use->scale[k];
    return p;
}

/* A block makes some of a row's rank numbers with adapter blockIdx.y, a warp one at a time. */
static __global__ void __launch_bounds__(MAP_THREADS) k_lora_low(struct lora_args a)
{
    grid_wait();
    const int64_t r = blockIdx.x;
    const int k = (int)blockIdx.y, warps = MAP_THREADS / WARP;
    float scale;

    if (r >= n_rows(&a.s, a.rows, a.n_used))
        return;
    const struct lora_pair p = pair_of(a, r, k, &scale);
    const float *x = at_row(a.x, r);
    float *to = a.low + (r * LORA_MIX + k) * LORA_RANK;
    for (int i = (int)blockIdx.z * warps + (int)threadIdx.x / WARP; i < p.rank;
         i += (int)gridDim.z * warps) {
        const float *w = p.a + i * a.cols;
        float sum = 0.0f;

        for (int64_t c = threadIdx.x % WARP; c < a.cols; c += WARP)
            sum = fma_(w[c], x[c], sum);
        sum = warp_sum(sum);
        if (threadIdx.x % WARP == 0)
            to[i] = sum;
    }
}
extern "C" const struct rt_kern kern_lora_low =
    KERN_OF(k_lora_low, struct lora_args, "cuda:lora A x");

static __global__ void __launch_bounds__(MAP_THREADS) k_lora_add(struct lora_args a)
{
    grid_wait();
    const int64_t r = blockIdx.x;

    if (r >= n_rows(&a.s, a.rows, a.n_used))
        return;
    for (int k = 0; k < LORA_MIX; k++) {
        float scale;
        const struct lora_pair p = pair_of(a, r, k, &scale);
        const float *low = a.low + (r * LORA_MIX + k) * LORA_RANK;
        float *y = at_row(a.out, r);

        for (int64_t c = (int64_t)blockIdx.y * MAP_THREADS + threadIdx.x;
             p.rank > 0 && c < a.out_cols; c += (int64_t)gridDim.y * MAP_THREADS) {
            const float *w = p.b + c * p.rank;
            float sum = 0.0f;

            for (int i = 0; i < p.rank; i++)
                sum = fma_(w[i], low[i], sum);
            y[c] += sum * scale;
        }
    }
}
extern "C" const struct rt_kern kern_lora_add = KERN_OF(k_lora_add, struct lora_args, "cuda:lora");

static __global__ void __launch_bounds__(MAP_THREADS) k_steer(struct lora_args a)
{
    grid_wait();
    const int64_t r = blockIdx.x;

    if (r >= n_rows(&a.s, a.rows, a.n_used))
        return;
    for (int k = 0; k < LORA_MIX; k++) {
        float scale;
        const struct lora_pair p = pair_of(a, r, k, &scale);
        float *x = at_row(a.out, r);

        for (int64_t c = (int64_t)blockIdx.y * MAP_THREADS + threadIdx.x;
             p.rank > 0 && c < a.out_cols; c += (int64_t)gridDim.y * MAP_THREADS)
            x[c] += p.a[c] * scale;
    }
}
extern "C" const struct rt_kern kern_steer = KERN_OF(k_steer, struct lora_args, "cuda:steer");
