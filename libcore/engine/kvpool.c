/* kvpool.c - see kvpool.h. */
#include "engine/kvpool.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"
#include "engine/pages.h"
#include "engine/prefix.h"

#define MAX_NODES (1 << 20) // blocks kept known: 32 million positions

struct seq {
    bool live;
    int32_t node; // of its last published block, -1: none
};

struct range {
    int32_t lo, hi; // entries changed, lo >= hi: none
    int32_t n_page; // pages taken so far, those given back by kv_slide included
};

struct copy {
    int32_t group, from, to;
};

struct kvpool {
    struct kv_opts o;
    int max_page;
    int n_live;
    struct pages pages;
    struct prefix *tree;
    int hand; // where the search for pages behind windows goes on
    int n_copy;
    uint64_t evicted, copied, stamp;
    struct seq *seq;       // [max_seq]
    struct range *range;   // [n_group][max_seq]
    int32_t *table;        // [n_group][max_seq][max_page]
    struct copy *copy;     // [n_group * max_seq]
    int32_t *state_node;   // [n_state] whose checkpoint it holds, -1: nobody's
    uint64_t *state_stamp; // [n_state] when it was last of use
};

static int64_t pages_of(int64_t n_pos)
{
    return (n_pos + KV_PAGE - 1) / KV_PAGE;
}

/* Pages a sequence of n_pos positions can hold at once: behind a window lie at most the window, the
 * rows of one step and the two pages these begin and end in. */
static int64_t pages_needed(int window, int64_t n_pos, int max_rows)
{
    int64_t all = pages_of(n_pos);
    int64_t some = pages_of((int64_t)window + max_rows) + 2;

    return window > 0 && some < all ? some : all;
}

uint64_t kv_bytes_for(const struct kv_group *group, int n_group, int n_seq, int n_pos, int max_rows)
{
    int64_t need[KV_GROUPS] = {0};

    for (int g = 0; g < n_group && g < KV_GROUPS; g++)
        need[g] = pages_needed(group[g].window, n_pos, max_rows) * n_seq;
    return pages_bytes(group, n_group < KV_GROUPS ? n_group : KV_GROUPS, need);
}

bool kv_possible(const struct kvpool *p, int n_pos)
{
    int64_t need = 0;

    if (pages_of(n_pos) > p->max_page)
        return false;
    for (int g = 0; g < p->o.n_group; g++) {
        int64_t per = pages_per_slab(&p->pages, g);

        need += (pages_needed(p->o.group[g].window, n_pos, p->o.max_rows) + per - 1) / per;
    }
    return need <= p->pages.n_slab;
}

/* -- tables -- */

static int32_t *row_of(const struct kvpool *p, int g, int seq)
{
    return p->table + ((int64_t)g * p->o.max_seq + seq) * p->max_page;
}

static struct range *range_of(const struct kvpool *p, int g, int seq)
{
    return &p->range[g * p->o.max_seq + seq];
}

static void set_entry(struct kvpool *p, int g, int seq, int i, int32_t page)
{
    struct range *r = range_of(p, g, seq);

    row_of(p, g, seq)[i] = page;
    if (r->lo >= r->hi) {
        r->lo = i;
        r->hi = i + 1;
    }
    if (i < r->lo)
        r->lo = i;
    if (i >= r->hi)
        r->hi = i + 1;
}

static void clear_entries(struct kvpool *p, int g, int seq, int from, int to)
{
    const int32_t *row = row_of(p, g, seq);

    for (int i = from; i < to; i++) {
        if (!row[i])
            continue;
        pages_drop(&p->pages, g, row[i]);
        set_entry(p, g, seq, i, 0);
    }
}

/* The first page that rows from position pos on see. */
static int32_t first_seen(const struct kvpool *p, int g, int64_t pos)
{
    int64_t behind = pos - p->o.group[g].window + 1;

    return p->o.group[g].window > 0 && behind > 0 ? (int32_t)(behind / KV_PAGE) : 0;
}

/* -- making room -- */

static void drop_state(struct kvpool *p, int node)
{
    int32_t *state = prefix_state(p->tree, node);

    if (*state >= 0)
        p->state_node[*state - p->o.max_seq] = -1;
    *state = -1;
}

static bool evict_oldest(struct kvpool *p)
{
    int node = prefix_oldest(p->tree);
    int32_t *page;

    if (node < 0)
        return false;
    page = prefix_pages(p->tree, node);
    for (int g = 0; g < p->o.n_group; g++)
        if (page[g])
            pages_drop(&p->pages, g, page[g]);
    drop_state(p, node);
    prefix_remove(p->tree, node);
    p->evicted++;
    return true;
}

/* Gives up one page that only the tree holds though sequences go through its block: they have moved
 * on, and it lies behind their windows. */
static bool shed_windowed(struct kvpool *p)
{
    const int n = prefix_room(p->tree);

    for (int tries = 0; tries < n; tries++) {
        int node = p->hand;
        int32_t *page = prefix_pages(p->tree, node);

        p->hand = p->hand + 1 < n ? p->hand + 1 : 0;
        if (!prefix_live(p->tree, node))
            continue;
        for (int g = 0; g < p->o.n_group; g++)
            if (p->o.group[g].window > 0 && page[g] && pages_holders(&p->pages, g, page[g]) == 1) {
                pages_drop(&p->pages, g, page[g]);
                page[g] = 0;
                return true;
            }
    }
    return false;
}

static int32_t take(struct kvpool *p, int g)
{
    int32_t page;

    while (!(page = pages_take(&p->pages, g)))
        if (!evict_oldest(p) && !shed_windowed(p))
            return 0;
    return page;
}

/* -- sequences -- */

int kv_begin(struct kvpool *p)
{
    int seq = 0;

    while (seq < p->o.max_seq && p->seq[seq].live)
        seq++;
    if (seq == p->o.max_seq)
        return -1;
    p->seq[seq] = (struct seq){true, -1};
    p->n_live++;
    return seq;
}

int kv_free_seqs(const struct kvpool *p)
{
    return p->o.max_seq - p->n_live;
}

void kv_trim(struct kvpool *p, int seq, int n_pos)
{
    struct seq *s = &p->seq[seq];

    for (int g = 0; g < p->o.n_group; g++) {
        struct range *r = range_of(p, g, seq);
        int32_t keep = (int32_t)pages_of(n_pos);

        clear_entries(p, g, seq, keep, r->n_page);
        if (r->n_page > keep)
            r->n_page = keep;
    }
    while (s->node >= 0 && prefix_depth(p->tree, s->node) > n_pos / KV_PAGE) {
        int node = s->node;

        s->node = prefix_parent(p->tree, node);
        prefix_leave_one(p->tree, node);
    }
}

void kv_drop(struct kvpool *p, int seq)
{
    assert(p->seq[seq].live);
    kv_trim(p, seq, 0);
    p->seq[seq].live = false;
    p->n_live--;
}

void kv_slide(struct kvpool *p, int seq, int pos)
{
    for (int g = 0; g < p->o.n_group; g++)
        clear_entries(p, g, seq, 0, first_seen(p, g, pos));
}

void kv_skip(struct kvpool *p, int seq, int pos)
{
    for (int g = 0; g < p->o.n_group; g++) {
        struct range *r = range_of(p, g, seq);
        int32_t first = first_seen(p, g, pos);

        if (r->n_page < first)
            r->n_page = first;
    }
}

/* Entry i of a table for seq alone: if others hold the page, a fresh one takes its place, with its
 * contents where copied. */
static bool own(struct kvpool *p, int g, int seq, int i, bool copied)
{
    int32_t old = row_of(p, g, seq)[i];
    int32_t page;

    if (!old || pages_holders(&p->pages, g, old) == 1)
        return true;
    page = take(p, g);
    if (!page)
        return false;
    if (copied) {
        assert(p->n_copy < p->o.n_group * p->o.max_seq);
        p->copy[p->n_copy++] = (struct copy){g, old, page};
        p->copied++;
    }
    pages_drop(&p->pages, g, old);
    set_entry(p, g, seq, i, page);
    return true;
}

bool kv_reserve(struct kvpool *p, int seq, int from, int to)
{
    assert(p->seq[seq].live && to <= p->max_page * KV_PAGE);
    for (int g = 0; g < p->o.n_group; g++) {
        struct range *r = range_of(p, g, seq);

        for (int i = from / KV_PAGE; i < r->n_page && i < pages_of(to); i++)
            if (!own(p, g, seq, i, from > i * KV_PAGE))
                return false;
        for (; r->n_page < pages_of(to); r->n_page++) {
            int32_t page = take(p, g);

            if (!page)
                return false;
            set_entry(p, g, seq, r->n_page, page);
        }
    }
    return true;
}

int kv_fork(struct kvpool *p, int seq, int n_pos)
{
    int other = kv_begin(p);
    int node = p->seq[seq].node;

    if (other < 0)
        return -1;
    for (int g = 0; g < p->o.n_group; g++) {
        const int32_t *row = row_of(p, g, seq);
        int n = (int)pages_of(n_pos);

        for (int i = 0; i < n; i++)
            if (row[i]) {
                pages_hold(&p->pages, g, row[i]);
                set_entry(p, g, other, i, row[i]);
            }
        range_of(p, g, other)->n_page = n;
    }
    while (node >= 0 && prefix_depth(p->tree, node) > n_pos / KV_PAGE)
        node = prefix_parent(p->tree, node);
    p->seq[other].node = node;
    prefix_use(p->tree, node);
    return other;
}

/* -- known blocks -- */

static struct block block_at(const struct kv_text *t, int i)
{
    return (struct block){t->id + (int64_t)i * KV_PAGE, t->paths[i]};
}

/* Whether a sequence can go on behind node: every window's pages are there. run: [n_group]
 * blocks in a row, up to this one, that have a page. */
static bool windows_full(const struct kvpool *p, const int32_t *run, int depth)
{
    for (int g = 0; g < p->o.n_group; g++)
        if (run[g] < depth - first_seen(p, g, (int64_t)depth * KV_PAGE))
            return false;
    return true;
}

struct kv_match kv_look(const struct kvpool *p, const struct kv_text *t, int n_pos, int granule)
{
    struct kv_match m = {.node = -1, .state = -1};
    int32_t run[KV_GROUPS] = {0};
    int64_t idle = 0;
    int node = -1;

    for (int i = 0; p->o.cache && (i + 1) * KV_PAGE <= n_pos; i++) {
        const int32_t *page;

        node = prefix_find(p->tree, node, t->key, block_at(t, i));
        if (node < 0)
            break;
        page = prefix_pages(p->tree, node);
        for (int g = 0; g < p->o.n_group; g++)
            run[g] = page[g] ? run[g] + 1 : 0;
        if (!prefix_used(p->tree, node))
            idle += kv_block_cost(p);
        if ((i + 1) * KV_PAGE % granule || !windows_full(p, run, i + 1))
            continue;
        m.known = (i + 1) * KV_PAGE;
        if (p->o.n_state >= 0 && *prefix_state(p->tree, node) < 0)
            continue;
        m.node = node;
        m.n_pos = m.known;
        m.state = *prefix_state(p->tree, node);
        m.idle = idle;
    }
    return m;
}

void kv_attach(struct kvpool *p, int seq, const struct kv_match *m)
{
    const int depth = m->n_pos / KV_PAGE;

    p->seq[seq].node = m->node;
    prefix_use(p->tree, m->node);
    if (m->state >= 0)
        p->state_stamp[m->state - p->o.max_seq] = ++p->stamp;
    for (int i = depth - 1, at = m->node; i >= 0; i--, at = prefix_parent(p->tree, at)) {
        const int32_t *page = prefix_pages(p->tree, at);

        for (int g = 0; g < p->o.n_group; g++)
            if (i >= first_seen(p, g, m->n_pos)) {
                pages_hold(&p->pages, g, page[g]);
                set_entry(p, g, seq, i, page[g]);
            }
    }
    for (int g = 0; g < p->o.n_group; g++)
        range_of(p, g, seq)->n_page = depth;
}

/* This sequence's page and the known block's become one. */
static void share(struct kvpool *p, int g, int seq, int i, int32_t *known)
{
    int32_t mine = row_of(p, g, seq)[i];

    if (!mine || mine == *known)
        return;
    if (!*known) {
        pages_hold(&p->pages, g, mine);
        *known = mine;
        return;
    }
    pages_hold(&p->pages, g, *known);
    pages_drop(&p->pages, g, mine);
    set_entry(p, g, seq, i, *known);
}

void kv_publish(struct kvpool *p, int seq, const struct kv_text *t, int n_pos)
{
    struct seq *s = &p->seq[seq];

    for (int i = prefix_depth(p->tree, s->node); p->o.cache && (i + 1) * KV_PAGE <= n_pos; i++) {
        struct block b = block_at(t, i);
        int node = prefix_find(p->tree, s->node, t->key, b);

        if (node >= 0)
            prefix_use_one(p->tree, node);
        else if ((node = prefix_add(p->tree, s->node, t->key, b)) < 0 && evict_oldest(p))
            node = prefix_add(p->tree, s->node, t->key, b);
        if (node < 0)
            return;
        for (int g = 0; g < p->o.n_group; g++)
            share(p, g, seq, i, &prefix_pages(p->tree, node)[g]);
        s->node = node;
    }
}

int kv_checkpoint(struct kvpool *p, int seq)
{
    int node = p->seq[seq].node;
    int best = -1;

    if (node < 0 || *prefix_state(p->tree, node) >= 0)
        return -1;
    for (int i = 0; i < p->o.n_state; i++)
        if (best < 0 || p->state_node[i] < 0 || p->state_stamp[i] < p->state_stamp[best]) {
            best = i;
            if (p->state_node[i] < 0)
                break;
        }
    if (best < 0)
        return -1;
    if (p->state_node[best] >= 0)
        drop_state(p, p->state_node[best]);
    p->state_node[best] = node;
    p->state_stamp[best] = ++p->stamp;
    *prefix_state(p->tree, node) = p->o.max_seq + best;
    return p->o.max_seq + best;
}

void kv_pin(struct kvpool *p, int seq)
{
    prefix_use(p->tree, p->seq[seq].node);
}

void kv_forget(struct kvpool *p)
{
    while (evict_oldest(p)) {
    }
}

/* -- known texts, and sequences put together page by page -- */

int kv_follow(const struct kvpool *p, int node, const struct kv_text *t, int i)
{
    return prefix_find(p->tree, node, t->key, block_at(t, i));
}

bool kv_place(struct kvpool *p, int seq, int g, int i, int node)
{
    struct range *r = range_of(p, g, seq);
    int32_t page = node >= 0 ? prefix_pages(p->tree, node)[g] : take(p, g);

    if (!page)
        return false;
    if (node >= 0)
        pages_hold(&p->pages, g, page);
    set_entry(p, g, seq, i, page);
    if (r->n_page <= i)
        r->n_page = i + 1;
    return true;
}

int kv_leaf(const struct kvpool *p, int after, uint64_t key)
{
    for (int i = after + 1; i < prefix_room(p->tree); i++)
        if (prefix_leaf(p->tree, i, key))
            return i;
    return -1;
}

int kv_spell(const struct kvpool *p, int node, int32_t *id, uint32_t *paths)
{
    const int n = prefix_depth(p->tree, node);

    for (int i = n - 1; id && i >= 0; i--, node = prefix_parent(p->tree, node)) {
        struct block b = prefix_block(p->tree, node);

        memcpy(id + (int64_t)i * KV_PAGE, b.id, KV_PAGE * sizeof *id);
        paths[i] = b.paths;
    }
    return n;
}

/* -- how much there is -- */

int64_t kv_block_cost(const struct kvpool *p)
{
    int64_t n = 0;

    for (int g = 0; g < p->o.n_group; g++)
        n += p->o.group[g].bytes / 1024;
    return n;
}

int64_t kv_cost(const struct kvpool *p, int n_pos)
{
    int64_t n = 0;

    for (int g = 0; g < p->o.n_group; g++)
        n +=
            pages_needed(p->o.group[g].window, n_pos, p->o.max_rows) * (p->o.group[g].bytes / 1024);
    return n;
}

int64_t kv_left(const struct kvpool *p)
{
    int64_t slab = 0, n = 0;

    for (int g = 0; g < p->o.n_group; g++) {
        int64_t kib = p->o.group[g].bytes / 1024;
        int64_t use = pages_per_slab(&p->pages, g) * kib; // what the group makes of a slab

        slab = g == 0 || use < slab ? use : slab;
        n += pages_left(&p->pages, g) * kib;
        if (p->o.group[g].window == 0)
            n += prefix_idle(p->tree) * kib;
    }
    return n + p->pages.n_free * slab;
}

/* A published page has the tree as a holder beside the sequence. */
int64_t kv_alone(const struct kvpool *p, int seq)
{
    const int known = prefix_depth(p->tree, p->seq[seq].node);
    int64_t n = 0;

    for (int g = 0; g < p->o.n_group; g++) {
        const int32_t *row = row_of(p, g, seq);

        for (int i = 0; i < range_of(p, g, seq)->n_page; i++)
            if (row[i] && pages_holders(&p->pages, g, row[i]) == (i < known ? 2 : 1))
                n += p->o.group[g].bytes / 1024;
    }
    return n;
}

int64_t kv_more(const struct kvpool *p, int seq, int from, int to)
{
    int64_t n = 0;

    for (int g = 0; g < p->o.n_group; g++) {
        const int32_t *row = row_of(p, g, seq);
        int64_t fresh = pages_of(to) - range_of(p, g, seq)->n_page;

        fresh = fresh > 0 ? fresh : 0;
        for (int i = from / KV_PAGE; i < range_of(p, g, seq)->n_page && i < pages_of(to); i++)
            fresh += row[i] && pages_holders(&p->pages, g, row[i]) > 1;
        n += fresh * (p->o.group[g].bytes / 1024);
    }
    return n;
}

void kv_count(const struct kvpool *p, struct kv_count *out)
{
    *out = (struct kv_count){.slabs = p->pages.n_slab,
                             .slabs_used = p->pages.n_slab - p->pages.n_free,
                             .blocks = prefix_count(p->tree),
                             .idle = prefix_idle(p->tree),
                             .evicted = p->evicted,
                             .copied = p->copied};
    for (int g = 0; g < p->o.n_group; g++)
        out->pages_used += pages_used(&p->pages, g);
    for (int g = 0; g < p->o.n_group && p->pages.n_slab > 0; g++)
        out->held += (double)(pages_used(&p->pages, g) - out->idle) / pages_per_slab(&p->pages, g) /
                     p->pages.n_slab;
}

/* -- tables and copies -- */

const int32_t *kv_table(const struct kvpool *p, uint64_t *bytes)
{
    *bytes = (uint64_t)p->o.n_group * (uint64_t)p->o.max_seq * (uint64_t)p->max_page * 4;
    return p->table;
}

int kv_max_page(const struct kvpool *p)
{
    return p->max_page;
}

int32_t kv_page(const struct kvpool *p, int g, int seq, int i)
{
    return row_of(p, g, seq)[i];
}

int kv_alike(const struct kvpool *p, int a, int b, int n)
{
    for (int g = 0; g < p->o.n_group; g++) {
        const int32_t *x = row_of(p, g, a), *y = row_of(p, g, b);
        int i = 0;

        for (int many = 256; many > 1; many /= 16) // all at once where they are all equal
            while (i + many <= n && memcmp(x + i, y + i, (size_t)many * sizeof *x) == 0)
                i += many;
        while (i < n && (x[i] == y[i] || !x[i] || !y[i]))
            i++;
        n = i;
    }
    return n;
}

void kv_changed(struct kvpool *p, void (*fn)(void *ctx, uint64_t at, uint64_t n), void *ctx)
{
    for (int i = 0; i < p->o.n_group * p->o.max_seq; i++) {
        struct range *r = &p->range[i];

        if (r->lo < r->hi)
            fn(ctx, ((uint64_t)i * (uint64_t)p->max_page + (uint64_t)r->lo) * 4,
               (uint64_t)(r->hi - r->lo) * 4);
        r->lo = r->hi = 0;
    }
}

void kv_copies(struct kvpool *p, void (*fn)(void *ctx, uint64_t to, uint64_t from, uint64_t n),
               void *ctx)
{
    for (int i = 0; i < p->n_copy; i++)
        fn(ctx, (uint64_t)p->copy[i].to * 1024, (uint64_t)p->copy[i].from * 1024,
           p->o.group[p->copy[i].group].bytes);
    p->n_copy = 0;
}

/* -- the pool -- */

/* As many nodes as there can be pages: of the group with the smallest ones; without pages, of a few
 * blocks for each state that can be kept. */
static int nodes_for(const struct kvpool *p)
{
    int64_t n = (int64_t)p->pages.n_slab * p->pages.most;

    if (p->o.n_group == 0)
        n = p->o.n_state > 0 ? (int64_t)p->max_page * (p->o.n_state + p->o.max_seq) : 0;
    return p->o.cache ? (int)(n < MAX_NODES ? n : MAX_NODES) : 0;
}

int kv_open(struct kvpool **out, const struct kv_opts *o, struct err *e)
{
    struct kvpool *p = mem_new(sizeof *p, e);
    uint64_t tables = (uint64_t)o->n_group * (uint64_t)o->max_seq;
    int n_state = o->n_state > 0 ? o->n_state : 0;
    int rc;

    if (!p)
        return E_NOMEM;
    if (o->n_group > KV_GROUPS) {
        mem_free(p);
        return err_set(e, E_UNSUPPORTED, "%d groups of key/value layers: at most %d are possible",
                       o->n_group, KV_GROUPS);
    }
    p->o = *o;
    p->max_page = (int)pages_of(o->max_pos);
    rc = pages_init(&p->pages, o->group, o->n_group, o->bytes, e);
    if (rc == 0)
        rc = prefix_open(&p->tree, nodes_for(p), o->n_group, o->seed, e);
    if (rc < 0)
        goto fail;
    p->seq = mem_array((uint64_t)o->max_seq, sizeof *p->seq, e);
    p->range = mem_array(tables, sizeof *p->range, e);
    p->copy = mem_array(tables, sizeof *p->copy, e);
    p->table = mem_array(tables * (uint64_t)p->max_page, sizeof *p->table, e);
    p->state_node = mem_array((uint64_t)n_state, sizeof *p->state_node, e);
    p->state_stamp = mem_array((uint64_t)n_state, sizeof *p->state_stamp, e);
    rc = E_NOMEM;
    if (!p->seq || !p->range || !p->copy || !p->table || !p->state_node || !p->state_stamp)
        goto fail;
    for (int i = 0; i < n_state; i++)
        p->state_node[i] = -1;
    *out = p;
    return 0;
fail:
    kv_close(p);
    return rc;
}

void kv_close(struct kvpool *p)
{
    if (!p)
        return;
    pages_fini(&p->pages);
    prefix_close(p->tree);
    mem_free(p->seq);
    mem_free(p->range);
    mem_free(p->copy);
    mem_free(p->table);
    mem_free(p->state_node);
    mem_free(p->state_stamp);
    mem_free(p);
}
