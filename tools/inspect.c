/* inspect.c - rill-inspect: what is in a model file, what is wrong with it, and in what two differ.
 *
 * Everything shown comes from a file nobody vouches for, so it is escaped for terminals. The head
 * of a file says most; weights are read only where an option asks for them, by rows, so that no
 * model is too large; --plan, --memory and --fit open the model as such.
 */
#include "base/mem.h"
#include "model/hfdir.h"
#include "tools/lib/inspect.h"
#include "tools/lib/tool.h"

/* -- options -- */

static bool want_keys, want_tensors, want_totals, want_tokenizer, want_template, want_check;
static bool want_plan, want_memory, want_diff, want_health, want_fit, want_hash;
static const char *get_key;
static struct opt_list ids, texts;
static struct show show;
static struct show_open how;

static const struct tool_option opts[] = {
    {'m', "model", OPT_STR, &how.open.model, "MODEL", "the model, if it is no operand"},
    {0, "keys", OPT_FLAG, &want_keys, 0, "the metadata",
     .group = "What to show (else the first five)"},
    {0, "tensors", OPT_FLAG, &want_tensors, 0, "each tensor's type, shape, bytes and offset"},
    {0, "totals", OPT_FLAG, &want_totals, 0, "tensors, weights and bytes by type"},
    {0, "tokenizer", OPT_FLAG, &want_tokenizer, 0, "the vocabulary in short"},
    {0, "template", OPT_FLAG, &want_template, 0, "the chat templates"},
    {0, "id", OPT_LIST, &ids, "N[-M]", "these tokens of the vocabulary"},
    {0, "string", OPT_LIST, &texts, "TEXT", "the ids of a text, and the token spelt so"},
    {0, "hash", OPT_FLAG, &want_hash, 0, "a hash of each tensor's content, and of all"},
    {0, "check", OPT_FLAG, &want_check, 0,
     "count NaN and infinite weights; exit 1 if there are any"},
    {0, "health", OPT_FLAG, &want_health, 0,
     "look for what is wrong with weights, templates, tokens; exit 1 if anything is"},
    {0, "plan", OPT_FLAG, &want_plan, 0, "the plan, with the kernel chosen for each record"},
    {0, "memory", OPT_FLAG, &want_memory, 0, "the memory it needs (also with -c or -b)"},
    {0, "fit", OPT_FLAG, &want_fit, 0,
     "memory by context and sequences, and the longest context that fits"},
    {0, "get", OPT_STR, &get_key, "KEY", "the value of one key and nothing else"},
    {0, "diff", OPT_FLAG, &want_diff, 0,
     "in what two models differ (with --keys, --tensors, --tokenizer, --template: in those only); "
     "exit 1 if they do"},
    {'j', "json", OPT_FLAG, &show.json, 0, "one JSON object per line", .group = "How to show it"},
    {0, "tsv", OPT_FLAG, &show.tsv, 0, "tab-separated lines"},
    {0, "full", OPT_FLAG, &show.full, 0, "whole strings and arrays, however long"},
    MODEL_RUNNING(how.open),
    MODEL_CTX(how.open),
    {'b', "batch", OPT_INT, &how.n_seq, "N", "sequences at once (0: one)", .max = 1 << 20},
    {0}};

static struct tool tool = {"rill-inspect", "[options] [MODEL [MODEL2]]",
                           "shows what is in a model file", opts, 0};

/* -- a model -- */

/* The source of path; *own: a file that came through a pipe whole, to be closed behind it. */
static int open_source(struct source **src, struct gguf **own, const char *path, struct err *e)
{
    unsigned flags = how.open.no_mmap ? GGUF_READ : 0;
    int rc;

    if (strcmp(path, "-") != 0)
        return model_source(src, path, flags, e);
    if ((rc = gguf_open(own, path, flags, e)) < 0)
        return rc;
    return source_of_gguf(src, *own, e);
}

/* The first thing that fails ends it; a no stays a no. */
static int also(int before, int rc)
{
    return rc < 0 ? rc : before || rc;
}

static int show_parts(struct source *src, struct err *e)
{
    const struct gguf *g = src->g;
    bool head = want_keys || want_tensors || want_totals || want_tokenizer || want_template;
    bool all = !head && !want_check && !want_health && !want_hash && !want_plan && !want_memory &&
               !want_fit && !ids.n && !texts.n;
    int rc = 0;

    if (get_key)
        return show_value(&show, g, get_key, e);
    if (all)
        rc = show_file(&show, g, e);
    if (rc == 0 && (all || want_keys))
        rc = show_keys(&show, g, e);
    if (rc == 0 && (all || want_tensors))
        rc = show_tensors(&show, g, e);
    if (rc == 0 && (all || want_totals))
        rc = show_totals(&show, g, e);
    if (rc == 0 && (all || want_tokenizer))
        rc = show_tokenizer(&show, g, e);
    if (rc == 0 && (all || want_template))
        rc = show_templates(&show, g, e);
    if (rc == 0 && (ids.n || texts.n))
        rc = show_tokens(&show, src, &ids, &texts, e);
    if (rc == 0 && want_hash)
        rc = show_hashes(&show, src, e);
    if (rc == 0 && want_check)
        rc = show_check(&show, src, how.open.threads, e);
    if (rc >= 0 && want_health)
        rc = also(rc, show_health(&show, src, how.open.threads, e));
    return rc;
}

static int inspect(const char *path, struct err *e)
{
    struct source *src = NULL;
    struct gguf *own = NULL;
    struct gguf_packing z;
    int rc;

    if (!(path = tool_model(path, e)))
        return e->code;
    want_memory = want_memory || (!want_plan && !want_fit && (how.open.ctx || how.n_seq));
    if ((want_memory || want_plan || want_fit) && strcmp(path, "-") == 0)
        tool_usage("--plan, --memory and --fit need a file, not standard input");
    if ((rc = open_source(&src, &own, path, e)) == 0) {
        gguf_packing(src->g, &z);
        how.packed = z.packed;
        rc = show_parts(src, e);
    }
    if (rc >= 0 && (want_memory || want_plan) && !get_key)
        rc = also(rc, show_opened(&show, path, &how, want_memory, want_plan, e));
    if (rc >= 0 && want_fit && !get_key)
        rc = also(rc, show_fit(&show, path, &how, e));
    source_close(src);
    gguf_close(own);
    return rc;
}

/* -- two models -- */

static int diff(const char *a, const char *b, struct err *e)
{
    bool all = !want_keys && !want_tensors && !want_tokenizer && !want_template;
    struct diff_parts parts = {all || want_keys, all || want_tokenizer, all || want_template,
                               all || want_tensors};
    struct source *src[2] = {NULL, NULL};
    struct gguf *own[2] = {NULL, NULL};
    int rc = open_source(&src[0], &own[0], a, e);

    if (rc == 0)
        rc = open_source(&src[1], &own[1], b, e);
    if (rc == 0)
        rc = show_diff(&show, src[0], src[1], &parts, how.open.threads, e);
    for (int i = 0; i < 2; i++) {
        source_close(src[i]);
        gguf_close(own[i]);
    }
    return rc;
}

/* -- the tool -- */

static void check_usage(int n, char **operand)
{
    if (show.json && show.tsv)
        tool_usage("-j and --tsv exclude each other");
    if (!want_diff && n + (how.open.model != NULL) > 1 && !(n == 1 && is_kv(operand[0])))
        tool_usage("more than one model: '%s'", operand[n - 1]);
    if (!want_diff)
        return;
    if (n + (how.open.model != NULL) != 2)
        tool_usage("--diff: expected two models");
    if (want_totals || want_check || want_health || want_hash || want_plan || want_memory ||
        want_fit || get_key || ids.n || texts.n || how.open.ctx || how.n_seq)
        tool_usage("--diff goes with --keys, --tensors, --tokenizer and --template only");
    if (strcmp(n == 2 ? operand[0] : how.open.model, "-") == 0 && strcmp(operand[n - 1], "-") == 0)
        tool_usage("--diff: standard input can be one of the two only");
}

int main(int argc, char **argv)
{
    struct err e = {0};
    int first = tool_begin(&tool, argc, argv), n = argc - first, rc;
    char **operand = argv + first;

    check_usage(n, operand);
    show.verbose = tool.verbose > 0;
    if (want_diff)
        rc = diff(n == 2 ? operand[0] : how.open.model, operand[n - 1], &e);
    else if (n == 1 && is_kv(operand[0]))
        rc = show_kv(&show, operand[0], how.open.model, &e);
    else
        rc = inspect(n ? operand[0] : how.open.model, &e);
    buf_fini(&show.row);
    opt_list_fini(&ids);
    opt_list_fini(&texts);
    return tool_end(rc < 0 ? tool_fail(&e) : rc);
}
