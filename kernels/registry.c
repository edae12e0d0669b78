/* registry.c - see registry.h. */
#include "kernels/registry.h"

#include <string.h>

#include "base/mem.h"
#include "kernels/split.h"

extern const struct backend cpu_backend, split_backend;
#ifdef RILL_CUDA
extern const struct backend cuda_backend;
#include "kernels/cuda/there.h"
#endif

static const struct backend *const all[] = {
    &cpu_backend,
#ifdef RILL_CUDA
    &cuda_backend,
#endif
};

bool backend_is_auto(const char *device)
{
    return !device || strcmp(device, "auto") == 0;
}

static const struct backend *automatic(void)
{
#ifdef RILL_CUDA
    if (cuda_there())
        return &cuda_backend;
#endif
    return &cpu_backend;
}

const struct backend *backend_find(const char *device, const char **spec, struct err *e)
{
    const char *colon = device ? strchr(device, ':') : NULL;
    size_t n = device ? (colon ? (size_t)(colon - device) : strlen(device)) : 0;

    if (split_named(device)) {
        *spec = device;
        return &split_backend;
    }
    *spec = colon ? colon + 1 : "";
    if (backend_is_auto(device))
        return automatic();
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (strlen(all[i]->name) == n && memcmp(all[i]->name, device, n) == 0)
            return all[i];
    if (n == 4 && memcmp(device, "cuda", 4) == 0)
        err_set(e, E_UNSUPPORTED, "device %s: this build has no CUDA", device);
    else
        err_set(e, E_UNSUPPORTED, "device %s: expected cpu, cpu:THREADS, cuda:NUMBER or auto",
                device);
    return NULL;
}
