/* pages.h - one block of memory cut into slabs, slabs into pages, and how many hold each page.
 *
 * Slabs are lent to groups of layers; a group cuts its slabs into pages of KV_PAGE positions. A
 * page is named by its place in the block in KiB; place 0 is scratch, so 0 means "no page".
 *
 * Knows sizes and counts. Knows nothing of sequences, and never touches the block's bytes. Nothing
 * here allocates but pages_init.
 */
#ifndef RILL_ENGINE_PAGES_H
#define RILL_ENGINE_PAGES_H

#include "plan/plan.h"

struct slab;
struct page_group;

struct pages {
    int n_group;
    uint64_t slab_bytes;
    uint64_t first_slab;      // byte offset: scratch lies before
    int32_t n_slab;
    int32_t free_slab, n_free; // list of slabs nobody has, and its length
    int32_t most;             // pages of a slab of the group with the smallest ones
    struct page_group *group; // [n_group]
    struct slab *slab;        // [n_slab]
    int32_t *holders;         // [n_slab][most]
};

/* E_RANGE with the least size when bytes cannot hold one slab of each group. */
int pages_init(struct pages *p, const struct kv_group *group, int n_group, uint64_t bytes,
               struct err *e);
void pages_fini(struct pages *p);

/* Bytes of a block in which each group g can have n[g] pages at once. */
uint64_t pages_bytes(const struct kv_group *group, int n_group, const int64_t *n);

int32_t pages_take(struct pages *p, int g); // a page with one holder; 0: there is none
void pages_hold(struct pages *p, int g, int32_t page); // one holder more
bool pages_drop(struct pages *p, int g, int32_t page); // one less; true: it is free now
int32_t pages_holders(const struct pages *p, int g, int32_t page);

int32_t pages_used(const struct pages *p, int g);
int32_t pages_per_slab(const struct pages *p, int g);
/* Pages group g could take without a new slab. */
int32_t pages_left(const struct pages *p, int g);

#endif
