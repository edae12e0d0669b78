/* gguf_make.h - makes GGUF bytes by hand, field by field, so that tests can spoil any of them.
 *
 * Independent of the writer: a mistake in both would have to be made twice.
 */
#ifndef RILL_TESTS_FILE_GGUF_MAKE_H
#define RILL_TESTS_FILE_GGUF_MAKE_H

#include "base/buf.h"
#include "base/mem.h"
#include "file/gguf.h"
#include "tests/suite.h"

/* What a reader must do when a field holds another number than it should. */
enum field_kind {
    FREE,   // a plain value: anything is fine
    BOUND,  // others of the numbers tried must be refused
    EITHER, // some are fine too (a smaller count, another shape)
};

struct field {
    const char *what;
    size_t at;
    int bytes;
    int kind;
};

struct make {
    struct buf b;
    struct field field[128];
    int n;
};

static inline void mk_uint(struct make *m, uint64_t v, int bytes, int kind, const char *what)
{
    ck_assert_int_lt(m->n, 128);
    m->field[m->n++] = (struct field){what, m->b.n, bytes, kind};
    for (int i = 0; i < bytes; i++)
        buf_byte(&m->b, (char)(v >> (8 * i)));
}

static inline void mk_str(struct make *m, const char *s, const char *what)
{
    mk_uint(m, strlen(s), 8, BOUND, what);
    buf_str(&m->b, s);
}

static inline void mk_head(struct make *m, uint64_t n_tensor, uint64_t n_key)
{
    buf_str(&m->b, "GGUF");
    mk_uint(m, 3, 4, EITHER, "version");
    mk_uint(m, n_tensor, 8, EITHER, "number of tensors");
    mk_uint(m, n_key, 8, BOUND, "number of keys");
}

static inline void mk_key(struct make *m, const char *name, uint32_t type)
{
    mk_str(m, name, "key length");
    mk_uint(m, type, 4, EITHER, "key type");
}

static inline void mk_key_uint(struct make *m, const char *name, uint32_t type, uint64_t v,
                               int bytes)
{
    mk_key(m, name, type);
    mk_uint(m, v, bytes, FREE, "value");
}

static inline void mk_key_str(struct make *m, const char *name, const char *v)
{
    mk_key(m, name, GGUF_STR);
    mk_str(m, v, "string length");
}

static inline void mk_key_arr(struct make *m, const char *name, uint32_t type, uint64_t n)
{
    mk_key(m, name, GGUF_ARR);
    mk_uint(m, type, 4, EITHER, "element type");
    mk_uint(m, n, 8, BOUND, "element count");
}

static inline void mk_tensor(struct make *m, const char *name, uint32_t type, uint32_t n_dims,
                             const uint64_t *ne, uint64_t offset)
{
    mk_str(m, name, "tensor name length");
    mk_uint(m, n_dims, 4, BOUND, "dimensions");
    for (uint32_t d = 0; d < n_dims; d++)
        mk_uint(m, ne[d], 8, EITHER, "dimension");
    mk_uint(m, type, 4, EITHER, "tensor type");
    mk_uint(m, offset, 8, EITHER, "offset");
}

static inline void mk_pad(struct make *m, size_t align)
{
    while (m->b.n % align)
        buf_byte(&m->b, 0);
}

/* n bytes of data that differ from one place to the next. */
static inline void mk_data(struct make *m, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_byte(&m->b, (char)(i * 7 + 1));
}

/* A small file with a key of every kind and three tensors. */
static inline void mk_sample(struct make *m)
{
    mk_head(m, 3, 7);
    mk_key_str(m, "general.architecture", "llama");
    mk_key_uint(m, "a.u8", GGUF_U8, 200, 1);
    mk_key_uint(m, "a.i64", GGUF_I64, (uint64_t)-5, 8);
    mk_key_uint(m, "a.f32", GGUF_F32, 0x3fc00000, 4);
    mk_key_arr(m, "a.ints", GGUF_I16, 3);
    for (int i = 0; i < 3; i++)
        mk_uint(m, (uint64_t)(i - 1), 2, FREE, "element");
    mk_key_arr(m, "a.words", GGUF_STR, 3);
    mk_str(m, "one", "word length");
    mk_str(m, "", "word length");
    mk_str(m, "three", "word length");
    mk_key(m, "a.yes", GGUF_BOOL);
    mk_uint(m, 1, 1, EITHER, "truth value");
    mk_tensor(m, "t.f32", 0, 2, (uint64_t[]){4, 2}, 0);
    mk_tensor(m, "t.q4_0", 2, 2, (uint64_t[]){32, 2}, 32);
    mk_tensor(m, "t.f16", 1, 1, (uint64_t[]){3}, 96);
    mk_pad(m, 32);
    mk_data(m, 96 + 6);
}

/* Opens a copy of exactly n bytes, so that a sanitizer sees the first byte read behind them. *copy
 * is the caller's. */
static inline int mk_open(struct gguf **g, const void *p, size_t n, void **copy, struct err *e)
{
    *copy = malloc(n ? n : 1);
    if (n)
        memcpy(*copy, p, n);
    *e = (struct err){0};
    return gguf_open_mem(g, "x.gguf", *copy, n, e);
}

/* Opening these bytes fails because of the input, with a sentence that has part in it. */
static inline void mk_refused(const struct make *m, const char *part)
{
    struct gguf *g;
    struct err e;
    void *copy;
    int rc = mk_open(&g, m->b.p, m->b.n, &copy, &e);

    ck_assert_msg(err_exit_status(rc) == 3, "%s: gave %d: %s", part, rc, e.text);
    ck_assert_msg(strncmp(e.text, "x.gguf: ", 8) == 0 && strstr(e.text, part), "'%s' lacks '%s'",
                  e.text, part);
    free(copy);
}

/* The same, and frees the bytes. */
static inline void mk_refuse(struct make *m, const char *part)
{
    mk_refused(m, part);
    buf_fini(&m->b);
}

#endif
