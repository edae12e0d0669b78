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

#include "kernels/cuda/tile.cuh"

#define GEMM_UNITS 2 // of a stage: half a chain

/* 32 weights: codes, and scales and mins as <format>_part gives them. */
struct alignas(16) w32 {
    int8_t q[32];
    float s[2], m[2];
};

struct gemm_stage {
    struct w32 w[GEMM_UNITS][GEMM_COLS];
    struct q32 x[GEMM_UNITS][GEMM_ROWS];
};

static_assert(sizeof(struct gemm_stage[2]) == GEMM_SHARED, "what the launch asks for");
static_assert(GEMM_SHARED >= GEMM_ROWS * GEMM_LD * sizeof(float), "results fit");

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

/* What a thread brings for a stage: a unit of weights, and up to two quads of inputs, which go to
 * shared memory by themselves. */
struct gemm_load {
    const uint8_t *row; // of the matrix
    const int4 *x[2];   // at unit 0; NULL: nothing
    struct w32 w;
};

template <class R>
DEVICE void gemm_fetch(struct gemm_load *l, const struct gemm_at &at, struct gemm_stage *s)
{
    const int64_t u = at.unit + (int)threadIdx.x / GEMM_COLS * CHAINS;

    if (u < at.units)
        R::unit(l->row, u, at.units, &l->w);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int place = (int)threadIdx.x + i * GEMM_THREADS;
        const int64_t unit = at.unit + place / (3 * GEMM_ROWS) * CHAINS;
        if (l->x[i] && unit < at.units)
            copy_16((int4 *)s->x + place, l->x[i] + unit * 3);
    }
    copies_group();
}

DEVICE void gemm_put(const struct gemm_load &l, struct gemm_stage *s)
{
    s->w[threadIdx.x / GEMM_COLS][threadIdx.x % GEMM_COLS] = l.w;
    copies_wait<0>();
}

/* A sum of products, exact below 2^22, as a float: the accumulator started from this number's bits,
 * whose last digit is worth 1. */
#define GEMM_ZERO 0x4b400000 // 12582912.0f

DEVICE float gemm_float(int c)
{
    return f32_of_bits((uint32_t)c) - 12582912.0f;
}

/* The sums of a unit's products, or of each half's, in the form that gemm_float reads. */
template <int SUB> DEVICE void unit_products(int (*c)[4], const int *a, const int *b)
{
#pragma unroll
    for (int h = 0; h < 2; h++)
#pragma unroll
        for (int k = 0; k < 4; k++)
            c[h][k] = GEMM_ZERO;
    if (SUB == 32) {
        mma_s8_k32(c[0], a, b);
    } else {
        mma_s8_k16(c[0], a, b);
        mma_s8_k16(c[1], a + 2, b + 1);
    }
}

/* One of them joins v as gemv.cuh says; d: the input's scale and sums. */
template <int SUB, int MIN>
DEVICE float unit_scaled(float v, int c0, int c1, const float *s, const float *m, const float4 &d)
{
    v = fma_(gemm_float(c0), s[0] * d.x, v);
    if (SUB == 16)
        v = fma_(gemm_float(c1), s[1] * d.x, v);
    if (MIN && SUB == 32)
        v = fma_(m[0], d.y, v);
    if (MIN && SUB == 16) {
        v = fma_(m[0], d.z, v);
        v = fma_(m[1], d.w, v);
    }
    return v;
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
            int c[2][4];

            unit_products<R::SUB>(c, a, b);
            in = x + j * 8 + 2 * t;
#pragma unroll
            for (int k = 0; k < 4; k++) {
                const struct w32 *from = k < 2 ? w0 : w1;
                acc[i][j][k] = unit_scaled<R::SUB, R::MIN>(acc[i][j][k], c[0][k], c[1][k], from->s,
                                                           from->m, *(const float4 *)&in[k % 2].d);
            }
        }
    }
}

/* Where this thread reads. */
DEVICE void gemm_begin(const struct gemv_args &a, const struct tile_rows &rows, struct gemm_load *l)
{
    l->row = tile_weights(a, rows, (int)threadIdx.x % GEMM_COLS);
    memset(&l->w, 0, sizeof l->w);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int at = (int)threadIdx.x + i * GEMM_THREADS, row = at / 3 % GEMM_ROWS;
        l->x[i] = at < GEMM_UNITS * 3 * GEMM_ROWS
                      ? (const int4 *)gemv_input(a, tile_in(a, rows, row), rows.matrix) + at % 3
                      : NULL;
    }
}

template <class R> DEVICE void gemm(const struct gemv_args &a)
{
    struct gemm_stage *stage = (struct gemm_stage *)shared_memory();
    const int warp = (int)threadIdx.x / WARP, col = warp % 4 * 32, row = warp / 4 * 32;
    float acc[2][4][4] = {{{0}}}, total[2][4][4] = {{{0}}};
    struct gemm_at at = {0, a.cols / 32}, before = at;
    struct gemm_load l;
    const struct tile_rows rows = tile_rows_of(a, GEMM_ROWS);
    const int n_tile = (rows.n - row + 7) / 8; // what no row is in is not multiplied

    if (rows.n <= 0)
        return;
    gemm_begin(a, rows, &l);
    bool more = at.units > 0, any = false, ends_chain = false;
    for (int turn = 0;; turn ^= 1) {
        const struct gemm_stage *s = &stage[turn ^ 1];

        if (more)
            gemm_fetch<R>(&l, at, &stage[turn]);
        for (int u = 0; any && u < GEMM_UNITS && before.unit + u * CHAINS < before.units; u++)
            gemm_multiply<R>(acc, &s->w[u][col], &s->x[u][row], n_tile);
        if (ends_chain)
            tile_fold(total, acc);
        if (!more)
            break;
        gemm_put(l, &stage[turn]);
        __syncthreads();
        before = at;
        any = true;
        more = gemm_next(&at, &ends_chain);
    }
    tile_end(a, rows, total);
}

#endif
