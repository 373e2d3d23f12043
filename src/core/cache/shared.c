/* SPDX-License-Identifier: MIT
 *
 * shared: the table of cellar_tier_attach as a tier of one namespace.
 *
 * PICTURE    namespace -> cache_shared {cache_tier, table of the program} -> next -> ..
 *            store: the first cache_tier for all of them: close, fork
 * INVARIANTS The list only grows while the store is open.
 *            A clear or a deleted tag reaches the table before memory: a read that begins behind
 *            the change in memory then finds it in the tier, too.
 * LOCKING    None: the head of the list is one word. `attaching` orders its writers.
 * SEE ALSO   store/tier_table.c (attach, host functions), change.c. */
#include "cache/shared.h"

#include "cache/tier_calls.h"

BASE_SIZE_BEGIN

/* ---- one key ---- */

CELLAR_PRIVATE int64_t cache_shared_until(const cache_shared *h, int64_t deadline_ms)
{
    if (h->t.max_ttl_ms == 0) { return deadline_ms; }
    const int64_t now_ms = base_now_ms(&h->store->clock);
    return BASE_MIN(deadline_ms, base_add_sat(now_ms, h->t.max_ttl_ms));
}

CELLAR_PRIVATE void cache_shared_meta(const cache_shared *h, const cellar_tier_entry *e,
                                      uint64_t born, cache_found *found)
{
    l2_meta *m = &found->e;
    m->deadline_ms = cache_shared_until(h, e->deadline_ms);
    m->stale_ms = (uint32_t)BASE_MIN(BASE_MAX(e->stale_ms, 0), CACHE_WINDOW_MAX);
    m->version = e->check;
    m->tag_born = born;
    m->tag_count = BASE_MIN(e->tag_count, CELLAR_TAGS_MAX);
    memcpy(m->tags, e->tag_fp, m->tag_count * sizeof m->tags[0]);
    m->user_flags = e->user_flags;
    m->cost = (uint8_t)BASE_MIN(e->cost, 255u);
    found->passing = (e->flags & CELLAR_TIER_NO_KEEP) != 0;
    found->order = e->born;
}

CELLAR_PRIVATE cellar_err cache_shared_get(const cache_shared *h, const l1_key *k, void *buf,
                                           size_t buf_cap, size_t *value_len, cache_found *m)
{
    const cellar_tier_key key = cache_shared_key(k->bytes, k->len, k->hash);
    const uint64_t born = base_load_acq(&h->store->tag_epoch);
    cellar_tier_entry e = { .deadline_ms = BASE_NEVER_MS };
    base_thread_self()->in_tier++;
    const cellar_err err = h->t.get(h->t.ctx, &key, buf, buf_cap, value_len, &e);
    base_thread_self()->in_tier--;
    cache_shared_meta(h, &e, born, m);
    return err;
}

CELLAR_PRIVATE bool cache_shared_ask(const cache_shared *h, const l1_key *k,
                                     const cellar_tier_ticket *ticket)
{
    const cellar_tier_key key = cache_shared_key(k->bytes, k->len, k->hash);
    return h->t.ask(h->t.ctx, &key, ticket);
}

CELLAR_PRIVATE cellar_tier_entry cache_shared_entry(const l1_put_spec *p)
{
    cellar_tier_entry e = { .deadline_ms = p->deadline_ms, .stale_ms = p->stale_ms,
                            .user_flags = p->user_flags, .cost = p->cost, .tags = p->tag_text,
                            .tag_count = p->tag_text != NULL ? p->tag_count : 0,
                            .born = p->tag_born };
    if (p->kind == (uint8_t)L1_NEGATIVE) { e.flags |= CELLAR_TIER_NEGATIVE; }
    return e;
}

CELLAR_PRIVATE cellar_err cache_shared_put(cache_shared *h, const l1_key *k, const l1_put_spec *p)
{
    const cellar_tier_key key = cache_shared_key(k->bytes, k->len, k->hash);
    cellar_tier_entry e = cache_shared_entry(p);
    return h->t.put(h->t.ctx, &key, p->value, p->value_len, &e);
}

CELLAR_PRIVATE cellar_err cache_shared_fill(const cache_shared *h, const l1_key *k,
                                            const l1_put_spec *p, const cellar_tier_lease *l,
                                            uint64_t *order)
{
    const cellar_tier_key key = cache_shared_key(k->bytes, k->len, k->hash);
    cellar_tier_entry e = cache_shared_entry(p);
    const cellar_err err = h->t.fill(h->t.ctx, &key, l, p->value, p->value_len, &e);
    *order = err == CELLAR_OK ? e.born : 0;
    return err;
}

CELLAR_PRIVATE cellar_err cache_shared_remove(cache_shared *h, const l1_key *k)
{
    const cellar_tier_key key = cache_shared_key(k->bytes, k->len, k->hash);
    return h->t.remove(h->t.ctx, &key, NULL);
}

CELLAR_PRIVATE uint32_t cache_shared_tags(const cache_shared *h, const uint64_t *fps,
                                          uint32_t count, uint64_t out[BASE_TAGS_MAX])
{
    BASE_ASSERT(count < BASE_TAGS_MAX);
    out[0] = h->life;
    if (count != 0) { memcpy(out + 1, fps, count * sizeof out[0]); }
    return count + 1;
}

/* ---- many keys ---- */

CELLAR_PRIVATE cellar_err cache_shared_clear(const cellar *c)
{
    const cache_shared *h = cache_shared_of(c);
    return h != NULL && h->t.clear != NULL ? h->t.clear(h->t.ctx) : CELLAR_OK;
}

/* Return the more serious code: an error, else DEFERRED, else OK. */
static cellar_err shared_worse(cellar_err a, cellar_err b) { return b < 0 || a == 0 ? b : a; }

CELLAR_PRIVATE cellar_err cache_shared_tag(cache_store *s, const void *tag, size_t len,
                                           uint32_t mode)
{
    cellar_err said = CELLAR_OK;
    for (cache_shared *h = base_load_acq(&s->shared); h != NULL; h = h->next) {
        if (h->t.tag != NULL) { said = shared_worse(said, h->t.tag(h->t.ctx, tag, len, mode)); }
    }
    return said;
}

/* ---- life ---- */

static void shared_close(void *ctx, int64_t deadline_ms)
{
    const cache_shared *first = ctx;
    const cache_store *s = first->store;
    for (cache_shared *h = base_load_acq(&s->shared); h != NULL; h = h->next) {
        if (h->t.close != NULL) { h->t.close(h->t.ctx, deadline_ms); }
    }
}

static void shared_forked(void *ctx)
{
    const cache_shared *first = ctx;
    const cache_store *s = first->store;
    for (cache_shared *h = base_load_acq(&s->shared); h != NULL; h = h->next) {
        if (h->t.forked != NULL) { h->t.forked(h->t.ctx); }
    }
}

CELLAR_PRIVATE cache_shared *cache_shared_new(cellar *c, const cellar_tier_table *t)
{
    cache_store *s = c->store;
    cache_shared *h = base_alloc(&s->account, BASE_MOD_STORE, sizeof *h, NULL);
    if (h == NULL) { return NULL; }
    h->t = *t;
    h->store = s;
    h->slot = c->slot;
    h->id = c->id;
    base_store_rlx(&h->gone_ms, BASE_NEVER_MS);
    if (t->proof == CELLAR_TIER_PROOF_STALE) {
        h->life = base_hash(&s->hash_key, CACHE_SALT_LIFE, &c->id, sizeof c->id) | 1u;
    }
    if (c->slot != 0) { memcpy(h->name, c->name, sizeof h->name); }
    h->requests = base_alloc(&s->account, BASE_MOD_STORE,
                             CACHE_TIER_REQUEST_SETS * sizeof *h->requests, NULL);
    if (t->ask_lease != NULL) {
        h->leases = base_alloc(&s->account, BASE_MOD_STORE,
                               CACHE_TIER_LEASE_ROWS * sizeof *h->leases, NULL);
    }
    if (h->requests == NULL || (t->ask_lease != NULL && h->leases == NULL)) {
        cache_shared_free(h);
        return NULL;
    }
    h->tier = (cache_tier){ .kind = CACHE_TIER_SHARED, .ctx = h, .close = shared_close,
                            .forked = shared_forked };
    return h;
}

CELLAR_PRIVATE void cache_shared_add(cache_shared *h)
{
    cache_store *s = h->store;
    h->next = base_load_rlx(&s->shared);
    base_fork_settle(); /* a child that sees the table sees all of it */
    base_store_rel(&s->shared, h); /* acquire in all walks */
    if (h->next == NULL) { cache_tiers_add(s, &h->tier); } /* for all of them */
}

CELLAR_PRIVATE void cache_shared_free(cache_shared *h)
{
    base_account *a = &h->store->account;
    if (h->leases != NULL) {
        for (uint32_t i = 0; i < CACHE_TIER_LEASE_ROWS; i++) {
            const cache_tier_lease_row *r = &h->leases[i];
            if (r->state == CACHE_TIER_LEASE_GRANTED) {
                base_free(a, BASE_MOD_STORE, r->key, r->key_len);
            }
        }
        base_free(a, BASE_MOD_STORE, h->leases, CACHE_TIER_LEASE_ROWS * sizeof *h->leases);
    }
    if (h->requests != NULL) {
        base_free(a, BASE_MOD_STORE, h->requests, CACHE_TIER_REQUEST_SETS * sizeof *h->requests);
    }
    base_free(a, BASE_MOD_STORE, h, sizeof *h);
}

CELLAR_PRIVATE void cache_shared_close(cache_store *s)
{
    cache_shared *h = base_load_rlx(&s->shared);
    base_store_rlx(&s->shared, (cache_shared *)NULL);
    for (cache_shared *next; h != NULL; h = next) {
        next = h->next;
        cache_shared_free(h);
    }
}

BASE_SIZE_END
