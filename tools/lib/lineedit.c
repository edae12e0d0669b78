/* lineedit.c - libedit where there is a terminal, plain reading elsewhere. */
#include "tools/lib/lineedit.h"

#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "tools/lib/tool.h"

enum { HISTORY_LINES = 1000, PASTES = 64, PASTE_SHOWN = 200, PASTE_BYTES = 64 << 20 };

static const char paste_on[] = "\033[?2004h", paste_off[] = "\033[?2004l";
static const char paste_end[] = "\033[201~";

static volatile sig_atomic_t resized; // a signal handler has nowhere else

struct lineedit {
    struct lineedit_opts o;
    EditLine *el; // NULL: plain
    History *hist;
    bool terminal;
    const char *prompt;
    struct records in;
    struct buf entry;
    struct buf paste[PASTES];
    int n_paste;
};

static void on_resize(int sig)
{
    (void)sig;
    resized = 1;
}

static struct lineedit *self(EditLine *el)
{
    struct lineedit *l = NULL;

    el_get(el, EL_CLIENTDATA, &l);
    return l;
}

/* -- reading -- */

/* 1 a byte, 0 the end, -1 interrupted. */
static int read_byte(EditLine *el, char *out)
{
    struct lineedit *l = self(el);

    for (;;) {
        ssize_t n = read(STDIN_FILENO, out, 1);

        if (n >= 0)
            return (int)n;
        if (errno != EINTR || *l->o.interrupted)
            return -1;
        if (resized) {
            resized = 0;
            el_resize(el);
        }
    }
}

static int read_char(EditLine *el, wchar_t *out)
{
    char s[4];
    uint32_t cp = 0;

    for (size_t n = 0; n < sizeof s; n++) {
        int rc = read_byte(el, &s[n]);

        if (rc <= 0)
            return rc;
        if (utf8_decode(s, n + 1, &cp) || utf8_whole(s, n + 1) != 0)
            break;
    }
    *out = (wchar_t)(cp ? cp : (uint8_t)s[0] < 0x80 ? (uint8_t)s[0] : 0xfffd);
    return 1;
}

/* -- pastes -- */

static void insert(EditLine *el, const char *s)
{
    if (el_insertstr(el, s) != 0)
        fputc('\a', stderr);
}

/* The terminal says that a paste begins: all up to its end is one text, whatever is in it. */
static unsigned char take_paste(EditLine *el, int ch)
{
    struct lineedit *l = self(el);
    struct buf b = {0};
    size_t k = sizeof paste_end - 1;
    char note[80];
    int lines = 1;
    char c;

    (void)ch;
    while (b.n < PASTE_BYTES && read_byte(el, &c) > 0) {
        buf_byte(&b, c == '\r' ? '\n' : c);
        if (b.n >= k && memcmp(b.p + b.n - k, paste_end, k) == 0) {
            b.n -= k;
            b.p[b.n] = '\0';
            break;
        }
    }
    for (size_t i = 0; i < b.n; i++)
        lines += b.p[i] == '\n' && i + 1 < b.n;
    if (b.n == 0 || b.bad || memchr(b.p, '\0', b.n) ||
        (b.n > PASTE_SHOWN || lines > 1 ? l->n_paste == PASTES : false)) {
        buf_fini(&b);
        return CC_REFRESH_BEEP;
    }
    if (b.n <= PASTE_SHOWN && lines == 1) {
        if (b.p[b.n - 1] == '\n')
            b.p[b.n - 1] = '\0';
        insert(el, b.p);
        buf_fini(&b);
        return CC_REFRESH;
    }
    snprintf(note, sizeof note, "[paste %d: %d line%s, %zu bytes]", l->n_paste + 1, lines,
             lines == 1 ? "" : "s", b.n);
    l->paste[l->n_paste++] = b;
    insert(el, note);
    return CC_REFRESH;
}

/* Adds a line to the entry, with the pasted texts where their placeholders stand. */
static void add_line(struct lineedit *l, struct slice s)
{
    while (s.n) {
        const char *p = memchr(s.p, '[', s.n);
        int number = 0, used = 0;
        char head[80];
        size_t n = p ? (size_t)(s.p + s.n - p) : 0;

        if (!p)
            break;
        buf_add(&l->entry, s.p, (size_t)(p - s.p));
        s = (struct slice){p, n};
        snprintf(head, sizeof head, "%.*s", (int)(n < 79 ? n : 79), p);
        if (sscanf(head, "[paste %d: %*d line%*[s,] %*d bytes]%n", &number, &used) == 1 &&
            used > 0 && number >= 1 && number <= l->n_paste) {
            buf_slice(&l->entry, buf_view(&l->paste[number - 1]));
        } else {
            buf_byte(&l->entry, '[');
            used = 1;
        }
        s = (struct slice){s.p + used, s.n - (size_t)used};
    }
    buf_slice(&l->entry, s);
}

static void forget_pastes(struct lineedit *l)
{
    while (l->n_paste)
        buf_fini(&l->paste[--l->n_paste]);
}

/* -- completion -- */

static unsigned char complete(EditLine *el, int ch)
{
    struct lineedit *l = self(el);
    const LineInfo *li = el_line(el);
    size_t n = (size_t)(li->cursor - li->buffer), same = 0;
    const char *first = NULL;
    int found = 0;

    (void)ch;
    for (const char *const *w = l->o.words; w && *w && n; w++) {
        size_t k = 0;

        if (strncmp(*w, li->buffer, n) != 0)
            continue;
        while (first && k < same && first[k] == (*w)[k])
            k++;
        same = first ? k : strlen(*w);
        first = first ? first : *w;
        found++;
    }
    if (!found)
        return CC_REFRESH_BEEP;
    if (same > n) {
        char rest[64];

        snprintf(rest, sizeof rest, "%.*s%s", (int)(same - n), first + n, found == 1 ? " " : "");
        insert(el, rest);
        return CC_REFRESH;
    }
    fputc('\n', stdout);
    for (const char *const *w = l->o.words; *w; w++)
        if (strncmp(*w, li->buffer, n) == 0)
            printf("%s  ", *w);
    fputc('\n', stdout);
    return CC_REDISPLAY;
}

/* -- opening -- */

static char *show_prompt(EditLine *el)
{
    return (char *)(uintptr_t)self(el)->prompt;
}

static int open_editor(struct lineedit *l, struct err *e)
{
    struct sigaction sa = {.sa_handler = on_resize};
    HistEvent ev;

    l->el = el_init(l->o.name, stdin, stdout, stderr);
    l->hist = history_init();
    if (!l->el || !l->hist)
        return err_nomem(e, 0);
    el_set(l->el, EL_CLIENTDATA, l);
    el_set(l->el, EL_SIGNAL, 0);
    el_set(l->el, EL_EDITOR, "emacs");
    el_set(l->el, EL_PROMPT, show_prompt);
    el_set(l->el, EL_GETCFN, read_char);
    history(l->hist, &ev, H_SETSIZE, HISTORY_LINES);
    history(l->hist, &ev, H_SETUNIQUE, 1);
    if (l->o.history)
        history(l->hist, &ev, H_LOAD, l->o.history);
    el_set(l->el, EL_HIST, history, l->hist);
    el_set(l->el, EL_ADDFN, "rill-paste", "take a pasted text", take_paste);
    el_set(l->el, EL_ADDFN, "rill-complete", "complete a command", complete);
    el_set(l->el, EL_BIND, "\\e[200~", "rill-paste", NULL);
    el_set(l->el, EL_BIND, "^I", "rill-complete", NULL);
    el_set(l->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_source(l->el, NULL);
    sigemptyset(&sa.sa_mask);
    sigaction(SIGWINCH, &sa, NULL);
    return 0;
}

int lineedit_open(struct lineedit **out, const struct lineedit_opts *o, struct err *e)
{
    struct lineedit *l = mem_new(sizeof *l, e);
    const char *term = getenv("TERM");
    int rc;

    if (!l)
        return E_NOMEM;
    /* UTF-8 whatever the environment says: models write nothing else */
    if ((!setlocale(LC_CTYPE, "") || MB_CUR_MAX == 1) && !setlocale(LC_CTYPE, "C.UTF-8"))
        setlocale(LC_CTYPE, "en_US.UTF-8");
    l->o = *o;
    l->terminal = isatty(STDIN_FILENO);
    l->in.kind = o->nul ? RECORD_NUL : RECORD_LINES;
    if (l->terminal && isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0 &&
        (rc = open_editor(l, e)) < 0) {
        lineedit_close(l);
        return rc;
    }
    *out = l;
    return 0;
}

void lineedit_close(struct lineedit *l)
{
    HistEvent ev;

    if (!l)
        return;
    if (l->hist && l->o.history) {
        mode_t was = umask(077);

        history(l->hist, &ev, H_SAVE, l->o.history);
        umask(was);
    }
    if (l->hist)
        history_end(l->hist);
    if (l->el)
        el_end(l->el);
    forget_pastes(l);
    records_fini(&l->in);
    buf_fini(&l->entry);
    mem_free(l);
}

bool lineedit_on_terminal(const struct lineedit *l)
{
    return l->terminal;
}

/* -- entries -- */

static int read_plain(struct lineedit *l, const char *prompt, struct slice *out, struct err *e)
{
    int rc;

    if (l->terminal) {
        fputs(prompt, stdout);
        fflush(stdout);
    }
    rc = records_next(&l->in, out, e);
    if (rc < 0)
        return rc;
    *l->o.interrupted = 0; // a terminal that does the editing has dropped its line
    return rc ? LINE_TEXT : LINE_END;
}

static int read_edited(struct lineedit *l, const char *prompt, struct slice *out, struct err *e)
{
    HistEvent ev;
    bool more = true;

    l->prompt = prompt;
    buf_clear(&l->entry);
    forget_pastes(l);
    while (more) {
        const char *p;
        int n = 0;

        fputs(paste_on, stdout);
        fflush(stdout);
        p = el_gets(l->el, &n);
        fputs(paste_off, stdout);
        fflush(stdout);
        if (*l->o.interrupted) {
            fputc('\n', stdout);
            return LINE_INTERRUPTED;
        }
        if (!p || n <= 0) {
            fputc('\n', stdout);
            return LINE_END;
        }
        history(l->hist, &ev, H_ENTER, p);
        while (n > 0 && (p[n - 1] == '\n' || p[n - 1] == '\r'))
            n--;
        more = n > 0 && p[n - 1] == '\\';
        add_line(l, (struct slice){p, (size_t)n - more});
        if (more)
            buf_byte(&l->entry, '\n');
        l->prompt = "... ";
    }
    *out = buf_view(&l->entry);
    return l->entry.bad ? err_nomem(e, l->entry.n) : LINE_TEXT;
}

int lineedit_read(struct lineedit *l, const char *prompt, struct slice *out, struct err *e)
{
    *l->o.interrupted = 0;
    return l->el ? read_edited(l, prompt, out, e) : read_plain(l, prompt, out, e);
}
