/* jinja_time.c - strftime_now: the clock given to the rendering, in local time and English. */
#include "jinja_in.h"

#include <stdio.h>
#include <time.h>

static const char *const day_name[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                       "Thursday", "Friday", "Saturday"};
static const char *const month_name[] = {"January",   "February", "March",    "April",
                                         "May",       "June",     "July",     "August",
                                         "September", "October",  "November", "December"};

/* Weeks that begin on day `first` (0: Sunday), counted from the year's first such day. */
static int week(const struct tm *t, int first)
{
    return (t->tm_yday + 7 - (t->tm_wday + 7 - first) % 7) / 7;
}

static int leap(int y)
{
    return y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
}

/* ISO 8601: week 1 has the year's first Thursday. */
static int iso_week(const struct tm *t, int *year)
{
    int wday = (t->tm_wday + 6) % 7, w = (t->tm_yday - wday + 10) / 7;
    int y = t->tm_year + 1900, last, jan1;

    *year = y;
    if (w < 1) {
        *year = --y;
        last = 365 + leap(y);
        return (t->tm_yday + last - wday + 10) / 7;
    }
    jan1 = (wday + 371 - t->tm_yday) % 7; // 0: Monday
    last = 52 + (jan1 == 3 || (jan1 == 2 && leap(y)));
    if (w > last) {
        ++*year;
        w = 1;
    }
    return w;
}

/* One directive; false: unknown. flag: '-' for no padding. */
static bool directive(char c, char flag, const struct tm *t, int64_t now, char *out, size_t room)
{
    int hour12 = t->tm_hour % 12 ? t->tm_hour % 12 : 12, year = t->tm_year + 1900, iso;
    const char *two = flag == '-' ? "%d" : "%02d";
    const struct {
        char c;
        int value;
    } numbers[] = {{'d', t->tm_mday}, {'m', t->tm_mon + 1}, {'H', t->tm_hour}, {'I', hour12},
                   {'M', t->tm_min},  {'S', t->tm_sec},     {'y', year % 100}, {'U', week(t, 0)},
                   {'W', week(t, 1)}, {'C', year / 100}};

    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        if (numbers[i].c == c) {
            snprintf(out, room, two[1] == 'd' ? "%d" : "%02d", numbers[i].value);
            return true;
        }
    switch (c) {
    case 'Y':
        snprintf(out, room, "%d", year);
        return true;
    case 'j':
        snprintf(out, room, flag == '-' ? "%d" : "%03d", t->tm_yday + 1);
        return true;
    case 'e':
    case 'k':
        snprintf(out, room, flag == '-' ? "%d" : "%2d", c == 'e' ? t->tm_mday : t->tm_hour);
        return true;
    case 'l':
        snprintf(out, room, flag == '-' ? "%d" : "%2d", hour12);
        return true;
    case 'B':
        snprintf(out, room, "%s", month_name[t->tm_mon]);
        return true;
    case 'b':
    case 'h':
        snprintf(out, room, "%.3s", month_name[t->tm_mon]);
        return true;
    case 'A':
        snprintf(out, room, "%s", day_name[t->tm_wday]);
        return true;
    case 'a':
        snprintf(out, room, "%.3s", day_name[t->tm_wday]);
        return true;
    case 'p':
        snprintf(out, room, "%s", t->tm_hour < 12 ? "AM" : "PM");
        return true;
    case 'P':
        snprintf(out, room, "%s", t->tm_hour < 12 ? "am" : "pm");
        return true;
    case 'f':
        snprintf(out, room, "000000");
        return true;
    case 'u':
        snprintf(out, room, "%d", t->tm_wday ? t->tm_wday : 7);
        return true;
    case 'w':
        snprintf(out, room, "%d", t->tm_wday);
        return true;
    case 'V':
        snprintf(out, room, "%02d", iso_week(t, &iso));
        return true;
    case 'G':
        iso_week(t, &iso);
        snprintf(out, room, "%d", iso);
        return true;
    case 's':
        snprintf(out, room, "%lld", (long long)now);
        return true;
    case 'n':
    case 't':
    case '%':
        snprintf(out, room, "%c", c == 'n' ? '\n' : c == 't' ? '\t' : '%');
        return true;
    case 'z': // of a time without a zone, as datetime.now() is
    case 'Z':
        out[0] = 0;
        return true;
    default:
        return false;
    }
}

/* Directives that stand for several. */
static const char *compound(char c)
{
    switch (c) {
    case 'D':
    case 'x':
        return "%m/%d/%y";
    case 'F':
        return "%Y-%m-%d";
    case 'T':
    case 'X':
        return "%H:%M:%S";
    case 'R':
        return "%H:%M";
    case 'r':
        return "%I:%M:%S %p";
    case 'c':
        return "%a %b %e %H:%M:%S %Y";
    default:
        return NULL;
    }
}

static void format(struct jbuf *b, const struct jstr *f, const struct tm *t, bool inner)
{
    char text[64];

    for (size_t i = 0; i < f->n && !b->J->failed; i++) {
        const char *many;
        char flag = 0;
        size_t start = i;

        if (f->p[i] != '%' || i + 1 == f->n) {
            jb_sub(b, f, i, 1);
            continue;
        }
        if (f->p[++i] == '-' && i + 1 < f->n)
            flag = f->p[i++];
        many = inner ? NULL : compound(f->p[i]);
        if (many)
            format(b, jstr_lit(b->J, many), t, true);
        else if (directive(f->p[i], flag, t, b->J->now, text, sizeof text))
            jb_add(b, text, strlen(text), jstr_mark_at(f, i));
        else
            jb_sub(b, f, start, i + 1 - start);
    }
}

const struct jstr *jstrftime(struct jstate *J, const struct jstr *fmt)
{
    struct jbuf b = {.J = J};
    time_t now = (time_t)J->now;
    struct tm t;

    if (!localtime_r(&now, &t)) {
        jfail(J, "strftime_now: the clock cannot be shown");
        return &jstr_empty;
    }
    format(&b, fmt, &t, false);
    return jb_str_of(&b);
}
