/* tokenize.c - rill-tokenize: text to token ids, and back.
 *
 * Needs a model's vocabulary only, so files without weights will do.
 */
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/utf8.h"
#include "file/gguf.h"
#include "model/hfdir.h"
#include "text/jinja.h"
#include "text/tok.h"
#include "tools/lib/obey.h"
#include "tools/lib/tool.h"

/* -- options -- */

static const char *model_path, *template_path;
static bool render, decode, pieces, count, json, special, exact, bench;
static bool lines, nul, no_bos, bos, accept;
static struct obey_options obeyed;

static const struct tool_option opts[] = {
    {'m', "model", OPT_STR, &model_path, "MODEL", "the model whose vocabulary to use"},
    {'d', "decode", OPT_FLAG, &decode, 0, "ids to text"},
    {'l', "lines", OPT_FLAG, &lines, 0, "each line of the input is a record"},
    {'0', "null", OPT_FLAG, &nul, 0, "records end with NUL"},
    {0, "special", OPT_FLAG, &special, 0,
     "control tokens in the text become tokens, and are shown"},
    {0, "bos", OPT_FLAG, &bos, 0, "add BOS also where the model does not"},
    {0, "no-bos", OPT_FLAG, &no_bos, 0, "add no BOS, EOS, CLS or SEP"},
    {0, "exact", OPT_FLAG, &exact, 0, "spell U+2581 in bytes instead of taking it for a space"},
    {0, "pieces", OPT_FLAG, &pieces, 0, "each token on a line with its text",
     .group = "What to print instead of ids"},
    {0, "count", OPT_FLAG, &count, 0, "the number of tokens of each record"},
    {'j', "json", OPT_FLAG, &json, 0, "one JSON object per record"},
    {0, "bench", OPT_FLAG, &bench, 0, "how fast the input is encoded, and decoded"},
    {0, "render", OPT_FLAG, &render, 0,
     "the prompt a chat template makes of its variables, a JSON object"},
    {0, "template", OPT_STR, &template_path, "FILE", "the template, instead of the model's"},
    {0, "accept", OPT_FLAG, &accept, 0, "whether each record is what --schema or --grammar allows",
     .group = "Judging instead"},
    OBEY_FILES(obeyed),
    {0}};

static struct tool tool = {"rill-tokenize", "[options] < text",
                           "turns text into token ids, and back", opts};

static struct buf out;

/* Everything held so far goes out; the buffer stays small whatever the record's size. */
static int flush(struct err *e)
{
    if (out.bad)
        return err_nomem(e, out.n);
    fwrite(out.p, 1, out.n, stdout);
    buf_clear(&out);
    return 0;
}

static int flush_some(struct err *e)
{
    return out.n > 1 << 16 || out.bad ? flush(e) : 0;
}

/* -- encoding -- */

static void add_number(long long v)
{
    char s[24], *p = s + sizeof s;
    bool minus = v < 0;

    do
        *--p = (char)('0' + (minus ? -(v % 10) : v % 10));
    while ((v /= 10) != 0);
    if (minus)
        *--p = '-';
    buf_add(&out, p, (size_t)(s + sizeof s - p));
}

/* A piece so that it stays on its line and does nothing to a terminal. */
static void add_shown(struct slice s)
{
    for (size_t i = 0; i < s.n;) {
        unsigned char c = (unsigned char)s.p[i];
        uint32_t cp;
        int n = utf8_decode(s.p + i, s.n - i, &cp);

        if (c == '\n' || c == '\t' || c == '\r')
            buf_printf(&out, "\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : 'r');
        else if (c == '\\')
            buf_str(&out, "\\\\");
        else if (n > 0 && utf8_shown(cp))
            buf_add(&out, s.p + i, (size_t)n);
        else
            buf_printf(&out, "\\x%02x", c);
        i += n > 1 && utf8_shown(cp) ? (size_t)n : 1;
    }
}

static int print_json(const struct tok *t, const struct tok_ids *ids, struct err *e)
{
    int rc = 0;

    buf_printf(&out, "{\"count\":%zu", ids->n);
    if (!count)
        buf_str(&out, ",\"ids\":[");
    for (size_t i = 0; i < ids->n && !count && rc == 0; i++) {
        if (i)
            buf_byte(&out, ',');
        add_number(ids->id[i]);
        rc = flush_some(e);
    }
    if (!count)
        buf_byte(&out, ']');
    if (pieces)
        buf_str(&out, ",\"pieces\":[");
    for (size_t i = 0; i < ids->n && pieces && rc == 0; i++) {
        if (i)
            buf_byte(&out, ',');
        buf_json(&out, tok_piece(t, ids->id[i]));
        rc = flush_some(e);
    }
    buf_str(&out, pieces ? "]}\n" : "}\n");
    return rc < 0 ? rc : flush(e);
}

static int print_ids(const struct tok *t, const struct tok_ids *ids, struct err *e)
{
    int rc = 0;

    if (json)
        return print_json(t, ids, e);
    if (count)
        add_number((long long)ids->n);
    for (size_t i = 0; i < ids->n && !count && rc == 0; i++) {
        if (i && !pieces)
            buf_byte(&out, ' ');
        add_number(ids->id[i]);
        if (pieces) {
            buf_byte(&out, '\t');
            add_shown(tok_piece(t, ids->id[i]));
            buf_byte(&out, '\n');
        }
        rc = flush_some(e);
    }
    if (!pieces || count || lines || nul)
        buf_byte(&out, '\n');
    return rc < 0 ? rc : flush(e);
}

static int32_t first_added(const struct tok *t)
{
    if (no_bos || !(bos || tok_adds_bos(t)))
        return -1;
    return tok_role_id(t, tok_model_of(t) == TOK_WPM ? TOK_CLS : TOK_BOS);
}

static int encode_record(const struct tok *t, struct slice text, struct tok_ids *ids, struct err *e)
{
    unsigned flags = (no_bos ? 0 : TOK_ADD) | (special ? TOK_PARSE : 0) | (exact ? TOK_EXACT : 0);
    int rc = 0;

    ids->n = 0;
    if (bos && !tok_adds_bos(t))
        rc = tok_ids_add(ids, first_added(t), e);
    return rc < 0 ? rc : tok_encode(t, text, flags, ids, e);
}

static int encode_all(const struct tok *t, struct records *in, struct err *e)
{
    struct tok_ids ids = {0};
    struct slice text;
    int rc;

    while ((rc = records_next(in, &text, e)) > 0)
        if ((rc = encode_record(t, text, &ids, e)) < 0 || (rc = print_ids(t, &ids, e)) < 0)
            break;
    tok_ids_fini(&ids);
    return rc;
}

/* -- decoding -- */

/* The ids of a line; commas and brackets are white space, so that JSON arrays will do. */
static int read_ids(const struct tok *t, struct slice s, size_t line, struct tok_ids *ids,
                    struct err *e)
{
    ids->n = 0;
    for (size_t i = 0; i < s.n;) {
        uint64_t id = 0;
        size_t from = i;
        int rc;

        if (memchr(" \t\r\f\v,[]", s.p[i], 9)) {
            i++;
            continue;
        }
        for (; i < s.n && s.p[i] >= '0' && s.p[i] <= '9' && id < UINT32_MAX; i++)
            id = id * 10 + (uint64_t)(s.p[i] - '0');
        if (i == from || (i < s.n && !memchr(" \t\r\f\v,[]", s.p[i], 9))) {
            char shown[40];

            return err_set(e, E_FORMAT, "line %zu: '%s' is no token id", line,
                           gguf_show(shown, sizeof shown, (struct slice){s.p + from, s.n - from}));
        }
        if (id >= tok_count(t))
            return err_set(e, E_RANGE, "line %zu: token %llu of %u", line, (unsigned long long)id,
                           (unsigned)tok_count(t));
        if ((rc = tok_ids_add(ids, (int32_t)id, e)) < 0)
            return rc;
    }
    return 0;
}

/* Encoding with the same options adds these: they are not part of the text. */
static void drop_added(const struct tok *t, const struct tok_ids *ids, size_t *from, size_t *to)
{
    int32_t last = tok_role_id(t, tok_model_of(t) == TOK_WPM ? TOK_SEP : TOK_EOS);

    *from = 0;
    *to = ids->n;
    if (*from < *to && ids->id[0] == first_added(t))
        ++*from;
    if (*from < *to && !no_bos && (tok_adds_eos(t) || tok_model_of(t) == TOK_WPM) &&
        ids->id[*to - 1] == last)
        --*to;
}

static int decode_all(const struct tok *t, struct records *in, struct err *e)
{
    struct tok_ids ids = {0};
    struct buf text = {0};
    struct slice s;
    int rc;

    in->kind = RECORD_LINES;
    for (size_t line = 1; (rc = records_next(in, &s, e)) > 0; line++) {
        size_t from, to;

        if ((rc = read_ids(t, s, line, &ids, e)) < 0)
            break;
        drop_added(t, &ids, &from, &to);
        buf_clear(&text);
        tok_decode(t, ids.id + from, to - from, special ? TOK_SHOW : 0, &text);
        if (text.bad) {
            rc = err_nomem(e, text.n);
            break;
        }
        if (json) {
            buf_str(&out, "{\"text\":");
            buf_json(&out, buf_view(&text));
            buf_str(&out, "}\n");
        } else {
            buf_slice(&out, buf_view(&text));
            if (lines || nul)
                buf_byte(&out, nul ? '\0' : '\n');
        }
        if ((rc = flush(e)) < 0)
            break;
    }
    tok_ids_fini(&ids);
    buf_fini(&text);
    return rc;
}

/* -- measuring -- */

/* Processor time, so that what else runs on the machine counts for little. */
static double cpu_now(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

static int bench_record(const struct tok *t, struct slice text, struct err *e)
{
    struct tok_ids ids = {0};
    struct buf back = {0};
    double best = 0, best_back = 0, end = clock_seconds() + 2;
    int rc = 0;

    do {
        double start = cpu_now(), middle, done;

        if ((rc = encode_record(t, text, &ids, e)) < 0)
            break;
        middle = cpu_now();
        buf_clear(&back);
        tok_decode(t, ids.id, ids.n, 0, &back);
        done = cpu_now();
        if (best == 0 || middle - start < best)
            best = middle - start;
        if (best_back == 0 || done - middle < best_back)
            best_back = done - middle;
    } while (clock_seconds() < end && !tool_interrupted());
    if (rc == 0)
        printf("%zu bytes, %zu tokens: encoded at %.1f MB/s, decoded at %.1f MB/s\n"
               "(one core, processor time, best of 2 s)\n",
               text.n, ids.n, best > 0 ? (double)text.n / best / 1e6 : 0,
               best_back > 0 ? (double)text.n / best_back / 1e6 : 0);
    tok_ids_fini(&ids);
    buf_fini(&back);
    return rc;
}

static int bench_all(const struct tok *t, struct records *in, struct err *e)
{
    struct slice text;
    int rc;

    while ((rc = records_next(in, &text, e)) > 0)
        if ((rc = bench_record(t, text, e)) < 0)
            break;
    return rc;
}

/* -- judging -- */

/* "yes", or "no" with the first byte that cannot be; 1 when there was a no. */
static int accept_all(struct records *in, struct err *e)
{
    struct con_matcher *m = NULL;
    struct con *c = NULL;
    struct slice text;
    bool no = false;
    int rc = obey_judge(&c, &obeyed, e);

    rc = rc < 0 ? rc : con_matcher_new(&m, c, NULL, 0, e);
    while (rc == 0 && (rc = records_next(in, &text, e)) > 0) {
        struct con_state s = con_begin(m);
        int64_t n = con_bytes(m, &s, text, e);

        rc = n < 0 ? (int)n : 0;
        if (rc == 0 && (size_t)n == text.n && con_can_stop(m, s)) {
            buf_str(&out, json ? "{\"accept\":true}\n" : "yes\n");
        } else if (rc == 0) {
            buf_printf(&out, json ? "{\"accept\":false,\"byte\":%lld}\n" : "no, byte %lld\n",
                       (long long)n);
            no = true;
        }
        rc = rc < 0 ? rc : flush(e);
    }
    con_matcher_free(m);
    con_free(c);
    return rc < 0 ? rc : no;
}

/* -- the tool -- */

static int open_vocab(struct tok **t, struct err *e)
{
    const char *path = tool_model(model_path, e);
    struct source *s;
    int rc;

    if (!path)
        return e->code;
    if ((rc = model_source(&s, path, HF_VOCAB_ONLY, e)) < 0)
        return rc;
    rc = model_source_vocab(t, s, e);
    source_close(s);
    return rc;
}

/* -- rendering -- */

static int open_template(struct jinja **t, struct tok **v, struct err *e)
{
    const char *path = template_path && !model_path ? NULL : tool_model(model_path, e);
    struct file_view file = {0};
    struct slice text = {"", 0};
    struct source *s = NULL;
    int rc = 0;

    if (!path && !template_path)
        return e->code;
    if (path && ((rc = model_source(&s, path, HF_VOCAB_ONLY, e)) < 0 ||
                 (rc = model_source_vocab(v, s, e)) < 0))
        goto done;
    if (template_path) {
        rc = file_read(&file, template_path, 4 << 20, e);
        text = (struct slice){(const char *)file.p, file.n};
    } else if ((rc = gguf_get_str(s->g, "tokenizer.chat_template", &text, e)) == 0) {
        rc = err_set(e, E_NOTFOUND, "%s: no chat template (--template gives one)", path);
    }
    if (rc >= 0)
        rc = jinja_parse(t, template_path ? template_path : path, text, e);
done:
    file_unmap(&file);
    source_close(s);
    return rc;
}

/* BOS and EOS as the vocabulary spells them, where the variables do not. */
static json_t *token_text(const struct tok *v, enum tok_role role)
{
    int32_t id = v ? tok_role_id(v, role) : -1;
    struct slice s = id >= 0 ? tok_piece(v, id) : (struct slice){"", 0};

    return id >= 0 ? json_stringn(s.p, s.n) : NULL;
}

static int render_record(const struct jinja *t, const struct tok *v, struct slice record,
                         struct err *e)
{
    json_error_t je;
    json_t *j = json_loadb(record.p, record.n, JSON_ALLOW_NUL, &je), *value;
    struct jinja_text text = {0};
    struct jinja_var var[256];
    size_t n = 0;
    const char *key;
    int rc = 0;

    if (!json_is_object(j)) {
        json_decref(j);
        return err_set(e, E_FORMAT, "the variables: line %d, column %d: %.200s", j ? 1 : je.line,
                       j ? 1 : je.column, j ? "expected an object" : je.text);
    }
    if (!json_object_get(j, "bos_token"))
        json_object_set_new(j, "bos_token", token_text(v, TOK_BOS));
    if (!json_object_get(j, "eos_token"))
        json_object_set_new(j, "eos_token", token_text(v, TOK_EOS));
    json_object_foreach(j, key, value)
    {
        if (n == sizeof var / sizeof *var) {
            rc = err_set(e, E_RANGE, "more than %zu variables", n);
            break;
        }
        var[n++] = (struct jinja_var){key, value, JINJA_CONTENT};
    }
    if (rc == 0)
        rc = jinja_render(t, var, n, (int64_t)time(NULL), NULL, &text, e);
    if (rc == 0)
        fwrite(text.text.p, 1, text.text.n, stdout);
    if (rc == 0 && (lines || nul))
        putchar(lines ? '\n' : 0);
    jinja_text_fini(&text);
    json_decref(j);
    return rc;
}

static int render_all(struct records *in, struct err *e)
{
    struct jinja *t = NULL;
    struct tok *v = NULL;
    struct slice record;
    int rc = open_template(&t, &v, e);

    while (rc >= 0 && (rc = records_next(in, &record, e)) > 0)
        rc = render_record(t, v, record, e);
    jinja_free(t);
    tok_free(v);
    return rc;
}

static int run(struct err *e)
{
    struct records in = {.kind = lines ? RECORD_LINES : nul ? RECORD_NUL : RECORD_WHOLE};
    struct tok *t;
    int rc;

    if (accept) {
        rc = accept_all(&in, e);
        records_fini(&in);
        buf_fini(&out);
        return rc;
    }
    if (render) {
        rc = render_all(&in, e);
        records_fini(&in);
        return rc;
    }
    rc = open_vocab(&t, e);
    if (rc < 0)
        return rc;
    if (bos && first_added(t) < 0)
        rc = err_set(e, E_UNSUPPORTED, "the vocabulary has no BOS token");
    else
        rc = bench ? bench_all(t, &in, e) : decode ? decode_all(t, &in, e) : encode_all(t, &in, e);
    records_fini(&in);
    tok_free(t);
    buf_fini(&out);
    return rc;
}

int main(int argc, char **argv)
{
    struct err e = {0};
    int first = tool_begin(&tool, argc, argv);

    if (first < argc)
        tool_usage("unexpected argument '%s' (text is read from standard input)", argv[first]);
    if (lines && nul)
        tool_usage("-l and -0 exclude each other");
    if (bos && no_bos)
        tool_usage("--bos and --no-bos exclude each other");
    if (decode && (pieces || count || bench))
        tool_usage("--decode goes with neither --pieces, --count nor --bench");
    if (template_path && !render)
        tool_usage("--template goes with --render");
    if (render &&
        (decode || pieces || count || json || special || exact || bench || bos || no_bos || accept))
        tool_usage("--render goes with -m, --template, -l and -0 only");
    if (accept != (obeyed.schema || obeyed.grammar))
        tool_usage("--accept goes with --schema or --grammar");
    if (obey_kinds(&obeyed) > 1)
        tool_usage("--schema and --grammar exclude each other");
    if (accept && (decode || pieces || count || bench || model_path))
        tool_usage("--accept reads text and needs no model");
    first = run(&e);
    return tool_end(first < 0 ? tool_fail(&e) : first);
}
