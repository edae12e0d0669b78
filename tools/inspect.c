/* inspect.c - rill-inspect: what is in a model file.
 *
 * Reads the head of a GGUF file and shows it as text, TSV or JSON lines; touches tensor data only
 * for --check, and opens the model as such only for --plan and --memory. Everything shown comes
 * from a file nobody vouches for, so it is escaped for terminals.
 */
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/thread.h"
#include "base/utf8.h"
#include "file/source.h"
#include "model/hfdir.h"
#include "quant/quant.h"
#include "rill.h"
#include "tools/lib/tool.h"

/* -- options -- */

static bool want_keys, want_tensors, want_totals, want_tokenizer, want_template, want_check;
static bool want_plan, want_memory;
static bool json, tsv, full, no_mmap;
static const char *get_key, *model_arg, *device;
static int threads, n_ctx, n_seq;
static const char *const kv_types[] = {"f16", "f32", NULL};
static int kv_type = -1;

static const struct tool_option opts[] = {
    {'m', "model", OPT_STR, &model_arg, "MODEL", "the model, if it is no operand"},
    {0, "keys", OPT_FLAG, &want_keys, 0, "the metadata",
     .group = "What to show (else the first five)"},
    {0, "tensors", OPT_FLAG, &want_tensors, 0, "each tensor's type, shape, bytes and offset"},
    {0, "totals", OPT_FLAG, &want_totals, 0, "tensors, weights and bytes by type"},
    {0, "tokenizer", OPT_FLAG, &want_tokenizer, 0, "the vocabulary in short"},
    {0, "template", OPT_FLAG, &want_template, 0, "the chat templates"},
    {0, "check", OPT_FLAG, &want_check, 0,
     "count NaN and infinite weights; exit 1 if there are any"},
    {0, "plan", OPT_FLAG, &want_plan, 0, "the plan, with the kernel chosen for each record"},
    {0, "memory", OPT_FLAG, &want_memory, 0, "the memory it needs (also with -c or -b)"},
    {0, "get", OPT_STR, &get_key, "KEY", "the value of one key and nothing else"},
    {'j', "json", OPT_FLAG, &json, 0, "one JSON object per line", .group = "How to show it"},
    {0, "tsv", OPT_FLAG, &tsv, 0, "tab-separated lines"},
    {0, "full", OPT_FLAG, &full, 0, "whole strings and arrays, however long"},
    {'c', "ctx", OPT_INT, &n_ctx, "N", "positions of context (0: the model's own)", .max = 1e9,
     .group = "How to open it"},
    {'b', "batch", OPT_INT, &n_seq, "N", "sequences at once (0: one)", .max = 1 << 20},
    {0, "device", OPT_STR, &device, "DEV", "cpu, cpu:THREADS or auto"},
    {0, "kv-type", OPT_CHOICE, &kv_type, "TYPE", "type of stored keys and values",
     .choices = kv_types},
    {'t', "threads", OPT_INT, &threads, "N", "threads (0: one per processor)", .max = 1024},
    {0, "no-mmap", OPT_FLAG, &no_mmap, 0, "read the file into memory instead of mapping it"},
    {0}};

static struct tool tool = {"rill-inspect", "[options] [MODEL]", "shows what is in a model file",
                           opts, 0};

/* -- rows: one call per field, three ways to show it -- */

enum {
    CUT_TEXT = 64, // characters of a string shown in a line
    CUT_LIST = 8,  // elements of an array
};

static struct buf row;

static void row_begin(const char *kind)
{
    buf_clear(&row);
    if (json)
        buf_printf(&row, "{\"kind\":\"%s\"", kind);
    else if (tsv)
        buf_str(&row, kind);
}

static void field_begin(const char *name)
{
    if (json)
        buf_printf(&row, ",\"%s\":", name);
    else
        buf_str(&row, tsv ? "\t" : "  ");
}

static void row_end(struct err *e)
{
    if (json)
        buf_byte(&row, '}');
    while (!json && !tsv && row.n && row.p[row.n - 1] == ' ')
        row.n--;
    buf_byte(&row, '\n');
    if (row.bad)
        err_nomem(e, row.n);
    else
        fwrite(row.p, 1, row.n, stdout);
}

/* A line that only people need. */
static void heading(const char *fmt, ...) ERR_PRINTF(1, 2);
static void heading(const char *fmt, ...)
{
    va_list ap;

    if (json || tsv)
        return;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

enum shown { LINE, QUOTED, LINES }; // on its line, the same in quotes, with its own lines

/* s so that it stays where it is put and does nothing to a terminal. */
static void add_shown(struct buf *b, struct slice s, enum shown how)
{
    for (size_t i = 0; i < s.n;) {
        unsigned char c = (unsigned char)s.p[i];
        uint32_t cp;
        int n = utf8_decode(s.p + i, s.n - i, &cp);

        if (how == LINES && (c == '\n' || c == '\t'))
            buf_byte(b, (char)c);
        else if (c == '\n' || c == '\t')
            buf_str(b, c == '\n' ? "\\n" : "\\t");
        else if ((c == '\\' && how != LINES) || (c == '"' && how == QUOTED))
            buf_printf(b, "\\%c", c);
        else if (n > 0 && utf8_shown(cp))
            buf_add(b, s.p + i, (size_t)n);
        else
            buf_printf(b, "\\x%02x", c);
        i += n > 1 && utf8_shown(cp) ? (size_t)n : 1;
    }
}

/* At most n characters from the front of s. */
static struct slice front(struct slice s, size_t n)
{
    size_t i = 0;

    for (; i < s.n && n > 0; n--) {
        uint32_t cp;
        int len = utf8_decode(s.p + i, s.n - i, &cp);

        i += len > 0 ? (size_t)len : 1;
    }
    return (struct slice){s.p, i};
}

static size_t shown_width(const struct buf *b, size_t from)
{
    size_t n = 0;

    for (size_t i = from; i < b->n; i++)
        n += ((unsigned char)b->p[i] & 0xc0) != 0x80;
    return n;
}

static void pad_to(size_t from, int width)
{
    if (!json && !tsv)
        for (size_t n = shown_width(&row, from); n < (size_t)width; n++)
            buf_byte(&row, ' ');
}

static void field_text(const char *name, int width, struct slice s)
{
    size_t from;

    field_begin(name);
    from = row.n;
    if (json)
        buf_json(&row, s);
    else
        add_shown(&row, s, LINE);
    pad_to(from, width);
}

static void field_str(const char *name, int width, const char *s)
{
    field_text(name, width, slice_of(s));
}

static void field_num(const char *name, int width, uint64_t v)
{
    field_begin(name);
    buf_printf(&row, "%*llu", json || tsv ? 0 : width, (unsigned long long)v);
}

/* -- values -- */

static void add_float(double v, uint32_t type)
{
    int digits = type == GGUF_F32 ? 6 : 15;
    char text[40];

    if (!isfinite(v)) {
        buf_str(&row, json ? "null" : isnan(v) ? "nan" : v > 0 ? "inf" : "-inf");
        return;
    }
    do /* as few digits as give the same number back */
        snprintf(text, sizeof text, "%.*g", digits++, v);
    while (type == GGUF_F32 ? strtof(text, NULL) != (float)v : strtod(text, NULL) != v);
    buf_str(&row, text);
}

/* Element i of an array; quoted where several stand in a row. */
static void add_element(const struct gguf_array *a, uint64_t i, bool quoted)
{
    struct slice s;

    if (a->type == GGUF_STR) {
        s = gguf_str_at(a, i);
        if (json) {
            buf_json(&row, full ? s : front(s, 1000));
            return;
        }
        buf_str(&row, quoted ? "\"" : "");
        add_shown(&row, full ? s : front(s, CUT_TEXT), quoted ? QUOTED : LINE);
        buf_str(&row, quoted ? "\"" : "");
    } else if (a->type == GGUF_BOOL) {
        buf_str(&row, gguf_int_at(a, i) ? "true" : "false");
    } else if (a->type == GGUF_U64) {
        buf_printf(&row, "%llu", (unsigned long long)gguf_int_at(a, i));
    } else if (gguf_type_is_int(a->type)) {
        buf_printf(&row, "%lld", (long long)gguf_int_at(a, i));
    } else {
        add_float(gguf_float_at(a, i), a->type);
    }
}

static void add_list(const struct gguf_array *a)
{
    uint64_t n = full || a->n <= CUT_LIST ? a->n : CUT_LIST;

    buf_byte(&row, '[');
    for (uint64_t i = 0; i < n; i++) {
        if (i)
            buf_str(&row, json || tsv ? "," : ", ");
        add_element(a, i, true);
    }
    if (!json && n < a->n)
        buf_str(&row, tsv ? ",..." : ", ...");
    buf_byte(&row, ']');
}

/* A scalar as an array of one, so that there is one way to show a value. */
static struct gguf_array as_array(const struct gguf_key *k, uint64_t at[2])
{
    if (k->type == GGUF_ARR)
        return k->array;
    if (k->type != GGUF_STR)
        return (struct gguf_array){k->type, 1, (const uint8_t *)k->raw.p, NULL};
    at[0] = 0; /* a string's element starts with its length, which is never read */
    at[1] = k->raw.n + 8;
    return (struct gguf_array){GGUF_STR, 1, (const uint8_t *)k->raw.p - 8, at};
}

static void show_key(const struct gguf_key *k, int width, struct err *e)
{
    uint64_t at[2];
    struct gguf_array a = as_array(k, at);
    bool list = k->type == GGUF_ARR;
    bool cut = !full &&
               (list ? a.n > CUT_LIST : a.type == GGUF_STR && front(k->raw, CUT_TEXT).n < k->raw.n);
    char type[32];

    snprintf(type, sizeof type, list ? "%s[%llu]" : "%s", gguf_type_name(a.type),
             (unsigned long long)a.n);
    row_begin("key");
    field_text("name", width, k->name);
    field_str("type", 12, type);
    if (json && list)
        field_num("count", 0, a.n);
    field_begin("value");
    if (list)
        add_list(&a);
    else
        add_element(&a, 0, false);
    if (cut && json)
        buf_str(&row, ",\"cut\":true");
    else if (cut && !list)
        buf_printf(&row, "... (%zu bytes)", k->raw.n);
    row_end(e);
}

static int show_keys(const struct gguf *g, struct err *e)
{
    size_t width = 0;

    for (uint32_t i = 0; i < g->n_key; i++)
        if (g->key[i].name.n > width && g->key[i].name.n <= 48)
            width = g->key[i].name.n;
    heading("keys: %u", g->n_key);
    for (uint32_t i = 0; i < g->n_key && !e->code; i++)
        show_key(&g->key[i], (int)width, e);
    heading("%s", "");
    return e->code;
}

/* The value of one key as it is: a string's bytes, an array's elements a line each. On a terminal
 * control characters are still escaped. */
static int show_value(const struct gguf *g, struct err *e)
{
    const struct gguf_key *k = gguf_find(g, get_key);
    bool terminal = isatty(STDOUT_FILENO);
    struct gguf_array a;
    uint64_t at[2];

    if (!k)
        return err_set(e, E_NOTFOUND, "%s: no key '%s'", g->path, get_key);
    a = as_array(k, at);
    for (uint64_t i = 0; i < a.n && !e->code; i++) {
        buf_clear(&row);
        if (a.type == GGUF_STR && !json && terminal)
            add_shown(&row, gguf_str_at(&a, i), LINES);
        else if (a.type == GGUF_STR && !json)
            buf_slice(&row, gguf_str_at(&a, i));
        else
            add_element(&a, i, false);
        buf_byte(&row, '\n');
        if (row.bad)
            return err_nomem(e, row.n);
        fwrite(row.p, 1, row.n, stdout);
    }
    return e->code;
}

/* -- tensors -- */

static const struct fmt_info *format_of(const struct gguf_tensor *t)
{
    return t->bytes ? fmt_find((int)t->type) : NULL;
}

static const char *type_name(const struct gguf_tensor *t, char out[24])
{
    const struct fmt_info *f = format_of(t);

    if (f)
        snprintf(out, 24, "%s", f->name);
    else
        snprintf(out, 24, "type %u", t->type);
    return out;
}

static uint64_t weights_of(const struct gguf_tensor *t)
{
    return t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3]; /* at most INT64_MAX: checked at open */
}

static void field_shape(const struct gguf_tensor *t, int width)
{
    uint32_t n = t->n_dims ? t->n_dims : 1;
    size_t from;

    field_begin("shape");
    from = row.n;
    buf_str(&row, json ? "[" : "");
    for (uint32_t d = 0; d < n; d++)
        buf_printf(&row, "%s%llu",
                   !d     ? ""
                   : json ? ","
                   : tsv  ? "x"
                          : " x ",
                   (unsigned long long)t->ne[d]);
    buf_str(&row, json ? "]" : "");
    pad_to(from, width);
}

static int name_width(const struct gguf *g)
{
    size_t width = 0;

    for (uint32_t i = 0; i < g->n_tensor; i++)
        if (g->tensor[i].name.n > width && g->tensor[i].name.n <= 48)
            width = g->tensor[i].name.n;
    return (int)width;
}

static int show_tensors(const struct gguf *g, struct err *e)
{
    int width = name_width(g);
    char type[24];

    heading(g->n_tensor ? "tensors: %u (type, shape with the row length first, bytes, offset in %s)"
                        : "tensors: none",
            g->n_tensor, g->n_part > 1 ? "its part" : "the file");
    for (uint32_t i = 0; i < g->n_tensor && !e->code; i++) {
        const struct gguf_tensor *t = &g->tensor[i];

        row_begin("tensor");
        field_text("name", width, t->name);
        field_str("type", 8, type_name(t, type));
        if (json)
            field_num("type_id", 0, t->type);
        field_shape(t, 20);
        field_num("bytes", 12, t->bytes);
        field_num("offset", 13, g->part[t->part].data_at + t->offset);
        if (g->n_part > 1 || json)
            field_num("part", 3, t->part + 1);
        row_end(e);
    }
    heading("%s", "");
    return e->code;
}

struct total {
    uint64_t tensors, weights, bytes;
};

static void add_total(struct total *t, uint64_t weights, uint64_t bytes)
{
    t->tensors++;
    t->weights = weights > UINT64_MAX - t->weights ? UINT64_MAX : t->weights + weights;
    t->bytes += bytes;
}

static void show_total(const char *name, const struct total *t, struct err *e)
{
    char bytes[16];

    if (!t->tensors)
        return;
    row_begin("total");
    field_str("type", 8, name);
    field_num("tensors", 7, t->tensors);
    field_num("weights", 14, t->weights);
    field_num("bytes", 14, t->bytes);
    field_begin("bits_per_weight");
    buf_printf(&row, json || tsv ? "%.4f" : "%8.4f bits a weight", t->bytes * 8.0 / t->weights);
    if (!json && !tsv)
        buf_printf(&row, ", %s", tool_bytes(t->bytes, bytes));
    row_end(e);
}

static int show_totals(const struct gguf *g, struct err *e)
{
    struct total all = {0};
    struct total unknown = {0};
    struct total by_type[FMT_ID_END] = {{0}};

    for (uint32_t i = 0; i < g->n_tensor; i++) {
        const struct gguf_tensor *t = &g->tensor[i];
        struct total *own = format_of(t) ? &by_type[t->type] : &unknown;

        add_total(own, weights_of(t), t->bytes);
        add_total(&all, weights_of(t), t->bytes);
    }
    if (g->n_tensor == 0)
        return 0;
    heading("totals: type, tensors, weights, bytes");
    for (int id = 0; id < FMT_ID_END; id++)
        if (by_type[id].tensors)
            show_total(fmt_find(id)->name, &by_type[id], e);
    show_total("unknown", &unknown, e);
    show_total("all", &all, e);
    heading("%s", "");
    return e->code;
}

/* -- the tokenizer -- */

static void show_fact(const char *name, struct slice value, struct err *e)
{
    row_begin("tokenizer");
    field_str("name", 24, name);
    field_text("value", 0, value);
    row_end(e);
}

static void show_count(const char *name, uint64_t n, struct err *e)
{
    row_begin("tokenizer");
    field_str("name", 24, name);
    field_num("value", 0, n);
    row_end(e);
}

/* How many tokens are of each kind (the numbers are SentencePiece's). */
static void show_kinds(const struct gguf_array *kinds, struct err *e)
{
    static const char *const name[] = {"undefined",    "normal", "unknown", "control",
                                       "user-defined", "unused", "byte",    "of other kinds"};
    uint64_t count[ARRAY_LEN(name)] = {0};

    for (uint64_t i = 0; i < kinds->n; i++) {
        int64_t k = gguf_int_at(kinds, i);

        count[k >= 0 && k < 7 ? k : 7]++;
    }
    for (size_t k = 0; k < ARRAY_LEN(name); k++)
        if (count[k]) {
            row_begin("token_kind");
            field_str("name", 24, name[k]);
            field_num("count", 0, count[k]);
            row_end(e);
        }
}

/* A key "tokenizer.ggml.X_token_id": the role X, the id and what it stands for. */
static void show_role(const struct gguf_key *k, const struct gguf_array *tokens, struct err *e)
{
    static const char prefix[] = "tokenizer.ggml.";
    static const char suffix[] = "_token_id";
    struct slice role = k->name;
    uint64_t at[2];
    struct gguf_array a = as_array(k, at);
    int64_t id;

    if (!slice_starts(role, SLICE(prefix)) || role.n < sizeof prefix + sizeof suffix - 1 ||
        memcmp(role.p + role.n - (sizeof suffix - 1), suffix, sizeof suffix - 1) != 0 ||
        !gguf_type_is_int(k->type))
        return;
    role.p += sizeof prefix - 1;
    role.n -= sizeof prefix - 1 + sizeof suffix - 1;
    id = gguf_int_at(&a, 0);
    row_begin("token");
    field_text("role", 24, role);
    field_begin("id");
    buf_printf(&row, json || tsv ? "%lld" : "%-7lld", (long long)id);
    if (id >= 0 && (uint64_t)id < tokens->n)
        field_text("text", 0, gguf_str_at(tokens, (uint64_t)id));
    else if (json)
        buf_str(&row, ",\"text\":null");
    else
        field_str("text", 0, "(no such token)");
    row_end(e);
}

static int show_tokenizer(const struct gguf *g, struct err *e)
{
    struct gguf_array tokens = {.type = GGUF_STR};
    struct gguf_array other;
    struct slice s;
    bool yes;

    if (gguf_get_str(g, "tokenizer.ggml.model", &s, NULL) <= 0) {
        heading("tokenizer: none\n");
        return 0;
    }
    heading("tokenizer:");
    show_fact("model", s, e);
    if (gguf_get_str(g, "tokenizer.ggml.pre", &s, NULL) > 0)
        show_fact("pre-tokenizer", s, e);
    if (gguf_get_strs(g, "tokenizer.ggml.tokens", &tokens, NULL) > 0)
        show_count("tokens", tokens.n, e);
    if (gguf_get_strs(g, "tokenizer.ggml.merges", &other, NULL) > 0)
        show_count("merges", other.n, e);
    if (gguf_get_ints(g, "tokenizer.ggml.token_type", &other, NULL) > 0)
        show_kinds(&other, e);
    for (uint32_t i = 0; i < g->n_key; i++)
        show_role(&g->key[i], &tokens, e);
    for (uint32_t i = 0; i < g->n_key; i++) {
        struct slice name = g->key[i].name;
        static const char prefix[] = "tokenizer.ggml.";

        if (g->key[i].type != GGUF_BOOL || !slice_starts(name, SLICE(prefix)))
            continue;
        yes = g->key[i].raw.p[0] == 1;
        name = (struct slice){name.p + sizeof prefix - 1, name.n - (sizeof prefix - 1)};
        row_begin("tokenizer");
        field_text("name", 24, name);
        field_begin("value");
        buf_str(&row, json ? (yes ? "true" : "false") : yes ? "yes" : "no");
        row_end(e);
    }
    heading("%s", "");
    return e->code;
}

/* "tokenizer.chat_template", and ".NAME" behind it for further ones. */
static int show_templates(const struct gguf *g, struct err *e)
{
    static const char key[] = "tokenizer.chat_template";
    int n = 0;

    for (uint32_t i = 0; i < g->n_key && !e->code; i++) {
        const struct gguf_key *k = &g->key[i];
        struct slice name = {"default", 7};

        if (k->type != GGUF_STR || !slice_starts(k->name, SLICE(key)))
            continue;
        if (k->name.n >= sizeof key && k->name.p[sizeof key - 1] == '.')
            name = (struct slice){k->name.p + sizeof key, k->name.n - sizeof key};
        else if (k->name.n >= sizeof key)
            continue;
        n++;
        if (json || tsv) {
            row_begin("chat_template");
            field_text("name", 0, name);
            field_text("text", 0, k->raw);
            row_end(e);
            continue;
        }
        buf_clear(&row);
        buf_str(&row, "chat template '");
        add_shown(&row, name, LINE);
        buf_printf(&row, "' (%zu bytes):\n", k->raw.n);
        add_shown(&row, k->raw, LINES);
        row_end(e);
    }
    if (n == 0)
        heading("chat template: none");
    return e->code;
}

/* -- the check -- */

struct count {
    uint64_t nan, inf;
};

static void count_floats(const float *x, size_t n, struct count *c)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;

        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffff;
        c->inf += bits == 0x7f800000;
        c->nan += bits > 0x7f800000;
    }
}

/* No scale or minimum that could take a weight out of the finite: codes are below 2^8. */
static bool scales_tame(const struct fmt_info *f, const void *block)
{
    float s[FMT_SUBS_MAX] = {0};
    float m[FMT_SUBS_MAX] = {0};
    bool tame = true;

    f->scales(block, s, m);
    for (int i = 0; i < f->block / f->sub; i++)
        tame = tame && fabsf(s[i]) < 1e35f && fabsf(m[i]) < 1e35f; /* false for NaN */
    return tame;
}

static void count_blocks(const struct fmt_info *f, const uint8_t *p, uint64_t n, struct count *c)
{
    float x[FMT_BLOCK_MAX];
    size_t step = f->sub ? 1 : FMT_BLOCK_MAX / (size_t)f->block;

    for (uint64_t i = 0; i < n; i += step) {
        const uint8_t *block = p + i * (size_t)f->bytes;

        if (step > n - i)
            step = (size_t)(n - i);
        if (f->sub && scales_tame(f, block))
            continue;
        f->decode(block, x, step);
        count_floats(x, step * (size_t)f->block, c);
    }
}

struct check {
    const struct fmt_info *f;
    const uint8_t *p;
    uint64_t n_block;
    struct count *member; // [team]
};

static void check_part(void *arg, int member, int n)
{
    const struct check *k = arg;
    uint64_t each = k->n_block / (uint64_t)n;
    uint64_t from = each * (uint64_t)member;
    uint64_t to = member == n - 1 ? k->n_block : from + each;

    count_blocks(k->f, k->p + from * (uint64_t)k->f->bytes, to - from, &k->member[member]);
}

static void show_check(const char *kind, struct slice name, int width, uint64_t weights,
                       const struct count *c, struct err *e)
{
    row_begin(kind);
    field_text("name", width, name);
    field_num("weights", 14, weights);
    field_num("nan", 12, c->nan);
    field_num("inf", 12, c->inf);
    row_end(e);
}

/* 1 when something was found. Rows for people name only what was found, unless -v. */
static int check_tensors(const struct gguf *g, struct team *team, struct count *member,
                         struct err *e)
{
    struct total total = {0};
    struct count all = {0};
    struct progress progress;
    int width = name_width(g);
    bool found = false;

    heading("check: tensor, weights, NaN, infinite");
    for (uint32_t i = 0; i < g->n_tensor; i++)
        add_total(&total, weights_of(&g->tensor[i]), g->tensor[i].bytes);
    progress_begin(&progress, "checking", total.bytes, true);
    total.bytes = 0;
    for (uint32_t i = 0; i < g->n_tensor && !e->code && !tool_interrupted(); i++) {
        const struct gguf_tensor *t = &g->tensor[i];
        struct check k = {format_of(t), t->p, 0, member};
        struct count c = {0};

        if (!k.f) {
            tool_warn("tensor %u is of the unknown type %u: not checked", i + 1, t->type);
            found = true;
            continue;
        }
        if (i + 1 < g->n_tensor)
            gguf_willneed(g, &g->tensor[i + 1]);
        k.n_block = t->bytes / (uint64_t)k.f->bytes;
        team_run(team, check_part, &k);
        for (int m = 0; m < team_size(team); m++) {
            c.nan += member[m].nan;
            c.inf += member[m].inf;
            member[m] = (struct count){0};
        }
        gguf_dontneed(g, t);
        all.nan += c.nan;
        all.inf += c.inf;
        total.bytes += t->bytes;
        if (json || tsv || c.nan || c.inf || tool.verbose > 0)
            show_check("check", t->name, width, weights_of(t), &c, e);
        progress_at(&progress, total.bytes);
    }
    progress_end(&progress);
    show_check("check_total", SLICE("all"), width, total.weights, &all, e);
    return e->code ? e->code : found || all.nan || all.inf;
}

static int run_check(const struct gguf *g, struct err *e)
{
    int n = threads ? threads : thread_cpus();
    struct count *member = mem_array((uint64_t)n, sizeof *member, e);
    struct team *team = NULL;
    int rc = member ? team_new(&team, n, e) : E_NOMEM;

    if (rc == 0)
        rc = check_tensors(g, team, member, e);
    team_free(team);
    mem_free(member);
    return rc;
}

/* -- as an opened model -- */

static int show_plan(struct rill_model *m, struct err *e)
{
    char *text = NULL;
    size_t n = 0;
    int rc = rill_model_plan(m, &text, &n, e);
    struct slice left = {text, n};

    heading("plan:");
    while (rc == 0 && left.n > 0 && !e->code) {
        const char *nl = memchr(left.p, '\n', left.n);
        size_t len = nl ? (size_t)(nl - left.p) : left.n;

        row_begin("plan");
        field_text("record", 0, (struct slice){left.p, len});
        row_end(e);
        left.p += len + (nl != NULL);
        left.n -= len + (nl != NULL);
    }
    rill_free(text);
    heading("%s", "");
    return rc < 0 ? rc : e->code;
}

static void show_bytes(const char *name, uint64_t n)
{
    char text[16];

    if (json || tsv)
        field_num(name, 0, n);
    else
        buf_printf(&row, "  %-10s %16llu  %s\n", name, (unsigned long long)n, tool_bytes(n, text));
}

static int show_memory(const struct rill_model *m, struct err *e)
{
    struct rill_model_info info;
    struct rill_memory mem;
    int seqs = n_seq ? n_seq : 1;
    int rc;

    rill_model_info(m, &info);
    if ((rc = rill_model_memory(m, info.n_ctx, seqs, &mem, e)) < 0)
        return rc;
    heading("memory for %d sequence%s of %d positions:", seqs, seqs > 1 ? "s" : "", info.n_ctx);
    row_begin("memory");
    if (json || tsv) {
        field_num("context", 0, (uint64_t)info.n_ctx);
        field_num("sequences", 0, (uint64_t)seqs);
    }
    show_bytes("weights", mem.weights);
    show_bytes("kv", mem.kv);
    show_bytes("state", mem.state);
    show_bytes("work", mem.work);
    show_bytes("total", mem.weights + mem.kv + mem.state + mem.work);
    row_end(e);
    return e->code;
}

/* What only a model opened on a device can say. */
static int show_opened(const char *path, struct err *e)
{
    struct rill_model_opts how = {.device = device,
                                  .threads = threads,
                                  .n_ctx = n_ctx,
                                  .kv_type = kv_type < 0 ? NULL : kv_types[kv_type],
                                  .no_mmap = no_mmap};
    struct rill_model *m = NULL;
    int rc = rill_model_open(&m, path, &how, e);

    if (rc == 0 && want_memory)
        rc = show_memory(m, e);
    if (rc == 0 && want_plan)
        rc = show_plan(m, e);
    rill_model_close(m);
    return rc;
}

/* -- files of keys and values (rill-run --kv-save) -- */

static bool is_kv(const char *path)
{
    char head[8] = {0};
    FILE *f = strcmp(path, "-") ? fopen(path, "rb") : NULL;
    bool kv = f && fread(head, 1, sizeof head, f) == sizeof head &&
              memcmp(head, "rill-kv\n", sizeof head) == 0;

    if (f)
        fclose(f);
    return kv;
}

/* The text of its tokens, by a model's vocabulary. */
static int show_kv_text(const struct rill_kv *kv, const char *model, struct err *e)
{
    struct rill_model_opts how = {.vocab_only = true};
    struct rill_model *m = NULL;
    struct rill_model_info info = {0};
    struct buf text = {0};
    int rc = rill_model_open(&m, model, &how, e);

    if (rc == 0)
        rill_model_info(m, &info);
    for (size_t i = 0; rc == 0 && i < kv->n; i++) {
        size_t n = 0;
        const char *piece = "";

        if (kv->ids[i] >= 0 && kv->ids[i] < info.n_vocab)
            piece = rill_piece(m, kv->ids[i], true, &n);
        buf_add(&text, piece, n);
    }
    if (rc == 0) {
        row_begin("text");
        field_text("text", 0, buf_view(&text));
        row_end(e);
    }
    buf_fini(&text);
    rill_model_close(m);
    return rc;
}

static int show_kv(const char *path, const char *model, struct err *e)
{
    struct rill_kv kv;
    size_t made = 0;
    int rc = rill_kv_open(&kv, path, e);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < kv.n; i++)
        made += kv.made[i];
    row_begin("kv");
    if (json)
        buf_printf(&row,
                   ",\"tokens\":%zu,\"made\":%zu,\"positions\":%d,\"bytes\":%llu,"
                   "\"compressed\":%s,\"device\":",
                   kv.n, made, kv.n_pos, (unsigned long long)kv.bytes,
                   kv.compressed ? "true" : "false");
    else
        buf_printf(&row,
                   tsv ? "\t%zu\t%zu\t%d\t%llu\t%s\t"
                       : "%zu tokens, %zu of them made by the "
                         "model; keys and values of %d positions, %llu bytes%s, device ",
                   kv.n, made, kv.n_pos, (unsigned long long)kv.bytes,
                   kv.compressed ? tsv ? "zstd" : ", zstd" : "");
    if (json)
        buf_json(&row, slice_of(kv.device));
    else
        add_shown(&row, slice_of(kv.device), LINE);
    row_end(e);
    if (model)
        rc = show_kv_text(&kv, model, e);
    rill_kv_fini(&kv);
    return rc;
}

/* -- all of it -- */

static int show_file(const struct gguf *g, struct err *e)
{
    char bytes[16];

    row_begin("file");
    if (json || tsv) {
        field_str("path", 0, g->path);
        field_str("format", 0, "gguf");
        field_num("version", 0, g->version);
        field_num("parts", 0, g->n_part);
        field_num("bytes", 0, g->file_bytes);
        field_num("alignment", 0, g->alignment);
        field_num("keys", 0, g->n_key);
        field_num("tensors", 0, g->n_tensor);
    } else {
        add_shown(&row, slice_of(g->path), LINE);
        buf_printf(&row, ": GGUF %u, %s (%llu bytes)", g->version, tool_bytes(g->file_bytes, bytes),
                   (unsigned long long)g->file_bytes);
        if (g->n_part > 1)
            buf_printf(&row, " in %u parts", g->n_part);
        buf_printf(&row, ", alignment %u\n", g->alignment);
    }
    row_end(e);
    return e->code;
}

/* 0, 1 when --check found something, or a negative code. */
static int show(const struct gguf *g, struct err *e)
{
    bool all = !want_keys && !want_tensors && !want_totals && !want_tokenizer && !want_template &&
               !want_check && !want_plan && !want_memory;
    int rc = 0;

    if (get_key)
        return show_value(g, e);
    if (all)
        rc = show_file(g, e);
    if (rc == 0 && (all || want_keys))
        rc = show_keys(g, e);
    if (rc == 0 && (all || want_tensors))
        rc = show_tensors(g, e);
    if (rc == 0 && (all || want_totals))
        rc = show_totals(g, e);
    if (rc == 0 && (all || want_tokenizer))
        rc = show_tokenizer(g, e);
    if (rc == 0 && (all || want_template))
        rc = show_templates(g, e);
    if (rc == 0 && want_check)
        rc = run_check(g, e);
    return rc;
}

/* A GGUF file, or what looks like one: then *src is to be closed, else *g. */
static int open_any(struct source **src, struct gguf **g, const char *path, struct err *e)
{
    unsigned flags = no_mmap ? GGUF_READ : 0;
    int rc;

    if (strcmp(path, "-") == 0)
        return gguf_open(g, path, flags, e);
    if ((rc = model_source(src, path, flags, e)) < 0)
        return rc;
    *g = (*src)->g;
    return want_check ? model_source_load(*src, e) : 0;
}

static int run(int n, char **operand, struct err *e)
{
    const char *path = n ? operand[0] : model_arg;
    struct source *src = NULL;
    struct gguf *g = NULL;
    int found;
    int rc;

    if (n == 1 && is_kv(operand[0])) {
        rc = show_kv(operand[0], model_arg, e);
        buf_fini(&row);
        return rc;
    }
    if (n + (model_arg != NULL) > 1)
        tool_usage("more than one model: '%s'", operand[n - 1]);
    if (json && tsv)
        tool_usage("-j and --tsv exclude each other");
    if (!(path = tool_model(path, e)))
        return e->code;
    want_memory = want_memory || (!want_plan && (n_ctx || n_seq));
    if ((want_memory || want_plan) && strcmp(path, "-") == 0)
        tool_usage("--plan and --memory need a file, not standard input");
    rc = open_any(&src, &g, path, e);
    if (rc == 0)
        rc = show(g, e);
    found = rc;
    if (rc >= 0 && (want_memory || want_plan) && !get_key)
        rc = show_opened(path, e);
    if (rc == 0)
        rc = found;
    if (src)
        source_close(src);
    else
        gguf_close(g);
    buf_fini(&row);
    return rc;
}

int main(int argc, char **argv)
{
    struct err e = {0};
    int first = tool_begin(&tool, argc, argv);
    int rc = run(argc - first, argv + first, &e);

    return tool_end(rc < 0 ? tool_fail(&e) : rc);
}
