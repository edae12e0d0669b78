/* test_opt.c - one option table: parsing, ranges, nearest names, help, completion. */
#include "tests/suite.h"
#include "base/mem.h"
#include "tools/lib/opt.h"

static struct {
    bool flag, keep, given;
    int count, n, kind;
    uint64_t seed;
    double temp;
    const char *model;
    struct opt_ints sizes;
    struct opt_list pieces;
    char bias[20];
} v;

static int set_bias(void *out, const char *value, struct err *e)
{
    if (!strchr(value, '='))
        return err_set(e, E_USAGE, "'%s' is not ID=X", value);
    snprintf(out, sizeof v.bias, "%s", value);
    return 0;
}

static const char *const kinds[] = {"f16", "f32", "q8_0", NULL};
static const struct tool_option opts[] = {
    {'m', "model", OPT_STR, &v.model, "MODEL", "a model's file", .group = "Model"},
    {'p', "prompt", OPT_LIST, &v.pieces, "TEXT", "a piece"},
    {'f', "file", OPT_LIST, &v.pieces, "FILE", "a file as a piece"},
    {'n', "max-tokens", OPT_INT, &v.n, "N", "stop after N tokens", .min = 1, .max = 1000,
     .given = &v.given},
    {0, "seed", OPT_U64, &v.seed, "N", "where random numbers start"},
    {0, "temperature", OPT_FLOAT, &v.temp, "X", "how free the choice is", .max = 2, .def = "0.8"},
    {0, "temp", OPT_ALIAS, 0, "temperature"},
    {0, "kind", OPT_CHOICE, &v.kind, "K", "the format", .choices = kinds, .def = "f32"},
    {'s', "sizes", OPT_INTS, &v.sizes, "N,..", "sizes", .min = 1, .max = 4096},
    {'k', NULL, OPT_FLAG, &v.keep, 0, "keep"},
    {0, "no-keep", OPT_UNSET, &v.keep, 0, "do not keep it's [old]: name"},
    {'j', "json", OPT_FLAG, &v.flag, 0, "JSON"},
    {'v', "verbose", OPT_COUNT, &v.count, 0, "more"},
    {0, "logit-bias", OPT_CALL, v.bias, "ID=X", "a bias", .call = set_bias},
    {0, "secret", OPT_FLAG, &v.flag, 0, "not shown", .hidden = true},
    {0}};

enum { MAX_ARGS = 16 };

/* Parses the words, ended by NULL; operands' index in *first. */
static int parse(struct err *e, int *first, char **argv, ...)
{
    va_list ap;
    int n = 1;
    const char *w;

    opt_list_fini(&v.pieces);
    memset(&v, 0, sizeof v);
    argv[0] = (char *)(uintptr_t) "rill-test";
    va_start(ap, argv);
    while ((w = va_arg(ap, const char *)) && n < MAX_ARGS - 1)
        argv[n++] = (char *)(uintptr_t)w;
    va_end(ap);
    argv[n] = NULL;
    *e = (struct err){0};
    return opt_parse(opts, n, argv, first, e);
}

START_TEST(values_of_every_type)
{
    char *argv[MAX_ARGS];
    struct err e;
    int first;

    ck_ok(parse(&e, &first, argv, "-jvv", "-n7", "--seed=0xffffffffffffffff", "--temp", "1.5",
                "--kind", "Q8_0", "-s", "1,8-32*2,5-9:2", "-k", "--logit-bias", "5=2", "operand",
                NULL),
          &e);
    ck_assert(v.flag && v.keep && v.given);
    ck_assert_int_eq(v.count, 2);
    ck_assert_int_eq(v.n, 7);
    ck_assert(v.seed == UINT64_MAX);
    ck_assert(v.temp == 1.5);
    ck_assert_int_eq(v.kind, 2);
    ck_assert_str_eq(v.bias, "5=2");
    ck_assert_str_eq(argv[first], "operand");
    static const int want[] = {1, 8, 16, 32, 5, 7, 9};
    ck_assert_int_eq(v.sizes.n, (int)(sizeof want / sizeof *want));
    ck_assert_mem_eq(v.sizes.v, want, sizeof want);
}
END_TEST

START_TEST(defaults_come_first)
{
    char *argv[MAX_ARGS];
    struct err e;
    int first;

    ck_ok(parse(&e, &first, argv, NULL), &e);
    ck_assert(v.temp == 0.8);
    ck_assert_int_eq(v.kind, 1);
    ck_assert(!v.given);
    ck_assert_int_eq(first, 1);
}
END_TEST

START_TEST(pieces_keep_their_order)
{
    static const char letters[] = "pfp";
    char *argv[MAX_ARGS];
    struct err e;
    int first;

    ck_ok(parse(&e, &first, argv, "-p", "a", "x", "--file=-", "-pb", "--", "-p", NULL), &e);
    ck_assert_uint_eq(v.pieces.n, 3);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(v.pieces.at[i].opt->letter, letters[i]);
    ck_assert_str_eq(v.pieces.at[1].value, "-");
    ck_assert_str_eq(v.pieces.at[2].value, "b");
    ck_assert_str_eq(argv[first], "x");
    ck_assert_str_eq(argv[first + 1], "-p");
    opt_list_fini(&v.pieces);
}
END_TEST

START_TEST(wrong_lines_say_what)
{
    static const struct {
        const char *a, *b, *says;
    } bad[] = {
        {"--modle", "x", "unknown option '--modle' (did you mean '--model'?)"},
        {"--max_tokens=3", NULL, "unknown option '--max_tokens' (did you mean '--max-tokens'?)"},
        {"--tokens", "3", "unknown option '--tokens' (did you mean '--max-tokens'?)"},
        {"--zzz", NULL, "unknown option '--zzz'"},
        {"-x", NULL, "unknown option '-x'"},
        {"-temp", "0.5", "unknown option '-temp' (did you mean '--temp'?)"},
        {"-n", "0", "option --max-tokens: '0' is not in the range 1 to 1000"},
        {"-n", "1001", "is not in the range"},
        {"-n", "7x", "option --max-tokens: '7x' is not a whole number"},
        {"-n", "", "'' is not a whole number"},
        {"-n", "99999999999999999999", "is too large a number"},
        {"-n", NULL, "option --max-tokens needs a value (N)"},
        {"--seed", "-1", "option --seed: '-1' is not a whole number"},
        {"--seed", "18446744073709551616", "is too large a number"},
        {"--temperature", "nan", "is not a number"},
        {"--temp", "2.5", "option --temperature: '2.5' is not in the range 0 to 2"},
        {"--kind", "q8", "option --kind: 'q8' is none of its values (did you mean 'q8_0'?)"},
        {"--kind", "zebra", "option --kind: 'zebra' is none of: f16 f32 q8_0"},
        {"--sizes", "1,", "is not a list of whole numbers"},
        {"--sizes", "1-9*1", "has a range that does not end"},
        {"--sizes", "9-1", "has a range that does not end"},
        {"--sizes", "1-4096", "has more than 64 numbers"},
        {"--sizes", "0", "is not in the range 1 to 4096"},
        {"--json=1", NULL, "option --json takes no value"},
        {"--logit-bias", "5", "option --logit-bias: '5' is not ID=X"},
        {"--s", NULL, "unknown option '--s'"},
    };
    char *argv[MAX_ARGS];
    struct err e;
    int first;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_fails(parse(&e, &first, argv, bad[i].a, bad[i].b, NULL), &e, E_USAGE, bad[i].says);
}
END_TEST

START_TEST(nearest_of_a_list)
{
    static const char *const types[] = {"q4_0", "q4_k", "q6_k", "iq3_xxs", "mxfp4"};

    ck_assert_int_eq(opt_nearest_of(types, 5, "Q4_K"), 1);
    ck_assert_int_eq(opt_nearest_of(types, 5, "Q4K"), 1);
    ck_assert_int_eq(opt_nearest_of(types, 5, "i3q_xxs"), 3);
    ck_assert_int_eq(opt_nearest_of(types, 5, "mxpf4"), 4);
    ck_assert_int_eq(opt_nearest_of(types, 5, "banana"), -1);
    ck_assert_int_eq(opt_nearest_of(types, 0, "q4_0"), -1);
    ck_assert_int_eq(opt_nearest_of(types, 5, ""), -1);
}
END_TEST

START_TEST(lists_fail_without_memory)
{
    char *argv[MAX_ARGS];
    struct err e;
    int first;

    mem_fail_after(0);
    ck_fails(parse(&e, &first, argv, "-p", "a", NULL), &e, E_NOMEM, "out of memory");
    mem_fail_after(-1);
}
END_TEST

static char *captured(bool help, const char *shell)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);

    ck_assert_ptr_nonnull(f);
    if (help)
        opt_help(opts, f);
    else
        ck_assert(opt_completion(opts, "rill-test", "tests", shell, f));
    fclose(f);
    return text;
}

START_TEST(help_shows_range_and_default)
{
    char *text = captured(true, NULL);

    ck_assert_ptr_nonnull(strstr(text, "\nModel:\n  -m, --model MODEL       a model's file\n"));
    ck_assert_ptr_nonnull(
        strstr(text, "  -n, --max-tokens N      stop after N tokens (1 to 1000)\n"));
    ck_assert_ptr_nonnull(
        strstr(text, "      --temperature X     how free the choice is; also --temp (0 to 2)"));
    ck_assert_ptr_nonnull(strstr(text, "the format: f16, f32, q8_0 [f32]\n"));
    ck_assert_ptr_null(strstr(text, "secret"));
    for (char *line = text; *line; line = strchr(line, '\n') + 1)
        ck_assert_uint_le(strcspn(line, "\n"), 80);
    free(text);
}
END_TEST

START_TEST(completion_names_every_option)
{
    static const char *const shell[] = {"bash", "zsh", "fish"};
    static const char *const names[] = {"max-tokens", "no-keep", "kind", "logit-bias"};

    for (int i = 0; i < 3; i++) {
        char *text = captured(false, shell[i]);

        for (int j = 0; j < 4; j++)
            ck_assert_msg(strstr(text, names[j]), "%s lacks %s", shell[i], names[j]);
        ck_assert_ptr_null(strstr(text, "secret"));
        free(text);
    }
    ck_assert(!opt_completion(opts, "rill-test", "tests", "csh", stdout));
    char *list = captured(false, "list");
    ck_assert_ptr_nonnull(strstr(list, "-n --max-tokens\n"));
    ck_assert_ptr_nonnull(strstr(list, "--temp\n--kind\n"));
    ck_assert_ptr_nonnull(strstr(list, "\n-k\n--no-keep\n"));
    free(list);
}
END_TEST

TEST_MAIN("tools/opt", values_of_every_type, defaults_come_first, pieces_keep_their_order,
          wrong_lines_say_what, nearest_of_a_list, lists_fail_without_memory,
          help_shows_range_and_default, completion_names_every_option)
