/* request.h - one request from submit to its last event. The engine's own. */
#ifndef RILL_ENGINE_REQUEST_H
#define RILL_ENGINE_REQUEST_H

#include "engine/sched.h"
#include "engine/stop.h"
#include "rill.h"
#include "text/tok.h"

struct request {
    int number;
    struct sched_req s;
    int32_t seq;             // place in the pool and the page tables, -1: not started
    int32_t *ids;            // [room] prompt, then what was drawn
    int32_t n_prompt, n, room;
    int32_t stored;          // positions whose rows were computed
    struct rill_sampling sampling; // bias points to own memory
    struct rill_bias *bias;
    uint64_t seed;
    struct stop stop;
    struct detok detok;
    struct buf piece;        // text of the last token
    struct buf shown;        // text the last events point to
    int32_t finish;          // enum rill_finish
    int32_t code;            // of RILL_FAILED
    char message[160];
    bool room_is_context;    // room is the context, not what was asked for
    bool cancelled, ignore_eos, logits, prompt_logits;
    void *user;
};

/* What all requests of an engine have in common. */
struct request_limits {
    const struct tok *tok;
    int32_t n_ctx, n_vocab;
    size_t max_piece;        // bytes of the longest token
    uint64_t seed;           // of requests that bring none
};

/* Checks and copies. number also keys the seed of a request without one. */
int request_new(struct request **out, const struct rill_request *in, int number,
                const struct request_limits *lim, struct err *e);
void request_free(struct request *r); // accepts NULL and half-made objects

/* A token was drawn for the next position: appends it, decodes it, looks for ends. Afterwards
 * shown holds the text to show and finish says whether the request goes on. */
void request_token(struct request *r, int32_t id, const struct request_limits *lim);

/* Ends it; text still held back is added to shown unless a stop string ended it. */
void request_end(struct request *r, int finish);
void request_fail(struct request *r, int code, const char *fmt, ...) ERR_PRINTF(3, 4);

#endif
