/* talk_command.c - see talk.h: the words that begin with a slash, sessions, and completion. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "tools/lib/ask.h"
#include "tools/lib/talk.h"
#include "tools/lib/tool.h"

const char *const talk_policies[] = {"keep", "hide", "strip", NULL};

/* -- sessions -- */

/* How many messages there are up to the last entry, with it; 0: there is none. */
static size_t last_entry(const struct talk *s)
{
    size_t n = convo_count(&s->convo);

    while (n > 0 && strcmp(convo_role(&s->convo, n - 1), "user") != 0)
        n--;
    return n;
}

/* The last entry and its answer, so that one sees where one was. */
static void show_last(struct talk *s)
{
    size_t from = last_entry(s);

    if (!s->terminal || from == 0)
        return;
    wrap_begin(&s->out, stdout, tool_colour());
    for (size_t i = from - 1; i < convo_count(&s->convo); i++) {
        const json_t *m = json_array_get(s->convo.messages, i);
        const char *text = json_string_value(json_object_get(m, "content"));

        if (text && *text && strcmp(convo_role(&s->convo, i), "tool") != 0)
            talk_show(s, i == from - 1 ? "> " : "", slice_of(text));
    }
}

int talk_leave(struct talk *s, struct err *e)
{
    int rc = session_kv_save(&s->session, &s->convo, s->engine, NULL, e);

    return rc < 0 ? err_prefix(e, "keys and values") : 0;
}

int talk_load(struct talk *s, struct err *e)
{
    size_t rows;
    int rc = session_load(&s->session, &s->convo, s->engine, s->info.path, &rows, e);

    if (rc < 0)
        return rc;
    talk_measure(s);
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
    int (*run)(struct talk *s, const char *arg, struct err *e);
};

static int cmd_system(struct talk *s, const char *arg, struct err *e)
{
    int rc = convo_system(&s->convo, slice_of(arg), e);

    talk_measure(s);
    return rc;
}

/* The file's text goes in front of the next entry, under the file's name. */
static int cmd_file(struct talk *s, const char *arg, struct err *e)
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

static int cmd_think(struct talk *s, const char *arg, struct err *e)
{
    int rc = 0;

    if (strcmp(arg, "on") == 0 || strcmp(arg, "off") == 0)
        json_object_set_new(s->convo.set, "enable_thinking", json_boolean(arg[1] == 'n'));
    else if (*arg)
        rc = reasoning_policy_parse(&s->convo.policy, arg, e);
    if (rc == 0)
        tell("reasoning: %s, enable_thinking %s; on, off, keep, hide or strip",
             talk_policies[s->convo.policy],
             json_is_false(json_object_get(s->convo.set, "enable_thinking")) ? "false" : "true");
    return rc;
}

static int cmd_set(struct talk *s, const char *arg, struct err *e)
{
    char *all;

    if (*arg)
        return ask_variable(s->convo.set, arg, ' ', e);
    all = json_dumps(s->convo.set, 0);
    tell("%s", all ? all : "{}");
    free(all);
    return 0;
}

static int cmd_retry(struct talk *s, const char *arg, struct err *e)
{
    size_t n = last_entry(s);

    (void)arg;
    if (n == 0)
        return err_set(e, E_USAGE, "there is nothing to answer yet");
    convo_cut(&s->convo, n);
    s->sampling.seed++; // another answer
    return talk_respond(s, n - 1, e);
}

static int cmd_undo(struct talk *s, const char *arg, struct err *e)
{
    size_t n = last_entry(s);

    (void)arg;
    if (n == 0)
        return err_set(e, E_USAGE, "there is nothing to take back");
    convo_cut(&s->convo, n - 1);
    tool_note("%zu message%s", convo_count(&s->convo), convo_count(&s->convo) == 1 ? "" : "s");
    talk_measure(s);
    return session_save(&s->session, &s->convo, s->info.path, e);
}

/* Under another name, if there is one: what was saved before stays as it is. */
static int cmd_save(struct talk *s, const char *arg, struct err *e)
{
    int rc = *arg ? talk_leave(s, e) : 0;

    if (!*arg && !s->session.path)
        return err_set(e, E_USAGE, "/save NAME: the session has no name yet");
    if (rc == 0 && *arg)
        rc = session_name(&s->session, arg, e);
    if (rc == 0)
        rc = session_save(&s->session, &s->convo, s->info.path, e);
    if (rc == 0)
        rc = talk_leave(s, e);
    if (rc == 0)
        tool_note("saved: %s", s->session.path);
    return rc;
}

static int cmd_fork(struct talk *s, const char *arg, struct err *e)
{
    return *arg ? cmd_save(s, arg, e) : err_set(e, E_USAGE, "/fork NAME");
}

static int cmd_load(struct talk *s, const char *arg, struct err *e)
{
    struct session was = s->session, next = {.no_kv = s->opt->no_kv};
    int rc = *arg ? talk_leave(s, e) : err_set(e, E_USAGE, "/load NAME");

    if (rc == 0)
        rc = session_name(&next, arg, e);
    if (rc < 0)
        return rc;
    s->session = next;
    if ((rc = talk_load(s, e)) < 0) { // it stays as it was
        session_fini(&s->session);
        s->session = was;
        return rc;
    }
    session_fini(&was);
    return 0;
}

static int show_kv(const struct talk *s, struct err *e)
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

static int cmd_kv(struct talk *s, const char *arg, struct err *e)
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

static int cmd_stats(struct talk *s, const char *arg, struct err *e)
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

static int cmd_tokens(struct talk *s, const char *arg, struct err *e)
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

static int cmd_quit(struct talk *s, const char *arg, struct err *e)
{
    (void)arg;
    (void)e;
    s->quit = true;
    return 0;
}

static int cmd_help(struct talk *s, const char *arg, struct err *e);

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

static int cmd_help(struct talk *s, const char *arg, struct err *e)
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

bool talk_command(struct talk *s, struct slice entry, int *rc, struct err *e)
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

void talk_offer(void *ctx, const char *line, struct lineedit_words *w)
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
