/* test_gpu.c - figures of GPUs, by a library that stands for the driver's and is made here: in
 * rill-serve's /metrics and from rill-bench; and what is said where there is none.
 */
#include <dlfcn.h>
#include <sys/stat.h>

#include "tests/tools/client.h"

static const char fake[] =
    "struct two { unsigned a, b; };\n"
    "struct mem { unsigned long long total, free, used; };\n"
    "int nvmlInit_v2(void) { return 0; }\n"
    "int nvmlShutdown(void) { return 0; }\n"
    "int nvmlDeviceGetCount_v2(unsigned *n) { *n = 2; return 0; }\n"
    "int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **d) { *d = (char *)0 + i; return 0; }\n"
    "int nvmlDeviceGetName(void *d, char *s, unsigned n)\n"
    "{ const char *t = \"Fake \\\"9\\\"\"; unsigned i = 0; (void)d;\n"
    "  while (i + 1 < n && t[i]) { s[i] = t[i]; i++; } s[i] = 0; return 0; }\n"
    "int nvmlDeviceGetUtilizationRates(void *d, struct two *u)\n"
    "{ u->a = d ? 7 : 42; u->b = 1; return 0; }\n"
    "int nvmlDeviceGetMemoryInfo(void *d, struct mem *m)\n"
    "{ (void)d; m->total = 85899345920; m->used = 1073741824; m->free = 0; return 0; }\n"
    "int nvmlDeviceGetPowerUsage(void *d, unsigned *p) { *p = 312500; return d ? 3 : 0; }\n"
    "int nvmlDeviceGetEnforcedPowerLimit(void *d, unsigned *p) { (void)d; *p = 700000; return 0; "
    "}\n"
    "int nvmlDeviceGetClockInfo(void *d, int k, unsigned *p)\n"
    "{ (void)d; *p = k == 1 ? 1980 : 2619; return 0; }\n"
    "int nvmlDeviceGetTemperature(void *d, int k, unsigned *p) { (void)d; *p = 50 + k; return 0; "
    "}\n";

/* False: there is no compiler. */
static bool make_library(const char *dir)
{
    char source[1200], lib[1200];
    int status;
    FILE *f;

    mkdir(dir, 0700);
    snprintf(source, sizeof source, "%s/fake.c", dir);
    snprintf(lib, sizeof lib, "%s/libnvidia-ml.so.1", dir);
    f = fopen(source, "w");
    fputs(fake, f);
    fclose(f);
    if (fork() == 0) {
        execlp("cc", "cc", "-shared", "-fPIC", "-o", lib, source, (char *)NULL);
        _exit(127);
    }
    wait(&status);
    unlink(source);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void remove_library(const char *dir)
{
    char lib[1200];

    snprintf(lib, sizeof lib, "%s/libnvidia-ml.so.1", dir);
    unlink(lib);
    rmdir(dir);
    unsetenv("LD_LIBRARY_PATH");
}

START_TEST(metrics)
{
    static const char *const lines[] = {
        "# TYPE rill_gpu_utilization_ratio gauge\n",
        "rill_gpu_utilization_ratio{gpu=\"0\",name=\"Fake \\\"9\\\"\"} 0.42\n",
        "rill_gpu_utilization_ratio{gpu=\"1\",name=\"Fake \\\"9\\\"\"} 0.07\n",
        "rill_gpu_memory_used_bytes{gpu=\"0\",name=\"Fake \\\"9\\\"\"} 1073741824\n",
        "rill_gpu_memory_bytes{gpu=\"0\",name=\"Fake \\\"9\\\"\"} 85899345920\n",
        "rill_gpu_power_watts{gpu=\"0\",name=\"Fake \\\"9\\\"\"} 312.5\n",
        "rill_gpu_power_limit_watts{gpu=\"1\",name=\"Fake \\\"9\\\"\"} 700\n",
        "rill_gpu_sm_clock_hertz{gpu=\"0\",name=\"Fake \\\"9\\\"\"} 1980000000\n",
        "rill_gpu_memory_clock_hertz{gpu=\"0\",name=\"Fake \\\"9\\\"\"} 2619000000\n",
        "rill_gpu_temperature_celsius{gpu=\"0\",name=\"Fake \\\"9\\\"\"} 50\n"};
    const char *dir = tmpfile_path("gpu");
    struct reply r;

    if (!make_library(dir)) {
        rmdir(dir);
        test_skip("no compiler for the library that stands for the driver's");
        return;
    }
    setenv("LD_LIBRARY_PATH", dir, 1);
    if (serve_script("{\"answers\":[{\"text\":\"a\"}]}", NULL)) {
        ask(&r, "GET", "/metrics", "", NULL);
        for (size_t i = 0; i < ARRAY_LEN(lines); i++)
            ck_assert_msg(strstr(r.body.p, lines[i]), "no %s in %s", lines[i], r.body.p);
        /* what one of them does not tell */
        ck_assert_ptr_null(strstr(r.body.p, "rill_gpu_power_watts{gpu=\"1\""));
        reply_fini(&r);
        serve_stop();
    }
    remove_library(dir);
}
END_TEST

START_TEST(none)
{
    void *lib = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    struct reply r;

    if (lib) {
        dlclose(lib);
        test_skip("a driver is here");
        return;
    }
    if (!serve_script("{\"answers\":[{\"text\":\"a\"}]}", NULL))
        return;
    ask(&r, "GET", "/metrics", "", NULL);
    ck_assert_ptr_nonnull(strstr(r.body.p, "\n# no figures of GPUs: libnvidia-ml.so.1: "));
    ck_assert_ptr_null(strstr(r.body.p, "rill_gpu"));
    reply_fini(&r);
    serve_stop();
}
END_TEST

START_TEST(bench)
{
    char tool[1100], model[1100], text[4096] = "";
    const char *dir = tmpfile_path("gpu");
    size_t n = 0;
    ssize_t got;
    int out[2];

    if (!make_library(dir)) {
        rmdir(dir);
        test_skip("no compiler for the library that stands for the driver's");
        return;
    }
    snprintf(tool, sizeof tool, "%s/rill-bench", RILL_BUILDDIR);
    snprintf(model, sizeof model, "%s", srcfile("share/rill-tales.gguf"));
    setenv("LD_LIBRARY_PATH", dir, 1);
    ck_assert_int_eq(pipe(out), 0);
    if (fork() == 0) {
        dup2(out[1], STDERR_FILENO);
        execl(tool, "rill-bench", "-v", "-m", model, "-p", "8", "-n", "0", "-r", "1", "-t", "1",
              (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    while (n < sizeof text - 1 && (got = read(out[0], text + n, sizeof text - 1 - n)) > 0)
        n += (size_t)got;
    close(out[0]);
    wait(NULL);
    ck_assert_msg(strstr(text, "Fake \"9\": 42 % busy, 312 W, 1980 MHz, memory 2619 MHz"), "%s",
                  text);
    remove_library(dir);
}
END_TEST

TEST_MAIN("tools/gpu", metrics, none, bench)
