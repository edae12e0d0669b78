/* api_vectors.c - see api_vectors.h. */
#include "tools/lib/api_vectors.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tools/lib/api_fields.h"

/* -- requests -- */

static int check_prompts(struct api_request *r, const struct api_opts *o, struct err *e)
{
    for (int i = 0; i < r->n_prompt; i++) {
        if (r->prompt[i].n == 0)
            return err_set(e, E_RANGE, "%s: entry %d is empty", r->param, i);
        if (o->n_ctx > 0 && r->prompt[i].n > (size_t)o->n_ctx)
            return err_set(e, E_CONTEXT,
                           "this model's maximum context length is %d tokens, but entry %d of %s "
                           "has %zu tokens",
                           o->n_ctx, i, r->param, r->prompt[i].n);
    }
    return 0;
}

static int read_input(struct api_request *r, const struct api_opts *o, const json_t *body,
                      const struct rill_model_info *info, struct err *e)
{
    const json_t *input = json_object_get(body, "input");

    r->param = "dimensions";
    if (r->dimensions > info->n_embd)
        return err_set(e, E_RANGE, "dimensions %d: the model's vectors have %d", r->dimensions,
                       info->n_embd);
    r->param = "input";
    /* one vector for a text, whatever the file says */
    r->q.embed = info->pooling == RILL_EMBED_NONE ? RILL_EMBED_MEAN : RILL_EMBED_MODEL;
    if (!input)
        return err_set(e, E_RANGE, "input: the request needs one");
    return api_read_prompts(r, o, "input", input, e);
}

/* A document: a string, or an object with a text. */
static struct slice text_of(const json_t *document)
{
    const json_t *v = json_is_object(document) ? json_object_get(document, "text") : document;

    return (struct slice){json_string_value(v), json_string_length(v)};
}

static int read_pairs(struct api_request *r, const struct api_opts *o, const json_t *body,
                      const struct rill_model_info *info, struct err *e)
{
    const json_t *query = json_object_get(body, "query"),
                 *list = json_object_get(body, "documents");
    struct slice q = {json_string_value(query), json_string_length(query)};
    int rc = 0;

    r->param = "model";
    if (info->n_score != 1)
        return err_set(e, E_UNSUPPORTED,
                       info->n_score ? "the model gives %d scores of a text, not one"
                                     : "the model has no scores: it is no reranker",
                       info->n_score);
    r->param = "query";
    if (!q.p)
        return err_set(e, E_RANGE, "query: must be a string");
    r->param = "documents";
    if (!json_is_array(list) || json_array_size(list) == 0 || json_array_size(list) > 2048)
        return err_set(e, E_RANGE, "documents: must be a list of 1 to 2048 texts");
    r->q.embed = RILL_EMBED_RANK;
    r->prompt = mem_array(json_array_size(list), sizeof *r->prompt, e);
    if (!r->prompt)
        return E_NOMEM;
    r->n_prompt = (int)json_array_size(list);
    for (int i = 0; i < r->n_prompt && rc == 0; i++) {
        struct slice d = text_of(json_array_get(list, (size_t)i));

        if (!d.p)
            return err_set(e, E_RANGE, "documents: entry %d must be a string", i);
        rc = rill_tokenize_pair(o->model, q.p, q.n, d.p, d.n, RILL_ADD_SPECIAL, &r->prompt[i].ids,
                                &r->prompt[i].types, &r->prompt[i].n, e);
    }
    return rc;
}

int vectors_parse(struct api_request *r, const struct api_opts *o, bool rank, struct slice body,
                  struct err *e)
{
    struct rill_model_info info;
    int rc;

    rill_model_info(o->model, &info);
    api_begin(r, o, rank ? API_RANK : API_EMBED);
    r->batch = true; // a body has no custom_id of its own
    r->best_of = 1;
    r->json = api_json(body, e);
    if (!r->json)
        return e->code;
    if (!json_is_object(r->json))
        return err_set(e, E_FORMAT, "the body is not a JSON object");
    rc = api_read_fields(r, o, r->json, e);
    r->q.lora = NULL;
    r->q.n_lora = 0;
    if (rc == 0)
        rc = rank ? read_pairs(r, o, r->json, &info, e) : read_input(r, o, r->json, &info, e);
    return rc < 0 ? rc : check_prompts(r, o, e);
}

/* -- answers -- */

int vectors_take(struct api_answer *a, const struct rill_event *ev, struct err *e)
{
    for (int i = 0; ev->kind == RILL_VECTOR && i < ev->n_vector; i++)
        if (!isfinite(ev->vector[i]))
            return err_set(e, E_DEVICE, "the model has given a vector that is no numbers");
    if (ev->kind == RILL_VECTOR)
        buf_add(&a->text, ev->vector, (size_t)ev->n_vector * sizeof *ev->vector);
    if (ev->kind == RILL_DONE && a->text.n == 0)
        return err_set(e, E_CANCELLED, "there was no time left for all vectors");
    return a->text.bad ? err_nomem(e, a->text.n) : 0;
}

static float at(const struct api_answer *a, int i)
{
    float x;

    memcpy(&x, a->text.p + (size_t)i * sizeof x, sizeof x);
    return x;
}

static void put_base64(struct buf *b, const unsigned char *p, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < n; i += 3) {
        unsigned v = (unsigned)p[i] << 16 | (i + 1 < n ? (unsigned)p[i + 1] << 8 : 0) |
                     (i + 2 < n ? p[i + 2] : 0);

        buf_byte(b, digits[v >> 18]);
        buf_byte(b, digits[v >> 12 & 63]);
        buf_byte(b, i + 1 < n ? digits[v >> 6 & 63] : '=');
        buf_byte(b, i + 2 < n ? digits[v & 63] : '=');
    }
}

/* With fewer dimensions than it has a vector is cut, and has length 1 again. */
static void put_vector(struct buf *b, const struct api_request *r, const struct api_answer *a)
{
    int n = (int)(a->text.n / sizeof(float));
    bool cut = r->dimensions > 0 && r->dimensions < n;
    double sum = 0, by = 1;
    struct buf bytes = {0};

    if (cut) {
        n = r->dimensions;
        for (int i = 0; i < n; i++)
            sum += (double)at(a, i) * (double)at(a, i);
        by = sum > 0 ? 1 / sqrt(sum) : 1;
    }
    if (!r->base64)
        buf_byte(b, '[');
    for (int i = 0; i < n; i++) {
        float x = (float)((double)at(a, i) * by);
        uint32_t bits;

        memcpy(&bits, &x, sizeof bits);
        for (int k = 0; r->base64 && k < 4; k++)
            buf_byte(&bytes, (uint8_t)(bits >> 8 * k));
        if (!r->base64)
            buf_printf(b, i ? ",%.9g" : "%.9g", (double)x);
    }
    if (r->base64) {
        buf_byte(b, '"');
        put_base64(b, (const unsigned char *)bytes.p, bytes.n);
        b->bad = b->bad || bytes.bad;
    }
    buf_byte(b, r->base64 ? '"' : ']');
    buf_fini(&bytes);
}

struct score {
    int index;
    float x;
};

/* The highest first, equal ones as they came. */
static int by_score(const void *a, const void *b)
{
    const struct score *x = a, *y = b;

    return x->x != y->x ? (x->x < y->x) - (x->x > y->x) : x->index - y->index;
}

static void put_results(struct buf *b, const struct api_request *r, const struct api_answer *a)
{
    const json_t *documents = json_object_get(r->json, "documents");
    struct score *s = mem_array((uint64_t)r->n_prompt, sizeof *s, NULL);
    int n = r->top_n && r->top_n < r->n_prompt ? r->top_n : r->n_prompt;

    b->bad = b->bad || !s;
    for (int i = 0; s && i < r->n_prompt; i++)
        s[i] = (struct score){i, at(&a[i], 0)};
    if (s)
        qsort(s, (size_t)r->n_prompt, sizeof *s, by_score);
    buf_str(b, "\"results\":[");
    for (int i = 0; s && i < n; i++) {
        buf_printf(b, "%s{\"index\":%d,\"relevance_score\":%.9g", i ? "," : "", s[i].index,
                   1 / (1 + exp(-(double)s[i].x)));
        if (r->with_documents) {
            buf_str(b, ",\"document\":{\"text\":");
            buf_json(b, text_of(json_array_get(documents, (size_t)s[i].index)));
            buf_byte(b, '}');
        }
        buf_byte(b, '}');
    }
    buf_byte(b, ']');
    mem_free(s);
}

void vectors_reply(struct buf *b, const struct api_request *r, const struct api_opts *o,
                   struct slice id, const struct api_answer *a)
{
    size_t n = 0;

    for (int i = 0; i < r->n_prompt; i++)
        n += r->prompt[i].n;
    buf_str(b, "{\"object\":\"list\",");
    if (r->kind == API_RANK) {
        buf_str(b, "\"id\":");
        buf_json(b, id);
        buf_byte(b, ',');
        put_results(b, r, a);
    } else {
        buf_str(b, "\"data\":[");
        for (int i = 0; i < r->n_prompt; i++) {
            buf_printf(b, "%s{\"object\":\"embedding\",\"index\":%d,\"embedding\":", i ? "," : "",
                       i);
            put_vector(b, r, &a[i]);
            buf_byte(b, '}');
        }
        buf_byte(b, ']');
    }
    buf_str(b, ",\"model\":");
    buf_json(b, slice_of(o->name));
    buf_printf(b, ",\"usage\":{\"prompt_tokens\":%zu,\"total_tokens\":%zu}", n, n);
    api_put_warnings(b, r, NULL, 0);
    buf_byte(b, '}');
}
