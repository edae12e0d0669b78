/* tokjson_steps.c - the steps of a tokenizer.json: normalizers and pre-tokenizers. */
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/tok_in.h"
#include "text/tokjson.h"

#define MARK "\xe2\x96\x81"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

int tokjson_unknown(const struct tokjson *j, const char *what, const char *type)
{
    return tokjson_bad(j, E_UNSUPPORTED, "%s '%.40s' is not known", what, type);
}

static int copy(const struct tokjson *j, struct buf *to, struct slice s)
{
    buf_slice(to, s);
    return to->bad ? err_nomem(j->e, s.n) : 0;
}

/* Runs fn over the objects of a list. */
static int each(struct tokjson *j, const json_t *list, int (*fn)(struct tokjson *, const json_t *))
{
    int rc = 0;

    for (size_t i = 0; i < json_array_size(list) && rc == 0; i++)
        rc = fn(j, json_array_get(list, i));
    return rc;
}

int tokjson_pattern(struct tokjson *j, const json_t *v, struct buf *text, struct pre_re **re)
{
    const json_t *p = json_object_get(v, "pattern");
    struct slice plain = tokjson_str(p, "String"), regex = tokjson_str(p, "Regex");

    if (json_is_string(p))
        plain = (struct slice){json_string_value(p), json_string_length(p)};
    if (plain.p)
        return copy(j, text, plain);
    if (!regex.p)
        return tokjson_bad(j, E_FORMAT, "a step lacks its pattern");
    if (pre_re_new(re, regex.p, j->e) < 0) {
        err_prefix(j->e, j->name);
        return j->e ? j->e->code : E_UNSUPPORTED;
    }
    return 0;
}

/* -- normalizers -- */

static struct norm_step *new_norm(struct tokjson *j, enum norm_kind kind)
{
    struct pipe *p = j->spec.take_pipe;

    if (p->n_norm == MAX_NORM) {
        tokjson_bad(j, E_RANGE, "more than %d normalizers", MAX_NORM);
        return NULL;
    }
    p->norm[p->n_norm].kind = kind;
    return &p->norm[p->n_norm++];
}

static int digit64(char c)
{
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(set, c) : NULL;

    return at ? (int)(at - set) : -1;
}

int tokjson_base64(struct slice s, struct buf *out)
{
    uint32_t bits = 0, n = 0;

    for (size_t i = 0; i < s.n && s.p[i] != '='; i++) {
        int v = digit64(s.p[i]);

        if (v < 0)
            return -1;
        bits = bits << 6 | (uint32_t)v;
        n += 6;
        if (n >= 8) {
            n -= 8;
            buf_byte(out, (char)(bits >> n));
        }
    }
    return 0;
}

static int read_charsmap(struct tokjson *j, struct norm_step *s, const json_t *v)
{
    struct slice text = tokjson_str(v, "precompiled_charsmap");

    if (!text.p || tokjson_base64(text, &s->from) < 0)
        return tokjson_bad(j, E_FORMAT, "precompiled_charsmap: no base64");
    if (s->from.bad)
        return err_nomem(j->e, text.n);
    if (s->from.n == 0) { /* an empty one maps nothing */
        j->spec.take_pipe->n_norm--;
        return 0;
    }
    j->charsmap = buf_view(&s->from);
    if (charsmap_check((const uint8_t *)s->from.p, s->from.n, j->e) < 0) {
        err_prefix(j->e, j->name);
        return E_FORMAT;
    }
    return 0;
}

static int read_bert(const struct tokjson *j, struct norm_step *s, const json_t *v)
{
    (void)j;
    s->clean = tokjson_bool(v, "clean_text", true);
    s->apart = tokjson_bool(v, "handle_chinese_chars", true);
    s->lower = tokjson_bool(v, "lowercase", true);
    s->accents = tokjson_bool(v, "strip_accents", s->lower);
    return 0;
}

static int read_replace(struct tokjson *j, struct norm_step *s, const json_t *v)
{
    int rc = tokjson_pattern(j, v, &s->from, &s->re);

    if (rc == 0)
        rc = copy(j, &s->to, tokjson_str(v, "content"));
    if (rc == 0 && !s->re && slice_is(buf_view(&s->from), " ") && slice_is(buf_view(&s->to), MARK))
        j->metaspace = true;
    return rc;
}

int tokjson_normalizer(struct tokjson *j, const json_t *v)
{
    static const struct {
        const char *type;
        enum norm_kind kind;
    } plain[] = {{"NFC", NORM_NFC},
                 {"NFD", NORM_NFD},
                 {"NFKC", NORM_NFKC},
                 {"NFKD", NORM_NFKD},
                 {"Lowercase", NORM_LOWER},
                 {"StripAccents", NORM_STRIP_ACCENTS},
                 {"Nmt", NORM_NMT},
                 {"Strip", NORM_STRIP},
                 {"Replace", NORM_REPLACE},
                 {"Prepend", NORM_PREPEND},
                 {"Precompiled", NORM_CHARSMAP},
                 {"BertNormalizer", NORM_BERT}};
    const char *type = tokjson_type(v);
    struct norm_step *s;

    if (!v || json_is_null(v))
        return 0;
    if (strcmp(type, "Sequence") == 0)
        return each(j, json_object_get(v, "normalizers"), tokjson_normalizer);
    if (strcmp(type, "ByteLevel") == 0) {
        j->byte_level = true;
        return new_norm(j, NORM_BYTES) ? 0 : E_RANGE;
    }
    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        if (strcmp(type, plain[i].type) != 0)
            continue;
        if (!(s = new_norm(j, plain[i].kind)))
            return E_RANGE;
        s->left = tokjson_bool(v, "strip_left", false);
        s->right = tokjson_bool(v, "strip_right", false);
        switch (s->kind) {
        case NORM_REPLACE:
            return read_replace(j, s, v);
        case NORM_PREPEND:
            j->spec.add_space_prefix |= slice_is(tokjson_str(v, "prepend"), MARK);
            return copy(j, &s->to, tokjson_str(v, "prepend"));
        case NORM_CHARSMAP:
            return read_charsmap(j, s, v);
        case NORM_BERT:
            return read_bert(j, s, v);
        default:
            return 0;
        }
    }
    return tokjson_unknown(j, "normalizer", type);
}

/* -- pre-tokenizers -- */

static struct cut_step *new_cut(struct tokjson *j, enum cut_kind kind)
{
    struct pipe *p = j->spec.take_pipe;

    if (p->n_cut == MAX_CUT) {
        tokjson_bad(j, E_RANGE, "more than %d pre-tokenizers", MAX_CUT);
        return NULL;
    }
    p->cut[p->n_cut].kind = kind;
    return &p->cut[p->n_cut++];
}

static int read_way(const struct tokjson *j, const json_t *v, enum cut_way *way)
{
    static const char *const names[] = {"Removed", "Isolated", "Contiguous", "MergedWithPrevious",
                                        "MergedWithNext"};
    struct slice name = tokjson_str(v, "behavior");

    *way = CUT_ISOLATED;
    if (!name.p)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (slice_is(name, names[i])) {
            *way = (enum cut_way)i;
            return 0;
        }
    return tokjson_unknown(j, "behavior", name.p);
}

static int read_split(struct tokjson *j, struct cut_step *s, const json_t *v)
{
    int rc = read_way(j, v, &s->way);

    s->invert = tokjson_bool(v, "invert", false);
    return rc < 0 ? rc : tokjson_pattern(j, v, &s->text, &s->re);
}

static int read_byte_level(struct tokjson *j, struct cut_step *s, const json_t *v)
{
    s->prefix = tokjson_bool(v, "add_prefix_space", true);
    s->split = tokjson_bool(v, "use_regex", true);
    s->way = CUT_ISOLATED;
    j->byte_level = true;
    return s->split ? pre_re_new(&s->re, GPT2, j->e) : 0;
}

static int read_metaspace(struct tokjson *j, struct cut_step *s, const json_t *v)
{
    struct slice mark = tokjson_str(v, "replacement"), scheme = tokjson_str(v, "prepend_scheme");

    s->prefix = scheme.p ? !slice_is(scheme, "never") : tokjson_bool(v, "add_prefix_space", true);
    s->first_only = slice_is(scheme, "first");
    s->split = tokjson_bool(v, "split", true);
    j->metaspace |= slice_is(mark, MARK);
    j->spec.add_space_prefix |= s->prefix;
    return copy(j, &s->text, mark.n ? mark : SLICE(MARK));
}

static int read_step(struct tokjson *j, struct cut_step *s, const char *type, const json_t *v)
{
    json_int_t n = json_integer_value(json_object_get(v, "length"));

    switch (s->kind) {
    case CUT_MATCH:
        if (strcmp(type, "Split") == 0)
            return read_split(j, s, v);
        s->way = CUT_REMOVED;
        return copy(j, &s->text, tokjson_str(v, "delimiter"));
    case CUT_BYTES:
        return read_byte_level(j, s, v);
    case CUT_MARKS:
        return read_metaspace(j, s, v);
    case CUT_PUNCT:
        return read_way(j, v, &s->way);
    case CUT_NUMBERS:
        s->single = tokjson_bool(v, "individual_digits", false);
        return 0;
    case CUT_LENGTH:
        if (n < 1 || n > 1 << 20)
            return tokjson_bad(j, E_RANGE, "pieces of %lld characters", (long long)n);
        s->length = (uint32_t)n;
        return 0;
    default:
        return 0;
    }
}

static int pre_steps(struct tokjson *j, const json_t *v)
{
    static const struct {
        const char *type;
        enum cut_kind kind;
    } plain[] = {{"Split", CUT_MATCH},           {"CharDelimiterSplit", CUT_MATCH},
                 {"ByteLevel", CUT_BYTES},       {"WhitespaceSplit", CUT_SPACE},
                 {"Whitespace", CUT_WORDS},      {"BertPreTokenizer", CUT_BERT},
                 {"Punctuation", CUT_PUNCT},     {"Digits", CUT_NUMBERS},
                 {"Metaspace", CUT_MARKS},       {"FixedLength", CUT_LENGTH},
                 {"UnicodeScripts", CUT_SCRIPTS}};
    const char *type = tokjson_type(v);
    struct cut_step *s;

    if (!v || json_is_null(v))
        return 0;
    if (strcmp(type, "Sequence") == 0)
        return each(j, json_object_get(v, "pretokenizers"), pre_steps);
    for (size_t i = 0; i < ARRAY_LEN(plain); i++)
        if (strcmp(type, plain[i].type) == 0) {
            if (!(s = new_cut(j, plain[i].kind)))
                return E_RANGE;
            return read_step(j, s, type, v);
        }
    return tokjson_unknown(j, "pre-tokenizer", type);
}

/* The expression of a step that only isolates what matches; NULL: it does something else. */
static const char *isolates(const struct tokjson *j, const struct cut_step *s, const json_t *v,
                            int i)
{
    (void)v;
    if (s->kind == CUT_BYTES)
        return s->split ? GPT2 : "";
    if (s->kind == CUT_NUMBERS)
        return s->single ? "\\p{N}" : "\\p{N}+";
    if (s->kind == CUT_PUNCT && s->way == CUT_ISOLATED)
        return "[\\p{P}!-/:-@\\[-`{-~]";
    if (s->kind == CUT_MATCH && s->re && s->way == CUT_ISOLATED && !s->invert)
        return buf_view(&j->split_text[i]).p;
    return NULL;
}

/* The expressions themselves, as pre.c wants them, in the order of the steps. */
static void collect(struct tokjson *j, const json_t *v, int *n)
{
    const json_t *list = json_object_get(v, "pretokenizers");
    struct slice regex = tokjson_str(json_object_get(v, "pattern"), "Regex");

    if (list) {
        for (size_t i = 0; i < json_array_size(list); i++)
            collect(j, json_array_get(list, i), n);
        return;
    }
    if (*n < MAX_CUT && regex.p)
        pre_re_spell(regex.p, &j->split_text[*n]);
    (*n)++;
}

/* When all steps isolate matches and bytes follow, the tokenizer's own, faster pre-tokenizer does
 * them. A space in front of the first piece is a normalizer then. */
static void try_fast(struct tokjson *j, const json_t *v)
{
    struct pipe *p = j->spec.take_pipe;
    int n = 0;

    if (!j->byte_level || j->spec.model != TOK_BPE || j->marked)
        return;
    for (int i = 0; i < p->n_norm; i++)
        if (p->norm[i].kind == NORM_BYTES && i + 1 < p->n_norm)
            return;
    if (p->n_norm && p->norm[p->n_norm - 1].kind == NORM_BYTES) {
        if (p->n_cut)
            return;
        p->n_norm--; /* the way back is not gone, either */
    }
    collect(j, v, &n);
    for (int i = 0; i < p->n_cut; i++) {
        const char *regex = isolates(j, &p->cut[i], v, i);

        /* what comes behind letters for bytes sees those */
        if (!regex ||
            (p->cut[i].kind == CUT_BYTES && (i + 1 < p->n_cut || (p->cut[i].prefix && i))))
            return;
        if (*regex)
            j->split[j->n_split++] = regex;
    }
    if (p->n_cut && p->cut[0].kind == CUT_BYTES && p->cut[0].prefix && !new_norm(j, NORM_SPACE))
        return;
    p->fast = true;
    j->split[j->n_split] = NULL;
    j->spec.split = j->split;
}

int tokjson_pre(struct tokjson *j, const json_t *v)
{
    int rc = pre_steps(j, v);

    if (rc < 0)
        return rc;
    try_fast(j, v);
    const bool bpe = j->spec.model == TOK_BPE, unigram = j->spec.model == TOK_UNIGRAM;
    struct pipe *p = j->spec.take_pipe;

    /* pieces stay letters and marks where the model has more to say than text */
    p->bytes = bpe && j->byte_level && !p->fast && !j->marked;
    p->marks = (bpe || unigram) && j->metaspace && !j->marked && !j->byte_level;
    j->spec.raw_bpe = bpe && p->marks;
    j->spec.as_is = (bpe || unigram) && !p->marks && !p->bytes && !p->fast;
    return 0;
}
