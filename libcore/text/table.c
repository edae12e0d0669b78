/* table.c - see table.h. Open addressing with linear probing, at most half full. */
#include "table.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t long_key(uint64_t seed, const char *p, size_t n)
{
    return XXH3_64bits_withSeed(p, n, seed);
}

/* A power of two, at least twice n. */
static int room(uint64_t n, uint32_t *mask, struct err *e)
{
    uint32_t cap = 16;

    if (n > 1u << 29)
        return err_nomem(e, n);
    while (cap < 2 * n)
        cap *= 2;
    *mask = cap - 1;
    return 0;
}

int piece_table_new(struct piece_table *t, uint64_t n, struct err *e)
{
    int rc = room(n, &t->mask, e);

    if (rc < 0)
        return rc;
    t->n = 0;
    /* the table's own address varies between runs, so that chosen pieces cannot pile up */
    t->seed = (uint64_t)(uintptr_t)t * 0x9e3779b97f4a7c15u;
    t->slot = mem_array((uint64_t)t->mask + 1, sizeof *t->slot, e);
    if (!t->slot)
        return E_NOMEM;
    for (uint32_t i = 0; i <= t->mask; i++)
        t->slot[i].id = NO_ID;
    return 0;
}

void piece_table_fini(struct piece_table *t)
{
    mem_free(t->slot);
    t->slot = NULL;
}

bool piece_table_put(struct piece_table *t, uint32_t id)
{
    const char *p = *t->arena + (*t->at)[id];
    uint32_t n = (*t->at)[id + 1] - (*t->at)[id];
    uint64_t key = piece_key(t, p, n);
    uint32_t i = piece_place(t, key, n);

    for (; t->slot[i].id != NO_ID; i = (i + 1) & t->mask) {
        const struct piece_slot *s = &t->slot[i];

        if (s->key == key && s->n == n &&
            (n <= 8 || memcmp(*t->arena + (*t->at)[s->id], p, n) == 0))
            return false;
    }
    t->slot[i] = (struct piece_slot){key, id, n};
    t->n++;
    return true;
}

int pair_table_new(struct pair_table *t, uint64_t n, struct err *e)
{
    int rc = room(n, &t->mask, e);

    if (rc < 0)
        return rc;
    t->n = 0;
    t->seed = (uint64_t)(uintptr_t)t * 0x9e3779b97f4a7c15u;
    t->slot = mem_array((uint64_t)t->mask + 1, sizeof *t->slot, e);
    if (!t->slot)
        return E_NOMEM;
    for (uint32_t i = 0; i <= t->mask; i++)
        t->slot[i].key = UINT64_MAX;
    return 0;
}

void pair_table_fini(struct pair_table *t)
{
    mem_free(t->slot);
    t->slot = NULL;
}

void pair_table_put(struct pair_table *t, uint32_t left, uint32_t right, uint32_t rank,
                    uint32_t into)
{
    uint64_t key = (uint64_t)left << 32 | right;
    uint32_t i = (uint32_t)mix(key ^ t->seed) & t->mask;

    while (t->slot[i].key != UINT64_MAX && t->slot[i].key != key)
        i = (i + 1) & t->mask;
    if (t->slot[i].key == key)
        return;
    t->slot[i] = (struct pair_slot){key, rank, into};
    t->n++;
}
