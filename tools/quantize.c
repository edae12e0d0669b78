/* quantize.c - rill-quantize: a model's weights in smaller formats.
 *
 * Reads and writes tensor by tensor, rows dealt to a team, so that memory stays small whatever the
 * model's size. The bytes written depend on neither the number of threads nor the machine.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <math.h>
#include <pcre2.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/thread.h"
#include "file/imatrix.h"
#include "file/source.h"
#include "kernels/encode.h"
#include "model/hfdir.h"
#include "quant/recipe.h"
#include "tools/lib/setkey.h"
#include "tools/lib/tool.h"

enum { BATCH_WEIGHTS = 1 << 20, QUANT_VERSION = 2 };

/* -- options -- */

static const char *imatrix_path;
static struct opt_list patterns, overrides;
static int output_fmt = FMT_COPY, embedding_fmt = FMT_COPY;
static bool pure, leave_output, allow_requantize, keep_split, dry_run, list, json, tsv;
static int threads;

static int option_fmt(void *out, const char *value, struct err *e);

static const struct tool_option opts[] = {
    {0, "imatrix", OPT_STR, &imatrix_path, "FILE",
     "how much each column counts (rill-eval makes it)"},
    {0, "tensor-type", OPT_LIST, &patterns, "REGEX=TYPE",
     "the type of tensors whose name matches; the first that does decides"},
    {0, "output-tensor-type", OPT_CALL, &output_fmt, "TYPE", "the type of output.weight",
     .call = option_fmt},
    {0, "token-embedding-type", OPT_CALL, &embedding_fmt, "TYPE", "the type of token_embd.weight",
     .call = option_fmt},
    {0, "pure", OPT_FLAG, &pure, 0, "the same type for all tensors, no mix"},
    {0, "leave-output", OPT_FLAG, &leave_output, 0, "output.weight stays as it is"},
    {0, "allow-requantize", OPT_FLAG, &allow_requantize, 0,
     "take weights that are quantized already"},
    {0, "keep-split", OPT_FLAG, &keep_split, 0, "as many files as the input has"},
    {0, "override-kv", OPT_LIST, &overrides, "KEY=TYPE:VALUE",
     "set metadata; TYPE is int, float, bool or str"},
    {'t', "threads", OPT_INT, &threads, "N", "threads (all processors)", .min = 1, .max = 1024},
    {0, "dry-run", OPT_FLAG, &dry_run, 0, "print what each tensor would become, write nothing",
     .group = "Instead of quantizing"},
    {0, "list", OPT_FLAG, &list, 0, "print the types, with bits per weight"},
    {0, "tsv", OPT_FLAG, &tsv, 0, "print columns separated by tabs"},
    {'j', "json", OPT_FLAG, &json, 0, "print one JSON object per line"},
    {0}};

static struct tool tool = {"rill-quantize", "[options] IN OUT TYPE",
                           "writes a model's weights in smaller formats", opts};

/* -- types by name -- */

/* E_USAGE with the nearest of the names at(i) gives until NULL. */
static int unknown_type(const char *name, const char *(*at)(size_t i), struct err *e)
{
    const char *names[64];
    int n = 0, near;

    while (n < 64 && (names[n] = at((size_t)n)) != NULL)
        n++;
    near = opt_nearest_of(names, n, name);
    return near < 0
               ? err_set(e, E_USAGE, "unknown type '%.40s' (--list shows all)", name)
               : err_set(e, E_USAGE, "unknown type '%.40s': did you mean %s?", name, names[near]);
}

static const char *mix_name(size_t i)
{
    return mix_at(i) ? mix_at(i)->name : NULL;
}

static const char *fmt_name(size_t i)
{
    return fmt_at(i) ? fmt_at(i)->name : NULL;
}

static int find_fmt(const char *name, size_t n, int *out, struct err *e)
{
    const struct fmt_info *f = fmt_by_name((struct slice){name, n});

    if (!f)
        return unknown_type(name, fmt_name, e);
    if (!encoder_exists(f->id))
        return err_set(e, E_USAGE, "weights cannot be made %s", f->name);
    *out = f->id;
    return 0;
}

static int option_fmt(void *out, const char *value, struct err *e)
{
    return find_fmt(value, strlen(value), out, e);
}

/* -- patterns -- */

struct pattern {
    pcre2_code *code;
    int fmt;
};

struct pattern_list {
    struct pattern *at;
    size_t n;
    pcre2_match_data *data;
};

static void patterns_fini(struct pattern_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        pcre2_code_free(l->at[i].code);
    pcre2_match_data_free(l->data);
    mem_free(l->at);
}

static int patterns_init(struct pattern_list *l, struct err *e)
{
    *l = (struct pattern_list){.data = pcre2_match_data_create(1, NULL)};
    if (!l->data || !(l->at = mem_array(patterns.n, sizeof *l->at, e)))
        return err_nomem(e, 1);
    for (size_t i = 0; i < patterns.n; i++) {
        const char *v = patterns.at[i].value, *equals = strrchr(v, '=');
        PCRE2_SIZE at;
        int bad, rc;

        if (!equals || equals == v)
            return err_set(e, E_USAGE, "--tensor-type %.80s: expected REGEX=TYPE", v);
        if ((rc = find_fmt(equals + 1, strlen(equals + 1), &l->at[i].fmt, e)) < 0)
            return rc;
        l->at[i].code = pcre2_compile((PCRE2_SPTR)v, (PCRE2_SIZE)(equals - v), 0, &bad, &at, NULL);
        if (!l->at[i].code) {
            PCRE2_UCHAR why[96];

            pcre2_get_error_message(bad, why, sizeof why);
            return err_set(e, E_USAGE, "--tensor-type %.80s: %s", v, (const char *)why);
        }
        l->n++;
    }
    return 0;
}

static int pattern_fmt(void *arg, struct slice name)
{
    const struct pattern_list *l = arg;

    for (size_t i = 0; i < l->n; i++)
        if (pcre2_match(l->at[i].code, (PCRE2_SPTR)name.p, name.n, 0, 0, l->data, NULL) >= 0)
            return l->at[i].fmt;
    return FMT_COPY;
}

/* -- the job -- */

struct member {
    float *x;     // [cols] a row as floats
    uint8_t *raw; // [batch rows] bytes as read, when the source gives none in place
    uint64_t bad; // first row that cannot be encoded, + 1
    float value;  // what is in it
};

struct job {
    struct source *src;
    const struct gguf *g;
    struct imatrix *im;
    const struct mix *mix;
    struct recipe_tensor *t; // [n_tensor]
    struct gguf_out **out;   // [n_out]
    uint32_t n_out;
    struct team *team;
    struct member *m;
    struct progress bar;
    struct encoder *encoders[FMT_ID_END]; // made when first wanted
    uint64_t done, bytes_in, bytes_out, weights;

    /* the tensor in work */
    uint32_t tensor;
    const struct encoder *enc;
    struct decoder dec;
    const float *means; // [ne[2] x cols] or NULL
    const uint8_t *in;  // the batch's rows
    uint8_t *blocks;    // the batch's blocks
    uint64_t row, rows; // the batch
    float most;         // larger magnitudes have no scale in the format
};

static uint64_t row_bytes(int fmt, uint64_t cols)
{
    uint64_t n = 0;

    fmt_row_bytes(fmt, cols, &n);
    return n;
}

static const char *shown(const struct gguf_tensor *t, char out[96])
{
    return gguf_show(out, 96, t->name);
}

/* -- metadata -- */

static void put_u16(struct gguf_out *w, const char *key, uint32_t v)
{
    char raw[2] = {(char)(v & 255), (char)(v >> 8)};

    gguf_put_key(w, &(struct gguf_key){slice_of(key), GGUF_U16, {raw, 2}, {0}});
}

/* The keys of output i; all but the first have those of the split only. */
static int put_keys(struct job *j, uint32_t i, struct err *e)
{
    struct gguf_out *w = j->out[i];
    int rc = 0;

    for (uint32_t k = 0; i == 0 && k < j->g->n_key; k++)
        if (!slice_starts(j->g->key[k].name, SLICE("split.")))
            gguf_put_key(w, &j->g->key[k]);
    if (i == 0 && j->mix->fmt != FMT_COPY) {
        gguf_put_u32(w, "general.quantization_version", QUANT_VERSION);
        gguf_put_u32(w, "general.file_type", (uint32_t)j->mix->file_type);
    }
    if (i == 0 && j->im) {
        gguf_put_str(w, "quantize.imatrix.file", slice_of(imatrix_path));
        if (j->im->n_dataset)
            gguf_put_str(w, "quantize.imatrix.dataset", slice_of(j->im->dataset[0]));
        gguf_put_u32(w, "quantize.imatrix.entries_count", j->im->n);
        gguf_put_u32(w, "quantize.imatrix.chunks_count", j->im->chunks);
    }
    for (size_t k = 0; i == 0 && k < overrides.n && rc == 0; k++)
        rc = set_key(w, "--override-kv", overrides.at[k].value, e);
    if (j->n_out > 1) {
        put_u16(w, "split.no", i);
        put_u16(w, "split.count", j->n_out);
        gguf_put_i32(w, "split.tensors.count", (int32_t)j->g->n_tensor);
    }
    return rc;
}

/* -- choosing -- */

static int get_model(const struct gguf *g, struct recipe_model *m, struct err *e)
{
    const struct {
        const char *name;
        uint32_t *out;
    } keys[] = {{"block_count", &m->n_layer},
                {"attention.head_count", &m->n_head},
                {"attention.head_count_kv", &m->n_head_kv},
                {"expert_count", &m->n_expert}};
    int rc = gguf_get_str(g, "general.architecture", &m->arch, e);

    for (size_t i = 0; i < ARRAY_LEN(keys) && rc >= 0; i++) {
        char key[128];
        const struct gguf_key *k;

        snprintf(key, sizeof key, "%.*s.%s", (int)(m->arch.n < 64 ? m->arch.n : 64), m->arch.p,
                 keys[i].name);
        if (i == 2)
            m->n_head_kv = m->n_head;
        k = gguf_find(g, key);
        if (k && k->type == GGUF_ARR && k->array.n && gguf_type_is_int(k->array.type))
            *keys[i].out = (uint32_t)gguf_int_at(&k->array, 0); /* a number per layer */
        else
            rc = gguf_get_u32(g, key, keys[i].out, e);
    }
    return rc < 0 ? rc : 0;
}

/* Says what cannot be as the mix has it, refuses what would be bad. */
static int check_tensor(const struct job *j, uint32_t i, struct err *e)
{
    const struct gguf_tensor *t = &j->g->tensor[i];
    const struct recipe_tensor *r = &j->t[i];
    const struct fmt_info *from = fmt_find((int)t->type);
    char name[96];

    if (!from)
        return err_set(e, E_UNSUPPORTED, "%s: tensor '%s': its type %u is not known", j->g->path,
                       shown(t, name), t->type);
    if (r->to != r->wanted)
        tool_note("%s: rows of %llu weights do not fit %s: %s", shown(t, name),
                  (unsigned long long)t->ne[0], fmt_find(r->wanted)->name, fmt_find(r->to)->name);
    if (r->to == (int)t->type)
        return 0;
    if (from->sub && !allow_requantize)
        return err_set(e, E_UNSUPPORTED,
                       "%s: tensor '%s' is %s already (--allow-requantize adds to its errors)",
                       j->g->path, shown(t, name), from->name);
    if (r->needs_weights && !dry_run && !(j->im && imatrix_find(j->im, t->name)))
        return err_set(e, E_UNSUPPORTED,
                       "tensor '%s': %s without an importance matrix is of no use (--imatrix)",
                       shown(t, name), fmt_find(r->to)->name);
    return 0;
}

static int choose(struct job *j, struct err *e)
{
    struct pattern_list l;
    struct recipe_model m = {0};
    struct recipe_args a = {.mix = j->mix,
                            .output_fmt = output_fmt,
                            .embedding_fmt = embedding_fmt,
                            .pure = pure,
                            .leave_output = leave_output,
                            .has_weights = j->im != NULL,
                            .pattern = patterns.n ? pattern_fmt : NULL,
                            .arg = &l};
    int rc = patterns_init(&l, e);

    if (rc == 0 && (rc = get_model(j->g, &m, e)) == 0 &&
        !(j->t = mem_array(j->g->n_tensor, sizeof *j->t, e)))
        rc = E_NOMEM;
    for (uint32_t i = 0; i < j->g->n_tensor && rc == 0; i++) {
        const struct gguf_tensor *t = &j->g->tensor[i];

        j->t[i] = (struct recipe_tensor){.name = t->name, .fmt = (int)t->type};
        memcpy(j->t[i].ne, t->ne, sizeof t->ne);
    }
    if (rc == 0)
        rc = recipe_choose(j->t, j->g->n_tensor, &m, &a, e);
    for (uint32_t i = 0; i < j->g->n_tensor && rc == 0; i++) {
        const struct gguf_tensor *t = &j->g->tensor[i];

        if ((rc = check_tensor(j, i, e)) < 0)
            break;
        j->bytes_in += t->bytes;
        j->bytes_out += row_bytes(j->t[i].to, t->ne[0]) * source_n_rows(t);
        j->weights += t->ne[0] * source_n_rows(t);
    }
    patterns_fini(&l);
    return rc;
}

/* -- encoding -- */

/* Row 0 of n has a number that is none, or one of magnitude above most. */
static bool row_bad(const float *x, uint64_t n, float most, float *which)
{
    uint32_t high = 0, limit;

    memcpy(&limit, &most, sizeof limit);
    for (uint64_t i = 0; i < n; i++) {
        uint32_t bits;

        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffffu;
        high = bits > high ? bits : high;
    }
    memcpy(which, &high, sizeof high);
    return high > limit;
}

static void encode_batch(void *arg, int member, int n)
{
    struct job *j = arg;
    const struct gguf_tensor *t = &j->g->tensor[j->tensor];
    struct member *m = &j->m[member];
    uint64_t cols = t->ne[0], from = source_row_bytes(t);
    uint64_t to = row_bytes(j->t[j->tensor].to, cols);
    uint64_t first = j->rows * (uint64_t)member / (uint64_t)n;
    uint64_t end = j->rows * (uint64_t)(member + 1) / (uint64_t)n;

    thread_ieee();
    for (uint64_t r = first; r < end && !m->bad; r++) {
        const float *x = m->x, *w = NULL;
        uint64_t row = j->row + r;

        if (t->type == FMT_F32)
            x = (const float *)(const void *)(j->in + r * from);
        else
            decode_row(&j->dec, j->in + r * from, cols, m->x);
        if (row_bad(x, cols, j->most, &m->value))
            m->bad = row + 1;
        if (j->means)
            w = j->means + row / t->ne[1] % t->ne[2] * cols;
        if (!m->bad)
            encode_row(j->enc, x, w, cols, j->blocks + r * to);
    }
}

static int batch_failed(const struct job *j, struct err *e)
{
    const struct gguf_tensor *t = &j->g->tensor[j->tensor];
    char name[96];

    for (int i = 0; i < team_size(j->team); i++) {
        const struct member *m = &j->m[i];

        if (m->bad && isfinite(m->value))
            return err_set(e, E_NUMERIC, "%s: tensor '%s': %g in row %llu is too large for %s",
                           j->g->path, shown(t, name), (double)m->value,
                           (unsigned long long)(m->bad - 1), fmt_find(j->t[j->tensor].to)->name);
        if (m->bad)
            return err_set(e, E_NUMERIC, "%s: tensor '%s': row %llu holds what is no number",
                           j->g->path, shown(t, name), (unsigned long long)(m->bad - 1));
    }
    return 0;
}

/* Formats with scales in binary16 hold about that much; MXFP4's scales are powers of two. */
static float most_of(int fmt)
{
    return fmt == FMT_F32 || fmt == FMT_BF16 || fmt == FMT_MXFP4 ? 3.402823466e38f
           : fmt == FMT_F16                                      ? 65519.0f
                                                                 : 4e5f;
}

/* The importance of the columns of a tensor; NULL when there is none. */
static int get_means(const struct job *j, const struct gguf_tensor *t, float **out, struct err *e)
{
    const struct imatrix_entry *x = j->im ? imatrix_find(j->im, t->name) : NULL;
    char name[96];
    uint64_t n = t->ne[0] * t->ne[2];

    *out = NULL;
    if (!x)
        return 0;
    if ((uint64_t)x->cols * x->mats != n) {
        if (slice_is(t->name, "token_embd.weight"))
            return 0; /* counted as the output it also is, or not at all */
        return err_set(e, E_FORMAT, "%s: tensor '%s': %u x %u values, the model has %llu x %llu",
                       imatrix_path, shown(t, name), x->mats, x->cols, (unsigned long long)t->ne[2],
                       (unsigned long long)t->ne[0]);
    }
    if (!(*out = mem_array(n, sizeof **out, e)))
        return E_NOMEM;
    imatrix_means(x, *out);
    return 0;
}

static struct gguf_out *out_of(const struct job *j, const struct gguf_tensor *t)
{
    return j->out[j->n_out > 1 ? t->part : 0];
}

/* Rows [row, row + n) as they lie in memory, or read into raw. */
static int get_rows(struct job *j, const struct gguf_tensor *t, uint64_t row, uint64_t n,
                    uint8_t *raw, const uint8_t **out, struct err *e)
{
    *out = t->p ? t->p + row * source_row_bytes(t) : raw;
    return t->p ? 0 : source_rows(j->src, j->tensor, row, n, raw, e);
}

/* Reads, and encodes where the type changes, in batches of about a million weights. */
static int do_rows(struct job *j, const struct gguf_tensor *t, uint64_t batch, uint8_t *raw,
                   struct err *e)
{
    uint64_t n = source_n_rows(t), to = row_bytes(j->t[j->tensor].to, t->ne[0]);
    int rc = 0;

    for (j->row = 0; j->row < n && rc == 0; j->row += batch) {
        const uint8_t *p;

        if (tool_interrupted())
            return err_set(e, E_CANCELLED, "interrupted");
        j->rows = n - j->row < batch ? n - j->row : batch;
        if ((rc = get_rows(j, t, j->row, j->rows, raw, &p, e)) < 0)
            break;
        if (j->enc) {
            j->in = p;
            team_run(j->team, encode_batch, j);
            rc = batch_failed(j, e);
            p = j->blocks;
        }
        if (rc == 0)
            rc = gguf_data(out_of(j, t), p, j->rows * to, e);
        j->done += j->rows * source_row_bytes(t);
        progress_at(&j->bar, j->done);
    }
    return rc;
}

static int do_tensor(struct job *j, uint32_t i, struct err *e)
{
    const struct gguf_tensor *t = &j->g->tensor[i];
    uint64_t batch = BATCH_WEIGHTS / t->ne[0], n = source_n_rows(t);
    float *means = NULL;
    uint8_t *raw = NULL;
    int rc = 0, to = j->t[i].to;

    batch = batch < (uint64_t)team_size(j->team) ? (uint64_t)team_size(j->team) : batch;
    batch = batch < n ? batch : n;
    j->tensor = i;
    j->enc = NULL;
    if (!t->p && !(raw = mem_array(batch, (size_t)source_row_bytes(t), e)))
        rc = E_NOMEM;
    if (rc == 0 && to != (int)t->type) {
        j->most = most_of(to);
        rc = E_NOMEM;
        if (!(j->blocks = mem_array(batch, (size_t)row_bytes(to, t->ne[0]), e)))
            goto done;
        for (int m = 0; m < team_size(j->team); m++) {
            j->m[m] = (struct member){0};
            if (t->type != FMT_F32 && !(j->m[m].x = mem_array(t->ne[0], sizeof(float), e)))
                goto done;
        }
        if ((!j->encoders[to] && (rc = encoder_new(&j->encoders[to], to, e)) < 0) ||
            (rc = decoder_find(&j->dec, (int)t->type, e)) < 0 ||
            (rc = get_means(j, t, &means, e)) < 0)
            goto done;
        j->enc = j->encoders[to];
    }
    j->means = means;
    if (rc == 0)
        rc = do_rows(j, t, batch, raw, e);
    source_done(j->src, i);
done:
    for (int m = 0; m < team_size(j->team); m++) {
        mem_free(j->m[m].x);
        j->m[m].x = NULL;
    }
    mem_free(j->blocks);
    j->blocks = NULL;
    mem_free(means);
    mem_free(raw);
    return rc;
}

/* -- files -- */

static int create_outputs(struct job *j, const char *path, struct err *e)
{
    struct buf name = {0};
    int rc = 0;

    j->n_out = keep_split && j->g->n_part > 1 ? j->g->n_part : 1;
    if (!(j->out = mem_array(j->n_out, sizeof(struct gguf_out *), e)))
        return E_NOMEM;
    for (uint32_t i = 0; i < j->n_out && rc == 0; i++) {
        buf_clear(&name);
        buf_str(&name, path);
        if (j->n_out > 1 && name.n > 5 && strcmp(name.p + name.n - 5, ".gguf") == 0)
            name.n -= 5;
        if (j->n_out > 1)
            buf_printf(&name, "-%05u-of-%05u.gguf", i + 1, j->n_out);
        if (name.bad)
            rc = err_nomem(e, name.n);
        else if ((rc = gguf_create(&j->out[i], name.p, j->g->alignment, e)) == 0)
            rc = put_keys(j, i, e);
    }
    for (uint32_t i = 0; i < j->g->n_tensor && rc == 0; i++) {
        const struct gguf_tensor *t = &j->g->tensor[i];

        gguf_put_tensor(out_of(j, t), t->name, (uint32_t)j->t[i].to, t->n_dims, t->ne);
    }
    for (uint32_t i = 0; i < j->n_out && rc == 0; i++)
        rc = gguf_begin(j->out[i], e);
    buf_fini(&name);
    return rc;
}

/* All parts are complete before the first of them gets its name. */
static int finish_outputs(struct job *j, struct err *e)
{
    int rc = 0;

    for (uint32_t i = 0; i < j->n_out && rc == 0; i++) {
        struct gguf_out *w = j->out[i];

        j->out[i] = NULL;
        rc = gguf_finish(w, e);
    }
    return rc;
}

static int write_model(struct job *j, const char *path, struct err *e)
{
    int n = threads ? threads : thread_cpus(), rc;

    if ((rc = team_new(&j->team, n, e)) < 0)
        return rc;
    if (!(j->m = mem_array((uint64_t)n, sizeof *j->m, e)))
        return E_NOMEM;
    if ((rc = create_outputs(j, path, e)) < 0)
        return rc;
    progress_begin(&j->bar, "quantizing", j->bytes_in, true);
    for (uint32_t i = 0; i < j->g->n_tensor && rc == 0; i++) {
        char name[96];

        tool_detail(1, "%s: %s to %s", shown(&j->g->tensor[i], name), fmt_find(j->t[i].fmt)->name,
                    fmt_find(j->t[i].to)->name);
        rc = do_tensor(j, i, e);
    }
    progress_end(&j->bar);
    return rc < 0 ? rc : finish_outputs(j, e);
}

/* -- printing -- */

static double bpw(uint64_t bytes, uint64_t weights)
{
    return weights ? 8.0 * (double)bytes / (double)weights : 0.0;
}

static void print_row(const char *name, const char *shape, const char *from, const char *to,
                      uint64_t before, uint64_t after, uint64_t weights)
{
    double bits = bpw(after, weights);

    if (json) {
        struct buf b = {0};

        buf_json(&b, slice_of(name));
        printf("{\"name\":%s,\"shape\":\"%s\",\"from\":\"%s\",\"to\":\"%s\",\"bytes_before\":%llu,"
               "\"bytes\":%llu,\"bits_per_weight\":%.4f}\n",
               b.p ? b.p : "\"\"", shape, from, to, (unsigned long long)before,
               (unsigned long long)after, bits);
        buf_fini(&b);
    } else {
        printf(tsv ? "%s\t%s\t%s\t%s\t%llu\t%llu\t%.4f\n"
                   : "%-32s %-20s %-7s %-7s %13llu %13llu %8.4f\n",
               name, shape, from, to, (unsigned long long)before, (unsigned long long)after, bits);
    }
}

static void print_plan(const struct job *j)
{
    char name[96], shape[96];

    if (!json && !tsv)
        printf("%-32s %-20s %-7s %-7s %13s %13s %8s\n", "tensor", "shape", "from", "to", "bytes",
               "to bytes", "bits/w");
    for (uint32_t i = 0; i < j->g->n_tensor; i++) {
        const struct gguf_tensor *t = &j->g->tensor[i];
        int n = 0;

        for (uint32_t d = 0; d < t->n_dims && n < 80; d++)
            n += snprintf(shape + n, sizeof shape - (size_t)n, d ? "x%llu" : "%llu",
                          (unsigned long long)t->ne[d]);
        if (!t->n_dims)
            snprintf(shape, sizeof shape, "1");
        print_row(shown(t, name), shape, fmt_find(j->t[i].fmt)->name, fmt_find(j->t[i].to)->name,
                  t->bytes, row_bytes(j->t[i].to, t->ne[0]) * source_n_rows(t),
                  t->ne[0] * source_n_rows(t));
    }
    print_row("all", "", "", j->mix->name, j->bytes_in, j->bytes_out, j->weights);
}

/* What a mix comes to in a model of eight billion weights, so that the numbers can be compared. */
static double typical_bpw(const struct mix *mix, struct err *e)
{
    static const struct {
        const char *name;
        uint64_t cols, rows;
    } layer[] = {
        {"attn_q", 4096, 4096},      {"attn_k", 4096, 1024},    {"attn_v", 4096, 1024},
        {"attn_output", 4096, 4096}, {"ffn_gate", 4096, 14336}, {"ffn_up", 4096, 14336},
        {"ffn_down", 14336, 4096},   {"attn_norm", 4096, 1},    {"ffn_norm", 4096, 1},
    };
    enum { LAYERS = 32, PER = ARRAY_LEN(layer), ALL = LAYERS * PER + 3 };
    struct recipe_tensor *t = mem_array(ALL, sizeof *t, e);
    char(*name)[40] = mem_array(ALL, sizeof *name, e);
    const struct recipe_model m = {SLICE("llama"), LAYERS, 32, 8, 0};
    const struct recipe_args a = {.mix = mix,
                                  .output_fmt = FMT_COPY,
                                  .embedding_fmt = FMT_COPY,
                                  .has_weights = strstr(mix->remark, "importance") != NULL};
    double bits = 0.0, weights = 0.0;

    for (uint32_t i = 0; t && name && i < ALL; i++) {
        static const char *const last[] = {"token_embd", "output", "output_norm"};
        uint32_t k = i % PER, rest = i - LAYERS * PER;
        bool in_layer = i < LAYERS * PER;

        snprintf(name[i], sizeof *name, in_layer ? "blk.%u.%s.weight" : "%.0u%s.weight",
                 in_layer ? i / PER : 0, in_layer ? layer[k].name : last[rest]);
        t[i] = (struct recipe_tensor){.name = slice_of(name[i]),
                                      .fmt = (in_layer ? layer[k].rows == 1 : rest == 2) ? FMT_F32
                                                                                         : FMT_F16,
                                      .ne = {in_layer ? layer[k].cols : 4096,
                                             in_layer    ? layer[k].rows
                                             : rest == 2 ? 1
                                                         : 128256,
                                             1, 1}};
    }
    if (t && name && recipe_choose(t, ALL, &m, &a, e) == 0)
        for (uint32_t i = 0; i < ALL; i++) {
            double n = (double)t[i].ne[0] * (double)t[i].ne[1];

            bits += n * fmt_bpw(t[i].to);
            weights += n;
        }
    mem_free(t);
    mem_free(name);
    return weights > 0.0 ? bits / weights : 0.0;
}

static int print_list(struct err *e)
{
    const struct mix *m;

    if (!json && !tsv)
        printf("%-10s %13s %13s  %s\n", "type", "bits/weight", "8B model", "");
    for (size_t i = 0; (m = mix_at(i)) != NULL && !e->code; i++) {
        double base = m->fmt == FMT_COPY ? 0.0 : fmt_bpw(m->fmt);
        double all = m->fmt == FMT_COPY ? 0.0 : typical_bpw(m, e);

        printf(json  ? "{\"type\":\"%s\",\"bits_per_weight\":%.4f,\"bits_per_weight_8b\":%.4f,"
                       "\"remark\":\"%s\"}\n"
               : tsv ? "%s\t%.4f\t%.4f\t%s\n"
                     : "%-10s %13.4f %13.4f  %s\n",
               m->name, base, all, m->remark);
    }
    return e->code;
}

/* -- the tool -- */

static int run(char **file, const char *type, struct err *e)
{
    struct job j = {.mix = mix_by_name(slice_of(type))};
    char amount[16];
    int rc;

    if (!j.mix)
        return unknown_type(type, mix_name, e);
    if (!dry_run && strcmp(file[1], "-") == 0 &&
        (rc = tool_not_to_terminal(STDOUT_FILENO, "a model", e)) < 0)
        return rc;
    if (imatrix_path && (rc = imatrix_open(&j.im, imatrix_path, e)) < 0)
        return rc;
    if ((rc = model_source(&j.src, file[0], 0, e)) == 0) {
        j.g = j.src->g;
        rc = choose(&j, e);
    }
    if (rc == 0 && dry_run)
        print_plan(&j);
    else if (rc == 0)
        rc = write_model(&j, file[1], e);
    if (rc == 0 && !dry_run)
        tool_note("%s: %s, %.2f bits per weight", file[1], tool_bytes(j.bytes_out, amount),
                  bpw(j.bytes_out, j.weights));
    for (uint32_t i = 0; j.out && i < j.n_out; i++)
        gguf_abort(j.out[i]);
    for (int i = 0; i < FMT_ID_END; i++)
        encoder_free(j.encoders[i]);
    mem_free(j.out);
    mem_free(j.t);
    mem_free(j.m);
    team_free(j.team);
    source_close(j.src);
    imatrix_free(j.im);
    return rc;
}

int main(int argc, char **argv)
{
    struct err e = {0};
    int first = tool_begin(&tool, argc, argv), n = argc - first, rc;

    if (list && n > 0)
        tool_usage("unexpected argument '%s'", argv[first]);
    if (!list && n != 3 && !(dry_run && n == 2))
        tool_usage("expected IN OUT TYPE%s", dry_run ? ", or IN TYPE" : "");
    if ((json || tsv) && !list && !dry_run)
        tool_usage("--json and --tsv go with --list and --dry-run");
    rc = list ? print_list(&e) : run(argv + first, argv[argc - 1], &e);
    opt_list_fini(&patterns);
    opt_list_fini(&overrides);
    return tool_end(rc < 0 ? tool_fail(&e) : 0);
}
