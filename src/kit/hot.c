/* SPDX-License-Identifier: MIT
 *
 * hot: ids that are read often, counted in a fixed number of bytes.
 *
 * PICTURE    256 sets of 4 slots of 64 bytes. A read is a sample with probability 1/every. A sample
 *            adds to the slot of its id. Without one it takes an empty slot, or weakens the
 *            smallest count c of the set with probability (12/13)^c, and takes that slot at 0.
 *            All counts are halved every 30 s, so a count is about the samples of the last minute.
 * INVARIANTS The bytes of an id change only while the hash of its slot is 1.
 * LOCKING    None. A writer takes a slot by compare-exchange of the hash. A reader copies a slot
 *            and keeps the copy if the hash is unchanged. Two threads may give one id two slots of
 *            its set: readers add them.
 * LIMITS     The first 48 bytes of an id are kept. A fork may leave a slot at 1 in the child: it
 *            stays unused there. Counts are estimates, except for a small threshold (every = 1).
 * SOURCE     Yang et al. 2018, HeavyKeeper: the weakening. */
#include "kit/hot.h"

#include "base/num.h"
#include "base/random.h"
#include "base/thread_record.h"

#include <string.h>

BASE_SIZE_BEGIN

#define KIT_HOT_HALF_MS 30000
#define KIT_HOT_SAMPLES 16u /* samples that decide; a lower threshold counts each read */
#define KIT_HOT_EVERY_MAX 64u
#define KIT_HOT_FIRM 200u   /* a count that is never weakened: the chance is below 2^-23 */

_Static_assert(sizeof(kit_hot_slot) == 64, "a cache line");
_Static_assert(CELLAR_STATUS_HOT_ID % 8 == 0, "ids are kept in words");

CELLAR_PRIVATE bool kit_hot_init(kit_hot *h, uint32_t reads, cellar_clock_fn clock, void *ctx)
{
    unsigned char secret[32];
    if (!base_random_bytes(secret, sizeof secret)) { return false; }
    memset(h, 0, sizeof *h);
    base_hash_key_init(&h->hash_key, BASE_HASH_FOLD, secret);
    h->clock = (base_clock){ clock, clock, ctx };
    h->every = BASE_MIN(BASE_MAX(reads / KIT_HOT_SAMPLES, 1u), KIT_HOT_EVERY_MAX);
    h->need = (reads + h->every - 1) / h->every;
    base_store_rlx(&h->halve_ms, base_add_sat(base_now_ms(&h->clock), KIT_HOT_HALF_MS));
    return true;
}

/* Halve all counts once for each period that has passed. */
static void kit_hot_halve(kit_hot *h)
{
    const int64_t now = base_coarse_ms(&h->clock), due = base_load_rlx(&h->halve_ms);
    if (now < due) { return; }
    const int64_t periods = (now - due) / KIT_HOT_HALF_MS + 1;
    if (!base_cas_ar(&h->halve_ms, due, due + periods * KIT_HOT_HALF_MS)) { return; }
    const unsigned shift = (unsigned)BASE_MIN(periods, 31);
    for (unsigned i = 0; i < KIT_HOT_SLOTS; i++) {
        kit_hot_slot *s = &h->slot[i];
        base_store_rlx(&s->count, base_load_rlx(&s->count) >> shift);
    }
}

/* Draw with the chance (12/13)^count. */
static bool kit_hot_weakens(base_thread_record *self, uint32_t count)
{
    uint64_t chance = UINT64_C(1) << 32;
    if (self->index == 0 || count >= KIT_HOT_FIRM) { return false; } /* 0: a shared generator */
    for (uint32_t i = 0; i < count; i++) { chance -= chance / 13; }
    return (base_rng_next(&self->rng) >> 32) < chance;
}

/* Give a slot to an id. Another thread may have been faster. */
static uint32_t kit_hot_take(kit_hot_slot *s, uint64_t was, uint64_t hash, const void *id,
                             size_t id_len)
{
    uint64_t words[CELLAR_STATUS_HOT_ID / 8] = { 0 };
    memcpy(words, id, BASE_MIN(id_len, sizeof words));
    if (!base_cas_ar(&s->hash, was, (uint64_t)1)) { return 0; }
    base_fence_rel(); /* a reader that sees a new word also sees another hash */
    for (unsigned i = 0; i < CELLAR_STATUS_HOT_ID / 8; i++) { base_store_rlx(&s->id[i], words[i]); }
    base_store_rlx(&s->id_len, (uint32_t)id_len);
    base_store_rlx(&s->count, 1u);
    base_store_rel(&s->hash, hash); /* acquire in kit_hot_top */
    return 1;
}

/* Add a sample. Return its count, 0: not counted. */
static uint32_t kit_hot_add(kit_hot *h, const void *id, size_t id_len)
{
    base_thread_record *const self = base_thread_self();
    uint64_t hash = base_hash(&h->hash_key, 0, id, id_len);
    if (hash < 2) { hash += 2; }
    kit_hot_slot *set = &h->slot[(hash >> 32) % (KIT_HOT_SLOTS / KIT_HOT_WAYS) * KIT_HOT_WAYS];
    kit_hot_slot *least = NULL;
    uint32_t least_count = UINT32_MAX;
    for (unsigned i = 0; i < KIT_HOT_WAYS; i++) {
        const uint64_t of = base_load_acq(&set[i].hash);
        if (of == hash) { return base_add_rlx(&set[i].count, 1u) + 1; }
        const uint32_t count = of != 0 ? base_load_rlx(&set[i].count) : 0;
        if (of != 1 && (least == NULL || count < least_count)) {
            least = &set[i];
            least_count = count;
        }
    }
    if (least == NULL) { return 0; }
    const uint64_t was = base_load_rlx(&least->hash);
    if (was == 1) { return 0; }
    if (was != 0 && least_count != 0) {
        if (!kit_hot_weakens(self, least_count)) { return 0; }
        (void)base_cas_ar(&least->count, least_count, least_count - 1);
        if (least_count > 1) { return 0; }
    }
    return kit_hot_take(least, was, hash, id, id_len);
}

CELLAR_PRIVATE bool kit_hot_note(kit_hot *h, const void *id, size_t id_len)
{
    if (h->every > 1) {
        base_thread_record *const self = base_thread_self();
        if (self->index == 0 || base_rng_below(&self->rng, h->every) != 0) { return false; }
    }
    kit_hot_halve(h);
    return kit_hot_add(h, id, id_len) >= h->need;
}

/* Copy a slot. Return false if it is empty or changes. */
static bool kit_hot_copy(const kit_hot_slot *s, uint64_t *hash, cellar_status_hot_id *out)
{
    uint64_t words[CELLAR_STATUS_HOT_ID / 8];
    *hash = base_load_acq(&s->hash);
    if (*hash < 2) { return false; }
    for (unsigned i = 0; i < CELLAR_STATUS_HOT_ID / 8; i++) { words[i] = base_load_rlx(&s->id[i]); }
    out->id_len = base_load_rlx(&s->id_len);
    out->reads = base_load_rlx(&s->count);
    base_fence_acq();
    memcpy(out->id, words, sizeof words);
    return base_load_rlx(&s->hash) == *hash;
}

/* Put an id at its place among the first `n` of `cap`. Return their number. */
static uint32_t kit_hot_place(cellar_status_hot_id *out, uint32_t n, uint32_t cap,
                              const cellar_status_hot_id *id)
{
    uint32_t at = n;
    while (at > 0 && out[at - 1].reads < id->reads) { at--; }
    if (at == cap) { return n; }
    if (n < cap) { n++; }
    memmove(&out[at + 1], &out[at], (n - 1 - at) * sizeof *out);
    out[at] = *id;
    return n;
}

CELLAR_PRIVATE uint32_t kit_hot_top(kit_hot *h, cellar_status_hot_id *out, uint32_t cap)
{
    uint32_t n = 0;
    kit_hot_halve(h);
    for (unsigned i = 0; i < KIT_HOT_SLOTS; i += KIT_HOT_WAYS) {
        cellar_status_hot_id id[KIT_HOT_WAYS];
        uint64_t hash[KIT_HOT_WAYS];
        for (unsigned w = 0; w < KIT_HOT_WAYS; w++) {
            if (!kit_hot_copy(&h->slot[i + w], &hash[w], &id[w])) { hash[w] = 0; }
            for (unsigned v = 0; v < w && hash[w] != 0; v++) {
                if (hash[v] != hash[w]) { continue; }
                id[v].reads += id[w].reads;
                hash[w] = 0;
            }
        }
        for (unsigned w = 0; w < KIT_HOT_WAYS; w++) {
            if (hash[w] == 0 || id[w].reads == 0) { continue; }
            id[w].reads = (uint32_t)BASE_MIN((uint64_t)id[w].reads * h->every, UINT32_MAX);
            n = kit_hot_place(out, n, cap, &id[w]);
        }
    }
    return n;
}

BASE_SIZE_END
