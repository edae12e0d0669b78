/* control.h - a control vector: for some layers a direction that is added to what goes from one
 * layer to the next (Zou et al. 2023, arXiv 2310.01405), as a GGUF file of the architecture
 * "controlvector" with tensors direction.N, F32: N counts layers from 0, and 0 has none.
 */
#ifndef RILL_MODEL_CONTROL_H
#define RILL_MODEL_CONTROL_H

#include "base/err.h"

struct control {
    char *path;
    const float **dir; // [n_layer] directions of n_embd numbers, NULL: none
    int n_layer, n_dir;
    float *data;       // [n_dir x n_embd]
};

/* *out is NULL when the file is something else, whatever that is. Directions of layers that the
 * model has not, of another width, or that are no numbers are E_FORMAT. */
int control_open(struct control **out, const char *path, int n_layer, int n_embd, struct err *e);
void control_close(struct control *c); // accepts NULL

#endif
