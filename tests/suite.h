/* suite.h - what every test program needs: libcheck, its main(), and where test data lies.
 *
 * A program ends with TEST_MAIN("room/file", test_a, test_b). Its last line of output is
 * "room/file: N passed, N failed, N skipped"; arguments choose tests by name. Each test runs in a
 * process of its own (CK_FORK=no: all in one, for a debugger). In a loop of thousands, compare with
 * if and call ck_abort_msg: every ck_assert writes to a pipe.
 */
#ifndef RILL_TESTS_SUITE_H
#define RILL_TESTS_SUITE_H

#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"

#define TEST_MAIN(name, ...)                                                                       \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        const TTest *const all[] = {__VA_ARGS__};                                                  \
        return suite_main(name, all, (int)(sizeof all / sizeof *all), argc, argv);                 \
    }

/* A function that returns 0 or a negative code has succeeded; shows its sentence otherwise. */
#define ck_ok(call, e)                                                                             \
    do {                                                                                           \
        int ck_rc_ = (call);                                                                       \
        ck_assert_msg(ck_rc_ == 0, "%s: %d: %s", #call, ck_rc_, (e)->text);                        \
    } while (0)

/* It has failed with this code and with a sentence that contains text. */
#define ck_fails(call, e, want, part)                                                              \
    do {                                                                                           \
        int ck_rc_ = (call);                                                                       \
        ck_assert_msg(ck_rc_ == (want), "%s: %d, not %s: %s", #call, ck_rc_, #want, (e)->text);    \
        ck_assert_msg(strstr((e)->text, (part)), "'%s' lacks '%s'", (e)->text, (part));            \
    } while (0)

/* Tests run in children: what they skip is counted in memory shared with the parent. */
static struct {
    int *count;
    bool here; // this test has been counted
} suite_skips;

/* Says why this test cannot run here, and counts it; the test then returns. */
static inline void test_skip(const char *why)
{
    if (!suite_skips.here)
        __atomic_add_fetch(suite_skips.count, 1, __ATOMIC_SEQ_CST);
    suite_skips.here = true;
    printf("skipped: %s\n", why);
    fflush(stdout);
}

/* 1: a sanitizer is built in, so that times say nothing, nor sizes: what was freed is kept for a
 * while. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* The path of a file of the test data (RILL_TESTDATA, else ../shared/data beside the source tree),
 * or NULL, which skips the test. The string is static: one of the last four calls. */
static inline const char *testdata(const char *name)
{
    static char path[4][1024];
    static unsigned turn;
    const char *dir = getenv("RILL_TESTDATA");
    char *p = path[turn++ % 4];

    snprintf(p, sizeof path[0], "%s/%s", dir && *dir ? dir : RILL_SRCDIR "/../shared/data", name);
    if (access(p, R_OK) == 0)
        return p;
    test_skip("no test data");
    return NULL;
}

/* The path of a file of the source tree, for instance "tests/golden/x.txt"; static as above. */
static inline const char *srcfile(const char *name)
{
    static char path[4][1024];
    static unsigned turn;
    char *p = path[turn++ % 4];

    snprintf(p, sizeof path[0], "%s/%s", RILL_SRCDIR, name);
    return p;
}

/* The path for a temporary file of this process, in the build tree; the test removes it. */
static inline const char *tmpfile_path(const char *name)
{
    static char path[4][1024];
    static unsigned turn;
    char *p = path[turn++ % 4];

    snprintf(p, sizeof path[0], "%s/obj/tests/tmp-%ld-%s", RILL_BUILDDIR, (long)getpid(), name);
    return p;
}

/* What wait() says of a child process that runs fn, silently, and then exits with 0. */
static inline int child_status(void (*fn)(void))
{
    int status = 0;
    pid_t child;

    fflush(NULL);
    child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr))
            _exit(127);
        fn();
        _exit(0);
    }
    waitpid(child, &status, 0);
    return status;
}

static inline void suite_test_begin(void)
{
    suite_skips.here = false;
}

static inline bool suite_wanted(const TTest *t, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], t->name) == 0)
            return true;
    return argc < 2;
}

static inline int suite_main(const char *name, const TTest *const *all, int n, int argc,
                             char **argv)
{
    Suite *s = suite_create(name);
    TCase *c = tcase_create(name);
    SRunner *r;
    int failed, skipped, ran;

    suite_skips.count =
        mmap(NULL, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (suite_skips.count == MAP_FAILED)
        return 1;
    tcase_set_timeout(c, 60);
    tcase_add_checked_fixture(c, suite_test_begin, NULL);
    for (int i = 0; i < n; i++)
        if (suite_wanted(all[i], argc, argv))
            tcase_add_test(c, all[i]);
    suite_add_tcase(s, c);
    r = srunner_create(s);
    srunner_run_all(r, CK_SILENT);
    srunner_print(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    ran = srunner_ntests_run(r);
    skipped = *suite_skips.count;
    srunner_free(r);
    printf("%s: %d passed, %d failed, %d skipped\n", name, ran - failed - skipped, failed, skipped);
    return failed > 0 || ran == 0;
}

#endif
