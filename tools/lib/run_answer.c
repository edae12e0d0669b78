/* run_answer.c - see run.h: one answer, from its prompt to the last token. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tools/lib/run.h"
#include "tools/lib/speak.h"
#include "tools/lib/tool.h"

static void put_text(const struct run *r, struct run_answer *a, struct slice s)
{
    if (r->opt->json)
        buf_slice(&a->text, s);
    else if (!r->opt->ids_out && s.n) {
        a->texted = s.p[s.n - 1] != '\n';
        fwrite(s.p, 1, s.n, stdout);
        fflush(stdout);
    }
}

static void put_id(const struct run *r, struct run_answer *a, int32_t id)
{
    if (!r->opt->ids_out)
        return;
    if (r->opt->json) {
        buf_printf(&a->text, a->text.n ? ",%d" : "%d", id);
        return;
    }
    printf(a->n_drawn > 1 ? " %d" : "%d", id);
    fflush(stdout);
}

/* Reasoning: to its descriptor, with the answer, in the reply, or for a person who looks on. */
static void put_reasoning(struct run *r, struct run_answer *a, struct slice s)
{
    if (r->think)
        fwrite(s.p, 1, s.n, r->think);
    if (r->opt->think && !r->opt->json)
        put_text(r, a, s);
    else if (!r->think && !r->opt->json && r->dim.on)
        wrap_put(&r->dim, s, true);
    buf_slice(&a->reasoning, s);
    a->reasoned = true;
}

/* The reasoning has ended. */
static void end_reasoning(struct run *r, struct run_answer *a)
{
    if (!a->reasoned)
        return;
    a->reasoned = false;
    if (r->opt->think && !r->opt->json)
        put_text(r, a, SLICE("\n\n"));
    wrap_end(&r->dim);
    if (r->dim.on)
        wrap_line(&r->dim);
    if (r->think) {
        fputc(r->opt->nul ? 0 : '\n', r->think);
        fflush(r->think);
    }
}

/* As the chat completions API has it: the arguments are JSON in a string. */
static void put_call(struct run_answer *a, const struct toolcall_event *ev)
{
    if (ev->kind == TC_BEGIN) {
        buf_str(&a->calls, a->n_calls++ ? ",{\"id\":" : "{\"id\":");
        buf_json(&a->calls, ev->id);
        buf_str(&a->calls, ",\"type\":\"function\",\"function\":{\"name\":");
        buf_json(&a->calls, ev->name);
        buf_clear(&a->args);
    } else if (ev->kind == TC_ARGS) {
        buf_slice(&a->args, ev->text);
    } else if (ev->kind == TC_END) {
        buf_str(&a->calls, ",\"arguments\":");
        buf_json(&a->calls, buf_view(&a->args));
        buf_str(&a->calls, "}}");
    }
}

static int hear(void *ctx, const struct toolcall_event *ev, struct err *e)
{
    struct run *r = ctx;

    if (ev->kind == TC_REASON) {
        put_reasoning(r, r->of, ev->text);
    } else if (ev->kind == TC_TEXT) {
        end_reasoning(r, r->of);
        put_text(r, r->of, ev->text);
    } else if (ev->kind == TC_ERROR) {
        tool_warn("%.*s", (int)ev->text.n, ev->text.p);
        r->failed = true;
    } else {
        end_reasoning(r, r->of);
        put_call(r->of, ev);
    }
    return r->of->calls.bad || r->of->args.bad ? err_nomem(e, r->of->calls.n) : 0;
}

/* A frame: answer, position, token and how many logits follow, each in 32 bits, little-endian as
 * the machine. */
static int put_row(struct run *r, const struct rill_event *ev, const float *row, int n,
                   struct err *e)
{
    const struct {
        uint32_t answer;
        int32_t pos, id;
        uint32_t n;
    } head = {(uint32_t)r->answers, ev->pos, ev->id, (uint32_t)n};

    if (fwrite(&head, sizeof head, 1, r->logits) == 1 &&
        fwrite(row, sizeof *row, head.n, r->logits) == head.n && fflush(r->logits) == 0)
        return 0;
    return err_set(e, E_IO, "descriptor %d: cannot write: %s", r->opt->logits_fd, strerror(errno));
}

static int put_logits(struct run *r, const struct rill_event *ev, struct err *e)
{
    return put_row(r, ev, ev->logits, ev->n_logits, e);
}

/* --bias-fd: the row goes out with -1 for the token that is still to be drawn; then a count comes
 * in, and as many pairs of a token and what is added to its logit. */
static int steer(void *ctx, const struct rill_event *at, float *row, int n_row, struct err *e)
{
    const int fd = ((struct run *)ctx)->opt->bias_fd;
    struct run *r = ctx;
    struct rill_event ev = *at;
    struct rill_bias b;
    uint32_t n;
    int rc;

    ev.id = -1;
    if (r->logits && (rc = put_row(r, &ev, row, n_row, e)) < 0)
        return rc;
    if (fread(&n, sizeof n, 1, r->bias) != 1)
        return err_set(e, E_IO, "descriptor %d: no biases for position %d", fd, at->pos);
    for (uint32_t i = 0; i < n; i++) {
        if (fread(&b.id, 4, 1, r->bias) != 1 || fread(&b.add, 4, 1, r->bias) != 1)
            return err_set(e, E_IO, "descriptor %d: ends in the biases for position %d", fd,
                           at->pos);
        if (b.id < 0 || b.id >= n_row || isnan(b.add) || b.add == INFINITY)
            return err_set(e, E_RANGE, "descriptor %d: no bias: token %d, %g", fd, b.id,
                           (double)b.add);
        row[b.id] += b.add;
    }
    return 0;
}

static int drew(void *ctx, const struct rill_event *ev, struct err *e)
{
    struct run *r = ctx;

    r->of->n_drawn++;
    put_id(r, r->of, ev->id);
    return ev->logits ? put_logits(r, ev, e) : 0;
}

static bool stopped(void)
{
    return tool_interrupted() || ferror(stdout);
}

/* Calls obey their tools' schemas, unless the answer was to be something else: from the prompt on,
 * and behind the end that a budget puts to reasoning the prompt has begun. One that cannot be
 * enforced is no reason not to answer. */
static int obey_tools(struct run *r, struct rill_request *q, const struct ask_prompt *p,
                      struct rill_constraint *calls[2], struct err *e)
{
    const struct ask_prompt behind = {.calls = p->calls};
    struct err why = {0};
    int rc;

    if (!r->ask.format) {
        tool_note("how the model writes tool calls is not known: they are left as text "
                  "(--tool-format says it)");
        return 0;
    }
    if (r->constraint)
        return 0;
    rc = ask_calls(&r->ask, p, &calls[0], &why);
    if (rc == 0 && p->open && r->opt->budget)
        rc = ask_calls(&r->ask, &behind, &calls[1], &why);
    if (rc == E_UNSUPPORTED && !json_object_get(p->calls, "tool_choice"))
        tool_note("arguments of tools are not enforced: %s", why.text);
    else if (rc < 0)
        return err_set(e, rc, "%s", why.text);
    q->constraint = calls[0];
    return 0;
}

/* An answer by the chat template: its reasoning apart from it. */
static int listen(struct run *r, struct run_answer *a, struct rill_request *q,
                  const struct ask_prompt *p, struct err *e)
{
    const struct reasoning *reasoning = r->ask.reasoning;
    const bool calls = p->tools && !r->opt->ids_out;
    struct speak s = {.model = r->model,
                      .engine = r->engine,
                      .parse = {.reasoning = reasoning,
                                .in_reasoning = p->open,
                                .format = calls ? r->ask.format : NULL,
                                .tools = p->tools,
                                .seed = r->sampling.seed + (uint64_t)r->answers},
                      .budget = r->opt->budget,
                      .then = r->constraint,
                      .stop = stopped,
                      .hear = hear,
                      .drew = drew,
                      .ctx = r};
    struct rill_constraint *of_calls[2] = {NULL};
    int rc = calls ? obey_tools(r, q, p, of_calls, e) : 0;

    if (rc < 0)
        goto done;
    if (of_calls[1])
        s.then = of_calls[1];
    if (r->behind && (p->open || reasoning->channels))
        q->constraint = r->behind;
    r->of = a;
    wrap_begin(&r->dim, stderr, true);
    r->dim.on = r->dim.on && tool_colour() && r->verbose >= 0;
    rc = speak(&s, q, e);
    end_reasoning(r, a);
    a->finish = s.finish;
    if (r->opt->kv_save)
        buf_add(&a->ids, s.ids.id, s.ids.n * sizeof *s.ids.id);
    speak_fini(&s);
done:
    rill_constraint_free(of_calls[0]);
    rill_constraint_free(of_calls[1]);
    return rc;
}

static void measure(struct run *r, const struct rill_stats *was, struct run_answer *a)
{
    struct rill_stats now;

    rill_engine_stats(r->engine, &now);
    a->drafted = now.drafted - was->drafted;
    a->accepted = now.accepted - was->accepted;
    a->prompt = now.prompt_seconds - was->prompt_seconds;
    a->decode = now.decode_seconds - was->decode_seconds;
    a->gb_s = (double)(now.decode_bytes - was->decode_bytes) * 1e-9;
    a->gb_s = a->decode > 0 ? a->gb_s / a->decode : 0;
}

static int follow(struct run *r, struct run_answer *a, int number, struct err *e)
{
    struct rill_event ev;
    int rc;

    while ((rc = rill_engine_step(r->engine, &ev, 1, e)) > 0) {
        if (ev.kind == RILL_TOKEN) {
            a->n_drawn++;
            if (r->opt->kv_save)
                buf_add(&a->ids, &ev.id, sizeof ev.id);
            put_id(r, a, ev.id);
            if (ev.logits && (rc = put_logits(r, &ev, e)) < 0)
                return rc;
        }
        put_text(r, a, (struct slice){ev.text, ev.n_text});
        if (ev.kind == RILL_DONE) {
            a->finish = ev.finish;
            if (ev.finish == RILL_FAILED)
                return err_set(e, ev.code, "%s", ev.message);
        }
        if (tool_interrupted() || ferror(stdout))
            rill_engine_cancel(r->engine, number);
    }
    return rc;
}

/* Puts the text of --kv before the ids of a prompt; *made tells which the model made. */
static int behind(const struct run *r, int32_t **ids, size_t *n, unsigned char **made,
                  struct err *e)
{
    const size_t all = r->kv.n + *n;
    int32_t *joined = mem_array(all, sizeof *joined, e);

    *made = mem_new(all, e);
    if (!joined || !*made) {
        mem_free(joined);
        return E_NOMEM;
    }
    if (r->kv.n) {
        memcpy(joined, r->kv.ids, r->kv.n * sizeof *joined);
        memcpy(*made, r->kv.made, r->kv.n);
    }
    if (*n)
        memcpy(joined + r->kv.n, *ids, *n * sizeof *joined);
    rill_free(*ids);
    *ids = joined;
    *n = all;
    return 0;
}

/* The prompt and what was drawn behind it, to --kv-save's file. */
static int save_kv(const struct run *r, struct run_answer *a, const struct rill_request *q,
                   struct err *e)
{
    const size_t drawn = a->ids.n / sizeof(int32_t);
    struct rill_kv kv = {.n = q->n_ids + drawn, .compressed = r->opt->kv_zstd};
    int rc = E_NOMEM;

    kv.ids = mem_array(kv.n, sizeof *kv.ids, e);
    kv.made = mem_new(kv.n, e);
    if (kv.ids && kv.made) {
        memcpy(kv.ids, q->ids, q->n_ids * sizeof *kv.ids);
        memcpy(kv.made, q->made, q->n_ids);
        if (drawn)
            memcpy(kv.ids + q->n_ids, a->ids.p, a->ids.n);
        memset(kv.made + q->n_ids, 1, drawn);
        rc = rill_engine_kv_save(r->engine, &kv, r->opt->kv_save, e);
    }
    rill_kv_fini(&kv);
    return rc;
}

/* Labels behind a prompt instead of an answer to it. */
static int score(struct run *r, struct slice text, struct err *e)
{
    struct rill_request base = {
        .lora = r->lora, .n_lora = (int)r->opt->loras.n, .sampling = r->sampling};
    struct ask_prompt p;
    struct buf out = {0};
    int rc = run_prompt(r, text, &p, e);

    if (rc == 0)
        rc = choices_score(&r->choices, r->engine, &base, p.ids, p.n, e);
    if (rc == 0) {
        choices_put(&r->choices, r->opt->json, &out);
        if (r->answers++ && !r->opt->json)
            putchar('\n');
        fwrite(out.p, 1, out.n, stdout);
        fflush(stdout);
    }
    buf_fini(&out);
    ask_prompt_fini(&p);
    return rc;
}

int run_answer(struct run *r, struct slice text, struct err *e)
{
    struct run_answer a = {0};
    struct rill_stats was;
    struct rill_request q = {0};
    unsigned char *made = NULL;
    struct ask_prompt p;
    int number;
    int rc;

    if (r->opt->choices)
        return score(r, text, e);
    rc = run_prompt(r, text, &p, e);
    rc = rc < 0 ? rc : behind(r, &p.ids, &p.n, &made, e);
    q.ids = p.ids;
    q.n_ids = p.n;
    q.made = made;
    q.max_tokens = r->opt->n;
    q.min_tokens = r->opt->min;
    q.draft = r->opt->draft;
    q.lora = r->lora;
    q.n_lora = (int)r->opt->loras.n;
    q.ignore_eos = r->opt->ignore_eos;
    q.sampling = r->sampling;
    q.logits = r->logits != NULL && !r->bias;
    q.steer = r->bias != NULL;
    q.constraint = r->constraint;
    q.stop = r->stop;
    q.n_stop = r->n_stop;
    a.n_prompt = q.n_ids;
    rill_engine_stats(r->engine, &was);
    if (rc == 0 && r->bias)
        rc = rill_engine_steer(r->engine, steer, r, e);
    if (rc == 0 && !r->ask.chat)
        rc = rill_engine_submit(r->engine, &q, &number, e);
    if (rc < 0) {
        ask_prompt_fini(&p);
        mem_free(made);
        return rc;
    }
    if (r->opt->echo && !r->opt->json && !r->opt->ids_out)
        fwrite(p.text.p, 1, p.text.n, stdout);
    rc = r->ask.chat ? listen(r, &a, &q, &p, e) : follow(r, &a, number, e);
    measure(r, &was, &a);
    if (rc == 0 && r->opt->kv_save && !r->opt->lines && !r->opt->nul)
        rc = save_kv(r, &a, &q, e);
    mem_free(made);
    if (rc == 0 && r->opt->json)
        run_put_json(r, &a, buf_view(&p.text));
    else if (rc == 0 && a.n_calls)
        run_put_calls(r, &a);
    else if (r->opt->nul && !r->opt->ids_out)
        putchar(0);
    else if (r->opt->lines || r->opt->nul || r->opt->ids_out || r->tty)
        putchar('\n');
    fflush(stdout);
    if (rc == 0)
        run_report(r, &a);
    r->cut |= a.finish == RILL_CONTEXT;
    if (r->constraint && (a.finish == RILL_LENGTH || a.finish == RILL_CONTEXT)) {
        tool_note("an answer was cut before it was complete");
        r->failed = true;
    }
    r->answers++;
    buf_fini(&a.text);
    buf_fini(&a.reasoning);
    buf_fini(&a.calls);
    buf_fini(&a.args);
    buf_fini(&a.ids);
    ask_prompt_fini(&p);
    return rc;
}
