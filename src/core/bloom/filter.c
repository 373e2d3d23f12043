/* SPDX-License-Identifier: MIT
 *
 * filter: a blocked Bloom filter that is rebuilt while it serves and tracks its own doubts.
 *
 * PICTURE    desc {number, filling, which set, state} one 64-bit word
 *            set[2] -> slab {blocks of 64 bytes}; a key owns k bits of one block:
 *            hash * blocks >> 64 = block; 9-bit slices of a remix of hash = bits
 *            OFF -open-> OBSERVING -fill-> AUTHORITATIVE -doubt-> OBSERVING
 *            rebuild: open the other set, add to both sets, the end of the fill swaps them
 * LAYOUT     A slab is a region of its own, reserved by powers of two and unmapped only in
 *            bloom_destroy. The pages of a dropped set are given back and read zero; a late reader
 *            may still look at them.
 * INVARIANTS A key with a completed add is in the set that answers, or the state is not
 *            AUTHORITATIVE.
 *            blocks * 64 <= reserved bytes of the slab at every instant. `number` rises with each
 *            change of desc: a fill is void if desc is not that of its begin.
 * LOCKING    Readers: none. They read desc, bits (acquire), desc; a changed desc means "maybe".
 *            Adders: one of 16 locks (rank BLOOM) per thread, while they read desc and set bits.
 *            open, fill, off: `busy` (a role, sync.h), then all 16 locks in order.
 *            A doubt changes desc by CAS only.
 * LIMITS     2^40 keys, rates 0.01..50 percent; 4 n keys in a set made for n, then doubt (FULL).
 * SEE ALSO   bloom/README.md: proof, rejected designs, sources; bloom_guard.c: callers;
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
#define BLOOM_OVERFILL 4u /* times `expected` keys: then a set is full */

/* fields of desc */
#define BLOOM_STATE(d) ((cellar_bloom_state)((d) & 3u))
#define BLOOM_WHICH(d) ((unsigned)((d) >> 2) & 1u)
#define BLOOM_FILLING(d) (((d) & BLOOM_FILLING_BIT) != 0)
#define BLOOM_FILLING_BIT ((uint64_t)8)
#define BLOOM_NUMBER_ONE ((uint64_t)16)

typedef struct bloom_slab { /* lives until bloom_destroy: late readers look into it */
    struct bloom_slab *next; /* all slabs of the filter; under busy */
    base_region mem;         /* constant */
    _Atomic uint64_t blocks; /* blocks in use; release before the descriptor that names it */
    _Atomic uint32_t hashes; /* k, bits per key */
    uint64_t bytes;          /* charged bytes; 0: free slab that reads zero; under busy */
    uint64_t committed;      /* maximum of `bytes` so far; under busy */
} bloom_slab;

typedef struct bloom_set {
    bloom_slab *_Atomic slab;
    _Atomic uint64_t expected; /* keys */
    _Atomic uint64_t fpp_e9;   /* rate of false positives at `expected` keys, in 1e-9 */
    _Atomic uint64_t room;     /* sum of `fresh` of a set with `expected` keys, and 2 % */
    _Atomic uint64_t limit;    /* sum of `fresh` of a set with BLOOM_OVERFILL times as many */
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
    _Atomic uint32_t busy;      /* role: the thread that has it changes sets or slabs */
    _Atomic uint32_t doubt;
    _Atomic uint32_t doubts;    /* times the filter stopped being believed */
    bloom_slab *slabs;          /* under busy */
    base_account *account;
    void *raw;                  /* allocation that contains this struct */
};

BASE_SIZE_BEGIN

/* ---- size ---- */

static uint64_t bloom_e9(double fpp) { return (uint64_t)(fpp * 1e9 + 0.5); }

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
    uint32_t k = 1; /* a set is at most 0.4 % larger than with the best k */
    while (0.8 * bloom_power(0.48, k) > fpp) { k++; }
    BASE_ASSERT(k <= BLOOM_HASHES);
    const double exact = (double)n / bloom_mean(fpp, k) + 1.0;
    if (exact > (double)(SIZE_MAX / 4 / BLOOM_BLOCK)) { return false; }
    *hashes = k;
    /* whole pages: all charged bytes are usable */
    *blocks = base_round_up((uint64_t)exact, BASE_PAGE / BLOOM_BLOCK);
    return true;
}

/* Return how many of n different keys change a bit: the others are false positives when they are
 * added. Exact enough for n up to BLOOM_OVERFILL times the keys of the size. */
static uint64_t bloom_counted(double n, uint64_t blocks, unsigned k)
{
    const double steps = 64, bits = n * k / (double)blocks / BLOOM_BITS;
    double sum = 0;
    for (double at = 0.5; at < steps; at += 1) {
        sum += 1.0 - bloom_power(1.0 - bloom_exp_neg(bits * at / steps), k);
    }
    return (uint64_t)(sum * n / steps + 0.5);
}

/* ---- slabs; all functions run under busy ---- */

/* Return a free slab with room for the bytes; NULL: none. */
static bloom_slab *bloom_slab_find(bloom *b, uint64_t bytes)
{
    bloom_slab *s = b->slabs;
    while (s != NULL && (s->bytes != 0 || s->mem.reserved_bytes < bytes)) { s = s->next; }
    return s;
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

static void bloom_set_give(bloom *b, unsigned which)
{
    BASE_POINT("bloom.give");
    bloom_slab_give(b, base_load_rlx(&b->set[which].slab));
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

static bool bloom_set_has(const bloom_set *set, uint64_t hash)
{
    const bloom_slab *s = base_load_acq(&set->slab);
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
static bool bloom_set_put(const bloom_set *set, uint64_t hash)
{
    const bloom_slab *s = base_load_acq(&set->slab);
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

CELLAR_PRIVATE bloom_answer bloom_ask(const bloom *b, uint64_t hash)
{
    const uint64_t d = base_load_sc(&b->desc);
    const cellar_bloom_state state = BLOOM_STATE(d);
    if (state == CELLAR_BLOOM_OFF) { return BLOOM_MAYBE; }
    BASE_POINT("bloom.ask");
    if (bloom_set_has(&b->set[BLOOM_WHICH(d)], hash)) { return BLOOM_MAYBE; }
    if (base_load_sc(&b->desc) != d) { return BLOOM_MAYBE; }
    return state == CELLAR_BLOOM_AUTHORITATIVE ? BLOOM_NEVER : BLOOM_WOULD;
}

CELLAR_PRIVATE uint32_t bloom_doubts(const bloom *b) { return base_load_acq(&b->doubts); }

CELLAR_PRIVATE cellar_bloom_state bloom_state_of(const bloom *b)
{
    return BLOOM_STATE(base_load_acq(&b->desc));
}

BASE_SIZE_BEGIN

/* ---- changes of sets ---- */

/* Change desc with all adders locked out, because they add to the sets that desc names. */
SYNC_UNCHECKED static void bloom_publish(bloom *b, uint64_t clear, uint64_t set)
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

CELLAR_PRIVATE bool bloom_distrust(bloom *b, cellar_bloom_doubt why)
{
    uint64_t d;
    do {
        d = base_load_acq(&b->desc);
        if (BLOOM_STATE(d) != CELLAR_BLOOM_AUTHORITATIVE) { return false; }
    } while (!base_cas_sc(&b->desc, d, d - 1 + BLOOM_NUMBER_ONE));
    base_store_rlx(&b->doubt, (uint32_t)why);
    (void)base_add_ar(&b->doubts, 1u);
    return true;
}

CELLAR_PRIVATE void bloom_suspect(bloom *b, cellar_bloom_doubt why)
{
    base_store_rlx(&b->doubt, (uint32_t)why);
    (void)base_add_ar(&b->doubts, 1u);
}

static uint64_t bloom_fresh(const bloom *b, unsigned which)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < BLOOM_SLOTS; i++) { n += base_load_rlx(&b->slot[i].fresh[which]); }
    return n;
}

static bool bloom_full(const bloom *b, unsigned which)
{
    return bloom_fresh(b, which) > base_load_rlx(&b->set[which].limit);
}

BASE_SIZE_END

/* ---- adding ---- */

/* Add the key under the lock of the slot. Return true if it is time to look whether the set is
 * full. */
static bool bloom_set_add(bloom *b, bloom_slot *slot, unsigned which, uint64_t hash)
{
    const bloom_set *set = &b->set[which];
    if (!bloom_set_put(set, hash)) { return false; }
    const uint64_t n = base_load_rlx(&slot->fresh[which]) + 1;
    base_store_rlx(&slot->fresh[which], n);
    return (n & (base_load_rlx(&set->every) - 1)) == 0;
}

CELLAR_PRIVATE uint64_t bloom_add_begin(bloom *b, uint64_t hash)
{
    bloom_slot *slot = &b->slot[base_thread_self()->index % BLOOM_SLOTS];
    bool check = false;
    sync_take(BLOOM, &slot->lock);
    const uint64_t d = base_load_sc(&b->desc);
    const unsigned which = BLOOM_WHICH(d);
    BASE_POINT("bloom.add");
    if (BLOOM_STATE(d) != CELLAR_BLOOM_OFF) {
        check = bloom_set_add(b, slot, which, hash);
        if (BLOOM_FILLING(d)) { (void)bloom_set_add(b, slot, which ^ 1, hash); }
    }
    if (BASE_UNLIKELY(check) && bloom_full(b, which)) {
        (void)bloom_distrust(b, CELLAR_BLOOM_DOUBT_FULL);
    }
    sync_drop(BLOOM, &slot->lock);
    return d;
}

CELLAR_PRIVATE void bloom_add_end(bloom *b, uint64_t hash, uint64_t desc)
{
    while (BASE_UNLIKELY(base_load_sc(&b->desc) != desc)) {
        desc = bloom_add_begin(b, hash);
    }
}

CELLAR_PRIVATE void bloom_add(bloom *b, uint64_t hash) { (void)bloom_add_begin(b, hash); }

BASE_SIZE_BEGIN

/* ---- sets: open, fill, drop ---- */

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

/* Prepare a set with `keys` counted keys. No descriptor names the set yet: no thread adds to it. */
static void bloom_set_init(bloom *b, unsigned which, bloom_slab *slab, uint64_t expected,
                           uint64_t fpp_e9, uint64_t keys)
{
    bloom_set *set = &b->set[which];
    const uint64_t blocks = base_load_rlx(&slab->blocks);
    const uint32_t k = base_load_rlx(&slab->hashes);
    const double n = (double)expected;
    base_store_rlx(&set->expected, expected);
    base_store_rlx(&set->fpp_e9, fpp_e9);
    base_store_rlx(&set->room, bloom_counted(n * 1.02, blocks, k));
    base_store_rlx(&set->limit, bloom_counted(n * BLOOM_OVERFILL, blocks, k));
    base_store_rlx(&set->every, (uint32_t)base_pow2_floor(base_clamp(expected / 1024, 1, 64)));
    for (unsigned i = 0; i < BLOOM_SLOTS; i++) {
        base_store_rlx(&b->slot[i].fresh[which], i == 0 ? keys : (uint64_t)0);
    }
    base_store_rel(&set->slab, slab); /* acquire in bloom_set_has */
}

/* Open the set that does not answer: the first one as OBSERVING, the second one to be filled. */
static cellar_err bloom_set_open(bloom *b, uint64_t d, uint64_t expected, double fpp)
{
    const bool off = BLOOM_STATE(d) == CELLAR_BLOOM_OFF;
    uint64_t blocks;
    uint32_t hashes;
    bloom_slab *s;
    if (expected == 0 || expected > BLOOM_KEYS_MAX || !(fpp >= BLOOM_FPP_LEAST) ||
        !(fpp <= BLOOM_FPP_MOST)) {
        return CELLAR_E_INVAL;
    }
    if (!bloom_size(expected, fpp, &hashes, &blocks)) { return CELLAR_E_NOMEM; }
    const cellar_err err = bloom_slab_take(b, blocks, hashes, &s);
    if (err != CELLAR_OK) { return err; }
    bloom_set_init(b, off ? 0 : BLOOM_WHICH(d) ^ 1u, s, expected, bloom_e9(fpp), 0);
    if (off) { base_store_rlx(&b->doubt, (uint32_t)CELLAR_BLOOM_DOUBT_NONE); }
    bloom_publish(b, off ? BLOOM_NUMBER_ONE - 1 : 0,
                  off ? (uint64_t)CELLAR_BLOOM_OBSERVING : BLOOM_FILLING_BIT);
    return CELLAR_OK;
}

CELLAR_PRIVATE cellar_err bloom_open(bloom *b, uint64_t expected, double fpp)
{
    sync_role_take(&b->busy);
    const uint64_t d = base_load_acq(&b->desc);
    const cellar_err err =
        BLOOM_STATE(d) == CELLAR_BLOOM_OFF ? bloom_set_open(b, d, expected, fpp) : CELLAR_OK;
    sync_role_drop(&b->busy);
    return err;
}

/* Drop the set that is being filled beside the answering set, if there is one. */
static void bloom_second_drop(bloom *b)
{
    const uint64_t d = base_load_acq(&b->desc);
    if (!BLOOM_FILLING(d)) { return; }
    bloom_publish(b, BLOOM_FILLING_BIT, 0);
    bloom_set_give(b, BLOOM_WHICH(d) ^ 1u);
}

CELLAR_PRIVATE void bloom_off(bloom *b)
{
    sync_role_take(&b->busy);
    bloom_second_drop(b);
    const uint64_t d = base_load_acq(&b->desc);
    if (BLOOM_STATE(d) != CELLAR_BLOOM_OFF) {
        bloom_publish(b, BLOOM_NUMBER_ONE - 1, 0);
        bloom_set_give(b, BLOOM_WHICH(d));
    }
    sync_role_drop(&b->busy);
}

/* Return whether the answering set may be filled: it decides nothing and has the size. */
static bool bloom_fits(const bloom *b, uint64_t d, uint64_t expected, double fpp)
{
    const bloom_set *set = &b->set[BLOOM_WHICH(d)];
    return BLOOM_STATE(d) == CELLAR_BLOOM_OBSERVING && base_load_rlx(&set->expected) == expected &&
           base_load_rlx(&set->fpp_e9) == bloom_e9(fpp) && !bloom_full(b, BLOOM_WHICH(d));
}

CELLAR_PRIVATE cellar_err bloom_fill_begin(bloom *b, uint64_t expected, double fpp, uint64_t *fill)
{
    sync_role_take(&b->busy);
    bloom_second_drop(b); /* of a fill in the parent of this process */
    const uint64_t d = base_load_acq(&b->desc);
    const cellar_err err = BLOOM_STATE(d) == CELLAR_BLOOM_OFF ? CELLAR_E_INVAL
                           : bloom_fits(b, d, expected, fpp) ? CELLAR_OK
                           : bloom_set_open(b, d, expected, fpp);
    *fill = base_load_acq(&b->desc);
    sync_role_drop(&b->busy);
    return err;
}

CELLAR_PRIVATE cellar_err bloom_fill_end(bloom *b, uint64_t fill, cellar_err err)
{
    sync_role_take(&b->busy);
    const uint64_t d = base_load_acq(&b->desc);
    const unsigned old = BLOOM_WHICH(d);
    const unsigned newest = BLOOM_FILLING(d) ? old ^ 1u : old;
    if (err == CELLAR_OK && d != fill) { err = CELLAR_E_BUSY; }
    if (err == CELLAR_OK && bloom_full(b, newest)) { err = CELLAR_E_LIMIT; }
    if (err == CELLAR_OK) {
        base_store_rlx(&b->doubt, (uint32_t)CELLAR_BLOOM_DOUBT_NONE);
        bloom_publish(b, BLOOM_NUMBER_ONE - 1, (uint64_t)CELLAR_BLOOM_AUTHORITATIVE | newest << 2);
        if (newest != old) { bloom_set_give(b, old); }
    } else {
        bloom_second_drop(b);
    }
    sync_role_drop(&b->busy);
    return err;
}

static uint64_t bloom_set_bytes(const bloom_set *set)
{
    return base_load_rlx(&base_load_acq(&set->slab)->blocks) * BLOOM_BLOCK;
}

CELLAR_PRIVATE void bloom_figures_get(const bloom *b, cellar_bloom_info *out)
{
    const uint64_t d = base_load_acq(&b->desc);
    const unsigned which = BLOOM_WHICH(d);
    const bloom_set *set = &b->set[which];
    *out = cellar_bloom_info_default();
    out->state = BLOOM_STATE(d);
    out->doubt = (cellar_bloom_doubt)base_load_rlx(&b->doubt);
    if (out->state == CELLAR_BLOOM_OFF) { return; }
    out->filling = BLOOM_FILLING(d);
    out->expected_keys = base_load_rlx(&set->expected);
    out->keys = bloom_fresh(b, which);
    out->outgrown = out->keys > base_load_rlx(&set->room);
    out->false_positive_rate = (double)base_load_rlx(&set->fpp_e9) / 1e9;
    out->bytes = bloom_set_bytes(set);
    if (out->filling) { out->bytes += bloom_set_bytes(&b->set[which ^ 1]); }
}

/* ---- images ----
 *
 * FORMAT     Little-endian: 128 bytes, the words of the filter, u64 sum of those words.
 *              0 u32 magic   4 u32 version   8 u64 hash key's check   16 u64 expected
 *             24 u64 rate in 1e-9   32 u64 keys   40 u32 number of filters: 1   44 u32 state
 *             48 u64 blocks   56 u32 k   60 60 bytes 0   120 u64 sum of the first 120 bytes */

#define BLOOM_MAGIC 0x4d4c4263u
#define BLOOM_VERSION 1u
#define BLOOM_PIECE 256u /* words moved per call */

typedef struct bloom_head {
    uint32_t magic, version;
    uint64_t check, expected, fpp_e9, keys;
    uint32_t filters, state;
    uint64_t blocks;
    uint32_t hashes, zero[15];
    uint64_t sum;
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

static bool bloom_save_bits(const bloom_slab *s, uint64_t blocks,
                            bool (*give)(void *ctx, const void *bytes, size_t len), void *ctx)
{
    const _Atomic uint64_t *from = (const _Atomic uint64_t *)(void *)s->mem.base;
    uint64_t piece[BLOOM_PIECE], sum = 0;
    const uint64_t words = blocks * BLOOM_WORDS; /* whole pages: a multiple of BLOOM_PIECE */
    for (uint64_t at = 0; at < words; at += BLOOM_PIECE) {
        for (size_t i = 0; i < BLOOM_PIECE; i++) { piece[i] = base_load_acq(&from[at + i]); }
        sum = bloom_sum(sum, piece, BLOOM_PIECE);
        if (!give(ctx, piece, sizeof piece)) { return false; }
    }
    return give(ctx, &sum, sizeof sum);
}

CELLAR_PRIVATE uint64_t bloom_image_bytes(const bloom *b)
{
    const bloom_set *set = &b->set[BLOOM_WHICH(base_load_acq(&b->desc))];
    return sizeof(bloom_head) + bloom_set_bytes(set) + sizeof(uint64_t);
}

CELLAR_PRIVATE cellar_err bloom_save(const bloom *b, uint64_t check,
                                     bool (*give)(void *ctx, const void *bytes, size_t len),
                                     void *ctx)
{
    const uint64_t d = base_load_sc(&b->desc);
    if (BLOOM_STATE(d) == CELLAR_BLOOM_OFF) { return CELLAR_E_INVAL; }
    const unsigned which = BLOOM_WHICH(d);
    const bloom_set *set = &b->set[which];
    const bloom_slab *s = base_load_acq(&set->slab);
    bloom_head h = { .magic = BLOOM_MAGIC, .version = BLOOM_VERSION, .check = check,
                     .expected = base_load_rlx(&set->expected),
                     .fpp_e9 = base_load_rlx(&set->fpp_e9), .keys = bloom_fresh(b, which),
                     .filters = 1, .state = (uint32_t)BLOOM_STATE(d),
                     .blocks = base_load_acq(&s->blocks), .hashes = base_load_acq(&s->hashes) };
    if (BLOOM_WHICH(base_load_sc(&b->desc)) != which) { return CELLAR_E_BUSY; }
    h.sum = bloom_head_sum(&h);
    if (!give(ctx, &h, sizeof h) || !bloom_save_bits(s, h.blocks, give, ctx)) {
        return CELLAR_E_IO;
    }
    const uint64_t now = base_load_sc(&b->desc); /* a dropped set reads zero */
    const bool same = BLOOM_WHICH(now) == which && BLOOM_STATE(now) != CELLAR_BLOOM_OFF;
    return same ? CELLAR_OK : CELLAR_E_BUSY;
}

static cellar_err bloom_head_check(const bloom_head *h, uint64_t check)
{
    if (h->magic != BLOOM_MAGIC || h->sum != bloom_head_sum(h)) { return CELLAR_E_CORRUPT; }
    if (h->version != BLOOM_VERSION || h->filters != 1) { return CELLAR_E_NEWER_FORMAT; }
    if (h->check != check) { return CELLAR_E_FOREIGN; }
    const bool bad = h->expected == 0 || h->expected > BLOOM_KEYS_MAX ||
                     h->fpp_e9 < bloom_e9(BLOOM_FPP_LEAST) ||
                     h->fpp_e9 > bloom_e9(BLOOM_FPP_MOST) ||
                     h->state < CELLAR_BLOOM_OBSERVING || h->state > CELLAR_BLOOM_AUTHORITATIVE ||
                     h->blocks == 0 || h->blocks % (BASE_PAGE / BLOOM_BLOCK) != 0 ||
                     h->blocks > (uint64_t)(SIZE_MAX / 4 / BLOOM_BLOCK) || h->hashes == 0 ||
                     h->hashes > BLOOM_HASHES;
    return bad ? CELLAR_E_CORRUPT : CELLAR_OK;
}

static cellar_err bloom_load_bits(const bloom_slab *s, uint64_t blocks,
                                  bool (*take)(void *ctx, void *bytes, size_t len), void *ctx)
{
    _Atomic uint64_t *to = (_Atomic uint64_t *)(void *)s->mem.base;
    uint64_t piece[BLOOM_PIECE], sum = 0, wanted;
    for (uint64_t at = 0; at < blocks * BLOOM_WORDS; at += BLOOM_PIECE) {
        if (!take(ctx, piece, sizeof piece)) { return CELLAR_E_IO; }
        sum = bloom_sum(sum, piece, BLOOM_PIECE);
        for (size_t i = 0; i < BLOOM_PIECE; i++) {
            if (piece[i] != 0) { base_store_rlx(&to[at + i], piece[i]); }
        }
    }
    if (!take(ctx, &wanted, sizeof wanted)) { return CELLAR_E_IO; }
    return wanted == sum ? CELLAR_OK : CELLAR_E_CORRUPT;
}

CELLAR_PRIVATE cellar_err bloom_load(bloom *b, uint64_t check, bool clean,
                                     bool (*take)(void *ctx, void *bytes, size_t len), void *ctx)
{
    bloom_head h;
    bloom_slab *s = NULL;
    if (!take(ctx, &h, sizeof h)) { return CELLAR_E_IO; }
    cellar_err err = bloom_head_check(&h, check);
    if (err != CELLAR_OK) { return err; }
    sync_role_take(&b->busy);
    err = BLOOM_STATE(base_load_acq(&b->desc)) == CELLAR_BLOOM_OFF ? CELLAR_OK : CELLAR_E_INVAL;
    if (err == CELLAR_OK) { err = bloom_slab_take(b, h.blocks, h.hashes, &s); }
    if (err == CELLAR_OK && (err = bloom_load_bits(s, h.blocks, take, ctx)) != CELLAR_OK) {
        bloom_slab_give(b, s);
    }
    if (err == CELLAR_OK) {
        bloom_set_init(b, 0, s, h.expected, h.fpp_e9, h.keys);
        const bool was = h.state == CELLAR_BLOOM_AUTHORITATIVE;
        const bool believed = clean && was && !bloom_full(b, 0);
        base_store_rlx(&b->doubt, (uint32_t)CELLAR_BLOOM_DOUBT_NONE);
        if (was && !believed) { bloom_suspect(b, CELLAR_BLOOM_DOUBT_RESTORED); }
        bloom_publish(b, BLOOM_NUMBER_ONE - 1,
                      (uint64_t)(believed ? CELLAR_BLOOM_AUTHORITATIVE : CELLAR_BLOOM_OBSERVING));
    }
    sync_role_drop(&b->busy);
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

CELLAR_PRIVATE const char *bloom_audit(const bloom *b)
{
    const uint64_t d = base_load_rlx(&b->desc);
    const unsigned which = BLOOM_WHICH(d);
    const bool on = BLOOM_STATE(d) != CELLAR_BLOOM_OFF;
    if (!on && BLOOM_FILLING(d)) { return "bloom: off, with a second set"; }
    unsigned used = 0;
    for (const bloom_slab *s = b->slabs; s != NULL; s = s->next) {
        const bool first = on && base_load_rlx(&b->set[which].slab) == s;
        const bool second = BLOOM_FILLING(d) && base_load_rlx(&b->set[which ^ 1].slab) == s;
        if (first && second) { return "bloom: a slab in both sets"; }
        if ((first || second) != (s->bytes != 0)) { return "bloom: a slab is used and free"; }
        if (s->bytes > s->mem.reserved_bytes ||
            base_load_rlx(&s->blocks) * BLOOM_BLOCK > s->mem.reserved_bytes) {
            return "bloom: a slab is larger than its room";
        }
        if (s->bytes == 0 && !bloom_slab_clean(s)) { return "bloom: a bit in a free slab"; }
        used += first || second ? 1u : 0u;
    }
    return used == (unsigned)on + (unsigned)BLOOM_FILLING(d) ? NULL : "bloom: a set without a slab";
}

BASE_SIZE_END
