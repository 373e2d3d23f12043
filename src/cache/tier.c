/* SPDX-License-Identifier: MIT
 *
 * tier: what a tier below L1 is told beside gets and changes: views, stores at once, sync.
 *
 * PICTURE    view opened -> its generation from the tier, or a fresh one that is logged
 *            set in a view with l2_mode -> put at once, not when the entry leaves L1; what a
 *            touch, an incr or a renewal there leaves is read back and put, under the stamp of
 *            that change
 *            level ALWAYS, or a durable set -> commit, then the call returns
 * INVARIANTS a view that may not use the tier (no_l2, secret) has a generation no record carries,
 *            so its changes need not be logged, and nothing of it is: not even its name.
 *            A view whose begin, new generation or end the tier does not know yet is `untold`: it
 *            is not asked for that name, or what a drop has ended would be adopted.
 * LOCKING    none of its own. Generations are logged after VIEW is dropped; they only grow, so the
 *            order in which two of them arrive does not matter. */
#include "cache/cache_int.h"

#define CACHE_TIER_TRY 512u /* bytes tried on the stack */

/* ---- views ---- */

/* The root's row has no name, whatever its label: a view may be called so. */
static bool cache_tier_view_row(const cellar *v, cache_tier_view *out)
{
    const cache_tier *t = v->store->tier;
    return t->view_find(t->ctx, v->slot != 0 ? v->name : "", v->slot != 0 ? v->name_len : 0, out);
}

/* Where stores of before that was so have the root's: under the label. */
static bool cache_tier_root_row(const cellar *v, cache_tier_view *out)
{
    const cache_tier *t = v->store->tier;
    return v->slot == 0 && v->name_len != 0 &&
           t->view_find(t->ctx, v->name, v->name_len, out) && out->id == 0;
}

CELLAR_PRIVATE bool cache_tier_view_find(const cellar *v, cache_tier_view *out)
{
    return cache_tier_view_row(v, out) || cache_tier_root_row(v, out);
}

static void cache_tier_view_say(const cellar *v, const cache_tier_view *now)
{
    const cache_tier *t = v->store->tier;
    cache_tier_view known;
    const bool there = cache_tier_view_row(v, &known);
    if ((!there && cache_tier_root_row(v, &known)) || (there && v->no_disk &&
        (known.id == v->id || v->slot == 0))) {
        const cache_tier_view gone = { known.id, 0, 0 };
        t->view_set(t->ctx, &gone, NULL, 0);
    }
    if (v->no_disk) { return; }
    if (now->vgen == 0) {
        t->view_set(t->ctx, now, NULL, 0);
    } else if (!there || memcmp(&known, now, sizeof known) != 0) {
        t->view_set(t->ctx, now, v->slot != 0 ? v->name : "", v->slot != 0 ? v->name_len : 0);
    }
}

/* Who tells holds no lock, so the view may be dropped meanwhile, and that be told before: then
 * once more. */
CELLAR_PRIVATE void cache_tier_view_tell(cellar *v)
{
    cache_store *s = v->store;
    bool gone;
    sync_take(VIEW, &s->view_lock);
    do {
        gone = v->dropped;
        const cache_tier_view now = { v->id, gone ? 0 : base_load_rlx(&v->vgen), v->version };
        sync_drop(VIEW, &s->view_lock);
        if (s->tier != NULL && s->tier->view_set != NULL) { cache_tier_view_say(v, &now); }
        sync_take(VIEW, &s->view_lock);
    } while (v->dropped && !gone);
    BASE_ASSERT(v->untold > 0);
    v->untold--;
    sync_drop(VIEW, &s->view_lock);
}

CELLAR_PRIVATE void cache_tier_view_died(cellar *v, uint32_t vgen)
{
    const cache_store *s = v->store;
    if (s->tier->bump != NULL) { s->tier->bump(s->tier->ctx, v->id, vgen); }
    cache_tier_view_tell(v);
}

/* ---- stores that do not wait for eviction ---- */

/* What KEEP_TTL kept only L1 knows. Should the key have changed since, the tier refuses the put; if
 * it has left, there is nothing to say. */
static void cache_tier_times_kept(const cellar *c, const l1_key *k, cache_tier_meta *m)
{
    l1_info now;
    const bool gone = l1_inspect(c->l1, k, NULL, 0, &now, L1_PEEK) == CELLAR_MISS;
    m->deadline_ms = gone ? 0 : now.deadline_ms;
    m->until_ms = gone ? 0 : now.expires_ms;
    m->stale_ms = gone ? 0 : now.stale_ms;
    m->idle_ms = gone ? 0 : now.idle_ms;
}

static cache_tier_meta cache_tier_meta_of(const cellar *c, const l1_key *k, const l1_put_spec *p)
{
    cache_tier_meta m = { .deadline_ms = p->deadline_ms, .stale_ms = p->stale_ms,
                          .idle_ms = p->idle_ms, .version = p->version,
                          .value_hash = p->value_hash, .tag_born = p->tag_born,
                          .tag_fps = p->tag_fps, .tag_count = p->tag_count,
                          .user_flags = p->user_flags, .kind = p->kind, .cost = p->cost,
                          .uses = 1, /* the view, or the call, wants it there */
                          .pack = c->disk_pack };
    if (m.idle_ms != 0) { m.until_ms = base_add_sat(base_now_ms(&c->store->clock), m.idle_ms); }
    if ((p->flags & L1_KEEP_TTL) != 0) { cache_tier_times_kept(c, k, &m); }
    return m;
}

CELLAR_PRIVATE void cache_tier_store(cellar *c, const l1_key *k, const l1_put_spec *p)
{
    const cache_store *s = c->store;
    if (s->tier == NULL || c->no_disk || p->l2_addr == CACHE_NOT_ON_DISK) { return; }
    const cache_tier_key key = { k->bytes, k->len, k->hash, c->id, k->owner };
    const cache_tier_meta m = cache_tier_meta_of(c, k, p);
    (void)s->tier->put(s->tier->ctx, &key, p->value, p->value_len, &m, p->stamp);
}

static void cache_tier_store_seen(cellar *c, const l1_key *k, const l1_info *i, const void *value,
                                  size_t value_len, uint64_t stamp)
{
    uint64_t fps[CELLAR_TAGS_MAX], born = 0;
    const uint32_t tags = i->tag_count != 0 ? l1_tags_of(c->l1, k, fps, &born) : 0;
    if (tags != i->tag_count) { return; }
    const l1_put_spec p = { .value = value, .value_len = value_len, .stamp = stamp,
                            .deadline_ms = i->deadline_ms, .stale_ms = i->stale_ms,
                            .idle_ms = i->idle_ms, .version = i->version,
                            .value_hash = i->value_hash, .l2_addr = i->l2_addr,
                            .user_flags = i->user_flags, .kind = i->kind, .cost = i->cost,
                            .tag_fps = fps, .tag_count = tags, .tag_born = born };
    cache_tier_store(c, k, &p);
}

/* Should another change have come since, its stamp is another one: the tier refuses ours, whatever
 * was read. */
CELLAR_PRIVATE void cache_tier_store_again(cellar *c, const l1_key *k, uint64_t stamp)
{
    if (c->store->tier == NULL || c->no_disk) { return; }
    unsigned char small[CACHE_TIER_TRY];
    l1_info info;
    l1_pin_ref pin;
    const cellar_err err = l1_inspect(c->l1, k, small, sizeof small, &info, L1_PEEK);
    if (err == CELLAR_OK) {
        cache_tier_store_seen(c, k, &info, small, info.value_len, stamp);
    } else if (err == CELLAR_E_BUFFER && l1_pin(c->l1, k, &pin, L1_PEEK) == CELLAR_OK) {
        cache_tier_store_seen(c, k, &info, pin.value, pin.value_len, stamp);
        l1_unpin_slot(c->l1, pin.slot);
    }
}

#define CACHE_STORE_PATIENCE_NS UINT64_C(1000000000)

CELLAR_PRIVATE bool cache_tier_store_now(cellar *c, const l1_key *k, const l1_put_spec *p)
{
    const cache_store *s = c->store;
    const cache_tier *t = s->tier;
    const cache_tier_key key = { k->bytes, k->len, k->hash, c->id, k->owner };
    const cache_tier_meta m = cache_tier_meta_of(c, k, p);
    const uint64_t until_ns = base_now_ns() + CACHE_STORE_PATIENCE_NS;
    for (;;) {
        const cellar_err err = t->put(t->ctx, &key, p->value, p->value_len, &m, p->stamp);
        if (err == CELLAR_OK || s->tier == NULL) { return true; } /* NULL: in there it was forked */
        if (err == CELLAR_REFUSED) { /* a newer change has its own promise; else not wanted */
            return !s->tier_host.stamp_is(s->tier_host.ctx, k->hash, p->stamp);
        }
        if (base_now_ns() >= until_ns) { return false; }
        if (t->tick != NULL) { (void)t->tick(t->ctx, 1000); } else { base_sleep_ns(1000000); }
    }
}

CELLAR_PRIVATE cellar_err cache_tier_commit(cellar *c, cellar_err err)
{
    const cache_tier *t = c->store->tier;
    if (t == NULL) { return err; } /* the child of a fork since the change: it has memory alone */
    if (t->commit(t->ctx) == CELLAR_OK || err < 0) { return err; }
    return cache_fail(c, CELLAR_E_IO, 0,
                      "the change is in memory, but a power cut may take it back: the disk failed");
}

CELLAR_API cellar_err cellar_sync(cellar *c)
{
    if (c == NULL) { return CELLAR_E_INVAL; }
    if (cache_is_closed(c)) { return cache_closed(c); }
    const cache_store *s = c->store;
    if (s->tier == NULL || s->tier->sync == NULL) { return CELLAR_DISABLED; }
    const cellar_err err = s->tier->sync(s->tier->ctx, 0);
    if (err != CELLAR_OK) { return cache_fail(c, err, 0, "cellar_sync: the disk failed"); }
    return CELLAR_OK;
}
