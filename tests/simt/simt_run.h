/* simt_run.h - launches on the host: what rt_simt.cc and the tests use. */
#ifndef RILL_TESTS_SIMT_RUN_H
#define RILL_TESTS_SIMT_RUN_H

#include "kernels/cuda/rt.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifdef RILL_GPU
static long simt_launches;      // nobody counts
static uint64_t simt_seed;      // a GPU has an order of its own
static int64_t simt_fail_after; // and cannot be made to fail
static uint32_t simt_shared_most __attribute__((unused)); // has what it has
static uint32_t simt_first[3] __attribute__((unused));    // and does all of a grid
#else
extern long simt_launches;      // so far
extern uint64_t simt_seed;      // changes the order in which threads run
extern int64_t simt_fail_after; // calls to the device that succeed before all others fail; -1: all
extern uint32_t simt_shared_most; // bytes of shared memory that a block may have
extern uint32_t simt_first[3];    // blocks before this one are not run
extern void (*simt_told)(int32_t *p); // NULL, or called where a launch has told the host a word
#endif

/* What the runtime was asked for, for tests that forbid some of it. */
struct simt_count {
    uint64_t syncs, allocs, recorded;
    uint64_t ahead; // waits that left work behind what was waited for
};
#ifdef RILL_GPU
static struct simt_count simt_count __attribute__((unused));
#else
extern struct simt_count simt_count;
extern uint64_t simt_total; // bytes of a device
extern long simt_fail;      // so many allocations more succeed, then one fails; -1: all do
#endif

void simt_run(const struct rt_launch *l);

#ifdef __cplusplus
}
#endif
#endif
