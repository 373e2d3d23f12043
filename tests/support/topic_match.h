/* SPDX-License-Identifier: MIT
 *
 * topic_match: match a key against a pattern of routes, both as texts. */
#ifndef TESTS_TOPIC_MATCH_H
#define TESTS_TOPIC_MATCH_H

#include "work/bus_topic.h"

static inline cellar_err topic_match(const char *pattern, const char *key,
                                     cellar_bus_syntax syntax, bool *match)
{
    bus_topic t;
    bus_words words;
    *match = false;
    cellar_err err = bus_topic_make(pattern, syntax, &t);
    if (err == CELLAR_OK) { err = bus_words_of(key, &words); }
    if (err == CELLAR_OK) { *match = bus_topic_match(&t, &words); }
    return err;
}

#endif
