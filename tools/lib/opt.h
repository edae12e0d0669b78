/* opt.h - the option table: one row per option gives parsing, ranges, defaults, --help and the
 * completion of three shells.
 *
 *     static int n;
 *     static struct opt_list pieces;
 *     static const struct tool_option opts[] = {
 *         {'p', "prompt", OPT_LIST, &pieces, "TEXT", "a piece of the prompt"},
 *         {'f', "file", OPT_LIST, &pieces, "FILE", "a file as a piece of the prompt"},
 *         {'n', "max-tokens", OPT_INT, &n, "N", "stop after N tokens", .min = 1, .max = 1e6},
 *         {0, "temperature", OPT_FLOAT, &temp, "X", "randomness", .max = 2, .def = "0.8"},
 *         {0, "temp", OPT_ALIAS, 0, "temperature"},
 *         {'j', "json", OPT_FLAG, &json, 0, "one JSON object per line"},
 *         {0}
 *     };
 *
 * tool_begin() (tool.h) adds -h --help, -V --version, -q --quiet and -v --verbose to every table.
 */
#ifndef RILL_TOOLS_OPT_H
#define RILL_TOOLS_OPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

enum opt_type {
    OPT_END,    // last row
    OPT_FLAG,   // bool *: true
    OPT_UNSET,  // bool *: false (--no-x beside --x)
    OPT_COUNT,  // int *: one more each time
    OPT_INT,    // int *
    OPT_U64,    // uint64_t *; 0x for hexadecimal
    OPT_FLOAT,  // double *
    OPT_STR,    // const char **
    OPT_CHOICE, // int *: index into choices
    OPT_INTS,   // struct opt_ints *: "1,8,64-512:64" (from-to:step, from-to*factor)
    OPT_LIST,   // struct opt_list *: every use is kept; rows that share one keep their common order
    OPT_CALL,   // call(out, value): what fits no other type; value is NULL when arg is
    OPT_ALIAS   // another name for the row named by arg; shown there
};

struct tool_option {
    char letter;      // 0: none
    const char *name; // without the dashes; NULL: a letter alone
    enum opt_type type;
    void *out;
    const char *arg;            // what the value is called; FILE, DIR and MODEL complete as paths
    const char *help;           // lower case, no full stop
    double min, max;            // INT, U64, FLOAT, INTS: inclusive; both 0: any; max < min: no top
    const char *def;            // set before the command line is read, and shown
    const char *const *choices; // CHOICE: names, NULL-ended
    bool *given;                // set when the option is used; may be NULL
    int (*call)(void *out, const char *value, struct err *e);
    const char *group; // a heading above this row in --help, without colon
    bool hidden;       // in neither --help nor completion
};

struct opt_piece {
    const struct tool_option *opt; // which row: tell them apart by letter
    const char *value;
};
struct opt_list {
    struct opt_piece *at;
    size_t n, cap;
};
void opt_list_fini(struct opt_list *l);

struct opt_ints {
    int n;
    int v[64];
};

/* Sets defaults, then reads argv; values are borrowed from it. *first is the index of the first
 * operand: options may follow operands and argv is reordered, up to "--". E_USAGE with a sentence
 * that names the option and, when it is unknown, the nearest known one. */
int opt_parse(const struct tool_option *opts, int argc, char **argv, int *first, struct err *e);
/* The same, and notes the rows that were used (the first 64 uses). used may be NULL. */
struct opt_used {
    const struct tool_option *row[64];
    int n;
};
int opt_parse_noting(const struct tool_option *opts, int argc, char **argv, int *first,
                     struct opt_used *used, struct err *e);

/* One value for one row, checked as on the command line. */
int opt_set(const struct tool_option *o, const char *value, struct err *e);

/* The row with this name (aliases followed), or NULL; the name in the table nearest to a wrong
 * one, or NULL when none is near. */
const struct tool_option *opt_find(const struct tool_option *opts, const char *name);
const char *opt_nearest(const struct tool_option *opts, const char *name);

/* Which of n names is nearest to a wrong one (an index), or -1 when none is near: for types, fields
 * and file kinds too. Near: at most a third of the letters are wrong (one missing, added, changed,
 * or two exchanged), or one of the two is a part of the other. */
int opt_nearest_of(const char *const *names, int n, const char *wrong);

/* The rows as --help shows them, 80 columns wide. */
void opt_help(const struct tool_option *opts, FILE *to);

/* A completion script for "bash", "zsh" or "fish", or with "list" one line per option with its
 * names; false when the shell is unknown. */
bool opt_completion(const struct tool_option *opts, const char *tool, const char *about,
                    const char *shell, FILE *to);

#endif
