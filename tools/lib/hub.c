/* hub.c - names, listings, choices and the cache's places. */
#include "tools/lib/hub.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "model/hf_cache.h"

/* -- names -- */

#define BYTES_MAX ((json_int_t)1 << 48) /* of a file: 16 million pieces */
#define FILES_MAX 65536                 /* each is compared with each */

static bool plain(const char *s, size_t n, const char *more)
{
    for (size_t i = 0; i < n; i++)
        if (!(s[i] >= 'a' && s[i] <= 'z') && !(s[i] >= 'A' && s[i] <= 'Z') &&
            !(s[i] >= '0' && s[i] <= '9') && !memchr(more, s[i], strlen(more)))
            return false;
    return n > 0;
}

/* A path that stays inside the folder it is put in. */
static bool inside(const char *s)
{
    const size_t n = strlen(s);

    if (n == 0 || n > 300 || s[0] == '/' || s[n - 1] == '/' || !utf8_valid(s, n))
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < 32 || s[i] == 127 || s[i] == '\\' ||
            (s[i] == '\xc2' && (unsigned char)s[i + 1] < 0xa0)) /* nor what commands terminals */
            return false;
    for (const char *p = s; p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL) {
        const size_t len = strcspn(p, "/");
        if (len == 0 || (len == 1 && p[0] == '.') || (len == 2 && p[0] == '.' && p[1] == '.'))
            return false;
    }
    return true;
}

static bool hexadecimal(const char *s, size_t n)
{
    return s && strlen(s) == n && strspn(s, "0123456789abcdef") == n;
}

/* "https://hub/org/name", ".../resolve/main/file" and the like, behind the endpoint. */
static int from_address(struct buf *name, struct buf *rev, struct buf *want, const char *s,
                        struct err *e)
{
    const char *slash = strchr(s, '/'), *end = slash ? slash + 1 + strcspn(slash + 1, "/?#") : NULL;

    if (!end)
        return err_set(e, E_USAGE, "%.200s: expected org/name in the address", s);
    buf_add(name, s, (size_t)(end - s));
    if (*end != '/')
        return 0;
    s = end + 1;
    if (strncmp(s, "resolve/", 8) != 0 && strncmp(s, "blob/", 5) != 0 &&
        strncmp(s, "tree/", 5) != 0 && strncmp(s, "raw/", 4) != 0)
        return *s ? err_set(e, E_USAGE, "%.200s: no address of a file or revision", s) : 0;
    s = strchr(s, '/') + 1;
    end = s + strcspn(s, "/?#");
    buf_add(rev, s, (size_t)(end - s));
    if (*end == '/')
        buf_add(want, end + 1, strcspn(end + 1, "?#"));
    return 0;
}

int hub_name(struct hub_repo *r, const char *arg, const char *endpoint, const char *revision,
             struct err *e)
{
    struct buf name = {0}, rev = {0}, want = {0};
    const size_t n = strlen(endpoint);
    const char *colon, *slash;
    int rc = 0;

    if (strncmp(arg, endpoint, n) == 0 && arg[n] == '/')
        rc = from_address(&name, &rev, &want, arg + n + 1, e);
    else if (strstr(arg, "://"))
        rc = err_set(e, E_USAGE, "%.200s: not an address at %.200s (HF_ENDPOINT)", arg, endpoint);
    else {
        if (strncmp(arg, "hf:", 3) == 0)
            arg += 3;
        colon = strchr(arg, ':');
        buf_add(&name, arg, colon ? (size_t)(colon - arg) : strlen(arg));
        buf_str(&want, colon ? colon + 1 : "");
    }
    buf_str(&rev, rev.n ? "" : revision);
    slash = rc < 0 || !name.n ? NULL : memchr(name.p, '/', name.n);
    if (rc == 0 &&
        (!slash || name.n > 200 || strstr(name.p, "..") || strstr(name.p, "--") ||
         !plain(name.p, (size_t)(slash - name.p), "-._") ||
         !plain(slash + 1, strlen(slash + 1), "-._") || name.p[0] == '.' || slash[1] == '.'))
        rc = err_set(e, E_USAGE, "%.200s: expected org/name or org/name:file", arg);
    if (rc == 0 && (!plain(rev.p, rev.n, "-._/") || !inside(rev.p)))
        rc = err_set(e, E_USAGE, "'%.200s': no name of a revision", rev.p);
    if (rc == 0 && want.n && !inside(want.p))
        rc = err_set(e, E_USAGE, "'%.200s': no path inside a repository", want.p);
    if (rc == 0) {
        r->name = mem_dup(name.p, name.n, e);
        r->revision = mem_dup(rev.p, rev.n, e);
        r->want = want.n ? mem_dup(want.p, want.n, e) : NULL;
        rc = r->name && r->revision && (r->want || !want.n) ? 0 : E_NOMEM;
    }
    buf_fini(&name);
    buf_fini(&rev);
    buf_fini(&want);
    return rc;
}

void hub_fini(struct hub_repo *r)
{
    mem_free(r->name);
    mem_free(r->revision);
    mem_free(r->commit);
    mem_free(r->want);
    mem_free(r->file);
    json_decref(r->json);
    *r = (struct hub_repo){0};
}

/* -- the listing -- */

static int listed(struct hub_repo *r, struct hub_file *f, const json_t *j, struct err *e)
{
    const json_t *lfs = json_object_get(j, "lfs"), *size = json_object_get(j, "size");
    const char *sha = json_string_value(json_object_get(lfs, "sha256"));

    f->path = json_string_value(json_object_get(j, "rfilename"));
    if (!f->path || !inside(f->path))
        return err_set(e, E_FORMAT, "%s: the hub names a file '%.100s'", r->name,
                       f->path ? f->path : "");
    f->hash = sha ? sha : json_string_value(json_object_get(j, "blobId"));
    if (json_is_integer(json_object_get(lfs, "size")))
        size = json_object_get(lfs, "size");
    if (!hexadecimal(f->hash, 64) && !hexadecimal(f->hash, 40))
        return err_set(e, E_FORMAT, "%s: %s: the hub tells no hash", r->name, f->path);
    if (!json_is_integer(size) || json_integer_value(size) < 0 ||
        json_integer_value(size) > BYTES_MAX)
        return err_set(e, E_FORMAT, "%s: %s: the hub tells no size", r->name, f->path);
    f->size = (uint64_t)json_integer_value(size);
    return 0;
}

int hub_listing(struct hub_repo *r, struct slice json, struct err *e)
{
    json_error_t why;
    json_t *j = json_loadb(json.p, json.n, 0, &why);
    const char *commit = json_string_value(json_object_get(j, "sha"));
    const json_t *list = json_object_get(j, "siblings");
    int rc = 0;

    r->json = j;
    if (!j || !hexadecimal(commit, 40) || !json_is_array(list))
        return err_set(e, E_FORMAT, "%s: the hub's answer is no listing of a repository", r->name);
    if (json_array_size(list) > FILES_MAX)
        return err_set(e, E_RANGE, "%s: a repository of %zu files", r->name, json_array_size(list));
    r->commit = mem_dup(commit, 40, e);
    r->file = mem_array(json_array_size(list) + 1, sizeof *r->file, e);
    if (!r->commit || !r->file)
        return E_NOMEM;
    for (size_t i = 0; i < json_array_size(list) && rc == 0; i++)
        rc = listed(r, &r->file[r->n++], json_array_get(list, i), e);
    return rc;
}

/* -- which files -- */

static bool ends(const char *s, const char *end)
{
    const size_t n = strlen(s), m = strlen(end);

    return n >= m && strcasecmp(s + n - m, end) == 0;
}

/* What a directory needs to be opened as a model, and nothing in other frameworks' formats. usual:
 * there are weights under the usual names. */
static bool of_model(const char *path, bool usual)
{
    static const char *const kinds[] = {".json",  ".safetensors", ".model",
                                        ".txt",   ".jinja",       ".tiktoken"};

    if (strchr(path, '/') && strncmp(path, "additional_chat_templates/", 26) != 0)
        return false;
    if (usual && strncmp(path, "consolidated", 12) == 0) // the same weights a second time
        return false;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (ends(path, kinds[i]))
            return true;
    return false;
}

/* Marks GGUF files whose name has the part (NULL: all); says how many models they are. */
static size_t mark_gguf(struct hub_repo *r, const char *part, bool word)
{
    size_t models = 0;

    for (size_t i = 0; i < r->n; i++) {
        const char *path = r->file[i].path;
        bool first = true;

        r->file[i].wanted = hf_is_gguf(path) && strncmp(path, "mmproj", 6) != 0 &&
                            (!part || hf_gguf_has(path, part, word));
        for (size_t k = 0; k < i; k++)
            first &= !(r->file[k].wanted && hf_gguf_same(path, r->file[k].path));
        models += r->file[i].wanted && first;
    }
    return models;
}

/* Which GGUF models there are, in a sentence. */
static int which(const struct hub_repo *r, size_t models, struct err *e)
{
    struct buf b = {0};
    int rc;

    for (size_t i = 0; i < r->n && b.n < 300; i++)
        if (hf_is_gguf(r->file[i].path) && (r->file[i].wanted || !models))
            buf_printf(&b, "%s%s", b.n ? ", " : "", r->file[i].path);
    rc = models ? err_set(e, E_USAGE, "%s has %zu models, name one behind a colon: %s", r->name,
                          models, b.n ? b.p : "")
                : err_set(e, E_NOTFOUND, "%s has no file '%s'%s%s", r->name, r->want,
                          b.n ? "; there are: " : "", b.n ? b.p : "");
    buf_fini(&b);
    return rc;
}

static size_t mark(struct hub_repo *r, const char *pattern)
{
    size_t n = 0;

    for (size_t i = 0; i < r->n; i++) {
        const char *path = r->file[i].path;
        if (strcmp(path, pattern) == 0 || fnmatch(pattern, path, 0) == 0 ||
            hf_gguf_same(path, pattern))
            r->file[i].wanted = true, n++;
    }
    return n;
}

bool hub_is_gguf(const char *path)
{
    return hf_is_gguf(path);
}

int hub_choose(struct hub_repo *r, const char *const *include, size_t n, struct err *e)
{
    bool usual = false;
    size_t found = 0;

    for (size_t i = 0; i < n; i++)
        if (mark(r, include[i]) == 0)
            return err_set(e, E_NOTFOUND, "%s has no file like '%s'", r->name, include[i]);
    if (n)
        return 0;
    if (r->want) {
        if (mark(r, r->want))
            return 0;
        found = mark_gguf(r, r->want, true);
        if (found != 1)
            found = found ? found : mark_gguf(r, r->want, false);
        return found == 1 ? 0 : which(r, found, e);
    }
    for (size_t i = 0; i < r->n; i++)
        usual |= strncmp(r->file[i].path, "model", 5) == 0 && ends(r->file[i].path, ".safetensors");
    for (size_t i = 0; i < r->n; i++) {
        r->file[i].wanted = of_model(r->file[i].path, usual);
        found += ends(r->file[i].path, ".safetensors") && r->file[i].wanted;
    }
    if (found)
        return 0;
    found = mark_gguf(r, NULL, false);
    if (found > 1)
        return which(r, found, e);
    return found ? 0
                 : err_set(e, E_NOTFOUND, "%s has neither safetensors nor GGUF files (--list shows "
                           "what there is)", r->name);
}

/* -- the cache -- */

static int nomem_of(const struct buf *b, struct err *e)
{
    return b->bad ? err_nomem(e, b->n) : 0;
}

int hub_dir(const struct hub_repo *r, struct buf *out, struct err *e)
{
    return hf_cache_dir(out, slice_of(r->name), e);
}

const char *hub_token(struct buf *hold)
{
    const char *token = getenv("HF_TOKEN"), *path = getenv("HF_TOKEN_PATH"),
               *home = getenv("HF_HOME"), *user = getenv("HOME");
    struct file_view v = {0};
    struct buf at = {0};
    const char *s = "";

    if (token && *token)
        s = token;
    else {
        buf_printf(&at, "%s%s", path && *path ? path : home && *home ? home : user ? user : "",
                   path && *path ? "" : home && *home ? "/token" : "/.cache/huggingface/token");
        if (!at.bad && file_read(&v, at.p, 4096, NULL) == 0)
            buf_add(hold, v.p, v.n);
        file_unmap(&v);
        buf_fini(&at);
    }
    buf_str(hold, s);
    if (!hold->p || hold->bad)
        return NULL;
    hold->p[strcspn(hold->p, " \t\r\n")] = '\0';
    return *hold->p ? hold->p : NULL;
}

int hub_mkdirs(const char *path, struct err *e)
{
    struct buf b = {0};
    int rc;

    buf_str(&b, path);
    if ((rc = nomem_of(&b, e)) < 0)
        goto fail;
    for (char *p = b.p + 1; rc == 0; p++)
        if (*p == '/' || !*p) {
            const char was = *p;
            *p = '\0';
            if (mkdir(b.p, 0777) < 0 && errno != EEXIST)
                rc = err_set(e, E_IO, "%s: %s", b.p, strerror(errno));
            *p = was;
            if (!was)
                break;
        }
fail:
    buf_fini(&b);
    return rc;
}

int hub_link(const struct hub_repo *r, const struct hub_file *f, struct buf *out, struct err *e)
{
    struct buf to = {0}, old = {0};
    char *name;
    ssize_t n;
    int rc = hub_dir(r, out, e);

    buf_printf(out, "/snapshots/%s/%s", r->commit, f->path);
    for (const char *p = f->path; (p = strchr(p, '/')) != NULL; p++)
        buf_str(&to, "../");
    buf_printf(&to, "../../blobs/%s", f->hash);
    buf_reserve(&old, to.n + 1);
    if (rc < 0 || (rc = nomem_of(out, e)) < 0 || (rc = nomem_of(&to, e)) < 0 ||
        (rc = nomem_of(&old, e)) < 0)
        goto fail;
    name = strrchr(out->p, '/');
    *name = '\0';
    rc = hub_mkdirs(out->p, e);
    *name = '/';
    if (rc < 0)
        goto fail;
    n = readlink(out->p, old.p, to.n + 1);
    if (n != (ssize_t)to.n || memcmp(old.p, to.p, to.n) != 0) {
        unlink(out->p);
        if (symlink(to.p, out->p) < 0)
            rc = err_set(e, E_IO, "%s: %s", out->p, strerror(errno));
    }
fail:
    buf_fini(&to);
    buf_fini(&old);
    return rc;
}

int hub_ref(const struct hub_repo *r, struct err *e)
{
    struct buf b = {0};
    struct file_out *f = NULL;
    int rc = hub_dir(r, &b, e);
    char *name;

    buf_printf(&b, "/refs/%s", r->revision);
    if (rc < 0 || (rc = nomem_of(&b, e)) < 0)
        goto fail;
    name = strrchr(b.p, '/');
    *name = '\0';
    rc = hub_mkdirs(b.p, e);
    *name = '/';
    if (rc < 0 || (rc = file_create(&f, b.p, e)) < 0)
        goto fail;
    rc = file_write(f, r->commit, strlen(r->commit), e);
    if (rc < 0)
        file_abort(f);
    else
        rc = file_commit(f, e);
fail:
    buf_fini(&b);
    return rc;
}

/* -- hashes -- */

int hub_check(const struct hub_file *f, const char *path, struct err *e)
{
    const bool git = strlen(f->hash) == 40;
    unsigned char sum[EVP_MAX_MD_SIZE], bytes[1 << 16];
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    unsigned n_sum = 0;
    char head[40], hex[2 * EVP_MAX_MD_SIZE + 1] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC), rc = 0;
    ssize_t n = -1;

    if (fd < 0 || !c || !EVP_DigestInit_ex(c, git ? EVP_sha1() : EVP_sha256(), NULL)) {
        rc = err_set(e, E_IO, "%s: %s", path, fd < 0 ? strerror(errno) : "no hash function");
        goto fail;
    }
    snprintf(head, sizeof head, "blob %llu", (unsigned long long)f->size);
    if (git)
        EVP_DigestUpdate(c, head, strlen(head) + 1);
    while ((n = read(fd, bytes, sizeof bytes)) > 0)
        EVP_DigestUpdate(c, bytes, (size_t)n);
    if (n < 0) {
        rc = err_set(e, E_IO, "%s: %s", path, strerror(errno));
        goto fail;
    }
    EVP_DigestFinal_ex(c, sum, &n_sum);
    for (unsigned i = 0; i < n_sum; i++)
        snprintf(hex + 2 * i, 3, "%02x", sum[i]);
    if (strcmp(hex, f->hash) != 0)
        rc = err_set(e, E_FORMAT, "%s: what came is not the hub's file (%s %.16s..., not %.16s...)",
                     f->path, git ? "git hash" : "SHA-256", hex, f->hash);
fail:
    EVP_MD_CTX_free(c);
    if (fd >= 0)
        close(fd);
    return rc;
}
