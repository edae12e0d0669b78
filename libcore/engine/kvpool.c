/* kvpool.c - see kvpool.h. */
#include "engine/kvpool.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

#define SLAB_MIN  ((uint64_t)2 << 20)
#define MAP_WORDS 32 // a slab holds at most 64 * 32 pages of 1 KiB or more

struct slab {
    int32_t group;      // -1: free
    int32_t used;       // pages
    int32_t prev, next; // in its group's list of slabs with free pages, or in the free list
    uint64_t free_map[MAP_WORDS];
};

struct group {
    uint64_t page_bytes;
    int32_t window;
    int32_t per_slab;   // pages
    int32_t first;      // slab with free pages, -1: none
    int32_t held;       // slabs
    int64_t committed;  // pages
    int64_t used;       // pages
};

struct seq {
    bool live;
    int32_t n_pos;      // committed
};

struct pages {
    int32_t lo, hi;     // entries changed, lo >= hi: none
    int32_t n_page;     // pages taken so far, those given back by kv_slide included
};

struct kvpool {
    int n_group, max_seq, max_page, max_rows;
    uint64_t slab_bytes;
    uint64_t first_slab; // byte offset: scratch lies before
    int32_t n_slab;
    int32_t free_slab;   // list head
    int32_t n_free;
    struct group *group;   // [n_group]
    struct slab *slab;     // [n_slab]
    struct seq *seq;       // [max_seq]
    struct pages *changed; // [n_group][max_seq]
    int32_t *table;        // [n_group][max_seq][max_page]
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

static uint64_t slab_size(const struct kv_group *group, int n_group, uint64_t *scratch)
{
    uint64_t size = SLAB_MIN;

    *scratch = 1024;
    for (int i = 0; i < n_group; i++) {
        if (group[i].bytes > *scratch)
            *scratch = group[i].bytes;
        while (size < group[i].bytes)
            size += SLAB_MIN;
    }
    return size;
}

static int64_t slabs_for(int64_t pages, int64_t per_slab)
{
    return (pages + per_slab - 1) / per_slab;
}

static int32_t pages_per_slab(uint64_t slab, uint64_t page)
{
    uint64_t n = slab / page;

    return (int32_t)(n < MAP_WORDS * 64 ? n : MAP_WORDS * 64);
}

uint64_t kv_bytes_for(const struct kv_group *group, int n_group, int n_seq, int n_pos,
                      int max_rows)
{
    uint64_t scratch;
    uint64_t slab = slab_size(group, n_group, &scratch);
    uint64_t n = 0;

    for (int i = 0; i < n_group; i++) {
        int64_t pages = pages_needed(group[i].window, n_pos, max_rows) * n_seq;

        n += (uint64_t)slabs_for(pages, pages_per_slab(slab, group[i].bytes));
    }
    return scratch + n * slab;
}

/* -- slabs -- */

static void list_take(struct kvpool *p, int32_t *head, int32_t s)
{
    struct slab *b = &p->slab[s];

    if (b->prev >= 0)
        p->slab[b->prev].next = b->next;
    else
        *head = b->next;
    if (b->next >= 0)
        p->slab[b->next].prev = b->prev;
}

static void list_give(struct kvpool *p, int32_t *head, int32_t s)
{
    p->slab[s].prev = -1;
    p->slab[s].next = *head;
    if (*head >= 0)
        p->slab[*head].prev = s;
    *head = s;
}

static void slab_take(struct kvpool *p, int g)
{
    int32_t s = p->free_slab;
    struct group *gr = &p->group[g];

    assert(s >= 0);
    list_take(p, &p->free_slab, s);
    p->n_free--;
    p->slab[s].group = g;
    p->slab[s].used = 0;
    memset(p->slab[s].free_map, 0, sizeof p->slab[s].free_map);
    for (int i = 0; i < gr->per_slab; i++)
        p->slab[s].free_map[i / 64] |= (uint64_t)1 << (i % 64);
    list_give(p, &gr->first, s);
    gr->held++;
}

static int32_t page_take(struct kvpool *p, int g)
{
    struct group *gr = &p->group[g];
    struct slab *b;
    int32_t s;
    int w = 0;
    int bit;

    if (gr->first < 0)
        slab_take(p, g);
    s = gr->first;
    b = &p->slab[s];
    while (!b->free_map[w])
        w++;
    bit = __builtin_ctzll(b->free_map[w]);
    b->free_map[w] &= b->free_map[w] - 1;
    gr->used++;
    if (++b->used == gr->per_slab)
        list_take(p, &gr->first, s);
    return (int32_t)((p->first_slab + (uint64_t)s * p->slab_bytes +
                      (uint64_t)(w * 64 + bit) * gr->page_bytes) / 1024);
}

static void page_give(struct kvpool *p, int g, int32_t kib)
{
    struct group *gr = &p->group[g];
    uint64_t at = (uint64_t)kib * 1024 - p->first_slab;
    int32_t s = (int32_t)(at / p->slab_bytes);
    int32_t i = (int32_t)(at % p->slab_bytes / gr->page_bytes);
    struct slab *b = &p->slab[s];

    assert(b->group == g && !(b->free_map[i / 64] >> (i % 64) & 1));
    if (b->used == gr->per_slab)
        list_give(p, &gr->first, s);
    b->free_map[i / 64] |= (uint64_t)1 << (i % 64);
    gr->used--;
    if (--b->used == 0) {
        list_take(p, &gr->first, s);
        b->group = -1;
        gr->held--;
        list_give(p, &p->free_slab, s);
        p->n_free++;
    }
}

/* -- tables -- */

static int32_t *row_of(const struct kvpool *p, int g, int seq)
{
    return p->table + ((int64_t)g * p->max_seq + seq) * p->max_page;
}

static void set_entry(struct kvpool *p, int g, int seq, int i, int32_t kib)
{
    struct pages *r = &p->changed[g * p->max_seq + seq];

    row_of(p, g, seq)[i] = kib;
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
        page_give(p, g, row[i]);
        set_entry(p, g, seq, i, 0);
    }
}

void kv_reserve(struct kvpool *p, int seq, int n_pos)
{
    assert(p->seq[seq].live && n_pos <= p->seq[seq].n_pos);
    for (int g = 0; g < p->n_group; g++) {
        struct pages *r = &p->changed[g * p->max_seq + seq];

        for (; r->n_page < pages_of(n_pos); r->n_page++)
            set_entry(p, g, seq, r->n_page, page_take(p, g));
    }
}

void kv_slide(struct kvpool *p, int seq, int pos)
{
    for (int g = 0; g < p->n_group; g++) {
        int64_t behind = (int64_t)pos - p->group[g].window + 1; // first position seen

        if (p->group[g].window > 0 && behind > 0)
            clear_entries(p, g, seq, 0, (int)(behind / KV_PAGE));
    }
}

void kv_trim(struct kvpool *p, int seq, int n_pos)
{
    for (int g = 0; g < p->n_group; g++) {
        struct pages *r = &p->changed[g * p->max_seq + seq];
        int32_t keep = (int32_t)pages_of(n_pos);

        clear_entries(p, g, seq, keep, p->max_page);
        if (r->n_page > keep)
            r->n_page = keep;
    }
}

/* -- commitments -- */

/* What all groups need when group sizes grow by more[]: slabs they hold, or will. A group takes a
 * new slab only when every page of its slabs is used, so it never holds more than this. */
static bool fits(const struct kvpool *p, int n_pos)
{
    int64_t need = 0;

    for (int g = 0; g < p->n_group; g++) {
        const struct group *gr = &p->group[g];
        int64_t pages = gr->committed + pages_needed(gr->window, n_pos, p->max_rows);
        int64_t slabs = slabs_for(pages, gr->per_slab);

        need += slabs > gr->held ? slabs : gr->held;
    }
    return need <= p->n_slab;
}

bool kv_possible(const struct kvpool *p, int n_pos)
{
    int64_t need = 0;

    if (pages_of(n_pos) > p->max_page)
        return false;
    for (int g = 0; g < p->n_group; g++) {
        const struct group *gr = &p->group[g];

        need += slabs_for(pages_needed(gr->window, n_pos, p->max_rows), gr->per_slab);
    }
    return need <= p->n_slab;
}

int kv_commit(struct kvpool *p, int n_pos)
{
    int seq = 0;

    if (!kv_possible(p, n_pos))
        return E_RANGE;
    while (seq < p->max_seq && p->seq[seq].live)
        seq++;
    if (seq == p->max_seq || !fits(p, n_pos))
        return E_BUSY;
    p->seq[seq] = (struct seq){true, n_pos};
    for (int g = 0; g < p->n_group; g++)
        p->group[g].committed += pages_needed(p->group[g].window, n_pos, p->max_rows);
    return seq;
}

void kv_drop(struct kvpool *p, int seq)
{
    assert(p->seq[seq].live);
    kv_trim(p, seq, 0);
    for (int g = 0; g < p->n_group; g++)
        p->group[g].committed -=
            pages_needed(p->group[g].window, p->seq[seq].n_pos, p->max_rows);
    p->seq[seq].live = false;
}

/* -- the pool -- */

int kv_open(struct kvpool **out, const struct kv_group *group, int n_group, uint64_t bytes,
            int max_seq, int max_pos, int max_rows, struct err *e)
{
    struct kvpool *p = mem_new(sizeof *p, e);
    uint64_t scratch;
    int64_t entries;

    if (!p)
        return E_NOMEM;
    p->n_group = n_group;
    p->max_seq = max_seq;
    p->max_rows = max_rows;
    p->max_page = (int)pages_of(max_pos);
    p->slab_bytes = slab_size(group, n_group, &scratch);
    p->first_slab = (scratch + 1023) / 1024 * 1024;
    if (n_group && bytes < p->first_slab + (uint64_t)n_group * p->slab_bytes) {
        uint64_t least = p->first_slab + (uint64_t)n_group * p->slab_bytes;

        kv_close(p);
        return err_set(e, E_RANGE, "%llu bytes of key/value memory: at least %llu are needed",
                       (unsigned long long)bytes, (unsigned long long)least);
    }
    if (n_group)
        p->n_slab = (int32_t)((bytes - p->first_slab) / p->slab_bytes);
    p->n_free = p->n_slab;
    p->free_slab = -1;
    entries = (int64_t)n_group * max_seq;
    p->group = mem_array((uint64_t)n_group, sizeof *p->group, e);
    p->slab = mem_array((uint64_t)p->n_slab, sizeof *p->slab, e);
    p->seq = mem_array((uint64_t)max_seq, sizeof *p->seq, e);
    p->changed = mem_array((uint64_t)entries, sizeof *p->changed, e);
    p->table = mem_array((uint64_t)entries * (uint64_t)p->max_page, sizeof *p->table, e);
    if (!p->group || !p->slab || !p->seq || !p->changed || !p->table) {
        kv_close(p);
        return E_NOMEM;
    }
    for (int g = 0; g < n_group; g++) {
        p->group[g].page_bytes = group[g].bytes;
        p->group[g].window = group[g].window;
        p->group[g].per_slab = pages_per_slab(p->slab_bytes, group[g].bytes);
        p->group[g].first = -1;
    }
    for (int32_t s = p->n_slab - 1; s >= 0; s--) {
        p->slab[s].group = -1;
        list_give(p, &p->free_slab, s);
    }
    *out = p;
    return 0;
}

void kv_close(struct kvpool *p)
{
    if (!p)
        return;
    mem_free(p->group);
    mem_free(p->slab);
    mem_free(p->seq);
    mem_free(p->changed);
    mem_free(p->table);
    mem_free(p);
}

const int32_t *kv_table(const struct kvpool *p, uint64_t *bytes)
{
    *bytes = (uint64_t)p->n_group * (uint64_t)p->max_seq * (uint64_t)p->max_page * 4;
    return p->table;
}

int kv_max_page(const struct kvpool *p)
{
    return p->max_page;
}

void kv_changed(struct kvpool *p, void (*fn)(void *ctx, uint64_t at, uint64_t n), void *ctx)
{
    for (int i = 0; i < p->n_group * p->max_seq; i++) {
        struct pages *r = &p->changed[i];

        if (r->lo < r->hi)
            fn(ctx, ((uint64_t)i * (uint64_t)p->max_page + (uint64_t)r->lo) * 4,
               (uint64_t)(r->hi - r->lo) * 4);
        r->lo = r->hi = 0;
    }
}

void kv_count(const struct kvpool *p, struct kv_count *out)
{
    *out = (struct kv_count){0, p->n_slab, p->n_slab - p->n_free};
    for (int g = 0; g < p->n_group; g++)
        out->pages_used += (int)p->group[g].used;
}
