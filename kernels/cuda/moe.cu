/* moe.cu - experts: which a row goes to, the pairs' order, and the sum of a row's experts.
 *
 * Same bytes: routing reads one row; the order of pairs only says which block multiplies a pair,
 * each pair's product is a row of its own (gemv.cuh), and a row's experts are added in rank order.
 * Sorting keeps the batch's order, so tiles too are the same whenever the ids are.
 */
#include "kernels/cuda/common.cuh"

/* Softmax in place over n numbers of shared memory by one warp. */
DEVICE void softmax(float *x, int n, int lane)
{
    float max = -f32_of_bits(0x7f800000u), sum = 0.0f;

    for (int i = lane; i < n; i += WARP)
        max = x[i] > max ? x[i] : max;
    max = warp_max(max);
    for (int i = lane; i < n; i += WARP) {
        x[i] = v_exp(x[i] - max);
        sum += x[i];
    }
    sum = warp_sum(sum);
    for (int i = lane; i < n; i += WARP)
        x[i] /= sum;
    __syncwarp();
}

/* Sum of a group's two best scores (DeepSeek V3), or the best alone (V2). */
DEVICE float group_score(const float *s, int width, bool alone)
{
    float one = s[0], two = -f32_of_bits(0x7f800000u);

    for (int i = 1; i < width; i++)
        if (s[i] > one) {
            two = one;
            one = s[i];
        } else if (s[i] > two) {
            two = s[i];
        }
    return width > 1 && !alone ? one + two : one;
}

/* Leaves -inf in all but the n_group_used best groups; of equals the first is better. */
DEVICE void keep_groups(float *s, float *score, const struct moe_args &m, int lane)
{
    const int width = m.n_expert / m.n_group;

    for (int g = lane; g < m.n_group; g += WARP)
        score[g] = group_score(s + g * width, width, m.gate == GATE_SOFTMAX);
    __syncwarp();
    for (int g = lane; g < m.n_group; g += WARP) {
        int better = 0;
        for (int o = 0; o < m.n_group; o++)
            better += score[o] > score[g] || (score[o] == score[g] && o < g);
        for (int i = g * width; better >= m.n_group_used && i < (g + 1) * width; i++)
            s[i] = -f32_of_bits(0x7f800000u);
    }
    __syncwarp();
}

/* The largest number's place, of equals the lowest. */
DEVICE int best_of(const float *s, int n, int lane)
{
    float top = -f32_of_bits(0x7f800000u), all;
    int at = n;

    for (int i = lane; i < n; i += WARP)
        if (s[i] > top) {
            top = s[i];
            at = i;
        }
    all = warp_max(top);
    at = -warp_max_int(at < n && top == all ? -at : -n);
    return at < n ? at : 0;
}

/* A warp for a row. */
static __global__ void __launch_bounds__(WARP) k_route(struct route_args a)
{
    grid_wait();
    const struct moe_args &m = a.m;
    const int lane = (int)threadIdx.x, n = m.n_expert;
    const int64_t t = blockIdx.x;
    float *weight = (float *)shared_memory(), *score = weight + n, *group = score + n;
    float *chosen = group + ROUTE_GROUPS;
    int32_t *id = a.id + t * m.n_used;

    if (t >= a.s.n[0])
        return;
    for (int i = lane; i < n; i += WARP)
        weight[i] = at_row(a.logits, t)[i];
    __syncwarp();
    if (m.gate == GATE_SOFTMAX)
        softmax(weight, n, lane);
    for (int i = lane; i < n; i += WARP) {
        if (m.gate == GATE_SIGMOID)
            weight[i] = v_sigmoid(weight[i]);
        score[i] = a.bias ? weight[i] + a.bias[i] : weight[i];
    }
    __syncwarp();
    if (m.n_group > 1)
        keep_groups(score, group, m, lane);
    for (int i = lane; i < n; i += WARP)
        if (!(score[i] > -f32_of_bits(0x7f800000u)))
            score[i] = -3.402823e38f;
    __syncwarp();
    for (int k = 0; k < m.n_used; k++) {
        const int best = best_of(score, n, lane);
        __syncwarp();
        if (lane == 0) {
            id[k] = best;
            chosen[k] = weight[best];
            score[best] = -f32_of_bits(0x7f800000u);
        }
        __syncwarp();
    }
    if (m.gate == GATE_SOFTMAX_TOPK)
        softmax(chosen, m.n_used, lane);
    float sum = 0.0f;
    for (int k = 0; k < m.n_used; k++)
        sum += chosen[k];
    for (int k = lane; k < m.n_used; k += WARP)
        a.w[t * m.n_used + k] = (m.norm ? chosen[k] / (sum + 1e-20f) : chosen[k]) * m.scale;
}
KERN(route);

/* One block: pairs by expert, an expert's in the batch's order, cut in tiles of at most `per`. */
static __global__ void __launch_bounds__(SORT_THREADS) k_sort(struct sort_args a)
{
    grid_wait();
    int32_t *count = (int32_t *)shared_memory(), *start = count + a.n_expert;
    int32_t *tile = start + a.n_expert;
    const int n = a.s.n[0] * a.n_used, tid = (int)threadIdx.x;

    for (int e = tid; e < a.n_expert; e += SORT_THREADS)
        count[e] = 0;
    __syncthreads();
    for (int i = tid; i < n; i += SORT_THREADS)
        count_one(count + a.id[i]);
    __syncthreads();
    for (int e = tid; e < a.n_expert; e += SORT_THREADS)
        tile[e] = (count[e] + a.per - 1) / a.per;
    __syncthreads();
    for (int e = tid; e < a.n_expert; e += SORT_THREADS) {
        int32_t pairs = 0, at = 0;

#pragma unroll 8
        for (int i = 0; i < e; i++) {
            pairs += count[i];
            at += tile[i];
        }
        start[e] = pairs;
        if (e == a.n_expert - 1)
            a.n_tile[0] = at + tile[e];
        for (int32_t done = 0; done < count[e]; done += a.per, at++) {
            a.tile[3 * at] = e;
            a.tile[3 * at + 1] = pairs + done;
            a.tile[3 * at + 2] = count[e] - done < a.per ? count[e] - done : a.per;
        }
    }
    __syncthreads();
    for (int i = tid; tid < WARP && i - tid < n; i += WARP) { // one warp: they stay in order
        const int e = i < n ? a.id[i] : -1;
        const uint32_t same = warp_same(e);
        const int before = __popc(same & ((1u << tid) - 1));

        if (e >= 0)
            a.pair[start[e] + before] = i;
        __syncwarp();
        if (e >= 0 && before == 0)
            start[e] += __popc(same);
        __syncwarp();
    }
}
KERN(sort);

/* The experts' results of a row, weighted and added in rank order. */
static __global__ void __launch_bounds__(MAP_THREADS) k_combine(struct combine_args a)
{
    grid_wait();
    const int64_t t = blockIdx.x;

    if (t >= a.s.n[0])
        return;
    for (int64_t i = (int64_t)blockIdx.y * MAP_THREADS + threadIdx.x; i < a.cols;
         i += (int64_t)gridDim.y * MAP_THREADS) {
        float sum = 0.0f;
        for (int64_t j = t * a.n_used; j < (t + 1) * a.n_used; j++) {
            const float v = a.x[j * a.cols + i] * a.w[j];
            sum = j == t * a.n_used ? v : sum + v;
        }
        sum *= a.scale;
        if (a.add.p)
            sum += at_row(a.add, t)[i];
        at_row(a.out, t)[i] = sum;
    }
}
KERN(combine);
