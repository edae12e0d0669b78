/* prefix.c - see prefix.h. */
#include "engine/prefix.h"

#include <assert.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/mem.h"

struct node {
    XXH128_hash_t hash;
    int32_t id[KV_PAGE];
    uint32_t paths;
    uint64_t key;
    int32_t parent, depth, children, users;
    int32_t prev, next; // idle list: next is more recent
    int32_t chain;      // next in its bucket, or in the free list
    int32_t state;
    bool live;
};

struct prefix {
    int32_t n_node, n_group, n_live, n_idle;
    int32_t free, oldest, newest;
    uint32_t mask;
    uint64_t seed;
    struct node *node; // [n_node]
    int32_t *pages;    // [n_node][n_group]
    int32_t *bucket;   // [mask + 1]
};

static XXH128_hash_t hash_of(const struct prefix *t, int parent, uint64_t key, struct block b)
{
    struct {
        XXH128_hash_t up;
        uint64_t key;
        uint64_t paths;
        int32_t id[KV_PAGE];
    } in;

    memset(&in, 0, sizeof in);
    if (parent >= 0)
        in.up = t->node[parent].hash;
    in.key = key;
    in.paths = b.paths;
    memcpy(in.id, b.id, sizeof in.id);
    return XXH3_128bits_withSeed(&in, sizeof in, t->seed);
}

/* -- the idle list -- */

static void idle_take(struct prefix *t, int32_t i)
{
    struct node *n = &t->node[i];

    *(n->prev >= 0 ? &t->node[n->prev].next : &t->oldest) = n->next;
    *(n->next >= 0 ? &t->node[n->next].prev : &t->newest) = n->prev;
    t->n_idle--;
}

static void idle_give(struct prefix *t, int32_t i)
{
    struct node *n = &t->node[i];

    n->prev = t->newest;
    n->next = -1;
    *(t->newest >= 0 ? &t->node[t->newest].next : &t->oldest) = i;
    t->newest = i;
    t->n_idle++;
}

/* -- nodes -- */

int prefix_find(const struct prefix *t, int parent, uint64_t key, struct block b)
{
    const XXH128_hash_t h = hash_of(t, parent, key, b);

    for (int32_t i = t->bucket[h.low64 & t->mask]; i >= 0; i = t->node[i].chain) {
        const struct node *n = &t->node[i];

        if (XXH128_isEqual(n->hash, h) && n->parent == parent && n->key == key &&
            n->paths == b.paths && memcmp(n->id, b.id, sizeof n->id) == 0)
            return i;
    }
    return -1;
}

int prefix_add(struct prefix *t, int parent, uint64_t key, struct block b)
{
    const int32_t i = t->free;
    struct node *n = &t->node[i];
    int32_t *bucket;

    if (i < 0)
        return -1;
    t->free = n->chain;
    *n = (struct node){.hash = hash_of(t, parent, key, b),
                       .paths = b.paths,
                       .key = key,
                       .parent = parent,
                       .depth = parent >= 0 ? t->node[parent].depth + 1 : 1,
                       .users = 1,
                       .state = -1,
                       .live = true};
    memcpy(n->id, b.id, sizeof n->id);
    memset(t->pages + (int64_t)i * t->n_group, 0, (size_t)t->n_group * sizeof *t->pages);
    bucket = &t->bucket[n->hash.low64 & t->mask];
    n->chain = *bucket;
    *bucket = i;
    if (parent >= 0)
        t->node[parent].children++;
    t->n_live++;
    return i;
}

void prefix_remove(struct prefix *t, int node)
{
    struct node *n = &t->node[node];
    int32_t *at = &t->bucket[n->hash.low64 & t->mask];

    assert(n->live && n->users == 0 && n->children == 0);
    idle_take(t, node);
    while (*at != node)
        at = &t->node[*at].chain;
    *at = n->chain;
    if (n->parent >= 0)
        t->node[n->parent].children--;
    n->live = false;
    n->chain = t->free;
    t->free = node;
    t->n_live--;
}

int prefix_parent(const struct prefix *t, int node)
{
    return t->node[node].parent;
}

int prefix_depth(const struct prefix *t, int node)
{
    return node < 0 ? 0 : t->node[node].depth;
}

int32_t *prefix_pages(const struct prefix *t, int node)
{
    return t->pages + (int64_t)node * t->n_group;
}

int32_t *prefix_state(const struct prefix *t, int node)
{
    return &t->node[node].state;
}

void prefix_use_one(struct prefix *t, int node)
{
    if (t->node[node].users++ == 0)
        idle_take(t, node);
}

void prefix_use(struct prefix *t, int node)
{
    for (; node >= 0; node = t->node[node].parent)
        prefix_use_one(t, node);
}

void prefix_leave_one(struct prefix *t, int node)
{
    assert(t->node[node].users > 0);
    if (--t->node[node].users == 0)
        idle_give(t, node);
}

/* The deepest goes first, so a parent is always more recent than its children. */
void prefix_leave(struct prefix *t, int node)
{
    for (; node >= 0; node = t->node[node].parent)
        prefix_leave_one(t, node);
}

int prefix_oldest(const struct prefix *t)
{
    return t->oldest;
}

int prefix_count(const struct prefix *t)
{
    return t->n_live;
}

int prefix_idle(const struct prefix *t)
{
    return t->n_idle;
}

int prefix_room(const struct prefix *t)
{
    return t->n_node;
}

bool prefix_live(const struct prefix *t, int node)
{
    return t->node[node].live;
}

bool prefix_used(const struct prefix *t, int node)
{
    return t->node[node].users > 0;
}

bool prefix_leaf(const struct prefix *t, int node, uint64_t key)
{
    return t->node[node].live && !t->node[node].children && t->node[node].key == key;
}

struct block prefix_block(const struct prefix *t, int node)
{
    return (struct block){t->node[node].id, t->node[node].paths};
}

/* -- the tree -- */

int prefix_open(struct prefix **out, int n_node, int n_group, uint64_t seed, struct err *e)
{
    struct prefix *t = mem_new(sizeof *t, e);
    uint32_t buckets = 16;

    if (!t)
        return E_NOMEM;
    while (buckets < (uint32_t)n_node && buckets < 1u << 30)
        buckets *= 2;
    t->n_node = n_node;
    t->n_group = n_group;
    t->mask = buckets - 1;
    t->seed = seed;
    t->free = t->oldest = t->newest = -1;
    t->node = mem_array((uint64_t)n_node, sizeof *t->node, e);
    t->pages = mem_array((uint64_t)n_node * (uint64_t)n_group, sizeof *t->pages, e);
    t->bucket = mem_array(buckets, sizeof *t->bucket, e);
    if (!t->node || !t->pages || !t->bucket) {
        prefix_close(t);
        return E_NOMEM;
    }
    memset(t->bucket, -1, buckets * sizeof *t->bucket);
    for (int32_t i = n_node - 1; i >= 0; i--) {
        t->node[i].chain = t->free;
        t->free = i;
    }
    *out = t;
    return 0;
}

void prefix_close(struct prefix *t)
{
    if (!t)
        return;
    mem_free(t->node);
    mem_free(t->pages);
    mem_free(t->bucket);
    mem_free(t);
}
