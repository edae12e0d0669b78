/* test_kv.c - keys and values in fewer bits: what is left of them (attention over them:
 * test_ops.c). */
#include "tests/kernels/ref.h"

enum { HEADS = 2 };

static const int types[] = {FMT_BF16, FMT_KV_F8, FMT_Q8_0, FMT_Q4_0};

/* Rows put at every position and opened again are what the format makes of them, to the bit. */
static void check_open(const struct cpu_kernels *k, int type, int n, bool keys)
{
    const size_t head = KV_PAGE * (size_t)plan_kv_row(type, n);
    uint8_t *page = mem_array(HEADS * head + 8, 1, NULL);
    float *in = mem_array((uint64_t)(KV_PAGE * HEADS * n), sizeof *in, NULL);
    float *out = mem_array((uint64_t)(KV_PAGE * n), sizeof *out, NULL);
    struct rng rng = {7, 0};

    for (int i = 0; i < KV_PAGE * HEADS * n; i++)
        in[i] = (float)rng_next_normal(&rng) * (i % 37 == 0 ? 30.0f : 1.0f);
    memset(page, 0x5a, HEADS * head + 8);
    for (int at = KV_PAGE - 1; at >= 0; at--) /* no place writes into another's */
        (keys ? k->put_k : k->put_v)(page, type, in + at * HEADS * n, HEADS, n, at);
    for (int i = 0; i < 8; i++)
        ck_assert_int_eq(page[HEADS * head + (size_t)i], 0x5a);
    for (int h = 0; h < HEADS; h++) {
        k->open(out, page + (size_t)h * head, type, n, keys);
        for (int at = 0; at < KV_PAGE; at++) {
            double row[512], want[512];

            for (int i = 0; i < n; i++)
                row[i] = (double)in[(at * HEADS + h) * n + i];
            ref_stored(type, false, row, n, want);
            for (int i = 0; i < n; i++) {
                const float got = keys ? out[i * KV_PAGE + at] : out[at * n + i];
                ck_assert_msg(got == (float)want[i], "%s, type %d, %s, column %d of %d: %g, not %g",
                              k->name, type, keys ? "keys" : "values", i, n, (double)got, want[i]);
            }
        }
    }
    mem_free(page);
    mem_free(in);
    mem_free(out);
}

START_TEST(what_was_put_is_what_the_format_makes_of_it)
{
    for (int l = 0; cpu_level(l); l++)
        for (size_t t = 0; t < ARRAY_LEN(types); t++)
            for (int keys = 0; keys < 2; keys++) {
                check_open(cpu_level(l), types[t], 32, keys);
                check_open(cpu_level(l), types[t], 160, keys);
                if (types[t] == FMT_BF16 || types[t] == FMT_KV_F8)
                    check_open(cpu_level(l), types[t], 7, keys);
            }
}
END_TEST

/* The turn is the matrix of the definition, and the products of queries and keys stay. */
START_TEST(turning_keeps_products)
{
    static const int sizes[] = {32, 64, 96, 128, 160, 512};

    for (int l = 0; cpu_level(l); l++)
        for (size_t s = 0; s < ARRAY_LEN(sizes); s++) {
            const int n = sizes[s];
            float key[2 * 512], query[2 * 512];
            double want[512], before = 0, after = 0, ratio = 0;
            struct rng rng = {s, 0};

            for (int i = 0; i < 2 * n; i++) {
                key[i] = (float)rng_next_normal(&rng);
                query[i] = (float)rng_next_normal(&rng);
                if (i >= n)
                    want[i - n] = (double)key[i];
                before += (double)key[i] * (double)query[i];
            }
            cpu_level(l)->turn(key, n, 2, false);
            cpu_level(l)->turn(query, n, 2, true);
            ref_turn(want, n);
            for (int i = 0; i < 2 * n; i++)
                after += (double)key[i] * (double)query[i];
            ck_assert_msg(fabs(after - before) < 1e-4 * n, "%s: %d columns: %g became %g",
                          cpu_level(l)->name, n, before, after);
            ratio = (double)key[n] / want[0];
            for (int i = 0; i < n; i++)
                ck_assert(fabs((double)key[n + i] - ratio * want[i]) < 1e-5 * ratio * sqrt(n));
        }
}
END_TEST

/* Few columns with large values: turned, 4 bits keep more of the keys. */
START_TEST(turned_keys_lose_less)
{
    enum { N = 64, ROWS = 200 };
    double lost[2] = {0};
    struct rng rng = {3, 0};

    for (int t = 0; t < ROWS; t++) {
        double x[N], y[N];

        for (int i = 0; i < N; i++)
            x[i] = rng_next_normal(&rng) * (i % 32 == 5 ? 20.0 : 1.0);
        for (int turned = 0; turned < 2; turned++) {
            ref_stored(FMT_Q4_0, turned, x, N, y);
            for (int i = 0; i < N; i++)
                lost[turned] += (x[i] - y[i]) * (x[i] - y[i]);
        }
    }
    ck_assert_msg(lost[1] < 0.5 * lost[0], "turned %g, as they are %g", lost[1], lost[0]);
}
END_TEST

TEST_MAIN("kernels/kv", what_was_put_is_what_the_format_makes_of_it, turning_keeps_products,
          turned_keys_lose_less)
