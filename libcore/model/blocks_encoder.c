/* blocks_encoder.c - what encoders have in common: layers that are normed behind their residuals,
 * rows that see all of their text, no logits.
 */
#include "model/blocks.h"

static val part_norm(struct builder *b, const struct hparams *h, int l, val x, const char *name)
{
    return b_layernorm(b, x, W(b, name, l), Wb(b, name, l), h->eps, 0, B_NONE);
}

void blk_encoder(struct builder *b, const struct hparams *h, val x, const struct self_attn *a,
                 enum act_kind act)
{
    x = part_norm(b, h, -1, x, "token_embd_norm");
    for (int l = 0; l < h->n_layer; l++) {
        b_layer(b, l);
        x = part_norm(b, h, l, blk_attn_out(b, h, l, x, a, 1.0f, x), "attn_output_norm");
        x = part_norm(b, h, l, blk_ffn(b, h, l, x, act, 1.0f, x), "layer_output_norm");
    }
    b_encoded(b, x, Wopt(b, "cls", -1), Bopt(b, "cls", -1), Wopt(b, "cls.output", -1),
              Bopt(b, "cls.output", -1));
}

int blk_encoder_derive(struct hparams *h, struct err *e)
{
    if (h->causal)
        return err_set(e, E_UNSUPPORTED, "an encoder whose rows see only what stands before them");
    return 0;
}
