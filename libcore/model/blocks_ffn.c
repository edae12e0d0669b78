/* blocks_ffn.c - feed-forward networks, dense and with experts, and the logits. */
#include "model/blocks.h"

val blk_ffn_named(struct builder *b, int l, val x, const char *const name[3], enum act_kind act,
                  float scale, val add)
{
    wref gate = Wopt(b, name[0], l), up = W(b, name[1], l), down = W(b, name[2], l);
    const struct weight *u = b_weight(b, up), *d = b_weight(b, down);
    val y;

    if (gate >= 0)
        y = b_glu(b, x, gate, up, Bopt(b, name[0], l), Bopt(b, name[1], l), act, 0);
    else if (u && d && u->rows == 2 * d->cols)
        y = b_glu(b, x, up, -1, Bopt(b, name[1], l), -1, act, 0);
    else
        y = b_linear_act(b, x, up, Bopt(b, name[1], l), act);
    if (add.v >= 0)
        return b_linear_add(b, y, down, Bopt(b, name[2], l), scale, add);
    y = b_linear(b, y, down, Bopt(b, name[2], l));
    return scale != 0.0f && scale != 1.0f ? b_scale(b, y, scale) : y;
}

val blk_ffn(struct builder *b, const struct hparams *h, int l, val x, enum act_kind act,
            float scale, val add)
{
    static const char *const names[3] = {"ffn_gate", "ffn_up", "ffn_down"};

    (void)h;
    return blk_ffn_named(b, l, x, names, act, scale, add);
}

val blk_moe(struct builder *b, const struct hparams *h, int l, val x, const struct experts *x_args,
            val add)
{
    struct moe_args a = {
        .n_expert = h->n_expert,
        .n_used = h->n_used,
        .gate = x_args->gate,
        .n_group = h->n_group > 1 ? h->n_group : 0,
        .n_group_used = h->n_group > 1 ? h->n_group_used : 0,
        .norm = x_args->norm,
        .act = x_args->act,
        .scale = x_args->scale,
        .limit = x_args->limit,
    };
    struct moe_in in = {
        .x = x,
        .router = b_linear(b, x, W(b, "ffn_gate_inp", l), Bopt(b, "ffn_gate_inp", l)),
        .bias = Bopt(b, "exp_probs_b", l),
        .gate = W(b, "ffn_gate_exps", l),
        .up = W(b, "ffn_up_exps", l),
        .down = W(b, "ffn_down_exps", l),
        .gate_b = Bopt(b, "ffn_gate_exps", l),
        .up_b = Bopt(b, "ffn_up_exps", l),
        .down_b = Bopt(b, "ffn_down_exps", l),
        .add = add,
        .out_scale = x_args->out_scale,
    };

    return b_moe(b, &in, &a);
}

void blk_logits(struct builder *b, const struct hparams *h, val x)
{
    wref w = Wopt(b, "output", -1);

    b_logits(b, x, w >= 0 ? w : W(b, "token_embd", -1), Bopt(b, "output", -1), h->logit_scale,
             h->final_softcap);
}
