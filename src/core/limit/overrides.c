/* SPDX-License-Identifier: MIT
 *
 * overrides: state that few keys have: a plan, a ban outside the word, permits.
 *
 * PICTURE    over_chain[hash] -> over -> over ...      over: fingerprint, plan, banned until
 *            plan: compiled rules, shared by all keys with that plan; users are counted
 *            word of concurrency: count, last -> permit ... first -> (ring) last, by end of hold
 * INVARIANTS Users of a plan == overrides that name it + 1 while it has a name. Each override is in
 *            one chain, or on the free list with fp 0. Permits of a key == the count in its word.
 * LOCKING    All of it under `side` (LIMIT_SIDE), the last lock of all; callers may hold region and
 *            bucket locks. Nothing here waits or allocates.
 * LIMITS     max_overrides, max_plans, max_permits: E_LIMIT, counted. A new permit walks at most 64
 *            steps to its place by end of hold. If holds differ widely, an expired permit can
 *            then stay behind a live one for a while. */
#include <string.h>

#include "limit/overrides.h"
#include "limit/table.h"

BASE_SIZE_BEGIN

#define LIMIT_WALK 64u
#define LIMIT_TOKEN_BITS 20u
#define LIMIT_ENDS 8u /* expired permits that a call ends */

static uint32_t limit_over_hash(const cellar_limiter *l, uint64_t fp)
{
    return (uint32_t)(base_mix64(fp) & (l->over_buckets - 1));
}

static limit_over *limit_over_find(cellar_limiter *l, uint64_t fp) SYNC_HOLDS(LIMIT_SIDE)
{
    if (l->over_max == 0) { return NULL; }
    uint32_t i = l->over_chain[limit_over_hash(l, fp)];
    while (i != 0 && l->over[i - 1].fp != fp) { i = l->over[i - 1].next; }
    return i != 0 ? &l->over[i - 1] : NULL;
}

static void limit_over_drop(cellar_limiter *l, limit_over *o) SYNC_HOLDS(LIMIT_SIDE)
{
    const uint32_t i = (uint32_t)(o - l->over) + 1;
    uint32_t *at = &l->over_chain[limit_over_hash(l, o->fp)];
    while (*at != i) { at = &l->over[*at - 1].next; }
    *at = o->next;
    o->fp = 0;
    o->next = l->over_free;
    l->over_free = i;
    base_store_rel(&l->over_count, base_load_rlx(&l->over_count) - 1);
}

/* Tell whether the ban of a record is over and its record may go. A running save may have the slot
 * without what the ban left, or no slot: it needs the record. */
static bool limit_over_ended(const cellar_limiter *l, const limit_over *o, uint64_t now_ns)
{
    return o->until_ns <= now_ns && base_load_rlx(&l->saved) == 0;
}

/* Drop records of expired bans. The slots of their keys keep bit 0 until a call finds no record. */
static void limit_over_reclaim(cellar_limiter *l, uint64_t now_ns) SYNC_HOLDS(LIMIT_SIDE)
{
    for (uint32_t n = 0; n < LIMIT_LOOKS && n < l->over_max; n++) {
        limit_over *o = &l->over[l->over_hand++ % l->over_max];
        if (o->fp != 0 && o->plan == 0 && limit_over_ended(l, o, now_ns)) { limit_over_drop(l, o); }
    }
}

static limit_over *limit_over_new(cellar_limiter *l, uint64_t fp, uint64_t now_ns)
    SYNC_HOLDS(LIMIT_SIDE)
{
    if (l->over_free == 0) { limit_over_reclaim(l, now_ns); }
    const uint32_t i = l->over_free;
    if (i == 0) { return NULL; }
    limit_over *o = &l->over[i - 1];
    uint32_t *chain = &l->over_chain[limit_over_hash(l, fp)];
    l->over_free = o->next;
    o->fp = fp;
    o->until_ns = 0;
    o->plan = 0;
    o->next = *chain;
    *chain = i;
    base_store_rel(&l->over_count, base_load_rlx(&l->over_count) + 1);
    return o;
}

CELLAR_PRIVATE bool limit_over_get(cellar_limiter *l, uint64_t fp, limit_rule *rules,
                                   bool *has_plan, uint64_t *until_ns)
{
    sync_take(LIMIT_SIDE, &l->side);
    const limit_over *o = limit_over_find(l, fp);
    const bool plan = o != NULL && o->plan != 0;
    *has_plan = plan;
    *until_ns = o != NULL ? o->until_ns : 0;
    if (plan) {
        memcpy(rules, l->plan[o->plan - 1].rule, l->rule_count * sizeof *rules);
    }
    sync_drop(LIMIT_SIDE, &l->side);
    return o != NULL;
}

CELLAR_PRIVATE bool limit_plan_of(cellar_limiter *l, uint64_t fp, limit_rule *rules)
{
    bool has_plan = false;
    uint64_t until_ns;
    return base_load_acq(&l->over_count) != 0 &&
           limit_over_get(l, fp, rules, &has_plan, &until_ns) && has_plan;
}

CELLAR_PRIVATE bool limit_over_ban(cellar_limiter *l, uint32_t i, uint64_t *fp,
                                   uint64_t *until_ns)
{
    sync_take(LIMIT_SIDE, &l->side);
    *fp = l->over[i].fp;
    *until_ns = l->over[i].until_ns;
    sync_drop(LIMIT_SIDE, &l->side);
    return *fp != 0 && *until_ns != 0;
}

/* Drop a record without plan and ban; return whether it was dropped. */
static bool limit_over_settle(cellar_limiter *l, limit_over *o) SYNC_HOLDS(LIMIT_SIDE)
{
    const bool none = o->plan == 0 && o->until_ns == 0;
    if (none) { limit_over_drop(l, o); }
    return none;
}

CELLAR_PRIVATE bool limit_over_trim(cellar_limiter *l, uint64_t fp, uint64_t now_ns, bool *lifted)
{
    sync_take(LIMIT_SIDE, &l->side);
    limit_over *o = limit_over_find(l, fp);
    if (lifted != NULL) { *lifted = o != NULL && o->until_ns != 0; }
    if (o != NULL && (lifted != NULL || limit_over_ended(l, o, now_ns))) { o->until_ns = 0; }
    const bool none = o == NULL || limit_over_settle(l, o);
    sync_drop(LIMIT_SIDE, &l->side);
    return none;
}

static void limit_plan_leave(cellar_limiter *l, uint32_t plan) SYNC_HOLDS(LIMIT_SIDE)
{
    if (plan == 0) { return; }
    BASE_ASSERT(l->plan[plan - 1].users > 0);
    l->plan[plan - 1].users--;
}

CELLAR_PRIVATE cellar_err limit_over_set(cellar_limiter *l, uint64_t fp, uint64_t now_ns,
                                         uint32_t plan, uint64_t until_ns)
{
    sync_take(LIMIT_SIDE, &l->side);
    limit_over *o = limit_over_find(l, fp);
    const bool needed = until_ns != 0 || (plan != 0 && plan != LIMIT_PLAN_SAME);
    if (o == NULL && needed) { o = limit_over_new(l, fp, now_ns); }
    if (o != NULL) {
        if (plan != LIMIT_PLAN_SAME) {
            limit_plan_leave(l, o->plan);
            o->plan = plan;
            if (plan != 0) { l->plan[plan - 1].users++; }
        }
        o->until_ns = limit_max_u64(o->until_ns, until_ns);
        (void)limit_over_settle(l, o);
    }
    sync_drop(LIMIT_SIDE, &l->side);
    if (o != NULL || !needed) { return CELLAR_OK; }
    limit_count(l, STATS_LIMITER_OVERRIDES_FULL, 1);
    return CELLAR_E_LIMIT;
}

CELLAR_PRIVATE cellar_err limit_plan_make(cellar_limiter *l, const char *name,
                                          const limit_rule *rules, uint32_t *plan)
{
    cellar_err err = CELLAR_OK;
    const size_t bytes = l->rule_count * sizeof *rules;
    uint32_t found = 0, vacant = 0;
    sync_take(LIMIT_SIDE, &l->side);
    for (uint32_t i = 0; i < l->plan_max && found == 0; i++) {
        const limit_plan *p = &l->plan[i];
        if (p->users == 0) {
            if (vacant == 0) { vacant = i + 1; }
        } else if (strcmp(p->name, name) == 0 &&
                   (*name != '\0' || (rules != NULL && memcmp(p->rule, rules, bytes) == 0))) {
            found = i + 1;
        }
    }
    if (rules == NULL) {
        if (found == 0) { err = CELLAR_E_NOT_FOUND; }
    } else if (found != 0 && *name != '\0' && memcmp(l->plan[found - 1].rule, rules, bytes) != 0) {
        err = CELLAR_E_BUSY; /* keys use its rules */
        if (l->plan[found - 1].users == 1) {
            memcpy(l->plan[found - 1].rule, rules, bytes);
            err = CELLAR_OK;
        }
    } else if (found == 0 && vacant == 0) {
        err = CELLAR_E_LIMIT;
    } else if (found == 0) {
        found = vacant;
        memcpy(l->plan[found - 1].name, name, strlen(name) + 1);
        memcpy(l->plan[found - 1].rule, rules, bytes);
        if (*name != '\0') { l->plan[found - 1].users++; } /* the name itself */
    }
    if (err == CELLAR_OK) { l->plan[found - 1].users++; } /* the caller, until limit_plan_drop */
    sync_drop(LIMIT_SIDE, &l->side);
    *plan = found;
    if (err == CELLAR_E_LIMIT) { limit_count(l, STATS_LIMITER_OVERRIDES_FULL, 1); }
    return err;
}

CELLAR_PRIVATE void limit_plan_drop(cellar_limiter *l, uint32_t plan)
{
    sync_take(LIMIT_SIDE, &l->side);
    limit_plan_leave(l, plan);
    sync_drop(LIMIT_SIDE, &l->side);
}

CELLAR_PRIVATE bool limit_side_clear_bans(cellar_limiter *l)
{
    bool was = false;
    sync_take(LIMIT_SIDE, &l->side);
    for (uint32_t i = 0; i < l->over_max; i++) {
        limit_over *o = &l->over[i];
        if (o->fp == 0) { continue; }
        was = was || o->until_ns != 0;
        o->until_ns = 0;
        (void)limit_over_settle(l, o);
    }
    sync_drop(LIMIT_SIDE, &l->side);
    return was;
}

/* ---- permits ---- */

static uint64_t limit_permit_value(uint64_t count, uint32_t last)
{
    return count << 32 | last;
}

static uint32_t limit_permit_last(uint64_t value) { return (uint32_t)value; }

/* Link `i` into the ring that ends with `last` (0: none); return the new last. */
static uint32_t limit_permit_link(cellar_limiter *l, uint32_t last, uint32_t i)
    SYNC_HOLDS(LIMIT_SIDE)
{
    limit_permit *p = &l->permit[i - 1];
    if (last == 0) {
        p->next = p->prev = i;
        return i;
    }
    uint32_t before = last; /* the new permit follows it */
    for (uint32_t n = 0; n < LIMIT_WALK && l->permit[before - 1].until_ns > p->until_ns; n++) {
        before = l->permit[before - 1].prev;
        if (before == last) { break; } /* once around: before all others */
    }
    const bool first = before == last && l->permit[last - 1].until_ns > p->until_ns;
    const uint32_t after = l->permit[before - 1].next;
    p->prev = before;
    p->next = after;
    l->permit[before - 1].next = i;
    l->permit[after - 1].prev = i;
    return before == last && !first ? i : last;
}

/* Unlink `i`; return the new last. */
static uint32_t limit_permit_unlink(cellar_limiter *l, uint32_t last, uint32_t i)
    SYNC_HOLDS(LIMIT_SIDE)
{
    limit_permit *p = &l->permit[i - 1];
    if (p->next == i) { return 0; }
    l->permit[p->prev - 1].next = p->next;
    l->permit[p->next - 1].prev = p->prev;
    return last == i ? p->prev : last;
}

static void limit_permit_free(cellar_limiter *l, uint32_t i) SYNC_HOLDS(LIMIT_SIDE)
{
    limit_permit *p = &l->permit[i - 1];
    p->fp = 0;
    p->next = l->permit_free;
    l->permit_free = i;
    l->permit_count--;
}

CELLAR_PRIVATE cellar_err limit_permit_new(cellar_limiter *l, uint64_t fp, uint64_t until_ns,
                                           uint64_t *value, uint64_t *token)
{
    sync_take(LIMIT_SIDE, &l->side);
    const uint32_t i = l->permit_free;
    if (i != 0) {
        limit_permit *p = &l->permit[i - 1];
        l->permit_free = p->next;
        l->permit_count++;
        p->fp = fp;
        p->until_ns = until_ns;
        p->serial++;
        *token = p->serial << LIMIT_TOKEN_BITS | (i - 1);
        const uint32_t last = limit_permit_link(l, limit_permit_last(*value), i);
        *value = limit_permit_value(limit_permits_out(*value) + 1, last);
    }
    sync_drop(LIMIT_SIDE, &l->side);
    if (i == 0) { limit_count(l, STATS_LIMITER_PERMITS_FULL, 1); }
    return i != 0 ? CELLAR_OK : CELLAR_E_LIMIT;
}

CELLAR_PRIVATE uint64_t limit_permit_over(cellar_limiter *l, uint64_t fp, uint64_t now_ns,
                                          uint64_t value, uint64_t *first_ns)
{
    const uint64_t most = BASE_MIN(limit_permits_out(value), LIMIT_ENDS);
    uint64_t over = 0;
    *first_ns = 1;
    if (most == 0) { return 0; }
    sync_take(LIMIT_SIDE, &l->side);
    const limit_permit *p = &l->permit[limit_permit_last(value) - 1];
    while (over < most && p->fp == fp) { /* else the value is that of an older ring */
        p = &l->permit[p->next - 1];
        if (p->until_ns > now_ns) {
            *first_ns = p->until_ns - now_ns;
            break;
        }
        over++;
    }
    sync_drop(LIMIT_SIDE, &l->side);
    return over;
}

CELLAR_PRIVATE void limit_permit_drop(cellar_limiter *l, uint64_t *value, uint64_t count)
{
    uint32_t last = limit_permit_last(*value);
    if (count == 0) { return; }
    sync_take(LIMIT_SIDE, &l->side);
    for (uint64_t i = 0; i < count; i++) {
        const uint32_t first = l->permit[last - 1].next;
        last = limit_permit_unlink(l, last, first);
        limit_permit_free(l, first);
    }
    sync_drop(LIMIT_SIDE, &l->side);
    *value = limit_permit_value(limit_permits_out(*value) - count, last);
}

CELLAR_PRIVATE uint64_t limit_permit_expire(cellar_limiter *l, uint64_t fp, uint64_t now_ns,
                                            uint64_t *value)
{
    uint64_t first_ns;
    const uint64_t over = limit_permit_over(l, fp, now_ns, *value, &first_ns);
    limit_permit_drop(l, value, over);
    if (over != 0) { limit_count(l, STATS_LIMITER_PERMITS_EXPIRED, over); }
    return first_ns;
}

CELLAR_PRIVATE uint32_t limit_permit_stale(cellar_limiter *l, uint64_t now_ns, uint32_t looks,
                                           uint64_t *fp, uint32_t most)
{
    uint32_t n = 0;
    sync_take(LIMIT_SIDE, &l->side);
    for (uint32_t i = 0; i < looks && i < l->permit_max && n < most; i++) {
        const limit_permit *p = &l->permit[l->permit_hand++ % l->permit_max];
        if (p->fp != 0 && p->until_ns <= now_ns) { fp[n++] = p->fp; }
    }
    sync_drop(LIMIT_SIDE, &l->side);
    return n;
}

CELLAR_PRIVATE cellar_err limit_permit_move(cellar_limiter *l, uint64_t fp, uint64_t token,
                                            uint64_t now_ns, uint64_t until_ns, uint64_t *value)
{
    const uint64_t number = token & (((uint64_t)1 << LIMIT_TOKEN_BITS) - 1);
    bool ours = false;
    sync_take(LIMIT_SIDE, &l->side);
    if (number < l->permit_max) {
        limit_permit *p = &l->permit[number];
        ours = p->fp == fp && p->serial == token >> LIMIT_TOKEN_BITS && p->until_ns > now_ns;
        if (ours) {
            const uint32_t i = (uint32_t)number + 1;
            uint32_t last = limit_permit_unlink(l, limit_permit_last(*value), i);
            p->until_ns = until_ns;
            if (until_ns != 0) { last = limit_permit_link(l, last, i); }
            *value = limit_permit_value(limit_permits_out(*value) - (until_ns == 0), last);
            if (until_ns == 0) { limit_permit_free(l, i); }
        }
    }
    sync_drop(LIMIT_SIDE, &l->side);
    return ours ? CELLAR_OK : CELLAR_E_NOT_OWNER;
}

BASE_SIZE_END
