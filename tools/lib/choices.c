/* choices.c - see choices.h. */
#include "tools/lib/choices.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"

static int add(struct choices *c, const struct rill_model *m, const struct buf *label,
               struct err *e)
{
    struct choice *at = &c->at[c->n];

    if (c->n == CHOICES_MAX)
        return err_set(e, E_USAGE, "--choices: more than %d labels", CHOICES_MAX);
    if (label->n == 0)
        return err_set(e, E_USAGE, "--choices: a label is empty");
    for (int i = 0; i < c->n; i++)
        if (c->at[i].n == label->n && memcmp(c->at[i].label, label->p, label->n) == 0)
            return err_set(e, E_USAGE, "--choices: '%s' is there twice", c->at[i].label);
    at->label = mem_dup(label->p, label->n, e);
    if (!at->label)
        return E_NOMEM;
    at->n = label->n;
    c->n++;
    return rill_tokenize(m, at->label, at->n, RILL_AFTER, &at->ids, &at->n_ids, e);
}

int choices_open(struct choices *c, const struct rill_model *m, const char *text, struct err *e)
{
    struct buf label = {0};
    int rc = 0;

    *c = (struct choices){.at = mem_array(CHOICES_MAX, sizeof *c->at, e)};
    if (!c->at)
        return E_NOMEM;
    for (const char *p = text; rc == 0; p++) {
        if (*p == '\\' && p[1] == ',') {
            buf_byte(&label, *++p);
        } else if (*p && *p != ',') {
            buf_byte(&label, *p);
        } else {
            rc = label.bad ? err_nomem(e, label.n) : add(c, m, &label, e);
            buf_clear(&label);
            if (!*p)
                break;
        }
    }
    buf_fini(&label);
    if (rc == 0 && c->n < 2)
        rc = err_set(e, E_USAGE,
                     "--choices '%.80s': must be two labels or more, with commas between", text);
    return rc;
}

void choices_fini(struct choices *c)
{
    for (int i = 0; i < c->n; i++) {
        mem_free(c->at[i].label);
        rill_free(c->at[i].ids);
    }
    mem_free(c->at);
    *c = (struct choices){0};
}

/* -- scoring -- */

static int submit(struct choices *c, int i, struct rill_engine *g, const struct rill_request *base,
                  const int32_t *ids, size_t n_ids, struct err *e)
{
    struct choice *at = &c->at[i];
    const size_t n = n_ids + at->n_ids;
    int32_t *all = mem_array(n, sizeof *all, e);
    struct rill_request q = *base;
    int number, rc;

    if (!all)
        return E_NOMEM;
    memcpy(all, ids, n_ids * sizeof *all);
    memcpy(all + n_ids, at->ids, at->n_ids * sizeof *all);
    at->logprob = 0;
    q.ids = all;
    q.n_ids = n;
    q.max_tokens = 1;
    q.prompt_logits = q.logprobs = true;
    q.logits_from = (int)n_ids - 1;
    q.user = at;
    rc = rill_engine_submit(g, &q, &number, e);
    mem_free(all);
    return rc;
}

/* Each label's part of what the labels have together. */
static void share(struct choices *c)
{
    double best = -INFINITY, sum = 0;

    for (int i = 0; i < c->n; i++)
        best = c->at[i].logprob > best ? c->at[i].logprob : best;
    for (int i = 0; i < c->n; i++)
        sum += exp(c->at[i].logprob - best);
    for (int i = 0; i < c->n; i++)
        c->at[i].share = exp(c->at[i].logprob - best) / sum;
}

int choices_score(struct choices *c, struct rill_engine *g, const struct rill_request *base,
                  const int32_t *ids, size_t n_ids, struct err *e)
{
    struct rill_event ev;
    int rc = n_ids ? 0 : err_set(e, E_RANGE, "the prompt has no tokens");

    for (int i = 0; i < c->n && rc == 0; i++)
        rc = submit(c, i, g, base, ids, n_ids, e);
    while (rc == 0 && (rc = rill_engine_step(g, &ev, 1, e)) > 0) {
        struct choice *at = ev.user;

        rc = 0;
        if (ev.kind == RILL_LOGITS && (size_t)ev.pos + 1 < n_ids + at->n_ids)
            at->logprob += (double)ev.logprob;
        if (ev.kind == RILL_DONE && ev.finish == RILL_FAILED)
            rc = err_set(e, ev.code, "%s", ev.message);
    }
    if (rc == 0)
        share(c);
    return rc;
}

/* -- output -- */

static int best(const struct choices *c)
{
    int k = 0;

    for (int i = 1; i < c->n; i++)
        k = c->at[i].logprob > c->at[k].logprob ? i : k;
    return k;
}

void choices_put(const struct choices *c, bool json, struct buf *out)
{
    if (json) {
        buf_str(out, "{\"choice\":");
        buf_json(out, (struct slice){c->at[best(c)].label, c->at[best(c)].n});
        buf_str(out, ",\"labels\":[");
    }
    for (int i = 0; i < c->n; i++) {
        const struct choice *at = &c->at[i];

        if (json) {
            buf_str(out, i ? ",{\"label\":" : "{\"label\":");
            buf_json(out, (struct slice){at->label, at->n});
            buf_printf(out, ",\"probability\":%.6g,\"logprob\":%.6f}", at->share, at->logprob);
        } else {
            buf_printf(out, "%.6g\t%.6f\t%.*s\n", at->share, at->logprob, (int)at->n, at->label);
        }
    }
    buf_str(out, json ? "]}\n" : "");
}
