/* encode.h - turning rows of weights into blocks and back, as fast as this machine can.
 *
 * Every machine and every instruction-set level gives the bytes that quant/quant.h defines.
 */
#ifndef RILL_KERNELS_ENCODE_H
#define RILL_KERNELS_ENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* One format's encoder, with the tables it searches in. Read-only once made: any number of threads
 * may use one. */
struct encoder;

bool encoder_exists(int fmt);
/* E_UNSUPPORTED when weights cannot be encoded in that format. Tables to search in take up to half
 * a second to make. */
int encoder_new(struct encoder **out, int fmt, struct err *e);
void encoder_free(struct encoder *c); // accepts NULL

/* One row of n weights (whole blocks). column: [n] how much each input column counts, NULL: all
 * alike. A thread that encodes calls thread_ieee() first. */
void encode_row(const struct encoder *c, const float *in, const float *column, uint64_t n,
                void *out);

/* n weights (whole blocks) of any format as floats; fmt must exist. */
struct decoder {
    int fmt;
    void (*run)(const void *blocks, float *out, size_t n_blocks);
};
int decoder_find(struct decoder *d, int fmt, struct err *e);
void decode_row(const struct decoder *d, const void *in, uint64_t n, float *out);

#endif
