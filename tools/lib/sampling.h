/* sampling.h - the options that say how tokens are chosen, the same in every tool. */
#ifndef RILL_TOOLS_SAMPLING_H
#define RILL_TOOLS_SAMPLING_H

#include "rill.h"
#include "tools/lib/opt.h"

struct sampling_options {
    double temperature, top_p, min_p, repetition, presence, frequency;
    double typical, sigma, xtc, xtc_threshold, dyn_range, dyn_exponent, dry, dry_base;
    double tau, eta;
    int top_k, last, dry_length, dry_last, ngram, mirostat;
    uint64_t seed;
    int n_bias;
    bool has_temperature, has_top_p, has_min_p, has_top_k, has_repetition, has_presence,
        has_frequency, has_last, has_seed, has_typical, has_sigma, has_xtc, has_xtc_threshold,
        has_dyn_range, has_dyn_exponent, has_dry, has_dry_base, has_dry_length, has_dry_last,
        has_ngram, has_mirostat, has_tau, has_eta;
    struct rill_bias list[256];
    int32_t allowed[256];
    int n_allowed;
    struct rill_stop breaker[64];
    int n_breaker;
    unsigned char order[RILL_FILTERS];
};

/* for the table */
int sampling_bias(void *options, const char *value, struct err *e);
int sampling_allowed(void *options, const char *value, struct err *e);
int sampling_breaker(void *options, const char *value, struct err *e);
int sampling_order(void *options, const char *value, struct err *e);

/* The filter of that name, or 0; the name of a filter. */
int sampling_filter(const char *name, size_t n);
const char *sampling_filter_name(int filter);

/* Rows of an option table over a struct sampling_options. */
/* clang-format off */
#define SAMPLING_OPTIONS(s)                                                                        \
    {0, "temperature", OPT_FLOAT, &(s).temperature, "X", "randomness; 0: always the likeliest",    \
     .min = 0, .max = 100, .given = &(s).has_temperature, .group = "Choosing tokens"},             \
    {0, "temp", OPT_ALIAS, 0, "temperature", 0},                                                   \
    {0, "top-k", OPT_INT, &(s).top_k, "N", "from the N likeliest (0: all)", .min = 0, .max = 1e9,  \
     .given = &(s).has_top_k},                                                                     \
    {0, "top-p", OPT_FLOAT, &(s).top_p, "P", "from the likeliest that make up P", .min = 0,        \
     .max = 1, .given = &(s).has_top_p},                                                           \
    {0, "min-p", OPT_FLOAT, &(s).min_p, "P", "none less likely than P times the best", .min = 0,   \
     .max = 1, .given = &(s).has_min_p},                                                           \
    {0, "typical-p", OPT_FLOAT, &(s).typical, "P",                                                 \
     "from those that surprise as expected and make up P (1: off)", .min = 0, .max = 1,            \
     .given = &(s).has_typical},                                                                   \
    {0, "top-n-sigma", OPT_FLOAT, &(s).sigma, "X",                                                 \
     "from those within X deviations of the best (0: off)", .min = 0, .max = 1000,                 \
     .given = &(s).has_sigma},                                                                     \
    {0, "xtc-probability", OPT_FLOAT, &(s).xtc, "P",                                               \
     "leave out the likeliest with probability P", .min = 0, .max = 1, .given = &(s).has_xtc},     \
    {0, "xtc-threshold", OPT_FLOAT, &(s).xtc_threshold, "P", "what is likely for that (0.1)",      \
     .min = 0, .max = 1, .given = &(s).has_xtc_threshold},                                         \
    {0, "dynatemp-range", OPT_FLOAT, &(s).dyn_range, "X",                                          \
     "vary the temperature by X with the entropy", .min = 0, .max = 100,                           \
     .given = &(s).has_dyn_range},                                                                 \
    {0, "dynatemp-exponent", OPT_FLOAT, &(s).dyn_exponent, "X", "of the entropy in that (1)",      \
     .min = 0, .max = 100, .given = &(s).has_dyn_exponent},                                        \
    {0, "mirostat", OPT_INT, &(s).mirostat, "N",                                                   \
     "let tokens surprise as much as is aimed at: version 1 or 2 (0: off)", .min = 0, .max = 2,    \
     .given = &(s).has_mirostat},                                                                  \
    {0, "mirostat-tau", OPT_FLOAT, &(s).tau, "X", "bits of surprise aimed at (5)", .min = 0,       \
     .max = 100, .given = &(s).has_tau},                                                           \
    {0, "mirostat-eta", OPT_FLOAT, &(s).eta, "X", "how fast it gets there (0.1)", .min = 0,        \
     .max = 100, .given = &(s).has_eta},                                                           \
    {0, "samplers", OPT_CALL, &(s), "LIST", "the filters to use, in this order",                   \
     .call = sampling_order},                                                                      \
    {0, "repetition-penalty", OPT_FLOAT, &(s).repetition, "X",                                     \
     "divide the logits of tokens already there (1: off)", .min = 0.01, .max = 100,                \
     .given = &(s).has_repetition},                                                                \
    {0, "presence-penalty", OPT_FLOAT, &(s).presence, "X", "take X off tokens already there",      \
     .min = -100, .max = 100, .given = &(s).has_presence},                                         \
    {0, "frequency-penalty", OPT_FLOAT, &(s).frequency, "X",                                       \
     "take X off for each time a token is there", .min = -100, .max = 100,                         \
     .given = &(s).has_frequency},                                                                 \
    {0, "penalty-last", OPT_INT, &(s).last, "N",                                                   \
     "tokens the penalties look back at (-1: all, the default)", .min = -1, .max = 1e9,            \
     .given = &(s).has_last},                                                                      \
    {0, "dry-multiplier", OPT_FLOAT, &(s).dry, "X",                                                \
     "make it unlikely to go on repeating (0: off)", .min = 0, .max = 100,                         \
     .given = &(s).has_dry},                                                                       \
    {0, "dry-base", OPT_FLOAT, &(s).dry_base, "X",                                                 \
     "by how much more for each token repeated (1.75)", .min = 1, .max = 100,                      \
     .given = &(s).has_dry_base},                                                                  \
    {0, "dry-allowed-length", OPT_INT, &(s).dry_length, "N", "from N repeated tokens on (2)",      \
     .min = 0, .max = 1e9, .given = &(s).has_dry_length},                                          \
    {0, "dry-last", OPT_INT, &(s).dry_last, "N", "tokens it looks back at (-1: all)", .min = -1,   \
     .max = 1e9, .given = &(s).has_dry_last},                                                      \
    {0, "dry-breaker", OPT_CALL, &(s), "TEXT",                                                     \
     "it does not reach across tokens with TEXT in them; may be repeated",                         \
     .call = sampling_breaker},                                                                    \
    {0, "no-repeat-ngram", OPT_INT, &(s).ngram, "N", "no N tokens twice (0: off)", .min = 0,       \
     .max = 1e9, .given = &(s).has_ngram},                                                         \
    {0, "seed", OPT_U64, &(s).seed, "N", "of the random numbers (0)", .given = &(s).has_seed},     \
    {0, "logit-bias", OPT_CALL, &(s), "ID=X",                                                      \
     "add X to the logit of token ID (-inf: never); may be repeated", .call = sampling_bias},      \
    {0, "allow", OPT_CALL, &(s), "ID", "no tokens but this one; may be repeated",                  \
     .call = sampling_allowed}
/* clang-format on */

/* Overwrites what was given on the command line; the seed is always set (0 unless given). */
void sampling_apply(const struct sampling_options *o, struct rill_sampling *s);

#endif
