/* test_runtool.c - commands that answer tool calls: what they say, what goes wrong with them. */
#include "base/clock.h"
#include "base/mem.h"
#include "tests/suite.h"
#include "tools/lib/runtool.h"
#include "tools/lib/tool.h"

static bool stop_now(void)
{
    return true;
}

static void expect(const char *command, const char *in, const char *want, bool failed)
{
    struct runtool r = {0};
    struct err e = {0};

    ck_ok(runtool(&r, command, slice_of(in), 10, NULL, &e), &e);
    ck_assert_msg(slice_is(buf_view(&r.result), want), "%s: '%s'", command, r.result.p);
    ck_assert_int_eq(r.failed, failed);
    buf_fini(&r.result);
}

START_TEST(results)
{
    expect("cat", "{\"a\": 1}", "{\"a\": 1}", false);
    expect("  tr   a  b ", "aaa\n\n", "bbb", false); // words, no shell
    expect("echo $HOME;x", "", "$HOME;x", false);
    expect("true", "not read", "", false);
    expect("false", "", "error: false: exit status 1", true);
    expect("/no/such/program", "", "error: /no/such/program: cannot be run", true);
    expect("grep x", "no\n", "error: grep: exit status 1", true);
}
END_TEST

START_TEST(large)
{
    struct buf in = {0};
    struct runtool r = {0};
    struct err e = {0};

    while (in.n < 900000)
        buf_str(&in, "0123456789");
    ck_ok(runtool(&r, "cat", buf_view(&in), 20, NULL, &e), &e);
    ck_assert(slice_eq(buf_view(&r.result), buf_view(&in)));
    ck_ok(runtool(&r, "head -c 3", buf_view(&in), 20, NULL, &e), &e); // it does not read all
    ck_assert(slice_is(buf_view(&r.result), "012"));
    ck_ok(runtool(&r, "yes", SLICE(""), 20, NULL, &e), &e);
    ck_assert(r.failed && strstr(r.result.p, "larger than 1 MiB"));
    buf_fini(&r.result);
    buf_fini(&in);
}
END_TEST

START_TEST(time_and_interrupts)
{
    struct runtool r = {0};
    struct err e = {0};
    double began = clock_seconds();

    ck_ok(runtool(&r, "sleep 30", SLICE(""), 0.1, NULL, &e), &e);
    ck_assert(r.failed && strstr(r.result.p, "too long"));
    ck_ok(runtool(&r, "sleep 30", SLICE(""), 30, stop_now, &e), &e);
    ck_assert(r.failed && strstr(r.result.p, "interrupted"));
    ck_assert_double_lt(clock_seconds() - began, 10);
    buf_fini(&r.result);
}
END_TEST

START_TEST(no_command)
{
    struct runtool r = {0};
    struct err e = {0};

    ck_fails(runtool(&r, "  ", SLICE(""), 1, NULL, &e), &e, E_USAGE, "no command");
}
END_TEST

TEST_MAIN("tools/runtool", results, large, time_and_interrupts, no_command)
