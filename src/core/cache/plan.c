/* SPDX-License-Identifier: MIT
 *
 * plan: merge the options of a write.
 *
 * PICTURE    deadline = now + jitter(min(ttl, maximum age with an idle time)). ttl: of the call,
 *            else its class, else the namespace, else none. Jitter beyond the maximum age is
 *            subtracted instead: the bound holds, and deadlines still spread.
 * INVARIANTS Refused options change nothing: the plan is complete before L1 is touched. */
#include "cache/plan.h"

#include "cache/call.h"
#include "cache/error.h"
#include "cache/tier_store.h"

/* Encode a cost in microseconds as 1 + {5 bits exponent, 3 bits mantissa}, within 6 percent; 0:
 * none. */
CELLAR_PRIVATE uint8_t cache_cost_code(uint32_t us)
{
    if (us == 0) { return 0; }
    const unsigned e = base_log2_floor(us);
    const unsigned m = (unsigned)(((uint64_t)us << 3) >> e) & 7u;
    const unsigned code = 1 + (e << 3 | m);
    return (uint8_t)BASE_MIN(code, 255u);
}

/* Decode a cost: 0 none, else 1 + {5 bits exponent, 3 bits mantissa} of microseconds. */
CELLAR_PRIVATE uint32_t cache_cost_us(uint8_t code)
{
    if (code == 0) { return 0; }
    const uint32_t e = (uint32_t)(code - 1) >> 3, m = (uint32_t)(code - 1) & 7u;
    const uint64_t us = ((uint64_t)(8 + m) << e) >> 3;
    return us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
}

/* Say why options of another size could not be copied. */
static void cache_start_broken(cellar_set_opts *full, cellar_err err, cache_broken *why)
{
    if (err == CELLAR_E_UNSUPPORTED) { full->flags = 0; } /* an unknown field */
    (void)cache_breaks(why, err, err == CELLAR_E_UNSUPPORTED
        ? NULL : "set options have a wrong struct_size: start from cellar_set_opts_default()");
}

/* Name the first time of the options that is negative, or too long for its field. */
BASE_COLD static void cache_time_broken(const cellar_set_opts *o, bool negative, cache_broken *b)
{
    const struct { int64_t ms; const char *sign, *most; } of[] = {
        { o->idle_ms, "idle_ms must be 0 or more", "idle_ms must be at most 2^32 - 1" },
        { o->stale_ms, "stale_ms must be 0 or more", "stale_ms must be at most 2^32 - 1" },
        { o->ttl_ms, "ttl_ms must be 0 or more", NULL },
        { o->max_age_ms, "max_age_ms must be 0 or more", NULL },
    };
    unsigned at = 0;
    while (negative ? of[at].ms >= 0
                    : of[at].ms <= CACHE_WINDOW_MAX || of[at].ms == CELLAR_TTL_NONE) { at++; }
    (void)cache_breaks_by(b, CELLAR_E_INVAL, negative ? of[at].sign : of[at].most, of[at].ms);
}

/* Say which flags do not go together, or not with the call. */
BASE_COLD static void cache_flags_broken(uint32_t flags, uint32_t banned, cache_broken *b)
{
    if ((flags & banned) == 0) {
        (void)cache_breaks(b, CELLAR_E_INVAL, "set CELLAR_ONLY_IF_ABSENT, or one of _PRESENT and "
                                              "_VERSION, not both");
        return;
    }
    (void)cache_breaks_by(b, CELLAR_E_INVAL, "flags has one that this call does not take, see its "
                                             "contract", (int64_t)(flags & banned));
}

BASE_ALWAYS_INLINE cellar_err cache_set_opts_check(const cellar_set_opts *o, uint32_t banned,
                                                   cache_broken *why)
{
    if ((o->flags & ~CACHE_SET_FLAGS) != 0 || o->reserved0 != 0) {
        return cache_breaks(why, CELLAR_E_UNSUPPORTED, NULL);
    }
    if ((o->flags & CELLAR_DURABLE) != 0 && (o->flags & CELLAR_NO_L2) != 0) {
        return cache_breaks(why, CELLAR_E_INVAL, "set CELLAR_DURABLE or CELLAR_NO_L2, not both");
    }
    const uint32_t absent = CELLAR_ONLY_IF_ABSENT;
    const uint32_t there = CELLAR_ONLY_IF_PRESENT | CELLAR_ONLY_IF_VERSION;
    if ((o->flags & banned) != 0 || ((o->flags & absent) != 0 && (o->flags & there) != 0)) {
        cache_flags_broken(o->flags, banned, why);
        return CELLAR_E_INVAL;
    }
    if ((o->flags & CELLAR_ONLY_IF_VERSION) != 0 && o->if_version == 0) {
        return cache_breaks(why, CELLAR_E_INVAL, "CELLAR_ONLY_IF_VERSION needs an if_version from "
                                                 "1, a cellar_entry_info.version");
    }
    if ((o->ttl_ms | o->idle_ms | o->max_age_ms | o->stale_ms) < 0) {
        cache_time_broken(o, true, why);
        return CELLAR_E_INVAL;
    }
    if ((o->idle_ms > CACHE_WINDOW_MAX && o->idle_ms != CELLAR_TTL_NONE) ||
        (o->stale_ms > CACHE_WINDOW_MAX && o->stale_ms != CELLAR_TTL_NONE)) {
        cache_time_broken(o, false, why);
        return CELLAR_E_RANGE;
    }
    if (o->jitter_pct > 100) {
        return cache_breaks_by(why, CELLAR_E_INVAL, "jitter_pct must be 0..100", o->jitter_pct);
    }
    if (o->jitter_mode > CELLAR_JITTER_PLUSMINUS) {
        return cache_breaks_by(why, CELLAR_E_INVAL, "jitter_mode must be 0..2", o->jitter_mode);
    }
    if (o->tag_count > CELLAR_TAGS_MAX || (o->tag_count != 0 && o->tags == NULL)) {
        return cache_breaks_by(why, CELLAR_E_INVAL, "tag_count must be 0..16, and 0 if tags is "
                                                    "NULL", o->tag_count);
    }
    for (uint32_t i = 0; i < o->tag_count; i++) {
        if (o->tags[i].data == NULL || o->tags[i].len == 0 || o->tags[i].len > CELLAR_TAG_MAX) {
            return cache_breaks_size(why, CELLAR_E_INVAL,
                                     o->tags[i].data == NULL ? "a tag must not be NULL"
                                                             : "a tag must have 1..128 bytes",
                                     o->tags[i].len);
        }
    }
    return CELLAR_OK;
}

static void cache_plan_tags(cellar *c, const cellar_set_opts *o, cache_plan *plan)
{
    for (uint32_t i = 0; i < o->tag_count; i++) {
        plan->fps[i] = base_hash(c->hash_key, CACHE_SALT_TAG, o->tags[i].data, o->tags[i].len);
    }
    plan->spec.tag_fps = plan->fps;
    plan->spec.tag_text = o->tags;
    plan->spec.tag_count = o->tag_count;
    plan->spec.tag_born = base_load_acq(&c->store->tag_epoch);
}

static uint32_t cache_l1_flags(uint32_t flags)
{
    return ((flags & CELLAR_ONLY_IF_ABSENT) != 0 ? L1_IF_ABSENT : 0u) |
           ((flags & CELLAR_ONLY_IF_PRESENT) != 0 ? L1_IF_PRESENT : 0u) |
           ((flags & CELLAR_ONLY_IF_VERSION) != 0 ? L1_IF_VERSION : 0u) |
           ((flags & CELLAR_KEEP_OLD_VALUE) != 0 ? L1_KEEP_OLD : 0u) |
           ((flags & CELLAR_KEEP_TTL) != 0 ? L1_KEEP_TTL : 0u);
}

/* Merge times to live, idle times and stale windows for this write. Set *why to a broken rule. */
static cellar_err cache_plan_times(cellar *c, const cellar_set_opts *o, cache_plan *plan,
                                   cache_broken *why)
{
    const bool negative = (o->flags & CELLAR_NEGATIVE) != 0;
    int64_t ttl = o->ttl_ms;
    if (o->ttl_class != 0) {
        if (o->ttl_class > base_load_acq(&c->class_count)) {
            return cache_breaks_by(why, CELLAR_E_INVAL, "ttl_class is no class of this namespace: "
                                                        "see cellar_ttl_class_find", o->ttl_class);
        }
        if (ttl == 0) { ttl = base_load_rlx(&c->class_ttl_ms[o->ttl_class - 1]); }
    }
    if (ttl == 0) { ttl = cache_default(c, negative ? CACHE_NEGATIVE_TTL : CACHE_TTL); }
    int64_t idle = o->idle_ms != 0 ? o->idle_ms : cache_default(c, CACHE_IDLE);
    if (idle == CELLAR_TTL_NONE || negative) { idle = 0; }
    if (o->max_age_ms != 0 && idle == 0) {
        return cache_breaks_by(why, CELLAR_E_INVAL, "max_age_ms needs an idle_ms, or use ttl_ms",
                               o->max_age_ms);
    }
    plan->most_ms = BASE_NEVER_MS;
    plan->asked_ms = ttl;
    if (idle != 0) {
        const int64_t age = o->max_age_ms != 0 ? o->max_age_ms : cache_default(c, CACHE_MAX_AGE);
        if (age != 0) { plan->most_ms = age; }
        ttl = BASE_MIN(ttl, plan->most_ms);
    }
    const int64_t stale =
        o->stale_ms != 0 ? cache_stale_of(o->stale_ms) : cache_default(c, CACHE_STALE);
    plan->ttl_ms = ttl;
    plan->spec.idle_ms = idle;
    plan->spec.stale_ms = ttl == CELLAR_TTL_NONE || negative ? 0 : stale;
    return CELLAR_OK;
}

static cellar_err cache_plan_durable(const cellar *c, cache_broken *why)
{
    const cache_tier *t = cache_tier_of(c);
    if (t != NULL && t->commits) { return CELLAR_OK; }
    return cache_breaks(why, CELLAR_E_UNSUPPORTED,
                        "CELLAR_DURABLE needs a working disk tier, and not CELLAR_L2_SYNC_MANUAL");
}

/* Keep why options are refused. */
BASE_COLD static cellar_err cache_set_opts_fail(cellar *c, const cellar_set_opts *o,
                                                uint32_t banned, cellar_err err,
                                                const cache_broken *why)
{
    static const char *const calls[] = { "cellar_set", "cellar_set_many", "cellar_update",
                                         "cellar_increment", "cellar_object_set",
                                         "cellar_lease_fulfill", "cellar_load_opts_set",
                                         "cellar_object_lease_fulfill" };
    const char *const call = calls[banned >> CACHE_FOR_SHIFT];
    return why->rule != NULL ? cache_fail_broken(c, err, call, why)
                             : cache_fail_flags(c, call, o->flags & ~CACHE_SET_FLAGS);
}

CELLAR_PRIVATE cellar_err cache_set_opts_read(cellar *c, const cellar_set_opts *o, uint32_t banned,
                                              cellar_set_opts *full)
{
    cache_broken why;
    cellar_err err = base_opts_in(full, sizeof *full, o);
    cache_start_broken(full, err, &why);
    if (err == CELLAR_OK) { err = cache_set_opts_check(full, banned, &why); }
    return err == CELLAR_OK ? err : cache_set_opts_fail(c, full, banned, err, &why);
}

/* Convert options of the size of this library into the plan. */
static cellar_err cache_plan_opts(cellar *c, const cellar_set_opts *o, uint32_t banned,
                                  cache_plan *plan, cache_broken *why)
{
    cellar_err err = cache_set_opts_check(o, banned | CELLAR_NO_STORE, why);
    if (err == CELLAR_OK) { err = cache_plan_times(c, o, plan, why); }
    if (err == CELLAR_OK && (o->flags & CELLAR_DURABLE) != 0) { err = cache_plan_durable(c, why); }
    if (err != CELLAR_OK) { return err; }
    plan->durable = (o->flags & CELLAR_DURABLE) != 0;
    l1_put_spec *p = &plan->spec;
    p->flags = cache_l1_flags(o->flags) | (o->new_version != NULL ? L1_WANT_VERSION : 0u);
    p->kind = (o->flags & CELLAR_NEGATIVE) != 0 ? (uint8_t)L1_NEGATIVE : (uint8_t)L1_VALUE;
    p->user_flags = o->user_flags;
    if ((o->flags & CELLAR_NO_L2) != 0 && cache_tier_of(c) != NULL) {
        p->l2_addr = CACHE_NOT_ON_DISK;
    }
    p->cost = cache_cost_code(o->cost_us);
    p->charge = o->weight_bytes;
    p->if_version = o->if_version;
    plan->version_out = o->new_version;
    plan->given = (uint8_t)(((o->ttl_ms | (int64_t)o->ttl_class) != 0 ? CACHE_GIVEN_TTL : 0u) |
                            (o->idle_ms != 0 ? CACHE_GIVEN_IDLE : 0u) |
                            (o->max_age_ms != 0 ? CACHE_GIVEN_AGE : 0u) |
                            (o->stale_ms != 0 ? CACHE_GIVEN_STALE : 0u) |
                            (o->jitter_pct != 0 ? CACHE_GIVEN_JITTER : 0u));
    plan->stale_ms = cache_stale_of(o->stale_ms);
    plan->until_ns = 0;
    plan->jitter_pct = o->jitter_pct;
    plan->jitter_mode = o->jitter_mode;
    if (o->tag_count != 0) { cache_plan_tags(c, o, plan); }
    return CELLAR_OK;
}

/* Fill the plan with the defaults of the namespace, like cache_plan_times without options. */
BASE_INLINE void cache_plan_defaults(const cellar *c, cache_plan *plan)
{
    int64_t ttl = cache_default(c, CACHE_TTL), idle = cache_default(c, CACHE_IDLE);
    plan->most_ms = BASE_NEVER_MS;
    if (BASE_UNLIKELY(idle != 0)) {
        const int64_t age = cache_default(c, CACHE_MAX_AGE);
        if (idle == CELLAR_TTL_NONE) {
            idle = 0;
        } else if (age != 0) {
            plan->most_ms = age;
            ttl = BASE_MIN(ttl, age);
        }
    }
    plan->ttl_ms = ttl;
    plan->spec.idle_ms = idle;
    plan->spec.stale_ms = ttl == CELLAR_TTL_NONE ? 0 : cache_default(c, CACHE_STALE);
    plan->version_out = NULL;
    plan->jitter_pct = 0;
}

/* Clear the spec in pieces of 64 bytes: for more gcc emits `rep stos`, which starts more slowly
 * than this runs. */
BASE_INLINE void cache_spec_clear(l1_put_spec *p)
{
    unsigned char *bytes = (unsigned char *)p;
    _Static_assert(sizeof *p > 128 && sizeof *p <= 256, "four pieces");
    memset(bytes, 0, 64);
    memset(bytes + 64, 0, 64);
    memset(bytes + 128, 0, BASE_MIN(sizeof *p - 128, 64));
    memset(bytes + BASE_MIN(sizeof *p, 192), 0, sizeof *p - BASE_MIN(sizeof *p, 192));
}

CELLAR_PRIVATE cellar_err cache_plan_make(cellar *c, const cellar_set_opts *o, uint32_t banned,
                                          cache_plan *plan)
{
    cache_spec_clear(&plan->spec);
    plan->durable = plan->commit_later = plan->policed = false;
    plan->given = 0;
    plan->spec.change = L1_CHANGE_SET;
    if (o == NULL) {
        cache_plan_defaults(c, plan);
    } else {
        cache_broken why;
        cellar_set_opts full;
        cellar_err err = CELLAR_OK;
        if (BASE_UNLIKELY(o->struct_size != sizeof full)) {
            err = base_opts_in(&full, sizeof full, o);
            cache_start_broken(&full, err, &why);
            o = &full;
        }
        if (err == CELLAR_OK) { err = cache_plan_opts(c, o, banned, plan, &why); }
        if (err != CELLAR_OK) {
            (void)cache_set_opts_fail(c, o, banned, err, &why);
            return err;
        }
    }
    const uint32_t carries = base_load_rlx(&c->carries);
    if (BASE_UNLIKELY(carries != 0)) {
        plan->spec.flags |= cache_carried(carries);
        plan->policed = (carries & CACHE_CARRIES_POLICY) != 0;
        if (o == NULL) { plan->asked_ms = cache_default(c, CACHE_TTL); }
        plan->spec.tag_born = plan->tag_born = base_load_acq(&c->store->tag_epoch);
    }
    plan->now_ms = plan->ttl_ms == CELLAR_TTL_NONE ? 0 : base_quick_ms(&c->store->clock);
    return CELLAR_OK;
}

CELLAR_PRIVATE cellar_err cache_plan_judge_slow(cellar *c, const l1_key *k, cache_plan *plan)
{
    if (plan->now_ms == 0) { plan->now_ms = base_now_ms(&c->store->clock); }
    return c->policy(c, k->bytes, k->len, plan);
}

CELLAR_PRIVATE int64_t cache_jittered(const cellar *c, const cache_plan *plan, uint64_t hash)
{
    const int64_t ttl = plan->ttl_ms, pct = (int64_t)plan->jitter_pct;
    const int64_t j = BASE_MIN(ttl / 100 * pct + ttl % 100 * pct / 100, ttl - 1);
    uint64_t draw = base_mix64(hash ^ c->hash_key->secret[0] ^ base_mix64((uint64_t)plan->now_ms));
    const int64_t less = plan->jitter_mode == CELLAR_JITTER_PLUS ? 0 : j;
    const int64_t more = plan->jitter_mode == CELLAR_JITTER_MINUS ? 0 : j;
    uint64_t high = (uint64_t)less + (uint64_t)more + 1;
    base_hash_mul(&draw, &high); /* high = draw * n / 2^64 */
    const uint64_t later = (uint64_t)(ttl - less) + high; /* < 2^64: j < ttl < 2^63 */
    const uint64_t most = (uint64_t)plan->most_ms;
    return (int64_t)(later <= most ? later : most - BASE_MIN(later - most, most - 1));
}
