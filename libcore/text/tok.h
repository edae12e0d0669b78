/* tok.h - tokenizers: bytes to token ids, and back.
 *
 * A struct tok is built from a plain description (struct tok_spec), whatever file that came from,
 * and is read-only afterwards: any number of threads may encode and decode with one.
 *
 * Text is bytes. What is no valid UTF-8 is encoded byte by byte where the vocabulary has bytes, so
 * that byte-level and byte-fallback vocabularies give every file back. Vocabularies without bytes
 * map what they lack to the unknown token. WordPiece and Unigram vocabularies normalize the text
 * first, as they were trained to, and lose what that loses.
 *
 * Knows nothing of files, chat templates or models.
 */
#ifndef RILL_TEXT_TOK_H
#define RILL_TEXT_TOK_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

struct tok;
struct pipe;

enum tok_model {
    TOK_NONE,    // ids only: encoding is an error, pieces are empty
    TOK_SPM,     // SentencePiece BPE: merges by score; bytes <0x00>..<0xFF>
    TOK_BPE,     // byte-level BPE: a pre-tokenizer splits, merges by rank
    TOK_WPM,     // WordPiece (BERT)
    TOK_UNIGRAM, // SentencePiece Unigram: the best path by score
    TOK_RWKV,    // the longest match, nothing else
    TOK_WORD,    // whole words
    TOK_N_MODEL
};

/* The numbers are those of GGUF and of SentencePiece. */
enum tok_kind {
    TOK_UNDEFINED = 0,
    TOK_NORMAL = 1,
    TOK_UNKNOWN = 2,
    TOK_CONTROL = 3, // found in text only with TOK_PARSE; no text of its own when decoded
    TOK_USER = 4,    // always found in text, before anything else
    TOK_UNUSED = 5,
    TOK_BYTE = 6
};

/* X(NAME, what rill-inspect calls it) */
#define TOK_ROLES(X)                                                                               \
    X(BOS, "bos")                                                                                  \
    X(EOS, "eos")                                                                                  \
    X(EOT, "eot")                                                                                  \
    X(EOM, "eom")                                                                                  \
    X(UNK, "unk")                                                                                  \
    X(SEP, "sep")                                                                                  \
    X(PAD, "pad")                                                                                  \
    X(CLS, "cls")                                                                                  \
    X(MASK, "mask")                                                                                \
    X(NL, "newline")                                                                               \
    X(FIM_PRE, "fim-prefix")                                                                       \
    X(FIM_SUF, "fim-suffix")                                                                       \
    X(FIM_MID, "fim-middle")                                                                       \
    X(FIM_PAD, "fim-pad")                                                                          \
    X(FIM_REP, "fim-repository")                                                                   \
    X(FIM_SEP, "fim-file")

enum tok_role {
#define X(name, text) TOK_##name,
    TOK_ROLES(X)
#undef X
        TOK_N_ROLE
};

/* A piece of the form that a pair of texts is given. */
enum { TOK_FIRST = -1, TOK_SECOND = -2 };
struct tok_part {
    int32_t id;   // a token's, or TOK_FIRST, TOK_SECOND: a text
    uint8_t type; // token type
};

/* How white space beside a special token goes with it (Hugging Face: lstrip, rstrip). */
enum { TOK_LSTRIP = 1, TOK_RSTRIP = 2 };

/* A description. All in it is borrowed and copied by tok_new: it may go afterwards. Zeroed it
 * is a neutral one, except that role[] must be -1 where there is none (tok_spec_init). */
struct tok_spec {
    enum tok_model model;
    const char *name;          // what sentences call the file; NULL: "vocabulary"
    uint32_t n;                // tokens
    const struct slice *piece; // [n] as spelt in the file
    const float *score;        // [n], or NULL: all 0
    const uint8_t *kind;       // [n] enum tok_kind, or NULL: all TOK_NORMAL
    const uint8_t *strip;      // [n] TOK_LSTRIP, TOK_RSTRIP, or NULL: none

    /* BPE: pairs in the order of their rank. With n_merge 0 the ids are the ranks (tiktoken). */
    uint32_t n_merge;
    const struct slice (*merge)[2];
    const char *pre;          // name of the pre-tokenizer, as in GGUF; NULL or "": "default"
    const char *const *split; // own list of regular expressions instead, NULL-ended
    bool whole_first;         // a piece that is a token is not merged (HF: ignore_merges)
    bool raw_bpe;             // pieces are text with U+2581 for spaces and <0x00> bytes, not the
                              // byte alphabet (gemma4)
    bool raw_bytes;           // pieces are bytes as they are, not the byte alphabet (tiktoken)
    bool as_is;               // pieces are characters as they are
    struct slice word_end;    // with as_is: what pieces that end words end with ("</w>"), or empty
    struct slice word_inside; // BPE with as_is, plain_pieces: what pieces that go on begin with
    bool no_inside;           // plain_pieces: pieces that go on are spelt as those that begin

    int32_t role[TOK_N_ROLE]; // -1: none. CLS, SEP: absent ones are BOS and EOS
    const int32_t *end;       // [n_end] further tokens that end a generation
    uint32_t n_end;

    bool add_bos, add_eos;     // with TOK_ADD. WordPiece: add_bos adds CLS, add_sep SEP
    bool add_sep;              // elsewhere SEP goes between the texts of a pair
    bool add_space_prefix;     // SPM, Unigram: " x" for "x" at the start and behind special tokens
    bool remove_extra_spaces;  // runs of spaces are one, none at either end
    bool lowercase;            // WordPiece: to lower case,
    bool strip_accents;        //   without accents,
    bool plain_pieces;         //   and pieces spelt "##ing" and "the" instead of "ing" and "▁the"
    const struct slice *shown; // [n] what decoding makes of them, where it is not what they are
    bool shown_front;          // one space at the front of a decoded text goes
    bool shown_once;           // of the same token many times in a row only one (CTC)
    struct slice charsmap;     // SentencePiece precompiled_charsmap, or empty
    bool nfc;                  // text is brought to NFC first (some Hugging Face files)

    /* A tokenizer.json's own steps and added tokens (tokjson.h). Then front and back, not the
     * flags, say what TOK_ADD adds. */
    struct pipe *take_pipe; // tok_new takes it, also when it fails
    bool fuse_unknown;      // unknown characters in a row are one token
    uint32_t max_word;      // WordPiece: characters; longer words are unknown. 0: 100
    const int32_t *front, *back;
    uint32_t n_front, n_back;
    const struct tok_part *pair; // [n_pair] what TOK_ADD makes of two texts; 0: as tok_encode_pair
    uint32_t n_pair;
};

void tok_spec_init(struct tok_spec *s); // zero, and no roles

/* E_FORMAT for a description that contradicts itself, E_UNSUPPORTED for an unknown pre-tokenizer,
 * E_NOMEM. */
int tok_new(struct tok **out, const struct tok_spec *spec, struct err *e);
void tok_free(struct tok *t); // accepts NULL and half-made objects

/* The names of the pre-tokenizers we know, NULL-ended. */
const char *const *tok_pre_names(void);

/* -- what is in it -- */

enum tok_model tok_model_of(const struct tok *t);
const char *tok_model_name(enum tok_model m);  // "spm", "bpe", ...
const char *tok_pre_name(const struct tok *t); // "" where there is none
const char *tok_role_name(enum tok_role r);
uint32_t tok_count(const struct tok *t);
enum tok_kind tok_kind_of(const struct tok *t, int32_t id); // TOK_UNDEFINED out of range
float tok_score_of(const struct tok *t, int32_t id);
int32_t tok_role_id(const struct tok *t, enum tok_role r); // -1: none
/* Ends a generation: EOS, EOT, EOM, those of the description, and the names in use for it. */
bool tok_is_end(const struct tok *t, int32_t id);
bool tok_adds_bos(const struct tok *t); // with TOK_ADD
bool tok_adds_eos(const struct tok *t);

/* The bytes a token stands for; of a control token the text it is written as. Empty: no token. */
struct slice tok_piece(const struct tok *t, int32_t id);
/* The token whose piece is these bytes, or -1. Of several, normal ones go first, then low ids. */
int32_t tok_find(const struct tok *t, struct slice piece);

/* -- encoding -- */

enum {
    TOK_ADD = 1,   // BOS, EOS, CLS, SEP as the description says
    TOK_PARSE = 2, // control and unknown tokens written out in the text become those tokens
    TOK_EXACT = 4, // SPM: U+2581 in the text is spelt in bytes, so that it comes back; otherwise it
                   // is taken for a space, as SentencePiece does
    TOK_AFTER = 8  // the text goes on where other ids end: no space is added in front
};

/* A growing list of ids; zeroed it is an empty one. max: E_CONTEXT instead of more than that many
 * (0: no limit), found out before the rest is looked at. */
struct tok_ids {
    int32_t *id;
    size_t n, cap;
    size_t max;
};
void tok_ids_fini(struct tok_ids *l);
int tok_ids_add(struct tok_ids *l, int32_t id, struct err *e);

/* Adds the ids of text to out. On failure out is as it was. Time and memory grow with the length of
 * the text only (n log n at worst), whatever is in it. */
int tok_encode(const struct tok *t, struct slice text, unsigned flags, struct tok_ids *out,
               struct err *e);

/* The same for a text of which parts are somebody else's: in the spans of content (ascending,
 * apart) control and unknown tokens are not looked for, nor any that would reach into one.
 * Everything else is as if the text were one: pieces go across the ends of spans. */
int tok_encode_parts(const struct tok *t, struct slice text, const struct byte_span *content,
                     size_t n_content, unsigned flags, struct tok_ids *out, struct err *e);

/* A pair of texts in the form that the vocabulary asks for, each encoded by itself; types gets a
 * byte a token. Where no form is described: the first text as tok_encode has it, SEP where the
 * description says so, the second without what goes in front, and with type 1. */
int tok_encode_pair(const struct tok *t, struct slice first, struct slice second, unsigned flags,
                    struct tok_ids *out, struct buf *types, struct err *e);

/* -- decoding -- */

enum {
    TOK_SHOW = 1,  // control tokens are written out; otherwise they are left out
    TOK_INSIDE = 2 // the first token follows others: the added space is not taken off again
};

/* Adds the exact bytes of ids to out (check out->bad). The space that encoding adds in front is
 * taken off again, so that decoding what was encoded gives the text. Ids out of range are left
 * out. WordPiece: words are joined by spaces. A vocabulary with a decoder of its own (spec.shown)
 * gives what that gives. */
void tok_decode(const struct tok *t, const int32_t *id, size_t n, unsigned flags, struct buf *out);

/* Decodes a stream. What detok_add adds is whole UTF-8: the bytes of an unfinished character are
 * held (at most 3) until it is finished; bytes that can no longer become a character are written as
 * U+FFFD, or as they are with DETOK_RAW. detok_end writes what is held by the same rule. */
enum { DETOK_SHOW = TOK_SHOW, DETOK_INSIDE = TOK_INSIDE, DETOK_RAW = 4 };
struct detok {
    const struct tok *tok;
    unsigned flags;
    bool inside;  // the last token was text
    int32_t last; // and which it was
    uint8_t n_held;
    char held[4];
};
void detok_init(struct detok *d, const struct tok *t, unsigned flags);
void detok_add(struct detok *d, int32_t id, struct buf *out);
void detok_end(struct detok *d, struct buf *out); // ready for another stream afterwards

#endif
