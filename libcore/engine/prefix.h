/* prefix.h - blocks of tokens whose key/value pages are known: a tree with one node per block.
 *
 * A block is KV_PAGE positions; its node hangs below the node of the block before it. A node is
 * found by a keyed hash of its parent, its token ids and the paths its rows were computed on
 * (DESIGN section 7); all of these are compared before it counts as found, so that an equal hash
 * alone is never a hit. A node has users, the sequences that go through it, and while it has none
 * it is idle: idle nodes are given up least recently used first, leaves before their parents.
 *
 * Knows nodes. Pages and states are numbers it keeps for the pool. Only prefix_open allocates.
 */
#ifndef RILL_ENGINE_PREFIX_H
#define RILL_ENGINE_PREFIX_H

#include "plan/plan.h"

/* One block of a sequence. */
struct block {
    const int32_t *id; // [KV_PAGE]
    uint32_t paths;    // bit i: row i was a generated one
};

struct prefix;

int prefix_open(struct prefix **out, int n_node, int n_group, uint64_t seed, struct err *e);
void prefix_close(struct prefix *t); // accepts NULL

/* The node for a block below parent (-1: none, where key tells trees apart), or -1. */
int prefix_find(const struct prefix *t, int parent, uint64_t key, struct block b);
/* A new node with one user; -1 when all nodes are taken (see prefix_oldest). */
int prefix_add(struct prefix *t, int parent, uint64_t key, struct block b);
/* Removes a node without users and children. */
void prefix_remove(struct prefix *t, int node);

int prefix_parent(const struct prefix *t, int node);
int prefix_depth(const struct prefix *t, int node); // blocks up to and with this one
int32_t *prefix_pages(const struct prefix *t, int node); // [n_group] the pool's, 0: none
int32_t *prefix_state(const struct prefix *t, int node); // the pool's, -1: none

/* A sequence begins or ceases to go through node and all above it. */
void prefix_use(struct prefix *t, int node);
void prefix_leave(struct prefix *t, int node);
/* The same for this node alone: the sequence goes on using, or already uses, those above. */
void prefix_use_one(struct prefix *t, int node);
void prefix_leave_one(struct prefix *t, int node);

/* The idle node that was left longest ago, never one with children; -1: none. */
int prefix_oldest(const struct prefix *t);

int prefix_count(const struct prefix *t); // nodes there are
int prefix_idle(const struct prefix *t);  // of those, idle ones
int prefix_room(const struct prefix *t);  // nodes there can be: node numbers are below
bool prefix_live(const struct prefix *t, int node);
bool prefix_used(const struct prefix *t, int node); // it has users
bool prefix_leaf(const struct prefix *t, int node, uint64_t key); // of key's tree, without children
struct block prefix_block(const struct prefix *t, int node); // borrowed

#endif
