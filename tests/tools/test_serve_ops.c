/* test_serve_ops.c - rill-serve and what it runs among: Unix sockets, supervisors, browsers, logs.
 */
#include <sys/stat.h>
#include <sys/un.h>

#include "base/clock.h"
#include "tests/tools/client.h"

#define SCRIPT "{\"answers\":[{\"text\":\"One two three.\"}]}"
#define CHAT   "/v1/chat/completions"
#define USER   "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define TRACE  "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

/* -- sockets -- */

static int unix_socket(const char *path, int type, bool server)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct timeval limit = {30, 0};
    int fd = socket(AF_UNIX, type, 0);
    int rc;

    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    rc = server ? bind(fd, (void *)&a, sizeof a) : connect(fd, (void *)&a, sizeof a);
    ck_assert_msg(rc == 0, "%s: %s", path, strerror(errno));
    return fd;
}

/* Paths of sockets are short: not below the build tree. */
static const char *socket_path(const char *name)
{
    static char path[4][64];
    static int turn;
    char *p = path[turn++ % 4];

    snprintf(p, sizeof path[0], "/tmp/rill-test-%ld-%s", (long)getpid(), name);
    return p;
}

static void ask_at(int fd, const char *body, const char *want)
{
    struct reply r;

    put_request(fd, body ? "POST" : "GET", body ? CHAT : "/health", "", body);
    get_reply(fd, &r);
    ck_assert_msg(r.status == 200 && strstr(r.body.p, want), "%d: %s", r.status,
                  r.body.p ? r.body.p : "");
    reply_fini(&r);
}

static char *text_of(const char *path)
{
    static char text[16384];
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 10, f) : 0;

    text[n] = 0;
    if (f)
        fclose(f);
    return text;
}

START_TEST(unix_sockets)
{
    const char *path = socket_path("s"), *log = tmpfile_path("log");
    const char *const with[] = {"--unix", path, "--access-log", log, NULL};
    struct stat st;
    int fd = unix_socket(path, SOCK_STREAM, true); // left behind by a server that was killed

    close(fd);
    if (!serve_script(SCRIPT, with)) {
        unlink(path);
        return;
    }
    wait_ready();
    fd = unix_socket(path, SOCK_STREAM, false);
    ask_at(fd, NULL, "ok");
    ask_at(fd, "{" USER "}", "three.");
    close(fd);
    fd = unix_socket(path, SOCK_STREAM, false); // any Host will do: no page can come here
    put_text(fd, "GET /health HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n");
    {
        struct reply r;

        get_reply(fd, &r);
        ck_assert_int_eq(r.status, 200);
        reply_fini(&r);
    }
    close(fd);
    serve_stop();
    ck_assert_ptr_nonnull(strstr(text_of(log), "\"peer\":\"unix\""));
    ck_assert(stat(path, &st) < 0); // it is gone with the server
    unlink(log);
}
END_TEST

/* What is no socket, or is somebody's, is not taken away. */
START_TEST(unix_taken)
{
    const char *path = socket_path("t");
    struct stat st;
    char tool[1100], model[1100];

    snprintf(tool, sizeof tool, "%s/rill-serve", RILL_BUILDDIR);
    snprintf(model, sizeof model, "%s", srcfile("share/rill-tales.gguf"));
    if (access(tool, X_OK) < 0) {
        test_skip("no rill-serve (libevent)");
        return;
    }
    for (int live = 0; live < 2; live++) {
        int status, fd = live ? unix_socket(path, SOCK_STREAM, true) : creat(path, 0600);

        if (live)
            listen(fd, 1);
        if (fork() == 0) {
            if (!freopen("/dev/null", "w", stderr))
                _exit(127);
            execl(tool, "rill-serve", "-q", "-m", model, "--unix", path, (char *)NULL);
            _exit(127);
        }
        wait(&status);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 4, "%x", (unsigned)status);
        ck_assert(stat(path, &st) == 0);
        close(fd);
        unlink(path);
    }
}
END_TEST

/* -- supervisors -- */

/* A socket that listens at a port of loopback or of all addresses. */
static int listener(bool all, int *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr = {htonl(all ? INADDR_ANY : INADDR_LOOPBACK)}};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    ck_assert(bind(fd, (void *)&a, sizeof a) == 0 && listen(fd, 8) == 0);
    getsockname(fd, (void *)&a, &n);
    *port = ntohs(a.sin_port);
    return fd;
}

/* Starts the server as systemd does, with descriptors 3 and 4; false where it is not built. */
static bool activate(int first, int second, const char *script, const char *more)
{
    static char tool[1100], model[1100];

    snprintf(tool, sizeof tool, "%s/rill-serve", RILL_BUILDDIR);
    snprintf(model, sizeof model, "%s", srcfile("share/rill-tales.gguf"));
    if (access(tool, X_OK) < 0) {
        test_skip("no rill-serve (libevent)");
        return false;
    }
    served.pid = fork();
    if (served.pid == 0) {
        char pid[32];
        int a = dup(first), b = dup(second); // neither is 3 or 4 then, or each is in its place

        a = fcntl(a, F_DUPFD, 10);
        b = fcntl(b, F_DUPFD, 10);
        dup2(a, 3);
        dup2(b, 4);
        snprintf(pid, sizeof pid, "%ld", (long)getpid());
        setenv("LISTEN_PID", pid, 1);
        setenv("LISTEN_FDS", "2", 1);
        if (!freopen("/dev/null", "w", stderr))
            _exit(127);
        execl(tool, "rill-serve", "-q", "-m", model, "--script", script, more, (char *)NULL);
        _exit(127);
    }
    return true;
}

START_TEST(activation)
{
    const char *path = socket_path("a"), *script = tmpfile_path("script.json");
    int port, status, tcp = listener(false, &port), un = unix_socket(path, SOCK_STREAM, true), fd;
    FILE *f = fopen(script, "w");

    fputs(SCRIPT, f);
    fclose(f);
    listen(un, 8);
    if (!activate(tcp, un, script, NULL)) {
        unlink(script);
        unlink(path);
        return;
    }
    close(tcp);
    served.port = port;
    wait_ready();
    fd = dial();
    ask_at(fd, "{" USER "}", "three.");
    close(fd);
    fd = unix_socket(path, SOCK_STREAM, false);
    ask_at(fd, "{" USER "}", "three.");
    close(fd);
    serve_stop();
    /* a socket that others can reach needs keys, or a word */
    tcp = listener(true, &port);
    activate(tcp, un, script, NULL);
    waitpid(served.pid, &status, 0);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 2, "%x", (unsigned)status);
    activate(tcp, un, script, "--allow-anyone");
    close(tcp);
    served.port = port;
    wait_ready();
    serve_stop();
    close(un);
    unlink(script);
    unlink(path);
}
END_TEST

START_TEST(notifies)
{
    const char *path = socket_path("n");
    int fd = unix_socket(path, SOCK_DGRAM, true);
    char word[64] = "";

    setenv("NOTIFY_SOCKET", path, 1);
    if (serve_script(SCRIPT, NULL)) {
        ck_assert(recv(fd, word, sizeof word - 1, 0) > 0);
        ck_assert_str_eq(word, "READY=1");
        expect_status("GET", "/ready", "", NULL, 200, NULL); // it said so when it was so
        serve_stop();
        memset(word, 0, sizeof word);
        ck_assert(recv(fd, word, sizeof word - 1, 0) > 0);
        ck_assert_str_eq(word, "STOPPING=1");
    }
    close(fd);
    unlink(path);
}
END_TEST

/* -- browsers -- */

#define HERE "Origin: https://chat.example\r\n"
#define LET  "Access-Control-Allow-Origin: https://chat.example\r\n"

START_TEST(cors)
{
    static const char *const with[] = {"--cors-origin", "https://chat.example", NULL};
    struct reply r;

    if (!serve_script(SCRIPT, with))
        return;
    wait_ready();
    ask(&r, "OPTIONS", CHAT,
        HERE "Access-Control-Request-Method: POST\r\n"
             "Access-Control-Request-Headers: authorization,content-type\r\n",
        NULL);
    ck_assert_int_eq(r.status, 204);
    ck_assert_ptr_nonnull(strstr(r.head.p, LET));
    ck_assert_ptr_nonnull(strstr(r.head.p, "Access-Control-Allow-Methods: POST"));
    ck_assert_ptr_nonnull(strstr(r.head.p, "authorization, content-type"));
    reply_fini(&r);
    for (int i = 0; i < 4; i++) { // whole, stream, text, error
        static const char *const body[] = {"{" USER "}", "{" USER ",\"stream\":true}",
                                           "{\"content\":\"a\"}", "{}"};

        ask(&r, "POST", i == 2 ? "/tokenize" : CHAT, HERE, body[i]);
        ck_assert_int_eq(r.status, i == 3 ? 400 : 200);
        ck_assert_ptr_nonnull(strstr(r.head.p, LET));
        ck_assert_msg(strstr(r.head.p, "Vary: Origin\r\n") != NULL, "%d: %s", i, r.head.p);
        reply_fini(&r);
    }
    ask(&r, "POST", CHAT, "Origin: https://other.example\r\n", "{" USER "}");
    ck_assert_int_eq(r.status, 200);
    ck_assert_ptr_null(strstr(r.head.p, "Access-Control"));
    reply_fini(&r);
    serve_stop();
    serve_script(SCRIPT, NULL);
    wait_ready();
    ask(&r, "OPTIONS", CHAT, HERE, NULL);
    ck_assert_ptr_null(strstr(r.head.p, "Access-Control"));
    reply_fini(&r);
    serve_stop();
}
END_TEST

static int status_for(const char *host)
{
    char text[200];
    struct reply r;
    int fd = dial(), status;

    snprintf(text, sizeof text, "GET /health HTTP/1.1\r\nHost: %s\r\n\r\n", host);
    put_text(fd, text);
    get_reply(fd, &r);
    status = r.status;
    reply_fini(&r);
    close(fd);
    return status;
}

/* A page that gave its own name this machine's address does not get in. */
START_TEST(hosts)
{
    static const char *const with[] = {"--allow-host", "box.example", NULL};

    if (!serve_script(SCRIPT, with))
        return;
    wait_ready();
    ck_assert_int_eq(status_for("localhost"), 200);
    ck_assert_int_eq(status_for("LocalHost:8080"), 200);
    ck_assert_int_eq(status_for("127.0.0.1:1"), 200);
    ck_assert_int_eq(status_for("[::1]:8080"), 200);
    ck_assert_int_eq(status_for("box.example"), 200);
    ck_assert_int_eq(status_for("evil.example"), 403);
    ck_assert_int_eq(status_for("localhost.evil.example"), 403);
    ck_assert_int_eq(status_for("box.example.evil"), 403);
    serve_stop();
}
END_TEST

/* -- logs -- */

/* The log has what happened and whose trace it was, and nothing that was said. */
START_TEST(access_log)
{
    const char *log = tmpfile_path("log"), *old = tmpfile_path("log.old");
    const char *const with[] = {"--access-log", log, NULL};
    const char *text;

    if (!serve_script(SCRIPT, with))
        return;
    wait_ready();
    expect_status("POST", CHAT "?secret=1",
                  "traceparent: " TRACE
                  "\r\nAuthorization: Bearer hidden\r\nx-request-id: mine-1\r\n",
                  "{\"messages\":[{\"role\":\"user\",\"content\":\"whisper\"}]}", 200,
                  "x-request-id: mine-1");
    expect_status("POST", CHAT, "traceparent: " TRACE "\r\n", "{" USER ",\"stream\":true}", 200,
                  "traceparent: " TRACE "\r\n");
    expect_status("POST", CHAT, "traceparent: 00-00-\"no\r\n", "{" USER ",\"stream\":true}", 200,
                  NULL);
    expect_status("GET", "/none\"", "", NULL, 404, NULL);
    text = text_of(log);
    ck_assert_ptr_nonnull(strstr(text, "\"traceparent\":\"" TRACE "\""));
    ck_assert_ptr_nonnull(strstr(text, "\"id\":\"mine-1\""));
    ck_assert_ptr_nonnull(strstr(text, "\"path\":\"/none\\\"\",\"status\":404"));
    ck_assert_ptr_null(strstr(text, "00-00-"));
    ck_assert_ptr_null(strstr(text, "whisper"));
    ck_assert_ptr_null(strstr(text, "hidden"));
    ck_assert_ptr_null(strstr(text, "secret"));
    ck_assert_ptr_null(strstr(text, "three"));
    /* moved away: a new one is begun on SIGHUP */
    ck_assert_int_eq(rename(log, old), 0);
    kill(served.pid, SIGHUP);
    for (int i = 0; i < 300 && access(log, F_OK) < 0; i++)
        client_nap(10);
    expect_status("GET", "/version", "", NULL, 200, NULL);
    ck_assert_ptr_nonnull(strstr(text_of(log), "/version"));
    serve_stop();
    unlink(log);
    unlink(old);
}
END_TEST

/* -- beginning -- */

/* It listens, and is ready, and has said a first token in less than a second: what a model's
 * weights take to be read comes on top, and these are small. The best of three. */
START_TEST(starts)
{
    static const char *const with[] = {"-c", "512", "-t", "1", NULL};
    double listening = 9, ready = 9, first = 9;
    struct reply r;

    for (int i = 0; i < 3; i++) {
        double from = clock_seconds(), t;

        if (!serve_start(with))
            return;
        t = clock_seconds() - from;
        listening = t < listening ? t : listening;
        wait_ready();
        t = clock_seconds() - from;
        ready = t < ready ? t : ready;
        ask(&r, "POST", CHAT, "", "{" USER ",\"max_tokens\":1}");
        ck_assert_int_eq(r.status, 200);
        reply_fini(&r);
        t = clock_seconds() - from;
        first = t < first ? t : first;
        serve_stop();
    }
    ck_assert_msg(listening < 0.5 && ready < 1 && first < 1.2, "%.3f %.3f %.3f s", listening, ready,
                  first);
}
END_TEST

/* Two models and another name for one of them; what is none of these is not here. */
START_TEST(names)
{
    char model[1100];
    const char *const with[] = {"-m", model, "--alias", "gpt=tales", "--alias", "a/b=second", NULL};

    snprintf(model, sizeof model, "second=%s", srcfile("share/rill-tales.gguf"));
    if (!serve_script(SCRIPT, with))
        return;
    wait_ready();
    expect_status("POST", CHAT, "", "{\"model\":\"gpt\"," USER "}", 200, "\"model\":\"tales\"");
    expect_status("POST", CHAT, "", "{" USER ",\"model\":\"second\"}", 200, "\"model\":\"second\"");
    expect_status("POST", CHAT, "", "{" USER "}", 200, "\"model\":\"tales\"");
    expect_status("POST", CHAT, "", "{\"model\":\"third\"," USER "}", 404, "model_not_found");
    expect_status("POST", CHAT, "", "{\"model\":\"a\\/b\"," USER "}", 200, "\"model\":\"second\"");
    expect_status("GET", "/props", "", NULL, 200, "{\"model_alias\":\"tales\"");
    expect_status("GET", "/props?x&model=second&y=1", "", NULL, 200, "{\"model_alias\":\"second\"");
    expect_status("GET", "/props?model=a%2Fb", "", NULL, 200, "{\"model_alias\":\"second\"");
    expect_status("GET", "/props?model=third", "", NULL, 404, "model_not_found");
    expect_status("POST", "/v1/messages", "", "{\"model\":\"third\",\"max_tokens\":1," USER "}",
                  404, "not_found_error");
    expect_status("GET", "/v1/models", "", NULL, 200, "\"id\":\"second\"");
    expect_status("GET", "/v1/models/gpt", "", NULL, 200, "\"id\":\"tales\"");
    expect_status("GET", "/v1/models/third", "", NULL, 404, "model_not_found");
    expect_status("GET", "/metrics", "", NULL, 200,
                  "rill_request_seconds_count{model_name=\"second\"} 2\n");
    serve_stop();
}
END_TEST

/* Others are let in with keys, or when that is said; wrong aliases and drafts are told of. */
START_TEST(refuses_to_start)
{
    static const char *const wrong[][3] = {
        {"--host", "0.0.0.0", NULL},   {"--host", "::", NULL},
        {"--alias", "gpt=none", NULL}, {"--draft", "none=x.gguf", NULL},
        {"--tls-cert", "x.pem", NULL}, {"--record", NULL, NULL}};
    char tool[1100];

    snprintf(tool, sizeof tool, "%s/rill-serve", RILL_BUILDDIR);
    if (access(tool, X_OK) < 0) {
        test_skip("no rill-serve (libevent)");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        int status;

        if (fork() == 0) {
            if (!freopen("/dev/null", "w", stderr))
                _exit(127);
            execl(tool, "rill-serve", "--port", "0", wrong[i][0], wrong[i][1], (char *)NULL);
            _exit(127);
        }
        wait(&status);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 2, "%s: %x", wrong[i][0],
                      (unsigned)status);
    }
}
END_TEST

/* -- loads -- */

/* rill-bench with these options on the server; what it prints. */
static char *bench(const char *const *more)
{
    static char text[8192];
    char tool[1100], url[60];
    const char *argv[20] = {"rill-bench", "--url", url, "-j"};
    int out[2], n = 4, status;
    size_t k = 0;
    ssize_t got;

    while (*more && n < 19)
        argv[n++] = *more++;
    snprintf(tool, sizeof tool, "%s/rill-bench", RILL_BUILDDIR);
    snprintf(url, sizeof url, "http://127.0.0.1:%d", served.port);
    ck_assert_int_eq(pipe(out), 0);
    if (fork() == 0) {
        dup2(out[1], STDOUT_FILENO);
        execv(tool, (char **)(uintptr_t)argv);
        _exit(127);
    }
    close(out[1]);
    while (k < sizeof text - 1 && (got = read(out[0], text + k, sizeof text - 1 - k)) > 0)
        k += (size_t)got;
    text[k] = 0;
    close(out[0]);
    wait(&status);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%x: %s", (unsigned)status, text);
    return text;
}

/* A load is measured and drawn; requests come as traces of services have them. */
START_TEST(loads)
{
    static const char *const traces[] = {"traces/mooncake_conversation_trace.jsonl",
                                         "traces/AzureLLMInferenceTrace_code.csv"};
    static const char *const with[] = {"-c", "200000", NULL};
    const char *svg = tmpfile_path("plot.svg");
    const char *const closed[] = {"--at-once", "4", "--requests", "12", "-p", "8",
                                  "-n",        "6", "--plot",     svg,  NULL};
    char *text;

    if (!serve_script("{\"answers\":[{\"text\":\"word \",\"repeat\":6}]}", with))
        return;
    wait_ready();
    text = bench(closed);
    ck_assert_msg(strstr(text, "\"requests\":12,\"failed\":0"), "%s", text);
    text = text_of(svg);
    ck_assert_ptr_nonnull(strstr(text, ">first token, 99 %<"));
    ck_assert_ptr_nonnull(strstr(text, ">between tokens, 50 %<"));
    ck_assert_ptr_nonnull(strstr(text, "tokens/s, "));
    ck_assert_ptr_nonnull(strstr(text, "</svg>"));
    unlink(svg);
    for (size_t i = 0; i < ARRAY_LEN(traces); i++) {
        const char *path = testdata(traces[i]);
        const char *const by[] = {"--trace", path, "--speed", "1000", "--requests", "10", NULL};

        if (!path)
            continue;
        text = bench(by);
        ck_assert_msg(strstr(text, "\"load\":\"trace\"") &&
                          strstr(text, "\"requests\":10,\"failed\":0"),
                      "%s", text);
    }
    serve_stop();
}
END_TEST

/* -- records -- */

/* By rill-serve, or by rill-run, with the adapters that were there. */
static int replay(const char *path, bool by_run)
{
    const char *name = by_run ? "rill-run" : "rill-serve";
    char tool[1100], model[1100], lora[1100];
    int status;

    snprintf(tool, sizeof tool, "%s/%s", RILL_BUILDDIR, name);
    snprintf(model, sizeof model, "%s%s", by_run ? "" : "tales=", srcfile("share/rill-tales.gguf"));
    snprintf(lora, sizeof lora, "%s=0", srcfile("tests/golden/tales-lora.gguf"));
    if (fork() == 0) {
        if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
            _exit(127);
        execl(tool, name, "-q", "-t", "1", "-m", model, "--lora", lora, "--replay", path,
              (char *)NULL);
        _exit(127);
    }
    wait(&status);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* What was drawn among others, with adapters and without, is drawn again alone: each line of the
 * record would be written again byte for byte. A changed record is noticed. */
START_TEST(record_and_replay)
{
    const char *dir = tmpfile_path("record");
    char lora[1100], path[1200], *p, *all;
    const char *const with[] = {"--record", dir,      "-t", "1", "--parallel",
                                "4",        "--lora", lora, NULL};
    struct stat st;
    struct reply r;
    int fd[8];
    FILE *f;

    snprintf(lora, sizeof lora, "%s=0.5", srcfile("tests/golden/tales-lora.gguf"));
    snprintf(path, sizeof path, "%s/requests.jsonl", dir);
    if (!serve_start(with))
        return;
    wait_ready();
    for (int i = 0; i < 8; i++) {
        static const char *const body[] = {
            "{" USER ",\"max_tokens\":12}",
            "{\"prompt\":[\"The fox\",\"The bear\"],\"n\":2,\"max_tokens\":8,\n\"stream\":true}",
            "{\"max_tokens\":9," USER ",\"lora\":[],\"seed\":-3}",
            "{ \"input\" : \"hi\", \"max_output_tokens\":7,\"lora\":[{\"id\":0,\"scale\":0.3}]}"};
        static const char *const at[] = {CHAT, "/completions/", "/v1/messages", "/responses"};

        fd[i] = dial();
        put_request(fd[i], "POST", at[i % 4], "", body[i % 4]);
    }
    for (int i = 0; i < 8; i++) {
        get_reply(fd[i], &r);
        ck_assert_int_eq(r.status, 200);
        reply_fini(&r);
        close(fd[i]);
    }
    serve_stop();
    ck_assert(stat(path, &st) == 0 && (st.st_mode & 077) == 0);
    ck_assert_int_eq(replay(dir, false), 0);
    ck_assert_int_eq(replay(dir, true), 0);
    all = text_of(path);
    ck_assert_ptr_nonnull(strstr(all, "\"lora\":[{\"name\":\"tales-lora.gguf\",\"scale\":0.5}]"));
    ck_assert_ptr_nonnull(strstr(all, "\"scale\":0.300000012}]"));
    ck_assert_ptr_nonnull(strstr(all, "\"lora\":[],"));
    p = strstr(all, "\"answers\":[[");
    ck_assert_ptr_nonnull(p);
    p += 12;
    memmove(p + 2, p, strlen(p) + 1); // one token more
    memcpy(p, "1,", 2);
    f = fopen(path, "w");
    fputs(all, f);
    fclose(f);
    ck_assert_int_eq(replay(path, false), 1);
    ck_assert_int_eq(replay(path, true), 1);
    for (int i = 0; i < 3; i++) { // what is no record, or names what is not there
        static const char *const lora[] = {"\"seed\":1,\"lora\":[{}]", "\"lora\":[]",
                                           "\"seed\":1,\"lora\":[{\"name\":\"none\"}]"};

        f = fopen(path, "w");
        fprintf(f,
                "{\"time\":1,\"path\":\"/v1/completions\",\"model\":\"tales\",%s,\"prompts\":"
                "[[1]],\"answers\":[[]],\"body\":{\"prompt\":\"a\"}}\n",
                lora[i]);
        fclose(f);
        ck_assert_int_eq(replay(path, i == 1), 3);
    }
    unlink(path);
    rmdir(dir);
}
END_TEST

TEST_MAIN("tools/serve_ops", unix_sockets, unix_taken, activation, notifies, cors, hosts,
          access_log, starts, names, refuses_to_start, loads, record_and_replay)
