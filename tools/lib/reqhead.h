/* reqhead.h - heads and chunked bodies of HTTP/1.1 requests, read strictly.
 *
 * What two programs could read differently is refused: lines that end without CR, folded fields,
 * space before a colon, lengths that are no plain number or are given twice, a length beside a
 * transfer coding, a second Host (RFC 9112; the ways by which requests are smuggled past proxies).
 * Knows no sockets and allocates nothing but a body.
 */
#ifndef RILL_TOOLS_REQHEAD_H
#define RILL_TOOLS_REQHEAD_H

#include "base/buf.h"

enum { REQHEAD_FIELDS = 100, REQHEAD_PATH = 1024, REQHEAD_TARGET = 8192 };

struct reqhead {
    struct slice method;
    struct slice query;          // behind '?', as sent
    char path[REQHEAD_PATH + 1]; // decoded; no control characters
    int minor;                   // HTTP/1.minor
    struct {
        struct slice name, value;
    } field[REQHEAD_FIELDS];
    int n_field;
    struct slice host;
    bool chunked;
    bool has_length;
    uint64_t length; // of the body; 0 where there is none
    bool keep;       // the connection stays open
    bool expects;    // Expect: 100-continue
};

/* How many bytes of p the head takes, with its empty line; 0: it is not all there. Looks from
 * *seen on and moves it, so that a head in many pieces is looked at once. */
size_t reqhead_end(struct slice p, size_t *seen);

/* Reads a whole head. 0, or the status to refuse it with (400, 414, 417, 431, 501, 505) and why;
 * slices point into bytes. */
int reqhead_read(struct reqhead *h, struct slice bytes, const char **why);

/* The value of a field, any case; p NULL: it is not there. */
struct slice reqhead_get(const struct reqhead *h, const char *name);
/* The value of a name of the query, decoded; false: it is not there, or longer than out. */
bool reqhead_query(const struct reqhead *h, const char *name, char *out, size_t n);
/* Whether a comma-separated field has this word. */
bool reqhead_has(const struct reqhead *h, const char *name, const char *word);

/* -- chunked bodies -- */

struct reqbody {
    int state;
    uint64_t left; // of the chunk
    size_t line;   // bytes of this line so far
    size_t extra;  // bytes of extensions and trailers so far
};

/* Takes bytes of a chunked body: adds what they hold to out (at most max bytes in all). 1: the body
 * is complete, 0: more is to come, or the negative of a status with *why. *used: bytes taken. */
int reqbody_feed(struct reqbody *b, struct slice bytes, size_t *used, struct buf *out, size_t max,
                 const char **why);

#endif
