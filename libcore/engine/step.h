/* step.h - a step's batch: laid out, run, read back, counted. */
#ifndef RILL_ENGINE_STEP_H
#define RILL_ENGINE_STEP_H

#include "engine/engine.h"

/* Whether these next rows of r leave their state aside: it may have to be forgotten. */
bool step_spares(const struct rill_engine *g, const struct request *r, int rows);
void step_layout(struct rill_engine *g); // g->pick's parts to g->batch
void step_tables(struct rill_engine *g); // page tables to the device, where they changed
void step_alike(struct rill_engine *g);  // tells the batch which sequences begin alike
/* The same of rows that are fed what their requests are about to draw: begin, then each. */
void step_begin(struct rill_engine *g);
void step_next(struct rill_engine *g, struct request *r, int pos);
void step_measure(struct rill_engine *g); // what the step takes, for step_count
/* Enqueued, and draws on the device behind it; then waited for. Logits that are wanted on the host
 * are there afterwards. */
int step_start(struct rill_engine *g, struct err *e);
int step_finish(struct rill_engine *g, struct err *e);
int step_run(struct rill_engine *g, struct err *e); // both, all logits on the host
const float *step_logits(const struct rill_engine *g, int out);
static inline struct flight *step_flight(struct rill_engine *g)
{
    return &g->flight[g->turn];
}
/* What a request draws its token for position n from. */
struct sampler_in step_sampler(const struct rill_engine *g, const struct request *r,
                               const float *row, int n);
void step_count(struct rill_engine *g, double seconds);
/* What steps cost by the plan's formulas, in seconds of a machine with so many units. */
void step_cost_init(struct rill_engine *g, int units);

#endif
