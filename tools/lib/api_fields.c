/* api_fields.c - see api_fields.h. */
#include "tools/lib/api_fields.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tools/lib/js.h"
#include "tools/lib/opt.h"
#include "tools/lib/sampling.h"

/* -- warnings -- */

void api_warn(struct api_request *r, const char *fmt, const char *name)
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

int api_int(const char *name, const json_t *v, int lo, int *out, struct err *e)
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

    if (n > API_STOPS)
        return err_set(e, E_RANGE, "%s: more than %d strings", name, API_STOPS);
    for (size_t i = 0; i < n; i++) {
        const json_t *s = json_is_array(v) ? json_array_get(v, i) : v;

        if (!json_is_string(s) || json_string_length(s) == 0)
            return err_set(e, E_RANGE, "%s: must be a string or a list of strings, none empty",
                           name);
        g->r->stop[i] = (struct rill_stop){json_string_value(s), json_string_length(s)};
    }
    g->r->q.stop = g->r->stop;
    g->r->q.n_stop = (int)n;
    return 0;
}

/* A prompt that is only scored: the one token that the engine draws is not told. */
static int read_max(struct reading *g, const char *name, const json_t *v, struct err *e)
{
    const bool infill = strcmp(name, "n_predict") == 0; // where -1 is without limit

    if (infill && json_is_integer(v) && json_integer_value(v) == -1)
        return 0;
    if (api_int(name, v, 0, &g->r->q.max_tokens, e) < 0)
        return E_RANGE;
    g->r->score_only = g->r->q.max_tokens == 0;
    if (g->r->score_only)
        g->r->q.max_tokens = 1;
    return 0;
}

static int read_breakers(struct reading *g, const char *name, const json_t *v, struct err *e)
{
    struct rill_sampling *s = &g->r->q.sampling;
    const size_t n = json_array_size(v);

    if (!json_is_array(v) || n > ARRAY_LEN(g->r->breaker))
        return err_set(e, E_RANGE, "%s: must be a list of at most %zu strings", name,
                       ARRAY_LEN(g->r->breaker));
    for (size_t i = 0; i < n; i++) {
        const json_t *t = json_array_get(v, i);

        if (!json_is_string(t))
            return err_set(e, E_RANGE, "%s: must be a list of strings", name);
        g->r->breaker[i] = (struct rill_stop){json_string_value(t), json_string_length(t)};
    }
    if (n == 0)
        g->r->breaker[0] = (struct rill_stop){"", 0}; // in no token
    s->dry_breaker = g->r->breaker;
    s->n_dry_breaker = n ? (int)n : 1;
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
        if (api_int(name, json_array_get(v, i), 0, &g->r->allowed[i], e) < 0)
            return E_RANGE;
    s->allowed = g->r->allowed;
    s->n_allowed = (int)n;
    return 0;
}

static int read_lora(struct reading *g, const char *name, const json_t *v, struct err *e)
{
    const size_t n = json_array_size(v);

    if (!json_is_array(v) || n > RILL_LORA_MIX)
        return err_set(e, E_RANGE, "%s: must be a list of up to %d adapters", name, RILL_LORA_MIX);
    for (size_t i = 0; i < n; i++) {
        const json_t *u = json_array_get(v, i), *scale = json_object_get(u, "scale");

        if (!json_is_object(u) || (scale && !json_is_number(scale)) ||
            json_object_size(u) != (scale ? 2 : 1))
            return err_set(e, E_RANGE, "%s: must be a list of objects with an id and a scale",
                           name);
        if (api_int("lora: id", json_object_get(u, "id"), 0, &g->r->lora[i].id, e) < 0)
            return E_RANGE;
        g->r->lora[i].scale = scale ? (float)json_number_value(scale) : 1;
    }
    g->r->q.lora = g->r->lora;
    g->r->q.n_lora = (int)n;
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
    if (api_int(name, v, 0, &n, e) < 0)
        return E_RANGE;
    g->r->logprobs = n;
    return 0;
}

static int read_top_logprobs(struct reading *g, const char *name, const json_t *v, struct err *e)
{
    int n = 0, rc = api_int(name, v, 0, &n, e);

    if (n > 0) // none besides those drawn: logprobs says whether these are told
        g->r->logprobs = n;
    return rc;
}

static int read_skip_special(struct reading *g, const char *name, const json_t *v, struct err *e)
{
    if (!json_is_boolean(v))
        return err_set(e, E_RANGE, "%s: must be true or false", name);
    g->r->q.show_control = g->r->show_control = json_is_false(v);
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

static int read_string(struct reading *g, const char *name, const json_t *v, struct err *e)
{
    if (!json_is_string(v))
        return err_set(e, E_RANGE, "%s: must be a string", name);
    if (strcmp(name, "model") == 0)
        g->r->model = json_string_value(v);
    if (strcmp(name, "suffix") == 0) {
        g->r->suffix = json_string_value(v);
        g->r->n_suffix = json_string_length(v);
    }
    return 0;
}

static int read_options(struct reading *g, const char *name, const json_t *v, struct err *e)
{
    const json_t *usage = json_object_get(v, "include_usage");

    if (!json_is_object(v) || (usage && !json_is_boolean(usage) && !json_is_null(usage)))
        return err_set(e, E_RANGE, "%s: must be an object with include_usage: true or false", name);
    g->r->usage_chunk = json_is_true(usage);
    return 0;
}

/* -- tools -- */

/* The name of the i-th tool of a list, or NULL. */
static const char *tool_name(const json_t *tools, size_t i)
{
    const json_t *tool = json_array_get(tools, i);
    const json_t *f = json_object_get(tool, "function");

    return json_string_value(json_object_get(f ? f : tool, "name"));
}

static int read_tools(struct reading *g, const char *name, const json_t *v, struct err *e)
{
    if (!json_is_array(v))
        return err_set(e, E_RANGE, "%s: must be a list", name);
    for (size_t i = 0; i < json_array_size(v); i++) {
        const char *type = json_string_value(json_object_get(json_array_get(v, i), "type"));

        if (!type || strcmp(type, "function") != 0)
            return err_set(e, E_UNSUPPORTED, "%s: entry %zu is not of type \"function\"", name, i);
        if (!tool_name(v, i))
            return err_set(e, E_RANGE, "%s: entry %zu has no function with a name", name, i);
    }
    if (json_array_size(v))
        g->r->tools = v;
    return 0;
}

static int read_tool_choice(struct reading *g, const char *name, const json_t *v, struct err *e)
{
    static const char *const words[] = {"auto", "none", "required"};
    const json_t *f = json_object_get(v, "function");
    const char *word = json_string_value(v);

    for (size_t i = 0; word && i < ARRAY_LEN(words); i++)
        if (strcmp(word, words[i]) == 0) {
            g->r->calls = (enum api_calls)i;
            return 0;
        }
    g->r->called = json_string_value(json_object_get(f ? f : v, "name"));
    g->r->calls = API_CALLS_NAMED;
    if (!g->r->called)
        return err_set(e, E_RANGE,
                       "%s: must be \"auto\", \"none\", \"required\" or name a function", name);
    return 0;
}

/* The choice and the list are there in any order. */
int api_check_tools(struct api_request *r, struct err *e)
{
    size_t n = json_array_size(r->tools), i = 0;

    if (!r->tools && (r->calls == API_CALLS_REQUIRED || r->calls == API_CALLS_NAMED)) {
        r->param = "tool_choice";
        return err_set(e, E_RANGE, "tool_choice: there are no tools");
    }
    while (r->called && i < n && strcmp(tool_name(r->tools, i), r->called) != 0)
        i++;
    if (r->called && i == n) {
        r->param = "tool_choice";
        return err_set(e, E_RANGE, "tool_choice: there is no tool '%.60s'", r->called);
    }
    if (r->calls == API_CALLS_NONE)
        r->tools = NULL;
    return 0;
}

static int read_parallel(struct reading *g, const char *name, const json_t *v, struct err *e)
{
    if (!json_is_boolean(v))
        return err_set(e, E_RANGE, "%s: must be true or false", name);
    g->r->one_call = json_is_false(v);
    return 0;
}

static int read_obey(struct reading *g, const char *name, const json_t *v, struct err *e)
{
    return api_read_obey(g->r, name, v, e);
}

static int read_structured(struct reading *g, const char *name, const json_t *v, struct err *e)
{
    return api_read_structured(g->r, name, v, e);
}

static int read_format(struct reading *g, const char *name, const json_t *v, struct err *e)
{
    return api_read_format(g->r, name, v, e);
}

static int read_encoding(struct reading *g, const char *name, const json_t *v, struct err *e)
{
    const char *s = json_string_value(v);

    g->r->base64 = s && strcmp(s, "base64") == 0;
    if (!s || (!g->r->base64 && strcmp(s, "float") != 0))
        return err_set(e, E_RANGE, "%s: must be float or base64", name);
    return 0;
}

/* -- the table -- */

enum {
    TEXT = API_TEXT,
    CHAT = API_CHAT,
    BOTH = TEXT | CHAT,
    ALL = BOTH | API_EMBED | API_RANK,
    MESSAGES = API_MESSAGES,
    RESPONSES = API_RESPONSES,
    FORMS = MESSAGES | RESPONSES // which are translated to chats
};
enum kind {
    K_FLOAT, // float at offset
    K_INT,   // int, from 0 on
    K_COUNT, // int, from 1 on
    K_ANY,   // int
    K_BOOL,
    K_CALL,
    K_STREAM, // bool at offset, or a call; without effect where nothing is streamed
    K_AS,     // what chats have under another name
    K_ELSE,   // read elsewhere
    K_NOTHING // known, without effect
};

/* A name may have several rows, for requests of different kinds. */
struct field {
    const char *name;
    unsigned short where;
    unsigned char kind;
    size_t at; // offset in struct api_request
    read_fn *call;
    const char *types; // JSON's, by first letters, where the kind does not say them; of K_AS the
                       // other name
};

#define REQ(m) offsetof(struct api_request, q.m)
#define SAM(m) offsetof(struct api_request, q.sampling.m)
#define OWN(m) offsetof(struct api_request, m)

static const struct field fields[] = {
    {"model", ALL | FORMS, K_CALL, 0, read_string, "s"},
    {"prompt", TEXT, K_ELSE, 0, NULL, "sa"},
    {"messages", CHAT | MESSAGES | API_TOKENIZE, K_ELSE, 0, NULL, "a"},
    {"messages", RESPONSES, K_NOTHING, 0, NULL, NULL},
    {"system", MESSAGES, K_ELSE, 0, NULL, "sa"},
    {"instructions", RESPONSES, K_ELSE, 0, NULL, "s"},
    {"tools", CHAT, K_CALL, 0, read_tools, "a"},
    {"tools", FORMS | API_TOKENIZE, K_ELSE, 0, NULL, "a"},
    {"tool_choice", CHAT, K_CALL, 0, read_tool_choice, "so"},
    {"tool_choice", MESSAGES, K_ELSE, 0, NULL, "o"},
    {"tool_choice", RESPONSES, K_ELSE, 0, NULL, "so"},
    {"parallel_tool_calls", CHAT | RESPONSES, K_CALL, 0, read_parallel, "b"},
    {"input", API_EMBED | RESPONSES, K_ELSE, 0, NULL, "sa"},
    {"thinking", MESSAGES, K_ELSE, 0, NULL, "o"},
    {"reasoning", RESPONSES, K_ELSE, 0, NULL, "o"},
    {"text", RESPONSES, K_ELSE, 0, NULL, "o"},
    {"previous_response_id", RESPONSES, K_ELSE, 0, NULL, "s"},
    {"conversation", RESPONSES, K_ELSE, 0, NULL, "so"},
    {"background", RESPONSES, K_ELSE, 0, NULL, "b"},
    {"encoding_format", API_EMBED, K_CALL, 0, read_encoding, "s"},
    {"dimensions", API_EMBED, K_COUNT, OWN(dimensions), NULL, NULL},
    {"query", API_RANK, K_ELSE, 0, NULL, "s"},
    {"documents", CHAT | API_RANK, K_ELSE, 0, NULL, "a"},
    {"top_n", API_RANK, K_COUNT, OWN(top_n), NULL, NULL},
    {"return_documents", API_RANK, K_BOOL, OWN(with_documents), NULL, NULL},
    {"reasoning_effort", CHAT, K_ELSE, 0, NULL, "s"},
    {"enable_thinking", CHAT, K_ELSE, 0, NULL, "b"},
    {"continue_final_message", CHAT, K_ELSE, 0, NULL, "b"},
    {"input_prefix", API_INFILL, K_ELSE, 0, NULL, "s"},
    {"input_suffix", API_INFILL, K_ELSE, 0, NULL, "s"},
    {"input_extra", API_INFILL, K_NOTHING, 0, NULL, "a"},
    {"suffix", TEXT, K_CALL, 0, read_string, "s"},
    {"chat_template_kwargs", CHAT, K_ELSE, 0, NULL, "o"},
    {"add_generation_prompt", CHAT, K_ELSE, 0, NULL, "b"},
    {"max_tokens", CHAT | MESSAGES, K_COUNT, REQ(max_tokens), NULL, NULL},
    {"max_tokens", TEXT, K_CALL, 0, read_max, "i"},
    {"n_predict", API_INFILL, K_CALL, 0, read_max, "i"},
    {"max_completion_tokens", CHAT, K_COUNT, REQ(max_tokens), NULL, NULL},
    {"max_output_tokens", RESPONSES, K_AS, 0, NULL, "max_tokens"},
    {"min_tokens", BOTH, K_INT, REQ(min_tokens), NULL, NULL},
    {"ignore_eos", BOTH, K_BOOL, REQ(ignore_eos), NULL, NULL},
    {"priority", ALL, K_ANY, REQ(priority), NULL, NULL},
    {"n", BOTH, K_COUNT, OWN(n), NULL, NULL},
    {"best_of", TEXT, K_COUNT, OWN(best_of), NULL, NULL},
    {"echo", TEXT, K_BOOL, OWN(echo), NULL, NULL},
    {"logprobs", BOTH, K_CALL, 0, read_logprobs, "bi"},
    {"top_logprobs", CHAT, K_CALL, 0, read_top_logprobs, "i"},
    {"stop", BOTH, K_CALL, 0, read_stop, "sa"},
    {"stop_sequences", MESSAGES, K_AS, 0, NULL, "stop"},
    {"seed", BOTH, K_CALL, 0, read_seed, "i"},
    {"logit_bias", BOTH, K_CALL, 0, read_bias, "o"},
    {"allowed_token_ids", BOTH, K_CALL, 0, read_allowed, "a"},
    {"lora", BOTH, K_CALL, 0, read_lora, "a"},
    {"samplers", BOTH, K_CALL, 0, read_samplers, "a"},
    {"skip_special_tokens", BOTH, K_CALL, 0, read_skip_special, "b"},
    {"cache_salt", BOTH, K_CALL, 0, read_salt, "s"},
    {"response_format", BOTH, K_CALL, 0, read_format, "o"},
    {"grammar", BOTH, K_CALL, 0, read_obey, "s"},
    {"regex", BOTH, K_CALL, 0, read_obey, "s"},
    {"choices", BOTH, K_CALL, 0, read_obey, "a"},
    {"guided_json", BOTH, K_CALL, 0, read_obey, ""},
    {"guided_regex", BOTH, K_CALL, 0, read_obey, "s"},
    {"guided_choice", BOTH, K_CALL, 0, read_obey, "a"},
    {"guided_grammar", BOTH, K_CALL, 0, read_obey, "s"},
    {"structured_outputs", BOTH, K_CALL, 0, read_structured, "o"},
    {"temperature", BOTH | FORMS, K_FLOAT, SAM(temperature), NULL, NULL},
    {"dynatemp_range", BOTH, K_FLOAT, SAM(dynatemp_range), NULL, NULL},
    {"dynatemp_exponent", BOTH, K_FLOAT, SAM(dynatemp_exponent), NULL, NULL},
    {"top_k", BOTH | MESSAGES, K_INT, SAM(top_k), NULL, NULL},
    {"top_p", BOTH | FORMS, K_FLOAT, SAM(top_p), NULL, NULL},
    {"min_p", BOTH, K_FLOAT, SAM(min_p), NULL, NULL},
    {"typical_p", BOTH, K_FLOAT, SAM(typical_p), NULL, NULL},
    {"top_n_sigma", BOTH, K_FLOAT, SAM(top_n_sigma), NULL, NULL},
    {"xtc_probability", BOTH, K_FLOAT, SAM(xtc_probability), NULL, NULL},
    {"xtc_threshold", BOTH, K_FLOAT, SAM(xtc_threshold), NULL, NULL},
    {"mirostat", BOTH, K_INT, SAM(mirostat), NULL, NULL},
    {"mirostat_tau", BOTH, K_FLOAT, SAM(mirostat_tau), NULL, NULL},
    {"mirostat_eta", BOTH, K_FLOAT, SAM(mirostat_eta), NULL, NULL},
    {"repetition_penalty", BOTH, K_FLOAT, SAM(repetition_penalty), NULL, NULL},
    {"presence_penalty", BOTH, K_FLOAT, SAM(presence_penalty), NULL, NULL},
    {"frequency_penalty", BOTH, K_FLOAT, SAM(frequency_penalty), NULL, NULL},
    {"penalty_last", BOTH, K_ANY, SAM(penalty_last), NULL, NULL},
    {"dry_multiplier", BOTH, K_FLOAT, SAM(dry_multiplier), NULL, NULL},
    {"dry_base", BOTH, K_FLOAT, SAM(dry_base), NULL, NULL},
    {"dry_allowed_length", BOTH, K_INT, SAM(dry_allowed_length), NULL, NULL},
    {"dry_last", BOTH, K_ANY, SAM(dry_last), NULL, NULL},
    {"dry_sequence_breakers", BOTH, K_CALL, 0, read_breakers, "a"},
    {"no_repeat_ngram_size", BOTH, K_INT, SAM(no_repeat_ngram), NULL, NULL},
    {"stream", BOTH | FORMS, K_STREAM, OWN(stream), NULL, NULL},
    {"stream_options", BOTH, K_STREAM, 0, read_options, "o"},
    {"load", API_LORA, K_ELSE, 0, NULL, "s"},
    {"unload", API_LORA, K_ELSE, 0, NULL, "i"},
    {"id", API_LORA, K_ELSE, 0, NULL, "i"},
    {"scale", API_LORA, K_ELSE, 0, NULL, "n"},
    {"save", API_SESSION, K_ELSE, 0, NULL, "s"},
    {"restore", API_SESSION, K_ELSE, 0, NULL, "s"},
    {"fork", API_SESSION, K_ELSE, 0, NULL, "s"},
    {"as", API_SESSION, K_ELSE, 0, NULL, "s"},
    {"erase", API_SESSION, K_ELSE, 0, NULL, "s"},
    {"model", API_TOKENIZE | API_DETOKENIZE | API_LORA | API_SESSION, K_ELSE, 0, NULL, "s"},
    {"content", API_TOKENIZE, K_ELSE, 0, NULL, "s"},
    {"prompt", API_TOKENIZE, K_ELSE, 0, NULL, "s"},
    {"add_special", API_TOKENIZE, K_ELSE, 0, NULL, "b"},
    {"add_special_tokens", API_TOKENIZE, K_ELSE, 0, NULL, "b"},
    {"parse_special", API_TOKENIZE, K_ELSE, 0, NULL, "b"},
    {"with_pieces", API_TOKENIZE, K_ELSE, 0, NULL, "b"},
    {"return_token_strs", API_TOKENIZE, K_ELSE, 0, NULL, "b"},
    {"tokens", API_DETOKENIZE, K_ELSE, 0, NULL, "a"},
    {"user", ALL | RESPONSES, K_NOTHING, 0, NULL, NULL},
    {"metadata", RESPONSES, K_ELSE, 0, NULL, "o"},
    {"metadata", BOTH | MESSAGES, K_NOTHING, 0, NULL, NULL},
    {"store", BOTH | RESPONSES, K_NOTHING, 0, NULL, NULL},
    {"service_tier", BOTH | FORMS, K_NOTHING, 0, NULL, NULL},
    {"safety_identifier", BOTH | RESPONSES, K_NOTHING, 0, NULL, NULL},
    {"prompt_cache_key", BOTH | RESPONSES, K_NOTHING, 0, NULL, NULL},
    {"cache_prompt", BOTH, K_NOTHING, 0, NULL, NULL},
    {"prompt_cache_retention", BOTH | RESPONSES, K_NOTHING, 0, NULL, NULL},
    {"container", MESSAGES, K_NOTHING, 0, NULL, NULL},
    {"context_management", MESSAGES, K_NOTHING, 0, NULL, NULL},
    {"output_config", MESSAGES, K_NOTHING, 0, NULL, NULL},
    {"mcp_servers", MESSAGES, K_NOTHING, 0, NULL, NULL},
    {"cache_control", MESSAGES, K_NOTHING, 0, NULL, NULL},
    {"include", RESPONSES, K_ELSE, 0, NULL, "a"},
    {"stream_options", RESPONSES, K_NOTHING, 0, NULL, NULL},
    {"top_logprobs", RESPONSES, K_ELSE, 0, NULL, "i"},
    {"max_tool_calls", RESPONSES, K_NOTHING, 0, NULL, NULL},
    {"truncation", RESPONSES, K_NOTHING, 0, NULL, NULL},
    {"client_metadata", RESPONSES, K_NOTHING, 0, NULL, NULL},
    {"prompt", RESPONSES, K_NOTHING, 0, NULL, NULL},
    {"n_indent", API_INFILL, K_NOTHING, 0, NULL, NULL},
    {"id_slot", API_INFILL, K_NOTHING, 0, NULL, NULL},
    {"t_max_prompt_ms", API_INFILL, K_NOTHING, 0, NULL, NULL},
    {"t_max_predict_ms", API_INFILL, K_NOTHING, 0, NULL, NULL},
    {"response_fields", API_INFILL, K_NOTHING, 0, NULL, NULL},
    {"prediction", CHAT, K_NOTHING, 0, NULL, NULL},
    {"verbosity", CHAT, K_NOTHING, 0, NULL, NULL},
    {"modalities", CHAT, K_NOTHING, 0, NULL, NULL},
    {"web_search_options", CHAT, K_NOTHING, 0, NULL, NULL},
};

static const struct field *find_field(const char *name, unsigned kinds)
{
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (strcmp(fields[i].name, name) == 0 && (fields[i].where & kinds))
            return &fields[i];
    return NULL;
}

bool api_field_at(size_t i, struct api_field *out)
{
    static const char *const types[] = {[K_FLOAT] = "n", [K_INT] = "i",  [K_COUNT] = "i",
                                        [K_ANY] = "i",   [K_BOOL] = "b", [K_STREAM] = "b"};
    const struct field *f = &fields[i], *is = f;

    if (i >= ARRAY_LEN(fields))
        return false;
    if (f->kind == K_AS)
        is = find_field(f->types, CHAT);
    *out = (struct api_field){.name = f->name,
                              .kinds = f->where,
                              .effect = f->kind != K_NOTHING,
                              .lo = is->kind == K_INT     ? 0
                                    : is->kind == K_COUNT ? 1
                                                          : INT_MIN};
    out->types = is->types                                        ? is->types
                 : is->kind < ARRAY_LEN(types) && types[is->kind] ? types[is->kind]
                                                                  : "";
    return true;
}

const char *api_field_in(const struct api_request *r, const char *sentence)
{
    const struct slice word = {sentence, strcspn(sentence, " :")};

    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if ((fields[i].where & r->kind) && slice_is(word, fields[i].name))
            return fields[i].name;
    if (!strstr(sentence, "prompt"))
        return NULL;
    return r->chat ? "messages" : r->kind == API_EMBED ? "input" : "prompt";
}

/* An error, or a warning where that will do. kinds: of requests whose fields it may have meant. */
static int unknown(struct api_request *r, const struct api_opts *o, unsigned kinds,
                   const char *name, struct err *e)
{
    const char *names[ARRAY_LEN(fields)];
    int near, n = 0;

    if (o->lenient) {
        api_warn(r, "field '%.60s' is not known: ignored", name);
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (fields[i].where & kinds)
            names[n++] = fields[i].name;
    near = opt_nearest_of(names, n, name);
    if (near >= 0)
        return err_set(e, E_USAGE, "field '%.60s' is not known; did you mean '%s'?", name,
                       names[near]);
    return err_set(e, E_USAGE, "field '%.60s' is not known", name);
}

static int read_bool(const char *name, const json_t *v, bool *out, struct err *e)
{
    if (!json_is_boolean(v))
        return err_set(e, E_RANGE, "%s: must be true or false", name);
    *out = json_is_true(v);
    return 0;
}

static int read_field(struct reading *g, const struct field *f, const json_t *v, struct err *e)
{
    void *at = (char *)g->r + f->at;

    switch (f->kind) {
    case K_FLOAT:
        if (!json_is_number(v))
            return err_set(e, E_RANGE, "%s: must be a number", f->name);
        *(float *)at = (float)json_number_value(v);
        return 0;
    case K_INT:
    case K_COUNT:
        return api_int(f->name, v, f->kind == K_COUNT, at, e);
    case K_ANY:
        return api_int(f->name, v, INT_MIN, at, e);
    case K_CALL:
        return f->call(g, f->name, v, e);
    case K_STREAM:
        if (g->o->stream && f->call)
            return f->call(g, f->name, v, e);
        if (g->o->stream)
            return read_bool(f->name, v, at, e);
        api_warn(g->r, "field '%s' has no effect here", f->name);
        return 0;
    case K_NOTHING:
        api_warn(g->r, "field '%s' has no effect here", f->name);
        return 0;
    case K_BOOL:
        return read_bool(f->name, v, at, e);
    default:
        return 0;
    }
}

int api_field(struct api_request *r, const struct api_opts *o, const char *name, const json_t *v,
              struct err *e)
{
    const struct field *f = find_field(name, r->kind);
    struct reading g = {r, o};
    int rc;

    if (f && json_is_null(v)) // as if it were not there
        return 0;
    rc = f ? read_field(&g, f, v, e) : unknown(r, o, r->kind, name, e);
    if (rc < 0)
        r->param = f ? f->name : name;
    return rc;
}

int api_known(struct api_request *r, const struct api_opts *o, unsigned kinds, const json_t *body,
              struct err *e)
{
    const char *name;
    json_t *v;
    int rc = 0;

    json_object_foreach((json_t *)(uintptr_t)body, name, v)
    {
        if (rc == 0 && !find_field(name, kinds)) {
            r->param = name;
            rc = unknown(r, o, kinds, name, e);
        }
    }
    return rc;
}

/* -- bodies of other forms -- */

int api_translate(json_t *out, struct api_request *noted, const struct api_opts *o,
                  enum api_kind kind, const json_t *body, struct err *e)
{
    const char *name;
    json_t *v;
    int rc = 0;

    json_object_foreach((json_t *)(uintptr_t)body, name, v)
    {
        const struct field *own = find_field(name, kind);
        const struct field *f = own ? own : find_field(name, CHAT); // or a setting of ours

        if (rc < 0)
            break;
        noted->param = name;
        if (!f)
            rc = unknown(noted, o, kind | CHAT, name, e);
        else if (json_is_null(v) || f->kind == K_ELSE)
            rc = own || json_is_null(v) ? 0 : js_set(out, name, json_incref(v), e);
        else if (f->kind == K_NOTHING)
            api_warn(noted, "field '%s' has no effect here", name);
        else
            rc = js_set(out, f->kind == K_AS ? f->types : name, json_incref(v), e);
    }
    return rc;
}

void api_call_it(struct api_request *r, enum api_kind kind, const json_t *body, struct err *why)
{
    char rest[sizeof why->text];

    for (size_t i = 0; r->param && i < ARRAY_LEN(fields); i++) {
        const struct field *f = &fields[i];
        size_t n = strlen(r->param);

        if (f->kind != K_AS || !(f->where & kind) || strcmp(f->types, r->param) != 0 ||
            !json_object_get(body, f->name))
            continue;
        if (strncmp(why->text, r->param, n) == 0 && why->text[n] == ':') {
            snprintf(rest, sizeof rest, "%s", why->text + n);
            snprintf(why->text, sizeof why->text, "%s%.400s", f->name, rest);
        }
        r->param = f->name;
        return;
    }
}
