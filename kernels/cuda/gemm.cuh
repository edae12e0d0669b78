/* gemm.cuh - many rows of inputs times a quantized matrix, by the tensor cores' integer products.
 *
 * A block of eight warps makes GEMM_COLS columns of the result for GEMM_ROWS rows of inputs: 2
 * units of a chain at a time, unpacked by a thread each, lie in shared memory beside as many packed
 * inputs, twice, so that one pair is read while the other is multiplied. A warp has 32 columns by
 * 32 rows. The sum of a unit's products is exact, its scaling and the order of additions are those
 * of gemv.cuh, so the bits are the same. With gate and up a warp has 16 columns of each, so that
 * both numbers of a column lie in one thread.
 *
 * Shared memory: a unit and its scales are 48 bytes here and there; rows 12 words apart fall on
 * different banks.
 */
#ifndef RILL_KERNELS_CUDA_GEMM_CUH
#define RILL_KERNELS_CUDA_GEMM_CUH

#include "kernels/cuda/gemv.cuh"

#define GEMM_UNITS 2   // of a stage: half a chain
#define GEMM_LD    132 // from row to row of the results in shared memory: 4 banks on

/* 32 weights: codes, and scales and mins as <format>_part gives them. */
struct alignas(16) w32 {
    int8_t q[32];
    float s[2], m[2];
};

struct gemm_stage {
    struct w32 w[GEMM_UNITS][GEMM_COLS];
    struct q32 x[GEMM_UNITS][GEMM_ROWS];
};

struct gemm_shared {
    struct gemm_stage stage[2];
    int32_t xr[GEMM_ROWS], yr[GEMM_ROWS];
};
static_assert(sizeof(struct gemm_shared) == GEMM_SHARED, "what the launch asks for");
static_assert(sizeof(struct gemm_stage[2]) >= GEMM_ROWS * GEMM_LD * sizeof(float), "results fit");

/* A stage's place in the row: units unit and unit + CHAINS. */
struct gemm_at {
    int64_t unit, units;
};

/* Chain after chain of a segment, each in as many stages; false: the row is at its end. */
DEVICE bool gemm_next(struct gemm_at *p, bool *ends_chain)
{
    const int64_t first = p->unit / SEGMENT * SEGMENT;
    const int half = (int)(p->unit / (GEMM_UNITS * CHAINS) % 2), chain = (int)(p->unit % CHAINS);

    *ends_chain = true;
    if (!half && p->unit + GEMM_UNITS * CHAINS < p->units) {
        p->unit += GEMM_UNITS * CHAINS;
        *ends_chain = false;
    } else if (chain + 1 < CHAINS && first + chain + 1 < p->units) {
        p->unit = first + chain + 1;
    } else {
        p->unit = first + SEGMENT;
    }
    return p->unit < p->units;
}

/* The column of the result that row i of the tile is, and whether it is of `up`. */
DEVICE int64_t gemm_column(const struct gemv_args &a, int i, int *up)
{
    *up = a.glu ? i / 16 % 2 : 0;
    return a.glu ? (int64_t)blockIdx.y * (GEMM_COLS / 2) + i / 32 * 16 + i % 16
                 : (int64_t)blockIdx.y * GEMM_COLS + i;
}

/* What a thread brings for a stage: a unit of weights, and up to two quads of inputs. */
struct gemm_load {
    const uint8_t *row; // of the matrix
    const int4 *x[2];   // at unit 0; NULL: nothing
    struct w32 w;
    int4 q[2];
};

template <class R> DEVICE void gemm_fetch(struct gemm_load *l, const struct gemm_at &at)
{
    const int64_t u = at.unit + (int)threadIdx.x / GEMM_COLS * CHAINS;

    if (u < at.units)
        R::read(l->row, u, &l->w);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int64_t unit =
            at.unit + (int)(threadIdx.x + i * GEMM_THREADS) / (3 * GEMM_ROWS) * CHAINS;
        if (l->x[i] && unit < at.units)
            l->q[i] = l->x[i][unit * 3];
    }
}

DEVICE void gemm_put(const struct gemm_load &l, struct gemm_stage *s)
{
    struct w32 *w = &s->w[threadIdx.x / GEMM_COLS][threadIdx.x % GEMM_COLS];

    *w = l.w;
#pragma unroll
    for (int i = 0; i < 2; i++)
        if (l.x[i])
            ((int4 *)s->x)[threadIdx.x + i * GEMM_THREADS] = l.q[i];
}

/* A sum of products, exact below 2^22, as a float: the accumulator started from this number's bits,
 * whose last digit is worth 1. */
#define GEMM_ZERO 0x4b400000 // 12582912.0f

DEVICE float gemm_float(int c)
{
    return f32_of_bits((uint32_t)c) - 12582912.0f;
}

/* A unit's products join acc: [2 x 16 columns][4 x 8 rows]. */
template <class R>
DEVICE void gemm_multiply(float (*acc)[4][4], const struct w32 *w, const struct q32 *x, int n_tile)
{
    const int lane = (int)threadIdx.x % WARP, g = lane / 4, t = lane % 4;

#pragma unroll
    for (int i = 0; i < 2; i++) {
        const struct w32 *w0 = w + i * 16 + g, *w1 = w0 + 8;
        const int a[4] = {((const int *)w0->q)[t], ((const int *)w1->q)[t],
                          ((const int *)w0->q)[4 + t], ((const int *)w1->q)[4 + t]};
#pragma unroll
        for (int j = 0; j < 4; j++) {
            if (j >= n_tile)
                continue;
            const struct q32 *in = x + j * 8 + g;
            const int b[2] = {((const int *)in->q)[t], ((const int *)in->q)[4 + t]};
            int c[2][4] = {{GEMM_ZERO, GEMM_ZERO, GEMM_ZERO, GEMM_ZERO},
                           {GEMM_ZERO, GEMM_ZERO, GEMM_ZERO, GEMM_ZERO}};
            if (R::SUB == 32) {
                mma_s8_k32(c[0], a, b);
            } else {
                mma_s8_k16(c[0], a, b);
                mma_s8_k16(c[1], a + 2, b + 1);
            }
            in = x + j * 8 + 2 * t;
#pragma unroll
            for (int k = 0; k < 4; k++) {
                const float4 d = *(const float4 *)&in[k % 2].d;
                const struct w32 *s = k < 2 ? w0 : w1;
                float v = acc[i][j][k];

                v = fma_(gemm_float(c[0][k]), s->s[0] * d.x, v);
                if (R::SUB == 16)
                    v = fma_(gemm_float(c[1][k]), s->s[1] * d.x, v);
                if (R::MIN && R::SUB == 32)
                    v = fma_(s->m[0], d.y, v);
                if (R::MIN && R::SUB == 16) {
                    v = fma_(s->m[0], d.z, v);
                    v = fma_(s->m[1], d.w, v);
                }
                acc[i][j][k] = v;
            }
        }
    }
}

/* The rows of this block, as gemv_rows has them, in shared memory. */
DEVICE int gemm_rows(const struct gemv_args &a, struct gemm_shared *sh, int32_t *matrix)
{
    const int j = (int)threadIdx.x;
    int n, first = 0;

    *matrix = a.mode == GEMV_HEADS ? (int32_t)blockIdx.z : 0;
    if (a.mode == GEMV_PAIRS) {
        const int32_t *tile = a.tile + 3 * (int64_t)blockIdx.x;
        if ((int)blockIdx.x >= a.n_tile[0])
            return 0;
        *matrix = tile[0];
        first = tile[1];
        n = tile[2];
    } else {
        first = (int)blockIdx.x * GEMM_ROWS;
        n = n_rows(&a.s, a.rows, a.n_used) - first;
        n = n < GEMM_ROWS ? n : GEMM_ROWS;
    }
    if (n > 0 && j < GEMM_ROWS) {
        const int at = first + (j < n ? j : 0);
        sh->yr[j] = a.mode == GEMV_PAIRS ? a.pair[at] : at;
        sh->xr[j] = a.mode == GEMV_PAIRS ? sh->yr[j] / a.div : at;
    }
    return n;
}

/* Where this thread reads. */
DEVICE void gemm_begin(const struct gemv_args &a, const struct gemm_shared *sh, int32_t matrix,
                       struct gemm_load *l)
{
    int up;
    int64_t c = gemm_column(a, (int)threadIdx.x % GEMM_COLS, &up);
    int k = gemv_matrix(a, &c);

    if (k == a.n_m) { // columns that are not there: some that are, for nobody
        c = 0;
        k = gemv_matrix(a, &c);
    }
    l->row = a.m[k + up].w + matrix * a.each + c * a.row_bytes;
    memset(&l->w, 0, sizeof l->w);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int at = (int)threadIdx.x + i * GEMM_THREADS;
        const int row = at / 3 % GEMM_ROWS;
        l->q[i] = int4{0, 0, 0, 0};
        l->x[i] = at < GEMM_UNITS * 3 * GEMM_ROWS
                      ? (const int4 *)gemv_input(a, sh->xr[row], matrix) + at % 3
                      : NULL;
    }
}

/* The sums go through shared memory, so that each number is finished in one place of the code and
 * neighbouring threads write neighbouring columns. */
DEVICE void gemm_end(const struct gemv_args &a, struct gemm_shared *sh, int32_t matrix, int n,
                     const float (*total)[4][4])
{
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    float *tile = (float *)sh->stage; // [GEMM_ROWS][GEMM_LD]

    __syncthreads();
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int k = 0; k < 4; k++)
                tile[(warp / 4 * 32 + j * 8 + lane % 4 * 2 + k % 2) * GEMM_LD + warp % 4 * 32 +
                     i * 16 + k / 2 * 8 + lane / 4] = total[i][j][k];
    __syncthreads();
    const int i = (int)threadIdx.x % GEMM_COLS;
    int up;
    int64_t c = gemm_column(a, i, &up);
    const int m = gemv_matrix(a, &c);

    if (m == a.n_m || up)
        return;
#pragma unroll 1
    for (int row = (int)threadIdx.x / GEMM_COLS; row < n; row += GEMM_THREADS / GEMM_COLS) {
        const float *at = tile + row * GEMM_LD + i;
        gemv_finish(a, a.m[m], c, sh->yr[row], matrix, at[0], at[a.glu ? 16 : 0]);
    }
}

template <class R> DEVICE void gemm(const struct gemv_args &a)
{
    struct gemm_shared *sh = (struct gemm_shared *)shared_memory();
    const int warp = (int)threadIdx.x / WARP, col = warp % 4 * 32, row = warp / 4 * 32;
    float acc[2][4][4] = {{{0}}}, total[2][4][4] = {{{0}}};
    struct gemm_at at = {0, a.cols / 32}, before = at;
    struct gemm_load l;
    int32_t matrix;
    const int n = gemm_rows(a, sh, &matrix);
    const int n_tile = (n - row + 7) / 8; // what no row is in is not multiplied

    if (n <= 0)
        return;
    __syncthreads();
    gemm_begin(a, sh, matrix, &l);
    bool more = at.units > 0, any = false, ends_chain = false;
    for (int turn = 0;; turn ^= 1) {
        const struct gemm_stage *s = &sh->stage[turn ^ 1];

        if (more)
            gemm_fetch<R>(&l, at);
        for (int u = 0; any && u < GEMM_UNITS && before.unit + u * CHAINS < before.units; u++)
            gemm_multiply<R>(acc, &s->w[u][col], &s->x[u][row], n_tile);
        if (ends_chain) {
#pragma unroll
            for (int i = 0; i < 2 * 4 * 4; i++) {
                (&total[0][0][0])[i] += (&acc[0][0][0])[i];
                (&acc[0][0][0])[i] = 0.0f;
            }
        }
        if (!more)
            break;
        gemm_put(l, &sh->stage[turn]);
        __syncthreads();
        before = at;
        any = true;
        more = gemm_next(&at, &ends_chain);
    }
    gemm_end(a, sh, matrix, n, total);
}

#endif
