/* pages.c - see pages.h. */
#include "engine/pages.h"

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

struct page_group {
    uint64_t bytes;   // of a page
    int32_t per_slab; // pages
    int32_t first;    // slab with free pages, -1: none
    int32_t held;     // slabs
    int32_t used;     // pages
};

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

static int32_t per_slab(uint64_t slab, uint64_t page)
{
    uint64_t n = slab / page;

    return (int32_t)(n < MAP_WORDS * 64 ? n : MAP_WORDS * 64);
}

uint64_t pages_bytes(const struct kv_group *group, int n_group, const int64_t *n)
{
    uint64_t scratch;
    uint64_t slab = slab_size(group, n_group, &scratch);
    uint64_t slabs = 0;

    for (int i = 0; i < n_group; i++) {
        int64_t per = per_slab(slab, group[i].bytes);

        slabs += (uint64_t)((n[i] + per - 1) / per);
    }
    return scratch + slabs * slab;
}

/* -- slabs -- */

static void list_take(struct pages *p, int32_t *head, int32_t s)
{
    struct slab *b = &p->slab[s];

    if (b->prev >= 0)
        p->slab[b->prev].next = b->next;
    else
        *head = b->next;
    if (b->next >= 0)
        p->slab[b->next].prev = b->prev;
}

static void list_give(struct pages *p, int32_t *head, int32_t s)
{
    p->slab[s].prev = -1;
    p->slab[s].next = *head;
    if (*head >= 0)
        p->slab[*head].prev = s;
    *head = s;
}

static void slab_take(struct pages *p, int g)
{
    int32_t s = p->free_slab;
    struct page_group *gr = &p->group[g];

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

static void slab_give(struct pages *p, int32_t s)
{
    struct page_group *gr = &p->group[p->slab[s].group];

    list_take(p, &gr->first, s);
    p->slab[s].group = -1;
    gr->held--;
    list_give(p, &p->free_slab, s);
    p->n_free++;
}

/* -- pages -- */

/* A page's slab and its index there. */
static int32_t where(const struct pages *p, int g, int32_t page, int32_t *index)
{
    uint64_t at = (uint64_t)page * 1024 - p->first_slab;
    int32_t s = (int32_t)(at / p->slab_bytes);

    *index = (int32_t)(at % p->slab_bytes / p->group[g].bytes);
    assert(p->slab[s].group == g);
    return s;
}

static int32_t *count_of(const struct pages *p, int g, int32_t page)
{
    int32_t i;
    int32_t s = where(p, g, page, &i);

    return &p->holders[(int64_t)s * p->most + i];
}

int32_t pages_take(struct pages *p, int g)
{
    struct page_group *gr = &p->group[g];
    struct slab *b;
    int32_t s, i;
    int w = 0;

    if (gr->first < 0 && p->free_slab < 0)
        return 0;
    if (gr->first < 0)
        slab_take(p, g);
    s = gr->first;
    b = &p->slab[s];
    while (!b->free_map[w])
        w++;
    i = w * 64 + __builtin_ctzll(b->free_map[w]);
    b->free_map[w] &= b->free_map[w] - 1;
    gr->used++;
    if (++b->used == gr->per_slab)
        list_take(p, &gr->first, s);
    p->holders[(int64_t)s * p->most + i] = 1;
    return (int32_t)((p->first_slab + (uint64_t)s * p->slab_bytes + (uint64_t)i * gr->bytes) /
                     1024);
}

void pages_hold(struct pages *p, int g, int32_t page)
{
    int32_t *n = count_of(p, g, page);

    assert(*n > 0);
    ++*n;
}

bool pages_drop(struct pages *p, int g, int32_t page)
{
    struct page_group *gr = &p->group[g];
    int32_t i;
    int32_t s = where(p, g, page, &i);
    int32_t *n = &p->holders[(int64_t)s * p->most + i];
    struct slab *b = &p->slab[s];

    assert(*n > 0);
    if (--*n)
        return false;
    if (b->used == gr->per_slab)
        list_give(p, &gr->first, s);
    b->free_map[i / 64] |= (uint64_t)1 << (i % 64);
    gr->used--;
    if (--b->used == 0)
        slab_give(p, s);
    return true;
}

int32_t pages_holders(const struct pages *p, int g, int32_t page)
{
    return *count_of(p, g, page);
}

int32_t pages_used(const struct pages *p, int g)
{
    return p->group[g].used;
}

int32_t pages_per_slab(const struct pages *p, int g)
{
    return p->group[g].per_slab;
}

int32_t pages_left(const struct pages *p, int g)
{
    const struct page_group *gr = &p->group[g];

    return gr->held * gr->per_slab - gr->used;
}

/* -- the block -- */

int pages_init(struct pages *p, const struct kv_group *group, int n_group, uint64_t bytes,
               struct err *e)
{
    uint64_t scratch, least;

    *p = (struct pages){.n_group = n_group, .free_slab = -1, .most = 1};
    p->slab_bytes = slab_size(group, n_group, &scratch);
    p->first_slab = (scratch + 1023) / 1024 * 1024;
    least = p->first_slab + (uint64_t)n_group * p->slab_bytes;
    if (n_group && bytes < least)
        return err_set(e, E_RANGE, "%llu bytes of key/value memory: at least %llu are needed",
                       (unsigned long long)bytes, (unsigned long long)least);
    if (n_group)
        p->n_slab = (int32_t)((bytes - p->first_slab) / p->slab_bytes);
    for (int g = 0; g < n_group; g++)
        if (per_slab(p->slab_bytes, group[g].bytes) > p->most)
            p->most = per_slab(p->slab_bytes, group[g].bytes);
    p->group = mem_array((uint64_t)n_group, sizeof *p->group, e);
    p->slab = mem_array((uint64_t)p->n_slab, sizeof *p->slab, e);
    p->holders = mem_array((uint64_t)p->n_slab * (uint64_t)p->most, sizeof *p->holders, e);
    if (!p->group || !p->slab || !p->holders) {
        pages_fini(p);
        return E_NOMEM;
    }
    for (int g = 0; g < n_group; g++)
        p->group[g] = (struct page_group){.bytes = group[g].bytes,
                                          .per_slab = per_slab(p->slab_bytes, group[g].bytes),
                                          .first = -1};
    for (int32_t s = p->n_slab - 1; s >= 0; s--) {
        p->slab[s].group = -1;
        list_give(p, &p->free_slab, s);
    }
    p->n_free = p->n_slab;
    return 0;
}

void pages_fini(struct pages *p)
{
    mem_free(p->group);
    mem_free(p->slab);
    mem_free(p->holders);
    *p = (struct pages){0};
}
