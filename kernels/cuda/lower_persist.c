/* lower_persist.c - lays a segment's launches for one row out as the list of persist.cu, where all
 * of them are of a kind that it knows, and launches it.
 *
 * Entries come one after the other: each waits until all parts of those in front are done. A norm
 * goes into the matrix that reads it, matrices with one input go side by side, and angles, which
 * depend on nothing, go first. Nothing is merged where one would write what another reads. Where
 * logits are made a draw is the last entry; whether it draws is said with the launch.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/cuda/lower.h"
#include "kernels/cuda/persist.h"

struct persist {
    struct persist_args args;
    struct rt_launch launch; // without them
};

struct lay {
    struct prep *p;
    struct persist_work *w;
    uint32_t *parts; // by place of count
    int n, place;    // entries; the place that the last one raises
    int units;       // blocks
    uint32_t input, room, stage;
    int record;      // that is being laid out
    const char *why; // it cannot be done; NULL so far
};

static bool refuse(struct lay *l, const char *why)
{
    l->why = l->why ? l->why : why;
    return false;
}

/* -- what a launch is -- */

/* The format whose kernel for matrices, or for rows of a table, k is; -1: none. */
static int fmt_of(const struct rt_kern *k, bool table)
{
    const struct fmt_info *f;

    for (size_t i = 0; (f = fmt_at(i)); i++) {
        const struct fmt_kern *of[] = {gemv_panels(f->id), gemv_half(f->id),
                                       table && f->id == FMT_F32 ? gemv_plain(f->id) : NULL};
        const struct fmt_launch *rings = gemv_rings(f->id);

        for (size_t j = 0; j < ARRAY_LEN(of); j++)
            if (of[j] && (table ? k == &of[j]->fetch : k == &of[j]->few.k || k == &of[j]->heads))
                return f->id;
        if (!table && rings && (k == &rings[0].k || k == &rings[1].k))
            return f->id;
    }
    return -1;
}

/* A row of x and a row of y have no number in common. */
static bool apart(struct view x, int64_t n, struct view y, int64_t m)
{
    return !x.p || !y.p || x.p + n <= y.p || y.p + m <= x.p;
}

static int64_t columns(const struct gemv_args *a)
{
    const struct mat *last = &a->m[a->glu ? 0 : a->n_m - 1];

    return last->at + last->rows;
}

/* -- entries -- */

static struct persist_work *add(struct lay *l, int kind, const struct launch *from, int blocks)
{
    struct persist_work *w = &l->w[l->n];

    *w = (struct persist_work){.kind = kind,
                               .first = l->n % l->units,
                               .blocks = blocks < l->units ? blocks : l->units,
                               .raise = l->place,
                               .n_y = (int32_t)from->grid_y,
                               .n_z = (int32_t)from->grid_z};
    if (kind == PERSIST_MATRIX || kind == PERSIST_HEAD)
        w->first = 0;
    if (from->args)
        memcpy(&w->a, from->args, from->k->bytes);
    l->parts[w->raise] += (uint32_t)w->blocks;
    l->n++;
    return w;
}

static void wish_room(struct lay *l, uint32_t bytes)
{
    bytes = (bytes + 15) / 16 * 16;
    l->room = bytes > l->room ? bytes : l->room;
}

/* Whether every block can make a norm for itself, as the input of a. */
static bool goes_in(const struct norm_args *m, const struct gemv_args *a)
{
    return m->out.p == a->x.p && m->group == a->cols && m->rows == a->rows &&
           apart(m->out, a->cols, m->x, a->cols) && apart(m->out, a->cols, m->add, a->cols) &&
           apart(a->out, columns(a), m->x, a->cols) && apart(a->out, columns(a), m->add, a->cols);
}

/* Whether a reads what the matrix at the list's end does, and nothing that it makes. */
static bool goes_beside(const struct lay *l, const struct gemv_args *a)
{
    const struct persist_work *w = &l->w[l->n - 1];
    const struct gemv_args *b = &w->a.gemv;

    if (w->kind != PERSIST_MATRIX || b->x.p != a->x.p || b->cols != a->cols || b->rows != a->rows ||
        !b->xh != !a->xh || a->add.p || a->gate.p || b->add.p ||
        !apart(a->out, columns(a), b->out, columns(b)))
        return false;
    while (w->how == PERSIST_AGAIN)
        w--;
    return w->how < 0 || goes_in(&l->w[w->how].a.norm, a);
}

static bool add_matrix(struct lay *l, const struct launch *from, int fmt)
{
    const struct gemv_args *a = from->args;
    const struct fmt_kern *panels = a->together ? gemv_panels(fmt) : NULL;
    const bool half = fmt == FMT_F16 || fmt == FMT_BF16;
    const uint32_t stage = half     ? HALF_COLS * PERSIST_PIECE * 2
                           : panels ? (4 * (uint32_t)panels->slice + 15) / 16 * 16
                                    : 0;
    struct persist_work *before = l->n ? &l->w[l->n - 1] : NULL;
    struct persist_work *w;
    int how = PERSIST_PACK;

    if (!stage || a->mode != GEMV_ROWS || (half ? !a->xh : !a->xq))
        return refuse(l, "a matrix is read otherwise");
    if (a->cols % 32 != 0)
        return refuse(l, "a width is no multiple of 32");
    for (int i = 0; i < a->n_m; i++)
        if ((uintptr_t)a->m[i].w % 16 != 0 || a->row_bytes % 16 != 0)
            return refuse(l, "a matrix' rows begin anywhere");
    if (!apart(a->out, columns(a), a->x, a->cols))
        return refuse(l, "a matrix writes what it reads");
    if (before && before->kind == PERSIST_NORM && before->n_y == 1 && goes_in(&before->a.norm, a)) {
        how = l->n - 1;
        before->kind = PERSIST_INPUT;
        l->parts[before->raise] -= (uint32_t)before->blocks;
    } else if (before && goes_beside(l, a)) {
        how = PERSIST_AGAIN;
    } else {
        l->place++;
    }
    w = add(l, PERSIST_MATRIX, from, l->units);
    w->how = how;
    w->fmt = fmt;
    w->a.gemv.to = NULL; // what comes next packs, and heads are an entry
    w->a.gemv.halves = NULL;
    w->a.gemv.heads = NULL;
    const uint32_t input =
        (uint32_t)(a->cols / 32) * (uint32_t)(half ? sizeof(struct x16) : sizeof(struct q32));
    const int64_t items = (a->cols + (half ? 511 : 1023)) / (half ? 512 : 1024) * (a->glu ? 2 : 1);
    if (items * (half ? 64 : 128) > PERSIST_SUMS || input > l->p->d->info.shared / 2)
        return refuse(l, "a matrix is too wide");
    l->input = input > l->input ? input : l->input;
    l->stage = stage > l->stage ? stage : l->stage;
    return true;
}

/* Blocks have parts of the last entry, which needs so much room. */
static bool deal(struct lay *l, uint32_t room)
{
    struct persist_work *w = &l->w[l->n - 1];
    const int64_t all = (int64_t)w->n_y * w->n_z;

    w->blocks = all < l->units ? (int32_t)all : l->units;
    l->parts[w->raise] += (uint32_t)w->blocks;
    wish_room(l, room);
    return true;
}

/* A group of heads and some of its partials by a block, as many blocks as there are. Where there is
 * no other way, half of the shared memory is taken from the rings. */
static bool add_attn(struct lay *l, const struct launch *from)
{
    const int32_t shared = (int32_t)l->p->d->info.shared;
    const struct attn_kern k = cuda_attn_persist(from->args, shared / 3, shared / 2);
    struct persist_work *w;
    struct attn_run_args *a;

    if (!k.k)
        return refuse(l, "heads are too wide");
    l->place++;
    w = add(l, PERSIST_ATTN, from, 0);
    w->how = (int32_t)(k.k - kern_attn_few);
    a = &w->a.attn;
    a->at = k.at;
    a->to = NULL; // matrices pack
    a->halves = NULL;
    a->n_split = a->n_split < l->units / w->n_y ? a->n_split : l->units / w->n_y;
    a->n_split = a->n_split > 1 ? a->n_split : 1;
    w->n_z = a->n_split;
    return deal(l, k.shared);
}

/* Kernels that are done as they are, by a block in place of each of theirs. */
static bool add_other(struct lay *l, const struct launch *from)
{
    const struct {
        const struct rt_kern *k;
        int kind, how;
    } known[] = {{&kern_norm, PERSIST_NORM, (int)from->block},
                 {&kern_rope_run, PERSIST_TURN, 0},
                 {&kern_store, PERSIST_STORE, 0},
                 {&kern_heads, PERSIST_HEAD, 0},
                 {&kern_map, PERSIST_MAP, 0}};

    if (cuda_is_attn(from->k))
        return add_attn(l, from);
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (from->k == known[i].k) {
            l->place++;
            add(l, known[i].kind, from, 0)->how = known[i].how;
            return deal(l, known[i].kind == PERSIST_HEAD ? PERSIST_HEADS : from->shared);
        }
    return refuse(l, "it is not known there");
}

static bool add_launch(struct lay *l, const struct launch *from)
{
    const int table = fmt_of(from->k, true), matrix = fmt_of(from->k, false);

    if (from->rows != ROWS_T && from->rows != ROWS_S && from->rows != ROWS_1 &&
        from->rows != SPANS)
        return refuse(l, "rows of another kind");
    if (from->k == &kern_rope_table || from->k == &kern_pack)
        return true;
    if (matrix >= 0)
        return add_matrix(l, from, matrix);
    if (table >= 0) {
        l->place += l->n > 0 && l->w[l->n - 1].kind != PERSIST_ANGLES;
        add(l, PERSIST_FETCH, from, 1)->fmt = table;
        return true;
    }
    return add_other(l, from);
}

static bool lay_list(struct lay *l)
{
    const struct cuda_seg *g = l->p->g;

    for (int i = 0; i < g->n; i++)
        if ((g->l[i].when >> ONE_ROW & 1) && g->l[i].k == &kern_rope_table)
            add(l, PERSIST_ANGLES, &g->l[i], 1);
    for (int i = 0; i < g->n; i++)
        if ((g->l[i].when >> ONE_ROW & 1) || g->l[i].k == &kern_heads) { // behind a matrix, or so
            l->record = g->l[i].record;
            if (!add_launch(l, &g->l[i]))
                return false;
        }
    l->record = 0;
    if (g->choose && l->n > 0) {
        const uint32_t parts = cuda_draw_parts(l->p->d, g->choose, 1);

        l->place++;
        add(l, PERSIST_DRAW, &(struct launch){.grid_y = parts, .grid_z = 1}, (int)parts);
        wish_room(l, PERSIST_DRAWS);
    }
    for (int i = 0; i < l->n; i++) {
        l->w[i].wait = l->w[i].raise - 1;
        l->w[i].want = l->w[i].wait < 0 ? 0 : l->parts[l->w[i].wait];
    }
    return true;
}

/* -- the launch -- */

static bool lay_launch(struct lay *l)
{
    struct prep *p = l->p;
    const uint64_t bytes = (uint64_t)l->n * sizeof *l->w, counts = (uint64_t)(l->place + 1) * 4;
    struct persist_args *a;
    uint32_t left;

    l->input = (l->input + 15) / 16 * 16;
    wish_room(l, l->input + PERSIST_SUMS);
    left = persist_head_bytes() + l->room;
    left = left < p->d->info.shared ? p->d->info.shared - left : 0;
    if (!l->stage || left / (PERSIST_WARPS * l->stage) < 2)
        return refuse(l, "shared memory is too small");
    p->g->persist = mem_new(sizeof *p->g->persist, p->e);
    if (!p->g->persist) {
        p->rc = E_NOMEM;
        return false;
    }
    a = &p->g->persist->args;
    *a = (struct persist_args){.n = l->n,
                               .stages = (int32_t)(left / (PERSIST_WARPS * l->stage)),
                               .stage = (int32_t)l->stage,
                               .input = (int32_t)l->input,
                               .room = (int32_t)l->room};
    a->stages = a->stages < PERSIST_STAGES ? a->stages : PERSIST_STAGES;
    a->matrix = l->n;
    for (int i = l->n - 1; i >= 0; i--)
        if (l->w[i].kind == PERSIST_MATRIX) {
            l->w[i].next = a->matrix;
            a->matrix = i;
        }
    void *work = cuda_prep_mem(p, bytes);
    a->work = work;
    a->count = cuda_prep_mem(p, counts + 12);
    a->step = a->count + l->place + 1;
    a->draws.recent = cuda_prep_mem(p, (PERSIST_STEPS + 1) * sizeof *a->draws.recent);
    if (p->rc == 0 && (rt_copy(p->d->rt, work, l->w, bytes) < 0 ||
                       rt_zero(p->d->rt, a->count, counts + 12) < 0 || rt_sync(p->d->rt) < 0))
        p->rc = err_set(p->e, E_DEVICE, "cuda: %s", rt_error());
    p->g->persist->launch =
        (struct rt_launch){.k = &kern_persist,
                           .grid = {(uint32_t)l->units, 1, 1},
                           .block = PERSIST_THREADS,
                           .shared = persist_head_bytes() + l->room +
                                     (uint32_t)(PERSIST_WARPS * a->stages) * l->stage};
    p->s->in_a_row = p->rc == 0 && p->g->choose ? PERSIST_STEPS : 0;
    return p->rc == 0;
}

void cuda_persist_lay(struct prep *p)
{
    const uint64_t n = (uint64_t)p->g->n + 1;
    struct lay l = {.p = p, .units = p->d->info.units};

    p->s->in_a_row = 0;
    if (!p->d->persist || p->rc)
        return;
    l.w = mem_array(n, sizeof *l.w, p->e);
    l.parts = mem_array(n, sizeof *l.parts, p->e);
    if (!l.w || !l.parts)
        p->rc = E_NOMEM;
    else if (p->d->info.sm < 90)
        l.why = "it needs compute capability 9.0";
    else if (lay_list(&l) && l.n > 0)
        lay_launch(&l);
    if (l.why)
        snprintf(p->g->note, sizeof p->g->note, "%.80s (not in one launch: %.50s)",
                 p->s->kernel[l.record], l.why);
    else if (p->g->persist)
        snprintf(p->g->note, sizeof p->g->note, "%.80s (a row's step is one launch of %d parts)",
                 p->s->kernel[l.record], l.n);
    if (p->g->note[0])
        p->s->kernel[l.record] = p->g->note;
    mem_free(l.parts);
    mem_free(l.w);
}

int cuda_persist_run(struct dev *d, const struct cuda_seg *g, const struct persist_draws *draws)
{
    struct persist_args a = g->persist->args;
    struct rt_launch l = g->persist->launch;

    if (draws) {
        int32_t *recent = a.draws.recent;

        a.draws = *draws;
        a.draws.s = g->step;
        a.draws.recent = recent;
    }
    l.args = &a;
    return rt_launch(d->rt, &l);
}
