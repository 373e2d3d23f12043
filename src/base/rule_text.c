/* SPDX-License-Identifier: MIT
 *
 * rule_text: placeholders of key patterns, lists of tags, times of day. */
#include "base/rule_text.h"

#include <string.h>

#include "cellar.h"

BASE_SIZE_BEGIN

CELLAR_PRIVATE size_t base_placeholder(const char *p, size_t len, size_t from, size_t *end)
{
    const char *open = from < len ? memchr(p + from, '{', len - from) : NULL;
    if (open == NULL) { return len; }
    const size_t at = (size_t)(open - p);
    const char *close = memchr(open, '}', len - at);
    *end = close == NULL ? len : (size_t)(close - p) + 1;
    return at;
}

CELLAR_PRIVATE const char *base_key_pattern_check(const char *p, size_t len, uint32_t *places)
{
    size_t from = 0, end = 0, last = SIZE_MAX;
    *places = 0;
    for (;;) {
        const size_t at = base_placeholder(p, len, from, &end);
        if (memchr(p + from, '}', at - from) != NULL) { return "} without {"; }
        if (at == len) { return NULL; }
        if (p[end - 1] != '}') { return "{ without }"; }
        if (end - at < 3) { return "a placeholder needs a name"; }
        if (memchr(p + at + 1, '{', end - at - 1) != NULL) { return "{ inside a placeholder"; }
        if (at == last) { return "two placeholders need text between them"; }
        (*places)++;
        from = last = end;
    }
}

CELLAR_PRIVATE const char *base_tags_check(const char *list, size_t len, uint32_t *count)
{
    size_t tag = 0;
    *count = 1;
    for (size_t i = 0; i <= len; i++) {
        if (i < len && list[i] != ',') {
            tag++;
            continue;
        }
        if (tag == 0 || tag > CELLAR_TAG_MAX) { return "a tag has 1..128 bytes"; }
        *count += i < len;
        tag = 0;
    }
    return *count > CELLAR_TAGS_MAX ? "an entry has at most 16 tags" : NULL;
}

/* Read two digits up to `most`; -1: others. */
static int base_two_digits(const char *p, int most)
{
    const int high = p[0] - '0', low = p[1] - '0';
    if (high < 0 || high > 9 || low < 0 || low > 9) { return -1; }
    return high * 10 + low <= most ? high * 10 + low : -1;
}

CELLAR_PRIVATE const char *base_daytime_read(const char *p, size_t len, uint32_t *minutes,
                                             base_tz **zone, bool *no_memory)
{
    char name[BASE_DAYTIME_ZONE_MAX + 1];
    const int hour = len >= 7 ? base_two_digits(p, 23) : -1;
    const int minute = len >= 7 ? base_two_digits(p + 3, 59) : -1;
    if (hour < 0 || minute < 0 || p[2] != ':' || p[5] != '@' || len - 6 > BASE_DAYTIME_ZONE_MAX) {
        return "no time of day: write 00:00@Asia/Shanghai";
    }
    memcpy(name, p + 6, len - 6);
    name[len - 6] = '\0';
    *minutes = (uint32_t)(hour * 60 + minute);
    switch (base_tz_open(NULL, name, zone)) {
    case BASE_TZ_OK: return NULL;
    case BASE_TZ_UNKNOWN: break;
    case BASE_TZ_DAMAGED: return "the file of the time zone is damaged";
    case BASE_TZ_NOMEM: *no_memory = true; return "no memory for the time zone";
    }
    return "unknown time zone";
}

BASE_SIZE_END
