/* chat.c - rill-chat: a conversation with a model, on a terminal or through a pipe.
 *
 * Here are the options, what they open, and the loop; turns and commands are in
 * tools/lib/talk_*.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "rill.h"
#include "tools/lib/ask.h"
#include "tools/lib/speak.h"
#include "tools/lib/talk.h"
#include "tools/lib/tool.h"

/* A prompt is cut so that Ctrl-C is heard in the middle of it. */
static const double step_seconds = 0.2;

static struct talk_options opt = {.policy = -1};

static const struct tool_option opts[] = {
    MODEL_OPTION(opt.model),
    {'s', "system", OPT_STR, &opt.system, "TEXT", "what the model is told before anything else"},
    {'n', "max-tokens", OPT_INT, &opt.n, "N",
     "end an answer after N tokens (0: when the model ends)", .min = 0, .max = 1e9},
    {'0', "null", OPT_FLAG, &opt.nul, 0,
     "in a pipe, entries are pieces ended by NUL, not lines; answers end so too"},
    {0, "resume", OPT_STR, &opt.resume, "NAME",
     "go on with a saved session, or begin it; without NAME the one saved last"},
    {0, "no-kv", OPT_FLAG, &opt.no_kv, 0, "neither read nor write a session's keys and values"},
    {0, "template", OPT_STR, &opt.template, "FILE", "a chat template instead of the model's"},
    {0, "set", OPT_LIST, &opt.sets, "NAME=VALUE",
     "a variable of the chat template; may be repeated"},
    {0, "think", OPT_CHOICE, &opt.policy, "POLICY", "reasoning: shown and kept, hidden, or dropped",
     .choices = talk_policies},
    {0, "think-budget", OPT_INT, &opt.budget, "N", "end the reasoning after N tokens (0: never)",
     .min = 0, .max = 1e9},
    {0, "tools", OPT_STR, &opt.tools, "FILE", "tools the model may call, a JSON list",
     .group = "Tools"},
    {0, "tool-format", OPT_STR, &opt.format, "NAME",
     "how calls are written (generic: for templates without tools)"},
    {0, "exec", OPT_LIST, &opt.execs, "NAME=COMMAND",
     "what runs when tool NAME is called; may be repeated"},
    {0, "yes", OPT_FLAG, &opt.yes, 0, "run tools without asking"},
    {0, "call-tokens", OPT_INT, &opt.call_tokens, "N",
     "end an answer when a call takes more than N tokens (0: never)", .min = 0, .max = 1e9,
     .def = "2048"},
    OBEY_OPTIONS(opt.obeyed),
    SAMPLING_OPTIONS(opt.sampling),
    MODEL_RUNNING(opt.model),
    MODEL_CTX(opt.model),
    {0}};

static struct tool tool = {"rill-chat", "[-m MODEL] [-s TEXT] [option]...",
                           "talks with a language model", opts};

/* -- setting up -- */

static int open_template(struct talk *s, struct err *e)
{
    struct file_view v = {0};
    struct slice source = slice_of(s->info.chat_template ? s->info.chat_template : "");
    int rc = opt.template ? file_read(&v, opt.template, 4 << 20, e) : 0;

    if (rc < 0)
        return rc;
    if (opt.template)
        source = (struct slice){(const char *)v.p, v.n};
    rc = convo_open(&s->convo, opt.template ? opt.template : s->info.path, source,
                    rill_vocab(s->model), e);
    if (rc == 0 && opt.tools)
        rc = rill_chat_open(&s->public, s->model, opt.template, opt.template ? source.p : NULL,
                            source.n, e);
    if (opt.template)
        file_unmap(&v);
    if (rc == 0 && chat_is_default(s->convo.chat))
        tool_note("%s has no chat template: a default is used", s->info.path);
    return rc;
}

static int open_tools(struct talk *s, struct err *e)
{
    int rc;

    if (!opt.tools && (opt.execs.n || opt.format))
        return err_set(e, E_USAGE, "--exec and --tool-format need --tools");
    if (!opt.tools)
        return 0;
    s->calls.allow = talk_allow;
    s->calls.stop = talk_interrupted;
    s->calls.ctx = s;
    if ((rc = calls_open(&s->calls, opt.tools, &opt.execs, e)) < 0)
        return rc;
    s->convo.tools = json_incref(s->calls.tools);
    return calls_format(&s->convo.format, s->convo.chat, opt.format,
                        opt.template ? opt.template : s->info.path, e);
}

/* Calls obey their tools' schemas. One that cannot be enforced is no reason not to talk. */
static int hold_calls(struct talk *s, struct err *e)
{
    const struct reasoning *r = s->convo.reasoning;
    json_t *request = json_pack("{sO}", "tools", s->convo.tools);
    char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
    const size_t n = text ? strlen(text) : 0;
    struct rill_prompt open = {0};
    struct err why = {0};
    int rc = text ? rill_chat_tools(&s->at_once, s->public, opt.format, text, n, NULL, &why)
                  : err_nomem(&why, 0);

    if (rc == 0 && r) {
        open.text = (char *)(uintptr_t)r->open;
        open.n_text = strlen(r->open);
        rc = rill_chat_tools(&s->behind, s->public, opt.format, text, n, &open, &why);
    }
    free(text); // jansson's
    json_decref(request);
    if (rc == E_UNSUPPORTED)
        tool_note("arguments of tools are not enforced: %s", why.text);
    return rc < 0 && rc != E_UNSUPPORTED ? err_set(e, rc, "%s", why.text) : 0;
}

static int open_constraints(struct talk *s, struct err *e)
{
    struct rill_stop mark[2];
    struct rill_constraint_opts o = speak_after(s->convo.reasoning, true, mark);
    int rc;

    o.model = s->model;
    if (obey_kinds(&opt.obeyed) > 1)
        return err_set(e, E_USAGE, "--schema, --grammar, --regex and --choice exclude each other");
    if (obey_kinds(&opt.obeyed) == 0 && s->convo.tools)
        return hold_calls(s, e);
    rc = obey_open(&s->at_once, &opt.obeyed, NULL, e);
    return rc == 0 && s->at_once && o.n_after ? obey_open(&s->behind, &opt.obeyed, &o, e) : rc;
}

static int open_model(struct talk *s, struct err *e)
{
    const char *path = tool_model(opt.model.model, e);
    struct rill_model_opts mo;
    struct rill_engine_opts eo = {.max_seq = 1, .step_seconds = step_seconds};
    int rc = path ? model_opts_of(&opt.model, &mo, e) : e->code;

    rc = rc < 0 ? rc : rill_model_open(&s->model, path, &mo, e);
    if (rc < 0)
        return rc;
    rill_model_info(s->model, &s->info);
    s->sampling = rill_sampling_of(s->model);
    sampling_apply(&opt.sampling, &s->sampling);
    if (!opt.sampling.has_seed && isatty(STDIN_FILENO))
        s->sampling.seed = rng_bits((uint64_t)time(NULL), (uint32_t)getpid(), 0, 0) >> 16;
    rc = rill_engine_open(&s->engine, s->model, &eo, e);
    if (rc == 0)
        model_say_ctx(s->engine, &s->info);
    return rc;
}

static int open_session(struct talk *s, struct err *e)
{
    char *last = opt.resume && !*opt.resume ? session_last(e) : NULL;
    int rc = 0;

    if (opt.policy >= 0)
        s->convo.policy = (enum reasoning_policy)opt.policy;
    s->session.no_kv = opt.no_kv;
    s->always = json_object();
    if (opt.resume && !*opt.resume && !last)
        return e->code;
    if (opt.resume)
        rc = session_name(&s->session, last ? last : opt.resume, e);
    mem_free(last);
    if (rc == 0 && opt.resume && access(s->session.path, F_OK) == 0)
        rc = talk_load(s, e);
    for (size_t i = 0; i < opt.sets.n && rc == 0; i++)
        rc = ask_variable(s->convo.set, opt.sets.at[i].value, '=', e);
    return rc == 0 && opt.system ? convo_system(&s->convo, slice_of(opt.system), e) : rc;
}

static int open_input(struct talk *s, struct err *e)
{
    struct lineedit_opts lo = {.name = "rill-chat",
                               .nul = opt.nul,
                               .interrupted = talk_catch_interrupt(false),
                               .complete = talk_offer};
    struct err ignore = {0};
    int rc;

    s->history = isatty(STDIN_FILENO) ? session_state_path("", "chat_history", "", &ignore) : NULL;
    lo.history = s->history;
    if ((rc = lineedit_open(&s->in, &lo, e)) < 0)
        return rc;
    s->terminal = lineedit_on_terminal(s->in);
    talk_catch_interrupt(s->terminal);
    return 0;
}

/* -- the conversation -- */

static int entry(struct talk *s, struct slice text, struct err *e)
{
    struct buf b = {0};
    int rc;

    buf_slice(&b, text); // ends with NUL
    if (b.bad)
        rc = err_nomem(e, text.n);
    else if (!talk_command(s, buf_view(&b), &rc, e))
        rc = talk_ask(s, buf_view(&b), e);
    buf_fini(&b);
    if (rc == E_CONTEXT)
        err_prefix(e, "too long (/undo, or -c for more)");
    return rc;
}

static int converse(struct talk *s, struct err *e)
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

static int run(struct talk *s, struct err *e)
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
    rc = converse(s, e);
    if (rc == 0 || rc == E_CONTEXT) {
        struct err lost = {0};

        if (talk_leave(s, &lost) < 0)
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
    static struct talk s = {.opt = &opt};
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
    rill_chat_close(s.public);
    rill_engine_close(s.engine);
    rill_model_close(s.model);
    session_fini(&s.session);
    buf_fini(&s.attached);
    json_decref(s.always);
    mem_free(s.history);
    opt_list_fini(&opt.execs);
    opt_list_fini(&opt.sets);
    opt_list_fini(&opt.obeyed.choices);
    return tool_end(rc < 0 ? tool_fail(&e) : 0);
}
