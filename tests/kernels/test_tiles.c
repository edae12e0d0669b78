/* test_tiles.c - results that a second path hands on as its next matrix reads them: the bits of
 * results that pass as f32. */
#include <math.h>

#include "kernels/cpu/cpu_kernels.h"

#define RIG_LEVEL // those with tiles
static inline const char *rig_level(int l)
{
    const struct cpu_kernels *k;
    const struct cpu_tiles *t = cpu_tiles_level(l, &k);

    return t ? t->name : NULL;
}
#include "tests/kernels/rig.h"

enum second { NOBODY, SCALED, GATED, ADDED, LATER }; // who else reads the result

/* A gated pair, then what comes back from it. */
static struct rig *pair_rig(int width, int wide, bool bias, enum second second)
{
    struct rig *r = rig_new(90);
    struct ref x = rig_embed(r, width), h = rig_value(r, ROWS_T, wide), y;
    struct op *op = rig_op(r, OP_glu, h, x);

    r->n_seq = 3;
    r->len[0] = 130;
    r->len[1] = 47;
    r->len[2] = 1; // generated
    r->generates = true;
    op->act = ACT_SILU;
    op->w[0] = (int16_t)rig_weight_at(r, FMT_BF16, 1, wide, width, 0.1, 0.0);
    op->w[1] = (int16_t)rig_weight_at(r, FMT_BF16, 1, wide, width, 0.1, 0.0);
    if (bias) {
        op->w[2] = (int16_t)rig_vec(r, wide);
        op->w[3] = (int16_t)rig_vec(r, wide);
    }
    y = rig_linear(r, h, second == ADDED ? wide : 40, FMT_BF16);
    switch (second) {
    case NOBODY:
        break;
    case SCALED:
        rig_op(r, OP_scale, rig_value(r, ROWS_T, wide), h)->a.lin.scale = 2.0f;
        break;
    case GATED:
        rig_op(r, OP_add, rig_value(r, ROWS_T, wide), rig_cols(h, 0, wide))->in[1] = h;
        break;
    case ADDED: /* to what the matrix makes of it */
        r->op[r->p.n_op - 1].in[1] = h;
        break;
    case LATER:
        rig_linear(r, h, 24, FMT_BF16);
    }
    r->out = y.v;
    return r;
}

static void check_pair(int l, struct rig *a, struct rig *b)
{
    static const int steps[] = {200, 64, 33};

    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct schedule *s = schedule_new(a, steps[i], true);
        struct played pa = play(a, rig_level(l), 2, s), pb = play(b, rig_level(l), 3, s);

        ck_assert_msg(same_bits(a, &pa, &pb), "%s, steps of %d", rig_level(l), steps[i]);
        played_free(&pa);
        played_free(&pb);
        mem_free(s);
    }
    rig_free(a);
    rig_free(b);
}

START_TEST(whoever_else_reads_a_result)
{
    static const int wide[] = {32, 64, 70, 300, 800};

    for (int l = 0; rig_level(l); l++)
        for (size_t i = 0; i < ARRAY_LEN(wide); i++)
            for (int second = SCALED; second <= LATER; second++)
                if (second != ADDED)
                    check_pair(l, pair_rig(48, wide[i], i % 2, NOBODY),
                               pair_rig(48, wide[i], i % 2, (enum second)second));
}
END_TEST

/* A result that the next matrix multiplies and adds as well: as the definition says. */
START_TEST(a_result_that_is_added_again)
{
    for (int l = 0; rig_level(l); l++) {
        struct rig *r = pair_rig(48, 70, false, ADDED);
        struct schedule *s = schedule_new(r, 64, true);
        struct played a = play(r, rig_level(l), 2, s), b = play(r, "avx512", 2, s);

        for (int q = 0; q < r->n_seq; q++)
            for (int k = 0; k < r->len[q] * a.cols; k++)
                ck_assert_float_eq_tol(a.row[q][k], b.row[q][k],
                                       0.02f * (1.0f + fabsf(b.row[q][k])));
        played_free(&a);
        played_free(&b);
        mem_free(s);
        rig_free(r);
    }
}
END_TEST

TEST_MAIN("kernels/tiles", whoever_else_reads_a_result, a_result_that_is_added_again)
