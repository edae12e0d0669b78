/* engine.h - the engine's insides, for the files of this room and its tests. */
#ifndef RILL_ENGINE_ENGINE_H
#define RILL_ENGINE_ENGINE_H

#include "engine/kvpool.h"
#include "engine/public.h"
#include "engine/request.h"
#include "engine/sampler.h"
#include "engine/spec.h"
#include "engine/swap.h"
#include "plan/backend.h"
#include "plan/ops.h"

struct adapters;
struct drafter;
struct embedder;

/* A step that was started: whose rows, and what it takes. */
struct flight {
    struct flown {
        struct request *r; // NULL: it has gone meanwhile
        int32_t pos, rows;
    } *part; // [cap]
    int n_part;
    int ticket; // of the run, or of steps; -1: nothing ran
    int n_step; // so many steps of one row in one go; 0: a run, and draws behind it
    int at;     // which of them is the step
    bool far;   // the device draws all of it
    struct op_cost cost; // for step_count
    double guess;
    int n_p;
};

struct rill_engine {
    struct rill_model *model;
    const struct backend *be;
    struct dev *dev;
    const struct plan *plan;
    struct segment seg;
    uint64_t *at;             // [n_value]
    struct segment *now;      // what runs the batch: seg, or the adapters' plan
    struct adapters *adapters; // NULL: none
    struct embedder *embed;   // NULL: no request may ask for vectors
    struct kvpool *pool;
    struct swap *swap;        // NULL: requests sent back to wait are computed again
    struct corpus *corpus;    // NULL: none
    struct drafter *drafter;  // smaller models that propose tokens, NULL: none
    struct request_limits lim;
    struct sched_limits limits;
    struct sampler_work work;
    struct con_vocab *vocab;  // once a request brought a constraint
    struct obey *obeyed;      // constraints in use
    uint32_t *mask;           // [vocab->n_word]
    int32_t *end_ids;         // [n_end] tokens that end a generation
    int n_end;
    int max_queue;
    int spare_state;          // the first of max_seq state slots that proposed rows write to
    bool cache;
    bool guard;               // a step that allocates aborts

    /* requests, and places that grow with them */
    struct request **req;     // [n_req]
    int n_req, cap, next_number;
    uint64_t next_arrival;
    struct sched_req *view;   // [cap]
    struct sched_pick pick;   // arrays of [cap]
    struct rill_event *event; // [(2 + OBEY_AHEAD) * cap + 2 * max_out + max_apart]
    int n_event, at_event;
    const struct request *solo; // the one that must be alone, NULL: none
    bool stuck;               // the last step could not begin
    double served[RILL_CLIENTS];

    /* the batch of a step */
    struct batch batch;
    int32_t *id, *row_seq, *pos, *out; // [max rows], out [max_out]
    struct seq_in *seqs;               // [max_seq]
    int32_t *alike;                    // [max_seq] batch.alike
    float *logits;            // [max_out x vocabulary] where the device's memory is not the host's
    struct devdraw *devdraw;  // tokens that the device draws, NULL: none
    struct flight flight[2];  // the step, and the next one if it was started before its time
    int turn;                 // which is the step
    bool coming;              // the other one was started (ahead.h)
    int in_a_row;             // steps started so since the scheduler was asked

    rill_steer_fn *steer; // NULL: nobody has a say
    void *steer_ctx;
    float *steer_row;         // [vocabulary]

    struct rill_stats stats;
    double cost_bytes, cost_row, cost_pos; // of the plan: what a step reads, flops of a row, of a
                                           // row for each position it sees
    double seconds_per_cost; // measured against the model's guess; 1 before the first step

    rill_dump_fn *dump;
    void *dump_ctx;
    int dump_from, dump_to;   // records
    float *dump_row;
    rill_columns_fn *columns;
    void *columns_ctx;
};

#define ENGINE_MAX_SEQ 4096

/* How large an engine is. */
struct engine_sizes {
    int max_seq, max_batch;  // 0: the defaults
    int max_draft;
    int max_out;             // rows with logits in a step: given, at least as many
    int n_ctx;
    int n_state;             // checkpoints of recurrent state
    int n_spare;             // slots for states behind proposed rows
    uint64_t kv;             // bytes
};
void engine_rows(struct engine_sizes *s); // fills in defaults and what follows from them


/* A step that allocates aborts the process; for tests. */
void engine_guard(struct rill_engine *g, bool on);

#endif
