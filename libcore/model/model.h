/* model.h - a model file opened on a device: its numbers, weights, vocabulary and plan.
 *
 * What is here is ready to run: the engine binds key/value memory, prepares the plan as a segment
 * and runs it. Everything is read-only after model_open.
 */
#ifndef RILL_MODEL_MODEL_H
#define RILL_MODEL_MODEL_H

#include "file/source.h"
#include "model/arch.h"
#include "model/hparams.h"
#include "model/weights.h"
#include "plan/backend.h"
#include "plan/plan.h"
#include "text/tok.h"

struct model_opts {
    const char *device; // "cpu", "cpu:4", "cuda:0", several (kernels/split.h); NULL: "auto"
    int threads;        // of the CPU beside a GPU; 0: as many as there are processors
    int gpu_layers;     // the last so many layers on the GPU, the others on the CPU; 0: all
    bool cpu_moe;       // the experts' matrices on the CPU
    uint64_t device_mem; // most bytes taken of a GPU; 0: all that is free
    int n_ctx;          // positions of the longest sequence; 0: the model's own length. YaRN and
                        // longrope stretch by what the file says, whatever this is; of two longrope
                        // tables the long one is taken when this is more than the original length.
    int kv_type[2];     // enum fmt_id of keys, of values; -1: F32 when all matrices are, else F16
    bool vocab_only;    // neither numbers nor weights nor plan
    bool no_mmap;
    bool nofuse; // leave the plan as it was written; also with RILL_NOFUSE=1
};
#define MODEL_OPTS                                                                                 \
    {                                                                                              \
        .kv_type = {-1, -1}                                                                        \
    } // the defaults

struct model {
    struct source *src; // whose gguf is; NULL: it is the model's own
    struct gguf *gguf;
    const struct arch *arch; // NULL with vocab_only
    struct hparams h;
    struct weight *w; // [n_w]
    int n_w;
    struct weight_copy *copies;
    int n_ctx;
    uint64_t n_param;                  // numbers in all tensors of the file
    uint64_t weight_bytes;             // of the weights found
    int n_unknown;                     // tensors of the file that the architecture does not know,
    const struct gguf_tensor *unknown; // and the first of them, to be told to the user
    struct tok *tok;                   // NULL: the file has no vocabulary
    const struct backend *be;
    struct dev *dev;
    struct plan *plan;
};

/* opts NULL: the defaults. Each error names the file and the thing. */
int model_open(struct model **out, const char *path, const struct model_opts *opts, struct err *e);
void model_close(struct model *m); // accepts NULL and half-made objects

/* The plan once more, with a lora record behind each matrix; the caller's. E_UNSUPPORTED where the
 * device has no kernel for those. */
int model_adapted_plan(const struct model *m, struct plan **out, struct err *e);

/* The same for bytes in memory, which must outlive the model; name is what sentences call them. */
int model_open_mem(struct model **out, const char *name, const void *p, size_t n,
                   const struct model_opts *opts, struct err *e);

#endif
