/* SPDX-License-Identifier: MIT
 *
 * stat: the figures of a table of locks.
 *
 * WALK       Acquisitions are not counted where they happen: each raises the fence of its key by
 *            one. Their number is the sum of live fences plus the part each stripe keeps of keys
 *            that left (lock_stripe.acquired). All other counters are kept under the stripe
 *            lock. */
#include <string.h>

#include "lock/record.h"

BASE_SIZE_BEGIN

static void lock_stat_stripe(const cellar_locks *t, lock_stripe *s,
                             uint64_t value[STATS_LOCK_COUNT])
{
    sync_take(LOCK, &s->lock);
    for (uint32_t i = 0; i < STATS_LOCK_COUNT; i++) { value[i] += s->count[i]; }
    value[STATS_LOCK_ACQUIRED] += s->acquired;
    value[STATS_LOCK_WAITING] += s->waiter_count;
    uint64_t top = s->floor;
    for (const lock_record *r = NULL; (r = lock_behind(t, s, r)) != NULL;) {
        const uint64_t word = base_load_rlx(&r->word);
        value[STATS_LOCK_ACQUIRED] += lock_fence(word);
        value[STATS_LOCK_HELD] += (word & LOCK_HELD) != 0;
        value[STATS_LOCK_RECORDS]++;
        top = BASE_MAX(top, lock_fence(word));
    }
    sync_drop(LOCK, &s->lock);
    value[STATS_LOCK_FENCE] = BASE_MAX(value[STATS_LOCK_FENCE], top);
}

CELLAR_PRIVATE const char *lock_figures(void *object, uint64_t *value)
{
    cellar_locks *t = object;
    memset(value, 0, STATS_LOCK_COUNT * sizeof value[0]);
    for (uint32_t i = 0; i < t->stripe_count; i++) { lock_stat_stripe(t, &t->stripe[i], value); }
    value[STATS_LOCK_BYTES] = base_object_bytes(&t->obj);
    return t->obj.name;
}

CELLAR_API cellar_err cellar_locks_stats_get(cellar_locks *t, cellar_locks_stats *out)
{
    return stats_get(t, out);
}

BASE_SIZE_END
