/* api.h - one request as the OpenAI API words it, and the reply: whole, or in pieces as it is made.
 *
 * Knows no sockets: rill-run --jsonl and rill-serve both stand on it. A line is a request body, or
 * a batch line {custom_id, method, url, body} around one. Fields are of three classes, by one table
 * (api_fields.h): honoured; known but without effect, which the reply's warnings say; all others
 * are errors that name the nearest known one (or warnings, when lenient).
 *
 * What the engine says of an answer goes through api_take, which finds reasoning and tool calls in
 * it; what that found is written as a whole reply (api_reply.c) or as chunks (api_stream.c).
 */
#ifndef RILL_TOOLS_API_H
#define RILL_TOOLS_API_H

#include <jansson.h>

#include "base/buf.h"
#include "rill.h"
#include "text/toolcall.h"
#include "tools/lib/api_chat.h"

#define API_BODY_MAX ((size_t)64 << 20) // bytes of a line

enum { API_STOPS = 64 };

/* What is asked for; bits, as the table of fields says which of them has a field. */
enum api_kind {
    API_TEXT = 1,
    API_CHAT = 2,
    API_EMBED = 4,
    API_RANK = 8,
    API_INFILL = 16,   // beside API_TEXT
    API_MESSAGES = 32, // read as chats (api_parse_form)
    API_RESPONSES = 64,
    API_TOKENIZE = 128, // read by rill-serve alone
    API_DETOKENIZE = 256,
    API_LORA = 512,
    API_SESSION = 1024
};

/* What a request says of its tools. */
enum api_calls {
    API_CALLS_AUTO,
    API_CALLS_NONE,
    API_CALLS_REQUIRED,
    API_CALLS_NAMED // the tool `called`
};

struct api_request {
    char *custom_id; // NULL: the line has none
    bool batch;      // it was a batch line
    enum api_kind kind;
    bool chat;                 // kind is API_CHAT
    struct api_prompt *prompt; // [n_prompt]
    int n_prompt;
    struct rill_request q; // ids and seed are the caller's to fill in
    int n, best_of;
    bool echo;
    bool score_only;          // max_tokens 0: nothing is told but of the prompt
    int logprobs;             // likeliest tokens to list, -1: no log-probabilities
    bool stream, usage_chunk; // asked for, where api_opts.stream allows it
    bool base64;              // of vectors (api_vectors.h)
    int dimensions;           // 0: all
    int top_n;                // 0: all
    bool with_documents;
    struct buf repeated; // what a reply repeats of it (api_responses.h)
    struct buf warnings; // JSON strings, separated by commas
    const char *param;   // after a failure: the field it is about; or NULL
    const char *model;   // asked for; or NULL
    const json_t *tools; // a list with at least one, that the model may call; or NULL
    enum api_calls calls;
    const char *called;
    bool one_call;                        // parallel_tool_calls: false
    const struct toolcall_format *format; // how the model writes calls; NULL: none are looked for
    bool show_control;                    // skip_special_tokens: false
    int obey;                             // the answer's form: enum rill_constraint_kind, -1: any
    bool obey_soft;          // asked for by response_format, which holds beside calls of tools
    const char *obey_field;  // that says it
    const json_t *obey_what; // its text, or list of texts
    struct rill_constraint *constraint; // what q.constraint points to; or NULL
    /* what q points to */
    json_t *json;
    json_t *form; // the body that json was translated from; or NULL
    struct rill_stop stop[API_STOPS];
    struct rill_bias *bias;
    int32_t *allowed;
    struct rill_lora_use lora[RILL_LORA_MIX];
    struct rill_stop breaker[64];
    const char *suffix;
    size_t n_suffix;
};

struct api_opts {
    struct rill_model *model;
    const char *name;              // of the model, in replies
    struct rill_sampling sampling; // where a request says nothing
    int max_tokens;
    int n_ctx;                        // longer prompts are E_CONTEXT; 0: the engine will say it
    int draft;                        // of all requests
    const struct rill_lora_use *lora; // [n_lora] adapters of requests that choose none
    int n_lora;
    bool lenient;                // unknown fields are warnings
    bool stream;                 // `stream` is honoured
    bool details;                // usage tells of the cache, which depends on other requests
    long long created;           // in replies
    const struct api_chat *chat; // NULL: requests with messages are errors
};

/* Reads a line, or a body for one of the two forms. On failure what could be read of custom_id and
 * batch is there, so that the error can be answered; api_fini is due in any case. api_parse_json
 * takes the body, also on failure. */
int api_parse(struct api_request *r, const struct api_opts *o, struct slice line, struct err *e);
int api_parse_body(struct api_request *r, const struct api_opts *o, bool chat, struct slice body,
                   struct err *e);
int api_parse_json(struct api_request *r, const struct api_opts *o, enum api_kind kind,
                   json_t *take, struct err *e);
/* A body of an API whose requests are read as chats: translate makes the parts of a chat's body
 * that its fields do not say; what it warns of and its param go to noted. */
int api_parse_form(struct api_request *r, const struct api_opts *o, enum api_kind kind,
                   int (*translate)(json_t *out, const json_t *body, struct api_request *noted,
                                    struct err *e),
                   struct slice body, struct err *e);
/* A body of any kind that has answers (api_kinds.c); what a path asks for, 0: something else. */
int api_parse_kind(struct api_request *r, const struct api_opts *o, enum api_kind kind,
                   struct slice body, struct err *e);
int api_kind_of(const char *path);
void api_fini(struct api_request *r);

/* JSON of at most API_BODY_MAX bytes without repeated keys, or NULL. */
json_t *api_json(struct slice text, struct err *e);

/* The field that the engine's sentence about a request begins with, that of a prompt that it is
 * about, or NULL. */
const char *api_field_in(const struct api_request *r, const char *sentence);

/* -- answers (api_answer.c) -- */

/* One answer to one prompt. */
struct api_answer {
    struct buf text;
    struct buf reasoning;
    struct buf calls;    // JSON objects of the calls so far, separated by commas
    struct buf args;     // of the call being read
    struct buf logprobs; // JSON; of a stream: what no chunk has told yet
    struct buf offsets;  // of the older form: text_offset, separated by commas
    struct buf tokens, top;
    struct buf errors; // what is wrong with calls, JSON strings separated by commas
    size_t at;         // bytes of the prompt's tokens so far
    size_t shown;      // bytes of text so far, also those a stream has told
    int n_drawn, n_reasoning, n_calls;
    int cached; // prompt tokens found in memory
    int finish;
    int stop;                // which stop string ended it, from 1 on; 0: none
    double logprob;          // sum over the tokens drawn
    bool chosen;             // among the best
    bool begun;              // of a stream: its first chunk was told
    struct toolcall *parser; // NULL: all is text
    struct toolcall_event plain;
    struct slice feed, mark; // of the event: text, then the mark of a control token
    bool drawn, ending;      // the event is a token that was not counted yet; the last
};

/* An answer to prompt p begins: with echo it has the prompt's text. choice: its number, which the
 * ids of its calls depend on. */
int api_answer_begin(struct api_answer *a, const struct api_request *r, const struct api_opts *o,
                     const struct api_prompt *p, int choice, struct err *e);
/* An event of the engine joins the answer, and then its text: api_pieces hands out what that adds
 * (as toolcall.h has it), valid until the next call, and is called until it returns 0. */
int api_take(struct api_answer *a, const struct api_request *r, const struct api_opts *o,
             const struct api_prompt *p, const struct rill_event *ev, struct err *e);
int api_pieces(struct api_answer *a, const struct api_request *r,
               const struct toolcall_event **pieces, struct err *e);
void api_answer_fini(struct api_answer *a);

/* -- replies (api_reply.c) -- */

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

/* The members of the reply object, without its braces. */
void api_body(struct buf *out, const struct api_request *r, const struct api_opts *o,
              struct slice id, struct api_answer *answers, const char *timings);

/* ,"warnings":[...], where there are any: those of the request (NULL: left out), and of what was
 * wrong with the calls of n answers. */
void api_put_warnings(struct buf *out, const struct api_request *r, const struct api_answer *a,
                      int n);
/* Why an answer ended, as a chat (or a text) completion says it. */
const char *api_finish(const struct api_answer *a, bool chat);
/* "usage":{...}, summed over the answers. */
void api_usage(struct buf *out, const struct api_request *r, const struct api_opts *o,
               const struct api_answer *answers);
/* {"content":[...]} or the older four lists; null where none were asked for. */
void api_logprobs(struct buf *out, const struct api_request *r, const struct api_answer *a);

/* How a failure is told over HTTP. */
struct api_status {
    int status;
    const char *type, *code;
};
struct api_status api_status(const struct err *why);
/* {"error":{...}} */
void api_error(struct buf *out, const struct api_status *s, const char *message, const char *param);

/* -- streams (api_stream.c) -- */

/* What all chunks of a stream have in common. */
struct api_stream {
    const struct api_request *r;
    const struct api_opts *o;
    struct api_answer *answers; // [n_prompt][best_of]
    struct buf head;            // {"id":...,"model":...,
};
int api_stream_begin(struct api_stream *s, const struct api_request *r, const struct api_opts *o,
                     struct slice id, struct api_answer *answers, struct err *e);
void api_stream_fini(struct api_stream *s);
/* Adds the chunks that an event leads to, as server-sent events. */
int api_stream_event(struct api_stream *s, struct buf *out, int prompt, const struct rill_event *ev,
                     struct err *e);
/* All answers have ended. */
void api_stream_end(struct api_stream *s, struct buf *out, const char *timings);

#endif
