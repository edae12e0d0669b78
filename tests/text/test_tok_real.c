/* test_tok_real.c - whole vocabularies: identity, long runs, failing allocations, threads. */
#include <pthread.h>
#include <time.h>

#include "base/file.h"
#include "base/rng.h"
#include "tests/text/vocabs.h"

static const char *const vocabs[] = {
    "tokenizers/ggml-vocab/ggml-vocab-gpt-2.gguf", "tokenizers/ggml-vocab/ggml-vocab-falcon.gguf",
    "tokenizers/ggml-vocab/ggml-vocab-deepseek-coder.gguf",
    "tokenizers/ggml-vocab/ggml-vocab-llama-spm.gguf", "models/stories260K/stories260K.gguf"};

static struct slice read_text(const char *name, struct file_view *v)
{
    const char *path = testdata(name);
    struct err e = {0};

    if (!path)
        return (struct slice){0};
    ck_ok(file_map(v, path, &e), &e);
    return (struct slice){(const char *)v->p, v->n};
}

/* Every byte comes back: books, random bytes, random pieces of books. */
START_TEST(identity)
{
    struct file_view view;
    struct slice book = read_text("texts/promessi_sposi.it.txt", &view);

    if (!book.p)
        return;
    for (size_t i = 0; i < ARRAY_LEN(vocabs); i++) {
        struct tok *t = open_vocab(vocabs[i]);
        struct rng r = {.seed = i};
        char noise[300];

        expect_identity(t, (struct slice){book.p, 200000}, TOK_ADD | TOK_EXACT);
        for (int k = 0; k < 300; k++) {
            size_t n = rng_next(&r) % sizeof noise;
            size_t at = rng_next(&r) % (book.n - 300);

            for (size_t b = 0; b < n; b++)
                do /* some vocabularies lack bytes that no UTF-8 has */
                    noise[b] = (char)rng_next(&r);
                while (tok_find(t, (struct slice){noise + b, 1}) < 0);
            expect_identity(t, (struct slice){noise, n}, TOK_EXACT);
            expect_identity(t, (struct slice){book.p + at, n}, TOK_ADD);
        }
        tok_free(t);
    }
    file_unmap(&view);
}
END_TEST

/* A byte without a token, in a vocabulary without an unknown one, is as if it were not there: what
 * is around it merges, as in the library. */
START_TEST(missing_bytes)
{
    static const int32_t want[] = {129, 208, 45196, 208, 122};
    struct tok *t = open_vocab("tokenizers/ggml-vocab/ggml-vocab-falcon.gguf");
    struct tok_ids ids;
    struct buf b = {0};

    if (!t)
        return;
    ck_assert_int_lt(tok_find(t, slice_of("\xff")), 0);
    expect_ids(t, SLICE("\xf2\xb9\x82\xb2\xf2\xb9\x82\xb2"), 0, want, ARRAY_LEN(want), "f2");
    ids = encode(t, slice_of("a\x03\x04z"), 0);
    tok_decode(t, ids.id, ids.n, 0, &b);
    ck_assert(slice_is(buf_view(&b), "az"));
    buf_fini(&b);
    tok_ids_fini(&ids);
    tok_free(t);
}
END_TEST

static double seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

/* A megabyte of one thing. A quadratic step would take minutes; four times the text may not take
 * more than about four times the time, so the bound has room for a slow machine under a sanitizer.
 */
START_TEST(linear)
{
    static const char *const unit[] = {"a",
                                       " ",
                                       "\xf4\x8f\xbf\xbf",
                                       "\xf0\x9f\x98\x80",
                                       "ab",
                                       "\n",
                                       "1",
                                       "\xff",
                                       "aB1 \xc3\xa9\n",
                                       "  a",
                                       "\xe2\x96\x81",
                                       "'s",
                                       "\xcc\x81"};
    static const char *const more[] = {"tokenizers/ggml-vocab/ggml-vocab-bert-bge.gguf"};
    const size_t n = 1 << 20;
    char *text = mem_new(n, NULL);

    for (size_t i = 0; i < ARRAY_LEN(vocabs) + 1; i++) {
        struct tok *t = open_vocab(i < ARRAY_LEN(vocabs) ? vocabs[i] : more[0]);

        if (!t)
            break;
        for (size_t u = 0; u < ARRAY_LEN(unit); u++) {
            size_t k = strlen(unit[u]), len = n / k * k;
            struct tok_ids ids;
            double start = seconds(), took;

            for (size_t at = 0; at < len; at += k)
                memcpy(text + at, unit[u], k);
            ids = encode(t, (struct slice){text, len}, 0);
            took = seconds() - start;
            ck_assert_msg(took < 20, "%s: unit %zu took %.1f s", vocabs[i], u, took);
            if (getenv("LONG") && *getenv("LONG"))
                printf("%zu: unit %zu: %.0f ms, %zu tokens\n", i, u, took * 1e3, ids.n);
            tok_ids_fini(&ids);
        }
        tok_free(t);
    }
    mem_free(text);
}
END_TEST

/* Each allocation of encoding fails once: E_NOMEM, nothing added, nothing lost. */
static void fail_encoding(const struct tok *t, struct slice text)
{
    struct tok_ids want = encode(t, text, TOK_ADD);
    long n;

    for (n = 0;; n++) {
        struct tok_ids ids = {0};
        struct err e = {0};
        int rc;

        ck_ok(tok_ids_add(&ids, 7, &e), &e);
        mem_fail_after(n);
        rc = tok_encode(t, text, TOK_ADD, &ids, &e);
        if (!mem_fail_hit()) {
            mem_fail_after(-1);
            ck_assert_int_eq(rc, 0);
            ck_assert_uint_eq(ids.n, want.n + 1);
            ck_assert_mem_eq(ids.id + 1, want.id, want.n * sizeof *want.id);
            tok_ids_fini(&ids);
            break;
        }
        mem_fail_after(-1);
        ck_assert_int_eq(rc, E_NOMEM);
        ck_assert_uint_eq(ids.n, 1);
        ck_assert_int_eq(ids.id[0], 7);
        tok_ids_fini(&ids);
    }
    ck_assert_int_ge((int)n, 2);
    tok_ids_fini(&want);
}

START_TEST(failing_encoding)
{
    char text[6000];
    static const char *const more[] = {"tokenizers/ggml-vocab/ggml-vocab-bert-bge.gguf"};

    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i % 200 < 120 ? (char)('a' + i % 7) : i % 3 ? ' ' : '!';
    for (size_t i = 0; i < ARRAY_LEN(vocabs) + 1; i++) {
        struct tok *t = open_vocab(i < ARRAY_LEN(vocabs) ? vocabs[i] : more[0]);

        if (!t)
            break;
        fail_encoding(t, (struct slice){text, sizeof text});
        tok_free(t);
    }
}
END_TEST

START_TEST(failing_building)
{
    const char *path = testdata("models/stories260K/stories260K.gguf");
    struct err e = {0};
    struct gguf *g;
    long n;

    if (!path)
        return;
    ck_ok(gguf_open(&g, path, 0, &e), &e);
    for (n = 0;; n++) {
        struct tok *t = NULL;
        int rc;
        bool hit;

        e = (struct err){0};
        mem_fail_after(n);
        rc = vocab_from_gguf(&t, g, &e);
        hit = mem_fail_hit();
        mem_fail_after(-1);
        if (!hit) {
            ck_ok(rc, &e);
            tok_free(t);
            break;
        }
        ck_assert_int_eq(rc, E_NOMEM);
        ck_assert_int_eq(e.code, E_NOMEM);
        ck_assert_ptr_null(t);
    }
    ck_assert_int_ge((int)n, 15);
    gguf_close(g);
}
END_TEST

struct reader {
    const struct tok *t;
    struct slice text;
    struct tok_ids ids;
    int rc;
    struct err e;
};

static void *read_all(void *arg)
{
    struct reader *r = arg;

    for (int i = 0; i < 5 && r->rc == 0; i++) { // ck_assert is for one thread at a time
        tok_ids_fini(&r->ids);
        r->rc = tok_encode(r->t, r->text, TOK_ADD, &r->ids, &r->e);
    }
    return NULL;
}

START_TEST(threads)
{
    struct file_view view;
    struct slice book = read_text("texts/tinyshakespeare.txt", &view);

    for (size_t i = 0; i < 4 && book.p; i++) {
        struct tok *t = open_vocab(vocabs[i]);
        struct reader r[4];
        pthread_t thread[4];

        for (int k = 0; k < 4; k++) {
            r[k] = (struct reader){.t = t, .text = {book.p, 30000}};
            ck_assert_int_eq(pthread_create(&thread[k], NULL, read_all, &r[k]), 0);
        }
        for (int k = 0; k < 4; k++) {
            pthread_join(thread[k], NULL);
            ck_ok(r[k].rc, &r[k].e);
            ck_assert_uint_eq(r[k].ids.n, r[0].ids.n);
            ck_assert_mem_eq(r[k].ids.id, r[0].ids.id, r[0].ids.n * sizeof *r[0].ids.id);
        }
        for (int k = 0; k < 4; k++)
            tok_ids_fini(&r[k].ids);
        tok_free(t);
    }
    if (book.p)
        file_unmap(&view);
}
END_TEST

/* A text is the same in one call, whatever the cache of merged pieces has seen before. */
START_TEST(cache_changes_nothing)
{
    struct file_view view;
    struct slice book = read_text("texts/promessi_sposi.it.txt", &view);

    for (size_t i = 0; i < 5 && book.p; i++) {
        struct tok *t = open_vocab(vocabs[i]);
        struct tok_ids whole = encode(t, (struct slice){book.p, 100000}, 0), parts = {0};
        struct err e = {0};
        size_t at = 0;

        if (i < 3) { /* byte-level: words are cut alike */
            while (at < 100000) {
                size_t end = at + 1;

                while (end < 100000 && !(book.p[end - 1] >= 'a' && book.p[end] == ' '))
                    end++;
                ck_ok(tok_encode(t, (struct slice){book.p + at, end - at}, 0, &parts, &e), &e);
                at = end;
            }
            ck_assert_uint_eq(parts.n, whole.n);
            ck_assert_mem_eq(parts.id, whole.id, whole.n * sizeof *whole.id);
        }
        tok_ids_fini(&whole);
        tok_ids_fini(&parts);
        tok_free(t);
    }
    if (book.p)
        file_unmap(&view);
}
END_TEST

TEST_MAIN("text/tok_real", identity, missing_bytes, linear, failing_encoding, failing_building,
          threads, cache_changes_nothing)
