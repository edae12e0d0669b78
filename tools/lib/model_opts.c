/* model_opts.c - see model_opts.h. */
#include "tools/lib/model_opts.h"

#include "tools/lib/tool.h"

const char *const model_kv_types[] = {"auto", "f32", "f16", "bf16", "fp8", "q8_0", "q4_0", NULL};

int model_opts_of(const struct model_options *o, struct rill_model_opts *out, struct err *e)
{
    *out = (struct rill_model_opts){.device = o->device,
                                    .threads = o->threads,
                                    .gpu_layers = o->gpu_layers,
                                    .cpu_moe = o->cpu_moe,
                                    .n_ctx = o->ctx,
                                    .kv_type = o->kv_type ? model_kv_types[o->kv_type] : NULL,
                                    .v_type = o->v_type ? model_kv_types[o->v_type] : NULL,
                                    .no_mmap = o->no_mmap};
    return tool_size("--device-mem", o->device_mem, &out->device_mem, e);
}

void model_say_ctx(const struct rill_engine *g, const struct rill_model_info *info)
{
    if (rill_engine_ctx(g) < info->n_ctx)
        tool_note("the context is %d positions instead of %d: more does not fit into free memory",
                  rill_engine_ctx(g), info->n_ctx);
}

void model_say_kv(const struct rill_engine *g, int requests)
{
    struct rill_stats s;
    char bytes[16];

    rill_engine_stats(g, &s);
    tool_note("%s for keys and values of %d request%s at once (--kv-mem)",
              tool_bytes(s.kv_bytes, bytes), requests, requests == 1 ? "" : "s");
}
