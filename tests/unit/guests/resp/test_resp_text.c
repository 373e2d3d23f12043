/* SPDX-License-Identifier: MIT
 *
 * Aim:    numbers and options of requests are read as redis-server 7.0.15 reads them.
 * Method: tables of texts with the answers observed there; no port, no store. */
#include "tests/support/t.h"

#include "base/float_text.h"
#include "resp/command.h"
#include "resp/options.h"

#include <locale.h>

T_ONE_THREAD;

static bool read_i64(const char *text, int64_t *out)
{
    return resp_to_int(&(cellar_bytes){ text, strlen(text) }, out);
}

T_CASE(integers_are_strict)
{
    static const char *const refused[] = {
        "", "-", "+5", " 5", "5 ", "05", "-0", "-05", "1.5", "abc", "0x10", "--1", "00",
        "9223372036854775808", "-9223372036854775809", "18446744073709551616",
        "99999999999999999999999",
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        int64_t v = 7;
        if (!T_CHECK(!read_i64(refused[i], &v))) { printf("# \"%s\"\n", refused[i]); }
        T_EQ_I64(v, 7);
    }
    static const struct { const char *text; int64_t v; } taken[] = {
        { "0", 0 }, { "-1", -1 }, { "10", 10 }, { "9223372036854775807", INT64_MAX },
        { "-9223372036854775808", INT64_MIN }, { "-9223372036854775807", -INT64_MAX },
    };
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        int64_t v = 7;
        T_CHECK(read_i64(taken[i].text, &v));
        T_EQ_I64(v, taken[i].v);
    }
    int64_t v = 7;
    T_CHECK(!resp_to_int(&(cellar_bytes){ "1\0", 2 }, &v)); /* a zero byte is no end of text */
}

T_CASE(cursors_wrap_like_strtoul)
{
    uint64_t v = 7;
    T_CHECK(resp_read_cursor("0018", 4, &v));
    T_EQ_U64(v, 18);
    T_CHECK(resp_read_cursor("-1", 2, &v));
    T_EQ_U64(v, UINT64_MAX);
    T_CHECK(resp_read_cursor("18446744073709551615", 20, &v));
    T_EQ_U64(v, UINT64_MAX);
    T_CHECK(!resp_read_cursor("18446744073709551616", 20, &v));
    T_CHECK(resp_read_cursor("", 0, &v) && v == 0);
    T_CHECK(!resp_read_cursor("-", 1, &v));
    T_CHECK(!resp_read_cursor(" 1", 2, &v));
    T_CHECK(!resp_read_cursor("1a", 2, &v));
    T_CHECK(!resp_read_cursor("+", 1, &v));
}

T_CASE(floats_refuse_what_the_server_refuses)
{
    static const char *const refused[] = { "", " 1", "\t1", "1 ", "abc", "nan", "1e99999", "1e-99999",
                                           "1,5", "--1" };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        long double v;
        if (!T_CHECK(!base_float_read(refused[i], strlen(refused[i]), &v))) {
            printf("# \"%s\"\n", refused[i]);
        }
    }
    char text[BASE_FLOAT_MAX];
    memset(text, '0', sizeof text);
    long double v;
    T_CHECK(!base_float_read(text, sizeof text, &v));
    T_CHECK(base_float_read(text, sizeof text - 1, &v));
    T_CHECK(base_float_read("0x10", 4, &v) && v == 16.0L);
    T_CHECK(base_float_read("5.0e3", 5, &v) && v == 5000.0L);
    T_CHECK(base_float_read("inf", 3, &v));
}

static const char *print(long double v)
{
    static char buf[BASE_FLOAT_MAX];
    buf[base_float_print(buf, v)] = '\0';
    return buf;
}

T_CASE(floats_print_without_zeros_or_exponent)
{
    T_EQ_STR(print(0.0L), "0");
    T_EQ_STR(print(-0.0L), "0");
    T_EQ_STR(print(5000.0L), "5000");
    T_EQ_STR(print(100.0L), "100");
    T_EQ_STR(print(-0.5L), "-0.5");
    T_EQ_STR(print(1e-17L), "0.00000000000000001");
    T_EQ_STR(print(1e-30L), "0");
    T_EQ_U64(strlen(print(1e300L)), 301);
    T_EQ_STR(print(1.0L / 0.0L), "");
    if (sizeof(long double) > 8) { /* 80 bits, as in the server on this processor */
        long double v;
        T_CHECK(base_float_read("5000.1", 6, &v));
        T_EQ_STR(print(v), "5000.10000000000000009");
    }
}

T_CASE(floats_ignore_the_locale_of_the_process)
{
    static const char *const with_comma[] = { "de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "ru_RU.UTF-8" };
    bool found = false;
    for (size_t i = 0; i < 4 && !found; i++) { found = setlocale(LC_ALL, with_comma[i]) != NULL; }
    if (!found) {
        T_SKIP("no locale with a decimal comma on this machine");
        return;
    }
    long double v;
    T_CHECK(base_float_read("1.5", 3, &v) && v == 1.5L);
    T_EQ_STR(print(1.5L), "1.5");
    (void)setlocale(LC_ALL, "C");
}

/* Split at blanks; at most 8 words, valid until the next call. */
static size_t words(const char *text, cellar_bytes out[8])
{
    size_t count = 0;
    while (*text != '\0' && count < 8) {
        const size_t len = strcspn(text, " ");
        out[count++] = (cellar_bytes){ text, len };
        text += len + (text[len] == ' ');
    }
    return count;
}

static const char *or_none(const char *error) { return error != NULL ? error : "none"; }

static const char *set_error(const char *text, resp_options *o)
{
    cellar_bytes w[8];
    return or_none(resp_options_set(w, words(text, w), o));
}

T_CASE(options_of_set_in_each_wrong_order_are_syntax_errors)
{
    static const char *const wrong[] = {
        "NX XX", "XX NX", "EX", "PX", "EX 1 PX", "EX 1 PX 1", "PX 1 EX 1", "EX 1 EXAT 1",
        "EXAT 1 PXAT 1", "KEEPTTL EX 1", "EX 1 KEEPTTL", "PXAT 1 KEEPTTL", "FOO", "PERSIST", "E",
        "NX 5", "GET GETS", "KEEPTTL PERSIST", "GT",
    };
    resp_options o;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        if (!T_EQ_STR(set_error(wrong[i], &o), "ERR syntax error")) { printf("# %s\n", wrong[i]); }
    }
}

T_CASE(options_of_set_may_come_in_any_order)
{
    resp_options o;
    T_EQ_STR(set_error("get nX ex 5", &o), "none");
    T_EQ_U64(o.flags, RESP_OPT_GET | RESP_OPT_NX);
    T_EQ_U64(o.unit, RESP_UNIT_EX);
    T_EQ_STR(set_error("PXAT 5 XX PXAT 77", &o), "none");
    T_EQ_U64(o.unit, RESP_UNIT_PXAT);
    T_EQ_U64(o.expire.len, 2); /* the last one counts */
    T_EQ_STR(set_error("KEEPTTL NX NX", &o), "none");
    T_EQ_STR(set_error("", &o), "none");
    T_EQ_U64(o.flags, 0);
}

T_CASE(options_of_getex_exclude_each_other)
{
    static const char *const wrong[] = { "NX", "KEEPTTL", "GET", "PERSIST EX 1", "EX 1 PERSIST",
                                         "EX", "EX 1 PX 1", "5" };
    cellar_bytes w[8];
    resp_options o;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const char *error = or_none(resp_options_getex(w, words(wrong[i], w), &o));
        if (!T_EQ_STR(error, "ERR syntax error")) { printf("# %s\n", wrong[i]); }
    }
    T_EQ_STR(or_none(resp_options_getex(w, words("PERSIST", w), &o)), "none");
    T_EQ_U64(o.flags, RESP_OPT_PERSIST);
}

T_CASE(options_of_expire_name_the_unknown_word)
{
    cellar_bytes w[8], unknown;
    resp_options o;
    T_EQ_STR(or_none(resp_options_expire(w, words("NX FOO", w), &o, &unknown)),
             "ERR Unsupported option ");
    T_EQ_MEM(unknown.data, "FOO", 3);
    T_EQ_STR(or_none(resp_options_expire(w, words("GT NX", w), &o, &unknown)),
             "ERR NX and XX, GT or LT options at the same time are not compatible");
    T_EQ_STR(or_none(resp_options_expire(w, words("LT GT", w), &o, &unknown)),
             "ERR GT and LT options at the same time are not compatible");
    T_EQ_STR(or_none(resp_options_expire(w, words("XX gt", w), &o, &unknown)), "none");
    T_EQ_U64(o.flags, RESP_OPT_XX | RESP_OPT_GT);
}

T_CASE(options_of_scan_and_copy)
{
    cellar_bytes w[8];
    resp_options o;
    T_EQ_STR(or_none(resp_options_scan(w, words("", w), &o)), "none");
    T_EQ_I64(o.count, 10);
    T_EQ_STR(or_none(resp_options_scan(w, words("TYPE string COUNT 7 MATCH a*", w), &o)), "none");
    T_EQ_I64(o.count, 7);
    T_EQ_U64(o.match.len, 2);
    T_EQ_STR(or_none(resp_options_scan(w, words("MATCH", w), &o)), "ERR syntax error");
    T_EQ_STR(or_none(resp_options_scan(w, words("COUNT 0", w), &o)), "ERR syntax error");
    T_EQ_STR(or_none(resp_options_scan(w, words("COUNT x", w), &o)),
             "ERR value is not an integer or out of range");
    T_EQ_STR(or_none(resp_options_scan(w, words("FOO 1", w), &o)), "ERR syntax error");
    T_EQ_STR(or_none(resp_options_copy(w, words("REPLACE DB 3", w), &o)), "none");
    T_EQ_I64(o.db, 3);
    T_EQ_U64(o.flags, RESP_OPT_REPLACE | RESP_OPT_DB);
    T_EQ_STR(or_none(resp_options_copy(w, words("DB", w), &o)), "ERR syntax error");
    T_EQ_STR(or_none(resp_options_copy(w, words("DB x", w), &o)),
             "ERR value is not an integer or out of range");
    T_EQ_STR(or_none(resp_options_copy(w, words("DB 99 FOO", w), &o)),
             "ERR DB index is out of range");
    T_EQ_STR(or_none(resp_options_copy(w, words("DB 4294967296", w), &o)),
             "ERR value is not an integer or out of range");
}

static resp_expire_answer at(const char *text, resp_unit unit, bool positive, int64_t *out)
{
    return resp_expire_read((cellar_bytes){ text, strlen(text) }, unit, 1000000, positive, out);
}

T_CASE(times_are_read_in_their_unit)
{
    int64_t ms = 0;
    T_EQ_U64(at("5", RESP_UNIT_EX, true, &ms), RESP_EXPIRE_OK);
    T_EQ_I64(ms, 1005000);
    T_EQ_U64(at("5", RESP_UNIT_PX, true, &ms), RESP_EXPIRE_OK);
    T_EQ_I64(ms, 1000005);
    T_EQ_U64(at("5", RESP_UNIT_EXAT, true, &ms), RESP_EXPIRE_OK);
    T_EQ_I64(ms, 5000);
    T_EQ_U64(at("9223372036854775807", RESP_UNIT_PXAT, true, &ms), RESP_EXPIRE_OK);
    T_EQ_I64(resp_expire_ttl(ms, 1000000), INT64_MAX - 1000000);
    T_EQ_U64(at("0", RESP_UNIT_EX, true, &ms), RESP_EXPIRE_INVALID);
    T_EQ_U64(at("-1", RESP_UNIT_PXAT, true, &ms), RESP_EXPIRE_INVALID);
    T_EQ_U64(at("9223372036854775", RESP_UNIT_EX, true, &ms), RESP_EXPIRE_INVALID);
    T_EQ_U64(at("9223372036854775807", RESP_UNIT_EX, false, &ms), RESP_EXPIRE_INVALID);
    T_EQ_U64(at("9223372036854775807", RESP_UNIT_PX, false, &ms), RESP_EXPIRE_INVALID);
    T_EQ_U64(at("-9223372036854775808", RESP_UNIT_EXAT, false, &ms), RESP_EXPIRE_INVALID);
    T_EQ_U64(at("-9223372036854775808", RESP_UNIT_PX, false, &ms), RESP_EXPIRE_OK);
    T_EQ_I64(resp_expire_ttl(ms, 1000000), 0);
    T_EQ_U64(at("x", RESP_UNIT_EX, true, &ms), RESP_EXPIRE_NOT_INTEGER);
    T_EQ_I64(resp_expire_ttl(1000000, 1000000), 0);
    T_EQ_I64(resp_expire_ttl(1000001, 1000000), 1);
}

T_MAIN("resp_text")
