/* SPDX-License-Identifier: MIT
 *
 * Aim:    Different parts never share a key, nor do different values of a template. Equal parts have
 *         one key, on every machine. Numbers and vectors come back as stored. No piece of a secret
 *         survives redaction.
 * Method: Encodings are decoded again by a parser of this file, and compared with the tree that was
 *         drawn: an encoding that can be decoded cannot collide. Values are drawn from few bytes
 *         close to each other, where joined fields would collide. Published digests. Values at the
 *         ends of their ranges; planted secrets in random texts. */
#include "tests/support/api_kit.h"
#include "tests/support/draw.h"

#include <math.h>

#include "cellar_kit.h"

T_ONE_THREAD;

/* ---- a part as text, and the text read back from an encoding ---- */

typedef struct text { char at[8192]; size_t len; } text;

static void say(text *t, const char *word)
{
    const size_t n = strlen(word);
    T_REQUIRE(t->len + n < sizeof t->at);
    memcpy(t->at + t->len, word, n + 1);
    t->len += n;
}

static void say_bytes(text *t, const unsigned char *p, size_t n)
{
    char hex[8];
    say(t, "'");
    for (size_t i = 0; i < n; i++) {
        snprintf(hex, sizeof hex, "%02x", p[i]);
        say(t, hex);
    }
    say(t, "'");
}

static void say_i64(text *t, int64_t x)
{
    char word[32];
    snprintf(word, sizeof word, "i%" PRId64, x);
    say(t, word);
}

static size_t number_at(const unsigned char *p, size_t *at)
{
    size_t x = 0;
    for (unsigned shift = 0;; shift += 7) {
        const unsigned char byte = p[(*at)++];
        x |= (size_t)(byte & 0x7f) << shift;
        if (byte < 0x80) { return x; }
    }
}

static uint64_t word_at(const unsigned char *p)
{
    uint64_t x = 0;
    for (int i = 0; i < 8; i++) { x = x << 8 | p[i]; }
    return x;
}

static void decode(text *t, const unsigned char *p, size_t *at)
{
    const char type = (char)p[(*at)++];
    const size_t n = number_at(p, at);
    char word[40];
    switch (type) {
    case 's': say_bytes(t, p + *at, n); break;
    case 'i': say_i64(t, (int64_t)word_at(p + *at)); break;
    case 'u': snprintf(word, sizeof word, "u%" PRIu64, word_at(p + *at)); say(t, word); break;
    case 'd': snprintf(word, sizeof word, "d%016" PRIx64, word_at(p + *at)); say(t, word); break;
    case 't': case 'f': case 'n': say(t, type == 't' ? "t" : type == 'f' ? "f" : "n"); break;
    default: {
        T_REQUIRE(type == '[' || type == '{');
        const size_t parts = type == '[' ? n : 2 * n;
        say(t, type == '[' ? "[" : "{");
        for (size_t i = 0; i < parts; i++) { decode(t, p, at); }
        say(t, "]");
        return;
    }
    }
    *at += n;
}

static void add_drawn(cellar_key_builder *b, text *t, unsigned depth);

static void add_map(cellar_key_builder *b, text *t, unsigned depth)
{
    static const char *const names[] = { "", "a", "aa", "ab", "b" };
    text value[5];
    bool has[5] = { false };
    T_EQ_I64(cellar_key_add(b, cellar_arg_map()), CELLAR_OK);
    for (uint64_t n = draw(5); n > 0; n--) { /* in any order; written in the order of names */
        const uint64_t i = draw(5);
        if (has[i]) { continue; }
        has[i] = true;
        value[i].len = 0;
        T_EQ_I64(cellar_key_add(b, cellar_arg_text(names[i])), CELLAR_OK);
        add_drawn(b, &value[i], depth + 1);
    }
    T_EQ_I64(cellar_key_end(b), CELLAR_OK);
    say(t, "{");
    for (int i = 0; i < 5; i++) {
        if (!has[i]) { continue; }
        say_bytes(t, (const unsigned char *)names[i], strlen(names[i]));
        say(t, value[i].at);
    }
    say(t, "]");
}

static void add_drawn(cellar_key_builder *b, text *t, unsigned depth)
{
    static const char *const words[] = { "", "a", "ab", "b", "s\x01", "[", "i", "1", "#" };
    static const int64_t ints[] = { 0, 1, -1, 255, 256, INT64_MIN, INT64_MAX };
    static const double reals[] = { 0.5, -0.0, 1.0, 1e300, 9007199254740992.0, -2.5 };
    char word[40];
    const uint64_t kind = draw(depth < 4 ? 9 : 7);
    if (kind < 2) {
        const char *w = words[draw(9)];
        T_EQ_I64(cellar_key_add(b, cellar_arg_text(w)), CELLAR_OK);
        say_bytes(t, (const unsigned char *)w, strlen(w));
    } else if (kind == 2) {
        const int64_t x = ints[draw(7)];
        T_EQ_I64(cellar_key_add(b, cellar_arg_i64(x)), CELLAR_OK);
        say_i64(t, x);
    } else if (kind == 3) {
        const uint64_t x = draw(2) == 0 ? 7 : (uint64_t)INT64_MAX + 1 + draw(3);
        T_EQ_I64(cellar_key_add(b, cellar_arg_u64(x)), CELLAR_OK);
        snprintf(word, sizeof word, x == 7 ? "i%" PRIu64 : "u%" PRIu64, x);
        say(t, word);
    } else if (kind == 4) {
        const double x = reals[draw(6)];
        uint64_t bits;
        memcpy(&bits, &x, sizeof bits);
        T_EQ_I64(cellar_key_add(b, cellar_arg_f64(x)), CELLAR_OK);
        if (x == 0 || x == 1.0) {
            say_i64(t, (int64_t)x);
        } else {
            snprintf(word, sizeof word, "d%016" PRIx64, bits);
            say(t, word);
        }
    } else if (kind == 5) {
        const bool x = draw(2) == 0;
        T_EQ_I64(cellar_key_add(b, cellar_arg_bool(x)), CELLAR_OK);
        say(t, x ? "t" : "f");
    } else if (kind == 6) {
        T_EQ_I64(cellar_key_add(b, cellar_arg_null()), CELLAR_OK);
        say(t, "n");
    } else if (kind == 7) {
        T_EQ_I64(cellar_key_add(b, cellar_arg_list()), CELLAR_OK);
        say(t, "[");
        for (uint64_t n = draw(4); n > 0; n--) { add_drawn(b, t, depth + 1); }
        T_EQ_I64(cellar_key_end(b), CELLAR_OK);
        say(t, "]");
    } else {
        add_map(b, t, depth);
    }
}

T_CASE(any_key_decodes_to_its_parts)
{
    draw_state = t_seed();
    uint64_t decoded = 0;
    for (uint64_t round = 0; round < t_share(400000) / T_COST + 1000 && !t_failed(); round++) {
        cellar_key_builder b;
        unsigned char key[CELLAR_KEY_BUILT_MAX];
        size_t len = 0, at = 0;
        static text drawn, got;
        drawn.len = got.len = 0;
        cellar_key_begin(&b);
        for (uint64_t n = 1 + draw(3); n > 0; n--) { add_drawn(&b, &drawn, 0); }
        T_EQ_I64(cellar_key_finish(&b, key, sizeof key, &len), CELLAR_OK);
        if (key[0] == '#') {
            T_EQ_U64(len, 33);
            continue;
        }
        while (at < len) { decode(&got, key, &at); }
        T_EQ_U64(at, len);
        T_EQ_STR(got.at, drawn.at);
        decoded++;
    }
    T_CHECK(decoded > 500);
}

static size_t key_of(const char *const *texts, size_t n, unsigned char *key)
{
    cellar_key_builder b;
    size_t len = 0;
    cellar_key_begin(&b);
    for (size_t i = 0; i < n; i++) {
        T_EQ_I64(cellar_key_add(&b, cellar_arg_text(texts[i])), CELLAR_OK);
    }
    T_EQ_I64(cellar_key_finish(&b, key, CELLAR_KEY_BUILT_MAX, &len), CELLAR_OK);
    return len;
}

T_CASE(swap_split_and_join_of_parts_change_the_key)
{
    static const char *const lists[][3] = {
        { "ab", "c" }, { "a", "bc" }, { "abc" }, { "c", "ab" }, { "a", "b", "c" }, { "", "abc" },
        { "abc", "" }, { "a=b&c" }, { "a=b", "c" }, { "a", "=b&c" }
    };
    static const size_t counts[] = { 2, 2, 1, 2, 3, 2, 2, 1, 2, 2 };
    unsigned char key[10][CELLAR_KEY_BUILT_MAX];
    size_t len[10];
    for (size_t i = 0; i < 10; i++) { len[i] = key_of(lists[i], counts[i], key[i]); }
    for (size_t i = 0; i < 10; i++) {
        for (size_t j = 0; j < i; j++) {
            T_CHECK(len[i] != len[j] || memcmp(key[i], key[j], len[i]) != 0);
        }
    }
}

/* D15, S2:524: parameters joined as text, so that one value with '&' and two parameters share a key,
 * and so do a number and its digits.
 * Sequence: the keys of {"a": "1&b=2"} and {"a": "1", "b": "2"}, of 1 and "1", in either order. */
T_CASE(seed_key_ampersand_differs)
{
    unsigned char key[5][CELLAR_KEY_BUILT_MAX];
    size_t len[5];
    for (int which = 0; which < 5; which++) {
        cellar_key_builder b;
        cellar_key_begin(&b);
        (void)cellar_key_add(&b, CELLAR_ARG("api"));
        (void)cellar_key_add(&b, CELLAR_ARG("users"));
        (void)cellar_key_add(&b, cellar_arg_map());
        for (int n = 0; n < (which == 1 || which == 2 ? 2 : 1); n++) {
            const bool a = n == (which == 2); /* case 2: b before a */
            (void)cellar_key_add(&b, cellar_arg_text(a ? "a" : "b"));
            if (which == 4) {
                (void)cellar_key_add(&b, CELLAR_ARG(1));
            } else {
                (void)cellar_key_add(&b, cellar_arg_text(which == 0 ? "1&b=2" : a ? "1" : "2"));
            }
        }
        T_EQ_I64(cellar_key_end(&b), CELLAR_OK);
        T_EQ_I64(cellar_key_finish(&b, key[which], sizeof key[which], &len[which]), CELLAR_OK);
        for (int i = 0; i < which; i++) {
            const bool same = len[i] == len[which] && memcmp(key[i], key[which], len[i]) == 0;
            T_CHECK(same == (i == 1 && which == 2)); /* the order of a map does not matter */
        }
    }
}

T_CASE(key_over_200_bytes_is_the_sha256_of_its_encoding)
{
    char word[300];
    unsigned char key[CELLAR_KEY_BUILT_MAX], want[33];
    memset(word, 'x', sizeof word);
    word[197] = '\0'; /* with type and length 200 bytes: the last that is kept */
    const char *one = word;
    T_EQ_U64(key_of(&one, 1, key), 200);
    T_CHECK(memcmp(key, "s\xc5\x01xxx", 6) == 0);
    word[197] = 'x';
    word[198] = '\0';
    T_EQ_U64(key_of(&one, 1, key), 33);
    T_EQ_I64(key[0], '#');
    /* printf 's\306\001' and 198 times x | sha256sum */
    static const char digest[] = "b3a3fd031b5902baa2dc2c036192048e17a6464827bd515ee170f40586024ab3";
    for (int i = 0; i < 32; i++) {
        unsigned byte = 0;
        T_REQUIRE(sscanf(digest + 2 * i, "%2x", &byte) == 1);
        want[1 + i] = (unsigned char)byte;
    }
    T_CHECK(memcmp(key + 1, want + 1, 32) == 0);
}

T_CASE(long_parts_and_many_parts_have_a_key)
{
    static char big[1 << 20];
    cellar_key_builder b;
    unsigned char key[2][CELLAR_KEY_BUILT_MAX];
    size_t len = 0;
    memset(big, 'y', sizeof big);
    for (int n = 0; n < 2; n++) {
        cellar_key_begin(&b);
        T_EQ_I64(cellar_key_add(&b, cellar_arg_list()), CELLAR_OK);
        for (int i = 0; i < 8; i++) {
            T_EQ_I64(cellar_key_add(&b, cellar_arg_bytes((cellar_bytes){ big, sizeof big })),
                     CELLAR_OK);
        }
        for (int i = 0; i < 5000 + n; i++) {
            T_EQ_I64(cellar_key_add(&b, cellar_arg_i64(i)), CELLAR_OK);
        }
        T_EQ_I64(cellar_key_end(&b), CELLAR_OK);
        T_EQ_I64(cellar_key_finish(&b, key[n], sizeof key[n], &len), CELLAR_OK);
        T_EQ_U64(len, 33);
    }
    T_CHECK(memcmp(key[0], key[1], 33) != 0);
}

T_CASE(first_error_of_a_builder_stays)
{
    cellar_key_builder b;
    unsigned char key[CELLAR_KEY_BUILT_MAX];
    size_t len = 7;
    static const double bad[] = { (double)__builtin_nan(""), __builtin_inf(), -__builtin_inf() };
    for (size_t i = 0; i < 3; i++) {
        cellar_key_begin(&b);
        T_EQ_I64(cellar_key_add(&b, cellar_arg_f64(bad[i])), CELLAR_E_INVAL);
        T_EQ_I64(cellar_key_add(&b, CELLAR_ARG(1)), CELLAR_E_INVAL);
        T_EQ_I64(cellar_key_finish(&b, key, sizeof key, &len), CELLAR_E_INVAL);
        T_EQ_U64(len, 0);
    }
    T_EQ_I64(cellar_key_add(&b, CELLAR_ARG(1)), CELLAR_OK); /* begun again by finish */
    T_EQ_I64(cellar_key_finish(&b, NULL, 0, &len), CELLAR_E_BUFFER);
    T_EQ_U64(len, 10);
    T_EQ_I64(cellar_key_finish(&b, key, sizeof key, NULL), CELLAR_OK);
    T_EQ_I64(cellar_key_finish(&b, key, sizeof key, &len), CELLAR_E_INVAL); /* no part */
    T_EQ_I64(cellar_key_add(&b, CELLAR_ARG(1.0f)), CELLAR_OK); /* the number, not its type */
    unsigned char again[CELLAR_KEY_BUILT_MAX];
    T_EQ_I64(cellar_key_finish(&b, again, sizeof again, &len), CELLAR_OK);
    T_EQ_MEM(again, key, 10);
    T_EQ_I64(cellar_key_add(&b, cellar_arg_text(NULL)), CELLAR_E_INVAL);
    cellar_key_discard(&b);
    T_EQ_I64(cellar_key_add(&b, cellar_arg_bytes((cellar_bytes){ NULL, 1 })), CELLAR_E_INVAL);
    cellar_key_discard(&b);
    T_EQ_I64(cellar_key_end(&b), CELLAR_E_INVAL);
    cellar_key_discard(&b);
    cellar_arg part = CELLAR_ARG(1);
    part.reserved0 = 1;
    T_EQ_I64(cellar_key_add(&b, part), CELLAR_E_INVAL);
    cellar_key_discard(&b);
    part = CELLAR_ARG(1);
    part.type = (cellar_arg_type)(CELLAR_ARG_MAP + 1);
    T_EQ_I64(cellar_key_add(&b, part), CELLAR_E_INVAL);
    cellar_key_discard(&b);
    T_EQ_I64(cellar_key_add(NULL, CELLAR_ARG(1)), CELLAR_E_INVAL);
    cellar_key_discard(NULL);
    cellar_key_begin(NULL);
}

T_CASE(map_needs_names_with_values_once_each)
{
    cellar_key_builder b;
    unsigned char key[CELLAR_KEY_BUILT_MAX];
    cellar_key_begin(&b);
    (void)cellar_key_add(&b, cellar_arg_map());
    T_EQ_I64(cellar_key_add(&b, CELLAR_ARG(1)), CELLAR_E_INVAL);
    cellar_key_discard(&b);
    (void)cellar_key_add(&b, cellar_arg_map());
    (void)cellar_key_add(&b, CELLAR_ARG("a"));
    T_EQ_I64(cellar_key_end(&b), CELLAR_E_INVAL);
    cellar_key_discard(&b);
    (void)cellar_key_add(&b, cellar_arg_map());
    for (int i = 0; i < 2; i++) {
        (void)cellar_key_add(&b, CELLAR_ARG("a"));
        (void)cellar_key_add(&b, cellar_arg_i64(i));
    }
    T_EQ_I64(cellar_key_end(&b), CELLAR_E_INVAL);
    cellar_key_discard(&b);
    (void)cellar_key_add(&b, cellar_arg_map());
    T_EQ_I64(cellar_key_finish(&b, key, sizeof key, NULL), CELLAR_E_INVAL); /* still open */
    for (int i = 0; i < 8; i++) { T_EQ_I64(cellar_key_add(&b, cellar_arg_list()), CELLAR_OK); }
    T_EQ_I64(cellar_key_add(&b, cellar_arg_list()), CELLAR_E_LIMIT);
    cellar_key_discard(&b);
}

T_CASE(limits_of_a_builder_are_codes)
{
    static char big[(16 << 20) + 1];
    cellar_key_builder b;
    char name[16];
    cellar_key_begin(&b);
    T_EQ_I64(cellar_key_add(&b, cellar_arg_bytes((cellar_bytes){ big, sizeof big })),
             CELLAR_E_TOOBIG);
    cellar_key_discard(&b);
    for (int i = 0; i < 65536; i++) { T_EQ_I64(cellar_key_add(&b, cellar_arg_null()), CELLAR_OK); }
    T_EQ_I64(cellar_key_add(&b, cellar_arg_null()), CELLAR_E_LIMIT);
    cellar_key_discard(&b);
    (void)cellar_key_add(&b, cellar_arg_map());
    for (int i = 0; i < 256; i++) {
        snprintf(name, sizeof name, "%d", i);
        T_EQ_I64(cellar_key_add(&b, cellar_arg_text(name)), CELLAR_OK);
        T_EQ_I64(cellar_key_add(&b, cellar_arg_null()), CELLAR_OK);
    }
    T_EQ_I64(cellar_key_add(&b, CELLAR_ARG("more")), CELLAR_E_LIMIT);
    cellar_key_discard(&b);
    /* Fault: a map of more than 8 MiB had no room for its sorted copy. */
    cellar_key_begin(&b);
    T_EQ_I64(cellar_key_add(&b, cellar_arg_map()), CELLAR_OK);
    T_EQ_I64(cellar_key_add(&b, CELLAR_ARG("a")), CELLAR_OK);
    T_EQ_I64(cellar_key_add(&b, cellar_arg_bytes((cellar_bytes){ big, 15 << 20 })), CELLAR_OK);
    T_EQ_I64(cellar_key_end(&b), CELLAR_OK);
    cellar_key_discard(&b);
}

/* ---- templates ---- */

static cellar_bytes bytes_of(const char *p) { return (cellar_bytes){ p, strlen(p) }; }

/* D23, S4:29, S4:275: the prefix "zsxq:" and the template's own ':' give "zsxq::project:..", which no
 * reader of the documented key finds.
 * Sequence: the documented key, from each way to write prefix and template. */
T_CASE(seed_prefix_with_colon)
{
    static const char *const prefixes[] = { "zsxq", "zsxq:", "zsxq::" };
    static const char *const texts[] = { "project:{id}:stats", ":project:{id}:stats" };
    const cellar_bytes id = bytes_of("1141152412");
    for (size_t i = 0; i < 6; i++) {
        cellar_template t;
        char key[64];
        size_t len = 0;
        T_EQ_I64(cellar_template_compile(prefixes[i / 2], texts[i % 2], &t), CELLAR_OK);
        T_EQ_I64(cellar_template_key(&t, &id, 1, key, sizeof key, &len), CELLAR_OK);
        T_EQ_U64(len, 29);
        T_CHECK(memcmp(key, "zsxq:project:1141152412:stats", 29) == 0);
    }
}

/* The keys that the documents write, letter by letter. */
T_CASE(readable_keys_are_those_of_the_documents)
{
    static const struct { const char *prefix, *text, *values[2], *key; } rows[] = {
        { NULL, "image_task:{id}", { "7" }, "image_task:7" },
        { NULL, "user:profile:{user_id}", { "123" }, "user:profile:123" },
        { NULL, "user:permissions:{user_id}", { "123" }, "user:permissions:123" },
        { NULL, "session:{session_id}", { "5f2c-e1" }, "session:5f2c-e1" },
        { "zsxq", "projects:list:{scope}", { "all" }, "zsxq:projects:list:all" },
        { "zsxq", "project:{id}:daily_stats", { "1141152412" },
          "zsxq:project:1141152412:daily_stats" },
        { "zsxq", "project:{id}:leaderboard:{type}", { "1141152412", "active" },
          "zsxq:project:1141152412:leaderboard:active" }
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const size_t n = rows[i].values[1] != NULL ? 2 : 1;
        const cellar_bytes values[2] = { bytes_of(rows[i].values[0]),
                                         bytes_of(n == 2 ? rows[i].values[1] : "") };
        cellar_template t;
        char key[64] = { 0 };
        T_EQ_I64(cellar_template_compile(rows[i].prefix, rows[i].text, &t), CELLAR_OK);
        T_EQ_I64(cellar_template_key(&t, values, n, key, sizeof key - 1, NULL), CELLAR_OK);
        T_EQ_STR(key, rows[i].key);
    }
}

T_CASE(template_writes_escapes_for_what_would_be_read_otherwise)
{
    static const struct { const char *text, *value, *key; } rows[] = {
        { "a:{x}", "b:c", "a:b%3Ac" }, { "a:{x}", "", "a:%_" }, { "a:{x}", "%_", "a:%25_" },
        { "{x}-z", "1-2", "1%2D2-z" }, { "a:{x}", "1-2", "a:1-2" }, { "{x}1", "11", "%31%311" },
        { "a:{x}", "{y}", "a:%7By%7D" }, { "a:{x}", "\n", "a:%0A" }, { "a:{x}", "\xc3\xa4 b", "a:\xc3\xa4 b" },
        { "a:{x}", "\x7f", "a:%7F" }
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cellar_template t;
        char key[64] = { 0 }, back[64] = { 0 };
        size_t len = 0;
        const cellar_bytes value = bytes_of(rows[i].value);
        cellar_bytes got;
        T_EQ_I64(cellar_template_compile(NULL, rows[i].text, &t), CELLAR_OK);
        T_EQ_I64(cellar_template_key(&t, &value, 1, key, sizeof key - 1, &len), CELLAR_OK);
        T_EQ_STR(key, rows[i].key);
        T_EQ_I64(cellar_template_match(&t, key, len, &got, 1, back, sizeof back), CELLAR_OK);
        T_CHECK(got.len == value.len && memcmp(got.data, value.data, value.len) == 0);
    }
}

T_CASE(any_values_of_a_template_come_back)
{
    static const char *const texts[] = { "{a}:{b}", "k:{a}:{b}:z", "{a}_{b}", "{a}1{b}", "x{a}ab{b}" };
    static const char bytes[] = "ab:_1%{}-A";
    draw_state = t_seed() + 1;
    for (uint64_t round = 0; round < t_share(400000) / T_COST + 1000 && !t_failed(); round++) {
        cellar_template t;
        char value[2][6], key[128], back[64];
        cellar_bytes in[2], out[2];
        size_t len = 0;
        for (int i = 0; i < 2; i++) {
            in[i] = (cellar_bytes){ value[i], (size_t)draw(6) };
            for (size_t n = 0; n < in[i].len; n++) { value[i][n] = bytes[draw(sizeof bytes)]; }
        }
        T_EQ_I64(cellar_template_compile(NULL, texts[draw(5)], &t), CELLAR_OK);
        T_EQ_I64(cellar_template_key(&t, in, 2, key, sizeof key, &len), CELLAR_OK);
        T_EQ_I64(cellar_template_match(&t, key, len, out, 2, back, sizeof back), CELLAR_OK);
        for (int i = 0; i < 2; i++) {
            T_CHECK(out[i].len == in[i].len && memcmp(out[i].data, in[i].data, in[i].len) == 0);
        }
    }
}

T_CASE(key_that_no_template_wrote_is_a_miss)
{
    static const char *const keys[] = { "a:", "a", "b:1", "a:1:2", "a:%3a", "a:%41", "a:%", "a:%4",
                                        "a:{", "a:%_x", "a:x%_" };
    cellar_template t;
    cellar_bytes got;
    char back[16];
    T_EQ_I64(cellar_template_compile(NULL, "a:{x}", &t), CELLAR_OK);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        T_EQ_I64(cellar_template_match(&t, keys[i], strlen(keys[i]), &got, 1, back, sizeof back),
                 CELLAR_MISS);
    }
    T_EQ_I64(cellar_template_match(&t, "a:123", 5, &got, 1, back, 2), CELLAR_E_BUFFER);
}

T_CASE(broken_template_is_refused)
{
    static const char *const bad[] = { "", "a{", "a}", "{}", "{a", "{a}{b}", "{a}%", "{a{b}}" };
    char many[200] = "", longer[400];
    cellar_template t;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        T_EQ_I64(cellar_template_compile(NULL, bad[i], &t), CELLAR_E_INVAL);
    }
    memset(&t, 0xff, sizeof t);
    T_EQ_I64(cellar_template_compile("p{", "a", &t), CELLAR_E_INVAL);
    T_EQ_U64(t.opaque[0], 0);
    T_EQ_I64(cellar_template_compile(NULL, NULL, &t), CELLAR_E_INVAL);
    for (int i = 0; i < 17; i++) { strcat(many, "{x}:"); }
    T_EQ_I64(cellar_template_compile(NULL, many, &t), CELLAR_E_LIMIT);
    memset(longer, 'a', sizeof longer - 1);
    longer[256] = '\0';
    T_EQ_I64(cellar_template_compile(NULL, longer, &t), CELLAR_E_TOOBIG);
    T_EQ_I64(cellar_template_compile(longer, "a", &t), CELLAR_E_TOOBIG);
    longer[255] = '\0';
    T_EQ_I64(cellar_template_compile(NULL, longer, &t), CELLAR_OK);
    char key[300];
    size_t len = 0;
    T_EQ_I64(cellar_template_key(&t, NULL, 0, key, sizeof key, &len), CELLAR_OK);
    T_EQ_U64(len, 255);
    T_EQ_I64(cellar_template_key(&t, NULL, 0, NULL, 0, &len), CELLAR_E_BUFFER);
    T_EQ_U64(len, 255);
    const cellar_bytes value = { "x", 1 };
    T_EQ_I64(cellar_template_key(&t, &value, 1, key, sizeof key, &len), CELLAR_E_INVAL);
}

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
        { "//host/a", "//host/a" },
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
        char secret[24], line[160], out[640];
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
        snprintf(line, sizeof line, "%s\n%s%s%s", start, before_it[which], secret, after_it[which]);
        (void)cellar_redact(line, strlen(line), out, sizeof out);
        for (size_t i = 0; i + 8 <= n; i++) {
            char piece[9];
            memcpy(piece, secret + i, 8);
            piece[8] = '\0';
            if (!T_CHECK(strstr(out, piece) == NULL)) { printf("# %s -> %s\n", line, out); }
        }
    }
}

T_MAIN("api_kit_keys")
