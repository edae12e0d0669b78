/* Grammars, regular expressions and masks: verdicts, masks against trying every token, forced text,
 * triggers, limits, memory that fails. */
#include "constraints.h"

#include "base/rng.h"

#include <jansson.h>

static struct con *regex(const char *src)
{
    struct con *c;
    struct err e = {0};

    ck_ok(con_regex(&c, slice_of(src), NULL, &e), &e);
    return c;
}

static void regex_case(const char *src, const char *const *yes, const char *const *no)
{
    struct con *c = regex(src);

    judge(c, yes, no);
    con_free(c);
}

START_TEST(regular_expressions)
{
    regex_case("a|bc*", TEXTS("a", "b", "bccc"), TEXTS("", "ab", "ac"));
    regex_case("(ab){2,3}", TEXTS("abab", "ababab"), TEXTS("ab", "abababab", "aba"));
    regex_case("[^a-c\\d]+", TEXTS("xyz", "\xc3\xa9", "-"), TEXTS("", "xa", "x1", "\xc3"));
    regex_case("\\w+@\\w+\\.(com|org)", TEXTS("a@b.com"), TEXTS("a@b.net", "a@b.comm"));
    regex_case(".", TEXTS("a", "\xe2\x82\xac", "\xf0\x9f\x98\x80"), TEXTS("\n", "ab", "\xe2\x82"));
    regex_case("^a$", TEXTS("a"), TEXTS("", "aa"));
    regex_case("(?!ab)[a-z]{2}", TEXTS("ba", "aa"), TEXTS("ab", "a"));
    regex_case("(?=.*\\d)(?=.*[a-z])\\w{3}", TEXTS("a1b", "1a1"), TEXTS("abc", "123", "a1"));
    regex_case("\\u00e9\\x41\\u{1F600}", TEXTS("\xc3\xa9"
                                                 "A\xf0\x9f\x98\x80"),
               TEXTS("eA"));
    regex_case("a{0,3}b?", TEXTS("", "aaa", "aaab", "b"), TEXTS("aaaa", "ba"));
    regex_case("[\\]\\-x]", TEXTS("]", "-", "x"), TEXTS("\\"));
    regex_case("\\p{Lu}\\p{Ll}", TEXTS("Ab", "\xc3\x89\xc3\xa9"), TEXTS("ab", "AB"));
}
END_TEST

START_TEST(bad_regular_expressions)
{
    static const struct {
        const char *src;
        int code;
        const char *part;
    } bad[] = {{"(a", E_FORMAT, "byte 2"},       {"a)", E_FORMAT, "byte 1"},
               {"[a", E_FORMAT, "class"},        {"*a", E_FORMAT, "repeat"},
               {"[b-a]", E_FORMAT, "range"},     {"(a)\\1", E_UNSUPPORTED, "back"},
               {"(?<=a)b", E_UNSUPPORTED, "look"}, {"\\bfoo", E_UNSUPPORTED, "\\b"},
               {"a{200000}", E_RANGE, "range"},  {"(^a)*", E_UNSUPPORTED, "unbounded"},
               {"a\\", E_FORMAT, "backslash"},   {"\xff", E_FORMAT, "UTF-8"}};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct con *c;
        struct err e = {0};

        ck_fails(con_regex(&c, slice_of(bad[i].src), NULL, &e), &e, bad[i].code, bad[i].part);
    }
}
END_TEST

static struct con *gbnf(const char *src)
{
    struct con *c;
    struct err e = {0};

    ck_ok(con_gbnf(&c, slice_of(src), NULL, &e), &e);
    return c;
}

START_TEST(grammars)
{
    struct con *c = gbnf("root ::= expr # left recursion\n"
                         "expr ::= expr [-+] term | term\n"
                         "term ::= \"(\" expr \")\" |\n  [0-9]+\n");

    judge(c, TEXTS("1", "1+2-3", "((12))+4"), TEXTS("", "1+", "(1", "1)", "a"));
    con_free(c);
    c = gbnf("root ::= x*\nx ::= \"a\" x \"b\" | \"\" ");
    judge(c, TEXTS("", "ab", "aabb", "abaabb"), TEXTS("a", "aab", "ba"));
    con_free(c);
    c = gbnf("root ::= (p \" \"?){2,3}\np ::= \"<\" p? \">\"");
    judge(c, TEXTS("<><>", "<<>> <> <>"), TEXTS("<>", "<><><><>", "<>  <>"));
    con_free(c);
    c = gbnf("root ::= a b\na ::= b b | \"x\"\nb ::= a? | \"y\""); // empty, and hidden recursion
    judge(c, TEXTS("", "x", "xx", "xyx", "yyyyy"), TEXTS("z", "xz"));
    con_free(c);
    c = gbnf("root ::= [^\"\\x00-\\x1f]{2} . <[5]>");
    judge(c, TEXTS("\xc3\xa9z\n\xff[5]"), TEXTS("ab\n", "a\"\n\xff[5]"));
    con_free(c);
}
END_TEST

START_TEST(bad_grammars)
{
    static const struct {
        const char *src;
        int code;
        const char *part;
    } bad[] = {{"a ::= \"x\"", E_FORMAT, "root"},
               {"root ::= b", E_FORMAT, "'b' is not defined"},
               {"root ::= \"a\nb", E_FORMAT, "line 2"},
               {"root ::= (\"a\"", E_FORMAT, ")"},
               {"root = \"a\"", E_FORMAT, "::="},
               {"root ::= \"a\"\n\nroot ::= \"b\"", E_FORMAT, "line 3"},
               {"root ::= root \"a\"", E_FORMAT, "no text"},
               {"root ::= [z-a]", E_FORMAT, "range"},
               {"root ::= \"a\"{3,1}", E_RANGE, "range"},
               {"root ::= ((x{1000}){1000}){1000}\nx ::= \"a\" x \"b\" | \"\"", E_RANGE, "large"},
               {"root ::= <think>", E_UNSUPPORTED, "number"}};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct con *c;
        struct err e = {0};

        ck_fails(con_gbnf(&c, slice_of(bad[i].src), NULL, &e), &e, bad[i].code, bad[i].part);
    }
}
END_TEST

START_TEST(choices)
{
    const struct slice yes[] = {SLICE("positive"), SLICE("negative"), SLICE("neutral"),
                                SLICE("neg")};
    struct con *c;
    struct err e = {0};

    ck_ok(con_choice(&c, yes, 4, NULL, &e), &e);
    judge(c, TEXTS("positive", "neg", "negative"), TEXTS("", "nega", "neutrality"));
    con_free(c);
    ck_fails(con_choice(&c, yes, 0, NULL, &e), &e, E_FORMAT, "no text");
}
END_TEST

/* The mask has exactly those tokens whose bytes can be taken. */
static void check_mask(struct con_matcher *m, const struct con_vocab *v, struct con_state s)
{
    uint32_t mask[(N_TOKEN + 31) / 32];
    struct err e = {0};

    ck_ok(con_mask(m, s, mask, &e), &e);
    for (int32_t i = 0; i < N_TEXT; i++) {
        struct con_state to = s;
        bool can = v->text[i].n && con_bytes(m, &to, v->text[i], &e) == (int64_t)v->text[i].n;

        if (can != (mask[i / 32] >> i % 32 & 1))
            ck_abort_msg("token %d '%.*s' is %s", i, (int)v->text[i].n, v->text[i].p,
                         can ? "missing" : "too much");
    }
    if (con_can_stop(m, s) != (mask[N_TEXT / 32] >> N_TEXT % 32 & 1))
        ck_abort_msg("the end");
}

static void walk(const struct con *c, const char *text)
{
    struct tok *t = byte_vocab();
    struct con_vocab *v;
    struct con_matcher *m;
    struct con_state s;
    struct err e = {0};

    ck_ok(con_vocab_new(&v, t, &e), &e);
    ck_ok(con_matcher_new(&m, c, v, 0, &e), &e);
    s = con_begin(m);
    for (size_t i = 0;; i++) {
        check_mask(m, v, s);
        check_mask(m, v, s); // remembered
        if (!text[i])
            break;
        ck_assert_int_eq(con_bytes(m, &s, (struct slice){text + i, 1}, &e), 1);
    }
    ck_assert(con_can_stop(m, s));
    con_matcher_free(m);
    con_vocab_free(v);
    tok_free(t);
}

START_TEST(masks_are_exact)
{
    static const char schema[] =
        "{\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":40},\"a\":{\"items\":"
        "{\"type\":\"integer\",\"maximum\":120}}},\"required\":[\"name\"]}";
    struct con_opts line = {.line = true};
    struct con *c = gbnf("root ::= \"{\" (s \",\")* s \"}\"\ns ::= [a-z]+ | \"(\" s \")\"");
    struct err e = {0};

    walk(c, "{abc,hello,((a)),x}");
    con_free(c);
    ck_ok(con_schema(&c, SLICE(schema), NULL, &e), &e);
    walk(c, " {\"name\" : \"\\u0061b\xc3\xa9t\\n\",\n\"a\":[1, 12.0 ,-10],\"x\":{\"y\":[null]}}");
    con_free(c);
    ck_ok(con_schema(&c, SLICE(schema), &line, &e), &e);
    walk(c, "{\"name\": \"ab\\n \xc3\xa9\",\"a\": [1, 12],\"b\":1.5e10}");
    con_free(c);
    ck_ok(con_schema(&c, SLICE("{\"properties\":{\"u\":{\"format\":\"uri\"},\"h\":{\"format\":\"hostname\"},"
                               "\"s\":{\"minLength\":3,\"maxLength\":15},\"w\":{\"pattern\":\"^[a-z]*$\"}}}"),
                     &line, &e), &e);
    walk(c, "{\"u\":\"http://ab.yes/?10#hello%20\",\"h\":\"name.hello\",\"s\":\"abchello world\","
            "\"w\":\"helloabc\"}");
    con_free(c);
    c = regex("(yes|no) +[0-9]{1,3}");
    walk(c, "yes  10");
    con_free(c);
}
END_TEST

START_TEST(text_that_is_forced)
{
    struct con_opts line = {.line = true};
    struct tok *t = byte_vocab();
    struct con_vocab *v;
    struct con_matcher *m;
    struct con_state s;
    struct con *c;
    struct buf b = {0};
    struct err e = {0};
    int32_t id[64];
    int n;

    ck_ok(con_schema(&c, SLICE("{\"type\":\"object\",\"properties\":{\"name\":{\"const\":\"abcab\"}"
                               "},\"required\":[\"name\"],\"additionalProperties\":false}"),
                     &line, &e),
          &e);
    ck_ok(con_vocab_new(&v, t, &e), &e);
    ck_ok(con_matcher_new(&m, c, v, 0, &e), &e);
    s = con_begin(m);
    ck_ok(con_forced(m, s, 100, &b, &e), &e);
    ck_assert_str_eq(b.p, "{\"name\":"); // then a blank may come, or not
    n = con_forced_tokens(m, s, t, id, 64, &e);
    buf_clear(&b);
    for (int i = 0; i < n; i++) {
        buf_slice(&b, v->text[id[i]]);
        ck_assert_int_eq(con_accept(m, &s, id[i], &e), 1);
    }
    ck_assert_str_eq(b.p, "{\"name"); // but ": could be ": "
    ck_assert_int_eq(con_bytes(m, &s, SLICE("\": "), &e), 3);
    buf_clear(&b);
    ck_ok(con_forced(m, s, 100, &b, &e), &e);
    ck_assert_str_eq(b.p, "\"abcab\"}");
    n = con_forced_tokens(m, s, t, id, 64, &e);
    for (int i = 0; i < n; i++)
        ck_assert_int_eq(con_accept(m, &s, id[i], &e), 1);
    ck_assert(con_is_done(m, s));
    ck_assert_int_eq(con_accept(m, &s, 'x', &e), 0);
    ck_assert_int_eq(con_accept(m, &s, N_TEXT, &e), 1);
    buf_fini(&b);
    con_matcher_free(m);
    con_vocab_free(v);
    con_free(c);
    tok_free(t);
}
END_TEST

START_TEST(free_text_before)
{
    const struct slice think[] = {SLICE("</think>")}, call[] = {SLICE("<call>"), SLICE("[call]")};
    struct con_opts o = {.after = think, .n_after = 1};
    struct con *c;
    struct err e = {0};

    ck_ok(con_regex(&c, SLICE("\n*[0-9]+"), &o, &e), &e);
    judge(c, TEXTS("so </thin</think>\n42", "</think>1"), TEXTS("42", "</think>", "</think>x",
                                                                  "a</think>b</think>1"));
    con_free(c);
    o = (struct con_opts){.after = call, .n_after = 2, .maybe = true, .again = true};
    ck_ok(con_regex(&c, SLICE("[0-9]+;"), &o, &e), &e);
    judge(c, TEXTS("", "just text", "a<call>1;b[call]22;", "a<call>1; c"),
          TEXTS("a<call>", "a<call>x;", "a<call>1", "<call>1;[call]"));
    con_free(c);
}
END_TEST

START_TEST(limits_hold)
{
    struct con *c = gbnf("root ::= s\ns ::= s s | \"a\" | \"a\" s | s \"a\"");
    struct con_matcher *m;
    struct con_state s;
    struct err e = {0};
    int64_t n = 0;

    /* ambiguous beyond measure: the sets are the same ones over and over */
    ck_ok(con_matcher_new(&m, c, NULL, 4 << 20, &e), &e);
    s = con_begin(m);
    for (int i = 0; i < 200 && n >= 0; i++)
        n = con_bytes(m, &s, SLICE("aaaaaaaaaa"), &e);
    ck_assert(n == 10 || n == E_RANGE);
    con_matcher_free(m);
    con_free(c);
    e = (struct err){0};
    n = 0;
    c = regex("(a|b)*a(a|b){30}c"); // 2^31 states, of which some are looked at
    ck_ok(con_matcher_new(&m, c, NULL, 2 << 20, &e), &e);
    s = con_begin(m);
    for (int i = 0; i < 100000 && n >= 0; i++)
        n = con_bytes(m, &s, rng_bits(1, 0, (uint64_t)i, 0) & 4 ? SLICE("a") : SLICE("b"), &e);
    ck_assert_int_eq(n, E_RANGE);
    ck_assert(strstr(e.text, "2 MiB") != NULL);
    con_matcher_free(m);
    con_free(c);
}
END_TEST

START_TEST(memory_that_fails)
{
    for (long n = 0;; n++) {
        struct con *c = NULL;
        struct con_matcher *m = NULL;
        struct err e = {0};
        struct con_state s;
        int rc;

        mem_fail_after(n);
        rc = con_schema(&c,
                        SLICE("{\"anyOf\":[{\"properties\":{\"a\":{\"pattern\":\"x.y\"}}},"
                              "{\"not\":{\"minimum\":5}}]}"),
                        NULL, &e);
        if (rc == 0)
            rc = con_matcher_new(&m, c, NULL, 0, &e);
        if (rc == 0) {
            int64_t k;

            s = con_begin(m);
            k = con_bytes(m, &s, SLICE("{\"a\":\"axyy\"}"), &e);
            rc = k < 0 ? (int)k : 0;
        }
        mem_fail_after(-1);
        con_matcher_free(m);
        con_free(c);
        if (rc == 0)
            break;
        ck_assert_int_eq(rc, E_NOMEM);
    }
}
END_TEST

/* The field's own cases, and its grammar files. */
START_TEST(grammars_of_the_field)
{
    const char *path = testdata("schemas/grammar/accept_reject.json");
    json_t *all = path ? json_load_file(path, 0, NULL) : NULL, *one, *text;
    size_t i, k;

    json_array_foreach(all, i, one) {
        const char *src = json_string_value(json_object_get(one, "grammar"));
        struct con *c = src ? gbnf(src) : NULL;

        for (int yes = 0; c && yes < 2; yes++)
            json_array_foreach(json_object_get(one, yes ? "accept" : "reject"), k, text)
                ck_assert_msg(takes(c, json_string_value(text)) == yes, "%s: %s",
                              json_string_value(json_object_get(one, "name")),
                              json_string_value(text));
        con_free(c);
    }
    json_decref(all);
}
END_TEST

TEST_MAIN("text/constrain", regular_expressions, bad_regular_expressions, grammars, bad_grammars,
          choices, masks_are_exact, text_that_is_forced, free_text_before, limits_hold,
          memory_that_fails, grammars_of_the_field)
