/* reasoning.c - the table of reasoning marks. */
#define _GNU_SOURCE // memmem
#include "text/reasoning.h"

#include <string.h>

#include "base/mem.h"

#define ENOUGH REASONING_ENOUGH

/* The first row whose mark a template contains is taken: rare marks come first. */
static const struct reasoning rows[] = {
    {.name = "harmony",
     .open = "<|channel|>analysis<|message|>",
     .close = "<|end|>",
     .detect = "<|channel|>analysis",
     .spent = ENOUGH "<|end|><|start|>assistant<|channel|>final<|message|>",
     .channels = true},
    {.name = "seed",
     .open = "<seed:think>",
     .close = "</seed:think>",
     .detect = "<seed:think>",
     .spent = ENOUGH "</seed:think>\n",
     .trim = true},
    {.name = "mistral",
     .open = "[THINK]",
     .close = "[/THINK]",
     .detect = "[THINK]",
     .spent = ENOUGH "[/THINK]",
     .trim = true},
    {.name = "command",
     .open = "<|START_THINKING|>",
     .close = "<|END_THINKING|>",
     .detect = "<|START_THINKING|>",
     .answer_open = "<|START_RESPONSE|>",
     .answer_close = "<|END_RESPONSE|>",
     .spent = ENOUGH "<|END_THINKING|>",
     .trim = true},
    {.name = "apertus",
     .open = "<|inner_prefix|>",
     .close = "<|inner_suffix|>",
     .detect = "<|inner_prefix|>",
     .spent = ENOUGH "<|inner_suffix|>",
     .trim = true},
    {.name = "gemma",
     .open = "<|channel>thought",
     .close = "<channel|>",
     .detect = "<|channel>",
     .spent = ENOUGH "<channel|>",
     .trim = true},
    {.name = "kimi-vl",
     .open = "\xe2\x97\x81think\xe2\x96\xb7",
     .close = "\xe2\x97\x81/think\xe2\x96\xb7",
     .detect = "\xe2\x97\x81/think\xe2\x96\xb7",
     .spent = ENOUGH "\xe2\x97\x81/think\xe2\x96\xb7",
     .trim = true},
    {.name = "thought",
     .open = "<thought>",
     .close = "</thought>",
     .detect = "</thought>",
     .spent = ENOUGH "</thought>\n\n",
     .trim = true},
    {.name = "granite",
     .open = "<think>",
     .close = "</think>",
     .detect = "<response></response>",
     .answer_open = "<response>",
     .answer_close = "</response>",
     .spent = ENOUGH "</think>\n\n<response>",
     .trim = true},
    {.name = "hunyuan",
     .open = "<think>",
     .close = "</think>",
     .detect = "<answer>",
     .answer_open = "<answer>",
     .answer_close = "</answer>",
     .spent = ENOUGH "</think>\n<answer>\n",
     .trim = true},
    {.name = "think",
     .open = "<think>",
     .close = "</think>",
     .detect = "<think>",
     .spent = ENOUGH "</think>\n\n",
     .trim = true},
    /* templates that only cut what was thought out of the history */
    {.name = "think",
     .open = "<think>",
     .close = "</think>",
     .detect = "</think>",
     .spent = ENOUGH "</think>\n\n",
     .trim = true},
};

const struct reasoning *reasoning_at(size_t i)
{
    return i < ARRAY_LEN(rows) ? &rows[i] : NULL;
}

const struct reasoning *reasoning_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

static const char *find(const char *p, const char *end, const char *s)
{
    return p < end ? memmem(p, (size_t)(end - p), s, strlen(s)) : NULL;
}

const struct reasoning *reasoning_detect(struct slice t)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (find(t.p, t.p + t.n, rows[i].detect))
            return &rows[i];
    return NULL;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

bool reasoning_is_open(const struct reasoning *r, struct slice prompt)
{
    size_t n = prompt.n;
    size_t k = r ? strlen(r->open) : 0;

    while (n > 0 && is_space(prompt.p[n - 1]))
        n--;
    return r && n >= k && memcmp(prompt.p + n - k, r->open, k) == 0;
}

int reasoning_policy_parse(enum reasoning_policy *out, const char *name, struct err *e)
{
    static const char *const names[] = {"keep", "hide", "strip"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (enum reasoning_policy)i;
            return 0;
        }
    return err_set(e, E_USAGE, "reasoning '%s': keep, hide or strip", name);
}

void reasoning_strip(const struct reasoning *r, struct slice text, struct buf *out)
{
    const char *p = text.p;
    const char *end = p + text.n;
    const char *open;

    while (r && (open = find(p, end, r->open))) {
        const char *close = find(open + strlen(r->open), end, r->close);

        buf_add(out, p, (size_t)(open - p));
        if (!close)
            return;
        for (p = close + strlen(r->close); p < end && is_space(*p);)
            p++;
    }
    buf_add(out, p, (size_t)(end - p));
}

struct slice reasoning_count(struct reasoning_budget *b, const struct reasoning *r, bool inside)
{
    if (!r || !inside)
        return SLICE("");
    b->used++;
    if (b->max < 0 || b->used < b->max || b->closed)
        return SLICE("");
    b->closed = true;
    return slice_of(r->spent);
}
