/* SPDX-License-Identifier: MIT
 *
 * stat: the figures of a table of locks, as a struct and as text.
 *
 * WALK       Acquisitions are not counted where they happen: each raises the fence of its key by
 *            one. Their number is the sum of live fences plus the part each stripe keeps of keys
 *            that left (lock_stripe.acquired). All other counters are kept under the stripe
 *            lock. */
#include <string.h>

#include "base/opts.h"
#include "lock/record.h"

BASE_SIZE_BEGIN

static void lock_stat_stripe(lock_stripe *s, uint64_t value[STATS_LOCK_COUNT])
{
    sync_take(LOCK, &s->lock);
    for (uint32_t i = 0; i < STATS_LOCK_COUNT; i++) { value[i] += s->count[i]; }
    value[STATS_LOCK_ACQUIRED] += s->acquired;
    value[STATS_LOCK_WAITING] += s->waiter_count;
    uint64_t top = s->floor;
    for (const lock_record *r = s->index; r != NULL; r = r->hh.next) {
        const uint64_t word = base_load_rlx(&r->word);
        value[STATS_LOCK_ACQUIRED] += lock_fence(word);
        value[STATS_LOCK_HELD] += (word & LOCK_HELD) != 0;
        value[STATS_LOCK_RECORDS]++;
        top = BASE_MAX(top, lock_fence(word));
    }
    sync_drop(LOCK, &s->lock);
    value[STATS_LOCK_FENCE] = BASE_MAX(value[STATS_LOCK_FENCE], top);
}

static void lock_stat_all(cellar_locks *t, uint64_t value[STATS_LOCK_COUNT])
{
    memset(value, 0, STATS_LOCK_COUNT * sizeof value[0]);
    for (uint32_t i = 0; i < LOCK_STRIPES; i++) { lock_stat_stripe(&t->stripe[i], value); }
    value[STATS_LOCK_BYTES] = base_load_rlx(&t->account.used);
}

/* The figures in the order of cellar_locks_stats. */
static const uint8_t lock_fields[] = {
    STATS_LOCK_ACQUIRED, STATS_LOCK_HANDED_OVER, STATS_LOCK_WAIT, STATS_LOCK_TIMEOUT,
    STATS_LOCK_BUSY, STATS_LOCK_DEADLOCK, STATS_LOCK_EXPIRED, STATS_LOCK_OWNER_DIED,
    STATS_LOCK_LOST, STATS_LOCK_NOT_OWNER, STATS_LOCK_REJECTED_LIMIT, STATS_LOCK_REJECTED_MEMORY,
    STATS_LOCK_RECORDS, STATS_LOCK_HELD, STATS_LOCK_WAITING, STATS_LOCK_BYTES, STATS_LOCK_FENCE,
};
_Static_assert(sizeof lock_fields * sizeof(uint64_t) ==
                   sizeof(cellar_locks_stats) - offsetof(cellar_locks_stats, acquired),
               "one figure for each field");

CELLAR_API cellar_err cellar_locks_stats_get(cellar_locks *t, cellar_locks_stats *out)
{
    if (t == NULL || out == NULL) { return CELLAR_E_INVAL; }
    uint64_t v[STATS_LOCK_COUNT];
    lock_stat_all(t, v);
    cellar_locks_stats full = { .struct_size = sizeof full };
    unsigned char *at = (unsigned char *)&full.acquired;
    for (size_t i = 0; i < sizeof lock_fields; i++) {
        memcpy(at + i * sizeof v[0], &v[lock_fields[i]], sizeof v[0]);
    }
    return base_opts_out(out, &full, sizeof full);
}

#ifndef CELLAR_OMIT_TEXT
CELLAR_PRIVATE cellar_err lock_text(void *object, bool json, char *buf, size_t cap, size_t *full)
{
    cellar_locks *t = object;
    uint64_t v[STATS_LOCK_COUNT];
    lock_stat_all(t, v);
    *full = stats_write_locks(t->name, v, json, buf, cap);
    return CELLAR_OK;
}
#endif

BASE_SIZE_END
