/* calls.c - see calls.h. */
#include "tools/lib/calls.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/slice.h"
#include "tools/lib/convo.h"
#include "tools/lib/runtool.h"
#include "tools/lib/tool.h"

enum { SECONDS = 60, MAX_TOOLS = 256, MAX_FILE = 16 << 20 };

/* -- which there are -- */

static const char *name_of(const json_t *tool)
{
    return json_string_value(json_object_get(json_object_get(tool, "function"), "name"));
}

static const char *command_of(const struct calls *c, const char *name)
{
    size_t n = strlen(name);

    for (size_t i = 0; i < c->execs->n; i++)
        if (strncmp(c->execs->at[i].value, name, n) == 0 && c->execs->at[i].value[n] == '=')
            return c->execs->at[i].value + n + 1;
    return NULL;
}

static int take_tools(json_t *out, const json_t *list, const char *path, struct err *e)
{
    const json_t *tool;
    size_t i;

    if (!json_is_array(list))
        return err_set(e, E_FORMAT, "%s: no list of tools", path);
    if (json_array_size(list) > MAX_TOOLS)
        return err_set(e, E_RANGE, "%s: more than %d tools", path, MAX_TOOLS);
    json_array_foreach(list, i, tool)
    {
        json_t *full = json_object_get(tool, "function")
                           ? json_incref((json_t *)(uintptr_t)tool)
                           : json_pack("{sssO}", "type", "function", "function", tool);

        if (!full || json_array_append_new(out, full) < 0)
            return err_nomem(e, sizeof(json_t));
        if (!name_of(full) || !*name_of(full))
            return err_set(e, E_FORMAT, "%s: tool %zu has no name", path, i);
    }
    return 0;
}

int calls_read(json_t **tools, const char *path, struct err *e)
{
    struct file_view v;
    json_error_t je;
    json_t *list;
    int rc = file_read(&v, path, MAX_FILE, e);

    *tools = NULL;
    if (rc < 0)
        return rc;
    list = json_loadb((const char *)v.p, v.n, 0, &je);
    file_unmap(&v);
    *tools = json_array();
    if (!list)
        rc = err_set(e, E_FORMAT, "%s: line %d, column %d: %.200s", path, je.line, je.column,
                     je.text);
    else
        rc = *tools ? take_tools(*tools, list, path, e) : err_nomem(e, sizeof(json_t));
    json_decref(list);
    return rc;
}

int calls_format(const struct toolcall_format **format, struct chat *chat, const char *named,
                 const char *path, struct err *e)
{
    if (named && !(*format = toolcall_find(named, e)))
        return e->code;
    if (!chat_knows_tools(chat) && (!named || strcmp(named, "generic") != 0))
        return err_set(e, E_UNSUPPORTED,
                       "%s: the chat template knows no tools (--tool-format generic asks for calls "
                       "in the system message)",
                       path);
    if (!chat_knows_tools(chat))
        chat_prompt_tools(chat);
    else if (!*format)
        return err_set(e, E_UNSUPPORTED,
                       "%s: how the model writes tool calls is not known (--tool-format says it)",
                       path);
    return 0;
}

static int check_exec(const struct calls *c, const char *exec, struct err *e)
{
    const char *names[MAX_TOOLS];
    const char *equals = strchr(exec, '=');
    char name[160];
    const json_t *tool;
    size_t i;
    int near;

    if (!equals || equals == exec)
        return err_set(e, E_USAGE, "--exec %.60s: not NAME=COMMAND", exec);
    snprintf(name, sizeof name, "%.*s", (int)(equals - exec < 150 ? equals - exec : 150), exec);
    json_array_foreach(c->tools, i, tool)
    {
        names[i] = name_of(tool);
        if (strcmp(names[i], name) == 0)
            return 0;
    }
    near = opt_nearest_of(names, (int)json_array_size(c->tools), name);
    return err_set(e, E_USAGE, "--exec %s: no such tool%s%s", name,
                   near >= 0 ? "; did you mean " : "", near >= 0 ? names[near] : "");
}

int calls_open(struct calls *c, const char *path, const struct opt_list *execs, struct err *e)
{
    const json_t *tool;
    size_t i;
    int rc;

    c->execs = execs;
    rc = calls_read(&c->tools, path, e);
    for (i = 0; i < execs->n && rc == 0; i++)
        rc = check_exec(c, execs->at[i].value, e);
    if (rc < 0)
        return rc;
    json_array_foreach(c->tools, i, tool)
    {
        if (!command_of(c, name_of(tool)))
            tool_note("%s has no --exec: calls of it are answered with an error", name_of(tool));
    }
    return 0;
}

void calls_close(struct calls *c)
{
    json_decref(c->tools);
    c->tools = NULL;
}

/* -- answers -- */

static int answer(const struct calls *c, const char *name, const json_t *args, struct runtool *r,
                  struct err *e)
{
    const char *command = name ? command_of(c, name) : NULL;
    char *text = json_dumps(args, JSON_ENCODE_ANY | JSON_COMPACT);
    int rc = 0;

    if (!text || !name)
        rc = err_nomem(e, 0);
    else if (!json_is_object(args))
        buf_str(&r->result, "error: the arguments are no JSON object");
    else if (!command)
        buf_printf(&r->result, "error: there is no tool '%s'", name);
    else if (!c->allow(c->ctx, name, text))
        buf_str(&r->result, "error: the user does not allow this call");
    else
        rc = runtool(r, command, slice_of(text), SECONDS, c->stop, e);
    free(text);
    return rc < 0 ? rc : r->result.bad ? err_nomem(e, r->result.n) : 0;
}

int calls_answer(const struct calls *c, const json_t *call, json_t **message, struct err *e)
{
    const json_t *f = json_object_get(call, "function");
    const char *name = json_string_value(json_object_get(f, "name"));
    struct runtool r = {0};
    int rc = answer(c, name, json_object_get(f, "arguments"), &r, e);

    *message = NULL;
    if (rc == 0) {
        *message = json_pack("{sssssOso}", "role", "tool", "name", name, "tool_call_id",
                             json_object_get(call, "id"), "content", convo_text(&r.result));
        rc = *message ? 0 : err_nomem(e, r.result.n);
    }
    buf_fini(&r.result);
    return rc;
}
