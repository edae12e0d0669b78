/* attn.cu - key/value memory and attention over it.
 *
 * Same bytes: a row's positions are cut in chunks of ATTN_CHUNK counted from 0. A chunk gives a
 * partial (max, sum, weighted sum of V), in an order that depends on the positions alone: scores by
 * a chain over the head's columns, max and sum by lanes and a butterfly, V by a chain over the
 * positions. Partials are merged in order, at once for prompts, by a second kernel where a few rows
 * are dealt out chunk by chunk: the same operations either way.
 */
#include "kernels/cuda/pack.cuh"

/* One head's row of K or V in a page. Blocks have their codes apart from their scales. */
struct kv_row {
    const uint8_t *code;
    const uint16_t *scale;
};

DEVICE uint8_t *page_of(const struct kv_args &kv, int32_t slot, int32_t page)
{
    const int32_t kib = kv.table[(int64_t)slot * kv.max_page + page];

    return kv.pool + (uint64_t)(uint32_t)kib * 1024 + kv.at;
}

DEVICE int row_codes(int type, int n) // bytes
{
    return type == FMT_F32                         ? 4 * n
           : type == FMT_Q8_0 || type == FMT_KV_F8 ? n
           : type == FMT_Q4_0                      ? n / 2
                                                   : 2 * n;
}

DEVICE bool in_blocks(int type)
{
    return type == FMT_Q8_0 || type == FMT_Q4_0;
}

/* Position `at` of a head of n columns; part: where K or V of the page begins. */
DEVICE struct kv_row kv_row_of(const uint8_t *part, int type, int n, int64_t head, int at)
{
    const int codes = row_codes(type, n), scales = in_blocks(type) ? n / 32 : 0;
    const uint8_t *p = part + head * KV_PAGE * (codes + 2 * scales);

    return {p + at * codes, (const uint16_t *)(p + KV_PAGE * codes) + at * scales};
}

DEVICE float kv_get(const struct kv_row &r, int type, int d)
{
    if (type == FMT_F32)
        return ((const float *)r.code)[d];
    if (type == FMT_KV_F8)
        return f8_to_f32(r.code[d]);
    if (type == FMT_Q8_0)
        return f16_to_f32(r.scale[d / 32]) * (float)(int8_t)r.code[d];
    if (type == FMT_Q4_0)
        return f16_to_f32(r.scale[d / 32]) *
               (float)((r.code[d / 32 * 16 + d % 16] >> d % 32 / 16 * 4 & 15) - 8);
    const uint16_t h = ((const uint16_t *)r.code)[d];
    return type == FMT_F16 ? f16_to_f32(h) : bf16_to_f32(h);
}

/* -- storing -- */

/* Blocks of the largest power of two that divides n columns become sums of their columns with the
 * signs of a Hadamard matrix, times 2^-exponent: a query and a key turned have the product that
 * they had, and what is large in few columns is spread (arXiv 2404.00456). x is shared memory. */
DEVICE void turn(float *x, int n, int total, bool query)
{
    const int w = n & -n, bits = 31 - __clz(w), half = query ? bits - bits / 2 : bits / 2;
    const float s = 1.0f / (float)(1 << half);

    for (int k = 1; k < w; k *= 2) {
        __syncthreads();
        for (int i = (int)threadIdx.x; i < total / 2; i += ATTN_THREADS) {
            const int j = i / k * 2 * k + i % k;
            const float a = x[j], b = x[j + k];
            x[j] = a + b;
            x[j + k] = a - b;
        }
    }
    __syncthreads();
    for (int i = (int)threadIdx.x; i < total; i += ATTN_THREADS)
        x[i] *= s;
    __syncthreads();
}

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
        turn(t, n, n, false);
    __syncthreads();
    for (int b = tid / WARP; b < n / 32; b += ATTN_THREADS / WARP)
        put_block((uint8_t *)to.code + b * row_codes(type, 32), (uint16_t *)to.scale + b, type,
                  t + 32 * b, tid % WARP);
    __syncthreads();
}

/* A row of the batch, a head of it. */
static __global__ void __launch_bounds__(ATTN_THREADS) k_store(struct store_args a)
{
    grid_wait();
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
KERN(store);

/* -- scores -- */

/* Columns [d, d + 8) of a row of K. */
DEVICE void k_eight(float *k, const struct kv_row &r, int type, int d)
{
    if (type == FMT_F32) {
        const float4 *from = (const float4 *)(r.code + d * 4);
        const float4 lo = from[0], hi = from[1];
        k[0] = lo.x, k[1] = lo.y, k[2] = lo.z, k[3] = lo.w;
        k[4] = hi.x, k[5] = hi.y, k[6] = hi.z, k[7] = hi.w;
        return;
    }
    if (type == FMT_KV_F8) {
        const uint2 v = *(const uint2 *)(r.code + d);
#pragma unroll
        for (int i = 0; i < 8; i++)
            k[i] = f8_to_f32((uint8_t)((i < 4 ? v.x : v.y) >> (i % 4 * 8)));
        return;
    }
    if (in_blocks(type)) {
        const float s = f16_to_f32(r.scale[d / 32]);
        const bool four = type == FMT_Q4_0;
        const uint2 v = *(const uint2 *)(r.code + (four ? d / 32 * 16 + d % 16 : d));
        const uint32_t w[2] = {v.x, v.y};
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const uint32_t q = w[i / 4] >> (i % 4 * 8);
            k[i] = s * (four ? (float)((int)(q >> d % 32 / 16 * 4 & 15) - 8) : (float)(int8_t)q);
        }
        return;
    }
    const uint4 v = *(const uint4 *)(r.code + d * 2);
    const uint32_t w[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const uint16_t h = (uint16_t)(w[i / 2] >> (i % 2 * 16));
        k[i] = type == FMT_F16 ? f16_to_f32(h) : bf16_to_f32(h);
    }
}

template <int GH>
DEVICE void score_of(float *s, const struct attn_run_args &a, const float *q,
                     const struct kv_row &row)
{
    int d = 0;

#pragma unroll
    for (int g = 0; g < GH; g++)
        s[g] = 0.0f;
    for (; a.wide && d + 8 <= a.dk; d += 8) {
        float k[8];
        k_eight(k, row, a.kv.type_k, d);
#pragma unroll
        for (int i = 0; i < 8; i++)
#pragma unroll
            for (int g = 0; g < GH; g++)
                s[g] = fma_(q[g * a.dk + d + i], k[i], s[g]);
    }
    for (; d < a.dk; d++) {
        const float k = kv_get(row, a.kv.type_k, d);
#pragma unroll
        for (int g = 0; g < GH; g++)
            s[g] = fma_(q[g * a.dk + d], k, s[g]);
    }
}

/* -- partials: max and sum, then a number per column of V -- */

/* e^(a - b) for a <= b; an empty partial has max and b minus infinity, which counts as equal. */
DEVICE float shrink(float a, float b)
{
    return a == b ? 1.0f : v_exp(a - b);
}

struct merge {
    float max, sum, s, t; // what is there is scaled by s, what comes by t
};

DEVICE void merge_next(struct merge *m, float max, float sum)
{
    const float top = m->max > max ? m->max : max;

    m->s = shrink(m->max, top);
    m->t = shrink(max, top);
    m->max = top;
    m->sum = m->sum * m->s + sum * m->t;
}

/* What the sums are multiplied with at the end. */
DEVICE float merge_end(const struct merge *m, const float *sink)
{
    float s = 1.0f, sum = m->sum;

    if (sink) {
        const float max = m->max > *sink ? m->max : *sink;
        s = shrink(m->max, max);
        sum = sum * s + shrink(*sink, max);
    }
    return s / sum;
}

/* Whether this block of n_split has a chunk of [c0, c1). */
DEVICE bool has_chunk(int32_t c0, int32_t c1, int32_t n_split)
{
    const int32_t after = ((int32_t)blockIdx.z - c0 % n_split + n_split) % n_split;

    return after < c1 - c0;
}

/* Merges the chunks [c0, c1) of nh heads, whose scales go to shared memory first. */
DEVICE void merge_heads(const struct attn_run_args &a, int64_t t, int head, int nh, int32_t c0,
                        int32_t c1, float *scale)
{
    const int64_t stride = a.dv + 2;
    const float *part = a.part + (t * a.n_head + head) * a.n_chunk * stride;

    for (int g = (int)threadIdx.x; g < nh; g += ATTN_THREADS) {
        struct merge m = {-f32_of_bits(0x7f800000u), 0.0f, 1.0f, 1.0f};
        float *s = scale + g * (2 * MERGE_CHUNKS + 1);

        for (int32_t c = c0; c < c1; c++) {
            const float *p = part + ((int64_t)g * a.n_chunk + c) * stride;
            merge_next(&m, load_new(p), load_new(p + 1));
            s[2 * (c - c0)] = m.s;
            s[2 * (c - c0) + 1] = m.t;
        }
        s[2 * MERGE_CHUNKS] = merge_end(&m, a.sink ? a.sink + head + g : NULL);
    }
    __syncthreads();
    for (int i = (int)threadIdx.x; i < nh * a.dv; i += ATTN_THREADS) {
        const int g = i / a.dv, d = i % a.dv;
        const float *s = scale + g * (2 * MERGE_CHUNKS + 1);
        float acc = 0.0f;

        for (int32_t c = c0; c < c1; c++)
            acc = acc * s[2 * (c - c0)] +
                  load_new(part + ((int64_t)g * a.n_chunk + c) * stride + 2 + d) *
                      s[2 * (c - c0) + 1];
        at_row(a.out, t)[(int64_t)head * a.dv + i] = acc * s[2 * MERGE_CHUNKS];
    }
    if (a.to || a.halves)
        pack_columns(at_row(a.out, t), t, (int64_t)head * a.dv, nh * a.dv,
                     (int64_t)a.n_head * a.dv / 32, a.to, a.halves);
}

/* A row, up to GH query heads that share a key/value head, and all chunks or every n_split-th. */
template <int GH>
static __global__ void __launch_bounds__(ATTN_THREADS) k_attn(struct attn_run_args a)
{
    grid_wait();
    const int tid = (int)threadIdx.x, lane = tid % WARP, warp = tid / WARP;
    const int group = a.n_head / a.kv.n_kv, subs = (group + GH - 1) / GH;
    const int kv_head = (int)blockIdx.y / subs;
    const int head = kv_head * group + (int)blockIdx.y % subs * GH;
    const int left = (kv_head + 1) * group - head, nh = left < GH ? left : GH;
    const int64_t t = blockIdx.x;
    float *q = (float *)shared_memory();   // [GH][dk]
    float *score = q + GH * a.dk;          // [GH][ATTN_CHUNK]
    float *stat = score + GH * ATTN_CHUNK; // [GH][2]
    float *acc = stat + GH * 2;            // [GH][dv], if chunks are merged here
    struct merge run[GH];

    if (t >= a.s.n[0])
        return;
    const int32_t pos = a.s.pos[t], to = a.s.see[t] + 1, slot = a.s.slot[t];
    const int32_t from = a.window > 0 && pos - a.window + 1 > 0 ? pos - a.window + 1 : 0;
    for (int i = tid; i < GH * a.dk; i += ATTN_THREADS)
        q[i] = i < nh * a.dk ? at_row(a.q, t)[(int64_t)head * a.dk + i] * a.scale : 0.0f;
    if (a.kv.turned)
        turn(q, a.dk, GH * a.dk, true);
#pragma unroll
    for (int g = 0; g < GH; g++)
        run[g] = {-f32_of_bits(0x7f800000u), 0.0f, 1.0f, 1.0f};
    for (int i = tid; !a.part && i < GH * a.dv; i += ATTN_THREADS)
        acc[i] = 0.0f;
    __syncthreads();

    const int v_type = a.v_in_k ? a.kv.type_k : a.kv.type_v, v_cols = a.v_in_k ? a.dk : a.dv;
    const uint32_t v_at = a.v_in_k ? 0 : a.kv.v_at;
    for (int32_t c = from / ATTN_CHUNK; c <= (to - 1) / ATTN_CHUNK; c++) {
        const int32_t base = c * ATTN_CHUNK;
        const int j0 = from > base ? from - base : 0;
        const int j1 = to - base < ATTN_CHUNK ? to - base : ATTN_CHUNK;
        const int end = (j1 + WARP - 1) / WARP * WARP;

        if (a.part && c % a.n_split != (int32_t)blockIdx.z)
            continue;
        for (int j = tid; j < end; j += ATTN_THREADS) { // a thread for a position
            float s[GH];
            if (j >= j0 && j < j1)
                score_of<GH>(s, a, q,
                             kv_row_of(page_of(a.kv, slot, (base + j) / KV_PAGE), a.kv.type_k, a.dk,
                                       kv_head, j % KV_PAGE));
#pragma unroll
            for (int g = 0; g < GH; g++) {
                float x = -f32_of_bits(0x7f800000u);
                if (j >= j0 && j < j1) {
                    x = s[g];
                    if (a.softcap != 0.0f)
                        x = a.softcap * v_tanh(x * (1.0f / a.softcap));
                    if (a.slope && g < nh)
                        x += a.slope[head + g] * (float)(base + j - pos);
                }
                score[g * ATTN_CHUNK + j] = x;
            }
        }
        __syncthreads();
        for (int g = warp; g < nh; g += ATTN_THREADS / WARP) { // a warp for a head
            float *s = score + g * ATTN_CHUNK;
            float max = -f32_of_bits(0x7f800000u), sum = 0.0f;
            for (int j = lane; j < end; j += WARP)
                max = s[j] > max ? s[j] : max;
            max = warp_max(max);
            for (int j = lane; j < end; j += WARP) {
                const float e = v_exp(s[j] - max);
                s[j] = e;
                sum += e;
            }
            sum = warp_sum(sum);
            if (lane == 0) {
                stat[2 * g] = max;
                stat[2 * g + 1] = sum;
            }
        }
        __syncthreads();
        if (!a.part)
#pragma unroll
            for (int g = 0; g < GH; g++)
                if (g < nh)
                    merge_next(&run[g], stat[2 * g], stat[2 * g + 1]);
        for (int d = tid; d < a.dv; d += ATTN_THREADS) { // a thread for a column
            float sum[GH];
#pragma unroll
            for (int g = 0; g < GH; g++)
                sum[g] = 0.0f;
            for (int j = j0; j < j1; j++) {
                const uint8_t *page = page_of(a.kv, slot, (base + j) / KV_PAGE);
                const float v =
                    kv_get(kv_row_of(page + v_at, v_type, v_cols, kv_head, j % KV_PAGE), v_type, d);
#pragma unroll
                for (int g = 0; g < GH; g++)
                    sum[g] = fma_(score[g * ATTN_CHUNK + j], v, sum[g]);
            }
#pragma unroll
            for (int g = 0; g < GH; g++) {
                if (g >= nh)
                    continue;
                if (!a.part) {
                    acc[g * a.dv + d] = acc[g * a.dv + d] * run[g].s + sum[g] * run[g].t;
                    continue;
                }
                float *part = a.part + ((t * a.n_head + head + g) * a.n_chunk + c) * (a.dv + 2);
                part[2 + d] = sum[g];
                if (d == 0) {
                    part[0] = stat[2 * g];
                    part[1] = stat[2 * g + 1];
                }
            }
        }
        __syncthreads();
    }
    if (a.part) {
        const int32_t c0 = from / ATTN_CHUNK, c1 = (to - 1) / ATTN_CHUNK + 1;
        const int32_t blocks = c1 - c0 < a.n_split ? c1 - c0 : a.n_split;

        if (a.ticket && has_chunk(c0, c1, a.n_split) &&
            last_of(a.ticket + t * gridDim.y + blockIdx.y, blocks, (int32_t *)stat))
            merge_heads(a, t, head, nh, c0, c1, score);
        return;
    }
#pragma unroll
    for (int g = 0; g < GH; g++) {
        if (g >= nh)
            continue;
        const float s = merge_end(&run[g], a.sink ? a.sink + head + g : NULL);
        for (int d = tid; d < a.dv; d += ATTN_THREADS)
            at_row(a.out, t)[(int64_t)(head + g) * a.dv + d] = acc[g * a.dv + d] * s;
    }
    if (a.to || a.halves)
        pack_columns(at_row(a.out, t), t, (int64_t)head * a.dv, nh * a.dv,
                     (int64_t)a.n_head * a.dv / 32, a.to, a.halves);
}

extern "C" const struct rt_kern kern_attn_run[3] = {
    KERN_OF(k_attn<1>, struct attn_run_args, "cuda:attn"),
    KERN_OF(k_attn<4>, struct attn_run_args, "cuda:attn x4"),
    KERN_OF(k_attn<8>, struct attn_run_args, "cuda:attn x8"),
};

/* Merges a row's partials in order; a block for a head. */
static __global__ void __launch_bounds__(ATTN_THREADS) k_attn_merge(struct attn_run_args a)
{
    grid_wait();
    const int64_t t = blockIdx.x, h = blockIdx.y;
    float max = -f32_of_bits(0x7f800000u);

    if (t >= a.s.n[0])
        return;
    const int32_t pos = a.s.pos[t], to = a.s.see[t] + 1;
    const int32_t from = a.window > 0 && pos - a.window + 1 > 0 ? pos - a.window + 1 : 0;
    const float *part = a.part + (t * a.n_head + h) * a.n_chunk * (a.dv + 2);
    for (int d = (int)threadIdx.x; d < a.dv; d += ATTN_THREADS) {
        struct merge m = {max, 0.0f, 1.0f, 1.0f};
        float acc = 0.0f;

        for (int32_t c = from / ATTN_CHUNK; c <= (to - 1) / ATTN_CHUNK; c++) {
            const float *p = part + (int64_t)c * (a.dv + 2);
            merge_next(&m, p[0], p[1]);
            acc = acc * m.s + p[2 + d] * m.t;
        }
        at_row(a.out, t)[h * a.dv + d] = acc * merge_end(&m, a.sink ? a.sink + h : NULL);
    }
    if (a.to || a.halves)
        pack_columns(at_row(a.out, t), t, h * a.dv, a.dv, (int64_t)a.n_head * a.dv / 32, a.to,
                     a.halves);
}
extern "C" const struct rt_kern kern_attn_merge =
    KERN_OF(k_attn_merge, struct attn_run_args, "cuda:attn merge");
