/* speak.c - see speak.h. */
#include "tools/lib/speak.h"

#include <string.h>

#include "base/mem.h"

void speak_fini(struct speak *s)
{
    tok_ids_fini(&s->ids);
}

struct rill_constraint_opts speak_after(const struct reasoning *r, bool open,
                                        struct rill_stop marks[2])
{
    static const char final[] = "<|channel|>final<|message|>";
    struct rill_constraint_opts o = {0};

    if (!r || !(open || r->channels))
        return o;
    marks[0] = r->channels ? (struct rill_stop){final, sizeof final - 1}
                           : (struct rill_stop){r->close, strlen(r->close)};
    o.after = marks;
    o.n_after = 1;
    return o;
}

/* A mark that is one control token of the vocabulary. */
static bool control_mark(void *ctx, struct slice mark)
{
    struct speak *s = ctx;
    struct err e = {0};
    int32_t *ids;
    size_t n, len;
    bool control;

    if (rill_tokenize(s->model, mark.p, mark.n, RILL_PARSE_SPECIAL | RILL_AFTER, &ids, &n, &e) < 0)
        return false;
    control = n == 1 && (rill_piece(s->model, ids[0], false, &len), len == 0);
    if (control && s->n_mark < SPEAK_MARKS)
        s->mark[s->n_mark++] = ids[0];
    rill_free(ids);
    return control;
}

static bool is_mark(const struct speak *s, int32_t id)
{
    for (int i = 0; i < s->n_mark; i++)
        if (s->mark[i] == id)
            return true;
    return false;
}

static int hear_all(struct speak *s, const struct toolcall_event *ev, int n, struct err *e)
{
    int rc = n < 0 ? n : 0;

    for (int i = 0; i < n && rc == 0; i++) {
        if (ev[i].kind == TC_BEGIN || ev[i].kind == TC_END)
            s->call_at = ev[i].kind == TC_BEGIN ? s->n_drawn : 0;
        rc = s->hear(s->ctx, &ev[i], e);
    }
    return rc;
}

/* What a token adds to the text: of control tokens only the marks show. */
static struct slice token_text(const struct speak *s, const struct rill_event *ev, bool control)
{
    struct slice text = {ev->text, ev->n_text};
    struct slice own;

    if (ev->kind != RILL_TOKEN || (!rill_is_end(s->model, ev->id) && !control) ||
        is_mark(s, ev->id))
        return text;
    own.p = rill_piece(s->model, ev->id, true, &own.n);
    if (own.n && slice_ends(text, own))
        text.n -= own.n;
    return text;
}

static int take_event(struct speak *s, struct toolcall *parser, const struct rill_event *ev,
                      struct err *e)
{
    const struct toolcall_event *out;
    bool control = false;
    size_t len;
    int rc;

    if (ev->kind == RILL_PROMPT) {
        if (s->reads)
            s->reads(s->ctx, (size_t)ev->pos);
        return 0;
    }
    if (ev->kind == RILL_TOKEN) {
        rill_piece(s->model, ev->id, false, &len);
        control = len == 0;
        if ((rc = tok_ids_add(&s->ids, ev->id, e)) < 0)
            return rc;
        if (s->n_drawn++ == 0 && s->reads)
            s->reads(s->ctx, 0);
        if (s->drew && (rc = s->drew(s->ctx, ev, e)) < 0)
            return rc;
    }
    rc = toolcall_feed(parser, token_text(s, ev, control), control, &out, e);
    rc = hear_all(s, out, rc, e);
    if (rc == 0 && ev->kind == RILL_DONE) {
        s->finish = ev->finish;
        s->cached = s->cached < 0 ? ev->cached : s->cached;
        if (ev->finish == RILL_FAILED)
            rc = err_set(e, ev->code, "%s", ev->message);
    }
    return rc;
}

/* Steps until the request has ended, or the budget has: *end is then what ends the reasoning. */
static int follow(struct speak *s, struct toolcall *parser, int number,
                  struct reasoning_budget *budget, struct slice *end, struct err *e)
{
    struct rill_event ev;
    int rc, failed = 0;

    *end = SLICE("");
    while ((rc = rill_engine_step(s->engine, &ev, 1, e)) > 0) {
        if (failed || ((end->n || s->call_cut) && ev.kind != RILL_DONE)) // it is only seen off
            continue;
        if (end->n) {
            s->cached = s->cached < 0 ? ev.cached : s->cached;
            continue;
        }
        failed = take_event(s, parser, &ev, e);
        if (s->budget > 0 && ev.kind == RILL_TOKEN && !failed)
            *end = reasoning_count(budget, s->parse.reasoning, toolcall_in_reasoning(parser));
        if (s->call_max && s->call_at && s->n_drawn - s->call_at > (size_t)s->call_max)
            s->call_cut = true;
        if (failed || end->n || s->call_cut || s->stop())
            rill_engine_cancel(s->engine, number);
    }
    return failed ? failed : rc;
}

/* The request goes on behind what was drawn and the text that ends the reasoning. */
static int put_in(struct speak *s, struct toolcall *parser, struct slice end, struct err *e)
{
    const struct toolcall_event *out;
    int32_t *ids = NULL;
    size_t n = 0;
    int rc = rill_tokenize(s->model, end.p, end.n, RILL_PARSE_SPECIAL | RILL_AFTER, &ids, &n, e);

    for (size_t i = 0; i < n && rc == 0; i++) {
        int n_out;
        size_t len;
        struct slice piece = {.p = rill_piece(s->model, ids[i], true, &len)};
        bool control = (rill_piece(s->model, ids[i], false, &piece.n), piece.n == 0);

        piece.n = len;
        rc = tok_ids_add(&s->ids, ids[i], e);
        if (rc < 0)
            break;
        n_out = toolcall_feed(parser, piece, control, &out, e);
        rc = hear_all(s, out, n_out, e);
    }
    rill_free(ids);
    return rc;
}

/* The prompt with all that has come since. */
static int go_on(struct speak *s, const struct rill_request *q, struct rill_request *next,
                 int32_t **ids, unsigned char **made, struct err *e)
{
    const size_t n = q->n_ids + s->ids.n;

    *ids = mem_array(n, sizeof **ids, e);
    *made = mem_new(n, e);
    if (!*ids || !*made)
        return E_NOMEM;
    memcpy(*ids, q->ids, q->n_ids * sizeof **ids);
    memcpy(*ids + q->n_ids, s->ids.id, s->ids.n * sizeof **ids);
    if (q->made)
        memcpy(*made, q->made, q->n_ids);
    memset(*made + q->n_ids, 1, s->ids.n);
    next->ids = *ids;
    next->made = *made;
    next->n_ids = n;
    next->constraint = s->then ? s->then : q->constraint;
    if (q->max_tokens)
        next->max_tokens = (size_t)q->max_tokens > s->n_drawn ? q->max_tokens - (int)s->n_drawn : 1;
    return 0;
}

int speak(struct speak *s, const struct rill_request *q, struct err *e)
{
    struct reasoning_budget budget = {.max = s->budget};
    struct rill_request now = *q;
    struct toolcall *parser = NULL;
    const struct toolcall_event *out;
    unsigned char *made = NULL;
    int32_t *ids = NULL;
    struct slice end = SLICE("");
    int number, n_out, rc;

    s->ids.n = s->n_drawn = s->call_at = 0;
    s->call_cut = false;
    s->n_mark = 0;
    s->finish = RILL_RUNNING;
    s->cached = -1;
    s->parse.is_control = control_mark;
    s->parse.ctx = s;
    now.progress = now.show_control = true;
    if ((rc = toolcall_new(&parser, &s->parse, e)) < 0)
        return rc;
    do {
        rc = rill_engine_submit(s->engine, &now, &number, e);
        if (rc == E_CONTEXT && s->ids.n) { // no room behind the budget's end
            s->finish = RILL_CONTEXT;
            rc = 0;
            break;
        }
        rc = rc < 0 ? rc : follow(s, parser, number, &budget, &end, e);
        if (rc == 0 && end.n) {
            mem_free(ids);
            mem_free(made);
            rc = put_in(s, parser, end, e);
            rc = rc < 0 ? rc : go_on(s, q, &now, &ids, &made, e);
        }
    } while (rc == 0 && end.n);
    if (rc == 0) {
        n_out = toolcall_finish(parser, &out, e);
        rc = hear_all(s, out, n_out, e);
    }
    s->cached = s->cached < 0 ? 0 : s->cached;
    toolcall_free(parser);
    mem_free(ids);
    mem_free(made);
    return rc;
}
