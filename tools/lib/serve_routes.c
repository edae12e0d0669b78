/* serve_routes.c - see serve_in.h: which path is what, and who may ask for it. */
#include "tools/lib/serve_in.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "tools/lib/page.h"

static const struct route routes[] = {
    {"/chat/completions", "POST", R_CALL, false, KEY_INFER, &form_chat, NULL, API_CHAT,
     "messages to an answer, whole or as a stream", NULL},
    {"/completions", "POST", R_CALL, false, KEY_INFER, &form_text, NULL, API_TEXT,
     "prompts to text, whole or as a stream", NULL},
    {"/messages", "POST", R_CALL, false, KEY_INFER, &form_messages, NULL, API_MESSAGES,
     "Anthropic's messages to an answer, whole or as a stream", NULL},
    {"/messages/count_tokens", "POST", R_TEXT, false, KEY_INFER, &form_messages, text_count,
     API_MESSAGES, "how many tokens their prompt has", NULL},
    {"/responses", "POST", R_CALL, false, KEY_INFER, &form_responses, NULL, API_RESPONSES,
     "items to items, whole or as a stream; nothing is stored", NULL},
    {"/embeddings", "POST", R_CALL, false, KEY_INFER, &form_embed, NULL, API_EMBED,
     "texts to vectors", NULL},
    {"/rerank", "POST", R_CALL, false, KEY_INFER, &form_rank, NULL, API_RANK,
     "a query and documents to scores", NULL},
    {"/infill", "POST", R_CALL, false, KEY_INFER, &form_infill, NULL, API_TEXT | API_INFILL,
     "the text between two others", NULL},
    {"/tokenize", "POST", R_TEXT, false, KEY_INFER, &form_text, text_tokenize, API_TOKENIZE,
     "content or messages to token ids", NULL},
    {"/detokenize", "POST", R_TEXT, false, KEY_INFER, &form_text, text_detokenize, API_DETOKENIZE,
     "tokens to text", NULL},
    {"/apply-template", "POST", R_TEXT, false, KEY_INFER, &form_chat, text_template, API_CHAT,
     "messages to the text the model would see", NULL},
    {"/lora", "GET", R_ACT, false, KEY_INFER, &form_text, admin_none, 0, "the adapters there are",
     lora_list},
    {"/lora", "POST", R_ACT, false, KEY_ADMIN, &form_text, lora_read, API_LORA,
     "load, unload or scale an adapter", lora_change},
    {"/sessions", "GET", R_TEXT, false, KEY_ADMIN, &form_text, session_list, 0,
     "the saved beginnings of prompts", NULL},
    {"/sessions", "POST", R_ACT, false, KEY_ADMIN, &form_text, session_read, API_SESSION,
     "save, restore, fork or erase one", session_change},
    {"/models", "GET", R_MODELS, false, KEY_INFER, NULL, NULL, 0, "the models; below, one of them",
     NULL},
    {"/props", "GET", R_PROPS, false, KEY_INFER, NULL, NULL, 0, "settings of a model (?model=NAME)",
     NULL},
    {"/metrics", "GET", R_METRICS, false, KEY_METRICS, NULL, NULL, 0, "counters, for Prometheus",
     NULL},
    {"/health", "GET", R_HEALTH, true, 0, NULL, NULL, 0, "whether the process runs", NULL},
    {"/ready", "GET", R_READY, true, 0, NULL, NULL, 0, "whether requests are taken", NULL},
    {"/version", "GET", R_VERSION, true, 0, NULL, NULL, 0, "the version", NULL},
    {"/openapi.json", "GET", R_OPENAPI, true, 0, NULL, NULL, 0, "this description", NULL},
    {"/", "GET", R_PAGE, true, 0, NULL, NULL, 0, "a page to chat with", NULL},
    {"/page", "GET", R_PAGE, true, 0, NULL, NULL, 0, "its files, below", NULL},
};

const struct route *route_at(size_t i)
{
    return i < ARRAY_LEN(routes) ? &routes[i] : NULL;
}

/* The path without /v1 in front and slashes behind. */
static struct slice bare(const char *path)
{
    struct slice s = slice_of(path);

    while (s.n > 1 && s.p[s.n - 1] == '/')
        s.n--;
    if (slice_starts(s, SLICE("/v1/")))
        s = (struct slice){s.p + 3, s.n - 3};
    return s;
}

/* What lies below a path: "/models/a/b" gives "a/b" for "/models". */
static bool below(struct slice path, const char *dir, struct slice *rest)
{
    size_t n = strlen(dir);

    if (path.n <= n + 1 || memcmp(path.p, dir, n) != 0 || path.p[n] != '/')
        return false;
    *rest = (struct slice){path.p + n + 1, path.n - n - 1};
    return true;
}

static bool is_at(const struct route *t, struct slice path, struct slice *rest)
{
    return slice_is(path, t->path) ||
           ((t->kind == R_MODELS || t->kind == R_PAGE) && below(path, t->path, rest));
}

/* The route of a path and method; where the path has no such method, one that it has. */
static const struct route *find(const char *path, struct slice method, struct slice *rest)
{
    const struct route *found = NULL;
    struct slice s = bare(path);

    *rest = (struct slice){NULL, 0};
    if (slice_is(method, "HEAD"))
        method = SLICE("GET");
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        if (is_at(&routes[i], s, rest) && (!found || slice_is(method, routes[i].method)))
            found = &routes[i];
    return found;
}

/* The methods that a path has. */
static void put_allow(struct buf *b, const char *path)
{
    struct slice s = bare(path), rest;

    buf_str(b, "Allow: ");
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        if (is_at(&routes[i], s, &rest))
            buf_printf(b, "%s, ", strcmp(routes[i].method, "GET") == 0 ? "GET, HEAD" : "POST");
    buf_str(b, "OPTIONS\r\n");
}

/* -- who asks -- */

int route_key(const struct server *s, const struct http_request *r)
{
    struct slice bearer = reqhead_get(r->head, "authorization");
    struct slice key = reqhead_get(r->head, "x-api-key");

    if (!s->keys)
        return -2;
    if (!key.n && bearer.n > 7 && strncasecmp(bearer.p, "bearer ", 7) == 0)
        key = (struct slice){bearer.p + 7, bearer.n - 7};
    return key.n ? keys_find(s->keys, key) : -1;
}

struct slice route_origin(const struct server *s, const struct http_request *r)
{
    struct slice origin = reqhead_get(r->head, "origin");

    for (int i = 0; i < s->o.n_cors; i++)
        if (slice_is(origin, s->o.cors[i]))
            return origin;
    return (struct slice){NULL, 0};
}

/* The name in a Host, without its port. */
static struct slice host_name(struct slice h)
{
    const char *end = h.n && *h.p == '[' ? memchr(h.p, ']', h.n) : NULL;
    const char *colon = end ? NULL : memchr(h.p ? h.p : "", ':', h.n);

    if (end)
        h.n = (size_t)(end + 1 - h.p);
    else if (colon)
        h.n = (size_t)(colon - h.p);
    return h;
}

/* A page elsewhere may point a name of its own at this machine: requests it then makes carry that
 * name. */
static bool good_host(const struct server *s, const struct http_request *r)
{
    static const char *const own[] = {"localhost", "127.0.0.1", "[::1]"};
    struct slice h = host_name(r->head->host);

    if ((!s->o.loopback && s->o.n_host == 0) || strcmp(r->peer, "unix") == 0)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        if (h.n == strlen(own[i]) && strncasecmp(h.p, own[i], h.n) == 0)
            return true;
    for (int i = 0; i < s->o.n_host; i++)
        if (h.n == strlen(s->o.hosts[i]) && strncasecmp(h.p, s->o.hosts[i], h.n) == 0)
            return true;
    return s->o.host && slice_is(h, s->o.host);
}

/* -- before the body is there -- */

static bool refuse(struct server *s, const struct http_request *r, struct http_answer *a,
                   const struct form *form, int status, const char *type, const char *code,
                   const char *message)
{
    struct api_status st = {status, type, code};

    reply_error(a, form, &st, message, NULL);
    reply_fields(s, r, a);
    reply_count(s, r, a);
    return true;
}

static bool preflight(struct server *s, const struct http_request *r, const struct route *t,
                      struct http_answer *a)
{
    a->status = 204;
    put_allow(&a->fields, r->head->path);
    if (route_origin(s, r).n)
        buf_printf(&a->fields,
                   "Access-Control-Allow-Methods: %s, OPTIONS\r\nAccess-Control-Allow-Headers: "
                   "authorization, content-type, x-api-key, anthropic-version, anthropic-beta, "
                   "anthropic-dangerous-direct-browser-access, openai-beta, x-request-id, "
                   "x-stainless-arch, x-stainless-lang, x-stainless-os, "
                   "x-stainless-package-version, x-stainless-retry-count, x-stainless-runtime, "
                   "x-stainless-runtime-version, x-stainless-timeout\r\n"
                   "Access-Control-Max-Age: 600\r\n",
                   t->method);
    reply_fields(s, r, a);
    reply_count(s, r, a);
    return true;
}

static bool wrong_type(const struct http_request *r)
{
    struct slice type = reqhead_get(r->head, "content-type");
    const char *semi = memchr(type.p ? type.p : "", ';', type.n);

    if (semi)
        type.n = (size_t)(semi - type.p);
    while (type.n && type.p[type.n - 1] == ' ')
        type.n--;
    return type.p && !(type.n == 16 && strncasecmp(type.p, "application/json", 16) == 0);
}

static bool wrong_coding(const struct http_request *r)
{
    struct slice coding = reqhead_get(r->head, "content-encoding");

    return coding.n && !slice_is(coding, "identity");
}

static bool wrong_key(struct server *s, const struct http_request *r, const struct route *t,
                      struct http_answer *a)
{
    static const char type[] = "authentication_error";
    int key = t->open ? -2 : route_key(s, r);

    if (key == -1)
        return refuse(s, r, a, t->form, 401, type, "invalid_api_key",
                      "no known key: send one as Authorization: Bearer or x-api-key");
    if (key >= 0 && !(keys_at(s->keys, key)->scopes & t->scope))
        return refuse(s, r, a, t->form, 403, "permission_error", "scope_not_allowed",
                      "this key may not ask for this");
    return false;
}

bool route_early(void *ctx, const struct http_request *r, struct http_answer *a)
{
    static const char bad[] = "invalid_request_error";
    struct server *s = ctx;
    struct slice rest, method = r->head->method;
    const struct route *t = find(r->head->path, r->head->method, &rest);
    bool get;

    if (!good_host(s, r))
        return refuse(s, r, a, NULL, 403, "permission_error", "host_not_allowed",
                      "the Host is none of this server's names (--allow-host adds one)");
    if (!t)
        return refuse(s, r, a, NULL, 404, bad, "unknown_url", "there is nothing at this path");
    if (slice_is(method, "OPTIONS"))
        return preflight(s, r, t, a);
    get = strcmp(t->method, "GET") == 0;
    if (!slice_is(method, t->method) && !(get && slice_is(method, "HEAD"))) {
        put_allow(&a->fields, r->head->path);
        return refuse(s, r, a, t->form, 405, bad, "method_not_allowed",
                      "this path takes another method");
    }
    if (wrong_key(s, r, t, a))
        return true;
    if (!get && wrong_coding(r))
        return refuse(s, r, a, t->form, 415, bad, "unsupported_encoding",
                      "compressed bodies are not read: send it as it is");
    if (!get && wrong_type(r))
        return refuse(s, r, a, t->form, 415, bad, "unsupported_media_type",
                      "the body must be JSON: send Content-Type: application/json");
    return false;
}

void route_refused(void *ctx, const char *why, struct http_answer *a)
{
    struct server *s = ctx;
    struct api_status st = {a->status, "invalid_request_error", NULL};
    struct http_request none = {NULL, {NULL, 0}, NULL};

    reply_error(a, NULL, &st, why, NULL);
    reply_fields(s, &none, a);
    reply_count(s, &none, a);
}

/* -- models by name -- */

static int worker_by(const struct server *s, struct slice name)
{
    for (int i = 0; i < s->o.n_worker; i++)
        if (slice_is(name, s->o.worker[i].name))
            return i;
    for (int k = 0; k < s->o.n_alias; k++) {
        const char *eq = strchr(s->o.alias[k], '=');
        struct slice alias = {s->o.alias[k], (size_t)(eq - s->o.alias[k])};

        for (int i = 0; slice_eq(name, alias) && i < s->o.n_worker; i++)
            if (strcmp(eq + 1, s->o.worker[i].name) == 0)
                return i;
    }
    return -1;
}

/* The string behind "model" at the top of a JSON object, without reading all of it: strings and
 * depth are enough. A body that is no JSON is refused later, by who reads it. */
static struct slice model_of(struct slice body)
{
    int depth = 0;
    bool key = false;

    for (size_t i = 0; i < body.n; i++) {
        size_t from = i + 1;

        switch (body.p[i]) {
        case '{':
        case '[':
            depth++;
            break;
        case '}':
        case ']':
            depth--;
            break;
        case '"':
            for (i++; i < body.n && body.p[i] != '"'; i++)
                i += body.p[i] == '\\';
            if (i >= body.n)
                return (struct slice){NULL, 0};
            if (depth == 1 && key)
                return (struct slice){body.p + from, i - from};
            key = depth == 1 && slice_is((struct slice){body.p + from, i - from}, "model");
            break;
        case ',':
            key = false;
            break;
        default:
            break;
        }
    }
    return (struct slice){NULL, 0};
}

/* Which model is asked, or -1. With one model any name will do, unless names are to be right. */
static int choose(const struct server *s, struct slice body)
{
    struct slice name = model_of(body);
    json_t *plain = NULL;
    int i;

    if (name.p && memchr(name.p, '\\', name.n)) // "org\/name", as some write it
        plain = json_loadb(name.p - 1, name.n + 2, JSON_DECODE_ANY, NULL);
    if (plain)
        name = (struct slice){json_string_value(plain), json_string_length(plain)};
    i = name.p ? worker_by(s, name) : -1;
    json_decref(plain);
    if (i >= 0)
        return i;
    return (s->o.n_worker == 1 && !s->o.strict_model) || !name.p ? 0 : -1;
}

/* -- requests -- */

static void answer(struct server *s, struct http_x *x, const struct http_request *r,
                   struct http_answer *a)
{
    reply_fields(s, r, a);
    reply_count(s, r, a);
    http_reply(x, a);
}

static void begin(struct server *s, struct http_x *x, const struct http_request *r,
                  const struct route *t)
{
    struct http_answer a = {0};
    struct api_status loading = {503, "server_error", "loading"};
    struct api_status unknown = {404, "invalid_request_error", "model_not_found"};
    int model = choose(s, r->body);

    if (!server_ready(s)) {
        if (s->drain_until > 0)
            loading.code = "shutting_down";
        reply_error(&a, t->form, &loading,
                    s->drain_until > 0 ? "the server is shutting down"
                                       : "the model is being loaded: try again",
                    NULL);
    } else if (model < 0) {
        reply_error(&a, t->form, &unknown,
                    "there is no such model here: GET /v1/models lists those there are", "model");
    } else {
        call_begin(s, x, r, model, t);
        return;
    }
    answer(s, x, r, &a);
}

static void models(struct server *s, const struct http_request *r, struct slice rest,
                   struct http_answer *a)
{
    struct api_status unknown = {404, "invalid_request_error", "model_not_found"};
    bool anthropic = reqhead_get(r->head, "anthropic-version").p != NULL;
    int i = rest.p ? worker_by(s, rest) : 0;

    if (i < 0)
        reply_error(a, NULL, &unknown, "there is no such model here", "model");
    else if (rest.p)
        text_model(s, &a->body, i, anthropic);
    else
        text_models(s, &a->body, anthropic);
}

static void state(const struct server *s, struct http_answer *a, bool ready)
{
    const char *what = s->drain_until > 0            ? "draining"
                       : s->n_loaded < s->o.n_worker ? "loading"
                                                     : "ok";

    if (ready && !server_ready(s)) {
        a->status = 503;
        buf_str(&a->fields, "Retry-After: 1\r\n");
    }
    buf_printf(&a->body, "{\"status\":\"%s\"}", what);
}

/* Of the model that the query names, or of the first. */
static void props(struct server *s, const struct http_request *r, struct http_answer *a)
{
    struct api_status unknown = {404, "invalid_request_error", "model_not_found"};
    char name[256];
    int i = reqhead_query(r->head, "model", name, sizeof name) ? worker_by(s, slice_of(name)) : 0;

    if (i < 0)
        reply_error(a, NULL, &unknown, "there is no such model here", "model");
    else if (!server_ready(s))
        state(s, a, true);
    else
        text_props(s, &a->body, i);
}

/* The page or a file of it. It is made of these files alone, and may talk to this server alone. */
static void page(struct slice name, struct http_answer *a)
{
    static const struct {
        const char *end, *type;
    } types[] = {{".html", "text/html; charset=utf-8"},
                 {".css", "text/css; charset=utf-8"},
                 {".js", "text/javascript; charset=utf-8"},
                 {".svg", "image/svg+xml"}};
    struct api_status unknown = {404, "invalid_request_error", "unknown_url"};
    int i = 0;

    if (!name.n)
        name = SLICE("index.html");
    while (i < page_n && !slice_is(name, page_files[i].name))
        i++;
    if (i == page_n) {
        reply_error(a, NULL, &unknown, "there is nothing at this path", NULL);
        return;
    }
    for (size_t k = 0; k < ARRAY_LEN(types); k++)
        if (slice_ends(name, slice_of(types[k].end)))
            a->type = types[k].type;
    buf_add(&a->body, page_files[i].data, page_files[i].n);
    buf_str(&a->fields,
            "Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n"
            "Referrer-Policy: no-referrer\r\nContent-Security-Policy: default-src 'none'; "
            "script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
            "require-trusted-types-for 'script'; trusted-types 'none'\r\n");
}

void route_request(void *ctx, struct http_x *x, const struct http_request *r)
{
    struct server *s = ctx;
    struct http_answer a = {.status = 200, .type = "application/json"};
    struct slice rest;
    const struct route *t = find(r->head->path, r->head->method, &rest);

    switch (t->kind) {
    case R_CALL:
    case R_TEXT:
    case R_ACT:
        begin(s, x, r, t);
        return;
    case R_HEALTH:
    case R_READY:
        state(s, &a, t->kind == R_READY);
        break;
    case R_VERSION:
        buf_printf(&a.body, "{\"version\":\"%s\"}", rill_version());
        break;
    case R_OPENAPI:
        openapi_write(&a.body);
        break;
    case R_METRICS:
        a.type = "text/plain; version=0.0.4; charset=utf-8";
        metrics_write(&a.body, s->metrics, s->worker, s->o.n_worker, s->keys, s->status,
                      http_connections(s->http), s->gpus, s->no_gpus.text);
        break;
    case R_MODELS:
        models(s, r, rest, &a);
        break;
    case R_PAGE:
        page(rest, &a);
        break;
    case R_PROPS:
        props(s, r, &a);
        break;
    }
    answer(s, x, r, &a);
}
