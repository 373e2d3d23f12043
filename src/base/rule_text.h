/* SPDX-License-Identifier: MIT
 *
 * rule_text: the parts of a rule of keys that stay texts in a struct. The engine and the reader of
 * policy files check them with the same functions.
 *
 * INVARIANTS Each check returns the rule that a text breaks, as "a tag has 1..128 bytes"; NULL:
 *            none. */
#ifndef BASE_RULE_TEXT_H
#define BASE_RULE_TEXT_H

#include "base/port.h"
#include "base/timezone.h"

#define BASE_DAYTIME_ZONE_MAX 64u /* bytes of the name of its zone */

/* Find the next placeholder of a `key` pattern at or behind `from`. Return its place, or len: none.
 * *end: behind it. */
CELLAR_PRIVATE size_t base_placeholder(const char *p, size_t len, size_t from, size_t *end);
/* Check a `key` pattern. *places: its placeholders. */
CELLAR_PRIVATE const char *base_key_pattern_check(const char *p, size_t len, uint32_t *places);
/* Check a list of tags, as "a,b". *count: its tags. */
CELLAR_PRIVATE const char *base_tags_check(const char *list, size_t len, uint32_t *count);
/* Read a time of day, as "00:00@Europe/Paris". *zone: open. *no_memory: the zone got none. */
CELLAR_PRIVATE const char *base_daytime_read(const char *p, size_t len, uint32_t *minutes,
                                             base_tz **zone, bool *no_memory);

#endif
