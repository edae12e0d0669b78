/* columns.h - see columns.c; rill_engine_columns() in rill.h turns it on. */
#ifndef RILL_ENGINE_COLUMNS_H
#define RILL_ENGINE_COLUMNS_H

#include "engine/engine.h"

/* Tells g->columns every row that came in at every matrix in the step that was run last. */
void columns_step(const struct rill_engine *g);

#endif
