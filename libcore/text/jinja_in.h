/* jinja_in.h - what the files of the template engine share: values, the syntax tree, the state of
 * a rendering. Not for others (jinja.h).
 *
 * Memory is one arena per rendering (per template for what is parsed) and is given back at once.
 * Errors are sticky: the first one is kept in the state, every function goes on harmlessly with an
 * undefined value, and loops look at `failed`. So values never hold a NULL pointer.
 */
#ifndef RILL_TEXT_JINJA_IN_H
#define RILL_TEXT_JINJA_IN_H

#include "base/mem.h"
#include "jinja.h"

/* -- values -- */

enum jtype {
    J_MISSING, // an argument that was not given; never seen by a template
    J_UNDEF,
    J_NONE,
    J_BOOL,
    J_INT,
    J_FLOAT,
    J_STR,
    J_LIST,
    J_TUPLE,
    J_DICT,
    J_RANGE,
    J_GEN,  // what lazy filters yield: a list that can be gone through once
    J_VIEW, // keys(), values(), items() of a dict
    J_NS,   // namespace()
    J_MACRO,
    J_METHOD, // of a value: "x".strip
    J_FUNC,   // a global
    J_LOOP,
    J_CYCLER,
    J_JOINER
};

/* Marks of the bytes of a string: all the template's, all content, or told byte by byte. */
enum jmark { M_OWN, M_CONTENT, M_MIXED };

struct jstr {
    const char *p;
    const uint8_t *mask; // [n] M_OWN or M_CONTENT where mark is M_MIXED
    size_t n;
    size_t n_cp;   // characters
    uint32_t hash; // 0: not known yet, which few strings are asked for
    uint8_t mark;
    bool safe; // Markup: + escapes the other side
};

struct jv {
    uint8_t type;
    uint8_t sub; // UNDEF: enum jundef; VIEW: 'k' 'v' 'i'; METHOD, FUNC: see jinja_call
    union {
        bool b;
        int64_t i;
        double f;
        const struct jstr *s; // UNDEF: its name, or NULL
        struct jlist *l;
        struct jdict *d;
        struct jrange *r;
        struct jgen *g;
        struct jmacro *m;
        struct jmethod *me;
        struct jloop *lo;
        const struct jfn *fn;
        struct jcycler *cy;
    } u;
};

/* Why a value is undefined: no such variable, no attribute of a value of type sub - JU_ATTR, an
 * attribute that the sandbox refuses, an argument not given. */
enum jundef { JU_NAME, JU_UNSAFE, JU_PARAM, JU_PLAIN, JU_ATTR };

struct jlist {
    struct jv *v;
    size_t n, cap;
    size_t *taken; // of a sum: places of v that this list or a longer one has; else NULL
};

struct jentry {
    struct jv key, val;
    uint32_t hash;
};

struct jdict {
    struct jentry *e; // in order of insertion
    size_t n, cap;
    uint32_t *index; // [n_index] entry + 1, 0: free; NULL while small
    size_t n_index;
};

struct jrange {
    int64_t start, step;
    size_t n;
};

struct jgen {
    struct jlist *l;
    size_t at; // items taken
};

struct jcycler {
    struct jlist *l;
    struct jv sep; // joiner
    size_t at;
};

struct jloop {
    struct jlist *items;
    size_t at; // index0
    int depth0;
    struct jlist *changed;    // arguments of the last changed(), or NULL
    const struct jnode *node; // of a recursive loop, else NULL
    struct jframe *frame;     //   where it stands
};

struct jmacro {
    const struct jnode *node;
    struct jframe *frame; // where it was defined
};

struct jmethod {
    struct jv self;
    const struct jfn *fn;
};

/* -- functions of the language: filters, tests, methods, globals -- */

struct jkw {
    const struct jstr *name;
    struct jv v;
};

struct jargs {
    struct jv *pos;
    size_t n_pos;
    struct jkw *kw;
    size_t n_kw;
};

struct jstate;

/* a[] holds the arguments in the order of names; J_MISSING where one was not given. */
typedef struct jv jfn_call(struct jstate *J, struct jv self, const struct jv *a,
                           const struct jargs *all);
struct jfn {
    const char *name;
    jfn_call *call;
    const char *args; // names, a space between; "*": it takes them as they come
    int n_need;
};
enum { J_MAX_ARGS = 12 };

/* -- the syntax tree -- */

enum jkind {
    /* expressions */
    N_CONST,
    N_NAME,
    N_LIST,
    N_TUPLE,
    N_DICT,
    N_ATTR,
    N_ITEM,
    N_SLICE,
    N_CALL,
    N_FILTER,
    N_TEST,
    N_NOT,
    N_NEG,
    N_POS,
    N_AND,
    N_OR,
    N_COND,
    N_CONCAT,
    N_COMPARE,
    N_ADD,
    N_SUB,
    N_MUL,
    N_DIV,
    N_FLOORDIV,
    N_MOD,
    N_POW,
    N_KW,
    N_STAR,
    N_STARSTAR,
    N_NSREF,
    /* statements */
    N_TEXT,
    N_OUTPUT,
    N_IF,
    N_FOR,
    N_SET,
    N_BLOCKSET,
    N_MACRO,
    N_CALLBLOCK,
    N_FILTERBLOCK,
    N_WITH,
    N_SCOPE,
    N_BREAK,
    N_CONTINUE,
    N_NOTHING
};

enum jcmp { C_EQ, C_NE, C_LT, C_LE, C_GT, C_GE, C_IN, C_NOTIN };

/* What a, b, c, list and more mean is said in jinja_parse.c, at each kind. */
struct jnode {
    uint8_t kind;
    uint8_t op;      // enum jcmp of an operand; flags of a macro (JM_...); recursive of a for;
                     // whether an N_ATTR may name a method of any type
    uint16_t height; // of the tree under it
    uint32_t pos;    // byte in the source
    int sym;         // of a name; of an N_ATTR, what it is of a loop (jloop_attr)
    struct jnode *a, *b, *c;
    struct jnode *list;
    struct jnode *next;   // in a list
    struct jv v;          // N_CONST; the name of N_ATTR, N_FILTER, N_TEST, N_KW
    const struct jfn *fn; // N_FILTER, N_TEST: NULL when there is none of that name
};

enum { JM_VARARGS = 1, JM_KWARGS = 2, JM_CALLER = 4 };

/* -- a template -- */

struct jchunk;
struct jarena {
    struct jchunk *top;
    uint64_t used, max;
};

struct jinja {
    struct jarena mem;
    const char *name;
    const char *src; // with newlines as "\n"
    size_t n_src;
    const struct jstr **sym;   // [n_sym] names of variables
    const struct jfn **global; // [n_sym] the global function of that name, or NULL
    size_t n_sym, cap_sym;
    struct jnode *body;
};

/* -- the state of a parse or a rendering -- */

enum { J_KEYS = 16 };

struct jbind {
    int sym;
    struct jv v;
};

/* Variables of a scope. The outermost has an array, one place per symbol. */
struct jframe {
    struct jframe *up; // or the next spare one
    struct jbind *bind;
    size_t n, cap;
    struct jv *all; // [n_sym] of the outermost, else NULL
    bool kept;      // a macro or loop may come back to it: not to be used again
};

/* A string being built, with its marks. */
struct jbuf {
    struct jstate *J;
    char *p;
    uint8_t *mask; // [cap], or NULL while all bytes have mark `one`
    size_t n, cap;
    uint8_t one;
};

struct jstate {
    const struct jinja *t;
    struct err *e;
    bool failed;
    int code;
    struct jarena mem;
    uint64_t steps;
    int depth, max_depth;
    uint32_t pos; // of what is being done, for errors
    int64_t now;
    struct jbuf *out;
    struct jframe *frame, *spare;
    const struct jstr *key[J_KEYS]; // of the context, made last: messages have the same ones
    size_t n_text;                  // bytes of strings of the context
    struct jlist no_list;           // what takes the place of a list or dict that could not be made
    struct jdict no_dict;
};

/* jinja_mem.c: memory, errors, limits */
void jarena_fini(struct jarena *a);
/* Zeroed; NULL once failed. */
void *jalloc(struct jstate *J, uint64_t n, size_t size);
/* Room for cap instead of old items of size bytes at p: in place where p was the last. */
void *jgrow(struct jstate *J, void *p, size_t old, uint64_t cap, size_t size);
/* Fails with E_FORMAT at J->pos; the value is undefined. */
struct jv jfail(struct jstate *J, const char *fmt, ...) ERR_PRINTF(2, 3);
struct jv jfail_code(struct jstate *J, int code, const char *fmt, ...) ERR_PRINTF(3, 4);
bool jstep_fail(struct jstate *J);
bool jenter_fail(struct jstate *J);
static inline bool jstep(struct jstate *J, uint64_t n) // false once failed
{
    if (likely(!J->failed && J->steps >= n)) {
        J->steps -= n;
        return true;
    }
    return jstep_fail(J);
}
/* One call or container deeper; false: do not go, do not leave. */
static inline bool jenter(struct jstate *J)
{
    if (likely(!J->failed && J->depth < J->max_depth)) {
        J->depth++;
        return true;
    }
    return jenter_fail(J);
}
static inline void jleave(struct jstate *J)
{
    J->depth--;
}

/* jinja_str.c: strings */
extern const struct jstr jstr_empty;
const struct jstr *jstr_make(struct jstate *J, const char *p, size_t n, uint8_t mark); // borrows p
const struct jstr *jstr_key(struct jstate *J, const char *p, size_t n, uint8_t mark);  // hashed
uint32_t jstr_hash(const struct jstr *s);
const struct jstr *jstr_lit(struct jstate *J, const char *s);
const struct jstr *jstr_sub(struct jstate *J, const struct jstr *s, size_t at, size_t n);
const struct jstr *jstr_cat(struct jstate *J, const struct jstr *a, const struct jstr *b);
const struct jstr *jstr_safe(struct jstate *J, const struct jstr *s, bool safe);
const struct jstr *jstr_escape(struct jstate *J, const struct jstr *s); // HTML; is safe then
bool jstr_eq(const struct jstr *a, const struct jstr *b);
bool jstr_is(const struct jstr *a, const char *lit);
int jstr_cmp(const struct jstr *a, const struct jstr *b);
size_t jstr_at(const struct jstr *s, size_t cp);      // the byte of character cp (<= n_cp)
size_t jstr_chars(const struct jstr *s, size_t byte); // characters in front of a byte
/* The first place of what at or behind `from` (last: the last one before `to`); SIZE_MAX: none. */
size_t jstr_find(const struct jstr *s, size_t from, size_t to, const struct jstr *what, bool last);
uint8_t jstr_mark_at(const struct jstr *s, size_t byte);
static inline struct slice jstr_slice(const struct jstr *s)
{
    return (struct slice){s->p, s->n};
}

void jb_expect(struct jbuf *b, size_t n); // about that many bytes will come
void jb_add(struct jbuf *b, const char *p, size_t n, uint8_t mark);
void jb_lit(struct jbuf *b, const char *s);
void jb_str(struct jbuf *b, const struct jstr *s);
void jb_sub(struct jbuf *b, const struct jstr *s, size_t at, size_t n);
void jb_cp(struct jbuf *b, uint32_t cp, uint8_t mark);
void jb_fill(struct jbuf *b, char c, size_t n);
const struct jstr *jb_str_of(struct jbuf *b); // the end of building
struct jv jb_done(struct jbuf *b);

bool ju_space(uint32_t cp);     // str.isspace
bool ju_printable(uint32_t cp); // str.isprintable
/* Upper, lower or title case of a character: up to three. Returns how many. */
int ju_case(uint32_t cp, char to, uint32_t out[3]);

/* 'u' upper, 'l' lower, 'c' capitalized, 't' every word, 's' swapped */
const struct jstr *jstr_case(struct jstate *J, const struct jstr *s, char how); // jinja_case.c
/* Without white space, or the characters of chars (NULL: white space); sides: 1 left, 2 right. */
const struct jstr *jstr_strip(struct jstate *J, const struct jstr *s, const struct jstr *chars,
                              int sides);
/* most < 0: all */
const struct jstr *jstr_replace(struct jstate *J, const struct jstr *s, const struct jstr *from,
                                const struct jstr *to, int64_t most);
struct jlist *jstr_lines(struct jstate *J, const struct jstr *s, bool keep_ends);
const struct jstr *jstr_join(struct jstate *J, const struct jstr *with, const struct jlist *l);

/* jinja_value.c: lists, dicts, what values are equal, greater, true, written as */
static inline struct jv jv_none(void)
{
    return (struct jv){.type = J_NONE};
}
static inline struct jv jv_bool(bool b)
{
    return (struct jv){.type = J_BOOL, .u.i = b};
}
static inline struct jv jv_int(int64_t i)
{
    return (struct jv){.type = J_INT, .u.i = i};
}
static inline struct jv jv_float(double f)
{
    return (struct jv){.type = J_FLOAT, .u.f = f};
}
static inline struct jv jv_str(const struct jstr *s)
{
    return (struct jv){.type = J_STR, .u.s = s};
}
static inline struct jv jv_undef(uint8_t why, const struct jstr *name)
{
    return (struct jv){.type = J_UNDEF, .sub = why, .u.s = name};
}
static inline struct jv jv_list(struct jlist *l)
{
    return (struct jv){.type = J_LIST, .u.l = l};
}
static inline struct jv jv_tuple(struct jlist *l)
{
    return (struct jv){.type = J_TUPLE, .u.l = l};
}
static inline struct jv jv_dict(struct jdict *d)
{
    return (struct jv){.type = J_DICT, .u.d = d};
}
static inline bool jv_is_num(struct jv v)
{
    return v.type == J_INT || v.type == J_BOOL || v.type == J_FLOAT;
}
static inline bool jv_is_int(struct jv v)
{
    return v.type == J_INT || v.type == J_BOOL;
}
static inline double jv_num(struct jv v)
{
    return v.type == J_FLOAT ? v.u.f : (double)v.u.i;
}

struct jlist *jlist_new(struct jstate *J, size_t cap);
void jlist_add(struct jstate *J, struct jlist *l, struct jv v);
struct jdict *jdict_new(struct jstate *J, size_t cap);
void jdict_put(struct jstate *J, struct jdict *d, struct jv key, struct jv val);
bool jdict_get(struct jstate *J, const struct jdict *d, struct jv key, struct jv *val);
bool jdict_get_str(struct jstate *J, const struct jdict *d, const struct jstr *key, struct jv *val);
struct jv jgen_new(struct jstate *J, struct jlist *l);

const char *jtype_name(struct jv v);                  // "str", "dict", "NoneType"
struct jv jfail_undef(struct jstate *J, struct jv v); // uses an undefined value where it may not be
bool jv_true(struct jstate *J, struct jv v);
bool jv_eq(struct jstate *J, struct jv a, struct jv b);
int jv_cmp(struct jstate *J, struct jv a, struct jv b, const char *op); // <0, 0, >0; 2: no order
bool jv_in(struct jstate *J, struct jv item, struct jv v);
bool jv_length(struct jstate *J, struct jv v, size_t *n); // false: it has none
/* All items of anything that can be gone through, else it fails. Borrowed for lists and tuples. */
struct jlist *jv_items(struct jstate *J, struct jv v);
const struct jstr *jv_to_str(struct jstate *J, struct jv v); // str()
void jv_write(struct jbuf *b, struct jv v, bool repr);
const char *jfloat_repr(double f, char buf[64]);

/* jinja_json.c */
struct jv jv_from_json(struct jstate *J, const json_t *j, enum jinja_mark mark);
struct jv jf_tojson(struct jstate *J, struct jv v, const struct jv *a, const struct jargs *all);

/* jinja_ops.c: operators, attributes, items */
struct jv jop_arith(struct jstate *J, uint8_t kind, struct jv a, struct jv b);
struct jv jop_neg(struct jstate *J, struct jv a);
bool jop_compare(struct jstate *J, uint8_t op, struct jv a, struct jv b);
struct jv jv_attr(struct jstate *J, struct jv v, const struct jstr *name);
int jloop_attr(struct slice name); // of a loop, or 0
struct jv jloop_get(const struct jloop *o, int attr);
struct jv jv_item(struct jstate *J, struct jv v, struct jv key);
/* A method of that name, or what stands for a refused one; false: there is none. */
bool jmethod_named(struct slice name); // whether values of any type may have a method of that name
bool jv_method(struct jstate *J, struct jv v, const struct jstr *name, struct jv *out);
struct jv jv_slice(struct jstate *J, struct jv v, struct jv from, struct jv to, struct jv step);

/* jinja_eval.c: expressions and statements */
struct jv jeval(struct jstate *J, const struct jnode *n);
void jrun(struct jstate *J);
struct jv jcall(struct jstate *J, struct jv f, const struct jargs *args);
struct jv jcall_fn(struct jstate *J, const struct jfn *fn, const char *what, struct jv self,
                   const struct jargs *args);

/* Tables. NULL: there is none of that name. */
const struct jfn *jfilter_find(struct slice name);               // jinja_filter.c
const struct jfn *jfilter_str_find(struct slice name);           // jinja_filter_str.c
const struct jfn *jtest_find(struct slice name);                 // jinja_test.c
const struct jfn *jglobal_find(struct slice name);               // jinja_test.c
const struct jfn *jmethod_find(uint8_t type, struct slice name); // jinja_method.c
const struct jfn *jmethod_str_find(struct slice name);           // jinja_method_str.c
const struct jfn *jfn_find(const struct jfn *table, size_t n, struct slice name);

/* jinja_format.c: "%s" % x and "{}".format(x) */
const struct jstr *jformat_percent(struct jstate *J, const struct jstr *s, struct jv args);
const struct jstr *jformat_braces(struct jstate *J, const struct jstr *s, const struct jargs *all);

/* jinja_time.c */
const struct jstr *jstrftime(struct jstate *J, const struct jstr *fmt);

/* jinja_lex.c */
enum jtok_kind {
    T_END,
    T_TEXT,
    T_BLOCK_BEGIN,
    T_BLOCK_END,
    T_VAR_BEGIN,
    T_VAR_END,
    T_NAME,
    T_INT,
    T_FLOAT,
    T_STR,
    T_OP
};
struct jtok {
    uint8_t kind;
    char op[3];
    uint32_t pos;
    struct slice s; // T_TEXT, T_NAME; T_STR between its quotes
    struct jv v;    // T_INT, T_FLOAT, T_STR
};
struct jtoks {
    struct jtok *t;
    size_t n, cap;
};
/* All tokens of J->t->src, the last is T_END. */
void jlex(struct jstate *J, struct jtoks *out);

/* jinja_parse.c */
void jparse(struct jstate *J, struct jinja *t);

#endif
