/* load.c - see load.h. */
#define _GNU_SOURCE
#include "tools/lib/load.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"

enum { BLOCK = 512, CLIENTS_MAX = 8192, LINE_MAX = 4 << 20 };

enum where { IDLE, CONNECTING, HEAD, SIZE, DATA, AFTER, TRAILER, LENGTH };

struct client {
    struct load *l;
    int fd;
    enum where where;
    bool reused;
    const struct load_item *item;
    size_t number;
    struct buf out, head, line;
    size_t sent, left;
    int status, pieces, drawn;
    double began, last;
};

struct load {
    const struct load_opts *o;
    struct load_result *r;
    struct sockaddr_storage to;
    socklen_t to_n;
    char host[256], path[512];
    int poll, n_client, n_busy;
    struct client *client; // [cap]
    int cap;
    size_t next;
    double from;
};

/* -- times -- */

static void add_time(struct load_times *t, double seconds)
{
    float ms = (float)(seconds * 1e3);

    buf_add(&t->ms, &ms, sizeof ms);
}

static int by_size(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

double load_quantile(struct load_times *t, double q)
{
    const size_t n = t->ms.n / sizeof(float);
    float v = 0;

    if (n == 0)
        return 0;
    qsort(t->ms.p, n, sizeof(float), by_size);
    memcpy(&v, t->ms.p + (size_t)(q * (double)(n - 1) + 0.5) * sizeof v, sizeof v);
    return (double)v;
}

void load_fini(struct load_result *r)
{
    buf_fini(&r->first.ms);
    buf_fini(&r->between.ms);
    buf_fini(&r->total.ms);
}

/* -- requests -- */

/* Words that are a token each in most vocabularies. */
static void put_words(struct buf *b, uint64_t seed, int n)
{
    static const char *const words[] = {"the",  "fox", "and", "bear", "in",   "a",
                                        "wood", "saw", "red", "bird", "that", "ran",
                                        "to",   "his", "old", "house"};

    for (int i = 0; i < n; i++) {
        buf_byte(b, ' ');
        buf_str(b, words[rng_bits(seed, 1, (uint64_t)i, 0) % ARRAY_LEN(words)]);
    }
}

static void put_request(struct client *c)
{
    const struct load *l = c->l;
    const struct load_item *it = c->item;
    struct buf body = {0};
    int left = it->n_prompt;

    buf_str(&body, "{\"messages\":[{\"role\":\"user\",\"content\":\"");
    for (int i = 0; i < it->n_block && left > 0; i++, left -= BLOCK)
        put_words(&body, it->block[i], left < BLOCK ? left : BLOCK);
    if (!it->block)
        put_words(&body, ((uint64_t)1 << 32) + c->number, left);
    buf_printf(&body,
               "\"}],\"stream\":true,\"stream_options\":{\"include_usage\":true},"
               "\"max_tokens\":%d",
               it->n_gen);
    if (l->o->to_end)
        buf_str(&body, ",\"ignore_eos\":true");
    if (l->o->model) {
        buf_str(&body, ",\"model\":");
        buf_json(&body, slice_of(l->o->model));
    }
    buf_byte(&body, '}');
    buf_clear(&c->out);
    buf_printf(&c->out, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n",
               l->path, l->host);
    if (l->o->key)
        buf_printf(&c->out, "Authorization: Bearer %s\r\n", l->o->key);
    buf_printf(&c->out, "Content-Length: %zu\r\n\r\n", body.n);
    buf_slice(&c->out, buf_view(&body));
    buf_fini(&body);
    c->sent = 0;
}

/* -- connections -- */

static void hang_up(struct client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

static void watch(const struct client *c, int op, bool write)
{
    struct epoll_event ev = {.events = EPOLLIN | (write ? (unsigned)EPOLLOUT : 0),
                             .data.ptr = (void *)(uintptr_t)c};

    epoll_ctl(c->l->poll, op, c->fd, &ev);
}

static void end(struct client *c, const char *why)
{
    struct load_result *r = c->l->r;

    if (why) {
        hang_up(c);
        if (r->failed++ == 0)
            snprintf(r->why, sizeof r->why, "%s", why);
    } else {
        r->done++;
        r->tokens += (uint64_t)(c->drawn > 0 ? c->drawn : c->pieces);
        add_time(&r->total, clock_seconds() - c->began);
    }
    c->where = IDLE;
    c->l->n_busy--;
}

static bool dial(struct client *c)
{
    int one = 1;

    c->fd = socket(c->l->to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return false;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (void *)&c->l->to, c->l->to_n) < 0 && errno != EINPROGRESS)
        return false;
    watch(c, EPOLL_CTL_ADD, true);
    return true;
}

/* The connection is of no more use. One that was used before may have been closed by the server
 * since, which is no failure while nothing of a reply has come: the request is sent again. */
static void broken(struct client *c, const char *why)
{
    if (!c->reused || c->head.n > 0 || c->where > HEAD) {
        end(c, why);
        return;
    }
    hang_up(c);
    c->reused = false;
    c->sent = 0;
    c->where = CONNECTING;
    if (!dial(c))
        end(c, strerror(errno));
}

static void send_more(struct client *c)
{
    while (c->sent < c->out.n) {
        ssize_t n = send(c->fd, c->out.p + c->sent, c->out.n - c->sent, MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            broken(c, strerror(errno));
            return;
        }
        c->sent += (size_t)n;
    }
    c->where = c->where == CONNECTING ? HEAD : c->where;
    watch(c, EPOLL_CTL_MOD, false);
}

/* False: as many as there may be are busy. */
static bool begin(struct load *l, const struct load_item *item)
{
    struct client *c = NULL;

    for (int i = 0; i < l->cap && (!c || c->fd < 0); i++) // one that is connected, if there is
        if (l->client[i].where == IDLE && (!c || l->client[i].fd >= 0))
            c = &l->client[i];
    if (!c)
        return false;
    l->next++;
    l->n_busy++;
    c->item = item;
    c->number = l->next;
    c->pieces = c->drawn = c->status = 0;
    c->began = l->o->at_once ? clock_seconds() : l->from + item->at;
    c->last = 0;
    buf_clear(&c->head);
    buf_clear(&c->line);
    put_request(c);
    c->where = CONNECTING;
    c->reused = c->fd >= 0;
    if (c->reused)
        send_more(c);
    else if (!dial(c))
        end(c, strerror(errno));
    return true;
}

/* -- replies -- */

/* A number behind the last occurrence of a name. */
static int number_behind(const char *line, const char *name)
{
    const char *p = strstr(line, name);

    return p ? (int)strtol(p + strlen(name), NULL, 10) : 0;
}

/* Whether a chunk brings some of the answer. */
static bool brings(const char *line)
{
    static const char *const names[] = {"\"content\":\"", "\"reasoning_content\":\"",
                                        "\"reasoning\":\"", "\"arguments\":\"", "\"text\":\""};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const char *p = strstr(line, names[i]);

        if (p && p[strlen(names[i])] != '"')
            return true;
    }
    return false;
}

static void take_line(struct client *c)
{
    struct load_result *r = c->l->r;
    const char *line = c->line.p;
    double now;

    if (c->line.n < 7 || strncmp(line, "data: {", 7) != 0)
        return;
    if (strstr(line, "\"usage\":{")) {
        c->drawn = number_behind(line, "\"completion_tokens\":");
        r->prompt_tokens += (uint64_t)number_behind(line, "\"prompt_tokens\":");
    }
    if (!brings(line))
        return;
    now = clock_seconds();
    if (c->pieces++ == 0)
        add_time(&r->first, now - c->began);
    else
        add_time(&r->between, now - c->last);
    c->last = now;
}

static void take_data(struct client *c, const char *p, size_t n)
{
    while (n > 0) {
        const char *nl = memchr(p, '\n', n);
        size_t k = nl ? (size_t)(nl - p) : n;

        if (c->line.n + k < LINE_MAX)
            buf_add(&c->line, p, k);
        if (!nl)
            return;
        buf_byte(&c->line, 0);
        if (c->status == 200)
            take_line(c);
        buf_clear(&c->line);
        p += k + 1;
        n -= k + 1;
    }
}

static bool read_head(struct client *c)
{
    const char *length;

    buf_byte(&c->head, 0);
    c->status = (int)strtol(c->head.n > 9 ? c->head.p + 9 : "", NULL, 10);
    length = strcasestr(c->head.p, "\ncontent-length:");
    c->left = length ? strtoul(length + 16, NULL, 10) : 0;
    c->where = strcasestr(c->head.p, "\ntransfer-encoding: chunked") ? SIZE : LENGTH;
    if (c->status == 100) {
        buf_clear(&c->head);
        c->where = HEAD;
    } else {
        c->head.n = 0;
    }
    return c->where == SIZE || c->left > 0 || c->where == HEAD;
}

static void finished(struct client *c)
{
    char why[160];

    buf_byte(&c->line, 0);
    snprintf(why, sizeof why, "status %d: %.120s", c->status, c->line.p ? c->line.p : "");
    end(c, c->status == 200 ? NULL : why);
}

/* One byte of what frames the data; true when the reply has ended. */
static bool frame(struct client *c, char b)
{
    switch (c->where) {
    case HEAD:
        buf_byte(&c->head, b);
        if (slice_ends(buf_view(&c->head), SLICE("\r\n\r\n")))
            return !read_head(c);
        return c->head.n > 65536;
    case SIZE:
        if (b != '\n') {
            buf_byte(&c->head, b);
            return c->head.n > 100;
        }
        buf_byte(&c->head, 0);
        c->left = strtoul(c->head.p, NULL, 16);
        c->head.n = 0;
        c->where = c->left ? DATA : TRAILER;
        return false;
    case AFTER:
        c->where = b == '\n' ? SIZE : AFTER;
        return false;
    default: // TRAILER
        return b == '\n';
    }
}

/* Bytes of a reply; false when it has ended. */
static bool take(struct client *c, const char *p, size_t n)
{
    while (n > 0) {
        size_t k = 1;

        if (c->where == DATA || c->where == LENGTH) {
            k = n < c->left ? n : c->left;
            take_data(c, p, k);
            c->left -= k;
            if (c->left == 0 && c->where == LENGTH) {
                finished(c);
                return false;
            }
            c->where = c->left == 0 ? AFTER : c->where;
        } else if (frame(c, *p)) {
            finished(c);
            return false;
        }
        p += k;
        n -= k;
    }
    return true;
}

static void on_bytes(struct client *c)
{
    char bytes[65536];
    ssize_t n;

    do {
        n = recv(c->fd, bytes, sizeof bytes, 0);
        if (n > 0 && (c->where == IDLE || !take(c, bytes, (size_t)n)))
            return;
    } while (n == (ssize_t)sizeof bytes);
    if (n > 0 || (n < 0 && errno == EAGAIN))
        return;
    if (c->where == IDLE)
        hang_up(c);
    else
        broken(c, n == 0 ? "the server has closed the connection" : strerror(errno));
}

static void on_event(const struct epoll_event *ev)
{
    struct client *c = ev->data.ptr;
    socklen_t n = sizeof(int);
    int error = 0;

    if (c->fd < 0)
        return;
    if (ev->events & EPOLLERR)
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n);
    if (error && c->where != IDLE) {
        broken(c, strerror(error));
        return;
    }
    if (c->where == CONNECTING && (ev->events & EPOLLOUT))
        send_more(c);
    if (c->fd >= 0 && (ev->events & (EPOLLIN | EPOLLHUP)))
        on_bytes(c);
}

/* -- running -- */

static int find_server(struct load *l, const char *url, struct err *e)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    const char *at = url + 7, *slash, *colon;
    char port[16] = "80", host[256];
    int why;

    if (strncmp(url, "http://", 7) != 0)
        return err_set(e, E_USAGE, "'%s': must begin with http:// (TLS is not spoken)", url);
    slash = strchr(at, '/');
    snprintf(l->host, sizeof l->host, "%.*s", (int)(slash ? slash - at : (long)strlen(at)), at);
    snprintf(l->path, sizeof l->path, "%s", slash && slash[1] ? slash : "/v1/chat/completions");
    snprintf(host, sizeof host, "%s", l->host);
    colon = strrchr(host, ':');
    if (colon && !strchr(colon, ']')) {
        snprintf(port, sizeof port, "%.15s", colon + 1);
        host[colon - host] = 0;
    }
    if (host[0] == '[' && host[strlen(host) - 1] == ']') {
        host[strlen(host) - 1] = 0;
        memmove(host, host + 1, strlen(host));
    }
    why = getaddrinfo(host, port, &hints, &list);
    if (why)
        return err_set(e, E_IO, "%s: %s", host, gai_strerror(why));
    memcpy(&l->to, list->ai_addr, list->ai_addrlen);
    l->to_n = list->ai_addrlen;
    freeaddrinfo(list);
    return 0;
}

static void give_up(struct load *l, double now)
{
    for (int i = 0; l->o->seconds > 0 && i < l->cap; i++)
        if (l->client[i].where != IDLE && now - l->client[i].began > l->o->seconds)
            end(&l->client[i], "no end in the time that was given");
}

/* Milliseconds until the next request is due, at most 100. */
static int due(const struct load *l, double now)
{
    double wait = 0.1;

    if (!l->o->at_once && l->next < l->o->n && l->from + l->o->item[l->next].at - now < wait)
        wait = l->from + l->o->item[l->next].at - now;
    return wait <= 0 ? 0 : (int)(wait * 1000 + 0.999);
}

static void loop(struct load *l, bool (*stop)(void))
{
    struct epoll_event ev[256];

    while ((l->next < l->o->n || l->n_busy > 0) && !(stop && stop())) {
        double now = clock_seconds();
        int n;

        while (l->next < l->o->n) {
            const struct load_item *it = &l->o->item[l->next];

            if (l->o->at_once ? l->n_busy >= l->o->at_once : l->from + it->at > now)
                break;
            if (!begin(l, it))
                break;
        }
        n = epoll_wait(l->poll, ev, 256, due(l, now));
        for (int i = 0; i < n; i++)
            on_event(&ev[i]);
        give_up(l, now);
        if (l->r->done == 0 && l->r->failed >= 100)
            return; // nothing works
    }
}

int load_run(struct load_result *out, const struct load_opts *o, bool (*stop)(void), struct err *e)
{
    struct load l = {.o = o, .r = out, .poll = -1, .cap = o->at_once ? o->at_once : CLIENTS_MAX};
    int rc = find_server(&l, o->url, e);

    *out = (struct load_result){0};
    if (rc < 0)
        return rc;
    l.client = mem_array((uint64_t)l.cap, sizeof *l.client, e);
    if (!l.client)
        return E_NOMEM;
    for (int i = 0; i < l.cap; i++)
        l.client[i] = (struct client){.l = &l, .fd = -1};
    l.poll = epoll_create1(EPOLL_CLOEXEC);
    rc = l.poll < 0 ? err_set(e, E_IO, "no epoll: %s", strerror(errno)) : 0;
    l.from = clock_seconds();
    if (rc == 0)
        loop(&l, stop);
    out->seconds = clock_seconds() - l.from;
    if (rc == 0 && out->done == 0)
        rc = err_set(e, E_IO, "%s: %s", o->url, out->failed ? out->why : "nothing was answered");
    for (int i = 0; i < l.cap; i++) {
        hang_up(&l.client[i]);
        buf_fini(&l.client[i].out);
        buf_fini(&l.client[i].head);
        buf_fini(&l.client[i].line);
    }
    mem_free(l.client);
    if (l.poll >= 0)
        close(l.poll);
    return rc;
}

/* -- traces -- */

/* One line of JSON: a number behind a name, -1 where it is not there. */
static double field(const char *line, const char *name)
{
    const char *p = strstr(line, name);

    p = p ? strchr(p + strlen(name), ':') : NULL;
    return p ? strtod(p + 1, NULL) : -1;
}

static bool read_json(struct load_item *it, const char *line, struct buf *blocks)
{
    const char *p = strstr(line, "\"hash_ids\"");

    it->at = field(line, "\"timestamp\"") / 1000;
    it->n_prompt = (int)field(line, "\"input_length\"");
    it->n_gen = (int)field(line, "\"output_length\"");
    p = p ? strchr(p, '[') : NULL;
    while (p && *p && *p != ']') {
        char *end;
        uint32_t id = (uint32_t)strtoul(p + 1, &end, 10);

        if (end == p + 1)
            break;
        buf_add(blocks, &id, sizeof id);
        it->n_block++;
        p = end;
    }
    return it->at >= 0 && it->n_prompt > 0 && it->n_gen > 0;
}

/* "2023-11-16 18:17:03.9799600,4808,10"; the line of names has no such form. */
static bool read_csv(struct load_item *it, const char *line)
{
    int h, m;
    double s;

    if (sscanf(line, "%*d-%*d-%*d %d:%d:%lf,%d,%d", &h, &m, &s, &it->n_prompt, &it->n_gen) != 5)
        return false;
    it->at = h * 3600 + m * 60 + s;
    return it->n_prompt > 0 && it->n_gen > 0;
}

int load_trace_read(struct load_trace *t, const char *path, double speed, size_t most,
                    struct err *e)
{
    struct file_view v;
    struct buf blocks = {0}, items = {0};
    size_t at = 0;
    int rc = file_read(&v, path, 256 << 20, e);

    *t = (struct load_trace){0};
    if (rc < 0)
        return rc;
    while (at < v.n && items.n / sizeof(struct load_item) < most) {
        const char *p = (const char *)v.p + at, *nl = memchr(p, '\n', v.n - at);
        size_t n = nl ? (size_t)(nl - p) : v.n - at;
        struct load_item it = {0};
        char *line = mem_dup(p, n, e);

        if (line && (*line == '{' ? read_json(&it, line, &blocks) : read_csv(&it, line)))
            buf_add(&items, &it, sizeof it);
        rc = line ? rc : E_NOMEM;
        mem_free(line);
        at += n + 1;
    }
    file_unmap(&v);
    t->n = items.n / sizeof(struct load_item);
    t->item = mem_array(t->n + 1, sizeof *t->item, e);
    t->block = mem_array(blocks.n / sizeof(uint32_t) + 1, sizeof(uint32_t), e);
    if (rc < 0 || items.bad || blocks.bad || !t->item || !t->block)
        rc = err_nomem(e, items.n);
    else if (t->n == 0)
        rc = err_set(e, E_FORMAT, "%s: no request in it", path);
    if (rc == 0) {
        size_t k = 0;

        memcpy(t->item, items.p, items.n);
        if (blocks.n)
            memcpy(t->block, blocks.p, blocks.n);
        for (size_t i = 0; i < t->n; i++) {
            t->item[i].block = t->item[i].n_block ? t->block + k : NULL;
            k += (size_t)t->item[i].n_block;
        }
        for (size_t i = t->n; i-- > 0;)
            t->item[i].at = (t->item[i].at - t->item[0].at) / speed;
    }
    buf_fini(&items);
    buf_fini(&blocks);
    if (rc < 0)
        load_trace_free(t);
    return rc;
}

void load_trace_free(struct load_trace *t)
{
    mem_free(t->item);
    mem_free(t->block);
    *t = (struct load_trace){0};
}
