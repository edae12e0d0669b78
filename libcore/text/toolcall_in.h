/* toolcall_in.h - how a format is read, and the parser's insides: between the table of formats
 * (toolcall_table.c), the parser's frame (toolcall.c) and its states (toolcall_read.c). */
#ifndef RILL_TEXT_TOOLCALL_IN_H
#define RILL_TEXT_TOOLCALL_IN_H

#include "text/toolcall.h"
#include "text/toolcall_value.h"

enum read_style {
    READ_OBJECTS, // {"name": ..., "arguments": ...}, or a list of such
    READ_NAMED,   // a name, a mark, JSON
    READ_PARAMS,  // a name, a mark, parameters
    READ_PYTHON,  // [f(a=1), g()]
    READ_GEMMA,   // call:f{a:1}
    READ_HARMONY  // messages with a recipient
};

struct toolcall_read {
    enum read_style style;
    const char *section;     // mark of a run of calls
    const char *call;        // mark of one call; NULL with section: what follows it directly
    const char *prefix;      // between the call's mark and its name
    const char *name_end[2]; // marks that end the name
    bool keep_end[2];        // that mark is left for what follows
    const char *id_mark;     // ends the name too: the id follows, up to name_end[0]
    const char *call_end;
    const char *section_end;
    const char *key_name; // READ_OBJECTS: the keys of the name, of the arguments, of the id
    const char *key_args;
    const char *key_id;
    const char *key_open; // READ_PARAMS
    const char *key_end;
    const char *key_end_json; // ends a key whose value is no string
    const char *value_open;   // between key_end and the value, behind white space
    const char *value_close;
    const char *delim; // READ_GEMMA
    bool line_values;  // a line break behind value_open and before value_close are marks too
    bool or_objects;   // a list of objects may stand instead
    bool key_is_name;  // objects are {"name": {arguments}}
    bool fenced;       // ```json and ``` may stand around the arguments or objects
    bool bare;         // { or [ at the beginning of the output is as good as a mark
    bool dot_call;     // .call behind the name
    bool id_is_name;   // "functions.NAME:0" is the id
    bool short_id;     // ids made have nine characters (Mistral's templates insist)
};

/* -- the parser -- */

enum {
    NAME_MAX_BYTES = 128,
    KEY_MAX_BYTES = 256,
    KEYS_MAX = 256,  // parameters of one call written as parameters
    SPACE_HOLD = 64, // white space held back at most, to see whether a call follows
    HEADER_MAX = 512 // bytes of a harmony message's head
};

enum mark_id {
    M_SECTION,
    M_CALL,
    M_PREFIX,
    M_NAME_END,
    M_NAME_END2,
    M_ID,
    M_CALL_END,
    M_SECTION_END,
    M_KEY_OPEN,
    M_KEY_END,
    M_KEY_END_JSON,
    M_VALUE_OPEN,
    M_VALUE_CLOSE,
    M_FENCE_JSON,
    M_FENCE,
    M_BRACE,
    M_BRACKET,
    M_THINK,
    M_THINK_END,
    M_ANSWER,
    M_ANSWER_END,
    M_START, // harmony
    M_CHANNEL,
    M_MESSAGE,
    M_END,
    M_RETURN,
    M_CALLED,
    M_TO,
    N_MARK
};

struct mark {
    struct slice s;
    bool control; // counts only where it was fed as a control token
};

enum tc_state {
    S_TEXT,
    S_REASON,
    S_HEADER,
    S_SECTION,
    S_CALL,
    S_PREFIX,
    S_NAME,
    S_ID,
    S_LEAD,
    S_JSON,
    S_STRING,
    S_OBJECTS,
    S_OBJECT,
    S_PARAM,
    S_KEY,
    S_VALUE_OPEN,
    S_VALUE,
    S_PY_ARG,
    S_PY_VALUE,
    S_PY_NEXT,
    S_GEMMA,
    S_TAIL,
    S_AFTER,
    S_RAW,
    N_STATE
};

enum object_state {
    OB_OPEN,
    OB_KEY0,
    OB_KEY,
    OB_KEYSTR,
    OB_COLON,
    OB_VALUE,
    OB_STR,
    OB_SKIP,
    OB_HELD,
    OB_NEXT
};

enum value_mode { VALUE_STREAM, VALUE_HOLD, VALUE_DROP };

struct tc_rec {
    struct toolcall_event ev;
    size_t at[3]; // where text, id and name lie in out
};

struct toolcall {
    const struct toolcall_format *f;
    const struct toolcall_read *rd;
    const struct reasoning *r;
    json_t *tools;
    bool only_known;
    uint64_t seed;
    size_t hold;
    struct mark mark[N_MARK];
    bool any_control;
    bool first[2][256]; // bytes with which a mark may begin, in text and in reasoning

    struct buf in;      // bytes not yet decided
    struct buf control; // [in.n] whether fed as a control token, where any mark is one
    uint64_t base;      // bytes of the output before in
    size_t start;       // everything before is decided
    size_t pos;         // how far an attempt has read
    size_t trig;        // where the attempt's mark begins
    uint64_t again;     // bytes read more than once
    bool eof;
    bool finished;

    enum tc_state st;
    bool fresh;   // no text yet
    bool drop_ws; // white space here belongs to what came before
    bool in_reason;
    bool answer;    // the answer's opening mark was there
    bool section;   // inside a section
    bool committed; // TC_BEGIN is out
    bool list;      // inside [ ]
    bool block;     // the call's end mark has not come yet
    bool args_done;
    bool model_id; // the call's id is the model's
    int closers;   // } to come behind the list
    int n_call;

    enum read_style style;
    enum object_state ob;
    int wrapper; // objects around the one with the name
    bool id_key; // what OB_STR reads
    bool long_key;
    bool have_name, have_id, have_args;
    size_t args_at[2]; // arguments that came before the name: where in in
    struct buf name, id, key;
    const json_t *tool;
    const json_t *props;
    struct json_scan js;
    struct json_string jstr;
    struct literal_scan lit;
    struct utf8_fix fix;
    enum value_mode mode;
    unsigned types;
    bool known, key_json, opened, any_byte;
    int n_arg;
    struct buf val;  // a value held back, a string's decoded bytes
    struct buf keys; // keys seen, each ended by NUL

    struct buf out;
    struct tc_rec *rec;
    struct toolcall_event *ev;
    size_t n_rec, cap_rec;
    char tail[4]; // the front of a character, of kind tail_kind
    uint8_t n_tail;
    enum toolcall_kind tail_kind;
    bool bad; // out of memory
};

enum { WAIT, GO };

static inline bool tc_is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* Empties a buffer, and remembers that it had failed. */
static inline void tc_clear(struct toolcall *t, struct buf *b)
{
    t->bad = t->bad || b->bad;
    buf_clear(b);
}

/* toolcall.c: events. */
void tc_text(struct toolcall *t, enum toolcall_kind kind, const char *p, size_t n);
struct buf *tc_args(struct toolcall *t); // to which arguments are added
void tc_begin(struct toolcall *t);
void tc_end(struct toolcall *t, bool complete);
void tc_error(struct toolcall *t, const char *what);

/* 1: the mark is at byte `at` of in; 0: it is not; -1: more bytes are needed to know. */
int tc_mark(const struct toolcall *t, enum mark_id m, size_t at);

/* toolcall_read.c: the states of a call. Each reads from pos and says whether anything changed. */
extern int (*const tc_read[N_STATE])(struct toolcall *t);
void tc_attempt(struct toolcall *t, enum tc_state st, size_t skip); // at trig
void tc_fail(struct toolcall *t);                                   // it was no call
void tc_unfinished(struct toolcall *t);                             // the output ends inside a call

/* What the states share. */
int tc_no_call(struct toolcall *t); // tc_fail
bool tc_commit(struct toolcall *t); // from here on it is a call; false: too much was held back
int tc_broken(struct toolcall *t, const char *what); // its arguments go on as they are
int tc_args_ended(struct toolcall *t);
int tc_end_call(struct toolcall *t, bool complete, enum tc_state st);

static inline char tc_here(const struct toolcall *t)
{
    return t->in.p[t->pos];
}

static inline int tc_go(struct toolcall *t, size_t n, enum tc_state st)
{
    t->pos += n;
    if (t->committed)
        t->start = t->pos;
    t->st = st;
    return GO;
}

/* Past white space; false: the input ends in it. */
static inline bool tc_skip_space(struct toolcall *t)
{
    size_t at = t->pos;

    while (at < t->in.n && tc_is_space(t->in.p[at]))
        at++;
    tc_go(t, at - t->pos, t->st);
    return at < t->in.n;
}

/* toolcall_args.c: the states of arguments that are no JSON. */
int tc_read_param(struct toolcall *t);
int tc_read_key(struct toolcall *t);
int tc_read_value_open(struct toolcall *t);
int tc_read_value(struct toolcall *t);
int tc_read_py_arg(struct toolcall *t);
int tc_read_py_value(struct toolcall *t);
int tc_read_py_next(struct toolcall *t);
int tc_read_gemma(struct toolcall *t);
bool tc_ident(char c, bool first); // of a Python name

#endif
