/* SPDX-License-Identifier: MIT
 *
 * set: write one key.
 *
 * WALK       plain entry, no option but ttl_ms, no observer except a tier: l1_set_hit {commit hook}
 *            -> [tier kill] -> counters; new key without observers: l1_set_new {commit hook} ->
 *            counters; else cache_plan_make -> cache_put (change.c)
 * SEE ALSO   plan.c (options), change.c, loading/update.c, many.c. */
#include "cache/bloom_guard.h"
#include "cache/call.h"
#include "cache/change.h"
#include "cache/error.h"
#include "cache/plan.h"

BASE_COLD static cellar_err cache_set_refuse(cellar *c, const void *key, size_t key_len)
{
    return cache_fail_key(c, "cellar_set", key, key_len,
                          "value must not be NULL; a negative entry has no value");
}

/* Tell whether options set nothing but a time to live. */
BASE_ALWAYS_INLINE bool cache_set_ttl_alone(const cellar_set_opts *o)
{
    if (BASE_UNLIKELY(o->struct_size != sizeof *o) || o->ttl_ms < 0 ||
        (o->flags | o->tag_count | o->user_flags) != 0) { /* the most common others first */
        return false;
    }
    return ((uint64_t)(o->idle_ms | o->max_age_ms | o->stale_ms) | o->if_version |
            (uintptr_t)o->new_version | (uintptr_t)o->tags | o->ttl_class | o->cost_us |
            o->jitter_pct | (uint32_t)o->jitter_mode | o->reserved0 | o->weight_bytes) == 0;
}

/* Compute the deadline of a set that has only a time to live, its own or that of the namespace (0).
 * *now_ms: the time, INT64_MAX if there is no deadline. Return false in doubt. */
BASE_ALWAYS_INLINE bool cache_set_plain(const cellar *c, int64_t ttl_ms, int64_t *deadline_ms,
                                        int64_t *now_ms)
{
    if (BASE_UNLIKELY(base_load_acq(&c->state) != 0 || base_load_rlx(&c->carries) != 0 ||
                      base_load_acq(&c->bloom) != NULL) ||
        BASE_UNLIKELY((cache_default(c, CACHE_IDLE) | cache_default(c, CACHE_STALE)) != 0)) {
        return false;
    }
    const int64_t ttl = ttl_ms != 0 ? ttl_ms : cache_default(c, CACHE_TTL);
    *now_ms = *deadline_ms = BASE_NEVER_MS;
    if (ttl != CELLAR_TTL_NONE) {
        *now_ms = base_quick_ms(&c->store->clock);
        *deadline_ms = base_add_sat(*now_ms, ttl);
    }
    return true;
}

BASE_ALWAYS_INLINE void cache_set_counted(cellar *c, const base_thread_record *self,
                                          const l1_key *k)
{
    cache_filter none = { NULL, 0, 0 };
    cache_filter_end(c, k, &none);
    stats_add_mine(c->stats, c->stats_tag, self, STATS_SET, 1);
}

BASE_ALWAYS_INLINE void cache_set_replaced(cellar *c, const base_thread_record *self,
                                           const l1_key *k)
{
    cache_set_counted(c, self, k);
    stats_add_mine(c->stats, c->stats_tag, self, STATS_EVICT_REPLACED, 1);
}

/* Set the most common cases: only a time to live, over an entry of the same size, or without
 * observers for a new key. Return false in doubt, with nothing done: the caller starts over. Over a
 * tier *tagged tells whether L1 may have the key. */
BASE_ALWAYS_INLINE bool cache_set_short(cellar *c, const base_thread_record *self, const l1_key *k,
                                        const void *value, size_t value_len, int64_t ttl_ms,
                                        bool *tagged)
{
    int64_t deadline, now_ms;
    if (BASE_UNLIKELY(cache_is_observed(c->store))) {
        *tagged = l1_tagged(c->l1, k);
        if (!*tagged || !cache_set_plain(c, ttl_ms, &deadline, &now_ms) ||
            !cache_overwrite(c, k, value, value_len, deadline)) {
            return false;
        }
        cache_set_replaced(c, self, k);
        return true;
    }
    if (!cache_set_plain(c, ttl_ms, &deadline, &now_ms)) { return false; }
    const l1_over_done done = l1_set_hit(c->l1, k, value, value_len, deadline, now_ms);
    if (BASE_LIKELY(done == L1_OVER_DONE)) {
        cache_set_replaced(c, self, k);
        return true;
    }
    if (done != L1_OVER_ABSENT) { return false; }
    if (!l1_set_new(c->l1, k, value, value_len, deadline)) { return false; }
    cache_set_counted(c, self, k);
    if (BASE_UNLIKELY(self->mine_tag != c->stats_tag || /* `mine` is of another namespace */
                      !stats_entry_add(self->mine, k->generation, STATS_ENTRY_IN))) {
        cache_entry_slow(c, k, STATS_ENTRY_IN);
    }
    return true;
}

CELLAR_API cellar_err cellar_set(cellar *c, const void *key, size_t key_len,
                                 const void *value, size_t value_len, const cellar_set_opts *o)
{
    if (BASE_UNLIKELY(c == NULL || cache_key_bad(key, key_len) ||
                      (value == NULL && value_len != 0))) {
        return cache_set_refuse(c, key, key_len);
    }
    if (BASE_UNLIKELY(cache_no_bytes(c)) && (cache_is_closed(c) || !cache_is_negative(o))) {
        return cache_closed(c, __func__);
    }
    base_thread_record *const self = base_thread_self();
    const bool sampled = stats_sample(self);
    l1_key k;
    cache_key(c, &k, key, key_len);
    bool tagged = true;
    if (BASE_LIKELY(!sampled) && (o == NULL || cache_set_ttl_alone(o)) &&
        cache_set_short(c, self, &k, value, value_len, o == NULL ? 0 : o->ttl_ms, &tagged)) {
        return CELLAR_OK;
    }
    cache_plan plan;
    cellar_err err = cache_plan_make(c, o, CACHE_FOR_SET, &plan);
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

CELLAR_API cellar_err cellar_set_str(cellar *c, const char *key, const char *value,
                                     int64_t ttl_ms)
{
    if (key == NULL || value == NULL) {
        return cache_fail_key(c, "cellar_set_str", key, 1, "value must not be NULL");
    }
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = ttl_ms };
    return cellar_set(c, key, strlen(key), value, strlen(value), &o);
}
