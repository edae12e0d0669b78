/* constrain.c - compiling, free text around a grammar, and the small front ends. */
#include "constrain_in.h"

#include "base/mem.h"
#include "constrain_regex.h"

void con_free_text(struct rxs *s, const struct slice *mark, uint32_t n, rx *until, rx *none)
{
    rx has = RX_NONE;

    for (uint32_t i = 0; i < n; i++)
        has = rx_or(s, has, rx_cat(s, s->any, rx_lit(s, mark[i])));
    *none = rx_minus(s, s->any, rx_cat(s, has, RX_ALL));
    *until = rx_minus(s, has, rx_cat(s, has, rx_minus(s, RX_ALL, RX_EPS)));
}

/* What is free before one of o->after, as the grammar has control tokens. */
static int free_text(struct gram *g, const struct con_opts *o, rx *until, rx *none, struct err *e)
{
    struct slice *mark = mem_array(o->n_after, sizeof *mark, e);
    struct con_controls control = {0};
    struct buf text = {0};
    int rc = mark ? con_controls_init(&control, o->tok, e) : E_NOMEM;

    for (uint32_t i = 0; rc == 0 && i < o->n_after; i++) { // first how long: text may move
        size_t at = text.n;
        con_controls_put(&control, o->after[i], &text);
        mark[i].n = text.n - at;
    }
    if (rc == 0 && text.bad)
        rc = err_nomem(e, 0);
    for (uint32_t i = 0, at = 0; rc == 0 && i < o->n_after; at += (uint32_t)mark[i++].n)
        mark[i].p = text.p + at;
    if (rc == 0)
        con_free_text(&g->rx, mark, o->n_after, until, none);
    mem_free(mark);
    con_controls_fini(&control);
    buf_fini(&text);
    return rc;
}

/* A rule around the grammar's own for con_opts.after. */
static int wrap(struct gram *g, const struct con_opts *o, uint32_t *root, struct err *e)
{
    uint32_t r = gram_rule(g), mid = gram_state(g, r), inner = *root;
    rx until = RX_NONE, none = RX_NONE;
    int rc = free_text(g, o, &until, &none, e);

    if (rc < 0)
        return rc;
    if (g->bad)
        return 0;
    gram_read(g, g->rule[r].start, until, mid);
    if (o->maybe)
        gram_read(g, g->rule[r].start, none, g->rule[r].end);
    gram_edge(g, mid, inner, o->again ? g->rule[r].start : g->rule[r].end);
    if (o->again && !o->maybe)
        gram_edge(g, mid, inner, g->rule[r].end);
    *root = r;
    return 0;
}

int con_compile(struct con **out, con_front *fn, void *arg, const struct con_opts *opts,
                struct err *e)
{
    static const struct con_opts none;
    const struct con_opts *o = opts ? opts : &none;
    struct con *c = mem_new(sizeof *c, e);
    uint32_t root = 0;
    int rc = c ? gram_init(&c->g, e) : E_NOMEM;

    for (uint32_t i = 0; rc == 0 && i < o->n_after; i++)
        if (o->after[i].n == 0)
            rc = err_set(e, E_RANGE, "an empty trigger");
    if (rc == 0 && (rc = fn(&c->g, arg, o, &root, e)) == 0) {
        if (o->n_after)
            rc = wrap(&c->g, o, &root, e);
        if (rc == 0)
            rc = gram_finish(&c->g, root, e);
    }
    if (rc < 0) {
        con_free(c);
        return rc;
    }
    *out = c;
    return 0;
}

void con_free(struct con *c)
{
    if (c)
        gram_fini(&c->g);
    mem_free(c);
}

/* One terminal is the whole text. */
static uint32_t only(struct gram *g, rx e)
{
    uint32_t r = gram_rule(g);

    if (!g->bad)
        gram_read(g, g->rule[r].start, e, g->rule[r].end);
    return r;
}

static int front_regex(struct gram *g, void *arg, const struct con_opts *o, uint32_t *root,
                       struct err *e)
{
    rx x;
    int rc = rx_parse(&g->rx, *(const struct slice *)arg, false, &x, e);

    (void)o;
    *root = only(g, x);
    return rc;
}

int con_regex(struct con **out, struct slice src, const struct con_opts *opts, struct err *e)
{
    return con_compile(out, front_regex, &src, opts, e);
}

struct choices {
    const struct slice *text;
    uint32_t n;
};

static int front_choice(struct gram *g, void *arg, const struct con_opts *o, uint32_t *root,
                        struct err *e)
{
    const struct choices *c = arg;
    struct slice *v = mem_array(c->n, sizeof *v, e);

    (void)o;
    if (!v)
        return E_NOMEM;
    if (c->n)
        memcpy(v, c->text, c->n * sizeof *v);
    *root = only(g, rx_texts(&g->rx, v, c->n));
    mem_free(v);
    return 0;
}

int con_choice(struct con **out, const struct slice *text, uint32_t n, const struct con_opts *opts,
               struct err *e)
{
    return con_compile(out, front_choice, &(struct choices){text, n}, opts, e);
}
