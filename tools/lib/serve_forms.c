/* serve_forms.c - see serve_in.h: chat and text completions as OpenAI's API has them. */
#include "tools/lib/serve_in.h"

#include "base/mem.h"
#include "tools/lib/api_fields.h"
#include "tools/lib/js.h"

static int read_chat(struct job *j, struct err *e)
{
    return api_parse_body(&j->r, &j->o, true, buf_view(&j->body), e);
}

static int read_text(struct job *j, struct err *e)
{
    return api_parse_body(&j->r, &j->o, false, buf_view(&j->body), e);
}

/* {"input_prefix", "input_suffix", "prompt": what is typed between them already}, as editors ask,
 * to a prompt with a suffix. */
static int infill_body(json_t *v, struct err *e)
{
    static const char *const names[] = {"input_prefix", "prompt", "input_suffix"};
    struct buf b = {0};
    int rc = json_is_object(v) ? 0 : err_set(e, E_FORMAT, "the body is not a JSON object");

    for (int i = 0; i < 3 && rc == 0; i++) {
        const json_t *part = json_object_get(v, names[i]);

        if (i == 2)
            rc = js_set(v, "prompt", js_text(&b), e);
        if (part && !json_is_string(part))
            rc = err_set(e, E_RANGE, "%s: must be a string", names[i]);
        else if (rc == 0 && i == 2)
            rc = js_set(v, "suffix",
                        part ? json_incref((json_t *)(uintptr_t)part) : json_string(""), e);
        else if (part)
            buf_add(&b, json_string_value(part), json_string_length(part));
    }
    buf_fini(&b);
    return rc;
}

static int read_infill(struct job *j, struct err *e)
{
    json_t *v = api_json(buf_view(&j->body), e);
    int rc = v ? infill_body(v, e) : e->code;

    if (rc < 0) {
        json_decref(v);
        return rc;
    }
    return api_parse_json(&j->r, &j->o, API_TEXT | API_INFILL, v, e);
}

/* Members that tell how it was made. */
static void put_timings(const struct call *c, struct buf *b)
{
    const struct job *j = c->job;
    double first = c->first > 0 ? c->first : c->last;
    double drawing = c->last - first;

    buf_printf(b, ",\"seed\":%llu,\"timings\":{\"queue_ms\":%.3f,\"prompt_ms\":%.3f",
               (unsigned long long)j->r.q.sampling.seed, (j->start_at - c->began) * 1e3,
               first > 0 ? (first - j->start_at) * 1e3 : 0.0);
    buf_printf(b, ",\"predicted_n\":%d,\"predicted_ms\":%.3f,\"predicted_per_second\":%.3f}",
               c->drawn, drawing * 1e3,
               drawing > 0 && c->drawn > 1 ? (c->drawn - 1) / drawing : 0.0);
}

static int begin_stream(struct call *c, struct buf *out, struct err *e)
{
    struct job *j = c->job;

    (void)out;
    return api_stream_begin(&c->stream, &j->r, &j->o, slice_of(c->id), j->answer, e);
}

static int event(struct call *c, struct buf *out, int prompt, const struct rill_event *ev,
                 struct err *e)
{
    return api_stream_event(&c->stream, out, prompt, ev, e);
}

static void end_stream(struct call *c, struct buf *out)
{
    struct buf timings = {0};

    put_timings(c, &timings);
    api_stream_end(&c->stream, out, timings.p ? timings.p : "");
    buf_fini(&timings);
}

static void whole(struct call *c, struct buf *out)
{
    struct buf timings = {0};
    struct job *j = c->job;

    put_timings(c, &timings);
    buf_byte(out, '{');
    api_body(out, &j->r, &j->o, slice_of(c->id), j->answer, timings.p ? timings.p : "");
    buf_byte(out, '}');
    buf_fini(&timings);
}

/* The text alone too, where editors look for it. */
static void whole_infill(struct call *c, struct buf *out)
{
    whole(c, out);
    out->n--;
    buf_str(out, ",\"content\":");
    buf_json(out, buf_view(&c->job->answer[0].text));
    buf_byte(out, '}');
}

void form_error(struct buf *out, const struct api_status *s, const char *message, const char *param,
                const char *id)
{
    (void)id;
    api_error(out, s, message, param);
}

const struct form form_chat = {.prefix = "chatcmpl-",
                               .read = read_chat,
                               .begin = begin_stream,
                               .event = event,
                               .end = end_stream,
                               .ping = ": ping\n\n",
                               .whole = whole,
                               .error = form_error};
const struct form form_text = {.prefix = "cmpl-",
                               .read = read_text,
                               .begin = begin_stream,
                               .event = event,
                               .end = end_stream,
                               .ping = ": ping\n\n",
                               .whole = whole,
                               .error = form_error};
const struct form form_infill = {.prefix = "infill-",
                                 .read = read_infill,
                                 .begin = begin_stream,
                                 .event = event,
                                 .end = end_stream,
                                 .ping = ": ping\n\n",
                                 .whole = whole_infill,
                                 .error = form_error};
