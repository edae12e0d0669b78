/* split.c - see split.h.
 *
 * The records of a segment become runs, one device each (plan/place.h). Every device has values,
 * page tables and recurrent state at the same places as a single one would; of the pages each has
 * the rows of its own layers, of the weights what its records read. Between runs values go from
 * memory to memory. A run begins when the one before it is done, so results are those of one
 * device wherever the devices' kernels agree.
 */
#include "kernels/split.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/slice.h"
#include "kernels/registry.h"
#include "plan/place.h"

/* What memory of all devices is for, known once a segment is prepared with it. */
enum role { ROLE_NONE, ROLE_ARENA, ROLE_POOL, ROLE_TABLE, ROLE_STATE };

struct split_mem {
    enum role role;
    uint64_t bytes;
    struct mem on[PLACE_MAX];
    int32_t *shadow;              // of a table: as the caller wrote it
    int32_t *part;                // and with a device's own places
    const struct split_seg *last; // arena: whose values lie there
};

struct child {
    char name[32];
    const struct backend *be;
    struct dev *dev;
    bool host;
    uint32_t share;   // of a page
    struct weight *w; // [n_w] loaded where used
    bool *loaded;     // [n_w]
};

struct dev {
    struct child c[PLACE_MAX];
    int n;
    struct place_rule rule;
    const struct weight *w; // of the plans
    int n_w;
    uint8_t *use; // [n_w] a bit for each device whose records read it
    /* recurrent state: which device has bytes [at, at + n) of a slot */
    struct {
        uint32_t at, n;
        uint8_t device;
    } * state;
    int n_state;
    uint32_t state_bytes;
    char pages[64];   // layers with keys and values by device, as dev_info has it
    int last, ticket; // of the run that was started last
    int32_t tickets;
    int chooser; // run of the segment whose device draws, -1: none
};

struct split_seg {
    struct placing *placing;
    const struct segment *s;
    struct plan plan[PLACE_MAX]; // with the device's own weights and pages
    struct segment *run;         // [n_run]
    const uint64_t *at;
};

static struct split_mem *ours(struct mem m)
{
    return m.host ? NULL : m.p;
}

/* -- devices -- */

static void split_close(struct dev *d)
{
    if (!d)
        return;
    for (int i = 0; i < d->n; i++) {
        struct child *c = &d->c[i];

        for (int k = 0; c->loaded && k < d->n_w; k++)
            for (size_t j = 0; c->loaded[k] && j < ARRAY_LEN(c->w[k].part); j++)
                if (c->w[k].part[j].bytes)
                    c->be->unmem(c->dev, &c->w[k].part[j]);
        mem_free(c->w);
        mem_free(c->loaded);
        if (c->dev)
            c->be->close(c->dev);
    }
    mem_free(d->use);
    mem_free(d->state);
    mem_free(d);
}

/* The device of this name, opened if it is not there yet; negative: an error. */
static int child_of(struct dev *d, struct slice name, struct err *e)
{
    struct dev_info info;
    const char *spec;
    struct child *c;
    int rc;

    for (int i = 0; i < d->n; i++)
        if (name.n == strlen(d->c[i].name) && memcmp(name.p, d->c[i].name, name.n) == 0)
            return i;
    if (d->n == PLACE_MAX)
        return err_set(e, E_USAGE, "more than %d devices", PLACE_MAX);
    c = &d->c[d->n];
    if (name.n >= sizeof c->name)
        return err_set(e, E_USAGE, "device %.*s: the name is too long", (int)name.n, name.p);
    memcpy(c->name, name.p, name.n);
    if (!(c->be = backend_find(c->name, &spec, e)))
        return e ? e->code : E_DEVICE;
    if ((rc = c->be->open(&c->dev, spec, e)) < 0)
        return rc;
    c->be->info(c->dev, &info);
    c->host = info.host;
    return d->n++;
}

/* The next piece of a list up to a comma. */
static struct slice piece_of(const char **at)
{
    const size_t n = strcspn(*at, ",");
    const struct slice s = {*at, n};

    *at += n + ((*at)[n] == ',');
    return s;
}

static int parse_piece(struct dev *d, struct slice piece, struct err *e)
{
    const char *mark = memchr(piece.p, '=', piece.n);
    struct slice name = {piece.p, mark ? (size_t)(mark - piece.p) : piece.n};
    const struct slice value = {mark ? mark + 1 : NULL,
                                mark ? (size_t)(piece.p + piece.n - mark - 1) : 0};
    const bool experts = slice_eq(name, SLICE("experts"));
    long n = -1;
    int i;

    if (mark && !experts) {
        char *end;

        n = strtol(value.p, &end, 10);
        if (end != value.p + value.n || value.n == 0 || n < 0 || n > INT32_MAX)
            return err_set(e, E_USAGE, "device %.*s: expected =LAYERS behind its name",
                           (int)piece.n, piece.p);
    }
    if (!experts && d->rule.experts >= 0)
        return err_set(e, E_USAGE, "device %.*s: experts= comes last", (int)piece.n, piece.p);
    i = child_of(d, experts ? value : name, e);
    if (i < 0)
        return i;
    if (experts) {
        d->rule.experts = i;
        return 0;
    }
    if (i < d->rule.n)
        return err_set(e, E_USAGE, "device %.*s is named twice", (int)name.n, name.p);
    d->rule.layers[d->rule.n++] = (int32_t)n;
    return 0;
}

static int split_open(struct dev **out, const char *spec, struct err *e)
{
    struct dev *d = mem_new(sizeof *d, e);
    int rc = d ? 0 : E_NOMEM;

    if (d)
        d->rule.experts = -1;
    while (rc == 0 && *spec)
        rc = parse_piece(d, piece_of(&spec), e);
    if (rc == 0 && d->rule.n == 0)
        rc = err_set(e, E_USAGE, "no device for the layers");
    if (rc < 0) {
        split_close(d);
        return rc;
    }
    *out = d;
    return 0;
}

bool split_named(const char *device)
{
    return device && strchr(device, ',');
}

/* Free is what a plan's pages may fill until the first device is full. */
static void split_info(const struct dev *d, struct dev_info *out)
{
    size_t at = 0;
    uint64_t shared = 0;

    *out = (struct dev_info){0};
    memcpy(out->pages, d->pages, sizeof out->pages);
    for (int i = 0; i < d->n; i++) {
        const struct child *c = &d->c[i];
        struct dev_info one;
        uint64_t room;

        c->be->info(c->dev, &one);
        if (one.level[0])
            memcpy(out->level, one.level, sizeof out->level);
        out->bytes_total += one.bytes_total;
        out->bytes_free += one.bytes_free;
        out->units += one.units;
        room = c->share ? one.bytes_free / c->share * PLACE_WHOLE : 0;
        if (c->share && (!shared || room < shared))
            shared = room;
        if (at < sizeof out->name)
            at += (size_t)snprintf(out->name + at, sizeof out->name - at, "%s%.30s", i ? " + " : "",
                                   one.name);
    }
    out->bytes_free = shared ? shared : out->bytes_free;
}

/* -- memory -- */

static void split_unmem(struct dev *d, struct mem *m)
{
    struct split_mem *s = ours(*m);

    if (m->host && m->kind == MEM_PINNED)
        d->c[0].be->unmem(d->c[0].dev, m);
    for (int i = 0; s && i < d->n; i++)
        if (s->on[i].bytes)
            d->c[i].be->unmem(d->c[i].dev, &s->on[i]);
    if (s) {
        mem_free(s->shadow);
        mem_free(s->part);
        mem_free(s);
    }
    *m = (struct mem){0};
}

/* Taken for good when a segment tells what for. */
static int split_mem(struct dev *d, uint64_t n, enum mem_kind k, void *host, struct mem *out,
                     struct err *e)
{
    struct split_mem *s;

    if (host || k != MEM_DEVICE)
        return d->c[0].be->mem(d->c[0].dev, n, k == MEM_DEVICE ? MEM_HOST : MEM_PINNED, host, out,
                               e);
    s = mem_new(sizeof *s, e);
    if (!s)
        return E_NOMEM;
    s->bytes = n;
    *out = (struct mem){.p = s, .bytes = n, .kind = MEM_DEVICE};
    return 0;
}

static uint64_t pool_bytes(const struct child *c, uint64_t n)
{
    return c->share ? place_kib(n / 1024, c->share) * 1024 + 1024 : 1024;
}

/* The table's words [at, at + n) as each device reads them. */
static int push_table(struct dev *d, struct split_mem *s, uint64_t at, uint64_t n)
{
    struct mem part = {.p = s->part, .bytes = s->bytes, .kind = MEM_HOST, .host = true};
    int rc = 0;

    for (int i = 0; i < d->n && rc == 0; i++) {
        for (uint64_t k = at; k < at + n; k++)
            s->part[k] = (int32_t)place_kib((uint64_t)(uint32_t)s->shadow[k], d->c[i].share);
        rc = d->c[i].be->copy(d->c[i].dev, s->on[i], at * 4, part, at * 4, n * 4);
    }
    return rc;
}

static int shadow_of(struct split_mem *s, struct err *e)
{
    if (!s->shadow)
        s->shadow = mem_array(s->bytes / 4 + 1, 4, e);
    return s->shadow ? 0 : E_NOMEM;
}

static int settle(struct dev *d, const struct mem *m, enum role role, struct err *e)
{
    struct split_mem *s = m->p ? ours(*m) : NULL;
    int rc = 0;

    if (!s || s->role == role)
        return 0;
    s->role = role;
    for (int i = 0; i < d->n && rc == 0; i++)
        rc = d->c[i].be->mem(d->c[i].dev,
                             role == ROLE_POOL ? pool_bytes(&d->c[i], s->bytes) : s->bytes,
                             MEM_DEVICE, NULL, &s->on[i], e);
    if (rc < 0 || role != ROLE_TABLE)
        return rc;
    s->part = mem_array(s->bytes / 4 + 1, 4, e);
    if (!s->part || shadow_of(s, e) < 0)
        return E_NOMEM;
    return push_table(d, s, 0, s->bytes / 4) < 0 ? err_set(e, E_DEVICE, "page tables") : 0;
}

/* -- copies -- */

/* One side of a copy on a device: that side's own bytes, or of a host's block those for it. */
struct side {
    struct mem m;
    uint64_t at;
};

/* A page's part: on the host the parts lie one behind the other. */
static struct side page_part(const struct dev *d, int i, struct mem m, uint64_t at, uint64_t n)
{
    const struct split_mem *s = ours(m);

    if (s)
        return (struct side){s->on[i], place_kib(at / 1024, d->c[i].share) * 1024};
    for (int k = 0; k < i; k++)
        at += place_kib(n / 1024, d->c[k].share) * 1024;
    return (struct side){m, at};
}

static int copy_pages(struct dev *d, struct mem to, uint64_t at, struct mem from, uint64_t from_at,
                      uint64_t n)
{
    int rc = 0;

    for (int i = 0; i < d->n && rc == 0; i++) {
        const struct side a = page_part(d, i, to, at, n), b = page_part(d, i, from, from_at, n);
        const uint64_t part = place_kib(n / 1024, d->c[i].share) * 1024;

        if (part)
            rc = d->c[i].be->copy(d->c[i].dev, a.m, a.at, b.m, b.at, part);
    }
    return rc;
}

/* Whole slots; each record's state is on one device. */
static int copy_state(struct dev *d, struct mem to, uint64_t at, struct mem from, uint64_t from_at,
                      uint64_t n)
{
    const struct split_mem *a = ours(to), *b = ours(from);
    int rc = 0;

    for (uint64_t slot = 0; slot < n; slot += d->state_bytes)
        for (int i = 0; i < d->n_state && rc == 0; i++) {
            const int k = d->state[i].device;
            const uint64_t skip = slot + d->state[i].at;

            rc = d->c[k].be->copy(d->c[k].dev, a ? a->on[k] : to, at + skip, b ? b->on[k] : from,
                                  from_at + skip, d->state[i].n);
        }
    return rc;
}

/* The value that a place of the arena belongs to: of those that share it, the one written last. */
static int arena_owner(const struct split_mem *s, uint64_t at)
{
    const struct split_seg *g = s->last;
    const struct plan *p = g ? g->s->plan : NULL;
    int32_t born = -1;
    int owner = 0;

    for (int32_t v = 0; p && v < p->n_value; v++) {
        const struct value *x = &p->value[v];
        const uint64_t n =
            (uint64_t)plan_rows(p, x->rows, g->s->max_t, g->s->max_s) * (uint64_t)x->cols * 4;

        if (x->born > born && at >= g->at[v] && at - g->at[v] < n) {
            born = x->born;
            owner = g->placing->owner[v];
        }
    }
    return owner;
}

static int copy_table(struct dev *d, struct split_mem *s, uint64_t at, struct mem from,
                      uint64_t from_at, uint64_t n)
{
    if (at % 4 || n % 4 || shadow_of(s, NULL) < 0)
        return E_RANGE;
    memcpy((uint8_t *)s->shadow + at, (const uint8_t *)from.p + from_at, n);
    return s->role == ROLE_TABLE ? push_table(d, s, at / 4, n / 4) : 0;
}

static int split_copy(struct dev *d, struct mem to, uint64_t at, struct mem from, uint64_t from_at,
                      uint64_t n)
{
    struct split_mem *a = ours(to), *b = ours(from);
    const enum role role = a ? a->role : b ? b->role : ROLE_NONE;

    if (at > to.bytes || n > to.bytes - at || from_at > from.bytes || n > from.bytes - from_at ||
        (a && b && a->role != b->role))
        return E_RANGE;
    if (!a && !b) {
        memmove((uint8_t *)to.p + at, (const uint8_t *)from.p + from_at, n);
        return 0;
    }
    switch (role) {
    case ROLE_POOL:
        return copy_pages(d, to, at, from, from_at, n);
    case ROLE_STATE:
        return d->state_bytes ? copy_state(d, to, at, from, from_at, n) : 0;
    case ROLE_ARENA:
        if (!a) {
            const int i = arena_owner(b, from_at);
            return d->c[i].be->copy(d->c[i].dev, to, at, b->on[i], from_at, n);
        }
        return E_RANGE;
    default:
        return a && !b ? copy_table(d, a, at, from, from_at, n) : E_RANGE;
    }
}

/* -- plans and weights -- */

static bool can_on(const struct dev *d, int i, const struct plan *p, const struct op *op)
{
    return d->c[i].be->can(d->c[i].dev, p, op);
}

/* While a plan is being fused its layers are not dealt out yet: all devices must be able to. */
static bool split_can(const struct dev *d, const struct plan *p, const struct op *op)
{
    const bool expert = d->rule.experts >= 0 && (op->kind == OP_moe_glu || op->kind == OP_moe_down);

    if (expert)
        return can_on(d, d->rule.experts, p, op);
    for (int i = 0; i < d->rule.n; i++)
        if (d->rule.layers[i] != 0 && !can_on(d, i, p, op))
            return false;
    return true;
}

static bool has_state(const struct op *op)
{
    return op->kind == OP_conv1d || op->kind == OP_shift || op->kind == OP_ssm_scan ||
           op->kind == OP_rwkv;
}

static int learn_state(struct dev *d, const struct plan *p, const uint8_t *device, struct err *e)
{
    mem_free(d->state);
    d->n_state = 0;
    d->state_bytes = p->state_bytes;
    d->state = mem_array((uint64_t)p->n_op, sizeof *d->state, e);
    for (int32_t i = 0; d->state && i < p->n_op; i++)
        if (has_state(&p->op[i])) {
            d->state[d->n_state].at = p->op[i].a.scan.state_at;
            d->state[d->n_state].n = p->op[i].a.scan.state_bytes;
            d->state[d->n_state++].device = device[i];
        }
    return d->state ? 0 : E_NOMEM;
}

static int learn_weights(struct dev *d, const struct plan *p, const uint8_t *device, struct err *e)
{
    d->n_w = p->n_w;
    d->w = p->w;
    if (!d->use)
        d->use = mem_array((uint64_t)p->n_w + 1, 1, e);
    for (int i = 0; i < d->n && d->use; i++) {
        struct child *c = &d->c[i];

        if (!c->w)
            c->w = mem_array((uint64_t)p->n_w + 1, sizeof *c->w, e);
        if (!c->loaded)
            c->loaded = mem_array((uint64_t)p->n_w + 1, sizeof *c->loaded, e);
        if (!c->w || !c->loaded)
            return E_NOMEM;
        for (int32_t k = 0; k < p->n_w; k++)
            if (!c->loaded[k])
                c->w[k] = p->w[k];
    }
    for (int32_t i = 0; d->use && i < p->n_op; i++)
        for (size_t k = 0; p->op[i].kind != OP_lora && k < ARRAY_LEN(p->op[i].w); k++)
            if (p->op[i].w[k] >= 0)
                d->use[p->op[i].w[k]] |= (uint8_t)(1u << device[i]);
    return d->use ? 0 : E_NOMEM;
}

/* "cpu 2 + cuda 14": layers that follow each other on one device. A page's bytes lie device by
 * device, each device's as its backend has them, so that this says how. There are at most PLACE_MAX
 * such runs. */
static void learn_pages(struct dev *d, const struct plan *p, const uint8_t *device)
{
    const size_t size = sizeof d->pages;
    size_t at = 0;
    int n = 0;

    for (int32_t i = 0, last = -1; i <= p->n_op; i++) {
        const bool end = i == p->n_op;

        if (!end && p->op[i].kind != OP_kv_store)
            continue;
        if (n && (end || device[i] != last) && at < size)
            at += (size_t)snprintf(d->pages + at, size - at, "%s%s %d", at ? " + " : "",
                                   d->c[last].be->name, n);
        n = end || device[i] == last ? n + 1 : 1;
        last = end ? last : device[i];
    }
}

static int split_place(struct dev *d, struct plan *p, struct err *e)
{
    uint32_t share[PLACE_MAX] = {0};
    uint8_t *device = mem_array((uint64_t)p->n_op, 1, e);
    int rc = device ? place_records(p, &d->rule, device, e) : E_NOMEM;

    for (int32_t i = 0; rc == 0 && i < p->n_op; i++)
        if (!can_on(d, device[i], p, &p->op[i]))
            rc = err_set(e, E_UNSUPPORTED, "record %d of the plan cannot run on %s", i,
                         d->c[device[i]].name);
    rc = rc < 0 ? rc : place_pages(p, device, d->n, share, e);
    if (rc == 0)
        learn_pages(d, p, device);
    rc = rc < 0 ? rc : learn_state(d, p, device, e);
    rc = rc < 0 ? rc : learn_weights(d, p, device, e);
    for (int i = 0; rc == 0 && i < d->n; i++)
        d->c[i].share = share[i];
    mem_free(device);
    return rc;
}

static int load_on(struct dev *d, int i, const struct weight *from, struct err *e)
{
    struct child *c = &d->c[i];
    const ptrdiff_t k = from - d->w;
    struct weight *w = &c->w[k];
    int rc = 0;

    if (c->loaded[k])
        return 0;
    *w = *from;
    if (c->host)
        rc = c->be->mem(c->dev, from->part[0].bytes, MEM_HOST, from->part[0].p, &w->part[0], e);
    rc = rc < 0 ? rc : c->be->load(c->dev, w, e);
    c->loaded[k] = rc == 0;
    return rc < 0 ? err_prefix(e, c->name) : 0;
}

static int split_load(struct dev *d, struct weight *w, struct err *e)
{
    int rc = 0;

    if (!d->w || w < d->w || w - d->w >= d->n_w)
        return err_set(e, E_DEVICE, "%s: of no plan that was dealt out", w->name);
    for (int i = 0; i < d->n && rc == 0; i++)
        if (d->use[w - d->w] >> i & 1)
            rc = load_on(d, i, w, e);
    return rc;
}

/* -- segments -- */

static void unprepare(struct dev *d, struct segment *s)
{
    struct split_seg *g = s->impl;
    struct split_mem *arena = s->arena.p ? ours(s->arena) : NULL;

    if (g) {
        for (int i = 0; g->run && g->placing && i < g->placing->n_run; i++) {
            struct child *c = &d->c[g->placing->run[i].device];

            g->run[i].to = g->run[i].from;
            if (g->run[i].impl)
                c->be->prepare(c->dev, &g->run[i], NULL);
        }
        for (int i = 0; i < d->n; i++) {
            mem_free(g->plan[i].kv);
            mem_free(g->plan[i].group);
        }
        if (arena && arena->last == g)
            arena->last = NULL;
        placing_free(g->placing);
        mem_free(g->run);
        mem_free(g);
    }
    mem_free(s->kernel);
    s->impl = NULL;
    s->kernel = NULL;
}

/* The plan as one device sees it. */
static int plan_for(const struct dev *d, const struct plan *p, const uint8_t *device, int i,
                    struct plan *out, struct err *e)
{
    const struct child *c = &d->c[i];

    *out = *p;
    out->w = c->w;
    out->kv = mem_dup(p->kv, (uint64_t)p->n_kv * sizeof *p->kv, e);
    out->group = mem_dup(p->group, (uint64_t)p->n_group * sizeof *p->group, e);
    if (!out->kv || !out->group)
        return E_NOMEM;
    place_layers(p, device, i, out->kv);
    for (int32_t g = 0; g < p->n_group; g++)
        out->group[g].bytes = (uint32_t)place_kib(p->group[g].bytes / 1024, c->share) * 1024;
    return 0;
}

static struct mem on_device(struct mem m, int i)
{
    const struct split_mem *s = m.p ? ours(m) : NULL;

    return s ? s->on[i] : m;
}

static struct segment part_of(const struct dev *d, const struct split_seg *g,
                              const struct place_run *r)
{
    struct segment s = *g->s;

    (void)d;
    s.plan = &g->plan[r->device];
    s.from = r->from;
    s.to = r->to;
    s.arena = on_device(s.arena, r->device);
    s.kv.pool = on_device(s.kv.pool, r->device);
    s.kv.table = on_device(s.kv.table, r->device);
    s.kv.state = on_device(s.kv.state, r->device);
    s.kernel = NULL;
    s.impl = NULL;
    s.keeps = false;
    return s;
}

/* All that the records of the plan read lies where they run. */
static int load_rest(struct dev *d, const struct plan *p, struct err *e)
{
    int rc = 0;

    for (int32_t k = 0; k < p->n_w && rc == 0; k++)
        for (int i = 0; i < d->n && rc == 0; i++)
            if (d->use[k] >> i & 1)
                rc = load_on(d, i, &p->w[k], e);
    return rc;
}

static int build(struct dev *d, struct segment *s, const uint8_t *device, struct err *e)
{
    struct split_seg *g = s->impl;
    int rc = place_segment(&g->placing, s->plan, device, s->from, s->to, e);

    rc = rc < 0 ? rc : load_rest(d, s->plan, e);
    rc = rc < 0 ? rc : settle(d, &s->arena, ROLE_ARENA, e);
    rc = rc < 0 ? rc : settle(d, &s->kv.pool, ROLE_POOL, e);
    rc = rc < 0 ? rc : settle(d, &s->kv.table, ROLE_TABLE, e);
    rc = rc < 0 ? rc : settle(d, &s->kv.state, ROLE_STATE, e);
    for (int i = 0; i < d->n && rc == 0; i++)
        rc = plan_for(d, s->plan, device, i, &g->plan[i], e);
    if (rc < 0)
        return rc;
    g->run = mem_array((uint64_t)g->placing->n_run, sizeof *g->run, e);
    if (!g->run)
        return E_NOMEM;
    s->one_path = true;
    for (int i = 0; i < g->placing->n_run && rc == 0; i++) {
        const struct place_run *r = &g->placing->run[i];

        g->run[i] = part_of(d, g, r);
        rc = d->c[r->device].be->prepare(d->c[r->device].dev, &g->run[i], e);
        for (int32_t k = r->from; rc == 0 && k < r->to; k++)
            s->kernel[k - s->from] = g->run[i].kernel[k - r->from];
        s->one_path = s->one_path && g->run[i].one_path;
    }
    return rc;
}

static int split_prepare(struct dev *d, struct segment *s, struct err *e)
{
    const int32_t n = s->to - s->from;
    struct split_seg *g;
    uint8_t *device;
    int rc = E_NOMEM;

    unprepare(d, s);
    if (n <= 0)
        return 0;
    device = mem_array((uint64_t)s->plan->n_op, 1, e);
    s->kernel = mem_array((uint64_t)n, sizeof *s->kernel, e);
    s->impl = g = mem_new(sizeof *g, e);
    if (g && device && s->kernel) {
        g->s = s;
        g->at = s->at;
        rc = place_records(s->plan, &d->rule, device, e);
        rc = rc < 0 ? rc : build(d, s, device, e);
    }
    mem_free(device);
    if (rc < 0)
        unprepare(d, s);
    return rc;
}

static int split_adapt(struct dev *d, struct segment *s, int slot, struct err *e)
{
    struct split_seg *g = s->impl;
    int rc = 0;

    for (int i = 0; g && i < g->placing->n_run && rc == 0; i++) {
        const struct child *c = &d->c[g->placing->run[i].device];

        if (c->be->adapt)
            rc = c->be->adapt(c->dev, &g->run[i], slot, e);
    }
    return rc;
}

/* -- running -- */

/* By the device that is not the host, where there is one. */
static int move_value(struct dev *d, const struct segment *s, const struct place_move *m,
                      const struct batch *b)
{
    const struct plan *p = s->plan;
    const struct value *v = &p->value[m->value];
    const uint64_t n =
        (uint64_t)plan_rows(p, v->rows, (int64_t)b->n_p + b->n_g, b->n_out) * (uint64_t)v->cols * 4;
    const struct split_mem *arena = ours(s->arena);
    const struct child *c = &d->c[d->c[m->to].host ? m->from : m->to];
    const uint64_t at = s->at[m->value];

    return n ? c->be->copy(c->dev, arena->on[m->to], at, arena->on[m->from], at, n) : 0;
}

static int split_run(struct dev *d, struct segment *s, const struct batch *b)
{
    struct split_seg *g = s->impl;
    const struct placing *p = g->placing;
    struct split_mem *arena = ours(s->arena);

    if (arena)
        arena->last = g;
    for (int i = 0; i < p->n_run; i++) {
        const struct place_run *r = &p->run[i];
        struct child *c = &d->c[r->device];

        for (int k = 0; k < r->n_move; k++)
            if (move_value(d, s, &p->move[r->move + k], b) < 0)
                return E_DEVICE;
        d->last = r->device;
        d->ticket = c->be->run(c->dev, &g->run[i], b);
        if (d->ticket < 0)
            return d->ticket;
        if (i + 1 < p->n_run && c->be->wait(c->dev, d->ticket) < 0)
            return E_DEVICE;
    }
    return d->tickets++ & 0x3fffffff;
}

static int split_wait(struct dev *d, int ticket)
{
    return ticket < 0 ? ticket : d->c[d->last].be->wait(d->c[d->last].dev, d->ticket);
}

/* Where the logits are. */
static int split_draw(struct dev *d, struct segment *s, const struct draw *in, int n)
{
    struct split_seg *g = s->impl;
    const struct plan *p = s->plan;
    int i = g->placing->n_run - 1;

    while (i >= 0 && p->logits >= 0 && g->placing->run[i].device != g->placing->owner[p->logits])
        i--;
    d->chooser = p->logits < 0 || i < 0 || !d->c[g->placing->run[i].device].be->draw ? -1 : i;
    if (d->chooser < 0)
        return 0;
    const struct child *c = &d->c[g->placing->run[i].device];
    return c->be->draw(c->dev, &g->run[i], in, n);
}

static int split_drawn(struct dev *d, struct segment *s, int ticket, int32_t *id, int n)
{
    struct split_seg *g = s->impl;

    if (d->chooser >= 0) {
        const struct child *c = &d->c[g->placing->run[d->chooser].device];
        return c->be->drawn(c->dev, &g->run[d->chooser], ticket, id, n);
    }
    for (int i = 0; i < n; i++)
        id[i] = DRAW_HOST;
    return 0;
}

extern const struct backend split_backend;
const struct backend split_backend = {
    .name = "split",
    .open = split_open,
    .close = split_close,
    .info = split_info,
    .mem = split_mem,
    .unmem = split_unmem,
    .copy = split_copy,
    .can = split_can,
    .place = split_place,
    .load = split_load,
    .adapt = split_adapt,
    .prepare = split_prepare,
    .run = split_run,
    .wait = split_wait,
    .draw = split_draw,
    .drawn = split_drawn,
};
