/* place.c - see place.h. */
#include "plan/place.h"

#include <string.h>

#include "base/mem.h"

/* -- records -- */

static int32_t layers_of(const struct plan *p)
{
    int32_t n = 0;

    for (int32_t i = 0; i < p->n_op; i++)
        if (p->op[i].layer >= n)
            n = p->op[i].layer + 1;
    return n ? n : 1;
}

/* The first layer behind each device's. */
static int deal_layers(const struct place_rule *r, int32_t n_layer, int32_t *end, struct err *e)
{
    int32_t left = n_layer, open = 0, at = 0;

    for (int i = 0; i < r->n; i++)
        if (r->layers[i] < 0)
            open++;
        else
            left -= r->layers[i] < left ? r->layers[i] : left;
    if (left && !open)
        return err_set(e, E_RANGE, "%d of %d layers are on no device", left, n_layer);
    for (int i = 0; i < r->n; i++) {
        int32_t n = r->layers[i];

        if (n < 0) {
            n = (left + open - 1) / open;
            left -= n;
            open--;
        }
        at = n < n_layer - at ? at + n : n_layer;
        end[i] = at;
    }
    return 0;
}

static uint8_t device_of_layer(const struct place_rule *r, const int32_t *end, int32_t layer)
{
    int i = 0;

    while (i + 1 < r->n && layer >= end[i])
        i++;
    return (uint8_t)i;
}

/* Where keys and values of layer kv are stored; -1: no record does. */
static int store_of(const struct plan *p, const uint8_t *device, int32_t kv)
{
    for (int32_t i = 0; i < p->n_op; i++)
        if (p->op[i].kind == OP_kv_store && p->op[i].a.attn.kv == kv)
            return device[i];
    return -1;
}

int place_records(const struct plan *p, const struct place_rule *r, uint8_t *device, struct err *e)
{
    const int32_t n_layer = layers_of(p);
    int32_t end[PLACE_MAX] = {0};
    bool inside = false;
    int rc = deal_layers(r, n_layer, end, e);

    for (int32_t i = 0; i < p->n_op && rc == 0; i++) {
        const struct op *op = &p->op[i];

        /* records outside the layers: before them with the first, behind them with the last */
        inside = inside || op->layer >= 0;
        device[i] = device_of_layer(r, end, op->layer >= 0 ? op->layer : inside ? n_layer - 1 : 0);
        if (r->experts >= 0 && (op->kind == OP_moe_glu || op->kind == OP_moe_down))
            device[i] = (uint8_t)r->experts;
    }
    for (int32_t i = 0; i < p->n_op && rc == 0; i++)
        if (p->op[i].kind == OP_attn && store_of(p, device, p->op[i].a.attn.kv) >= 0)
            device[i] = (uint8_t)store_of(p, device, p->op[i].a.attn.kv);
    return rc;
}

/* -- runs and moves -- */

static bool reads(const struct op *op, int32_t v)
{
    for (size_t k = 0; k < ARRAY_LEN(op->in); k++)
        if (op->in[k].v == v)
            return true;
    return false;
}

struct walk {
    struct placing *to;
    uint8_t *valid; // [n_value] a bit for each device that has it as it is
    uint8_t device;
};

/* A value that is read, or written in part, must be here as the records before left it. */
static void need(struct walk *w, int32_t v)
{
    const uint8_t here = (uint8_t)(1u << w->device);
    struct placing *p = w->to;

    if (!w->valid[v] || w->valid[v] & here)
        return;
    p->move[p->n_move++] = (struct place_move){v, (uint8_t)__builtin_ctz(w->valid[v]), w->device};
    w->valid[v] |= here;
}

static void walk_record(struct walk *w, const struct plan *p, const struct op *op)
{
    for (size_t k = 0; k < ARRAY_LEN(op->in); k++)
        if (op->in[k].v >= 0)
            need(w, op->in[k].v);
    for (size_t k = 0; k < ARRAY_LEN(op->out); k++) {
        const struct ref o = op->out[k];

        if (o.v < 0)
            continue;
        if (o.cols < p->value[o.v].cols || reads(op, o.v))
            need(w, o.v);
        w->valid[o.v] = (uint8_t)(1u << w->device);
    }
}

int place_segment(struct placing **out, const struct plan *p, const uint8_t *device, int32_t from,
                  int32_t to, struct err *e)
{
    struct placing *s = mem_new(sizeof *s, e);
    struct walk w = {.to = s};
    const uint64_t n = (uint64_t)(to - from);

    *out = s;
    if (!s)
        return E_NOMEM;
    s->run = mem_array(n, sizeof *s->run, e);
    s->move = mem_array(n, sizeof *s->move * (ARRAY_LEN(p->op->in) + ARRAY_LEN(p->op->out)), e);
    s->owner = mem_array((uint64_t)p->n_value, 1, e);
    w.valid = mem_array((uint64_t)p->n_value, 1, e);
    if (!s->run || !s->move || !s->owner || !w.valid) {
        mem_free(w.valid);
        placing_free(s);
        *out = NULL;
        return E_NOMEM;
    }
    for (int32_t i = from; i < to; i++) {
        struct place_run *r = s->n_run ? &s->run[s->n_run - 1] : NULL;

        if (!r || r->device != device[i]) {
            r = &s->run[s->n_run++];
            *r = (struct place_run){.from = i, .move = s->n_move, .device = device[i]};
        }
        w.device = device[i];
        walk_record(&w, p, &p->op[i]);
        r->to = i + 1;
        r->n_move = s->n_move - r->move;
    }
    for (int32_t v = 0; v < p->n_value; v++)
        s->owner[v] = w.valid[v] ? (uint8_t)__builtin_ctz(w.valid[v]) : 0;
    mem_free(w.valid);
    return 0;
}

void placing_free(struct placing *p)
{
    if (!p)
        return;
    mem_free(p->run);
    mem_free(p->move);
    mem_free(p->owner);
    mem_free(p);
}

/* -- pages -- */

uint64_t place_kib(uint64_t kib, uint32_t share)
{
    return kib * share / PLACE_WHOLE;
}

static uint64_t layer_bytes(const struct plan *p, const struct kv_layer *l)
{
    const uint64_t k = plan_kv_row(p->kv_type_k, l->dk);
    const uint64_t v = l->dv ? plan_kv_row(p->kv_type_v, l->dv) : 0;

    return KV_PAGE * (uint64_t)l->n_kv * (k + v);
}

/* KiB that a device's layers of group g (-1: of all) take in a page. */
static uint64_t kib_of(const struct plan *p, const uint8_t *device, int32_t g, int mine)
{
    uint64_t n = 0;

    for (int32_t i = 0; i < p->n_kv; i++)
        if ((g < 0 || p->kv[i].group == g) && store_of(p, device, i) == mine)
            n += layer_bytes(p, &p->kv[i]);
    return (n + 1023) / 1024;
}

int place_pages(struct plan *p, const uint8_t *device, int n, uint32_t *share, struct err *e)
{
    uint64_t all = 0, of[PLACE_MAX] = {0};

    for (int d = 0; d < n; d++)
        all += of[d] = kib_of(p, device, -1, d);
    for (int d = 0; d < n; d++) {
        share[d] =
            of[d] == all ? PLACE_WHOLE : (uint32_t)(of[d] * (PLACE_WHOLE - (uint32_t)n) / all);
        if (of[d] && !share[d])
            share[d] = 1;
        if (!all)
            share[d] = 0;
    }
    for (int32_t g = 0; g < p->n_group; g++) {
        uint64_t kib = p->group[g].bytes / 1024;

        for (int d = 0; d < n; d++) {
            const uint64_t mine = kib_of(p, device, g, d);
            const uint64_t page = share[d] ? (mine * PLACE_WHOLE + share[d] - 1) / share[d] : 0;

            kib = page > kib ? page : kib;
        }
        if (kib > UINT32_MAX / 1024)
            return err_set(e, E_UNSUPPORTED, "a key/value page of more than 4 GiB");
        p->group[g].bytes = (uint32_t)kib * 1024;
    }
    return 0;
}

void place_layers(const struct plan *p, const uint8_t *device, int mine, struct kv_layer *kv)
{
    for (int32_t g = 0; g < p->n_group; g++) {
        uint64_t at = 0;

        for (int32_t i = 0; i < p->n_kv; i++)
            if (p->kv[i].group == g && store_of(p, device, i) == mine) {
                kv[i].at = (uint32_t)at;
                at += layer_bytes(p, &p->kv[i]);
            }
    }
}
