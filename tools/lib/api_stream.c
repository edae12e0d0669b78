/* api_stream.c - see api.h: answers as chunks, while they are made.
 *
 * A chunk is a server-sent event. The first of each chat answer has the role; a call's first chunk
 * has its index, id and name, the others its index and more of the arguments; the last chunk of an
 * answer has its finish_reason and nothing else. The usage comes in a chunk without choices, and
 * only when it was asked for: clients take choices[0] of every other.
 */
#include "tools/lib/api.h"

int api_stream_begin(struct api_stream *s, const struct api_request *r, const struct api_opts *o,
                     struct slice id, struct api_answer *answers, struct err *e)
{
    *s = (struct api_stream){r, o, answers, {0}};
    buf_str(&s->head, "data: {\"id\":");
    buf_json(&s->head, id);
    buf_printf(&s->head, ",\"object\":\"%s\",\"created\":%lld,\"model\":",
               r->chat ? "chat.completion.chunk" : "text_completion", o->created);
    buf_json(&s->head, slice_of(o->name));
    buf_str(&s->head, ",\"choices\":[");
    return s->head.bad ? err_nomem(e, id.n) : 0;
}

void api_stream_fini(struct api_stream *s)
{
    buf_fini(&s->head);
}

/* -- chunks -- */

static void open_chunk(const struct api_stream *s, struct buf *b, int index)
{
    buf_slice(b, buf_view(&s->head));
    if (index == 0) // that of nearly all
        buf_str(b, "{\"index\":0,");
    else
        buf_printf(b, "{\"index\":%d,", index);
    buf_str(b, s->r->chat ? "\"delta\":{" : "\"text\":");
}

/* The end of a chunk; the last of an answer tells what there was to warn of. */
static void close_all(const struct api_stream *s, struct buf *b, const struct api_answer *a,
                      bool first, bool last)
{
    buf_str(b, "}]");
    if (last)
        api_put_warnings(b, first ? s->r : NULL, a, 1);
    buf_str(b, s->r->usage_chunk ? ",\"usage\":null}\n\n" : "}\n\n");
}

/* What no chunk has told yet of the log-probabilities goes with this one. */
static void put_logprobs(const struct api_stream *s, struct buf *b, struct api_answer *a)
{
    buf_str(b, s->r->chat ? "},\"logprobs\":" : ",\"logprobs\":");
    if (!a->logprobs.n) {
        buf_str(b, "null");
        return;
    }
    api_logprobs(b, s->r, a);
    buf_clear(&a->logprobs);
    buf_clear(&a->tokens);
    buf_clear(&a->offsets);
    buf_clear(&a->top);
}

static void close_chunk(const struct api_stream *s, struct buf *b, struct api_answer *a,
                        const char *finish)
{
    put_logprobs(s, b, a);
    buf_str(b, ",\"finish_reason\":");
    if (finish)
        buf_printf(b, "\"%s\"", finish);
    else
        buf_str(b, "null");
    close_all(s, b, a, a == s->answers, finish != NULL);
}

static void begin_answer(const struct api_stream *s, struct buf *b, struct api_answer *a, int index)
{
    if (a->begun)
        return;
    a->begun = true;
    if (!s->r->chat) {
        if (!s->r->echo || !a->text.n)
            return;
        open_chunk(s, b, index);
        buf_json(b, buf_view(&a->text));
        close_chunk(s, b, a, NULL);
        return;
    }
    open_chunk(s, b, index);
    buf_str(b, "\"role\":\"assistant\",\"content\":\"\"");
    buf_str(b, "},\"logprobs\":null,\"finish_reason\":null");
    close_all(s, b, a, false, false);
}

static void put_piece(const struct api_stream *s, struct buf *b, struct api_answer *a, int index,
                      const struct toolcall_event *ev)
{
    if (ev->kind == TC_END || ev->kind == TC_ERROR || (ev->kind == TC_ARGS && !ev->text.n))
        return;
    open_chunk(s, b, index);
    if (!s->r->chat) {
        buf_json(b, ev->text);
    } else if (ev->kind == TC_TEXT || ev->kind == TC_REASON) {
        buf_str(b, ev->kind == TC_TEXT ? "\"content\":" : "\"reasoning_content\":");
        buf_json(b, ev->text);
    } else {
        buf_printf(b, "\"tool_calls\":[{\"index\":%d,", ev->index);
        if (ev->kind == TC_BEGIN) {
            buf_str(b, "\"id\":");
            buf_json(b, ev->id);
            buf_str(b, ",\"type\":\"function\",\"function\":{\"name\":");
            buf_json(b, ev->name);
            buf_str(b, ",\"arguments\":\"\"}}]");
        } else {
            buf_str(b, "\"function\":{\"arguments\":");
            buf_json(b, ev->text);
            buf_str(b, "}}]");
        }
    }
    close_chunk(s, b, a, NULL);
}

static void end_answer(const struct api_stream *s, struct buf *b, struct api_answer *a, int index)
{
    open_chunk(s, b, index);
    if (!s->r->chat)
        buf_str(b, "\"\"");
    close_chunk(s, b, a, api_finish(a, s->r->chat));
}

int api_stream_event(struct api_stream *s, struct buf *out, int prompt, const struct rill_event *ev,
                     struct err *e)
{
    int index = prompt * s->r->best_of + ev->choice;
    struct api_answer *a = &s->answers[index];
    const struct toolcall_event *piece;
    int n;
    int rc = api_take(a, s->r, s->o, &s->r->prompt[prompt], ev, e);

    if (rc < 0)
        return rc;
    if (ev->kind != RILL_LOGITS)
        begin_answer(s, out, a, index);
    while ((n = api_pieces(a, s->r, &piece, e)) > 0)
        for (int i = 0; i < n; i++)
            put_piece(s, out, a, index, &piece[i]);
    if (n == 0 && ev->kind == RILL_DONE)
        end_answer(s, out, a, index);
    return n < 0 ? n : out->bad ? err_nomem(e, out->n) : 0;
}

void api_stream_end(struct api_stream *s, struct buf *out, const char *timings)
{
    if (s->r->usage_chunk) {
        buf_slice(out, buf_view(&s->head));
        buf_str(out, "],");
        api_usage(out, s->r, s->o, s->answers);
        buf_str(out, timings);
        buf_str(out, "}\n\n");
    }
    buf_str(out, "data: [DONE]\n\n");
}
