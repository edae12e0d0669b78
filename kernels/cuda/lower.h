/* lower.h - what the files that lower records share: a record's function gives its launches to the
 * segment (cuda_prep_launch) and asks for memory. All do nothing that matters after an error.
 */
#ifndef RILL_KERNELS_CUDA_LOWER_H
#define RILL_KERNELS_CUDA_LOWER_H

#include "kernels/cuda/cuda.h"

/* Whether all is well, `good` among it; else the record is refused with `what`. */
bool cuda_want(struct prep *p, bool good, const struct op *op, const char *what);

/* -- values, weights, memory -- */

int64_t cuda_max_rows(const struct prep *p, int rows); // rows: enum row_kind
struct view cuda_view(const struct prep *p, struct ref r);
int cuda_rows(const struct prep *p, struct ref r);
bool cuda_whole(const struct prep *p, struct ref r);
/* Memory that the records after this one use too. */
void *cuda_slot(struct prep *p, enum slot slot, uint64_t bytes);
/* n floats of the host in device memory that lives as long as the segment. */
float *cuda_upload(struct prep *p, const float *x, uint64_t n);
/* A weight as floats of the device; NULL for -1. n: how many. */
const float *cuda_vector(struct prep *p, int w, int64_t *n);
/* The table for a record's rotation, with a launch that fills it if none does yet. */
const float *cuda_rope_table(struct prep *p, const struct op *op);
bool cuda_rope_good(const struct op *op);
/* What is packed, or sorted, no longer agrees with a value that is written anew. */
void cuda_wrote(struct prep *p, const struct op *op);
/* Blocks of a grid for n things, `per` of them each. */
uint32_t cuda_blocks(int64_t n, int64_t per, int64_t most);

/* -- records -- */

typedef void cuda_low_fn(struct prep *p, const struct op *op);
cuda_low_fn cuda_low_linear, cuda_low_linear_heads, cuda_low_glu;
cuda_low_fn cuda_low_route, cuda_low_moe_glu, cuda_low_moe_down;
cuda_low_fn cuda_low_lora, cuda_low_steer;
cuda_low_fn cuda_low_kv_store, cuda_low_attn;
bool cuda_attn_good(const struct plan *p, const struct op *op);
bool cuda_is_attn(const struct rt_kern *k);

/* Norms and rotations of queries and keys, and the storing of keys and values behind them, which
 * begin with record i: as one launch, if it can be. How many records it did. */
int cuda_low_heads(struct prep *p, int32_t i);

#endif
