/* test_map.c - the hash map against a plain array, at growth, and without memory. */
#include "base/map.h"

#include "base/mem.h"
#include "tests/suite.h"

enum { N = 20000 };

static void keys_make(char (*key)[16])
{
    for (int i = 0; i < N; i++)
        snprintf(key[i], sizeof key[i], "k%d", i * 7);
}

START_TEST(holds_what_was_put)
{
    static char key[N][16];
    struct err e = {0};
    struct map m;
    uint32_t v;

    keys_make(key);
    ck_ok(map_init(&m, 0, &e), &e);
    for (uint32_t i = 0; i < N; i++)
        if (map_put(&m, slice_of(key[i]), i, &e) < 0)
            ck_abort_msg("%s: %s", key[i], e.text);
    for (uint32_t i = 0; i < N; i += 3)
        if (map_put(&m, slice_of(key[i]), i + 1, &e) < 0)
            ck_abort_msg("%s: %s", key[i], e.text);
    ck_assert_uint_eq(m.n, N);
    for (uint32_t i = 0; i < N; i++)
        if (!map_get(&m, slice_of(key[i]), &v) || v != i + (i % 3 == 0))
            ck_abort_msg("%s", key[i]);
    ck_assert(!map_get(&m, SLICE("k1"), &v));
    map_fini(&m);
    ck_assert(!map_get(&m, SLICE("k0"), &v));
}
END_TEST

START_TEST(keys_are_bytes)
{
    struct err e = {0};
    struct map m;
    uint32_t v = 0;

    ck_ok(map_init(&m, 4, &e), &e);
    ck_ok(map_put(&m, SLICE(""), 1, &e), &e);
    ck_ok(map_put(&m, SLICE("\0"), 2, &e), &e);
    ck_ok(map_put(&m, SLICE("\0\0"), 3, &e), &e);
    ck_assert(map_get(&m, (struct slice){0}, &v) && v == 1);
    ck_assert(map_get(&m, SLICE("\0"), &v) && v == 2);
    ck_assert(map_get(&m, SLICE("\0\0"), &v) && v == 3);
    map_fini(&m);
}
END_TEST

START_TEST(room_was_made_beforehand)
{
    static char key[N][16];
    struct err e = {0};
    struct map m;

    keys_make(key);
    ck_ok(map_init(&m, N, &e), &e);
    mem_fail_after(0);
    for (uint32_t i = 0; i < N; i++)
        if (map_put(&m, slice_of(key[i]), i, &e) < 0)
            ck_abort_msg("%s: %s", key[i], e.text);
    ck_assert(!mem_fail_hit());
    mem_fail_after(-1);
    map_fini(&m);
}
END_TEST

START_TEST(growth_can_fail)
{
    static char key[N][16];
    struct err e = {0};
    struct map m;
    uint32_t v;
    uint32_t n = 0;

    keys_make(key);
    mem_fail_after(0);
    ck_fails(map_init(&m, 0, &e), &e, E_NOMEM, "out of memory");
    map_fini(&m);
    e = (struct err){0};
    ck_fails(map_init(&m, UINT64_MAX, &e), &e, E_NOMEM, "out of memory");
    ck_ok(map_init(&m, 0, NULL), &e);
    mem_fail_after(0);
    while (map_put(&m, slice_of(key[n]), n, NULL) == 0)
        n++;
    mem_fail_after(-1);
    ck_assert_uint_gt(n, 8);
    ck_assert_uint_eq(m.n, n);
    for (uint32_t i = 0; i < n; i++)
        ck_assert(map_get(&m, slice_of(key[i]), &v) && v == i);
    ck_ok(map_put(&m, slice_of(key[n]), n, NULL), &e);
    map_fini(&m);
}
END_TEST

TEST_MAIN("base/map", holds_what_was_put, keys_are_bytes, room_was_made_beforehand, growth_can_fail)
