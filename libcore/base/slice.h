/* slice.h - borrowed runs of bytes, and a cursor that reads little-endian data out of one.
 *
 * A cursor is sticky: after the first read past the end it is bad and every read yields zero, so a
 * parser checks once, at the end of a group of reads.
 */
#ifndef RILL_BASE_SLICE_H
#define RILL_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const char *p;
    size_t n;
};

/* A run of bytes by its place in others. */
struct byte_span {
    size_t at, n;
};

#define SLICE(lit) ((struct slice){(lit), sizeof(lit) - 1}) // of a string literal

static inline struct slice slice_of(const char *s)
{
    return (struct slice){s, s ? strlen(s) : 0};
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool slice_is(struct slice a, const char *s)
{
    return slice_eq(a, slice_of(s));
}

static inline bool slice_starts(struct slice a, struct slice prefix)
{
    return a.n >= prefix.n && (prefix.n == 0 || memcmp(a.p, prefix.p, prefix.n) == 0);
}

static inline bool slice_ends(struct slice a, struct slice suffix)
{
    return a.n >= suffix.n && memcmp(a.p + a.n - suffix.n, suffix.p, suffix.n) == 0;
}

struct cur {
    const uint8_t *p;
    size_t n;  // bytes in all
    size_t at; // bytes read
    bool bad;
};

static inline const uint8_t *cur_take(struct cur *c, uint64_t n)
{
    const uint8_t *p;

    if (c->bad || n > c->n - c->at) {
        c->bad = true;
        return NULL;
    }
    p = c->p + c->at;
    c->at += (size_t)n;
    return p;
}

static inline uint64_t cur_uint(struct cur *c, int bytes)
{
    const uint8_t *p = cur_take(c, (uint64_t)bytes);
    uint64_t v = 0;

    for (int i = 0; p && i < bytes; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static inline uint8_t cur_u8(struct cur *c)
{
    return (uint8_t)cur_uint(c, 1);
}

static inline uint32_t cur_u32(struct cur *c)
{
    return (uint32_t)cur_uint(c, 4);
}

static inline uint64_t cur_u64(struct cur *c)
{
    return cur_uint(c, 8);
}

/* A run of n bytes at the cursor; empty once bad. */
static inline struct slice cur_slice(struct cur *c, uint64_t n)
{
    const uint8_t *p = cur_take(c, n);

    return (struct slice){(const char *)p, p ? (size_t)n : 0};
}

#endif
