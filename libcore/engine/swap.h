/* swap.h - host memory for the pages of requests that were sent back to wait.
 *
 * What is kept of a request are the pages of its tables and its recurrent state, byte for byte. The
 * host block is cut as the device's is (pages.h). Nothing here allocates but swap_open.
 */
#ifndef RILL_ENGINE_SWAP_H
#define RILL_ENGINE_SWAP_H

#include "engine/kvpool.h"
#include "plan/backend.h"

struct swap;

/* What pages and states are copied from and to. */
struct swap_device {
    const struct backend *be;
    struct dev *dev;
    const struct kv_bind *kv;
    struct kvpool *pool;
    const struct kv_group *group;
    int n_group;
    uint32_t state_bytes;
};

int swap_open(struct swap **out, const struct swap_device *d, uint64_t bytes, struct err *e);
void swap_close(struct swap *s); // accepts NULL

/* Keeps what seq holds; its handle, or -1: there is no room (or the device failed). */
int swap_out(struct swap *s, int seq, int n_pos);
/* Brings it back into seq, whose pages for [0, n_pos) are there and complete up to from. The handle
 * stays. Negative: the device failed. */
int swap_in(struct swap *s, int handle, int seq, int from);
void swap_drop(struct swap *s, int handle); // accepts -1

#endif
