/* fuzz_jinja.c - any bytes as a template, a zero byte, and JSON as its context. What it renders is
 * whole UTF-8 with its content spans in order, twice the same; what it refuses has a sentence.
 */
#include "tests/fuzz/replay.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja.h"

static void need(bool ok)
{
    if (!ok)
        abort();
}

static void check_text(const struct jinja_text *t)
{
    size_t at = 0;

    need(utf8_valid(t->text.p ? t->text.p : "", t->text.n));
    for (size_t i = 0; i < t->n_content; i++) {
        need(t->content[i].n > 0 && t->content[i].at >= at + (i > 0));
        at = t->content[i].at + t->content[i].n;
        need(at <= t->text.n);
    }
}

static void check_failure(int rc, const struct err *e, const struct jinja_text *t)
{
    need(rc == E_FORMAT || rc == E_RANGE);
    need(rc == e->code && e->text[0]);
    need(!t || (t->text.n == 0 && t->n_content == 0));
}

static void render(const struct jinja *t, const json_t *context)
{
    /* small: what a long rendering meets, a short one has met */
    const struct jinja_limits limits = {.steps = 5000, .bytes = 1 << 20, .depth = 200};
    struct jinja_var var[64];
    struct jinja_text a = {0}, b = {0};
    struct err e = {0};
    const char *key;
    json_t *v;
    size_t n = 0;
    int rc;

    json_object_foreach((json_t *)context, key, v)
    {
        if (n < 64)
            var[n++] = (struct jinja_var){key, v, (enum jinja_mark)(key[0] % 3)};
    }
    rc = jinja_render(t, var, n, 1752148800, &limits, &a, &e);
    if (rc < 0) {
        check_failure(rc, &e, &a);
        return;
    }
    check_text(&a);
    if (a.text.n % 4) { // one in four is rendered again
        jinja_text_fini(&a);
        return;
    }
    need(jinja_render(t, var, n, 1752148800, &limits, &b, &e) == 0);
    need(a.text.n == b.text.n && a.n_content == b.n_content);
    need(a.text.n == 0 || memcmp(a.text.p, b.text.p, a.text.n) == 0);
    jinja_text_fini(&a);
    jinja_text_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static json_t *usual; // the context of templates that bring none
    const uint8_t *zero = n ? memchr(p, 0, n) : NULL;
    size_t n_source = zero ? (size_t)(zero - p) : n;
    struct err e = {0};
    json_t *context = NULL;
    struct jinja *t;
    int rc = jinja_parse(&t, "t", (struct slice){(const char *)p, n_source}, &e);

    if (rc < 0) {
        check_failure(rc, &e, NULL);
        return 0;
    }
    if (zero)
        context = json_loadb((const char *)zero + 1, n - n_source - 1, JSON_ALLOW_NUL, NULL);
    if (!usual)
        usual = json_pack("{s[{ssss}]s[iii]ss}", "messages", "role", "user", "content", "a b", "xs",
                          3, 1, 2, "s", "Hello\n");
    render(t, json_is_object(context) ? context : usual);
    json_decref(context);
    jinja_free(t);
    return 0;
}
