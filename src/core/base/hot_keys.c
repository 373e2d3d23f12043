/* SPDX-License-Identifier: MIT
 *
 * hot_keys: the keys that are read most, in a fixed number of bytes.
 *
 * PICTURE    sample -> hash -> set of 4 slots: present: count + 1
 *                                              empty: count = 1
 *                                              else the lowest count c of the set loses 1 with
 *                                              probability 1.08^-c; at 0 the key takes its slot
 *            every 30 s: all counts / 2, so a count is about the samples of the last minute
 * INVARIANTS The bytes of a key change only while the hash of its slot is 1.
 * LOCKING    None. A writer takes a slot by compare-exchange of the hash. A reader copies a slot
 *            and keeps the copy if the hash is unchanged. Two threads may give one key two slots of
 *            its set: readers add them.
 * LIMITS     A sample that races with a change of its slot may count for the next key of the slot.
 *            A fork may leave a slot at 1 in the child: it stays unused there.
 * SOURCE     Yang et al., HeavyKeeper, USENIX ATC 2018: the decay. */
#include "base/hot_keys.h"

#include <string.h>

#include "base/num.h"

BASE_SIZE_BEGIN

#define BASE_HOT_STEPS 256u /* counts above it do not decay */

_Static_assert(sizeof(base_hot_slot) == 64 && sizeof(base_hot_key) == 64, "a cache line");
_Static_assert(offsetof(base_hot_key, key_len) + 48 == sizeof(base_hot_key), "words of a slot");

CELLAR_PRIVATE void base_hot_init(base_hot *h, uint32_t sets, int64_t now_ms)
{
    memset(h, 0, base_hot_bytes(sets));
    h->sets = sets;
    base_store_rlx(&h->halve_ms, base_add_sat(now_ms, BASE_HOT_HALF_MS));
}

/* Halve all counts once for each half-life that has passed. */
static void base_hot_halve(base_hot *h, int64_t now_ms)
{
    const int64_t due = base_load_rlx(&h->halve_ms);
    if (now_ms < due) { return; }
    const int64_t halves = (now_ms - due) / BASE_HOT_HALF_MS + 1;
    if (!base_cas_ar(&h->halve_ms, due, due + halves * BASE_HOT_HALF_MS)) { return; }
    const unsigned shift = (unsigned)BASE_MIN(halves, 31);
    int64_t older = base_load_rlx(&h->older_ms);
    for (unsigned i = 0; i < shift; i++) { older = (older + BASE_HOT_HALF_MS) / 2; }
    const uint64_t samples = base_load_rlx(&h->samples);
    base_sub_rlx(&h->samples, samples - (samples >> shift));
    base_store_rlx(&h->older_ms, samples >> shift == 0 ? BASE_HOT_HALF_MS : older);
    for (uint32_t i = 0; i < h->sets * BASE_HOT_WAYS; i++) {
        const uint32_t count = base_load_rlx(&h->slot[i].count);
        (void)base_cas_ar(&h->slot[i].count, count, count >> shift);
    }
}

/* Return 2^32 x 1.08^-count, for counts below BASE_HOT_STEPS. */
static uint32_t base_hot_decay(uint32_t count)
{
    static const uint32_t by[8] = { /* 2^32 x 1.08^-(2^bit) */
        3976821570, 3682242194, 3156929179, 2320437189, 1253660012,
        365931407, 31177372, 226318
    };
    uint64_t p = UINT32_MAX;
    for (unsigned bit = 0; count != 0; bit++, count /= 2) {
        if ((count & 1) != 0) { p = p * by[bit] >> 32; }
    }
    return (uint32_t)p;
}

/* Take 1 from the lowest count of a set with the probability of its decay. Return whether the slot
 * is free for another key. */
static bool base_hot_weaken(base_hot_slot *s, uint32_t count, base_rng *rng)
{
    if (count == 0) { return true; }
    if (rng == NULL || count >= BASE_HOT_STEPS) { return false; }
    if ((uint32_t)base_rng_next(rng) > base_hot_decay(count)) { return false; }
    return base_cas_ar(&s->count, count, count - 1) && count == 1;
}

CELLAR_PRIVATE uint32_t base_hot_note(base_hot *h, uint64_t hash, uint32_t owner, const void *key,
                                      size_t key_len, int64_t now_ms, base_rng *rng)
{
    base_hot_halve(h, now_ms);
    base_add_rlx(&h->samples, (uint64_t)1);
    if (hash < 2) { hash += 2; }
    base_hot_slot *set = &h->slot[((base_mix64(hash) >> 32) * h->sets >> 32) * BASE_HOT_WAYS];
    base_hot_slot *least = NULL;
    uint64_t least_hash = 0;
    uint32_t least_count = UINT32_MAX;
    for (unsigned i = 0; i < BASE_HOT_WAYS; i++) {
        const uint64_t of = base_load_acq(&set[i].hash);
        if (of == hash && base_load_rlx(&set[i].owner) == owner) {
            return base_add_rlx(&set[i].count, 1u) + 1;
        }
        const uint32_t count = of != 0 ? base_load_rlx(&set[i].count) : 0;
        if (of != 1 && (least == NULL || count < least_count)) {
            least = &set[i];
            least_hash = of;
            least_count = count;
        }
    }
    if (least == NULL || !base_hot_weaken(least, least_count, rng)) { return 0; }
    if (!base_cas_ar(&least->hash, least_hash, (uint64_t)1)) { return 0; }
    base_fence_rel(); /* a reader that sees a new word also sees another hash */
    uint64_t words[6] = { 0 };
    const uint16_t len = (uint16_t)BASE_MIN(key_len, (size_t)UINT16_MAX);
    memcpy(words, &len, sizeof len);
    if (key_len != 0) {
        memcpy((char *)words + sizeof len, key, BASE_MIN(key_len, (size_t)BASE_HOT_KEY_BYTES));
    }
    for (unsigned i = 0; i < 6; i++) { base_store_rlx(&least->key[i], words[i]); }
    base_store_rlx(&least->owner, owner);
    base_store_rlx(&least->count, 1u);
    base_store_rel(&least->hash, hash); /* acquire in base_hot_copy */
    return 1;
}

/* Copy a slot. Return false if it is empty or changes. */
static bool base_hot_copy(const base_hot_slot *s, base_hot_key *out)
{
    uint64_t words[6];
    out->hash = base_load_acq(&s->hash);
    if (out->hash < 2) { return false; }
    for (unsigned i = 0; i < 6; i++) { words[i] = base_load_rlx(&s->key[i]); }
    out->owner = base_load_rlx(&s->owner);
    out->count = base_load_rlx(&s->count);
    base_fence_acq();
    memcpy((char *)out + offsetof(base_hot_key, key_len), words, sizeof words);
    return base_load_rlx(&s->hash) == out->hash && out->count != 0;
}

/* Put a key at its place among the first `n` of `cap`. Return their number. */
static size_t base_hot_place(base_hot_key *out, size_t n, size_t cap, const base_hot_key *k)
{
    size_t at = n;
    while (at > 0 && out[at - 1].count < k->count) { at--; }
    if (at == cap) { return n; }
    n = BASE_MIN(n + 1, cap);
    memmove(&out[at + 1], &out[at], (n - at - 1) * sizeof *out);
    out[at] = *k;
    return n;
}

CELLAR_PRIVATE size_t base_hot_top(base_hot *h, uint32_t owner, base_hot_key *out, size_t cap,
                                   int64_t now_ms, uint64_t *samples, int64_t *window_ms)
{
    size_t n = 0;
    base_hot_halve(h, now_ms);
    *samples = base_load_rlx(&h->samples);
    *window_ms = base_load_rlx(&h->older_ms) + now_ms -
                 (base_load_rlx(&h->halve_ms) - BASE_HOT_HALF_MS);
    for (uint32_t set = 0; set < h->sets; set++) {
        base_hot_key k[BASE_HOT_WAYS];
        uint32_t ways = 0;
        for (unsigned i = 0; i < BASE_HOT_WAYS; i++) {
            if (!base_hot_copy(&h->slot[set * BASE_HOT_WAYS + i], &k[ways])) { continue; }
            uint32_t same = 0;
            while (k[same].hash != k[ways].hash || k[same].owner != k[ways].owner) { same++; }
            if (same < ways) { k[same].count += k[ways].count; } else { ways++; }
        }
        for (uint32_t i = 0; i < ways; i++) {
            if (owner != UINT32_MAX && k[i].owner != owner) { continue; }
            n = base_hot_place(out, n, cap, &k[i]);
        }
    }
    return n;
}

BASE_SIZE_END
