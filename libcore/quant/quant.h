/* quant.h - the table of weight formats: sizes, names, and scalar decoding and encoding of each.
 *
 * A format is one header (q4_k.h) and one row of formats.def; the table is made from those. The
 * functions here are the definition other code is measured against, not the fast way: kernels
 * instantiate the format headers themselves.
 */
#ifndef RILL_QUANT_QUANT_H
#define RILL_QUANT_QUANT_H

#include <stdbool.h>

#include "base/slice.h"
#include "quant/fmt.h"

#define FMT_BLOCK_MAX 256 // weights in the largest block
#define FMT_SUBS_MAX  16  // scales in the largest block
#define FMT_BYTES_MAX 256 // no block has more bytes

/* Pointers to blocks are aligned to 2 bytes; for I32 F32 to 4, for I64 F64 to 8. */
struct fmt_info {
    const char *name; // "Q4_K"
    enum fmt_id id;   // type number in a GGUF file
    int block;        // weights in a block
    int bytes;        // bytes of one
    int sub;          // weights sharing a scale: 16 or 32; 0: plain numbers
    bool has_min;     // weight = scale * code + min, not scale * code
    enum fmt_act act; // the form of activations its dot product wants
    float tol;        // a dot product is within tol * |w| * |x| of the one in f64 (Euclidean norms)
    void (*decode)(const void *blocks, float *out, size_t n_blocks);
    void (*encode)(const float *in, void *blocks, size_t n_blocks); // NULL: see encode_weighted
    /* NULL: an importance matrix changes nothing. column: how much each of the inputs' columns
     * counts, or NULL; mean2: mean of the squares of the row they are from. */
    void (*encode_weighted)(const float *in, const float *column, float mean2, void *blocks,
                            size_t n_blocks);
    float (*get)(const void *block, int i);                         // weight i; the definition
    void (*codes)(const void *block, int8_t *q);                    // [block]; NULL if sub is 0
    void (*scales)(const void *block, float *s, float *m);          // [block / sub]; likewise
};

/* NULL: no such format. Names are matched in any case. */
const struct fmt_info *fmt_find(int id);
const struct fmt_info *fmt_by_name(struct slice name);

/* The format whose name looks most like this one, for "did you mean"; never NULL. */
const struct fmt_info *fmt_nearest(struct slice name);

/* Row i of the table, in the order of type numbers; NULL past the end. */
const struct fmt_info *fmt_at(size_t i);

/* Bytes of a row of cols weights; false when there is no such format, cols is not a whole number of
 * blocks, or the bytes do not fit 64 bits. */
bool fmt_row_bytes(int id, uint64_t cols, uint64_t *out);

/* Bits per weight; 0 when there is no such format. */
double fmt_bpw(int id);

#endif
