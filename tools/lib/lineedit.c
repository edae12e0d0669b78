/* lineedit.c - libedit where there is a terminal, plain reading elsewhere. */
#include "tools/lib/lineedit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "tools/lib/tool.h"

enum {
    HISTORY_LINES = 1000,
    PASTES = 64,
    PASTE_SHOWN = 200,
    PASTE_BYTES = 64 << 20,
    WORDS_SHOWN = 100
};

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
    char ahead[4096]; // typed, not used yet
    size_t n_ahead, at_ahead;
    struct buf paste[PASTES]; // the last ones: number k is at (k - 1) % PASTES
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

/* Waits for what is typed; false: a signal wants something else. poll is never restarted, but the
 * signal of a new size may have gone to another thread, so that is looked at in any case. */
static bool wait_typed(const struct lineedit *l)
{
    struct pollfd fd = {STDIN_FILENO, POLLIN, 0};
    int n;

    do {
        n = poll(&fd, 1, -1);
        if (n < 0 && (errno != EINTR || *l->o.interrupted || tool_interrupted()))
            return false;
        if (resized && l->el) {
            resized = 0;
            el_resize(l->el);
        }
    } while (n < 0);
    return true;
}

/* 1 a byte, 0 the end, -1 interrupted. */
static int read_byte(EditLine *el, char *out)
{
    struct lineedit *l = self(el);

    while (l->at_ahead == l->n_ahead) {
        ssize_t n = wait_typed(l) ? read(STDIN_FILENO, l->ahead, sizeof l->ahead) : -1;

        if (n == 0)
            return 0;
        if (n < 0 && (errno != EINTR || *l->o.interrupted || tool_interrupted()))
            return -1;
        l->at_ahead = 0;
        l->n_ahead = n > 0 ? (size_t)n : 0;
    }
    *out = l->ahead[l->at_ahead++];
    return 1;
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

/* All up to the mark of the paste's end; false: it is more than anybody means to send. */
static bool read_paste(EditLine *el, struct buf *b)
{
    const size_t k = sizeof paste_end - 1;
    bool whole = true;
    char c;

    while (read_byte(el, &c) > 0) {
        buf_byte(b, c == '\r' ? '\n' : c);
        if (b->n >= k && memcmp(b->p + b->n - k, paste_end, k) == 0) {
            b->n -= k;
            b->p[b->n] = '\0';
            break;
        }
        if (b->n > PASTE_BYTES) {
            whole = false;
            memmove(b->p, b->p + b->n - k, k);
            b->n = k;
        }
    }
    return whole && !b->bad && b->n && !memchr(b->p, '\0', b->n);
}

/* What stands for a paste in the line. */
static void paste_note(int number, const struct buf *b, char out[80])
{
    int lines = 1;

    for (size_t i = 0; i < b->n; i++)
        lines += b->p[i] == '\n' && i + 1 < b->n;
    snprintf(out, 80, "[paste %d: %d line%s, %zu bytes]", number, lines, lines == 1 ? "" : "s",
             b->n);
}

/* The terminal says that a paste begins: all up to its end is one text, whatever is in it. */
static unsigned char take_paste(EditLine *el, int ch)
{
    struct lineedit *l = self(el);
    struct buf b = {0}, *keep = &l->paste[l->n_paste % PASTES];
    char note[80];

    (void)ch;
    if (!read_paste(el, &b)) {
        buf_fini(&b);
        return CC_REFRESH_BEEP;
    }
    if (b.n <= PASTE_SHOWN && b.p[b.n - 1] == '\n')
        b.p[--b.n] = '\0';
    if (b.n <= PASTE_SHOWN && !memchr(b.p, '\n', b.n)) {
        insert(el, b.p);
        buf_fini(&b);
        return CC_REFRESH;
    }
    buf_fini(keep);
    *keep = b;
    paste_note(++l->n_paste, keep, note);
    insert(el, note);
    return CC_REFRESH;
}

/* The paste that s begins with the note of, or NULL. */
static const struct buf *noted(const struct lineedit *l, struct slice s, size_t *n)
{
    char head[40], note[80];
    int number = 0;

    snprintf(head, sizeof head, "%.*s", (int)(s.n < 39 ? s.n : 39), s.p);
    if (sscanf(head, "[paste %d:", &number) != 1 || number < 1 || number > l->n_paste ||
        number <= l->n_paste - PASTES)
        return NULL;
    paste_note(number, &l->paste[(number - 1) % PASTES], note);
    *n = strlen(note);
    return slice_starts(s, slice_of(note)) ? &l->paste[(number - 1) % PASTES] : NULL;
}

/* Adds a line to the entry, with the pasted texts where their notes stand. */
static void add_line(struct lineedit *l, struct slice s)
{
    while (s.n) {
        const char *p = memchr(s.p, '[', s.n);
        const struct buf *paste;
        size_t n = 1;

        if (!p)
            break;
        buf_add(&l->entry, s.p, (size_t)(p - s.p));
        s = (struct slice){p, (size_t)(s.p + s.n - p)};
        paste = noted(l, s, &n);
        buf_slice(&l->entry, paste ? buf_view(paste) : SLICE("["));
        n = paste ? n : 1;
        s = (struct slice){s.p + n, s.n - n};
    }
    buf_slice(&l->entry, s);
}

/* -- completion -- */

struct lineedit_words {
    struct buf text; // each offered word, ended by NUL
    char common[512];
    size_t n_common;
    size_t from;
    int n;
    bool more;
};

void lineedit_offer(struct lineedit_words *w, size_t from, const char *text, bool more)
{
    size_t k = 0;

    if (w->n == 0) {
        w->n_common = strlen(text) < sizeof w->common ? strlen(text) : sizeof w->common - 1;
        memcpy(w->common, text, w->n_common);
        w->from = from;
        w->more = more;
    }
    while (k < w->n_common && w->common[k] == text[k])
        k++;
    while (k > 0 && k < w->n_common && ((uint8_t)w->common[k] & 0xc0) == 0x80)
        k--; // whole characters
    w->n_common = k;
    if (w->n++ < WORDS_SHOWN)
        buf_add(&w->text, text, strlen(text) + 1);
}

/* src/ma of the folder src/, or ma of the one we are in */
void lineedit_offer_files(struct lineedit_words *w, const char *line, size_t from)
{
    const char *slash = strrchr(line + from, '/');
    size_t dir = slash ? (size_t)(slash + 1 - line) - from : 0;
    const char *name = line + from + dir;
    struct buf path = {0};
    struct dirent *entry;
    DIR *d;

    buf_add(&path, dir ? line + from : "./", dir ? dir : 2);
    d = path.bad ? NULL : opendir(path.p);
    while (d && (entry = readdir(d))) {
        bool folder = entry->d_type == DT_DIR;

        if (strncmp(entry->d_name, name, strlen(name)) != 0 ||
            (entry->d_name[0] == '.' && *name != '.'))
            continue;
        buf_clear(&path);
        buf_add(&path, line + from, dir);
        buf_printf(&path, "%s%s", entry->d_name, folder ? "/" : "");
        if (!path.bad)
            lineedit_offer(w, from, path.p, folder);
    }
    if (d)
        closedir(d);
    buf_fini(&path);
}

static void list_words(const struct lineedit_words *w)
{
    const char *p = w->text.p, *end = p + w->text.n;

    fputc('\n', stdout);
    for (; p < end; p += strlen(p) + 1) {
        const char *last = strrchr(p, '/');

        printf("%s  ", last && last != p && last[1] ? last + 1 : p);
    }
    puts(w->n > WORDS_SHOWN ? "..." : "");
}

static unsigned char complete(EditLine *el, int ch)
{
    struct lineedit *l = self(el);
    const LineInfo *li = el_line(el);
    size_t n = (size_t)(li->cursor - li->buffer);
    char *line = mem_dup(li->buffer, n, NULL);
    struct lineedit_words w = {0};
    unsigned char rc = CC_REFRESH_BEEP;

    (void)ch;
    if (line && l->o.complete)
        l->o.complete(l->o.ctx, line, &w);
    if (w.n && w.n_common > n - w.from) {
        char rest[sizeof w.common + 1];

        snprintf(rest, sizeof rest, "%.*s%s", (int)(w.n_common - (n - w.from)),
                 w.common + (n - w.from), w.n == 1 && !w.more ? " " : "");
        insert(el, rest);
        rc = CC_REFRESH;
    } else if (w.n > 1 && !w.text.bad) {
        list_words(&w);
        rc = CC_REDISPLAY;
    } else if (w.n == 1 && !w.more) {
        insert(el, " ");
        rc = CC_REFRESH;
    }
    buf_fini(&w.text);
    mem_free(line);
    return rc;
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
    // wide: the narrow call keeps copies of the names for ever
    el_wset(l->el, EL_ADDFN, L"rill-paste", L"take a pasted text", take_paste);
    el_wset(l->el, EL_ADDFN, L"rill-complete", L"complete a word", complete);
    el_set(l->el, EL_BIND, "\\e[200~", "rill-paste", NULL);
    el_set(l->el, EL_BIND, "^I", "rill-complete", NULL);
    el_set(l->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_source(l->el, NULL);
    sigemptyset(&sa.sa_mask);
    sa.sa_flags = SA_RESTART; // an answer is not cut by it
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
    for (int i = 0; i < PASTES; i++)
        buf_fini(&l->paste[i]);
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
        if (!records_ready(&l->in) && !wait_typed(l)) { // the terminal itself drops the line
            fputc('\n', stdout);
            return tool_interrupted() ? LINE_END : LINE_INTERRUPTED;
        }
    }
    rc = records_next(&l->in, out, e);
    if (l->terminal && rc == 0)
        fputc('\n', stdout);
    return rc < 0 ? rc : rc ? LINE_TEXT : LINE_END;
}

/* A line, without its end, that lives until the next one; or LINE_END, LINE_INTERRUPTED. */
static int one_line(struct lineedit *l, struct slice *out)
{
    const char *p;
    int n = 0;

    fputs(paste_on, stdout);
    fflush(stdout);
    p = el_gets(l->el, &n);
    fputs(paste_off, stdout);
    if (*l->o.interrupted || !p || n <= 0) {
        if (*l->o.interrupted || tool_interrupted())
            clearerr(stdout); // it may have come in the middle of a write
        fputc('\n', stdout);
        fflush(stdout);
        return *l->o.interrupted ? LINE_INTERRUPTED : LINE_END;
    }
    fflush(stdout);
    while (n > 0 && (p[n - 1] == '\n' || p[n - 1] == '\r'))
        n--;
    *out = (struct slice){p, (size_t)n};
    return LINE_TEXT;
}

static int read_edited(struct lineedit *l, const char *prompt, struct slice *out, struct err *e)
{
    HistEvent ev;
    bool more = true;

    l->prompt = prompt;
    buf_clear(&l->entry);
    while (more) {
        struct slice s;
        int rc = one_line(l, &s);

        if (rc != LINE_TEXT)
            return rc;
        if (s.n)
            history(l->hist, &ev, H_ENTER, s.p);
        more = s.n > 0 && s.p[s.n - 1] == '\\';
        add_line(l, (struct slice){s.p, s.n - more});
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

int lineedit_ask(struct lineedit *l, const char *question, struct slice *out, struct err *e)
{
    *l->o.interrupted = 0;
    if (!l->el)
        return read_plain(l, question, out, e);
    l->prompt = question;
    return one_line(l, out);
}
