/* http_in.h - what http.c (listening, limits, time) and http_conn.c (connections) share. */
#ifndef RILL_TOOLS_HTTP_IN_H
#define RILL_TOOLS_HTTP_IN_H

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "tools/lib/http.h"

enum conn_state {
    CONN_HEAD, // a head is awaited or on its way
    CONN_BODY,
    CONN_BUSY,  // the request was handed out
    CONN_FLUSH, // the reply is on its way, then the connection closes
    CONN_LINGER // ours is closed; what the client still sends is dropped
};

struct http_x {
    struct http *h;
    struct http_x *prev, *next; // all connections, the newest first
    struct bufferevent *bev;
    char peer[48];
    enum conn_state state;
    double deadline;      // when what is awaited must be there; 0: no limit
    size_t seen;          // of the head
    struct reqhead *head; // of the request being read
    struct buf head_bytes, body;
    struct reqbody chunks;
    void *user;
    bool streaming, chunked, is_head, keep, handed, going, expects;
    bool half; // the client sends nothing more
    struct event *probe;  // of a half-closed connection
    int probes, probe_at; // how often it was looked at; when next something is written to see
};

struct listener {
    struct event *ev;
    int fd;
    char path[108]; // to be removed, or ""
};

struct http {
    struct event_base *base;
    struct http_opts o;
    struct listener listen[8];
    int n_listen;
    struct event *timer;
    struct http_x *conns;
    int n_conn;
    double now; // of the last tick
    char date[40];
    bool draining;
};

/* A connection that was accepted; taken. */
void conn_open(struct http *h, int fd, const char *peer);
void conn_close(struct http_x *x); // calls gone if a request was handed out
/* Whether its time is over, and what follows from that. */
void conn_tick(struct http_x *x, double now);

#endif
