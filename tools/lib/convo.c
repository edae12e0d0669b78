/* convo.c - messages, prompts, answers, sessions. */
#define _GNU_SOURCE // memmem
#include "tools/lib/convo.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/utf8.h"

enum { STORE_BYTES = 256 << 20, SESSION_BYTES = 256 << 20 };

struct convo_turn {
    uint64_t serial; // its key in the store; 0: no ids are known
    size_t from;     // where its text began in the prompt it answered
};

/* -- opening -- */

int convo_open(struct convo *c, const char *name, struct slice source, const struct tok *tok,
               struct err *e)
{
    int rc = chat_open(&c->chat, name, source, tok, e);

    c->tok = tok;
    if (rc == 0)
        rc = replay_new(&c->store, STORE_BYTES, e);
    if (rc < 0)
        return rc;
    c->format = chat_calls(c->chat);
    c->reasoning = chat_reasoning(c->chat);
    c->messages = json_array();
    c->set = json_object();
    return c->messages && c->set ? 0 : err_nomem(e, 0);
}

void convo_close(struct convo *c)
{
    chat_close(c->chat);
    json_decref(c->messages);
    json_decref(c->tools);
    json_decref(c->set);
    buf_fini(&c->text);
    tok_ids_fini(&c->ids);
    buf_fini(&c->made);
    mem_free(c->turn);
    replay_free(c->store);
    memset(c, 0, sizeof *c);
}

/* -- messages -- */

size_t convo_count(const struct convo *c)
{
    return json_array_size(c->messages);
}

const char *convo_role(const struct convo *c, size_t i)
{
    const char *role = json_string_value(json_object_get(json_array_get(c->messages, i), "role"));

    return role ? role : "";
}

int convo_add(struct convo *c, json_t *take, struct err *e)
{
    if (c->n_turn == c->cap_turn) {
        size_t cap = c->cap_turn ? c->cap_turn * 2 : 32;
        struct convo_turn *p = mem_resize(c->turn, c->cap_turn, cap, sizeof *p, e);

        if (!p) {
            json_decref(take);
            return E_NOMEM;
        }
        c->turn = p;
        c->cap_turn = cap;
    }
    if (!take || json_array_append_new(c->messages, take) < 0)
        return err_set(e, E_FORMAT, "a message that is no UTF-8, or no memory for it");
    c->turn[c->n_turn++] = (struct convo_turn){0};
    return 0;
}

void convo_cut(struct convo *c, size_t n)
{
    while (convo_count(c) > n)
        json_array_remove(c->messages, convo_count(c) - 1);
    c->n_turn = n < c->n_turn ? n : c->n_turn;
}

int convo_system(struct convo *c, struct slice text, struct err *e)
{
    bool has = strcmp(convo_role(c, 0), "system") == 0;
    json_t *m;

    if (has) {
        json_array_remove(c->messages, 0);
        c->n_turn--;
        memmove(c->turn, c->turn + 1, c->n_turn * sizeof *c->turn);
    }
    if (text.n == 0)
        return 0;
    m = json_pack("{ssss%}", "role", "system", "content", text.p, text.n);
    if (convo_add(c, m, e) < 0)
        return e->code;
    /* to the front */
    m = json_incref(json_array_get(c->messages, convo_count(c) - 1));
    json_array_remove(c->messages, convo_count(c) - 1);
    json_array_insert_new(c->messages, 0, m);
    memmove(c->turn + 1, c->turn, (c->n_turn - 1) * sizeof *c->turn);
    c->turn[0] = (struct convo_turn){0};
    return 0;
}

/* -- prompts -- */

static struct slice serial_key(const uint64_t *serial)
{
    return (struct slice){(const char *)serial, sizeof *serial};
}

/* The messages as the template gets them: reasoning only where the policy keeps it. */
static json_t *request_of(const struct convo *c)
{
    json_t *list = json_array();
    json_t *m, *r;
    size_t i;

    json_array_foreach(c->messages, i, m)
    {
        json_t *copy = json_copy(m);

        if (copy && !reasoning_in_history(c->policy))
            json_object_del(copy, "reasoning_content");
        if (!copy || json_array_append_new(list, copy) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    r = json_pack("{sosO}", "messages", list, "chat_template_kwargs", c->set);
    if (r && c->tools)
        json_object_set(r, "tools", c->tools);
    return r;
}

/* Where a turn that begins at from ends in the prompt: behind the control token that ended it,
 * where the template writes that. Else nobody knows, and from will do: its front is used all the
 * same. */
static size_t turn_end(const struct convo *c, const struct replay_turn *turn,
                       const struct jinja_text *text, size_t from)
{
    struct slice s = buf_view(&text->text), mark = SLICE("");
    size_t k = 0;

    if (turn->n && tok_kind_of(c->tok, turn->id[turn->n - 1]) == TOK_CONTROL)
        mark = tok_piece(c->tok, turn->id[turn->n - 1]);
    for (const char *p = s.p + from; mark.n; p++) {
        size_t at;

        if (!(p = memmem(p, (size_t)(s.p + s.n - p), mark.p, mark.n)))
            break;
        at = (size_t)(p - s.p);
        while (k < text->n_content && text->content[k].at + text->content[k].n <= at)
            k++;
        if (k == text->n_content || text->content[k].at >= at + mark.n)
            return at + mark.n;
    }
    return from;
}

/* The turns whose text stands where it stood: as far as the new prompt is the old one. */
static size_t known_turns(const struct convo *c, const struct jinja_text *text,
                          struct replay_span *span)
{
    struct slice prompt = buf_view(&text->text);
    size_t same = c->fresh ? prompt.n : 0, n = 0;

    while (!c->fresh && same < c->text.n && same < prompt.n && c->text.p[same] == prompt.p[same])
        same++;
    for (size_t i = 0; i < c->n_turn; i++) {
        const struct convo_turn *t = &c->turn[i];
        const struct replay_turn *turn =
            t->serial && t->from <= same ? replay_get(c->store, serial_key(&t->serial)) : NULL;
        size_t end;

        if (!turn || (n && t->from < span[n - 1].from))
            continue;
        end = turn_end(c, turn, text, t->from);
        if (n && span[n - 1].to > t->from)
            span[n - 1].to = t->from;
        span[n++] = (struct replay_span){t->from, end, turn};
    }
    return n;
}

/* As chat_encode does it, with the ids of known turns. */
static int encode(struct convo *c, const struct jinja_text *text, const struct replay_span *span,
                  size_t n, struct err *e)
{
    struct slice s = buf_view(&text->text);
    int32_t bos = tok_role_id(c->tok, TOK_BOS);
    bool written = bos >= 0 && slice_starts(s, tok_piece(c->tok, bos));
    int rc = 0;

    c->ids.n = 0;
    buf_clear(&c->made);
    if (n == 0) {
        rc = chat_encode(c->chat, text, &c->ids, e);
        if (rc == 0 && !buf_reserve(&c->made, c->ids.n + 1))
            rc = err_nomem(e, c->ids.n);
        if (rc == 0) {
            c->made.n = c->ids.n;
            memset(c->made.p, 0, c->made.n);
        }
        return rc;
    }
    if (tok_adds_bos(c->tok) && bos >= 0 && !written) {
        rc = tok_ids_add(&c->ids, bos, e);
        buf_byte(&c->made, 0);
    }
    return rc < 0 ? rc
                  : replay_encode(c->tok, s, text->content, text->n_content, span, n, TOK_PARSE,
                                  &c->ids, &c->made, e);
}

size_t convo_kept(const struct convo *c)
{
    size_t n = 0;

    for (size_t i = 0; i < c->made.n; i++)
        n += c->made.p[i] == 1;
    return n;
}

static int prompt(struct convo *c, bool turn, bool *open, struct err *e)
{
    json_t *request = request_of(c);
    struct jinja_text text = {0};
    struct replay_span *span = NULL;
    int rc = E_NOMEM;

    if (!request || json_object_set_new(request, "add_generation_prompt", json_boolean(turn)) < 0) {
        err_nomem(e, 0);
        goto done;
    }
    if ((rc = chat_render(c->chat, request, (int64_t)time(NULL), &text, e)) < 0)
        goto done;
    if (!(span = mem_array(c->n_turn + 1, sizeof *span, e))) {
        rc = E_NOMEM;
        goto done;
    }
    rc = encode(c, &text, span, known_turns(c, &text, span), e);
    *open = reasoning_is_open(c->reasoning, buf_view(&text.text));
    if (!turn)
        goto done;
    buf_clear(&c->text);
    buf_slice(&c->text, buf_view(&text.text));
    c->fresh = false;
done:
    json_decref(request);
    jinja_text_fini(&text);
    mem_free(span);
    return rc;
}

int convo_prompt(struct convo *c, bool *open, struct err *e)
{
    return prompt(c, true, open, e);
}

int convo_measure(struct convo *c, struct err *e)
{
    bool open;

    c->ids.n = 0;
    buf_clear(&c->made);
    return convo_count(c) ? prompt(c, false, &open, e) : 0;
}

/* -- answers -- */

void convo_answer_fini(struct convo_answer *a)
{
    buf_fini(&a->content);
    buf_fini(&a->reasoning);
    buf_fini(&a->arguments);
    json_decref(a->calls);
    memset(a, 0, sizeof *a);
}

static int add_call(struct convo_answer *a, const struct toolcall_event *ev, struct err *e)
{
    json_t *call = json_pack("{ss%sss{ss%}}", "id", ev->id.p, ev->id.n, "type", "function",
                             "function", "name", ev->name.p, ev->name.n);

    a->calls = a->calls ? a->calls : json_array();
    buf_clear(&a->arguments);
    return call && json_array_append_new(a->calls, call) == 0 ? 0 : err_nomem(e, 0);
}

/* Arguments that are an object are one for the template; others stay the text they are. */
static int end_call(struct convo_answer *a, struct err *e)
{
    json_t *f =
        json_object_get(json_array_get(a->calls, json_array_size(a->calls) - 1), "function");
    struct slice s = buf_view(&a->arguments);
    json_t *v = json_loadb(s.p, s.n, 0, NULL);

    if (!json_is_object(v)) {
        json_decref(v);
        v = json_stringn(s.p, s.n);
    }
    return v && json_object_set_new(f, "arguments", v) == 0 ? 0 : err_nomem(e, s.n);
}

int convo_event(struct convo_answer *a, const struct toolcall_event *ev, struct err *e)
{
    switch (ev->kind) {
    case TC_TEXT:
        buf_slice(&a->content, ev->text);
        break;
    case TC_REASON:
        buf_slice(&a->reasoning, ev->text);
        break;
    case TC_ARGS:
        buf_slice(&a->arguments, ev->text);
        break;
    case TC_BEGIN:
        return add_call(a, ev, e);
    case TC_END:
        return end_call(a, e);
    default:
        break;
    }
    return a->content.bad || a->reasoning.bad || a->arguments.bad ? err_nomem(e, 0) : 0;
}

json_t *convo_text(const struct buf *b)
{
    struct slice s = buf_view(b);
    struct buf q = {0};
    json_t *v;

    if (utf8_valid(s.p, s.n))
        return json_stringn(s.p, s.n);
    buf_json(&q, s);
    v = json_loadb(q.p, q.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    buf_fini(&q);
    return v;
}

/* The calls as messages have them: arguments that are no object are put into one. */
static json_t *calls_of(const struct convo_answer *a)
{
    json_t *calls = json_deep_copy(a->calls);
    json_t *call;
    size_t i;

    json_array_foreach(calls, i, call)
    {
        json_t *f = json_object_get(call, "function");
        json_t *args = json_object_get(f, "arguments");

        if (!json_is_object(args))
            json_object_set_new(f, "arguments",
                                json_pack("{sO}", "invalid_json", args ? args : json_null()));
    }
    return calls;
}

int convo_answered(struct convo *c, const struct convo_answer *a, const int32_t *ids, size_t n,
                   struct err *e)
{
    json_t *m = json_pack("{ssso}", "role", "assistant", "content", convo_text(&a->content));
    struct convo_turn *t;
    int rc;

    if (m && a->reasoning.n)
        json_object_set_new(m, "reasoning_content", convo_text(&a->reasoning));
    if (m && a->calls)
        json_object_set_new(m, "tool_calls", calls_of(a));
    c->calls += (int)json_array_size(a->calls);
    if ((rc = convo_add(c, m, e)) < 0)
        return rc;
    t = &c->turn[c->n_turn - 1];
    t->serial = ++c->serial;
    t->from = c->text.n;
    rc = replay_put(c->store, serial_key(&t->serial), c->tok, ids, n, e);
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = tok_ids_add(&c->ids, ids[i], e);
        buf_byte(&c->made, 1);
    }
    if (rc < 0)
        return rc;
    if (replay_get(c->store, serial_key(&t->serial)))
        buf_slice(&c->text, replay_get(c->store, serial_key(&t->serial))->text);
    return c->text.bad ? err_nomem(e, c->text.n) : 0;
}

/* -- sessions -- */

static void line(struct buf *b, json_t *take)
{
    char *s = take ? json_dumps(take, JSON_COMPACT) : NULL;

    if (s)
        buf_str(b, s);
    else
        b->bad = true;
    buf_byte(b, '\n');
    free(s);
    json_decref(take);
}

/* A message with the ids that were drawn for it, where they are known. */
static json_t *saved(const struct convo *c, size_t i)
{
    json_t *m = json_copy(json_array_get(c->messages, i));
    const struct convo_turn *t = &c->turn[i];
    const struct replay_turn *r = t->serial ? replay_get(c->store, serial_key(&t->serial)) : NULL;
    json_t *ids = r ? json_array() : NULL;

    for (size_t k = 0; ids && k < r->n; k++)
        json_array_append_new(ids, json_integer(r->id[k]));
    if (m && ids)
        json_object_set_new(m, "rill", json_pack("{sIso}", "at", (json_int_t)t->from, "ids", ids));
    return m;
}

int convo_save(const struct convo *c, const char *path, const char *model, struct err *e)
{
    struct file_out *f;
    struct buf b = {0};
    int rc;

    line(&b, json_pack("{sisssIsO}", "rill_chat", 1, "model", model, "created",
                       (json_int_t)time(NULL), "set", c->set));
    for (size_t i = 0; i < convo_count(c); i++)
        line(&b, saved(c, i));
    rc = b.bad ? err_nomem(e, b.n) : file_create(&f, path, e);
    if (rc == 0 && (rc = file_write(f, b.p, b.n, e)) < 0)
        file_abort(f);
    else if (rc == 0)
        rc = file_commit(f, e);
    buf_fini(&b);
    return rc;
}

/* The ids of a message become those of its turn. Whatever they are, they only stand for text that
 * the next prompt has at that place. */
static int load_turn(struct convo *c, const json_t *drawn, struct err *e)
{
    const json_t *list = json_object_get(drawn, "ids");
    json_int_t at = json_integer_value(json_object_get(drawn, "at"));
    struct convo_turn *t = &c->turn[c->n_turn - 1];
    struct tok_ids ids = {0};
    bool good = at >= 0;
    int rc = 0;

    for (size_t i = 0; i < json_array_size(list) && rc == 0; i++) {
        json_int_t id = json_integer_value(json_array_get(list, i));

        good = good && id >= 0 && id < (json_int_t)tok_count(c->tok);
        rc = good ? tok_ids_add(&ids, (int32_t)id, e) : 0;
    }
    if (rc == 0 && good && ids.n) {
        t->serial = ++c->serial;
        t->from = (size_t)at;
        rc = replay_put(c->store, serial_key(&t->serial), c->tok, ids.id, ids.n, e);
    }
    tok_ids_fini(&ids);
    return rc;
}

/* m is taken. */
static int load_message(struct convo *c, json_t *m, struct err *e)
{
    json_t *drawn = json_incref(json_object_get(m, "rill"));
    int rc;

    json_object_del(m, "rill");
    rc = convo_add(c, m, e);
    if (rc == 0 && drawn)
        rc = load_turn(c, drawn, e);
    json_decref(drawn);
    return rc;
}

static int load_head(struct convo *c, const json_t *v, const char *path, char **model,
                     struct err *e)
{
    const char *name = json_string_value(json_object_get(v, "model"));
    const json_t *set = json_object_get(v, "set");

    if (!json_is_integer(json_object_get(v, "rill_chat")))
        return err_set(e, E_FORMAT, "%s: no session of rill-chat", path);
    if (json_is_object(set))
        json_object_update(c->set, (json_t *)set);
    *model = mem_dup(name ? name : "", name ? strlen(name) : 0, e);
    return *model ? 0 : E_NOMEM;
}

static int load_line(struct convo *c, struct slice s, const char *path, int number, char **model,
                     struct err *e)
{
    json_error_t je;
    json_t *v = json_loadb(s.p, s.n, JSON_ALLOW_NUL, &je);
    int rc;

    if (json_is_object(v) && number > 1 && json_is_string(json_object_get(v, "role")))
        return load_message(c, v, e);
    if (!json_is_object(v))
        rc = err_set(e, E_FORMAT, "%s:%d: %s", path, number, v ? "no object" : je.text);
    else if (number > 1)
        rc = err_set(e, E_FORMAT, "%s:%d: a message without a role", path, number);
    else
        rc = load_head(c, v, path, model, e);
    json_decref(v);
    return rc;
}

static int load_lines(struct convo *c, struct slice all, const char *path, char **model,
                      struct err *e)
{
    int number = 0, rc = 0;

    while (all.n && rc == 0) {
        const char *nl = memchr(all.p, '\n', all.n);
        size_t n = nl ? (size_t)(nl - all.p) : all.n;

        if (n)
            rc = load_line(c, (struct slice){all.p, n}, path, ++number, model, e);
        n += nl != NULL;
        all = (struct slice){all.p + n, all.n - n};
    }
    return rc == 0 && number == 0 ? err_set(e, E_FORMAT, "%s: no session of rill-chat", path) : rc;
}

int convo_load(struct convo *c, const char *path, char **model, struct err *e)
{
    struct convo was = *c;
    struct file_view v;
    int rc = file_read(&v, path, SESSION_BYTES, e);

    *model = NULL;
    if (rc < 0)
        return rc;
    c->messages = json_array();
    c->set = json_object();
    c->turn = NULL;
    c->n_turn = c->cap_turn = 0;
    rc = c->messages && c->set
             ? load_lines(c, (struct slice){(const char *)v.p, v.n}, path, model, e)
             : err_nomem(e, 0);
    file_unmap(&v);
    if (rc < 0) { // the conversation stays as it was
        struct convo bad = *c;

        was.serial = c->serial; // keys of the store are not given twice
        *c = was;
        was = bad;
        mem_free(*model);
        *model = NULL;
    } else {
        c->fresh = true;
    }
    json_decref(was.messages);
    json_decref(was.set);
    mem_free(was.turn);
    return rc;
}
