/* adapt.h - adapters (LoRA) that requests may choose, beside each other in one step.
 *
 * An engine that may have adapters has a second plan, in which each matrix is followed by a `lora`
 * record (plan/ops.def), prepared on the same memory. Steps in which no request has an adapter run
 * the first one, so that adapters cost nothing where they are not used. To load or unload one
 * changes a table that the second plan's records look into, never a plan.
 */
#ifndef RILL_ENGINE_ADAPT_H
#define RILL_ENGINE_ADAPT_H

#include "engine/engine.h"

/* The second plan and a table for so many adapters; its segment is not prepared yet. */
int adapt_open(struct adapters **out, const struct rill_engine *g, int max, struct err *e);
void adapt_close(struct rill_engine *g); // accepts an engine without
/* Memory of the second plan's values for the first's rows: its arena may be the first's too. */
uint64_t adapt_arena(const struct adapters *a, const struct segment *first);
/* Once the first plan's memory is there. */
int adapt_prepare(struct rill_engine *g, struct err *e);
/* The plan that runs a batch. */
struct segment *adapt_segment(struct adapters *a);

/* Takes over what a request asks for: checked, and into its key. */
int adapt_choose(const struct rill_engine *g, struct request *r, const struct rill_request *in,
                 struct err *e);

#endif
