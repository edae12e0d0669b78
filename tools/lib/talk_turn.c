/* talk_turn.c - see talk.h: an entry becomes a message, answers and tool calls follow it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "tools/lib/speak.h"
#include "tools/lib/talk.h"
#include "tools/lib/tool.h"

enum { ROUNDS = 16, RESULT_SHOWN = 300, NEARLY_FULL = 90 /* percent */ };

static volatile sig_atomic_t interrupt_seen; // of a terminal: stops the turn, not the tool

static void on_interrupt(int sig)
{
    (void)sig;
    interrupt_seen = 1;
}

bool talk_interrupted(void)
{
    return interrupt_seen || tool_interrupted();
}

volatile sig_atomic_t *talk_catch_interrupt(bool catch)
{
    struct sigaction sa = {.sa_handler = on_interrupt};

    sigemptyset(&sa.sa_mask);
    if (catch)
        sigaction(SIGINT, &sa, NULL);
    return &interrupt_seen;
}

/* -- answers -- */

static void show(struct talk *s, const struct toolcall_event *ev)
{
    if (ev->kind == TC_REASON && s->terminal && s->convo.policy == REASONING_KEEP) {
        wrap_put(&s->out, ev->text, true);
        s->reasoned = true;
    } else if (ev->kind == TC_TEXT) {
        if (s->reasoned) {
            wrap_line(&s->out);
            wrap_put(&s->out, SLICE("\n"), false);
        }
        s->reasoned = false;
        wrap_put(&s->out, ev->text, false);
    }
}

static int hear(void *ctx, const struct toolcall_event *ev, struct err *e)
{
    struct talk *s = ctx;
    int rc = convo_event(&s->answer, ev, e);

    if (rc < 0)
        return rc;
    show(s, ev);
    if (ev->kind == TC_ERROR)
        tool_warn("%.*s", (int)ev->text.n, ev->text.p);
    return 0;
}

static void reads(void *ctx, size_t n_done)
{
    struct talk *s = ctx;

    if (n_done)
        progress_at(&s->reading, n_done);
    else
        progress_end(&s->reading);
}

static bool stopped(void)
{
    return talk_interrupted() || ferror(stdout);
}

static void say_finish(const struct talk *s, const struct speak *a)
{
    const size_t ctx = (size_t)rill_engine_ctx(s->engine);
    const int finish = a->finish;

    if (a->call_cut)
        tool_warn("a call took more than %d tokens: the answer ends there (--call-tokens)",
                  s->opt->call_tokens);
    else if (finish == RILL_CONTEXT)
        tool_warn("the context of %zu positions is full (/undo, or -c for a longer one)", ctx);
    else if (finish == RILL_LENGTH)
        tool_note("the answer was ended after %d tokens (-n)", s->opt->n);
    else if (finish == RILL_CANCELLED)
        tool_note("stopped");
    else if (s->used * 100 > ctx * NEARLY_FULL)
        tool_note("%zu of %zu positions of context are left", ctx - s->used, ctx);
}

static void measure(struct talk *s, const struct rill_stats *was, const struct speak *a)
{
    struct rill_stats now;

    rill_engine_stats(s->engine, &now);
    s->prompt_s = now.prompt_seconds - was->prompt_seconds;
    s->decode_s = now.decode_seconds - was->decode_seconds;
    s->drawn = a->n_drawn;
    s->cached = a->cached;
    s->used = s->convo.ids.n + a->ids.n;
}

/* An answer to the conversation as it stands, into s->answer. */
static int make_answer(struct talk *s, struct speak *a, bool open, struct err *e)
{
    const char *stop_text = chat_stop(s->convo.chat);
    struct rill_stop stops[] = {{stop_text, stop_text ? strlen(stop_text) : 0}};
    struct rill_request q = {.ids = s->convo.ids.id,
                             .n_ids = s->convo.ids.n,
                             .made = (const unsigned char *)s->convo.made.p,
                             .max_tokens = s->opt->n,
                             .sampling = s->sampling,
                             .stop = stops,
                             .n_stop = stop_text != NULL};
    const struct reasoning *r = s->convo.reasoning;
    struct rill_stats was;
    int rc;

    a->parse.in_reasoning = open;
    q.constraint = open || (r && r->channels) ? s->behind : s->at_once;
    rill_engine_stats(s->engine, &was);
    s->reasoned = false;
    wrap_begin(&s->out, stdout, tool_colour());
    progress_begin(&s->reading, "reading", q.n_ids, false);
    rc = speak(a, &q, e);
    progress_end(&s->reading);
    if (talk_interrupted())
        clearerr(stdout); // it may have come in the middle of a write
    wrap_end(&s->out);
    measure(s, &was, a);
    if (s->terminal)
        wrap_line(&s->out);
    return rc;
}

/* One answer, which becomes a message; *calls are those it makes. *none: it was stopped before it
 * began. */
static int one_answer(struct talk *s, json_t **calls, bool *none, struct err *e)
{
    struct speak a = {.model = s->model,
                      .engine = s->engine,
                      .parse = {.format = s->convo.tools ? s->convo.format : NULL,
                                .reasoning = s->convo.reasoning,
                                .tools = s->convo.tools,
                                .seed = s->sampling.seed + (uint64_t)s->convo.calls},
                      .budget = s->opt->budget,
                      .call_max = s->opt->call_tokens,
                      .then = s->at_once,
                      .stop = stopped,
                      .hear = hear,
                      .reads = reads,
                      .ctx = s};
    bool open;
    int rc = convo_prompt(&s->convo, &open, e);

    *calls = NULL;
    if (rc == 0) {
        s->kept = convo_kept(&s->convo);
        rc = make_answer(s, &a, open, e);
    }
    *none = rc == 0 && a.finish == RILL_CANCELLED && a.ids.n == 0;
    if (rc == 0 && !*none) {
        if (a.finish == RILL_CANCELLED) { // nobody answers what it began to call
            json_decref(s->answer.calls);
            s->answer.calls = NULL;
        }
        *calls = json_incref(s->answer.calls);
        rc = convo_answered(&s->convo, &s->answer, a.ids.id, a.ids.n, e);
    }
    if (rc == 0)
        say_finish(s, &a);
    convo_answer_fini(&s->answer);
    speak_fini(&a);
    return rc;
}

/* -- tools -- */

void talk_show(struct talk *s, const char *before, struct slice text)
{
    if (!s->terminal)
        return;
    wrap_put(&s->out, slice_of(before), true);
    wrap_put(&s->out, (struct slice){text.p, utf8_whole(text.p, text.n)}, true);
    wrap_end(&s->out);
    wrap_line(&s->out);
}

static bool always_allowed(const struct talk *s, const char *name)
{
    return json_object_get(s->always, name) != NULL;
}

bool talk_allow(void *ctx, const char *name, const char *arguments)
{
    struct talk *s = ctx;
    struct buf call = {0};
    char question[200];
    struct err e = {0};
    struct slice said;

    buf_printf(&call, "%s %s", name, arguments);
    talk_show(s, "", buf_view(&call));
    buf_fini(&call);
    if (s->opt->yes || always_allowed(s, name))
        return true;
    if (!s->terminal)
        return false;
    snprintf(question, sizeof question, "run %.100s? [y]es, [n]o, [a]lways: ", name);
    if (lineedit_ask(s->in, question, &said, &e) != LINE_TEXT || !said.n)
        return false;
    if (said.p[0] == 'a' || said.p[0] == 'A')
        json_object_set_new(s->always, name, json_true());
    return strchr("yYaA", said.p[0]) != NULL;
}

static int run_call(struct talk *s, const json_t *call, struct err *e)
{
    json_t *m;
    struct slice text;
    int rc = calls_answer(&s->calls, call, &m, e);

    if (rc < 0)
        return rc;
    text = slice_of(json_string_value(json_object_get(m, "content")));
    talk_show(s, "= ", (struct slice){text.p, text.n < RESULT_SHOWN ? text.n : RESULT_SHOWN});
    tool_detail(1, "%s: %.*s", json_string_value(json_object_get(m, "name")),
                (int)(text.n < RESULT_SHOWN ? text.n : RESULT_SHOWN), text.p);
    return convo_add(&s->convo, m, e);
}

/* -- turns -- */

void talk_measure(struct talk *s)
{
    struct err ignore = {0};

    s->used = convo_measure(&s->convo, &ignore) < 0 ? 0 : s->convo.ids.n;
}

int talk_respond(struct talk *s, size_t n, struct err *e)
{
    bool none = false;
    int rc = 0;

    for (int round = 0; rc == 0; round++) {
        json_t *calls;
        const json_t *call;
        size_t i, n_calls;

        rc = one_answer(s, &calls, &none, e);
        json_array_foreach(calls, i, call) if (rc == 0) rc = run_call(s, call, e);
        n_calls = json_array_size(calls);
        json_decref(calls);
        if (n_calls == 0 || talk_interrupted() || rc < 0)
            break;
        if (round + 1 == ROUNDS) {
            tool_warn("%d rounds of tool calls: the answer ends here", ROUNDS);
            break;
        }
    }
    if (none && s->terminal)
        tool_note("stopped; the entry is taken back");
    if (rc < 0 || none) {
        convo_cut(&s->convo, n);
        talk_measure(s);
    }
    if (!s->terminal && rc == 0) {
        putchar(s->opt->nul ? '\0' : '\n');
        fflush(stdout);
    }
    return rc < 0 ? rc : session_save(&s->session, &s->convo, s->info.path, e);
}

int talk_ask(struct talk *s, struct slice text, struct err *e)
{
    const size_t n = convo_count(&s->convo);
    struct buf b = s->attached;
    int rc;

    s->attached = (struct buf){0};
    buf_slice(&b, text);
    rc = convo_add(&s->convo, json_pack("{ssso}", "role", "user", "content", convo_text(&b)), e);
    buf_fini(&b);
    return rc < 0 ? rc : talk_respond(s, n, e);
}
