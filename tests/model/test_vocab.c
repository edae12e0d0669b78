/* test_vocab.c - tokenizers from GGUF metadata: what files leave out, and what they get wrong. */
#include <math.h>

#include "model/vocab.h"
#include "tests/suite.h"

#define MARK "\xe2\x96\x81"

static const struct slice pieces[] = {{"<unk>", 5}, {"<s>", 3}, {"</s>", 4}, {MARK, 3},
                                      {"a", 1},     {"b", 1},   {"ab", 2}};
enum { N = 7 };

static const struct slice merges[] = {{"a b", 3}};

/* A file with a good vocabulary of a model; spoil changes it. The path is the caller's to remove.
 */
static const char *make(const char *model, void (*spoil)(struct gguf_out *w))
{
    static char path[1024];
    static const float scores[N] = {0, 0, 0, -3, -4, -5, -1};
    static const int32_t kinds[N] = {2, 3, 3, 1, 1, 1, 1};
    struct gguf_out *w;
    struct err e = {0};

    snprintf(path, sizeof path, "%s", tmpfile_path("vocab.gguf"));
    ck_ok(gguf_create(&w, path, 0, &e), &e);
    gguf_put_str(w, "general.architecture", slice_of("llama"));
    gguf_put_str(w, "tokenizer.ggml.model", slice_of(model));
    gguf_put_strs(w, "tokenizer.ggml.tokens", pieces, N);
    gguf_put_array(w, "tokenizer.ggml.scores", GGUF_F32, scores, N);
    gguf_put_array(w, "tokenizer.ggml.token_type", GGUF_I32, kinds, N);
    if (strcmp(model, "gpt2") == 0)
        gguf_put_strs(w, "tokenizer.ggml.merges", merges, 1);
    if (spoil)
        spoil(w);
    ck_ok(gguf_begin(w, &e), &e);
    ck_ok(gguf_finish(w, &e), &e);
    return path;
}

static int open_made(const char *model, void (*spoil)(struct gguf_out *w), struct tok **t,
                     struct err *e)
{
    const char *path = make(model, spoil);
    struct gguf *g;
    int rc;

    ck_ok(gguf_open(&g, path, 0, e), e);
    rc = vocab_from_gguf(t, g, e);
    gguf_close(g);
    unlink(path);
    return rc;
}

static struct tok *opened(const char *model, void (*spoil)(struct gguf_out *w))
{
    struct tok *t;
    struct err e = {0};

    ck_ok(open_made(model, spoil, &t, &e), &e);
    return t;
}

static void expect(const struct tok *t, const char *text, const char *want)
{
    struct tok_ids ids = {0};
    struct buf b = {0};
    struct err e = {0};

    ck_ok(tok_encode(t, slice_of(text), TOK_ADD, &ids, &e), &e);
    buf_str(&b, "");
    for (size_t i = 0; i < ids.n; i++)
        buf_printf(&b, i ? " %d" : "%d", (int)ids.id[i]);
    ck_assert_str_eq(b.n ? b.p : "", want);
    buf_fini(&b);
    tok_ids_fini(&ids);
}

START_TEST(conventions)
{
    struct tok *t = opened("llama", NULL);

    ck_assert_int_eq(tok_role_id(t, TOK_BOS), 1);
    ck_assert_int_eq(tok_role_id(t, TOK_EOS), 2);
    ck_assert_int_eq(tok_role_id(t, TOK_UNK), 0);
    expect(t, "ab", "1 3 6");
    tok_free(t);

    t = opened("gpt2", NULL);
    ck_assert_int_eq(tok_role_id(t, TOK_BOS), -1);
    ck_assert_str_eq(tok_pre_name(t), "default");
    expect(t, "ab", "6");
    tok_free(t);

    t = opened("bert", NULL); /* 100 to 103 are none of its tokens */
    ck_assert_int_eq(tok_role_id(t, TOK_CLS), -1);
    ck_assert(!tok_adds_bos(t));
    tok_free(t);

    t = opened("t5", NULL);
    ck_assert_int_eq(tok_role_id(t, TOK_EOS), 1);
    expect(t, "ab", "3 6 1");
    tok_free(t);

    t = opened("rwkv", NULL);
    expect(t, "abb", "6 5");
    tok_free(t);
}
END_TEST

static void odd_ids(struct gguf_out *w)
{
    gguf_put_u32(w, "tokenizer.ggml.bos_token_id", 0xffffffff);
    gguf_put_i32(w, "tokenizer.ggml.eos_token_id", -1);
    gguf_put_u32(w, "tokenizer.ggml.padding_token_id", N);
    gguf_put_u64(w, "tokenizer.ggml.seperator_token_id", UINT64_MAX);
    gguf_put_u64(w, "tokenizer.ggml.eot_token_id", 5);
}

START_TEST(ids_out_of_range_are_absent)
{
    struct tok *t = opened("llama", odd_ids);

    ck_assert_int_eq(tok_role_id(t, TOK_BOS), 1); /* the convention's */
    ck_assert_int_eq(tok_role_id(t, TOK_PAD), -1);
    ck_assert_int_eq(tok_role_id(t, TOK_EOT), 5);
    ck_assert(tok_is_end(t, 5));
    tok_free(t);
}
END_TEST

static void flags(struct gguf_out *w)
{
    gguf_put_bool(w, "tokenizer.ggml.add_bos_token", false);
    gguf_put_bool(w, "tokenizer.ggml.add_eos_token", true);
    gguf_put_bool(w, "tokenizer.ggml.add_space_prefix", false);
}

START_TEST(flags_win)
{
    struct tok *t = opened("llama", flags);

    expect(t, "ab", "6 2");
    ck_assert(!tok_adds_bos(t) && tok_adds_eos(t));
    tok_free(t);
}
END_TEST

/* -- files that are wrong -------------------------------------------------------------------- */

static void no_model(struct gguf_out *w)
{
    gguf_drop_key(w, "tokenizer.ggml.model");
}
static void strange_model(struct gguf_out *w)
{
    gguf_put_str(w, "tokenizer.ggml.model", slice_of("zigzag\n"));
}
static void model_number(struct gguf_out *w)
{
    gguf_put_u32(w, "tokenizer.ggml.model", 1);
}
static void no_tokens(struct gguf_out *w)
{
    gguf_drop_key(w, "tokenizer.ggml.tokens");
}
static void empty_tokens(struct gguf_out *w)
{
    gguf_put_strs(w, "tokenizer.ggml.tokens", pieces, 0);
}
static void token_numbers(struct gguf_out *w)
{
    static const int32_t v[N] = {0};

    gguf_put_array(w, "tokenizer.ggml.tokens", GGUF_I32, v, N);
}
static void no_scores(struct gguf_out *w)
{
    gguf_drop_key(w, "tokenizer.ggml.scores");
}
static void few_scores(struct gguf_out *w)
{
    static const float v[N] = {0};

    gguf_put_array(w, "tokenizer.ggml.scores", GGUF_F32, v, N - 1);
}
static void nan_score(struct gguf_out *w)
{
    const float v[N] = {0, 0, 0, NAN};

    gguf_put_array(w, "tokenizer.ggml.scores", GGUF_F32, v, N);
}
static void string_scores(struct gguf_out *w)
{
    gguf_put_strs(w, "tokenizer.ggml.scores", pieces, N);
}
static void few_kinds(struct gguf_out *w)
{
    static const int32_t v[N] = {0};

    gguf_put_array(w, "tokenizer.ggml.token_type", GGUF_I32, v, 2);
}
static void float_kinds(struct gguf_out *w)
{
    static const float v[N] = {0};

    gguf_put_array(w, "tokenizer.ggml.token_type", GGUF_F32, v, N);
}
static void broken_merge(struct gguf_out *w)
{
    static const struct slice m[] = {{"a b", 3}, {"ab", 2}};

    gguf_put_strs(w, "tokenizer.ggml.merges", m, 2);
}
static void half_merge(struct gguf_out *w)
{
    static const struct slice m[] = {{"a ", 2}};

    gguf_put_strs(w, "tokenizer.ggml.merges", m, 1);
}
static void merge_numbers(struct gguf_out *w)
{
    static const int32_t v[N] = {0};

    gguf_put_array(w, "tokenizer.ggml.merges", GGUF_I32, v, N);
}
static void strange_pre(struct gguf_out *w)
{
    gguf_put_str(w, "tokenizer.ggml.pre", slice_of("nonsense"));
}
static void pre_number(struct gguf_out *w)
{
    gguf_put_u32(w, "tokenizer.ggml.pre", 5);
}
static void bos_text(struct gguf_out *w)
{
    gguf_put_str(w, "tokenizer.ggml.bos_token_id", slice_of("1"));
}
static void bos_missing(struct gguf_out *w)
{
    gguf_put_bool(w, "tokenizer.ggml.add_bos_token", true);
}
static void flag_text(struct gguf_out *w)
{
    gguf_put_str(w, "tokenizer.ggml.add_bos_token", slice_of("yes"));
}
static void charsmap_ints(struct gguf_out *w)
{
    static const int32_t v[N] = {0};

    gguf_put_array(w, "tokenizer.ggml.precompiled_charsmap", GGUF_I32, v, N);
}
static void charsmap_short(struct gguf_out *w)
{
    static const uint8_t v[8] = {0xff, 0xff, 0xff, 0xff};

    gguf_put_array(w, "tokenizer.ggml.precompiled_charsmap", GGUF_U8, v, 8);
}
static void vast_none(struct gguf_out *w)
{
    gguf_put_u32(w, "llama.vocab_size", 0xffffffff);
}

START_TEST(wrong_files)
{
    static const struct {
        const char *model;
        void (*spoil)(struct gguf_out *w);
        int code;
        const char *says;
    } cases[] = {
        {"llama", no_model, E_FORMAT, "'tokenizer.ggml.model' is missing"},
        {"llama", strange_model, E_UNSUPPORTED, "tokenizer model 'zigzag\\x0a' is not supported"},
        {"llama", model_number, E_FORMAT, "tokenizer.ggml.model"},
        {"llama", no_tokens, E_FORMAT, "'tokenizer.ggml.tokens' is missing"},
        {"llama", empty_tokens, E_FORMAT, "no tokens"},
        {"llama", token_numbers, E_FORMAT, "tokenizer.ggml.tokens"},
        {"llama", no_scores, E_FORMAT, "'tokenizer.ggml.scores' is missing"},
        {"llama", few_scores, E_FORMAT, "shorter than the list of tokens"},
        {"llama", nan_score, E_FORMAT, "not a number"},
        {"llama", string_scores, E_FORMAT, "tokenizer.ggml.scores"},
        {"llama", few_kinds, E_FORMAT, "shorter than the list of tokens"},
        {"llama", float_kinds, E_FORMAT, "tokenizer.ggml.token_type"},
        {"gpt2", broken_merge, E_FORMAT, "element 1 is no pair"},
        {"gpt2", half_merge, E_FORMAT, "element 0 is no pair"},
        {"gpt2", merge_numbers, E_FORMAT, "tokenizer.ggml.merges"},
        {"gpt2", strange_pre, E_UNSUPPORTED, "pre-tokenizer 'nonsense' is not known"},
        {"gpt2", pre_number, E_FORMAT, "tokenizer.ggml.pre"},
        {"llama", bos_text, E_FORMAT, "tokenizer.ggml.bos_token_id"},
        {"gpt2", bos_missing, E_FORMAT, "BOS token is to be added"},
        {"llama", flag_text, E_FORMAT, "tokenizer.ggml.add_bos_token"},
        {"t5", charsmap_ints, E_FORMAT, "not an array of bytes"},
        {"t5", charsmap_short, E_FORMAT, "precompiled_charsmap"},
        {"none", vast_none, E_RANGE, "llama.vocab_size"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tok *t;
        struct err e = {0};

        ck_fails(open_made(cases[i].model, cases[i].spoil, &t, &e), &e, cases[i].code,
                 cases[i].says);
        ck_assert_msg(strstr(e.text, "vocab.gguf: ") != NULL, "%s", e.text);
        ck_assert_ptr_null(t);
    }
}
END_TEST

/* Merges through things that are no tokens, the same piece twice, kinds nobody knows. */
static void odd_but_fine(struct gguf_out *w)
{
    static const struct slice p[N] = {{"<unk>", 5}, {"a", 1},   {"a", 1}, {"", 0},
                                      {"b", 1},     {"aab", 3}, {"c", 1}};
    static const struct slice m[] = {{"a a", 3}, {"aa b", 4}, {"x y", 3}, {"a a", 3}};
    static const int32_t kinds[N] = {2, 1, 1, 1, 99, -5, 1};

    gguf_put_strs(w, "tokenizer.ggml.tokens", p, N);
    gguf_put_strs(w, "tokenizer.ggml.merges", m, 4);
    gguf_put_array(w, "tokenizer.ggml.token_type", GGUF_I32, kinds, N);
}

START_TEST(odd_files)
{
    struct tok *t = opened("gpt2", odd_but_fine);

    expect(t, "aab", "5");
    expect(t, "aac", "1 1 6"); /* "aa" is a step, no token */
    tok_free(t);
}
END_TEST

static void some_rows(struct gguf_out *w)
{
    gguf_put_u32(w, "llama.vocab_size", 50);
}

START_TEST(no_vocabulary)
{
    struct tok *t = opened("none", some_rows);

    ck_assert_int_eq(tok_model_of(t), TOK_NONE);
    ck_assert_uint_eq(tok_count(t), 50);
    tok_free(t);
    t = opened("no_vocab", NULL);
    ck_assert_uint_eq(tok_count(t), 0);
    tok_free(t);
}
END_TEST

TEST_MAIN("model/vocab", conventions, ids_out_of_range_are_absent, flags_win, wrong_files,
          odd_files, no_vocabulary)
