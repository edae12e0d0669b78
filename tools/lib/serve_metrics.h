/* serve_metrics.h - what the server counts, as Prometheus reads it. */
#ifndef RILL_TOOLS_SERVE_METRICS_H
#define RILL_TOOLS_SERVE_METRICS_H

#include "tools/lib/gpu.h"
#include "tools/lib/serve_keys.h"
#include "tools/lib/worker.h"

enum { METRIC_BUCKETS = 17 };

struct histogram {
    uint64_t count[METRIC_BUCKETS + 1]; // the last: above all
    double sum;
};

/* Of one model. */
struct metrics {
    struct histogram first_token, between, total, queue, prompt, front; // seconds
    uint64_t prompt_tokens, cached_tokens, drawn_tokens;
    uint64_t finished[4]; // stop, length, cancelled, failed
    int running, waiting; // calls that the engine has, also in its queue, and others
};

void histogram_add(struct histogram *h, double seconds);
/* gpus NULL: there are none to tell of, for the reason no_gpus. */
void metrics_write(struct buf *out, const struct metrics *m, struct worker *const *w, int n,
                   struct keys *keys, const uint64_t status[6], int connections,
                   const struct gpus *gpus, const char *no_gpus);

#endif
