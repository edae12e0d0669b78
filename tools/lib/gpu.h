/* gpu.h - what the driver tells of GPUs: how busy they are, their memory, power, clocks and heat.
 *
 * By NVIDIA's management library, which comes with the driver and is opened only when asked for.
 */
#ifndef RILL_TOOLS_GPU_H
#define RILL_TOOLS_GPU_H

#include "base/err.h"

struct gpus;

/* Negative where a GPU does not tell. */
struct gpu_state {
    char name[96];
    double busy;                // 0 to 1
    double mem_used, mem_total; // bytes
    double watts, watts_limit;
    double sm_hz, mem_hz;
    double celsius;
};

/* E_UNSUPPORTED with the reason where there is no such library, or it finds no GPU. */
int gpus_open(struct gpus **out, struct err *e);
void gpus_close(struct gpus *g);      // accepts NULL
int gpus_count(const struct gpus *g); // accepts NULL
void gpus_read(const struct gpus *g, int i, struct gpu_state *out);

#endif
