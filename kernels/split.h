/* split.h - several devices as one: the backend that deals a plan out over others.
 *
 * What it is opened with: DEVICE[=LAYERS],DEVICE[=LAYERS]...[,experts=DEVICE], as in
 * "cpu,cuda:0=20" (the last 20 layers on the GPU) or "cuda:0,experts=cpu". Without a number a
 * device takes an equal part of the layers that the others leave.
 */
#ifndef RILL_KERNELS_SPLIT_H
#define RILL_KERNELS_SPLIT_H

#include <stdbool.h>

/* Whether a device's name is such a list. */
bool split_named(const char *device);

#endif
