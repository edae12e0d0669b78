/* api.c - see api.h: reading requests. */
#include "tools/lib/api.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tools/lib/opt.h"
#include "tools/lib/sampling.h"

#define STRINGS_MAX 64 // stop strings, prompts of one request: 64 and 1024
#define PROMPTS_MAX 1024

/* -- warnings -- */

static void warn(struct api_request *r, const char *fmt, const char *name)
{
    struct buf b = {0};

    buf_printf(&b, fmt, name);
    if (r->warnings.n)
        buf_byte(&r->warnings, ',');
    buf_json(&r->warnings, buf_view(&b));
    buf_fini(&b);
}

/* -- fields with a reader of their own -- */

struct reading {
    struct api_request *r;
    const struct api_opts *o;
};

typedef int read_fn(struct reading *g, const char *name, const json_t *v, struct err *e);

static int read_int(const char *name, const json_t *v, int lo, int *out, struct err *e)
{
    json_int_t i = json_integer_value(v);

    if (!json_is_integer(v) || i < lo || i > INT_MAX)
        return err_set(e, E_RANGE, "%s: must be a whole number from %d on", name, lo);
    *out = (int)i;
    return 0;
}

static int read_stop(struct reading *g, const char *name, const json_t *v, struct err *e)
{
    size_t n = json_is_array(v) ? json_array_size(v) : 1;

    if (n > STRINGS_MAX)
        return err_set(e, E_RANGE, "%s: more than %d strings", name, STRINGS_MAX);
    for (size_t i = 0; i < n; i++) {
        const json_t *s = json_is_array(v) ? json_array_get(v, i) : v;

        if (!json_is_string(s))
            return err_set(e, E_RANGE, "%s: must be a string or a list of strings", name);
        g->r->stop[i] = (struct rill_stop){json_string_value(s), json_string_length(s)};
    }
    g->r->q.stop = g->r->stop;
    g->r->q.n_stop = (int)n;
    return 0;
}

static int read_seed(struct reading *g, const char *name, const json_t *v, struct err *e)
{
    if (!json_is_integer(v))
        return err_set(e, E_RANGE, "%s: must be a whole number", name);
    g->r->q.sampling.has_seed = true;
    g->r->q.sampling.seed = (uint64_t)json_integer_value(v);
    return 0;
}

static int read_bias(struct reading *g, const char *name, const json_t *v, struct err *e)
{
    struct rill_sampling *s = &g->r->q.sampling;
    const size_t n = json_object_size(v);
    const char *key;
    json_t *add;

    if (!json_is_object(v))
        return err_set(e, E_RANGE, "%s: must be an object of token ids and numbers", name);
    g->r->bias = mem_array(n, sizeof *g->r->bias, e);
    if (!g->r->bias)
        return E_NOMEM;
    s->bias = g->r->bias;
    s->n_bias = 0;
    json_object_foreach((json_t *)(uintptr_t)v, key, add)
    {
        char *end;
        long id = strtol(key, &end, 10);
        double x = json_number_value(add);

        if (end == key || *end || id < 0 || id > INT32_MAX || !json_is_number(add))
            return err_set(e, E_RANGE, "%s: '%.40s' is no token id with a number", name, key);
        /* the API's range is -100 to 100, whose ends mean never and always */
        g->r->bias[s->n_bias++] = (struct rill_bias){(int32_t)id, x <= -100 ? -INFINITY : (float)x};
    }
    return 0;
}

static int read_allowed(struct reading *g, const char *name, const json_t *v, struct err *e)
{
    struct rill_sampling *s = &g->r->q.sampling;
    const size_t n = json_array_size(v);

    if (!json_is_array(v) || n == 0 || n > INT_MAX)
        return err_set(e, E_RANGE, "%s: must be a list of token ids", name);
    g->r->allowed = mem_array(n, sizeof *g->r->allowed, e);
    if (!g->r->allowed)
        return E_NOMEM;
    for (size_t i = 0; i < n; i++)
        if (read_int(name, json_array_get(v, i), 0, &g->r->allowed[i], e) < 0)
            return E_RANGE;
    s->allowed = g->r->allowed;
    s->n_allowed = (int)n;
    return 0;
}

static int read_samplers(struct reading *g, const char *name, const json_t *v, struct err *e)
{
    unsigned char *order = g->r->q.sampling.order;
    const size_t n = json_array_size(v);

    if (!json_is_array(v) || n == 0 || n >= RILL_FILTERS)
        return err_set(e, E_RANGE, "%s: must be a list of filters", name);
    memset(order, 0, RILL_FILTERS);
    for (size_t i = 0; i < n; i++) {
        const json_t *s = json_array_get(v, i);

        order[i] = json_is_string(s)
                       ? (unsigned char)sampling_filter(json_string_value(s), json_string_length(s))
                       : 0;
        if (!order[i])
            return err_set(e, E_RANGE, "%s: '%.40s' is no filter", name,
                           json_is_string(s) ? json_string_value(s) : "?");
    }
    return 0;
}

/* An integer with a text completion, true or false with a chat. */
static int read_logprobs(struct reading *g, const char *name, const json_t *v, struct err *e)
{
    int n = 0;

    if (g->r->chat && json_is_boolean(v)) {
        if (json_is_true(v) && g->r->logprobs < 0)
            g->r->logprobs = 0;
        return 0;
    }
    if (g->r->chat)
        return err_set(e, E_RANGE, "%s: must be true or false", name);
    if (read_int(name, v, 0, &n, e) < 0)
        return E_RANGE;
    g->r->logprobs = n;
    return 0;
}

static int read_top_logprobs(struct reading *g, const char *name, const json_t *v, struct err *e)
{
    return read_int(name, v, 0, &g->r->logprobs, e);
}

static int read_skip_special(struct reading *g, const char *name, const json_t *v, struct err *e)
{
    if (!json_is_boolean(v))
        return err_set(e, E_RANGE, "%s: must be true or false", name);
    g->r->q.show_control = json_is_false(v);
    return 0;
}

/* Requests find each other's keys and values only with the same salt. */
static int read_salt(struct reading *g, const char *name, const json_t *v, struct err *e)
{
    uint64_t h = 14695981039346656037u; // FNV-1a

    if (!json_is_string(v))
        return err_set(e, E_RANGE, "%s: must be a string", name);
    for (size_t i = 0; i < json_string_length(v); i++)
        h = (h ^ (uint8_t)json_string_value(v)[i]) * 1099511628211u;
    g->r->q.salt = h;
    return 0;
}

static int read_format(struct reading *g, const char *name, const json_t *v, struct err *e)
{
    const char *type = json_string_value(json_object_get(v, "type"));

    (void)g;
    if (type && strcmp(type, "text") == 0)
        return 0;
    return err_set(e, E_UNSUPPORTED, "%s: only {\"type\":\"text\"} is supported", name);
}

/* -- the table -- */

enum where { TEXT = 1, CHAT = 2, BOTH = 3 };
enum kind {
    K_FLOAT, // float at offset
    K_INT,   // int, from 0 on
    K_COUNT, // int, from 1 on
    K_ANY,   // int
    K_BOOL,
    K_CALL,
    K_ELSE,   // read elsewhere
    K_NOTHING // known, without effect
};

struct field {
    const char *name;
    unsigned char where, kind;
    size_t at; // offset in struct api_request
    read_fn *call;
};

#define REQ(m) offsetof(struct api_request, q.m)
#define SAM(m) offsetof(struct api_request, q.sampling.m)
#define OWN(m) offsetof(struct api_request, m)

static const struct field fields[] = {
    {"model", BOTH, K_ELSE, 0, NULL},
    {"prompt", TEXT, K_ELSE, 0, NULL},
    {"messages", CHAT, K_ELSE, 0, NULL},
    {"tools", CHAT, K_ELSE, 0, NULL},
    {"chat_template_kwargs", CHAT, K_ELSE, 0, NULL},
    {"add_generation_prompt", CHAT, K_ELSE, 0, NULL},
    {"max_tokens", BOTH, K_INT, REQ(max_tokens), NULL},
    {"max_completion_tokens", CHAT, K_INT, REQ(max_tokens), NULL},
    {"min_tokens", BOTH, K_INT, REQ(min_tokens), NULL},
    {"ignore_eos", BOTH, K_BOOL, REQ(ignore_eos), NULL},
    {"priority", BOTH, K_ANY, REQ(priority), NULL},
    {"n", BOTH, K_COUNT, OWN(n), NULL},
    {"best_of", TEXT, K_COUNT, OWN(best_of), NULL},
    {"echo", TEXT, K_BOOL, OWN(echo), NULL},
    {"logprobs", BOTH, K_CALL, 0, read_logprobs},
    {"top_logprobs", CHAT, K_CALL, 0, read_top_logprobs},
    {"stop", BOTH, K_CALL, 0, read_stop},
    {"seed", BOTH, K_CALL, 0, read_seed},
    {"logit_bias", BOTH, K_CALL, 0, read_bias},
    {"allowed_token_ids", BOTH, K_CALL, 0, read_allowed},
    {"samplers", BOTH, K_CALL, 0, read_samplers},
    {"skip_special_tokens", BOTH, K_CALL, 0, read_skip_special},
    {"cache_salt", BOTH, K_CALL, 0, read_salt},
    {"response_format", BOTH, K_CALL, 0, read_format},
    {"temperature", BOTH, K_FLOAT, SAM(temperature), NULL},
    {"dynatemp_range", BOTH, K_FLOAT, SAM(dynatemp_range), NULL},
    {"dynatemp_exponent", BOTH, K_FLOAT, SAM(dynatemp_exponent), NULL},
    {"top_k", BOTH, K_INT, SAM(top_k), NULL},
    {"top_p", BOTH, K_FLOAT, SAM(top_p), NULL},
    {"min_p", BOTH, K_FLOAT, SAM(min_p), NULL},
    {"typical_p", BOTH, K_FLOAT, SAM(typical_p), NULL},
    {"top_n_sigma", BOTH, K_FLOAT, SAM(top_n_sigma), NULL},
    {"xtc_probability", BOTH, K_FLOAT, SAM(xtc_probability), NULL},
    {"xtc_threshold", BOTH, K_FLOAT, SAM(xtc_threshold), NULL},
    {"repetition_penalty", BOTH, K_FLOAT, SAM(repetition_penalty), NULL},
    {"presence_penalty", BOTH, K_FLOAT, SAM(presence_penalty), NULL},
    {"frequency_penalty", BOTH, K_FLOAT, SAM(frequency_penalty), NULL},
    {"penalty_last", BOTH, K_ANY, SAM(penalty_last), NULL},
    {"dry_multiplier", BOTH, K_FLOAT, SAM(dry_multiplier), NULL},
    {"dry_base", BOTH, K_FLOAT, SAM(dry_base), NULL},
    {"dry_allowed_length", BOTH, K_INT, SAM(dry_allowed_length), NULL},
    {"dry_last", BOTH, K_ANY, SAM(dry_last), NULL},
    {"no_repeat_ngram_size", BOTH, K_INT, SAM(no_repeat_ngram), NULL},
    {"stream", BOTH, K_NOTHING, 0, NULL},
    {"stream_options", BOTH, K_NOTHING, 0, NULL},
    {"user", BOTH, K_NOTHING, 0, NULL},
    {"metadata", BOTH, K_NOTHING, 0, NULL},
    {"store", BOTH, K_NOTHING, 0, NULL},
    {"service_tier", BOTH, K_NOTHING, 0, NULL},
    {"safety_identifier", BOTH, K_NOTHING, 0, NULL},
    {"prompt_cache_key", BOTH, K_NOTHING, 0, NULL},
    {"cache_prompt", BOTH, K_NOTHING, 0, NULL},
};

static const struct field *find_field(const char *name, bool chat)
{
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (strcmp(fields[i].name, name) == 0 && (fields[i].where & (chat ? CHAT : TEXT)))
            return &fields[i];
    return NULL;
}

static int unknown(struct reading *g, const char *name, struct err *e)
{
    const char *names[ARRAY_LEN(fields)];
    int near;

    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        names[i] = fields[i].name;
    if (g->o->lenient) {
        warn(g->r, "field '%.60s' is not known: ignored", name);
        return 0;
    }
    near = opt_nearest_of(names, (int)ARRAY_LEN(names), name);
    if (near >= 0)
        return err_set(e, E_USAGE, "field '%.60s' is not known; did you mean '%s'?", name,
                       names[near]);
    return err_set(e, E_USAGE, "field '%.60s' is not known", name);
}

static int read_field(struct reading *g, const char *name, const json_t *v, struct err *e)
{
    const struct field *f = find_field(name, g->r->chat);
    void *at = f ? (char *)g->r + f->at : NULL;

    if (!f)
        return unknown(g, name, e);
    if (json_is_null(v)) // as if it were not there
        return 0;
    switch (f->kind) {
    case K_FLOAT:
        if (!json_is_number(v))
            return err_set(e, E_RANGE, "%s: must be a number", name);
        *(float *)at = (float)json_number_value(v);
        return 0;
    case K_INT:
    case K_COUNT:
        return read_int(name, v, f->kind == K_COUNT, at, e);
    case K_ANY:
        return read_int(name, v, INT_MIN, at, e);
    case K_BOOL:
        if (!json_is_boolean(v))
            return err_set(e, E_RANGE, "%s: must be true or false", name);
        *(bool *)at = json_is_true(v);
        return 0;
    case K_CALL:
        return f->call(g, name, v, e);
    case K_NOTHING:
        warn(g->r, "field '%s' has no effect here", name);
        return 0;
    default:
        return 0;
    }
}

/* -- prompts -- */

static int prompt_text(struct reading *g, struct api_prompt *p, struct slice text, unsigned flags,
                       struct err *e)
{
    buf_slice(&p->text, text);
    if (p->text.bad)
        return err_nomem(e, text.n);
    return rill_tokenize(g->o->model, text.p, text.n, flags, &p->ids, &p->n, e);
}

static int prompt_ids(struct api_prompt *p, const json_t *list, struct err *e)
{
    p->n = json_array_size(list);
    p->ids = mem_array(p->n, sizeof *p->ids, e);
    if (!p->ids)
        return E_NOMEM;
    for (size_t i = 0; i < p->n; i++)
        if (read_int("prompt", json_array_get(list, i), 0, &p->ids[i], e) < 0)
            return E_RANGE;
    return 0;
}

/* The text of ids, for echo. */
static void spell(const struct reading *g, struct api_prompt *p)
{
    for (size_t i = 0; i < p->n; i++) {
        size_t n;
        const char *piece = rill_piece(g->o->model, p->ids[i], false, &n);

        buf_add(&p->text, piece, n);
    }
}

/* A string, a list of strings, of ids, or of lists of ids. */
static int read_prompt(struct reading *g, const json_t *v, struct err *e)
{
    const bool one = json_is_string(v) || json_is_integer(json_array_get(v, 0));
    const size_t n = one ? 1 : json_array_size(v);
    struct api_request *r = g->r;

    if (!json_is_string(v) && (!json_is_array(v) || n == 0))
        return err_set(e, E_RANGE, "prompt: must be a string, token ids, or a list of these");
    if (n > PROMPTS_MAX)
        return err_set(e, E_RANGE, "prompt: more than %d in one request", PROMPTS_MAX);
    r->prompt = mem_array(n, sizeof *r->prompt, e);
    if (!r->prompt)
        return E_NOMEM;
    r->n_prompt = (int)n;
    for (size_t i = 0; i < n; i++) {
        const json_t *p = one ? v : json_array_get(v, i);
        struct slice text = {json_string_value(p), json_string_length(p)};
        int rc;

        if (json_is_string(p))
            rc = prompt_text(g, &r->prompt[i], text, RILL_ADD_SPECIAL, e);
        else if (json_is_array(p))
            rc = prompt_ids(&r->prompt[i], p, e);
        else
            rc = err_set(e, E_RANGE, "prompt: must be a string, token ids, or a list of these");
        if (rc < 0)
            return rc;
        if (json_is_array(p) && r->echo)
            spell(g, &r->prompt[i]);
    }
    return 0;
}

static int read_messages(struct reading *g, const json_t *body, struct err *e)
{
    struct api_request *r = g->r;
    char *text;
    int rc;

    if (!g->o->chat)
        return err_set(e, E_UNSUPPORTED, "messages: not here; give a prompt");
    r->prompt = mem_array(1, sizeof *r->prompt, e);
    if (!r->prompt)
        return E_NOMEM;
    r->n_prompt = 1;
    text = json_dumps(body, JSON_COMPACT);
    if (!text)
        return err_nomem(e, 0);
    rc = g->o->chat(g->o->ctx, text, strlen(text), &r->prompt[0], e);
    free(text); // jansson's
    if (rc == 0 && g->o->chat_stop && r->q.n_stop < (int)(sizeof r->stop / sizeof *r->stop)) {
        r->stop[r->q.n_stop++] = (struct rill_stop){g->o->chat_stop, strlen(g->o->chat_stop)};
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

/* The body of a batch line, and what its url asks for; a line that is a body is its own. */
static int open_batch(struct api_request *r, const json_t *line, const json_t **body, struct err *e)
{
    const char *url = json_string_value(json_object_get(line, "url"));
    const char *method = json_string_value(json_object_get(line, "method"));

    *body = json_object_get(line, "body");
    r->batch = *body || url || method;
    if (!r->batch) {
        *body = line;
        r->chat = json_object_get(line, "messages") != NULL;
        return 0;
    }
    if (!json_is_object(*body))
        return err_set(e, E_RANGE, "body: a batch line needs one");
    if (!url)
        return err_set(e, E_RANGE, "url: a batch line needs one");
    r->chat = strcmp(url, "/v1/chat/completions") == 0;
    if (!r->chat && strcmp(url, "/v1/completions") != 0)
        return err_set(e, E_UNSUPPORTED,
                       "url '%.60s': must be /v1/completions or "
                       "/v1/chat/completions",
                       url);
    if (method && strcmp(method, "POST") != 0)
        return err_set(e, E_RANGE, "method '%.20s': must be POST", method);
    return 0;
}

static int read_body(struct reading *g, const json_t *body, struct err *e)
{
    struct api_request *r = g->r;
    const json_t *prompt = json_object_get(body, r->chat ? "messages" : "prompt");
    const char *name;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)body, name, v)
    {
        bool own = !r->batch && strcmp(name, "custom_id") == 0;
        int rc = own ? 0 : read_field(g, name, v, e);

        if (rc < 0)
            return rc;
    }
    if (r->best_of < r->n)
        r->best_of = r->n;
    if (r->logprobs > RILL_TOP)
        return err_set(e, E_RANGE, "%s %d: at most %d", r->chat ? "top_logprobs" : "logprobs",
                       r->logprobs, RILL_TOP);
    r->q.n = r->best_of;
    r->q.logprobs = r->logprobs >= 0 || r->best_of > r->n;
    r->q.top_logprobs = r->logprobs > 0 ? r->logprobs : 0;
    r->q.prompt_logits = r->echo && r->logprobs >= 0;
    if (!prompt)
        return err_set(e, E_RANGE, "the request has neither prompt nor messages");
    return r->chat ? read_messages(g, body, e) : read_prompt(g, prompt, e);
}

int api_parse(struct api_request *r, const struct api_opts *o, struct slice line, struct err *e)
{
    struct reading g = {r, o};
    json_error_t why;
    const json_t *body;
    int rc;

    *r = (struct api_request){.n = 1, .best_of = 1, .logprobs = -1};
    r->q.sampling = o->sampling;
    r->q.sampling.has_seed = false;
    r->q.max_tokens = o->max_tokens;
    r->q.draft = o->draft;
    if (line.n > API_BODY_MAX)
        return err_set(e, E_RANGE, "a line of %zu bytes: at most %zu", line.n, API_BODY_MAX);
    r->json = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (!r->json)
        return err_set(e, E_FORMAT, "not JSON: %s (at byte %d)", why.text, why.position);
    if (!json_is_object(r->json))
        return err_set(e, E_FORMAT, "not a JSON object");
    rc = read_custom_id(r, r->json, e);
    rc = rc < 0 ? rc : open_batch(r, r->json, &body, e);
    return rc < 0 ? rc : read_body(&g, body, e);
}

void api_fini(struct api_request *r)
{
    for (int i = 0; i < r->n_prompt; i++) {
        mem_free(r->prompt[i].ids);
        buf_fini(&r->prompt[i].text);
    }
    mem_free(r->prompt);
    mem_free(r->custom_id);
    mem_free(r->bias);
    mem_free(r->allowed);
    buf_fini(&r->warnings);
    json_decref(r->json);
    *r = (struct api_request){0};
}
