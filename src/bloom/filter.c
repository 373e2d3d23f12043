/* SPDX-License-Identifier: MIT
 *
 * filter: a blocked Bloom filter that grows, is rebuilt while it serves, and tracks its own doubts.
 *
 * PICTURE    desc {number, next layers, layers, filling, which set, state} one 64-bit word
 *            set[2] each up to 4 layers of n, 2n, 4n, 8n keys; adds go to the last layer
 *            layer -> slab {blocks of 64 bytes}; a key owns k bits of one block:
 *            hash * blocks >> 64 = block; 9-bit slices of a remix of hash = bits
 *            OFF -open-> OBSERVING -fill, seal-> AUTHORITATIVE -doubt-> OBSERVING
 *            rebuild: open the other set, add to both sets, seal swaps them
 * LAYOUT     A slab is a region of its own, reserved by powers of two and unmapped only in
 *            bloom_destroy. The pages of a dropped set are given back and read zero; a late reader
 *            may still look at them.
 * INVARIANTS A key with a completed add is in the set that answers, or the state is not
 *            AUTHORITATIVE.
 *            blocks * 64 <= reserved bytes of the slab at every instant. `number` rises with each
 *            change of desc. fill_done == fill only if all keys were added after the newest set was
 *            opened, without a doubt.
 * LOCKING    Readers: none. They read desc, bits (acquire), desc; a changed desc means "maybe".
 *            Adders: one of 16 locks (rank BLOOM) per thread, while they read desc and set bits.
 *            open, swap, off: `busy` (a flag; waiters yield), then all 16 locks in order.
 *            Growth and doubt change desc by CAS only: older layers keep answering.
 * LIMITS     2^40 keys, rates 0.01..50 percent; 15 n keys in a set, then doubt (FULL).
 * SEE ALSO   src/bloom/README.md: proof, rejected designs, sources; bloom_guard.c: callers;
 *            tests/concurrency/sim/bloom.c. */
#include "bloom/filter.h"

#include <string.h>

#include "base/atomic.h"
#include "base/hash.h"
#include "base/num.h"
#include "base/sync.h"

#define BLOOM_BLOCK 64u /* bytes */
#define BLOOM_BITS 512u
#define BLOOM_WORDS 8u
#define BLOOM_SLOTS 16u
#define BLOOM_HASHES 14u /* 7 slices of 9 bits from each of two words */
#define BLOOM_SETS 2u

/* fields of desc */
#define BLOOM_STATE(d) ((bloom_state)((d) & 3u))
#define BLOOM_WHICH(d) ((unsigned)((d) >> 2) & 1u)
#define BLOOM_FILLING(d) (((d) >> 3 & 1u) != 0)
#define BLOOM_LAYERS_OF(d, set) ((unsigned)((d) >> (4u + 4u * (set))) & 7u)
#define BLOOM_NUMBER_ONE ((uint64_t)1 << 16)
#define BLOOM_NUMBER(d) ((d) & ~(BLOOM_NUMBER_ONE - 1))

typedef struct bloom_slab { /* lives until bloom_destroy: late readers look into it */
    struct bloom_slab *next; /* all slabs of the filter; under busy */
    base_region mem;         /* constant */
    _Atomic uint64_t blocks; /* blocks in use; release before the descriptor that names it */
    _Atomic uint32_t hashes; /* k, bits per key */
    uint64_t bytes;          /* charged bytes; 0: free slab that reads zero; under busy */
    uint64_t committed;      /* maximum of `bytes` so far; under busy */
} bloom_slab;

typedef struct bloom_set {
    bloom_slab *_Atomic layer[BLOOM_LAYERS];
    _Atomic uint64_t expected; /* n of layer 0, keys */
    _Atomic uint64_t fpp_e9;   /* wanted rate of false positives, in 1e-9 */
    _Atomic uint32_t stuck;    /* BLOOM_FULL or BLOOM_NOMEM: more keys than the layers hold */
    _Atomic uint32_t every;    /* adds of a slot between two checks of the sum; power of two */
} bloom_set;

typedef struct bloom_slot {
    sync_lock lock BASE_ALIGNED(BASE_PAD); /* rank BLOOM */
    _Atomic uint64_t fresh[BLOOM_SETS]; /* keys that changed bits; written under lock */
} bloom_slot;

struct bloom {
    bloom_slot slot[BLOOM_SLOTS];
    _Atomic uint64_t desc BASE_ALIGNED(BASE_PAD); /* seq_cst; see PICTURE */
    bloom_set set[BLOOM_SETS];
    _Atomic uint32_t busy;      /* 1: a thread changes sets or slabs */
    _Atomic uint32_t fill;      /* +1 with each opened set and each doubt */
    _Atomic uint32_t fill_done; /* last fill that ended well */
    _Atomic uint32_t doubt;
    _Atomic uint32_t doubts;    /* times the filter stopped being believed */
    bloom_slab *slabs;          /* under busy */
    base_account *account;
    void *raw;                  /* allocation that contains this struct */
};

BASE_SIZE_BEGIN

/* ---- size ---- */

static double bloom_exp_neg(double x)
{
    double r = 1.0, term = 1.0, part = x;
    unsigned whole = 0;
    while (part > 1.0) {
        part -= 1.0;
        whole++;
    }
    for (unsigned i = 1; i < 18; i++) {
        term *= -part / (double)i;
        r += term;
    }
    for (unsigned i = 0; i < whole; i++) { r *= 0.36787944117144233; }
    return r;
}

static double bloom_power(double x, unsigned n)
{
    double r = 1.0;
    for (unsigned i = 0; i < n; i++) { r *= x; }
    return r;
}

/* Return the rate of false positives if a block of 512 bits holds `mean` keys of k bits on average.
 * The number of keys in a block has a Poisson distribution. */
static double bloom_rate(double mean, unsigned k)
{
    const double keep = bloom_power(1.0 - 1.0 / (double)BLOOM_BITS, k);
    double p = bloom_exp_neg(mean), zero = 1.0, rate = 0.0;
    const unsigned most = (unsigned)(2.0 * mean) + 80;
    for (unsigned j = 0; j < most; j++) {
        rate += p * bloom_power(1.0 - zero, k);
        zero *= keep;
        p *= mean / (double)(j + 1);
    }
    return rate;
}

/* Return the largest mean number of keys per block for this rate. */
static double bloom_mean(double fpp, unsigned k)
{
    double low = 0.0, high = 400.0;
    for (unsigned i = 0; i < 28; i++) {
        const double mid = (low + high) / 2;
        if (bloom_rate(mid, k) <= fpp) { low = mid; } else { high = mid; }
    }
    return low;
}

/* Compute k and the number of blocks for n keys. Return false beyond the address space. */
static bool bloom_size(uint64_t n, double fpp, uint32_t *hashes, uint64_t *blocks)
{
    unsigned want = 1;
    while (bloom_power(0.5, want) > fpp) { want++; }
    double best = 0.0;
    *hashes = 1;
    for (unsigned k = want > 2 ? want - 2 : 1; k <= want + 1; k++) {
        const unsigned at = BASE_MIN(k, BLOOM_HASHES);
        const double mean = bloom_mean(fpp, at);
        if (mean > best) {
            best = mean;
            *hashes = at;
        }
    }
    BASE_ASSERT(best > 0.0);
    const double exact = (double)n / best + 1.0;
    if (exact > (double)(SIZE_MAX / 4 / BLOOM_BLOCK)) { return false; }
    /* whole pages: all charged bytes are usable */
    *blocks = base_round_up((uint64_t)exact, BASE_PAGE / BLOOM_BLOCK);
    return true;
}

/* ---- slabs; all functions run under busy ---- */

static bloom_slab *bloom_slab_find(bloom *b, uint64_t bytes)
{
    bloom_slab *best = NULL;
    for (bloom_slab *s = b->slabs; s != NULL; s = s->next) {
        if (s->bytes == 0 && s->mem.reserved_bytes >= bytes &&
            (best == NULL || s->mem.reserved_bytes < best->mem.reserved_bytes)) {
            best = s;
        }
    }
    return best;
}

static bloom_slab *bloom_slab_new(bloom *b, uint64_t bytes)
{
    bloom_slab *s = base_alloc(b->account, BASE_MOD_BLOOM, sizeof *s, NULL);
    if (s == NULL) { return NULL; }
    const uint64_t wide = base_pow2_ceil(bytes);
    if (!base_region_reserve(&s->mem, (size_t)wide, (size_t)bytes)) {
        base_free(b->account, BASE_MOD_BLOOM, s, sizeof *s);
        return NULL;
    }
    s->next = b->slabs;
    b->slabs = s;
    return s;
}

/* Get a slab with that many zeroed blocks. Return OK, E_SPACE or E_NOMEM. */
static cellar_err bloom_slab_take(bloom *b, uint64_t blocks, uint32_t hashes, bloom_slab **out)
{
    const uint64_t bytes = blocks * BLOOM_BLOCK;
    bloom_slab *s = bloom_slab_find(b, bytes);
    if (s == NULL) { s = bloom_slab_new(b, bytes); }
    if (s == NULL) { return CELLAR_E_NOMEM; }
    if (!base_charge_room(b->account, BASE_MOD_BLOOM, bytes)) { return CELLAR_E_SPACE; }
    if (!base_region_commit(&s->mem, 0, (size_t)bytes)) {
        base_uncharge(b->account, BASE_MOD_BLOOM, bytes);
        return CELLAR_E_NOMEM;
    }
    s->bytes = bytes;
    s->committed = BASE_MAX(s->committed, bytes);
    base_store_rel(&s->hashes, hashes); /* acquire in bloom_slab_has */
    base_store_rel(&s->blocks, blocks);
    *out = s;
    return CELLAR_OK;
}

/* Give the pages of a slab back. A late reader sees zeros or old bits, and then checks desc. */
static void bloom_slab_give(bloom *b, bloom_slab *s)
{
    if (s->bytes == 0) { return; } /* free already, in bloom_destroy */
    base_region_discard(&s->mem, 0, (size_t)s->bytes);
    base_uncharge(b->account, BASE_MOD_BLOOM, s->bytes);
    s->bytes = 0;
}

/* Give back the layers of the set only: slabs behind them may serve the other set already. */
static void bloom_set_give(bloom *b, unsigned which, unsigned layers)
{
    for (unsigned i = 0; i < layers; i++) {
        BASE_POINT("bloom.give");
        bloom_slab_give(b, base_load_rlx(&b->set[which].layer[i]));
    }
}

BASE_SIZE_END

/* ---- bits ---- */

static uint64_t bloom_block(uint64_t hash, uint64_t blocks)
{
    base_hash_mul(&hash, &blocks);
    return blocks; /* high half: hash * blocks / 2^64 */
}

static _Atomic uint64_t *bloom_line(const bloom_slab *s, uint64_t hash, uint64_t blocks)
{
    _Atomic uint64_t *words = (_Atomic uint64_t *)(void *)s->mem.base; /* page aligned */
    return words + bloom_block(hash, blocks) * BLOOM_WORDS;
}

#define BLOOM_MIX_A UINT64_C(0x9e6c63d0876a9a47)
#define BLOOM_MIX_B UINT64_C(0x6c8e9cf570932bd5)

static bool bloom_slab_has(const bloom_slab *s, uint64_t hash)
{
    const uint64_t blocks = base_load_acq(&s->blocks);
    const uint32_t k = base_load_acq(&s->hashes);
    const _Atomic uint64_t *line = bloom_line(s, hash, blocks);
    uint64_t bits = base_mix64(hash ^ BLOOM_MIX_A);
    for (uint32_t i = 0; i < k; i++) {
        if (i == 7) { bits = base_mix64(hash ^ BLOOM_MIX_B); }
        const uint64_t word = base_load_acq(&line[bits >> 6 & 7u]);
        if ((word >> (bits & 63u) & 1u) == 0) { return false; }
        bits >>= 9;
    }
    return true;
}

/* Set the bits of a key. Return true if a bit was new. */
static bool bloom_slab_put(const bloom_slab *s, uint64_t hash)
{
    const uint64_t blocks = base_load_rlx(&s->blocks);
    const uint32_t k = base_load_rlx(&s->hashes);
    _Atomic uint64_t *line = bloom_line(s, hash, blocks);
    uint64_t bits = base_mix64(hash ^ BLOOM_MIX_A);
    bool fresh = false;
    for (uint32_t i = 0; i < k; i++) {
        if (i == 7) { bits = base_mix64(hash ^ BLOOM_MIX_B); }
        _Atomic uint64_t *word = &line[bits >> 6 & 7u];
        const uint64_t bit = (uint64_t)1 << (bits & 63u);
        if ((base_load_rlx(word) & bit) == 0) {
            BASE_POINT("bloom.bit");
            (void)base_or_sc(word, bit);
            fresh = true;
        }
        bits >>= 9;
    }
    return fresh;
}

static bool bloom_set_has(const bloom *b, unsigned which, unsigned layers, uint64_t hash)
{
    for (unsigned i = layers; i > 0; i--) {
        if (bloom_slab_has(base_load_acq(&b->set[which].layer[i - 1]), hash)) { return true; }
    }
    return false;
}

CELLAR_PRIVATE bloom_answer bloom_ask(const bloom *b, uint64_t hash)
{
    const uint64_t d = base_load_sc(&b->desc);
    const bloom_state state = BLOOM_STATE(d);
    if (state == BLOOM_OFF) { return BLOOM_MAYBE; }
    BASE_POINT("bloom.ask");
    const unsigned which = BLOOM_WHICH(d);
    if (bloom_set_has(b, which, BLOOM_LAYERS_OF(d, which), hash)) { return BLOOM_MAYBE; }
    if (base_load_sc(&b->desc) != d) { return BLOOM_MAYBE; }
    return state == BLOOM_AUTHORITATIVE ? BLOOM_NEVER : BLOOM_WOULD;
}

CELLAR_PRIVATE uint32_t bloom_doubts(const bloom *b) { return base_load_acq(&b->doubts); }

CELLAR_PRIVATE bloom_state bloom_state_of(const bloom *b)
{
    return BLOOM_STATE(base_load_acq(&b->desc));
}

BASE_SIZE_BEGIN

/* ---- changes of sets ---- */

static void bloom_busy_take(bloom *b)
{
    while (!base_cas_ar(&b->busy, 0u, 1u)) { base_yield(); }
}

static void bloom_busy_drop(bloom *b) { base_store_rel(&b->busy, 0u); }

/* Change desc with all adders locked out, because they add to the sets that desc names. */
static void bloom_publish(bloom *b, uint64_t clear, uint64_t set) SYNC_UNCHECKED;
static void bloom_publish(bloom *b, uint64_t clear, uint64_t set)
{
    for (unsigned i = 0; i < BLOOM_SLOTS; i++) { sync_take(BLOOM, &b->slot[i].lock); }
    uint64_t d;
    do {
        d = base_load_rlx(&b->desc); /* a doubt may change desc at the same time: it takes no
                                      * lock */
    } while (!base_cas_sc(&b->desc, d, ((d & ~clear) | set) + BLOOM_NUMBER_ONE));
    BASE_POINT("bloom.published");
    for (unsigned i = BLOOM_SLOTS; i > 0; i--) { sync_drop(BLOOM, &b->slot[i - 1].lock); }
    base_fence_sc(); /* before any scan; pairs with the CAS of the window and the load in
                      * bloom_add_end */
}

CELLAR_PRIVATE bool bloom_distrust(bloom *b, bloom_doubt why)
{
    uint64_t d;
    do {
        d = base_load_acq(&b->desc);
        if (BLOOM_STATE(d) != BLOOM_AUTHORITATIVE) { return false; }
    } while (!base_cas_sc(&b->desc, d, d - 1 + BLOOM_NUMBER_ONE));
    (void)base_add_ar(&b->fill, 1u);
    base_store_rlx(&b->doubt, (uint32_t)why);
    (void)base_add_ar(&b->doubts, 1u);
    return true;
}

CELLAR_PRIVATE void bloom_suspect(bloom *b, bloom_doubt why)
{
    base_store_rlx(&b->doubt, (uint32_t)why);
    (void)base_add_ar(&b->doubts, 1u);
}

/* ---- growth ---- */

static uint64_t bloom_fresh(const bloom *b, unsigned which)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < BLOOM_SLOTS; i++) { n += base_load_rlx(&b->slot[i].fresh[which]); }
    return n;
}

/* Return the number of keys that `layers` layers hold at the wanted rate. */
static uint64_t bloom_room(const bloom_set *set, unsigned layers)
{
    return base_load_rlx(&set->expected) * (((uint64_t)1 << layers) - 1);
}

static void bloom_stuck(bloom *b, unsigned which, bloom_doubt why)
{
    base_store_rel(&b->set[which].stuck, (uint32_t)why); /* acquire in bloom_seal */
    if (BLOOM_WHICH(base_load_acq(&b->desc)) == which) { (void)bloom_distrust(b, why); }
}

static cellar_err bloom_layer_take(bloom *b, bloom_set *set, unsigned layer)
{
    const uint64_t n = base_load_rlx(&set->expected) << layer;
    double fpp = (double)base_load_rlx(&set->fpp_e9) * 1e-9;
    if (layer > 0) { fpp /= (double)(1u << (layer + 4)); }
    uint32_t hashes;
    uint64_t blocks;
    bloom_slab *s = NULL;
    if (!bloom_size(n, fpp, &hashes, &blocks)) { return CELLAR_E_NOMEM; }
    const cellar_err err = bloom_slab_take(b, blocks, hashes, &s);
    if (err == CELLAR_OK) { base_store_rel(&set->layer[layer], s); } /* acquire in bloom_set_has */
    return err;
}

/* Add a layer to set `which`, which holds as many keys as its layers were made for. */
static void bloom_grow(bloom *b, unsigned which)
{
    if (!base_cas_ar(&b->busy, 0u, 1u)) { return; } /* busy: a later add checks again */
    bloom_set *set = &b->set[which];
    const uint64_t d = base_load_acq(&b->desc);
    const unsigned layers = BLOOM_LAYERS_OF(d, which);
    const bool serves = BLOOM_STATE(d) != BLOOM_OFF &&
                        (BLOOM_WHICH(d) == which || BLOOM_FILLING(d));
    if (serves && base_load_rlx(&set->stuck) == 0 &&
        bloom_fresh(b, which) > bloom_room(set, layers)) {
        if (layers == BLOOM_LAYERS) {
            bloom_stuck(b, which, BLOOM_FULL);
        } else if (bloom_layer_take(b, set, layers) != CELLAR_OK) {
            bloom_stuck(b, which, BLOOM_NOMEM);
        } else {
            uint64_t now;
            do {
                now = base_load_acq(&b->desc);
            } while (!base_cas_sc(&b->desc, now, now + ((uint64_t)1 << (4 + 4 * which)) +
                                                     BLOOM_NUMBER_ONE));
        }
    }
    bloom_busy_drop(b);
}

BASE_SIZE_END

/* ---- adding ---- */

/* Add the key under the lock of the slot. Return true if the set may be full. */
static bool bloom_set_add(bloom *b, bloom_slot *slot, unsigned which, unsigned layers,
                          uint64_t hash)
{
    bloom_set *set = &b->set[which];
    if (bloom_set_has(b, which, layers, hash)) { return false; }
    if (!bloom_slab_put(base_load_acq(&set->layer[layers - 1]), hash)) { return false; }
    const uint64_t n = base_load_rlx(&slot->fresh[which]) + 1;
    base_store_rlx(&slot->fresh[which], n);
    if ((n & (base_load_rlx(&set->every) - 1)) != 0 || base_load_rlx(&set->stuck) != 0) {
        return false;
    }
    return bloom_fresh(b, which) > bloom_room(set, layers);
}

CELLAR_PRIVATE bloom_ticket bloom_add_begin(bloom *b, uint64_t hash)
{
    bloom_slot *slot = &b->slot[base_thread_self()->index % BLOOM_SLOTS];
    bool full[BLOOM_SETS] = { false, false };
    sync_take(BLOOM, &slot->lock);
    const uint64_t d = base_load_sc(&b->desc);
    BASE_POINT("bloom.add");
    if (BLOOM_STATE(d) != BLOOM_OFF) {
        const unsigned which = BLOOM_WHICH(d);
        full[which] = bloom_set_add(b, slot, which, BLOOM_LAYERS_OF(d, which), hash);
        if (BLOOM_FILLING(d)) {
            full[which ^ 1] = bloom_set_add(b, slot, which ^ 1, BLOOM_LAYERS_OF(d, which ^ 1),
                                            hash);
        }
    }
    sync_drop(BLOOM, &slot->lock);
    for (unsigned i = 0; i < BLOOM_SETS; i++) {
        if (BASE_UNLIKELY(full[i])) { bloom_grow(b, i); }
    }
    return (bloom_ticket){ d };
}

CELLAR_PRIVATE void bloom_add_end(bloom *b, uint64_t hash, const bloom_ticket *t)
{
    uint64_t seen = t->desc;
    while (BASE_UNLIKELY(base_load_sc(&b->desc) != seen)) {
        seen = bloom_add_begin(b, hash).desc;
    }
}

CELLAR_PRIVATE void bloom_add(bloom *b, uint64_t hash) { (void)bloom_add_begin(b, hash); }

BASE_SIZE_BEGIN

/* ---- sets: open, fill, seal ---- */

CELLAR_PRIVATE bloom *bloom_create(base_account *a)
{
    void *raw = base_alloc(a, BASE_MOD_BLOOM, sizeof(bloom) + BASE_PAD, NULL);
    if (raw == NULL) { return NULL; }
    bloom *b = (bloom *)(((uintptr_t)raw + BASE_PAD - 1) & ~(uintptr_t)(BASE_PAD - 1));
    b->raw = raw;
    b->account = a;
    return b;
}

CELLAR_PRIVATE void bloom_destroy(bloom *b)
{
    if (b == NULL) { return; }
    base_account *a = b->account;
    while (b->slabs != NULL) {
        bloom_slab *s = b->slabs;
        b->slabs = s->next;
        bloom_slab_give(b, s);
        base_region_release(&s->mem);
        base_free(a, BASE_MOD_BLOOM, s, sizeof *s);
    }
    base_free(a, BASE_MOD_BLOOM, b->raw, sizeof(bloom) + BASE_PAD);
}

CELLAR_PRIVATE void bloom_forked(bloom *b)
{
    for (unsigned i = 0; i < BLOOM_SLOTS; i++) { sync_reset(&b->slot[i].lock); }
    base_store_rel(&b->busy, 0u);
}

/* Prepare a set. No descriptor names the set yet, so no thread adds to it. */
static cellar_err bloom_set_init(bloom *b, unsigned which, uint64_t expected, double fpp)
{
    bloom_set *set = &b->set[which];
    base_store_rlx(&set->expected, expected);
    base_store_rlx(&set->fpp_e9, (uint64_t)(fpp * 1e9 + 0.5));
    base_store_rlx(&set->stuck, 0u);
    base_store_rlx(&set->every, (uint32_t)base_pow2_floor(base_clamp(expected / 1024, 1, 64)));
    for (unsigned i = 0; i < BLOOM_SLOTS; i++) {
        base_store_rlx(&b->slot[i].fresh[which], (uint64_t)0);
    }
    return bloom_layer_take(b, set, 0);
}

/* Fields of desc for set `which` alone: its number of layers. */
#define BLOOM_LAYERS_MASK(which) ((uint64_t)15 << (4 + 4 * (which)))
#define BLOOM_LAYERS_1(which) ((uint64_t)1 << (4 + 4 * (which)))

CELLAR_PRIVATE cellar_err bloom_open(bloom *b, uint64_t expected, double fpp)
{
    if (expected == 0 || expected > BLOOM_KEYS_MAX || !(fpp >= BLOOM_FPP_LEAST) ||
        !(fpp <= BLOOM_FPP_MOST)) {
        return CELLAR_E_INVAL;
    }
    bloom_busy_take(b);
    const uint64_t d = base_load_acq(&b->desc);
    const bool off = BLOOM_STATE(d) == BLOOM_OFF;
    cellar_err err = CELLAR_E_BUSY;
    if (!BLOOM_FILLING(d)) {
        const unsigned which = off ? 0 : BLOOM_WHICH(d) ^ 1u;
        err = bloom_set_init(b, which, expected, fpp);
        if (err == CELLAR_OK) {
            (void)base_add_ar(&b->fill, 1u);
            if (off) {
                base_store_rlx(&b->doubt, (uint32_t)BLOOM_TRUSTED);
                bloom_publish(b, BLOOM_NUMBER_ONE - 1, BLOOM_OBSERVING | BLOOM_LAYERS_1(which));
            } else {
                bloom_publish(b, BLOOM_LAYERS_MASK(which), BLOOM_LAYERS_1(which) | 8u);
            }
        }
    }
    bloom_busy_drop(b);
    return err;
}

/* Drop the set that is being filled beside the answering set. */
static void bloom_second_drop(bloom *b)
{
    const uint64_t d = base_load_acq(&b->desc);
    const unsigned second = BLOOM_WHICH(d) ^ 1u;
    bloom_publish(b, BLOOM_LAYERS_MASK(second) | 8u, 0);
    bloom_set_give(b, second, BLOOM_LAYERS_OF(d, second));
    (void)base_add_ar(&b->fill, 1u); /* the filled keys are lost: no seal before the next fill */
}

CELLAR_PRIVATE void bloom_off(bloom *b, bool all)
{
    bloom_busy_take(b);
    const uint64_t d = base_load_acq(&b->desc);
    const unsigned which = BLOOM_WHICH(d);
    if (BLOOM_FILLING(d)) { bloom_second_drop(b); }
    if (all && BLOOM_STATE(d) != BLOOM_OFF) {
        bloom_publish(b, BLOOM_NUMBER_ONE - 1, 0);
        bloom_set_give(b, which, BLOOM_LAYERS_OF(d, which));
        (void)base_add_ar(&b->fill, 1u);
    }
    bloom_busy_drop(b);
}

CELLAR_PRIVATE uint32_t bloom_fill_begin(const bloom *b) { return base_load_acq(&b->fill); }

CELLAR_PRIVATE void bloom_fill_end(bloom *b, uint32_t fill)
{
    base_store_rel(&b->fill_done, fill); /* acquire in bloom_seal */
}

CELLAR_PRIVATE cellar_err bloom_seal(bloom *b)
{
    bloom_busy_take(b);
    const uint64_t d = base_load_acq(&b->desc);
    const unsigned old = BLOOM_WHICH(d);
    const unsigned newest = BLOOM_FILLING(d) ? old ^ 1u : old;
    cellar_err err = CELLAR_OK;
    if (BLOOM_STATE(d) == BLOOM_OFF || base_load_acq(&b->fill_done) != base_load_acq(&b->fill)) {
        err = CELLAR_E_INVAL;
    } else if (base_load_acq(&b->set[newest].stuck) != 0) {
        err = CELLAR_E_LIMIT;
        if (newest != old) { bloom_second_drop(b); } /* the owner can open a larger set */
    } else {
        base_store_rlx(&b->doubt, (uint32_t)BLOOM_TRUSTED);
        const uint64_t said = (uint64_t)BLOOM_AUTHORITATIVE | (uint64_t)newest << 2;
        const uint64_t gone = newest != old ? BLOOM_LAYERS_MASK(old) : 0;
        bloom_publish(b, 15u | gone, said);
        if (newest != old) { bloom_set_give(b, old, BLOOM_LAYERS_OF(d, old)); }
    }
    bloom_busy_drop(b);
    return err;
}

CELLAR_PRIVATE void bloom_figures_get(const bloom *b, bloom_figures *out)
{
    const uint64_t d = base_load_acq(&b->desc);
    const unsigned which = BLOOM_WHICH(d);
    memset(out, 0, sizeof *out);
    out->state = BLOOM_STATE(d);
    out->doubt = (bloom_doubt)base_load_rlx(&b->doubt);
    if (out->state == BLOOM_OFF) { return; }
    out->filling = BLOOM_FILLING(d);
    out->layers = BLOOM_LAYERS_OF(d, which);
    out->expected = base_load_rlx(&b->set[which].expected);
    out->keys = bloom_fresh(b, which);
    out->fpp = (double)base_load_rlx(&b->set[which].fpp_e9) * 1e-9;
    for (unsigned set = 0; set < BLOOM_SETS; set++) {
        for (unsigned i = 0; i < BLOOM_LAYERS_OF(d, set); i++) {
            out->bytes += base_load_rlx(&base_load_acq(&b->set[set].layer[i])->blocks) *
                          BLOOM_BLOCK;
        }
    }
}

/* ---- images ----
 *
 * FORMAT     Little-endian: 128 bytes, the words of each layer, u64 sum of those words.
 *              0 u32 magic   4 u32 version   8 u64 hash key's check   16 u64 expected
 *             24 u64 rate in 1e-9   32 u64 keys   40 u32 layers   44 u32 state
 *             48 4 x {u64 blocks, u32 k, u32 0}   112 u64 0   120 u64 sum of the first 120 bytes */

#define BLOOM_MAGIC 0x4d4c4263u
#define BLOOM_VERSION 1u
#define BLOOM_PIECE 256u /* words moved per call */

typedef struct bloom_head {
    uint32_t magic, version;
    uint64_t check, expected, fpp_e9, keys;
    uint32_t layers, state;
    struct { uint64_t blocks; uint32_t hashes, zero; } layer[BLOOM_LAYERS];
    uint64_t reserved, sum;
} bloom_head;
_Static_assert(sizeof(bloom_head) == BLOOM_HEAD, "the image's header has no holes");
_Static_assert(offsetof(bloom_head, sum) == BLOOM_HEAD - 8, "the sum comes last");

static uint64_t bloom_sum(uint64_t sum, const uint64_t *words, size_t count)
{
    for (size_t i = 0; i < count; i++) { sum = base_mix64(sum ^ words[i]) + 1; }
    return sum;
}

static uint64_t bloom_head_sum(const bloom_head *h)
{
    uint64_t words[BLOOM_HEAD / 8];
    memcpy(words, h, sizeof words);
    return bloom_sum(BLOOM_MIX_A, words, BLOOM_HEAD / 8 - 1);
}

static bool bloom_save_layer(const bloom_slab *s, uint64_t blocks, uint64_t *sum,
                             bool (*give)(void *ctx, const void *bytes, size_t len), void *ctx)
{
    const _Atomic uint64_t *from = (const _Atomic uint64_t *)(void *)s->mem.base;
    uint64_t piece[BLOOM_PIECE];
    const uint64_t words = blocks * BLOOM_WORDS; /* whole pages: a multiple of BLOOM_PIECE */
    for (uint64_t at = 0; at < words; at += BLOOM_PIECE) {
        for (size_t i = 0; i < BLOOM_PIECE; i++) { piece[i] = base_load_acq(&from[at + i]); }
        *sum = bloom_sum(*sum, piece, BLOOM_PIECE);
        if (!give(ctx, piece, sizeof piece)) { return false; }
    }
    return true;
}

CELLAR_PRIVATE cellar_err bloom_save(const bloom *b, uint64_t check,
                                     bool (*give)(void *ctx, const void *bytes, size_t len),
                                     void *ctx)
{
    const uint64_t d = base_load_sc(&b->desc);
    if (BLOOM_STATE(d) == BLOOM_OFF) { return CELLAR_E_INVAL; }
    const unsigned which = BLOOM_WHICH(d);
    const bloom_set *set = &b->set[which];
    bloom_head h = { .magic = BLOOM_MAGIC, .version = BLOOM_VERSION, .check = check,
                     .expected = base_load_rlx(&set->expected),
                     .fpp_e9 = base_load_rlx(&set->fpp_e9), .keys = bloom_fresh(b, which),
                     .layers = BLOOM_LAYERS_OF(d, which), .state = (uint32_t)BLOOM_STATE(d) };
    const bloom_slab *slab[BLOOM_LAYERS];
    const uint32_t layers = h.layers;
    for (uint32_t i = 0; i < layers; i++) {
        slab[i] = base_load_acq(&set->layer[i]);
        h.layer[i].blocks = base_load_acq(&slab[i]->blocks);
        h.layer[i].hashes = base_load_acq(&slab[i]->hashes);
    }
    if (BLOOM_WHICH(base_load_sc(&b->desc)) != which) { return CELLAR_E_BUSY; }
    h.sum = bloom_head_sum(&h);
    if (!give(ctx, &h, sizeof h)) { return CELLAR_E_IO; }
    uint64_t sum = 0;
    for (uint32_t i = 0; i < layers; i++) {
        if (!bloom_save_layer(slab[i], h.layer[i].blocks, &sum, give, ctx)) {
            return CELLAR_E_IO;
        }
    }
    if (!give(ctx, &sum, sizeof sum)) { return CELLAR_E_IO; }
    const uint64_t now = base_load_sc(&b->desc); /* a dropped set reads zero */
    return BLOOM_WHICH(now) == which && BLOOM_STATE(now) != BLOOM_OFF ? CELLAR_OK : CELLAR_E_BUSY;
}

static cellar_err bloom_head_check(const bloom_head *h, uint64_t check)
{
    if (h->magic != BLOOM_MAGIC || h->sum != bloom_head_sum(h)) { return CELLAR_E_CORRUPT; }
    if (h->version != BLOOM_VERSION) { return CELLAR_E_NEWER_FORMAT; }
    if (h->check != check) { return CELLAR_E_FOREIGN; }
    const double fpp = (double)h->fpp_e9 * 1e-9;
    if (h->expected == 0 || h->expected > BLOOM_KEYS_MAX || fpp < BLOOM_FPP_LEAST * 0.999 ||
        fpp > BLOOM_FPP_MOST * 1.001 || h->layers == 0 || h->layers > BLOOM_LAYERS ||
        (h->state != BLOOM_OBSERVING && h->state != BLOOM_AUTHORITATIVE)) {
        return CELLAR_E_CORRUPT;
    }
    for (unsigned i = 0; i < h->layers; i++) {
        const uint64_t blocks = h->layer[i].blocks;
        if (blocks == 0 || blocks % (BASE_PAGE / BLOOM_BLOCK) != 0 ||
            blocks > (uint64_t)(SIZE_MAX / 4 / BLOOM_BLOCK) || h->layer[i].hashes == 0 ||
            h->layer[i].hashes > BLOOM_HASHES) {
            return CELLAR_E_CORRUPT;
        }
    }
    return CELLAR_OK;
}

static cellar_err bloom_load_layer(bloom *b, bloom_set *set, unsigned layer, const bloom_head *h,
                                   uint64_t *sum, bool (*take)(void *ctx, void *bytes, size_t len),
                                   void *ctx)
{
    bloom_slab *s = NULL;
    const uint64_t blocks = h->layer[layer].blocks;
    const cellar_err err = bloom_slab_take(b, blocks, h->layer[layer].hashes, &s);
    if (err != CELLAR_OK) { return err; }
    base_store_rel(&set->layer[layer], s);
    _Atomic uint64_t *to = (_Atomic uint64_t *)(void *)s->mem.base;
    uint64_t piece[BLOOM_PIECE];
    for (uint64_t at = 0; at < blocks * BLOOM_WORDS; at += BLOOM_PIECE) {
        if (!take(ctx, piece, sizeof piece)) {
            bloom_slab_give(b, s);
            return CELLAR_E_IO;
        }
        *sum = bloom_sum(*sum, piece, BLOOM_PIECE);
        for (size_t i = 0; i < BLOOM_PIECE; i++) {
            if (piece[i] != 0) { base_store_rlx(&to[at + i], piece[i]); }
        }
    }
    return CELLAR_OK;
}

static cellar_err bloom_load_set(bloom *b, const bloom_head *h,
                                 bool (*take)(void *ctx, void *bytes, size_t len), void *ctx)
{
    bloom_set *set = &b->set[0];
    uint64_t sum = 0, wanted = 0;
    cellar_err err = CELLAR_OK;
    unsigned layers = 0;
    while (err == CELLAR_OK && layers < h->layers) {
        err = bloom_load_layer(b, set, layers, h, &sum, take, ctx);
        if (err == CELLAR_OK) { layers++; }
    }
    if (err == CELLAR_OK && !take(ctx, &wanted, sizeof wanted)) { err = CELLAR_E_IO; }
    if (err == CELLAR_OK && wanted != sum) { err = CELLAR_E_CORRUPT; }
    if (err != CELLAR_OK) { bloom_set_give(b, 0, layers); }
    return err;
}

CELLAR_PRIVATE cellar_err bloom_load(bloom *b, uint64_t check, bool clean,
                                     bool (*take)(void *ctx, void *bytes, size_t len), void *ctx)
{
    bloom_head h;
    if (!take(ctx, &h, sizeof h)) { return CELLAR_E_IO; }
    cellar_err err = bloom_head_check(&h, check);
    if (err != CELLAR_OK) { return err; }
    bloom_busy_take(b);
    err = BLOOM_STATE(base_load_acq(&b->desc)) == BLOOM_OFF ? CELLAR_OK : CELLAR_E_INVAL;
    if (err == CELLAR_OK) { err = bloom_load_set(b, &h, take, ctx); }
    if (err == CELLAR_OK) {
        bloom_set *set = &b->set[0];
        base_store_rlx(&set->expected, h.expected);
        base_store_rlx(&set->fpp_e9, h.fpp_e9);
        base_store_rlx(&set->every, (uint32_t)base_pow2_floor(base_clamp(h.expected / 1024, 1,
                                                                         64)));
        for (unsigned i = 0; i < BLOOM_SLOTS; i++) {
            base_store_rlx(&b->slot[i].fresh[0], i == 0 ? h.keys : (uint64_t)0);
        }
        const bool full = h.keys >= bloom_room(set, BLOOM_LAYERS);
        base_store_rlx(&set->stuck, full ? (uint32_t)BLOOM_FULL : 0u);
        const bool believed = clean && !full && h.state == BLOOM_AUTHORITATIVE;
        base_store_rlx(&b->doubt, (uint32_t)BLOOM_TRUSTED);
        if (!believed && h.state == BLOOM_AUTHORITATIVE) { bloom_suspect(b, BLOOM_IMAGE); }
        (void)base_add_ar(&b->fill, 1u);
        bloom_publish(b, BLOOM_NUMBER_ONE - 1,
                      (believed ? (uint64_t)BLOOM_AUTHORITATIVE : (uint64_t)BLOOM_OBSERVING) |
                          (uint64_t)h.layers << 4);
    }
    bloom_busy_drop(b);
    return err;
}

/* ---- audit ---- */

/* Return whether a free slab is all zero. An adder without a lock could have set bits in a dropped
 * set. */
static bool bloom_slab_clean(const bloom_slab *s)
{
    const _Atomic uint64_t *words = (const _Atomic uint64_t *)(void *)s->mem.base;
    uint64_t any = 0;
    for (uint64_t i = 0; i < s->committed / 8; i++) { any |= base_load_rlx(&words[i]); }
    return any == 0;
}

static bool bloom_set_uses(const bloom *b, unsigned set, unsigned layers, const bloom_slab *s)
{
    for (unsigned i = 0; i < layers; i++) {
        if (base_load_rlx(&b->set[set].layer[i]) == s) { return true; }
    }
    return false;
}

CELLAR_PRIVATE const char *bloom_audit(const bloom *b)
{
    const uint64_t d = base_load_rlx(&b->desc);
    const unsigned n[BLOOM_SETS] = { BLOOM_LAYERS_OF(d, 0), BLOOM_LAYERS_OF(d, 1) };
    const unsigned which = BLOOM_WHICH(d);
    if (n[0] > BLOOM_LAYERS || n[1] > BLOOM_LAYERS) { return "bloom: more layers than there are"; }
    if (BLOOM_STATE(d) == BLOOM_OFF && n[0] + n[1] != 0) { return "bloom: off, with layers"; }
    if (BLOOM_STATE(d) != BLOOM_OFF && (n[which] == 0 || (n[which ^ 1] != 0) != BLOOM_FILLING(d))) {
        return "bloom: layers and state do not agree";
    }
    unsigned used = 0;
    for (const bloom_slab *s = b->slabs; s != NULL; s = s->next) {
        const bool in0 = bloom_set_uses(b, 0, n[0], s), in1 = bloom_set_uses(b, 1, n[1], s);
        if (in0 && in1) { return "bloom: a slab in both sets"; }
        if ((in0 || in1) != (s->bytes != 0)) { return "bloom: a slab is used and free at once"; }
        if (s->bytes > s->mem.reserved_bytes ||
            base_load_rlx(&s->blocks) * BLOOM_BLOCK > s->mem.reserved_bytes) {
            return "bloom: a slab is larger than its room";
        }
        if (s->bytes == 0 && !bloom_slab_clean(s)) { return "bloom: a bit in a free slab"; }
        used += in0 || in1 ? 1u : 0u;
    }
    return used == n[0] + n[1] ? NULL : "bloom: a layer without a slab";
}

BASE_SIZE_END
