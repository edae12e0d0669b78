/* devdraw.c - see devdraw.h. */
#include "engine/devdraw.h"

#include "base/mem.h"
#include "engine/step.h"

enum { EDITS = 1 << 15, MASKS = 64, STEPS = 64 }; // of a step, and of those in one go

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
    const uint64_t n = (uint64_t)(g->seg.max_s > STEPS ? g->seg.max_s : STEPS);
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

    in.n_late = n - r->n; // drawn by steps in front that nobody has looked at yet

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

bool devdraw_one(const struct rill_engine *g)
{
    const struct batch *b = &g->batch;

    return g->be->steps && g->now->in_a_row > 0 && b->n_p == 0 && b->n_g == 1 && b->n_out == 1 &&
           g->devdraw->n == 1;
}

int devdraw_more(struct rill_engine *g, int n)
{
    const struct flown *part = step_flight(g)->part;
    int i = 1;

    while (i < n && i < STEPS && ask(g, part->r, part->pos + i + 1, 0))
        i++;
    return i;
}

/* Of the step, whose draws a ticket will stand for. */
static struct asked *asks(struct rill_engine *g, int n)
{
    struct devdraw *f = g->devdraw;
    struct asked *a = &f->of[g->turn];

    a->n = n;
    a->seg = g->now;
    for (int i = 0; i < n; i++)
        a->row[i] = f->in[i].row;
    return a;
}

int devdraw_steps(struct rill_engine *g, struct err *e)
{
    struct flight *now = step_flight(g);
    struct asked *a = asks(g, 1);

    a->ticket = now->ticket = g->be->steps(g->dev, g->now, &g->batch, g->devdraw->in, now->n_step);
    if (a->ticket < 0)
        return err_set(e, E_DEVICE, "the device failed in %d steps of one row", now->n_step);
    g->stats.ahead += (uint64_t)now->n_step - 1;
    return 0;
}

void devdraw_enough(struct rill_engine *g, int turn)
{
    const struct flight *now = &g->flight[turn];

    if (now->at + 1 < now->n_step)
        g->be->enough(g->dev, g->devdraw->of[turn].seg, now->ticket);
}

int devdraw_start(struct rill_engine *g, struct err *e)
{
    struct devdraw *f = g->devdraw;
    struct asked *a = f ? asks(g, f->n) : NULL;

    if (!f)
        return 0;
    a->ticket = f->n ? g->be->draw(g->dev, g->now, f->in, f->n) : 0;
    if (a->ticket < 0)
        return err_set(e, E_DEVICE, "the device failed to draw %d tokens", f->n);
    return 0;
}

int devdraw_finish(struct rill_engine *g, bool *left, struct err *e)
{
    struct flight *now = step_flight(g);
    struct devdraw *f = g->devdraw;
    const struct asked *a = f ? &f->of[g->turn] : NULL;
    int rc = 0;

    *left = false;
    if (!f)
        return 0;
    for (int i = 0; i < a->n_row; i++)
        f->id[i] = DRAW_HOST;
    if (now->n_step)
        rc = g->be->step(g->dev, a->seg, a->ticket, now->at, f->got);
    else if (a->n)
        rc = g->be->drawn(g->dev, a->seg, a->ticket, f->got, a->n);
    if (rc < 0)
        return err_set(e, E_DEVICE, "the device failed to draw %d tokens", a->n);
    for (int i = 0; i < a->n; i++) {
        f->id[a->row[i]] = f->got[i];
        *left = *left || f->got[i] == DRAW_HOST;
        g->stats.device_drawn += f->got[i] != DRAW_HOST && f->got[i] != DRAW_NONE;
        if (now->n_step && f->got[i] < 0)
            now->n_step = now->at + 1; // no step was made behind it
    }
    return 0;
}

int32_t devdraw_id(const struct rill_engine *g, int out)
{
    return g->devdraw && out < g->devdraw->of[g->turn].n_row ? g->devdraw->id[out] : DRAW_HOST;
}
