/* source.h - a model's keys and tensors, whatever file they lie in, handed out row by row.
 *
 * What converts or quantizes reads through this: a GGUF file, a compressed one, one that comes
 * through a pipe, or a directory of safetensors files (model/hfdir.h, which names and arranges its
 * tensors as GGUF has them) all look like a struct gguf whose tensors are asked for by rows.
 */
#ifndef RILL_FILE_SOURCE_H
#define RILL_FILE_SOURCE_H

#include "file/gguf.h"

struct source;

struct source_ops {
    int (*rows)(struct source *s, uint32_t tensor, uint64_t row, uint64_t n, void *out,
                struct err *e);
    int (*begin)(struct source *s, uint32_t tensor, struct err *e); // NULL: nothing to do
    void (*done)(struct source *s, uint32_t tensor);
    void (*close)(struct source *s); // frees s too
};

struct source {
    const struct source_ops *ops;
    struct gguf *g; // keys and tensors; a tensor's p is NULL unless it lies in memory as it is
    bool stream;    // a pipe: rows come once, in the order of the file
    bool borrowed;  // g is somebody else's
};

/* Opens a GGUF file ("-": standard input, which is a stream unless it is a regular file). */
int source_open(struct source **out, const char *path, unsigned flags, struct err *e);
/* The same for a struct gguf that is open; it stays the caller's. */
int source_of_gguf(struct source **out, struct gguf *g, struct err *e);
void source_close(struct source *s); // accepts NULL

/* Bytes of a row (ne[0] numbers) of a tensor, and its rows over all other dimensions. */
uint64_t source_row_bytes(const struct gguf_tensor *t);
uint64_t source_n_rows(const struct gguf_tensor *t);

/* Has tensor i ready: of a compressed file it is decompressed into memory, where its p points until
 * source_done. Without this the first source_rows does it. */
int source_begin(struct source *s, uint32_t i, struct err *e);

/* Rows [row, row + n) of tensor i into out. After source_begin, and unless it is a stream, several
 * threads may ask at the same time, in any order. A stream gives each row once: tensors in the
 * order of their data (which is that of the list, else opening refuses), rows ascending; rows may
 * be left out. */
int source_rows(struct source *s, uint32_t i, uint64_t row, uint64_t n, void *out, struct err *e);

/* Says that tensor i is not wanted any more, so that its memory may go. */
void source_done(struct source *s, uint32_t i);

/* Decompresses all there is, for good; nothing for what lies in files as it is. */
int source_load(struct source *s, struct err *e);

#endif
