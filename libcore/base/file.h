/* file.h - reading files, mapped or not, and the one atomic writer.
 *
 * All file input and output of libcore goes through here, so that tests can make the n-th call
 * fail (file_fail_after).
 */
#ifndef RILL_BASE_FILE_H
#define RILL_BASE_FILE_H

#include "err.h"
#include "slice.h"

/* A whole file in memory: mapped privately and read-only where possible, else read. */
struct file_view {
    const uint8_t *p;
    size_t n;
    bool mapped;
    void *base; // read, not mapped: what p, aligned to 64 bytes, lies in
};

/* path may be "-" (standard input, from where it stands to its end). A mapped file that becomes
 * shorter raises SIGBUS where it is read behind its new end. */
int file_map(struct file_view *out, const char *path, struct err *e);
/* Reads without mapping; at most limit bytes (0: no limit), more is E_RANGE. */
int file_read(struct file_view *out, const char *path, uint64_t limit, struct err *e);
void file_unmap(struct file_view *v);

/* Front to back: *got bytes (0: the end) into p, as many as n unless the end comes first. */
struct file_in;
int file_in_open(struct file_in **out, const char *path, struct err *e); // "-": standard input
int file_in_read(struct file_in *f, void *p, size_t n, size_t *got, struct err *e);
bool file_in_regular(const struct file_in *f); // a file that could be mapped instead
void file_in_close(struct file_in *f);         // accepts NULL

/* Makes a directory: 1, or 0 when there is one of that name; and removes an empty one or a file, as
 * far as that is possible. */
int file_make_dir(const char *path, struct err *e);
void file_remove(const char *path);

/* Whether a path names a directory, or anything. */
bool file_is_dir(const char *path);
bool file_exists(const char *path);
uint64_t file_size(const char *path); // bytes; 0 also when there is no such file
/* Calls each for the names in a directory, in no order; "." and ".." are left out. */
int file_list(const char *dir, void (*each)(void *ctx, const char *name), void *ctx, struct err *e);

/* Says that a range of a mapping is wanted soon, or not any more. */
void file_willneed(const struct file_view *v, size_t at, size_t n);
void file_dontneed(const struct file_view *v, size_t at, size_t n);
/* The first for bytes that may lie in a mapping, or in memory, where it does nothing. */
void file_ahead(const void *p, size_t n);
/* Has them there before they are read, in one call instead of a fault every few pages. */
void file_fetch(const void *p, size_t n);

/* A file that appears under its name only when complete: written to "NAME.tmp-PID" beside it, then
 * flushed to the disk and renamed. Of a symbolic link to a file the file is replaced; who may read
 * and write a file that is replaced stays, and a read-only one is not. "-" (standard output),
 * devices and pipes are written in place. */
struct file_out;
int file_create(struct file_out **out, const char *path, struct err *e);
/* Says how long the file will be, so that the disk gives it room at once: less to do while it is
 * written, and no room is known before anything was. */
int file_expect(struct file_out *f, uint64_t n, struct err *e);
int file_write(struct file_out *f, const void *p, size_t n, struct err *e);
int file_pad(struct file_out *f, size_t align, struct err *e); // zeros up to a multiple of align
uint64_t file_at(const struct file_out *f);
int file_commit(struct file_out *f, struct err *e); // f is gone afterwards, also on failure
void file_abort(struct file_out *f);                // removes the temporary; accepts NULL

/* Test hook as mem_fail_after: the n-th open, read, map, write, sync or rename fails with EIO. */
void file_fail_after(long n);
bool file_fail_hit(void);

#endif
