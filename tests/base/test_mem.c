/* test_mem.c - checked sizes, zeroed memory, and the failure hook that other tests rely on. */
#include "base/mem.h"

#include <signal.h>

#include "tests/suite.h"

static bool all_zero(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

START_TEST(memory_is_zeroed)
{
    struct err e = {0};
    unsigned char *p = mem_new(1000, &e);

    ck_assert(all_zero(p, 1000));
    memset(p, 255, 1000);
    mem_free(p);
    p = mem_array(25, 40, &e);
    ck_assert(all_zero(p, 1000));
    memset(p, 255, 1000);
    p = mem_resize(p, 25, 50, 40, &e);
    ck_assert_int_eq(p[999], 255);
    ck_assert(all_zero(p + 1000, 1000));
    mem_free(p);
    p = mem_new(0, &e);
    ck_assert_ptr_nonnull(p);
    mem_free(p);
    mem_free(NULL);
}
END_TEST

START_TEST(aligned_memory)
{
    struct err e = {0};

    for (size_t align = 64; align <= 1 << 21; align *= 8) {
        unsigned char *p = mem_aligned(100, align, &e);

        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % align, 0);
        ck_assert(all_zero(p, 100));
        mem_free(p);
    }
    ck_assert_ptr_null(mem_aligned(UINT64_MAX - 3, 64, &e));
    ck_assert_int_eq(e.code, E_NOMEM);
}
END_TEST

START_TEST(pages)
{
    struct err e = {0};
    const uint64_t bytes = (16u << 20) + 5; // enough for huge pages
    unsigned char *p = mem_pages(bytes, &e);

    ck_assert_ptr_nonnull(p);
    ck_assert_uint_eq((uintptr_t)p % 4096, 0);
    ck_assert(all_zero(p, bytes));
    memset(p, 255, bytes);
    mem_unpages(p, bytes);
    p = mem_pages(0, &e);
    ck_assert_ptr_nonnull(p);
    mem_unpages(p, 0);
    mem_unpages(NULL, 7);
    ck_assert_ptr_null(mem_pages(UINT64_MAX, &e));
    ck_assert_int_eq(e.code, E_NOMEM);
    mem_fail_after(0);
    ck_assert_ptr_null(mem_pages(1, &e));
    mem_fail_after(-1);
}
END_TEST

START_TEST(sizes_that_do_not_fit)
{
    struct err e = {0};
    uint64_t v = 7;

    ck_assert_ptr_null(mem_array(UINT64_MAX / 2, 3, &e));
    ck_assert_int_eq(e.code, E_NOMEM);
    ck_assert_ptr_null(mem_array(1ull << 62, 2, NULL));
    ck_assert_ptr_null(mem_resize(NULL, 0, 1ull << 61, 16, NULL));
    ck_assert_ptr_null(mem_dup("x", SIZE_MAX, NULL));
    ck_assert(!mul_ok(1ull << 32, 1ull << 32, &v));
    ck_assert(mul_ok(1ull << 32, (1ull << 32) - 1, &v) && v == 0xffffffff00000000u);
    ck_assert(!add_ok(UINT64_MAX, 1, &v));
    ck_assert(add_ok(UINT64_MAX, 0, &v) && v == UINT64_MAX);
    ck_assert(pad_ok(33, 32, &v) && v == 64);
    ck_assert(pad_ok(64, 32, &v) && v == 64);
    ck_assert(pad_ok(0, 32, &v) && v == 0);
    ck_assert(!pad_ok(UINT64_MAX - 30, 32, &v));
}
END_TEST

START_TEST(copies_end_with_nul)
{
    char *p = mem_dup("a\0b", 3, NULL);

    ck_assert_mem_eq(p, "a\0b", 4);
    mem_free(p);
    p = mem_dup(NULL, 0, NULL);
    ck_assert_str_eq(p, "");
    mem_free(p);
}
END_TEST

START_TEST(the_nth_allocation_fails_once)
{
    struct err e = {0};
    char *p[4];

    mem_fail_after(2);
    p[0] = mem_new(1, &e);
    p[1] = mem_array(1, 1, &e);
    ck_assert(!mem_fail_hit());
    p[2] = mem_dup("x", 1, &e);
    p[3] = mem_new(1, NULL);
    ck_assert(p[0] && p[1] && !p[2] && p[3]);
    ck_assert(mem_fail_hit());
    ck_assert_int_eq(e.code, E_NOMEM);
    mem_fail_after(0);
    ck_assert_ptr_null(mem_resize(p[0], 1, 2, 1, NULL));
    p[0][0] = 'x'; /* untouched by the failure: the sanitizer would say */
    mem_fail_after(0);
    ck_assert_ptr_null(mem_aligned(64, 64, NULL));
    mem_fail_after(-1);
    ck_assert(!mem_fail_hit());
    for (int i = 0; i < 4; i++)
        mem_free(p[i]);
}
END_TEST

START_TEST(guard_can_be_nested)
{
    ck_assert(!mem_guard(true));
    ck_assert(mem_guard(true));
    ck_assert(mem_guard(false));
    mem_free(mem_new(1, NULL));
}
END_TEST

static void allocate_guarded(void)
{
    mem_guard(true);
    mem_free(mem_new(1, NULL));
}

START_TEST(guarded_allocation_aborts)
{
    int status = child_status(allocate_guarded);

    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(WTERMSIG(status), SIGABRT);
}
END_TEST

TEST_MAIN("base/mem", memory_is_zeroed, aligned_memory, pages, sizes_that_do_not_fit,
          copies_end_with_nul, the_nth_allocation_fails_once, guard_can_be_nested,
          guarded_allocation_aborts)
