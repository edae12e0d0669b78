/* map.c - see map.h. Open addressing, linear probing, at most two thirds full. */
#include "map.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "mem.h"

static uint32_t hash_of(const struct map *m, struct slice key)
{
    uint32_t h = (uint32_t)XXH3_64bits_withSeed(key.p, key.n, m->seed);

    return h ? h : 1;
}

static struct map_slot *find(const struct map *m, struct slice key, uint32_t h)
{
    uint32_t i = h & (m->cap - 1);

    while (m->slot[i].hash && !(m->slot[i].hash == h && slice_eq(m->slot[i].key, key)))
        i = (i + 1) & (m->cap - 1);
    return &m->slot[i];
}

static int grow(struct map *m, uint32_t cap, struct err *e)
{
    struct map_slot *old = m->slot;
    uint32_t n_old = m->cap;
    struct map_slot *fresh = mem_array(cap, sizeof *fresh, e);

    if (!fresh)
        return E_NOMEM;
    m->slot = fresh;
    m->cap = cap;
    for (uint32_t i = 0; i < n_old; i++)
        if (old[i].hash)
            *find(m, old[i].key, old[i].hash) = old[i];
    mem_free(old);
    return 0;
}

int map_init(struct map *m, uint64_t n, struct err *e)
{
    uint32_t cap = 16;

    /* the map's own address varies between runs, so that chosen keys cannot pile up */
    *m = (struct map){.seed = (uint64_t)(uintptr_t)m * 0x9e3779b97f4a7c15u};
    if (n > (1u << 30))
        return err_nomem(e, n);
    while ((uint64_t)cap * 2 < n * 3)
        cap *= 2;
    return grow(m, cap, e);
}

void map_fini(struct map *m)
{
    mem_free(m->slot);
    *m = (struct map){0};
}

int map_put(struct map *m, struct slice key, uint32_t value, struct err *e)
{
    uint32_t h = hash_of(m, key);
    struct map_slot *s;

    if ((uint64_t)(m->n + 1) * 3 > (uint64_t)m->cap * 2) {
        if (m->cap >= 1u << 31)
            return err_nomem(e, UINT32_MAX);
        if (grow(m, m->cap * 2, e) < 0)
            return E_NOMEM;
    }
    s = find(m, key, h);
    if (!s->hash)
        m->n++;
    *s = (struct map_slot){key, h, value};
    return 0;
}

bool map_get(const struct map *m, struct slice key, uint32_t *value)
{
    struct map_slot *s;

    if (!m->cap)
        return false;
    s = find(m, key, hash_of(m, key));
    if (!s->hash)
        return false;
    *value = s->value;
    return true;
}
