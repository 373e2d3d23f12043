/* SPDX-License-Identifier: MIT
 *
 * watch: values that come back as they were after their time was over: their TTL is too short.
 *
 * PICTURE    view option watch_unchanged: each record carries a hash of its value.
 *            expired and swept (L1's window) -> place {key hash, value hash}
 *            stored again: the hash of the expired record it took the place of, or of the place
 *                 -> one reload more; the same hash: one unchanged more
 * INVARIANTS a reload is counted once: who takes a place empties it. What is counted was looked up
 *            under the key's full 64-bit hash; a stranger's place is believed with 2^-64.
 * LOCKING    none. A place is two words, the key's written last and read first and last; two
 *            threads that write one place at one time may mix their values: the next reload of one
 *            of them is then "changed", at worst.
 * LIMITS     4,096 places (a 16,384th of the budget, at least 64), taken when the first view asks
 *            for it: of what expired more than so many keys ago nothing is counted, so the share
 *            of reloads is right and their number a lower bound. A value under 64 bits of a keyed
 *            hash is the same with probability 1 - 2^-64.
 *            Not modified, by a loader's own word, is no reload: nothing was fetched. */
#include <string.h>

#include "cache/cache_int.h"

#define CACHE_WATCH_MOST 4096u
#define CACHE_WATCH_LEAST 64u

typedef struct cache_watch_place {
    _Atomic uint64_t key, value; /* key 0: empty */
} cache_watch_place;

struct cache_watch {
    uint32_t mask;
    cache_watch_place place[];
};

static size_t cache_watch_bytes(uint32_t mask)
{
    return sizeof(cache_watch) + (mask + (size_t)1) * sizeof(cache_watch_place);
}

CELLAR_PRIVATE bool cache_watch_open(cache_store *s)
{
    if (base_load_acq(&s->watch) != NULL) { return true; }
    const uint64_t budget = base_load_rlx(&s->account.limit);
    const uint32_t mask = (uint32_t)base_clamp(base_pow2_floor(budget / 16384), CACHE_WATCH_LEAST,
                                               CACHE_WATCH_MOST) - 1;
    cache_watch *w = base_alloc(&s->account, BASE_MOD_VIEW, cache_watch_bytes(mask), NULL);
    if (w == NULL) { return false; }
    w->mask = mask;
    if (!base_cas_ar(&s->watch, (cache_watch *)NULL, w)) { /* another view's, just now */
        base_free(&s->account, BASE_MOD_VIEW, w, cache_watch_bytes(mask));
    }
    return true;
}

CELLAR_PRIVATE void cache_watch_close(cache_store *s)
{
    cache_watch *w = base_load_rlx(&s->watch);
    if (w == NULL) { return; }
    base_free(&s->account, BASE_MOD_VIEW, w, cache_watch_bytes(w->mask));
    base_store_rlx(&s->watch, (cache_watch *)NULL);
}

static cache_watch_place *cache_watch_at(cache_watch *w, uint64_t hash)
{
    return &w->place[base_mix64(hash) & w->mask];
}

CELLAR_PRIVATE void cache_watch_expired(cache_store *s, uint64_t hash, uint64_t value_hash)
{
    cache_watch *w = base_load_acq(&s->watch);
    if (w == NULL || hash == 0) { return; }
    cache_watch_place *p = cache_watch_at(w, hash);
    base_store_rlx(&p->key, (uint64_t)0);
    base_store_rel(&p->value, value_hash);
    base_store_rel(&p->key, hash); /* acquire in cache_watch_take */
}

/* What the key's value was when it expired; 0: not known. */
static uint64_t cache_watch_take(cache_watch *w, uint64_t hash)
{
    cache_watch_place *p = cache_watch_at(w, hash);
    if (hash == 0 || base_load_acq(&p->key) != hash) { return 0; }
    const uint64_t value = base_load_acq(&p->value);
    return base_cas_ar(&p->key, hash, (uint64_t)0) ? value : 0;
}

CELLAR_PRIVATE void cache_watch_stored(cellar *c, const l1_key *k, const l1_put_spec *p)
{
    cache_watch *w = base_load_acq(&c->store->watch);
    if (w == NULL || p->kind == (uint8_t)L1_ERROR) { return; }
    uint64_t was = cache_watch_take(w, k->hash);
    if (p->gone == L1_GONE_EXPIRED) {
        was = p->gone_hash;
    } else if (p->gone != L1_GONE_NOTHING) {
        was = 0; /* a later value was there: that one has not expired */
    }
    if (was == 0) { return; }
    stats_block *mine = stats_mine(c->stats, c->slot);
    stats_add(mine, STATS_TTL_RELOAD, 1);
    if (was == p->value_hash) { stats_add(mine, STATS_TTL_UNCHANGED, 1); }
}
