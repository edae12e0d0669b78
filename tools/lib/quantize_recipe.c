/* quantize_recipe.c - which type each tensor gets, as a text that can be edited. */
#include <ctype.h>

#include "base/file.h"
#include "base/map.h"
#include "base/mem.h"
#include "tools/lib/quantize.h"

enum { MAX_BYTES = 1 << 28 };

/* The next word of a line: up to a space or tab. */
static struct slice word(struct slice *line)
{
    struct slice w;

    while (line->n && (*line->p == ' ' || *line->p == '\t' || *line->p == '\r')) {
        line->p++;
        line->n--;
    }
    w = (struct slice){line->p, 0};
    while (w.n < line->n && !strchr(" \t\r", line->p[w.n]))
        w.n++;
    line->p += w.n;
    line->n -= w.n;
    return w;
}

static int read_line(struct recipe_tensor *t, const struct map *by_name, bool *seen,
                     const char *path, int number, struct slice line, struct err *e)
{
    struct slice name = word(&line), type = word(&line);
    char shown[96];
    uint32_t i;
    int fmt;

    if (name.n == 0 || *name.p == '#')
        return 0;
    gguf_show(shown, sizeof shown, name);
    if (type.n == 0)
        return err_set(e, E_FORMAT, "%s:%d: tensor '%s' has no type", path, number, shown);
    if (!map_get(by_name, name, &i))
        return err_set(e, E_FORMAT, "%s:%d: the model has no tensor '%s'", path, number, shown);
    if (seen[i])
        return err_set(e, E_FORMAT, "%s:%d: tensor '%s' is named twice", path, number, shown);
    seen[i] = true;
    if (fmt_find(t[i].fmt) && slice_is(type, fmt_find(t[i].fmt)->name)) {
        fmt = t[i].fmt;
    } else {
        char text[64];
        struct err why = {0};

        snprintf(text, sizeof text, "%.*s", (int)(type.n < 63 ? type.n : 63), type.p);
        if (find_fmt(text, strlen(text), &fmt, &why) < 0)
            return err_set(e, E_FORMAT, "%s:%d: %s", path, number, why.text);
    }
    t[i].wanted = fmt;
    t[i].to = recipe_fitting(fmt, t[i].ne[0]);
    t[i].chosen = true;
    return 0;
}

static int check_all(const char *path, const struct recipe_tensor *t, uint32_t n, const bool *seen,
                     struct err *e)
{
    char shown[96];

    for (uint32_t i = 0; i < n; i++)
        if (!seen[i])
            return err_set(e, E_FORMAT, "%s: tensor '%s' is missing", path,
                           gguf_show(shown, sizeof shown, t[i].name));
    return 0;
}

int recipe_read(const char *path, struct recipe_tensor *t, uint32_t n, struct err *e)
{
    struct file_view text = {0};
    struct map by_name = {0};
    bool *seen = mem_array(n, sizeof *seen, e);
    struct slice left;
    int rc = seen ? map_init(&by_name, n + 1, e) : E_NOMEM;

    for (uint32_t i = 0; i < n && rc == 0; i++)
        rc = map_put(&by_name, t[i].name, i, e);
    if (rc == 0)
        rc = file_read(&text, path, MAX_BYTES, e);
    left = (struct slice){(const char *)text.p, text.n};
    for (int number = 1; left.n && rc == 0; number++) {
        const char *nl = memchr(left.p, '\n', left.n);
        size_t len = nl ? (size_t)(nl - left.p) : left.n;

        rc = read_line(t, &by_name, seen, path, number, (struct slice){left.p, len}, e);
        len += nl != NULL;
        left = (struct slice){left.p + len, left.n - len};
    }
    if (rc == 0)
        rc = check_all(path, t, n, seen, e);
    file_unmap(&text);
    map_fini(&by_name);
    mem_free(seen);
    return rc;
}

int recipe_write(const struct recipe_tensor *t, uint32_t n, const double *error, FILE *f,
                 struct err *e)
{
    fprintf(f, "# tensor\ttype\tbytes\tbits a weight%s\n", error ? "\terror" : "");
    for (uint32_t i = 0; i < n; i++) {
        uint64_t rows = t[i].ne[1] * t[i].ne[2] * t[i].ne[3], bytes = 0;

        /* a name the line could not hold is one no file of ours can have */
        if (memchr(t[i].name.p, '\n', t[i].name.n) || memchr(t[i].name.p, ' ', t[i].name.n) ||
            memchr(t[i].name.p, '\t', t[i].name.n))
            return err_set(e, E_UNSUPPORTED, "tensor %u has a name with white space", i + 1);
        fmt_row_bytes(t[i].to, t[i].ne[0], &bytes);
        fprintf(f, "%.*s\t%s\t%llu\t%.4f", (int)t[i].name.n, t[i].name.p, fmt_find(t[i].to)->name,
                (unsigned long long)(bytes * rows),
                bits_per_weight(bytes * rows, t[i].ne[0] * rows));
        if (error && error[i] >= 0.0)
            fprintf(f, "\t%.6g", error[i]);
        fputc('\n', f);
    }
    return 0;
}

int recipe_file_type(const struct recipe_tensor *t, uint32_t n)
{
    double weights[FMT_ID_END] = {0.0};
    int most = FMT_F32;

    for (uint32_t i = 0; i < n; i++)
        if (t[i].to >= 0 && t[i].to < FMT_ID_END)
            weights[t[i].to] +=
                (double)t[i].ne[0] * (double)t[i].ne[1] * (double)t[i].ne[2] * (double)t[i].ne[3];
    for (int f = 0; f < FMT_ID_END; f++)
        if (weights[f] > weights[most])
            most = f;
    for (size_t i = 0; mix_at(i); i++)
        if (mix_at(i)->fmt == most && mix_at(i)->file_type >= 0)
            return mix_at(i)->file_type;
    return 0;
}
