/* lora_write.c - an adapter as a GGUF file. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "file/gguf.h"
#include "model/lora.h"
#include "quant/quant.h"

/* One of the two tensors of a pair, as the file has it. */
struct half {
    const float *v;
    uint64_t ne[3];
    float factor;
    bool turned; // v is [ne[0] x ne[1]], to be written [ne[1] x ne[0]]
    int type;
};

/* The table of tokens has A and B the other way round. */
static void halves(const struct lora_pair *p, float alpha, int type, struct half out[2])
{
    float factor = alpha == p->alpha ? 1 : p->alpha / alpha;
    uint64_t rank = (uint64_t)p->rank, rows = (uint64_t)p->rows, cols = (uint64_t)p->cols;

    out[0] = (struct half){.v = p->a, .ne = {cols, rank, (uint64_t)p->n}, .factor = 1};
    out[1] = (struct half){.v = p->b, .ne = {rank, rows, (uint64_t)p->n}, .factor = factor};
    if (strcmp(p->name, "token_embd.weight") == 0) {
        out[0] = (struct half){.v = p->b, .ne = {rank, rows, 1}, .factor = factor};
        out[1] = (struct half){.v = p->a, .ne = {rank, cols, 1}, .factor = 1, .turned = true};
    }
    for (int i = 0; i < 2; i++) {
        const struct fmt_info *f = fmt_find(type < 0 ? p->type : type);

        if (!f->encode || out[i].ne[0] % (uint64_t)f->block)
            f = fmt_find(FMT_F16);
        out[i].type = f->id;
    }
}

static void put_half(struct gguf_out *w, const char *name, const char *tail, const struct half *h)
{
    char full[96];
    int n = snprintf(full, sizeof full, "%s%s", name, tail);

    gguf_put_tensor(w, (struct slice){full, (size_t)n}, (uint32_t)h->type, h->ne[2] > 1 ? 3 : 2,
                    h->ne);
}

static int write_half(struct gguf_out *w, const struct half *h, struct err *e)
{
    const struct fmt_info *f = fmt_find(h->type);
    uint64_t n = h->ne[0], rows = h->ne[1] * h->ne[2], bytes = n / (uint64_t)f->block;
    float *row = mem_array(n, sizeof *row, e);
    void *to = mem_array(bytes, (size_t)f->bytes, e);
    int rc = row && to ? 0 : E_NOMEM;

    for (uint64_t r = 0; r < rows && rc == 0; r++) {
        for (uint64_t c = 0; c < n; c++)
            row[c] = h->factor * h->v[h->turned ? c * rows + r : r * n + c];
        f->encode(row, to, bytes);
        rc = gguf_data(w, to, bytes * (uint64_t)f->bytes, e);
    }
    mem_free(row);
    mem_free(to);
    return rc;
}

int lora_write(const struct lora *l, const struct arch *a, const char *path, int type,
               struct err *e)
{
    float alpha = l->pair[0].alpha != 0 ? l->pair[0].alpha : 1;
    struct gguf_out *w = NULL;
    struct half h[2];
    int rc;

    if (type >= 0 && (!fmt_find(type) || !fmt_find(type)->encode))
        return err_set(e, E_UNSUPPORTED, "%s: adapters cannot be written in this type", path);
    if ((rc = gguf_create(&w, path, 0, e)) < 0)
        return rc;
    gguf_put_str(w, "general.architecture", slice_of(a->name));
    gguf_put_str(w, "general.type", SLICE("adapter"));
    gguf_put_str(w, "adapter.type", SLICE("lora"));
    gguf_put_f32(w, "adapter.lora.alpha", alpha);
    if (type >= 0 && fmt_find(type)->block > 1)
        gguf_put_u32(w, "general.quantization_version", 2);
    for (uint32_t i = 0; i < l->n_pair; i++) {
        halves(&l->pair[i], alpha, type, h);
        put_half(w, l->pair[i].name, ".lora_a", &h[0]);
        put_half(w, l->pair[i].name, ".lora_b", &h[1]);
    }
    rc = gguf_begin(w, e);
    for (uint32_t i = 0; i < l->n_pair && rc == 0; i++) {
        halves(&l->pair[i], alpha, type, h);
        for (int k = 0; k < 2 && rc == 0; k++)
            rc = write_half(w, &h[k], e);
    }
    if (rc < 0) {
        gguf_abort(w);
        return rc;
    }
    return gguf_finish(w, e);
}
