/* constrain_tools.c - see constrain_tools.h. */
#include "constrain_tools.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "constrain_in.h"
#include "text/toolcall_in.h"

#define MAX_TOOLS 1024
#define MAX_SPACE 8  // white space where it means nothing
#define MAX_INDEX 3  // digits
#define MAX_ID    40 // bytes of a call's id
#define MAX_MARKS 8

struct tools {
    const struct con_tools *t;
    struct gram *g;
    struct rxs *s;
    struct con_opts opts;
    struct con_controls control;
    uint32_t *args;    // [tools] the rule of each one's arguments + 1; 0: none yet
    uint32_t answer;   // the rule of an answer that is no text
    struct con_form form;
    struct buf mark;   // of form
    struct buf text;   // marks as the grammar has them
    struct err *e;
    int rc;
};

/* -- marks ----------------------------------------------------------------------------------- */

static rx literal(struct tools *x, struct slice text)
{
    buf_clear(&x->text);
    con_controls_put(&x->control, text, &x->text);
    if (x->text.bad && x->rc == 0)
        x->rc = err_nomem(x->e, text.n);
    return rx_lit(x->s, buf_view(&x->text));
}

static rx chars_of(struct tools *x, const char *set, uint32_t lo, uint32_t hi)
{
    struct rx_set s = {{0}};

    for (; *set; set++)
        rx_put(&s, (unsigned char)*set);
    return rx_rep(x->s, rx_bytes(x->s, &s), lo, hi);
}

static rx space(struct tools *x)
{
    return chars_of(x, " \t\r\n", 0, MAX_SPACE);
}

/* Text of a layout: %d is the call's index, %i its id. */
static rx layout(struct tools *x, struct slice text, bool first)
{
    static const char digits[] = "0123456789";
    static const char name[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    rx all = RX_EPS;
    bool nine = x->t->format->read->short_id;

    while (text.n) {
        size_t n = 0;

        while (n < text.n && !(text.p[n] == '%' && n + 1 < text.n && strchr("id", text.p[n + 1])))
            n++;
        all = rx_cat(x->s, all, literal(x, (struct slice){text.p, n}));
        text = (struct slice){text.p + n, text.n - n};
        if (text.n == 0)
            break;
        if (text.p[1] == 'i')
            all = rx_cat(x->s, all, chars_of(x, name, nine ? 9 : 1, nine ? 9 : MAX_ID));
        else if (first)
            all = rx_cat(x->s, all, rx_byte(x->s, '0'));
        else
            all = rx_cat(x->s, all, rx_cat(x->s, chars_of(x, digits + 1, 1, 1),
                                           chars_of(x, digits, 0, MAX_INDEX - 1)));
        text = (struct slice){text.p + 2, text.n - 2};
    }
    return all;
}

/* -- calls ----------------------------------------------------------------------------------- */

static const json_t *function_of(const json_t *tool)
{
    const json_t *f = json_object_get(tool, "function");

    return f ? f : tool;
}

static bool may_call(const struct con_tools *t, const char *name)
{
    const json_t *x;
    size_t i;

    json_array_foreach(t->only, i, x)
        if (json_is_string(x) && strcmp(json_string_value(x), name) == 0)
            return true;
    return !t->only;
}

/* A name that the parser takes, written as it is also within a JSON string. */
static bool is_name(const char *s)
{
    size_t n = strlen(s);

    for (size_t i = 0; i < n; i++)
        if ((uint8_t)s[i] <= 0x20 || s[i] == 0x7f || strchr("\"'`<>(){}[],;=\\", s[i]))
            return false;
    return n > 0 && n <= NAME_MAX_BYTES;
}

/* The rule for a tool's arguments. */
static int arguments(struct tools *x, size_t tool, const json_t *f, const char *name)
{
    const json_t *schema = json_object_get(f, "parameters");
    json_t *none = json_pack("{sss{}sb}", "type", "object", "properties", "additionalProperties",
                             false);
    char what[NAME_MAX_BYTES + 80];
    uint32_t rule = 0;

    if (!none)
        return x->rc = err_nomem(x->e, 1);
    if (!schema || json_is_null(schema))
        schema = none;
    snprintf(what, sizeof what, "tool-call format '%s', tool '%s'", x->t->format->name, name);
    if (!json_is_object(schema) && !json_is_boolean(schema))
        x->rc = err_set(x->e, E_FORMAT, "%s: parameters must be a schema", what);
    else if ((x->rc = con_schema_rule(x->g, schema, &x->form, &x->opts, &rule, x->e)) < 0)
        err_prefix(x->e, what);
    x->args[tool] = rule + 1;
    json_decref(none);
    return x->rc;
}

/* How the format writes arguments. */
static void form_of(struct tools *x)
{
    const struct toolcall_form *m = &x->t->format->form;
    struct con_form *f = &x->form;

    f->kind = m->args == TOOLCALL_PARAMS   ? FORM_PARAMS
              : m->args == TOOLCALL_PYTHON ? FORM_PYTHON
              : m->args == TOOLCALL_GEMMA  ? FORM_GEMMA
                                           : FORM_JSON;
    f->until = slice_of(f->kind == FORM_GEMMA ? m->string_mark : x->t->format->read->value_close);
    f->begin = literal(x, slice_of(m->mid));
    f->end = literal(x, slice_of(m->close));
    if (f->kind == FORM_PARAMS) {
        f->open = literal(x, slice_of(m->param_open));
        f->mid = literal(x, slice_of(m->param_mid));
        f->mid_json = literal(x, slice_of(m->param_mid_json));
        f->close = literal(x, slice_of(m->param_close));
    } else if (f->kind == FORM_GEMMA) {
        con_controls_put(&x->control, slice_of(m->string_mark), &x->mark);
        f->mark = buf_view(&x->mark);
    }
}

/* From `from`, where a name stands, to `to`, behind the call's close. */
static void one_call(struct tools *x, size_t tool, uint32_t from, uint32_t to, bool first)
{
    const struct toolcall_form *m = &x->t->format->form;
    const json_t *f = function_of(json_array_get(x->t->tools, tool));
    const char *name = json_string_value(json_object_get(f, "name"));
    uint32_t rule = x->g->owner[from], mid = gram_state(x->g, rule), end = gram_state(x->g, rule);
    rx head;

    if (!may_call(x->t, name) || (!x->args[tool] && arguments(x, tool, f, name) < 0))
        return;
    head = rx_lit(x->s, slice_of(name));
    if (x->form.kind == FORM_PARAMS || x->form.kind == FORM_PYTHON) {
        gram_read(x->g, from, head, mid);
        gram_edge(x->g, mid, x->args[tool] - 1, to);
        return;
    }
    gram_read(x->g, from, rx_cat(x->s, head, layout(x, slice_of(m->mid), first)), mid);
    gram_edge(x->g, mid, x->args[tool] - 1, end);
    gram_read(x->g, end, layout(x, slice_of(m->close), first), to);
}

/* The text before the first call's name. */
static void lead(const struct con_tools *t, struct buf *out)
{
    if (t->format->form.begin)
        buf_str(out, t->format->form.begin);
    if (t->format->form.open)
        buf_str(out, t->format->form.open);
}

/* Calls from the first one's name (the state returned) to the end of the block (to). */
static uint32_t calls(struct tools *x, uint32_t rule, uint32_t to)
{
    const struct toolcall_form *m = &x->t->format->form;
    uint32_t name[2] = {gram_state(x->g, rule), gram_state(x->g, rule)};
    uint32_t done = gram_state(x->g, rule);
    rx next;

    if (x->g->bad)
        return 0;
    for (int k = 0; k < 1 + x->t->parallel; k++)
        for (size_t i = 0; i < json_array_size(x->t->tools) && x->rc == 0; i++)
            one_call(x, i, name[k], done, k == 0);
    gram_read(x->g, done, layout(x, slice_of(m->end), false), to);
    next = rx_cat(x->s, layout(x, slice_of(m->between), false),
                  layout(x, slice_of(m->open), false));
    if (x->t->parallel && x->t->format->read->style != READ_HARMONY) // whose close ends the turn
        gram_read(x->g, done, next, name[1]);
    return name[0];
}

/* -- text around them ------------------------------------------------------------------------ */

/* Marks behind which the parser looks for a call, wherever they stand. */
static uint32_t marks(const struct tools *x, struct slice out[2])
{
    const struct toolcall_read *rd = x->t->format->read;
    bool fence = rd->fenced && x->t->format->weak; // too common in text that is no call
    uint32_t n = 0;

    if (rd->section)
        out[n++] = slice_of(rd->section);
    if (rd->call && !fence)
        out[n++] = slice_of(rd->call);
    return n;
}

/* What text may not begin with, or the parser would take it for something else. */
static rx no_text(struct tools *x)
{
    const struct toolcall_read *rd = x->t->format->read;
    rx e = RX_NONE;

    if (x->t->reasoning && !x->t->reasoning->channels)
        e = literal(x, slice_of(x->t->reasoning->open));
    if (rd->bare && x->t->choice != CON_NONE)
        e = rx_or(x->s, e, chars_of(x, rd->style == READ_PYTHON ? "[" : "{[", 1, 1));
    return rx_cat(x->s, chars_of(x, " \t\r\n", 0, RX_INF), rx_cat(x->s, e, RX_ALL));
}

/* Text up to one of n marks with none of the others in it; one past the last: without any. */
static rx text_until(struct tools *x, const struct slice *mark, uint32_t n, uint32_t one)
{
    struct slice v[MAX_MARKS] = {{"", 0}};
    struct buf b = {0};
    size_t end[MAX_MARKS] = {0};
    rx until, none;

    for (uint32_t i = 0; i < n; i++) {
        con_controls_put(&x->control, mark[i], &b);
        end[i] = b.n;
    }
    for (uint32_t i = 0, at = 0; i < n; at = (uint32_t)end[i++])
        v[i] = (struct slice){buf_view(&b).p + at, end[i] - at};
    if (b.bad && x->rc == 0)
        x->rc = err_nomem(x->e, b.n);
    con_free_text(x->s, v, b.bad ? 0 : n, &until, &none);
    if (one < n && !b.bad)
        until = rx_and(x->s, until, rx_cat(x->s, RX_ALL, rx_lit(x->s, v[one])));
    buf_fini(&b);
    return one < n ? until : none;
}

/* An answer that obeys its schema, from `from` to the end. */
static void answer(struct tools *x, uint32_t from, uint32_t end)
{
    uint32_t mid = gram_state(x->g, x->g->owner[from]);

    gram_read(x->g, from, space(x), mid);
    gram_edge(x->g, mid, x->answer, end);
}

/* Free text from `from`, to the end or to a call. first: where the first call's name stands. */
static void text(struct tools *x, uint32_t from, uint32_t first, uint32_t end)
{
    struct slice mark[2];
    uint32_t n = marks(x, mark);
    struct buf all = {0};
    rx not = no_text(x);

    gram_read(x->g, from, rx_minus(x->s, text_until(x, mark, n, n), not), end);
    lead(x->t, &all);
    for (uint32_t i = 0; i < n && x->t->choice != CON_NONE; i++) {
        const char *at = strstr(buf_view(&all).p, mark[i].p);
        uint32_t mid = gram_state(x->g, x->g->owner[from]);
        struct slice rest = at ? slice_of(at + mark[i].n) : buf_view(&all);

        gram_read(x->g, from, rx_minus(x->s, text_until(x, mark, n, i), not), mid);
        gram_read(x->g, mid, layout(x, rest, true), first);
    }
    if (all.bad && x->rc == 0)
        x->rc = err_nomem(x->e, all.n);
    buf_fini(&all);
}

/* A reasoning block from `from`; the state behind it. */
static uint32_t reasoning(struct tools *x, uint32_t from)
{
    const struct reasoning *r = x->t->reasoning;
    uint32_t rule = x->g->owner[from], inside = gram_state(x->g, rule);
    uint32_t behind = gram_state(x->g, rule);
    struct slice close;

    if (!r || x->g->bad)
        return from;
    close = slice_of(r->close);
    if (x->t->in_reasoning)
        gram_empty(x->g, from, inside);
    else
        gram_read(x->g, from, rx_cat(x->s, space(x), literal(x, slice_of(r->open))), inside);
    if (!x->t->in_reasoning)
        gram_empty(x->g, from, behind);
    gram_read(x->g, inside, rx_cat(x->s, text_until(x, &close, 1, 0), space(x)), behind);
    return behind;
}

/* -- the whole ------------------------------------------------------------------------------- */

static int check(struct tools *x)
{
    const json_t *tool;
    size_t i, n = 0;

    if (!json_is_array(x->t->tools) || json_array_size(x->t->tools) > MAX_TOOLS)
        return x->rc = err_set(x->e, E_FORMAT, "tools must be a list of at most %d", MAX_TOOLS);
    json_array_foreach(x->t->tools, i, tool) {
        const char *name = json_string_value(json_object_get(function_of(tool), "name"));

        if (!name)
            return x->rc = err_set(x->e, E_FORMAT, "tool %zu has no name", i);
        if (!is_name(name))
            return x->rc = err_set(x->e, E_FORMAT, "tool '%.40s': not a name to call it by", name);
        n += may_call(x->t, name);
    }
    x->args = mem_array(json_array_size(x->t->tools), sizeof *x->args, x->e);
    if (!x->args)
        return x->rc = E_NOMEM;
    if (n == 0 && x->t->choice == CON_REQUIRED)
        return x->rc = err_set(x->e, E_FORMAT, "tool_choice names no tool of the request");
    return 0;
}

/* gpt-oss: messages, of which the last is an answer or a call. The prompt has begun the first. */
static void harmony(struct tools *x, uint32_t rule)
{
    static const struct slice mark[] = {SLICE("<|end|>"),     SLICE("<|start|>"),
                                        SLICE("<|channel|>"), SLICE("<|message|>"),
                                        SLICE("<|call|>"),    SLICE("<|return|>")};
    static const struct slice head[] = {SLICE("<|channel|>analysis<|message|>"),
                                        SLICE("<|channel|>commentary<|message|>"),
                                        SLICE("<|channel|>final<|message|>")};
    const uint32_t n = ARRAY_LEN(mark);
    const struct toolcall_form *m = &x->t->format->form;
    uint32_t start = x->g->rule[rule].start, end = x->g->rule[rule].end, name;
    uint32_t at = gram_state(x->g, rule), next = gram_state(x->g, rule);
    rx middle = text_until(x, mark, n, 0), last = text_until(x, mark, n, n);
    const char *open = strstr(m->open, "<|channel|>");

    if (x->g->bad)
        return;
    if (x->t->in_reasoning)
        gram_read(x->g, start, middle, next);
    else
        gram_empty(x->g, start, at);
    for (int i = 0; i < 2; i++)
        gram_read(x->g, at, rx_cat(x->s, literal(x, head[i]), middle), next);
    gram_read(x->g, next, literal(x, SLICE("<|start|>assistant")), at);
    if (x->t->choice != CON_REQUIRED && x->t->answer) {
        uint32_t final = gram_state(x->g, rule);

        gram_read(x->g, at, literal(x, head[2]), final);
        answer(x, final, end);
    } else if (x->t->choice != CON_REQUIRED) {
        gram_read(x->g, at, rx_cat(x->s, literal(x, head[2]), last), end);
    }
    if (x->t->choice == CON_NONE)
        return;
    name = calls(x, rule, end);
    gram_read(x->g, at, literal(x, slice_of(open ? open : m->open)), name);
}

static void build(struct tools *x, uint32_t rule)
{
    uint32_t start = x->g->rule[rule].start, end = x->g->rule[rule].end;
    uint32_t from = reasoning(x, start), first = 0;
    struct buf all = {0};

    if (x->t->choice != CON_NONE) {
        first = calls(x, rule, end);
        lead(x->t, &all);
        if (x->t->choice == CON_REQUIRED || x->t->format->read->bare || x->t->answer)
            gram_read(x->g, from, rx_cat(x->s, space(x), layout(x, buf_view(&all), true)), first);
        buf_fini(&all);
    }
    if (x->t->choice != CON_REQUIRED && x->t->answer)
        answer(x, from, end);
    else if (x->t->choice != CON_REQUIRED)
        text(x, from, first, end);
}

/* The rule of an answer with a schema. */
static int answer_rule(struct tools *x)
{
    const struct con_opts any = {0};

    if (!x->t->answer || x->t->choice == CON_REQUIRED)
        return 0;
    if (x->t->format->read->bare && x->t->choice != CON_NONE)
        return x->rc = err_set(x->e, E_UNSUPPORTED,
                               "an answer in JSON could be a call in tool-call format '%s'",
                               x->t->format->name);
    x->rc = con_schema_rule(x->g, x->t->answer, NULL, &any, &x->answer, x->e);
    if (x->rc < 0)
        err_prefix(x->e, "response_format");
    return x->rc;
}

static int front_tools(struct gram *g, void *arg, const struct con_opts *o, uint32_t *root,
                       struct err *e)
{
    struct tools x = {.t = arg, .g = g, .s = &g->rx, .opts = *o, .e = e};

    if (check(&x) == 0 && (x.rc = con_controls_init(&x.control, x.t->tok, e)) == 0) {
        form_of(&x);
        *root = gram_rule(g);
        if (answer_rule(&x) == 0 && !g->bad) {
            if (x.t->format->read->style == READ_HARMONY)
                harmony(&x, *root);
            else
                build(&x, *root);
        }
    }
    if (x.mark.bad && x.rc == 0)
        x.rc = err_nomem(e, 1);
    buf_fini(&x.mark);
    buf_fini(&x.text);
    con_controls_fini(&x.control);
    mem_free(x.args);
    return x.rc;
}

int con_tools(struct con **out, const struct con_tools *t, struct err *e)
{
    const struct con_opts o = {.line = true};

    return con_compile(out, front_tools, (void *)(uintptr_t)t, &o, e);
}

/* -- what a request says --------------------------------------------------------------------- */

static int choice_word(enum con_choice *out, const char *s, struct err *e)
{
    static const char *const word[] = {"auto", "none", "required"};

    for (int i = 0; s && i < 3; i++)
        if (strcmp(s, word[i]) == 0) {
            *out = (enum con_choice)i;
            return 0;
        }
    return err_set(e, E_FORMAT, "tool_choice: auto, none, required or one tool's name");
}

int con_choice_parse(enum con_choice *out, json_t **only, const json_t *choice, struct err *e)
{
    const json_t *f = json_object_get(choice, "function"), *x;
    const json_t *some = json_object_get(choice, "allowed_tools");
    size_t i;
    int rc;

    *only = NULL;
    *out = CON_AUTO;
    if (!choice || json_is_null(choice))
        return 0;
    if (json_is_string(choice))
        return choice_word(out, json_string_value(choice), e);
    f = f ? f : some ? NULL : choice;
    if (!some && !json_is_string(json_object_get(f, "name")))
        return choice_word(out, NULL, e);
    *out = CON_REQUIRED;
    if (some && (rc = choice_word(out, json_string_value(json_object_get(some, "mode")), e)) < 0)
        return rc;
    if (!(*only = json_array()))
        return err_nomem(e, 1);
    if (f)
        json_array_append(*only, json_object_get(f, "name"));
    json_array_foreach(json_object_get(some, "tools"), i, x)
        json_array_append(*only, json_object_get(function_of(x), "name"));
    return 0;
}
