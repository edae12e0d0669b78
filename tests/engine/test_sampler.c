/* test_sampler.c - each filter against sums worked out by hand, and draws against frequencies. */
#include "engine/sampler.h"

#include <math.h>

#include "tests/suite.h"

enum { V = 6 };

/* exp() of these is 1, 2, 4, 8, 16, 32 in a shuffled order: probabilities k/63. */
static const float logits[V] = {2 * 0.69314718f, 0, 5 * 0.69314718f, 0.69314718f,
                                4 * 0.69314718f, 3 * 0.69314718f};

static struct rill_sampling plain(void)
{
    struct rill_sampling s = rill_sampling_defaults();

    s.temperature = 1;
    s.top_p = 1;
    s.min_p = 0;
    return s;
}

static int draw(struct sampler_work *w, const struct rill_sampling *s, const float *row,
                const int32_t *history, int n, uint64_t seed)
{
    const struct sampler_in in = {
        .sampling = s, .logits = row, .history = history, .n = n, .seed = seed};

    return sampler_draw(w, &in);
}

/* How often each token is drawn of n. */
static void tally(const struct rill_sampling *s, int n, const int32_t *hist, int n_hist, int *count)
{
    struct sampler_work w;
    struct err e = {0};

    memset(count, 0, V * sizeof *count);
    ck_ok(sampler_work_init(&w, V, &e), &e);
    for (int i = 0; i < n; i++) {
        int id = draw(&w, s, logits, hist, n_hist, (uint64_t)i);

        ck_assert_int_ge(id, 0);
        count[id]++;
    }
    sampler_work_fini(&w);
}

START_TEST(greedy_takes_the_first_largest)
{
    struct rill_sampling s = plain();
    struct sampler_work w;
    struct err e = {0};
    float tie[V] = {0, 3, 1, 3, 2, 3};

    s.temperature = 0;
    ck_ok(sampler_work_init(&w, V, &e), &e);
    ck_assert_int_eq(draw(&w, &s, logits, NULL, 0, 1), 2);
    ck_assert_int_eq(draw(&w, &s, tie, NULL, 0, 1), 1);
    tie[4] = NAN;
    ck_assert_int_eq(draw(&w, &s, tie, NULL, 0, 1), E_NUMERIC);
    s.temperature = 1;
    ck_assert_int_eq(draw(&w, &s, tie, NULL, 0, 1), E_NUMERIC);
    tie[4] = INFINITY;
    ck_assert_int_eq(draw(&w, &s, tie, NULL, 0, 1), E_NUMERIC);
    sampler_work_fini(&w);
}
END_TEST

START_TEST(frequencies_follow_probabilities)
{
    struct rill_sampling s = plain();
    const int weight[V] = {4, 1, 32, 2, 16, 8};
    int count[V];
    double chi = 0;

    tally(&s, 63000, NULL, 0, count);
    for (int i = 0; i < V; i++)
        chi += pow(count[i] - 1000.0 * weight[i], 2) / (1000.0 * weight[i]);
    ck_assert_double_lt(chi, 20.5); // 5 degrees of freedom: passed by chance once in a thousand
}
END_TEST

START_TEST(temperature_sharpens)
{
    struct rill_sampling s = plain();
    int count[V];

    s.temperature = 0.5f; // weights are squared: 1024 of 1365
    tally(&s, 13650, NULL, 0, count);
    ck_assert_int_gt(count[2], 10000);
    ck_assert_int_lt(count[2], 10480);
}
END_TEST

START_TEST(top_k_top_p_min_p)
{
    struct rill_sampling s = plain();
    int count[V];

    s.top_k = 2;
    tally(&s, 2000, NULL, 0, count);
    ck_assert_int_eq(count[2] + count[4], 2000);
    ck_assert_int_gt(count[4], 500);
    s = plain();
    s.top_p = 48.1f / 63; // just more than the two best: three are kept
    tally(&s, 2000, NULL, 0, count);
    ck_assert_int_eq(count[2] + count[4] + count[5], 2000);
    ck_assert_int_gt(count[5], 100);
    s.top_p = 47.9f / 63;
    tally(&s, 2000, NULL, 0, count);
    ck_assert_int_eq(count[2] + count[4], 2000);
    s = plain();
    s.min_p = 0.26f; // a quarter of the best is not enough
    tally(&s, 2000, NULL, 0, count);
    ck_assert_int_eq(count[2] + count[4], 2000);
    s = plain();
    s.top_k = 3; // of 56 in all, 48.1/63 of them is 42.8: the two best
    s.top_p = 48.1f / 63;
    tally(&s, 2000, NULL, 0, count);
    ck_assert_int_eq(count[2] + count[4], 2000);
    s.top_p = 0;
    tally(&s, 100, NULL, 0, count);
    ck_assert_int_eq(count[2], 100);
}
END_TEST

START_TEST(penalties_and_bias)
{
    struct rill_sampling s = plain();
    const int32_t hist[4] = {2, 2, 4, 2};
    struct rill_bias bias[2] = {{1, 100}, {3, -INFINITY}};
    int count[V];

    s.temperature = 0;
    s.penalty_last = -1;
    s.frequency_penalty = 0.3f; // 5 ln 2 - 0.9 = 2.57 and 4 ln 2 - 0.3 = 2.47
    tally(&s, 1, hist, 4, count);
    ck_assert_int_eq(count[2], 1);
    s.frequency_penalty = 0.4f; // 2.27 and 2.37
    tally(&s, 1, hist, 4, count);
    ck_assert_int_eq(count[4], 1);
    s.frequency_penalty = 0;
    s.presence_penalty = 2; // 1.47, 0.77; 3 ln 2 = 2.08 is untouched
    tally(&s, 1, hist, 4, count);
    ck_assert_int_eq(count[5], 1);
    s.penalty_last = 1; // only the last 2 is looked at: 4 ln 2 wins
    tally(&s, 1, hist, 4, count);
    ck_assert_int_eq(count[4], 1);
    s = plain();
    s.bias = bias;
    s.n_bias = 2;
    tally(&s, 100, NULL, 0, count);
    ck_assert_int_eq(count[1], 100);
}
END_TEST

START_TEST(draws_repeat)
{
    struct rill_sampling s = plain();
    struct sampler_work w;
    struct err e = {0};
    int32_t hist[64] = {0};
    int differ = 0;

    ck_ok(sampler_work_init(&w, V, &e), &e);
    for (int n = 0; n < 64; n++) {
        int a = draw(&w, &s, logits, hist, n, 7);

        ck_assert_int_eq(a, draw(&w, &s, logits, hist, n, 7));
        differ += a != draw(&w, &s, logits, hist, n, 8);
    }
    ck_assert_int_gt(differ, 10);
    sampler_work_fini(&w);
}
END_TEST

START_TEST(bad_values_are_named)
{
    struct rill_bias bias = {V, 1};
    struct err e;
#define BAD(field, value)                                                                          \
    do {                                                                                           \
        struct rill_sampling s = plain();                                                          \
        memset(&e, 0, sizeof e);                                                                   \
        s.field = (value);                                                                         \
        ck_fails(sampler_check(&s, V, &e), &e, E_RANGE, #field);                                   \
    } while (0)
    BAD(temperature, -1);
    BAD(temperature, NAN);
    BAD(top_k, -1);
    BAD(top_p, 1.5f);
    BAD(min_p, -0.1f);
    BAD(repetition_penalty, 0);
    BAD(presence_penalty, INFINITY);
    BAD(frequency_penalty, -1000);
    BAD(penalty_last, -2);
    BAD(n_bias, -1);
    {
        struct rill_sampling s = plain();

        memset(&e, 0, sizeof e);
        s.bias = &bias;
        s.n_bias = 1;
        ck_fails(sampler_check(&s, V, &e), &e, E_RANGE, "token 6");
        bias = (struct rill_bias){1, NAN};
        memset(&e, 0, sizeof e);
        ck_fails(sampler_check(&s, V, &e), &e, E_RANGE, "finite");
    }
}
END_TEST

TEST_MAIN("engine/sampler", greedy_takes_the_first_largest, frequencies_follow_probabilities,
          temperature_sharpens, top_k_top_p_min_p, penalties_and_bias, draws_repeat,
          bad_values_are_named)
