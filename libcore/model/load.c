/* load.c - opens a model: file, numbers, weights, plan, device. */
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "kernels/registry.h"
#include "model/mla.h"
#include "model/hfdir.h"
#include "model/vocab.h"
#include "quant/quant.h"

static const struct model_opts defaults = MODEL_OPTS;

void model_close(struct model *m)
{
    if (!m)
        return;
    plan_free(m->plan);
    for (int i = 0; m->be && m->dev && i < m->n_w; i++)
        for (size_t k = 0; k < ARRAY_LEN(m->w[i].part); k++)
            if (m->w[i].part[k].bytes)
                m->be->unmem(m->dev, &m->w[i].part[k]);
    if (m->be && m->dev)
        m->be->close(m->dev);
    tok_free(m->tok);
    mem_free(m->w);
    weight_copies_free(m->copies);
    if (m->src)
        source_close(m->src);
    else
        gguf_close(m->gguf);
    mem_free(m);
}

static int find_arch(struct model *m, struct err *e)
{
    struct slice name;
    int rc = gguf_get_str(m->gguf, "general.architecture", &name, e);

    if (rc < 0)
        return rc;
    if (rc == 0)
        return gguf_missing(m->gguf, "general.architecture", e);
    if (!(m->arch = arch_find(name, e)))
        return err_prefix(e, m->gguf->path);
    return 0;
}

/* Tensors the table does not name. A draft head's layers are known, and left out on purpose. */
static int count_unknown(struct model *m, struct err *e)
{
    struct map known = {0};
    uint32_t at;
    int rc = map_init(&known, (uint64_t)m->n_w, e);

    for (int i = 0; rc == 0 && i < m->n_w; i++)
        rc = map_put(&known, slice_of(m->w[i].name), 0, e);
    for (uint32_t i = 0; rc == 0 && i < m->gguf->n_tensor; i++) {
        const struct gguf_tensor *t = &m->gguf->tensor[i];
        uint64_t n = t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
        m->n_param += n;
        if (map_get(&known, t->name, &at))
            continue;
        if (slice_starts(t->name, SLICE("blk.")) &&
            strtol(t->name.p + 4, NULL, 10) >= m->h.n_layer && m->h.n_nextn > 0)
            continue;
        if (m->n_unknown++ == 0)
            m->unknown = t;
    }
    for (int i = 0; i < m->n_w; i++)
        m->weight_bytes += m->w[i].part[0].bytes;
    map_fini(&known);
    return rc;
}

static bool all_f32(const struct model *m)
{
    for (int i = 0; i < m->n_w; i++)
        if (m->w[i].fmt != FMT_F32)
            return false;
    return true;
}

struct asked {
    const struct model *m;
    const struct plan *p;
};

static bool device_can(const void *ctx, const struct op *op)
{
    const struct asked *a = ctx;

    return a->m->be->can(a->m->dev, a->p, op);
}

enum { PLAIN, ADAPTED, STEERED };

/* What the architecture writes, laid out for these keys and values; a kv_type < 0: F32 when all
 * matrices are, and of encoders, whose keys and values live for one step; else F16. */
static int write_plan(const struct model *m, const int *kv_type, int kind, struct plan **out,
                      struct err *e)
{
    int type;
    struct builder *b = NULL;
    int rc = b_new(&b, m->w, m->n_w, m->n_ctx, e);

    *out = NULL;
    if (rc < 0)
        return rc;
    if (kind != PLAIN)
        b_adapted(b, kind == STEERED);
    rc = m->arch->build(b, &m->h);
    *out = rc < 0 ? NULL : b_take(b);
    b_free(b);
    if (!*out)
        return rc < 0 ? rc : E_FORMAT;
    type = all_f32(m) || (*out)->encoder ? FMT_F32 : FMT_F16;
    return plan_kv_layout(*out, kv_type[0] < 0 ? type : kv_type[0],
                          kv_type[1] < 0 ? type : kv_type[1], e);
}

static int make_plan(struct model *m, const struct model_opts *o, struct err *e)
{
    const char *env = getenv("RILL_NOFUSE");
    int rc = write_plan(m, o->kv_type, PLAIN, &m->plan, e);

    if (rc < 0 || o->nofuse || (env && *env && strcmp(env, "0") != 0))
        return rc;
    rc = plan_fuse(m->plan, &(struct fuse_ask){device_can, &(struct asked){m, m->plan}}, e);
    return rc < 0 ? rc : 0;
}

/* A device that is several deals the plan out among them. */
static int place_plan(const struct model *m, struct plan *p, struct err *e)
{
    return m->be->place ? m->be->place(m->dev, p, e) : 0;
}

int model_adapted_plan(const struct model *m, struct plan **out, struct err *e)
{
    const struct op steer = {.kind = OP_steer};
    const bool steered = m->be->can(m->dev, m->plan, &steer);
    struct plan *p;
    int rc = write_plan(m, (const int[]){m->plan->kv_type_k, m->plan->kv_type_v},
                        steered ? STEERED : ADAPTED, &p, e);

    if (rc == 0)
        rc = plan_fuse(p, &(struct fuse_ask){device_can, &(struct asked){m, p}}, e);
    for (int i = 0; rc >= 0 && i < p->n_op; i++)
        if (!m->be->can(m->dev, p, &p->op[i]))
            rc = err_set(e, E_UNSUPPORTED, "%s: adapters cannot run on %s", m->gguf->path,
                         m->be->name);
    rc = rc < 0 ? rc : place_plan(m, p, e);
    if (rc < 0) {
        plan_free(p);
        return rc;
    }
    *out = p;
    return 0;
}

/* A token without a row of the table would read behind it. */
static int check_vocab(const struct model *m, struct err *e)
{
    uint32_t n = m->tok ? tok_count(m->tok) : 0;

    if (n > (uint32_t)m->h.n_vocab)
        return err_set(e, E_FORMAT, "%s: %u tokens, but tensor 'token_embd.weight' has %d rows",
                       m->gguf->path, n, m->h.n_vocab);
    return 0;
}

/* Every record must run before a byte of weights is moved. */
static int check_plan(const struct model *m, struct err *e)
{
    const struct plan *p = m->plan;

    for (int32_t i = 0; i < p->n_op; i++) {
        if (m->be->can(m->dev, p, &p->op[i]))
            continue;
        if (p->op[i].kind == OP_kv_store && (p->kv_type_k > FMT_F16 || p->kv_type_v > FMT_F16))
            return err_set(e, E_UNSUPPORTED, "%s cannot keep this model's keys in %s, values in %s",
                           m->be->name, fmt_find(p->kv_type_k)->name, fmt_find(p->kv_type_v)->name);
        return err_set(e, E_UNSUPPORTED, "record %d of the plan cannot run on %s", i, m->be->name);
    }
    return 0;
}

static int load_weights(struct model *m, struct err *e)
{
    struct dev_info info;
    int rc;

    m->be->info(m->dev, &info);
    for (int i = 0; i < m->n_w; i++) {
        struct weight *w = &m->w[i];
        struct mem from = w->part[0];
        if (info.host &&
            (rc = m->be->mem(m->dev, from.bytes, MEM_HOST, from.p, &w->part[0], e)) < 0)
            return rc;
        if ((rc = m->be->load(m->dev, w, e)) < 0)
            return rc;
    }
    return 0;
}

/* A device with a plan that it can run. */
static int open_device(struct model *m, const char *device, const struct model_opts *o,
                       struct err *e)
{
    const char *spec;
    int rc;

    if (!(m->be = backend_find(device, &spec, e)))
        return e ? e->code : E_DEVICE;
    if ((rc = m->be->open(&m->dev, spec, e)) < 0)
        return rc;
    if ((rc = make_plan(m, o, e)) < 0 || (rc = check_plan(m, e)) < 0 ||
        (rc = place_plan(m, m->plan, e)) < 0)
        return err_prefix(e, m->gguf->path);
    return 0;
}

/* The device's name with what the options add: a limit of its memory, the CPU beside it. */
static int device_name(char *name, size_t size, const struct model_opts *o, struct err *e)
{
    const char *spec, *of = o->gpu_layers > 0 ? "gpu-layers"
                            : o->cpu_moe      ? "cpu-moe"
                                              : "device-mem";
    const struct backend *be = backend_find(o->device, &spec, e);
    char gpu[80], cpu[16] = "cpu", *at = name;
    int n;

    if (!be)
        return e ? e->code : E_DEVICE;
    if (strcmp(be->name, "cuda") != 0)
        return err_set(e, E_UNSUPPORTED, "%s: needs one GPU as device, this is '%s'", of,
                       backend_is_auto(o->device) ? be->name : o->device);
    n = snprintf(gpu, sizeof gpu, "cuda:%s", spec);
    if (o->device_mem && n < (int)sizeof gpu)
        n += snprintf(gpu + n, sizeof gpu - (size_t)n, "@%llu", (unsigned long long)o->device_mem);
    if (o->threads)
        snprintf(cpu, sizeof cpu, "cpu:%d", o->threads);
    if (n >= (int)sizeof gpu)
        return err_set(e, E_USAGE, "device %s: the name is too long", o->device);
    if (o->gpu_layers > 0)
        at += snprintf(at, size, "%s,%s=%d", cpu, gpu, o->gpu_layers);
    else
        at += snprintf(at, size, "%s", gpu);
    if (o->cpu_moe)
        snprintf(at, size - (size_t)(at - name), ",experts=%s", cpu);
    return 0;
}

static int open_weights(struct model *m, const struct model_opts *o, struct err *e)
{
    const bool plain = o->gpu_layers <= 0 && !o->cpu_moe && !o->device_mem;
    char name[128];
    int rc;

    if ((rc = hparams_read(&m->h, m->gguf, m->arch, e)) < 0 ||
        (rc = weights_find(&m->w, &m->n_w, &m->copies, m->gguf, m->arch, &m->h, e)) < 0 ||
        (rc = count_unknown(m, e)) < 0 || (rc = check_vocab(m, e)) < 0)
        return rc;
    if (m->h.kv_lora && (rc = mla_split(&m->w, &m->n_w, &m->copies, &m->h, e)) < 0)
        return err_prefix(e, m->gguf->path);
    m->n_ctx = o->n_ctx > 0 ? o->n_ctx : m->h.n_ctx_train;
    if (!plain && (rc = device_name(name, sizeof name, o, e)) < 0)
        return rc;
    rc = open_device(m, plain ? o->device : name, o, e);
    if (rc == E_UNSUPPORTED && plain && backend_is_auto(o->device) && m->dev) {
        /* the device that was chosen has no kernel for some record: the CPU has them all */
        plan_free(m->plan);
        m->plan = NULL;
        m->be->close(m->dev);
        m->dev = NULL;
        rc = open_device(m, "cpu", o, e);
    }
    return rc < 0 ? rc : load_weights(m, e);
}

/* Takes g, or src whose it is, also on failure. */
static int open_it(struct model **out, struct source *src, struct gguf *g,
                   const struct model_opts *o, struct err *e)
{
    struct err own = {0};
    struct model *m;
    int rc = E_NOMEM;

    e = e ? e : &own;
    if (!(m = mem_new(sizeof *m, e))) {
        if (src)
            source_close(src);
        else
            gguf_close(g);
        return rc;
    }
    m->src = src;
    m->gguf = g;
    rc = src ? model_source_vocab(&m->tok, src, e) : vocab_from_gguf(&m->tok, g, e);
    if (rc < 0 || (src && !o->vocab_only && (rc = model_source_load(src, e)) < 0))
        goto fail;
    if (!o->vocab_only && ((rc = find_arch(m, e)) < 0 || (rc = open_weights(m, o, e)) < 0))
        goto fail;
    *out = m;
    return 0;
fail:
    model_close(m);
    return rc;
}

int model_open(struct model **out, const char *path, const struct model_opts *opts, struct err *e)
{
    const struct model_opts *o = opts ? opts : &defaults;
    unsigned flags = (o->no_mmap ? GGUF_READ : 0) | (o->vocab_only ? HF_VOCAB_ONLY : 0);
    struct source *src;
    struct gguf *g;
    int rc;

    *out = NULL;
    if (strcmp(path, "-") == 0) { /* all of it is wanted, so it is read to its end */
        rc = gguf_open(&g, path, flags & GGUF_READ, e);
        return rc < 0 ? rc : open_it(out, NULL, g, o, e);
    }
    rc = model_source(&src, path, flags, e);
    return rc < 0 ? rc : open_it(out, src, src->g, o, e);
}

int model_open_mem(struct model **out, const char *name, const void *p, size_t n,
                   const struct model_opts *opts, struct err *e)
{
    struct gguf *g;
    int rc;

    *out = NULL;
    rc = gguf_open_mem(&g, name, p, n, e);
    return rc < 0 ? rc : open_it(out, NULL, g, opts ? opts : &defaults, e);
}
