/* constraints.h - for tests of constrained decoding: a vocabulary of all bytes and some longer
 * tokens, and grammars that are asked about whole texts. */
#ifndef RILL_TESTS_CONSTRAINTS_H
#define RILL_TESTS_CONSTRAINTS_H

#include "tests/suite.h"
#include "text/constrain.h"

#include "base/mem.h"

static const char *const longer[] = {
    "{\"",   "\":",  "\": \"", "\",",    "\", \"", "\"}",  "true",  "null",      "na",   "name",
    "ab",    "abc",  "10",     "12",     "1,",     "}}",   "]}",    "],",        "[1",   ", ",
    "\\n",   "\\u",  "00",     "hello",  " world", "  ",   "\n",    "\xc3\xa9t", "{}",   "[]",
    "\"a\":", "\"a", "-1",     "0.",     ".5",     "e1",   "false", "\":[",      "\"],", "yes"};

enum { N_TEXT = 256 + (int)ARRAY_LEN(longer), N_TOKEN = N_TEXT + 1 }; // the last one ends

static inline struct tok *byte_vocab(void)
{
    static char byte[256];
    static struct slice piece[N_TOKEN];
    static uint8_t kind[N_TOKEN];
    struct tok_spec s;
    struct tok *t;
    struct err e = {0};

    tok_spec_init(&s);
    for (int i = 0; i < N_TOKEN; i++) {
        if (i < 256)
            byte[i] = (char)i;
        piece[i] = i < 256      ? (struct slice){&byte[i], 1}
                   : i < N_TEXT ? slice_of(longer[i - 256])
                                : SLICE("<end>");
        kind[i] = i < N_TEXT ? TOK_NORMAL : TOK_CONTROL;
    }
    s.model = TOK_BPE;
    s.n = N_TOKEN;
    s.piece = piece;
    s.kind = kind;
    s.raw_bytes = true;
    s.role[TOK_EOS] = N_TEXT;
    ck_ok(tok_new(&t, &s, &e), &e);
    return t;
}

/* Whether the whole text is one of the grammar's. */
static inline bool says(struct con_matcher *m, struct slice text)
{
    struct con_state s = con_begin(m);
    struct err e = {0};
    int64_t n = con_bytes(m, &s, text, &e);

    ck_assert_msg(n >= 0, "%s", e.text);
    return (size_t)n == text.n && con_can_stop(m, s);
}

static inline bool takes(const struct con *c, const char *text)
{
    struct con_matcher *m;
    struct err e = {0};
    bool yes;

    ck_ok(con_matcher_new(&m, c, NULL, 0, &e), &e);
    yes = says(m, slice_of(text));
    con_matcher_free(m);
    return yes;
}

/* yes and no: texts, NULL-ended. */
static inline void judge(const struct con *c, const char *const *yes, const char *const *no)
{
    for (; *yes; yes++)
        ck_assert_msg(takes(c, *yes), "refused: %s", *yes);
    for (; *no; no++)
        ck_assert_msg(!takes(c, *no), "accepted: %s", *no);
}
#define TEXTS(...) ((const char *const[]){__VA_ARGS__, NULL})

#endif
