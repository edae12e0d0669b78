/* encode.c - see encode.h: picks the level's encoder, or the definition. */
#include "kernels/encode.h"

#include "base/mem.h"
#include "kernels/cpu/cpu_kernels.h"
#include "quant/k_fit.h"
#include "quant/quant.h"

struct encoder {
    const struct fmt_info *f;
    void (*fast)(const float *in, const float *column, float mean2, void *blocks, size_t n_blocks);
};

int encoder_new(struct encoder **out, int fmt, struct err *e)
{
    const struct fmt_info *f = fmt_find(fmt);
    const struct cpu_kernels *k = cpu_detect(e);
    struct encoder *c;

    *out = NULL;
    if (!k)
        return e ? e->code : E_DEVICE;
    if (!f || !f->encode)
        return err_set(e, E_UNSUPPORTED, "weights cannot be encoded as %s", f ? f->name : "?");
    if (!(c = mem_new(sizeof *c, e)))
        return E_NOMEM;
    c->f = f;
    c->fast = k->encode[fmt] ? k->encode[fmt] : f->encode_weighted;
    *out = c;
    return 0;
}

void encoder_free(struct encoder *c)
{
    mem_free(c);
}

void encode_row(const struct encoder *c, const float *in, const float *column, uint64_t n,
                void *out)
{
    const struct fmt_info *f = c->f;
    size_t blocks = (size_t)(n / (uint64_t)f->block);

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
    const struct cpu_kernels *k = cpu_detect(e);

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
