/* dot_panel.h - panels: the way of quantized rows with many inputs, for every vector width.
 *
 * A panel is two registers of weight rows side by side, a row per lane. A step of it is 256
 * columns: 64 lines of codes, four columns per 32-bit lane; then a line of scales per part, and one
 * of mins. Inputs lie side by side too, a group of them that pass a panel together: so all that a
 * part of a step is multiplied with is in neighbouring cache lines, under one address, in the order
 * in which it is read. A level says before it includes this how it multiplies a part of some steps
 * (panel_part), and after it, for which constants (PANEL_MUL); how rows become half of a step, the
 * formats say (fill).
 */
#ifndef RILL_KERNELS_CPU_DOT_PANEL_H
#define RILL_KERNELS_CPU_DOT_PANEL_H

enum {
    PANEL_ROWS = 2 * V_N,    // two registers: an input's number is loaded once for both
    PANEL_LINE = 8 * V_N,    // bytes
    PANEL_COLS = 8192,       // of a slice
    PANEL_BYTES = 384 << 10, // one slice of any format, and less than half of a
                             // second-level cache of 1 MB
    PANEL_STEPS = 128 / V_N, // of a slice where inputs are few
    PANEL_GROUPS = 10,       // whose chains are kept from one slice to the next
};

/* Some steps of a panel times those of a group: the chains [parts][inputs][2] go on. x is of their
 * first step, in a group that has n_step of them. Chain by chain, which stays in registers. */
static DOT_INLINE void panel_mul(vf *restrict chain, const char *restrict panel,
                                 const struct x32x6 *x, int64_t n_step, int64_t steps,
                                 struct ahead *ahead, int parts, int min, int form, int inputs)
{
    for (int p = 0; p < 8; p++, x += n_step) {
#pragma GCC unroll 2
        for (int h = 0; h < parts / 8; h++) {
            const int part = p * parts / 8 + h;

            ahead_ask(ahead);
            panel_part(chain + part * 2 * inputs, panel + part * (64 / parts) * PANEL_LINE,
                       panel + (64 + part) * PANEL_LINE, x, steps, parts, h, min, form, inputs);
        }
    }
}

typedef void panel_mul_fn(vf *restrict chain, const char *restrict panel, const struct x32x6 *x,
                          int64_t n_step, int64_t steps, struct ahead *ahead);

#define PANEL_MUL(parts, min, form, inputs)                                                        \
    static void panel_mul_##parts##min##form##inputs(                                              \
        vf *restrict chain, const char *restrict panel, const struct x32x6 *x, int64_t n_step,     \
        int64_t steps, struct ahead *ahead)                                                        \
    {                                                                                              \
        panel_mul(chain, panel, x, n_step, steps, ahead, parts, min, form, inputs);                \
    }

/* A matrix times many inputs, which lie in groups of per, or (x256) row by row: then groups are
 * made of them. fill makes half of a step: columns [c, c + 256) of V_N rows, those behind n_r being
 * the last one again. mul: with four inputs, with five, with six. */
struct panel_job {
    float *y;
    int64_t ldy;
    const char *w;
    size_t row_bytes;
    const char *x;
    size_t x_bytes; // of a group, or a row
    int64_t n, n_r, n_x;
    int per;
    bool grouped;
    int parts;
    int min; // lines of a part behind those of scales
    panel_mul_fn *const *mul;
    void (*fill)(char *restrict out, const char *w, size_t row_bytes, int n_r, int64_t c,
                 int64_t n);
};

static inline int64_t panel_steps(int64_t n)
{
    return (n + 255) / 256;
}

static inline int64_t panel_step_bytes(const struct panel_job *j)
{
    return PANEL_LINE * (64 + j->parts * (1 + j->min));
}

static inline int panel_least(int64_t a, int b)
{
    return a < b ? (int)a : b;
}

/* dot_tree over chains [parts][inputs][2], a row per lane. */
static void panel_finish(float *restrict y, int64_t ldy, vf *restrict chain, int parts, int rows,
                         int inputs, int n)
{
    for (int half = parts / 2; half; half /= 2)
        for (int t = 0; t < half * 2 * inputs; t++)
            chain[t] = v_add(chain[t], chain[t + half * 2 * inputs]);
    for (int i = 0; i < n; i++)
        for (int h = 0; h < 2; h++) {
            const int left = rows - h * V_N;

            if (left >= V_N)
                v_store(y + i * ldy + h * V_N, chain[2 * i + h]);
            else if (left > 0)
                v_store_n(y + i * ldy + h * V_N, chain[2 * i + h], left);
        }
}

/* Rows [r, r + rows) and columns [c0, c1) as panels, one behind another. */
static void panel_unpack(const struct panel_job *j, char *panel, int64_t r, int64_t rows,
                         int64_t c0, int64_t c1)
{
    for (int64_t p = 0; p < rows; p += PANEL_ROWS)
        for (int64_t c = c0; c < c1; c += 256, panel += panel_step_bytes(j))
            for (int h = 0; h < 2; h++) { /* no second half: the first one's last row */
                const int64_t at = p + V_N * h < rows ? p + V_N * h : rows - 1;

                j->fill(panel + PANEL_LINE / 2 * h, j->w + (size_t)(r + at) * j->row_bytes,
                        j->row_bytes, panel_least(rows - at, V_N), c, j->n);
            }
}

/* Rows behind r, which are likely to be next even where this call ends, to be asked for while all
 * inputs pass so many panels of whole rows in so many slices. */
static struct ahead panel_next(const struct panel_job *j, int64_t r, int64_t panels, int64_t slices)
{
    const int64_t calls = (j->n_x + j->per - 1) / j->per * panels * j->parts * slices;
    const int64_t bytes = panels * PANEL_ROWS * (int64_t)j->row_bytes;

    return ahead_of(j->w, (size_t)r * j->row_bytes, bytes, calls);
}

/* Steps [t0, t1) of the group that begins with input i; room is for those that must be made. */
static const struct x32x6 *panel_inputs(const struct panel_job *j, int64_t i, int64_t t0,
                                        int64_t t1, struct x32x6 *room)
{
    if (j->grouped)
        return (const struct x32x6 *)(j->x + (size_t)(i / j->per) * j->x_bytes) + t0;
    for (int k = 0; k < panel_least(j->n_x - i, j->per); k++)
        q8_group_steps((const struct x256 *)(j->x + (size_t)(i + k) * j->x_bytes) + t0, t1 - t0, k,
                       room, t1 - t0);
    return room;
}

/* Inputs [i0, i1) pass the panels of rows [r, r + rows), columns [c0, c1). */
static void panel_pass(const struct panel_job *j, const char *panel,
                       vf (*restrict chain)[32 * PANEL_GROUP], struct ahead *ahead, int64_t r,
                       int64_t rows, int64_t i0, int64_t i1, int64_t c0, int64_t c1)
{
    const int64_t t0 = c0 / 256, t1 = panel_steps(c1), bytes = (t1 - t0) * panel_step_bytes(j);
    const bool whole = c0 == 0 && c1 == j->n;
    struct x32x6 room[8 * PANEL_COLS / 256];

    for (int64_t i = i0; i < i1; i += j->per, chain += !whole) {
        const struct x32x6 *x = panel_inputs(j, i, t0, t1, room);
        const int n = panel_least(i1 - i, j->per), inputs = n < 4 ? 4 : n;

        for (int64_t p = 0; p < rows; p += PANEL_ROWS) {
            if (c0 == 0)
                memset(*chain, 0, (size_t)(j->parts * 2 * inputs) * sizeof **chain);
            j->mul[inputs - 4](*chain, panel + p / PANEL_ROWS * bytes, x,
                               j->grouped ? panel_steps(j->n) : t1 - t0, t1 - t0, ahead);
            if (c1 == j->n)
                panel_finish(j->y + i * j->ldy + r + p, j->ldy, *chain, j->parts,
                             panel_least(rows - p, PANEL_ROWS), inputs, n);
        }
    }
}

/* Few inputs: a panel at a time, slice by slice, while the next panel's rows come from memory. */
static void panel_some(const struct panel_job *j)
{
    _Alignas(64) char panel[PANEL_STEPS * PANEL_LINE * (64 + 32)];
    const int64_t slices = (j->n + PANEL_STEPS * 256 - 1) / (PANEL_STEPS * 256);
    vf chain[PANEL_GROUPS][32 * PANEL_GROUP];

    for (int64_t r = 0; r < j->n_r; r += PANEL_ROWS) {
        const int64_t rows = panel_least(j->n_r - r, PANEL_ROWS);
        struct ahead ahead = panel_next(j, r + PANEL_ROWS, 1, slices);

        for (int64_t c = 0, c1; c < j->n; c = c1) {
            c1 = c + panel_least(j->n - c, PANEL_STEPS * 256);
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
    vf chain[PANEL_GROUPS][32 * PANEL_GROUP];
    const bool whole = j->n <= PANEL_COLS;
    const int64_t r_step =
        whole ? PANEL_BYTES / ((j->n + 255) / 256 * panel_step_bytes(j)) * PANEL_ROWS : PANEL_ROWS;
    const int64_t i_step = whole ? j->n_x : PANEL_GROUPS * j->per;

    for (int64_t r = 0; r < j->n_r; r += r_step) {
        const int64_t rows = j->n_r - r < r_step ? j->n_r - r : r_step;
        struct ahead ahead = panel_next(j, r + rows, (rows + PANEL_ROWS - 1) / PANEL_ROWS,
                                        (j->n + PANEL_COLS - 1) / PANEL_COLS);

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
    if (j->n_x <= PANEL_GROUPS * j->per)
        panel_some(j);
    else
        panel_many(j);
}

#endif
