/* toolcall_read.c - the states of a call.
 *
 * A state reads from pos. Until the call is committed nothing is handed out and start stays where
 * the attempt began, so that tc_fail can make text of it; afterwards start follows pos. A state
 * decides by content alone, and waits (WAIT) where the bytes that would decide are not there yet:
 * so how the output was cut changes nothing.
 */
#define _GNU_SOURCE // memmem
#include "text/toolcall_in.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"

/* The same behind a call, where nothing is held back. */
static int past(struct toolcall *t, size_t n, enum tc_state st)
{
    tc_go(t, n, st);
    t->start = t->pos;
    return GO;
}

int tc_no_call(struct toolcall *t)
{
    tc_fail(t);
    return GO;
}

/* -- attempts -- */

void tc_attempt(struct toolcall *t, enum tc_state st, size_t skip)
{
    /* Nested things that look like calls could be read over and over: text from here on. */
    if (t->again > 65536 + 16 * (t->base + t->start)) {
        tc_fail(t);
        return;
    }
    t->st = st;
    t->pos = t->trig + skip;
    t->style = t->rd->style;
    t->ob = OB_OPEN;
    t->wrapper = 0;
    t->have_name = t->have_id = t->have_args = t->args_done = false;
    t->block = true;
    t->committed = false;
    tc_clear(t, &t->name);
    tc_clear(t, &t->id);
    tc_clear(t, &t->key);
}

void tc_fail(struct toolcall *t)
{
    size_t end = t->trig + 1;
    size_t read = t->pos > end ? t->pos - end : 0;

    t->again += read < t->hold ? read : t->hold;
    tc_text(t, t->in_reason ? TC_REASON : TC_TEXT, t->in.p + t->start, end - t->start);
    t->start = t->pos = end;
    t->list = t->section = false;
    t->closers = 0;
    t->st = t->in_reason ? S_REASON : S_TEXT;
}

static const json_t *find_tool(const struct toolcall *t)
{
    const json_t *v;
    size_t i;

    json_array_foreach(t->tools, i, v)
    {
        const json_t *f = json_object_get(v, "function");
        const json_t *name = json_object_get(f ? f : v, "name");

        if (json_is_string(name) && json_string_length(name) == t->name.n &&
            memcmp(json_string_value(name), t->name.p, t->name.n) == 0)
            return f ? f : v;
    }
    return NULL;
}

static bool name_byte(char c)
{
    return (uint8_t)c > 0x20 && c != 0x7f && !strchr("\"'`<>(){}[],;=\\", c);
}

/* The name is a name, and one that may be called. */
static bool name_fits(struct toolcall *t)
{
    if (t->name.n == 0 || t->name.n > NAME_MAX_BYTES || !utf8_valid(t->name.p, t->name.n))
        return false;
    for (size_t i = 0; i < t->name.n; i++)
        if (!name_byte(t->name.p[i]))
            return false;
    t->tool = find_tool(t);
    t->props = json_object_get(t->tool, "parameters");
    return t->tool || !t->tools || !(t->only_known || t->f->weak);
}

/* "functions.NAME:0": the model's id, and the name in it. */
static void name_from_id(struct toolcall *t)
{
    struct slice s = buf_view(&t->name);
    size_t n = s.n;

    tc_clear(t, &t->id);
    buf_slice(&t->id, s);
    t->have_id = true;
    while (n > 0 && s.p[n - 1] >= '0' && s.p[n - 1] <= '9')
        n--;
    if (n > 0 && n < s.n && s.p[n - 1] == ':')
        s.n = n - 1;
    if (slice_starts(s, SLICE("functions."))) {
        memmove(t->name.p, t->name.p + 10, s.n - 10);
        s.n -= 10;
    }
    t->name.n = s.n;
}

/* From here on it is a call. */
bool tc_commit(struct toolcall *t)
{
    if (t->pos - t->start > t->hold) // however it was cut, what was held back is no more than this
        return false;
    tc_begin(t);
    t->committed = true;
    t->in_reason = false;
    t->start = t->pos;
    return true;
}

int tc_end_call(struct toolcall *t, bool complete, enum tc_state st)
{
    tc_end(t, complete);
    t->start = t->pos;
    t->st = st;
    return GO;
}

int tc_broken(struct toolcall *t, const char *what)
{
    fix_end(&t->fix, tc_args(t));
    tc_error(t, what);
    t->st = S_RAW;
    return GO;
}

void tc_unfinished(struct toolcall *t)
{
    if (!t->args_done && t->st != S_RAW) {
        if (t->st == S_VALUE && t->mode == VALUE_STREAM)
            fix_end(&t->fix, tc_args(t));
        tc_error(t, "the output ends inside the call");
    }
    t->start = t->pos = t->in.n;
    tc_end_call(t, t->args_done && t->st != S_RAW, S_TEXT);
}

/* -- the beginning of a call -- */

static int read_section(struct toolcall *t)
{
    int m;

    t->section = true;
    if (!tc_skip_space(t))
        return WAIT;
    if ((m = tc_mark(t, M_CALL, t->pos)) < 0)
        return WAIT;
    if (m > 0)
        return tc_go(t, t->mark[M_CALL].s.n, S_CALL);
    if (t->rd->style == READ_OBJECTS || (t->rd->or_objects && tc_here(t) == '{'))
        return tc_go(t, 0, S_CALL);
    return tc_no_call(t);
}

/* A list of objects or one, in a fence or not. */
static int read_objects(struct toolcall *t)
{
    int m;

    t->style = READ_OBJECTS;
    if (!tc_skip_space(t) || (m = tc_mark(t, M_FENCE_JSON, t->pos)) < 0)
        return WAIT;
    if (m > 0)
        return tc_go(t, t->mark[M_FENCE_JSON].s.n, S_OBJECTS);
    t->list = tc_here(t) == '[';
    return tc_go(t, t->list, S_OBJECT); // which wants a {
}

static int read_call(struct toolcall *t)
{
    char c;

    if (t->rd->style == READ_OBJECTS || t->rd->style == READ_PYTHON || t->rd->or_objects) {
        if (!tc_skip_space(t))
            return WAIT;
        c = tc_here(t);
        if (t->rd->style == READ_PYTHON) {
            t->style = READ_PYTHON;
            t->list = c == '[';
            return tc_go(t, t->list, S_NAME);
        }
        if (t->rd->style == READ_OBJECTS && t->rd->dot_call && c != '{' && c != '[' && c != '`') {
            t->style = READ_PYTHON;
            return tc_go(t, 0, S_NAME);
        }
        if (t->rd->style == READ_OBJECTS || c == '{' || c == '[')
            return tc_go(t, 0, S_OBJECTS);
    }
    return tc_go(t, 0, t->mark[M_PREFIX].s.n ? S_PREFIX : S_NAME);
}

static int read_prefix(struct toolcall *t)
{
    int m = tc_mark(t, M_PREFIX, t->pos);

    if (m < 0)
        return WAIT;
    return m > 0 ? tc_go(t, t->mark[M_PREFIX].s.n, S_NAME) : tc_no_call(t);
}

static int name_ended(struct toolcall *t, size_t skip, enum tc_state st)
{
    if (t->style == READ_PYTHON && t->rd->dot_call && t->name.n > 5 &&
        slice_ends(buf_view(&t->name), SLICE(".call")))
        t->name.n -= 5;
    if (t->rd->id_is_name)
        name_from_id(t);
    return name_fits(t) ? tc_go(t, skip, st) : tc_no_call(t);
}

static int read_name(struct toolcall *t)
{
    static const enum mark_id ends[] = {M_NAME_END, M_NAME_END2, M_ID};
    bool python = t->style == READ_PYTHON;

    while (t->pos < t->in.n) {
        char c = tc_here(t);

        if (python && c == '(')
            return name_ended(t, 1, S_PY_ARG);
        for (unsigned i = 0; !python && i < ARRAY_LEN(ends); i++) {
            int m = tc_mark(t, ends[i], t->pos);
            bool keep = i < 2 && t->rd->keep_end[i];

            if (m < 0)
                return WAIT;
            if (m > 0)
                return name_ended(t, keep ? 0 : t->mark[ends[i]].s.n, i == 2 ? S_ID : S_LEAD);
        }
        if (tc_is_space(c)) { // before the name, or behind it
            t->have_name = t->name.n > 0;
        } else if (t->have_name || !name_byte(c) || t->name.n == NAME_MAX_BYTES) {
            return tc_no_call(t);
        } else {
            buf_byte(&t->name, c);
        }
        tc_go(t, 1, S_NAME);
    }
    return WAIT;
}

static int read_id(struct toolcall *t)
{
    while (t->pos < t->in.n) {
        char c = tc_here(t);
        int m = tc_mark(t, M_NAME_END, t->pos);

        if (m < 0)
            return WAIT;
        t->have_id = true;
        if (m > 0)
            return tc_go(t, t->mark[M_NAME_END].s.n, S_LEAD);
        if (c == '{')
            return tc_go(t, 0, S_LEAD);
        if (!name_byte(c) || t->id.n == NAME_MAX_BYTES)
            return tc_no_call(t);
        buf_byte(&t->id, c);
        tc_go(t, 1, S_ID);
    }
    return WAIT;
}

/* Between the name and the arguments. */
static int read_lead(struct toolcall *t)
{
    int m;

    if (!tc_skip_space(t))
        return WAIT;
    for (int i = 0; i < 2; i++) {
        enum mark_id fence = i ? M_FENCE : M_FENCE_JSON;

        if ((m = tc_mark(t, fence, t->pos)) < 0)
            return WAIT;
        if (m > 0)
            return tc_go(t, t->mark[fence].s.n, S_LEAD);
    }
    if (t->committed && tc_here(t) != '{') // the head of a harmony message has named the call
        return tc_broken(t, "the arguments are no JSON");
    if (tc_here(t) == '{') {
        if (!t->committed && !tc_commit(t))
            return tc_no_call(t);
        if (t->style == READ_GEMMA)
            literal_begin(&t->lit, t->rd->delim);
        return tc_go(t, 0, t->style == READ_GEMMA ? S_GEMMA : S_JSON);
    }
    if (t->style != READ_PARAMS)
        return tc_no_call(t);
    for (int i = 0; i < 2; i++) {
        if ((m = tc_mark(t, i ? M_CALL_END : M_KEY_OPEN, t->pos)) < 0)
            return WAIT;
        if (m > 0)
            return tc_commit(t) ? tc_go(t, 0, S_PARAM) : tc_no_call(t);
    }
    return tc_no_call(t);
}

/* -- arguments that are JSON -- */

int tc_args_ended(struct toolcall *t)
{
    t->args_done = true;
    if (t->style == READ_OBJECTS) {
        t->ob = OB_NEXT;
        return tc_go(t, 0, S_OBJECT);
    }
    return tc_end_call(t, true, S_TAIL);
}

static int read_json(struct toolcall *t)
{
    struct buf *out = tc_args(t);

    while (t->pos < t->in.n) {
        enum value_rc rc = json_byte(&t->js, tc_here(t), out);

        if (rc == VALUE_BAD)
            return tc_broken(t, "the arguments are no JSON");
        tc_go(t, rc != VALUE_BEFORE, S_JSON);
        if (rc != VALUE_MORE)
            return tc_args_ended(t);
    }
    return WAIT;
}

/* Arguments written as a string that holds JSON: its decoded bytes. false: they are none. */
static bool string_bytes(struct toolcall *t, struct buf *out)
{
    for (size_t i = 0; i < t->val.n; i++) {
        enum value_rc rc = json_byte(&t->js, t->val.p[i], out);

        if (rc == VALUE_BAD || (rc == VALUE_BEFORE && !tc_is_space(t->val.p[i])))
            return false;
        if (!t->any_byte && !tc_is_space(t->val.p[i])) {
            t->any_byte = true;
            if (t->val.p[i] != '{')
                return false;
        }
    }
    tc_clear(t, &t->val);
    return true;
}

static int read_string(struct toolcall *t)
{
    struct buf *out = tc_args(t);

    while (t->pos < t->in.n) {
        int rc = json_string_byte(&t->jstr, tc_here(t), &t->val);

        if (rc < 0 || !string_bytes(t, out))
            return tc_broken(t, "the arguments are no JSON");
        if (rc == 0 && !t->any_byte)
            buf_str(out, "{}");
        else if (rc == 0 && !json_whole(&t->js))
            return tc_broken(t, "the arguments are no whole JSON");
        tc_go(t, 1, S_STRING);
        if (rc == 0)
            return tc_args_ended(t);
    }
    return WAIT;
}

/* -- objects: {"name": ..., "arguments": ...} -- */

/* Whether key is one of the words of list. */
static bool is_key(const struct toolcall *t, const char *list)
{
    struct slice k = buf_view(&t->key);
    size_t n;

    for (; list && *list && !t->long_key; list += n + (list[n] == ' ')) {
        n = strcspn(list, " ");
        if (k.n == n && memcmp(k.p, list, n) == 0)
            return true;
    }
    return false;
}

/* What is inside the object is no call, or no more of one. */
static int object_bad(struct toolcall *t)
{
    return t->committed ? tc_end_call(t, t->args_done, S_TAIL) : tc_no_call(t);
}

/* Arguments that came before the name are read again, now to be handed out. */
static int commit_held(struct toolcall *t)
{
    struct buf *out;
    size_t i = t->args_at[0];
    bool string = t->in.p[i] == '"';
    bool fine = true;

    if (!tc_commit(t))
        return tc_no_call(t);
    out = tc_args(t);
    t->any_byte = false;
    tc_clear(t, &t->val);
    for (i += string; i < t->args_at[1] && fine; i++) {
        if (!string)
            json_byte(&t->js, t->in.p[i], out);
        else if (json_string_byte(&t->jstr, t->in.p[i], &t->val) > 0)
            fine = string_bytes(t, out);
    }
    if (string && !t->any_byte)
        buf_str(out, "{}");
    else if (!fine || !json_whole(&t->js))
        return tc_broken(t, "the arguments are no JSON");
    return tc_args_ended(t);
}

static int object_closed(struct toolcall *t)
{
    if (t->wrapper-- > 0) {
        t->ob = OB_NEXT;
        return tc_go(t, 1, S_OBJECT);
    }
    tc_go(t, 1, S_OBJECT);
    if (!t->committed) {
        if (!t->have_name || t->f->weak || !tc_commit(t))
            return tc_no_call(t);
    }
    if (!t->args_done)
        buf_str(tc_args(t), "{}");
    return tc_end_call(t, true, S_TAIL);
}

/* A value begins: what it is follows from its key. */
static int object_value(struct toolcall *t)
{
    char c = tc_here(t);
    bool bare_name = t->rd->key_is_name && !t->have_name;
    bool args = bare_name || is_key(t, t->rd->key_args);

    t->ob = OB_SKIP;
    memset(&t->js, 0, sizeof t->js);
    memset(&t->jstr, 0, sizeof t->jstr);
    if (bare_name) {
        buf_slice(&t->name, buf_view(&t->key));
        if (!(t->have_name = name_fits(t)))
            return object_bad(t);
    }
    if (c == '{' && !t->have_name && t->wrapper < 3 &&
        (is_key(t, "function") || is_key(t, "tool_call"))) {
        t->wrapper++;
        t->ob = OB_KEY0;
        return tc_go(t, 1, S_OBJECT);
    }
    if (c == '[' && !t->have_name && !t->have_args && !t->list && is_key(t, "tool_calls")) {
        t->list = true;
        t->closers = t->wrapper + 1;
        t->wrapper = 0;
        t->ob = OB_OPEN;
        return tc_go(t, 1, S_OBJECT);
    }
    if (args && !t->have_args && !t->args_done && c != 'n') {
        if (c != '{' && c != '"')
            return object_bad(t);
        t->have_args = true;
        if (!t->have_name) {
            t->args_at[0] = t->pos;
            t->ob = OB_HELD;
            return GO;
        }
        if (!tc_commit(t))
            return tc_no_call(t);
        t->any_byte = false;
        tc_clear(t, &t->val);
        return tc_go(t, c == '"', c == '"' ? S_STRING : S_JSON);
    }
    if (args && c == 'n' && !t->have_args && t->have_name && !t->committed && !tc_commit(t))
        return tc_no_call(t);
    t->id_key = is_key(t, t->rd->key_id);
    if (c == '"' && ((t->id_key && !t->have_id) ||
                     (is_key(t, t->rd->key_name) && !t->have_name && !t->committed))) {
        if (t->id_key)
            tc_clear(t, &t->id);
        t->ob = OB_STR;
        return tc_go(t, 1, S_OBJECT);
    }
    return GO;
}

/* The inside of a string: a key, the name, the id. */
static int object_string(struct toolcall *t)
{
    bool key = t->ob == OB_KEYSTR;
    struct buf *to = key ? &t->key : t->id_key ? &t->id : &t->name;
    size_t most = key ? KEY_MAX_BYTES : NAME_MAX_BYTES;

    while (t->pos < t->in.n) {
        int rc = json_string_byte(&t->jstr, tc_here(t), to);

        if (rc < 0)
            return object_bad(t);
        tc_go(t, 1, S_OBJECT);
        if (to->n > most && !key && !t->id_key)
            return object_bad(t);
        if (to->n > most) { // no key we know, no id
            t->long_key = true;
            tc_clear(t, to);
        }
        if (rc > 0)
            continue;
        t->ob = key ? OB_COLON : OB_NEXT;
        if (!key && t->id_key)
            t->have_id = to->n && !t->long_key && utf8_valid(to->p, to->n);
        else if (!key && !(t->have_name = name_fits(t)))
            return object_bad(t);
        if (!key && !t->id_key && t->have_args)
            return commit_held(t);
        return GO;
    }
    return WAIT;
}

/* A value that is not handed out (yet). */
static int object_skip(struct toolcall *t)
{
    while (t->pos < t->in.n) {
        enum value_rc rc = json_byte(&t->js, tc_here(t), NULL);

        if (rc == VALUE_BAD)
            return object_bad(t);
        tc_go(t, rc != VALUE_BEFORE, S_OBJECT);
        if (rc == VALUE_MORE)
            continue;
        if (t->ob == OB_HELD)
            t->args_at[1] = t->pos;
        memset(&t->js, 0, sizeof t->js);
        t->ob = OB_NEXT;
        return GO;
    }
    return WAIT;
}

static int read_object(struct toolcall *t)
{
    char c;

    if (t->ob == OB_KEYSTR || t->ob == OB_STR)
        return object_string(t);
    if (t->ob == OB_SKIP || t->ob == OB_HELD)
        return object_skip(t);
    if (!tc_skip_space(t))
        return WAIT;
    c = tc_here(t);
    switch (t->ob) {
    case OB_OPEN:
        t->ob = OB_KEY0;
        return c == '{' ? tc_go(t, 1, S_OBJECT) : tc_no_call(t);
    case OB_KEY0:
    case OB_KEY:
        if (c == '}' && t->ob == OB_KEY0)
            return object_closed(t);
        if (c != '"')
            return object_bad(t);
        t->ob = OB_KEYSTR;
        t->long_key = false;
        tc_clear(t, &t->key);
        memset(&t->jstr, 0, sizeof t->jstr);
        return tc_go(t, 1, S_OBJECT);
    case OB_COLON:
        t->ob = OB_VALUE;
        return c == ':' ? tc_go(t, 1, S_OBJECT) : object_bad(t);
    case OB_VALUE:
        return object_value(t);
    default:
        if (c == '}')
            return object_closed(t);
        t->ob = OB_KEY;
        return c == ',' ? tc_go(t, 1, S_OBJECT) : object_bad(t);
    }
}

/* -- behind a call -- */

static int read_tail(struct toolcall *t)
{
    static const enum mark_id ends[] = {M_FENCE, M_CALL_END};

    if (!tc_skip_space(t))
        return t->eof ? past(t, 0, S_TEXT) : WAIT;
    t->start = t->pos;
    if (t->list)
        return tc_go(t, 0, S_AFTER);
    if (t->closers && tc_here(t) == '}') {
        t->closers--;
        return past(t, 1, S_TAIL);
    }
    for (unsigned i = 0; i < ARRAY_LEN(ends) && t->block; i++) {
        int m = tc_mark(t, ends[i], t->pos);

        if (m < 0)
            return WAIT;
        if (m > 0) {
            t->block = ends[i] != M_CALL_END;
            return past(t, t->mark[ends[i]].s.n, S_TAIL);
        }
    }
    return tc_go(t, 0, S_AFTER);
}

/* The next call of the same block begins at pos (skip: behind a separator). */
static int next_call(struct toolcall *t, size_t skip, enum tc_state st)
{
    enum read_style style = t->style;

    t->trig = t->pos;
    tc_attempt(t, st, skip);
    t->style = style;
    return GO;
}

static int read_after(struct toolcall *t)
{
    enum tc_state again = t->style == READ_PYTHON ? S_NAME : S_OBJECT;
    bool sequel = t->style == READ_PYTHON || t->style == READ_OBJECTS;
    char c;
    int m;

    if (!tc_skip_space(t))
        return t->eof ? past(t, 0, S_TEXT) : WAIT;
    t->start = t->pos;
    c = tc_here(t);
    if (t->list && c == ']') {
        t->list = false;
        t->block = true;
        return past(t, 1, S_TAIL);
    }
    if (sequel && t->list && c == ',')
        return next_call(t, 1, again);
    t->list = false;
    t->closers = 0;
    if (sequel && t->block && (c == ';' || c == ','))
        return next_call(t, 1, again);
    if (t->style == READ_OBJECTS && t->block && c == '{')
        return next_call(t, 0, again);
    if (t->style == READ_PYTHON && t->block && t->rd->call && tc_ident(c, true))
        return next_call(t, 0, again);
    if (t->section) {
        if ((m = tc_mark(t, M_SECTION_END, t->pos)) < 0)
            return WAIT;
        if (m > 0) {
            t->section = false;
            return past(t, t->mark[M_SECTION_END].s.n, S_TEXT);
        }
    }
    return tc_go(t, 0, S_TEXT);
}

/* -- what is broken, up to the end of the call -- */

static int read_raw(struct toolcall *t)
{
    static const enum mark_id ends[] = {M_CALL_END, M_SECTION_END, M_END, M_START};
    struct buf *out = tc_args(t);

    while (t->pos < t->in.n) {
        for (unsigned i = 0; i < ARRAY_LEN(ends); i++) {
            int m = tc_mark(t, ends[i], t->pos);

            if (m < 0)
                return WAIT;
            if (m == 0)
                continue;
            fix_end(&t->fix, out);
            t->list = false;
            return tc_end_call(t, false, S_TAIL);
        }
        fix_byte(&t->fix, tc_here(t), out);
        tc_go(t, 1, S_RAW);
    }
    if (t->eof)
        fix_end(&t->fix, out);
    return WAIT;
}

/* -- harmony -- */

/* The word behind `what` in the head of a message. */
static struct slice head_word(struct slice head, const char *what)
{
    const char *p = memmem(head.p, head.n, what, strlen(what));
    struct slice w = {p ? p + strlen(what) : "", 0};

    while (p && w.p + w.n < head.p + head.n && (uint8_t)w.p[w.n] > ' ' && w.p[w.n] != '<')
        w.n++;
    return w;
}

static int message_begins(struct toolcall *t, struct slice head)
{
    struct slice to = head_word(head, "to=");
    bool call = t->rd->style == READ_HARMONY && to.n && !slice_is(to, "assistant") &&
                !slice_is(to, "user") && !slice_is(to, "all");
    bool reason =
        !call && t->r && t->r->channels && slice_is(head_word(head, "<|channel|>"), "analysis");

    if (t->pos - t->start > t->hold)
        return tc_no_call(t);
    if (call) {
        if (slice_starts(to, SLICE("functions.")))
            to = (struct slice){to.p + 10, to.n - 10};
        tc_clear(t, &t->name);
        buf_slice(&t->name, to);
        if (!name_fits(t) || !tc_commit(t))
            return tc_no_call(t);
        return tc_go(t, t->mark[M_MESSAGE].s.n, S_LEAD);
    }
    tc_go(t, t->mark[M_MESSAGE].s.n, reason ? S_REASON : S_TEXT);
    t->start = t->pos;
    t->in_reason = reason;
    return GO;
}

static int read_header(struct toolcall *t)
{
    if (t->committed || t->pos < t->trig)
        return tc_no_call(t);
    while (t->pos < t->in.n) {
        int m = tc_mark(t, M_MESSAGE, t->pos);

        if (m < 0)
            return WAIT;
        if (m > 0)
            return message_begins(t, (struct slice){t->in.p + t->trig, t->pos - t->trig});
        if (t->pos - t->trig > HEADER_MAX || tc_here(t) == '\n')
            return tc_no_call(t);
        t->pos++;
    }
    return WAIT;
}

int (*const tc_read[N_STATE])(struct toolcall *t) = {
    [S_HEADER] = read_header,
    [S_SECTION] = read_section,
    [S_CALL] = read_call,
    [S_PREFIX] = read_prefix,
    [S_NAME] = read_name,
    [S_ID] = read_id,
    [S_LEAD] = read_lead,
    [S_JSON] = read_json,
    [S_STRING] = read_string,
    [S_OBJECTS] = read_objects,
    [S_OBJECT] = read_object,
    [S_PARAM] = tc_read_param,
    [S_KEY] = tc_read_key,
    [S_VALUE_OPEN] = tc_read_value_open,
    [S_VALUE] = tc_read_value,
    [S_PY_ARG] = tc_read_py_arg,
    [S_PY_VALUE] = tc_read_py_value,
    [S_PY_NEXT] = tc_read_py_next,
    [S_GEMMA] = tc_read_gemma,
    [S_TAIL] = read_tail,
    [S_AFTER] = read_after,
    [S_RAW] = read_raw,
};
