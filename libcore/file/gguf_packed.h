/* gguf_packed.h - a compressed GGUF file: its head, its tensors, all of it, decompressed when
 * asked.
 */
#ifndef RILL_FILE_GGUF_PACKED_H
#define RILL_FILE_GGUF_PACKED_H

#include "file/gguf.h"

struct gguf_packed;

/* Takes the bytes of a compressed file, of which path (which must outlive it) is the name. */
int packed_open(struct gguf_packed **out, const char *path, struct file_view *take, struct err *e);
void packed_close(struct gguf_packed *p); // accepts NULL

/* The first n bytes, or all when there are fewer (*more false), stay where they are until the next
 * call. */
int packed_head(struct gguf_packed *p, uint64_t n, struct file_view *out, bool *more,
                struct err *e);
/* How many bytes to ask for first: where a table says so, what was compressed as the head. */
uint64_t packed_front(const struct gguf_packed *p);
/* Bytes of the file when decompressed; UINT64_MAX: nobody knows. */
uint64_t packed_bytes(const struct gguf_packed *p);

#endif
