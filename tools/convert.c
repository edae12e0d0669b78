/* convert.c - rill-convert: a Hugging Face directory or a GGUF file as a GGUF file, compressed if
 * its name says so.
 *
 * Tensors stream through a buffer of a few megabytes, so memory does not grow with the model. The
 * output appears under its name when it is complete.
 */
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/thread.h"
#include "kernels/encode.h"
#include "model/hf_export.h"
#include "model/hfdir.h"
#include "model/lora.h"
#include "quant/quant.h"
#include "tools/lib/setkey.h"
#include "tools/lib/tool.h"

enum { BATCH_BYTES = 4 << 20, AHEAD_BYTES = 32 << 20, KEEP = -1 };

/* -- options -- */

static int type = KEEP, threads = 2, max_tensors;
static const char *max_size, *base;
static bool vocab_only;
static struct opt_list sets, removes, renames, loras;

static int option_type(void *out, const char *value, struct err *e);

static const struct tool_option opts[] = {
    {0, "type", OPT_CALL, &type, "TYPE", "F32, F16, BF16, Q8_0, or keep (default)",
     .call = option_type},
    {0, "vocab-only", OPT_FLAG, &vocab_only, 0, "the vocabulary and other keys, no tensors"},
    {0, "lora", OPT_LIST, &loras, "FILE[=SCALE]",
     "add an adapter to the weights, SCALE (1) times; may be repeated"},
    {0, "base", OPT_STR, &base, "MODEL", "the model that an adapter IN was trained on"},
    {'t', "threads", OPT_INT, &threads, "N", "threads", .min = 1, .max = 1024, .def = "2"},
    {0, "set", OPT_LIST, &sets, "KEY=TYPE:VALUE", "set metadata; TYPE is int, float, bool or str",
     .group = "Metadata"},
    {0, "remove", OPT_LIST, &removes, "KEY", "leave metadata out"},
    {0, "rename", OPT_LIST, &renames, "OLD=NEW", "call metadata otherwise"},
    {0, "split-max-size", OPT_STR, &max_size, "SIZE",
     "write several files, of at most SIZE (such as 4G) of tensors", .group = "Files"},
    {0, "split-max-tensors", OPT_INT, &max_tensors, "N",
     "write several files, of at most N tensors", .min = 1, .max = INT_MAX},
    {0}};

static struct tool tool = {"rill-convert", "[options] IN OUT",
                           "writes Hugging Face directories, adapters and GGUF files as GGUF files",
                           opts};

static int option_type(void *out, const char *value, struct err *e)
{
    static const char *const names[] = {"keep", "F32", "F16", "BF16", "Q8_0"};
    static const int fmt[] = {KEEP, FMT_F32, FMT_F16, FMT_BF16, FMT_Q8_0};
    struct slice s = slice_of(value);
    int near;

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if ((i == 0 && slice_is(s, "keep")) ||
            (i > 0 && fmt_by_name(s) && fmt_by_name(s)->id == (enum fmt_id)fmt[i])) {
            *(int *)out = fmt[i];
            return 0;
        }
    near = opt_nearest_of(names, (int)ARRAY_LEN(names), value);
    return near < 0
               ? err_set(e, E_USAGE, "unknown type '%.40s': there are keep, F32, F16, BF16, Q8_0",
                         value)
               : err_set(e, E_USAGE, "unknown type '%.40s': did you mean %s?", value, names[near]);
}

/* -- what is written -- */

struct plan_tensor {
    int to;        // enum fmt_id
    uint32_t out;  // the file it goes to
    bool computed; // not the bytes of the input
};

struct adapter {
    struct lora *lora;
    float scale;
};

struct job {
    struct source *src;
    const struct gguf *g;
    struct plan_tensor *t;   // [g->n_tensor]
    struct adapter *adapter; // [loras.n]
    struct gguf_out **out;   // [n_out]
    uint32_t n_out, n_tensor;
    struct team *team;
    struct progress bar;
    uint64_t done, total, written;
    uint32_t ahead_i; // the disk was asked for all before this tensor and byte
    uint64_t ahead_at, ahead;
    /* one batch of rows */
    struct encoder *enc;
    struct decoder dec;
    uint8_t *in, *to;
    float **row; // [team]
    uint64_t cols, first, n_rows, in_bytes, to_bytes;
    const struct gguf_tensor *now;
};

static bool has(struct slice s, const char *part)
{
    size_t n = strlen(part);

    for (size_t i = 0; i + n <= s.n; i++)
        if (memcmp(s.p + i, part, n) == 0)
            return true;
    return false;
}

/* Small tensors that other programs expect as F32 whatever the rest is. */
static bool stays_f32(const struct gguf_tensor *t)
{
    static const char *const parts[] = {
        "ffn_gate_inp", "position_embd", "token_types", "ssm_conv1d", "ssm_a",
        "ssm_d",        "time_mix_lerp", "rope_f",      "attn_sinks", "exp_probs_b"};

    if (t->n_dims < 2 || t->ne[1] * t->ne[2] * t->ne[3] == 1 ||
        slice_ends(t->name, SLICE("_norm.weight")) || slice_ends(t->name, SLICE(".bias")) ||
        slice_ends(t->name, SLICE("ssm_norm.weight")))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (has(t->name, parts[i]))
            return true;
    return false;
}

static int choose(const struct gguf_tensor *t)
{
    const struct fmt_info *f = fmt_find((int)t->type), *to = fmt_find(type);

    if (type == KEEP || !f || !f->decode || stays_f32(t))
        return (int)t->type;
    if (t->ne[0] % (uint64_t)to->block) {
        tool_note("%.*s: rows of %llu weights do not fit %s: F16", (int)t->name.n, t->name.p,
                  (unsigned long long)t->ne[0], to->name);
        return FMT_F16;
    }
    return type;
}

static uint64_t bytes_as(const struct gguf_tensor *t, int fmt)
{
    uint64_t bytes = 0;

    fmt_row_bytes(fmt, t->ne[0], &bytes);
    return bytes * source_n_rows(t);
}

static bool has_adapter(const struct job *j, struct slice name)
{
    for (size_t i = 0; i < loras.n; i++)
        if (lora_find(j->adapter[i].lora, name))
            return true;
    return false;
}

/* Types, and which file each tensor goes to. */
static int make_plan(struct job *j, struct err *e)
{
    uint64_t most = UINT64_MAX, bytes = 0;
    uint32_t in_file = 0;

    if (max_size && !tool_whole_size(max_size, &most))
        return err_set(e, E_USAGE, "--split-max-size: '%.40s' is no size", max_size);
    j->n_tensor = vocab_only ? 0 : j->g->n_tensor;
    j->n_out = 1;
    if (!(j->t = mem_array(j->n_tensor, sizeof *j->t, e)))
        return E_NOMEM;
    for (uint32_t i = 0; i < j->n_tensor; i++) {
        const struct gguf_tensor *t = &j->g->tensor[i];
        uint64_t n;

        if (!t->bytes)
            return err_set(e, E_UNSUPPORTED,
                           "%s: tensor '%.*s' has type %u, which is not supported", j->g->path,
                           (int)t->name.n, t->name.p, t->type);
        j->t[i].to = choose(t);
        j->t[i].computed = j->t[i].to != (int)t->type || has_adapter(j, t->name);
        n = bytes_as(t, j->t[i].to);
        if (in_file &&
            (n > most || bytes > most - n || (max_tensors && in_file >= (uint32_t)max_tensors))) {
            j->n_out++;
            bytes = in_file = 0;
        }
        j->t[i].out = j->n_out - 1;
        bytes += n;
        in_file++;
        j->total += t->bytes;
        j->written += n;
    }
    return 0;
}

/* -- adapters -- */

/* FILE=SCALE, unless a file has that name. */
static int parse_lora(const char *v, struct buf *path, float *scale, struct err *e)
{
    const char *equals = strrchr(v, '=');
    char *end = NULL;

    *scale = 1;
    if (equals && !file_exists(v)) {
        *scale = strtof(equals + 1, &end);
        if (end == equals + 1 || *end || !(*scale > -1e6f && *scale < 1e6f))
            return err_set(e, E_USAGE, "--lora: '%.80s': the scale is no number", v);
        buf_add(path, v, (size_t)(equals - v));
    } else {
        buf_str(path, v);
    }
    return path->bad ? err_nomem(e, strlen(v)) : 0;
}

/* Every matrix of the adapter must be there, in its shape. A model whose output is its table of
 * tokens has one matrix for what an adapter changes in one of two places. */
static int check_adapter(const struct job *j, const struct lora *l, struct err *e)
{
    bool tied = !gguf_tensor(j->g, "output.weight");

    for (uint32_t i = 0; i < l->n_pair; i++) {
        const struct lora_pair *p = &l->pair[i];
        const struct gguf_tensor *t = gguf_tensor(j->g, p->name);

        if (tied && (!t || strcmp(p->name, "token_embd.weight") == 0) &&
            (strcmp(p->name, "output.weight") == 0 || strcmp(p->name, "token_embd.weight") == 0))
            return err_set(e, E_UNSUPPORTED,
                           "%s: '%s' is adapted, but input and output of %s are one table: "
                           "this cannot be merged",
                           l->path, p->name, j->g->path);
        if (!t || t->ne[0] != (uint64_t)p->cols || t->ne[1] != (uint64_t)p->rows ||
            t->ne[2] * t->ne[3] != (uint64_t)p->n)
            return err_set(e, E_FORMAT, "%s: %s has no '%s' of %lld x %lld x %lld", l->path,
                           j->g->path, p->name, (long long)p->n, (long long)p->rows,
                           (long long)p->cols);
    }
    return 0;
}

static int open_adapters(struct job *j, struct err *e)
{
    struct buf path = {0};
    int rc = 0;

    if (loras.n && vocab_only)
        return err_set(e, E_USAGE, "--lora needs tensors: not with --vocab-only");
    if (!(j->adapter = mem_array(loras.n, sizeof *j->adapter, e)))
        return E_NOMEM;
    for (size_t i = 0; i < loras.n && rc == 0; i++) {
        struct adapter *a = &j->adapter[i];

        buf_clear(&path);
        if ((rc = parse_lora(loras.at[i].value, &path, &a->scale, e)) == 0 &&
            (rc = lora_open_for(&a->lora, path.p, j->g, NULL, e)) == 0)
            rc = check_adapter(j, a->lora, e);
    }
    buf_fini(&path);
    return rc;
}

/* Adds all adapters to row r of the tensor. */
static void adapt_row(const struct job *j, uint64_t r, float *row)
{
    for (size_t i = 0; i < loras.n; i++) {
        const struct lora_pair *p = lora_find(j->adapter[i].lora, j->now->name);

        if (p)
            lora_add_row(p, j->adapter[i].scale, (int64_t)(r / j->now->ne[1]),
                         (int64_t)(r % j->now->ne[1]), row);
    }
}

/* -- keys -- */

static bool removed(struct slice key)
{
    for (size_t i = 0; i < removes.n; i++)
        if (slice_is(key, removes.at[i].value))
            return true;
    return slice_starts(key, SLICE("split."));
}

/* The new name of a key, or the old one. */
static int new_name(struct slice *key, struct err *e)
{
    for (size_t i = 0; i < renames.n; i++) {
        const char *v = renames.at[i].value, *cut = strchr(v, '=');

        if (!cut || cut == v || !cut[1])
            return err_set(e, E_USAGE, "--rename: expected OLD=NEW, not '%.80s'", v);
        if (slice_eq(*key, (struct slice){v, (size_t)(cut - v)})) {
            *key = slice_of(cut + 1);
            return 0;
        }
    }
    return 0;
}

static void put_u16(struct gguf_out *w, const char *name, uint32_t v)
{
    uint8_t raw[2] = {(uint8_t)v, (uint8_t)(v >> 8)};
    struct gguf_key k = {
        .name = slice_of(name), .type = GGUF_U16, .raw = {(const char *)raw, sizeof raw}};

    gguf_put_key(w, &k);
}

static void put_file_type(struct gguf_out *w)
{
    static const struct {
        int fmt;
        uint32_t number;
    } of[] = {{FMT_F32, 0}, {FMT_F16, 1}, {FMT_Q8_0, 7}, {FMT_BF16, 32}};

    for (size_t i = 0; i < ARRAY_LEN(of); i++)
        if (of[i].fmt == type)
            gguf_put_u32(w, "general.file_type", of[i].number);
    if (type == FMT_Q8_0)
        gguf_put_u32(w, "general.quantization_version", 2);
}

/* The keys of file i: all but the first have those of the split only. */
static int put_keys(struct job *j, uint32_t i, struct err *e)
{
    struct gguf_out *w = j->out[i];
    int rc;

    for (uint32_t k = 0; k < j->g->n_key && i == 0; k++) {
        struct gguf_key key = j->g->key[k];

        if (removed(key.name))
            continue;
        if ((rc = new_name(&key.name, e)) < 0)
            return rc;
        gguf_put_key(w, &key);
    }
    if (i == 0 && !vocab_only)
        put_file_type(w);
    for (size_t k = 0; k < sets.n && i == 0; k++)
        if ((rc = set_key(w, "--set", sets.at[k].value, e)) < 0)
            return rc;
    if (j->n_out > 1) {
        put_u16(w, "split.no", i);
        put_u16(w, "split.count", j->n_out);
        gguf_put_i32(w, "split.tensors.count", (int32_t)j->n_tensor);
    }
    return 0;
}

/* A byte-level vocabulary whose way of cutting text has no name would be read wrongly. */
static int check_pre(const struct job *j, struct err *e)
{
    struct slice model;

    if (gguf_get_str(j->g, "tokenizer.ggml.model", &model, NULL) <= 0 || !slice_is(model, "gpt2") ||
        gguf_find(j->g, "tokenizer.ggml.pre"))
        return 0;
    for (size_t i = 0; i < sets.n; i++)
        if (strncmp(sets.at[i].value, "tokenizer.ggml.pre=", 19) == 0)
            return 0;
    return err_set(e, E_UNSUPPORTED,
                   "%s: the way it cuts text has no name in GGUF "
                   "(--set tokenizer.ggml.pre=str:NAME gives it one)",
                   j->g->path);
}

/* -- rows -- */

/* Rows of a batch, dealt to the team. */
static void convert_rows(void *arg, int member, int n)
{
    struct job *j = arg;

    thread_ieee();
    for (uint64_t r = (uint64_t)member; r < j->n_rows; r += (uint64_t)n) {
        decode_row(&j->dec, j->in + r * j->in_bytes, j->cols, j->row[member]);
        adapt_row(j, j->first + r, j->row[member]);
        encode_row(j->enc, j->row[member], NULL, j->cols, j->to + r * j->to_bytes);
    }
}

/* Has the disk read what comes next while what is there is written. */
static void read_ahead(struct job *j)
{
    while (j->ahead_i < j->n_tensor && j->ahead < j->done + AHEAD_BYTES) {
        const struct gguf_tensor *t = &j->g->tensor[j->ahead_i];
        uint64_t n = t->bytes - j->ahead_at < BATCH_BYTES ? t->bytes - j->ahead_at : BATCH_BYTES;

        if (t->p)
            file_ahead(t->p + j->ahead_at, (size_t)n);
        j->ahead_at += n;
        j->ahead += n;
        if (j->ahead_at == t->bytes) {
            j->ahead_i++;
            j->ahead_at = 0;
        }
    }
}

static int write_rows(struct job *j, uint32_t i, uint64_t first, uint64_t n, struct err *e)
{
    const struct gguf_tensor *t = &j->g->tensor[i];
    struct gguf_out *w = j->out[j->t[i].out];
    bool same = !j->t[i].computed;
    int rc;

    if (same && t->p) {
        file_fetch(t->p + first * j->in_bytes, n * j->in_bytes);
        return gguf_data(w, t->p + first * j->in_bytes, n * j->in_bytes, e);
    }
    if ((rc = source_rows(j->src, i, first, n, j->in, e)) < 0)
        return rc;
    if (same)
        return gguf_data(w, j->in, n * j->in_bytes, e);
    j->now = t;
    j->first = first;
    j->n_rows = n;
    team_run(j->team, convert_rows, j);
    return gguf_data(w, j->to, n * j->to_bytes, e);
}

static void batch_free(struct job *j)
{
    for (int m = 0; j->row && m < team_size(j->team); m++)
        mem_free(j->row[m]);
    mem_free(j->row);
    mem_free(j->in);
    mem_free(j->to);
    encoder_free(j->enc);
    j->row = NULL;
    j->in = j->to = NULL;
    j->enc = NULL;
}

static int batch_new(struct job *j, uint32_t i, uint64_t rows, struct err *e)
{
    const struct gguf_tensor *t = &j->g->tensor[i];
    int rc = 0;

    if (!j->t[i].computed && t->p)
        return 0;
    if (!(j->in = mem_aligned(rows * j->in_bytes, 64, e)))
        return E_NOMEM;
    if (!j->t[i].computed)
        return 0;
    if (!(j->to = mem_aligned(rows * j->to_bytes, 64, e)) ||
        !(j->row = mem_array((uint64_t)team_size(j->team), sizeof *j->row, e)))
        return E_NOMEM;
    for (int m = 0; m < team_size(j->team); m++)
        if (!(j->row[m] = mem_array(j->cols, sizeof(float), e)))
            return E_NOMEM;
    if ((rc = decoder_find(&j->dec, (int)t->type, e)) == 0)
        rc = encoder_new(&j->enc, j->t[i].to, e);
    return rc;
}

static int write_tensor(struct job *j, uint32_t i, struct err *e)
{
    const struct gguf_tensor *t = &j->g->tensor[i];
    uint64_t rows = source_n_rows(t), batch;
    int rc;

    j->cols = t->ne[0];
    j->in_bytes = source_row_bytes(t);
    fmt_row_bytes(j->t[i].to, t->ne[0], &j->to_bytes);
    batch = BATCH_BYTES / (j->in_bytes > j->to_bytes ? j->in_bytes : j->to_bytes) + 1;
    batch = batch < rows ? batch : rows;
    if ((rc = source_begin(j->src, i, e)) == 0)
        rc = batch_new(j, i, batch, e);
    for (uint64_t r = 0; r < rows && rc == 0; r += batch) {
        uint64_t n = rows - r < batch ? rows - r : batch;

        read_ahead(j);
        rc =
            tool_interrupted() ? err_set(e, E_CANCELLED, "interrupted") : write_rows(j, i, r, n, e);
        j->done += n * j->in_bytes;
        progress_at(&j->bar, j->done);
    }
    batch_free(j);
    source_done(j->src, i);
    return rc;
}

/* -- files -- */

static int open_outputs(struct job *j, const char *path, struct err *e)
{
    struct buf name = {0};
    int rc = 0;

    if (!(j->out = mem_array(j->n_out, sizeof(struct gguf_out *), e)))
        return E_NOMEM;
    if (j->n_out > 1 && strcmp(path, "-") == 0)
        return err_set(e, E_USAGE, "several files cannot go to standard output");
    for (uint32_t i = 0; i < j->n_out && rc == 0; i++) {
        buf_clear(&name);
        if (j->n_out > 1)
            gguf_part_name(&name, path, i, j->n_out);
        else
            buf_str(&name, path);
        if (name.bad)
            rc = err_nomem(e, strlen(path));
        else if ((rc = gguf_create(&j->out[i], name.p, j->g->alignment, e)) == 0) {
            gguf_threads(j->out[i], threads);
            rc = put_keys(j, i, e);
        }
    }
    for (uint32_t i = 0; i < j->n_tensor && rc == 0; i++)
        gguf_put_tensor(j->out[j->t[i].out], j->g->tensor[i].name, (uint32_t)j->t[i].to,
                        j->g->tensor[i].n_dims, j->g->tensor[i].ne);
    for (uint32_t i = 0; i < j->n_out && rc == 0; i++)
        rc = gguf_begin(j->out[i], e);
    buf_fini(&name);
    return rc;
}

static int write_model(struct job *j, const char *path, struct err *e)
{
    int rc;

    if ((rc = team_new(&j->team, threads, e)) < 0 || (rc = open_outputs(j, path, e)) < 0)
        return rc;
    progress_begin(&j->bar, "converting", j->total, true);
    for (uint32_t i = 0; i < j->n_tensor && rc == 0; i++)
        rc = write_tensor(j, i, e);
    progress_end(&j->bar);
    for (uint32_t i = 0; i < j->n_out && rc == 0; i++) {
        struct gguf_out *w = j->out[i];

        j->out[i] = NULL;
        rc = gguf_finish(w, e);
    }
    return rc;
}

/* An adapter as PEFT writes it becomes one as GGUF has it. Which tensors its names mean, and how
 * their rows lie, is the base model's to say; its weights are not needed. */
static int run_adapter(const char *in, const char *named, const char *path, struct err *e)
{
    const struct arch *arch;
    struct source *src = NULL;
    struct lora *l = NULL;
    char from[512];
    int rc;

    if (vocab_only || max_size || max_tensors || loras.n || sets.n || removes.n || renames.n)
        return err_set(e, E_USAGE, "%s is an adapter: only --base and --type make sense", in);
    if (!base && !*named)
        return err_set(e, E_USAGE, "%s does not name its base model: --base MODEL does", in);
    snprintf(from, sizeof from, "%s%.500s", file_exists(named) ? "" : "hf:", named);
    if ((rc = model_source(&src, base ? base : from, HF_VOCAB_ONLY, e)) < 0 && !base) {
        char why[400];

        snprintf(why, sizeof why, "%.399s", e->text);
        *e = (struct err){0};
        return err_set(e, rc, "%s: base model: %s (--base names another)", in, why);
    }
    if (rc == 0 && (rc = lora_open_for(&l, in, src->g, &arch, e)) == 0 &&
        (rc = lora_write(l, arch, path, type == KEEP ? -1 : type, e)) == 0)
        tool_note("%s: an adapter of %u matrices", path, l->n_pair);
    lora_close(l);
    source_close(src);
    return rc;
}

static void say_done(const struct job *j, const char *path)
{
    size_t n = strlen(path);
    bool packed = n > 4 && strcmp(path + n - 4, ".zst") == 0;
    char amount[16], on_disk[16];

    tool_bytes(j->written, amount);
    if (packed && j->n_out == 1)
        tool_note("%s: %u tensors, %s, compressed to %s", path, j->n_tensor, amount,
                  tool_bytes(file_size(path), on_disk));
    else
        tool_note("%s: %u tensors, %s", path, j->n_tensor, amount);
}

static int run_model(const char *in, const char *path, struct err *e)
{
    struct job j = {0};
    struct slice unused;
    uint32_t n;
    int rc;

    if (base)
        return err_set(e, E_USAGE, "--base belongs to an adapter, and %s is none", in);
    if ((rc = model_source(&j.src, in, vocab_only ? HF_VOCAB_ONLY : 0, e)) == 0) {
        j.g = j.src->g;
        rc = check_pre(&j, e);
    }
    if (rc == 0 && (rc = open_adapters(&j, e)) == 0 && (rc = make_plan(&j, e)) == 0 &&
        (rc = write_model(&j, path, e)) == 0) {
        if ((n = model_source_unused(j.src, &unused)) > 0)
            tool_note("%u tensors of %s are not used, for instance %.*s", n, in, (int)unused.n,
                      unused.p);
        say_done(&j, path);
    }
    for (uint32_t i = 0; j.out && i < j.n_out; i++)
        gguf_abort(j.out[i]);
    for (size_t i = 0; j.adapter && i < loras.n; i++)
        lora_close(j.adapter[i].lora);
    mem_free(j.adapter);
    mem_free(j.out);
    mem_free(j.t);
    team_free(j.team);
    source_close(j.src);
    return rc;
}

static int export_step(void *ctx, uint64_t done, struct err *e)
{
    progress_at(ctx, done);
    return tool_interrupted() ? err_set(e, E_CANCELLED, "interrupted") : 0;
}

/* A GGUF file becomes a directory again. */
static int run_export(const char *in, const char *path, struct err *e)
{
    struct progress bar = {0};
    struct hf_export_opts o = {.type = type == KEEP ? -1 : type, .step = export_step, .ctx = &bar};
    struct source *src = NULL;
    struct buf dir = {0};
    int rc;

    if (base || vocab_only || max_size || max_tensors || loras.n || sets.n || removes.n ||
        renames.n)
        return err_set(e, E_USAGE,
                       "%s is a directory: of the options only --type and -t make sense", path);
    if (type == FMT_Q8_0)
        return err_set(e, E_USAGE, "%s is a directory, which has no Q8_0", path);
    if (file_is_dir(in))
        return err_set(e, E_USAGE, "%s is a directory already", in);
    buf_str(&dir, path);
    while (dir.n > 1 && dir.p[dir.n - 1] == '/')
        dir.p[--dir.n] = 0;
    if (dir.bad)
        return err_nomem(e, strlen(path));
    if ((rc = model_source(&src, in, 0, e)) == 0) {
        uint64_t total = 0;

        for (uint32_t i = 0; i < src->g->n_tensor; i++)
            total += src->g->tensor[i].bytes;
        progress_begin(&bar, "converting", total, true);
        rc = hf_export(src, dir.p, &o, e);
        progress_end(&bar);
    }
    if (rc == 0)
        tool_note("%s: %u tensors", dir.p, src->g->n_tensor);
    source_close(src);
    buf_fini(&dir);
    return rc;
}

static bool names_dir(const char *path)
{
    size_t n = strlen(path);

    return (n && path[n - 1] == '/') || file_is_dir(path);
}

static int run(const char *in, const char *path, struct err *e)
{
    struct buf named = {0};
    int rc;

    if (strcmp(path, "-") == 0 && (rc = tool_not_to_terminal(STDOUT_FILENO, "a model", e)) < 0)
        return rc;
    if ((rc = lora_is_dir(in, &named, e)) > 0)
        rc = run_adapter(in, named.p ? named.p : "", path, e);
    else if (rc == 0 && names_dir(path))
        rc = run_export(in, path, e);
    else if (rc == 0)
        rc = run_model(in, path, e);
    buf_fini(&named);
    return rc;
}

int main(int argc, char **argv)
{
    struct err e = {0};
    int first = tool_begin(&tool, argc, argv), rc;

    if (argc - first != 2)
        tool_usage("expected IN OUT");
    rc = run(argv[first], argv[first + 1], &e);
    opt_list_fini(&sets);
    opt_list_fini(&removes);
    opt_list_fini(&renames);
    opt_list_fini(&loras);
    return tool_end(rc < 0 ? tool_fail(&e) : 0);
}
