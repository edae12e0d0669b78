/* checkkern.c - every matrix kernel against the definition: formats x instruction-set levels.
 *
 * For each: blocks that are random, zero and extreme, inputs of several kinds, sizes with and
 * without a rest. Results are compared with sums in double precision made from get() and the
 * rounded inputs, and from the inputs as they were; then every count of inputs from 1 to 64 and
 * every cut of the rows must give the same bits, and AVX-VNNI those of AVX2. Inputs end where
 * unreadable memory begins; outputs lie between marks. With --bench the same calls are timed:
 * checkkern --bench [WORD...].
 */
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/thread.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/dot_q8.h"
#include "quant/quant.h"
#include "quant/synth.h"
#include "tools/lib/stream.h"

enum { ROWS = 35, INPUTS = 64, MANY = 532, MARK = 0x7fc0dead };

static char now_doing[96]; // for the signal handler
static int n_passed, n_failed;

static void on_fault(int sig)
{
    static const char say[] = "\nread or wrote past the end: ";
    static const char end[] = "\nkernels/checkkern: 0 passed, 1 failed\n";

    (void)sig;
    (void)!write(1, say, sizeof say - 1);
    (void)!write(1, now_doing, strlen(now_doing));
    (void)!write(1, end, sizeof end - 1);
    _exit(1);
}

static void failed(const char *fmt, ...) ERR_PRINTF(1, 2);
static void failed(const char *fmt, ...)
{
    va_list ap;

    printf("%s: ", now_doing);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

/* -- memory that ends at an unreadable page -- */

struct fence {
    char *map;
    size_t map_bytes;
    char *p;
};

static struct fence fence_new(size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t body = (bytes + page - 1) / page * page;
    struct fence f = {NULL, body + page, NULL};

    f.map = mmap(NULL, f.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (f.map == MAP_FAILED || mprotect(f.map + body, page, PROT_NONE) != 0) {
        perror("checkkern: mmap");
        exit(4);
    }
    f.p = f.map + body - bytes;
    return f;
}

static void fence_free(struct fence *f)
{
    munmap(f->map, f->map_bytes);
}

/* -- one problem: a matrix, inputs, and what comes out -- */

struct problem {
    const struct fmt_info *f;
    int64_t n;
    int rows, inputs;
    uint64_t row_bytes;
    struct fence w;
    float *x; // [inputs x n]
};

enum kind { RANDOM, ZEROS, EXTREMES, KINDS };

/* Every byte of a block becomes all ones, or by chance all zeros if not ones, unless a scale then
 * leaves its range. */
static void make_extreme(const struct fmt_info *f, uint8_t *b, bool ones, struct rng *rng)
{
    float v[FMT_BLOCK_MAX];
    double high = 0.0;

    f->decode(b, v, 1);
    for (int i = 0; i < f->block; i++)
        high = fmax(high, fabs((double)v[i]));
    for (int k = 0; k < f->bytes; k++) {
        const uint8_t was = b[k];
        bool good = true;

        b[k] = ones || rng_next(rng) & 1 ? 0xff : 0;
        f->decode(b, v, 1);
        for (int i = 0; i < f->block; i++)
            good = good && fabs((double)v[i]) <= 64.0 * high; /* false for not a number */
        if (!good)
            b[k] = was;
    }
}

static void make_weights(struct problem *p, enum kind kind, uint64_t seed)
{
    const uint64_t blocks = (uint64_t)p->rows * p->row_bytes / (uint64_t)p->f->bytes;
    struct rng rng = {seed, 0};

    if (kind == ZEROS)
        memset(p->w.p, 0, (size_t)blocks * (size_t)p->f->bytes);
    else if (synth_can(p->f))
        synth_blocks(p->f, p->w.p, 0, (size_t)blocks, 0.05f, seed);
    else
        for (uint64_t i = 0; i < blocks * (uint64_t)p->f->bytes; i++)
            p->w.p[i] = (char)rng_next(&rng);
    if (kind == EXTREMES && p->f->sub) {
        const uint64_t some = blocks < 12 ? blocks : 12;

        for (uint64_t i = 0; i < some; i++)
            make_extreme(p->f, (uint8_t *)p->w.p + i * (uint64_t)p->f->bytes, i % 3 == 0, &rng);
        for (uint64_t i = some; i < blocks; i++)
            memcpy(p->w.p + i * (uint64_t)p->f->bytes, p->w.p + i % some * (uint64_t)p->f->bytes,
                   (size_t)p->f->bytes);
    }
}

/* Input i: normal; 0; one large number; all equal; of alternating sign; very small. */
static void make_inputs(struct problem *p, uint64_t seed)
{
    struct rng rng = {seed ^ 0x517, 0};

    for (int i = 0; i < p->inputs; i++)
        for (int64_t k = 0; k < p->n; k++) {
            float *x = &p->x[i * p->n + k];
            const float v = (float)rng_next_normal(&rng);

            switch (i % 8) {
            case 1:
                *x = 0.0f;
                break;
            case 2:
                *x = k == p->n / 2 ? 3e4f : v * 1e-3f;
                break;
            case 3:
                *x = -1.0f;
                break;
            case 4:
                *x = k % 2 ? 1.0f : -1.0f;
                break;
            case 5:
                *x = v * 1e-20f;
                break;
            default:
                *x = v;
            }
        }
}

static struct problem problem_new(const struct fmt_info *f, int64_t n, int rows, int inputs,
                                  enum kind kind)
{
    struct problem p = {.f = f, .n = n, .rows = rows, .inputs = inputs};
    struct err e = {0};

    if (!fmt_row_bytes((int)f->id, (uint64_t)n, &p.row_bytes))
        abort();
    p.w = fence_new((size_t)rows * p.row_bytes);
    p.x = mem_array((uint64_t)inputs * (uint64_t)n, sizeof *p.x, &e);
    if (!p.x)
        exit(4);
    make_weights(&p, kind, (uint64_t)n * 131 + (uint64_t)f->id);
    make_inputs(&p, (uint64_t)n);
    return p;
}

static void problem_free(struct problem *p)
{
    fence_free(&p->w);
    mem_free(p->x);
}

/* Inputs in the form of a level's kernel, up to unreadable memory. */
static struct fence pack_inputs(const struct problem *p, const struct cpu_dot *d)
{
    const size_t bytes = d->packed(p->n);
    struct fence x = fence_new(bytes * (size_t)p->inputs);

    for (int i = 0; i < p->inputs; i++)
        d->pack(p->x + i * p->n, p->n, x.p + (size_t)i * bytes);
    return x;
}

/* The first so many packed inputs in groups, up to unreadable memory. */
static struct fence group_inputs(const struct problem *p, const struct cpu_dot *d,
                                 const struct cpu_groups *g, const char *x, int inputs)
{
    const int per = cpu_group(g->most, inputs);
    const size_t bytes = g->bytes(p->n);
    struct fence groups = fence_new(bytes * (size_t)((inputs + per - 1) / per));

    memset(groups.p, 0x55, bytes * (size_t)((inputs + per - 1) / per));
    for (int i = 0, some; i < inputs; i += some) { /* three at a time, or what is left of a group */
        some = per - i % per < 3 ? per - i % per : 3;
        some = inputs - i < some ? inputs - i : some;
        g->put(x + (size_t)i * d->packed(p->n), d->packed(p->n), some, p->n, i % per,
               groups.p + (size_t)(i / per) * bytes);
    }
    return groups;
}

/* Calls the kernel on a part, results between marks; false when a mark was overwritten. x: packed
 * inputs, or groups of them in the form g. */
static bool call_with(const struct problem *p, const struct cpu_dot *d, const struct cpu_groups *g,
                      const char *x, float *y, int r0, int r1, int inputs)
{
    const int64_t ldy = p->rows + 5;
    const size_t n = (size_t)(ldy * (inputs + 1) + 64);
    struct err e = {0};
    uint32_t *box = mem_array(n, sizeof *box, &e);
    bool good = true;

    if (!box)
        exit(4);
    for (size_t k = 0; k < n; k++)
        box[k] = MARK;
    if (g)
        g->many(d, (float *)(box + 32) + r0, ldy, p->w.p + (size_t)r0 * p->row_bytes, p->row_bytes,
                x, cpu_group(g->most, inputs), p->n, r1 - r0, inputs);
    else
        d->rows((float *)(box + 32), ldy, p->w.p, p->row_bytes, x, d->packed(p->n), p->n, r0, r1,
                inputs);
    for (size_t k = 0; k < n; k++) {
        const int64_t at = (int64_t)k - 32, i = at < 0 ? -1 : at / ldy, r = at < 0 ? 0 : at % ldy;
        const bool ours = i >= 0 && i < inputs && r >= r0 && r < r1;

        if (ours)
            memcpy(&y[i * p->rows + r], &box[k], sizeof *y);
        good = good && (ours ? box[k] != MARK : box[k] == MARK);
    }
    mem_free(box);
    return good;
}

static bool call(const struct problem *p, const struct cpu_dot *d, const char *x, float *y, int r0,
                 int r1, int inputs)
{
    return call_with(p, d, NULL, x, y, r0, r1, inputs);
}

/* -- what the result should be -- */

struct expect {
    double rounded; // from the inputs as the kernel reads them
    double exact;   // from the inputs as they are
    double terms;   // sum of magnitudes: what rounding errors are measured by
    double norms;   // |w| |x|
};

/* A row of weights, and of what w is the sum of: scale * code and min. */
struct row {
    float *w;
    float *high; // |scale * code| + |min|
};

static void read_row(const struct problem *p, int r, struct row *row)
{
    const struct fmt_info *f = p->f;
    const char *b = p->w.p + (size_t)r * p->row_bytes;

    for (int64_t k = 0; k < p->n; k += f->block, b += f->bytes) {
        int8_t q[FMT_BLOCK_MAX];
        float s[FMT_SUBS_MAX], m[FMT_SUBS_MAX];

        if (f->sub) {
            f->codes(b, q);
            f->scales(b, s, m);
        }
        for (int i = 0; i < f->block; i++) {
            row->w[k + i] = f->get(b, i);
            row->high[k + i] = f->sub ? fabsf(s[i / f->sub] * (float)q[i]) + fabsf(m[i / f->sub])
                                      : fabsf(row->w[k + i]);
        }
    }
}

static double input_rounded(const struct problem *p, const char *x, int64_t k)
{
    const struct x256 *b;

    if (!p->f->sub)
        return (double)((const float *)x)[k];
    b = (const struct x256 *)x + k / 256;
    return (double)b->d[k % 256 / 32] * b->q[k % 256];
}

static struct expect expect(const struct problem *p, const struct row *row, const char *x, int i)
{
    struct expect s = {0};
    double ww = 0.0, xx = 0.0;

    for (int64_t k = 0; k < p->n; k++) {
        const double w = (double)row->w[k], in = (double)p->x[i * p->n + k];
        const double in_rounded = input_rounded(p, x, k);

        s.rounded += w * in_rounded;
        s.exact += w * in;
        s.terms += (double)row->high[k] * fabs(in_rounded);
        ww += w * w;
        xx += in * in;
    }
    s.norms = sqrt(ww * xx);
    return s;
}

/* Compares y with the sums. A chain has n / 16 roundings at most, each of half a unit; the small
 * number covers results below 2^-100. */
static bool check_values(const struct problem *p, const char *x, const float *y)
{
    const double eps = 0x1p-24 * ((double)p->n / 16.0 + 24.0);
    struct err e = {0};
    struct row row = {mem_array((uint64_t)p->n, sizeof(float), &e),
                      mem_array((uint64_t)p->n, sizeof(float), &e)};
    const size_t x_bytes = p->f->sub ? q8_packed(p->n) : (size_t)((p->n + 15) / 16) * 64;
    bool good = row.w && row.high;

    for (int r = 0; r < p->rows && good; r++) {
        read_row(p, r, &row);
        for (int i = 0; i < p->inputs && good; i++) {
            const struct expect s = expect(p, &row, x + (size_t)i * x_bytes, i);
            const double got = (double)y[i * p->rows + r];

            good = fabs(got - s.rounded) <= eps * s.terms + 1e-32 &&
                   fabs(got - s.exact) <= (double)p->f->tol * s.norms + 1e-32;
            if (!good)
                failed("n %" PRId64 ", row %d, input %d: %.9g, expected %.9g (inputs not rounded: "
                       "%.9g)",
                       p->n, r, i, got, s.rounded, s.exact);
        }
    }
    mem_free(row.w);
    mem_free(row.high);
    return good;
}

/* -- the checks -- */

/* Inputs that no product wants: groups of 32 have one of them, or none. */
static bool odd_inputs_same(const struct cpu_dot *d, const struct cpu_dot *plain)
{
    static const float odd[] = {
        0.0f,      -0.0f,   1e-40f,           -1e-31f,           0x1p-100f,
        0x1p-101f, 3.4e38f, __builtin_inff(), -__builtin_inff(), __builtin_nanf(""),
        1e9f};
    enum { N = 32 * 3 * (int)ARRAY_LEN(odd) };
    const size_t bytes = d->packed(N);
    struct rng rng = {11, 0};
    struct fence a = fence_new(bytes), b = fence_new(bytes);
    float x[N];
    bool good;

    for (int i = 0; i < N; i++) /* every third group whole, every third zero but for one */
        x[i] = i / 32 % 3 == 2 ? 0.0f : rng_next_normal(&rng) * (i / 32 % 3 ? 1e-3f : 30.0f);
    for (int g = 0; g < N / 32; g++)
        if (g % 3)
            x[32 * g + g % 32] = odd[g / 3];
    memset(a.p, 0x5a, bytes);
    memset(b.p, 0x5a, bytes);
    d->pack(x, N, a.p);
    plain->pack(x, N, b.p);
    good = memcmp(a.p, b.p, bytes) == 0;
    if (!good)
        failed("inputs that are not numbers, or at the ends, are packed otherwise");
    fence_free(&a);
    fence_free(&b);
    return good;
}

/* The form of the inputs: the same bits as the plainest level's, or as the plain function of the
 * other form. */
static bool check_pack(const struct cpu_dot *d, const struct cpu_dot *plain,
                       const struct problem *p)
{
    struct cpu_dot form = *plain;

    if (d->panel.one)
        form.pack = q8_pack_one;
    struct fence a = pack_inputs(p, d), b = pack_inputs(p, &form);
    bool good = memcmp(a.p, b.p, d->packed(p->n) * (size_t)p->inputs) == 0;

    if (!good)
        failed("n %" PRId64 ": inputs are packed otherwise than on the plainest level", p->n);
    fence_free(&a);
    fence_free(&b);
    return good && odd_inputs_same(d, &form);
}

static bool check_size(const struct fmt_info *f, const struct cpu_dot *d,
                       const struct cpu_dot *plain, int64_t n, enum kind kind)
{
    const bool slices = n > 4096;
    struct problem p = problem_new(f, n, slices ? 18 : ROWS, slices ? 9 : 12, kind);
    struct fence x = pack_inputs(&p, d);
    struct err e = {0};
    float *y = mem_array((uint64_t)(p.rows * p.inputs), sizeof *y, &e);
    bool good = y && check_pack(d, plain, &p);

    if (good && !(good = call(&p, d, x.p, y, 0, p.rows, p.inputs)))
        failed("n %" PRId64 ": wrote outside, or not everything", n);
    good = good && check_values(&p, x.p, y);
    mem_free(y);
    fence_free(&x);
    problem_free(&p);
    return good;
}

static bool same(const struct problem *p, const float *all, const float *part, int r0, int r1,
                 int inputs)
{
    for (int i = 0; i < inputs; i++)
        if (memcmp(all + i * p->rows + r0, part + i * p->rows + r0,
                   (size_t)(r1 - r0) * sizeof *all) != 0)
            return false;
    return true;
}

/* The first so many inputs in groups, the rows cut in two: the same bits. */
static bool grouped_same(const struct problem *p, const struct cpu_dot *d,
                         const struct cpu_groups *g, const char *x, const float *all, float *part,
                         int inputs)
{
    const int cut = inputs % p->rows;
    struct fence groups;
    bool good;

    if (!g->most || inputs < g->least)
        return true;
    groups = group_inputs(p, d, g, x, inputs);
    good = call_with(p, d, g, groups.p, part, 0, cut, inputs) &&
           same(p, all, part, 0, cut, inputs) &&
           call_with(p, d, g, groups.p, part, cut, p->rows, inputs) &&
           same(p, all, part, cut, p->rows, inputs);
    if (!good)
        failed("n %" PRId64 ", %d inputs in groups: other bits", p->n, inputs);
    fence_free(&groups);
    return good;
}

/* A problem done in one call, and room for parts of it. */
struct whole {
    struct problem p;
    struct fence x;
    float *all, *part; // [inputs x rows]
    bool good;         // whether that call was
};

static struct whole whole_new(const struct fmt_info *f, const struct cpu_dot *d, int64_t n,
                              int inputs, enum kind kind)
{
    struct whole w = {.p = problem_new(f, n, ROWS, inputs, kind)};
    struct err e = {0};

    w.x = pack_inputs(&w.p, d);
    w.all = mem_array((uint64_t)(w.p.rows * inputs), sizeof *w.all, &e);
    w.part = mem_array((uint64_t)(w.p.rows * inputs), sizeof *w.part, &e);
    w.good = w.all && w.part && call(&w.p, d, w.x.p, w.all, 0, w.p.rows, inputs);
    return w;
}

static void whole_free(struct whole *w)
{
    mem_free(w->all);
    mem_free(w->part);
    fence_free(&w->x);
    problem_free(&w->p);
}

/* Rows [r0, r1) times the first inputs alone: the same bits. */
static bool part_same(const struct whole *w, const struct cpu_dot *d, int r0, int r1, int inputs)
{
    return call(&w->p, d, w->x.p, w->part, r0, r1, inputs) &&
           same(&w->p, w->all, w->part, r0, r1, inputs);
}

/* Any count of inputs, any cut of the rows: the same bits. */
static bool check_same(const struct fmt_info *f, const struct cpu_dot *d, int64_t n, int inputs)
{
    struct whole w = whole_new(f, d, n, inputs, RANDOM);
    bool good = w.good;

    for (int i = 1; i <= w.p.inputs && good; i++) {
        good = part_same(&w, d, 0, w.p.rows, i);
        if (!good)
            failed("%d inputs of %d: other bits", i, w.p.inputs);
        good = good && grouped_same(&w.p, d, &d->groups, w.x.p, w.all, w.part, i);
    }
    for (int cut = 0; cut <= w.p.rows && good; cut++)
        for (int i = 1; i <= 9 && good; i += 4) {
            good = part_same(&w, d, 0, cut, i) && part_same(&w, d, cut, w.p.rows, i);
            if (!good)
                failed("rows cut at %d, %d inputs: other bits", cut, i);
        }
    whole_free(&w);
    return good;
}

/* The level of other instructions that must make the same bits; NULL: none. */
static const struct cpu_kernels *twin_of(const struct cpu_kernels *k)
{
    const struct cpu_kernels *twin;

    for (int l = 0; strcmp(k->name, "avxvnni") == 0 && (twin = cpu_level(l)) != NULL; l++)
        if (strcmp(twin->name, "avx2") == 0)
            return twin;
    return NULL;
}

static bool twin_same(const struct fmt_info *f, const struct cpu_dot *d, const struct cpu_dot *twin,
                      int64_t n, int inputs, enum kind kind)
{
    struct whole a = whole_new(f, d, n, inputs, kind), b = whole_new(f, twin, n, inputs, kind);
    const bool good = a.good && b.good &&
                      memcmp(a.all, b.all, (size_t)(a.p.rows * a.p.inputs) * sizeof *a.all) == 0;

    if (!good)
        failed("n %" PRId64 ", %d inputs: other bits than of the level before", n, inputs);
    whole_free(&a);
    whole_free(&b);
    return good;
}

/* Sizes: less than a step, steps, steps and a rest, more than one slice of a panel. */
static void check_format(const struct cpu_kernels *k, const struct fmt_info *f)
{
    static const int64_t of_plain[] = {1, 5, 16, 33, 255, 300, 1000};
    static const int64_t of_blocks[] = {32, 64, 96, 224, 256, 288, 512, 960, 1280};
    const struct cpu_dot *d = &k->dot[f->id], *plain = &cpu_level(0)->dot[f->id];
    const struct cpu_kernels *twin = twin_of(k);
    const int64_t *sizes = f->sub ? of_blocks : of_plain;
    const size_t n_sizes = f->sub ? ARRAY_LEN(of_blocks) : ARRAY_LEN(of_plain);
    bool good = true;

    snprintf(now_doing, sizeof now_doing, "dot %s %s", f->name, k->name);
    for (size_t s = 0; s < n_sizes; s++)
        for (int kind = 0; kind < KINDS && good; kind++)
            if (sizes[s] % f->block == 0)
                good = check_size(f, d, plain, sizes[s], (enum kind)kind);
    good = good && check_size(f, d, plain, 8192 + 512, RANDOM);
    for (int kind = 0; kind < KINDS && twin && good; kind++)
        for (int inputs = 1; inputs <= 64 && good; inputs *= 4)
            good = twin_same(f, d, &twin->dot[f->id], 1280, inputs, (enum kind)kind);
    good = good && check_same(f, d, f->block > 32 ? 512 : 288, INPUTS);
    /* chains of 64 inputs are kept between slices: one more begins anew; plain rows are many */
    good = good && (k == cpu_level(0) || check_same(f, d, 8192 + 256, f->sub ? 12 : 17));
    n_passed += good;
    n_failed += !good;
}

/* -- the second path: tiles of bf16 -- */

struct tiled {
    struct problem p;
    const struct cpu_tiles *t;
    const struct fmt_info *f;
    struct fence x, own;
};

/* Inputs up to a multiple of 32 rows; those that are nobody's are not numbers. */
static void tiled_inputs(struct tiled *t)
{
    const size_t bytes = t->t->packed(t->p.n);
    const int all = (t->p.inputs + 31) / 32 * 32;

    t->x = fence_new(bytes * (size_t)all);
    t->own = fence_new(t->t->own);
    memset(t->x.p, 0xff, bytes * (size_t)all);
    for (int i = 0; i < t->p.inputs; i++)
        t->t->pack(t->p.x + i * t->p.n, t->p.n, t->p.n, i % 32, 1,
                   t->x.p + (size_t)(i / 32 * 32) * bytes);
}

static struct tiled tiled_new(const struct cpu_tiles *tiles, const struct fmt_info *f, int64_t n,
                              int inputs, enum kind kind)
{
    struct tiled t = {
        problem_new(f, n, ROWS, inputs, kind), tiles, f, {NULL, 0, NULL}, {NULL, 0, NULL}};

    tiled_inputs(&t);
    return t;
}

static void tiled_free(struct tiled *t)
{
    fence_free(&t->x);
    fence_free(&t->own);
    problem_free(&t->p);
}

/* y [inputs x rows] of rows [r0, r1); false when marks around the results were overwritten. */
static bool tiled_call(const struct tiled *t, float *y, int r0, int r1, int inputs)
{
    enum { LD = (MANY + 31) / 32 * 32 + 16, AROUND = 64 };
    static const uint32_t mark = MARK;
    const int wide = (inputs + 31) / 32 * 32, rows = (r1 - r0 + 31) / 32 * 32;
    const size_t n = (size_t)rows * LD + 2 * AROUND;
    struct err e = {0};
    float *box = mem_aligned(n * sizeof *box, 64, &e);
    const struct cpu_tile_job j = {.fmt = t->f->id,
                                   .w = t->p.w.p + (size_t)r0 * t->p.row_bytes,
                                   .row_bytes = t->p.row_bytes,
                                   .x = t->x.p,
                                   .x_bytes = t->t->packed(t->p.n),
                                   .n = t->p.n,
                                   .n_r = r1 - r0,
                                   .n_x = inputs};
    bool good = true;

    if (!box)
        exit(4);
    for (size_t k = 0; k < n; k++)
        memcpy(&box[k], &mark, sizeof mark);
    if (r1 > r0)
        t->t->rows(box + AROUND, LD, &j, t->own.p);
    for (size_t k = 0; k < n; k++) {
        const int64_t at = (int64_t)k - AROUND, r = at < 0 ? -1 : at / LD, i = at < 0 ? 0 : at % LD;

        if (r >= 0 && r < r1 - r0 && i < inputs)
            y[i * ROWS + r0 + r] = box[k];
        else if (r < 0 || r >= rows || i >= wide)
            good = good && memcmp(&box[k], &mark, sizeof mark) == 0;
    }
    mem_free(box);
    return good;
}

static double bf16_rounded(float v)
{
    return (double)bf16_to_f32(f32_to_bf16(v));
}

/* Codes times scales: halves go up. */
static double bf16_halves_up(float v)
{
    uint32_t bits;

    memcpy(&bits, &v, sizeof bits);
    bits = (bits + 0x8000) & 0xffff0000;
    memcpy(&v, &bits, sizeof v);
    return (double)v;
}

/* Against sums of the weights and inputs rounded to bf16. A weight whose last bit of f32 differs
 * may round the other way: one term may be off by as much. */
static bool tiled_values(const struct tiled *t, const float *y)
{
    const struct problem *p = &t->p;
    struct err e = {0};
    struct row row = {mem_array((uint64_t)p->n, sizeof(float), &e),
                      mem_array((uint64_t)p->n, sizeof(float), &e)};
    bool good = row.w && row.high;

    for (int r = 0; r < p->rows && good; r++) {
        read_row(p, r, &row);
        for (int i = 0; i < p->inputs && good; i++) {
            const double got = (double)y[i * p->rows + r];
            double sum = 0.0, terms = 0.0, high = 0.0, bound;

            for (int64_t k = 0; k < p->n; k++) {
                const double w = t->f->sub ? bf16_halves_up(row.w[k]) : bf16_rounded(row.w[k]);
                const double v = w * bf16_rounded(p->x[i * p->n + k]);
                sum += v;
                terms += fabs(v);
                high = fmax(high, fabs((double)row.high[k] * (double)p->x[i * p->n + k]));
            }
            bound = 0x1p-24 * ((double)p->n / 16.0 + 24.0) * terms + 0x1p-8 * high + 1e-32;
            good = fabs(got - sum) <= bound;
            if (!good)
                failed("n %" PRId64 ", row %d, input %d: %.9g, expected %.9g", p->n, r, i, got,
                       sum);
        }
    }
    mem_free(row.w);
    mem_free(row.high);
    return good;
}

static bool tiled_same(const struct tiled *t, const float *all, float *part)
{
    const struct problem *p = &t->p;
    bool good = true;

    for (int i = 1; i <= p->inputs && good; i += i < 34 ? 1 : 5) {
        good = tiled_call(t, part, 0, p->rows, i) && same(p, all, part, 0, p->rows, i);
        if (!good)
            failed("%d inputs of %d: other bits", i, p->inputs);
    }
    for (int cut = 1; cut < p->rows && good; cut++) {
        good = tiled_call(t, part, 0, cut, 3) && same(p, all, part, 0, cut, 3) &&
               tiled_call(t, part, cut, p->rows, 3) && same(p, all, part, cut, p->rows, 3);
        if (!good)
            failed("rows cut at %d: other bits", cut);
    }
    return good;
}

/* The emulation of a level's tiles, where both are here; NULL: one of them is not. */
static const struct cpu_tiles *tiled_twin(const struct cpu_tiles *tiles)
{
    const struct cpu_tiles *other;
    const struct cpu_kernels *k;
    char name[64];

    snprintf(name, sizeof name, "%s-emulated", tiles->name);
    for (int l = 0; (other = cpu_tiles_level(l, &k)) != NULL; l++)
        if (strcmp(other->name, name) == 0)
            return other;
    return NULL;
}

/* The same bits by the emulation, in room for as many. */
static bool tiled_emulated(struct tiled *t, const float *y, float *room)
{
    const struct cpu_tiles *real = t->t, *twin = tiled_twin(real);
    bool good = true;

    if (twin) {
        t->t = twin;
        good = tiled_call(t, room, 0, t->p.rows, t->p.inputs) &&
               same(&t->p, y, room, 0, t->p.rows, t->p.inputs);
        t->t = real;
        if (!good)
            failed("n %" PRId64 ": other bits than %s", t->p.n, twin->name);
    }
    return good;
}

/* Many inputs, beside whose products panels are made: the bits of a few, before which they are. */
static bool tiled_many(const struct cpu_tiles *tiles, const struct fmt_info *f, int64_t n)
{
    enum { FEW_INPUTS = 16 };
    struct tiled t = tiled_new(tiles, f, n, MANY, RANDOM);
    struct err e = {0};
    float *y = mem_array(2 * ROWS * MANY, sizeof *y, &e), *few = y ? y + ROWS * MANY : NULL;
    bool good = y && tiled_call(&t, few, 0, ROWS, FEW_INPUTS);

    for (int inputs = MANY; inputs > 32 && good; inputs = inputs * 2 / 3) {
        good = tiled_call(&t, y, 0, ROWS, inputs) && same(&t.p, y, few, 0, ROWS, FEW_INPUTS);
        if (!good)
            failed("n %" PRId64 ", %d inputs: other bits", n, inputs);
    }
    mem_free(y);
    tiled_free(&t);
    return good;
}

static void check_tiles(const struct cpu_tiles *tiles, const struct fmt_info *f)
{
    static const int64_t sizes[] = {5, 33, 96, 256, 288, 2048 + 512};
    bool good = true;

    for (size_t s = 0; s < ARRAY_LEN(sizes) && good; s++)
        for (int kind = 0; kind < (f->sub ? KINDS : 1) && good; kind++) {
            struct err e = {0};
            const int inputs = sizes[s] == 256 && kind == RANDOM ? INPUTS : 9;
            struct tiled t;
            float *y;

            if (sizes[s] % f->block)
                continue;
            t = tiled_new(tiles, f, sizes[s], inputs, (enum kind)kind);
            y = mem_array((uint64_t)(2 * ROWS * inputs), sizeof *y, &e);
            if (!y || !tiled_call(&t, y, 0, ROWS, inputs)) {
                failed("n %" PRId64 ": wrote outside", sizes[s]);
                good = false;
            }
            good = good && tiled_values(&t, y) && tiled_emulated(&t, y, y + ROWS * inputs);
            if (inputs == INPUTS)
                good = good && tiled_same(&t, y, y + ROWS * inputs);
            mem_free(y);
            tiled_free(&t);
        }
    good = good && tiled_many(tiles, f, 1280) && (f->block > 32 || tiled_many(tiles, f, 96));
    n_passed += good;
    n_failed += !good;
}

/* -- a second path's way with groups: tiles of int8, the same bits as one row makes -- */

static bool check_groups_of(const struct cpu_tiles *tiles, const struct cpu_dot *d,
                            const struct fmt_info *f, int64_t n, int inputs, int step,
                            enum kind kind)
{
    struct whole w = whole_new(f, d, n, inputs, kind);
    bool good = w.good;

    for (int i = w.p.inputs; i > 0 && good; i -= step)
        good = grouped_same(&w.p, d, cpu_wide(tiles, d), w.x.p, w.all, w.part, i);
    whole_free(&w);
    return good;
}

static void check_groups(const struct cpu_tiles *tiles, const struct cpu_kernels *k,
                         const struct fmt_info *f)
{
    static const int64_t sizes[] = {32, 96, 224, 256, 288, 960, 1280, 2048 + 512};
    const struct cpu_dot *d = &k->dot[f->id];
    bool good = true;

    for (size_t s = 0; s < ARRAY_LEN(sizes); s++)
        for (int kind = 0; kind < KINDS && good; kind++)
            if (sizes[s] % f->block == 0)
                good = check_groups_of(tiles, d, f, sizes[s], 19, 4, (enum kind)kind);
    good = good && check_groups_of(tiles, d, f, 256, INPUTS, 1, RANDOM);
    /* chains of 256 inputs are kept between slices: one more begins anew */
    good = good && check_groups_of(tiles, d, f, 2048 + 256, 256 + 5, 256, RANDOM);
    n_passed += good;
    n_failed += !good;
}

static bool wanted(char **words, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (!strstr(name, words[i]))
            return false;
    return true;
}

/* -- timing -- */

struct timed {
    const struct cpu_dot *d;
    const struct cpu_groups *g;
    const char *w, *x;
    char *groups;
    float *y;
    uint64_t row_bytes;
    int64_t n, rows, inputs;
};

static void member_rows(void *arg, int member, int n)
{
    const struct timed *t = (const struct timed *)arg;
    const int64_t r0 = t->rows * member / n, r1 = t->rows * (member + 1) / n;

    if (t->g->most && t->inputs >= t->g->least) {
        t->g->many(t->d, t->y + r0, t->rows, t->w + (size_t)r0 * t->row_bytes, t->row_bytes,
                   t->groups, cpu_group(t->g->most, t->inputs), t->n, r1 - r0, t->inputs);
        return;
    }
    t->d->rows(t->y, t->rows, t->w, t->row_bytes, t->x, t->d->packed(t->n), t->n, r0, r1,
               t->inputs);
}

static double best_of(struct team *team, struct timed *t, int times)
{
    double best = 1e9;

    for (int k = 0; k < times; k++) {
        const double start = clock_seconds();
        double took;

        team_run(team, member_rows, t);
        took = clock_seconds() - start;
        best = took < best ? took : best;
    }
    return best;
}

static void bench_groups(struct timed *t)
{
    const struct cpu_groups *g = t->g;
    const int per = g->most ? cpu_group(g->most, t->inputs) : 0;

    for (int64_t i = 0; per && i < t->inputs; i++)
        g->put(t->x + (size_t)i * t->d->packed(t->n), t->d->packed(t->n), 1, t->n, (int)(i % per),
               t->groups + (size_t)(i / per) * g->bytes(t->n));
}

/* One format on one level: a matrix larger than any cache with one input; a small one with many. */
static void bench_format(struct team *team, const char *name, const struct cpu_dot *d,
                         const struct cpu_groups *g, const struct fmt_info *f, char *w,
                         size_t w_bytes, char *x, char *groups, float *y)
{
    static const int counts[] = {2, 4, 8, 16, 32, 128};
    struct timed t = {d, g, w, x, groups, y, 0, 2048, 0, 1};
    double read = 0.0, took;
    struct rng rng = {5, 0};
    float in[2048];

    fmt_row_bytes((int)f->id, 2048, &t.row_bytes);
    t.rows = (int64_t)(w_bytes / t.row_bytes);
    for (int64_t r = 0; r < t.rows; r += 512) {
        const int64_t some = t.rows - r < 512 ? t.rows - r : 512;

        if (r == 0)
            synth_blocks(f, w, 0, (size_t)(some * 2048 / f->block), 0.02f, 1);
        else
            memcpy(w + (size_t)r * t.row_bytes, w, (size_t)some * t.row_bytes);
    }
    for (int i = 0; i < 128; i++) {
        for (int j = 0; j < 2048; j++)
            in[j] = (float)rng_next_normal(&rng);
        t.d->pack(in, 2048, x + (size_t)i * t.d->packed(2048));
    }
    took = best_of(team, &t, 1);
    for (int i = 0; i < 5; i++) { /* taking turns: what else runs here hits both */
        const double a = stream_read(team, w, w_bytes, 4), b = best_of(team, &t, 2);

        read = a > read ? a : read;
        took = b < took ? b : took;
    }
    const double bytes = (double)t.rows * (double)t.row_bytes;
    printf("%-8s %-7s %7.1f %6.2f %4.0f %8.1f", f->name, name, bytes / 1e6, bytes / took / 1e9,
           100.0 * bytes / took / read, (double)t.rows * 2048.0 / took / 1e9);
    t.rows = t.rows < 1024 ? t.rows : 1024;
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        t.inputs = counts[i];
        bench_groups(&t);
        took = best_of(team, &t, 5);
        printf(" %8.1f", (double)t.rows * 2048.0 * (double)t.inputs / took / 1e9);
    }
    putchar('\n');
    fflush(stdout);
}

static int bench(char **words, int n_words)
{
    enum { BYTES = 128 << 20 };
    struct err e = {0};
    struct team *team = NULL;
    char *w = mem_aligned(BYTES, 64, &e), *x = mem_aligned((uint64_t)128 * 8192, 64, &e);
    char *groups = mem_aligned((uint64_t)128 * 8192, 64, &e);
    float *y = mem_array((uint64_t)BYTES / 64, sizeof *y, &e);

    if (!w || !x || !groups || !y || team_new(&team, thread_cpus(), &e) < 0) {
        fprintf(stderr, "checkkern: %s\n", e.text);
        return 4;
    }
    printf("%d threads; rows of 2048; one input: bytes from memory; then inputs at once: Gmac/s\n",
           team_size(team));
    printf("%-8s %-7s %7s %6s %4s %8s %8s %8s %8s %8s %8s %8s\n", "format", "level", "MB", "GB/s",
           "%", "x1", "x2", "x4", "x8", "x16", "x32", "x128");
    for (size_t i = 0; fmt_at(i); i++) {
        const struct cpu_tiles *tiles;
        const struct cpu_kernels *k;

        for (int l = 0; (k = cpu_level(l)) != NULL; l++) {
            const struct cpu_dot *d = &k->dot[fmt_at(i)->id];

            snprintf(now_doing, sizeof now_doing, "dot %s %s", fmt_at(i)->name, k->name);
            if (synth_can(fmt_at(i)) && wanted(words, n_words, now_doing))
                bench_format(team, k->name, d, &d->groups, fmt_at(i), w, BYTES, x, groups, y);
        }
        for (int l = 0; (tiles = cpu_tiles_level(l, &k)) != NULL; l++) {
            const struct cpu_dot *d = &k->dot[fmt_at(i)->id];

            snprintf(now_doing, sizeof now_doing, "dot %s %s", fmt_at(i)->name, tiles->name);
            if (cpu_wide_rows(tiles, d) && synth_can(fmt_at(i)) &&
                wanted(words, n_words, now_doing))
                bench_format(team, tiles->name, d, cpu_wide(tiles, d), fmt_at(i), w, BYTES, x,
                             groups, y);
        }
    }
    team_free(team);
    mem_free(w);
    mem_free(x);
    mem_free(groups);
    mem_free(y);
    return 0;
}

int main(int argc, char **argv)
{
    struct sigaction act = {.sa_handler = on_fault};
    const struct cpu_tiles *tiles;
    const struct cpu_kernels *k;

    if (argc > 1 && strcmp(argv[1], "--bench") == 0)
        return bench(argv + 2, argc - 2);
    sigaction(SIGSEGV, &act, NULL);
    sigaction(SIGBUS, &act, NULL);
    thread_ftz();
    for (size_t i = 0; fmt_at(i); i++)
        for (int l = 0; cpu_level(l); l++) {
            snprintf(now_doing, sizeof now_doing, "dot %s %s", fmt_at(i)->name, cpu_level(l)->name);
            if (wanted(argv + 1, argc - 1, now_doing))
                check_format(cpu_level(l), fmt_at(i));
        }
    for (int l = 0; (tiles = cpu_tiles_level(l, &k)) != NULL; l++) {
        snprintf(now_doing, sizeof now_doing, "tiles %s", tiles->name);
        if (!tiles->works()) {
            failed("does not multiply as it should");
            n_failed++;
        }
        for (size_t i = 0; fmt_at(i); i++) {
            snprintf(now_doing, sizeof now_doing, "tiles %s %s", fmt_at(i)->name, tiles->name);
            const struct cpu_dot *d = &k->dot[fmt_at(i)->id];
            if (tiles->takes(fmt_at(i)->id) && wanted(argv + 1, argc - 1, now_doing))
                check_tiles(tiles, fmt_at(i));
            snprintf(now_doing, sizeof now_doing, "groups %s %s", fmt_at(i)->name, tiles->name);
            if (cpu_wide_rows(tiles, d) && wanted(argv + 1, argc - 1, now_doing))
                check_groups(tiles, k, fmt_at(i));
        }
    }
    printf("kernels/checkkern: %d passed, %d failed\n", n_passed, n_failed);
    return n_failed > 0;
}
