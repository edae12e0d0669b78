/* draft.h - tokens proposed ahead by a smaller model, or by one of several.
 *
 * A smaller model has an engine of its own, of which only the memory is used: a pool of pages, a
 * batch, a prepared plan. Each request that wants proposals has a sequence there, which follows its
 * text a step behind; proposals are drawn with the request's own settings and the random numbers of
 * the positions they are for, so that two models that agree draw the same. What it proposes changes
 * no answer (spec.h), so nothing here needs to be the same twice.
 */
#ifndef RILL_ENGINE_DRAFT_H
#define RILL_ENGINE_DRAFT_H

#include "engine/engine.h"

/* Repetitions from this length on are proposed from the text itself: free, and mostly right. */
#define DRAFT_SURE 8

/* One more, behind those there are. E_UNSUPPORTED when the vocabularies differ. */
int draft_open(struct rill_engine *g, struct rill_model *m, struct err *e);
void draft_close(struct drafter *f); // and all behind it; accepts NULL
/* The i-th, or NULL. */
struct drafter *draft_at(const struct rill_engine *g, int i);

/* With each model: brings the sequences of all running requests up to date and proposes tokens for
 * those that are about to draw, want some and have none yet. Negative: the device failed. */
int draft_propose(struct rill_engine *g, struct err *e);
/* A request loses its place. */
void draft_leave(struct request *r);

#endif
