/* adapt.c - see adapt.h. */
#include "engine/adapt.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "model/control.h"
#include "model/lora.h"
#include "model/model.h"

struct adapter {
    const char *path;        // NULL: the place is free
    struct lora *file;       // either pairs for matrices
    struct control *control; // or directions for what goes from layer to layer
    struct lora_mat *mat;    // [plan.n_w]
    uint64_t serial;         // of all ever loaded: what keys and values are told apart by
    uint64_t bytes;
};

_Static_assert(RILL_LORA_MIX == LORA_MIX, "a request has as many adapters as a sequence");

struct adapters {
    struct plan *plan;
    struct segment seg;
    uint64_t *at;           // [n_value]
    struct adapter *loaded; // [max]
    struct lora_slot *slot; // [max] what the records look into
    int max;
    uint64_t next_serial;
    bool *can; // [n_w] matrices that a record follows, and that nothing else reads
};

/* -- the second plan -- */

static void find_adaptable(struct adapters *a)
{
    for (int i = 0; i < a->plan->n_op; i++)
        if (a->plan->op[i].kind == OP_lora)
            a->can[a->plan->op[i].w[0]] = true;
    for (int i = 0; i < a->plan->n_op; i++)
        if (a->plan->op[i].kind == OP_embed && a->plan->op[i].w[0] >= 0)
            a->can[a->plan->op[i].w[0]] = false; // a tied table has rows that nothing adapts
}

int adapt_open(struct adapters **out, const struct rill_engine *g, int max, struct err *e)
{
    struct adapters *a;
    int rc;

    if (!g->model->m)
        return err_set(e, E_UNSUPPORTED, "%s: has no matrices to adapt", g->model->path);
    if (max < 0 || max > RILL_LORA_MAX)
        return err_set(e, E_RANGE, "%d adapters: must be from 0 to %d", max, RILL_LORA_MAX);
    a = mem_new(sizeof *a, e);
    if (!a)
        return E_NOMEM;
    *out = a;
    a->max = max;
    rc = model_adapted_plan(g->model->m, &a->plan, e);
    if (rc < 0)
        return rc;
    a->at = mem_array((uint64_t)a->plan->n_value, sizeof *a->at, e);
    a->loaded = mem_array((uint64_t)max, sizeof *a->loaded, e);
    a->slot = mem_array((uint64_t)max, sizeof *a->slot, e);
    a->can = mem_array((uint64_t)a->plan->n_w, sizeof *a->can, e);
    if (!a->at || !a->loaded || !a->slot || !a->can)
        return E_NOMEM;
    find_adaptable(a);
    return 0;
}

static void unload(struct adapters *a, int id)
{
    lora_close(a->loaded[id].file);
    control_close(a->loaded[id].control);
    mem_free(a->loaded[id].mat);
    a->loaded[id] = (struct adapter){0};
    a->slot[id] = (struct lora_slot){0};
}

void adapt_close(struct rill_engine *g)
{
    struct adapters *a = g->adapters;

    if (!a)
        return;
    a->seg.to = a->seg.from;
    if (a->seg.impl)
        g->be->prepare(g->dev, &a->seg, NULL);
    for (int i = 0; a->loaded && a->slot && i < a->max; i++)
        unload(a, i);
    plan_free(a->plan);
    mem_free(a->at);
    mem_free(a->loaded);
    mem_free(a->slot);
    mem_free(a->can);
    mem_free(a);
    g->adapters = NULL;
}

uint64_t adapt_arena(const struct adapters *a, const struct segment *first)
{
    return plan_arena(a->plan, first->max_t, first->max_s, a->at);
}

int adapt_prepare(struct rill_engine *g, struct err *e)
{
    struct adapters *a = g->adapters;

    a->seg = (struct segment){.plan = a->plan,
                              .to = a->plan->n_op,
                              .max_t = g->seg.max_t,
                              .max_s = g->seg.max_s,
                              .arena = g->seg.arena,
                              .at = a->at,
                              .kv = g->seg.kv,
                              .lora = a->slot,
                              .n_lora = a->max};
    return g->be->prepare(g->dev, &a->seg, e);
}

struct segment *adapt_segment(struct adapters *a)
{
    return &a->seg;
}

/* -- loading -- */

/* The place of a pair's matrix among the weights; E_UNSUPPORTED when it cannot be adapted here. */
static int place(const struct adapters *a, const struct lora *file, const struct lora_pair *p,
                 struct err *e)
{
    for (int i = 0; i < a->plan->n_w; i++) {
        const struct weight *w = &a->plan->w[i];

        if (strcmp(w->name, p->name) != 0)
            continue;
        if (!a->can[i] || p->n != 1)
            break;
        if (p->rank > LORA_RANK)
            return err_set(e, E_UNSUPPORTED, "%s: '%s' has rank %lld, at most %d is possible",
                           file->path, p->name, (long long)p->rank, LORA_RANK);
        if (p->rows != w->rows || p->cols != w->cols)
            return err_set(e, E_FORMAT, "%s: '%s' is for a matrix of %lld x %lld", file->path,
                           p->name, (long long)p->rows, (long long)p->cols);
        return i;
    }
    return err_set(e, E_UNSUPPORTED,
                   "%s: '%s' cannot be adapted while the model runs: merge it with rill-convert",
                   file->path, p->name);
}

static int fill(const struct adapters *a, struct adapter *to, struct err *e)
{
    to->mat = mem_array((uint64_t)a->plan->n_w, sizeof *to->mat, e);
    if (!to->mat)
        return E_NOMEM;
    for (uint32_t i = 0; i < to->file->n_pair; i++) {
        const struct lora_pair *p = &to->file->pair[i];
        int at = place(a, to->file, p, e);

        if (at < 0)
            return at;
        to->mat[at] =
            (struct lora_mat){.a = p->a, .b = p->b, .rank = (int32_t)p->rank, .scale = p->scale};
        to->bytes += (uint64_t)p->rank * (uint64_t)(p->rows + p->cols) * sizeof(float);
    }
    return 0;
}

/* A device that keeps adapters in memory of its own takes what is there now. */
static int changed(const struct rill_engine *g, int i, struct err *e)
{
    return g->be->adapt ? g->be->adapt(g->dev, &g->adapters->seg, i, e) : 0;
}

/* Every direction has its record, which is what says whether it has an effect. */
static int check_control(const struct adapters *a, const struct control *c, struct err *e)
{
    for (int l = 0; l < c->n_layer; l++) {
        bool there = !c->dir[l];

        for (int i = 0; i < a->plan->n_op && !there; i++)
            there = a->plan->op[i].kind == OP_steer && a->plan->op[i].layer == l;
        if (!there)
            return err_set(e, E_UNSUPPORTED,
                           "%s: what layer %d of this model gives cannot be changed here", c->path,
                           l);
    }
    return 0;
}

static int load(const struct adapters *a, struct adapter *to, const char *path,
                const struct model *m, struct err *e)
{
    int rc = control_open(&to->control, path, m->h.n_layer, m->h.n_embd, e);

    if (rc < 0)
        return rc;
    if (to->control) {
        to->path = to->control->path;
        to->bytes = (uint64_t)to->control->n_dir * (uint64_t)m->h.n_embd * sizeof(float);
        return check_control(a, to->control, e);
    }
    rc = lora_open(&to->file, path, m->arch, &m->h, e);
    if (rc == 0)
        to->path = to->file->path;
    return rc < 0 ? rc : fill(a, to, e);
}

int rill_engine_lora_load(struct rill_engine *g, const char *path, int *id, struct err *e)
{
    struct adapters *a = g->adapters;
    const struct model *m = g->model->m;
    struct adapter *to;
    int i = 0, rc;

    while (a && i < a->max && a->loaded[i].path)
        i++;
    if (!a || i == a->max)
        return err_set(e, E_BUSY, "%s: no place for one more adapter (the engine has %d)", path,
                       a ? a->max : 0);
    to = &a->loaded[i];
    rc = load(a, to, path, m, e);
    if (rc < 0) {
        unload(a, i);
        return rc;
    }
    to->serial = ++a->next_serial;
    a->slot[i].mat = to->mat;
    a->slot[i].dir = to->control ? to->control->dir : NULL;
    if ((rc = changed(g, i, e)) < 0) {
        unload(a, i);
        changed(g, i, NULL);
        return rc;
    }
    *id = i;
    return 0;
}

static bool used(const struct rill_engine *g, int id)
{
    for (int i = 0; i < g->n_req; i++)
        for (int k = 0; k < g->req[i]->n_lora; k++)
            if (g->req[i]->lora[k].id == id && !g->req[i]->finish)
                return true;
    return false;
}

static bool loaded(const struct adapters *a, int id)
{
    return a && id >= 0 && id < a->max && a->loaded[id].path;
}

int rill_engine_lora_unload(struct rill_engine *g, int id, struct err *e)
{
    if (!loaded(g->adapters, id))
        return err_set(e, E_RANGE, "adapter %d is not loaded", id);
    if (used(g, id))
        return err_set(e, E_BUSY, "adapter %d is used by a request", id);
    unload(g->adapters, id);
    return changed(g, id, e);
}

int rill_engine_lora_list(const struct rill_engine *g, struct rill_lora *out, int max)
{
    const struct adapters *a = g->adapters;
    int n = 0;

    for (int i = 0; a && i < a->max; i++) {
        const struct adapter *l = &a->loaded[i];

        if (!l->path)
            continue;
        if (n < max)
            out[n] = (struct rill_lora){.id = i,
                                        .path = l->path,
                                        .n_matrix = l->file ? (int)l->file->n_pair : 0,
                                        .n_layer = l->control ? l->control->n_dir : 0,
                                        .bytes = l->bytes};
        n++;
    }
    return n;
}

/* -- requests -- */

int adapt_choose(const struct rill_engine *g, struct request *r, const struct rill_request *in,
                 struct err *e)
{
    uint32_t bits;

    if (in->n_lora < 0 || in->n_lora > LORA_MIX)
        return err_set(e, E_RANGE, "%d adapters of one request: at most %d", in->n_lora,
                       RILL_LORA_MIX);
    for (int i = 0; i < in->n_lora; i++) {
        const struct rill_lora_use *u = &in->lora[i];

        if (!loaded(g->adapters, u->id))
            return err_set(e, E_RANGE, "adapter %d is not loaded", u->id);
        if (!(fabsf(u->scale) <= 1e4f))
            return err_set(e, E_RANGE, "adapter %d: a scale of %g is out of range", u->id,
                           (double)u->scale);
        if (u->scale == 0.0f)
            continue;
        memcpy(&bits, &u->scale, sizeof bits);
        r->key = rng_bits(r->key, g->adapters->loaded[u->id].serial, bits, (uint64_t)r->n_lora + 1);
        r->lora[r->n_lora++] = *u;
    }
    return 0;
}
