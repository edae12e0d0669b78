/* file.c - see file.h. */
#define _GNU_SOURCE
#include "file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
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

enum {
    READ_ALIGN = 64, // of what is read instead of mapped: a cache line, a vector
    HUGE_LEAST = 4 << 20,
};

static void advise_pages(const void *p, size_t n, int advice)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)p & ~(page - 1);

    if (n)
        madvise((void *)from, n + ((uintptr_t)p - from), advice);
}

/* Asks for pages of 2 MB, a wish. Of a mapped file those parts get them that this mapping is the
 * first to read: the cache of files then holds them so for all who map it later. */
static void want_huge(const void *p, uint64_t n)
{
#ifdef MADV_HUGEPAGE
    if (n >= HUGE_LEAST)
        advise_pages(p, (size_t)n, MADV_HUGEPAGE);
#else
    (void)p;
    (void)n;
#endif
}

/* Bytes being read. p lies in base's allocation, behind up to READ_ALIGN - 1 unused bytes. */
struct held {
    char *base;
    char *p;
    uint64_t n, cap;
};

static bool held_grow(struct held *h, uint64_t cap)
{
    size_t skip = h->base ? (size_t)(h->p - h->base) : 0;
    uint64_t bytes;
    char *base;
    char *p;

    if (!add_ok(cap, READ_ALIGN, &bytes))
        return false;
    base = mem_resize(h->base, bytes, bytes, 1, NULL); /* no clearing: read() fills it */
    if (!base)
        return false;
    want_huge(base, bytes);
    p = base + (READ_ALIGN - (uintptr_t)base % READ_ALIGN) % READ_ALIGN;
    if (p != base + skip)
        memmove(p, base + skip, (size_t)h->n);
    *h = (struct held){base, p, h->n, cap};
    return true;
}

/* expect: how many bytes there probably are. One more is asked for, to see the end. */
static int read_all(int fd, struct file_view *out, const char *path, uint64_t expect,
                    uint64_t limit, struct err *e)
{
    struct held h = {0};
    ssize_t got = 1;
    int rc = 0;

    while (got > 0 && rc == 0) {
        if (h.n == h.cap && !held_grow(&h, h.cap ? h.cap + h.cap / 2 : expect + 1)) {
            rc = err_nomem(e, h.cap ? h.cap + h.cap / 2 : expect + 1);
            break;
        }
        do
            got = refused() ? -1 : read(fd, h.p + h.n, (size_t)(h.cap - h.n));
        while (got < 0 && errno == EINTR);
        if (got < 0)
            rc = fail_io(e, path, "cannot read");
        else
            h.n += (uint64_t)got;
        if (limit && h.n > limit)
            rc = err_set(e, E_RANGE, "%s: more than %llu bytes", path, (unsigned long long)limit);
    }
    if (rc < 0)
        mem_free(h.base);
    else
        *out = (struct file_view){(const uint8_t *)h.p, (size_t)h.n, false, h.base};
    return rc;
}

/* How many bytes a file has from where it is read on; a guess for what has no size. */
static uint64_t bytes_ahead(int fd, const struct stat *st)
{
    off_t at = S_ISREG(st->st_mode) ? lseek(fd, 0, SEEK_CUR) : -1;

    return at >= 0 && st->st_size > at ? (uint64_t)(st->st_size - at) : 1 << 16;
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
    /* standard input may have been read from already: then a mapping would begin too early */
    if (S_ISREG(st.st_mode) && st.st_size > 0 && lseek(fd, 0, SEEK_CUR) == 0 && !refused())
        p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p != MAP_FAILED) {
        want_huge(p, (uint64_t)st.st_size);
        *out = (struct file_view){p, (size_t)st.st_size, true, NULL};
    } else
        rc = read_all(fd, out, path, bytes_ahead(fd, &st), 0, e);
    close(fd);
    return rc;
}

int file_read(struct file_view *out, const char *path, uint64_t limit, struct err *e)
{
    struct stat st = {0};
    int fd = open_read(path, &st, e);
    uint64_t expect;
    int rc;

    *out = (struct file_view){0};
    if (fd < 0)
        return fd;
    expect = bytes_ahead(fd, &st);
    if (limit && expect > limit)
        expect = limit;
    rc = read_all(fd, out, path, expect, limit, e);
    close(fd);
    return rc;
}

struct file_in {
    int fd;
    bool regular;
    char *path;
};

int file_in_open(struct file_in **out, const char *path, struct err *e)
{
    struct file_in *f = mem_new(sizeof *f, e);
    struct stat st = {0};
    int rc = E_NOMEM;

    *out = NULL;
    if (!f)
        return rc;
    f->fd = -1;
    if (!(f->path = mem_dup(path, strlen(path), e)))
        goto fail;
    if ((rc = f->fd = open_read(path, &st, e)) < 0)
        goto fail;
    f->regular = S_ISREG(st.st_mode) && lseek(f->fd, 0, SEEK_CUR) == 0;
    *out = f;
    return 0;
fail:
    file_in_close(f);
    return rc;
}

int file_in_read(struct file_in *f, void *p, size_t n, size_t *got, struct err *e)
{
    *got = 0;
    while (*got < n) {
        ssize_t r = refused() ? -1 : read(f->fd, (char *)p + *got, n - *got);

        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return fail_io(e, f->path, "cannot read");
        if (r == 0)
            break;
        *got += (size_t)r;
    }
    return 0;
}

bool file_in_regular(const struct file_in *f)
{
    return f->regular;
}

void file_in_close(struct file_in *f)
{
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    mem_free(f->path);
    mem_free(f);
}

bool file_is_dir(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int file_make_dir(const char *path, struct err *e)
{
    if (!refused() && mkdir(path, 0777) == 0)
        return 1;
    if (errno == EEXIST && file_is_dir(path))
        return 0;
    return err_set(e, E_IO, "%s: cannot create: %s", path, strerror(errno));
}

void file_remove(const char *path)
{
    remove(path);
}

bool file_exists(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0;
}

uint64_t file_size(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
}

int file_list(const char *dir, void (*each)(void *ctx, const char *name), void *ctx, struct err *e)
{
    DIR *d = refused() ? NULL : opendir(dir);
    const struct dirent *at;

    if (!d)
        return err_set(e, errno == ENOENT ? E_NOTFOUND : E_IO, "%s: %s", dir, strerror(errno));
    while ((at = readdir(d)) != NULL)
        if (strcmp(at->d_name, ".") != 0 && strcmp(at->d_name, "..") != 0)
            each(ctx, at->d_name);
    closedir(d);
    return 0;
}

void file_unmap(struct file_view *v)
{
    if (v->mapped)
        munmap((void *)(uintptr_t)v->p, v->n);
    else
        mem_free(v->base);
    *v = (struct file_view){0};
}

static void advise(const struct file_view *v, size_t at, size_t n, int advice)
{
    if (v->mapped && at < v->n && n <= v->n - at)
        advise_pages(v->p + at, n, advice);
}

void file_willneed(const struct file_view *v, size_t at, size_t n)
{
    advise(v, at, n, MADV_WILLNEED);
}

void file_dontneed(const struct file_view *v, size_t at, size_t n)
{
    advise(v, at, n, MADV_DONTNEED);
}

void file_ahead(const void *p, size_t n)
{
    advise_pages(p, n, MADV_WILLNEED);
}

void file_fetch(const void *p, size_t n)
{
#ifdef MADV_POPULATE_READ
    advise_pages(p, n, MADV_POPULATE_READ);
#else
    (void)p;
    (void)n;
#endif
}

/* -- writing -- */

enum {
    SEND_BYTES = 8 << 20,
    WRITE_BYTES = 256 << 10, // at once: what is copied stays in the processor's cache
};

struct file_out {
    int fd;
    bool direct;        // written in place: nothing to rename
    int failed;         // code of the first write that failed; later ones and the commit fail too
    uint64_t at;        // bytes accepted
    uint64_t put, sent; // bytes written; of those, on their way to the disk
    char *path;         // where it will be; symbolic links followed
    char *tmp;
    size_t n_held; // bytes in held
    char held[1 << 16];
};

/* Devices, pipes and what else is no regular file cannot be replaced, and must not be: renaming
 * over /dev/null would remove it. They are written in place. */
static bool writes_direct(const char *path, struct stat *st)
{
    if (strcmp(path, "-") == 0)
        return true;
    if (stat(path, st) == 0)
        return !S_ISREG(st->st_mode);
    st->st_mode = 0;
    return false;
}

/* A rename asks the folder only; who made a file read-only wants to keep it all the same. */
static bool read_only(const char *path, const struct stat *st)
{
    return st->st_mode && (!(st->st_mode & 0222) || access(path, W_OK) < 0);
}

static int open_out(const struct file_out *f, mode_t mode)
{
    if (strcmp(f->path, "-") == 0)
        return dup(STDOUT_FILENO);
    if (refused())
        return -1;
    if (f->direct)
        return open(f->path, O_WRONLY | O_CLOEXEC);
    unlink(f->tmp); /* of an earlier process with our number; never follow a link put there */
    return open(f->tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
}

int file_create(struct file_out **out, const char *path, struct err *e)
{
    struct file_out *f = mem_new(sizeof *f, e);
    char real[PATH_MAX];
    struct buf tmp = {0};
    struct stat old = {0};

    if (!f)
        return E_NOMEM;
    f->fd = -1;
    f->direct = writes_direct(path, &old);
    if (!f->direct && realpath(path, real))
        path = real; /* a link to a file stays a link */
    if (!f->direct && read_only(path, &old)) {
        file_abort(f);
        return err_set(e, E_IO, "%s: cannot replace: it is read-only", path);
    }
    f->path = mem_dup(path, strlen(path), e);
    buf_printf(&tmp, "%s.tmp-%ld", path, (long)getpid());
    f->tmp = tmp.p;
    if (!f->path || tmp.bad) {
        file_abort(f);
        return err_nomem(e, strlen(path));
    }
    f->fd = open_out(f, !f->direct && old.st_mode ? old.st_mode & 0777 : 0666);
    if (f->fd < 0) {
        int rc = err_set(e, E_IO, "%s: cannot create: %s", path, strerror(errno));

        file_abort(f);
        return rc;
    }
    if (!f->direct && old.st_mode) /* who may read it does not change */
        (void)fchmod(f->fd, old.st_mode & 0777);
    *out = f;
    return 0;
}

int file_expect(struct file_out *f, uint64_t n, struct err *e)
{
#ifdef FALLOC_FL_KEEP_SIZE
    /* what cannot do this, or not as much, is written as it is; only a full disk stays full */
    if (!f->direct && n > 0 && n <= INT64_MAX &&
        fallocate(f->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)n) < 0 &&
        (errno == ENOSPC || errno == EDQUOT))
        return err_set(e, E_IO, "%s: cannot write %llu bytes: %s", f->path, (unsigned long long)n,
                       strerror(errno));
#else
    (void)f;
    (void)n;
    (void)e;
#endif
    return 0;
}

/* Has the disk begin with what is written, so that little is left to wait for at the end. */
static void send_on(struct file_out *f)
{
#ifdef SYNC_FILE_RANGE_WRITE
    if (!f->direct && f->put - f->sent >= SEND_BYTES) {
        sync_file_range(f->fd, (off_t)f->sent, (off_t)(f->put - f->sent), SYNC_FILE_RANGE_WRITE);
        f->sent = f->put;
    }
#else
    (void)f;
#endif
}

static int write_all(struct file_out *f, const char *p, size_t n, struct err *e)
{
    if (f->failed)
        return err_set(e, f->failed, "%s: an earlier write has failed", f->path);
    while (n > 0) {
        ssize_t put = refused() ? -1 : write(f->fd, p, n < WRITE_BYTES ? n : WRITE_BYTES);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0) {
            f->failed = E_IO;
            return err_set(e, E_IO, "%s: cannot write at byte %llu: %s", f->path,
                           (unsigned long long)f->at, strerror(errno));
        }
        p += put;
        n -= (size_t)put;
        f->put += (uint64_t)put;
    }
    send_on(f);
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

/* The rename is on the disk only once the directory is. Cuts f->tmp, which has served. Not every
 * file system can flush a directory, so a failure here says nothing about the file. */
static void sync_dir(struct file_out *f)
{
    char *slash = strrchr(f->tmp, '/');
    int fd;

    if (slash)
        slash[1] = 0;
    fd = open(slash ? f->tmp : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

/* Closing is where some network file systems say that they could not keep the bytes. */
static int close_out(struct file_out *f)
{
    int fd = f->fd;

    f->fd = -1;
    return close(fd);
}

int file_commit(struct file_out *f, struct err *e)
{
    int rc = flush_held(f, e);

    if (rc == 0 && !f->direct && (refused() || fsync(f->fd) < 0))
        rc = err_set(e, E_IO, "%s: cannot finish: %s", f->path, strerror(errno));
    if (rc == 0 && close_out(f) < 0)
        rc = err_set(e, E_IO, "%s: cannot finish: %s", f->path, strerror(errno));
    if (rc == 0 && !f->direct) {
        if (refused() || rename(f->tmp, f->path) < 0)
            rc = err_set(e, E_IO, "%s: cannot finish: %s", f->path, strerror(errno));
        else
            sync_dir(f);
    }
    if (rc < 0 && !f->direct)
        unlink(f->tmp);
    file_abort(f);
    return rc;
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
