/* test_ops.c - every record kind on the CUDA backend, whose kernels run on the host: the same
 * definitions and schedules as tests/kernels/test_ops.c has for the CPU. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/simt/simt_run.h"

/* One level; every play has another order in which threads run: the bits are compared. */
static inline const char *rig_level(int l)
{
    return l == 0 ? "cuda" : NULL;
}

static inline void rig_use(const char *level)
{
    (void)level;
    simt_seed++;
}

static inline void rig_spec(char spec[16], int n_thread)
{
    (void)n_thread;
    snprintf(spec, 16, "0");
}

/* Pieces of changing length, and single rows; make check-long takes all schedules. */
static inline bool rig_is_long(void)
{
    const char *l = getenv("LONG");

    return l && *l;
}

static inline bool rig_leaves(int i)
{
    return i % 2 == 0 && !rig_is_long();
}

/* simt/attn and simt/formats have more of these, and the CPU's tests the same definitions. */
#define RIG_LATER(i)  ((i) % 2 == 0 && !rig_is_long())
#define RIG_HISTORIES (rig_is_long() ? 3 : 1) // simt/attn has windows, too
#define RIG_BACKEND   cuda_backend
#define RIG_NAME      "simt/ops"
#include "tests/kernels/test_ops.c"
