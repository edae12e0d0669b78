/* inspect_show.c - what the head of a model file says: keys, tensors, totals, vocabulary,
 * templates. */
#include "tools/lib/inspect.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "tools/lib/tool.h"

enum {
    CUT_TEXT = 64, // characters of a string shown in a line
    CUT_LIST = 8,  // elements of an array
};

/* -- values -- */

static void add_float(struct show *o, double v, uint32_t type)
{
    int digits = type == GGUF_F32 ? 6 : 15;
    char text[40];

    if (!isfinite(v)) {
        buf_str(&o->row, o->json ? "null" : isnan(v) ? "nan" : v > 0 ? "inf" : "-inf");
        return;
    }
    do /* as few digits as give the same number back */
        snprintf(text, sizeof text, "%.*g", digits++, v);
    while (type == GGUF_F32 ? strtof(text, NULL) != (float)v : strtod(text, NULL) != v);
    buf_str(&o->row, text);
}

/* Element i of an array; quoted where several stand in a o->row. */
static void add_element(struct show *o, const struct gguf_array *a, uint64_t i, bool quoted)
{
    struct slice s;

    if (a->type == GGUF_STR) {
        s = gguf_str_at(a, i);
        if (o->json) {
            buf_json(&o->row, o->full ? s : front(s, 1000));
            return;
        }
        buf_str(&o->row, quoted ? "\"" : "");
        add_shown(&o->row, o->full ? s : front(s, CUT_TEXT), quoted ? QUOTED : LINE);
        buf_str(&o->row, quoted ? "\"" : "");
    } else if (a->type == GGUF_BOOL) {
        buf_str(&o->row, gguf_int_at(a, i) ? "true" : "false");
    } else if (a->type == GGUF_U64) {
        buf_printf(&o->row, "%llu", (unsigned long long)gguf_int_at(a, i));
    } else if (gguf_type_is_int(a->type)) {
        buf_printf(&o->row, "%lld", (long long)gguf_int_at(a, i));
    } else {
        add_float(o, gguf_float_at(a, i), a->type);
    }
}

static void add_list(struct show *o, const struct gguf_array *a)
{
    uint64_t n = o->full || a->n <= CUT_LIST ? a->n : CUT_LIST;

    buf_byte(&o->row, '[');
    for (uint64_t i = 0; i < n; i++) {
        if (i)
            buf_str(&o->row, o->json || o->tsv ? "," : ", ");
        add_element(o, a, i, true);
    }
    if (!o->json && n < a->n)
        buf_str(&o->row, o->tsv ? ",..." : ", ...");
    buf_byte(&o->row, ']');
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

const char *key_type(const struct gguf_key *k, char out[32])
{
    bool list = k->type == GGUF_ARR;

    snprintf(out, 32, list ? "%s[%llu]" : "%s", gguf_type_name(list ? k->array.type : k->type),
             (unsigned long long)k->array.n);
    return out;
}

void add_value(struct show *o, const struct gguf_key *k)
{
    uint64_t at[2];
    struct gguf_array a = as_array(k, at);

    if (k->type == GGUF_ARR)
        add_list(o, &a);
    else
        add_element(o, &a, 0, false);
}

static void show_key(struct show *o, const struct gguf_key *k, int width, struct err *e)
{
    bool list = k->type == GGUF_ARR;
    bool cut = !o->full && (list ? k->array.n > CUT_LIST
                                 : k->type == GGUF_STR && front(k->raw, CUT_TEXT).n < k->raw.n);
    char type[32];

    row_begin(o, "key");
    field_text(o, "name", width, k->name);
    field_str(o, "type", 12, key_type(k, type));
    if (o->json && list)
        field_num(o, "count", 0, k->array.n);
    field_begin(o, "value");
    add_value(o, k);
    if (cut && o->json)
        buf_str(&o->row, ",\"cut\":true");
    else if (cut && !list)
        buf_printf(&o->row, "... (%zu bytes)", k->raw.n);
    row_end(o, e);
}

int show_keys(struct show *o, const struct gguf *g, struct err *e)
{
    size_t width = 0;

    for (uint32_t i = 0; i < g->n_key; i++)
        if (g->key[i].name.n > width && g->key[i].name.n <= 48)
            width = g->key[i].name.n;
    heading(o, "keys: %u", g->n_key);
    for (uint32_t i = 0; i < g->n_key && !e->code; i++)
        show_key(o, &g->key[i], (int)width, e);
    heading(o, "%s", "");
    return e->code;
}

/* The value of one key as it is: a string's bytes, an array's elements a line each. On a terminal
 * control characters are still escaped. */
int show_value(struct show *o, const struct gguf *g, const char *key, struct err *e)
{
    const struct gguf_key *k = gguf_find(g, key);
    bool terminal = isatty(STDOUT_FILENO);
    struct gguf_array a;
    uint64_t at[2];

    if (!k)
        return err_set(e, E_NOTFOUND, "%s: no key '%s'", g->path, key);
    a = as_array(k, at);
    for (uint64_t i = 0; i < a.n && !e->code; i++) {
        buf_clear(&o->row);
        if (a.type == GGUF_STR && !o->json && terminal)
            add_shown(&o->row, gguf_str_at(&a, i), LINES);
        else if (a.type == GGUF_STR && !o->json)
            buf_slice(&o->row, gguf_str_at(&a, i));
        else
            add_element(o, &a, i, false);
        buf_byte(&o->row, '\n');
        if (o->row.bad)
            return err_nomem(e, o->row.n);
        fwrite(o->row.p, 1, o->row.n, stdout);
    }
    return e->code;
}

/* -- tensors -- */

const struct fmt_info *format_of(const struct gguf_tensor *t)
{
    return t->bytes ? fmt_find((int)t->type) : NULL;
}

const char *type_name(const struct gguf_tensor *t, char out[24])
{
    const struct fmt_info *f = format_of(t);

    if (f)
        snprintf(out, 24, "%s", f->name);
    else
        snprintf(out, 24, "type %u", t->type);
    return out;
}

uint64_t weights_of(const struct gguf_tensor *t)
{
    return t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3]; /* at most INT64_MAX: checked at open */
}

void field_shape(struct show *o, const struct gguf_tensor *t, int width)
{
    uint32_t n = t->n_dims ? t->n_dims : 1;
    size_t from;

    field_begin(o, "shape");
    from = o->row.n;
    buf_str(&o->row, o->json ? "[" : "");
    for (uint32_t d = 0; d < n; d++)
        buf_printf(&o->row, "%s%llu",
                   !d        ? ""
                   : o->json ? ","
                   : o->tsv  ? "x"
                             : " x ",
                   (unsigned long long)t->ne[d]);
    buf_str(&o->row, o->json ? "]" : "");
    pad_to(o, from, width);
}

int name_width(const struct gguf *g)
{
    size_t width = 0;

    for (uint32_t i = 0; i < g->n_tensor; i++)
        if (g->tensor[i].name.n > width && g->tensor[i].name.n <= 48)
            width = g->tensor[i].name.n;
    return (int)width;
}

int show_tensors(struct show *o, const struct gguf *g, struct err *e)
{
    int width = name_width(g);
    char type[24];

    heading(o,
            g->n_tensor ? "tensors: %u (type, shape with the row length first, bytes, offset in %s)"
                        : "tensors: none",
            g->n_tensor, g->n_part > 1 ? "its part" : "the file");
    for (uint32_t i = 0; i < g->n_tensor && !e->code; i++) {
        const struct gguf_tensor *t = &g->tensor[i];

        row_begin(o, "tensor");
        field_text(o, "name", width, t->name);
        field_str(o, "type", 8, type_name(t, type));
        if (o->json)
            field_num(o, "type_id", 0, t->type);
        field_shape(o, t, 20);
        field_num(o, "bytes", 12, t->bytes);
        field_num(o, "offset", 13, g->part[t->part].data_at + t->offset);
        if (g->n_part > 1 || o->json)
            field_num(o, "part", 3, t->part + 1);
        row_end(o, e);
    }
    heading(o, "%s", "");
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

static void show_total(struct show *o, const char *name, const struct total *t, struct err *e)
{
    char bytes[16];

    if (!t->tensors)
        return;
    row_begin(o, "total");
    field_str(o, "type", 8, name);
    field_num(o, "tensors", 7, t->tensors);
    field_num(o, "weights", 14, t->weights);
    field_num(o, "bytes", 14, t->bytes);
    field_begin(o, "bits_per_weight");
    buf_printf(&o->row, o->json || o->tsv ? "%.4f" : "%8.4f bits a weight",
               t->bytes * 8.0 / t->weights);
    if (!o->json && !o->tsv)
        buf_printf(&o->row, ", %s", tool_bytes(t->bytes, bytes));
    row_end(o, e);
}

int show_totals(struct show *o, const struct gguf *g, struct err *e)
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
    heading(o, "totals: type, tensors, weights, bytes");
    for (int id = 0; id < FMT_ID_END; id++)
        if (by_type[id].tensors)
            show_total(o, fmt_find(id)->name, &by_type[id], e);
    show_total(o, "unknown", &unknown, e);
    show_total(o, "all", &all, e);
    heading(o, "%s", "");
    return e->code;
}

/* -- the tokenizer -- */

static void show_fact(struct show *o, const char *name, struct slice value, struct err *e)
{
    row_begin(o, "tokenizer");
    field_str(o, "name", 24, name);
    field_text(o, "value", 0, value);
    row_end(o, e);
}

static void show_count(struct show *o, const char *name, uint64_t n, struct err *e)
{
    row_begin(o, "tokenizer");
    field_str(o, "name", 24, name);
    field_num(o, "value", 0, n);
    row_end(o, e);
}

/* How many tokens are of each kind (the numbers are SentencePiece's). */
static void show_kinds(struct show *o, const struct gguf_array *kinds, struct err *e)
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
            row_begin(o, "token_kind");
            field_str(o, "name", 24, name[k]);
            field_num(o, "count", 0, count[k]);
            row_end(o, e);
        }
}

/* A key "tokenizer.ggml.X_token_id": the role X, the id and what it stands for. */
static void show_role(struct show *o, const struct gguf_key *k, const struct gguf_array *tokens,
                      struct err *e)
{
    static const char prefix[] = "tokenizer.ggml.";
    static const char suffix[] = "_token_id";
    struct slice role = k->name;
    uint64_t at[2];
    struct gguf_array a = as_array(k, at);
    int64_t id;

    if (!slice_starts(role, SLICE(prefix)) || role.n < sizeof prefix + sizeof suffix - 1 ||
        !slice_ends(role, SLICE(suffix)) || !gguf_type_is_int(k->type))
        return;
    role.p += sizeof prefix - 1;
    role.n -= sizeof prefix - 1 + sizeof suffix - 1;
    id = gguf_int_at(&a, 0);
    row_begin(o, "token");
    field_text(o, "role", 24, role);
    field_begin(o, "id");
    buf_printf(&o->row, o->json || o->tsv ? "%lld" : "%-7lld", (long long)id);
    if (id >= 0 && (uint64_t)id < tokens->n)
        field_text(o, "text", 0, gguf_str_at(tokens, (uint64_t)id));
    else if (o->json)
        buf_str(&o->row, ",\"text\":null");
    else
        field_str(o, "text", 0, "(no such token)");
    row_end(o, e);
}

int show_tokenizer(struct show *o, const struct gguf *g, struct err *e)
{
    struct gguf_array tokens = {.type = GGUF_STR};
    struct gguf_array other;
    struct slice s;
    bool yes;

    if (gguf_get_str(g, "tokenizer.ggml.model", &s, NULL) <= 0) {
        heading(o, "tokenizer: none\n");
        return 0;
    }
    heading(o, "tokenizer:");
    show_fact(o, "model", s, e);
    if (gguf_get_str(g, "tokenizer.ggml.pre", &s, NULL) > 0)
        show_fact(o, "pre-tokenizer", s, e);
    if (gguf_get_strs(g, "tokenizer.ggml.tokens", &tokens, NULL) > 0)
        show_count(o, "tokens", tokens.n, e);
    if (gguf_get_strs(g, "tokenizer.ggml.merges", &other, NULL) > 0)
        show_count(o, "merges", other.n, e);
    if (gguf_get_ints(g, "tokenizer.ggml.token_type", &other, NULL) > 0)
        show_kinds(o, &other, e);
    for (uint32_t i = 0; i < g->n_key; i++)
        show_role(o, &g->key[i], &tokens, e);
    for (uint32_t i = 0; i < g->n_key; i++) {
        struct slice name = g->key[i].name;
        static const char prefix[] = "tokenizer.ggml.";

        if (g->key[i].type != GGUF_BOOL || !slice_starts(name, SLICE(prefix)))
            continue;
        yes = g->key[i].raw.p[0] == 1;
        name = (struct slice){name.p + sizeof prefix - 1, name.n - (sizeof prefix - 1)};
        row_begin(o, "tokenizer");
        field_text(o, "name", 24, name);
        field_begin(o, "value");
        buf_str(&o->row, o->json ? (yes ? "true" : "false") : yes ? "yes" : "no");
        row_end(o, e);
    }
    heading(o, "%s", "");
    return e->code;
}

/* "tokenizer.chat_template", and ".NAME" behind it for further ones. */
int show_templates(struct show *o, const struct gguf *g, struct err *e)
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
        if (o->json || o->tsv) {
            row_begin(o, "chat_template");
            field_text(o, "name", 0, name);
            field_text(o, "text", 0, k->raw);
            row_end(o, e);
            continue;
        }
        buf_clear(&o->row);
        buf_str(&o->row, "chat template '");
        add_shown(&o->row, name, LINE);
        buf_printf(&o->row, "' (%zu bytes):\n", k->raw.n);
        add_shown(&o->row, k->raw, LINES);
        row_end(o, e);
    }
    if (n == 0)
        heading(o, "chat template: none");
    return e->code;
}

/* -- the file -- */

int show_file(struct show *o, const struct gguf *g, struct err *e)
{
    char bytes[16];
    struct gguf_packing z;

    gguf_packing(g, &z);
    row_begin(o, "file");
    if (o->json || o->tsv) {
        field_str(o, "path", 0, g->path);
        field_str(o, "format", 0, "gguf");
        field_num(o, "version", 0, g->version);
        field_num(o, "parts", 0, g->n_part);
        field_num(o, "bytes", 0, g->file_bytes);
        field_num(o, "alignment", 0, g->alignment);
        field_num(o, "keys", 0, g->n_key);
        field_num(o, "tensors", 0, g->n_tensor);
        field_num(o, "frames", 0, z.frames);
        field_num(o, "decompressed", 0, z.bytes);
    } else {
        add_shown(&o->row, slice_of(g->path), LINE);
        buf_printf(&o->row, ": GGUF %u, %s (%llu bytes)", g->version,
                   tool_bytes(g->file_bytes, bytes), (unsigned long long)g->file_bytes);
        if (g->n_part > 1)
            buf_printf(&o->row, " in %u parts", g->n_part);
        if (z.packed)
            buf_printf(&o->row, ", compressed from %s", tool_bytes(z.bytes, bytes));
        if (z.frames)
            buf_printf(&o->row, " in %u frames", z.frames);
        buf_printf(&o->row, ", alignment %u\n", g->alignment);
    }
    row_end(o, e);
    return e->code;
}

/* 0, 1 when --check found something, or a negative code. */
