/* jinja_mem.c - memory, errors and limits of the template engine. */
#include "jinja_in.h"

#include <stdio.h>

/* Chunks double from 16 KiB to 1 MiB: a short template touches little, a long chat allocates
 * seldom. */
enum { CHUNK_MIN = 16 << 10, CHUNK_MAX = 1 << 20 };

struct jchunk {
    struct jchunk *below;
    size_t n, cap;
    max_align_t data[];
};

void jarena_fini(struct jarena *a)
{
    while (a->top) {
        struct jchunk *c = a->top;

        a->top = c->below;
        mem_free(c);
    }
}

static struct jchunk *chunk_new(struct jstate *J, size_t need)
{
    struct jarena *a = &J->mem;
    size_t cap = a->top ? a->top->cap * 2 : CHUNK_MIN;
    struct jchunk *c;

    cap = cap > CHUNK_MAX ? CHUNK_MAX : cap;
    cap = cap < need ? need : cap;
    if (cap > a->max - a->used) { // the limit may leave room for less than a whole chunk
        cap = need;
        if (need > a->max - a->used) {
            jfail_code(J, E_RANGE, "the template needs more than %llu bytes of memory",
                       (unsigned long long)a->max);
            return NULL;
        }
    }
    c = mem_new(sizeof *c + cap, J->failed ? NULL : J->e);
    if (!c) {
        J->code = J->failed ? J->code : E_NOMEM;
        J->failed = true;
        return NULL;
    }
    c->cap = cap;
    c->below = a->top;
    a->top = c;
    a->used += cap;
    return c;
}

void *jalloc(struct jstate *J, uint64_t n, size_t size)
{
    uint64_t bytes;
    struct jchunk *c = J->mem.top;
    void *p;

    if (J->failed)
        return NULL;
    if (!mul_ok(n, size, &bytes) || !pad_ok(bytes, sizeof(void *), &bytes) || bytes > SIZE_MAX / 4)
        bytes = SIZE_MAX / 4;
    if ((!c || c->cap - c->n < bytes) && !(c = chunk_new(J, (size_t)bytes)))
        return NULL;
    p = (char *)c->data + c->n;
    c->n += (size_t)bytes;
    return p;
}

void *jgrow(struct jstate *J, void *p, size_t old, uint64_t cap, size_t size)
{
    struct jchunk *c = J->mem.top;
    size_t have = (old * size + sizeof(void *) - 1) & ~(sizeof(void *) - 1);
    uint64_t want;
    void *q;

    if (J->failed)
        return NULL;
    if (p && c && (char *)p + have == (char *)c->data + c->n && mul_ok(cap, size, &want) &&
        pad_ok(want, sizeof(void *), &want) && want >= have && want - have <= c->cap - c->n) {
        c->n += (size_t)want - have;
        return p;
    }
    q = jalloc(J, cap, size);
    if (q && old)
        memcpy(q, p, old * size);
    return q;
}

/* -- errors -- */

static void where(const struct jinja *t, uint32_t pos, unsigned *line, unsigned *column)
{
    *line = 1;
    *column = 1;
    for (size_t i = 0; i < pos && i < t->n_src; i++) {
        if (t->src[i] == '\n') {
            ++*line;
            *column = 1;
        } else if (((unsigned char)t->src[i] & 0xc0) != 0x80) {
            ++*column;
        }
    }
}

static void fail(struct jstate *J, int code, const char *fmt, va_list ap)
{
    char text[400];
    unsigned line, column;

    if (J->failed)
        return;
    J->failed = true;
    J->code = code;
    vsnprintf(text, sizeof text, fmt, ap);
    where(J->t, J->pos, &line, &column);
    err_set(J->e, code, "%s:%u:%u: %s", J->t->name, line, column, text);
}

struct jv jfail(struct jstate *J, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fail(J, E_FORMAT, fmt, ap);
    va_end(ap);
    return jv_undef(JU_PLAIN, NULL);
}

struct jv jfail_code(struct jstate *J, int code, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fail(J, code, fmt, ap);
    va_end(ap);
    return jv_undef(JU_PLAIN, NULL);
}

/* -- limits -- */

bool jstep_fail(struct jstate *J)
{
    jfail_code(J, E_RANGE, "the template takes too many steps");
    return false;
}

bool jenter_fail(struct jstate *J)
{
    jfail_code(J, E_RANGE, "the template goes deeper than %d levels", J->max_depth);
    return false;
}
