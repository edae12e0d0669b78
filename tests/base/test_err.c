/* test_err.c - the first error stays, sentences are cut and not overrun, codes map to statuses. */
#include "tests/suite.h"

START_TEST(first_error_stays)
{
    struct err e = {0};

    ck_assert_int_eq(err_set(&e, E_FORMAT, "%s: bad magic", "m.gguf"), E_FORMAT);
    ck_assert_int_eq(err_set(&e, E_IO, "other"), E_IO);
    ck_assert_int_eq(e.code, E_FORMAT);
    ck_assert_str_eq(e.text, "m.gguf: bad magic");
    ck_assert_int_eq(err_set(NULL, E_IO, "nobody listens"), E_IO);
}
END_TEST

START_TEST(long_sentences_are_cut)
{
    struct err e = {0};
    char text[1000];

    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = 0;
    err_set(&e, E_FORMAT, "%s", text);
    ck_assert_uint_eq(strlen(e.text), sizeof e.text - 1);
    ck_assert_int_eq(err_prefix(&e, text), E_FORMAT);
    ck_assert_uint_lt(strlen(e.text), sizeof e.text);
}
END_TEST

START_TEST(prefix_names_the_file)
{
    struct err e = {0};

    ck_assert_int_eq(err_prefix(&e, "a"), E_OK);
    ck_assert_str_eq(e.text, "");
    ck_assert_int_eq(err_prefix(NULL, "a"), E_OK);
    err_set(&e, E_RANGE, "too large");
    ck_assert_int_eq(err_prefix(&e, "m.gguf"), E_RANGE);
    ck_assert_str_eq(e.text, "m.gguf: too large");
}
END_TEST

START_TEST(codes_have_a_status_and_a_name)
{
    static const int code[] = {
#define X(name, value, status, text) name,
        ERR_LIST(X)
#undef X
    };

    for (size_t i = 0; i < sizeof code / sizeof *code; i++) {
        ck_assert_int_lt(code[i], 0);
        ck_assert_int_ge(err_exit_status(code[i]), 1);
        ck_assert_int_le(err_exit_status(code[i]), 4);
        ck_assert_str_ne(err_name(code[i]), "unknown error");
        for (size_t j = 0; j < i; j++)
            ck_assert_int_ne(code[i], code[j]);
    }
    ck_assert_int_eq(err_exit_status(E_OK), 0);
    ck_assert_int_eq(err_exit_status(E_USAGE), 2);
    ck_assert_int_eq(err_exit_status(E_FORMAT), 3);
    ck_assert_int_eq(err_exit_status(E_NOMEM), 4);
    ck_assert_int_eq(err_exit_status(-999), 4);
    ck_assert_str_eq(err_name(-999), "unknown error");
}
END_TEST

START_TEST(nomem_says_how_much)
{
    struct err e = {0};

    ck_assert_int_eq(err_nomem(&e, 4096), E_NOMEM);
    ck_assert_str_eq(e.text, "out of memory (4096 bytes wanted)");
}
END_TEST

TEST_MAIN("base/err", first_error_stays, long_sentences_are_cut, prefix_names_the_file,
          codes_have_a_status_and_a_name, nomem_says_how_much)
