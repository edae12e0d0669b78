/* public.c - the model and vocabulary parts of rill.h: views of what the model room opened. */
#include "engine/public.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "engine/embed.h"
#include "engine/engine.h"
#include "file/gguf.h"
#include "model/model.h"
#include "quant/quant.h"

const char *rill_version(void)
{
    return RILL_VERSION;
}

void rill_free(void *p)
{
    mem_free(p);
}

/* -- model -- */

static int copy_str(const struct gguf *g, const char *key, char **out, struct err *e)
{
    struct slice s;
    int rc = gguf_get_str(g, key, &s, e);

    if (rc <= 0)
        return rc;
    *out = mem_dup(s.p, s.n, e);
    return *out ? 0 : E_NOMEM;
}

/* *type stays what it is where there is no name. */
static int kv_type_of(const char *name, int *type, struct err *e)
{
    static const struct {
        const char *name;
        int type;
    } kv_types[] = {{"f32", FMT_F32},
                    {"f16", FMT_F16},
                    {"bf16", FMT_BF16},
                    {"fp8", FMT_KV_F8},
                    {"q8_0", FMT_Q8_0},
                    {"q4_0", FMT_Q4_0}};

    if (!name)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(kv_types); i++)
        if (strcmp(name, kv_types[i].name) == 0) {
            *type = kv_types[i].type;
            return 0;
        }
    return err_set(e, E_RANGE, "key/value type '%s': must be f32, f16, bf16, fp8, q8_0 or q4_0", name);
}

static int open_model(struct rill_model *m, const char *path, const struct rill_model_opts *o,
                      struct err *e)
{
    struct model_opts mo = MODEL_OPTS;
    char device[32];
    int rc;

    mo.device = o->device;
    mo.n_ctx = o->n_ctx;
    mo.vocab_only = o->vocab_only;
    mo.no_mmap = o->no_mmap;
    mo.threads = o->threads;
    mo.gpu_layers = o->gpu_layers;
    mo.cpu_moe = o->cpu_moe;
    mo.device_mem = o->device_mem;
    if ((rc = kv_type_of(o->kv_type, &mo.kv_type[0], e)) < 0 ||
        (rc = kv_type_of(o->kv_type, &mo.kv_type[1], e)) < 0 ||
        (rc = kv_type_of(o->v_type, &mo.kv_type[1], e)) < 0)
        return rc;
    if (o->gpu_layers < 0)
        return err_set(e, E_RANGE, "%d layers on the GPU: must be 0 (all) or more", o->gpu_layers);
    if (o->threads && !o->gpu_layers && !o->cpu_moe && !o->device_mem &&
        (!o->device || strcmp(o->device, "cpu") == 0)) {
        snprintf(device, sizeof device, "cpu:%d", o->threads);
        mo.device = device;
    }
    if ((rc = model_open(&m->m, path, &mo, e)) < 0 ||
        (rc = copy_str(m->m->gguf, "tokenizer.chat_template", &m->chat_template, e)) < 0 ||
        (rc = copy_str(m->m->gguf, "general.name", &m->name, e)) < 0)
        return rc;
    m->be = m->m->be;
    m->dev = m->m->dev;
    m->plan = m->m->plan;
    m->tok = m->m->tok;
    m->path = m->m->gguf->path;
    if (m->be)
        m->be->info(m->dev, &m->info);
    return 0;
}

int rill_model_open(struct rill_model **out, const char *path, const struct rill_model_opts *opts,
                    struct err *e)
{
    static const struct rill_model_opts none;
    struct rill_model *m = mem_new(sizeof *m, e);
    int rc = m ? open_model(m, path, opts ? opts : &none, e) : E_NOMEM;

    if (rc < 0) {
        rill_model_close(m);
        return rc;
    }
    *out = m;
    return 0;
}

void rill_model_close(struct rill_model *m)
{
    if (!m)
        return;
    model_close(m->m);
    mem_free(m->chat_template);
    mem_free(m->name);
    mem_free(m);
}

/* The file's own sampling settings, where it has some. */
static void read_sampling(const struct gguf *g, struct rill_model_info *out)
{
    int32_t k = 0;

    out->has_temperature = gguf_get_f32(g, "general.sampling.temp", &out->temperature, NULL) > 0 &&
                           out->temperature >= 0 && out->temperature <= 100;
    out->has_top_p = gguf_get_f32(g, "general.sampling.top_p", &out->top_p, NULL) > 0 &&
                     out->top_p >= 0 && out->top_p <= 1;
    out->has_min_p = gguf_get_f32(g, "general.sampling.min_p", &out->min_p, NULL) > 0 &&
                     out->min_p >= 0 && out->min_p <= 1;
    out->has_top_k = gguf_get_i32(g, "general.sampling.top_k", &k, NULL) > 0 && k >= 0;
    out->top_k = k;
}

/* What the file says of vectors, or what is usual where it says nothing. */
static void read_vectors(const struct rill_model *m, struct rill_model_info *out)
{
    static const int of[] = {[POOL_NONE] = RILL_EMBED_NONE,
                             [POOL_MEAN] = RILL_EMBED_MEAN,
                             [POOL_CLS] = RILL_EMBED_CLS,
                             [POOL_LAST] = RILL_EMBED_LAST,
                             [POOL_RANK] = RILL_EMBED_RANK};
    const struct plan *p = m->plan;
    int said = m->m && m->m->arch ? m->m->h.pooling : POOL_UNSAID;

    out->encoder = p && p->encoder;
    out->n_score = out->encoder && p->logits >= 0 ? p->value[p->logits].cols : 0;
    for (int i = 0; p && i < p->n_op && m->m; i++)
        if (p->op[i].kind == OP_embed && p->op[i].w[2] >= 0)
            out->n_type = (int)p->w[p->op[i].w[2]].rows;
    out->pooling = out->encoder ? RILL_EMBED_MEAN : RILL_EMBED_LAST;
    if (said >= 0 && (said != POOL_RANK || out->n_score))
        out->pooling = of[said];
}

static uint64_t kv_per_pos(const struct plan *p)
{
    uint64_t n = 0;

    for (int i = 0; p && i < p->n_group; i++)
        n += p->group[i].bytes / KV_PAGE;
    return n;
}

double rill_model_read(struct rill_model *m)
{
    const struct model *in = m->m;

    return in && in->be->read ? in->be->read(in->dev) : 0;
}

void rill_model_info(const struct rill_model *m, struct rill_model_info *out)
{
    const struct model *in = m->m;

    *out = (struct rill_model_info){
        .path = m->path,
        .name = m->name ? m->name : "",
        .arch = in && in->arch ? in->arch->name : "",
        .device = m->info.name,
        .chat_template = m->chat_template,
        .n_vocab = m->tok ? (int)tok_count(m->tok) : 0,
        .n_ctx = m->plan ? m->plan->n_ctx : 0,
        .kv_bytes_per_pos = kv_per_pos(m->plan),
        .state_bytes = m->plan ? m->plan->state_bytes : 0,
    };
    read_vectors(m, out);
    if (!in)
        return;
    out->n_layer = in->h.n_layer;
    out->n_embd = in->h.n_embd;
    out->n_ctx_train = in->h.n_ctx_train;
    out->n_param = in->n_param;
    out->weight_bytes = in->weight_bytes;
    read_sampling(in->gguf, out);
}

int rill_model_memory(const struct rill_model *m, int n_ctx, int n_seq, struct rill_memory *out,
                      struct err *e)
{
    struct engine_sizes s = {.max_seq = n_seq, .n_ctx = n_ctx};
    struct dev_info info;
    uint64_t *at;

    if (!m->plan)
        return err_set(e, E_USAGE, "%s: opened for its vocabulary only", m->path);
    if (n_ctx < 1 || n_seq < 1 || n_seq > ENGINE_MAX_SEQ)
        return err_set(e, E_RANGE, "%d sequences of %d positions: out of range", n_seq, n_ctx);
    engine_rows(&s);
    at = mem_array((uint64_t)m->plan->n_value, sizeof *at, e);
    if (!at)
        return E_NOMEM;
    out->weights = m->m ? m->m->weight_bytes : 0;
    out->kv = kv_bytes_for(m->plan->group, m->plan->n_group, n_seq, n_ctx, s.max_batch);
    out->state = (uint64_t)m->plan->state_bytes * (uint64_t)(n_seq + s.n_state + s.n_spare);
    out->work = plan_arena(m->plan, s.max_batch, s.max_out, at);
    m->be->info(m->dev, &info);
    out->free = info.bytes_free;
    mem_free(at);
    return 0;
}

static const char *kernel_of(const void *ctx, const struct op *op)
{
    const struct segment *s = ctx;

    return s->kernel ? s->kernel[op - s->plan->op] : NULL;
}

int rill_model_plan(struct rill_model *m, char **out, size_t *n, struct err *e)
{
    struct rill_engine_opts o = {.max_seq = 1, .max_batch = 1, .n_ctx = 256};
    struct rill_engine *g;
    struct buf b = {0};
    int rc;

    if (m->plan && o.n_ctx > m->plan->n_ctx)
        o.n_ctx = m->plan->n_ctx;
    if ((rc = rill_engine_open(&g, m, &o, e)) < 0)
        return rc;
    plan_print(m->plan, &b, kernel_of, g->embed ? embed_segment(g->embed) : &g->seg);
    rill_engine_close(g);
    if (b.bad) {
        buf_fini(&b);
        return err_nomem(e, b.n);
    }
    *out = b.p;
    *n = b.n;
    return 0;
}

/* -- vocabulary -- */

static unsigned tok_flags(unsigned flags)
{
    return (flags & RILL_ADD_SPECIAL ? TOK_ADD : 0) | (flags & RILL_PARSE_SPECIAL ? TOK_PARSE : 0) |
           (flags & RILL_AFTER ? TOK_AFTER : 0);
}

int rill_tokenize(const struct rill_model *m, const char *text, size_t n, unsigned flags,
                  int32_t **ids, size_t *n_ids, struct err *e)
{
    struct tok_ids list = {0};
    int rc = m->tok ? tok_encode(m->tok, (struct slice){text, n}, tok_flags(flags), &list, e)
                    : err_set(e, E_UNSUPPORTED, "%s: the file has no vocabulary", m->path);

    if (rc < 0) {
        tok_ids_fini(&list);
        return rc;
    }
    *ids = list.id;
    *n_ids = list.n;
    return 0;
}

int rill_tokenize_pair(const struct rill_model *m, const char *first, size_t n_first,
                       const char *second, size_t n_second, unsigned flags, int32_t **ids,
                       unsigned char **types, size_t *n_ids, struct err *e)
{
    struct rill_model_info info;
    struct tok_ids list = {0};
    struct buf type = {0};
    int rc = m->tok ? tok_encode_pair(m->tok, (struct slice){first, n_first},
                                      (struct slice){second, n_second}, tok_flags(flags), &list,
                                      &type, e)
                    : err_set(e, E_UNSUPPORTED, "%s: the file has no vocabulary", m->path);

    if (rc < 0) {
        tok_ids_fini(&list);
        buf_fini(&type);
        return rc;
    }
    rill_model_info(m, &info);
    for (size_t i = 0; i < type.n; i++)
        if ((unsigned char)type.p[i] >= info.n_type)
            type.p[i] = 0;
    *ids = list.id;
    *types = (unsigned char *)type.p;
    *n_ids = list.n;
    return 0;
}

const char *rill_piece(const struct rill_model *m, int32_t id, bool control, size_t *n)
{
    struct slice s = tok_piece(m->tok, id);

    *n = tok_kind_of(m->tok, id) == TOK_CONTROL && !control ? 0 : s.n;
    return s.p;
}

const struct tok *rill_vocab(const struct rill_model *m)
{
    return m->tok;
}

int32_t rill_bos(const struct rill_model *m)
{
    return tok_role_id(m->tok, TOK_BOS);
}

int32_t rill_eos(const struct rill_model *m)
{
    return tok_role_id(m->tok, TOK_EOS);
}

bool rill_is_end(const struct rill_model *m, int32_t id)
{
    return tok_is_end(m->tok, id);
}

struct rill_sampling rill_sampling_of(const struct rill_model *m)
{
    struct rill_sampling s = rill_sampling_defaults();
    struct rill_model_info i;

    rill_model_info(m, &i);
    if (i.has_temperature)
        s.temperature = i.temperature;
    if (i.has_top_p)
        s.top_p = i.top_p;
    if (i.has_top_k)
        s.top_k = i.top_k;
    if (i.has_min_p)
        s.min_p = i.min_p;
    return s;
}
