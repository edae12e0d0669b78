/* hf_cache.c - finds what "hf:org/name[:file]" names in the local cache of the Hugging Face tools.
 *
 * CACHE/models--org--name/refs/main holds a commit, whose files are in snapshots/<commit>/. Nothing
 * is downloaded here.
 */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/hf_vocab.h"

/* Appends the cache's directory. */
static int cache_dir(struct buf *b, struct err *e)
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
    return b->bad ? err_nomem(e, b->n) : 0;
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

int hf_cache_find(struct buf *out, const char *name, struct err *e)
{
    const char *colon = strchr(name, ':');
    struct slice repo = {name, colon ? (size_t)(colon - name) : strlen(name)};
    struct buf base = {0};
    int rc;

    if (!repo_ok(repo) || (colon && !file_ok(colon + 1)))
        return err_set(e, E_USAGE, "hf:%.200s: expected hf:org/name or hf:org/name:file", name);
    if ((rc = cache_dir(&base, e)) < 0)
        goto done;
    buf_str(&base, "/models--");
    for (size_t i = 0; i < repo.n; i++)
        buf_str(&base, repo.p[i] == '/' ? "--" : (char[]){repo.p[i], 0});
    if (base.bad) {
        rc = err_nomem(e, base.n);
        goto done;
    }
    if (!file_is_dir(base.p)) {
        rc = err_set(e, E_NOTFOUND, "hf:%s: not in the local cache (no %s)", name, base.p);
        goto done;
    }
    if ((rc = read_ref(out, base.p, e)) < 0)
        goto done;
    if (colon)
        buf_printf(out, "/%s", colon + 1);
    if (out->bad)
        rc = err_nomem(e, out->n);
    else if (!file_exists(out->p))
        rc = err_set(e, E_NOTFOUND, "hf:%s: not in the local cache (no %s)", name, out->p);
done:
    buf_fini(&base);
    return rc;
}
