/* http.h - an HTTP/1.1 server over libevent: whole requests in, replies out, at once or as streams.
 *
 * One thread runs the loop and is the only one to call anything here. A request is handed out when
 * its body is there; a connection has one at a time, further ones wait in its socket. Everything a
 * client can use up has a limit. Knows nothing of what is served.
 */
#ifndef RILL_TOOLS_HTTP_H
#define RILL_TOOLS_HTTP_H

#include "base/buf.h"
#include "tools/lib/reqhead.h"

struct event_base;
struct http;
struct http_x; // an exchange: a request and its reply

struct http_request { // during the call only
    const struct reqhead *head;
    struct slice body;
    const char *peer; // address, or "unix"
};

/* A reply that is there at once. */
struct http_answer {
    int status;
    const char *type;  // of the body
    struct buf body;   // freed by who is given it
    struct buf fields; // further lines of the head, each with CR LF
    bool close;        // the connection, behind the reply
};

struct http_opts {
    size_t max_head, max_body; // bytes
    size_t max_out;            // bytes a client may be behind before it is dropped
    int max_conn;
    double head_seconds;  // for a head, from its first byte on
    double body_seconds;  // for a body
    double idle_seconds;  // between requests
    double write_seconds; // without a byte taken by the client
    void *const *tls;     // the SSL_CTX that new connections take, or NULL
    void *ctx;
    /* A head is there, the body is not: true when the request is refused, with *out filled. */
    bool (*early)(void *ctx, const struct http_request *r, struct http_answer *out);
    /* A request is there: to be answered now or later. */
    void (*request)(void *ctx, struct http_x *x, const struct http_request *r);
    /* A head that is none; *out is filled with a status and has to get a body. */
    void (*refused)(void *ctx, const char *why, struct http_answer *out);
    /* The client has left before its reply ended: user is what http_set_user set. x is gone. */
    void (*gone)(void *ctx, void *user);
};

int http_new(struct http **out, struct event_base *base, const struct http_opts *o, struct err *e);
void http_free(struct http *h); // accepts NULL; drops all connections, calling gone

/* Listens at host and port (0: any), or at a path; *out_port is the port. Or on a descriptor. */
int http_listen(struct http *h, const char *host, int port, int *out_port, struct err *e);
int http_listen_unix(struct http *h, const char *path, struct err *e);
int http_listen_fd(struct http *h, int fd, struct err *e);
/* No new connections, and those between requests are closed; connections close behind their reply.
 */
void http_drain(struct http *h);
int http_connections(const struct http *h);

/* What gone() is given. */
void http_set_user(struct http_x *x, void *user);
/* The whole reply; a->body and a->fields are freed. */
void http_reply(struct http_x *x, struct http_answer *a);
/* A reply in pieces: its head, more of it, its end. After http_add the exchange may be gone, as
 * gone() says. */
void http_stream(struct http_x *x, const char *type, const struct buf *fields);
void http_add(struct http_x *x, struct slice bytes);
void http_end(struct http_x *x);
/* Bytes of the reply that the client has not taken yet. */
size_t http_behind(const struct http_x *x);

const char *http_status_text(int status);

#endif
