/* devdraw.h - tokens that the device draws: the ids come back instead of rows of logits.
 *
 * What a request draws is the same wherever it is drawn (plan/backend.h), so which of them the
 * device is asked for changes no byte. Asked for are the rows that end a part of the step and are
 * wanted for nothing else; the others, and those that the device gives back, are drawn from logits.
 */
#ifndef RILL_ENGINE_DEVDRAW_H
#define RILL_ENGINE_DEVDRAW_H

#include "engine/engine.h"

struct devdraw;

/* *out stays NULL where the device draws nothing. */
int devdraw_open(struct devdraw **out, const struct rill_engine *g, struct err *e);
void devdraw_close(struct devdraw *f); // accepts NULL

/* Whether the device can draw for r before what r drew last is known here: nothing else is wanted
 * of its logits, and no grammar has to be asked. Penalties count what the slot drew last there. */
bool devdraw_alone(const struct rill_engine *g, const struct request *r);

/* Before the step's plan runs: what the device will be asked for. True: no row of logits is wanted
 * on the host. */
bool devdraw_plan(struct rill_engine *g);
/* So planned: whether the step is one row that the device can draw for in the same go, and for
 * those behind it; and of the first n such steps how many it can draw for. */
bool devdraw_one(const struct rill_engine *g);
int devdraw_more(struct rill_engine *g, int n);
/* Behind the run, enqueued; or in the same go, instead of the run. And the ids of the step. *left:
 * some of it must be drawn on the host. */
int devdraw_start(struct rill_engine *g, struct err *e);
int devdraw_steps(struct rill_engine *g, struct err *e);
/* Of a turn's steps those that have not begun are not wanted. */
void devdraw_enough(struct rill_engine *g, int turn);
int devdraw_finish(struct rill_engine *g, bool *left, struct err *e);

/* What the device drew from row `out` of the step, else DRAW_HOST. */
int32_t devdraw_id(const struct rill_engine *g, int out);

#endif
