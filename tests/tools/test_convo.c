/* test_convo.c - conversations: prompts that keep the drawn ids, answers with calls, sessions. */
#include "base/file.h"
#include "base/mem.h"
#include "tests/text/vocabs.h"
#include "tools/lib/convo.h"

static const char source[] =
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{% for c in m.tool_calls %}[{{ c.function.name }} {{ c.function.arguments | tojson }}]"
    "{% endfor %}{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}<|endoftext|>"
    "{% endfor %}{% if tools %}<tool_call>{% endif %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}";

static struct tok *open_convo(struct convo *c)
{
    struct tok *t = open_vocab("tokenizers/ggml-vocab/ggml-vocab-gpt-2.gguf");
    struct err e = {0};

    memset(c, 0, sizeof *c);
    if (t)
        ck_ok(convo_open(c, "test", SLICE(source), t, &e), &e);
    return t;
}

static void say(struct convo *c, const char *text)
{
    struct err e = {0};
    struct buf b = {0};

    buf_str(&b, text);
    ck_ok(convo_add(c, json_pack("{ssso}", "role", "user", "content", convo_text(&b)), &e), &e);
    buf_fini(&b);
}

/* An answer drawn byte by byte, as no tokenizer would. */
static void answer(struct convo *c, const char *text)
{
    struct convo_answer a = {0};
    struct tok_ids ids = {0};
    struct err e = {0};
    struct toolcall_event ev = {.kind = TC_TEXT, .text = slice_of(text)};

    ck_ok(convo_event(&a, &ev, &e), &e);
    for (const char *p = text; *p; p++)
        ck_ok(tok_encode(c->tok, (struct slice){p, 1}, TOK_AFTER, &ids, &e), &e);
    ck_ok(convo_answered(c, &a, ids.id, ids.n, &e), &e);
    tok_ids_fini(&ids);
    convo_answer_fini(&a);
}

static struct tok_ids prompt(struct convo *c, size_t want_kept)
{
    struct tok_ids copy = {0};
    struct err e = {0};
    bool open;

    ck_ok(convo_prompt(c, &open, &e), &e);
    ck_assert_uint_eq(convo_kept(c), want_kept);
    ck_assert(!open);
    for (size_t i = 0; i < c->ids.n; i++)
        ck_ok(tok_ids_add(&copy, c->ids.id[i], &e), &e);
    return copy;
}

/* The next prompt begins with the last one and the ids that were drawn behind it. */
START_TEST(drawn_ids_stay)
{
    struct convo c;
    struct tok *t = open_convo(&c);
    struct tok_ids a, b, d;
    struct buf text = {0};

    if (!t)
        return;
    say(&c, "Hello <|endoftext|> there");
    a = prompt(&c, 0);
    answer(&c, "The answer");
    say(&c, "More?");
    b = prompt(&c, 10);
    ck_assert_uint_gt(b.n, a.n + 10);
    ck_assert_int_eq(memcmp(a.id, b.id, a.n * sizeof *a.id), 0);
    answer(&c, "Yes.");
    convo_cut(&c, 2); // undo
    say(&c, "Other?");
    d = prompt(&c, 10);
    ck_assert_int_eq(memcmp(b.id, d.id, (a.n + 10) * sizeof *a.id), 0);
    tok_decode(t, d.id, d.n, TOK_SHOW, &text);
    ck_assert_str_eq(text.p, "<user>Hello <|endoftext|> there<|endoftext|><assistant>The answer"
                             "<|endoftext|><user>Other?<|endoftext|><assistant>");
    /* what the user wrote is no control token: one end for each message */
    ck_assert_int_eq(tok_find(t, SLICE("<|endoftext|>")), tok_role_id(t, TOK_EOS));
    for (size_t i = 0, ends = 0; i <= d.n; i++) {
        if (i == d.n)
            ck_assert_uint_eq(ends, 3);
        else
            ends += d.id[i] == tok_role_id(t, TOK_EOS);
    }
    buf_fini(&text);
    tok_ids_fini(&a);
    tok_ids_fini(&b);
    tok_ids_fini(&d);
    convo_close(&c);
    tok_free(t);
}
END_TEST

START_TEST(calls)
{
    struct convo c;
    struct tok *t = open_convo(&c);
    struct convo_answer a = {0};
    struct err e = {0};
    const struct toolcall_event *ev;
    struct toolcall_opts o = {0};
    struct toolcall *p;
    char *s;
    int n;

    if (!t)
        return;
    ck_assert_str_eq(c.format->name, "hermes");
    o.format = c.format;
    ck_ok(toolcall_new(&p, &o, &e), &e);
    n = toolcall_feed(
        p,
        SLICE("Wait.<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}</tool_call>"
              "<tool_call>{\"name\": \"g\", \"arguments\": {\"a\" 1}}</tool_call>"),
        false, &ev, &e);
    for (int i = 0; i < n; i++)
        ck_ok(convo_event(&a, &ev[i], &e), &e);
    toolcall_free(p);
    ck_ok(convo_answered(&c, &a, NULL, 0, &e), &e);
    ck_assert_int_eq(c.calls, 2);
    s = json_dumps(json_array_get(c.messages, 0), 0);
    ck_assert_ptr_nonnull(strstr(s, "\"content\": \"Wait.\""));
    ck_assert_ptr_nonnull(strstr(s, "{\"name\": \"f\", \"arguments\": {\"a\": 1}}"));
    ck_assert_ptr_nonnull(strstr(s, "\"arguments\": {\"invalid_json\": \"{\\\"a\\\" 1}}\"}"));
    free(s);
    convo_answer_fini(&a);
    convo_close(&c);
    tok_free(t);
}
END_TEST

START_TEST(reasoning)
{
    struct convo c;
    struct tok *t = open_convo(&c);
    struct convo_answer a = {0};
    struct err e = {0};
    bool open;

    if (!t)
        return;
    buf_str(&a.reasoning, "hm");
    buf_str(&a.content, "42");
    ck_ok(convo_answered(&c, &a, NULL, 0, &e), &e);
    for (int k = 0; k < 3; k++) {
        c.policy = (enum reasoning_policy)k;
        ck_ok(convo_prompt(&c, &open, &e), &e);
        ck_assert(!strstr(c.text.p, "(hm)") == (k == REASONING_STRIP));
    }
    convo_answer_fini(&a);
    convo_close(&c);
    tok_free(t);
}
END_TEST

static void expect_roles(const struct convo *c, const char *want)
{
    struct buf b = {0};

    for (size_t i = 0; i < convo_count(c); i++)
        buf_printf(&b, "%c", convo_role(c, i)[0]);
    ck_assert_str_eq(b.p ? b.p : "", want);
    ck_assert_uint_eq(c->n_turn, convo_count(c));
    buf_fini(&b);
}

START_TEST(system_and_sessions)
{
    const char *path = tmpfile_path("session.jsonl");
    struct convo c, d;
    struct tok *t = open_convo(&c);
    struct err e = {0};
    struct file_out *f;
    char *model;

    if (!t)
        return;
    say(&c, "Hi \xff there");
    answer(&c, "Yes?");
    ck_ok(convo_system(&c, SLICE("Be brief."), &e), &e);
    expect_roles(&c, "sua");
    ck_ok(convo_system(&c, SLICE("Be long."), &e), &e);
    expect_roles(&c, "sua");
    ck_ok(convo_save(&c, path, "m.gguf", &e), &e);
    ck_ok(convo_system(&c, SLICE(""), &e), &e);
    expect_roles(&c, "ua");

    memset(&d, 0, sizeof d);
    ck_ok(convo_open(&d, "test", SLICE(source), t, &e), &e);
    ck_ok(convo_load(&d, path, &model, &e), &e);
    ck_assert_str_eq(model, "m.gguf");
    mem_free(model);
    expect_roles(&d, "sua");
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(d.messages, 1), "content")),
                     "Hi \xef\xbf\xbd there");

    ck_ok(file_create(&f, path, &e), &e);
    ck_ok(file_write(f, "{\"rill_chat\":1}\n{\"content\":1}\n", 31, &e), &e);
    ck_ok(file_commit(f, &e), &e);
    ck_fails(convo_load(&d, path, &model, &e), &e, E_FORMAT, ":2: a message without a role");
    expect_roles(&d, "sua"); // as it was
    unlink(path);
    convo_close(&c);
    convo_close(&d);
    tok_free(t);
}
END_TEST

TEST_MAIN("tools/convo", drawn_ids_stay, calls, reasoning, system_and_sessions)
