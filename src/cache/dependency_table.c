/* SPDX-License-Identifier: MIT
 *
 * dependency_table: epochs of the keys on which loaded values depend. A change of a key raises its
 * tag, so that a read of the values made of it compares and misses.
 *
 * PICTURE    entry {tags of the user, CACHE_TIER_TAG_OF_LIFE, bound, born, dependency tags}
 *            table: bucket of 4 {tag} and 4 {word: epoch of the last change, moves, used, watched}
 *            change: inside its window, if watched: word = epoch + 1, moves, not watched; then the
 *            epoch; then not moves
 *            read: each word is at most born, or the value is invalid
 * INVARIANTS A tag without a record makes its values invalid. A new record is as new as a change of
 *            its key. So a record may always be given to another tag.
 *            A word only rises, and before the epoch does.
 * LOCKING    DEPS, a leaf, for records that move. Words are exchanged without it, also in windows.
 * LIMITS     One table of budget / 128. Tags have 62 bits of keyed hash: a collision costs a miss.
 * SEE ALSO   dependencies.c (what loaders read); README.md, "Dependencies": proof. */
#include "cache/dependency_table.h"

#include "cache/error.h"

BASE_SIZE_BEGIN

#define CACHE_DEP_WAYS 4u
#define CACHE_DEP_WATCHED 1u /* bits of a word; the epoch stands above them */
#define CACHE_DEP_USED 2u
#define CACHE_DEP_MOVES 4u   /* a change has stored the word, and not yet the epoch */
#define CACHE_DEP_EPOCH 3    /* shift */
#define CACHE_DEP_NEVER UINT64_MAX
#define CACHE_DEP_FIRST 2u   /* first epoch: above the identities without dependencies */

typedef struct cache_dep_bucket {
    _Atomic uint64_t tag[CACHE_DEP_WAYS];  /* 0: empty; DEPS; release after the word */
    _Atomic uint64_t word[CACHE_DEP_WAYS];
} cache_dep_bucket;

struct cache_deps {
    sync_lock lock;              /* rank DEPS; guards moves of records */
    uint32_t mask, hand;         /* buckets - 1; next victim of a forced move (DEPS) */
    _Atomic uint32_t watched;    /* words with CACHE_DEP_WATCHED */
    size_t bytes;
    cache_dep_bucket *bucket;    /* aligned to a line */
    unsigned char apart[BASE_PAD]; /* base_alloc aligns to 16: no BASE_ALIGNED */
    _Atomic uint64_t epoch;      /* changes, records, published values */
};

/* ---- the table ---- */

CELLAR_PRIVATE cellar_err cache_deps_open(cache_store *s, const cache_settings *cfg)
{
    if (cfg->tuning.track_dependencies == 0) { return CELLAR_OK; }
    const uint64_t room = cfg->config.memory_bytes / 128 / sizeof(cache_dep_bucket);
    const uint32_t buckets = (uint32_t)base_clamp(base_pow2_floor(room), 16, UINT32_C(1) << 24);
    const size_t bytes = sizeof(cache_deps) + BASE_LINE + buckets * sizeof(cache_dep_bucket);
    cache_deps *d = base_alloc(&s->account, BASE_MOD_DEPS, bytes, NULL);
    if (d == NULL) {
        return cache_open_refuse(CELLAR_E_NOMEM, "no memory for dependencies");
    }
    d->bytes = bytes;
    d->mask = buckets - 1;
    base_store_rlx(&d->epoch, (uint64_t)CACHE_DEP_FIRST);
    d->bucket = (cache_dep_bucket *)(((uintptr_t)(d + 1) + BASE_LINE - 1) &
                                     ~(uintptr_t)(BASE_LINE - 1));
    s->deps = d;
    (void)base_or_sc(&s->windows, CACHE_WINDOW_DEPS);
    return CELLAR_OK;
}

CELLAR_PRIVATE cellar_err cache_deps_check(const cellar_namespace_opts *o, bool deps,
                                           const char **why)
{
    cellar_namespace_opts full;
    (void)base_opts_in(&full, sizeof full, o); /* checked before: cache_namespace_opts_check */
    if (full.track_dependencies == 0) { return CELLAR_OK; }
    *why = "track_dependencies: set tuning.track_dependencies at cellar_open, too";
    return deps ? CELLAR_OK : CELLAR_E_INVAL;
}

CELLAR_PRIVATE void cache_deps_close(cache_store *s)
{
    cache_deps *d = s->deps;
    if (d == NULL) { return; }
    base_free(&s->account, BASE_MOD_DEPS, d, d->bytes);
    s->deps = NULL;
}

static cache_dep_bucket *cache_dep_bucket_of(const cache_deps *d, uint64_t tag)
{
    return &d->bucket[(uint32_t)(tag >> 32) & d->mask];
}

/* Find the place of the word of a tag. Return NULL if the tag has no record. */
static _Atomic uint64_t *cache_dep_word(const cache_deps *d, uint64_t tag)
{
    cache_dep_bucket *b = cache_dep_bucket_of(d, tag);
    for (unsigned i = 0; i < CACHE_DEP_WAYS; i++) {
        if (base_load_acq(&b->tag[i]) == tag) { return &b->word[i]; }
    }
    return NULL;
}

CELLAR_PRIVATE uint64_t cache_dep_epoch(const cache_store *s, uint64_t tag)
{
    _Atomic uint64_t *word = cache_dep_word(s->deps, tag);
    if (word == NULL) { return CACHE_DEP_NEVER; }
    const uint64_t w = base_load_acq(word);
    if ((w & CACHE_DEP_USED) == 0) { (void)base_cas_ar(word, w, w | CACHE_DEP_USED); }
    return w >> CACHE_DEP_EPOCH;
}

static void cache_dep_count(cache_deps *d, uint64_t was, uint64_t is)
{
    if (((was ^ is) & CACHE_DEP_WATCHED) == 0) { return; }
    (void)((is & CACHE_DEP_WATCHED) != 0 ? base_add_rlx(&d->watched, 1u)
                                         : base_sub_rlx(&d->watched, 1u));
}

/* Finish the move to epoch `e`, unless another change moved the word further. */
static void cache_dep_moved(_Atomic uint64_t *word, uint64_t e)
{
    for (uint64_t w = base_load_acq(word); w >> CACHE_DEP_EPOCH == e; w = base_load_acq(word)) {
        if (base_cas_sc(word, w, w & ~(uint64_t)CACHE_DEP_MOVES)) { return; }
    }
}

/* Make the values with the tag of the word invalid. The word only rises, and before the epoch does.
 * So a value is born with the later epoch only if it was compared after the change. */
static void cache_dep_move(cache_store *s, _Atomic uint64_t *word)
{
    cache_deps *d = s->deps;
    for (;;) {
        uint64_t now = base_load_sc(&d->epoch);
        const uint64_t w = base_load_acq(word);
        const uint64_t e = BASE_MAX(now, w >> CACHE_DEP_EPOCH) + 1;
        if (!base_cas_sc(word, w, e << CACHE_DEP_EPOCH | CACHE_DEP_MOVES)) { continue; }
        cache_dep_count(d, w, 0);
        BASE_POINT("deps.raise");
        while (now < e && !base_cas_sc(&d->epoch, now, e)) { now = base_load_sc(&d->epoch); }
        if (now >= e) { continue; } /* a value may have been born with e meanwhile */
        cache_dep_moved(word, e);
        return;
    }
}

/* Raise the tag if it is watched, or if another change is about to end its values: this one must
 * not return before they have ended. The caller fences between its window and this. A record that
 * gets another tag meanwhile costs a miss. */
static void cache_dep_raise(cache_store *s, uint64_t tag)
{
    const uint64_t bits = CACHE_DEP_WATCHED | CACHE_DEP_MOVES;
    _Atomic uint64_t *word = cache_dep_word(s->deps, tag);
    if (word != NULL && (base_load_acq(word) & bits) != 0) { cache_dep_move(s, word); }
}

/* Choose a place for a new record: free, not watched, or not used since the bucket was last full.
 * Return CACHE_DEP_WAYS if all are used; then they are tested. */
static unsigned cache_dep_place(cache_deps *d, cache_dep_bucket *b, bool force) SYNC_HOLDS(DEPS);
static unsigned cache_dep_place(cache_deps *d, cache_dep_bucket *b, bool force)
{
    unsigned idle = CACHE_DEP_WAYS;
    for (unsigned i = 0; i < CACHE_DEP_WAYS; i++) {
        const uint64_t w = base_load_acq(&b->word[i]);
        if ((w & CACHE_DEP_WATCHED) == 0) { return i; }
        if ((w & CACHE_DEP_USED) == 0) { idle = i; }
    }
    if (idle != CACHE_DEP_WAYS) { return idle; }
    for (unsigned i = 0; i < CACHE_DEP_WAYS; i++) {
        const uint64_t w = base_load_acq(&b->word[i]);
        (void)base_cas_ar(&b->word[i], w, w & ~(uint64_t)CACHE_DEP_USED);
    }
    return force ? d->hand++ % CACHE_DEP_WAYS : CACHE_DEP_WAYS;
}

/* Give a place of its bucket to a tag. Return its word; NULL: the bucket is full. */
BASE_NOINLINE static _Atomic uint64_t *cache_dep_add(cache_store *s, uint64_t tag, bool force)
    SYNC_HOLDS(DEPS);
BASE_NOINLINE static _Atomic uint64_t *cache_dep_add(cache_store *s, uint64_t tag, bool force)
{
    cache_deps *d = s->deps;
    cache_dep_bucket *b = cache_dep_bucket_of(d, tag);
    _Atomic uint64_t *word = cache_dep_word(d, tag);
    if (word != NULL) { return word; } /* added meanwhile */
    const unsigned i = cache_dep_place(d, b, force);
    if (i == CACHE_DEP_WAYS) { return NULL; }
    base_store_sc(&b->tag[i], (uint64_t)0);
    cache_dep_move(s, &b->word[i]); /* newer than each value that has the new tag */
    base_store_sc(&b->tag[i], tag); /* acquire in cache_dep_word */
    return &b->word[i];
}

CELLAR_PRIVATE uint64_t cache_dep_watch(cache_store *s, uint64_t tag, bool force)
{
    const uint64_t bits = CACHE_DEP_USED | CACHE_DEP_WATCHED;
    for (;;) {
        _Atomic uint64_t *word = cache_dep_word(s->deps, tag);
        if (word == NULL) {
            sync_take(DEPS, &s->deps->lock);
            word = cache_dep_add(s, tag, force);
            sync_drop(DEPS, &s->deps->lock);
        }
        if (word == NULL) { return 0; }
        uint64_t w = base_load_acq(word);
        while ((w & bits) != bits && !base_cas_sc(word, w, w | bits)) { w = base_load_acq(word); }
        cache_dep_count(s->deps, w, bits);
        /* Else the place has another tag by now. Its epoch may be that of the next record. */
        if (BASE_LIKELY(cache_dep_word(s->deps, tag) == word)) { return w >> CACHE_DEP_EPOCH; }
    }
}

/* ---- entries ---- */

/* Return the number of tags of the user in the list of an entry. Less than count: dependencies
 * follow. */
CELLAR_PRIVATE uint32_t cache_deps_from(const uint64_t *tags, uint32_t count)
{
    uint32_t i = 0;
    while (i < count && tags[i] != CACHE_TIER_TAG_OF_LIFE) { i++; }
    return i;
}

CELLAR_PRIVATE uint64_t cache_deps_identity(const uint64_t *tags, uint32_t count)
{
    const uint32_t from = cache_deps_from(tags, count);
    return from + CACHE_DEP_HEAD <= count ? tags[from + 2] : count != 0;
}

CELLAR_PRIVATE bool cache_deps_valid(const cache_store *s, const uint64_t *tags, uint32_t count)
{
    bool valid = count >= CACHE_DEP_HEAD; /* older libraries wrote the first word only */
    for (uint32_t i = CACHE_DEP_HEAD; i < count && valid; i++) {
        valid = cache_dep_epoch(s, tags[i]) <= tags[2];
    }
    return valid;
}

CELLAR_PRIVATE uint64_t cache_deps_epoch(const cache_store *s)
{
    return s->deps != NULL ? base_load_sc(&s->deps->epoch) : 0;
}

CELLAR_PRIVATE uint64_t cache_deps_draw(cache_store *s)
{
    return base_add_sc(&s->deps->epoch, (uint64_t)1) + 1;
}

CELLAR_PRIVATE int64_t cache_deps_until(cache_store *s, const l1_key *k)
{
    uint64_t tags[BASE_TAGS_MAX], born;
    const uint32_t count = l1_tags_of(s->l1, k, tags, &born), from = cache_deps_from(tags, count);
    return from + CACHE_DEP_HEAD <= count ? (int64_t)tags[from + 1] : BASE_NEVER_MS;
}

/* ---- changes ---- */

CELLAR_PRIVATE void cache_deps_changed(cache_store *s, uint64_t hash, uint32_t generation)
{
    base_fence_sc(); /* window of the key, then the words; pairs with the fence in
                      * cache_deps_note */
    cache_dep_raise(s, cache_dep_key(hash));
    cache_dep_raise(s, cache_dep_namespace(generation) | CACHE_DEP_ANY);
}

CELLAR_PRIVATE void cache_deps_generation(cache_store *s, uint32_t generation)
{
    base_fence_sc(); /* end of the generation, then its words; pairs with cache_deps_note */
    cache_dep_raise(s, cache_dep_namespace(generation));
    cache_dep_raise(s, cache_dep_namespace(generation) | CACHE_DEP_ANY);
}

/* ---- figures and checks ---- */

CELLAR_PRIVATE uint64_t cache_deps_watched(const cache_store *s)
{
    return s->deps != NULL ? base_load_rlx(&s->deps->watched) : 0;
}

CELLAR_PRIVATE const char *cache_deps_audit(cache_store *s)
{
    cache_deps *d = s->deps;
    bool ok = true;
    if (d == NULL) { return NULL; }
    sync_take(DEPS, &d->lock);
    for (uint32_t i = 0; i <= d->mask; i++) {
        for (unsigned j = 0; j < CACHE_DEP_WAYS; j++) {
            const uint64_t tag = base_load_rlx(&d->bucket[i].tag[j]);
            ok = ok && (tag == 0 || cache_dep_bucket_of(d, tag) == &d->bucket[i]);
        }
    }
    sync_drop(DEPS, &d->lock);
    return ok ? NULL : "dependencies: a tag stands in a wrong bucket";
}

CELLAR_PRIVATE void cache_deps_fork_prepare(cache_store *s) SYNC_UNCHECKED
{
    if (s->deps != NULL) { sync_take(DEPS, &s->deps->lock); }
}
CELLAR_PRIVATE void cache_deps_fork_parent(cache_store *s) SYNC_UNCHECKED
{
    if (s->deps != NULL) { sync_drop(DEPS, &s->deps->lock); }
}
CELLAR_PRIVATE void cache_deps_fork_child(cache_store *s) SYNC_UNCHECKED
{
    if (s->deps != NULL) { sync_reset(&s->deps->lock); }
}

BASE_SIZE_END
