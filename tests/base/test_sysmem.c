/* test_sysmem.c - made-up machines: a meminfo, control groups of both versions, and nothing. */
#include "base/sysmem.h"

#include <sys/stat.h>

#include "tests/suite.h"

static char root[1024];

/* Writes root/path, making its folders. */
static void put(const char *path, const char *text)
{
    char full[2048];
    FILE *f;

    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *s = full + strlen(root) + 1; (s = strchr(s, '/')) != NULL; *s++ = '/') {
        *s = '\0';
        mkdir(full, 0777);
    }
    f = fopen(full, "w");
    ck_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void begin(const char *name)
{
    snprintf(root, sizeof root, "%s", tmpfile_path(name));
    ck_assert(mkdir(root, 0777) == 0);
    put("/proc/meminfo", "MemTotal:       16000 kB\nMemFree:          100 kB\n"
                         "MemAvailable:    9000 kB\nBuffers: 5 kB\n");
}

static void end(void)
{
    char command[1200];

    snprintf(command, sizeof command, "rm -rf '%s'", root);
    ck_assert_int_eq(system(command), 0);
}

static void is(uint64_t total_kb, uint64_t free_kb)
{
    struct sysmem m;

    sysmem_get(&m, root);
    ck_assert_uint_eq(m.total / 1024, total_kb);
    ck_assert_uint_eq(m.free / 1024, free_kb);
}

START_TEST(available_counts_the_file_cache)
{
    begin("sysmem-a");
    is(16000, 9000);
    put("/proc/self/cgroup", "0::/\n");
    is(16000, 9000);
    end();
}
END_TEST

START_TEST(the_tightest_group_of_version_2_limits)
{
    begin("sysmem-2");
    put("/proc/self/cgroup", "0::/a/b\n");
    put("/sys/fs/cgroup/a/b/memory.max", "max\n");
    put("/sys/fs/cgroup/a/b/memory.current", "1000000\n");
    is(16000, 9000);
    put("/sys/fs/cgroup/a/memory.max", "8192000\n");
    put("/sys/fs/cgroup/a/memory.current", "4096000\n");
    is(8000, 4000);
    put("/sys/fs/cgroup/a/memory.stat", "anon 7\nactive_file 1\ninactive_file 1024000\n");
    is(8000, 5000);
    put("/sys/fs/cgroup/a/memory.current", "9999999999\n");
    is(8000, 0);
    end();
}
END_TEST

START_TEST(version_1_limits_too)
{
    begin("sysmem-1");
    put("/proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/j/k\n0::/\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "77\n");
    put("/sys/fs/cgroup/memory/j/k/memory.limit_in_bytes", "2048000\n");
    put("/sys/fs/cgroup/memory/j/k/memory.usage_in_bytes", "1024000\n");
    put("/sys/fs/cgroup/memory/j/k/memory.stat", "inactive_file 1\ntotal_inactive_file 512000\n");
    is(2000, 1500);
    put("/proc/self/cgroup", "nonsense\n4:\n:::\n\n4:memory:relative\n");
    is(16000, 9000);
    end();
}
END_TEST

START_TEST(this_machine_and_no_proc)
{
    struct sysmem here, bare;

    sysmem_get(&here, "");
    sysmem_get(&bare, "/nowhere");
    ck_assert(here.free > 0 && here.free <= here.total);
    ck_assert(here.total <= bare.total + (1 << 20) && bare.free > 0);
}
END_TEST

TEST_MAIN("base/sysmem", available_counts_the_file_cache, the_tightest_group_of_version_2_limits,
          version_1_limits_too, this_machine_and_no_proc)
