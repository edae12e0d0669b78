/* chat.c - rill-chat: a conversation with a model, on a terminal or through a pipe. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "rill.h"
#include "tools/lib/convo.h"
#include "tools/lib/lineedit.h"
#include "tools/lib/runtool.h"
#include "tools/lib/sampling.h"
#include "tools/lib/tool.h"
#include "tools/lib/wrap.h"

enum { ROUNDS = 16, TOOL_SECONDS = 60 };

static const char *opt_model, *opt_device, *opt_system, *opt_template, *opt_tools, *opt_resume;
static int opt_n, opt_ctx, opt_threads, opt_policy = -1;
static bool opt_nul, opt_yes, opt_no_mmap;
static struct opt_list execs, sets;
static struct sampling_options sampling;

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
    {0, "resume", OPT_STR, &opt_resume, "NAME", "go on with a saved session, or begin it"},
    {0, "template", OPT_STR, &opt_template, "FILE", "a chat template instead of the model's"},
    {0, "set", OPT_LIST, &sets, "NAME=VALUE", "a variable of the chat template; may be repeated"},
    {0, "think", OPT_CHOICE, &opt_policy, "POLICY", "reasoning: shown and kept, hidden, or dropped",
     .choices = policies},
    {0, "tools", OPT_STR, &opt_tools, "FILE", "tools the model may call, a JSON list",
     .group = "Tools"},
    {0, "exec", OPT_LIST, &execs, "NAME=COMMAND",
     "what runs when tool NAME is called; may be repeated"},
    {0, "yes", OPT_FLAG, &opt_yes, 0, "run tools without asking"},
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
    struct convo convo;
    struct lineedit *in;
    struct wrap out;
    bool terminal;
    bool quit;
    char *session; // path of the session that is saved after each turn, or NULL
    char *history;
    size_t used; // positions of the last prompt and its answer
    size_t kept; // of them, drawn before or in memory
    int cached;
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

/* A mark that is one control token of the vocabulary. */
static bool control_mark(void *ctx, struct slice mark)
{
    struct chat_tool *s = ctx;
    struct err e = {0};
    int32_t *ids;
    size_t n, len;
    bool control;

    if (rill_tokenize(s->model, mark.p, mark.n, RILL_PARSE_SPECIAL | RILL_AFTER, &ids, &n, &e) < 0)
        return false;
    control = n == 1 && (rill_piece(s->model, ids[0], false, &len), len == 0);
    rill_free(ids);
    return control;
}

static void show(struct chat_tool *s, const struct toolcall_event *ev, bool *reasoned)
{
    if (ev->kind == TC_REASON && s->terminal && s->convo.policy == REASONING_KEEP) {
        wrap_put(&s->out, ev->text, true);
        *reasoned = true;
    } else if (ev->kind == TC_TEXT) {
        if (*reasoned)
            wrap_put(&s->out, SLICE("\n\n"), false);
        *reasoned = false;
        wrap_put(&s->out, ev->text, false);
    }
}

static int take_events(struct chat_tool *s, struct convo_answer *a, const struct toolcall_event *ev,
                       int n, bool *reasoned, struct err *e)
{
    for (int i = 0; i < n; i++) {
        int rc = convo_event(a, &ev[i], e);

        if (rc < 0)
            return rc;
        show(s, &ev[i], reasoned);
        if (ev[i].kind == TC_ERROR)
            tool_warn("%.*s", (int)ev[i].text.n, ev[i].text.p);
    }
    return n < 0 ? n : 0;
}

/* What a token adds to the text, without the mark of an end. */
static struct slice token_text(const struct chat_tool *s, const struct rill_event *ev)
{
    struct slice text = {ev->text, ev->n_text};
    size_t n;
    const char *p;

    if (ev->kind != RILL_TOKEN || !rill_is_end(s->model, ev->id))
        return text;
    p = rill_piece(s->model, ev->id, true, &n);
    if (n && text.n >= n && memcmp(text.p + text.n - n, p, n) == 0)
        text.n -= n;
    return text;
}

static int follow(struct chat_tool *s, struct toolcall *parser, struct convo_answer *a, int number,
                  int *finish, struct err *e)
{
    const struct toolcall_event *out;
    struct rill_event ev;
    bool reasoned = false;
    int rc, n;

    while ((rc = rill_engine_step(s->engine, &ev, 1, e)) > 0) {
        struct slice text = token_text(s, &ev);
        bool control = false;
        size_t len;

        if (ev.kind == RILL_TOKEN) {
            rill_piece(s->model, ev.id, false, &len);
            control = len == 0;
            s->drawn++;
            if ((rc = tok_ids_add(&a->ids, ev.id, e)) < 0)
                return rc;
        }
        n = toolcall_feed(parser, text, control, &out, e);
        if ((rc = take_events(s, a, out, n, &reasoned, e)) < 0)
            return rc;
        if (ev.kind == RILL_DONE) {
            *finish = ev.finish;
            s->cached = ev.cached;
            if (ev.finish == RILL_FAILED)
                return err_set(e, ev.code, "%s", ev.message);
        }
        if (interrupted() || ferror(stdout))
            rill_engine_cancel(s->engine, number);
    }
    if (rc < 0)
        return rc;
    n = toolcall_finish(parser, &out, e);
    return take_events(s, a, out, n, &reasoned, e);
}

static void say_finish(const struct chat_tool *s, int finish)
{
    int ctx = rill_engine_ctx(s->engine);

    if (finish == RILL_CONTEXT)
        tool_warn("the context of %d positions is full; the answer ends here (/undo, /fork, or -c)",
                  ctx);
    else if (finish == RILL_LENGTH)
        tool_note("the answer was ended after %d tokens (-n)", opt_n);
    else if (finish == RILL_CANCELLED)
        tool_note("stopped");
}

/* One answer to the conversation as it stands; it becomes a message. */
static int one_answer(struct chat_tool *s, json_t **calls, struct err *e)
{
    struct toolcall_opts po = {.format = s->convo.tools ? s->convo.format : NULL,
                               .reasoning = s->convo.reasoning,
                               .tools = s->convo.tools,
                               .seed = s->sampling.seed + (uint64_t)s->convo.calls,
                               .is_control = control_mark,
                               .ctx = s};
    static const struct rill_stop plain_stops[] = {{"\nUser:", 6}, {"<|im_end|>", 10}};
    struct rill_request q = {.show_control = true, .max_tokens = opt_n, .sampling = s->sampling};
    struct convo_answer a = {0};
    struct toolcall *parser = NULL;
    struct tok_ids ids = {0};
    struct rill_stats was, now;
    int number, finish = RILL_RUNNING;
    int rc = convo_prompt(&s->convo, &ids, &po.in_reasoning, &s->kept, e);

    *calls = NULL;
    if (rc == 0)
        rc = toolcall_new(&parser, &po, e);
    if (rc < 0)
        goto done;
    q.ids = ids.id;
    q.n_ids = ids.n;
    if (chat_is_default(s->convo.chat)) {
        q.stop = plain_stops;
        q.n_stop = 2;
    }
    rill_engine_stats(s->engine, &was);
    if ((rc = rill_engine_submit(s->engine, &q, &number, e)) < 0)
        goto done;
    s->drawn = 0;
    s->used = ids.n;
    wrap_begin(&s->out, stdout, tool_colour());
    rc = follow(s, parser, &a, number, &finish, e);
    wrap_end(&s->out);
    rill_engine_stats(s->engine, &now);
    s->prompt_s = now.prompt_seconds - was.prompt_seconds;
    s->decode_s = now.decode_seconds - was.decode_seconds;
    s->used += s->drawn;
    if (rc == 0)
        rc = convo_answered(&s->convo, &a, e);
    *calls = json_incref(a.calls);
    if (s->terminal)
        wrap_line(&s->out);
    say_finish(s, finish);
done:
    toolcall_free(parser);
    convo_answer_fini(&a);
    tok_ids_fini(&ids);
    return rc;
}

/* -- tools -- */

static const char *command_of(const char *name)
{
    size_t n = strlen(name);

    for (size_t i = 0; i < execs.n; i++)
        if (strncmp(execs.at[i].value, name, n) == 0 && execs.at[i].value[n] == '=')
            return execs.at[i].value + n + 1;
    return NULL;
}

static bool allowed(struct chat_tool *s, const char *name, const char *arguments, struct err *e)
{
    char question[200];
    struct slice said;

    if (opt_yes)
        return true;
    if (!s->terminal)
        return false;
    printf("%s %s\n", name, arguments);
    snprintf(question, sizeof question, "run %.100s? [y/N] ", name);
    return lineedit_read(s->in, question, &said, e) == LINE_TEXT && said.n &&
           (said.p[0] == 'y' || said.p[0] == 'Y');
}

static int run_call(struct chat_tool *s, const json_t *call, struct err *e)
{
    const json_t *f = json_object_get(call, "function");
    const char *name = json_string_value(json_object_get(f, "name"));
    const json_t *args = json_object_get(f, "arguments");
    char *text = json_dumps(args, JSON_ENCODE_ANY);
    const char *command = name ? command_of(name) : NULL;
    struct runtool r = {0};
    json_t *m;
    int rc = 0;

    if (!text || !name)
        rc = err_nomem(e, 0);
    else if (!json_is_object(args))
        buf_str(&r.result, "error: the arguments are no JSON object");
    else if (!command)
        buf_printf(&r.result, "error: there is no tool '%s'", name);
    else if (!allowed(s, name, text, e))
        buf_str(&r.result, "error: the user does not allow this call");
    else
        rc = runtool(&r, command, slice_of(text), TOOL_SECONDS, interrupted, e);
    free(text);
    if (rc == 0) {
        tool_detail(1, "%s: %.*s", name, (int)(r.result.n < 200 ? r.result.n : 200),
                    r.result.p ? r.result.p : "");
        m = json_pack("{ssss*sssO*}", "role", "tool", "name", name, "content", "", "tool_call_id",
                      json_object_get(call, "id"));
        if (m)
            json_object_set_new(m, "content", convo_text(&r.result));
        rc = convo_add(&s->convo, m, e);
    }
    buf_fini(&r.result);
    return rc;
}

/* Saved after each turn, where the session has a name. */
static int save(struct chat_tool *s, struct err *e)
{
    return s->session ? convo_save(&s->convo, s->session, s->info.path, e) : 0;
}

/* Answers until the model calls no more tools. */
static int respond(struct chat_tool *s, struct err *e)
{
    int rc = 0;

    for (int round = 0; rc == 0; round++) {
        json_t *calls = NULL;
        const json_t *call;
        size_t i;

        rc = one_answer(s, &calls, e);
        json_array_foreach(calls, i, call) if (rc == 0) rc = run_call(s, call, e);
        i = json_array_size(calls);
        json_decref(calls);
        if (i == 0 || interrupted() || rc < 0)
            break;
        if (round + 1 == ROUNDS) {
            tool_warn("%d rounds of tool calls: the answer ends here", ROUNDS);
            break;
        }
    }
    if (!s->terminal && rc == 0) {
        putchar(opt_nul ? '\0' : '\n');
        fflush(stdout);
    }
    return rc < 0 ? rc : save(s, e);
}

/* -- sessions -- */

static int make_dirs(char *path, struct err *e)
{
    for (char *p = path + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(path, 0700) < 0 && errno != EEXIST) {
            err_set(e, E_IO, "%s: %s", path, strerror(errno));
            *p = '/';
            return E_IO;
        }
        *p = '/';
    }
    return 0;
}

/* A file of the state directory (XDG), whose folders are made; NULL without a home. */
static char *state_path(const char *what, const char *name, const char *suffix, struct err *e)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    struct buf b = {0};
    char *path;

    if (strchr(name, '/')) {
        buf_str(&b, name);
    } else {
        if (state && *state)
            buf_str(&b, state);
        else if (home && *home)
            buf_printf(&b, "%s/.local/state", home);
        else {
            err_set(e, E_NOTFOUND, "neither XDG_STATE_HOME nor HOME is set");
            return NULL;
        }
        buf_printf(&b, "/rill/%s%s%s", what, name, suffix);
    }
    path = b.bad ? NULL : mem_dup(b.p, b.n, e);
    buf_fini(&b);
    if (path && make_dirs(path, e) < 0) {
        mem_free(path);
        return NULL;
    }
    return path;
}

static int load(struct chat_tool *s, const char *path, struct err *e)
{
    char *model;
    int rc = convo_load(&s->convo, path, &model, e);

    if (rc < 0)
        return rc;
    if (strcmp(model, s->info.path) != 0)
        tool_note("the session was made with %s", model);
    tool_note("%zu messages", convo_count(&s->convo));
    mem_free(model);
    return 0;
}

/* -- commands -- */

struct command {
    const char *name;
    const char *arg;
    const char *help;
    int (*run)(struct chat_tool *s, const char *arg, struct err *e);
};

static int cmd_system(struct chat_tool *s, const char *arg, struct err *e)
{
    return convo_system(&s->convo, slice_of(arg), e);
}

/* The file's text as an entry, with the file's name above. */
static int cmd_file(struct chat_tool *s, const char *arg, struct err *e)
{
    struct file_view v;
    struct buf b = {0};
    json_t *m;
    int rc = file_read(&v, arg, 16 << 20, e);

    if (rc < 0)
        return rc;
    buf_printf(&b, "%s:\n", arg);
    buf_add(&b, v.p, v.n);
    file_unmap(&v);
    m = json_pack("{ssso}", "role", "user", "content", convo_text(&b));
    buf_fini(&b);
    rc = convo_add(&s->convo, m, e);
    return rc < 0 ? rc : respond(s, e);
}

static int cmd_think(struct chat_tool *s, const char *arg, struct err *e)
{
    int rc = 0;

    if (strcmp(arg, "on") == 0 || strcmp(arg, "off") == 0)
        json_object_set_new(s->convo.set, "enable_thinking", json_boolean(arg[1] == 'n'));
    else if (*arg)
        rc = reasoning_policy_parse(&s->convo.policy, arg, e);
    if (rc == 0)
        tool_note("reasoning: %s, enable_thinking %s; on, off, keep, hide or strip",
                  policies[s->convo.policy],
                  json_is_false(json_object_get(s->convo.set, "enable_thinking")) ? "false"
                                                                                  : "true");
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
    tool_note("%s", all ? all : "{}");
    free(all);
    return 0;
}

/* Back to before the last entry. */
static size_t last_entry(const struct chat_tool *s)
{
    size_t n = convo_count(&s->convo);

    while (n > 0 && strcmp(convo_role(&s->convo, n - 1), "user") != 0)
        n--;
    return n;
}

static int cmd_retry(struct chat_tool *s, const char *arg, struct err *e)
{
    size_t n = last_entry(s);

    (void)arg;
    if (n == 0)
        return err_set(e, E_USAGE, "there is nothing to answer yet");
    convo_cut(&s->convo, n);
    s->sampling.seed++; // another answer
    return respond(s, e);
}

static int cmd_undo(struct chat_tool *s, const char *arg, struct err *e)
{
    size_t n = last_entry(s);

    (void)arg;
    if (n == 0)
        return err_set(e, E_USAGE, "there is nothing to take back");
    convo_cut(&s->convo, n - 1);
    tool_note("%zu messages", convo_count(&s->convo));
    return save(s, e);
}

static int cmd_save(struct chat_tool *s, const char *arg, struct err *e)
{
    char *path;

    if (!*arg && !s->session)
        return err_set(e, E_USAGE, "/save NAME: the session has no name yet");
    if (*arg) {
        if (!(path = state_path("chats/", arg, ".jsonl", e)))
            return e->code;
        mem_free(s->session);
        s->session = path;
    }
    if (save(s, e) < 0)
        return e->code;
    tool_note("saved: %s", s->session);
    return 0;
}

/* The session so far stays where it is saved; what follows goes under another name. */
static int cmd_fork(struct chat_tool *s, const char *arg, struct err *e)
{
    return *arg ? cmd_save(s, arg, e) : err_set(e, E_USAGE, "/fork NAME");
}

static int cmd_load(struct chat_tool *s, const char *arg, struct err *e)
{
    char *path = *arg ? state_path("chats/", arg, ".jsonl", e) : NULL;
    int rc;

    if (!path)
        return *arg ? e->code : err_set(e, E_USAGE, "/load NAME");
    if ((rc = load(s, path, e)) < 0) {
        mem_free(path);
        return rc;
    }
    mem_free(s->session);
    s->session = path;
    return 0;
}

static int cmd_stats(struct chat_tool *s, const char *arg, struct err *e)
{
    (void)arg;
    (void)e;
    tool_note(
        "context %zu of %d positions; of the last prompt %zu tokens were drawn before, %d were "
        "in memory",
        s->used, rill_engine_ctx(s->engine), s->kept, s->cached);
    tool_note("prompt %.3f s; answer %zu tokens, %.1f tok/s; seed %llu", s->prompt_s, s->drawn,
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
    {"/file", "FILE", "a file's text as an entry", cmd_file},
    {"/think", "[on|off|keep|hide|strip]", "reasoning: asked for or not, shown or not", cmd_think},
    {"/set", "[NAME VALUE]", "a variable of the chat template", cmd_set},
    {"/retry", "", "another answer to the last entry", cmd_retry},
    {"/undo", "", "takes the last entry and its answer back", cmd_undo},
    {"/fork", "NAME", "goes on as another session", cmd_fork},
    {"/save", "[NAME]", "saves the session, from now on after each turn", cmd_save},
    {"/load", "NAME", "goes on with a saved session", cmd_load},
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
        printf("%-8s %-26s %s\n", commands[i].name, commands[i].arg, commands[i].help);
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
        tool_note("%s has no chat template; a plain one is used", s->info.path);
    return rc;
}

static int open_tools(struct chat_tool *s, struct err *e)
{
    json_error_t je;

    if (!opt_tools && execs.n)
        return err_set(e, E_USAGE, "--exec needs --tools");
    if (!opt_tools)
        return 0;
    s->convo.tools = json_load_file(opt_tools, 0, &je);
    if (!json_is_array(s->convo.tools))
        return err_set(e, E_FORMAT, "%s:%d: %s", opt_tools, je.line,
                       s->convo.tools ? "no list of tools" : je.text);
    for (size_t i = 0; i < execs.n; i++)
        if (!strchr(execs.at[i].value, '='))
            return err_set(e, E_USAGE, "--exec %s: not NAME=COMMAND", execs.at[i].value);
    if (!chat_knows_tools(s->convo.chat))
        return err_set(e, E_UNSUPPORTED, "%s: the chat template knows no tools", s->info.path);
    if (!s->convo.format)
        tool_warn("%s: the format in which the model calls tools is not known", s->info.path);
    return 0;
}

static int open_model(struct chat_tool *s, struct err *e)
{
    const char *path = tool_model(opt_model, e);
    struct rill_model_opts mo = {.device = opt_device,
                                 .threads = opt_threads,
                                 .n_ctx = opt_ctx,
                                 .kv_type = kv_type < 0 ? NULL : kv_types[kv_type],
                                 .no_mmap = opt_no_mmap};
    struct rill_engine_opts eo = {.max_seq = 1};
    int rc = path ? rill_model_open(&s->model, path, &mo, e) : e->code;

    if (rc < 0)
        return rc;
    rill_model_info(s->model, &s->info);
    s->sampling = rill_sampling_of(s->model);
    sampling_apply(&sampling, &s->sampling);
    if (!sampling.has_seed && isatty(STDIN_FILENO))
        s->sampling.seed = rng_bits((uint64_t)time(NULL), (uint32_t)getpid(), 0, 0) >> 16;
    return rill_engine_open(&s->engine, s->model, &eo, e);
}

static int open_session(struct chat_tool *s, struct err *e)
{
    int rc;

    if (opt_policy >= 0)
        s->convo.policy = (enum reasoning_policy)opt_policy;
    for (size_t i = 0; i < sets.n; i++)
        if ((rc = set_variable(s, sets.at[i].value, '=', e)) < 0)
            return rc;
    if (opt_resume) {
        if (!(s->session = state_path("chats/", opt_resume, ".jsonl", e)))
            return e->code;
        if (access(s->session, F_OK) == 0 && (rc = load(s, s->session, e)) < 0)
            return rc;
    }
    return opt_system ? convo_system(&s->convo, slice_of(opt_system), e) : 0;
}

static int open_input(struct chat_tool *s, struct err *e)
{
    static const char *words[N_COMMAND + 1];
    struct lineedit_opts lo = {
        .name = "rill-chat", .words = words, .nul = opt_nul, .interrupted = &interrupt_seen};
    struct sigaction sa = {.sa_handler = on_interrupt};
    struct err ignore = {0};
    int rc;

    for (int i = 0; i < N_COMMAND; i++)
        words[i] = commands[i].name;
    s->history = isatty(STDIN_FILENO) ? state_path("", "chat_history", "", &ignore) : NULL;
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
    json_t *m;
    int rc;

    buf_slice(&b, text);
    if (command(s, buf_view(&b), &rc, e)) {
        buf_fini(&b);
        return rc;
    }
    m = json_pack("{ssso}", "role", "user", "content", convo_text(&b));
    buf_fini(&b);
    rc = convo_add(&s->convo, m, e);
    if (rc < 0)
        return rc;
    rc = respond(s, e);
    if (rc < 0 && s->convo.messages) // what could not be answered is not part of it
        convo_cut(&s->convo, last_entry(s) ? last_entry(s) - 1 : 0);
    return rc;
}

static int talk(struct chat_tool *s, struct err *e)
{
    char prompt[64];
    struct slice text;
    int rc;

    while (!s->quit && !tool_interrupted()) {
        snprintf(prompt, sizeof prompt, "%zu/%d> ", s->used, rill_engine_ctx(s->engine));
        rc = lineedit_read(s->in, prompt, &text, e);
        if (rc < 0 || rc == LINE_END)
            return rc;
        if (rc == LINE_INTERRUPTED || (text.n == 0 && s->terminal))
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

int main(int argc, char **argv)
{
    static struct chat_tool s;
    struct err e = {0};
    int rc;

    if (tool_begin(&tool, argc, argv) < argc)
        tool_usage("unexpected operand");
    rc = open_model(&s, &e);
    if (rc == 0)
        rc = open_template(&s, &e);
    if (rc == 0)
        rc = open_tools(&s, &e);
    if (rc == 0)
        rc = open_session(&s, &e);
    if (rc == 0)
        rc = open_input(&s, &e);
    if (rc == 0 && s.terminal)
        tool_note("%s; /help lists commands, Ctrl-D ends",
                  s.info.name[0] ? s.info.name : s.info.path);
    if (rc == 0)
        rc = talk(&s, &e);
    lineedit_close(s.in);
    wrap_fini(&s.out);
    convo_close(&s.convo);
    rill_engine_close(s.engine);
    rill_model_close(s.model);
    mem_free(s.session);
    mem_free(s.history);
    return tool_end(rc < 0 ? tool_fail(&e) : 0);
}
