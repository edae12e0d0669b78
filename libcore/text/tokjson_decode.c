/* tokjson_decode.c - the decoder of a tokenizer.json: what each token is when it is decoded.
 *
 * Almost every file's decoder undoes what its other parts do, which tok_decode does by itself: then
 * there is nothing to find out. Otherwise the steps are run over each token's text once, here, and
 * the tokenizer keeps what came out. That is possible because steps look at tokens one by one; what
 * looks at the joined text (behind "Fuse") is supported where it comes to the same.
 *
 * Not done as the library does it: it puts spaces between tokens where a file has no decoder, drops
 * the space a text's last word ends with (BPEDecoder) and all marks of the first token (Metaspace).
 */
#define _GNU_SOURCE
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/tok_in.h"
#include "text/tokjson.h"

#define MARK "\xe2\x96\x81"

enum { MAX_DEC = 24 };

enum dec_kind {
    DEC_BYTES,     // letters become their bytes
    DEC_FALLBACK,  // "<0x0A>" becomes its byte
    DEC_REPLACE,   // norm
    DEC_STRIP,     // from: the character; front, back: how many
    DEC_FUSE,      // what is behind sees one text
    DEC_MARKS,     // from: the mark, which becomes a space
    DEC_WORD_END,  // from: the suffix, which becomes a space
    DEC_WORDPIECE, // from: the prefix that goes; others get a space
    DEC_CTC        // from: the padding; norm.to: what stands between words
};

struct dec_step {
    enum dec_kind kind;
    struct norm_step norm; // REPLACE; elsewhere from and to
    size_t front, back;
    bool cleanup;
    bool prefix; // MARKS: one was put in front
};

/* -- reading -- */

static struct dec_step *new_dec(struct tokjson *j, enum dec_kind kind)
{
    if (!j->dec && !(j->dec = mem_array(MAX_DEC, sizeof *j->dec, j->e)))
        return NULL;
    if (j->n_dec == MAX_DEC) {
        tokjson_bad(j, E_RANGE, "more than %d decoders", MAX_DEC);
        return NULL;
    }
    j->dec[j->n_dec].kind = kind;
    return &j->dec[j->n_dec++];
}

static int copy(const struct tokjson *j, struct buf *to, struct slice s, const char *or_this)
{
    buf_slice(to, s.p ? s : slice_of(or_this));
    return to->bad ? err_nomem(j->e, s.n) : 0;
}

static bool fused(const struct tokjson *j)
{
    for (int i = 0; i + 1 < j->n_dec; i++)
        if (j->dec[i].kind == DEC_FUSE)
            return true;
    return false;
}

static int behind_fuse(const struct tokjson *j, const char *type)
{
    return tokjson_bad(j, E_UNSUPPORTED, "decoder '%s' behind 'Fuse' is not supported", type);
}

static int read_strip(struct tokjson *j, struct dec_step *s, const json_t *v)
{
    json_int_t front = json_integer_value(json_object_get(v, "start")),
               back = json_integer_value(json_object_get(v, "stop"));
    struct slice what = tokjson_str(v, "content");

    if (front < 0 || front > 1 << 20 || back < 0 || back > 1 << 20)
        return tokjson_bad(j, E_RANGE, "decoder 'Strip' takes %lld and %lld characters away",
                           (long long)front, (long long)back);
    s->front = (size_t)front;
    s->back = (size_t)back;
    if (fused(j) && (front > 1 || back || !slice_is(what, " ")))
        return behind_fuse(j, "Strip");
    return copy(j, &s->norm.from, what, " ");
}

static int read_replace(struct tokjson *j, struct dec_step *s, const json_t *v)
{
    const struct buf *from = &s->norm.from;
    int rc = tokjson_pattern(j, v, &s->norm.from, &s->norm.re);

    s->norm.kind = NORM_REPLACE;
    if (rc == 0)
        rc = copy(j, &s->norm.to, tokjson_str(v, "content"), "");
    /* one character is in one token; more may lie across the end of one */
    if (rc == 0 && fused(j) && (s->norm.re || !from->n || char_len(from->p, from->n) != from->n))
        return behind_fuse(j, "Replace");
    return rc;
}

static int read_step(struct tokjson *j, struct dec_step *s, const json_t *v)
{
    struct slice scheme = tokjson_str(v, "prepend_scheme");
    int rc;

    s->cleanup = tokjson_bool(v, "cleanup", true);
    switch (s->kind) {
    case DEC_REPLACE:
        return read_replace(j, s, v);
    case DEC_STRIP:
        return read_strip(j, s, v);
    case DEC_MARKS:
        s->prefix =
            scheme.p ? !slice_is(scheme, "never") : tokjson_bool(v, "add_prefix_space", true);
        return copy(j, &s->norm.from, tokjson_str(v, "replacement"), MARK);
    case DEC_WORD_END:
        return copy(j, &s->norm.from, tokjson_str(v, "suffix"), "</w>");
    case DEC_WORDPIECE:
        return copy(j, &s->norm.from, tokjson_str(v, "prefix"), "##");
    case DEC_CTC:
        rc = copy(j, &s->norm.from, tokjson_str(v, "pad_token"), "<pad>");
        return rc < 0 ? rc : copy(j, &s->norm.to, tokjson_str(v, "word_delimiter_token"), "|");
    default:
        return 0;
    }
}

int tokjson_decoder(struct tokjson *j, const json_t *v)
{
    static const struct {
        const char *type;
        enum dec_kind kind;
    } known[] = {
        {"ByteLevel", DEC_BYTES},     {"WordPiece", DEC_WORDPIECE}, {"Metaspace", DEC_MARKS},
        {"BPEDecoder", DEC_WORD_END}, {"Replace", DEC_REPLACE},     {"ByteFallback", DEC_FALLBACK},
        {"Fuse", DEC_FUSE},           {"Strip", DEC_STRIP},         {"CTC", DEC_CTC}};
    const char *type = tokjson_type(v);
    const json_t *list = json_object_get(v, "decoders");
    int rc = 0;

    if (!v || json_is_null(v))
        return 0;
    if (strcmp(type, "Sequence") == 0) {
        for (size_t i = 0; i < json_array_size(list) && rc == 0; i++)
            rc = tokjson_decoder(j, json_array_get(list, i));
        return rc;
    }
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(type, known[i].type) == 0) {
            struct dec_step *s = new_dec(j, known[i].kind);

            if (!s)
                return j->n_dec ? E_RANGE : E_NOMEM;
            if (fused(j) && s->kind != DEC_STRIP && s->kind != DEC_REPLACE && s->kind != DEC_FUSE)
                return behind_fuse(j, type);
            return read_step(j, s, v);
        }
    return tokjson_unknown(j, "decoder", type);
}

void tokjson_decoder_free(struct tokjson *j)
{
    for (int i = 0; i < j->n_dec; i++) {
        buf_fini(&j->dec[i].norm.from);
        buf_fini(&j->dec[i].norm.to);
        pre_re_free(j->dec[i].norm.re);
    }
    mem_free(j->dec);
}

/* -- running -- */

/* Adds s to out with `to` wherever it has `from`. */
static void swap(struct slice s, struct slice from, struct slice to, struct buf *out)
{
    const char *p;

    while (from.n && s.n && (p = memmem(s.p, s.n, from.p, from.n))) {
        size_t n = (size_t)(p - s.p);

        buf_add(out, s.p, n);
        buf_slice(out, to);
        s = (struct slice){p + from.n, s.n - n - from.n};
    }
    buf_slice(out, s);
}

/* Spaces that English does not have; one token's text. */
static void clean(struct buf *b)
{
    static const char *const pairs[][2] = {
        {" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
        {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
        {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
    };
    struct buf to = {0};

    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        const struct slice s = buf_view(b);
        const struct buf old = *b;

        if (!s.n || !memmem(s.p, s.n, pairs[i][0], strlen(pairs[i][0])))
            continue;
        buf_clear(&to);
        swap(s, slice_of(pairs[i][0]), slice_of(pairs[i][1]), &to);
        *b = to;
        to = old;
    }
    b->bad |= to.bad;
    buf_fini(&to);
}

static void strip(const struct dec_step *s, struct slice text, struct buf *out)
{
    const struct slice what = buf_view(&s->norm.from);

    for (size_t i = 0; i < s->front && what.n && slice_starts(text, what); i++)
        text = (struct slice){text.p + what.n, text.n - what.n};
    for (size_t i = 0; i < s->back && what.n && slice_ends(text, what); i++)
        text.n -= what.n;
    buf_slice(out, text);
}

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static void fallback(struct slice text, struct buf *out)
{
    if (text.n == 6 && memcmp(text.p, "<0x", 3) == 0 && text.p[5] == '>' && hex(text.p[3]) >= 0 &&
        hex(text.p[4]) >= 0)
        buf_byte(out, (char)(hex(text.p[3]) * 16 + hex(text.p[4])));
    else
        buf_slice(out, text);
}

static void wordpiece(const struct dec_step *s, struct slice text, struct buf *out)
{
    const struct slice prefix = buf_view(&s->norm.from);

    if (slice_starts(text, prefix)) {
        buf_add(out, text.p + prefix.n, text.n - prefix.n);
    } else {
        buf_byte(out, ' ');
        buf_slice(out, text);
    }
    if (s->cleanup)
        clean(out);
}

static void ctc(const struct dec_step *s, struct slice text, struct buf *out)
{
    struct buf b = {0};

    swap(text, buf_view(&s->norm.from), SLICE(""), &b);
    if (s->cleanup) {
        clean(&b);
        swap(buf_view(&b), buf_view(&s->norm.to), SLICE(" "), out);
    } else {
        buf_slice(out, buf_view(&b));
    }
    out->bad |= b.bad;
    buf_fini(&b);
}

/* One token's text through one step; it is not the first of its text. */
static int run_step(const struct dec_step *s, struct pre_match *m, struct slice text,
                    struct buf *out, struct err *e)
{
    switch (s->kind) {
    case DEC_BYTES:
        tok_spell_alphabet(text, out);
        break;
    case DEC_FALLBACK:
        fallback(text, out);
        break;
    case DEC_REPLACE:
        /* bytes that a step before this made need be no characters */
        if (s->norm.re && !utf8_valid(text.p, text.n))
            buf_slice(out, text);
        else
            return pipe_normalize(&s->norm, m, text, out, e);
        break;
    case DEC_STRIP:
        strip(s, text, out);
        break;
    case DEC_MARKS:
    case DEC_WORD_END:
        swap(text, buf_view(&s->norm.from), SLICE(" "), out);
        break;
    case DEC_WORDPIECE:
        wordpiece(s, text, out);
        break;
    case DEC_CTC:
        ctc(s, text, out);
        break;
    case DEC_FUSE:
        buf_slice(out, text);
        break;
    }
    return out->bad ? err_nomem(e, text.n) : 0;
}

/* -- whether there is anything to do -- */

static bool is_mark(const struct dec_step *s)
{
    return slice_is(buf_view(&s->norm.from), MARK);
}

/* Whether a step undoes what pieces are spelt with, so that tok_decode does it by itself. */
static bool is_natural(const struct tokjson *j, const struct dec_step *s, bool after_fuse)
{
    const struct pipe *p = j->spec.take_pipe;
    const struct slice inside = j->spec.word_inside;

    switch (s->kind) {
    case DEC_FUSE:
        return true;
    case DEC_BYTES:
        return p->bytes || p->fast;
    case DEC_FALLBACK:
        return j->byte_fallback;
    case DEC_MARKS:
        return p->marks && is_mark(s);
    case DEC_REPLACE:
        return p->marks && !s->norm.re && is_mark(s) && slice_is(buf_view(&s->norm.to), " ");
    case DEC_STRIP:
        return after_fuse;
    case DEC_WORDPIECE:
        return j->spec.model == TOK_WPM && !s->cleanup && !(inside.p && !inside.n) &&
               slice_eq(buf_view(&s->norm.from), inside.p ? inside : SLICE("##"));
    default:
        return false;
    }
}

/* Whether pieces lack a step that would undo their spelling. */
static bool lacks(const struct tokjson *j, enum dec_kind kind)
{
    for (int i = 0; i < j->n_dec; i++)
        if (j->dec[i].kind == kind)
            return false;
    return true;
}

/* Where the file has no decoder: what makes text of the pieces. */
static int usual_steps(struct tokjson *j)
{
    const struct pipe *p = j->spec.take_pipe;
    struct dec_step *s;

    if (j->n_dec)
        return 0;
    if (j->marked) {
        if (!(s = new_dec(j, DEC_WORD_END)) || copy(j, &s->norm.from, j->spec.word_end, "") < 0)
            return E_NOMEM;
        if (!(s = new_dec(j, DEC_WORDPIECE)) || copy(j, &s->norm.from, j->spec.word_inside, "") < 0)
            return E_NOMEM;
        s->kind = DEC_REPLACE;
        s->norm.kind = NORM_REPLACE;
    }
    if (j->byte_level && !p->bytes && !p->fast && !new_dec(j, DEC_BYTES))
        return E_NOMEM;
    return 0;
}

static bool all_natural(const struct tokjson *j)
{
    const struct pipe *p = j->spec.take_pipe;
    bool fuse = false;

    if (j->n_dec && p->marks && lacks(j, DEC_MARKS) && lacks(j, DEC_REPLACE))
        return false;
    if (j->n_dec && (p->bytes || p->fast) && lacks(j, DEC_BYTES))
        return false;
    if (j->n_dec && (j->spec.model == TOK_WPM || j->spec.model == TOK_WORD) &&
        lacks(j, DEC_WORDPIECE))
        return false;
    for (int i = 0; i < j->n_dec; i++) {
        if (!is_natural(j, &j->dec[i], fuse))
            return false;
        fuse |= j->dec[i].kind == DEC_FUSE;
    }
    return true;
}

/* -- all tokens -- */

/* The end of what token i becomes, behind those before it in shown_text. */
static int show(struct tokjson *j, struct pre_match *m, uint32_t i, struct buf b[2])
{
    struct slice s = j->piece[i];
    bool fuse = false;
    int rc = 0;

    for (int k = 0; k < j->n_dec && rc == 0 && j->kind[i] != TOK_CONTROL; k++) {
        struct buf *to = &b[k % 2];

        fuse |= j->dec[k].kind == DEC_FUSE;
        if (fuse && j->dec[k].kind == DEC_STRIP)
            continue; /* once, at the front */
        buf_clear(to);
        rc = run_step(&j->dec[k], m, s, to, j->e);
        s = buf_view(to);
    }
    buf_slice(&j->shown_text, s);
    return rc;
}

int tokjson_shown(struct tokjson *j)
{
    struct pre_match *m = NULL;
    struct buf b[2] = {{0}};
    bool fuse = false;
    size_t *end;
    int rc = usual_steps(j);

    if (rc < 0 || all_natural(j))
        return rc;
    end = mem_array(j->spec.n, sizeof *end, j->e);
    j->shown = mem_array(j->spec.n, sizeof *j->shown, j->e);
    rc = end && j->shown ? pre_match_new(&m, j->e) : E_NOMEM;
    for (uint32_t i = 0; i < j->spec.n && rc == 0; i++) {
        rc = show(j, m, i, b);
        end[i] = j->shown_text.n;
    }
    if (rc == 0 && j->shown_text.bad)
        rc = err_nomem(j->e, j->shown_text.n);
    for (uint32_t i = 0; i < j->spec.n && rc == 0; i++) {
        const size_t at = i ? end[i - 1] : 0;

        j->shown[i] = (struct slice){buf_view(&j->shown_text).p + at, end[i] - at};
    }
    for (int i = 0; i < j->n_dec; i++) {
        const struct dec_step *s = &j->dec[i];

        fuse |= s->kind == DEC_FUSE;
        j->spec.shown_once |= s->kind == DEC_CTC;
        j->spec.shown_front |= s->kind == DEC_WORDPIECE || (s->kind == DEC_MARKS && s->prefix) ||
                               (s->kind == DEC_STRIP && fuse && s->front);
    }
    if (rc == 0)
        j->spec.shown = j->shown;
    pre_match_free(m);
    buf_fini(&b[0]);
    buf_fini(&b[1]);
    mem_free(end);
    return rc;
}
