/* derive_in.h - what derive.c, derive_read.c and derive_think.c share. */
#ifndef RILL_TEXT_DERIVE_IN_H
#define RILL_TEXT_DERIVE_IN_H

#include "chat_in.h"
#include "text/derive.h"

/* Names and values that stand for themselves; a template that spells DV_SIGN is not looked into. */
#define DV_SIGN    "qz"
#define DV_USER    "qzuser"
#define DV_NEXT    "qznext"
#define DV_LONG_ID "qzid0000000001"
#define DV_TEXT    "qzcontent"
#define DV_REASON  "qzreason"
#define DV_RESULT  "qzresult"

#define DV_NUMBER_KEY "qzknum"
#define DV_NUMBER     73019
#define DV_NUMBER_IS  "73019"

enum { DV_NONE = -1 };

/* Arguments of a call: one string; a string, a number and a string; none; values in values. */
enum dv_args { DV_ONE, DV_THREE, DV_EMPTY, DV_NESTED };

/* What follows the assistant's turn. */
enum dv_then { DV_LAST, DV_RESULTS, DV_USERS };

/* A conversation: the user speaks, the assistant (unless alone) answers. */
struct dv_talk {
    bool alone;
    const char *text, *reason;
    int n_calls;
    enum dv_args args;
    bool long_ids;
    enum dv_then then;
    bool prompt; // add_generation_prompt
    int think;   // enable_thinking: DV_NONE, 0, 1
};

struct dv {
    const struct chat *c;
    struct derived *d;
    struct jinja_text text[DERIVE_RENDERINGS];
    bool no_tools; // the template is told of none
    struct err *e;
    int rc;
};

/* What the template writes behind the user's text; {NULL, 0} where it fails, or does not show that
 * text. */
struct slice dv_render(struct dv *v, const struct dv_talk *t);
void dv_fini(struct dv *v);
bool dv_no(struct dv *v, const char *why); // false: calls are not derived, and why

extern const char *const dv_name[2], *const dv_id[2], *const dv_key[2], *const dv_value[2];
json_t *dv_arguments(enum dv_args a, int call); // NULL: no memory

/* -- texts -- */

#define DV_NOWHERE ((size_t)-1)

size_t dv_find(struct slice t, size_t from, const char *s);
struct slice dv_part(struct slice t, size_t from, size_t to);
struct slice dv_strip(struct slice t);
/* The longest beginning (end) that both have, cut where no tag and no word is cut. */
size_t dv_common_head(struct slice a, struct slice b);
size_t dv_common_tail(struct slice a, struct slice b);
/* The first tag, <...> or [NAME], that t begins with: its bytes, or 0. */
size_t dv_tag(struct slice t);

/* The text, kept with the derived row; NULL: it is empty (or v->rc is set). */
const char *dv_keep(struct dv *v, struct slice t);

/* From the form to how it is read; false and d->why: there is no way. */
bool dv_read(struct dv *v);

#endif
