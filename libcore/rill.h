/* rill.h - the public contract of librill.a: run language models from C.
 *
 * Parts: errors; model; vocabulary; chat; engine. Constraints and row outputs join as
 * further parts of this file. All text is bytes; token ids are int32_t, from 0. Functions that the
 * world can fail return 0 (or a count) or a negative code and fill a struct err, which names the
 * file and the thing. The library never prints and never exits. Objects are not locked: one thread
 * at a time per engine; a model and its vocabulary may be read by any number of threads.
 *
 *     struct rill_model *m;
 *     struct rill_engine *g;
 *     struct rill_event ev[16];
 *
 *     rill_model_open(&m, "model.gguf", NULL, &e);
 *     rill_engine_open(&g, m, NULL, &e);
 *     rill_engine_submit(g, &(struct rill_request){.ids = ids, .n_ids = n}, &number, &e);
 *     while ((k = rill_engine_step(g, ev, 16, &e)) > 0)
 *         for (int i = 0; i < k; i++)
 *             fwrite(ev[i].text, 1, ev[i].n_text, stdout);
 */
#ifndef RILL_H
#define RILL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

const char *rill_version(void);

/* -- model: a file opened on a device -- */

struct rill_model;

struct rill_model_opts {
    const char *device;  // "cpu", "cpu:4" (threads), "cuda:0", NULL or "auto"; "cuda:0,cuda:1":
                         // layers dealt out evenly; "cpu,cuda:0=20": the last 20 on the GPU
    int gpu_layers;      // the last so many layers on the GPU, the others on the CPU; 0: all
    bool cpu_moe;        // the experts' matrices on the CPU, all else on the GPU
    uint64_t device_mem; // most bytes to take of the GPU's memory; 0: what is free
    int threads;         // of the CPU; 0: as many as there are processors
    int n_ctx;           // positions of the longest sequence; 0: the model's own length
    const char *kv_type; // of stored keys and values: "f32", "f16", "bf16", "fp8", "q8_0", "q4_0";
                         // NULL: f32 when the matrices are f32, else f16
    const char *v_type;  // of values alone; NULL: as kv_type
    bool vocab_only;     // no weights: only the vocabulary and the metadata
    bool no_mmap;        // read the file instead of mapping it
};

/* path: a GGUF file (of a split one, any part). opts NULL: all defaults. */
int rill_model_open(struct rill_model **out, const char *path, const struct rill_model_opts *opts,
                    struct err *e);
void rill_model_close(struct rill_model *m); // accepts NULL; engines on it must be closed

struct rill_model_info {
    const char *path;
    const char *name;          // general.name, or ""
    const char *arch;          // "llama"
    const char *device;        // "cpu: avx512, 2 threads"
    const char *chat_template; // Jinja source, or NULL
    int n_layer;
    int n_embd;
    int n_vocab;
    int n_ctx_train;
    int n_ctx;                 // what the model was opened for
    uint64_t n_param;
    uint64_t weight_bytes;
    uint64_t kv_bytes_per_pos; // key/value bytes of one position in all layers
    uint64_t state_bytes;      // recurrent state of one sequence
    bool encoder;              // gives vectors only: it cannot continue a text
    int pooling;               // what RILL_EMBED_MODEL stands for, enum rill_embed
    int n_score;               // numbers of RILL_EMBED_RANK; 0: the model is no reranker
    int n_type;                // token types (struct rill_request); 0: it knows none
    bool has_temperature;      // the file's own sampling settings, where it has any
    bool has_top_p;
    bool has_top_k;
    bool has_min_p;
    float temperature;
    float top_p;
    float min_p;
    int top_k;
};
/* Strings live as long as the model. */
void rill_model_info(const struct rill_model *m, struct rill_model_info *out);

/* Bytes a second that the model's device reads its memory at, measured now; 0: it is the host's. */
double rill_model_read(struct rill_model *m);

struct rill_memory {
    uint64_t weights; // on the device, file mappings included
    uint64_t kv;      // pages for n_seq sequences of n_ctx positions
    uint64_t state;   // recurrent state
    uint64_t work;    // values of a step
    uint64_t free;    // what the device has left; an engine takes at most half of it for kv
};
int rill_model_memory(const struct rill_model *m, int n_ctx, int n_seq, struct rill_memory *out,
                      struct err *e);

/* The plan as text, one record a line, with the kernel chosen for each. *out is the caller's, to
 * be released with rill_free. */
int rill_model_plan(struct rill_model *m, char **out, size_t *n, struct err *e);

void rill_free(void *p);

/* -- vocabulary -- */

enum rill_token_flags {
    RILL_ADD_SPECIAL = 1,   // BOS, EOS, CLS, SEP as the model's own settings say
    RILL_PARSE_SPECIAL = 2, // control tokens written out in the text become those tokens
    RILL_AFTER = 4,         // the text goes on behind other ids: no space is added in front
};

/* *ids is the caller's (rill_free). */
int rill_tokenize(const struct rill_model *m, const char *text, size_t n, unsigned flags,
                  int32_t **ids, size_t *n_ids, struct err *e);
/* A pair of texts, as a reranker has it, in the form the vocabulary asks for; of each token its
 * type (struct rill_request), 0 where the model knows none. Both arrays are the caller's. */
int rill_tokenize_pair(const struct rill_model *m, const char *first, size_t n_first,
                       const char *second, size_t n_second, unsigned flags, int32_t **ids,
                       unsigned char **types, size_t *n_ids, struct err *e);
/* The bytes of one token. control: also those of control tokens (else they are empty). Borrowed. */
const char *rill_piece(const struct rill_model *m, int32_t id, bool control, size_t *n);
int32_t rill_bos(const struct rill_model *m); // -1: none
int32_t rill_eos(const struct rill_model *m); // the one a template may name; -1: none
bool rill_is_end(const struct rill_model *m, int32_t id); // ends a generation
struct tok;
const struct tok *rill_vocab(const struct rill_model *m); // for text/tok.h; NULL: none

/* -- constraints: answers that obey a grammar -- */

struct rill_stop {
    const char *p;
    size_t n;
};

struct rill_constraint;

enum rill_constraint_kind {
    RILL_GRAMMAR, // GBNF
    RILL_SCHEMA,  // JSON Schema; the answer is one line
    RILL_JSON,    // any JSON object
    RILL_REGEX,   // matched from end to end
    RILL_CHOICE,  // one of n texts
};

/* The answer is free until one of these texts was written; with maybe it may end without. With
 * again it is free once more behind what the grammar gave. Control tokens of the model's vocabulary
 * in them (model may be NULL) count as those tokens only. ordered: properties of a schema come in
 * the order in which it names them; otherwise in any. */
struct rill_constraint_opts {
    const struct rill_stop *after; // [n_after]
    int n_after;
    bool maybe, again;
    const struct rill_model *model;
    bool ordered;
};

/* text: [n] pieces, one but for RILL_CHOICE; copied. Errors name the line of a grammar, the JSON
 * pointer of what a schema asks that cannot be enforced (E_UNSUPPORTED), or the limit that was met
 * (E_RANGE). May be used by any number of engines and threads; see rill-constraints(7). */
int rill_constraint_new(struct rill_constraint **out, enum rill_constraint_kind kind,
                        const struct rill_stop *text, int n, const struct rill_constraint_opts *o,
                        struct err *e);
void rill_constraint_free(struct rill_constraint *c); // accepts NULL; its requests must have ended

/* -- chat: messages to a prompt, by the model's template -- */

struct rill_chat;

/* source: a chat template (Jinja), name what errors call it; NULL: the model's own, or where it has
 * none a default: ChatML if the vocabulary has <|im_start|>, else lines that begin with "User: "
 * and "Assistant: ". The model must outlive the chat, which is read-only. */
int rill_chat_open(struct rill_chat **out, const struct rill_model *m, const char *name,
                   const char *source, size_t n, struct err *e);
void rill_chat_close(struct rill_chat *c); // accepts NULL
/* Text that ends an answer where no token does, or NULL. */
const char *rill_chat_stop(const struct rill_chat *c);
struct chat;
struct chat *rill_chat_text(struct rill_chat *c); // the same, for text/chat.h

struct rill_prompt {
    char *text; // as rendered
    size_t n_text;
    int32_t *ids;
    size_t n_ids;
};
void rill_prompt_free(struct rill_prompt *p); // what a zeroed one holds, too

/* A request is JSON: {"messages": [...], "tools": ..., "documents": ..., "add_generation_prompt":
 * ..., "continue_final_message": ..., "enable_thinking": ..., "reasoning_effort": ..., "date": ...,
 * "chat_template_kwargs": {...}}, all but messages optional, or a list of messages alone. Control
 * tokens come from the template only: text of a message that spells one is text. */
int rill_chat_prompt(const struct rill_chat *c, const char *json, size_t n, struct rill_prompt *out,
                     struct err *e);

/* What an answer may be where tools may be called. json: a request as above; what counts is tools,
 * tool_choice ("auto", "none", "required", an object that names a tool or allowed_tools),
 * parallel_tool_calls and response_format (what an answer without a call obeys; E_UNSUPPORTED where
 * calls are bare JSON). format: of rill-toolcalls(7); NULL: the template's. p: the prompt it was
 * rendered to, which may have opened a reasoning block; or NULL. A call can only be one of a listed
 * tool, its arguments obey the tool's schema; reasoning and text around are free. *out is NULL if
 * there are no tools. E_UNSUPPORTED: a schema that cannot be enforced (the tool is named), or no
 * format. */
int rill_chat_tools(struct rill_constraint **out, const struct rill_chat *c, const char *format,
                    const char *json, size_t n, const struct rill_prompt *p, struct err *e);

/* -- engine: requests through one model, batched -- */

struct rill_engine;

struct rill_engine_opts {
    int max_seq;      // sequences at once; 0: 8
    int max_batch;    // rows of a step; 0: 512
    int max_queue;    // requests that may wait for one of the sequences; 0: any number
    uint64_t kv_bytes; // key/value memory; 0: for max_seq sequences of n_ctx, at most half of what
                       // is free
    int n_ctx; // positions of the longest sequence, at most the model's; 0: the model's, less
               // where they do not fit
    uint64_t seed;    // of requests without one
    bool no_cache;    // forget keys and values when their request ends
    uint64_t swap_bytes; // host memory for those of requests sent back to wait; 0: none, they are
                         // computed again
    double step_seconds; // prompts are cut so that a step takes no longer; 0: any time,
                         // negative: 0.25, on a GPU 0.05
    int max_logits;      // rows of a step that can want logits (prompt_logits): that many times
                         // n_vocab floats; 0: 16, or what the sequences need
    int max_draft;       // the most tokens a request may have proposed ahead in a step, up to 64
    bool embed;          // requests may ask for vectors; those of encoders always may
    int max_lora;        // adapters there may be at once (rill_engine_lora_load), up to 64
    struct rill_model *draft; // a smaller model with the same vocabulary that proposes them, beside
                              // what the text repeats; borrowed. max_draft 0 then means 8
};
int rill_engine_open(struct rill_engine **out, struct rill_model *m,
                     const struct rill_engine_opts *opts, struct err *e);
void rill_engine_close(struct rill_engine *g); // accepts NULL; drops what runs
/* One more model that may propose tokens, beside that of the options; borrowed. */
int rill_engine_draft(struct rill_engine *g, struct rill_model *m, struct err *e);
/* Tokens that proposals may come from, beside each request's own text; copied. n 0: none. Before
 * the first submit. */
int rill_engine_corpus(struct rill_engine *g, const int32_t *ids, size_t n, struct err *e);
/* Positions a sequence may have: the model's n_ctx, or less where memory was short. */
int rill_engine_ctx(const struct rill_engine *g);

/* Adapters (LoRA): a GGUF file or a directory as PEFT writes it, for requests that choose it; or a
 * control vector: a GGUF file of directions that are added behind layers. An
 * engine opened with max_lora 0 has no place for any. E_UNSUPPORTED: it changes more than the plain
 * matrices of this model, or the device cannot do it. Not inside a step. */
int rill_engine_lora_load(struct rill_engine *g, const char *path, int *id, struct err *e);
int rill_engine_lora_unload(struct rill_engine *g, int id, struct err *e); // E_BUSY: in use
struct rill_lora {
    int id;
    const char *path; // until it is unloaded
    int n_matrix;     // that it changes
    int n_layer;      // behind which it adds a direction
    uint64_t bytes;
};
/* Fills at most max and returns how many there are. */
int rill_engine_lora_list(const struct rill_engine *g, struct rill_lora *out, int max);
#define RILL_LORA_MAX 64
#define RILL_LORA_MIX 4 // of one request

struct rill_lora_use {
    int id;
    float scale; // 1: as it was trained
};

struct rill_bias {
    int32_t id;
    float add; // to the logit; -INFINITY: never
};

/* What narrows the choice down, in the order it is done unless told otherwise. */
enum rill_filter {
    RILL_TOP_N_SIGMA = 1,
    RILL_TOP_K,
    RILL_TYPICAL,
    RILL_TOP_P,
    RILL_MIN_P,
    RILL_XTC,
    RILL_TEMPERATURE,
    RILL_MIROSTAT,
    RILL_FILTERS // one more than there are
};

/* How tokens are chosen. Zeroed is not neutral: take rill_sampling_defaults(). rill-run(1) says
 * what each does and where it was published. */
struct rill_sampling {
    float temperature;        // 0: greedy
    float dynatemp_range;     // 0: off; else temperature varies by as much with the entropy
    float dynatemp_exponent;
    int top_k;                // 0: all
    float top_p;              // 1: all
    float min_p;              // 0: all
    float typical_p;          // 1: all
    float top_n_sigma;        // 0: all
    float xtc_probability;    // 0: off
    float xtc_threshold;
    int mirostat;             // 1, 2: the version; 0: off
    float mirostat_tau;       // bits a token should surprise by
    float mirostat_eta;       // how fast it gets there
    float repetition_penalty; // 1: none; logits of seen tokens are divided (> 0) or multiplied
    float presence_penalty;   // subtracted once from every token seen
    float frequency_penalty;  // subtracted for each time a token was seen
    int penalty_last;         // tokens looked back at; 0: none, -1: all
    float dry_multiplier;     // 0: off
    float dry_base;
    int dry_allowed_length;
    int dry_last;             // tokens looked back at; -1: all
    const struct rill_stop *dry_breaker; // [n_dry_breaker] it does not reach across tokens with one
    int n_dry_breaker;        // of these texts; 0: newline, colon, quotation mark, asterisk
    int no_repeat_ngram;      // 0: off
    unsigned char order[RILL_FILTERS]; // enum rill_filter, then 0; empty: the order above
    bool has_seed;
    uint64_t seed;
    const struct rill_bias *bias; // [n_bias], copied by submit
    int n_bias;
    const int32_t *allowed;   // [n_allowed] no other tokens may come, copied by submit
    int n_allowed;            // 0: all may
};
struct rill_sampling rill_sampling_defaults(void); // 0.8, top_p 0.95, min_p 0.05, penalties off
/* The same with the model's own settings where its file has some. */
struct rill_sampling rill_sampling_of(const struct rill_model *m);

/* Requests may ask for vectors instead of tokens: the rows behind the last norm, pooled. Of an
 * encoder all rows of a text see each other and run in one step. */
enum rill_embed {
    RILL_EMBED_OFF,   // tokens are drawn
    RILL_EMBED_MODEL, // as the model's file says; else the mean of an encoder, the last of others
    RILL_EMBED_NONE,  // a vector for each token
    RILL_EMBED_MEAN,
    RILL_EMBED_CLS,   // the first token's
    RILL_EMBED_LAST,  // the last token's
    RILL_EMBED_RANK,  // a reranker's scores of the text, as they are: never normalized
};

struct rill_request {
    const int32_t *ids; // copied
    size_t n_ids;       // at least 1, with room left in the context
    const unsigned char *made; // [n_ids] 1: an earlier request drew it, to go on as if that had not
                               // ended; NULL: none
    int max_tokens;     // 0: until the model ends or the context is full
    int min_tokens;     // no end token, and no stop string, before as many
    int n;              // answers to the prompt, each with random numbers of its own; 0: 1
    bool ignore_eos;    // go on after an end token
    bool show_control;  // control tokens appear in the text
    bool logits;        // events carry the row the token was drawn from
    bool prompt_logits; // an RILL_LOGITS event for each prompt row
    int logits_from;    // but for those in front of this one
    bool logprobs;      // events carry log-probabilities, the prompt rows' too with prompt_logits
    int top_logprobs;   // and those of as many likeliest tokens, at most RILL_TOP; prompt rows' too
    struct rill_sampling sampling;
    const struct rill_stop *stop; // [n_stop] strings that end the text; copied
    int n_stop;
    const struct rill_constraint *constraint; // NULL: none; borrowed until the request has ended
    bool no_forward;    // a step of the model for each token, also where only one may come
    bool steer;         // rill_engine_steer's function has a say before each token is drawn
    const struct rill_lora_use *lora; // [n_lora] adapters, added to each other; copied
    int n_lora;
    int priority;       // higher first, -100 to 100
    int client;         // who asks, 0 to RILL_CLIENTS - 1: clients get shares of the engine
    float weight;       // of the client's share; 0: 1
    double deadline;    // seconds from now after which it ends; 0: none
    uint64_t salt;      // keys and values are shared only among requests with equal salt
    int draft;          // tokens proposed ahead: changes no answer; at most the engine's max_draft
    int draft_model;    // by which model: 0 is that of rill_engine_opts, 1 the first one added
    bool pin;           // those of the prompt stay in memory until the engine is closed
    bool progress;      // an RILL_PROMPT event after each step that leaves more of the prompt
    int embed;          // enum rill_embed: RILL_VECTOR events instead of tokens; such a request
                        // may fill the context, and what says how tokens are chosen is not read
    bool raw_vector;    // vectors as they are; else each is divided by its length
    const unsigned char *types; // [n_ids] token types, of a pair's second text 1; copied; NULL: 0
    void *user;         // returned with every event
};

#define RILL_TOP     20
#define RILL_CLIENTS 256

struct rill_top {
    int32_t id;
    float logprob;
};

enum rill_event_kind {
    RILL_TOKEN,  // a token was drawn; text holds what can be shown now (maybe nothing)
    RILL_DONE,   // the request has ended: why; text holds what was held back
    RILL_LOGITS, // a prompt row's logits
    RILL_PROMPT, // pos rows of the prompt are there; more are to come
    RILL_VECTOR, // vector; with RILL_EMBED_NONE one for each token, in order; then RILL_DONE
};

enum rill_finish {
    RILL_RUNNING,
    RILL_STOP,      // an end token or a stop string; or all vectors are there
    RILL_LENGTH,    // max_tokens
    RILL_CONTEXT,   // the context is full
    RILL_CANCELLED,
    RILL_DEADLINE,  // no time was left
    RILL_FAILED,    // code and message say why
};

struct rill_event {
    int request;        // number given by submit
    int choice;         // which of its n answers
    int kind;           // enum rill_event_kind
    int finish;         // enum rill_finish, RILL_DONE only
    int stop;           // RILL_DONE: which of the stop strings ended it, from 1 on; 0: none
    int code;           // error code of RILL_FAILED
    int32_t id;         // RILL_TOKEN
    int32_t pos;        // place of the token in its sequence
    const char *text;   // whole UTF-8 characters; valid until the next call on the engine
    size_t n_text;
    const float *logits; // [n_logits], if asked for; valid until the next call
    int n_logits;        // the width of a row, which may be more than there are tokens
    float logprob;       // of id, if asked for: before bias, penalties and temperature; of
                         // RILL_LOGITS the next prompt token's
    const struct rill_top *top; // [n_top] likeliest first, valid until the next call
    int n_top;
    const float *vector; // [n_vector] RILL_VECTOR; valid until the next call
    int n_vector;
    int cached;          // RILL_DONE: prompt rows that did not have to be computed
    const char *message;
    void *user;
};

/* Copies what it needs and returns at once; *number names the request. A prompt that does not fit
 * the context is E_CONTEXT, one that can never fit the memory E_RANGE, an id outside the vocabulary
 * E_RANGE; E_BUSY when the queue is full. */
int rill_engine_submit(struct rill_engine *g, const struct rill_request *r, int *number,
                       struct err *e);

/* One step for all requests that can go on. Fills at most max events (max >= 1; what does not fit
 * comes first next time) and returns how many; 0: nothing is left to do. Negative: the device
 * failed and the engine can only be closed. A step may return 0 events only when idle. */
int rill_engine_step(struct rill_engine *g, struct rill_event *ev, int max, struct err *e);

/* fn is called inside a step with a copy of each row that a request with `steer` draws a token
 * from, before anything else is done to it; what it leaves there counts. at: request, choice, pos
 * and user. Negative: the request fails with that code and e's sentence. Not inside a step. */
typedef int rill_steer_fn(void *ctx, const struct rill_event *at, float *row, int n_row,
                          struct err *e);
int rill_engine_steer(struct rill_engine *g, rill_steer_fn *fn, void *ctx, struct err *e);

/* Takes effect before the next step; each answer still ends with one RILL_DONE. Unknown or ended
 * numbers do nothing. */
void rill_engine_cancel(struct rill_engine *g, int number);

/* A text with its keys and values, in a file or on the way there; and others beside it. */
struct rill_kv {
    int32_t *ids;        // [n]
    unsigned char *made; // [n] 1: the model made this token; NULL: none
    size_t n;
    uint64_t salt;       // of the requests it is for
    bool compressed;     // with zstd
    struct rill_kv *more; // [n_more] texts that share their beginnings' pages with it and each
    int n_more;           // other; these have no more
    /* of a file that was read */
    int n_pos;           // positions whose keys and values are there
    int n_shared;        // of those, how many stand with an earlier text
    int parent;          // that text: 0 is this one, k is more[k - 1]; -1: none
    uint64_t bytes;      // of the file that this text takes
    char device[96];     // it was made on; of several devices, layers of each
};
/* What is there: checks the whole file. The arrays are the caller's (rill_kv_fini). */
int rill_kv_open(struct rill_kv *out, const char *path, struct err *e);
void rill_kv_fini(struct rill_kv *kv);
/* All that the engine knows of salt, as texts of whole blocks; n is 0 when that is nothing. */
int rill_engine_kv_known(struct rill_engine *g, uint64_t salt, struct rill_kv *out, struct err *e);
/* Writes the texts with the keys and values that the engine knows of their beginnings. */
int rill_engine_kv_save(struct rill_engine *g, const struct rill_kv *kv, const char *path,
                        struct err *e);
/* Makes a file's keys and values known to the engine: a request for a text's ids (with `made`)
 * goes on from there, with the bytes it would have had without the file. E_UNSUPPORTED when it was
 * made with another model, vocabulary, device or type of keys and values. */
int rill_engine_kv_load(struct rill_engine *g, const char *path, struct rill_kv *out,
                        struct err *e);

struct rill_stats {
    uint64_t steps;
    uint64_t prompt_rows;  // rows computed in the prompt phase
    uint64_t cached_rows;  // prompt rows found in memory instead
    uint64_t drawn;        // tokens drawn
    uint64_t device_drawn; // of those, by the device, whose logits stayed there
    uint64_t ahead;        // steps that were started before the tokens of the one before were read
    uint64_t drafted;      // tokens proposed ahead
    uint64_t accepted;     // of those, tokens that were then drawn
    uint64_t forced;       // tokens that a grammar left no choice about
    uint64_t preempted;    // times a request was sent back to wait for memory
    uint64_t swapped;      // of those, times its keys and values were kept in host memory
    uint64_t bytes;        // weights and key/value memory read, by the plan's formulas
    double prompt_seconds; // wall time of steps that had prompt rows
    double decode_seconds; // of the others
    uint64_t decode_bytes; // bytes of those
    double gap;            // mean seconds that a GPU waited between steps without prompts
    double prompt_flops;   // operations by the plan's formulas, of steps that had prompt rows
    double decode_flops;   // of the others
    int pages_used;        // of keys and values, those kept for later requests included
    uint64_t kv_bytes;     // memory for them
    double kv_held;        // part of it that requests have, 0 to 1
    int blocks_known;      // blocks of tokens whose pages can be found by their text
    int running, waiting;
};
void rill_engine_stats(const struct rill_engine *g, struct rill_stats *out);

/* Any value of the plan, for finding the first record that leaves a reference: fn is called after
 * each step with each chosen record's first output. records: NULL for all, else the first record
 * and the last, "3-7". While set, values share no memory. Must come before the first submit. */
typedef void rill_dump_fn(void *ctx, int record, const char *name, int rows, int cols,
                          const float *data);
int rill_engine_dump(struct rill_engine *g, const char *records, rill_dump_fn *fn, void *ctx,
                     struct err *e);

/* What comes in at the columns of each weight matrix (for importance matrices): fn is called after
 * each step, for each matrix and each row x[cols] it was multiplied with. Of a stack of n_expert
 * matrices, which says whose row it is. Matrices that were fused are told as one. Cannot be joined
 * with a dump. Must come before the first submit. */
typedef void rill_columns_fn(void *ctx, const char *weight, int n_expert, int which, int cols,
                             const float *x);
int rill_engine_columns(struct rill_engine *g, rill_columns_fn *fn, void *ctx, struct err *e);

/* One record of the plan, timed alone; or all of them, as a step has them. */
struct rill_record {
    int record;         // -1: all, "step"
    int layer;          // -1: outside the layers
    const char *name;   // "linear"
    const char *kernel; // chosen for it, or ""
    double seconds;     // best of the runs
    double bytes;       // weights and key/value memory it reads, by the plan's formulas
    double flops;
};
typedef void rill_record_fn(void *ctx, const struct rill_record *r);

struct rill_times {
    int n_seq;   // sequences in the step
    int n_rows;  // of each: one is a generated row, more are prompt rows; the last wants logits
    int n_past;  // positions in front of them, with any keys and values
    bool shared; // whose whole pages are the same memory for all sequences
    int times;   // runs of each record
};

/* Times every record of the plan, and a whole step at the end. The engine must be idle (E_BUSY). */
int rill_engine_times(struct rill_engine *g, const struct rill_times *t, rill_record_fn *fn,
                      void *ctx, struct err *e);

#endif
