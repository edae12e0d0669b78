/* test_sentencepiece.c - real SentencePiece models against the ids sentencepiece itself gives
 * (tests/golden/text, made by scripts/ref-tokenize.py).
 *
 * The models are protocol buffers; the few fields a vocabulary needs are read here.
 */
#include <jansson.h>

#include "base/file.h"
#include "tests/text/vocabs.h"

static uint64_t varint(struct cur *c)
{
    uint64_t v = 0;

    for (int shift = 0; shift < 64 && !c->bad; shift += 7) {
        uint8_t b = cur_u8(c);

        v |= (uint64_t)(b & 127) << shift;
        if (b < 128)
            break;
    }
    return v;
}

struct field {
    unsigned number, type;
    uint64_t value;
    struct slice bytes;
};

static bool next(struct cur *c, struct field *f)
{
    uint64_t tag;

    if (c->at >= c->n)
        return false;
    tag = varint(c);
    *f = (struct field){.number = (unsigned)(tag >> 3), .type = tag & 7};
    if (f->type == 0)
        f->value = varint(c);
    else if (f->type == 2)
        f->bytes = cur_slice(c, varint(c));
    else
        f->value = cur_uint(c, f->type == 5 ? 4 : 8);
    return !c->bad;
}

struct model {
    struct tok_spec s;
    struct slice piece[40000];
    float score[40000];
    uint8_t kind[40000];
};

static struct cur inside(struct slice s)
{
    return (struct cur){(const uint8_t *)s.p, s.n, 0, false};
}

static void read_piece(struct model *m, struct slice s)
{
    uint32_t i = m->s.n++;
    struct cur c = inside(s);
    struct field f;

    ck_assert_uint_lt(i, ARRAY_LEN(m->piece));
    m->kind[i] = TOK_NORMAL;
    while (next(&c, &f)) {
        uint32_t bits = (uint32_t)f.value;

        if (f.number == 1)
            m->piece[i] = f.bytes;
        else if (f.number == 2)
            memcpy(&m->score[i], &bits, 4);
        else if (f.number == 3)
            m->kind[i] = (uint8_t)f.value;
    }
}

static void read_normalizer(struct model *m, struct slice s)
{
    struct cur c = inside(s);
    struct field f;

    while (next(&c, &f)) {
        if (f.number == 2)
            m->s.charsmap = f.bytes;
        else if (f.number == 3)
            m->s.add_space_prefix = f.value;
        else if (f.number == 4)
            m->s.remove_extra_spaces = f.value;
    }
}

static void run(const char *file, enum tok_model model, const char *golden)
{
    static struct model m;
    const char *path = testdata(file);
    struct file_view v;
    struct err e = {0};
    struct cur c;
    struct field f;
    struct tok *t;
    FILE *lines;
    char line[20000];
    int n = 0;

    if (!path)
        return;
    ck_ok(file_map(&v, path, &e), &e);
    memset(&m, 0, sizeof m);
    tok_spec_init(&m.s);
    m.s.model = model;
    m.s.piece = m.piece;
    m.s.score = m.score;
    m.s.kind = m.kind;
    m.s.add_space_prefix = m.s.remove_extra_spaces = true; /* what an absent field means */
    m.s.role[TOK_UNK] = 0;
    for (c = (struct cur){v.p, v.n, 0, false}; next(&c, &f);) {
        if (f.number == 1)
            read_piece(&m, f.bytes);
        else if (f.number == 3)
            read_normalizer(&m, f.bytes);
    }
    ck_assert(!c.bad);
    ck_ok(tok_new(&t, &m.s, &e), &e);
    file_unmap(&v);
    lines = fopen(srcfile(golden), "r");
    ck_assert_ptr_nonnull(lines);
    while (fgets(line, sizeof line, lines)) {
        json_t *j = json_loads(line, JSON_ALLOW_NUL, NULL), *ids = json_object_get(j, "ids");
        json_t *text = json_object_get(j, "text");
        int32_t want[2000];
        size_t k = json_array_size(ids);

        ck_assert_uint_lt(k, ARRAY_LEN(want));
        for (size_t i = 0; i < k; i++)
            want[i] = (int32_t)json_integer_value(json_array_get(ids, i));
        expect_ids(t, (struct slice){json_string_value(text), json_string_length(text)}, 0, want, k,
                   golden);
        json_decref(j);
        n++;
    }
    fclose(lines);
    ck_assert_int_ge(n, 100);
    tok_free(t);
}

START_TEST(unigram)
{
    run("tokenizers/sentencepiece/test_model.model", TOK_UNIGRAM,
        "tests/golden/text/unigram.jsonl");
}
END_TEST

START_TEST(bpe)
{
    run("tokenizers/mistral/tokenizer.model.v1", TOK_SPM, "tests/golden/text/spm.jsonl");
}
END_TEST

TEST_MAIN("text/sentencepiece", unigram, bpe)
