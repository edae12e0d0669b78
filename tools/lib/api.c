/* api.c - see api.h: reading lines and bodies, and their prompts. */
#include "tools/lib/api.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "text/tok.h"
#include "tools/lib/api_fields.h"

#define PROMPTS_MAX 2048 // of one request

/* -- prompts -- */

static int prompt_text(const struct api_opts *o, struct api_prompt *p, struct slice text,
                       unsigned flags, struct err *e)
{
    buf_slice(&p->text, text);
    if (p->text.bad)
        return err_nomem(e, text.n);
    return rill_tokenize(o->model, text.p, text.n, flags, &p->ids, &p->n, e);
}

static int prompt_ids(struct api_prompt *p, const char *name, const json_t *list, struct err *e)
{
    p->n = json_array_size(list);
    if (p->n == 0)
        return err_set(e, E_RANGE, "%s: a list of token ids is empty", name);
    p->ids = mem_array(p->n, sizeof *p->ids, e);
    if (!p->ids)
        return E_NOMEM;
    for (size_t i = 0; i < p->n; i++)
        if (api_int(name, json_array_get(list, i), 0, &p->ids[i], e) < 0)
            return E_RANGE;
    return 0;
}

/* The text of ids, for echo. */
static void spell(const struct api_opts *o, struct api_prompt *p)
{
    for (size_t i = 0; i < p->n; i++) {
        size_t n;
        const char *piece = rill_piece(o->model, p->ids[i], false, &n);

        buf_add(&p->text, piece, n);
    }
}

/* Text to be put between two others: by the vocabulary's own marks for that. */
static int between(const struct api_request *r, const struct api_opts *o, struct api_prompt *p,
                   struct err *e)
{
    const struct tok *t = rill_vocab(o->model);
    const int32_t mark[3] = {t ? tok_role_id(t, TOK_FIM_PRE) : -1,
                             t ? tok_role_id(t, TOK_FIM_SUF) : -1,
                             t ? tok_role_id(t, TOK_FIM_MID) : -1};
    struct tok_ids ids = {0};
    int rc = 0;

    if (mark[0] < 0 || mark[1] < 0 || mark[2] < 0)
        return err_set(e, E_UNSUPPORTED, "suffix: the model has no tokens for text in between");
    if (p->n && p->ids[0] == rill_bos(o->model))
        rc = tok_ids_add(&ids, p->ids[0], e);
    rc = rc < 0 ? rc : tok_ids_add(&ids, mark[0], e);
    for (size_t i = ids.n > 1; i < p->n && rc == 0; i++)
        rc = tok_ids_add(&ids, p->ids[i], e);
    rc = rc < 0 ? rc : tok_ids_add(&ids, mark[1], e);
    if (rc == 0)
        rc = tok_encode(t, (struct slice){r->suffix, r->n_suffix}, TOK_AFTER, &ids, e);
    rc = rc < 0 ? rc : tok_ids_add(&ids, mark[2], e);
    if (rc < 0) {
        tok_ids_fini(&ids);
        return rc;
    }
    mem_free(p->ids);
    p->ids = ids.id;
    p->n = ids.n;
    return 0;
}

static int one_prompt(struct api_request *r, const struct api_opts *o, const char *name,
                      const json_t *v, struct api_prompt *p, struct err *e)
{
    struct slice text = {json_string_value(v), json_string_length(v)};
    int rc;

    if (json_is_string(v))
        rc = prompt_text(o, p, text, RILL_ADD_SPECIAL, e);
    else if (json_is_array(v))
        rc = prompt_ids(p, name, v, e);
    else
        rc = err_set(e, E_RANGE, "%s: must be a string, token ids, or a list of these", name);
    if (rc == 0 && json_is_array(v) && r->echo)
        spell(o, p);
    if (rc == 0 && r->suffix)
        rc = between(r, o, p, e);
    return rc;
}

/* A string, a list of strings, of ids, or of lists of ids. */
int api_read_prompts(struct api_request *r, const struct api_opts *o, const char *name,
                     const json_t *v, struct err *e)
{
    const bool one = json_is_string(v) || json_is_integer(json_array_get(v, 0));
    const size_t n = one ? 1 : json_array_size(v);

    if (!json_is_string(v) && (!json_is_array(v) || n == 0))
        return err_set(e, E_RANGE, "%s: must be a string, token ids, or a list of these", name);
    if (n > PROMPTS_MAX)
        return err_set(e, E_RANGE, "%s: more than %d in one request", name, PROMPTS_MAX);
    r->prompt = mem_array(n, sizeof *r->prompt, e);
    if (!r->prompt)
        return E_NOMEM;
    r->n_prompt = (int)n;
    for (size_t i = 0; i < n; i++) {
        int rc = one_prompt(r, o, name, one ? v : json_array_get(v, i), &r->prompt[i], e);

        if (rc < 0)
            return rc;
    }
    return 0;
}

static int read_messages(struct api_request *r, const struct api_opts *o, const json_t *body,
                         struct err *e)
{
    const char *stop;
    int rc;

    if (!o->chat)
        return err_set(e, E_UNSUPPORTED, "messages: not here; give a prompt");
    r->prompt = mem_array(1, sizeof *r->prompt, e);
    if (!r->prompt)
        return E_NOMEM;
    r->n_prompt = 1;
    rc = api_chat_prompt(o->chat, body, r->tools, o->created, &r->prompt[0], e);
    if (r->tools)
        r->format = api_chat_format(o->chat);
    /* the parser wants to see marks that are control tokens */
    if (r->tools || api_chat_reasoning(o->chat))
        r->q.show_control = true;
    stop = api_chat_stop(o->chat);
    if (rc == 0 && stop && r->q.n_stop < API_STOPS) {
        r->stop[r->q.n_stop++] = (struct rill_stop){stop, strlen(stop)};
        r->q.stop = r->stop;
    }
    return rc;
}

/* -- a whole line -- */

static int read_custom_id(struct api_request *r, const json_t *line, struct err *e)
{
    const json_t *id = json_object_get(line, "custom_id");

    if (!id || json_is_null(id))
        return 0;
    if (!json_is_string(id))
        return err_set(e, E_RANGE, "custom_id: must be a string");
    if (strlen(json_string_value(id)) != json_string_length(id))
        return err_set(e, E_RANGE, "custom_id: must not contain NUL");
    r->custom_id = mem_dup(json_string_value(id), json_string_length(id), e);
    return r->custom_id ? 0 : E_NOMEM;
}

static void set_kind(struct api_request *r, enum api_kind kind)
{
    r->kind = kind;
    r->chat = kind == API_CHAT;
}

/* The body of a batch line, and what its url asks for; a line that is a body is its own. */
static int open_batch(struct api_request *r, const json_t *line, const json_t **body, struct err *e)
{
    const char *url = json_string_value(json_object_get(line, "url"));
    const char *method = json_string_value(json_object_get(line, "method"));

    *body = json_object_get(line, "body");
    r->batch = *body || url || method;
    if (!r->batch) {
        *body = line;
        set_kind(r, json_object_get(line, "messages") ? API_CHAT : API_TEXT);
        return 0;
    }
    if (!json_is_object(*body))
        return err_set(e, E_RANGE, "body: a batch line needs one");
    if (!url)
        return err_set(e, E_RANGE, "url: a batch line needs one");
    set_kind(r, strcmp(url, "/v1/chat/completions") == 0 ? API_CHAT : API_TEXT);
    if (!r->chat && strcmp(url, "/v1/completions") != 0)
        return err_set(e, E_UNSUPPORTED,
                       "url '%.60s': must be /v1/completions or "
                       "/v1/chat/completions",
                       url);
    if (method && strcmp(method, "POST") != 0)
        return err_set(e, E_RANGE, "method '%.20s': must be POST", method);
    return 0;
}

static int check_context(struct api_request *r, const struct api_opts *o, struct err *e)
{
    for (int i = 0; o->n_ctx > 0 && i < r->n_prompt; i++)
        if (r->prompt[i].n >= (size_t)o->n_ctx) {
            r->param = r->chat ? "messages" : "prompt";
            return err_set(e, E_CONTEXT,
                           "this model's maximum context length is %d tokens, but the request has "
                           "%zu tokens of prompt and needs room for an answer",
                           o->n_ctx, r->prompt[i].n);
        }
    return 0;
}

/* What the fields come to when all have been read. */
static int settle(struct api_request *r, struct err *e)
{
    if (r->best_of && r->best_of < r->n) {
        r->param = "best_of";
        return err_set(e, E_RANGE, "best_of %d: must be at least n, which is %d", r->best_of, r->n);
    }
    if (!r->best_of)
        r->best_of = r->n;
    if (r->stream && r->best_of > r->n) {
        r->param = "best_of";
        return err_set(e, E_RANGE, "best_of: cannot be more than n in a stream");
    }
    if (r->logprobs > RILL_TOP) {
        r->param = r->chat ? "top_logprobs" : "logprobs";
        return err_set(e, E_RANGE, "%s %d: at most %d", r->param, r->logprobs, RILL_TOP);
    }
    r->q.n = r->best_of;
    r->q.logprobs = r->logprobs >= 0 || r->best_of > r->n;
    r->q.top_logprobs = r->logprobs > 0 ? r->logprobs : 0;
    r->q.prompt_logits = r->echo && r->logprobs >= 0;
    return api_check_tools(r, e);
}

int api_read_fields(struct api_request *r, const struct api_opts *o, const json_t *body,
                    struct err *e)
{
    const char *name;
    json_t *v;
    int rc;

    json_object_foreach((json_t *)(uintptr_t)body, name, v)
    {
        bool own = !r->batch && strcmp(name, "custom_id") == 0;

        if (!own && (rc = api_field(r, o, name, v, e)) < 0)
            return rc;
    }
    return 0;
}

static int read_body(struct api_request *r, const struct api_opts *o, const json_t *body,
                     struct err *e)
{
    const json_t *prompt = json_object_get(body, r->chat ? "messages" : "prompt");
    int rc = api_read_fields(r, o, body, e);

    if (rc < 0 || (rc = settle(r, e)) < 0)
        return rc;
    r->param = r->chat ? "messages" : "prompt";
    if (!prompt)
        return err_set(e, E_RANGE, "the request has neither prompt nor messages");
    rc = r->chat ? read_messages(r, o, body, e) : api_read_prompts(r, o, "prompt", prompt, e);
    rc = rc < 0 ? rc : check_context(r, o, e);
    return rc < 0 ? rc : api_obey(r, o, e);
}

json_t *api_json(struct slice text, struct err *e)
{
    json_error_t why;
    json_t *v;

    if (text.n > API_BODY_MAX) {
        err_set(e, E_RANGE, "a line of more than %zu bytes", API_BODY_MAX);
        return NULL;
    }
    v = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (!v)
        err_set(e, E_FORMAT, "not JSON: %s (at byte %d)", why.text, why.position);
    return v;
}

void api_begin(struct api_request *r, const struct api_opts *o, enum api_kind kind)
{
    *r = (struct api_request){.n = 1, .logprobs = -1, .obey = -1};
    set_kind(r, kind);
    r->q.sampling = o->sampling;
    r->q.sampling.has_seed = false;
    r->q.max_tokens = o->max_tokens;
    r->q.draft = o->draft;
    r->q.lora = o->lora;
    r->q.n_lora = o->n_lora;
}

int api_parse(struct api_request *r, const struct api_opts *o, struct slice line, struct err *e)
{
    const json_t *body;
    int rc;

    api_begin(r, o, API_TEXT);
    r->json = api_json(line, e);
    if (!r->json)
        return e->code;
    if (!json_is_object(r->json))
        return err_set(e, E_FORMAT, "not a JSON object");
    rc = read_custom_id(r, r->json, e);
    rc = rc < 0 ? rc : open_batch(r, r->json, &body, e);
    return rc < 0 ? rc : read_body(r, o, body, e);
}

int api_parse_json(struct api_request *r, const struct api_opts *o, enum api_kind kind,
                   json_t *take, struct err *e)
{
    api_begin(r, o, kind);
    r->batch = true; // a body has no custom_id of its own
    r->json = take;
    if (!json_is_object(take))
        return err_set(e, E_FORMAT, "the body is not a JSON object");
    return read_body(r, o, take, e);
}

int api_parse_body(struct api_request *r, const struct api_opts *o, bool chat, struct slice body,
                   struct err *e)
{
    json_t *v = api_json(body, e);

    if (!v) {
        api_begin(r, o, chat ? API_CHAT : API_TEXT);
        return e->code;
    }
    return api_parse_json(r, o, chat ? API_CHAT : API_TEXT, v, e);
}

int api_parse_form(struct api_request *r, const struct api_opts *o, enum api_kind kind,
                   int (*translate)(json_t *out, const json_t *body, struct api_request *noted,
                                    struct err *e),
                   struct slice body, struct err *e)
{
    json_t *given = api_json(body, e), *chat = json_object();
    struct api_request noted = {0};
    int rc = !given ? e->code : !chat ? err_nomem(e, 0) : 0;

    *r = (struct api_request){0};
    if (rc == 0 && !json_is_object(given))
        rc = err_set(e, E_FORMAT, "the body is not a JSON object");
    rc = rc < 0 ? rc : api_translate(chat, &noted, o, kind, given, e);
    rc = rc < 0 ? rc : translate(chat, given, &noted, e);
    if (rc < 0) {
        r->param = noted.param;
        json_decref(chat);
    } else if ((rc = api_parse_json(r, o, API_CHAT, chat, e)) < 0) {
        api_call_it(r, kind, given, e);
    }
    r->form = given; // what param may point into
    if (noted.warnings.n && r->warnings.n)
        buf_byte(&r->warnings, ',');
    buf_slice(&r->warnings, buf_view(&noted.warnings));
    buf_fini(&noted.warnings);
    return rc;
}

void api_fini(struct api_request *r)
{
    for (int i = 0; i < r->n_prompt; i++)
        api_prompt_fini(&r->prompt[i]);
    rill_constraint_free(r->constraint);
    mem_free(r->prompt);
    mem_free(r->custom_id);
    mem_free(r->bias);
    mem_free(r->allowed);
    buf_fini(&r->warnings);
    buf_fini(&r->repeated);
    json_decref(r->json);
    json_decref(r->form);
    *r = (struct api_request){0};
}
