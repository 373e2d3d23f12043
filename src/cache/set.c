/* SPDX-License-Identifier: MIT
 *
 * set: write one key: set, delete, touch, increment; merge the options of a write.
 *
 * PICTURE    options -> cache_plan (one for a whole batch) -> l1_put -> [tier kill] -> counters
 *            deadline = now + jitter(min(ttl, maximum age with an idle time)). ttl: of the call,
 *            else its class, else the namespace, else none. Jitter beyond the maximum age is
 *            subtracted instead: the bound holds, and deadlines still spread.
 * INVARIANTS Refused arguments change nothing: the plan is complete before L1 is touched.
 *            A veto of the commit hook means that the namespace was cleared meanwhile. The call
 *            retries with the new generation, so a set that returns after a clear has happened
 *            after it.
 * WALK       cellar_set -> plain entry, no options, no observer except a tier: l1_set_hit {commit
 *            hook} -> [tier kill] -> counters; new key without observers: l1_set_new {commit hook}
 *            -> counters; else cache_plan_make -> cache_put (rounds) -> l1_put {commit hook} ->
 *            listeners
 * LIMITS     64 rounds against clears of the namespace, then E_BUSY.
 * SEE ALSO   update.c, many.c. */
#include "cache/cache_int.h"

#define CACHE_SET_FLAGS                                                                            \
    (CELLAR_ONLY_IF_ABSENT | CELLAR_ONLY_IF_PRESENT | CELLAR_ONLY_IF_VERSION |               \
     CELLAR_KEEP_OLD_VALUE | CELLAR_KEEP_TTL | CELLAR_NEGATIVE | CELLAR_DURABLE | CELLAR_NO_L2)

/* ---- options ---- */

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

static cellar_err cache_set_opts_check(const cellar_set_opts *o, uint32_t banned, const char **why)
{
    if ((o->flags & ~CACHE_SET_FLAGS) != 0 || o->reserved0 != 0) {
        *why = "set options: an unknown flag or field is set";
        return CELLAR_E_UNSUPPORTED;
    }
    if ((o->flags & CELLAR_DURABLE) != 0 && (o->flags & CELLAR_NO_L2) != 0) {
        *why = "set options: set CELLAR_DURABLE or CELLAR_NO_L2, not both";
        return CELLAR_E_INVAL;
    }
    const uint32_t absent = CELLAR_ONLY_IF_ABSENT;
    const uint32_t there = CELLAR_ONLY_IF_PRESENT | CELLAR_ONLY_IF_VERSION;
    if ((o->flags & banned) != 0 || ((o->flags & absent) != 0 && (o->flags & there) != 0)) {
        *why = "set options: flags exclude each other, or do not fit this call";
        return CELLAR_E_INVAL;
    }
    if ((o->ttl_ms | o->idle_ms | o->max_age_ms | o->stale_ms) < 0) {
        *why = "set options: a duration is negative: use 0 or more";
        return CELLAR_E_INVAL;
    }
    if ((o->idle_ms > CACHE_WINDOW_MAX && o->idle_ms != CELLAR_TTL_NONE) ||
        o->stale_ms > CACHE_WINDOW_MAX) {
        *why = "set options: idle_ms and stale_ms must be at most 2^32 - 1";
        return CELLAR_E_RANGE;
    }
    if (o->jitter_pct > 100 || o->jitter_mode > CELLAR_JITTER_PLUS ||
        o->tag_count > CELLAR_TAGS_MAX || (o->tag_count != 0 && o->tags == NULL)) {
        *why = "set options: jitter_pct must be 0..100, jitter_mode known, tag_count 0..16";
        return CELLAR_E_INVAL;
    }
    for (uint32_t i = 0; i < o->tag_count; i++) {
        if (o->tags[i].data == NULL || o->tags[i].len == 0 || o->tags[i].len > CELLAR_TAG_MAX) {
            *why = "set options: a tag must have 1..128 bytes";
            return CELLAR_E_INVAL;
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
                                   const char **why)
{
    const bool negative = (o->flags & CELLAR_NEGATIVE) != 0;
    int64_t ttl = o->ttl_ms;
    if (o->ttl_class != 0) {
        if (o->ttl_class > base_load_acq(&c->class_count)) {
            *why = "set options: ttl_class is no class of this namespace";
            return CELLAR_E_INVAL;
        }
        if (ttl == 0) { ttl = base_load_rlx(&c->class_ttl_ms[o->ttl_class - 1]); }
    }
    if (ttl == 0) { ttl = cache_default(c, negative ? CACHE_NEGATIVE_TTL : CACHE_TTL); }
    int64_t idle = o->idle_ms != 0 ? o->idle_ms : cache_default(c, CACHE_IDLE);
    if (idle == CELLAR_TTL_NONE || negative) { idle = 0; }
    if (o->max_age_ms != 0 && idle == 0) {
        *why = "set options: max_age_ms needs an idle_ms";
        return CELLAR_E_INVAL;
    }
    plan->most_ms = BASE_NEVER_MS;
    if (idle != 0) {
        const int64_t age = o->max_age_ms != 0 ? o->max_age_ms : cache_default(c, CACHE_MAX_AGE);
        if (age != 0) { plan->most_ms = age; }
        ttl = BASE_MIN(ttl, plan->most_ms);
    }
    const int64_t stale = o->stale_ms != 0 ? o->stale_ms : cache_default(c, CACHE_STALE);
    plan->ttl_ms = ttl;
    plan->spec.idle_ms = idle;
    plan->spec.stale_ms = ttl == CELLAR_TTL_NONE || negative ? 0 : stale;
    return CELLAR_OK;
}

static cellar_err cache_plan_durable(const cellar *c, const char **why)
{
    const cache_tier *t = c->store->tier;
    if (t != NULL && t->commit != NULL && !c->no_disk) { return CELLAR_OK; }
    *why = "set options: CELLAR_DURABLE needs a working disk tier, and not "
           "CELLAR_L2_SYNC_MANUAL";
    return CELLAR_E_UNSUPPORTED;
}

/* Convert options of the size of this library into the plan. */
static cellar_err cache_plan_opts(cellar *c, const cellar_set_opts *o, uint32_t banned,
                                  cache_plan *plan, const char **why)
{
    cellar_err err = cache_set_opts_check(o, banned, why);
    if (err == CELLAR_OK) { err = cache_plan_times(c, o, plan, why); }
    if (err == CELLAR_OK && (o->flags & CELLAR_DURABLE) != 0) { err = cache_plan_durable(c, why); }
    if (err != CELLAR_OK) { return err; }
    plan->durable = (o->flags & CELLAR_DURABLE) != 0;
    l1_put_spec *p = &plan->spec;
    p->flags = cache_l1_flags(o->flags) | (o->new_version != NULL ? L1_WANT_VERSION : 0u);
    p->kind = (o->flags & CELLAR_NEGATIVE) != 0 ? (uint8_t)L1_NEGATIVE : (uint8_t)L1_VALUE;
    p->user_flags = o->user_flags;
    if ((o->flags & CELLAR_NO_L2) != 0 && c->store->tier != NULL) {
        p->l2_addr = CACHE_NOT_ON_DISK;
    }
    p->cost = cache_cost_code(o->cost_us);
    p->if_version = o->if_version;
    plan->version_out = o->new_version;
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
    _Static_assert(sizeof *p > 128 && sizeof *p <= 192, "three pieces");
    memset(bytes, 0, 64);
    memset(bytes + 64, 0, 64);
    memset(bytes + 128, 0, sizeof *p - 128);
}

CELLAR_PRIVATE cellar_err cache_plan_make(cellar *c, const cellar_set_opts *o, uint32_t banned,
                                          cache_plan *plan)
{
    cache_spec_clear(&plan->spec);
    plan->durable = plan->commit_later = false;
    plan->spec.change = L1_CHANGE_SET;
    if (o == NULL) {
        cache_plan_defaults(c, plan);
    } else {
        const char *why = "set options: start from cellar_set_opts_default() of this library";
        cellar_set_opts full;
        cellar_err err = CELLAR_OK;
        if (BASE_UNLIKELY(o->struct_size != sizeof full)) {
            err = cache_opts_in(&full, sizeof full, o);
            o = &full;
        }
        if (err == CELLAR_OK) { err = cache_plan_opts(c, o, banned, plan, &why); }
        if (err != CELLAR_OK) {
            (void)cache_fail(c, err, 0, why);
            return err;
        }
    }
    const uint32_t carries = base_load_rlx(&c->carries);
    if (BASE_UNLIKELY(carries != 0)) { plan->spec.flags |= cache_carried(carries); }
    plan->now_ms = plan->ttl_ms == CELLAR_TTL_NONE ? 0 : base_now_ms(&c->store->clock);
    return CELLAR_OK;
}

/* Return a time uniform in [ttl - j, ttl + j] or [ttl, ttl + j], folded at the maximum age; at
 * least 1 ms. */
static int64_t cache_jittered(const cellar *c, const cache_plan *plan, uint64_t hash)
{
    const int64_t ttl = plan->ttl_ms, pct = (int64_t)plan->jitter_pct;
    const int64_t j = BASE_MIN(ttl / 100 * pct + ttl % 100 * pct / 100, ttl - 1);
    uint64_t draw = base_mix64(hash ^ c->hash_key->secret[0] ^ base_mix64((uint64_t)plan->now_ms));
    const bool both = plan->jitter_mode == CELLAR_JITTER_PLUSMINUS;
    uint64_t high = (uint64_t)j + (both ? (uint64_t)j : 0) + 1;
    base_hash_mul(&draw, &high); /* high = draw * n / 2^64 */
    const uint64_t later = (uint64_t)(both ? ttl - j : ttl) + high; /* < 2^64: j < ttl < 2^63 */
    const uint64_t most = (uint64_t)plan->most_ms;
    return (int64_t)(later <= most ? later : most - BASE_MIN(later - most, most - 1));
}

BASE_INLINE int64_t cache_deadline_here(const cellar *c, const cache_plan *plan, uint64_t hash)
{
    if (plan->ttl_ms == CELLAR_TTL_NONE) { return BASE_NEVER_MS; }
    const int64_t ttl = plan->jitter_pct == 0 ? plan->ttl_ms : cache_jittered(c, plan, hash);
    return base_add_sat(plan->now_ms, ttl);
}

CELLAR_PRIVATE int64_t cache_plan_deadline(const cellar *c, const cache_plan *plan, uint64_t hash)
{
    return cache_deadline_here(c, plan, hash);
}

/* ---- the only way to store ---- */

CELLAR_PRIVATE void cache_count_refused(stats_block *mine, cellar_err err)
{
    stats_add(mine, STATS_STORE_ERROR, 1);
    if (err == CELLAR_E_TOOBIG) {
        stats_add(mine, STATS_REFUSED_TOOBIG, 1);
    } else {
        stats_add(mine, err == CELLAR_E_SPACE ? STATS_REFUSED_SPACE : STATS_REFUSED_NOMEM, 1);
    }
}

/* Count what a change ended, as listeners see it: an expired entry is not ended by the change. */
static void cache_count_gone(cellar *c, l1_gone gone, stats_id cause)
{
    if (gone == L1_GONE_NOTHING) { return; }
    if (gone == L1_GONE_TAG) { cause = STATS_EVICT_TAG; }
    if (gone == L1_GONE_DEPENDENCY) { cause = STATS_EVICT_DEPENDENCY; }
    stats_add(cache_mine(c), gone == L1_GONE_EXPIRED ? STATS_EVICT_EXPIRED : cause, 1);
}

BASE_COLD CELLAR_PRIVATE cellar_err cache_put_failed(cellar *c, const l1_put_spec *p,
                                                     cellar_err err)
{
    if (err > 0) { /* EXISTS, MISS, CONFLICT */
        if (p->change == L1_CHANGE_SET) { stats_add(cache_mine(c), STATS_CONDITION, 1); }
        return err;
    }
    cache_count_refused(cache_mine(c), err);
    if (p->gone != L1_GONE_NOTHING) { cache_count_gone(c, p->gone, STATS_EVICT_REJECTED); }
    if (err == CELLAR_E_TOOBIG) {
        return cache_fail(c, err, 0, "value is longer than tuning.max_value_bytes");
    }
    return cache_fail(c, err, 0, err == CELLAR_E_SPACE ? "value does not fit: raise memory_bytes"
                                                       : "no memory for the value");
}

/* Invalidate the dependants of the value that this put ended outside the window of a change. A load
 * that replaced nothing ends none: its readers wait for its value. */
BASE_NOINLINE static void cache_put_depends(cache_store *s, const l1_key *k, const l1_put_spec *p,
                                            cellar_err err)
{
    const bool live = p->replaced || p->gone == L1_GONE_VALUE || p->gone == L1_GONE_NEGATIVE;
    if (live && (p->change == L1_CHANGE_PUBLISH ? err == CELLAR_OK : err < 0)) {
        cache_deps_changed(s, k->hash, k->generation);
    }
}

/* Put one value and inform the observers. *below: OK, or E_IO if the tier breaks its promise. */
BASE_ALWAYS_INLINE cellar_err cache_put_here(cellar *c, const l1_key *k, l1_put_spec *p,
                                             bool durable, cellar_err *below)
{
    cache_filter filter = { NULL, 0, 0 };
    const bool value = p->kind == (uint8_t)L1_VALUE;
    cellar_err err;
    if (value) { cache_filter_begin(c, k, &filter); }
    if (BASE_LIKELY(!cache_is_observed(c->store))) {
        err = l1_put(c->l1, k, p);
    } else {
        cache_frame f;
        const cache_urge urge = cache_urge_of(c, durable);
        cache_change_begin(&f, true, p->kind == (uint8_t)L1_NEGATIVE);
        f.below = urge != CACHE_LATER;
        if (f.below && p->l2_addr == 0) { p->l2_addr = L1_ADDR_LATER; }
        if (BASE_MUTANT("deps.raised_early") && c->store->deps != NULL) {
            cache_deps_changed(c->store, k->hash, k->generation);
        }
        err = l1_put(c->l1, k, p);
        if (BASE_MUTANT("deps.raised_late") && c->store->deps != NULL) {
            BASE_POINT("deps.late");
            cache_deps_changed(c->store, k->hash, k->generation);
        }
        if (err == CELLAR_OK && urge != CACHE_LATER) {
            *below = cache_change_stored(c, &f, k, p, urge);
        } else {
            cache_change_end(c, &f, k);
        }
        if (c->store->deps != NULL) { cache_put_depends(c->store, k, p, err); }
    }
    if (value) { cache_filter_end(c, k, &filter); }
    return err;
}

BASE_ALWAYS_INLINE void cache_count_here(cellar *c, const l1_put_spec *p)
{
    stats_block *mine = cache_mine(c);
    stats_add(mine, STATS_SET, 1);
    if (p->replaced) {
        stats_add(mine, p->kind == (uint8_t)L1_NEGATIVE ? STATS_EVICT_NEGATIVE
                                                        : STATS_EVICT_REPLACED, 1);
    } else if (BASE_UNLIKELY(p->gone != L1_GONE_NOTHING)) {
        cache_count_gone(c, p->gone, p->kind == (uint8_t)L1_NEGATIVE ? STATS_EVICT_NEGATIVE
                                                                     : STATS_EVICT_REPLACED);
    }
}

/* Put for leaders of loads; a separate function keeps the plain set inline. */
CELLAR_PRIVATE cellar_err cache_put_once(cellar *c, const l1_key *k, l1_put_spec *p)
{
    cellar_err below; /* counted; the loaded value is returned anyway */
    return cache_put_here(c, k, p, false, &below);
}
CELLAR_PRIVATE void cache_put_count(cellar *c, const l1_put_spec *p) { cache_count_here(c, p); }

BASE_COLD static cellar_err cache_put_acked(cellar *c, const cache_plan *plan, cellar_err below)
{
    if (c->store->tier == NULL) { return CELLAR_OK; } /* only listeners observe */
    if (below != CELLAR_OK || plan->commit_later) { return cache_through(c, below); }
    return plan->durable ? cache_tier_commit(c, CELLAR_OK) : cache_acked(c, CELLAR_OK);
}

/* Bring the key from the tier, because conditions on its presence include the tier. */
BASE_COLD static void cache_put_bring(cellar *c, const l1_key *k)
{
    l1_info info;
    if (l1_inspect(c->l1, k, NULL, 0, &info, L1_PEEK) == CELLAR_MISS) { (void)cache_brought(c, k); }
}

CELLAR_PRIVATE cellar_err cache_put(cellar *c, l1_key *k, cache_plan *plan)
{
    l1_put_spec *p = &plan->spec;
    if (BASE_UNLIKELY((p->flags & (L1_IF_ABSENT | L1_IF_PRESENT | L1_KEEP_TTL)) != 0) &&
        p->change == L1_CHANGE_SET && c->store->tier != NULL) {
        cache_put_bring(c, k);
    }
    cellar_err err = CELLAR_E_BUSY, below = CELLAR_OK;
    for (unsigned round = 0; round < CACHE_ROUNDS; round++) {
        p->deadline_ms = cache_deadline_here(c, plan, k->hash);
        err = cache_put_here(c, k, p, plan->durable, &below);
        if (BASE_LIKELY(err != CELLAR_CONFLICT) ||
            (p->flags & (L1_IF_VERSION | L1_IF_SAME)) != 0) {
            break;
        }
        if (cache_is_closed(c)) { return cache_closed(c); }
        cache_rekey(c, k);
        err = CELLAR_E_BUSY;
    }
    if (BASE_UNLIKELY(err == CELLAR_E_BUSY)) {
        stats_count(c->stats, STATS_LIMIT_RETRIES, 1);
        return cache_fail(c, err, 0, "the namespace was cleared in each of 64 tries: retry");
    }
    if (BASE_UNLIKELY(err != CELLAR_OK)) {
        if (err < 0) { cache_why_note(c->store, k->hash, CELLAR_CAUSE_REJECTED); }
        return cache_put_failed(c, p, err);
    }
    cache_count_here(c, p);
    if (plan->version_out != NULL) { *plan->version_out = p->version; }
    return BASE_LIKELY(!cache_is_observed(c->store)) ? CELLAR_OK : cache_put_acked(c, plan, below);
}

BASE_COLD static cellar_err cache_set_refuse(cellar *c, const void *key, size_t key_len)
{
    return cache_fail_key(c, "cellar_set", key, key_len,
                          "value must not be NULL; a negative entry has no value");
}

/* Compute the deadline of a set for which the namespace sets only a time to live. Return false in
 * doubt. */
BASE_ALWAYS_INLINE bool cache_set_plain(const cellar *c, int64_t *deadline_ms)
{
    if (BASE_UNLIKELY(base_load_acq(&c->state) != 0 || base_load_rlx(&c->carries) != 0 ||
                      base_load_acq(&c->bloom) != NULL) ||
        BASE_UNLIKELY((cache_default(c, CACHE_IDLE) | cache_default(c, CACHE_STALE)) != 0)) {
        return false;
    }
    const int64_t ttl = cache_default(c, CACHE_TTL);
    *deadline_ms =
        ttl == CELLAR_TTL_NONE ? BASE_NEVER_MS : base_add_sat(base_now_ms(&c->store->clock), ttl);
    return true;
}

BASE_ALWAYS_INLINE void cache_set_counted(cellar *c, const base_thread_record *self,
                                          const l1_key *k)
{
    cache_filter none = { NULL, 0, 0 };
    cache_filter_end(c, k, &none);
    stats_add_mine(c->stats, c->stats_tag, self, STATS_SET, 1);
}

/* Set the most common case: only a time to live, over an entry of the same size, without observers;
 * `told`: with a tier only. Return false in doubt, with nothing done: the caller starts over. */
BASE_ALWAYS_INLINE bool cache_set_over(cellar *c, const base_thread_record *self, const l1_key *k,
                                       const void *value, size_t value_len, const bool told)
{
    int64_t deadline;
    if (!cache_set_plain(c, &deadline)) { return false; }
    cache_frame f;
    if (told) { cache_change_begin(&f, true, false); }
    const bool done = l1_set_hit(c->l1, k, value, value_len, deadline);
    if (told) { cache_change_end(c, &f, k); }
    if (!done) { return false; }
    cache_set_counted(c, self, k);
    stats_add_mine(c->stats, c->stats_tag, self, STATS_EVICT_REPLACED, 1);
    return true;
}

/* Set the second most common case: the same for a new key. */
BASE_ALWAYS_INLINE bool cache_set_new(cellar *c, const base_thread_record *self, const l1_key *k,
                                      const void *value, size_t value_len)
{
    int64_t deadline;
    if (BASE_UNLIKELY(cache_is_observed(c->store)) || !cache_set_plain(c, &deadline) ||
        !l1_set_new(c->l1, k, value, value_len, deadline)) {
        return false;
    }
    cache_set_counted(c, self, k);
    return true;
}

/* Set over a tier, out of line: a set without a tier needs no space for a frame. */
BASE_NOINLINE static bool cache_set_over_tier(cellar *c, const base_thread_record *self,
                                              const l1_key *k, const void *value, size_t value_len)
{
    const cache_store *s = c->store;
    return base_load_rlx(&s->observers) <= s->observers_tier_only && c->disk_mode == 0 &&
           cache_set_over(c, self, k, value, value_len, true);
}

CELLAR_API cellar_err cellar_set(cellar *c, const void *key, size_t key_len,
                                 const void *value, size_t value_len, const cellar_set_opts *o)
{
    if (BASE_UNLIKELY(c == NULL || cache_key_bad(key, key_len) ||
                      (value == NULL && value_len != 0))) {
        return cache_set_refuse(c, key, key_len);
    }
    if (BASE_UNLIKELY((base_load_acq(&c->state) & CACHE_CLOSED) != 0)) { return cache_closed(c); }
    base_thread_record *const self = base_thread_self();
    const bool sampled = stats_sample(self);
    l1_key k;
    cache_key(c, &k, key, key_len);
    const bool tagged = l1_tagged(c->l1, &k);
    if (o == NULL && BASE_LIKELY(!sampled) &&
        (!tagged ? cache_set_new(c, self, &k, value, value_len)
         : BASE_LIKELY(!cache_is_observed(c->store))
             ? cache_set_over(c, self, &k, value, value_len, false)
             : cache_set_over_tier(c, self, &k, value, value_len))) {
        return CELLAR_OK;
    }
    cache_plan plan;
    cellar_err err = cache_plan_make(c, o, 0, &plan);
    if (BASE_UNLIKELY(err != CELLAR_OK)) { return err; }
    if (plan.spec.kind == (uint8_t)L1_NEGATIVE && value_len != 0) {
        return cache_set_refuse(c, key, key_len);
    }
    if (BASE_UNLIKELY(cache_is_off(c))) { return CELLAR_DISABLED; }
    plan.spec.value = value;
    plan.spec.value_len = value_len;
    plan.spec.untagged = !tagged;
    if (BASE_LIKELY(!sampled)) { return cache_put(c, &k, &plan); }
    const uint64_t since_ns = base_now_ns();
    err = cache_put(c, &k, &plan);
    stats_time(c->stats, STATS_OP_SET, base_now_ns() - since_ns);
    return err;
}

/* ---- delete, touch, increment ---- */

BASE_ALWAYS_INLINE cellar_err cache_del_l1(cellar *c, const l1_key *k, const l1_put_spec *only_if,
                                           l1_gone *gone)
{
    return only_if == NULL ? l1_del_reported(c->l1, k, NULL, gone)
                           : l1_del_if(c->l1, k, only_if, gone);
}

BASE_ALWAYS_INLINE cellar_err cache_del_once(cellar *c, const l1_key *k, bool matched,
                                             const l1_put_spec *only_if, l1_gone *gone)
{
    if (BASE_MUTANT("flight.count_before_window")) { cache_flights_peek(c->store, k->hash); }
    if (BASE_LIKELY(!cache_is_observed(c->store))) { return cache_del_l1(c, k, only_if, gone); }
    cache_frame f;
    cache_change_begin(&f, false, false);
    f.matched = matched;
    const cellar_err err = cache_del_l1(c, k, only_if, gone);
    cache_change_end(c, &f, k);
    return err;
}

/* Delete again after a clear: a load of the new generation must not outlive this delete. */
BASE_COLD static cellar_err cache_del_again(cellar *c, l1_key *k, bool matched, cellar_err err)
{
    l1_gone gone;
    for (unsigned i = 0; i < CACHE_ROUNDS && !cache_is_closed(c); i++) {
        cache_rekey(c, k);
        const cellar_err now = cache_del_once(c, k, matched, NULL, &gone);
        if (now == CELLAR_OK) { err = now; }
        if (cache_generation_alive(c->store, k->generation)) { break; }
    }
    return err;
}

/* Delete one key. `by`: pattern number of cache_why_act, for a delete by pattern. */
BASE_ALWAYS_INLINE cellar_err cache_del_here(cellar *c, l1_key *k, bool matched, uint32_t by,
                                             const l1_put_spec *only_if)
{
    l1_gone gone;
    cellar_err err = cache_del_once(c, k, matched, only_if, &gone);
    const bool loads = only_if == NULL && base_load_sc(&c->store->flights) != NULL;
    /* Without flights no value was ever loaded. */
    if (BASE_UNLIKELY(loads) && BASE_UNLIKELY(!cache_generation_alive(c->store, k->generation))) {
        err = cache_del_again(c, k, matched, err);
    }
    const stats_id id = matched ? STATS_EVICT_GLOB : STATS_EVICT_DELETED;
    if (gone != L1_GONE_NOTHING || err == CELLAR_OK) {
        const cellar_cause cause = gone == L1_GONE_EXPIRED ? CELLAR_CAUSE_EXPIRED
                                   : gone == L1_GONE_TAG ? CELLAR_CAUSE_TAG
                                   : gone == L1_GONE_DEPENDENCY ? CELLAR_CAUSE_DEPENDENCY
                                   : matched ? CELLAR_CAUSE_PATTERN : CELLAR_CAUSE_DELETED;
        cache_why_note_by(c->store, k->hash, cause, by);
    }
    if (err == CELLAR_OK) {
        stats_block *mine = cache_mine(c);
        stats_add(mine, STATS_DELETE, 1);
        stats_add(mine, id, 1);
    } else {
        cache_count_gone(c, gone, id);
    }
    return err;
}

CELLAR_PRIVATE cellar_err cache_del(cellar *c, l1_key *k)
{
    return cache_del_here(c, k, false, 0, NULL);
}

CELLAR_PRIVATE cellar_err cache_del_if(cellar *c, l1_key *k, const l1_put_spec *only_if)
{
    return cache_del_here(c, k, false, 0, only_if);
}

CELLAR_PRIVATE cellar_err cache_del_matched(cellar *c, l1_key *k, uint32_t by)
{
    return cache_del_here(c, k, true, by, NULL);
}

CELLAR_API cellar_err cellar_delete(cellar *c, const void *key, size_t key_len)
{
    if (BASE_UNLIKELY(c == NULL || cache_key_bad(key, key_len))) {
        return cache_fail_key(c, "cellar_delete", key, key_len, "");
    }
    if (BASE_UNLIKELY((base_load_acq(&c->state) & CACHE_CLOSED) != 0)) { return cache_closed(c); }
    l1_key k;
    cache_key(c, &k, key, key_len);
    if (BASE_LIKELY(!stats_sample(base_thread_self()))) { return cache_acked(c, cache_del(c, &k)); }
    const uint64_t since_ns = base_now_ns();
    const cellar_err err = cache_acked(c, cache_del(c, &k));
    stats_time(c->stats, STATS_OP_DELETE, base_now_ns() - since_ns);
    return err;
}

/* Touch an observed entry. It ends with its dependencies at the latest, and its dependants with
 * it. */
static cellar_err cache_touch_reported(cellar *c, const l1_key *k, int64_t deadline_ms)
{
    const bool deps = c->store->deps != NULL;
    cellar_err err, below = CELLAR_OK;
    do { /* again if a load with an earlier deadline was stored meanwhile */
        int64_t was_ms = 0;
        cache_frame f;
        const cache_urge urge = cache_urge_of(c, false);
        if (deps) { deadline_ms = BASE_MIN(deadline_ms, cache_deps_until(c->store, k)); }
        cache_change_begin(&f, false, false);
        f.below = urge != CACHE_LATER;
        err = l1_touch_reported(c->l1, k, deadline_ms, -1, NULL, &was_ms);
        if (err == CELLAR_OK && urge != CACHE_LATER) {
            below = cache_change_stored(c, &f, k, NULL, urge);
        } else {
            cache_change_end(c, &f, k);
        }
        if (deps && err == CELLAR_OK && deadline_ms < was_ms) {
            cache_deps_changed(c->store, k->hash, k->generation);
        }
    } while (deps && err == CELLAR_OK && cache_deps_until(c->store, k) < deadline_ms);
    return err == CELLAR_OK ? cache_through(c, below) : err;
}

CELLAR_API cellar_err cellar_touch(cellar *c, const void *key, size_t key_len, int64_t ttl_ms)
{
    if (c == NULL || cache_key_bad(key, key_len)) {
        return cache_fail_key(c, "cellar_touch", key, key_len, "");
    }
    if (ttl_ms < 0) {
        return cache_fail_number(c, "cellar_touch: ttl_ms must be 0 or more", ttl_ms);
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    if (cache_is_off(c)) { return CELLAR_DISABLED; }
    const int64_t ttl = ttl_ms != 0 ? ttl_ms : cache_default(c, CACHE_TTL);
    const int64_t deadline = ttl == CELLAR_TTL_NONE
                                 ? BASE_NEVER_MS
                                 : base_add_sat(base_now_ms(&c->store->clock), ttl);
    l1_key k;
    cache_key(c, &k, key, key_len);
    cellar_err err = !cache_is_observed(c->store) ? l1_touch(c->l1, &k, deadline, -1, NULL)
                                           : cache_touch_reported(c, &k, deadline);
    if (err == CELLAR_MISS && cache_brought(c, &k)) { err = cache_touch_reported(c, &k, deadline); }
    if (err < 0 && err != CELLAR_E_IO) {
        return cache_fail(c, err, 0, "cellar_touch: no memory for a deadline");
    }
    return cache_acked(c, err);
}

static cellar_err cache_incr_once(cellar *c, const l1_key *k, int64_t delta, int64_t init,
                                  const l1_put_spec *if_new, bool only_if_present, int64_t *now)
{
    l1_gone gone = L1_GONE_NOTHING;
    cellar_err err;
    cache_filter filter = { NULL, 0, 0 };
    /* a present entry is in the filter already */
    if (!only_if_present) { cache_filter_begin(c, k, &filter); }
    if (BASE_LIKELY(!cache_is_observed(c->store))) {
        err = l1_incr_reported(c->l1, k, delta, init, if_new, only_if_present, now, NULL, &gone);
    } else {
        cache_frame f;
        const cache_urge urge = cache_urge_of(c, false);
        cache_change_begin(&f, true, false);
        f.below = urge != CACHE_LATER;
        err = l1_incr_reported(c->l1, k, delta, init, if_new, only_if_present, now, NULL, &gone);
        if ((err == CELLAR_OK || err == CELLAR_E_RANGE) && urge != CACHE_LATER) {
            const cellar_err below = cache_change_stored(c, &f, k, NULL, urge);
            if (err == CELLAR_OK) { err = below; }
        } else {
            cache_change_end(c, &f, k);
        }
    }
    if (!only_if_present) { cache_filter_end(c, k, &filter); }
    cache_count_gone(c, gone, STATS_EVICT_REPLACED);
    return err;
}

static const l1_put_spec cache_incr_there = { .deadline_ms = BASE_NEVER_MS };

/* Increment a counter that may not exist. Return CONFLICT if the namespace was cleared in every
 * round. */
static cellar_err cache_incr_new(cellar *c, l1_key *k, int64_t delta, int64_t init, int64_t ttl_ms,
                                 bool only_if_present, int64_t *now)
{
    cellar_set_opts o = cellar_set_opts_default();
    o.ttl_ms = ttl_ms;
    cache_plan plan;
    cellar_err err = cache_plan_make(c, &o, 0, &plan);
    if (err != CELLAR_OK) { return err; }
    plan.spec.change = L1_CHANGE_INCR;
    if (cache_urge_of(c, false) != CACHE_LATER) { plan.spec.l2_addr = L1_ADDR_LATER; }
    err = CELLAR_CONFLICT;
    for (unsigned round = 0; round < CACHE_ROUNDS && err == CELLAR_CONFLICT; round++) {
        if (round != 0) { cache_rekey(c, k); }
        if (cache_is_closed(c)) { return CELLAR_E_CLOSED; }
        plan.spec.deadline_ms = cache_deadline_here(c, &plan, k->hash);
        err = cache_incr_once(c, k, delta, init, &plan.spec, only_if_present, now);
    }
    return err;
}

static cellar_err cache_incr_done(cellar *c, cellar_err err)
{
    const bool done = err == CELLAR_OK || err == CELLAR_E_RANGE || err == CELLAR_E_IO;
    if (done) { stats_add(cache_mine(c), STATS_SET, 1); }
    switch ((int)err) {
    case CELLAR_E_TYPE:
        return cache_fail(c, err, 0, "cellar_increment: the value is not an 8-byte counter");
    case CELLAR_E_IO: return cache_through(c, err);
    case CELLAR_E_RANGE: return cache_fail(c, err, 0,
                                           "cellar_increment: the sum does not fit int64");
    case CELLAR_E_SPACE:
    case CELLAR_E_NOMEM:
        cache_count_refused(cache_mine(c), err);
        return cache_fail(c, err, 0, "cellar_increment: no memory: raise memory_bytes");
    default: return err;
    }
}

CELLAR_API cellar_err cellar_increment(cellar *c, const void *key, size_t key_len, int64_t delta,
                                       int64_t init, int64_t ttl_if_new_ms, uint32_t flags,
                                       int64_t *now_value)
{
    if (c == NULL || cache_key_bad(key, key_len)) {
        return cache_fail_key(c, "cellar_increment", key, key_len, "");
    }
    if ((flags & ~CELLAR_ONLY_IF_PRESENT) != 0) {
        return cache_fail(c, CELLAR_E_UNSUPPORTED, 0,
                          "cellar_increment: flags must be 0 or CELLAR_ONLY_IF_PRESENT");
    }
    if (ttl_if_new_ms < 0) {
        return cache_fail_number(c, "cellar_increment: ttl_if_new_ms must be 0 or more",
                                 ttl_if_new_ms);
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    if (cache_is_off(c)) { return CELLAR_DISABLED; }
    l1_key k;
    cache_key(c, &k, key, key_len);
    int64_t now = 0;
    /* An existing counter needs neither clock nor options. */
    cellar_err err = cache_incr_once(c, &k, delta, init, &cache_incr_there, true, &now);
    if (err == CELLAR_MISS && cache_brought(c, &k)) {
        err = cache_incr_once(c, &k, delta, init, &cache_incr_there, true, &now);
    }
    if ((err == CELLAR_MISS && (flags & CELLAR_ONLY_IF_PRESENT) == 0) || err == CELLAR_CONFLICT) {
        err = cache_incr_new(c, &k, delta, init, ttl_if_new_ms,
                             (flags & CELLAR_ONLY_IF_PRESENT) != 0, &now);
    }
    if (err == CELLAR_CONFLICT) {
        stats_count(c->stats, STATS_LIMIT_RETRIES, 1);
        return cache_fail(c, CELLAR_E_BUSY, 0,
                          "the namespace was cleared in each of 64 tries: retry");
    }
    if (now_value != NULL &&
        (err == CELLAR_OK || err == CELLAR_E_RANGE || err == CELLAR_E_IO)) {
        *now_value = now;
    }
    return cache_acked(c, cache_incr_done(c, err));
}

CELLAR_API cellar_err cellar_set_str(cellar *c, const char *key, const char *value,
                                     int64_t ttl_ms)
{
    if (key == NULL || value == NULL) {
        return cache_fail_key(c, "cellar_set_str", key, 1, "value must not be NULL");
    }
    cellar_set_opts o = cellar_set_opts_default();
    o.ttl_ms = ttl_ms;
    return cellar_set(c, key, strlen(key), value, strlen(value), &o);
}
