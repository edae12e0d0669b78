/* kvpool.h - pages of key/value memory and who holds them: sequences, and the tree of known blocks.
 *
 * One block of memory is cut into pages (pages.h). A sequence has one page table per group of
 * layers; an entry is the page's place in the block in KiB, 0 where there is none. Page 0 is
 * scratch: what must not be kept is written there.
 *
 * Pages are counted. A page may be in several tables (kv_fork) and in the tree (kv_publish):
 * whoever wants to write into one that others hold gets a copy first. Complete blocks of KV_PAGE
 * positions that were published are found by later sequences (kv_look) and stay after their
 * sequence has gone, until their memory is wanted: the least recently used go first, and behind
 * windows what no sequence sees any more. Layers with a window keep only their window: kv_slide.
 *
 * Knows pages, token ids as names of blocks, and slots of recurrent state as numbers. Knows nothing
 * of models or scheduling; never touches the pages' bytes: copies are told to the caller.
 */
#ifndef RILL_ENGINE_KVPOOL_H
#define RILL_ENGINE_KVPOOL_H

#include "plan/plan.h"

#define KV_GROUPS 64 // groups of layers there can be

struct kvpool;

struct kv_opts {
    const struct kv_group *group; // [n_group] borrowed for the pool's life
    int n_group;
    uint64_t bytes;  // of the block
    int max_seq;
    int max_pos;     // positions of the longest sequence
    int max_rows;    // rows a sequence may store in one step (a window keeps that many more)
    int n_state;     // slots for checkpoints of recurrent state, numbered from max_seq; -1: the
                     // model has no such state, and a beginning needs none
    bool cache;      // keep published blocks
    uint64_t seed;   // of the tree's hash
};

/* E_RANGE with the least size when bytes cannot hold one sequence of one page. */
int kv_open(struct kvpool **out, const struct kv_opts *o, struct err *e);
void kv_close(struct kvpool *p); // accepts NULL

/* Bytes that let n_seq sequences hold n_pos positions each, scratch and rounding included. */
uint64_t kv_bytes_for(const struct kv_group *group, int n_group, int n_seq, int n_pos,
                      int max_rows);
/* Whether n_pos positions fit when nobody else is there. */
bool kv_possible(const struct kvpool *p, int n_pos);

/* What a sequence consists of, as far as pages are told apart by it. */
struct kv_text {
    const int32_t *id;     // [n]
    const uint32_t *paths; // word i, bit j: row 32 i + j was a generated one
    uint64_t key;          // of the tree: what else must be equal (adapter, client's salt)
};

/* -- sequences -- */

int kv_begin(struct kvpool *p); // an empty sequence, or -1
int kv_free_seqs(const struct kvpool *p);
void kv_drop(struct kvpool *p, int seq); // it is gone, and its holds

struct kv_match {
    int node;     // the last block's, -1: nothing is known
    int n_pos;    // positions that are there, a multiple of KV_PAGE
    int state;    // slot with the recurrent state behind them, -1: none
    int known;    // positions that are known, the states aside: where a checkpoint will be useful
    int64_t idle; // memory in KiB of those blocks that nobody uses
};
/* The longest known beginning of t, at most n_pos positions, cut at multiples of granule. */
struct kv_match kv_look(const struct kvpool *p, const struct kv_text *t, int n_pos, int granule);
/* Gives it to an empty sequence. Nothing may have happened to the pool since kv_look but kv_begin
 * and kv_attach. */
void kv_attach(struct kvpool *p, int seq, const struct kv_match *m);

/* Windowed layers of an empty or matched sequence begin with what rows from pos on see. */
void kv_skip(struct kvpool *p, int seq, int pos);
/* Pages for positions [0, to), those from position from on for seq alone. False: there is no
 * memory; what was taken so far stays. */
bool kv_reserve(struct kvpool *p, int seq, int from, int to);
/* Gives back pages that rows from position pos on cannot see: in groups with a window, those that
 * end at or before pos - window. */
void kv_slide(struct kvpool *p, int seq, int pos);
/* Forgets positions from n_pos on (pages that hold only such go back). */
void kv_trim(struct kvpool *p, int seq, int n_pos);
/* Another sequence with the first n_pos positions of seq, sharing its pages; -1: no sequence is
 * free. */
int kv_fork(struct kvpool *p, int seq, int n_pos);

/* The complete blocks among the first n_pos positions, whose rows have been computed, become known.
 * Where an equal block is known already its pages take the place of this sequence's. */
void kv_publish(struct kvpool *p, int seq, const struct kv_text *t, int n_pos);
/* Where the recurrent state behind all published blocks of seq should be copied, or -1: nowhere (it
 * is there already, or there is no slot). */
int kv_checkpoint(struct kvpool *p, int seq);
/* The published blocks of seq stay for good, whatever happens to it. */
void kv_pin(struct kvpool *p, int seq);
/* Forgets all blocks that no sequence uses. */
void kv_forget(struct kvpool *p);

/* -- known texts, and sequences put together page by page (kvfile.c) -- */

/* The known block that is block i of t behind node (-1: the first), or -1. */
int kv_follow(const struct kvpool *p, int node, const struct kv_text *t, int i);
/* An entry that seq has not: the page of a known block, or with node -1 a fresh one. False: the
 * block has none, or there is no memory. */
bool kv_place(struct kvpool *p, int seq, int g, int i, int node);
/* The next known block, in no order, that none follows under this key; after -1 the first; -1:
 * there is no other. */
int kv_leaf(const struct kvpool *p, int after, uint64_t key);
/* The text that ends with it: how many blocks; id and paths may be NULL. */
int kv_spell(const struct kvpool *p, int node, int32_t *id, uint32_t *paths);

/* -- tables and copies -- */

/* The page tables: int32 [n_group][max_seq][kv_max_page]. */
const int32_t *kv_table(const struct kvpool *p, uint64_t *bytes);
int kv_max_page(const struct kvpool *p);
int32_t kv_page(const struct kvpool *p, int g, int seq, int i); // 0: none
/* How many of their first n pages two sequences have in common, in all groups, where both have
 * one. */
int kv_alike(const struct kvpool *p, int a, int b, int n);

/* Ranges of the table changed since the last call, merged per sequence and group: calls fn with
 * byte offset and length. */
void kv_changed(struct kvpool *p, void (*fn)(void *ctx, uint64_t at, uint64_t n), void *ctx);

/* Pages to be copied before anything is written, in this order, since the last call: byte offsets
 * in the block and length. */
void kv_copies(struct kvpool *p, void (*fn)(void *ctx, uint64_t to, uint64_t from, uint64_t n),
               void *ctx);

/* -- how much there is, in KiB: what a scheduler counts with -- */

int64_t kv_left(const struct kvpool *p);                // free, or given up when wanted
int64_t kv_cost(const struct kvpool *p, int n_pos);     // of a sequence with n_pos positions
int64_t kv_block_cost(const struct kvpool *p);          // of one block in all groups
int64_t kv_alone(const struct kvpool *p, int seq);      // of pages that only seq and the tree hold
/* What [from, to) of seq will cost: fresh pages, and copies of shared ones. */
int64_t kv_more(const struct kvpool *p, int seq, int from, int to);

struct kv_count {
    int pages_used;   // of all groups, those in the tree alone included
    int slabs, slabs_used;
    int blocks, idle; // known; of those, not used by any sequence
    double held;      // part of the memory that sequences have, 0 to 1
    uint64_t evicted; // blocks given up
    uint64_t copied;  // pages copied before a write
};
void kv_count(const struct kvpool *p, struct kv_count *out);

#endif
