/* api_vectors.h - requests for vectors as OpenAI's embeddings word them, and for the scores of
 * documents beside a query, as rerankers are asked. Knows no sockets.
 */
#ifndef RILL_TOOLS_API_VECTORS_H
#define RILL_TOOLS_API_VECTORS_H

#include "tools/lib/api.h"

/* Reads a body; api_fini is due in any case. */
int vectors_parse(struct api_request *r, const struct api_opts *o, bool rank, struct slice body,
                  struct err *e);
/* An event for a prompt: its answer's text becomes the bytes of the floats. */
int vectors_take(struct api_answer *a, const struct rill_event *ev, struct err *e);
/* The reply; answers: [n_prompt]. */
void vectors_reply(struct buf *out, const struct api_request *r, const struct api_opts *o,
                   struct slice id, const struct api_answer *answers);

#endif
