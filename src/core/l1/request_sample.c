/* SPDX-License-Identifier: MIT
 *
 * request_sample: collect requests for sampled keys in small rings until the shadow caches take
 * them.
 *
 * PICTURE    get: hash < limit? -> l1_sampled -> the ring of this thread: 8 keys with counts
 *                 -> full: pass the whole ring to the shadow caches (policy_select.c)
 *            Repeats of one key collapse into a count, so one hot key takes one place.
 * INVARIANTS The top bits of the hash decide whether a key is sampled. They are the fingerprint of
 *            the key and place nothing, so the sample spreads over all buckets and stripes. The
 *            32 bits that name a key in the sample come from a second mix of the hash.
 * LOCKING    One flag for each ring, taken by exchange; no thread waits for it. If the flag is
 *            taken, or the ring is full and the shadow caches are busy, the request is dropped and
 *            counted. A get of a key that is not sampled costs one compare.
 * LIMITS     1 ring up to 64 entries, 8 up to 4,000, 16 up to 16,000, then 64: the rings are
 *            charged to the budget.
 * SEE ALSO   README.md: rejected ring sizes. */
#include "l1/policy.h"

typedef struct l1_ring {
    _Atomic uint32_t busy; /* 1 while a thread writes or drains the ring; guards all */
    l1_asked asked;
} l1_ring;
_Static_assert(sizeof(l1_ring) == 64, "a ring is a line");

struct l1_samples {
    uint32_t mask;
    size_t bytes;  /* size of the block that holds this struct */
    l1_ring *ring; /* aligned by hand behind this struct */
};
_Static_assert(sizeof(struct l1_samples) <= sizeof(l1_ring), "it takes the place of a ring");

BASE_SIZE_BEGIN

static uint32_t l1_rings(uint64_t entries)
{
    return entries <= 64 ? 1u : entries <= 4000 ? 8u : entries <= 16000 ? 16u : 64u;
}

CELLAR_PRIVATE bool l1_samples_open(l1 *c)
{
    const uint64_t entries = l1_entries_of(c, base_load_rlx(&c->account->limit));
    const uint32_t rings = l1_rings(entries);
    const size_t bytes = (rings + 2) * sizeof(l1_ring); /* the struct, and a part to align */
    if (base_load_acq(&c->samples) == NULL) {
        struct l1_samples *s =
            entries < 2 ? NULL : base_alloc_held(c->account, BASE_MOD_SHADOW, bytes, NULL);
        if (s == NULL) { return false; }
        s->mask = rings - 1;
        s->bytes = bytes;
        s->ring =
            (l1_ring *)(uintptr_t)base_round_up((uint64_t)(uintptr_t)(s + 1), sizeof(l1_ring));
        if (!base_cas_ar(&c->samples, (struct l1_samples *)NULL, s)) {
            base_free(c->account, BASE_MOD_SHADOW, s, bytes);
        }
    }
    return l1_shadow_open(c, entries, bytes);
}

CELLAR_PRIVATE void l1_samples_fit(l1 *c, uint64_t entries)
{
    const struct l1_samples *s = base_load_acq(&c->samples);
    if (s != NULL) { l1_shadow_resize(c, entries, s->bytes); }
    l1_shadow_refit(c);
}

CELLAR_PRIVATE void l1_samples_close(l1 *c)
{
    struct l1_samples *s = base_load_rlx(&c->samples);
    if (s != NULL) { base_free(c->account, BASE_MOD_SHADOW, s, s->bytes); }
}

BASE_SIZE_END

CELLAR_PRIVATE void l1_sampled(l1 *c, uint64_t hash, uint32_t generation)
{
    struct l1_samples *s = base_load_acq(&c->samples);
    if (s == NULL) { return; }
    l1_ring *r = &s->ring[base_thread_self()->index & s->mask];
    l1_asked *a = &r->asked;
    const uint32_t key = (uint32_t)base_mix64(hash ^ UINT64_C(0x8f1bbcdc6a09e667));
    if (base_xchg_ar(&r->busy, 1u) != 0) {
        base_add_rlx(&c->sample_dropped, (uint64_t)1);
        return;
    }
    uint32_t i = a->n;
    while (i > 0 && a->key[i - 1] != key) { i--; }
    if (i > 0 && a->count[i - 1] != UINT8_MAX) {
        a->count[i - 1]++;
    } else {
        BASE_ASSERT(a->n < L1_ASKED_KEYS);
        a->key[a->n] = key;
        a->namespace[a->n] =
            (uint16_t)(c->hooks.namespace_of != NULL /* <= L1_NO_NAMESPACE, which fits */
                           ? c->hooks.namespace_of(c->hooks.ctx, generation)
                           : L1_NO_NAMESPACE);
        BASE_POINT("l1.sample.noted");
        a->count[a->n++] = 1;
        if (a->n == L1_ASKED_KEYS) {
            if (!l1_shadow_feed(c, a)) { base_add_rlx(&c->sample_dropped, L1_ASKED_KEYS); }
            a->n = 0;
        }
    }
    base_store_rel(&r->busy, 0u);
}
