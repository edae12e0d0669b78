/* ahead.h - the next step is started before what this one drew is looked at.
 *
 * Where every request of the engine draws a token in this step, on the device, the next step's rows
 * are known: one for each, whose token is what its slot draws last; penalties count that one on the
 * device. So the device goes on while the host turns ids into text. A row that was started for a
 * request that has ended meanwhile is thrown away: it wrote behind everything that is known, and
 * where there is recurrent state, into a slot that nobody goes on from. No byte depends on it.
 *
 * Where one request runs alone, a device that can is asked for several such steps in one go, whose
 * ids are read one by one while it goes on; from the last of them on steps are started ahead again.
 * When the request has ended, or somebody else comes, the device is told that this is enough: it
 * makes none but the step that it is in, so that nobody waits for more than that.
 *
 * Wherever the host has a say steps follow each other as before: a grammar's mask is made from the
 * token; what is proposed follows it; requests can get a place; a plan over several devices draws
 * on another than reads the token.
 */
#ifndef RILL_ENGINE_AHEAD_H
#define RILL_ENGINE_AHEAD_H

#include "engine/engine.h"

/* The step that was started before its time becomes the step; false: there is none. */
bool ahead_take(struct rill_engine *g);
/* How many steps of one row can be asked for in one go, the one that is laid out and those behind
 * it, whose pages are there then; at least 1. */
int ahead_most(struct rill_engine *g);
/* Behind the step: starts the next one, where that can be. */
int ahead_start(struct rill_engine *g, struct err *e);
/* Whether nothing comes of a part: its request has gone, or draws on the host after all. */
bool ahead_lost(struct rill_engine *g, const struct flown *part, int out);
void ahead_forget(struct rill_engine *g, const struct request *r); // it will be freed

#endif
