/* test_serve_load.c - rill-serve with the embedded model under all kinds of requests and clients at
 * once: those that ask properly, in every API, and those that leave, take nothing, send what is no
 * request, or too much. Meanwhile keys are read again, adapters and sessions come and go, and key/
 * value memory is short. The run is cut into parts; at the end of each nothing may run, and memory,
 * descriptors, threads, key/value memory, the processor time of a reply and the time of a lone
 * request are what they were after the first. One request is the same all the time and has to be
 * answered with the same bytes.
 *
 * A second and a half; ten minutes in make check-long; RILL_LOAD_MINUTES says something else, and
 * RILL_LOAD_REST how many milliseconds each client rests between two connections (0).
 */
#include <dirent.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/rng.h"
#include "tests/tools/client.h"
#include "tools/lib/load.h"

enum { CLIENTS = 8, PARTS_MAX = 20, PROBES = 25 };

#define FOX  "Tell of the fox"
#define CHAT "/v1/chat/completions"
#define TEXT "/v1/completions"
#define USER "\"messages\":[{\"role\":\"user\",\"content\":\"" FOX "\"}]"
#define KEY  "Authorization: Bearer key-number-one-1\r\n"

static const struct kind {
    const char *path, *body; // no body: GET
    int status;
} kinds[] = {
    {CHAT, "{\"max_tokens\":9," USER "}", 200},
    {CHAT,
     "{\"max_tokens\":20,\"stream\":true,\"stream_options\":{\"include_usage\":true},\"n\":2," USER
     ",\"logprobs\":true}",
     200},
    {TEXT, "{\"prompt\":[\"The fox\",\"A bear\"],\"max_tokens\":7,\"echo\":true,\"logprobs\":2}",
     200},
    {"/v1/messages", "{\"max_tokens\":9,\"stream\":true," USER "}", 200},
    {"/v1/messages", "{\"max_tokens\":5,\"stop_sequences\":[\"fox\"]," USER "}", 200},
    {"/v1/responses", "{\"input\":\"" FOX "\",\"max_output_tokens\":9,\"stream\":true}", 200},
    {"/v1/responses", "{\"input\":\"" FOX "\",\"max_output_tokens\":4}", 200},
    {"/v1/embeddings", "{\"input\":[\"fox\",\"the bear\"]}", 200},
    {CHAT,
     "{\"max_tokens\":30," USER
     ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\",\"schema\":{"
     "\"type\":\"object\",\"properties\":{\"a\":{\"enum\":[\"fox\"]}},\"required\":[\"a\"],"
     "\"additionalProperties\":false}}}}",
     200},
    {"/v1/messages/count_tokens", "{" USER "}", 200},
    {"/tokenize", "{\"content\":\"" FOX "\"}", 200},
    {"/apply-template", "{" USER "}", 200},
    {"/v1/models", NULL, 200},
    {"/health", NULL, 200},
    {"/metrics", NULL, 200},
    {CHAT, "{\"messages\":7}", 400},
    {TEXT, "{not json", 400},
    {CHAT, "{\"model\":\"tales\",\"lora\":[{\"id\":77}]," USER "}", 400},
    {"/none", "{}", 404},
    {CHAT, NULL, 405},
};

/* What is asked over and over, and what was answered to it at first. */
static const char always[] = "{\"prompt\":\"The fox\",\"max_tokens\":40,\"temperature\":1,"
                             "\"seed\":5,\"lora\":[]}";
static char first_answer[1000];

static char keys_path[1100], sessions_path[1100];

/* -- the server's files -- */

/* Read whole or not at all: the server may look at any time. */
static void write_keys(bool carol)
{
    char fresh[1200];
    FILE *f;

    snprintf(fresh, sizeof fresh, "%s.new", keys_path);
    f = fopen(fresh, "w");
    /* sha256sum of key-number-one-1, -two-2 and -three-3 */
    fputs("d810fcdce54bfe2d3349cff81ab558b320ef645b9f4a2f329a36af9450ca6879 alice "
          "scopes=infer,metrics,admin\n"
          "938523f9de92b17388095976312d7172d764f438483011b9fd2374a137eeaefe bob rate=2 "
          "concurrent=1\n",
          f);
    if (carol)
        fputs("52309d47f5b64345a3171bfe70addd11032c64aac66efdcbd070a779a615ece5 carol weight=3\n",
              f);
    fclose(f);
    rename(fresh, keys_path);
}

/* -- clients; each returns whether the server did as it should -- */

static bool is(const struct reply *r, int status, const char *what)
{
    if (r->status == status && !r->closed)
        return true;
    printf("%s: %d, not %d%s: %.200s\n", what, r->status, status, r->closed ? ", cut" : "",
           r->body.p ? r->body.p : "");
    return false;
}

/* A body that is refused unread ends the connection. */
static bool was_last(const struct reply *r)
{
    return r->head.p && strstr(r->head.p, "Connection: close");
}

static void put_kind(int fd, const struct kind *k)
{
    put_request(fd, k->body ? "POST" : "GET", k->path, KEY, k->body);
}

/* Some requests on one connection; at times it leaves before a reply, or ends its side. */
static bool proper(uint64_t bits)
{
    int n = 1 + (int)(bits % 3), fd = dial();
    bool ok = true;

    for (int i = 0; i < n && ok; i++) {
        const struct kind *k;
        struct reply r;

        bits = rng_bits(bits, 2, (uint64_t)i, 0);
        k = &kinds[bits % ARRAY_LEN(kinds)];
        put_kind(fd, k);
        bits >>= 8;
        if (bits % 4 == 0) { // leaves, at once or a little later
            if (bits / 4 % 2)
                client_nap((int)(bits / 8 % 50));
            break;
        }
        if (bits % 16 == 1) {
            shutdown(fd, SHUT_WR);
            n = 0;
        }
        get_reply(fd, &r);
        ok = is(&r, k->status, k->path);
        n = was_last(&r) ? 0 : n;
        reply_fini(&r);
    }
    close(fd);
    return ok;
}

/* Three requests in one piece, their replies in order. */
static bool pipelined(uint64_t bits)
{
    int fd = dial();
    bool ok = true, more = true;

    for (uint64_t i = 0; i < 3; i++)
        put_kind(fd, &kinds[(bits + i * 7) % ARRAY_LEN(kinds)]);
    for (uint64_t i = 0; i < 3 && ok && more; i++) {
        const struct kind *k = &kinds[(bits + i * 7) % ARRAY_LEN(kinds)];
        struct reply r;

        get_reply(fd, &r);
        ok = is(&r, k->status, k->path);
        more = !was_last(&r);
        reply_fini(&r);
    }
    close(fd);
    return ok;
}

/* A long prompt or a long answer, and the client leaves in the middle of it. */
static bool leaving(uint64_t bits)
{
    struct buf b = {0};
    struct reply r;
    int fd = dial(), chunks = (int)(bits / 2 % 9);

    if (bits % 2) { // while its prompt is computed: never the same, so never found in memory
        buf_printf(&b, "{\"max_tokens\":4,\"prompt\":\"%llu", (unsigned long long)bits);
        for (int i = 0; i < 120; i++)
            buf_str(&b, i % 3 ? " and the fox" : " went to the wood");
        buf_str(&b, "\"}");
        put_request(fd, "POST", TEXT, KEY, b.p);
        client_nap((int)(bits / 2 % 40));
    } else {
        put_request(fd, "POST", CHAT, KEY,
                    "{\"max_tokens\":400,\"ignore_eos\":true,\"stream\":true," USER "}");
        get_head(fd, &r);
        while (chunks-- > 0 && get_chunk(fd, &r))
            ;
        reply_fini(&r);
    }
    buf_fini(&b);
    close(fd);
    return true;
}

/* Nothing behind a head that is none is taken for a request. */
static bool malformed(uint64_t bits)
{
    static const char *const bad[] = {
        "GET /health HTTP/1.1\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /health HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n"
        "Content-Length: 3\r\n\r\n{}",
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n" KEY
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: localhost\r\nA: b\r\n c\r\n\r\n",
        "GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "\r\n\r\nA",
        "GET /\x80 HTTP/1.1\r\n\r\n"};
    const char *text = bad[bits % ARRAY_LEN(bad)];
    struct reply r, second;
    int fd = dial();
    bool ok;

    put_text(fd, text);
    get_reply(fd, &r);
    ok = r.status >= 400 && r.status < 500 && !get_head(fd, &second);
    if (!ok)
        printf("%s: %d\n", text, r.status);
    reply_fini(&r);
    close(fd);
    return ok;
}

/* A head or a body over its limit, said beforehand or found out. */
static bool too_large(uint64_t bits)
{
    static const int status[] = {413, 413, 431};
    struct buf b = {0};
    struct reply r;
    int fd = dial();
    bool ok;

    buf_str(&b, bits % 3 == 2 ? "GET /health HTTP/1.1\r\nHost: localhost\r\nA: "
                              : "POST " TEXT " HTTP/1.1\r\nHost: localhost\r\n" KEY
                                "Content-Type: application/json\r\n");
    if (bits % 3 == 0)
        buf_str(&b, "Content-Length: 70000\r\n\r\n");
    else if (bits % 3 == 1)
        buf_str(&b, "Transfer-Encoding: chunked\r\n\r\n11170\r\n");
    for (int i = 0; i < 70000; i++)
        buf_byte(&b, 'a');
    put_bytes(fd, b.p, b.n);
    get_reply(fd, &r);
    ok = is(&r, status[bits % 3], "over the limit");
    reply_fini(&r);
    buf_fini(&b);
    close(fd);
    return ok;
}

/* A head that never ends, byte by byte. */
static bool dripping(uint64_t bits)
{
    static const char head[] = "POST " TEXT " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n";
    struct pollfd p = {.events = POLLIN};
    struct reply r;
    bool ok = true;
    int fd = dial();

    p.fd = fd;
    for (int i = 0; i < 60 && (bits % 2 == 0 || i < 9) && poll(&p, 1, 50) == 0; i++)
        put_bytes(fd, head + i, 1);
    if (bits % 2 == 0) {
        get_reply(fd, &r);
        ok = is(&r, 408, "drip");
        reply_fini(&r);
    }
    close(fd);
    return ok;
}

/* Asks for more than its socket holds and takes nothing for a while: dropped, or it leaves. */
static bool slow(uint64_t bits)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)served.port),
                            .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), small = 2048;

    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    if (connect(fd, (void *)&a, sizeof a) == 0) {
        put_request(fd, "POST", CHAT, KEY,
                    "{\"max_tokens\":900,\"ignore_eos\":true,\"stream\":true,\"logprobs\":true,"
                    "\"top_logprobs\":20," USER "}");
        client_nap(200 + (int)(bits % 1500));
    }
    close(fd);
    return true;
}

/* Keys whose limits are met, or that are known at times only. */
static bool with_keys(uint64_t bits)
{
    const bool bob = bits % 2;
    struct reply r;
    bool ok;

    ask(&r, "POST", CHAT,
        bob ? "x-api-key: key-number-two-2\r\n" : "x-api-key: key-number-three-3\r\n",
        "{\"max_tokens\":3," USER "}");
    ok = r.status == 200 || is(&r, bob ? 429 : 401, "with a key");
    reply_fini(&r);
    return ok;
}

static bool expecting(uint64_t bits)
{
    int fd = dial();
    struct reply r;
    bool ok;

    (void)bits;
    put_text(fd, "POST /tokenize HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n" KEY
                 "Content-Type: application/json\r\nContent-Length: 15\r\n\r\n");
    get_head(fd, &r);
    ok = is(&r, 100, "expecting");
    reply_fini(&r);
    put_text(fd, "{\"content\":\"a\"}");
    get_reply(fd, &r);
    ok = is(&r, 200, "expecting") && ok;
    reply_fini(&r);
    close(fd);
    return ok;
}

/* The answer's text, which has to be what it was. */
static bool same(uint64_t bits)
{
    const double from = clock_seconds();
    const char *text;
    struct reply r;
    bool ok;

    (void)bits;
    errno = 0;
    ask(&r, "POST", TEXT, KEY, always);
    text = r.body.p ? strstr(r.body.p, "\"text\":") : NULL;
    ok = r.status == 200 && text && strncmp(text, first_answer, strlen(first_answer)) == 0;
    if (!ok)
        printf("not the same: %d %s, not %s, after %.3f s (%s)\n", r.status, r.body.p, first_answer,
               clock_seconds() - from, strerror(errno));
    reply_fini(&r);
    return ok;
}

/* Only one client each does these: what is there is what it left. The answer "not now" is one. */
static bool post(const char *path, const char *body, struct reply *r)
{
    for (int i = 0;; i++) {
        ask(r, "POST", path, KEY, body);
        if (r->status != 429 || i == 1000)
            return is(r, 200, body);
        reply_fini(r);
        client_nap(20);
    }
}

static bool adapters(uint64_t bits)
{
    char body[300];
    struct reply r;
    const char *id;
    bool ok = post("/lora", "{\"load\":\"tales-lora.gguf\"}", &r);
    int n;

    id = ok ? strstr(r.body.p, "\"id\":") : NULL;
    n = id ? (int)strtol(id + 5, NULL, 10) : -1;
    reply_fini(&r);
    for (int i = 0; i < (int)(bits % 4) && ok; i++) {
        snprintf(body, sizeof body,
                 "{\"prompt\":\"Once\",\"max_tokens\":12,\"lora\":[{\"id\":%d,\"scale\":0.5}]}", n);
        ok = post(TEXT, body, &r);
        reply_fini(&r);
    }
    snprintf(body, sizeof body, "{\"unload\":%d}", n);
    ok = ok && post("/lora", body, &r);
    reply_fini(&r);
    return ok;
}

static bool sessions(uint64_t bits)
{
    static const char *const turns[] = {
        ("{\"save\":\"a\",\"prompt\":\"The fox and the bear went to the wood. The fox and the bear "
         "went to the wood. The fox and the bear went to the wood.\"}"),
        "{\"restore\":\"a\"}",
        "{\"fork\":\"a\",\"as\":\"b\"}",
        "{\"restore\":\"b\"}",
        "{\"erase\":\"a\"}",
        "{\"erase\":\"b\"}"};
    bool ok = true;

    (void)bits;
    for (size_t i = 0; i < ARRAY_LEN(turns) && ok; i++) {
        struct reply r;

        ok = post("/sessions", turns[i], &r);
        reply_fini(&r);
    }
    return ok;
}

static const struct {
    int often; // of all turns
    bool (*turn)(uint64_t bits);
} habits[] = {{40, proper},  {8, pipelined}, {16, leaving},  {6, malformed}, {3, too_large},
              {2, dripping}, {3, slow},      {6, with_keys}, {4, expecting}, {8, same}};

static bool one(int client, uint64_t bits)
{
    int sum = 0, at;

    if (client < 2 && bits % 3 == 0)
        return client == 0 ? adapters(bits >> 8) : sessions(bits >> 8);
    for (size_t i = 0; i < ARRAY_LEN(habits); i++)
        sum += habits[i].often;
    at = (int)((bits >> 8) % (uint64_t)sum);
    for (size_t i = 0; i < ARRAY_LEN(habits); i++)
        if ((at -= habits[i].often) < 0)
            return habits[i].turn(bits >> 16);
    return false;
}

static void client(int number, uint64_t seed, double until, int rest)
{
    bool ok = true;

    for (uint64_t k = 0; clock_seconds() < until && ok; k++) {
        ok = one(number, rng_bits(seed + (uint64_t)number, 1, k, 0));
        if (rest)
            client_nap(rest);
    }
    fflush(stdout);
    _exit(ok ? 0 : 1);
}

/* All clients for some seconds; the keys are read again meanwhile. */
static void load_mixed(double seconds, uint64_t seed, int rest)
{
    const double until = clock_seconds() + seconds;
    int left = CLIENTS, turn = 0, status;

    for (int i = 0; i < CLIENTS; i++)
        if (fork() == 0)
            client(i, seed, until, rest);
    while (left > 0) {
        if (waitpid(-1, &status, WNOHANG) > 0) {
            left--;
            ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
                          "a client, or the server, ended with %x", (unsigned)status);
            continue;
        }
        client_nap(50);
        if (++turn % 10 == 0) {
            write_keys(turn % 20 == 0);
            kill(served.pid, SIGHUP);
        }
    }
}

/* -- what is left behind -- */

struct state {
    long kb;             // resident
    int files, threads;  // of the server
    double kv;           // part of key/value memory that requests have
    double cpu, replies; // since it began
    double ms;           // of a lone request: one in ten is quicker
};

static int files(void)
{
    char path[64];
    DIR *d;
    int n = 0;

    snprintf(path, sizeof path, "/proc/%d/fd", (int)served.pid);
    d = opendir(path);
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

static int by_size(const void *a, const void *b)
{
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static double lone_request(void)
{
    double ms[PROBES];

    for (int i = 0; i < PROBES; i++) {
        const double from = clock_seconds();

        ck_assert(same(0));
        ms[i] = 1e3 * (clock_seconds() - from);
    }
    qsort(ms, PROBES, sizeof *ms, by_size);
    return ms[PROBES / 10]; // others use this machine, too
}

static void look(struct state *s)
{
    struct state v = {0};

    wait_idle(60);
    for (int i = 0; i < 500 && metric("rill_connections") > 1; i++)
        client_nap(10);
    v.ms = lone_request();
    ck_assert_int_eq((int)metric("rill_connections"), 1);
    v.kv = metric("rill_kv_used_ratio");
    v.replies = metric("rill_http_replies_total{class=\"2xx\"}");
    v.kb = client_status("VmRSS:");
    v.threads = (int)client_status("Threads:");
    v.files = files();
    for (int i = 0; i < 40; i++) { // the server may not have seen yet that we have hung up
        const int now = files();

        v.files = now < v.files ? now : v.files;
        client_nap(5);
    }
    v.cpu = client_used();
    printf("%ld kB, %d files, %d threads, %.0f good replies, %.1f s of processor, a lone request "
           "%.2f ms\n",
           v.kb, v.files, v.threads, v.replies, v.cpu, v.ms);
    fflush(stdout);
    *s = v;
}

/* Half of all values of the parts before one, or from one on, is below this. */
static double middle(const double *v, int n)
{
    double copy[PARTS_MAX];

    memcpy(copy, v, (size_t)n * sizeof *v);
    qsort(copy, (size_t)n, sizeof *copy, by_size);
    return copy[n / 2];
}

/* s[0] is from behind the first part. The short run's parts are too short for what has to settle.
 */
static void compare(const struct state *s, int n, bool settled)
{
    const struct state *first = &s[0], *last = &s[n - 1];
    double each[PARTS_MAX], ms[PARTS_MAX];
    const int half = (n - 1) / 2;

    for (int i = 1; i < n; i++) {
        each[i - 1] = (s[i].cpu - s[i - 1].cpu) / (s[i].replies - s[i - 1].replies);
        ms[i - 1] = s[i].ms;
    }
    for (int i = 0; i < n; i++)
        ck_assert_double_eq(s[i].kv, 0);
    ck_assert_int_eq(last->threads, first->threads);
    ck_assert_int_eq(last->files, first->files);
    if (!settled)
        return;
    ck_assert_msg(SANITIZED || last->kb < first->kb + first->kb / 20 + 4096, "%ld kB, then %ld",
                  first->kb, last->kb);
    printf("processor of a reply: %.3f ms, then %.3f; a lone request: %.2f ms, then %.2f\n",
           1e3 * middle(each, half), 1e3 * middle(each + half, n - 1 - half), middle(ms, half),
           middle(ms + half, n - 1 - half));
    ck_assert_double_lt(middle(each + half, n - 1 - half), 1.25 * middle(each, half));
    ck_assert_double_lt(middle(ms + half, n - 1 - half), 1.5 * middle(ms, half) + 2);
}

static void keep_answer(void)
{
    struct reply r;
    char *text;

    ask(&r, "POST", TEXT, KEY, always);
    ck_assert_int_eq(r.status, 200);
    text = strstr(r.body.p, "\"text\":");
    ck_assert_ptr_nonnull(text);
    snprintf(first_answer, sizeof first_answer, "%.*s", (int)strcspn(text, "}"), text);
    reply_fini(&r);
}

static double minutes(void)
{
    const char *given = getenv("RILL_LOAD_MINUTES"), *whole = getenv("LONG");

    return given && *given ? strtod(given, NULL) : whole && *whole ? 10 : 0;
}

START_TEST(mixed)
{
    const char *with[] = {"-t",
                          "1",
                          "--parallel",
                          "6",
                          "-c",
                          "1024",
                          "--keys",
                          keys_path,
                          "--sessions",
                          sessions_path,
                          "--lora-dir",
                          srcfile("tests/golden"),
                          "--kv-mem",
                          "4M",
                          "--max-body",
                          "64K",
                          "--max-behind",
                          "64K",
                          "--write-seconds",
                          "1",
                          "--head-seconds",
                          "0.5",
                          "--access-log",
                          "/dev/null",
                          NULL};
    const char *pause = getenv("RILL_LOAD_REST");
    const double seconds = 60 * minutes();
    const int n = seconds > 0 ? seconds >= 1200 ? PARTS_MAX : 10 : 2;
    struct state s[PARTS_MAX];
    double errors;

    snprintf(keys_path, sizeof keys_path, "%s", tmpfile_path("keys"));
    snprintf(sessions_path, sizeof sessions_path, "%s", tmpfile_path("sessions"));
    mkdir(sessions_path, 0700);
    write_keys(true);
    served.fields = KEY;
    if (serve_start(with)) {
        wait_ready();
        keep_answer();
        errors = metric("rill_http_replies_total{class=\"5xx\"}"); // from before it was ready
        for (int i = 0; i < n; i++) {
            load_mixed(seconds > 0 ? seconds / n : 0.7, 1000 * (uint64_t)(i + 1),
                       pause ? (int)strtol(pause, NULL, 10) : 0);
            look(&s[i]);
        }
        compare(s, n, seconds >= 300);
        ck_assert_double_eq(metric("rill_http_replies_total{class=\"5xx\"}"), errors);
        serve_stop();
    }
    unlink(keys_path);
    ck_assert_int_eq(rmdir(sessions_path), 0); // what was saved is erased
    fflush(stdout);
    if (seconds > 1000) // with looking at it in between, on a busy machine
        _exit(0);       // libcheck cannot tell of a test that took more than 2^31 microseconds
}
END_TEST

/* -- the front end alone -- */

/* Processor seconds of the thread that has HTTP and JSON: the first. */
static double front_used(void)
{
    char path[64], text[512] = "";
    unsigned long user = 0, sys = 0;
    const char *p;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", (int)served.pid, (int)served.pid);
    f = fopen(path, "r");
    p = f && fgets(text, sizeof text, f) ? strrchr(text, ')') : NULL;
    if (f)
        fclose(f);
    ck_assert(p && sscanf(p, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys));
    return (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
}

/* 256 streams at once with a token every 12.8 ms, 20,000 a second, take less than 30 % of a core.
 */
START_TEST(front_end)
{
    static const char *const with[] = {"--parallel", "512", NULL};
    enum { STREAMS = 256, TOKENS = 400 };
    const int tokens = minutes() > 0 ? TOKENS : TOKENS / 8;
    struct load_item item[STREAMS];
    struct load_result r = {0};
    struct load_opts o = {.item = item, .n = STREAMS, .at_once = STREAMS};
    struct err e = {0};
    char url[64];
    double used, all, soon;

    if (!serve_script("{\"token_ms\":12.8,\"parallel\":512,\"answers\":[{\"text\":\"word \","
                      "\"repeat\":1000}]}",
                      with))
        return;
    wait_ready();
    for (int i = 0; i < STREAMS; i++)
        item[i] = (struct load_item){.n_prompt = 20, .n_gen = tokens};
    snprintf(url, sizeof url, "http://127.0.0.1:%d", served.port);
    o.url = url;
    used = front_used();
    ck_ok(load_run(&r, &o, NULL, &e), &e);
    used = front_used() - used;
    ck_assert_uint_eq(r.done, STREAMS);
    ck_assert_uint_eq(r.tokens, (uint64_t)STREAMS * (uint64_t)tokens);
    all = metric("rill_front_seconds_count");
    soon = metric("rill_front_seconds_bucket{model_name=\"tales\",le=\"0.001\"}");
    printf("%.0f tokens a second, %.1f us of processor each; %.2f %% written within 1 ms\n",
           (double)r.tokens / r.seconds, 1e6 * used / (double)r.tokens, 100 * soon / all);
    ck_assert_double_eq(all, (double)r.tokens);
    if (minutes() > 0 && !SANITIZED)
        ck_assert_double_lt(used / (double)r.tokens, 0.3 / 20000);
    load_fini(&r);
    serve_stop();
}
END_TEST

/* libcheck's limit, a minute, does not know how long this one is meant to be. */
int main(int argc, char **argv)
{
    const TTest *const all[] = {mixed, front_end};
    char times[32];

    snprintf(times, sizeof times, "%d", (int)(minutes() * 1.5) + 5);
    if (minutes() > 0)
        setenv("CK_TIMEOUT_MULTIPLIER", times, 1);
    return suite_main("tools/serve_load", all, 2, argc, argv);
}
