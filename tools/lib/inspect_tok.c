/* inspect_tok.c - tokens looked up by id, and texts by what they become. */
#include <stdlib.h>

#include "base/mem.h"
#include "model/hfdir.h"
#include "tools/lib/inspect.h"

static void field_role(struct show *o, const struct tok *t, int32_t id)
{
    for (int r = 0; r < TOK_N_ROLE; r++)
        if (tok_role_id(t, (enum tok_role)r) == id) {
            field_str(o, "role", 0, tok_role_name((enum tok_role)r));
            return;
        }
    if (o->json || o->tsv)
        field_none(o, "role", 0);
}

static void show_id(struct show *o, const struct tok *t, int32_t id, struct err *e)
{
    static const char *const kinds[] = {"undefined",    "normal", "unknown", "control",
                                        "user-defined", "unused", "byte"};
    enum tok_kind k = tok_kind_of(t, id);
    size_t from;

    row_begin(o, "id");
    field_num(o, "id", 7, (uint64_t)id);
    field_str(o, "token_kind", 12, kinds[(unsigned)k < ARRAY_LEN(kinds) ? k : 0]);
    field_real(o, "score", 12, (double)tok_score_of(t, id));
    field_begin(o, "text");
    from = o->row.n;
    if (o->json) {
        buf_json(&o->row, tok_piece(t, id));
    } else if (o->tsv) {
        add_shown(&o->row, tok_piece(t, id), LINE);
    } else {
        buf_byte(&o->row, '"');
        add_shown(&o->row, tok_piece(t, id), QUOTED);
        buf_byte(&o->row, '"');
    }
    pad_to(o, from, 24);
    field_role(o, t, id);
    row_end(o, e);
}

/* "5" or "5-9". */
static int show_ids(struct show *o, const struct tok *t, const char *text, struct err *e)
{
    char *end;
    long first = strtol(text, &end, 10), last = first;

    if (end != text && *end == '-' && end[1] >= '0' && end[1] <= '9')
        last = strtol(end + 1, &end, 10);
    if (end == text || *end || first < 0 || last < first)
        return err_set(e, E_USAGE, "--id %.40s: expected N or N-M", text);
    if (last >= (long)tok_count(t))
        return err_set(e, E_RANGE, "--id %.40s: the vocabulary has tokens 0 to %ld", text,
                       (long)tok_count(t) - 1);
    for (long id = first; id <= last && !e->code; id++)
        show_id(o, t, (int32_t)id, e);
    return e->code;
}

/* The token that is spelt so, and what the text becomes, control tokens in it included. */
static int show_text(struct show *o, const struct tok *t, const char *text, struct err *e)
{
    struct tok_ids ids = {0};
    int32_t exact = tok_find(t, slice_of(text));
    int rc = tok_encode(t, slice_of(text), TOK_PARSE | TOK_AFTER, &ids, e);

    if (rc == 0) {
        row_begin(o, "string");
        field_text(o, "text", 0, slice_of(text));
        if (exact >= 0)
            field_num(o, "id", 0, (uint64_t)exact);
        else
            field_none(o, "id", 0);
        field_begin(o, "ids");
        buf_str(&o->row, o->json ? "[" : "");
        for (size_t i = 0; i < ids.n; i++)
            buf_printf(&o->row, "%s%d", !i ? "" : o->json ? "," : " ", ids.id[i]);
        buf_str(&o->row, o->json ? "]" : "");
        row_end(o, e);
    }
    tok_ids_fini(&ids);
    return rc < 0 ? rc : e->code;
}

int show_tokens(struct show *o, const struct source *src, const struct opt_list *ids,
                const struct opt_list *texts, struct err *e)
{
    struct tok *t = NULL;
    int rc = model_source_vocab(&t, src, e);

    if (rc == 0 && tok_model_of(t) == TOK_NONE)
        rc = err_set(e, E_UNSUPPORTED, "%s: it has no vocabulary", src->g->path);
    for (size_t i = 0; i < ids->n && rc == 0; i++)
        rc = show_ids(o, t, ids->at[i].value, e);
    for (size_t i = 0; i < texts->n && rc == 0; i++)
        rc = show_text(o, t, texts->at[i].value, e);
    tok_free(t);
    return rc;
}
