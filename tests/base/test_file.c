/* test_file.c - views are aligned and whole, the writer leaves a complete file or none, and what is
 * no regular file is never replaced. */
#include "tests/suite.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/mem.h"

static void write_file(const char *path, const char *text, size_t n)
{
    struct file_out *f;
    struct err e = {0};

    ck_ok(file_create(&f, path, &e), &e);
    ck_ok(file_write(f, text, n, &e), &e);
    ck_ok(file_commit(f, &e), &e);
}

static void holds(const char *path, const char *text)
{
    struct file_view v;
    struct err e = {0};

    ck_ok(file_read(&v, path, 0, &e), &e);
    ck_assert_uint_eq(v.n, strlen(text));
    ck_assert_mem_eq(v.p, text, v.n);
    file_unmap(&v);
}

START_TEST(mapped_and_read_are_equal)
{
    const char *path = tmpfile_path("view");
    struct file_view a;
    struct file_view b;
    struct err e = {0};
    static char text[200001];

    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)(i * 31);
    write_file(path, text, sizeof text);
    ck_ok(file_map(&a, path, &e), &e);
    ck_ok(file_read(&b, path, sizeof text, &e), &e);
    ck_assert(a.mapped && !b.mapped);
    ck_assert_uint_eq(a.n, sizeof text);
    ck_assert_uint_eq(b.n, sizeof text);
    ck_assert_mem_eq(a.p, text, sizeof text);
    ck_assert_mem_eq(b.p, text, sizeof text);
    ck_assert_uint_eq((uintptr_t)b.p % 64, 0);
    file_willneed(&a, 5000, 100);
    file_dontneed(&a, 5000, 195001);
    ck_assert_int_eq(a.p[5000], (uint8_t)text[5000]);
    file_willneed(&a, sizeof text, 1);
    file_unmap(&a);
    file_unmap(&b);
    ck_fails(file_read(&b, path, sizeof text - 1, &e), &e, E_RANGE, "more than 200000 bytes");
    ck_assert_ptr_null(b.p);
    unlink(path);
}
END_TEST

/* What the kernel notes of the mapping that has this address: "rd mr mw me hg" and the like. */
static bool flag_of(const void *at, const char *flag)
{
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[4096];
    bool here = false, found = false;

    while (f && fgets(line, sizeof line, f)) {
        unsigned long a, b;

        if (sscanf(line, "%lx-%lx ", &a, &b) == 2)
            here = (uintptr_t)at >= a && (uintptr_t)at < b;
        else if (here && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line, flag) != NULL;
    }
    if (f)
        fclose(f);
    return found;
}

START_TEST(large_files_want_huge_pages)
{
    const char *path = tmpfile_path("huge");
    struct file_view v, small;
    struct err e = {0};
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

    if (access("/sys/kernel/mm/transparent_hugepage", F_OK) < 0) {
        puts("skipped: this kernel has no huge pages to wish for");
        return;
    }
    ck_assert_int_eq(ftruncate(fd, 8 << 20), 0);
    ck_ok(file_map(&v, path, &e), &e);
    ck_assert(v.mapped && flag_of(v.p, " hg"));
    ck_assert_int_eq(v.p[(8 << 20) - 1], 0);
    ck_assert_int_eq(ftruncate(fd, 1 << 16), 0);
    ck_ok(file_map(&small, path, &e), &e);
    ck_assert(small.mapped && !flag_of(small.p, " hg"));
    file_unmap(&small);
    file_unmap(&v);
    close(fd);
    unlink(path);
}
END_TEST

/* Makes fd standard input for one call. */
static int map_stdin(int fd, struct file_view *v, struct err *e)
{
    int old = dup(STDIN_FILENO);
    int rc;

    dup2(fd, STDIN_FILENO);
    rc = file_map(v, "-", e);
    dup2(old, STDIN_FILENO);
    close(old);
    return rc;
}

START_TEST(standard_input_from_where_it_stands)
{
    const char *path = tmpfile_path("stdin");
    struct file_view v;
    struct err e = {0};
    char two[2];
    int pipes[2];
    int fd;

    write_file(path, "0123456789", 10);
    fd = open(path, O_RDONLY);
    ck_assert_int_eq(read(fd, two, 2), 2);
    ck_ok(map_stdin(fd, &v, &e), &e);
    ck_assert_uint_eq(v.n, 8);
    ck_assert_mem_eq(v.p, "23456789", 8);
    file_unmap(&v);
    close(fd);
    unlink(path);

    ck_assert_int_eq(pipe(pipes), 0);
    ck_assert_int_eq(write(pipes[1], "piped", 5), 5);
    close(pipes[1]);
    ck_ok(map_stdin(pipes[0], &v, &e), &e);
    ck_assert(!v.mapped && v.n == 5);
    ck_assert_uint_eq((uintptr_t)v.p % 64, 0);
    file_unmap(&v);
    close(pipes[0]);
}
END_TEST

/* More than the first guess, so that the buffer grows: nothing is lost and it stays aligned. */
START_TEST(a_long_stream)
{
    struct file_view v;
    struct err e = {0};
    int pipes[2];
    enum { N = 1 << 20 };

    ck_assert_int_eq(pipe(pipes), 0);
    if (fork() == 0) {
        for (uint32_t i = 0; i < N / 4; i++)
            if (write(pipes[1], &i, 4) != 4)
                _exit(1);
        _exit(0);
    }
    close(pipes[1]);
    ck_ok(map_stdin(pipes[0], &v, &e), &e);
    ck_assert_uint_eq(v.n, N);
    ck_assert_uint_eq((uintptr_t)v.p % 64, 0);
    for (uint32_t i = 0; i < N / 4; i++) {
        uint32_t got;

        memcpy(&got, v.p + 4 * i, 4);
        ck_assert_uint_eq(got, i);
    }
    file_unmap(&v);
    close(pipes[0]);
}
END_TEST

START_TEST(written_whole_or_not)
{
    const char *path = tmpfile_path("whole");
    struct file_out *f;
    struct err e = {0};

    write_file(path, "old", 3);
    ck_ok(file_create(&f, path, &e), &e);
    ck_ok(file_write(f, "new", 3, &e), &e);
    ck_ok(file_pad(f, 8, &e), &e);
    ck_assert_uint_eq(file_at(f), 8);
    holds(path, "old");
    file_abort(f);
    holds(path, "old");
    for (long n = 0;; n++) { /* each operation fails once */
        int rc;

        e = (struct err){0};
        file_fail_after(n);
        rc = file_create(&f, path, &e);
        if (rc == 0)
            rc = file_write(f, "new", 3, &e);
        if (rc == 0)
            rc = file_commit(f, &e);
        if (!file_fail_hit())
            break;
        file_fail_after(-1);
        ck_assert_int_eq(rc, E_IO);
        holds(path, "old");
    }
    file_fail_after(-1);
    holds(path, "new");
    unlink(path);
    ck_fails(file_create(&f, "/nonexistent/x", &e), &e, E_IO, "/nonexistent/x: cannot create");
}
END_TEST

/* A tool that overlooks one failed write must not get a file with a hole in it. */
START_TEST(a_failed_write_cannot_be_committed)
{
    static const char big[1 << 17];
    const char *path = tmpfile_path("hole");
    struct file_out *f;
    struct err e = {0};

    write_file(path, "old", 3);
    ck_ok(file_create(&f, path, &e), &e);
    ck_ok(file_write(f, "a", 1, &e), &e);
    file_fail_after(0);
    ck_fails(file_write(f, big, sizeof big, &e), &e, E_IO, "cannot write at byte 1");
    file_fail_after(-1);
    e = (struct err){0};
    ck_fails(file_write(f, big, sizeof big, &e), &e, E_IO, "an earlier write has failed");
    e = (struct err){0};
    ck_fails(file_commit(f, &e), &e, E_IO, "an earlier write has failed");
    holds(path, "old");
    unlink(path);
}
END_TEST

START_TEST(devices_and_links_stay)
{
    const char *path = tmpfile_path("target");
    const char *link = tmpfile_path("link");
    const char *fifo = tmpfile_path("fifo");
    struct stat st;
    char got[4] = "";
    int fd;

    write_file("/dev/null", "x", 1);
    ck_assert_int_eq(stat("/dev/null", &st), 0);
    ck_assert(S_ISCHR(st.st_mode));

    write_file(path, "old", 3);
    unlink(link);
    ck_assert_int_eq(symlink(path, link), 0);
    write_file(link, "new", 3);
    ck_assert_int_eq(lstat(link, &st), 0);
    ck_assert(S_ISLNK(st.st_mode));
    holds(path, "new");

    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    fd = open(fifo, O_RDWR);
    write_file(fifo, "abc", 3);
    ck_assert_int_eq(read(fd, got, 3), 3);
    ck_assert_str_eq(got, "abc");
    close(fd);
    unlink(fifo);
    unlink(link);
    unlink(path);
}
END_TEST

START_TEST(rights_of_what_is_replaced_stay)
{
    const char *path = tmpfile_path("rights");
    struct file_out *f;
    struct err e = {0};
    struct stat st;

    write_file(path, "old", 3);
    ck_assert_int_eq(chmod(path, 0604), 0);
    write_file(path, "new", 3);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0604);
    ck_assert_int_eq(chmod(path, 0444), 0);
    ck_fails(file_create(&f, path, &e), &e, E_IO, "it is read-only");
    holds(path, "new");
    unlink(path);
}
END_TEST

static void count(void *ctx, const char *name)
{
    ck_assert(strcmp(name, "a") == 0 || strcmp(name, "b") == 0);
    ++*(int *)ctx;
}

START_TEST(a_directory_is_listed)
{
    char dir[1024], path[1100];
    struct err e = {0};
    int n = 0;

    snprintf(dir, sizeof dir, "%s", tmpfile_path("dir"));
    ck_assert_int_eq(mkdir(dir, 0777), 0);
    for (const char *s = "ab"; *s; s++) {
        snprintf(path, sizeof path, "%s/%c", dir, *s);
        write_file(path, "x", 1);
    }
    ck_ok(file_list(dir, count, &n, &e), &e);
    ck_assert_int_eq(n, 2);
    for (const char *s = "ab"; *s; s++) {
        snprintf(path, sizeof path, "%s/%c", dir, *s);
        unlink(path);
    }
    rmdir(dir);
    ck_fails(file_list(dir, count, &n, &e), &e, E_NOTFOUND, "dir");
}
END_TEST

/* A length said before is asked of the disk, but does not become the file's; what no disk has is
 * refused at once. */
START_TEST(room_is_asked_for)
{
    const char *path = tmpfile_path("room");
    struct file_out *f;
    struct stat st;
    struct err e = {0};

    ck_ok(file_create(&f, path, &e), &e);
    ck_ok(file_expect(f, 100000, &e), &e);
    ck_ok(file_write(f, "123", 3, &e), &e);
    ck_ok(file_commit(f, &e), &e);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_size, 3);
    ck_ok(file_create(&f, path, &e), &e);
    if (file_expect(f, 1ull << 42, &e) < 0) { /* not every file system says so */
        ck_assert_int_eq(e.code, E_IO);
        ck_assert_ptr_nonnull(strstr(e.text, "cannot write 4398046511104 bytes: "));
    }
    file_abort(f);
    e = (struct err){0};
    ck_ok(file_create(&f, "/dev/null", &e), &e);
    ck_ok(file_expect(f, 1ull << 42, &e), &e);
    ck_ok(file_commit(f, &e), &e);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_size, 3);
    unlink(path);
}
END_TEST

TEST_MAIN("base/file", mapped_and_read_are_equal, large_files_want_huge_pages,
          standard_input_from_where_it_stands, a_long_stream, written_whole_or_not,
          a_failed_write_cannot_be_committed, devices_and_links_stay,
          rights_of_what_is_replaced_stay, a_directory_is_listed, room_is_asked_for)
