/* kvfile.h - keys and values of a text in a file.
 *
 * A file holds texts as token ids, which of them were made by the model, and for the longest known
 * beginning of each the pages and the recurrent state, as they are on the device; what is behind is
 * computed again, each row on its own path, so that a text goes on with the bytes it would have
 * had. Texts form a tree: a page that an earlier text has is not there twice. The file names the
 * model and the vocabulary by hashes, and the device; pages are compressed with zstd if asked.
 *
 * Layout, all little-endian:
 *
 *     "rill-kv\n", u32 version, u32 flags (1: zstd), u64 model[2], u64 vocabulary[2],
 *     char device[96] (how pages are dealt out), u32 type_k, u32 type_v, u32 state_bytes,
 *     u32 n_group, n_group times { u32 page_bytes, u32 window },
 *     u32 n_text, then for each text:
 *         u32 parent (an earlier text, or 2^32 - 1), u32 n_shared,
 *         u32 n_ids, i32 ids[n_ids], u8 made[n_ids],
 *         u32 n_pos, u64 bytes (of what follows up to the next text),
 *         u8 page[n_pos / 32][n_group] (0: none, behind a window; 1: here; 2: an earlier text's),
 *         for each that is here, in this order: u32 bytes, the bytes,
 *         u32 bytes, the state
 *     u64 XXH3 of all before.
 */
#ifndef RILL_ENGINE_KVFILE_H
#define RILL_ENGINE_KVFILE_H

#include "rill.h"

#define KVFILE_MAGIC "rill-kv\n"

/* Puts the checksum of a file of n bytes into its last eight; for tests. */
void kvfile_seal(char *file, size_t n);

#endif
