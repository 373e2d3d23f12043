/* SPDX-License-Identifier: MIT
 *
 * handle: what keeps stores and namespaces in memory.
 *
 * PICTURE    list of stores -> store {refs} -> pages: [slot] -> namespace {refs}
 * INVARIANTS A store in the list has refs >= 1; refs = open handles + closes that run.
 *            refs of a namespace: 1 while named, + open handles, + calls that need it. They never
 *            rise from 0. Only then the slot is free again, so an event never names another
 *            namespace.
 * LOCKING    Lock of the list (rank NAMESPACE, held alone): the stores and their refs. NAMESPACE of
 *            the store: its slots. Slots are read without a lock.
 * FORK       The child resets the lock of the list. It keeps the stores of its parent, marked. */
#include "cache/handle.h"


static sync_lock cache_registry_lock; /* rank NAMESPACE; never held together with another lock */
static cache_store *cache_stores;     /* registry lock */

/* ---- namespaces ---- */

CELLAR_PRIVATE cellar *cache_namespace_at(const cache_store *s, uint32_t slot)
{
    const cache_page *page = base_load_acq(&s->page[slot / CACHE_PAGE_NAMESPACES]);
    return page != NULL ? base_load_acq(&page->namespace[slot % CACHE_PAGE_NAMESPACES]) : NULL;
}

CELLAR_PRIVATE void cache_namespace_put(cache_store *s, uint32_t slot, cellar *v)
{
    cache_page *page = base_load_rlx(&s->page[slot / CACHE_PAGE_NAMESPACES]);
    /* acquire in cache_namespace_at */
    base_store_rel(&page->namespace[slot % CACHE_PAGE_NAMESPACES], v);
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

CELLAR_PRIVATE void cache_namespace_free(cache_store *s, cellar *v)
{
    cellar_breaker *b = base_load_acq(&v->breaker);
    if (b != NULL) { base_free_raw(&s->hooks, b, b->bytes); }
    bloom_destroy(base_load_acq(&v->bloom));
    base_free(&s->account, BASE_MOD_NAMESPACE, v, sizeof *v);
}

/* Take the slot from the generations of a namespace that is gone: no event and no count of their
 * entries is of the next one there. */
SYNC_HOLDS(NAMESPACE) static void cache_slot_leave(const cache_store *s, uint32_t slot)
{
    for (cache_generations *t = base_load_rlx(&s->generations); t != NULL; t = t->older) {
        for (uint32_t i = 0; i <= t->mask; i++) {
            const uint64_t w = base_load_rlx(&t->cell[i]);
            if (w == 0 || CACHE_CELL_SLOT(w) != slot) { continue; }
            base_store_rlx(&t->cell[i], CACHE_CELL(CACHE_CELL_GENERATION(w), CACHE_CELL_NO_SLOT,
                                                   CACHE_CELL_CAUSE(w), 0u));
        }
    }
}

CELLAR_PRIVATE void cache_namespace_release(cellar *v)
{
    if (base_sub_ar(&v->refs, 1u) != 1) { return; }
    cache_store *s = v->store;
    sync_take(NAMESPACE, &s->namespace_lock);
    cache_slot_leave(s, v->slot);
    cache_namespace_put(s, v->slot, NULL);
    s->namespace_count--;
    sync_drop(NAMESPACE, &s->namespace_lock);
    base_fork_settle(); /* a child that sees it in its slot sees all of it */
    cache_namespace_free(s, v);
}

CELLAR_PRIVATE void cache_thread_ring(cache_store *s)
{
    if (base_load_rlx(&s->thread_state) == CACHE_THREAD_OFF) { return; }
    (void)base_add_ar(&s->thread_bell, 1u);
    sync_wake(&s->thread_bell, 1);
}

BASE_SIZE_BEGIN

CELLAR_PRIVATE cellar *cache_namespace_next(const cache_store *s, uint32_t *slot)
{
    cellar *v = NULL;
    while (*slot < CACHE_NAMESPACES_MAX && (v = cache_namespace_at(s, *slot)) == NULL) { ++*slot; }
    return v;
}

CELLAR_PRIVATE bool cache_handle_drop(cellar *c)
{
    sync_take(NAMESPACE, &c->store->namespace_lock);
    const bool was_open = c->handles > 0;
    if (was_open && --c->handles == 0 && c != c->store->root) {
        base_store_rel(&c->state, base_load_rlx(&c->state) | CACHE_CLOSED);
    }
    sync_drop(NAMESPACE, &c->store->namespace_lock);
    return was_open;
}

CELLAR_PRIVATE bool cache_page_room(cache_store *s, uint32_t slot)
{
    if (base_load_acq(&s->page[slot / CACHE_PAGE_NAMESPACES]) != NULL) { return true; }
    cache_page *page = base_alloc(&s->account, BASE_MOD_NAMESPACE, sizeof *page, NULL);
    if (page == NULL) { return false; }
    base_fork_settle(); /* a child that sees the page sees that it is empty */
    if (!base_cas_ar(&s->page[slot / CACHE_PAGE_NAMESPACES], (cache_page *)NULL, page)) {
        /* another thread was faster */
        base_free(&s->account, BASE_MOD_NAMESPACE, page, sizeof *page);
    }
    return true;
}

CELLAR_PRIVATE bool cache_namespace_seat(cache_store *s, cellar *fresh, cellar_err *err)
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

CELLAR_PRIVATE void cache_namespaces_close(cache_store *s)
{
    BASE_TABLE_CHARGE(&s->account, BASE_MOD_NAMESPACE);
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

/* ---- stores ---- */

static void cache_registry_child(void *ctx)
{
    (void)ctx;
    sync_reset(&cache_registry_lock);
}

static base_fork_node cache_registry_node = { .child = cache_registry_child };

CELLAR_PRIVATE bool cache_registry_add(cache_store *s)
{
    if (!base_fork_register(&cache_registry_node)) { return false; }
    sync_take(NAMESPACE, &cache_registry_lock);
    s->refs = 1; /* handle of the root */
    s->next = cache_stores;
    base_fork_settle(); /* a child that sees the store in the list sees the rest of it */
    cache_stores = s;
    sync_drop(NAMESPACE, &cache_registry_lock);
    return true;
}

CELLAR_PRIVATE cache_store *cache_registry_find(const cellar *c)
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

CELLAR_PRIVATE void cache_shell_free(cache_store *s)
{
    const base_alloc_hooks hooks = base_hooks_keep(&s->hooks);
    base_free_raw(&hooks, s->raw, s->raw_bytes);
}

CELLAR_PRIVATE void cache_store_release(cache_store *s, uint32_t count)
{
    sync_take(NAMESPACE, &cache_registry_lock);
    BASE_ASSERT(s->refs >= count);
    s->refs -= count;
    const bool last = s->refs == 0;
    cache_store **at = &cache_stores;
    while (last && *at != s) { at = &(*at)->next; }
    if (last) { *at = s->next; }
    sync_drop(NAMESPACE, &cache_registry_lock);
    if (!last) { return; }
    base_fork_unregister(&s->fork_node);
    cache_namespaces_close(s);
    cache_shell_free(s);
}

CELLAR_PRIVATE void cache_store_hold(cache_store *s)
{
    sync_take(NAMESPACE, &cache_registry_lock);
    BASE_ASSERT(s->refs > 0);
    s->refs++;
    sync_drop(NAMESPACE, &cache_registry_lock);
}

BASE_SIZE_END
