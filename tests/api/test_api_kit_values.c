/* SPDX-License-Identifier: MIT
 *
 * Aim:    Numbers and vectors come back as stored. No piece of a secret survives redaction.
 * Method: values at the ends of their ranges; planted secrets in random texts. */
#include "tests/support/api_kit.h"
#include "tests/support/draw.h"

#include <math.h>

#include "cellar_kit.h"

#define STORE(fn) T_WITH(fn, cellar *c, c, api_open(8u << 20), api_shut(c))

/* ---- numbers and vectors ---- */

T_CASE_ON(numbers_come_back_as_stored, STORE)
{
    static const int64_t ints[] = { 0, 1, -1, INT64_MIN, INT64_MAX };
    static const double reals[] = { 0.0, -0.0, 1.5, -1e300, INFINITY };
    for (size_t i = 0; i < 5; i++) {
        int64_t x = 5;
        double y = 5;
        T_EQ_I64(cellar_set_i64(c, "i", 1, ints[i], NULL), CELLAR_OK);
        T_EQ_I64(cellar_get_i64(c, "i", 1, &x), CELLAR_OK);
        T_EQ_I64(x, ints[i]);
        T_EQ_I64(cellar_set_f64(c, "f", 1, reals[i], NULL), CELLAR_OK);
        T_EQ_I64(cellar_get_f64(c, "f", 1, &y), CELLAR_OK);
        T_CHECK(memcmp(&y, &reals[i], sizeof y) == 0);
    }
    int64_t x = 5, now = 0;
    T_EQ_I64(cellar_set_i64(c, "i", 1, 41, NULL), CELLAR_OK);
    T_EQ_I64(cellar_increment(c, "i", 1, 1, 0, NULL, &now), CELLAR_OK); /* a counter */
    T_EQ_I64(now, 42);
    T_EQ_I64(cellar_get_i64(c, "none", 4, &x), CELLAR_MISS);
    T_EQ_I64(x, 0);
    for (size_t len = 0; len < 12; len++) {
        T_EQ_I64(cellar_set(c, "v", 1, "0123456789ab", len, NULL), CELLAR_OK);
        T_EQ_I64(cellar_get_i64(c, "v", 1, &x), len == 8 ? CELLAR_OK : CELLAR_E_TYPE);
    }
    T_EQ_I64(cellar_get_i64(c, "v", 1, NULL), CELLAR_E_INVAL);
}

T_CASE_ON(vectors_come_back_as_stored, STORE)
{
    static float x[3000], y[3000];
    unsigned char bytes[4];
    for (size_t i = 0; i < 3000; i++) { x[i] = (float)i * 0.25f - 100.0f; }
    for (size_t n = 0; n <= 3000; n = n * 2 + 1) {
        size_t count = 1;
        memset(y, 0, sizeof y);
        T_EQ_I64(cellar_set_f32s(c, "v", 1, x, n, NULL), CELLAR_OK);
        T_EQ_I64(cellar_get_f32s(c, "v", 1, y, 3000, &count), CELLAR_OK);
        T_EQ_U64(count, n);
        T_CHECK(memcmp(x, y, n * sizeof *x) == 0);
        if (n == 0) { continue; }
        T_EQ_I64(cellar_get_f32s(c, "v", 1, NULL, 0, &count), CELLAR_E_BUFFER);
        T_EQ_U64(count, n);
    }
    const float one = 1.0f; /* IEEE 754: 3f800000 */
    T_EQ_I64(cellar_set_f32s(c, "v", 1, &one, 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_get(c, "v", 1, bytes, 4, NULL), CELLAR_OK);
    T_CHECK(memcmp(bytes, "\x00\x00\x80\x3f", 4) == 0);
    T_EQ_I64(cellar_set(c, "v", 1, "12345", 5, NULL), CELLAR_OK);
    T_EQ_I64(cellar_get_f32s(c, "v", 1, y, 3000, NULL), CELLAR_E_TYPE);
    T_EQ_I64(cellar_set_f32s(c, "v", 1, NULL, 1, NULL), CELLAR_E_INVAL);
}

/* ---- texts without secrets ---- */

T_CASE(secrets_are_masked_and_the_rest_stays)
{
    static const struct { const char *in, *out; } rows[] = {
        { "token=abcdefghij", "token=abc***" },
        { "Token: abcdefghij rest", "Token: abc*** rest" },
        { "\"api_key\": \"abcdefghij\", \"x\": 1", "\"api_key\": \"abc***\", \"x\": 1" },
        { "password=short", "password=***" },
        { "Authorization: Basic YWxhZGRpbjpvcGVu\r\nHost: a", "Authorization: Bas***\r\nHost: a" },
        { "cookie: a=1; b=2\nx", "cookie: a=1***\nx" },
        { "key sk-abcdefghij end", "key sk-*** end" },
        { "Bearer abcdefghij.k", "Bearer abc***" },
        { "http://user:pass@host/path", "http://***@host/path" },
        { "http://host/a@b", "http://host/a@b" },
        { "tokens=abcdefghij", "tokens=abcdefghij" },
        { "refresh_token=abcdefghij&a=b", "refresh_token=abc***&a=b" },
        { "no secret: here", "no secret: ***" },
        { "a token of thanks", "a token of thanks" },
        { "task-abcdefgh", "task-abcdefgh" },
        { "token=", "token=" },
        { "password=p\xc3\xa4ssword123 x", "password=p\xc3\xa4*** x" },
        { "token=\xc3\x84" "bcdefgh", "token=\xc3\x84" "b***" },
        { "ftp://u:p\xc3\xa4@host", "ftp://***@host" },
        { "token: Bearer abcdefghijkl", "token: Bea***" },
        { "a Bearer token: abcdefghijkl x", "a Bearer tok*** x" },
        { "token=abc,password=\"abcdefghij\" x", "token=abc***\" x" },
        { "token= password: abcdefghij x", "token= pas*** x" },
        { "sk-;password: abcdefghij x", "sk-*** x" },
        { "Bearer Bearer abcdefghij x", "Bearer Bea*** x" },
        { "token='password': 'abcdefghij' x", "token='pas***' x" },
        { "token=//u&x:abcdefghij@host x", "token=//u***@host x" },
        { "//;token=abc@defghijkl x", "//*** x" },
        { "token=api_key=abc&a=b", "token=api***&a=b" },
        { "\"secret\":\"a\\\"bcdefgh\"", "\"secret\":\"a\\\"***\"" },
        /* JSON in strings of JSON */
        { "{\"b\":\"{\\\"password\\\":\\\"abc def ghi\\\"}\",\"n\":1}",
          "{\"b\":\"{\\\"password\\\":\\\"abc***\\\"}\",\"n\":1}" },
        { "{\"b\":\"{\\\"password\\\": \\\"a b\\\\\\\" c d e f\\\\\\\\\\\", 1}\", 2",
          "{\"b\":\"{\\\"password\\\": \\\"a b***\\\", 1}\", 2" },
        { "\"{\\\"b\\\":\\\"{\\\\\\\"token\\\\\\\":\\\\\\\"abcd efgh\\\\\\\"}\\\"} x\"",
          "\"{\\\"b\\\":\\\"{\\\\\\\"token\\\\\\\":\\\\\\\"abc***\\\\\\\"}\\\"} x\"" },
        { "{\\\"token\\\":123456789,\\\"x\\\":1}", "{\\\"token\\\":123***\"x\\\":1}" },
        { "\"{\\\"cookie\\\":\\\"abcd efgh\" x", "\"{\\\"cookie\\\":\\\"abc***\" x" },
        { "\"{\\u0022token\\u0022: \\u0022abcd efgh\\u0022}\" x",
          "\"{\\u0022token\\u0022: \\u0022abc***\" x" },
        { "\"a\\nToken: abcdefgh\\r\\nb c\"", "\"a\\nToken: abc*** c\"" },
        { "\"\\tsk-abcdefgh\" x", "\"\\tsk-***\" x" },
        { "token=a,secret\\u0022:\\u0022ab cd\" x", "token=a,s***\" x" },
        { "token=\\", "token=***" },
        { "token=\\\\\"abcd efgh\\\" x\" y", "token=\\\\\"abc***\" y" },
        { "token\\", "token\\" },
        { "", "" }
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[128];
        const size_t n = cellar_redact(rows[i].in, strlen(rows[i].in), out, sizeof out);
        T_EQ_STR(out, rows[i].out);
        T_EQ_U64(n, strlen(rows[i].out));
        for (size_t cap = 0; cap <= n; cap++) { /* what fits, terminated; the full length */
            char part[128];
            memset(part, '#', sizeof part);
            T_EQ_U64(cellar_redact(rows[i].in, strlen(rows[i].in), part, cap), n);
            T_CHECK(part[cap] == '#');
            T_CHECK(cap == 0 || (part[cap - 1] == '\0' && memcmp(part, out, cap - 1) == 0));
        }
    }
    T_EQ_U64(cellar_redact(NULL, 1, NULL, 0), 0);
}

T_CASE(no_eight_bytes_of_a_planted_secret_survive)
{
    static const char *const before_it[] = {
        "token=", "Password: ", "\"access_token\":\"", "x-api-key: ", "Bearer ", "secret = '",
        "https://u:", "api-key=", "Set-Cookie: ",
        "{\\\"password\\\":\\\"", "\\\\\\\"token\\\\\\\": \\\\\\\"",
        "\\u0022secret\\u0022:\\u0022"
    };
    static const char *const after_it[] = { "", " end", "\"", "\n", "", "'", "@host", "&b=1",
                                           "\r\n", "\\\"", "\\\\\\\"", "\\u0022" };
    static const char letters[] = "abcXYZ019-_.~+/=,;:()[]{}%\x80\xff";
    static const char noise[] = "ab :=\"'/\n-_sktoken@";
    draw_state = t_seed() + 2;
    for (uint64_t round = 0; round < t_share(200000) / T_COST + 2000 && !t_failed(); round++) {
        char secret[24], text[160], out[640];
        const size_t n = 8 + draw(15), which = draw(12);
        for (size_t i = 0; i < n; i++) { secret[i] = letters[draw(which == 6 ? 14 : 28)]; }
        if (which == 6) { /* a '/' ends the host of a URL */
            for (size_t i = 0; i < n; i++) { secret[i] = secret[i] == '/' ? 'q' : secret[i]; }
        }
        secret[n] = '\0';
        char start[24];
        const size_t m = draw(20);
        for (size_t i = 0; i < m; i++) { start[i] = noise[draw(sizeof noise - 1)]; }
        start[m] = '\0';
        snprintf(text, sizeof text, "%s\n%s%s%s", start, before_it[which], secret, after_it[which]);
        (void)cellar_redact(text, strlen(text), out, sizeof out);
        for (size_t i = 0; i + 8 <= n; i++) {
            char piece[9];
            memcpy(piece, secret + i, 8);
            piece[8] = '\0';
            if (!T_CHECK(strstr(out, piece) == NULL)) { printf("# %s -> %s\n", text, out); }
        }
    }
}

T_MAIN("api_kit_values")
