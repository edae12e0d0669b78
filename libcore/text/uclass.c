/* uclass.c - see uclass.h. */
#include "uclass.h"

#include <utf8proc.h>

#define LO UC_L | UC_LOW
#define UP UC_L | UC_UP
#define ND UC_N | UC_ND
#define CC UC_C
#define PU UC_P
#define SY UC_SYM

/* clang-format off */
const uint16_t uclass_ascii[128] = {
    CC, CC, CC, CC, CC, CC, CC, CC, CC, CC | UC_S, CC | UC_S | UC_NL, CC | UC_S, CC | UC_S,
    CC | UC_S | UC_NL, CC, CC, CC, CC, CC, CC, CC, CC, CC, CC, CC, CC, CC, CC, CC, CC, CC, CC,
    UC_S, PU, PU, PU, SY, PU, PU, PU, PU, PU, PU, SY, PU, PU, PU, PU,         // space to /
    ND, ND, ND, ND, ND, ND, ND, ND, ND, ND, PU, PU, SY, SY, SY, PU,           // 0 to ?
    PU, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP,           // @ to O
    UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, UP, PU, PU, PU, SY, PU | UC_PC,   // P to _
    SY, LO, LO, LO, LO, LO, LO, LO, LO, LO, LO, LO, LO, LO, LO, LO,           // ` to o
    LO, LO, LO, LO, LO, LO, LO, LO, LO, LO, LO, PU, SY, PU, SY, CC,           // p to DEL
};
/* clang-format on */

static const uint16_t of_category[30] = {
    [UTF8PROC_CATEGORY_CN] = UC_C,
    [UTF8PROC_CATEGORY_LU] = UC_L | UC_UP,
    [UTF8PROC_CATEGORY_LL] = UC_L | UC_LOW,
    [UTF8PROC_CATEGORY_LT] = UC_L | UC_UP,
    [UTF8PROC_CATEGORY_LM] = UC_L | UC_UP | UC_LOW,
    [UTF8PROC_CATEGORY_LO] = UC_L | UC_UP | UC_LOW,
    [UTF8PROC_CATEGORY_MN] = UC_M | UC_UP | UC_LOW | UC_MN,
    [UTF8PROC_CATEGORY_MC] = UC_M | UC_UP | UC_LOW,
    [UTF8PROC_CATEGORY_ME] = UC_M | UC_UP | UC_LOW,
    [UTF8PROC_CATEGORY_ND] = UC_N | UC_ND,
    [UTF8PROC_CATEGORY_NL] = UC_N,
    [UTF8PROC_CATEGORY_NO] = UC_N,
    [UTF8PROC_CATEGORY_PC] = UC_P | UC_PC,
    [UTF8PROC_CATEGORY_PD] = UC_P,
    [UTF8PROC_CATEGORY_PS] = UC_P,
    [UTF8PROC_CATEGORY_PE] = UC_P,
    [UTF8PROC_CATEGORY_PI] = UC_P,
    [UTF8PROC_CATEGORY_PF] = UC_P,
    [UTF8PROC_CATEGORY_PO] = UC_P,
    [UTF8PROC_CATEGORY_SM] = UC_SYM,
    [UTF8PROC_CATEGORY_SC] = UC_SYM,
    [UTF8PROC_CATEGORY_SK] = UC_SYM,
    [UTF8PROC_CATEGORY_SO] = UC_SYM,
    [UTF8PROC_CATEGORY_ZS] = UC_S,
    [UTF8PROC_CATEGORY_ZL] = UC_S,
    [UTF8PROC_CATEGORY_ZP] = UC_S,
    [UTF8PROC_CATEGORY_CC] = UC_C,
    [UTF8PROC_CATEGORY_CF] = UC_C,
    [UTF8PROC_CATEGORY_CS] = UC_C,
    [UTF8PROC_CATEGORY_CO] = UC_C,
};

uint32_t uclass_of(uint32_t cp)
{
    if (cp < 128)
        return uclass_ascii[cp];
    if (cp == 0x85) /* White_Space is \p{Z} and this one, outside ASCII */
        return UC_C | UC_S;
    return of_category[utf8proc_category((utf8proc_int32_t)cp)];
}

/* Script=Han of Unicode 15.1 */
static const uint32_t han[][2] = {
    {0x2e80, 0x2e99},   {0x2e9b, 0x2ef3},   {0x2f00, 0x2fd5},   {0x3005, 0x3005},
    {0x3007, 0x3007},   {0x3021, 0x3029},   {0x3038, 0x303b},   {0x3400, 0x4dbf},
    {0x4e00, 0x9fff},   {0xf900, 0xfa6d},   {0xfa70, 0xfad9},   {0x16fe2, 0x16fe3},
    {0x16ff0, 0x16ff1}, {0x20000, 0x2a6df}, {0x2a700, 0x2b739}, {0x2b740, 0x2b81d},
    {0x2b820, 0x2cea1}, {0x2ceb0, 0x2ebe0}, {0x2ebf0, 0x2ee5d}, {0x2f800, 0x2fa1d},
    {0x30000, 0x3134a}, {0x31350, 0x323af},
};

uint32_t uclass_han(uint32_t cp)
{
    for (size_t i = 0; i < sizeof han / sizeof *han && cp >= han[i][0]; i++)
        if (cp <= han[i][1])
            return UC_HAN;
    return 0;
}

bool uclass_word(uint32_t cp)
{
    static const uint32_t more[][2] = {{0xb2, 0xb3},      {0xb9, 0xb9},       {0xbc, 0xbe},
                                       {0x24b6, 0x24e9},  {0x1f130, 0x1f149}, {0x1f150, 0x1f169},
                                       {0x1f170, 0x1f189}};

    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        if (cp >= more[i][0] && cp <= more[i][1])
            return true;
    return uclass_of(cp) & (UC_L | UC_M | UC_ND | UC_PC) ||
           utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_NL;
}
