/* SPDX-License-Identifier: MIT
 *
 * index: map each bunch of keys to the address of its newest record; read without locks.
 *
 * PICTURE    hash48 = | place 32 | fingerprint 16 |    place -> shard (6 bits), bucket b1 of it
 *            b2 = (mix(fingerprint) - b1) mod n; either bucket of a pair gives the other one
 *            bucket = 8 words, 64 B: addr 36 | fingerprint 16 | hint 8 | linked|durable|tomb|twin
 * LINKS      Keys with equal fingerprint and bucket pair form a bunch. A bunch usually has one
 *            word, of its newest record. A new record links to the older one and replaces its word,
 *            see link.c. The index rebuild keeps one word per hash48 of a bunch, all marked `twin`.
 *            A tomb word stays while its bunch may have other records. A get takes the newest
 *            record of its key among all of these (read.c). A word is heavy if it is durable,
 *            linked or tomb.
 * INVARIANTS A moving word may be visible twice, but never not at all. 0 means free; addr is never
 *            0, because a segment begins with its header.
 *            If a record of a key is reachable, so is the key's newest record. So a word leaves
 *            with its whole bunch, unless it is the only one or its segment is the oldest.
 * LOCKING    L2_SHARD for writers. Readers use acquire loads; the check of the bytes detects a word
 *            that was removed meanwhile.
 * LIMITS     2^36 granules, 2^26 buckets per shard. A full pair moves words along a path (8 buckets
 *            are searched, 64 for a heavy word), then drops the oldest bunch without a durable
 *            word, plain words first: a miss, nothing else. A pair of durable words takes no
 *            further one: the put is refused. The index rebuild puts such words aside (README.md).
 * SEE ALSO   README.md: index rebuild, rejected layouts. Pagh and Rodler 2001 (cuckoo hashing); Fan
 *            et al. 2014 (partial keys). */
#include "l2/index.h"

#include "l2/progress.h"

#define L2_HINT(w) ((uint32_t)((w) >> 4) & 0xffu)
#define L2_BUCKETS_MAX ((uint32_t)1 << 26)
#define L2_BUCKETS_LEAST 8u
#define L2_SEEN_BITS 4096u
#define L2_SWEEP 16u /* buckets per hold of the lock: 1 KiB, because others spin */

static uint32_t l2_other(const l2 *d, uint32_t tag, uint32_t bucket)
{
    const uint32_t n = d->index.buckets;
    const uint32_t m = (uint32_t)((base_mix64(tag + 1u) >> 32) * n >> 32);
    return m >= bucket ? m - bucket : m + n - bucket;
}

static l2_bunch l2_bunch_at(const l2 *d, uint32_t place, uint32_t tag)
{
    l2_bunch c;
    c.tag = tag;
    c.shard = place >> 26;
    c.b1 = (uint32_t)(((uint64_t)(place & (L2_BUCKETS_MAX - 1)) * d->index.buckets) >> 26);
    c.b2 = l2_other(d, c.tag, c.b1);
    return c;
}

static l2_bunch l2_bunch_of(const l2 *d, uint64_t h48)
{
    return l2_bunch_at(d, (uint32_t)(h48 >> 16), (uint32_t)h48 & 0xffffu);
}

static size_t l2_index_bytes(const l2 *d)
{
    return (size_t)d->index.buckets * L2_WAYS * L2_SHARDS * sizeof(uint64_t);
}

CELLAR_PRIVATE uint32_t l2_index_buckets(uint64_t objects)
{
    const uint64_t slots = objects + objects / 8 + objects / 64; /* load 0.88 */
    const uint64_t per = (slots + L2_SHARDS * L2_WAYS - 1) / (L2_SHARDS * L2_WAYS);
    return (uint32_t)base_clamp(per, L2_BUCKETS_LEAST, L2_BUCKETS_MAX);
}

CELLAR_PRIVATE bool l2_index_open(l2 *d, uint64_t objects)
{
    d->index.buckets = l2_index_buckets(objects);
    _Atomic uint64_t *way = base_alloc(d->cfg.account, BASE_MOD_L2_INDEX, l2_index_bytes(d), NULL);
    d->index.way = way;
    for (uint32_t i = 0; way != NULL && i < L2_SHARDS; i++) {
        d->index.shard[i].way = way + (size_t)i * d->index.buckets * L2_WAYS;
    }
    return way != NULL;
}

CELLAR_PRIVATE void l2_index_close(l2 *d)
{
    l2_index_rebuild_end(d);
    base_free(d->cfg.account, BASE_MOD_L2_INDEX, d->index.way, l2_index_bytes(d));
    d->index.way = NULL;
}

/* ---- words ---- */

/* Encode a size in granules: up to 7 as it is, else m * 2^e with 8 <= m < 16, rounded up. */
static uint32_t l2_hint_of(uint32_t granules)
{
    if (granules < 8) { return granules; }
    const unsigned e = base_log2_floor(granules) - 3;
    const uint32_t m = (uint32_t)(((uint64_t)granules + (1u << e) - 1) >> e); /* 8..16 */
    return ((e + 1) << 3) + (m - 8); /* m 16 becomes m 8 of the next e */
}

CELLAR_PRIVATE uint64_t l2_word_make(const l2 *d, uint32_t seg, uint32_t off, uint64_t h48,
                                     uint32_t bytes)
{
    const uint64_t addr = ((uint64_t)seg << d->seg_shift) + off / d->form.granule;
    const uint32_t granules = (bytes + d->form.granule - 1) / d->form.granule;
    BASE_ASSERT(addr != 0 && addr <= L2_ADDR_MAX && granules > 0);
    return L2_WORD(addr, h48 & 0xffffu, l2_hint_of(granules));
}

CELLAR_PRIVATE uint32_t l2_word_seg(const l2 *d, uint64_t word)
{
    return (uint32_t)(L2_WORD_ADDR(word) >> d->seg_shift);
}

CELLAR_PRIVATE uint32_t l2_word_off(const l2 *d, uint64_t word)
{
    const uint64_t mask = ((uint64_t)1 << d->seg_shift) - 1;
    return (uint32_t)(L2_WORD_ADDR(word) & mask) * d->form.granule;
}

CELLAR_PRIVATE uint32_t l2_word_bytes(const l2 *d, uint64_t word)
{
    const uint32_t h = L2_HINT(word);
    const uint64_t granules = h < 8 ? h : (uint64_t)((h & 7u) + 8) << ((h >> 3) - 1);
    const uint64_t bytes = granules * d->form.granule;
    return (uint32_t)BASE_MIN(bytes, (uint64_t)d->form.seg_bytes);
}

CELLAR_PRIVATE uint64_t l2_word_lsn(const l2 *d, uint64_t word)
{
    const uint64_t g = base_load_acq(&d->seg[l2_word_seg(d, word)].word);
    if (!L2_SEG_USED(g)) { return 0; }
    return l2_lsn(d, L2_SEG_SEQ(g), l2_word_off(d, word));
}

/* ---- finding ---- */

static _Atomic uint64_t *l2_bucket(const l2 *d, uint32_t shard, uint32_t bucket)
{
    return d->index.shard[shard].way + (size_t)bucket * L2_WAYS;
}

static _Atomic uint64_t *l2_way_find(const l2 *d, const l2_bunch *c)
{
    BASE_PREFETCH(l2_bucket(d, c->shard, c->b2)); /* load both lines in parallel */
    for (uint32_t b = 0; b < 2; b++) {
        _Atomic uint64_t *way = l2_bucket(d, c->shard, b == 0 ? c->b1 : c->b2);
        for (uint32_t i = 0; i < L2_WAYS; i++) {
            const uint64_t w = base_load_acq(&way[i]);
            if (w != 0 && L2_WORD_TAG(w) == c->tag) { return &way[i]; }
        }
    }
    return NULL;
}

CELLAR_PRIVATE uint64_t l2_index_find(l2 *d, uint64_t h48)
{
    const l2_bunch c = l2_bunch_of(d, h48);
    l2_shard *s = &d->index.shard[c.shard];
    for (int round = 0; round < 2; round++) {
        const uint32_t moves = base_load_acq(&s->moves); /* release in l2_way_kick */
        const _Atomic uint64_t *way = l2_way_find(d, &c);
        const uint64_t w = way != NULL ? base_load_acq(way) : 0;
        if (w != 0 && L2_WORD_TAG(w) == c.tag) { return w; }
        /* The word may have moved from the unread bucket to the read one. A reader that saw it gone
         * (acquire) also sees that `moves` was odd. */
        if ((moves & 1) == 0 && base_load_acq(&s->moves) == moves && way == NULL) { return 0; }
    }
    sync_take(L2_SHARD, &s->lock); /* Words keep moving: read under the lock. */
    const _Atomic uint64_t *way = l2_way_find(d, &c);
    const uint64_t w = way != NULL ? base_load_acq(way) : 0;
    sync_drop(L2_SHARD, &s->lock);
    return w;
}

/* ---- changing; all under the shard's lock ---- */

static _Atomic uint64_t *l2_way_free(const l2 *d, uint32_t shard, uint32_t bucket)
{
    _Atomic uint64_t *way = l2_bucket(d, shard, bucket);
    for (uint32_t i = 0; i < L2_WAYS; i++) {
        if (base_load_rlx(&way[i]) == 0) { return &way[i]; }
    }
    return NULL;
}

static void l2_pair_close(const l2 *d, const l2_bunch *c)
{
    unsigned char *bits = d->index.shard[c->shard].closed;
    if (bits == NULL) { return; }
    bits[c->b1 / 8] = (unsigned char)(bits[c->b1 / 8] | 1u << (c->b1 % 8));
    bits[c->b2 / 8] = (unsigned char)(bits[c->b2 / 8] | 1u << (c->b2 % 8));
}

static bool l2_pair_closed(const l2 *d, const l2_bunch *c)
{
    const unsigned char *bits = d->index.shard[c->shard].closed;
    return bits != NULL && (bits[c->b1 / 8] >> (c->b1 % 8) & 1) != 0 &&
           (bits[c->b2 / 8] >> (c->b2 % 8) & 1) != 0;
}

static uint64_t l2_line_word(const l2_sort_line *l)
{
    return (uint64_t)l->word_hi << 32 | l->word_lo;
}

static uint32_t l2_aside_first(const l2_bunch *c)
{
    return (uint32_t)base_mix64((uint64_t)c->tag << 32 | BASE_MIN(c->b1, c->b2));
}

/* Return the next line of the bunch that was put aside, from row *at on; NULL: no more. */
static const l2_sort_line *l2_aside_next(const l2 *d, const l2_bunch *c, uint32_t *at)
{
    const l2_sort_line *row = d->index.shard[c->shard].aside;
    while (row != NULL) {
        const l2_sort_line *l = &row[(*at)++ & (d->index.aside_room - 1)];
        const uint64_t word = l2_line_word(l);
        if (word == 0) { return NULL; }
        if (L2_WORD_TAG(word) != c->tag) { continue; }
        const l2_bunch its = l2_bunch_at(d, l->place, c->tag);
        if (its.b1 == c->b1 || its.b1 == c->b2) { return l; }
    }
    return NULL;
}

/* Index rebuild: note that a word has no way, so that no older record of its hash48 gets one. A
 * newer word takes the row of an older one. If the rows are full, its pair takes no older word at
 * all. */
static void l2_turn_away(l2 *d, const l2_bunch *c, uint32_t place, uint64_t word)
{
    l2_shard *s = &d->index.shard[c->shard];
    const uint32_t mask = s->aside != NULL ? d->index.aside_room - 1 : 0;
    if (s->asides >= mask / 4 * 3) {
        l2_pair_close(d, c);
        return;
    }
    uint32_t at = l2_aside_first(c);
    l2_sort_line *l = &s->aside[at & mask];
    while (l2_line_word(l) != 0 &&
           (l->place != place || L2_WORD_TAG(l2_line_word(l)) != c->tag)) {
        l = &s->aside[++at & mask];
    }
    if (l2_line_word(l) != 0 && l2_word_lsn(d, l2_line_word(l)) > l2_word_lsn(d, word)) { return; }
    s->asides += l2_line_word(l) == 0;
    s->lacks = s->lacks || (word & L2_WORD_TOMB) == 0;
    *l = (l2_sort_line){ (uint32_t)word, (uint32_t)(word >> 32), place };
}

static void l2_way_store(l2 *d, l2_shard *s, _Atomic uint64_t *way, uint64_t word, uint32_t place)
{
    const uint64_t old = base_load_rlx(way);
    base_store_rel(way, word); /* acquire in l2_way_find */
    if (s->place != NULL) { s->place[way - s->way] = place; }
    if (old == 0 && word != 0) { (void)base_add_rlx(&d->index.words, (uint64_t)1); }
    if (old != 0 && word == 0) { (void)base_sub_rlx(&d->index.words, (uint64_t)1); }
}

/* Return way `i` of the two buckets of a bunch. */
static _Atomic uint64_t *l2_pair_way(const l2 *d, const l2_bunch *c, uint32_t i)
{
    return l2_bucket(d, c->shard, i < L2_WAYS ? c->b1 : c->b2) + i % L2_WAYS;
}

static uint32_t l2_bunch_ways(const l2 *d, const l2_bunch *c,
                              _Atomic uint64_t *out[L2_BUNCH_WORDS])
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < (c->b1 != c->b2 ? 2 : 1) * L2_WAYS; i++) {
        _Atomic uint64_t *way = l2_pair_way(d, c, i);
        const uint64_t w = base_load_rlx(way);
        if (w != 0 && L2_WORD_TAG(w) == c->tag) { out[n++] = way; }
    }
    return n;
}

enum { L2_RANK_TOMB, L2_RANK_LIGHT, L2_RANK_HEAVY, L2_RANK_ALL };

/* Return a rank: words of a lower one are dropped first. Only a rebuild has the first: it notes
 * what a tombstone hides. */
static uint32_t l2_word_rank(const l2_shard *s, uint64_t w)
{
    const bool tomb = (w & (L2_WORD_TOMB | L2_WORD_TWIN)) == L2_WORD_TOMB;
    if (s->closed != NULL && tomb) { return L2_RANK_TOMB; }
    return (w & (L2_WORD_HEAVY | L2_WORD_TWIN)) == 0 ? L2_RANK_LIGHT : L2_RANK_HEAVY;
}

/* Return true if word `a` is dropped before `b`: the lower rank, then the older record. */
static bool l2_word_sooner(const l2 *d, const l2_shard *s, uint64_t a, uint64_t b)
{
    const uint32_t a_rank = l2_word_rank(s, a), b_rank = l2_word_rank(s, b);
    return a_rank != b_rank ? a_rank < b_rank : l2_word_lsn(d, a) < l2_word_lsn(d, b);
}

static bool l2_bunch_durable(const l2 *d, const l2_bunch *c)
{
    _Atomic uint64_t *way[L2_BUNCH_WORDS];
    bool durable = false;
    for (uint32_t n = l2_bunch_ways(d, c, way); n > 0; n--) {
        durable = durable || (base_load_rlx(way[n - 1]) & L2_WORD_DURABLE) != 0;
    }
    return durable;
}

/* Drop the oldest bunch of a full pair, of words below rank `drops`, and return a free way. NULL:
 * all others are durable. All words of the bunch leave together; otherwise an older value could
 * follow a missing word. */
static _Atomic uint64_t *l2_bunch_oldest(l2 *d, l2_shard *s, const l2_bunch *c, uint32_t drops)
{
    _Atomic uint64_t *oldest = NULL, *way[L2_BUNCH_WORDS];
    l2_bunch gone = *c;
    for (uint32_t i = 0; i < 2 * L2_WAYS; i++) {
        _Atomic uint64_t *at = l2_pair_way(d, c, i);
        const uint64_t w = base_load_rlx(at);
        const uint32_t bucket = i < L2_WAYS ? c->b1 : c->b2, tag = L2_WORD_TAG(w);
        const l2_bunch its = { c->shard, bucket, l2_other(d, tag, bucket), tag };
        /* An older line of a bunch follows its newer words. */
        if (l2_word_rank(s, w) >= drops || (s->closed != NULL && tag == c->tag)) { continue; }
        if ((oldest == NULL || l2_word_sooner(d, s, w, base_load_rlx(oldest))) &&
            !l2_bunch_durable(d, &its)) {
            oldest = at;
            gone = its;
        }
    }
    if (oldest == NULL) { return NULL; }
    const uint32_t n = l2_bunch_ways(d, &gone, way);
    for (uint32_t i = 0; i < n; i++) {
        if (s->closed != NULL) {
            const uint32_t place = s->place != NULL ? s->place[way[i] - s->way] : 0;
            l2_turn_away(d, &gone, place, base_load_rlx(way[i]));
        }
        l2_way_store(d, s, way[i], 0, 0);
    }
    return oldest;
}

typedef struct l2_step_to { /* bucket of a search, and the way of the word that can move there */
    uint32_t bucket, from; /* from: step of that way */
    _Atomic uint64_t *way; /* NULL: the search begins here */
} l2_step_to;

/* Move the words of the path that ends in step `at` by one way each; the last one into `hole`.
 * Return the way that becomes free. */
static _Atomic uint64_t *l2_path_move(l2_shard *s, const l2_step_to *step, uint32_t at,
                                      _Atomic uint64_t *way, _Atomic uint64_t *hole)
{
    base_store_rel(&s->moves, base_load_rlx(&s->moves) + 1);
    while (way != NULL) { /* Store the new position before clearing the old one. */
        base_store_rel(hole, base_load_rlx(way));
        if (s->place != NULL) { s->place[hole - s->way] = s->place[way - s->way]; }
        base_store_rel(way, (uint64_t)0);
        hole = way;
        way = step[at].way;
        at = step[at].from;
    }
    base_store_rel(&s->moves, base_load_rlx(&s->moves) + 1); /* acquire in l2_index_find */
    return hole;
}

/* Free a way of the pair: search up to `most` buckets, nearest first, for one with a free way, or
 * with a bunch to drop of rank below `drops`, and move words along the path to it. Return NULL
 * without a path. */
static _Atomic uint64_t *l2_way_kick(l2 *d, const l2_bunch *c, uint32_t most, uint32_t drops)
{
    l2_step_to step[L2_KICKS_REBUILD + 2];
    uint64_t seen[L2_SEEN_BITS / 64] = { 0 }; /* buckets; two may share a bit */
    l2_shard *s = &d->index.shard[c->shard];
    uint32_t n = 2;
    step[0] = (l2_step_to){ c->b1, 0, NULL };
    step[1] = (l2_step_to){ c->b2, 0, NULL };
    seen[c->b1 % L2_SEEN_BITS / 64] |= (uint64_t)1 << c->b1 % 64;
    seen[c->b2 % L2_SEEN_BITS / 64] |= (uint64_t)1 << c->b2 % 64;
    for (uint32_t at = 0; at < n; at++) {
        _Atomic uint64_t *way = l2_bucket(d, c->shard, step[at].bucket);
        for (uint32_t i = 0; i < L2_WAYS; i++) {
            const uint32_t to = l2_other(d, L2_WORD_TAG(base_load_rlx(&way[i])), step[at].bucket);
            if ((seen[to % L2_SEEN_BITS / 64] >> to % 64 & 1) != 0) { continue; }
            const l2_bunch there = { c->shard, to, to, c->tag };
            _Atomic uint64_t *hole = l2_way_free(d, c->shard, to);
            if (hole == NULL && drops > 0) { hole = l2_bunch_oldest(d, s, &there, drops); }
            if (hole != NULL) { return l2_path_move(s, step, at, &way[i], hole); }
            if (n < most + 2) { step[n++] = (l2_step_to){ to, at, &way[i] }; }
            seen[to % L2_SEEN_BITS / 64] |= (uint64_t)1 << to % 64;
        }
    }
    return NULL;
}

/* Find a free way for a word, with moves if necessary. Return NULL if the pair is full. */
static _Atomic uint64_t *l2_way_make(l2 *d, const l2_bunch *c, bool heavy)
{
    _Atomic uint64_t *way = l2_way_free(d, c->shard, c->b1);
    if (way == NULL) { way = l2_way_free(d, c->shard, c->b2); }
    return way != NULL ? way : l2_way_kick(d, c, heavy ? L2_KICKS_MOST : L2_KICKS, 0);
}

/* Mark all words of the bunch as twins. Return true if there are any. */
static bool l2_bunch_twins(const l2 *d, const l2_bunch *c)
{
    _Atomic uint64_t *way[L2_BUNCH_WORDS];
    const uint32_t n = l2_bunch_ways(d, c, way);
    for (uint32_t i = 0; i < n; i++) {
        base_store_rel(way[i], base_load_rlx(way[i]) | L2_WORD_TWIN);
    }
    return n > 0;
}

/* Store `word` in place of `behind`; 0: in addition to the words of the bunch. Return false if no
 * place is left. */
static bool l2_bunch_store(l2 *d, l2_shard *s, const l2_bunch *c, uint32_t place, uint64_t word,
                           uint64_t behind)
{
    _Atomic uint64_t *to = l2_way_find(d, c), *way[L2_BUNCH_WORDS];
    uint32_t mates = 0;
    if (to != NULL && ((base_load_rlx(to) & L2_WORD_TWIN) != 0 ||
                       L2_WORD_ADDR(base_load_rlx(to)) != L2_WORD_ADDR(behind))) {
        to = NULL;
        for (uint32_t n = l2_bunch_ways(d, c, way); n > 0; n--) {
            const bool goes = L2_WORD_ADDR(base_load_rlx(way[n - 1])) == L2_WORD_ADDR(behind);
            to = goes ? way[n - 1] : to;
            mates += !goes;
        }
    }
    if (to == NULL) { to = l2_way_make(d, c, (word & L2_WORD_HEAVY) != 0); }
    if (to == NULL) {
        (void)base_add_rlx(&d->index.full, (uint64_t)1);
        to = l2_bunch_oldest(d, s, c, L2_RANK_ALL);
        if (to == NULL && s->closed != NULL) { l2_turn_away(d, c, place, word); }
        (void)base_add_rlx(&d->index.dropped, (uint64_t)(to != NULL));
        mates = 1; /* or removed with that bunch */
    }
    if (mates > 0 && l2_bunch_twins(d, c)) { word |= L2_WORD_TWIN; }
    /* Index rebuild: the word behind the link is gone, so a put that ends keeps its way. */
    if (s->closed != NULL && (word & (L2_WORD_LINKED | L2_WORD_TOMB)) == L2_WORD_LINKED) {
        word |= L2_WORD_TWIN;
    }
    if (to != NULL) { l2_way_store(d, s, to, word, place); }
    return to != NULL;
}

CELLAR_PRIVATE bool l2_index_link(l2 *d, uint64_t h48, uint64_t word, uint64_t behind)
{
    const l2_bunch c = l2_bunch_of(d, h48);
    l2_shard *s = &d->index.shard[c.shard];
    sync_take(L2_SHARD, &s->lock);
    const bool stored = l2_bunch_store(d, s, &c, (uint32_t)(h48 >> 16), word, behind);
    sync_drop(L2_SHARD, &s->lock);
    return stored;
}

CELLAR_PRIVATE bool l2_index_ease(l2 *d, uint64_t h48, bool (*own)(l2 *d, uint64_t word))
{
    const l2_bunch c = l2_bunch_of(d, h48);
    l2_shard *s = &d->index.shard[c.shard];
    bool eased = false;
    for (uint32_t i = 0; i < 2 * L2_WAYS; i++) {
        _Atomic uint64_t *way = l2_pair_way(d, &c, i);
        const uint64_t w = base_load_acq(way), lsn = l2_word_lsn(d, w);
        if ((w & L2_WORD_TOMB) == 0 || (w & L2_WORD_DURABLE) == 0 || !own(d, w)) { continue; }
        sync_take(L2_SHARD, &s->lock);
        /* Its segment may have been reclaimed while its records were read. */
        const bool same = base_load_rlx(way) == w && l2_word_lsn(d, w) == lsn;
        if (same) { base_store_rel(way, w & ~L2_WORD_DURABLE); }
        sync_drop(L2_SHARD, &s->lock);
        eased = eased || same;
    }
    return eased;
}

CELLAR_PRIVATE void l2_index_drop(l2 *d, uint64_t h48, uint64_t addr)
{
    const l2_bunch c = l2_bunch_of(d, h48);
    l2_shard *s = &d->index.shard[c.shard];
    _Atomic uint64_t *way[L2_BUNCH_WORDS];
    sync_take(L2_SHARD, &s->lock);
    const uint32_t n = l2_bunch_ways(d, &c, way);
    for (uint32_t i = 0; i < n; i++) {
        if (L2_WORD_ADDR(base_load_rlx(way[i])) == addr) { l2_way_store(d, s, way[i], 0, 0); }
    }
    sync_drop(L2_SHARD, &s->lock);
}

CELLAR_PRIVATE uint32_t l2_index_all(l2 *d, uint64_t h48, uint64_t word[L2_BUNCH_WORDS])
{
    const l2_bunch c = l2_bunch_of(d, h48);
    l2_shard *s = &d->index.shard[c.shard];
    _Atomic uint64_t *way[L2_BUNCH_WORDS];
    sync_take(L2_SHARD, &s->lock);
    const uint32_t n = l2_bunch_ways(d, &c, way);
    for (uint32_t i = 0; i < n; i++) { word[i] = base_load_acq(way[i]); }
    sync_drop(L2_SHARD, &s->lock);
    return n;
}

typedef struct l2_found { /* state of a pair for one line of the index rebuild */
    _Atomic uint64_t *hole; /* free way, preferably of the first bucket; NULL: none */
    bool there;  /* a word of the same hash48, or of the bunch if only fingerprints are known */
    bool others; /* the bunch has another word */
} l2_found;

static l2_found l2_way_look(const l2 *d, const l2_bunch *c, uint32_t place)
{
    const l2_shard *s = &d->index.shard[c->shard];
    l2_found f = { NULL, false, false };
    for (uint32_t b = 0; b < 2; b++) {
        _Atomic uint64_t *way = l2_bucket(d, c->shard, b == 0 ? c->b1 : c->b2);
        for (uint32_t i = 0; i < L2_WAYS; i++) {
            const uint64_t w = base_load_rlx(&way[i]);
            if (w == 0) {
                f.hole = f.hole == NULL ? &way[i] : f.hole;
            } else if (L2_WORD_TAG(w) == c->tag) {
                f.others = true;
                f.there = s->place == NULL || s->place[&way[i] - s->way] == place;
                if (f.there) { return f; }
            }
        }
    }
    return f;
}

/* Give a word of the index rebuild a free way, or one of words below rank `drops`. Return false if
 * there is none. */
static bool l2_way_add(l2 *d, const l2_bunch *c, uint32_t place, uint64_t word, const l2_found *f,
                       uint32_t drops)
{
    l2_shard *s = &d->index.shard[c->shard];
    _Atomic uint64_t *way = f->hole;
    if (way == NULL) { way = l2_way_make(d, c, (word & L2_WORD_HEAVY) != 0); }
    if (way == NULL && drops > 0) { way = l2_bunch_oldest(d, s, c, drops); }
    if (way == NULL && drops == L2_RANK_ALL) { way = l2_way_kick(d, c, L2_KICKS_REBUILD, drops); }
    if (way == NULL) { return false; }
    if (f->others && l2_bunch_twins(d, c)) { word |= L2_WORD_TWIN; }
    base_store_rel(way, word); /* acquire in l2_way_find */
    if (s->place != NULL) { s->place[way - s->way] = place; }
    return true;
}

/* Return true if the hash48 was put aside. */
static bool l2_aside_has(const l2 *d, const l2_bunch *c, uint32_t place)
{
    uint32_t at = l2_aside_first(c);
    const l2_sort_line *l = l2_aside_next(d, c, &at);
    while (l != NULL && l->place != place) { l = l2_aside_next(d, c, &at); }
    return l != NULL;
}

/* Find the newest line of a bunch that was put aside and has no way; NULL: none. */
static const l2_sort_line *l2_aside_newest(const l2 *d, const l2_bunch *c, l2_found *its)
{
    const l2_sort_line *newest = NULL;
    uint32_t at = l2_aside_first(c);
    for (const l2_sort_line *l; (l = l2_aside_next(d, c, &at)) != NULL;) {
        const l2_found f = l2_way_look(d, c, l->place);
        if (f.there || (newest != NULL && l2_word_lsn(d, l2_line_word(l)) <
                                              l2_word_lsn(d, l2_line_word(newest)))) {
            continue;
        }
        newest = l;
        *its = f;
    }
    return newest;
}

/* Give the lines of a bunch that were put aside ways again: an older record may link past them. The
 * newest comes first, so that one without a way is older than all words of its bunch. Return false
 * then. */
static bool l2_aside_back(l2 *d, const l2_bunch *c, uint32_t drops)
{
    l2_found f;
    uint32_t left = d->index.shard[c->shard].asides;
    for (const l2_sort_line *l; left > 0 && (l = l2_aside_newest(d, c, &f)) != NULL; left--) {
        if (!l2_way_add(d, c, l->place, l2_line_word(l), &f, drops)) { return false; }
        (void)base_add_rlx(&d->index.words, (uint64_t)1);
    }
    return true;
}

/* Add one word during the index rebuild. A put may take the way of a tombstone, a durable one that
 * of plain words. Return true if a free way was used. */
static bool l2_way_replay(l2 *d, const l2_bunch *c, uint32_t place, uint64_t word)
{
    l2_found f = l2_way_look(d, c, place);
    if (f.there || l2_pair_closed(d, c)) { return false; }
    const uint32_t drops = (word & L2_WORD_TOMB) != 0 ? L2_RANK_TOMB
                           : (word & L2_WORD_DURABLE) != 0 ? L2_RANK_ALL : L2_RANK_LIGHT;
    bool ok = true;
    if (d->index.shard[c->shard].asides > 0) {
        if (l2_aside_has(d, c, place)) { return false; }
        ok = l2_aside_back(d, c, drops);
        f = l2_way_look(d, c, place);
    }
    if (ok && l2_way_add(d, c, place, word, &f, drops)) { return true; }
    if ((word & L2_WORD_TOMB) == 0) {
        (void)base_add_rlx(&d->index.full, (uint64_t)1);
        (void)base_add_rlx(&d->index.dropped, (uint64_t)1);
    }
    l2_turn_away(d, c, place, word);
    return false;
}

#define L2_RUN 32u /* lines per hold of the lock, because others spin */

CELLAR_PRIVATE void l2_index_replay(l2 *d, uint32_t shard, const l2_sort_line *line, uint32_t n)
{
    l2_shard *s = &d->index.shard[shard];
    l2_bunch c[L2_RUN];
    for (uint32_t at = 0; at < n; at += L2_RUN) {
        const uint32_t run = BASE_MIN(n - at, L2_RUN);
        uint64_t words = 0;
        for (uint32_t i = 0; i < run; i++) { /* prefetch before the lock */
            const l2_sort_line *l = &line[at + i];
            c[i] = l2_bunch_at(d, l->place, l->word_lo >> 12 & 0xffffu);
            BASE_PREFETCH_W(l2_bucket(d, shard, c[i].b1));
            BASE_PREFETCH_W(l2_bucket(d, shard, c[i].b2));
            if (s->place != NULL) { BASE_PREFETCH_W(&s->place[c[i].b1 * L2_WAYS]); }
        }
        sync_take(L2_SHARD, &s->lock);
        for (uint32_t i = 0; i < run; i++) {
            const l2_sort_line *l = &line[at + i];
            words += l2_way_replay(d, &c[i], l->place, l2_line_word(l));
        }
        sync_drop(L2_SHARD, &s->lock);
        (void)base_add_rlx(&d->index.words, words);
    }
}

BASE_SIZE_BEGIN

/* ---- index rebuild ---- */

static size_t l2_bits_bytes(const l2 *d) { return d->index.buckets / 8 + 1; }
static size_t l2_place_bytes(const l2 *d) { return l2_index_bytes(d) / 2; }
static size_t l2_aside_bytes(const l2 *d)
{
    return (size_t)d->index.aside_rows * sizeof(l2_sort_line);
}

CELLAR_PRIVATE bool l2_index_rebuild_begin(l2 *d, uint64_t lines)
{
    const size_t bytes = l2_bits_bytes(d);
    d->index.closed = base_alloc(d->cfg.account, BASE_MOD_L2_INDEX, bytes * L2_SHARDS, NULL);
    if (d->index.closed == NULL) { return false; }
    d->index.place = base_alloc(d->cfg.account, BASE_MOD_L2_INDEX, l2_place_bytes(d), NULL);
    const size_t ways = (size_t)d->index.buckets * L2_WAYS;
    for (uint32_t i = 0; i < L2_SHARDS; i++) {
        d->index.shard[i].closed = d->index.closed + i * bytes;
        d->index.shard[i].place = d->index.place != NULL ? d->index.place + i * ways : NULL;
    }
    const uint64_t most = d->cfg.memory_bytes / 16 / L2_SHARDS / sizeof(l2_sort_line);
    const uint64_t rows = base_pow2_floor(BASE_MIN(lines / L2_SHARDS * 2 + 64, most) | 4);
    if (d->index.place == NULL) { return true; } /* the hash48 of a word is unknown */
    d->index.aside_rows = (uint32_t)rows * L2_SHARDS;
    d->index.aside = base_alloc(d->cfg.account, BASE_MOD_L2_INDEX, l2_aside_bytes(d), NULL);
    return true;
}

CELLAR_PRIVATE uint32_t l2_index_rebuild_parts(const l2 *d, uint64_t lines)
{
    const uint64_t ways = (uint64_t)d->index.buckets * L2_WAYS * L2_SHARDS / 8 * 7;
    const uint64_t most = lines > ways ? (lines - ways) / L2_SHARDS * 9 / 8 + 64 : 0;
    const uint64_t rows = d->index.aside_rows / L2_SHARDS;
    uint32_t parts = 1;
    while (d->index.aside != NULL && parts < L2_SHARDS && most > rows * parts / 4 * 3) {
        parts *= 2;
    }
    return parts;
}

CELLAR_PRIVATE void l2_index_rebuild_part(l2 *d, uint32_t part, uint32_t parts)
{
    const uint32_t count = L2_SHARDS / parts;
    if (d->index.aside == NULL) { return; }
    for (uint32_t i = 0; i < L2_SHARDS; i++) {
        l2_shard *s = &d->index.shard[i];
        sync_take(L2_SHARD, &s->lock);
        s->aside = NULL;
        s->asides = 0;
        s->lacks = s->spared = false;
        sync_drop(L2_SHARD, &s->lock);
    }
    memset(d->index.aside, 0, l2_aside_bytes(d));
    d->index.aside_room = d->index.aside_rows / count;
    for (uint32_t i = 0; i < count; i++) {
        l2_shard *s = &d->index.shard[part * count + i];
        sync_take(L2_SHARD, &s->lock);
        s->aside = d->index.aside + (size_t)i * d->index.aside_room;
        sync_drop(L2_SHARD, &s->lock);
    }
}

/* Return true if an ended record may lose this way, as the only word of its bunch: no older value
 * follows. A link of a closed pair may lead to a record that has no word. */
static bool l2_way_spares(const l2 *d, uint32_t shard, uint32_t at, uint64_t w)
{
    const uint32_t tag = L2_WORD_TAG(w), b = at / L2_WAYS;
    const l2_bunch c = { shard, b, l2_other(d, tag, b), tag };
    uint32_t row = l2_aside_first(&c);
    const bool leads = (w & L2_WORD_LINKED) != 0 && l2_pair_closed(d, &c);
    return (w & L2_WORD_TWIN) == 0 && !leads && l2_aside_next(d, &c, &row) == NULL;
}

CELLAR_PRIVATE bool l2_index_spare(l2 *d, uint32_t shard, uint64_t *at, uint64_t *word)
{
    l2_shard *s = &d->index.shard[shard];
    const uint32_t ways = d->index.buckets * L2_WAYS;
    *word = 0;
    sync_take(L2_SHARD, &s->lock);
    const uint64_t end = s->lacks ? (uint64_t)ways + d->index.aside_room : 0;
    const uint64_t stop = BASE_MIN(*at + L2_SWEEP * L2_WAYS, end);
    for (; *at < stop && *word == 0; ++*at) {
        const bool row = *at >= ways;
        const uint64_t w = row ? l2_line_word(&s->aside[*at - ways]) : base_load_rlx(&s->way[*at]);
        const bool durable = (w & (L2_WORD_DURABLE | L2_WORD_TOMB)) == L2_WORD_DURABLE;
        const bool due = row ? durable || (s->spared && (w & L2_WORD_TOMB) == 0)
                             : durable && l2_way_spares(d, shard, (uint32_t)*at, w);
        *word = due ? w : 0;
    }
    sync_drop(L2_SHARD, &s->lock);
    return *word != 0 || *at < end;
}

CELLAR_PRIVATE void l2_index_spare_way(l2 *d, uint32_t shard, uint64_t at, uint64_t word,
                                       bool ended)
{
    l2_shard *s = &d->index.shard[shard];
    const uint32_t ways = d->index.buckets * L2_WAYS;
    sync_take(L2_SHARD, &s->lock);
    if (at >= ways) {
        const l2_sort_line *l = &s->aside[at - ways];
        const l2_bunch c = l2_bunch_at(d, l->place, L2_WORD_TAG(l2_line_word(l)));
        const bool same = l2_line_word(l) == word && !l2_pair_closed(d, &c);
        const uint32_t drops = (word & L2_WORD_DURABLE) != 0 ? L2_RANK_ALL : L2_RANK_LIGHT;
        if (same && !ended) { (void)l2_aside_back(d, &c, drops); }
    } else if (ended && base_load_rlx(&s->way[at]) == word &&
               l2_way_spares(d, shard, (uint32_t)at, word)) {
        l2_way_store(d, s, &s->way[at], 0, 0);
        s->spared = true;
    }
    sync_drop(L2_SHARD, &s->lock);
}

CELLAR_PRIVATE void l2_index_rebuild_end(l2 *d)
{
    if (d->index.closed == NULL) { return; }
    for (uint32_t i = 0; i < L2_SHARDS; i++) {
        l2_shard *s = &d->index.shard[i];
        sync_take(L2_SHARD, &s->lock);
        s->closed = NULL;
        s->place = NULL;
        s->aside = NULL;
        sync_drop(L2_SHARD, &s->lock);
    }
    base_free(d->cfg.account, BASE_MOD_L2_INDEX, d->index.closed, l2_bits_bytes(d) * L2_SHARDS);
    base_free(d->cfg.account, BASE_MOD_L2_INDEX, d->index.place, l2_place_bytes(d));
    base_free(d->cfg.account, BASE_MOD_L2_INDEX, d->index.aside, l2_aside_bytes(d));
    d->index.closed = NULL;
    d->index.place = NULL;
    d->index.aside = NULL;
}

static void l2_buckets_sweep(l2 *d, uint32_t shard, uint32_t from, uint32_t count,
                             bool (*dead)(const l2 *d, uint64_t word, uint64_t arg), uint64_t arg)
{
    l2_shard *s = &d->index.shard[shard];
    _Atomic uint64_t *way = l2_bucket(d, shard, from);
    for (uint32_t j = 0; j < count * L2_WAYS; j++) {
        const uint64_t w = base_load_rlx(&way[j]);
        if (w != 0 && dead(d, w, arg)) { l2_way_store(d, s, &way[j], 0, 0); }
    }
}

CELLAR_PRIVATE void l2_index_sweep(l2 *d, bool (*dead)(const l2 *d, uint64_t word, uint64_t arg),
                                   uint64_t arg)
{
    uint32_t quiet = 0; /* pieces since the last beat; a beat reads a clock */
    for (uint32_t i = 0; i < L2_SHARDS; i++) {
        l2_shard *s = &d->index.shard[i];
        for (uint32_t b = 0; b < d->index.buckets; b += L2_SWEEP) {
            /* The worker is busy, not waiting for the disk. */
            if (quiet++ % 4096 == 0) { l2_beat(d); }
            sync_take(L2_SHARD, &s->lock);
            l2_buckets_sweep(d, i, b, BASE_MIN(L2_SWEEP, d->index.buckets - b), dead, arg);
            sync_drop(L2_SHARD, &s->lock);
        }
    }
}

CELLAR_PRIVATE uint64_t l2_index_bytes_in(const l2 *d, uint32_t shard, uint32_t count)
{
    const size_t ways = (size_t)d->index.buckets * L2_WAYS;
    uint64_t granules = 0;
    for (uint32_t s = 0; s < count; s++) {
        const _Atomic uint64_t *way = d->index.shard[(shard + s) % L2_SHARDS].way;
        for (size_t i = 0; i < ways; i++) {
            const uint64_t w = base_load_rlx(&way[i]);
            if (w == 0 || (w & L2_WORD_TOMB) != 0) { continue; }
            /* A hint rounds up by half a step on average: 2 * m - 1 halves of 2^e. */
            const uint32_t h = L2_HINT(w), m = (h & 7u) + 8;
            granules += h < 8 ? h : (uint64_t)(2 * m - (h >= 16)) << ((h >> 3) - 1) >> 1;
        }
    }
    return granules * d->form.granule;
}

BASE_SIZE_END

CELLAR_PRIVATE bool l2_is_there(l2 *d, uint64_t hash, uint64_t addr)
{
    const uint64_t h48 = l2_h48(hash);
    const uint64_t w = addr != 0 ? l2_index_find(d, h48) : 0;
    return w != 0 && (w & L2_WORD_TOMB) == 0 && l2_word_lsn(d, w) == addr &&
           addr >= base_load_acq(&d->floor_lsn);
}
