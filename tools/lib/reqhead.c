/* reqhead.c - see reqhead.h. */
#include "tools/lib/reqhead.h"

#include <string.h>
#include <strings.h>

/* -- characters (RFC 9110 5.6.2, 5.5) -- */

static bool is_token(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_value(char c)
{
    return c == '\t' || ((unsigned char)c >= 0x20 && c != 0x7f);
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_word(struct slice s, const char *word)
{
    return s.n == strlen(word) && strncasecmp(s.p, word, s.n) == 0;
}

static struct slice trim(struct slice s)
{
    while (s.n && (*s.p == ' ' || *s.p == '\t')) {
        s.p++;
        s.n--;
    }
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/* -- the head -- */

size_t reqhead_end(struct slice p, size_t *seen)
{
    for (size_t i = *seen; i + 4 <= p.n; i++)
        if (memcmp(p.p + i, "\r\n\r\n", 4) == 0)
            return i + 4;
    *seen = p.n > 3 ? p.n - 3 : 0;
    return 0;
}

static int refuse(const char **why, int status, const char *sentence)
{
    *why = sentence;
    return status;
}

/* Takes the next line, which ends with CR LF and has neither inside. */
static int next_line(struct slice *s, struct slice *line, const char **why)
{
    const char *lf = memchr(s->p, '\n', s->n);
    size_t n = lf ? (size_t)(lf - s->p) : 0;

    if (!lf || n == 0 || s->p[n - 1] != '\r')
        return refuse(why, 400, "a line of the head does not end with CR LF");
    *line = (struct slice){s->p, n - 1};
    if (memchr(line->p, '\r', line->n) || memchr(line->p, '\0', line->n))
        return refuse(why, 400, "a line of the head has a CR or NUL inside");
    s->p += n + 1;
    s->n -= n + 1;
    return 0;
}

/* The path with %XX decoded. What comes out must be printable: nothing is decoded twice. */
static int decode_path(struct reqhead *h, struct slice s, const char **why)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        int c = (unsigned char)s.p[i];

        if (c == '%') {
            int hi = i + 2 < s.n ? hex(s.p[i + 1]) : -1;
            int lo = i + 2 < s.n ? hex(s.p[i + 2]) : -1;

            if (hi < 0 || lo < 0)
                return refuse(why, 400, "the path has a '%' without two digits");
            c = hi * 16 + lo;
            i += 2;
        }
        if (c < 0x20 || c == 0x7f)
            return refuse(why, 400, "the path has a control character");
        if (n == REQHEAD_PATH)
            return refuse(why, 414, "the path is too long");
        h->path[n++] = (char)c;
    }
    h->path[n] = 0;
    return 0;
}

/* "/path?query", "http://host/path?query", or "*". */
static int read_target(struct reqhead *h, struct slice s, const char **why)
{
    const char *mark;
    size_t skip = 0;

    if (s.n > REQHEAD_TARGET)
        return refuse(why, 414, "the request's target is too long");
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= 0x20 || (unsigned char)s.p[i] >= 0x7f || s.p[i] == '#' ||
            s.p[i] == '\\')
            return refuse(why, 400, "the request's target has a character that must be encoded");
    if (slice_starts(s, SLICE("http://")))
        skip = 7;
    else if (slice_starts(s, SLICE("https://")))
        skip = 8;
    if (skip) {
        s = (struct slice){s.p + skip, s.n - skip};
        mark = memchr(s.p, '/', s.n);
        h->host = (struct slice){s.p, mark ? (size_t)(mark - s.p) : s.n};
        if (h->host.n == 0 || memchr(h->host.p, '?', h->host.n) ||
            memchr(h->host.p, '@', h->host.n))
            return refuse(why, 400, "the request's target has no plain host");
        s = mark ? (struct slice){mark, s.n - h->host.n} : SLICE("/");
    }
    if (s.n == 0 || (*s.p != '/' && !slice_is(s, "*")))
        return refuse(why, 400, "the request's target must begin with '/'");
    mark = memchr(s.p, '?', s.n);
    if (mark) {
        h->query = (struct slice){mark + 1, s.n - (size_t)(mark + 1 - s.p)};
        s.n = (size_t)(mark - s.p);
    }
    return decode_path(h, s, why);
}

static int read_request_line(struct reqhead *h, struct slice line, const char **why)
{
    const char *a = memchr(line.p, ' ', line.n);
    size_t n = a ? (size_t)(a - line.p) : 0;
    struct slice rest, version;
    const char *b;

    if (n == 0 || n > 20)
        return refuse(why, 400, "the request line has no method");
    for (size_t i = 0; i < n; i++)
        if (line.p[i] < 'A' || line.p[i] > 'Z')
            return refuse(why, 400, "the method is not in capital letters");
    h->method = (struct slice){line.p, n};
    rest = (struct slice){a + 1, line.n - n - 1};
    b = memchr(rest.p, ' ', rest.n);
    if (!b)
        return refuse(why, 400, "the request line has no version");
    n = (size_t)(b - rest.p);
    version = (struct slice){b + 1, rest.n - n - 1};
    if (version.n != 8 || memcmp(version.p, "HTTP/", 5) != 0 || version.p[6] != '.' ||
        version.p[5] < '0' || version.p[5] > '9' || version.p[7] < '0' || version.p[7] > '9')
        return refuse(why, 400, "the request line does not end with a version of HTTP");
    if (version.p[5] != '1' || version.p[7] > '1')
        return refuse(why, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here");
    h->minor = version.p[7] - '0';
    return read_target(h, (struct slice){rest.p, n}, why);
}

static int read_field(struct reqhead *h, struct slice line, const char **why)
{
    const char *colon = memchr(line.p, ':', line.n);
    size_t n = colon ? (size_t)(colon - line.p) : 0;
    struct slice value;

    if (*line.p == ' ' || *line.p == '\t')
        return refuse(why, 400, "a field goes on in a second line");
    if (n == 0)
        return refuse(why, 400, "a line of the head is no field");
    for (size_t i = 0; i < n; i++)
        if (!is_token(line.p[i]))
            return refuse(why, 400, "the name of a field has a character that is not allowed");
    value = trim((struct slice){colon + 1, line.n - n - 1});
    for (size_t i = 0; i < value.n; i++)
        if (!is_value(value.p[i]))
            return refuse(why, 400, "the value of a field has a control character");
    if (h->n_field == REQHEAD_FIELDS)
        return refuse(why, 431, "the head has too many fields");
    h->field[h->n_field].name = (struct slice){line.p, n};
    h->field[h->n_field++].value = value;
    return 0;
}

struct slice reqhead_get(const struct reqhead *h, const char *name)
{
    for (int i = 0; i < h->n_field; i++)
        if (is_word(h->field[i].name, name))
            return h->field[i].value;
    return (struct slice){NULL, 0};
}

/* name=value of a query; what is no digit behind a '%' stays as it is. */
static bool decode_value(struct slice s, char *out, size_t n)
{
    size_t i, k = 0;

    for (i = 0; i < s.n && k + 1 < n; i++) {
        const int hi = s.p[i] == '%' && i + 2 < s.n ? hex(s.p[i + 1]) : -1;
        const int lo = hi >= 0 ? hex(s.p[i + 2]) : -1;

        out[k++] = lo >= 0 ? (char)(hi * 16 + lo) : s.p[i] == '+' ? ' ' : s.p[i];
        i += lo >= 0 ? 2 : 0;
    }
    out[k] = 0;
    return i == s.n;
}

bool reqhead_query(const struct reqhead *h, const char *name, char *out, size_t n)
{
    struct slice rest = h->query;

    while (rest.n) {
        const char *end = memchr(rest.p, '&', rest.n);
        const struct slice one = {rest.p, end ? (size_t)(end - rest.p) : rest.n};
        const char *eq = memchr(one.p, '=', one.n);
        const size_t len = eq ? (size_t)(eq - one.p) : one.n;

        if (eq && slice_is((struct slice){one.p, len}, name))
            return decode_value((struct slice){eq + 1, one.n - len - 1}, out, n);
        rest = (struct slice){one.p + one.n, rest.n - one.n};
        rest = rest.n ? (struct slice){rest.p + 1, rest.n - 1} : rest;
    }
    return false;
}

static int count(const struct reqhead *h, const char *name)
{
    int n = 0;

    for (int i = 0; i < h->n_field; i++)
        n += is_word(h->field[i].name, name);
    return n;
}

bool reqhead_has(const struct reqhead *h, const char *name, const char *word)
{
    for (int i = 0; i < h->n_field; i++) {
        struct slice s = h->field[i].value;

        while (is_word(h->field[i].name, name) && s.n) {
            const char *comma = memchr(s.p, ',', s.n);
            size_t n = comma ? (size_t)(comma - s.p) : s.n;

            if (is_word(trim((struct slice){s.p, n}), word))
                return true;
            n += comma != NULL;
            s = (struct slice){s.p + n, s.n - n};
        }
    }
    return false;
}

/* A host as it may stand in a Host field: name, address or [address], and a port. */
static bool good_host(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_token(s.p[i]) && !strchr(":[]", s.p[i]))
            return false;
    return s.n > 0;
}

static int read_host(struct reqhead *h, const char **why)
{
    struct slice host = reqhead_get(h, "host");

    if (count(h, "host") > 1)
        return refuse(why, 400, "more than one Host");
    if (!host.p && h->minor == 1)
        return refuse(why, 400, "no Host");
    if (host.p && !good_host(host))
        return refuse(why, 400, "the Host is no host");
    if (!h->host.p)
        h->host = host;
    else if (!good_host(h->host))
        return refuse(why, 400, "the target's host is no host");
    return 0;
}

static int read_length(struct reqhead *h, const char **why)
{
    struct slice s = reqhead_get(h, "content-length");

    if (!s.p)
        return 0;
    if (count(h, "content-length") > 1)
        return refuse(why, 400, "more than one Content-Length");
    if (s.n == 0 || s.n > 18)
        return refuse(why, 400, "the Content-Length is no plain number");
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return refuse(why, 400, "the Content-Length is no plain number");
        h->length = h->length * 10 + (uint64_t)(s.p[i] - '0');
    }
    h->has_length = true;
    return 0;
}

static int read_coding(struct reqhead *h, const char **why)
{
    struct slice s = reqhead_get(h, "transfer-encoding");

    if (!s.p)
        return 0;
    if (h->has_length)
        return refuse(why, 400, "both a Content-Length and a Transfer-Encoding");
    if (count(h, "transfer-encoding") > 1 || h->minor == 0)
        return refuse(why, 400, "a Transfer-Encoding that is not allowed here");
    if (!is_word(s, "chunked"))
        return refuse(why, 501, "only the transfer coding 'chunked' is known");
    h->chunked = true;
    return 0;
}

static int read_options(struct reqhead *h, const char **why)
{
    static const char *const single[] = {"content-type", "authorization",    "x-api-key",
                                         "expect",       "content-encoding", "origin"};
    struct slice expect = reqhead_get(h, "expect");

    for (size_t i = 0; i < sizeof single / sizeof *single; i++)
        if (count(h, single[i]) > 1)
            return refuse(why, 400, "a field that may be there once is there twice");
    h->keep = h->minor == 1 ? !reqhead_has(h, "connection", "close")
                            : reqhead_has(h, "connection", "keep-alive");
    if (expect.p && !is_word(expect, "100-continue"))
        return refuse(why, 417, "the only expectation known is 100-continue");
    h->expects = expect.p && h->minor == 1;
    return 0;
}

int reqhead_read(struct reqhead *h, struct slice s, const char **why)
{
    struct slice line;
    int rc;

    memset(h, 0, sizeof *h);
    if (slice_starts(s, SLICE("\r\n"))) // one empty line in front is forgiven (RFC 9112 2.2)
        s = (struct slice){s.p + 2, s.n - 2};
    rc = next_line(&s, &line, why);
    rc = rc ? rc : read_request_line(h, line, why);
    while (!rc && !(rc = next_line(&s, &line, why)) && line.n)
        rc = read_field(h, line, why);
    rc = rc ? rc : read_host(h, why);
    rc = rc ? rc : read_length(h, why);
    rc = rc ? rc : read_coding(h, why);
    rc = rc ? rc : read_options(h, why);
    if (!rc && s.n)
        rc = refuse(why, 400, "the head does not end where it should");
    return rc;
}

/* -- chunked bodies -- */

enum {
    B_SIZE, // digits of a size
    B_EXT,  // an extension behind it, which nobody wants
    B_SIZE_LF,
    B_DATA,
    B_DATA_CR,
    B_DATA_LF,
    B_TRAILER, // a line behind the last chunk
    B_TRAIL_LF,
    B_DONE
};

enum { EXTRA_MAX = 4096 };

static int size_digit(struct reqbody *b, char c, const char **why)
{
    int d = hex(c);

    if (d < 0 && b->line > 0 && (c == ';' || c == '\r')) {
        b->state = c == ';' ? B_EXT : B_SIZE_LF;
        return 0;
    }
    if (d < 0 || b->line == 8)
        return refuse(why, -400, "the size of a chunk is no plain number");
    b->left = b->left * 16 + (uint64_t)d;
    b->line++;
    return 0;
}

/* One byte outside of data. */
static int step(struct reqbody *b, char c, const char **why)
{
    switch (b->state) {
    case B_SIZE:
        return size_digit(b, c, why);
    case B_EXT:
    case B_TRAILER:
        if (++b->extra > EXTRA_MAX)
            return refuse(why, -400, "too much between the chunks of the body");
        if (c == '\r') {
            b->state = b->state == B_EXT ? B_SIZE_LF : B_TRAIL_LF;
            return 0;
        }
        b->line++;
        return is_value(c) ? 0 : refuse(why, -400, "a control character between chunks");
    case B_DATA_CR:
        b->state = B_DATA_LF;
        return c == '\r' ? 0 : refuse(why, -400, "a chunk is longer than its size");
    default:
        break;
    }
    if (c != '\n')
        return refuse(why, -400, "a line between chunks does not end with CR LF");
    if (b->state == B_SIZE_LF)
        b->state = b->left ? B_DATA : B_TRAILER;
    else if (b->state == B_DATA_LF)
        b->state = B_SIZE;
    else
        b->state = b->line ? B_TRAILER : B_DONE;
    b->line = 0;
    return 0;
}

int reqbody_feed(struct reqbody *b, struct slice s, size_t *used, struct buf *out, size_t max,
                 const char **why)
{
    size_t i = 0;
    int rc = 0;

    while (i < s.n && b->state != B_DONE && rc == 0) {
        if (b->state == B_DATA) {
            size_t n = b->left < s.n - i ? (size_t)b->left : s.n - i;

            if (n > max - out->n)
                rc = refuse(why, -413, "the body is too large");
            else
                buf_add(out, s.p + i, n);
            i += n;
            b->left -= n;
            if (b->left == 0)
                b->state = B_DATA_CR;
            continue;
        }
        rc = step(b, s.p[i++], why);
        if (rc == 0 && b->state == B_DATA && b->left > max - out->n)
            rc = refuse(why, -413, "the body is too large");
    }
    *used = i;
    if (rc == 0 && out->bad)
        rc = refuse(why, -500, "no memory for the body");
    return rc < 0 ? rc : b->state == B_DONE;
}
