/* test_api.c - requests of the API, and replies and chunks against its published description. */
#include "base/mem.h"
#include "base/utf8.h"
#include "tests/tools/openapi.h"
#include "tools/lib/api.h"
#include "tools/lib/api_fields.h"

/* A template that opens no reasoning block by itself, with calls as Hermes writes them. */
static const char source[] =
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls %}"
    "<tool_call>{\"name\": \"{{ c.function.name }}\", \"arguments\": {{ c.function.arguments | "
    "tojson }}}</tool_call>{% endfor %}{% endfor %}{% if tools %}<tools>{{ tools | tojson "
    "}}</tools>"
    "<tool_call>{\"name\":{% endif %}{% if add_generation_prompt %}<assistant>{% endif %}"
    "{# <think> </think> #}";

#define TOOLS                                                                                      \
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":"     \
    "\"object\",\"properties\":{\"x\":{\"type\":\"string\"}}}}}]"
#define USER "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static struct {
    struct rill_model *model;
    struct api_chat *chat;
    struct api_opts o;
} on;

static void open_api(void)
{
    struct rill_model_opts mo = {.vocab_only = true};
    struct err e = {0};

    ck_ok(rill_model_open(&on.model, srcfile("share/rill-tales.gguf"), &mo, &e), &e);
    ck_ok(api_chat_open(&on.chat, on.model, "test", SLICE(source), NULL, &e), &e);
    on.o = (struct api_opts){.model = on.model,
                             .name = "m",
                             .sampling = rill_sampling_defaults(),
                             .n_ctx = 2000,
                             .stream = true,
                             .details = true,
                             .created = 7,
                             .chat = on.chat};
}

static void close_api(void)
{
    api_chat_close(on.chat);
    rill_model_close(on.model);
}

/* -- requests -- */

static int parse(struct api_request *r, bool chat, const char *body, struct err *e)
{
    *e = (struct err){0};
    return api_parse_body(r, &on.o, chat, slice_of(body), e);
}

static void good(bool chat, const char *body, struct api_request *r)
{
    struct err e;

    ck_assert_msg(parse(r, chat, body, &e) == 0, "%s: %s", body, e.text);
}

/* It is refused, with a sentence that has these words and names this field (or none). */
static void refused(bool chat, const char *body, const char *words, const char *param)
{
    struct api_request r;
    struct err e;
    int rc = parse(&r, chat, body, &e);

    ck_assert_msg(rc < 0 && strstr(e.text, words), "%s: '%s' lacks '%s'", body, e.text, words);
    ck_assert_msg(param ? r.param && strcmp(r.param, param) == 0 : !r.param, "%s: param %s", body,
                  r.param ? r.param : "null");
    ck_assert_int_eq(api_status(&e).status, 400);
    api_fini(&r);
}

START_TEST(wrong_requests)
{
    open_api();
    refused(true, "{" USER ",\"max_tokenz\":3}", "did you mean 'max_tokens'", "max_tokenz");
    refused(true, "{" USER ",\"max_tokens\":\"3\"}", "whole number", "max_tokens");
    refused(true, "{" USER ",\"stream\":1}", "true or false", "stream");
    refused(true, "{" USER ",\"stream_options\":{\"include_usage\":3}}", "include_usage",
            "stream_options");
    refused(true, "{" USER ",\"tool_choice\":\"required\"}", "no tools", "tool_choice");
    refused(true, "{" USER "," TOOLS ",\"tool_choice\":\"maybe\"}", "tool_choice", "tool_choice");
    refused(true,
            "{\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"g\"}}," USER "," TOOLS
            "}",
            "no tool 'g'", "tool_choice");
    refused(true, "{" USER ",\"tools\":[{\"type\":\"web\"}]}", "entry 0", "tools");
    refused(true, "{" USER ",\"tools\":[{\"type\":\"function\"}]}", "name", "tools");
    refused(true, "{" USER ",\"response_format\":{\"type\":\"xml\"}}", "json_schema",
            "response_format");
    refused(true, "{" USER ",\"response_format\":{\"type\":\"json_object\"},\"regex\":\"a\"}",
            "twice", "regex");
    refused(true,
            "{" USER ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{"
            "\"schema\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"nothing\"}}}}}}",
            "no known type", "response_format");
    refused(true,
            "{" USER "," TOOLS ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{"
            "\"schema\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"nothing\"}}}}}}",
            "no known type", "response_format");
    refused(true, "{" USER ",\"grammar\":\"root ::= (\"}", "", "grammar");
    refused(true, "{" USER ",\"choices\":[]}", "list", "choices");
    refused(true, "{" USER ",\"suffix\":\"x\"}", "not known", "suffix");
    refused(false, "{\"prompt\":\"x\",\"suffix\":\"y\"}", "in between", "prompt");
    refused(false, "{\"prompt\":\"x\",\"best_of\":3,\"stream\":true}", "best_of", "best_of");
    refused(false, "{\"prompt\":\"x\",\"best_of\":2,\"n\":3}", "at least n", "best_of");
    refused(false, "{}", "neither", "prompt");
    refused(false, "[]", "object", NULL);
    refused(false, "{\"a\":1,\"a\":2}", "not JSON", NULL);
    refused(true, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]}", "",
            "messages");
    close_api();
}
END_TEST

START_TEST(context)
{
    struct api_request r;
    struct err e;

    open_api();
    on.o.n_ctx = 10;
    ck_assert_int_eq(parse(&r, false, "{\"prompt\":[1,2,3,4,5,6,7,8,9,10]}", &e), E_CONTEXT);
    ck_assert_ptr_nonnull(strstr(e.text, "maximum context length is 10 tokens"));
    ck_assert_str_eq(api_status(&e).code, "context_length_exceeded");
    ck_assert_int_eq(api_status(&e).status, 400);
    api_fini(&r);
    good(false, "{\"prompt\":[1,2,3,4,5,6,7,8,9]}", &r);
    api_fini(&r);
    close_api();
}
END_TEST

START_TEST(fields)
{
    struct api_request r;

    open_api();
    good(true,
         "{" USER "," TOOLS ",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
         "\"parallel_tool_calls\":false,\"user\":\"u\",\"temperature\":null,\"model\":\"x\"}",
         &r);
    ck_assert(r.stream && r.usage_chunk && r.one_call && r.tools && r.format);
    ck_assert_str_eq(r.model, "x");
    ck_assert_str_eq(r.warnings.p, "\"field 'user' has no effect here\"");
    ck_assert_ptr_nonnull(strstr(r.prompt[0].text.p, "<tools>"));
    api_fini(&r);
    good(true, "{" USER "," TOOLS ",\"tool_choice\":\"none\"}", &r);
    ck_assert(!r.tools && !r.format);
    ck_assert_ptr_null(strstr(r.prompt[0].text.p, "<tools>"));
    api_fini(&r);
    good(true, "{" USER ",\"response_format\":{\"type\":\"json_object\"}}", &r);
    ck_assert(r.q.constraint != NULL && r.q.constraint == r.constraint);
    api_fini(&r);
    good(true, "{" USER "," TOOLS ",\"tool_choice\":\"required\"}", &r);
    ck_assert_ptr_nonnull(r.q.constraint);
    api_fini(&r);
    good(true, "{" USER "," TOOLS ",\"response_format\":{\"type\":\"json_object\"}}", &r);
    ck_assert_msg(r.warnings.n == 0 && r.constraint, "%s", buf_view(&r.warnings).p);
    api_fini(&r);
    good(false,
         "{\"prompt\":\"x\",\"structured_outputs\":{\"choice\":[\"a\",\"b\"],\"json\":null}}", &r);
    ck_assert_ptr_nonnull(r.q.constraint);
    api_fini(&r);
    on.o.lenient = true;
    good(true, "{" USER ",\"strange\":1}", &r);
    ck_assert_ptr_nonnull(strstr(r.warnings.p, "strange"));
    api_fini(&r);
    close_api();
}
END_TEST

/* The classes of the table: each field does something, or its warning says that it does not. */
START_TEST(classes)
{
    struct api_field f;
    int n[2] = {0};

    open_api();
    for (size_t i = 0; api_field_at(i, &f); i++) {
        struct api_request r;
        char body[300];

        n[f.effect]++;
        if (f.effect || !(f.kinds & (API_TEXT | API_CHAT)))
            continue;
        snprintf(body, sizeof body, "{" USER ",\"prompt\":\"x\",\"%s\":\"x\"}", f.name);
        on.o.lenient = true;
        good(f.kinds & API_CHAT, body, &r);
        ck_assert_ptr_nonnull(strstr(r.warnings.p, "has no effect"));
        ck_assert_ptr_nonnull(strstr(r.warnings.p, f.name));
        api_fini(&r);
    }
    ck_assert_int_gt(n[0], 5);
    ck_assert_int_gt(n[1], 50);
    close_api();
}
END_TEST

/* A model that knows no tools is told of them where that was asked for; else it is said. What came
 * of calls before is text, too. */
START_TEST(instructions)
{
    static const struct slice own = {NULL, 0};
    struct api_request r;
    struct err e = {0};

    open_api();
    api_chat_close(on.chat);
    ck_fails(api_chat_open(&on.chat, on.model, "plain", own, "morse", &e), &e, E_USAGE, "morse");
    e = (struct err){0};
    ck_ok(api_chat_open(&on.chat, on.model, "plain", own, NULL, &e), &e);
    on.o.chat = on.chat;
    ck_fails(parse(&r, true, "{" USER "," TOOLS "}", &e), &e, E_UNSUPPORTED,
             "the chat template knows no tools (--tool-format generic");
    api_fini(&r);
    api_chat_close(on.chat);
    e = (struct err){0};
    ck_ok(api_chat_open(&on.chat, on.model, "unknown",
                        SLICE("{{ messages[0].content }}{{ tools }}"), NULL, &e),
          &e);
    on.o.chat = on.chat;
    ck_fails(parse(&r, true, "{" USER "," TOOLS "}", &e), &e, E_UNSUPPORTED,
             "how the model writes tool calls is not known");
    api_fini(&r);
    api_chat_close(on.chat);
    e = (struct err){0};
    ck_ok(api_chat_open(&on.chat, on.model, "plain", own, "generic", &e), &e);
    on.o.chat = on.chat;
    good(true,
         "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\","
         "\"tool_calls\":[{\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},{\"role\":\"tool\","
         "\"tool_call_id\":\"c\",\"content\":\"r\"}]," TOOLS "}",
         &r);
    ck_assert_ptr_nonnull(strstr(r.prompt[0].text.p, "[{\"name\": \"f\", \"arguments\": {}}]"));
    ck_assert_ptr_nonnull(strstr(r.prompt[0].text.p, "Result of f:\nr"));
    api_fini(&r);
    good(true,
         "{\"messages\":[{\"role\":\"system\",\"content\":\"Be good.\"},{\"role\":\"user\","
         "\"content\":\"hi\"}]," TOOLS "}",
         &r);
    ck_assert_str_eq(r.format->name, "generic");
    ck_assert_ptr_nonnull(strstr(r.prompt[0].text.p, "Be good.\n\n"));
    ck_assert_ptr_nonnull(strstr(r.prompt[0].text.p, "\"f\""));
    api_fini(&r);
    close_api();
}
END_TEST

/* -- answers -- */

/* Lets the engine say text, cut behind every n-th byte (and whole characters), then the end. */
static int say(struct api_stream *s, struct buf *out, int prompt, int choice, const char *text,
               size_t cut, int finish)
{
    struct err e = {0};
    size_t n = strlen(text), at = 0;
    int chunks = 0;

    while (at <= n) {
        size_t k = at + cut < n ? cut : n - at;
        struct rill_event ev = {.kind = at == n ? RILL_DONE : RILL_TOKEN,
                                .choice = choice,
                                .id = 300,
                                .text = text + at,
                                .finish = finish,
                                .logprob = -0.5F,
                                .cached = 1};

        while (at < n && k < n - at && (text[at + k] & 0xc0) == 0x80)
            k++;
        ev.n_text = k;
        ck_ok(api_stream_event(s, out, prompt, &ev, &e), &e);
        at += k ? k : 1;
        chunks++;
    }
    return chunks;
}

/* Where usage was asked for, all chunks but the last say that it is null: so the description says
 * in words (of stream_options), though its schema does not. Chunks of text completions that are not
 * the last have a finish_reason of null, as everybody's have: their schema is the whole reply's. */
static void valid_chunk(const char *schema, const json_t *chunk)
{
    json_t *v = json_copy((json_t *)(uintptr_t)chunk);
    char *text;

    if (json_is_null(json_object_get(v, "usage")))
        json_object_del(v, "usage");
    if (strcmp(schema, "CreateCompletionResponse") == 0) {
        json_t *choices = json_deep_copy(json_object_get(v, "choices"));
        json_t *c;
        size_t i;

        json_array_foreach(choices, i, c) if (json_is_null(json_object_get(c, "finish_reason")))
            json_object_set_new(c, "finish_reason", json_string("stop"));
        json_object_set_new(v, "choices", choices);
    }
    text = json_dumps(v, 0);
    openapi_valid(schema, text, strlen(text));
    free(text);
    json_decref(v);
}

/* Each event of a stream, checked against the schema, then "[DONE]"; *all: their payloads. */
static json_t *chunks_of(const struct buf *out, const char *schema)
{
    json_t *list = json_array();
    const char *p = out->p;

    for (;;) {
        const char *end = strstr(p, "\n\n");
        json_t *chunk;

        ck_assert_ptr_nonnull(end);
        ck_assert_int_eq(strncmp(p, "data: ", 6), 0);
        ck_assert(utf8_valid(p, (size_t)(end - p)));
        if (strncmp(p + 6, "[DONE]", 6) == 0) {
            ck_assert_str_eq(end, "\n\n");
            return list;
        }
        chunk = json_loadb(p + 6, (size_t)(end - p) - 6, 0, NULL);
        json_array_append_new(list, chunk);
        if (openapi.root)
            valid_chunk(schema, chunk);
        p = end + 2;
    }
}

static const char *str(const json_t *v, const char *key)
{
    return json_string_value(json_object_get(v, key));
}

/* What a client makes of the chunks of choice `index`. */
struct joined {
    struct buf content, reasoning, args[4];
    char name[4][20], id[4][40];
    int n_call;
    const char *finish;
};

static void join(struct joined *j, const json_t *chunks, int index)
{
    const json_t *chunk;
    size_t i, k;
    bool first = true;

    memset(j, 0, sizeof *j);
    json_array_foreach(chunks, i, chunk)
    {
        const json_t *c = json_array_get(json_object_get(chunk, "choices"), 0);
        const json_t *d = json_object_get(c, "delta"), *call;

        if (!c || json_integer_value(json_object_get(c, "index")) != index)
            continue;
        ck_assert_ptr_null(j->finish); // nothing follows the last
        ck_assert_int_eq(first, str(d, "role") != NULL);
        first = false;
        buf_str(&j->content, str(d, "content") ? str(d, "content") : "");
        buf_str(&j->reasoning, str(d, "reasoning_content") ? str(d, "reasoning_content") : "");
        json_array_foreach(json_object_get(d, "tool_calls"), k, call)
        {
            const json_t *f = json_object_get(call, "function");
            json_int_t n = json_integer_value(json_object_get(call, "index"));

            ck_assert(json_is_integer(json_object_get(call, "index")) && n >= 0 && n < 4);
            if (n == j->n_call) {
                snprintf(j->id[n], sizeof j->id[n], "%s", str(call, "id"));
                snprintf(j->name[n], sizeof j->name[n], "%s", str(f, "name"));
                ck_assert_str_eq(str(call, "type"), "function");
                j->n_call++;
            } else {
                ck_assert(!json_object_get(call, "id") && !json_object_get(f, "name"));
                ck_assert_int_eq(n, j->n_call - 1);
            }
            buf_str(&j->args[n], str(f, "arguments"));
        }
        j->finish = str(c, "finish_reason");
        if (j->finish)
            ck_assert_uint_eq(json_object_size(d), 0);
    }
}

static void free_joined(struct joined *j)
{
    buf_fini(&j->content);
    buf_fini(&j->reasoning);
    for (int i = 0; i < 4; i++)
        buf_fini(&j->args[i]);
}

static const char answer_text[] =
    "<think>\nWas t\xc3\xbcn? \xf0\x9f\x98\x80\n</think>\n\nGut \xe2\x82\xac.\n<tool_call>\n"
    "{\"name\": \"f\", \"arguments\": {\"x\": \"\xc3\xa4\"}}\n</tool_call>\n<tool_call>\n"
    "{\"name\": \"g\", \"arguments\": {}}\n</tool_call>";

struct exchange {
    struct api_request r;
    struct api_answer *a;
    struct api_stream s;
    struct buf out;
};

static void begin(struct exchange *x, bool chat, const char *body)
{
    struct err e = {0};

    memset(x, 0, sizeof *x);
    good(chat, body, &x->r);
    x->a = mem_array((uint64_t)(x->r.n_prompt * x->r.best_of), sizeof *x->a, &e);
    for (int i = 0; i < x->r.n_prompt * x->r.best_of; i++)
        ck_ok(api_answer_begin(&x->a[i], &x->r, &on.o, &x->r.prompt[i / x->r.best_of],
                               i % x->r.best_of, &e),
              &e);
    ck_ok(api_stream_begin(&x->s, &x->r, &on.o, SLICE("id-1"), x->a, &e), &e);
}

static void end(struct exchange *x)
{
    for (int i = 0; i < x->r.n_prompt * x->r.best_of; i++)
        api_answer_fini(&x->a[i]);
    mem_free(x->a);
    api_stream_fini(&x->s);
    api_fini(&x->r);
    buf_fini(&x->out);
}

/* However the answer is cut: the same reasoning, text and calls, in chunks and in one reply. */
START_TEST(calls)
{
    static const size_t cuts[] = {1, 2, 3, 7, 20, 1000};
    char id[40] = "";

    open_api();
    openapi_open();
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        struct exchange x;
        struct joined j;
        json_t *all;

        begin(&x, true, "{" USER "," TOOLS ",\"stream\":true,\"seed\":1}");
        x.r.q.sampling.seed = 1;
        say(&x.s, &x.out, 0, 0, answer_text, cuts[i], RILL_STOP);
        api_stream_end(&x.s, &x.out, "");
        all = chunks_of(&x.out, "CreateChatCompletionStreamResponse");
        join(&j, all, 0);
        ck_assert_str_eq(j.reasoning.p, "Was t\xc3\xbcn? \xf0\x9f\x98\x80");
        ck_assert_str_eq(j.content.p, "Gut \xe2\x82\xac.");
        ck_assert_int_eq(j.n_call, 2);
        ck_assert_str_eq(j.name[0], "f");
        ck_assert_str_eq(j.name[1], "g");
        ck_assert_str_eq(j.args[0].p, "{\"x\": \"\xc3\xa4\"}");
        ck_assert_str_eq(j.args[1].p, "{}");
        ck_assert_str_ne(j.id[0], j.id[1]);
        ck_assert(i == 0 || strcmp(id, j.id[0]) == 0); // ids follow from the seed
        memcpy(id, j.id[0], sizeof id);
        ck_assert_str_eq(j.finish, "tool_calls");
        buf_clear(&x.out);
        buf_byte(&x.out, '{');
        api_body(&x.out, &x.r, &on.o, SLICE("id"), x.a, "");
        buf_byte(&x.out, '}');
        if (openapi.root)
            openapi_valid("CreateChatCompletionResponse", x.out.p, x.out.n);
        ck_assert_ptr_nonnull(strstr(x.out.p, "\"content\":\"Gut \xe2\x82\xac.\""));
        ck_assert_ptr_nonnull(strstr(x.out.p,
                                     "\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\\\": "
                                     "\\\"\xc3\xa4\\\"}\"}}"));
        ck_assert_ptr_nonnull(strstr(x.out.p, "\"finish_reason\":\"tool_calls\""));
        ck_assert_ptr_nonnull(strstr(x.out.p, "\"reasoning_content\":\"Was"));
        free_joined(&j);
        json_decref(all);
        end(&x);
    }
    openapi_close();
    close_api();
}
END_TEST

/* Without text the content is null; of several calls only the first where more are not wanted. */
START_TEST(one_call)
{
    struct exchange x;

    open_api();
    begin(&x, true, "{" USER "," TOOLS ",\"parallel_tool_calls\":false}");
    say(&x.s, &x.out, 0, 0, strstr(answer_text, "<tool_call>"), 5, RILL_STOP);
    buf_clear(&x.out);
    api_body(&x.out, &x.r, &on.o, SLICE("id"), x.a, "");
    ck_assert_ptr_nonnull(strstr(x.out.p, "\"content\":null"));
    ck_assert_ptr_nonnull(strstr(x.out.p, "\"name\":\"f\""));
    ck_assert_ptr_null(strstr(x.out.p, "\"name\":\"g\""));
    end(&x);
    close_api();
}
END_TEST

/* Usage comes alone in a chunk without choices, and only when asked for; several answers are told
 * apart by their index; log-probabilities are all there. */
START_TEST(stream_details)
{
    struct exchange x;
    struct joined j;
    json_t *all;
    size_t n, tokens = 0;

    open_api();
    openapi_open();
    begin(&x, true,
          "{" USER ",\"n\":2,\"stream\":true,\"stream_options\":{\"include_usage\":true},"
          "\"logprobs\":true}");
    n = (size_t)say(&x.s, &x.out, 0, 1, "second", 2, RILL_LENGTH) - 1;
    say(&x.s, &x.out, 0, 0, "first", 2, RILL_STOP);
    api_stream_end(&x.s, &x.out, "");
    all = chunks_of(&x.out, "CreateChatCompletionStreamResponse");
    join(&j, all, 1);
    ck_assert_str_eq(j.content.p, "second");
    ck_assert_str_eq(j.finish, "length");
    free_joined(&j);
    join(&j, all, 0);
    ck_assert_str_eq(j.content.p, "first");
    ck_assert_str_eq(j.finish, "stop");
    free_joined(&j);
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *c = json_array_get(all, i), *choices = json_object_get(c, "choices");
        const json_t *first = json_array_get(choices, 0);
        const json_t *usage = json_object_get(c, "usage");

        ck_assert_str_eq(str(c, "id"), "id-1");
        ck_assert_int_eq(json_array_size(choices) == 0, i + 1 == json_array_size(all));
        ck_assert_int_eq(json_is_null(usage), i + 1 < json_array_size(all));
        if (first && json_integer_value(json_object_get(first, "index")) == 1)
            tokens +=
                json_array_size(json_object_get(json_object_get(first, "logprobs"), "content"));
    }
    ck_assert_uint_eq(tokens, n);
    json_decref(all);
    end(&x);

    begin(&x, true, "{" USER ",\"stream\":true}");
    say(&x.s, &x.out, 0, 0, "x", 2, RILL_STOP);
    api_stream_end(&x.s, &x.out, "");
    ck_assert_ptr_null(strstr(x.out.p, "\"choices\":[]"));
    ck_assert_ptr_null(strstr(x.out.p, "usage"));
    end(&x);
    openapi_close();
    close_api();
}
END_TEST

START_TEST(completions)
{
    struct exchange x;
    json_t *all;
    struct buf text = {0};

    open_api();
    openapi_open();
    begin(&x, false,
          "{\"prompt\":[\"The fox\",\"The bear\"],\"echo\":true,\"stream\":true,\"logprobs\":1}");
    say(&x.s, &x.out, 1, 0, " eats", 3, RILL_STOP);
    say(&x.s, &x.out, 0, 0, " runs", 3, RILL_STOP);
    api_stream_end(&x.s, &x.out, "");
    all = chunks_of(&x.out, "CreateCompletionResponse");
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *c = json_array_get(json_object_get(json_array_get(all, i), "choices"), 0);

        if (json_integer_value(json_object_get(c, "index")) == 1)
            buf_str(&text, str(c, "text"));
    }
    ck_assert_str_eq(text.p, "The bear eats");
    buf_fini(&text);
    buf_clear(&x.out);
    buf_byte(&x.out, '{');
    api_body(&x.out, &x.r, &on.o, SLICE("id"), x.a, "");
    buf_byte(&x.out, '}');
    if (openapi.root)
        openapi_valid("CreateCompletionResponse", x.out.p, x.out.n);
    ck_assert_ptr_nonnull(strstr(x.out.p, "\"text\":\"The fox runs\""));
    json_decref(all);
    end(&x);
    openapi_close();
    close_api();
}
END_TEST

START_TEST(errors)
{
    static const int codes[] = {E_FORMAT, E_CONTEXT, E_BUSY, E_NOMEM, E_DEVICE, E_NOTFOUND};
    static const int status[] = {400, 400, 429, 503, 500, 404};

    open_api();
    openapi_open();
    for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
        struct err e = {codes[i], "what \"happened\""};
        struct api_status s = api_status(&e);
        struct buf b = {0};

        ck_assert_int_eq(s.status, status[i]);
        api_error(&b, &s, e.text, i ? NULL : "prompt");
        if (openapi.root)
            openapi_valid("ErrorResponse", b.p, b.n);
        buf_fini(&b);
    }
    openapi_close();
    close_api();
}
END_TEST

/* Each allocation fails once: an error, no leak, no crash. */
START_TEST(memory)
{
    long n = 0;

    open_api();
    for (bool hit = true; hit && n < 3000; n += n < 200 ? 1 : 17) {
        struct api_request r;
        struct err e;
        int rc;

        mem_fail_after(n);
        rc = parse(&r, true,
                   "{" USER "," TOOLS ",\"logit_bias\":{\"5\":1},\"stop\":[\"a\"],"
                   "\"response_format\":{\"type\":\"json_object\"}}",
                   &e);
        hit = mem_fail_hit();
        mem_fail_after(-1);
        ck_assert_msg(!hit || rc == E_NOMEM || rc == 0, "%ld: %d %s", n, rc, e.text);
        api_fini(&r);
    }
    ck_assert_int_gt(n, 20);
    close_api();
}
END_TEST

TEST_MAIN("tools/api", wrong_requests, context, fields, classes, instructions, calls, one_call,
          stream_details, completions, errors, memory)
