/* kvpool.h - pages of key/value memory and who holds them.
 *
 * One block of memory is cut into slabs, slabs are lent to groups of layers, and a group cuts its
 * slabs into pages of KV_PAGE positions. A sequence has one page table per group; an entry is the
 * page's place in the block in KiB. Page 0 is scratch: what must not be kept is written there.
 *
 * A sequence first commits: it states how many positions it may come to hold, and the pool checks
 * that all commitments together fit. After that kv_reserve cannot fail. Pages are taken only as
 * they are needed.
 *
 * Knows pages and counts. Knows nothing of models, what tokens mean, or scheduling; never touches
 * the pages' bytes.
 */
#ifndef RILL_ENGINE_KVPOOL_H
#define RILL_ENGINE_KVPOOL_H

#include "plan/plan.h"

struct kvpool;

/* group: [n_group] borrowed for the pool's life. bytes: size of the block. max_pos: positions of
 * the longest sequence; max_rows: rows a sequence may store in one step (a window keeps that many
 * more). E_RANGE with the least size when bytes cannot hold one sequence of one page. */
int kv_open(struct kvpool **out, const struct kv_group *group, int n_group, uint64_t bytes,
            int max_seq, int max_pos, int max_rows, struct err *e);
void kv_close(struct kvpool *p); // accepts NULL

/* Bytes that let n_seq sequences hold n_pos positions each, scratch and rounding included. */
uint64_t kv_bytes_for(const struct kv_group *group, int n_group, int n_seq, int n_pos,
                      int max_rows);

/* A free sequence with room for n_pos positions; its number, or E_BUSY when there is none now, or
 * E_RANGE when there never will be. */
int kv_commit(struct kvpool *p, int n_pos);

/* Whether n_pos positions fit when nobody else is there. */
bool kv_possible(const struct kvpool *p, int n_pos);

/* Pages for positions [0, n_pos) of seq; n_pos is at most what was committed. */
void kv_reserve(struct kvpool *p, int seq, int n_pos);

/* Gives back pages that rows from position pos on cannot see: in groups with a window, those that
 * end at or before pos - window. */
void kv_slide(struct kvpool *p, int seq, int pos);

/* Forgets positions from n_pos on (pages that hold only such go back). */
void kv_trim(struct kvpool *p, int seq, int n_pos);

/* The sequence is gone, its pages and commitment too. */
void kv_drop(struct kvpool *p, int seq);

/* The page tables: int32 [n_group][max_seq][kv_max_page]. */
const int32_t *kv_table(const struct kvpool *p, uint64_t *bytes);
int kv_max_page(const struct kvpool *p);

/* Ranges of the table changed since the last call, merged per sequence and group: calls fn with
 * byte offset and length. */
void kv_changed(struct kvpool *p, void (*fn)(void *ctx, uint64_t at, uint64_t n), void *ctx);

struct kv_count {
    int pages_used; // of all groups
    int slabs, slabs_used;
};
void kv_count(const struct kvpool *p, struct kv_count *out);

#endif
