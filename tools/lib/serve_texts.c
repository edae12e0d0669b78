/* serve_texts.c - see serve_in.h: requests that need no engine, and what is known of models. */
#include "tools/lib/serve_in.h"

#include <stdlib.h>

#include "base/mem.h"
#include "tools/lib/api_fields.h"

/* -- text and tokens -- */

int text_body(struct job *j, unsigned kinds, struct err *e)
{
    json_t *v = api_json(buf_view(&j->body), e);

    j->r.json = v;
    if (!v)
        return e->code;
    if (!json_is_object(v))
        return err_set(e, E_FORMAT, "the body is not a JSON object");
    if ((kinds & API_TOKENIZE) && json_object_get(v, "messages"))
        kinds |= API_CHAT;
    return api_known(&j->r, &j->o, kinds, v, e);
}

static void put_ids(struct buf *b, const int32_t *ids, size_t n)
{
    buf_byte(b, '[');
    for (size_t i = 0; i < n; i++)
        buf_printf(b, i ? ",%d" : "%d", ids[i]);
    buf_byte(b, ']');
}

static void put_pieces(const struct job *j, const int32_t *ids, size_t n)
{
    struct buf *b = (struct buf *)(uintptr_t)&j->reply;

    buf_str(b, ",\"token_strs\":[");
    for (size_t i = 0; i < n; i++) {
        struct slice s;

        s.p = rill_piece(j->o.model, ids[i], true, &s.n);
        buf_str(b, i ? "," : "");
        buf_json(b, s);
    }
    buf_byte(b, ']');
}

/* {"content" or "prompt": text, "add_special", "parse_special", "with_pieces"}, or messages. */
int text_tokenize(struct job *j, struct err *e)
{
    int rc = text_body(j, API_TOKENIZE, e);
    const json_t *v = j->r.json, *text = json_object_get(v, "content");
    const json_t *special = json_object_get(v, "add_special");
    struct api_prompt p = {0};
    unsigned flags = 0;

    text = text ? text : json_object_get(v, "prompt");
    special = special ? special : json_object_get(v, "add_special_tokens");
    if (rc == 0 && json_object_get(v, "messages")) {
        rc = j->o.chat ? api_chat_prompt(j->o.chat, v, json_object_get(v, "tools"), 0, &p, e)
                       : err_set(e, E_UNSUPPORTED, "messages: the model has no vocabulary");
    } else if (rc == 0 && !json_is_string(text)) {
        j->r.param = "content";
        rc = err_set(e, E_RANGE, "content: must be a string (or give messages)");
    } else if (rc == 0) {
        /* as elsewhere: prompt (vLLM's word) with the special tokens, content (llama.cpp's) without
         */
        if (special ? json_is_true(special) : json_object_get(v, "prompt") != NULL)
            flags |= RILL_ADD_SPECIAL;
        if (json_is_true(json_object_get(v, "parse_special")))
            flags |= RILL_PARSE_SPECIAL;
        rc = rill_tokenize(j->o.model, json_string_value(text), json_string_length(text), flags,
                           &p.ids, &p.n, e);
    }
    if (rc == 0) {
        buf_str(&j->reply, "{\"tokens\":");
        put_ids(&j->reply, p.ids, p.n);
        buf_printf(&j->reply, ",\"count\":%zu,\"max_model_len\":%d", p.n, j->o.n_ctx);
        if (json_is_true(json_object_get(v, "with_pieces")) ||
            json_is_true(json_object_get(v, "return_token_strs")))
            put_pieces(j, p.ids, p.n);
        api_put_warnings(&j->reply, &j->r, NULL, 0);
        buf_byte(&j->reply, '}');
    }
    api_prompt_fini(&p);
    return rc < 0 ? rc : j->reply.bad ? err_nomem(e, 0) : 0;
}

int text_detokenize(struct job *j, struct err *e)
{
    int rc = text_body(j, API_DETOKENIZE, e);
    const json_t *list = json_object_get(j->r.json, "tokens"), *id;
    struct rill_model_info info;
    struct buf text = {0};
    size_t i;

    rill_model_info(j->o.model, &info);
    if (rc == 0 && !json_is_array(list)) {
        j->r.param = "tokens";
        rc = err_set(e, E_RANGE, "tokens: must be a list of token ids");
    }
    json_array_foreach(list, i, id)
    {
        size_t n = 0;
        const char *p = "";

        if (rc < 0)
            break;
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= info.n_vocab) {
            j->r.param = "tokens";
            rc =
                err_set(e, E_RANGE, "tokens: entry %zu is no id of the %d tokens", i, info.n_vocab);
            break;
        }
        p = rill_piece(j->o.model, (int32_t)json_integer_value(id), true, &n);
        buf_add(&text, p, n);
    }
    if (rc == 0) {
        buf_str(&j->reply, "{\"content\":");
        buf_json(&j->reply, buf_view(&text));
        buf_str(&j->reply, ",\"prompt\":");
        buf_json(&j->reply, buf_view(&text));
        api_put_warnings(&j->reply, &j->r, NULL, 0);
        buf_byte(&j->reply, '}');
    }
    buf_fini(&text);
    return rc < 0 ? rc : j->reply.bad ? err_nomem(e, 0) : 0;
}

/* A chat's body to the text that the model would see. */
int text_template(struct job *j, struct err *e)
{
    int rc = api_parse_body(&j->r, &j->o, true, buf_view(&j->body), e);

    if (rc < 0)
        return rc;
    buf_str(&j->reply, "{\"prompt\":");
    buf_json(&j->reply, buf_view(&j->r.prompt[0].text));
    api_put_warnings(&j->reply, &j->r, NULL, 0);
    buf_byte(&j->reply, '}');
    return j->reply.bad ? err_nomem(e, 0) : 0;
}

/* -- models -- */

void text_model(struct server *s, struct buf *b, int i, bool anthropic)
{
    const struct worker *w = s->worker[i];
    struct rill_model_info info = {0};

    if (s->loaded[i])
        rill_model_info(worker_model(w), &info);
    buf_str(b, "{\"id\":");
    buf_json(b, slice_of(worker_name(w)));
    if (anthropic) {
        buf_str(b, ",\"type\":\"model\",\"display_name\":");
        buf_json(b, slice_of(worker_name(w)));
        buf_str(b, ",\"created_at\":\"1970-01-01T00:00:00Z\"}");
        return;
    }
    buf_str(b, ",\"object\":\"model\",\"created\":0,\"owned_by\":\"rill\"");
    if (s->loaded[i])
        buf_printf(b,
                   ",\"max_model_len\":%d,\"meta\":{\"n_vocab\":%d,\"n_ctx_train\":%d,"
                   "\"n_embd\":%d,\"n_params\":%llu,\"size\":%llu}",
                   worker_ctx(w), info.n_vocab, info.n_ctx_train, info.n_embd,
                   (unsigned long long)info.n_param, (unsigned long long)info.weight_bytes);
    buf_byte(b, '}');
}

void text_models(struct server *s, struct buf *b, bool anthropic)
{
    buf_str(b, anthropic ? "{\"data\":[" : "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < s->o.n_worker; i++) {
        buf_str(b, i ? "," : "");
        text_model(s, b, i, anthropic);
    }
    buf_byte(b, ']');
    if (anthropic) {
        buf_str(b, ",\"has_more\":false,\"first_id\":");
        buf_json(b, slice_of(worker_name(s->worker[0])));
        buf_str(b, ",\"last_id\":");
        buf_json(b, slice_of(worker_name(s->worker[s->o.n_worker - 1])));
    }
    buf_byte(b, '}');
}

void text_props(struct server *s, struct buf *b, int i)
{
    const struct worker *w = s->worker[i];
    const struct rill_sampling *d = &worker_api(w)->sampling;
    struct rill_model_info info;

    rill_model_info(worker_model(w), &info);
    buf_str(b, "{\"model_alias\":");
    buf_json(b, slice_of(worker_name(w)));
    buf_str(b, ",\"arch\":");
    buf_json(b, slice_of(info.arch));
    buf_str(b, ",\"device\":");
    buf_json(b, slice_of(info.device));
    buf_printf(b, ",\"n_ctx\":%d,\"total_slots\":%d,\"chat_template\":", worker_ctx(w),
               s->o.parallel);
    buf_json(b, slice_of(info.chat_template ? info.chat_template : ""));
    buf_printf(b,
               ",\"bos_token_id\":%d,\"eos_token_id\":%d,\"default_generation_settings\":{"
               "\"temperature\":%g,\"top_k\":%d,\"top_p\":%g,\"min_p\":%g},\"build_info\":\"rill "
               "%s\"}",
               rill_bos(worker_model(w)), rill_eos(worker_model(w)), (double)d->temperature,
               d->top_k, (double)d->top_p, (double)d->min_p, rill_version());
}
