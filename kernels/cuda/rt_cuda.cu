/* rt_cuda.cu - rt.h with the CUDA runtime.
 *
 * The runtime is linked statically and finds the driver by itself; without a driver or a device
 * rt_count() fails with a sentence.
 */
#include <cuda_runtime.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/rt.h"

extern "C" {
#include "base/mem.h"
}

struct rt {
    int index;
    bool overlap; // a kernel's blocks may come before the kernel in front of it has ended
    cudaDeviceProp prop;
    cudaStream_t stream;
    cudaEvent_t mark[RT_MARKS];
};

struct rt_graph {
    cudaGraphExec_t exec;
};

static int result(cudaError_t rc)
{
    return rc == cudaSuccess ? 0 : -1;
}

/* Several devices may be open: what follows is for this one. */
static void use(const struct rt *d)
{
    cudaSetDevice(d->index);
}

/* The runtime says the same of a driver that is too old and of one that is not there. */
const char *rt_error(void)
{
    const cudaError_t rc = cudaGetLastError();
    int version = 0;

    if (rc != cudaErrorInsufficientDriver)
        return cudaGetErrorString(rc);
    cudaDriverGetVersion(&version);
    return version ? "the NVIDIA driver is too old for the CUDA of this program"
                   : "there is no NVIDIA driver";
}

int rt_count(int *n)
{
    *n = 0;
    return cudaGetDeviceCount(n) == cudaSuccess ? 0 : -1;
}

void rt_close(struct rt *d)
{
    if (!d)
        return;
    for (int i = 0; i < RT_MARKS; i++)
        if (d->mark[i])
            cudaEventDestroy(d->mark[i]);
    if (d->stream)
        cudaStreamDestroy(d->stream);
    mem_free(d);
}

int rt_open(struct rt **out, int index)
{
    struct rt *d = (struct rt *)mem_new(sizeof *d, NULL);
    const char *want = getenv("RILL_CUDA_OVERLAP");
    cudaError_t rc = cudaErrorMemoryAllocation;

    if (d)
        rc = cudaSetDevice(d->index = index);
    if (rc == cudaSuccess)
        rc = cudaGetDeviceProperties(&d->prop, index);
    if (rc == cudaSuccess)
        rc = cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking);
    /* measured by nobody yet: on where RILL_CUDA_OVERLAP=1 asks for it */
    if (rc == cudaSuccess)
        d->overlap = d->prop.major >= 9 && want && want[0] == '1';
    for (int i = 0; i < RT_MARKS && rc == cudaSuccess; i++)
        rc = cudaEventCreateWithFlags(&d->mark[i], cudaEventDefault);
    if (rc != cudaSuccess) {
        rt_close(d);
        return -1;
    }
    *out = d;
    return 0;
}

void rt_info(const struct rt *d, struct rt_info *out)
{
    size_t free_bytes = 0, total = 0;

    use(d);
    memset(out, 0, sizeof *out);
    cudaMemGetInfo(&free_bytes, &total);
    snprintf(out->name, sizeof out->name, "%d: %.50s", d->index, d->prop.name);
    out->units = d->prop.multiProcessorCount;
    out->sm = d->prop.major * 10 + d->prop.minor;
    out->shared = (uint32_t)d->prop.sharedMemPerBlockOptin;
    out->total = total;
    out->free = free_bytes;
}

/* An allocation that fails leaves the device usable, but its error behind. */
void *rt_alloc(struct rt *d, uint64_t n)
{
    void *p = NULL;

    use(d);
    if (cudaMalloc(&p, n ? n : 1) == cudaSuccess)
        return p;
    cudaGetLastError();
    return NULL;
}

void rt_free(struct rt *d, void *p)
{
    use(d);
    cudaFree(p);
}

void *rt_alloc_host(struct rt *d, uint64_t n)
{
    void *p = NULL;

    use(d);
    if (cudaMallocHost(&p, n ? n : 1) == cudaSuccess)
        return p;
    cudaGetLastError();
    return NULL;
}

void rt_free_host(struct rt *d, void *p)
{
    (void)d;
    cudaFreeHost(p);
}

int rt_zero(struct rt *d, void *p, uint64_t n)
{
    use(d);
    return result(cudaMemsetAsync(p, 0, n, d->stream));
}

int rt_copy(struct rt *d, void *to, const void *from, uint64_t n)
{
    use(d);
    return result(cudaMemcpyAsync(to, from, n, cudaMemcpyDefault, d->stream));
}

int rt_copy_parts(struct rt *d, void *to, const void *from, uint64_t n, uint64_t pitch, int parts)
{
    use(d);
    return result(cudaMemcpy2DAsync(to, pitch, from, pitch, n, (size_t)parts, cudaMemcpyDefault,
                                    d->stream));
}

int rt_sync(struct rt *d)
{
    return result(cudaStreamSynchronize(d->stream));
}

int rt_launch(struct rt *d, const struct rt_launch *l)
{
    void *args[] = {(void *)l->args};
    cudaLaunchAttribute attr = {};
    cudaLaunchConfig_t how = {};

    if (l->k->together) {
        attr.id = cudaLaunchAttributeCooperative;
        attr.val.cooperative = 1;
    } else {
        attr.id = cudaLaunchAttributeProgrammaticStreamSerialization;
        attr.val.programmaticStreamSerializationAllowed = 1;
    }
    how.gridDim = dim3(l->grid[0], l->grid[1], l->grid[2]);
    how.blockDim = dim3(l->block);
    how.dynamicSmemBytes = l->shared;
    how.stream = d->stream;
    how.attrs = &attr;
    how.numAttrs = d->overlap || l->k->together ? 1 : 0;
    use(d);
    if (l->shared > 48u << 10 &&
        cudaFuncSetAttribute(l->k->fn, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             (int)l->shared) != cudaSuccess)
        return -1;
    return result(cudaLaunchKernelExC(&how, l->k->fn, args));
}

int rt_record_begin(struct rt *d)
{
    use(d);
    return result(cudaStreamBeginCapture(d->stream, cudaStreamCaptureModeRelaxed));
}

int rt_record_end(struct rt *d, struct rt_graph **out)
{
    cudaGraph_t graph = NULL;
    cudaError_t rc = cudaStreamEndCapture(d->stream, &graph);
    struct rt_graph *g = (struct rt_graph *)mem_new(sizeof *g, NULL);

    if (rc == cudaSuccess)
        rc = g ? cudaGraphInstantiate(&g->exec, graph, 0) : cudaErrorMemoryAllocation;
    if (graph)
        cudaGraphDestroy(graph);
    if (rc != cudaSuccess) {
        mem_free(g);
        return -1;
    }
    *out = g;
    return 0;
}

int rt_replay(struct rt *d, struct rt_graph *g)
{
    use(d);
    return result(cudaGraphLaunch(g->exec, d->stream));
}

void rt_graph_free(struct rt_graph *g)
{
    if (!g)
        return;
    cudaGraphExecDestroy(g->exec);
    mem_free(g);
}

int rt_mark(struct rt *d, int i)
{
    use(d);
    return result(cudaEventRecord(d->mark[i], d->stream));
}

int rt_reached(struct rt *d, int i)
{
    return result(cudaEventSynchronize(d->mark[i]));
}

int rt_watch(struct rt *d, const volatile int32_t *word, int32_t was, int mark, int32_t *out)
{
    enum { LOOKS = 4096 }; // some us, at which the mark is asked for once

    for (bool passed = false;;) {
        for (int i = 0; i < LOOKS; i++)
            if ((*out = *word) != was)
                return 0;
        if (passed)
            return -1;
        const cudaError_t rc = cudaEventQuery(d->mark[mark]);
        if (rc != cudaSuccess && rc != cudaErrorNotReady)
            return -1;
        cudaGetLastError(); // that it is not ready is no error
        passed = rc == cudaSuccess;
    }
}

int rt_between(struct rt *d, int a, int b, double *seconds)
{
    float ms = 0.0f;
    cudaError_t rc = cudaEventElapsedTime(&ms, d->mark[a], d->mark[b]);

    *seconds = (double)ms * 1e-3;
    return result(rc);
}
