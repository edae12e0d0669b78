/* draw.cu - tokens drawn from rows of logits, as libcore/engine/sampler.c draws them, to the bit:
 * the same order of additions in double precision, by the same e^x (base/exp64.h).
 *
 * Some blocks share a row: each edits a part of it and finds the largest there; the last one that
 * comes draws, and where the largest is all that is wanted, that was all. Nothing is sorted but the
 * candidates that can still be drawn: those within min-p's reach, and of these at most DRAW_SORT,
 * found by bisection over the logits' bits. Where more would be needed the answer is DRAW_HOST.
 *
 * Same bytes: the largest of parts is the largest, however many there are; all else one block does.
 */
#include "base/err.h"
#include "kernels/cuda/common.cuh"

#define EXP64_FN DEVICE
#include "base/exp64.h"

static_assert(DRAW_LANES == DRAW_THREADS || DRAW_LANES == 2 * DRAW_THREADS, "one or two a thread");

#define DRAW_ELSEWHERE INT32_MAX // it is another block's to say

/* Shared memory of a block. */
struct draw_room {
    uint64_t key[DRAW_SORT];
    double e[DRAW_SORT];
    double d[DRAW_THREADS];
    uint64_t n[DRAW_THREADS];
};
static_assert(sizeof(struct draw_room) == (DRAW_SORT + DRAW_THREADS) * 16, "what is asked for");

/* Bits that compare as the numbers do; minus zero is zero. */
DEVICE uint32_t order_of(float x)
{
    const uint32_t b = f32_bits(x + 0.0f);

    return b & 0x80000000u ? ~b : b | 0x80000000u;
}

DEVICE float number_of(uint32_t order)
{
    return f32_of_bits(order & 0x80000000u ? order & 0x7fffffffu : ~order);
}

/* Over the block, the same in every thread: sums in the order of a tree, and the largest. */
DEVICE double tree_sum(double x, double *t)
{
    const int i = (int)threadIdx.x;

    t[i] = x;
    __syncthreads();
    for (int m = DRAW_THREADS / 2; m; m /= 2) {
        if (i < m)
            t[i] += t[i + m];
        __syncthreads();
    }
    x = t[0];
    __syncthreads();
    return x;
}

DEVICE uint64_t tree_most(uint64_t x, uint64_t *t)
{
    const int i = (int)threadIdx.x;

    t[i] = x;
    __syncthreads();
    for (int m = DRAW_THREADS / 2; m; m /= 2) {
        if (i < m && t[i + m] > t[i])
            t[i] = t[i + m];
        __syncthreads();
    }
    x = t[0];
    __syncthreads();
    return x;
}

/* Of whole numbers any order will do. */
DEVICE int tree_count(int x, uint64_t *t)
{
    const int warp = (int)threadIdx.x / WARP;
    int sum = 0;

    x = warp_sum_int(x);
    if (threadIdx.x % WARP == 0)
        t[warp] = (uint64_t)x;
    __syncthreads();
    for (int i = 0; i < DRAW_THREADS / WARP; i++)
        sum += (int)t[i];
    __syncthreads();
    return sum;
}

/* A block's part of the row: whole lines of memory. */
struct draw_span {
    int begin, end;
};

DEVICE struct draw_span draw_span_of(const struct draw_from &a)
{
    const int words = (a.n_word + (int)gridDim.y - 1) / (int)gridDim.y;
    const int begin = (int)blockIdx.y * words * 32, end = begin + words * 32;

    return {begin < a.n_vocab ? begin : a.n_vocab, end < a.n_vocab ? end : a.n_vocab};
}

/* One token's logit. */
DEVICE float draw_edited(const struct draw_row &r, float l, const struct draw_edit &e)
{
    l += e.add;
    if (e.count > 0) {
        l = l > 0.0f ? l / r.rule.repetition : l * r.rule.repetition;
        l -= r.rule.presence + r.rule.frequency * (float)e.count;
    }
    return e.count < 0 ? -f32_of_bits(0x7f800000u) : l;
}

/* Penalties of what the slot drew last and nobody has told the host yet, as far as the row's edits
 * have them not: bit i of `seen`: they have late[i]. By one thread. */
DEVICE void draw_late(const struct draw_row &r, const struct draw_span &p, const int32_t *late,
                      int seen, float *w)
{
    for (int i = 0; i < r.late; i++) {
        const int32_t id = load_new(late + i);
        bool first = true;
        int count = 0;

        for (int k = 0; k < r.late; k++)
            if (load_new(late + k) == id) {
                first = first && k >= i;
                count++;
            }
        if (first && !(seen >> i & 1) && id >= p.begin && id < p.end)
            w[id] = draw_edited(r, w[id], {id, 0.0f, count});
    }
}

/* The row's part as it is after the mask, biases and penalties. */
DEVICE void draw_edits(const struct draw_from &a, const struct draw_row &r, const int32_t *late,
                       const struct draw_span &p, float *w, uint64_t *t)
{
    const float *x = a.logits + r.row * a.ld;
    const uint32_t *mask = a.mask + (int64_t)r.mask * a.n_word;
    const float none = -f32_of_bits(0x7f800000u);
    int seen = 0; // each token is one edit's at most, so that sums of these are unions

#pragma unroll 4
    for (int i = p.begin + (int)threadIdx.x; i < p.end; i += DRAW_THREADS) {
        const bool may = r.n_mask < 0 || (i < r.n_mask && (mask[i / 32] >> i % 32 & 1));
        w[i] = may ? x[i] : none;
    }
    if (!r.n_edit && !r.late)
        return;
    __syncthreads();
    for (int i = (int)threadIdx.x; i < r.n_edit; i += DRAW_THREADS) {
        struct draw_edit e = a.edit[r.edit + i];

        for (int k = 0; k < r.late; k++)
            if (load_new(late + k) == e.id) {
                seen |= 1 << k;
                e.count += e.count >= 0;
            }
        if (e.id >= p.begin && e.id < p.end)
            w[e.id] = draw_edited(r, w[e.id], e);
    }
    if (r.late) {
        seen = tree_count(seen, t);
        if (threadIdx.x == 0)
            draw_late(r, p, late, seen, w);
    }
    __syncthreads();
}

/* Which tokens are candidates at all. */
struct reach {
    float least;
    bool all;
    uint32_t above; // and their order_of is more than this
};

DEVICE bool within(const struct reach &c, float x)
{
    return (c.all || x >= c.least) && x > -f32_of_bits(0x7f800000u) && order_of(x) > c.above;
}

DEVICE int count_within(const struct draw_from &a, const float *w, const struct reach &c,
                        uint64_t *t)
{
    int n = 0;

#pragma unroll 4
    for (int i = (int)threadIdx.x; i < a.n_vocab; i += DRAW_THREADS)
        n += within(c, load_new(w + i));
    return tree_count(n, t);
}

/* Candidates in s->key, falling: by logit and the lowest id first, or by id. Returns how many. */
DEVICE int draw_sorted(const struct draw_from &a, const float *w, const struct reach &c, bool by_id,
                       struct draw_room *s)
{
    const int tid = (int)threadIdx.x;
    int mine = 0, at = 0, all = 0, size = 2;

#pragma unroll 4
    for (int i = tid; i < a.n_vocab; i += DRAW_THREADS)
        mine += within(c, load_new(w + i));
    const int warp = warp_sum_int(mine);
    s->n[tid] = (uint64_t)mine;
    if (tid % WARP == 0)
        s->d[tid / WARP] = warp;
    __syncthreads();
    for (int i = tid / WARP * WARP; i < tid; i++)
        at += (int)s->n[i];
    for (int i = 0; i < DRAW_THREADS / WARP; i++) {
        at += i < tid / WARP ? (int)s->d[i] : 0;
        all += (int)s->d[i];
    }
    for (int i = tid; i < a.n_vocab; i += DRAW_THREADS) {
        const float x = load_new(w + i);
        if (within(c, x))
            s->key[at++] = by_id ? (uint64_t)i << 32 | order_of(x)
                                 : (uint64_t)order_of(x) << 32 | (0xffffffffu - (uint32_t)i);
    }
    while (size < all)
        size *= 2;
    for (int i = all + tid; i < size; i += DRAW_THREADS)
        s->key[i] = 0;
    __syncthreads();
    for (int k = 2; k <= size; k *= 2) // bitonic
        for (int j = k / 2; j; j /= 2) {
            for (int i = tid; i < size; i += DRAW_THREADS) {
                const uint64_t x = s->key[i], y = s->key[i ^ j];
                if ((i ^ j) > i && (i & k ? x > y : x < y)) {
                    s->key[i] = y;
                    s->key[i ^ j] = x;
                }
            }
            __syncthreads();
        }
    return all;
}

DEVICE float key_logit(uint64_t key, bool by_id)
{
    return number_of((uint32_t)(by_id ? key : key >> 32));
}

DEVICE int32_t key_id(uint64_t key, bool by_id)
{
    return (int32_t)(by_id ? key >> 32 : 0xffffffffu - (uint32_t)key);
}

/* sampler.c's keep(): how many of n candidates, of which `have` are here; 0: more are needed. */
DEVICE int draw_kept(const struct draw_row &r, int n, int have, double sum, float least,
                     const struct draw_room *s)
{
    const int most = r.rule.top_k > 0 && r.rule.top_k < n ? r.rule.top_k : n;
    double seen = 0.0;
    int k = 0;

    if (r.rule.top_p < 1.0f && r.rule.top_k > 0) {
        if (most > have)
            return 0;
        for (int i = most - 1; i >= 0; i--)
            sum += s->e[i];
        for (k = 1; k < most; k++) {
            seen += s->e[k - 1];
            if (seen >= (double)r.rule.top_p * sum)
                break;
        }
    } else {
        while (k < most) {
            if (k == have)
                return 0;
            seen += s->e[k++];
            if (r.rule.top_p < 1.0f && seen >= (double)r.rule.top_p * sum)
                break;
        }
    }
    while (k > 1 && r.rule.top_k > 0 && key_logit(s->key[k - 1], false) < least)
        k--;
    return k;
}

/* The largest of a part of the row, and whether something there is no number. */
DEVICE struct draw_part draw_most(const struct draw_span &p, const float *w, struct draw_room *s)
{
    uint64_t best = 0;
    int bad = 0;

#pragma unroll 4
    for (int i = p.begin + (int)threadIdx.x; i < p.end; i += DRAW_THREADS) {
        const float x = load_new(w + i);
        const uint64_t key = (uint64_t)order_of(x) << 32 | (0xffffffffu - (uint32_t)i);
        bad |= x != x;
        best = key > best ? key : best;
    }
    best = tree_most(best, s->n);
    return {best, tree_count(bad, s->n)};
}

/* The largest of all parts, which are there when the last block of the row comes; false: others
 * are still to come. */
DEVICE bool draw_joined(const struct draw_from &a, struct draw_part *m, struct draw_room *s)
{
    struct draw_part *part = a.part + (int64_t)blockIdx.x * DRAW_PARTS;

    if (gridDim.y == 1)
        return true;
    if (threadIdx.x == 0)
        part[blockIdx.y] = *m;
    if (!last_of(a.ticket + blockIdx.x, (int32_t)gridDim.y, (int32_t *)s->d))
        return false;
    for (uint32_t i = 0; i < gridDim.y; i++) {
        const uint64_t best = load_new(&part[i].best);

        m->best = i == 0 || best > m->best ? best : m->best;
        m->bad = (i ? m->bad : 0) + load_new(&part[i].bad);
    }
    __syncthreads();
    return true;
}

/* The sum over the row that top-p wants where nothing bounds its candidates: lane after lane. */
DEVICE double draw_total(const struct draw_from &a, const float *w, double top, double *t)
{
    double sum = 0.0, other = 0.0;

    for (int i = (int)threadIdx.x; i < a.n_vocab; i += DRAW_LANES) {
        const int k = i + DRAW_THREADS;

        sum += exp64((double)load_new(w + i) - top);
        if (DRAW_THREADS < DRAW_LANES && k < a.n_vocab)
            other += exp64((double)load_new(w + k) - top);
    }
    return tree_sum(DRAW_THREADS < DRAW_LANES ? sum + other : sum, t);
}

/* At most DRAW_SORT of n candidates: the fewest bits that leave so many. */
DEVICE void draw_fewer(const struct draw_from &a, const float *w, struct reach *c, int n,
                       uint64_t *t)
{
    uint32_t low = 0, end = 0xffffffffu;

    if (n <= DRAW_SORT)
        return;
    while (low < end) {
        c->above = low + (end - low) / 2;
        if (count_within(a, w, *c, t) <= DRAW_SORT)
            end = c->above;
        else
            low = c->above + 1;
    }
    c->above = low;
}

/* One of the first k by its part of e^(logit / temperature). By one thread. */
DEVICE int32_t draw_of(const struct draw_row &r, int k, bool by_id, const struct draw_room *s)
{
    double all = 0.0, at = 0.0;
    int i = 0;

    for (int j = 0; j < k; j++)
        all += s->e[j];
    for (; i + 1 < k; i++) {
        at += s->e[i];
        if (at > r.rule.u * all)
            break;
    }
    return key_id(s->key[i], by_id);
}

/* The block's part in a draw. In thread 0 of the block that comes last what is drawn, or why
 * nothing is; else DRAW_ELSEWHERE or anything. late: [r.late] of the slot's. */
DEVICE int32_t draw_block(const struct draw_from &a, const struct draw_row &r, const int32_t *late,
                          struct draw_room *s)
{
    const int tid = (int)threadIdx.x;
    float *w = a.work + (int64_t)blockIdx.x * a.n_word * 32;
    const struct draw_span span = draw_span_of(a);

    if (r.row < 0)
        return blockIdx.y == 0 ? DRAW_HOST : DRAW_ELSEWHERE;
    draw_edits(a, r, late, span, w, s->n);
    __syncthreads();
    struct draw_part m = draw_most(span, w, s);
    if (!draw_joined(a, &m, s))
        return DRAW_ELSEWHERE;
    const float high = key_logit(m.best, false);
    if (m.bad || !(high - high == 0.0f)) // not a number, or infinite
        return E_NUMERIC;
    if (r.rule.temperature == 0.0f)
        return key_id(m.best, false);
    const double top = high;
    struct reach c = {r.rule.has_min ? high + r.rule.least : -f32_of_bits(0x7f800000u),
                      r.rule.top_k > 0 && r.rule.top_p < 1.0f, 0};
    double sum = 0.0;
    if (r.rule.top_p < 1.0f && r.rule.top_k == 0)
        sum = draw_total(a, w, top, s->d);
    const int n = count_within(a, w, c, s->n);
    draw_fewer(a, w, &c, n, s->n);
    const bool by_id = // nothing is left out
        (r.rule.top_k == 0 || r.rule.top_k >= n) && r.rule.top_p >= 1.0f;
    const int have = draw_sorted(a, w, c, by_id, s);
    for (int i = tid; i < have; i += DRAW_THREADS)
        s->e[i] = exp64((double)key_logit(s->key[i], by_id) - top);
    __syncthreads();
    int k = by_id ? (have < n ? 0 : n) : draw_kept(r, n, have, sum, c.least, s);
    __syncthreads();
    for (int i = tid; i < k; i += DRAW_THREADS)
        s->e[i] = exp64(((double)key_logit(s->key[i], by_id) - top) / (double)r.rule.temperature);
    __syncthreads();
    return k == 0 ? DRAW_HOST : tid == 0 ? draw_of(r, k, by_id, s) : DRAW_ELSEWHERE;
}

#ifndef RILL_PERSIST
/* one block a multiprocessor, so that nothing is spilled: there are no more of them than those */
static __global__ void __launch_bounds__(DRAW_THREADS, 1) k_draw(struct draw_args a)
{
    grid_wait();
    const struct draw_row &r = a.row[blockIdx.x];
    const int32_t id = draw_block(a.from, r, a.from.last + r.slot,
                                  (struct draw_room *)shared_memory());

    /* A slot that drew nothing may be asked for a token all the same: the row it begins is thrown
     * away. */
    if (threadIdx.x == 0 && id != DRAW_ELSEWHERE) {
        a.from.out[blockIdx.x] = id;
        if (a.from.last)
            a.from.last[r.slot] = id < 0 ? 0 : id;
    }
}
KERN(draw);
#endif
