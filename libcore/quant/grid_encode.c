/* grid_encode.c - see grid_encode.h.
 *
 * The searches are the reference's: scales around the largest magnitude, each group moved to the
 * best of the points around it, sums in the same order.
 */
#include "quant/grid_encode.h"

#include "base/mem.h"
#include "quant/grids.h"
#include "quant/iq1_m.h"
#include "quant/iq1_s.h"
#include "quant/iq2_s.h"
#include "quant/iq2_xs.h"
#include "quant/iq2_xxs.h"
#include "quant/iq3_s.h"
#include "quant/iq3_xxs.h"
#include "quant/k_fit.h"

/* How a format's groups are searched. */
struct shape {
    int fmt;
    int dims, bits, levels; // of a group: weights, bits of a level in a key, levels 0 1 2 ...
    uint32_t n_points;
    int rings;      // distances of points around a group that are looked at
    int part;       // weights that share a scale
    int tries;      // scales tried on either side of the first
    float step;     // between them
    bool even;      // an even number of signs is negative
    float mean;     // of the block's mean square lent to every weight
    float none;     // parts whose largest magnitude is below this are zero
    float factor;   // d is made larger by this: found by trial, as in the reference
    bool from_fit;  // the first scale is that of a search without points
    bool all_again; // at the final scale all groups are placed again, not only those off the points
};

static const struct shape shapes[] = {
    {FMT_IQ2_XXS, 8, 2, 3, 256, 2, 32, 6, 0.1f, true, 1.0f, 1e-15f, 1.0f, true, true},
    {FMT_IQ2_XS, 8, 2, 3, 512, 2, 16, 9, 0.1f, true, 1.0f, 1e-15f, 1.0f, false, false},
    {FMT_IQ2_S, 8, 2, 3, 1024, 1, 16, 9, 0.1f, false, 2.0f, 1e-8f, 0.9875f, false, false},
    {FMT_IQ3_XXS, 4, 3, 8, 256, 2, 32, 15, 0.2f, true, 2.0f, 1e-8f, 1.0125f, false, false},
    {FMT_IQ3_S, 4, 3, 8, 512, 3, 32, 9, 0.2f, false, 2.0f, 1e-38f, 1.033f, false, true},
    {FMT_IQ1_S, 8, 2, 3, 2048, 3, 32, 0, 0.0f, false, 2.0f, 1e-12f, 1.125f, false, false},
    {FMT_IQ1_M, 8, 2, 3, 2048, 3, 16, 0, 0.0f, false, 2.0f, 1e-7f, 1.1125f, false, false},
};

struct grid_search {
    const struct shape *shape;
    uint8_t (*point)[8]; // [n_points] levels
    int32_t *map;        // [1 << dims * bits] the point of a key, or -1 - where its list begins
    uint16_t *near;      // lists: how many, then points, the nearest first
};

/* -- making a search -- */

/* Level of weight j of point i: the lists' values are spaced evenly enough to divide. */
static int level_of(int fmt, uint32_t i, int j)
{
    switch (fmt) {
    case FMT_IQ2_XXS:
        return grid8(iq2_xxs_grid, i, j) / 16;
    case FMT_IQ2_XS:
        return grid8(iq2_xs_grid, i, j) / 16;
    case FMT_IQ2_S:
        return grid8(iq2_s_grid, i, j) / 16;
    case FMT_IQ3_XXS:
        return grid4(iq3_xxs_grid, i, j) / 8;
    case FMT_IQ3_S:
        return grid4(iq3_s_grid, i, j) / 2;
    default:
        return grid8(iq1_s_grid, i, j) + 1;
    }
}

static unsigned key_of(const struct shape *s, const uint8_t *level)
{
    unsigned key = 0;

    for (int j = 0; j < s->dims; j++)
        key |= (unsigned)level[j] << s->bits * j;
    return key;
}

static bool levels_of(const struct shape *s, unsigned key, uint8_t *level)
{
    bool ok = true;

    for (int j = 0; j < s->dims; j++) {
        level[j] = (uint8_t)(key >> s->bits * j & ((1u << s->bits) - 1u));
        ok = ok && level[j] < s->levels;
    }
    return ok;
}

/* Squared distance between levels, at most 8 * 4 or 4 * 49. */
static unsigned distance(const struct shape *s, const uint8_t *a, const uint8_t *b)
{
    int sum = 0;

    for (int j = 0; j < s->dims; j++)
        sum += (a[j] - b[j]) * (a[j] - b[j]);
    return (unsigned)sum;
}

enum { FAR = 256 };

/* Appends the list of a group to near at n, which has room; returns the new n. */
static size_t add_near(const struct grid_search *g, const uint8_t *level, uint16_t *near, size_t n)
{
    const struct shape *s = g->shape;
    uint16_t count[FAR] = {0};
    uint8_t away[2048];
    size_t list = n++;
    int rings = 0;

    for (uint32_t i = 0; i < s->n_points; i++) {
        away[i] = (uint8_t)distance(s, level, g->point[i]);
        count[away[i]]++;
    }
    for (unsigned d = 0; d < FAR && rings < s->rings; d++) {
        rings += count[d] > 0;
        for (uint32_t i = 0; count[d] && i < s->n_points; i++)
            if (away[i] == d)
                near[n++] = (uint16_t)i;
    }
    near[list] = (uint16_t)(n - list - 1);
    return n;
}

/* Makes the lists of all keys that are no point. */
static int make_lists(struct grid_search *g, struct err *e)
{
    const struct shape *s = g->shape;
    unsigned keys = 1u << s->dims * s->bits;
    uint8_t level[8];
    size_t n = 0, cap = 0;

    for (unsigned k = 0; k < keys; k++) {
        if (g->map[k] >= 0 || !levels_of(s, k, level))
            continue;
        if (cap - n < s->n_points + 1) {
            size_t more = 2 * cap + 65536;
            void *p = mem_resize(g->near, cap, more, sizeof *g->near, e);

            if (!p)
                return E_NOMEM;
            g->near = p;
            cap = more;
        }
        g->map[k] = -1 - (int32_t)n;
        n = add_near(g, level, g->near, n);
    }
    return 0;
}

bool grid_format(int fmt)
{
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        if (shapes[i].fmt == fmt)
            return true;
    return false;
}

int grid_search_new(struct grid_search **out, int fmt, struct err *e)
{
    struct grid_search *g = mem_new(sizeof *g, e);
    const struct shape *s = shapes;
    unsigned keys;

    *out = NULL;
    if (!g)
        return E_NOMEM;
    while (s->fmt != fmt)
        s++; /* callers ask grid_format() first */
    g->shape = s;
    keys = 1u << s->dims * s->bits;
    if (!(g->point = mem_array(s->n_points, sizeof *g->point, e)) ||
        !(g->map = mem_array(keys, sizeof *g->map, e)))
        goto fail;
    for (unsigned k = 0; k < keys; k++)
        g->map[k] = -1;
    for (uint32_t i = 0; i < s->n_points; i++) {
        for (int j = 0; j < s->dims; j++)
            g->point[i][j] = (uint8_t)level_of(fmt, i, j);
        g->map[key_of(s, g->point[i])] = (int32_t)i;
    }
    if (make_lists(g, e) < 0)
        goto fail;
    *out = g;
    return 0;
fail:
    grid_search_free(g);
    return E_NOMEM;
}

void grid_search_free(struct grid_search *s)
{
    if (!s)
        return;
    mem_free(s->point);
    mem_free(s->map);
    mem_free(s->near);
    mem_free(s);
}

/* -- IQ2, IQ3: magnitudes 2 * level + 1, signs apart -- */

/* A part as it is searched. */
struct part {
    float x[32];      // magnitudes
    float weight[32]; // how much each counts
    float root[32];   // of weight: what neighbours are compared with
    uint8_t level[32];
    uint16_t point[8];
    uint8_t sign[4];
    float scale;
};

static void weigh(const struct shape *s, const float *x, const float *column, float mean2,
                  struct part *p)
{
    if (column)
        k_weigh(s->part, x, column, mean2, p->weight);
    for (int i = 0; !column && i < s->part; i++)
        p->weight[i] = (s->dims == 8 ? 0.25f * mean2 : 0.0f) + x[i] * x[i];
    for (int i = 0; i < s->part; i++)
        p->root[i] = sqrtf(p->weight[i]);
}

/* Takes the signs off. Where their number must be even, the weight that matters least gets the
 * wrong one. */
static void take_signs(const struct shape *s, const float *x, struct part *p)
{
    for (int g = 0; g < s->part / 8; g++) {
        const float *w = p->weight + 8 * g, *v = x + 8 * g;
        unsigned signs = 0;
        int least = 0;

        for (int i = 0; i < 8; i++) {
            p->x[8 * g + i] = v[i] >= 0.0f ? v[i] : -v[i];
            signs |= (v[i] >= 0.0f ? 0u : 1u) << i;
            if (w[i] * v[i] * v[i] < w[least] * v[least] * v[least])
                least = i;
        }
        if (s->even && __builtin_popcount(signs) % 2) {
            p->x[8 * g + least] = -p->x[8 * g + least];
            signs ^= 1u << least;
        }
        p->sign[g] = (uint8_t)(s->even ? signs & 127u : signs);
    }
}

/* Of the points of a list the one that costs least, the first of those that cost the same. cost: of
 * each weight by its level, so that what they have in common is computed once; added up weight by
 * weight, as costs are that never fall: half of them often say enough. */
static inline int cheapest(const struct grid_search *g, int32_t at, int dims, float (*cost)[8])
{
    const uint16_t *list = g->near + (-at - 1);
    float best = 3.402823466e38f;
    int point = list[1];

    for (int k = 1; k <= list[0]; k++) {
        const uint8_t *l = g->point[list[k]];
        float off = cost[0][l[0]] + cost[1][l[1]];

        if (dims == 8)
            off = off + cost[2][l[2]] + cost[3][l[3]];
        if (!(off < best))
            continue;
        for (int i = dims / 2; i < dims; i++)
            off += cost[i][l[i]];
        if (off < best) {
            best = off;
            point = list[k];
        }
    }
    return point;
}

/* The best of the points around a group: its levels, and its number. */
static inline int nearest(const struct grid_search *g, int32_t at, int dims, int levels,
                          const float *x, const float *root, float scale, uint8_t *level)
{
    float cost[8][8];
    int point;

    for (int i = 0; i < dims; i++)
        for (int l = 0; l < levels; l++) {
            float diff = scale * (float)(2 * l + 1) - x[i];

            cost[i][l] = root[i] * diff * diff;
        }
    point = cheapest(g, at, dims, cost);
    memcpy(level, g->point[point], (size_t)dims);
    return point;
}

static inline bool place(const struct grid_search *g, const struct part *p, int at, float inv,
                         float scale, uint8_t *level, uint16_t *point, int dims, int bits,
                         int levels)
{
    unsigned key = 0;
    int32_t found;

    for (int i = 0; i < dims; i++) {
        level[i] = (uint8_t)k_round(0.5f * (inv * p->x[at + i] - 1.0f), 0, levels - 1);
        key |= (unsigned)level[i] << bits * i;
    }
    found = g->map[key];
    *point = (uint16_t)(found >= 0 ? found
                                   : nearest(g, found, dims, levels, p->x + at, p->root + at, scale,
                                             level));
    return found >= 0;
}

/* Places a group at a scale. Returns whether its levels were a point as they were. */
static bool place_group(const struct grid_search *g, const struct part *p, int at, float inv,
                        float scale, uint8_t *level, uint16_t *point)
{
    /* two shapes there are; said in numbers, the compiler unrolls all of it */
    return g->shape->dims == 8 ? place(g, p, at, inv, scale, level, point, 8, 2, 3)
                               : place(g, p, at, inv, scale, level, point, 4, 3, 8);
}

static void sums(const struct part *p, int n, const uint8_t *level, float *xq, float *q2)
{
    *xq = *q2 = 0.0f;
    for (int i = 0; i < n; i++) {
        float w = p->weight[i], q = (float)(2 * level[i] + 1);

        *xq += w * p->x[i] * q;
        *q2 += w * q * q;
    }
}

/* What the tried scales are measured from; 0: the part is zero. */
static float first_range(const struct shape *s, const struct part *p)
{
    float high = p->x[0];
    uint8_t code[32];

    for (int i = 1; i < s->part; i++)
        high = p->x[i] > high ? p->x[i] : high;
    if (!(high >= s->none))
        return 0.0f;
    if (s->from_fit)
        high = 3.0f * k_fit_positive(s->part, 4, p->x, p->weight, code);
    return high > 0.0f ? high : 0.0f;
}

static void search_part(const struct grid_search *g, struct part *p)
{
    const struct shape *s = g->shape;
    float range = first_range(s, p), best = 0.0f, top = (float)(2 * s->levels - 1), xq, q2;
    int groups = s->part / s->dims;
    bool on[8], on_now[8], off_any = false;
    uint8_t level[32];
    uint16_t point[8];

    memset(p->level, 0, sizeof p->level);
    memset(p->point, 0, sizeof p->point);
    p->scale = 0.0f;
    if (range == 0.0f)
        return;
    p->scale = range / top;
    for (int k = 0; k < groups; k++) {
        on[k] = false; /* should no try be better, all are placed below */
        p->point[k] = (uint16_t)g->map[key_of(s, g->point[0])];
    }
    for (int t = -s->tries; t <= s->tries; t++) {
        float inv = (top + (float)t * s->step) / range;

        for (int k = 0; k < groups; k++)
            on_now[k] =
                place_group(g, p, k * s->dims, inv, 1.0f / inv, level + k * s->dims, &point[k]);
        sums(p, s->part, level, &xq, &q2);
        if (q2 > 0.0f && xq * xq > best * q2) {
            p->scale = xq / q2;
            best = p->scale * xq;
            memcpy(p->level, level, sizeof level);
            memcpy(p->point, point, sizeof point);
            memcpy(on, on_now, sizeof on);
        }
    }
    for (int k = 0; k < groups; k++)
        off_any = off_any || !on[k];
    if (p->scale > 0.0f && (off_any || s->from_fit)) {
        for (int k = 0; k < groups; k++)
            if (s->all_again || !on[k])
                place_group(g, p, k * s->dims, 1.0f / p->scale, p->scale, p->level + k * s->dims,
                            &p->point[k]);
        sums(p, s->part, p->level, &xq, &q2);
        if (q2 > 0.0f)
            p->scale = xq / q2;
    }
    if (p->scale < 0.0f) {
        p->scale = -p->scale;
        for (int k = 0; k < s->part / 8; k++)
            p->sign[k] = (uint8_t)(~p->sign[k] & (s->even ? 127 : 255));
    }
}

/* Where part i of a block goes. */
static void put_part(int fmt, void *block, int i, const struct part *p)
{
    struct iq2_xxs *xxs = block;
    struct iq2_xs *xs = block;
    struct iq2_s *s2 = block;
    struct iq3_xxs *xxs3 = block;
    struct iq3_s *s3 = block;
    uint32_t signs = (uint32_t)p->sign[0] | (uint32_t)p->sign[1] << 7 | (uint32_t)p->sign[2] << 14 |
                     (uint32_t)p->sign[3] << 21;

    for (int k = 0; k < 4; k++) {
        if (fmt == FMT_IQ2_XXS) {
            xxs->qs[8 * i + k] = (uint8_t)p->point[k];
            xxs->qs[8 * i + 4 + k] = (uint8_t)(signs >> 8 * k);
        } else if (fmt == FMT_IQ3_XXS) {
            xxs3->signs[4 * i + k] = (uint8_t)(signs >> 8 * k);
        } else if (fmt == FMT_IQ3_S) {
            s3->signs[4 * i + k] = p->sign[k];
        } else if (fmt == FMT_IQ2_XS && k < 2) {
            xs->qs[2 * i + k] = (uint16_t)(p->point[k] | p->sign[k] << 9);
        } else if (fmt == FMT_IQ2_S && k < 2) {
            int at = 2 * i + k;

            s2->qs[at] = (uint8_t)p->point[k];
            s2->qh[at / 4] = (uint8_t)(s2->qh[at / 4] | p->point[k] >> 8 << 2 * (at % 4));
            s2->signs[at] = p->sign[k];
        }
    }
    for (int k = 0; k < 8; k++) {
        if (fmt == FMT_IQ3_XXS)
            xxs3->qs[8 * i + k] = (uint8_t)p->point[k];
        if (fmt == FMT_IQ3_S) {
            s3->qs[8 * i + k] = (uint8_t)p->point[k];
            s3->qh[i] = (uint8_t)(s3->qh[i] | p->point[k] >> 8 << k);
        }
    }
}

/* The scale of part i: 0 to 15. */
static void put_scale(int fmt, void *block, int i, int l)
{
    uint8_t *scales = fmt == FMT_IQ2_XS  ? ((struct iq2_xs *)block)->scales
                      : fmt == FMT_IQ2_S ? ((struct iq2_s *)block)->scales
                      : fmt == FMT_IQ3_S ? ((struct iq3_s *)block)->scales
                                         : NULL;

    if (fmt == FMT_IQ2_XXS)
        ((struct iq2_xxs *)block)->qs[8 * i + 7] |= (uint8_t)(l << 4);
    else if (fmt == FMT_IQ3_XXS)
        ((struct iq3_xxs *)block)->signs[4 * i + 3] |= (uint8_t)(l << 4);
    else
        scales[i / 2] = (uint8_t)(scales[i / 2] | l << i % 2 * 4);
}

static void encode_block(const struct grid_search *g, const float *in, const float *column,
                         uint8_t *block)
{
    const struct shape *s = g->shape;
    float mean2 = s->mean * k_mean2(256, in), scale[16], high = 0.0f;
    uint16_t half;

    memset(block, 0, (size_t)fmt_find(s->fmt)->bytes);
    for (int i = 0; i < 256 / s->part; i++) {
        struct part p = {.scale = 0.0f};

        weigh(s, in + i * s->part, column ? column + i * s->part : NULL, mean2, &p);
        take_signs(s, in + i * s->part, &p);
        search_part(g, &p);
        scale[i] = p.scale;
        high = p.scale > high ? p.scale : high;
        if (p.scale > 0.0f)
            put_part(s->fmt, block, i, &p);
    }
    if (high == 0.0f) {
        memset(block, 0, (size_t)fmt_find(s->fmt)->bytes);
        return;
    }
    float d = high / 31.0f;
    float inv = 1.0f / d;

    half = f32_to_f16(d * s->factor);
    memcpy(block, &half, sizeof half); /* d comes first in all of them */
    for (int i = 0; i < 256 / s->part; i++)
        put_scale(s->fmt, block, i, k_round(0.5f * (inv * scale[i] - 1.0f), 0, 15));
}

/* -- IQ1: levels -1, 0, 1, shifted by an eighth up or down -- */

struct ternary {
    float weight[32];
    uint8_t order[32]; // of the part's values, rising
    uint8_t level[32];
    uint16_t point[4];
    int shift[2]; // of the halves, 0: up, 1: down
    float scale;
};

static float shifted(int level, int shift)
{
    return (float)(level - 1) + (shift ? -0.125f : 0.125f);
}

static void sort_part(const float *x, int n, uint8_t *order)
{
    for (int i = 0; i < n; i++) {
        int j = i;

        for (; j > 0 && x[order[j - 1]] > x[i]; j--)
            order[j] = order[j - 1];
        order[j] = (uint8_t)i;
    }
}

/* The sums of least squares where the values before a get level 0, those before b level 1. sx, sw:
 * running sums. The two ways to write it round differently; each is that of the reference. */
static void cut_sums(const float *sx, const float *sw, int n, int a, int b, int shift, bool folded,
                     float *xq, float *q2)
{
    float lo = shifted(0, shift), mid = shifted(1, shift), hi = shifted(2, shift);

    if (folded) {
        *xq = sx[n] * hi - (sx[a] + sx[b]);
        *q2 = sw[n] * hi * hi + sw[a] * (lo * lo - mid * mid) + sw[b] * (mid * mid - hi * hi);
    } else {
        *xq = sx[a] * lo + (sx[b] - sx[a]) * mid + (sx[n] - sx[b]) * hi;
        *q2 = sw[a] * lo * lo + (sw[b] - sw[a]) * mid * mid + (sw[n] - sw[b]) * hi * hi;
    }
}

/* Cuts the sorted values into three so that least squares leave the least error; halves: how many
 * shifts are chosen apart. Returns false when nothing can be won. */
static bool cut_part(const float *x, int n, int halves, struct ternary *t, int *cut)
{
    float sx[2][33] = {{0}}, sw[2][33] = {{0}}, best = -3.402823466e38f;
    bool found = false;

    sort_part(x, n, t->order);
    for (int j = 0; j < n; j++) {
        int i = t->order[j], h = halves == 2 && i >= n / 2;

        for (int k = 0; k < 2; k++) {
            sx[k][j + 1] = sx[k][j] + (k == h ? t->weight[i] * x[i] : 0.0f);
            sw[k][j + 1] = sw[k][j] + (k == h ? t->weight[i] : 0.0f);
        }
    }
    for (int a = 0; a <= n; a++)
        for (int b = a; b <= n; b++) {
            float xq[2][2], q2[2][2];

            for (int h = 0; h < halves; h++)
                for (int k = 0; k < 2; k++)
                    cut_sums(sx[h], sw[h], n, a, b, k, halves == 2, &xq[h][k], &q2[h][k]);
            for (int k = 0; k < (halves == 2 ? 4 : 2); k++) {
                float u = halves == 2 ? xq[0][k / 2] + xq[1][k % 2] : xq[0][k];
                float v = halves == 2 ? q2[0][k / 2] + q2[1][k % 2] : q2[0][k];

                if (!(v > 0.0f && u * u > best * v))
                    continue;
                t->scale = u / v;
                best = t->scale * u;
                t->shift[0] = halves == 2 ? k / 2 : k;
                t->shift[1] = halves == 2 ? k % 2 : k;
                cut[0] = a;
                cut[1] = b;
                found = true;
            }
        }
    return found;
}

static int nearest_ternary(const struct grid_search *g, int32_t at, const float *x,
                           const float *weight, float scale, int shift)
{
    float cost[8][8];

    for (int i = 0; i < 8; i++)
        for (int l = 0; l < 3; l++) {
            float diff = scale * shifted(l, shift) - x[i];

            cost[i][l] = weight[i] * diff * diff;
        }
    return cheapest(g, at, 8, cost);
}

static void search_ternary(const struct grid_search *g, const float *x, int n, struct ternary *t)
{
    int halves = n == 16 ? 2 : 1, cut[2] = {0, 0};
    float high = 0.0f, xq = 0.0f, q2 = 0.0f;
    bool all_on = true;

    for (int i = 0; i < n; i++)
        high = k_abs(x[i]) > high ? k_abs(x[i]) : high;
    if (!(high >= g->shape->none) || !cut_part(x, n, halves, t, cut)) {
        t->scale = 0.0f;
        return;
    }
    for (int j = 0; j < n; j++)
        t->level[t->order[j]] = (uint8_t)(j < cut[0] ? 0 : j < cut[1] ? 1 : 2);
    if (t->scale < 0.0f) {
        for (int j = 0; j < n; j++)
            t->level[j] = (uint8_t)(2 - t->level[j]);
        t->scale = -t->scale;
        t->shift[0] = !t->shift[0];
        t->shift[1] = !t->shift[1];
    }
    for (int k = 0; k < n / 8; k++) {
        int32_t found = g->map[key_of(g->shape, t->level + 8 * k)];
        int shift = t->shift[halves == 2 ? k : 0];

        all_on = all_on && found >= 0;
        t->point[k] = (uint16_t)(found >= 0 ? found
                                            : nearest_ternary(g, found, x + 8 * k,
                                                              t->weight + 8 * k, t->scale, shift));
    }
    for (int i = 0; !all_on && i < n; i++) {
        int k = i / 8;
        float q = shifted(g->point[t->point[k]][i % 8], t->shift[halves == 2 ? k : 0]);

        xq += t->weight[i] * q * x[i];
        q2 += t->weight[i] * q * q;
    }
    if (!all_on && xq > 0.0f && q2 > 0.0f)
        t->scale = xq / q2;
}

static void weigh_ternary(const float *x, const float *column, int n, float mean2, float *weight)
{
    if (column)
        k_weigh(n, x, column, mean2, weight);
    for (int i = 0; !column && i < n; i++)
        weight[i] = x[i] * x[i];
}

static void encode_iq1_s(const struct grid_search *g, const float *in, const float *column,
                         struct iq1_s *b)
{
    float mean2 = g->shape->mean * k_mean2(256, in), scale[8], high = 0.0f;
    int shift[8];

    memset(b, 0, sizeof *b);
    for (int p = 0; p < 8; p++) {
        struct ternary t = {.scale = 0.0f};

        weigh_ternary(in + 32 * p, column ? column + 32 * p : NULL, 32, mean2, t.weight);
        search_ternary(g, in + 32 * p, 32, &t);
        scale[p] = t.scale;
        shift[p] = t.shift[0];
        high = t.scale > high ? t.scale : high;
        for (int k = 0; k < 4; k++) {
            b->qs[4 * p + k] = (uint8_t)t.point[k];
            b->qh[p] = (uint16_t)(b->qh[p] | t.point[k] >> 8 << 3 * k);
        }
    }
    if (high == 0.0f)
        return;
    float d = high / 15.0f;
    float inv = 1.0f / d;

    b->d = f32_to_f16(d * g->shape->factor);
    for (int p = 0; p < 8; p++) {
        int l = k_round(0.5f * (inv * scale[p] - 1.0f), 0, 7) | shift[p] << 3;

        b->qh[p] = (uint16_t)(b->qh[p] | l << 12);
    }
}

/* The least-squares factor of a block of IQ1_M whose points, shifts and scales are chosen. */
static float refit_iq1_m(const struct grid_search *g, const float *in, const float *column,
                         float mean2, const uint16_t *point, const uint8_t *shift, const int *l,
                         float d)
{
    float weight[16], xq = 0.0f, q2 = 0.0f;

    for (int p = 0; p < 16; p++) {
        const float *x = in + 16 * p;

        weigh_ternary(x, column ? column + 16 * p : NULL, 16, mean2, weight);
        for (int i = 0; i < 16; i++) {
            int k = 2 * p + i / 8;
            float q = shifted(g->point[point[k]][i % 8], shift[k]) * (float)(2 * l[p] + 1);

            xq += weight[i] * q * x[i];
            q2 += weight[i] * q * q;
        }
    }
    return q2 > 0.0f ? xq / q2 : d;
}

static void encode_iq1_m(const struct grid_search *g, const float *in, const float *column,
                         struct iq1_m *b)
{
    float mean2 = g->shape->mean * k_mean2(256, in), scale[16], high = 0.0f;
    uint16_t point[32], word[4] = {0};
    uint8_t shift[32];
    int l[16];

    memset(b, 0, sizeof *b);
    for (int p = 0; p < 16; p++) {
        struct ternary t = {.scale = 0.0f};

        weigh_ternary(in + 16 * p, column ? column + 16 * p : NULL, 16, mean2, t.weight);
        search_ternary(g, in + 16 * p, 16, &t);
        scale[p] = t.scale;
        high = t.scale > high ? t.scale : high;
        for (int k = 0; k < 2; k++) {
            point[2 * p + k] = t.point[k];
            shift[2 * p + k] = (uint8_t)t.shift[k];
            b->qs[2 * p + k] = (uint8_t)t.point[k];
            b->qh[p] = (uint8_t)(b->qh[p] | (t.point[k] >> 8 | t.shift[k] << 3) << 4 * k);
        }
    }
    if (high == 0.0f) {
        memset(b, 0, sizeof *b);
        return;
    }
    float d = high / 15.0f;
    float inv = 1.0f / d;

    for (int p = 0; p < 16; p++) {
        l[p] = k_round(0.5f * (inv * scale[p] - 1.0f), 0, 7);
        word[p / 4] = (uint16_t)(word[p / 4] | l[p] << 3 * (p % 4));
    }
    d = refit_iq1_m(g, in, column, mean2, point, shift, l, d);
    uint16_t half = f32_to_f16(d * g->shape->factor);

    for (int k = 0; k < 4; k++) {
        word[k] = (uint16_t)(word[k] | (half >> 4 * k & 15) << 12);
        b->scales[2 * k] = (uint8_t)word[k];
        b->scales[2 * k + 1] = (uint8_t)(word[k] >> 8);
    }
}

void grid_encode(const struct grid_search *s, const float *in, const float *column, void *blocks,
                 size_t n)
{
    int fmt = s->shape->fmt;
    size_t bytes = (size_t)fmt_find(fmt)->bytes;

    for (size_t i = 0; i < n; i++, in += 256) {
        const float *c = column ? column + 256 * i : NULL;
        uint8_t *b = (uint8_t *)blocks + i * bytes;

        if (fmt == FMT_IQ1_S)
            encode_iq1_s(s, in, c, (struct iq1_s *)(void *)b);
        else if (fmt == FMT_IQ1_M)
            encode_iq1_m(s, in, c, (struct iq1_m *)(void *)b);
        else
            encode_block(s, in, c, b);
    }
}
