/* SPDX-License-Identifier: MIT
 *
 * tier_table: attach the table of a program as a shared tier, and serve its calls of the host.
 *
 * PICTURE    cellar_tier_attach -> cache_shared -> list of the store -> `attached` -> tier of the
 *            namespace -> clear in memory. With `tick` it is a queue: a tier of kind BEHIND, not in
 *            the list.
 * INVARIANTS A call of the host finds its namespace by slot and id: a dropped one takes no change.
 *            `attached` runs before the first call of another function of the table.
 * LOCKING    NAMESPACE, briefly, to find the namespace. `attaching` lets one thread attach.
 * SEE ALSO   cache/shared.c (calls of the table), tier_attach.c, include/cellar_tier.h. */
#include "cache/call.h"
#include "cache/change_shared.h"
#include "cache/clear.h"
#include "cache/error.h"
#include "cache/handle.h"
#include "cache/shared.h"
#include "cache/tags.h"
#include "cache/write_order.h"
#include "loading/load_shared.h"
#include "store/tier_attach.h"

BASE_SIZE_BEGIN

/* ---- host ---- */

/* Hold the namespace of a table; NULL: it was dropped. cache_table_leave ends it. */
static cellar *cache_table_enter(const cache_shared *h)
{
    cache_store *s = h->store;
    sync_take(NAMESPACE, &s->namespace_lock);
    cellar *c = cache_namespace_at(s, h->slot);
    if (c != NULL &&
        (c->id != h->id || base_load_rlx(&c->dropped) || !cache_namespace_hold(c))) { c = NULL; }
    sync_drop(NAMESPACE, &s->namespace_lock);
    base_thread_self()->in_tier += c != NULL;
    return c;
}

static void cache_table_leave(cellar *c)
{
    base_thread_self()->in_tier--;
    cache_namespace_release(c);
}

static int64_t cache_table_now(void *ctx)
{
    const cache_shared *h = ctx;
    return base_now_ms(&h->store->clock);
}

static uint64_t cache_table_tag_fp(void *ctx, const void *tag, size_t len)
{
    const cache_shared *h = ctx;
    return base_hash(&h->store->hash_key, CACHE_SALT_TAG, tag, len);
}

/* Wake the loads that wait for another process: of one key, or with hash 0 of all. */
static void cache_table_ring(cellar *c, cache_shared *h, uint64_t hash)
{
    cache_store *s = c->store;
    (void)base_add_sc(&s->shared_bell, 1u);
    sync_wake(&s->shared_bell, INT32_MAX);
    if (base_load_sc(&h->leases_used) == 0 || !cache_load_begin(c)) { return; }
    cache_tier_lease_wake(h, hash, false);
    cache_load_end(s);
}

static void cache_table_changed(void *ctx, const void *key, size_t len)
{
    cellar *c = cache_key_bad(key, len) ? NULL : cache_table_enter(ctx);
    if (c == NULL) { return; }
    l1_key k;
    cache_key(c, &k, key, len);
    cache_shared_changed(c, &k);
    cache_table_ring(c, ctx, k.hash);
    cache_table_leave(c);
}

static void cache_table_ended(void *ctx, uint32_t mode)
{
    cache_shared *h = ctx;
    cellar *c = cache_table_enter(h);
    if (c == NULL) { return; }
    if (mode == CELLAR_TAG_SOFT && h->life != 0) {
        (void)cache_tag_invalidate(c->store, h->life, true);
    } else {
        (void)cache_clear_here(c, CELLAR_CAUSE_REMOTE);
    }
    cache_table_ring(c, h, 0);
    cache_table_leave(c);
}

static void cache_table_tag_ended(void *ctx, const void *tag, size_t len, uint32_t mode)
{
    const cache_shared *h = ctx;
    if (len == 0 || len > CELLAR_TAG_MAX) { return; }
    cellar *c = cache_table_enter(h); /* a dropped one may tell the store, too */
    cache_tag_delete(c != NULL ? c : h->store->root, tag, len, mode);
    if (c != NULL) { cache_table_leave(c); }
}

static void cache_table_proven(void *ctx, int64_t until_ms)
{
    cache_shared *h = ctx;
    const int64_t gone_ms = BASE_MIN(base_load_rlx(&h->gone_ms), cache_table_now(h));
    base_store_rlx(&h->gone_ms, until_ms != 0 ? until_ms : gone_ms);
    const bool counts = h->t.proof != CELLAR_TIER_PROOF_NONE || until_ms < 0;
    cellar *c = counts ? cache_table_enter(h) : NULL;
    if (c == NULL) { return; }
    base_store_rlx(&c->proven_ms, until_ms);
    cache_table_leave(c);
}

static uint64_t cache_table_epoch(void *ctx)
{
    const cache_shared *h = ctx;
    return cache_tag_epoch_next(h->store);
}

static void cache_table_answered(void *ctx, const cellar_tier_ticket *ticket,
                                 const cellar_tier_key *key, cellar_err err, const void *value,
                                 size_t value_len, const cellar_tier_entry *entry)
{
    cache_shared *h = ctx;
    const cellar_tier_ticket t = *ticket; /* the tier may use its memory for the next request */
    cache_found m = {0};
    if ((err == CELLAR_LEASED || err == CELLAR_PENDING) && entry != NULL && h->leases != NULL) {
        cellar *c = cache_table_enter(h);
        const bool open = c != NULL && cache_load_begin(c);
        const bool late = !open && err == CELLAR_LEASED && cache_load_begin(h->store->root);
        if (open) {
            cache_tier_lease_answered(c, h, &t, key, err, value, entry->deadline_ms);
        } else if (late) { /* the namespace was dropped, and the store is open */
            h->t.unlease(h->t.ctx, key, value);
        }
        if (open || late) { cache_load_end(h->store); }
        if (c != NULL) { cache_table_leave(c); }
        return;
    }
    if (entry != NULL) { cache_shared_meta(h, entry, t.born, &m); }
    base_thread_self()->in_tier++;
    cache_tier_answered(h->store, &t, key->bytes, key->len,
                        entry != NULL || err < 0 ? err : CELLAR_MISS, value, value_len, &m);
    base_thread_self()->in_tier--;
}

static int64_t cache_table_patience(void *ctx)
{
    cellar *c = cache_table_enter(ctx);
    if (c == NULL) { return BASE_NEVER_MS; }
    const int64_t hard_ms = base_load_rlx(&c->load_ms[CACHE_HARD]);
    const int64_t wait_ms = base_load_rlx(&c->load_ms[CACHE_WAIT]);
    cache_table_leave(c);
    return wait_ms != 0 ? BASE_MIN(hard_ms, wait_ms) : hard_ms;
}

static void *cache_table_alloc(void *ctx, size_t size)
{
    const cache_shared *h = ctx;
    return base_alloc(&h->store->account, BASE_MOD_STORE, size, NULL);
}

static void cache_table_release(void *ctx, void *p, size_t size)
{
    const cache_shared *h = ctx;
    if (p != NULL) { base_free(&h->store->account, BASE_MOD_STORE, p, size); }
}

/* ---- a queue of writes ---- */

static void cache_queue_changed(void *ctx, const void *key, size_t len)
{
    cellar *c = cache_table_enter(ctx);
    if (c == NULL) { return; }
    cache_tier_changed(c->store, base_load_acq(&c->generation), key, len);
    cache_table_leave(c);
}

static cellar_err cache_queue_get(void *ctx, const l1_key *k, void *buf, size_t buf_cap,
                                  size_t *value_len, l2_meta *m)
{
    const cache_shared *h = ctx;
    const cellar_tier_key key = cache_shared_key(k->bytes, k->len, k->hash);
    cellar_tier_entry e = { .deadline_ms = BASE_NEVER_MS };
    m->tag_born = base_load_acq(&h->store->tag_epoch);
    const cellar_err err = h->t.get(h->t.ctx, &key, buf, buf_cap, value_len, &e);
    m->deadline_ms = e.deadline_ms;
    m->stale_ms = (uint32_t)e.stale_ms;
    m->user_flags = e.user_flags;
    m->cost = (uint8_t)e.cost;
    m->tag_count = BASE_MIN(e.tag_count, CELLAR_TAGS_MAX);
    memcpy(m->tags, e.tag_fp, m->tag_count * sizeof m->tags[0]);
    return err;
}

static cellar_err cache_queue_put(void *ctx, const l1_key *k, const l1_put_spec *p,
                                  int64_t deadline_ms)
{
    const cache_shared *h = ctx;
    const cellar_tier_key key = cache_shared_key(k->bytes, k->len, k->hash);
    const bool keeps = (p->flags & L1_KEEP_TTL) != 0;
    cellar_tier_entry e = { .deadline_ms = deadline_ms,
                            .stale_ms = keeps ? p->kept.stale_ms : p->stale_ms,
                            .user_flags = p->user_flags, .tag_count = p->tag_count,
                            .cost = p->cost };
    if (p->tag_count != 0) { memcpy(e.tag_fp, p->tag_fps, p->tag_count * sizeof e.tag_fp[0]); }
    return p->kind != 0 ? h->t.remove(h->t.ctx, &key, NULL)
                        : h->t.put(h->t.ctx, &key, p->value, p->value_len, &e);
}

/* End the value that is in memory alone: the source will not get it. */
static void cache_queue_lost(void *ctx, const l1_key *k)
{
    const cache_shared *h = ctx;
    cache_tier_changed(h->store, k->generation, k->bytes, k->len);
}

static bool cache_queue_tick(void *ctx, uint64_t budget_us)
{
    const cache_shared *h = ctx;
    return h->t.tick(h->t.ctx, budget_us);
}

static void cache_queue_close(void *ctx, int64_t deadline_ms)
{
    cache_shared *h = ctx;
    if (h->t.close != NULL) { h->t.close(h->t.ctx, deadline_ms); }
    cache_shared_free(h);
}

static cellar_err cache_queue_join(cellar *c, cache_shared *h)
{
    h->host = (cellar_tier_host){
        .struct_size = sizeof h->host, .ctx = h, .name = h->name, .now_ms = cache_table_now,
        .changed = cache_queue_changed, .alloc = cache_table_alloc,
        .release = cache_table_release, .store = h->store,
        .max_value_bytes = l1_max_value(h->store->l1),
    };
    h->tier = (cache_tier){ .kind = CACHE_TIER_BEHIND, .ctx = h, .get = cache_queue_get,
                            .put = cache_queue_put, .lost = cache_queue_lost,
                            .tick = cache_queue_tick, .close = cache_queue_close };
    const cellar_err err = h->t.attached(h->t.ctx, &h->host);
    if (err == CELLAR_OK) { cache_tier_set(c, &h->tier); }
    return err;
}

/* ---- attach ---- */

/* Return the rule that a table breaks; NULL: none. */
static const char *cache_table_check(const cellar_tier_table *t)
{
    if (t->attached == NULL || t->get == NULL || t->put == NULL || t->remove == NULL) {
        return "cellar_tier_attach: attached, get, put and remove must be set";
    }
    if (t->lease != NULL && (t->fill == NULL || t->unlease == NULL)) {
        return "cellar_tier_attach: with lease, fill and unlease must be set";
    }
    if (t->ask_lease != NULL && (t->lease == NULL || t->ask == NULL)) {
        return "cellar_tier_attach: with ask_lease, lease and ask must be set";
    }
    if (t->max_ttl_ms < 0 || t->alone_ms < 0) {
        return "cellar_tier_attach: max_ttl_ms and alone_ms must be 0 or more";
    }
    return t->blind_fill > 1 || t->proof > CELLAR_TIER_PROOF_STALE
               ? "cellar_tier_attach: blind_fill must be 0 or 1, proof 0..2" : NULL;
}

/* Copy and check a table. */
static cellar_err cache_table_read(cellar *c, const cellar_tier_table *t, cellar_tier_table *out)
{
    const cellar_err err = base_opts_in(out, sizeof *out, t);
    if (err != CELLAR_OK) {
        return cache_fail(c, err, 0,
                          "cellar_tier_attach: start from cellar_tier_table_default()");
    }
    if (out->tick != NULL ? !CACHE_HAS_BEHIND : !CACHE_HAS_SHARED) {
        return cache_fail(c, CELLAR_E_UNSUPPORTED, 0,
                          "cellar_tier_attach: this library has no shared tiers, or no queues");
    }
    const char *const why = cache_table_check(out);
    if (why != NULL) { return cache_refuse(c, why); }
    if (c->secret && out->tick == NULL) {
        return cache_fail(c, CELLAR_E_UNSUPPORTED, 0, "cellar_tier_attach: a hidden namespace");
    }
    return CELLAR_OK;
}

/* Let memory answer only while the table proves that it heard all changes. */
static void cache_table_proof(cellar *c, cellar_tier_proof proof)
{
    c->proof_stale = proof == CELLAR_TIER_PROOF_STALE;
    base_store_rlx(&c->proven_ms, proof == CELLAR_TIER_PROOF_NONE ? BASE_NEVER_MS : (int64_t)0);
    sync_take(NAMESPACE, &c->store->namespace_lock);
    base_store_rel(&c->state, base_load_rlx(&c->state) | CACHE_PROOF);
    sync_drop(NAMESPACE, &c->store->namespace_lock);
}

/* Attach the table. One thread at a time. */
static cellar_err cache_table_join(cellar *c, const cellar_tier_table *t)
{
    cache_store *s = c->store;
    if (cache_tier_of(c) != NULL) { return CELLAR_E_BUSY; }
    if ((base_load_acq(&s->shared) == NULL || t->tick != NULL) &&
        base_load_rlx(&s->tier_count) == CACHE_TIERS_MAX) { return CELLAR_E_LIMIT; }
    cache_shared *h = cache_tier_ready(s) ? cache_shared_new(c, t) : NULL;
    if (h == NULL) { return CELLAR_E_NOMEM; }
    if (t->tick != NULL) {
        const cellar_err err = cache_queue_join(c, h);
        if (err != CELLAR_OK) { cache_shared_free(h); }
        return err;
    }
    h->tier.put_if = cache_put_shared;
    h->tier.increment = cache_increment_shared;
    h->tier.touch = cache_touch_shared;
    h->host = (cellar_tier_host){
        .struct_size = sizeof h->host, .ctx = h, .name = h->name, .now_ms = cache_table_now,
        .tag_fp = cache_table_tag_fp, .changed = cache_table_changed, .ended = cache_table_ended,
        .tag_ended = cache_table_tag_ended, .epoch = cache_table_epoch,
        .proven = cache_table_proven, .answered = cache_table_answered,
        .alloc = cache_table_alloc, .release = cache_table_release, .store = s,
        .max_value_bytes = l1_max_value(s->l1), .patience_ms = cache_table_patience,
    };
    cache_write_order_use(s);
    const cellar_err taken = t->attached(t->ctx, &h->host);
    if (taken != CELLAR_OK) {
        cache_shared_free(h);
        return taken;
    }
    cache_shared_add(h);
    base_store_rlx(&c->tier, &h->tier);
    cache_carries_write(c);
    cache_table_proof(c, t->proof);
    return CELLAR_OK;
}

CELLAR_API cellar_err cellar_tier_attach(cellar *c, const cellar_tier_table *t)
{
    cellar_tier_table full;
    if (c == NULL || t == NULL) { return cache_refuse(c, "cellar_tier_attach: t is NULL"); }
    if (cache_no_bytes(c)) { return cache_closed(c, __func__); }
    cellar_err err = cache_table_read(c, t, &full);
    if (err != CELLAR_OK) { return err; }
    sync_role_take(&c->store->attaching);
    err = cache_table_join(c, &full);
    sync_role_drop(&c->store->attaching);
    if (err == CELLAR_OK) { return cache_clear_here(c, CELLAR_CAUSE_CLEARED); }
    return cache_fail(c, err, 0, err == CELLAR_E_BUSY
                                     ? "cellar_tier_attach: the namespace has a tier: open it "
                                       "with tier CELLAR_TIER_L1"
                                     : "cellar_tier_attach: no memory, too many tiers, or refused "
                                       "by the tier");
}

BASE_SIZE_END
