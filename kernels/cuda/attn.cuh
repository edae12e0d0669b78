/* attn.cuh - attention over pages by the tensor cores' products of 16 bits.
 *
 * A block makes a tile: up to ATTN_ROWS queries (few), or so many a warp (many), which are rows of
 * one sequence times the query heads that share a key/value head, so that each page is read once
 * for all of them. Queries are the left side of a product, always a row of the instruction's A;
 * keys are its columns, then positions its depth. Pages come by cp.async in stages, several under
 * way.
 *
 * Same bytes: positions are gone through in steps of S::PAGES pages counted from 0. A step's scores
 * are chains over the head's columns. Its largest one is rounded up to a whole power of two, so
 * that what was summed is rescaled exactly; e^score is rounded to 16 bits (or taken apart), and
 * both the columns of V and a column of ones are added to sums by chains over positions, 16 at a
 * time. At the end of a chunk (attn_chunk_of) the sums are a partial; partials are merged in order.
 * Positions that a row does not see add zeros, or are left out, which is the same. Nothing of this
 * depends on how rows are dealt to tiles, warps and blocks: few and many give the same bits, and so
 * does a chunk that another block has made.
 *
 * Operands: where K and V are of F16, F8, Q8_0 or Q4_0 and heads are whole 16 columns (S::HALF),
 * F16: what a page keeps, a query times a power of two of its own, e^score at most 1. Else bf16,
 * taken apart into two or three numbers (hi, mid, low), of which the products are added whose
 * places make up less than attn_shape.parts: BF16 pages exactly, F32 to 24 bits.
 */
#ifndef RILL_KERNELS_CUDA_ATTN_CUH
#define RILL_KERNELS_CUDA_ATTN_CUH

#include "kernels/cuda/pack.cuh"

#define MINUS_INF (-f32_of_bits(0x7f800000u))
#define LOG2_E    0x1.715476p+0f

/* -- pages -- */

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

/* All positions of a page's head, a multiple of 32. */
DEVICE int head_bytes(int type, int n)
{
    return KV_PAGE * (row_codes(type, n) + (in_blocks(type) ? n / 16 : 0));
}

/* Position `at` of a head of n columns; part: where K or V of the page begins. */
DEVICE struct kv_row kv_row_of(const uint8_t *part, int type, int n, int64_t head, int at)
{
    const int codes = row_codes(type, n), scales = in_blocks(type) ? n / 32 : 0;
    const uint8_t *p = part + head * head_bytes(type, n);

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

template <int THREADS> DEVICE void meet(void)
{
    if (THREADS == WARP)
        __syncwarp();
    else
        __syncthreads();
}

/* Blocks of the largest power of two that divides n columns become sums of their columns with the
 * signs of a Hadamard matrix, times 2^-exponent: a query and a key turned have the product that
 * they had, and what is large in few columns is spread (arXiv 2404.00456). x is shared memory. */
template <int THREADS> DEVICE void turn(float *x, int n, bool query)
{
    const int w = n & -n, bits = 31 - __clz(w), half = query ? bits - bits / 2 : bits / 2;
    const int first = (int)threadIdx.x % THREADS;
    const float s = 1.0f / (float)(1 << half);

    for (int k = 1; k < w; k *= 2) {
        meet<THREADS>();
        for (int i = first; i < n / 2; i += THREADS) {
            const int j = i / k * 2 * k + i % k;
            const float a = x[j], b = x[j + k];
            x[j] = a + b;
            x[j + k] = a - b;
        }
    }
    meet<THREADS>();
    for (int i = first; i < n; i += THREADS)
        x[i] *= s;
    meet<THREADS>();
}

/* -- powers of two -- */

/* 2^n, n whole and not above 0. */
DEVICE float two_to_whole(float n)
{
    return f32_of_bits((uint32_t)((int32_t)(n > -127.0f ? n : -127.0f) + 127) << 23);
}

/* 2^x, x not above 0, to 3 units in the last place; a least-maximum-error fit made for this. */
DEVICE float two_to(float x)
{
    x = x < -126.0f ? -126.0f : x;
    const float whole = x + 12582912.0f, f = x - (whole - 12582912.0f);
    float p = fma_(0x1.5bba14p-10f, f, 0x1.3cea88p-7f);

    p = fma_(p, f, 0x1.c6b752p-5f);
    p = fma_(p, f, 0x1.ebf9bcp-3f);
    p = fma_(p, f, 0x1.62e42ap-1f);
    p = fma_(p, f, 1.0f);
    return p * f32_of_bits((f32_bits(whole) << 23) + 0x3f800000u);
}

/* -- partials: max (whole) and sum, then a number per column of V -- */

struct merge {
    float max, sum, s, t; // what is there is scaled by s, what comes by t
};

DEVICE float shrink(float a, float b)
{
    return a == b ? 1.0f : two_to_whole(a - b);
}

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
        const float at = *sink * LOG2_E, up = ceilf(at), max = m->max > up ? m->max : up;
        s = shrink(m->max, max);
        sum = sum * s + two_to(at - max);
    }
    return s / sum;
}

/* A number of what chunks before have made, and of the next. */
DEVICE float merge_number(float was, float comes, const struct merge &m, bool first, bool last,
                          float end)
{
    const float x = first ? comes : was * m.s + comes * m.t;

    return last ? x * end : x;
}

/* -- tiles -- */

struct tile {
    int32_t first, n; // rows of the batch
    int head, nh, kv_head;
    int nq;                 // n * nh
    bool whole;             // a tile of few can have all rows of the sequence in this step
    int32_t slot, from, to; // positions that any of its rows sees
    int32_t own;            // its first partial that is not there yet
    int32_t part0;          // row of the batch whose partials come first
};

/* The first tile of run r of rows of one sequence, the first of which is row `first`: no run's
 * tiles reach the next one's. */
DEVICE int32_t tile_base(int32_t first, int32_t r, int per)
{
    return per > 1 ? first / per + r : first;
}

/* Tile x of the step; false: it is none's. A warp's work. */
DEVICE bool tile_find(const struct attn_run_args &a, int32_t x, struct tile *t)
{
    const int lane = (int)threadIdx.x % WARP, per = a.at.per;
    const int group = a.n_head / a.kv.n_kv;
    const int32_t *run = a.s.run;
    const int32_t n_run = a.s.n[2];
    int r = 0;

    for (int32_t i = lane; i < n_run && i <= x; i += WARP)
        if (tile_base(run[4 * i], i, per) <= x)
            r = i;
    r = warp_max_int(r);
    t->first = run[4 * r] + (x - tile_base(run[4 * r], r, per)) * per;
    t->n = run[4 * r + 1] - t->first;
    t->n = t->n < per ? t->n : per;
    if (n_run <= 0 || t->n <= 0)
        return false;
    t->kv_head = (int)blockIdx.y / a.at.subs;
    t->head = t->kv_head * group + (int)blockIdx.y % a.at.subs * a.at.heads;
    t->nh = (t->kv_head + 1) * group - t->head;
    t->nh = t->nh < a.at.heads ? t->nh : a.at.heads;
    t->nq = t->n * t->nh;
    t->whole = (run[4 * r + 1] - run[4 * r]) * group <= ATTN_ROWS;
    t->slot = a.s.slot[t->first];
    t->own = a.shared ? a.s.own[t->first] : 0;
    t->part0 = a.shared ? a.s.n[5] : 0;
    int to = 0, from = INT32_MIN; // the least as the largest of negatives
    for (int i = t->first + lane; i < t->first + t->n; i += WARP) {
        const int32_t end = a.s.see[i] + 1, begin = a.window > 0 ? a.s.pos[i] - a.window + 1 : 0;
        to = end > to ? end : to;
        from = -begin > from ? -begin : from;
    }
    t->to = warp_max_int(to);
    from = -warp_max_int(from);
    t->from = from > 0 ? from : 0;
    return true;
}

/* The partial of a row's head for chunk c: max, sum, columns. */
DEVICE float *part_of(const struct attn_run_args &a, const struct tile &t, int32_t row, int head,
                      int32_t c)
{
    return a.part + (((int64_t)(row - t.part0) * a.n_head + head) * a.n_chunk + c) * (a.dv + 2);
}

/* Query q of the tile; behind the last: one that sees nothing. */
struct query {
    int32_t t, head, pos, from, to;
};

DEVICE struct query query_of(const struct attn_run_args &a, const struct tile &t, int q)
{
    struct query y = {0, 0, 0, 0, 0};

    if (q >= t.nq)
        return y;
    y.t = t.first + q / t.nh;
    y.head = t.head + q % t.nh;
    y.pos = a.s.pos[y.t];
    y.to = a.s.see[y.t] + 1;
    y.from = a.window > 0 && y.pos - a.window + 1 > 0 ? y.pos - a.window + 1 : 0;
    return y;
}

/* Steps of a block through the chunks c, c + n_split ... of a tile. */
struct walk {
    int32_t j, c;
};

template <int STEP>
DEVICE struct walk walk_next(struct walk w, const struct tile &t, int32_t n_split)
{
    w.j += STEP;
    if (w.j < t.to && w.j >= attn_chunk_at(w.c + 1)) {
        w.c += n_split;
        w.j = attn_chunk_at(w.c);
    }
    return w;
}

/* -- shared memory: rows of 128 bytes, 64 columns, in panels; pieces of 16 are swizzled, so that
 *    eight rows of one piece lie in different banks -- */

DEVICE int panel_at(int rows, int r, int piece)
{
    return (piece / 8 * rows + r) * 128 + ((piece ^ r) % 8) * 16;
}

/* Row r0 + r, piece 2 pair + h, r0 a multiple of 8, h 0 or 1: what differs between lanes is one
 * number, whatever r0 and pair are. */
DEVICE int panel_pair(int rows, int r0, int pair, int r, int h)
{
    return (pair / 4 * rows + r0) * 128 + ((r * 128 + (h ^ r) % 8 * 16) ^ pair % 4 * 32);
}

/* K or V of a page's head, the page's first position being j, as rows row0 on of a stage: numbers
 * of 16 bits to their places in panels, zeros where the tile sees nothing; others as they lie. */
template <int THREADS>
DEVICE void fetch_part(uint8_t *to, const uint8_t *from, const struct tile &t, bool unpack,
                       int type, int n, int by, int rows, int row0, int32_t j)
{
    const int tid = (int)threadIdx.x, pieces = n / 8;
    const int more_r = THREADS * by >> 20, more_c = THREADS - more_r * pieces;

    if (unpack) {
        const int bytes = head_bytes(type, n);
        to += row0 / KV_PAGE * bytes;
        for (int i = tid * 16; i < bytes && j < t.to && j + KV_PAGE > t.from; i += THREADS * 16)
            copy_16(to + i, from + i);
        return;
    }
    int r = tid * by >> 20, c = tid - r * pieces;
    while (r < KV_PAGE) {
        copy_16_or_zeros(to + panel_at(rows, row0 + r, c), from + (r * pieces + c) * 16,
                         (j + r >= t.from) & (j + r < t.to));
        r += more_r;
        c += more_c;
        if (c >= pieces) {
            c -= pieces;
            r++;
        }
    }
}

/* A step's pages to a stage. A page that no row sees is not looked up: there may be none. */
template <class S>
DEVICE void fetch_step(const struct attn_run_args &a, const struct tile &t, uint8_t *stage,
                       int32_t j)
{
    const struct kv_args &kv = a.kv;

    if (j < t.to)
#pragma unroll
        for (int p = 0; p < S::PAGES; p++, j += KV_PAGE) {
            const bool there = j < t.to && j + KV_PAGE > t.from;
            const uint8_t *page = there ? page_of(kv, t.slot, j / KV_PAGE) : kv.pool;

            fetch_part<S::THREADS>(
                stage, there ? page + (int64_t)t.kv_head * head_bytes(kv.type_k, a.dk) : page, t,
                a.at.unpack_k, kv.type_k, a.dk, a.at.by_k, S::STEP, p * KV_PAGE, j);
            if (!a.v_in_k)
                fetch_part<S::THREADS>(stage + a.at.stage_v,
                                       there ? page + kv.v_at +
                                                   (int64_t)t.kv_head * head_bytes(kv.type_v, a.dv)
                                             : page,
                                       t, a.at.unpack_v, kv.type_v, a.dv, a.at.by_v, S::STEP,
                                       p * KV_PAGE, j);
        }
    copies_group();
}

/* Whether no byte of eight is 127 or 255: of F8, no number. */
DEVICE bool all_numbers(const uint2 &v)
{
    const uint32_t a = ~v.x & 0x7f7f7f7fu, b = ~v.y & 0x7f7f7f7fu;

    return ((a + 0x7f7f7f7fu) & (b + 0x7f7f7f7fu) & 0x80808080u) == 0x80808080u;
}

/* Columns d to d + 7 of a row as F16. */
DEVICE uint4 eight_halves(const struct kv_row &r, int type, int d)
{
    const bool four = type == FMT_Q4_0;
    uint2 v = *(const uint2 *)(r.code + (four ? d / 32 * 16 + d % 16 : d));
    uint32_t w[4];

    if (type == FMT_KV_F8) {
        if (!all_numbers(v)) {
#pragma unroll
            for (int i = 0; i < 4; i++)
                w[i] = two_f16(kv_get(r, type, d + 2 * i), kv_get(r, type, d + 2 * i + 1));
            return {w[0], w[1], w[2], w[3]};
        }
#pragma unroll
        for (int i = 0; i < 4; i++) { // as the high bytes of halves; 2^8 makes up for the bias
            const uint32_t h = byte_perm(i < 2 ? v.x : v.y, 0, i % 2 ? 0x3424 : 0x1404);
            w[i] = mul_f16x2((h & 0x80008000u) | (h >> 1 & 0x3f803f80u), 0x5c005c00u);
        }
        return {w[0], w[1], w[2], w[3]};
    }
    const uint32_t scale = r.scale[d / 32], scales = scale | scale << 16;
    if (four) {
        v.x = v.x >> d % 32 / 16 * 4 & 0x0f0f0f0fu;
        v.y = v.y >> d % 32 / 16 * 4 & 0x0f0f0f0fu;
    } else {
        v.x ^= 0x80808080u;
        v.y ^= 0x80808080u;
    }
#pragma unroll
    for (int i = 0; i < 4; i++) { // 1024 + code, less 1024 and 8 or 128
        const uint32_t h = byte_perm(i < 2 ? v.x : v.y, 0x64646464u, i % 2 ? 0x4342 : 0x4140);
        w[i] = mul_f16x2(sub_f16x2(h, four ? 0x64086408u : 0x64806480u), scales);
    }
    return {w[0], w[1], w[2], w[3]};
}

/* The next part of eight numbers as bf16; x keeps what is left of them. */
DEVICE uint4 next_part(float *x)
{
    uint32_t w[4];

#pragma unroll
    for (int i = 0; i < 4; i++) {
        w[i] = two_bf16(x[2 * i], x[2 * i + 1]);
        x[2 * i] -= bf16_to_f32((uint16_t)w[i]);
        x[2 * i + 1] -= bf16_to_f32((uint16_t)(w[i] >> 16));
    }
    return {w[0], w[1], w[2], w[3]};
}

/* The rows of a stage as panels, a part behind the other: zeros where the tile sees nothing, and
 * behind the last column. */
template <class S>
DEVICE void unpack_part(uint8_t *to, const uint8_t *raw, const struct tile &t, int type, int n,
                        int by, int parts, int part_bytes, int32_t j)
{
    const int pieces = (n + 15) / 16 * 2;
    const int more_r = S::THREADS * by >> 20, more_c = S::THREADS - more_r * pieces;
    int r = (int)threadIdx.x * by >> 20, c = (int)threadIdx.x - r * pieces;

    while (r < S::STEP) {
        const bool there = j + r >= t.from && j + r < t.to;
        const struct kv_row row =
            kv_row_of(raw + r / KV_PAGE * head_bytes(type, n), type, n, 0, r % KV_PAGE);
        uint8_t *at = to + panel_at(S::STEP, r, c);

        if (S::HALF) {
            *(uint4 *)at = there ? eight_halves(row, type, 8 * c) : uint4{0, 0, 0, 0};
        } else {
            float x[8];
#pragma unroll
            for (int i = 0; i < 8; i++)
                x[i] = there && 8 * c + i < n ? kv_get(row, type, 8 * c + i) : 0.0f;
            for (int p = 0; p < parts; p++)
                *(uint4 *)(at + p * part_bytes) = next_part(x);
        }
        r += more_r;
        c += more_c;
        if (c >= pieces) {
            c -= pieces;
            r++;
        }
    }
}

/* Waits for the step's stage, asks for the one `ahead`, and unpacks. k, v: where the step's panels
 * are then. */
template <class S>
DEVICE void next_stage(const struct attn_run_args &a, const struct tile &t, int i, int32_t j,
                       int32_t ahead, const uint8_t **k, const uint8_t **v)
{
    uint8_t *shared = (uint8_t *)shared_memory();
    const int n = a.at.n_stage;
    uint8_t *stage = shared + i % n * a.at.stage;

    switch (n) { // all but the stages behind this one are there
    case 1:
        __syncthreads();
        fetch_step<S>(a, t, stage, j);
        copies_wait<0>();
        break;
    case 2:
        copies_wait<0>();
        break;
    case 3:
        copies_wait<1>();
        break;
    default:
        copies_wait<2>();
    }
    __syncthreads();
    if (n > 1)
        fetch_step<S>(a, t, shared + (i + n - 1) % n * a.at.stage, ahead);
    *k = stage;
    *v = a.v_in_k ? *k : stage + a.at.stage_v;
    if (a.at.unpack_k) {
        unpack_part<S>(shared + a.at.at_k, *k, t, a.kv.type_k, a.dk, a.at.by_k, a.at.parts_k,
                       a.at.part_k, j);
        *k = shared + a.at.at_k;
        *v = a.v_in_k ? *k : *v;
    }
    if (a.at.unpack_v) {
        unpack_part<S>(shared + a.at.at_v, *v, t, a.kv.type_v, a.dv, a.at.by_v, a.at.parts_v,
                       a.at.part_v, j);
        *v = shared + a.at.at_v;
    }
    if (a.at.unpack_k || a.at.unpack_v)
        __syncthreads();
}

/* -- queries -- */

/* The tile's queries as panels of `rows` rows, and what the products with them are to be multiplied
 * with. A warp has a query at a time. */
template <class S>
DEVICE void put_queries(const struct attn_run_args &a, const struct tile &t, uint8_t *to, int rows,
                        int part_bytes)
{
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    const int pieces = (a.dk + 15) / 16 * 2;
    uint8_t *shared = (uint8_t *)shared_memory();
    float *x = (float *)(shared + a.at.at_scratch) + warp * pieces * 8;
    float *scale = (float *)(shared + a.at.at_scale);

    for (int q = warp; q < rows; q += S::WARPS) {
        const bool there = q < t.nq;
        float high = 0.0f, down = 1.0f, up = 1.0f;

        for (int i = lane; i < pieces * 8; i += WARP)
            x[i] = there && i < a.dk
                       ? at_row(a.q, t.first + q / t.nh)[(int64_t)(t.head + q % t.nh) * a.dk + i] *
                             a.scale
                       : 0.0f;
        if (a.kv.turned)
            turn<WARP>(x, a.dk, true);
        for (int i = lane; S::HALF && i < a.dk; i += WARP)
            high = fmaxf(high, x[i] > 0.0f ? x[i] : -x[i]);
        high = warp_max(high);
        if (high >= 0x1p-100f && high <= 0x1p100f) {
            const uint32_t e = f32_bits(high) & 0x7f800000u;
            up = f32_of_bits(e);
            down = f32_of_bits(0x7f000000u - e);
        }
        if (lane == 0)
            scale[q] = up;
        __syncwarp();
        for (int c = lane; c < pieces; c += WARP) {
            float y[8];
#pragma unroll
            for (int i = 0; i < 8; i++)
                y[i] = x[8 * c + i] * down;
            uint8_t *at = to + panel_at(rows, q, c);
            if (S::HALF)
                *(uint4 *)at = {two_f16(y[0], y[1]), two_f16(y[2], y[3]), two_f16(y[4], y[5]),
                                two_f16(y[6], y[7])};
            else
                for (int p = 0; p < a.at.parts; p++)
                    *(uint4 *)(at + p * part_bytes) = next_part(y);
        }
        __syncwarp();
    }
}

/* -- products -- */

template <class S> DEVICE void mma_16(float *c, const uint32_t *x, const uint32_t *y)
{
    if (S::HALF)
        mma_f16(c, x, y);
    else
        mma_bf16(c, x, y);
}

/* 16 columns, from 16 ks on, of 16 queries from row q0 on: the left side. */
DEVICE void load_queries(uint32_t *w, const uint8_t *q, int rows, int q0, int ks)
{
    const int lane = (int)threadIdx.x % WARP;

    load_8x8<4, false>(w, q + panel_pair(rows, q0, ks, lane % 16, lane / 16));
}

/* The same columns of 16 keys from row r0 on: the right side of two products. */
DEVICE void load_keys(uint32_t *w, const uint8_t *k, int rows, int r0, int ks)
{
    const int lane = (int)threadIdx.x % WARP;

    load_8x8<4, false>(w, k + panel_pair(rows, r0, ks, lane / 16 * 8 + lane % 8, lane / 8 % 2));
}

DEVICE void load_8_keys(uint32_t *w, const uint8_t *k, int rows, int r0, int ks)
{
    const int lane = (int)threadIdx.x % WARP;

    load_8x8<2, false>(w, k + panel_pair(rows, r0, ks, lane % 8, lane / 8 % 2));
}

/* 16 positions from row r0 on of 16 columns of V from 16 pair on: likewise, of two products. */
DEVICE void load_values(uint32_t *w, const uint8_t *v, int rows, int r0, int pair)
{
    const int lane = (int)threadIdx.x % WARP;

    load_8x8<4, true>(w, v + panel_pair(rows, r0, pair, lane % 16, lane / 16));
}

/* -- a chunk's end -- */

/* What a lane keeps of its two queries, rows g and g + 8 of a product: what they see, what sums are
 * multiplied with, the largest score of the chunk; and of the chunks before. */
struct lane_rows {
    int q0; // the product's first query
    int32_t from[2], to[2];
    float scale[2], max[2], all_max[2], all_sum[2];
};

DEVICE int lane_query(const struct lane_rows &l, int r)
{
    return l.q0 + (int)threadIdx.x % WARP / 4 + 8 * r;
}

DEVICE bool lane_sees(const struct lane_rows &l, int r, int32_t pos)
{
    return (pos >= l.from[r]) & (pos < l.to[r]);
}

/* The sums of products of 8 columns, n of N, from column 8 piece on, become a partial, or join
 * those of the chunks before, which lie where the result will. All are 0 again then. */
template <int N>
DEVICE void chunk_end(const struct attn_run_args &a, const struct tile &t, struct lane_rows *l,
                      int32_t c, bool split, float *sum, float (*acc)[4], int piece, int n)
{
    const int lane = (int)threadIdx.x % WARP;

#pragma unroll
    for (int r = 0; r < 2; r++) {
        const struct query q = query_of(a, t, lane_query(*l, r));
        const int32_t c0 = attn_chunk_of(q.from), c1 = q.to ? attn_chunk_of(q.to - 1) : -1;
        struct merge run = {l->all_max[r], l->all_sum[r], 1.0f, 1.0f};
        float scale = 1.0f, *to;

        if (c < c0 || c > c1)
            continue;
        if (split) {
            to = part_of(a, t, q.t, q.head, c);
            if (piece == 0 && lane % 4 == 0) {
                to[0] = l->max[r];
                to[1] = sum[2 * r];
            }
            to += 2;
        } else {
            merge_next(&run, l->max[r], sum[2 * r]);
            l->all_max[r] = run.max;
            l->all_sum[r] = run.sum;
            if (c == c1)
                scale = merge_end(&run, a.sink ? a.sink + q.head : NULL);
            to = at_row(a.out, q.t) + (int64_t)q.head * a.dv;
        }
#pragma unroll
        for (int i = 0; i < N; i++)
#pragma unroll
            for (int k = 0; k < 2; k++) {
                const int d = (piece + i) * 8 + lane % 4 * 2 + k;
                if (i < n && d < a.dv)
                    to[d] = split ? acc[i][2 * r + k]
                                  : merge_number(c == c0 ? 0.0f : to[d], acc[i][2 * r + k], run,
                                                 c == c0, c == c1, scale);
            }
        l->max[r] = MINUS_INF;
    }
#pragma unroll
    for (int k = 0; k < 4; k++) {
        sum[k] = 0.0f;
#pragma unroll
        for (int i = 0; i < N; i++)
            acc[i][k] = 0.0f;
    }
}

DEVICE void lane_begin(const struct attn_run_args &a, const struct tile &t, struct lane_rows *l,
                       int q0)
{
    const float *scale = (const float *)(shared_memory() + a.at.at_scale);

    l->q0 = q0;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const struct query q = query_of(a, t, lane_query(*l, r));

        l->from[r] = q.from;
        l->to[r] = q.to;
        l->scale[r] = scale[lane_query(*l, r)];
        l->max[r] = l->all_max[r] = MINUS_INF;
        l->all_sum[r] = 0.0f;
    }
}

/* The largest score so far, as a whole power of two; what was summed is to be scaled by it. */
DEVICE float lift(struct lane_rows *l, int r, float top)
{
    const float was = l->max[r], up = ceilf(top);

    l->max[r] = up > was ? up : was;
    return shrink(was, l->max[r]);
}

/* What was summed of each of the lane's queries, times its keep. */
template <int N> DEVICE void keep_sums(float *sum, float (*acc)[4], const float *keep)
{
#pragma unroll
    for (int k = 0; k < 4; k++) {
        sum[k] *= keep[k / 2];
#pragma unroll
        for (int n = 0; n < N; n++)
            acc[n][k] *= keep[k / 2];
    }
}

/* What any of the warp's queries sees, and what all see that see something. */
struct seen {
    int32_t low, high, all_low, all_high;
};

DEVICE struct seen seen_by(const struct lane_rows &l)
{
    const int32_t no_x = l.to[0] ? 0 : INT32_MAX, no_y = l.to[1] ? 0 : INT32_MAX;

    return {-warp_max_int(max(-(l.from[0] | no_x), -(l.from[1] | no_y))),
            warp_max_int(max(l.to[0], l.to[1])), warp_max_int(max(l.from[0], l.from[1])),
            -warp_max_int(max(-(l.to[0] | no_x), -(l.to[1] | no_y)))};
}

/* What is not seen becomes x, by a choice for each: a branch would hold up the scores behind it. */
template <int N>
DEVICE void put_unseen(const struct lane_rows &l, float (*s)[4], int32_t first, float x)
{
#pragma unroll
    for (int i = 0; i < 4 * N; i++)
        s[i / 4][i % 4] = lane_sees(l, i % 4 / 2, first + i / 4 * 8 + i % 2) ? s[i / 4][i % 4] : x;
}

/* The sums of products with N times 8 keys become scores, by which power of two e^score is meant:
 * minus infinity where they are not seen; whole: all are. first: the position of the lane's first
 * column. */
template <int N>
DEVICE void scores_of(const struct attn_run_args &a, const struct tile &t,
                      const struct lane_rows &l, float (*s)[4], int32_t first, bool whole)
{
    const bool plain = a.softcap == 0.0f && !a.slope;
    const float by = plain ? LOG2_E : 1.0f, scale[2] = {l.scale[0] * by, l.scale[1] * by};

#pragma unroll
    for (int i = 0; i < 4 * N; i++)
        s[i / 4][i % 4] *= scale[i % 4 / 2];
    if (a.softcap != 0.0f)
#pragma unroll
        for (int i = 0; i < 4 * N; i++)
            s[i / 4][i % 4] = a.softcap * v_tanh(s[i / 4][i % 4] * (1.0f / a.softcap));
    if (a.slope)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const struct query q = query_of(a, t, lane_query(l, r));
            const float slope = a.slope[q.head];
#pragma unroll
            for (int i = 0; i < 2 * N; i++)
                s[i / 2][2 * r + i % 2] += slope * (float)(first + i / 2 * 8 + i % 2 - q.pos);
        }
#pragma unroll
    for (int i = 0; i < 4 * N && !plain; i++)
        s[i / 4][i % 4] *= LOG2_E;
    if (!whole)
        put_unseen<N>(l, s, first, MINUS_INF);
}

/* Of each of the lane's queries. */
template <int N> DEVICE void largest_of(float *top, const float (*s)[4])
{
    top[0] = top[1] = MINUS_INF;
#pragma unroll
    for (int i = 0; i < 4 * N; i++)
        top[i % 4 / 2] = fmaxf(s[i / 4][i % 4], top[i % 4 / 2]);
    top[0] = quad_max(top[0]);
    top[1] = quad_max(top[1]);
}

template <int N>
DEVICE void powers_of(const struct lane_rows &l, float (*s)[4], int32_t first, bool whole)
{
#pragma unroll
    for (int i = 0; i < 4 * N; i++)
        s[i / 4][i % 4] = two_to(s[i / 4][i % 4] - l.max[i % 4 / 2]);
    if (!whole)
        put_unseen<N>(l, s, first, 0.0f);
}

/* All keys of a step by one warp: products become e^score, for sums that were times keep. */
template <int N>
DEVICE void step_powers(const struct attn_run_args &a, const struct tile &t, struct lane_rows *l,
                        float (*s)[4], int32_t first, bool whole, float *keep)
{
    scores_of<N>(a, t, *l, s, first, whole);
    largest_of<N>(keep, s);
    keep[0] = lift(l, 0, keep[0]);
    keep[1] = lift(l, 1, keep[1]);
    powers_of<N>(*l, s, first, whole);
}

/* Packs what the tile's rows have become, if it is wanted packed. All threads of the block. */
DEVICE void pack_tile(const struct attn_run_args &a, const struct tile &t)
{
    if (a.to || a.halves)
        for (int32_t i = t.first; i < t.first + t.n; i++)
            pack_columns(at_row(a.out, i), i, (int64_t)t.head * a.dv, t.nh * a.dv,
                         (int64_t)a.n_head * a.dv / 32, a.to, a.halves);
}

/* -- few queries: warps share them; each has some keys of a step, then some columns of V -- */

template <class S>
DEVICE void attn_few(const struct attn_run_args &a, const struct tile &t, int32_t c,
                     int32_t n_split, bool split)
{
    enum { KEYS = S::STEP / 8 / S::WARPS > 1 ? 2 : 1 }; // times 8 a warp
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    const int g = lane / 4, n_ks = (a.dk + 15) / 16, n_pair = (a.dv + 15) / 16;
    const int key0 = warp * KEYS * 8, pairs = (n_pair + S::WARPS - 1) / S::WARPS;
    const int pair0 = warp * pairs;
    const bool has_keys = key0 < S::STEP;
    uint8_t *shared = (uint8_t *)shared_memory(), *p_at = shared + a.at.at_p;
    const uint8_t *q_at = shared + a.at.at_q, *k_at, *v_at;
    float *top_at = (float *)(shared + a.at.at_max); // [WARPS][ATTN_ROWS]
    const uint32_t ones = S::HALF ? 0x3c003c00u : 0x3f803f80u, one[2] = {ones, ones};
    float acc[2 * S::PAIRS][4] = {{0}}, sum[4] = {0};
    const int32_t begin = t.from / S::STEP * S::STEP;
    struct walk now = {attn_chunk_at(c) > begin ? attn_chunk_at(c) : begin, c}, ahead = now;
    struct lane_rows l;

    for (int i = 1; i < a.at.n_stage; i++) {
        fetch_step<S>(a, t, shared + (i - 1) * a.at.stage, ahead.j);
        ahead = walk_next<S::STEP>(ahead, t, n_split);
    }
    put_queries<S>(a, t, shared + a.at.at_q, ATTN_ROWS, a.at.part_q);
    __syncthreads();
    lane_begin(a, t, &l, 0);
#pragma unroll 1
    for (int i = 0; now.j < t.to; i++) {
        const int32_t first = now.j + key0 + lane % 4 * 2;
        float s[KEYS][4] = {{0}}, top[2] = {MINUS_INF, MINUS_INF}, keep[2];

        next_stage<S>(a, t, i, now.j, ahead.j, &k_at, &v_at);
        ahead = walk_next<S::STEP>(ahead, t, n_split);
        if (has_keys) {
#pragma unroll 4
            for (int ks = 0; ks < n_ks; ks++)
                for (int x = 0; x < (S::HALF ? 1 : a.at.parts); x++) {
                    uint32_t q[4];
                    load_queries(q, q_at + x * a.at.part_q, ATTN_ROWS, 0, ks);
                    for (int y = 0; S::HALF ? y < 1 : y < a.at.parts_k && x + y < a.at.parts; y++) {
                        uint32_t k[4];
                        if (KEYS == 2) {
                            load_keys(k, k_at + y * a.at.part_k, S::STEP, key0, ks);
                            mma_16<S>(s[KEYS - 1], q, k + 2);
                        } else {
                            load_8_keys(k, k_at + y * a.at.part_k, S::STEP, key0, ks);
                        }
                        mma_16<S>(s[0], q, k);
                    }
                }
            scores_of<KEYS>(a, t, l, s, first, false);
            largest_of<KEYS>(top, s);
            if (lane % 4 == 0) {
                top_at[warp * ATTN_ROWS + g] = top[0];
                top_at[warp * ATTN_ROWS + g + 8] = top[1];
            }
        }
        __syncthreads();
#pragma unroll
        for (int r = 0; r < 2; r++) {
            for (int w = 0; w < S::WARPS && w * KEYS * 8 < S::STEP; w++) {
                const float x = top_at[w * ATTN_ROWS + g + 8 * r];
                top[r] = x > top[r] ? x : top[r];
            }
            keep[r] = lift(&l, r, top[r]);
        }
        powers_of<KEYS>(l, s, first, false);
        for (int n = 0; n < KEYS && has_keys; n++)
#pragma unroll
            for (int r = 0; r < 2; r++) {
                float *e = s[n] + 2 * r;
                uint8_t *to = p_at + (g + 8 * r) * a.at.ld_p + (key0 + n * 8 + lane % 4 * 2) * 2;

                if (S::HALF)
                    *(uint32_t *)to = two_f16(e[0], e[1]);
                for (int x = 0; !S::HALF && x < a.at.parts; x++) {
                    const uint32_t w = two_bf16(e[0], e[1]);
                    *(uint32_t *)(to + x * a.at.part_p) = w;
                    e[0] -= bf16_to_f32((uint16_t)w);
                    e[1] -= bf16_to_f32((uint16_t)(w >> 16));
                }
            }
        keep_sums<2 * S::PAIRS>(sum, acc, keep);
        __syncthreads();
#pragma unroll
        for (int ks = 0; ks < S::STEP / 16; ks++)
            for (int x = 0; x < (S::HALF ? 1 : a.at.parts); x++) {
                const uint8_t *from =
                    p_at + x * a.at.part_p + g * a.at.ld_p + ks * 32 + lane % 4 * 4;
                const uint32_t p[4] = {
                    *(const uint32_t *)from, *(const uint32_t *)(from + 8 * a.at.ld_p),
                    *(const uint32_t *)(from + 16), *(const uint32_t *)(from + 8 * a.at.ld_p + 16)};
                mma_16<S>(sum, p, one);
                for (int y = 0; S::HALF ? y < 1 : y < a.at.parts_v && x + y < a.at.parts; y++)
#pragma unroll
                    for (int n = 0; n < S::PAIRS; n++)
                        if (n < pairs && pair0 + n < n_pair) {
                            uint32_t v[4];
                            load_values(v, v_at + y * a.at.part_v, S::STEP, ks * 16, pair0 + n);
                            mma_16<S>(acc[2 * n], p, v);
                            mma_16<S>(acc[2 * n + 1], p, v + 2);
                        }
            }
        const int32_t was = now.c;
        now = walk_next<S::STEP>(now, t, n_split);
        if (now.c == was && now.j < t.to)
            continue;
        chunk_end<2 * S::PAIRS>(a, t, &l, was, split, sum, acc, 2 * pair0, 2 * pairs);
    }
}

/* What a kernel is made for: operands of F16 or in parts, pages of a step, warps, columns of V. */
template <bool HALF_, int PAGES_, int WARPS_, int COLS_> struct attn_kind {
    enum {
        HALF = HALF_,
        PAGES = PAGES_,
        STEP = PAGES_ * KV_PAGE,
        WARPS = WARPS_,
        THREADS = WARPS_ * WARP,
        COLS = COLS_,
        PAIRS = (COLS_ / 16 + WARPS_ - 1) / WARPS_, // products of 16 columns that a warp of few has
    };
};

#endif
