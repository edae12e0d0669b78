/* cuda.cu - a CUDA device: found, described, its memory taken and filled.
 *
 * It has no kernels for records yet: can() says no to every kind, so prepare() refuses a plan with
 * a sentence that names the record. The runtime is linked statically and finds the driver by
 * itself; without a driver or a device open() fails with one sentence.
 */
#include <cuda_runtime.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
#include "base/mem.h"
#include "plan/backend.h"
#include "plan/ops.h"

extern const struct backend cuda_backend;
}

struct dev {
    int index;
    cudaDeviceProp prop;
    cudaStream_t stream;
};

static int fail(struct err *e, cudaError_t rc, const char *what)
{
    return err_set(e, E_DEVICE, "cuda: %s: %s", what, cudaGetErrorString(rc));
}

static void cuda_close(struct dev *d)
{
    if (!d)
        return;
    if (d->stream)
        cudaStreamDestroy(d->stream);
    mem_free(d);
}

/* "", "0", "1", ... */
static int parse_index(const char *spec, int n, struct err *e)
{
    char *end;
    long i = strtol(spec, &end, 10);

    if (*end || (end == spec && *spec) || i < 0 || i >= n)
        return err_set(e, E_DEVICE, "cuda:%s: there are %d devices, from 0", spec, n);
    return (int)i;
}

static int cuda_open(struct dev **out, const char *spec, struct err *e)
{
    int n = 0;
    cudaError_t rc = cudaGetDeviceCount(&n);
    struct dev *d;

    if (rc != cudaSuccess)
        return fail(e, rc, "no device can be used");
    n = parse_index(spec, n, e);
    if (n < 0)
        return n;
    d = (struct dev *)mem_new(sizeof *d, e);
    if (!d)
        return E_NOMEM;
    d->index = n;
    rc = cudaSetDevice(n);
    if (rc == cudaSuccess)
        rc = cudaGetDeviceProperties(&d->prop, n);
    if (rc == cudaSuccess)
        rc = cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking);
    if (rc != cudaSuccess) {
        cuda_close(d);
        return fail(e, rc, "the device cannot be opened");
    }
    *out = d;
    return 0;
}

static void cuda_info(const struct dev *d, struct dev_info *out)
{
    size_t free_bytes = 0, total = 0;

    memset(out, 0, sizeof *out);
    cudaMemGetInfo(&free_bytes, &total);
    snprintf(out->name, sizeof out->name, "cuda:%d: %.40s", d->index, d->prop.name);
    out->bytes_total = total;
    out->bytes_free = free_bytes;
    out->units = d->prop.multiProcessorCount;
}

static int cuda_mem(struct dev *d, uint64_t n, enum mem_kind k, void *host, struct mem *out,
                    struct err *e)
{
    cudaError_t rc;
    struct dev_info info;

    memset(out, 0, sizeof *out);
    out->bytes = n;
    out->kind = (uint8_t)k;
    if (host) { // stays where it is: load() copies from there
        out->p = host;
        out->host = out->adopted = true;
        return 0;
    }
    out->host = k != MEM_DEVICE;
    rc = out->host ? cudaMallocHost(&out->p, n) : cudaMalloc(&out->p, n);
    if (rc == cudaSuccess)
        rc = out->host ? (memset(out->p, 0, n), cudaSuccess) : cudaMemset(out->p, 0, n);
    if (rc == cudaSuccess)
        return 0;
    cudaGetLastError(); // an allocation that failed leaves the device usable
    cuda_info(d, &info);
    return err_set(e, E_DEVICE, "%s: %llu bytes wanted, %llu free", info.name,
                   (unsigned long long)n, (unsigned long long)info.bytes_free);
}

static void cuda_unmem(struct dev *d, struct mem *m)
{
    (void)d;
    if (m->p && !m->adopted) {
        if (m->host)
            cudaFreeHost(m->p);
        else
            cudaFree(m->p);
    }
    memset(m, 0, sizeof *m);
}

static int cuda_copy(struct dev *d, struct mem to, uint64_t at, struct mem from, uint64_t from_at,
                     uint64_t n)
{
    if (cudaMemcpyAsync((char *)to.p + at, (const char *)from.p + from_at, n, cudaMemcpyDefault,
                        d->stream) != cudaSuccess)
        return E_DEVICE;
    return cudaStreamSynchronize(d->stream) == cudaSuccess ? 0 : E_DEVICE;
}

static int cuda_load(struct dev *d, struct weight *w, struct err *e)
{
    for (unsigned i = 0; i < ARRAY_LEN(w->part) && w->part[i].p; i++) {
        struct mem m;
        int rc;

        if (!w->part[i].host)
            continue;
        rc = cuda_mem(d, w->part[i].bytes, MEM_DEVICE, NULL, &m, e);
        if (rc < 0)
            return rc;
        rc = cuda_copy(d, m, 0, w->part[i], 0, m.bytes);
        cuda_unmem(d, &w->part[i]);
        w->part[i] = m;
        if (rc < 0)
            return err_set(e, E_DEVICE, "cuda: tensor '%s' cannot be copied", w->name);
    }
    return 0;
}

static bool cuda_can(const struct dev *d, const struct plan *p, const struct op *op)
{
    (void)d;
    (void)p;
    (void)op;
    return false;
}

static int cuda_prepare(struct dev *d, struct segment *s, struct err *e)
{
    for (int i = s->from; i < s->to; i++)
        if (!cuda_can(d, s->plan, &s->plan->op[i]))
            return err_set(e, E_UNSUPPORTED, "cuda: record %d (%s) has no kernel on this device", i,
                           op_info(s->plan->op[i].kind)->name);
    return 0;
}

static int cuda_run(struct dev *d, struct segment *s, const struct batch *b)
{
    (void)d;
    (void)b;
    return s->from == s->to ? 0 : E_DEVICE;
}

static int cuda_wait(struct dev *d, int ticket)
{
    (void)ticket;
    return cudaStreamSynchronize(d->stream) == cudaSuccess ? 0 : E_DEVICE;
}

const struct backend cuda_backend = {"cuda",    cuda_open, cuda_close, cuda_info,
                                     cuda_mem,  cuda_unmem, cuda_copy, cuda_load,
                                     cuda_can,  cuda_prepare, cuda_run, cuda_wait};
