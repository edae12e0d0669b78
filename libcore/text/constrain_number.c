/* constrain_number.c - JSON numbers as languages: bounds, multiples, equality. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "constrain_value.h"

#define MAX_MULTIPLE 400000000u // so that ten times a remainder fits 32 bits

static rx digit(struct rxs *s, char from, char to)
{
    return rx_chars(s, &(struct rx_range){(unsigned char)from, (unsigned char)to}, 1);
}

/* Without sign: "0" or digits that do not begin with one, and what is behind the point. */
static rx magnitude(struct rxs *s, rx fraction)
{
    rx whole = rx_or(s, rx_byte(s, '0'),
                     rx_cat(s, digit(s, '1', '9'), rx_rep(s, digit(s, '0', '9'), 0, RX_INF)));

    return rx_cat(s, whole, rx_opt(s, rx_cat(s, rx_byte(s, '.'), fraction)));
}

static rx any_magnitude(struct rxs *s)
{
    return magnitude(s, rx_rep(s, digit(s, '0', '9'), 1, RX_INF));
}

static rx with_sign(struct rxs *s, rx mag)
{
    return rx_cat(s, rx_opt(s, rx_byte(s, '-')), mag);
}

rx number_all(struct rxs *s)
{
    return with_sign(s, any_magnitude(s));
}

rx number_integer(struct rxs *s)
{
    return with_sign(s, magnitude(s, rx_rep(s, rx_byte(s, '0'), 1, RX_INF)));
}

rx number_exp(struct rxs *s)
{
    struct rx_set e = {{0}}, sign = {{0}};

    rx_put(&e, 'e');
    rx_put(&e, 'E');
    rx_put(&sign, '+');
    rx_put(&sign, '-');
    return rx_cat(s, number_all(s),
                  rx_cat(s, rx_bytes(s, &e),
                         rx_cat(s, rx_opt(s, rx_bytes(s, &sign)),
                                rx_rep(s, digit(s, '0', '9'), 1, RX_INF))));
}

rx number_short(struct rxs *s)
{
    rx frac = rx_cat(s, rx_rep(s, digit(s, '0', '9'), 0, RX_INF), digit(s, '1', '9'));

    return rx_minus(s, with_sign(s, magnitude(s, frac)), rx_lit(s, SLICE("-0")));
}

/* The shortest text that reads back as d, spelt without exponent. */
static bool plain_double(double d, char *out, size_t cap)
{
    char t[40], digits[32];
    int exp, n = 0, at = 0, point;

    for (int prec = 0; prec < 18; prec++) {
        snprintf(t, sizeof t, "%.*e", prec, d);
        if (strtod(t, NULL) == d)
            break;
    }
    exp = (int)strtol(strchr(t, 'e') + 1, NULL, 10);
    for (const char *p = t; *p != 'e'; p++)
        if (*p != '.')
            digits[n++] = *p;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    point = exp + 1; // digits before the point
    if ((size_t)n + (size_t)abs(exp) + 4 > cap)
        return false;
    if (point <= 0)
        out[at++] = '0';
    for (int i = 0; i < point; i++)
        out[at++] = i < n ? digits[i] : '0';
    if (n > point)
        out[at++] = '.';
    for (int i = point; i < 0; i++)
        out[at++] = '0';
    for (int i = point > 0 ? point : 0; i < n; i++)
        out[at++] = digits[i];
    out[at] = 0;
    return true;
}

bool number_text(const json_t *v, char *out, size_t cap, bool *negative)
{
    double d;

    if (json_is_integer(v)) {
        json_int_t i = json_integer_value(v);

        *negative = i < 0;
        return (size_t)snprintf(out, cap, "%llu",
                                i < 0 ? 0 - (unsigned long long)i : (unsigned long long)i) < cap;
    }
    d = json_real_value(v);
    *negative = d < 0;
    return json_is_real(v) && isfinite(d) && plain_double(fabs(d), out, cap);
}

static bool is_zero(const char *digits)
{
    return digits[strspn(digits, "0.")] == 0;
}

rx number_equal(struct rxs *s, const char *digits, bool negative)
{
    const char *dot = strchr(digits, '.');
    size_t n = strlen(digits);
    rx zeros = rx_rep(s, rx_byte(s, '0'), 1, RX_INF), e;

    if (dot) {
        while (digits[n - 1] == '0')
            n--;
        if (digits[n - 1] == '.')
            n--;
    }
    e = rx_lit(s, (struct slice){digits, n});
    e = rx_cat(s, e, dot && (size_t)(dot - digits) < n
                         ? rx_opt(s, zeros)
                         : rx_opt(s, rx_cat(s, rx_byte(s, '.'), zeros)));
    if (is_zero(digits))
        return with_sign(s, e);
    return negative ? rx_cat(s, rx_byte(s, '-'), e) : e;
}

rx number_bound(struct rxs *s, const char *digits, bool negative, bool upper, bool exclusive)
{
    struct slice b = slice_of(digits);
    rx mag = any_magnitude(s), minus = RX_NONE, plus = RX_NONE;
    enum rx_order far = exclusive ? RX_GT : RX_GE, near = exclusive ? RX_LT : RX_LE;

    if (is_zero(digits)) { // 0 and -0 are one number
        rx zero = exclusive ? RX_NONE : rx_and(s, mag, rx_cmp(s, b, RX_LE));
        rx away = exclusive ? rx_and(s, mag, rx_cmp(s, b, RX_GT)) : mag;

        minus = upper ? away : zero;
        plus = upper ? zero : away;
    } else if (negative) {
        minus = rx_and(s, mag, rx_cmp(s, b, upper ? far : near));
        plus = upper ? RX_NONE : mag;
    } else {
        plus = rx_and(s, mag, rx_cmp(s, b, upper ? near : far));
        minus = upper ? mag : RX_NONE;
    }
    return rx_or(s, plus, rx_cat(s, rx_byte(s, '-'), minus));
}

bool number_multiple(struct rxs *s, const char *digits, rx *out)
{
    uint64_t m = 0;
    uint32_t scale = 0;
    bool dot = false;

    for (const char *p = digits; *p; p++) {
        if (*p == '.') {
            dot = true;
            continue;
        }
        m = m * 10 + (uint64_t)(*p - '0');
        scale += dot;
        if (m > MAX_MULTIPLE || scale > 18)
            return false;
    }
    if (m == 0)
        return false;
    *out = with_sign(s, rx_and(s, any_magnitude(s), rx_multiple(s, (uint32_t)m, scale)));
    return true;
}
