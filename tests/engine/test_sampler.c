/* test_sampler.c - each filter against sums worked out by hand, and draws against frequencies. */
#include "engine/sampler.h"

#include <math.h>

#include "base/rng.h"
#include "tests/suite.h"

enum { V = 6 };

/* exp() of these is 1, 2, 4, 8, 16, 32 in a shuffled order: probabilities k/63. */
static const float logits[V] = {2 * 0.69314718f, 0, 5 * 0.69314718f, 0.69314718f, 4 * 0.69314718f,
                                3 * 0.69314718f};

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
    ck_ok(sampler_work_init(&w, V, 128, &e), &e);
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
    ck_ok(sampler_work_init(&w, V, 128, &e), &e);
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

    ck_ok(sampler_work_init(&w, V, 128, &e), &e);
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
    BAD(typical_p, 1.1f);
    BAD(top_n_sigma, -1);
    BAD(xtc_probability, 2);
    BAD(xtc_threshold, NAN);
    BAD(dynatemp_range, -1);
    BAD(dry_multiplier, -1);
    BAD(dry_base, 0.5f);
    BAD(no_repeat_ngram, -1);
    BAD(mirostat, 3);
    BAD(mirostat_tau, -1);
    BAD(mirostat_eta, NAN);
    BAD(n_allowed, V + 1);
    {
        struct rill_sampling s = plain();

        s.order[0] = s.order[1] = RILL_TOP_K;
        memset(&e, 0, sizeof e);
        ck_fails(sampler_check(&s, V, &e), &e, E_RANGE, "order");
        s.order[0] = 0;
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

/* -- filters, against definitions written down once more: plain lists of probabilities -- */

enum { N = 40 };

struct list {
    double logit[N];
    bool in[N];
};

static double chance_of(const struct list *l, int i)
{
    double sum = 0;

    for (int k = 0; k < N; k++)
        sum += l->in[k] ? exp(l->logit[k]) : 0;
    return l->in[i] ? exp(l->logit[i]) / sum : 0;
}

static void define(struct list *l, int which, const struct rill_sampling *s, bool act)
{
    double p[N], h = 0, best = 0, mean = 0, var = 0;
    int n = 0, likely = 0, least = -1;
    struct list old = *l;

    for (int i = 0; i < N; i++) {
        p[i] = chance_of(l, i);
        h -= p[i] > 0 ? p[i] * log(p[i]) : 0;
        best = fmax(best, p[i]);
        n += l->in[i];
        mean += l->in[i] ? l->logit[i] : 0;
        if (l->in[i] && p[i] >= (double)s->xtc_threshold) {
            likely++;
            least = least < 0 || p[i] < p[least] ? i : least;
        }
    }
    for (int i = 0; i < N; i++)
        var += l->in[i] ? pow(l->logit[i] - mean / n, 2) / n : 0;
    for (int i = 0; i < N; i++) {
        double before = 0; // the sum of those that come before it
        int rank = 0;

        for (int k = 0; k < N; k++) {
            bool first =
                which == RILL_TYPICAL ? fabs(-log(p[k]) - h) < fabs(-log(p[i]) - h) : p[k] > p[i];

            if (old.in[k] && first) {
                before += p[k];
                rank++;
            }
        }
        if (!old.in[i])
            continue;
        switch (which) {
        case RILL_TOP_K:
            l->in[i] = s->top_k == 0 || rank < s->top_k;
            break;
        case RILL_TOP_P:
            l->in[i] = rank == 0 || before < (double)s->top_p;
            break;
        case RILL_TYPICAL:
            l->in[i] = rank == 0 || s->typical_p >= 1 || before < (double)s->typical_p;
            break;
        case RILL_MIN_P:
            l->in[i] = p[i] >= (double)s->min_p * best;
            break;
        case RILL_TOP_N_SIGMA:
            l->in[i] =
                s->top_n_sigma <= 0 || log(best / p[i]) <= (double)s->top_n_sigma * sqrt(var);
            break;
        case RILL_XTC:
            l->in[i] = !act || likely < 2 || p[i] < (double)s->xtc_threshold || i == least;
            break;
        case RILL_MIROSTAT: // has a test of its own
            break;
        default: {
            double t = (double)s->temperature, r = (double)s->dynatemp_range;

            if (r > 0 && n > 1)
                t = fmax(t - r, 0) +
                    (t + r - fmax(t - r, 0)) * pow(h / log(n), (double)s->dynatemp_exponent);
            l->logit[i] = old.logit[i] / t;
        }
        }
    }
}

/* Draws at evenly spread random numbers: each token comes as often as its probability says. */
static void compare(const struct list *start, const struct rill_sampling *s, const int *order)
{
    enum { DRAWS = 4000 };
    struct list l = *start;
    int count[N] = {0};
    const bool act = s->xtc_probability > 0.5f;

    for (int i = 0; order[i]; i++)
        define(&l, order[i], s, act);
    for (int k = 0; k < DRAWS; k++) {
        struct candidate c[N];

        for (int i = 0; i < N; i++)
            c[i] = (struct candidate){(float)start->logit[i], 0, i};
        count[filters_draw(c, N, s, (struct chances){(k + 0.5) / DRAWS, 0.5})]++;
    }
    for (int i = 0; i < N; i++)
        if (fabs(count[i] - chance_of(&l, i) * DRAWS) > 1.01)
            ck_abort_msg("token %d came %d times, not %g", i, count[i], chance_of(&l, i) * DRAWS);
}

START_TEST(filters_are_what_they_say)
{
    struct rng r = {.seed = 5};

    for (int turn = 0; turn < 120; turn++) {
        struct rill_sampling s = plain();
        struct list l;
        int order[RILL_FILTERS] = {0};
        int n = RILL_FILTERS - 1;

        for (int i = 0; i < N; i++) {
            l.logit[i] = (double)(float)(3 * rng_next_normal(&r));
            l.in[i] = true;
        }
        for (int i = 0; i < n; i++)
            order[i] = i + 1;
        if (turn % 2) { // another order
            for (int i = n - 1; i > 0; i--) {
                int k = (int)(rng_next(&r) % (uint64_t)(i + 1)), t = order[i];

                order[i] = order[k];
                order[k] = t;
            }
            for (int i = 0; i < n; i++)
                s.order[i] = (unsigned char)order[i];
        }
        s.temperature = (float)(0.3 + 2 * rng_next_unit(&r));
        if (turn % 7 == 0 || turn > 80)
            s.top_k = 1 + (int)(rng_next(&r) % N);
        if (turn % 7 == 1 || turn > 80)
            s.top_p = (float)(0.3 + 0.7 * rng_next_unit(&r));
        if (turn % 7 == 2 || turn > 80)
            s.min_p = (float)(0.3 * rng_next_unit(&r));
        if (turn % 7 == 3 || turn > 80)
            s.typical_p = (float)(0.2 + 0.8 * rng_next_unit(&r));
        if (turn % 7 == 4 || turn > 80)
            s.top_n_sigma = (float)(0.5 + 2 * rng_next_unit(&r));
        if (turn % 7 == 5 || turn > 80) {
            s.xtc_threshold = (float)(0.02 + 0.2 * rng_next_unit(&r));
            s.xtc_probability = turn % 3 ? 0.9f : 0.1f; // the random number is 0.5
        }
        if (turn % 7 == 6 || turn > 80) {
            s.dynatemp_range = (float)rng_next_unit(&r);
            s.dynatemp_exponent = (float)(0.5 + rng_next_unit(&r));
        }
        compare(&l, &s, order);
    }
}
END_TEST

/* The short way and the long way draw the same tokens. */
START_TEST(both_ways_agree)
{
    struct rng r = {.seed = 6};
    struct sampler_work w;
    struct err e = {0};

    ck_ok(sampler_work_init(&w, N, 16, &e), &e);
    for (int turn = 0; turn < 2000; turn++) {
        struct rill_sampling s = rill_sampling_defaults(), t;
        float row[N];

        for (int i = 0; i < N; i++)
            row[i] = (float)(4 * rng_next_normal(&r));
        s.temperature = (float)(0.2 + rng_next_unit(&r));
        s.top_k = (int)(rng_next(&r) % N);
        s.top_p = (float)rng_next_unit(&r);
        t = s;
        for (int i = 0; i < RILL_FILTERS - 1; i++)
            t.order[i] = (unsigned char)(i + 1);
        ck_assert_int_eq(draw(&w, &s, row, NULL, 0, (uint64_t)turn),
                         draw(&w, &t, row, NULL, 0, (uint64_t)turn));
    }
    sampler_work_fini(&w);
}
END_TEST

/* -- DRY and n-grams, by looking at every place -- */

static int longest_match(const int32_t *h, int from, int at, int n, const uint8_t *breaker)
{
    int len = 0;

    while (at - len >= from && h[at - len] == h[n - 1 - len] && !breaker[h[n - 1 - len]])
        len++;
    return len;
}

START_TEST(repeated_sequences)
{
    struct rng r = {.seed = 8};
    struct sampler_work w;
    struct err e = {0};
    int acted = 0;

    ck_ok(sampler_work_init(&w, V, 128, &e), &e);
    w.breaker[5] = 1;
    for (int turn = 0; turn < 600; turn++) {
        struct rill_sampling s = plain();
        float want[V];
        int32_t h[100];
        int n = 1 + (int)(rng_next(&r) % 100), from;
        int from_last = (int)(rng_next(&r) % 3);

        for (int i = 0; i < n; i++)
            h[i] = (int32_t)(rng_next(&r) % (turn % 2 ? 3 : V));
        s.temperature = 0;
        s.dry_multiplier = 0.8f;
        s.dry_allowed_length = (int)(rng_next(&r) % 4);
        s.dry_last = from_last ? (int)(rng_next(&r) % 100) : -1;
        from = s.dry_last >= 0 && s.dry_last < n ? n - s.dry_last : 0;
        for (int id = 0; id < V; id++) {
            int most = 0;

            for (int i = from; i < n - 1; i++)
                if (h[i + 1] == id && longest_match(h, from, i, n, w.breaker) > most)
                    most = longest_match(h, from, i, n, w.breaker);
            want[id] = logits[id];
            if (most > 0 && most >= s.dry_allowed_length) {
                want[id] -= 0.8f * (float)pow(1.75, most - s.dry_allowed_length);
                acted++;
            }
        }
        draw(&w, &s, logits, h, n, 0);
        for (int id = 0; id < V; id++)
            ck_assert_float_eq_tol(w.row[id], want[id], 1e-4f * fabsf(want[id]) + 1e-5f);
        s.dry_multiplier = 0;
        s.no_repeat_ngram = 1 + (int)(rng_next(&r) % 4);
        draw(&w, &s, logits, h, n, 0);
        for (int id = 0; id < V; id++) {
            bool there = false;

            for (int i = 0; i + s.no_repeat_ngram <= n; i++) {
                bool same = h[i + s.no_repeat_ngram - 1] == id;

                for (int k = 0; k < s.no_repeat_ngram - 1; k++)
                    same &= h[i + k] == h[n - s.no_repeat_ngram + 1 + k];
                there |= same;
            }
            ck_assert_int_eq(w.row[id] == -INFINITY, there);
        }
    }
    ck_assert_int_gt(acted, 100);
    sampler_work_fini(&w);
}
END_TEST

START_TEST(only_what_is_allowed)
{
    const int32_t some[2] = {1, 3};
    struct rill_sampling s = plain();
    int count[V];

    s.allowed = some;
    s.n_allowed = 2;
    tally(&s, 900, NULL, 0, count);
    ck_assert_int_eq(count[1] + count[3], 900);
    ck_assert_int_gt(count[1], 200);
}
END_TEST

/* Against llama.cpp's choices and the paper's bound (scripts/ref-mirostat.py). */
START_TEST(mirostat_as_published)
{
    enum { TOKENS = 400 };
    static struct candidate c[TOKENS];
    FILE *f = fopen(srcfile("tests/golden/mirostat.txt"), "r");
    float tau, eta;
    double mu, u, after;
    int version, step, id, n = 0;

    ck_assert_ptr_nonnull(f);
    while (fscanf(f, "%d %f %f %d %lf %lf %d %lf", &version, &tau, &eta, &step, &mu, &u, &id,
                  &after) == 8) {
        struct rill_sampling s = plain();
        struct chances by = {.token = u, .mu = &mu, .n_vocab = TOKENS};

        s.mirostat = version;
        s.mirostat_tau = tau;
        s.mirostat_eta = eta;
        for (int i = 0; i < TOKENS; i++) {
            const int x = (i * 7919 + step * 104729) % 65537;

            c[i] = (struct candidate){
                (float)(9 * exp(-(x * 17 % TOKENS) / 60.0) + x % 1000 / 500.0), 0, i};
        }
        ck_assert_int_eq(filters_draw(c, TOKENS, &s, by), id);
        ck_assert_msg(fabs(mu - after) < 1e-5, "line %d: mu %g, not %g", n, mu, after);
        n++;
    }
    fclose(f);
    ck_assert_int_eq(n, 56);
}
END_TEST

/* It comes to what it aims at, whatever the logits are like. */
START_TEST(mirostat_finds_its_aim)
{
    struct sampler_work w;
    struct err e = {0};
    float row[64];

    ck_ok(sampler_work_init(&w, 64, 16, &e), &e);
    for (int version = 1; version <= 2; version++)
        for (int flat = 1; flat <= 3; flat++) {
            struct rill_sampling s = plain();
            double mu = 6, bits = 0, before;

            s.mirostat = version;
            s.mirostat_tau = 2;
            for (int i = 0; i < 64; i++)
                row[i] = -logf((float)(i + 1)) * (float)flat * 0.5f;
            for (int k = 0; k < 3000; k++) {
                struct sampler_in in = {
                    .sampling = &s, .logits = row, .n = k, .seed = 9, .mu = &mu};

                before = mu;
                ck_assert_int_ge(sampler_draw(&w, &in), 0);
                bits += (before - mu) / (double)s.mirostat_eta + (double)s.mirostat_tau;
            }
            ck_assert_msg(fabs(bits / 3000 - 2) < 0.1, "version %d: %g bits", version, bits / 3000);
        }
    sampler_work_fini(&w);
}
END_TEST

TEST_MAIN("engine/sampler", greedy_takes_the_first_largest, frequencies_follow_probabilities,
          temperature_sharpens, top_k_top_p_min_p, penalties_and_bias, draws_repeat,
          bad_values_are_named, filters_are_what_they_say, both_ways_agree, repeated_sequences,
          only_what_is_allowed, mirostat_as_published, mirostat_finds_its_aim)
