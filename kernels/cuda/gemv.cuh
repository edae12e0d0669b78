/* gemv.cuh - rows of inputs times a matrix: what all formats share.
 *
 * The order of additions depends on the matrix's width alone, never on how many rows of inputs
 * there are or what they hold: this is how the same bytes come out for any batch.
 *
 * Quantized weights: the sum of 32 products (or 16, where as many share a scale) is an integer and
 * exact. Of every SEGMENT units of 32, units c, c + 8, c + 16 and c + 24 are scaled and added one
 * after the other, from 0: a chain; the eight chains are added to the result in order, segment
 * after segment. For few rows of inputs a warp makes four columns of the result, a lane for each
 * chain, so that neighbouring lanes read neighbouring units; for many a block makes GEMM_COLS
 * columns with the tensor cores' integer products, chain after chain: a segment of the matrix stays
 * in the first cache meanwhile.
 *
 * Weights of 16 bits have a file of their own, half.cuh. Of other plain numbers a warp makes a
 * column: lane l adds the products of the numbers 8 l, 8 l + 256, ... in order, and the lanes are
 * added by a butterfly. Nothing is split over blocks.
 */
#ifndef RILL_KERNELS_CUDA_GEMV_CUH
#define RILL_KERNELS_CUDA_GEMV_CUH

#include "kernels/cuda/common.cuh"

#define GEMV_WARPS (GEMV_THREADS / WARP)
#define CHAINS     8
#define SEGMENT    32 // units

/* The matrix that makes column c of the result, and c's place in it; n_m: there is no such column.
 */
DEVICE int gemv_matrix(const struct gemv_args &a, int64_t *c)
{
    int k = 0;

    while (k < a.n_m && *c >= a.m[k].at + a.m[k].rows)
        k++;
    if (a.glu)
        return k ? a.n_m : 0;
    if (k < a.n_m)
        *c -= a.m[k].at;
    return k;
}

/* Where column c of the result comes from, in the second matrix with `up`; of columns that are not
 * there, another, for nobody. */
DEVICE const uint8_t *gemv_weights(const struct gemv_args &a, int32_t matrix, int64_t c, int up)
{
    int k = gemv_matrix(a, &c);

    if (k == a.n_m) {
        c = 0;
        k = gemv_matrix(a, &c);
    }
    return a.m[k + up].w + matrix * a.each + (c >> a.together) * a.row_bytes;
}

/* The rows of this block: of inputs (xr), of the result (yr), and the matrix of a stack. */
template <int NX>
DEVICE int gemv_rows(const struct gemv_args &a, int32_t *xr, int32_t *yr, int32_t *matrix)
{
    int n = 0;

    *matrix = 0;
    if (a.mode == GEMV_PAIRS) {
        if ((int)blockIdx.x >= a.n_tile[0])
            return 0;
        const int32_t *tile = a.tile + 3 * (int64_t)blockIdx.x;
        *matrix = tile[0];
        n = tile[2];
        for (int j = 0; j < NX; j++) {
            yr[j] = a.pair[tile[1] + (j < n ? j : 0)];
            xr[j] = yr[j] / a.div;
        }
        return n;
    }
    if (a.mode == GEMV_HEADS)
        *matrix = (int32_t)blockIdx.z;
    const int first = (int)blockIdx.x * NX, total = n_rows(&a.s, a.rows, a.n_used);
    n = total - first < NX ? total - first : NX;
    for (int j = 0; j < NX; j++)
        xr[j] = yr[j] = first + (j < n ? j : 0);
    return n;
}

/* Where row i of the inputs begins, for matrix h of a stack of one per head. */
DEVICE const void *gemv_input(const struct gemv_args &a, int32_t i, int32_t h)
{
    const int64_t head = a.mode == GEMV_HEADS ? h : 0;

    if (a.xh)
        return a.xh + ((int64_t)i * a.n_head + head) * ((a.cols + 31) / 32);
    if (a.xq)
        return a.xq + ((int64_t)i * a.n_head + head) * (a.cols / 32);
    return at_row(a.x, i) + head * a.head_in;
}

/* The products of unit u join acc: codes w, a scale and a min for 32 or for each 16 of them. */
template <int SUB, int MIN, int NX>
DEVICE void unit_join(float *acc, const uint32_t *w, const float *s, const float *m,
                      const void *const *x, int64_t u, int n)
{
#pragma unroll
    for (int j = 0; j < NX; j++) {
        if (j >= n)
            continue;
        const struct q32 *in = (const struct q32 *)x[j] + u;
        const int4 lo = ((const int4 *)in->q)[0], hi = ((const int4 *)in->q)[1];
        const float4 d = *(const float4 *)&in->d;
        int one = dot4((int)w[0], lo.x,
                       dot4((int)w[1], lo.y, dot4((int)w[2], lo.z, dot4((int)w[3], lo.w, 0))));
        int two = dot4((int)w[4], hi.x,
                       dot4((int)w[5], hi.y, dot4((int)w[6], hi.z, dot4((int)w[7], hi.w, 0))));

        if (SUB == 32) {
            acc[j] = fma_((float)(one + two), s[0] * d.x, acc[j]);
            if (MIN)
                acc[j] = fma_(m[0], d.y, acc[j]);
        } else {
            acc[j] = fma_((float)one, s[0] * d.x, acc[j]);
            acc[j] = fma_((float)two, s[1] * d.x, acc[j]);
            if (MIN) {
                acc[j] = fma_(m[0], d.z, acc[j]);
                acc[j] = fma_(m[1], d.w, acc[j]);
            }
        }
    }
}

/* While the kernel before this one may still be running: so many bytes of column c, and of those of
 * the warp's other lanes, start on their way to the second cache, a line a lane. */
DEVICE void gemv_ahead(const struct gemv_args &a, int64_t c, int64_t skip)
{
    const int k = a.mode == GEMV_PAIRS ? a.n_m : gemv_matrix(a, &c);
    const int64_t matrix = a.mode == GEMV_HEADS ? blockIdx.z : 0;

    if (k < a.n_m && skip < a.row_bytes)
        prefetch_l2(a.m[k].w + matrix * a.each + c * a.row_bytes + skip);
}

/* Bias, activation, scale and residual of one number of the result. */
DEVICE void gemv_finish(const struct gemv_args &a, const struct mat &m, int64_t r, int32_t yr,
                        int32_t matrix, float gate, float v)
{
    int64_t at = m.at + r;

    if (a.glu) {
        if (a.m[0].bias)
            gate += a.m[0].bias[matrix * a.bias_each + r];
        if (a.m[1].bias)
            v += a.m[1].bias[matrix * a.bias_each + r];
        v = glu_of(gate, v, a.act, a.limit);
    } else {
        if (m.bias)
            v += m.bias[matrix * a.bias_each + r];
        if (a.gate.p)
            v = glu_of(at_row(a.gate, yr)[at], v, a.act, a.limit);
        else
            v = act_of(v, a.act) * a.scale;
    }
    if (a.mode == GEMV_HEADS)
        at += (int64_t)matrix * a.head_out;
    if (a.add.p)
        v += at_row(a.add, yr)[at];
    at_row(a.out, yr)[at] = v;
}

/* -- rows of a table -- */

#define FETCH_NONE INT64_MIN

/* The row of the table that block t brings, FETCH_NONE, or ID_EMBD. */
DEVICE int64_t fetch_row(const struct fetch_args &a, int64_t t)
{
    if (a.mode == FETCH_ALL)
        return t;
    if (t >= a.s.n[0])
        return FETCH_NONE;
    if (a.mode != FETCH_TOKEN)
        return a.mode == FETCH_TYPE ? a.s.type[t] : a.s.pos[t];
    const int32_t id = a.s.id[t];
    return id < 0 && id != ID_EMBD ? a.s.last[-1 - id] : id;
}

/* Whether the row is one that the caller gave, which is copied. */
DEVICE bool fetch_embd(const struct fetch_args &a, int64_t t, int64_t row)
{
    if (a.mode != FETCH_TOKEN || row != ID_EMBD)
        return false;
    for (int64_t i = threadIdx.x; i < a.cols; i += MAP_THREADS)
        at_row(a.out, t)[i] = a.s.embd[t * a.cols + i];
    return true;
}

DEVICE void fetch_put(const struct fetch_args &a, float *y, float v)
{
    *y = a.mode == FETCH_POSITION || a.mode == FETCH_TYPE ? *y + v : v * a.scale;
}

#endif
