/* jinja.c - see jinja.h: the door of the template engine. */
#include "jinja_in.h"

#include "base/utf8.h"

enum {
    SOURCE_MAX = 4 << 20,
    STEPS = 10000000,
    BYTES = 256 << 20,
    DEPTH = 1000,
    EXPECT_MAX = 64 << 10
};

/* The source with its newlines as "\n", less one at the end. */
static bool take_source(struct jstate *J, struct jinja *t, struct slice source)
{
    char *p = jalloc(J, source.n + 1, 1);
    size_t n = 0;

    if (!p)
        return false;
    for (size_t i = 0; i < source.n; i++) {
        if (source.p[i] == '\r' && i + 1 < source.n && source.p[i + 1] == '\n')
            continue;
        p[n++] = source.p[i] == '\r' ? '\n' : source.p[i];
    }
    if (n > 0 && p[n - 1] == '\n')
        n--;
    t->src = p;
    t->n_src = n;
    return true;
}

int jinja_parse(struct jinja **out, const char *name, struct slice source, struct err *e)
{
    struct jinja *t = mem_new(sizeof *t, e);
    struct jstate J = {.t = t, .e = e, .steps = UINT64_MAX, .mem.max = UINT64_MAX / 2};
    char *copy;

    *out = NULL;
    if (!t)
        return E_NOMEM;
    J.mem.max = 64u * SOURCE_MAX + 64u * source.n; // what a token and a node take, and more
    copy = jalloc(&J, strlen(name) + 1, 1);
    if (copy)
        t->name = memcpy(copy, name, strlen(name) + 1);
    if (source.n > SOURCE_MAX) {
        J.failed = true;
        J.code = err_set(e, E_RANGE, "%s: a template of more than %d bytes", name, SOURCE_MAX);
    } else if (!utf8_valid(source.p, source.n)) {
        J.failed = true;
        J.code = err_set(e, E_FORMAT, "%s: the template is not UTF-8", name);
    }
    if (!J.failed && take_source(&J, t, source))
        jparse(&J, t);
    t->mem = J.mem;
    if (J.failed) {
        jinja_free(t);
        return J.code;
    }
    *out = t;
    return 0;
}

void jinja_free(struct jinja *t)
{
    if (t)
        jarena_fini(&t->mem);
    mem_free(t);
}

bool jinja_names(const struct jinja *t, const char *variable)
{
    for (size_t i = 0; i < t->n_sym; i++)
        if (jstr_is(t->sym[i], variable))
            return true;
    return false;
}

bool jinja_spells(const struct jinja *t, const char *bytes)
{
    const struct jstr src = {.p = t->src, .n = t->n_src}, what = {.p = bytes, .n = strlen(bytes)};

    return jstr_find(&src, 0, src.n, &what, false) != SIZE_MAX;
}

void jinja_text_fini(struct jinja_text *t)
{
    buf_fini(&t->text);
    mem_free(t->content);
    *t = (struct jinja_text){0};
}

/* The runs of content of what was built. Twice: to count, and to keep. */
static size_t spans(const struct jbuf *b, struct byte_span *out)
{
    size_t n = 0, at = 0;

    if (!b->mask) {
        if (b->n && b->one == M_CONTENT) {
            if (out)
                out[0] = (struct byte_span){0, b->n};
            n = 1;
        }
        return n;
    }
    while (at < b->n) {
        const uint8_t *from = memchr(b->mask + at, M_CONTENT, b->n - at), *to;

        if (!from)
            break;
        at = (size_t)(from - b->mask);
        to = memchr(from, M_OWN, b->n - at);
        if (out)
            out[n] = (struct byte_span){at, to ? (size_t)(to - from) : b->n - at};
        n++;
        at = to ? (size_t)(to - b->mask) : b->n;
    }
    return n;
}

static int keep(const struct jbuf *b, struct jinja_text *out, struct err *e)
{
    out->n_content = spans(b, NULL);
    out->content = mem_array(out->n_content, sizeof *out->content, e);
    if (!out->content)
        return E_NOMEM;
    spans(b, out->content);
    buf_add(&out->text, b->p ? b->p : "", b->n);
    return out->text.bad ? err_nomem(e, b->n) : 0;
}

/* How long the prompt may become: text, with something around each message. */
static size_t expected(const struct jstate *J)
{
    const size_t n = J->t->n_src + J->n_text;

    return n < EXPECT_MAX ? n : EXPECT_MAX;
}

int jinja_render(const struct jinja *t, const struct jinja_var *var, size_t n_var, int64_t now,
                 const struct jinja_limits *limits, struct jinja_text *out, struct err *e)
{
    const struct jinja_limits none = {0}, *l = limits ? limits : &none;
    struct jstate J = {.t = t,
                       .e = e,
                       .steps = l->steps ? l->steps : STEPS,
                       .mem.max = l->bytes ? l->bytes : BYTES,
                       .max_depth = l->depth ? l->depth : DEPTH,
                       .now = now};
    struct jframe root = {0};
    struct jbuf b = {.J = &J};

    jinja_text_fini(out);
    J.frame = &root;
    J.out = &b;
    root.all = jalloc(&J, t->n_sym + 1, sizeof *root.all);
    for (size_t i = 0; i < n_var && !J.failed; i++)
        for (size_t s = 0; s < t->n_sym; s++)
            if (jstr_is(t->sym[s], var[i].name))
                root.all[s] = jv_from_json(&J, var[i].value, var[i].mark);
    jb_expect(&b, expected(&J));
    if (!J.failed)
        jrun(&J);
    if (!J.failed && (J.code = keep(&b, out, e)) < 0)
        J.failed = true;
    if (J.failed)
        jinja_text_fini(out);
    jarena_fini(&J.mem);
    return J.failed ? J.code : 0;
}
