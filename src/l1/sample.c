/* SPDX-License-Identifier: MIT
 *
 * sample: requests for sampled keys, kept in small rings until somebody drains them.
 *
 * PICTURE    64 rings; a thread writes to the one its number names. A ring is 64 x {mixed hash,
 *            count}: repeats of one key collapse into a count, so that one hot key costs one entry.
 * LOCKING    a flag per ring, taken by exchange and never waited for: busy or full, the request is
 *            dropped and counted. A miss of the sample costs nothing but one compare in get. */
#include <string.h>

#include "l1/l1_int.h"

#define L1_RINGS 64
#define L1_RING_KEYS 64
#define L1_RING_LOOK 8 /* newest entries looked at for a repeat */

typedef struct l1_ring {
    _Atomic
        uint32_t busy BASE_ALIGNED(BASE_PAD); /* 1 while somebody writes or drains; guards all */
    uint32_t n;
    uint32_t key[L1_RING_KEYS];
    uint32_t count[L1_RING_KEYS];
} l1_ring;

struct l1_samples {
    l1_ring ring[L1_RINGS];
    _Atomic uint64_t dropped;
};

CELLAR_PRIVATE void l1_sample(l1 *c, uint32_t limit)
{
    if (limit != 0 && base_load_acq(&c->samples) == NULL) {
        struct l1_samples *s = base_alloc(c->account, BASE_MOD_SHADOW, sizeof *s, NULL);
        if (s == NULL) { return; }
        if (!base_cas_ar(&c->samples, (struct l1_samples *)NULL, s)) {
            base_free(c->account, BASE_MOD_SHADOW, s, sizeof *s);
        }
    }
    base_store_rel(&c->sample_limit, limit);
}

CELLAR_PRIVATE void l1_samples_close(l1 *c)
{
    base_free(c->account, BASE_MOD_SHADOW, base_load_rlx(&c->samples), sizeof(struct l1_samples));
}

CELLAR_PRIVATE uint64_t l1_sample_dropped(const l1 *c)
{
    struct l1_samples *s = base_load_acq(&c->samples);
    return s == NULL ? 0 : base_load_rlx(&s->dropped);
}

CELLAR_PRIVATE void l1_sample_note(l1 *c, uint32_t mixed)
{
    struct l1_samples *s = base_load_acq(&c->samples);
    if (s == NULL) { return; }
    l1_ring *r = &s->ring[base_self()->index % L1_RINGS];
    if (base_xchg_ar(&r->busy, 1u) != 0) {
        base_add_rlx(&s->dropped, (uint64_t)1);
        return;
    }
    uint32_t from = r->n > L1_RING_LOOK ? r->n - L1_RING_LOOK : 0, i;
    for (i = r->n; i > from && r->key[i - 1] != mixed; i--) { }
    if (i > from) {
        r->count[i - 1]++;
    } else if (r->n < L1_RING_KEYS) {
        r->key[r->n] = mixed;
        r->count[r->n++] = 1;
    } else {
        base_add_rlx(&s->dropped, (uint64_t)1);
    }
    base_store_rel(&r->busy, 0u);
}

CELLAR_PRIVATE bool l1_sample_drain(l1 *c, void (*fn)(void *ctx, uint32_t mixed, uint32_t count),
                                    void *ctx)
{
    struct l1_samples *s = base_load_acq(&c->samples);
    bool all = true;
    for (unsigned i = 0; s != NULL && i < L1_RINGS; i++) {
        l1_ring *r = &s->ring[i];
        uint32_t key[L1_RING_KEYS], count[L1_RING_KEYS];
        if (base_xchg_ar(&r->busy, 1u) != 0) {
            all = false;
            continue;
        }
        const uint32_t n = r->n;
        memcpy(key, r->key, n * sizeof *key);
        memcpy(count, r->count, n * sizeof *count);
        r->n = 0;
        base_store_rel(&r->busy, 0u);
        for (uint32_t j = 0; j < n; j++) { fn(ctx, key[j], count[j]); }
    }
    return all;
}
