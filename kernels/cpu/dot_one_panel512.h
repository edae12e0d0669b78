/* dot_one_panel512.h - panels of blocks whose inputs have one scale for 256 columns (dot_one512.h).
 *
 * A step of a panel (dot_panel.h) is 64 lines of codes as they are; a line per part of scales,
 * words with zeros above them; where there are mins, four lines of two scales each and four of two
 * mins; d; and -dmin / 8.
 *
 * With half of their range taken off, codes times inputs of as many lines as make a run stay within
 * 16 bits: one multiplication of words brings such a sum, times its scale, to T. What was taken off
 * comes back with the sums of inputs, or is part of the format (Q6_K). Four bits have runs of eight
 * lines, five of four, six of two; twice as many where magnitudes of inputs add up to less than
 * half of what they could, as most do. M and T stay in registers for a step, so steps pass one by
 * one, all inputs each, in the first-level cache.
 */
#ifndef RILL_KERNELS_CPU_DOT_ONE_PANEL512_H
#define RILL_KERNELS_CPU_DOT_ONE_PANEL512_H

/* -- inputs: 256 columns of up to six, with where the sums of runs begin -- */

struct x256x6 {
    struct {
        int8_t q[6][32];
        /* -8, -16, -32 times the sums of a run, of a twice as long one */
        int32_t first_8[6], first_16[2][6], first_32[4][6], long_16[6], long_32[2][6];
    } part[8];
    int16_t sum[4][6][2]; // 8 times the sums of 32
    float d[6];
    bool small[6]; // one_small
};

static size_t one_bytes(int64_t n)
{
    return (size_t)((n + 255) / 256) * sizeof(struct x256x6);
}

/* Eight times the sums of eight inputs. */
static DOT_INLINE void one_sums(int32_t *restrict sum, const int8_t *q)
{
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        const __m512i four =
            _mm512_dpbusd_epi32(_mm512_setzero_si512(), z_set1(8), z_load64(q + 64 * c));

        _mm256_storeu_si256((__m256i *)(sum + 8 * c), _mm512_cvtepi64_epi32(_mm512_add_epi32(
                                                          four, _mm512_srli_epi64(four, 32))));
    }
}

/* Whether magnitudes of each 16 of 256 inputs add up to less than 1024. */
static DOT_INLINE bool one_small(const int8_t *q)
{
    __mmask16 large = 0;

#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        __m512i v = _mm512_dpbusd_epi32(_mm512_setzero_si512(),
                                        _mm512_abs_epi8(z_load64(q + 64 * c)), z_set1(1));

        v = _mm512_add_epi32(v, _mm512_shuffle_epi32(v, 0xb1));
        v = _mm512_add_epi32(v, _mm512_shuffle_epi32(v, 0x4e));
        large |= _mm512_cmpgt_epi32_mask(v, _mm512_set1_epi32(1023));
    }
    return large == 0;
}

static void one_step_put(const struct x256 *restrict row, int at, struct x256x6 *restrict out)
{
    int32_t sum[32];

    one_sums(sum, row->q);
    for (int p = 0; p < 8; p++) {
        const int32_t *s = sum + 4 * p, s2[2] = {s[0] + s[1], s[2] + s[3]};

        memcpy(out->part[p].q[at], row->q + 32 * p, 32);
        for (int k = 0; k < 4; k++)
            out->part[p].first_32[k][at] = -4 * s[k];
        for (int h = 0; h < 2; h++) {
            out->part[p].first_16[h][at] = -2 * s2[h];
            out->part[p].long_32[h][at] = -4 * s2[h];
        }
        out->part[p].first_8[at] = -(s2[0] + s2[1]);
        out->part[p].long_16[at] = -2 * (s2[0] + s2[1]);
        out->sum[p / 2][at][p % 2] = (int16_t)(s2[0] + s2[1]);
    }
    out->d[at] = row->d[0];
    out->small[at] = one_small(row->q);
}

static void one_put(const void *restrict rows, size_t stride, int count, int64_t n, int at,
                    void *restrict group)
{
    struct x256x6 *out = (struct x256x6 *)group;

    for (int64_t t = 0; t < (n + 255) / 256; t++)
        for (int i = 0; i < count; i++)
            one_step_put((const struct x256 *)((const char *)rows + (size_t)i * stride) + t, at + i,
                         out + t);
}

/* -- products -- */

/* 32 bits to every lane: where this is said, or a compiler loads inputs so early that registers run
 * out. */
static DOT_INLINE __m512i one_in(const void *p)
{
    __m512i a;

    __asm__("vpbroadcastd %1, %0" : "=v"(a) : "m"(*(const int32_t *)p));
    return a;
}

/* Lines of pairs of words at w times the sums of inputs, added to sums of both halves. */
static DOT_INLINE void one_pairs(__m512i (*restrict sum)[2], const char *w, const struct x256x6 *x,
                                 int inputs)
{
#pragma GCC unroll 8
    for (int i = 0; i < inputs; i++)
        sum[i][0] = sum[i][1] = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        const __m512i a = _mm512_load_si512(w + 128 * k), b = _mm512_load_si512(w + 128 * k + 64);

#pragma GCC unroll 8
        for (int i = 0; i < inputs; i++) {
            const __m512i in = one_in(x->sum[k][i]);

            sum[i][0] = _mm512_dpwssd_epi32(sum[i][0], a, in);
            sum[i][1] = _mm512_dpwssd_epi32(sum[i][1], b, in);
        }
    }
}

/* A run of lines times inputs; at: its first columns, first: where its sums begin. */
static DOT_INLINE void one_run(__m512i (*restrict dot)[2], const char *q, const int8_t *at,
                               const int32_t *first, int run, int inputs)
{
#pragma GCC unroll 8
    for (int i = 0; i < inputs; i++)
        dot[i][0] = dot[i][1] = one_in(first + i);
#pragma GCC unroll 8
    for (int k = 0; k < run; k++) {
        const __m512i a = _mm512_load_si512(q + 128 * k), b = _mm512_load_si512(q + 128 * k + 64);

#pragma GCC unroll 8
        for (int i = 0; i < inputs; i++) {
            const __m512i in = one_in(at + 32 * i + 4 * k);

            dot[i][0] = _mm512_dpbusd_epi32(dot[i][0], a, in);
            dot[i][1] = _mm512_dpbusd_epi32(dot[i][1], b, in);
        }
    }
}

/* T of a step without what the sums of inputs bring. half: of the codes' range; with runs of so
 * many lines. */
static DOT_INLINE void one_products(__m512i (*restrict t)[2], const char *q, const char *scales,
                                    const struct x256x6 *x, struct ahead *ahead, int half, int run,
                                    int inputs)
{
    const int sub = half == 32 ? 16 : 32;

    for (int p = 0; p < 8; p++, q += 8 * 128, scales += 32 / sub * 128) {
        ahead_ask(ahead);
#pragma GCC unroll 4
        for (int k = 0; k < 8 / run; k++) {
            const int32_t *first = half == 8                ? x->part[p].first_8
                                   : half == 16 && run == 8 ? x->part[p].long_16
                                   : half == 16             ? x->part[p].first_16[k]
                                   : run == 4               ? x->part[p].long_32[k]
                                                            : x->part[p].first_32[k];
            const char *by = scales + k * 4 * run / sub * 128;
            __m512i dot[PANEL_GROUP][2];

            one_run(dot, q + k * run * 128, x->part[p].q[0] + 4 * k * run, first, run, inputs);
            const __m512i a = _mm512_load_si512(by), b = _mm512_load_si512(by + 64);

#pragma GCC unroll 8
            for (int i = 0; i < inputs; i++) {
                t[i][0] = _mm512_dpwssd_epi32(t[i][0], dot[i][0], a);
                t[i][1] = _mm512_dpwssd_epi32(t[i][1], dot[i][1], b);
            }
        }
    }
}

/* A step of a panel times inputs: their chains [inputs][2] go on. */
static DOT_INLINE void one_step(__m512 *restrict chain, const char *panel, const struct x256x6 *x,
                                struct ahead *ahead, int half, int run, int inputs)
{
    const bool min = half != 32;
    const char *scales = panel + 64 * 128, *pairs = scales + (min ? 8 : 16) * 128;
    const char *d = min ? pairs + 8 * 128 : pairs;
    __m512i t[PANEL_GROUP][2], m[PANEL_GROUP][2];

    if (min)
        one_pairs(t, pairs, x, inputs);
#pragma GCC unroll 8
    for (int i = 0; i < inputs; i++)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++)
            t[i][h] = !min         ? _mm512_setzero_si512()
                      : half == 16 ? _mm512_add_epi32(t[i][h], t[i][h])
                                   : t[i][h];
    one_products(t, panel, scales, x, ahead, half, run, inputs);
    if (min)
        one_pairs(m, pairs + 4 * 128, x, inputs);
#pragma GCC unroll 8
    for (int i = 0; i < inputs; i++)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            const __m512 by = _mm512_load_ps(d + 64 * h), v = _mm512_cvtepi32_ps(t[i][h]);
            const __m512 all =
                min ? _mm512_fmadd_ps(v, by,
                                      _mm512_mul_ps(_mm512_cvtepi32_ps(m[i][h]),
                                                    _mm512_load_ps(d + 128 + 64 * h)))
                    : _mm512_mul_ps(v, by);

            chain[2 * i + h] = _mm512_fmadd_ps(all, _mm512_set1_ps(x->d[i]), chain[2 * i + h]);
        }
}

typedef void one_fn(__m512 *restrict chain, const char *panel, const struct x256x6 *x,
                    struct ahead *ahead);

#define ONE_STEP(half, run, inputs)                                                                \
    static void one_step_##half##_##run##_##inputs(__m512 *restrict chain, const char *panel,      \
                                                   const struct x256x6 *x, struct ahead *ahead)    \
    {                                                                                              \
        one_step(chain, panel, x, ahead, half, run, inputs);                                       \
    }
#define ONE_STEPS(half, run)                                                                       \
    ONE_STEP(half, run, 4)                                                                         \
    ONE_STEP(half, run, 5)                                                                         \
    ONE_STEP(half, run, 6)
ONE_STEPS(8, 8)
ONE_STEPS(16, 4)
ONE_STEPS(16, 8)
ONE_STEPS(32, 2)
ONE_STEPS(32, 4)

/* For half of the codes' range; whether inputs are small; with four inputs, with five, with six. */
static one_fn *one_step_for(int half, bool small, int inputs)
{
    static one_fn *const fn[3][2][3] = {
        {{one_step_8_8_4, one_step_8_8_5, one_step_8_8_6},
         {one_step_8_8_4, one_step_8_8_5, one_step_8_8_6}},
        {{one_step_16_4_4, one_step_16_4_5, one_step_16_4_6},
         {one_step_16_8_4, one_step_16_8_5, one_step_16_8_6}},
        {{one_step_32_2_4, one_step_32_2_5, one_step_32_2_6},
         {one_step_32_4_4, one_step_32_4_5, one_step_32_4_6}},
    };

    return fn[half / 16][small][inputs < 4 ? 0 : inputs - 4];
}

/* -- a matrix times inputs -- */

/* Inputs from which on panels serve, where they lie in groups; Q4_K's come first. */
#define LEAST_q4_k 3
#define LEAST_q5_k 4
#define LEAST_q6_k 5

enum {
    ONE_BYTES = 82 * 128,   // of a step of any format
    ONE_INPUTS = 768 << 10, // bytes of groups that pass together: they stay in the second-level
                            // cache while rows come from memory
    ONE_GROUPS = 32,        // of them, and in the first-level cache their chains
    ONE_ASK = 2,            // half of a step is unpacked in the time of so many parts' products
};

static bool one_all_small(const struct x256x6 *x, int n)
{
    bool all = true;

    for (int i = 0; i < n; i++)
        all = all && x->small[i];
    return all;
}

/* A step of rows [r, r + rows): rows behind them are the last one again. */
static void one_unpack(const struct panel_job *j, char *panel, int64_t r, int64_t rows, int64_t t,
                       struct ahead *ahead)
{
    for (int h = 0; h < 2; h++) {
        const int64_t at = V_N * h < rows ? V_N * h : rows - 1;

        for (int k = 0; k < ONE_ASK; k++)
            ahead_ask(ahead);
        j->fill(panel + PANEL_LINE / 2 * h, j->w + (size_t)(r + at) * j->row_bytes, j->row_bytes,
                panel_least(rows - at, V_N), 256 * t, j->n);
    }
}

/* Rows [r, r + rows), at most PANEL_ROWS, times inputs [i0, i1). */
static void one_panel(const struct panel_job *j, int half, int64_t r, int64_t rows, int64_t i0,
                      int64_t i1)
{
    const int64_t steps = panel_steps(j->n), bytes = PANEL_ROWS * (int64_t)j->row_bytes;
    const int64_t calls = ((i1 - i0 + j->per - 1) / j->per * 8 + 2 * ONE_ASK) * steps;
    struct ahead ahead = ahead_of(j->w, (size_t)(r + PANEL_ROWS) * j->row_bytes, bytes, calls);
    _Alignas(64) char panel[ONE_BYTES];
    __m512 chain[ONE_GROUPS][2 * PANEL_GROUP];
    struct x256x6 room;

    memset(chain, 0, sizeof *chain * (size_t)((i1 - i0 + j->per - 1) / j->per));
    for (int64_t t = 0; t < steps; t++) {
        one_unpack(j, panel, r, rows, t, &ahead);
        for (int64_t i = i0, g = 0; i < i1; i += j->per, g++) {
            const int n = panel_least(i1 - i, j->per);
            const struct x256x6 *x =
                (const struct x256x6 *)(j->x + (size_t)(i / j->per) * j->x_bytes) + t;

            if (!j->grouped) {
                for (int k = 0; k < n; k++)
                    one_step_put((const struct x256 *)(j->x + (size_t)(i + k) * j->x_bytes) + t, k,
                                 &room);
                x = &room;
            }
            one_step_for(half, one_all_small(x, n), n)(chain[g], panel, x, &ahead);
        }
    }
    for (int64_t i = i0, g = 0; i < i1; i += j->per, g++) {
        const int n = panel_least(i1 - i, j->per);

        panel_finish(j->y + i * j->ldy + r, j->ldy, chain[g], 1, (int)rows, n, n);
    }
}

/* For formats whose codes have twice half as their range: 8, 16 or 32. */
static void one_rows(const struct panel_job *j, int half)
{
    const int64_t groups = ONE_INPUTS / (int64_t)one_bytes(j->n);
    const int64_t i_step = j->per * (groups < 1 ? 1 : panel_least(groups, ONE_GROUPS));

    for (int64_t i = 0; i < j->n_x; i += i_step)
        for (int64_t r = 0; r < j->n_r; r += PANEL_ROWS)
            one_panel(j, half, r, panel_least(j->n_r - r, PANEL_ROWS), i,
                      j->n_x - i < i_step ? j->n_x : i + i_step);
}

#endif
