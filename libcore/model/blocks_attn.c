/* blocks_attn.c - self-attention and positions, as most architectures have them. */
#include "model/blocks.h"

#include <math.h>

struct rope_args blk_rope(const struct hparams *h, int n_head, bool local)
{
    struct rope_args a = {
        .n_head = n_head,
        .head_in = h->dk,
        .head_out = h->dk,
        .n_rot = h->n_rot,
        .n_ctx_orig = h->n_ctx_orig,
        .base = local && h->rope_base_local > 0.0f ? h->rope_base_local : h->rope_base,
        .freq_scale = 1.0f,
        .attn_factor = 1.0f,
        .beta_fast = h->beta_fast,
        .beta_slow = h->beta_slow,
    };
    float factor = h->rope_factor > 0.0f ? h->rope_factor : 1.0f;

    /* layers with a base of their own see few positions: theirs are not stretched */
    if (local && h->rope_base_local > 0.0f)
        return a;
    if (h->rope_scaling == ROPE_SCALE_LINEAR || h->rope_scaling == ROPE_SCALE_YARN)
        a.freq_scale = 1.0f / factor;
    if (h->rope_scaling == ROPE_SCALE_YARN) {
        a.ext_factor = h->rope_ext > 0.0f ? h->rope_ext : 1.0f;
        a.attn_factor = 1.0f + 0.1f * logf(factor); /* YaRN, section 3.4 */
        if (h->rope_attn > 0.0f)
            a.attn_factor *= h->rope_attn;
    } else if (h->rope_attn > 0.0f) /* longrope; phi3 files have it without naming the method */
        a.attn_factor = h->rope_attn;
    return a;
}

wref blk_rope_factors(struct builder *b, const struct hparams *h)
{
    bool beyond = b_context(b) > h->n_ctx_orig;
    wref w = Wopt(b, beyond ? "rope_factors_long" : "rope_factors_short", -1);

    return w >= 0 ? w : Wopt(b, "rope_freqs", -1);
}

/* Queries, keys and values side by side, whichever way the file has them. */
static val qkv(struct builder *b, int l, val x)
{
    static const char *const names[3] = {"attn_q", "attn_k", "attn_v"};
    wref w[3] = {-1, -1, -1}, bias[3];

    if (Wopt(b, "attn_qkv", l) >= 0)
        return b_linear(b, x, Wopt(b, "attn_qkv", l), Bopt(b, "attn_qkv", l));
    for (int i = 0; i < 3; i++) {
        w[i] = W(b, names[i], l);
        bias[i] = Bopt(b, names[i], l);
    }
    return b_linear_multi(b, x, w, bias, 3);
}

/* Queries or keys, normed and rotated. */
static val turn(struct builder *b, const struct hparams *h, int l, val x, int n_head,
                const char *norm, const struct self_attn *a)
{
    struct rope_args r = blk_rope(h, n_head, hparams_local(h, l));
    bool local = hparams_local(h, l) && h->rope_base_local > 0.0f;

    if (Wopt(b, norm, l) < 0 && a->norm == QK_HEAD_LN)
        ; /* only the larger models of a family have it */
    else if (a->norm == QK_HEAD_LN)
        x = b_layernorm(b, x, W(b, norm, l), -1, h->eps, h->dk, B_NONE);
    else if (a->norm != QK_NONE)
        x = b_rmsnorm(b, x, W(b, norm, l), h->eps, a->norm == QK_HEAD ? h->dk : 0, B_NONE);
    if (a->no_rope)
        return x;
    r.mode = a->mode;
    r.ramp_exact = a->ramp_exact;
    return b_rope(b, x, &r, local ? -1 : blk_rope_factors(b, h));
}

val blk_attn(struct builder *b, const struct hparams *h, int l, val x, const struct self_attn *a)
{
    int n_q = h->n_head[l] * h->dk, n_k = h->n_head_kv[l] * h->dk, n_v = h->n_head_kv[l] * h->dv;
    float scale = a->scale != 0.0f ? a->scale : h->attn_scale;
    struct attn_args at = {
        .n_head = h->n_head[l],
        .n_kv = h->n_head_kv[l],
        .dk = h->dk,
        .dv = h->dv,
        .window = hparams_local(h, l) ? h->window : 0,
        .scale = scale != 0.0f ? scale : 1.0f / sqrtf((float)h->dk),
        .softcap = h->attn_softcap,
        .alibi = h->alibi,
    };
    val all = qkv(b, l, x);
    val q = turn(b, h, l, b_cols(b, all, 0, n_q), h->n_head[l], "attn_q_norm", a);
    val k = turn(b, h, l, b_cols(b, all, n_q, n_k), h->n_head_kv[l], "attn_k_norm", a);

    at.kv =
        b_kv_store(b, k, b_cols(b, all, n_q + n_k, n_v), h->n_head_kv[l], h->dk, h->dv, at.window);
    return b_attn(b, q, &at, a->sinks ? W(b, "attn_sinks", l) : -1);
}

val blk_attn_out(struct builder *b, const struct hparams *h, int l, val x,
                 const struct self_attn *a, float scale, val add)
{
    val y = blk_attn(b, h, l, x, a);

    if (add.v >= 0)
        return b_linear_add(b, y, W(b, "attn_output", l), Bopt(b, "attn_output", l), scale, add);
    y = b_linear(b, y, W(b, "attn_output", l), Bopt(b, "attn_output", l));
    return scale != 0.0f && scale != 1.0f ? b_scale(b, y, scale) : y;
}
