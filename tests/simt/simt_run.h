/* simt_run.h - launches on the host: what rt_simt.cc and the tests use. */
#ifndef RILL_TESTS_SIMT_RUN_H
#define RILL_TESTS_SIMT_RUN_H

#include "kernels/cuda/rt.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifdef RILL_GPU
static uint64_t simt_seed;      // a GPU has an order of its own
static int64_t simt_fail_after; // and cannot be made to fail
#else
extern uint64_t simt_seed;      // changes the order in which threads run
extern int64_t simt_fail_after; // calls to the device that succeed before all others fail; -1: all
#endif

void simt_run(const struct rt_launch *l);

#ifdef __cplusplus
}
#endif
#endif
