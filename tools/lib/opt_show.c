/* opt_show.c - see opt.h: an option table as --help and as shell completion. */
#include <ctype.h>
#include <string.h>

#include "base/buf.h"
#include "tools/lib/opt.h"

enum { WIDTH = 80, COLUMN = 26 };
enum { SOME_TOP = 100000 }; // a larger one only keeps arithmetic safe and tells nobody anything

static bool visible(const struct tool_option *o)
{
    return o->type != OPT_ALIAS && !o->hidden;
}

static bool has_value(const struct tool_option *o)
{
    return o->arg && o->type != OPT_FLAG && o->type != OPT_UNSET && o->type != OPT_COUNT;
}

/* -- help -- */

static void describe(struct buf *b, const struct tool_option *o, const struct tool_option *opts)
{
    buf_str(b, o->help ? o->help : "");
    for (const struct tool_option *a = opts; o->name && a->type != OPT_END; a++)
        if (a->type == OPT_ALIAS && strcmp(a->arg, o->name) == 0)
            buf_printf(b, "; also --%s", a->name);
    if (o->type == OPT_CHOICE) {
        buf_str(b, ":");
        for (int i = 0; o->choices[i]; i++)
            buf_printf(b, "%s %s", i ? "," : "", o->choices[i]);
    } else if (o->max >= o->min && o->max < SOME_TOP && (o->min != 0 || o->max != 0)) {
        buf_printf(b, " (%.15g to %.15g)", o->min, o->max);
    } else if (o->min > 0) {
        buf_printf(b, " (at least %.15g)", o->min);
    }
    if (o->def)
        buf_printf(b, " [%s]", o->def);
}

/* Words of text from column on, broken before WIDTH; the cursor stands at that column. */
static void wrap(FILE *to, const char *text, int column)
{
    int at = column;

    while (*text) {
        int n = (int)strcspn(text, " ");

        if (at > column && at + 1 + n >= WIDTH) {
            fprintf(to, "\n%*s", column, "");
            at = column;
        } else if (at > column) {
            fputc(' ', to);
            at++;
        }
        fprintf(to, "%.*s", n, text);
        at += n;
        text += n;
        text += strspn(text, " ");
    }
    fputc('\n', to);
}

void opt_help(const struct tool_option *opts, FILE *to)
{
    for (const struct tool_option *o = opts; o->type != OPT_END; o++) {
        struct buf left = {0};
        struct buf text = {0};

        if (!visible(o))
            continue;
        if (o->group)
            fprintf(to, "\n%s:\n", o->group);
        buf_str(&left, "  ");
        if (o->letter)
            buf_printf(&left, "-%c%s", o->letter, o->name ? ", " : "");
        else
            buf_str(&left, "    ");
        if (o->name)
            buf_printf(&left, "--%s", o->name);
        if (has_value(o))
            buf_printf(&left, " %s", o->arg);
        describe(&text, o, opts);
        if (left.n + 2 > COLUMN)
            fprintf(to, "%s\n%*s", buf_view(&left).p, COLUMN, "");
        else
            fprintf(to, "%-*s", COLUMN, buf_view(&left).p);
        wrap(to, buf_view(&text).p, COLUMN);
        buf_fini(&left);
        buf_fini(&text);
    }
}

/* -- completion -- */

/* s within single quotes of a shell, the characters of special escaped with a backslash. */
static void quoted(FILE *to, const char *s, const char *special)
{
    for (; s && *s; s++) {
        if (*s == '\'')
            fputs("'\\''", to);
        else
            fprintf(to, "%s%c", strchr(special, *s) ? "\\" : "", *s);
    }
}

static bool is_path(const struct tool_option *o)
{
    return has_value(o) && (strcmp(o->arg, "FILE") == 0 || strcmp(o->arg, "DIR") == 0 ||
                            strcmp(o->arg, "MODEL") == 0);
}

static void bash_value(const struct tool_option *o, FILE *to)
{
    if (!has_value(o))
        return;
    if (o->letter)
        fprintf(to, "    -%c%s", o->letter, o->name ? " | " : ")\n");
    else
        fputs("    ", to);
    if (o->name)
        fprintf(to, "--%s)\n", o->name);
    if (o->type == OPT_CHOICE) {
        fputs("        mapfile -t COMPREPLY < <(compgen -W '", to);
        for (int i = 0; o->choices[i]; i++)
            fprintf(to, "%s%s", i ? " " : "", o->choices[i]);
        fputs("' -- \"$cur\") ;;\n", to);
    } else if (is_path(o)) {
        fprintf(to,
                "        compopt -o filenames\n"
                "        mapfile -t COMPREPLY < <(compgen -%c -- \"$cur\") ;;\n",
                strcmp(o->arg, "DIR") == 0 ? 'd' : 'f');
    } else {
        fputs("        ;;\n", to);
    }
}

static void bash(const struct tool_option *opts, const char *tool, FILE *to)
{
    char fn[64];

    snprintf(fn, sizeof fn, "_%s", tool);
    for (char *p = fn; *p; p++)
        *p = isalnum((unsigned char)*p) ? *p : '_';
    fprintf(to,
            "# bash completion of %s, made from its option table\n"
            "%s()\n{\n"
            "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}\n\n"
            "    [[ $cur == = ]] && cur=\n"
            "    [[ $prev == = ]] && prev=${COMP_WORDS[COMP_CWORD - 2]}\n"
            "    COMPREPLY=()\n"
            "    case $prev in\n",
            tool, fn);
    for (const struct tool_option *o = opts; o->type != OPT_END; o++)
        if (visible(o))
            bash_value(o, to);
    fputs("    *)\n"
          "        if [[ $cur == -* ]]; then\n"
          "            mapfile -t COMPREPLY < <(compgen -W '",
          to);
    for (const struct tool_option *o = opts; o->type != OPT_END; o++) {
        if (visible(o) && o->letter)
            fprintf(to, "-%c ", o->letter);
        if (visible(o) && o->name)
            fprintf(to, "--%s ", o->name);
    }
    fprintf(to,
            "' -- \"$cur\")\n"
            "        else\n"
            "            compopt -o filenames\n"
            "            mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
            "        fi ;;\n"
            "    esac\n"
            "}\n"
            "complete -F %s %s\n",
            fn, tool);
}

static void zsh_row(const struct tool_option *o, FILE *to)
{
    const char *plus = has_value(o) ? "+" : "";
    const char *equal = has_value(o) ? "=" : "";

    fputs("    ", to);
    if (o->type == OPT_LIST || o->type == OPT_COUNT)
        fputs("'*'", to);
    else if (o->letter && o->name)
        fprintf(to, "'(-%c --%s)'", o->letter, o->name);
    if (o->letter && o->name)
        fprintf(to, "{-%c%s,--%s%s}", o->letter, plus, o->name, equal);
    else if (o->name)
        fprintf(to, "--%s%s", o->name, equal);
    else
        fprintf(to, "-%c%s", o->letter, plus);
    fputs("'[", to);
    quoted(to, o->help, "[]:\\");
    fputs("]", to);
    if (has_value(o)) {
        fputs(":", to);
        quoted(to, o->arg, "[]:\\");
        fputs(":", to);
        if (o->type == OPT_CHOICE) {
            for (int i = 0; o->choices[i]; i++)
                fprintf(to, "%s%s", i ? " " : "(", o->choices[i]);
            fputs(")", to);
        } else if (is_path(o)) {
            fputs(strcmp(o->arg, "DIR") == 0 ? "_files -/" : "_files", to);
        }
    }
    fputs("' \\\n", to);
}

static void zsh(const struct tool_option *opts, const char *tool, FILE *to)
{
    fprintf(to, "#compdef %s\n# made from the option table\n_arguments -s -S : \\\n", tool);
    for (const struct tool_option *o = opts; o->type != OPT_END; o++)
        if (visible(o))
            zsh_row(o, to);
    fputs("    '*:file:_files'\n", to);
}

static void fish(const struct tool_option *opts, const char *tool, const char *about, FILE *to)
{
    fprintf(to, "# fish completion of %s: %s; made from its option table\n", tool, about);
    for (const struct tool_option *o = opts; o->type != OPT_END; o++) {
        if (!visible(o))
            continue;
        fprintf(to, "complete -c %s", tool);
        if (o->letter)
            fprintf(to, " -s %c", o->letter);
        if (o->name)
            fprintf(to, " -l %s", o->name);
        if (is_path(o))
            fputs(" -r -F", to);
        else if (has_value(o))
            fputs(" -x", to);
        if (o->type == OPT_CHOICE) {
            fputs(" -a '", to);
            for (int i = 0; o->choices[i]; i++)
                fprintf(to, "%s%s", i ? " " : "", o->choices[i]);
            fputs("'", to);
        }
        fputs(" -d '", to);
        /* fish knows no '\'' but \' within single quotes */
        for (const char *s = o->help; s && *s; s++)
            fprintf(to, "%s%c", *s == '\'' || *s == '\\' ? "\\" : "", *s);
        fputs("'\n", to);
    }
}

static void list(const struct tool_option *opts, FILE *to)
{
    for (const struct tool_option *o = opts; o->type != OPT_END; o++) {
        if (o->hidden)
            continue;
        if (o->letter)
            fprintf(to, "-%c%s", o->letter, o->name ? " " : "");
        if (o->name)
            fprintf(to, "--%s", o->name);
        fputc('\n', to);
    }
}

bool opt_completion(const struct tool_option *opts, const char *tool, const char *about,
                    const char *shell, FILE *to)
{
    if (strcmp(shell, "bash") == 0)
        bash(opts, tool, to);
    else if (strcmp(shell, "zsh") == 0)
        zsh(opts, tool, to);
    else if (strcmp(shell, "fish") == 0)
        fish(opts, tool, about, to);
    else if (strcmp(shell, "list") == 0)
        list(opts, to);
    else
        return false;
    return true;
}
