/* test_serve.c - rill-serve through its socket: what clients send, well or badly, and what they
 * get.
 */
#include "tests/tools/client.h"
#include "tests/tools/openapi.h"

#define SCRIPT "{\"answers\":[{\"text\":\"One two \xe2\x82\xac three.\"}]}"
#define CHAT   "/v1/chat/completions"
#define USER   "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

/* -- each endpoint -- */

START_TEST(endpoints)
{
    static const char *const names[] = {
        "/models",    "/v1/models", "/v1/models/", "/v1/models/tales", "/models/tales", "/health",
        "/v1/health", "/ready",     "/version/",   "/metrics",         "/props"};

    if (!serve_script(SCRIPT, NULL))
        return;
    wait_ready();
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        expect_status("GET", names[i], "", NULL, 200, NULL);
    for (int i = 0; i < 4; i++) {
        static const char *const path[] = {CHAT, CHAT "/", "/chat/completions",
                                           "/chat/completions/"};

        expect_status("POST", path[i], "", "{" USER "}", 200, "three.");
    }
    expect_status("POST", "/v1/completions", "", "{\"prompt\":\"x\"}", 200, "\"text\":\"One");
    expect_status("POST", "/tokenize", "", "{\"content\":\"One two\"}", 200, "\"count\":");
    expect_status("POST", "/tokenize", "", "{" USER "}", 200, "\"max_model_len\":");
    expect_status("POST", "/detokenize", "", "{\"tokens\":[]}", 200, "\"content\":\"\"");
    expect_status("POST", "/apply-template", "", "{" USER "}", 200, "<|user|>");
    expect_status("GET", "/v1/models/none", "", NULL, 404, "model_not_found");
    expect_status("GET", "/v1/none", "", NULL, 404, "unknown_url");
    expect_status("GET", CHAT, "", NULL, 405, "Allow: POST");
    expect_status("POST", "/health", "", "{}", 405, "Allow: GET, HEAD");
    expect_status("HEAD", "/health", "", NULL, 200, "");
    expect_status("OPTIONS", CHAT, "", NULL, 204, "Allow: POST");
    serve_stop();
}
END_TEST

START_TEST(valid_replies)
{
    struct reply r;

    if (!openapi_open() || !serve_script(SCRIPT, NULL))
        return;
    wait_ready();
    ask(&r, "POST", CHAT, "", "{" USER ",\"logprobs\":true}");
    openapi_valid("CreateChatCompletionResponse", r.body.p, strlen(r.body.p));
    reply_fini(&r);
    ask(&r, "POST", "/v1/completions", "", "{\"prompt\":\"x\"}");
    openapi_valid("CreateCompletionResponse", r.body.p, strlen(r.body.p));
    reply_fini(&r);
    ask(&r, "GET", "/v1/models", "", NULL);
    openapi_valid("ListModelsResponse", r.body.p, strlen(r.body.p));
    reply_fini(&r);
    ask(&r, "GET", "/v1/models/tales", "", NULL);
    openapi_valid("Model", r.body.p, strlen(r.body.p));
    reply_fini(&r);
    ask(&r, "POST", CHAT, "", "{}");
    ck_assert_int_eq(r.status, 400);
    openapi_valid("ErrorResponse", r.body.p, strlen(r.body.p));
    reply_fini(&r);
    openapi_close();
    serve_stop();
}
END_TEST

/* Each path with and without /v1 in front and a slash behind is there, by each of its methods. */
static void every_spelling(json_t *paths)
{
    const char *path, *method;
    json_t *methods, *m;

    json_object_foreach(paths, path, methods) json_object_foreach(methods, method, m)
    {
        const bool post = strcmp(method, "post") == 0;

        for (int i = 0; i < 4; i++) {
            char where[200];
            struct reply r;

            if ((i & 1) && strcmp(path, "/") == 0)
                continue;
            snprintf(where, sizeof where, "%s%s%s", i & 1 ? "/v1" : "",
                     strncmp(path, "/v1/", 4) == 0 ? path + 3 : path, i & 2 ? "/" : "");
            ask(&r, post ? "POST" : "GET", where, "", post ? "{}" : NULL);
            ck_assert_msg(r.status == 200 || r.status == 400, "%s: %d", where, r.status);
            reply_fini(&r);
        }
    }
}

/* The description has each path, and the fields that requests may have. */
START_TEST(description)
{
    static const char *const posts[] = {
        "/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses",
        "/v1/embeddings",       "/v1/rerank",      "/v1/infill"};
    static const char *const one[] = {"max_completion_tokens", "echo",       "stop_sequences",
                                      "max_output_tokens",     "dimensions", "top_n",
                                      "input_prefix"};
    struct reply r;
    json_t *v;

    if (!serve_script(SCRIPT, NULL))
        return;
    wait_ready();
    ask(&r, "GET", "/openapi.json", "", NULL);
    ck_assert_int_eq(r.status, 200);
    v = json_loads(r.body.p, JSON_REJECT_DUPLICATES, NULL);
    ck_assert_msg(v != NULL, "%s", r.body.p);
    for (size_t i = 0; i < ARRAY_LEN(posts); i++) {
        json_t *fields = NULL;

        ck_assert_int_eq(json_unpack(json_object_get(v, "paths"), "{s:{s:{s:{s:{s:{s:{s:o}}}}}}}",
                                     posts[i], "post", "requestBody", "content", "application/json",
                                     "schema", "properties", &fields),
                         0);
        ck_assert_msg(json_object_get(fields, one[i]) != NULL, "%s lacks %s", posts[i], one[i]);
        ck_assert_msg(json_object_get(fields, "model") != NULL, "%s lacks model", posts[i]);
    }
    ck_assert_ptr_nonnull(json_object_get(json_object_get(v, "paths"), "/health"));
    every_spelling(json_object_get(v, "paths"));
    json_decref(v);
    reply_fini(&r);
    serve_stop();
}
END_TEST

/* A vocabulary without marks for it cannot put text between two others, and says so; with them the
 * prompt has the three parts in their order. */
START_TEST(infill)
{
    static char fim[1100];
    static const char *const with[] = {"-m", fim, NULL};
    const char *path = testdata("tokenizers/ggml-vocab/ggml-vocab-deepseek-coder.gguf");

    snprintf(fim, sizeof fim, "fim=%s", path ? path : srcfile("share/rill-tales.gguf"));
    if (!serve_script("{\"answers\":[{\"text\":\"no\"},{\"when\":\"def f(x<\xef\xbd\x9c"
                      "fim"
                      "\xe2\x96\x81hole\xef\xbd\x9c>return x\",\"text\":\"yes\"}]}",
                      with))
        return;
    wait_ready();
    expect_status("POST", "/infill", "", "{\"input_prefix\":\"a\",\"input_suffix\":\"b\"}", 400,
                  "no tokens for text in between");
    expect_status("POST", "/infill", "", "{\"input_prefix\":7}", 400, "must be a string");
    expect_status("POST", "/infill", "", "[]", 400, "not a JSON object");
    if (path)
        expect_status("POST", "/infill", "",
                      "{\"model\":\"fim\",\"input_prefix\":\"def f(\",\"prompt\":\"x\","
                      "\"input_suffix\":\"return x\",\"input_extra\":[{}]}",
                      200, "\"content\":\"yes\"");
    serve_stop();
}
END_TEST

START_TEST(streams)
{
    struct reply r;
    char *p;
    int n = 0;

    if (!serve_script(SCRIPT, NULL))
        return;
    openapi_open();
    wait_ready();
    ask(&r, "POST", CHAT, "",
        "{" USER ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
    ck_assert_int_eq(r.status, 200);
    ck_assert_ptr_nonnull(strstr(r.head.p, "Content-Type: text/event-stream; charset=utf-8\r\n"));
    ck_assert_ptr_nonnull(strstr(r.head.p, "Cache-Control: no-cache\r\n"));
    for (p = r.body.p; strncmp(p, "data: {", 7) == 0; p = strstr(p, "\n\n") + 2, n++) {
        char *null = strstr(p, ",\"usage\":null");

        if (null && null < strstr(p, "\n\n")) /* as described in words (see test_api.c) */
            memcpy(null, "             ", 13);
        if (openapi.root)
            openapi_valid("CreateChatCompletionStreamResponse", p + 6,
                          (size_t)(strstr(p, "\n\n") - p) - 6);
    }
    ck_assert_str_eq(p, "data: [DONE]\n\n");
    ck_assert_int_gt(n, 4);
    ck_assert_ptr_nonnull(strstr(r.body.p, "\xe2\x82\xac"));
    reply_fini(&r);
    openapi_close();
    serve_stop();
}
END_TEST

START_TEST(wrong_requests)
{
    static const char *const strict[] = {"--strict", "--strict-model", "-c", "2000", NULL};

    if (!serve_script(SCRIPT, strict))
        return;
    wait_ready();
    expect_status("POST", CHAT, "", "{" USER ",\"max_tokenz\":1}", 400,
                  "did you mean 'max_tokens'");
    expect_status("POST", CHAT, "", "{" USER ",\"max_tokens\":\"a\"}", 400,
                  "\"param\":\"max_tokens\"");
    expect_status("POST", CHAT, "", "not json", 400, "not JSON");
    expect_status("POST", CHAT, "", "{\"model\":\"other\"," USER "}", 404, "model_not_found");
    expect_status("POST", CHAT, "", "{\"model\":\"tales\"," USER "}", 200, NULL);
    expect_status("POST", CHAT, "Content-Encoding: gzip\r\n", "{}", 415, "unsupported_encoding");
    {
        struct buf b = {0};
        struct reply r;
        int fd = dial();

        put_text(fd, "POST " CHAT " HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
                     "Content-Length: 2\r\n\r\n{}");
        get_reply(fd, &r);
        ck_assert_int_eq(r.status, 415);
        reply_fini(&r);
        close(fd);
        buf_str(&b, "{\"prompt\":[1");
        for (int i = 0; i < 2000; i++)
            buf_str(&b, ",1");
        buf_str(&b, "]}");
        ask(&r, "POST", "/v1/completions", "", b.p);
        ck_assert_int_eq(r.status, 400);
        ck_assert_ptr_nonnull(strstr(r.body.p, "context_length_exceeded"));
        ck_assert_ptr_nonnull(strstr(r.body.p, "maximum context length is 2000 tokens"));
        reply_fini(&r);
        buf_fini(&b);
    }
    expect_status("GET", "/health", "Host: evil.example\r\n", NULL, 400, "Host");
    serve_stop();
}
END_TEST

/* -- the connection -- */

START_TEST(heads)
{
    static const char *const bad[] = {
        "GET /health HTTP/1.1\nHost: localhost\n\n",
        "GET /health HTTP/1.1\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /health HTTP/1.1\r\nHost: "
        "localhost\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
        "Content-Length: 3\r\n\r\n{}",
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: localhost\r\nA: b\r\n c\r\n\r\n"};

    if (!serve_script(SCRIPT, NULL))
        return;
    wait_ready();
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct reply r, second;
        int fd = dial();

        put_text(fd, bad[i]);
        shutdown(fd, SHUT_WR);
        if (i == 0) { // no head ends there: the client has just left
            ck_assert(!get_head(fd, &r));
            reply_fini(&r);
            close(fd);
            continue;
        }
        get_reply(fd, &r);
        ck_assert_msg(r.status >= 400 && r.status < 500, "%zu: %d", i, r.status);
        ck_assert(!get_head(fd, &second)); // nothing behind it is taken for a request
        reply_fini(&r);
        reply_fini(&second);
        close(fd);
    }
    serve_stop();
}
END_TEST

START_TEST(connection)
{
    struct reply r;
    int fd;

    if (!serve_script(SCRIPT, NULL))
        return;
    wait_ready();

    /* several requests one behind the other: their replies in order */
    fd = dial();
    put_text(fd, "GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n");
    put_request(fd, "POST", CHAT, "", "{" USER "}");
    put_text(fd, "GET /none HTTP/1.1\r\nHost: localhost\r\n\r\nGET /health HTTP/1.1\r\n"
                 "Host: localhost\r\nConnection: close\r\n\r\n");
    get_reply(fd, &r);
    ck_assert_ptr_nonnull(strstr(r.body.p, "version"));
    reply_fini(&r);
    get_reply(fd, &r);
    ck_assert_ptr_nonnull(strstr(r.body.p, "chat.completion"));
    reply_fini(&r);
    get_reply(fd, &r);
    ck_assert_int_eq(r.status, 404);
    reply_fini(&r);
    get_reply(fd, &r);
    ck_assert_ptr_nonnull(strstr(r.body.p, "\"ok\""));
    ck_assert_ptr_nonnull(strstr(r.head.p, "Connection: close"));
    reply_fini(&r);
    ck_assert(!get_head(fd, &r));
    reply_fini(&r);
    close(fd);

    /* byte by byte, in chunks */
    fd = dial();
    for (const char *p = "POST " CHAT " HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                         "application/json; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
                         "1\r\n{\r\n2b;x=y\r\n" USER "\r\n1\r\n}\r\n0\r\nT: u\r\n\r\n";
         *p; p++)
        put_bytes(fd, p, 1);
    get_reply(fd, &r);
    ck_assert_msg(r.status == 200, "%s", r.body.p);
    reply_fini(&r);
    close(fd);

    /* Expect: 100-continue; refused before the body where it would not be read */
    fd = dial();
    put_text(fd, "POST " CHAT " HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                 "Content-Type: application/json\r\nContent-Length: 49\r\n\r\n");
    get_head(fd, &r);
    ck_assert_int_eq(r.status, 100);
    reply_fini(&r);
    put_text(fd, "{" USER "    }");
    get_reply(fd, &r);
    ck_assert_int_eq(r.status, 200);
    reply_fini(&r);
    close(fd);
    fd = dial();
    put_text(fd, "POST /none HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
                 "Content-Length: 50\r\n\r\n");
    get_reply(fd, &r);
    ck_assert_int_eq(r.status, 404);
    ck_assert_ptr_nonnull(strstr(r.head.p, "Connection: close"));
    reply_fini(&r);
    close(fd);

    /* HTTP/1.0: a stream without chunks, ended by the end */
    fd = dial();
    put_text(fd, "POST " CHAT " HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                 "Content-Length: 59\r\n\r\n{" USER ",\"stream\":true}");
    get_reply(fd, &r);
    ck_assert(!r.chunked);
    ck_assert_ptr_nonnull(strstr(r.body.p, "data: [DONE]\n\n"));
    reply_fini(&r);
    close(fd);
    serve_stop();
}
END_TEST

START_TEST(limits)
{
    static const char *const small[] = {"--max-head",
                                        "2K",
                                        "--max-body",
                                        "2K",
                                        "--head-seconds",
                                        "0.5",
                                        "--body-seconds",
                                        "0.5",
                                        "--idle-seconds",
                                        "0.5",
                                        "--max-connections",
                                        "20",
                                        NULL};
    struct reply r;
    struct buf b = {0};
    int fd, idle[30];

    if (!serve_script(SCRIPT, small))
        return;
    wait_ready();
    fd = dial();
    put_text(fd, "GET / HTTP/1.1\r\nHost: localhost\r\nA: ");
    for (int i = 0; i < 3000; i++)
        buf_byte(&b, 'a');
    put_text(fd, b.p);
    get_reply(fd, &r);
    ck_assert_int_eq(r.status, 431);
    reply_fini(&r);
    close(fd);
    expect_status("POST", CHAT, "", b.p, 413, "too large");
    buf_fini(&b);
    fd = dial();
    put_text(fd, "POST " CHAT " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                 "Transfer-Encoding: chunked\r\n\r\n900\r\n");
    get_reply(fd, &r);
    ck_assert_int_eq(r.status, 413);
    reply_fini(&r);
    close(fd);
    fd = dial(); // slower than allowed
    put_text(fd, "GET /health HTT");
    get_reply(fd, &r);
    ck_assert_int_eq(r.status, 408);
    reply_fini(&r);
    close(fd);
    fd = dial();
    put_text(fd, "POST " CHAT " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab");
    get_reply(fd, &r);
    ck_assert_int_eq(r.status, 408);
    reply_fini(&r);
    close(fd);
    /* more than there is room for: the oldest idle ones go, new ones are served */
    for (int i = 0; i < 30; i++)
        idle[i] = dial();
    expect_status("GET", "/health", "", NULL, 200, NULL);
    for (int i = 0; i < 30; i++)
        close(idle[i]);
    fd = dial(); // idle for too long
    ck_assert(!get_head(fd, &r));
    reply_fini(&r);
    close(fd);
    serve_stop();
}
END_TEST

/* A reader that takes nothing is dropped when it is too far behind, and its work ends. */
START_TEST(slow_reader)
{
    static const char *const little[] = {"--max-behind", "64K", NULL};
    int fd, small = 4096;

    if (!serve_script("{\"answers\":[{\"text\":\"word \",\"repeat\":200000}]}", little))
        return;
    wait_ready();
    fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    close(fd);
    fd = dial();
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    put_request(fd, "POST", CHAT, "", "{" USER ",\"stream\":true}");
    client_nap(300);
    wait_idle(10);
    ck_assert_int_ge((int)metric("rill_requests_finished_total{model_name=\"tales\",reason="
                                 "\"cancelled\"}"),
                     1);
    close(fd);
    serve_stop();
}
END_TEST

/* -- leaving -- */

/* In the prompt phase and between tokens: what a client leaves behind ends at once. */
START_TEST(leaving)
{
    int fd[64];
    struct reply r;
    double took;

    if (!serve_script("{\"prompt_ms\":20000,\"answers\":[{\"text\":\"a\"}]}", NULL))
        return;
    wait_ready();
    for (int i = 0; i < 64; i++) {
        fd[i] = dial();
        put_request(fd[i], "POST", CHAT, "", i % 2 ? "{" USER ",\"stream\":true}" : "{" USER "}");
    }
    for (int i = 0; i < 200 && metric("rill_requests_running") < 64; i++)
        client_nap(10);
    ck_assert_int_eq((int)metric("rill_requests_running"), 64);
    for (int i = 0; i < 64; i++)
        close(fd[i]);
    took = wait_idle(10);
    ck_assert_msg(took < 3, "%.3f s", took);
    serve_stop();

    if (!serve_script("{\"token_ms\":20,\"answers\":[{\"text\":\"word \",\"repeat\":10000}]}",
                      NULL))
        return;
    wait_ready();
    fd[0] = dial();
    put_request(fd[0], "POST", CHAT, "", "{" USER ",\"stream\":true}");
    get_head(fd[0], &r);
    get_chunk(fd[0], &r);
    get_chunk(fd[0], &r);
    close(fd[0]);
    reply_fini(&r);
    took = wait_idle(10);
    ck_assert_msg(took < 1, "%.3f s", took);
    serve_stop();
}
END_TEST

/* Hundreds leave the real engine; those that stay get what they would have got alone. */
START_TEST(leaving_others)
{
    static const char *const few[] = {"--parallel", "8", "--max-queue", "1000", "-t", "1", NULL};
    static const char stay[] = "{\"prompt\":\"The fox\",\"max_tokens\":60,\"temperature\":1,"
                               "\"seed\":5}";
    struct reply alone, among[4];
    int fd[4], go[200];

    if (!serve_start(few))
        return;
    wait_ready();
    ask(&alone, "POST", "/v1/completions", "", stay);
    for (int i = 0; i < 200; i++) {
        go[i] = dial();
        put_request(go[i], "POST", "/v1/completions", "",
                    i % 3 ? "{\"prompt\":\"Once\",\"max_tokens\":400,\"stream\":true,"
                            "\"ignore_eos\":true}"
                          : "{\"prompt\":\"Once upon a time there was\",\"max_tokens\":400,"
                            "\"ignore_eos\":true}");
        if (i % 50 == 0) {
            fd[i / 50] = dial();
            put_request(fd[i / 50], "POST", "/v1/completions", "", stay);
        }
        if (i % 7 == 3)
            close(go[i]);
    }
    for (int i = 0; i < 200; i++)
        if (i % 7 != 3)
            close(go[i]);
    for (int i = 0; i < 4; i++) {
        const char *a, *b;

        get_reply(fd[i], &among[i]);
        ck_assert_int_eq(among[i].status, 200);
        a = strstr(alone.body.p, "\"text\":");
        b = strstr(among[i].body.p, "\"text\":");
        ck_assert_ptr_nonnull(b);
        ck_assert_int_eq(strncmp(a, b, strcspn(a, "}")), 0);
        reply_fini(&among[i]);
        close(fd[i]);
    }
    reply_fini(&alone);
    wait_idle(20);
    /* 200 requests of 400 tokens were not made */
    ck_assert_int_lt((int)metric("rill_drawn_tokens_total"), 20000);
    serve_stop();
}
END_TEST

/* -- limits of work, keys, ends -- */

START_TEST(full_queue)
{
    static const char *const few[] = {"--parallel", "1", "--max-queue", "1", NULL};
    int fd[2];

    if (!serve_script("{\"prompt_ms\":20000,\"answers\":[{\"text\":\"a\"}]}", few))
        return;
    wait_ready();
    for (int i = 0; i < 2; i++) {
        fd[i] = dial();
        put_request(fd[i], "POST", CHAT, "", "{" USER "}");
    }
    for (int i = 0;
         i < 200 && metric("rill_requests_running") + metric("rill_requests_waiting") < 2; i++)
        client_nap(10);
    expect_status("POST", CHAT, "", "{" USER "}", 429, "Retry-After: 1");
    close(fd[0]);
    close(fd[1]);
    wait_idle(10);
    serve_stop();
}
END_TEST

static void write_keys(const char *path, const char *more)
{
    FILE *f = fopen(path, "w");

    /* sha256sum of key-number-one-1 and key-number-two-2 */
    fprintf(f,
            "# who may ask\n\n"
            "d810fcdce54bfe2d3349cff81ab558b320ef645b9f4a2f329a36af9450ca6879 alice rate=0.01 "
            "models=tales\n"
            "938523f9de92b17388095976312d7172d764f438483011b9fd2374a137eeaefe bob %s\n",
            more);
    fclose(f);
}

START_TEST(keys)
{
    const char *path = tmpfile_path("keys");
    const char *const with[] = {"--keys", path, NULL};
    static const char one[] = "Authorization: Bearer key-number-one-1\r\n";
    static const char two[] = "x-api-key: key-number-two-2\r\n";

    write_keys(path, "scopes=metrics");
    if (!serve_script(SCRIPT, with)) {
        unlink(path);
        return;
    }
    wait_ready();
    expect_status("GET", "/health", "", NULL, 200, NULL);
    expect_status("GET", "/v1/models", "", NULL, 401, "invalid_api_key");
    expect_status("GET", "/v1/models", "x-api-key: key-number-one-2\r\n", NULL, 401, NULL);
    expect_status("POST", CHAT, one, "{" USER "}", 200, NULL);
    expect_status("POST", CHAT, one, "{" USER "}", 429, "retry-after-ms: ");
    expect_status("POST", CHAT, two, "{" USER "}", 403, "scope_not_allowed");
    expect_status("GET", "/metrics", two, NULL, 200, "rill_key_requests_total{key=\"alice\"} 1\n");
    write_keys(path, "models=other");
    kill(served.pid, SIGHUP);
    for (int i = 0; i < 300; i++) {
        struct reply r;
        int status;

        ask(&r, "GET", "/v1/models", two, NULL);
        status = r.status;
        reply_fini(&r);
        if (status == 200)
            break;
        client_nap(10);
    }
    expect_status("POST", CHAT, two, "{" USER "}", 403, "model_not_allowed");
    expect_status("POST", CHAT, one, "{" USER "}", 429, NULL); // its bucket is still empty
    unlink(path);
    serve_stop();
}
END_TEST

/* SIGTERM: what runs is answered, nothing new is taken. */
START_TEST(drains)
{
    struct reply r;
    int fd, idle;

    if (!serve_script("{\"token_ms\":20,\"answers\":[{\"text\":\"word \",\"repeat\":30}]}", NULL))
        return;
    wait_ready();
    idle = dial();
    fd = dial();
    put_request(fd, "POST", CHAT, "", "{" USER ",\"stream\":true}");
    get_head(fd, &r);
    get_chunk(fd, &r);
    kill(served.pid, SIGTERM);
    while (get_chunk(fd, &r))
        ;
    buf_byte(&r.body, 0);
    ck_assert(!r.closed);
    ck_assert_ptr_nonnull(strstr(r.body.p, "data: [DONE]"));
    reply_fini(&r);
    ck_assert(!get_head(idle, &r)); // closed at once
    reply_fini(&r);
    close(fd);
    close(idle);
    served.script[0] = 0;
    {
        int status = -1;

        waitpid(served.pid, &status, 0);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}
END_TEST

/* A sign of life while nothing is said. */
START_TEST(pings)
{
    static const char *const soon[] = {"--ping-seconds", "0.5", NULL};
    struct reply r;

    if (!serve_script("{\"prompt_ms\":1500,\"answers\":[{\"text\":\"a\"}]}", soon))
        return;
    wait_ready();
    ask(&r, "POST", CHAT, "", "{" USER ",\"stream\":true}");
    ck_assert_int_eq(strncmp(r.body.p, ": ping\n\n", 8), 0);
    ck_assert_ptr_nonnull(strstr(r.body.p, "data: [DONE]"));
    reply_fini(&r);
    serve_stop();
}
END_TEST

TEST_MAIN("tools/serve", endpoints, valid_replies, description, infill, streams, wrong_requests,
          heads, connection, limits, slow_reader, leaving, leaving_others, full_queue, keys, drains,
          pings)
