/* search.c - see search.h.
 *
 * Every format here is a case of one form: a block has parts; weight i of part p is
 *
 *     d * s[p] * code(q[i]) - dmin * m[p]
 *
 * with whole s and m of a few bits (1 where a format has none), d and dmin in binary16, and codes
 * that are whole numbers in a range, or places in a table. unpack() and pack() know the layouts;
 * the search knows only this form.
 */
#include "quant/search.h"

#include <math.h>

#include "quant/iq4_nl.h"
#include "quant/iq4_xs.h"
#include "quant/q2_k.h"
#include "quant/q3_k.h"
#include "quant/q4_0.h"
#include "quant/q4_1.h"
#include "quant/q4_k.h"
#include "quant/q5_0.h"
#include "quant/q5_1.h"
#include "quant/q5_k.h"
#include "quant/q6_k.h"
#include "quant/q8_0.h"

enum {
    BLOCK = 256, // weights of the largest block
    PARTS = 16,
    ROUNDS = 6,   // of going over a block
    NEAR = 2,     // how far scales and mins are moved at a time
    STEPS = 24,   // sizes of a lone scale that are tried, to either side, each 1 % further
    TRIES = 3,    // of those, how many are settled
    MIDDLE = 256, // of the list of nearest places: twice the largest magnitude
};

struct state {
    uint16_t d, dmin; // binary16
    int s[PARTS], m[PARTS];
    int8_t q[BLOCK];
};

struct layout {
    int block, sub; // weights of a block, of a part
    int lo, hi;     // codes
    bool table;     // codes are places in iq4_values
    bool min;       // there are mins
    int s_lo, s_hi; // of the parts' scales; both 1: none
    int m_hi;       // of their mins, from 0; 1: there is dmin alone
    int bytes;
    void (*unpack)(const void *block, struct state *st);
    void (*pack)(const struct state *st, void *block);
};

/* -- layouts -- */

static void one_part(struct state *st)
{
    st->s[0] = st->m[0] = 1;
    st->dmin = 0;
}

/* The fifth bits of 32 codes. */
static void fives(const uint8_t *qs, const uint8_t *qh, int less, int8_t *q)
{
    uint32_t fifth = fmt_u32(qh);

    for (int j = 0; j < 16; j++) {
        q[j] = (int8_t)((int)((qs[j] & 15u) | (fifth >> j & 1u) << 4) - less);
        q[j + 16] = (int8_t)((int)((qs[j] >> 4) | (fifth >> (j + 16) & 1u) << 4) - less);
    }
}

static void fours_put(const int8_t *q, int more, uint8_t *qs)
{
    for (int j = 0; j < 16; j++)
        qs[j] = (uint8_t)((q[j] + more) | (q[j + 16] + more) << 4);
}

static void fives_put(const int8_t *q, int more, uint8_t *qs, uint8_t *qh)
{
    uint8_t code[32];

    for (int j = 0; j < 32; j++)
        code[j] = (uint8_t)(q[j] + more);
    q5_0_put(code, qs, qh);
}

static void unpack_q4_0(const void *block, struct state *st)
{
    const struct q4_0 *b = block;

    one_part(st);
    st->d = b->d;
    q4_0_codes(b, st->q);
}

static void pack_q4_0(const struct state *st, void *block)
{
    struct q4_0 *b = block;

    b->d = st->d;
    fours_put(st->q, 8, b->qs);
}

/* The layout's min is added, ours taken away. */
static void unpack_q4_1(const void *block, struct state *st)
{
    const struct q4_1 *b = block;

    one_part(st);
    st->d = b->d;
    st->dmin = b->m ^ 0x8000;
    q4_1_codes(b, st->q);
}

static void pack_q4_1(const struct state *st, void *block)
{
    struct q4_1 *b = block;

    b->d = st->d;
    b->m = st->dmin ^ 0x8000;
    fours_put(st->q, 0, b->qs);
}

static void unpack_q5_0(const void *block, struct state *st)
{
    const struct q5_0 *b = block;

    one_part(st);
    st->d = b->d;
    fives(b->qs, b->qh, 16, st->q);
}

static void pack_q5_0(const struct state *st, void *block)
{
    struct q5_0 *b = block;

    b->d = st->d;
    fives_put(st->q, 16, b->qs, b->qh);
}

static void unpack_q5_1(const void *block, struct state *st)
{
    const struct q5_1 *b = block;

    one_part(st);
    st->d = b->d;
    st->dmin = b->m ^ 0x8000;
    fives(b->qs, b->qh, 0, st->q);
}

static void pack_q5_1(const struct state *st, void *block)
{
    struct q5_1 *b = block;

    b->d = st->d;
    b->m = st->dmin ^ 0x8000;
    fives_put(st->q, 0, b->qs, b->qh);
}

static void unpack_q8_0(const void *block, struct state *st)
{
    const struct q8_0 *b = block;

    one_part(st);
    st->d = b->d;
    memcpy(st->q, b->qs, 32);
}

static void pack_q8_0(const struct state *st, void *block)
{
    struct q8_0 *b = block;

    b->d = st->d;
    memcpy(b->qs, st->q, 32);
}

static void unpack_q2_k(const void *block, struct state *st)
{
    const struct q2_k *b = block;

    st->d = b->d;
    st->dmin = b->dmin;
    for (int p = 0; p < 16; p++) {
        st->s[p] = b->scales[p] & 15;
        st->m[p] = b->scales[p] >> 4;
    }
    q2_k_codes(b, st->q);
}

static void pack_q2_k(const struct state *st, void *block)
{
    struct q2_k *b = block;

    memset(b, 0, sizeof *b);
    b->d = st->d;
    b->dmin = st->dmin;
    for (int p = 0; p < 16; p++)
        b->scales[p] = (uint8_t)(st->s[p] | st->m[p] << 4);
    for (int i = 0; i < 256; i++)
        b->qs[i / 128 * 32 + i % 32] |= (uint8_t)(st->q[i] << (i % 128 / 32 * 2));
}

static void unpack_q3_k(const void *block, struct state *st)
{
    const struct q3_k *b = block;

    st->d = b->d;
    st->dmin = 0;
    for (int p = 0; p < 16; p++) {
        st->s[p] = q3_k_scale(b, p);
        st->m[p] = 1;
    }
    q3_k_codes(b, st->q);
}

static void pack_q3_k(const struct state *st, void *block)
{
    struct q3_k *b = block;

    memset(b, 0, sizeof *b);
    b->d = st->d;
    for (int p = 0; p < 16; p++)
        q3_k_put(b, p, st->s[p] + 32);
    for (int i = 0; i < 256; i++) {
        int q = st->q[i] + 4;

        b->hmask[i % 32] |= (uint8_t)(q >> 2 << (i / 32));
        b->qs[i / 128 * 32 + i % 32] |= (uint8_t)((q & 3) << (i % 128 / 32 * 2));
    }
}

static void unpack_k_scales(const uint8_t *scales, struct state *st)
{
    for (int p = 0; p < 8; p++) {
        st->s[p] = k_scale(scales, p);
        st->m[p] = k_min(scales, p);
    }
}

static void pack_k_scales(const struct state *st, uint8_t *scales)
{
    memset(scales, 0, 12);
    for (int p = 0; p < 8; p++)
        k_put(scales, p, st->s[p], st->m[p]);
}

static void unpack_q4_k(const void *block, struct state *st)
{
    const struct q4_k *b = block;

    st->d = b->d;
    st->dmin = b->dmin;
    unpack_k_scales(b->scales, st);
    q4_k_codes(b, st->q);
}

static void pack_q4_k(const struct state *st, void *block)
{
    struct q4_k *b = block;

    b->d = st->d;
    b->dmin = st->dmin;
    pack_k_scales(st, b->scales);
    memset(b->qs, 0, sizeof b->qs);
    for (int i = 0; i < 256; i++)
        b->qs[i / 64 * 32 + i % 32] |= (uint8_t)(st->q[i] << (i / 32 % 2 * 4));
}

static void unpack_q5_k(const void *block, struct state *st)
{
    const struct q5_k *b = block;

    st->d = b->d;
    st->dmin = b->dmin;
    unpack_k_scales(b->scales, st);
    q5_k_codes(b, st->q);
}

static void pack_q5_k(const struct state *st, void *block)
{
    struct q5_k *b = block;

    memset(b, 0, sizeof *b);
    b->d = st->d;
    b->dmin = st->dmin;
    pack_k_scales(st, b->scales);
    for (int i = 0; i < 256; i++) {
        b->qs[i / 64 * 32 + i % 32] |= (uint8_t)((st->q[i] & 15) << (i / 32 % 2 * 4));
        b->qh[i % 32] |= (uint8_t)(st->q[i] >> 4 << (i / 32));
    }
}

static void unpack_q6_k(const void *block, struct state *st)
{
    const struct q6_k *b = block;

    st->d = b->d;
    st->dmin = 0;
    for (int p = 0; p < 16; p++) {
        st->s[p] = b->scales[p];
        st->m[p] = 1;
    }
    q6_k_codes(b, st->q);
}

static void pack_q6_k(const struct state *st, void *block)
{
    struct q6_k *b = block;

    memset(b, 0, sizeof *b);
    b->d = st->d;
    for (int p = 0; p < 16; p++)
        b->scales[p] = (int8_t)st->s[p];
    for (int i = 0; i < 256; i++) {
        int h = i / 128, k = i % 128 / 32, l = i % 32, q = st->q[i] + 32;

        b->ql[64 * h + 32 * (k % 2) + l] |= (uint8_t)((q & 15) << (k / 2 * 4));
        b->qh[32 * h + l] |= (uint8_t)(q >> 4 << 2 * k);
    }
}

static void places(const uint8_t *qs, int8_t *q)
{
    for (int j = 0; j < 16; j++) {
        q[j] = (int8_t)(qs[j] & 15);
        q[j + 16] = (int8_t)(qs[j] >> 4);
    }
}

static void unpack_iq4_nl(const void *block, struct state *st)
{
    const struct iq4_nl *b = block;

    one_part(st);
    st->d = b->d;
    places(b->qs, st->q);
}

static void pack_iq4_nl(const struct state *st, void *block)
{
    struct iq4_nl *b = block;

    b->d = st->d;
    fours_put(st->q, 0, b->qs);
}

static void unpack_iq4_xs(const void *block, struct state *st)
{
    const struct iq4_xs *b = block;

    st->d = b->d;
    st->dmin = 0;
    for (int p = 0; p < 8; p++) {
        st->s[p] = iq4_xs_scale(b, p);
        st->m[p] = 1;
        places(b->qs + 16 * p, st->q + 32 * p);
    }
}

static void pack_iq4_xs(const struct state *st, void *block)
{
    struct iq4_xs *b = block;

    memset(b, 0, sizeof *b);
    b->d = st->d;
    for (int p = 0; p < 8; p++) {
        int l = st->s[p] + 32;

        b->scales_l[p / 2] |= (uint8_t)((l & 15) << (p % 2 * 4));
        b->scales_h |= (uint16_t)(l >> 4 << 2 * p);
        fours_put(st->q + 32 * p, 0, b->qs + 16 * p);
    }
}

static const struct layout *layout_of(int fmt)
{
#define ROW(id, name, block, sub, lo, hi, table, min, s_lo, s_hi, m_hi)                            \
    [FMT_##id] = {                                                                                 \
        block,                                                                                     \
        sub,                                                                                       \
        lo,                                                                                        \
        hi,                                                                                        \
        table,                                                                                     \
        min,                                                                                       \
        s_lo,                                                                                      \
        s_hi,                                                                                      \
        m_hi,                                                                                      \
        sizeof(struct name),                                                                       \
        unpack_##name,                                                                             \
        pack_##name                                                                                \
    }
    static const struct layout layouts[FMT_ID_END] = {
        ROW(Q4_0, q4_0, 32, 32, -8, 7, false, false, 1, 1, 1),
        ROW(Q4_1, q4_1, 32, 32, 0, 15, false, true, 1, 1, 1),
        ROW(Q5_0, q5_0, 32, 32, -16, 15, false, false, 1, 1, 1),
        ROW(Q5_1, q5_1, 32, 32, 0, 31, false, true, 1, 1, 1),
        ROW(Q8_0, q8_0, 32, 32, -127, 127, false, false, 1, 1, 1),
        ROW(Q2_K, q2_k, 256, 16, 0, 3, false, true, 0, 15, 15),
        ROW(Q3_K, q3_k, 256, 16, -4, 3, false, false, -32, 31, 1),
        ROW(Q4_K, q4_k, 256, 32, 0, 15, false, true, 0, 63, 63),
        ROW(Q5_K, q5_k, 256, 32, 0, 31, false, true, 0, 63, 63),
        ROW(Q6_K, q6_k, 256, 16, -32, 31, false, false, -128, 127, 1),
        ROW(IQ4_NL, iq4_nl, 32, 32, 0, 15, true, false, 1, 1, 1),
        ROW(IQ4_XS, iq4_xs, 256, 32, 0, 15, true, false, -32, 31, 1),
    };
#undef ROW

    return fmt >= 0 && fmt < FMT_ID_END && layouts[fmt].block ? &layouts[fmt] : NULL;
}

/* -- one part -- */

/* Eight sums, added at the end: an order of additions a compiler can do side by side. */
enum { SIDE = 8, PART = 32 };

static float sum_of(const float *s)
{
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

/* The place in iq4_values nearest to half of i - MIDDLE. */
static void list_places(uint8_t *place)
{
    for (int i = 0; i <= 2 * MIDDLE; i++)
        place[i] = (uint8_t)iq4_nearest(0.5f * (float)(i - MIDDLE));
}

/* The error of 16 weights (a half part, or a whole one) whose codes stand for to[]. */
static void add_errors(const float *restrict x, const float *restrict w, const float *restrict to,
                       float *restrict sum)
{
    for (int i = 0; i < 16; i += SIDE)
        for (int k = 0; k < SIDE; k++) {
            float off = to[i + k] - x[i + k];

            sum[k] += w[i + k] * (off * off);
        }
}

/* The codes of 16 weights in a range, and what they stand for. */
static void round_range(const struct layout *l, const float *restrict x, float step, float inv,
                        float off, float *restrict code, float *restrict to)
{
    float lo = (float)l->lo, hi = (float)l->hi;

    for (int i = 0; i < 16; i++) {
        float v = (x[i] - off) * inv;

        v = v < lo ? lo : v;
        v = v > hi ? hi : v;
        v = (v + 12582912.0f) - 12582912.0f; /* to the nearest whole number */
        code[i] = v;
        to[i] = step * v + off;
    }
}

static void round_table(const uint8_t *place, const float *x, float step, float inv, float *code,
                        float *to)
{
    for (int i = 0; i < 16; i++) {
        float v = 2.0f * (x[i] * inv);
        int at;

        v = v < (float)MIDDLE ? v : (float)MIDDLE;
        v = v > -(float)MIDDLE ? v : -(float)MIDDLE;
        at = place[(int)(v + (float)MIDDLE)];
        code[i] = (float)at;
        to[i] = step * (float)FMT_GRID(iq4_values)[at];
    }
}

/* Codes for a part at one step and offset, as floats; returns their error. */
static float round_part(const struct layout *l, const uint8_t *place, const float *x,
                        const float *w, float step, float off, float *code)
{
    float inv = k_abs(step) > 1e-30f ? 1.0f / step : 0.0f;
    float sum[SIDE] = {0.0f}, to[16];

    for (int i = 0; i < l->sub; i += 16) {
        if (l->table)
            round_table(place, x + i, step, inv, code + i, to);
        else
            round_range(l, x + i, step, inv, off, code + i, to);
        add_errors(x + i, w + i, to, sum);
    }
    return sum_of(sum);
}

static void take_codes(const struct layout *l, const float *code, int8_t *q)
{
    for (int i = 0; i < l->sub; i++)
        q[i] = (int8_t)code[i];
}

/* -- a block -- */

struct work {
    const struct layout *l;
    const uint8_t *place;
    const float *x, *w;
    float error[PARTS];
};

static float total(const struct work *k)
{
    float sum = 0.0f;

    for (int p = 0; p < k->l->block / k->l->sub; p++)
        sum += k->error[p];
    return sum;
}

/* The error of the codes as they are. */
static float measure(struct work *k, const struct state *st)
{
    const struct layout *l = k->l;
    float d = f16_to_f32(st->d), dmin = f16_to_f32(st->dmin);

    for (int p = 0; p < l->block / l->sub; p++) {
        float step = d * (float)st->s[p], off = -(dmin * (float)st->m[p]);
        float sum[SIDE] = {0.0f}, to[16];

        for (int i = 0; i < l->sub; i += 16) {
            const int8_t *q = st->q + p * l->sub + i;

            for (int k2 = 0; k2 < 16; k2++)
                to[k2] = step * (float)(l->table ? FMT_GRID(iq4_values)[q[k2]] : q[k2]) + off;
            add_errors(k->x + p * l->sub + i, k->w + p * l->sub + i, to, sum);
        }
        k->error[p] = sum_of(sum);
    }
    return total(k);
}

/* Tries scale s and min m for part p; keeps what is better. */
static void try_part(struct work *k, struct state *st, int p, float d, float dmin, int s, int m)
{
    const struct layout *l = k->l;
    float code[PART], error;

    if (s < l->s_lo || s > l->s_hi || m < 0 || m > l->m_hi)
        return;
    error = round_part(l, k->place, k->x + p * l->sub, k->w + p * l->sub, d * (float)s,
                       -(dmin * (float)m), code);
    if (error < k->error[p]) {
        k->error[p] = error;
        st->s[p] = s;
        st->m[p] = m;
        take_codes(l, code, st->q + p * l->sub);
    }
}

/* Goes over the parts: codes rounded again, and scales and mins near those they have. */
static void move_parts(struct work *k, struct state *st)
{
    const struct layout *l = k->l;
    float d = f16_to_f32(st->d), dmin = f16_to_f32(st->dmin);
    int near_s = l->s_hi > l->s_lo ? NEAR : 0, near_m = l->m_hi > 1 ? NEAR : 0;

    for (int p = 0; p < l->block / l->sub; p++) {
        int s = st->s[p], m = st->m[p];

        for (int i = -near_s; i <= near_s; i++)
            for (int j = -near_m; j <= near_m; j++)
                try_part(k, st, p, d, dmin, s + i, m + j);
        if (l->s_lo < 0) /* the range of codes is longer to one side */
            for (int i = -1; i <= 1; i++)
                try_part(k, st, p, d, dmin, i - s, m);
    }
}

/* d and dmin of least squares for codes, scales and mins as they are; false: there are none. */
static bool fit(const struct work *k, const struct state *st, uint16_t *d, uint16_t *dmin)
{
    const struct layout *l = k->l;
    double aa = 0.0, ab = 0.0, bb = 0.0, ax = 0.0, bx = 0.0, det;

    for (int i = 0; i < l->block; i++) {
        int p = i / l->sub;
        double a =
            (double)st->s[p] * (double)(l->table ? FMT_GRID(iq4_values)[st->q[i]] : st->q[i]);
        double b = -(double)st->m[p], w = (double)k->w[i], x = (double)k->x[i];

        aa += w * a * a;
        ab += w * a * b;
        bb += w * b * b;
        ax += w * a * x;
        bx += w * b * x;
    }
    *d = st->d;
    *dmin = st->dmin;
    if (!l->min) {
        if (!(aa > 0.0))
            return false;
        *d = f32_to_f16((float)(ax / aa));
        return true;
    }
    det = aa * bb - ab * ab;
    if (!(det > 1e-12 * aa * bb))
        return false;
    *d = f32_to_f16((float)((ax * bb - bx * ab) / det));
    *dmin = f32_to_f16((float)((bx * aa - ax * ab) / det));
    return true;
}

static bool finite16(uint16_t h)
{
    return (h & 0x7c00) != 0x7c00;
}

/* The state with other common factors, codes rounded anew. */
static float with_factors(struct work *k, struct state *st, uint16_t d, uint16_t dmin)
{
    const struct layout *l = k->l;
    float step = f16_to_f32(d), off = f16_to_f32(dmin);

    st->d = d;
    st->dmin = dmin;
    for (int p = 0; p < l->block / l->sub; p++) {
        float code[PART];

        k->error[p] = round_part(l, k->place, k->x + p * l->sub, k->w + p * l->sub,
                                 step * (float)st->s[p], -(off * (float)st->m[p]), code);
        take_codes(l, code, st->q + p * l->sub);
    }
    return total(k);
}

/* From a state on, down to where nothing gets better. Returns the error. */
static float settle(struct work *k, struct state *st)
{
    float best = measure(k, st);

    for (int round = 0; round < ROUNDS; round++) {
        struct state next = *st;
        struct work other = *k;
        uint16_t d, dmin;
        float before = best;

        move_parts(k, st);
        best = total(k);
        next = *st;
        other = *k;
        if (fit(&other, &next, &d, &dmin) && finite16(d) && finite16(dmin)) {
            float error = with_factors(&other, &next, d, dmin);

            if (error < best) {
                *st = next;
                *k = other;
                best = error;
            }
        }
        if (!(best < before))
            break;
    }
    return best;
}

/* Formats with one scale: sizes of it around the encoder's, and the other sign. The best of them
 * are settled. */
static void try_sizes(struct work *k, struct state *best, float *error)
{
    float d = f16_to_f32(best->d);
    struct state from = *best, st;
    uint16_t tries[TRIES];
    float errors[TRIES];
    int n = 0;

    for (int sign = 1; sign >= (k->l->min ? 1 : -1); sign -= 2)
        for (int i = -STEPS; i <= STEPS; i++) {
            uint16_t to = f32_to_f16(d * (float)sign * (1.0f + 0.01f * (float)i));
            float e;
            int at;

            if (!finite16(to))
                continue;
            st = from;
            e = with_factors(k, &st, to, from.dmin);
            for (at = n; at > 0 && e < errors[at - 1]; at--)
                if (at < TRIES) {
                    errors[at] = errors[at - 1];
                    tries[at] = tries[at - 1];
                }
            if (at == TRIES)
                continue;
            errors[at] = e;
            tries[at] = to;
            n += n < TRIES;
        }
    for (int i = 0; i < n; i++) {
        float e;

        st = from;
        with_factors(k, &st, tries[i], from.dmin);
        e = settle(k, &st);
        if (e < *error) {
            *error = e;
            *best = st;
        }
    }
}

static void search_block(const struct layout *l, const uint8_t *place, const float *x,
                         const float *w, void *block)
{
    struct work k = {.l = l, .place = place, .x = x, .w = w};
    struct state first, st;
    float before, error;

    l->unpack(block, &first);
    if (!finite16(first.d) || !finite16(first.dmin))
        return;
    before = measure(&k, &first);
    st = first;
    error = settle(&k, &st);
    if (l->s_lo == l->s_hi)
        try_sizes(&k, &st, &error);
    if (error < before)
        l->pack(&st, block);
}

void search_weigh(int n, const float *in, const float *column, float *weight)
{
    float mean2 = column ? 2.0f * k_mean2(n, in) : 0.0f;

    for (int i = 0; i < n; i++)
        weight[i] = column ? column[i] * sqrtf(mean2 + in[i] * in[i]) : 1.0f;
}

bool search_exists(int fmt)
{
    return layout_of(fmt) != NULL;
}

void search_row(int fmt, const float *in, const float *column, uint64_t n, void *blocks)
{
    const struct layout *l = layout_of(fmt);
    uint8_t place[2 * MIDDLE + 1];
    float weight[BLOCK];
    char *b = blocks;

    if (!l)
        return;
    if (l->table)
        list_places(place);
    for (uint64_t i = 0; i < n; i += (uint64_t)l->block, b += l->bytes) {
        search_weigh(l->block, in + i, column ? column + i : NULL, weight);
        search_block(l, place, in + i, weight, b);
    }
}
