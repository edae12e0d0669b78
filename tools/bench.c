/* bench.c - rill-bench: how fast this machine reads memory, a model answers, and its records run.
 *
 * Every figure is the mean and deviation of several runs; where a limit is known, it was measured
 * in the same run, between the others, so that what else the machine does hits both.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rng.h"
#include "base/thread.h"
#include "kernels/peak.h"
#include "model/hfdir.h"
#include "model/random.h"
#include "rill.h"
#include "tools/lib/figures.h"
#include "tools/lib/gpu.h"
#include "tools/lib/load.h"
#include "tools/lib/maskbench.h"
#include "tools/lib/model_opts.h"
#include "tools/lib/stream.h"
#include "tools/lib/tool.h"

static const char *opt_model, *opt_synthetic;
static struct model_options running;
static struct opt_ints opt_prompt, opt_gen, opt_batch, opt_depth, opt_threads;
static int opt_repeat, opt_stream_mb;
static struct opt_list opt_schemas;
static bool opt_mask, opt_stream, opt_ops, opt_shared, opt_list;
static bool opt_json, opt_tsv, opt_csv, opt_markdown;
static bool model_given, fail_given, rate_given;
static const char *opt_baseline, *opt_plot;
static double opt_fail_below;
static const char *opt_url, *opt_url_model, *opt_trace;
static int opt_at_once, opt_requests;
static double opt_rate, opt_speed, opt_limit;
static bool opt_to_end;

static const struct tool_option opts[] = {
    {'m', "model", OPT_STR, &opt_model, "MODEL", "the model, a GGUF file", .given = &model_given},
    {0, "synthetic", OPT_STR, &opt_synthetic, "SHAPE[:TYPE]",
     "a random model instead: a named real shape (--shapes) in a format (Q4_0)"},
    {0, "shapes", OPT_FLAG, &opt_list, 0, "print the named shapes"},
    {'p', "prompt", OPT_INTS, &opt_prompt, "N,...", "tokens of the prompt (0: no such test)",
     .min = 0, .max = 1e7, .def = "512"},
    {'n', "gen", OPT_INTS, &opt_gen, "N,...", "tokens to make (0: no such test)", .min = 0,
     .max = 1e7, .def = "64"},
    {'d', "depth", OPT_INTS, &opt_depth, "N,...", "positions already there when making tokens",
     .min = 0, .max = 1e7, .def = "0"},
    {'b', "batch", OPT_INTS, &opt_batch, "N,...", "sequences at once when making tokens", .min = 1,
     .max = 4096, .def = "1"},
    {'t', "threads", OPT_INTS, &opt_threads, "N,...", "threads (0: one per processor)", .min = 0,
     .max = 1024, .def = "0"},
    {'r', "repeat", OPT_INT, &opt_repeat, "N", "runs of each test, after one that is not counted",
     .min = 1, .max = 1000, .def = "3"},
    MODEL_DEVICE(running),
    {0, "stream", OPT_FLAG, &opt_stream, 0,
     "measure how fast memory is read, for every number of threads", .group = "Other tests"},
    {0, "ops", OPT_FLAG, &opt_ops, 0,
     "time each record of the plan, for -b generated rows and for prompts of -p rows"},
    {0, "shared", OPT_FLAG, &opt_shared, 0,
     "of --ops: the -d positions are the same for all sequences, and held once"},
    {0, "mask", OPT_FLAG, &opt_mask, 0,
     "compile the schemas of --schemas and time masks of the model's vocabulary"},
    {0, "schemas", OPT_LIST, &opt_schemas, "FILE",
     "JSON lines with a schema and instances each; may be repeated"},
    {0, "stream-mb", OPT_INT, &opt_stream_mb, "N", "memory read for the limit, in MiB", .min = 1,
     .max = 1e6, .def = "256"},
    {0, "url", OPT_STR, &opt_url, "URL",
     "put load on a server with OpenAI's chat API: http://HOST:PORT[/PATH]", .group = "A server"},
    {0, "url-model", OPT_STR, &opt_url_model, "NAME", "the model that requests name"},
    {0, "at-once", OPT_INT, &opt_at_once, "N", "as many requests at once, one after the other",
     .min = 1, .max = 8192, .def = "1"},
    {0, "rate", OPT_FLOAT, &opt_rate, "X",
     "instead: as many begin each second, at random times, whatever has ended", .min = 0.001,
     .max = 1e6, .def = "1", .given = &rate_given},
    {0, "trace", OPT_STR, &opt_trace, "FILE", "instead: times and lengths from a trace"},
    {0, "speed", OPT_FLOAT, &opt_speed, "X", "times of a trace pass X times as fast", .min = 0.001,
     .max = 1e6, .def = "1"},
    {0, "requests", OPT_INT, &opt_requests, "N", "requests in all", .min = 1, .max = 1e7,
     .def = "100"},
    {0, "seconds", OPT_FLOAT, &opt_limit, "X", "give a request up after X seconds (0: never)",
     .min = 0, .max = 1e6, .def = "600"},
    {0, "to-end", OPT_FLAG, &opt_to_end, 0, "ask for answers of full length (ignore_eos)"},
    {'j', "json", OPT_FLAG, &opt_json, 0, "one JSON object per measurement", .group = "Output"},
    {0, "tsv", OPT_FLAG, &opt_tsv, 0, "tab-separated values"},
    {0, "csv", OPT_FLAG, &opt_csv, 0, "comma-separated values"},
    {0, "markdown", OPT_FLAG, &opt_markdown, 0, "a Markdown table"},
    {0, "plot", OPT_STR, &opt_plot, "FILE",
     "also draw speeds, or the times of --url, as bars (SVG)"},
    {0, "baseline", OPT_STR, &opt_baseline, "FILE", "compare with what -j printed before"},
    {0, "fail-below", OPT_FLOAT, &opt_fail_below, "X",
     "exit with status 1 when a speed is below X times the baseline's", .min = 0, .max = 100,
     .def = "0", .given = &fail_given},
    {0}};

static struct tool tool = {"rill-bench", "[-m MODEL | --synthetic SHAPE[:TYPE]] [option]...",
                           "measures speed", opts, 0};

/* -- samples -- */

struct samples {
    int n;
    double sum, squares, best;
};

static void sample(struct samples *s, double v)
{
    s->n++;
    s->sum += v;
    s->squares += v * v;
    s->best = v > s->best ? v : s->best;
}

static double mean(const struct samples *s)
{
    return s->n ? s->sum / s->n : 0;
}

static double deviation(const struct samples *s)
{
    const double m = mean(s), v = s->n > 1 ? (s->squares - s->n * m * m) / (s->n - 1) : 0;

    return v > 0 ? sqrt(v) : 0;
}

/* -- the limit -- */

/* Memory to read, and the best rates seen with this many threads: bytes a second, in four or eight
 * places each; products a second, in registers alone. */
struct limit {
    char *p;
    size_t bytes;
    struct team *team;
    double best, best_products;
    struct rill_model *model; // whose device is measured instead, if that is not the host
};

static void limit_close(struct limit *l)
{
    team_free(l->team);
    mem_unpages(l->p, l->bytes);
}

static int limit_open(struct limit *l, int threads, struct err *e)
{
    *l = (struct limit){.bytes = (size_t)opt_stream_mb << 20, .model = l->model};
    l->p = mem_pages(l->bytes, e); /* of 2 MB, as weights have them where the system gives them */
    if (!l->p)
        return E_NOMEM;
    memset(l->p, 1, l->bytes); /* pages that were never written are one page of zeros */
    return team_new(&l->team, threads ? threads : thread_cpus(), e);
}

/* Matrices are read in four places by some kernels, in sixteen by others: the better of two. */
static double limit_sample(struct limit *l)
{
    const double device = l->model ? rill_model_read(l->model) : 0;

    if (device > 0) {
        l->best = device > l->best ? device : l->best;
        return device;
    }
    const double four = stream_read(l->team, l->p, l->bytes, 4);
    const double eight = stream_read(l->team, l->p, l->bytes, 8);
    const double v = four > eight ? four : eight;

    l->best = v > l->best ? v : l->best;
    return v;
}

static double limit_products(struct limit *l)
{
    const double v = peak_products(l->team);

    l->best_products = v > l->best_products ? v : l->best_products;
    return v;
}

/* -- rows of output -- */

struct row {
    const char *test; // "prompt", "generate"
    int n_prompt, n_gen, depth, batch, threads;
    struct samples tok_s;
    double gb_s, percent;             // percent: of the limit
    double gmul_s, products_percent; // 10^9 products a second
};

static enum figures_form form;
static bool below;              // some figure was below its baseline
static struct baseline *before; // of --baseline
static struct plot *plot;

enum { ROW_KEYS = 6, ROW_FIGURES = 13 };

static void row_figures(struct figure *f, const struct row *r)
{
    const int key[] = {r->n_prompt, r->n_gen, r->depth, r->batch, r->threads};
    static const char *const names[] = {"n_prompt", "n_gen", "depth", "batch", "threads"};

    figure_words(f++, "test", r->test);
    for (size_t i = 0; i < ARRAY_LEN(key); i++)
        figure_set(f++, names[i], 0, key[i]);
    figure_set(f++, "tok_s", 3, mean(&r->tok_s));
    figure_set(f++, "tok_s_stddev", 3, deviation(&r->tok_s));
    figure_set(f++, "tok_s_best", 3, r->tok_s.best);
    figure_set(f++, "gb_s", 3, r->gb_s);
    figure_set(f++, "bandwidth_pct", 1, r->percent);
    figure_set(f++, "gmul_s", 2, r->gmul_s);
    figure_set(f++, "products_pct", 1, r->products_percent);
}

static void row_label(char *text, size_t cap, const struct row *r)
{
    if (r->n_gen == 0)
        snprintf(text, cap, "prompt %d, %d thread%s", r->n_prompt, r->threads,
                 r->threads == 1 ? "" : "s");
    else
        snprintf(text, cap, "generate %d at %d, %d at once, %d thread%s", r->n_gen, r->depth,
                 r->batch, r->threads, r->threads == 1 ? "" : "s");
}

/* Against the same measurement of the earlier run. */
static void row_compare(const struct row *r, const struct figure *f)
{
    const double was = before ? baseline_find(before, f, ROW_KEYS) : 0;
    const double ratio = was > 0 ? mean(&r->tok_s) / was : 0;
    char label[96];

    if (!before)
        return;
    row_label(label, sizeof label, r);
    if (was <= 0)
        tool_warn("%s: not in the baseline", label);
    else if (ratio < opt_fail_below)
        tool_warn("%s: %.3f of the baseline (%.2f tokens/s), below %g", label, ratio, was,
                  opt_fail_below);
    else
        tool_note("%s: %.3f of the baseline (%.2f tokens/s)", label, ratio, was);
    below = below || (was > 0 && ratio < opt_fail_below);
}

static void row_plot(const struct row *r)
{
    char label[96], note[48];
    const double m = mean(&r->tok_s);

    row_label(label, sizeof label, r);
    if (r->percent > 0)
        snprintf(note, sizeof note, "%.1f tokens/s, %.0f %% of memory", m, r->percent);
    else
        snprintf(note, sizeof note, "%.1f tokens/s", m);
    plot_add(plot, label, note, m);
}

/* At what clocks and power the GPUs of a measurement were when it ended, with -v. */
static void row_gpus(void)
{
    struct gpus *g;
    struct err e = {0};
    struct gpu_state s;

    if (tool.verbose < 1)
        return;
    if (gpus_open(&g, &e) < 0)
        tool_detail(1, "%s", e.text);
    for (int i = 0; i < gpus_count(g); i++) {
        gpus_read(g, i, &s);
        tool_detail(1, "%s: %.0f %% busy, %.0f W, %.0f MHz, memory %.0f MHz", s.name, s.busy * 100,
                    s.watts, s.sm_hz / 1e6, s.mem_hz / 1e6);
    }
    gpus_close(g);
}

static void row_print(const struct row *r, bool head)
{
    struct figure f[ROW_FIGURES];

    row_figures(f, r);
    if (form != FIGURES_TABLE)
        figures_print(form, f, ROW_FIGURES, head);
    else {
        if (head)
            printf("%-10s %8s %8s %8s %6s %7s %20s %8s %5s %8s %5s\n", "test", "prompt", "gen",
                   "depth", "batch", "threads", "tokens/s", "GB/s", "%", "Gmul/s", "%");
        printf("%-10s %8d %8d %8d %6d %7d %12.2f +- %4.2f %8.2f %5.0f %8.1f %5.0f\n", r->test,
               r->n_prompt, r->n_gen, r->depth, r->batch, r->threads, mean(&r->tok_s),
               deviation(&r->tok_s), r->gb_s, r->percent, r->gmul_s, r->products_percent);
    }
    fflush(stdout);
    row_compare(r, f);
    row_gpus();
    if (plot)
        row_plot(r);
}

/* -- memory alone -- */

static void stream_print(int threads, int streams, const struct samples *s, bool head)
{
    struct figure f[5];

    if (form == FIGURES_TABLE) {
        if (head)
            printf("%8s %8s %10s %10s\n", "threads", "streams", "GB/s", "best");
        printf("%8d %8d %10.2f %10.2f\n", threads, streams, mean(s), s->best);
        fflush(stdout);
        return;
    }
    figure_words(&f[0], "test", "stream");
    figure_set(&f[1], "threads", 0, threads);
    figure_set(&f[2], "streams", 0, streams);
    figure_set(&f[3], "gb_s", 3, mean(s));
    figure_set(&f[4], "gb_s_best", 3, s->best);
    figures_print(form, f, ARRAY_LEN(f), head);
}

static int bench_stream(struct err *e)
{
    static const int streams[] = {1, 4, 8};
    bool head = true;

    for (int n = 1; n <= thread_cpus() && !tool_interrupted(); n++) {
        struct limit l = {0};
        int rc = limit_open(&l, n, e);

        for (size_t k = 0; k < ARRAY_LEN(streams) && rc == 0; k++) {
            struct samples s = {0};

            for (int i = 0; i <= opt_repeat * 3; i++) {
                const double v = stream_read(l.team, l.p, l.bytes, streams[k]) * 1e-9;

                if (i)
                    sample(&s, v);
            }
            stream_print(n, streams[k], &s, head);
            head = false;
        }
        limit_close(&l);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* -- a model -- */

struct bench {
    struct rill_model *model;
    struct rill_model_info info;
    struct limit limit;
    int threads;
    int max_ctx, max_batch;
    int prompts; // made so far
    bool headed; // the names of the columns are printed
};

static int most(const struct opt_ints *l)
{
    int m = 0;

    for (int i = 0; i < l->n; i++)
        m = l->v[i] > m ? l->v[i] : m;
    return m;
}

/* Any tokens do; they differ, as a text's would. */
static int submit(struct rill_engine *g, const struct bench *b, int n_prompt, int n_gen, int which,
                  struct err *e)
{
    int32_t *ids = mem_array((uint64_t)n_prompt, sizeof *ids, e);
    struct rill_request q = {.ids = ids, .n_ids = (size_t)n_prompt, .max_tokens = n_gen};
    int number, rc;

    if (!ids)
        return E_NOMEM;
    for (int i = 0; i < n_prompt; i++)
        ids[i] = (int32_t)(((int64_t)i * 7919 + which * 104729 + 1000) % b->info.n_vocab);
    q.ignore_eos = true;
    q.sampling = rill_sampling_defaults();
    q.sampling.temperature = 0.0f;
    rc = rill_engine_submit(g, &q, &number, e);
    mem_free(ids);
    return rc;
}

static int finish(struct rill_engine *g, struct err *e)
{
    struct rill_event ev[16];
    int rc;

    while ((rc = rill_engine_step(g, ev, 16, e)) > 0)
        for (int i = 0; i < rc; i++)
            if (ev[i].kind == RILL_DONE && ev[i].finish == RILL_FAILED)
                return err_set(e, ev[i].code, "%s", ev[i].message);
    return rc;
}

static bool on_cpu(const struct bench *b)
{
    return strncmp(b->info.device, "cpu", 3) == 0;
}

/* One run, of prompts numbered from first on: seconds of the steps with prompt rows, and of the
 * others. */
static int run_once(struct rill_engine *g, const struct bench *b, int first, int n_prompt,
                    int n_gen, int batch, struct rill_stats *out, struct err *e)
{
    struct rill_stats was;
    int rc = 0;

    rill_engine_stats(g, &was);
    for (int i = 0; i < batch && rc == 0; i++)
        rc = submit(g, b, n_prompt, n_gen, first + i, e);
    rc = rc < 0 ? rc : finish(g, e);
    rill_engine_stats(g, out);
    out->prompt_seconds -= was.prompt_seconds;
    out->decode_seconds -= was.decode_seconds;
    out->prompt_rows -= was.prompt_rows;
    out->cached_rows -= was.cached_rows;
    out->decode_bytes -= was.decode_bytes;
    out->prompt_flops -= was.prompt_flops;
    out->decode_flops -= was.decode_flops;
    out->drawn -= was.drawn;
    return rc;
}

/* What a row's runs took, and the limits measured between them. */
struct sums {
    double bytes, flops, seconds;
    struct samples read, products;
};

static void row_sums(struct row *r, const struct sums *t)
{
    const double products = t->flops / 2 / t->seconds;

    r->gmul_s = products * 1e-9;
    if (mean(&t->products) > 0)
        r->products_percent = 100 * products / mean(&t->products);
    if (t->bytes > 0) {
        r->gb_s = t->bytes / t->seconds * 1e-9;
        r->percent = 100 * t->bytes / t->seconds / mean(&t->read);
    }
}

/* The first token of a sequence belongs to its prompt's steps; one more is made to make up. The
 * machine's limits and the model take turns, and means are compared: what else the machine does
 * hits all. */
static int bench_row(struct rill_engine *g, struct bench *b, struct row *r, struct err *e)
{
    const bool prompt = r->n_gen == 0;
    const int before = prompt ? r->n_prompt : r->depth ? r->depth : 1;
    struct sums t = {0};

    for (int i = 0; i <= opt_repeat && !tool_interrupted(); i++) {
        struct rill_stats s;
        /* a prompt that was there before is known, and would not be computed */
        int rc = run_once(g, b, prompt ? b->max_batch + b->prompts : 0, before, r->n_gen + 1,
                          r->batch, &s, e);

        if (rc < 0)
            return rc;
        b->prompts += prompt ? r->batch : 0;
        if (prompt && s.cached_rows > 0)
            return err_set(e, E_RANGE, "so many prompts cannot all differ with %d tokens",
                           b->info.n_vocab);
        for (int k = 0; k < 3; k++)
            sample(&t.read, limit_sample(&b->limit));
        if (on_cpu(b))
            sample(&t.products, limit_products(&b->limit));
        if (i == 0)
            continue; /* the first touches pages */
        sample(&r->tok_s, prompt ? (double)s.prompt_rows / s.prompt_seconds
                                 : (double)r->n_gen * r->batch / s.decode_seconds);
        t.seconds += prompt ? s.prompt_seconds : s.decode_seconds;
        t.flops += prompt ? s.prompt_flops : s.decode_flops;
        t.bytes += prompt ? 0 : (double)s.decode_bytes;
    }
    r->threads = b->threads;
    if (t.seconds > 0)
        row_sums(r, &t);
    if (tool_interrupted())
        return 0;
    row_print(r, !b->headed);
    b->headed = true;
    return 0;
}

static int bench_all(struct rill_engine *g, struct bench *b, struct err *e)
{
    int rc = 0;

    for (int i = 0; i < opt_prompt.n && rc == 0; i++)
        if (opt_prompt.v[i]) {
            struct row r = {.test = "prompt", .n_prompt = opt_prompt.v[i], .batch = 1};
            rc = bench_row(g, b, &r, e);
        }
    for (int d = 0; d < opt_depth.n; d++)
        for (int k = 0; k < opt_batch.n; k++)
            for (int i = 0; i < opt_gen.n && rc == 0; i++)
                if (opt_gen.v[i]) {
                    struct row r = {.test = "generate",
                                    .n_gen = opt_gen.v[i],
                                    .depth = opt_depth.v[d],
                                    .batch = opt_batch.v[k]};
                    rc = bench_row(g, b, &r, e);
                }
    return rc;
}

/* -- records -- */

struct total {
    char name[24], kernel[64];
    int n;
    double seconds, bytes, flops;
};
struct totals {
    struct total at[64];
    int n;
};

static void add_record(void *ctx, const struct rill_record *r)
{
    struct totals *t = (struct totals *)ctx;
    struct total *x = t->at;

    while (x < t->at + t->n &&
           (strcmp(x->name, r->name) != 0 || strncmp(x->kernel, r->kernel, 63) != 0))
        x++;
    if (x == t->at + ARRAY_LEN(t->at))
        x--; /* more kinds than a plan has: the last takes the rest */
    else if (x == t->at + t->n) {
        t->n++;
        snprintf(x->name, sizeof x->name, "%s", r->name);
        snprintf(x->kernel, sizeof x->kernel, "%s", r->kernel);
    }
    x->n++;
    x->seconds += r->seconds;
    x->bytes += r->bytes;
    x->flops += r->flops;
}

static void total_print(const struct total *x, const struct bench *b, const struct rill_times *r,
                        double all, bool head)
{
    const double gb = x->bytes / x->seconds * 1e-9, pct = 1e11 * gb / b->limit.best;
    struct figure f[13];
    int n = 0;

    if (form == FIGURES_TABLE) {
        printf("%-14s %-20s %5d %10.1f %5.1f%% %8.2f %5.0f %9.1f\n", x->name, x->kernel, x->n,
               x->seconds / x->n * 1e6, 100 * x->seconds / all, gb, pct,
               x->flops / x->seconds * 1e-9);
        return;
    }
    figure_words(&f[n++], "test", "record");
    figure_set(&f[n++], "n_rows", 0, r->n_rows * r->n_seq);
    figure_set(&f[n++], "depth", 0, r->n_past);
    figure_set(&f[n++], "threads", 0, b->threads);
    figure_words(&f[n++], "record", x->name);
    figure_words(&f[n++], "kernel", x->kernel);
    figure_set(&f[n++], "count", 0, x->n);
    figure_set(&f[n++], "us", 3, x->seconds / x->n * 1e6);
    figure_set(&f[n++], "share_pct", 2, 100 * x->seconds / all);
    figure_set(&f[n++], "gb_s", 3, gb);
    figure_set(&f[n++], "bandwidth_pct", 1, pct);
    figure_set(&f[n++], "gflop_s", 3, x->flops / x->seconds * 1e-9);
    figures_print(form, f, n, head);
}

/* Shares are of the sum of all records by themselves; a whole step is not one of them. */
static void totals_print(const struct totals *t, struct bench *b, const struct rill_times *r)
{
    const int rows = r->n_rows * r->n_seq;
    double all = 0;

    for (int i = 0; i < t->n; i++)
        all += strcmp(t->at[i].name, "step") != 0 ? t->at[i].seconds : 0;
    if (form == FIGURES_TABLE) {
        printf("\n%d row%s of %d sequence%s behind %d %spositions: %.2f ms in all\n", rows,
               rows == 1 ? "" : "s", r->n_seq, r->n_seq == 1 ? "" : "s", r->n_past,
               r->shared ? "shared " : "", all * 1e3);
        printf("%-14s %-20s %5s %10s %6s %8s %5s %9s\n", "record", "kernel", "times", "us each",
               "share", "GB/s", "%", "GFLOP/s");
    }
    for (int i = 0; i < t->n; i++, b->headed = true)
        total_print(&t->at[i], b, r, all, !b->headed);
    fflush(stdout);
}

static int bench_ops_of(struct rill_engine *g, struct bench *b, const struct rill_times *r,
                        struct err *e)
{
    struct totals t = {.n = 0};
    int rc;

    if (tool_interrupted())
        return 0;
    for (int k = 0; k < 5; k++)
        limit_sample(&b->limit);
    rc = rill_engine_times(g, r, add_record, &t, e);
    if (rc == 0) {
        totals_print(&t, b, r);
        row_gpus();
    }
    return rc;
}

static int bench_ops(struct rill_engine *g, struct bench *b, struct err *e)
{
    int rc = 0;

    for (int d = 0; d < opt_depth.n; d++) {
        struct rill_times r = {
            .n_past = opt_depth.v[d], .shared = opt_shared, .times = opt_repeat + 2};

        r.n_rows = 1;
        for (int i = 0; i < opt_batch.n && rc == 0; i++) {
            r.n_seq = opt_batch.v[i];
            rc = bench_ops_of(g, b, &r, e);
        }
        r.n_seq = 1;
        for (int i = 0; i < opt_prompt.n && rc == 0; i++) {
            r.n_rows = opt_prompt.v[i];
            if (r.n_rows > 1)
                rc = bench_ops_of(g, b, &r, e);
        }
    }
    return rc;
}

/* -- opening -- */

static void limit_note(const struct bench *b)
{
    char by[32] = "the device";

    if (on_cpu(b))
        snprintf(by, sizeof by, "%d threads", b->threads);
    tool_note("memory was read at %.1f GB/s at best, by %s", b->limit.best * 1e-9, by);
}

/* Of a device that has a clock of its own. */
static void gap_note(const struct rill_engine *g)
{
    struct rill_stats s;

    rill_engine_stats(g, &s);
    if (s.gap > 0)
        tool_note("between steps that generate the device waited %.1f us; %llu of %llu steps were "
                  "started ahead",
                  s.gap * 1e6, (unsigned long long)s.ahead, (unsigned long long)s.steps);
}

static int bench_threads(struct bench *b, const char *path, int threads, struct err *e)
{
    struct rill_model_opts mo;
    struct rill_engine_opts eo = {.max_seq = b->max_batch, .n_ctx = b->max_ctx};
    struct rill_engine *g = NULL;
    char weights[16];
    int rc = model_opts_of(&running, &mo, e);

    mo.threads = threads;
    mo.n_ctx = b->max_ctx;
    rc = rc < 0 ? rc : rill_model_open(&b->model, path, &mo, e);
    b->threads = threads ? threads : thread_cpus();
    b->limit.model = b->model;
    rc = rc < 0 ? rc : limit_open(&b->limit, threads, e);
    if (rc == 0) {
        if (opt_ops && eo.max_batch < most(&opt_prompt))
            eo.max_batch = most(&opt_prompt);
        rill_model_info(b->model, &b->info);
        tool_note("%s: %s, %s of weights; %s", b->info.name, b->info.arch,
                  tool_bytes(b->info.weight_bytes, weights), b->info.device);
        rc = rill_engine_open(&g, b->model, &eo, e);
    }
    if (rc == 0)
        rc = opt_ops ? bench_ops(g, b, e) : bench_all(g, b, e);
    if (rc == 0)
        limit_note(b);
    if (rc == 0 && g)
        gap_note(g);
    if (rc == 0 && b->limit.best_products > 0)
        tool_note("%.0f G multiplications a second at best, in registers alone",
                  b->limit.best_products * 1e-9);
    rill_engine_close(g);
    limit_close(&b->limit);
    rill_model_close(b->model);
    b->model = NULL;
    return rc;
}

/* "SHAPE:TYPE" to a file that has no name any more once it is open. */
static int make_random(char *path, size_t cap, struct err *e)
{
    const char *colon = strrchr(opt_synthetic, ':'), *tmp = getenv("TMPDIR");
    const size_t n = colon ? (size_t)(colon - opt_synthetic) : strlen(opt_synthetic);
    char *shape = mem_dup(opt_synthetic, n, e);
    struct random_model m = {
        .shape = shape, .type = colon ? colon + 1 : "Q4_0", .stop = tool_interrupted};
    int rc;

    if (!shape)
        return E_NOMEM;
    snprintf(path, cap, "%s/rill-bench-%ld.gguf", tmp && *tmp ? tmp : "/tmp", (long)getpid());
    tool_note("making a random %s of %s", m.type, m.shape);
    rc = random_model_write(path, &m, e);
    mem_free(shape);
    return rc;
}

static int bench_model(struct err *e)
{
    char made[512] = "";
    const char *path = made;
    struct bench b = {.max_batch = most(&opt_batch)};
    int rc = opt_synthetic ? make_random(made, sizeof made, e) : 0;
    const int gen = most(&opt_gen) + most(&opt_depth) + 2, prompt = most(&opt_prompt) + 2;

    if (rc == 0 && !opt_synthetic && !(path = tool_model(opt_model, e)))
        rc = e->code;
    b.max_ctx = gen > prompt ? gen : prompt;
    if (opt_ops)
        b.max_ctx = most(&opt_prompt) + most(&opt_depth) + 2;
    for (int i = 0; i < opt_threads.n && rc == 0 && !tool_interrupted(); i++)
        rc = bench_threads(&b, path, opt_threads.v[i], e);
    if (*made)
        unlink(made);
    return rc;
}

/* Only the vocabulary of the model is opened. */
static int bench_mask(struct err *e)
{
    const char *path = tool_model(opt_model, e);
    struct source *s = NULL;
    struct tok *t = NULL;
    int rc = path ? model_source(&s, path, HF_VOCAB_ONLY, e) : e->code;

    if (rc == 0)
        rc = model_source_vocab(&t, s, e);
    if (rc == 0)
        rc = mask_bench(t, &opt_schemas, opt_json, e);
    tok_free(t);
    if (s)
        source_close(s);
    return rc;
}

/* -- a server -- */

/* Requests of one kind, at random times where a rate is given: each wait is drawn. */
static int make_items(struct load_trace *t, struct err *e)
{
    double at = 0;

    *t = (struct load_trace){.n = (size_t)opt_requests};
    t->item = mem_array(t->n, sizeof *t->item, e);
    for (size_t i = 0; t->item && i < t->n; i++) {
        double u = (double)(rng_bits(1, 2, i, 0) >> 11) * 0x1p-53;

        t->item[i] = (struct load_item){
            .at = at, .n_prompt = opt_prompt.v[0], .n_gen = opt_gen.v[0] ? opt_gen.v[0] : 1};
        at += rate_given ? -log1p(-u) / opt_rate : 0;
    }
    return t->item ? 0 : E_NOMEM;
}

static int put_times(struct figure *f, const char *const names[4], struct load_times *t)
{
    static const double parts[] = {0.5, 0.9, 0.99, 1};

    for (int i = 0; i < 4; i++)
        figure_set(&f[i], names[i], 3, load_quantile(t, parts[i]));
    return 4;
}

/* Bars of each kind of time, at some parts of all of them. */
static void plot_times(const char *what, struct load_times *t)
{
    static const double parts[] = {0.5, 0.75, 0.9, 0.95, 0.99, 1};

    plot_group(plot);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        const double v = load_quantile(t, parts[i]);
        char label[80], note[48];

        snprintf(label, sizeof label, "%s, %g %%", what, parts[i] * 100);
        snprintf(note, sizeof note, v < 10 ? "%.2f ms" : "%.0f ms", v);
        plot_add(plot, label, note, v);
    }
}

static void plot_load(struct load_result *r)
{
    char note[48];

    snprintf(note, sizeof note, "%.1f tokens/s, %.2f requests/s", (double)r->tokens / r->seconds,
             (double)r->done / r->seconds);
    plot_add(plot, "all together", note, (double)r->tokens / r->seconds);
    plot_times("first token", &r->first);
    plot_times("between tokens", &r->between);
    plot_times("whole answer", &r->total);
}

static void print_load(struct load_result *r)
{
    static const char *const names[3][4] = {
        {"ttft_ms_p50", "ttft_ms_p90", "ttft_ms_p99", "ttft_ms_max"},
        {"itl_ms_p50", "itl_ms_p90", "itl_ms_p99", "itl_ms_max"},
        {"total_ms_p50", "total_ms_p90", "total_ms_p99", "total_ms_max"}};
    struct figure f[24];
    int n = 0;

    figure_words(&f[n++], "test", "url");
    figure_words(&f[n++], "load", opt_trace ? "trace" : rate_given ? "open" : "closed");
    figure_set(&f[n++], "at_once", 0, opt_trace || rate_given ? 0 : opt_at_once);
    figure_set(&f[n++], "rate", 3, rate_given ? opt_rate : 0);
    figure_set(&f[n++], "requests", 0, (double)r->done);
    figure_set(&f[n++], "failed", 0, (double)r->failed);
    figure_set(&f[n++], "seconds", 3, r->seconds);
    figure_set(&f[n++], "requests_s", 3, (double)r->done / r->seconds);
    figure_set(&f[n++], "prompt_tokens", 0, (double)r->prompt_tokens);
    figure_set(&f[n++], "tokens", 0, (double)r->tokens);
    figure_set(&f[n++], "tok_s", 2, (double)r->tokens / r->seconds);
    n += put_times(f + n, names[0], &r->first);
    n += put_times(f + n, names[1], &r->between);
    n += put_times(f + n, names[2], &r->total);
    if (form != FIGURES_TABLE) {
        figures_print(form, f, n, true);
        return;
    }
    for (int i = 2; i < n; i++)
        printf("%-14s %s\n", f[i].name, f[i].text);
}

static int bench_url(struct err *e)
{
    struct load_opts o = {.url = opt_url,
                          .model = opt_url_model,
                          .key = getenv("OPENAI_API_KEY"),
                          .at_once = opt_trace || rate_given ? 0 : opt_at_once,
                          .to_end = opt_to_end,
                          .seconds = opt_limit};
    struct load_result r = {0};
    struct load_trace t;
    int rc = opt_trace ? load_trace_read(&t, opt_trace, opt_speed, (size_t)opt_requests, e)
                       : make_items(&t, e);

    if (rc < 0)
        return rc;
    o.item = t.item;
    o.n = t.n;
    rc = load_run(&r, &o, tool_interrupted, e);
    if (rc == 0)
        print_load(&r);
    if (rc == 0 && plot)
        plot_load(&r);
    if (rc == 0 && r.failed)
        tool_warn("%zu requests failed, the first one: %s", r.failed, r.why);
    load_fini(&r);
    load_trace_free(&t);
    return rc;
}

/* What options exclude each other. */
static void check_options(void)
{
    if (opt_json + opt_tsv + opt_csv + opt_markdown > 1)
        tool_usage("-j, --tsv, --csv and --markdown exclude each other");
    if (opt_mask != (opt_schemas.n > 0))
        tool_usage("--mask and --schemas go together");
    if (opt_shared && !opt_ops)
        tool_usage("--shared goes with --ops only");
    if (opt_mask && (opt_ops || opt_stream || opt_synthetic || opt_tsv || opt_csv || opt_markdown))
        tool_usage("--mask goes with -m, --schemas and -j only");
    if (opt_stream && (opt_ops || model_given || opt_synthetic))
        tool_usage("--stream measures memory alone: no model, no --ops");
    if (model_given && opt_synthetic)
        tool_usage("-m and --synthetic exclude each other");
    if ((opt_baseline || opt_plot) && (opt_mask || opt_stream || opt_ops))
        tool_usage("--baseline and --plot are of prompts and generation only");
    if (opt_url &&
        (opt_mask || opt_stream || opt_ops || opt_synthetic || model_given || opt_baseline))
        tool_usage("--url goes with -p, -n, its own options and those of output only");
    if (!opt_url && (opt_url_model || opt_trace || rate_given || opt_to_end))
        tool_usage("--url-model, --trace, --rate and --to-end need --url");
    if (opt_trace && rate_given)
        tool_usage("--trace and --rate exclude each other");
    if (fail_given && !opt_baseline)
        tool_usage("--fail-below needs --baseline");
}

static int bench(struct err *e)
{
    int rc = opt_baseline ? baseline_open(&before, opt_baseline, e) : 0;

    if (rc == 0 && opt_plot)
        rc = plot_open(&plot, e);
    if (rc == 0)
        rc = opt_url      ? bench_url(e)
             : opt_mask   ? bench_mask(e)
             : opt_stream ? bench_stream(e)
                          : bench_model(e);
    if (rc == 0 && plot)
        rc = plot_write(plot,
                        opt_url         ? opt_url
                        : opt_synthetic ? opt_synthetic
                        : opt_model     ? opt_model
                                        : "rill-bench",
                        opt_plot, e);
    plot_close(plot);
    baseline_close(before);
    return rc;
}

int main(int argc, char **argv)
{
    struct err e = {0};
    char line[160];
    int rc;

    if (tool_begin(&tool, argc, argv) != argc)
        tool_usage("no operands are taken");
    check_options();
    form = opt_json       ? FIGURES_JSON
           : opt_tsv      ? FIGURES_TSV
           : opt_csv      ? FIGURES_CSV
           : opt_markdown ? FIGURES_MARKDOWN
                          : FIGURES_TABLE;
    if (opt_list) {
        for (size_t i = 0; random_shape(i, line, sizeof line); i++)
            puts(line);
        return tool_end(0);
    }
    rc = bench(&e);
    opt_list_fini(&opt_schemas);
    return tool_end(rc < 0 ? tool_fail(&e) : below ? 1 : 0);
}
