/* uscript.h - which script a character belongs to, for the pre-tokenizer UnicodeScripts. */
#ifndef RILL_TEXT_USCRIPT_H
#define RILL_TEXT_USCRIPT_H

#include <stdint.h>

/* Scripts as of Unicode 9; numbers mean nothing but equal or not. Hiragana, Katakana and U+30FC are
 * Han here, the space and what is not assigned are of none. */
enum { USCRIPT_ANY = 0 };
uint32_t uscript_of(uint32_t cp);

#endif
