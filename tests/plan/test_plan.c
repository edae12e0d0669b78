/* test_plan.c - the builder's checks, lives and places of values, fusing, printing. */
#include "tests/suite.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/rng.h"
#include "plan/build.h"
#include "plan/ops.h"
#include "quant/quant.h"

enum { D = 32, HEADS = 4, KV = 2, DIM = 8, FF = 48, VOCAB = 64, LAYERS = 2, MAX_W = 64 };

struct table {
    struct weight w[MAX_W];
    int n;
};

static struct weight *add(struct table *t, const char *name, int n, int rows, int cols)
{
    struct weight *w = &t->w[t->n++];

    ck_assert_int_le(t->n, MAX_W);
    memset(w, 0, sizeof *w);
    snprintf(w->name, sizeof w->name, "%s", name);
    w->fmt = FMT_F32;
    w->n = n;
    w->rows = rows;
    w->cols = cols;
    w->part[0].bytes = (uint64_t)n * (uint64_t)rows * (uint64_t)cols * 4;
    return w;
}

static struct weight *add_layer(struct table *t, int l, const char *name, int n, int rows, int cols)
{
    char full[64];

    snprintf(full, sizeof full, "blk.%d.%s", l, name);
    return add(t, full, n, rows, cols);
}

static void small_weights(struct table *t)
{
    t->n = 0;
    add(t, "token_embd.weight", 1, VOCAB, D);
    add(t, "output_norm.weight", 1, 1, D);
    for (int l = 0; l < LAYERS; l++) {
        add_layer(t, l, "attn_norm.weight", 1, 1, D);
        add_layer(t, l, "attn_q.weight", 1, HEADS * DIM, D);
        add_layer(t, l, "attn_k.weight", 1, KV * DIM, D);
        add_layer(t, l, "attn_v.weight", 1, KV * DIM, D);
        add_layer(t, l, "attn_output.weight", 1, D, HEADS * DIM);
        add_layer(t, l, "ffn_norm.weight", 1, 1, D);
        add_layer(t, l, "ffn_gate.weight", 1, FF, D);
        add_layer(t, l, "ffn_up.weight", 1, FF, D);
        add_layer(t, l, "ffn_down.weight", 1, D, FF);
    }
}

static val small_layer(struct builder *b, val x, int l)
{
    struct rope_args rope = {.n_head = HEADS,
                             .head_in = DIM,
                             .head_out = DIM,
                             .n_rot = DIM,
                             .base = 10000.0f,
                             .freq_scale = 1.0f};
    struct attn_args at = {
        .n_head = HEADS, .n_kv = KV, .dk = DIM, .dv = DIM, .window = l ? 16 : 0, .scale = 0.5f};
    val n = b_rmsnorm(b, x, W(b, "attn_norm", l), 1e-5f, 0, B_NONE);
    wref w[3] = {W(b, "attn_q", l), W(b, "attn_k", l), W(b, "attn_v", l)};
    val qkv, q, k;

    b_layer(b, l);
    qkv = b_linear_multi(b, n, w, NULL, 3);
    q = b_rope(b, b_cols(b, qkv, 0, HEADS * DIM), &rope, -1);
    rope.n_head = KV;
    k = b_rope(b, b_cols(b, qkv, HEADS * DIM, KV * DIM), &rope, -1);
    at.kv = b_kv_store(b, k, b_cols(b, qkv, (HEADS + KV) * DIM, KV * DIM), KV, DIM, DIM, at.window);
    x = b_linear_add(b, b_attn(b, q, &at, -1), W(b, "attn_output", l), -1, 0.5f, x);
    n = b_rmsnorm(b, x, W(b, "ffn_norm", l), 1e-5f, 0, B_NONE);
    n = b_glu(b, n, W(b, "ffn_gate", l), W(b, "ffn_up", l), -1, -1, ACT_SILU, 0);
    return b_linear_add(b, n, W(b, "ffn_down", l), -1, 1.0f, x);
}

static struct plan *small_plan(struct table *t, struct err *e)
{
    struct builder *b;
    struct plan *p;
    val x;

    ck_ok(b_new(&b, t->w, t->n, 128, e), e);
    x = b_embed(b, W(b, "token_embd", -1), -1, 1.0f);
    for (int l = 0; l < LAYERS; l++)
        x = small_layer(b, x, l);
    x = b_rmsnorm(b, x, W(b, "output_norm", -1), 1e-5f, 0, B_NONE);
    b_logits(b, x, W(b, "token_embd", -1), -1, 1.0f, 30.0f);
    p = b_take(b);
    b_free(b);
    return p;
}

static bool can_all(const void *ctx, const struct op *op)
{
    (void)ctx;
    (void)op;
    return true;
}

static bool can_none(const void *ctx, const struct op *op)
{
    (void)ctx;
    (void)op;
    return false;
}

static struct plan *made(struct table *t, bool fuse)
{
    struct err e = {0};
    struct plan *p;

    small_weights(t);
    p = small_plan(t, &e);
    ck_assert_msg(p != NULL, "%s", e.text);
    ck_ok(plan_kv_layout(p, FMT_F16, FMT_F16, &e), &e);
    if (fuse)
        ck_assert_int_gt(plan_fuse(p, &(struct fuse_ask){can_all, NULL}, &e), 0);
    return p;
}

/* Two values alive at the same time have no byte in common. */
static void check_places(const struct plan *p, int64_t n_t, int64_t n_s)
{
    uint64_t *at = mem_array((uint64_t)p->n_value, sizeof *at, NULL);
    uint64_t total = plan_arena(p, n_t, n_s, at);

    for (int i = 0; i < p->n_value; i++) {
        const struct value *a = &p->value[i];
        uint64_t na = (uint64_t)(plan_rows(p, a->rows, n_t, n_s) * a->cols * 4);
        if (a->born < 0)
            continue;
        ck_assert_uint_eq(at[i] % 64, 0);
        ck_assert_uint_le(at[i] + na, total);
        for (int k = 0; k < i; k++) {
            const struct value *b = &p->value[k];
            uint64_t nb = (uint64_t)(plan_rows(p, b->rows, n_t, n_s) * b->cols * 4);
            if (b->born < 0 || a->born > b->dies || b->born > a->dies)
                continue;
            ck_assert(at[i] + na <= at[k] || at[k] + nb <= at[i]);
        }
    }
    mem_free(at);
}

START_TEST(places_never_overlap)
{
    struct table t;

    for (int fuse = 0; fuse < 2; fuse++) {
        struct plan *p = made(&t, fuse);
        for (int n = 1; n < 200; n += 33)
            check_places(p, n, (n + 1) / 2);
        plan_free(p);
    }
}
END_TEST

START_TEST(places_of_random_lives)
{
    struct rng r = {.seed = 7};

    for (int round = 0; round < 50; round++) {
        struct value v[40];
        struct plan p = {.value = v, .n_value = 40, .n_used = 3};
        for (int i = 0; i < 40; i++) {
            v[i].rows = (uint8_t)(rng_next(&r) % 4);
            v[i].cols = 1 + (int)(rng_next(&r) % 100);
            v[i].born = (int)(rng_next(&r) % 60) - 1;
            v[i].dies = v[i].born + (int)(rng_next(&r) % 9);
        }
        check_places(&p, 1 + (int)(rng_next(&r) % 20), 5);
    }
}
END_TEST

START_TEST(arena_reuses_memory)
{
    struct table t;
    struct plan *p = made(&t, false);
    uint64_t *at = mem_array((uint64_t)p->n_value, sizeof *at, NULL);
    uint64_t sum = 0;

    for (int i = 0; i < p->n_value; i++)
        sum += (uint64_t)(plan_rows(p, p->value[i].rows, 16, 1) * p->value[i].cols * 4);
    ck_assert_uint_lt(plan_arena(p, 16, 1, at), sum / 3);
    mem_free(at);
    plan_free(p);
}
END_TEST

static void check_golden(const struct plan *p, const char *name)
{
    struct buf out = {0}, want = {0};
    FILE *f = fopen(srcfile(name), "rb");
    char line[512];

    plan_print(p, &out, NULL, NULL);
    ck_assert_msg(f != NULL, "%s is missing; it would be:\n%s", name, out.p);
    while (fgets(line, sizeof line, f))
        buf_str(&want, line);
    fclose(f);
    ck_assert_msg(strcmp(want.p, out.p) == 0, "%s differs:\n%s", name, out.p);
    buf_fini(&out);
    buf_fini(&want);
}

START_TEST(prints_as_written)
{
    struct table t;
    struct plan *p = made(&t, false);

    check_golden(p, "tests/golden/plan/small.txt");
    plan_free(p);
}
END_TEST

START_TEST(prints_as_fused)
{
    struct table t;
    struct plan *p = made(&t, true);

    check_golden(p, "tests/golden/plan/small_fused.txt");
    plan_free(p);
}
END_TEST

START_TEST(fuses_only_what_can_run)
{
    struct table t;
    struct plan *p = made(&t, false);
    int32_t n = p->n_op;
    struct err e = {0};

    ck_assert_int_eq(plan_fuse(p, &(struct fuse_ask){can_none, NULL}, &e), 0);
    ck_assert_int_eq(p->n_op, n);
    plan_free(p);
}
END_TEST

START_TEST(fuse_keeps_what_others_read)
{
    struct table t;
    struct err e = {0};
    struct builder *b;
    struct plan *p;
    val x, y;

    small_weights(&t);
    ck_ok(b_new(&b, t.w, t.n, 128, &e), &e);
    x = b_embed(b, W(b, "token_embd", -1), -1, 1.0f);
    y = b_linear(b, x, W(b, "attn_q", 0), -1);
    x = b_add(b, b_act(b, y, ACT_SILU), y); /* y has two readers */
    b_logits(b, x, W(b, "token_embd", -1), -1, 1.0f, 0);
    p = b_take(b);
    b_free(b);
    ck_assert_ptr_nonnull(p);
    ck_assert_int_eq(plan_fuse(p, &(struct fuse_ask){can_all, NULL}, &e), 0);
    plan_free(p);
}
END_TEST

START_TEST(groups_and_pages)
{
    struct table t;
    struct plan *p = made(&t, false);
    struct err e = {0};

    ck_assert_int_eq(p->n_kv, LAYERS);
    ck_assert_int_eq(p->n_group, 2); /* layer 1 has a window */
    ck_assert_int_eq(p->group[1].window, 16);
    ck_assert_uint_eq(p->group[0].bytes, 2048); /* 32 positions of 2 x 16 halves */
    ck_ok(plan_kv_layout(p, FMT_F32, FMT_F32, &e), &e);
    ck_assert_uint_eq(p->group[0].bytes, 4096);
    ck_assert_uint_eq(plan_kv_row(FMT_F16, 24), 48);
    ck_fails(plan_kv_layout(p, FMT_Q4_K, FMT_F16, &e), &e, E_UNSUPPORTED, "cannot have 8 and 8 columns a head");
    plan_free(p);
}
END_TEST

START_TEST(cost_counts_weights_once)
{
    struct table t;
    struct plan *p = made(&t, true);
    double flops = 0, bytes = 0;

    for (int i = 0; i < p->n_op; i++) {
        struct op_cost c = op_cost(p, &p->op[i], 3, 1, 10);
        ck_assert(c.flops >= 0 && c.bytes >= 0);
        if (p->op[i].kind == OP_linear || p->op[i].kind == OP_glu ||
            p->op[i].kind == OP_linear_multi) {
            flops += c.flops;
            bytes += c.bytes;
        }
    }
    const double layer = D * D * 2 + 2 * KV * DIM * D + 3 * FF * D;
    ck_assert_double_eq(bytes, (LAYERS * layer + VOCAB * D) * 4);
    ck_assert_double_eq(flops, (LAYERS * layer * 3 + VOCAB * D) * 2);
    plan_free(p);
}
END_TEST

START_TEST(the_manual_names_every_kind)
{
    FILE *f = fopen(srcfile("man/rill-plan.5"), "rb");
    struct buf page = {0};
    char line[512];

    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f))
        if (strncmp(line, ".It ", 4) == 0)
            buf_printf(&page, " %s ", line + 4);
    fclose(f);
    for (int i = 0; i < OP_KINDS; i++) {
        const char *name = op_name(i), *at = page.p;
        size_t n = strlen(name);
        while ((at = strstr(at, name)) && (strchr(" \n", at[n]) == NULL || at[-1] != ' '))
            at++;
        ck_assert_msg(at != NULL, "rill-plan(5) does not name %s", name);
    }
    buf_fini(&page);
}
END_TEST

/* -- what the builder refuses -- */

static void refuses(struct table *t, int code, const char *part)
{
    struct err e = {0};
    struct plan *p = small_plan(t, &e);

    ck_assert_ptr_null(p);
    ck_assert_int_eq(e.code, code);
    ck_assert_msg(strstr(e.text, part) != NULL, "'%s' lacks '%s'", e.text, part);
}

START_TEST(names_the_missing_tensor)
{
    struct table t;

    small_weights(&t);
    snprintf(t.w[5].name, sizeof t.w[5].name, "other");
    refuses(&t, E_FORMAT, "tensor 'blk.0.attn_v.weight' is missing");
}
END_TEST

START_TEST(names_the_wrong_shape)
{
    struct table t;

    small_weights(&t);
    t.w[8].cols = 40;
    refuses(&t, E_FORMAT, "tensor 'blk.0.ffn_gate.weight': 40 columns, expected 32");
    small_weights(&t);
    t.w[2].cols = 31;
    refuses(&t, E_FORMAT, "tensor 'blk.0.attn_norm.weight': 31 numbers, expected 32");
    small_weights(&t);
    t.w[6].rows = 24;
    refuses(&t, E_FORMAT, "add: 32 columns, expected 24");
    small_weights(&t);
    t.w[2].fmt = FMT_F16;
    refuses(&t, E_UNSUPPORTED, "must be F32");
    small_weights(&t);
    t.w[3].n = 2;
    refuses(&t, E_FORMAT, "2 matrices, expected 1");
}
END_TEST

START_TEST(the_first_error_stays)
{
    struct table t;
    struct err e = {0};
    struct builder *b;
    val x;

    small_weights(&t);
    ck_ok(b_new(&b, t.w, t.n, 128, &e), &e);
    x = b_embed(b, W(b, "nothing", -1), -1, 1.0f);
    ck_assert_int_eq(x.v, -1);
    x = b_cols(b, b_add(b, x, b_scale(b, x, 3.0f)), 5, 6);
    b_logits(b, x, W(b, "token_embd", -1), -1, 1.0f, 0);
    ck_assert_int_eq(b_status(b), E_FORMAT);
    ck_assert_ptr_null(b_take(b));
    ck_assert_str_eq(e.text, "tensor 'nothing.weight' is missing");
    b_free(b);
}
END_TEST

START_TEST(bad_columns_and_unwritten_values)
{
    struct table t;
    struct err e = {0};
    struct builder *b;

    small_weights(&t);
    ck_ok(b_new(&b, t.w, t.n, 128, &e), &e);
    b_cols(b, b_embed(b, W(b, "token_embd", -1), -1, 1.0f), 30, 3);
    ck_assert_int_eq(b_status(b), E_RANGE);
    b_free(b);
    memset(&e, 0, sizeof e);
    ck_ok(b_new(&b, t.w, t.n, 128, &e), &e);
    b_act(b, b_value(b, ROWS_T, 5), ACT_SILU);
    ck_assert_int_eq(b_status(b), E_USAGE);
    b_free(b);
}
END_TEST

START_TEST(every_allocation_may_fail)
{
    struct table t;

    small_weights(&t);
    for (int n = 0; n < 200; n++) {
        struct err e = {0};
        struct builder *b = NULL;
        struct plan *p = NULL;
        mem_fail_after(n);
        if (b_new(&b, t.w, t.n, 128, &e) == 0) {
            for (int i = 0; i < 200; i++)
                b_value(b, ROWS_T, 4);
            b_logits(b, b_embed(b, W(b, "token_embd", -1), -1, 1.0f), W(b, "token_embd", -1), -1,
                     1.0f, 0);
            p = b_take(b);
            b_free(b);
        }
        ck_assert(p || e.code == E_NOMEM);
        if (!mem_fail_hit()) {
            ck_assert_ptr_nonnull(p);
            plan_free(p);
            mem_fail_after(-1);
            return;
        }
        plan_free(p);
    }
    ck_abort_msg("never succeeded");
}
END_TEST

TEST_MAIN("plan/plan", places_never_overlap, places_of_random_lives, arena_reuses_memory,
          prints_as_written, prints_as_fused, fuses_only_what_can_run, fuse_keeps_what_others_read,
          groups_and_pages, the_manual_names_every_kind, cost_counts_weights_once,
          names_the_missing_tensor, names_the_wrong_shape, the_first_error_stays,
          bad_columns_and_unwritten_values, every_allocation_may_fail)
