/* hf_cache.c - finds what "hf:org/name[:file]" names in the local cache. Nothing is downloaded. */
#include "model/hf_cache.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/mem.h"

int hf_cache_dir(struct buf *b, struct slice repo, struct err *e)
{
    const char *hub = getenv("HF_HUB_CACHE"), *home = getenv("HF_HOME"),
               *xdg = getenv("XDG_CACHE_HOME"), *user = getenv("HOME");

    if (hub && *hub)
        buf_str(b, hub);
    else if (home && *home)
        buf_printf(b, "%s/hub", home);
    else if (xdg && *xdg)
        buf_printf(b, "%s/huggingface/hub", xdg);
    else if (user && *user)
        buf_printf(b, "%s/.cache/huggingface/hub", user);
    else
        return err_set(e, E_NOTFOUND, "no cache: HF_HUB_CACHE, HF_HOME and HOME are not set");
    buf_str(b, "/models--");
    for (size_t i = 0; i < repo.n; i++)
        buf_str(b, repo.p[i] == '/' ? "--" : (char[]){repo.p[i], 0});
    return b->bad ? err_nomem(e, b->n) : 0;
}

/* -- names of GGUF files -- */

/* Bytes before ".gguf" or ".gguf.zst"; 0: it ends in neither. */
static size_t before_ending(const char *path)
{
    static const char *const endings[] = {".gguf", ".gguf.zst"};
    const size_t n = strlen(path);

    for (size_t i = 0; i < ARRAY_LEN(endings); i++) {
        const size_t m = strlen(endings[i]);

        if (n > m && strcasecmp(path + n - m, endings[i]) == 0)
            return n - m;
    }
    return 0;
}

bool hf_is_gguf(const char *path)
{
    return before_ending(path) > 0;
}

/* Bytes before "-00001-of-00003.gguf" or the ending alone. */
static size_t stem(const char *path)
{
    const char *shape = "-00000-of-00000";
    const size_t n = before_ending(path), m = strlen(shape);

    if (n <= m)
        return n;
    for (size_t i = 0; i < m; i++) {
        const char c = path[n - m + i];
        if (shape[i] == '0' ? c < '0' || c > '9' : c != shape[i])
            return n;
    }
    return n - m;
}

/* A compressed file is another model than the same without compression. */
bool hf_gguf_same(const char *a, const char *b)
{
    return hf_is_gguf(a) && hf_is_gguf(b) && stem(a) == stem(b) && strncmp(a, b, stem(a)) == 0 &&
           strcasecmp(a + before_ending(a), b + before_ending(b)) == 0;
}

static bool letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

bool hf_gguf_has(const char *path, const char *part, bool word)
{
    const size_t n = strlen(part);

    for (const char *p = path; hf_is_gguf(path) && strlen(p) >= n; p++)
        if (strncasecmp(p, part, n) == 0 &&
            (!word || ((p == path || !letter(p[-1])) && !letter(p[n]))))
            return true;
    return false;
}

/* org/name, of letters, digits and -._ with one slash between. */
static bool repo_ok(struct slice s)
{
    size_t slashes = 0;

    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

        slashes += c == '/';
        if (!letter && !strchr("-._/", c))
            return false;
        if (c == '.' && i + 1 < s.n && s.p[i + 1] == '.')
            return false;
    }
    return s.n > 2 && s.n < 200 && slashes == 1 && s.p[0] != '/' && s.p[s.n - 1] != '/';
}

static bool file_ok(const char *file)
{
    return *file && *file != '/' && !strstr(file, "..") && strlen(file) < 300;
}

/* The commit that refs/main names, behind base. */
static int read_ref(struct buf *out, const char *base, struct err *e)
{
    struct file_view v;
    struct buf path = {0};
    size_t n;
    int rc;

    buf_printf(&path, "%s/refs/main", base);
    rc = path.bad ? err_nomem(e, 0) : file_read(&v, path.p, 4096, e);
    buf_fini(&path);
    if (rc < 0)
        return rc;
    n = v.n;
    while (n && (v.p[n - 1] == '\n' || v.p[n - 1] == ' '))
        n--;
    if (n == 0 || n > 64 || memchr(v.p, '/', n) || memchr(v.p, 0, n) || v.p[0] == '.')
        rc = err_set(e, E_FORMAT, "%s/refs/main: no commit", base);
    else
        buf_printf(out, "%s/snapshots/%.*s", base, (int)n, (const char *)v.p);
    file_unmap(&v);
    return rc;
}

struct search {
    const char *part; // NULL: any
    bool word;
    struct buf found; // the first file of the model
    size_t models;
};

static void look(void *ctx, const char *name)
{
    struct search *s = ctx;

    if (!hf_is_gguf(name) || strncmp(name, "mmproj", 6) == 0 ||
        (s->part && !hf_gguf_has(name, s->part, s->word)))
        return;
    if (!s->models || !hf_gguf_same(name, s->found.p))
        s->models++;
    else if (strcmp(name, s->found.p) > 0)
        return;
    buf_clear(&s->found);
    buf_str(&s->found, name);
}

/* The one GGUF model of the folder in out, whose name has the part: appended. */
static int one_gguf(struct buf *out, const char *part, struct err *e)
{
    struct search s = {part, part != NULL, {0}, 0};
    int rc = file_list(out->p, look, &s, e);

    if (rc == 0 && part && s.models != 1) {
        s.word = s.models > 1;
        s.models = 0;
        rc = file_list(out->p, look, &s, e);
    }
    if (rc == 0 && s.models > 1)
        rc = err_set(e, E_USAGE, "%s has several GGUF models%s%s: name one of them behind a colon",
                     out->p, part ? " like " : "", part ? part : "");
    if (rc == 0 && s.models == 1)
        buf_printf(out, "/%s", s.found.p);
    buf_fini(&s.found);
    return rc < 0 ? rc : s.models == 1;
}

/* What part (or NULL) of the snapshot in out is meant. */
static int choose(struct buf *out, const char *part, struct err *e)
{
    struct buf file = {0};
    int rc = 0;

    buf_printf(&file, "%s/%s", out->p, part ? part : "config.json");
    if (file.bad || out->bad)
        rc = err_nomem(e, file.n);
    else if (!file_is_dir(out->p))
        rc = 0;
    else if (file_exists(file.p)) {
        buf_printf(out, "/%s", part ? part : "");
        if (!part)
            out->p[--out->n] = '\0';
        rc = 1;
    } else
        rc = one_gguf(out, part, e);
    buf_fini(&file);
    return rc;
}

int hf_cache_find(struct buf *out, const char *name, struct err *e)
{
    const char *colon = strchr(name, ':');
    struct slice repo = {name, colon ? (size_t)(colon - name) : strlen(name)};
    struct buf base = {0};
    int rc;

    if (!repo_ok(repo) || (colon && !file_ok(colon + 1)))
        return err_set(e, E_USAGE, "hf:%.200s: expected hf:org/name or hf:org/name:file", name);
    rc = hf_cache_dir(&base, repo, e);
    if (rc == 0 && file_is_dir(base.p)) {
        rc = read_ref(out, base.p, e);
        rc = rc < 0 ? rc : choose(out, colon ? colon + 1 : NULL, e);
    }
    if (rc == 0)
        rc = err_set(e, E_NOTFOUND, "hf:%s: not in the local cache; rill-pull %s fetches it", name,
                     name);
    buf_fini(&base);
    return rc < 0 ? rc : 0;
}
