/* vocabs.h - what the tests of text/ share: opening vocabularies, encoding, comparing. */
#ifndef RILL_TESTS_TEXT_VOCABS_H
#define RILL_TESTS_TEXT_VOCABS_H

#include "base/mem.h"
#include "model/vocab.h"
#include "tests/suite.h"
#include "text/tok.h"

/* A tokenizer from a GGUF file of the test data; NULL where there is none (the test is skipped). */
static inline struct tok *open_vocab(const char *name)
{
    const char *path = testdata(name);
    struct err e = {0};
    struct gguf *g;
    struct tok *t;

    if (!path)
        return NULL;
    ck_ok(gguf_open(&g, path, 0, &e), &e);
    ck_ok(vocab_from_gguf(&t, g, &e), &e);
    gguf_close(g);
    return t;
}

static inline struct tok_ids encode(const struct tok *t, struct slice text, unsigned flags)
{
    struct tok_ids ids = {0};
    struct err e = {0};

    ck_ok(tok_encode(t, text, flags, &ids, &e), &e);
    return ids;
}

/* Compares with the expected ids; what names the case. */
static inline void expect_ids(const struct tok *t, struct slice text, unsigned flags,
                              const int32_t *want, size_t n, const char *what)
{
    struct tok_ids got = encode(t, text, flags);
    struct buf b = {0};
    bool equal = got.n == n && (n == 0 || memcmp(got.id, want, n * sizeof *want) == 0);

    if (!equal) {
        buf_printf(&b, "%s: got", what);
        for (size_t i = 0; i < got.n; i++)
            buf_printf(&b, " %d", (int)got.id[i]);
        buf_printf(&b, "; expected");
        for (size_t i = 0; i < n; i++)
            buf_printf(&b, " %d", (int)want[i]);
        buf_printf(&b, "; text ");
        buf_json(&b, text);
    }
    ck_assert_msg(equal, "%s", b.p);
    buf_fini(&b);
    tok_ids_fini(&got);
}

/* The same of two texts. */
static inline void expect_pair_ids(const struct tok *t, struct slice a, struct slice b,
                                   const int32_t *want, size_t n, const char *what)
{
    struct tok_ids got = {0};
    struct buf types = {0};
    struct err e = {0};

    ck_ok(tok_encode_pair(t, a, b, TOK_ADD | TOK_PARSE, &got, &types, &e), &e);
    ck_assert_msg(got.n == n && types.n == n && memcmp(got.id, want, n * sizeof *want) == 0,
                  "%s: %zu ids, expected %zu", what, got.n, n);
    tok_ids_fini(&got);
    buf_fini(&types);
}

/* Decoding what was encoded gives the text. */
static inline void expect_identity(const struct tok *t, struct slice text, unsigned flags)
{
    struct tok_ids ids = encode(t, text, flags);
    struct buf b = {0};

    tok_decode(t, ids.id, ids.n, flags & TOK_PARSE ? TOK_SHOW : 0, &b);
    ck_assert_msg(slice_eq(buf_view(&b), text), "%zu bytes came back as %zu", text.n, b.n);
    buf_fini(&b);
    tok_ids_fini(&ids);
}

#endif
