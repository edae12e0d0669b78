/* obey.h - the options that say what an answer must be, the same in every tool. */
#ifndef RILL_TOOLS_OBEY_H
#define RILL_TOOLS_OBEY_H

#include "rill.h"
#include "text/constrain.h"
#include "tools/lib/opt.h"

struct obey_options {
    const char *schema, *grammar, *regex;
    struct opt_list choices;
};

/* Rows of an option table over a struct obey_options. */
/* clang-format off */
#define OBEY_FILES(o)                                                                              \
    {0, "schema", OPT_STR, &(o).schema, "FILE", "JSON that this JSON Schema allows, on one line"}, \
    {0, "grammar", OPT_STR, &(o).grammar, "FILE", "text of this GBNF grammar"}
#define OBEY_OPTIONS(o)                                                                            \
    {0, "schema", OPT_STR, &(o).schema, "FILE", "JSON that this JSON Schema allows, on one line",  \
     .group = "What the answer must be"},                                                          \
    {0, "grammar", OPT_STR, &(o).grammar, "FILE", "text of this GBNF grammar"},                    \
    {0, "regex", OPT_STR, &(o).regex, "RE", "text that RE matches from end to end"},               \
    {0, "choice", OPT_LIST, &(o).choices, "LABEL", "one of these labels; may be repeated"}
/* clang-format on */

int obey_kinds(const struct obey_options *o); // how many kinds were asked for

/* The constraint asked for, or NULL in *out. opts: where it begins, or NULL. */
int obey_open(struct rill_constraint **out, const struct obey_options *o,
              const struct rill_constraint_opts *opts, struct err *e);
/* The schema or grammar, for judging texts of others: any white space, properties in any order. */
int obey_judge(struct con **out, const struct obey_options *o, struct err *e);

#endif
