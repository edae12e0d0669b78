/* http.c - see http.h: listening, accepting, limits of number and time. */
#define _GNU_SOURCE
#include "tools/lib/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "tools/lib/http_in.h"

enum { BACKLOG = 1024, ACCEPTS = 64 };

/* -- time -- */

static void set_date(struct http *h)
{
    time_t t = time(NULL);
    struct tm tm;

    gmtime_r(&t, &tm);
    strftime(h->date, sizeof h->date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

static void tick(evutil_socket_t fd, short what, void *ctx)
{
    struct http *h = ctx;
    struct http_x *next;

    (void)fd;
    (void)what;
    h->now = clock_seconds();
    set_date(h);
    for (struct http_x *x = h->conns; x; x = next) {
        next = x->next;
        conn_tick(x, h->now);
    }
    for (int i = 0; i < h->n_listen; i++)
        event_add(h->listen[i].ev, NULL);
}

int http_new(struct http **out, struct event_base *base, const struct http_opts *o, struct err *e)
{
    const struct timeval quarter = {0, 250000};
    struct http *h = mem_new(sizeof *h, e);

    *out = h;
    if (!h)
        return E_NOMEM;
    h->base = base;
    h->o = *o;
    h->now = clock_seconds();
    set_date(h);
    h->timer = event_new(base, -1, EV_PERSIST, tick, h);
    if (!h->timer || event_add(h->timer, &quarter) < 0)
        return err_set(e, E_NOMEM, "no timer");
    return 0;
}

static void stop_listening(struct http *h)
{
    for (int i = 0; i < h->n_listen; i++) {
        if (h->listen[i].ev)
            event_free(h->listen[i].ev);
        close(h->listen[i].fd);
        if (h->listen[i].path[0])
            unlink(h->listen[i].path);
    }
    h->n_listen = 0;
}

void http_free(struct http *h)
{
    if (!h)
        return;
    stop_listening(h);
    while (h->conns)
        conn_close(h->conns);
    if (h->timer)
        event_free(h->timer);
    mem_free(h);
}

void http_drain(struct http *h)
{
    struct http_x *next;

    h->draining = true;
    stop_listening(h);
    for (struct http_x *x = h->conns; x; x = next) {
        next = x->next;
        if ((x->state == CONN_HEAD || x->state == CONN_LINGER) &&
            evbuffer_get_length(bufferevent_get_input(x->bev)) == 0 &&
            evbuffer_get_length(bufferevent_get_output(x->bev)) == 0)
            conn_close(x);
    }
}

int http_connections(const struct http *h)
{
    return h->n_conn;
}

/* -- accepting -- */

static void name_peer(const struct sockaddr_storage *a, char out[48])
{
    const struct sockaddr_in *v4 = (const void *)a;
    const struct sockaddr_in6 *v6 = (const void *)a;

    snprintf(out, 48, "unix");
    if (a->ss_family == AF_INET)
        inet_ntop(AF_INET, &v4->sin_addr, out, 48);
    else if (a->ss_family == AF_INET6)
        inet_ntop(AF_INET6, &v6->sin6_addr, out, 48);
}

/* Room for one more: the connection that has waited longest between requests makes it. */
static bool make_room(struct http *h)
{
    struct http_x *oldest = NULL;

    if (h->n_conn < h->o.max_conn)
        return true;
    for (struct http_x *x = h->conns; x; x = x->next)
        if (x->state == CONN_HEAD && evbuffer_get_length(bufferevent_get_input(x->bev)) == 0)
            oldest = !oldest || x->deadline < oldest->deadline ? x : oldest;
    if (oldest)
        conn_close(oldest);
    return oldest != NULL;
}

/* Until the next tick: a socket with clients that cannot be accepted is ready all the time. */
static void pause_listening(struct http *h)
{
    for (int i = 0; i < h->n_listen; i++)
        event_del(h->listen[i].ev);
}

static void accept_some(evutil_socket_t fd, short what, void *ctx)
{
    static const char full[] = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"
                               "Content-Length: 0\r\nConnection: close\r\n\r\n";
    struct http *h = ctx;

    (void)what;
    for (int i = 0; i < ACCEPTS; i++) {
        struct sockaddr_storage a = {0};
        socklen_t n = sizeof a;
        int one = 1, s = accept4(fd, (void *)&a, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        char peer[48];

        if (s < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                pause_listening(h);
            return;
        }
        if (!make_room(h)) {
            (void)!write(s, full, sizeof full - 1); /* who does not get it sees the end */
            close(s);
            continue;
        }
        setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        name_peer(&a, peer);
        conn_open(h, s, peer);
    }
}

int http_listen_fd(struct http *h, int fd, struct err *e)
{
    struct listener *l = &h->listen[h->n_listen];

    if (h->n_listen == (int)ARRAY_LEN(h->listen))
        return err_set(e, E_USAGE, "more than %zu sockets to listen on", ARRAY_LEN(h->listen));
    evutil_make_socket_nonblocking(fd);
    *l = (struct listener){.fd = fd};
    h->n_listen++;
    l->ev = event_new(h->base, fd, EV_READ | EV_PERSIST, accept_some, h);
    if (!l->ev || event_add(l->ev, NULL) < 0)
        return err_set(e, E_NOMEM, "no event for a socket");
    return 0;
}

/* The first address of a host that can be listened on. */
static int bind_one(const struct addrinfo *list, int *out)
{
    int why = 0;

    for (const struct addrinfo *a = list; a; a = a->ai_next) {
        int one = 1, fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);

        if (fd < 0) {
            why = errno;
            continue;
        }
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) {
            *out = fd;
            return 0;
        }
        why = errno;
        close(fd);
    }
    return why;
}

int http_listen(struct http *h, const char *host, int port, int *out_port, struct err *e)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof a;
    struct addrinfo *list;
    char service[8];
    int fd = -1, why;

    snprintf(service, sizeof service, "%d", port);
    why = getaddrinfo(host, service, &hints, &list);
    if (why)
        return err_set(e, E_IO, "%s: %s", host, gai_strerror(why));
    why = bind_one(list, &fd);
    freeaddrinfo(list);
    if (why)
        return err_set(e, E_IO, "%s, port %d: cannot listen: %s", host, port, strerror(why));
    getsockname(fd, (void *)&a, &n);
    *out_port = ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)&a)->sin6_port
                                              : ((struct sockaddr_in *)(void *)&a)->sin_port);
    return http_listen_fd(h, fd, e);
}

/* A socket that nobody listens on any more is in the way. */
static void remove_stale(const struct sockaddr_un *a)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct stat st;

    if (fd >= 0 && connect(fd, (const void *)a, sizeof *a) < 0 && errno == ECONNREFUSED &&
        lstat(a->sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
        unlink(a->sun_path);
    if (fd >= 0)
        close(fd);
}

int http_listen_unix(struct http *h, const char *path, struct err *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd, rc;

    if (strlen(path) >= sizeof a.sun_path)
        return err_set(e, E_USAGE, "%s: longer than the %zu bytes a socket's path may have", path,
                       sizeof a.sun_path - 1);
    memcpy(a.sun_path, path, strlen(path));
    remove_stale(&a);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const void *)&a, sizeof a) < 0 || listen(fd, BACKLOG) < 0) {
        rc = err_set(e, E_IO, "%s: cannot listen: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return rc;
    }
    rc = http_listen_fd(h, fd, e);
    if (rc == 0)
        memcpy(h->listen[h->n_listen - 1].path, a.sun_path, sizeof a.sun_path);
    return rc;
}
