/* batch.h - the rows of one step, as the engine hands them to a backend.
 *
 * Rows [0, n_p) are prompt rows, [n_p, n_p + n_g) generated ones; a sequence's rows are adjacent
 * and in order of position. All arrays are borrowed for the call.
 */
#ifndef RILL_PLAN_BATCH_H
#define RILL_PLAN_BATCH_H

#include <stdint.h>

#define ID_EMBD INT32_MIN // batch.id: the row's embedding is given in batch.embd

#define LORA_MIX 4 // adapters of one sequence

struct seq_in {
    int32_t slot;        // row of the page tables
    int32_t len;         // positions stored once this step is done
    int32_t n_lora;      // adapters, of segment.lora, and how much of each
    struct {
        int32_t slot;
        float scale;
    } lora[LORA_MIX];
    int32_t state_read;  // recurrent slot to start from, -1: zeros
    int32_t state_write; // recurrent slot to leave the state in, -1: none
};

struct batch {
    int32_t n_p, n_g, n_seq, n_out;
    const int32_t *id;        // [T] token; -1-s: what slot s drew last, where the
                              // segment keeps that; ID_EMBD: row of embd
    const int32_t *seq;       // [T] index into seqs
    const int32_t *pos;       // [T] place in the sequence (causality, key/value memory)
    const int32_t (*rpos)[4]; // [T] rotary positions, NULL: pos
    const int32_t *see;       // [T] last position the row may see, NULL: pos
    const struct seq_in *seqs;
    const int32_t *alike;     // [n_seq] so many pages at the beginning of a sequence are those of
                              // the one before it, or one of both has none there; NULL: nothing
                              // is known
    const int32_t *type;      // [T] token type, NULL: 0
    const int32_t *out;       // [S] rows that want logits
    const float *embd;        // [T x width], NULL: none
};

#endif
