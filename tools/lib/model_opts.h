/* model_opts.h - the options that say which model is opened, and where and how it runs: the same
 * in every tool that has them. */
#ifndef RILL_TOOLS_MODEL_OPTS_H
#define RILL_TOOLS_MODEL_OPTS_H

#include "rill.h"
#include "tools/lib/opt.h"

struct model_options {
    const char *model, *device, *device_mem;
    int ctx, threads, gpu_layers;
    int kv_type, v_type; // index into model_kv_types
    bool no_mmap, cpu_moe;
};

extern const char *const model_kv_types[]; // "auto", which is 0, and the library's names

/* Rows of an option table over a struct model_options. Tools that take several models, or several
 * numbers of threads, have rows of their own for those and the others from here. */
/* clang-format off */
#define MODEL_OPTION(o) {'m', "model", OPT_STR, &(o).model, "MODEL", "the model, a GGUF file"}
#define MODEL_DEVICE(o)                                                                            \
    {0, "device", OPT_STR, &(o).device, "DEV", "cpu, cpu:THREADS, cuda:NUMBER or auto"},           \
    {0, "device-mem", OPT_STR, &(o).device_mem, "SIZE", "most memory to take of the GPU"},         \
    {0, "gpu-layers", OPT_INT, &(o).gpu_layers, "N", "only the last N layers on the GPU (0: all)", \
     .min = 0, .max = 1e6},                                                                        \
    {0, "cpu-moe", OPT_FLAG, &(o).cpu_moe, 0, "the experts' matrices on the CPU"},                 \
    {0, "kv-type", OPT_CHOICE, &(o).kv_type, "TYPE", "type of stored keys and values (auto)",      \
     .choices = model_kv_types},                                                                   \
    {0, "v-type", OPT_CHOICE, &(o).v_type, "TYPE", "type of stored values (as --kv-type)",         \
     .choices = model_kv_types}
#define MODEL_RUNNING(o)                                                                           \
    {'t', "threads", OPT_INT, &(o).threads, "N", "threads (0: one per processor)", .min = 0,       \
     .max = 1024, .group = "Running"},                                                             \
    MODEL_DEVICE(o),                                                                               \
    {0, "no-mmap", OPT_FLAG, &(o).no_mmap, 0, "read the model instead of mapping it"}
#define MODEL_CTX(o)                                                                               \
    {'c', "ctx", OPT_INT, &(o).ctx, "N", "positions of context (0: the model's own)", .min = 0,    \
     .max = 1e9}
/* clang-format on */

/* The same as the library takes them. */
int model_opts_of(const struct model_options *o, struct rill_model_opts *out, struct err *e);

/* Says so when the engine has less context than its model was opened for. */
void model_say_ctx(const struct rill_engine *g, const struct rill_model_info *info);
/* Says how much memory keys and values of so many requests at once have. */
void model_say_kv(const struct rill_engine *g, int requests);

#endif
