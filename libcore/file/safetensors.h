/* safetensors.h - safetensors files: a checked view of one, or of a directory of them, and a
 * writer.
 *
 * A file is eight bytes with the length of its header, the header (JSON: a name, a type, a shape
 * and a place for each tensor), and the data. Opening checks all of it: the header's length and
 * UTF-8, that no name or key occurs twice, that every tensor's place has the size its shape asks
 * for, and that the places cover the data without holes or overlaps.
 *
 * What is not protected against: a mapped file that becomes shorter (see gguf.h).
 */
#ifndef RILL_FILE_SAFETENSORS_H
#define RILL_FILE_SAFETENSORS_H

#include "base/err.h"
#include "base/file.h"
#include "base/map.h"
#include "base/slice.h"

/* X(name as in the file, bytes of a number) */
#define ST_TYPES(X)                                                                                \
    X(F64, 8)                                                                                      \
    X(F32, 4)                                                                                      \
    X(F16, 2)                                                                                      \
    X(BF16, 2)                                                                                     \
    X(F8_E4M3, 1)                                                                                  \
    X(F8_E5M2, 1)                                                                                  \
    X(I64, 8)                                                                                      \
    X(I32, 4)                                                                                      \
    X(I16, 2)                                                                                      \
    X(I8, 1)                                                                                       \
    X(U64, 8)                                                                                      \
    X(U32, 4)                                                                                      \
    X(U16, 2)                                                                                      \
    X(U8, 1)                                                                                       \
    X(BOOL, 1)

enum st_type {
#define X(name, bytes) ST_##name,
    ST_TYPES(X)
#undef X
        ST_N_TYPES
};

enum {
    ST_MAX_DIMS = 8,
    ST_MAX_HEADER = 100 * 1000 * 1000, // bytes: the format's own limit
    ST_MAX_TENSORS = 1 << 20,
    ST_MAX_PARTS = 4096,
};

struct st_tensor {
    struct slice name; // escapes resolved
    uint8_t type;      // enum st_type
    uint8_t n_dims;
    uint64_t shape[ST_MAX_DIMS]; // outermost first
    uint64_t n;                  // numbers in it; 0 is possible
    uint32_t part;
    uint64_t offset, bytes; // from the start of that file's data
    const uint8_t *p;
};

/* An entry of "__metadata__". */
struct st_meta {
    struct slice key, value;
};

struct st_part {
    char *path;
    struct file_view view;
    char *names; // names and metadata with escapes resolved lie here
};

struct safetensors {
    uint32_t n_tensor, n_meta, n_part;
    struct st_tensor *tensor; // [n_tensor] in the order of their data, part by part
    struct st_meta *meta;     // [n_meta] of the first part
    struct st_part *part;     // [n_part]
    struct map map;
};

/* path: a file; or a directory, whose model.safetensors.index.json says which files belong to it,
 * or which has a model.safetensors. */
int st_open(struct safetensors **out, const char *path, struct err *e);
/* A file's bytes in memory, which must outlive it. */
int st_open_mem(struct safetensors **out, const char *name, const void *p, size_t n, struct err *e);
void st_close(struct safetensors *s); // accepts NULL and half-made objects

const struct st_tensor *st_find(const struct safetensors *s, struct slice name); // NULL: absent
const char *st_type_name(int type);
uint32_t st_type_bytes(int type);
/* Number i of a type of floats or integers, at p. F8_E4M3 is the kind without infinities. */
double st_number(int type, const uint8_t *p, uint64_t i);
float st_float8(int type, uint8_t v); // of F8_E4M3 and F8_E5M2

void st_dontneed(const struct safetensors *s, const struct st_tensor *t);

/* -- writing -- */

/* As struct gguf_out: tensors, st_begin, their bytes in the order they were declared. Wider types
 * should come first: the format does not pad, and readers want aligned numbers. */
struct st_out;
int st_create(struct st_out **out, const char *path, struct err *e);
void st_put_meta(struct st_out *w, const char *key, struct slice value);
void st_put_tensor(struct st_out *w, struct slice name, int type, uint32_t n_dims,
                   const uint64_t *shape);
int st_begin(struct st_out *w, struct err *e);
int st_data(struct st_out *w, const void *p, uint64_t n, struct err *e);
int st_finish(struct st_out *w, struct err *e); // w is gone afterwards
void st_abort(struct st_out *w);

#endif
