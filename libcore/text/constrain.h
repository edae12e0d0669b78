/* constrain.h - output that obeys a grammar: compile, then ask which tokens may come next.
 *
 * A struct con is compiled once, from GBNF, a JSON Schema, a regular expression or a list of
 * choices, and is read-only: any number of threads may use one. A struct con_matcher joins it with
 * a vocabulary and remembers what it has found out, for one thread. A place in a text is a struct
 * con_state, a plain value: copying it forks, keeping an old one rolls back. It is good as long as
 * its matcher is.
 *
 *     con_schema(&c, json, &opts, &e);
 *     con_vocab_new(&v, tok, &e);
 *     con_matcher_new(&m, c, v, 0, &e);
 *     s = con_begin(m);
 *     con_mask(m, s, mask, &e);            // bit i: token i may come
 *     con_accept(m, &s, token, &e);
 *
 * A mask is exact: it has every token whose bytes can go on to a whole text, also those that reach
 * over several symbols of the grammar, and no other; and the tokens that end a generation where
 * the text may end. What a grammar needs beyond a stated limit is an error, never a wrong mask.
 */
#ifndef RILL_TEXT_CONSTRAIN_H
#define RILL_TEXT_CONSTRAIN_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"
#include "text/constrain_vocab.h"

struct con;
struct con_matcher;

struct con_state {
    uint32_t set;
};

struct con_opts {
    /* JSON: one line, blanks only single ones, strings escaped only where needed. Otherwise all
     * that RFC 8259 allows between and in values. */
    bool line;
    /* JSON: properties come in the order in which the schema names them, others behind them.
     * Otherwise in any order. Either way none that is named comes twice. */
    bool ordered;
    int draft;       // 7 or 2020 where the schema has no $schema; 0: 2020
    /* The text is free until one of these is met; the grammar begins behind it. Control tokens of
     * tok (may be NULL) in them are met as those tokens only. With maybe the text may also
     * end without; with again it is free once more behind what the grammar gave. */
    const struct slice *after; // [n_after]
    uint32_t n_after;
    bool maybe, again;
    const struct tok *tok;
};

/* opts NULL: all zero. Errors name the line of a grammar (E_FORMAT), the JSON pointer of a schema's
 * keyword that cannot be enforced (E_UNSUPPORTED), or the limit (E_RANGE). */
int con_gbnf(struct con **out, struct slice src, const struct con_opts *opts, struct err *e);
int con_schema(struct con **out, struct slice json, const struct con_opts *opts, struct err *e);
int con_json_object(struct con **out, const struct con_opts *opts, struct err *e);
int con_regex(struct con **out, struct slice src, const struct con_opts *opts, struct err *e);
int con_choice(struct con **out, const struct slice *text, uint32_t n, const struct con_opts *opts,
               struct err *e);
void con_free(struct con *c); // accepts NULL; matchers on it must be gone

/* limit: bytes it may grow to; 0: CON_LIMIT. v may be NULL where only bytes are asked about. */
#define CON_LIMIT (64ull << 20)
int con_matcher_new(struct con_matcher **out, const struct con *c, const struct con_vocab *v,
                    uint64_t limit, struct err *e);
void con_matcher_free(struct con_matcher *m); // accepts NULL
uint64_t con_matcher_bytes(const struct con_matcher *m);

struct con_state con_begin(const struct con_matcher *m);

/* mask: [v->n_word], 32 tokens a word, the lowest bit first. */
int con_mask(struct con_matcher *m, struct con_state s, uint32_t *mask, struct err *e);
/* Goes on by a token: 1, or 0 when the text cannot go on so (s stays). */
int con_accept(struct con_matcher *m, struct con_state *s, int32_t token, struct err *e);
/* Goes on by bytes: how many could be taken (s stands behind those). */
int64_t con_bytes(struct con_matcher *m, struct con_state *s, struct slice text, struct err *e);

/* Whether the text may end here, and whether it can do nothing else. */
bool con_can_stop(const struct con_matcher *m, struct con_state s);
bool con_is_done(struct con_matcher *m, struct con_state s);

/* The bytes that must come next, whatever is chosen (at most max); empty where there is a choice or
 * the text may end. */
int con_forced(struct con_matcher *m, struct con_state s, size_t max, struct buf *out,
               struct err *e);
/* Tokens for those bytes: the vocabulary's own spelling of them, without a last token that could be
 * a longer one under the mask. Fills at most max ids and returns how many. What they spell is what
 * sampling under the mask would spell. */
int con_forced_tokens(struct con_matcher *m, struct con_state s, const struct tok *t, int32_t *id,
                      int max, struct err *e);

#endif
