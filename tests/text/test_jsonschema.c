/* JSON Schema: each keyword's verdicts and refusals, the public suites, and random texts under the
 * mask judged by a small validator that shares nothing with the library. */
#include "constraints.h"

#include "base/rng.h"

#include <dirent.h>
#include <jansson.h>
#include <math.h>

static struct con *schema(const char *src, bool line)
{
    const struct con_opts o = {.line = line, .ordered = line};
    struct con *c;
    struct err e = {0};

    ck_ok(con_schema(&c, slice_of(src), &o, &e), &e);
    return c;
}

static void verdicts(const char *src, const char *const *yes, const char *const *no)
{
    struct con *c = schema(src, false);

    judge(c, yes, no);
    con_free(c);
}

START_TEST(scalars)
{
    verdicts("true", TEXTS("1", " {\"a\":[null]} ", "\"\\ud83d\\ude00\""),
             TEXTS("", "01", "{a:1}", "\"\\ud83d\"", "[1,]", "\"\x01\"", "\"\xff\""));
    verdicts("{\"type\":[\"null\",\"boolean\"]}", TEXTS("null", "true", "false"),
             TEXTS("0", "nul"));
    verdicts("{\"type\":\"integer\"}", TEXTS("0", "-12", "5.0"), TEXTS("1.5", "\"1\"", "00"));
    verdicts("{\"minimum\":-1.5,\"maximum\":1e1}", TEXTS("-1.5", "10", "10.00", "-0", "\"x\""),
             TEXTS("-1.51", "10.01", "11", "-2"));
    verdicts("{\"type\":\"number\",\"exclusiveMinimum\":0}", TEXTS("0.001", "1"),
             TEXTS("0", "-0", "-1", "0.00"));
    verdicts("{\"type\":\"number\",\"multipleOf\":0.25}", TEXTS("0", "-7.75", "1.50", "3"),
             TEXTS("0.1", "7.7"));
    verdicts("{\"type\":\"integer\",\"multipleOf\":7,\"minimum\":100,\"maximum\":112}",
             TEXTS("105", "112"), TEXTS("98", "106", "119"));
    verdicts("{\"enum\":[1,\"a\",null,[1.5],{\"x\":true}]}",
             TEXTS("1.0", "\"\\u0061\"", "null", "[1.50]", "{\"x\": true}"),
             TEXTS("2", "\"b\"", "[1]", "{}", "{\"x\":true,\"y\":1}"));
    verdicts("{\"not\":{\"enum\":[1,\"a\"]}}", TEXTS("2", "\"ab\"", "{}"),
             TEXTS("1", "1.0", "\"a\""));
    verdicts("{\"type\":\"string\",\"minLength\":2,\"maxLength\":3,\"pattern\":\"b\"}",
             TEXTS("\"ab\"",
                   "\"\xc3\xa9"
                   "b\"",
                   "\"\\n\\u0062\""),
             TEXTS("\"b\"", "\"aaa\"", "\"abbb\""));
    verdicts("{\"type\":\"string\",\"format\":\"date\"}", TEXTS("\"2024-02-29\""),
             TEXTS("\"2023-02-29\"", "\"2024-13-01\"", "\"x\""));
}
END_TEST

START_TEST(arrays)
{
    verdicts("{\"type\":\"array\",\"prefixItems\":[{\"type\":\"null\"}],\"items\":{\"type\":"
             "\"integer\"},\"minItems\":1,\"maxItems\":3}",
             TEXTS("[null]", "[ null , 1,2 ]"), TEXTS("[]", "[1]", "[null,1,2,3]", "[null,\"\"]"));
    verdicts("{\"type\":\"array\",\"contains\":{\"minimum\":5,\"type\":\"number\"},"
             "\"minContains\":2,\"maxContains\":3}",
             TEXTS("[5,1,6]", "[5,5,5,\"\"]"), TEXTS("[]", "[5]", "[5,6,7,8]", "[1,2,3]"));
    verdicts("{\"not\":{\"items\":{\"type\":\"integer\"}}}", TEXTS("[1,\"\"]", "[[]]"),
             TEXTS("[]", "[1,2]", "3"));
    verdicts("{\"items\":[{\"const\":1}],\"additionalItems\":false}", TEXTS("[]", "[1]", "{}"),
             TEXTS("[1,1]", "[2]"));
    verdicts("{\"type\":\"array\",\"prefixItems\":[true],\"unevaluatedItems\":{\"type\":\"null\"}}",
             TEXTS("[]", "[1]", "[1,null]"), TEXTS("[1,1]"));
}
END_TEST

START_TEST(different_items)
{
    verdicts("{\"type\":\"array\",\"items\":{\"enum\":[\"a\",\"b\",1]},\"uniqueItems\":true}",
             TEXTS("[]", "[\"a\"]", "[\"b\",1,\"a\"]"),
             TEXTS("[\"a\",\"a\"]", "[1,1.0]", "[\"c\"]", "[\"a\",\"b\",\"a\"]"));
    verdicts("{\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/x\"},\"uniqueItems\":true,"
             "\"minItems\":2,\"$defs\":{\"x\":{\"type\":\"boolean\"}}}",
             TEXTS("[true,false]"), TEXTS("[true]", "[true,true]", "[true,false,true]"));
    verdicts("{\"type\":\"array\",\"not\":{\"items\":{\"enum\":[1,2]},\"uniqueItems\":true}}",
             TEXTS("[1,1]", "[3]"), TEXTS("[]", "[1]", "[2,1]"));
    verdicts("{\"type\":\"array\",\"items\":{\"enum\":[0,1,2,3,4,5,6,7,8,9]},\"uniqueItems\":true,"
             "\"minItems\":9}",
             TEXTS("[9,8,7,6,5,4,3,2,1,0]", "[9,8,7,6,5,4,3,2,0]"),
             TEXTS("[9,8,7,6,5,4,3,2]", "[9,8,7,6,5,4,3,2,9]"));
}
END_TEST

START_TEST(properties_nobody_evaluates)
{
    verdicts("{\"type\":\"object\",\"allOf\":[{\"$ref\":\"#/$defs/x\"}],\"properties\":{\"a\":{}},"
             "\"unevaluatedProperties\":{\"type\":\"null\"},\"$defs\":{\"x\":{\"properties\":{"
             "\"b\":{}},\"patternProperties\":{\"^y\":{}}}}}",
             TEXTS("{}", "{\"a\":1,\"b\":2,\"yes\":3,\"n\":null}"), TEXTS("{\"n\":1}"));
    verdicts("{\"type\":\"object\",\"properties\":{\"k\":{}},\"oneOf\":[{\"properties\":{\"a\":{}},"
             "\"required\":[\"a\"]},{\"properties\":{\"b\":{}},\"required\":[\"b\"]}],"
             "\"unevaluatedProperties\":false}",
             TEXTS("{\"a\":1}", "{\"b\":1,\"k\":2}"),
             TEXTS("{\"a\":1,\"b\":2}", "{\"a\":1,\"c\":2}", "{\"k\":1}"));
    verdicts(
        "{\"type\":\"object\",\"if\":{\"properties\":{\"a\":{\"const\":1}},\"required\":[\"a\"]},"
        "\"then\":{\"properties\":{\"b\":{}}},\"else\":{\"properties\":{\"c\":{}}},"
        "\"unevaluatedProperties\":false}",
        TEXTS("{}", "{\"a\":1,\"b\":2}", "{\"c\":1}"),
        TEXTS("{\"a\":1,\"c\":2}", "{\"a\":2,\"c\":1}", "{\"b\":1}"));
    verdicts("{\"type\":\"object\",\"additionalProperties\":{},\"unevaluatedProperties\":false}",
             TEXTS("{}", "{\"a\":1}"), TEXTS("1"));
}
END_TEST

START_TEST(objects)
{
    verdicts("{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{}},"
             "\"required\":[\"b\"],\"additionalProperties\":{\"type\":\"null\"}}",
             TEXTS("{\"b\":1}", "{\"b\":1,\"a\":2}", "{\"a\":1,\"b\":[],\"c\":null}"),
             TEXTS("{}", "{\"a\":1}", "{\"a\":\"\",\"b\":1}", "{\"b\":1,\"c\":1}"));
    verdicts("{\"type\":\"object\",\"patternProperties\":{\"^x\":{\"type\":\"integer\"},\"y$\":{"
             "\"minimum\":5}},\"additionalProperties\":false,\"minProperties\":1,"
             "\"maxProperties\":2}",
             TEXTS("{\"xy\":5}", "{\"x\":1,\"y\":7}"),
             TEXTS("{}", "{\"xy\":4}", "{\"z\":1}", "{\"x\":1.5}", "{\"x\":1,\"xa\":1,\"xb\":1}"));
    verdicts("{\"dependentRequired\":{\"a\":[\"b\"]},\"propertyNames\":{\"maxLength\":1}}",
             TEXTS("{}", "{\"b\":1}", "{\"a\":1,\"b\":2}"), TEXTS("{\"a\":1}", "{\"bb\":1}"));
    verdicts("{\"if\":{\"properties\":{\"k\":{\"const\":1}},\"required\":[\"k\"]},\"then\":{"
             "\"required\":[\"x\"]},\"else\":{\"required\":[\"y\"]}}",
             TEXTS("{\"k\":1,\"x\":0}", "{\"y\":0}", "{\"k\":2,\"y\":0}"),
             TEXTS("{\"k\":1}", "{\"k\":2,\"x\":0}", "{}"));
    verdicts("{\"oneOf\":[{\"required\":[\"a\"]},{\"required\":[\"b\"]}],\"type\":\"object\"}",
             TEXTS("{\"a\":1}", "{\"b\":1,\"c\":2}"), TEXTS("{}", "{\"a\":1,\"b\":2}"));
    verdicts("{\"not\":{\"properties\":{\"a\":{\"type\":\"string\"}}}}", TEXTS("{\"a\":1}"),
             TEXTS("{}", "{\"a\":\"\"}", "1"));
    verdicts("{\"$defs\":{\"tree\":{\"type\":\"object\",\"properties\":{\"kids\":{\"items\":{\"$ref"
             "\":\"#/$defs/tree\"},\"type\":\"array\"}},\"additionalProperties\":false}},\"$ref\":"
             "\"#/$defs/tree\"}",
             TEXTS("{}", "{\"kids\":[{},{\"kids\":[]}]}"), TEXTS("[]", "{\"kids\":[1]}"));
}
END_TEST

/* Objects of a grammar that names no member at all, for which it has no bits: nothing may be looked
 * up in them (a sanitizer sees an offset from a null pointer). */
START_TEST(objects_without_names)
{
    static const char *const all[] = {"true", "{\"type\":\"object\"}",
                                      "{\"type\":\"object\",\"properties\":{},\"required\":[]}"};

    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        for (int line = 0; line < 2; line++) {
            struct con *c = schema(all[i], line);

            judge(c, TEXTS("{}", "{\"a\": 1, \"b\": {\"c\": {}}}"), TEXTS("{", "{1}"));
            con_free(c);
        }
    verdicts("{\"type\":\"object\",\"minProperties\":1,\"maxProperties\":2}",
             TEXTS("{\"a\":1}", "{\"a\":1,\"b\":2}"), TEXTS("{}", "{\"a\":1,\"b\":2,\"c\":3}"));
    verdicts("{\"type\":\"object\",\"maxProperties\":1,\"additionalProperties\":{"
             "\"maxProperties\":0}}",
             TEXTS("{}", "{\"a\":1}", "{\"a\":{}}"),
             TEXTS("{\"a\":1,\"b\":1}", "{\"a\":{\"b\":1}}"));
}
END_TEST

START_TEST(one_line)
{
    struct con *c = schema("{\"type\":\"object\",\"properties\":{\"b\":{\"type\":\"integer\"},"
                           "\"a\":{\"const\":\"x/y\"}},\"required\":[\"a\"]}",
                           true);

    judge(c, TEXTS("{\"b\": 1, \"a\": \"x/y\"}", "{\"a\":\"x/y\",\"c\":{\"d\": 1.50}}"),
          TEXTS("{\"a\":\"x/y\",\"b\":1}", "{ \"a\":\"x/y\"}", "{\"a\":\n\"x/y\"}",
                "{\"a\":\"x\\/y\"}", "{\"b\":1.0,\"a\":\"x/y\"}", "{\"\\u0061\":\"x/y\"}"));
    con_free(c);
}
END_TEST

/* Members in any order, each at most once, however many there are; and what counts them. */
START_TEST(any_order)
{
    struct con *c;
    struct con_matcher *m;
    struct buf src = {0}, text = {0};
    struct err e = {0};

    verdicts("{\"type\":\"object\",\"properties\":{\"a\":{},\"b\":{},\"c\":{}},\"required\":[\"a\","
             "\"b\"],\"additionalProperties\":false,\"maxProperties\":2}",
             TEXTS("{\"b\":1,\"a\":2}", "{\"a\":1,\"b\":2}"),
             TEXTS("{\"a\":1,\"a\":1}", "{\"c\":1,\"a\":2}", "{\"a\":1,\"b\":2,\"a\":3}"));
    verdicts("{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"null\"},\"b\":{}},"
             "\"minProperties\":"
             "2,\"additionalProperties\":false}",
             TEXTS("{\"b\":1,\"a\":null}"), TEXTS("{\"a\":null}", "{}", "{\"b\":1,\"b\":2}"));
    /* one member meets two conditions */
    verdicts(
        "{\"type\":\"object\",\"maxProperties\":1,\"required\":[\"ab\"],\"allOf\":[{\"not\":{"
        "\"propertyNames\":{\"not\":{\"pattern\":\"a\"}}}},{\"not\":{\"propertyNames\":{\"not\":{"
        "\"pattern\":\"b\"}}}}]}",
        TEXTS("{\"ab\":1}"), TEXTS("{}", "{\"a\":1}", "{\"ab\":1,\"b\":2}"));
    c = schema(
        "{\"type\":\"object\",\"properties\":{\"a\":{},\"b\":{},\"c\":{}},\"minProperties\":2,"
        "\"additionalProperties\":false}",
        true); // in order: c alone is a dead end
    ck_ok(con_matcher_new(&m, c, NULL, 0, &e), &e);
    {
        struct con_state s = con_begin(m);

        ck_assert_int_eq(con_bytes(m, &s, SLICE("{\"b"), &e), 3);
        s = con_begin(m);
        ck_assert_int_eq(con_bytes(m, &s, SLICE("{\"c"), &e), 2);
    }
    con_matcher_free(m);
    con_free(c);
    buf_str(&src, "{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"k0\"");
    for (int i = 1; i < 60; i++)
        buf_printf(&src, ",\"k%d\"", i);
    buf_str(&src, "],\"properties\":{\"k0\":{}");
    for (int i = 1; i < 60; i++)
        buf_printf(&src, ",\"k%d\":{}", i);
    buf_str(&src, "}}");
    c = schema(src.p, false);
    for (int i = 59; i >= 0; i--)
        buf_printf(&text, "%s\"k%d\":%d", i < 59 ? "," : "{", i * 7 % 60, i);
    buf_byte(&text, '}');
    ck_assert(takes(c, text.p));
    text.p[text.n - 2] = '}'; // the last value is gone
    ck_assert(!takes(c, text.p));
    con_free(c);
    buf_fini(&src);
    buf_fini(&text);
}
END_TEST

/* What could grow beyond measure: it works, or a limit is named, in bounded time and memory. */
START_TEST(what_is_hostile)
{
    struct buf src = {0}, text = {0};
    struct con_matcher *m;
    struct con_state s;
    struct con *c;
    struct err e = {0};
    int64_t n = 0;

    buf_str(&src, "{\"properties\":{\"k0\":{}"); // 2,000 members: 2^2000 sets of them
    for (int i = 1; i < 2000; i++)
        buf_printf(&src, ",\"k%d\":{}", i);
    buf_str(&src, "}}");
    for (int i = 0; i < 40; i++)
        buf_printf(&text, "%s\"k%d\":%d", i ? "," : "{", i * 389 % 2000, i);
    buf_byte(&text, '}');
    c = schema(src.p, false);
    ck_assert(takes(c, text.p));
    con_free(c);
    buf_clear(&src);
    buf_str(&src, "{\"allOf\":["); // 2^24 ways
    for (int i = 0; i < 24; i++)
        buf_printf(
            &src,
            "%s{\"anyOf\":[{\"required\":[\"a%d\"],\"type\":\"object\"},{\"required\":[\"b%d\"],"
            "\"type\":\"object\"}]}",
            i ? "," : "", i, i);
    buf_str(&src, "]}");
    ck_fails(con_schema(&c, buf_view(&src), NULL, &e), &e, E_RANGE, "too many ways");
    buf_clear(&src);
    for (int i = 0; i < 3000; i++)
        buf_str(&src, "{\"items\":");
    buf_str(&src, "{}");
    for (int i = 0; i < 3000; i++)
        buf_byte(&src, '}');
    e = (struct err){0};
    ck_assert_int_lt(con_schema(&c, buf_view(&src), NULL, &e), 0); // nested too deeply
    c = schema("{\"type\":\"array\",\"items\":{\"pattern\":\"^(a|b)*a(a|b){40}$\"}}", false);
    ck_ok(con_matcher_new(&m, c, NULL, 2 << 20, &e), &e);
    s = con_begin(m);
    n = con_bytes(m, &s, SLICE("[\""), &e);
    for (uint32_t i = 0; i < 100000 && n >= 0; i++)
        n = con_bytes(m, &s, rng_bits(1, 0, i, 0) & 4 ? SLICE("a") : SLICE("b"), &e);
    ck_assert_int_eq(n, E_RANGE);
    con_matcher_free(m);
    con_free(c);
    buf_fini(&src);
    buf_fini(&text);
}
END_TEST

/* 2^28 ways through the references: looked at as far as a limit, then refused. */
START_TEST(what_is_looked_at_ends)
{
    static const char *const with[] = {
        "\"unevaluatedProperties\":false,\"$ref\":\"#/$defs/x0\"",
        "\"type\":\"array\",\"uniqueItems\":true,\"items\":{\"$ref\":\"#/$defs/x0\"}"};

    for (size_t k = 0; k < ARRAY_LEN(with); k++) {
        struct buf src = {0};
        struct con *c = NULL;
        struct err e = {0};

        buf_printf(&src, "{%s,\"$defs\":{", with[k]);
        for (int i = 0; i < 28; i++)
            buf_printf(&src,
                       "\"x%d\":{\"%s\":[{\"$ref\":\"#/$defs/x%d\"},{\"$ref\":\"#/$defs/x%d\"}]},",
                       i, k ? "anyOf" : "allOf", i + 1, i + 1);
        buf_str(&src, "\"x28\":{\"enum\":[1,2]}}}");
        ck_fails(con_schema(&c, buf_view(&src), NULL, &e), &e, E_UNSUPPORTED,
                 k ? "#/uniqueItems" : "#/unevaluatedProperties");
        con_free(c);
        buf_fini(&src);
    }
}
END_TEST

START_TEST(what_is_refused)
{
    static const struct {
        const char *src;
        int code;
        const char *part;
    } bad[] = {
        {"{\"properties\":{\"a/b\":{\"uniqueItems\":true}}}", E_UNSUPPORTED,
         "#/properties/a~1b/uniqueItems: cannot be enforced"},
        {"{\"items\":{\"enum\":[0,1,2,3,4,5,6,7,8,9,10]},\"uniqueItems\":true}", E_UNSUPPORTED,
         "#/uniqueItems: cannot be enforced for more than 10"},
        {"{\"anyOf\":[{\"properties\":{\"a\":{}}},{\"required\":[\"b\"]}],"
         "\"unevaluatedProperties\":false}",
         E_UNSUPPORTED, "#/unevaluatedProperties"},
        {"{\"allOf\":[{\"prefixItems\":[true]}],\"unevaluatedItems\":false}", E_UNSUPPORTED,
         "#/unevaluatedItems"},
        {"{\"$ref\":\"other.json\"}", E_UNSUPPORTED, "#/$ref: a reference to another"},
        {"{\"$ref\":\"#/nowhere\"}", E_FORMAT, "#/$ref: a reference to nothing"},
        {"{\"$ref\":\"#\"}", E_FORMAT, "leads to itself"},
        {"{\"format\":\"regex\"}", E_UNSUPPORTED, "#/format"},
        {"{\"items\":{\"pattern\":\"(a)\\\\1\"}}", E_UNSUPPORTED, "#/items/pattern"},
        {"{\"type\":\"int\"}", E_FORMAT, "#/type"},
        {"{\"uniqueItems\":1}", E_FORMAT, "#/uniqueItems: must be true or false"},
        {"{\"dependentRequired\":3}", E_FORMAT, "#/dependentRequired: must be an object"},
        {"{\"format\":3}", E_FORMAT, "#/format: must be a string"},
        {"{\"minItems\":-1}", E_FORMAT, "#/minItems"},
        {"{\"allOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]}", E_FORMAT, "no text"},
        {"{\"type\":", E_FORMAT, "line 1"},
        {"[]", E_FORMAT, "must be an object"},
        {"{\"$schema\":\"http://example.com/x\"}", E_UNSUPPORTED, "#/$schema"},
        {"{\"multipleOf\":12345678901}", E_UNSUPPORTED, "#/multipleOf"},
        {"{\"minItems\":3000000,\"type\":\"array\"}", E_RANGE, "long"},
    };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct con *c;
        struct err e = {0};

        ck_fails(con_schema(&c, slice_of(bad[i].src), NULL, &e), &e, bad[i].code, bad[i].part);
    }
}
END_TEST

/* -- the suites ------------------------------------------------------------------------------ */

struct tally {
    int schemas, refused, right;
};

/* A schema's verdicts on its tests: all right, or the schema is refused with a reason. */
static void judge_group(const json_t *group, int draft, struct tally *t)
{
    const struct con_opts o = {.draft = draft};
    char *src =
        json_dumps(json_object_get(group, "schema"), JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    struct con_matcher *m = NULL;
    struct con *c = NULL;
    struct err e = {0};
    int rc = con_schema(&c, slice_of(src), &o, &e);
    json_t *one;
    size_t i;

    t->schemas++;
    if (rc == 0)
        ck_ok(con_matcher_new(&m, c, NULL, 0, &e), &e);
    t->refused += rc < 0 && !strstr(e.text, "no text");
    json_array_foreach(json_object_get(group, "tests"), i, one)
    {
        char *data =
            json_dumps(json_object_get(one, "data"), JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
        bool yes = m && says(m, slice_of(data));

        if (m || strstr(e.text, "no text"))
            ck_assert_msg(yes == json_is_true(json_object_get(one, "valid")) ||
                              strcmp(data, "9.00719925474099e15") == 0, // exponents: not integers
                          "%s\n%s", src, data);
        t->right += m != NULL;
        free(data);
    }
    con_matcher_free(m);
    con_free(c);
    free(src);
}

static void judge_suite(const char *name, int draft, int most_refused)
{
    const char *dir = testdata(name);
    DIR *d = dir ? opendir(dir) : NULL;
    struct tally t = {0};

    for (struct dirent *f; d && (f = readdir(d));) {
        char path[2048];
        json_t *all, *group;
        size_t i;

        snprintf(path, sizeof path, "%s/%s", dir, f->d_name);
        if (!strstr(f->d_name, ".json") || strcmp(f->d_name, "format.json") == 0)
            continue; // there formats are remarks; here they hold
        all = json_load_file(path, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
        json_array_foreach(all, i, group) judge_group(group, draft, &t);
        json_decref(all);
    }
    if (d)
        closedir(d);
    ck_assert_msg(t.refused <= most_refused, "%d of %d refused", t.refused, t.schemas);
}

START_TEST(suite_of_draft_7)
{
    judge_suite("schemas/JSON-Schema-Test-Suite/draft7", 7, 27);
}
END_TEST

START_TEST(suite_of_2020)
{
    judge_suite("schemas/JSON-Schema-Test-Suite/draft2020-12", 2020, 44);
}
END_TEST

START_TEST(schemas_of_the_field)
{
    const char *path = testdata("schemas/maskbench/JME.jsonl");
    FILE *f = path ? fopen(path, "r") : NULL;
    struct tally t = {0};
    char *line = NULL;
    size_t cap = 0;

    while (f && getline(&line, &cap, f) > 0) {
        json_t *j = json_loads(line, 0, NULL);

        judge_group(j, 2020, &t);
        json_decref(j);
    }
    free(line);
    if (f)
        fclose(f);
    ck_assert_int_eq(t.refused, 0);
}
END_TEST

/* -- random texts ---------------------------------------------------------------------------- */

static uint32_t seed;
static uint32_t pick(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

/* A random schema of keywords that valid() knows. */
static json_t *random_schema(int depth)
{
    json_t *s = json_object();
    static const char *const names[] = {"a", "b", "name", "x y"};

    switch (pick(depth > 2 ? 4 : 7)) {
    case 0:
        json_object_set_new(s, "type", json_string("integer"));
        if (pick(2))
            json_object_set_new(s, "minimum", json_integer((int)pick(40) - 20));
        if (pick(2))
            json_object_set_new(s, "maximum", json_integer(20 + (int)pick(400)));
        break;
    case 1:
        json_object_set_new(s, "type", json_string("string"));
        if (pick(2))
            json_object_set_new(s, "maxLength", json_integer(pick(6)));
        break;
    case 2:
        json_object_set_new(s, "enum", json_pack("[i,s,n,b]", 12, "ab", 1));
        break;
    case 3:
        json_object_set_new(s, "type", json_string(pick(2) ? "boolean" : "null"));
        break;
    case 4:
        json_object_set_new(s, "type", json_string("array"));
        json_object_set_new(s, "items", random_schema(depth + 1));
        json_object_set_new(s, "minItems", json_integer(pick(3)));
        json_object_set_new(s, "maxItems", json_integer(2 + pick(3)));
        break;
    case 5: {
        json_t *p = json_object(), *need = json_array();

        for (uint32_t i = 0, n = pick(4); i < n; i++) {
            json_object_set_new(p, names[i], random_schema(depth + 1));
            if (pick(2))
                json_array_append_new(need, json_string(names[i]));
        }
        json_object_set_new(s, "type", json_string("object"));
        json_object_set_new(s, "properties", p);
        json_object_set_new(s, "required", need);
        json_object_set_new(s, "additionalProperties",
                            pick(2) ? json_false() : random_schema(depth + 1));
        break;
    }
    default: {
        static const char *const join[] = {"anyOf", "oneOf"};
        json_t *list = json_array();

        json_array_append_new(list, random_schema(depth + 1));
        json_array_append_new(list, random_schema(depth + 1));
        json_object_set_new(s, join[pick(2)], list);
    }
    }
    return s;
}

static bool valid(const json_t *s, const json_t *v);

static bool valid_object(const json_t *s, const json_t *v)
{
    json_t *props = json_object_get(s, "properties"), *x;
    const char *key;
    size_t i;

    json_array_foreach(json_object_get(s, "required"), i,
                       x) if (!json_object_get(v, json_string_value(x))) return false;
    json_object_foreach((json_t *)(uintptr_t)v, key, x)
    {
        const json_t *own = json_object_get(props, key);

        if (!valid(own ? own : json_object_get(s, "additionalProperties"), x))
            return false;
    }
    return true;
}

static size_t characters(const char *p)
{
    size_t n = 0;

    for (; *p; p++)
        n += ((unsigned char)*p & 0xc0) != 0x80;
    return n;
}

static bool valid(const json_t *s, const json_t *v)
{
    const char *type = json_string_value(json_object_get(s, "type"));
    const json_t *x;
    json_t *one;
    size_t i, n = 0;

    if (json_is_boolean(s))
        return json_is_true(s);
    if ((x = json_object_get(s, "anyOf")) || (x = json_object_get(s, "oneOf"))) {
        json_array_foreach(x, i, one) n += valid(one, v);
        return json_object_get(s, "oneOf") ? n == 1 : n > 0;
    }
    if ((x = json_object_get(s, "enum"))) {
        json_array_foreach(x, i, one) n +=
            json_is_number(v)
                ? json_is_number(one) && json_number_value(one) == json_number_value(v)
                : json_equal(one, v);
        return n > 0;
    }
    if (strcmp(type, "integer") == 0) {
        const json_t *min = json_object_get(s, "minimum"), *max = json_object_get(s, "maximum");
        double d = json_number_value(v);

        return json_is_number(v) && d == floor(d) && (!min || d >= json_number_value(min)) &&
               (!max || d <= json_number_value(max));
    }
    if (strcmp(type, "string") == 0)
        return json_is_string(v) && (!json_object_get(s, "maxLength") ||
                                     (json_int_t)characters(json_string_value(v)) <=
                                         json_integer_value(json_object_get(s, "maxLength")));
    if (strcmp(type, "boolean") == 0)
        return json_is_boolean(v);
    if (strcmp(type, "null") == 0)
        return json_is_null(v);
    if (strcmp(type, "object") == 0)
        return json_is_object(v) && valid_object(s, v);
    json_array_foreach(v, i, one) if (!valid(json_object_get(s, "items"), one)) return false;
    return json_is_array(v) &&
           (json_int_t)json_array_size(v) >= json_integer_value(json_object_get(s, "minItems")) &&
           (json_int_t)json_array_size(v) <= json_integer_value(json_object_get(s, "maxItems"));
}

/* Draws allowed tokens until the text may end, and later wants to; false when it takes too long. */
static bool sample(struct con_matcher *m, const struct con_vocab *v, struct buf *out)
{
    struct con_state s = con_begin(m);
    struct err e = {0};

    for (int n = 0; n < 400; n++) {
        uint32_t mask[(N_TOKEN + 31) / 32];
        int32_t id = -1, last = -1;
        uint32_t total = 0;

        ck_ok(con_mask(m, s, mask, &e), &e);
        for (int32_t i = 0; i < N_TEXT; i++)
            if (mask[i / 32] >> i % 32 & 1) {
                /* closing is likelier than going deeper, or nothing would ever end */
                uint32_t w = i < 256 && strchr("\"}]", i) && i ? 40 : 1;

                total += w;
                last = i;
                if (pick(total) < w)
                    id = i;
            }
        if (con_can_stop(m, s) && (last < 0 || pick(2)))
            return true;
        ck_assert_msg(id >= 0, "a dead end behind %s", out->p);
        buf_slice(out, v->text[id]);
        ck_assert_int_eq(con_accept(m, &s, id, &e), 1);
    }
    return false;
}

/* Random schemas with the reference's verdicts on answers that were given under them, changed ones
 * and other values (scripts/ref-jsonschema.py); and answers drawn here are what a judge accepts. */
START_TEST(verdicts_of_the_reference)
{
    FILE *f = fopen(srcfile("tests/golden/text/jsonschema.jsonl"), "r");
    struct tok *t = byte_vocab();
    struct con_vocab *v;
    struct err e = {0};
    char *line = NULL;
    size_t cap = 0;
    int n = 0, judged = 0, drawn = 0;

    ck_assert(f != NULL);
    ck_ok(con_vocab_new(&v, t, &e), &e);
    for (; getline(&line, &cap, f) > 0; n++) {
        json_t *one = json_loads(line, 0, NULL), *x, *refused = json_object_get(one, "refused");
        char *src = json_dumps(json_object_get(one, "schema"), JSON_REAL_PRECISION(17));
        const struct con_opts o = {.line = true, .ordered = n & 1};
        struct con_matcher *m, *l;
        struct con *c = NULL, *made = NULL;
        struct buf out = {0};
        size_t i;
        int rc;

        e = (struct err){0};
        rc = con_schema(&c, slice_of(src), NULL, &e);
        ck_assert_msg((rc < 0) == (refused != NULL), "%s: %s", src, e.text);
        if (rc == 0) {
            ck_ok(con_matcher_new(&m, c, NULL, 0, &e), &e);
            for (int yes = 0; yes < 2; yes++)
                json_array_foreach(json_object_get(one, yes ? "valid" : "invalid"), i, x)
                {
                    char *text = json_dumps(x, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));

                    ck_assert_msg(says(m, slice_of(text)) == yes, "%s\n%s: %s", src,
                                  yes ? "refused" : "accepted", text);
                    judged++;
                    free(text);
                }
            ck_ok(con_schema(&made, slice_of(src), &o, &e), &e);
            ck_ok(con_matcher_new(&l, made, v, 0, &e), &e);
            seed = (uint32_t)n;
            if (sample(l, v, &out)) {
                ck_assert_msg(says(m, buf_view(&out)), "%s\ngiven: %s", src, out.p);
                drawn++;
            }
            con_matcher_free(l);
            con_matcher_free(m);
        }
        con_free(made);
        con_free(c);
        buf_fini(&out);
        free(src);
        json_decref(one);
    }
    ck_assert_int_gt(judged, 1000);
    ck_assert_int_gt(drawn, n / 2);
    free(line);
    fclose(f);
    con_vocab_free(v);
    tok_free(t);
}
END_TEST

START_TEST(random_texts_are_valid)
{
    struct tok *t = byte_vocab();
    struct con_vocab *v;
    struct err e = {0};
    int ended = 0, n = 150;

    ck_ok(con_vocab_new(&v, t, &e), &e);
    for (int i = 0; i < n; i++) {
        const struct con_opts o = {.line = i & 1};
        struct con_matcher *m;
        struct buf out = {0};
        struct con *c;
        json_t *s, *got;
        char *src;
        int rc;

        seed = (uint32_t)i;
        s = random_schema(0);
        src = json_dumps(s, 0);
        e = (struct err){0};
        rc = con_schema(&c, slice_of(src), &o, &e);
        if (rc < 0) {
            ck_assert_msg(strstr(e.text, "no text") != NULL, "%s: %s", src, e.text);
        } else {
            ck_ok(con_matcher_new(&m, c, v, 0, &e), &e);
            if (sample(m, v, &out)) {
                got = json_loadb(out.p, out.n,
                                 JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
                ck_assert_msg(got && valid(s, got), "%s\n%s", src, out.p);
                ck_assert(!o.line || !strchr(out.p, '\n'));
                json_decref(got);
                ended++;
            }
            con_matcher_free(m);
            con_free(c);
        }
        buf_fini(&out);
        free(src);
        json_decref(s);
    }
    ck_assert_int_gt(ended, n / 2);
    con_vocab_free(v);
    tok_free(t);
}
END_TEST

TEST_MAIN("text/jsonschema", scalars, arrays, different_items, properties_nobody_evaluates, objects,
          any_order, objects_without_names, one_line, what_is_hostile, what_is_looked_at_ends,
          what_is_refused, suite_of_draft_7, suite_of_2020, schemas_of_the_field,
          random_texts_are_valid, verdicts_of_the_reference)
