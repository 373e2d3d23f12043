/* SPDX-License-Identifier: MIT
 *
 * namespace: named handles of one store, and the generations that make clear and version changes
 * O(1).
 *
 * PICTURE    name -(uthash, keyed hash)-> namespace {slot, id, generation, version, options}
 *            table: cell[generation & mask] = {generation, slot, cause, alive}; read without a lock
 *                    |0 root|.. |65 "session"|.. |131 dead: CLEARED|..
 *            clear: draw the next generation -> its cell alive -> set it in the namespace -> old
 *            cell dead
 * INVARIANTS The generation of an open namespace is alive. Cells of living generations never
 *            collide: the counter skips numbers with a taken cell, and at most half of the cells
 *            are taken. A larger table keeps that: numbers that differ mod n differ mod 2n.
 *            A generation is not reused while an entry has it. When all 32 bits are used, all
 *            generations end, L1 is emptied, and every namespace gets a new number from 1 on.
 * LOCKING    NAMESPACE, except for reads of generations, pages and the options of writes. Memory is
 *            allocated before the lock and freed after it; only the tables of uthash grow under it.
 * LIFETIME   A namespace is freed when it is neither named nor open nor in use: refs, which never
 *            rise from 0. Only then its slot is free again, so an event never names another
 *            namespace.
 * LIMITS     The cause of a generation's end is kept for as many draws as the table has cells (64
 *            or more). Listeners of the root get older ones as CLEARED, without a namespace; they
 *            are counted at the root. A listener of one namespace misses them (counted).
 * SEE ALSO   README.md, "Namespaces and generations": rejected designs. */
#include "cache/cache_int.h"

#include "base/pack.h"
#include "load/flight.h"

#define CACHE_GENERATIONS_LEAST 64u
/* numbers from before a restart should find their cells free */
#define CACHE_GENERATIONS_DISK 1024u

/* ---- generations ---- */

static size_t cache_generations_bytes(uint32_t cells)
{
    return sizeof(cache_generations) + (size_t)cells * sizeof(uint64_t);
}

static cache_generations *cache_generations_new(cache_store *s, uint32_t cells)
{
    const size_t bytes = cache_generations_bytes(cells);
    cache_generations *t = base_alloc(&s->account, BASE_MOD_NAMESPACE, bytes, NULL);
    if (t == NULL) { return NULL; }
    t->mask = cells - 1;
    t->bytes = (uint32_t)bytes; /* <= 16,384 cells */
    return t;
}

/* Return whether the table is too small for one more namespace. Half of the cells stay free, so
 * that a draw ends soon. */
static bool cache_generations_small(const cache_store *s) SYNC_HOLDS(NAMESPACE);
static bool cache_generations_small(const cache_store *s)
{
    return base_load_rlx(&s->generations)->mask + 1 < 2 * (s->namespace_count + 1);
}

static void cache_generations_install(cache_store *s, cache_generations *t) SYNC_HOLDS(NAMESPACE);
static void cache_generations_install(cache_store *s, cache_generations *t)
{
    cache_generations *old = base_load_rlx(&s->generations);
    BASE_ASSERT(t->mask == 2 * old->mask + 1);
    for (uint32_t i = 0; i <= old->mask; i++) {
        const uint64_t w = base_load_rlx(&old->cell[i]);
        if (w == 0) { continue; } /* would look like generation 0, the root */
        base_store_rlx(&t->cell[CACHE_CELL_GENERATION(w) & t->mask], w);
    }
    t->older = old;
    base_store_rel(&s->generations, t); /* acquire in cache_generation_alive */
}

CELLAR_PRIVATE bool cache_generation_alive(const cache_store *s, uint32_t generation)
{
    const cache_generations *t = base_load_acq(&s->generations);
    const uint64_t w = base_load_acq(&t->cell[generation & t->mask]);
    return CACHE_CELL_GENERATION(w) == generation && (w & CACHE_CELL_ALIVE) != 0;
}

CELLAR_PRIVATE cellar_cause cache_generation_cause(const cache_store *s, uint32_t generation)
{
    const cache_generations *t = base_load_acq(&s->generations);
    const uint64_t w = base_load_acq(&t->cell[generation & t->mask]);
    const bool bumped =
        CACHE_CELL_GENERATION(w) == generation && CACHE_CELL_CAUSE(w) == CELLAR_CAUSE_VERSION;
    return bumped ? CELLAR_CAUSE_VERSION : CELLAR_CAUSE_CLEARED;
}

/* Mark a generation dead in every table: a hook may read an older one. End its dependants. */
static void cache_generation_end(cache_store *s, uint32_t generation, cellar_cause cause)
    SYNC_HOLDS(NAMESPACE);
static void cache_generation_end(cache_store *s, uint32_t generation, cellar_cause cause)
{
    for (cache_generations *t = base_load_rlx(&s->generations); t != NULL; t = t->older) {
        const uint64_t w = base_load_rlx(&t->cell[generation & t->mask]);
        if (CACHE_CELL_GENERATION(w) == generation) {
            base_store_sc(&t->cell[generation & t->mask],
                          CACHE_CELL(generation, CACHE_CELL_SLOT(w), (uint32_t)cause, 0u));
        }
    }
    if (s->deps != NULL) { cache_deps_generation(s, generation); }
}

CELLAR_PRIVATE bool cache_generation_next(cellar *v, cellar_cause cause)
{
    cache_store *s = v->store;
    cache_generations *t = base_load_rlx(&s->generations);
    const uint32_t old = base_load_rlx(&v->generation);
    uint32_t generation = 0;
    do {
        generation = s->next_generation;
        if (generation == 0) { return false; }
        s->next_generation = generation + 1; /* 0 after the last one */
    } while ((base_load_rlx(&t->cell[generation & t->mask]) & CACHE_CELL_ALIVE) != 0);
    base_store_rel(&t->cell[generation & t->mask],
                   CACHE_CELL(generation, v->slot, 0u, CACHE_CELL_LIVES(v->quota)));
    const bool late = BASE_MUTANT("cache.share_after_generation");
    if (v->quota != 0 && !late) { l1_quota_generation(s->l1, v->quota, generation); }
    base_store_rel(&v->generation, generation); /* acquire in cache_key */
    if (v->quota != 0 && late) { l1_quota_generation(s->l1, v->quota, generation); }
    if (old != generation) {
        cache_generation_end(s, old, cause);
        cache_why_generation(s, v, old, cause);
    }
    return true;
}

/* Wait until L1 is empty and numbers are available. Do not wait inside a listener: the thread that
 * empties L1 may have called it. */
static void cache_renumber_wait(cache_store *s)
{
    while (base_load_acq(&s->renumbering) != 0 && base_thread_self()->depth == 0) {
        (void)sync_wait(&s->renumbering, 1u, UINT64_MAX);
    }
}

/* Return whether the namespace has a number; one that only has a slot has none. */
CELLAR_PRIVATE bool cache_namespace_is_named(const cellar *v) { return v->slot == 0 || v->id != 0; }

static void cache_renumber_namespaces(cache_store *s) SYNC_HOLDS(NAMESPACE);
static void cache_renumber_namespaces(cache_store *s)
{
    for (cache_generations *t = base_load_rlx(&s->generations); t != NULL; t = t->older) {
        for (uint32_t i = 0; i <= t->mask; i++) { base_store_rlx(&t->cell[i], (uint64_t)0); }
    }
    s->next_generation = 1;
    for (uint32_t slot = 0; slot < CACHE_NAMESPACES_MAX; slot++) {
        cellar *v = cache_namespace_at(s, slot);
        if (v == NULL || v->dropped || !cache_namespace_is_named(v)) { continue; }
        /* Its old number may now belong to another namespace: do not kill it. */
        base_store_rlx(&v->generation, s->next_generation);
        const bool ok = cache_generation_next(v, CELLAR_CAUSE_CLEARED);
        BASE_ASSERT(ok);
        (void)ok;
        v->first_generation = base_load_rlx(&v->generation);
    }
}

CELLAR_PRIVATE void cache_renumber(cache_store *s)
{
    if (!base_cas_ar(&s->renumbering, 0u, 1u)) {
        cache_renumber_wait(s);
        return;
    }
    sync_take(NAMESPACE, &s->namespace_lock);
    for (uint32_t slot = 0; slot < CACHE_NAMESPACES_MAX; slot++) {
        cellar *v = cache_namespace_at(s, slot);
        if (v != NULL) {
            cache_generation_end(s, base_load_rlx(&v->generation), CELLAR_CAUSE_CLEARED);
        }
    }
    sync_drop(NAMESPACE, &s->namespace_lock);
    l1_stats now;
    do { /* every put is vetoed now, so the count only falls */
        l1_generation_died(s->l1);
        (void)l1_tick(s->l1, 20000);
        l1_stats_get(s->l1, &now);
        base_yield();
    } while (now.entries != 0);
    if (s->tier != NULL && s->tier->retire != NULL) { s->tier->retire(s->tier->ctx); }
    sync_take(NAMESPACE, &s->namespace_lock);
    cache_renumber_namespaces(s);
    sync_drop(NAMESPACE, &s->namespace_lock);
    base_store_rel(&s->renumbering, 0u);
    sync_wake(&s->renumbering, INT32_MAX);
    base_log(&s->log, BASE_LOG_WARNING, "cache", 0,
             "all generations are used: L1 was emptied, numbers restart at 1");
}

CELLAR_PRIVATE void cache_rekey(cellar *c, l1_key *k)
{
    cache_store *s = c->store;
    const uint32_t generation = base_load_acq(&c->generation);
    if (generation == k->generation && !cache_generation_alive(s, generation) &&
        !cache_is_closed(c)) {
        if (base_load_acq(&s->renumbering) != 0 || base_thread_self()->depth > 0) {
            cache_renumber_wait(s);
        } else {
            cache_renumber(s); /* forked child: the parent was in the middle of it */
        }
    }
    cache_key(c, k, k->bytes, k->len);
}

/* ---- table of namespaces ---- */

CELLAR_PRIVATE cellar *cache_namespace_at(const cache_store *s, uint32_t slot)
{
    const cache_page *page = base_load_acq(&s->page[slot / CACHE_PAGE_NAMESPACES]);
    return page != NULL ? base_load_acq(&page->namespace[slot % CACHE_PAGE_NAMESPACES]) : NULL;
}

static void cache_namespace_put(cache_store *s, uint32_t slot, cellar *v) SYNC_HOLDS(NAMESPACE);
static void cache_namespace_put(cache_store *s, uint32_t slot, cellar *v)
{
    cache_page *page = base_load_rlx(&s->page[slot / CACHE_PAGE_NAMESPACES]);
    /* acquire in cache_namespace_at */
    base_store_rel(&page->namespace[slot % CACHE_PAGE_NAMESPACES], v);
}

static unsigned cache_name_hash(const cache_store *s, const char *name, size_t len)
{
    return (unsigned)base_hash(&s->hash_key, CACHE_SALT_NAME, name, len);
}

static cellar *cache_namespace_find(cache_store *s, const char *name, size_t len)
    SYNC_HOLDS(NAMESPACE);
static cellar *cache_namespace_find(cache_store *s, const char *name, size_t len)
{
    cellar *v = NULL;
    const unsigned hash = cache_name_hash(s, name, len);
    HASH_FIND_BYHASHVALUE(hh, s->names, name, len, hash, v);
    return v;
}

static bool cache_namespace_name(cache_store *s, cellar *v) SYNC_HOLDS(NAMESPACE);
static bool cache_namespace_name(cache_store *s, cellar *v)
{
    base_account *base_table_account = &s->account;
    const base_module base_table_module = BASE_MOD_NAMESPACE;
    const unsigned hash = cache_name_hash(s, v->name, v->name_len);
    v->hh.tbl = NULL;
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, s->names, v->name, v->name_len, hash, v);
    return v->hh.tbl != NULL;
}

static void cache_namespace_unname(cache_store *s, cellar *v) SYNC_HOLDS(NAMESPACE);
static void cache_namespace_unname(cache_store *s, cellar *v)
{
    base_account *base_table_account = &s->account;
    const base_module base_table_module = BASE_MOD_NAMESPACE;
    HASH_DELETE(hh, s->names, v);
}

static void cache_namespace_free(cache_store *s, cellar *v)
{
    cache_filter_free(v);
    cache_breaker_free(v);
    base_free(&s->account, BASE_MOD_NAMESPACE, v->class_name,
              sizeof *v->class_name * CELLAR_TTL_CLASSES_MAX);
    base_free(&s->account, BASE_MOD_NAMESPACE, v, sizeof *v);
}

CELLAR_PRIVATE void cache_namespace_release(cellar *v)
{
    if (base_sub_ar(&v->refs, 1u) != 1) { return; }
    cache_store *s = v->store;
    sync_take(NAMESPACE, &s->namespace_lock);
    cache_namespace_put(s, v->slot, NULL);
    s->namespace_count--;
    sync_drop(NAMESPACE, &s->namespace_lock);
    cache_namespace_free(s, v);
}

CELLAR_PRIVATE bool cache_namespace_hold(cellar *v)
{
    uint32_t refs = base_load_rlx(&v->refs);
    while (refs != 0) {
        if (base_cas_ar(&v->refs, refs, refs + 1)) { return true; }
        refs = base_load_rlx(&v->refs);
    }
    return false;
}

CELLAR_PRIVATE cellar *cache_generation_namespace(cache_store *s, uint32_t generation,
                                                  cache_whose *whose)
{
    *whose = (cache_whose){ .dead_by = CELLAR_CAUSE_CLEARED };
    cellar *found = NULL;
    sync_take(NAMESPACE, &s->namespace_lock);
    const cache_generations *t = base_load_rlx(&s->generations);
    const uint64_t w = base_load_rlx(&t->cell[generation & t->mask]);
    if (CACHE_CELL_GENERATION(w) == generation && w != 0) {
        const uint32_t cause = CACHE_CELL_CAUSE(w);
        whose->known = true;
        if (cause != CELLAR_CAUSE_NONE) { whose->dead_by = (cellar_cause)cause; }
        cellar *v = cache_namespace_at(s, CACHE_CELL_SLOT(w));
        if (v != NULL && v->first_generation <= generation && cache_namespace_hold(v)) {
            found = v;
        }
        whose->dropped = found != NULL && found->dropped;
    }
    sync_drop(NAMESPACE, &s->namespace_lock);
    return found;
}

/* ---- options ---- */

BASE_SIZE_BEGIN

static const char *cache_namespace_opts_range(const cellar_namespace_opts *o)
{
    const int64_t times[] = { o->default_ttl_ms, o->negative_ttl_ms, o->idle_ms, o->max_age_ms,
                              o->stale_ms };
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        if (times[i] < 0) { return "namespace: a duration is negative: use 0 or more"; }
    }
    if (o->idle_ms > CACHE_WINDOW_MAX && o->idle_ms != CELLAR_TTL_NONE) {
        return "namespace: idle_ms must be at most 2^32 - 1";
    }
    if (o->stale_ms > CACHE_WINDOW_MAX) { return "namespace: stale_ms must be at most 2^32 - 1"; }
    if ((unsigned)o->tier > CELLAR_TIER_L2) { return "namespace: tier must be a cellar_tier"; }
    if (o->hidden > 1) { return "namespace: hidden must be 0 or 1"; }
    if ((unsigned)o->l2_write > CELLAR_L2_WRITE_THROUGH) {
        return "namespace: l2_write must be a cellar_l2_write";
    }
    if (o->l2_lz4 > 1) { return "namespace: l2_lz4 must be 0 or 1"; }
    if (o->track_dependencies > 1) { return "namespace: track_dependencies must be 0 or 1"; }
    if (o->exact_age > 1) { return "namespace: exact_age must be 0 or 1"; }
    if (o->quota_min_pct > 100 || o->quota_max_pct > 100) {
        return "namespace: a quota must be 0..100 percent";
    }
    if (o->quota_max_pct != 0 && o->quota_min_pct > o->quota_max_pct) {
        return "namespace: quota_min_pct must be at most quota_max_pct";
    }
    if ((unsigned)o->bloom > CELLAR_BLOOM_OBSERVING) { return "namespace: bloom must be 0 or 1"; }
    if (o->ttl_class_count > CELLAR_TTL_CLASSES_MAX) {
        return "namespace: ttl_class_count must be at most 16";
    }
    if (o->ttl_class_count > 0 && o->ttl_classes == NULL) {
        return "namespace: ttl_classes must not be NULL";
    }
    if (o->ttl_class_fallback > o->ttl_class_count) {
        return "namespace: ttl_class_fallback must be 0..ttl_class_count";
    }
    for (uint32_t i = 0; i < o->ttl_class_count; i++) {
        const cellar_ttl_class *t = &o->ttl_classes[i];
        if (t->name == NULL || t->name[0] == '\0' || t->ttl_ms < 1) {
            return "namespace: a TTL class needs a name and ttl_ms >= 1";
        }
        if (strlen(t->name) > CELLAR_TTL_CLASS_NAME_MAX) {
            return "namespace: the name of a TTL class is too long";
        }
        for (uint32_t k = 0; k < i; k++) {
            if (strcmp(o->ttl_classes[k].name, t->name) == 0) {
                return "namespace: two TTL classes have the same name";
            }
        }
    }
    return NULL;
}

CELLAR_PRIVATE cellar_err cache_namespace_opts_check(const cellar_namespace_opts *o,
                                                     const char **why)
{
    cellar_namespace_opts full;
    cellar_err err = cache_opts_in(&full, sizeof full, o);
    if (err == CELLAR_E_INVAL || err == CELLAR_E_ABI) {
        *why = "namespace: start from cellar_namespace_opts_default()";
    } else if (err != CELLAR_OK) {
        *why = "namespace: options have a field that this library does not know";
    } else if ((err = cache_load_namespace_check(&full, why)) != CELLAR_OK) {
        return err;
    } else if ((*why = cache_namespace_opts_range(&full)) != NULL) {
        err = CELLAR_E_INVAL;
    } else if (full.l2_lz4 != 0 && !base_pack_there()) {
        *why = "namespace: l2_lz4 must be 0: this library was built without liblz4";
        err = CELLAR_E_UNSUPPORTED;
    } else {
        err = cache_breaker_check(full.breaker, why);
    }
    return err;
}

CELLAR_PRIVATE void cache_default_set(cellar *c, unsigned which, int64_t own)
{
    base_store_rlx(&c->def[which], own != 0 ? own : c->store->defaults[which]);
}

typedef char cache_class_name[CELLAR_TTL_CLASS_NAME_MAX + 1];

/* Allocate what the options of a namespace need, before the lock. */
static bool cache_namespace_opts_room(cache_store *s, const cellar_namespace_opts *o,
                                      cache_class_name **names)
{
    *names = NULL;
    const cache_tier *t = s->tier;
    if (o != NULL && o->l2_lz4 != 0 && t != NULL && t->pack_ready != NULL &&
        !t->pack_ready(t->ctx)) {
        return false;
    }
    if (o == NULL || o->ttl_class_count == 0) { return true; }
    *names = base_alloc(&s->account, BASE_MOD_NAMESPACE,
                        sizeof **names * CELLAR_TTL_CLASSES_MAX, NULL);
    return *names != NULL;
}

static void cache_class_names_free(cache_store *s, cache_class_name *names)
{
    base_free(&s->account, BASE_MOD_NAMESPACE, names, sizeof *names * CELLAR_TTL_CLASSES_MAX);
}

/* Apply checked options. Use *names if the namespace has no space for names yet. */
static void cache_namespace_opts_apply(cellar *v, const cellar_namespace_opts *o,
                                       cache_class_name **names) SYNC_HOLDS(NAMESPACE);
static void cache_namespace_opts_apply(cellar *v, const cellar_namespace_opts *o,
                                       cache_class_name **names)
{
    const int64_t own[CACHE_DEFAULTS] = { o->default_ttl_ms, o->negative_ttl_ms, o->idle_ms,
                                          o->max_age_ms, o->stale_ms };
    for (unsigned i = 0; i < CACHE_DEFAULTS; i++) { cache_default_set(v, i, own[i]); }
    base_store_rlx(&v->carries, o->exact_age != 0 ? CACHE_CARRIES_BIRTH : 0u);
    base_store_rlx(&v->deps, o->track_dependencies);
    cache_load_namespace_apply(v, o);
    if (o->ttl_class_count > 0 && v->class_name == NULL) {
        v->class_name = *names;
        *names = NULL;
    }
    for (uint32_t i = 0; i < o->ttl_class_count; i++) {
        memcpy(v->class_name[i], o->ttl_classes[i].name, strlen(o->ttl_classes[i].name) + 1);
        base_store_rlx(&v->class_ttl_ms[i], o->ttl_classes[i].ttl_ms);
    }
    base_store_rlx(&v->ttl_class_fallback,
                   o->ttl_class_fallback == 0 ? 1u : o->ttl_class_fallback);
    base_store_rel(&v->class_count, o->ttl_class_count); /* acquire in cache_plan_make */
}

/* ---- quotas ---- */

/* Allocate what quotas need, before the lock. */
static bool cache_quota_room(cache_store *s, const cellar_namespace_opts *o)
{
    return o == NULL || (o->quota_min_pct | o->quota_max_pct) == 0 || l1_quotas_open(s->l1);
}

/* Set the quota of a namespace. Its number is set before its first generation or never: entries
 * stored without a number were not counted. */
static cellar_err cache_quota_take(cache_store *s, cellar *v, const cellar_namespace_opts *o)
    SYNC_HOLDS(NAMESPACE);
static cellar_err cache_quota_take(cache_store *s, cellar *v, const cellar_namespace_opts *o)
{
    const bool any = (o->quota_min_pct | o->quota_max_pct) != 0;
    if (v->quota == 0 && !any) { return CELLAR_OK; }
    if (v->quota == 0 && v->first_generation != UINT32_MAX) { return CELLAR_E_INVAL; }
    const uint32_t bit = v->quota != 0 ? 0 : (uint32_t)__builtin_ctzll(~s->quotas_used);
    if (bit >= L1_QUOTAS) { return CELLAR_E_LIMIT; }
    l1_share now;
    l1_quota_get(s->l1, v->quota, &now);
    if (l1_quota_least(s->l1) - now.least_pct + o->quota_min_pct > 100) { return CELLAR_E_INVAL; }
    if (v->quota == 0) {
        v->quota = (uint8_t)(bit + 1);
        s->quotas_used |= (uint64_t)1 << bit;
    }
    l1_quota_set(s->l1, v->quota, o->quota_min_pct, o->quota_max_pct);
    return CELLAR_OK;
}

/* Set the quota of the root, which is created before L1; nothing is stored yet. */
CELLAR_PRIVATE bool cache_quota_root(cache_store *s, const cache_settings *cfg)
{
    cellar_namespace_opts o;
    if (cfg->config.root == NULL) { return true; }
    (void)cache_opts_in(&o, sizeof o, cfg->config.root); /* checked in cache_settings_read */
    if (!cache_quota_room(s, &o)) { return false; }
    sync_take(NAMESPACE, &s->namespace_lock);
    cellar *v = s->root;
    const uint32_t first = v->first_generation, generation = base_load_rlx(&v->generation);
    v->first_generation = UINT32_MAX;
    (void)cache_quota_take(s, v, &o); /* the first one: there is room */
    v->first_generation = first;
    if (v->quota != 0) {
        cache_generations *t = base_load_rlx(&s->generations);
        l1_quota_generation(s->l1, v->quota, generation);
        base_store_rel(&t->cell[generation & t->mask],
                       CACHE_CELL(generation, 0u, 0u, CACHE_CELL_LIVES(v->quota)));
    }
    sync_drop(NAMESPACE, &s->namespace_lock);
    return true;
}

/* Free the quota number: entries of the namespace are dead, or never existed. */
static void cache_quota_give(cache_store *s, const cellar *v) SYNC_HOLDS(NAMESPACE);
static void cache_quota_give(cache_store *s, const cellar *v)
{
    if (v->quota == 0) { return; }
    l1_quota_set(s->l1, v->quota, 0, 0);
    s->quotas_used &= ~((uint64_t)1 << (v->quota - 1));
}

/* ---- open and close ---- */

static cellar *cache_namespace_new(cache_store *s, const char *name, size_t name_len)
{
    cellar *v = base_alloc(&s->account, BASE_MOD_NAMESPACE, sizeof *v, NULL);
    if (v == NULL) { return NULL; }
    v->store = s;
    v->l1 = s->l1;
    v->stats = s->stats;
    v->stats_tag = stats_tag(s->stats, 0);
    v->hash_key = &s->hash_key;
    for (unsigned i = 0; i < CACHE_DEFAULTS; i++) { cache_default_set(v, i, 0); }
    v->version = 1;
    v->name_len = (uint32_t)name_len; /* at most CELLAR_NAME_MAX */
    memcpy(v->name, name, name_len);
    /* none until the namespace is settled, though it has a slot */
    v->first_generation = UINT32_MAX;
    base_store_rlx(&v->refs, 1u);
    base_store_rlx(&v->state, (uint32_t)CACHE_CLOSED);
    return v;
}

static bool cache_page_room(cache_store *s, uint32_t slot)
{
    if (base_load_acq(&s->page[slot / CACHE_PAGE_NAMESPACES]) != NULL) { return true; }
    cache_page *page = base_alloc(&s->account, BASE_MOD_NAMESPACE, sizeof *page, NULL);
    if (page == NULL) { return false; }
    if (!base_cas_ar(&s->page[slot / CACHE_PAGE_NAMESPACES], (cache_page *)NULL, page)) {
        /* another thread was faster */
        base_free(&s->account, BASE_MOD_NAMESPACE, page, sizeof *page);
    }
    return true;
}

static uint32_t cache_state_now(const cache_store *s)
{
    const uint32_t level = base_load_rlx(&s->quiet_level);
    return (s->log.fn != NULL && level >= BASE_LOG_INFO ? CACHE_TALK : 0u) |
           (s->deps != NULL ? CACHE_NOTES : 0u);
}

CELLAR_PRIVATE void cache_namespaces_talk(cache_store *s, bool talk)
{
    sync_take(NAMESPACE, &s->namespace_lock);
    for (uint32_t slot = 0; slot < CACHE_NAMESPACES_MAX; slot++) {
        cellar *v = cache_namespace_at(s, slot);
        if (v == NULL) { continue; }
        const uint32_t rest = base_load_rlx(&v->state) & ~CACHE_TALK;
        base_store_rel(&v->state, rest | (talk && s->log.fn != NULL ? CACHE_TALK : 0u));
    }
    sync_drop(NAMESPACE, &s->namespace_lock);
}

/* Draw the first generation of a namespace; it has no old one to kill. */
static bool cache_generation_draw(cache_store *s, cellar *v) SYNC_HOLDS(NAMESPACE);
static bool cache_generation_draw(cache_store *s, cellar *v)
{
    base_store_rlx(&v->generation, s->next_generation);
    return cache_generation_next(v, CELLAR_CAUSE_NONE);
}

/* Return whether the tier is being told of a namespace with this name. */
static bool cache_namespace_unreported(const cache_store *s, const cellar *v) SYNC_HOLDS(NAMESPACE);
static bool cache_namespace_unreported(const cache_store *s, const cellar *v)
{
    for (uint32_t slot = 1; slot < s->max_namespaces; slot++) {
        const cellar *o = cache_namespace_at(s, slot);
        if (o != NULL && o != v && o->unreported != 0 && o->name_len == v->name_len &&
            memcmp(o->name, v->name, v->name_len) == 0) {
            return true;
        }
    }
    return false;
}

/* Adopt the numbers that the tier has stored, which revives its entries. Return false, with a new
 * generation to be drawn, if the tier knows none, the cell is taken, or a namespace of this name is
 * being dropped. */
static bool cache_namespace_adopt(cache_store *s, cellar *v) SYNC_HOLDS(NAMESPACE);
static bool cache_namespace_adopt(cache_store *s, cellar *v)
{
    cache_tier_namespace t;
    if (s->tier == NULL || s->tier->namespace_find == NULL) { return false; }
    if (!cache_tier_namespace_find(v, &t) || cache_namespace_unreported(s, v)) { return false; }
    v->id = t.id;
    if (v->no_disk) { return false; } /* the tier forgets its entries */
    v->version = t.version;
    cache_generations *table = base_load_rlx(&s->generations);
    _Atomic uint64_t *cell = &table->cell[t.generation & table->mask];
    if (t.generation == 0 || (base_load_rlx(cell) & CACHE_CELL_ALIVE) != 0) { return false; }
    base_store_rel(cell, CACHE_CELL(t.generation, v->slot, 0u, CACHE_CELL_LIVES(v->quota)));
    if (v->quota != 0) { l1_quota_generation(s->l1, v->quota, t.generation); }
    base_store_rel(&v->generation, t.generation); /* acquire in cache_key */
    return true;
}

static cellar_err cache_root_open(cache_store *s, const cache_settings *cfg)
{
    const char *name = cfg->host.name != NULL ? cfg->host.name : "";
    cellar *v = cache_namespace_new(s, name, strlen(name));
    if (v == NULL) { return CELLAR_E_NOMEM; }
    cache_class_name *names = NULL;
    cellar_namespace_opts o;
    if (cfg->config.root != NULL) {
        (void)cache_opts_in(&o, sizeof o, cfg->config.root); /* checked in cache_settings_read */
        if (!cache_namespace_opts_room(s, &o, &names)) {
            cache_namespace_free(s, v);
            return CELLAR_E_NOMEM;
        }
    }
    const uint32_t version = cfg->config.root != NULL ? o.version : 0;
    sync_take(NAMESPACE, &s->namespace_lock);
    if (cfg->config.root != NULL) { cache_namespace_opts_apply(v, &o, &names); }
    v->version = version != 0 ? version : 1;
    if (cfg->config.root != NULL) {
        v->no_disk = o.tier == CELLAR_TIER_L1 || o.hidden != 0;
        v->secret = o.hidden != 0;
        v->disk_mode = (uint8_t)o.l2_write;
        v->disk_pack = o.l2_lz4 != 0;
    }
    v->handles = 1;
    v->first_generation = 0;
    base_store_rlx(&v->refs, 2u);
    base_store_rlx(&v->state, cache_state_now(s));
    cache_namespace_put(s, 0, v);
    s->root = v;
    s->namespace_count = 1;
    cache_generations *t = base_load_rlx(&s->generations);
    base_store_rlx(&t->cell[0], CACHE_CELL(0u, 0u, 0u, CACHE_CELL_ALIVE));
    if (s->tier != NULL && s->tier->namespace_find != NULL && !v->no_disk) {
        const uint32_t wanted = v->version;
        base_store_rlx(&t->cell[0], (uint64_t)0);
        /* The root keeps its id 0. A public version that differs from the stored one is a version
         * change. */
        if (!cache_namespace_adopt(s, v) || (version != 0 && v->version != version)) {
            if (version != 0) { v->version = wanted; }
            /* numbers are left: checked at open */
            (void)cache_generation_next(v, CELLAR_CAUSE_VERSION);
        }
        v->id = 0;
    }
    v->unreported = s->tier != NULL;
    sync_drop(NAMESPACE, &s->namespace_lock);
    if (s->tier != NULL) { cache_tier_namespace_tell(v); }
    return CELLAR_OK;
}

CELLAR_PRIVATE cellar_err cache_namespaces_open(cache_store *s, const cache_settings *cfg)
{
    s->max_namespaces =
        cfg->tuning.max_namespaces != 0 ? cfg->tuning.max_namespaces : CACHE_NAMESPACES_MAX;
    s->next_generation = cfg->first_generation != 0 ? cfg->first_generation : 1;
    s->next_id = 1;
    uint32_t cells = CACHE_GENERATIONS_LEAST;
    if (s->tier != NULL && s->tier->numbers != NULL) {
        uint32_t next_generation;
        s->tier->numbers(s->tier->ctx, &next_generation, &s->next_id);
        s->next_generation = BASE_MAX(s->next_generation, next_generation);
        cells = CACHE_GENERATIONS_DISK;
    }
    cache_generations *t = cache_generations_new(s, cells);
    base_store_rlx(&s->generations, t);
    cellar_err err = CELLAR_E_NOMEM;
    if (t != NULL && cache_page_room(s, 0)) { err = cache_root_open(s, cfg); }
    if (err != CELLAR_OK) {
        cache_fail_open(err, 0, "cellar_open: no memory for the root namespace");
        cache_namespaces_close(s);
    }
    return err;
}

CELLAR_PRIVATE void cache_namespaces_close(cache_store *s)
{
    base_account *base_table_account = &s->account;
    const base_module base_table_module = BASE_MOD_NAMESPACE;
    sync_take(NAMESPACE, &s->namespace_lock);
    HASH_CLEAR(hh, s->names);
    sync_drop(NAMESPACE, &s->namespace_lock);
    for (uint32_t i = 0; i < CACHE_NAMESPACES_MAX / CACHE_PAGE_NAMESPACES; i++) {
        cache_page *page = base_load_rlx(&s->page[i]);
        if (page == NULL) { continue; }
        for (uint32_t j = 0; j < CACHE_PAGE_NAMESPACES; j++) {
            cellar *v = base_load_rlx(&page->namespace[j]);
            if (v != NULL) { cache_namespace_free(s, v); }
        }
        base_free(&s->account, BASE_MOD_NAMESPACE, page, sizeof *page);
        base_store_rlx(&s->page[i], (cache_page *)NULL);
    }
    s->root = NULL;
    cache_generations *t = base_load_rlx(&s->generations);
    base_store_rlx(&s->generations, (cache_generations *)NULL);
    while (t != NULL) {
        cache_generations *older = t->older;
        base_free(&s->account, BASE_MOD_NAMESPACE, t, t->bytes);
        t = older;
    }
}

/* Give `fresh` a slot, but no name. Return false with *err if all slots are taken or no memory is
 * left. */
static bool cache_namespace_seat(cache_store *s, cellar *fresh, cellar_err *err)
{
    uint32_t slot = 1;
    for (;;) { /* a missing page is allocated without the lock, then look again */
        sync_take(NAMESPACE, &s->namespace_lock);
        while (slot < s->max_namespaces &&
               base_load_rlx(&s->page[slot / CACHE_PAGE_NAMESPACES]) != NULL &&
               cache_namespace_at(s, slot) != NULL) {
            slot++;
        }
        const bool full = slot >= s->max_namespaces;
        const bool paged = !full && base_load_rlx(&s->page[slot / CACHE_PAGE_NAMESPACES]) != NULL;
        if (paged) {
            fresh->slot = slot;
            fresh->stats_tag = stats_tag(s->stats, slot);
            cache_namespace_put(s, slot, fresh);
            s->namespace_count++;
        }
        sync_drop(NAMESPACE, &s->namespace_lock);
        if (paged) { return true; }
        *err = full ? CELLAR_E_LIMIT : CELLAR_E_NOMEM;
        if (full) { stats_count(s->stats, STATS_LIMIT_NAMESPACES, 1); }
        if (full || !cache_page_room(s, slot)) { return false; }
    }
}

/* Open the namespace of this name once more. Return NULL if there is none, or if *err is not OK. */
static cellar *cache_namespace_reopen(cache_store *s, const char *name, size_t len,
                                      const cellar_namespace_opts *o, cache_class_name **names,
                                      cellar_err *err) SYNC_HOLDS(NAMESPACE);
static cellar *cache_namespace_reopen(cache_store *s, const char *name, size_t len,
                                      const cellar_namespace_opts *o, cache_class_name **names,
                                      cellar_err *err)
{
    cellar *v = cache_namespace_find(s, name, len);
    if (v == NULL) { return NULL; }
    if (o != NULL && (*err = cache_quota_take(s, v, o)) != CELLAR_OK) { return NULL; }
    if (o != NULL) { cache_namespace_opts_apply(v, o, names); }
    v->handles++;
    (void)base_add_rlx(&v->refs, 1u); /* it is named: refs >= 1 */
    base_store_rel(&v->state, base_load_rlx(&v->state) & ~CACHE_CLOSED);
    return v;
}

/* Name the namespace with a slot and open it. Return false if the numbers are used up or no memory
 * is left. */
static bool cache_namespace_settle(cache_store *s, cellar *v, const cellar_namespace_opts *o,
                                   cache_class_name **names) SYNC_HOLDS(NAMESPACE);
static bool cache_namespace_settle(cache_store *s, cellar *v, const cellar_namespace_opts *o,
                                   cache_class_name **names)
{
    if (!cache_namespace_name(s, v)) { return false; }
    if (!cache_namespace_adopt(s, v)) {
        if (!cache_generation_draw(s, v)) {
            cache_namespace_unname(s, v);
            return false;
        }
        if (o != NULL && o->version != 0) { v->version = o->version; }
    }
    v->first_generation = base_load_rlx(&v->generation);
    if (v->id == 0) { v->id = s->next_id++; }
    if (o != NULL) { cache_namespace_opts_apply(v, o, names); }
    v->unreported = s->tier != NULL;
    v->handles = 1;
    (void)base_add_rlx(&v->refs, 1u); /* its name has one; a thread that walks the table may hold
                                       * one */
    base_store_rel(&v->state, cache_state_now(s));
    return true;
}

/* Take NAMESPACE when one more namespace has a number and a cell. Return false, without NAMESPACE,
 * if no memory is left. */
static bool cache_namespace_ready(cache_store *s) SYNC_UNCHECKED;
static bool cache_namespace_ready(cache_store *s)
{
    cache_generations *bigger = NULL;
    for (;;) {
        sync_take(NAMESPACE, &s->namespace_lock);
        const uint32_t cells = base_load_rlx(&s->generations)->mask + 1;
        if (bigger != NULL && bigger->mask == 2 * cells - 1) {
            cache_generations_install(s, bigger);
            bigger = NULL;
        }
        const bool used_up = s->next_generation == 0, small = cache_generations_small(s);
        if (!used_up && !small) { break; }
        sync_drop(NAMESPACE, &s->namespace_lock);
        if (bigger != NULL) { base_free(&s->account, BASE_MOD_NAMESPACE, bigger, bigger->bytes); }
        bigger = NULL; /* another thread has installed one */
        if (used_up && base_thread_self()->depth > 0) { return false; }
        if (used_up) { cache_renumber(s); }
        if (small && (bigger = cache_generations_new(s, 2 * cells)) == NULL) { return false; }
    }
    if (bigger != NULL) { base_free(&s->account, BASE_MOD_NAMESPACE, bigger, bigger->bytes); }
    return true;
}

/* Create the namespace, or open it if another thread just created it. */
static cellar_err cache_namespace_create(cache_store *s, const char *name, size_t len,
                                         const cellar_namespace_opts *o, cache_class_name **names,
                                         cellar **out) SYNC_UNCHECKED;
static cellar_err cache_namespace_create(cache_store *s, const char *name, size_t len,
                                         const cellar_namespace_opts *o, cache_class_name **names,
                                         cellar **out)
{
    cellar_err err = CELLAR_E_NOMEM;
    cellar *fresh = cache_namespace_new(s, name, len);
    if (fresh == NULL) { return err; }
    if (!cache_namespace_seat(s, fresh, &err)) {
        cache_namespace_free(s, fresh);
        return err;
    }
    if (!stats_slot_open(s->stats, fresh->slot)) {
        cache_namespace_release(fresh);
        return CELLAR_E_NOMEM;
    }
    const bool no_disk = o != NULL && (o->tier == CELLAR_TIER_L1 || o->hidden != 0);
    struct l2_image *kept = cache_keep_begin(fresh, no_disk);
    if (!cache_namespace_ready(s)) {
        cache_keep_end(kept, false);
        cache_namespace_release(fresh);
        return CELLAR_E_NOMEM;
    }
    l1_advise_anew(s->l1, fresh->slot);
    err = CELLAR_OK;
    *out = cache_namespace_reopen(s, name, len, o, names, &err);
    if (o != NULL) {
        fresh->no_disk = no_disk;
        fresh->secret = o->hidden != 0;
        fresh->disk_mode = (uint8_t)o->l2_write;
        fresh->disk_pack = o->l2_lz4 != 0;
    }
    if (*out == NULL && err == CELLAR_OK && o != NULL) { err = cache_quota_take(s, fresh, o); }
    const bool settled =
        *out == NULL && err == CELLAR_OK && cache_namespace_settle(s, fresh, o, names);
    if (!settled) { cache_quota_give(s, fresh); }
    sync_drop(NAMESPACE, &s->namespace_lock);
    cache_keep_end(kept, settled);
    if (settled) {
        *out = fresh;
        if (s->tier != NULL) { cache_tier_namespace_tell(fresh); }
    } else {
        cache_namespace_release(fresh);
    }
    return *out != NULL ? CELLAR_OK : err != CELLAR_OK ? err : CELLAR_E_NOMEM;
}

static size_t cache_name_len(const char *name)
{
    const char *end = memchr(name, '\0', CELLAR_NAME_MAX + 1);
    return end != NULL ? (size_t)(end - name) : CELLAR_NAME_MAX + 1;
}

/* Return the public version of the namespace. */
static uint32_t cache_version(cellar *v)
{
    sync_take(NAMESPACE, &v->store->namespace_lock);
    const uint32_t version = v->version;
    sync_drop(NAMESPACE, &v->store->namespace_lock);
    return version;
}

CELLAR_API cellar_err cellar_namespace_open(cellar *c, const char *name,
                                            const cellar_namespace_opts *o,
                                            cellar **out)
{
    if (out == NULL) { return cache_fail(c, CELLAR_E_INVAL, 0,
                                         "cellar_namespace_open: out must not be NULL"); }
    *out = NULL;
    if (c == NULL || name == NULL) {
        return cache_fail(c, CELLAR_E_INVAL, 0,
                          "cellar_namespace_open: c and name must not be NULL");
    }
    const size_t len = cache_name_len(name);
    if (len == 0 || len > CELLAR_NAME_MAX) {
        return cache_fail(c, CELLAR_E_INVAL, 0,
                          "cellar_namespace_open: name must have 1..64 bytes");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    cellar_namespace_opts full;
    if (o != NULL) {
        const char *why = "";
        cellar_err err = cache_namespace_opts_check(o, &why);
        if (err != CELLAR_OK) { return cache_fail(c, err, 0, why); }
        const cache_store *in = c->store;
        err = cache_deps_check(o, in->deps != NULL, &why);
        if (err != CELLAR_OK) { return cache_fail(c, err, 0, why); }
        (void)cache_opts_in(&full, sizeof full, o);
        o = &full;
    }
    cache_store *s = c->store;
    cache_class_name *names;
    if (!cache_quota_room(s, o) || !cache_namespace_opts_room(s, o, &names)) {
        return cache_fail(c, CELLAR_E_NOMEM, 0, "cellar_namespace_open: no memory");
    }
    cache_store_hold(s);
    sync_take(NAMESPACE, &s->namespace_lock);
    cellar_err err = CELLAR_OK;
    *out = cache_namespace_reopen(s, name, len, o, &names, &err);
    sync_drop(NAMESPACE, &s->namespace_lock);
    if (*out == NULL && err == CELLAR_OK) {
        err = cache_namespace_create(s, name, len, o, &names, out);
    }
    if (names != NULL) { cache_class_names_free(s, names); }
    if (err != CELLAR_OK) {
        cache_store_release(s, 1);
        const char *why = "cellar_namespace_open: no memory";
        if (err == CELLAR_E_LIMIT) {
            why = "cellar_namespace_open: max_namespaces is reached, or 63 namespaces have quotas";
        } else if (err == CELLAR_E_INVAL) {
            why = "cellar_namespace_open: sum of quota_min_pct is over 100, or the namespace "
                  "was created without quota";
        }
        return cache_fail(c, err, 0, why);
    }
    if (o != NULL && o->bloom != 0) { err = cache_filter_start(*out); }
    if (err == CELLAR_OK && o != NULL && o->breaker != NULL) {
        err = cache_breaker_start(*out, o->breaker);
    }
    const char *why = "cellar_namespace_open: bloom or breaker does not fit: raise memory_bytes";
    if (err == CELLAR_OK && o != NULL && o->version != 0 && o->version != cache_version(*out)) {
        err = cellar_version_set(*out, o->version);
        why = "cellar_namespace_open: version was not set: retry";
    }
    if (err != CELLAR_OK) {
        (void)cellar_close(*out);
        *out = NULL;
        return cache_fail(c, err, 0, why);
    }
    return CELLAR_OK;
}

/* Inform tier, L1 and thread that a generation ended. No lock held. */
static void cache_generation_died(cellar *v, uint32_t generation)
{
    cache_store *s = v->store;
    if (s->tier != NULL) { cache_tier_namespace_died(v, generation); }
    l1_generation_died(s->l1);
    cache_thread_ring(s);
}

CELLAR_API cellar_err cellar_namespace_drop(cellar *c, const char *name)
{
    if (c == NULL || name == NULL) {
        return cache_fail(c, CELLAR_E_INVAL, 0,
                          "cellar_namespace_drop: c and name must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    cache_store *s = c->store;
    const size_t len = cache_name_len(name);
    if (len == 0 || len > CELLAR_NAME_MAX) {
        return cache_fail(c, CELLAR_E_INVAL, 0,
                          "cellar_namespace_drop: name must have 1..64 bytes");
    }
    sync_take(NAMESPACE, &s->namespace_lock);
    cellar *v = cache_namespace_find(s, name, len);
    if (v != NULL) {
        cache_namespace_unname(s, v);
        v->dropped = true;
        v->unreported += s->tier != NULL;
        base_store_rel(&v->state, base_load_rlx(&v->state) | CACHE_CLOSED);
        cache_generation_end(s, base_load_rlx(&v->generation), CELLAR_CAUSE_CLEARED);
        cache_quota_give(s, v);
    }
    sync_drop(NAMESPACE, &s->namespace_lock);
    if (v == NULL) { return cache_fail(c, CELLAR_E_NOT_FOUND, 0,
                                       "cellar_namespace_drop: no namespace has this name"); }
    cache_generation_died(v, 0);
    /* state, then flights; cellar_lease_acquire: flight, fence, then state */
    base_fence_sc();
    flight_table *t = base_load_sc(&s->flights);
    if (t != NULL) { flight_end_leases(t, v->id); }
    cellar_err err = cache_acked(v, CELLAR_OK);
    if (err != CELLAR_OK) { (void)cache_fail(c, err, 0, "cellar_namespace_drop: the disk failed"); }
    cache_namespace_release(v); /* it is no longer named */
    return err;
}

/* ---- clear, version, enable ---- */

/* Start a new generation. version 0: unchanged; UINT32_MAX + 1: one more; else the new version. */
static cellar_err cache_generation(cellar *c, cellar_cause cause, uint64_t version, uint32_t *now)
{
    cache_store *s = c->store;
    for (;;) {
        sync_take(NAMESPACE, &s->namespace_lock);
        const bool closed = cache_is_closed(c);
        const bool over = version > UINT32_MAX && c->version == UINT32_MAX;
        const bool drawn = !closed && !over && cache_generation_next(c, cause);
        if (drawn && version != 0) {
            c->version = version > UINT32_MAX ? c->version + 1 : (uint32_t)version;
        }
        if (drawn) { c->unreported += s->tier != NULL; }
        if (drawn && now != NULL) { *now = c->version; }
        sync_drop(NAMESPACE, &s->namespace_lock);
        if (closed) { return cache_closed(c); }
        if (over) {
            return cache_fail(c, CELLAR_E_RANGE, 0,
                              "cellar_version_increment: version is at its maximum 2^32 - 1");
        }
        if (drawn) { break; }
        cache_renumber(s);
        if (base_thread_self()->depth > 0) {
            return cache_fail(c, CELLAR_E_BUSY, 0,
                              "generation numbers restart now: retry outside the listener");
        }
    }
    cache_generation_died(c, base_load_rlx(&c->generation));
    stats_add(cache_mine(c), cause == CELLAR_CAUSE_VERSION ? STATS_BUMP : STATS_CLEAR, 1);
    return cache_acked(c, CELLAR_OK);
}

CELLAR_API cellar_err cellar_clear(cellar *c)
{
    if (c == NULL) { return CELLAR_E_INVAL; }
    if (cache_is_closed(c)) { return cache_closed(c); }
    return cache_generation(c, CELLAR_CAUSE_CLEARED, 0, NULL);
}

CELLAR_API cellar_err cellar_version_increment(cellar *c, uint32_t *version)
{
    if (c == NULL) { return CELLAR_E_INVAL; }
    if (cache_is_closed(c)) { return cache_closed(c); }
    return cache_generation(c, CELLAR_CAUSE_VERSION, (uint64_t)UINT32_MAX + 1, version);
}

CELLAR_API cellar_err cellar_version_set(cellar *c, uint32_t version)
{
    if (c == NULL) { return CELLAR_E_INVAL; }
    if (version == 0) {
        return cache_fail(c, CELLAR_E_INVAL, 0, "cellar_version_set: version must be at least 1");
    }
    if (cache_is_closed(c)) { return cache_closed(c); }
    return cache_generation(c, CELLAR_CAUSE_VERSION, version, NULL);
}

CELLAR_API cellar_err cellar_enable(cellar *c, bool enabled)
{
    if (c == NULL) { return CELLAR_E_INVAL; }
    cache_store *s = c->store;
    sync_take(NAMESPACE, &s->namespace_lock);
    const bool closed = cache_is_closed(c);
    if (!closed) {
        const uint32_t rest = base_load_rlx(&c->state) & ~CACHE_OFF;
        base_store_rel(&c->state, rest | (enabled ? 0u : CACHE_OFF));
    }
    sync_drop(NAMESPACE, &s->namespace_lock);
    return closed ? cache_closed(c) : CELLAR_OK;
}

CELLAR_API cellar_err cellar_ttl_class_find(cellar *c, const char *name, uint32_t *class_number)
{
    if (c == NULL || name == NULL || class_number == NULL) {
        return cache_fail(c, CELLAR_E_INVAL, 0, "cellar_ttl_class_find: no argument may be NULL");
    }
    *class_number = 0;
    if (cache_is_closed(c)) { return cache_closed(c); }
    cache_store *s = c->store;
    uint32_t found = 0;
    sync_take(NAMESPACE, &s->namespace_lock);
    const uint32_t count = base_load_rlx(&c->class_count);
    for (uint32_t i = 0; i < count && found == 0; i++) {
        if (strcmp(c->class_name[i], name) == 0) { found = i + 1; }
    }
    const bool fallback = found == 0 && count > 0;
    if (fallback) { found = base_load_rlx(&c->ttl_class_fallback); }
    sync_drop(NAMESPACE, &s->namespace_lock);
    if (fallback) { stats_add(cache_mine(c), STATS_CLASS_FALLBACK, 1); }
    *class_number = found;
    return count == 0 ? CELLAR_MISS : CELLAR_OK;
}

BASE_SIZE_END
