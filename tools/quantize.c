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
#include "quant/search.h"
#include "tools/lib/quantize.h"
#include "tools/lib/setkey.h"
#include "tools/lib/tool.h"

enum { BATCH_WEIGHTS = 1 << 20, QUANT_VERSION = 2 };

/* -- options -- */

static const char *imatrix_path;
static struct opt_list patterns, overrides;
static int output_fmt = FMT_COPY, embedding_fmt = FMT_COPY;
static const char *recipe_path, *size_text, *prune_text;
static bool search, pure, leave_output, allow_requantize, keep_split, dry_run, list, json, tsv;
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
    {0, "search", OPT_FLAG, &search, 0,
     "look for better scales in the same layout (slow); what decodes it need not know"},
    {0, "recipe", OPT_STR, &recipe_path, "FILE",
     "each tensor's type, as --size prints them; instead of TYPE"},
    {0, "size", OPT_STR, &size_text, "SIZE",
     "choose types by measured errors so that the file is no larger; instead of TYPE"},
    {0, "prune-layers", OPT_STR, &prune_text, "N,N-M", "leave out these layers"},
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
    const struct mix *mix; // NULL: a recipe or a size
    uint64_t size;         // of the file, at most; 0: any
    struct prune prune;
    uint32_t n;                      // tensors that stay
    uint32_t *from;                  // [n] their places in the source
    char (*name)[GGUF_MAX_NAME + 1]; // [n]
    struct recipe_tensor *t;         // [n]
    double *error;                   // [n] with a size
    struct gguf_out **out;           // [n_out]
    uint32_t n_out;
    struct team *team;
    struct member *m;
    struct progress bar;
    struct encoder *encoders[FMT_ID_END]; // made when first wanted
    uint64_t done, bytes_in, bytes_out, weights;

    /* the tensor in work */
    uint32_t tensor; // of those that stay
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

static const struct gguf_tensor *tensor_of(const struct job *j, uint32_t i)
{
    return &j->g->tensor[j->from[i]];
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
static int put_keys(struct job *j, struct gguf_out *w, uint32_t i, struct err *e)
{
    int rc = 0;

    for (uint32_t k = 0; i == 0 && k < j->g->n_key && rc == 0; k++)
        if (!slice_starts(j->g->key[k].name, SLICE("split.")))
            rc = prune_key(&j->prune, w, &j->g->key[k], e);
    if (i == 0 && (!j->mix || j->mix->fmt != FMT_COPY)) {
        gguf_put_u32(w, "general.quantization_version", QUANT_VERSION);
        gguf_put_u32(w, "general.file_type",
                     (uint32_t)(j->mix ? j->mix->file_type : recipe_file_type(j->t, j->n)));
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
        gguf_put_i32(w, "split.tensors.count", (int32_t)j->n);
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
    const struct gguf_tensor *t = tensor_of(j, i);
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

/* Which tensors stay, and under which names. */
static int keep_tensors(struct job *j, struct err *e)
{
    uint32_t n = j->g->n_tensor;
    int rc = prune_init(&j->prune, prune_text, j->g, e);

    if (rc < 0)
        return rc;
    j->from = mem_array(n, sizeof *j->from, e);
    j->name = mem_array(n, sizeof *j->name, e);
    j->t = mem_array(n, sizeof *j->t, e);
    j->error = mem_array(n, sizeof *j->error, e);
    if (!j->from || !j->name || !j->t || !j->error)
        return E_NOMEM;
    for (uint32_t i = 0; i < n; i++) {
        const struct gguf_tensor *t = &j->g->tensor[i];
        struct recipe_tensor *r = &j->t[j->n];

        if (!prune_name(&j->prune, t->name, j->name[j->n]))
            continue;
        *r = (struct recipe_tensor){.name = {j->name[j->n], strlen(j->name[j->n])},
                                    .fmt = (int)t->type};
        if (memchr(t->name.p, 0, t->name.n))
            r->name = t->name;
        memcpy(r->ne, t->ne, sizeof t->ne);
        r->to = r->wanted = r->fmt;
        j->from[j->n++] = i;
    }
    return 0;
}

static int choose_mix(struct job *j, const struct mix *mix, struct err *e)
{
    struct pattern_list l;
    struct recipe_model m = {0};
    struct recipe_args a = {.mix = mix,
                            .output_fmt = output_fmt,
                            .embedding_fmt = embedding_fmt,
                            .pure = pure,
                            .leave_output = leave_output,
                            .has_weights = j->im != NULL,
                            .pattern = patterns.n ? pattern_fmt : NULL,
                            .arg = &l};
    int rc = patterns_init(&l, e);

    if (rc == 0)
        rc = get_model(j->g, &m, e);
    if (rc == 0 && j->prune.to)
        m.n_layer = j->prune.left;
    if (rc == 0)
        rc = recipe_choose(j->t, j->n, &m, &a, e);
    patterns_fini(&l);
    return rc;
}

static bool may_change(void *arg, uint32_t i)
{
    return recipe_may_change(&((struct job *)arg)->t[i], leave_output);
}

/* Bytes in front of the data, of all parts; those that say which part it is take less than a
 * hundred each. */
static int head_bytes(struct job *j, uint64_t *out, struct err *e)
{
    struct gguf_out *w = NULL;
    struct buf head = {0};
    int rc = gguf_create(&w, NULL, j->g->alignment, e);

    if (rc < 0)
        return rc;
    rc = put_keys(j, w, 0, e);
    for (uint32_t i = 0; i < j->n && rc == 0; i++)
        gguf_put_tensor(w, j->t[i].name, FMT_F32, tensor_of(j, i)->n_dims, j->t[i].ne);
    if (rc == 0)
        rc = gguf_head(w, &head, e);
    *out = head.n + (uint64_t)j->n_out * (100 + 2 * j->g->alignment);
    buf_fini(&head);
    gguf_abort(w);
    return rc;
}

static int choose_size(struct job *j, struct err *e)
{
    struct size_in in = {.src = j->src,
                         .from = j->from,
                         .t = j->t,
                         .n = j->n,
                         .im = j->im,
                         .team = j->team,
                         .alignment = j->g->alignment,
                         .search = search,
                         .requantize = allow_requantize,
                         .may = may_change,
                         .arg = j,
                         .error = j->error};
    uint64_t head;
    int rc;

    if (j->src->stream)
        return err_set(e, E_USAGE, "%s: --size reads a model twice, a pipe comes once", j->g->path);
    /* what options say of single tensors stands; the mix itself does not matter */
    if ((rc = choose_mix(j, mix_by_name(SLICE("Q8_0")), e)) < 0 ||
        (rc = head_bytes(j, &head, e)) < 0)
        return rc;
    for (uint32_t i = 0; i < j->n; i++)
        if (!j->t[i].chosen)
            j->t[i].to = j->t[i].wanted = j->t[i].fmt;
    if (head >= j->size)
        return err_set(e, E_RANGE, "%llu bytes: the metadata alone has %llu",
                       (unsigned long long)j->size, (unsigned long long)head);
    in.budget = j->size - head;
    return size_choose(&in, e);
}

static int choose(struct job *j, struct err *e)
{
    int rc = keep_tensors(j, e);

    if (rc == 0 && recipe_path)
        rc = recipe_read(recipe_path, j->t, j->n, e);
    else if (rc == 0 && size_text)
        rc = choose_size(j, e);
    else if (rc == 0)
        rc = choose_mix(j, j->mix, e);
    for (uint32_t i = 0; i < j->n && rc == 0; i++) {
        const struct gguf_tensor *t = tensor_of(j, i);

        if (!j->mix)
            j->t[i].needs_weights = recipe_needs_weights(j->t[i].name, j->t[i].to);
        if ((rc = check_tensor(j, i, e)) < 0)
            break;
        j->bytes_in += t->bytes;
        j->bytes_out += row_bytes(j->t[i].to, t->ne[0]) * source_n_rows(t);
        j->weights += t->ne[0] * source_n_rows(t);
    }
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
    const struct gguf_tensor *t = tensor_of(j, j->tensor);
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
        if (!m->bad && search)
            search_row(j->t[j->tensor].to, x, w, cols, j->blocks + r * to);
    }
}

static int batch_failed(const struct job *j, struct err *e)
{
    const struct gguf_tensor *t = tensor_of(j, j->tensor);
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

static struct gguf_out *out_of(const struct job *j, const struct gguf_tensor *t)
{
    return j->out[j->n_out > 1 ? t->part : 0];
}

/* Rows [row, row + n) as they lie in memory, or read into raw. */
static int get_rows(struct job *j, const struct gguf_tensor *t, uint64_t row, uint64_t n,
                    uint8_t *raw, const uint8_t **out, struct err *e)
{
    *out = t->p ? t->p + row * source_row_bytes(t) : raw;
    return t->p ? 0 : source_rows(j->src, j->from[j->tensor], row, n, raw, e);
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
    const struct gguf_tensor *t = tensor_of(j, i);
    uint64_t batch = BATCH_WEIGHTS / t->ne[0], n = source_n_rows(t);
    float *means = NULL;
    uint8_t *raw = NULL;
    int rc = 0, to = j->t[i].to;

    batch = batch < (uint64_t)team_size(j->team) ? (uint64_t)team_size(j->team) : batch;
    batch = batch < n ? batch : n;
    j->tensor = i;
    j->enc = NULL;
    if ((rc = source_begin(j->src, j->from[i], e)) == 0 && !t->p &&
        !(raw = mem_array(batch, (size_t)source_row_bytes(t), e)))
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
            (rc = tensor_means(j->im, imatrix_path, t, &means, e)) < 0)
            goto done;
        j->enc = j->encoders[to];
    }
    j->means = means;
    if (rc == 0)
        rc = do_rows(j, t, batch, raw, e);
    source_done(j->src, j->from[i]);
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

    if (!(j->out = mem_array(j->n_out, sizeof(struct gguf_out *), e)))
        return E_NOMEM;
    for (uint32_t i = 0; i < j->n_out && rc == 0; i++) {
        buf_clear(&name);
        if (j->n_out > 1)
            gguf_part_name(&name, path, i, j->n_out);
        else
            buf_str(&name, path);
        if (name.bad)
            rc = err_nomem(e, strlen(path));
        else if ((rc = gguf_create(&j->out[i], name.p, j->g->alignment, e)) == 0) {
            gguf_threads(j->out[i], team_size(j->team));
            rc = put_keys(j, j->out[i], i, e);
        }
    }
    for (uint32_t i = 0; i < j->n && rc == 0; i++) {
        const struct gguf_tensor *t = tensor_of(j, i);

        gguf_put_tensor(out_of(j, t), j->t[i].name, (uint32_t)j->t[i].to, t->n_dims, t->ne);
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
    int rc = create_outputs(j, path, e);

    if (rc < 0)
        return rc;
    progress_begin(&j->bar, "quantizing", j->bytes_in, true);
    for (uint32_t i = 0; i < j->n && rc == 0; i++) {
        char name[96];

        tool_detail(1, "%s: %s to %s", shown(tensor_of(j, i), name), fmt_find(j->t[i].fmt)->name,
                    fmt_find(j->t[i].to)->name);
        rc = do_tensor(j, i, e);
    }
    progress_end(&j->bar);
    return rc < 0 ? rc : finish_outputs(j, e);
}

/* -- printing -- */

static enum list_form form(void)
{
    return json ? FORM_JSON : tsv ? FORM_TSV : FORM_TEXT;
}

static void print_plan(const struct job *j)
{
    char name[96], shape[96];

    if (!json && !tsv)
        printf("%-32s %-20s %-7s %-7s %13s %13s %8s\n", "tensor", "shape", "from", "to", "bytes",
               "to bytes", "bits/w");
    for (uint32_t i = 0; i < j->n; i++) {
        const struct gguf_tensor *t = tensor_of(j, i);
        int n = 0;

        for (uint32_t d = 0; d < t->n_dims && n < 80; d++)
            n += snprintf(shape + n, sizeof shape - (size_t)n, d ? "x%llu" : "%llu",
                          (unsigned long long)t->ne[d]);
        if (!t->n_dims)
            snprintf(shape, sizeof shape, "1");
        print_change(form(), gguf_show(name, sizeof name, j->t[i].name), shape,
                     fmt_find(j->t[i].fmt)->name, fmt_find(j->t[i].to)->name, t->bytes,
                     row_bytes(j->t[i].to, t->ne[0]) * source_n_rows(t),
                     t->ne[0] * source_n_rows(t));
    }
    print_change(form(), "all", "", "", j->mix ? j->mix->name : "", j->bytes_in, j->bytes_out,
                 j->weights);
}

/* -- the tool -- */

static void job_fini(struct job *j)
{
    for (uint32_t i = 0; j->out && i < j->n_out; i++)
        gguf_abort(j->out[i]);
    for (int i = 0; i < FMT_ID_END; i++)
        encoder_free(j->encoders[i]);
    mem_free(j->out);
    mem_free(j->t);
    mem_free(j->name);
    mem_free(j->from);
    mem_free(j->error);
    mem_free(j->m);
    team_free(j->team);
    prune_fini(&j->prune);
    source_close(j->src);
    imatrix_free(j->im);
}

static int open_job(struct job *j, const char *in, const char *type, struct err *e)
{
    int n = threads ? threads : thread_cpus(), rc;

    if (type && (rc = find_mix(type, &j->mix, e)) < 0)
        return rc;
    if (size_text && !tool_whole_size(size_text, &j->size))
        return err_set(e, E_USAGE, "--size: '%.40s' is no size (such as 4G or 650M)", size_text);
    if (imatrix_path && (rc = imatrix_open(&j->im, imatrix_path, e)) < 0)
        return rc;
    if ((rc = model_source(&j->src, in, 0, e)) < 0 || (rc = team_new(&j->team, n, e)) < 0)
        return rc;
    j->g = j->src->g;
    j->n_out = keep_split && j->g->n_part > 1 ? j->g->n_part : 1;
    j->m = mem_array((uint64_t)n, sizeof *j->m, e);
    return j->m ? 0 : E_NOMEM;
}

/* out NULL: nothing is written. */
static int run(const char *in, const char *out, const char *type, struct err *e)
{
    struct job j = {0};
    bool piped = out && strcmp(out, "-") == 0;
    char amount[16];
    int rc = 0;

    if (piped)
        rc = tool_not_to_terminal(STDOUT_FILENO, "a model", e);
    if (rc == 0 && (rc = open_job(&j, in, type, e)) == 0)
        rc = choose(&j, e);
    if (rc == 0 && out)
        rc = write_model(&j, out, e);
    if (rc == 0 && size_text && !piped && !json && !tsv)
        rc = recipe_write(j.t, j.n, j.error, stdout, e);
    else if (rc == 0 && !out)
        print_plan(&j);
    if (rc == 0 && out)
        tool_note("%s: %s, %.2f bits per weight", out, tool_bytes(j.bytes_out, amount),
                  bits_per_weight(j.bytes_out, j.weights));
    job_fini(&j);
    return rc;
}

static void check_usage(int n, char **operand)
{
    bool named = !recipe_path && !size_text; /* there is a TYPE */

    if (list && n > 0)
        tool_usage("unexpected argument '%s'", operand[0]);
    if (recipe_path && size_text)
        tool_usage("--recipe and --size exclude each other");
    if (recipe_path &&
        (patterns.n || output_fmt != FMT_COPY || embedding_fmt != FMT_COPY || pure || leave_output))
        tool_usage("--recipe says each tensor's type: no other option may");
    if (size_text && pure)
        tool_usage("--size and --pure exclude each other");
    if (!list && n != 2 + named && !(dry_run && n == 1 + named))
        tool_usage("expected IN%s%s", dry_run ? "" : " OUT", named ? " TYPE" : "");
    if ((json || tsv) && !list && !dry_run)
        tool_usage("--json and --tsv go with --list and --dry-run");
}

int main(int argc, char **argv)
{
    struct err e = {0};
    int first = tool_begin(&tool, argc, argv), n = argc - first, rc;
    char **operand = argv + first;
    const char *type = recipe_path || size_text || list ? NULL : argv[argc - 1];

    check_usage(n, operand);
    rc = list ? print_mixes(form(), &e) : run(operand[0], dry_run ? NULL : operand[1], type, &e);
    opt_list_fini(&patterns);
    opt_list_fini(&overrides);
    return tool_end(rc < 0 ? tool_fail(&e) : 0);
}
