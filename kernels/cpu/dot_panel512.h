/* dot_panel512.h - what AVX-512 kernels of all formats share: adding lanes up, and panels.
 *
 * A panel is 16 weight rows side by side, a row per lane. A step of it is 256 columns: 64 registers
 * of codes, four columns per 32-bit lane; then a register of scales per part, and one of mins.
 * Codes are unsigned; those of formats with negative ones have 128 added.
 */
#ifndef RILL_KERNELS_CPU_DOT_PANEL512_H
#define RILL_KERNELS_CPU_DOT_PANEL512_H

enum {
    FEW = 4,              // inputs up to which unpacking a panel does not pay
    PANEL_ROWS = 32,      // two registers: an input's number is loaded once for both
    PANEL_COLS = 8192,    // of a slice
    PANEL_BYTES = 393216, // one slice of any format; less than half of a 1 MB second-level cache
    PANEL_STEPS = 2,      // that stay in a first-level cache of 32 KB with their inputs
    PANEL_GROUP = 6,      // inputs that pass a panel together: 12 sums hide the products' latency,
                          // and with 12 chains fill the registers
    PANEL_GROUPS = 10,    // whose chains are kept from one slice to the next
};

/* -- lanes to parts -- */

/* Register c, lane L (128 bits) has four sums of part 4 c + L: they are added, parts in order. */
static inline __m512i z_parts(const __m512i *t)
{
    const __m512i a =
        _mm512_add_epi32(_mm512_unpacklo_epi32(t[0], t[1]), _mm512_unpackhi_epi32(t[0], t[1]));
    const __m512i b =
        _mm512_add_epi32(_mm512_unpacklo_epi32(t[2], t[3]), _mm512_unpackhi_epi32(t[2], t[3]));

    return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

static inline __m512i z_parts_16(const __m512i *t)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);

    return _mm512_permutexvar_epi32(order, z_parts(t));
}

/* Two rows, parts of 32: those of the first, those of the second. */
static inline __m512i z_parts_32(const __m512i *t, const __m512i *t2)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
    const __m512i a = z_parts(t), b = z_parts(t2);
    const __m512i sum =
        _mm512_add_epi32(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd));

    return _mm512_permutexvar_epi32(order, sum);
}

/* Each of eight numbers twice. */
static inline __m512 z_twice(__m256 a)
{
    const __m512i order = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);

    return _mm512_permutexvar_ps(order, _mm512_castps256_ps512(a));
}

static inline __m512i z_wide_8(__m256 a)
{
    return _mm512_castps_si512(_mm512_castps256_ps512(a));
}

static inline __m512i z_wide_16(__m512 a)
{
    return _mm512_castps_si512(a);
}

/* dot_tree over 16 lanes, or over half number k of them. */
static inline float z_tree(__m512 a, int halves, int k)
{
    const __m256 low = _mm512_castps512_ps256(a), high = _mm512_extractf32x8_ps(a, 1);
    const __m256 v = halves == 1 ? _mm256_add_ps(low, high) : k ? high : low;
    __m128 q = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

    q = _mm_add_ps(q, _mm_movehl_ps(q, q));
    return _mm_cvtss_f32(_mm_add_ss(q, _mm_movehdup_ps(q)));
}

/* -- panels -- */

/* Element j of register i becomes element i of line j, lines being 128 bytes apart; n are wanted.
 */
static void z_transpose(char *restrict out, const __m512i *a, int n)
{
    __m512i t[16], u[16];

    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int k = 0; k < 2; k++) {
            u[i + 2 * k] = _mm512_unpacklo_epi64(t[i + k], t[i + 2 + k]);
            u[i + 2 * k + 1] = _mm512_unpackhi_epi64(t[i + k], t[i + 2 + k]);
        }
    /* u[4 g + k] has, in lane L, elements 4 L + k of registers 4 g .. 4 g + 3 */
    for (int k = 0; k < 4; k++) {
        const __m512i lo = _mm512_shuffle_i32x4(u[k], u[4 + k], 0x88);
        const __m512i lo2 = _mm512_shuffle_i32x4(u[8 + k], u[12 + k], 0x88);
        const __m512i hi = _mm512_shuffle_i32x4(u[k], u[4 + k], 0xdd);
        const __m512i hi2 = _mm512_shuffle_i32x4(u[8 + k], u[12 + k], 0xdd);
        /* lo: lanes 0 and 2 of both; hi: lanes 1 and 3 */
        _mm512_store_si512(out + k * 128, _mm512_shuffle_i32x4(lo, lo2, 0x88));
        _mm512_store_si512(out + (4 + k) * 128, _mm512_shuffle_i32x4(hi, hi2, 0x88));
        if (n > 8) {
            _mm512_store_si512(out + (8 + k) * 128, _mm512_shuffle_i32x4(lo, lo2, 0xdd));
            _mm512_store_si512(out + (12 + k) * 128, _mm512_shuffle_i32x4(hi, hi2, 0xdd));
        }
    }
}

/* A matrix times many inputs. fill makes half of a step: columns [c, c + 256) of 16 rows, those
 * behind n_r being the last one again. */
struct panel_job {
    float *y;
    int64_t ldy;
    const char *w;
    size_t row_bytes;
    const char *x;
    size_t x_bytes;
    int64_t n, n_r, n_x;
    int parts;
    bool min, back; // scales come with mins; 128 has been added to the codes
    void (*fill)(char *restrict out, const char *w, size_t row_bytes, int n_r, int64_t c,
                 int64_t n);
};

static inline int64_t panel_step_bytes(const struct panel_job *j)
{
    return 128 * (64 + j->parts * (1 + j->min));
}

/* The same part of some steps times inputs: its chains [inputs][2] stay in registers meanwhile. All
 * but steps are constants where this is called. */
static DOT_INLINE void panel_part(__m512 *restrict chain, const char *q, const char *scales, int p,
                                  const struct x256 *const *x, int steps, int parts, bool min,
                                  bool back, int inputs)
{
    __m512 sum[PANEL_GROUP][2];

#pragma GCC unroll 8
    for (int i = 0; i < inputs; i++) {
        sum[i][0] = chain[2 * i];
        sum[i][1] = chain[2 * i + 1];
    }
    for (int64_t t = 0; t < steps; t++) {
        __m512i dot[PANEL_GROUP][2];

#pragma GCC unroll 8
        for (int i = 0; i < inputs; i++)
            dot[i][0] = dot[i][1] =
                !back ? _mm512_setzero_si512()
                      : _mm512_set1_epi32(parts == 8 ? x[i][t].back_32[p] : x[i][t].back_16[p]);
#pragma GCC unroll 8
        for (int k = 0; k < 64 / parts; k++) {
            const __m512i a = _mm512_load_si512(q + 128 * k);
            const __m512i b = _mm512_load_si512(q + 128 * k + 64);

#pragma GCC unroll 8
            for (int i = 0; i < inputs; i++) {
                const __m512i in =
                    _mm512_set1_epi32((int)bits_u32(x[i][t].q + p * (256 / parts) + 4 * k));
                dot[i][0] = _mm512_dpbusd_epi32(dot[i][0], a, in);
                dot[i][1] = _mm512_dpbusd_epi32(dot[i][1], b, in);
            }
        }
#pragma GCC unroll 8
        for (int i = 0; i < inputs; i++)
#pragma GCC unroll 2
            for (int h = 0; h < 2; h++) {
                const __m512 d = _mm512_set1_ps(x[i][t].d[p * 8 / parts]);
                const __m512 s = _mm512_mul_ps(_mm512_load_ps(scales + h * 64), d);

                sum[i][h] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[i][h]), s, sum[i][h]);
                if (min)
                    sum[i][h] = _mm512_fmadd_ps(
                        _mm512_load_ps(scales + parts * 128 + h * 64),
                        _mm512_set1_ps(parts == 8 ? x[i][t].sum_32[p] : x[i][t].sum_16[p]),
                        sum[i][h]);
            }
        q += 128 * (64 + parts * (1 + min));
        scales += 128 * (64 + parts * (1 + min));
    }
#pragma GCC unroll 8
    for (int i = 0; i < inputs; i++) {
        chain[2 * i] = sum[i][0];
        chain[2 * i + 1] = sum[i][1];
    }
}

/* Bytes of rows that will be unpacked next. They are asked for a few rows at a time while products
 * are under way, or memory would rest meanwhile. */
struct panel_ahead {
    const char *at;
    size_t row_bytes, bytes;
    int rows, some; // left; to ask for at a time
};

static inline void panel_ask(struct panel_ahead *a)
{
    for (int k = 0; k < a->some && a->rows > 0; k++, a->rows--, a->at += a->row_bytes)
        for (size_t b = 0; b < a->bytes; b += 64)
            _mm_prefetch(a->at + b, _MM_HINT_T1);
}

/* n columns of a panel times inputs: their chains [parts][inputs][2] go on. Part by part within a
 * slice that the first-level cache holds: so a chain is loaded and stored once for all its steps.
 */
static DOT_INLINE void panel_mul(__m512 *restrict chain, const char *restrict panel,
                                 const char *const *in, int64_t n, struct panel_ahead *ahead,
                                 int parts, bool min, bool back, int inputs)
{
    const struct x256 *x[PANEL_GROUP];

    for (int i = 0; i < inputs; i++)
        x[i] = (const struct x256 *)in[i];
    for (; n > 0; n -= PANEL_STEPS * 256) {
        const int steps = n > 256 * (PANEL_STEPS - 1) ? PANEL_STEPS : (int)((n + 255) / 256);

        for (int p = 0; p < parts; p++) {
            panel_ask(ahead);
            panel_part(chain + p * 2 * inputs, panel + p * (64 / parts) * 128,
                       panel + 8192 + p * 128, p, x, steps, parts, min, back, inputs);
        }
        panel += steps * 128 * (64 + parts * (1 + min));
        for (int i = 0; i < inputs; i++)
            x[i] += steps;
    }
}

typedef void panel_mul_fn(__m512 *restrict chain, const char *restrict panel, const char *const *in,
                          int64_t n, struct panel_ahead *ahead);

#define PANEL_MUL(parts, min, back, inputs)                                                        \
    static void panel_mul_##parts##min##back##inputs(                                              \
        __m512 *restrict chain, const char *restrict panel, const char *const *in, int64_t n,      \
        struct panel_ahead *ahead)                                                                 \
    {                                                                                              \
        panel_mul(chain, panel, in, n, ahead, parts, min, back, inputs);                           \
    }
#define PANEL_MULS(parts, min, back)                                                               \
    PANEL_MUL(parts, min, back, 4)                                                                 \
    PANEL_MUL(parts, min, back, 6)
PANEL_MULS(8, 0, 0)
PANEL_MULS(8, 0, 1)
PANEL_MULS(8, 1, 0)
PANEL_MULS(16, 0, 0)
PANEL_MULS(16, 0, 1)
PANEL_MULS(16, 1, 0)

static panel_mul_fn *panel_mul_for(const struct panel_job *j, int inputs)
{
    static panel_mul_fn *const fn[2][3][2] = {
        {{panel_mul_8004, panel_mul_8006},
         {panel_mul_8014, panel_mul_8016},
         {panel_mul_8104, panel_mul_8106}},
        {{panel_mul_16004, panel_mul_16006},
         {panel_mul_16014, panel_mul_16016},
         {panel_mul_16104, panel_mul_16106}},
    };

    return fn[j->parts == 16][j->min ? 2 : j->back][inputs == 6];
}

/* Inputs that go together when so many are left: six, or four where that leaves fewer places
 * empty. */
static inline int panel_group(int64_t left)
{
    return left <= 4 || left == 7 || left == 8 ? 4 : 6;
}

/* dot_tree over chains [parts][inputs][2], a row per lane. */
static void panel_finish(float *restrict y, int64_t ldy, __m512 *restrict chain, int parts,
                         int rows, int inputs, int n)
{
    const uint32_t some = (uint32_t)((1ull << rows) - 1);

    for (int half = parts / 2; half; half /= 2)
        for (int t = 0; t < half * 2 * inputs; t++)
            chain[t] = _mm512_add_ps(chain[t], chain[t + half * 2 * inputs]);
    for (int i = 0; i < n; i++) {
        _mm512_mask_storeu_ps(y + i * ldy, (__mmask16)some, chain[2 * i]);
        if (rows > 16)
            _mm512_mask_storeu_ps(y + i * ldy + 16, (__mmask16)(some >> 16), chain[2 * i + 1]);
    }
}

static inline int panel_least(int64_t a, int b)
{
    return a < b ? (int)a : b;
}

/* Rows [r, r + rows) and columns [c0, c1) as panels, one behind another. */
static void panel_unpack(const struct panel_job *j, char *panel, int64_t r, int64_t rows,
                         int64_t c0, int64_t c1)
{
    for (int64_t p = 0; p < rows; p += PANEL_ROWS)
        for (int64_t c = c0; c < c1; c += 256, panel += panel_step_bytes(j))
            for (int h = 0; h < 2; h++) { /* no second half: the first one's last row */
                const int64_t at = p + 16 * h < rows ? p + 16 * h : rows - 1;

                j->fill(panel + 64 * h, j->w + (size_t)(r + at) * j->row_bytes, j->row_bytes,
                        panel_least(rows - at, 16), c, j->n);
            }
}

/* What is unpacked after rows [r, r + rows), columns [c0, c1). */
static struct panel_ahead panel_next(const struct panel_job *j, int64_t r, int64_t rows, int64_t c0,
                                     int64_t c1, int64_t n_x)
{
    const int64_t calls = (n_x + PANEL_GROUP - 1) / PANEL_GROUP * j->parts;
    const bool same = c1 < j->n;
    const int64_t r1 = same ? r : r + rows, left = same ? rows : j->n_r - r1;
    const int64_t n = panel_least(left, PANEL_ROWS);

    return (struct panel_ahead){
        j->w + (size_t)r1 * j->row_bytes + (same ? (size_t)c1 * j->row_bytes / (size_t)j->n : 0),
        j->row_bytes, (size_t)(c1 - c0) * j->row_bytes / (size_t)j->n, (int)n,
        (int)((PANEL_ROWS + calls - 1) / calls)};
}

/* Inputs [i0, i1) pass the panels of rows [r, r + rows), columns [c0, c1). */
static void panel_pass(const struct panel_job *j, const char *panel,
                       __m512 (*restrict chain)[32 * PANEL_GROUP], struct panel_ahead *ahead,
                       int64_t r, int64_t rows, int64_t i0, int64_t i1, int64_t c0, int64_t c1)
{
    const int64_t bytes = (c1 - c0 + 255) / 256 * panel_step_bytes(j);
    const bool whole = c0 == 0 && c1 == j->n;

    for (int64_t i = i0, inputs; i < i1; i += inputs, chain += !whole) {
        const char *in[PANEL_GROUP];

        inputs = panel_group(i1 - i);
        for (int k = 0; k < inputs; k++)
            in[k] = j->x + (size_t)(i + k < i1 ? i + k : i1 - 1) * j->x_bytes +
                    (size_t)(c0 / 256) * sizeof(struct x256);
        for (int64_t p = 0; p < rows; p += PANEL_ROWS) {
            if (c0 == 0)
                memset(*chain, 0, (size_t)(j->parts * 2 * inputs) * sizeof **chain);
            panel_mul_for(j, (int)inputs)(*chain, panel + p / PANEL_ROWS * bytes, in, c1 - c0,
                                          ahead);
            if (c1 == j->n)
                panel_finish(j->y + i * j->ldy + r + p, j->ldy, *chain, j->parts,
                             panel_least(rows - p, PANEL_ROWS), (int)inputs,
                             panel_least(i1 - i, (int)inputs));
        }
    }
}

/* Few inputs: a panel at a time, slice by slice, while the next slice comes from memory. */
static void panel_some(const struct panel_job *j)
{
    _Alignas(64) char panel[PANEL_STEPS * 128 * (64 + 32)];
    __m512 chain[PANEL_GROUPS][32 * PANEL_GROUP];

    for (int64_t r = 0; r < j->n_r; r += PANEL_ROWS) {
        const int64_t rows = panel_least(j->n_r - r, PANEL_ROWS);

        for (int64_t c = 0, c1; c < j->n; c = c1) {
            c1 = c + panel_least(j->n - c, PANEL_STEPS * 256);
            struct panel_ahead ahead = panel_next(j, r, rows, c, c1, j->n_x);
            panel_unpack(j, panel, r, rows, c, c1);
            panel_pass(j, panel, chain, &ahead, r, rows, 0, j->n_x, c, c1);
        }
    }
}

/* As many rows at once as fit, unpacked once for all inputs. Rows longer than a slice: one panel at
 * a time, the chains of some inputs being kept from one slice to the next. */
static void panel_many(const struct panel_job *j)
{
    _Alignas(64) char panel[PANEL_BYTES];
    __m512 chain[PANEL_GROUPS][32 * PANEL_GROUP];
    const bool whole = j->n <= PANEL_COLS;
    const int64_t r_step =
        whole ? PANEL_BYTES / ((j->n + 255) / 256 * panel_step_bytes(j)) * PANEL_ROWS : PANEL_ROWS;
    const int64_t i_step = whole ? j->n_x : PANEL_GROUPS * PANEL_GROUP;
    struct panel_ahead ahead = {NULL, 0, 0, 0, 0};

    for (int64_t r = 0; r < j->n_r; r += r_step) {
        const int64_t rows = j->n_r - r < r_step ? j->n_r - r : r_step;

        for (int64_t i = 0; i < j->n_x; i += i_step)
            for (int64_t c = 0; c < j->n; c += PANEL_COLS) {
                const int64_t c1 = j->n - c < PANEL_COLS ? j->n : c + PANEL_COLS;

                panel_unpack(j, panel, r, rows, c, c1);
                panel_pass(j, panel, chain, &ahead, r, rows, i,
                           j->n_x - i < i_step ? j->n_x : i + i_step, c, c1);
            }
    }
}

static void panel_rows(const struct panel_job *j)
{
    if (j->n_x <= PANEL_GROUPS * PANEL_GROUP)
        panel_some(j);
    else
        panel_many(j);
}

#endif
