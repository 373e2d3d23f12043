/* SPDX-License-Identifier: MIT
 *
 * Aim:    patterns match as in Redis 7.0.15, in linear memory and bounded time.
 * Method: a table of results of that server; random patterns and keys against a second, slow
 *         matcher (all cuts of the key, classes as sets of bytes); patterns that are exponential
 *         for naive matchers, with a bound on the time. */
#include "tests/support/t.h"

#include "base/clock.h"
#include "base/glob.h"
#include "base/random.h"

static const struct {
    const char *pattern, *key;
    bool match;
} facts[] = {
    { "a*c", "ac", true }, { "a*c", "abbc", true }, { "a*c", "abb", false },
    { "a**c", "abc", true },
    { "h?llo", "hello", true }, { "h?llo", "h\xc3\xa9llo", false }, { "h?llo", "hllo", false },
    { "[abc]", "b", true }, { "[abc]", "d", false },
    { "[a-c]", "b", true }, { "[a-c]", "d", false },
    { "[z-x]", "y", true }, { "[x-z]", "y", true }, { "[z-x]", "w", false },
    { "[^x]", "a", true }, { "[^x]", "x", false },
    { "[!x]", "!", true }, { "[!x]", "x", true }, { "[!x]", "a", false },
    { "[]", "]", false }, { "[]", "a", false }, { "[]a]", "]", false }, { "[]", "[]", false },
    { "[^]", "x", true }, { "[^]", "]", true }, { "[^", "x", true }, { "[^", "]", true },
    { "[a-]", "a", true }, { "[a-]", "^", true }, { "[a-]", "b", false }, { "[a-]", "-", false },
    { "[a-]x", "a", true }, { "[a-]x", "ax", false },
    { "[a-", "a", true }, { "[a-", "-", true }, { "[a-", "b", false },
    { "a[b", "ab", true }, { "a[b", "aa", false }, { "a[", "a", false }, { "a[", "a[", false },
    { "a\\*", "a*", true }, { "a\\*", "ab", false }, { "[\\a-c]", "a", true },
    { "[\\a-c]", "-", true }, { "[\\a-c]", "c", true }, { "[\\a-c]", "b", false },
    { "[\\]]", "]", true }, { "[\\]]", "\\", false }, { "a\\", "a\\", true }, { "a\\", "a", false },
    { "\\", "\\", true },
    { "*", "", true }, { "**", "", false }, { "*?", "", false }, { "", "", true },
    { "", "a", false },
    { "a", "", false }, { "*", "x", true }, { "**", "x", true }, { "a*", "a", true },
    { "a***", "a", true }, { "?*", "x", true }, { "A", "a", false }, { "{a,b}", "a", false },
    { "user:*:name", "user:7:name", true }, { "user:*:name", "user:7:nam", false },
};

static bool match(const char *pattern, const char *key)
{
    return base_glob_match(pattern, strlen(pattern), key, strlen(key));
}

T_CASE(table_of_redis_results_matches)
{
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        if (match(facts[i].pattern, facts[i].key) == facts[i].match) { continue; }
        printf("# pattern \"%s\" key \"%s\"\n", facts[i].pattern, facts[i].key);
        T_CHECK(match(facts[i].pattern, facts[i].key) == facts[i].match);
    }
}

/* ---- second matcher: tokens first, then a table: the first t tokens match k bytes ---- */

typedef struct slow_token {
    bool star;
    bool set[256];
} slow_token;

static size_t slow_class(const char *p, size_t len, size_t i, bool set[256])
{
    bool negated = false;
    if (i < len && p[i] == '^') {
        negated = true;
        i++;
    }
    for (; i < len; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c == '\\' && i + 1 < len) {
            set[(unsigned char)p[++i]] = true;
        } else if (c == ']') {
            break;
        } else if (i + 2 < len && p[i + 1] == '-') {
            unsigned char d = (unsigned char)p[i + 2];
            for (int b = c < d ? c : d; b <= (c < d ? d : c); b++) { set[b] = true; }
            i += 2;
        } else {
            set[c] = true;
        }
    }
    for (int b = 0; negated && b < 256; b++) { set[b] = !set[b]; }
    return i + 1;
}

static size_t slow_parse(const char *p, size_t len, slow_token *out)
{
    size_t n = 0, i = 0;
    while (i < len) {
        slow_token *t = &out[n++];
        memset(t, 0, sizeof *t);
        if (p[i] == '*') {
            t->star = true;
            i++;
        } else if (p[i] == '?') {
            memset(t->set, 1, sizeof t->set);
            i++;
        } else if (p[i] == '[') {
            i = slow_class(p, len, i + 1, t->set);
        } else {
            if (p[i] == '\\' && i + 1 < len) { i++; }
            t->set[(unsigned char)p[i++]] = true;
        }
    }
    return n;
}

static bool slow_match(const char *p, size_t plen, const char *k, size_t klen)
{
    static slow_token token[32];
    if (klen == 0) { return plen == 0 || (plen == 1 && p[0] == '*'); }
    size_t n = slow_parse(p, plen, token);
    bool reach[33] = { true };
    for (size_t t = 0; t < n; t++) {
        bool next[33] = { false };
        for (size_t at = 0; at <= klen; at++) {
            if (!reach[at]) { continue; }
            if (token[t].star) {
                for (size_t to = at; to <= klen; to++) { next[to] = true; }
            } else if (at < klen && token[t].set[(unsigned char)k[at]]) {
                next[at + 1] = true;
            }
        }
        memcpy(reach, next, sizeof reach);
    }
    return reach[klen];
}

T_CASE(random_pairs_agree_with_a_second_matcher)
{
    static const char alphabet[] = "ab*?[]^-\\!";
    base_rng r;
    base_rng_seed(&r, t_seed());
    uint64_t matched = 0;
    const uint64_t pairs = t_share(1000000);
    for (uint64_t i = 0; i < pairs; i++) {
        char p[13], k[9];
        size_t plen = base_rng_below(&r, 13), klen = base_rng_below(&r, 9);
        for (size_t j = 0; j < plen; j++) { p[j] = alphabet[base_rng_below(&r, 10)]; }
        for (size_t j = 0; j < klen; j++) {
            k[j] = alphabet[base_rng_below(&r, base_rng_below(&r, 2) == 0 ? 2 : 10)];
        }
        bool got = base_glob_match(p, plen, k, klen);
        matched += got;
        if (got == slow_match(p, plen, k, klen)) { continue; }
        printf("# pattern \"%.*s\" key \"%.*s\": got %d\n", (int)plen, p, (int)klen, k, got);
        T_CHECK(got == slow_match(p, plen, k, klen));
        return;
    }
    T_CHECK(matched > pairs / 100);
}

/* 500 stars and letters against 1,000 bytes: a recursive matcher would not return. */
T_CASE(exponential_patterns_end_in_bounded_time)
{
    char p[BASE_GLOB_MAX], k[1000];
    for (size_t i = 0; i + 2 <= sizeof p; i += 2) { memcpy(p + i, "a*", 2); }
    p[sizeof p - 1] = 'b';
    memset(k, 'a', sizeof k);
    uint64_t start = base_thread_cpu_ns();
    for (int i = 0; i < 10; i++) { T_CHECK(!base_glob_match(p, sizeof p, k, sizeof k)); }
    T_CHECK(!base_glob_match("**********************b", 23, k, sizeof k));
    T_CHECK(base_thread_cpu_ns() - start < UINT64_C(2000000000));
}

T_CASE(prefix_stops_at_the_first_special_byte)
{
    static const struct { const char *p; size_t len; bool literal; } c[] = {
        { "", 0, true }, { "abc", 3, true }, { "ab*", 2, false }, { "*a", 0, false },
        { "a?b", 1, false }, { "user:[ab]", 5, false }, { "a\\b", 1, false }, { "a]^-!", 5, true },
    };
    for (size_t i = 0; i < sizeof c / sizeof c[0]; i++) {
        bool literal = !c[i].literal;
        T_EQ_U64(base_glob_prefix(c[i].p, strlen(c[i].p), &literal), c[i].len);
        T_CHECK(literal == c[i].literal);
    }
}

T_MAIN("base_glob")
