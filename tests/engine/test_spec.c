/* test_spec.c - proposals: from the longest end that occurred before, in the text or in a corpus.
 */
#include "engine/spec.h"

#include "base/mem.h"
#include "base/rng.h"
#include "tests/suite.h"

START_TEST(the_longest_end_wins)
{
    const int32_t ids[] = {1, 2, 3, 4, 9, 2, 3, 5, 9, 1, 2, 3};
    int32_t out[8], lag = 0;

    ck_assert_int_eq(spec_propose(NULL, ids, 12, SPEC_LEAST, 3, &lag, out), 3);
    ck_assert_int_eq(out[0], 4); // behind 1 2 3, though 2 3 came later too
    ck_assert_int_eq(out[1], 9);
    ck_assert_int_eq(out[2], 2);
    ck_assert_int_eq(lag, 9);
    lag = 0;
    ck_assert_int_eq(spec_propose(NULL, ids, 7, SPEC_LEAST, 8, &lag, out), 4); // up to the end
    ck_assert_int_eq(out[0], 4);
    lag = 0;
    ck_assert_int_eq(spec_propose(NULL, ids, 5, SPEC_LEAST, 8, &lag, out), 0); // 9 is new
    ck_assert_int_eq(spec_propose(NULL, ids, 6, SPEC_LEAST, 8, &lag, out),
                     0); // one token alone is not enough
    ck_assert_int_eq(spec_propose(NULL, ids, 1, SPEC_LEAST, 8, &lag, out), 0);
}
END_TEST

/* A text that repeats itself and departs from that: what was followed is taken up again. */
START_TEST(departures)
{
    static const struct {
        int32_t ids[16];
        int n;
        int32_t next; // proposed first, 0: nothing
    } after[] = {
        {{1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4}, 11, 5},
        {{1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 9}, 11, 5},             // 9 for 4
        {{1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 5}, 11, 6},             // 4 is left out
        {{1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 9, 8, 4}, 13, 5},       // two are put in
        {{1, 2, 3, 4, 5, 1, 2, 9, 4, 5, 1, 2, 9, 4, 5}, 15, 1}, // a longer end is surer
    };
    int32_t out[4];

    for (size_t i = 0; i < ARRAY_LEN(after); i++) {
        int32_t lag = i == 4 ? 10 : 7;

        ck_assert_int_eq(spec_propose(NULL, after[i].ids, after[i].n, SPEC_LEAST, 4, &lag, out) > 0,
                         true);
        ck_assert_int_eq(out[0], after[i].next);
    }
    for (size_t i = 1; i < 4; i++) { // unless nothing is followed, or surer ones are wanted
        int32_t lag = 0;

        ck_assert_int_eq(spec_propose(NULL, after[i].ids, after[i].n, SPEC_LEAST, 4, &lag, out), 0);
        lag = 7;
        ck_assert_int_eq(spec_propose(NULL, after[i].ids, after[i].n, 8, 4, &lag, out), 0);
    }
}
END_TEST

/* Against a search of every place. */
START_TEST(a_corpus_is_searched)
{
    enum { N = 600 };
    struct rng r = {.seed = 4};
    int32_t ids[N], text[12], out[4], lag = 0;
    struct corpus *c;
    struct err e = {0};
    int found = 0;

    for (int i = 0; i < N; i++)
        ids[i] = (int32_t)(rng_next(&r) % 5);
    ck_ok(corpus_new(&c, ids, N, &e), &e);
    for (int turn = 0; turn < 500; turn++) {
        int n = 1 + (int)(rng_next(&r) % 12), most = 0, got, len = 0;

        /* no end of it occurs twice in itself: the corpus must give the proposal */
        for (int i = 0; i < n; i++)
            text[i] = i < n - 3 ? 100 + i : (int32_t)(rng_next(&r) % 5);
        if (n >= 3 && (text[n - 1] == text[n - 2] || text[n - 2] == text[n - 3] ||
                       text[n - 1] == text[n - 3]))
            continue;
        for (int at = 0; at + 1 < N; at++) {
            int k = 0;

            while (k < n && k <= at && ids[at - k] == text[n - 1 - k])
                k++;
            most = k > most ? k : most;
        }
        lag = 0;
        got = spec_propose(c, text, n, SPEC_LEAST, 4, &lag, out);
        ck_assert_int_eq(got > 0, most >= SPEC_LEAST);
        if (got == 0)
            continue;
        found++;
        for (int at = 0; at + got < N; at++) { // what is proposed stands behind the longest
            int k = 0;

            while (k < n && k <= at && ids[at - k] == text[n - 1 - k])
                k++;
            if (memcmp(ids + at + 1, out, (size_t)got * sizeof *out) == 0 && k > len)
                len = k;
        }
        ck_assert_int_eq(len, most);
    }
    ck_assert_int_gt(found, 50);
    corpus_free(c);
}
END_TEST

START_TEST(empty_ones)
{
    const int32_t ids[2] = {1, 1};
    int32_t out[4], lag = 0;
    struct corpus *c;
    struct err e = {0};

    ck_ok(corpus_new(&c, ids, 0, &e), &e);
    ck_assert_int_eq(spec_propose(c, ids, 2, SPEC_LEAST, 4, &lag, out), 0);
    ck_assert_int_eq(spec_propose(c, ids, 0, SPEC_LEAST, 4, &lag, out), 0);
    corpus_free(c);
    mem_fail_after(1);
    ck_assert_int_eq(corpus_new(&c, ids, 2, &e), E_NOMEM);
    mem_fail_after(-1);
}
END_TEST

TEST_MAIN("engine/spec", the_longest_end_wins, departures, a_corpus_is_searched, empty_ones)
