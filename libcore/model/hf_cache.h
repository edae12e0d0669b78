/* hf_cache.h - the local cache that the Hugging Face tools share, and rill-pull fills:
 *
 *     CACHE/models--org--name/refs/<revision>         a commit
 *     CACHE/models--org--name/snapshots/<commit>/...  links to
 *     CACHE/models--org--name/blobs/<hash>            the files
 */
#ifndef RILL_MODEL_HF_CACHE_H
#define RILL_MODEL_HF_CACHE_H

#include "base/buf.h"

/* The path of "org/name[:file]": of the snapshot that refs/main names, of a file in it, or of the
 * one GGUF model there whose name has the part behind the colon. */
int hf_cache_find(struct buf *out, const char *name, struct err *e);

/* Appends the folder of "org/name" under HF_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub
 * or ~/.cache/huggingface/hub. */
int hf_cache_dir(struct buf *out, struct slice repo, struct err *e);

/* Whether the name of a GGUF file has the part in it, whatever the case: as a word (not in the
 * middle of letters and digits), or anywhere. */
bool hf_gguf_has(const char *path, const char *part, bool word);
/* Whether two GGUF files are one model: equal before "-00001-of-00003.gguf" (or ".gguf.zst"). */
bool hf_gguf_same(const char *a, const char *b);
bool hf_is_gguf(const char *path); // by its name: .gguf or .gguf.zst

#endif
