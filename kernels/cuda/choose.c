/* choose.c - draws on the device: their numbers go there in one pinned block, the ids come back. */
#include <string.h>

#include "base/mem.h"
#include "kernels/cuda/cuda.h"

enum { ROWS = 64, EDITS = 1 << 15 }; // of one launch

/* Places in the block: draws, edits, masks, ids. */
struct cuda_choose {
    int rows;
    int32_t n_vocab, n_word;
    uint64_t edit_at, mask_at, id_at, bytes;
    uint8_t *dev, *host;
    float *work;
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
    c->rows = p->s->max_s < ROWS ? p->s->max_s : ROWS;
    c->n_vocab = pl->value[pl->logits].cols;
    c->n_word = (c->n_vocab + 31) / 32;
    c->edit_at = (uint64_t)c->rows * sizeof(struct draw_row);
    c->mask_at = c->edit_at + EDITS * sizeof(struct draw_edit);
    c->id_at = c->mask_at + (uint64_t)c->rows * (uint64_t)c->n_word * 4;
    c->bytes = c->id_at + (uint64_t)c->rows * 4;
    c->dev = cuda_prep_mem(p, c->bytes);
    c->work = cuda_prep_mem(p, (uint64_t)c->rows * (uint64_t)c->n_vocab * sizeof *c->work);
    c->host = rt_alloc_host(p->d->rt, c->bytes);
    if (!c->host && p->rc == 0)
        p->rc = err_set(p->e, E_DEVICE, "cuda: no pinned memory for draws");
    return p->rc == 0;
}

void cuda_choose_free(struct dev *d, struct cuda_choose *c)
{
    if (c && c->host)
        rt_free_host(d->rt, c->host);
    mem_free(c);
}

static void put(const struct cuda_choose *c, int i, int edit, const struct draw *in)
{
    struct draw_row *r = (struct draw_row *)(void *)c->host + i;
    const int32_t words = (in->n_mask + 31) / 32;

    *r = (struct draw_row){.row = in->row,
                           .edit = edit,
                           .n_edit = in->n_edit,
                           .n_mask = in->mask ? in->n_mask : -1,
                           .repetition = in->repetition,
                           .presence = in->presence,
                           .frequency = in->frequency,
                           .temperature = in->temperature,
                           .top_p = in->top_p,
                           .least = in->least,
                           .top_k = in->top_k,
                           .has_min = in->has_min,
                           .u = in->u};
    if (in->n_edit)
        memcpy(c->host + c->edit_at + (uint64_t)edit * sizeof *in->edit, in->edit,
               (size_t)in->n_edit * sizeof *in->edit);
    if (in->mask)
        memcpy(c->host + c->mask_at + (uint64_t)i * (uint64_t)c->n_word * 4, in->mask,
               (size_t)(words < c->n_word ? words : c->n_word) * 4);
}

static int copy_part(const struct dev *d, const struct cuda_choose *c, uint64_t at, uint64_t n)
{
    return n ? rt_copy(d->rt, c->dev + at, c->host + at, n) : 0;
}

/* One launch for draws that were put. */
static int launch(struct dev *d, const struct segment *s, int n, int n_edit, bool masks,
                  int32_t *id)
{
    const struct cuda_choose *c = ((const struct cuda_seg *)s->impl)->choose;
    const struct draw_args a = {
        .logits = (const float *)((const uint8_t *)s->arena.p + s->at[s->plan->logits]),
        .ld = c->n_vocab,
        .row = (const struct draw_row *)(void *)c->dev,
        .edit = (const struct draw_edit *)(void *)(c->dev + c->edit_at),
        .mask = (const uint32_t *)(void *)(c->dev + c->mask_at),
        .work = c->work,
        .out = (int32_t *)(void *)(c->dev + c->id_at),
        .n_vocab = c->n_vocab,
        .n_word = c->n_word};
    const struct rt_launch l = {&kern_draw, {(uint32_t)n, 1, 1}, DRAW_THREADS, DRAW_SHARED, &a};

    if (copy_part(d, c, 0, (uint64_t)n * sizeof(struct draw_row)) < 0 ||
        copy_part(d, c, c->edit_at, (uint64_t)n_edit * sizeof(struct draw_edit)) < 0 ||
        copy_part(d, c, c->mask_at, masks ? (uint64_t)n * (uint64_t)c->n_word * 4 : 0) < 0 ||
        rt_launch(d->rt, &l) < 0 ||
        rt_copy(d->rt, c->host + c->id_at, c->dev + c->id_at, (uint64_t)n * 4) < 0 ||
        rt_sync(d->rt) < 0)
        return E_DEVICE;
    memcpy(id, c->host + c->id_at, (size_t)n * sizeof *id);
    return 0;
}

int cuda_draw(struct dev *d, struct segment *s, const struct draw *in, int n, int32_t *id)
{
    const struct cuda_choose *c = s->impl ? ((const struct cuda_seg *)s->impl)->choose : NULL;
    int first = 0, edits = 0, rc = 0;
    bool masks = false;

    for (int i = 0; i < n && rc == 0; i++) {
        if (!c || in[i].n_edit > EDITS || in[i].row < 0 || in[i].row >= s->max_s) {
            rc = i > first ? launch(d, s, i - first, edits, masks, id + first) : 0;
            id[i] = DRAW_HOST;
            first = i + 1;
            edits = 0, masks = false;
            continue;
        }
        if (i - first == c->rows || edits + in[i].n_edit > EDITS) {
            rc = launch(d, s, i - first, edits, masks, id + first);
            first = i;
            edits = 0, masks = false;
        }
        put(c, i - first, edits, &in[i]);
        edits += in[i].n_edit;
        masks = masks || in[i].mask;
    }
    return rc < 0 || n == first ? rc : launch(d, s, n - first, edits, masks, id + first);
}
