/* toolcall_write.c - calls as a format writes them, and instructions for models without tools. */
#include "text/toolcall.h"

#include <stdlib.h>
#include <string.h>

static void dump(const json_t *v, struct buf *out)
{
    char *s = json_dumps(v, JSON_ENCODE_ANY);

    if (s)
        buf_str(out, s);
    else
        out->bad = true;
    free(s);
}

/* The layout's text: %i, %n and %d stand for the call's id, its name and its index. */
static void layout(const char *s, const struct toolcall_call *c, size_t index, struct buf *out)
{
    for (; s && *s; s++) {
        if (*s != '%' || !s[1] || !strchr("ind", s[1])) {
            buf_byte(out, *s);
            continue;
        }
        if (*++s == 'd')
            buf_printf(out, "%zu", index);
        else
            buf_slice(out, *s == 'i' ? c->id : c->name);
    }
}

static const char *python_name(const json_t *v)
{
    return json_is_true(v) ? "True" : json_is_false(v) ? "False" : json_is_null(v) ? "None" : NULL;
}

/* A value as Python writes it (mark NULL) or Gemma: strings between two marks, bare keys. */
static void literal(const json_t *v, const char *mark, struct buf *out)
{
    const char *key;
    json_t *item;
    size_t i;
    bool first = true;

    if (json_is_object(v)) {
        buf_byte(out, '{');
        json_object_foreach((json_t *)v, key, item)
        {
            buf_str(out, first ? "" : mark ? "," : ", ");
            first = false;
            if (mark)
                buf_str(out, key);
            else
                buf_json(out, slice_of(key));
            buf_str(out, mark ? ":" : ": ");
            literal(item, mark, out);
        }
        buf_byte(out, '}');
    } else if (json_is_array(v)) {
        buf_byte(out, '[');
        json_array_foreach(v, i, item)
        {
            buf_str(out, i == 0 ? "" : mark ? "," : ", ");
            literal(item, mark, out);
        }
        buf_byte(out, ']');
    } else if (json_is_string(v) && mark) {
        buf_str(out, mark);
        buf_add(out, json_string_value(v), json_string_length(v));
        buf_str(out, mark);
    } else if (!mark && python_name(v)) {
        buf_str(out, python_name(v));
    } else {
        dump(v, out);
    }
}

static void params(const struct toolcall_form *f, const json_t *args, struct buf *out)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)args, key, v)
    {
        buf_str(out, f->param_open);
        buf_str(out, key);
        buf_str(out, json_is_string(v) ? f->param_mid : f->param_mid_json);
        if (json_is_string(v))
            buf_add(out, json_string_value(v), json_string_length(v));
        else
            dump(v, out);
        buf_str(out, f->param_close);
    }
}

static void keywords(const json_t *args, struct buf *out)
{
    const char *key;
    json_t *v;
    bool first = true;

    json_object_foreach((json_t *)args, key, v)
    {
        buf_str(out, first ? "" : ", ");
        first = false;
        buf_str(out, key);
        buf_byte(out, '=');
        literal(v, NULL, out);
    }
}

int toolcall_write(const struct toolcall_format *f, const struct toolcall_call *c, size_t n,
                   struct buf *out, struct err *e)
{
    const struct toolcall_form *m = &f->form;

    for (size_t i = 0; i < n; i++) {
        if (!json_is_object(c[i].arguments))
            return err_set(e, E_FORMAT, "call of '%.*s': arguments are no object", (int)c[i].name.n,
                           c[i].name.p);
        layout(i ? m->between : m->begin, &c[i], i, out);
        layout(m->open, &c[i], i, out);
        buf_slice(out, c[i].name);
        layout(m->mid, &c[i], i, out);
        switch (m->args) {
        case TOOLCALL_PARAMS:
            params(m, c[i].arguments, out);
            break;
        case TOOLCALL_PYTHON:
            keywords(c[i].arguments, out);
            break;
        case TOOLCALL_GEMMA:
            literal(c[i].arguments, m->string_mark, out);
            break;
        default:
            dump(c[i].arguments, out);
        }
        layout(m->close, &c[i], i, out);
    }
    if (n)
        layout(m->end, &c[n - 1], n - 1, out);
    return out->bad ? err_nomem(e, out->n) : 0;
}

int toolcall_instructions(const json_t *tools, struct buf *out, struct err *e)
{
    const json_t *tool;
    size_t i;

    buf_str(out, "You can call these tools:\n\n");
    json_array_foreach(tools, i, tool)
    {
        const json_t *f = json_object_get(tool, "function");

        dump(f ? f : tool, out);
        buf_byte(out, '\n');
    }
    buf_str(out, "\nTo call tools, answer with a JSON list of calls and nothing else, such as\n"
                 "[{\"name\": \"the tool's name\", \"arguments\": {\"its\": \"arguments\"}}]\n"
                 "The results come in the next message. Where no tool helps, answer in words.\n");
    return out->bad ? err_nomem(e, out->n) : 0;
}
