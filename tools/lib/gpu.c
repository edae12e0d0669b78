/* gpu.c - see gpu.h. Of the library's interface (NVML) nine functions are used; their types are the
 * ones of its documentation.
 */
#include "tools/lib/gpu.h"

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>

#include "base/mem.h"

#define LIBRARY "libnvidia-ml.so.1"

enum { CLOCK_SM = 1, CLOCK_MEMORY = 2, SENSOR_GPU = 0 };

typedef void *device;
struct utilization {
    unsigned gpu, memory; // per cent of the time
};
struct memory {
    unsigned long long total, free, used;
};

struct gpus {
    void *lib;
    unsigned n;
    int (*init)(void);
    int (*shutdown)(void);
    int (*count)(unsigned *n);
    int (*handle)(unsigned i, device *d);
    int (*name)(device d, char *text, unsigned n);
    int (*utilization)(device d, struct utilization *u);
    int (*memory)(device d, struct memory *m);
    int (*power)(device d, unsigned *milliwatts);
    int (*limit)(device d, unsigned *milliwatts);
    int (*clock)(device d, int kind, unsigned *mhz);
    int (*heat)(device d, int sensor, unsigned *celsius);
};

static const struct {
    const char *name;
    size_t at;
} functions[] = {
    {"nvmlInit_v2", offsetof(struct gpus, init)},
    {"nvmlShutdown", offsetof(struct gpus, shutdown)},
    {"nvmlDeviceGetCount_v2", offsetof(struct gpus, count)},
    {"nvmlDeviceGetHandleByIndex_v2", offsetof(struct gpus, handle)},
    {"nvmlDeviceGetName", offsetof(struct gpus, name)},
    {"nvmlDeviceGetUtilizationRates", offsetof(struct gpus, utilization)},
    {"nvmlDeviceGetMemoryInfo", offsetof(struct gpus, memory)},
    {"nvmlDeviceGetPowerUsage", offsetof(struct gpus, power)},
    {"nvmlDeviceGetEnforcedPowerLimit", offsetof(struct gpus, limit)},
    {"nvmlDeviceGetClockInfo", offsetof(struct gpus, clock)},
    {"nvmlDeviceGetTemperature", offsetof(struct gpus, heat)},
};

static int load(struct gpus *g, struct err *e)
{
    g->lib = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!g->lib)
        return err_set(e, E_UNSUPPORTED, "no figures of GPUs: %s", dlerror());
    for (size_t i = 0; i < ARRAY_LEN(functions); i++) {
        void **to = (void **)(void *)((char *)g + functions[i].at); // as POSIX has it of dlsym

        *to = dlsym(g->lib, functions[i].name);
        if (!*to)
            return err_set(e, E_UNSUPPORTED, "no figures of GPUs: " LIBRARY " lacks %s",
                           functions[i].name);
    }
    return 0;
}

int gpus_open(struct gpus **out, struct err *e)
{
    struct gpus *g = mem_new(sizeof *g, e);
    int rc = g ? load(g, e) : E_NOMEM, why = 0;

    *out = NULL;
    if (rc == 0 && (why = g->init()) != 0) {
        g->shutdown = NULL;
        rc = err_set(e, E_UNSUPPORTED, "no figures of GPUs: the driver does not answer (error %d)",
                     why);
    }
    if (rc == 0 && (g->count(&g->n) != 0 || g->n == 0))
        rc = err_set(e, E_UNSUPPORTED, "no figures of GPUs: the driver knows of none");
    if (rc < 0) {
        gpus_close(g);
        return rc;
    }
    *out = g;
    return 0;
}

void gpus_close(struct gpus *g)
{
    if (!g)
        return;
    if (g->lib && g->shutdown)
        g->shutdown();
    if (g->lib)
        dlclose(g->lib);
    mem_free(g);
}

int gpus_count(const struct gpus *g)
{
    return g ? (int)g->n : 0;
}

void gpus_read(const struct gpus *g, int i, struct gpu_state *s)
{
    struct utilization u;
    struct memory m;
    unsigned v;
    device d;

    *s = (struct gpu_state){.busy = -1,
                            .mem_used = -1,
                            .mem_total = -1,
                            .watts = -1,
                            .watts_limit = -1,
                            .sm_hz = -1,
                            .mem_hz = -1,
                            .celsius = -1};
    if (g->handle((unsigned)i, &d) != 0)
        return;
    if (g->name(d, s->name, sizeof s->name) != 0)
        snprintf(s->name, sizeof s->name, "GPU %d", i);
    s->name[sizeof s->name - 1] = 0;
    if (g->utilization(d, &u) == 0)
        s->busy = u.gpu / 100.0;
    if (g->memory(d, &m) == 0) {
        s->mem_used = (double)m.used;
        s->mem_total = (double)m.total;
    }
    if (g->power(d, &v) == 0)
        s->watts = v / 1e3;
    if (g->limit(d, &v) == 0)
        s->watts_limit = v / 1e3;
    if (g->clock(d, CLOCK_SM, &v) == 0)
        s->sm_hz = v * 1e6;
    if (g->clock(d, CLOCK_MEMORY, &v) == 0)
        s->mem_hz = v * 1e6;
    if (g->heat(d, SENSOR_GPU, &v) == 0)
        s->celsius = v;
}
