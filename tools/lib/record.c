/* record.c - see record.h. */
#define _GNU_SOURCE
#include "tools/lib/record.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "tools/lib/js.h"

#define RECORD_FILE "requests.jsonl"

/* -- writing -- */

int record_open(FILE **out, const char *dir, struct err *e)
{
    char path[1200];
    int fd, rc = file_make_dir(dir, e);

    *out = NULL;
    if (rc < 0)
        return rc;
    snprintf(path, sizeof path, "%s/" RECORD_FILE, dir);
    fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    *out = fd < 0 ? NULL : fdopen(fd, "a");
    return *out ? 0 : err_set(e, E_IO, "%s: cannot open: %s", path, strerror(errno));
}

void record_token(struct buf *tokens, int prompt, const struct rill_event *ev)
{
    const int32_t t[3] = {prompt, ev->choice, ev->id};

    buf_add(tokens, t, sizeof t);
}

static void put_ids(struct buf *b, const int32_t *ids, size_t n)
{
    buf_byte(b, '[');
    for (size_t i = 0; i < n; i++)
        buf_printf(b, i ? ",%d" : "%d", ids[i]);
    buf_byte(b, ']');
}

static void put_drawn(struct buf *b, struct slice tokens, int prompt, int choice)
{
    const char *comma = "";

    buf_byte(b, '[');
    for (size_t at = 0; at + 12 <= tokens.n; at += 12) {
        int32_t t[3];

        memcpy(t, tokens.p + at, sizeof t);
        if (t[0] != prompt || t[1] != choice)
            continue;
        buf_printf(b, "%s%d", comma, t[2]);
        comma = ",";
    }
    buf_byte(b, ']');
}

/* One line, without its end. */
static void put_record(struct buf *b, const struct job *j, long long when, const char *path,
                       struct slice body, struct slice tokens)
{
    const struct api_request *r = &j->r;

    buf_printf(b, "{\"time\":%lld,\"path\":", when);
    buf_json(b, slice_of(path));
    buf_str(b, ",\"model\":");
    buf_json(b, slice_of(j->o.name));
    buf_printf(b, ",\"seed\":%lld,\"lora\":[", (long long)r->q.sampling.seed);
    buf_slice(b, buf_view(&j->used));
    buf_str(b, "],\"prompts\":[");
    for (int i = 0; i < r->n_prompt; i++) {
        buf_str(b, i ? "," : "");
        put_ids(b, r->prompt[i].ids, r->prompt[i].n);
    }
    buf_str(b, "],\"answers\":[");
    for (int i = 0; i < r->n_prompt * r->best_of; i++) {
        buf_str(b, i ? "," : "");
        put_drawn(b, tokens, i / r->best_of, i % r->best_of);
    }
    buf_str(b, "],\"body\":");
    for (size_t i = 0; i < body.n; i++) // a body may have lines; a string of it has none
        if (body.p[i] != '\n' && body.p[i] != '\r')
            buf_byte(b, body.p[i]);
    buf_byte(b, '}');
}

void record_write(FILE *f, const struct job *j, const char *path, struct slice body,
                  struct slice tokens)
{
    struct buf b = {0};

    put_record(&b, j, j->o.created, path, body, tokens);
    buf_byte(&b, '\n');
    if (!b.bad) {
        fwrite(b.p, 1, b.n, f);
        fflush(f);
    }
    buf_fini(&b);
}

/* -- again -- */

struct replay {
    struct worker **worker; // [n]
    int n;
    struct bytes_queue *records;
    struct buf batch, tokens;
    size_t at;
    uint64_t same, other;
};

/* The next thing that a worker says. */
static void next(struct replay *p, struct out_record *r)
{
    struct pollfd fd = {bytes_fd(p->records), POLLIN, 0};

    while (!out_next(&p->batch, &p->at, r)) {
        poll(&fd, 1, -1);
        bytes_take(p->records, &p->batch);
        p->at = 0;
    }
}

static int open_workers(struct replay *p, const struct worker_opts *w, struct err *e)
{
    int rc = bytes_new(&p->records, 32 << 20, e);

    p->worker = mem_array((uint64_t)p->n, sizeof(struct worker *), e);
    if (!p->worker)
        return E_NOMEM;
    for (int i = 0; i < p->n && rc == 0; i++) {
        struct out_record r;

        rc = worker_new(&p->worker[i], &w[i], p->records, e);
        if (rc < 0)
            break;
        next(p, &r);
        if (r.rc < 0)
            rc = err_set(e, r.rc, "%s", r.why);
    }
    return rc;
}

static struct worker *worker_of(const struct replay *p, const json_t *record)
{
    const char *name = js_str(record, "model");

    for (int i = 0; name && i < p->n; i++)
        if (strcmp(worker_name(p->worker[i]), name) == 0)
            return p->worker[i];
    return p->n == 1 ? p->worker[0] : NULL;
}

/* The request as it came, but with the seed that it was given. */
static int body_again(struct job *j, const json_t *record, struct err *e)
{
    json_t *body = json_copy(json_object_get(record, "body"));
    char *text = body && json_object_set(body, "seed", json_object_get(record, "seed")) == 0
                     ? json_dumps(body, JSON_COMPACT)
                     : NULL;

    json_decref(body);
    if (text)
        buf_str(&j->body, text);
    free(text); // jansson's
    return text && !j->body.bad ? 0 : err_nomem(e, 0);
}

/* Draws again: the line that would be written of it. */
static int run(struct replay *p, struct worker *w, const json_t *record, struct slice body,
               struct buf *line, struct err *e)
{
    const char *path = js_str(record, "path");
    struct job *j = mem_new(sizeof *j, e);
    struct out_record r = {.kind = OUT_STATE};
    int rc = j ? body_again(j, record, e) : E_NOMEM;

    buf_clear(&p->tokens);
    if (rc == 0) {
        j->asks = (enum api_kind)api_kind_of(path);
        j->lora = json_object_get(record, "lora");
        j->weight = 1;
        j->o = *worker_api(w);
        if (js_str(record, "model"))
            j->o.name = js_str(record, "model");
        j->o.created = json_integer_value(json_object_get(record, "time"));
        rc = worker_start(w, j, e);
    }
    while (rc == 0 && r.kind != OUT_END) {
        next(p, &r);
        if (r.kind == OUT_EVENT && r.ev.kind == RILL_TOKEN)
            record_token(&p->tokens, r.prompt, &r.ev);
    }
    if (rc == 0 && r.rc < 0)
        rc = err_set(e, r.rc, "%s", r.why);
    if (rc == 0)
        put_record(line, j, json_integer_value(json_object_get(record, "time")), path, body,
                   buf_view(&p->tokens));
    job_free(j);
    return rc < 0 ? rc : line->bad ? err_nomem(e, line->n) : 0;
}

/* Where a member of a line begins: behind it no string can look like one. */
static size_t member(struct slice line, const char *name)
{
    const char *at = memmem(line.p, line.n, name, strlen(name));

    return at ? (size_t)(at - line.p) : line.n;
}

static void compare(struct replay *p, struct slice was, struct slice now, uint64_t number)
{
    size_t n = member(was, ",\"answers\":");

    if (slice_eq(was, now)) {
        p->same++;
        return;
    }
    p->other++;
    printf("record %llu: %s\n", (unsigned long long)number,
           n <= now.n && memcmp(was.p, now.p, n) == 0 ? "other tokens are drawn"
                                                      : "its prompts have other tokens");
}

static int again(struct replay *p, struct slice line, uint64_t number, struct err *e)
{
    static const char name[] = ",\"body\":";
    const size_t at = member(line, name) + sizeof name - 1;
    json_t *record = api_json(line, e);
    struct worker *w = record ? worker_of(p, record) : NULL;
    struct buf now = {0};
    int rc = record ? 0 : e->code;

    if (record && (!js_str(record, "path") || !api_kind_of(js_str(record, "path")) ||
                   at >= line.n || !json_is_object(json_object_get(record, "body")) ||
                   !json_is_integer(json_object_get(record, "seed"))))
        rc = err_set(e, E_FORMAT, "it is no record of a request");
    else if (record && !w)
        rc = err_set(e, E_NOTFOUND, "its model '%.60s' is not here",
                     js_str(record, "model") ? js_str(record, "model") : "?");
    if (rc == 0)
        rc = run(p, w, record, (struct slice){line.p + at, line.n - 1 - at}, &now, e);
    if (rc == 0)
        compare(p, line, buf_view(&now), number);
    buf_fini(&now);
    json_decref(record);
    return rc;
}

int record_replay(const char *path, const struct worker_opts *w, int n, struct err *e)
{
    struct replay p = {.n = n};
    struct file_view v = {0};
    char file[1200];
    uint64_t number = 0;
    int rc;

    snprintf(file, sizeof file, "%s%s", path, file_is_dir(path) ? "/" RECORD_FILE : "");
    rc = file_map(&v, file, e);
    rc = rc < 0 ? rc : open_workers(&p, w, e);
    for (size_t at = 0; at < v.n && rc == 0;) {
        const char *from = (const char *)v.p + at, *nl = memchr(from, '\n', v.n - at);
        size_t len = nl ? (size_t)(nl - from) : v.n - at;
        char which[40];

        number++;
        at += len + 1;
        if (len == 0)
            continue;
        rc = again(&p, (struct slice){from, len}, number, e);
        snprintf(which, sizeof which, "record %llu", (unsigned long long)number);
        if (rc < 0)
            err_prefix(e, which);
    }
    if (rc == 0)
        printf("%llu the same, %llu not\n", (unsigned long long)p.same,
               (unsigned long long)p.other);
    if (p.records)
        bytes_close(p.records);
    for (int i = 0; p.worker && i < n; i++)
        worker_free(p.worker[i]);
    bytes_free(p.records);
    mem_free(p.worker);
    buf_fini(&p.batch);
    buf_fini(&p.tokens);
    file_unmap(&v);
    return rc < 0 ? rc : p.other > 0;
}
