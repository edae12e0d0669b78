/* constrain_write.c - how values, names and signs are spelt: terminals for constrain_emit.c.
 *
 * White space stands before what it precedes, within the same terminal; in one line there is only a
 * blank behind : and , which belongs to those. Beside JSON there is what tool-call formats write:
 * Python's literals, Gemma's notation, parameters in tags (constrain_in.h, struct con_form).
 */
#include "constrain_value.h"
#include "text/toolcall_value.h"

#define MAX_DIGITS 300 // of a number in a notation whose reader has a limit (VALUE_SCALAR)
#define MAX_KEY    64  // characters of a name that no schema gives

static bool is_form(const struct js *j, int kind)
{
    return j->form && (int)j->form->kind == kind;
}

static rx set_of(struct js *j, const char *chars)
{
    struct rx_set s = {{0}};

    for (; *chars; chars++)
        rx_put(&s, (unsigned char)*chars);
    return rx_bytes(j->s, &s);
}

rx write_space(struct js *j)
{
    return j->opts.line ? RX_EPS : rx_rep(j->s, set_of(j, " \t\n\r"), 0, RX_INF);
}

static rx behind(struct js *j)
{
    return j->opts.line ? rx_opt(j->s, rx_byte(j->s, ' ')) : RX_EPS;
}

rx write_sign(struct js *j, char c)
{
    return rx_cat(j->s, write_space(j), rx_byte(j->s, (unsigned char)c));
}

rx write_comma(struct js *j)
{
    return rx_cat(j->s, write_sign(j, ','), behind(j));
}

/* Every text with part in it. */
static rx with(struct js *j, struct slice part)
{
    return rx_cat(j->s, RX_ALL, rx_cat(j->s, rx_lit(j->s, part), RX_ALL));
}

rx write_string(struct js *j, rx text)
{
    rx quote = rx_byte(j->s, '"'), mark;

    if (is_form(j, FORM_GEMMA)) {
        mark = rx_lit(j->s, j->form->mark);
        text = rx_minus(j->s, text, with(j, j->form->until));
        return rx_cat(j->s, mark, rx_cat(j->s, text, mark));
    }
    /* Python makes no character of a surrogate's escape */
    text = rx_json(j->s, text, is_form(j, FORM_PYTHON) ? RX_ESC_BMP
                               : j->opts.line          ? RX_ESC_FEW
                                                       : RX_ESC_ALL);
    return rx_cat(j->s, quote, text);
}

rx write_scalars(struct js *j, const struct value *v)
{
    bool python = is_form(j, FORM_PYTHON);
    rx e = RX_NONE, num = v->num, exp = v->exp ? number_exp(j->s) : RX_NONE;

    if (v->null)
        e = rx_or(j->s, e, rx_lit(j->s, python ? SLICE("None") : SLICE("null")));
    if (v->yes)
        e = rx_or(j->s, e, rx_lit(j->s, python ? SLICE("True") : SLICE("true")));
    if (v->no)
        e = rx_or(j->s, e, rx_lit(j->s, python ? SLICE("False") : SLICE("false")));
    if (j->opts.line && v->canon)
        num = rx_and(j->s, num, number_short(j->s));
    num = rx_or(j->s, num, exp);
    if (python || is_form(j, FORM_GEMMA))
        num = rx_and(j->s, num, rx_len(j->s, 1, MAX_DIGITS));
    if (rx_live(j->s, num))
        e = rx_or(j->s, e, num);
    if (rx_live(j->s, v->str))
        e = rx_or(j->s, e, write_string(j, v->str));
    return rx_cat(j->s, write_space(j), e);
}

/* -- names ----------------------------------------------------------------------------------- */

static rx letters(struct js *j, const char *more, bool any)
{
    struct rx_set s = {{0}};

    for (unsigned c = 0; c < 256; c++)
        if ((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || (any && c >= 0x80))
            rx_put(&s, c);
    for (; *more; more++)
        rx_put(&s, (unsigned char)*more);
    return rx_bytes(j->s, &s);
}

/* Names that the form can write: of one of its parameters, of a key without marks. */
static rx writable(struct js *j)
{
    rx first, rest;

    if (j->form->kind == FORM_PARAMS)
        return rx_rep(j->s, letters(j, "_.-$@/", true), 1, RX_INF);
    if (j->form->kind == FORM_GEMMA)
        return rx_rep(j->s, letters(j, "_.-+$@/", true), 1, RX_INF);
    rest = letters(j, "_", true);
    first = rx_minus(j->s, rest, set_of(j, "0123456789"));
    return rx_cat(j->s, first, rx_rep(j->s, rest, 0, RX_INF));
}

static rx short_names(struct js *j, rx name)
{
    return rx_and(j->s, name, rx_len(j->s, 0, MAX_KEY));
}

rx write_name(struct js *j, rx name, bool first, bool top)
{
    rx end = rx_cat(j->s, write_sign(j, ':'), behind(j)), e;

    if (top && is_form(j, FORM_PARAMS))
        return rx_cat(j->s, j->form->open, short_names(j, rx_and(j->s, name, writable(j))));
    if (top && is_form(j, FORM_PYTHON))
        e = rx_cat(j->s, short_names(j, rx_and(j->s, name, writable(j))), rx_byte(j->s, '='));
    else if (is_form(j, FORM_GEMMA) && rx_live(j->s, rx_and(j->s, name, writable(j))))
        e = rx_cat(j->s, short_names(j, rx_and(j->s, name, writable(j))), end);
    else
        e = rx_cat(j->s, write_string(j, name), end);
    if (j->form && !rx_live(j->s, e))
        return RX_NONE;
    e = rx_cat(j->s, write_space(j), e);
    return first ? e : rx_cat(j->s, write_comma(j), e);
}

/* -- parameters ------------------------------------------------------------------------------ */

/* Texts that a reader who expects these types takes for something else than a string. */
static rx other_values(struct js *j, unsigned types)
{
    static const char *const word[] = {"true", "false", "null", "True", "False", "None"};
    rx space = rx_rep(j->s, set_of(j, " \t\n\r"), 0, RX_INF), e = RX_NONE;

    for (int i = 0; i < 6; i++)
        if (types & (i % 3 == 2 ? VALUE_NULL : VALUE_BOOLEAN))
            e = rx_or(j->s, e, rx_lit(j->s, slice_of(word[i])));
    if (types & (VALUE_NUMBER | VALUE_INTEGER))
        e = rx_or(j->s, e, rx_or(j->s, j->dec, number_exp(j->s)));
    e = rx_cat(j->s, e, space);
    if (types & VALUE_OBJECT)
        e = rx_or(j->s, e, rx_cat(j->s, rx_byte(j->s, '{'), RX_ALL));
    if (types & VALUE_ARRAY)
        e = rx_or(j->s, e, rx_cat(j->s, rx_byte(j->s, '['), RX_ALL));
    return rx_cat(j->s, space, e);
}

rx write_param(struct js *j, struct value *v, unsigned types)
{
    rx text = rx_minus(j->s, v->str, with(j, j->form->until));

    if (types != VALUE_STRING)
        text = rx_minus(j->s, text, other_values(j, types));
    v->str = RX_NONE;
    v->null = v->null && types & VALUE_NULL;
    v->yes = v->yes && types & VALUE_BOOLEAN;
    v->no = v->no && types & VALUE_BOOLEAN;
    if (!(types & VALUE_NUMBER)) {
        v->exp = false;
        v->canon = true;
        v->num = types & VALUE_INTEGER ? rx_and(j->s, v->num, j->integer) : RX_NONE;
    }
    if (!(types & VALUE_ARRAY))
        v->arr = NULL;
    if (!(types & VALUE_OBJECT))
        v->obj = NULL;
    if (!rx_live(j->s, text))
        return RX_NONE;
    return rx_cat(j->s, j->form->mid, rx_cat(j->s, text, j->form->close));
}
