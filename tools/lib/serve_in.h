/* serve_in.h - what the server's files share: a call (a request on its way), the forms of replies,
 * the routes. */
#ifndef RILL_TOOLS_SERVE_IN_H
#define RILL_TOOLS_SERVE_IN_H

#include <event2/event.h>
#include <stdio.h>

#include "tools/lib/serve_keys.h"
#include "tools/lib/serve_metrics.h"
#include "tools/lib/serve_server.h"

struct call;
struct route;

/* How a request is read and its answers are told: one of the APIs that are spoken. */
struct form {
    const char *prefix; // of ids
    enum api_kind kind; // of its requests
    /* of a stream; each adds server-sent events to out */
    int (*begin)(struct call *c, struct buf *out, struct err *e);
    int (*event)(struct call *c, struct buf *out, int prompt, const struct rill_event *ev,
                 struct err *e);
    void (*end)(struct call *c, struct buf *out);
    const char *ping;
    /* of a whole reply */
    void (*whole)(struct call *c, struct buf *out);
    void (*error)(struct buf *out, const struct api_status *s, const char *message,
                  const char *param, const char *id);
    bool by_events; // a whole reply is made by the calls of a stream, whose events are dropped
    bool anthropic; // also: what its errors look like in a stream
    void (*done)(struct call *c); // frees what the form keeps in c->state; may be NULL
};

extern const struct form form_chat, form_text, form_messages, form_responses, form_embed, form_rank,
    form_infill;
/* struct form.error: errors as OpenAI has them. */
void form_error(struct buf *out, const struct api_status *s, const char *message, const char *param,
                const char *id);

struct call {
    struct server *s;
    struct call *prev, *next;
    struct http_x *x; // NULL: the client has left
    struct job *job;
    struct worker *worker;
    int model; // index
    const struct form *form;
    struct api_stream stream;
    void *state; // the form's
    struct buf out;
    struct buf body, tokens; // of a record (record.h)
    char id[48];             // of the reply
    char request_id[72];
    char trace[60]; // traceparent, or ""
    char peer[48];
    char method[12], path[80];
    char key_name[64]; // "": no keys
    char origin[200];  // allowed, or ""
    double began, first, last, wrote;
    bool started, streaming, ended, failed;
    int drawn, status;
    size_t bytes;
};

struct server {
    struct server_opts o;
    struct event_base *base;
    struct http *http;
    struct bytes_queue *records;
    struct buf batch;
    struct event *wake, *timer, *sig_term, *sig_int, *sig_hup;
    struct worker **worker;  // [n_worker]
    struct metrics *metrics; // [n_worker]
    bool *loaded;            // [n_worker]
    int n_loaded;
    struct keys *keys;
    struct call *calls;
    int n_calls, port;
    uint64_t ids, random;
    uint64_t status[6];
    double drain_until; // not 0: no new requests
    double began;
    FILE *log, *record;
    struct gpus *gpus;
    struct err no_gpus; // why they are NULL
    int rc; // why the loop ended
    struct err why;
};

/* -- serve_server.c -- */

/* A call becomes a job for a worker; on failure an error is answered. body is copied. */
void call_begin(struct server *s, struct http_x *x, const struct http_request *r, int model,
                const struct route *t);
/* Fields that each reply has, and a new id where the client gave none. */
void reply_fields(struct server *s, const struct http_request *r, struct http_answer *a);
void reply_error(struct http_answer *a, const struct form *form, const struct api_status *st,
                 const char *message, const char *param);
void reply_count(struct server *s, const struct http_request *r, const struct http_answer *a);
uint64_t server_random(struct server *s);
bool server_ready(const struct server *s);

/* -- serve_routes.c -- */

enum route_kind {
    R_CALL, // a job for the engine, in the route's form
    R_TEXT, // a job for the reading thread
    R_ACT,  // a job for the reading thread, then for the engine's
    R_HEALTH,
    R_READY,
    R_VERSION,
    R_OPENAPI,
    R_METRICS,
    R_MODELS, // also what lies below
    R_PAGE,   // also its files, below
    R_PROPS
};

struct route {
    const char *path; // without /v1 and trailing slash
    const char *method;
    enum route_kind kind;
    bool open; // needs no key
    unsigned scope;
    const struct form *form; // of its errors, too
    int (*read)(struct job *j, struct err *e);
    unsigned fields; // of the body, enum api_kind
    const char *about;
    int (*act)(struct job *j, struct worker_hands *h, struct err *e); // R_ACT
};
const struct route *route_at(size_t i); // NULL behind the last

bool route_early(void *ctx, const struct http_request *r, struct http_answer *out);
void route_request(void *ctx, struct http_x *x, const struct http_request *r);
void route_refused(void *ctx, const char *why, struct http_answer *out);
/* The origin of a page that may ask, or an empty slice. */
struct slice route_origin(const struct server *s, const struct http_request *r);
/* Which key a request brings: -1: none that is known, -2: none is needed. */
int route_key(const struct server *s, const struct http_request *r);

/* -- serve_openapi.c -- */
void openapi_write(struct buf *out);

/* -- serve_admin.c: adapters and sessions -- */
int admin_none(struct job *j, struct err *e);
int lora_read(struct job *j, struct err *e);
int lora_list(struct job *j, struct worker_hands *h, struct err *e);
int lora_change(struct job *j, struct worker_hands *h, struct err *e);
int session_list(struct job *j, struct err *e);
int session_read(struct job *j, struct err *e);
int session_change(struct job *j, struct worker_hands *h, struct err *e);

/* -- serve_texts.c: requests without an engine -- */
/* Reads a body that is an object into j->r.json; whether its members are known to these kinds. */
int text_body(struct job *j, unsigned kinds, struct err *e);
int text_tokenize(struct job *j, struct err *e);
int text_detokenize(struct job *j, struct err *e);
int text_template(struct job *j, struct err *e);
int text_count(struct job *j, struct err *e); // serve_messages.c
void text_models(struct server *s, struct buf *out, bool anthropic);
void text_model(struct server *s, struct buf *out, int model, bool anthropic);
void text_props(struct server *s, struct buf *out, int model);

#endif
