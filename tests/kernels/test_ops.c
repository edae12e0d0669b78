/* test_ops.c - every record kind against the definition, on every level, under every schedule. */
#include "tests/kernels/ref.h"

#define NONE ((struct ref){-1, 0, 0})

/* A rig of three sequences; long ones cost tests of attention their time. */
START_TEST(embed_scales_and_adds_positions)
{
    struct rig *r = rig_three(1, 9, 1, 40);
    struct ref x = rig_value(r, ROWS_T, 50);
    struct op *op = rig_op(r, OP_embed, x, NONE);

    op->w[0] = (int16_t)rig_weight(r, 1, RIG_VOCAB, 50, 1.0);
    op->w[1] = (int16_t)rig_weight(r, 1, RIG_LEN, 50, 1.0);
    op->a.lin.scale = 3.5f;
    check_rig(r, 1e-6);
}
END_TEST

START_TEST(embed_adds_types)
{
    for (int positions = 0; positions < 2; positions++) {
        struct rig *r = rig_three(2, 9, 1, 40);
        struct ref x = rig_value(r, ROWS_T, 50);
        struct op *op = rig_op(r, OP_embed, x, NONE);

        op->w[0] = (int16_t)rig_weight(r, 1, RIG_VOCAB, 50, 1.0);
        if (positions)
            op->w[1] = (int16_t)rig_weight(r, 1, RIG_LEN, 50, 1.0);
        op->w[2] = (int16_t)rig_weight(r, 1, RIG_TYPES, 50, 1.0);
        check_rig(r, 1e-6);
    }
}
END_TEST

START_TEST(norms)
{
    static const struct {
        int kind, cols, group, n_w;
        bool bias, add;
    } cases[] = {{OP_rmsnorm, 96, 0, 96, false, false},    {OP_rmsnorm, 77, 0, 0, false, true},
                 {OP_rmsnorm, 96, 24, 24, false, true},    {OP_rmsnorm, 96, 24, 96, false, false},
                 {OP_layernorm, 131, 0, 131, true, false}, {OP_layernorm, 64, 16, 16, false, true},
                 {OP_layernorm, 64, 0, 0, false, false}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rig *r = rig_three(i, 5, 3, 30);
        struct ref x = rig_embed(r, cases[i].cols), y = rig_value(r, ROWS_T, cases[i].cols);
        struct op *op = rig_op(r, cases[i].kind, y, x);

        op->a.norm.eps = 1e-5f;
        op->a.norm.group = cases[i].group;
        if (cases[i].n_w)
            op->w[0] = (int16_t)rig_vec(r, cases[i].n_w);
        if (cases[i].bias)
            op->w[1] = (int16_t)rig_vec(r, cases[i].n_w);
        if (cases[i].add)
            op->in[1] = x;
        check_rig(r, 1e-6);
    }
}
END_TEST

START_TEST(linears)
{
    static const struct {
        int in, out, act;
        bool bias, add;
        float scale;
    } cases[] = {{64, 40, ACT_NONE, false, false, 0},    {65, 7, ACT_NONE, true, true, 0.25f},
                 {100, 333, ACT_GELU, true, false, 0},   {32, 16, ACT_SIGMOID, false, false, 0},
                 {48, 600, ACT_RELU2, true, true, 2.0f}, {16, 1, ACT_TANH, false, false, 0}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rig *r = rig_three(i + 10, 6, 1, 35);
        struct ref x = rig_embed(r, cases[i].in);
        struct ref more = cases[i].add ? rig_linear(r, x, cases[i].out, FMT_F32) : NONE;
        struct op *op;

        rig_linear(r, x, cases[i].out, FMT_F32);
        op = &r->op[r->p.n_op - 1];
        op->act = (uint8_t)cases[i].act;
        op->a.lin.scale = cases[i].scale;
        op->in[1] = more;
        if (cases[i].bias)
            op->w[1] = (int16_t)rig_vec(r, cases[i].out);
        check_rig(r, 3e-6);
    }
}
END_TEST

START_TEST(linear_of_columns_and_many)
{
    struct rig *r = rig_three(20, 6, 1, 35);
    struct ref x = rig_embed(r, 96), y = rig_value(r, ROWS_T, 40 + 8 + 24);
    struct op *op = rig_op(r, OP_linear_multi, y, rig_cols(x, 16, 48));

    op->w[0] = (int16_t)rig_weight(r, 1, 40, 48, 0.2);
    op->w[1] = (int16_t)rig_weight(r, 1, 8, 48, 0.2);
    op->w[2] = (int16_t)rig_weight(r, 1, 24, 48, 0.2);
    op->w[5] = (int16_t)rig_vec(r, 8);
    check_rig(r, 3e-6);
}
END_TEST

START_TEST(linear_per_head)
{
    struct rig *r = rig_three(21, 6, 1, 35);
    struct ref x = rig_embed(r, 5 * 24), y = rig_value(r, ROWS_T, 5 * 40);
    struct op *op = rig_op(r, OP_copy, y, x);

    op->in[0] = op->out[0] = rig_cols(y, 0, 5 * 24); // 16 of every 40 columns stay as they were
    op->in[0].v = x.v;
    op = rig_op(r, OP_linear_heads, y, x);
    op->w[0] = (int16_t)rig_weight(r, 5, 40, 16, 0.25);
    op->a.heads.n_head = 5;
    op->a.heads.head_in = 24;
    op->a.heads.at_in = 8;
    op->a.heads.n_in = 16;
    op->a.heads.head_out = 40;
    op->a.heads.n_out = 40;
    check_rig(r, 3e-6);
}
END_TEST

/* Sequences with no, one and two adapters in one batch; a matrix that one of them leaves alone. */
START_TEST(adapters)
{
    struct rig *r = rig_three(7, 9, 30, 25);
    struct ref x = rig_embed(r, 96), y = rig_linear(r, x, 200, FMT_F32), z;

    rig_lora(r, x, y, 8, 3);
    z = rig_linear(r, rig_cols(y, 40, 70), 51, FMT_F32);
    rig_lora(r, rig_cols(y, 40, 70), z, 0, 33);
    check_rig(r, 1e-5);
}
END_TEST

START_TEST(gated_networks)
{
    static const struct {
        int act;
        bool fused, bias;
    } cases[] = {{ACT_SILU, false, false},
                 {ACT_GELU_TANH, true, false},
                 {ACT_SWIGLU_OAI, false, true},
                 {ACT_GELU, true, true}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rig *r = rig_three(i + 30, 6, 1, 35);
        struct ref x = rig_embed(r, 48), y = rig_value(r, ROWS_T, 70);
        struct op *op = rig_op(r, OP_glu, y, x);

        op->act = (uint8_t)cases[i].act;
        op->a.lin.limit = 0.9f;
        op->a.lin.fused = cases[i].fused;
        op->w[0] = (int16_t)rig_weight(r, 1, cases[i].fused ? 140 : 70, 48, 0.3);
        if (!cases[i].fused)
            op->w[1] = (int16_t)rig_weight(r, 1, 70, 48, 0.3);
        if (cases[i].bias)
            op->w[2] = (int16_t)rig_vec(r, cases[i].fused ? 140 : 70);
        if (cases[i].bias && !cases[i].fused)
            op->w[3] = (int16_t)rig_vec(r, 70);
        check_rig(r, 4e-6);
    }
}
END_TEST

START_TEST(rotary_positions)
{
    static const struct rope_args cases[] = {{.n_head = 3,
                                              .head_in = 32,
                                              .head_out = 32,
                                              .n_rot = 32,
                                              .mode = ROPE_NEOX,
                                              .base = 1e4f,
                                              .freq_scale = 1},
                                             {.n_head = 3,
                                              .head_in = 32,
                                              .head_out = 32,
                                              .n_rot = 12,
                                              .mode = ROPE_NORM,
                                              .base = 5e5f,
                                              .freq_scale = 0.25f},
                                             {.n_head = 3,
                                              .head_in = 32,
                                              .head_out = 32,
                                              .at_in = 6,
                                              .at_out = 6,
                                              .n_rot = 20,
                                              .mode = ROPE_NEOX,
                                              .base = 1e4f,
                                              .freq_scale = 1,
                                              .attn_factor = 1.3f},
                                             {.n_head = 3,
                                              .head_in = 32,
                                              .head_out = 32,
                                              .n_rot = 32,
                                              .mode = ROPE_NORM,
                                              .base = 1e4f,
                                              .freq_scale = 0.0625f,
                                              .ext_factor = 1,
                                              .attn_factor = 1.1f,
                                              .beta_fast = 32,
                                              .beta_slow = 1,
                                              .n_ctx_orig = 4096},
                                             {.n_head = 3,
                                              .head_in = 32,
                                              .head_out = 32,
                                              .n_rot = 32,
                                              .mode = ROPE_NEOX,
                                              .base = 1.5e5f,
                                              .freq_scale = 0.03125f,
                                              .ext_factor = 1,
                                              .beta_fast = 32,
                                              .beta_slow = 1,
                                              .n_ctx_orig = 4096,
                                              .ramp_exact = true}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rig *r = rig_three(i + 40, 6, 1, 300);
        struct ref x = rig_embed(r, 96), y = rig_value(r, ROWS_T, 96);
        struct op *op = rig_op(r, OP_rope, y, x);

        op->a.rope = cases[i];
        if (i % 2)
            op->w[0] = (int16_t)rig_vec(r, cases[i].n_rot / 2);
        check_rig(r, 3e-6);
    }
}
END_TEST

static const struct {
    struct attn_args a;
    int type_k, type_v;
    bool sinks;
} attentions[] = {
    {{.n_head = 4, .n_kv = 4, .dk = 16, .dv = 16, .scale = 0.6f}, FMT_F32, FMT_F32, false},
    {{.n_head = 6, .n_kv = 2, .dk = 24, .dv = 20, .scale = 0.6f}, FMT_F16, FMT_F16, false},
    {{.n_head = 4, .n_kv = 2, .dk = 8, .dv = 70, .scale = 1.0f, .window = 50},
     FMT_F16,
     FMT_F32,
     true},
    {{.n_head = 8, .n_kv = 1, .dk = 40, .dv = 32, .scale = 0.3f, .v_in_k = true},
     FMT_F32,
     FMT_F32,
     false},
    {{.n_head = 40, .n_kv = 1, .dk = 20, .dv = 16, .scale = 0.3f, .v_in_k = true},
     FMT_F16,
     FMT_F16,
     false},
    {{.n_head = 3, .n_kv = 3, .dk = 16, .dv = 5, .scale = 0.9f, .softcap = 2.0f},
     FMT_F32,
     FMT_F16,
     true},
    {{.n_head = 6, .n_kv = 3, .dk = 16, .dv = 16, .scale = 0.4f, .alibi = 8.0f},
     FMT_F32,
     FMT_F32,
     false},
    {{.n_head = 2, .n_kv = 2, .dk = 33, .dv = 64, .scale = 0.4f, .window = 1},
     FMT_F32,
     FMT_F32,
     false},
    {{.n_head = 8, .n_kv = 2, .dk = 64, .dv = 64, .scale = 0.2f, .window = 60},
     FMT_F16,
     FMT_F16,
     true},
    {{.n_head = 2, .n_kv = 1, .dk = 144, .dv = 80, .scale = 0.2f, .softcap = 4.0f},
     FMT_F16,
     FMT_F16,
     false},
    {{.n_head = 4, .n_kv = 1, .dk = 32, .dv = 48, .scale = 0.3f, .alibi = 8.0f},
     FMT_BF16,
     FMT_BF16,
     false},
};

/* Whether case i is left to make check-long. */
#ifndef RIG_LATER
#define RIG_LATER(i) false
#endif

START_TEST(attention)
{
    for (size_t i = 0; i < ARRAY_LEN(attentions); i++) {
        if (RIG_LATER(i))
            continue;
        struct rig *r = rig_three(i + 50, 75, 1, 40);

        r->p.kv_type_k = attentions[i].type_k;
        r->p.kv_type_v = attentions[i].type_v;
        ref_attention(r, &attentions[i].a, attentions[i].sinks);
        check_rig(r,
                  attentions[i].type_k == FMT_F32 && attentions[i].type_v == FMT_F32 ? 1e-5 : 2e-3);
    }
}
END_TEST

#ifndef RIG_HISTORIES
#define RIG_HISTORIES 3
#endif

/* Over several chunks of partials, and windows that leave whole chunks behind. */
START_TEST(attention_of_long_histories)
{
    for (int i = 0; i < RIG_HISTORIES; i++) {
        struct rig *r = rig_three((uint64_t)i + 70, i ? 1060 : 530, 3, 515);
        struct attn_args a = {.n_head = 2, .n_kv = 1, .dk = 8, .dv = 8, .scale = 2.0f};

        a.window = i == 0 ? 0 : i == 1 ? 512 : 700;
        r->n_seq = i || RIG_LATER(i) ? 1 : 3;
        ref_attention(r, &a, i == 2);
        check_rig(r, 1e-5);
    }
}
END_TEST

START_TEST(rows_may_see_what_follows)
{
    struct rig *r = rig_three(75, 530, 3, 100);
    struct attn_args a = {.n_head = 4, .n_kv = 2, .dk = 8, .dv = 8, .scale = 1.0f};

    r->n_seq = RIG_LATER(0) ? 2 : 3;
    ref_attention(r, &a, false);
    r->see_all = true;
    check_rig(r, 1e-5);
}
END_TEST

/* Router, experts and their sum; fused: gate and up in one stack. */
static void add_experts(struct rig *r, const struct moe_args *a, bool fused, bool bias, int fmt)
{
    const int d = 64, f = 64;
    struct ref x = rig_embed(r, d), logits = rig_linear(r, x, a->n_expert, FMT_F32);
    struct ref id = rig_value(r, ROWS_T, a->n_used), w = rig_value(r, ROWS_E, 1);
    struct ref h = rig_value(r, ROWS_E, f), y = rig_value(r, ROWS_T, d);
    struct op *op = rig_op(r, OP_moe_route, id, logits);

    r->p.n_used = a->n_used;
    r->value[id.v].type = VAL_I32;
    op->out[1] = w;
    op->a.moe = *a;
    if (bias)
        op->w[0] = (int16_t)rig_vec(r, a->n_expert);
    op = rig_op(r, OP_moe_glu, h, x);
    op->in[1] = id;
    op->a.moe = *a;
    op->w[0] = (int16_t)rig_weight_at(r, fmt, a->n_expert, fused ? 2 * f : f, d, 0.2, 0);
    if (!fused)
        op->w[1] = (int16_t)rig_weight_at(r, fmt, a->n_expert, f, d, 0.2, 0);
    if (bias)
        op->w[2] = (int16_t)rig_weight(r, 1, a->n_expert, fused ? 2 * f : f, 0.5);
    if (bias && !fused)
        op->w[3] = (int16_t)rig_weight(r, 1, a->n_expert, f, 0.5);
    op = rig_op(r, OP_moe_down, y, h);
    op->in[1] = id;
    op->in[2] = w;
    op->in[3] = bias ? x : NONE;
    op->a.moe = *a;
    op->a.moe.scale = 0.5f;
    op->w[0] = (int16_t)rig_weight_at(r, fmt, a->n_expert, d, f, 0.2, 0);
    if (bias)
        op->w[1] = (int16_t)rig_weight(r, 1, a->n_expert, d, 0.5);
}

START_TEST(experts)
{
    static const struct moe_args cases[] = {
        {.n_expert = 8, .n_used = 2, .gate = GATE_SOFTMAX, .norm = true, .act = ACT_SILU},
        {.n_expert = 13,
         .n_used = 4,
         .gate = GATE_SOFTMAX_TOPK,
         .act = ACT_SWIGLU_OAI,
         .limit = 2.0f},
        {.n_expert = 24,
         .n_used = 5,
         .gate = GATE_SIGMOID,
         .norm = true,
         .scale = 2.5f,
         .n_group = 6,
         .n_group_used = 2,
         .act = ACT_SILU},
        {.n_expert = 5, .n_used = 5, .gate = GATE_SOFTMAX, .act = ACT_GELU_TANH},
        {.n_expert = 40, .n_used = 1, .gate = GATE_SIGMOID, .act = ACT_RELU}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (RIG_LATER(i + 1))
            continue;
        struct rig *r = rig_three(i + 80, 30, 1, 60);

        add_experts(r, &cases[i], i % 2 == 0, i % 3 != 0, FMT_F32);
        check_rig(r, 1e-5);
    }
}
END_TEST

START_TEST(convolution_and_shift)
{
    for (int i = 0; i < 4; i++) {
        const int width = i == 3 ? 1 : i + 2, cols = 40 + 7 * i;
        struct rig *r = rig_three((uint64_t)i + 90, 30, 1, 60);
        struct ref x = rig_embed(r, cols), y = rig_value(r, ROWS_T, cols), z;
        struct op *op = rig_op(r, OP_conv1d, y, x);

        op->a.scan.width = width;
        op->a.scan.act = i % 2 ? ACT_SILU : ACT_NONE;
        op->a.scan.state_bytes = (uint32_t)((width - 1) * cols * 4);
        op->a.scan.state_at = rig_state(r, op->a.scan.state_bytes);
        op->w[0] = (int16_t)rig_weight(r, 1, cols, width, 0.5);
        if (i)
            op->w[1] = (int16_t)rig_vec(r, cols);
        z = rig_value(r, ROWS_T, cols);
        op = rig_op(r, OP_shift, z, y);
        op->a.scan.state_bytes = (uint32_t)(cols * 4);
        op->a.scan.state_at = rig_state(r, op->a.scan.state_bytes);
        check_rig(r, 1e-6);
    }
}
END_TEST

START_TEST(state_space_scan)
{
    static const struct scan_args cases[] = {
        {.n_head = 4, .head_dim = 16, .n_group = 1, .d_state = 32},
        {.n_head = 6, .head_dim = 20, .n_group = 3, .d_state = 7}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const struct scan_args *a = &cases[i];
        const int inner = a->n_head * a->head_dim, wide = inner + 2 * a->n_group * a->d_state;
        struct rig *r = rig_three(i + 100, 30, 1, 60);
        struct ref x = rig_embed(r, 32), in = rig_linear(r, x, wide + a->n_head, FMT_F32);
        struct ref y = rig_value(r, ROWS_T, inner);
        struct op *op = rig_op(r, OP_ssm_scan, y, rig_cols(in, 0, wide));

        op->in[1] = rig_cols(in, wide, a->n_head);
        op->a.scan = *a;
        op->a.scan.state_bytes = (uint32_t)(inner * a->d_state * 4);
        op->a.scan.state_at = rig_state(r, op->a.scan.state_bytes);
        op->w[0] = (int16_t)rig_weight_at(r, FMT_F32, 1, 1, a->n_head, 0.05, -0.3);
        op->w[1] = (int16_t)rig_vec(r, a->n_head);
        op->w[2] = (int16_t)rig_vec(r, a->n_head);
        check_rig(r, 1e-5);
    }
}
END_TEST

START_TEST(rwkv_time_mixing)
{
    for (int i = 0; i < 2; i++) {
        const int heads = 3, d = i ? 20 : 32, width = heads * d;
        struct rig *r = rig_three((uint64_t)i + 110, 30, 1, 60);
        struct ref x = rig_embed(r, 32), in = rig_linear(r, x, 5 * width, FMT_F32);
        struct ref gate = rig_value(r, ROWS_T, 5 * width), y = rig_value(r, ROWS_T, width);
        struct op *op = rig_op(r, OP_copy, gate, in);

        for (int k = 1; k <= 4; k += 3) { // w and a are between 0 and 1
            op =
                rig_op(r, OP_act, rig_cols(gate, k * width, width), rig_cols(in, k * width, width));
            op->act = ACT_SIGMOID;
        }
        op = rig_op(r, OP_rwkv, y, gate);
        op->a.scan = (struct scan_args){.n_head = heads, .head_dim = d, .eps = 64e-5f};
        op->a.scan.state_bytes = (uint32_t)(width * d * 4);
        op->a.scan.state_at = rig_state(r, op->a.scan.state_bytes);
        for (int k = 0; k < 5; k++)
            op->w[k] = (int16_t)rig_vec(r, width);
        check_rig(r, 2e-5);
    }
}
END_TEST

START_TEST(column_by_column)
{
    static const struct {
        int kind, act;
        float scale;
    } cases[] = {{OP_add, 0, 0},        {OP_mul, ACT_SILU, 0},  {OP_mul, ACT_NONE, 0},
                 {OP_scale, 0, 0.3f},   {OP_act, ACT_RELU2, 0}, {OP_act, ACT_GELU, 0},
                 {OP_act, ACT_TANH, 0}, {OP_softcap, 0, 3.0f},  {OP_copy, 0, 0}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rig *r = rig_three(i + 120, 30, 1, 60);
        struct ref x = rig_embed(r, 90), y = rig_value(r, ROWS_T, 45);
        struct op *op = rig_op(r, cases[i].kind, y, rig_cols(x, 0, 45));

        op->act = (uint8_t)cases[i].act;
        op->a.lin.scale = cases[i].scale;
        if (cases[i].kind == OP_add || cases[i].kind == OP_mul)
            op->in[1] = rig_cols(x, 45, 45);
        check_rig(r, 1e-6);
    }
}
END_TEST

START_TEST(mixes)
{
    for (int i = 0; i < 2; i++) {
        struct rig *r = rig_three((uint64_t)i + 140, 30, 1, 60);
        struct ref x = rig_embed(r, 90), y = rig_value(r, ROWS_T, i ? 30 : 3 * 30);
        struct op *op = rig_op(r, OP_lerp, y, rig_cols(x, 0, 30));

        op->in[1] = rig_cols(x, 30, 30);
        if (i)
            op->in[2] = rig_cols(x, 60, 30);
        else
            op->w[0] = (int16_t)rig_vec(r, 90);
        check_rig(r, 1e-6);
    }
}
END_TEST

/* Packed inputs: quantized weights round their input, so only the bits are compared. */
START_TEST(quantized_weights_make_the_same_bits)
{
    static const struct moe_args a = {
        .n_expert = 8, .n_used = 2, .gate = GATE_SOFTMAX, .act = ACT_SILU};
    static const int formats[] = {FMT_Q8_0, FMT_Q4_0, FMT_BF16};

    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        struct rig *r = rig_three(i + 150, 40, 1, 80);
        struct ref x, q;

        add_experts(r, &a, i == 0, true, formats[i]);
        x = rig_cols(r->op[r->p.n_op - 1].out[0], 0, 64);
        q = rig_linear(r, x, 96, formats[i]);
        rig_linear(r, rig_linear(r, rig_cols(q, 32, 64), 64, formats[i]), 32, formats[i]);
        check_rig(r, 0.05);
    }
}
END_TEST

/* A device may pack a norm's result with the norm: whole rows, and rows that end within a group. */
START_TEST(norms_feed_rounded_inputs)
{
    static const struct {
        int fmt, cols, group;
    } cases[] = {{FMT_Q8_0, 96, 0},
                 {FMT_Q4_0, 1056, 0},
                 {FMT_BF16, 70, 0},
                 {FMT_F16, 300, 0},
                 {FMT_Q8_0, 96, 32}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rig *r = rig_three(i + 170, 17, 1, 20);
        struct ref x = rig_embed(r, cases[i].cols), y = rig_value(r, ROWS_T, cases[i].cols);
        struct op *op = rig_op(r, OP_rmsnorm, y, x);

        op->a.norm.eps = 1e-5f;
        op->a.norm.group = cases[i].group;
        op->w[0] = (int16_t)rig_vec(r, cases[i].group ? cases[i].group : cases[i].cols);
        rig_linear(r, y, 40, cases[i].fmt);
        check_rig(r, 0.05);
    }
}
END_TEST

#ifndef RIG_NAME
#define RIG_NAME "kernels/ops"
#endif
/* Keys and values in fewer bits. */
static const struct {
    struct attn_args a;
    int type_k, type_v;
    double tol; // a code that was on the edge may be another one; queries of 8 bits for Q4_0
} packed[] = {
    {{.n_head = 6, .n_kv = 2, .dk = 20, .dv = 7, .scale = 0.4f}, FMT_BF16, FMT_BF16, 2e-3},
    {{.n_head = 4, .n_kv = 2, .dk = 64, .dv = 32, .scale = 0.2f}, FMT_Q8_0, FMT_Q4_0, 1e-2},
    {{.n_head = 6, .n_kv = 3, .dk = 96, .dv = 32, .scale = 0.2f, .window = 50},
     FMT_Q4_0,
     FMT_Q8_0,
     3e-2},
    {{.n_head = 4, .n_kv = 4, .dk = 32, .dv = 32, .scale = 0.3f}, FMT_Q4_0, FMT_F16, 3e-2},
    {{.n_head = 4, .n_kv = 2, .dk = 64, .dv = 96, .scale = 0.2f}, FMT_Q8_0, FMT_Q8_0, 1e-2},
    {{.n_head = 5, .n_kv = 1, .dk = 96, .dv = 160, .scale = 0.2f}, FMT_Q4_0, FMT_Q4_0, 3e-2},
    {{.n_head = 1, .n_kv = 1, .dk = 32, .dv = 544, .scale = 0.2f}, FMT_Q8_0, FMT_Q4_0, 1e-2},
    {{.n_head = 6, .n_kv = 2, .dk = 20, .dv = 7, .scale = 0.3f}, FMT_KV_F8, FMT_KV_F8, 1e-2},
    {{.n_head = 4, .n_kv = 1, .dk = 64, .dv = 32, .scale = 0.2f}, FMT_KV_F8, FMT_Q8_0, 1e-2},
    {{.n_head = 8, .n_kv = 1, .dk = 64, .dv = 32, .scale = 0.3f, .v_in_k = true},
     FMT_Q4_0,
     FMT_Q4_0,
     1e-2},
};

/* Against the definition, and the same bits under every schedule and number of threads. */
START_TEST(attention_over_packed_pages)
{
    for (size_t i = 0; i < ARRAY_LEN(packed); i++) {
        if (RIG_LATER(i))
            continue;
        struct rig *r = rig_three(i + 70, 75, 1, 40);

        r->p.kv_type_k = packed[i].type_k;
        r->p.kv_type_v = packed[i].type_v;
        ref_attention(r, &packed[i].a, false);
        check_rig(r, packed[i].tol);
    }
}
END_TEST

/* Over several chunks, and a window that begins within a page. */
START_TEST(long_histories_of_packed_pages)
{
    static const int types[] = {FMT_Q8_0, FMT_Q4_0};

    for (int i = 0; i < 2 && !RIG_LATER(i); i++) {
        struct rig *r = rig_three((uint64_t)i + 90, 1060, 3, 515);
        struct attn_args a = {.n_head = 6, .n_kv = 1, .dk = 32, .dv = 64, .scale = 0.2f};

        a.window = i ? 700 : 0;
        r->n_seq = 1;
        r->p.kv_type_k = types[i];
        r->p.kv_type_v = types[i];
        ref_attention(r, &a, false);
        check_rig(r, 3e-2);
    }
}
END_TEST

TEST_MAIN(RIG_NAME, embed_scales_and_adds_positions, embed_adds_types, norms, linears,
          linear_of_columns_and_many, linear_per_head, adapters, gated_networks, rotary_positions,
          attention, attention_of_long_histories, rows_may_see_what_follows, experts,
          convolution_and_shift, state_space_scan, rwkv_time_mixing, column_by_column, mixes,
          quantized_weights_make_the_same_bits, norms_feed_rounded_inputs,
          attention_over_packed_pages, long_histories_of_packed_pages)
