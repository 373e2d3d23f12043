/* SPDX-License-Identifier: MIT
 *
 * bus_topic: match keys of words against AMQP patterns, or against Redis patterns.
 *
 * PICTURE    key  user . 7 . mail      bit i of `reached`: the pattern so far matches the first i
 *                 0      1   2   3     words. One step for each word of the pattern:
 *            '#'  all bits from the lowest one up
 *            '*'  all bits move up by one
 *            else the bits with an equal word next move up by one
 * LIMITS     CELLAR_BUS_WORDS_MAX words: a match compares at most 16 x 16 words. No recursion.
 * SEE ALSO   base/glob.c: Redis patterns. */
#include "work/bus_topic.h"

#include <string.h>

#include "base/glob.h"

BASE_SIZE_BEGIN

/* Check the length of a text. */
static cellar_err bus_text_len(const char *text, uint16_t *len)
{
    const size_t n = text != NULL ? strnlen(text, CELLAR_BUS_KEY_MAX + 1) : 0;
    *len = (uint16_t)n;
    return n == 0 ? CELLAR_E_INVAL : n > CELLAR_BUS_KEY_MAX ? CELLAR_E_LIMIT : CELLAR_OK;
}

CELLAR_PRIVATE cellar_err bus_words_of(const char *text, bus_words *out)
{
    const cellar_err err = bus_text_len(text, &out->len);
    if (err != CELLAR_OK) { return err; }
    out->text = text;
    out->at[0] = 0;
    out->count = 0;
    for (uint16_t i = 0; i <= out->len; i++) {
        if (i < out->len && text[i] != '.') { continue; }
        if (out->count == CELLAR_BUS_WORDS_MAX) { return CELLAR_E_LIMIT; }
        out->at[++out->count] = (uint16_t)(i + 1);
    }
    return CELLAR_OK;
}

CELLAR_PRIVATE cellar_err bus_topic_make(const char *pattern, cellar_bus_syntax syntax,
                                         bus_topic *out)
{
    if ((unsigned)syntax > CELLAR_BUS_GLOB) { return CELLAR_E_INVAL; }
    cellar_err err = bus_text_len(pattern, &out->words.len);
    if (err != CELLAR_OK) { return err; }
    memcpy(out->text, pattern, out->words.len + 1u);
    out->syntax = syntax;
    out->words.text = out->text;
    return syntax == CELLAR_BUS_AMQP ? bus_words_of(out->text, &out->words) : CELLAR_OK;
}

/* Return the length of word `i`. */
static size_t bus_word_len(const bus_words *w, unsigned i)
{
    return (size_t)w->at[i + 1] - w->at[i] - 1;
}

/* Return the bits of `reached` after which the key has `word`, moved up by one. */
static uint32_t bus_step_literal(uint32_t reached, const char *word, size_t len,
                                 const bus_words *key)
{
    uint32_t next = 0;
    for (unsigned i = 0; i < key->count; i++) {
        if ((reached >> i & 1) != 0 && bus_word_len(key, i) == len &&
            memcmp(key->text + key->at[i], word, len) == 0) {
            next |= 2u << i;
        }
    }
    return next;
}

CELLAR_PRIVATE bool bus_topic_match(const bus_topic *t, const bus_words *key)
{
    if (t->syntax == CELLAR_BUS_GLOB) {
        return base_glob_match(t->text, t->words.len, key->text, key->len);
    }
    const uint32_t all = (2u << key->count) - 1;
    uint32_t reached = 1;
    for (unsigned i = 0; i < t->words.count && reached != 0; i++) {
        const char *word = t->text + t->words.at[i];
        const size_t len = bus_word_len(&t->words, i);
        if (len == 1 && *word == '#') {
            reached = (0u - (reached & (0u - reached))) & all;
        } else if (len == 1 && *word == '*') {
            reached = reached << 1 & all;
        } else {
            reached = bus_step_literal(reached, word, len, key);
        }
    }
    return (reached >> key->count & 1) != 0;
}

BASE_SIZE_END
