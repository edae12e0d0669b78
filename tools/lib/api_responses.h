/* api_responses.h - OpenAI's Responses API on top of api.h: its requests as chat bodies, answers as
 * lists of items, and the events that build them. Stateless: a request brings all it is about.
 * Knows no sockets.
 */
#ifndef RILL_TOOLS_API_RESPONSES_H
#define RILL_TOOLS_API_RESPONSES_H

#include "tools/lib/api.h"

/* Reads a body; what replies repeat of it goes to r->repeated. */
int responses_parse(struct api_request *r, const struct api_opts *o, struct slice body,
                    struct err *e);

/* A response in the making: events are added to out, where it is not NULL. */
struct responses {
    const struct api_request *r;
    const struct api_opts *o;
    char id[24];         // what ids of items end with
    int sequence;        // of the next event
    int index;           // of the open item, or of the next
    int open;            // enum toolcall_kind of the open item, -1: none is
    struct buf text;     // of the open item: its text or arguments
    struct buf name;     // of a call, as JSON: "call_id":...,"name":...
    struct buf logprobs; // of a text's tokens, JSON objects separated by commas
    struct buf output;   // the finished items, separated by commas
};
void responses_begin(struct responses *s, struct buf *out, const struct api_request *r,
                     const struct api_opts *o, const char *id);
int responses_event(struct responses *s, struct buf *out, struct api_answer *a,
                    const struct rill_event *ev, struct err *e);
void responses_end(struct responses *s, struct buf *out, const struct api_answer *a);
/* The whole object, once it has ended. */
void responses_reply(struct responses *s, struct buf *out, const struct api_answer *a);
void responses_fini(struct responses *s);

#endif
