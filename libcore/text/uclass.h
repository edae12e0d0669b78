/* uclass.h - what pre-tokenizers ask about a character: one word of bits.
 *
 * The categories are those of Unicode 16, as Oniguruma has them, which vocabularies are made with:
 * utf8proc's, and what Unicode 15 and 16 added to them.
 */
#ifndef RILL_TEXT_UCLASS_H
#define RILL_TEXT_UCLASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    UC_L = 1,      // \p{L}
    UC_N = 2,      // \p{N}
    UC_S = 4,      // White_Space, what \s means in these expressions
    UC_M = 8,      // \p{M}
    UC_UP = 16,    // \p{Lu} \p{Lt} \p{Lm} \p{Lo} \p{M}
    UC_LOW = 32,   // \p{Ll} \p{Lm} \p{Lo} \p{M}
    UC_NL = 64,    // CR, LF
    UC_ND = 128,   // \p{Nd}
    UC_HAN = 256,  // Script=Han; found only by uclass_han
    UC_P = 512,    // \p{P}
    UC_SYM = 1024, // \p{S}
    UC_C = 2048,   // \p{C}, unassigned included
    UC_MN = 4096,  // \p{Mn}
    UC_PC = 8192   // \p{Pc}
};

extern const uint16_t uclass_ascii[128];

uint32_t uclass_of(uint32_t cp);  // any code point; without UC_HAN
uint32_t uclass_han(uint32_t cp); // UC_HAN or 0
bool uclass_control(uint32_t cp); // \p{C} but for what is not assigned

/* Characters that libraries on the machine may not know yet; the last has no category. */
struct uclass_added {
    uint32_t from, to;
    const char *category; // two letters
};
extern const struct uclass_added uclass_added[];

/* \w as Oniguruma has it, for \b: letters, marks, digits, numbers that are letters, connectors,
 * circled letters, and the six numbers of Latin-1. */
bool uclass_word(uint32_t cp);

/* The length and code point of the character at p. The text is valid UTF-8. */
static inline int utf8_next(const uint8_t *p, uint32_t *cp)
{
    if (p[0] < 0x80) {
        *cp = p[0];
        return 1;
    }
    if (p[0] < 0xe0) {
        *cp = (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
        return 2;
    }
    if (p[0] < 0xf0) {
        *cp = (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
        return 3;
    }
    *cp = (p[0] & 0x07u) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
    return 4;
}

#endif
