/* SPDX-License-Identifier: MIT
 *
 * Aim:    the commands of the groups read and write do what the table of their semantics says, on
 *         entries that clients and the process share.
 * Method: conversations with a port in the thread of the test; the clock of the store is virtual.
 *         The replies are those of redis-server 7.0.15 unless the case names a difference. */
#include "tests/support/port_kit.h"

#include "base/float_text.h"
#include "cellar_object.h"

#include <locale.h>

static resp_kit k;

T_ONE_THREAD;

#define INTEGER "-ERR value is not an integer or out of range"
#define SYNTAX  "-ERR syntax error"
#define FLOAT   "-ERR value is not a valid float"
#define TIME(command) "-ERR invalid expire time in '" command "' command"

/* Check that a command with each of these words behind it gets this reply. */
static void each_replies(const char *command, const char *const *words, size_t count,
                         const char *reply)
{
    char line[256];
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(line, sizeof line, "%s %s", command, words[i]);
        if (!T_EQ_STR(rk_line(&k, line), reply)) { printf("# %s\n", line); }
    }
}
#define EACH_REPLIES(command, words, reply) \
    each_replies((command), (words), sizeof(words) / sizeof((words)[0]), (reply))

T_CASE(set_options_decide_what_is_stored)
{
    rk_open(&k, true);
    static const char *const talk[][2] = {
        { "SET a 1", "+OK" }, { "GET a", "1" }, { "SET a 2 NX", "nil" }, { "GET a", "1" },
        { "SET b 2 XX", "nil" }, { "GET b", "nil" }, { "SET b 2 NX", "+OK" },
        { "SET b 3 XX", "+OK" }, { "SET b 4 GET", "3" }, { "SET c 4 GET", "nil" },
        { "SET c 5 NX GET", "4" }, { "GET c", "4" }, { "SET d 5 XX GET", "nil" },
        { "GET d", "nil" }, { "SET d 5 NX GET", "nil" }, { "GET d", "5" },
        { "SET a 9 EX 100", "+OK" }, { "TTL a", ":100" }, { "SET a 9 KEEPTTL", "+OK" },
        { "TTL a", ":100" }, { "SET a 9 KEEPTTL GET", "9" }, { "TTL a", ":100" },
        { "SET a 9", "+OK" }, { "TTL a", ":-1" },
        { "SET a 9 PX 1500", "+OK" }, { "PTTL a", ":1500" }, { "TTL a", ":2" },
        { "SET a 9 EXAT 1", "+OK" }, { "GET a", "nil" },
        { "SET b 1 EXAT 1 GET", "4" }, { "GET b", "nil" }, { "SET x 1 EXAT 1 XX", "nil" },
        { "SET x 1 EXAT 1 NX", "+OK" }, { "EXISTS x", ":0" },
        { "SET a 9 EX 0", TIME("set") },
        { "SET a 9 EX 9223372036854775", TIME("set") }, { "SET a 9 PXAT -1", TIME("set") },
        { "SET a 9 EX abc", INTEGER }, { "GET a", "nil" },
        { "SET a 9 get nX ex 5", "nil" }, { "TTL a", ":5" }, /* in any order, of any case */
        { "SET a 9 PXAT 5 XX PXAT 9223372036854775807", "+OK" }, /* the last one counts */
        { "SET e 1 KEEPTTL NX NX", "+OK" }, { "MGET a e", "[9 1]" },
        { "SETEX a 10 v", "+OK" }, { "TTL a", ":10" },
        { "SETEX a 0 v", TIME("setex") },
        { "PSETEX a -1 v", TIME("psetex") },
        { "PSETEX a 700 v", "+OK" }, { "PTTL a", ":700" },
        { "SETNX a 1", ":0" }, { "SETNX new 1", ":1" }, { "GETSET a w", "v" }, { "TTL a", ":-1" },
        { "GETSET none w", "nil" }, { "GET none", "w" },
    };
    static const char *const wrong[] = {
        "NX XX", "XX NX", "EX", "PX", "EX 1 PX", "EX 1 PX 1", "PX 1 EX 1", "EX 1 EXAT 1",
        "EXAT 1 PXAT 1", "KEEPTTL EX 1", "EX 1 KEEPTTL", "PXAT 1 KEEPTTL", "FOO", "PERSIST", "E",
        "NX 5", "GET GETS", "KEEPTTL PERSIST", "GT",
    };
    RK_TALK(&k, talk);
    EACH_REPLIES("SET other 9", wrong, SYNTAX);
    T_EQ_STR(rk_line(&k, "EXISTS other"), ":0");
}

T_CASE(values_expire_with_the_clock_of_the_store)
{
    rk_open(&k, true);
    T_EQ_STR(rk_line(&k, "SET a 1 PX 1000"), "+OK");
    atomic_fetch_add(&api_now_ms, 999);
    T_EQ_STR(rk_line(&k, "PTTL a"), ":1");
    atomic_fetch_add(&api_now_ms, 1);
    T_EQ_STR(rk_line(&k, "GET a"), "nil");
    T_EQ_STR(rk_line(&k, "TTL a"), ":-2");
    T_EQ_STR(rk_line(&k, "EXISTS a"), ":0");
    T_EQ_STR(rk_line(&k, "KEYS *"), "[]");
    T_EQ_STR(rk_line(&k, "DBSIZE"), ":0");
}

/* The faulty sequence: a rule with ttl=10m, SET without a time, and the entry never ended. */
T_CASE(write_without_a_ttl_takes_that_of_the_operator)
{
    static const cellar_policy_rule rules[] = {
        { .struct_size = sizeof *rules, .section = "db0", .pattern = "s:{n}", .ttl_ms = 600000 },
        { .struct_size = sizeof *rules, .section = "db1", .kind = CELLAR_POLICY_SET,
          .ttl_ms = 3600000 },
    };
    static const char *const talk[][2] = {
        { "SET s:1 v", "+OK" }, { "TTL s:1", ":600" }, { "MSET s:2 v s:3 v", "+OK" },
        { "TTL s:3", ":600" }, { "INCR s:4", ":1" }, { "TTL s:4", ":600" },
        { "INCRBYFLOAT s:f 1", "1" }, { "TTL s:f", ":600" }, { "SETNX s:5 v", ":1" },
        { "TTL s:5", ":600" }, { "APPEND s:6 v", ":1" }, { "TTL s:6", ":600" },
        { "SETRANGE s:7 0 v", ":1" }, { "TTL s:7", ":600" }, { "GETSET s:8 v", "nil" },
        { "TTL s:8", ":600" }, { "SET s:9 v KEEPTTL", "+OK" }, { "TTL s:9", ":600" },
        { "MSETNX s:a v", ":1" }, { "TTL s:a", ":600" }, { "SET s:1 v EX 33", "+OK" },
        { "TTL s:1", ":33" }, { "SET s:1 v", "+OK" }, { "TTL s:1", ":600" },
        { "SET other v", "+OK" }, { "TTL other", ":300" }, { "INCR count", ":1" },
        { "TTL count", ":300" }, { "SELECT 1", "+OK" }, { "SET s:1 v", "+OK" },
        { "TTL s:1", ":3600" },
    };
    static const char *const kept[][2] = {
        { "SELECT 0", "+OK" }, { "PERSIST s:1", ":1" }, { "TTL s:1", ":-1" },
        { "SET s:1 7 KEEPTTL", "+OK" }, { "INCR s:1", ":8" }, { "APPEND s:1 1", ":2" },
        { "TTL s:1", ":-1" }, { "COPY s:1 s:copy", ":1" }, { "TTL s:copy", ":-1" },
        { "RENAME s:1 s:new", "+OK" }, { "TTL s:new", ":-1" }, { "EXPIRE s:4 33", ":1" },
        { "INCR s:4", ":2" }, { "APPEND s:4 1", ":2" }, { "TTL s:4", ":33" },
        { "SET s:4 1 KEEPTTL", "+OK" }, { "COPY s:4 s:copy REPLACE", ":1" }, { "TTL s:copy", ":33" },
        { "RENAME s:4 s:new", "+OK" }, { "TTL s:new", ":33" }, { "GETEX s:2 PERSIST", "v" },
        { "TTL s:2", ":-1" },
    };
    settings cfg = api_config(8 << 20);
    cfg.config.default_ttl_ms = 300000;
    cfg.config.rules = rules;
    cfg.config.rule_count = 2;
    rk_open_on(&k, api_open_with(&cfg), rk_all_allowed);
    RK_TALK(&k, talk);
    RK_TALK(&k, kept);
}

T_CASE(counters_are_decimal_text)
{
    rk_open(&k, true);
    static const char *const talk[][2] = {
        { "INCR n", ":1" }, { "TTL n", ":-1" }, { "INCRBY n 10", ":11" }, { "DECR n", ":10" },
        { "DECRBY n 3", ":7" }, { "GET n", "7" }, { "EXPIRE n 50", ":1" }, { "INCR n", ":8" },
        { "TTL n", ":50" }, { "INCRBY n abc", INTEGER }, { "INCRBY n 1.5", INTEGER },
        { "INCRBY n 9223372036854775807", "-ERR increment or decrement would overflow" },
        { "DECRBY n -9223372036854775808", "-ERR decrement would overflow" }, { "GET n", "8" },
        { "SET t 1.5", "+OK" }, { "INCR t", INTEGER },
        { "SET t 9223372036854775807", "+OK" },
        { "INCR t", "-ERR increment or decrement would overflow" },
    };
    static const char *const taken[] = { "0", "-1", "10", "9223372036854775807",
                                         "-9223372036854775808", "-9223372036854775807" };
    static const char *const refused[] = {
        "", "-", "+5", " 5", "5 ", "05", "-0", "-05", "1.5", "abc", "0x10", "--1", "00",
        "9223372036854775808", "-9223372036854775809", "18446744073709551616",
        "99999999999999999999999",
    };
    RK_TALK(&k, talk);
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++) {
        T_EQ_STR(rk(&k, "SET", "t", taken[i], NULL), "+OK");
        T_EQ_STR(rk_line(&k, "INCRBY t 0") + 1, taken[i]);
    }
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        T_EQ_STR(rk(&k, "SET", "t", refused[i], NULL), "+OK");
        if (!T_EQ_STR(rk_line(&k, "INCR t"), INTEGER) ||
            !T_EQ_STR(rk(&k, "INCRBY", "n", refused[i], NULL), INTEGER)) {
            printf("# \"%s\"\n", refused[i]);
        }
    }
    const rc_word zero[] = { { "INCRBY", 6 }, { "n", 1 }, { "1\0", 2 } }; /* no end of text */
    T_EQ_STR(rk_words(&k, zero, 3), INTEGER);
}

T_CASE(floats_have_neither_zeros_at_their_end_nor_an_exponent)
{
    static const char *const talk[][2] = {
        { "INCRBYFLOAT a 2.5", "2.5" }, { "INCRBYFLOAT a 0x10", "18.5" },
        { "INCRBYFLOAT a inf", "-ERR increment would produce NaN or Infinity" },
        { "INCRBYFLOAT b 5.0e3", "5000" }, { "INCRBYFLOAT c -0.5", "-0.5" },
        { "INCRBYFLOAT d 1e-17", "0.00000000000000001" }, { "INCRBYFLOAT e 1e-30", "0" },
        { "INCRBYFLOAT f 0", "0" }, { "SET g -0", "+OK" }, { "INCRBYFLOAT g -0", "0" },
        { "SET i abc", "+OK" }, { "INCRBYFLOAT i 1", FLOAT },
    };
    static const char *const refused[] = { "", " 1", "\t1", "1 ", "abc", "nan", "1e99999",
                                           "1e-99999", "1,5", "--1" };
    static char zeros[BASE_FLOAT_MAX + 1];
    rk_open(&k, true);
    RK_TALK(&k, talk);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        if (!T_EQ_STR(rk(&k, "INCRBYFLOAT", "a", refused[i], NULL), FLOAT)) {
            printf("# \"%s\"\n", refused[i]);
        }
    }
    memset(zeros, '0', BASE_FLOAT_MAX);
    T_EQ_STR(rk(&k, "INCRBYFLOAT", "f", zeros, NULL), FLOAT);
    T_EQ_STR(rk(&k, "INCRBYFLOAT", "f", zeros + 1, NULL), "0");
    T_EQ_U64(strlen(rk_line(&k, "INCRBYFLOAT h 1e300")), 301);
    if (sizeof(long double) > 8) { /* 80 bits, as in the server on this processor */
        T_EQ_STR(rk_line(&k, "INCRBYFLOAT j 5000.1"), "5000.10000000000000009");
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
    rk_open(&k, true);
    T_EQ_STR(rk_line(&k, "INCRBYFLOAT a 1.5"), "1.5");
    (void)setlocale(LC_ALL, "C");
}

T_CASE(a_counter_of_the_process_reads_as_its_bytes)
{
    rk_open(&k, true);
    int64_t now = 0;
    T_EQ_I64(cellar_increment(k.db, "visits", 6, 258, 0, NULL, &now), CELLAR_OK);
    T_EQ_STR(rk_line(&k, "GET visits"), "\\x02\\x01\\x00\\x00\\x00\\x00\\x00\\x00");
    T_EQ_STR(rk_line(&k, "INCR visits"), INTEGER);
    T_CHECK(strstr(rk_line(&k, "CELLAR.META visits"), "counter :258") != NULL);
    T_EQ_STR(rk_line(&k, "SET visits 12345678"), "+OK"); /* 8 bytes of decimal text */
    T_CHECK(strstr(rk_line(&k, "CELLAR.META visits"), "counter") == NULL);
    T_EQ_STR(rk_line(&k, "INCR visits"), ":12345679");
}

T_CASE(parts_of_values_are_read_and_written)
{
    rk_open(&k, true);
    static const char *const talk[][2] = {
        { "APPEND a abc", ":3" }, { "APPEND a def", ":6" }, { "GET a", "abcdef" },
        { "STRLEN a", ":6" }, { "STRLEN none", ":0" }, { "GETRANGE a 0 2", "abc" },
        { "GETRANGE a -3 -1", "def" }, { "GETRANGE a 0 -1", "abcdef" }, { "GETRANGE a 4 99", "ef" },
        { "GETRANGE a -99 1", "ab" }, { "GETRANGE a 3 1", "" }, { "GETRANGE a -1 -3", "" },
        { "GETRANGE none 0 -1", "" }, { "GETRANGE a x 1", INTEGER }, { "SUBSTR a 1 2", "bc" },
        { "SETRANGE a 2 XY", ":6" }, { "GET a", "abXYef" }, { "SETRANGE b 3 z", ":4" },
        { "GET b", "\\x00\\x00\\x00z" }, { "SETRANGE a -1 z", "-ERR offset is out of range" },
        { "SETRANGE a 536870912 z",
          "-ERR string exceeds maximum allowed size (proto-max-bulk-len)" },
        { "SETRANGE a 9223372036854775807 z",
          "-ERR string exceeds maximum allowed size (proto-max-bulk-len)" },
        { "GET a", "abXYef" }, { "EXPIRE a 40", ":1" }, { "APPEND a !", ":7" },
        { "SETRANGE a 0 Z", ":7" }, { "TTL a", ":40" },
    };
    RK_TALK(&k, talk);
    T_EQ_STR(rk(&k, "SETRANGE", "fresh", "5", "", NULL), ":0");
    T_EQ_STR(rk_line(&k, "EXISTS fresh"), ":0");
    T_EQ_STR(rk(&k, "SETRANGE", "a", "50", "", NULL), ":7");
}

T_CASE(getdel_and_getex_return_the_value_they_change)
{
    rk_open(&k, true);
    static const char *const talk[][2] = {
        { "SET a v", "+OK" }, { "GETEX a EX 100", "v" }, { "TTL a", ":100" }, { "GETEX a", "v" },
        { "TTL a", ":100" }, { "GETEX a PERSIST", "v" }, { "TTL a", ":-1" },
        { "GETEX a PX 250", "v" }, { "PTTL a", ":250" },
        { "GETEX a EX 0", TIME("getex") },
        { "GETEX none EX 0", "nil" }, { "GETEX a EX x", INTEGER },
        { "GETEX none PERSIST", "nil" }, { "GETEX a EXAT 1", "v" }, { "GET a", "nil" },
        { "SET a w", "+OK" }, { "GETDEL a", "w" }, { "GETDEL a", "nil" }, { "EXISTS a", ":0" },
    };
    static const char *const wrong[] = { "NX", "KEEPTTL", "GET", "PERSIST EX 1", "EX 1 PERSIST",
                                         "EX", "EX 1 PX 1", "5" };
    RK_TALK(&k, talk);
    EACH_REPLIES("GETEX a", wrong, SYNTAX);
}

T_CASE(expire_honours_its_conditions)
{
    rk_open(&k, true);
    static const char *const talk[][2] = {
        { "EXPIRE none 10", ":0" }, { "SET a v", "+OK" }, { "EXPIRE a 100 XX", ":0" },
        { "EXPIRE a 100 GT", ":0" }, { "EXPIRE a 100 NX", ":1" }, { "EXPIRE a 200 NX", ":0" },
        { "EXPIRE a 50 GT", ":0" }, { "EXPIRE a 200 GT", ":1" }, { "EXPIRE a 300 LT", ":0" },
        { "EXPIRE a 50 LT", ":1" }, { "TTL a", ":50" }, { "PERSIST a", ":1" },
        { "PERSIST a", ":0" }, { "PERSIST none", ":0" }, { "EXPIRE a 70 LT", ":1" },
        { "PEXPIRE a 1234", ":1" }, { "PTTL a", ":1234" },
        { "EXPIRE a abc", INTEGER }, { "EXPIRE a 10 FOO", "-ERR Unsupported option FOO" },
        { "EXPIRE a 10 NX GT", "-ERR NX and XX, GT or LT options at the same time are not "
                               "compatible" },
        { "EXPIRE a 10 LT GT", "-ERR GT and LT options at the same time are not compatible" },
        { "EXPIRE a 9223372036854775807", TIME("expire") },
        { "PEXPIRE a 9223372036854775807", TIME("pexpire") },
        { "EXPIREAT a -9223372036854775808", TIME("expireat") },
        { "EXPIRE a 10 XX gt", ":1" }, { "TTL a", ":10" },
        { "PEXPIRE a -9223372036854775808", ":1" }, { "EXISTS a", ":0" }, { "SET a v", "+OK" },
        { "EXPIRE a 0", ":1" }, { "EXISTS a", ":0" }, { "SET a v", "+OK" },
        { "EXPIREAT a 1", ":1" }, { "EXISTS a", ":0" }, { "SET a v", "+OK" },
        { "PEXPIREAT a 4102444800000", ":1" }, { "EXPIRETIME a", ":4102444800" },
        { "EXPIREAT a 4102444801", ":1" }, { "EXPIRETIME none", ":-2" }, { "PERSIST a", ":1" },
        { "PEXPIRETIME a", ":-1" }, { "EXPIRE a -5", ":1" }, { "GET a", "nil" },
    };
    RK_TALK(&k, talk);
}

T_CASE(several_keys_count_as_named)
{
    rk_open(&k, true);
    static const char *const talk[][2] = {
        { "MSET a 1 b 2 a 3", "+OK" }, { "MGET a none b a", "[3 nil 2 3]" },
        { "MSET a", "-ERR wrong number of arguments for 'mset' command" },
        { "MSET a 1 b", "-ERR wrong number of arguments for 'mset' command" },
        { "MSETNX a 1 c 1", ":0" }, { "EXISTS c", ":0" }, { "MSETNX c 1 d 1", ":1" },
        { "EXISTS a b a none", ":3" }, { "TOUCH a none b", ":2" }, { "TYPE a", "+string" },
        { "TYPE none", "+none" }, { "DEL a a none", ":1" }, { "UNLINK b c", ":2" },
        { "EXPIRE d 10", ":1" }, { "MSET d 2", "+OK" }, { "TTL d", ":-1" }, { "DBSIZE", ":1" },
    };
    RK_TALK(&k, talk);
}

T_CASE(rename_and_copy_carry_value_and_ttl)
{
    rk_open(&k, true);
    static const char *const talk[][2] = {
        { "RENAME none b", "-ERR no such key" }, { "RENAMENX none b", "-ERR no such key" },
        { "SET a v EX 100", "+OK" }, { "SET b w", "+OK" }, { "RENAMENX a b", ":0" },
        { "RENAME a b", "+OK" }, { "GET a", "nil" }, { "GET b", "v" }, { "TTL b", ":100" },
        { "RENAME b b", "+OK" }, { "RENAMENX b b", ":0" }, { "RENAMENX b c", ":1" },
        { "COPY c d", ":1" }, { "TTL d", ":100" }, { "COPY c d", ":0" },
        { "COPY c d REPLACE", ":1" }, { "COPY none e", ":0" },
        { "COPY c c", "-ERR source and destination objects are the same" },
        { "COPY c c DB 3", ":1" }, { "COPY c x DB 99", "-ERR DB index is out of range" },
        { "COPY c x DB y", INTEGER }, { "COPY c x FOO", SYNTAX }, { "COPY c x DB", SYNTAX },
        { "COPY c x DB 99 FOO", "-ERR DB index is out of range" },
        { "COPY c x DB 4294967296", INTEGER },
        { "SELECT 3", "+OK" }, { "GET c", "v" }, { "TTL c", ":100" }, { "FLUSHDB", "+OK" },
        { "DBSIZE", ":0" }, { "SELECT 0", "+OK" }, { "DBSIZE", ":2" }, { "FLUSHALL ASYNC", "+OK" },
        { "DBSIZE", ":0" }, { "FLUSHDB FOO", SYNTAX },
    };
    RK_TALK(&k, talk);
}

/* Run a whole SCAN: a slow machine needs several steps of 1 ms. Return the number of keys, those
 * that `seen` counts, "key:N", each once. */
static size_t scanned(const char *words, bool *seen)
{
    char cursor[32] = "0", line[200];
    size_t count = 0;
    if (seen != NULL) { memset(seen, 0, 1000 * sizeof *seen); }
    do {
        snprintf(line, sizeof line, "SCAN %s%s", cursor, words);
        char *text = (char *)(uintptr_t)rk_line(&k, line); /* "[cursor [k1 k2]]" */
        char *rest = NULL, *word = strtok_r(text, "[] ", &rest);
        T_REQUIRE(word != NULL);
        snprintf(cursor, sizeof cursor, "%s", word);
        while ((word = strtok_r(NULL, "[] ", &rest)) != NULL) {
            unsigned n = 0;
            T_REQUIRE(seen == NULL || (sscanf(word, "key:%u", &n) == 1 && n < 1000));
            count += seen == NULL || !seen[n];
            if (seen != NULL) { seen[n] = true; }
        }
    } while (strcmp(cursor, "0") != 0);
    return count;
}

T_CASE(scan_shows_each_key)
{
    static bool seen[1000];
    rk_open(&k, true);
    for (int i = 0; i < 1000; i++) {
        char key[16];
        const int len = snprintf(key, sizeof key, "key:%d", i);
        T_EQ_I64(cellar_set(k.db, key, (size_t)len, "v", 1, NULL), CELLAR_OK);
    }
    T_EQ_U64(scanned("", seen), 1000);
    T_EQ_U64(scanned(" COUNT 1", seen), 1000);
    T_EQ_U64(scanned(" COUNT 5000 MATCH key:*", seen), 1000);
    T_EQ_U64(scanned(" MATCH key:?", seen), 10);
    T_EQ_U64(scanned(" TYPE string MATCH key:1[0-4]?", seen), 50);
    T_EQ_U64(scanned(" TYPE list", seen), 0);
    T_EQ_STR(rk_line(&k, "DBSIZE"), ":1000");
    size_t words = 0;
    for (const char *p = rk_line(&k, "KEYS *"); (p = strstr(p, "key:")) != NULL; p++) { words++; }
    T_EQ_U64(words, 1000);
    T_EQ_STR(rk_line(&k, "KEYS key:99?x"), "[]");
    T_CHECK(strncmp(rk_line(&k, "RANDOMKEY"), "key:", 4) == 0);
    static const char *const wrong[] = { "COUNT 0", "MATCH", "FOO 1" };
    EACH_REPLIES("SCAN 0", wrong, SYNTAX);
    T_EQ_STR(rk_line(&k, "SCAN 0 COUNT x"), INTEGER);
    static const char *const cursors[] = { "abc", "18446744073709551616", "-", "1a", "+" };
    EACH_REPLIES("SCAN", cursors, "-ERR invalid cursor");
    T_EQ_STR(rk(&k, "SCAN", " 1", NULL), "-ERR invalid cursor");
    static const char *const odd[] = { "18446744073709551615", "12345678901234567", "-1", "0018", "" };
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) { /* cursors that were never given out */
        T_CHECK(rk(&k, "SCAN", odd[i], NULL)[0] == '[');
    }
}

static void count_free(void *object, size_t charge, cellar_cause why, void *ctx)
{
    (void)object, (void)charge, (void)why;
    ++*(unsigned *)ctx;
}

T_CASE(objects_are_listed_and_are_no_strings)
{
    rk_open(&k, true);
    unsigned frees = 0;
    cellar *ns = NULL;
    cellar_object_config oc = { .struct_size = sizeof oc, .free_fn = count_free, .ctx = &frees };
    cellar_namespace_config o = { .struct_size = sizeof o, .object = &oc };
    T_REQUIRE(cellar_namespace_open(k.store, "db1", &o, &ns) == CELLAR_OK);
    T_EQ_I64(cellar_object_set(ns, "k", 1, &k, 100, NULL), CELLAR_OK);
#define WRONG "-WRONGTYPE Operation against a key holding the wrong kind of value"
    static const char *const talk[][2] = {
        { "TYPE k", "+object" }, { "EXISTS k", ":1" }, { "TTL k", ":-1" }, { "KEYS *", "[k]" },
        { "DBSIZE", ":1" },
        { "GET k", WRONG }, { "STRLEN k", WRONG }, { "SET k v", WRONG }, { "APPEND k v", WRONG },
        { "INCR k", WRONG }, { "GETRANGE k 0 1", WRONG }, { "RENAME k q", WRONG },
        { "COPY k q", WRONG }, { "GETDEL k", WRONG }, { "SETEX k 10 v", WRONG },
        { "OBJECT FREQ k", ":0" }, { "TOUCH k q", ":1" }, { "OBJECT FREQ k", ":1" },
        { "OBJECT ENCODING k", "object" },
        { "EXPIRE k 100", ":1" }, { "TTL k", ":100" }, { "EXISTS k q", ":1" }, { "DEL k", ":1" },
        { "TYPE k", "+none" }, { "EXPIRE k 9 XX", ":0" }, { "EXPIRE k -1", ":0" },
        { "PERSIST k", ":0" }, { "RENAME k q", "-ERR no such key" }, { "COPY k q", ":0" },
        { "GETEX k EX 9", "nil" }, { "MSETNX k 1", WRONG }, { "WATCH k", "+OK" },
    };
    T_EQ_STR(rk_line(&k, "SET s 1"), "+OK");
    T_EQ_U64(scanned(" TYPE object", NULL), 0);
    T_EQ_STR(rk_line(&k, "SELECT 1"), "+OK");
    T_EQ_U64(scanned("", NULL), 1);
    T_EQ_U64(scanned(" TYPE object", NULL), 1);
    T_EQ_U64(scanned(" TYPE string", NULL), 0);
    RK_TALK(&k, talk);
#undef WRONG
    T_EQ_U64(frees, 1);
    T_EQ_I64(cellar_namespace_close(ns), CELLAR_OK);
}

T_CASE(negative_and_stale_entries_are_no_values)
{
    rk_open(&k, true);
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_NEGATIVE };
    T_EQ_I64(cellar_set(k.db, "no", 2, NULL, 0, &o), CELLAR_OK);
    o = cellar_set_opts_default();
    o.ttl_ms = 100;
    o.stale_ms = 10000;
    T_EQ_I64(cellar_set(k.db, "old", 3, "v", 1, &o), CELLAR_OK);
    atomic_fetch_add(&api_now_ms, 200);
    static const char *const talk[][2] = {
        { "GET no", "nil" }, { "EXISTS no old", ":0" }, { "TYPE no", "+none" }, { "TTL no", ":60" },
        { "GET old", "nil" }, { "TTL old", ":-2" }, { "KEYS *", "[]" }, { "DBSIZE", ":0" },
        { "RANDOMKEY", "nil" }, { "STRLEN old", ":0" }, { "MGET no old", "[nil nil]" },
        { "EXPIRE no 5", ":0" }, { "RENAME no x", "-ERR no such key" }, { "COPY no x", ":0" },
        { "GETDEL no", "nil" }, { "GETDEL old", "nil" }, { "GETEX old EX 5", "nil" },
        { "SETNX no 1", ":1" }, { "SETNX old 1", ":1" }, { "GET no", "1" }, { "TTL old", ":-1" },
    };
    RK_TALK(&k, talk);
    T_EQ_I64(cellar_set(k.db, "old", 3, "v", 1, &o), CELLAR_OK);
    atomic_fetch_add(&api_now_ms, 200);
    T_CHECK(strstr(rk_line(&k, "CELLAR.META old"), "kind stale") != NULL);
    o = cellar_set_opts_default();
    o.flags = CELLAR_NEGATIVE;
    T_EQ_I64(cellar_set(k.db, "no", 2, NULL, 0, &o), CELLAR_OK);
    T_CHECK(strstr(rk_line(&k, "CELLAR.META no"), "kind absent") != NULL);
    T_EQ_STR(rk_line(&k, "CELLAR.META none"), "nil");
}

/* WATCH sees what GET sees: a value that becomes stale is gone, a stale one is none. */
T_CASE(watch_takes_a_stale_value_for_none)
{
    const cellar_bytes red = { "red", 3 };
    cellar_set_opts o = { .struct_size = sizeof o, .stale_ms = 10000, .tags = &red,
                          .tag_count = 1 };
    rk_open(&k, true);
    T_EQ_I64(cellar_set(k.db, "old", 3, "v", 1, &o), CELLAR_OK);
    static const char *const replies[] = { "nil[]", "[+PONG]" };
    for (int i = 0; i < 2; i++) {
        T_EQ_STR(rk_line(&k, "WATCH old"), "+OK");
        T_EQ_STR(rk_line(&k, "GET old"), i == 0 ? "v" : "nil");
        T_EQ_I64(cellar_delete_by_tag(k.store, "red", 3, CELLAR_TAG_SOFT), CELLAR_OK);
        atomic_fetch_add(&api_now_ms, 20);
        T_EQ_STR(rk_line(&k, "MULTI"), "+OK");
        T_EQ_STR(rk_line(&k, "PING"), "+QUEUED");
        T_EQ_STR(rk_line(&k, "EXEC"), replies[i]);
    }
}

T_CASE(invalid_keys_are_refused)
{
    static char longest[65537];
    rk_open(&k, true);
    memset(longest, 'k', sizeof longest);
    static const char *const one[] = { "GET", "INCR", "STRLEN", "TTL", "PERSIST", "GETDEL", "DEL",
                                       "EXISTS", "MGET", "TYPE" };
    for (size_t i = 0; i < sizeof one / sizeof one[0]; i++) {
        const rc_word empty[] = { { one[i], strlen(one[i]) }, { "", 0 } };
        const rc_word large[] = { { one[i], strlen(one[i]) }, { longest, 65536 } };
        const rc_word fits[] = { { one[i], strlen(one[i]) }, { longest, 65535 } };
        if (!T_EQ_STR(rk_words(&k, empty, 2), "-ERR invalid key")) { printf("# %s\n", one[i]); }
        T_EQ_STR(rk_words(&k, large, 2), "-ERR invalid key");
        T_CHECK(rk_words(&k, fits, 2)[0] != '-');
    }
    T_EQ_STR(rk(&k, "SET", "", "v", NULL), "-ERR invalid key");
    T_EQ_STR(rk(&k, "MSET", "a", "1", "", "2", NULL), "-ERR invalid key");
    T_EQ_STR(rk_line(&k, "EXISTS a"), ":0");
    T_EQ_STR(rk(&k, "RENAME", "a", "", NULL), "-ERR invalid key");
}

static void rk_large_requests(cellar_resp_config *o) { o->resp_buffer_bytes = 8u << 20; }

T_CASE(a_write_that_does_not_fit_leaves_the_old_value)
{
    settings cfg = api_config(8 << 20);
    cfg.tuning.max_value_bytes = 1 << 20;
    rk_open_on(&k, api_open_with(&cfg), rk_large_requests);
    static char large[2 << 20];
    memset(large, 'v', sizeof large);
    T_EQ_STR(rk_line(&k, "SET a old"), "+OK");
    const rc_word w[] = { { "SET", 3 }, { "a", 1 }, { large, sizeof large } };
    T_EQ_STR(rk_words(&k, w, 3), "-ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    T_EQ_STR(rk_line(&k, "GET a"), "old");
}

static void rk_little_memory(cellar_resp_config *o) { o->resp_buffer_bytes = 1u << 20; }

T_CASE(a_change_whose_reply_has_no_memory_changes_nothing)
{
    settings cfg = api_config(16 << 20);
    rk_open_on(&k, api_open_with(&cfg), rk_little_memory);
    static char large[3 << 19];
    static const char *const changes[] = { "GETDEL a", "GETEX a EXAT 1", "GETEX a EX 100",
                                           "GETSET a new", "SET a new GET", "SET a new GET EXAT 1" };
    memset(large, 'v', sizeof large);
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        T_EQ_I64(cellar_set(k.db, "a", 1, large, sizeof large, NULL), CELLAR_OK);
        T_EQ_STR(rk_line(&k, changes[i]), "-OOM command not allowed when used memory > 'maxmemory'.");
        if (!T_EQ_STR(rk_line(&k, "STRLEN a"), ":1572864") ||
            !T_EQ_STR(rk_line(&k, "TTL a"), ":-1")) {
            printf("# %s\n", changes[i]);
        }
    }
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) { /* it has room once */
        T_EQ_I64(cellar_set(k.db, "a", 1, large, 700 << 10, NULL), CELLAR_OK);
        if (!T_CHECK(rk_line(&k, changes[i])[0] == 'v')) { printf("# %s\n", changes[i]); }
    }
    T_EQ_STR(rk_line(&k, "EXISTS a"), ":0");
}

T_CASE(a_namespace_that_is_switched_off_is_empty)
{
    rk_open(&k, true);
    T_EQ_STR(rk_line(&k, "SET a 1"), "+OK");
    T_EQ_I64(cellar_option_set(k.db, CELLAR_OPT_ENABLED, 0), CELLAR_OK);
    static const char *const talk[][2] = {
        { "GET a", "nil" }, { "EXISTS a", ":0" }, { "MGET a", "[nil]" }, { "TTL a", ":-2" },
        { "GETRANGE a 0 -1", "" }, { "STRLEN a", ":0" }, { "TYPE a", "+none" },
        { "KEYS *", "[]" }, { "DBSIZE", ":0" }, { "RANDOMKEY", "nil" },
    };
    RK_TALK(&k, talk);
    static const char *const writes[] = { "SET a 2", "INCR a", "MSET a 1", "APPEND a x",
                                          "SETNX a 1", "GETSET a 1" };
    for (size_t i = 0; i < sizeof writes / sizeof writes[0]; i++) {
        if (!T_CHECK(strncmp(rk_line(&k, writes[i]), "-ERR ", 5) == 0)) {
            printf("# %s\n", writes[i]);
        }
    }
    T_EQ_I64(cellar_option_set(k.db, CELLAR_OPT_ENABLED, 1), CELLAR_OK);
    T_EQ_STR(rk_line(&k, "GET a"), "1");
}

T_CASE(a_read_only_port_changes_nothing)
{
    rk_open(&k, false);
    T_EQ_I64(cellar_set(k.db, "a", 1, "1", 1, NULL), CELLAR_OK);
    static const char *const writes[] = {
        "SET a 2", "SETEX a 1 2", "PSETEX a 1 2", "SETNX b 1", "GETSET a 2", "GETDEL a", "GETEX a",
        "MSET a 2", "MSETNX b 1", "APPEND a x", "SETRANGE a 0 x", "INCR a", "DECR a", "INCRBY a 1",
        "DECRBY a 1", "INCRBYFLOAT a 1", "DEL a", "UNLINK a", "EXPIRE a 0", "PEXPIRE a 0",
        "EXPIREAT a 0", "PEXPIREAT a 0", "PERSIST a", "RENAME a b", "RENAMENX a b", "COPY a b",
        "FLUSHDB", "FLUSHALL", "CL.THROTTLE b 1 1 1", "BF.ADD db0 x", "BF.MADD db0 x",
        "CELLAR.TAGDEL t", "CELLAR.BUMP", "CELLAR.POLICY RELOAD", "CONFIG SET timeout 5",
        "EVALSHA c3f8721cbb97f72bc19e972846bd7aaf91901658 1 a 1", "SAVE", "BGSAVE",
    };
    for (size_t i = 0; i < sizeof writes / sizeof writes[0]; i++) {
        if (!T_CHECK(rk_line(&k, writes[i])[0] == '-')) { printf("# %s\n", writes[i]); }
    }
    T_EQ_STR(rk_line(&k, "GET a"), "1");
    T_EQ_STR(rk_line(&k, "DBSIZE"), ":1");
}

T_MAIN("resp_commands")
