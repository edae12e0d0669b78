/* test_stop.c - stop strings found wherever the text is cut. */
#include "engine/stop.h"

#include "tests/suite.h"

static const char text[] = "one two three END four";

START_TEST(found_at_every_cut)
{
    const struct rill_stop s[2] = {{"END", 3}, {" ENX", 4}};

    for (size_t a = 0; a <= sizeof text - 1; a++) {
        for (size_t b = a; b <= sizeof text - 1; b++) {
            struct stop st;
            struct buf out = {0};
            struct err e = {0};
            bool hit;

            ck_ok(stop_init(&st, s, 2, 64, &e), &e);
            hit = stop_add(&st, (struct slice){text, a}, &out);
            hit = hit || stop_add(&st, (struct slice){text + a, b - a}, &out);
            hit = hit || stop_add(&st, (struct slice){text + b, sizeof text - 1 - b}, &out);
            ck_assert(hit);
            ck_assert_str_eq(out.p, "one two three ");
            ck_assert_int_eq(st.met, 1);
            buf_fini(&out);
            stop_fini(&st);
        }
    }
}
END_TEST

START_TEST(what_cannot_stop_is_shown)
{
    const struct rill_stop s[1] = {{"ab\nabc", 6}};
    struct stop st;
    struct buf out = {0};
    struct err e = {0};

    ck_ok(stop_init(&st, s, 1, 64, &e), &e);
    ck_assert(!stop_add(&st, SLICE("xab\nab"), &out));
    ck_assert_str_eq(out.p, "x");
    ck_assert(!stop_add(&st, SLICE("\nab"), &out));
    ck_assert_str_eq(out.p, "xab\n"); // "ab\nab" can still become one
    stop_flush(&st, &out);
    ck_assert_str_eq(out.p, "xab\nab\nab");
    buf_fini(&out);
    stop_fini(&st);
}
END_TEST

START_TEST(bad_strings_are_refused)
{
    const struct rill_stop none = {"", 0};
    struct stop st;
    struct err e = {0};

    ck_fails(stop_init(&st, &none, 1, 64, &e), &e, E_RANGE, "stop string");
    memset(&e, 0, sizeof e);
    ck_fails(stop_init(&st, &none, 1000, 64, &e), &e, E_RANGE, "1000");
}
END_TEST

TEST_MAIN("engine/stop", found_at_every_cut, what_cannot_stop_is_shown, bad_strings_are_refused)
