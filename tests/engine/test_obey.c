/* Answers under a constraint: they obey it, end with it, and are the same bytes whether what is
 * forced takes steps of the model or none. Uses the model that comes with rill. */
#include "tests/suite.h"

#include "base/buf.h"
#include "rill.h"

struct answer {
    struct buf text;
    int finish;
    uint64_t forced, steps;
};

static struct answer ask(struct rill_model *m, const struct rill_constraint *c, uint64_t seed,
                         bool no_forward, int max)
{
    struct rill_engine_opts o = {.max_seq = 2, .n_ctx = 256};
    struct rill_request q = {.max_tokens = max, .constraint = c, .no_forward = no_forward};
    struct answer a = {0};
    struct rill_engine *g;
    struct rill_stats stats;
    struct rill_event ev[32];
    struct err e = {0};
    int32_t *ids;
    int n, number;

    ck_ok(rill_engine_open(&g, m, &o, &e), &e);
    ck_ok(rill_tokenize(m, "Once upon a time", 16, RILL_ADD_SPECIAL, &ids, &q.n_ids, &e), &e);
    q.ids = ids;
    q.sampling = rill_sampling_defaults();
    q.sampling.temperature = 1.5f;
    q.sampling.seed = seed;
    q.sampling.has_seed = true;
    ck_ok(rill_engine_submit(g, &q, &number, &e), &e);
    while ((n = rill_engine_step(g, ev, 32, &e)) > 0)
        for (int i = 0; i < n; i++) {
            buf_add(&a.text, ev[i].text, ev[i].n_text);
            if (ev[i].kind == RILL_DONE)
                a.finish = ev[i].finish;
        }
    ck_assert_msg(n == 0, "%s", e.text);
    rill_engine_stats(g, &stats);
    a.forced = stats.forced;
    a.steps = stats.steps;
    rill_free(ids);
    rill_engine_close(g);
    return a;
}

static struct rill_model *open_model(void)
{
    struct rill_model *m;
    struct err e = {0};

    ck_ok(rill_model_open(&m, RILL_SRCDIR "/share/rill-tales.gguf", NULL, &e), &e);
    return m;
}

START_TEST(answers_obey)
{
    static const char src[] =
        "{\"type\":\"object\",\"properties\":{\"colour\":{\"enum\":[\"red\",\"green\"]},\"size\":{"
        "\"type\":\"integer\",\"minimum\":1,\"maximum\":99}},\"required\":[\"colour\",\"size\"],"
        "\"additionalProperties\":false}";
    const struct rill_stop text = {src, sizeof src - 1};
    const struct rill_constraint_opts in_order = {.ordered = true};
    struct rill_model *m = open_model();
    struct rill_constraint *c;
    struct err e = {0};

    ck_ok(rill_constraint_new(&c, RILL_SCHEMA, &text, 1, &in_order, &e), &e);
    for (uint64_t seed = 0; seed < 6; seed++) {
        struct answer a = ask(m, c, seed, false, 0), b = ask(m, c, seed, true, 0);
        char colour[16] = "", end;
        int size = 0;

        ck_assert_int_eq(a.finish, RILL_STOP);
        ck_assert_str_eq(a.text.p, b.text.p);
        ck_assert_msg(strncmp(a.text.p, "{\"colour\":", 10) == 0, "%s", a.text.p);
        ck_assert_msg(sscanf(a.text.p, "{\"colour\": \"%15[a-z]\", \"size\": %d%c", colour, &size,
                             &end) == 3 &&
                          (strcmp(colour, "red") == 0 || strcmp(colour, "green") == 0) &&
                          size >= 1 && size <= 99 && end == '}',
                      "%s", a.text.p);
        ck_assert_uint_gt(a.forced, 0);
        ck_assert_uint_lt(a.steps, b.steps);
        buf_fini(&a.text);
        buf_fini(&b.text);
    }
    rill_constraint_free(c);
    rill_model_close(m);
}
END_TEST

/* Properties in any order, each once: what is forced is forced in every order. */
START_TEST(any_order)
{
    static const char src[] =
        "{\"type\":\"object\",\"properties\":{\"she\":{\"const\":1},\"to\":{\"const\":\"x y z\"}},"
        "\"required\":[\"she\",\"to\"],\"additionalProperties\":false}";
    const struct rill_stop text = {src, sizeof src - 1};
    struct rill_model *m = open_model();
    struct rill_constraint *c;
    struct err e = {0};
    int first = 0, n = 24;

    ck_ok(rill_constraint_new(&c, RILL_SCHEMA, &text, 1, NULL, &e), &e);
    for (int seed = 0; seed < n; seed++) {
        struct answer a = ask(m, c, (uint64_t)seed, false, 0),
                      b = ask(m, c, (uint64_t)seed, true, 0);

        ck_assert_int_eq(a.finish, RILL_STOP);
        ck_assert_str_eq(a.text.p, b.text.p);
        ck_assert_uint_gt(a.forced, 0);
        ck_assert(strstr(a.text.p, "\"she\":") && strstr(a.text.p, "\"to\":"));
        first += a.text.p[2] == 's';
        buf_fini(&a.text);
        buf_fini(&b.text);
    }
    ck_assert_msg(first > 0 && first < n, "%d of %d", first, n);
    rill_constraint_free(c);
    rill_model_close(m);
}
END_TEST

/* Calls by the chat's template: held to the tools of the request, or what cannot be said why. */
START_TEST(calls_of_tools)
{
    static const char hermes[] = "{% for m in messages %}{{ m.content }}{% endfor %}{% if tools %}"
                                 "<tool_call>{% endif %}";
    static const char plain[] = "{% for m in messages %}{{ m.content }}{% endfor %}";
#define TOOL                                                                                       \
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"look\",\"parameters\":{\"type\":"        \
    "\"object\",\"properties\":{\"where\":{\"enum\":[\"up\",\"down\"]}},\"required\":[\"where\"],"     \
    "\"additionalProperties\":false}}}]"
    static const char must[] =
        "{" TOOL ",\"tool_choice\":\"required\",\"parallel_tool_calls\":false}";
    static const char other[] = "{" TOOL ",\"tool_choice\":{\"function\":{\"name\":\"run\"}}}";
    static const char up[] = "<tool_call>\n{\"name\": \"look\", \"arguments\": {\"where\":";
    static const char asked[] = "[{\"role\":\"user\",\"content\":\"hi\"}]";
    struct rill_model *m = open_model();
    struct rill_constraint *c;
    struct rill_prompt p;
    struct rill_chat *chat;
    struct err e = {0};

    ck_ok(rill_chat_open(&chat, m, "t", hermes, sizeof hermes - 1, &e), &e);
    ck_ok(rill_chat_tools(&c, chat, NULL, must, sizeof must - 1, NULL, &e), &e);
    for (uint64_t seed = 0; seed < 3; seed++) {
        struct answer a = ask(m, c, seed, false, 0);
        const char *at = a.text.p + strspn(a.text.p, " \t\r\n");

        ck_assert_int_eq(a.finish, RILL_STOP);
        ck_assert_msg(strncmp(at, up, sizeof up - 1) == 0 && strstr(at, "\"}}\n</tool_call>"), "%s",
                      a.text.p);
        buf_fini(&a.text);
    }
    rill_constraint_free(c);
    ck_ok(rill_chat_tools(&c, chat, "glm-4.5", "{}", 2, NULL, &e), &e);
    ck_assert_ptr_null(c); // nothing to call, nothing to hold
    ck_fails(rill_chat_tools(&c, chat, NULL, other, sizeof other - 1, NULL, &e), &e, E_FORMAT,
             "no tool of the request");
    e = (struct err){0};
    ck_fails(rill_chat_tools(&c, chat, "morse", must, sizeof must - 1, NULL, &e), &e, E_USAGE,
             "morse");
    rill_chat_close(chat);
    e = (struct err){0};
    ck_ok(rill_chat_open(&chat, m, "t", plain, sizeof plain - 1, &e), &e);
    ck_assert_ptr_null(rill_chat_stop(chat)); // a template's own end is a token
    ck_ok(rill_chat_prompt(chat, asked, sizeof asked - 1, &p, &e), &e);
    ck_assert_uint_eq(p.n_text, 2);
    ck_assert_int_eq(memcmp(p.text, "hi", 2), 0);
    ck_assert_uint_gt(p.n_ids, 0);
    rill_prompt_free(&p);
    ck_fails(rill_chat_tools(&c, chat, NULL, must, sizeof must - 1, NULL, &e), &e, E_UNSUPPORTED,
             "knows no tools");
    rill_chat_close(chat);
    rill_model_close(m);
}
END_TEST

START_TEST(a_cut_answer_says_so)
{
    const struct rill_stop text[] = {{"yesterday", 9}, {"yes", 3}};
    const struct rill_stop regex = {"[a-z]{40}", 9};
    struct rill_model *m = open_model();
    struct rill_constraint *c;
    struct answer a;
    struct err e = {0};

    ck_ok(rill_constraint_new(&c, RILL_REGEX, &regex, 1, NULL, &e), &e);
    a = ask(m, c, 1, false, 3);
    ck_assert_int_eq(a.finish, RILL_LENGTH);
    buf_fini(&a.text);
    rill_constraint_free(c);
    ck_ok(rill_constraint_new(&c, RILL_CHOICE, text, 2, NULL, &e), &e);
    a = ask(m, c, 1, false, 0);
    ck_assert_int_eq(a.finish, RILL_STOP);
    ck_assert(strcmp(a.text.p, "yes") == 0 || strcmp(a.text.p, "yesterday") == 0);
    buf_fini(&a.text);
    rill_constraint_free(c);
    rill_model_close(m);
}
END_TEST

TEST_MAIN("engine/obey", answers_obey, any_order, calls_of_tools, a_cut_answer_says_so)
