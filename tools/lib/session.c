/* session.c - see session.h. */
#include "tools/lib/session.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "tools/lib/tool.h"

static const char chats[] = "chats/", messages[] = ".jsonl", keys[] = ".kv";

void session_fini(struct session *s)
{
    mem_free(s->path);
    mem_free(s->kv);
    s->path = s->kv = NULL;
    s->stale = false;
}

/* -- paths -- */

static int make_dirs(char *path, struct err *e)
{
    for (char *p = path + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(path, 0700) < 0 && errno != EEXIST) {
            err_set(e, E_IO, "%s: %s", path, strerror(errno));
            *p = '/';
            return E_IO;
        }
        *p = '/';
    }
    return 0;
}

static int add_state_dir(struct buf *b, struct err *e)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");

    if (state && *state)
        buf_str(b, state);
    else if (home && *home)
        buf_printf(b, "%s/.local/state", home);
    else
        return err_set(e, E_NOTFOUND, "neither XDG_STATE_HOME nor HOME is set");
    buf_str(b, "/rill/");
    return 0;
}

char *session_state_path(const char *what, const char *name, const char *suffix, struct err *e)
{
    struct buf b = {0};
    char *path = NULL;

    if (strchr(name, '/'))
        buf_str(&b, name);
    else if (add_state_dir(&b, e) == 0)
        buf_printf(&b, "%s%s%s", what, name, suffix);
    else
        return NULL;
    path = b.bad ? NULL : mem_dup(b.p, b.n, e);
    buf_fini(&b);
    if (path && make_dirs(path, e) < 0) {
        mem_free(path);
        return NULL;
    }
    return path;
}

/* talk.jsonl to talk.kv, talk to talk.kv */
static char *kv_path(const char *path, struct err *e)
{
    struct buf b = {0};
    struct slice s = slice_of(path);
    char *out;

    if (s.n > sizeof messages - 1 && strcmp(path + s.n - (sizeof messages - 1), messages) == 0)
        s.n -= sizeof messages - 1;
    buf_slice(&b, s);
    buf_str(&b, keys);
    out = b.bad ? NULL : mem_dup(b.p, b.n, e);
    buf_fini(&b);
    return out;
}

int session_name(struct session *s, const char *name, struct err *e)
{
    char *path = session_state_path(chats, name, messages, e);
    char *kv = path ? kv_path(path, e) : NULL;

    if (!kv) {
        mem_free(path);
        return e->code ? e->code : err_nomem(e, 0);
    }
    session_fini(s);
    s->path = path;
    s->kv = kv;
    return 0;
}

void session_each(const char *begin, void (*fn)(void *ctx, const char *name), void *ctx)
{
    struct buf b = {0};
    struct err ignore = {0};
    DIR *d = NULL;
    struct dirent *entry;

    if (add_state_dir(&b, &ignore) == 0) {
        buf_str(&b, chats);
        d = b.bad ? NULL : opendir(b.p);
    }
    while (d && (entry = readdir(d))) {
        size_t n = strlen(entry->d_name), k = sizeof messages - 1;

        if (n <= k || strcmp(entry->d_name + n - k, messages) != 0 ||
            strncmp(entry->d_name, begin, strlen(begin)) != 0)
            continue;
        entry->d_name[n - k] = '\0';
        fn(ctx, entry->d_name);
    }
    if (d)
        closedir(d);
    buf_fini(&b);
}

struct newest {
    struct buf name;
    struct timespec at;
};

static void newer(void *ctx, const char *name)
{
    struct newest *n = ctx;
    struct err ignore = {0};
    char *path = session_state_path(chats, name, messages, &ignore);
    struct stat st;

    if (path && stat(path, &st) == 0 &&
        (n->name.n == 0 || st.st_mtim.tv_sec > n->at.tv_sec ||
         (st.st_mtim.tv_sec == n->at.tv_sec && st.st_mtim.tv_nsec > n->at.tv_nsec))) {
        buf_clear(&n->name);
        buf_str(&n->name, name);
        n->at = st.st_mtim;
    }
    mem_free(path);
}

char *session_last(struct err *e)
{
    struct newest n = {0};
    char *name;

    session_each("", newer, &n);
    if (n.name.n == 0)
        err_set(e, E_NOTFOUND, "no session has been saved yet (--resume NAME begins one)");
    name = n.name.n ? mem_dup(n.name.p, n.name.n, e) : NULL;
    buf_fini(&n.name);
    return name;
}

/* -- messages -- */

int session_save(struct session *s, const struct convo *c, const char *model, struct err *e)
{
    s->stale = true;
    return s->path ? convo_save(c, s->path, model, e) : 0;
}

int session_load(struct session *s, struct convo *c, struct rill_engine *g, const char *model,
                 size_t *rows, struct err *e)
{
    char *made_with;
    int rc = convo_load(c, s->path, &made_with, e);

    *rows = 0;
    if (rc < 0)
        return rc;
    if (strcmp(made_with, model) != 0)
        tool_note("the session was made with %s", made_with);
    mem_free(made_with);
    if (!s->no_kv && access(s->kv, F_OK) == 0) {
        struct err lost = {0};

        if (session_kv_load(s, g, NULL, rows, &lost) < 0)
            tool_note("%s; the conversation is read again", lost.text);
    }
    return 0;
}

/* -- keys and values -- */

int session_kv_save(struct session *s, const struct convo *c, struct rill_engine *g,
                    const char *path, struct err *e)
{
    const size_t room = (size_t)rill_engine_ctx(g) - 1; // what fills the context cannot go on
    struct rill_kv kv = {.ids = c->ids.id,
                         .made = (unsigned char *)c->made.p,
                         .n = c->ids.n < room ? c->ids.n : room};
    int rc;

    if (kv.n == 0 || (!path && (!s->kv || s->no_kv || !s->stale)))
        return 0;
    rc = rill_engine_kv_save(g, &kv, path ? path : s->kv, e);
    if (rc == 0 && !path)
        s->stale = false;
    return rc;
}

int session_kv_load(struct session *s, struct rill_engine *g, const char *path, size_t *rows,
                    struct err *e)
{
    struct rill_kv kv = {0};
    int rc = rill_engine_kv_load(g, path ? path : s->kv, &kv, e);

    if (rc < 0)
        return rc;
    *rows = (size_t)kv.n_pos;
    if (!path)
        s->stale = false;
    rill_kv_fini(&kv);
    return 0;
}

int session_kv_drop(struct session *s, struct err *e)
{
    s->no_kv = true;
    if (unlink(s->kv) < 0 && errno != ENOENT)
        return err_set(e, E_IO, "%s: %s", s->kv, strerror(errno));
    return 0;
}
