/* opt.c - see opt.h: parsing. What is shown of a table is in opt_show.c. */
#define _GNU_SOURCE
#include "tools/lib/opt.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { LONG_BASE = 256, MAX_ROWS = 200, MAX_NAME = 64 };

/* -- nearest names -- */

/* Optimal string alignment distance of two names of fewer than MAX_NAME bytes. */
static int distance(const char *a, const char *b)
{
    int row[3][MAX_NAME + 1];
    int n = (int)strlen(a);
    int m = (int)strlen(b);

    for (int j = 0; j <= m; j++)
        row[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *now = row[i % 3];
        const int *last = row[(i + 2) % 3];
        const int *before = row[(i + 1) % 3];

        now[0] = i;
        for (int j = 1; j <= m; j++) {
            int d = last[j - 1] + (a[i - 1] != b[j - 1]);

            if (last[j] + 1 < d)
                d = last[j] + 1;
            if (now[j - 1] + 1 < d)
                d = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < d)
                d = before[j - 2] + 1;
            now[j] = d;
        }
    }
    return row[n % 3][m];
}

static void fold(char out[MAX_NAME], const char *name)
{
    size_t n = strcspn(name, "=");

    if (n >= MAX_NAME)
        n = MAX_NAME - 1;
    for (size_t i = 0; i < n; i++)
        out[i] = name[i] == '_' ? '-' : (char)tolower((unsigned char)name[i]);
    out[n] = 0;
}

/* How far apart two names are, in half letters; INT_MAX: not near. */
static int apart(const char *known, const char *wrong)
{
    char a[MAX_NAME];
    char b[MAX_NAME];
    int len, d;

    fold(a, known);
    fold(b, wrong);
    len = (int)strlen(b);
    d = distance(a, b);
    if (d * 3 <= len + 1)
        return d * 2;
    /* a part of a name says more than its distance: --tokens for --max-tokens */
    if (len >= 2 && strncmp(a, b, (size_t)len) == 0)
        return len;
    if (len >= 4 && strlen(a) >= 4 && (strstr(a, b) || strstr(b, a)))
        return len + 1;
    return INT_MAX;
}

int opt_nearest_of(const char *const *names, int n, const char *wrong)
{
    int best = -1;
    int least = INT_MAX;

    for (int i = 0; i < n; i++) {
        int d = apart(names[i], wrong);

        if (d < least) {
            least = d;
            best = i;
        }
    }
    return best;
}

const char *opt_nearest(const struct tool_option *opts, const char *name)
{
    const char *names[MAX_ROWS];
    int n = 0;
    int i;

    for (; opts->type != OPT_END && n < MAX_ROWS; opts++)
        if (opts->name && !opts->hidden)
            names[n++] = opts->name;
    i = opt_nearest_of(names, n, name);
    return i < 0 ? NULL : names[i];
}

const struct tool_option *opt_find(const struct tool_option *opts, const char *name)
{
    for (const struct tool_option *o = opts; o->type != OPT_END; o++) {
        if (!o->name || strcmp(o->name, name) != 0)
            continue;
        return o->type == OPT_ALIAS ? opt_find(opts, o->arg) : o;
    }
    return NULL;
}

/* -- values -- */

/* "--max-tokens" or "-n" into out. */
static const char *shown(const struct tool_option *o, char out[MAX_NAME + 2])
{
    if (o->name)
        snprintf(out, MAX_NAME + 2, "--%s", o->name);
    else
        snprintf(out, MAX_NAME + 2, "-%c", o->letter);
    return out;
}

static int refuse(const struct tool_option *o, const char *value, const char *why, struct err *e)
{
    char name[MAX_NAME + 2];

    return err_set(e, E_USAGE, "option %s: '%.100s' %s", shown(o, name), value, why);
}

static int in_range(const struct tool_option *o, const char *value, double v, struct err *e)
{
    bool top = o->max >= o->min;
    char why[100];

    if ((o->min == 0 && o->max == 0) || (v >= o->min && (!top || v <= o->max)))
        return 0;
    if (!top || o->max >= INT_MAX)
        snprintf(why, sizeof why, "is less than %.15g", o->min);
    else
        snprintf(why, sizeof why, "is not in the range %.15g to %.15g", o->min, o->max);
    return refuse(o, value, why, e);
}

static int set_int(const struct tool_option *o, const char *value, struct err *e)
{
    char *end;
    long v;
    int rc;

    errno = 0;
    v = strtol(value, &end, 10);
    if (end == value || *end || isspace((unsigned char)*value))
        return refuse(o, value, "is not a whole number", e);
    if (errno || v < INT_MIN || v > INT_MAX)
        return refuse(o, value, "is too large a number", e);
    if ((rc = in_range(o, value, (double)v, e)) == 0)
        *(int *)o->out = (int)v;
    return rc;
}

static int set_u64(const struct tool_option *o, const char *value, struct err *e)
{
    char *end = NULL;
    int base = value[0] == '0' && (value[1] | 32) == 'x' ? 16 : 10;
    unsigned long long v = 0;
    int rc;

    errno = 0;
    if (isdigit((unsigned char)*value))
        v = strtoull(value, &end, base);
    if (!end || *end)
        return refuse(o, value, "is not a whole number", e);
    if (errno)
        return refuse(o, value, "is too large a number", e);
    if ((rc = in_range(o, value, (double)v, e)) == 0)
        *(uint64_t *)o->out = v;
    return rc;
}

static int set_float(const struct tool_option *o, const char *value, struct err *e)
{
    char *end;
    double v = strtod(value, &end);
    int rc;

    if (end == value || *end || isspace((unsigned char)*value) || !isfinite(v))
        return refuse(o, value, "is not a number", e);
    if ((rc = in_range(o, value, v, e)) == 0)
        *(double *)o->out = v;
    return rc;
}

static int set_choice(const struct tool_option *o, const char *value, struct err *e)
{
    char why[200];
    int n = 0;
    int near;

    for (; o->choices[n]; n++) {
        if (strcasecmp(o->choices[n], value) == 0) {
            *(int *)o->out = n;
            return 0;
        }
    }
    near = opt_nearest_of(o->choices, n, value);
    if (near >= 0) {
        snprintf(why, sizeof why, "is none of its values (did you mean '%s'?)", o->choices[near]);
    } else {
        size_t at = (size_t)snprintf(why, sizeof why, "is none of:");

        for (int i = 0; i < n && at < sizeof why; i++)
            at += (size_t)snprintf(why + at, sizeof why - at, " %s", o->choices[i]);
    }
    return refuse(o, value, why, e);
}

static int add_int(const struct tool_option *o, struct opt_ints *l, const char *value, long v,
                   struct err *e)
{
    if (v < INT_MIN || v > INT_MAX)
        return refuse(o, value, "has too large a number", e);
    if (l->n == (int)ARRAY_LEN(l->v))
        return refuse(o, value, "has more than 64 numbers", e);
    l->v[l->n++] = (int)v;
    return in_range(o, value, (double)v, e);
}

/* One item of a list of numbers: N, FROM-TO, FROM-TO:STEP or FROM-TO*FACTOR. */
static int add_item(const struct tool_option *o, struct opt_ints *l, const char *value,
                    const char **at, struct err *e)
{
    char *end;
    long from = strtol(*at, &end, 10);
    long to = from;
    long step = 1;
    bool times = false;

    if (end == *at || isspace((unsigned char)**at))
        return refuse(o, value, "is not a list of whole numbers", e);
    if (*end == '-') {
        to = strtol(end + 1, &end, 10);
        if (*end == ':' || *end == '*') {
            times = *end == '*';
            step = strtol(end + 1, &end, 10);
        }
    }
    if (step < 1 || (times && (step < 2 || from < 1)) || to < from)
        return refuse(o, value, "has a range that does not end", e);
    *at = end;
    for (long v = from; v <= to; v = times ? v * step : v + step) {
        int rc = add_int(o, l, value, v, e);

        if (rc < 0)
            return rc;
        if (v > INT_MAX / 2 || step > INT_MAX / 2)
            break;
    }
    return 0;
}

static int set_ints(const struct tool_option *o, const char *value, struct err *e)
{
    struct opt_ints l = {0};
    const char *at = value;

    for (;;) {
        int rc = add_item(o, &l, value, &at, e);

        if (rc < 0)
            return rc;
        if (*at != ',')
            break;
        at++;
    }
    if (*at)
        return refuse(o, value, "is not a list of whole numbers", e);
    *(struct opt_ints *)o->out = l;
    return 0;
}

static int add_piece(const struct tool_option *o, const char *value, struct err *e)
{
    struct opt_list *l = o->out;

    if (l->n == l->cap) {
        size_t cap = l->cap * 2 + 8;
        struct opt_piece *at = mem_resize(l->at, l->cap, cap, sizeof *at, e);

        if (!at)
            return E_NOMEM;
        l->at = at;
        l->cap = cap;
    }
    l->at[l->n++] = (struct opt_piece){o, value};
    return 0;
}

void opt_list_fini(struct opt_list *l)
{
    mem_free(l->at);
    *l = (struct opt_list){0};
}

static int call_out(const struct tool_option *o, const char *value, struct err *e)
{
    char name[MAX_NAME + 10];
    char text[MAX_NAME + 2];
    int rc = o->call(o->out, value, e);

    if (rc < 0) {
        snprintf(name, sizeof name, "option %s", shown(o, text));
        err_prefix(e, name);
    }
    return rc;
}

int opt_set(const struct tool_option *o, const char *value, struct err *e)
{
    switch (o->type) {
    case OPT_FLAG:
        *(bool *)o->out = true;
        return 0;
    case OPT_UNSET:
        *(bool *)o->out = false;
        return 0;
    case OPT_COUNT:
        ++*(int *)o->out;
        return 0;
    case OPT_INT:
        return set_int(o, value, e);
    case OPT_U64:
        return set_u64(o, value, e);
    case OPT_FLOAT:
        return set_float(o, value, e);
    case OPT_STR:
        *(const char **)o->out = value;
        return 0;
    case OPT_CHOICE:
        return set_choice(o, value, e);
    case OPT_INTS:
        return set_ints(o, value, e);
    case OPT_LIST:
        return add_piece(o, value, e);
    case OPT_CALL:
        return call_out(o, value, e);
    case OPT_ALIAS:
    case OPT_END:
        break;
    }
    return err_set(e, E_USAGE, "option '%s' takes no value of its own", o->name);
}

/* -- the command line -- */

struct lists {
    struct option longs[MAX_ROWS + 1];
    const struct tool_option *row[MAX_ROWS]; // of longs[i], aliases followed
    char shorts[2 * MAX_ROWS + 3];
};

static bool takes_value(const struct tool_option *o)
{
    return o->arg != NULL && o->type != OPT_FLAG && o->type != OPT_UNSET && o->type != OPT_COUNT;
}

/* getopt's two lists from ours. '+' is absent: options may follow operands. ':' in front makes it
 * tell a missing value from an unknown option, and say nothing itself. */
static int lists_make(struct lists *l, const struct tool_option *opts, struct err *e)
{
    char *s = l->shorts;
    int n = 0;

    *s++ = ':';
    for (const struct tool_option *o = opts; o->type != OPT_END; o++) {
        const struct tool_option *row = o->type == OPT_ALIAS ? opt_find(opts, o->arg) : o;

        if (n == MAX_ROWS || !row)
            return err_set(e, E_USAGE, "option table: row '%s' is wrong", o->name);
        if (o->letter) {
            *s++ = o->letter;
            if (takes_value(row))
                *s++ = ':';
        }
        if (o->name) {
            l->longs[n] = (struct option){o->name, takes_value(row), NULL, LONG_BASE + n};
            l->row[n++] = row;
        }
    }
    *s = 0;
    return 0;
}

static const struct tool_option *row_of(const struct lists *l, const struct tool_option *opts,
                                        int got)
{
    if (got >= LONG_BASE)
        return l->row[got - LONG_BASE];
    for (; opts->type != OPT_END; opts++)
        if (opts->letter == got)
            return opts;
    return NULL;
}

/* "-temp 1" reads as -t emp: what was meant is one more dash. */
static const char *one_dash(const struct tool_option *opts, const char *word)
{
    static const char none[] = "";
    char name[MAX_NAME];

    if (word[0] != '-' || word[1] == '-' || strlen(word) < 3)
        return none;
    fold(name, word + 1);
    return opt_find(opts, name) ? word + 1 : none;
}

static int unknown(const struct tool_option *opts, const struct lists *l, char **argv,
                   struct err *e)
{
    /* optind has not moved on yet when letters of the same word are left */
    const char *here = argv[optind] ? argv[optind] : "";
    const char *word = optopt && *one_dash(opts, here) ? here : argv[optind - 1];
    const struct tool_option *known = optopt ? row_of(l, opts, optopt) : NULL;
    char name[MAX_NAME + 2];
    const char *near;

    if (known && optopt >= LONG_BASE)
        return err_set(e, E_USAGE, "option %s takes no value", shown(known, name));
    if (*one_dash(opts, word))
        return err_set(e, E_USAGE, "unknown option '%.60s' (did you mean '-%.60s'?)", word, word);
    if (optopt)
        return err_set(e, E_USAGE, "unknown option '-%c'", optopt);
    snprintf(name, sizeof name, "%s", word + 2);
    near = opt_nearest(opts, name);
    if (near)
        return err_set(e, E_USAGE, "unknown option '%.*s' (did you mean '--%s'?)",
                       (int)strcspn(word, "="), word, near);
    return err_set(e, E_USAGE, "unknown option '%.*s'", (int)strcspn(word, "="), word);
}

static int set_defaults(const struct tool_option *opts, struct err *e)
{
    for (const struct tool_option *o = opts; o->type != OPT_END; o++) {
        int rc = o->def && o->type != OPT_LIST ? opt_set(o, o->def, e) : 0;

        if (rc < 0)
            return rc;
    }
    return 0;
}

int opt_parse(const struct tool_option *opts, int argc, char **argv, int *first, struct err *e)
{
    return opt_parse_noting(opts, argc, argv, first, NULL, e);
}

int opt_parse_noting(const struct tool_option *opts, int argc, char **argv, int *first,
                     struct opt_used *used, struct err *e)
{
    struct lists l = {0};
    int rc = lists_make(&l, opts, e);
    int got;

    if (rc < 0 || (rc = set_defaults(opts, e)) < 0)
        return rc;
    optind = 0; // GNU: start afresh, whatever was parsed before
    opterr = 0;
    while ((got = getopt_long(argc, argv, l.shorts, l.longs, NULL)) != -1) {
        const struct tool_option *o = row_of(&l, opts, got == ':' ? optopt : got);
        const char *word = argv[optind - 1];
        char name[MAX_NAME + 2];

        if (got == '?')
            return unknown(opts, &l, argv, e);
        if (got == ':')
            return err_set(e, E_USAGE, "option %s needs a value (%s)", shown(o, name), o->arg);
        if ((rc = opt_set(o, optarg, e)) < 0) {
            if (*one_dash(opts, word) && e)
                snprintf(e->text, sizeof e->text, "unknown option '%.60s' (did you mean '-%.60s'?)",
                         word, word);
            return rc;
        }
        if (o->given)
            *o->given = true;
        if (used && used->n < (int)ARRAY_LEN(used->row))
            used->row[used->n++] = o;
    }
    *first = optind;
    return 0;
}
