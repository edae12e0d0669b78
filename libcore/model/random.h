/* random.h - random models of real shapes, in any format, without a download.
 *
 * For speed and memory measurements and for tests: the weights are random blocks, the text such a
 * model makes is noise. The same arguments give the same bytes.
 */
#ifndef RILL_MODEL_RANDOM_H
#define RILL_MODEL_RANDOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct random_model {
    const char *shape;     // a name in any case ("Llama-3.2-1B"), "dim=N,layers=N,...", or both
    const char *type;      // format of the matrices
    const char *embd_type; // of embedding and output; NULL: the same
    const char *arch;      // "llama", "qwen3", "qwen3moe"; NULL: the shape's own
    uint64_t seed;
    bool (*stop)(void); // asked between tensors; may be NULL. Stopped: 0 and no file
};

/* Writes a GGUF file. Wrong names and numbers are E_USAGE. */
int random_model_write(const char *path, const struct random_model *m, struct err *e);

/* Shape i as a line "NAME ARCH: dim=N,layers=N,..."; false past the last. */
bool random_shape(size_t i, char *text, size_t cap);

#endif
