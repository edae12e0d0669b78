/* uclass.c - see uclass.h. */
#include "uclass.h"

#include <string.h>
#include <utf8proc.h>

#include "base/mem.h"

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

/* What Unicode 15 to 16 brought: utf8proc and PCRE2 may be older than that. */
const struct uclass_added uclass_added[] = {
    {0x897, 0x897, "Mn"},
    {0xcf3, 0xcf3, "Mc"},
    {0xece, 0xece, "Mn"},
    {0x1b4e, 0x1b4f, "Po"},
    {0x1b7f, 0x1b7f, "Po"},
    {0x1c89, 0x1c89, "Lu"},
    {0x1c8a, 0x1c8a, "Ll"},
    {0x2427, 0x2429, "So"},
    {0x2ffc, 0x2fff, "So"},
    {0x31e4, 0x31e5, "So"},
    {0x31ef, 0x31ef, "So"},
    {0xa7cb, 0xa7cc, "Lu"},
    {0xa7cd, 0xa7cd, "Ll"},
    {0xa7da, 0xa7da, "Lu"},
    {0xa7db, 0xa7db, "Ll"},
    {0xa7dc, 0xa7dc, "Lu"},
    {0x105c0, 0x105f3, "Lo"},
    {0x10d40, 0x10d49, "Nd"},
    {0x10d4a, 0x10d4d, "Lo"},
    {0x10d4e, 0x10d4e, "Lm"},
    {0x10d4f, 0x10d4f, "Lo"},
    {0x10d50, 0x10d65, "Lu"},
    {0x10d69, 0x10d6d, "Mn"},
    {0x10d6e, 0x10d6e, "Pd"},
    {0x10d6f, 0x10d6f, "Lm"},
    {0x10d70, 0x10d85, "Ll"},
    {0x10d8e, 0x10d8f, "Sm"},
    {0x10ec2, 0x10ec4, "Lo"},
    {0x10efc, 0x10eff, "Mn"},
    {0x1123f, 0x11240, "Lo"},
    {0x11241, 0x11241, "Mn"},
    {0x11380, 0x11389, "Lo"},
    {0x1138b, 0x1138b, "Lo"},
    {0x1138e, 0x1138e, "Lo"},
    {0x11390, 0x113b5, "Lo"},
    {0x113b7, 0x113b7, "Lo"},
    {0x113b8, 0x113ba, "Mc"},
    {0x113bb, 0x113c0, "Mn"},
    {0x113c2, 0x113c2, "Mc"},
    {0x113c5, 0x113c5, "Mc"},
    {0x113c7, 0x113ca, "Mc"},
    {0x113cc, 0x113cd, "Mc"},
    {0x113ce, 0x113ce, "Mn"},
    {0x113cf, 0x113cf, "Mc"},
    {0x113d0, 0x113d0, "Mn"},
    {0x113d1, 0x113d1, "Lo"},
    {0x113d2, 0x113d2, "Mn"},
    {0x113d3, 0x113d3, "Lo"},
    {0x113d4, 0x113d5, "Po"},
    {0x113d7, 0x113d8, "Po"},
    {0x113e1, 0x113e2, "Mn"},
    {0x116d0, 0x116e3, "Nd"},
    {0x11b00, 0x11b09, "Po"},
    {0x11bc0, 0x11be0, "Lo"},
    {0x11be1, 0x11be1, "Po"},
    {0x11bf0, 0x11bf9, "Nd"},
    {0x11f00, 0x11f01, "Mn"},
    {0x11f02, 0x11f02, "Lo"},
    {0x11f03, 0x11f03, "Mc"},
    {0x11f04, 0x11f10, "Lo"},
    {0x11f12, 0x11f33, "Lo"},
    {0x11f34, 0x11f35, "Mc"},
    {0x11f36, 0x11f3a, "Mn"},
    {0x11f3e, 0x11f3f, "Mc"},
    {0x11f40, 0x11f40, "Mn"},
    {0x11f41, 0x11f41, "Mc"},
    {0x11f42, 0x11f42, "Mn"},
    {0x11f43, 0x11f4f, "Po"},
    {0x11f50, 0x11f59, "Nd"},
    {0x11f5a, 0x11f5a, "Mn"},
    {0x1342f, 0x1342f, "Lo"},
    {0x13439, 0x1343f, "Cf"},
    {0x13440, 0x13440, "Mn"},
    {0x13441, 0x13446, "Lo"},
    {0x13447, 0x13455, "Mn"},
    {0x13460, 0x143fa, "Lo"},
    {0x16100, 0x1611d, "Lo"},
    {0x1611e, 0x16129, "Mn"},
    {0x1612a, 0x1612c, "Mc"},
    {0x1612d, 0x1612f, "Mn"},
    {0x16130, 0x16139, "Nd"},
    {0x16d40, 0x16d42, "Lm"},
    {0x16d43, 0x16d6a, "Lo"},
    {0x16d6b, 0x16d6c, "Lm"},
    {0x16d6d, 0x16d6f, "Po"},
    {0x16d70, 0x16d79, "Nd"},
    {0x18cff, 0x18cff, "Lo"},
    {0x1b132, 0x1b132, "Lo"},
    {0x1b155, 0x1b155, "Lo"},
    {0x1cc00, 0x1ccef, "So"},
    {0x1ccf0, 0x1ccf9, "Nd"},
    {0x1cd00, 0x1ceb3, "So"},
    {0x1d2c0, 0x1d2d3, "No"},
    {0x1df25, 0x1df2a, "Ll"},
    {0x1e030, 0x1e06d, "Lm"},
    {0x1e08f, 0x1e08f, "Mn"},
    {0x1e4d0, 0x1e4ea, "Lo"},
    {0x1e4eb, 0x1e4eb, "Lm"},
    {0x1e4ec, 0x1e4ef, "Mn"},
    {0x1e4f0, 0x1e4f9, "Nd"},
    {0x1e5d0, 0x1e5ed, "Lo"},
    {0x1e5ee, 0x1e5ef, "Mn"},
    {0x1e5f0, 0x1e5f0, "Lo"},
    {0x1e5f1, 0x1e5fa, "Nd"},
    {0x1e5ff, 0x1e5ff, "Po"},
    {0x1f6dc, 0x1f6dc, "So"},
    {0x1f774, 0x1f776, "So"},
    {0x1f77b, 0x1f77f, "So"},
    {0x1f7d9, 0x1f7d9, "So"},
    {0x1f8b2, 0x1f8bb, "So"},
    {0x1f8c0, 0x1f8c1, "So"},
    {0x1fa75, 0x1fa77, "So"},
    {0x1fa87, 0x1fa89, "So"},
    {0x1fa8f, 0x1fa8f, "So"},
    {0x1faad, 0x1faaf, "So"},
    {0x1fabb, 0x1fabf, "So"},
    {0x1fac6, 0x1fac6, "So"},
    {0x1face, 0x1facf, "So"},
    {0x1fada, 0x1fadc, "So"},
    {0x1fadf, 0x1fadf, "So"},
    {0x1fae8, 0x1fae9, "So"},
    {0x1faf7, 0x1faf8, "So"},
    {0x1fbcb, 0x1fbef, "So"},
    {0x2b739, 0x2b739, "Lo"},
    {0x2ebf0, 0x2ee5d, "Lo"},
    {0x31350, 0x323af, "Lo"},
    {0, 0, NULL},
};

/* The category of what utf8proc does not know. */
static utf8proc_category_t added_category(uint32_t cp)
{
    static const char names[] = "CnLuLlLtLmLoMnMcMeNdNlNoPcPdPsPePiPfPoSmScSkSoZsZlZpCcCfCsCo";
    size_t lo = 0, hi = ARRAY_LEN(uclass_added) - 1;

    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;

        if (uclass_added[mid].to < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == ARRAY_LEN(uclass_added) - 1 || cp < uclass_added[lo].from)
        return UTF8PROC_CATEGORY_CN;
    for (int i = 0; i < 30; i++) /* utf8proc's numbers */
        if (memcmp(names + (size_t)i * 2, uclass_added[lo].category, 2) == 0)
            return (utf8proc_category_t)i;
    return UTF8PROC_CATEGORY_CN;
}

static utf8proc_category_t category(uint32_t cp)
{
    const utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);

    if (unlikely(cp == 0x1171e))
        return UTF8PROC_CATEGORY_MC;
    return likely(c != UTF8PROC_CATEGORY_CN) ? c : added_category(cp);
}

bool uclass_control(uint32_t cp)
{
    return uclass_of(cp) & UC_C && category(cp) != UTF8PROC_CATEGORY_CN;
}

uint32_t uclass_of(uint32_t cp)
{
    if (cp < 128)
        return uclass_ascii[cp];
    if (cp == 0x85) /* White_Space is \p{Z} and this one, outside ASCII */
        return UC_C | UC_S;
    return of_category[category(cp)];
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
    return uclass_of(cp) & (UC_L | UC_M | UC_ND | UC_PC) || category(cp) == UTF8PROC_CATEGORY_NL;
}
