/* mla.h - multi-head latent attention: the matrices that older files keep as one. */
#ifndef RILL_MODEL_MLA_H
#define RILL_MODEL_MLA_H

#include "model/weights.h"

/* Where a layer has attn_kv_b but not attn_k_b and attn_v_b, makes those two, in F32: per head the
 * key half transposed (so that it takes queries to the latent space) and the value half. */
int mla_split(struct weight **w, int *n, struct weight_copy **copies, const struct hparams *h,
              struct err *e);

#endif
