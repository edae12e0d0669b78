/* serve_admin.c - see serve_in.h: adapters, and sessions: beginnings of prompts whose keys and
 * values are kept in files. What needs the engine is done on its thread, between two steps.
 *
 * Requests name files by plain names in folders that the server was given, never by paths.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "tools/lib/api_fields.h"
#include "tools/lib/js.h"
#include "tools/lib/serve_in.h"

#define SESSION_END ".rillkv"

int admin_none(struct job *j, struct err *e)
{
    (void)j;
    (void)e;
    return 0;
}

int lora_read(struct job *j, struct err *e)
{
    return text_body(j, API_LORA, e);
}

/* "DIR/NAME" and an ending, where the name is one: letters, digits, dots inside, - and _. */
static int path_of(struct job *j, char *out, size_t n, const char *dir, const char *option,
                   const char *field, const char *name, const char *ending, struct err *e)
{
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                  "0123456789._-";

    j->r.param = field;
    if (!dir)
        return err_set(e, E_UNSUPPORTED, "%s: the server was not given a folder for it (%s)", field,
                       option);
    if (!name || !*name || *name == '.' || strlen(name) > 64 || name[strspn(name, allowed)])
        return err_set(e, E_RANGE, "%s: must be a name of up to 64 letters, digits, dots, - and _",
                       field);
    if ((size_t)snprintf(out, n, "%s/%s%s", dir, name, ending) >= n)
        return err_set(e, E_RANGE, "%s: the path is too long", field);
    return 0;
}

/* -- adapters -- */

static void put_adapter(struct buf *b, const struct adapter *a, const struct rill_lora *l)
{
    buf_printf(b, "{\"id\":%d,\"name\":", a->id);
    buf_json(b, slice_of(a->name));
    buf_printf(b, ",\"scale\":%g,\"matrices\":%d,\"bytes\":%llu}", (double)a->scale, l->n_matrix,
               (unsigned long long)l->bytes);
}

int lora_list(struct job *j, struct worker_hands *h, struct err *e)
{
    struct rill_lora list[RILL_LORA_MAX];
    int n = rill_engine_lora_list(h->engine, list, RILL_LORA_MAX);
    const char *comma = "";

    (void)e;
    buf_str(&j->reply, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < *h->n_adapter; i++)
        for (int k = 0; k < n; k++)
            if (list[k].id == h->adapter[i].id) {
                buf_str(&j->reply, comma);
                put_adapter(&j->reply, &h->adapter[i], &list[k]);
                comma = ",";
            }
    buf_byte(&j->reply, ']');
    api_put_warnings(&j->reply, &j->r, NULL, 0);
    buf_byte(&j->reply, '}');
    return 0;
}

static int read_scale(struct job *j, float *out, struct err *e)
{
    const json_t *v = json_object_get(j->r.json, "scale");
    double x = json_number_value(v);

    j->r.param = "scale";
    if (v && (!json_is_number(v) || x < -100 || x > 100))
        return err_set(e, E_RANGE, "scale: must be a number from -100 to 100");
    if (v)
        *out = (float)x;
    return 0;
}

static int load_lora(struct job *j, struct worker_hands *h, const char *name, struct err *e)
{
    struct adapter *a = &h->adapter[*h->n_adapter];
    float scale = 0; // in requests that choose it, until told otherwise
    char path[1024];
    int rc;

    if (*h->n_adapter == RILL_LORA_MAX)
        return err_set(e, E_BUSY, "there are %d adapters already", RILL_LORA_MAX);
    rc = path_of(j, path, sizeof path, worker_opts(j->worker)->lora_dir, "--lora-dir", "load", name,
                 "", e);
    rc = rc < 0 ? rc : read_scale(j, &scale, e);
    j->r.param = "load";
    rc = rc < 0 ? rc : rill_engine_lora_load(h->engine, path, &a->id, e);
    if (rc < 0)
        return rc;
    a->scale = scale;
    snprintf(a->name, sizeof a->name, "%s", name);
    ++*h->n_adapter;
    return 0;
}

static struct adapter *find_lora(struct job *j, struct worker_hands *h, const char *field,
                                 struct err *e)
{
    const json_t *id = json_object_get(j->r.json, field);

    j->r.param = field;
    for (int i = 0; json_is_integer(id) && i < *h->n_adapter; i++)
        if (h->adapter[i].id == json_integer_value(id))
            return &h->adapter[i];
    err_set(e, E_NOTFOUND, "%s: no adapter has this id", field);
    return NULL;
}

/* {"load": NAME, "scale": X}, {"unload": ID} or {"id": ID, "scale": X}; the reply is the list. */
int lora_change(struct job *j, struct worker_hands *h, struct err *e)
{
    const json_t *load = json_object_get(j->r.json, "load");
    bool unload = json_object_get(j->r.json, "unload") != NULL;
    struct adapter *a = NULL;
    int rc = 0;

    if (load)
        rc = load_lora(j, h, json_string_value(load), e);
    else if (!(a = find_lora(j, h, unload ? "unload" : "id", e)))
        rc = e->code;
    else if (unload)
        rc = rill_engine_lora_unload(h->engine, a->id, e);
    else
        rc = read_scale(j, &a->scale, e);
    if (rc < 0)
        return rc;
    if (unload && !load)
        *a = h->adapter[--*h->n_adapter];
    return lora_list(j, h, e);
}

/* -- sessions -- */

struct listing {
    struct job *j;
    const char *dir;
    const char *comma;
};

static void put_session(void *ctx, const char *name)
{
    struct listing *l = ctx;
    size_t n = strlen(name), end = sizeof SESSION_END - 1;
    char path[1400];
    struct stat st;

    snprintf(path, sizeof path, "%s/%s", l->dir, name);
    if (n <= end || strcmp(name + n - end, SESSION_END) != 0 || stat(path, &st) < 0)
        return;
    buf_printf(&l->j->reply, "%s{\"name\":", l->comma);
    buf_json(&l->j->reply, (struct slice){name, n - end});
    buf_printf(&l->j->reply, ",\"bytes\":%llu,\"modified\":%lld}", (unsigned long long)st.st_size,
               (long long)st.st_mtime);
    l->comma = ",";
}

int session_list(struct job *j, struct err *e)
{
    struct listing l = {j, worker_opts(j->worker)->session_dir, ""};
    int rc;

    if (!l.dir)
        return err_set(e, E_UNSUPPORTED, "the server was not given a folder for sessions");
    buf_str(&j->reply, "{\"object\":\"list\",\"data\":[");
    rc = file_list(l.dir, put_session, &l, e);
    buf_str(&j->reply, "]}");
    return rc;
}

static const char *const verbs[] = {"save", "restore", "fork", "erase"};
enum { SAVE, RESTORE, FORK, ERASE };

/* {"save": NAME, and a chat's or text's body}, {"restore": NAME}, {"fork": NAME, "as": NAME} or
 * {"erase": NAME}. What the prompt is, the reading thread finds out. */
int session_read(struct job *j, struct err *e)
{
    json_t *v = api_json(buf_view(&j->body), e), *save;

    if (!v)
        return e->code;
    save = json_object_get(v, "save");
    if (!save) {
        json_decref(v);
        return text_body(j, API_SESSION, e);
    }
    j->custom = json_pack("{sO}", "save", save);
    json_object_del(v, "save");
    if (!j->custom) {
        json_decref(v);
        return err_nomem(e, 0);
    }
    return api_parse_json(&j->r, &j->o, json_object_get(v, "messages") ? API_CHAT : API_TEXT, v, e);
}

static int copy_file(const char *from, const char *to, struct err *e)
{
    /* a file of keys and values is never written again, only replaced */
    if (link(from, to) == 0)
        return 0;
    return errno == EEXIST ? err_set(e, E_RANGE, "as: there is a session of that name")
                           : err_set(e, E_IO, "%s: %s", to, strerror(errno));
}

static int save(struct job *j, struct rill_engine *g, const char *path, struct rill_kv *out,
                struct err *e)
{
    struct rill_kv kv = {
        .ids = j->r.prompt[0].ids, .n = j->r.prompt[0].n, .salt = j->r.q.salt, .compressed = true};
    int rc = rill_engine_kv_save(g, &kv, path, e);

    return rc < 0 ? rc : rill_kv_open(out, path, e);
}

/* The names that it is about. */
static const json_t *what_of(const struct job *j)
{
    return j->custom ? j->custom : j->r.json;
}

int session_change(struct job *j, struct worker_hands *h, struct err *e)
{
    const char *dir = worker_opts(j->worker)->session_dir;
    char path[1200], other[1200];
    struct rill_kv kv = {0};
    const char *name = NULL;
    int what = 0, rc;

    while (what < 4 && !json_object_get(what_of(j), verbs[what]))
        what++;
    if (what == 4)
        return err_set(e, E_RANGE, "one of save, restore, fork and erase must be given");
    name = js_str(what_of(j), verbs[what]);
    rc = path_of(j, path, sizeof path, dir, "--sessions", verbs[what], name, SESSION_END, e);
    if (rc == 0 && what == FORK)
        rc = path_of(j, other, sizeof other, dir, "--sessions", "as", js_str(what_of(j), "as"),
                     SESSION_END, e);
    if (rc < 0)
        return rc;
    if (what != SAVE && !file_exists(path))
        rc = err_set(e, E_NOTFOUND, "%s: there is no session of that name", verbs[what]);
    else if (what == FORK)
        rc = copy_file(path, other, e);
    else if (what == ERASE)
        file_remove(path);
    else if (what == SAVE)
        rc = save(j, h->engine, path, &kv, e);
    else
        rc = rill_engine_kv_load(h->engine, path, &kv, e);
    if (rc == 0) {
        buf_str(&j->reply, "{\"name\":");
        buf_json(&j->reply, slice_of(what == FORK ? js_str(what_of(j), "as") : name));
        if (what == SAVE || what == RESTORE)
            buf_printf(&j->reply, ",\"tokens\":%zu,\"positions\":%d,\"bytes\":%llu", kv.n, kv.n_pos,
                       (unsigned long long)kv.bytes);
        api_put_warnings(&j->reply, &j->r, NULL, 0);
        buf_byte(&j->reply, '}');
    }
    rill_kv_fini(&kv);
    return rc;
}
