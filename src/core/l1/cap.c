/* SPDX-License-Identifier: MIT
 *
 * cap: list the entries of each namespace with a bound of entries, so that its oldest entry is
 * found without a pass over the store.
 *
 * PICTURE    generation -> (hook) namespace -> page -> cap {max, count, reserved}
 *                oldest <-> .. <-> newest      nodes by the hash of their keys, in chunks
 *                bucket b, first at node b + 1 -> chain     linear hashing: a bucket for each node
 *            set of an absent key: ticket -> link, which turns the ticket into a node
 *            any end of an entry: its node goes to the free list
 * INVARIANTS A node stands for each linked record of the generation, and for no other. count and
 *            reserved together are at most max, except while max was lowered, while an entry is
 *            replaced, and for sets that began before the bound: each of these holds the lock of
 *            a lane. So L1_CAP_SPARE nodes always suffice, and no window allocates.
 *            A new generation starts an empty list in O(1): the older one has ended before.
 *            A ticket is held under a lane lock only.
 *            The cursor, a split and a rewrite move records without a look at a list. A victim is
 *            found by one look-up of its hash.
 * LOCKING    L1_CAP, inside windows. Memory is allocated before it and freed after it.
 * LIMITS     2^31 - 1 entries; 24 bytes for each entry of such a namespace. Without such a bound
 *            `quotas` is NULL: one test covers shares and bounds.
 * SEE ALSO   cap_evict.c: victims. README.md, "bound of a namespace": costs, rejected designs. */
#include <string.h>

#include "l1/cap.h"

BASE_SIZE_BEGIN

#define L1_CAP_SPARE(c) (2 * (c)->stripe_count)

CELLAR_PRIVATE l1_cap *l1_cap_at(const l1 *c, uint32_t namespace)
{
    struct l1_caps *caps = base_load_acq(&c->caps);
    if (caps == NULL || namespace >= L1_NAMESPACES) { return NULL; }
    void *_Atomic *page = base_load_acq(&caps->page[namespace / L1_CAP_PAGE]);
    return page != NULL ? base_load_acq(&page[namespace % L1_CAP_PAGE]) : NULL;
}

CELLAR_PRIVATE l1_cap *l1_cap_of(const l1 *c, uint32_t generation)
{
    if (base_load_rlx(&c->caps) == NULL || c->hooks.namespace_of == NULL) { return NULL; }
    l1_cap *m = l1_cap_at(c, c->hooks.namespace_of(c->hooks.ctx, generation));
    return m != NULL && base_load_rlx(&m->max) != 0 ? m : NULL;
}

/* ---- nodes ----------------------------------------------------------------------------------- */
static l1_cap_node *l1_cap_node_at(const l1_cap *m, uint32_t n)
{
    return &m->chunk[(n - 1) / L1_CAP_CHUNK][(n - 1) % L1_CAP_CHUNK];
}

static uint32_t l1_cap_bucket(uint32_t buckets, uint64_t hash)
{
    const uint64_t half = base_pow2_floor(buckets), b = hash & (2 * half - 1);
    return (uint32_t)(b < buckets ? b : b - half);
}

/* Return the word that names the first node of a bucket. */
static uint32_t *l1_cap_first(const l1_cap *m, uint32_t bucket)
{
    return &l1_cap_node_at(m, bucket + 1)->first;
}

/* Use one more node, and with it one more bucket: move the nodes that belong there. */
static uint32_t l1_cap_extend(l1_cap *m)
{
    const uint32_t fresh = m->used++;
    uint32_t *to = l1_cap_first(m, fresh);
    *to = 0;
    if (fresh != 0) {
        uint32_t *from = l1_cap_first(m, fresh - (uint32_t)base_pow2_floor(fresh));
        while (*from != 0) {
            l1_cap_node *x = l1_cap_node_at(m, *from);
            if (l1_cap_bucket(m->used, x->hash) == fresh) {
                *to = *from;
                *from = x->chain;
                x->chain = 0;
                to = &x->chain;
            } else {
                from = &x->chain;
            }
        }
    }
    return fresh + 1;
}

static uint32_t l1_cap_left(const l1_cap *m)
{
    return m->free_count + m->chunks * L1_CAP_CHUNK - m->used;
}

static void l1_cap_push(l1_cap *m, uint32_t n)
{
    l1_cap_node *x = l1_cap_node_at(m, n);
    x->newer = 0;
    x->older = m->newest;
    if (m->newest != 0) {
        l1_cap_node_at(m, m->newest)->newer = n & INT32_MAX;
    } else {
        m->oldest = n;
    }
    m->newest = n;
}

static void l1_cap_pull(l1_cap *m, uint32_t n)
{
    const l1_cap_node *x = l1_cap_node_at(m, n);
    *(x->newer != 0 ? &l1_cap_node_at(m, x->newer)->older : &m->newest) = x->older;
    if (x->older != 0) {
        l1_cap_node_at(m, x->older)->newer = x->newer;
    } else {
        m->oldest = x->newer;
    }
}

/* Return the place that names the oldest node of this hash; NULL: none. New nodes are the first of
 * their chain. */
static uint32_t *l1_cap_find(const l1_cap *m, uint64_t hash)
{
    uint32_t *found = NULL;
    if (m->used == 0) { return NULL; }
    for (uint32_t *at = l1_cap_first(m, l1_cap_bucket(m->used, hash)); *at != 0;) {
        l1_cap_node *x = l1_cap_node_at(m, *at);
        if (x->hash == hash) { found = at; }
        at = &x->chain;
    }
    return found;
}

static void l1_cap_add(l1_cap *m, uint64_t hash)
{
    uint32_t n = m->free;
    BASE_ASSERT(l1_cap_left(m) != 0);
    if (n != 0) {
        m->free = l1_cap_node_at(m, n)->chain;
        m->free_count--;
    } else {
        n = l1_cap_extend(m);
    }
    l1_cap_node *x = l1_cap_node_at(m, n);
    uint32_t *first = l1_cap_first(m, l1_cap_bucket(m->used, hash));
    x->hash = hash;
    x->renewed = 0;
    x->chain = *first;
    *first = n;
    l1_cap_push(m, n);
    m->count++;
}

/* Return whether enough nodes are left for one more entry. */
static SYNC_HOLDS(L1_CAP) bool l1_cap_ready(const l1 *c, const l1_cap *m)
{
    return l1_cap_left(m) > (uint64_t)m->reserved + L1_CAP_SPARE(c);
}

/* ---- one entry ------------------------------------------------------------------------------- */
/* Return whether the list is that of the generation; the bound may have gone meanwhile. */
static bool l1_cap_is(const l1_cap *m, uint32_t generation)
{
    return base_load_rlx(&m->max) != 0 && m->generation == generation;
}

CELLAR_PRIVATE bool l1_cap_reserve(const l1 *c, l1_toll *t)
{
    l1_cap *m = l1_cap_of(c, t->generation);
    if (m == NULL) { return true; }
    sync_take(L1_CAP, &m->lock);
    const bool own = l1_cap_is(m, t->generation); /* else the window refuses the entry */
    const bool fits = own && (uint64_t)m->count + m->reserved < base_load_rlx(&m->max) &&
                      l1_cap_ready(c, m);
    if (fits) {
        m->reserved++;
        t->ticket = m->epoch;
    }
    sync_drop(L1_CAP, &m->lock);
    return fits || !own;
}

CELLAR_PRIVATE void l1_cap_unused(const l1 *c, l1_toll *t)
{
    l1_cap *m = t->ticket != 0 ? l1_cap_of(c, t->generation) : NULL;
    if (m != NULL) {
        sync_take(L1_CAP, &m->lock);
        if (t->ticket == m->epoch) { m->reserved--; }
        sync_drop(L1_CAP, &m->lock);
    }
    t->ticket = 0;
}

CELLAR_PRIVATE void l1_cap_in(l1_cap *m, uint32_t generation, uint64_t hash, l1_toll *t)
{
    sync_take(L1_CAP, &m->lock);
    if (l1_cap_is(m, generation)) {
        if (t != NULL && t->ticket == m->epoch) { m->reserved--; }
        l1_cap_add(m, hash);
    }
    if (t != NULL) { t->ticket = 0; }
    sync_drop(L1_CAP, &m->lock);
}

CELLAR_PRIVATE void l1_cap_out(l1_cap *m, uint32_t generation, uint64_t hash)
{
    sync_take(L1_CAP, &m->lock);
    uint32_t *at = l1_cap_is(m, generation) ? l1_cap_find(m, hash) : NULL;
    if (at != NULL) {
        const uint32_t n = *at;
        l1_cap_node *x = l1_cap_node_at(m, n);
        *at = x->chain;
        l1_cap_pull(m, n);
        x->chain = m->free;
        m->free = n;
        m->free_count++;
        m->count--;
    }
    sync_drop(L1_CAP, &m->lock);
}

CELLAR_PRIVATE bool l1_cap_adopt(const l1 *c, l1_cap *m, uint32_t generation, uint64_t hash)
{
    sync_take(L1_CAP, &m->lock);
    const bool there = !l1_cap_is(m, generation) || l1_cap_find(m, hash) != NULL;
    const bool room = l1_cap_ready(c, m);
    if (!there && room) { l1_cap_add(m, hash); }
    sync_drop(L1_CAP, &m->lock);
    return there || room;
}

CELLAR_PRIVATE void l1_cap_renew(l1_cap *m, uint32_t generation, uint64_t hash)
{
    sync_take(L1_CAP, &m->lock);
    const uint32_t *at = l1_cap_is(m, generation) ? l1_cap_find(m, hash) : NULL;
    if (at != NULL) {
        l1_cap_pull(m, *at);
        l1_cap_push(m, *at);
        l1_cap_node_at(m, *at)->renewed = 1;
    }
    sync_drop(L1_CAP, &m->lock);
}

CELLAR_PRIVATE l1_cap_state l1_cap_fits(const l1 *c, l1_cap *m, uint32_t generation, uint32_t more,
                                        l1_cap_node *oldest)
{
    l1_cap_state state = L1_CAP_FITS;
    if (l1_cap_of(c, generation) != m) { return L1_CAP_NONE; }
    sync_take(L1_CAP, &m->lock);
    if (!l1_cap_is(m, generation)) {
        state = L1_CAP_NONE;
    } else if ((uint64_t)m->count + m->reserved + more > base_load_rlx(&m->max)) {
        state = m->oldest != 0 ? L1_CAP_FULL : L1_CAP_BUSY;
        if (m->oldest != 0) { *oldest = *l1_cap_node_at(m, m->oldest); }
    }
    sync_drop(L1_CAP, &m->lock);
    return state;
}

/* ---- memory ---------------------------------------------------------------------------------- */
#define L1_CAP_CHUNK_BYTES (L1_CAP_CHUNK * sizeof(l1_cap_node))

/* Allocate a larger table of chunks, or a chunk, until the nodes suffice. Another thread may add
 * the same meanwhile: then this one is freed. */
CELLAR_PRIVATE cellar_err l1_cap_grow(l1 *c, l1_cap *m)
{
    for (;;) {
        bool refused;
        sync_take(L1_CAP, &m->lock);
        const bool ready = l1_cap_ready(c, m), widen = m->chunks == m->chunk_room;
        const uint32_t room = m->chunk_room * 2 + 8;
        sync_drop(L1_CAP, &m->lock);
        if (ready) { return CELLAR_OK; }
        size_t bytes = widen ? room * sizeof *m->chunk : L1_CAP_CHUNK_BYTES;
        void *fresh = base_alloc(c->account, BASE_MOD_NAMESPACE, bytes, &refused);
        if (fresh == NULL) { return refused ? CELLAR_E_SPACE : CELLAR_E_NOMEM; }
        sync_take(L1_CAP, &m->lock);
        if (widen && m->chunk_room < room) {
            l1_cap_node **const old = m->chunk;
            if (m->chunks != 0) { memcpy(fresh, old, m->chunks * sizeof *old); }
            m->chunk = fresh;
            fresh = old;
            bytes = m->chunk_room * sizeof *old;
            m->chunk_room = room;
        } else if (!widen && m->chunks < m->chunk_room) {
            m->chunk[m->chunks++] = fresh;
            fresh = NULL;
        }
        sync_drop(L1_CAP, &m->lock);
        base_free(c->account, BASE_MOD_NAMESPACE, fresh, bytes);
    }
}

/* Start an empty list. whole: the generation has no entry. */
static SYNC_HOLDS(L1_CAP) void l1_cap_reset(l1_cap *m, uint32_t generation, bool whole)
{
    m->generation = generation;
    m->whole = whole;
    m->epoch = m->epoch == UINT32_MAX ? 1 : m->epoch + 1;
    m->count = m->reserved = m->oldest = m->newest = m->free = m->free_count = m->used = 0;
}

CELLAR_PRIVATE l1_cap_start_result l1_cap_start(l1 *c, uint32_t namespace, uint32_t generation,
                                                uint32_t max)
{
    l1_cap *m = l1_cap_at(c, namespace);
    BASE_ASSERT(m != NULL && max != 0);
    sync_take(L1_CAP, &m->lock);
    const bool fresh = base_load_rlx(&m->max) == 0;
    if (fresh) { l1_cap_reset(m, generation, false); }
    const bool ready = !fresh || l1_cap_ready(c, m), whole = m->whole;
    if (ready) { base_store_rlx(&m->max, max); }
    sync_drop(L1_CAP, &m->lock);
    return !ready ? L1_CAP_UNREADY : whole ? L1_CAP_CHANGED : L1_CAP_STARTED;
}

CELLAR_PRIVATE void l1_cap_stop(l1 *c, uint32_t namespace)
{
    l1_cap *m = l1_cap_at(c, namespace);
    if (m == NULL) { return; }
    sync_take(L1_CAP, &m->lock);
    l1_cap_node **chunk = m->chunk;
    const uint32_t chunks = m->chunks, room = m->chunk_room;
    l1_cap_reset(m, 0, false);
    base_store_rlx(&m->max, 0u);
    m->chunk = NULL;
    m->chunks = m->chunk_room = 0;
    sync_drop(L1_CAP, &m->lock);
    for (uint32_t i = 0; i < chunks; i++) {
        base_free(c->account, BASE_MOD_NAMESPACE, chunk[i], L1_CAP_CHUNK_BYTES);
    }
    base_free(c->account, BASE_MOD_NAMESPACE, chunk, room * sizeof *chunk);
}

CELLAR_PRIVATE void l1_cap_generation(l1 *c, uint32_t namespace, uint32_t generation)
{
    l1_cap *m = l1_cap_at(c, namespace);
    if (m == NULL || base_load_rlx(&m->max) == 0) { return; }
    sync_take(L1_CAP, &m->lock);
    l1_cap_reset(m, generation, true);
    sync_drop(L1_CAP, &m->lock);
}

CELLAR_PRIVATE uint32_t l1_cap_get(const l1 *c, uint32_t namespace)
{
    const l1_cap *m = l1_cap_at(c, namespace);
    return m != NULL ? base_load_rlx(&m->max) : 0;
}

/* ---- all caps -------------------------------------------------------------------------------- */
/* Return the first cap at or after *namespace, and its namespace; NULL: none. */
static l1_cap *l1_cap_next(const l1 *c, uint32_t *namespace)
{
    l1_cap *m = NULL;
    while (*namespace < L1_NAMESPACES && (m = l1_cap_at(c, *namespace)) == NULL) { ++*namespace; }
    return m;
}

CELLAR_PRIVATE void l1_caps_close(l1 *c)
{
    struct l1_caps *caps = base_load_rlx(&c->caps);
    l1_cap *m;
    if (caps == NULL) { return; }
    for (uint32_t i = 0; (m = l1_cap_next(c, &i)) != NULL; i++) {
        l1_cap_stop(c, i);
        base_free(c->account, BASE_MOD_NAMESPACE, m, sizeof *m);
    }
    for (uint32_t i = 0; i < L1_NAMESPACES / L1_CAP_PAGE; i++) {
        base_free(c->account, BASE_MOD_NAMESPACE, base_load_rlx(&caps->page[i]),
                  L1_CAP_PAGE * sizeof(void *_Atomic));
    }
    base_free(c->account, BASE_MOD_NAMESPACE, caps, sizeof *caps);
}

CELLAR_PRIVATE bool l1_cap_has(l1_cap *m, uint32_t generation, uint64_t hash)
{
    sync_take(L1_CAP, &m->lock);
    const bool has = !l1_cap_is(m, generation) || l1_cap_find(m, hash) != NULL;
    sync_drop(L1_CAP, &m->lock);
    return has;
}

CELLAR_PRIVATE uint64_t l1_caps_count(const l1 *c)
{
    uint64_t count = 0;
    l1_cap *m;
    for (uint32_t i = 0; (m = l1_cap_next(c, &i)) != NULL; i++) {
        sync_take(L1_CAP, &m->lock);
        count += m->count;
        sync_drop(L1_CAP, &m->lock);
    }
    return count;
}

BASE_SIZE_END
