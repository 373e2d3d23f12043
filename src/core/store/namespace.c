/* SPDX-License-Identifier: MIT
 *
 * namespace: named handles of one store.
 *
 * PICTURE    name -(uthash, keyed hash)-> namespace {slot, id, generation, version, options}
 * WALK       open: name found -> one more handle. Else slot -> filter from the disk -> number and
 *            cell -> named under NAMESPACE, unless another thread was faster -> tier learns it,
 *            from each call that finds it untold, before one of them returns the handle
 * INVARIANTS A namespace that the tier knows goes on with its numbers, which revives its entries.
 * LOCKING    NAMESPACE. Memory is allocated before the lock and freed after it; only the table of
 *            uthash grows under it.
 * SEE ALSO   cache/handle.c (refs, slots), cache/generation.c, options.c, cache/clear.c. */
#include "store/namespace.h"

#include "cache/bloom_guard.h"
#include "cache/call.h"
#include "cache/error.h"
#include "cache/generation.h"
#include "cache/handle.h"
#include "cache/object.h"
#include "cache/talk.h"
#include "cache/tier_calls.h"
#include "loading/breaker_calls.h"
#include "loading/load_plan.h"
#include "loading/load_shared.h"
#include "policy/policy.h"
#include "store/bloom_persist.h"
#include "store/options.h"
#include "store/policy_set.h"

#include "flight/flight.h"

#define CACHE_GENERATIONS_LEAST 64u
/* numbers from before a restart should find their cells free */
#define CACHE_GENERATIONS_DISK 1024u

BASE_SIZE_BEGIN

/* ---- names ---- */

static unsigned cache_name_hash(const cache_store *s, const char *name, size_t len)
{
    return (unsigned)base_hash(&s->hash_key, CACHE_SALT_NAME, name, len);
}

SYNC_HOLDS(NAMESPACE)
static cellar *cache_namespace_find(cache_store *s, const char *name, size_t len)
{
    const unsigned hash = cache_name_hash(s, name, len);
    return BASE_TABLE_FIND(hh, s->names, name, len, hash);
}

SYNC_HOLDS(NAMESPACE) static bool cache_namespace_name(cache_store *s, cellar *v)
{
    BASE_TABLE_CHARGE(&s->account, BASE_MOD_NAMESPACE);
    const unsigned hash = cache_name_hash(s, v->name, v->name_len);
    v->hh.tbl = NULL;
    BASE_TABLE_ADD(hh, s->names, v->name, v->name_len, hash, v);
    return v->hh.tbl != NULL;
}

SYNC_HOLDS(NAMESPACE) static void cache_namespace_unname(cache_store *s, cellar *v)
{
    BASE_TABLE_CHARGE(&s->account, BASE_MOD_NAMESPACE);
    BASE_TABLE_REMOVE(hh, s->names, v);
}

/* ---- open and close ---- */

static cellar *cache_namespace_new(cache_store *s, const char *name, size_t name_len)
{
    cellar *v = base_alloc(&s->account, BASE_MOD_NAMESPACE, sizeof *v, NULL);
    if (v == NULL) { return NULL; }
    v->kind = s->kind;
    v->store = s;
    v->l1 = s->l1;
    v->stats = s->stats;
    v->stats_tag = stats_tag(s->stats, 0);
    v->hash_key = &s->hash_key;
    base_store_rlx(&v->tier, s->tier);
    v->policy = POLICY_BUILT ? policy_write : NULL; /* asked while CACHE_CARRIES_POLICY is set */
    for (unsigned i = 0; i < CACHE_DEFAULTS; i++) { cache_default_set(v, i, 0); }
    cache_load_defaults(v, NULL);
    v->version = 1;
    v->name_len = (uint32_t)name_len; /* at most CELLAR_NAME_MAX */
    memcpy(v->name, name, name_len);
    base_store_rlx(&v->refs, 1u);
    base_store_rlx(&v->state, (uint32_t)CACHE_CLOSED);
    v->object_class = UINT32_MAX;
    return v;
}

/* Return CACHE_TALK if hits or misses of the namespace are logged. */
static uint32_t cache_talk_now(const cellar *v)
{
    return v->store->log.fn != NULL && cache_log_limit(v) >= (int)BASE_LOG_INFO ? CACHE_TALK : 0u;
}

static uint32_t cache_state_now(const cellar *v)
{
    /* another thread may have changed the state since cache_object_begin */
    const uint32_t objects = v->object_class != UINT32_MAX ? CACHE_OBJECTS : 0u;
    return cache_talk_now(v) | objects | (base_load_rlx(&v->state) & CACHE_PROOF);
}

CELLAR_PRIVATE void cache_namespaces_talk(cache_store *s)
{
    sync_take(NAMESPACE, &s->namespace_lock);
    cellar *v;
    for (uint32_t slot = 0; (v = cache_namespace_next(s, &slot)) != NULL; slot++) {
        const uint32_t rest = base_load_rlx(&v->state) & ~CACHE_TALK;
        base_store_rel(&v->state, rest | cache_talk_now(v));
    }
    sync_drop(NAMESPACE, &s->namespace_lock);
}

/* Return whether the tier is being told of a namespace with this name. */
SYNC_HOLDS(NAMESPACE) static bool cache_namespace_unreported(const cache_store *s, const cellar *v)
{
    const cellar *o;
    for (uint32_t slot = 1; (o = cache_namespace_next(s, &slot)) != NULL; slot++) {
        if (o != v && o->unreported != 0 && o->name_len == v->name_len &&
            memcmp(o->name, v->name, v->name_len) == 0) {
            return true;
        }
    }
    return false;
}

/* Adopt the numbers that the tier has stored, which revives its entries. Return false, with a new
 * generation to be drawn, if the tier knows none, the cell is taken, or a namespace of this name is
 * being dropped. */
SYNC_HOLDS(NAMESPACE) static bool cache_namespace_adopt(cache_store *s, cellar *v)
{
    l2_namespace t = { 0, 0, 0 };
    if (!cache_tier_namespace_find(v, &t) || cache_namespace_unreported(s, v)) { return false; }
    v->id = t.id;
    if (v->no_disk) { return false; } /* the tier forgets its entries */
    v->version = t.version;
    if (!cache_generation_is_near(s, t.generation) ||
        !cache_generation_is_free(s, t.generation)) {
        return false;
    }
    cache_generation_take(v, (uint32_t)t.generation);
    return true;
}

static cellar_err cache_root_open(cache_store *s, const cache_settings *cfg)
{
    const char *name = cfg->host.name != NULL ? cfg->host.name : "";
    cellar *v = cache_namespace_new(s, name, strlen(name));
    if (v == NULL) { return CELLAR_E_NOMEM; }
    const cellar_namespace_config *o = &cfg->root;
    if (!cache_namespace_opts_room(s, o)) {
        cache_namespace_free(s, v);
        return CELLAR_E_NOMEM;
    }
    sync_take(NAMESPACE, &s->namespace_lock);
    cache_namespace_opts_apply(v, o);
    cache_namespace_fix(v, o);
    if (o->version != 0) { v->version = o->version; }
    v->handles = 1;
    base_store_rlx(&v->refs, 2u);
    base_store_rlx(&v->state, cache_state_now(v));
    cache_namespace_put(s, 0, v);
    s->root = v;
    s->namespace_count = 1;
    bool known = s->tier == NULL;
    if (known || v->no_disk) {
        cache_generation_take(v, 0);
    } else {
        /* The root keeps its id 0. A public version that differs from the stored one is a version
         * change. */
        known = cache_namespace_adopt(s, v) && (o->version == 0 || v->version == o->version);
        if (!known) {
            if (o->version != 0) { v->version = o->version; }
            /* numbers are left: checked at open */
            cache_generation_begin(v, cache_generation_draw(s), CELLAR_CAUSE_VERSION);
        }
        v->id = 0;
    }
    v->unreported = !known;
    sync_drop(NAMESPACE, &s->namespace_lock);
    if (!known) { cache_tier_namespace_tell(v, NULL); }
    return CELLAR_OK;
}

CELLAR_PRIVATE cellar_err cache_namespaces_open(cache_store *s, const cache_settings *cfg)
{
    s->max_namespaces =
        cfg->tuning.max_namespaces != 0 ? cfg->tuning.max_namespaces : CACHE_NAMESPACES_MAX;
    s->next_generation = cfg->first_generation != 0 ? cfg->first_generation : 1;
    s->next_id = 1;
    uint32_t cells = CACHE_GENERATIONS_LEAST;
    l2 *d = cache_disk(s);
    if (d != NULL) { /* numbers that were never given out */
        s->next_generation = BASE_MAX(s->next_generation, l2_next_generation(d));
        s->next_id = l2_next_id(d);
        cells = CACHE_GENERATIONS_DISK;
    }
    cache_generations *t = cache_generations_new(s, cells);
    base_store_rel(&s->generations, t); /* acquire in cache_disk_alive */
    cellar_err err = CELLAR_E_NOMEM;
    if (t != NULL && cache_page_room(s, 0)) {
        cache_numbers_end(s); /* if none is left */
        err = cache_root_open(s, cfg);
    }
    return err == CELLAR_OK ? err : cache_open_refuse(err, "no memory for the root namespace");
}

typedef struct cache_opening { /* one call of cellar_namespace_open */
    cache_store *s;
    const char *name;
    size_t len;
    const cellar_namespace_config *o; /* checked; NULL: none */
    cellar_err err;
    bool alone;  /* o has nothing but `object` */
    bool missed; /* the quota of its policy is not in force */
    bool untold; /* the tier may not have the namespace yet */
} cache_opening;

/* Open the namespace of this name once more. Return NULL if there is none, or if err is not OK. */
SYNC_HOLDS(NAMESPACE) static cellar *cache_namespace_reopen(cache_opening *p)
{
    cellar *v = cache_namespace_find(p->s, p->name, p->len);
    if (v == NULL) { return NULL; }
    if (p->o != NULL && cache_object_differs(v, p->o)) {
        p->err = CELLAR_E_TYPE;
        return NULL;
    }
    if (p->o != NULL && !p->alone) {
        p->err = cache_quota_take(p->s, v, p->o, cache_policy_share(v, p->o), &p->missed);
        if (p->err != CELLAR_OK) { return NULL; }
        cache_namespace_opts_apply(v, p->o);
        cache_policy_bind(v);
    }
    p->untold = v->unreported != 0;
    v->unreported += p->untold;
    v->handles++;
    (void)base_add_rlx(&v->refs, 1u); /* it is named: refs >= 1 */
    const uint32_t rest = base_load_rlx(&v->state) & ~(CACHE_CLOSED | CACHE_TALK);
    base_store_rel(&v->state, rest | cache_talk_now(v));
    return v;
}

/* Name the namespace with a slot and open it. Return false if the numbers are used up or no memory
 * is left. */
SYNC_HOLDS(NAMESPACE) static bool cache_namespace_settle(cellar *v, cache_opening *p)
{
    cache_store *s = p->s;
    if (!cache_namespace_name(s, v)) { return false; }
    const bool adopted = cache_namespace_adopt(s, v);
    if (!adopted) {
        const uint64_t whole = cache_generation_draw(s);
        if (whole == 0) {
            cache_namespace_unname(s, v);
            return false;
        }
        cache_generation_take(v, (uint32_t)whole); /* it has no old one to end */
        if (p->o != NULL && p->o->version != 0) { v->version = p->o->version; }
    }
    v->settled = true;
    if (v->id == 0) { v->id = s->next_id++; }
    if (p->o != NULL) { cache_namespace_opts_apply(v, p->o); }
    cache_policy_bind(v);
    v->unreported = p->untold = s->tier != NULL && !adopted;
    v->handles = 1;
    (void)base_add_rlx(&v->refs, 1u); /* its name has one; a thread that walks the table may hold
                                       * one */
    base_store_rel(&v->state, cache_state_now(v));
    return true;
}

/* Create the namespace, or open it if another thread just created it. Return NULL if err is not
 * OK. */
SYNC_UNCHECKED static cellar *cache_namespace_create(cache_opening *p)
{
    cache_store *s = p->s;
    p->err = CELLAR_E_NOMEM;
    cellar *fresh = cache_namespace_new(s, p->name, p->len);
    if (fresh == NULL) { return NULL; }
    base_fork_settle(); /* a child that sees the namespace in its slot sees all of it */
    if (!cache_namespace_seat(s, fresh, &p->err)) {
        cache_namespace_free(s, fresh);
        return NULL;
    }
    base_fork_settle(); /* and one that has an entry of it, or a handle, sees the slot */
    cellar *out = NULL;
    bool settled = false;
    l2_image *kept = NULL;
    const cellar_namespace_config none = cellar_namespace_config_default();
    cache_namespace_fix(fresh, p->o != NULL ? p->o : &none);
    if (fresh->secret) { cache_hide(s); }
    if (p->o != NULL && (p->err = cache_object_begin(fresh, p->o)) != CELLAR_OK) { goto drop; }
    p->err = CELLAR_E_NOMEM;
    if (!stats_slot_open(s->stats, fresh->slot)) { goto drop; }
    if (p->o != NULL && !cache_max_entries_begin(fresh, p->o)) { goto drop; }
    kept = cache_keep_begin(fresh, fresh->no_disk);
    if (!cache_namespace_ready(fresh)) { goto drop; }
    l1_advise_anew(s->l1, fresh->slot);
    p->err = CELLAR_OK;
    out = cache_namespace_reopen(p);
    if (out == NULL && p->err == CELLAR_OK) {
        const uint32_t ruled = cache_policy_share(fresh, p->o);
        p->err = cache_quota_take(s, fresh, p->o, ruled, &p->missed);
        settled = p->err == CELLAR_OK && cache_namespace_settle(fresh, p);
        if (!settled && p->err == CELLAR_OK) { p->err = CELLAR_E_NOMEM; }
    }
    if (!settled) { cache_quota_give(s, fresh); }
    sync_drop(NAMESPACE, &s->namespace_lock);
drop:
    cache_keep_end(kept, settled);
    if (!settled) {
        l1_cap_stop(s->l1, fresh->slot);
        cache_namespace_release(fresh);
        return out;
    }
    return fresh;
}

CELLAR_PRIVATE cellar_err cache_guards_start(cellar *v, const cellar_namespace_config *o)
{
    const cellar_err err =
        o->bloom_keys != 0 ? cache_filter_set(v, o->bloom_keys, o->bloom_fpr_ppm) : CELLAR_OK;
    return err == CELLAR_OK && o->breaker != NULL ? cache_breaker_start(v, o->breaker) : err;
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

/* Set the version of an open. Opens with one version end the entries once. A listener takes no
 * turn: the open that has it may wait for a change, or a sweep, in which the listener runs. */
static cellar_err cache_version_open(cellar *v, uint32_t version)
{
    cellar_err err = CELLAR_OK;
    const bool turn = base_thread_self()->depth == 0;
    if (version == cache_version(v)) { return err; }
    if (turn) { sync_role_take(&v->versioning); }
    if (version != cache_version(v)) { err = cellar_version_set(v, version, NULL); }
    if (turn) { sync_role_drop(&v->versioning); }
    return err;
}

CELLAR_API cellar_err cellar_namespace_open(cellar *c, const char *name,
                                            const cellar_namespace_config *o,
                                            cellar **out)
{
    if (out == NULL) { return cache_refuse(c, "cellar_namespace_open: out must not be NULL"); }
    *out = NULL;
    if (c == NULL || name == NULL) {
        return cache_refuse(c, "cellar_namespace_open: c and name must not be NULL");
    }
    const size_t len = cache_name_len(name);
    if (len == 0 || len > CELLAR_NAME_MAX) {
        return cache_fail_number(c, "cellar_namespace_open: name must have 1..64 bytes",
                                 (int64_t)len);
    }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    cellar_namespace_config full;
    if (o != NULL) {
        cache_broken why;
        const bool disk = cache_disk(c->store) != NULL || c->store->disk_err != CELLAR_OK;
        const cellar_err err = cache_namespace_opts_read(&full, o, disk, &why);
        if (err != CELLAR_OK) { return cache_fail_broken(c, err, __func__, &why); }
        o = &full;
    }
    cache_store *s = c->store;
    cache_opening p = { .s = s, .name = name, .len = len, .o = o };
    if (o != NULL && cache_object_alone(o)) {
        p.alone = true;
        o = NULL; /* a new namespace has the defaults, another keeps what it has */
    }
    if (o != NULL && (!cache_quota_room(s, o) || !cache_namespace_opts_room(s, o))) {
        return cache_fail(c, CELLAR_E_NOMEM, 0, "cellar_namespace_open: no memory");
    }
    cache_store_hold(s);
    sync_take(NAMESPACE, &s->namespace_lock);
    cellar *v = cache_namespace_reopen(&p);
    sync_drop(NAMESPACE, &s->namespace_lock);
    if (v == NULL && p.err == CELLAR_OK) { v = cache_namespace_create(&p); }
    if (p.missed) { cache_policy_share_missed(s); }
    if (v != NULL && p.untold) { cache_tier_namespace_tell(v, NULL); }
    if (v == NULL) {
        cache_store_release(s, 1);
        return cache_fail(c, p.err, 0, p.err == CELLAR_E_LIMIT
            ? "cellar_namespace_open: max_namespaces is reached, or 63 namespaces have quotas"
            : p.err == CELLAR_E_TYPE
            ? "cellar_namespace_open: the namespace holds bytes, or other objects: open it with "
              "the free_fn and ctx of its first open"
            : p.err == CELLAR_E_INVAL
            ? "cellar_namespace_open: the namespace was created without quota_max_pct"
            : "cellar_namespace_open: no memory");
    }
    cellar_err err = o != NULL ? cache_max_entries_set(v, o->max_entries) : CELLAR_OK;
    if (err == CELLAR_OK && o != NULL) { err = cache_guards_start(v, o); }
    const char *why = "cellar_namespace_open: bloom_keys, breaker or max_entries does not fit: "
                      "raise memory_bytes";
    if (err == CELLAR_OK && o != NULL && o->version != 0) {
        err = cache_version_open(v, o->version);
        /* a drop meanwhile is as one behind the return */
        if (err == CELLAR_E_CLOSED && base_load_acq(&v->dropped)) { err = CELLAR_OK; }
        why = "cellar_namespace_open: the disk or the shared server did not confirm the version: "
              "retry";
    }
    if (err >= CELLAR_OK) { /* DEFERRED: the version is set here, the server is told later */
        *out = v;
        return CELLAR_OK;
    }
    if (cache_handle_drop(v)) { cache_namespace_release(v); }
    cache_store_release(s, 1);
    return cache_fail(c, err, 0, why);
}

CELLAR_API cellar_err cellar_namespace_drop(cellar *c, const char *name)
{
    if (c == NULL || name == NULL) {
        return cache_refuse(c, "cellar_namespace_drop: c and name must not be NULL");
    }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    cache_store *s = c->store;
    const size_t len = cache_name_len(name);
    if (len == 0 || len > CELLAR_NAME_MAX) {
        return cache_fail_number(c, "cellar_namespace_drop: name must have 1..64 bytes",
                                 (int64_t)len);
    }
    sync_take(NAMESPACE, &s->namespace_lock);
    cellar *v = cache_namespace_find(s, name, len);
    if (v != NULL) {
        cache_namespace_unname(s, v);
        base_store_rel(&v->dropped, true);
        v->unreported += s->tier != NULL;
        base_store_rel(&v->state, base_load_rlx(&v->state) | CACHE_CLOSED);
        cache_generation_end(s, base_load_rlx(&v->generation), CELLAR_CAUSE_CLEARED);
        cache_quota_give(s, v);
    }
    sync_drop(NAMESPACE, &s->namespace_lock);
    if (v == NULL) { return cache_fail(c, CELLAR_E_NOT_FOUND, 0,
                                       "cellar_namespace_drop: no namespace has this name"); }
    if (s->tier != NULL) { cache_tier_namespace_tell(v, NULL); }
    cache_thread_ring(s);
    /* state, then flights; cellar_lease_acquire: flight, fence, then state */
    base_fence_sc();
    flight_table *t = base_load_sc(&s->flights);
    if (t != NULL) { flight_end_leases(t, v->id); }
    cache_tier_lease_drop(v);
    cellar_err err = cache_acked(v, CELLAR_OK);
    if (err != CELLAR_OK) { (void)cache_fail(c, err, 0, "cellar_namespace_drop: the disk failed"); }
    l1_cap_stop(s->l1, v->slot);
    cache_namespace_release(v); /* it is no longer named */
    return err;
}

CELLAR_API cellar_err cellar_ttl_class_find(cellar *c, const char *name, uint32_t *class_number)
{
    if (c == NULL || name == NULL || class_number == NULL) {
        return cache_refuse(c, "cellar_ttl_class_find: no argument may be NULL");
    }
    *class_number = 0;
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
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
