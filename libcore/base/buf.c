/* buf.c - see buf.h. */
#include "buf.h"

#include <stdio.h>

#include "mem.h"
#include "utf8.h"

void buf_fini(struct buf *b)
{
    mem_free(b->p);
    *b = (struct buf){0};
}

void buf_clear(struct buf *b)
{
    b->n = 0;
    b->bad = false;
    if (b->p)
        b->p[0] = 0;
}

bool buf_reserve(struct buf *b, size_t more)
{
    uint64_t need;
    uint64_t cap = b->cap ? b->cap : 64;
    char *p;

    if (b->bad)
        return false;
    if (!add_ok(b->n, more, &need) || !add_ok(need, 1, &need) || need > SIZE_MAX / 4) {
        b->bad = true;
        return false;
    }
    if (need <= b->cap)
        return true;
    while (cap < need)
        cap += cap / 2 + 16;
    p = mem_resize(b->p, cap, cap, 1, NULL);
    if (!p) {
        b->bad = true;
        return false;
    }
    b->p = p;
    b->cap = (size_t)cap;
    return true;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
    if (!buf_reserve(b, n))
        return;
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = 0;
}

void buf_byte(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_str(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_slice(struct buf *b, struct slice s)
{
    buf_add(b, s.p, s.n);
}

/* Mostly there is room already, and the first call writes it. */
void buf_printf(struct buf *b, const char *fmt, ...)
{
    size_t room = b->bad ? 0 : b->cap - b->n;
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(room ? b->p + b->n : NULL, room, fmt, ap);
    va_end(ap);
    if (n < 0 || !buf_reserve(b, (size_t)n)) {
        if (room)
            b->p[b->n] = 0;
        b->bad = true;
        return;
    }
    if ((size_t)n >= room) {
        va_start(ap, fmt);
        vsnprintf(b->p + b->n, (size_t)n + 1, fmt, ap);
        va_end(ap);
    }
    b->n += (size_t)n;
}

/* What stands for itself in a JSON string. */
static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static void json_ascii(struct buf *b, unsigned c)
{
    static const char plain[] = "\"\\\b\f\n\r\t";
    static const char letter[] = "\"\\bfnrt";
    const char *hit = c ? strchr(plain, (int)c) : NULL;

    if (hit) {
        buf_byte(b, '\\');
        buf_byte(b, letter[hit - plain]);
    } else if (c < 0x20 || c == 0x7f) {
        buf_printf(b, "\\u%04x", c);
    } else {
        buf_byte(b, (char)c);
    }
}

void buf_json(struct buf *b, struct slice s)
{
    size_t i = 0;

    buf_byte(b, '"');
    while (i < s.n) {
        unsigned c = (unsigned char)s.p[i];
        int n;
        uint32_t cp;

        if (c < 0x80) {
            size_t from = i;

            while (i < s.n && is_plain((unsigned char)s.p[i]))
                i++;
            buf_add(b, s.p + from, i - from);
            if (i == from)
                json_ascii(b, (unsigned char)s.p[i++]);
            continue;
        }
        n = utf8_decode(s.p + i, s.n - i, &cp);
        if (n > 0 && utf8_shown(cp))
            buf_add(b, s.p + i, (size_t)n);
        else if (n > 0)
            buf_printf(b, "\\u%04x", (unsigned)cp); /* all of these are below U+10000 */
        else
            buf_str(b, "\xef\xbf\xbd");
        i += n > 0 ? (size_t)n : 1;
    }
    buf_byte(b, '"');
}
