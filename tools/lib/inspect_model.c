/* inspect_model.c - what only a model opened on a device can say, and files of keys and values. */
#include "tools/lib/inspect.h"

#include "base/mem.h"
#include "rill.h"
#include "tools/lib/tool.h"

/* -- as an opened model -- */

static int show_plan(struct show *o, struct rill_model *m, struct err *e)
{
    char *text = NULL;
    size_t n = 0;
    int rc = rill_model_plan(m, &text, &n, e);
    struct slice left = {text, n};

    heading(o, "plan:");
    while (rc == 0 && left.n > 0 && !e->code) {
        const char *nl = memchr(left.p, '\n', left.n);
        size_t len = nl ? (size_t)(nl - left.p) : left.n;

        row_begin(o, "plan");
        field_text(o, "record", 0, (struct slice){left.p, len});
        row_end(o, e);
        left.p += len + (nl != NULL);
        left.n -= len + (nl != NULL);
    }
    rill_free(text);
    heading(o, "%s", "");
    return rc < 0 ? rc : e->code;
}

static void show_bytes(struct show *o, const char *name, uint64_t n)
{
    char text[16];

    if (o->json || o->tsv)
        field_num(o, name, 0, n);
    else
        buf_printf(&o->row, "  %-10s %16llu  %s\n", name, (unsigned long long)n,
                   tool_bytes(n, text));
}

static int show_memory(struct show *o, const struct rill_model *m, int seqs, bool packed,
                       struct err *e)
{
    struct rill_model_info info;
    struct rill_memory mem;
    int rc;

    rill_model_info(m, &info);
    if ((rc = rill_model_memory(m, info.n_ctx, seqs, &mem, e)) < 0)
        return rc;
    heading(o, "memory for %d sequence%s of %d positions%s:", seqs, seqs > 1 ? "s" : "", info.n_ctx,
            packed ? ", the weights (the file is compressed) in memory of their own" : "");
    row_begin(o, "memory");
    if (o->json || o->tsv) {
        field_num(o, "context", 0, (uint64_t)info.n_ctx);
        field_num(o, "sequences", 0, (uint64_t)seqs);
    }
    show_bytes(o, "weights", mem.weights);
    show_bytes(o, "kv", mem.kv);
    show_bytes(o, "state", mem.state);
    show_bytes(o, "work", mem.work);
    show_bytes(o, "total", mem.weights + mem.kv + mem.state + mem.work);
    row_end(o, e);
    return e->code;
}

static int open_model(struct rill_model **out, const char *path, const struct show_open *how,
                      struct err *e)
{
    struct rill_model_opts opts;
    int rc = model_opts_of(&how->open, &opts, e);

    return rc < 0 ? rc : rill_model_open(out, path, &opts, e);
}

int show_opened(struct show *o, const char *path, const struct show_open *how, bool memory,
                bool plan, struct err *e)
{
    struct rill_model *m = NULL;
    int rc = open_model(&m, path, how, e);

    if (rc == 0 && memory)
        rc = show_memory(o, m, how->n_seq ? how->n_seq : 1, how->packed, e);
    if (rc == 0 && plan)
        rc = show_plan(o, m, e);
    rill_model_close(m);
    return rc;
}

/* -- what fits -- */

/* As engines take memory: keys and values at most half of what is free. Weights that are mapped
 * count as free, and are not. */
static bool fits(const struct rill_memory *m, bool mapped)
{
    return m->kv <= m->free / 2 &&
           (mapped ? m->weights : 0) + m->kv + m->state + m->work <= m->free;
}

static int show_fit_row(struct show *o, const struct rill_model *m, int ctx, int seqs, bool mapped,
                        bool *fit, struct err *e)
{
    struct rill_memory mem;
    char total[16];
    int rc = rill_model_memory(m, ctx, seqs, &mem, e);
    uint64_t all = mem.weights + mem.kv + mem.state + mem.work;

    if (rc < 0)
        return rc;
    *fit = fits(&mem, mapped);
    row_begin(o, "fit");
    field_num(o, "context", 8, (uint64_t)ctx);
    field_num(o, "sequences", 9, (uint64_t)seqs);
    field_num(o, "weights", 15, mem.weights);
    field_num(o, "kv", 15, mem.kv);
    field_num(o, "state", 13, mem.state);
    field_num(o, "work", 13, mem.work);
    field_num(o, "total", 15, all);
    if (!o->json && !o->tsv)
        field_str(o, "", 9, tool_bytes(all, total));
    field_begin(o, "fits");
    buf_str(&o->row, o->json ? *fit ? "true" : "false" : *fit ? "yes" : "no");
    row_end(o, e);
    return e->code;
}

/* The longest context, at most most, with which seqs sequences fit; 0: none does. */
static int longest(const struct rill_model *m, int most, int seqs, bool mapped, int *out,
                   uint64_t *left, struct err *e)
{
    int low = 0, high = most, rc = 0;

    while (low < high && rc == 0) {
        int mid = low + (high - low + 1) / 2;
        struct rill_memory mem;

        if ((rc = rill_model_memory(m, mid, seqs, &mem, e)) < 0)
            break;
        *left = mem.free;
        if (fits(&mem, mapped))
            low = mid;
        else
            high = mid - 1;
    }
    *out = low;
    return rc;
}

static int show_longest(struct show *o, const struct rill_model *m, int most, int seqs, bool mapped,
                        struct err *e)
{
    uint64_t left = 0;
    char text[16];
    int ctx, rc = longest(m, most, seqs, mapped, &ctx, &left, e);

    if (rc < 0)
        return rc;
    row_begin(o, "fit_most");
    if (o->json || o->tsv) {
        field_num(o, "sequences", 0, (uint64_t)seqs);
        field_num(o, "context", 0, (uint64_t)ctx);
        field_num(o, "free", 0, left);
    } else {
        buf_printf(&o->row, "%d sequence%s: ", seqs, seqs > 1 ? "s" : "");
        if (ctx)
            buf_printf(&o->row, "%d position%s of at most %d fit into %s free", ctx,
                       ctx > 1 ? "s" : "", most, tool_bytes(left, text));
        else
            buf_printf(&o->row, "does not fit into %s free", tool_bytes(left, text));
    }
    row_end(o, e);
    return e->code;
}

static int show_fits(struct show *o, const struct rill_model *m, const struct show_open *how,
                     struct err *e)
{
    static const int usual[] = {1, 4, 16, 64};
    struct rill_model_info info;
    bool mapped, fit = true;
    int n = how->n_seq ? 1 : (int)ARRAY_LEN(usual), rc = 0;

    rill_model_info(m, &info);
    mapped = !how->open.no_mmap && !how->packed && strncmp(info.device, "cpu", 3) == 0;
    if (how->packed)
        heading(o, "the file is compressed: its weights take memory of their own");
    heading(o, "fit: context, sequences, weights, keys and values, state, work, total, fits");
    for (int i = 0; i < n && rc == 0; i++) {
        int seqs = how->n_seq ? how->n_seq : usual[i];

        for (int ctx = how->open.ctx ? info.n_ctx : 512; ctx < info.n_ctx && rc == 0; ctx *= 2)
            rc = show_fit_row(o, m, ctx, seqs, mapped, &fit, e);
        if (rc == 0)
            rc = show_fit_row(o, m, info.n_ctx, seqs, mapped, &fit, e);
    }
    for (int i = 0; i < n && rc == 0; i++)
        rc = show_longest(o, m, info.n_ctx, how->n_seq ? how->n_seq : usual[i], mapped, e);
    heading(o, "%s", "");
    return rc < 0 ? rc : how->open.ctx && how->n_seq ? !fit : 0;
}

int show_fit(struct show *o, const char *path, const struct show_open *how, struct err *e)
{
    struct rill_model *m = NULL;
    int rc = open_model(&m, path, how, e);

    if (rc == 0)
        rc = show_fits(o, m, how, e);
    rill_model_close(m);
    return rc;
}

/* -- files of keys and values (rill-run --kv-save) -- */

bool is_kv(const char *path)
{
    char head[8] = {0};
    FILE *f = strcmp(path, "-") ? fopen(path, "rb") : NULL;
    bool kv = f && fread(head, 1, sizeof head, f) == sizeof head &&
              memcmp(head, "rill-kv\n", sizeof head) == 0;

    if (f)
        fclose(f);
    return kv;
}

/* The text of its tokens, by a model's vocabulary: from where it leaves an earlier one. */
static int show_kv_text(struct show *o, const struct rill_kv *kv, const struct rill_model *m,
                        struct err *e)
{
    struct rill_model_info info = {0};
    struct buf text = {0};
    int rc = 0;

    rill_model_info(m, &info);
    for (size_t i = (size_t)kv->n_shared; i < kv->n; i++) {
        size_t n = 0;
        const char *piece = "";

        if (kv->ids[i] >= 0 && kv->ids[i] < info.n_vocab)
            piece = rill_piece(m, kv->ids[i], true, &n);
        buf_add(&text, piece, n);
    }
    if (text.bad)
        rc = err_nomem(e, text.n);
    row_begin(o, "text");
    field_text(o, "text", 0, buf_view(&text));
    row_end(o, e);
    buf_fini(&text);
    return rc;
}

/* Text number k: how much of it there is, and where it leaves which other. */
static void show_kv_row(struct show *o, const struct rill_kv *kv, int k, bool alone,
                        const char *device, struct err *e)
{
    const int pages = (kv->n_pos - kv->n_shared) / 32;
    size_t made = 0;

    for (size_t i = 0; i < kv->n; i++)
        made += kv->made[i];
    row_begin(o, "kv");
    if (o->json)
        buf_printf(&o->row,
                   ",\"index\":%d,\"parent\":%d,\"shared\":%d,\"tokens\":%zu,\"made\":%zu,"
                   "\"positions\":%d,\"pages\":%d,\"bytes\":%llu,\"compressed\":%s,\"device\":",
                   k, kv->parent, kv->n_shared, kv->n, made, kv->n_pos, pages,
                   (unsigned long long)kv->bytes, kv->compressed ? "true" : "false");
    else if (o->tsv)
        buf_printf(&o->row, "\t%d\t%d\t%d\t%zu\t%zu\t%d\t%d\t%llu\t%s\t", k, kv->parent,
                   kv->n_shared, kv->n, made, kv->n_pos, pages, (unsigned long long)kv->bytes,
                   kv->compressed ? "zstd" : "");
    else {
        if (!alone)
            buf_printf(&o->row, "text %d: ", k);
        if (kv->parent >= 0)
            buf_printf(&o->row, "from token %d of text %d on, ", kv->n_shared, kv->parent);
        buf_printf(&o->row,
                   "%zu tokens, %zu of them made by the model; keys and values of %d positions, ",
                   kv->n, made, kv->n_pos);
        if (!alone)
            buf_printf(&o->row, "%d blocks of its own, ", pages);
        buf_printf(&o->row, "%llu bytes%s, device ", (unsigned long long)kv->bytes,
                   kv->compressed ? ", zstd" : "");
    }
    if (o->json)
        buf_json(&o->row, slice_of(device));
    else
        add_shown(&o->row, slice_of(device), LINE);
    row_end(o, e);
}

int show_kv(struct show *o, const char *path, const char *model, struct err *e)
{
    struct rill_model_opts how = {.vocab_only = true};
    struct rill_model *m = NULL;
    struct rill_kv kv;
    int rc = rill_kv_open(&kv, path, e);

    if (rc < 0)
        return rc;
    if (model)
        rc = rill_model_open(&m, model, &how, e);
    for (int k = 0; k <= kv.n_more && rc == 0; k++) {
        const struct rill_kv *one = k ? &kv.more[k - 1] : &kv;

        show_kv_row(o, one, k, kv.n_more == 0, kv.device, e);
        if (model)
            rc = show_kv_text(o, one, m, e);
    }
    rill_model_close(m);
    rill_kv_fini(&kv);
    return rc;
}
