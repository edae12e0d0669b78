/* tokjson.h - tokenizer.json, the description of a tokenizer that the Hugging Face library writes.
 *
 * All of it is read: added tokens, normalizers, pre-tokenizers, the models BPE, WordPiece, Unigram
 * and WordLevel, post-processors, decoders. What is not known is one sentence. Truncation and
 * padding are not the tokenizer's business here.
 */
#ifndef RILL_TEXT_TOKJSON_H
#define RILL_TEXT_TOKJSON_H

#include <jansson.h>

#include "text/pipe.h"
#include "text/tok.h"

struct tokjson {
    struct tok_spec spec; // for tok_new: roles and ends may be filled in by who has other files.
                          // Its pipe is taken then; tokjson_close frees one that was not
    bool byte_level;      // pieces are spelt in the byte alphabet
    bool byte_fallback;
    bool marked;    // pieces say where in a word they stand: a prefix or suffix of BPE
    bool bert;      // BERT's own normalizer and pre-tokenizer, nothing else
    bool metaspace; // spaces are U+2581, by a pre-tokenizer or a normalizer
    bool squeeze;   // runs of spaces are one
    struct slice charsmap;
    const char *unk;     // the unknown token's text, or NULL
    struct added *added; // [n_added] as the file has them, in its order
    uint32_t n_added;

    json_t *root;
    struct slice *piece;
    float *score;
    uint8_t *kind;
    struct slice (*merge)[2];
    int32_t *ends;
    struct tok_part *pair;
    bool around; // a post-processor that adds tokens was read
    char *charsmap_bytes;
    struct dec_step *dec; // [n_dec] tokjson_decode.c
    int n_dec;
    struct buf shown_text;
    struct slice *shown;            // [spec.n] or NULL
    const char *split[MAX_CUT + 1]; // expressions of a pipe that only splits
    int n_split;
    struct buf split_text[MAX_CUT];
    const char *name;
    struct err *e;
};

/* name is what sentences call the file; both it and text are copied or used up. */
int tokjson_open(struct tokjson **out, struct slice text, const char *name, struct err *e);
void tokjson_close(struct tokjson *j); // accepts NULL

/* The id of a token's text, or -1. */
int32_t tokjson_id(const struct tokjson *j, struct slice text);

/* tokjson_steps.c: fill in j->spec.take_pipe and the rest of the description. */
int tokjson_normalizer(struct tokjson *j, const json_t *v);
int tokjson_pre(struct tokjson *j, const json_t *v);
/* What is in {"String": "x"} or {"Regex": "x"}. */
int tokjson_pattern(struct tokjson *j, const json_t *v, struct buf *text, struct pre_re **re);
int tokjson_unknown(const struct tokjson *j, const char *what, const char *type);

/* tokjson_decode.c: reads the decoder; with the vocabulary there, what it makes of each token. */
int tokjson_decoder(struct tokjson *j, const json_t *v);
int tokjson_shown(struct tokjson *j);
void tokjson_decoder_free(struct tokjson *j);

int tokjson_base64(struct slice s, struct buf *out); // negative: none

/* "NAME: ..." */
int tokjson_bad(const struct tokjson *j, int code, const char *fmt, ...) ERR_PRINTF(3, 4);
/* Fields of an object: absent, null or of another type is NULL or the default. */
const char *tokjson_type(const json_t *v);
struct slice tokjson_str(const json_t *v, const char *key);
bool tokjson_bool(const json_t *v, const char *key, bool or_this);

#endif
