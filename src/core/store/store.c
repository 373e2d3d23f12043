/* SPDX-License-Identifier: MIT
 *
 * store: open and close a store.
 *
 * PICTURE    cellar_config -> cache_settings -> shell {account, hash key, clock, log} -> stats ->
 *            generations, root namespace -> stamps (only with a tier) -> l1 -> fork -> thread
 *            close(root): namespaces CLOSED -> join the thread -> tier -> l1 -> stats. The shell
 *            and open namespaces stay until their last cellar_namespace_close.
 * INVARIANTS cellar_open undoes unfinished steps in reverse order. A second cellar_close of one
 *            handle finds no store, so it touches no freed memory.
 * SEE ALSO   cache/handle.c (refs), namespace.c (the root), maintenance.c (the thread), fork.c. */
#include "base/borrow.h"
#include "base/hot_keys.h"
#include "base/service.h"
#include "cache/bloom_guard.h"
#include "cache/error.h"
#include "cache/explain_record.h"
#include "cache/handle.h"
#include "cache/hook.h"
#include "cache/object.h"
#include "cache/shared.h"
#include "cache/stamp.h"
#include "cache/tags.h"
#include "cache/talk.h"
#include "cache/tier_calls.h"
#include "cache/write_order.h"
#include "loading/load_plan.h"
#include "loading/refresh.h"
#include "store/bloom_persist.h"
#include "store/charge.h"
#include "store/fork.h"
#include "store/l2_tier.h"
#include "store/maintenance.h"
#include "store/metrics.h"
#include "store/namespace.h"
#include "store/option.h"
#include "store/options.h"
#include "store/policy_set.h"
#include "store/settings.h"
#include "store/store.h"
#include "store/tier_attach.h"

BASE_SIZE_BEGIN

/* ---- the store ---- */

static bool cache_make_room(void *ctx, uint64_t bytes)
{
    cache_store *s = ctx;
    return l1_make_room(s->l1, bytes);
}

/* Choose the key for all hashes of the store, at this place only. */
static cellar_err cache_hash_choose(cache_store *s, const cache_settings *cfg)
{
    const l2 *d = cache_disk(s);
    if (d != NULL) {
        s->hash_key = *l2_hash_key(d);
        return CELLAR_OK;
    }
    unsigned char secret[32];
    if (cfg->tuning.hash_key != NULL) {
        memcpy(secret, cfg->tuning.hash_key, sizeof secret);
    } else if (!base_random_bytes(secret, sizeof secret)) {
        return cache_open_refuse(CELLAR_E_NOMEM,
                                 "no random bytes from the system: set tuning.hash_key");
    }
    base_hash_key_init(&s->hash_key, cfg->tuning.hash == CELLAR_HASH_SIPHASH13 ? BASE_HASH_SIP13
                                                                        : BASE_HASH_FOLD, secret);
    base_thread_record *self = base_thread_self();
    if (cfg->tuning.hash_key != NULL && self->index != 0) { /* the same calls, the same results */
        base_rng_seed(&self->rng, base_hash(&s->hash_key, 0, "draws", 5));
        self->countdown = 0;
    }
    return CELLAR_OK;
}

static const base_service_kind cache_service = { cache_tick, BASE_TEXT(cache_text) };

/* Allocate the zeroed shell, aligned to BASE_PAD for its account. */
static cache_store *cache_shell_new(const cache_settings *cfg)
{
    base_alloc_hooks hooks = base_host_hooks(&cfg->host);
    const size_t bytes = sizeof(cache_store) + BASE_PAD;
    unsigned char *raw = base_alloc_raw(&hooks, bytes);
    if (raw == NULL) { return NULL; }
    memset(raw, 0, bytes);
    cache_store *s = (cache_store *)(void *)(raw + (BASE_PAD - ((uintptr_t)raw & (BASE_PAD - 1))));
    s->raw = raw;
    s->raw_bytes = bytes;
    hooks.wipe = &s->hides;
    s->hooks = hooks;
    s->kind = &cache_service;
    base_host_init(&cfg->host, &s->account, &s->clock, &s->log);
    s->account.hooks = hooks;
    base_store_rlx(&s->account.limit, cfg->config.memory_bytes);
    (void)base_charge(&s->account, BASE_MOD_STORE, bytes); /* fits any budget */
    base_store_rlx(&s->quiet_level, (uint32_t)base_log_level_of(cfg->host.log_level));
    s->log_keys = cfg->host.log_keys;
    cache_load_open(s, cfg);
    cache_jobs_open(s, &cfg->host);
    const int64_t defaults[CACHE_DEFAULTS] = CACHE_TIMES(&cfg->config);
    memcpy(s->defaults, defaults, sizeof defaults);
    if (s->defaults[CACHE_TTL] == 0) { s->defaults[CACHE_TTL] = CELLAR_TTL_NONE; }
    if (s->defaults[CACHE_IDLE] == CELLAR_TTL_NONE) { s->defaults[CACHE_IDLE] = 0; }
    if (s->defaults[CACHE_NEGATIVE_TTL] == 0) { s->defaults[CACHE_NEGATIVE_TTL] = 60000; }
    return s;
}

static cellar_err cache_l1_open(cache_store *s, const cache_settings *cfg)
{
    l1_config lc = { .account = &s->account, .hash_key = &s->hash_key, .clock = &s->clock };
    cache_hooks(s, &lc.hooks);
    lc.max_entries = cfg->config.max_entries;
    lc.max_value_bytes = cfg->tuning.max_value_bytes;
    /* range: cache_settings_read */
    lc.mean_entry_bytes = (uint32_t)cfg->tuning.expected_entry_bytes;
    lc.stripes = cfg->tuning.stripes;
    lc.policy = cache_policy(cfg->config.eviction);
    lc.no_advisor = cfg->tuning.no_advisor != 0;
    lc.favor_objects = cfg->tuning.optimize == CELLAR_OPTIMIZE_OBJECTS;
    lc.huge_pages = (uint8_t)cfg->tuning.huge_pages;
    base_store_rlx(&s->max_entries, cfg->config.max_entries);
    const uint32_t eviction = (uint32_t)cfg->config.eviction;
    base_store_rlx(&s->eviction, eviction != 0 ? eviction : (uint32_t)CELLAR_EVICT_ADAPTIVE);
    cellar_err err = l1_open(&lc, &s->l1);
    char text[CACHE_ERROR_TEXT];
    if (err == CELLAR_E_INVAL && cache_disk_crowds(s, cfg, text, sizeof text)) {
        cache_fail_open(err, 0, text);
        return err;
    }
    if (err != CELLAR_OK) {
        return cache_open_refuse(err, err == CELLAR_E_INVAL
                                            ? "memory_bytes is too small for its tables: raise it"
                                            : "no memory for memory_bytes: lower it");
    }
    s->account.make_room_ctx = s;
    s->account.make_room = cache_make_room;
    l1_stats l;
    l1_stats_get(s->l1, &l);
    if (l.stripes < cfg->tuning.stripes) {
        base_log(&s->log, BASE_LOG_WARNING, "cache", 0,
                 "cellar_open: tuning.stripes: %u of %u in use: each needs 64 segments of %u bytes "
                 "and 64 entries", (unsigned)l.stripes, cfg->tuning.stripes, (unsigned)l.seg_bytes);
    }
    return CELLAR_OK;
}

/* ---- hot keys ---- */

/* Take 64 KiB for the hot keys, less in a small store: budget / 128. */
static bool cache_hot_open(cache_store *s)
{
    const uint64_t room = base_load_rlx(&s->account.limit) / 128;
    const uint32_t sets = (uint32_t)base_clamp(room / (base_hot_bytes(1) - base_hot_bytes(0)), 17,
                                               256) - 1; /* 1: for the header */
    s->hot = base_alloc(&s->account, BASE_MOD_HOT, base_hot_bytes(sets), NULL);
    if (s->hot != NULL) { base_hot_init(s->hot, sets, base_now_ms(&s->clock)); }
    return s->hot != NULL;
}

static void cache_hot_close(cache_store *s)
{
    if (s->hot == NULL) { return; }
    base_free(&s->account, BASE_MOD_HOT, s->hot, base_hot_bytes(s->hot->sets));
}

/* ---- open ---- */

static cellar_err cache_store_open(cache_store *s, const cache_settings *cfg)
{
    s->stats = stats_create(&s->account); /* before the disk, which records times */
    if (s->stats == NULL) {
        return cache_open_refuse(CELLAR_E_NOMEM, "no memory for the counters");
    }
    cellar_err err = cache_disk_open(s, cfg);
    if (err != CELLAR_OK) { goto drop_stats; }
    err = cache_hash_choose(s, cfg);
    if (err != CELLAR_OK) { goto drop_stamps; }
    err = cache_namespaces_open(s, cfg);
    if (err != CELLAR_OK) { goto drop_stamps; }
    if (s->tier != NULL) {
        if (!cache_tier_ready(s)) {
            err = cache_open_refuse(CELLAR_E_NOMEM, "no memory for the stamps");
            goto drop_stamps;
        }
    }
    if (!cache_hot_open(s)) {
        err = cache_open_refuse(CELLAR_E_NOMEM, "no memory for the hot keys");
        goto drop_stamps;
    }
    err = cache_why_open(s, cfg);
    if (err != CELLAR_OK) { goto drop_hot; }
    err = cache_l1_open(s, cfg);
    if (err != CELLAR_OK) { goto drop_why; }
    s->root->l1 = s->l1;
    if (s->root->secret) { cache_hide(s); }
    err = CELLAR_E_NOMEM;
    bool missed;
    if (!cache_quota_root(s, &cfg->root, 0, &missed)) {
        (void)cache_open_refuse(err, "no memory for the root's quota");
        goto drop_l1;
    }
    if (s->tier != NULL) { cache_tiers_add(s, s->tier); }
    if (!cache_fork_register(s)) {
        (void)cache_open_refuse(err, "no memory for the fork handlers");
        goto drop_l1;
    }
    if (!cfg->host.no_threads) {
        err = cache_thread_start(s);
        if (err != CELLAR_OK) {
            (void)cache_open_refuse(err, "no maintenance thread: raise limits, or no_threads");
            goto drop_fork;
        }
    }
    err = CELLAR_E_NOMEM;
    if (!cache_registry_add(s)) {
        (void)cache_open_refuse(err, "no memory for the fork handlers");
        goto drop_thread;
    }
    cache_tags_open(s); /* no read or write happens before it */
    return CELLAR_OK;
drop_thread:
    cache_thread_stop(s);
drop_fork:
    base_fork_unregister(&s->fork_node);
drop_l1:
    cache_disk_abandon(s); /* its worker may make room */
    s->account.make_room = NULL;
    l1_close(s->l1);
drop_why:
    cache_why_close(s);
drop_hot:
    cache_hot_close(s);
drop_stamps:
    cache_disk_abandon(s); /* its worker asks for generations */
    cache_stamps_close(s);
    cache_write_order_close(s);
    cache_namespaces_close(s);
drop_stats:
    stats_destroy(s->stats);
    return err;
}

CELLAR_PRIVATE cellar_err cache_open(const cellar_config *cfg, const l2_config *disk,
                                     uint32_t first_generation, cellar **out)
{
    if (out == NULL) { return cache_open_refuse(CELLAR_E_INVAL, "out must not be NULL"); }
    *out = NULL;
    cache_settings full;
    cellar_err err = cache_settings_read(&full, cfg);
    if (err != CELLAR_OK) { return err; }
    full.first_generation = first_generation;
    full.disk = disk;
    cache_store *s = cache_shell_new(&full);
    if (s == NULL) { return cache_open_refuse(CELLAR_E_NOMEM, "no memory for the store"); }
    err = cache_store_open(s, &full);
    if (err != CELLAR_OK) {
        cache_shell_free(s);
        return err;
    }
    cache_keep_end(cache_keep_begin(s->root, s->root->no_disk), true);
    err = cache_object_begin(s->root, &full.root);
    if (err != CELLAR_OK) {
        (void)cellar_close(s->root);
        return cache_open_refuse(err, "no memory for the objects of the root");
    }
    if (cache_guards_start(s->root, &full.root) != CELLAR_OK) {
        (void)cellar_close(s->root);
        return cache_open_refuse(CELLAR_E_SPACE, "root.bloom_keys or root.breaker does not fit: "
                                                 "raise memory_bytes");
    }
    if (full.config.rule_count > 0) {
        err = cache_policies_open(s->root, full.config.rules, full.config.rule_count);
        if (err != CELLAR_OK) {
            (void)cellar_close(s->root);
            return err;
        }
    }
    if (s->disk_err != CELLAR_OK) { /* logged where it happened */
        cache_error_keep(s->root, s->disk_err, s->disk_errno, s->disk_text);
    }
    *out = s->root;
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_open(const cellar_config *cfg, cellar **out)
{
    return cache_open(cfg, NULL, 0, out);
}

CELLAR_API cellar_err cellar_open_sized(uint64_t memory_bytes, uint64_t max_entries, cellar **out)
{
    cellar_config cfg = cellar_config_default();
    cfg.memory_bytes = memory_bytes;
    cfg.max_entries = max_entries;
    return cache_open(&cfg, NULL, 0, out);
}

/* ---- close ---- */

/* Close all open namespaces so that it can be undone, or open these again. */
static void cache_store_mark(cache_store *s, bool ending)
{
    sync_take(NAMESPACE, &s->namespace_lock);
    cellar *v;
    for (uint32_t slot = 0; (v = cache_namespace_next(s, &slot)) != NULL; slot++) {
        const uint32_t state = base_load_rlx(&v->state);
        if (ending && (state & CACHE_CLOSED) == 0) {
            /* pairs with cache_load_begin */
            base_store_sc(&v->state, state | CACHE_CLOSED | CACHE_ENDING);
        } else if (!ending && (state & CACHE_ENDING) != 0) {
            base_store_rel(&v->state, state & ~(CACHE_CLOSED | CACHE_ENDING));
        }
    }
    sync_drop(NAMESPACE, &s->namespace_lock);
}

/* Let no namespace name a tier that closes: the end of the disk may still evict entries. */
static void cache_tiers_leave(cache_store *s)
{
    cellar *v;
    sync_take(NAMESPACE, &s->namespace_lock);
    for (uint32_t slot = 0; (v = cache_namespace_next(s, &slot)) != NULL; slot++) {
        const cache_tier *t = cache_tier_of(v);
        if (t != NULL && cache_tier_is_behind(t)) { base_store_rlx(&v->tier, NULL); }
    }
    sync_drop(NAMESPACE, &s->namespace_lock);
}

/* End the store after its root was closed. Return OK; DROPPED: l2.close_ms dropped entries. With no
 * change: E_DEADLOCK, a load or the maintenance thread is the caller; E_BUSY, loads still run. */
static cellar_err cache_store_end(cache_store *s)
{
    if (cache_loads_mine(s) != 0 || cache_thread_is_mine(s)) { return CELLAR_E_DEADLOCK; }
    cache_store_mark(s, true);
    if (!cache_load_close(s)) {
        cache_store_mark(s, false);
        return CELLAR_E_BUSY;
    }
    cache_thread_stop(s);
    cache_tiers_leave(s);
    s->ended = true;
    base_fork_settle();
    const bool all = cache_disk_end(s); /* before any tier is waited for */
    cache_tiers_close(s, base_add_sat(base_now_ms(&s->clock), 5000));
    cache_disk_close(s);
    s->account.make_room = NULL;
    l1 *gone = s->l1;
    cache_load_destroy(s);
    cache_objects_close(s);
    s->l1 = NULL;
    base_borrow_end(gone, NULL);
    l1_close(gone);
    cache_tags_close(s);
    cache_why_close(s);
    cache_hot_close(s);
    cache_filters_close(s);
    cache_policies_close(s);
    cache_stamps_close(s);
    cache_write_order_close(s);
    cache_shared_close(s);
    cache_charge_end(s);
    stats_destroy(s->stats);
    s->stats = NULL;
    return all ? CELLAR_OK : CELLAR_DROPPED;
}

/* Refuse a handle that the other call closes. The log gets the first one of a store. */
BASE_COLD static cellar_err cache_close_refuse(cellar *c, bool root)
{
    const char *text = root ? "cellar_close: c is a namespace: call cellar_namespace_close"
                            : "cellar_namespace_close: c is the root handle: call cellar_close";
    if (!cache_is_closed(c) && base_xchg_ar(&c->store->close_told, 1u) == 0) {
        cache_log(c, BASE_LOG_WARNING, "cache", (int)CELLAR_E_INVAL, "%s", text);
    }
    return cache_refuse(c, text);
}

static cellar_err cache_handle_close(cellar *c, bool root)
{
    if (c == NULL) { return CELLAR_OK; }
    cache_store *s = cache_registry_find(c);
    if (s == NULL) { return CELLAR_E_CLOSED; }
    if (s->forked) { return CELLAR_OK; }
    const bool fits = root == (c == s->root);
    const bool was_open = fits && cache_handle_drop(c);
    const cellar_err err = !fits ? cache_close_refuse(c, root) : !was_open ? CELLAR_E_CLOSED
                           : root ? cache_store_end(s) : CELLAR_OK;
    if (err == CELLAR_E_BUSY || err == CELLAR_E_DEADLOCK) {
        sync_take(NAMESPACE, &s->namespace_lock);
        c->handles++;
        sync_drop(NAMESPACE, &s->namespace_lock);
        cache_store_release(s, 1);
        return cache_fail(c, err, 0, err == CELLAR_E_BUSY
                          ? "cellar_close: loads still run after close_timeout_ms: retry"
                          : "cellar_close: a loader closes its own store: let it return first");
    }
    if (was_open) { cache_namespace_release(c); }
    cache_store_release(s, was_open ? 2 : 1);
    return err;
}

CELLAR_API cellar_err cellar_close(cellar *c) { return cache_handle_close(c, true); }

CELLAR_API cellar_err cellar_namespace_close(cellar *c) { return cache_handle_close(c, false); }

BASE_SIZE_END
