/* figures.c - see figures.h. */
#include "tools/lib/figures.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/slice.h"

void figure_words(struct figure *f, const char *name, const char *text)
{
    f->name = name;
    f->words = true;
    snprintf(f->text, sizeof f->text, "%s", text);
}

void figure_set(struct figure *f, const char *name, int decimals, double v)
{
    f->name = name;
    f->words = false;
    snprintf(f->text, sizeof f->text, "%.*f", decimals, v);
}

static void json_print(const struct figure *f, int n)
{
    for (int i = 0; i < n; i++)
        printf(f[i].words ? "%c\"%s\":\"%s\"" : "%c\"%s\":%s", i ? ',' : '{', f[i].name, f[i].text);
    puts("}");
}

/* Words with a comma or a quote in them are quoted (RFC 4180). */
static void csv_words(const char *s)
{
    if (!strpbrk(s, ",\"\n")) {
        fputs(s, stdout);
        return;
    }
    putchar('"');
    for (; *s; s++) {
        if (*s == '"')
            putchar('"');
        putchar(*s);
    }
    putchar('"');
}

static void line_print(enum figures_form form, const struct figure *f, int n, bool names)
{
    for (int i = 0; i < n; i++) {
        const char *s = names ? f[i].name : f[i].text;

        if (form == FIGURES_MARKDOWN)
            printf("%s %s", i ? " |" : "|", s);
        else if (i)
            putchar(form == FIGURES_CSV ? ',' : '\t');
        if (form == FIGURES_CSV)
            csv_words(s);
        else if (form == FIGURES_TSV)
            fputs(s, stdout);
    }
    puts(form == FIGURES_MARKDOWN ? " |" : "");
}

void figures_print(enum figures_form form, const struct figure *f, int n, bool head)
{
    if (form == FIGURES_JSON) {
        json_print(f, n);
    } else {
        if (head)
            line_print(form, f, n, true);
        for (int i = 0; head && form == FIGURES_MARKDOWN && i < n; i++)
            printf(f[i].words ? "|---" : "|---:");
        if (head && form == FIGURES_MARKDOWN)
            puts("|");
        line_print(form, f, n, false);
    }
    fflush(stdout);
}

/* -- an earlier run -- */

struct baseline {
    json_t *rows;
};

void baseline_close(struct baseline *b)
{
    if (!b)
        return;
    json_decref(b->rows);
    mem_free(b);
}

int baseline_open(struct baseline **out, const char *path, struct err *e)
{
    struct file_view v = {0};
    struct baseline *b = mem_new(sizeof *b, e);
    int rc = E_NOMEM, line = 0;

    if (!b)
        return E_NOMEM;
    b->rows = json_array();
    if (!b->rows || (rc = file_read(&v, path, 16u << 20, e)) < 0)
        goto fail;
    for (const char *p = (const char *)v.p, *end = p + v.n, *nl; p < end; p = nl + 1) {
        json_t *row;

        nl = memchr(p, '\n', (size_t)(end - p));
        nl = nl ? nl : end;
        line++;
        if (nl == p)
            continue;
        row = json_loadb(p, (size_t)(nl - p), 0, NULL);
        if (!json_is_object(row)) {
            json_decref(row);
            rc = err_set(e, E_FORMAT, "%s: line %d is not a JSON object", path, line);
            goto fail;
        }
        if (json_array_append_new(b->rows, row) < 0) {
            rc = err_set(e, E_NOMEM, "%s: no memory", path);
            goto fail;
        }
    }
    file_unmap(&v);
    *out = b;
    return 0;
fail:
    file_unmap(&v);
    baseline_close(b);
    return rc;
}

static bool same_figure(const json_t *row, const struct figure *f)
{
    const json_t *v = json_object_get(row, f->name);

    if (f->words)
        return json_is_string(v) && strcmp(json_string_value(v), f->text) == 0;
    return json_is_number(v) && json_number_value(v) == strtod(f->text, NULL);
}

double baseline_find(const struct baseline *b, const struct figure *f, int n)
{
    for (size_t i = 0; i < json_array_size(b->rows); i++) {
        const json_t *row = json_array_get(b->rows, i);
        int k = 0;

        while (k < n && same_figure(row, &f[k]))
            k++;
        if (k == n)
            return json_number_value(json_object_get(row, "tok_s"));
    }
    return 0;
}

/* -- bars -- */

enum { BARS_MAX = 1000, BAR = 26, LEFT = 260, WIDTH = 420, RIGHT = 220 };

struct bar {
    char label[80], note[48];
    double v;
    int group;
};

struct plot {
    struct bar *bar;
    int n, group;
    bool full;
};

int plot_open(struct plot **out, struct err *e)
{
    struct plot *p = mem_new(sizeof *p, e);

    if (p && !(p->bar = mem_array(BARS_MAX, sizeof *p->bar, e))) {
        mem_free(p);
        p = NULL;
    }
    *out = p;
    return p ? 0 : E_NOMEM;
}

void plot_close(struct plot *p)
{
    if (!p)
        return;
    mem_free(p->bar);
    mem_free(p);
}

void plot_add(struct plot *p, const char *label, const char *note, double v)
{
    if (p->n == BARS_MAX) {
        p->full = true;
        return;
    }
    snprintf(p->bar[p->n].label, sizeof p->bar->label, "%s", label);
    snprintf(p->bar[p->n].note, sizeof p->bar->note, "%s", note);
    p->bar[p->n].group = p->group;
    p->bar[p->n++].v = v;
}

void plot_group(struct plot *p)
{
    p->group++;
}

static void xml_text(struct buf *b, const char *s)
{
    for (; *s; s++)
        if (*s == '<' || *s == '>' || *s == '&' || *s == '"')
            buf_printf(b, "&#%d;", *s);
        else
            buf_byte(b, *s);
}

/* The longest bar of a group has the whole width. */
static double most_of(const struct plot *p, int group)
{
    double most = 0;

    for (int i = 0; i < p->n; i++)
        if (p->bar[i].group == group && p->bar[i].v > most)
            most = p->bar[i].v;
    return most;
}

static void bars(struct buf *b, const struct plot *p)
{
    for (int i = 0; i < p->n; i++) {
        const double most = most_of(p, p->bar[i].group);
        const int y = 44 + i * BAR + p->bar[i].group * (BAR / 2);
        const double w = most > 0 ? p->bar[i].v / most * WIDTH : 0;

        buf_printf(b, "<text x='%d' y='%d' text-anchor='end'>", LEFT - 8, y + 15);
        xml_text(b, p->bar[i].label);
        buf_printf(b, "</text><rect x='%d' y='%d' width='%.1f' height='%d'/><text x='%.1f' y='%d'>",
                   LEFT, y, w, BAR - 6, LEFT + w + 6, y + 15);
        xml_text(b, p->bar[i].note);
        buf_str(b, "</text>\n");
    }
}

int plot_write(const struct plot *p, const char *title, const char *path, struct err *e)
{
    struct buf b = {0};
    struct file_out *f = NULL;
    int rc;

    if (p->full)
        return err_set(e, E_UNSUPPORTED, "%s: more than %d bars", path, BARS_MAX);
    buf_printf(&b,
               "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' "
               "font-family='sans-serif' font-size='13'>\n<style>rect{fill:#4878a8}</style>\n"
               "<text x='8' y='24' font-size='15'>",
               LEFT + WIDTH + RIGHT, 60 + p->n * BAR + p->group * (BAR / 2));
    xml_text(&b, title);
    buf_str(&b, "</text>\n");
    bars(&b, p);
    buf_str(&b, "</svg>\n");
    rc = b.bad ? err_set(e, E_NOMEM, "%s: no memory", path) : file_create(&f, path, e);
    if (rc == 0 && (rc = file_write(f, buf_view(&b).p, buf_view(&b).n, e)) == 0) {
        rc = file_commit(f, e);
        f = NULL;
    }
    file_abort(f);
    buf_fini(&b);
    return rc;
}
