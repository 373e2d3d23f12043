/* SPDX-License-Identifier: MIT
 *
 * text: the text of a limiter: HTTP header lines, figures for Prometheus and as JSON.
 *
 * LINES      Each line ends with CRLF, so any number of them is part of a header section. Names
 *            were checked at open. A full bucket has `burst` units, which may be more than the
 *            limit: lines say the limit then, since clients take both for one quota.
 * SOURCE     draft-ietf-httpapi-ratelimit-headers (RateLimit, RateLimit-Policy; up to -06 the three
 *            single fields), RFC 9110 10.2.3 (Retry-After), RFC 9651 (strings).
 * LOCKING    `change` while rules are copied. No allocation, no locale. */
#include <string.h>

#include "base/text.h"
#include "limit/calendar.h"
#include "stats/text.h"

BASE_SIZE_BEGIN

#ifndef CELLAR_OMIT_TEXT

#define LIMIT_STYLES (CELLAR_HEADERS_IETF | CELLAR_HEADERS_DRAFT6 | CELLAR_HEADERS_X | \
                      CELLAR_HEADERS_RETRY_AFTER)

/* Add a name in double quotes. Structured fields escape with a backslash. */
static void limit_text_name(base_text *t, const char *name)
{
    base_text_add(t, "\"");
    for (; *name != '\0'; name++) {
        base_text_add(t, *name == '"' || *name == '\\' ? "\\%c" : "%c", *name);
    }
    base_text_add(t, "\"");
}

static unsigned long long limit_seconds(uint64_t ns)
{
    return ns / CELLAR_SECOND_NS + (ns % CELLAR_SECOND_NS != 0);
}

/* Return the seconds of the window of a rule; 0: its length varies. */
static unsigned long long limit_window(const cellar_rule *r)
{
    switch (r->calendar) {
    case CELLAR_PER_MINUTE: return 60;
    case CELLAR_PER_HOUR: return 3600;
    case CELLAR_PER_DAY: return 86400;
    case CELLAR_PER_WEEK: return 7 * 86400;
    default: return limit_seconds(r->period_ns);
    }
}

static void limit_rules_copy(cellar_limiter *l, cellar_rule *out)
{
    sync_take(RESIZE, &l->change);
    memcpy(out, l->rule, sizeof l->rule);
    sync_drop(RESIZE, &l->change);
}

/* Add the quotas. The rule that decided has that of the decision: a key may have a plan. */
static void limit_text_policy(base_text *t, const cellar_limiter *l, const cellar_rule *rules,
                              const cellar_limiter_result *r)
{
    base_text_add(t, "RateLimit-Policy: ");
    for (uint32_t i = 0; i < l->rule_count; i++) {
        if (i > 0) { base_text_add(t, ", "); }
        limit_text_name(t, rules[i].name);
        base_text_add(t, ";q=%llu", (unsigned long long)(i == r->rule ? r->limit : rules[i].limit));
        if (limit_window(&rules[i]) != 0) { base_text_add(t, ";w=%llu", limit_window(&rules[i])); }
    }
}

/* Report the length of the text, and whether the buffer holds all of it. */
static cellar_err limit_text_end(size_t len, size_t cap, size_t *text_len)
{
    if (text_len != NULL) { *text_len = len; }
    return len < cap ? CELLAR_OK : CELLAR_E_BUFFER;
}

CELLAR_API cellar_err cellar_limiter_headers_write(cellar_limiter *l,
                                                   const cellar_limiter_result *r, uint32_t style,
                                                   char *buf, size_t buf_cap, size_t *text_len)
{
    base_text t = { buf, buf_cap, 0 };
    cellar_rule rules[LIMIT_RULES];
    if (text_len != NULL) { *text_len = 0; }
    if (l == NULL || r == NULL || (buf == NULL && buf_cap != 0)) { return CELLAR_E_INVAL; }
    if (l->obj.forked) { return CELLAR_E_FORKED; }
    if ((style & ~LIMIT_STYLES) != 0) { return CELLAR_E_UNSUPPORTED; }
    if (buf_cap > 0) { buf[0] = '\0'; }
    limit_rules_copy(l, rules);
    const uint32_t by = r->rule < l->rule_count ? r->rule : 0;
    const unsigned long long limit = r->limit, left = limit_min_u64(r->remaining, r->limit);
    const unsigned long long reset = limit_seconds(r->reset_after_ns);
    if ((style & CELLAR_HEADERS_IETF) != 0) {
        limit_text_policy(&t, l, rules, r);
        base_text_add(&t, "\r\nRateLimit: ");
        limit_text_name(&t, rules[by].name);
        base_text_add(&t, ";r=%llu;t=%llu\r\n", left, reset);
    }
    if ((style & CELLAR_HEADERS_DRAFT6) != 0) {
        base_text_add(&t, "RateLimit-Limit: %llu\r\nRateLimit-Remaining: %llu\r\n"
                          "RateLimit-Reset: %llu\r\n", limit, left, reset);
    }
    if ((style & CELLAR_HEADERS_X) != 0) {
        const uint64_t wall_ms = limit_wall_ms(l);
        const unsigned long long at = wall_ms / 1000 + r->reset_after_ns / CELLAR_SECOND_NS +
            limit_seconds(wall_ms % 1000 * 1000000 + r->reset_after_ns % CELLAR_SECOND_NS);
        base_text_add(&t, "X-RateLimit-Limit: %llu\r\nX-RateLimit-Remaining: %llu\r\n"
                          "X-RateLimit-Reset: %llu\r\n", limit, left, at);
    }
    if ((style & CELLAR_HEADERS_RETRY_AFTER) != 0 && r->allowed == 0 && r->never == 0 &&
        r->retry_after_ns != CELLAR_NEVER_NS) {
        const unsigned long long after = limit_seconds(limit_max_u64(r->retry_after_ns, 1));
        base_text_add(&t, "Retry-After: %llu\r\n", after);
    }
    return limit_text_end(t.len, t.cap, text_len);
}

/* ---- figures ---- */

CELLAR_PRIVATE void limit_figures_more(stats_out *o, const stats_owner *owner, void *object,
                                       const uint64_t *value)
{
    static const char family[] = "cellar_limiter_denied_total";
    const cellar_limiter *l = object;
    stats_family(o, family, "Denials by rule.", "counter");
    for (uint32_t i = 0; i < l->rule_count; i++) {
        const char number[] = { (char)('0' + i), '\0' };
        const stats_owner rule = { "rule", l->rule_name[i], strlen(l->rule_name[i]), NULL };
        const stats_owner nth = { "number", number, 1, &rule };
        const stats_owner limiter = { owner->label, owner->value, owner->value_len, &nth };
        stats_put_sample(o, family, "", &limiter, "", 0, value[STATS_LIMITER_COUNT + i]);
    }
}

#endif

BASE_SIZE_END
