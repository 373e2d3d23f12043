/* SPDX-License-Identifier: MIT
 *
 * cap_evict: keep the bound of entries of a namespace.
 *
 * PICTURE    set of an absent key, no ticket -> l1_cap_room:
 *                hash of the oldest entry -> its record -> over: drop
 *                used: to the head of the list, counter - 1 (LRU: 0)   else: drop, CAPACITY
 *            first bound of a namespace: scan the store once for each eighth of its age, so that
 *            the list starts with its older entries; then for all, because entries moved meanwhile
 *            a set with the generation that a clear ended: no ticket; the set is repeated
 * INVARIANTS A list is whole when it has all entries of its generation. While one call still reads
 *            the entries from before the bound, each other call that sets the bound reads them,
 *            too: at its return the bound holds.
 * LOCKING    One lane lock at a time, L1_CAP inside it.
 * LIMITS     One eviction examines up to L1_CAP_LOOKS used entries, then it drops the next one.
 * SEE ALSO   cap.c: the lists. room.c: tickets. */
#include "l1/cap.h"
#include "l1/change.h"
#include "l1/index.h"
#include "l1/record.h"
#include "l1/segment.h"
#include "l1/unlink.h"

BASE_SIZE_BEGIN

#define L1_CAP_LOOKS 32u
#define L1_CAP_WAIT_NS UINT64_C(5000000000) /* for sets that hold the whole bound in tickets */
#define L1_CAP_AGES 8u

/* Return whether the policy keeps a live entry once more. Lower its counter. */
static SYNC_HOLDS(L1_LANE) bool l1_cap_keeps(l1 *c, const l1_entry *e)
{
    const l1_policy policy = (l1_policy)base_load_rlx(&c->policy);
    const l1_rec *r = &e->slot.rec;
    const unsigned uses = l1_freq(e->slot.b, e->slot.i);
    if ((r->mask & L1_X_L2) != 0 && l1_is_written(c, e->slot.pos, r, e->hash)) { return true; }
    if (uses == 0 || policy == L1_FIFO) { return false; }
    l1_freq_set(e->slot.b, e->slot.i, policy == L1_LRU ? 0 : uses - 1);
    return true;
}

/* Drop the entry, unless its namespace keeps it. */
static SYNC_UNCHECKED void l1_cap_judge(l1 *c, l1_cap *m, uint32_t generation,
                                        const l1_cap_node *x, bool force)
{
    const uint64_t hash = x->hash;
    const l1_key any = { .generation = generation, .hash = hash };
    l1_entry e = { .hash = hash };
    l1_victims v;
    unsigned q;
    v.n = 0;
    l1_lane *const n = l1_lane_take(c); /* any lane: it counts the end of the entry */
    l1_seg *const g = l1_find_now(c, &any, &e.slot, &q);
    if (g != NULL && l1_linked(c, &e)) { /* else another thread was faster: look again */
        l1_cause cause;
        const bool over = l1_is_over(c, e.slot.pos, &e.slot.rec, &cause);
        if (!over && !force && l1_cap_keeps(c, &e)) {
            l1_cap_renew(m, generation, hash);
        } else {
            if (x->renewed != 0) { l1_freq_set(e.slot.b, e.slot.i, 1); } /* worth its bytes below */
            l1_wasteful(c, l1_lane_of(c, e.slot.pos)); /* no cursor is there */
            (void)l1_drop(c, n, &e, over ? cause : L1_LEFT_CAPACITY, &v);
        }
    }
    if (g != NULL) { base_sub_ar(&g->busy, 1u); }
    sync_drop(L1_LANE, &n->lock);
    l1_hand_over(c, &v);
}

/* Evict until `more` entries fit. Return false if tickets take the whole bound, for long. */
static bool l1_cap_shrink(l1 *c, l1_cap *m, uint32_t generation, uint32_t more)
{
    l1_cap_node oldest;
    uint64_t end_ns = 0;
    for (unsigned looks = 0;;) {
        const l1_cap_state state = l1_cap_fits(c, m, generation, more, &oldest);
        if (state == L1_CAP_NONE || state == L1_CAP_FITS) { return true; }
        if (state == L1_CAP_BUSY) {
            if (end_ns == 0) { end_ns = base_now_ns() + L1_CAP_WAIT_NS; }
            if (base_now_ns() >= end_ns) { return false; }
            base_yield(); /* sets with a ticket are about to link: they hold lane locks only */
            continue;
        }
        end_ns = 0;
        const bool force = looks >= L1_CAP_LOOKS;
        l1_cap_judge(c, m, generation, &oldest, force);
        looks = force ? 0 : looks + 1;
    }
}

CELLAR_PRIVATE bool l1_cap_room(l1 *c, uint32_t generation)
{
    l1_cap *m = l1_cap_of(c, generation);
    if (m == NULL) { return true; } /* cleared or without a bound meanwhile */
    if (!l1_cap_shrink(c, m, generation, 1)) { return false; }
    while (l1_cap_grow(c, m) != CELLAR_OK) { /* no memory for one more node: free one */
        l1_cap_node oldest;
        const l1_cap_state state = l1_cap_fits(c, m, generation, UINT32_MAX, &oldest);
        if (state == L1_CAP_BUSY) { return false; }
        if (state != L1_CAP_FULL) { return true; }
        l1_cap_judge(c, m, generation, &oldest, true);
    }
    return true;
}

CELLAR_PRIVATE void l1_cap_trim(l1 *c, uint32_t namespace, uint32_t generation)
{
    l1_cap *m = l1_cap_at(c, namespace);
    if (m != NULL) { (void)l1_cap_shrink(c, m, generation, 0); }
}

/* ---- a first bound -------------------------------------------------------------------------- */
/* Find the block that *at names, or make it. Return NULL if no memory is left. */
static void *l1_cap_block(l1 *c, void *_Atomic *at, size_t bytes)
{
    void *const there = base_load_acq(at);
    if (there != NULL) { return there; }
    void *fresh = base_alloc(c->account, BASE_MOD_NAMESPACE, bytes, NULL);
    if (fresh == NULL) { return NULL; }
    if (!base_cas_ar(at, (void *)NULL, fresh)) {
        base_free(c->account, BASE_MOD_NAMESPACE, fresh, bytes);
    }
    return base_load_acq(at);
}

CELLAR_PRIVATE cellar_err l1_cap_open(l1 *c, uint32_t namespace)
{
    if (!l1_quotas_open(c)) { return CELLAR_E_NOMEM; } /* then all counts take the slow path */
    struct l1_caps *const caps = l1_cap_block(c, &c->caps, sizeof *caps);
    if (caps == NULL) { return CELLAR_E_NOMEM; }
    void *_Atomic *const page = l1_cap_block(c, &caps->page[namespace / L1_CAP_PAGE],
                                             L1_CAP_PAGE * sizeof *page);
    if (page == NULL) { return CELLAR_E_NOMEM; }
    l1_cap *const m = l1_cap_block(c, &page[namespace % L1_CAP_PAGE], sizeof *m);
    return m != NULL ? l1_cap_grow(c, m) : CELLAR_E_NOMEM;
}

/* ---- entries from before the bound ----------------------------------------------------------- */
typedef struct l1_cap_filling {
    l1 *c;
    l1_cap *m;
    uint32_t generation;
    uint32_t done, due; /* segments opened up to `done` are done, those up to `due` are due */
    cellar_err err;
} l1_cap_filling;

static bool l1_cap_fill_one(void *ctx, const l1_seen *e)
{
    l1_cap_filling *f = ctx;
    l1 *const c = f->c;
    const int32_t age = (int32_t)(f->due - e->info.seq);
    if (age < 0 || (uint32_t)age >= f->due - f->done) { return true; }
    const l1_key k = { .bytes = e->key, .len = (uint32_t)e->key_len, .generation = f->generation,
                       .hash = base_hash(c->hash_key, f->generation, e->key, e->key_len) };
    for (bool done = false; !done && f->err == CELLAR_OK;) {
        l1_hold h;
        l1_slot slot;
        l1_lock_key(c, k.hash, &h, false);
        done = !l1_find(c, &h, &k, &slot) || l1_cap_adopt(c, f->m, f->generation, k.hash);
        l1_unlock(c, &h);
        if (!done) { f->err = l1_cap_grow(c, f->m); }
    }
    (void)l1_cap_shrink(c, f->m, f->generation, 0);
    return f->err == CELLAR_OK;
}

CELLAR_PRIVATE cellar_err l1_cap_fill(l1 *c, uint32_t namespace, uint32_t generation)
{
    l1_cap_filling f = { .c = c, .m = l1_cap_at(c, namespace), .generation = generation };
    sync_take(L1_CAP, &f.m->lock);
    const uint32_t epoch = f.m->epoch;
    sync_drop(L1_CAP, &f.m->lock);
    for (uint32_t i = 0; i < c->stripe_count; i++) { /* sets from before see the bound, or end */
        sync_take(L1_LANE, &c->lane[i].lock);
        sync_drop(L1_LANE, &c->lane[i].lock);
    }
    sync_take(L1_SEG, &c->seg_lock);
    const uint32_t range = BASE_MIN(c->opened, 2 * base_load_rlx(&c->held));
    const uint32_t oldest = c->opened - range, first = oldest - INT32_MAX / 2;
    sync_drop(L1_SEG, &c->seg_lock);
    f.done = first;
    for (unsigned age = 1; age <= L1_CAP_AGES && f.err == CELLAR_OK; age++) {
        const bool last = age == L1_CAP_AGES;
        /* The last pass reads all again: entries move to newer segments, and from small into an
         * older segment of main. */
        if (last) { f.done = first; }
        f.due = last ? first + INT32_MAX
                     : oldest + (uint32_t)((uint64_t)range * age / L1_CAP_AGES);
        uint64_t cursor = 0;
        do {
            const cellar_err err = l1_scan(c, &cursor, 1024, generation, L1_SCAN_STORED,
                                           l1_cap_fill_one, &f);
            if (f.err == CELLAR_OK) { f.err = err; }
        } while (cursor != 0 && f.err == CELLAR_OK);
        f.done = f.due;
    }
    sync_take(L1_CAP, &f.m->lock);
    if (f.err == CELLAR_OK && f.m->epoch == epoch) { f.m->whole = true; }
    sync_drop(L1_CAP, &f.m->lock);
    return f.err;
}

BASE_SIZE_END
