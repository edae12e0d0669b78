/* test_tool.c - records of standard input, amounts, and how tools end. */
#include "tools/lib/tool.h"

#include <fcntl.h>
#include <signal.h>

#include "base/mem.h"
#include "tests/suite.h"

/* A descriptor from which these bytes can be read. */
static int fd_with(const char *p, size_t n)
{
    const char *path = tmpfile_path("records");
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

    ck_assert_int_ge(fd, 0);
    unlink(path);
    ck_assert_int_eq(write(fd, p, n), (ssize_t)n);
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

START_TEST(records_of_every_kind)
{
    static const struct {
        enum record_kind kind;
        struct slice in;
        const char *out; /* each record followed by '|' */
    } t[] = {
        {RECORD_WHOLE, SLICE(""), "|"},
        {RECORD_WHOLE, SLICE("a\nb\n"), "a\nb\n|"},
        {RECORD_LINES, SLICE(""), ""},
        {RECORD_LINES, SLICE("a\nb\n"), "a|b|"},
        {RECORD_LINES, SLICE("a\nb"), "a|b|"},
        {RECORD_LINES, SLICE("\n\nx\r\n"), "||x\r|"},
        {RECORD_NUL, SLICE("a\nb\0c\0"), "a\nb|c|"},
        {RECORD_NUL, SLICE("\0\0d"), "||d|"},
    };

    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct records r = {.kind = t[i].kind, .fd = fd_with(t[i].in.p, t[i].in.n)};
        struct buf all = {0};
        struct slice s;
        struct err e = {0};

        while (records_next(&r, &s, &e) > 0) {
            buf_slice(&all, s);
            buf_byte(&all, '|');
        }
        ck_assert_int_eq(e.code, 0);
        ck_assert_msg(strcmp(buf_view(&all).p, t[i].out) == 0, "row %zu: '%s'", i, all.p);
        ck_assert_int_eq(records_next(&r, &s, &e), 0);
        buf_fini(&all);
        records_fini(&r);
        close(r.fd);
    }
}
END_TEST

START_TEST(long_records_and_many)
{
    enum { LONG = 300001, MANY = 50000 };
    struct buf in = {0};
    struct records r = {.kind = RECORD_LINES};
    struct slice s;
    struct err e = {0};
    int n = 0;

    for (int i = 0; i < LONG; i++)
        buf_byte(&in, (char)('a' + i % 26));
    buf_byte(&in, '\n');
    for (int i = 0; i < MANY; i++)
        buf_printf(&in, "%d\n", i);
    r.fd = fd_with(in.p, in.n);
    ck_assert_int_eq(records_next(&r, &s, &e), 1);
    ck_assert_uint_eq(s.n, LONG);
    ck_assert_mem_eq(s.p, in.p, LONG);
    while (records_next(&r, &s, &e) > 0) {
        char want[16];

        if (!slice_is(s, (snprintf(want, sizeof want, "%d", n), want)))
            ck_abort_msg("record %d", n);
        n++;
    }
    ck_assert_int_eq(n, MANY);
    records_fini(&r);
    close(r.fd);
    buf_fini(&in);
}
END_TEST

START_TEST(records_fail)
{
    struct records r = {.kind = RECORD_WHOLE, .fd = -1};
    struct slice s;
    struct err e = {0};

    ck_fails(records_next(&r, &s, &e), &e, E_IO, "standard input: cannot read");
    records_fini(&r);
    r = (struct records){.kind = RECORD_LINES, .fd = fd_with("a\n", 2)};
    e = (struct err){0};
    mem_fail_after(0);
    ck_fails(records_next(&r, &s, &e), &e, E_NOMEM, "out of memory");
    mem_fail_after(-1);
    ck_assert_int_eq(records_next(&r, &s, &e), E_NOMEM); /* sticky: no record may be lost unseen */
    records_fini(&r);
    close(r.fd);
}
END_TEST

START_TEST(amounts)
{
    static const struct {
        uint64_t n;
        const char *out;
    } t[] = {{0, "0 B"},
             {999, "999 B"},
             {1000, "0.98 KiB"},
             {1536, "1.50 KiB"},
             {10 << 20, "10.0 MiB"},
             {1023 << 20, "1.00 GiB"},
             {3ull << 40, "3.00 TiB"},
             {UINT64_MAX, "16.0 EiB"}};

    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        char out[16];

        ck_assert_str_eq(tool_bytes(t[i].n, out), t[i].out);
    }
}
END_TEST

START_TEST(the_model_named_wins)
{
    struct err e = {0};

    setenv("RILL_MODEL", "from-env.gguf", 1);
    ck_assert_str_eq(tool_model("given.gguf", &e), "given.gguf");
    ck_assert_str_eq(tool_model(NULL, &e), "from-env.gguf");
}
END_TEST

static bool flag;
static const struct tool_option opts[] = {{'x', "extra", OPT_FLAG, &flag, 0, "one more"}, {0}};
static struct tool tool = {"rill-test", "[-x] FILE", "tests", opts};

static int begin(char *a, char *b)
{
    char name[] = "rill-test";
    char *argv[] = {name, a, b, NULL};

    return tool_begin(&tool, b ? 3 : a ? 2 : 1, argv);
}

static void wrong_usage(void)
{
    char a[] = "--extre";

    begin(a, NULL);
}

static void ask_version(void)
{
    char a[] = "-V";

    begin(a, NULL);
}

static void full_disk(void)
{
    char a[] = "-x";

    begin(a, NULL);
    if (!freopen("/dev/full", "w", stdout))
        _exit(9);
    printf("lost\n");
    _exit(tool_end(0));
}

static void interrupted(void)
{
    char a[] = "-q";

    begin(a, NULL);
    raise(SIGINT);
    if (!tool_interrupted() || tool.verbose != -1)
        _exit(9);
    _exit(tool_end(0));
}

static void interrupted_twice(void)
{
    char a[] = "-q";

    begin(a, NULL);
    raise(SIGTERM);
    raise(SIGTERM);
    _exit(9);
}

/* A model file that becomes shorter while it is mapped. */
static void shortened(void)
{
    char a[] = "-q";
    int fd = fd_with("mapped", 6);
    const volatile char *p = mmap(NULL, 6, PROT_READ, MAP_PRIVATE, fd, 0);

    begin(a, NULL);
    if (p == MAP_FAILED || ftruncate(fd, 0) < 0)
        _exit(9);
    _exit(p[0] == 'm' ? 8 : 7);
}

START_TEST(exit_statuses)
{
    int status = child_status(interrupted);

    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    status = child_status(interrupted_twice);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    status = child_status(wrong_usage);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 2);
    status = child_status(full_disk);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 4);
    status = child_status(shortened);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 4);
    status = child_status(ask_version);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
END_TEST

START_TEST(rows_are_read)
{
    char a[] = "-vvx";
    char b[] = "file";

    ck_assert_int_eq(begin(a, b), 2);
    ck_assert(flag);
    ck_assert_int_eq(tool.verbose, 2);
    ck_assert_int_eq(tool_end(3), 3);
}
END_TEST

TEST_MAIN("tools/tool", records_of_every_kind, long_records_and_many, records_fail, amounts,
          the_model_named_wins, exit_statuses, rows_are_read)
