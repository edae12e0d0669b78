/* synth.h - random blocks of any format: weights of real shape without a download.
 *
 * For speed measurements, memory tests and models made by tests/mkmodel. The codes are uniform
 * random bits; scales are set so that the weights have mean 0 and a given deviation.
 */
#ifndef RILL_QUANT_SYNTH_H
#define RILL_QUANT_SYNTH_H

#include "quant/quant.h"

/* False for the whole-number formats, which hold no weights. */
bool synth_can(const struct fmt_info *f);

/* Blocks [first, first + n) of the endless random matrix that seed names. A block depends on seed,
 * its number and dev alone: pieces may be made in any order. dev is kept as far as the format's
 * scales reach: MXFP4 and NVFP4 have coarse ones, and half-precision scales end at 65504. */
void synth_blocks(const struct fmt_info *f, void *out, uint64_t first, size_t n, float dev,
                  uint64_t seed);

#endif
