/* weights.c - how matrices lie in device memory, which kernels multiply with them, and with what
 * grids.
 *
 * Most have their rows as in the file; those of common formats are repacked when they are loaded,
 * into panels (panel.cuh). w->dev says which: NULL as in the file.
 */
#include <string.h>

#include "kernels/cuda/lower.h"

enum { STAGING = 64 << 20, SUMS_MAX = 48 << 10, SLICE_COLS = 256, SEGMENT_COLS = 1024 };

const struct fmt_kern *cuda_fmt(int fmt)
{
    const struct fmt_kern *k = gemv_half(fmt);

    k = k ? k : gemv_plain(fmt);
    k = k ? k : gemv_small(fmt);
    k = k ? k : gemv_large(fmt);
    return k ? k : gemv_points(fmt);
}

const struct fmt_kern *cuda_kern(const struct weight *w)
{
    return w->dev ? gemv_panels(w->fmt) : cuda_fmt(w->fmt);
}

static uint64_t panel_bytes(const struct fmt_kern *k, int64_t cols)
{
    const uint64_t slices = ((uint64_t)cols + SLICE_COLS - 1) / SLICE_COLS;

    return (slices * (uint64_t)k->slice + 15) / 16 * 16;
}

int64_t cuda_row_bytes(const struct fmt_kern *k, int fmt, int64_t cols)
{
    uint64_t bytes = 0;

    if (k->slice)
        return (int64_t)panel_bytes(k, cols);
    return fmt_row_bytes(fmt, (uint64_t)cols, &bytes) ? (int64_t)bytes : 0;
}

/* -- grids -- */

static uint64_t sums_bytes(const struct fmt_launch *f, int64_t cols, bool glu, int split)
{
    const uint64_t items = ((uint64_t)cols + SEGMENT_COLS - 1) / SEGMENT_COLS * (glu ? 2 : 1);

    return items * (uint64_t)f->sums * 32 * sizeof(float) * (uint64_t)(GEMV_THREADS / 32 / split);
}

struct gemv_shape cuda_gemv_shape(const struct fmt_launch *f, int64_t cols, int64_t n_out, bool glu,
                                  int units)
{
    struct gemv_shape s = {f->shared, 0, 1};
    const int64_t items = (cols + SEGMENT_COLS - 1) / SEGMENT_COLS * (glu ? 2 : 1);

    if (!f->sums) { // the tensor cores' kernels have as many columns of gate as of up
        const bool both = f->rows == GEMM_ROWS || f->cols == SMALL_COLS || f->cols == WIDE_COLS;
        const int64_t per = glu && both ? f->cols / 2 : f->cols;
        s.grid_y = cuda_blocks(n_out, per, f->block == RING_THREADS ? units : 65535);
        return s;
    }
    while (s.split < GEMV_THREADS / 32 &&
           (sums_bytes(f, cols, glu, s.split) > SUMS_MAX ||
            (s.split < items && n_out / PANEL * s.split < (int64_t)units * GEMV_WARPS_ENOUGH)))
        s.split *= 2;
    s.grid_y = cuda_blocks(n_out, f->cols / s.split, 65535);
    s.shared = (uint32_t)sums_bytes(f, cols, glu, s.split);
    return s;
}

/* -- loading -- */

struct move {
    uint8_t *to;
    const uint8_t *from;
    uint64_t n;
};

static void member_move(void *arg, int member, int n)
{
    const struct move *m = arg;
    const uint64_t from = m->n * (uint64_t)member / (uint64_t)n,
                   to = m->n * (uint64_t)(member + 1) / (uint64_t)n;

    memcpy(m->to + from, m->from + from, to - from);
}

int cuda_bring(struct dev *d, void *to, const void *from, uint64_t n)
{
    for (uint64_t at = 0; at < n; at += CUDA_PIECE, d->piece = !d->piece) {
        const struct move m = {.to = d->pieces + (uint64_t)d->piece * CUDA_PIECE,
                               .from = (const uint8_t *)from + at,
                               .n = n - at < CUDA_PIECE ? n - at : CUDA_PIECE};

        if (rt_reached(d->rt, MARK_PIECE + d->piece) < 0)
            return -1;
        team_run(d->movers, member_move, (void *)(uintptr_t)&m);
        if (rt_copy(d->rt, (uint8_t *)to + at, m.to, m.n) < 0 ||
            rt_mark(d->rt, MARK_PIECE + d->piece) < 0)
            return -1;
    }
    return 0;
}

bool cuda_wants_panels(const struct dev *d, const struct weight *w)
{
    const struct fmt_kern *k = d->layout == LAYOUT_FILE ? NULL : gemv_panels(w->fmt);

    return k && w->rows % (2 * PANEL) == 0 && w->cols % 32 == 0 &&
           sums_bytes(&k->many, w->cols, true, GEMV_THREADS / 32) <= SUMS_MAX;
}

/* What no weight is in is read, too, though nothing comes of it. */
static int zero_ends(struct dev *d, const struct weight *w, void *to, uint64_t bytes)
{
    const struct fmt_kern *k = gemv_panels(w->fmt);
    const uint64_t full = (uint64_t)w->cols / SLICE_COLS * (uint64_t)k->slice;

    return full == panel_bytes(k, w->cols) ? 0 : rt_zero(d->rt, to, bytes);
}

/* Through a piece of device memory, as many rows at a time as go in there. */
static int repack(struct dev *d, const struct weight *w, const struct fmt_kern *k, void *staging,
                  uint64_t room, uint8_t *to)
{
    const uint64_t rows = (uint64_t)w->n * (uint64_t)w->rows, panel = panel_bytes(k, w->cols);
    uint64_t row_bytes, some;

    if (!fmt_row_bytes(w->fmt, (uint64_t)w->cols, &row_bytes))
        return -1;
    some = room / row_bytes / PANEL * PANEL;
    for (uint64_t r = 0; r < rows; r += some) {
        const uint64_t n = rows - r < some ? rows - r : some;
        const struct repack_args a = {.from = staging,
                                      .to = to + r / PANEL * panel,
                                      .cols = w->cols,
                                      .row_bytes = (int64_t)row_bytes,
                                      .panel_bytes = (int64_t)panel};
        const struct rt_launch l = {&k->repack, {(uint32_t)(n / PANEL), 1, 1}, MAP_THREADS, 0, &a};

        if (cuda_bring(d, staging, (const uint8_t *)w->part[0].p + r * row_bytes, n * row_bytes) <
                0 ||
            rt_launch(d->rt, &l) < 0)
            return -1;
    }
    return rt_sync(d->rt);
}

int cuda_repack(struct dev *d, const struct weight *w, struct mem *out, struct err *e)
{
    const struct fmt_kern *k = gemv_panels(w->fmt);
    const uint64_t panels = (uint64_t)w->n * (uint64_t)w->rows / PANEL,
                   bytes = panels * panel_bytes(k, w->cols), file = w->part[0].bytes,
                   least = PANEL * file / (panels * PANEL),
                   room = file < STAGING    ? file
                          : least > STAGING ? least
                                            : STAGING;
    void *staging = cuda_take(d, room);
    int rc;

    *out = (struct mem){.bytes = bytes, .kind = MEM_DEVICE, .p = cuda_take(d, bytes)};
    if (!staging || !out->p)
        rc = err_set(e, E_DEVICE, "cuda:%s: tensor '%s': %llu bytes wanted, %llu free",
                     d->info.name, w->name, (unsigned long long)(bytes + room),
                     (unsigned long long)cuda_free_bytes(d));
    else if (zero_ends(d, w, out->p, bytes) < 0 || repack(d, w, k, staging, room, out->p) < 0)
        rc = err_set(e, E_DEVICE, "cuda: tensor '%s' cannot be repacked: %s", w->name, rt_error());
    else
        rc = 0;
    if (staging)
        cuda_give(d, staging, room);
    if (rc < 0 && out->p) {
        cuda_give(d, out->p, bytes);
        out->p = NULL;
    }
    return rc;
}
