/* rt.h - the little that the backend wants of a device's runtime: memory, copies, launches, graphs.
 *
 * rt_cuda.cu does it with the CUDA runtime; tests/simt does it on the host, so that the backend
 * and its kernels are tested where there is no GPU. Everything but the allocations is in the order
 * of one stream. A function returns 0, or -1 and rt_error() has the reason.
 */
#ifndef RILL_KERNELS_CUDA_RT_H
#define RILL_KERNELS_CUDA_RT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct rt;       // a device with its stream
struct rt_graph; // launches that are started together

/* A kernel; all of them take one structure by value. */
struct rt_kern {
    const char *name;
    const void *fn;                 // what the runtime launches
    void (*call)(const void *args); // the same as a function of the host, where there is no device
    uint32_t bytes;                 // of args
    bool together;                  // all its blocks are on the device at once, or it fails
};

struct rt_launch {
    const struct rt_kern *k;
    uint32_t grid[3];
    uint32_t block;
    uint32_t shared; // bytes of shared memory
    const void *args;
};

struct rt_info {
    char name[64];
    int32_t units; // multiprocessors
    int32_t sm;    // 90 for compute capability 9.0
    uint32_t shared; // bytes of shared memory that a block may have
    uint64_t total, free;
};

int rt_count(int *n);
int rt_open(struct rt **out, int index);
void rt_close(struct rt *d); // accepts NULL
void rt_info(const struct rt *d, struct rt_info *out);
const char *rt_error(void);

/* Device memory, or memory of the host that copies overlap with. NULL: there is none left. */
void *rt_alloc(struct rt *d, uint64_t n);
void rt_free(struct rt *d, void *p);
void *rt_alloc_host(struct rt *d, uint64_t n);
void rt_free_host(struct rt *d, void *p);

int rt_zero(struct rt *d, void *p, uint64_t n);
int rt_copy(struct rt *d, void *to, const void *from,
            uint64_t n);   // enqueued; any to any. What is
                           // neither device's nor from
                           // rt_alloc_host may be waited for
/* Likewise n bytes at the beginning of each of some pitches. */
int rt_copy_parts(struct rt *d, void *to, const void *from, uint64_t n, uint64_t pitch, int parts);
int rt_sync(struct rt *d); // all that was enqueued is done
int rt_launch(struct rt *d, const struct rt_launch *l);

/* Between begin and end launches are recorded, not done. */
int rt_record_begin(struct rt *d);
int rt_record_end(struct rt *d, struct rt_graph **out);
int rt_replay(struct rt *d, struct rt_graph *g);
void rt_graph_free(struct rt_graph *g); // accepts NULL

/* Marks a point of the stream; later rt_reached waits until it is passed. */
enum { RT_MARKS = 14 };
int rt_mark(struct rt *d, int i);
int rt_reached(struct rt *d, int i);

/* Waits until a word of pinned memory is no longer `was`, and gets it; -1 too if the mark is passed
 * and it still is. */
int rt_watch(struct rt *d, const volatile int32_t *word, int32_t was, int mark, int32_t *out);

/* Seconds of the device's own clock between two marks that were reached. */
int rt_between(struct rt *d, int a, int b, double *seconds);

#ifdef __cplusplus
}
#endif
#endif
