/* hf_pre.c - the name GGUF has for the way a tokenizer.json cuts text.
 *
 * A file's expressions need not be spelt as ours are, so both cut a sample in which all the ways
 * known differ, and the one that cuts alike is it.
 */
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "model/hf_files.h"
#include "text/pre.h"

static const char sample[] =
    "Hello world's HE'S I'LL we'll don't \xe2\x80\x99s  two   three    four\n\n\n x\n \n\ty "
    "\r\n\r\n z"
    " 1 12 123 1234 12345 1234567 3.14 1,000,000 x1y22z333 a_b_c foo/bar/baz//\n path/to.c:12\n"
    " HTMLParser camelCase XMLHttp ABCdef \xc3\x89t\xc3\xa9 e\xcc\x81t\xc3\xa9 na\xc3\xafve "
    "\xc2\xbd \xc2\xb2 \xe2\x85\xab \xd9\xa1\xd9\xa2\xd9\xa3\xd9\xa4 "
    "\xe4\xbd\xa0\xe5\xa5\xbd\xe4\xb8\x96\xe7\x95\x8c, \xe3\x81\xb2\xe3\x82\x89\xe3\x82\xab\xe3\x82"
    "\xbf abc\xe4\xb8\xad\xe6\x96\x87"
    "def \xed\x95\x9c\xea\xb5\xad\xec\x96\xb4 "
    "\xe0\xb9\x84\xe0\xb8\x97\xe0\xb8\xa2 \xd0\xbf\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82 "
    "\xd8\xb9\xd8\xb1\xd8\xa8\xd9\x8a \xf0\x9f\x98\x80\xf0\x9f\x91\x8d\xf0\x9f\x8f\xbd "
    "!!! ... ?!? ((x)) [y] {z} <t> a=b c==d $e %f #g @h &i *j +k -l ~m `n` |o| \\p ^q \"r\" 's'\n"
    "\xe3\x80\x82\xef\xbc\x8c\xef\xbc\x9f \xe2\x80\xa6 \xe2\x80\x94 \xc2\xa0nbsp\xe3\x80\x80wide "
    "fun(a, b);\n\n\n\tif (x)\n\t\treturn;\n    end   ";

struct cuts {
    size_t n;
    uint64_t hash; // of where pieces end
    const char *base;
};

static int on_piece(void *arg, struct slice s)
{
    struct cuts *c = arg;

    c->n++;
    c->hash = (c->hash ^ (uint64_t)(s.p + s.n - c->base)) * 0x9e3779b97f4a7c15u;
    c->hash ^= c->hash >> 29;
    return 0;
}

static int cut(const struct pre_row *row, struct cuts *out, struct err *e)
{
    struct pre_work *w = NULL;
    struct pre *p = NULL;
    int rc = pre_new(&p, row, true, e);

    *out = (struct cuts){.base = sample};
    if (rc == 0)
        rc = pre_work_new(&w, p, e);
    if (rc == 0)
        rc = pre_split(p, w, SLICE(sample), on_piece, out, e);
    pre_work_free(w);
    pre_free(p);
    return rc;
}

/* The name of a row that other readers of GGUF know as well: mostly the first. */
static void name_of(const char *names, char out[64])
{
    static const char *const known[] = {"llama-bpe", "glm4", "command-r", "gpt-4o"};
    size_t n = strcspn(names, " ");

    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        const char *at = strstr(names, known[i]);
        size_t len = strlen(known[i]);

        if (at && (at == names || at[-1] == ' ') && (at[len] == ' ' || at[len] == 0))
            names = known[i], n = len;
    }
    n = n < 63 ? n : 63;
    memcpy(out, names, n);
    out[n] = 0;
}

int hf_pre_name(char out[64], const struct tok_spec *s, bool known, struct err *e)
{
    static const char *const nothing[] = {NULL};
    const struct pre_row own = {.names = "", .steps = s->split ? s->split : nothing}, *row;
    struct cuts want, got;
    int rc;

    out[0] = 0;
    if (!known)
        return 0;
    if ((rc = cut(&own, &want, e)) < 0)
        return rc;
    for (size_t i = 0; (row = pre_row_at(i)); i++) {
        if (row->flags & PRE_RAW || !!(row->flags & PRE_WHOLE_FIRST) != s->whole_first)
            continue;
        if ((rc = cut(row, &got, e)) < 0)
            return rc;
        if (got.n == want.n && got.hash == want.hash) {
            name_of(row->names, out);
            return 0;
        }
    }
    return 0;
}
