/* devdraw.c - see devdraw.h. */
#include "engine/devdraw.h"

#include "base/mem.h"
#include "engine/step.h"

enum { EDITS = 1 << 15, MASKS = 64 }; // of a step

/* What a step asked for. */
struct asked {
    int32_t *row; // [n] of its logits
    int n, n_row, ticket;
    struct segment *seg;
};

struct devdraw {
    struct draw *in; // [n]
    int32_t *got;    // [n]
    int32_t *id;     // [max_out] by row of the step
    struct draw_edit *edit;
    uint32_t *mask;  // [MASKS][n_word]
    uint32_t n_word; // as many as all tokens need
    int n, n_edit, n_mask;
    struct asked of[2]; // by the engine's turn
};

void devdraw_close(struct devdraw *f)
{
    if (!f)
        return;
    mem_free(f->in);
    mem_free(f->got);
    mem_free(f->id);
    mem_free(f->edit);
    mem_free(f->mask);
    for (int i = 0; i < 2; i++)
        mem_free(f->of[i].row);
    mem_free(f);
}

int devdraw_open(struct devdraw **out, const struct rill_engine *g, struct err *e)
{
    const uint64_t n = (uint64_t)g->seg.max_s;
    struct devdraw *f;

    if (!g->be->draw || g->plan->encoder)
        return 0;
    *out = f = mem_new(sizeof *f, e);
    if (!f)
        return E_NOMEM;
    f->n_word = ((uint32_t)g->lim.n_vocab + 31) / 32;
    f->in = mem_array(n, sizeof *f->in, e);
    f->got = mem_array(n, sizeof *f->got, e);
    f->id = mem_array(n, sizeof *f->id, e);
    f->edit = mem_array(EDITS, sizeof *f->edit, e);
    f->mask = mem_array((uint64_t)MASKS * f->n_word, sizeof *f->mask, e);
    for (int i = 0; i < 2; i++)
        f->of[i].row = mem_array(n, sizeof *f->of[i].row, e);
    return f->in && f->got && f->id && f->edit && f->mask && f->of[0].row && f->of[1].row ? 0
                                                                                          : E_NOMEM;
}

/* Answers to the same prompt draw from the first one's row. */
static bool has_others(const struct rill_engine *g, const struct request *first)
{
    for (int i = 0; i < g->n_req; i++)
        if (g->req[i] != first && g->req[i]->number == first->number)
            return true;
    return false;
}

static bool wanted_here(const struct rill_engine *g, const struct request *r)
{
    return r->logits || r->logprobs || (r->steer && g->steer) ||
           (r->n == r->n_prompt && r->choice == 0 && has_others(g, r)) ||
           (r->obey && g->vocab->n_word > g->devdraw->n_word);
}

/* What r draws for position n from row `out`; false: on the host. */
static bool ask(struct rill_engine *g, const struct request *r, int n, int out)
{
    struct devdraw *f = g->devdraw;
    struct sampler_in in = step_sampler(g, r, NULL, n);
    struct draw *d = &f->in[f->n];

    in.n_late = n - r->n; // this step was started ahead

    if (wanted_here(g, r))
        return false;
    if (r->obey) {
        uint32_t *mask = f->mask + (uint64_t)f->n_mask * f->n_word;

        if (f->n_mask == MASKS || obey_mask(r->obey, r->place, mask, NULL) < 0)
            return false;
        in.mask = mask;
        in.n_mask = (int)g->vocab->n;
        f->n_mask++;
    }
    if (!sampler_as_draw(&g->work, &in, d, f->edit + f->n_edit, EDITS - f->n_edit))
        return false;
    d->row = out;
    d->slot = r->seq;
    f->n_edit += d->n_edit;
    f->n++;
    return true;
}

bool devdraw_alone(const struct rill_engine *g, const struct request *r)
{
    return !wanted_here(g, r) && !r->obey && !r->host_draws;
}

bool devdraw_plan(struct rill_engine *g)
{
    const struct flight *now = step_flight(g);
    struct devdraw *f = g->devdraw;
    bool all = true;
    int out = 0;

    if (!f)
        return false;
    f->n = f->n_edit = f->n_mask = 0;
    for (int i = 0; i < now->n_part; i++) { // rows as engine.c's collect() counts them
        const struct flown *part = &now->part[i];
        const struct request *r = part->r;

        if (r->embed)
            continue;
        if (r->s.outputs > 0) {
            all = false;
            out += part->rows;
        } else if (part->pos + part->rows >= r->n) {
            all = ask(g, r, part->pos + part->rows, out) && all;
            out++;
        }
    }
    f->of[g->turn].n_row = out;
    return all;
}

int devdraw_start(struct rill_engine *g, struct err *e)
{
    struct devdraw *f = g->devdraw;
    struct asked *a = f ? &f->of[g->turn] : NULL;

    if (!f)
        return 0;
    a->n = f->n;
    a->seg = g->now;
    for (int i = 0; i < f->n; i++)
        a->row[i] = f->in[i].row;
    a->ticket = f->n ? g->be->draw(g->dev, g->now, f->in, f->n) : 0;
    if (a->ticket < 0)
        return err_set(e, E_DEVICE, "the device failed to draw %d tokens", f->n);
    return 0;
}

int devdraw_finish(struct rill_engine *g, bool *left, struct err *e)
{
    struct devdraw *f = g->devdraw;
    const struct asked *a = f ? &f->of[g->turn] : NULL;

    *left = false;
    if (!f)
        return 0;
    for (int i = 0; i < a->n_row; i++)
        f->id[i] = DRAW_HOST;
    if (a->n && g->be->drawn(g->dev, a->seg, a->ticket, f->got, a->n) < 0)
        return err_set(e, E_DEVICE, "the device failed to draw %d tokens", a->n);
    for (int i = 0; i < a->n; i++) {
        f->id[a->row[i]] = f->got[i];
        *left = *left || f->got[i] == DRAW_HOST;
        g->stats.device_drawn += f->got[i] != DRAW_HOST;
    }
    return 0;
}

int32_t devdraw_id(const struct rill_engine *g, int out)
{
    return g->devdraw && out < g->devdraw->of[g->turn].n_row ? g->devdraw->id[out] : DRAW_HOST;
}
