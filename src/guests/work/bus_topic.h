/* SPDX-License-Identifier: MIT
 *
 * bus_topic: keys of words, and patterns over them. */
#ifndef WORK_BUS_TOPIC_H
#define WORK_BUS_TOPIC_H

#include "base/port.h"
#include "cellar_bus.h"

typedef struct bus_words { /* a text split at its dots */
    const char *text;
    uint16_t len;
    uint16_t count;                         /* 1..CELLAR_BUS_WORDS_MAX */
    uint16_t at[CELLAR_BUS_WORDS_MAX + 1];  /* where a word begins; the last one: len + 1 */
} bus_words;

typedef struct bus_topic { /* a pattern; must not move */
    bus_words words;        /* GLOB: only text and len */
    cellar_bus_syntax syntax;
    char text[CELLAR_BUS_KEY_MAX + 1];
} bus_topic;

/* Split a key. `text` stays with the caller. Return OK, E_INVAL (NULL or empty), E_LIMIT. */
CELLAR_PRIVATE cellar_err bus_words_of(const char *text, bus_words *out);
/* Copy and check a pattern. Return as bus_words_of. */
CELLAR_PRIVATE cellar_err bus_topic_make(const char *pattern, cellar_bus_syntax syntax,
                                         bus_topic *out);
CELLAR_PRIVATE bool bus_topic_match(const bus_topic *t, const bus_words *key);

#endif
