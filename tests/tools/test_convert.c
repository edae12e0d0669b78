/* test_convert.c - rill-convert's memory: at most two tensors and 64 MB, whatever the model's size.
 *
 * A model of 24 tensors of 4 MB; what the process has had in
 * memory at most, mapped files included, is what wait4() says.
 */
#include "tests/suite.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "file/gguf.h"
#include "quant/fmt.h"
#include "tests/sanitized.h"

enum { LAYERS = 6, COLS = 1024, ROWS = 2048, TENSOR = COLS * ROWS * 2 };

/* Largest number of kilobytes in memory while rill-convert runs. */
static long peak_kb(const char *type, const char *in, const char *out)
{
    struct rusage use;
    int status;
    pid_t child;

    fflush(NULL);
    if ((child = fork()) == 0) {
        execl(RILL_BUILDDIR "/rill-convert", "rill-convert", "-qt2", "--type", type, in, out, NULL);
        _exit(127);
    }
    ck_assert_int_eq(wait4(child, &status, 0, &use), child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
    return use.ru_maxrss;
}

static void make_model(const char *path)
{
    const uint64_t ne[2] = {COLS, ROWS};
    struct gguf_out *w;
    struct err e = {0};
    uint16_t *v = mem_new(TENSOR, NULL);
    char name[64];

    for (size_t i = 0; i < TENSOR / 2; i++)
        v[i] = (uint16_t)(0x3c00 + i * 7 % 1000);
    ck_ok(gguf_create(&w, path, 0, &e), &e);
    gguf_put_str(w, "general.architecture", SLICE("llama"));
    for (int i = 0; i < 4 * LAYERS; i++) {
        snprintf(name, sizeof name, "blk.%d.t%d.weight", i / 4, i % 4);
        gguf_put_tensor(w, slice_of(name), FMT_F16, 2, ne);
    }
    ck_ok(gguf_begin(w, &e), &e);
    for (int i = 0; i < 4 * LAYERS; i++)
        ck_ok(gguf_data(w, v, TENSOR, &e), &e);
    ck_ok(gguf_finish(w, &e), &e);
    mem_free(v);
}

START_TEST(memory_is_bounded)
{
    char in[600], out[600];
    static const char *const types[] = {"keep", "F32", "Q8_0"};

    if (SANITIZED) {
        test_skip("sanitizers keep what is freed");
        return;
    }
    snprintf(in, sizeof in, "%s", tmpfile_path("in.gguf"));
    snprintf(out, sizeof out, "%s", tmpfile_path("out.gguf"));
    make_model(in);
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        long kb = peak_kb(types[i], in, out);

        ck_assert_msg(kb < 2 * (TENSOR >> 10) + (64 << 10), "--type %s: %ld KB", types[i], kb);
    }
    remove(in);
    remove(out);
}
END_TEST

TEST_MAIN("tools/convert", memory_is_bounded)
