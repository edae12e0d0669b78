/* mla.c - splits attn_kv_b of older files.
 *
 * The result is F32 whatever the file has: the transposed half cannot stay in blocks, and only old
 * files pay for it.
 */
#include "model/mla.h"

#include <stdio.h>

#include "base/mem.h"

static int find(const struct weight *w, int n, int layer, const char *name)
{
    char full[64];

    snprintf(full, sizeof full, "blk.%d.%s.weight", layer, name);
    for (int i = 0; i < n; i++)
        if (slice_is(slice_of(w[i].name), full))
            return i;
    return -1;
}

static int unsupported(const struct weight *kv, struct err *e)
{
    return err_set(e, E_UNSUPPORTED, "tensor '%s' has a type that is not supported", kv->name);
}

static int split_layer(struct weight **w, int *n, struct weight_copy **copies,
                       const struct hparams *h, int layer, int at, struct err *e)
{
    int heads = h->n_head[layer], nope = h->dk_mla - h->n_rot, rank = h->kv_lora;
    float *k, *v, *row;
    char name[64];
    int rc;

    snprintf(name, sizeof name, "blk.%d.attn_k_b.weight", layer);
    if ((rc = weights_add(w, n, copies, name, heads, rank, nope, &k, e)) < 0)
        return rc;
    snprintf(name, sizeof name, "blk.%d.attn_v_b.weight", layer);
    if ((rc = weights_add(w, n, copies, name, heads, h->dv_mla, rank, &v, e)) < 0)
        return rc;
    if (!(row = mem_array((uint64_t)rank, sizeof *row, e)))
        return E_NOMEM;
    for (int i = 0; i < heads && rc == 0; i++) {
        const struct weight *kv = &(*w)[at]; /* rows of a head: its keys', then its values' */
        int64_t from = (int64_t)i * (nope + h->dv_mla);
        for (int r = 0; r < nope && rc == 0; r++) {
            if (!weight_row_f32(kv, 0, from + r, row))
                rc = unsupported(kv, e);
            for (int c = 0; c < rank; c++)
                k[((int64_t)i * rank + c) * nope + r] = row[c];
        }
        for (int r = 0; r < h->dv_mla && rc == 0; r++)
            if (!weight_row_f32(kv, 0, from + nope + r, v + ((int64_t)i * h->dv_mla + r) * rank))
                rc = unsupported(kv, e);
    }
    mem_free(row);
    return rc;
}

int mla_split(struct weight **w, int *n, struct weight_copy **copies, const struct hparams *h,
              struct err *e)
{
    int rc = 0;

    for (int l = 0; l < h->n_layer && rc == 0; l++) {
        int at = find(*w, *n, l, "attn_kv_b");
        if (at >= 0 && find(*w, *n, l, "attn_k_b") < 0)
            rc = split_layer(w, n, copies, h, l, at, e);
    }
    return rc;
}
