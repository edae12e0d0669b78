/* test_tok.c - the tokenizer models on vocabularies small enough to work out by hand. */
#include "tests/text/small.h"

#define MARK "\xe2\x96\x81"

static const struct small_token spm_tokens[] = {{"<unk>", 0, TOK_UNKNOWN, 0},
                                                {"<s>", 0, TOK_CONTROL, 0},
                                                {"</s>", 0, TOK_CONTROL, 0},
                                                {"a", -20, 0, 0},
                                                {"b", -21, 0, 0},
                                                {"c", -22, 0, 0},
                                                {MARK, -10, 0, 0},
                                                {"ab", -1, 0, 0},
                                                {"bc", -2, 0, 0},
                                                {"abc", -9, 0, 0},
                                                {MARK "a", -8, 0, 0},
                                                {"<x>", 0, TOK_USER, 0},
                                                {"un", -3, TOK_UNUSED, 0},
                                                {"u", -23, 0, 0},
                                                {"n", -24, 0, 0},
                                                {"unc", -4, 0, 0},
                                                {"<|im_end|>", 0, 0, 0},
                                                {0}};

START_TEST(spm)
{
    static struct small_vocab v;
    struct tok *t;

    small_begin(&v, TOK_SPM, spm_tokens, true);
    v.spec.add_space_prefix = v.spec.add_bos = true;
    v.spec.role[TOK_UNK] = 0;
    v.spec.role[TOK_BOS] = 1;
    v.spec.role[TOK_EOS] = 2;
    t = small_end(&v);
    expect(t, "", TOK_ADD, "[<s>]");
    expect(t, "", 0, "");
    expect(t, "abc", 0, "[ ][abc]"); // ab (-1) first, then abc; bc comes too late
    expect(t, "bcab", TOK_ADD, "[<s>][ ][bc][ab]");
    expect(t, "ac", 0, "[ a][c]");
    expect(t, "a a", 0, "[ a][ a]");
    expect(t,
           "a\xe2\x96\x81"
           "a",
           0, "[ a][ a]");
    expect(t,
           "a\xe2\x96\x81"
           "a",
           TOK_EXACT, "[ a][e2][96][81][a]");
    expect(t, "d", 0, "[ ][64]");
    expect(t, "\xc3\xa9", 0, "[ ][c3][a9]");
    expect(t, "\xff\xc3", 0, "[ ][ff][c3]");
    expect(t, "<x>b", 0, "[<x>][ ][b]"); // a user-defined token is always found
    expect(t, "</s>b", 0, "[ ][3c][2f][73][3e][b]");
    expect(t, "b</s>b", TOK_PARSE, "[ ][b][</s>][ ][b]");
    expect(t, "ab", TOK_AFTER, "[ab]"); // behind other ids there is no space in front,
    expect(t, "b</s>b", TOK_AFTER | TOK_PARSE, "[b][</s>][ ][b]"); // of the first piece
    expect(t, "un", 0, "[ ][u][n]"); // an unused token is taken apart,
    expect(t, "unc", 0, "[ ][unc]"); // and is a step to others
    expect_identity(t, slice_of("  a b<x> c \n \xff\xfe zz\xe2\x82"), 0);
    expect_identity(t, slice_of(" </s> a</s>b"), TOK_PARSE);
    expect_identity(t, slice_of("a\xe2\x96\x81z"), TOK_EXACT);
    ck_assert(tok_is_end(t, 2));
    ck_assert(!tok_is_end(t, 1));
    ck_assert_int_eq(tok_role_id(t, TOK_NL), tok_find(t, slice_of("\n")));
    /* known by its text, so it is a control token that ends a turn */
    ck_assert_int_eq(tok_kind_of(t, 16), TOK_CONTROL);
    ck_assert_int_eq(tok_role_id(t, TOK_EOT), 16);
    ck_assert(tok_is_end(t, 16));
    tok_free(t);
}
END_TEST

START_TEST(spm_without_bytes)
{
    static struct small_vocab v;
    struct tok *t;

    small_begin(&v, TOK_SPM, spm_tokens, false);
    v.spec.role[TOK_UNK] = 0;
    t = small_end(&v);
    expect(t,
           "abdd\xc3\xa9"
           "ab",
           0, "[ab][<unk>][ab]"); // adjacent unknown characters are one
    expect(t, "dad", 0, "[<unk>][a][<unk>]");
    expect(t, "d<x>d", 0, "[<unk>][<x>][<unk>]");
    tok_free(t);
}
END_TEST

static const char *const letters = "abcdefghijklmnopqrstuvwxyz'.,0123456789";

/* Single bytes of letters, the alphabet's space and newline, then these. */
static void bpe_begin(struct small_vocab *v, const struct small_token *more)
{
    static char one[64][2];
    static const struct small_token none[] = {{0}};

    small_begin(v, TOK_BPE, none, false);
    for (int i = 0; letters[i]; i++) {
        one[i][0] = letters[i];
        small_add(v, one[i], 0, 0, 0);
    }
    small_add(v, "\xc4\xa0", 0, 0, 0); // U+0120: space
    small_add(v, "\xc4\x8a", 0, 0, 0); // U+010A: newline
    for (; more->text; more++)
        small_add(v, more->text, more->score, more->kind, more->strip);
}

START_TEST(bpe)
{
    static const struct small_token more[] = {{"th", 0, 0, 0},         {"he", 0, 0, 0},
                                              {"the", 0, 0, 0},        {"\xc4\xa0t", 0, 0, 0},
                                              {"in", 0, 0, 0},         {"<e>", 0, TOK_CONTROL, 0},
                                              {"ing", 0, TOK_USER, 0}, {"aa", 0, 0, 0},
                                              {"aaaa", 0, 0, 0},       {0}};
    static const char *const merges[] = {"h",  "e",  "t", "h", "t", "he", "\xc4\xa0", "t",
                                         "aa", "aa", "a", "a", "q", "z",  NULL};
    static struct small_vocab v;
    struct tok *t;

    bpe_begin(&v, more);
    small_merges(&v, merges);
    v.spec.pre = "gpt-2";
    t = small_end(&v);
    expect(t, "the", 0, "[the]"); // h e, then t he
    expect(t, "th", 0, "[th]");
    expect(t, " the", 0, "[ ][the]"); // t he comes before space t
    expect(t, " t", 0, "[ t]");
    expect(t, "aaaaaaa", 0, "[aaaa][aa][a]");
    expect(t, "qzq", 0, "[q][z][q]"); // a merge into no token is spelt again
    expect(t, "xX", 0, "[x]");        // no byte X, no unknown token
    expect(t, "singing", 0, "[s][ing][ing]");
    expect(t, "a<e>a", TOK_PARSE, "[a][<e>][a]");
    ck_assert_int_eq(tok_find(t, slice_of(" t")), tok_find(t, slice_of("t")) + 25);
    ck_assert_int_eq(tok_find(t, slice_of("qz")), -1); // a symbol but no token
    ck_assert_str_eq(tok_pre_name(t), "gpt-2");
    tok_free(t);

    v.spec.whole_first = true; // "th" + "e" is looked up before it is merged
    v.spec.n_merge = 1;
    t = small_end(&v);
    expect(t, "the", 0, "[the]");
    expect(t, "thee", 0, "[t][he][e]");
    tok_free(t);

    v.spec.whole_first = false; // no merges: the ids are the ranks
    v.spec.n_merge = 0;
    t = small_end(&v);
    expect(t, "the", 0, "[the]");
    expect(t, "thing", 0, "[th][ing]");
    tok_free(t);
}
END_TEST

/* The heap and the scan give the same, with ties, and whatever the order of merges. */
START_TEST(long_is_short)
{
    static const struct small_token more[] = {{"aa", 0, 0, 0},   {"ab", 0, 0, 0},   {"ba", 0, 0, 0},
                                              {"aab", 0, 0, 0},  {"aba", 0, 0, 0},  {"bb", 0, 0, 0},
                                              {"aaaa", 0, 0, 0}, {"abab", 0, 0, 0}, {0}};
    static const char *const merges[] = {"ab", "ab", "a", "b",  "aa", "aa", "a", "a", "aa",
                                         "b",  "b",  "b", "ab", "a",  "b",  "a", NULL};
    static struct small_vocab v;
    struct rng {
        uint32_t s;
    } r = {1};
    struct tok *t;

    bpe_begin(&v, more);
    small_merges(&v, merges);
    v.spec.pre = "gpt-2";
    t = small_end(&v);
    for (int round = 0; round < 300; round++) {
        char text[201];
        size_t n = 3 + r.s % 60;
        struct tok_ids one, two;

        for (size_t i = 0; i < n; i++) {
            r.s = r.s * 1664525u + 1013904223u;
            text[i] = r.s >> 20 & 1 ? 'a' : 'b';
        }
        /* 40 symbols and more take the heap; "z" merges with nothing, so it does not matter else */
        memcpy(text + n, "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", 50);
        one = encode(t, (struct slice){text, n}, 0);
        two = encode(t, (struct slice){text, n + 50}, 0);
        ck_assert_uint_eq(one.n + 50, two.n);
        ck_assert_mem_eq(one.id, two.id, one.n * sizeof *one.id);
        tok_ids_fini(&one);
        tok_ids_fini(&two);
    }
    tok_free(t);
}
END_TEST

START_TEST(raw_bpe)
{
    static const struct small_token tokens[] = {
        {"a", 0, 0, 0},  {"b", 0, 0, 0},    {MARK, 0, 0, 0},       {MARK "a", 0, 0, 0},
        {"\n", 0, 0, 0}, {"\n\n", 0, 0, 0}, {"\xc3\xa9", 0, 0, 0}, {0}};
    static const char *const merges[] = {MARK, "a", NULL};
    static struct small_vocab v;
    struct tok *t;

    small_begin(&v, TOK_BPE, tokens, true);
    small_merges(&v, merges);
    v.spec.pre = "gemma4";
    v.spec.raw_bpe = true;
    t = small_end(&v);
    expect(t, " a a\n\nb\xc3\xa9\xc3\xaa", 0, "[ a][ a][\n\n][b][\xc3\xa9][c3][aa]");
    expect_identity(t, slice_of("a  a\n\n\n\xff"), 0);
    tok_free(t);
}
END_TEST

START_TEST(wordpiece)
{
    static const struct small_token tokens[] = {{"[UNK]", 0, TOK_UNKNOWN, 0},
                                                {"[CLS]", 0, TOK_CONTROL, 0},
                                                {"[SEP]", 0, TOK_CONTROL, 0},
                                                {MARK "play", 0, 0, 0},
                                                {"ing", 0, 0, 0},
                                                {"ed", 0, 0, 0},
                                                {MARK "p", 0, 0, 0},
                                                {"lay", 0, 0, 0},
                                                {MARK ",", 0, 0, 0},
                                                {MARK "cafe", 0, 0, 0},
                                                {MARK "\xe4\xb8\xad", 0, 0, 0},
                                                {MARK "caf\xc3\xa9", 0, 0, 0},
                                                {0}};
    static struct small_vocab v;
    struct tok *t;
    struct buf b = {0}, text = {0};
    struct tok_ids ids;

    small_begin(&v, TOK_WPM, tokens, false);
    v.spec.role[TOK_UNK] = 0;
    v.spec.role[TOK_CLS] = 1;
    v.spec.role[TOK_SEP] = 2;
    v.spec.add_bos = v.spec.add_sep = v.spec.lowercase = v.spec.strip_accents = true;
    t = small_end(&v);
    expect(t, "Playing, played", TOK_ADD, "[[CLS]][ play][ing][ ,][ play][ed][[SEP]]");
    expect(t, "plays  PLAY", 0, "[[UNK]][ play]");
    expect(t, "CAF\xc3\x89 cafe\xcc\x81\xe4\xb8\xad\xe4\xb8\xad", 0,
           "[ cafe][ cafe][ \xe4\xb8\xad][ \xe4\xb8\xad]");
    expect(t,
           "pl\x01"
           "ay\xff \xef\xbf\xbd",
           0, "[ play]"); // control and broken characters go
    ids = encode(t, slice_of("playing, play"), TOK_ADD);
    tok_decode(t, ids.id, ids.n, 0, &b);
    ck_assert_str_eq(b.p, "playing , play");
    buf_clear(&b);
    tok_decode(t, ids.id, ids.n, TOK_SHOW, &b);
    ck_assert_str_eq(b.p, "[CLS] playing , play[SEP]");
    tok_ids_fini(&ids);
    for (int i = 0; i < 100; i++)
        buf_str(&text, i ? "ing" : "p");
    expect(t, text.p, 0, "[[UNK]]"); // longer than 100 characters
    tok_free(t);

    v.spec.strip_accents = false;
    t = small_end(&v);
    expect(t, "CAF\xc3\x89", 0, "[ caf\xc3\xa9]");
    tok_free(t);
    buf_fini(&b);
    buf_fini(&text);
}
END_TEST

START_TEST(wordpiece_plain)
{
    static const struct small_token tokens[] = {
        {"[UNK]", 0, TOK_UNKNOWN, 0}, {"play", 0, 0, 0}, {"##ing", 0, 0, 0}, {"ing", 0, 0, 0}, {0}};
    static struct small_vocab v;
    struct tok *t;

    small_begin(&v, TOK_WPM, tokens, false);
    v.spec.role[TOK_UNK] = 0;
    v.spec.plain_pieces = true;
    t = small_end(&v);
    expect(t, "playing ing Play", 0, "[ play][ing][ ing][[UNK]]");
    tok_free(t);
}
END_TEST

START_TEST(unigram)
{
    static const struct small_token tokens[] = {{"<unk>", 0, TOK_UNKNOWN, 0},
                                                {"</s>", 0, TOK_CONTROL, 0},
                                                {MARK, -2, 0, 0},
                                                {MARK "a", -3, 0, 0},
                                                {"a", -3, 0, 0},
                                                {"b", -3, 0, 0},
                                                {"ab", -4, 0, 0},
                                                {"aba", -8, 0, 0},
                                                {"ba", -5.5f, 0, 0},
                                                {"<x>", 0, TOK_USER, 0},
                                                {"c", -1, TOK_UNUSED, 0},
                                                {0}};
    static struct small_vocab v;
    struct tok *t;

    small_begin(&v, TOK_UNIGRAM, tokens, false);
    v.spec.role[TOK_UNK] = 0;
    v.spec.role[TOK_EOS] = 1;
    v.spec.add_eos = v.spec.add_space_prefix = v.spec.remove_extra_spaces = true;
    t = small_end(&v);
    expect(t, "ab", TOK_ADD, "[ ][ab][</s>]");
    expect(t, "aba", 0, "[ a][ba]"); // -3-5.5 beats -2-4-3 and -2-8
    expect(t, "  a   b ", 0, "[ a][ ][b]");
    expect(t, "adda", 0, "[ a][<unk>][a]");
    expect(t, "c", 0, "[ ][<unk>]"); // unused
    expect(t, "a<x>a", 0, "[ a][<x>][ a]");
    expect(t, "   ", 0, "");
    expect(t, "\xff", 0, "[ ][<unk>]");
    tok_free(t);
}
END_TEST

START_TEST(rwkv)
{
    static const struct small_token tokens[] = {
        {"<s>", 0, TOK_CONTROL, 0}, {"\\x00", 0, 0, 0}, {"a", 0, 0, 0},      {"ab", 0, 0, 0},
        {"abcd", 0, 0, 0},          {"\\n", 0, 0, 0},   {"\\xe4", 0, 0, 0},  {"\\'", 0, 0, 0},
        {"\\\\", 0, 0, 0},          {"c", 0, 0, 0},     {"\\t\\t", 0, 0, 0}, {0}};
    static struct small_vocab v;
    struct tok *t;

    small_begin(&v, TOK_RWKV, tokens, false);
    t = small_end(&v);
    expect(t, "abcabcd", 0, "[ab][c][abcd]");
    expect(t, "a\n'\\\t\t", 0, "[a][\n]['][\\][\t\t]");
    expect(t, "\xe4", 0, "[\xe4]");
    expect(t, "<s>a", TOK_PARSE, "[<s>][a]");
    ck_assert_uint_eq(tok_piece(t, 1).n, 1);
    ck_assert_int_eq(tok_find(t, (struct slice){"\0", 1}), 1);
    tok_free(t);
}
END_TEST

START_TEST(none)
{
    struct tok_spec s;
    struct tok *t;
    struct tok_ids ids = {0};
    struct buf b = {0};
    struct err e = {0};
    int32_t id = 3;

    tok_spec_init(&s);
    s.n = 10;
    ck_ok(tok_new(&t, &s, &e), &e);
    ck_fails(tok_encode(t, slice_of("a"), 0, &ids, &e), &e, E_UNSUPPORTED, "no vocabulary");
    tok_decode(t, &id, 1, TOK_SHOW, &b);
    ck_assert_uint_eq(b.n, 0);
    ck_assert_int_eq(tok_find(t, slice_of("a")), -1);
    buf_fini(&b);
    tok_free(t);
}
END_TEST

/* The leftmost, of those the longest; white space goes with it where it should. */
START_TEST(specials)
{
    static const struct small_token more[] = {
        {"<a>", 0, TOK_CONTROL, 0},       {"<a><b>", 0, TOK_CONTROL, 0},
        {"<b>", 0, TOK_USER, 0},          {"<l>", 0, TOK_USER, TOK_LSTRIP},
        {"<r>", 0, TOK_USER, TOK_RSTRIP}, {"<lr>", 0, TOK_CONTROL, TOK_LSTRIP | TOK_RSTRIP},
        {"ab<", 0, TOK_USER, 0},          {0}};
    static struct small_vocab v;
    struct tok *t;

    bpe_begin(&v, more);
    t = small_end(&v);
    expect(t, "a<a><b>a", TOK_PARSE, "[a][<a><b>][a]");
    expect(t, "a<a>a<b>", TOK_PARSE, "[a][<a>][a][<b>]");
    expect(t, "x<b>", 0, "[x][<b>]");
    expect(t, "a<a>b", 0, "[a][a][b]"); // the brackets are no tokens here
    expect(t, "ab<b>", 0, "[ab<][b]");  // leftmost first
    expect(t, "a \n<l> b", 0, "[a][<l>][ ][b]");
    expect(t,
           "a <r>\t \xe3\x80\x80"
           "b",
           0, "[a][ ][<r>][b]");
    expect(t, " <lr> ", TOK_PARSE, "[<lr>]");
    tok_free(t);
}
END_TEST

START_TEST(ends)
{
    static const struct small_token more[] = {
        {"<|end|>", 0, TOK_CONTROL, 0},  {"<|return|>", 0, TOK_CONTROL, 0},
        {"<|call|>", 0, TOK_CONTROL, 0}, {"<|fim_prefix|>", 0, TOK_CONTROL, 0},
        {"<stop>", 0, TOK_CONTROL, 0},   {0}};
    static struct small_vocab v;
    int32_t stop = 45, first = 41;
    struct tok *t;

    bpe_begin(&v, more);
    v.spec.end = &stop;
    v.spec.n_end = 1;
    t = small_end(&v);
    ck_assert_int_eq(tok_find(t, slice_of("<|end|>")), first);
    ck_assert(!tok_is_end(t, first)); // with <|return|> and <|call|> it ends a message only
    ck_assert(tok_is_end(t, first + 1));
    ck_assert(tok_is_end(t, first + 2));
    ck_assert(tok_is_end(t, stop));
    ck_assert(!tok_is_end(t, -1));
    ck_assert(!tok_is_end(t, 1 << 20));
    ck_assert_int_eq(tok_role_id(t, TOK_FIM_PRE), first + 3);
    ck_assert_int_eq(tok_role_id(t, TOK_BOS), -1);
    tok_free(t);
}
END_TEST

START_TEST(limits)
{
    static struct small_vocab v;
    struct tok_ids ids = {.max = 5};
    struct err e = {0};
    struct tok *t;

    small_begin(&v, TOK_SPM, spm_tokens, true);
    t = small_end(&v);
    ck_ok(tok_encode(t, slice_of("cab"), 0, &ids, &e), &e);
    ck_assert_uint_eq(ids.n, 2);
    ck_fails(tok_encode(t, slice_of("cccc"), 0, &ids, &e), &e, E_CONTEXT, "more than 5 tokens");
    ck_assert_uint_eq(ids.n, 2); // as it was
    e = (struct err){0};
    ck_ok(tok_encode(t, slice_of("ccc"), 0, &ids, &e), &e);
    ck_assert_uint_eq(ids.n, 5);
    tok_ids_fini(&ids);
    tok_free(t);
}
END_TEST

START_TEST(bad_descriptions)
{
    static struct small_vocab v;
    struct tok *t;
    struct err e = {0};
    static char big[70000];

    small_begin(&v, TOK_SPM, spm_tokens, true);
    v.spec.role[TOK_BOS] = 1000;
    ck_fails(tok_new(&t, &v.spec, &e), &e, E_RANGE, "the bos token is 1000");
    v.spec.role[TOK_BOS] = -1;
    v.spec.add_bos = true;
    e = (struct err){0};
    ck_fails(tok_new(&t, &v.spec, &e), &e, E_FORMAT, "BOS token is to be added");
    v.spec.add_bos = false;
    v.kind[3] = 99;
    e = (struct err){0};
    ck_fails(tok_new(&t, &v.spec, &e), &e, E_FORMAT, "token 3 is of kind 99");
    v.kind[3] = TOK_NORMAL;
    memset(big, 'x', sizeof big);
    v.piece[4] = (struct slice){big, sizeof big};
    e = (struct err){0};
    ck_fails(tok_new(&t, &v.spec, &e), &e, E_FORMAT, "token 4 has 70000 bytes");
    v.piece[4] = (struct slice){big, 2000};
    v.kind[4] = TOK_USER;
    e = (struct err){0};
    ck_fails(tok_new(&t, &v.spec, &e), &e, E_FORMAT, "special token 4 has 2000 bytes");
    v.piece[4] = slice_of("b");
    v.spec.charsmap = SLICE("xyz");
    e = (struct err){0};
    ck_fails(tok_new(&t, &v.spec, &e), &e, E_FORMAT, "precompiled_charsmap");
    v.spec.model = TOK_BPE;
    v.spec.pre = "nonsense";
    e = (struct err){0};
    ck_fails(tok_new(&t, &v.spec, &e), &e, E_UNSUPPORTED, "pre-tokenizer 'nonsense'");
    v.spec.split = (const char *const[]){"(a", NULL};
    e = (struct err){0};
    ck_fails(tok_new(&t, &v.spec, &e), &e, E_UNSUPPORTED, "missing closing parenthesis");
    v.spec.n = 0;
    e = (struct err){0};
    ck_fails(tok_new(&t, &v.spec, &e), &e, E_FORMAT, "0 tokens");
}
END_TEST

/* Empty pieces, equal pieces, scores that are the same or no numbers. */
START_TEST(odd_descriptions)
{
    static const struct small_token tokens[] = {{"", 0, 0, 0},
                                                {"a", -1, 0, 0},
                                                {"a", -1, 0, 0},
                                                {"aa", -1, 0, 0},
                                                {"aaa", -1, 0, 0},
                                                {"<0xZZ>", 0, TOK_BYTE, 0},
                                                {0}};
    static struct small_vocab v;
    struct tok *t;

    small_begin(&v, TOK_SPM, tokens, false);
    t = small_end(&v);
    expect(t, "aaaaa", 0, "[aaa][aa]"); // the leftmost of equals: aa a aa -> aaa aa
    ck_assert_int_eq(tok_find(t, slice_of("a")), 1);
    ck_assert_int_eq(tok_find(t, slice_of("")), -1);
    tok_free(t);
    v.spec.kind = NULL;
    v.spec.score = NULL;
    v.spec.strip = NULL;
    t = small_end(&v);
    expect(t, "aaaaa", 0, "[aaa][aa]");
    tok_free(t);
}
END_TEST

TEST_MAIN("text/tok", spm, spm_without_bytes, bpe, long_is_short, raw_bpe, wordpiece,
          wordpiece_plain, unigram, rwkv, none, specials, ends, limits, bad_descriptions,
          odd_descriptions)
