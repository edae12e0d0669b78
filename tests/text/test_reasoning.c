/* test_reasoning.c - reasoning marks: detection, prompts that open a block, histories, budgets. */
#include "base/mem.h"
#include "tests/suite.h"
#include "text/reasoning.h"

START_TEST(rows)
{
    for (size_t i = 0; reasoning_at(i); i++) {
        const struct reasoning *r = reasoning_at(i);

        ck_assert_ptr_nonnull(reasoning_find(r->name));
        ck_assert_ptr_nonnull(strstr(r->spent, r->close)); // an injected end closes the block
        ck_assert(r->channels || r->trim);
    }
    ck_assert_ptr_null(reasoning_find("none"));
    ck_assert_str_eq(reasoning_detect(SLICE("a {{ '<think>' }}"))->name, "think");
    ck_assert_str_eq(reasoning_detect(SLICE("content.split('</think>')"))->name, "think");
    ck_assert_str_eq(reasoning_detect(SLICE("[THINK] and <think>"))->name, "mistral");
    ck_assert_ptr_null(reasoning_detect(SLICE("{{ messages }}")));
}
END_TEST

START_TEST(open_prompts)
{
    const struct reasoning *r = reasoning_find("think");

    ck_assert(reasoning_is_open(r, SLICE("<|im_start|>assistant\n<think>\n")));
    ck_assert(reasoning_is_open(r, SLICE("<think>")));
    ck_assert(!reasoning_is_open(r, SLICE("<think>\n\n</think>\n\n")));
    ck_assert(!reasoning_is_open(r, SLICE("think>")));
    ck_assert(!reasoning_is_open(r, SLICE("")));
    ck_assert(!reasoning_is_open(NULL, SLICE("<think>")));
}
END_TEST

START_TEST(histories)
{
    static const char *const cases[][2] = {
        {"<think>\na\n</think>\n\nb", "b"},
        {"x <think>a</think>y<think>b</think> z", "x yz"},
        {"x <think>never ends", "x "},
        {"x </think> y", "x </think> y"},
        {"", ""},
        {"<think></think>", ""},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf b = {0};

        reasoning_strip(reasoning_find("think"), slice_of(cases[i][0]), &b);
        ck_assert_msg(slice_is(buf_view(&b), cases[i][1]), "%s: %s", cases[i][0], b.p);
        buf_clear(&b);
        reasoning_strip(NULL, slice_of(cases[i][0]), &b);
        ck_assert(slice_is(buf_view(&b), cases[i][0]));
        buf_fini(&b);
    }
}
END_TEST

START_TEST(policies)
{
    enum reasoning_policy p;
    struct err e = {0};

    ck_ok(reasoning_policy_parse(&p, "keep", &e), &e);
    ck_assert(reasoning_shown(p) && reasoning_in_history(p));
    ck_ok(reasoning_policy_parse(&p, "hide", &e), &e);
    ck_assert(!reasoning_shown(p) && reasoning_in_history(p));
    ck_ok(reasoning_policy_parse(&p, "strip", &e), &e);
    ck_assert(!reasoning_shown(p) && !reasoning_in_history(p));
    ck_fails(reasoning_policy_parse(&p, "drop", &e), &e, E_USAGE, "keep, hide or strip");
}
END_TEST

START_TEST(budgets)
{
    const struct reasoning *r = reasoning_find("think");
    struct reasoning_budget b = {.max = 3}, none = {.max = -1}, zero = {.max = 0};

    ck_assert_uint_eq(reasoning_count(&b, r, true).n, 0);
    ck_assert_uint_eq(reasoning_count(&b, r, true).n, 0);
    ck_assert(slice_is(reasoning_count(&b, r, true), r->spent));
    ck_assert_uint_eq(reasoning_count(&b, r, true).n, 0); // once
    ck_assert_uint_eq(reasoning_count(&b, r, false).n, 0);
    ck_assert_int_eq(b.used, 4);
    for (int i = 0; i < 100; i++)
        ck_assert_uint_eq(reasoning_count(&none, r, true).n, 0);
    ck_assert(slice_is(reasoning_count(&zero, r, true), r->spent));
    ck_assert_uint_eq(reasoning_count(&b, NULL, true).n, 0);
}
END_TEST

TEST_MAIN("text/reasoning", rows, open_prompts, histories, policies, budgets)
