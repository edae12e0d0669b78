/* constrain_value.h - sets of JSON values, and the operations of logic on them.
 *
 * A schema is a set of values. Scalars are exact: numbers and strings are regular languages, of the
 * number's text and of the characters a string stands for. Arrays and objects are unions of shapes;
 * what lies within them is named by goals, conjunctions of literals (a schema or a constant, or its
 * negation), so that recursion needs no end here.
 */
#ifndef RILL_TEXT_CONSTRAIN_VALUE_H
#define RILL_TEXT_CONSTRAIN_VALUE_H

#include <jansson.h>

#include "constrain_in.h"

#define NO_LIMIT UINT32_MAX

enum { GOAL_ANY = 0, GOAL_NONE = 1 }; // every value; no value

struct prop {
    struct slice name;
    uint32_t goal;
    bool need;
};
struct keys { // of the other properties: a language of names, and what they hold
    rx key;
    uint32_t goal;
};
struct shape_obj {
    struct shape_obj *next;
    struct prop *prop;  // in the order in which they are written
    struct keys *keys;  // disjoint; the names in prop do not count. What is in none is forbidden
    struct keys *some;  // for each, some property of such a name holds such a value
    uint32_t n_prop, n_keys, n_some;
    uint32_t min, max;
};
struct has {
    uint32_t goal, min, max; // so many of the items
    uint32_t from;           // from this place on
    bool apart;              // of a list of values that are all an item can be: it is just one
};
struct shape_arr {
    struct shape_arr *next;
    uint32_t *pre;      // goals of the first items
    struct has *has;
    uint32_t n_pre, n_has;
    uint32_t rest;      // goal of the others
    uint32_t min, max;
};

struct value {
    bool null, yes, no;
    bool canon;    // in one line, numbers are written without zeros at the end of a fraction
    bool exp;      // numbers with an exponent too: only where all numbers are meant
    rx num;        // without exponent; all spellings of a value are in it or none
    rx str;
    struct shape_arr *arr;
    struct shape_obj *obj;
};

struct lit {
    const json_t *node;
    const char *path;    // JSON pointer
    bool constant;
    uint8_t state[2];    // of value: 0 unknown, 1 being found out, 2 known
    struct value value[2]; // as it is, negated
};

struct goal {
    uint32_t *lit;       // [n] sorted: 2 * index, + 1 where negated
    uint32_t n;
    uint8_t state, empty; // as in lit; 0 unknown, 1 being found out, 2 empty, 3 not
    bool made, done; // it has a rule; the rule is filled in
    uint32_t rule;
    struct value value;
};

struct chunk { // of memory; what it holds lies behind
    struct chunk *next;
    size_t used, cap;
};

struct js {
    struct gram *g;
    struct rxs *s;
    struct con_opts opts;
    const struct con_form *form; // NULL: JSON
    int draft;
    bool nested_ids;       // the schema has several base URIs
    const json_t *root;
    json_t *made;          // schemas that were made of others, a list
    struct lit *lit;
    uint32_t n_lit, cap_lit;
    struct goal *goal;
    uint32_t n_goal, cap_goal;
    struct chunk *mem;     // everything small
    uint64_t work;         // shapes combined
    int depth;
    rx dec, integer;       // numbers without exponent; integers among them
    struct value all;      // once it was asked for
    struct err *e;
    int rc;
};

/* Memory that goes with js. NULL and js->rc set on failure. */
void *js_mem(struct js *j, uint64_t n, size_t size);
const char *js_path(struct js *j, const char *base, const char *key, size_t n);
const char *js_path_at(struct js *j, const char *base, size_t index);
/* The first failure stays. what is followed by the pointer. */
int js_fail(struct js *j, int code, const char *path, const char *what);

uint32_t lit_of(struct js *j, const json_t *node, bool constant, const char *path);
uint32_t goal_of(struct js *j, const uint32_t *lit, uint32_t n);
uint32_t goal_and(struct js *j, uint32_t a, uint32_t b);
uint32_t goal_schema(struct js *j, const json_t *schema, const char *path);
uint32_t goal_const(struct js *j, const json_t *value, const char *path);

/* Room for so many of each, none used yet; any number of properties or items. NULL: j->rc. */
struct shape_obj *obj_new(struct js *j, uint32_t n_prop, uint32_t n_keys, uint32_t n_some);
struct shape_arr *arr_new(struct js *j, uint32_t n_pre, uint32_t n_has);

struct value value_all(struct js *j);
struct value value_or(struct js *j, struct value a, struct value b);
struct value value_and(struct js *j, struct value a, struct value b);
struct value value_not(struct js *j, struct value v, const char *path);
bool value_empty(struct js *j, const struct value *v);
/* The values of a goal; valid until the next goal is made (copy it). */
struct value goal_value(struct js *j, uint32_t goal);

/* What a literal's schema says (constrain_schema.c). */
struct value schema_value(struct js *j, const json_t *schema, const char *path);
struct value const_value(struct js *j, const json_t *v, const char *path);

/* The schema that a $ref means; NULL: j->rc. *at is its place. */
const json_t *schema_of_ref(struct js *j, const json_t *ref, const char *path, const char **at);
bool schema_nests_ids(const json_t *root); // parts have an $id of their own
/* What properties, patternProperties and additionalProperties say. */
struct value schema_properties(struct js *j, const json_t *s, const char *path);

/* What can be told of a schema without its values (constrain_known.c). */

/* uniqueItems of s, into a, which has room for KNOWN_MOST more: of a few values each can come once
 * at most; other items cannot be compared while they are written. */
enum { KNOWN_MOST = 10 }; // their subsets are states
void known_unique(struct js *j, const json_t *s, const char *path, struct shape_arr *a);

/* unevaluatedProperties: which group decides what was evaluated - none (0), the branches of oneOf
 * ('o'), of if ('i'); or it is refused. */
char known_closing(struct js *j, const json_t *s, const char *path);
/* Objects whose properties that neither s nor the branches a and b (or NULL) evaluate hold what
 * unevaluatedProperties says. */
struct value known_closed(struct js *j, const json_t *s, const json_t *a, const json_t *b,
                          const char *path);

/* Numbers and formats (constrain_number.c, constrain_format.c). */
rx number_all(struct rxs *s);              // without exponent
rx number_integer(struct rxs *s);
rx number_exp(struct rxs *s);              // with one
rx number_short(struct rxs *s);            // no zeros at the end of a fraction, no -0
/* The plain decimal of a JSON number: sign and digits. False when it is out of reach. */
bool number_text(const json_t *v, char *out, size_t cap, bool *negative);
rx number_equal(struct rxs *s, const char *digits, bool negative);
rx number_bound(struct rxs *s, const char *digits, bool negative, bool upper, bool exclusive);
bool number_multiple(struct rxs *s, const char *digits, rx *out); // false: out of reach
/* RX_NONE: not known. */
rx format_rx(struct rxs *s, struct slice name, struct err *e);
bool format_is_note(struct slice name); // of numbers: says nothing about the text

/* Makes the rules of all goals that root needs (constrain_emit.c). */
int emit_all(struct js *j, uint32_t root, uint32_t *rule);

/* How values and names are written (constrain_write.c); JSON where form says nothing else. */
rx write_space(struct js *j);   // before a sign or a value
rx write_sign(struct js *j, char c);
rx write_comma(struct js *j);
rx write_scalars(struct js *j, const struct value *v);
rx write_string(struct js *j, rx text);
/* A property's name and what stands before its value; behind others with what separates them. top:
 * it is an argument itself. RX_NONE: it cannot be written. */
rx write_name(struct js *j, rx name, bool first, bool top);
/* For FORM_PARAMS: the strings of v as they are written, with the marks around; and what is left of
 * v for values written as JSON. types: what the parser takes the parameter for. */
rx write_param(struct js *j, struct value *v, unsigned types);

#endif
