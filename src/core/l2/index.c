/* SPDX-License-Identifier: MIT
 *
 * index: one word for each key of the log: 56 bits of its hash, place and size of its record.
 *
 * PICTURE    hash: 8 bits shard | 48 bits in the word, of which 32 give the slot | 8 bits unused
 *            slot: u32 hash, low half | u16 hash, u12 size, u4 place | u32 place
 *            place: (lsn / granule) modulo 2^36; size: 8 bits << 4 bits, in 8 B
 * INVARIANTS A shard is a table with linear probing; a removal moves later words back, so there are
 *            no marks of removed words. A size of 0 is an empty slot, 1 a tombstone of an open.
 *            Each word leads into head .. head + 2^36 granules, so a place gives one lsn.
 * LOCKING    L2_TOMBSTONE_LOCK of the shard, for readers too. head is read under it: the put that
 *            stored a word knew a head as new.
 * LIMITS     Two keys with the same 56 bits share a word: the older one becomes a miss. */
#include "l2/index.h"

#define L2_SLOT_WORDS 3u
#define L2_SIZE_TOMB 1u
#define L2_NEAR_SLOTS 32u /* a place is taken from one of these */

BASE_SIZE_BEGIN

CELLAR_PRIVATE uint64_t l2_index_per(uint64_t places) { return places / 7 * 8 / L2_SHARDS + 16; }

CELLAR_PRIVATE bool l2_index_open(l2 *d, uint64_t places)
{
    const uint64_t per = l2_index_per(places);
    if (per > UINT32_MAX / L2_SLOT_WORDS) { return false; }
    const size_t bytes = (size_t)per * L2_SHARDS * L2_SLOT_WORDS * sizeof(uint32_t);
    d->index.slots = base_alloc(d->cfg.account, BASE_MOD_L2_INDEX, bytes, NULL);
    if (d->index.slots == NULL) { return false; }
    d->index.per = (uint32_t)per;
    for (uint32_t i = 0; i < L2_SHARDS; i++) {
        d->index.shard[i].slot = d->index.slots + (size_t)i * per * L2_SLOT_WORDS;
    }
    return true;
}

CELLAR_PRIVATE void l2_index_close(l2 *d)
{
    const size_t bytes = (size_t)d->index.per * L2_SHARDS * L2_SLOT_WORDS * sizeof(uint32_t);
    base_free(d->cfg.account, BASE_MOD_L2_INDEX, d->index.slots, bytes);
    d->index.slots = NULL;
}

BASE_SIZE_END

/* ---- sizes ---- */

/* Return 12 bits for a size: 8 bits of units of 8 bytes << 4 bits. Never below 2. */
static uint32_t l2_size_bits(uint32_t bytes)
{
    uint32_t units = (bytes + 7) / 8, shift = 0;
    for (; units > 255; shift++) { units = (units + 1) / 2; }
    return BASE_MAX(units, 2u) << 4 | shift;
}

static uint32_t l2_size_of(uint32_t bits) { return (bits >> 4) * 8 << (bits & 15u); }

CELLAR_PRIVATE uint32_t l2_word_bytes(uint32_t bytes) { return l2_size_of(l2_size_bits(bytes)); }

/* ---- slots ---- */

static uint32_t l2_slot_size(const uint32_t *s) { return s[1] >> 16 & 0xfffu; }
static uint64_t l2_slot_hash(const uint32_t *s) { return (uint64_t)(s[1] & 0xffffu) << 32 | s[0]; }
static uint64_t l2_bits48(uint64_t hash) { return hash >> 8 & (((uint64_t)1 << 48) - 1); }

static uint32_t l2_slot_home(const l2 *d, uint64_t bits)
{
    return (uint32_t)((bits >> 8 & UINT32_MAX) * d->index.per >> 32);
}

/* Return the slot that has these bits above the lowest `ignored`, or the empty one where the search
 * ends. */
static uint32_t *l2_slot_at(const l2 *d, const l2_shard *s, uint64_t bits, uint32_t ignored)
{
    uint32_t i = l2_slot_home(d, bits);
    uint32_t *at = s->slot + (size_t)i * L2_SLOT_WORDS;
    while (at[1] >> 16 != 0 && l2_slot_hash(at) >> ignored != bits >> ignored) {
        i = i + 1 == d->index.per ? 0 : i + 1;
        at = s->slot + (size_t)i * L2_SLOT_WORDS;
    }
    return at;
}

static l2_word l2_slot_word(l2 *d, const uint32_t *s)
{
    const uint32_t size = l2_slot_size(s);
    if (size == 0) { return (l2_word){ .lsn = 0 }; }
    const uint64_t head = base_load_acq(&d->head), place = (uint64_t)(s[1] >> 28) << 32 | s[2];
    const uint64_t past = (place - head / d->form.granule) & (L2_PLACES - 1);
    return (l2_word){ .lsn = head + past * d->form.granule, .tomb = size == L2_SIZE_TOMB,
                      .bytes = l2_size_of(size) };
}

CELLAR_PRIVATE l2_word l2_index_find(l2 *d, uint64_t hash)
{
    return l2_slot_word(d, l2_slot_at(d, l2_shard_of(d, hash), l2_bits48(hash), 0));
}

CELLAR_PRIVATE void l2_index_ahead(l2 *d, uint64_t hash)
{
    const l2_shard *s = l2_shard_of(d, hash);
    BASE_PREFETCH(s->slot + (size_t)l2_slot_home(d, l2_bits48(hash)) * L2_SLOT_WORDS);
}

CELLAR_PRIVATE l2_word l2_index_find48(l2 *d, uint64_t h48)
{
    const uint64_t hash = h48 << 16;
    return l2_slot_word(d, l2_slot_at(d, l2_shard_of(d, hash), l2_bits48(hash), 8));
}

CELLAR_PRIVATE l2_word l2_index_near(l2 *d, uint64_t hash, uint64_t after, uint64_t *other)
{
    const l2_shard *s = l2_shard_of(d, hash);
    uint32_t i = l2_slot_home(d, l2_bits48(hash));
    l2_word oldest = { .lsn = 0 };
    for (uint32_t n = 0; n < L2_NEAR_SLOTS; n++, i = i + 1 == d->index.per ? 0 : i + 1) {
        const uint32_t *at = s->slot + (size_t)i * L2_SLOT_WORDS;
        const l2_word w = l2_slot_word(d, at);
        if (w.lsn <= after || (oldest.lsn != 0 && w.lsn > oldest.lsn)) { continue; }
        oldest = w;
        *other = (hash & ~(UINT64_MAX >> 8)) | l2_slot_hash(at) << 8;
    }
    return oldest;
}

CELLAR_PRIVATE bool l2_index_room(l2 *d, uint64_t hash)
{
    return l2_shard_of(d, hash)->used + 1 <= d->index.per - d->index.per / 8;
}

CELLAR_PRIVATE void l2_index_set(l2 *d, uint64_t hash, uint64_t lsn, uint32_t bytes)
{
    const uint64_t place = lsn / d->form.granule & (L2_PLACES - 1), bits = l2_bits48(hash);
    l2_shard *s = l2_shard_of(d, hash);
    uint32_t *at = l2_slot_at(d, s, bits, 0);
    if (l2_slot_size(at) == 0) {
        BASE_ASSERT(s->used < d->index.per);
        s->used++;
        (void)base_add_rlx(&d->index.words, (uint64_t)1);
    }
    const uint32_t size = bytes != 0 ? l2_size_bits(bytes) : L2_SIZE_TOMB;
    at[0] = (uint32_t)bits;
    at[1] = (uint32_t)(place >> 32) << 28 | size << 16 | (uint32_t)(bits >> 32);
    at[2] = (uint32_t)place;
}

static void l2_slot_drop(l2 *d, l2_shard *s, uint32_t *at)
{
    const uint32_t per = d->index.per;
    uint32_t hole = (uint32_t)((size_t)(at - s->slot) / L2_SLOT_WORDS), i = hole;
    for (;;) {
        i = i + 1 == per ? 0 : i + 1;
        const uint32_t *next = s->slot + (size_t)i * L2_SLOT_WORDS;
        if (l2_slot_size(next) == 0) { break; }
        const uint32_t home = l2_slot_home(d, l2_slot_hash(next));
        const bool stays = hole <= i ? hole < home && home <= i : hole < home || home <= i;
        if (stays) { continue; }
        memcpy(s->slot + (size_t)hole * L2_SLOT_WORDS, next, L2_SLOT_WORDS * sizeof *next);
        hole = i;
    }
    memset(s->slot + (size_t)hole * L2_SLOT_WORDS, 0, L2_SLOT_WORDS * sizeof *at);
    s->used--;
    (void)base_sub_rlx(&d->index.words, (uint64_t)1);
}

CELLAR_PRIVATE void l2_index_drop(l2 *d, uint64_t hash)
{
    l2_shard *s = l2_shard_of(d, hash);
    uint32_t *at = l2_slot_at(d, s, l2_bits48(hash), 0);
    BASE_ASSERT(l2_slot_size(at) != 0);
    l2_slot_drop(d, s, at);
}

CELLAR_PRIVATE void l2_index_spill(l2 *d, uint64_t hash, l2_tombs *to)
{
    l2_shard *s = l2_shard_of(d, hash);
    for (uint32_t j = 0; j < d->index.per;) {
        uint32_t *at = s->slot + (size_t)j * L2_SLOT_WORDS;
        if (l2_slot_size(at) != L2_SIZE_TOMB) {
            j++;
            continue;
        }
        l2_tombs_add(to, (hash & ~(UINT64_MAX >> 8)) | l2_slot_hash(at) << 8);
        l2_slot_drop(d, s, at); /* another word may have come here */
    }
}

/* Remove the words below `below`, or tombstones alone. */
static void l2_index_clear(l2 *d, uint64_t below, bool tombs)
{
    for (uint32_t i = 0; i < L2_SHARDS; i++) {
        l2_shard *s = &d->index.shard[i];
        sync_take(L2_TOMBSTONE_LOCK, &s->lock);
        for (uint32_t j = 0; j < d->index.per;) {
            uint32_t *at = s->slot + (size_t)j * L2_SLOT_WORDS;
            const l2_word w = l2_slot_word(d, at);
            if (w.lsn != 0 && w.lsn < below && (w.tomb || !tombs)) {
                l2_slot_drop(d, s, at); /* another word may have come here */
            } else {
                j++;
            }
        }
        sync_drop(L2_TOMBSTONE_LOCK, &s->lock);
    }
}

CELLAR_PRIVATE void l2_index_sweep(l2 *d, bool tombs) { l2_index_clear(d, UINT64_MAX, tombs); }

CELLAR_PRIVATE void l2_index_cut(l2 *d, uint64_t lsn) { l2_index_clear(d, lsn, false); }

CELLAR_PRIVATE bool l2_is_there(l2 *d, uint64_t hash, uint64_t addr)
{
    const uint64_t mixed = l2_mix(hash);
    l2_shard *s = l2_shard_of(d, mixed);
    addr &= ~L2_ADDR_DURABLE;
    if (addr == 0 || addr < l2_floor(d)) { return false; }
    sync_take(L2_TOMBSTONE_LOCK, &s->lock);
    const bool there = l2_index_find(d, mixed).lsn == addr;
    sync_drop(L2_TOMBSTONE_LOCK, &s->lock);
    return there;
}
