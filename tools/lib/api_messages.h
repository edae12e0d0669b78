/* api_messages.h - Anthropic's Messages API on top of api.h: its requests as chat bodies, and
 * answers as its messages and events. Knows no sockets.
 */
#ifndef RILL_TOOLS_API_MESSAGES_H
#define RILL_TOOLS_API_MESSAGES_H

#include "tools/lib/api.h"

/* Reads a body. count: only the prompt matters, max_tokens may be missing. */
int messages_parse(struct api_request *r, const struct api_opts *o, bool count, struct slice body,
                   struct err *e);

/* {"type":"message",...} */
void messages_reply(struct buf *out, const struct api_request *r, const struct api_opts *o,
                    struct slice id, const struct api_answer *a);
void messages_error(struct buf *out, const struct api_status *s, const char *message,
                    const char *request_id);

/* A stream: blocks are opened and closed as the answer's pieces ask for it. */
struct messages_stream {
    int index; // of the open block, or of the next
    int open;  // enum toolcall_kind of the open block, -1: none is
};
void messages_begin(struct messages_stream *m, struct buf *out, const struct api_request *r,
                    const struct api_opts *o, struct slice id);
int messages_event(struct messages_stream *m, struct buf *out, const struct api_request *r,
                   const struct api_opts *o, struct api_answer *a, const struct rill_event *ev,
                   struct err *e);
void messages_end(struct messages_stream *m, struct buf *out, const struct api_request *r,
                  const struct api_answer *a);

#endif
