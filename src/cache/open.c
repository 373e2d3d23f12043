/* SPDX-License-Identifier: MIT
 *
 * open: open, close and fork a store; keep the last error.
 *
 * PICTURE    cellar_config -> cache_settings -> shell {account, hash key, clock, log} -> stats ->
 *            generations, root namespace -> stamps (only with a tier) -> l1 -> fork -> thread
 *            close(root): namespaces CLOSED -> join the thread -> tier -> l1 -> stats. The shell
 *            and open namespaces stay until their last cellar_close.
 * INVARIANTS A store in the registry has refs >= 1; refs = open handles + closes that run.
 *            cellar_open undoes unfinished steps in reverse order.
 * LOCKING    Registry lock (rank NAMESPACE, held alone): the list of stores and their refs. A
 *            second cellar_close of one handle finds no store, so it touches no freed memory.
 * FORK       One node per store. prepare takes NAMESPACE, LISTEN, stripes of L1, ERROR, LOG in rank
 *            order. The child resets the locks, drops the tier and has no thread.
 * SEE ALSO   namespace.c (generations), maintenance.c (the thread). */
#include "cache/cache_int.h"

#include <stdio.h>

#include "base/open_error.h"
#include "base/opts.h"

static sync_lock cache_registry_lock; /* rank NAMESPACE; never held together with another lock */
static cache_store *cache_stores;     /* registry lock */
static _Atomic uint32_t cache_registry_forks; /* 1: its fork node is registered */

/* ---- options by the size rule ---- */

CELLAR_PRIVATE cellar_err cache_opts_in(void *dst, size_t known, const void *src)
{
    return base_opts_in(dst, known, src);
}

CELLAR_PRIVATE cellar_err cache_opts_out(void *dst, const void *src, size_t known)
{
    return base_opts_out(dst, src, known);
}

/* ---- errors ---- */

BASE_SIZE_BEGIN

static void cache_error_set(cache_error *e, cellar_err code, int sys_errno, const char *text)
{
    e->code = code;
    e->sys_errno = sys_errno;
    (void)snprintf(e->text, sizeof e->text, "%s", text);
}

CELLAR_PRIVATE void cache_fail_open(cellar_err code, int sys_errno, const char *text)
{
    (void)base_open_fail(code, sys_errno, "%s", text);
}

/* Return whether the host must learn of the error; mistakes of a caller are not logged. */
static bool cache_fail_is_loud(cellar_err code)
{
    return code == CELLAR_E_NOMEM || code == CELLAR_E_SPACE || code == CELLAR_E_IO ||
           code == CELLAR_E_CORRUPT;
}

CELLAR_PRIVATE cellar_err cache_fail(cellar *c, cellar_err code, int sys_errno, const char *text)
{
    if (c == NULL) { return code; }
    cache_store *s = c->store;
    sync_take(ERROR, &s->error_lock);
    cache_error_set(&c->error, code, sys_errno, text);
    sync_drop(ERROR, &s->error_lock);
    if (cache_fail_is_loud(code)) {
        base_log(&s->log, BASE_LOG_ERROR, "cache", (int)code, "%s", text);
    }
    return code;
}

BASE_COLD CELLAR_PRIVATE cellar_err cache_fail_key(cellar *c, const char *call, const void *key,
                                                   size_t key_len, const char *rest)
{
    char text[CACHE_ERROR_TEXT];
    if (cache_key_bad(key, key_len)) {
        (void)snprintf(text, sizeof text, "%s: key must have 1..65,535 bytes (got %llu)", call,
                       key != NULL ? (unsigned long long)key_len : 0);
    } else {
        (void)snprintf(text, sizeof text, "%s: %s", call, rest);
    }
    return cache_fail(c, CELLAR_E_INVAL, 0, text);
}

BASE_COLD CELLAR_PRIVATE cellar_err cache_fail_number(cellar *c, const char *rule, int64_t got)
{
    char text[CACHE_ERROR_TEXT];
    (void)snprintf(text, sizeof text, "%s (got %lld)", rule, (long long)got);
    return cache_fail(c, CELLAR_E_INVAL, 0, text);
}

CELLAR_PRIVATE cellar_err cache_closed(cellar *c)
{
    return cache_fail(c, CELLAR_E_CLOSED, 0, "the namespace or its store is closed: open it again");
}

CELLAR_API cellar_err cellar_last_error(cellar *c, cellar_error_info *out)
{
    if (out == NULL) { return CELLAR_E_INVAL; }
    cellar_error_info full = cellar_error_info_default();
    if (c == NULL) {
        base_open_error_get(&full);
    } else {
        sync_take(ERROR, &c->store->error_lock);
        const cache_error seen = c->error;
        sync_drop(ERROR, &c->store->error_lock);
        full.code = seen.code;
        full.sys_errno = seen.sys_errno;
        memcpy(full.text, seen.text, sizeof full.text);
    }
    return cache_opts_out(out, &full, sizeof full);
}

/* ---- the store ---- */

static bool cache_make_room(void *ctx, uint64_t bytes)
{
    cache_store *s = ctx;
    return l1_make_room(s->l1, bytes);
}

/* Choose the key for all hashes of the store, at this place only. */
static cellar_err cache_hash_choose(cache_store *s, const cache_settings *cfg)
{
    if (s->tier != NULL && s->tier->hash_key != NULL &&
        s->tier->hash_key(s->tier->ctx, &s->hash_key)) {
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
    return CELLAR_OK;
}

static base_log_level cache_log_level(uint32_t level)
{
    switch (level) {
    case CELLAR_LOG_ERROR: return BASE_LOG_ERROR;
    case CELLAR_LOG_INFO: return BASE_LOG_INFO;
    case CELLAR_LOG_DEBUG: return BASE_LOG_DEBUG;
    case CELLAR_LOG_OFF: return BASE_LOG_OFF;
    default: return BASE_LOG_WARNING;
    }
}

/* Allocate the zeroed shell, aligned to BASE_PAD for its account. */
static cache_store *cache_shell_new(const cache_settings *cfg)
{
    const base_alloc_hooks hooks = { cfg->host.alloc, cfg->host.free, cfg->host.alloc_ctx };
    const size_t bytes = sizeof(cache_store) + BASE_PAD;
    unsigned char *raw = base_alloc_raw(&hooks, bytes);
    if (raw == NULL) { return NULL; }
    memset(raw, 0, bytes);
    cache_store *s = (cache_store *)(void *)(raw + (BASE_PAD - ((uintptr_t)raw & (BASE_PAD - 1))));
    s->raw = raw;
    s->raw_bytes = bytes;
    s->hooks = hooks;
    base_account_init(&s->account, cfg->config.memory_bytes, &hooks);
    (void)base_charge(&s->account, BASE_MOD_STORE, bytes); /* fits any budget */
    s->clock = (base_clock){ cfg->host.clock, cfg->host.clock, cfg->host.clock_ctx };
    if (cfg->host.clock == NULL) { base_clock_ready(); }
    const base_log_level level = cache_log_level(cfg->host.log_level);
    base_log_init(&s->log, &s->clock, cfg->host.log, cfg->host.log_ctx, (int)level);
    base_store_rlx(&s->quiet_level, (uint32_t)level);
    cache_load_open(s, cfg);
    const cellar_config *given = &cfg->config;
    const int64_t defaults[CACHE_DEFAULTS] = { given->default_ttl_ms, given->negative_ttl_ms,
                                               given->idle_ms, given->max_age_ms,
                                               given->stale_ms };
    memcpy(s->defaults, defaults, sizeof defaults);
    if (s->defaults[CACHE_TTL] == 0) { s->defaults[CACHE_TTL] = CELLAR_TTL_NONE; }
    if (s->defaults[CACHE_IDLE] == CELLAR_TTL_NONE) { s->defaults[CACHE_IDLE] = 0; }
    if (s->defaults[CACHE_NEGATIVE_TTL] == 0) { s->defaults[CACHE_NEGATIVE_TTL] = 60000; }
    return s;
}

static void cache_shell_free(cache_store *s)
{
    const base_alloc_hooks hooks = s->hooks;
    void *raw = s->raw;
    const size_t bytes = s->raw_bytes;
    base_free_raw(&hooks, raw, bytes);
}

CELLAR_PRIVATE l1_policy cache_policy(uint32_t eviction)
{
    switch (eviction) {
    case CELLAR_EVICT_S3FIFO: return L1_S3FIFO;
    case CELLAR_EVICT_LRU: return L1_LRU;
    case CELLAR_EVICT_FIFO: return L1_FIFO;
    default: return L1_ADAPTIVE;
    }
}

static cellar_err cache_l1_open(cache_store *s, const cache_settings *cfg)
{
    l1_config lc;
    memset(&lc, 0, sizeof lc);
    lc.account = &s->account;
    lc.hash_key = &s->hash_key;
    lc.clock = &s->clock;
    cache_hooks(s, &lc.hooks);
    lc.max_entries = cfg->config.max_entries;
    lc.max_value_bytes = cfg->tuning.max_value_bytes;
    lc.mean_entry_bytes = (uint32_t)cfg->tuning.mean_entry_bytes; /* range: cache_settings_read */
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
                                            ? "memory_bytes is too small for the tables of L1"
                                            : "no memory for L1");
    }
    s->account.make_room_ctx = s;
    s->account.make_room = cache_make_room;
    return CELLAR_OK;
}

/* ---- fork ---- */

static void cache_fork_prepare(void *ctx) SYNC_UNCHECKED;
static void cache_fork_parent(void *ctx) SYNC_UNCHECKED;

static void cache_fork_prepare(void *ctx)
{
    cache_store *s = ctx;
    sync_take(NAMESPACE, &s->namespace_lock); /* `ended` cannot change after it */
    sync_take(LISTEN, &s->listen_lock);
    if (!s->ended) {
        l1_fork_prepare(s->l1);
        cache_load_fork_prepare(s);
        sync_take(TAG, &s->tag_lock); /* no child sees half moved records */
        cache_deps_fork_prepare(s);
    }
    sync_take(ERROR, &s->error_lock);
    sync_take(LOG, &s->log.lock);
}

static void cache_fork_parent(void *ctx)
{
    cache_store *s = ctx;
    sync_drop(LOG, &s->log.lock);
    sync_drop(ERROR, &s->error_lock);
    if (!s->ended) {
        cache_deps_fork_parent(s);
        sync_drop(TAG, &s->tag_lock);
        cache_load_fork_parent(s);
        l1_fork_parent(s->l1);
    }
    sync_drop(LISTEN, &s->listen_lock);
    sync_drop(NAMESPACE, &s->namespace_lock);
}

static void cache_fork_child(void *ctx)
{
    cache_store *s = ctx;
    sync_reset(&s->log.lock);
    sync_reset(&s->error_lock);
    sync_reset(&s->listen_lock);
    sync_reset(&s->tag_lock);
    sync_reset(&s->namespace_lock);
    s->forked = true;
    if (s->ended) { return; } /* only closed handles are left */
    cache_deps_fork_child(s);
    cache_load_fork_child(s);
    l1_fork_child(s->l1);
    stats_forked(s->stats);
    cache_filters_forked(s);
    base_store_rlx(&s->thread_state, (uint32_t)CACHE_THREAD_OFF);
    base_store_rlx(&s->thread_stop, 0u);
    base_store_rlx(&s->ticking, 0u);
    base_store_rlx(&s->paused, 0u);
    base_store_rlx(&s->flights_turn, 0u);
    base_store_rlx(&s->renumbering, 0u); /* the thread that did it is gone; the next write begins
                                          * again */
    for (unsigned i = 0; i < CACHE_LISTENERS_MAX; i++) {
        base_store_rlx(&s->listener[i].running, 0u);
    }
    if (s->tier != NULL && s->tier->forked != NULL) { s->tier->forked(s->tier->ctx); }
    if (s->tier != NULL) {
        (void)base_sub_rlx(&s->observers, 1u);
        s->observers_base--;
        l1_want_evicted(s->l1, false);
    }
    s->tier = NULL;
    if (s->stamps != NULL) { s->stamps_parent = s->stamps; } /* freed by the close */
    s->stamps = NULL;
}

static void cache_registry_prepare(void *ctx) SYNC_UNCHECKED;
static void cache_registry_parent(void *ctx) SYNC_UNCHECKED;

static void cache_registry_prepare(void *ctx)
{
    (void)ctx;
    sync_take(NAMESPACE, &cache_registry_lock);
}

static void cache_registry_parent(void *ctx)
{
    (void)ctx;
    sync_drop(NAMESPACE, &cache_registry_lock);
}

static void cache_registry_child(void *ctx)
{
    (void)ctx;
    sync_reset(&cache_registry_lock);
}

static base_fork_node cache_registry_node = {
    .prepare = cache_registry_prepare,
    .parent = cache_registry_parent,
    .child = cache_registry_child,
};

static bool cache_registry_add(cache_store *s)
{
    if (base_cas_ar(&cache_registry_forks, 0u, 1u) && !base_fork_register(&cache_registry_node)) {
        base_store_rel(&cache_registry_forks, 0u);
        return false;
    }
    sync_take(NAMESPACE, &cache_registry_lock);
    s->refs = 1; /* handle of the root */
    s->next = cache_stores;
    cache_stores = s;
    sync_drop(NAMESPACE, &cache_registry_lock);
    return true;
}

/* ---- open ---- */

static cellar_err cache_store_open(cache_store *s, const cache_settings *cfg)
{
    cellar_err err = cache_disk_open(s, cfg);
    if (err != CELLAR_OK) { return err; }
    err = cache_hash_choose(s, cfg);
    if (err != CELLAR_OK) { goto drop_disk; }
    err = CELLAR_E_NOMEM;
    s->stats = stats_create(&s->account);
    if (s->stats == NULL) {
        (void)cache_open_refuse(err, "no memory for the counters");
        goto drop_disk;
    }
    err = cache_deps_open(s, cfg);
    if (err != CELLAR_OK) { goto drop_stats; }
    err = cache_namespaces_open(s, cfg);
    if (err != CELLAR_OK) { goto drop_deps; }
    if (s->tier != NULL) {
        err = cache_stamps_open(s, cfg->config.memory_bytes);
        if (err != CELLAR_OK) { goto drop_namespaces; }
    }
    err = cache_why_open(s, cfg);
    if (err != CELLAR_OK) { goto drop_stamps; }
    err = cache_l1_open(s, cfg);
    if (err != CELLAR_OK) { goto drop_why; }
    s->root->l1 = s->l1;
    err = CELLAR_E_NOMEM;
    if (!cache_quota_root(s, cfg)) {
        (void)cache_open_refuse(err, "no memory for the root's quota");
        goto drop_l1;
    }
    s->observers_base = (s->tier != NULL ? 1u : 0u) + (s->deps != NULL ? 1u : 0u);
    s->observers_tier_only = s->tier != NULL && s->deps == NULL && !s->tier->commit_each ? 1u : 0u;
    base_store_rlx(&s->observers, s->observers_base);
    if (s->tier != NULL) { l1_want_evicted(s->l1, true); }
    s->fork_node = (base_fork_node){ .prepare = cache_fork_prepare, .parent = cache_fork_parent,
                                     .child = cache_fork_child, .ctx = s };
    err = CELLAR_E_NOMEM;
    if (!base_fork_register(&s->fork_node)) {
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
    if (s->tier != NULL && s->tier->attach != NULL) {
        s->tier->attach(s->tier->ctx, &s->tier_host);
    }
    cache_tags_open(s); /* no read or write happens before it */
    return CELLAR_OK;
drop_fork:
    base_fork_unregister(&s->fork_node);
drop_l1:
    s->account.make_room = NULL;
    l1_close(s->l1);
drop_why:
    cache_tags_close(s);
    cache_why_close(s);
drop_stamps:
    cache_stamps_close(s);
drop_namespaces:
    cache_namespaces_close(s);
drop_deps:
    cache_deps_close(s);
drop_stats:
    stats_destroy(s->stats);
drop_disk:
    cache_disk_abandon(s);
    return err;
}

static bool cache_root_guards(cache_store *s, const cellar_namespace_opts *root)
{
    cellar_namespace_opts o;
    (void)cache_opts_in(&o, sizeof o, root); /* checked in cache_settings_read */
    return (o.bloom == 0 || cache_filter_start(s->root) == CELLAR_OK) &&
           (o.breaker == NULL || cache_breaker_start(s->root, o.breaker) == CELLAR_OK);
}

CELLAR_PRIVATE cellar_err cache_open(const cellar_config *cfg, const cache_tier *tier,
                                     uint32_t first_generation, cellar **out)
{
    if (out == NULL) { return cache_open_refuse(CELLAR_E_INVAL, "out must not be NULL"); }
    *out = NULL;
    cache_settings full;
    cellar_err err = cache_settings_read(&full, cfg);
    if (err != CELLAR_OK) { return err; }
    full.first_generation = first_generation;
    cache_store *s = cache_shell_new(&full);
    if (s == NULL) { return cache_open_refuse(CELLAR_E_NOMEM, "no memory for the store"); }
    s->tier = tier;
    err = cache_store_open(s, &full);
    if (err != CELLAR_OK) {
        cache_shell_free(s);
        return err;
    }
    if (!cache_registry_add(s)) {
        cache_thread_stop(s);
        base_fork_unregister(&s->fork_node);
        s->account.make_room = NULL;
        l1_close(s->l1);
        cache_tags_close(s);
        cache_why_close(s);
        cache_stamps_close(s);
        cache_namespaces_close(s);
        cache_deps_close(s);
        stats_destroy(s->stats);
        cache_disk_abandon(s);
        cache_shell_free(s);
        return cache_open_refuse(CELLAR_E_NOMEM, "no memory for the fork handlers");
    }
    cache_keep_end(cache_keep_begin(s->root, s->root->no_disk), true);
    if (full.config.root != NULL && !cache_root_guards(s, full.config.root)) {
        (void)cellar_close(s->root);
        return cache_open_refuse(CELLAR_E_SPACE,
                                 "root.bloom or root.breaker does not fit: raise memory_bytes");
    }
    if (s->disk_err != CELLAR_OK) { /* logged where it happened */
        sync_take(ERROR, &s->error_lock);
        cache_error_set(&s->root->error, s->disk_err, s->disk_errno, s->disk_text);
        sync_drop(ERROR, &s->error_lock);
    }
    *out = s->root;
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_open(const cellar_config *cfg, cellar **out)
{
    return cache_open(cfg, NULL, 0, out);
}

/* ---- close ---- */

/* Find the store of this handle, with a ref. Return NULL if the handle belongs to no open store. */
static cache_store *cache_registry_find(const cellar *c)
{
    cache_store *found = NULL;
    sync_take(NAMESPACE, &cache_registry_lock);
    for (cache_store *s = cache_stores; s != NULL && found == NULL; s = s->next) {
        for (uint32_t slot = 0; slot < CACHE_NAMESPACES_MAX; slot += CACHE_PAGE_NAMESPACES) {
            const cache_page *page = base_load_acq(&s->page[slot / CACHE_PAGE_NAMESPACES]);
            if (page == NULL) { continue; }
            for (uint32_t i = 0; i < CACHE_PAGE_NAMESPACES && found == NULL; i++) {
                if (base_load_acq(&page->namespace[i]) == c) { found = s; }
            }
        }
    }
    if (found != NULL) { found->refs++; }
    sync_drop(NAMESPACE, &cache_registry_lock);
    return found;
}

static void cache_registry_unlink(cache_store *s) SYNC_HOLDS(NAMESPACE);
static void cache_registry_unlink(cache_store *s)
{
    cache_store **at = &cache_stores;
    while (*at != s) { at = &(*at)->next; }
    *at = s->next;
}

CELLAR_PRIVATE void cache_store_release(cache_store *s, uint32_t count)
{
    sync_take(NAMESPACE, &cache_registry_lock);
    BASE_ASSERT(s->refs >= count);
    s->refs -= count;
    const bool last = s->refs == 0;
    if (last) { cache_registry_unlink(s); }
    sync_drop(NAMESPACE, &cache_registry_lock);
    if (!last) { return; }
    base_fork_unregister(&s->fork_node);
    cache_namespaces_close(s);
    cache_shell_free(s);
}

/* Add a handle to an open store. */
CELLAR_PRIVATE void cache_store_hold(cache_store *s)
{
    sync_take(NAMESPACE, &cache_registry_lock);
    BASE_ASSERT(s->refs > 0);
    s->refs++;
    sync_drop(NAMESPACE, &cache_registry_lock);
}

/* Close all open namespaces so that it can be undone, or open these again. */
static void cache_store_mark(cache_store *s, bool ending)
{
    sync_take(NAMESPACE, &s->namespace_lock);
    for (uint32_t slot = 0; slot < CACHE_NAMESPACES_MAX; slot++) {
        cellar *v = cache_namespace_at(s, slot);
        if (v == NULL) { continue; }
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

/* End the store after its root was closed. Return false, with no change, if loads still run. */
static bool cache_store_end(cache_store *s)
{
    cache_store_mark(s, true);
    if (!cache_load_close(s)) {
        cache_store_mark(s, false);
        return false;
    }
    cache_thread_stop(s);
    if (s->tier != NULL && s->tier->close != NULL) {
        s->tier->close(s->tier->ctx, base_add_sat(base_now_ms(&s->clock), 5000));
    }
    cache_disk_end(s);
    sync_take(NAMESPACE, &s->namespace_lock);
    s->ended = true; /* a fork sees all that follows, or nothing of it */
    sync_drop(NAMESPACE, &s->namespace_lock);
    cache_disk_close(s);
    s->account.make_room = NULL;
    l1 *gone = s->l1;
    cache_load_destroy(s);
    s->l1 = NULL;
    l1_close(gone);
    cache_tags_close(s);
    cache_why_close(s);
    cache_deps_close(s);
    cache_filters_close(s);
    cache_stamps_close(s);
    stats_destroy(s->stats);
    s->stats = NULL;
    return true;
}

CELLAR_API cellar_err cellar_close(cellar *c)
{
    if (c == NULL) { return CELLAR_OK; }
    cache_store *s = cache_registry_find(c);
    if (s == NULL) { return CELLAR_E_CLOSED; }
    sync_take(NAMESPACE, &s->namespace_lock);
    const bool was_open = c->handles > 0;
    const bool root_ends = was_open && c == s->root;
    if (was_open && --c->handles == 0 && !root_ends) {
        base_store_rel(&c->state, base_load_rlx(&c->state) | CACHE_CLOSED);
    }
    sync_drop(NAMESPACE, &s->namespace_lock);
    if (root_ends && !cache_store_end(s)) {
        sync_take(NAMESPACE, &s->namespace_lock);
        c->handles++;
        sync_drop(NAMESPACE, &s->namespace_lock);
        cache_store_release(s, 1);
        return cache_fail(c, CELLAR_E_BUSY, 0,
                          "cellar_close: loads still run after close_timeout_ms: retry");
    }
    if (was_open) { cache_namespace_release(c); }
    cache_store_release(s, was_open ? 2 : 1);
    return was_open ? CELLAR_OK : CELLAR_E_CLOSED;
}

BASE_SIZE_END
