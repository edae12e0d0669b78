/* run.h - what rill-run is made of: the options (run.c has their table), what they open
 * (run_open.c), one answer (run_answer.c) and what is printed of it (run_reply.c).
 */
#ifndef RILL_TOOLS_RUN_H
#define RILL_TOOLS_RUN_H

#include <stdio.h>

#include "base/buf.h"
#include "rill.h"
#include "tools/lib/ask.h"
#include "tools/lib/choices.h"
#include "tools/lib/model_opts.h"
#include "tools/lib/obey.h"
#include "tools/lib/opt.h"
#include "tools/lib/sampling.h"
#include "tools/lib/wrap.h"

struct run_options {
    struct model_options model;
    struct sampling_options sampling;
    struct obey_options obeyed;
    /* the prompt */
    struct opt_list pieces, sets;
    const char *system, *messages, *template, *prefill, *tools, *format;
    bool lines, nul, raw, special, ids_in;
    /* the answer */
    struct opt_list stops;
    const char *choices;
    int n, min, budget, think_fd, stats_fd, logits_fd, bias_fd;
    bool n_given, ignore_eos, think, echo, json, ids_out;
    /* many requests */
    const char *out, *shard, *kv_mem, *swap_mem;
    int parallel, rows;
    double step_ms;
    bool step_given;
    bool jsonl, resume, unordered, lenient, timings, verify, no_cache;
    /* vectors and scores */
    int pooling, embed_format;
    bool embed, rerank, raw_vector;
    /* the engine */
    struct opt_list loras;
    const char *kv, *kv_save, *draft_model, *corpus, *dump, *replay;
    int kv_trim, draft;
    bool kv_zstd, draft_given;
};

/* What answering needs, and what it has measured. */
struct run {
    const struct run_options *opt;
    struct rill_model *model;
    struct rill_model *draft; // --draft
    struct ask ask;           // its chat NULL: prompts are completed as they are
    json_t *tools;            // --tools
    struct rill_engine *engine;
    struct rill_model_info info;
    struct rill_sampling sampling;
    struct rill_constraint *constraint, *behind; // from the start, or behind the reasoning
    FILE *think;
    struct wrap dim;       // reasoning on a terminal
    struct run_answer *of; // whose events come
    struct rill_stop stop[64];
    struct rill_lora_use lora[RILL_LORA_MIX]; // [loras.n]
    struct rill_kv kv;                        // --kv: what stands before each prompt
    int n_stop;
    FILE *dump;
    FILE *stats;
    FILE *logits;           // --logits-fd
    FILE *bias;             // --bias-fd
    struct choices choices; // --choices
    int verbose;
    bool tty;
    double load; // seconds
    int answers;
    bool cut;    // an answer reached the end of the context unasked
    bool failed; // a line was not answered, a call broke off, or an answer differs
};

struct run_answer {
    struct buf text, reasoning;
    struct buf calls, args; // objects as the API has them, commas between; of the call in work
    size_t n_calls;
    bool texted;    // there was text, and its last byte was no newline
    bool reasoned;  // the last event was reasoning
    struct buf ids; // those drawn, with --kv-save
    size_t n_prompt, n_drawn;
    int finish;
    double prompt, decode; // seconds
    double gb_s;
    uint64_t drafted, accepted;
};

/* -- run_open.c -- */

/* Model, engine, adapters, drafts, template: all that an answer needs. */
int run_open(struct run *r, struct err *e);
/* The engine that the options ask for, all but its draft model. */
int run_engine_opts(const struct run_options *o, struct rill_engine_opts *out, struct err *e);
/* Of any state; the streams that were asked for are closed. The sentence of the first that could
 * not be written: E_IO. */
int run_close(struct run *r, struct err *e);

/* The -p and -f pieces in the order given, a newline between; or the file of --messages. */
int run_fixed_prompt(const struct run *r, struct buf *out, struct err *e);
/* text: the user's message, or with --messages JSON. */
int run_prompt(const struct run *r, struct slice text, struct ask_prompt *out, struct err *e);

/* What --kv-save is to hold of many answers: all that the engine knows when they are done. */
int run_save_known(struct run *r, struct err *e);

/* -- run_answer.c -- */

/* Answers one prompt, and prints that. */
int run_answer(struct run *r, struct slice text, struct err *e);

/* -- run_reply.c -- */

/* {"tool_calls": [...]} on a line of its own behind the text. */
void run_put_calls(const struct run *r, const struct run_answer *a);
/* One object, as the completions endpoint of the HTTP API answers. */
void run_put_json(const struct run *r, const struct run_answer *a, struct slice prompt);
/* Times and counts, to whom they are for. */
void run_report(struct run *r, const struct run_answer *a);

#endif
