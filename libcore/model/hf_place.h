/* hf_place.h - where the numbers of a GGUF tensor lie in the Hugging Face tensor it is made of. */
#ifndef RILL_MODEL_HF_PLACE_H
#define RILL_MODEL_HF_PLACE_H

#include "model/weights.h"

/* Number c of a row lies at base + c * stride, counted from the first number of the tensor (of the
 * expert's own tensor where each expert has one: apart; of the row's own with TR_EACH_ROW). */
struct hf_run {
    uint64_t base, stride;
};

/* Row r of matrix m. */
struct hf_run hf_place(const struct weight_spec *s, const struct hparams *h, bool apart, int64_t m,
                       int64_t r);

/* Number c of a vector whose rows are its numbers: biases of matrices whose rows are rearranged.
 * False: the tensor is not one of those. */
bool hf_rearranged(const struct weight_spec *s);

/* Numbers in the Hugging Face tensor (of one expert's). */
uint64_t hf_numbers(const struct weight_spec *s, const struct hparams *h, bool apart);

/* What the number itself becomes. */
float hf_number(int transform, float v);

#endif
