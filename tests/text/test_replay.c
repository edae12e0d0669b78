/* test_replay.c - sampled ids in the next prompt, over real vocabularies and a small one. */
#include "base/mem.h"
#include "base/rng.h"
#include "tests/text/small.h"
#include "tests/text/vocabs.h"
#include "text/replay.h"

static const char *const vocabs[] = {"tokenizers/ggml-vocab/ggml-vocab-gpt-2.gguf",
                                     "tokenizers/ggml-vocab/ggml-vocab-deepseek-coder.gguf",
                                     "tokenizers/ggml-vocab/ggml-vocab-falcon.gguf",
                                     "tokenizers/ggml-vocab/ggml-vocab-llama-spm.gguf"};

/* A text in ids the tokenizer would not choose: cut at random before tokenizing, as models do. */
static struct tok_ids sampled_ids(const struct tok *t, struct slice text, struct rng *r)
{
    struct tok_ids ids = {0};
    struct err e = {0};

    while (text.n) {
        size_t n = 1 + rng_next(r) % 7;

        n = n < text.n ? n : text.n;
        while (n < text.n && ((uint8_t)text.p[n] & 0xc0) == 0x80)
            n++;
        ck_ok(tok_encode(t, (struct slice){text.p, n}, TOK_AFTER | TOK_EXACT, &ids, &e), &e);
        text = (struct slice){text.p + n, text.n - n};
    }
    return ids;
}

static struct buf decoded(const struct tok *t, const struct tok_ids *ids)
{
    struct buf b = {0};

    tok_decode(t, ids->id, ids->n, TOK_SHOW, &b);
    return b;
}

/* How many of the n ids made tells were sampled. */
static size_t sampled_in(const struct buf *made, size_t n)
{
    size_t k = 0;

    ck_assert_uint_eq(made->n, n);
    for (size_t i = 0; i < n; i++)
        k += made->p[i] == 1;
    return k;
}

static const char *const answers[] = {
    "The capital of France is Paris, a city of two million.",
    "<think>\nHm, let me see.\n</think>\n\nIt is 42, \xc3\xa9t\xc3\xa9 \xe2\x82\xac.",
    "  indented\n\n\nand spaced  \n", "x", "int main(void)\n{\n    return 0;\n}\n"};

/* Rendered as it was sampled: every id is a sampled one, and the text around is tokenized as it was
 * when the turn was prompted, so that the first prompt is a prefix of the second. */
START_TEST(unchanged_turns)
{
    struct rng r = {5, 0};

    for (size_t v = 0; v < ARRAY_LEN(vocabs); v++) {
        struct tok *t = open_vocab(vocabs[v]);

        if (!t)
            return;
        for (size_t k = 0; k < ARRAY_LEN(answers) * 10; k++) {
            struct slice answer = slice_of(answers[k % ARRAY_LEN(answers)]);
            struct tok_ids ids = sampled_ids(t, answer, &r), first, all = {0};
            struct err e = {0};
            struct buf prompt = {0}, back;
            struct replay *store;
            struct replay_span span;
            struct buf made = {0};
            size_t n_first;

            ck_ok(replay_new(&store, 1 << 20, &e), &e);
            ck_ok(replay_put(store, answer, t, ids.id, ids.n, &e), &e);
            buf_str(&prompt, "User: Hello there!\nAssistant:");
            first = encode(t, buf_view(&prompt), TOK_ADD | TOK_EXACT);
            n_first = first.n - (tok_adds_eos(t) ? 1 : 0);
            span.from = prompt.n;
            buf_slice(&prompt, answer);
            span.to = prompt.n;
            span.turn = replay_get(store, answer);
            ck_assert_ptr_nonnull(span.turn);
            buf_str(&prompt, "\nUser: And then?\nAssistant:");
            ck_ok(replay_encode(t, buf_view(&prompt), NULL, 0, &span, 1, TOK_ADD | TOK_EXACT, &all,
                                &made, &e),
                  &e);
            ck_assert_uint_eq(sampled_in(&made, all.n), ids.n);
            for (size_t i = 0; i < made.n; i++)
                ck_assert_int_eq(made.p[i], i >= n_first && i < n_first + ids.n);
            buf_fini(&made);
            ck_assert_int_eq(memcmp(all.id, first.id, n_first * sizeof *all.id), 0);
            ck_assert_int_eq(memcmp(all.id + n_first, ids.id, ids.n * sizeof *all.id), 0);
            back = decoded(t, &all);
            if (tok_adds_bos(t)) { // shown, and no part of the prompt
                struct slice bos = tok_piece(t, tok_role_id(t, TOK_BOS));

                ck_assert(slice_starts(buf_view(&back), bos));
                memmove(back.p, back.p + bos.n, back.n - bos.n);
                back.n -= bos.n;
            }
            ck_assert_msg(slice_eq(buf_view(&back), buf_view(&prompt)), "%s: '%.*s'", vocabs[v],
                          (int)back.n, back.p);
            buf_fini(&back);
            buf_fini(&prompt);
            tok_ids_fini(&all);
            tok_ids_fini(&first);
            tok_ids_fini(&ids);
            replay_free(store);
        }
        tok_free(t);
    }
}
END_TEST

/* Whatever a template made of the turns, and wherever the spans lie: the bytes are the prompt's. */
START_TEST(bytes_are_the_prompts)
{
    struct rng r = {9, 0};

    for (size_t v = 0; v < ARRAY_LEN(vocabs); v++) {
        struct tok *t = open_vocab(vocabs[v]);

        if (!t)
            return;
        for (int k = 0; k < 300; k++) {
            struct slice answer = slice_of(answers[rng_next(&r) % ARRAY_LEN(answers)]);
            struct tok_ids ids = sampled_ids(t, answer, &r), all = {0};
            struct err e = {0};
            struct buf prompt = {0}, back;
            struct replay *store;
            struct replay_span span[2];
            struct buf made = {0};
            size_t cut = rng_next(&r) % (answer.n + 1), more = rng_next(&r) % 3;

            ck_ok(replay_new(&store, 1 << 20, &e), &e);
            ck_ok(replay_put(store, answer, t, ids.id, ids.n, &e), &e);
            for (int i = 0; i < 2; i++) {
                buf_str(&prompt, "Question?\n");
                span[i].from = prompt.n;
                span[i].turn = replay_get(store, answer);
                buf_add(&prompt, answer.p + (i ? 0 : cut), i ? cut : answer.n - cut);
                buf_add(&prompt, "zz", more);
                span[i].to = prompt.n - (i ? more : 0);
            }
            ck_ok(replay_encode(t, buf_view(&prompt), NULL, 0, span, 2, TOK_AFTER | TOK_EXACT, &all,
                                &made, &e),
                  &e);
            ck_assert_uint_le(sampled_in(&made, all.n), 2 * ids.n);
            buf_fini(&made);
            back = (struct buf){0};
            tok_decode(t, all.id, all.n, TOK_SHOW | TOK_INSIDE, &back);
            ck_assert_msg(slice_eq(buf_view(&back), buf_view(&prompt)), "%s: '%.*s' for '%.*s'",
                          vocabs[v], (int)back.n, back.p, (int)prompt.n, prompt.p);
            buf_fini(&back);
            buf_fini(&prompt);
            tok_ids_fini(&all);
            tok_ids_fini(&ids);
            replay_free(store);
        }
        tok_free(t);
    }
}
END_TEST

static const struct small_token pieces[] = {{"a", 0, 0, 0},
                                            {"b", 0, 0, 0},
                                            {" ", 0, 0, 0},
                                            {"\n", 0, 0, 0},
                                            {"ab", 0, 0, 0},
                                            {"ba", 0, 0, 0},
                                            {"<|end|>", 0, TOK_CONTROL, 0},
                                            {"<t>", 0, TOK_USER, 0},
                                            {"</t>", 0, TOK_USER, 0},
                                            {0}};

static void expect_replay(const struct tok *t, const char *ids_in, struct slice prompt, size_t from,
                          size_t to, const char *want, size_t want_kept)
{
    struct err e = {0};
    struct tok_ids all = {0}, ids = {0};
    struct buf got = {0}, made = {0};
    struct replay *store;
    struct replay_span span = {from, to, NULL};

    for (const char *p = ids_in; *p; p++)
        ck_ok(tok_ids_add(&ids, *p - '0', &e), &e);
    ck_ok(replay_new(&store, 4096, &e), &e);
    ck_ok(replay_put(store, SLICE("k"), t, ids.id, ids.n, &e), &e);
    span.turn = replay_get(store, SLICE("k"));
    ck_ok(replay_encode(t, prompt, NULL, 0, &span, 1, TOK_PARSE, &all, &made, &e), &e);
    for (size_t i = 0; i < all.n; i++)
        buf_printf(&got, "%d", (int)all.id[i]);
    ck_assert_msg(slice_is(buf_view(&got), want), "'%.*s': %s, expected %s", (int)prompt.n,
                  prompt.p, got.p, want);
    ck_assert_uint_eq(sampled_in(&made, all.n), want_kept);
    buf_fini(&got);
    buf_fini(&made);
    tok_ids_fini(&all);
    tok_ids_fini(&ids);
    replay_free(store);
}

/* By hand: tokens a=0 b=1 space=2 newline=3 ab=4 ba=5 <|end|>=6 <t>=7 </t>=8. */
START_TEST(by_hand)
{
    static struct small_vocab v;
    struct tok *t;

    small_begin(&v, TOK_RWKV, pieces, false);
    t = small_end(&v);
    /* "ab" was drawn as a, b: it stays so, with the end that was drawn, which the span leaves out
     */
    expect_replay(t, "016", SLICE("b\nab<|end|>\nab"), 2, 4, "1301634", 3);
    /* the end was not drawn, or is not rendered */
    expect_replay(t, "01", SLICE("b\nab<|end|>"), 2, 4, "13016", 2);
    expect_replay(t, "016", SLICE("b\nab\nb"), 2, 4, "130131", 2);
    /* reasoning was stripped: the answer keeps its ids */
    expect_replay(t, "7083016", SLICE("b\nab<|end|>"), 2, 4, "13016", 2);
    /* stripped, and the answer trimmed and changed within: front and back keep theirs */
    expect_replay(t, "01201", SLICE("ab\nab"), 0, 5, "01301", 4);
    /* nothing is the same: tokenized */
    expect_replay(t, "33", SLICE("b\nab"), 2, 4, "134", 0);
    expect_replay(t, "", SLICE("ab"), 0, 2, "4", 0);
    /* so a span that ends in the middle of a token cuts nothing */
    expect_replay(t, "33", SLICE("b\nab<|end|>"), 2, 7, "1346", 0);
    expect_replay(t, "013", SLICE("ab<|end|>\nb"), 0, 5, "01631", 2);
    expect_replay(t, "01", SLICE("ab"), 2, 2, "4", 0);
    tok_free(t);
}
END_TEST

START_TEST(wrong_spans)
{
    static struct small_vocab v;
    struct replay_span span[2] = {{3, 2, NULL}, {0, 1, NULL}};
    struct tok_ids ids = {0};
    struct err e = {0};
    struct tok *t;

    small_begin(&v, TOK_RWKV, pieces, false);
    t = small_end(&v);
    ck_fails(replay_encode(t, SLICE("abab"), NULL, 0, span, 1, 0, &ids, NULL, &e), &e, E_RANGE,
             "turn 0");
    e = (struct err){0};
    span[0].to = 9;
    ck_fails(replay_encode(t, SLICE("abab"), NULL, 0, span, 1, 0, &ids, NULL, &e), &e, E_RANGE,
             "prompt of 4");
    e = (struct err){0};
    span[0] = (struct replay_span){1, 3, NULL};
    ck_fails(replay_encode(t, SLICE("abab"), NULL, 0, span, 2, 0, &ids, NULL, &e), &e, E_RANGE,
             "turn 1");
    ck_assert_uint_eq(ids.n, 0);
    tok_ids_fini(&ids);
    tok_free(t);
}
END_TEST

START_TEST(finding)
{
    const struct replay_turn *turn[3] = {NULL, NULL, NULL};
    struct replay_span s[3];
    struct slice p = SLICE("<u>q<a>one<e>\n<u>q<a>two<e>\n<u>q<a>");

    ck_assert_uint_eq(replay_find(p, SLICE("<a>"), SLICE("<e>"), turn, 3, s), 3);
    ck_assert(slice_is((struct slice){p.p + s[0].from, s[0].to - s[0].from}, "one"));
    ck_assert(slice_is((struct slice){p.p + s[1].from, s[1].to - s[1].from}, "two"));
    ck_assert_uint_eq(s[2].from, p.n);
    ck_assert_uint_eq(s[2].to, p.n);
    ck_assert_uint_eq(replay_find(p, SLICE("<a>"), SLICE(""), turn, 2, s), 2);
    ck_assert(slice_is((struct slice){p.p + s[0].from, s[0].to - s[0].from}, "one<e>\n<u>q"));
    ck_assert_uint_eq(replay_find(p, SLICE("<x>"), SLICE(""), turn, 3, s), 0);
    ck_assert_uint_eq(replay_find(p, SLICE(""), SLICE(""), turn, 3, s), 0);
}
END_TEST

START_TEST(store)
{
    static struct small_vocab v;
    int32_t ids[50] = {0};
    struct err e = {0};
    struct replay *r;
    struct tok *t;
    char key[8];

    small_begin(&v, TOK_RWKV, pieces, false);
    t = small_end(&v);
    ck_ok(replay_new(&r, 4000, &e), &e);
    for (int i = 0; i < 20; i++) {
        snprintf(key, sizeof key, "k%d", i);
        ids[0] = i % 4;
        ck_ok(replay_put(r, slice_of(key), t, ids, 50, &e), &e);
        ck_assert_ptr_nonnull(replay_get(r, SLICE("k0"))); // in use, so it stays
    }
    ck_assert_ptr_null(replay_get(r, SLICE("k1")));
    ck_assert_ptr_nonnull(replay_get(r, SLICE("k19")));
    ck_assert_int_eq(replay_get(r, SLICE("k19"))->id[0], 3);
    ids[0] = 1;
    ck_ok(replay_put(r, SLICE("k19"), t, ids, 2, &e), &e); // replaced
    ck_assert_uint_eq(replay_get(r, SLICE("k19"))->n, 2);
    ck_assert(slice_is(replay_get(r, SLICE("k19"))->text, "ba"));
    replay_free(r);

    ck_ok(replay_new(&r, 100, &e), &e); // too small for any
    ck_ok(replay_put(r, SLICE("k"), t, ids, 50, &e), &e);
    ck_assert_ptr_null(replay_get(r, SLICE("k")));
    replay_free(r);
    replay_free(NULL);

    for (long k = 0;; k++) {
        int rc;
        bool hit;

        e = (struct err){0};
        r = NULL;
        mem_fail_after(k);
        rc = replay_new(&r, 4000, &e);
        if (rc == 0)
            rc = replay_put(r, SLICE("k"), t, ids, 50, &e);
        hit = mem_fail_hit();
        mem_fail_after(-1);
        replay_free(r);
        if (!hit)
            break;
        ck_assert_int_eq(rc, E_NOMEM);
    }
    tok_free(t);
}
END_TEST

TEST_MAIN("text/replay", unchanged_turns, bytes_are_the_prompts, by_hand, wrong_spans, finding,
          store)
