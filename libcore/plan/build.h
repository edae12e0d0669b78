/* build.h - how an architecture writes its plan.
 *
 * Errors are sticky: after the first one every call does nothing and returns none; the
 * architecture asks once, at the end (b_status). Each call checks its weights' shapes against its
 * inputs and names the tensor when they disagree.
 */
#ifndef RILL_PLAN_BUILD_H
#define RILL_PLAN_BUILD_H

#include "plan/plan.h"

typedef struct ref val;
typedef int wref; // index of a weight, -1: none

struct builder;

/* weights: the model's table, borrowed, names unique. n_ctx: positions the plan is for. */
int b_new(struct builder **out, struct weight *w, int n_w, int n_ctx, struct err *e);
void b_free(struct builder *b);
struct plan *b_take(struct builder *b); // the finished plan, now the caller's; NULL after an error
int b_status(const struct builder *b);
int b_fail(struct builder *b, int code, const char *fmt, ...) ERR_PRINTF(3, 4);

/* Weights by name: "blk.<layer>.<name>.<weight|bias>", without the first part for layer < 0.
 * W and Wb fail when it is absent, Wopt and Bopt give -1. */
wref W(struct builder *b, const char *name, int layer);
wref Wopt(struct builder *b, const char *name, int layer);
wref Wb(struct builder *b, const char *name, int layer);   // ".bias", required
wref Bopt(struct builder *b, const char *name, int layer); // ".bias", optional
wref Wraw(struct builder *b, const char *name, int layer); // no suffix added, optional ("ssm_a")
const struct weight *b_weight(const struct builder *b, wref w); // NULL: none
int b_context(const struct builder *b); // positions the plan is for

/* From here on each matrix of a linear is followed by a lora record. */
void b_adapted(struct builder *b, bool steered);

/* Sets the layer that following records belong to (-1: none). */
void b_layer(struct builder *b, int layer);

/* Values and their columns. b_cols: columns [at, at + cols) of v, free of cost. */
val b_value(struct builder *b, enum row_kind rows, int cols);
val b_cols(struct builder *b, val v, int at, int cols);
#define B_NONE ((val){-1, 0, 0})

val b_embed(struct builder *b, wref table, wref positions, float scale);
val b_embed_typed(struct builder *b, wref table, wref positions, wref types);
val b_take_rows(struct builder *b, val x);
val b_copy_to(struct builder *b, val to, val x);

/* group: columns normalized together (a head's width), 0: the row. add: B_NONE or a residual. */
val b_rmsnorm(struct builder *b, val x, wref w, float eps, int group, val add);
val b_layernorm(struct builder *b, val x, wref w, wref bias, float eps, int group, val add);
/* As b_rmsnorm, into columns made before. */
val b_rmsnorm_to(struct builder *b, val to, val x, wref w, float eps, int group);

val b_linear(struct builder *b, val x, wref w, wref bias);
val b_linear_act(struct builder *b, val x, wref w, wref bias, enum act_kind act);
val b_linear_add(struct builder *b, val x, wref w, wref bias, float scale, val add);
val b_linear_to(struct builder *b, val to, val x, wref w, wref bias, enum act_kind act);
/* Several matrices of one input, side by side: the value's columns follow the order of w[]. */
val b_linear_multi(struct builder *b, val x, const wref *w, const wref *bias, int n);
/* out[h*head_out + at_out ..] = W_h x[h*head_in + at_in ..] */
val b_linear_heads(struct builder *b, val to, val x, wref w, int n_head, int head_in, int at_in,
                   int head_out, int at_out);
val b_glu(struct builder *b, val x, wref gate, wref up, wref gate_b, wref up_b, enum act_kind act,
          float limit); // up < 0: gate holds both, gate first

val b_rope(struct builder *b, val x, const struct rope_args *a, wref factors); // whole heads
val b_rope_to(struct builder *b, val to, val x, const struct rope_args *a, wref factors);
/* A new key/value layer and its store; dv 0: V lies in K and v is B_NONE. Returns the layer. */
int b_kv_store(struct builder *b, val k, val v, int n_kv, int dk, int dv, int window);
val b_attn(struct builder *b, val q, const struct attn_args *a, wref sinks);

struct moe_in {
    val x;      // input of the experts
    val router; // [T x n_expert] logits
    wref bias;  // added when choosing only
    wref gate, up, down, gate_b, up_b, down_b; // stacks
    val add;    // residual or B_NONE
    float out_scale; // of the sum before the residual
};
val b_moe(struct builder *b, const struct moe_in *in, const struct moe_args *a);

val b_conv1d(struct builder *b, val x, wref w, wref bias, enum act_kind act);
val b_shift(struct builder *b, val x);
val b_lerp(struct builder *b, val x, val y, wref w);
val b_lerp_by(struct builder *b, val x, val y, val gate); // gate already in 0..1
val b_ssm_scan(struct builder *b, val xbc, val dt, wref a, wref d, wref dt_bias, int n_head,
               int head_dim, int n_group, int d_state);
/* in: [T x 5 width] r | w | k | v | a; see ops.def. */
val b_rwkv(struct builder *b, val in, wref k_k, wref k_a, wref r_k, wref ln_w, wref ln_b,
           int n_head, int head_dim, float eps);

val b_add(struct builder *b, val x, val y);
val b_mul(struct builder *b, val x, val y, enum act_kind act_of_y);
val b_scale(struct builder *b, val x, float s);
val b_act(struct builder *b, val x, enum act_kind act);
val b_act_to(struct builder *b, val to, val x, enum act_kind act);

/* Ends the plan: x is [T x width], normalized; w the output table. logit = softcap(scale * x w). */
void b_logits(struct builder *b, val x, wref w, wref bias, float scale, float softcap);
/* Ends the plan of an encoder: x is [T x width]. Scores of the rows that are asked for, if w >= 0:
 * score = w tanh(pre x + pre_bias) + bias; pre < 0: w x + bias. */
void b_encoded(struct builder *b, val x, wref pre, wref pre_bias, wref w, wref bias);

#endif
