/* http_conn.c - see http.h: one connection, request after request. */
#define _GNU_SOURCE
#include "tools/lib/http.h"

#include <event2/bufferevent_ssl.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tools/lib/http_in.h"

/* A client that still sends gets to read our reply: a socket closed with bytes unread resets the
 * connection, and the reply with it. */
#define LINGER_SECONDS 2.0
/* What may wait in a socket's buffer while its request is worked on. */
enum { READ_AHEAD = 64 << 10 };

static void go(struct http_x *x);
static void watch(struct http_x *x);

const char *http_status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } list[] = {{200, "OK"},
                {204, "No Content"},
                {400, "Bad Request"},
                {401, "Unauthorized"},
                {403, "Forbidden"},
                {404, "Not Found"},
                {405, "Method Not Allowed"},
                {408, "Request Timeout"},
                {413, "Content Too Large"},
                {414, "URI Too Long"},
                {415, "Unsupported Media Type"},
                {417, "Expectation Failed"},
                {421, "Misdirected Request"},
                {429, "Too Many Requests"},
                {431, "Request Header Fields Too Large"},
                {500, "Internal Server Error"},
                {501, "Not Implemented"},
                {503, "Service Unavailable"},
                {505, "HTTP Version Not Supported"}};

    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        if (list[i].status == status)
            return list[i].text;
    return "Unknown";
}

/* -- closing -- */

void conn_close(struct http_x *x)
{
    struct http *h = x->h;
    void *user = x->user;
    bool handed = x->handed;

    if (x->prev)
        x->prev->next = x->next;
    else
        h->conns = x->next;
    if (x->next)
        x->next->prev = x->prev;
    h->n_conn--;
    bufferevent_free(x->bev);
    if (x->probe)
        event_free(x->probe);
    mem_free(x->head);
    buf_fini(&x->head_bytes);
    buf_fini(&x->body);
    mem_free(x);
    if (handed && user)
        h->o.gone(h->o.ctx, user);
}

static size_t to_write(const struct http_x *x)
{
    return evbuffer_get_length(bufferevent_get_output(x->bev));
}

/* All is written: our side is closed, the client's bytes are dropped for a while. */
static void linger(struct http_x *x)
{
    if (x->h->o.tls || x->half) {
        conn_close(x);
        return;
    }
    x->state = CONN_LINGER;
    x->deadline = clock_seconds() + LINGER_SECONDS;
    shutdown(bufferevent_getfd(x->bev), SHUT_WR);
    evbuffer_drain(bufferevent_get_input(x->bev),
                   evbuffer_get_length(bufferevent_get_input(x->bev)));
    bufferevent_setwatermark(x->bev, EV_READ, 0, 0);
    bufferevent_enable(x->bev, EV_READ);
}

/* -- replies -- */

static void put(struct http_x *x, const void *p, size_t n)
{
    bufferevent_write(x->bev, p, n);
}

/* Pieces of a stream, at once: where nothing waits they go to the socket without the loop, which
 * would be told of it, wait for it and be told again (four calls of the system in place of one).
 * What the socket does not take, and what is wrong with it, is the loop's. */
static void put_now(struct http_x *x, const struct iovec *v, int n)
{
    struct msghdr m = {.msg_iov = (void *)(uintptr_t)v, .msg_iovlen = (size_t)n};
    ssize_t sent = 0;

    if (!x->h->o.tls && to_write(x) == 0)
        sent = sendmsg(bufferevent_getfd(x->bev), &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    for (int i = 0; i < n; i++) {
        size_t done = sent <= 0 ? 0 : (size_t)sent < v[i].iov_len ? (size_t)sent : v[i].iov_len;

        sent -= (ssize_t)done;
        if (done < v[i].iov_len)
            put(x, (const char *)v[i].iov_base + done, v[i].iov_len - done);
    }
}

static void put_head(struct http_x *x, int status, const char *type, const struct buf *fields,
                     size_t length)
{
    struct evbuffer *out = bufferevent_get_output(x->bev);

    evbuffer_add_printf(out, "HTTP/1.1 %d %s\r\nDate: %s\r\n", status, http_status_text(status),
                        x->h->date);
    if (type)
        evbuffer_add_printf(out, "Content-Type: %s\r\n", type);
    if (x->streaming && x->chunked)
        evbuffer_add_printf(out, "Transfer-Encoding: chunked\r\n");
    else if (!x->streaming && status != 204)
        evbuffer_add_printf(out, "Content-Length: %zu\r\n", length);
    if (fields && fields->n)
        evbuffer_add(out, fields->p, fields->n);
    evbuffer_add_printf(out,
                        x->keep ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n");
}

/* The reply has ended: the next request, or the end of the connection. */
static void finish(struct http_x *x)
{
    x->handed = false;
    x->user = NULL;
    x->streaming = false;
    buf_fini(&x->body);
    if (x->half && evbuffer_get_length(bufferevent_get_input(x->bev)) == 0)
        x->keep = false;
    x->deadline = 0;
    if (!x->keep || x->h->draining) {
        x->state = CONN_FLUSH;
        if (to_write(x) == 0)
            linger(x);
        return;
    }
    x->state = CONN_HEAD;
    x->seen = 0;
    x->deadline = clock_seconds() + x->h->o.idle_seconds;
    if (!x->going)
        go(x);
}

void http_set_user(struct http_x *x, void *user)
{
    x->user = user;
}

size_t http_behind(const struct http_x *x)
{
    return to_write(x);
}

void http_reply(struct http_x *x, struct http_answer *a)
{
    x->keep = x->keep && !a->close && !x->h->draining;
    put_head(x, a->status, a->type, &a->fields, a->body.n);
    if (!x->is_head && a->body.n)
        put(x, a->body.p, a->body.n);
    buf_fini(&a->body);
    buf_fini(&a->fields);
    finish(x);
}

void http_stream(struct http_x *x, const char *type, const struct buf *fields)
{
    x->streaming = true;
    x->keep = x->keep && x->chunked && !x->h->draining;
    put_head(x, 200, type, fields, 0);
}

/* The line in front of a chunk. */
static size_t chunk_line(char out[24], size_t n)
{
    size_t k = 1, at = 0;

    while (k < 2 * sizeof n && n >> 4 * k)
        k++;
    while (k-- > 0)
        out[at++] = "0123456789abcdef"[n >> 4 * k & 15];
    memcpy(out + at, "\r\n", 2);
    return at + 2;
}

void http_add(struct http_x *x, struct slice s)
{
    char size[24];
    struct iovec v[3] = {{(void *)(uintptr_t)s.p, s.n}};

    if (s.n == 0)
        return;
    if (to_write(x) + s.n > x->h->o.max_out) {
        conn_close(x);
        return;
    }
    if (x->chunked) {
        v[1] = v[0];
        v[0] = (struct iovec){size, chunk_line(size, s.n)};
        v[2] = (struct iovec){(void *)(uintptr_t) "\r\n", 2};
    }
    put_now(x, v, x->chunked ? 3 : 1);
}

void http_end(struct http_x *x)
{
    if (x->chunked)
        put(x, "0\r\n\r\n", 5);
    finish(x);
}

/* -- reading -- */

/* A request that cannot be read: where the next one begins nobody knows. */
static void refuse(struct http_x *x, int status, const char *why)
{
    struct http_answer a = {.status = status, .close = true};

    x->is_head = false;
    x->keep = false;
    x->h->o.refused(x->h->o.ctx, why, &a);
    http_reply(x, &a);
}

static struct http_request request_of(const struct http_x *x)
{
    return (struct http_request){x->head, buf_view(&x->body), x->peer};
}

static void hand_out(struct http_x *x)
{
    struct http_request r = request_of(x);
    struct http *h = x->h;

    x->state = CONN_BUSY;
    x->deadline = 0;
    x->handed = true;
    x->going = true;
    h->o.request(h->o.ctx, x, &r);
    x->going = false;
    mem_free(x->head);
    x->head = NULL;
    buf_fini(&x->head_bytes);
    buf_fini(&x->body);
    if (x->half && x->state == CONN_BUSY)
        watch(x);
}

/* A head is there. False: it was refused. */
static bool begin_request(struct http_x *x)
{
    struct http_answer a = {0};
    struct http_request r;
    const char *why = "";
    int status;

    if (!x->head && !(x->head = mem_new(sizeof *x->head, NULL))) {
        refuse(x, 500, "no memory for a request");
        return false;
    }
    status = reqhead_read(x->head, buf_view(&x->head_bytes), &why);
    if (status == 0 && x->head->length > x->h->o.max_body) {
        status = 413;
        why = "the body is too large";
    }
    if (status) {
        refuse(x, status, why);
        return false;
    }
    x->is_head = slice_is(x->head->method, "HEAD");
    x->chunked = x->head->minor == 1;
    x->keep = x->head->keep && !x->h->draining;
    x->chunks = (struct reqbody){0};
    x->state = CONN_BODY;
    x->deadline = clock_seconds() + x->h->o.body_seconds;
    r = request_of(x);
    if (x->h->o.early(x->h->o.ctx, &r, &a)) {
        a.close = a.close || x->head->chunked || x->head->length > 0;
        http_reply(x, &a);
        return false;
    }
    if (x->head->expects && (x->head->chunked || x->head->length > 0))
        put(x, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    return true;
}

/* More of a head. True: something was done, look again. */
static bool read_head(struct http_x *x)
{
    struct evbuffer *in = bufferevent_get_input(x->bev);
    size_t n = evbuffer_get_length(in), end;
    struct slice all;

    if (n == 0)
        return false;
    if (x->seen == 0)
        x->deadline = clock_seconds() + x->h->o.head_seconds;
    if (n > x->h->o.max_head + 4)
        n = x->h->o.max_head + 4;
    all = (struct slice){(const char *)evbuffer_pullup(in, (ev_ssize_t)n), n};
    if (!all.p)
        return false;
    end = reqhead_end(all, &x->seen);
    x->seen = x->seen ? x->seen : 1; // the time for a head has begun
    if (end == 0 && n > x->h->o.max_head) {
        refuse(x, 431, "the head of the request is too large");
        return true;
    }
    if (end == 0)
        return false;
    buf_clear(&x->head_bytes);
    buf_add(&x->head_bytes, all.p, end);
    evbuffer_drain(in, end);
    x->seen = 0;
    x->going = true; // a reply made at once is no reason to look for the next request from inside
    begin_request(x);
    x->going = false;
    return true;
}

static bool read_chunks(struct http_x *x)
{
    struct evbuffer *in = bufferevent_get_input(x->bev);
    const char *why = "";

    for (;;) {
        size_t n = evbuffer_get_contiguous_space(in), used;
        int rc;

        if (n == 0)
            return false;
        rc = reqbody_feed(&x->chunks, (struct slice){(char *)evbuffer_pullup(in, (ev_ssize_t)n), n},
                          &used, &x->body, x->h->o.max_body, &why);
        evbuffer_drain(in, used);
        if (rc < 0) {
            refuse(x, -rc, why);
            return true;
        }
        if (rc > 0) {
            hand_out(x);
            return true;
        }
    }
}

static bool read_body(struct http_x *x)
{
    struct evbuffer *in = bufferevent_get_input(x->bev);
    size_t n = evbuffer_get_length(in);

    if (x->head->chunked)
        return read_chunks(x);
    if (n > x->head->length - x->body.n)
        n = (size_t)x->head->length - x->body.n;
    if (n && buf_reserve(&x->body, n)) {
        evbuffer_remove(in, x->body.p + x->body.n, n);
        x->body.n += n;
        x->body.p[x->body.n] = 0;
    }
    if (x->body.bad) {
        refuse(x, 500, "no memory for the body");
        return true;
    }
    if (x->body.n < x->head->length)
        return false;
    hand_out(x);
    return true;
}

/* Goes on as far as there are bytes. */
static void go(struct http_x *x)
{
    bool more = true;

    while (more) {
        if (x->state == CONN_HEAD)
            more = read_head(x);
        else if (x->state == CONN_BODY)
            more = read_body(x);
        else
            more = false;
    }
}

static void on_read(struct bufferevent *bev, void *ctx)
{
    struct http_x *x = ctx;
    struct evbuffer *in = bufferevent_get_input(bev);

    if (x->state == CONN_LINGER || x->state == CONN_FLUSH)
        evbuffer_drain(in, evbuffer_get_length(in));
    else
        go(x);
}

static void on_write(struct bufferevent *bev, void *ctx)
{
    struct http_x *x = ctx;

    (void)bev;
    if (x->state == CONN_FLUSH && to_write(x) == 0)
        linger(x);
}

/* Whether a client that sends no more still reads is seen when something is written to it: comments
 * in its stream, soon and again; before its reply the line that may stand before any (RFC 9110,
 * 15.2), ever less often because some clients count them. HTTP/1.0 has none. */
static void probe(evutil_socket_t fd, short what, void *ctx)
{
    static const struct timeval soon = {0, 10000}, later = {1, 0};
    struct http_x *x = ctx;
    struct pollfd p = {.fd = bufferevent_getfd(x->bev)};

    (void)fd;
    (void)what;
    if (x->state != CONN_BUSY)
        return;
    if (poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLHUP))) {
        conn_close(x);
        return;
    }
    event_add(x->probe, x->probes < 10 ? &soon : &later);
    x->probes++;
    if (x->streaming) {
        http_add(x, SLICE(": there?\n\n"));
    } else if (x->probes == x->probe_at) {
        x->probe_at *= 4;
        if (x->chunked)
            put(x, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    }
}

/* The client sends nothing behind the request that is answered now: from here on it is asked
 * whether it is there. The first time a little later, when most have their reply. */
static void watch(struct http_x *x)
{
    static const struct timeval soon = {0, 10000};

    x->probes = 0;
    x->probe_at = 1;
    if (!x->probe)
        x->probe = event_new(x->h->base, -1, 0, probe, x);
    if (x->probe)
        event_add(x->probe, &soon);
}

/* The client sends no more. What it has asked is answered: a connection that is closed looks the
 * same until something is written. A reply may be on its way already. */
static void on_end(struct http_x *x)
{
    if (x->state != CONN_BUSY && to_write(x) == 0) {
        conn_close(x);
        return;
    }
    x->half = true;
    bufferevent_enable(x->bev, EV_WRITE); // TLS has stopped both ways
    if (x->state == CONN_BUSY) {
        watch(x);
        return;
    }
    x->state = CONN_FLUSH;
    x->deadline = 0;
}

/* Nothing was written for too long. Where the socket would take it now it was this process that had
 * no time, and libevent tells of the time alone: on it goes. */
static bool was_late(const struct http_x *x, short what)
{
    struct pollfd p = {.fd = bufferevent_getfd(x->bev), .events = POLLOUT};

    return (what & BEV_EVENT_TIMEOUT) && (what & BEV_EVENT_WRITING) && poll(&p, 1, 0) > 0 &&
           p.revents == POLLOUT;
}

static void on_event(struct bufferevent *bev, short what, void *ctx)
{
    struct http_x *x = ctx;

    if (what & BEV_EVENT_CONNECTED)
        return;
    if (was_late(x, what)) {
        bufferevent_enable(bev, EV_WRITE);
        return;
    }
    if ((what & BEV_EVENT_EOF) && !(what & BEV_EVENT_ERROR))
        on_end(x);
    else
        conn_close(x); // an error, or nothing written for too long
}

void conn_tick(struct http_x *x, double now)
{
    if (x->deadline == 0 || now < x->deadline)
        return;
    if ((x->state == CONN_HEAD && x->seen) || x->state == CONN_BODY)
        refuse(x, 408, "the request did not come in time");
    else
        conn_close(x);
}

void conn_open(struct http *h, int fd, const char *peer)
{
    const struct timeval write_time = {(time_t)h->o.write_seconds, 0};
    struct http_x *x = mem_new(sizeof *x, NULL);
    SSL *ssl = h->o.tls ? SSL_new(*h->o.tls) : NULL;

    if (x && h->o.tls)
        x->bev = ssl ? bufferevent_openssl_socket_new(h->base, fd, ssl, BUFFEREVENT_SSL_ACCEPTING,
                                                      BEV_OPT_CLOSE_ON_FREE)
                     : NULL;
    else if (x)
        x->bev = bufferevent_socket_new(h->base, fd, BEV_OPT_CLOSE_ON_FREE);
    if (!x || !x->bev) {
        mem_free(x);
        SSL_free(ssl);
        evutil_closesocket(fd);
        return;
    }
    x->h = h;
    snprintf(x->peer, sizeof x->peer, "%s", peer);
    x->next = h->conns;
    if (h->conns)
        h->conns->prev = x;
    h->conns = x;
    h->n_conn++;
    x->deadline = clock_seconds() + h->o.idle_seconds;
    bufferevent_setcb(x->bev, on_read, on_write, on_event, x);
    bufferevent_setwatermark(x->bev, EV_READ, 0, READ_AHEAD + h->o.max_head);
    bufferevent_set_timeouts(x->bev, NULL, &write_time);
    bufferevent_enable(x->bev, EV_READ | EV_WRITE);
}
