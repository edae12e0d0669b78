/* tool.h - what all tools do alike: begin and end, messages, exit status, signals, standard input
 * in records, progress, and the model when none is named.
 *
 *     static struct tool tool = {"rill-run", "[-m MODEL] [-p TEXT]...", "runs a model", opts};
 *
 *     int main(int argc, char **argv)
 *     {
 *         struct err e = {0};
 *         int first = tool_begin(&tool, argc, argv);
 *
 *         if (run(argc - first, argv + first, &e) < 0)
 *             return tool_end(tool_fail(&e));
 *         return tool_end(0);
 *     }
 *
 * Results go to stdout, by stdio; talk goes to stderr, by the functions here.
 */
#ifndef RILL_TOOLS_TOOL_H
#define RILL_TOOLS_TOOL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"
#include "tools/lib/opt.h"

struct tool {
    const char *name;     // "rill-run"
    const char *synopsis; // behind the name in the usage line
    const char *about;    // one line: what it does
    const struct tool_option *opts;
    int verbose; // number of -v; -1 with -q
    struct opt_used used;
};

/* Reads the command line into the table's variables and catches SIGINT and SIGTERM. Returns the
 * index of the first operand in argv (reordered). Exits by itself for --help, --version and
 * --completion (0) and for wrong usage (2). */
int tool_begin(struct tool *t, int argc, char **argv);
/* Ends with a usage error unless every option used is among these names (NULL-ended); what says
 * what they would have no meaning with. -q and -v always have one. */
void tool_used_only(const struct tool *t, const char *const *names, const char *what);

/* The last call of main: return tool_end(status). Flushes stdout (what cannot be written makes the
 * status 4, and is said) and, after SIGINT or SIGTERM, dies of that signal. */
int tool_end(int status);

/* Says "rill-x: sentence" and returns the exit status of its code. */
int tool_fail(const struct err *e);
/* Says the sentence and how to get help; exits with status 2. */
_Noreturn void tool_usage(const char *fmt, ...) ERR_PRINTF(1, 2);
/* "rill-x: sentence": a warning always, a note unless -q, a detail from that many -v on. */
void tool_warn(const char *fmt, ...) ERR_PRINTF(1, 2);
void tool_note(const char *fmt, ...) ERR_PRINTF(1, 2);
void tool_detail(int level, const char *fmt, ...) ERR_PRINTF(2, 3);

/* SIGINT or SIGTERM came: finish what is made, then tool_end(). A second one ends at once. Blocking
 * reads and writes return early (EINTR) when it comes. */
bool tool_interrupted(void);

/* stderr is a terminal, NO_COLOR unset and TERM not dumb: colour and progress may be shown. */
bool tool_colour(void);
/* E_USAGE when fd is a terminal: what ("a model") is not for the eye. */
int tool_not_to_terminal(int fd, const char *what, struct err *e);

/* -- the model ------------------------------------------------------------------------------- */

/* The path of the embedded model, or NULL: beside the executable (share/, ../share/rill/), then in
 * the configured data directory. The string is static. */
const char *tool_default_model(void);
/* The model to open: the option's value, else RILL_MODEL, else the embedded one, which a note says.
 * NULL with a sentence when there is none. */
const char *tool_model(const char *option, struct err *e);

/* -- records of standard input --------------------------------------------------------------- */

enum record_kind {
    RECORD_WHOLE, // all of it is one record, also when empty
    RECORD_LINES, // -l: each line, without its newline
    RECORD_NUL    // -0: each piece ended by NUL
};
struct records {
    enum record_kind kind;
    int fd;
    struct buf held;
    size_t at;   // start of the next record in held
    size_t seen; // bytes from at on known to hold no end
    size_t max;  // of a record: what is longer is cut, to max + 1 bytes at least; 0: any
    bool end;    // nothing more to read
    bool done;   // WHOLE: the record was given
};

/* 1 and the next record (valid until the next call), 0 at the end or when interrupted, < 0. */
int records_next(struct records *r, struct slice *out, struct err *e);
/* Whether records_next would return at once; reads what can be had without waiting. */
bool records_ready(struct records *r);
void records_fini(struct records *r);

/* -- progress on stderr ---------------------------------------------------------------------- */

/* Shown only where tool_colour() and not -q, from the first half second on; gone at the end. */
struct progress {
    const char *what; // "loading"
    uint64_t total;   // 0: unknown
    bool bytes;       // amounts are bytes
    const char *unit; // of count, whose rate is shown instead of that of what is done; NULL: none
    uint64_t count;
    bool shown;
    bool on;
    double start, last;
};
void progress_begin(struct progress *p, const char *what, uint64_t total, bool bytes);
void progress_at(struct progress *p, uint64_t done);
void progress_end(struct progress *p);

/* Reads "512M", "4GiB" or "1000000", the value of the option called name; NULL is 0. */
int tool_size(const char *name, const char *text, uint64_t *out, struct err *e);
/* The same for "512M" or "1000000" only, at least 1; false: it is something else. */
bool tool_whole_size(const char *text, uint64_t *out);

const char *tool_bytes(uint64_t n, char out[16]);

#endif
