/* inspect_health.c - what is wrong with a model: weights, experts, chat template, special tokens.
 *
 * Each finding is a row; none is an opinion on how good the model is.
 */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/thread.h"
#include "kernels/encode.h"
#include "model/hfdir.h"
#include "text/jinja.h"
#include "tools/lib/inspect.h"
#include "tools/lib/tool.h"

#define F16_MOST     65504.0f
#define NORM_MOST    1e4f    // of a norm's weight
#define NORM_OUTLIER 1000.0f // times the median of its magnitudes

enum { PIECE_WEIGHTS = 4096 };

struct health {
    struct show *o;
    struct source *src;
    struct scan scan;
    struct tok *tok; // NULL: none
    struct buf text;
    uint64_t found;
};

/* A finding: what kind, about what (a tensor, a token, a template), in words. */
static void found(struct health *h, const char *what, struct slice name, struct err *e,
                  const char *fmt, ...) ERR_PRINTF(5, 6);
static void found(struct health *h, const char *what, struct slice name, struct err *e,
                  const char *fmt, ...)
{
    char text[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    row_begin(h->o, "finding");
    field_str(h->o, "what", 9, what);
    field_text(h->o, "name", 28, name);
    field_str(h->o, "text", 0, text);
    row_end(h->o, e);
    h->found++;
}

/* -- weights -- */

struct stat {
    uint64_t nan, inf;
    float most;   // largest finite magnitude
    bool nonzero; // there is anything but 0
};

struct look {
    struct decoder dec;
    const struct fmt_info *f;
    struct stat *chunk; // [scan_chunks]
};

static void look_at(const float *x, size_t n, struct stat *s)
{
    for (size_t i = 0; i < n; i++) {
        float a = fabsf(x[i]);

        s->nonzero |= x[i] != 0.0f; /* NaN too */
        if (isfinite(a))
            s->most = a > s->most ? a : s->most;
        else if (isnan(a))
            s->nan++;
        else
            s->inf++;
    }
}

static int look_chunk(void *arg, const struct scan *s, int member, uint64_t chunk, uint64_t row,
                      uint64_t n, const uint8_t *rows, struct err *e)
{
    const struct look *l = arg;
    const struct gguf_tensor *t = &s->src->g->tensor[s->tensor];
    uint64_t left = n * (t->ne[0] / (uint64_t)l->f->block);
    uint64_t step = PIECE_WEIGHTS / (uint64_t)l->f->block;
    float x[PIECE_WEIGHTS];

    (void)member;
    (void)row;
    (void)e;
    for (; left > 0; left -= step, rows += step * (uint64_t)l->f->bytes) {
        step = step < left ? step : left;
        l->dec.run(rows, x, (size_t)step);
        look_at(x, (size_t)(step * (uint64_t)l->f->block), &l->chunk[chunk]);
    }
    return 0;
}

static void add_stat(struct stat *to, const struct stat *s)
{
    to->nan += s->nan;
    to->inf += s->inf;
    to->most = s->most > to->most ? s->most : to->most;
    to->nonzero |= s->nonzero;
}

static bool name_has(struct slice name, const char *part)
{
    size_t n = strlen(part);

    for (size_t i = 0; i + n <= name.n; i++)
        if (memcmp(name.p + i, part, n) == 0)
            return true;
    return false;
}

/* Experts whose matrix is all zeros, and rows of a router that are. */
static void find_dead(struct health *h, const struct gguf_tensor *t, const struct look *l,
                      struct err *e)
{
    uint64_t per = scan_chunks(t) / (t->ne[2] * t->ne[3]);
    uint64_t dead = 0, first = 0;

    for (uint64_t m = 0; m < t->ne[2]; m++) {
        struct stat s = {0};

        for (uint64_t c = 0; c < per; c++)
            add_stat(&s, &l->chunk[m * per + c]);
        if (!s.nonzero && dead++ == 0)
            first = m;
    }
    if (dead)
        found(h, "expert", t->name, e, "%llu of %llu experts are all zeros, the first of them %llu",
              (unsigned long long)dead, (unsigned long long)t->ne[2], (unsigned long long)first);
}

static int up(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* A tensor's numbers as floats; of small ones only. */
static int get_floats(struct health *h, uint32_t i, float **out, struct err *e)
{
    const struct gguf_tensor *t = &h->src->g->tensor[i];
    uint64_t n = weights_of(t);
    struct decoder dec;
    uint8_t *raw = NULL;
    const uint8_t *p;
    int rc = decoder_find(&dec, (int)t->type, e);

    *out = NULL;
    if (rc < 0 || !(raw = mem_array(t->bytes, 1, e)) || !(*out = mem_array(n, sizeof **out, e)))
        rc = rc < 0 ? rc : E_NOMEM;
    else if ((rc = scan_rows(h->src, i, 0, source_n_rows(t), raw, &p, e)) == 0)
        dec.run(p, *out, (size_t)(n / (uint64_t)format_of(t)->block));
    mem_free(raw);
    return rc;
}

static int check_norm(struct health *h, uint32_t i, const struct stat *s, struct err *e)
{
    const struct gguf_tensor *t = &h->src->g->tensor[i];
    uint64_t n = weights_of(t);
    float *x, median;
    int rc;

    if (s->most > NORM_MOST) {
        found(h, "norm", t->name, e, "its largest weight is %g", (double)s->most);
        return 0;
    }
    if (n < 16)
        return 0;
    if ((rc = get_floats(h, i, &x, e)) == 0) {
        for (uint64_t k = 0; k < n; k++)
            x[k] = fabsf(x[k]);
        qsort(x, n, sizeof *x, up);
        median = x[n / 2];
        if (median > 0.0f && s->most > NORM_OUTLIER * median)
            found(h, "norm", t->name, e, "its largest weight, %g, is %.0f times the median",
                  (double)s->most, (double)(s->most / median));
    }
    mem_free(x);
    return rc;
}

/* A router's row of zeros gives its expert the same score whatever comes. */
static int check_router(struct health *h, uint32_t i, struct err *e)
{
    const struct gguf_tensor *t = &h->src->g->tensor[i];
    float *x;
    int rc = get_floats(h, i, &x, e);

    for (uint64_t r = 0; r < t->ne[1] && rc == 0; r++) {
        struct stat s = {0};

        look_at(x + r * t->ne[0], (size_t)t->ne[0], &s);
        if (!s.nonzero)
            found(h, "expert", t->name, e, "the row of expert %llu is all zeros",
                  (unsigned long long)r);
    }
    mem_free(x);
    return rc;
}

/* With scores between 0 and 1, an expert is never chosen when as many as are used have a bias
 * greater by 1. */
static int check_bias(struct health *h, uint32_t i, struct err *e)
{
    const struct gguf *g = h->src->g;
    const struct gguf_tensor *t = &g->tensor[i];
    uint64_t n = weights_of(t);
    struct slice arch = {"", 0};
    uint32_t used = 0;
    char key[128];
    float *x;
    int rc;

    if (gguf_get_str(g, "general.architecture", &arch, NULL) <= 0)
        return 0;
    snprintf(key, sizeof key, "%.*s.expert_used_count", (int)(arch.n < 64 ? arch.n : 64), arch.p);
    if (gguf_get_u32(g, key, &used, NULL) <= 0 || used == 0)
        return 0;
    rc = get_floats(h, i, &x, e);
    for (uint64_t k = 0; k < n && rc == 0; k++) {
        uint64_t above = 0;

        for (uint64_t other = 0; other < n; other++)
            above += x[other] > x[k] + 1.0f;
        if (above >= used)
            found(h, "expert", t->name, e, "expert %llu is never chosen: its bias is %g",
                  (unsigned long long)k, (double)x[k]);
    }
    mem_free(x);
    return rc;
}

static int judge(struct health *h, uint32_t i, const struct look *l, struct err *e)
{
    const struct gguf_tensor *t = &h->src->g->tensor[i];
    struct stat s = {0};
    bool norm = name_has(t->name, "norm.weight");
    int rc = 0;

    for (uint64_t c = 0; c < scan_chunks(t); c++)
        add_stat(&s, &l->chunk[c]);
    if (s.nan)
        found(h, "nan", t->name, e, "%llu of %llu weights are no number", (unsigned long long)s.nan,
              (unsigned long long)weights_of(t));
    if (s.inf)
        found(h, "inf", t->name, e, "%llu of %llu weights are infinite", (unsigned long long)s.inf,
              (unsigned long long)weights_of(t));
    if (s.most > F16_MOST)
        found(h, "overflow", t->name, e, "its largest weight, %g, does not fit F16",
              (double)s.most);
    if (!s.nonzero && (t->ne[1] > 1 || norm))
        found(h, "zero", t->name, e, "all its weights are 0");
    else if (t->ne[2] > 1 && name_has(t->name, "_exps"))
        find_dead(h, t, l, e);
    else if (norm && !s.nan && !s.inf)
        rc = check_norm(h, i, &s, e);
    else if (name_has(t->name, "ffn_gate_inp.weight"))
        rc = check_router(h, i, e);
    else if (name_has(t->name, "exp_probs_b"))
        rc = check_bias(h, i, e);
    return rc < 0 ? rc : e->code;
}

static int check_weights(struct health *h, struct err *e)
{
    const struct gguf *g = h->src->g;
    struct progress bar;
    uint64_t bytes = 0;
    int rc = 0;

    for (uint32_t i = 0; i < g->n_tensor; i++)
        bytes += g->tensor[i].bytes;
    progress_begin(&bar, "reading", bytes, true);
    bytes = 0;
    for (uint32_t i = 0; i < g->n_tensor && rc == 0; i++) {
        const struct gguf_tensor *t = &g->tensor[i];
        struct look l = {.f = format_of(t)};

        if (!l.f) {
            found(h, "type", t->name, e, "its type, %u, is not known", t->type);
            continue;
        }
        if (!(l.chunk = mem_array(scan_chunks(t), sizeof *l.chunk, e)))
            return E_NOMEM;
        if ((rc = decoder_find(&l.dec, (int)t->type, e)) == 0) {
            h->scan.fn = look_chunk;
            h->scan.arg = &l;
            rc = scan_tensor(&h->scan, i, e);
        }
        if (rc == 0)
            rc = judge(h, i, &l, e);
        mem_free(l.chunk);
        progress_at(&bar, bytes += t->bytes);
    }
    progress_end(&bar);
    return rc;
}

/* -- text -- */

/* The ids that text becomes; kept short for a sentence. */
static int ids_of(struct health *h, struct slice text, struct tok_ids *ids, struct err *e)
{
    ids->n = 0;
    return tok_encode(h->tok, text, TOK_PARSE | TOK_AFTER, ids, e);
}

/* What is written like a control token in a template is a single token. */
static int check_marks(struct health *h, struct slice name, struct slice s, struct err *e)
{
    struct tok_ids ids = {0};
    struct buf seen = {0}; /* marks already looked at, NUL behind each */
    int rc = 0;

    for (size_t i = 0; i + 4 < s.n && rc == 0; i++) {
        size_t n = 2;
        struct slice mark;

        if (s.p[i] != '<' || s.p[i + 1] != '|')
            continue;
        while (i + n < s.n && n < 64 && s.p[i + n] != '|' && s.p[i + n] != '<' &&
               (unsigned char)s.p[i + n] > ' ' && s.p[i + n] != '\'' && s.p[i + n] != '"')
            n++;
        if (n == 2 || i + n + 1 >= s.n || s.p[i + n] != '|' || s.p[i + n + 1] != '>')
            continue;
        mark = (struct slice){s.p + i, n + 2};
        for (size_t k = 0; k < seen.n; k += strlen(seen.p + k) + 1)
            if (slice_is(mark, seen.p + k))
                mark.n = 0;
        if (!mark.n)
            continue;
        buf_slice(&seen, mark);
        buf_byte(&seen, 0);
        if ((rc = ids_of(h, mark, &ids, e)) == 0 && ids.n != 1) {
            buf_clear(&h->text);
            add_shown(&h->text, mark, LINE);
            found(h, "template", name, e, "it writes %s, which is %zu tokens", h->text.p, ids.n);
        }
    }
    if (rc == 0 && seen.bad)
        rc = err_nomem(e, seen.n);
    buf_fini(&seen);
    tok_ids_fini(&ids);
    return rc;
}

static int check_templates(struct health *h, struct err *e)
{
    static const char prefix[] = "tokenizer.chat_template";
    const struct gguf *g = h->src->g;
    int rc = 0;

    for (uint32_t i = 0; i < g->n_key && rc == 0; i++) {
        const struct gguf_key *k = &g->key[i];
        struct jinja *j = NULL;
        struct err why = {0};

        if (k->type != GGUF_STR || !slice_starts(k->name, SLICE(prefix)) ||
            (k->name.n > sizeof prefix - 1 && k->name.p[sizeof prefix - 1] != '.'))
            continue;
        rc = jinja_parse(&j, "line", k->raw, &why);
        jinja_free(j);
        if (rc == E_NOMEM)
            return err_set(e, rc, "%s", why.text);
        if (rc < 0)
            found(h, "template", k->name, e, "%s", why.text);
        rc = h->tok && tok_model_of(h->tok) != TOK_NONE ? check_marks(h, k->name, k->raw, e) : 0;
    }
    return rc;
}

static int check_token(struct health *h, int32_t id, const char *role, struct tok_ids *ids,
                       struct err *e)
{
    struct slice piece = tok_piece(h->tok, id);
    char name[96];
    int rc;

    if (role)
        snprintf(name, sizeof name, "%d (%s)", id, role);
    else
        snprintf(name, sizeof name, "%d", id);
    buf_clear(&h->text);
    buf_str(&h->text, "");
    add_shown(&h->text, front(piece, 80), QUOTED);
    if (h->text.bad)
        return err_nomem(e, h->text.n);
    if (piece.n == 0) {
        found(h, "token", slice_of(name), e, "it has no text");
        return 0;
    }
    if ((rc = ids_of(h, piece, ids, e)) < 0)
        return rc;
    if (ids->n != 1)
        found(h, "token", slice_of(name), e, "\"%s\" becomes %zu tokens when it is read", h->text.p,
              ids->n);
    else if (ids->id[0] != id)
        found(h, "token", slice_of(name), e, "\"%s\" becomes token %d when it is read", h->text.p,
              ids->id[0]);
    return 0;
}

/* Tokens with a role, control and user-defined ones: their text must become them again. */
static int check_tokens(struct health *h, struct err *e)
{
    struct tok_ids ids = {0};
    int rc = 0;

    for (uint32_t i = 0; i < tok_count(h->tok) && rc == 0; i++) {
        enum tok_kind kind = tok_kind_of(h->tok, (int32_t)i);
        const char *role = NULL;

        for (int r = 0; r < TOK_N_ROLE && !role; r++)
            if (r != TOK_NL && tok_role_id(h->tok, (enum tok_role)r) == (int32_t)i)
                role = tok_role_name((enum tok_role)r);
        if (role || kind == TOK_CONTROL || kind == TOK_USER)
            rc = check_token(h, (int32_t)i, role, &ids, e);
    }
    tok_ids_fini(&ids);
    return rc;
}

static int check_vocabulary(struct health *h, struct err *e)
{
    struct err why = {0};
    int rc;

    if (gguf_find(h->src->g, "tokenizer.ggml.model")) {
        rc = model_source_vocab(&h->tok, h->src, &why);
        if (rc == E_NOMEM || rc == E_IO)
            return err_set(e, rc, "%s", why.text);
        if (rc < 0)
            found(h, "vocab", SLICE("tokenizer"), e, "%s", why.text);
    }
    if (h->tok && tok_model_of(h->tok) != TOK_NONE && (rc = check_tokens(h, e)) < 0)
        return rc;
    return check_templates(h, e);
}

int show_health(struct show *o, struct source *src, int threads, struct err *e)
{
    struct health h = {.o = o, .src = src};
    int rc = scan_init(&h.scan, src, threads, e);

    heading(o, "health: what, where, why");
    if (rc == 0)
        rc = check_weights(&h, e);
    if (rc == 0)
        rc = check_vocabulary(&h, e);
    if (rc == 0) {
        row_begin(o, "findings");
        if (o->json || o->tsv)
            field_num(o, "count", 0, h.found);
        else if (h.found)
            buf_printf(&o->row, "%llu finding%s", (unsigned long long)h.found,
                       h.found > 1 ? "s" : "");
        else
            buf_str(&o->row, "nothing found");
        row_end(o, e);
    }
    scan_fini(&h.scan);
    tok_free(h.tok);
    buf_fini(&h.text);
    return rc < 0 ? rc : e->code ? e->code : h.found > 0;
}
