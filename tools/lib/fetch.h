/* fetch.h - files over HTTP: several ranges at once, resumed where they stopped, then checked.
 *
 * A file grows as PATH.rill-part, with PATH.rill-map beside it: a line that names the size, then a
 * byte per piece of 16 MiB, '1' when it is on the disk. It gets its name when all of it is there
 * and has been checked. The only user of libcurl.
 */
#ifndef RILL_TOOLS_FETCH_H
#define RILL_TOOLS_FETCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

struct fetch {
    const char *endpoint; // redirects may leave https only if this does not use it either
    const char *token;    // sent to the endpoint's host alone; or NULL
    int jobs;             // connections, 1 to 64
    int retries;          // attempts without a new byte before giving up
    int stall;            // seconds without a byte that end an attempt
    void (*progress)(void *ctx, uint64_t bytes); // of all files, those there before too; or NULL
    void (*note)(void *ctx, const char *what);   // "FILE: connection lost, once more"; or NULL
    bool (*stop)(void);                          // true: leave what is there and return E_CANCELLED
    void *ctx;
};

struct fetch_file {
    const char *url, *path;
    const char *what; // its name in sentences
    uint64_t size;
    int (*check)(const void *ctx, const char *path, struct err *e); // E_FORMAT: fetched once more
    const void *ctx;
};

/* The body of an address, at most limit bytes. */
int fetch_text(const struct fetch *o, const char *url, struct buf *out, size_t limit,
               struct err *e);

/* All files; each gets its name as soon as it is whole. What was fetched before stays after any
 * failure, for the next call to go on with. */
int fetch_files(const struct fetch *o, const struct fetch_file *f, size_t n, struct err *e);

#endif
