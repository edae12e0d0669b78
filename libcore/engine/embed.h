/* embed.h - requests for vectors: the rows behind the last norm, pooled.
 *
 * Their rows run apart from the others', before them in the same step, on the model's plan without
 * its logits (an encoder's whole plan), in the same memory and with the same pages. So a vector
 * costs no logits, and a prompt that is known is known to both.
 */
#ifndef RILL_ENGINE_EMBED_H
#define RILL_ENGINE_EMBED_H

#include "engine/engine.h"

/* For steps of at most max_rows such rows; the segment is not prepared yet. */
int embed_open(struct embedder **out, const struct rill_engine *g, int max_rows, int max_seq,
               struct err *e);
void embed_close(struct rill_engine *g); // accepts an engine without
uint64_t embed_arena(const struct embedder *m); // bytes of its values
/* Once the engine's memory is there. */
int embed_prepare(struct rill_engine *g, struct err *e);
struct segment *embed_segment(struct embedder *m);

/* Lays out and runs the parts of a step that want vectors, if there are any. */
int embed_run(struct rill_engine *g, struct err *e);
const struct batch *embed_batch(const struct embedder *m); // the last one; without rows: none

/* Pools the next rows of a part of that run, which r->stored counts already. Once all are there
 * the events are put and r->finish is set. Parts come in the order of the step. */
void embed_take(struct rill_engine *g, struct request *r, int rows);

#endif
