/* there.h - whether this machine has a CUDA device. */
#ifndef RILL_KERNELS_CUDA_THERE_H
#define RILL_KERNELS_CUDA_THERE_H

#include <stdbool.h>

bool cuda_there(void);

#endif
