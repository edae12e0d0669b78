/* tool.c - see tool.h. */
#include "tools/lib/tool.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

/* A tool is one process with one command line: these stand for it. */
static struct tool *self;
static struct tool_option *rows; // the tool's and the common ones
static volatile sig_atomic_t signal_seen;

/* -- messages -- */

static void say(const char *fmt, va_list ap)
{
    char text[1024];

    vsnprintf(text, sizeof text, fmt, ap);
    fflush(stdout); // so that talk follows the results it is about
    fprintf(stderr, "%s: %s\n", self ? self->name : "rill", text);
}

void tool_warn(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say(fmt, ap);
    va_end(ap);
}

void tool_note(const char *fmt, ...)
{
    va_list ap;

    if (self && self->verbose < 0)
        return;
    va_start(ap, fmt);
    say(fmt, ap);
    va_end(ap);
}

void tool_detail(int level, const char *fmt, ...)
{
    va_list ap;

    if (!self || self->verbose < level)
        return;
    va_start(ap, fmt);
    say(fmt, ap);
    va_end(ap);
}

int tool_fail(const struct err *e)
{
    tool_warn("%s", e->text[0] ? e->text : err_name(e->code));
    return err_exit_status(e->code);
}

static _Noreturn void usage_exit(void)
{
    fprintf(stderr, "try '%s --help'\n", self ? self->name : "rill");
    exit(2);
}

void tool_usage(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say(fmt, ap);
    va_end(ap);
    usage_exit();
}

/* -- begin and end -- */

static void on_signal(int sig)
{
    signal_seen = sig;
}

/* Model files are mapped: one that becomes shorter meanwhile raises SIGBUS at the next access. */
static void on_bus(int sig)
{
    static const char text[] = ": a file in use became shorter or cannot be read any more\n";

    (void)sig;
    (void)!write(STDERR_FILENO, self->name, strlen(self->name)); /* nobody to tell if it fails */
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(4);
}

/* SA_RESETHAND: the second signal kills. No SA_RESTART: a blocked read returns. A signal ignored by
 * the parent (nohup) stays ignored. */
static void catch_signal(int sig)
{
    struct sigaction old;
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};

    sigemptyset(&sa.sa_mask);
    if (sigaction(sig, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
        sigaction(sig, &sa, NULL);
}

bool tool_interrupted(void)
{
    return signal_seen != 0;
}

static _Noreturn void finish(int status)
{
    mem_free(rows);
    exit(status);
}

static int count_rows(const struct tool_option *o)
{
    int n = 0;

    while (o[n].type != OPT_END)
        n++;
    return n;
}

static struct {
    bool help, version, quiet;
    int verbose;
    const char *completion;
} common;

static const struct tool_option common_rows[] = {
    {'q', "quiet", OPT_FLAG, &common.quiet, 0, "say nothing but errors", .group = "Common options"},
    {'v', "verbose", OPT_COUNT, &common.verbose, 0, "say more; twice: still more"},
    {'h', "help", OPT_FLAG, &common.help, 0, "print this text"},
    {'V', "version", OPT_FLAG, &common.version, 0, "print the version"},
    {0, "completion", OPT_STR, &common.completion, "SHELL", "", .hidden = true},
    {0}};

static void print_help(void)
{
    printf("Usage: %s %s\n%s\n", self->name, self->synopsis, self->about);
    if (!self->opts->group)
        printf("\nOptions:\n");
    opt_help(rows, stdout);
}

/* --help and --version win over a wrong command line beside them only when they come first. */
static void answer_common(void)
{
    if (common.help)
        print_help();
    else if (common.version)
        printf("%s %s\n", self->name, RILL_VERSION);
    else if (common.completion &&
             !opt_completion(rows, self->name, self->about, common.completion, stdout))
        tool_usage("no completion for the shell '%s'", common.completion);
    if (common.help || common.version || common.completion)
        finish(tool_end(0));
}

int tool_begin(struct tool *t, int argc, char **argv)
{
    struct err e = {0};
    int n = count_rows(t->opts);
    int first = argc;
    int rc;

    self = t;
    rows = mem_array((uint64_t)n + ARRAY_LEN(common_rows), sizeof *rows, &e);
    if (!rows)
        exit(tool_fail(&e));
    memcpy(rows, t->opts, (size_t)n * sizeof *rows);
    memcpy(rows + n, common_rows, sizeof common_rows);
    rc = opt_parse_noting(rows, argc, argv, &first, &t->used, &e);
    t->verbose = common.quiet ? -1 : common.verbose;
    if (rc < 0) {
        tool_fail(&e);
        usage_exit();
    }
    answer_common();
    catch_signal(SIGINT);
    catch_signal(SIGTERM);
    signal(SIGBUS, on_bus);
    return first;
}

void tool_used_only(const struct tool *t, const char *const *names, const char *what)
{
    for (int i = 0; i < t->used.n; i++) {
        const char *name = t->used.row[i]->name;
        bool known = strcmp(name, "quiet") == 0 || strcmp(name, "verbose") == 0;

        for (const char *const *n = names; *n && !known; n++)
            known = strcmp(*n, name) == 0;
        if (!known)
            tool_usage("--%s has no meaning with %s", name, what);
    }
}

/* Why results were lost, 0: they were not. stdio keeps that it failed, not why: a failure of before
 * is asked for once more, by a byte behind what is torn anyway. */
static int lost(void)
{
    const bool before = ferror(stdout) != 0;

    errno = 0;
    if (fflush(stdout) == 0 && !before)
        return 0;
    if (errno == 0 && before) {
        clearerr(stdout);
        putchar('\n');
        fflush(stdout);
    }
    return errno ? errno : EIO;
}

int tool_end(int status)
{
    const int why = lost();

    if (why && status < 4 && why != EPIPE) {
        tool_warn("standard output: cannot write: %s", strerror(why));
        status = 4;
    }
    if (signal_seen) {
        int sig = signal_seen;

        fflush(stderr);
        signal(sig, SIG_DFL);
        raise(sig);
    }
    mem_free(rows);
    rows = NULL;
    return status;
}

/* -- terminals and progress -- */

bool tool_colour(void)
{
    const char *no = getenv("NO_COLOR");
    const char *term = getenv("TERM");

    return isatty(STDERR_FILENO) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

int tool_not_to_terminal(int fd, const char *what, struct err *e)
{
    if (!isatty(fd))
        return 0;
    return err_set(e, E_USAGE, "%s is not written to a terminal (use -o FILE or a pipe)", what);
}

/* A number with K, M, G or T behind it: *v bytes; what follows is *rest. False: no number. */
static bool read_size(const char *text, double *v, bool *unit, const char **rest)
{
    static const char units[] = "KMGT";
    char *end;
    const char *at;

    *v = strtod(text, &end);
    at = *end ? strchr(units, *end & ~0x20) : NULL;
    for (const char *u = units; at && u <= at; u++)
        *v *= 1024;
    *unit = at != NULL;
    *rest = at ? end + 1 : end;
    return end != text;
}

bool tool_whole_size(const char *text, uint64_t *out)
{
    const char *rest;
    double v;
    bool unit;

    if (!read_size(text, &v, &unit, &rest) || *rest || !(v >= 1 && v < 9e18))
        return false;
    *out = (uint64_t)v;
    return true;
}

int tool_size(const char *name, const char *text, uint64_t *out, struct err *e)
{
    const char *rest;
    double v;
    bool unit;

    *out = 0;
    if (!text)
        return 0;
    if (!read_size(text, &v, &unit, &rest) || !(v >= 0 && v < 1e18) ||
        (*rest && (!unit || (strcmp(rest, "B") != 0 && strcmp(rest, "iB") != 0))))
        return err_set(e, E_USAGE, "%s '%s': must be a size such as 512M or 4G", name, text);
    *out = (uint64_t)v;
    return 0;
}

const char *tool_bytes(uint64_t n, char out[16])
{
    static const char unit[] = " KMGTPE";
    double v = (double)n;
    int u = 0;

    while (v >= 999.5 && u < 6) {
        v /= 1024;
        u++;
    }
    if (u == 0)
        snprintf(out, 16, "%u B", (unsigned)n);
    else
        snprintf(out, 16, "%.*f %ciB", v < 9.995 ? 2 : v < 99.95 ? 1 : 0, v, unit[u]);
    return out;
}

void progress_begin(struct progress *p, const char *what, uint64_t total, bool bytes)
{
    double now = clock_seconds();

    *p = (struct progress){.what = what,
                           .total = total,
                           .bytes = bytes,
                           .on = tool_colour() && (!self || self->verbose >= 0),
                           .start = now,
                           .last = now + 0.4};
}

static int columns(void)
{
    struct winsize w;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : 80;
}

void progress_at(struct progress *p, uint64_t done)
{
    char amount[16];
    char line[256];
    double now, seconds, speed;
    int n;

    if (!p->on || (now = clock_seconds()) < p->last + 0.1)
        return;
    p->last = now;
    p->shown = true;
    seconds = now - p->start + 1e-9;
    speed = (double)done / seconds;
    if (p->bytes && !p->unit)
        tool_bytes((uint64_t)speed, amount);
    else
        snprintf(amount, sizeof amount, "%.1f", p->unit ? (double)p->count / seconds : speed);
    n = snprintf(line, sizeof line, "%.40s ", p->what);
    if (p->total && done <= p->total) {
        int bar = (int)(20 * done / p->total);

        n += snprintf(line + n, sizeof line - (size_t)n, "%3d%% [%.*s%*s] ",
                      (int)(100 * done / p->total), bar, "####################", 20 - bar, "");
    }
    n += snprintf(line + n, sizeof line - (size_t)n, "%s%s%s/s", amount, p->unit ? " " : "",
                  p->unit ? p->unit : "");
    if (p->total && done && done <= p->total)
        n += snprintf(line + n, sizeof line - (size_t)n, ", %.0f s left",
                      (double)(p->total - done) / speed);
    if (n >= columns())
        n = columns() - 1;
    fprintf(stderr, "\r%.*s\033[K", n, line);
    fflush(stderr);
}

void progress_end(struct progress *p)
{
    if (p->shown)
        fputs("\r\033[K", stderr);
    p->shown = false;
    p->on = false;
}

/* -- the model -- */

static const char model_name[] = "rill-tales.gguf";

const char *tool_default_model(void)
{
    static const char *const beside[] = {"share/", "../share/rill/", "../share/"};
    static char path[PATH_MAX + 64];
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    char *slash;

    exe[n > 0 ? n : 0] = 0;
    slash = strrchr(exe, '/');
    if (slash)
        slash[1] = 0;
    for (size_t i = 0; slash && i < ARRAY_LEN(beside); i++) {
        snprintf(path, sizeof path, "%s%s%s", exe, beside[i], model_name);
        if (access(path, R_OK) == 0)
            return path;
    }
    snprintf(path, sizeof path, "%s/%s", RILL_DATADIR, model_name);
    return access(path, R_OK) == 0 ? path : NULL;
}

const char *tool_model(const char *option, struct err *e)
{
    const char *env = getenv("RILL_MODEL");
    const char *own;

    if (option)
        return option;
    if (env && *env)
        return env;
    own = tool_default_model();
    if (own)
        tool_note("no -m and no RILL_MODEL: using the embedded model %s", own);
    else
        err_set(e, E_NOTFOUND,
                "no model: give one with -m or RILL_MODEL (the embedded one, %s, "
                "is neither beside this program nor in " RILL_DATADIR ")",
                model_name);
    return own;
}

/* -- records -- */

/* Reads more into held. 1: something came, 0: end or interrupted. */
static int read_more(struct records *r, struct err *e)
{
    ssize_t got;

    if (r->at > 0) { // the records before this one have been handed out
        memmove(r->held.p, r->held.p + r->at, r->held.n - r->at);
        r->held.n -= r->at;
        r->at = 0;
    }
    if (!buf_reserve(&r->held, 1 << 16))
        return err_nomem(e, r->held.n + (1 << 16));
    do
        got = read(r->fd, r->held.p + r->held.n, r->held.cap - r->held.n - 1);
    while (got < 0 && errno == EINTR && !signal_seen);
    if (got < 0 && errno != EINTR)
        return err_set(e, E_IO, "standard input: cannot read: %s", strerror(errno));
    if (got <= 0) {
        r->end = true;
        return 0;
    }
    r->held.n += (size_t)got;
    return 1;
}

/* What is held has no end. Of a record that is too long the middle is forgotten, lest an input
 * without ends takes all memory. */
static void no_end(struct records *r)
{
    r->seen = r->held.n - r->at;
    if (r->max == 0 || r->seen <= r->max + 1)
        return;
    r->seen = r->max + 1;
    r->held.n = r->at + r->seen;
}

/* The rest as one record: all of the input, or a last piece without its end. */
static int records_rest(struct records *r, struct slice *out)
{
    bool give = r->kind == RECORD_WHOLE ? !r->done : r->held.n > r->at;

    if (signal_seen || !give)
        return 0;
    *out = (struct slice){r->held.p ? r->held.p + r->at : "", r->held.n - r->at};
    r->at = r->held.n;
    r->done = true;
    return 1;
}

int records_next(struct records *r, struct slice *out, struct err *e)
{
    int end = r->kind == RECORD_NUL ? 0 : '\n';

    for (;;) {
        size_t from = r->at + r->seen;
        const char *hit = NULL;
        int rc;

        if (r->kind != RECORD_WHOLE && r->held.n > from)
            hit = memchr(r->held.p + from, end, r->held.n - from);
        if (hit) {
            *out = (struct slice){r->held.p + r->at, (size_t)(hit - r->held.p) - r->at};
            r->at += out->n + 1;
            r->seen = 0;
            return signal_seen ? 0 : 1;
        }
        no_end(r);
        if (r->end)
            return records_rest(r, out);
        if ((rc = read_more(r, e)) < 0)
            return rc;
    }
}

bool records_ready(struct records *r)
{
    const int end = r->kind == RECORD_NUL ? 0 : '\n';
    struct pollfd p = {.fd = r->fd, .events = POLLIN};

    for (;;) {
        size_t from = r->at + r->seen;

        if (r->end || signal_seen)
            return true;
        if (r->kind != RECORD_WHOLE && r->held.n > from &&
            memchr(r->held.p + from, end, r->held.n - from))
            return true;
        no_end(r);
        if (poll(&p, 1, 0) <= 0)
            return false;
        if (read_more(r, NULL) < 0)
            return true; // records_next meets the same error and says it
    }
}

void records_fini(struct records *r)
{
    buf_fini(&r->held);
}
