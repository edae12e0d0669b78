/* constrain_format.c - the values of JSON Schema's "format", as regular expressions.
 *
 * Each is what its RFC allows, or a little less: no leap seconds, no quoted or bracketed forms of
 * mail addresses, no obsolete forms.
 */
#include "base/buf.h"
#include "base/mem.h"
#include "constrain_regex.h"
#include "constrain_value.h"

#define DATE                                                                                       \
    "([0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|"      \
    "02-(0[1-9]|1[0-9]|2[0-8]))|"                                                                  \
    "([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)"
#define TIME                                                                                       \
    "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define LABEL    "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define HOST     "(" LABEL "(\\." LABEL ")*)"
#define OCTET    "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#define IPV4     OCTET "(\\." OCTET "){3}"
#define H16      "[0-9A-Fa-f]{1,4}"
#define LS32     "(" H16 ":" H16 "|" IPV4 ")"
#define IPV6                                                                                       \
    "((" H16 ":){6}" LS32 "|::(" H16 ":){5}" LS32 "|(" H16 ")?::(" H16 ":){4}" LS32 "|(" H16       \
    "(:" H16 "){0,1})?::(" H16 ":){3}" LS32 "|(" H16 "(:" H16 "){0,2})?::(" H16 ":){2}" LS32       \
    "|(" H16 "(:" H16 "){0,3})?::" H16 ":" LS32 "|(" H16 "(:" H16 "){0,4})?::" LS32 "|(" H16       \
    "(:" H16 "){0,5})?::" H16 "|(" H16 "(:" H16 "){0,6})?::)"
#define ATEXT    "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
#define PCT      "%[0-9A-Fa-f]{2}"
#define UNRES    "A-Za-z0-9._~\\-"
#define SUBDEL   "!$&'()*+,;="
#define PCHAR    "([" UNRES SUBDEL ":@]|" PCT ")"
#define AUTH                                                                                       \
    "((([" UNRES SUBDEL ":]|" PCT ")*@)?(\\[(" IPV6 ")\\]|([" UNRES SUBDEL "]|" PCT               \
    ")*)(:[0-9]*)?)"
#define TAIL     "(\\?(" PCHAR "|[/?])*)?(#(" PCHAR "|[/?])*)?"
#define ABEMPTY  "(/" PCHAR "*)*"
#define PATH_ABS "/(" PCHAR "+" ABEMPTY ")?"
#define ROOTLESS PCHAR "+" ABEMPTY
#define NOSCHEME "([" UNRES SUBDEL "@]|" PCT ")+" ABEMPTY
#define URI                                                                                        \
    "[A-Za-z][A-Za-z0-9+.-]*:(//" AUTH ABEMPTY "|" PATH_ABS "|" ROOTLESS "|)" TAIL
#define URI_REF  "(" URI "|(//" AUTH ABEMPTY "|" PATH_ABS "|" NOSCHEME "|)" TAIL ")"
#define POINTER  "(/([^~/]|~[01])*)*"
#define VARNAME  "([A-Za-z0-9_]|" PCT ")(\\.?([A-Za-z0-9_]|" PCT "))*"
#define VARSPEC  VARNAME "(:[1-9][0-9]{0,3}|\\*)?"

static const struct {
    const char *name, *regex;
} formats[] = {
    {"date", DATE},
    {"time", TIME},
    {"date-time", DATE "[Tt]" TIME},
    {"duration",
     "P([0-9]+W|([0-9]+Y([0-9]+M([0-9]+D)?)?|[0-9]+M([0-9]+D)?|[0-9]+D)(T([0-9]+H([0-9]+M([0-9]+S"
     ")?)?|[0-9]+M([0-9]+S)?|[0-9]+S))?|T([0-9]+H([0-9]+M([0-9]+S)?)?|[0-9]+M([0-9]+S)?|[0-9]+S))"},
    {"email", ATEXT "(\\." ATEXT ")*@" HOST},
    {"hostname", "(?=.{1,253}$)" HOST},
    {"ipv4", IPV4},
    {"ipv6", IPV6},
    {"uuid", "[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"},
    {"uri", URI},
    {"uri-reference", URI_REF},
    {"uri-template",
     "([^\\x00-\\x20\"'%<>\\\\^`{|}]|" PCT "|\\{[+#./;?&]?" VARSPEC "(," VARSPEC ")*\\})*"},
    {"json-pointer", POINTER},
    {"relative-json-pointer", "(0|[1-9][0-9]*)(#|" POINTER ")"},
};

/* Formats that are none of JSON Schema's: of numbers, and how a string is meant. */
static const char *const notes[] = {"int8",   "int16",  "int32", "int64",  "uint8",  "uint16",
                                    "uint32", "uint64", "float", "double", "number", "byte",
                                    "binary", "password"};

rx format_rx(struct rxs *s, struct slice name, struct err *e)
{
    rx out = RX_NONE;

    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        if (slice_is(name, formats[i].name)) {
            rx_parse(s, slice_of(formats[i].regex), false, &out, e);
            break;
        }
    return out;
}

bool format_is_note(struct slice name)
{
    for (size_t i = 0; i < ARRAY_LEN(notes); i++)
        if (slice_is(name, notes[i]))
            return true;
    return false;
}
