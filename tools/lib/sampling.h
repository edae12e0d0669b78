/* sampling.h - the options that say how tokens are chosen, the same in every tool. */
#ifndef RILL_TOOLS_SAMPLING_H
#define RILL_TOOLS_SAMPLING_H

#include "rill.h"
#include "tools/lib/opt.h"

struct sampling_options {
    double temperature, top_p, min_p, repetition, presence, frequency;
    int top_k, last;
    uint64_t seed;
    int n_bias;
    bool has_temperature, has_top_p, has_min_p, has_top_k, has_repetition, has_presence,
        has_frequency, has_last, has_seed;
    struct rill_bias list[256];
};

int sampling_bias(void *options, const char *value, struct err *e); // for the table

/* Rows of an option table over a struct sampling_options. */
#define SAMPLING_OPTIONS(s)                                                                        \
    {0, "temperature", OPT_FLOAT, &(s).temperature, "X", "randomness; 0: always the likeliest",   \
     .min = 0, .max = 100, .given = &(s).has_temperature, .group = "Choosing tokens"},             \
        {0, "temp", OPT_ALIAS, 0, "temperature", 0},                                               \
        {0, "top-k", OPT_INT, &(s).top_k, "N", "from the N likeliest (0: all)", .min = 0,          \
         .max = 1e9, .given = &(s).has_top_k},                                                     \
        {0, "top-p", OPT_FLOAT, &(s).top_p, "P", "from the likeliest that make up P", .min = 0,    \
         .max = 1, .given = &(s).has_top_p},                                                       \
        {0, "min-p", OPT_FLOAT, &(s).min_p, "P", "none less likely than P times the best",         \
         .min = 0, .max = 1, .given = &(s).has_min_p},                                             \
        {0, "repetition-penalty", OPT_FLOAT, &(s).repetition, "X",                                 \
         "divide the logits of tokens already there (1: off)", .min = 0.01, .max = 100,            \
         .given = &(s).has_repetition},                                                            \
        {0, "presence-penalty", OPT_FLOAT, &(s).presence, "X",                                     \
         "take X off tokens already there", .min = -100, .max = 100,                               \
         .given = &(s).has_presence},                                                              \
        {0, "frequency-penalty", OPT_FLOAT, &(s).frequency, "X",                                   \
         "take X off for each time a token is there", .min = -100, .max = 100,                     \
         .given = &(s).has_frequency},                                                             \
        {0, "penalty-last", OPT_INT, &(s).last, "N",                                               \
         "tokens the penalties look back at (-1: all, the default)", .min = -1, .max = 1e9,        \
         .given = &(s).has_last},                                                                  \
        {0, "seed", OPT_U64, &(s).seed, "N", "of the random numbers (0)", .given = &(s).has_seed}, \
    {                                                                                              \
        0, "logit-bias", OPT_CALL, &(s), "ID=X",                                              \
            "add X to the logit of token ID (-inf: never); may be repeated", .call = sampling_bias \
    }

/* Overwrites what was given on the command line; the seed is always set (0 unless given). */
void sampling_apply(struct sampling_options *o, struct rill_sampling *s);

#endif
