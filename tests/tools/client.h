/* client.h - rill-serve started for a test, and a client that writes bytes and reads replies. */
#ifndef RILL_TESTS_TOOLS_CLIENT_H
#define RILL_TESTS_TOOLS_CLIENT_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "tests/sanitized.h"
#include "tests/suite.h"

static struct {
    pid_t pid;
    int port;
    char script[1100];
    const char *fields; // of requests for metrics, where a key is needed
} served;

static inline void client_nap(int ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}

/* Starts the server with these options, NULL-ended, behind --port 0 and the embedded model; waits
 * for its port. False, which skips the test: it was not built. */
static inline bool serve_start(const char *const *more)
{
    const char *argv[40] = {"rill-serve", "-q", "--port", "0", "-m", NULL};
    char model[1100], path[1100], line[32] = "";
    int out[2], n = 6;
    ssize_t got;

    snprintf(path, sizeof path, "%s/rill-serve", RILL_BUILDDIR);
    snprintf(model, sizeof model, "tales=%s", srcfile("share/rill-tales.gguf"));
    if (access(path, X_OK) < 0) {
        test_skip("no rill-serve (libevent)");
        return false;
    }
    argv[5] = model;
    while (more && *more && n < 39)
        argv[n++] = *more++;
    ck_assert_int_eq(pipe(out), 0);
    served.pid = fork();
    if (served.pid == 0) {
        dup2(out[1], STDOUT_FILENO);
        execv(path, (char **)(uintptr_t)argv);
        _exit(127);
    }
    close(out[1]);
    got = read(out[0], line, sizeof line - 1);
    close(out[0]);
    ck_assert_msg(got > 0, "the server does not listen");
    served.port = (int)strtol(line, NULL, 10);
    return true;
}

/* The same with answers from this text (script.h). */
static inline bool serve_script(const char *json, const char *const *more)
{
    const char *argv[40] = {"--script", served.script};
    FILE *f;
    int n = 2;

    snprintf(served.script, sizeof served.script, "%s", tmpfile_path("script.json"));
    f = fopen(served.script, "w");
    fputs(json, f);
    fclose(f);
    while (more && *more)
        argv[n++] = *more++;
    return serve_start(argv);
}

/* Ends the server with SIGTERM: it has to end by itself, and well. */
static inline void serve_stop(void)
{
    int status = -1;

    kill(served.pid, SIGTERM);
    for (int i = 0; i < 2000 && waitpid(served.pid, &status, WNOHANG) == 0; i++)
        client_nap(10);
    if (served.script[0])
        unlink(served.script);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the server ended with %x",
                  (unsigned)status);
}

/* Processor seconds of the server so far. */
static inline double client_used(void)
{
    char path[64], text[512] = "";
    unsigned long user = 0, sys = 0;
    const char *p;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)served.pid);
    f = fopen(path, "r");
    if (f && fgets(text, sizeof text, f) && (p = strrchr(text, ')')) != NULL) {
        for (int i = 0; i < 12 && p; i++)
            p = strchr(p + 1, ' ');
        if (p)
            sscanf(p, "%lu %lu", &user, &sys);
    }
    if (f)
        fclose(f);
    return (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
}

/* A number of /proc/PID/status: "VmRSS:" (kB), "Threads:". */
static inline long client_status(const char *name)
{
    char path[64], line[200];
    long n = -1;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/status", (int)served.pid);
    f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, name, strlen(name)) == 0)
            n = strtol(line + strlen(name), NULL, 10);
    if (f)
        fclose(f);
    return n;
}

static inline int dial(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)served.port),
                            .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct timeval limit = {120, 0};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ck_assert_int_eq(connect(fd, (void *)&a, sizeof a), 0);
    return fd;
}

static inline void put_bytes(int fd, const void *p, size_t n)
{
    const char *s = p;

    while (n > 0) {
        ssize_t k = send(fd, s, n, MSG_NOSIGNAL);

        if (k <= 0)
            return; // closed on us: the reply says why
        s += k;
        n -= (size_t)k;
    }
}

static inline void put_text(int fd, const char *s)
{
    put_bytes(fd, s, strlen(s));
}

/* A request with a body, and lines for its head. */
static inline void put_request(int fd, const char *method, const char *path, const char *fields,
                               const char *body)
{
    struct buf b = {0};

    buf_printf(&b, "%s %s HTTP/1.1\r\nHost: localhost\r\n%s", method, path, fields);
    if (body)
        buf_printf(&b, "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(body));
    buf_printf(&b, "\r\n%s", body ? body : "");
    put_bytes(fd, b.p, b.n);
    buf_fini(&b);
}

struct reply {
    int status;
    struct buf head, body;
    bool chunked, closed; // closed: the connection ended before the reply did
};

static inline void reply_fini(struct reply *r)
{
    buf_fini(&r->head);
    buf_fini(&r->body);
}

/* Being stopped and continued ends a recv() that has a time limit. */
static inline ssize_t get_some(int fd, void *p, size_t n)
{
    ssize_t k;

    do
        k = recv(fd, p, n, 0);
    while (k < 0 && errno == EINTR);
    return k;
}

static inline bool get_byte(int fd, char *c)
{
    return get_some(fd, c, 1) == 1;
}

/* A line with its CR LF; false at the end. */
static inline bool get_line(int fd, struct buf *b)
{
    char c;

    while (get_byte(fd, &c)) {
        buf_byte(b, c);
        if (c == '\n')
            return true;
    }
    return false;
}

static inline bool get_n(int fd, struct buf *b, size_t n)
{
    char c[4096];

    while (n > 0) {
        ssize_t k = get_some(fd, c, n < sizeof c ? n : sizeof c);

        if (k <= 0)
            return false;
        buf_add(b, c, (size_t)k);
        n -= (size_t)k;
    }
    return true;
}

static inline bool get_head(int fd, struct reply *r)
{
    size_t from = 0;

    memset(r, 0, sizeof *r);
    do {
        from = r->head.n;
        if (!get_line(fd, &r->head)) {
            r->closed = true;
            return false;
        }
    } while (r->head.n - from > 2);
    r->status = (int)strtol(r->head.p + 9, NULL, 10);
    r->chunked = strstr(r->head.p, "Transfer-Encoding: chunked") != NULL;
    return true;
}

/* The next chunk of a stream joins the body; false at the end of it. */
static inline bool get_chunk(int fd, struct reply *r)
{
    struct buf line = {0};
    size_t n;

    r->closed = !get_line(fd, &line);
    n = r->closed ? 0 : strtoul(line.p, NULL, 16);
    buf_clear(&line);
    r->closed = r->closed || !get_n(fd, &r->body, n) || !get_line(fd, &line);
    buf_fini(&line);
    return n > 0 && !r->closed;
}

static inline void get_reply(int fd, struct reply *r)
{
    const char *length;

    while (get_head(fd, r) && r->status == 100)
        reply_fini(r);
    if (r->closed || r->status == 204) {
        buf_add(&r->body, "", 0);
        return;
    }
    length = strstr(r->head.p, "Content-Length: ");
    if (r->chunked)
        while (get_chunk(fd, r))
            ;
    else if (length)
        r->closed = !get_n(fd, &r->body, strtoul(length + 16, NULL, 10));
    else
        while (get_n(fd, &r->body, 1))
            ;
    buf_byte(&r->body, 0);
}

/* A whole exchange on a connection of its own. */
static inline void ask(struct reply *r, const char *method, const char *path, const char *fields,
                       const char *body)
{
    int fd = dial();

    put_request(fd, method, path, fields, body);
    if (strcmp(method, "HEAD") == 0) {
        get_head(fd, r);
        buf_add(&r->body, "", 0);
    } else {
        get_reply(fd, r);
    }
    close(fd);
}

static inline void expect_status(const char *method, const char *path, const char *fields,
                                 const char *body, int status, const char *words)
{
    struct reply r;
    const char *text;

    ask(&r, method, path, fields, body);
    text = r.body.p ? r.body.p : "";
    ck_assert_msg(r.status == status, "%s %s: %d, not %d: %s", method, path, r.status, status,
                  text);
    ck_assert_msg(!words || strstr(text, words) || (r.head.p && strstr(r.head.p, words)),
                  "%s lacks '%s'", text, words ? words : "");
    reply_fini(&r);
}

/* A number of /metrics; NAN where it is not there. */
static inline double metric(const char *name)
{
    struct reply r;
    const char *p;
    double v = -1;

    ask(&r, "GET", "/metrics", served.fields ? served.fields : "", NULL);
    p = r.body.p;
    while (p && (p = strstr(p, name)) != NULL && p > r.body.p && p[-1] != '\n')
        p++;
    if (p && strchr(p, ' '))
        v = strtod(strchr(p, ' '), NULL);
    reply_fini(&r);
    return v;
}

static inline void wait_ready(void)
{
    for (int i = 0; i < 500; i++) {
        struct reply r;
        int status;

        ask(&r, "GET", "/ready", "", NULL);
        status = r.status;
        reply_fini(&r);
        if (status == 200)
            return;
        client_nap(10);
    }
    ck_abort_msg("the server does not become ready");
}

/* Waits until nothing runs or waits; returns how long that took, or aborts. */
static inline double wait_idle(double limit)
{
    double from = clock_seconds();

    while (clock_seconds() - from < limit) {
        if (metric("rill_requests_running") == 0 && metric("rill_requests_waiting") == 0)
            return clock_seconds() - from;
        client_nap(5);
    }
    ck_abort_msg("requests still run");
    return limit;
}

#endif
