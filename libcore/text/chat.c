/* chat.c - see chat.h: opening a template and looking into it; rendering and encoding prompts. */
#define _GNU_SOURCE // memmem
#include "chat_in.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/derive.h"

static const char chatml[] = "{%- for m in messages -%}"
                             "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
                             "{% endfor -%}"
                             "{%- if add_generation_prompt -%}<|im_start|>assistant\n{% endif -%}";

static const char plain[] =
    "{% for m in messages %}"
    "{% set who = {'system': '', 'assistant': 'Assistant: '}.get(m.role, 'User: ') %}"
    "{{ who ~ m.content ~ '\n\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}";

/* Stands where a final message goes on; no text has it. The space shows whether the template
 * strips its messages. */
static const char mark[] = "\x02goes-on\x02 ";

/* -- what a template is like -- */

static int run(const struct chat *c, json_t *messages, const json_t *vars, int64_t now,
               const struct jinja_limits *limits, struct jinja_text *out, struct err *e)
{
    struct jinja_var var[64];
    size_t n = 0;
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)vars, key, v)
    {
        if (n + 8 >= ARRAY_LEN(var))
            return err_set(e, E_RANGE, "more than %zu variables for the chat template",
                           ARRAY_LEN(var) - 8);
        var[n++] = (struct jinja_var){key, v, JINJA_CONTENT};
    }
    json_object_foreach(c->fixed, key, v)
    {
        if (!json_object_get(vars, key))
            var[n++] = (struct jinja_var){key, v, JINJA_TRUSTED};
    }
    var[n++] = (struct jinja_var){"messages", messages, JINJA_MESSAGES};
    return jinja_render(c->t, var, n, now, limits, out, e);
}

int chat_run(const struct chat *c, json_t *messages, const json_t *vars, int64_t now,
             struct jinja_text *out, struct err *e)
{
    return run(c, messages, vars, now, NULL, out, e);
}

int chat_probe(const struct chat *c, json_t *messages, const json_t *vars, struct jinja_text *out)
{
    const struct jinja_limits small = {.steps = DERIVE_STEPS, .bytes = DERIVE_BYTES};

    return run(c, messages, vars, 0, &small, out, NULL);
}

/* Renders a conversation, takes it, and says whether the text has what it is looked through for. */
static bool shows(const struct chat *c, json_t *messages, const char *what, const char *not_what)
{
    json_t *vars = json_pack("{sbsnsn}", "add_generation_prompt", 0, "tools", "documents");
    struct jinja_text t = {0};
    bool yes = messages && vars && chat_probe(c, messages, vars, &t) == 0 && t.text.p &&
               strstr(t.text.p, what) && !(not_what && strstr(t.text.p, not_what));

    jinja_text_fini(&t);
    json_decref(vars);
    json_decref(messages);
    return yes;
}

static json_t *said(const char *role, const char *text)
{
    return json_pack("{ssss}", "role", role, "content", text);
}

static json_t *with_call(json_t *content, json_t *arguments)
{
    return json_pack("[o{ssso s[{ssss s{ssso}}]} {ssssssss}]", said("user", "u"), "role",
                     "assistant", "content", content, "tool_calls", "id", "call00001", "type",
                     "function", "function", "name", "fnname", "arguments", arguments, "role",
                     "tool", "tool_call_id", "call00001", "name", "fnname", "content", "r");
}

static json_t *object_arguments(void)
{
    return json_pack("{sss[i]}", "akey", "avalue", "b", 1);
}

/* Tries the forms requests can be given; what a template does not show at all keeps the first. */
static void look_into(struct chat *c)
{
    bool whole = shows(c, json_pack("[o]", said("user", "\x02probe")), "\x02probe", NULL);
    json_t *parts = json_pack("[{sss[{ssss}]}]", "role", "user", "content", "type", "text", "text",
                              "\x02probe");

    c->takes_parts = shows(c, parts, "\x02probe", NULL); // a list written out has "\\x02"
    c->wants_parts = c->takes_parts && !whole;
    c->shows_system = shows(c, json_pack("[oo]", said("system", "\x02system"), said("user", "u")),
                            "\x02system", NULL);
    c->knows_tools = jinja_names(c->t, "tools");
    c->null_content = false;
    if (shows(c, with_call(json_string(""), object_arguments()), "akey", "'akey'"))
        return;
    if (shows(c, with_call(json_string(""), json_string("{\"akey\": \"avalue\"}")), "akey", NULL)) {
        c->text_arguments = true;
        return;
    }
    if (shows(c, with_call(json_null(), object_arguments()), "akey", "'akey'")) {
        c->null_content = true;
    } else if (shows(c, with_call(json_null(), json_string("{\"akey\": \"avalue\"}")), "akey",
                     NULL)) {
        c->text_arguments = c->null_content = true;
    }
}

/* -- how answers are written -- */

static bool has(struct slice t, const char *s)
{
    return memmem(t.p, t.n, s, strlen(s)) != NULL;
}

/* The tables' rows where they have one for the template, else what its renderings tell. The rows
 * go first: they also know what models write beside what their templates show, and a derived row
 * never read more of the outputs of released models (tests/text/test_derive.c has the figures). */
static int find_formats(struct chat *c, struct slice source, struct err *e)
{
    bool ask_calls, ask_reasoning;
    int rc = 0;

    c->calls = toolcall_detect(source);
    c->reasoning = reasoning_detect(source);
    ask_calls = !c->calls && has(source, "tool_calls");
    ask_reasoning = !c->reasoning && (has(source, "reason") || has(source, "think"));
    if (!ask_calls && !ask_reasoning)
        return 0;
    c->derived = mem_new(sizeof *c->derived, e);
    if (!c->derived)
        return E_NOMEM;
    if (ask_reasoning)
        rc = derive_reasoning(c->derived, c, e);
    if (ask_calls && rc == 0)
        rc = derive_calls(c->derived, c, e);
    c->calls = c->derived->calls ? &c->derived->format : c->calls;
    c->reasoning = c->derived->thinks ? &c->derived->reasoning : c->reasoning;
    return rc;
}

/* -- opening -- */

static int set_token(struct chat *c, const char *name, enum tok_role role)
{
    int32_t id = c->tok ? tok_role_id(c->tok, role) : -1;
    struct slice s = id >= 0 ? tok_piece(c->tok, id) : (struct slice){"", 0};

    if (id < 0 && role != TOK_BOS && role != TOK_EOS)
        return 0;
    return json_object_set_new(c->fixed, name, json_stringn(s.p, s.n));
}

static int fill(struct chat *c, const char *name, struct slice source, struct err *e)
{
    int rc;

    c->is_default = source.n == 0;
    if (c->is_default) {
        bool has = c->tok && tok_find(c->tok, SLICE("<|im_start|>")) >= 0;

        name = "default chat template";
        c->is_plain = !has;
        source = has ? SLICE(chatml) : SLICE(plain);
    }
    if ((rc = jinja_parse(&c->t, name, source, e)) < 0)
        return rc;
    c->fixed = json_object();
    if (!c->fixed || set_token(c, "bos_token", TOK_BOS) < 0 ||
        set_token(c, "eos_token", TOK_EOS) < 0 || set_token(c, "unk_token", TOK_UNK) < 0 ||
        set_token(c, "pad_token", TOK_PAD) < 0)
        return err_nomem(e, sizeof(json_t));
    look_into(c);
    return find_formats(c, source, e);
}

int chat_open(struct chat **out, const char *name, struct slice source, const struct tok *t,
              struct err *e)
{
    struct chat *c = mem_new(sizeof *c, e);
    int rc;

    *out = NULL;
    if (!c)
        return E_NOMEM;
    c->tok = t;
    rc = fill(c, name, source, e);
    if (rc < 0) {
        chat_close(c);
        return rc;
    }
    *out = c;
    return 0;
}

void chat_close(struct chat *c)
{
    if (!c)
        return;
    if (c->derived)
        derived_fini(c->derived);
    mem_free(c->derived);
    jinja_free(c->t);
    json_decref(c->fixed);
    mem_free(c);
}

void chat_prompt_tools(struct chat *c)
{
    c->tools_in_text = true;
    c->text_arguments = false;
    c->null_content = false;
    c->calls = toolcall_find("generic", NULL);
}

bool chat_is_default(const struct chat *c)
{
    return c->is_default;
}

const char *chat_stop(const struct chat *c)
{
    return c->is_plain ? "\nUser:" : NULL;
}

bool chat_knows_tools(const struct chat *c)
{
    return c->knows_tools;
}

const struct toolcall_format *chat_calls(const struct chat *c)
{
    return c->calls;
}

const struct reasoning *chat_reasoning(const struct chat *c)
{
    return c->reasoning;
}

bool chat_shows_system(const struct chat *c)
{
    return c->shows_system;
}

const struct jinja *chat_template(const struct chat *c)
{
    return c->t;
}

/* -- rendering -- */

static int flag(const json_t *request, const char *name, bool otherwise, bool *out, struct err *e)
{
    const json_t *v = json_object_get(request, name);

    *out = v ? json_is_true(v) : otherwise;
    if (v && !json_is_boolean(v))
        return err_set(e, E_FORMAT, "%s must be true or false", name);
    return 0;
}

/* "2025-07-10" to noon of that day, by the local clock; a template's own date variable is set. */
static int set_date(const json_t *request, json_t *vars, int64_t *now, struct err *e)
{
    static const char *const month[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    const json_t *v = json_object_get(request, "date");
    const char *s = json_string_value(v);
    struct tm t = {.tm_hour = 12, .tm_isdst = -1};
    char text[32];
    int n = 0;

    if (!v)
        return 0;
    if (!s || sscanf(s, "%4d-%2d-%2d%n", &t.tm_year, &t.tm_mon, &t.tm_mday, &n) != 3 || s[n] ||
        t.tm_year < 1970 || t.tm_mon < 1 || t.tm_mon > 12 || t.tm_mday < 1 || t.tm_mday > 31)
        return err_set(e, E_FORMAT, "date must be a day like \"2025-07-10\"");
    snprintf(text, sizeof text, "%02d %s %d", t.tm_mday, month[t.tm_mon - 1], t.tm_year);
    t.tm_year -= 1900;
    t.tm_mon -= 1;
    *now = (int64_t)mktime(&t);
    return json_object_set_new(vars, "date_string", json_string(text)) < 0
               ? err_nomem(e, sizeof(json_t))
               : 0;
}

/* What the template sees besides the messages. */
static int variables(const struct chat *c, const json_t *request, bool prompt, json_t *vars,
                     struct err *e)
{
    static const char *const passed[] = {"enable_thinking", "reasoning_effort"};
    static const char *const always[] = {"tools", "documents"};
    const json_t *more = json_object_get(request, "chat_template_kwargs");
    int rc = chat_check_tools(c, json_object_get(request, "tools"), e), bad = 0;

    if (rc < 0)
        return rc;
    if (more && !json_is_object(more) && !json_is_null(more))
        return err_set(e, E_FORMAT, "chat_template_kwargs must be an object");
    if (json_is_object(more))
        bad |= json_object_update(vars, (json_t *)more);
    for (size_t i = 0; i < ARRAY_LEN(passed); i++) {
        json_t *v = json_object_get(request, passed[i]);

        if (v && !json_is_null(v))
            bad |= json_object_set(vars, passed[i], v);
    }
    for (size_t i = 0; i < ARRAY_LEN(always); i++) {
        json_t *v = json_object_get(request, always[i]);

        if (v && !json_is_array(v) && !json_is_null(v))
            return err_set(e, E_FORMAT, "%s must be a list", always[i]);
        /* templates ask whether it is there */
        v = json_array_size(v) && !(c->tools_in_text && i == 0) ? json_incref(v) : json_null();
        bad |= json_object_set_new(vars, always[i], v);
    }
    bad |= json_object_set_new(vars, "add_generation_prompt", json_boolean(prompt));
    return bad ? err_nomem(e, sizeof(json_t)) : 0;
}

/* Marks the end of the last message's text, for cutting the prompt there. */
static int mark_last(json_t *messages, struct err *e)
{
    json_t *m = json_array_get(messages, json_array_size(messages) - 1);
    const json_t *c = json_object_get(m, "content");
    json_t *holder = m, *to;
    const char *role = json_string_value(json_object_get(m, "role")), *key = "content";
    struct buf b = {0};

    if (!role || strcmp(role, "assistant") != 0)
        return err_set(e, E_FORMAT, "continue_final_message needs a last message of the assistant");
    if (json_is_array(c) && json_array_size(c)) {
        holder = json_array_get(c, json_array_size(c) - 1);
        c = json_object_get(holder, "text");
        key = "text";
    }
    if (!json_is_string(c))
        return err_set(e, E_FORMAT, "continue_final_message: the last message has no text");
    buf_add(&b, json_string_value(c), json_string_length(c));
    buf_str(&b, mark);
    to = b.bad ? NULL : json_stringn(b.p, b.n);
    buf_fini(&b);
    return !to || json_object_set_new(holder, key, to) < 0 ? err_nomem(e, sizeof(json_t)) : 0;
}

/* Cuts the text at the last mark; where the template had stripped the message, so is what is left.
 */
static int cut_at_mark(struct jinja_text *t, struct err *e)
{
    size_t n = sizeof mark - 2, at = t->text.n; // without its space

    while (at > 0 && !(t->text.n - at >= n && memcmp(t->text.p + at, mark, n) == 0))
        at--;
    if (at == 0 && (t->text.n < n || memcmp(t->text.p, mark, n) != 0))
        return err_set(e, E_UNSUPPORTED,
                       "continue_final_message: the template does not show the last message");
    if (t->text.n - at < n + 1 || t->text.p[at + n] != ' ')
        while (at > 0 && strchr(" \t\r\n", t->text.p[at - 1]))
            at--;
    t->text.n = at;
    t->text.p[at] = 0;
    while (t->n_content > 0 && t->content[t->n_content - 1].at >= at)
        t->n_content--;
    if (t->n_content > 0) {
        struct byte_span *s = &t->content[t->n_content - 1];

        s->n = s->at + s->n > at ? at - s->at : s->n;
    }
    return 0;
}

int chat_render(const struct chat *c, const json_t *request, int64_t now, struct jinja_text *out,
                struct err *e)
{
    json_t *messages = NULL, *vars = json_object();
    bool prompt = true, goes_on = false;
    int rc = vars ? 0 : err_nomem(e, sizeof(json_t));

    jinja_text_fini(out);
    if (rc == 0 && !json_is_object(request))
        rc = err_set(e, E_FORMAT, "a request must be an object with messages");
    if (rc == 0)
        rc = flag(request, "continue_final_message", false, &goes_on, e);
    if (rc == 0)
        rc = flag(request, "add_generation_prompt", !goes_on, &prompt, e);
    if (rc == 0 && prompt && goes_on)
        rc = err_set(e, E_FORMAT,
                     "add_generation_prompt and continue_final_message exclude each other");
    if (rc == 0)
        rc = variables(c, request, prompt, vars, e);
    if (rc == 0)
        rc = set_date(request, vars, &now, e);
    if (rc == 0)
        rc = chat_fit(c, json_object_get(request, "messages"), json_object_get(request, "tools"),
                      &messages, e);
    if (rc == 0 && goes_on)
        rc = mark_last(messages, e);
    if (rc == 0)
        rc = chat_run(c, messages, vars, now, out, e);
    if (rc == 0 && goes_on)
        rc = cut_at_mark(out, e);
    if (rc < 0)
        jinja_text_fini(out);
    json_decref(messages);
    json_decref(vars);
    return rc;
}

/* Drops the text up to byte at, and what is known of it. */
static void drop_front(struct jinja_text *t, size_t at)
{
    size_t n = 0;

    memmove(t->text.p, t->text.p + at, t->text.n - at + 1);
    t->text.n -= at;
    for (size_t i = 0; i < t->n_content; i++) {
        struct byte_span s = t->content[i];

        if (s.at + s.n <= at)
            continue;
        t->content[n++] = s.at >= at ? (struct byte_span){s.at - at, s.n}
                                     : (struct byte_span){0, s.at + s.n - at};
    }
    t->n_content = n;
}

int chat_render_next(const struct chat *c, const json_t *request, int64_t now,
                     struct jinja_text *out, struct err *e)
{
    static const char before[] = "\x02stands\x02";
    json_t *r = json_copy((json_t *)(uintptr_t)request);
    json_t *list = json_pack("[oo]", said("user", "u"), said("assistant", before));
    const char *p;
    int rc;

    if (!r || !list || json_array_extend(list, json_object_get(request, "messages")) < 0 ||
        json_object_set(r, "messages", list) < 0)
        rc = err_nomem(e, sizeof(json_t));
    else
        rc = chat_render(c, r, now, out, e);
    json_decref(list);
    json_decref(r);
    if (rc < 0)
        return rc;
    p = out->text.p ? strstr(out->text.p, before) : NULL;
    if (!p) {
        jinja_text_fini(out);
        return err_set(e, E_UNSUPPORTED, "the chat template does not show answers as they are");
    }
    drop_front(out, (size_t)(p - out->text.p) + sizeof before - 1);
    return 0;
}

int chat_encode(const struct chat *c, const struct jinja_text *text, struct tok_ids *out,
                struct err *e)
{
    struct slice s = buf_view(&text->text);
    size_t before = out->n;
    int32_t bos = tok_role_id(c->tok, TOK_BOS);
    struct slice spelt = bos >= 0 ? tok_piece(c->tok, bos) : (struct slice){"", 0};
    bool written = spelt.n && slice_starts(s, spelt);
    int rc = 0;

    if (tok_adds_bos(c->tok) && bos >= 0 && !written)
        rc = tok_ids_add(out, bos, e);
    if (rc == 0)
        rc = tok_encode_parts(c->tok, s, text->content, text->n_content, TOK_PARSE, out, e);
    if (rc < 0)
        out->n = before;
    return rc;
}

json_t *chat_ask(const char *system, struct slice user)
{
    json_t *text = utf8_valid(user.p, user.n) ? json_stringn(user.p, user.n) : NULL;
    json_t *m = text ? json_pack("{s[{ssso}]}", "messages", "role", "user", "content", text) : NULL;

    if (m && system &&
        json_array_insert_new(json_object_get(m, "messages"), 0, said("system", system)) < 0) {
        json_decref(m);
        m = NULL;
    }
    return m;
}
