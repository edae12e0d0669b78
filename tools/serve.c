/* serve.c - rill-serve: models behind the HTTP APIs of OpenAI and Anthropic.
 *
 * Here are the options and the process: descriptors, sockets handed over, TLS, telling the
 * supervisor. What is served is in tools/lib/serve_*.c, HTTP in tools/lib/http*.c.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "tools/lib/model_opts.h"
#include "tools/lib/serve_keys.h"
#include "tools/lib/record.h"
#include "tools/lib/serve_server.h"
#include "tools/lib/tool.h"

static struct opt_list models, aliases, cors, hosts, loras, drafts;
static const char *opt_host, *opt_unix, *opt_keys, *opt_template, *opt_format, *opt_script,
    *opt_log, *opt_cert, *opt_key, *opt_lora_dir, *opt_sessions, *opt_record, *opt_replay,
    *opt_kv_mem, *opt_swap_mem, *opt_body, *opt_head, *opt_behind;
static int opt_port, opt_parallel, opt_queue, opt_rows, opt_conn, opt_draft_max;
static double opt_step_ms, opt_ping, opt_request, opt_drain, opt_head_s, opt_body_s, opt_idle_s,
    opt_write_s;
static bool opt_strict, opt_strict_model, opt_anyone, opt_hash, no_cache, port_given, draft_given,
    step_given;
static struct model_options running; // of all models

static const struct tool_option opts[] = {
    {'m', "model", OPT_LIST, &models, "[NAME=]MODEL", "a model, and what it is called; repeatable"},
    {0, "alias", OPT_LIST, &aliases, "NAME=MODEL", "another name for the model of that name"},
    {0, "host", OPT_STR, &opt_host, "ADDRESS", "where to listen", .def = "127.0.0.1"},
    {0, "port", OPT_INT, &opt_port, "N", "port to listen on; 0: any, which is printed", .min = 0,
     .max = 65535, .def = "8080", .given = &port_given},
    {0, "unix", OPT_STR, &opt_unix, "PATH", "listen on a Unix socket"},
    {0, "keys", OPT_STR, &opt_keys, "FILE", "who may ask: hashed keys (read again on SIGHUP)",
     .group = "Who may ask"},
    {0, "hash-key", OPT_FLAG, &opt_hash, 0, "print the hash of a key on standard input, and end"},
    {0, "allow-anyone", OPT_FLAG, &opt_anyone, 0, "no keys although others can reach the address"},
    {0, "allow-host", OPT_LIST, &hosts, "NAME", "a name of this server in Host; repeatable"},
    {0, "cors-origin", OPT_LIST, &cors, "ORIGIN", "a site whose pages may ask; repeatable"},
    {0, "tls-cert", OPT_STR, &opt_cert, "FILE",
     "serve https with this chain of certificates (read again on SIGHUP)"},
    {0, "tls-key", OPT_STR, &opt_key, "FILE", "and this private key"},
    {0, "strict", OPT_FLAG, &opt_strict, 0, "refuse requests with unknown fields",
     .group = "Requests"},
    {0, "strict-model", OPT_FLAG, &opt_strict_model, 0,
     "refuse unknown models, also with only one"},
    {0, "template", OPT_STR, &opt_template, "FILE", "a chat template instead of the models'"},
    {0, "tool-format", OPT_STR, &opt_format, "NAME",
     "how calls of tools are written (generic: for templates without tools)"},
    {0, "parallel", OPT_INT, &opt_parallel, "N", "requests at once, of each model", .min = 1,
     .max = 4096, .def = "16"},
    {0, "max-queue", OPT_INT, &opt_queue, "N", "requests that may wait", .min = 0, .max = 1e6,
     .def = "256"},
    {0, "request-seconds", OPT_FLOAT, &opt_request, "X", "end answers after X seconds (0: never)",
     .min = 0, .max = 1e6, .def = "0"},
    {0, "ping-seconds", OPT_FLOAT, &opt_ping, "X", "a sign of life in silent streams", .min = 0.5,
     .max = 1e6, .def = "10"},
    {0, "drain-seconds", OPT_FLOAT, &opt_drain, "X", "time for requests to end on SIGTERM",
     .min = 0, .max = 1e6, .def = "30"},
    {0, "access-log", OPT_STR, &opt_log, "FILE", "a line of JSON for each request (-: stderr)"},
    {0, "script", OPT_STR, &opt_script, "FILE", "answers from a file instead of the models"},
    {0, "record", OPT_STR, &opt_record, "DIR", "write requests and what is drawn for them here"},
    {0, "replay", OPT_STR, &opt_replay, "DIR",
     "draw again for recorded requests, compare, and end"},
    {0, "max-connections", OPT_INT, &opt_conn, "N", "connections at once", .min = 1, .max = 1e6,
     .def = "4096", .group = "Limits"},
    {0, "max-head", OPT_STR, &opt_head, "SIZE", "of a request's head", .def = "32K"},
    {0, "max-body", OPT_STR, &opt_body, "SIZE", "of a request's body", .def = "32M"},
    {0, "max-behind", OPT_STR, &opt_behind, "SIZE", "a client may be behind its reply",
     .def = "4M"},
    {0, "head-seconds", OPT_FLOAT, &opt_head_s, "X", "for a head to arrive", .min = 0.1, .max = 1e6,
     .def = "10"},
    {0, "body-seconds", OPT_FLOAT, &opt_body_s, "X", "for a body to arrive", .min = 0.1, .max = 1e6,
     .def = "60"},
    {0, "idle-seconds", OPT_FLOAT, &opt_idle_s, "X", "between requests of a connection", .min = 0.1,
     .max = 1e6, .def = "75"},
    {0, "write-seconds", OPT_FLOAT, &opt_write_s, "X", "for a client to take a byte", .min = 1,
     .max = 1e6, .def = "30"},
    MODEL_RUNNING(running),
    MODEL_CTX(running),
    {0, "batch-rows", OPT_INT, &opt_rows, "N", "rows of a step (0: 512)", .min = 0, .max = 65536},
    {0, "step-ms", OPT_FLOAT, &opt_step_ms, "X",
     "prompts are cut so that a step is shorter (250; on a GPU 50)", .min = 0, .max = 1e6,
     .given = &step_given},
    {0, "kv-mem", OPT_STR, &opt_kv_mem, "SIZE", "memory for keys and values"},
    {0, "swap-mem", OPT_STR, &opt_swap_mem, "SIZE", "host memory for requests that must wait"},
    {0, "no-prefix-cache", OPT_FLAG, &no_cache, 0, "forget keys and values with their request"},
    {0, "lora", OPT_LIST, &loras, "FILE[=SCALE]",
     "an adapter, in all requests that choose none; repeatable"},
    {0, "lora-dir", OPT_STR, &opt_lora_dir, "DIR", "requests may load adapters from here"},
    {0, "sessions", OPT_STR, &opt_sessions, "DIR", "requests may save keys and values here"},
    {0, "draft", OPT_LIST, &drafts, "[NAME=]MODEL",
     "a smaller model that proposes tokens ahead (of model NAME); repeatable"},
    {0, "draft-max", OPT_INT, &opt_draft_max, "N",
     "up to N tokens ahead, also from what the text repeats", .min = 0, .max = 64,
     .given = &draft_given},
    {0}};

enum { MORE_LORA = 8 }; // adapters that requests may load

static struct tool tool = {"rill-serve", "[-m [NAME=]MODEL]... [option]...",
                           "serves models over HTTP, as OpenAI and Anthropic do", opts};

struct serve {
    struct server_opts o;
    struct file_view template;
    struct script *script;
    void *tls; // an SSL_CTX
    char *name[64]; // of models
    const char **list[3];
};

/* -- the supervisor -- */

/* sd_notify(3): a datagram to the socket that NOTIFY_SOCKET names. */
static void notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = path ? strlen(path) : 0;
    int fd;

    if (n < 2 || n >= sizeof a.sun_path || (*path != '/' && *path != '@'))
        return;
    memcpy(a.sun_path, path, n);
    if (*path == '@')
        a.sun_path[0] = 0;
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        sendto(fd, state, strlen(state), MSG_NOSIGNAL, (void *)&a,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
        close(fd);
    }
}

/* sd_listen_fds(3): sockets from descriptor 3 on, if they are meant for this process. */
static int handed_over(void)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");

    if (!pid || !fds || strtol(pid, NULL, 10) != (long)getpid())
        return 0;
    return (int)strtol(fds, NULL, 10);
}

/* -- what the server tells -- */

static void listening(void *ctx, int port)
{
    const struct serve *s = ctx;

    if (s->o.port == 0) {
        printf("%d\n", port);
        fflush(stdout);
    }
}

static void ready(void *ctx, int port)
{
    const struct serve *s = ctx;
    bool v6 = s->o.host && strchr(s->o.host, ':');

    if (s->o.port >= 0)
        tool_note("ready at %s://%s%s%s:%d", s->tls ? "https" : "http", v6 ? "[" : "", s->o.host,
                  v6 ? "]" : "", port);
    else if (s->o.unix_path)
        tool_note("ready at unix:%s", s->o.unix_path);
    else
        tool_note("ready");
    notify("READY=1");
}

/* -- setting up -- */

/* Each connection is a descriptor. */
static void more_descriptors(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur == r.rlim_max)
        return;
    r.rlim_cur = r.rlim_max;
    setrlimit(RLIMIT_NOFILE, &r);
}

static bool is_loopback(const char *host)
{
    struct in_addr v4;

    return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
           (inet_pton(AF_INET, host, &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127);
}

/* Whether others can reach a socket that was handed over: not those of Unix or loopback. */
static bool is_open(int fd)
{
    struct sockaddr_storage a = {0};
    const struct sockaddr_in *v4 = (const void *)&a;
    const struct sockaddr_in6 *v6 = (const void *)&a;
    socklen_t n = sizeof a;

    if (getsockname(fd, (void *)&a, &n) < 0)
        return false; // no socket: listening on it will fail
    if (a.ss_family == AF_INET)
        return ntohl(v4->sin_addr.s_addr) >> 24 != 127;
    return a.ss_family == AF_INET6 && !IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

static void check_reach(const struct serve *s)
{
    bool open = s->o.port >= 0 && !is_loopback(opt_host);

    if (opt_keys || opt_anyone)
        return;
    if (open)
        tool_usage("others can reach %s: give --keys FILE, or --allow-anyone", opt_host);
    for (int i = 0; i < s->o.n_fd; i++)
        if (is_open(s->o.first_fd + i))
            tool_usage("others can reach descriptor %d: give --keys FILE, or --allow-anyone",
                       s->o.first_fd + i);
}

static int read_tls(SSL_CTX *tls, struct err *e)
{
    if (!tls || !SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION))
        return err_set(e, E_NOMEM, "no TLS");
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(tls, opt_cert) != 1)
        return err_set(e, E_FORMAT, "%s: no chain of certificates: %s", opt_cert,
                       ERR_reason_error_string(ERR_get_error()));
    if (SSL_CTX_use_PrivateKey_file(tls, opt_key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(tls) != 1)
        return err_set(e, E_FORMAT, "%s: not the private key of %s: %s", opt_key, opt_cert,
                       ERR_reason_error_string(ERR_get_error()));
    return 0;
}

/* At the start and on SIGHUP. Connections keep the certificate they began with: each holds a
 * reference to its SSL_CTX. */
static int open_tls(void *ctx, struct err *e)
{
    struct serve *s = ctx;
    SSL_CTX *fresh;
    int rc;

    if (!opt_cert && !opt_key)
        return 0;
    if (!opt_cert || !opt_key)
        tool_usage("--tls-cert and --tls-key need each other");
    fresh = SSL_CTX_new(TLS_server_method());
    rc = read_tls(fresh, e);
    if (rc < 0) {
        SSL_CTX_free(fresh);
        return rc;
    }
    SSL_CTX_free(s->tls);
    s->tls = fresh;
    s->o.http.tls = &s->tls;
    return 0;
}

static int limits(struct http_opts *h, struct err *e)
{
    uint64_t head, body, behind;
    int rc = tool_size("--max-head", opt_head, &head, e);

    rc = rc < 0 ? rc : tool_size("--max-body", opt_body, &body, e);
    rc = rc < 0 ? rc : tool_size("--max-behind", opt_behind, &behind, e);
    if (rc < 0)
        return rc;
    if (head < 1024 || head > (1 << 20) || body < 1024 || body > API_BODY_MAX || behind < 65536)
        return err_set(e, E_USAGE,
                       "--max-head must be 1K to 1M, --max-body 1K to 64M, --max-behind at least "
                       "64K");
    h->max_head = (size_t)head;
    h->max_body = (size_t)body;
    h->max_out = (size_t)behind;
    h->max_conn = opt_conn;
    h->head_seconds = opt_head_s;
    h->body_seconds = opt_body_s;
    h->idle_seconds = opt_idle_s;
    h->write_seconds = opt_write_s;
    return 0;
}

/* The path of "NAME=PATH", or of a path alone. */
static const char *path_in(const char *arg)
{
    const char *eq = arg ? strchr(arg, '=') : NULL, *slash = arg ? strchr(arg, '/') : NULL;

    return eq && (!slash || eq < slash) ? eq + 1 : arg;
}

static int name_model(struct serve *s, struct worker_opts *w, int i, const char *arg, struct err *e)
{
    const char *path = path_in(arg);
    struct slice name = {arg, path == arg ? 0 : (size_t)(path - 1 - arg)};

    w->path = tool_model(path, e);
    if (!w->path)
        return e->code;
    if (path == arg)
        name = worker_model_name(w->path);
    w->name = s->name[i] = mem_dup(name.p, name.n, e);
    for (int k = 0; w->name && k < i; k++)
        if (strcmp(s->name[k], w->name) == 0)
            return err_set(e, E_USAGE, "two models are called '%s': give NAME=MODEL", w->name);
    return w->name ? 0 : E_NOMEM;
}

static int set_drafts(const struct serve *s, struct err *e)
{
    for (size_t i = 0; i < drafts.n; i++) {
        const char *arg = drafts.at[i].value, *path = path_in(arg);
        const size_t n = path == arg ? 0 : (size_t)(path - 1 - arg);
        struct worker_opts *w;
        int k = 0;

        while (k < s->o.n_worker && n && !slice_is((struct slice){arg, n}, s->o.worker[k].name))
            k++;
        if (k == s->o.n_worker || (!n && s->o.n_worker > 1))
            return err_set(e, E_USAGE, "--draft '%s': must be NAME=MODEL with the name of a model",
                           arg);
        w = &s->o.worker[k];
        if (w->n_draft == WORKER_DRAFTS)
            return err_set(e, E_USAGE, "--draft '%s': %d are there for this model already", arg,
                           WORKER_DRAFTS);
        if (!(w->draft[w->n_draft++] = tool_model(path, e)))
            return e->code;
    }
    return 0;
}

static int set_models(struct serve *s, struct err *e)
{
    struct rill_engine_opts eo = {.max_seq = opt_parallel,
                                  .max_batch = opt_rows,
                                  .max_draft = opt_draft_max,
                                  .no_cache = no_cache,
                                  .embed = true,
                                  .step_seconds = step_given ? opt_step_ms / 1000 : -1};
    int n = models.n ? (int)models.n : 1;
    int rc = tool_size("--kv-mem", opt_kv_mem, &eo.kv_bytes, e);

    rc = rc < 0 ? rc : tool_size("--swap-mem", opt_swap_mem, &eo.swap_bytes, e);
    eo.max_lora = (int)loras.n + (opt_lora_dir ? MORE_LORA : 0);
    if (drafts.n && !draft_given)
        eo.max_draft = 8;
    if (drafts.n && !eo.max_draft)
        return err_set(e, E_USAGE, "--draft with --draft-max 0 has no meaning");
    if (eo.max_lora > RILL_LORA_MAX)
        return err_set(e, E_USAGE, "more than %d adapters", RILL_LORA_MAX);
    if (n > 1 && loras.n)
        return err_set(e, E_USAGE, "--lora is for one model: load adapters of several by request");
    if (n > (int)ARRAY_LEN(s->name))
        return err_set(e, E_USAGE, "more than %zu models", ARRAY_LEN(s->name));
    s->o.worker = mem_array((uint64_t)n, sizeof *s->o.worker, e);
    if (!s->o.worker)
        return E_NOMEM;
    s->o.n_worker = n;
    for (int i = 0; i < n && rc == 0; i++) {
        struct worker_opts *w = &s->o.worker[i];

        rc = model_opts_of(&running, &w->model, e);
        w->engine = eo;
        w->script = s->script;
        w->lora = &loras;
        w->lora_dir = opt_lora_dir;
        w->session_dir = opt_sessions;
        w->tool_format = opt_format;
        w->template_name = opt_template;
        w->template_text =
            (struct slice){opt_template ? (const char *)s->template.p : NULL, s->template.n};
        rc = rc < 0 ? rc : name_model(s, w, i, models.n ? models.at[i].value : NULL, e);
    }
    return rc < 0 ? rc : set_drafts(s, e);
}

static int strings_of(struct serve *s, int i, const struct opt_list *l, const char *const **out,
                      int *n, struct err *e)
{
    s->list[i] = mem_array(l->n + 1, sizeof(const char *), e);
    for (size_t k = 0; s->list[i] && k < l->n; k++)
        s->list[i][k] = l->at[k].value;
    *out = s->list[i];
    *n = (int)l->n;
    return s->list[i] ? 0 : E_NOMEM;
}

static int set_aliases(const struct serve *s, struct err *e)
{
    for (int i = 0; i < s->o.n_alias; i++) {
        const char *eq = strchr(s->o.alias[i], '=');
        bool known = false;

        for (int k = 0; eq && k < s->o.n_worker; k++)
            known |= strcmp(eq + 1, s->o.worker[k].name) == 0;
        if (!known)
            return err_set(e, E_USAGE, "--alias '%s': must be NAME=MODEL with the name of a model",
                           s->o.alias[i]);
    }
    return 0;
}

static int set_up(struct serve *s, struct err *e)
{
    int rc = 0;

    s->o.host = opt_host;
    s->o.unix_path = opt_unix;
    s->o.first_fd = 3;
    s->o.n_fd = handed_over();
    s->o.port = (opt_unix || s->o.n_fd) && !port_given ? -1 : opt_port;
    s->o.loopback = is_loopback(opt_host) && s->o.n_fd == 0;
    s->o.keys = opt_keys;
    s->o.strict = opt_strict;
    s->o.strict_model = opt_strict_model;
    s->o.parallel = opt_parallel;
    s->o.max_queue = opt_queue;
    s->o.ping_seconds = opt_ping;
    s->o.request_seconds = opt_request;
    s->o.drain_seconds = opt_drain;
    s->o.access_log = opt_log;
    s->o.record = opt_record;
    s->o.listening = listening;
    s->o.ready = ready;
    s->o.reload = open_tls;
    s->o.ctx = s;
    check_reach(s);
    if (opt_template)
        rc = file_read(&s->template, opt_template, 4 << 20, e);
    if (rc == 0 && opt_script)
        rc = script_read(&s->script, opt_script, e);
    rc = rc < 0 ? rc : limits(&s->o.http, e);
    rc = rc < 0 ? rc : set_models(s, e);
    rc = rc < 0 ? rc : strings_of(s, 0, &aliases, &s->o.alias, &s->o.n_alias, e);
    rc = rc < 0 ? rc : strings_of(s, 1, &cors, &s->o.cors, &s->o.n_cors, e);
    rc = rc < 0 ? rc : strings_of(s, 2, &hosts, &s->o.hosts, &s->o.n_host, e);
    rc = rc < 0 ? rc : set_aliases(s, e);
    return rc < 0 ? rc : open_tls(s, e);
}

/* -- keys -- */

static int hash_key(struct err *e)
{
    struct records in = {.kind = RECORD_LINES};
    unsigned char hash[KEY_HASH];
    struct slice key;
    int rc = records_next(&in, &key, e);

    if (rc == 0 || (rc > 0 && key.n < 16))
        rc = err_set(e, E_USAGE, "--hash-key: a key of 16 characters or more on standard input");
    if (rc > 0) {
        key_hash(key, hash);
        for (int i = 0; i < KEY_HASH; i++)
            printf("%02x", hash[i]);
        putchar('\n');
    }
    records_fini(&in);
    return rc < 0 ? rc : 0;
}

static int serve(struct serve *s, struct err *e)
{
    struct server *server = NULL;
    int rc = set_up(s, e);

    if (opt_replay)
        return rc < 0 ? rc : record_replay(opt_replay, s->o.worker, s->o.n_worker, e);
    more_descriptors();
    signal(SIGPIPE, SIG_IGN);
    rc = rc < 0 ? rc : server_new(&server, &s->o, e);
    rc = rc < 0 ? rc : server_run(server, e);
    notify("STOPPING=1");
    server_free(server);
    return rc;
}

int main(int argc, char **argv)
{
    struct serve s = {0};
    struct err e = {0};
    int first = tool_begin(&tool, argc, argv);
    int status = 0, rc;

    if (first < argc)
        tool_usage("unexpected operand '%s' (a model is given with -m)", argv[first]);
    rc = opt_hash ? hash_key(&e) : serve(&s, &e);
    status = rc < 0 ? tool_fail(&e) : rc;
    SSL_CTX_free(s.tls);
    script_free(s.script);
    file_unmap(&s.template);
    mem_free(s.o.worker);
    for (size_t i = 0; i < ARRAY_LEN(s.name); i++)
        mem_free(s.name[i]);
    for (size_t i = 0; i < ARRAY_LEN(s.list); i++)
        mem_free(s.list[i]);
    opt_list_fini(&models);
    opt_list_fini(&aliases);
    opt_list_fini(&cors);
    opt_list_fini(&hosts);
    opt_list_fini(&loras);
    opt_list_fini(&drafts);
    return tool_end(status);
}
