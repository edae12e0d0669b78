/* wrap.c - words to a terminal. */
#include "tools/lib/wrap.h"

#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

#include "base/utf8.h"

enum { TAB = 4 };

static int width_of(const struct wrap *w)
{
    struct winsize size = {0};

    return w->on && ioctl(fileno(w->to), TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

void wrap_begin(struct wrap *w, FILE *to, bool dims)
{
    w->to = to;
    w->on = isatty(fileno(to));
    w->dims = w->on && dims;
    w->width = width_of(w);
    w->col = w->word_width = 0;
    buf_clear(&w->word);
    buf_clear(&w->part);
}

static void out(struct wrap *w, const char *p, size_t n)
{
    fwrite(p, 1, n, w->to);
}

static void newline(struct wrap *w)
{
    fputc('\n', w->to);
    w->col = 0;
    w->width = width_of(w); // the window may have been resized
}

static void put_word(struct wrap *w)
{
    if (w->word.n == 0)
        return;
    if (w->col > 0 && w->col + w->word_width > w->width)
        newline(w);
    out(w, w->word.p, w->word.n);
    w->col += w->word_width;
    w->word_width = 0;
    w->word_anywhere = false;
    buf_clear(&w->word);
}

/* No line begins with it. */
static bool closes(uint32_t cp, int width)
{
    static const uint32_t marks[] = {'.',    ',',    ';',    ':',    '!',    '?',    ')',
                                     ']',    '}',    '%',    0x2019, 0x201d, 0x2026, 0x3001,
                                     0x3002, 0x300d, 0x300f, 0x3011, 0x30fc, 0xff01, 0xff09,
                                     0xff0c, 0xff0e, 0xff1a, 0xff1b, 0xff1f};

    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (cp == marks[i])
            return true;
    return width == 0;
}

/* Scripts without spaces: a line may begin with any of their characters, but what closes. Korean
 * has spaces. */
static bool breaks_anywhere(uint32_t cp, int width)
{
    return width > 1 && !(cp >= 0xac00 && cp <= 0xd7a3) && !(cp >= 0x1100 && cp <= 0x11ff);
}

static void put_char(struct wrap *w, uint32_t cp, const char *p, int n)
{
    int width = utf8proc_charwidth((utf8proc_int32_t)cp);
    bool anywhere = breaks_anywhere(cp, width);

    if (cp == '\n') {
        put_word(w);
        newline(w);
        return;
    }
    if (cp == ' ' || cp == '\t') {
        put_word(w);
        for (int i = cp == ' ' ? 1 : TAB - w->col % TAB; i > 0 && w->col < w->width; i--) {
            fputc(' ', w->to);
            w->col++;
        }
        return;
    }
    if (w->word_width + width > w->width ||
        (w->word.n && (anywhere || w->word_anywhere) && !closes(cp, width)))
        put_word(w);
    if (cp == '\r')
        return;
    if (utf8_shown(cp))
        buf_add(&w->word, p, (size_t)n);
    else
        buf_str(&w->word, "\xef\xbf\xbd");
    w->word_width += utf8_shown(cp) ? width : 1;
    w->word_anywhere = w->word_anywhere || anywhere;
}

static void set_dim(struct wrap *w, bool dim)
{
    if (dim == w->dim)
        return;
    put_word(w);
    if (w->dims)
        fputs(dim ? "\033[2m" : "\033[22m", w->to);
    w->dim = dim;
}

void wrap_put(struct wrap *w, struct slice text, bool dim)
{
    struct slice s;
    size_t i = 0;

    set_dim(w, dim);
    if (!w->on) {
        for (size_t k = 0; k < text.n; k++)
            w->col = text.p[k] == '\n' ? 0 : 1;
        out(w, text.p, text.n);
        fflush(w->to);
        return;
    }
    buf_slice(&w->part, text);
    s = buf_view(&w->part);
    while (i < s.n) {
        uint32_t cp;
        int n = utf8_decode(s.p + i, s.n - i, &cp);

        if (n == 0 && utf8_whole(s.p + i, s.n - i) == 0)
            break; // the rest comes later
        put_char(w, n ? cp : 0xfffd, n ? s.p + i : "\xef\xbf\xbd", n ? n : 3);
        i += n ? (size_t)n : 1;
    }
    if (i < s.n)
        memmove(w->part.p, s.p + i, s.n - i);
    w->part.n -= i;
    fflush(w->to);
}

void wrap_end(struct wrap *w)
{
    put_word(w);
    set_dim(w, false);
    fflush(w->to);
}

void wrap_line(struct wrap *w)
{
    put_word(w);
    if (w->col > 0)
        newline(w);
    fflush(w->to);
}

void wrap_fini(struct wrap *w)
{
    buf_fini(&w->word);
    buf_fini(&w->part);
}
