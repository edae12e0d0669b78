/* engine.h - the engine's insides, for the files of this room and its tests. */
#ifndef RILL_ENGINE_ENGINE_H
#define RILL_ENGINE_ENGINE_H

#include "engine/kvpool.h"
#include "engine/request.h"
#include "engine/sampler.h"
#include "engine/public.h"
#include "plan/backend.h"

struct rill_engine {
    struct rill_model *model;
    const struct backend *be;
    struct dev *dev;
    const struct plan *plan;
    struct segment seg;
    uint64_t *at;             // [n_value]
    struct kvpool *pool;
    struct request_limits lim;
    struct sched_limits limits;
    struct sampler_work work;
    bool guard;               // a step that allocates aborts

    /* requests, and places that grow with them */
    struct request **req;     // [n_req]
    int n_req, cap, next_number;
    struct sched_req *view;   // [cap]
    struct sched_part *part;  // [cap]
    int32_t *order;           // [cap]
    struct rill_event *event; // [2 * cap + max_out]
    int n_event, at_event;

    /* the batch of a step */
    struct batch batch;
    int32_t *id, *row_seq, *pos, *out; // [max rows], out [max_out]
    struct seq_in *seqs;               // [max_seq]
    float *logits;            // [max_out x vocabulary] where the device's memory is not the host's
    int n_out;

    struct rill_stats stats;

    rill_dump_fn *dump;
    void *dump_ctx;
    int dump_from, dump_to;   // records
    float *dump_row;
};

#define ENGINE_MAX_SEQ 4096

/* How large an engine is. */
struct engine_sizes {
    int max_seq, max_batch;  // 0: the defaults
    int max_out;             // rows with logits in a step
    int n_ctx;
    uint64_t kv;             // bytes
};
void engine_rows(struct engine_sizes *s); // fills in defaults and what follows from them

/* A step that allocates aborts the process; for tests. */
void engine_guard(struct rill_engine *g, bool on);

#endif
