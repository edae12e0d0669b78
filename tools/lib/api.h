/* api.h - one request as the OpenAI API words it, and the reply.
 *
 * A line is a request body, or a batch line {custom_id, method, url, body} around one. Fields are
 * of three classes, by one table: honoured; known but without effect, which the reply's warnings
 * say; all others are errors that name the nearest known one (or warnings, when lenient).
 */
#ifndef RILL_TOOLS_API_H
#define RILL_TOOLS_API_H

#include <jansson.h>

#include "base/buf.h"
#include "rill.h"

#define API_BODY_MAX ((size_t)64 << 20) // bytes of a line

struct api_prompt {
    int32_t *ids; // [n]
    size_t n;
    struct buf text;
};

struct api_request {
    char *custom_id;           // NULL: the line has none
    bool batch;                // it was a batch line
    bool chat;                 // its reply is a chat completion
    struct api_prompt *prompt; // [n_prompt]
    int n_prompt;
    struct rill_request q;     // ids and seed are the caller's to fill in
    int n, best_of;
    bool echo;
    int logprobs;              // likeliest tokens to list, -1: no log-probabilities
    struct buf warnings;       // JSON strings, separated by commas
    /* what q points to */
    json_t *json;
    struct rill_stop stop[64];
    struct rill_bias *bias;
    int32_t *allowed;
};

struct api_opts {
    struct rill_model *model;
    const char *name;              // of the model, in replies
    struct rill_sampling sampling; // where a request says nothing
    int max_tokens;
    int draft;                     // of all requests
    bool lenient;
    long long created;             // in replies
    /* The prompt of a request with messages, given as JSON: fills ids (mem_array) and text. NULL:
     * such requests are errors. */
    int (*chat)(void *ctx, const char *json, size_t n, struct api_prompt *out, struct err *e);
    void *ctx;
    const char *chat_stop; // text that ends an answer to messages; or NULL
};

/* Reads a line. On failure what could be read of custom_id and batch is there, so that the error
 * can be answered; api_fini is due in any case. */
int api_parse(struct api_request *r, const struct api_opts *o, struct slice line, struct err *e);
void api_fini(struct api_request *r);

/* One answer to one prompt. */
struct api_answer {
    struct buf text;
    struct buf logprobs; // JSON, as api_token wrote it
    struct buf offsets;  // of the older form: text_offset, separated by commas
    struct buf tokens, top;
    size_t at;           // bytes of the prompt's tokens so far
    int n_drawn, finish;
    double logprob;      // sum over the tokens drawn
    bool chosen;         // among the best
};

/* An answer to prompt p begins: with echo it has the prompt's text. */
void api_answer_begin(struct api_answer *a, const struct api_request *r,
                      const struct api_prompt *p);
/* A token of an answer to p, or with RILL_LOGITS of p itself, joins the log-probabilities; its text
 * must not have been added to the answer's yet. */
void api_token(struct api_answer *a, const struct api_request *r, const struct api_prompt *p,
               const struct api_opts *o, const struct rill_event *ev);
void api_answer_fini(struct api_answer *a);

/* Who is answered: its id or, where it has none, the number of its line. */
struct api_who {
    const char *custom_id;
    uint64_t line; // from 1
    bool batch;
};

/* The reply as one line, newline included. answers: [n_prompt][best_of]. timings: JSON members
 * beginning with a comma, or "". */
void api_reply(struct buf *out, const struct api_request *r, const struct api_opts *o,
               const struct api_who *who, struct api_answer *answers, const char *timings);
/* The reply to a line that cannot be answered. */
void api_reply_error(struct buf *out, const struct api_who *who, const struct err *why);

const char *api_finish(int finish);

#endif
