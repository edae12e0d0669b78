/* gguf_inner.h - what the files of the GGUF reader and writer share. */
#ifndef RILL_FILE_GGUF_INNER_H
#define RILL_FILE_GGUF_INNER_H

#include "file/gguf.h"

/* Of tensor data. The format wants a multiple of 8; the upper bound is ours, so that padding stays
 * small beside the data. */
enum {
    GGUF_MIN_ALIGNMENT = 8,
    GGUF_MAX_ALIGNMENT = 1 << 24,
};

static inline bool gguf_alignment_ok(uint32_t a)
{
    return a >= GGUF_MIN_ALIGNMENT && a <= GGUF_MAX_ALIGNMENT && (a & (a - 1)) == 0;
}

/* Bytes of a value of a fixed-size type; 0 for strings, arrays and unknown types. */
uint32_t gguf_value_bytes(uint32_t type);

/* Elements and bytes of a block of a ggml type; false when it is unknown. */
bool gguf_type_shape(uint32_t type, uint32_t *block, uint32_t *bytes);

/* As much of a path's end as leaves room for the rest of a sentence. */
const char *gguf_path_tail(const char *path);

#endif
