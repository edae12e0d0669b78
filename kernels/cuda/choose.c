/* choose.c - draws on the device: their numbers go there with the launch, lists of edits and masks
 * through pinned memory, and the device writes the ids there. Two blocks of that take turns, so
 * that a step can be started before the ids of the one in front of it are looked at. Steps of one
 * row draw in the launch that makes them (persist.cu), which writes ids one by one. */
#include <string.h>

#include "base/mem.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/persist.h"

enum { EDITS = 1 << 15, MASKS = 64 }; // of a step
enum { NOT_YET = INT32_MAX };         // an id that the device has not written

/* Places in a block: edits, masks, and the host's has ids behind them, and a word by which the host
 * says that it wants no more. */
struct cuda_choose {
    int rows;
    int32_t n_vocab, n_word;
    uint64_t mask_at, id_at, enough_at, bytes;
    struct {
        uint8_t *dev, *host;
    } block[CUDA_DRAWS];
    struct draw_row *row; // [rows or PERSIST_STEPS]
    float *work;          // [DRAW_ROWS or rows][n_word * 32]
    struct draw_part *part;
    int32_t *ticket; // [DRAW_ROWS]
};

static bool writes_logits(const struct segment *s)
{
    for (int32_t i = s->from; i < s->to; i++)
        for (size_t k = 0; k < ARRAY_LEN(s->plan->op[i].out); k++)
            if (s->plan->logits >= 0 && s->plan->op[i].out[k].v == s->plan->logits)
                return true;
    return false;
}

bool cuda_choose_lay(struct prep *p)
{
    const struct plan *pl = p->p;
    struct cuda_choose *c;

    if (!writes_logits(p->s) || pl->encoder)
        return true;
    p->g->choose = c = mem_new(sizeof *c, p->e);
    if (!c) {
        p->rc = p->rc ? p->rc : E_NOMEM;
        return false;
    }
    c->rows = p->s->max_s;
    c->n_vocab = pl->value[pl->logits].cols;
    c->n_word = (c->n_vocab + 31) / 32;
    const uint64_t some = (uint64_t)(c->rows < DRAW_ROWS ? c->rows : DRAW_ROWS);
    const uint64_t most = (uint64_t)(c->rows > PERSIST_STEPS ? c->rows : PERSIST_STEPS);
    c->mask_at = EDITS * sizeof(struct draw_edit);
    c->id_at = c->mask_at + MASKS * (uint64_t)c->n_word * 4;
    c->enough_at = c->id_at + most * 4;
    c->bytes = c->enough_at + 4;
    for (int i = 0; i < CUDA_DRAWS; i++) {
        c->block[i].dev = cuda_prep_mem(p, c->id_at);
        c->block[i].host = rt_alloc_host(p->d->rt, c->bytes);
        if (!c->block[i].host && p->rc == 0)
            p->rc = err_set(p->e, E_DEVICE, "cuda: no pinned memory for draws");
    }
    c->row = mem_array(most, sizeof *c->row, p->e);
    if (!c->row)
        p->rc = p->rc ? p->rc : E_NOMEM;
    c->work = cuda_prep_mem(p, some * (uint64_t)c->n_word * 32 * sizeof *c->work);
    c->part = cuda_prep_mem(p, some * DRAW_PARTS * sizeof *c->part);
    c->ticket = cuda_prep_mem(p, DRAW_ROWS * sizeof *c->ticket);
    if (p->rc == 0 && rt_zero(p->d->rt, c->ticket, DRAW_ROWS * sizeof *c->ticket) < 0)
        p->rc = err_set(p->e, E_DEVICE, "cuda: %s", rt_error());
    return p->rc == 0;
}

void cuda_choose_free(struct dev *d, struct cuda_choose *c)
{
    for (int i = 0; c && i < CUDA_DRAWS; i++)
        if (c->block[i].host)
            rt_free_host(d->rt, c->block[i].host);
    if (c)
        mem_free(c->row);
    mem_free(c);
}

/* How much of a block is in use. */
struct used {
    int edits, masks;
};

static void put(const struct cuda_choose *c, uint8_t *block, int i, const struct draw *in,
                struct used *u)
{
    struct draw_row *r = &c->row[i];
    const int32_t words = (in->n_mask + 31) / 32;
    const bool here =
        in->row >= 0 && in->n_edit <= EDITS - u->edits && (!in->mask || u->masks < MASKS);

    *r = (struct draw_row){.row = here ? in->row : -1,
                           .slot = in->slot,
                           .edit = u->edits,
                           .n_edit = in->n_edit,
                           .mask = u->masks,
                           .n_mask = in->mask ? in->n_mask : -1,
                           .late = in->late,
                           .rule = in->rule};
    if (!here)
        return;
    if (in->n_edit)
        memcpy(block + (uint64_t)u->edits * sizeof *in->edit, in->edit,
               (size_t)in->n_edit * sizeof *in->edit);
    u->edits += in->n_edit;
    if (in->mask)
        memcpy(block + c->mask_at + (uint64_t)u->masks++ * (uint64_t)c->n_word * 4, in->mask,
               (size_t)(words < c->n_word ? words : c->n_word) * 4);
}

/* Blocks for each of n rows: all of them find a place at once. */
uint32_t cuda_draw_parts(const struct dev *d, const struct cuda_choose *c, int n)
{
    const int most = d->info.units / n < DRAW_PARTS ? d->info.units / n : DRAW_PARTS;

    return (uint32_t)(most < 1 ? 1 : most < c->n_word ? most : c->n_word);
}

static int32_t *ids_of(const struct cuda_choose *c, int turn)
{
    return (int32_t *)(void *)(c->block[turn].host + c->id_at);
}

static int32_t *enough_of(const struct cuda_choose *c, int turn)
{
    return (int32_t *)(void *)(c->block[turn].host + c->enough_at);
}

/* Draws 0 to n of the step are put into a block and go over; n may be drawn from it. */
static int send(struct dev *d, struct segment *s, int turn, const struct draw *in, int n,
                struct draw_from *out)
{
    const struct cuda_choose *c = ((const struct cuda_seg *)s->impl)->choose;
    uint8_t *dev = c->block[turn].dev, *host = c->block[turn].host;
    struct used u = {0, 0};

    if (rt_reached(d->rt, MARK_DRAW + turn) < 0)
        return -1;
    for (int i = 0; i < n; i++)
        put(c, host, i, &in[i], &u);
    const uint64_t part[2][2] = {{0, (uint64_t)u.edits * sizeof(struct draw_edit)},
                                 {c->mask_at, (uint64_t)u.masks * (uint64_t)c->n_word * 4}};
    for (size_t i = 0; i < ARRAY_LEN(part); i++)
        if (part[i][1] && rt_copy(d->rt, dev + part[i][0], host + part[i][0], part[i][1]) < 0)
            return -1;
    *out = (struct draw_from){
        .logits = (const float *)((const uint8_t *)s->arena.p + s->at[s->plan->logits]),
        .ld = c->n_vocab,
        .edit = (const struct draw_edit *)(void *)dev,
        .mask = (const uint32_t *)(void *)(dev + c->mask_at),
        .work = c->work,
        .part = c->part,
        .ticket = c->ticket,
        .out = ids_of(c, turn),
        .last = d->last,
        .n_vocab = c->n_vocab,
        .n_word = c->n_word};
    return 0;
}

/* Draws of the run before this are under way. */
static int sent(struct dev *d, int turn)
{
    if (rt_mark(d->rt, MARK_DRAW + turn) < 0)
        return E_DEVICE;
    d->run_of[turn] = d->ticket - 1;
    return (int)(d->draws++ & 0x3fffffff);
}

int cuda_draw(struct dev *d, struct segment *s, const struct draw *in, int n)
{
    const struct cuda_choose *c = s->impl ? ((const struct cuda_seg *)s->impl)->choose : NULL;
    const int turn = (int)(d->draws % CUDA_DRAWS);
    struct draw_args a;

    if (!c || n > c->rows)
        return E_RANGE;
    for (int i = 0; i < n; i++)
        if (in[i].row >= s->max_s || in[i].slot < 0 || in[i].slot >= CUDA_SLOTS || in[i].late > 1)
            return E_RANGE;
    if (send(d, s, turn, in, n, &a.from) < 0)
        return E_DEVICE;
    for (int i = 0; i < n; i += DRAW_ROWS, a.from.out += DRAW_ROWS) {
        const int k = n - i < DRAW_ROWS ? n - i : DRAW_ROWS;
        const struct rt_launch l = {
            &kern_draw, {(uint32_t)k, cuda_draw_parts(d, c, k), 1}, DRAW_THREADS, DRAW_SHARED, &a};

        memcpy(a.row, c->row + i, (size_t)k * sizeof *a.row);
        if (rt_launch(d->rt, &l) < 0)
            return E_DEVICE;
    }
    /* the step ends here, not where its logits were made */
    if (rt_mark(d->rt, MARK_RUN + (int)((d->ticket - 1) % CUDA_RUNS)) < 0)
        return E_DEVICE;
    return sent(d, turn);
}

int cuda_drawn(struct dev *d, struct segment *s, int ticket, int32_t *id, int n)
{
    const struct cuda_choose *c = ((const struct cuda_seg *)s->impl)->choose;
    const int turn = ticket % CUDA_DRAWS;

    if (rt_reached(d->rt, MARK_DRAW + turn) < 0)
        return E_DEVICE;
    cuda_gap(d, d->run_of[turn]);
    memcpy(id, ids_of(c, turn), (size_t)n * sizeof *id);
    return 0;
}

/* -- steps of one row -- */

static bool steps_good(const struct segment *s, const struct batch *b, const struct draw *in, int n)
{
    if (n < 1 || n > s->in_a_row || b->n_p + b->n_g != 1 || b->n_out != 1 || b->see || b->rpos ||
        b->embd || b->pos[0] > s->kv.max_page * KV_PAGE - n)
        return false;
    for (int i = 0; i < n; i++)
        if (in[i].row > 0 || in[i].slot < 0 || in[i].slot >= CUDA_SLOTS ||
            in[i].slot != in[0].slot || in[i].late < 0 || in[i].late > i + 1)
            return false;
    return true;
}

int cuda_steps(struct dev *d, struct segment *s, const struct batch *b, const struct draw *in,
               int n)
{
    const struct cuda_choose *c = s->impl ? ((const struct cuda_seg *)s->impl)->choose : NULL;
    const int turn = (int)(d->draws % CUDA_DRAWS);
    struct persist_draws k = {.n = n};
    int rc;

    if (!c || !steps_good(s, b, in, n))
        return E_RANGE;
    if (send(d, s, turn, in, n, &k.from) < 0)
        return E_DEVICE;
    memcpy(k.row, c->row, (size_t)n * sizeof *k.row);
    k.enough = enough_of(c, turn);
    *enough_of(c, turn) = 0;
    for (int i = 0; i < n; i++)
        ids_of(c, turn)[i] = NOT_YET;
    rc = cuda_run_with(d, s, b, &k);
    return rc < 0 ? rc : sent(d, turn);
}

int cuda_step(struct dev *d, struct segment *s, int ticket, int i, int32_t *id)
{
    const struct cuda_choose *c = ((const struct cuda_seg *)s->impl)->choose;
    const int turn = ticket % CUDA_DRAWS;

    if (rt_watch(d->rt, ids_of(c, turn) + i, NOT_YET, MARK_DRAW + turn, id) < 0)
        return E_DEVICE;
    if (i == 0)
        cuda_gap(d, d->run_of[turn]);
    return 0;
}

void cuda_enough(struct dev *d, struct segment *s, int ticket)
{
    const struct cuda_choose *c = ((const struct cuda_seg *)s->impl)->choose;

    if (((d->draws - 1 - (uint32_t)ticket) & 0x3fffffff) < CUDA_DRAWS)
        *(volatile int32_t *)enough_of(c, ticket % CUDA_DRAWS) = 1;
}
