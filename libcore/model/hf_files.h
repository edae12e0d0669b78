/* hf_files.h - tokenizer files older than tokenizer.json, as the pieces a GGUF file lists. */
#ifndef RILL_MODEL_HF_FILES_H
#define RILL_MODEL_HF_FILES_H

#include <jansson.h>

#include "base/buf.h"
#include "base/file.h"
#include "text/tok.h"

struct hf_pieces {
    const char *model; // tokenizer.ggml.model; NULL: there are no files
    const char *pre;   // or NULL
    uint32_t n;
    struct slice *piece;
    float *score; // or NULL
    uint8_t *kind;
    struct slice (*merge)[2]; // or NULL
    uint32_t n_merge;
    struct slice charsmap;
    int32_t role[TOK_N_ROLE]; // -1: none
    bool add_bos, add_eos, add_space_prefix, remove_extra_spaces, lowercase;
    bool nfc; // the tokenizer's class brings text to NFC

    struct file_view view[2]; // what pieces lie in,
    json_t *json;             //   or this,
    struct buf text;          //   or this
};

/* Looks for tokenizer.model, vocab.json with merges.txt, vocab.txt, a .tiktoken file, tekken.json.
 * config: tokenizer_config.json, or NULL. */
int hf_pieces_open(struct hf_pieces *p, const char *dir, const json_t *config, struct err *e);
void hf_pieces_close(struct hf_pieces *p);

/* dir/file into *out. */
int hf_path(struct buf *out, const char *dir, const char *file, struct err *e);

/* The pieces of a WordPiece vocabulary as GGUF spells them: the text lies in *all. */
int hf_mark_words(struct slice *out, struct buf *all, const struct slice *piece,
                  const uint8_t *kind, uint32_t n, struct err *e);

/* The name in GGUF of a pre-tokenizer that cuts as the description's expressions do, or "".
 * known: it has nothing but those expressions. */
int hf_pre_name(char out[64], const struct tok_spec *s, bool known, struct err *e);

#endif
