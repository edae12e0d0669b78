/* small.h - vocabularies of a few tokens, written out. */
#ifndef RILL_TESTS_TEXT_SMALL_H
#define RILL_TESTS_TEXT_SMALL_H

#include "tests/text/vocabs.h"

struct small_token {
    const char *text;
    float score;
    enum tok_kind kind; // 0: normal
    uint8_t strip;
};

struct small_vocab {
    struct tok_spec spec;
    struct slice piece[600];
    float score[600];
    uint8_t kind[600], strip[600];
    struct slice merge[300][2];
    char byte[256][8];
};

static inline void small_add(struct small_vocab *v, const char *text, float score,
                             enum tok_kind kind, uint8_t strip)
{
    uint32_t i = v->spec.n++;

    v->piece[i] = slice_of(text);
    v->score[i] = score;
    v->kind[i] = kind ? (uint8_t)kind : TOK_NORMAL;
    v->strip[i] = strip;
}

/* Tokens up to one without text; then, if asked for, <0x00> to <0xFF>. */
static inline void small_begin(struct small_vocab *v, enum tok_model model,
                               const struct small_token *t, bool bytes)
{
    tok_spec_init(&v->spec);
    v->spec.model = model;
    v->spec.piece = v->piece;
    v->spec.score = v->score;
    v->spec.kind = v->kind;
    v->spec.strip = v->strip;
    for (; t->text; t++)
        small_add(v, t->text, t->score, t->kind, t->strip);
    for (int i = 0; i < 256 && bytes; i++) {
        snprintf(v->byte[i], sizeof v->byte[i], "<0x%02X>", i);
        small_add(v, v->byte[i], 0, TOK_BYTE, 0);
    }
}

/* Pairs of strings, ended by NULL. */
static inline void small_merges(struct small_vocab *v, const char *const *pair)
{
    v->spec.merge = (const struct slice(*)[2])v->merge;
    for (; *pair; pair += 2) {
        v->merge[v->spec.n_merge][0] = slice_of(pair[0]);
        v->merge[v->spec.n_merge++][1] = slice_of(pair[1]);
    }
}

static inline struct tok *small_end(struct small_vocab *v)
{
    struct tok *t;
    struct err e = {0};

    ck_ok(tok_new(&t, &v->spec, &e), &e);
    return t;
}

/* The pieces of the ids of text, each in brackets. */
static inline void expect(const struct tok *t, const char *text, unsigned flags, const char *want)
{
    struct tok_ids ids = encode(t, slice_of(text), flags);
    struct buf b = {0};

    buf_str(&b, "");
    for (size_t i = 0; i < ids.n; i++) {
        struct slice s = tok_piece(t, ids.id[i]);

        buf_byte(&b, '[');
        if (tok_kind_of(t, ids.id[i]) == TOK_BYTE)
            buf_printf(&b, "%02x", (uint8_t)s.p[0]);
        else
            buf_slice(&b, s);
        buf_byte(&b, ']');
    }
    ck_assert_str_eq(b.p ? b.p : "", want);
    buf_fini(&b);
    tok_ids_fini(&ids);
}

#endif
