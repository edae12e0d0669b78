/* registry.c - see registry.h. */
#include "kernels/registry.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

extern const struct backend cpu_backend;
#ifdef RILL_CUDA
extern const struct backend cuda_backend;
#endif

static const struct backend *const all[] = {
#ifdef RILL_CUDA
    &cuda_backend,
#endif
    &cpu_backend, // auto takes the first that opens; this one always does
};

/* Whether it has a device at all. */
static bool present(const struct backend *b)
{
    struct dev *d;

    if (b == &cpu_backend)
        return true;
    if (b->open(&d, "", NULL) < 0)
        return false;
    b->close(d);
    return true;
}

const struct backend *backend_find(const char *device, const char **spec, struct err *e)
{
    const char *colon = device ? strchr(device, ':') : NULL;
    size_t n = device ? (colon ? (size_t)(colon - device) : strlen(device)) : 0;

    *spec = colon ? colon + 1 : "";
    if (!device || (n == 4 && memcmp(device, "auto", 4) == 0)) {
        for (size_t i = 0; i < ARRAY_LEN(all); i++)
            if (present(all[i]))
                return all[i];
    }
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (device && strlen(all[i]->name) == n && memcmp(all[i]->name, device, n) == 0)
            return all[i];
    if (n == 4 && memcmp(device, "cuda", 4) == 0)
        err_set(e, E_UNSUPPORTED, "device %s: this build has no CUDA", device);
    else
        err_set(e, E_UNSUPPORTED, "device %s: expected cpu, cpu:THREADS, cuda:NUMBER or auto", device);
    return NULL;
}
