/* chat.c - rill-chat: a conversation with a model, on a terminal or through a pipe. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "rill.h"
#include "tools/lib/calls.h"
#include "tools/lib/convo.h"
#include "tools/lib/lineedit.h"
#include "tools/lib/obey.h"
#include "tools/lib/sampling.h"
#include "tools/lib/session.h"
#include "tools/lib/speak.h"
#include "tools/lib/tool.h"
#include "tools/lib/wrap.h"

enum { ROUNDS = 16, RESULT_SHOWN = 300, NEARLY_FULL = 90 /* percent */ };

/* A prompt is cut so that Ctrl-C is heard in the middle of it. */
static const double step_seconds = 0.2;

static const char *opt_model, *opt_device, *opt_system, *opt_template, *opt_tools, *opt_resume,
    *opt_format;
static int opt_n, opt_ctx, opt_threads, opt_policy = -1, opt_budget;
static bool opt_nul, opt_yes, opt_no_mmap, opt_no_kv;
static struct opt_list execs, sets;
static struct sampling_options sampling;
static struct obey_options obeyed;

static const char *const policies[] = {"keep", "hide", "strip", NULL};
static const char *const kv_types[] = {"f16", "f32", NULL};
static int kv_type = -1;

static const struct tool_option opts[] = {
    {'m', "model", OPT_STR, &opt_model, "MODEL", "the model, a GGUF file"},
    {'s', "system", OPT_STR, &opt_system, "TEXT", "what the model is told before anything else"},
    {'n', "max-tokens", OPT_INT, &opt_n, "N",
     "end an answer after N tokens (0: when the model ends)", .min = 0, .max = 1e9},
    {'0', "null", OPT_FLAG, &opt_nul, 0,
     "in a pipe, entries are pieces ended by NUL, not lines; answers end so too"},
    {0, "resume", OPT_STR, &opt_resume, "NAME",
     "go on with a saved session, or begin it; without NAME the one saved last"},
    {0, "no-kv", OPT_FLAG, &opt_no_kv, 0, "neither read nor write a session's keys and values"},
    {0, "template", OPT_STR, &opt_template, "FILE", "a chat template instead of the model's"},
    {0, "set", OPT_LIST, &sets, "NAME=VALUE", "a variable of the chat template; may be repeated"},
    {0, "think", OPT_CHOICE, &opt_policy, "POLICY", "reasoning: shown and kept, hidden, or dropped",
     .choices = policies},
    {0, "think-budget", OPT_INT, &opt_budget, "N", "end the reasoning after N tokens (0: never)",
     .min = 0, .max = 1e9},
    {0, "tools", OPT_STR, &opt_tools, "FILE", "tools the model may call, a JSON list",
     .group = "Tools"},
    {0, "tool-format", OPT_STR, &opt_format, "NAME",
     "how calls are written (generic: for templates without tools)"},
    {0, "exec", OPT_LIST, &execs, "NAME=COMMAND",
     "what runs when tool NAME is called; may be repeated"},
    {0, "yes", OPT_FLAG, &opt_yes, 0, "run tools without asking"},
    OBEY_OPTIONS(obeyed),
    SAMPLING_OPTIONS(sampling),
    {'c', "ctx", OPT_INT, &opt_ctx, "N", "positions of context (0: the model's own)", .min = 0,
     .max = 1e9, .group = "Running"},
    {'t', "threads", OPT_INT, &opt_threads, "N", "threads (0: one per processor)", .min = 0,
     .max = 1024},
    {0, "device", OPT_STR, &opt_device, "DEV", "cpu, cpu:THREADS or auto"},
    {0, "kv-type", OPT_CHOICE, &kv_type, "TYPE", "type of stored keys and values",
     .choices = kv_types},
    {0, "no-mmap", OPT_FLAG, &opt_no_mmap, 0, "read the model instead of mapping it"},
    {0}};

static struct tool tool = {"rill-chat", "[-m MODEL] [-s TEXT] [option]...",
                           "talks with a language model", opts};

static volatile sig_atomic_t interrupt_seen; // of a terminal: stops the turn, not the tool

struct chat_tool {
    struct rill_model *model;
    struct rill_engine *engine;
    struct rill_model_info info;
    struct rill_sampling sampling;
    struct rill_constraint *at_once, *behind; // what answers must be: from the start, or behind
                                              // their reasoning
    struct convo convo;
    struct calls calls;
    struct session session;
    struct lineedit *in;
    struct wrap out;
    struct progress reading;
    struct convo_answer answer; // that is being made
    struct buf attached;        // files that go with the next entry
    json_t *always;             // names of tools that are not asked about again
    bool terminal;
    bool reasoned; // reasoning was shown, no answer yet
    bool quit;
    char *history;
    size_t used; // positions of the last prompt and its answer
    int cached;  // of the last prompt, in memory
    size_t kept; // of the last prompt, drawn before
    size_t drawn;
    double prompt_s, decode_s;
};

static void on_interrupt(int sig)
{
    (void)sig;
    interrupt_seen = 1;
}

static bool interrupted(void)
{
    return interrupt_seen || tool_interrupted();
}

/* -- answers -- */

static void show(struct chat_tool *s, const struct toolcall_event *ev)
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
    struct chat_tool *s = ctx;
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
    struct chat_tool *s = ctx;

    if (n_done)
        progress_at(&s->reading, n_done);
    else
        progress_end(&s->reading);
}

static bool stopped(void)
{
    return interrupted() || ferror(stdout);
}

static void say_finish(const struct chat_tool *s, int finish)
{
    size_t ctx = (size_t)rill_engine_ctx(s->engine);

    if (finish == RILL_CONTEXT)
        tool_warn("the context of %zu positions is full (/undo, or -c for a longer one)", ctx);
    else if (finish == RILL_LENGTH)
        tool_note("the answer was ended after %d tokens (-n)", opt_n);
    else if (finish == RILL_CANCELLED)
        tool_note("stopped");
    else if (s->used * 100 > ctx * NEARLY_FULL)
        tool_note("%zu of %zu positions of context are left", ctx - s->used, ctx);
}

static void measure(struct chat_tool *s, const struct rill_stats *was, const struct speak *a)
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
static int make_answer(struct chat_tool *s, struct speak *a, bool open, struct err *e)
{
    const char *stop_text = chat_stop(s->convo.chat);
    struct rill_stop stops[] = {{stop_text, stop_text ? strlen(stop_text) : 0}};
    struct rill_request q = {.ids = s->convo.ids.id,
                             .n_ids = s->convo.ids.n,
                             .made = (const unsigned char *)s->convo.made.p,
                             .max_tokens = opt_n,
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
    if (interrupted())
        clearerr(stdout); // it may have come in the middle of a write
    wrap_end(&s->out);
    measure(s, &was, a);
    if (s->terminal)
        wrap_line(&s->out);
    return rc;
}

/* One answer, which becomes a message; *calls are those it makes. *none: it was stopped before it
 * began. */
static int one_answer(struct chat_tool *s, json_t **calls, bool *none, struct err *e)
{
    struct speak a = {.model = s->model,
                      .engine = s->engine,
                      .parse = {.format = s->convo.tools ? s->convo.format : NULL,
                                .reasoning = s->convo.reasoning,
                                .tools = s->convo.tools,
                                .seed = s->sampling.seed + (uint64_t)s->convo.calls},
                      .budget = opt_budget,
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
        say_finish(s, a.finish);
    convo_answer_fini(&s->answer);
    speak_fini(&a);
    return rc;
}

/* -- tools -- */

static void show_dim(struct chat_tool *s, const char *before, struct slice text)
{
    if (!s->terminal)
        return;
    wrap_put(&s->out, slice_of(before), true);
    wrap_put(&s->out, (struct slice){text.p, utf8_whole(text.p, text.n)}, true);
    wrap_end(&s->out);
    wrap_line(&s->out);
}

static bool always_allowed(const struct chat_tool *s, const char *name)
{
    return json_object_get(s->always, name) != NULL;
}

static bool allow(void *ctx, const char *name, const char *arguments)
{
    struct chat_tool *s = ctx;
    struct buf call = {0};
    char question[200];
    struct err e = {0};
    struct slice said;

    buf_printf(&call, "%s %s", name, arguments);
    show_dim(s, "", buf_view(&call));
    buf_fini(&call);
    if (opt_yes || always_allowed(s, name))
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

static int run_call(struct chat_tool *s, const json_t *call, struct err *e)
{
    json_t *m;
    struct slice text;
    int rc = calls_answer(&s->calls, call, &m, e);

    if (rc < 0)
        return rc;
    text = slice_of(json_string_value(json_object_get(m, "content")));
    show_dim(s, "= ", (struct slice){text.p, text.n < RESULT_SHOWN ? text.n : RESULT_SHOWN});
    tool_detail(1, "%s: %.*s", json_string_value(json_object_get(m, "name")),
                (int)(text.n < RESULT_SHOWN ? text.n : RESULT_SHOWN), text.p);
    return convo_add(&s->convo, m, e);
}

/* -- turns -- */

/* Positions that the conversation takes, after a change. A template may refuse what is no whole
 * conversation: then the next prompt tells. */
static void measure_used(struct chat_tool *s)
{
    struct err ignore = {0};

    s->used = convo_measure(&s->convo, &ignore) < 0 ? 0 : s->convo.ids.n;
}

/* Answers until the model calls no more tools. What cannot be answered, or is stopped before it
 * is, is taken back: the conversation then has its first n messages. */
static int respond(struct chat_tool *s, size_t n, struct err *e)
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
        if (n_calls == 0 || interrupted() || rc < 0)
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
        measure_used(s);
    }
    if (!s->terminal && rc == 0) {
        putchar(opt_nul ? '\0' : '\n');
        fflush(stdout);
    }
    return rc < 0 ? rc : session_save(&s->session, &s->convo, s->info.path, e);
}

/* text with the attached files in front becomes the user's message. */
static int ask(struct chat_tool *s, struct slice text, struct err *e)
{
    const size_t n = convo_count(&s->convo);
    struct buf b = s->attached;
    int rc;

    s->attached = (struct buf){0};
    buf_slice(&b, text);
    rc = convo_add(&s->convo, json_pack("{ssso}", "role", "user", "content", convo_text(&b)), e);
    buf_fini(&b);
    return rc < 0 ? rc : respond(s, n, e);
}

/* -- sessions -- */

/* How many messages there are up to the last entry, with it; 0: there is none. */
static size_t last_entry(const struct chat_tool *s)
{
    size_t n = convo_count(&s->convo);

    while (n > 0 && strcmp(convo_role(&s->convo, n - 1), "user") != 0)
        n--;
    return n;
}

/* The last entry and its answer, so that one sees where one was. */
static void show_last(struct chat_tool *s)
{
    size_t from = last_entry(s);

    if (!s->terminal || from == 0)
        return;
    wrap_begin(&s->out, stdout, tool_colour());
    for (size_t i = from - 1; i < convo_count(&s->convo); i++) {
        const json_t *m = json_array_get(s->convo.messages, i);
        const char *text = json_string_value(json_object_get(m, "content"));

        if (text && *text && strcmp(convo_role(&s->convo, i), "tool") != 0)
            show_dim(s, i == from - 1 ? "> " : "", slice_of(text));
    }
}

/* The session so far is left as it is: its keys and values, too. */
static int leave(struct chat_tool *s, struct err *e)
{
    int rc = session_kv_save(&s->session, &s->convo, s->engine, NULL, e);

    return rc < 0 ? err_prefix(e, "keys and values") : 0;
}

static int load(struct chat_tool *s, struct err *e)
{
    size_t rows;
    int rc = session_load(&s->session, &s->convo, s->engine, s->info.path, &rows, e);

    if (rc < 0)
        return rc;
    measure_used(s);
    if (rows)
        tool_note("%zu messages, the first %zu of %zu tokens ready", convo_count(&s->convo), rows,
                  s->used);
    else
        tool_note("%zu messages of %zu tokens", convo_count(&s->convo), s->used);
    show_last(s);
    return 0;
}

/* -- commands -- */

/* What a command was asked for goes where answers go. */
static void tell(const char *fmt, ...) ERR_PRINTF(1, 2);
static void tell(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    fflush(stdout);
}

struct command {
    const char *name;
    const char *arg;
    const char *help;
    int (*run)(struct chat_tool *s, const char *arg, struct err *e);
};

static int cmd_system(struct chat_tool *s, const char *arg, struct err *e)
{
    int rc = convo_system(&s->convo, slice_of(arg), e);

    measure_used(s);
    return rc;
}

/* The file's text goes in front of the next entry, under the file's name. */
static int cmd_file(struct chat_tool *s, const char *arg, struct err *e)
{
    struct file_view v;
    struct buf path = {0};
    size_t lines = 0, n = strlen(arg);
    int rc;

    while (n > 0 && arg[n - 1] == ' ') // completion puts one
        n--;
    if (n == 0)
        return err_set(e, E_USAGE, "/file FILE");
    buf_add(&path, arg, n);
    rc = path.bad ? err_nomem(e, n) : file_read(&v, path.p, 16 << 20, e);
    if (rc == 0) {
        for (size_t i = 0; i < v.n; i++)
            lines += v.p[i] == '\n';
        buf_printf(&s->attached, "%s:\n", path.p);
        buf_add(&s->attached, v.p, v.n);
        if (v.n && v.p[v.n - 1] != '\n')
            buf_byte(&s->attached, '\n');
        buf_byte(&s->attached, '\n');
        file_unmap(&v);
        tool_note("%s: %zu lines, which go with the next entry", path.p, lines);
    }
    buf_fini(&path);
    return rc < 0 ? rc : s->attached.bad ? err_nomem(e, s->attached.n) : 0;
}

static int cmd_think(struct chat_tool *s, const char *arg, struct err *e)
{
    int rc = 0;

    if (strcmp(arg, "on") == 0 || strcmp(arg, "off") == 0)
        json_object_set_new(s->convo.set, "enable_thinking", json_boolean(arg[1] == 'n'));
    else if (*arg)
        rc = reasoning_policy_parse(&s->convo.policy, arg, e);
    if (rc == 0)
        tell("reasoning: %s, enable_thinking %s; on, off, keep, hide or strip",
             policies[s->convo.policy],
             json_is_false(json_object_get(s->convo.set, "enable_thinking")) ? "false" : "true");
    return rc;
}

static int set_variable(struct chat_tool *s, const char *arg, char mark, struct err *e)
{
    const char *at = strchr(arg, mark);
    char name[64];
    json_t *v;

    if (!at || at == arg || (size_t)(at - arg) >= sizeof name)
        return err_set(e, E_USAGE, "'%.60s': not NAME%cVALUE", arg, mark);
    snprintf(name, sizeof name, "%.*s", (int)(at - arg), arg);
    v = json_loads(at + 1, JSON_DECODE_ANY, NULL);
    v = v ? v : json_string(at + 1);
    return json_object_set_new(s->convo.set, name, v) == 0
               ? 0
               : err_set(e, E_FORMAT, "%s: the value is no UTF-8", name);
}

static int cmd_set(struct chat_tool *s, const char *arg, struct err *e)
{
    char *all;

    if (*arg)
        return set_variable(s, arg, ' ', e);
    all = json_dumps(s->convo.set, 0);
    tell("%s", all ? all : "{}");
    free(all);
    return 0;
}

static int cmd_retry(struct chat_tool *s, const char *arg, struct err *e)
{
    size_t n = last_entry(s);

    (void)arg;
    if (n == 0)
        return err_set(e, E_USAGE, "there is nothing to answer yet");
    convo_cut(&s->convo, n);
    s->sampling.seed++; // another answer
    return respond(s, n - 1, e);
}

static int cmd_undo(struct chat_tool *s, const char *arg, struct err *e)
{
    size_t n = last_entry(s);

    (void)arg;
    if (n == 0)
        return err_set(e, E_USAGE, "there is nothing to take back");
    convo_cut(&s->convo, n - 1);
    tool_note("%zu messages", convo_count(&s->convo));
    measure_used(s);
    return session_save(&s->session, &s->convo, s->info.path, e);
}

/* Under another name, if there is one: what was saved before stays as it is. */
static int cmd_save(struct chat_tool *s, const char *arg, struct err *e)
{
    int rc = *arg ? leave(s, e) : 0;

    if (!*arg && !s->session.path)
        return err_set(e, E_USAGE, "/save NAME: the session has no name yet");
    if (rc == 0 && *arg)
        rc = session_name(&s->session, arg, e);
    if (rc == 0)
        rc = session_save(&s->session, &s->convo, s->info.path, e);
    if (rc == 0)
        rc = leave(s, e);
    if (rc == 0)
        tool_note("saved: %s", s->session.path);
    return rc;
}

static int cmd_fork(struct chat_tool *s, const char *arg, struct err *e)
{
    return *arg ? cmd_save(s, arg, e) : err_set(e, E_USAGE, "/fork NAME");
}

static int cmd_load(struct chat_tool *s, const char *arg, struct err *e)
{
    struct session was = s->session, next = {.no_kv = opt_no_kv};
    int rc = *arg ? leave(s, e) : err_set(e, E_USAGE, "/load NAME");

    if (rc == 0)
        rc = session_name(&next, arg, e);
    if (rc < 0)
        return rc;
    s->session = next;
    if ((rc = load(s, e)) < 0) { // it stays as it was
        session_fini(&s->session);
        s->session = was;
        return rc;
    }
    session_fini(&was);
    return 0;
}

static int show_kv(const struct chat_tool *s, struct err *e)
{
    const struct session *ses = &s->session;
    struct rill_kv kv;
    char in_memory[16], in_file[16];

    tell("%zu tokens, %s of keys and values in memory", s->convo.ids.n,
         tool_bytes(s->info.kv_bytes_per_pos * s->convo.ids.n, in_memory));
    if (!ses->path || ses->no_kv)
        tell(ses->no_kv ? "none are written" : "the session has no name, so no file");
    else if (access(ses->kv, F_OK) < 0)
        tell("%s is written at the end", ses->kv);
    else if (rill_kv_open(&kv, ses->kv, e) < 0)
        return e->code;
    else {
        tell("%s: %d positions, %s%s", ses->kv, kv.n_pos, tool_bytes(kv.bytes, in_file),
             ses->stale ? "; written again at the end" : "");
        rill_kv_fini(&kv);
    }
    return 0;
}

static int cmd_kv(struct chat_tool *s, const char *arg, struct err *e)
{
    const size_t n = strcspn(arg, " ");
    const char *path = arg[n] ? arg + n + strspn(arg + n, " ") : NULL;
    size_t rows;
    int rc;

    path = path && *path ? path : NULL;
    if (n == 0)
        return show_kv(s, e);
    if (n != 4 || (strncmp(arg, "save", n) && strncmp(arg, "load", n) && strncmp(arg, "drop", n)))
        return err_set(e, E_USAGE, "/kv %.60s: save, load or drop", arg);
    if (!path && !s->session.path)
        return err_set(e, E_USAGE, "the session has no name: /save NAME, or /kv %.4s FILE", arg);
    if (*arg == 'd') {
        if ((rc = session_kv_drop(&s->session, e)) == 0)
            tool_note("%s is gone, and none is written", s->session.kv);
        return rc;
    }
    if (*arg == 'l') {
        if ((rc = session_kv_load(&s->session, s->engine, path, &rows, e)) == 0)
            tool_note("keys and values of %zu tokens", rows);
        return rc;
    }
    s->session.no_kv = s->session.no_kv && path;
    s->session.stale = s->session.stale || !path;
    if ((rc = session_kv_save(&s->session, &s->convo, s->engine, path, e)) == 0)
        tool_note("saved: %s", path ? path : s->session.kv);
    return rc;
}

static int cmd_stats(struct chat_tool *s, const char *arg, struct err *e)
{
    (void)arg;
    (void)e;
    tell("context %zu of %d positions; of the last prompt %zu tokens were drawn before, %d were "
         "in memory",
         s->used, rill_engine_ctx(s->engine), s->kept, s->cached);
    tell("prompt %.3f s; answer %zu tokens, %.1f tok/s; seed %llu", s->prompt_s, s->drawn,
         s->decode_s > 0 ? (double)(s->drawn > 0 ? s->drawn - 1 : 0) / s->decode_s : 0,
         (unsigned long long)s->sampling.seed);
    return 0;
}

static int cmd_tokens(struct chat_tool *s, const char *arg, struct err *e)
{
    int32_t *ids;
    size_t n, len;
    int rc = rill_tokenize(s->model, arg, strlen(arg), RILL_AFTER, &ids, &n, e);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n; i++) {
        const char *p = rill_piece(s->model, ids[i], true, &len);
        struct buf b = {0};

        buf_json(&b, (struct slice){p, len});
        printf("%d %s\n", (int)ids[i], b.p ? b.p : "");
        buf_fini(&b);
    }
    rill_free(ids);
    return 0;
}

static int cmd_quit(struct chat_tool *s, const char *arg, struct err *e)
{
    (void)arg;
    (void)e;
    s->quit = true;
    return 0;
}

static int cmd_help(struct chat_tool *s, const char *arg, struct err *e);

static const struct command commands[] = {
    {"/help", "", "this list", cmd_help},
    {"/system", "[TEXT]", "the system message; without TEXT there is none", cmd_system},
    {"/file", "FILE", "a file's text goes with the next entry", cmd_file},
    {"/think", "[on|off|keep|hide|strip]", "reasoning: asked for or not, shown or not", cmd_think},
    {"/set", "[NAME VALUE]", "a variable of the chat template", cmd_set},
    {"/retry", "", "another answer to the last entry", cmd_retry},
    {"/undo", "", "takes the last entry and its answer back", cmd_undo},
    {"/fork", "NAME", "goes on as another session", cmd_fork},
    {"/save", "[NAME]", "saves the session, and from now on each turn", cmd_save},
    {"/load", "NAME", "goes on with a saved session", cmd_load},
    {"/kv", "[save|load|drop [FILE]]", "keys and values: what there is, and files", cmd_kv},
    {"/stats", "", "context used, speed", cmd_stats},
    {"/tokens", "TEXT", "the tokens of a text", cmd_tokens},
    {"/quit", "", "ends; so does the end of input", cmd_quit},
};
enum { N_COMMAND = sizeof commands / sizeof *commands };

static int cmd_help(struct chat_tool *s, const char *arg, struct err *e)
{
    (void)s;
    (void)arg;
    (void)e;
    for (int i = 0; i < N_COMMAND; i++)
        printf("%-8s%-25s%s\n", commands[i].name, commands[i].arg, commands[i].help);
    puts("A backslash at the end of a line goes on in the next; Ctrl-C stops an answer.");
    fflush(stdout);
    return 0;
}

/* A command when it is one; false: an entry for the model. */
static bool command(struct chat_tool *s, struct slice entry, int *rc, struct err *e)
{
    const char *names[N_COMMAND];
    const char *word, *arg;
    size_t n;
    int near;

    if (entry.n == 0 || entry.p[0] != '/')
        return false;
    word = entry.p; // ends with NUL
    n = strcspn(word, " \n");
    arg = word + n + strspn(word + n, " ");
    for (int i = 0; i < N_COMMAND; i++) {
        names[i] = commands[i].name;
        if (strlen(names[i]) == n && strncmp(names[i], word, n) == 0) {
            *rc = commands[i].run(s, arg, e);
            return true;
        }
    }
    if (!s->terminal || memchr(word + 1, '/', n - 1))
        return false; // a path, or data in a pipe
    near = opt_nearest_of(names, N_COMMAND, word);
    *rc = err_set(e, E_USAGE, "no command '%.*s'%s%s; /help lists them", (int)n, word,
                  near >= 0 ? "; did you mean " : "", near >= 0 ? names[near] : "");
    return true;
}

/* -- setting up -- */

static int open_template(struct chat_tool *s, struct err *e)
{
    struct file_view v = {0};
    struct slice source = slice_of(s->info.chat_template ? s->info.chat_template : "");
    int rc = opt_template ? file_read(&v, opt_template, 4 << 20, e) : 0;

    if (rc < 0)
        return rc;
    if (opt_template)
        source = (struct slice){(const char *)v.p, v.n};
    rc = convo_open(&s->convo, opt_template ? opt_template : s->info.path, source,
                    rill_vocab(s->model), e);
    if (opt_template)
        file_unmap(&v);
    if (rc == 0 && chat_is_default(s->convo.chat))
        tool_note("%s has no chat template: a default is used", s->info.path);
    return rc;
}

static int open_tools(struct chat_tool *s, struct err *e)
{
    struct chat *chat = s->convo.chat;
    int rc;

    if (!opt_tools && (execs.n || opt_format))
        return err_set(e, E_USAGE, "--exec and --tool-format need --tools");
    if (!opt_tools)
        return 0;
    s->calls.allow = allow;
    s->calls.stop = interrupted;
    s->calls.ctx = s;
    if ((rc = calls_open(&s->calls, opt_tools, &execs, e)) < 0)
        return rc;
    s->convo.tools = json_incref(s->calls.tools);
    if (opt_format && !(s->convo.format = toolcall_find(opt_format, e)))
        return e->code;
    if (!chat_knows_tools(chat) && (!opt_format || strcmp(opt_format, "generic") != 0))
        return err_set(e, E_UNSUPPORTED,
                       "%s: the chat template knows no tools (--tool-format generic asks for calls "
                       "in the system message)",
                       opt_template ? opt_template : s->info.path);
    if (!chat_knows_tools(chat))
        chat_prompt_tools(chat);
    else if (!s->convo.format)
        return err_set(e, E_UNSUPPORTED,
                       "%s: how the model writes tool calls is not known (--tool-format says it)",
                       opt_template ? opt_template : s->info.path);
    return 0;
}

static int open_constraints(struct chat_tool *s, struct err *e)
{
    struct rill_stop mark[2];
    struct rill_constraint_opts o = speak_after(s->convo.reasoning, true, mark);
    int rc;

    o.model = s->model;
    if (obey_kinds(&obeyed) > 1)
        return err_set(e, E_USAGE, "--schema, --grammar, --regex and --choice exclude each other");
    rc = obey_open(&s->at_once, &obeyed, NULL, e);
    return rc == 0 && s->at_once && o.n_after ? obey_open(&s->behind, &obeyed, &o, e) : rc;
}

static int open_model(struct chat_tool *s, struct err *e)
{
    const char *path = tool_model(opt_model, e);
    struct rill_model_opts mo = {.device = opt_device,
                                 .threads = opt_threads,
                                 .n_ctx = opt_ctx,
                                 .kv_type = kv_type < 0 ? NULL : kv_types[kv_type],
                                 .no_mmap = opt_no_mmap};
    struct rill_engine_opts eo = {.max_seq = 1, .step_seconds = step_seconds};
    int rc = path ? rill_model_open(&s->model, path, &mo, e) : e->code;

    if (rc < 0)
        return rc;
    rill_model_info(s->model, &s->info);
    s->sampling = rill_sampling_of(s->model);
    sampling_apply(&sampling, &s->sampling);
    if (!sampling.has_seed && isatty(STDIN_FILENO))
        s->sampling.seed = rng_bits((uint64_t)time(NULL), (uint32_t)getpid(), 0, 0) >> 16;
    rc = rill_engine_open(&s->engine, s->model, &eo, e);
    if (rc == 0 && rill_engine_ctx(s->engine) < s->info.n_ctx)
        tool_note("the context is %d positions instead of %d: more does not fit into free memory",
                  rill_engine_ctx(s->engine), s->info.n_ctx);
    return rc;
}

static int open_session(struct chat_tool *s, struct err *e)
{
    char *last = opt_resume && !*opt_resume ? session_last(e) : NULL;
    int rc = 0;

    if (opt_policy >= 0)
        s->convo.policy = (enum reasoning_policy)opt_policy;
    s->session.no_kv = opt_no_kv;
    s->always = json_object();
    if (opt_resume && !*opt_resume && !last)
        return e->code;
    if (opt_resume)
        rc = session_name(&s->session, last ? last : opt_resume, e);
    mem_free(last);
    if (rc == 0 && opt_resume && access(s->session.path, F_OK) == 0)
        rc = load(s, e);
    for (size_t i = 0; i < sets.n && rc == 0; i++)
        rc = set_variable(s, sets.at[i].value, '=', e);
    return rc == 0 && opt_system ? convo_system(&s->convo, slice_of(opt_system), e) : rc;
}

/* -- what is typed -- */

struct offered {
    struct lineedit_words *words;
    size_t from;
};

static void offer_session(void *ctx, const char *name)
{
    const struct offered *o = ctx;

    lineedit_offer(o->words, o->from, name, false);
}

/* Commands, their words, files and sessions. */
static void offer(void *ctx, const char *line, struct lineedit_words *w)
{
    static const char *const words[] = {"/think on",    "/think off", "/think keep", "/think hide",
                                        "/think strip", "/kv save",   "/kv load",    "/kv drop"};
    const size_t n = strlen(line), k = strcspn(line, " ");
    struct offered o = {w, k + strspn(line + k, " ")};

    (void)ctx;
    if (*line != '/')
        return;
    for (int i = 0; i < N_COMMAND && k == n; i++)
        if (strncmp(commands[i].name, line, n) == 0)
            lineedit_offer(w, 0, commands[i].name, !*commands[i].arg);
    if (k == n)
        return;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strncmp(words[i], line, n) == 0)
            lineedit_offer(w, 0, words[i], false);
    if (strncmp(line, "/file ", 6) == 0)
        lineedit_offer_files(w, line, o.from);
    if (strncmp(line, "/load ", 6) == 0 || strncmp(line, "/save ", 6) == 0) {
        if (strchr(line + o.from, '/'))
            lineedit_offer_files(w, line, o.from);
        else
            session_each(line + o.from, offer_session, &o);
    }
    if (strncmp(line, "/kv save ", 9) == 0 || strncmp(line, "/kv load ", 9) == 0)
        lineedit_offer_files(w, line, 9);
}

static int open_input(struct chat_tool *s, struct err *e)
{
    struct lineedit_opts lo = {
        .name = "rill-chat", .nul = opt_nul, .interrupted = &interrupt_seen, .complete = offer};
    struct sigaction sa = {.sa_handler = on_interrupt};
    struct err ignore = {0};
    int rc;

    s->history = isatty(STDIN_FILENO) ? session_state_path("", "chat_history", "", &ignore) : NULL;
    lo.history = s->history;
    if ((rc = lineedit_open(&s->in, &lo, e)) < 0)
        return rc;
    s->terminal = lineedit_on_terminal(s->in);
    sigemptyset(&sa.sa_mask);
    if (s->terminal)
        sigaction(SIGINT, &sa, NULL);
    return 0;
}

/* -- the conversation -- */

static int entry(struct chat_tool *s, struct slice text, struct err *e)
{
    struct buf b = {0};
    int rc;

    buf_slice(&b, text); // ends with NUL
    if (b.bad)
        rc = err_nomem(e, text.n);
    else if (!command(s, buf_view(&b), &rc, e))
        rc = ask(s, buf_view(&b), e);
    buf_fini(&b);
    if (rc == E_CONTEXT)
        err_prefix(e, "too long (/undo, or -c for more)");
    return rc;
}

static int talk(struct chat_tool *s, struct err *e)
{
    char prompt[64];
    struct slice text;
    int rc;

    while (!s->quit && !tool_interrupted()) {
        snprintf(prompt, sizeof prompt, "%zu/%d%s> ", s->used, rill_engine_ctx(s->engine),
                 s->attached.n ? " +file" : "");
        rc = lineedit_read(s->in, prompt, &text, e);
        if (rc < 0 || rc == LINE_END)
            return rc;
        if (rc == LINE_INTERRUPTED || (text.n == 0 && s->terminal && !s->attached.n))
            continue;
        rc = entry(s, text, e);
        if (rc < 0 && (!s->terminal || rc == E_NOMEM || rc == E_DEVICE))
            return rc;
        if (rc < 0) {
            tool_fail(e);
            *e = (struct err){0};
        }
        if (ferror(stdout))
            break;
    }
    return 0;
}

static int run(struct chat_tool *s, struct err *e)
{
    int rc = open_model(s, e);

    rc = rc < 0 ? rc : open_template(s, e);
    rc = rc < 0 ? rc : open_tools(s, e);
    rc = rc < 0 ? rc : open_constraints(s, e);
    rc = rc < 0 ? rc : open_input(s, e);
    rc = rc < 0 ? rc : open_session(s, e);
    if (rc < 0)
        return rc;
    if (s->terminal)
        tool_note("%s; /help lists commands, Ctrl-D ends",
                  s->info.name[0] ? s->info.name : s->info.path);
    rc = talk(s, e);
    if (rc == 0 || rc == E_CONTEXT) {
        struct err lost = {0};

        if (leave(s, &lost) < 0)
            tool_warn("%s", lost.text);
    }
    return rc;
}

/* --resume may stand without a name: the session saved last. */
static void name_may_lack(int argc, char **argv)
{
    static char without[] = "--resume=";

    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--resume") == 0 && (i + 1 == argc || argv[i + 1][0] == '-'))
            argv[i] = without;
}

int main(int argc, char **argv)
{
    static struct chat_tool s;
    struct err e = {0};
    int rc;

    name_may_lack(argc, argv);
    if (tool_begin(&tool, argc, argv) < argc)
        tool_usage("unexpected operand");
    rc = run(&s, &e);
    lineedit_close(s.in);
    wrap_fini(&s.out);
    convo_close(&s.convo);
    calls_close(&s.calls);
    rill_constraint_free(s.at_once);
    rill_constraint_free(s.behind);
    rill_engine_close(s.engine);
    rill_model_close(s.model);
    session_fini(&s.session);
    buf_fini(&s.attached);
    json_decref(s.always);
    mem_free(s.history);
    opt_list_fini(&execs);
    opt_list_fini(&sets);
    opt_list_fini(&obeyed.choices);
    return tool_end(rc < 0 ? tool_fail(&e) : 0);
}
