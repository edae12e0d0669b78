/* gguf.h - GGUF model files: a checked view of one (or of a split one), and a writer.
 *
 * A struct gguf is read-only data: keys with typed values, tensors with a pointer into the file.
 * Every count, length, offset, type and dimension was checked when it was opened; nothing is read
 * from the file a second time to find out how long something is, so a file that is changed while
 * it is open can give wrong numbers but no bad pointer.
 *
 * A file may be compressed (file/zst.h): then it is decompressed into memory when it is opened, or,
 * with GGUF_PACKED, nothing but its head.
 *
 * What is not protected against: a mapped file that becomes shorter while it is open. The kernel
 * answers the next access behind its end with SIGBUS. Replace model files by renaming a new one
 * over them (as the writer here does), or open with GGUF_READ, which copies the file to memory.
 *
 * Knows nothing of architectures, vocabularies or what a key means, general.alignment and split.*
 * excepted.
 */
#ifndef RILL_FILE_GGUF_H
#define RILL_FILE_GGUF_H

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/map.h"
#include "base/slice.h"

/* X(name, what tools print, id in the file, bytes of a value; 0: varies, what sentences say) */
#define GGUF_TYPES(X)                                                                              \
    X(U8, "u8", 0, 1, "an 8-bit integer")                                                          \
    X(I8, "i8", 1, 1, "an 8-bit integer")                                                          \
    X(U16, "u16", 2, 2, "a 16-bit integer")                                                        \
    X(I16, "i16", 3, 2, "a 16-bit integer")                                                        \
    X(U32, "u32", 4, 4, "a 32-bit integer")                                                        \
    X(I32, "i32", 5, 4, "a 32-bit integer")                                                        \
    X(F32, "f32", 6, 4, "a float")                                                                 \
    X(BOOL, "bool", 7, 1, "a truth value")                                                         \
    X(STR, "str", 8, 0, "a string")                                                                \
    X(ARR, "arr", 9, 0, "an array")                                                                \
    X(U64, "u64", 10, 8, "a 64-bit integer")                                                       \
    X(I64, "i64", 11, 8, "a 64-bit integer")                                                       \
    X(F64, "f64", 12, 8, "a double")

enum gguf_type {
#define X(name, print, id, bytes, text) GGUF_##name = id,
    GGUF_TYPES(X)
#undef X
        GGUF_N_TYPES
};

enum {
    GGUF_READ = 1,   // copy the file to memory instead of mapping it
    GGUF_PACKED = 2, // the tensors of a compressed file have no p before gguf_unpack
};

enum {
    GGUF_MAX_DIMS = 4,
    GGUF_MAX_KEY = 65535,     // bytes of a key's name (the format's own limit)
    GGUF_MAX_NAME = 255,      // bytes of a tensor's name
    GGUF_MAX_ITEMS = 1 << 20, // keys, and tensors, of a file
    GGUF_MAX_PARTS = 99999,   // what five digits can say
    GGUF_ALIGNMENT = 32,      // where general.alignment is absent
};

/* Elements lie packed, little-endian and at any address: read them with the functions below. */
struct gguf_array {
    uint32_t type;      // an enum gguf_type, never GGUF_ARR
    uint64_t n;         // elements
    const uint8_t *p;   // the first element
    const uint64_t *at; // strings: [n + 1] where each begins, counted from p; else NULL
};

struct gguf_key {
    struct slice name;
    uint32_t type;           // an enum gguf_type
    struct slice raw;        // the value's bytes; of a string without its length
    struct gguf_array array; // of GGUF_ARR
};

struct gguf_tensor {
    struct slice name;
    uint32_t type;              // ggml's number, kept when unknown
    uint32_t n_dims;            // 0 to 4
    uint64_t ne[GGUF_MAX_DIMS]; // ne[0] is the row length; 1 behind n_dims; none is 0
    uint32_t part;              // index of the file it lies in
    uint64_t offset;            // from the start of that file's data section
    uint64_t bytes;             // 0: the type is unknown, so the tensor cannot be loaded
    const uint8_t *p;           // [bytes], aligned as the file says; NULL when bytes is 0
};

struct gguf_packed;
struct team;

struct gguf_part {
    char *path;
    struct file_view view;      // of a compressed file its head, or all of it when that is there
    struct gguf_packed *packed; // NULL: not compressed
    uint64_t data_at;           // where the data section begins
};

struct gguf {
    char *path;         // as given to gguf_open
    uint32_t version;   // 2 or 3
    uint32_t alignment; // of tensor data, 8 to 2^24
    uint32_t n_key;
    uint32_t n_tensor;
    uint32_t n_part;            // 1 unless the file is split
    struct gguf_key *key;       // [n_key] in the file's order; of a split file those of part 1
    struct gguf_tensor *tensor; // [n_tensor] in the file's order, part by part
    struct gguf_part *part;     // [n_part]
    uint64_t file_bytes;        // of all parts, as they lie on the disk
    struct map key_map, tensor_map;
    bool borrowed; // opened from memory
    bool head;     // without data
};

/* Opens path ("-": standard input). Of a split model any part may be named: all are opened and
 * must agree. Malformed input is E_FORMAT, something we do not read E_UNSUPPORTED; either way one
 * sentence names the file and the key or tensor. */
int gguf_open(struct gguf **out, const char *path, unsigned flags, struct err *e);

/* The part of a file in front of its data: keys and tensors, whose p is NULL. p must outlive it.
 * *data_at: where the data section begins. Short of bytes it is E_FORMAT. */
int gguf_open_head(struct gguf **out, const char *name, const void *p, size_t n, uint64_t *data_at,
                   struct err *e);

/* The same for bytes in memory, which must outlive it and should be aligned
 * to 8 (tensors are as aligned as they are); name is what sentences call them. */
int gguf_open_mem(struct gguf **out, const char *name, const void *p, size_t n, struct err *e);

void gguf_close(struct gguf *g); // accepts NULL and half-made objects

/* True when the file begins as a GGUF file of any version or byte order does. */
bool gguf_magic(const void *p, size_t n);

/* -- keys -- */

const struct gguf_key *gguf_find(const struct gguf *g, const char *key); // NULL: absent

/* Getters. 1: found, *out filled; 0: absent, *out untouched (so a default may be put there first);
 * negative: there, but of another type or out of range, and *e says so. Integer getters take every
 * integer type whose value fits; the float getter takes integers too; the boolean one also integers
 * 0 and 1. */
int gguf_get_u32(const struct gguf *g, const char *key, uint32_t *out, struct err *e);
int gguf_get_i32(const struct gguf *g, const char *key, int32_t *out, struct err *e);
int gguf_get_u64(const struct gguf *g, const char *key, uint64_t *out, struct err *e);
int gguf_get_i64(const struct gguf *g, const char *key, int64_t *out, struct err *e);
int gguf_get_f32(const struct gguf *g, const char *key, float *out, struct err *e);
int gguf_get_bool(const struct gguf *g, const char *key, bool *out, struct err *e);
int gguf_get_str(const struct gguf *g, const char *key, struct slice *out, struct err *e);
/* Arrays of any element type, of strings, of any integer type, of floats. */
int gguf_get_array(const struct gguf *g, const char *key, struct gguf_array *out, struct err *e);
int gguf_get_strs(const struct gguf *g, const char *key, struct gguf_array *out, struct err *e);
int gguf_get_ints(const struct gguf *g, const char *key, struct gguf_array *out, struct err *e);
int gguf_get_floats(const struct gguf *g, const char *key, struct gguf_array *out, struct err *e);
/* A value per layer: an array of at least n elements, or one value for all. */
int gguf_get_u32s(const struct gguf *g, const char *key, uint32_t *out, uint32_t n, struct err *e);
int gguf_get_f32s(const struct gguf *g, const char *key, float *out, uint32_t n, struct err *e);
int gguf_get_bools(const struct gguf *g, const char *key, bool *out, uint32_t n, struct err *e);

/* E_FORMAT: "FILE: key 'KEY' is missing". */
int gguf_missing(const struct gguf *g, const char *key, struct err *e);

/* Element i (< a->n). Of another type: an empty string, 0 or 0.0. Integers above INT64_MAX (only
 * possible in GGUF_U64) come out negative. */
struct slice gguf_str_at(const struct gguf_array *a, uint64_t i);
int64_t gguf_int_at(const struct gguf_array *a, uint64_t i);
double gguf_float_at(const struct gguf_array *a, uint64_t i); // integers too

bool gguf_type_is_int(uint32_t type);
const char *gguf_type_name(uint32_t type); // "u32", "str", ..., "?"

/* -- tensors -- */

const struct gguf_tensor *gguf_tensor(const struct gguf *g, const char *name); // NULL: absent

/* Says that a tensor's bytes are wanted soon, or not any more. */
void gguf_willneed(const struct gguf *g, const struct gguf_tensor *t);
void gguf_dontneed(const struct gguf *g, const struct gguf_tensor *t);

/* How a file is compressed; all 0 when it is not. */
struct gguf_packing {
    bool packed;     // at least one part is
    uint32_t frames; // that can be read by themselves, as the tables have them
    uint64_t bytes;  // of all parts when decompressed
};
void gguf_packing(const struct gguf *g, struct gguf_packing *out);
/* Decompresses everything into memory, by as many threads as there are processors, and gives each
 * tensor its p. E_NOMEM when so much is not free. */
int gguf_unpack(struct gguf *g, struct err *e);
/* One tensor of a compressed part into out, by the team's threads (NULL: this one). */
int gguf_unpack_tensor(const struct gguf *g, const struct gguf_tensor *t, void *out,
                       struct team *team, struct err *e);

/* Bytes of a tensor of a ggml type. false: the type is unknown, a dimension is 0, the row is no
 * multiple of the type's block, or the size does not fit in 63 bits. */
bool gguf_tensor_bytes(uint32_t type, uint32_t n_dims, const uint64_t *ne, uint64_t *out);

/* Writes text that came from a file into out[n] for a sentence: control characters and bytes that
 * are no UTF-8 as \xNN, long text cut with "...". Returns out. */
const char *gguf_show(char *out, size_t n, struct slice text);

/* -- writing -- */

/* Keys, then tensors, then gguf_begin, then the tensors' bytes in the order they were declared.
 * The file is version 3; the same calls give the same bytes. It appears under its name when
 * gguf_finish succeeds. */
struct gguf_out;

/* path as for file_create, compressed when it ends in .zst; NULL: no file, for gguf_head. alignment
 * 0: the default; another is also written as a key. */
int gguf_create(struct gguf_out **out, const char *path, uint32_t alignment, struct err *e);
/* How many threads compress (else one per processor); before gguf_begin. */
void gguf_threads(struct gguf_out *w, int n);
/* The name of part i (from 0) of n: NAME-00001-of-00003.gguf for NAME.gguf, or with .gguf.zst. */
void gguf_part_name(struct buf *out, const char *path, uint32_t i, uint32_t n);

/* All are copied. A failure (memory; an empty or overlong name) is kept for gguf_begin. A key put
 * twice keeps its place and takes the later value. */
void gguf_put_u32(struct gguf_out *w, const char *key, uint32_t v);
void gguf_put_i32(struct gguf_out *w, const char *key, int32_t v);
void gguf_put_u64(struct gguf_out *w, const char *key, uint64_t v);
void gguf_put_i64(struct gguf_out *w, const char *key, int64_t v);
void gguf_put_f32(struct gguf_out *w, const char *key, float v);
void gguf_put_bool(struct gguf_out *w, const char *key, bool v);
void gguf_put_str(struct gguf_out *w, const char *key, struct slice v);
void gguf_put_strs(struct gguf_out *w, const char *key, const struct slice *v, uint64_t n);
/* An array of n numbers of a fixed-size type, as they lie in memory. */
void gguf_put_array(struct gguf_out *w, const char *key, uint32_t type, const void *v, uint64_t n);
void gguf_put_key(struct gguf_out *w, const struct gguf_key *k); // of any type, as it was read
void gguf_drop_key(struct gguf_out *w, const char *key);

/* Declares the next tensor. A shape gguf_tensor_bytes refuses is a failure. */
void gguf_put_tensor(struct gguf_out *w, struct slice name, uint32_t type, uint32_t n_dims,
                     const uint64_t *ne);

/* Adds everything in front of the data, as the file would have it, to a buffer. */
int gguf_head(struct gguf_out *w, struct buf *out, struct err *e);
/* Writes that. */
int gguf_begin(struct gguf_out *w, struct err *e);
/* The next n bytes of tensor data; the end of a tensor may lie anywhere in them, padding is added
 * here. More than was declared is E_RANGE. */
int gguf_data(struct gguf_out *w, const void *p, uint64_t n, struct err *e);
/* E_RANGE when tensor data is missing. w is gone afterwards, also on failure. */
int gguf_finish(struct gguf_out *w, struct err *e);
void gguf_abort(struct gguf_out *w); // leaves no file; accepts NULL

#endif
