/* SPDX-License-Identifier: MIT
 *
 * stat: the figures of a limiter; a scan over its keys.
 *
 * LOCKING    A scan holds region and bucket lock while it copies one bucket, none while the
 *            function of the host runs. */
#include <string.h>

#include "limit/calendar.h"
#include "limit/convert.h"
#include "limit/overrides.h"
#include "limit/slots.h"

BASE_SIZE_BEGIN

/* ---- figures ---- */

CELLAR_PRIVATE const char *limit_figures(void *object, uint64_t *value)
{
    cellar_limiter *l = object;
    const uint32_t buckets = l->regions * l->region_buckets;
    memset(value, 0, (STATS_LIMITER_COUNT + LIMIT_RULES) * sizeof *value);
    for (uint32_t r = 0; r < l->rows; r++) {
        const limit_row *row = &l->row[r];
        for (uint32_t i = 0; i < LIMIT_COUNTED; i++) { value[i] += base_load_rlx(&row->cell[i]); }
        for (uint32_t i = 0; i < LIMIT_RULES; i++) {
            value[STATS_LIMITER_COUNT + i] += base_load_rlx(&row->cell[LIMIT_COUNTED + i]);
        }
    }
    value[STATS_LIMITER_SLOTS] = (uint64_t)buckets * LIMIT_WAYS;
    for (uint32_t b = 0; b < buckets; b++) {
        for (uint32_t way = 0; way < LIMIT_WAYS; way++) {
            value[STATS_LIMITER_KEYS] += base_load_rlx(&limit_slot_at(l, b, way)->fp) != 0;
        }
    }
    value[STATS_LIMITER_BYTES] = l->block_bytes + sizeof *l + BASE_PAD + base_tz_bytes(l->zone) +
                                 l->persist_bytes;
    sync_take(LIMIT_SIDE, &l->side);
    value[STATS_LIMITER_OVERRIDES] = base_load_rlx(&l->over_count);
    value[STATS_LIMITER_PERMITS] = l->permit_count;
    sync_drop(LIMIT_SIDE, &l->side);
    return l->obj.name;
}

CELLAR_API cellar_err cellar_limiter_stats_get(cellar_limiter *l, cellar_limiter_stats *out)
{
    return stats_get(l, out);
}

/* ---- scan ---- */

static void limit_entry_of(cellar_limiter *l, const limit_moment *base, limit_slot *s,
                           cellar_limiter_entry *out)
{
    limit_moment m = *base;
    const uint64_t fp = base_load_rlx(&s->fp) & ~(uint64_t)1;
    bool has_plan = false;
    uint64_t until_ns = 0;
    memset(out, 0, sizeof *out);
    if (base_load_acq(&l->over_count) != 0) {
        out->overridden = limit_over_get(l, fp, m.rule, &has_plan, &until_ns);
    }
    out->fingerprint = fp >> 1;
    out->rule_count = l->rule_count;
    out->banned_ns = until_ns > m.now_ns ? until_ns - m.now_ns : 0;
    if (l->multi) {
        const uint64_t until = base_load_acq(limit_word_at(s, l->rule_count)) >> 2;
        if (until > m.units) { out->banned_ns = limit_ns_of(until - m.units); }
    }
    for (uint32_t i = 0; i < l->rule_count; i++) {
        uint64_t v = limit_value_of(l, &m, s, i), first_ns;
        limit_verdict says;
        if ((int32_t)i == l->conc) {
            v -= limit_permit_over(l, fp, m.now_ns, v, &first_ns) << 32;
        }
        limit_show_rule(l, &m, s, i, v, &says);
        out->remaining[i] = says.remaining;
        out->reset_after_ns[i] = says.reset_ns;
    }
}

CELLAR_API cellar_err cellar_limiter_scan(cellar_limiter *l, cellar_limiter_scan_fn fn, void *ctx)
{
    if (l == NULL || fn == NULL) { return CELLAR_E_INVAL; }
    if (l->obj.forked) { return CELLAR_E_FORKED; }
    const uint64_t now = limit_now(l);
    limit_calendar_look(l, now);
    limit_rebase(l, now);
    for (uint32_t b = 0; b < l->regions * l->region_buckets; b++) {
        cellar_limiter_entry e[LIMIT_WAYS];
        uint32_t n = 0;
        limit_moment m;
        (void)limit_bucket_open(l, b, NULL, now, &m);
        for (uint32_t way = 0; way < LIMIT_WAYS; way++) {
            limit_slot *s = limit_slot_at(l, b, way);
            if (base_load_rlx(&s->fp) != 0) { limit_entry_of(l, &m, s, &e[n++]); }
        }
        limit_bucket_close(l, b);
        for (uint32_t i = 0; i < n; i++) { /* code of the host: no lock held */
            if (!fn(&e[i], ctx)) { return CELLAR_OK; }
        }
    }
    return CELLAR_OK;
}

BASE_SIZE_END
