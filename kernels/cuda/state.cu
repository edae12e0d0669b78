/* state.cu - recurrent records: a block takes one sequence's rows, and a head or some columns.
 *
 * Same bytes: rows of a sequence are done one after the other from the state before them, so where
 * a prompt is cut changes nothing; a thread owns its columns of the state, and sums over a head are
 * dealt out by column and added by a fixed tree. A state that nobody keeps goes to spare memory.
 */
#include "kernels/cuda/common.cuh"

#define KERN_STATE(what)                                                                           \
    extern "C" const struct rt_kern kern_##what =                                                  \
        KERN_OF(k_##what, struct state_args, "cuda:" #what)

struct span {
    int32_t t0, t1;
    const float *from; // NULL: zeros
    float *to;
    bool kept;
};

/* The block's run of rows; false: there is none. */
DEVICE bool run_of(const struct state_args &a, struct span *r)
{
    const int64_t i = blockIdx.x;

    if (i >= a.s.n[2])
        return false;
    const int32_t *run = a.s.run + 4 * i;
    r->t0 = run[0];
    r->t1 = run[1];
    r->kept = run[3] >= 0;
    r->from = NULL;
    if (run[2] >= 0)
        r->from = (const float *)(a.state + (uint64_t)run[2] * a.slot_bytes + a.a.state_at);
    r->to = (float *)(r->kept ? a.state + (uint64_t)run[3] * a.slot_bytes + a.a.state_at
                              : a.spare + (uint64_t)i * a.a.state_bytes);
    return true;
}

/* Row t of the inputs, or what the state has of the rows before the run. */
DEVICE float conv_at(const struct state_args &a, const struct span &r, int t, int64_t c)
{
    if (t >= r.t0)
        return at_row(a.x, t)[c];
    return r.from ? r.from[(a.a.width - 1 + t - r.t0) * a.cols + c] : 0.0f;
}

/* A thread for a column. */
static __global__ void __launch_bounds__(MAP_THREADS) k_conv(struct state_args a)
{
    grid_wait();
    const int64_t c = (int64_t)blockIdx.y * MAP_THREADS + threadIdx.x;
    const int width = a.a.width;
    struct span r;

    if (!run_of(a, &r) || c >= a.cols)
        return;
    for (int t = r.t0; t < r.t1; t++) {
        float s = a.w[1] ? a.w[1][c] : 0.0f;
        for (int j = 0; j < width; j++)
            s = fma_(conv_at(a, r, t - (width - 1 - j), c), a.w[0][c * width + j], s);
        at_row(a.out, t)[c] = act_of(s, a.a.act);
    }
    for (int j = 0; j < width - 1; j++) // oldest first: nothing is overwritten before it is read
        r.to[j * a.cols + c] = conv_at(a, r, r.t1 - (width - 1 - j), c);
}
KERN_STATE(conv);

static __global__ void __launch_bounds__(MAP_THREADS) k_shift(struct state_args a)
{
    grid_wait();
    const int64_t c = (int64_t)blockIdx.y * MAP_THREADS + threadIdx.x;
    struct span r;

    if (!run_of(a, &r) || c >= a.cols)
        return;
    at_row(a.out, r.t0)[c] = r.from ? r.from[c] : 0.0f;
    for (int t = r.t0 + 1; t < r.t1; t++)
        at_row(a.out, t)[c] = at_row(a.x, t - 1)[c];
    r.to[c] = at_row(a.x, r.t1 - 1)[c];
}
KERN_STATE(shift);

/* state[n][p] = state[n][p] e^(dt a) + B[n] dt x[p];  y[p] = sum over n of C[n] state[n][p] + d
 * x[p]; a thread for a column p of a head. */
static __global__ void k_scan(struct state_args a)
{
    grid_wait();
    const int np = a.a.head_dim, ns = a.a.d_state, p = (int)threadIdx.x;
    const int64_t h = blockIdx.y, inner = (int64_t)a.a.n_head * np;
    const int64_t g = h / (a.a.n_head / a.a.n_group), each = (int64_t)np * ns;
    struct span r;

    if (!run_of(a, &r) || p >= np)
        return;
    const float rate = a.w[0][h], skip = a.w[1] ? a.w[1][h] : 0.0f;
    const float bias = a.w[2] ? a.w[2][h] : 0.0f;
    const float *from = r.from ? r.from + h * each : NULL;
    float *state = r.to + h * each;
    for (int n = 0; n < ns && from != state; n++)
        state[(int64_t)n * np + p] = from ? from[(int64_t)n * np + p] : 0.0f;
    for (int t = r.t0; t < r.t1; t++) {
        const float *row = at_row(a.x, t), *b = row + inner + g * ns;
        const float *c = row + inner + (a.a.n_group + g) * ns;
        const float dt = f_softplus(at_row(a.dt, t)[h] + bias), keep = v_exp(dt * rate);
        const float x = row[h * np + p], in = dt * x;
        float sum = skip * x;

        for (int n = 0; n < ns; n++) {
            const float v = fma_(state[(int64_t)n * np + p], keep, b[n] * in);
            state[(int64_t)n * np + p] = v;
            sum = fma_(c[n], v, sum);
        }
        at_row(a.out, t)[h * np + p] = sum;
    }
}
KERN_STATE(scan);

/* RWKV-7 time mixing (kernels/cpu/rwkv.inc has the formulas); a thread for a value's column. */
static __global__ void __launch_bounds__(RWKV_COLS) k_rwkv(struct state_args a)
{
    grid_wait();
    const int n = a.a.head_dim, i = (int)threadIdx.x;
    const int64_t h = blockIdx.y, width = (int64_t)a.a.n_head * n, each = (int64_t)n * n;
    float *w = (float *)shared_memory(), *kk = w + n, *ka = kk + n, *key = ka + n, *rr = key + n;
    float *t4 = rr + n; // a number per warp
    const bool mine = i < n;
    const int64_t at = h * n + i;
    struct span r;

    if (!run_of(a, &r))
        return;
    const float *from = r.from ? r.from + h * each : NULL;
    float *state = r.to + h * each;
    for (int j = 0; j < n && mine && from != state; j++)
        state[(int64_t)j * n + i] = from ? from[(int64_t)j * n + i] : 0.0f;
    for (int t = r.t0; t < r.t1; t++) {
        const float *x = at_row(a.x, t) + at;
        float k = 0.0f, v = 0.0f, g = 0.0f, raw = 0.0f, now = 0.0f, rv = 0.0f, out = 0.0f;
        float norm, bonus, mean, var, seen = 0.0f;

        if (mine) {
            rv = x[0];
            k = x[2 * width];
            v = x[3 * width];
            g = x[4 * width];
            raw = k * a.w[0][at];
            now = fma_(k, (g - 1.0f) * a.w[1][at], k);
        }
        norm = f_sqrt(block_sum(raw * raw, t4));
        bonus = block_sum(mine ? now * a.w[2][at] * rv : 0.0f, t4);
        __syncthreads(); // the row before has been used up
        if (mine) {
            w[i] = v_exp(-0.60653066f * x[width]);
            kk[i] = raw * (1.0f / (norm > 1e-12f ? norm : 1e-12f));
            ka[i] = kk[i] * g;
            key[i] = now;
            rr[i] = rv;
        }
        __syncthreads();
        for (int j = 0; j < n && mine; j++)
            seen = fma_(kk[j], state[(int64_t)j * n + i], seen);
        for (int j = 0; j < n && mine; j++) {
            float s = state[(int64_t)j * n + i] * w[j];
            s = fma_(key[j], v, s);
            s = s - ka[j] * seen;
            state[(int64_t)j * n + i] = s;
            out = fma_(rr[j], s, out);
        }
        mean = block_sum(mine ? out : 0.0f, t4) / (float)n;
        var = mine ? out - mean : 0.0f;
        var = block_sum(var * var, t4) / (float)n;
        if (mine)
            at_row(a.out, t)[at] =
                (out - mean) * (1.0f / f_sqrt(var + a.a.eps)) * a.w[3][at] + a.w[4][at] + v * bonus;
    }
}
KERN_STATE(rwkv);
