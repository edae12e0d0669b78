/* Answers that call tools: whatever is generated under the constraint, the parser makes calls of
 * listed tools of it with arguments that obey their schemas; what is refused; what a request says.
 */
#include "constraints.h"

#include <stdlib.h>

#include "base/rng.h"
#include "text/chat.h"
#include "text/constrain_tools.h"
#include "text/toolcall_in.h"

static const char tools_json[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"parameters\":{\"type\":"
    "\"object\",\"properties\":{\"city\":{\"type\":\"string\",\"minLength\":1},\"days\":{\"type\":"
    "\"integer\",\"minimum\":1,\"maximum\":14},\"hourly\":{\"type\":\"boolean\"},\"tags\":{"
    "\"type\":\"array\",\"items\":{\"enum\":[\"a\",\"b\\n\\\"c\",null]},\"maxItems\":3}},"
    "\"required\":[\"city\",\"days\"],\"additionalProperties\":false}}},"
    "{\"name\":\"now\"},"
    "{\"name\":\"find\",\"parameters\":{\"type\":\"object\",\"properties\":{\"q\":{\"anyOf\":[{"
    "\"type\":\"string\"},{\"type\":\"number\"},{\"type\":\"null\"}]},\"at\":{\"$ref\":"
    "\"#/$defs/at\"},\"f\":{\"type\":\"number\",\"exclusiveMinimum\":0},\"any\":{}},\"required\":["
    "\"q\"],\"$defs\":{\"at\":{\"type\":\"object\",\"properties\":{\"x\":{\"type\":\"number\"},"
    "\"s\":{\"type\":\"string\"},\"at\":{\"$ref\":\"#/$defs/at\"}},\"additionalProperties\":false}"
    "}}}]";

/* -- a vocabulary of all bytes, the pieces of `longer`, and a format's marks as tokens ----- */

struct marked {
    struct tok *t;
    char byte[256];
    struct slice piece[512];
    uint8_t kind[512];
    uint32_t n;
};

static void add_piece(struct marked *v, const char *s, enum tok_kind kind)
{
    for (uint32_t i = 0; s && i < v->n; i++)
        if (slice_is(v->piece[i], s))
            return;
    if (!s || strlen(s) < 2)
        return;
    v->kind[v->n] = (uint8_t)kind;
    v->piece[v->n++] = slice_of(s);
}

static void marked_init(struct marked *v, const struct toolcall_format *f, enum tok_kind kind)
{
    const struct toolcall_read *rd = f->read;
    const char *const marks[] = {rd->section, rd->call, rd->call_end, rd->section_end,
                                 rd->key_open, rd->value_close, rd->delim};
    static const char *const harmony[] = {"<|start|>", "<|channel|>", "<|message|>", "<|end|>",
                                          "<|return|>", "<|call|>"};
    struct tok_spec s;
    struct err e = {0};

    *v = (struct marked){0};
    tok_spec_init(&s);
    for (int i = 0; i < 256; i++) {
        v->byte[i] = (char)i;
        v->piece[v->n] = (struct slice){&v->byte[i], 1};
        v->kind[v->n++] = TOK_NORMAL;
    }
    for (size_t i = 0; i < ARRAY_LEN(marks); i++)
        add_piece(v, marks[i], kind);
    for (size_t i = 0; rd->style == READ_HARMONY && i < ARRAY_LEN(harmony); i++)
        add_piece(v, harmony[i], kind);
    add_piece(v, "<think>", kind);
    add_piece(v, "</think>", kind);
    for (size_t i = 0; i < ARRAY_LEN(longer); i++)
        add_piece(v, longer[i], TOK_NORMAL);
    add_piece(v, "<end>", TOK_CONTROL);
    s.model = TOK_BPE;
    s.n = v->n;
    s.piece = v->piece;
    s.kind = v->kind;
    s.raw_bytes = true;
    s.role[TOK_EOS] = (int32_t)v->n - 1;
    ck_ok(tok_new(&v->t, &s, &e), &e);
}

static bool is_control(void *ctx, struct slice mark)
{
    const struct tok *t = ctx;

    return tok_kind_of(t, tok_find(t, mark)) == TOK_CONTROL;
}

/* -- sampling, and what the parser makes of it ------------------------------------------------- */

struct drawn {
    struct toolcall *p;
    const struct con_vocab *v;
    const struct tok *t;
    struct buf out;        // as text
    struct buf name, args; // of the call being read
    const json_t *tools;
    struct con_matcher **judge; // [tools] made when first asked
    int calls;
    uint32_t seed;
};

static uint32_t pick(struct drawn *d, uint32_t n)
{
    return (uint32_t)(rng_bits(d->seed, 7, (uint64_t)d->out.n * 64 + d->seed % 64, n) % n);
}

static struct con *judged[8]; // of the answers being drawn
static int n_judged;

/* Which of the tools is called, and its schema. */
static size_t tool_of(const struct drawn *d, const json_t **schema)
{
    const json_t *x;
    size_t i;

    json_array_foreach(d->tools, i, x) {
        const json_t *f = json_object_get(x, "function");

        f = f ? f : x;
        *schema = json_object_get(f, "parameters");
        if (slice_is(buf_view(&d->name), json_string_value(json_object_get(f, "name"))))
            return i;
    }
    ck_abort_msg("a call of '%s' in %s", d->name.p, d->out.p);
}

static struct con_matcher *judge_of(const json_t *schema)
{
    const struct con_opts o = {0};
    char *src = schema ? json_dumps(schema, 0) : NULL;
    struct con_matcher *m;
    struct con *c;
    struct err e = {0};

    ck_ok(con_schema(&c, slice_of(src ? src : "{\"type\":\"object\",\"maxProperties\":0}"), &o,
                     &e), &e);
    ck_ok(con_matcher_new(&m, c, NULL, 0, &e), &e);
    free(src);
    judged[n_judged++] = c;
    return m;
}

/* The arguments are an object that the tool's schema allows. */
static void check_call(struct drawn *d)
{
    const json_t *schema;
    struct con_matcher **m = &d->judge[tool_of(d, &schema)];

    if (!*m)
        *m = judge_of(schema);
    ck_assert_msg(says(*m, buf_view(&d->args)), "%s: arguments %s\nof %s", d->name.p, d->args.p,
                  d->out.p);
    d->calls++;
}

static void events(struct drawn *d, const struct toolcall_event *ev, int n)
{
    ck_assert_int_ge(n, 0);
    for (int i = 0; i < n; i++) {
        if (ev[i].kind == TC_BEGIN) {
            buf_clear(&d->name);
            buf_clear(&d->args);
            buf_slice(&d->name, ev[i].name);
        } else if (ev[i].kind == TC_ARGS) {
            buf_slice(&d->args, ev[i].text);
        } else if (ev[i].kind == TC_END) {
            ck_assert_msg(ev[i].complete, "cut: %s", d->out.p);
            check_call(d);
        } else if (ev[i].kind == TC_ERROR) {
            ck_abort_msg("%.*s: %s", (int)ev[i].text.n, ev[i].text.p, d->out.p);
        }
    }
}

static void take(struct drawn *d, int32_t id)
{
    const struct toolcall_event *ev;
    struct err e = {0};
    struct slice s = tok_piece(d->t, id);
    bool control = tok_kind_of(d->t, id) == TOK_CONTROL;
    int n = toolcall_feed(d->p, s, control, &ev, &e);

    buf_slice(&d->out, s);
    events(d, ev, n);
}

/* The token to go on with: closing ones are likelier, or nothing would ever end. */
static int32_t draw(struct drawn *d, const uint32_t *mask)
{
    uint32_t total = 0;
    int32_t id = -1;

    for (int32_t i = 0; i < (int32_t)d->v->n; i++)
        if (mask[i / 32] >> i % 32 & 1) {
            bool mark = i >= 256 && tok_piece(d->t, i).n > 6;
            uint32_t w = mark ? 300 : i < 256 && i && strchr("\"}])<\n:=", i) ? 60 : 1;

            total += w;
            if (pick(d, total) < w)
                id = i;
        }
    return id;
}

/* One answer; begin: text to begin with, token by token. True when it ended. */
static bool answer(struct drawn *d, struct con_matcher *m, const char *begin)
{
    const struct toolcall_event *ev;
    uint32_t mask[16];
    struct con_state s = con_begin(m);
    struct tok_ids ids = {0};
    struct err e = {0};
    bool ended = false;

    ck_ok(tok_encode(d->t, slice_of(begin), TOK_PARSE, &ids, &e), &e);
    for (size_t step = 0; step < 600 && !ended; step++) {
        int32_t id;

        ck_ok(con_mask(m, s, mask, &e), &e);
        id = step < ids.n ? ids.id[step] : draw(d, mask);
        ended = con_can_stop(m, s) && step >= ids.n && (id < 0 || pick(d, 4) == 0);
        if (ended)
            break;
        ck_assert_msg(id >= 0, "a dead end behind %s", buf_view(&d->out).p);
        ck_assert_msg(mask[id / 32] >> id % 32 & 1, "'%s' cannot begin with %s", begin,
                      tok_piece(d->t, id).p);
        ended = tok_is_end(d->t, id);
        if (ended)
            break;
        take(d, id);
        ck_assert_int_eq(con_accept(m, &s, id, &e), 1);
    }
    if (ended) {
        int n = toolcall_finish(d->p, &ev, &e);

        events(d, ev, n);
    }
    tok_ids_fini(&ids);
    return ended;
}

/* Draws n answers of the format, or up to most until one has ended with a call; how many calls were
 * in those that ended. */
static int draw_answers(const struct toolcall_format *f, const struct con_tools *how,
                        enum tok_kind kind, int n, int most, const char *begin)
{
    json_t *tools = json_loads(tools_json, 0, NULL);
    struct con_tools t = *how;
    struct con_matcher *m, *judge[3] = {NULL};
    struct con_vocab *v;
    struct marked voc;
    struct con *c;
    struct err e = {0};
    int calls = 0;

    ck_assert(tools != NULL);
    marked_init(&voc, f, kind);
    t.format = f;
    t.tools = t.tools ? t.tools : tools;
    t.tok = voc.t;
    ck_assert_msg(con_tools(&c, &t, &e) == 0, "%s: %s", t.format->name, e.text);
    ck_ok(con_vocab_new(&v, voc.t, &e), &e);
    ck_ok(con_matcher_new(&m, c, v, 0, &e), &e);
    for (int i = 0; i < n || (calls == 0 && i < most); i++) {
        struct drawn d = {.v = v, .t = voc.t, .tools = t.tools, .judge = judge,
                          .seed = (uint32_t)i + 1};
        struct toolcall_opts o = {.format = f, .tools = t.tools, .reasoning = t.reasoning,
                                  .in_reasoning = t.in_reasoning, .is_control = is_control,
                                  .ctx = voc.t};

        ck_ok(toolcall_new(&d.p, &o, &e), &e);
        if (answer(&d, m, begin)) {
            ck_assert_msg(t.choice != CON_REQUIRED || d.calls > 0, "%s, no call: %s",
                          f->name, d.out.p);
            ck_assert_msg(t.choice != CON_NONE || d.calls == 0, "a call: %s", d.out.p);
            ck_assert_msg(t.parallel || d.calls <= 1, "two calls: %s", d.out.p);
            calls += d.calls;
        }
        toolcall_free(d.p);
        buf_fini(&d.out);
        buf_fini(&d.name);
        buf_fini(&d.args);
    }
    con_matcher_free(m);
    for (int i = 0; i < 3; i++)
        con_matcher_free(judge[i]);
    while (n_judged > 0)
        con_free(judged[--n_judged]);
    con_vocab_free(v);
    con_free(c);
    tok_free(voc.t);
    json_decref(tools);
    return calls;
}

/* Harmony's answers are messages, which may be many before a call. */
static const char *first(const struct toolcall_format *f)
{
    return f->read->style == READ_HARMONY ? "<|channel|>commentary to=functions." : "";
}

START_TEST(calls_that_must_come)
{
    const struct toolcall_format *f;

    for (size_t i = 0; (f = toolcall_at(i)); i++) {
        const struct con_tools one = {.choice = CON_REQUIRED},
                               many = {.choice = CON_REQUIRED, .parallel = true};

        ck_assert_msg(draw_answers(f, &one, TOK_NORMAL, 3, 60, first(f)) > 0, "%s", f->name);
        ck_assert_msg(draw_answers(f, &many, TOK_CONTROL, 3, 60, first(f)) > 0, "%s", f->name);
    }
}
END_TEST

START_TEST(calls_that_may_come)
{
    const struct toolcall_format *f;

    for (size_t i = 0; (f = toolcall_at(i)); i++) {
        bool harmony = f->read->style == READ_HARMONY;
        const struct con_tools t = {.parallel = true,
                                    .reasoning = reasoning_find(harmony ? "harmony" : "think")},
                               none = {.choice = CON_NONE, .reasoning = t.reasoning};
        struct buf b = {0};

        if (harmony)
            buf_str(&b, "<|channel|>analysis<|message|>Well.<|end|><|start|>assistant");
        else if (!f->read->bare)
            buf_str(&b, "<think>\nwell</think>\n\nWait. ");
        buf_str(&b, f->form.begin ? f->form.begin : "");
        if (harmony)
            buf_str(&b, first(f));
        else if (!f->form.begin && f->form.open)
            buf_add(&b, f->form.open, strcspn(f->form.open, "%"));
        ck_assert_msg(draw_answers(f, &t, TOK_CONTROL, 3, 80, buf_view(&b).p), "%s", f->name);
        ck_assert_msg(draw_answers(f, &t, TOK_NORMAL, 3, 80, buf_view(&b).p), "%s", f->name);
        draw_answers(f, &t, TOK_NORMAL, 2, 0, harmony ? "" : "So <");
        draw_answers(f, &none, TOK_CONTROL, 2, 0, harmony ? "" : "Hm ");
        buf_fini(&b);
    }
}
END_TEST

/* Formats derived from templates that no table knows: calls with JSON, with tags, as Python. */
START_TEST(calls_in_derived_formats)
{
#define TURN(calls)                                                                                \
    "{% for m in messages %}{% if m.role != 'tool' %}<{{ m.role }}>{{ m.content }}{% endif %}"     \
    "{% for c in m.tool_calls %}{% set f = c.function %}" calls "{% endfor %}\n{% endfor %}"
    static const char *const sources[] = {
        TURN("<|go|>{{ f.name }}<|with|>{{ f.arguments | tojson }}<|gone|>"),
        TURN("<act>{\"do\": \"{{ f.name }}\", \"with\": {{ f.arguments | tojson }}}</act>"),
        TURN("<act>\n<do {{ f.name }}>\n{% for k, v in f.arguments | items %}<with {{ k }}>"
             "{{ v if v is string else v | tojson }}</with>\n{% endfor %}</do>\n</act>"),
        TURN("<|py|>[{{ f.name }}({% for k, v in f.arguments | items %}"
             "{{ ', ' if not loop.first }}{{ k }}={{ '\"' ~ v ~ '\"' if v is string else v }}"
             "{% endfor %})]<|/py|>")};

    for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
        const struct con_tools must = {.choice = CON_REQUIRED, .parallel = true},
                               may = {.parallel = true, .reasoning = reasoning_find("think")};
        struct err e = {0};
        struct buf b = {0};
        struct chat *c;
        const struct toolcall_format *f;

        ck_ok(chat_open(&c, "t", slice_of(sources[i]), NULL, &e), &e);
        f = chat_calls(c);
        ck_assert_msg(f && strcmp(f->name, "derived") == 0, "%zu", i);
        ck_assert_msg(draw_answers(f, &must, TOK_CONTROL, 6, 60, "") > 0, "%zu", i);
        buf_printf(&b, "<think>\nwell</think>\n\nWait. %s%s", f->form.begin ? f->form.begin : "",
                   f->form.open);
        ck_assert_msg(draw_answers(f, &may, TOK_NORMAL, 6, 80, buf_view(&b).p) > 0, "%zu", i);
        draw_answers(f, &may, TOK_CONTROL, 2, 0, "So <");
        buf_fini(&b);
        chat_close(c);
    }
}
END_TEST

/* -- verdicts ---------------------------------------------------------------------------------- */

static struct con *tools_con(const char *format, const char *tools, enum con_choice choice,
                             bool parallel)
{
    struct con_tools t = {.choice = choice, .parallel = parallel};
    json_t *j = json_loads(tools, 0, NULL);
    struct con *c;
    struct err e = {0};

    t.format = toolcall_find(format, &e);
    t.tools = j;
    ck_assert_msg(t.format && j, "%s", e.text);
    ck_assert_msg(con_tools(&c, &t, &e) == 0, "%s: %s", t.format->name, e.text);
    json_decref(j);
    return c;
}

#define NOW_AND_F                                                                                  \
    "[{\"name\":\"now\"},{\"name\":\"f\",\"parameters\":{\"type\":\"object\",\"properties\":{"    \
    "\"a\":{\"type\":\"integer\"}},\"required\":[\"a\"],\"additionalProperties\":false}}]"

START_TEST(texts_and_calls)
{
    struct con *c = tools_con("hermes", NOW_AND_F, CON_AUTO, true);

    judge(c,
          TEXTS("", "Hello.", "a < b <tool_cal",
                "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>",
                "Wait: <tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>\n"
                "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>"),
          TEXTS("<tool_call>", "<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>",
                "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>",
                "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"x\"}}\n</tool_call>"));
    con_free(c);
    c = tools_con("hermes", NOW_AND_F, CON_REQUIRED, false);
    judge(c, TEXTS("<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>"),
          TEXTS("", "Hello.",
                "Hi <tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>",
                "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{"
                "\"name\": \"now\", \"arguments\": {}}\n</tool_call>"));
    con_free(c);
    c = tools_con("hermes", NOW_AND_F, CON_NONE, false);
    judge(c, TEXTS("", "Hello.", "{\"name\": \"f\"}"), TEXTS("<tool_call>"));
    con_free(c);
    c = tools_con("llama3", NOW_AND_F, CON_AUTO, true);
    judge(c,
          TEXTS("Hello {}", "{\"name\": \"now\", \"parameters\": {}}",
                "{\"name\": \"f\", \"parameters\": {\"a\": -5}}; {\"name\": \"now\", "
                "\"parameters\": {}}"),
          TEXTS("{}", " {\"name\": \"g\", \"parameters\": {}}", "<|python_tag|>print(1)"));
    con_free(c);
    c = tools_con("kimi-k2", NOW_AND_F, CON_AUTO, true);
#define KIMI(n, i, a)                                                                              \
    "<|tool_call_begin|>functions." n ":" i "<|tool_call_argument_begin|>" a "<|tool_call_end|>"
    judge(c,
          TEXTS("<|tool_calls_section_begin|>" KIMI("now", "0", "{}") KIMI("f", "1", "{\"a\":0}")
                "<|tool_calls_section_end|>",
                KIMI("now", "0", "{}") "<|tool_calls_section_end|>"),
          TEXTS("<|tool_calls_section_begin|>" KIMI("now", "1", "{}") "<|tool_calls_section_end|>",
                "<|tool_calls_section_begin|>" KIMI("now", "0", "{}") "<|tool_calls_section_end"));
    con_free(c);
}
END_TEST

#define CITY                                                                                       \
    "[{\"name\":\"f\",\"parameters\":{\"type\":\"object\",\"properties\":{\"c\":{\"type\":"             \
    "\"string\",\"maxLength\":20},\"n\":{\"type\":[\"integer\",\"null\"]},\"m\":{\"type\":["            \
    "\"string\",\"number\"]},\"l\":{\"type\":\"array\",\"items\":{\"type\":\"boolean\"}}},"            \
    "\"required\":[\"c\"],\"additionalProperties\":false}}]"

/* Arguments that are not written as JSON. */
START_TEST(other_notations)
{
#define GLM(key, value) "<arg_key>" key "</arg_key>\n<arg_value>" value "</arg_value>\n"
    struct con *c = tools_con("glm-4.5", CITY, CON_REQUIRED, false);

    judge(c,
          TEXTS("<tool_call>f\n" GLM("c", "a \"b\"\n</arg") "</tool_call>",
                "<tool_call>f\n" GLM("c", "5") GLM("n", "null") GLM("m", "1.5") "</tool_call>",
                "<tool_call>f\n" GLM("c", "") GLM("m", "1.5.") GLM("l", "[true]") "</tool_call>"),
          TEXTS("<tool_call>f\n</tool_call>", "<tool_call>f\n" GLM("n", "1") "</tool_call>",
                "<tool_call>f\n" GLM("c", "x</arg_value>y") "</tool_call>",
                "<tool_call>f\n" GLM("c", "x") GLM("n", "1.5") "</tool_call>",
                "<tool_call>f\n" GLM("c", "x") GLM("n", "\"1\"") "</tool_call>",
                "<tool_call>f\n" GLM("c", "x") GLM("l", "True") "</tool_call>",
                "<tool_call>f\n" GLM("c", "x") GLM("z", "1") "</tool_call>"));
    con_free(c);
    c = tools_con("qwen3-coder", CITY, CON_REQUIRED, false);
#define QWEN(key, value) "<parameter=" key ">\n" value "\n</parameter>\n"
    judge(c,
          TEXTS("<tool_call>\n<function=f>\n" QWEN("c", "a\nb") "</function>\n</tool_call>"),
          TEXTS("<tool_call>\n<function=f>\n" QWEN("c", "123456789012345678901") "</function>\n"
                "</tool_call>"));
    con_free(c);
    c = tools_con("deepseek-v3.2", CITY, CON_REQUIRED, false);
#define BAR "\xef\xbd\x9c"
#define DSML(s) "<" BAR "DSML" BAR s
#define END(s)  "</" BAR "DSML" BAR s
#define V32(args)                                                                                  \
    DSML("function_calls>\n") DSML("invoke name=\"f\">\n") args END("invoke>\n")                  \
        END("function_calls>")
#define ARG(key, kind, value)                                                                      \
    DSML("parameter name=\"") key "\" string=\"" kind "\">" value END("parameter>\n")
    judge(c, TEXTS(V32(ARG("c", "true", "x") ARG("n", "false", "null") ARG("m", "false", "2"))),
          TEXTS(V32(ARG("c", "false", "x")), V32(ARG("c", "true", "x") ARG("m", "true", "2"))));
    con_free(c);
    c = tools_con("lfm2", CITY, CON_REQUIRED, true);
#define LFM(calls) "<|tool_call_start|>[" calls "]<|tool_call_end|>"
    judge(c,
          TEXTS(LFM("f(c=\"x\")"), LFM("f(c=\"\\n\", n=None), f(c=\"\", l=[True, False])"),
                LFM("f(c=\"\\u00e9\", m=1.5)")),
          TEXTS(LFM("f()"), LFM("f(c='x')"), LFM("f(c=\"x\", n=null)"), LFM("f(\"x\")"),
                LFM("f(c=\"\\ud83d\\ude00\")"), LFM("f(c=\"x\", l=[true])")));
    con_free(c);
    c = tools_con("functiongemma", CITY, CON_REQUIRED, true);
#define GEMMA(args) "<start_function_call>call:f{" args "}<end_function_call>"
    judge(c,
          TEXTS(GEMMA("c:<escape>x \"y\"<escape>"), GEMMA("c:<escape><escape>,n:null,l:[true]")),
          TEXTS(GEMMA("c:\"x\""), GEMMA("n:1"), GEMMA("c:<escape>x<escape>,n:<escape>1<escape>")));
    con_free(c);
    c = tools_con("harmony", CITY, CON_AUTO, true);
#define CH(s) "<|channel|>" s
    judge(c,
          TEXTS(CH("final<|message|>Hi."), CH("analysis<|message|>So.<|end|><|start|>assistant")
                CH("commentary to=functions.f <|constrain|>json<|message|>{\"c\": \"x\"}<|call|>")),
          TEXTS("Hi.", CH("analysis<|message|>So."),
                CH("commentary to=functions.g <|constrain|>json<|message|>{}<|call|>"),
                CH("commentary to=functions.f <|constrain|>json<|message|>{}<|call|>")));
    con_free(c);
}
END_TEST

/* An answer with a schema is one or a call. */
START_TEST(answers_with_a_schema)
{
    json_t *tools = json_loads(NOW_AND_F, 0, NULL);
    json_t *answer = json_loads("{\"type\":\"object\",\"properties\":{\"x\":{\"enum\":[1,2]}},"
                                "\"required\":[\"x\"],\"additionalProperties\":false}",
                                0, NULL);
    const struct toolcall_format *f;
    struct con_tools t = {.tools = tools, .answer = answer, .reasoning = reasoning_find("think")};
    struct con *c;
    struct err e = {0};

    t.format = toolcall_find("hermes", &e);
    ck_ok(con_tools(&c, &t, &e), &e);
#define CALL_NOW "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>"
    judge(c, TEXTS("{\"x\": 1}", "\n{ \"x\":2 }", CALL_NOW, "<think>Hm {</think>\n{\"x\":1}",
                   "<think>\n</think>\n\n" CALL_NOW),
          TEXTS("", "Hello.", "{\"x\": 3}", "{\"x\": 1} " CALL_NOW, "Wait. " CALL_NOW,
                "<think>Hm</think>Hm"));
    con_free(c);
    t.choice = CON_NONE;
    ck_ok(con_tools(&c, &t, &e), &e);
    judge(c, TEXTS("{\"x\": 1}", "<think>Hm</think>{\"x\":2}"), TEXTS("", "Hello.", CALL_NOW));
    con_free(c);
    t.choice = CON_AUTO;
    t.format = toolcall_find("harmony", &e);
    t.reasoning = reasoning_find("harmony");
    ck_ok(con_tools(&c, &t, &e), &e);
    judge(c, TEXTS(CH("final<|message|>{\"x\":1}"),
                   CH("analysis<|message|>So.<|end|><|start|>assistant")
                       CH("final<|message|>{\"x\": 2}"),
                   CH("commentary to=functions.now <|constrain|>json<|message|>{}<|call|>")),
          TEXTS(CH("final<|message|>Hi."), CH("final<|message|>{\"x\":3}")));
    con_free(c);
    t.reasoning = NULL;
    for (size_t i = 0; (f = toolcall_at(i)); i++) {
        t.format = f;
        if (f->read->bare)
            ck_fails(con_tools(&c, &t, &e), &e, E_UNSUPPORTED, "could be a call");
        else if (f->read->style != READ_HARMONY)
            draw_answers(f, &t, TOK_NORMAL, 4, 0, "");
        e = (struct err){0};
    }
    json_decref(answer);
    json_decref(tools);
}
END_TEST

/* So are those in the middle of one. */
START_TEST(a_trigger_with_tokens_in_it)
{
    const struct slice final[] = {SLICE("<|channel|>final<|message|>")};
    struct marked v;
    struct con_opts o = {.after = final, .n_after = 1};
    struct con *c;
    struct err e = {0};
    char text[80], one[16], two[16];
    int32_t id, other;

    marked_init(&v, toolcall_find("harmony", &e), TOK_CONTROL);
    o.tok = v.t;
    id = tok_find(v.t, SLICE("<|channel|>"));
    other = tok_find(v.t, SLICE("<|message|>"));
    ck_assert(id >= 0 && other >= 0);
    ck_ok(con_regex(&c, SLICE("[0-9]"), &o, &e), &e);
    snprintf(text, sizeof text, "%.*sfinal%.*s7", (int)con_token_text(id, one).n, one,
             (int)con_token_text(other, two).n, two);
    judge(c, TEXTS(text), TEXTS("<|channel|>final<|message|>7", "7"));
    con_free(c);
    tok_free(v.t);
}
END_TEST

/* A trigger that is a control token is met as that token, not as its text. */
START_TEST(a_trigger_that_is_a_token)
{
    const struct slice end[] = {SLICE("</think>")};
    struct marked v;
    struct con_opts o = {.after = end, .n_after = 1};
    struct con *c;
    struct err e = {0};
    char text[40], special[16];
    int32_t id;

    marked_init(&v, toolcall_find("hermes", &e), TOK_CONTROL);
    o.tok = v.t;
    id = tok_find(v.t, end[0]);
    ck_ok(con_regex(&c, SLICE("[0-9]"), &o, &e), &e);
    snprintf(text, sizeof text, "so%.*s7", (int)con_token_text(id, special).n, special);
    judge(c, TEXTS(text), TEXTS("so</think>7", "7"));
    con_free(c);
    o.tok = NULL;
    ck_ok(con_regex(&c, SLICE("[0-9]"), &o, &e), &e);
    judge(c, TEXTS("so</think>7"), TEXTS(text));
    con_free(c);
    tok_free(v.t);
}
END_TEST

START_TEST(what_is_refused)
{
    static const struct {
        const char *tools;
        int code;
        const char *part;
    } bad[] = {
        {"{}", E_FORMAT, "list"},
        {"[{\"type\":\"function\"}]", E_FORMAT, "tool 0 has no name"},
        {"[{\"name\":\"a b\"}]", E_FORMAT, "'a b'"},
        {"[{\"name\":\"f\",\"parameters\":3}]", E_FORMAT, "tool 'f'"},
        {"[{\"name\":\"f\",\"parameters\":{\"properties\":{\"x\":{\"uniqueItems\":true}}}}]",
         E_UNSUPPORTED, "tool 'f': schema, #/properties/x/uniqueItems"},
        {"[{\"name\":\"f\",\"parameters\":{\"type\":\"array\"}}]", E_FORMAT, "no text"},
        {"[]", E_FORMAT, "tool_choice names no tool"},
    };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct con_tools t = {.format = toolcall_find("hermes", NULL), .choice = CON_REQUIRED};
        json_t *j = json_loads(bad[i].tools, 0, NULL);
        struct con *c;
        struct err e = {0};

        t.tools = j;
        ck_fails(con_tools(&c, &t, &e), &e, bad[i].code, bad[i].part);
        json_decref(j);
    }
    {
        struct con_tools t = {.format = toolcall_find("lfm2", NULL), .choice = CON_REQUIRED};
        json_t *j = json_loads("[{\"name\":\"f\",\"parameters\":{\"required\":[\"a-b\"]}}]", 0,
                               NULL);
        struct con *c;
        struct err e = {0};

        t.tools = j;
        ck_fails(con_tools(&c, &t, &e), &e, E_UNSUPPORTED, "tool-call format 'lfm2'");
        json_decref(j);
    }
}
END_TEST

START_TEST(choices)
{
    static const struct {
        const char *json;
        int choice; // negative: wrong
        const char *only;
    } cases[] = {
        {"null", CON_AUTO, NULL},
        {"\"none\"", CON_NONE, NULL},
        {"\"required\"", CON_REQUIRED, NULL},
        {"{\"type\":\"function\",\"function\":{\"name\":\"f\"}}", CON_REQUIRED, "f"},
        {"{\"type\":\"function\",\"name\":\"f\"}", CON_REQUIRED, "f"},
        {"{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":\"auto\",\"tools\":[{\"type\":"
         "\"function\",\"function\":{\"name\":\"g\"}}]}}",
         CON_AUTO, "g"},
        {"\"any\"", -1, NULL},
        {"{\"function\":{}}", -1, NULL},
        {"{\"allowed_tools\":{\"mode\":\"x\"}}", -1, NULL},
        {"7", -1, NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *j = json_loads(cases[i].json, JSON_DECODE_ANY, NULL), *only;
        enum con_choice c;
        struct err e = {0};
        int rc = con_choice_parse(&c, &only, j, &e);

        ck_assert_msg(cases[i].choice < 0 ? rc == E_FORMAT : rc == 0 && (int)c == cases[i].choice,
                      "%s", cases[i].json);
        if (cases[i].only)
            ck_assert_str_eq(json_string_value(json_array_get(only, 0)), cases[i].only);
        else
            ck_assert_ptr_null(only);
        json_decref(only);
        json_decref(j);
    }
}
END_TEST

START_TEST(memory_that_fails)
{
    json_t *tools = json_loads(tools_json, 0, NULL);

    for (long n = 0;; n += 1 + n / 8) {
        struct con_tools t = {.format = toolcall_find("hermes", NULL), .tools = tools,
                              .reasoning = reasoning_find("think")};
        struct con *c = NULL;
        struct err e = {0};
        int rc;

        mem_fail_after(n);
        rc = con_tools(&c, &t, &e);
        mem_fail_after(-1);
        con_free(c);
        if (rc == 0)
            break;
        ck_assert_int_eq(rc, E_NOMEM);
    }
    json_decref(tools);
}
END_TEST

TEST_MAIN("text/constrain_tools", calls_that_must_come, calls_that_may_come,
          calls_in_derived_formats, texts_and_calls, other_notations, answers_with_a_schema,
          a_trigger_that_is_a_token,
          a_trigger_with_tokens_in_it, what_is_refused, choices, memory_that_fails)
