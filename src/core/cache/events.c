/* SPDX-License-Identifier: MIT
 *
 * events: listeners of entries that end, and eviction of entries into the tier.
 *
 * PICTURE    L1 hands over an entry, no lock held: evicted and worth it -> tier put
 *            then: ended -> the listeners with a matching mask and namespace, in order
 * INVARIANTS L1 hands over each end once. `running` of a listener counts the snapshots that name
 *            it, so its slot is free only when no thread can call it. observers = listeners +
 *            observers_base (tiers). Without listeners L1 hands over evicted entries
 *            only.
 * LOCKING    LISTEN for the table; dropped before a listener runs. NAMESPACE, briefly, for the
 *            namespace.
 * COMPLETION The thread that brings `running` of a dead listener to 0 frees its slot and wakes the
 *            remover. If no call runs, the remover frees the slot itself.
 * ROLES      A listener could wait for a role (sync.h) of its own thread. While the thread has a
 *            role, events are copied. They are reported when the thread has none any more.
 * LIMITS     16 listeners per store. Events of changes nested deeper than 4, and events without
 *            memory for their copy, are counted, not delivered. Entries that end during
 *            cellar_listener_add may be reported or not. */
#include "cache/events.h"

#include "cache/call.h"
#include "cache/demoted.h"
#include "cache/error.h"
#include "cache/generation.h"
#include "cache/handle.h"
#include "cache/stamp.h"
#include "cache/tier_store.h"

BASE_SIZE_BEGIN

/* ---- causes as the public list names them ---- */

static cellar_cause cache_cause(l1_cause cause, cellar_cause dead_by)
{
    const cache_scope *scope = base_thread_self()->change_scopes;
    const bool stores = scope != NULL && scope->stores;
    switch (cause) {
    case L1_LEFT_CAPACITY: return CELLAR_CAUSE_EVICTED;
    case L1_LEFT_EXPIRED: return CELLAR_CAUSE_EXPIRED;
    case L1_LEFT_REPLACED:
        return stores && scope->negative ? CELLAR_CAUSE_NEGATIVE : CELLAR_CAUSE_REPLACED;
    case L1_LEFT_DELETED: /* by a put with a value that got no space: the old one is not served */
        if (scope != NULL && scope->cause != 0) { return (cellar_cause)scope->cause; }
        return stores ? CELLAR_CAUSE_REJECTED : CELLAR_CAUSE_DELETED;
    case L1_LEFT_CLEARED: return dead_by;
    case L1_LEFT_TAG: return CELLAR_CAUSE_TAG;
    }
    return CELLAR_CAUSE_NONE;
}

BASE_SIZE_END

/* ---- the tier ---- */

static void cache_demote(cache_store *s, l2 *d, const l1_left *what, const cellar *namespace)
{
    if (what->l2_addr == CACHE_NOT_ON_DISK || what->kind == (uint8_t)L1_ERROR) { return; }
    /* key_len <= CELLAR_KEY_MAX */
    const l2_key key = { what->key, (uint32_t)what->key_len, what->generation, what->hash };
    /* With write on eviction an address says that a read brought the entry up. ADDR_LATER: the tier
     * dropped what the namespace wants there. A copy with an idle time may have an end from before
     * that read: the entry would end before its time. */
    const bool asked = l1_addr_is_later(what->l2_addr) ||
                       (what->l2_addr != 0 &&
                        (namespace->disk_mode == CELLAR_L2_WRITE_ON_EVICTION ||
                         what->idle_ms != 0));
    l2_parts parts = { 0, 0 };
    const l2_meta meta = {
        .deadline_ms = what->deadline_ms, .stale_ms = (uint32_t)what->stale_ms,
        .idle_ms = what->idle_ms, .until_ms = what->expires_ms, .version = what->version,
        .addr = what->l2_addr,
        .tag_born = what->tag_born, .tag_fps = what->tag_fps, .tag_count = what->tag_count,
        .user_flags = what->user_flags, .kind = what->kind, .cost = what->cost,
        .unused = !asked && what->uses == 0, .pack = namespace->disk_pack, .parts = &parts,
    };
    const l2_current current = { cache_stamp_is, s, what->stamp };
    const cellar_err err = l2_put(d, &key, what->value, what->value_len, &meta, &current);
    if (err == CELLAR_DROPPED) { cache_demoted_keep(s, what, &key, &meta); }
}

BASE_SIZE_BEGIN

/* ---- delivery ---- */

typedef struct cache_recipients { /* listeners of one event */
    unsigned count;
    uint8_t at[CACHE_LISTENERS_MAX];
    cellar_listener_fn fn[CACHE_LISTENERS_MAX];
    void *ctx[CACHE_LISTENERS_MAX];
} cache_recipients;

/* Take a snapshot of the listeners for one event. Return false if a listener of a single namespace
 * exists and the namespace of the entry is unknown. */
static bool cache_recipients_take(cache_store *s, const cellar *namespace, bool known,
                                  cellar_cause cause, cache_recipients *e)
{
    bool all = true;
    const uint32_t bit = 1u << (unsigned)cause;
    e->count = 0;
    sync_take(LISTEN, &s->listen_lock);
    for (unsigned i = 0; i < CACHE_LISTENERS_MAX; i++) {
        cache_listener *l = &s->listener[i];
        if (l->fn == NULL || l->dead || (l->causes & bit) == 0) { continue; }
        if (l->namespace_id != UINT32_MAX &&
            (namespace == NULL || namespace->id != l->namespace_id)) {
            all = all && known;
            continue;
        }
        (void)base_add_rlx(&l->running, 1u);
        e->at[e->count] = (uint8_t)i;
        e->fn[e->count] = l->fn;
        e->ctx[e->count++] = l->ctx;
    }
    sync_drop(LISTEN, &s->listen_lock);
    return all;
}

static void cache_recipients_drop(cache_store *s, const cache_recipients *e)
{
    bool wake[CACHE_LISTENERS_MAX] = { false };
    cellar *namespace[CACHE_LISTENERS_MAX];
    sync_take(LISTEN, &s->listen_lock);
    for (unsigned i = 0; i < e->count; i++) {
        cache_listener *l = &s->listener[e->at[i]];
        if (base_sub_ar(&l->running, 1u) == 1 && l->dead && l->fn != NULL) {
            l->fn = NULL;
            namespace[i] = l->namespace;
            wake[i] = true;
        }
    }
    sync_drop(LISTEN, &s->listen_lock);
    for (unsigned i = 0; i < e->count; i++) {
        if (!wake[i]) { continue; }
        sync_wake(&s->listener[e->at[i]].running, INT32_MAX);
        if (namespace[i] != NULL) { cache_namespace_release(namespace[i]); }
    }
}

typedef struct cache_news { /* one event */
    cache_store *store;
    cellar *namespace; /* with a ref; NULL: unknown or freed */
    bool known;        /* the namespace is known */
    uint32_t depth;    /* of the thread when the entry ended */
    cellar_event event;
} cache_news;

/* Call the listeners, then release the namespace. */
static void cache_tell(const cache_news *n)
{
    cache_store *s = n->store;
    base_thread_record *self = base_thread_self();
    const uint32_t depth = self->depth;
    cache_recipients recipients;
    if (!cache_recipients_take(s, n->namespace, n->known, n->event.cause, &recipients)) {
        stats_count(s->stats, STATS_LISTENER_SKIPPED, 1);
    }
    self->depth = n->depth + 1;
    for (unsigned i = 0; i < recipients.count; i++) {
        sync_assert_none();
        recipients.fn[i](&n->event, recipients.ctx[i]);
    }
    self->depth = depth;
    if (recipients.count != 0) {
        cache_recipients_drop(s, &recipients);
        stats_count(s->stats, STATS_LISTENER_CALL, recipients.count);
    }
    if (n->namespace != NULL) { cache_namespace_release(n->namespace); }
}

typedef struct cache_late { /* an event that is put off, followed by its key and value */
    sync_late call;
    cache_news news;
    unsigned char bytes[];
} cache_late;

/* Return the size of the copy of an event: of an object it has the key alone. */
static size_t cache_late_bytes(const cellar_event *e)
{
    return sizeof(cache_late) + e->key_len + (e->value != NULL ? e->value_len : 0);
}

static void cache_tell_late(sync_late *call)
{
    cache_late *l = (cache_late *)(void *)call;
    const base_alloc_hooks *hooks = &l->news.store->hooks;
    const size_t bytes = cache_late_bytes(&l->news.event);
    cache_tell(&l->news);
    base_free_raw(hooks, l, bytes);
}

/* Put an event off, because the thread makes room for the store itself. Return false if there is no
 * memory for it. */
static bool cache_tell_later(const cache_news *n)
{
    const cellar_event *e = &n->event;
    cache_late *l = base_alloc_raw(&n->store->hooks, cache_late_bytes(e));
    if (l == NULL) { return false; }
    l->call.run = cache_tell_late;
    l->news = *n;
    l->news.event.key = memcpy(l->bytes, e->key, e->key_len);
    l->news.event.value = e->value != NULL ? l->bytes + e->key_len : NULL;
    if (e->value != NULL) { memcpy(l->bytes + e->key_len, e->value, e->value_len); }
    sync_put_off(&l->call);
    return true;
}

/* Report the end of an entry. Take over the ref of the namespace. Return false if the event is
 * skipped. */
static bool cache_event_report(cache_store *s, const l1_left *what, cellar *namespace,
                         const cache_generation_info *info)
{
    const cache_news n = {
        .store = s, .namespace = namespace, .known = info->known,
        .depth = base_thread_self()->depth,
        .event = {
            .ns = info->dropped ? NULL : namespace,
            .key = what->key, .key_len = what->key_len,
            .value = what->value, .value_len = what->value_len,
            .cause = cache_cause(what->cause, info->dead_by),
            .user_flags = what->user_flags,
            .kind = what->cell != NULL ? CELLAR_KIND_OBJECT : (cellar_kind)what->kind,
        },
    };
    if (n.depth >= CACHE_LISTEN_DEPTH) { return false; }
    if (sync_has_role()) { return cache_tell_later(&n); }
    cache_tell(&n);
    return true;
}

BASE_SIZE_END

CELLAR_PRIVATE void cache_evicted(void *ctx, const l1_left *what)
{
    cache_store *s = ctx;
    cache_generation_info info;
    cellar *namespace = cache_generation_namespace(s, what->generation, &info);
    if (namespace == NULL) { return; }
    if (!info.dropped) {
        const cache_tier *t = cache_tier_of(namespace);
        l2 *d = t != NULL ? cache_tier_disk(t) : NULL;
        if (d != NULL) {
            cache_demote(s, d, what, namespace);
        } else if (t == NULL && s->tier != NULL) {
            stats_count(s->stats, STATS_L2_KEPT_OUT, 1);
        }
    }
    cache_namespace_release(namespace);
}

CELLAR_PRIVATE void cache_left(void *ctx, const l1_left *what)
{
    cache_store *s = ctx;
    cache_generation_info info;
    cellar *namespace = cache_generation_namespace(s, what->generation, &info);
    if (base_load_rlx(&s->observers) > base_load_rlx(&s->observers_base)) {
        if (cache_event_report(s, what, namespace, &info)) { return; }
        stats_count(s->stats, STATS_LISTENER_SKIPPED, 1);
    }
    if (namespace != NULL) { cache_namespace_release(namespace); }
}

BASE_SIZE_BEGIN

CELLAR_PRIVATE unsigned cache_left_cause(void *ctx, l1_cause cause, uint32_t generation)
{
    return (unsigned)cache_cause(cause, cause == L1_LEFT_CLEARED
                                            ? cache_generation_cause(ctx, generation)
                                            : CELLAR_CAUSE_NONE);
}

/* ---- add and remove ---- */

CELLAR_API cellar_err cellar_listener_add(cellar *c, uint32_t causes, cellar_listener_fn fn,
                                          void *ctx,
                                          uint64_t *id)
{
    if (c == NULL || fn == NULL || id == NULL) {
        return cache_refuse(c, "cellar_listener_add: c, fn and id must not be NULL");
    }
    if ((causes >> CELLAR_CAUSE_COUNT) != 0 || (causes & 1u) != 0) {
        return cache_fail_number(c, "cellar_listener_add: causes has an unknown bit: use "
                                    "CELLAR_CAUSE_BIT", causes);
    }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    cache_store *s = c->store;
    cache_listener *l = NULL;
    sync_take(LISTEN, &s->listen_lock);
    for (unsigned i = 0; i < CACHE_LISTENERS_MAX && l == NULL; i++) {
        if (s->listener[i].fn == NULL) { l = &s->listener[i]; }
    }
    if (l != NULL) {
        l->fn = fn;
        l->ctx = ctx;
        l->causes = causes != 0 ? causes : UINT32_MAX;
        l->namespace_id = c == s->root ? UINT32_MAX : c->id;
        l->namespace = c == s->root ? NULL : c;
        /* its handle is open: refs >= 1 */
        if (l->namespace != NULL) { (void)base_add_rlx(&c->refs, 1u); }
        l->id = *id = ++s->next_listener;
        l->dead = false;
        (void)base_add_rlx(&s->observers, 1u);
    }
    sync_drop(LISTEN, &s->listen_lock);
    if (l == NULL) {
        stats_count(s->stats, STATS_LIMIT_LISTENERS, 1);
        return cache_fail(c, CELLAR_E_LIMIT, 0,
                          "cellar_listener_add: a store has at most 16 listeners: remove one");
    }
    l1_want_left(s->l1, true);
    return CELLAR_OK;
}

static bool cache_listener_is(cache_store *s, const cache_listener *l, uint64_t id)
{
    sync_take(LISTEN, &s->listen_lock);
    const bool same = l->fn != NULL && l->id == id;
    sync_drop(LISTEN, &s->listen_lock);
    return same;
}

CELLAR_API cellar_err cellar_listener_remove(cellar *c, uint64_t id)
{
    if (c == NULL) { return CELLAR_E_INVAL; }
    if (cache_is_closed(c)) { return cache_closed(c, __func__); }
    cache_store *s = c->store;
    cache_listener *l = NULL;
    cellar *namespace = NULL;
    bool idle = false;
    sync_take(LISTEN, &s->listen_lock);
    for (unsigned i = 0; i < CACHE_LISTENERS_MAX && l == NULL; i++) {
        cache_listener *at = &s->listener[i];
        if (at->fn != NULL && !at->dead && at->id == id) { l = at; }
    }
    if (l != NULL) {
        l->dead = true;
        idle = base_load_acq(&l->running) == 0;
        if (idle) {
            l->fn = NULL;
            namespace = l->namespace;
        }
        (void)base_sub_rlx(&s->observers, 1u);
    }
    sync_drop(LISTEN, &s->listen_lock);
    if (l == NULL) { return cache_fail(c, CELLAR_E_NOT_FOUND, 0,
                                       "cellar_listener_remove: no listener has this id"); }
    l1_want_left(s->l1, false);
    if (namespace != NULL) { cache_namespace_release(namespace); }
    while (!idle && base_thread_self()->depth == 0 && cache_listener_is(s, l, id)) {
        const uint32_t running = base_load_acq(&l->running);
        if (running != 0) { (void)sync_wait(&l->running, running, base_now_ns() + 50000000u); }
    }
    return CELLAR_OK;
}

BASE_SIZE_END
