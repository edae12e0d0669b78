/* toolcall_args.c - arguments that are not written as JSON: parameters in tags, Python's keyword
 * arguments, Gemma's notation. They become JSON with the types of the tool's schema.
 */
#include "text/toolcall_in.h"

#include <string.h>

#include "base/mem.h"

/* -- parameters -- */

/* "{" or ", " and the key; false: the key was there already. */
static bool arg_key(struct toolcall *t, struct slice key)
{
    struct buf *out = tc_args(t);
    const json_t *schema;
    char name[KEY_MAX_BYTES + 1];

    for (size_t i = 0; i < t->keys.n; i += strlen(t->keys.p + i) + 1)
        if (slice_is(key, t->keys.p + i))
            return false;
    buf_slice(&t->keys, key);
    buf_byte(&t->keys, '\0');
    buf_str(out, t->n_arg++ ? ", " : "{");
    buf_byte(out, '"');
    for (size_t i = 0; i < key.n; i++)
        fix_json(&t->fix, key.p[i], out);
    fix_end(&t->fix, out);
    buf_str(out, "\": ");
    memcpy(name, key.p, key.n);
    name[key.n] = '\0';
    schema = json_object_get(json_object_get(t->props, "properties"), name);
    t->known = schema != NULL;
    t->types = schema_types(t->props, schema);
    return true;
}

static void args_close(struct toolcall *t)
{
    buf_str(tc_args(t), t->n_arg ? "}" : "{}");
    t->args_done = true;
}

int tc_read_param(struct toolcall *t)
{
    static const enum mark_id ends[] = {M_KEY_OPEN, M_CALL_END, M_SECTION_END};

    if (!tc_skip_space(t))
        return WAIT;
    for (unsigned i = 0; i < ARRAY_LEN(ends); i++) {
        int m = tc_mark(t, ends[i], t->pos);

        if (m < 0)
            return WAIT;
        if (m == 0)
            continue;
        if (i > 0) {
            args_close(t);
            return tc_end_call(t, true, S_TAIL);
        }
        tc_clear(t, &t->key);
        return tc_go(t, t->mark[M_KEY_OPEN].s.n, S_KEY);
    }
    return tc_broken(t, "neither a parameter nor the end of the call");
}

static int key_ended(struct toolcall *t, enum mark_id end)
{
    struct slice key = buf_view(&t->key);

    while (key.n && tc_is_space(key.p[0]))
        key = (struct slice){key.p + 1, key.n - 1};
    while (key.n && tc_is_space(key.p[key.n - 1]))
        key.n--;
    if (key.n == 0 || t->n_arg == KEYS_MAX || memchr(key.p, '\0', key.n))
        return tc_broken(t, "no usable parameter name");
    tc_clear(t, &t->val);
    t->any_byte = false;
    if (!arg_key(t, key))
        t->mode = VALUE_DROP;
    else if (end == M_KEY_END_JSON)
        t->mode = VALUE_HOLD;
    else
        t->mode = t->types == VALUE_STRING || (t->rd->key_end_json && !t->known) ? VALUE_STREAM
                                                                                 : VALUE_HOLD;
    if (t->mode == VALUE_STREAM)
        buf_byte(tc_args(t), '"');
    return tc_go(t, t->mark[end].s.n, t->mark[M_VALUE_OPEN].s.n ? S_VALUE_OPEN : S_VALUE);
}

int tc_read_key(struct toolcall *t)
{
    static const enum mark_id ends[] = {M_KEY_END, M_KEY_END_JSON};

    while (t->pos < t->in.n) {
        for (unsigned i = 0; i < ARRAY_LEN(ends); i++) {
            int m = tc_mark(t, ends[i], t->pos);

            if (m < 0)
                return WAIT;
            if (m > 0)
                return key_ended(t, ends[i]);
        }
        if (t->key.n == KEY_MAX_BYTES)
            return tc_broken(t, "a parameter name without end");
        buf_byte(&t->key, tc_here(t));
        tc_go(t, 1, S_KEY);
    }
    return WAIT;
}

int tc_read_value_open(struct toolcall *t)
{
    int m;

    if (!tc_skip_space(t) || (m = tc_mark(t, M_VALUE_OPEN, t->pos)) < 0)
        return WAIT;
    if (m == 0)
        return tc_broken(t, "a parameter without a value");
    return tc_go(t, t->mark[M_VALUE_OPEN].s.n, S_VALUE);
}

static void value_bytes(struct toolcall *t, size_t n)
{
    struct buf *out = tc_args(t);

    if (t->mode == VALUE_HOLD)
        buf_add(&t->val, t->in.p + t->pos, n);
    for (size_t i = 0; i < n && t->mode == VALUE_STREAM; i++)
        fix_json(&t->fix, t->in.p[t->pos + i], out);
    if (t->mode == VALUE_HOLD && t->val.n > t->hold) { // too long to be anything but a string
        buf_byte(out, '"');
        for (size_t i = 0; i < t->val.n; i++)
            fix_json(&t->fix, t->val.p[i], out);
        tc_clear(t, &t->val);
        t->mode = VALUE_STREAM;
    }
    tc_go(t, n, S_VALUE);
}

/* Whether the value's close mark at `at` is that, and not part of a value that contains it: another
 * parameter, the end of the call or of the output follows. */
static int closes(const struct toolcall *t, size_t at)
{
    static const enum mark_id next[] = {M_KEY_OPEN, M_CALL_END, M_SECTION_END};
    size_t from = at += t->mark[M_VALUE_CLOSE].s.n;
    int rc = 0;

    while (at < t->in.n && tc_is_space(t->in.p[at]) && at - from < SPACE_HOLD)
        at++;
    if (at == t->in.n)
        return t->eof ? 1 : -1;
    if (at - from == SPACE_HOLD)
        return 1;
    for (unsigned i = 0; i < ARRAY_LEN(next); i++) {
        int m = tc_mark(t, next[i], at);

        if (m > 0)
            return 1;
        rc = rc < 0 ? rc : m;
    }
    return rc;
}

static int value_ended(struct toolcall *t, size_t skip)
{
    struct buf *out = tc_args(t);

    if (t->mode == VALUE_STREAM) {
        fix_end(&t->fix, out);
        buf_byte(out, '"');
    } else if (t->mode == VALUE_HOLD) {
        value_add(t->types, t->known, buf_view(&t->val), out);
    }
    tc_clear(t, &t->val);
    return tc_go(t, skip, S_PARAM);
}

int tc_read_value(struct toolcall *t)
{
    const struct slice close = t->mark[M_VALUE_CLOSE].s;

    while (t->pos < t->in.n) {
        char c = tc_here(t);
        bool line = t->rd->line_values && c == '\n';
        size_t n = 0;
        int m;

        if (line && !t->any_byte) { // the mark's own line break
            t->any_byte = true;
            if ((m = tc_mark(t, M_VALUE_CLOSE, t->pos + 1)) != 0 &&
                t->in.n - t->pos < close.n + 1 && !t->eof) {
                t->any_byte = false;
                return WAIT;
            }
            tc_go(t, 1, S_VALUE);
            continue;
        }
        if (line || c == close.p[0]) {
            m = tc_mark(t, M_VALUE_CLOSE, t->pos + line);
            if (m > 0)
                m = closes(t, t->pos + line);
            if (m < 0)
                return WAIT;
            if (m > 0)
                return value_ended(t, line + close.n);
            n = 1;
        }
        t->any_byte = true;
        while (t->pos + n < t->in.n && t->in.p[t->pos + n] != close.p[0] &&
               !(t->rd->line_values && t->in.p[t->pos + n] == '\n'))
            n++;
        value_bytes(t, n);
    }
    return WAIT;
}

/* -- Python -- */

static int py_end(struct toolcall *t)
{
    tc_go(t, 1, S_PY_ARG);
    if (!t->committed && !tc_commit(t))
        return tc_no_call(t);
    args_close(t);
    return tc_end_call(t, true, S_TAIL);
}

bool tc_ident(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (uint8_t)c >= 0x80 ||
           (!first && c >= '0' && c <= '9');
}

static int py_bad(struct toolcall *t)
{
    return t->committed ? tc_broken(t, "no Python argument") : tc_no_call(t);
}

/* The name of the n-th parameter, for arguments without one. */
static bool nth_key(const struct toolcall *t, int n, struct slice *out)
{
    json_t *props = json_object_get(t->props, "properties");
    void *it = json_object_iter(props);

    while (it && n-- > 0)
        it = json_object_iter_next(props, it);
    if (it)
        *out = slice_of(json_object_iter_key(it));
    return it && out->n <= KEY_MAX_BYTES;
}

static int py_value(struct toolcall *t, struct slice key, size_t skip)
{
    if (key.n > KEY_MAX_BYTES || t->n_arg == KEYS_MAX)
        return py_bad(t);
    if (!t->committed && !tc_commit(t))
        return tc_no_call(t);
    t->mode = arg_key(t, key) ? VALUE_STREAM : VALUE_DROP;
    tc_go(t, skip, S_PY_VALUE);
    t->any_byte = false;
    tc_clear(t, &t->val);
    literal_begin(&t->lit, NULL);
    return GO;
}

/* key=value, value, or the closing parenthesis. */
int tc_read_py_arg(struct toolcall *t)
{
    struct slice key;
    size_t at, end;

    if (!tc_skip_space(t))
        return WAIT;
    if (tc_here(t) == ')')
        return py_end(t);
    at = t->pos;
    while (at < t->in.n && at - t->pos <= KEY_MAX_BYTES && tc_ident(t->in.p[at], at == t->pos))
        at++;
    end = at;
    while (at < t->in.n && tc_is_space(t->in.p[at]) && at - end < SPACE_HOLD)
        at++;
    if (at == t->in.n)
        return WAIT;
    key = (struct slice){t->in.p + t->pos, end - t->pos};
    if (key.n && t->in.p[at] == '=')
        return py_value(t, key, at + 1 - t->pos);
    return nth_key(t, t->committed ? t->n_arg : 0, &key) ? py_value(t, key, 0) : py_bad(t);
}

/* A scalar where the schema wants another kind of scalar: 5 for a string, "5" for a number. */
static void py_scalar(struct toolcall *t)
{
    struct buf *out = tc_args(t);
    struct slice v = buf_view(&t->val);
    bool quoted = v.n > 1 && v.p[0] == '"';

    if (!quoted && t->types == VALUE_STRING) {
        buf_byte(out, '"');
        buf_slice(out, v);
        buf_byte(out, '"');
    } else if (quoted && !(t->types & VALUE_STRING) && !memchr(v.p, '\\', v.n)) {
        struct slice inner = {v.p + 1, v.n - 2};
        size_t at = out->n;

        value_add(t->types, true, inner, out);
        if (!out->bad && out->p[at] == '"') { // it is a string whatever the schema says
            out->n = at;
            buf_slice(out, v);
        }
    } else {
        buf_slice(out, v);
    }
    tc_clear(t, &t->val);
}

int tc_read_py_value(struct toolcall *t)
{
    while (t->pos < t->in.n) {
        char c = tc_here(t);
        bool scalar = t->types == VALUE_STRING ? c != '"' && c != '\'' : true;
        enum value_rc rc;
        struct buf *out;

        if (!t->any_byte && tc_is_space(c)) {
            tc_go(t, 1, S_PY_VALUE);
            continue;
        }
        if (!t->any_byte && t->mode == VALUE_STREAM &&
            (t->types == VALUE_STRING || !(t->types & VALUE_STRING)) && scalar && !strchr("[{(", c))
            t->mode = VALUE_HOLD;
        t->any_byte = true;
        out = t->mode == VALUE_HOLD ? &t->val : t->mode == VALUE_STREAM ? tc_args(t) : NULL;
        rc = literal_byte(&t->lit, c, out);
        if (rc == VALUE_BAD || t->val.n > t->hold) {
            if (t->mode == VALUE_HOLD)
                buf_slice(tc_args(t), buf_view(&t->val));
            literal_rest(&t->lit, tc_args(t));
            return tc_broken(t, "no Python value");
        }
        tc_go(t, rc != VALUE_BEFORE, S_PY_VALUE);
        if (rc == VALUE_MORE)
            continue;
        if (t->mode == VALUE_HOLD)
            py_scalar(t);
        t->st = S_PY_NEXT;
        return GO;
    }
    return WAIT;
}

int tc_read_py_next(struct toolcall *t)
{
    if (!tc_skip_space(t))
        return WAIT;
    if (tc_here(t) == ')')
        return py_end(t);
    return tc_here(t) == ',' ? tc_go(t, 1, S_PY_ARG) : py_bad(t);
}

int tc_read_gemma(struct toolcall *t)
{
    struct buf *out = tc_args(t);

    while (t->pos < t->in.n) {
        enum value_rc rc = literal_byte(&t->lit, tc_here(t), out);

        if (rc == VALUE_BAD) {
            literal_rest(&t->lit, out);
            return tc_broken(t, "no value in the format's notation");
        }
        tc_go(t, rc != VALUE_BEFORE, S_GEMMA);
        if (rc != VALUE_MORE)
            return tc_args_ended(t);
    }
    return WAIT;
}
