/* SPDX-License-Identifier: MIT
 *
 * fuzz/topic: topic patterns and keys of any bytes.
 *
 * INPUT      byte 0: syntax; the rest: pattern, a byte 0, key
 * ORACLE     no crash, no sanitizer report, an end in bounded time. Texts over a limit are refused,
 *            all others are not. A pattern without wildcards matches itself alone; "#" matches
 *            every key; an AMQP match agrees with a table filled from the end, word by word.
 * USE        tests/fuzz/test_topic_fuzz.c: seeded inputs, in every test run. libFuzzer:
 *            tests/fuzz/matrix_fuzz.sh. */
#include "tests/support/t.h"

#include "tests/support/topic_match.h"
#include "tests/fuzz/must.h"

static uint64_t fuzz_asked, fuzz_matched; /* pairs within the limits; of these: matches */

/* Copy word `i` of a text; true: there is one. */
static bool fuzz_word(const char *text, size_t i, char word[CELLAR_BUS_KEY_MAX + 1])
{
    while (i > 0 && (text = strchr(text, '.')) != NULL) {
        text++;
        i--;
    }
    if (text == NULL) { return false; }
    const size_t len = strcspn(text, ".");
    memcpy(word, text, len);
    word[len] = '\0';
    return true;
}

/* rest[j]: the words of the pattern from `i` on match the words of the key from `j` on. */
static bool fuzz_table(const char *pattern, size_t pattern_words, const char *key,
                       size_t key_words)
{
    bool rest[CELLAR_BUS_WORDS_MAX + 1] = { false };
    char p[CELLAR_BUS_KEY_MAX + 1], k[CELLAR_BUS_KEY_MAX + 1];
    rest[key_words] = true;
    for (size_t i = pattern_words; i-- > 0;) {
        FUZZ_MUST(fuzz_word(pattern, i, p));
        const bool many = strcmp(p, "#") == 0, one = strcmp(p, "*") == 0;
        for (size_t j = 0; !many && j < key_words; j++) {
            FUZZ_MUST(fuzz_word(key, j, k));
            rest[j] = rest[j + 1] && (one || strcmp(p, k) == 0);
        }
        for (size_t j = key_words; many && j-- > 0;) { rest[j] = rest[j] || rest[j + 1]; }
        if (!many) { rest[key_words] = false; }
    }
    return rest[0];
}

static size_t fuzz_words(const char *text)
{
    size_t n = 1;
    for (; *text != '\0'; text++) { n += *text == '.'; }
    return n;
}

static cellar_err fuzz_limit(const char *text, bool words)
{
    const size_t len = strlen(text);
    if (len == 0) { return CELLAR_E_INVAL; }
    const bool wide = words && fuzz_words(text) > CELLAR_BUS_WORDS_MAX;
    return wide || len > CELLAR_BUS_KEY_MAX ? CELLAR_E_LIMIT : CELLAR_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n == 0) { return 0; }
    const cellar_bus_syntax syntax = data[0] % 4 == 0 ? CELLAR_BUS_GLOB : CELLAR_BUS_AMQP;
    const bool amqp = syntax == CELLAR_BUS_AMQP;
    char *text = calloc(1, n + 1); /* a read past its end is found */
    if (text == NULL) { return 0; }
    memcpy(text, data + 1, n - 1);
    const char *pattern = text, *key = text + strlen(text);
    if (key < text + n - 1) { key++; }
    bool is = true, all = true;
    const cellar_err err = topic_match(pattern, key, syntax, &is);
    cellar_err want = fuzz_limit(pattern, amqp);
    if (want == CELLAR_OK) { want = fuzz_limit(key, true); }
    FUZZ_MUST(err == want);
    FUZZ_MUST(err == CELLAR_OK || !is);
    if (err == CELLAR_OK) {
        fuzz_asked++;
        fuzz_matched += is;
        if (amqp) {
            FUZZ_MUST(is == fuzz_table(pattern, fuzz_words(pattern), key, fuzz_words(key)));
        }
        if (strpbrk(pattern, "*#?[\\") == NULL) { FUZZ_MUST(is == (strcmp(pattern, key) == 0)); }
        FUZZ_MUST(topic_match("#", key, CELLAR_BUS_AMQP, &all) == CELLAR_OK && all);
    }
    free(text);
    return 0;
}
