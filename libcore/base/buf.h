/* buf.h - a growing run of bytes with a sticky failure. */
#ifndef RILL_BASE_BUF_H
#define RILL_BASE_BUF_H

#include "err.h"
#include "slice.h"

struct buf {
    char *p;    // NUL-ended once anything was added
    size_t n;   // bytes held, the NUL not counted
    size_t cap;
    bool bad;   // an addition failed; later ones do nothing
};

/* A zeroed struct buf is an empty one. buf_fini frees and zeroes it. */
void buf_fini(struct buf *b);
void buf_clear(struct buf *b); // keeps the memory
bool buf_reserve(struct buf *b, size_t more);
void buf_add(struct buf *b, const void *p, size_t n);
void buf_byte(struct buf *b, char c);
void buf_str(struct buf *b, const char *s);
void buf_slice(struct buf *b, struct slice s);
void buf_printf(struct buf *b, const char *fmt, ...) ERR_PRINTF(2, 3);
/* s as a JSON string with its quotes; invalid UTF-8 becomes U+FFFD, and what must not reach a
 * terminal (utf8_shown) is written \uNNNN. */
void buf_json(struct buf *b, struct slice s);

static inline struct slice buf_view(const struct buf *b)
{
    return (struct slice){b->p ? b->p : "", b->n};
}

#endif
