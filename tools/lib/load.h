/* load.h - load for a server that speaks OpenAI's chat API: requests at given times or as many at
 * once, their streams read, their tokens timed.
 *
 * One thread, plain HTTP/1.1. Knows nothing of our own server.
 */
#ifndef RILL_TOOLS_LOAD_H
#define RILL_TOOLS_LOAD_H

#include "base/buf.h"

/* A request: when it is sent, how long prompt and answer are. Equal blocks of two prompts are equal
 * text. */
struct load_item {
    double at; // seconds from the beginning; of an open loop
    int n_prompt, n_gen;
    const uint32_t *block; // [n_block] seeds of the prompt's blocks; NULL: like no other
    int n_block;
};

struct load_opts {
    const char *url;              // http://HOST[:PORT][/PATH]; without a path: /v1/chat/completions
    const char *model;            // NULL: none is named
    const char *key;              // NULL: none
    const struct load_item *item; // [n]
    size_t n;
    int at_once;    // a closed loop of as many; 0: an open one, by their times
    bool to_end;    // ignore_eos, which not every server knows
    double seconds; // longer is given up; 0: never
};

/* Milliseconds, in the order they were measured. */
struct load_times {
    struct buf ms; // of float
};

struct load_result {
    size_t done, failed;
    uint64_t prompt_tokens, tokens; // as the server counts, else pieces of streams
    double seconds;
    struct load_times first, between, total;
    char why[200]; // of the first failure
};

/* A trace: JSON lines with timestamp (ms), input_length, output_length and hash_ids, or CSV with
 * TIMESTAMP, ContextTokens and GeneratedTokens. Times begin at 0 and are divided by speed. */
struct load_trace {
    struct load_item *item; // [n]
    size_t n;
    uint32_t *block;
};
int load_trace_read(struct load_trace *out, const char *path, double speed, size_t most,
                    struct err *e);
void load_trace_free(struct load_trace *t);

/* Runs all of it. Failures of requests are counted; an address that is none, or a server that is
 * not there at all, is an error. stop: asked now and then; true ends it. */
int load_run(struct load_result *out, const struct load_opts *o, bool (*stop)(void), struct err *e);
void load_fini(struct load_result *r);
/* The q-th part (0 to 1) of the times, 0 without any. Sorts them. */
double load_quantile(struct load_times *t, double q);

#endif
