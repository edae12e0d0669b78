/* map.h - a hash map from byte strings to 32-bit numbers. Keys are borrowed. */
#ifndef RILL_BASE_MAP_H
#define RILL_BASE_MAP_H

#include "err.h"
#include "slice.h"

struct map_slot {
    struct slice key;
    uint32_t hash; // 0: free
    uint32_t value;
};

struct map {
    struct map_slot *slot; // [cap]
    uint32_t cap;          // a power of two, or 0
    uint32_t n;
    uint64_t seed;
};

/* Room for n keys without growing; n may be 0. The map holds at most 2^30 keys. */
int map_init(struct map *m, uint64_t n, struct err *e);
void map_fini(struct map *m);
/* Adds or replaces. The key's bytes must outlive the map. */
int map_put(struct map *m, struct slice key, uint32_t value, struct err *e);
bool map_get(const struct map *m, struct slice key, uint32_t *value);

#endif
