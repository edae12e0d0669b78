/* persist.cu - all records of a step of one row in one launch, and of the next ones.
 *
 * A block a multiprocessor, all there at once. They work through a list (lower_persist.c) whose
 * entries are the launches of the step; a count in memory for each says how many blocks have done
 * their part, and what comes next waits for it. Nobody waits for weights in vain: each warp has a
 * ring in shared memory, and asks for what it will multiply with next, over the borders of entries,
 * as soon as a place is free. Who makes which columns is fixed, and all sums are those of ring.cuh
 * and half.cuh, so the bytes are those of the launches.
 *
 * What a matrix reads is packed by every block for itself, and the norm in front of it made: that
 * costs less than to wait once more. The list's last entry draws a token, which is the next step's
 * row: then the list begins again, up to so many times, and meanwhile the rings have gone on to its
 * first matrices. The host reads each token as it is drawn.
 *
 * The text of the other kernels is compiled here once more, as functions: blockIdx then is what the
 * block stands in for. What is __noinline__ is so for its registers: the compiler would fill them
 * with what all cases of a loop have in common.
 */
#define RILL_PERSIST
#include "kernels/cuda/common.cuh"
#include "kernels/cuda/persist.h"

#define PERSIST_PAD(n) (((n) + 15) / 16 * 16)

/* What a warp stands in for, and its shared memory. */
struct place {
    struct at {
        uint32_t x, y, z;
    } block, grid;
    char *room;
};

DEVICE char *shared_begin(void)
{
    return shared_memory();
}

DEVICE int this_block(void)
{
    return (int)blockIdx.x;
}

DEVICE int all_blocks(void)
{
    return (int)gridDim.x;
}

DEVICE struct place &here(void)
{
    return ((struct place *)shared_begin())[threadIdx.x / WARP];
}

#pragma push_macro("blockIdx")
#pragma push_macro("gridDim")
#undef blockIdx
#undef gridDim
#undef ATTN_THREADS
#undef DRAW_THREADS
#undef MAP_THREADS
#define blockIdx        (here().block)
#define gridDim         (here().grid)
#define shared_memory() (here().room)
#define ATTN_THREADS    PERSIST_THREADS
#define DRAW_THREADS    PERSIST_THREADS
#define MAP_THREADS     PERSIST_THREADS

#include "kernels/cuda/attn.cu"
#include "kernels/cuda/draw.cu"
#include "kernels/cuda/half.cuh"
#include "kernels/cuda/heads.cuh"
#include "kernels/cuda/ring.cuh"
#include "kernels/cuda/rows.cu"

#define FMT_HOOK "kernels/cuda/reader.inc"
#include "quant/q4_0.h"
#include "quant/q8_0.h"
#include "quant/mxfp4.h"
#include "quant/q4_k.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"
#include "quant/iq4_xs.h"
#include "quant/f16.h"
#include "quant/bf16.h"
#undef FMT_HOOK
#define FMT_HOOK "kernels/cuda/fetch.inc"
#include "quant/f32.h"
#include "quant/f16.h"
#include "quant/bf16.h"
#undef FMT_HOOK

#define PANEL_FORMATS(X)                                                                           \
    X(FMT_Q4_0, q4_0)                                                                              \
    X(FMT_Q8_0, q8_0)                                                                              \
    X(FMT_MXFP4, mxfp4) X(FMT_Q4_K, q4_k) X(FMT_Q5_K, q5_k) X(FMT_Q6_K, q6_k) X(FMT_IQ4_XS, iq4_xs)

/* -- what a block makes of a matrix -- */

/* Tiles [first, end) of columns, in so many items each: a segment's sums. An item comes in pieces,
 * a stage of the ring each. */
DEVICE bool halves(int fmt)
{
    return fmt == FMT_F16 || fmt == FMT_BF16;
}

DEVICE struct ring_work share_of(const struct gemv_args &a, int fmt)
{
    const struct mat &last = a.m[a.glu ? 0 : a.n_m - 1];
    const int per = halves(fmt) ? HALF_COLS : PANEL;
    const int cols = halves(fmt) ? HALF_SEGMENT : 32 * SEGMENT;
    const int64_t tiles = (last.at + last.rows + per - 1) / per, b = this_block(), g = all_blocks();
    struct ring_work w;

    w.first = (int32_t)(tiles * b / g);
    w.end = (int32_t)(tiles * (b + 1) / g);
    w.slices = (int32_t)panel_slices(a.cols);
    w.segments = (int32_t)((a.cols + cols - 1) / cols);
    w.items = a.glu ? 2 * w.segments : w.segments;
    w.matrix = 0;
    return w;
}

/* Columns of a piece, from column `at` on of the matrix. */
struct piece {
    int32_t at, n, of; // of: pieces of the item
};

DEVICE struct piece piece_of(const struct gemv_args &a, const struct ring_work &w, int item, int i)
{
    const int32_t first = item % w.segments * HALF_SEGMENT, left = (int32_t)a.cols - first;
    const int32_t all = left < HALF_SEGMENT ? left : HALF_SEGMENT, at = i * PERSIST_PIECE;

    return {first + at, all - at < PERSIST_PIECE ? all - at : PERSIST_PIECE,
            (all + PERSIST_PIECE - 1) / PERSIST_PIECE};
}

/* -- the ring -- */

/* What the warp asks for next, and of which matrix. */
struct ahead {
    struct persist_work work;
    struct ring_work w;
    int32_t steps; // behind this one
};

struct head {
    struct place place[PERSIST_WARPS];
    uint64_t bar[PERSIST_WARPS][PERSIST_STAGES];
    struct ahead ahead[PERSIST_WARPS];
    struct persist_work work[2]; // what is done, and what comes
    uint32_t at;                 // entries begun: which is which
    uint32_t steps;              // begun since the segment was made, this one too
    bool more;                   // it is not the last one
    float sums[PERSIST_WARPS];
    int32_t keep;
};

extern "C" uint32_t persist_head_bytes(void)
{
    return (uint32_t)PERSIST_PAD(sizeof(struct head));
}

DEVICE struct head &head(void)
{
    return *(struct head *)shared_begin();
}

DEVICE const struct persist_work &work(void)
{
    return head().work[head().at % 2];
}

DEVICE char *room(void)
{
    return shared_begin() + PERSIST_PAD(sizeof(struct head));
}

/* Where a warp is, and what it asks for next, which goes where it has just been. Items are dealt to
 * the warps in turn, from the one behind the last of the matrix in front: `items` counts those so
 * far. */
struct cursor {
    uint32_t items;
    int32_t stage, turn;
};
struct feed {
    uint32_t items;
    int32_t at, item, piece;
};

DEVICE int first_item(uint32_t items)
{
    return (int)((threadIdx.x / WARP - items) % PERSIST_WARPS);
}

DEVICE uint8_t *stage_of(const struct persist_args &p, int stage)
{
    return (uint8_t *)room() + p.room + ((int)(threadIdx.x / WARP) * p.stages + stage) * p.stage;
}

/* A piece of 16 rows: a lane each asks for its part. */
DEVICE void half_ask(const struct ahead &k, const struct feed &c, uint8_t *stage, uint64_t *bar)
{
    const int item = c.item % k.w.items, lane = (int)threadIdx.x % WARP;
    const struct gemv_args &a = k.work.a.gemv;
    const struct piece part = piece_of(a, k.w, item, c.piece);
    const int64_t col = (int64_t)(k.w.first + c.item / k.w.items) * HALF_COLS + lane;

    by_bulk::expect(bar, HALF_COLS * part.n * 2);
    if (lane < HALF_COLS)
        bulk_copy(stage + lane * PERSIST_PIECE * 2,
                  gemv_weights(a, 0, col, item / k.w.segments) + (int64_t)part.at * 2,
                  (uint32_t)part.n * 2, bar);
    by_bulk::asked();
}

/* The matrix at c->at of the list goes to the warp's part of shared memory. */
DEVICE void begin_matrix(const struct persist_args &p, struct feed *c, struct ahead &k)
{
    enum { WORDS = (offsetof(struct persist_work, a) + sizeof(struct gemv_args)) / 4 };
    const int lane = (int)threadIdx.x % WARP;
    const uint32_t *from = (const uint32_t *)(p.work + c->at);

    __syncwarp();
    for (int i = lane; i < WORDS; i += WARP)
        ((uint32_t *)&k.work)[i] = from[i];
    __syncwarp();
    if (lane == 0) {
        k.w = share_of(k.work.a.gemv, k.work.fmt);
        k.steps -= c->at == p.matrix;
    }
    __syncwarp();
    c->item = first_item(c->items);
    c->piece = 0;
}

/* Asks for the warp's next piece, for a stage that is free; behind the last one for nothing, which
 * is there at once. */
DEVICE void ask(const struct persist_args &p, struct feed *c, int at)
{
    const int warp = (int)threadIdx.x / WARP;
    struct ahead &k = head().ahead[warp];
    uint64_t *bar = &head().bar[warp][at];
    uint8_t *stage = stage_of(p, at);

    while (c->at < p.n && c->item >= (k.w.end - k.w.first) * k.w.items) {
        c->items += (uint32_t)((k.w.end - k.w.first) * k.w.items);
        c->at = k.work.next;
        if (c->at >= p.n && k.steps > 0)
            c->at = p.matrix;
        if (c->at < p.n)
            begin_matrix(p, c, k);
    }
    if (c->at >= p.n) {
        by_bulk::expect(bar, 0);
        by_bulk::asked();
        return;
    }
    switch (k.work.fmt) {
#define ASK(id, f)                                                                                 \
    case id:                                                                                       \
        ring_ask<f##_panel, by_bulk>(k.work.a.gemv, k.w, c->item, stage, bar);                     \
        break;
        PANEL_FORMATS(ASK)
    default:
        half_ask(k, *c, stage, bar);
        if (++c->piece < piece_of(k.work.a.gemv, k.w, c->item % k.w.items, 0).of)
            return;
    }
    c->piece = 0;
    c->item += PERSIST_WARPS;
}

/* -- a matrix -- */

/* Its input to shared memory: normed where `norm` says how, and packed. */
DEVICE void make_input(const struct persist_work &k, const struct persist_work *norm)
{
    const struct gemv_args &a = k.a.gemv;
    const int lane = (int)threadIdx.x % WARP;
    const float *x = at_row(a.x, 0);
    struct norm_by by = {0.0f, 0.0f};

    if (norm)
        by = norm_of(norm->a.norm, at_row(norm->a.norm.x, 0), norm->how, head().sums);
    for (int64_t g = threadIdx.x / WARP; g < a.cols / 32; g += PERSIST_WARPS) {
        const int64_t i = 32 * g + lane;
        const float v = norm ? norm_at(norm->a.norm, by, 0, i) : x[i];

        if (norm && this_block() == 0) // others may want it, too
            at_row(norm->a.norm.out, 0)[i] = v;
        pack_lanes(v, a.xh ? NULL : (struct q32 *)room() + g,
                   a.xh ? (struct x16 *)room() + g : NULL);
    }
}

template <class F>
static __device__ __noinline__ float chain_of(const uint8_t *stage, int seg, int units)
{
    return ring_chain<F>(stage, room(), seg, units);
}

/* n columns, from column `at` on, join the sums of 16 rows. */
template <class R>
static __device__ __noinline__ float4 half_piece(float4 sums, const uint8_t *stage, int at, int n)
{
    float acc[4] = {sums.x, sums.y, sums.z, sums.w};
    const int lane = (int)threadIdx.x % WARP, t = lane % 4;
    const uint8_t *row = stage + lane / 4 * PERSIST_PIECE * 2 + t * 16;
    const struct x16 *x = (const struct x16 *)room() + at / 32;

#pragma unroll 2
    for (int k = 0; k < n / 32; k++) {
        struct eight hi[2], lo[2];

        half_split<R>(eight_at(row + k * 64), &hi[0], &lo[0]);
        half_split<R>(eight_at(row + k * 64 + 8 * PERSIST_PIECE * 2), &hi[1], &lo[1]);
        half_multiply<R>(acc, hi, lo, eight_at(x[k].hi + 8 * t), eight_at(x[k].lo + 8 * t));
    }
    return {acc[0], acc[1], acc[2], acc[3]};
}

/* One of the warp's items: its sums, which are 32 chains or 16 columns, go to `to`. */
DEVICE void do_item(const struct persist_args &p, const struct persist_work &k,
                    const struct ring_work &w, int item, bool there, float *to, struct cursor *c,
                    struct feed *next)
{
    const int warp = (int)threadIdx.x / WARP, lane = (int)threadIdx.x % WARP;
    const int seg = item % w.segments;
    float4 acc = {0.0f, 0.0f, 0.0f, 0.0f};

    for (int i = 0, n = 1; i < n; i++) {
        const int at = c->stage;
        const uint8_t *stage = stage_of(p, at);
        struct piece part = {0, 0, 1};

        if (halves(k.fmt))
            part = piece_of(k.a.gemv, w, item, i);
        n = part.of;
        bulk_wait(&head().bar[warp][at], (uint32_t)c->turn);
        if (there)
            switch (k.fmt) {
#define CHAIN(id, f)                                                                               \
    case id:                                                                                       \
        to[lane] = chain_of<f##_panels>(stage, seg, (int)(k.a.gemv.cols / 32));                    \
        break;
                PANEL_FORMATS(CHAIN)
            case FMT_F16:
                acc = half_piece<f16_reader>(acc, stage, part.at, part.n);
                break;
            default:
                acc = half_piece<bf16_reader>(acc, stage, part.at, part.n);
            }
        __syncwarp();
        c->stage = at + 1 < p.stages ? at + 1 : 0;
        c->turn ^= c->stage == 0;
        ask(p, next, at);
    }
    if (halves(k.fmt) && lane % 4 == 0) { // the first column of B is the row
        to[lane / 4] = acc.x;
        to[lane / 4 + 8] = acc.z;
    }
}

/* Column i of some tiles of 16 columns. */
DEVICE void half_finish(const struct gemv_args &a, const struct ring_work &w, const float *sums,
                        int32_t tile, int i)
{
    int64_t c = (int64_t)(tile + i / HALF_COLS) * HALF_COLS + i % HALF_COLS;
    const int k = gemv_matrix(a, &c);
    const float *at = sums + i / HALF_COLS * w.items * HALF_COLS + i % HALF_COLS;
    float gate = 0.0f, total = 0.0f;

    for (int s = 0; s < w.items; s++) {
        if (a.glu && s == w.segments) {
            gate = total;
            total = 0.0f;
        }
        total += at[s * HALF_COLS];
    }
    if (k < a.n_m)
        gemv_finish(a, a.m[k], c, 0, 0, gate, total);
}

/* c: where the warp is, next: what it asks for. */
DEVICE void do_matrix(const struct persist_args &p, const struct persist_work &k, struct cursor *c,
                      struct feed *next)
{
    const struct gemv_args &a = k.a.gemv;
    const struct ring_work w = share_of(a, k.fmt);
    const int per = halves(k.fmt) ? HALF_COLS : WARP, tiles = w.end - w.first;
    const int most = PERSIST_SUMS / (w.items * per * (int)sizeof(float));
    const int cols = halves(k.fmt) ? HALF_COLS : PANEL; // of a tile
    const bool there = n_rows(&a.s, a.rows, a.n_used) > 0;
    float *sums = (float *)(room() + p.input);
    int item = first_item(c->items);

    if (there && k.how != PERSIST_AGAIN)
        make_input(k, k.how < 0 ? NULL : p.work + k.how);
    __syncthreads();
    for (int first = 0; first < tiles; first += most) {
        const int end = first + most < tiles ? first + most : tiles;

        for (; item < end * w.items; item += PERSIST_WARPS)
            do_item(p, k, w, item % w.items, there, sums + (item - first * w.items) * per, c, next);
        __syncthreads();
        for (int i = (int)threadIdx.x; there && i < (end - first) * cols; i += PERSIST_THREADS)
            if (halves(k.fmt))
                half_finish(a, w, sums, w.first + first, i);
            else
                ring_finish(a, w, sums, w.first + first, i, 0);
        __syncthreads();
    }
    c->items += (uint32_t)(tiles * w.items);
}

/* -- the others -- */

DEVICE void stand(int y, const struct persist_work &k, char *own)
{
    here() = {{0, (uint32_t)(y % k.n_y), (uint32_t)(y / k.n_y)},
              {1, (uint32_t)k.n_y, (uint32_t)k.n_z},
              own};
}

/* A group of a row. */
DEVICE void do_norm(const struct persist_work &k, int group)
{
    const struct norm_args &a = k.a.norm;
    const int64_t at = (int64_t)group * a.group;

    if (n_rows(&a.s, a.rows, a.n_used) == 0)
        return;
    const struct norm_by by = norm_of(a, at_row(a.x, 0) + at, k.how, head().sums);
    for (int i = (int)threadIdx.x; i < a.group; i += PERSIST_THREADS)
        at_row(a.out, 0)[at + i] = norm_at(a, by, 0, at + i);
}

static __device__ __noinline__ void do_fetch(void)
{
    const struct persist_work &k = work();

    switch (k.fmt) {
#define FETCH(id, f)                                                                               \
    case id:                                                                                       \
        panel_fetch<f##_panels>(k.a.fetch);                                                        \
        break;
        PANEL_FORMATS(FETCH)
    case FMT_F32:
        f32_fetch_block(k.a.fetch);
        break;
    case FMT_F16:
        f16_fetch_block(k.a.fetch);
        break;
    default:
        bf16_fetch_block(k.a.fetch);
    }
}

/* What kern_attn_few are made for, by all warps. */
template <bool HALF, int PAGES, int COLS> static __device__ __noinline__ void do_attn(void)
{
    few_block<attn_kind<HALF, PAGES, PERSIST_WARPS, COLS>>(work().a.attn);
}

DEVICE void do_one(const struct persist_work &k, int y)
{
    switch (k.kind) {
    case PERSIST_NORM:
        do_norm(k, y);
        break;
    case PERSIST_FETCH:
        do_fetch();
        break;
    case PERSIST_ANGLES:
        rope_table_block(k.a.angles);
        break;
    case PERSIST_TURN:
        rope_run_block(k.a.turn);
        break;
    case PERSIST_STORE:
        store_block(k.a.store);
        break;
    case PERSIST_MAP:
        map_block(k.a.map);
        break;
    default:
        switch (k.how) {
        case 0:
            do_attn<true, 2, 128>();
            break;
        case 1:
            do_attn<true, 1, 512>();
            break;
        case 2:
            do_attn<false, 1, 128>();
            break;
        default:
            do_attn<false, 1, 512>();
        }
    }
}

/* What was drawn is told to the host, and becomes the next step's row if that is wanted. By one
 * thread. */
DEVICE void go_on(const struct persist_args &p, int at, int32_t id, bool enough)
{
    const struct persist_draws &d = p.draws;
    const bool more = id >= 0 && at + 1 < d.n && !enough;
    int32_t *last = d.from.last + d.row[0].slot;

    if (at == 0)
        d.recent[0] = *last;
    d.recent[at + 1] = *last = id < 0 ? 0 : id;
    if (more) {
        *(int32_t *)d.s.id = id;
        ++*(int32_t *)d.s.pos;
        ++*(int32_t *)d.s.rot;
        ++*(int32_t *)d.s.see;
    }
    p.step[2] = more;
    tell_host(d.from.out + at, id);
    if (!more && at + 1 < d.n)
        tell_host(d.from.out + at + 1, DRAW_NONE);
}

/* The step's draw, where one is wanted: at of the launch. */
static __device__ __noinline__ void do_draw(const struct persist_args &p, int part, int at)
{
    const struct persist_draws &d = p.draws;

    if (threadIdx.x % WARP == 0)
        stand(part, work(), room());
    __syncthreads();
    const struct draw_row &r = d.row[at];
    const int32_t *late = at == 0 ? d.from.last + r.slot : d.recent + at + 1 - r.late;
    /* on its way from the host's memory meanwhile */
    const int32_t enough = threadIdx.x == 0 ? host_said(d.enough) : 0;
    const int32_t id = draw_block(d.from, r, late, (struct draw_room *)room());

    if (threadIdx.x == 0 && id != DRAW_ELSEWHERE)
        go_on(p, at, id, enough != 0);
}

/* All but matrices; part: the block's number among those that have one. Heads are dealt to warps.
 */
static __device__ __noinline__ void do_others(int part)
{
    const struct persist_work &k = work();
    const int warp = (int)threadIdx.x / WARP;

    if (k.kind == PERSIST_HEAD) {
        for (int y = part + k.blocks * warp; y < k.n_y; y += k.blocks * PERSIST_WARPS) {
            if (threadIdx.x % WARP == 0)
                stand(y, k, room() + warp * (PERSIST_HEADS / PERSIST_WARPS));
            __syncwarp();
            head_of(k.a.heads, 0, y);
            __syncwarp();
        }
        return;
    }
    for (int y = part; y < k.n_y * k.n_z; y += k.blocks) {
        if (threadIdx.x % WARP == 0)
            stand(y, k, room());
        __syncthreads();
        do_one(k, y);
        __syncthreads();
    }
}

#undef shared_memory
#pragma pop_macro("blockIdx")
#pragma pop_macro("gridDim")

/* Entry `at` starts on its way to shared memory. */
DEVICE void bring_work(const struct persist_args &p, int at)
{
    enum { PARTS = sizeof(struct persist_work) / 16 };
    const int tid = (int)threadIdx.x;
    struct persist_work *to = &head().work[(head().at + 1) % 2];

    static_assert(sizeof(struct persist_work) % 16 == 0 && PARTS <= PERSIST_THREADS, "a part each");
    if (at < p.n && tid < PARTS)
        copy_16((char *)to + 16 * tid, (const char *)(p.work + at) + 16 * tid);
    copies_group();
}

/* Begins step `at` of the launch, behind the draw of the one in front; false: there is none. */
DEVICE bool begin_step(const struct persist_args &p, int at)
{
    const struct persist_work &k = work();
    struct head &h = head();

    if (at > 0 && at >= p.draws.n)
        return false;
    if (threadIdx.x == 0 && at == 0) {
        h.steps = *p.step + 1;
        h.more = true;
    } else if (threadIdx.x == 0) { // k is the draw
        wait_count(p.count + k.raise, (uint32_t)k.blocks * h.steps);
        h.more = p.step[2];
        h.steps += h.more;
    }
    __syncthreads();
    return h.more;
}

static __global__ void __launch_bounds__(PERSIST_THREADS, 1)
    k_persist(const __grid_constant__ struct persist_args p)
{
    struct head &h = head();
    struct cursor c = {0, 0, 0};
    struct feed next = {0, p.matrix, 0, 0};
    const int tid = (int)threadIdx.x, warp = tid / WARP, g = all_blocks();

    if (tid == 0)
        h.at = (uint32_t)-1;
    if (tid % WARP == 0)
        h.ahead[warp].steps = p.draws.n;
    __syncthreads();
    bring_work(p, 0);
    by_bulk::begin(h.bar[warp], p.stages);
    if (next.at < p.n)
        begin_matrix(p, &next, h.ahead[warp]);
    for (int i = 0; i < p.stages; i++)
        ask(p, &next, i);
    grid_wait();
    for (int step = 0; begin_step(p, step); step++)
        for (int at = 0; at < p.n; at++) {
            copies_wait<0>();
            if (tid == 0)
                h.at++;
            __syncthreads();
            const struct persist_work &k = work();
            const int part = (this_block() - k.first + g) % g;
            const bool mine = k.kind != PERSIST_INPUT && part < k.blocks;
            const bool idle = k.kind == PERSIST_DRAW && p.draws.n == 0;

            if (mine && !idle && tid == 0 && k.wait >= 0)
                wait_count(p.count + k.wait, k.want * h.steps);
            __syncthreads();
            bring_work(p, at + 1 < p.n ? at + 1 : step + 1 < p.draws.n ? 0 : p.n);
            if (mine && k.kind == PERSIST_MATRIX)
                do_matrix(p, k, &c, &next);
            else if (mine && k.kind != PERSIST_DRAW)
                do_others(part);
            else if (mine && !idle)
                do_draw(p, part, step);
            __syncthreads();
            if (mine && tid == 0)
                raise_count(p.count + k.raise);
        }
    copies_wait<0>();
    for (int i = 0; i < p.stages; i++) // what was asked for and is not wanted
        bulk_wait(&h.bar[warp][(c.stage + i) % p.stages],
                  (uint32_t)(c.turn ^ (c.stage + i >= p.stages)));
    if (last_of((int32_t *)p.step + 1, g, &h.keep) && tid == 0)
        *p.step = h.steps;
}

extern "C" const struct rt_kern kern_persist = {"cuda:persist", KERN_FN(k_persist),
                                                KERN_CALL(k_persist, struct persist_args),
                                                (uint32_t)sizeof(struct persist_args), true};
