/* test_kvpool.c - pages: nobody shares one, commitments hold, all come back. */
#include "engine/kvpool.h"

#include "base/mem.h"
#include "base/rng.h"
#include "tests/suite.h"

enum { SEQS = 5, MAX_POS = 2000, ROWS = 64 };

static const struct kv_group groups[2] = {
    {.window = 0, .n_layer = 2, .bytes = 40 * 1024},
    {.window = 100, .n_layer = 4, .bytes = 72 * 1024},
};

START_TEST(reserve_and_drop)
{
    struct kvpool *p;
    struct err e = {0};
    struct kv_count c;
    uint64_t bytes;
    const int32_t *t;
    int s;

    ck_ok(kv_open(&p, groups, 1, 16 << 20, SEQS, MAX_POS, ROWS, &e), &e);
    s = kv_commit(p, 100);
    ck_assert_int_eq(s, 0);
    kv_reserve(p, s, 40);
    kv_count(p, &c);
    ck_assert_int_eq(c.pages_used, 2);
    t = kv_table(p, &bytes);
    ck_assert_int_gt(t[0], 0);
    ck_assert_int_gt(t[1], 0);
    ck_assert_int_ne(t[0], t[1]);
    ck_assert_int_eq(t[2], 0);
    kv_trim(p, s, 32);
    ck_assert_int_eq(t[1], 0);
    kv_reserve(p, s, 33);
    ck_assert_int_gt(t[1], 0);
    kv_drop(p, s);
    kv_count(p, &c);
    ck_assert_int_eq(c.pages_used, 0);
    ck_assert_int_eq(c.slabs_used, 0);
    kv_close(p);
}
END_TEST

START_TEST(window_gives_back)
{
    struct kvpool *p;
    struct err e = {0};
    struct kv_count c;
    uint64_t bytes;
    const int32_t *t;

    ck_ok(kv_open(&p, groups + 1, 1, 16 << 20, SEQS, MAX_POS, ROWS, &e), &e);
    ck_assert_int_eq(kv_commit(p, MAX_POS), 0);
    t = kv_table(p, &bytes);
    for (int pos = 0; pos < MAX_POS; pos++) {
        kv_slide(p, 0, pos);
        kv_reserve(p, 0, pos + 1);
        for (int seen = pos - 99 < 0 ? 0 : pos - 99; seen <= pos; seen++)
            ck_assert_int_gt(t[seen / KV_PAGE], 0);
        kv_count(p, &c);
        ck_assert_int_le(c.pages_used, 5);
    }
    kv_close(p);
}
END_TEST

START_TEST(too_small_is_said)
{
    struct kvpool *p = NULL;
    struct err e = {0};

    ck_fails(kv_open(&p, groups, 2, 1 << 20, SEQS, MAX_POS, ROWS, &e), &e, E_RANGE, "at least");
    ck_ok(kv_open(&p, groups, 2, kv_bytes_for(groups, 2, 1, 320, ROWS), SEQS, MAX_POS, ROWS,
                  memset(&e, 0, sizeof e)), &e);
    ck_assert_int_eq(kv_commit(p, MAX_POS + 33), E_RANGE);
    ck_assert_int_eq(kv_commit(p, 320), 0);
    kv_close(p);
}
END_TEST

struct world {
    struct kvpool *p;
    int live[SEQS];   // committed positions, 0: free
    int at[SEQS];     // positions stored
    int32_t copy[2 * SEQS * 64];
};

static void copy_range(void *ctx, uint64_t at, uint64_t n)
{
    struct world *w = ctx;
    uint64_t bytes;

    memcpy((char *)w->copy + at, (const char *)kv_table(w->p, &bytes) + at, n);
}

/* Every entry is a page of its group inside the block, and no two ranges of bytes meet. */
static void check_disjoint(const struct world *w, uint64_t block)
{
    uint64_t bytes;
    const int32_t *t = kv_table(w->p, &bytes);
    int per = kv_max_page(w->p);
    static uint8_t owned[64 << 10]; // per KiB of the block

    memset(owned, 0, sizeof owned);
    for (int i = 0; i < 2 * SEQS * per; i++) {
        uint32_t kib = groups[i / (SEQS * per)].bytes / 1024;

        if (!t[i])
            continue;
        ck_assert_int_ge(t[i], 72); // behind scratch, which is as large as the largest page
        ck_assert_uint_le(((uint64_t)t[i] + kib) * 1024, block);
        for (uint32_t k = 0; k < kib; k++)
            ck_assert_int_eq(owned[(uint32_t)t[i] + k]++, 0);
    }
}

/* Random commits, growth, trims and drops: what was committed can always be reserved (kv_reserve
 * asserts), and the copy kept from kv_changed equals the table. */
static void random_life(uint64_t seed)
{
    uint64_t block = 10u << 20;
    struct world w = {0};
    struct rng r = {.seed = seed};
    struct err e = {0};
    struct kv_count c;
    int busy = 0;

    ck_ok(kv_open(&w.p, groups, 2, block, SEQS, MAX_POS, ROWS, &e), &e);
    ck_assert_int_le(2 * SEQS * kv_max_page(w.p), (int)ARRAY_LEN(w.copy));
    for (int step = 0; step < 3000; step++) {
        int s = (int)(rng_next(&r) % SEQS);
        int what = (int)(rng_next(&r) % 10);
        uint64_t bytes;

        if (!w.live[s] && what < 5) {
            int n = 1 + (int)(rng_next(&r) % MAX_POS);
            int got = kv_commit(w.p, n);

            busy += got == E_BUSY;
            if (got >= 0) {
                ck_assert_int_eq(w.live[got], 0);
                w.live[got] = n;
                w.at[got] = 0;
            }
        } else if (w.live[s] && what < 8) {
            int n = w.at[s] + 1 + (int)(rng_next(&r) % ROWS);

            n = n > w.live[s] ? w.live[s] : n;
            kv_slide(w.p, s, w.at[s]);
            kv_reserve(w.p, s, n);
            w.at[s] = n;
        } else if (w.live[s] && what == 8 && w.at[s] > 2) {
            kv_trim(w.p, s, w.at[s] -= 2);
        } else if (w.live[s]) {
            kv_drop(w.p, s);
            w.live[s] = 0;
        }
        kv_changed(w.p, copy_range, &w);
        ck_assert_mem_eq(w.copy, kv_table(w.p, &bytes), bytes);
        if (step % 16 == 0)
            check_disjoint(&w, block);
    }
    ck_assert_int_gt(busy, 0); // the pool was full now and then
    for (int s = 0; s < SEQS; s++)
        if (w.live[s])
            kv_drop(w.p, s);
    kv_count(w.p, &c);
    ck_assert_int_eq(c.pages_used, 0);
    ck_assert_int_eq(c.slabs_used, 0);
    kv_close(w.p);
}

START_TEST(random_lives)
{
    for (int i = 0; i < 4; i++)
        random_life((uint64_t)i);
}
END_TEST

START_TEST(allocations_fail)
{
    bool hit = true;

    for (long n = 0; hit; n++) {
        struct kvpool *p = NULL;
        struct err e = {0};

        mem_fail_after(n);
        if (kv_open(&p, groups, 2, 16 << 20, SEQS, MAX_POS, ROWS, &e) == 0)
            kv_close(p);
        else
            ck_assert_int_eq(e.code, E_NOMEM);
        hit = mem_fail_hit();
    }
    mem_fail_after(-1);
}
END_TEST

TEST_MAIN("engine/kvpool", reserve_and_drop, window_gives_back, too_small_is_said, random_lives,
          allocations_fail)
