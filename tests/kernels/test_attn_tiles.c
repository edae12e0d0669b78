/* test_attn_tiles.c - attention of prompt rows in tiles: against the definition, the same bits
 * under every schedule, and of the tile unit as of the loops that stand in for it.
 */
#include <math.h>

#include "kernels/cpu/cpu_kernels.h"

/* Levels that have tiles for attention. */
static const char *tile_level(int l)
{
    const struct cpu_kernels *k;
    const struct cpu_tiles *t;

    for (int i = 0; (t = cpu_tiles_level(i, &k)) != NULL; i++)
        if (t->attn && l-- == 0)
            return t->name;
    return NULL;
}

#define RIG_LEVEL // those with tiles
static inline const char *rig_level(int l)
{
    return tile_level(l);
}

#include "tests/kernels/ref.h"

/* Queries, keys and weights are rounded to bf16: 2^-9 of each product, 2^-9 of each weight. */
static const struct {
    struct attn_args a;
    int type_k, type_v;
    bool sinks;
    double tol;
} cases[] = {
    {{.n_head = 8, .n_kv = 2, .dk = 64, .dv = 64, .scale = 0.125f}, FMT_F16, FMT_F16, false, 2e-2},
    {{.n_head = 2, .n_kv = 1, .dk = 128, .dv = 128, .scale = 0.09f}, FMT_F16, FMT_F16, true, 2e-2},
    {{.n_head = 4, .n_kv = 4, .dk = 16, .dv = 16, .scale = 0.3f}, FMT_F32, FMT_F32, false, 2e-2},
    {{.n_head = 6, .n_kv = 2, .dk = 24, .dv = 20, .scale = 0.3f}, FMT_F16, FMT_F32, false, 2e-2},
    {{.n_head = 5, .n_kv = 1, .dk = 96, .dv = 80, .scale = 0.1f, .window = 50},
     FMT_F16,
     FMT_F16,
     true,
     2e-2},
    {{.n_head = 40, .n_kv = 1, .dk = 80, .dv = 64, .scale = 0.1f, .v_in_k = true},
     FMT_F16,
     FMT_F16,
     false,
     2e-2},
    {{.n_head = 2, .n_kv = 1, .dk = 200, .dv = 144, .scale = 0.1f, .softcap = 4.0f},
     FMT_BF16,
     FMT_BF16,
     false,
     2e-2},
    {{.n_head = 6, .n_kv = 3, .dk = 32, .dv = 48, .scale = 0.2f, .alibi = 8.0f},
     FMT_F16,
     FMT_F16,
     false,
     2e-2},
    {{.n_head = 3, .n_kv = 3, .dk = 33, .dv = 5, .scale = 0.2f, .window = 1},
     FMT_F32,
     FMT_F16,
     false,
     2e-2},
    {{.n_head = 4, .n_kv = 2, .dk = 64, .dv = 32, .scale = 0.125f},
     FMT_Q8_0,
     FMT_Q4_0,
     false,
     2e-2},
    {{.n_head = 4, .n_kv = 2, .dk = 64, .dv = 64, .scale = 0.125f},
     FMT_Q4_0,
     FMT_Q8_0,
     false,
     2e-2},
};

/* Attention of a plan that rounds its inputs: it has a matrix, which nothing reads, of bf16. */
static void add_attention(struct rig *r, const struct attn_args *a, bool sinks)
{
    rig_linear(r, rig_embed(r, 32), 32, FMT_BF16);
    ref_attention(r, a, sinks);
}

static struct rig *case_rig(size_t i, int a, int b, int c)
{
    struct rig *r = rig_three(i + 500, a, b, c);

    r->p.kv_type_k = cases[i].type_k;
    r->p.kv_type_v = cases[i].type_v;
    add_attention(r, &cases[i].a, cases[i].sinks);
    return r;
}

START_TEST(against_the_definition)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_rig(case_rig(i, 75, 1, 40), cases[i].tol);
}
END_TEST

/* Scores that differ much: a query's reference moves more than once. */
START_TEST(long_histories)
{
    for (int i = 0; i < 3; i++) {
        struct rig *r = rig_three((uint64_t)i + 70, i ? 1060 : 530, 3, 515);
        struct attn_args a = {.n_head = 2, .n_kv = 1, .dk = 8, .dv = 8, .scale = 2.0f};

        a.window = i == 0 ? 0 : i == 1 ? 512 : 700;
        r->n_seq = i ? 1 : 3;
        add_attention(r, &a, i == 2);
        check_rig(r, 5e-2);
    }
}
END_TEST

/* Scores of tens of thousands and more, where weights are computed as whole numbers: what is far
 * below a reference weighs nothing, on whichever side of the numbers' ends it lies. */
START_TEST(scores_far_apart)
{
    static const float scales[] = {1e3f, 1e4f, 3e4f, 1e5f, 1e7f};

    for (size_t i = 0; i < ARRAY_LEN(scales); i++) {
        struct rig *r = rig_three(i + 90, 300, 1, 61);
        struct attn_args a = {.n_head = 4, .n_kv = 2, .dk = 8, .dv = 8, .scale = scales[i]};
        struct schedule *whole = schedule_new(r, RIG_LEN, true), *parts = schedule_ragged(r, 5);

        add_attention(r, &a, false);
        for (int l = 0; tile_level(l); l++) {
            struct played p = play(r, tile_level(l), 1, whole);
            struct played q = play(r, tile_level(0), 3, parts);

            for (int k = 0; k < 300 * p.cols; k++)
                ck_assert_msg(isfinite(p.row[0][k]), "scale %g: number %d", scales[i], k);
            ck_assert_msg(same_bits(r, &p, &q), "scale %g: other bits", scales[i]);
            played_free(&p);
            played_free(&q);
        }
        mem_free(whole);
        mem_free(parts);
        rig_free(r);
    }
}
END_TEST

START_TEST(rows_may_see_what_follows)
{
    struct rig *r = rig_three(75, 530, 3, 100);
    struct attn_args a = {.n_head = 4, .n_kv = 2, .dk = 8, .dv = 8, .scale = 1.0f};

    add_attention(r, &a, false);
    r->see_all = true;
    check_rig(r, 2e-2);
}
END_TEST

START_TEST(prompt_rows_go_through_tiles)
{
    for (size_t i = 0; i < ARRAY_LEN(cases) && tile_level(0); i++) {
        struct rig *r = case_rig(i, 300, 1, 61);
        struct schedule *s = schedule_ragged(r, 9);
        struct played a = play(r, tile_level(0), 2, s), b = play(r, "avx512", 2, s);

        ck_assert_mem_ne(a.row[0], b.row[0], 300 * (size_t)a.cols * sizeof(float));
        played_free(&a);
        played_free(&b);
        mem_free(s);
        rig_free(r);
    }
}
END_TEST

/* Rows behind several chunks: alone in a batch, and beside prompt rows of others that go through
 * tiles, few of them and many. */
START_TEST(generated_rows_beside_prompt_rows)
{
    static const struct piece_of apart[] = {{0, 0, 0, 1058},
                                            {1, 0, 1058, 1059},
                                            {2, 0, 1059, 1060},
                                            {3, 1, 0, 20},
                                            {4, 2, 0, 300}},
                                 beside[] = {{0, 0, 0, 1058},
                                             {1, 1, 0, 20},
                                             {1, 0, 1058, 1059},
                                             {2, 2, 0, 300},
                                             {2, 0, 1059, 1060}};

    for (int l = 0; tile_level(l); l++) {
        struct rig *r = rig_three(81, 1060, 20, 300);
        struct attn_args m = {.n_head = 4, .n_kv = 2, .dk = 16, .dv = 16, .scale = 0.5f};
        struct schedule *s = mem_new(sizeof *s, NULL);
        struct played a, b;

        r->generates = true;
        add_attention(r, &m, false);
        s->n = s->n_batch = ARRAY_LEN(apart);
        memcpy(s->piece, apart, sizeof apart);
        a = play(r, tile_level(l), 1, s);
        s->n_batch = 3;
        memcpy(s->piece, beside, sizeof beside);
        b = play(r, tile_level(l), 2, s);
        ck_assert(same_bits(r, &a, &b));
        played_free(&a);
        played_free(&b);
        mem_free(s);
        rig_free(r);
    }
}
END_TEST

START_TEST(loops_give_the_bits_of_the_unit)
{
    for (size_t i = 0; i < ARRAY_LEN(cases) && tile_level(1); i++) {
        struct rig *r = case_rig(i, 300, 1, 61);
        struct schedule *s = schedule_ragged(r, 9);
        struct played a = play(r, tile_level(0), 2, s), b = play(r, tile_level(1), 3, s);

        ck_assert_msg(same_bits(r, &a, &b), "case %d", (int)i);
        played_free(&a);
        played_free(&b);
        mem_free(s);
        rig_free(r);
    }
}
END_TEST

/* What follows a row does not reach it: not even numbers that are none. */
START_TEST(later_rows_leave_no_trace)
{
    for (int l = 0; tile_level(l); l++)
        for (int bad = 0; bad < 3; bad++) {
            struct rig *r = case_rig(0, 90, 1, 61);
            struct schedule *s = schedule_new(r, RIG_LEN, true);
            struct played a = play(r, tile_level(l), 1, s), b;
            const float what = bad == 0 ? NAN : bad == 1 ? INFINITY : -3e38f;
            const int token = rig_token(0, 70);
            float *row = (float *)r->w[2].part[0].p + token * 32; // of what attention begins with
            int n = 0;

            for (int c = 0; c < 32; c++)
                row[c] = what;
            b = play(r, tile_level(l), 1, s);
            while (n < 70 && rig_token(0, n) != token)
                n++;
            ck_assert_int_gt(n, 8);
            ck_assert_mem_eq(a.row[0], b.row[0], (size_t)n * (size_t)a.cols * sizeof(float));
            played_free(&a);
            played_free(&b);
            mem_free(s);
            rig_free(r);
        }
}
END_TEST

TEST_MAIN("kernels/attn_tiles", against_the_definition, long_histories, scores_far_apart,
          rows_may_see_what_follows, prompt_rows_go_through_tiles,
          generated_rows_beside_prompt_rows, loops_give_the_bits_of_the_unit,
          later_rows_leave_no_trace)
