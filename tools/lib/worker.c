/* worker.c - see worker.h. */
#include "tools/lib/worker.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/thread.h"
#include "tools/lib/tool.h"

enum { EVENTS = 256 };

struct worker {
    struct worker_opts o;
    struct bytes_queue *records;
    struct queue *in; // jobs to be read
    struct queue *go; // jobs to be answered
    pthread_t reader, runner;
    bool reading, running;

    struct rill_model *model, *draft[WORKER_DRAFTS];
    struct api_chat *chat;
    struct rill_engine *engine; // or
    struct script_engine *script;
    struct api_opts api;
    int n_ctx;

    struct job **active; // [n_active] the engine has them: the runner's
    int n_active, cap_active;
    unsigned seen_cancels;
    struct err gone;                       // why there is no engine any more: the runner's
    struct adapter adapter[RILL_LORA_MAX]; // [n_adapter]: the runner's
    int n_adapter;

    pthread_mutex_t lock; // what follows, and job.cancelled
    unsigned cancels;
    struct rill_stats stats;
};

/* What ends a queue. */
static const char stop_item;
static void *const stop = (void *)(uintptr_t)&stop_item;

/* -- records -- */

static void add(struct buf *b, const void *p, size_t n)
{
    static const char zeros[16];

    buf_add(b, p, n);
    buf_add(b, zeros, (16 - b->n % 16) % 16);
}

static void put_record(struct buf *b, const struct out_record *r)
{
    add(b, r, sizeof *r);
    if (r->ev.n_text)
        add(b, r->ev.text, r->ev.n_text);
    if (r->ev.n_top)
        add(b, r->ev.top, (size_t)r->ev.n_top * sizeof *r->ev.top);
    if (r->ev.n_vector)
        add(b, r->ev.vector, (size_t)r->ev.n_vector * sizeof *r->ev.vector);
    if (r->why)
        add(b, r->why, strlen(r->why) + 1);
}

static const void *take(const struct buf *b, size_t *at, size_t n)
{
    const void *p = b->p + *at;

    *at += (n + 15) / 16 * 16;
    return p;
}

bool out_next(const struct buf *b, size_t *at, struct out_record *r)
{
    if (*at + sizeof *r > b->n)
        return false;
    memcpy(r, take(b, at, sizeof *r), sizeof *r);
    r->ev.text = r->ev.n_text ? take(b, at, r->ev.n_text) : "";
    r->ev.top = r->ev.n_top ? take(b, at, (size_t)r->ev.n_top * sizeof *r->ev.top) : NULL;
    r->ev.vector =
        r->ev.n_vector ? take(b, at, (size_t)r->ev.n_vector * sizeof *r->ev.vector) : NULL;
    if (r->why) {
        r->why = b->p + *at;
        take(b, at, strlen(r->why) + 1);
    }
    return true;
}

static void say(struct worker *w, enum out_kind kind, struct job *j, const struct err *why)
{
    struct out_record r = {.kind = kind,
                           .job = j,
                           .worker = w,
                           .at = clock_seconds(),
                           .rc = why ? why->code : 0,
                           .why = why && why->code < 0 ? why->text : NULL};
    struct buf b = {0};

    put_record(&b, &r);
    bytes_put(w->records, &b);
    buf_fini(&b);
}

static bool is_cancelled(struct worker *w, const struct job *j)
{
    bool yes;

    pthread_mutex_lock(&w->lock);
    yes = j->cancelled;
    pthread_mutex_unlock(&w->lock);
    return yes;
}

/* -- reading requests -- */

static int begin_answers(struct job *j, struct err *e)
{
    struct api_request *r = &j->r;
    uint64_t n = (uint64_t)r->n_prompt * (uint64_t)r->best_of;
    int rc = 0;

    j->answer = mem_array(n, sizeof *j->answer, e);
    j->ref = mem_array((uint64_t)r->n_prompt, sizeof *j->ref, e);
    if (!j->answer || !j->ref)
        return E_NOMEM;
    for (int i = 0; i < (int)n && rc == 0; i++)
        rc = api_answer_begin(&j->answer[i], r, &j->o, &r->prompt[i / r->best_of], i % r->best_of,
                              e);
    return rc;
}

/* The body is read once; an answer without a seed gets one, which its reply tells. */
static int read_body(struct job *j, struct err *e)
{
    struct rill_sampling *s = &j->r.q.sampling;
    int rc = j->read ? j->read(j, e) : api_parse_kind(&j->r, &j->o, j->asks, buf_view(&j->body), e);

    buf_fini(&j->body);
    if (rc == 0 && j->kind == JOB_ANSWER) {
        if (!s->has_seed)
            s->seed = j->id & 0x7fffffff;
        s->has_seed = true;
    }
    return rc;
}

static void read_job(struct worker *w, struct job *j)
{
    struct err e = {0};
    int rc = 0;

    if (is_cancelled(w, j))
        rc = err_set(&e, E_CANCELLED, "cancelled");
    rc = rc < 0 ? rc : read_body(j, &e);
    if (rc == 0 && j->kind != JOB_TEXT) {
        rc = j->kind == JOB_ANSWER ? begin_answers(j, &e) : 0;
        rc = rc < 0 ? rc : queue_put(w->go, j, &e);
        if (rc == 0)
            return;
    }
    if (rc < 0 && e.code == 0)
        err_set(&e, rc, "%s", err_name(rc));
    say(w, OUT_END, j, rc < 0 ? &e : NULL);
}

static void *read_all(void *ctx)
{
    struct worker *w = ctx;

    for (void *j = queue_take(w->in, -1); j != stop; j = queue_take(w->in, -1))
        read_job(w, j);
    return NULL;
}

/* -- the engine, or what stands for it -- */

static int do_submit(struct worker *w, const struct rill_request *q, int *number, struct err *e)
{
    return w->script ? script_submit(w->script, q, number, e)
                     : rill_engine_submit(w->engine, q, number, e);
}

static void do_cancel(struct worker *w, int number)
{
    if (w->script)
        script_cancel(w->script, number);
    else
        rill_engine_cancel(w->engine, number);
}

static int do_step(struct worker *w, struct rill_event *ev, struct err *e)
{
    return w->script ? script_step(w->script, ev, EVENTS, e)
                     : rill_engine_step(w->engine, ev, EVENTS, e);
}

static void publish(struct worker *w)
{
    struct rill_stats s;

    if (w->script)
        script_stats(w->script, &s);
    else
        rill_engine_stats(w->engine, &s);
    pthread_mutex_lock(&w->lock);
    w->stats = s;
    pthread_mutex_unlock(&w->lock);
}

static int open_engine(struct worker *w, struct err *e)
{
    int rc;

    w->o.engine.draft = w->draft[0];
    rc = w->o.script ? script_open(&w->script, w->o.script, w->model, e)
                     : rill_engine_open(&w->engine, w->model, &w->o.engine, e);
    for (int i = 1; i < WORKER_DRAFTS && rc == 0 && w->draft[i]; i++)
        rc = rill_engine_draft(w->engine, w->draft[i], e);
    if (rc == 0)
        publish(w);
    return rc;
}

/* "FILE[=SCALE]", called as its file is. */
static int load_lora(struct worker *w, const char *arg, struct err *e)
{
    const char *sign = strrchr(arg, '='), *base;
    struct adapter *a = &w->adapter[w->n_adapter];
    size_t n = sign ? (size_t)(sign - arg) : strlen(arg);
    char *path = mem_dup(arg, n, e), *end = NULL;
    int rc = path ? 0 : E_NOMEM;

    a->scale = sign ? strtof(sign + 1, &end) : 1;
    if (rc == 0 && sign && (*end || end == sign + 1))
        rc = err_set(e, E_USAGE, "--lora '%s': the scale is no number", arg);
    rc = rc < 0 ? rc : rill_engine_lora_load(w->engine, path, &a->id, e);
    if (rc == 0) {
        base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
        snprintf(a->name, sizeof a->name, "%s", base);
        w->n_adapter++;
    }
    mem_free(path);
    return rc;
}

/* Those that were given at the start. */
static int load_loras(struct worker *w, struct err *e)
{
    int rc = 0;

    w->n_adapter = 0;
    for (size_t i = 0; w->engine && w->o.lora && i < w->o.lora->n && rc == 0; i++)
        rc = load_lora(w, w->o.lora->at[i].value, e);
    return rc;
}

static int open_drafts(struct worker *w, struct err *e)
{
    struct rill_model_opts mo = w->o.model;
    int rc = 0;

    mo.kv_type = mo.v_type = NULL;
    for (int i = 0; i < w->o.n_draft && rc == 0 && !w->o.script; i++)
        rc = rill_model_open(&w->draft[i], w->o.draft[i], &mo, e);
    return rc;
}

static int load(struct worker *w, struct err *e)
{
    struct rill_model_info info;
    int rc;

    w->o.model.vocab_only = w->o.script != NULL;
    rc = rill_model_open(&w->model, w->o.path, &w->o.model, e);
    rc = rc < 0 ? rc : open_drafts(w, e);
    rc = rc < 0 ? rc : open_engine(w, e);
    rc = rc < 0 ? rc : load_loras(w, e);
    if (rc < 0)
        return rc;
    rill_model_info(w->model, &info);
    if (rill_vocab(w->model))
        rc = api_chat_open(&w->chat, w->model, w->o.template_name, w->o.template_text,
                           w->o.tool_format, e);
    w->n_ctx = w->engine ? rill_engine_ctx(w->engine) : w->o.model.n_ctx ? w->o.model.n_ctx : 32768;
    w->api = (struct api_opts){.model = w->model,
                               .name = w->o.name,
                               .sampling = rill_sampling_of(w->model),
                               .n_ctx = w->n_ctx,
                               .draft = w->script ? 0 : w->o.engine.max_draft,
                               .stream = true,
                               .details = true,
                               .lenient = true,
                               .chat = w->chat};
    return rc;
}

/* -- answering -- */

static void forget(struct worker *w, const struct job *j)
{
    for (int i = 0; i < w->n_active; i++)
        if (w->active[i] == j) {
            w->active[i] = w->active[--w->n_active];
            return;
        }
}

static void cancel_all_of(struct worker *w, const struct job *j)
{
    for (int i = 0; i < j->r.n_prompt; i++)
        if (j->ref[i].number >= 0)
            do_cancel(w, j->ref[i].number);
}

/* The first failure is the job's. */
static void fail(struct job *j, int code, const char *why)
{
    if (j->failed)
        return;
    j->failed = code ? code : E_DEVICE;
    buf_str(&j->reply, why ? why : "failed");
}

/* -- adapters -- */

bool names_have(const char *list, const char *name)
{
    const size_t n = strlen(name);

    for (const char *p = list; *p; p += strcspn(p, ","), p += *p == ',')
        if (strncmp(p, name, n) == 0 && (p[n] == ',' || !p[n]))
            return true;
    return false;
}

static bool may(const struct job *j, const struct adapter *a)
{
    return !j->rights.adapters[0] || names_have(j->rights.adapters, a->name);
}

/* The adapter of a name; one that requests may load is loaded. */
static int named(struct worker *w, const char *name, const struct adapter **out, struct err *e)
{
    struct adapter *a = &w->adapter[w->n_adapter];
    char path[1200];
    int rc;

    for (int i = 0; i < w->n_adapter; i++)
        if (strcmp(w->adapter[i].name, name) == 0) {
            *out = &w->adapter[i];
            return 0;
        }
    if (!w->engine || !w->o.lora_dir || w->n_adapter == RILL_LORA_MAX || *name == '.' ||
        strchr(name, '/'))
        return err_set(e, E_NOTFOUND, "lora: the adapter '%.60s' is not loaded", name);
    snprintf(path, sizeof path, "%s/%s", w->o.lora_dir, name);
    rc = rill_engine_lora_load(w->engine, path, &a->id, e);
    if (rc < 0)
        return rc;
    snprintf(a->name, sizeof a->name, "%s", name);
    a->scale = 0;
    w->n_adapter++;
    *out = a;
    return 0;
}

static int use_named(struct worker *w, struct job *j, const char *name, double scale, struct err *e)
{
    struct api_request *r = &j->r;
    const struct adapter *a;
    int rc = !name ? err_set(e, E_FORMAT, "lora: an adapter without a name") : 0;

    if (rc == 0 && r->q.n_lora == RILL_LORA_MIX)
        rc = err_set(e, E_RANGE, "lora: more than %d adapters", RILL_LORA_MIX);
    rc = rc < 0 ? rc : named(w, name, &a, e);

    if (rc == 0)
        r->lora[r->q.n_lora++] = (struct rill_lora_use){a->id, (float)scale};
    return rc;
}

/* A request that chooses no adapters has its client's, or else those that have a scale. */
static int default_lora(struct worker *w, struct job *j, struct err *e)
{
    struct api_request *r = &j->r;
    const json_t *use;
    size_t k;
    int rc = 0;

    r->q.lora = r->lora;
    r->q.n_lora = 0;
    if (j->lora) {
        json_array_foreach(j->lora, k, use) if (rc == 0) rc =
            use_named(w, j, json_string_value(json_object_get(use, "name")),
                      json_number_value(json_object_get(use, "scale")), e);
        return rc;
    }
    if (j->rights.lora[0])
        return use_named(w, j, j->rights.lora, (double)j->rights.lora_scale, e);
    for (int i = 0; i < w->n_adapter && r->q.n_lora < RILL_LORA_MIX; i++)
        if (w->adapter[i].scale != 0 && may(j, &w->adapter[i]))
            r->lora[r->q.n_lora++] = (struct rill_lora_use){w->adapter[i].id, w->adapter[i].scale};
    return 0;
}

/* What it chose, or has, as records tell it; it must be its to choose. */
static int choose_lora(struct worker *w, struct job *j, struct err *e)
{
    struct rill_request *q = &j->r.q;
    int rc = 0;

    if (q->embed || !w->engine)
        return 0;
    if (!q->lora || j->lora)
        rc = default_lora(w, j, e);
    for (int k = 0; k < q->n_lora && rc == 0; k++) {
        int i = 0;

        while (i < w->n_adapter && w->adapter[i].id != q->lora[k].id)
            i++;
        if (i == w->n_adapter)
            rc = err_set(e, E_RANGE, "lora: no adapter has the id %d", q->lora[k].id);
        else if (!may(j, &w->adapter[i]))
            rc = err_set(e, E_DENIED, "lora: this key may not use the adapter '%s'",
                         w->adapter[i].name);
        if (rc < 0)
            break;
        buf_str(&j->used, j->used.n ? ",{\"name\":" : "{\"name\":");
        buf_json(&j->used, slice_of(w->adapter[i].name));
        buf_printf(&j->used, ",\"scale\":%.9g}", (double)q->lora[k].scale);
    }
    return rc;
}

/* -- answering -- */

/* Which of the models that propose tokens it is for a job. */
static int drafter_of(const struct worker *w, const struct job *j)
{
    for (int i = 0; i < w->o.n_draft && !w->script; i++)
        if (slice_is(worker_model_name(w->o.draft[i]), j->rights.draft))
            return i;
    return 0;
}

/* The engine gets the prompts of a job. */
static int submit(struct worker *w, struct job *j, struct err *e)
{
    struct rill_request *q = &j->r.q;
    int rc = 0;

    if (w->n_active == w->cap_active) {
        int cap = w->cap_active ? 2 * w->cap_active : 64;
        struct job **p =
            mem_resize(w->active, (uint64_t)w->cap_active, (uint64_t)cap, sizeof(struct job *), e);

        if (!p)
            return E_NOMEM;
        w->active = p;
        w->cap_active = cap;
    }
    if (choose_lora(w, j, e) < 0) {
        j->r.param = "lora";
        return e->code;
    }
    q->client = j->client;
    q->weight = j->weight;
    q->deadline = j->deadline;
    q->progress = true;
    q->draft_model = drafter_of(w, j);
    for (int i = 0; i < j->r.n_prompt; i++)
        j->ref[i] = (struct job_ref){j, i, -1};
    for (int i = 0; i < j->r.n_prompt && rc == 0; i++) {
        q->ids = j->r.prompt[i].ids;
        q->n_ids = j->r.prompt[i].n;
        q->types = j->r.prompt[i].types;
        q->user = &j->ref[i];
        rc = do_submit(w, q, &j->ref[i].number, e);
        if (rc < 0)
            j->ref[i].number = -1;
        else
            j->left += j->r.best_of;
    }
    if (rc < 0)
        j->r.param = api_field_in(&j->r, e->text);
    return rc;
}

/* Something else is done with the engine, between two steps. */
static void act(struct worker *w, struct job *j)
{
    struct worker_hands h = {w->engine, w->adapter, &w->n_adapter};
    struct err e = {0};
    int rc = w->engine
                 ? j->act(j, &h, &e)
                 : err_set(&e, E_UNSUPPORTED, "answers come from a script: no engine is here");

    say(w, OUT_END, j, rc < 0 ? &e : NULL);
}

static void start(struct worker *w, struct job *j)
{
    struct err e = {0};
    int rc = 0;

    if (w->gone.code) {
        say(w, OUT_END, j, &w->gone);
        return;
    }
    if (j->kind == JOB_ACT) {
        act(w, j);
        return;
    }
    if (is_cancelled(w, j))
        rc = err_set(&e, E_CANCELLED, "cancelled");
    j->left = 0;
    rc = rc < 0 ? rc : submit(w, j, &e);
    if (rc < 0 && j->left > 0) { // some prompts run: the end of the last is the job's
        cancel_all_of(w, j);
        fail(j, e.code, e.text);
        w->active[w->n_active++] = j;
        return;
    }
    if (rc == 0)
        w->active[w->n_active++] = j;
    publish(w);
    say(w, rc < 0 ? OUT_END : OUT_READY, j, rc < 0 ? &e : NULL);
}

static void see_cancels(struct worker *w)
{
    pthread_mutex_lock(&w->lock);
    if (w->seen_cancels != w->cancels)
        for (int i = 0; i < w->n_active; i++)
            if (w->active[i]->cancelled)
                cancel_all_of(w, w->active[i]);
    w->seen_cancels = w->cancels;
    pthread_mutex_unlock(&w->lock);
}

/* A failure of one prompt is the job's: the others are cancelled, the first sentence stays. began:
 * the step, the first in which something was done for a job that had no event yet. */
static void take_event(struct worker *w, struct buf *out, const struct rill_event *ev, double began,
                       double now)
{
    struct job_ref *ref = ev->user;
    struct job *j = ref->job;
    struct out_record r = {
        .kind = OUT_EVENT, .job = j, .worker = w, .prompt = ref->prompt, .at = now, .ev = *ev};

    if (j->start_at == 0)
        j->start_at = began;
    r.ev.logits = NULL;
    r.ev.message = NULL;
    if (ev->kind == RILL_DONE && ev->finish == RILL_FAILED) {
        cancel_all_of(w, j);
        fail(j, ev->code, ev->message);
    }
    if (ev->kind != RILL_PROMPT)
        put_record(out, &r);
    if (ev->kind != RILL_DONE || --j->left > 0)
        return;
    forget(w, j);
    r = (struct out_record){.kind = OUT_END, .job = j, .worker = w, .at = now};
    if (j->failed) {
        r.rc = j->failed;
        r.why = j->reply.p ? j->reply.p : "failed";
    }
    put_record(out, &r);
}

static int reopen(struct worker *w, struct err *e)
{
    int rc = w->script ? script_reopen(w->script, e) : open_engine(w, e);

    return rc < 0 ? rc : load_loras(w, e);
}

/* The device failed: so have all requests; a new engine may do better. What requests had loaded or
 * restored is gone. Where there is none the server ends, and its supervisor starts it again. The
 * old engine goes first: its requests use what is freed with their jobs. */
static void recover(struct worker *w, const struct err *why)
{
    tool_warn("%s: %s: all its requests have failed, the engine is opened again", w->o.name,
              why->text);
    rill_engine_close(w->engine);
    w->engine = NULL;
    for (int i = 0; i < w->n_active; i++)
        say(w, OUT_END, w->active[i], why);
    w->n_active = 0;
    if (reopen(w, &w->gone) < 0)
        say(w, OUT_STATE, NULL, &w->gone);
    else
        publish(w);
}

static void *run_all(void *ctx)
{
    struct worker *w = ctx;
    struct rill_event ev[EVENTS];
    struct buf out = {0};
    struct err e = {0};
    void *j = NULL;
    double began, now;
    int rc = load(w, &e);

    thread_ftz();
    if (rc == 0 && pthread_create(&w->reader, NULL, read_all, w) != 0)
        rc = err_set(&e, E_NOMEM, "no thread");
    w->reading = rc == 0;
    say(w, OUT_STATE, NULL, rc < 0 ? &e : NULL);
    while (rc >= 0 && j != stop) {
        while ((j = queue_take(w->go, w->n_active ? 0 : -1)) && j != stop)
            start(w, j);
        if (w->n_active == 0)
            continue;
        see_cancels(w);
        e = (struct err){0};
        began = clock_seconds();
        rc = do_step(w, ev, &e);
        if (rc < 0) {
            recover(w, &e);
            rc = 0;
            continue;
        }
        now = clock_seconds();
        for (int i = 0; i < rc; i++)
            take_event(w, &out, &ev[i], began, now);
        publish(w);
        bytes_put(w->records, &out);
    }
    buf_fini(&out);
    return NULL;
}

/* -- from outside -- */

struct slice worker_model_name(const char *path)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    const struct slice name = {base, strlen(base)};

    return slice_ends(name, SLICE(".gguf")) && name.n > 5 ? (struct slice){base, name.n - 5} : name;
}

int worker_new(struct worker **out, const struct worker_opts *o, struct bytes_queue *records,
               struct err *e)
{
    struct worker *w = mem_new(sizeof *w, e);
    int rc;

    *out = NULL;
    if (!w)
        return E_NOMEM;
    w->o = *o;
    w->records = records;
    pthread_mutex_init(&w->lock, NULL);
    rc = queue_new(&w->in, e);
    rc = rc < 0 ? rc : queue_new(&w->go, e);
    if (rc == 0 && pthread_create(&w->runner, NULL, run_all, w) != 0)
        rc = err_set(e, E_NOMEM, "no thread");
    w->running = rc == 0;
    if (rc < 0) {
        worker_free(w);
        return rc;
    }
    *out = w;
    return 0;
}

void worker_free(struct worker *w)
{
    if (!w)
        return;
    if (w->running) {
        queue_put(w->go, stop, NULL);
        pthread_join(w->runner, NULL);
    }
    if (w->reading) {
        queue_put(w->in, stop, NULL);
        pthread_join(w->reader, NULL);
    }
    queue_free(w->in);
    queue_free(w->go);
    rill_engine_close(w->engine);
    script_close(w->script);
    api_chat_close(w->chat);
    for (int i = 0; i < WORKER_DRAFTS; i++)
        rill_model_close(w->draft[i]);
    rill_model_close(w->model);
    pthread_mutex_destroy(&w->lock);
    mem_free(w->active);
    mem_free(w);
}

int worker_start(struct worker *w, struct job *j, struct err *e)
{
    j->worker = w;
    return queue_put(w->in, j, e);
}

void worker_cancel(struct worker *w, struct job *j)
{
    pthread_mutex_lock(&w->lock);
    j->cancelled = true;
    w->cancels++;
    pthread_mutex_unlock(&w->lock);
}

const struct worker_opts *worker_opts(const struct worker *w)
{
    return &w->o;
}

const char *worker_name(const struct worker *w)
{
    return w->o.name;
}

const struct api_opts *worker_api(const struct worker *w)
{
    return &w->api;
}

const struct rill_model *worker_model(const struct worker *w)
{
    return w->model;
}

int worker_ctx(const struct worker *w)
{
    return w->n_ctx;
}

void worker_stats(struct worker *w, struct rill_stats *out)
{
    pthread_mutex_lock(&w->lock);
    *out = w->stats;
    pthread_mutex_unlock(&w->lock);
}

void job_free(struct job *j)
{
    if (!j)
        return;
    for (int i = 0; j->answer && i < j->r.n_prompt * j->r.best_of; i++)
        api_answer_fini(&j->answer[i]);
    mem_free(j->answer);
    mem_free(j->ref);
    api_fini(&j->r);
    json_decref(j->custom);
    buf_fini(&j->body);
    buf_fini(&j->reply);
    buf_fini(&j->used);
    mem_free(j);
}
