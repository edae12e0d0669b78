/* obey.c - see obey.h. */
#include "tools/lib/obey.h"

#include <string.h>

#include "base/file.h"
#include "base/mem.h"

#define MAX_SOURCE (16u << 20)

int obey_kinds(const struct obey_options *o)
{
    return (o->schema != NULL) + (o->grammar != NULL) + (o->regex != NULL) + (o->choices.n > 0);
}

static int choices(struct rill_constraint **out, const struct obey_options *o,
                   const struct rill_constraint_opts *opts, struct err *e)
{
    size_t n = o->choices.n;
    struct rill_stop *v = mem_array(n, sizeof *v, e);
    int rc = v ? 0 : E_NOMEM;

    for (size_t i = 0; rc == 0 && i < n; i++)
        v[i] = (struct rill_stop){o->choices.at[i].value, strlen(o->choices.at[i].value)};
    if (rc == 0)
        rc = rill_constraint_new(out, RILL_CHOICE, v, (int)n, opts, e);
    mem_free(v);
    return rc;
}

int obey_open(struct rill_constraint **out, const struct obey_options *o,
              const struct rill_constraint_opts *opts, struct err *e)
{
    const char *path = o->schema ? o->schema : o->grammar;
    struct rill_stop src = {o->regex, o->regex ? strlen(o->regex) : 0};
    struct file_view v;
    int rc;

    *out = NULL;
    if (o->choices.n)
        return choices(out, o, opts, e);
    if (o->regex)
        return rill_constraint_new(out, RILL_REGEX, &src, 1, opts, e);
    if (!path)
        return 0;
    rc = file_read(&v, path, MAX_SOURCE, e);
    if (rc < 0)
        return rc;
    src = (struct rill_stop){(const char *)v.p, v.n};
    rc = rill_constraint_new(out, o->schema ? RILL_SCHEMA : RILL_GRAMMAR, &src, 1, opts, e);
    file_unmap(&v);
    return rc < 0 ? err_prefix(e, path) : 0;
}

int obey_judge(struct con **out, const struct obey_options *o, struct err *e)
{
    const char *path = o->schema ? o->schema : o->grammar;
    const struct con_opts opts = {0};
    struct file_view v;
    struct slice src;
    int rc = file_read(&v, path, MAX_SOURCE, e);

    if (rc < 0)
        return rc;
    src = (struct slice){(const char *)v.p, v.n};
    rc = o->schema ? con_schema(out, src, &opts, e) : con_gbnf(out, src, &opts, e);
    file_unmap(&v);
    return rc < 0 ? err_prefix(e, path) : 0;
}
