/* run_open.c - see run.h: what rill-run opens, and its prompts. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "tools/lib/calls.h"
#include "tools/lib/run.h"
#include "tools/lib/speak.h"
#include "tools/lib/tool.h"

/* -- prompts -- */

static int add_file(struct buf *out, const char *path, struct err *e)
{
    struct file_view v;
    int rc = file_read(&v, path, 0, e);

    if (rc < 0)
        return rc;
    buf_add(out, v.p, v.n);
    file_unmap(&v);
    return 0;
}

int run_fixed_prompt(const struct run *r, struct buf *out, struct err *e)
{
    if (r->opt->messages)
        return add_file(out, r->opt->messages, e);
    for (size_t i = 0; i < r->opt->pieces.n; i++) {
        const struct opt_piece *p = &r->opt->pieces.at[i];
        int rc = 0;

        if (i)
            buf_byte(out, '\n');
        if (p->opt->letter == 'f')
            rc = add_file(out, p->value, e);
        else
            buf_str(out, p->value);
        if (rc < 0)
            return rc;
    }
    return out->bad ? err_nomem(e, out->n) : 0;
}

static int parse_ids(struct slice text, int32_t **ids, size_t *n, struct err *e)
{
    size_t room = text.n / 2 + 1;
    char *end = (char *)(uintptr_t)text.p;
    const char *stop = text.p + text.n;

    *n = 0;
    *ids = mem_array(room, sizeof **ids, e);
    if (!*ids)
        return E_NOMEM;
    for (const char *p = end; p < stop; p = end) {
        long v;

        while (p < stop && strchr(" \t\r\n,", *p) && *p)
            p++;
        if (p == stop)
            break;
        errno = 0;
        v = strtol(p, &end, 10);
        if (end == p || errno || v < 0 || v > INT32_MAX)
            return err_set(e, E_FORMAT, "the prompt: '%.20s' is no token id", p);
        (*ids)[(*n)++] = (int32_t)v;
    }
    return 0;
}

int run_prompt(const struct run *r, struct slice text, struct ask_prompt *out, struct err *e)
{
    unsigned flags = (r->kv.n ? 0 : RILL_ADD_SPECIAL) | (r->opt->special ? RILL_PARSE_SPECIAL : 0);
    int rc;

    *out = (struct ask_prompt){0};
    if (r->ask.chat && r->opt->messages) {
        rc = ask_messages(&r->ask, text, out, e);
        return rc < 0 ? err_prefix(e, r->opt->messages) : rc;
    }
    if (r->ask.chat && r->kv.n)
        return ask_next(&r->ask, text, r->kv.ids[r->kv.n - 1], out, e);
    if (r->ask.chat)
        return ask_user(&r->ask, text, out, e);
    buf_slice(&out->text, text);
    if (out->text.bad)
        return err_nomem(e, text.n);
    if (r->opt->ids_in)
        return parse_ids(text, &out->ids, &out->n, e);
    return rill_tokenize(r->model, text.p, text.n, flags, &out->ids, &out->n, e);
}

/* -- opening -- */

/* A chat template is used where there is one, unless something says that text is complete. */
static int open_chat(struct run *r, struct err *e)
{
    const struct run_options *o = r->opt;
    bool wanted = o->system || o->messages || o->tools || o->template || o->prefill || o->sets.n;
    bool goes_on = o->kv && o->pieces.n == 0 && !o->lines && !o->nul; // the text itself
    struct file_view v = {0};
    const char *stop;
    int rc = 0;

    if (o->raw || o->special || o->ids_in || o->jsonl || o->embed || o->rerank || goes_on ||
        !(wanted || r->info.chat_template))
        return 0;
    if (o->template)
        rc = file_read(&v, o->template, 4 << 20, e);
    if (rc == 0)
        rc = ask_open(&r->ask, r->model, o->template,
                      (struct slice){o->template ? (const char *)v.p : NULL, v.n}, e);
    file_unmap(&v);
    for (size_t i = 0; i < o->sets.n && rc == 0; i++)
        rc = ask_variable(r->ask.set, o->sets.at[i].value, '=', e);
    if (rc < 0)
        return rc;
    if (o->tools && (rc = calls_read(&r->tools, o->tools, e)) < 0)
        return rc;
    if (o->tools || o->format)
        rc = calls_format(&r->ask.format, r->ask.chat, o->format,
                          o->template ? o->template : r->info.path, e);
    if (rc < 0)
        return rc;
    r->ask.tools = r->tools;
    r->ask.system = o->system;
    r->ask.prefill = o->prefill;
    if (chat_is_default(r->ask.chat))
        tool_note("the model has no chat template: a default is used (see rill-run(1))");
    if ((stop = chat_stop(r->ask.chat)) && r->n_stop < (int)(sizeof r->stop / sizeof *r->stop))
        r->stop[r->n_stop++] = (struct rill_stop){stop, strlen(stop)};
    return 0;
}

/* Where the model reasons, what the answer must be holds for what comes behind that. */
static int open_behind(struct run *r, struct err *e)
{
    struct rill_stop mark[2];
    struct rill_constraint_opts o = {0};

    if (r->constraint && r->ask.chat)
        o = speak_after(r->ask.reasoning, true, mark);
    o.model = r->model;
    return o.n_after ? obey_open(&r->behind, &r->opt->obeyed, &o, e) : 0;
}

static void dump_value(void *ctx, int record, const char *name, int rows, int cols,
                       const float *data)
{
    struct run *r = ctx;

    fprintf(r->dump, "%d %s %d %d\n", record, name, rows, cols);
    fwrite(data, sizeof *data, (size_t)rows * (size_t)cols, r->dump);
}

/* FILE:3-7; a colon that no digits follow belongs to the name. */
static int open_dump(struct run *r, struct err *e)
{
    const char *spec = r->opt->dump;
    const char *colon = strrchr(spec, ':');
    bool some = colon && colon[1] && strspn(colon + 1, "0123456789-") == strlen(colon + 1);
    char *path = mem_dup(spec, some ? (size_t)(colon - spec) : strlen(spec), e);

    if (!path)
        return E_NOMEM;
    r->dump = fopen(path, "wb");
    mem_free(path);
    if (!r->dump)
        return err_set(e, E_IO, "%s: cannot create: %s", spec, strerror(errno));
    return rill_engine_dump(r->engine, some ? colon + 1 : NULL, dump_value, r, e);
}

int run_engine_opts(const struct run_options *o, struct rill_engine_opts *out, struct err *e)
{
    int rc = tool_size("--kv-mem", o->kv_mem, &out->kv_bytes, e);

    rc = rc < 0 ? rc : tool_size("--swap-mem", o->swap_mem, &out->swap_bytes, e);
    out->max_seq = o->jsonl || o->embed || o->rerank ? o->parallel
                   : o->choices || o->replay         ? 16
                                                     : 1;
    out->embed = o->embed;
    out->max_batch = o->rows;
    out->max_draft = o->draft;
    out->max_lora = (int)o->loras.n;
    out->no_cache = o->no_cache;
    out->step_seconds = !o->jsonl ? 0 : o->step_given ? o->step_ms / 1000 : -1;
    return rc;
}

/* FILE or FILE=SCALE; an equals sign that no number follows belongs to the name. */
static int load_lora(struct run *r, size_t i, struct err *e)
{
    const char *text = r->opt->loras.at[i].value, *sign = strrchr(text, '=');
    struct rill_lora_use *u = &r->lora[i];
    char *end = NULL, *path;
    int rc;

    u->scale = sign ? strtof(sign + 1, &end) : 1;
    if (sign && (end == sign + 1 || *end)) {
        sign = NULL;
        u->scale = 1;
    }
    path = mem_dup(text, sign ? (size_t)(sign - text) : strlen(text), e);
    if (!path)
        return E_NOMEM;
    rc = rill_engine_lora_load(r->engine, path, &u->id, e);
    mem_free(path);
    return rc;
}

static int read_corpus(struct run *r, struct err *e)
{
    struct file_view v;
    int32_t *ids = NULL;
    size_t n = 0;
    int rc = file_read(&v, r->opt->corpus, 0, e);

    if (rc < 0)
        return rc;
    rc = rill_tokenize(r->model, (const char *)v.p, v.n, 0, &ids, &n, e);
    if (rc == 0)
        rc = rill_engine_corpus(r->engine, ids, n, e);
    rill_free(ids);
    file_unmap(&v);
    return rc;
}

static int open_engine(struct run *r, struct err *e)
{
    const struct run_options *o = r->opt;
    const char *path = tool_model(o->model.model, e);
    struct rill_model_opts mo;
    struct rill_engine_opts eo = {0};
    int rc = run_engine_opts(o, &eo, e);

    rc = rc < 0 ? rc : model_opts_of(&o->model, &mo, e);

    if (rc < 0)
        return rc;
    if (!path)
        return e->code;
    rc = rill_model_open(&r->model, path, &mo, e);
    if (rc < 0)
        return rc;
    rill_model_info(r->model, &r->info);
    r->sampling = rill_sampling_of(r->model);
    sampling_apply(&o->sampling, &r->sampling);
    if (o->draft_model) {
        mo.kv_type = mo.v_type = NULL;
        rc = rill_model_open(&r->draft, o->draft_model, &mo, e);
        eo.draft = r->draft;
    }
    return rc < 0 ? rc : rill_engine_open(&r->engine, r->model, &eo, e);
}

static int open_kv(struct run *r, struct err *e)
{
    const char *path = r->opt->kv;
    const int trim = r->opt->kv_trim;
    const struct run_options *o = r->opt;
    int rc = path ? rill_engine_kv_load(r->engine, path, &r->kv, e) : 0;

    if (rc == 0 && r->kv.n_more &&
        (trim > 0 || (!o->pieces.n && !o->lines && !o->nul && !o->jsonl)))
        return err_set(e, E_UNSUPPORTED,
                       "%s: has %d texts, of which none is the one to go on behind: give a prompt",
                       path, r->kv.n_more + 1);
    if (rc == 0 && r->kv.n_more) // the engine knows them now: prompts that begin so find them
        rill_kv_fini(&r->kv);
    else if (rc == 0 && trim > 0 && (size_t)trim > r->kv.n)
        rc = err_set(e, E_RANGE, "%s: has %zu tokens, not %d", path, r->kv.n, trim);
    else if (trim > 0)
        r->kv.n = (size_t)trim;
    return rc;
}

int run_save_known(struct run *r, struct err *e)
{
    struct rill_kv kv;
    int rc = rill_engine_kv_known(r->engine, 0, &kv, e);

    kv.compressed = r->opt->kv_zstd;
    if (rc == 0 && kv.n == 0)
        rc = err_set(e, E_RANGE, "%s: not written: no text has 32 tokens", r->opt->kv_save);
    if (rc == 0)
        rc = rill_engine_kv_save(r->engine, &kv, r->opt->kv_save, e);
    rill_kv_fini(&kv);
    return rc;
}

int run_open(struct run *r, struct err *e)
{
    const struct run_options *o = r->opt;
    int rc = obey_open(&r->constraint, &o->obeyed, NULL, e);

    rc = rc < 0 ? rc : open_engine(r, e);
    for (size_t i = 0; i < o->loras.n && rc == 0; i++)
        rc = load_lora(r, i, e);
    rc = rc < 0 ? rc : open_kv(r, e);
    if (rc == 0 && o->choices)
        rc = choices_open(&r->choices, r->model, o->choices, e);
    if (rc == 0 && o->corpus)
        rc = read_corpus(r, e);
    if (rc == 0 && o->dump)
        rc = open_dump(r, e);
    if (rc < 0)
        return rc;
    model_say_ctx(r->engine, &r->info);
    if (o->jsonl)
        model_say_kv(r->engine, o->parallel);
    rc = open_chat(r, e);
    return rc < 0 ? rc : open_behind(r, e);
}

static int close_stream(FILE *f, const char *what, struct err *e)
{
    return f && fclose(f) != 0 ? err_set(e, E_IO, "%s: cannot write", what) : 0;
}

int run_close(struct run *r, struct err *e)
{
    int dump, logits;

    if (r->bias)
        fclose(r->bias);
    rill_kv_fini(&r->kv);
    choices_fini(&r->choices);
    rill_engine_close(r->engine);
    rill_constraint_free(r->constraint);
    rill_constraint_free(r->behind);
    ask_close(&r->ask);
    json_decref(r->tools);
    wrap_fini(&r->dim);
    rill_model_close(r->draft);
    rill_model_close(r->model);
    logits = close_stream(r->logits, "the logits", e);
    dump = close_stream(r->dump, "the dump", e);
    return dump < 0 ? dump : logits;
}
