/* half.cuh - rows of inputs times matrices of 16 bits a weight, by the tensor cores' bf16 products.
 *
 * Inputs are two bf16 each (hi + lo, 16 bits of mantissa); F16 weights are split exactly into two
 * as well, and lo times lo is left out. One order of additions for any number of rows: the products
 * of HALF_SEGMENT columns are chained through the instruction's own accumulator from 0, 16 columns
 * at a time, hi before lo; the segments are added in order. The instruction's inner order and
 * rounding are the device's own, but the same for every row and column of a tile; a row is always a
 * row of the instruction's B, a weight always of its A. For few rows of inputs the eight warps of a
 * block take a segment each of 16 columns of the result.
 *
 * Of every 32 columns of the matrix lane t of four takes 8 t to 8 t + 7, 16 bytes: the
 * instruction's columns 2 t, 2 t + 1, 2 t + 8 and 2 t + 9 of two steps. Inputs are taken the same
 * way.
 */
#ifndef RILL_KERNELS_CUDA_HALF_CUH
#define RILL_KERNELS_CUDA_HALF_CUH

#include "kernels/cuda/heads.cuh"
#include "kernels/cuda/tile.cuh"

#define HALF_SEGMENT 512 // columns
#define HALF_WARPS   (HALF_THREADS / WARP)

/* 8 neighbouring weights, or inputs: two to a word. */
struct alignas(16) eight {
    uint32_t w[4];
};

DEVICE struct eight eight_at(const void *p)
{
    const uint4 v = *(const uint4 *)p;

    return {{v.x, v.y, v.z, v.w}};
}

/* Weights c to c + 7 of a row, zeros behind its end. */
DEVICE struct eight half_raw(const uint8_t *row, int64_t c, int64_t cols)
{
    const uint16_t *at = (const uint16_t *)row + c;
    struct eight e = {{0, 0, 0, 0}};

    if (cols - c >= 8 && ((uintptr_t)at & 15) == 0)
        return eight_at(at);
#pragma unroll
    for (int k = 0; k < 8; k++)
        if (c + k < cols)
            e.w[k / 2] |= (uint32_t)at[k] << k % 2 * 16;
    return e;
}

/* As bf16; with lo, what that leaves over. */
template <class R>
DEVICE void half_split(const struct eight &raw, struct eight *hi, struct eight *lo)
{
    if constexpr (R::LO) {
#pragma unroll
        for (int k = 0; k < 4; k++) {
            hi->w[k] = lo->w[k] = 0;
#pragma unroll
            for (int s = 0; s < 32; s += 16) {
                const float x = R::get((uint16_t)(raw.w[k] >> s));
                const uint16_t h = f32_to_bf16(x);
                hi->w[k] |= (uint32_t)h << s;
                lo->w[k] |= (uint32_t)f32_to_bf16(x - bf16_to_f32(h)) << s;
            }
        }
    } else {
        *hi = raw;
    }
}

/* 32 columns of rows g and g + 8 of A and of column g of B join c. */
template <class R>
DEVICE void half_multiply(float *c, const struct eight *hi, const struct eight *lo,
                          const struct eight &x_hi, const struct eight &x_lo)
{
#pragma unroll
    for (int s = 0; s < 4; s += 2) {
        const uint32_t a[4] = {hi[0].w[s], hi[1].w[s], hi[0].w[s + 1], hi[1].w[s + 1]};
        mma_bf16(c, a, x_hi.w + s);
        mma_bf16(c, a, x_lo.w + s);
        if (R::LO) {
            const uint32_t b[4] = {lo[0].w[s], lo[1].w[s], lo[0].w[s + 1], lo[1].w[s + 1]};
            mma_bf16(c, b, x_hi.w + s);
        }
    }
}

/* -- few rows -- */

/* A segment of 16 columns of the result for 8 NT rows of inputs; row0, row1: the lane's of the
 * matrix. */
template <class R, int NT>
DEVICE void half_segment(float (*c)[4], const uint8_t *row0, const uint8_t *row1,
                         const struct x16 *const *x, int64_t first, int64_t cols)
{
    const int t = (int)threadIdx.x % 4;
    const int64_t end = first + HALF_SEGMENT < cols ? first + HALF_SEGMENT : cols;

#pragma unroll(NT == 1 ? 4 : 2)
    for (int64_t at = first; at < end; at += 32) {
        struct eight hi[2], lo[2];

        half_split<R>(half_raw(row0, at + 8 * t, cols), &hi[0], &lo[0]);
        half_split<R>(half_raw(row1, at + 8 * t, cols), &hi[1], &lo[1]);
#pragma unroll
        for (int j = 0; j < NT; j++) {
            const struct x16 *in = x[j] + at / 32;
            half_multiply<R>(c[j], hi, lo, eight_at(in->hi + 8 * t), eight_at(in->lo + 8 * t));
        }
    }
}

/* 8 NT rows of inputs; each weight is read once. */
template <class R, int NT, bool HEADS = false> DEVICE void half_few(const struct gemv_args &a)
{
    enum { ROWS = HALF_ROWS * NT, SHARE = (ROWS * HALF_COLS + HALF_THREADS - 1) / HALF_THREADS };
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    const int col = (int)threadIdx.x % HALF_COLS, row = (int)threadIdx.x / HALF_COLS;
    float *part = (float *)shared_memory(); // [HALF_WARPS][ROWS][HALF_COLS]
    const int64_t n_segment = (a.cols + HALF_SEGMENT - 1) / HALF_SEGMENT;

    for (int i = 0; i < 4; i++) // of 16 columns the warp's first segment
        gemv_ahead(a, (int64_t)blockIdx.y * HALF_COLS + lane / 2,
                   (int64_t)warp * HALF_SEGMENT * 2 + (lane % 2 * 4 + i) * 128);
    grid_wait();
    const struct tile_rows rows = tile_rows_of(a, ROWS);
    const struct x16 *x[NT];

    if (rows.n <= 0)
        return;
#pragma unroll
    for (int j = 0; j < NT; j++)
        x[j] = (const struct x16 *)gemv_input(a, tile_in(a, rows, j * HALF_ROWS + lane / 4),
                                              rows.matrix);
    for (int64_t first = (int64_t)blockIdx.y * HALF_COLS;;
         first += (int64_t)gridDim.y * HALF_COLS) {
        float gate[SHARE], total[SHARE] = {0};
        int64_t c = first;

        if (gemv_matrix(a, &c) == a.n_m)
            return;
#pragma unroll 1
        for (int turn = a.glu ? 0 : 1; turn < 2; turn++) {
            const int up = a.glu ? turn : 0;
            const uint8_t *row0 = gemv_weights(a, rows.matrix, first + lane / 4, up);
            const uint8_t *row1 = gemv_weights(a, rows.matrix, first + lane / 4 + 8, up);

#pragma unroll
            for (int i = 0; i < SHARE; i++) {
                gate[i] = total[i];
                total[i] = 0.0f;
            }
            for (int64_t s = 0; s < n_segment; s += HALF_WARPS) {
                float acc[NT][4] = {{0}};

                if (s + warp < n_segment)
                    half_segment<R, NT>(acc, row0, row1, x, (s + warp) * HALF_SEGMENT, a.cols);
#pragma unroll
                for (int j = 0; j < NT; j++)
#pragma unroll
                    for (int k = 0; k < 4; k++)
                        part[(warp * ROWS + j * HALF_ROWS + lane % 4 * 2 + k % 2) * HALF_COLS +
                             k / 2 * 8 + lane / 4] = acc[j][k];
                __syncthreads();
#pragma unroll
                for (int i = 0; i < SHARE; i++)
                    for (int w = 0; row + 16 * i < ROWS && w < HALF_WARPS && s + w < n_segment; w++)
                        total[i] += part[(w * ROWS + row + 16 * i) * HALF_COLS + col];
                __syncthreads();
            }
        }
        c = first + col;
        const int m = gemv_matrix(a, &c);
#pragma unroll
        for (int i = 0; i < SHARE; i++)
            if (row + 16 * i < rows.n && m < a.n_m)
                gemv_finish(a, a.m[m], c, tile_out(a, rows, row + 16 * i), rows.matrix, gate[i],
                            total[i]);
        if (NT == 1)
            columns_behind<HEADS>(a, first, HALF_COLS);
    }
}

/* -- many rows -- */

/* 32 columns of the matrix's rows and of the inputs. */
template <class R> struct half_stage {
    struct eight w[R::LO + 1][GEMM_COLS][4];
    struct eight x[2][GEMM_ROWS][4];
};

/* What a thread brings for a stage: two times 8 weights, and two times 8 halves of inputs, which go
 * to shared memory by themselves. */
struct half_load {
    const uint8_t *row[2];
    const struct eight *x[2];
    struct eight w[2];
};

DEVICE void half_begin(const struct gemv_args &a, const struct tile_rows &rows, struct half_load *l)
{
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int at = (int)threadIdx.x + i * GEMM_THREADS;
        l->row[i] = tile_weights(a, rows, at / 4);
        l->x[i] =
            (const struct eight *)gemv_input(a, tile_in(a, rows, at / 4 % GEMM_ROWS), rows.matrix) +
            i * 4 + at % 4;
    }
}

template <class R>
DEVICE void half_fetch(const struct gemv_args &a, struct half_load *l, int64_t at,
                       struct half_stage<R> *s)
{
#pragma unroll
    for (int i = 0; i < 2; i++) {
        l->w[i] = half_raw(l->row[i], at + threadIdx.x % 4 * 8, a.cols);
        copy_16(&s->x[i][threadIdx.x / 4][threadIdx.x % 4], l->x[i] + at / 32 * 8);
    }
    copies_group();
}

template <class R> DEVICE void half_put(const struct half_load &l, struct half_stage<R> *s)
{
    const int row = (int)threadIdx.x / 4, t = (int)threadIdx.x % 4;

#pragma unroll
    for (int i = 0; i < 2; i++) {
        struct eight hi, lo;
        half_split<R>(l.w[i], &hi, &lo);
        s->w[0][row + i * GEMM_ROWS][t] = hi;
        if (R::LO)
            s->w[R::LO][row + i * GEMM_ROWS][t] = lo;
    }
    copies_wait<0>();
}

template <class R>
DEVICE void half_tiles(float (*acc)[4][4], const struct half_stage<R> *s, int col, int row,
                       int n_tile)
{
    const int lane = (int)threadIdx.x % WARP, g = lane / 4, t = lane % 4;

#pragma unroll
    for (int i = 0; i < 2; i++) {
        struct eight hi[2], lo[2];
#pragma unroll
        for (int h = 0; h < 2; h++) {
            hi[h] = s->w[0][col + i * 16 + h * 8 + g][t];
            lo[h] = s->w[R::LO][col + i * 16 + h * 8 + g][t];
        }
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (j < n_tile)
                half_multiply<R>(acc[i][j], hi, lo, s->x[0][row + j * 8 + g][t],
                                 s->x[1][row + j * 8 + g][t]);
    }
}

template <class R> DEVICE void half_many(const struct gemv_args &a)
{
    struct half_stage<R> *stage = (struct half_stage<R> *)shared_memory();
    const int warp = (int)threadIdx.x / WARP, col = warp % 4 * 32, row = warp / 4 * 32;
    float acc[2][4][4] = {{{0}}}, total[2][4][4] = {{{0}}};
    struct half_load l;
    const struct tile_rows rows = tile_rows_of(a, GEMM_ROWS);
    const int n_tile = (rows.n - row + 7) / 8;

    static_assert(sizeof(struct half_stage<R>[2]) <= HALF_SHARED, "what the launch asks for");
    if (rows.n <= 0)
        return;
    half_begin(a, rows, &l);
    for (int64_t at = 0;; at += 32) {
        const bool more = at < a.cols;

        if (more)
            half_fetch<R>(a, &l, at, &stage[at / 32 % 2]);
        if (at > 0)
            half_tiles<R>(acc, &stage[(at / 32 - 1) % 2], col, row, n_tile);
        if (!more || (at > 0 && at % HALF_SEGMENT == 0))
            tile_fold(total, acc);
        if (!more)
            break;
        half_put<R>(l, &stage[at / 32 % 2]);
        __syncthreads();
    }
    tile_end(a, rows, total);
}

#endif
