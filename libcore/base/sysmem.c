/* sysmem.c - /proc/meminfo and the control groups. */
#include "sysmem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "file.h"

/* The two versions of the memory controller: where it is mounted, and the names of its files. */
struct version {
    const char *mount, *limit, *used, *cache;
};
static const struct version v2 = {"/sys/fs/cgroup", "memory.max", "memory.current",
                                  "inactive_file"};
static const struct version v1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes",
                                  "memory.usage_in_bytes", "total_inactive_file"};

/* A small text file as a string; false where there is none. */
static bool text(struct buf *out, const char *root, const char *dir, const char *path,
                 const char *name)
{
    struct file_view v;
    char full[4400];

    if (snprintf(full, sizeof full, "%s%s%s/%s", root, dir, path, name) >= (int)sizeof full)
        return false;
    if (file_read(&v, full, 1 << 16, NULL) < 0)
        return false;
    buf_clear(out);
    buf_add(out, v.p, v.n);
    file_unmap(&v);
    return out->p && !out->bad;
}

/* The number behind "KEY" and blanks at the beginning of a line; key NULL: the text's first word. */
static bool number(const char *s, const char *key, uint64_t *out)
{
    const size_t n = key ? strlen(key) : 0;
    char *end;

    for (; s; s = strchr(s, '\n') ? strchr(s, '\n') + 1 : NULL)
        if (!key || (strncmp(s, key, n) == 0 && (s[n] == ' ' || s[n] == ':'))) {
            const char *at = s + n + strspn(s + n, ": ");
            *out = strtoull(at, &end, 10);
            return end != at; // "max" is no number
        }
    return false;
}

/* One control group: lowers what out says to the group's own limit. */
static void group(struct sysmem *out, struct buf *b, const char *root, const struct version *v,
                  const char *path)
{
    uint64_t limit, used, cache = 0;

    if (!text(b, root, v->mount, path, v->limit) || !number(b->p, NULL, &limit))
        return;
    if (limit < out->total)
        out->total = limit;
    if (!text(b, root, v->mount, path, v->used) || !number(b->p, NULL, &used))
        return;
    if (text(b, root, v->mount, path, "memory.stat"))
        number(b->p, v->cache, &cache);
    used -= cache < used ? cache : used; // a file's pages give way
    limit -= used < limit ? used : limit;
    if (limit < out->free)
        out->free = limit;
}

/* The group of a line of /proc/self/cgroup ("0::/a/b", "4:memory:/a/b") and all above it. */
static void groups(struct sysmem *out, struct buf *b, const char *root, char *line)
{
    char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL, *cut;
    const struct version *v;

    if (!path)
        return;
    *path++ = '\0';
    v = strcmp(line, "0:") == 0 ? &v2 : strstr(list, "memory") ? &v1 : NULL;
    if (!v)
        return;
    if (strcmp(path, "/") == 0)
        *path = '\0';
    group(out, b, root, v, path);
    while ((cut = strrchr(path, '/')) != NULL) {
        *cut = '\0';
        group(out, b, root, v, path);
    }
}

void sysmem_get(struct sysmem *out, const char *root)
{
    const long page = sysconf(_SC_PAGESIZE);
    struct buf b = {0}, own = {0};
    uint64_t kb;

    *out = (struct sysmem){.total = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)page,
                           .free = (uint64_t)sysconf(_SC_AVPHYS_PAGES) * (uint64_t)page};
    if (text(&b, root, "/proc", "", "meminfo")) {
        if (number(b.p, "MemTotal", &kb) && kb <= UINT64_MAX / 1024)
            out->total = kb * 1024;
        if (number(b.p, "MemAvailable", &kb) && kb <= UINT64_MAX / 1024)
            out->free = kb * 1024;
    }
    if (text(&own, root, "/proc", "", "self/cgroup"))
        for (char *s = own.p, *next; s && *s; s = next) {
            next = strchr(s, '\n');
            if (next)
                *next++ = '\0';
            groups(out, &b, root, s);
        }
    buf_fini(&b);
    buf_fini(&own);
}
