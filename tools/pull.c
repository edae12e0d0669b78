/* pull.c - rill-pull: downloads a model into the cache that the Hugging Face tools share. */
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/mem.h"
#include "tools/lib/fetch.h"
#include "tools/lib/hub.h"
#include "tools/lib/tool.h"

#define LISTING_MAX ((size_t)64 << 20)

/* -- options -- */

static const char *revision;
static struct opt_list include;
static int jobs, retries, stall;
static bool list, dry_run, json;

static const struct tool_option opts[] = {
    {'r', "revision", OPT_STR, &revision, "NAME", "a branch, tag or commit", .def = "main"},
    {'i', "include", OPT_LIST, &include, "PATTERN",
     "files to fetch instead of those a model needs; may be repeated"},
    {0, "list", OPT_FLAG, &list, 0, "show the repository's files; fetch nothing"},
    {0, "dry-run", OPT_FLAG, &dry_run, 0, "show what would be fetched; fetch nothing"},
    {'J', "jobs", OPT_INT, &jobs, "N", "connections at once", .min = 1, .max = 64, .def = "4"},
    {0, "retries", OPT_INT, &retries, "N", "attempts without a new byte before giving up",
     .min = 0, .max = 1000, .def = "6"},
    {0, "stall", OPT_INT, &stall, "SECONDS", "silence that ends an attempt", .min = 1, .max = 3600,
     .def = "30"},
    {'j', "json", OPT_FLAG, &json, 0, "print one JSON object per file"},
    {0}};

static struct tool tool = {"rill-pull", "[options] org/name[:file]...",
                           "downloads models into the local cache", opts};

static struct progress bar;

static void on_progress(void *ctx, uint64_t bytes)
{
    (void)ctx;
    progress_at(&bar, bytes);
}

static void on_note(void *ctx, const char *what)
{
    (void)ctx;
    tool_detail(1, "%s", what);
}

/* -- one repository -- */

/* Whether an address is of this machine: all of the host's name counts, not how it begins. */
static bool local(const char *address)
{
    const char *host = strstr(address, "://");
    unsigned a[4];
    int n = 0;

    if (!host)
        return false;
    host += 3;
    if (strncmp(host, "localhost", 9) == 0)
        n = 9;
    else if (strncmp(host, "[::1]", 5) == 0)
        n = 5;
    else if (sscanf(host, "%3u.%3u.%3u.%3u%n", &a[0], &a[1], &a[2], &a[3], &n) != 4 || a[0] != 127)
        return false;
    return host[n] == ':' || host[n] == '/' || host[n] == '\0';
}

/* Appends s so that it can stand in an address. */
static void escape(struct buf *b, const char *s)
{
    for (; *s; s++)
        if ((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') ||
            strchr("-._~/", *s))
            buf_byte(b, *s);
        else
            buf_printf(b, "%%%02X", (unsigned char)*s);
}

static int get_listing(const struct fetch *o, struct hub_repo *r, struct err *e)
{
    struct buf url = {0}, text = {0};
    int rc;

    buf_printf(&url, "%s/api/models/%s/revision/", o->endpoint, r->name);
    for (const char *p = r->revision; *p; p++) /* one component, whatever is in it */
        buf_str(&url, *p == '/' ? "%2F" : (char[]){*p, 0});
    buf_str(&url, "?blobs=true");
    rc = url.bad ? err_nomem(e, url.n) : fetch_text(o, url.p, &text, LISTING_MAX, e);
    if (rc == 0)
        rc = hub_listing(r, buf_view(&text), e);
    buf_fini(&url);
    buf_fini(&text);
    return rc;
}

static void show(const struct hub_repo *r, bool all)
{
    struct buf b = {0};
    uint64_t total = 0;
    char size[16];

    for (size_t i = 0; i < r->n; i++) {
        const struct hub_file *f = &r->file[i];

        if (!all && !f->wanted)
            continue;
        total += f->size;
        buf_clear(&b);
        if (json) {
            buf_str(&b, "{\"file\":");
            buf_json(&b, slice_of(f->path));
            buf_printf(&b, ",\"bytes\":%llu,\"hash\":\"%s\"}\n", (unsigned long long)f->size,
                       f->hash);
        } else
            buf_printf(&b, "%10s  %s\n", tool_bytes(f->size, size), f->path);
        fputs(b.p ? b.p : "", stdout);
    }
    if (!json)
        tool_note("%s in all, at %.12s", tool_bytes(total, size), r->commit);
    buf_fini(&b);
}

/* Files beside each other under one name wait for one another. */
static int lock(const struct hub_repo *r, int *fd, struct err *e)
{
    struct buf b = {0};
    int rc = hub_dir(r, &b, e);

    buf_str(&b, "/blobs");
    if (rc == 0 && b.bad)
        rc = err_nomem(e, b.n);
    if (rc == 0)
        rc = hub_mkdirs(b.p, e);
    buf_str(&b, "/.rill-lock");
    if (rc == 0 && !b.bad) {
        *fd = open(b.p, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (*fd < 0)
            rc = err_set(e, E_IO, "%s: %s", b.p, strerror(errno));
        else if (flock(*fd, LOCK_EX | LOCK_NB) < 0) {
            tool_note("%s: another rill-pull is at it; waiting", r->name);
            while (flock(*fd, LOCK_EX) < 0 && rc == 0)
                if (errno != EINTR || tool_interrupted())
                    rc = err_set(e, errno == EINTR ? E_CANCELLED : E_IO, "%s: %s", b.p,
                                 strerror(errno));
        }
    }
    buf_fini(&b);
    return rc;
}

static int check(const void *ctx, const char *path, struct err *e)
{
    return hub_check(ctx, path, e);
}

/* Where a file's bytes are kept. */
static char *blob_path(const struct hub_repo *r, const struct hub_file *f, struct err *e)
{
    struct buf b = {0};
    char *path = NULL;

    if (hub_dir(r, &b, e) == 0) {
        buf_printf(&b, "/blobs/%s", f->hash);
        path = b.bad ? (err_nomem(e, b.n), NULL) : mem_dup(b.p, b.n, e);
    }
    buf_fini(&b);
    return path;
}

static int room(const char *path, uint64_t need, struct err *e)
{
    struct statvfs v;
    struct buf dir = {0};
    char a[16], b[16];
    int rc = 0;

    buf_add(&dir, path, (size_t)(strrchr(path, '/') - path));
    if (dir.p && statvfs(dir.p, &v) == 0 && (uint64_t)v.f_bavail * v.f_frsize < need)
        rc = err_set(e, E_IO, "%s: %s to fetch, %s free", dir.p, tool_bytes(need, a),
                     tool_bytes((uint64_t)v.f_bavail * v.f_frsize, b));
    buf_fini(&dir);
    return rc;
}

/* Bytes of a half-fetched file that are on the disk already. */
static uint64_t there(const char *blob)
{
    struct buf b = {0};
    struct stat st;
    uint64_t n = 0;

    buf_printf(&b, "%s.rill-part", blob);
    if (b.p && stat(b.p, &st) == 0)
        n = (uint64_t)st.st_blocks * 512;
    buf_fini(&b);
    return n;
}

static int fetch_wanted(const struct fetch *o, const struct hub_repo *r, struct err *e)
{
    struct fetch_file *f = mem_array(r->n + 1, sizeof *f, e);
    uint64_t total = 0, need = 0;
    struct stat st;
    size_t n = 0;
    int rc = f ? 0 : E_NOMEM;

    for (size_t i = 0; i < r->n && rc == 0; i++) {
        const struct hub_file *h = &r->file[i];
        char *blob = h->wanted ? blob_path(r, h, e) : NULL;
        struct buf url = {0};
        bool twice = false;

        if (!h->wanted)
            continue;
        for (size_t k = 0; k < n && blob; k++)
            twice |= strcmp(f[k].path, blob) == 0; // two names, the same bytes
        if (!blob || twice || (stat(blob, &st) == 0 && (uint64_t)st.st_size == h->size)) {
            rc = blob ? 0 : E_NOMEM;
            mem_free(blob);
            continue;
        }
        f[n] = (struct fetch_file){NULL, blob, h->path, h->size, check, h};
        buf_printf(&url, "%s/%s/resolve/%s/", o->endpoint, r->name, r->commit);
        escape(&url, h->path);
        rc = url.bad ? err_nomem(e, url.n) : 0;
        f[n++].url = url.p;
        const uint64_t have = there(blob);
        total += h->size;
        need += h->size > have ? h->size - have : 0;
    }
    if (rc == 0 && n)
        rc = room(f[0].path, need, e);
    if (rc == 0 && n) {
        progress_begin(&bar, r->name, total, true);
        rc = fetch_files(o, f, n, e);
        progress_end(&bar);
    }
    for (size_t i = 0; i < n; i++) {
        mem_free((char *)(uintptr_t)f[i].url);
        mem_free((char *)(uintptr_t)f[i].path);
    }
    mem_free(f);
    return rc;
}

static void print_path(const struct hub_file *f, const char *path)
{
    struct buf b = {0};

    if (json) {
        buf_str(&b, "{\"file\":");
        buf_json(&b, slice_of(f->path));
        buf_printf(&b, ",\"bytes\":%llu,\"hash\":\"%s\",\"path\":", (unsigned long long)f->size,
                   f->hash);
        buf_json(&b, slice_of(path));
        buf_str(&b, "}\n");
        fputs(b.p ? b.p : "", stdout);
    } else
        printf("%s\n", path);
    buf_fini(&b);
}

/* Links all that is wanted. Prints the file that was asked for, of splits the first; of several
 * files the folder. */
static int link_wanted(const struct hub_repo *r, struct err *e)
{
    size_t n = 0, gguf = 0;
    struct buf path = {0}, one = {0};
    const struct hub_file *first = NULL;
    int rc = 0;

    for (size_t i = 0; i < r->n && rc == 0; i++) {
        const struct hub_file *f = &r->file[i];

        if (!f->wanted)
            continue;
        buf_clear(&path);
        rc = hub_link(r, f, &path, e);
        n++;
        gguf += hub_is_gguf(f->path);
        if (rc == 0 && (!first || strcmp(f->path, first->path) < 0)) {
            first = f;
            buf_clear(&one);
            buf_str(&one, path.p);
        }
        if (rc == 0 && json)
            print_path(f, path.p);
    }
    if (rc == 0)
        rc = hub_ref(r, e);
    if (rc == 0 && !json && first) {
        if (n > 1 && n != gguf) /* the folder: without the first file's path in it */
            one.p[one.n - strlen(first->path) - 1] = '\0';
        print_path(first, one.p);
    }
    buf_fini(&path);
    buf_fini(&one);
    return rc;
}

static int pull(const struct fetch *o, const char *arg, struct err *e)
{
    struct hub_repo r = {0};
    const char **pattern = mem_array(include.n + 1, sizeof *pattern, e);
    int rc = pattern ? hub_name(&r, arg, o->endpoint, revision, e) : E_NOMEM, fd = -1;

    for (size_t i = 0; i < include.n && pattern; i++)
        pattern[i] = include.at[i].value;
    if (rc == 0)
        rc = get_listing(o, &r, e);
    if (rc == 0 && list)
        show(&r, true);
    if (rc < 0 || list)
        goto done;
    rc = hub_choose(&r, pattern, include.n, e);
    if (rc == 0 && dry_run)
        show(&r, false);
    if (rc < 0 || dry_run || (rc = lock(&r, &fd, e)) < 0)
        goto done;
    rc = fetch_wanted(o, &r, e);
    if (rc == 0)
        rc = link_wanted(&r, e);
done:
    if (fd >= 0)
        close(fd);
    mem_free(pattern);
    hub_fini(&r);
    return rc;
}

static int run(int n, char **args, struct err *e)
{
    const char *endpoint = getenv("HF_ENDPOINT");
    struct buf token = {0}, base = {0};
    struct fetch o = {.jobs = jobs, .retries = retries, .stall = stall, .progress = on_progress,
                      .note = on_note, .stop = tool_interrupted};
    int rc = 0;

    buf_str(&base, endpoint && *endpoint ? endpoint : "https://huggingface.co");
    while (base.n && base.p[base.n - 1] == '/')
        base.p[--base.n] = '\0';
    if (base.bad)
        return err_nomem(e, base.n);
    o.endpoint = base.p;
    o.token = hub_token(&token);
    if (strncmp(o.endpoint, "https://", 8) != 0 && strncmp(o.endpoint, "http://", 7) != 0)
        rc = err_set(e, E_USAGE, "HF_ENDPOINT: '%s' is no http or https address", o.endpoint);
    if (o.token && strncmp(o.endpoint, "https://", 8) != 0 && !local(o.endpoint)) {
        tool_warn("%s is not encrypted: the token is not sent", o.endpoint);
        o.token = NULL;
    }
    for (int i = 0; i < n && rc == 0; i++)
        rc = pull(&o, args[i], e);
    buf_fini(&token);
    buf_fini(&base);
    return rc;
}

int main(int argc, char **argv)
{
    struct err e = {0};
    int first = tool_begin(&tool, argc, argv), rc;

    if (first >= argc)
        tool_usage("which model? for example: rill-pull org/name");
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        return tool_end(tool_fail(&(struct err){E_NOMEM, "libcurl does not start"}));
    rc = run(argc - first, argv + first, &e);
    opt_list_fini(&include);
    curl_global_cleanup();
    return tool_end(rc < 0 ? tool_fail(&e) : 0);
}
