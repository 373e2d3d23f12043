/* SPDX-License-Identifier: MIT
 *
 * tick: maintenance: windows that must not wrap, expired permits, the next snapshot.
 *
 * LOCKING    region, bucket */
#include "limit/calendar.h"
#include "limit/convert.h"
#include "limit/permits.h"
#include "limit/slots.h"
#include "limit/snapshot.h"

BASE_SIZE_BEGIN

#define LIMIT_TICK_MS 1000
#define LIMIT_TICK_PERMITS 16384u /* records of permits a tick looks at */

/* Renew the windows of a key without counts: window numbers wrap. The words keep a window: an older
 * reading that comes later must not meet an unused key. */
static void limit_sweep_slot(cellar_limiter *l, limit_slot *s, void *ctx)
{
    const limit_moment *m = ctx;
    for (uint32_t k = 0; k < l->rule_count; k++) {
        if (l->algorithm[k] != CELLAR_RULE_SLIDING_WINDOW) { continue; }
        const uint64_t w = base_load_acq(limit_word_at(s, k));
        const uint64_t none = limit_count_none(&m->rule[k], &m->at[k], w >> 2);
        if (none != 0 && limit_debt(&m->rule[k], &m->at[k], w >> 2) == 0) {
            (void)base_cas_ar(limit_word_at(s, k), w, limit_word(none, w));
        }
    }
}

static void limit_sweep(cellar_limiter *l, uint32_t region, uint64_t now_ns)
{
    limit_moment m;
    limit_head *h = &l->head[region];
    sync_take(LIMIT, &h->lock);
    limit_moment_of(l, limit_set_of(l, base_load_acq(&l->state), region), NULL,
                    limit_max_u64(now_ns, h->high_water), &m);
    limit_region_each(l, region, limit_sweep_slot, &m);
    h->high_water = limit_max_u64(h->high_water, m.now_ns);
    sync_drop(LIMIT, &h->lock);
}

CELLAR_PRIVATE cellar_err limit_tick(void *object, uint64_t budget_us, int64_t *wait_ms)
{
    cellar_limiter *l = object;
    (void)budget_us;
    *wait_ms = LIMIT_TICK_MS;
    const uint64_t now = limit_now(l);
    bool counts = false;
    limit_calendar_look(l, now);
    limit_rebase(l, now);
    for (uint32_t i = 0; i < l->rule_count; i++) {
        counts = counts || l->algorithm[i] == CELLAR_RULE_SLIDING_WINDOW;
    }
    const uint32_t many = BASE_MIN(16u, l->regions);
    const uint32_t first = counts ? base_add_rlx(&l->sweep_next, many) : 0;
    for (uint32_t i = 0; counts && i < many; i++) {
        const uint32_t region = (first + i) % l->regions;
        limit_sweep(l, region, now);
    }
    if (l->conc >= 0) { limit_permits_reclaim(l, now, LIMIT_TICK_PERMITS); }
    return limit_persist_tick(l, now);
}

BASE_SIZE_END
