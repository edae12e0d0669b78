/* toolcall.c - the parser's frame: bytes in, events out, and the two states between calls. */
#include "text/toolcall_in.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "base/utf8.h"

enum { HOLD_DEFAULT = 256 << 10 };

/* -- events -- */

static struct tc_rec *add_rec(struct toolcall *t, enum toolcall_kind kind)
{
    struct tc_rec *r;

    if (t->n_rec == t->cap_rec) {
        size_t cap = t->cap_rec ? t->cap_rec * 2 : 16;
        struct toolcall_event *ev = mem_resize(t->ev, t->cap_rec, cap, sizeof *ev, NULL);

        if (ev)
            t->ev = ev;
        r = ev ? mem_resize(t->rec, t->cap_rec, cap, sizeof *r, NULL) : NULL;
        if (!r) {
            t->bad = true;
            return NULL;
        }
        t->rec = r;
        t->cap_rec = cap;
    }
    r = &t->rec[t->n_rec++];
    memset(r, 0, sizeof *r);
    r->ev.kind = kind;
    r->ev.index = t->n_call - 1;
    r->at[0] = t->out.n;
    return r;
}

/* The delta being added to: its bytes end where out ends. */
static struct tc_rec *delta(struct toolcall *t, enum toolcall_kind kind)
{
    struct tc_rec *r = t->n_rec ? &t->rec[t->n_rec - 1] : NULL;

    return r && r->ev.kind == kind ? r : add_rec(t, kind);
}

/* Bytes of a character that were held back come out before anything of another kind. */
static void flush_tail(struct toolcall *t)
{
    if (t->n_tail && delta(t, t->tail_kind))
        buf_add(&t->out, t->tail, t->n_tail);
    t->n_tail = 0;
}

void tc_text(struct toolcall *t, enum toolcall_kind kind, const char *p, size_t n)
{
    while (n && t->drop_ws && tc_is_space(*p)) {
        p++;
        n--;
    }
    if (n == 0)
        return;
    t->drop_ws = false;
    if (kind == TC_TEXT)
        t->fresh = false;
    if (t->n_tail && t->tail_kind != kind)
        flush_tail(t);
    if (!delta(t, kind))
        return;
    if (t->n_tail)
        flush_tail(t);
    buf_add(&t->out, p, n);
}

struct buf *tc_args(struct toolcall *t)
{
    delta(t, TC_ARGS);
    return &t->out;
}

static size_t put(struct toolcall *t, const void *p, size_t n)
{
    size_t at = t->out.n;

    buf_add(&t->out, p, n);
    return at;
}

static void made_id(struct toolcall *t, char out[32])
{
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    static const char front[] = "call_";
    size_t n = t->rd->short_id ? 9 : 24;
    size_t k = t->rd->short_id ? 0 : strlen(front);

    memcpy(out, front, k);
    for (size_t i = 0; i < n; i++)
        out[k++] = set[rng_bits(t->seed, (uint32_t)t->n_call, i, 0) % (sizeof set - 1)];
    out[k] = '\0';
}

void tc_begin(struct toolcall *t)
{
    char id[32];
    struct tc_rec *r;

    flush_tail(t);
    t->model_id = t->have_id && t->id.n;
    if (!t->model_id) {
        made_id(t, id);
        tc_clear(t, &t->id);
        buf_str(&t->id, id);
    }
    t->n_call++;
    if (!(r = add_rec(t, TC_BEGIN)))
        return;
    r->at[1] = put(t, t->id.p, t->id.n);
    r->at[2] = put(t, t->name.p, t->name.n);
    r->ev.id.n = t->id.n;
    r->ev.name.n = t->name.n;
    t->committed = true;
    t->args_done = t->opened = false;
    t->drop_ws = false;
    t->n_arg = 0;
    tc_clear(t, &t->keys);
    memset(&t->js, 0, sizeof t->js);
    memset(&t->jstr, 0, sizeof t->jstr);
    memset(&t->fix, 0, sizeof t->fix);
}

void tc_end(struct toolcall *t, bool complete)
{
    struct tc_rec *r = add_rec(t, TC_END);

    if (r) {
        r->ev.complete = complete;
        if (t->have_id && !t->model_id) {
            r->at[1] = put(t, t->id.p, t->id.n);
            r->ev.id.n = t->id.n;
        }
    }
    t->committed = false;
    t->drop_ws = true;
}

void tc_error(struct toolcall *t, const char *what)
{
    char s[200];
    struct tc_rec *r = add_rec(t, TC_ERROR);
    int n = snprintf(s, sizeof s, "call %d, byte %llu of the output: %s", t->n_call - 1,
                     (unsigned long long)(t->base + t->pos), what);

    if (r)
        put(t, s, (size_t)n);
}

static bool failed(const struct toolcall *t)
{
    return t->bad || t->in.bad || t->control.bad || t->out.bad || t->name.bad || t->id.bad ||
           t->key.bad || t->keys.bad || t->val.bad;
}

/* Lengths of deltas, pointers instead of places, and what must wait for the rest of a character. */
static int hand_out(struct toolcall *t, const struct toolcall_event **ev, struct err *e)
{
    const char *out;
    size_t n = 0;

    *ev = NULL;
    if (t->n_rec && !t->finished) {
        struct tc_rec *r = &t->rec[t->n_rec - 1];

        if (r->ev.kind == TC_TEXT || r->ev.kind == TC_REASON) {
            size_t len = t->out.n - r->at[0];
            size_t whole = len ? utf8_whole(t->out.p + r->at[0], len) : 0;

            if (len - whole < sizeof t->tail && whole < len) {
                t->n_tail = (uint8_t)(len - whole);
                t->tail_kind = r->ev.kind;
                memcpy(t->tail, t->out.p + r->at[0] + whole, t->n_tail);
                t->out.n -= t->n_tail;
            }
        }
    }
    if (failed(t)) {
        t->bad = true;
        return err_nomem(e, 0);
    }
    out = t->out.p ? t->out.p : "";
    for (size_t i = 0; i < t->n_rec; i++) {
        struct tc_rec *r = &t->rec[i];
        size_t end = i + 1 < t->n_rec ? t->rec[i + 1].at[0] : t->out.n;

        r->ev.id.p = out + r->at[1];
        r->ev.name.p = out + r->at[2];
        if (r->ev.kind != TC_BEGIN && r->ev.kind != TC_END) {
            r->ev.text = (struct slice){out + r->at[0], end - r->at[0]};
            if (r->ev.text.n == 0)
                continue;
        }
        t->ev[n++] = r->ev;
    }
    *ev = t->ev;
    return (int)n;
}

/* -- text and reasoning -- */

int tc_mark(const struct toolcall *t, enum mark_id m, size_t at)
{
    const struct mark *k = &t->mark[m];
    size_t have = t->in.n - at;
    size_t n = have < k->s.n ? have : k->s.n;

    if (k->s.n == 0 || memcmp(t->in.p + at, k->s.p, n) != 0)
        return 0;
    for (size_t i = 0; k->control && i < n; i++)
        if (!t->control.p[at + i])
            return 0;
    return n == k->s.n ? 1 : t->eof ? 0 : -1;
}

/* What a mark does where it is met. */
enum act {
    ACT_CALL,
    ACT_SECTION,
    ACT_SECTION_END,
    ACT_BARE,
    ACT_THINK,
    ACT_THINK_END,
    ACT_ANSWER,
    ACT_ANSWER_END,
    ACT_HEADER,
    ACT_DROP
};

static const struct {
    enum mark_id mark;
    enum act act;
    bool reason; // looked for in reasoning too: always, or where the mark is a control token
    bool control_only;
} acts[] = {
    {M_SECTION, ACT_SECTION, true, true},
    {M_CALL, ACT_CALL, true, true},
    {M_SECTION_END, ACT_SECTION_END, false, false},
    {M_THINK_END, ACT_THINK_END, true, false},
    {M_THINK, ACT_THINK, false, false},
    {M_ANSWER, ACT_ANSWER, false, false},
    {M_ANSWER_END, ACT_ANSWER_END, false, false},
    {M_START, ACT_HEADER, true, false},
    {M_CHANNEL, ACT_HEADER, true, false},
    {M_TO, ACT_HEADER, false, false},
    {M_END, ACT_DROP, true, false},
    {M_RETURN, ACT_DROP, true, false},
    {M_CALLED, ACT_DROP, true, false},
    {M_BRACE, ACT_BARE, false, false},
    {M_BRACKET, ACT_BARE, false, false},
};

static bool looked_for(const struct toolcall *t, size_t i, bool reason)
{
    if (t->mark[acts[i].mark].s.n == 0)
        return false;
    return !reason ? acts[i].act != ACT_THINK_END
                   : acts[i].reason && (!acts[i].control_only || t->mark[acts[i].mark].control);
}

/* Whether the mark means anything here. */
static bool counts(const struct toolcall *t, enum act a, enum mark_id m)
{
    switch (a) {
    case ACT_SECTION_END:
        return t->section;
    case ACT_THINK:
    case ACT_ANSWER:
        return t->fresh || t->drop_ws || t->mark[m].control;
    case ACT_ANSWER_END:
        return t->answer;
    case ACT_BARE:
        return t->fresh;
    case ACT_HEADER:
        return m != M_TO || t->fresh;
    default:
        return true;
    }
}

static void consume(struct toolcall *t, size_t to)
{
    t->start = t->pos = to;
}

static void emit(struct toolcall *t, size_t to)
{
    tc_text(t, t->in_reason ? TC_REASON : TC_TEXT, t->in.p + t->start, to - t->start);
    consume(t, to);
}

/* Text before a mark that stands for itself: with it, or without the white space in front. */
static void leave(struct toolcall *t, size_t space, size_t at, bool keep)
{
    emit(t, keep ? at : space);
    consume(t, at);
}

static void act_on(struct toolcall *t, size_t i, size_t space, size_t at)
{
    size_t n = t->mark[acts[i].mark].s.n;
    bool trim = t->r && t->r->trim;

    t->trig = at;
    switch (acts[i].act) {
    case ACT_CALL:
    case ACT_BARE:
        tc_attempt(t, S_CALL, acts[i].act == ACT_BARE ? 0 : n);
        break;
    case ACT_SECTION:
        tc_attempt(t, S_SECTION, n);
        break;
    case ACT_HEADER:
        tc_attempt(t, S_HEADER, acts[i].mark == M_CHANNEL ? 0 : n);
        break;
    case ACT_THINK:
    case ACT_THINK_END:
        leave(t, space, at, !trim);
        consume(t, at + n);
        flush_tail(t);
        t->in_reason = acts[i].act == ACT_THINK;
        t->st = t->in_reason ? S_REASON : S_TEXT;
        t->drop_ws = trim;
        break;
    case ACT_DROP:
        leave(t, space, at, true);
        consume(t, at + n);
        t->in_reason = false;
        t->st = S_TEXT;
        break;
    default:
        leave(t, space, at, false);
        consume(t, at + n);
        if (acts[i].act == ACT_SECTION_END)
            t->section = false;
        else
            t->answer = acts[i].act == ACT_ANSWER;
        t->drop_ws = true;
    }
}

/* Where text or reasoning goes on from start: plain bytes go out, white space waits for what
 * follows it, a mark acts. */
static int scan(struct toolcall *t)
{
    const bool *first = t->first[t->in_reason];
    size_t n = t->in.n;
    size_t at = t->start;
    size_t space;

    while (at < n && !first[(uint8_t)t->in.p[at]] && !tc_is_space(t->in.p[at]))
        at++;
    if (at > t->start)
        emit(t, at);
    for (space = at; at < n && tc_is_space(t->in.p[at]) && at - space < SPACE_HOLD;)
        at++;
    if (at == n) {
        if (t->eof)
            emit(t, n);
        return WAIT;
    }
    if (at - space == SPACE_HOLD) {
        emit(t, at);
        return GO;
    }
    for (size_t i = 0; i < ARRAY_LEN(acts); i++) {
        int m = looked_for(t, i, t->in_reason) && counts(t, acts[i].act, acts[i].mark)
                    ? tc_mark(t, acts[i].mark, at)
                    : 0;

        if (m > 0) {
            act_on(t, i, space, at);
            return GO;
        }
        if (m < 0) // those that come later would act too soon
            return WAIT;
    }
    emit(t, at + 1);
    return GO;
}

/* -- the machine -- */

static void run(struct toolcall *t)
{
    while (!failed(t)) {
        bool plain = t->st == S_TEXT || t->st == S_REASON;
        int rc = plain ? scan(t) : tc_read[t->st](t);

        if (!plain && !t->committed && t->st != S_TEXT && t->pos - t->start > t->hold)
            tc_fail(t);
        else if (rc == GO)
            continue;
        else if (!t->eof || plain)
            return;
        else if (t->committed)
            tc_unfinished(t);
        else
            tc_fail(t);
    }
}

/* Forgets what is decided. Nothing moves while an attempt is held, so this stays linear. */
static void compact(struct toolcall *t)
{
    size_t k = t->start;

    if (k == 0)
        return;
    memmove(t->in.p, t->in.p + k, t->in.n - k);
    t->in.n -= k;
    if (t->any_control) {
        memmove(t->control.p, t->control.p + k, t->control.n - k);
        t->control.n -= k;
    }
    t->base += k;
    t->pos -= k;
    t->trig = t->trig > k ? t->trig - k : 0;
    t->start = 0;
    for (int i = 0; i < 2; i++)
        t->args_at[i] = t->args_at[i] > k ? t->args_at[i] - k : 0;
}

static void begin_batch(struct toolcall *t)
{
    t->n_rec = 0;
    buf_clear(&t->out);
}

int toolcall_feed(struct toolcall *t, struct slice bytes, bool control,
                  const struct toolcall_event **ev, struct err *e)
{
    begin_batch(t);
    if (t->finished || bytes.n == 0)
        return hand_out(t, ev, e);
    compact(t);
    buf_slice(&t->in, bytes);
    if (t->any_control && buf_reserve(&t->control, bytes.n)) {
        memset(t->control.p + t->control.n, control, bytes.n);
        t->control.n += bytes.n;
    }
    run(t);
    return hand_out(t, ev, e);
}

int toolcall_finish(struct toolcall *t, const struct toolcall_event **ev, struct err *e)
{
    begin_batch(t);
    if (!t->finished) {
        t->eof = true;
        compact(t);
        if (buf_reserve(&t->in, 1))
            run(t);
        flush_tail(t);
        t->finished = true;
    }
    return hand_out(t, ev, e);
}

bool toolcall_in_reasoning(const struct toolcall *t)
{
    return t->in_reason;
}

int toolcall_count(const struct toolcall *t)
{
    return t->n_call;
}

/* -- opening -- */

static const struct toolcall_read no_calls = {.style = READ_OBJECTS};

static void set_marks(struct toolcall *t)
{
    static const char *const harmony[] = {"<|start|>",  "<|channel|>", "<|message|>", "<|end|>",
                                          "<|return|>", "<|call|>",    "to="};
    const struct toolcall_read *rd = t->rd;
    const struct reasoning *r = t->r;
    bool channels = rd->style == READ_HARMONY || (r && r->channels);
    bool python = rd->style == READ_PYTHON;
    const char *s[N_MARK] = {
        [M_SECTION] = rd->section,
        [M_CALL] = rd->call,
        [M_PREFIX] = rd->prefix,
        [M_NAME_END] = rd->name_end[0],
        [M_NAME_END2] = rd->name_end[1],
        [M_ID] = rd->id_mark,
        [M_CALL_END] = rd->call_end,
        [M_SECTION_END] = rd->section_end,
        [M_KEY_OPEN] = rd->key_open,
        [M_KEY_END] = rd->key_end,
        [M_KEY_END_JSON] = rd->key_end_json,
        [M_VALUE_OPEN] = rd->value_open,
        [M_VALUE_CLOSE] = rd->value_close,
        [M_FENCE_JSON] = rd->fenced ? "```json" : NULL,
        [M_FENCE] = rd->fenced ? "```" : NULL,
        [M_BRACE] = rd->bare && !python ? "{" : NULL,
        [M_BRACKET] = rd->bare ? "[" : NULL,
    };

    if (r && !r->channels) {
        s[M_THINK] = r->open;
        s[M_THINK_END] = r->close;
        s[M_ANSWER] = r->answer_open;
        s[M_ANSWER_END] = r->answer_close;
    }
    for (int i = 0; channels && i < (int)ARRAY_LEN(harmony); i++)
        s[M_START + i] = harmony[i];
    for (int i = 0; i < N_MARK; i++)
        t->mark[i].s = slice_of(s[i] ? s[i] : "");
}

int toolcall_new(struct toolcall **out, const struct toolcall_opts *o, struct err *e)
{
    struct toolcall *t = mem_new(sizeof *t, e);

    if (!t)
        return E_NOMEM;
    t->f = o->format;
    t->rd = o->format ? o->format->read : &no_calls;
    t->r = o->reasoning;
    t->tools = json_incref((json_t *)o->tools);
    t->only_known = o->only_known;
    t->seed = o->seed;
    t->hold = o->hold ? o->hold : HOLD_DEFAULT;
    t->fresh = true;
    t->in_reason = o->in_reasoning && o->reasoning;
    t->drop_ws = t->in_reason && t->r->trim;
    t->st = t->in_reason ? S_REASON : S_TEXT;
    set_marks(t);
    for (int i = 0; i < N_MARK && o->is_control; i++) {
        t->mark[i].control = t->mark[i].s.n && o->is_control(o->ctx, t->mark[i].s);
        t->any_control = t->any_control || t->mark[i].control;
    }
    for (size_t i = 0; i < ARRAY_LEN(acts); i++)
        for (int k = 0; k < 2; k++)
            if (looked_for(t, i, k))
                t->first[k][(uint8_t)t->mark[acts[i].mark].s.p[0]] = true;
    *out = t;
    return 0;
}

void toolcall_free(struct toolcall *t)
{
    if (!t)
        return;
    json_decref(t->tools);
    buf_fini(&t->in);
    buf_fini(&t->control);
    buf_fini(&t->name);
    buf_fini(&t->id);
    buf_fini(&t->key);
    buf_fini(&t->keys);
    buf_fini(&t->val);
    buf_fini(&t->out);
    mem_free(t->rec);
    mem_free(t->ev);
    mem_free(t);
}
