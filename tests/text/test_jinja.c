/* test_jinja.c - the template engine, held against the reference's renderings. */
#include "tests/suite.h"

#include <dirent.h>
#include <jansson.h>
#include <time.h>

#include "base/file.h"
#include "base/mem.h"
#include "text/jinja.h"

enum { NOON = 1752148800 }; // 2025-07-10 12:00 UTC

static json_t *load(const char *path)
{
    json_error_t je;
    json_t *j = json_load_file(path, JSON_ALLOW_NUL, &je);

    ck_assert_msg(j, "%s:%d: %s", path, je.line, je.text);
    return j;
}

static int render_with(const char *source, size_t n, const json_t *context,
                       const struct jinja_limits *limits, struct jinja_text *out, struct err *e)
{
    struct jinja_var var[64];
    struct jinja *t;
    size_t k = 0;
    const char *key;
    json_t *v;
    int rc;

    setenv("TZ", "UTC", 1);
    json_object_foreach((json_t *)context, key, v)
    {
        enum jinja_mark mark = strcmp(key, "messages") == 0 ? JINJA_MESSAGES : JINJA_CONTENT;

        var[k++] = (struct jinja_var){key, v, strstr(key, "_token") ? JINJA_TRUSTED : mark};
    }
    rc = jinja_parse(&t, "t", (struct slice){source, n}, e);
    if (rc == 0)
        rc = jinja_render(t, var, k, NOON, limits, out, e);
    jinja_free(t);
    return rc;
}

static int render(const char *source, const json_t *context, struct jinja_text *out, struct err *e)
{
    return render_with(source, strlen(source), context, NULL, out, e);
}

static struct slice text_of(const struct jinja_text *t)
{
    return buf_view(&t->text);
}

/* What jinja2 made of templates written for this test, or that it refused. */
START_TEST(own_goldens)
{
    json_t *all = load(srcfile("tests/golden/text/jinja-own.json"));
    const json_t *cases = json_object_get(all, "cases");

    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        const char *source = json_string_value(json_object_get(c, "template"));
        const json_t *want = json_object_get(c, "text");
        struct jinja_text out = {0};
        struct err e = {0};
        int rc = render(source, json_object_get(all, "context"), &out, &e);

        if (json_is_null(want) ? rc == 0 : rc != 0)
            ck_abort_msg("%s\n%s", source, rc ? e.text : "was to be refused");
        if (rc == 0 && !slice_is(text_of(&out), json_string_value(want)))
            ck_abort_msg("%s\nwant: %s\ngot:  %s", source, json_string_value(want), out.text.p);
        jinja_text_fini(&out);
    }
    json_decref(all);
}
END_TEST

static uint64_t fnv(struct slice s)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3u;
    return h;
}

/* The source of a released template by the name the golden has for it. */
static char *released(const char *name, const json_t *ollama)
{
    char path[256];
    const char *hash = strchr(name, '#'), *at;
    struct file_view v;
    struct err e = {0};
    char *s;

    if (hash)
        return strdup(json_string_value(json_object_get(ollama, hash + 1)));
    snprintf(path, sizeof path, "templates/%s", name);
    at = testdata(path);
    ck_assert(at);
    ck_ok(file_read(&v, at, 0, &e), &e);
    s = mem_dup(v.p, v.n, NULL);
    file_unmap(&v);
    return s;
}

static json_t *ollama_templates(void)
{
    const char *path = testdata("templates/ollama/templates.jsonl");
    json_t *all = json_object();
    char *line = NULL;
    size_t cap = 0;
    FILE *f = fopen(path, "r");

    while (f && getline(&line, &cap, f) > 0) {
        json_t *j = json_loads(line, 0, NULL);

        json_object_update(all, j);
        json_decref(j);
    }
    fclose(f);
    free(line);
    return all;
}

/* Every released template of the test data in every conversation of the golden. */
START_TEST(released_templates)
{
    json_t *all = load(srcfile("tests/golden/text/jinja-templates.json")), *ollama, *want;
    const char *name;

    if (!testdata("templates/jinja/GLM-4.6.jinja")) {
        json_decref(all);
        return;
    }
    ollama = ollama_templates();
    json_object_foreach(json_object_get(all, "templates"), name, want)
    {
        char *source = released(name, ollama);
        size_t i = 0;
        const char *talk;
        json_t *context;

        json_object_foreach(json_object_get(all, "conversations"), talk, context)
        {
            const json_t *h = json_array_get(want, i++);
            struct jinja_text out = {0};
            struct err e = {0};
            char hex[20];
            int rc = render(source, context, &out, &e);

            snprintf(hex, sizeof hex, "%016llx", (unsigned long long)fnv(text_of(&out)));
            if (json_is_null(h) ? rc == 0 : rc != 0)
                ck_abort_msg("%s, %s: %s", name, talk, rc ? e.text : "was to be refused");
            if (rc == 0 && strcmp(hex, json_string_value(h)) != 0)
                ck_abort_msg("%s, %s: another text:\n%s", name, talk, out.text.p);
            jinja_text_fini(&out);
        }
        mem_free(source);
    }
    json_decref(ollama);
    json_decref(all);
}
END_TEST

/* Cases of other engines' suites that jinja2 itself does not render as they say, each looked at:
 * JavaScript spellings (true for True, 'x' + 1, null), and conversations that the template refuses
 * or whose text was recorded with another BOS. */
static bool differs(const char *name)
{
    static const char *const names[] = {
#include "tests/text/jinja_differs.inc"
    };

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static int one_case(const char *name, const char *source, const json_t *context, const char *want)
{
    struct jinja_text out = {0};
    struct err e = {0};
    int rc = render(source, context, &out, &e);
    bool same = rc == 0 && slice_is(text_of(&out), want);

    if (same == differs(name))
        ck_abort_msg("%s: %s\nwant: %.1000s\ngot:  %.1000s", name,
                     same ? "is the same after all" : "differs", want, rc ? e.text : out.text.p);
    jinja_text_fini(&out);
    return same;
}

/* A file of cases. One has a NUL in a key, which jansson refuses: it becomes U+0001, where it is
 * expected too. */
static json_t *load_cases(const char *path)
{
    struct file_view v;
    struct err e = {0};
    json_error_t je;
    json_t *j;
    char *s;

    ck_ok(file_read(&v, path, 0, &e), &e);
    s = mem_dup(v.p, v.n, NULL);
    for (char *p = s; (p = strstr(p, "u0000"));)
        p[4] = '1';
    j = json_loads(s, 0, &je);
    ck_assert_msg(j, "%s:%d: %s", path, je.line, je.text);
    mem_free(s);
    file_unmap(&v);
    return j;
}

START_TEST(case_files)
{
    static const char *const files[] = {"templates/cases/jinja_js_chat.json",
                                        "templates/cases/jinja_js_language.json"};

    for (size_t f = 0; f < ARRAY_LEN(files); f++) {
        const char *path = testdata(files[f]);
        json_t *all, *c;
        size_t i, same = 0;

        if (!path)
            return;
        all = load_cases(path);
        json_array_foreach(all, i, c)
        {
            const char *key = f ? "template" : "chat_template";

            same += (size_t)one_case(json_string_value(json_object_get(c, "name")),
                                     json_string_value(json_object_get(c, key)),
                                     json_object_get(c, f ? "context" : "data"),
                                     json_string_value(json_object_get(c, "expected")));
        }
        printf("%s: %zu of %zu as they say\n", files[f], same, json_array_size(all));
        json_decref(all);
    }
}
END_TEST

static json_t *six_messages(const json_t *extra)
{
    static const char *const said[][2] = {{"system", "You are a helpful assistant"},
                                          {"user", "Hello"},
                                          {"assistant", "Hi there"},
                                          {"user", "Who are you"},
                                          {"assistant", "   I am an assistant   "},
                                          {"user", "Another question"}};
    json_t *m = json_array();

    for (size_t i = 0; i < ARRAY_LEN(said); i++)
        json_array_append_new(m, json_pack("{ssss}", "role", said[i][0], "content", said[i][1]));
    for (size_t i = 0; i < json_array_size(extra); i++)
        json_array_append(m, json_array_get(extra, i));
    return m;
}

START_TEST(case_file_of_conversations)
{
    const char *path = testdata("templates/cases/llamacpp_chat_templates.json");
    json_t *all, *c;
    size_t i, same = 0;

    if (!path)
        return;
    all = load(path);
    json_array_foreach(all, i, c)
    {
        json_t *context =
            json_pack("{sosbsOsO}", "messages", six_messages(json_object_get(c, "extra_messages")),
                      "add_generation_prompt", 1, "bos_token", json_object_get(c, "bos_token"),
                      "eos_token", json_object_get(c, "eos_token"));
        const json_t *source = json_object_get(c, "chat_template");

        same +=
            (size_t)one_case(json_string_value(json_object_get(c, "name")),
                             json_string_value(source ? source : json_object_get(c, "template")),
                             context, json_string_value(json_object_get(c, "expected_jinja")));
        json_decref(context);
    }
    printf("%s: %zu of %zu as they say\n", "llamacpp", same, json_array_size(all));
    json_decref(all);
}
END_TEST

/* -- what came from whom -- */

/* The text with content between square brackets. */
static char *marked(const char *source, const char *context)
{
    json_t *c = json_loads(context, 0, NULL);
    struct jinja_text t = {0};
    struct buf b = {0};
    struct err e = {0};
    size_t at = 0;

    ck_assert(c);
    ck_ok(render(source, c, &t, &e), &e);
    for (size_t i = 0; i < t.n_content; i++) {
        buf_add(&b, t.text.p + at, t.content[i].at - at);
        buf_byte(&b, '[');
        buf_add(&b, t.text.p + t.content[i].at, t.content[i].n);
        buf_byte(&b, ']');
        at = t.content[i].at + t.content[i].n;
    }
    buf_add(&b, t.text.p ? t.text.p + at : "", t.text.n - at);
    jinja_text_fini(&t);
    json_decref(c);
    return b.p;
}

START_TEST(content_keeps_its_mark)
{
    static const char *const cases[][2] = {
        {"<{{ s }}>", "<[a b]>"},
        {"<{{ s | upper }}{{ s.title() }}>", "<[A BA B]>"},
        {"<{{ 'x' + s + 'y' }}>", "<x[a b]y>"},
        {"<{{ ('x' ~ s ~ 'y')[1:3] }}>", "<[a ]>"},
        {"<{{ ('x' ~ s ~ 'y') | replace('a', 'Q') }}>", "<xQ[ b]y>"},
        {"<{{ 'x-y' | replace('-', s) }}>", "<x[a b]y>"},
        {"<{{ [s, 'm', s] | join('+') }}>", "<[a b]+m+[a b]>"},
        {"<{{ (s ~ '|m').split('|') | join(';') }}>", "<[a b];m>"},
        {"<{{ (' ' ~ s ~ ' ') | trim }}>", "<[a b]>"},
        {"<{{ {'k': s} | tojson }}>", "<{\"k\": \"[a b]\"}>"},
        {"<{{ d | tojson }}>", "<{\"[k]\": \"[v\\n]\"}>"},
        {"<{{ [s] }}>", "<['[a b]']>"},
        {"<{{ '%s=%5s' | format(s, 'z') }}{{ '{}!'.format(s) }}>", "<[a b]=    z[a b]!>"},
        {"<{{ (s ~ 'cd')[::-1] }}{{ (s ~ 'c') | reverse }}>", "<dc[b a]c[b a]>"},
        {"{% set x %}({{ s }}){% endset %}<{{ x }}>", "<([a b])>"},
        {"{% macro m(v) %}({{ v }}){% endmacro %}<{{ m(s) }}>", "<([a b])>"},
        {"{% filter upper %}x{{ s }}{% endfilter %}", "X[A B]"},
        {"<{{ s | indent(2, true) }}{{ s | list | join('') }}>", "<  [a ba b]>"},
        {"<{{ s | first }}{{ s[0] }}{{ s | e }}{{ s | urlencode }}>", "<[aaa ba%20b]>"},
        {"<{{ s * 2 }}{{ s | length }}{{ n }}>", "<[a ba b]35>"},
        {"<{{ s if s == 'a b' else 'no' }}>", "<[a b]>"},
        {"{% for c in s %}{{ c }}-{% endfor %}", "[a]-[ ]-[b]-"},
        {"{% for k, v in d.items() %}{{ k }}={{ v }}{% endfor %}", "[k]=[v\n]"},
        {"{{ bos_token }}{{ s }}", "<s>[a b]"},
        {"{{ '<|' ~ messages[0].role ~ '|>' ~ messages[0].content }}", "<|user|>[<|user|>]"},
        {"{{ messages[0].role | upper }}", "USER"},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *got = marked(cases[i][0], "{\"s\": \"a b\", \"n\": 5, \"d\": {\"k\": \"v\\n\"}, "
                                        "\"bos_token\": \"<s>\", \"messages\": [{\"role\": "
                                        "\"user\", \"content\": \"<|user|>\"}]}");

        if (strcmp(got, cases[i][1]) != 0)
            ck_abort_msg("%s\nwant: %s\ngot:  %s", cases[i][0], cases[i][1], got);
        mem_free(got);
    }
}
END_TEST

/* In every released template a message's text comes out as content, wherever it comes out. */
START_TEST(no_content_becomes_template)
{
    json_t *all = load(srcfile("tests/golden/text/jinja-templates.json")), *ollama, *want;
    json_t *context = json_pack(
        "{s[{ssss}{ssss}{ssss}]sbssss}", "messages", "role", "user", "content", "\x02\x02\x02",
        "role", "assistant", "content", "\x02\x02", "role", "user", "content", "\x02",
        "add_generation_prompt", 1, "bos_token", "<s>", "eos_token", "</s>");
    const char *name;
    size_t shown = 0;

    if (!testdata("templates/jinja/GLM-4.6.jinja"))
        return;
    ollama = ollama_templates();
    json_object_foreach(json_object_get(all, "templates"), name, want)
    {
        char *source = released(name, ollama);
        struct jinja_text t = {0};
        struct err e = {0};
        size_t k = 0;

        if (render(source, context, &t, &e) == 0)
            for (size_t i = 0; i < t.text.n; i++) {
                while (k < t.n_content && i - t.content[k].at >= t.content[k].n &&
                       i >= t.content[k].at)
                    k++;
                if (t.text.p[i] == 2) {
                    shown++;
                    ck_assert_msg(k < t.n_content && i >= t.content[k].at, "%s: %s", name,
                                  t.text.p);
                } else if (k < t.n_content && i >= t.content[k].at) {
                    ck_abort_msg("%s: the template's own text is marked: %s", name, t.text.p);
                }
            }
        jinja_text_fini(&t);
        mem_free(source);
    }
    ck_assert_msg(shown > 200, "only %zu seen", shown);
    json_decref(context);
    json_decref(ollama);
    json_decref(all);
}
END_TEST

/* -- mistakes and limits -- */

START_TEST(mistakes_have_a_place)
{
    static const char *const cases[][2] = {
        {"a\n  {{ x.y }}", "t:2:8: 'x' is undefined"},
        {"{% if %}", "t:1:7: expected an expression, got '%}'"},
        {"{% if x %}\n\n", "expected '{% endif %}', got the end of the template"},
        {"é{{ 1 + 'a' }}", "t:1:7: unsupported operand types for +: 'int' and 'str'"},
        {"{{ raise_exception('Roles\nmust') }}", "t:1:4: Roles\nmust"},
        {"{{ 'a' | nosuch }}", "t:1:10: no filter named 'nosuch'"},
        {"{{ 1 is nosuch }}", "t:1:9: no test named 'nosuch'"},
        {"{{ 'open }}", "t:1:4: a string is not closed"},
        {"{{ (1 }}", "t:1:7: a bracket closes what is not open"},
        {"{% include 'etc' %}", "t:1:4: blocks, inheritance and includes are not supported"},
        {"{% for x in [1] %}{{ x }}{% endif %}", "t:1:29: expected a statement, got 'endif'"},
        {"{{ [].append(1) }}", "access to attribute 'append' is unsafe"},
        {"\xff", "t: the template is not UTF-8"},
    };
    json_t *none = json_object();

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct jinja_text out = {0};
        struct err e = {0};

        ck_fails(render(cases[i][0], none, &out, &e), &e, E_FORMAT, cases[i][1]);
        ck_assert_uint_eq(out.text.n, 0);
    }
    json_decref(none);
}
END_TEST

START_TEST(hostile_templates_end)
{
    static const char *const cases[] = {
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% set x = 'a' * 1000000 %}{{ x * 1000000 }}",
        "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}"
        "{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}"
        "{% endfor %}{{ ns.x }}",
        "{% set ns = namespace() %}{% set ns.a = [ns] %}{{ ns }}",
        "{% set ns = namespace() %}{% set ns.a = [ns] %}{{ ns | tojson }}",
        "{{ 'x' | center(10000000000) }}",
        "{{ '%99999999999d' % 1 }}",
        "{{ '{:>99999999999}'.format(1) }}",
        "{{ 10 ** 1000 }}",
        "{{ 'a'.ljust(99999999999) }}",
        "{{ [1] * 99999999999 }}",
        "{% for x in 'a' * 99999999 %}{{ x | upper }}{% endfor %}",
        "{{ range(99999) | map('string') | map('center', 99999) | join }}",
        "{% for i in range(99999) recursive %}{{ loop(range(99999)) }}{% endfor %}",
        "{{ ('a' * 99999).split('a') | map('replace', '', 'b' * 99999) | list }}",
    };
    json_t *none = json_object();

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct jinja_text out = {0};
        struct err e = {0};
        struct jinja_limits small = {.steps = 300000, .bytes = 16 << 20};
        int rc = render_with(cases[i], strlen(cases[i]), none, &small, &out, &e);

        ck_assert_msg(rc < 0, "%s gave %zu bytes", cases[i], out.text.n);
        ck_assert_msg(rc == E_RANGE || rc == E_FORMAT, "%s: %d", cases[i], rc);
        jinja_text_fini(&out);
    }
    json_decref(none);
}
END_TEST

/* n times open, then n times close. */
static char *nest(const char *open, const char *middle, const char *close, size_t n)
{
    struct buf b = {0};

    for (size_t i = 0; i < n; i++)
        buf_str(&b, open);
    buf_str(&b, middle);
    for (size_t i = 0; i < n; i++)
        buf_str(&b, close);
    return b.p;
}

START_TEST(deep_sources_are_refused)
{
    static const char *const cases[][3] = {
        {"{{ ", "(1)", " }}"},     {"{% if x %}", "", "{% endif %}"},
        {"{{ 1", " + 1", ""},      {"{{ not ", "1", ""},
        {"{{ - ", "1 }}", ""},     {"{% for a in b %}", "", "{% endfor %}"},
        {"{{ x", "", ""},          {"{# ", "", ""},
        {"{% set (a, ", "b", ")"}, {"{{ a if b else ", "c", ""}};
    static const char *const inner[] = {
        "(",    "[",    "{'a':", "not ",    "- ", "x if y else ", "a.b(",
        "a|b(", "1 + ", "1 ** ", "a is b(", "a[", "a and "};
    json_t *none = json_object();

    for (size_t i = 0; i < ARRAY_LEN(cases) + ARRAY_LEN(inner); i++) {
        struct buf b = {0};
        char *s = i < ARRAY_LEN(cases) ? nest(cases[i][0], cases[i][1], cases[i][2], 50000)
                                       : nest(inner[i - ARRAY_LEN(cases)], "1", "", 50000);
        struct jinja_text out = {0};
        struct err e = {0};

        if (i >= ARRAY_LEN(cases)) {
            buf_str(&b, "{{ ");
            buf_str(&b, s);
            buf_str(&b, " }}");
        }
        if (render(b.p ? b.p : s, none, &out, &e) == 0)
            ck_abort_msg("%.60s... was to be refused", b.p ? b.p : s);
        mem_free(s);
        buf_fini(&b);
    }
    json_decref(none);
}
END_TEST

START_TEST(memory_may_run_out)
{
    static const char source[] =
        "{% macro m(a, b=2) %}{{ a }}{{ caller() }}{% endmacro %}{% set ns = namespace(x=1) %}"
        "{% for m2 in messages if m2.role != 'x' %}{{ loop.index ~ m2.content | upper | trim }}"
        "{{ m2 | tojson(indent=2) }}{% call m(1) %}{{ m2.content.split('a') | join('-') }}"
        "{% endcall %}{% set ns.x = ns.x + 1 %}{% endfor %}{{ {'a': [1, (2, 3)]} }}"
        "{{ '%s' | format(ns.x) }}{{ messages | map(attribute='role') | sort | unique | list }}";
    json_t *c = json_pack("{s[{ssss}{ssss}]}", "messages", "role", "user", "content", "banana",
                          "role", "tool", "content", "<a>\n");
    struct jinja_text out = {0};
    struct err e = {0};
    long n = 0;

    for (;; n++) {
        int rc;

        mem_fail_after(n);
        rc = render(source, c, &out, &e);
        if (!mem_fail_hit()) {
            ck_ok(rc, &e);
            break;
        }
        ck_assert_msg(rc == E_NOMEM, "allocation %ld: %d", n, rc);
        ck_assert_uint_eq(out.text.n, 0);
        e = (struct err){0};
    }
    mem_fail_after(-1);
    ck_assert_int_gt(n, 4);
    jinja_text_fini(&out);
    json_decref(c);
}
END_TEST

/* -- speed -- */

static json_t *hundred_messages(const json_t *tools)
{
    json_t *m = json_array();

    for (int i = 0; i < 25; i++) {
        char id[16];

        snprintf(id, sizeof id, "call%05d", i);
        json_array_append_new(m, json_pack("{ssss}", "role", "user", "content",
                                           "What is the weather like in Paris over the next days, "
                                           "and should I take an umbrella or a hat with me?"));
        json_array_append_new(m, json_pack("{ssss s[{ssss s{sss{sssi}}}]}", "role", "assistant",
                                           "content", "", "tool_calls", "id", id, "type",
                                           "function", "function", "name", "get_weather",
                                           "arguments", "city", "Paris", "days", i));
        json_array_append_new(m, json_pack("{ssssssss}", "role", "tool", "tool_call_id", id, "name",
                                           "get_weather", "content",
                                           "{\"sky\": \"clear\", \"celsius\": [21, 22, 19]}"));
        json_array_append_new(m, json_pack("{ssss}", "role", "assistant", "content",
                                           "It will be clear all the time, so a hat will do."));
    }
    return json_pack("{sosOsbssss}", "messages", m, "tools", tools, "add_generation_prompt", 1,
                     "bos_token", "<s>", "eos_token", "</s>");
}

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Sanitizer builds run the tests with more time (Makefile). */
static bool slow_build(void)
{
    const char *more = getenv("CK_TIMEOUT_MULTIPLIER");

    return more && strcmp(more, "1") != 0;
}

struct speed {
    char name[80];
    size_t bytes;
    double seconds; // the least of some renderings
};

/* False: the template refuses this conversation. */
static bool measure(struct speed *s, const struct jinja *t, const json_t *context)
{
    struct jinja_var var[8];
    struct jinja_text out = {0};
    struct err e = {0};
    const char *key;
    json_t *value;
    size_t k = 0;
    bool good = true;

    json_object_foreach((json_t *)context, key, value) var[k++] =
        (struct jinja_var){key, value, strcmp(key, "messages") ? 0 : JINJA_MESSAGES};
    s->seconds = 1;
    for (int n = 0; n < 15 && good; n++) {
        double start = cpu_seconds();

        good = jinja_render(t, var, k, NOON, NULL, &out, &e) == 0;
        start = cpu_seconds() - start;
        s->seconds = start < s->seconds ? start : s->seconds;
    }
    s->bytes = out.text.n;
    jinja_text_fini(&out);
    return good;
}

static int slower_first(const void *a, const void *b)
{
    const struct speed *x = a, *y = b;

    return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

/* Every template in a folder; those that refuse tools are asked without. */
static size_t measure_folder(const char *folder, struct speed *s, size_t room,
                             const json_t *with_tools, const json_t *without)
{
    const char *path = testdata(folder);
    DIR *d = path ? opendir(path) : NULL;
    const struct dirent *f;
    char file[1024];
    size_t n = 0;

    while (d && n < room && (f = readdir(d))) {
        struct file_view v;
        struct jinja *t;
        struct err e = {0};

        if (!strstr(f->d_name, ".jinja"))
            continue;
        snprintf(file, sizeof file, "%s/%s", path, f->d_name);
        snprintf(s[n].name, sizeof s[n].name, "%.79s", f->d_name);
        ck_ok(file_read(&v, file, 0, &e), &e);
        ck_ok(jinja_parse(&t, "t", (struct slice){(const char *)v.p, v.n}, &e), &e);
        n += measure(&s[n], t, with_tools) || measure(&s[n], t, without);
        jinja_free(t);
        file_unmap(&v);
    }
    if (d)
        closedir(d);
    return n;
}

/* A hundred messages with tools, parsed once: under a millisecond in every template (asked for with
 * ample room, for machines that are slower or busy). */
START_TEST(a_hundred_messages)
{
    static struct speed s[100];
    json_t *all = load(srcfile("tests/golden/text/jinja-templates.json"));
    const json_t *talk = json_object_get(json_object_get(all, "conversations"), "tools");
    json_t *c = hundred_messages(json_object_get(talk, "tools"));
    json_t *plain = json_deep_copy(c), *m = json_object_get(plain, "messages");
    size_t n;

    json_object_del(plain, "tools");
    for (size_t i = 0; i < json_array_size(m); i++)
        json_array_set_new(m, i,
                           json_pack("{ssss}", "role", i % 2 ? "assistant" : "user", "content",
                                     "It will be clear, so a hat will do."));
    n = measure_folder("templates/jinja", s, ARRAY_LEN(s), c, plain);
    n += measure_folder("templates/mistral-common", s + n, ARRAY_LEN(s) - n, c, plain);
    qsort(s, n, sizeof *s, slower_first);
    for (size_t i = 0; i < n; i++) {
        if (i < 5)
            printf("%s: 100 messages, %zu bytes, %.0f us\n", s[i].name, s[i].bytes,
                   s[i].seconds * 1e6);
        if (!slow_build())
            ck_assert_msg(s[i].seconds < 0.003, "%s: %.0f us", s[i].name, s[i].seconds * 1e6);
    }
    if (n)
        ck_assert_uint_ge(n, 38);
    json_decref(plain);
    json_decref(c);
    json_decref(all);
}
END_TEST

TEST_MAIN("text/jinja", own_goldens, released_templates, case_files, case_file_of_conversations,
          content_keeps_its_mark, no_content_becomes_template, mistakes_have_a_place,
          hostile_templates_end, deep_sources_are_refused, memory_may_run_out, a_hundred_messages)
