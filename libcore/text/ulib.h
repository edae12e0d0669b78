/* ulib.h - what the library `tokenizers` says of a character where that is not what Unicode 16
 * says.
 *
 * Vocabularies are made and used with that library, so its answers are the right ones. It has
 * tables of several ages: its regular expressions are of Unicode 16 (uclass.h), its normal forms of
 * 9, what BERT asks is older still, small letters and numbers are of 17. scripts/check-unicode.py
 * compares all of them, character by character.
 */
#ifndef RILL_TEXT_ULIB_H
#define RILL_TEXT_ULIB_H

#include <stdbool.h>
#include <stdint.h>

/* Has a combining class, a decomposition or a composition since Unicode 10 or later: normal forms
 * leave it alone, and nothing is moved or composed across it. */
bool ulib_later(uint32_t cp);
bool ulib_accent(uint32_t cp);       // what StripAccents takes away
bool ulib_bert_accent(uint32_t cp);  // and BertNormalizer,
bool ulib_bert_control(uint32_t cp); //   which drops these: NUL, U+FFFD and control characters
bool ulib_punct(uint32_t cp);        // BertPreTokenizer, Punctuation
bool ulib_number(uint32_t cp);       // Digits
/* The small letter. U+0130 has two: this is the first, U+0307 follows. */
uint32_t ulib_lower(uint32_t cp);

#endif
