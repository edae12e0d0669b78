/* file.c - see file.h. */
#define _GNU_SOURCE
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buf.h"
#include "mem.h"

static atomic_long fail_left = -1;
static atomic_bool fail_done;

/* True when this call is the one a test wants to fail; errno is set then. */
static bool refused(void)
{
    if (atomic_load_explicit(&fail_left, memory_order_relaxed) < 0)
        return false;
    if (atomic_fetch_sub(&fail_left, 1) != 0)
        return false;
    atomic_store(&fail_done, true);
    errno = EIO;
    return true;
}

void file_fail_after(long n)
{
    atomic_store(&fail_done, false);
    atomic_store(&fail_left, n);
}

bool file_fail_hit(void)
{
    return atomic_load(&fail_done);
}

/* -- reading -- */

static int fail_io(struct err *e, const char *path, const char *what)
{
    int code = errno == ENOENT || errno == ENOTDIR || errno == EISDIR ? E_NOTFOUND : E_IO;

    return err_set(e, code, "%s: %s: %s", path, what, strerror(errno));
}

static int read_all(int fd, struct file_view *out, const char *path, uint64_t limit, struct err *e)
{
    struct buf b = {0};
    ssize_t got = 1;

    while (got > 0) {
        if (!buf_reserve(&b, 1 << 16)) {
            buf_fini(&b);
            return err_nomem(e, b.n);
        }
        do
            got = refused() ? -1 : read(fd, b.p + b.n, b.cap - b.n - 1);
        while (got < 0 && errno == EINTR);
        if (got > 0)
            b.n += (size_t)got;
        if (limit && b.n > limit) {
            buf_fini(&b);
            return err_set(e, E_RANGE, "%s: more than %llu bytes", path, (unsigned long long)limit);
        }
    }
    if (got < 0) {
        buf_fini(&b);
        return fail_io(e, path, "cannot read");
    }
    *out = (struct file_view){(const uint8_t *)b.p, b.n, false};
    return 0;
}

static int open_read(const char *path, struct stat *st, struct err *e)
{
    int fd;

    if (strcmp(path, "-") == 0) {
        fd = dup(STDIN_FILENO);
    } else {
        fd = refused() ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    }
    if (fd < 0)
        return fail_io(e, path, "cannot open");
    if (fstat(fd, st) < 0 || S_ISDIR(st->st_mode)) {
        if (S_ISDIR(st->st_mode))
            errno = EISDIR;
        close(fd);
        return fail_io(e, path, "cannot open");
    }
    return fd;
}

int file_map(struct file_view *out, const char *path, struct err *e)
{
    struct stat st = {0};
    int fd = open_read(path, &st, e);
    void *p = MAP_FAILED;
    int rc = 0;

    *out = (struct file_view){0};
    if (fd < 0)
        return fd;
    if (S_ISREG(st.st_mode) && st.st_size > 0 && !refused())
        p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p != MAP_FAILED)
        *out = (struct file_view){p, (size_t)st.st_size, true};
    else
        rc = read_all(fd, out, path, 0, e);
    close(fd);
    return rc;
}

int file_read(struct file_view *out, const char *path, uint64_t limit, struct err *e)
{
    struct stat st = {0};
    int fd = open_read(path, &st, e);
    int rc;

    *out = (struct file_view){0};
    if (fd < 0)
        return fd;
    rc = read_all(fd, out, path, limit, e);
    close(fd);
    return rc;
}

void file_unmap(struct file_view *v)
{
    if (v->mapped)
        munmap((void *)(uintptr_t)v->p, v->n);
    else
        mem_free((void *)(uintptr_t)v->p);
    *v = (struct file_view){0};
}

static void advise(const struct file_view *v, size_t at, size_t n, int advice)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t from = at & ~(page - 1);

    if (v->mapped && at < v->n && n <= v->n - at)
        madvise((void *)(uintptr_t)(v->p + from), n + (at - from), advice);
}

void file_willneed(const struct file_view *v, size_t at, size_t n)
{
    advise(v, at, n, MADV_WILLNEED);
}

void file_dontneed(const struct file_view *v, size_t at, size_t n)
{
    advise(v, at, n, MADV_DONTNEED);
}

/* -- writing -- */

struct file_out {
    int fd;
    bool direct;    // standard output: nothing to rename
    uint64_t at;    // bytes accepted
    char *path;
    char *tmp;
    size_t n_held;  // bytes in held
    char held[1 << 16];
};

int file_create(struct file_out **out, const char *path, struct err *e)
{
    struct file_out *f = mem_new(sizeof *f, e);
    struct buf tmp = {0};

    if (!f)
        return E_NOMEM;
    f->fd = -1;
    f->direct = strcmp(path, "-") == 0;
    f->path = mem_dup(path, strlen(path), e);
    buf_printf(&tmp, "%s.tmp-%ld", path, (long)getpid());
    f->tmp = tmp.p;
    if (!f->path || tmp.bad) {
        file_abort(f);
        return err_nomem(e, strlen(path));
    }
    if (f->direct)
        f->fd = dup(STDOUT_FILENO);
    else if (!refused())
        f->fd = open(f->tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (f->fd < 0) {
        int rc = err_set(e, E_IO, "%s: cannot create: %s", path, strerror(errno));

        file_abort(f);
        return rc;
    }
    *out = f;
    return 0;
}

static int write_all(struct file_out *f, const char *p, size_t n, struct err *e)
{
    while (n > 0) {
        ssize_t put = refused() ? -1 : write(f->fd, p, n);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return err_set(e, E_IO, "%s: cannot write at byte %llu: %s", f->path,
                           (unsigned long long)f->at, strerror(errno));
        p += put;
        n -= (size_t)put;
    }
    return 0;
}

static int flush_held(struct file_out *f, struct err *e)
{
    int rc = write_all(f, f->held, f->n_held, e);

    f->n_held = 0;
    return rc;
}

int file_write(struct file_out *f, const void *p, size_t n, struct err *e)
{
    int rc = 0;

    if (n > sizeof f->held - f->n_held)
        rc = flush_held(f, e);
    if (rc == 0 && n >= sizeof f->held) {
        rc = write_all(f, p, n, e);
    } else if (rc == 0 && n) {
        memcpy(f->held + f->n_held, p, n);
        f->n_held += n;
    }
    if (rc == 0)
        f->at += n;
    return rc;
}

int file_pad(struct file_out *f, size_t align, struct err *e)
{
    static const char zero[256];
    uint64_t want;

    if (!pad_ok(f->at, align, &want))
        return err_set(e, E_RANGE, "%s: too large", f->path);
    while (f->at < want) {
        size_t n = want - f->at < sizeof zero ? (size_t)(want - f->at) : sizeof zero;
        int rc = file_write(f, zero, n, e);

        if (rc < 0)
            return rc;
    }
    return 0;
}

uint64_t file_at(const struct file_out *f)
{
    return f->at;
}

/* The rename is on the disk only once the directory is. */
static void sync_dir(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = mem_dup(path, slash ? (size_t)(slash - path) + 1 : 0, NULL);
    int fd = dir ? open(*dir ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    mem_free(dir);
}

int file_commit(struct file_out *f, struct err *e)
{
    int rc = flush_held(f, e);

    if (rc == 0 && !f->direct) {
        if (refused() || fsync(f->fd) < 0 || refused() || rename(f->tmp, f->path) < 0)
            rc = err_set(e, E_IO, "%s: cannot finish: %s", f->path, strerror(errno));
        else
            sync_dir(f->path);
    }
    if (rc < 0) {
        file_abort(f);
        return rc;
    }
    close(f->fd);
    mem_free(f->path);
    mem_free(f->tmp);
    mem_free(f);
    return 0;
}

void file_abort(struct file_out *f)
{
    if (!f)
        return;
    if (f->fd >= 0) {
        close(f->fd);
        if (!f->direct)
            unlink(f->tmp);
    }
    mem_free(f->path);
    mem_free(f->tmp);
    mem_free(f);
}
