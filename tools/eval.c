/* eval.c - rill-eval: how well a model predicts a text.
 *
 * Perplexity as the field measures it, the same line by line, the divergence from a stored
 * reference, multiple-choice questions, and importance matrices.
 */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/mem.h"
#include "file/imatrix.h"
#include "rill.h"
#include "tools/lib/model_opts.h"
#include "tools/lib/tool.h"

#define REF_MAGIC "_logits_"

enum {
    EVENTS = 64,
    LOGITS_BYTES = 128 << 20, // of the rows of logits that a step may give
};

/* -- options -- */

static const char *text_path, *save_path, *kl_path, *choices_path, *imatrix_path;
static const char *merge_path;
static bool per_line, per_token, json;
static int n_ctx, stride, max_chunks;
static struct model_options running;

static const struct tool_option opts[] = {
    MODEL_OPTION(running),
    {'f', "file", OPT_STR, &text_path, "FILE", "the text, instead of standard input"},
    {'c', "ctx", OPT_INT, &n_ctx, "N", "tokens of a chunk", .min = 8, .max = 1e6, .def = "512"},
    {0, "stride", OPT_INT, &stride, "N", "tokens from one chunk to the next (as many as it has)",
     .min = 1, .max = 1e6},
    {0, "chunks", OPT_INT, &max_chunks, "N", "as many chunks at most", .min = 1, .max = 1e9},
    {0, "per-token", OPT_FLAG, &per_token, 0,
     "a line for each token scored (also with --kl), figures of all on standard error"},
    {0, "per-line", OPT_FLAG, &per_line, 0, "each line by itself: nats per token, tokens",
     .group = "What to measure instead of perplexity"},
    {0, "kl", OPT_STR, &kl_path, "FILE", "the divergence from a stored reference"},
    {0, "save-logits", OPT_STR, &save_path, "FILE", "also store that reference"},
    {0, "choices", OPT_STR, &choices_path, "FILE", "multiple-choice questions (JSON lines)"},
    {0, "imatrix", OPT_STR, &imatrix_path, "FILE", "write an importance matrix of the text"},
    {0, "merge-imatrix", OPT_STR, &merge_path, "FILE", "write the sum of those named"},
    MODEL_RUNNING(running),
    {'j', "json", OPT_FLAG, &json, 0, "print JSON objects"},
    {0}};

static struct tool tool = {"rill-eval", "[-m MODEL] [-f FILE] [options]",
                           "measures how well a model predicts a text", opts};

/* -- running -- */

struct eval {
    struct rill_model *model;
    struct rill_engine *engine;
    struct rill_model_info info;
    int32_t *ids; // [n] of the text
    size_t n;
};

typedef int row_fn(void *arg, int request, int pos, const float *logits, struct err *e);

/* Runs what was submitted; fn gets the logits behind each row. */
static int drain(struct eval *v, row_fn *fn, void *arg, struct err *e)
{
    struct rill_event ev[EVENTS];
    int n, rc = 0;

    while ((n = rill_engine_step(v->engine, ev, EVENTS, e)) > 0)
        for (int i = 0; i < n && rc == 0; i++) {
            if (ev[i].kind == RILL_LOGITS)
                rc = fn(arg, ev[i].request, ev[i].pos, ev[i].logits, e);
            if (ev[i].kind == RILL_DONE && ev[i].finish == RILL_FAILED)
                rc = err_set(e, ev[i].code, "%s", ev[i].message);
            if (rc == 0 && tool_interrupted())
                rc = err_set(e, E_CANCELLED, "interrupted");
        }
    return n < 0 ? n : rc;
}

/* The logits behind rows first and later are wanted. */
static int submit(struct eval *v, const int32_t *ids, size_t n, int first, int *number,
                  struct err *e)
{
    struct rill_request r = {.ids = ids,
                             .n_ids = n,
                             .max_tokens = 1,
                             .ignore_eos = true,
                             .prompt_logits = true,
                             .logits_from = first,
                             .sampling = rill_sampling_defaults()};

    r.sampling.temperature = 0.0f;
    return rill_engine_submit(v->engine, &r, number, e);
}

/* log of the sum of e^logit, and the largest logit. */
static double log_sum(const float *logits, int n, float *top)
{
    double sum = 0.0;

    *top = logits[0];
    for (int i = 1; i < n; i++)
        *top = logits[i] > *top ? logits[i] : *top;
    for (int i = 0; i < n; i++)
        sum += (double)expf(logits[i] - *top);
    return (double)*top + log(sum);
}

/* -- the divergence from a reference --
 *
 * The file is the field's: "_logits_", the tokens of a chunk, of the vocabulary, of chunks (32
 * bits each), the tokens, then for each scored row two floats, scale and least, and a 16-bit number
 * per token: log p = scale * number + least. Rows are padded to an even number of tokens. */

struct reference {
    FILE *f;              // read from
    struct file_out *out; // or written to
    uint16_t *row;        // as it lies in the file
    float *now;           // the model's own log p
    double *kl;           // [cap] of the rows scored
    size_t n, cap;
    double base_nll;
    double last_nll; // of the row scored last
    bool last_same;
    uint64_t same_top;
};

static size_t row_words(int n_vocab)
{
    return 4 + (size_t)(n_vocab + 1) / 2 * 2;
}

static int save_row(struct reference *r, const float *logits, int n, double norm, float top,
                    struct err *e)
{
    float low = top, scale, least;

    for (int i = 0; i < n; i++)
        low = logits[i] < low ? logits[i] : low;
    low = low < top - 16.0f ? top - 16.0f : low;
    scale = (top - low) / 65535.0f;
    least = (float)((double)low - norm);
    memset(r->row, 0, row_words(n) * sizeof *r->row);
    memcpy(r->row, &scale, 4);
    memcpy(r->row + 2, &least, 4);
    for (int i = 0; i < n && scale > 0.0f; i++)
        r->row[4 + i] = logits[i] > low ? (uint16_t)lrintf((logits[i] - low) / scale) : 0;
    return file_write(r->out, r->row, row_words(n) * sizeof *r->row, e);
}

static int compare_row(struct reference *r, const float *logits, int n, double norm, int32_t next,
                       struct err *e)
{
    float scale, least;
    double kl = 0.0;
    int mine = 0, theirs = 0;

    if (fread(r->row, sizeof *r->row, row_words(n), r->f) != row_words(n))
        return err_set(e, E_FORMAT, "%s: the file ends early", kl_path);
    memcpy(&scale, r->row, 4);
    memcpy(&least, r->row + 2, 4);
    for (int i = 0; i < n; i++) {
        double p = (double)scale * r->row[4 + i] + (double)least;

        if (p > -16.0)
            kl += exp(p) * (p - (double)logits[i] + norm);
        mine = logits[i] > logits[mine] ? i : mine;
        theirs = r->row[4 + i] > r->row[4 + theirs] ? i : theirs;
    }
    if (r->n == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 4096;
        double *p = mem_resize(r->kl, r->cap, cap, sizeof *p, e);

        if (!p)
            return E_NOMEM;
        r->kl = p;
        r->cap = cap;
    }
    r->kl[r->n++] = kl;
    r->last_same = mine == theirs;
    r->last_nll = -((double)scale * r->row[4 + next] + (double)least);
    r->same_top += r->last_same;
    r->base_nll += r->last_nll;
    return 0;
}

static int up(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The figures of all; where each token has a line, they are talk. */
static void print_kl(struct reference *r, double nll)
{
    double sum = 0.0, n = (double)r->n;

    for (size_t i = 0; i < r->n; i++)
        sum += r->kl[i];
    qsort(r->kl, r->n, sizeof *r->kl, up);
    double base = exp(r->base_nll / n), same = 100.0 * (double)r->same_top / n;
    double median = r->kl[r->n / 2], p99 = r->kl[(size_t)(0.99 * (n - 1.0))];

    if (json)
        printf("{\"kl_mean\":%.6g,\"kl_median\":%.6g,\"kl_p99\":%.6g,\"kl_max\":%.6g,"
               "\"same_top_pct\":%.3f,\"ppl\":%.6g,\"ppl_reference\":%.6g,\"tokens\":%zu}\n",
               sum / n, median, p99, r->kl[r->n - 1], same, exp(nll / n), base, r->n);
    else
        fprintf(per_token ? stderr : stdout,
                "divergence: mean %.6f, median %.6f, 99%% %.6f, largest %.6f\n"
                "same likeliest token: %.3f %%\n"
                "perplexity: %.4f, reference %.4f, ratio %.6f\n",
                sum / n, median, p99, r->kl[r->n - 1], same, exp(nll / n), base,
                exp(nll / n) / base);
}

/* -- perplexity -- */

struct score {
    struct eval *v;
    const int32_t *ids; // of the chunk
    size_t chunk;
    int first, last;  // rows scored: [first, last)
    double nll, nll2; // sums over rows
    uint64_t n;
    struct reference *save, *kl;
};

/* A scored token: chunk, position, id, text, nats; with a reference its divergence, the
 * reference's nats, and whether both found the same token likeliest. */
static int print_token(const struct score *s, int pos, double nll, struct err *e)
{
    static const char *const names[] = {"chunk", "pos", "id", "text", "nats"};
    const struct reference *r = s->kl;
    struct buf b = {0};
    size_t n;
    const char *piece = rill_piece(s->v->model, s->ids[pos], true, &n);

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (json)
            buf_printf(&b, "%s\"%s\":", i ? "," : "{", names[i]);
        else
            buf_str(&b, i ? "\t" : "");
        if (i == 3)
            buf_json(&b, (struct slice){piece, n});
        else if (i == 4)
            buf_printf(&b, "%.6g", nll);
        else
            buf_printf(&b, "%d", i == 0 ? (int)s->chunk : i == 1 ? pos : s->ids[pos]);
    }
    if (r)
        buf_printf(
            &b, json ? ",\"kl\":%.6g,\"nats_reference\":%.6g,\"same_top\":%s" : "\t%.6g\t%.6g\t%s",
            r->kl[r->n - 1], r->last_nll,
            json           ? r->last_same ? "true" : "false"
            : r->last_same ? "yes"
                           : "no");
    buf_str(&b, json ? "}\n" : "\n");
    if (!b.bad)
        fwrite(b.p, 1, b.n, stdout);
    n = b.n;
    if (b.bad)
        return buf_fini(&b), err_nomem(e, n);
    buf_fini(&b);
    return 0;
}

static int score_row(void *arg, int request, int pos, const float *logits, struct err *e)
{
    struct score *s = arg;
    int n = s->v->info.n_vocab, rc = 0;
    float top;
    double norm, nll;

    (void)request;
    if (pos < s->first || pos >= s->last)
        return 0;
    norm = log_sum(logits, n, &top);
    nll = norm - (double)logits[s->ids[pos + 1]];
    if (!isfinite(nll))
        return err_set(e, E_NUMERIC, "position %d: the logits are no numbers", pos);
    s->nll += nll;
    s->nll2 += nll * nll;
    s->n++;
    if (s->save)
        rc = save_row(s->save, logits, n, norm, top, e);
    if (rc == 0 && s->kl)
        rc = compare_row(s->kl, logits, n, norm, s->ids[pos + 1], e);
    return rc == 0 && per_token ? print_token(s, pos + 1, nll, e) : rc;
}

/* One chunk: its first token becomes BOS where the model wants one; the last is only predicted,
 * unless its row counts for an importance matrix. */
static int score_chunk(struct score *s, const int32_t *ids, int n, struct err *e)
{
    int32_t *copy = mem_dup(ids, (size_t)n * sizeof *ids, e);
    int rc, number;

    if (!copy)
        return E_NOMEM;
    if (s->v->n && s->v->ids[0] == rill_bos(s->v->model))
        copy[0] = s->v->ids[0];
    s->ids = copy;
    if ((rc = submit(s->v, copy, (size_t)n - (imatrix_path ? 0 : 1), imatrix_path ? 0 : s->first,
                     &number, e)) == 0)
        rc = drain(s->v, score_row, s, e);
    mem_free(copy);
    return rc;
}

static void print_ppl(const struct score *s, size_t chunks)
{
    double n = (double)s->n, mean = s->nll / n;
    double var = s->nll2 / n - mean * mean, ppl = exp(mean);
    double error = s->n > 1 && var > 0.0 ? ppl * sqrt(var / (n - 1.0)) : 0.0;

    if (json)
        printf("{\"ppl\":%.6g,\"stderr\":%.6g,\"nats_per_token\":%.6g,\"tokens\":%llu,"
               "\"chunks\":%zu,\"n_ctx\":%d}\n",
               ppl, error, mean, (unsigned long long)s->n, chunks, n_ctx);
    else
        fprintf(per_token ? stderr : stdout,
                "perplexity: %.4f +- %.4f (%llu tokens scored in %zu chunks of %d)\n", ppl, error,
                (unsigned long long)s->n, chunks, n_ctx);
}

static size_t count_chunks(const struct eval *v)
{
    size_t step = (size_t)(stride ? stride : n_ctx);
    size_t n = v->n < (size_t)n_ctx ? 0 : (v->n - (size_t)n_ctx) / step + 1;

    return max_chunks && n > (size_t)max_chunks ? (size_t)max_chunks : n;
}

static int put_head(struct eval *v, struct file_out *f, size_t chunks, struct err *e)
{
    uint32_t head[3] = {(uint32_t)n_ctx, (uint32_t)v->info.n_vocab, (uint32_t)chunks};
    int rc = file_write(f, REF_MAGIC, 8, e);

    if (rc == 0)
        rc = file_write(f, head, sizeof head, e);
    return rc < 0 ? rc : file_write(f, v->ids, chunks * (size_t)n_ctx * sizeof *v->ids, e);
}

/* The reference says what was read: its tokens are taken instead of a text. */
static int get_head(struct eval *v, FILE *f, size_t *chunks, struct err *e)
{
    char magic[8];
    uint32_t head[3];
    size_t n;

    if (fread(magic, 1, 8, f) != 8 || memcmp(magic, REF_MAGIC, 8) != 0 ||
        fread(head, 4, 3, f) != 3 || head[0] < 8 || head[0] > 1000000 || head[2] == 0 ||
        head[2] > 10000000)
        return err_set(e, E_FORMAT, "%s: no stored reference", kl_path);
    if ((int)head[1] != v->info.n_vocab)
        return err_set(e, E_FORMAT, "%s: %u tokens in its vocabulary, the model has %d", kl_path,
                       head[1], v->info.n_vocab);
    if ((int)head[0] != n_ctx)
        return err_set(e, E_FORMAT, "%s: made with chunks of %u tokens (-c %u)", kl_path, head[0],
                       head[0]);
    n = (size_t)head[0] * head[2];
    rill_free(v->ids);
    if (!(v->ids = mem_array(n, sizeof *v->ids, e)))
        return E_NOMEM;
    if (fread(v->ids, 4, n, f) != n)
        return err_set(e, E_FORMAT, "%s: the file ends early", kl_path);
    for (size_t i = 0; i < n; i++)
        if (v->ids[i] < 0 || v->ids[i] >= v->info.n_vocab)
            return err_set(e, E_FORMAT, "%s: token %d of %d", kl_path, v->ids[i], v->info.n_vocab);
    v->n = n;
    *chunks = max_chunks && head[2] > (uint32_t)max_chunks ? (size_t)max_chunks : head[2];
    return 0;
}

static int read_reference(struct reference *r, int n_vocab, struct err *e)
{
    if (!(r->f = fopen(kl_path, "rb")))
        return err_set(e, E_NOTFOUND, "%s: cannot open", kl_path);
    r->row = mem_array(row_words(n_vocab), sizeof *r->row, e);
    return r->row ? 0 : E_NOMEM;
}

static int write_reference(struct reference *r, int n_vocab, struct err *e)
{
    r->row = mem_array(row_words(n_vocab), sizeof *r->row, e);
    return r->row ? file_create(&r->out, save_path, e) : E_NOMEM;
}

static void reference_fini(struct reference *r)
{
    if (r->f)
        fclose(r->f);
    file_abort(r->out);
    mem_free(r->row);
    mem_free(r->kl);
}

static int run_chunks(struct eval *v, struct score *s, size_t chunks, struct err *e)
{
    struct progress bar;
    int rc = 0;

    s->v = v;
    s->first = n_ctx / 2;
    s->last = n_ctx - 1;
    progress_begin(&bar, "chunks", chunks, false);
    for (size_t i = 0; i < chunks && rc == 0; i++) {
        s->chunk = i;
        rc = score_chunk(s, v->ids + i * (size_t)(stride ? stride : n_ctx), n_ctx, e);
        progress_at(&bar, i + 1);
    }
    progress_end(&bar);
    return rc;
}

static int perplexity(struct eval *v, struct err *e)
{
    struct reference save = {0}, kl = {0};
    struct score s = {0};
    size_t chunks = count_chunks(v);
    int rc = 0;

    if (kl_path && (rc = read_reference(&kl, v->info.n_vocab, e)) == 0)
        rc = get_head(v, kl.f, &chunks, e);
    if (rc == 0 && chunks == 0)
        rc = err_set(e, E_RANGE, "the text has %zu tokens, fewer than a chunk of %d (-c)", v->n,
                     n_ctx);
    if (rc == 0 && save_path && (rc = write_reference(&save, v->info.n_vocab, e)) == 0)
        rc = put_head(v, save.out, chunks, e);
    s.save = save.out ? &save : NULL;
    s.kl = kl.f ? &kl : NULL;
    if (rc == 0 && (rc = run_chunks(v, &s, chunks, e)) == 0) {
        if (s.kl)
            print_kl(&kl, s.nll);
        else
            print_ppl(&s, chunks);
    }
    if (rc == 0 && save.out) {
        rc = file_commit(save.out, e);
        save.out = NULL;
    }
    reference_fini(&kl);
    reference_fini(&save);
    return rc;
}

/* -- line by line -- */

static int score_text(struct score *s, const char *p, size_t n, struct err *e)
{
    int32_t *ids = NULL;
    size_t n_ids = 0;
    int number, rc = rill_tokenize(s->v->model, p, n, RILL_ADD_SPECIAL, &ids, &n_ids, e);

    s->nll = s->nll2 = 0.0;
    s->n = 0;
    s->ids = ids;
    s->first = 0;
    s->last = (int)n_ids - 1;
    if (rc == 0 && n_ids > 1 && (rc = submit(s->v, ids, n_ids - 1, 0, &number, e)) == 0)
        rc = drain(s->v, score_row, s, e);
    rill_free(ids);
    return rc;
}

static int lines(struct eval *v, int fd, struct err *e)
{
    struct records in = {.kind = RECORD_LINES, .fd = fd};
    struct score s = {.v = v};
    struct slice line;
    int rc;

    while ((rc = records_next(&in, &line, e)) > 0) {
        if ((rc = score_text(&s, line.p, line.n, e)) < 0)
            break;
        double mean = s.n ? s.nll / (double)s.n : 0.0;

        printf(json ? "{\"nats_per_token\":%.6f,\"tokens\":%llu}\n" : "%.6f\t%llu\n", mean,
               (unsigned long long)s.n);
    }
    records_fini(&in);
    return rc;
}

/* -- questions -- */

/* {"ctx" | "context" | "question": text, "endings" | "choices": [text...], "label" | "answer": n}
 */
static int read_question(json_t *q, const char **context, json_t **endings, int *label)
{
    static const char *const names[3][3] = {
        {"ctx", "context", "question"}, {"endings", "choices", NULL}, {"label", "answer", NULL}};
    json_t *v[3] = {NULL, NULL, NULL};

    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3 && names[i][k] && !v[i]; k++)
            v[i] = json_object_get(q, names[i][k]);
    *context = json_string_value(v[0]);
    *endings = v[1];
    *label = json_is_string(v[2]) && json_string_length(v[2]) == 1
                 ? json_string_value(v[2])[0] - '0'
                 : (int)json_integer_value(v[2]);
    return *context && v[2] && json_is_array(v[1]) && json_array_size(v[1]) > 1 && *label >= 0 &&
                   (size_t)*label < json_array_size(v[1])
               ? 0
               : -1;
}

/* The log-probability of an ending behind its context: all tokens in which the texts differ. */
static int score_ending(struct score *s, const char *context, const char *ending, double *sum,
                        double *mean, struct err *e)
{
    struct buf text = {0};
    int32_t *a = NULL, *b = NULL;
    size_t na = 0, nb = 0, same = 0;
    int rc, number;

    buf_printf(&text, "%s%s%s", context,
               *ending == ' ' || (*context && context[strlen(context) - 1] == ' ') ? "" : " ",
               ending);
    if (text.bad)
        return err_nomem(e, text.n);
    rc = rill_tokenize(s->v->model, context, strlen(context), RILL_ADD_SPECIAL, &a, &na, e);
    if (rc == 0)
        rc = rill_tokenize(s->v->model, text.p, text.n, RILL_ADD_SPECIAL, &b, &nb, e);
    while (rc == 0 && same < na && same < nb && a[same] == b[same])
        same++;
    s->nll = s->nll2 = 0.0;
    s->n = 0;
    s->ids = b;
    s->first = same ? (int)same - 1 : 0;
    s->last = (int)nb - 1;
    if (rc == 0 && nb > 1 && (rc = submit(s->v, b, nb - 1, s->first, &number, e)) == 0)
        rc = drain(s->v, score_row, s, e);
    *sum = -s->nll;
    *mean = s->n ? -s->nll / (double)s->n : -INFINITY;
    rill_free(a);
    rill_free(b);
    buf_fini(&text);
    return rc;
}

static int ask(struct score *s, json_t *q, size_t line, bool right[2], struct err *e)
{
    const char *context;
    json_t *endings;
    int label, rc = 0, best[2] = {0, 0};
    double most[2] = {-INFINITY, -INFINITY};

    if (read_question(q, &context, &endings, &label) < 0)
        return err_set(e, E_FORMAT, "%s: line %zu: no ctx, endings and label", choices_path, line);
    for (size_t i = 0; i < json_array_size(endings) && rc == 0; i++) {
        const char *ending = json_string_value(json_array_get(endings, i));
        double score[2] = {0.0, 0.0};

        if (!ending)
            return err_set(e, E_FORMAT, "%s: line %zu: an ending is no text", choices_path, line);
        rc = score_ending(s, context, ending, &score[0], &score[1], e);
        for (int k = 0; k < 2; k++)
            if (score[k] > most[k]) {
                most[k] = score[k];
                best[k] = (int)i;
            }
    }
    right[0] = best[0] == label;
    right[1] = best[1] == label;
    return rc;
}

static int questions(struct eval *v, struct err *e)
{
    FILE *f = fopen(choices_path, "rb");
    struct records in = {.kind = RECORD_LINES, .fd = f ? fileno(f) : -1};
    struct score s = {.v = v};
    size_t line = 0, n = 0, right[2] = {0, 0};
    struct slice text;
    int rc = 0;

    if (!f)
        return err_set(e, E_NOTFOUND, "%s: cannot open", choices_path);
    while (rc >= 0 && (rc = records_next(&in, &text, e)) > 0) {
        json_t *q = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
        bool ok[2] = {false, false};

        line++;
        if (text.n == 0)
            continue;
        rc = q ? ask(&s, q, line, ok, e)
               : err_set(e, E_FORMAT, "%s: line %zu: no JSON", choices_path, line);
        json_decref(q);
        n++;
        right[0] += ok[0];
        right[1] += ok[1];
    }
    records_fini(&in);
    fclose(f);
    if (rc == 0 && n == 0)
        rc = err_set(e, E_FORMAT, "%s: no questions", choices_path);
    if (rc == 0)
        printf(json ? "{\"accuracy\":%.4f,\"accuracy_norm\":%.4f,\"questions\":%zu}\n"
                    : "right: %.2f %% by sum, %.2f %% by mean of token (%zu questions)\n",
               (json ? 1.0 : 100.0) * (double)right[0] / (double)n,
               (json ? 1.0 : 100.0) * (double)right[1] / (double)n, n);
    return rc;
}

/* -- importance matrices -- */

struct collect {
    struct imatrix *im;
    struct err e;
};

static void add_columns(void *arg, const char *weight, int n, int which, int cols, const float *x)
{
    struct collect *c = arg;
    struct imatrix_entry *m;
    float *sum;

    if (c->e.code ||
        imatrix_add(c->im, slice_of(weight), (uint32_t)cols, (uint32_t)n, &m, &c->e) < 0)
        return;
    sum = m->sum + (size_t)which * (size_t)cols;
    for (int i = 0; i < cols; i++)
        sum[i] += x[i] * x[i];
    m->count[which] += 1.0f;
}

static int importance(struct eval *v, struct err *e)
{
    struct collect c = {0};
    struct score s = {0};
    size_t chunks = count_chunks(v);
    int rc = imatrix_new(&c.im, e);

    if (rc == 0 && chunks == 0)
        rc = err_set(e, E_RANGE, "the text has %zu tokens, fewer than a chunk of %d (-c)", v->n,
                     n_ctx);
    if (rc == 0 && (rc = rill_engine_columns(v->engine, add_columns, &c, e)) == 0)
        rc = run_chunks(v, &s, chunks, e);
    if (rc == 0 && c.e.code)
        rc = err_set(e, c.e.code, "%s", c.e.text);
    if (rc == 0 &&
        (rc = imatrix_add_dataset(c.im, slice_of(text_path ? text_path : "-"), e)) == 0) {
        c.im->chunks = (uint32_t)chunks;
        c.im->chunk_size = (uint32_t)n_ctx;
        rc = imatrix_save(c.im, imatrix_path, e);
    }
    if (rc == 0)
        print_ppl(&s, chunks);
    imatrix_free(c.im);
    return rc;
}

static int merge(char **path, int n, struct err *e)
{
    struct imatrix *sum = NULL, *one = NULL;
    int rc = imatrix_new(&sum, e);

    for (int i = 0; i < n && rc == 0; i++) {
        if ((rc = imatrix_open(&one, path[i], e)) == 0 && (rc = imatrix_merge(sum, one, e)) < 0)
            rc = err_prefix(e, path[i]);
        imatrix_free(one);
        one = NULL;
    }
    if (rc == 0)
        rc = imatrix_save(sum, merge_path, e);
    imatrix_free(sum);
    return rc;
}

/* -- the tool -- */

static int open_model(struct eval *v, struct err *e)
{
    struct rill_model_opts o;
    struct rill_engine_opts g = {
        .max_seq = 1, .max_batch = n_ctx < 512 ? n_ctx : 512, .no_cache = true};
    const char *path = tool_model(running.model, e);
    int rc = model_opts_of(&running, &o, e);

    if (rc < 0)
        return rc;
    if (!path)
        return e->code;
    if (imatrix_path && setenv("RILL_NOFUSE", "1", 1) != 0)
        return err_nomem(e, 16); /* fused matrices have no name of their own */
    if ((rc = rill_model_open(&v->model, path, &o, e)) < 0)
        return rc;
    rill_model_info(v->model, &v->info);
    if (v->info.n_vocab > 0)
        g.max_logits = LOGITS_BYTES / 4 / v->info.n_vocab;
    if (g.max_logits > g.max_batch)
        g.max_logits = g.max_batch;
    return rill_engine_open(&v->engine, v->model, &g, e);
}

static int read_text(struct eval *v, struct err *e)
{
    struct file_view text = {0};
    int rc = file_read(&text, text_path ? text_path : "-", 0, e);

    if (rc == 0)
        rc = rill_tokenize(v->model, (const char *)text.p, text.n, RILL_ADD_SPECIAL, &v->ids, &v->n,
                           e);
    file_unmap(&text);
    return rc;
}

static int run(struct err *e)
{
    struct eval v = {0};
    int rc = open_model(&v, e);
    FILE *f = NULL;

    if (rc == 0 && per_line) {
        f = text_path ? fopen(text_path, "rb") : stdin;
        rc = f ? lines(&v, fileno(f), e) : err_set(e, E_NOTFOUND, "%s: cannot open", text_path);
        if (f && f != stdin)
            fclose(f);
    } else if (rc == 0 && choices_path) {
        rc = questions(&v, e);
    } else if (rc == 0) {
        if (!kl_path)
            rc = read_text(&v, e);
        if (rc == 0)
            rc = imatrix_path ? importance(&v, e) : perplexity(&v, e);
    }
    rill_free(v.ids);
    rill_engine_close(v.engine);
    rill_model_close(v.model);
    return rc;
}

int main(int argc, char **argv)
{
    struct err e = {0};
    int first = tool_begin(&tool, argc, argv), rc;

    if (per_line + (kl_path != NULL) + (choices_path != NULL) + (imatrix_path != NULL) +
            (merge_path != NULL) >
        1)
        tool_usage("--per-line, --kl, --choices, --imatrix and --merge-imatrix exclude each other");
    if (per_token && (per_line || choices_path || merge_path || imatrix_path))
        tool_usage("--per-token goes with perplexity and --kl");
    if (save_path && (per_line || choices_path || imatrix_path || merge_path || stride))
        tool_usage("--save-logits goes with perplexity over whole chunks only");
    if (stride && (per_line || choices_path || merge_path || kl_path))
        tool_usage("--stride goes with perplexity and --imatrix");
    if (!merge_path && first < argc)
        tool_usage("unexpected argument '%s' (a text is named with -f)", argv[first]);
    if (merge_path && first == argc)
        tool_usage("--merge-imatrix: expected the files to add up");
    rc = merge_path ? merge(argv + first, argc - first, &e) : run(&e);
    return tool_end(rc < 0 ? tool_fail(&e) : 0);
}
