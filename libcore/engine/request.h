/* request.h - one answer to a request, from submit to its last event. The engine's own.
 *
 * A request for n answers is n of these with one number; they differ in their choice.
 */
#ifndef RILL_ENGINE_REQUEST_H
#define RILL_ENGINE_REQUEST_H

#include "engine/kvpool.h"
#include "engine/obey.h"
#include "engine/sched.h"
#include "engine/stop.h"
#include "plan/batch.h"
#include "rill.h"
#include "text/tok.h"

struct drafter;

struct request {
    int number, choice;
    struct sched_req s;
    int32_t seq;     // place in the pool and the page tables, -1: not running
    int32_t *ids;    // [room] prompt, then what was drawn
    uint32_t *paths; // [room / 32 + 1] a position's bit: its row counts as generated
    int32_t n_prompt, n, room;
    int32_t order;        // among those that generate, by their pages; 0: not known
    int32_t stored;       // positions whose rows were computed
    int32_t n_draft;      // proposed tokens behind ids[n), computed in this step
    int32_t draft;        // the most that may be proposed, 0: none
    int32_t draft_now;    // how many to propose next: follows what was accepted
    int32_t draft_want;   // how many to propose in this step
    int32_t draft_miss;   // times in a row that nothing was accepted
    int32_t draft_lag;    // how far back stands what the text repeats, 0: not known
    int32_t draft_rest;   // tokens to draw before anything is proposed again
    int32_t draft_seq;    // place in the pool of its drafter, -1: none
    int32_t draft_stored; // positions computed there
    int32_t burst;        // tokens drawn in this step
    int32_t told;         // prompt rows whose logits were given out
    int32_t mark;         // position at which the recurrent state is to be kept, 0: none
    int32_t cached;       // prompt rows found in memory
    int32_t min_tokens;
    struct rill_lora_use lora[LORA_MIX]; // [n_lora] adapters
    int n_lora;
    uint64_t key;                  // of the tree of known blocks
    int64_t swap;                  // what is kept of it in host memory, -1: nothing
    struct rill_sampling sampling; // bias and allowed point to own memory
    struct rill_bias *bias;
    int32_t *allowed;
    double mirostat;  // the surprise it has come to allow
    uint8_t *breaker; // [n_vocab] tokens that DRY does not reach across; NULL: the usual ones
    uint64_t seed;
    double deadline; // on the engine's clock, 0: none
    float weight;
    struct drafter *drafter; // the smaller model that proposes, NULL: none
    struct obey *obey;       // NULL: free
    struct con_state place;  // in its grammar
    bool no_forward;
    struct stop stop;
    struct detok detok;
    struct buf piece;     // text of the last token
    struct buf shown;     // text the last events point to
    struct rill_top *top; // [1 + draft][n_top] of the last events; behind these the prompt rows'
    int32_t n_top;
    int32_t finish; // enum rill_finish
    int32_t code;   // of RILL_FAILED
    char message[160];
    int32_t embed; // enum rill_embed, as it will be done; 0: tokens are drawn
    bool raw_vector;
    bool steer;
    bool whole;           // an encoder's: all rows in one step
    uint8_t *types;       // [n_prompt] of tokens, NULL: 0
    double *sum;          // [width] of the rows so far
    float *vector;        // [width] of its event
    bool room_is_context; // room is the context, not what was asked for
    bool host_draws;      // the device gave a draw back: its steps wait for each other
    bool cancelled, ignore_eos, logits, prompt_logits, logprobs, pin, progress;
    void *user;
};

/* What all requests of an engine have in common. */
struct request_limits {
    const struct tok *tok;
    int32_t n_ctx, n_vocab;
    size_t max_piece; // bytes of the longest token
    uint64_t seed;    // of requests that bring none
    bool one_path;    // generated rows need not be told apart
    int32_t max_draft;
    int32_t max_out; // rows with logits in a step
    bool embed;      // requests may ask for vectors
    bool encoder;    // and for nothing else
    int32_t pooling; // what RILL_EMBED_MODEL stands for
    int32_t width, n_score, n_type;
};

/* Checks and copies. number also keys the seed of a request without one. */
int request_new(struct request **out, const struct rill_request *in, int number, int choice,
                const struct request_limits *lim, struct err *e);
void request_free(struct request *r); // accepts NULL and half-made objects

/* Whether the row at a position is computed as a prompt row. */
static inline bool request_is_prompt(const struct request *r, int32_t pos)
{
    return pos < r->n_prompt && !(r->paths[pos / KV_PAGE] >> (pos % KV_PAGE) & 1);
}

static inline struct kv_text request_text(const struct request *r)
{
    return (struct kv_text){r->ids, r->paths, r->key};
}

/* Brings r->s up to date as far as the request itself knows: what is pending. */
void request_look(struct request *r);

/* A token was drawn for the next position: appends it, decodes it, looks for ends. Text that can be
 * shown is added to shown; finish says whether the request goes on. */
void request_token(struct request *r, int32_t id, const struct request_limits *lim);

/* Ends it; text still held back is added to shown unless a stop string ended it. */
void request_end(struct request *r, int finish);
void request_fail(struct request *r, int code, const char *fmt, ...) ERR_PRINTF(3, 4);

#endif
