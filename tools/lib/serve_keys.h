/* serve_keys.h - who may ask, and how much: a file of hashed keys.
 *
 * A line is the SHA-256 of a key in hexadecimal digits, a name, and settings:
 *
 *     9f86d081...0a08 alice rate=5 tokens=60000 concurrent=4 weight=2 models=big,small scopes=infer
 *
 * rate: requests a second (and as many at once); tokens: of prompts and answers a minute;
 * concurrent: requests at once; weight: of the client's share of the engine; models: those it may
 * ask; adapters: those it may choose; lora: NAME or NAME=SCALE, in its requests that choose none;
 * draft: tokens proposed ahead for it, as far as the server does that, and by which model: N, NAME
 * or NAME=N; scopes: infer, metrics
 * (default: both), admin. Empty lines and lines with # are skipped.
 */
#ifndef RILL_TOOLS_SERVE_KEYS_H
#define RILL_TOOLS_SERVE_KEYS_H

#include "tools/lib/worker.h"

enum { KEY_HASH = 32, KEY_INFER = 1, KEY_METRICS = 2, KEY_ADMIN = 4 };

struct key {
    unsigned char hash[KEY_HASH];
    char name[64];
    double rate, tokens; // 0: no limit
    int concurrent;      // 0: no limit
    float weight;
    char models[256]; // separated by commas; "": all
    unsigned scopes;
    struct job_rights rights;
    int draft; // -1: as the server has it
    /* what it has used */
    double rate_left, tokens_left, at; // of its buckets, when they were looked at
    int running;
    uint64_t requests, prompt_tokens, drawn_tokens;
};

struct keys;

int keys_read(struct keys **out, const char *path, struct err *e);
void keys_free(struct keys *k); // accepts NULL
/* What the old ones have used goes over to those of the same name. */
void keys_inherit(struct keys *k, const struct keys *old);

/* The key's place, or -1. Takes the same time whatever the key. */
int keys_find(const struct keys *k, struct slice key);
int keys_count(const struct keys *k);
struct key *keys_at(struct keys *k, int i);
bool key_may(const struct key *k, const char *model);
/* Whether a request may begin now: 0, or seconds until it is worth asking again. */
double key_begin(struct key *k, double now);
void key_spent(struct key *k, uint64_t prompt, uint64_t drawn);

void key_hash(struct slice key, unsigned char out[KEY_HASH]);

#endif
