/* test_serve_conn.c - rill-serve and clients whose connection is unusual: half-closed, dripping,
 * slow, too many, with heads that are none.
 */
#include <sys/resource.h>

#include "base/clock.h"
#include "tests/tools/client.h"
#include "tests/tools/heads.h"

#define SCRIPT "{\"answers\":[{\"text\":\"One two three.\"}]}"
#define SLOW   "{\"prompt_ms\":300,\"answers\":[{\"text\":\"One two three.\"}]}"
#define NEVER  "{\"prompt_ms\":60000,\"answers\":[{\"text\":\"a\"}]}"
#define CHAT   "/v1/chat/completions"
#define USER   "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

/* -- clients that end their side -- */

static void half_closed(const char *body, const char *want)
{
    struct reply r;
    int fd = dial();

    put_request(fd, "POST", CHAT, "", body);
    shutdown(fd, SHUT_WR);
    get_reply(fd, &r);
    ck_assert_msg(r.status == 200 && r.body.p && strstr(r.body.p, want), "%d: %s", r.status,
                  r.body.p ? r.body.p : "nothing");
    reply_fini(&r);
    ck_assert(!get_head(fd, &r)); // and that was all
    reply_fini(&r);
    close(fd);
}

/* At once and late, whole and as a stream, one and several requests: all are answered. */
START_TEST(half_closed_is_answered)
{
    struct reply r;
    int fd;

    if (!serve_script(SCRIPT, NULL))
        return;
    wait_ready();
    half_closed("{" USER "}", "three.");
    half_closed("{" USER ",\"stream\":true}", "[DONE]");
    for (int i = 0; i < 200; i++) { // a reply may be there before the end of requests is seen
        fd = dial();
        put_request(fd, "POST", "/tokenize", "", "{\"content\":\"a fox\"}");
        shutdown(fd, SHUT_WR);
        get_reply(fd, &r);
        ck_assert_msg(r.status == 200, "%d: %d", i, r.status);
        reply_fini(&r);
        close(fd);
    }
    fd = dial();
    put_text(fd, "GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n");
    shutdown(fd, SHUT_WR);
    get_reply(fd, &r);
    ck_assert_int_eq(r.status, 200);
    reply_fini(&r);
    close(fd);
    serve_stop();

    serve_script(SLOW, NULL);
    wait_ready();
    half_closed("{" USER "}", "three.");
    half_closed("{" USER ",\"stream\":true}", "[DONE]");
    fd = dial(); // HTTP/1.0 has no line to find out whether the client is there
    put_text(fd, "POST " CHAT " HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                 "Content-Length: 45\r\n\r\n{" USER "}");
    shutdown(fd, SHUT_WR);
    get_reply(fd, &r);
    ck_assert_int_eq(r.status, 200);
    ck_assert_ptr_nonnull(strstr(r.body.p, "three."));
    ck_assert_ptr_null(strstr(r.head.p, "100 Continue"));
    reply_fini(&r);
    close(fd);
    fd = dial();
    for (int i = 0; i < 3; i++)
        put_request(fd, "POST", CHAT, "", i == 1 ? "{" USER ",\"stream\":true}" : "{" USER "}");
    shutdown(fd, SHUT_WR);
    for (int i = 0; i < 3; i++) {
        get_reply(fd, &r);
        ck_assert_msg(r.status == 200, "reply %d: %d", i, r.status);
        ck_assert_ptr_nonnull(strstr(r.body.p, i == 1 ? "[DONE]" : "three."));
        reply_fini(&r);
    }
    ck_assert(!get_head(fd, &r));
    reply_fini(&r);
    close(fd);
    serve_stop();
}
END_TEST

/* Who closes altogether looks the same at first, and is found out. */
START_TEST(half_closed_and_gone)
{
    int fd[32];
    double took;

    if (!serve_script(NEVER, NULL))
        return;
    wait_ready();
    for (int i = 0; i < 32; i++) {
        fd[i] = dial();
        put_request(fd[i], "POST", CHAT, "", i % 2 ? "{" USER ",\"stream\":true}" : "{" USER "}");
        if (i % 4 < 2)
            shutdown(fd[i], SHUT_WR);
    }
    for (int i = 0; i < 200 && metric("rill_requests_running") < 32; i++)
        client_nap(10);
    ck_assert_int_eq((int)metric("rill_requests_running"), 32);
    for (int i = 0; i < 32; i++)
        if (i % 4 >= 2)
            close(fd[i]);
    for (int i = 0; i < 300 && metric("rill_requests_running") > 16; i++)
        client_nap(10);
    ck_assert_int_eq((int)metric("rill_requests_running"), 16); // those that only end their side
    for (int i = 0; i < 32; i++)
        if (i % 4 < 2)
            close(fd[i]);
    took = wait_idle(20);
    ck_assert_msg(took < 9, "%.3f s", took); // 16 s of fewer and fewer looks
    serve_stop();
}
END_TEST

/* -- clients that take their time -- */

/* A byte now and then is no progress: the time for a head runs from its first one. */
START_TEST(drip)
{
    static const char *const quick[] = {"--head-seconds", "0.6", "--body-seconds", "0.6", NULL};
    static const char head[] = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                               "application/json\r\nContent-Length: 500\r\n\r\n";
    struct reply r;
    double from;
    int fd;

    if (!serve_script(SCRIPT, quick))
        return;
    wait_ready();
    for (int body = 0; body < 2; body++) {
        struct pollfd p = {.events = POLLIN};

        from = clock_seconds();
        p.fd = fd = dial();
        if (body)
            put_text(fd, head);
        for (int i = 0; i < 100 && poll(&p, 1, 50) == 0; i++)
            put_bytes(fd, body ? " " : head + i, 1);
        get_reply(fd, &r);
        ck_assert_int_eq(r.status, 408);
        ck_assert_msg(clock_seconds() - from < 3, "%.3f s", clock_seconds() - from);
        reply_fini(&r);
        close(fd);
    }
    serve_stop();
}
END_TEST

/* A client that takes nothing for --write-seconds is dropped, though it is not far behind. */
START_TEST(takes_nothing)
{
    static const char *const soon[] = {"--write-seconds", "1", "--max-behind", "64M", NULL};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0), small = 4096;

    if (!serve_script("{\"answers\":[{\"text\":\"word \",\"repeat\":40000}]}", soon)) {
        close(fd);
        return;
    }
    wait_ready();
    a.sin_port = htons((uint16_t)served.port);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small); // before it connects: its window
    ck_assert_int_eq(connect(fd, (void *)&a, sizeof a), 0);
    put_request(fd, "POST", CHAT, "", "{" USER ",\"stream\":true}");
    wait_idle(20);
    for (int i = 0; i < 500 && metric("rill_connections") > 1; i++)
        client_nap(10);
    ck_assert_int_eq((int)metric("rill_connections"), 1); // that which asks
    close(fd);
    serve_stop();
}
END_TEST

/* -- more than there is room for -- */

/* Without descriptors left the server waits for one, and takes no processor for it. */
START_TEST(no_descriptors)
{
    static const char *const some[] = {"--idle-seconds", "2", NULL};
    const struct rlimit few = {40, 40};
    int fd[60];
    double from;

    setrlimit(RLIMIT_NOFILE, &few);
    if (!serve_script(SCRIPT, some))
        return;
    wait_ready();
    setrlimit(RLIMIT_NOFILE, &few);
    for (int i = 0; i < 30; i++)
        fd[i] = dial();
    for (int i = 30; i < 60; i++)
        fd[i] = -1;
    if (fork() == 0) { // the other half: this process has no more descriptors either
        for (int i = 0; i < 30; i++)
            close(fd[i]);
        for (int i = 0; i < 25; i++)
            fd[i] = dial();
        client_nap(1000);
        _exit(0);
    }
    client_nap(300);
    from = client_used();
    client_nap(600);
    ck_assert_msg(client_used() - from < 0.3, "%.2f s of processor", client_used() - from);
    for (int i = 0; i < 30; i++)
        close(fd[i]);
    wait(NULL);
    expect_status("GET", "/health", "", NULL, 200, NULL);
    serve_stop();
}
END_TEST

/* Thousands that say nothing, and thousands whose streams are silent: everybody else is served, and
 * little is kept for them. In make check-long as many as the promise is about. */
START_TEST(silent)
{
    static const char *const many[] = {
        "--parallel", "4096",           "--max-queue", "10000", "--max-connections",
        "12000",      "--idle-seconds", "600",         NULL};
    static const char stream[] = "{" USER ",\"stream\":true}";
    const bool whole = getenv("LONG") && *getenv("LONG");
    const int n = whole ? 10000 : 300;
    int *fd = calloc((size_t)n, sizeof *fd);
    struct rlimit r;
    struct reply reply;
    long before, idle, open;

    getrlimit(RLIMIT_NOFILE, &r);
    if (r.rlim_max < (rlim_t)n + 1000) {
        test_skip("too few descriptors");
        free(fd);
        return;
    }
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
    if (!serve_script("{\"prompt_ms\":3600000,\"parallel\":20000,\"answers\":[{\"text\":\"a\"}]}",
                      many)) {
        free(fd);
        return;
    }
    wait_ready();
    before = client_status("VmRSS:");
    for (int i = 0; i < n; i++)
        fd[i] = dial();
    for (int i = 0; i < 500 && metric("rill_connections") < n; i++)
        client_nap(10);
    ck_assert_int_eq((int)metric("rill_connections"), n + 1);
    idle = client_status("VmRSS:");
    for (int i = 0; i < n; i++) {
        put_request(fd[i], "POST", CHAT, "", stream);
        get_head(fd[i], &reply);
        ck_assert_int_eq(reply.status, 200);
        reply_fini(&reply);
    }
    for (int i = 0; i < 500 && (int)metric("rill_requests_running") < n; i++)
        client_nap(10); // a reply begins before its request is taken up
    ck_assert_int_eq((int)metric("rill_requests_running"), n);
    open = client_status("VmRSS:");
    printf("%d connections: %ld kB, idle %ld, with silent streams %ld\n", n, before, idle, open);
    ck_assert_msg(open < 100000, "%ld kB", open);
    expect_status("POST", "/tokenize", "", "{\"content\":\"a\"}", 200, NULL);
    for (int i = 0; i < n; i++)
        close(fd[i]);
    wait_idle(20);
    free(fd);
    serve_stop();
}
END_TEST

/* Many that read nothing of long answers cost no more than they may be behind, and what waits for
 * the loop (32 MB), and are dropped; all that is said would be 160 MB. */
START_TEST(slow_readers)
{
    enum { READERS = 8 };
    static const char *const little[] = {"--max-behind", "64K", "--write-seconds", "600", NULL};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd[READERS], small = 4096;
    long before, most = 0;

    if (!serve_script("{\"answers\":[{\"text\":\"word \",\"repeat\":100000}]}", little))
        return;
    wait_ready();
    a.sin_port = htons((uint16_t)served.port);
    before = client_status("VmRSS:");
    for (int i = 0; i < READERS; i++) {
        fd[i] = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(fd[i], SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
        ck_assert_int_eq(connect(fd[i], (void *)&a, sizeof a), 0);
        put_request(fd[i], "POST", CHAT, "", "{" USER ",\"stream\":true}");
    }
    client_nap(50);
    for (int i = 0; i < 10000 && (i == 0 || metric("rill_connections") > 1); i++) {
        long now = client_status("VmRSS:");

        most = now > most ? now : most;
        client_nap(5);
    }
    ck_assert_int_eq((int)metric("rill_connections"), 1);
    ck_assert_int_eq((int)metric("rill_requests_finished_total{model_name=\"tales\",reason="
                                 "\"cancelled\"}"),
                     READERS);
    ck_assert_msg(SANITIZED || most < before + READERS * 256 + 40000, "%ld kB, then %ld", before,
                  most);
    for (int i = 0; i < READERS; i++)
        close(fd[i]);
    serve_stop();
}
END_TEST

/* -- heads that are none -- */

/* Each is refused with what is said of it, and nothing behind it is taken for a request. */
START_TEST(smuggled)
{
    static const char *const with[] = {"--allow-host", "a", NULL};
    static const char inner[] = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
    struct reply r, second;

    if (!serve_script(SCRIPT, with))
        return;
    wait_ready();
    for (size_t i = 0; i < ARRAY_LEN(bad_heads); i++) {
        int fd = dial();

        put_bytes(fd, bad_heads[i].text, bad_heads[i].n);
        put_text(fd, inner);
        get_reply(fd, &r);
        ck_assert_msg(r.status == bad_heads[i].status, "%zu: %d, not %d: %s", i, r.status,
                      bad_heads[i].status, bad_heads[i].text);
        ck_assert_msg(!get_head(fd, &second), "%zu: a second reply", i);
        reply_fini(&r);
        reply_fini(&second);
        close(fd);
    }
    ck_assert_int_eq((int)metric("rill_http_replies_total{class=\"2xx\"}"), 1); // of wait_ready
    {
        int fd = dial();

        put_text(fd, inner); // alone it is one
        get_reply(fd, &r);
        ck_assert_int_eq(r.status, 200);
        reply_fini(&r);
        close(fd);
    }
    serve_stop();
}
END_TEST

/* A server that had no time for longer than a client may take does not blame the client: stopped
 * while a stream waits for its reader, who catches up meanwhile, it goes on where it was. */
START_TEST(stopped)
{
    static const char *const soon[] = {"--write-seconds", "1", "--max-behind", "64M", NULL};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct timeval limit = {20, 0};
    char bytes[65536], end[] = "\r\n0\r\n\r\n";
    struct buf tail = {0};
    int fd = socket(AF_INET, SOCK_STREAM, 0), small = 4096;
    ssize_t n;

    if (!serve_script("{\"answers\":[{\"text\":\"word \",\"repeat\":40000}]}", soon)) {
        close(fd);
        return;
    }
    wait_ready();
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    a.sin_port = htons((uint16_t)served.port);
    ck_assert_int_eq(connect(fd, (void *)&a, sizeof a), 0);
    put_request(fd, "POST", CHAT, "", "{" USER ",\"stream\":true}");
    client_nap(300); // its socket is full, the rest waits in the server
    kill(served.pid, SIGSTOP);
    client_nap(1500);
    while ((n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0 || errno == EAGAIN) {
        if (n < 0 && poll(&(struct pollfd){fd, POLLIN, 0}, 1, 100) == 0)
            break;
        if (n > 0)
            buf_add(&tail, bytes, (size_t)n);
    }
    kill(served.pid, SIGCONT);
    while (!(tail.n >= 7 && memcmp(tail.p + tail.n - 7, end, 7) == 0) &&
           (n = recv(fd, bytes, sizeof bytes, 0)) > 0)
        buf_add(&tail, bytes, (size_t)n);
    ck_assert_msg(tail.n > 3000000, "%zu bytes", tail.n); // it did wait
    ck_assert(memcmp(tail.p + tail.n - 7, end, 7) == 0);
    buf_fini(&tail);
    close(fd);
    serve_stop();
}
END_TEST

TEST_MAIN("tools/serve_conn", half_closed_is_answered, half_closed_and_gone, drip, takes_nothing,
          no_descriptors, silent, slow_readers, stopped, smuggled)
