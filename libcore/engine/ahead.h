/* ahead.h - the next step is started before what this one drew is looked at.
 *
 * Where every request of the engine draws a token in this step, on the device, and what it draws
 * next depends on nothing but the logits, the next step's rows are known: one for each, whose
 * token is what its slot draws last. So the device goes on while the host turns ids into text. A
 * row that was started for a request that has ended meanwhile is thrown away: it wrote behind
 * everything that is known. No byte depends on it.
 *
 * Wherever the host has a say (grammars, penalties, proposals, requests that can get a place) steps
 * follow each other as before.
 */
#ifndef RILL_ENGINE_AHEAD_H
#define RILL_ENGINE_AHEAD_H

#include "engine/engine.h"

/* The step that was started before its time becomes the step; false: there is none. */
bool ahead_take(struct rill_engine *g);
/* Behind the step: starts the next one, where that can be. */
int ahead_start(struct rill_engine *g, struct err *e);
/* Whether nothing comes of a part: its request has gone, or draws on the host after all. */
bool ahead_lost(struct rill_engine *g, const struct flown *part, int out);
void ahead_forget(struct rill_engine *g, const struct request *r); // it will be freed

#endif
