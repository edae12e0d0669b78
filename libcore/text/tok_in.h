/* tok_in.h - what the files behind tok.h share. Not for other rooms. */
#ifndef RILL_TEXT_TOK_IN_H
#define RILL_TEXT_TOK_IN_H

#include "base/mem.h"
#include "base/utf8.h"
#include "text/pipe.h"
#include "text/pre.h"
#include "text/table.h"
#include "text/tok.h"
#include "text/trie.h"

enum {
    FLAG_LSTRIP = TOK_LSTRIP,
    FLAG_RSTRIP = TOK_RSTRIP,
    FLAG_END = 4,  // ends a generation
    FLAG_WHOLE = 8 // a piece that is this token is not merged
};

#define NO_SYMBOL UINT32_MAX

/* No text has these bytes: behind a symbol that ends a word, and before one that goes on. */
#define MARK_END    '\xff'
#define MARK_INSIDE '\xfe'

enum { MAX_PIECE = 1 << 16, MAX_SPECIAL = 1024 }; // bytes of a piece; of a special token's text

/* A symbol is a token or, from n on, something merges pass through that is none. */
struct tok {
    enum tok_model model;
    uint32_t n;                // tokens
    uint32_t n_sym;            // symbols
    const char *arena;         // the bytes of all symbols
    const uint32_t *at;        // [n_sym + 1] where each begins
    uint8_t *kind;             // [n] enum tok_kind
    uint8_t *flag;             // [n]
    float *score;              // [n]
    uint32_t *prio;            // [n] merging by text: lower goes first
    uint32_t max_piece;        // bytes of the longest mergeable symbol
    struct piece_table merged; // what text can become without being asked for
    struct piece_table named;  // the others: control, user-defined, byte, unknown
    struct pair_table pair;    // merges, unless by_text
    bool by_text;              // two symbols merge when their text is a token
    bool drops;                // bytes that nothing can write go before merging
    bool by_char;              // the first symbols are characters, not bytes
    bool whole_first;          // every token is such a one,
    bool whole_some;           //   some are
    bool fuse_unknown;         // adjacent unknown characters are one unknown token
    uint32_t byte_sym[256];
    int32_t byte_id[256];   // the token that spells a byte, or -1
    uint64_t inside[1024];  // bit (a << 8 | b): b follows a inside some symbol
    struct trie special[2]; // texts to find first: [0] always, [1] with TOK_PARSE
    bool has_special[2];
    struct trie words; // Unigram, RWKV: the tokens
    struct pre *pre;
    const char *pre_name;
    double unknown_score; // Unigram
    uint8_t *charsmap;    // [n_charsmap]
    size_t n_charsmap;
    int32_t role[TOK_N_ROLE];
    bool add_bos, add_eos, add_sep, add_space_prefix, remove_extra_spaces;
    bool sep_between; // the texts of a pair
    bool lowercase, strip_accents, nfc;
    struct pipe *pipe; // NULL: the steps of the models themselves
    int32_t *ends;     // [n_front + n_back]
    uint32_t n_front, n_back;
    struct tok_part *both; // [n_both] the form of a pair
    uint32_t n_both;
    uint32_t max_word;
    bool marks_end;    // the last character of a word is another symbol,
    bool marks_inside; //   and so are all but the first
    char *inside_text; // [n_inside] WordPiece: what pieces that go on are spelt with
    size_t n_inside;
    bool no_inside; // they are spelt as those that begin a word
    char *shown;    // what decoding makes of tokens, where it is not what they are,
    uint32_t *shown_at;
    bool shown_front, shown_once;
};

/* Pieces that were merged lately: in a long text most come up again. */
struct merged {
    uint64_t lo, hi; // the piece
    uint8_t n, n_id; // its bytes; 0: free
    int32_t id[7];
};
enum { SELF_MIN = 256, CACHE_MIN = 4096 }; // bytes of text from which on they pay
enum { CACHE_MAX = 16384 };                // entries

/* Unigram: the best way to write the text up to a place. */
struct best {
    double score;
    uint32_t start, id, next; // its last token, and where the one after it ends
};

/* One call of tok_encode: where ids go, and memory that grows with the text. */
struct symbol {
    uint32_t start, prev, next;
    uint32_t id;
    uint32_t rank, into; // of the merge with the next one
};

struct enc {
    const struct tok *t;
    struct tok_ids *out;
    struct err *e;
    unsigned flags;
    const struct byte_span *content; // [n_content] where control tokens are not looked for
    size_t n_content;
    bool after;           // the first segment goes on where other ids end
    size_t unknown_end;   // out->n behind the last unknown token
    uint8_t *self;        // [n / 4 + 1] two bits a token: merging its text was tried, gave it
    struct merged *cache; // [cache_mask + 1], or NULL
    uint32_t cache_mask;
    struct pre_work *pre;
    struct symbol *sym; // [cap_sym]
    uint64_t *heap;     // [2 * cap_sym]
    uint64_t cap_sym;
    struct buf text;     // the normalized segment
    struct buf composed; // the segment in NFC
    struct buf kept;     // a piece without the bytes that go
    struct best *best;   // [cap_best] Unigram
    double score;        // of the text before this chunk
    uint64_t cap_best;
};

int tok_ids_grow(struct tok_ids *l, struct err *e);

static inline int put(struct enc *x, uint32_t id)
{
    struct tok_ids *l = x->out;

    if (unlikely(l->n == l->cap)) {
        int rc = tok_ids_grow(l, x->e);

        if (rc < 0)
            return rc;
    }
    l->id[l->n++] = (int32_t)id;
    return 0;
}

static inline const char *sym_text(const struct tok *t, uint32_t id, uint32_t *n)
{
    *n = t->at[id + 1] - t->at[id];
    return t->arena + t->at[id];
}

static inline bool is_inside(const struct tok *t, uint8_t a, uint8_t b)
{
    return t->inside[a * 4 + b / 64] >> b % 64 & 1;
}

/* Length of the character at p[0, n): 1 for a byte that is in no valid one. */
static inline size_t char_len(const char *p, size_t n)
{
    uint32_t cp;
    int len = (uint8_t)p[0] < 0x80 ? 1 : utf8_decode(p, n, &cp);

    return len ? (size_t)len : 1;
}

/* Puts the bytes of text that is no token: byte tokens, else the unknown token. */
int put_bytes(struct enc *x, const char *p, size_t n);

/* Segments of text between special tokens, per model. */
int encode_spm(struct enc *x, struct slice text);
int encode_bpe(struct enc *x, struct slice text);
int encode_wpm(struct enc *x, struct slice text);
int encode_unigram(struct enc *x, struct slice text);
int encode_rwkv(struct enc *x, struct slice text);

/* Pieces of a pipe. */
int encode_piece(struct enc *x, struct slice s); // BPE
int encode_word(struct enc *x, struct slice s);  // WordPiece
int encode_whole(struct enc *x, struct slice s); // whole words

void tok_to_alphabet(struct slice s, struct buf *out);    // each byte as its letter
void tok_spell_alphabet(struct slice s, struct buf *out); // and back
void tok_spell_marks(struct slice s, struct buf *out);    // spaces for U+2581

/* Merges one piece by itself (building finds out with it which tokens merge to themselves). */
int merge_chunk(struct enc *x, const char *p, size_t n);
void enc_fini(struct enc *x); // its memory, not the ids

void unigram_unknown_score(struct tok *t);

/* charsmap.c: n bytes of a SentencePiece precompiled_charsmap. */
int charsmap_check(const uint8_t *p, size_t n, struct err *e);
/* The replacement of what begins at text; returns the bytes it stands for (0: nothing is mapped).
 */
bool charsmap_shortest(const uint8_t *map, size_t n, struct slice text, struct slice *with);
size_t charsmap_find(const uint8_t *map, size_t n, struct slice text, struct slice *with);

#endif
