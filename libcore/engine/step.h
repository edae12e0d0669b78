/* step.h - a step's batch: laid out, run, read back, counted. */
#ifndef RILL_ENGINE_STEP_H
#define RILL_ENGINE_STEP_H

#include "engine/engine.h"

/* Whether these next rows of r leave their state aside: it may have to be forgotten. */
bool step_spares(const struct rill_engine *g, const struct request *r, int rows);
void step_layout(struct rill_engine *g); // g->pick's parts to g->batch
void step_tables(struct rill_engine *g); // page tables to the device, where they changed
/* here: its logits are wanted on the host (step_fetch brings them there later). */
int step_run(struct rill_engine *g, bool here, struct err *e);
int step_fetch(struct rill_engine *g, struct err *e);
const float *step_logits(const struct rill_engine *g, int out);
/* What a request draws its token for position n from. */
struct sampler_in step_sampler(const struct rill_engine *g, const struct request *r,
                               const float *row, int n);
void step_count(struct rill_engine *g, double seconds);
/* What steps cost by the plan's formulas, in seconds of a machine with so many units. */
void step_cost_init(struct rill_engine *g, int units);

#endif
