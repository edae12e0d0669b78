/* peak.h - what this machine's processor multiplies at most, a limit to measure against. */
#ifndef RILL_KERNELS_PEAK_H
#define RILL_KERNELS_PEAK_H

#include "base/thread.h"

/* Products a second that the instruction-set level in use makes with the team's threads, in
 * registers alone: of bf16 in tiles, of 8-bit numbers, or of floats, by what prompt rows of
 * quantized matrices take. The best of a few milliseconds; 0: no level can run. */
double peak_products(struct team *t);

#endif
