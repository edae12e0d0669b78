/* serve_server.c - see serve_server.h: calls on their way, from a request to the end of its reply.
 */
#define _GNU_SOURCE
#include "tools/lib/serve_server.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "tools/lib/serve_in.h"
#include "tools/lib/record.h"
#include "tools/lib/tool.h"

#define RECORDS_MAX ((size_t)32 << 20) // bytes that may wait for the loop

uint64_t server_random(struct server *s)
{
    return rng_bits(s->random, 3, s->ids++, 0);
}

bool server_ready(const struct server *s)
{
    return s->n_loaded == s->o.n_worker && s->drain_until == 0;
}

/* -- replies -- */

/* What a client may call its request: short, and of characters that need no care. */
static void copy_plain(char *out, size_t n, struct slice s)
{
    size_t k = 0;

    for (size_t i = 0; i < s.n && k + 1 < n; i++)
        if ((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'z') ||
            (s.p[i] >= 'A' && s.p[i] <= 'Z') || (s.p[i] && strchr("-_.:/", s.p[i])))
            out[k++] = s.p[i];
    out[k] = 0;
}

static void name_request(struct server *s, const struct http_request *r, char *out, size_t n)
{
    struct slice given = r->head ? reqhead_get(r->head, "x-request-id") : (struct slice){NULL, 0};

    copy_plain(out, n, given);
    if (!out[0])
        snprintf(out, n, "req_%016llx", (unsigned long long)server_random(s));
}

static void origin_fields(struct buf *b, struct slice origin)
{
    if (origin.n)
        buf_printf(b,
                   "Access-Control-Allow-Origin: %.*s\r\nAccess-Control-Expose-Headers: "
                   "x-request-id, request-id, retry-after\r\n",
                   (int)origin.n, origin.p);
}

void reply_fields(struct server *s, const struct http_request *r, struct http_answer *a)
{
    char id[72];

    name_request(s, r, id, sizeof id);
    buf_printf(&a->fields, "x-request-id: %s\r\n", id);
    if (r->head)
        origin_fields(&a->fields, route_origin(s, r));
    if (s->o.n_cors)
        buf_str(&a->fields, "Vary: Origin\r\n");
}

void reply_error(struct http_answer *a, const struct form *form, const struct api_status *st,
                 const char *message, const char *param)
{
    a->status = st->status;
    a->type = "application/json";
    buf_clear(&a->body);
    if (form)
        form->error(&a->body, st, message, param, "");
    else
        api_error(&a->body, st, message, param);
    if (st->status == 429 || st->status == 503)
        buf_str(&a->fields, "Retry-After: 1\r\n");
}

static void log_line(struct server *s, const char *method, const char *path, int status,
                     const char *peer, const struct call *c)
{
    struct buf b = {0};
    char when[40];
    time_t t = time(NULL);
    struct tm tm;

    if (!s->log)
        return;
    gmtime_r(&t, &tm);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &tm);
    buf_printf(&b, "{\"time\":\"%s\",\"peer\":\"%s\",\"method\":\"%s\",\"path\":", when, peer,
               method);
    buf_json(&b, slice_of(path));
    buf_printf(&b, ",\"status\":%d", status);
    if (c) {
        double now = clock_seconds();

        buf_printf(&b, ",\"id\":\"%s\",\"seconds\":%.6f,\"first_token_s\":%.6f,\"bytes\":%zu",
                   c->request_id, now - c->began, c->first > 0 ? c->first - c->began : 0.0,
                   c->bytes);
        buf_printf(&b, ",\"drawn_tokens\":%d,\"left\":%s", c->drawn, c->x ? "false" : "true");
        if (c->key_name[0])
            buf_printf(&b, ",\"key\":\"%s\"", c->key_name);
        if (c->trace[0])
            buf_printf(&b, ",\"traceparent\":\"%s\"", c->trace);
    }
    buf_str(&b, "}\n");
    fwrite(b.p ? b.p : "", 1, b.n, s->log);
    fflush(s->log);
    buf_fini(&b);
}

void reply_count(struct server *s, const struct http_request *r, const struct http_answer *a)
{
    char method[12] = "-";

    s->status[a->status / 100 < 6 ? a->status / 100 : 5]++;
    if (r->head)
        snprintf(method, sizeof method, "%.*s",
                 (int)(r->head->method.n < 11 ? r->head->method.n : 11), r->head->method.p);
    log_line(s, method, r->head ? r->head->path : "-", a->status, r->peer ? r->peer : "-", NULL);
}

/* -- a call's life -- */

static struct key *key_of(struct server *s, const struct call *c)
{
    for (int i = 0; c->key_name[0] && i < keys_count(s->keys); i++)
        if (strcmp(keys_at(s->keys, i)->name, c->key_name) == 0)
            return keys_at(s->keys, i);
    return NULL;
}

static void call_free(struct call *c)
{
    struct server *s = c->s;

    if (c->prev)
        c->prev->next = c->next;
    else
        s->calls = c->next;
    if (c->next)
        c->next->prev = c->prev;
    s->n_calls--;
    if (c->form->done)
        c->form->done(c);
    api_stream_fini(&c->stream);
    buf_fini(&c->out);
    buf_fini(&c->body);
    buf_fini(&c->tokens);
    job_free(c->job);
    mem_free(c);
}

/* What the client is to see of it goes out, and out is empty again. */
static void push(struct call *c)
{
    if (c->x && c->out.n) {
        c->bytes += c->out.n;
        http_add(c->x, buf_view(&c->out));
        c->wrote = clock_seconds();
    }
    buf_clear(&c->out);
}

static void call_fields(struct call *c, struct buf *b)
{
    buf_printf(b, "x-request-id: %s\r\n", c->request_id);
    if (c->form->anthropic)
        buf_printf(b, "request-id: %s\r\n", c->request_id);
    if (c->trace[0])
        buf_printf(b, "traceparent: %s\r\n", c->trace);
    origin_fields(b, slice_of(c->origin));
    if (c->s->o.n_cors)
        buf_str(b, "Vary: Origin\r\n");
}

static void answer_whole(struct call *c, struct http_answer *a)
{
    c->status = a->status;
    c->bytes = a->body.n;
    call_fields(c, &a->fields);
    if (c->x)
        http_reply(c->x, a);
    buf_fini(&a->body);
    buf_fini(&a->fields);
}

static struct api_status status_of(const struct call *c, const struct err *why)
{
    struct api_status st = api_status(why);

    if (why->code == E_CANCELLED && c->s->drain_until > 0)
        st.code = "shutting_down";
    return st;
}

/* An error in a stream is its last event. */
static void stream_error(struct call *c, const struct api_status *st, const char *message)
{
    struct buf b = {0};

    c->form->error(&b, st, message, NULL, c->request_id);
    if (c->form->anthropic)
        buf_str(&c->out, "event: error\n");
    buf_str(&c->out, "data: ");
    buf_slice(&c->out, buf_view(&b));
    buf_str(&c->out, "\n\n");
    buf_fini(&b);
    push(c);
    if (c->x)
        http_end(c->x);
}

static void answer_error(struct call *c, const struct err *why)
{
    struct api_status st = status_of(c, why);
    struct http_answer a = {0};

    c->failed = true;
    if (c->streaming) {
        stream_error(c, &st, why->text);
        return;
    }
    reply_error(&a, NULL, &st, why->text, NULL);
    buf_clear(&a.body);
    c->form->error(&a.body, &st, why->text, c->job->r.param, c->request_id);
    answer_whole(c, &a);
}

static void answer_done(struct call *c)
{
    struct http_answer a = {.status = 200, .type = "application/json"};

    if (c->streaming) {
        c->form->end(c, &c->out);
        push(c);
        if (c->x)
            http_end(c->x);
        return;
    }
    if (c->job->kind != JOB_ANSWER) {
        a.body = c->job->reply;
        c->job->reply = (struct buf){0};
    } else {
        c->form->whole(c, &a.body);
    }
    if (a.body.bad) {
        buf_fini(&a.body);
        answer_error(c, &(struct err){E_NOMEM, "no memory for the reply"});
        return;
    }
    answer_whole(c, &a);
}

static void count_call(struct call *c, double now)
{
    struct metrics *m = &c->s->metrics[c->model];
    struct key *k = key_of(c->s, c);
    const struct job *j = c->job;
    size_t prompt = 0, cached = 0;
    int why = c->failed ? 3 : 2;

    for (int i = 0; j->answer && i < j->r.n_prompt; i++) {
        prompt += j->r.prompt[i].n;
        cached += (size_t)j->answer[(ptrdiff_t)i * j->r.best_of].cached;
    }
    if (j->answer && c->x && !c->failed)
        why = j->answer[0].finish == RILL_STOP ? 0 : 1;
    if (j->kind == JOB_ANSWER) {
        m->finished[why]++;
        m->prompt_tokens += prompt;
        m->cached_tokens += cached;
        m->running -= c->started;
        m->waiting -= !c->started;
        histogram_add(&m->total, now - c->began);
        if (j->start_at > 0)
            histogram_add(&m->queue, j->start_at - c->began);
    }
    if (k) {
        k->running--;
        key_spent(k, prompt, (uint64_t)c->drawn);
    }
    c->s->status[c->status / 100 < 6 ? c->status / 100 : 5]++;
}

/* OUT_END: the job is ours again. */
static void call_end(struct call *c, const struct out_record *r)
{
    struct err why = {0};

    if (r->rc < 0)
        err_set(&why, r->rc, "%s", r->why ? r->why : err_name(r->rc));
    if (c->x && !c->ended) {
        c->ended = true;
        if (r->rc < 0)
            answer_error(c, &why);
        else
            answer_done(c);
    }
    c->failed = c->failed || (r->rc < 0 && r->rc != E_CANCELLED);
    count_call(c, r->at);
    if (c->s->record && c->x && !c->failed && c->job->kind == JOB_ANSWER && !c->job->r.q.embed)
        record_write(c->s->record, c->job, c->path, buf_view(&c->body), buf_view(&c->tokens));
    log_line(c->s, c->method, c->path, c->status, c->peer, c);
    call_free(c);
}

static void call_ready(struct call *c, const struct out_record *r)
{
    struct metrics *m = &c->s->metrics[c->model];
    struct err e = {0};
    struct buf fields = {0};

    c->started = true;
    m->waiting--;
    m->running++;
    if (!c->x || (!c->job->r.stream && !c->form->by_events))
        return;
    if (c->form->begin(c, &c->out, &e) < 0) {
        c->ended = true;
        answer_error(c, &e);
        worker_cancel(c->worker, c->job);
        return;
    }
    if (!c->job->r.stream) {
        buf_clear(&c->out);
        return;
    }
    c->streaming = true;
    c->status = 200;
    c->wrote = r->at;
    buf_str(&fields, "Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n");
    call_fields(c, &fields);
    http_stream(c->x, "text/event-stream; charset=utf-8", &fields);
    buf_fini(&fields);
    push(c);
}

static void time_token(struct call *c, const struct out_record *r)
{
    struct metrics *m = &c->s->metrics[c->model];

    if (r->ev.kind != RILL_TOKEN)
        return;
    if (c->first == 0) {
        c->first = r->at;
        histogram_add(&m->first_token, r->at - c->began);
        histogram_add(&m->prompt, r->at - c->job->start_at);
    } else {
        histogram_add(&m->between, r->at - c->last);
    }
    c->last = r->at;
    if (c->job->r.score_only) // of which nothing is told
        return;
    c->drawn++;
    m->drawn_tokens++;
}

static int take_whole(struct call *c, const struct out_record *r, struct err *e)
{
    struct job *j = c->job;
    struct api_answer *a = &j->answer[r->prompt * j->r.best_of + r->ev.choice];
    const struct toolcall_event *pieces;
    int rc = api_take(a, &j->r, &j->o, &j->r.prompt[r->prompt], &r->ev, e);

    while (rc == 0 && (rc = api_pieces(a, &j->r, &pieces, e)) > 0)
        rc = 0;
    return rc;
}

static void call_event(struct call *c, const struct out_record *r)
{
    struct err e = {0};
    int rc;

    time_token(c, r);
    if (c->s->record && r->ev.kind == RILL_TOKEN)
        record_token(&c->tokens, r->prompt, &r->ev);
    if (!c->x || c->ended)
        return;
    rc = c->streaming || c->form->by_events ? c->form->event(c, &c->out, r->prompt, &r->ev, &e)
                                            : take_whole(c, r, &e);
    if (!c->streaming)
        buf_clear(&c->out);
    if (rc < 0) {
        c->ended = true;
        answer_error(c, &e);
        worker_cancel(c->worker, c->job);
        return;
    }
    push(c);
    if (c->streaming && r->ev.kind == RILL_TOKEN && c->wrote > r->at)
        histogram_add(&c->s->metrics[c->model].front, c->wrote - r->at);
}

/* http's call: the connection is gone. */
static void gone(void *ctx, void *user)
{
    struct call *c = user;

    (void)ctx;
    c->x = NULL;
    if (c->status == 0)
        c->status = 499; // as proxies count clients that leave
    worker_cancel(c->worker, c->job);
}

/* -- beginning -- */

static bool admitted(struct server *s, struct call *c, struct http_answer *a, double now)
{
    const struct metrics *m = &s->metrics[c->model];
    struct api_status busy = {429, "rate_limit_error", "rate_limit_exceeded"};
    struct key *k = key_of(s, c);
    char text[160];
    double wait;

    if (c->job->kind == JOB_ANSWER && m->running + m->waiting >= s->o.parallel + s->o.max_queue) {
        reply_error(a, c->form, &busy, "the queue is full: try again later", NULL);
        return false;
    }
    if (!k)
        return true;
    if (!key_may(k, worker_name(c->worker))) {
        busy = (struct api_status){403, "permission_error", "model_not_allowed"};
        reply_error(a, c->form, &busy, "this key may not use this model", NULL);
        return false;
    }
    wait = key_begin(k, now);
    if (wait == 0) {
        k->running++;
        return true;
    }
    snprintf(text, sizeof text, "the limit of this key is reached: try again in %.1f s", wait);
    reply_error(a, c->form, &busy, text, NULL);
    buf_clear(&a->fields);
    buf_printf(&a->fields, "Retry-After: %d\r\nretry-after-ms: %d\r\n", (int)wait + 1,
               (int)(wait * 1000) + 1);
    return false;
}

/* W3C's traceparent: version, trace, parent and flags in hexadecimal digits; else nothing. */
static void copy_trace(char out[60], struct slice s)
{
    static const char form[] = "xx-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx";

    out[0] = 0;
    if (s.n != sizeof form - 1)
        return;
    for (size_t i = 0; i < s.n; i++)
        if (form[i] == '-' ? s.p[i] != '-' : !s.p[i] || !strchr("0123456789abcdef", s.p[i]))
            return;
    memcpy(out, s.p, s.n);
    out[s.n] = 0;
}

static void fill_call(struct server *s, struct call *c, const struct http_request *r, int model,
                      const struct form *form)
{
    struct slice origin = route_origin(s, r), trace = reqhead_get(r->head, "traceparent");
    int key = route_key(s, r);

    c->s = s;
    c->model = model;
    c->worker = s->worker[model];
    c->form = form;
    c->began = clock_seconds();
    name_request(s, r, c->request_id, sizeof c->request_id);
    snprintf(c->id, sizeof c->id, "%s%016llx", form->prefix, (unsigned long long)server_random(s));
    copy_trace(c->trace, trace);
    snprintf(c->peer, sizeof c->peer, "%s", r->peer);
    snprintf(c->method, sizeof c->method, "%.*s",
             (int)(r->head->method.n < 11 ? r->head->method.n : 11), r->head->method.p);
    snprintf(c->path, sizeof c->path, "%.79s", r->head->path);
    snprintf(c->origin, sizeof c->origin, "%.*s", (int)(origin.n < 199 ? origin.n : 199),
             origin.n ? origin.p : "");
    if (key >= 0)
        snprintf(c->key_name, sizeof c->key_name, "%s", keys_at(s->keys, key)->name);
    c->job->client = key >= 0 ? key + 1 : 0;
    c->job->weight = key >= 0 ? keys_at(s->keys, key)->weight : 1;
    c->job->deadline = s->o.request_seconds;
    c->job->o = *worker_api(c->worker);
    if (key >= 0) {
        const struct key *k = keys_at(s->keys, key);

        c->job->rights = k->rights;
        if (k->draft >= 0 && k->draft < c->job->o.draft)
            c->job->o.draft = k->draft;
    }
    c->job->o.lenient = !s->o.strict;
    c->job->o.created = (long long)time(NULL);
    c->job->user = c;
    c->job->id = server_random(s);
}

void call_begin(struct server *s, struct http_x *x, const struct http_request *r, int model,
                const struct route *t)
{
    const enum job_kind kind = t->kind == R_CALL  ? JOB_ANSWER
                               : t->kind == R_ACT ? JOB_ACT
                                                  : JOB_TEXT;

    struct err e = {0};
    struct http_answer a = {0};
    struct call *c = mem_new(sizeof *c, &e);
    struct job *j = mem_new(sizeof *j, &e);

    if (c && j) {
        c->job = j;
        fill_call(s, c, r, model, t->form);
        j->kind = kind;
        j->asks = t->form->kind;
        j->read = t->read;
        j->act = t->act;
        buf_slice(&j->body, r->body);
        if (s->record)
            buf_slice(&c->body, r->body);
        if (j->body.bad)
            err_nomem(&e, r->body.n);
    }
    if (e.code == 0 && admitted(s, c, &a, c->began) && worker_start(c->worker, j, &e) == 0) {
        c->x = x;
        http_set_user(x, c);
        c->next = s->calls;
        if (s->calls)
            s->calls->prev = c;
        s->calls = c;
        s->n_calls++;
        s->metrics[model].waiting += kind == JOB_ANSWER;
        return;
    }
    if (a.status == 0) {
        struct api_status st = api_status(&e);

        reply_error(&a, t->form, &st, e.text, NULL);
    }
    reply_fields(s, r, &a);
    reply_count(s, r, &a);
    http_reply(x, &a);
    job_free(j);
    mem_free(c);
}

/* -- the loop -- */

static void stop(struct server *s, int rc)
{
    s->rc = rc;
    event_base_loopbreak(s->base);
}

static void worker_state(struct server *s, const struct out_record *r)
{
    int i = 0;

    while (s->worker[i] != r->worker)
        i++;
    if (r->rc < 0) {
        err_set(&s->why, r->rc, "%s", r->why);
        if (!s->loaded[i])
            stop(s, r->rc);
        else if (s->drain_until == 0) // its engine is gone: what is being answered still is
            s->drain_until = clock_seconds() + s->o.drain_seconds;
        return;
    }
    s->loaded[i] = true;
    if (++s->n_loaded == s->o.n_worker)
        s->o.ready(s->o.ctx, s->port);
}

/* When all is answered, and what was answered is written. */
static void end_drained(struct server *s)
{
    if (s->drain_until == 0)
        return;
    http_drain(s->http);
    if (s->n_calls == 0 && http_connections(s->http) == 0)
        stop(s, s->why.code);
}

static void on_records(evutil_socket_t fd, short what, void *ctx)
{
    struct server *s = ctx;
    struct out_record r;
    size_t at = 0;

    (void)fd;
    (void)what;
    bytes_take(s->records, &s->batch);
    while (out_next(&s->batch, &at, &r)) {
        struct call *c = r.job ? r.job->user : NULL;

        if (r.kind == OUT_STATE)
            worker_state(s, &r);
        else if (r.kind == OUT_READY)
            call_ready(c, &r);
        else if (r.kind == OUT_EVENT)
            call_event(c, &r);
        else
            call_end(c, &r);
    }
    if (s->batch.cap > RECORDS_MAX / 4)
        buf_fini(&s->batch);
    end_drained(s);
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    struct server *s = ctx;
    double now = clock_seconds();
    struct call *next;

    (void)fd;
    (void)what;
    for (struct call *c = s->calls; c; c = next) {
        next = c->next;
        if (c->x && c->streaming && !c->ended && now - c->wrote >= s->o.ping_seconds) {
            buf_str(&c->out, c->form->ping);
            push(c);
        }
    }
    if (s->drain_until > 0 && now > s->drain_until)
        stop(s, s->why.code);
    end_drained(s);
}

static void on_stop(evutil_socket_t fd, short what, void *ctx)
{
    struct server *s = ctx;

    (void)fd;
    (void)what;
    if (s->drain_until > 0) { // asked twice
        stop(s, s->why.code);
        return;
    }
    tool_note("no new requests; %d are still being answered", s->n_calls);
    s->drain_until = clock_seconds() + s->o.drain_seconds;
    end_drained(s);
}

static void on_reload(evutil_socket_t fd, short what, void *ctx)
{
    struct server *s = ctx;
    struct err e = {0}, other = {0};
    struct keys *fresh;

    (void)fd;
    (void)what;
    if (s->o.access_log && strcmp(s->o.access_log, "-") != 0 &&
        !freopen(s->o.access_log, "a", s->log)) {
        tool_warn("%s: cannot be opened again: %s", s->o.access_log, strerror(errno));
        s->log = NULL;
    }
    if (s->o.reload && s->o.reload(s->o.ctx, &other) < 0)
        tool_warn("%s: the old certificate stays", other.text);
    if (!s->o.keys)
        return;
    if (keys_read(&fresh, s->o.keys, &e) < 0) {
        tool_warn("%s: the old keys stay", e.text);
        return;
    }
    keys_inherit(fresh, s->keys);
    for (const struct call *c = s->calls; c; c = c->next)
        for (int i = 0; c->key_name[0] && i < keys_count(fresh); i++)
            keys_at(fresh, i)->running += strcmp(keys_at(fresh, i)->name, c->key_name) == 0;
    keys_free(s->keys);
    s->keys = fresh;
    tool_note("%s: %d keys", s->o.keys, keys_count(fresh));
}

static int add_events(struct server *s, struct err *e)
{
    const struct timeval tenth = {0, 100000};

    s->wake = event_new(s->base, bytes_fd(s->records), EV_READ | EV_PERSIST, on_records, s);
    s->timer = event_new(s->base, -1, EV_PERSIST, on_timer, s);
    s->sig_term = evsignal_new(s->base, SIGTERM, on_stop, s);
    s->sig_int = evsignal_new(s->base, SIGINT, on_stop, s);
    s->sig_hup = evsignal_new(s->base, SIGHUP, on_reload, s);
    if (!s->wake || !s->timer || !s->sig_term || !s->sig_int || !s->sig_hup ||
        event_add(s->wake, NULL) < 0 || event_add(s->timer, &tenth) < 0 ||
        event_add(s->sig_term, NULL) < 0 || event_add(s->sig_int, NULL) < 0 ||
        event_add(s->sig_hup, NULL) < 0)
        return err_set(e, E_NOMEM, "no events");
    return 0;
}

static int open_log(struct server *s, struct err *e)
{
    if (!s->o.access_log)
        return 0;
    s->log = strcmp(s->o.access_log, "-") == 0 ? stderr : fopen(s->o.access_log, "a");
    return s->log ? 0 : err_set(e, E_IO, "%s: cannot open: %s", s->o.access_log, strerror(errno));
}

static int listen_all(struct server *s, struct err *e)
{
    int rc = 0;

    for (int i = 0; i < s->o.n_fd && rc == 0; i++)
        rc = http_listen_fd(s->http, s->o.first_fd + i, e);
    if (rc == 0 && s->o.unix_path)
        rc = http_listen_unix(s->http, s->o.unix_path, e);
    if (rc == 0 && s->o.port >= 0)
        rc = http_listen(s->http, s->o.host, s->o.port, &s->port, e);
    if (rc == 0)
        s->o.listening(s->o.ctx, s->port);
    return rc;
}

int server_new(struct server **out, const struct server_opts *o, struct err *e)
{
    struct server *s = mem_new(sizeof *s, e);
    struct http_opts ho = o->http;
    int rc;

    *out = s;
    if (!s)
        return E_NOMEM;
    s->o = *o;
    s->began = clock_seconds();
    if (getrandom(&s->random, sizeof s->random, 0) != sizeof s->random)
        return err_set(e, E_IO, "no random numbers");
    s->base = event_base_new();
    s->worker = mem_array((uint64_t)o->n_worker, sizeof(struct worker *), e);
    s->metrics = mem_array((uint64_t)o->n_worker, sizeof *s->metrics, e);
    s->loaded = mem_array((uint64_t)o->n_worker, sizeof *s->loaded, e);
    if (!s->base || !s->worker || !s->metrics || !s->loaded)
        return err_set(e, E_NOMEM, "no memory for the server");
    ho.ctx = s;
    ho.early = route_early;
    ho.request = route_request;
    ho.refused = route_refused;
    ho.gone = gone;
    rc = o->keys ? keys_read(&s->keys, o->keys, e) : 0;
    rc = rc < 0 ? rc : open_log(s, e);
    if (rc == 0 && o->record)
        rc = record_open(&s->record, o->record, e);
    if (gpus_open(&s->gpus, &s->no_gpus) < 0)
        tool_detail(1, "%s", s->no_gpus.text);
    rc = rc < 0 ? rc : bytes_new(&s->records, RECORDS_MAX, e);
    rc = rc < 0 ? rc : http_new(&s->http, s->base, &ho, e);
    rc = rc < 0 ? rc : add_events(s, e);
    rc = rc < 0 ? rc : listen_all(s, e);
    for (int i = 0; i < o->n_worker && rc == 0; i++)
        rc = worker_new(&s->worker[i], &o->worker[i], s->records, e);
    return rc;
}

int server_run(struct server *s, struct err *e)
{
    if (event_base_dispatch(s->base) < 0)
        return err_set(e, E_IO, "the event loop failed");
    if (s->rc < 0)
        return err_set(e, s->rc, "%s", s->why.text);
    return 0;
}

static void free_event(struct event *ev)
{
    if (ev)
        event_free(ev);
}

void server_free(struct server *s)
{
    if (!s)
        return;
    if (s->records)
        bytes_close(s->records);
    http_free(s->http);
    for (int i = 0; s->worker && i < s->o.n_worker; i++)
        worker_free(s->worker[i]);
    while (s->calls)
        call_free(s->calls);
    free_event(s->wake);
    free_event(s->timer);
    free_event(s->sig_term);
    free_event(s->sig_int);
    free_event(s->sig_hup);
    if (s->base)
        event_base_free(s->base);
    if (s->log && s->log != stderr)
        fclose(s->log);
    if (s->record)
        fclose(s->record);
    bytes_free(s->records);
    keys_free(s->keys);
    gpus_close(s->gpus);
    buf_fini(&s->batch);
    mem_free(s->worker);
    mem_free(s->metrics);
    mem_free(s->loaded);
    mem_free(s);
}
