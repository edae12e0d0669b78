/* simt_run.h - launches on the host: what rt_simt.cc and the tests use. */
#ifndef RILL_TESTS_SIMT_RUN_H
#define RILL_TESTS_SIMT_RUN_H

#include "kernels/cuda/rt.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifdef RILL_GPU
static uint64_t simt_seed; // a GPU has an order of its own
#else
extern uint64_t simt_seed; // changes the order in which threads run
#endif

void simt_run(const struct rt_launch *l);

#ifdef __cplusplus
}
#endif
#endif
