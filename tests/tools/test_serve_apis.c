/* test_serve_apis.c - rill-serve's other APIs: Anthropic's Messages, OpenAI's Responses; and what a
 * second turn finds of the first in memory.
 */
#include "tests/tools/client.h"
#include "tests/tools/openapi.h"

/* Reasoning, text, a call: as Hermes writes them. */
#define SCRIPT                                                                                     \
    "{\"answers\":[{\"text\":\"<think>Hm \xc3\xa4.</think>Yes.<tool_call>{\\\"name\\\": "          \
    "\\\"f\\\", \\\"arguments\\\": {\\\"x\\\": 1}}</tool_call>\"}]}"
#define TEMPLATE                                                                                   \
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ m.reasoning_content }}{% for c in "    \
    "m.tool_calls %}<tool_call>{\"name\": \"{{ c.function.name }}\"{% endfor %}{% endfor %}"       \
    "{% if tools %}{{ tools | tojson }}{% endif %}{# <think> </think> #}"
#define ANTHROPIC_TOOLS                                                                            \
    "\"tools\":[{\"name\":\"f\",\"input_schema\":{\"type\":\"object\",\"properties\":{\"x\":{"     \
    "\"type\":\"integer\"}}}},{\"type\":\"web_search_20250305\",\"name\":\"web_search\"}]"
#define MESSAGES "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static bool start(void)
{
    const char *path = tmpfile_path("template");
    const char *const with[] = {"--template", path, NULL};
    FILE *f = fopen(path, "w");
    bool ok;

    fputs(TEMPLATE, f);
    fclose(f);
    ok = serve_script(SCRIPT, with);
    if (ok)
        wait_ready();
    unlink(path);
    return ok;
}

static const char *str(const json_t *v, const char *key)
{
    const char *s = json_string_value(json_object_get(v, key));

    return s ? s : "";
}

static json_t *body_of(const struct reply *r)
{
    json_t *v = json_loads(r->body.p, 0, NULL);

    ck_assert_msg(v != NULL, "not JSON: %s", r->body.p);
    return v;
}

/* The next event of a stream: its data; *p moves on. Its name has to be the data's type. */
static json_t *next_event(char **p)
{
    char *name = *p, *data = strstr(*p, "\ndata: "), *end = strstr(*p, "\n\n");
    json_t *v;

    if (!**p)
        return NULL;
    ck_assert(strncmp(name, "event: ", 7) == 0 && data && end && data < end);
    v = json_loadb(data + 7, (size_t)(end - data) - 7, 0, NULL);
    ck_assert_ptr_nonnull(v);
    ck_assert_uint_eq((size_t)(data - name) - 7, strlen(str(v, "type")));
    ck_assert_int_eq(strncmp(name + 7, str(v, "type"), strlen(str(v, "type"))), 0);
    *p = end + 2;
    return v;
}

/* -- Messages -- */

START_TEST(messages)
{
    struct reply r;
    json_t *v, *content, *usage;

    if (!start())
        return;
    ask(&r, "POST", "/v1/messages?beta=true", "anthropic-version: 2023-06-01\r\n",
        "{\"max_tokens\":100," ANTHROPIC_TOOLS "," MESSAGES "}");
    ck_assert_msg(r.status == 200, "%s", r.body.p);
    ck_assert_ptr_nonnull(strstr(r.head.p, "\r\nrequest-id: "));
    v = body_of(&r);
    content = json_object_get(v, "content");
    usage = json_object_get(v, "usage");
    ck_assert_str_eq(str(v, "type"), "message");
    ck_assert_str_eq(str(v, "stop_reason"), "tool_use");
    ck_assert_uint_eq(json_array_size(content), 3);
    ck_assert_str_eq(str(json_array_get(content, 0), "thinking"), "Hm \xc3\xa4.");
    ck_assert_str_eq(str(json_array_get(content, 1), "text"), "Yes.");
    ck_assert_str_eq(str(json_array_get(content, 2), "name"), "f");
    ck_assert_int_eq(json_integer_value(json_object_get(
                         json_object_get(json_array_get(content, 2), "input"), "x")),
                     1);
    ck_assert_int_gt(json_integer_value(json_object_get(usage, "input_tokens")), 0);
    ck_assert(json_is_integer(json_object_get(usage, "cache_read_input_tokens")));
    ck_assert_ptr_nonnull(strstr(r.body.p, "web_search"));
    json_decref(v);
    reply_fini(&r);
    ask(&r, "POST", "/v1/messages", "", "{" MESSAGES "}");
    v = body_of(&r);
    ck_assert_int_eq(r.status, 400);
    ck_assert_str_eq(str(v, "type"), "error");
    ck_assert_str_eq(str(json_object_get(v, "error"), "type"), "invalid_request_error");
    json_decref(v);
    reply_fini(&r);
    expect_status("POST", "/v1/messages", "", "{\"max_tokens\":3,\"max_tokenz\":3," MESSAGES "}",
                  200, "max_tokenz");
    expect_status("POST", "/v1/messages", "",
                  "{\"max_tokens\":3,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":"
                  "\"image\"}]}]}",
                  400, "image");
    serve_stop();
}
END_TEST

/* Blocks are opened, filled and closed in order, by indices that ascend. */
START_TEST(messages_stream)
{
    static const char *const want[] = {"thinking", "text", "tool_use"};
    struct reply r;
    struct buf json = {0};
    json_t *v;
    int index = -1, open = 0, last = 0;
    char *p;

    if (!start())
        return;
    ask(&r, "POST", "/v1/messages", "",
        "{\"max_tokens\":100,\"stream\":true," ANTHROPIC_TOOLS "," MESSAGES "}");
    p = r.body.p;
    for (int i = 0; (v = next_event(&p)) != NULL; i++) {
        const char *type = str(v, "type");
        const json_t *delta = json_object_get(v, "delta");

        ck_assert(!last);
        ck_assert_int_eq(i == 0, strcmp(type, "message_start") == 0);
        if (strcmp(type, "content_block_start") == 0) {
            ck_assert(!open++);
            ck_assert_int_eq(json_integer_value(json_object_get(v, "index")), ++index);
            ck_assert_int_lt(index, 3);
            ck_assert_str_eq(str(json_object_get(v, "content_block"), "type"), want[index]);
        } else if (strncmp(type, "content_block", 13) == 0) {
            ck_assert(open);
            ck_assert_int_eq(json_integer_value(json_object_get(v, "index")), index);
            open -= strcmp(type, "content_block_stop") == 0;
            buf_str(&json, str(delta, "partial_json"));
        } else if (strcmp(type, "message_delta") == 0) {
            ck_assert(!open);
            ck_assert_str_eq(str(delta, "stop_reason"), "tool_use");
            ck_assert_int_gt(
                json_integer_value(json_object_get(json_object_get(v, "usage"), "output_tokens")),
                0);
        }
        last = strcmp(type, "message_stop") == 0;
        json_decref(v);
    }
    ck_assert(last && index == 2);
    ck_assert_str_eq(json.p, "{\"x\": 1}");
    buf_fini(&json);
    reply_fini(&r);
    serve_stop();
}
END_TEST

/* What changes with every request and is nobody's business does not reach the prompt. */
START_TEST(noise)
{
    struct reply a, b;

    if (!start())
        return;
    ask(&a, "POST", "/v1/messages/count_tokens", "",
        "{\"system\":[{\"type\":\"text\",\"text\":\"Be good.\"}]," MESSAGES "}");
    ask(&b, "POST", "/v1/messages/count_tokens", "",
        "{\"system\":[{\"type\":\"text\",\"text\":\"x-anthropic-billing-header: cch=1a2b\"},"
        "{\"type\":\"text\",\"text\":\"Be good.\"}]," MESSAGES "}");
    ck_assert_int_eq(a.status, 200);
    ck_assert_ptr_nonnull(strstr(a.body.p, "\"input_tokens\":"));
    ck_assert_str_eq(a.body.p, b.body.p);
    reply_fini(&a);
    reply_fini(&b);
    serve_stop();
}
END_TEST

/* -- Responses -- */

#define RESPONSE_TOOLS                                                                             \
    "\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"strict\":false,\"parameters\":{\"type\":"  \
    "\"object\",\"properties\":{\"x\":{\"type\":\"integer\"}}}},{\"type\":\"web_search\"}]"

START_TEST(responses)
{
    struct reply r;
    json_t *v, *out;

    if (!start())
        return;
    openapi_open();
    ask(&r, "POST", "/v1/responses", "", "{\"input\":\"hi\"," RESPONSE_TOOLS "}");
    ck_assert_msg(r.status == 200, "%s", r.body.p);
    if (openapi.root)
        openapi_valid("Response", r.body.p, strlen(r.body.p));
    v = body_of(&r);
    out = json_object_get(v, "output");
    ck_assert_str_eq(str(v, "status"), "completed");
    ck_assert_uint_eq(json_array_size(out), 3);
    ck_assert_str_eq(str(json_array_get(out, 0), "type"), "reasoning");
    ck_assert_str_eq(str(json_array_get(out, 1), "type"), "message");
    ck_assert_str_eq(str(json_array_get(out, 2), "type"), "function_call");
    ck_assert_str_eq(str(json_array_get(out, 2), "arguments"), "{\"x\": 1}");
    ck_assert_str_ne(str(json_array_get(out, 2), "call_id"), str(json_array_get(out, 2), "id"));
    json_decref(v);
    reply_fini(&r);
    ask(&r, "POST", "/v1/responses", "",
        "{\"instructions\":\"Be good.\",\"input\":[{\"role\":\"user\",\"content\":[{\"type\":"
        "\"input_text\",\"text\":\"hi\"}]},{\"type\":\"reasoning\",\"id\":\"rs_1\",\"summary\":[],"
        "\"content\":[{\"type\":\"reasoning_text\",\"text\":\"hm\"}]},{\"type\":\"message\","
        "\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"yes\"}]},{"
        "\"type\":\"function_call\",\"call_id\":\"c1\",\"name\":\"f\",\"arguments\":\"{}\"},{"
        "\"type\":\"function_call_output\",\"call_id\":\"c1\",\"output\":\"7\"}],"
        "\"max_output_tokens\":1,\"store\":true,\"include\":[\"reasoning.encrypted_content\"]}");
    ck_assert_msg(r.status == 200, "%s", r.body.p);
    ck_assert_ptr_nonnull(strstr(r.body.p, "\"status\":\"incomplete\""));
    ck_assert_ptr_nonnull(strstr(r.body.p, "\"reason\":\"max_output_tokens\""));
    reply_fini(&r);
    expect_status("POST", "/v1/responses", "", "{\"input\":\"x\",\"previous_response_id\":\"r\"}",
                  400, "nothing is stored here");
    expect_status("POST", "/v1/responses", "", "{\"input\":3}", 400, "\"param\":\"input\"");
    openapi_close();
    serve_stop();
}
END_TEST

START_TEST(responses_stream)
{
    struct reply r;
    struct buf seen = {0};
    json_t *v;
    char *p;
    int n = 0;

    if (!start())
        return;
    openapi_open();
    ask(&r, "POST", "/v1/responses", "", "{\"input\":\"hi\",\"stream\":true," RESPONSE_TOOLS "}");
    p = r.body.p;
    while ((v = next_event(&p)) != NULL) {
        char *text = json_dumps(v, 0);

        ck_assert_int_eq(json_integer_value(json_object_get(v, "sequence_number")), n++);
        if (openapi.root)
            openapi_valid("ResponseStreamEvent", text, strlen(text));
        if (!strstr(str(v, "type"), ".delta"))
            buf_printf(&seen, "%s ", str(v, "type") + sizeof "response." - 1);
        free(text);
        json_decref(v);
    }
    ck_assert_str_eq(seen.p,
                     "created in_progress "
                     "output_item.added content_part.added reasoning_text.done content_part.done "
                     "output_item.done "
                     "output_item.added content_part.added output_text.done content_part.done "
                     "output_item.done "
                     "output_item.added function_call_arguments.done output_item.done "
                     "completed ");
    buf_fini(&seen);
    reply_fini(&r);
    openapi_close();
    serve_stop();
}
END_TEST

/* What is no JSON, or no object, is the client's mistake in each of them. */
START_TEST(no_json)
{
    static const char *const paths[] = {"/v1/messages",    "/v1/messages/count_tokens",
                                        "/v1/responses",   "/v1/chat/completions",
                                        "/v1/completions", "/v1/embeddings",
                                        "/v1/rerank",      "/tokenize",
                                        "/detokenize",     "/apply-template"};

    if (!start())
        return;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        expect_status("POST", paths[i], "", "{\"a\":", 400, "not JSON");
        expect_status("POST", paths[i], "", "[]", 400, "not a JSON object");
    }
    expect_status("POST", "/v1/messages", "", "{\"max_tokens\":0," MESSAGES "}", 400, "max_tokens");
    serve_stop();
}
END_TEST

/* A field that is none, for each kind of request: what stands for %s, and what it was to be. */
static const struct {
    const char *path, *body, *wrong, *near;
} kinds[] = {
    {"/v1/chat/completions", "{" MESSAGES "%s}", "max_tokenz", "max_tokens"},
    {"/v1/completions", "{\"prompt\":\"a\"%s}", "ecko", "echo"},
    {"/v1/messages", "{\"max_tokens\":9," MESSAGES "%s}", "stop_sequence", "stop_sequences"},
    {"/v1/messages/count_tokens", "{" MESSAGES "%s}", "sistem", "system"},
    {"/v1/responses", "{\"input\":\"a\"%s}", "max_output_token", "max_output_tokens"},
    {"/infill", "{\"input_prefix\":\"a\"%s}", "input_sufix", "input_suffix"},
    {"/v1/embeddings", "{\"input\":\"a\"%s}", "dimension", "dimensions"},
    {"/v1/rerank", "{\"query\":\"a\",\"documents\":[\"b\"]%s}", "top_m", "top_n"},
    {"/apply-template", "{" MESSAGES "%s}", "tool", "tools"},
    {"/tokenize", "{\"content\":\"a\"%s}", "with_piece", "with_pieces"},
    {"/tokenize", "{" MESSAGES "%s}", "tool_choise", "tool_choice"},
    {"/detokenize", "{\"tokens\":[1]%s}", "token", "tokens"},
    {"/lora", "{\"load\":\"a\"%s}", "scales", "scale"},
    {"/sessions", "{\"fork\":\"a\"%s}", "az", "as"},
    {"/sessions", "{\"save\":\"a\",\"prompt\":\"a\"%s}", "cache_sald", "cache_salt"},
};

static void put_body(struct buf *b, size_t i, const char *name, const char *value)
{
    const char *hole = strstr(kinds[i].body, "%s");

    buf_clear(b);
    buf_add(b, kinds[i].body, (size_t)(hole - kinds[i].body));
    buf_printf(b, ",\"%s\":%s}", name, value);
}

/* Unknown fields are errors that name the nearest known one, or warnings in the reply; null is as
 * if a field were not there, and no reason to warn of one without effect. */
START_TEST(unknown_fields)
{
    static const char *const strictly[] = {"--strict", NULL};
    struct buf b = {0};
    struct reply r;
    char want[100];

    if (!serve_script(SCRIPT, strictly))
        return;
    wait_ready();
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        put_body(&b, i, kinds[i].wrong, "1");
        snprintf(want, sizeof want, "did you mean '%s'?", kinds[i].near);
        expect_status("POST", kinds[i].path, "", b.p, 400, want);
        snprintf(want, sizeof want, "\"param\":\"%s\"", kinds[i].wrong);
        if (!strstr(kinds[i].path, "messages"))
            expect_status("POST", kinds[i].path, "", b.p, 400, want);
    }
    serve_stop();
    if (!start())
        return;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        put_body(&b, i, kinds[i].wrong, "1");
        ask(&r, "POST", kinds[i].path, "", b.p);
        snprintf(want, sizeof want, "\"field '%s' is not known: ignored\"", kinds[i].wrong);
        ck_assert_msg(r.status != 200 || strstr(r.body.p, want), "%s: %s", b.p, r.body.p);
        reply_fini(&r);
        put_body(&b, i, "metadata", "null");
        ask(&r, "POST", kinds[i].path, "", b.p);
        ck_assert_msg(!strstr(r.body.p, "'metadata' has no effect"), "%s: %s", b.p, r.body.p);
        reply_fini(&r);
    }
    expect_status("POST", "/v1/messages", "",
                  "{\"max_tokens\":9," MESSAGES ",\"metadata\":{\"user_id\":\"u\"}}", 200,
                  "'metadata' has no effect");
    expect_status("POST", "/v1/messages", "",
                  "{\"max_tokens\":9," MESSAGES ",\"stream\":true,\"mcp_servers\":[]}", 200,
                  "'mcp_servers' has no effect");
    expect_status("POST", "/v1/completions", "",
                  "{\"prompt\":\"a\",\"stream\":true,\"user\":\"u\"}", 200, "'user' has no effect");
    /* errors call a field as the client does */
    expect_status("POST", "/v1/responses", "", "{\"input\":\"a\",\"max_output_tokens\":0}", 400,
                  "\"message\":\"max_output_tokens: must be a whole number from 1 on\","
                  "\"type\":\"invalid_request_error\",\"param\":\"max_output_tokens\"");
    expect_status("POST", "/v1/messages", "",
                  "{\"max_tokens\":9," MESSAGES ",\"stop_sequences\":7}", 400,
                  "\"message\":\"stop_sequences: must be");
    expect_status("POST", "/v1/responses", "", "{\"messages\":[]}", 400, "input: must be");
    buf_fini(&b);
    serve_stop();
}
END_TEST

/* max_tokens 0: of a text, what its prompt is like and nothing else; of a chat, a mistake. */
START_TEST(scored)
{
    static const char *const with[] = {"-c", "512", "-t", "1", NULL};
    static const char *const some[] = {
        "{\"prompt\":\"The fox ran home.\",\"max_tokens\":0,\"echo\":true,\"logprobs\":2}",
        "{\"prompt\":\"The fox ran home.\",\"max_tokens\":3,\"echo\":true,\"logprobs\":2}"};
    json_t *v[2], *c, *list[2];
    struct reply r;

    if (!serve_start(with))
        return;
    wait_ready();
    for (int i = 0; i < 2; i++) {
        ask(&r, "POST", "/v1/completions", "", some[i]);
        ck_assert_msg(r.status == 200, "%s", r.body.p);
        v[i] = body_of(&r);
        reply_fini(&r);
        c = json_array_get(json_object_get(v[i], "choices"), 0);
        list[i] = json_object_get(json_object_get(c, "logprobs"), "token_logprobs");
    }
    c = json_array_get(json_object_get(v[0], "choices"), 0);
    ck_assert_str_eq(str(c, "text"), "The fox ran home.");
    ck_assert_str_eq(str(c, "finish_reason"), "length");
    c = json_object_get(v[0], "usage");
    ck_assert_int_eq(json_integer_value(json_object_get(c, "completion_tokens")), 0);
    ck_assert_int_eq(json_integer_value(json_object_get(c, "prompt_tokens")),
                     (json_int_t)json_array_size(list[0]));
    ck_assert_uint_eq(json_array_size(list[1]), json_array_size(list[0]) + 3);
    ck_assert(json_is_null(json_array_get(list[0], 0)));
    for (size_t i = 1; i < json_array_size(list[0]); i++) {
        double x = json_number_value(json_array_get(list[0], i));

        ck_assert(x < 0 && x == json_number_value(json_array_get(list[1], i)));
    }
    json_decref(v[0]);
    json_decref(v[1]);
    ck_assert_double_eq(metric("rill_drawn_tokens_total"), 3);
    ask(&r, "POST", "/v1/completions", "",
        "{\"prompt\":\"The fox\",\"max_tokens\":0,\"echo\":true,\"stream\":true}");
    ck_assert_msg(strstr(r.body.p, "\"text\":\"The fox\"") && strstr(r.body.p, "\"length\"") &&
                      strstr(r.body.p, "[DONE]"),
                  "%s", r.body.p);
    reply_fini(&r);
    expect_status("POST", "/v1/completions", "", "{\"prompt\":\"a\",\"max_tokens\":0}", 200,
                  "\"text\":\"\"");
    expect_status("POST", "/v1/completions", "", "{\"prompt\":\"a\",\"max_tokens\":-1}", 400,
                  "\"param\":\"max_tokens\"");
    expect_status("POST", "/v1/chat/completions", "", "{\"max_tokens\":0," MESSAGES "}", 400,
                  "max_tokens: must be a whole number from 1 on");
    expect_status("POST", "/v1/chat/completions", "", "{\"max_completion_tokens\":0," MESSAGES "}",
                  400, "\"param\":\"max_completion_tokens\"");
    serve_stop();
}
END_TEST

/* Behind a last message of the assistant the answer goes on with that, as a text would. */
START_TEST(prefill)
{
    static const char *const with[] = {"-c", "512", "-t", "1", NULL};
    static const char head[] = "{\"max_tokens\":8,\"temperature\":0,\"messages\":[{\"role\":"
                               "\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"content\":";
    char body[400], text[2][200];
    struct reply r;
    json_t *v;

    if (!serve_start(with))
        return;
    wait_ready();
    for (int i = 0; i < 2; i++) {
        snprintf(body, sizeof body, "%s%s}]%s}", head,
                 i ? "\"Once upon a\"" : "[{\"type\":\"text\",\"text\":\"Once upon a\"}]",
                 i ? ",\"continue_final_message\":true" : "");
        ask(&r, "POST", i ? "/v1/chat/completions" : "/v1/messages", "", body);
        v = body_of(&r);
        ck_assert_int_eq(r.status, 200);
        snprintf(
            text[i], sizeof text[i], "%s",
            i ? str(json_object_get(json_array_get(json_object_get(v, "choices"), 0), "message"),
                    "content")
              : str(json_array_get(json_object_get(v, "content"), 0), "text"));
        json_decref(v);
        reply_fini(&r);
    }
    ck_assert_str_eq(text[0], text[1]);
    ck_assert_int_eq(text[0][0], ' '); // " time, ..."
    serve_stop();
}
END_TEST

/* Errors name the field that is wrong, whoever finds it. */
START_TEST(params)
{
    static const struct {
        const char *path, *body, *param;
    } some[] = {
        {"/v1/chat/completions", "{" MESSAGES ",\"temperature\":-1}", "\"temperature\""},
        {"/v1/chat/completions", "{" MESSAGES ",\"n\":200}", "\"n\""},
        {"/v1/chat/completions", "{" MESSAGES ",\"stop\":\"\"}", "\"stop\""},
        {"/v1/chat/completions", "{" MESSAGES ",\"logit_bias\":{\"9999999\":1}}", "\"logit_bias\""},
        {"/v1/chat/completions", "{" MESSAGES ",\"regex\":\"(\"}", "\"regex\""},
        {"/v1/chat/completions", "{" MESSAGES ",\"lora\":[{\"id\":9}]}", "\"lora\""},
        {"/v1/completions", "{\"prompt\":[9999999]}", "\"prompt\""},
        {"/v1/completions", "{\"prompt\":[[]]}", "\"prompt\""},
        {"/v1/embeddings", "{\"input\":[9999999]}", "\"input\""},
        {"/detokenize", "{\"tokens\":[9999999]}", "\"tokens\""},
    };
    static const char *const with[] = {"-c", "512", "-t", "1", NULL};
    char want[60];

    if (!serve_start(with))
        return;
    wait_ready();
    for (size_t i = 0; i < ARRAY_LEN(some); i++) {
        snprintf(want, sizeof want, "\"param\":%s,", some[i].param);
        expect_status("POST", some[i].path, "", some[i].body, 400, want);
    }
    expect_status("POST", "/v1/chat/completions", "",
                  "{" MESSAGES ",\"max_tokens\":1,\"logprobs\":false,\"top_logprobs\":0}", 200,
                  "\"logprobs\":null");
    serve_stop();
}
END_TEST

/* -- what ended an answer, and how likely it was -- */

/* Of several strings the one that was met is told, and none where none was. */
START_TEST(stop_sequences)
{
    static const char *const with[] = {"-c", "512", "-t", "1", NULL};
    static const struct {
        const char *stops, *want;
    } some[] = {{"[\"zzz\",\" the\",\"the\"]", "\"stop_sequence\",\"stop_sequence\":\" the\""},
                {"[\"the\",\" the\"]", "\"stop_sequence\",\"stop_sequence\":\" the\""},
                {"[\"zzz\"]", "\"max_tokens\",\"stop_sequence\":null"},
                {"[]", "\"max_tokens\",\"stop_sequence\":null"}};
    char body[300], want[100];

    if (!serve_start(with))
        return;
    wait_ready();
    for (size_t i = 0; i < ARRAY_LEN(some); i++)
        for (int stream = 0; stream < 2; stream++) {
            snprintf(body, sizeof body,
                     "{\"max_tokens\":60,\"temperature\":0,\"ignore_eos\":true,\"stream\":%s,"
                     "\"stop_sequences\":%s," MESSAGES "}",
                     stream ? "true" : "false", some[i].stops);
            snprintf(want, sizeof want, "\"stop_reason\":%s", some[i].want);
            expect_status("POST", "/v1/messages", "", body, 200, want);
        }
    serve_stop();
}
END_TEST

/* The log-probabilities of a text's tokens, where they are asked for: in its deltas, all of them
 * where it ends. */
START_TEST(responses_logprobs)
{
    static const char *const with[] = {"-c", "512", "-t", "1", NULL};
    static const char tail[] = "\"input\":\"hi\",\"max_output_tokens\":6,\"temperature\":0,"
                               "\"ignore_eos\":true,\"top_logprobs\":2,\"include\":["
                               "\"message.output_text.logprobs\",\"web_search_call.results\"]}";
    json_t *v, *list = NULL, *deltas = json_array();
    char body[400], *p, *told = NULL;
    struct reply r;

    if (!serve_start(with)) {
        json_decref(deltas);
        return;
    }
    wait_ready();
    openapi_open();
    snprintf(body, sizeof body, "{\"stream\":true,%s", tail);
    ask(&r, "POST", "/v1/responses", "", body);
    p = r.body.p;
    while ((v = next_event(&p)) != NULL) {
        char *text = json_dumps(v, 0);

        list = json_object_get(v, "logprobs");
        if (openapi.root)
            openapi_valid("ResponseStreamEvent", text, strlen(text));
        if (strcmp(str(v, "type"), "response.output_text.delta") == 0)
            json_array_extend(deltas, list);
        if (strcmp(str(v, "type"), "response.output_text.done") == 0)
            ck_assert(json_equal(list, deltas));
        free(text);
        json_decref(v);
    }
    ck_assert_uint_eq(json_array_size(deltas), 6);
    ck_assert_uint_eq(json_array_size(json_object_get(json_array_get(deltas, 5), "top_logprobs")),
                      2);
    reply_fini(&r);
    snprintf(body, sizeof body, "{%s", tail);
    ask(&r, "POST", "/v1/responses", "", body);
    ck_assert_msg(r.status == 200 && strstr(r.body.p, "including 'web_search_call.results' has"),
                  "%s", r.body.p);
    if (openapi.root)
        openapi_valid("Response", r.body.p, strlen(r.body.p));
    v = body_of(&r);
    list = json_array_get(json_object_get(v, "output"), 0);
    list = json_array_get(json_object_get(list, "content"), 0);
    ck_assert(json_equal(json_object_get(list, "logprobs"), deltas));
    json_decref(v);
    reply_fini(&r);
    ask(&r, "POST", "/v1/responses", "", "{\"input\":\"hi\",\"max_output_tokens\":2}");
    told = strstr(r.body.p, "\"logprobs\":[]");
    ck_assert_msg(told != NULL, "%s", r.body.p);
    reply_fini(&r);
    json_decref(deltas);
    openapi_close();
    serve_stop();
}
END_TEST

/* -- the cache -- */

/* Two turns of a session with a tool: of the second prompt at least 95 % are there already. */
START_TEST(second_turn)
{
    static const char *const some[] = {"-c", "2048", "-t", "1", "--tool-format", "generic", NULL};
    struct buf system = {0}, body = {0};
    struct reply r;
    json_t *v, *usage, *content;
    double cached, all;
    char *said;

    if (!serve_start(some))
        return;
    wait_ready();
    for (int i = 0; i < 120; i++)
        buf_str(&system, "You are a friend of the fox and of the bear. ");
    for (int turn = 0; turn < 2; turn++) {
        buf_clear(&body);
        buf_printf(
            &body,
            "{\"max_tokens\":60,\"temperature\":0,\"tool_choice\":{\"type\":\"any\","
            "\"disable_parallel_tool_use\":true},\"tools\":[{\"name\":\"look\","
            "\"input_schema\":{\"type\":\"object\",\"properties\":{\"at\":{\"enum\":[\"fox\","
            "\"bear\"]}},\"required\":[\"at\"],\"additionalProperties\":false}}],\"system\":["
            "{\"type\":\"text\",\"text\":\"x-anthropic-billing-header: %d\"},{\"type\":"
            "\"text\",\"text\":\"%s\"}],\"messages\":[{\"role\":\"user\",\"content\":"
            "\"Who is there?\"}",
            turn, system.p);
        if (turn > 0) {
            said = json_dumps(content, 0);
            buf_printf(&body,
                       ",{\"role\":\"assistant\",\"content\":%s},{\"role\":\"user\",\"content\":[{"
                       "\"type\":\"tool_result\",\"tool_use_id\":\"%s\",\"content\":\"a fox\"}]}",
                       said, str(json_array_get(content, json_array_size(content) - 1), "id"));
            free(said);
            json_decref(v);
        }
        buf_str(&body, "]}");
        ask(&r, "POST", "/v1/messages", "", body.p);
        ck_assert_msg(r.status == 200, "%s", r.body.p);
        v = body_of(&r);
        content = json_object_get(v, "content");
        ck_assert_str_eq(str(v, "stop_reason"), "tool_use");
        usage = json_object_get(v, "usage");
        cached = json_number_value(json_object_get(usage, "cache_read_input_tokens"));
        all = cached + json_number_value(json_object_get(usage, "input_tokens"));
        reply_fini(&r);
    }
    ck_assert_msg(cached >= 0.95 * all, "%.0f of %.0f", cached, all);
    json_decref(v);
    buf_fini(&system);
    buf_fini(&body);
    serve_stop();
}
END_TEST

TEST_MAIN("tools/serve_apis", messages, messages_stream, noise, responses, responses_stream,
          no_json, unknown_fields, scored, prefill, params, stop_sequences, responses_logprobs,
          second_turn)
