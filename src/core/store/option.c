/* SPDX-License-Identifier: MIT
 *
 * option: options that change while the store runs.
 *
 * INVARIANTS A refused value changes nothing.
 * SEE ALSO   settings.c: options at the open. */
#include "store/option.h"

#include <stdio.h>

#include "cache/bloom_guard.h"
#include "cache/call.h"
#include "cache/error.h"
#include "cache/talk.h"
#include "store/maintenance.h"
#include "store/namespace.h"
#include "store/options.h"

/* Options of a namespace are in the order of its defaults. */
#define CACHE_OPT_DEFAULT(option) ((unsigned)(option) - CELLAR_OPT_DEFAULT_TTL_MS)
_Static_assert(CACHE_OPT_DEFAULT(CELLAR_OPT_STALE_MS) == CACHE_STALE, "one number for each");

BASE_SIZE_BEGIN

CELLAR_PRIVATE l1_policy cache_policy(uint32_t eviction)
{
    switch (eviction) {
    case CELLAR_EVICT_S3FIFO: return L1_S3FIFO;
    case CELLAR_EVICT_LRU: return L1_LRU;
    case CELLAR_EVICT_FIFO: return L1_FIFO;
    default: return L1_ADAPTIVE;
    }
}

static cellar_err cache_set_thread(cellar *c, int64_t on)
{
    cache_store *s = c->store;
    /* this thread may run the listener, or a subscriber or loader */
    if (base_thread_self()->depth > 0 || cache_thread_is_mine(s)) {
        return cache_fail(c, CELLAR_E_BUSY, 0,
                          "cellar_option_set: set the maintenance thread outside callbacks");
    }
    return cache_fail(c, on != 0 ? cache_thread_start(s) : cache_thread_end(s), 0,
                      "cellar_option_set: the maintenance thread was not changed: retry");
}

static cellar_err cache_set_log_level(cellar *c, int64_t level)
{
    cache_store *s = c->store;
    const base_log_level inner = base_log_level_of((uint32_t)level);
    base_store_rlx(&s->quiet_level, (uint32_t)inner);
    base_store_rlx(&s->log.level, s->log.fn != NULL ? (int)inner : (int)BASE_LOG_OFF);
    cache_namespaces_talk(s);
    return CELLAR_OK;
}

static cellar_err cache_set_memory(cellar *c, int64_t bytes)
{
    if (bytes < (int64_t)CELLAR_MEMORY_MIN) {
        return cache_fail_number(c, "cellar_option_set: memory_bytes must be at least 1 MiB",
                                 bytes);
    }
    if ((uint64_t)bytes < base_load_rlx(&c->store->account.limit) &&
        (uint64_t)bytes < l1_least_budget(c->l1)) {
        return cache_fail(c, CELLAR_E_RANGE, 0,
                          "cellar_option_set: memory_bytes must hold tables, memory of the host");
    }
    const cellar_err err = l1_resize(c->l1, (uint64_t)bytes);
    return cache_fail(c, err == CELLAR_E_SPACE ? CELLAR_E_BUSY : err, 0, err == CELLAR_E_SPACE
        ? "cellar_option_set: memory_bytes: pinned entries prevent shrinking"
        : err == CELLAR_E_RANGE
        ? "cellar_option_set: memory_bytes is beyond the address space reserved at open"
        : "cellar_option_set: memory_bytes: another resize is running");
}

static cellar_err cache_set_eviction(cellar *c, int64_t rule)
{
    if (rule < CELLAR_EVICT_DEFAULT || rule > CELLAR_EVICT_FIFO) {
        return cache_fail_number(c, "cellar_option_set: eviction must be a cellar_eviction", rule);
    }
    const uint32_t to = rule == CELLAR_EVICT_DEFAULT ? (uint32_t)CELLAR_EVICT_ADAPTIVE
                                                     : (uint32_t)rule;
    l1_set_policy(c->l1, cache_policy(to));
    base_store_rlx(&c->store->eviction, to);
    return CELLAR_OK;
}

static cellar_err cache_set_disk_bytes(cellar *c, int64_t bytes)
{
    cache_store *s = c->store;
    if (bytes < (int64_t)CELLAR_L2_BYTES_MIN) {
        return cache_fail_number(c, "cellar_option_set: l2_bytes must be at least 16 MiB", bytes);
    }
    l2 *d = cache_disk(s);
    if (d == NULL) {
        return cache_fail(c, CELLAR_E_UNSUPPORTED, 0,
                          "cellar_option_set: l2_bytes: no disk tier works");
    }
    const cellar_err err = l2_resize(d, (uint64_t)bytes);
    if (err == CELLAR_OK) { base_store_rlx(&s->disk_bytes, (uint64_t)bytes); }
    return cache_fail(c, err, 0, err == CELLAR_E_SPACE
        ? "cellar_option_set: l2_bytes: the disk is full" : err == CELLAR_E_RANGE
        ? "cellar_option_set: l2_bytes is too small for its segments, or too large"
        : "cellar_option_set: l2_bytes: resizing failed");
}

static cellar_err cache_set_disk_close(cellar *c, int64_t ms)
{
    if (c->store->tier == NULL) {
        return cache_fail(c, CELLAR_E_UNSUPPORTED, 0,
                          "cellar_option_set: l2_close_ms: no disk tier works");
    }
    base_store_rlx(&c->store->disk_close_ms, ms);
    return CELLAR_OK;
}

static cellar_err cache_set_default(cellar *c, unsigned which, int64_t value)
{
    const bool window = which == CACHE_IDLE || which == CACHE_STALE;
    if (window && value > CACHE_WINDOW_MAX && !(which == CACHE_IDLE && value == CELLAR_TTL_NONE)) {
        return cache_refuse(c, "cellar_option_set: idle_ms and stale_ms must be at most 2^32 - 1");
    }
    cache_default_set(c, which, value);
    return CELLAR_OK;
}

static cellar_err cache_set_max_entries(cellar *c, int64_t entries)
{
    const cellar_err err = l1_set_max_entries(c->l1, (uint64_t)entries);
    if (err == CELLAR_OK) { base_store_rlx(&c->store->max_entries, (uint64_t)entries); }
    return cache_fail(c, err, 0,
                      "cellar_option_set: max_entries: another resize is running");
}

static cellar_err cache_set_namespace_max_entries(cellar *c, int64_t entries)
{
    if (entries > UINT32_MAX) {
        return cache_fail_number(c, "cellar_option_set: max_entries of a namespace must be at most "
                                    "2^32 - 1", entries);
    }
    return cache_fail(c, cache_max_entries_set(c, (uint32_t)entries), 0,
                      "cellar_option_set: max_entries does not fit: raise memory_bytes");
}

static cellar_err cache_set_bloom_keys(cellar *c, int64_t keys)
{
    return cache_fail(c, cache_filter_set(c, (uint64_t)keys, base_load_rlx(&c->bloom_fpr_ppm)), 0,
                      "cellar_option_set: bloom_keys does not fit: raise memory_bytes");
}

/* Switch the namespace on or off. */
static cellar_err cache_set_enabled(cellar *c, int64_t on)
{
    cache_store *s = c->store;
    sync_take(NAMESPACE, &s->namespace_lock);
    const bool closed = cache_is_closed(c);
    if (!closed) {
        const uint32_t rest = base_load_rlx(&c->state) & ~CACHE_OFF;
        base_store_rel(&c->state, rest | (on != 0 ? 0u : CACHE_OFF));
    }
    sync_drop(NAMESPACE, &s->namespace_lock);
    return closed ? cache_closed(c, "cellar_option_set") : CELLAR_OK;
}

/* Options besides the defaults of times: how each is set, and its greatest value. */
static const struct cache_option {
    cellar_err (*set)(cellar *c, int64_t value);
    int64_t most;
} cache_options[] = {
    [CELLAR_OPT_MEMORY_BYTES] = { cache_set_memory, INT64_MAX },
    [CELLAR_OPT_MAX_ENTRIES] = { cache_set_max_entries, INT64_MAX },
    [CELLAR_OPT_EVICTION] = { cache_set_eviction, INT64_MAX },
    [CELLAR_OPT_LOG_LEVEL] = { cache_set_log_level, CELLAR_LOG_OFF },
    [CELLAR_OPT_MAINTENANCE_THREAD] = { cache_set_thread, 1 },
    [CELLAR_OPT_L2_BYTES] = { cache_set_disk_bytes, INT64_MAX },
    [CELLAR_OPT_NAMESPACE_MAX_ENTRIES] = { cache_set_namespace_max_entries, INT64_MAX },
    [CELLAR_OPT_L2_CLOSE_MS] = { cache_set_disk_close, INT64_MAX },
    [CELLAR_OPT_BLOOM_KEYS] = { cache_set_bloom_keys, (int64_t)BLOOM_KEYS_MAX },
    [CELLAR_OPT_ENABLED] = { cache_set_enabled, 1 },
};

CELLAR_API cellar_err cellar_option_set(cellar *c, cellar_option option, int64_t value)
{
    if (c == NULL) { return CELLAR_E_INVAL; }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    if (value < 0) {
        return cache_fail_number(c, "cellar_option_set: value must be 0 or more", value);
    }
    const size_t at = (size_t)option;
    if (CACHE_OPT_DEFAULT(option) <= CACHE_OPT_DEFAULT(CELLAR_OPT_STALE_MS)) {
        return cache_set_default(c, CACHE_OPT_DEFAULT(option), value);
    }
    if (at >= sizeof cache_options / sizeof cache_options[0] || cache_options[at].set == NULL) {
        return cache_fail_number(c, "cellar_option_set: option is unknown", (int64_t)option);
    }
    if (value <= cache_options[at].most) { return cache_options[at].set(c, value); }
    char rule[64];
    (void)snprintf(rule, sizeof rule, "cellar_option_set: value must be at most %lld",
                   (long long)cache_options[at].most);
    return cache_fail_number(c, rule, value);
}

static int64_t cache_log_level_public(uint32_t level)
{
    static const int64_t of[] = { CELLAR_LOG_OFF, CELLAR_LOG_ERROR, CELLAR_LOG_WARNING,
                                  CELLAR_LOG_INFO, CELLAR_LOG_DEBUG };
    BASE_ASSERT(level < sizeof of / sizeof of[0]);
    return of[level];
}

CELLAR_API cellar_err cellar_option_get(cellar *c, cellar_option option, int64_t *value)
{
    if (c == NULL || value == NULL) {
        return cache_refuse(c, "cellar_option_get: c and value must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    const cache_store *s = c->store;
    switch (option) {
    case CELLAR_OPT_MEMORY_BYTES: *value = (int64_t)base_load_rlx(&s->account.limit); break;
    case CELLAR_OPT_MAX_ENTRIES: *value = (int64_t)base_load_rlx(&s->max_entries); break;
    case CELLAR_OPT_EVICTION: *value = base_load_rlx(&s->eviction); break;
    case CELLAR_OPT_LOG_LEVEL:
        *value = cache_log_level_public(base_load_rlx(&s->quiet_level));
        break;
    case CELLAR_OPT_MAINTENANCE_THREAD:
        *value = base_load_rlx(&s->thread_state) == CACHE_THREAD_ON;
        break;
    case CELLAR_OPT_DEFAULT_TTL_MS:
    case CELLAR_OPT_NEGATIVE_TTL_MS:
    case CELLAR_OPT_IDLE_MS:
    case CELLAR_OPT_MAX_AGE_MS:
    case CELLAR_OPT_STALE_MS: *value = cache_default(c, CACHE_OPT_DEFAULT(option)); break;
    case CELLAR_OPT_L2_BYTES:
        *value = s->tier != NULL ? (int64_t)base_load_rlx(&s->disk_bytes) : 0;
        break;
    case CELLAR_OPT_NAMESPACE_MAX_ENTRIES: *value = l1_cap_get(s->l1, c->slot); break;
    case CELLAR_OPT_L2_CLOSE_MS: *value = base_load_rlx(&s->disk_close_ms); break;
    case CELLAR_OPT_BLOOM_KEYS: *value = (int64_t)base_load_rlx(&c->bloom_keys); break;
    case CELLAR_OPT_ENABLED: *value = (base_load_rlx(&c->state) & CACHE_OFF) == 0; break;
    default:
        return cache_fail_number(c, "cellar_option_get: option is unknown", (int64_t)option);
    }
    return CELLAR_OK;
}

BASE_SIZE_END
