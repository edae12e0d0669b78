/* zst.h - files compressed with zstd in frames that can be found: read at any place by several
 * threads at once, and written so.
 *
 * The layout is the Zstandard Seekable Format 0.1.0 (github.com/facebook/zstd,
 * contrib/seekable_format/zstd_seekable_compression_format.md): frames as RFC 8878 has them, one
 * behind the other, and at the end a table of their sizes inside a frame that decoders skip:
 *
 *     u32 0x184D2A5E, u32 bytes that follow
 *     of each frame: u32 compressed bytes, u32 bytes, [u32 low half of the XXH64 of those bytes]
 *     u32 frames, u8 flags (0x80: the third number is there), u32 0x8F92EAB1
 *
 * so "zstd -d" gives the file back. A file without the table can only be read from its front, by
 * one thread; reading does that too. Nothing is put in another order before it is compressed (the
 * bytes of BF16 by planes would shrink more): then no other program could read the file.
 *
 * Knows nothing of what is compressed.
 */
#ifndef RILL_FILE_ZST_H
#define RILL_FILE_ZST_H

#include "base/buf.h"
#include "base/file.h"
#include "base/thread.h"

enum {
    ZST_FRAME = 2 << 20, // bytes of a frame that is written, at most
    ZST_THREADS = 32,    // that one file is read or written by, at most
};

/* True when bytes begin as a compressed file does. */
bool zst_magic(const void *p, size_t n);
/* True when a path ends in .zst. */
bool zst_named(const char *path);

/* -- reading -- */

struct zst;

/* Looks at the table and no further. name is for sentences; v and name must outlive it. */
int zst_open(struct zst **out, const char *name, const struct file_view *v, struct err *e);
void zst_close(struct zst *z); // accepts NULL

uint32_t zst_frames(const struct zst *z); // as the table has them; 0: there is no table
uint64_t zst_front(const struct zst *z);  // bytes of the first of them
/* How many bytes there are; UINT64_MAX: without a table nobody knows. */
uint64_t zst_bytes(const struct zst *z);

/* Bytes from at on: *got of them, as many as n unless the end comes first. Frames that lie whole in
 * the range are dealt to the team (NULL: none), others are read from their front. Checksums are
 * checked of what is read to its end. One call at a time. */
int zst_read(struct zst *z, uint64_t at, void *out, uint64_t n, uint64_t *got, struct team *team,
             struct err *e);

/* A stream, front to back: fn gives the next compressed bytes (*n 0: the end). */
struct zst_in;
typedef int zst_feed(void *arg, const uint8_t **p, size_t *n, struct err *e);
int zst_in_open(struct zst_in **out, const char *name, zst_feed *fn, void *arg, struct err *e);
int zst_in_read(struct zst_in *s, void *p, size_t n, size_t *got, struct err *e);
void zst_in_close(struct zst_in *s); // accepts NULL

/* -- writing -- */

struct zst_out;

/* Writes into f, which stays the caller's. The bytes do not depend on the number of threads. */
int zst_out_new(struct zst_out **out, struct file_out *f, int threads, struct err *e);
int zst_put(struct zst_out *z, const void *p, uint64_t n, struct err *e);
void zst_cut(struct zst_out *z);               // what comes next begins a frame
int zst_end(struct zst_out *z, struct err *e); // all that is left, and the table
void zst_out_free(struct zst_out *z);          // accepts NULL

#endif
