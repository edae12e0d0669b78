/* encode.c - see encode.h: picks the level's encoder, or the definition. */
#include "kernels/encode.h"

#include "base/mem.h"
#include "kernels/cpu/cpu_kernels.h"
#include "quant/grid_encode.h"
#include "quant/k_fit.h"
#include "quant/quant.h"

struct encoder {
    const struct fmt_info *f;
    struct grid_search *grid; // of formats that need one
    void (*fast)(const float *in, const float *column, float mean2, void *blocks, size_t n_blocks);
};

bool encoder_exists(int fmt)
{
    const struct fmt_info *f = fmt_find(fmt);

    return f && (f->encode || grid_format(fmt));
}

int encoder_new(struct encoder **out, int fmt, struct err *e)
{
    const struct fmt_info *f = fmt_find(fmt);
    const struct cpu_kernels *k = cpu_detect(NULL, e);
    struct encoder *c;

    *out = NULL;
    if (!k)
        return e ? e->code : E_DEVICE;
    if (!encoder_exists(fmt))
        return err_set(e, E_UNSUPPORTED, "weights cannot be encoded as %s", f ? f->name : "?");
    if (!(c = mem_new(sizeof *c, e)))
        return E_NOMEM;
    c->f = f;
    c->fast = k->encode[fmt] ? k->encode[fmt] : f->encode_weighted;
    if (grid_format(fmt) && grid_search_new(&c->grid, fmt, e) < 0) {
        mem_free(c);
        return E_NOMEM;
    }
    *out = c;
    return 0;
}

void encoder_free(struct encoder *c)
{
    if (c)
        grid_search_free(c->grid);
    mem_free(c);
}

void encode_row(const struct encoder *c, const float *in, const float *column, uint64_t n,
                void *out)
{
    const struct fmt_info *f = c->f;
    size_t blocks = (size_t)(n / (uint64_t)f->block);

    if (c->grid) {
        grid_encode(c->grid, in, column, out, blocks);
        return;
    }
    if (!c->fast) {
        f->encode(in, out, blocks);
        return;
    }
    if (!f->encode_weighted)
        column = NULL;
    c->fast(in, column, column ? k_mean2((int)n, in) : 0.0f, out, blocks);
}

int decoder_find(struct decoder *d, int fmt, struct err *e)
{
    const struct fmt_info *f = fmt_find(fmt);
    const struct cpu_kernels *k = cpu_detect(NULL, e);

    if (!k)
        return e ? e->code : E_DEVICE;
    if (!f)
        return err_set(e, E_UNSUPPORTED, "weights of type %d are not known", fmt);
    d->fmt = fmt;
    d->run = fmt == FMT_F16 && k->decode_f16 ? k->decode_f16 : f->decode;
    return 0;
}

void decode_row(const struct decoder *d, const void *in, uint64_t n, float *out)
{
    d->run(in, out, (size_t)(n / (uint64_t)fmt_find(d->fmt)->block));
}
