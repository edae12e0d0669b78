/* examples.h - the examples of tests/golden/toolcalls.txt: outputs, and what the parser makes of
 * them. */
#ifndef RILL_TESTS_TEXT_EXAMPLES_H
#define RILL_TESTS_TEXT_EXAMPLES_H

#include "base/file.h"
#include "tests/suite.h"
#include "tests/text/toolcalls.h"

struct example {
    struct toolcall_opts o;
    char head[200];
    struct slice in;
    struct slice want;
    bool control;
};

static inline bool every_mark(void *ctx, struct slice mark)
{
    (void)ctx;
    return mark.p[0] == '<';
}

static inline const char *line_end(const char *p, const char *end)
{
    const char *nl = memchr(p, '\n', (size_t)(end - p));

    return nl ? nl : end;
}

static inline void read_head(struct example *x, const json_t *tools)
{
    char words[200];
    char *save = NULL;

    snprintf(words, sizeof words, "%s", x->head);
    for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        struct err e = {0};

        if (strncmp(w, "reasoning=", 10) == 0) {
            x->o.reasoning = reasoning_find(w + 10);
            ck_assert_msg(x->o.reasoning != NULL, "%s", w);
        } else if (strcmp(w, "open") == 0) {
            x->o.in_reasoning = true;
        } else if (strcmp(w, "tools") == 0) {
            x->o.tools = tools;
        } else if (strcmp(w, "known") == 0) {
            x->o.only_known = true;
        } else if (strcmp(w, "control") == 0) {
            x->control = true;
            x->o.is_control = every_mark;
        } else if (strcmp(w, "none") != 0) {
            x->o.format = toolcall_find(w, &e);
            ck_assert_msg(x->o.format != NULL, "%s", e.text);
        }
    }
}

/* The next example of the file, which begins at *p. */
static inline bool next_example(const char **p, const char *end, struct example *x,
                                const json_t *tools)
{
    const char *q = *p;
    const char *in, *cut;

    while (q < end && strncmp(q, "=== ", 4) != 0)
        q = line_end(q, end) + 1;
    if (q >= end)
        return false;
    memset(x, 0, sizeof *x);
    snprintf(x->head, sizeof x->head, "%.*s", (int)(line_end(q, end) - q - 4), q + 4);
    read_head(x, tools);
    in = line_end(q, end) + 1;
    cut = strstr(in, "\n---\n");
    ck_assert_ptr_nonnull(cut);
    x->in = (struct slice){in, (size_t)(cut - in)};
    q = cut + 5;
    x->want.p = q;
    while (q < end && *q != '\n')
        q = line_end(q, end) + 1;
    x->want.n = (size_t)(q - x->want.p);
    *p = q;
    return true;
}

struct examples {
    struct file_view file;
    const char *at, *end;
    json_t *tools;
    struct transcript t;
};

static inline void open_examples(struct examples *x)
{
    struct err e = {0};

    memset(x, 0, sizeof *x);
    ck_ok(file_read(&x->file, srcfile("tests/golden/toolcalls.txt"), 1 << 20, &e), &e);
    x->at = (const char *)x->file.p;
    x->end = x->at + x->file.n;
    x->tools = json_loads(TOOLS_JSON, 0, NULL);
    ck_assert_ptr_nonnull(x->tools);
}

static inline void close_examples(struct examples *x)
{
    json_decref(x->tools);
    transcript_fini(&x->t);
    file_unmap(&x->file);
}

#endif
