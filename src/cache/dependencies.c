/* SPDX-License-Identifier: MIT
 *
 * dependencies: a loaded value carries the tags of all keys that its loader read. A change of a key
 * raises the tag of the key, so that a read of the value compares and misses.
 *
 * PICTURE    entry {born, tags of the user, CACHE_TIER_TAG_OF_LIFE, bound, dependency tags}
 *            table: bucket of 4 {tag} and 4 {word: epoch of the last change, used, watched}
 *            loader: [deps.note] watch the tag, remember its epoch; then look at the key
 *            change: inside its window, if watched: word = epoch + 1, not watched; then the epoch
 *            publish: born = a new epoch, then all words are as remembered; else not stored
 *            read: each word is at most born, or the value is invalid
 * INVARIANTS A tag without a record makes its values invalid. A new record is as new as a change of
 *            its key. So a record may always be given to another tag.
 *            A word changes before the epoch does. A value is born with a drawn epoch, then its
 *            words are compared. So each later change is newer than the value.
 *            Each published value with dependencies has its own epoch: born identifies the value.
 *            A run is one call of a loader. Its list only grows; joiners of its flights read it.
 * LOCKING    DEPS, a leaf, for records that move. Words are exchanged without it, also in windows.
 * LIMITS     64 keys and 16 tags of namespaces per value. More keys, or a full bucket: the tag of
 *            all changes of the namespace stands for the key. One table of budget / 128.
 *            Tags have 63 bits of keyed hash: a collision costs a miss.
 * SEE ALSO   README.md, "Dependencies": proof, times, disk, rejected designs. Not tracked: reads in
 *            other stores, in scans, or outside loaders; leases. */
#include "cache/load_int.h"

#define CACHE_DEP_WAYS 4u
#define CACHE_DEP_NAMESPACES 16u
#define CACHE_DEP_HEAD 2u    /* CACHE_TIER_TAG_OF_LIFE, bound */
#define CACHE_DEP_KEY 1u     /* bit of a tag: of a key; else of a namespace: */
#define CACHE_DEP_ANY 2u     /* raised by each change in it; without the bit by its end only */
#define CACHE_DEP_WATCHED 1u /* bits of a word; the epoch stands above them */
#define CACHE_DEP_USED 2u
#define CACHE_DEP_EPOCH 2    /* shift */
#define CACHE_DEP_NEVER UINT64_MAX

_Static_assert(BASE_TAGS_MAX == CELLAR_TAGS_MAX + CACHE_DEP_HEAD + CELLAR_DEPENDENCIES_MAX +
                                    CACHE_DEP_NAMESPACES, "tags of one entry");

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
};

typedef struct cache_dep { /* a tag that a run noted */
    uint64_t tag;
    uint64_t seen;           /* epoch of its word then; 0: it changed before */
    uint64_t noted;          /* epoch of the store before the read */
} cache_dep;

struct cache_run { /* one call of a loader; written by its thread, the list read by joiners, too */
    cache_store *s;
    _Atomic uint32_t refs;   /* flights of the call */
    bool open;               /* the loader runs */
    uint32_t keys;           /* tags of keys in the list */
    uint32_t user_count;
    int64_t until_ms;        /* earliest deadline of the keys read */
    uint64_t noted;          /* epoch before the last read */
    /* Not 0: a read was not recorded. Callers that began at this epoch or later cannot join. */
    _Atomic uint64_t unsound;
    _Atomic uint32_t count;  /* release; acquire by joiners */
    uint64_t user[CELLAR_TAGS_MAX]; /* tags of the user on the keys read */
    cache_dep dep[CELLAR_DEPENDENCIES_MAX + CACHE_DEP_NAMESPACES];
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
        cache_fail_open(CELLAR_E_NOMEM, 0, "cellar_open: no memory for dependencies");
        return CELLAR_E_NOMEM;
    }
    d->bytes = bytes;
    d->mask = buckets - 1;
    d->bucket = (cache_dep_bucket *)(((uintptr_t)(d + 1) + BASE_LINE - 1) &
                                     ~(uintptr_t)(BASE_LINE - 1));
    s->deps = d;
    return CELLAR_OK;
}

CELLAR_PRIVATE cellar_err cache_deps_check(const cellar_namespace_opts *o, bool deps,
                                           const char **why)
{
    cellar_namespace_opts full;
    (void)cache_opts_in(&full, sizeof full, o); /* checked before: cache_namespace_opts_check */
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

static uint64_t cache_dep_key(uint64_t hash)
{
    return base_mix64(hash ^ CACHE_TIER_TAG_OF_LIFE) | CACHE_DEP_KEY;
}

static uint64_t cache_dep_namespace(uint32_t generation)
{
    return base_mix64(generation ^ CACHE_TIER_TAG_OF_LIFE) & ~(uint64_t)3;
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

/* Return the epoch of the last change of a tag. A record that moves meanwhile is newer than each
 * value with its old tag. */
static uint64_t cache_dep_epoch(const cache_deps *d, uint64_t tag)
{
    _Atomic uint64_t *word = cache_dep_word(d, tag);
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

/* Make the values with the tag of the word invalid. The word changes before the epoch: a value is
 * born with the later epoch only if it was compared after the change. */
static void cache_dep_move(cache_store *s, _Atomic uint64_t *word)
{
    uint64_t e;
    do { /* again if the epoch moved: a value may have been born with it meanwhile */
        e = base_load_sc(&s->tag_epoch) + 1;
        cache_dep_count(s->deps, base_xchg_ar(word, e << CACHE_DEP_EPOCH), 0);
        BASE_POINT("deps.raise");
    } while (!base_cas_sc(&s->tag_epoch, e - 1, e));
}

/* Raise the tag if it is watched. The caller fences between its window and this. A record that gets
 * another tag meanwhile costs a miss. */
static void cache_dep_raise(cache_store *s, uint64_t tag)
{
    _Atomic uint64_t *word = cache_dep_word(s->deps, tag);
    if (word != NULL && (base_load_acq(word) & CACHE_DEP_WATCHED) != 0) { cache_dep_move(s, word); }
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
    cache_dep_move(s, &b->word[i]); /* before the values of the old tag lose their record */
    base_store_sc(&b->tag[i], tag); /* acquire in cache_dep_word */
    return &b->word[i];
}

/* Watch a tag: the next change raises it. Return its epoch; 0: the table has no room for it. */
static uint64_t cache_dep_watch(cache_store *s, uint64_t tag, bool force)
{
    const uint64_t bits = CACHE_DEP_USED | CACHE_DEP_WATCHED;
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
    return w >> CACHE_DEP_EPOCH; /* moved meanwhile: never equal to the word of this tag again */
}

/* ---- entries ---- */

/* Return the number of tags of the user in the list of an entry. Less than count: dependencies
 * follow. */
CELLAR_PRIVATE uint32_t cache_deps_from(const uint64_t *tags, uint32_t count)
{
    for (uint32_t i = 0; i + CACHE_DEP_HEAD <= count; i++) {
        if (tags[i] == CACHE_TIER_TAG_OF_LIFE) { return i; }
    }
    return count;
}

CELLAR_PRIVATE bool cache_deps_valid(const cache_store *s, uint64_t born, const uint64_t *tags,
                                     uint32_t count)
{
    if (s->deps == NULL) { return count == 0; }
    for (uint32_t i = CACHE_DEP_HEAD; i < count; i++) {
        if (cache_dep_epoch(s->deps, tags[i]) > born) { return false; }
    }
    return true;
}

CELLAR_PRIVATE int64_t cache_deps_until(cache_store *s, const l1_key *k)
{
    uint64_t tags[BASE_TAGS_MAX], born;
    const uint32_t count = l1_tags_of(s->l1, k, tags, &born), from = cache_deps_from(tags, count);
    return from < count ? (int64_t)tags[from + 1] : BASE_NEVER_MS;
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

/* ---- runs of loaders ---- */

/* Mark the run: it read what it could not record, after epoch `noted`. */
static void cache_run_spoil(cache_run *r, uint64_t noted)
{
    if (base_load_rlx(&r->unsound) == 0) { base_store_sc(&r->unsound, noted + 1); }
    (void)base_add_sc(&r->s->tag_epoch, (uint64_t)1); /* later callers have a later epoch */
}

CELLAR_PRIVATE cache_run *cache_run_begin(cellar *c)
{
    cache_store *s = c->store;
    cache_run *r = base_alloc(&s->account, BASE_MOD_DEPS, sizeof *r, NULL);
    if (r == NULL) { return NULL; }
    r->s = s;
    r->until_ms = BASE_NEVER_MS;
    /* no token: the reads of this thread are unknown */
    if (base_thread_self()->index == 0) { cache_run_spoil(r, base_load_sc(&s->tag_epoch)); }
    return r;
}

CELLAR_PRIVATE void *cache_run_share(cache_run *r)
{
    (void)base_add_rlx(&r->refs, 1u);
    return r;
}

CELLAR_PRIVATE void cache_run_drop(void *run)
{
    cache_run *r = run;
    if (base_sub_ar(&r->refs, 1u) != 1) { return; }
    base_free(&r->s->account, BASE_MOD_DEPS, r, sizeof *r);
}

CELLAR_PRIVATE void cache_run_reads(cache_run *r, bool open) { r->open = open; }
CELLAR_PRIVATE int64_t cache_run_until(const cache_run *r) { return r->until_ms; }

/* Return whether the tag is as the run has noted it. */
static bool cache_dep_same(const cache_run *r, const cache_dep *dep)
{
    return cache_dep_epoch(r->s->deps, dep->tag) == dep->seen;
}

CELLAR_PRIVATE bool cache_run_fits(const cache_run *r, uint64_t epoch)
{
    if (r == NULL) { return true; }
    const uint64_t unsound = base_load_acq(&r->unsound);
    if (unsound != 0 && epoch >= unsound) { return false; }
    const uint32_t count = base_load_acq(&r->count);
    for (uint32_t i = 0; i < count; i++) {
        const cache_dep *dep = &r->dep[i];
        if (dep->noted < epoch && !cache_dep_same(r, dep)) { return false; }
    }
    return true;
}

static bool cache_run_has(const cache_run *r, uint64_t tag)
{
    const uint32_t count = base_load_rlx(&r->count);
    for (uint32_t i = 0; i < count; i++) {
        if (r->dep[i].tag == tag) { return true; }
    }
    return false;
}

/* Append a tag. Of namespaces there may be too many. */
static void cache_run_append(cache_run *r, uint64_t tag, uint64_t seen)
{
    const uint32_t count = base_load_rlx(&r->count);
    const bool key = (tag & CACHE_DEP_KEY) != 0;
    if (!key && count - r->keys == CACHE_DEP_NAMESPACES) {
        cache_run_spoil(r, r->noted);
        return;
    }
    r->keys += key;
    r->dep[count] = (cache_dep){ tag, seen, r->noted };
    base_store_rel(&r->count, count + 1); /* acquire in cache_run_fits */
}

static void cache_run_namespace(cache_run *r, uint64_t tag)
{
    if (!cache_run_has(r, tag)) { cache_run_append(r, tag, cache_dep_watch(r->s, tag, true)); }
}

/* Note a key, or each change of its namespace. */
static void cache_run_key(cache_run *r, const l1_key *k)
{
    const uint64_t tag = cache_dep_key(k->hash), all = cache_dep_namespace(k->generation);
    if (cache_run_has(r, tag) || cache_run_has(r, all | CACHE_DEP_ANY)) { return; }
    const bool room = r->keys < CELLAR_DEPENDENCIES_MAX;
    const uint64_t seen = room ? cache_dep_watch(r->s, tag, false) : 0;
    if (seen != 0) { cache_run_append(r, tag, seen); }
    else { stats_count(r->s->stats, STATS_LIMIT_DEPS, 1); }
    cache_run_namespace(r, seen != 0 ? all : all | CACHE_DEP_ANY);
}

/* Return the run of the loader in this thread. NULL: no loader, or it records nothing. */
static cache_run *cache_run_here(const cellar *c)
{
    const base_thread_record *self = base_thread_self();
    if (self->leads == NULL || self->index == 0) { return NULL; }
    cache_run *r = flight_notes(self->leads);
    return r != NULL && r->s == c->store && r->open ? r : NULL;
}

CELLAR_PRIVATE void cache_deps_note(cellar *c, const l1_key *k)
{
    cache_run *r = cache_run_here(c);
    base_thread_self()->tags_read = 0;
    if (r == NULL) { return; }
    r->noted = base_load_sc(&r->s->tag_epoch);
    if (!BASE_MUTANT("deps.note_after_read")) { cache_run_key(r, k); }
    base_fence_sc(); /* tag, then the look at the key; pairs with the fences in
                      * cache_deps_changed and cache_deps_generation */
    BASE_POINT("deps.note");
    /* cleared: the end of the generation may have been before */
    if (!cache_generation_alive(r->s, k->generation)) { cache_run_spoil(r, r->noted); }
}

static void cache_run_user(cache_run *r, const uint64_t *tags, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        bool has = false;
        for (uint32_t j = 0; j < r->user_count; j++) { has = has || r->user[j] == tags[i]; }
        if (has) { continue; }
        if (r->user_count == CELLAR_TAGS_MAX) {
            cache_run_spoil(r, r->noted);
            return;
        }
        r->user[r->user_count++] = tags[i];
    }
}

/* Add the dependencies of a value born at `born`. If there are too many, each change of their
 * namespaces stands for them: the tags are compared again after those are watched. */
static void cache_run_inherit(cache_run *r, const uint64_t *tags, uint32_t count, uint64_t born)
{
    bool full = false;
    for (uint32_t i = CACHE_DEP_HEAD; i < count && !BASE_MUTANT("deps.union_forgets"); i++) {
        const bool key = (tags[i] & CACHE_DEP_KEY) != 0;
        if (cache_run_has(r, tags[i])) {
            continue; /* noted before this value was read, and it was valid then */
        }
        if (key && r->keys == CELLAR_DEPENDENCIES_MAX) {
            full = true;
            continue;
        }
        const uint64_t epoch = cache_dep_epoch(r->s->deps, tags[i]);
        cache_run_append(r, tags[i], epoch <= born ? epoch : 0);
    }
    if (!full) { return; }
    stats_count(r->s->stats, STATS_LIMIT_DEPS, 1);
    for (uint32_t i = CACHE_DEP_HEAD; i < count; i++) {
        if ((tags[i] & CACHE_DEP_KEY) == 0) { cache_run_namespace(r, tags[i] | CACHE_DEP_ANY); }
    }
    base_fence_sc(); /* pairs with the fence in cache_deps_changed */
    if (!cache_deps_valid(r->s, born, tags, count)) { cache_run_spoil(r, r->noted); }
}

CELLAR_PRIVATE void cache_deps_seen(cellar *c, const l1_key *k, cellar_err code)
{
    cache_run *r = cache_run_here(c);
    uint64_t tags[BASE_TAGS_MAX], born = 0;
    l1_info info;
    if (r == NULL || code == CELLAR_MISS) { return; }
    if (BASE_MUTANT("deps.note_after_read")) { cache_run_key(r, k); }
    const uint64_t read = base_thread_self()->tags_read;
    const cellar_err err = l1_inspect(c->l1, k, NULL, 0, &info, L1_PEEK | L1_STALE_OK);
    const bool there = err == CELLAR_OK || err == CELLAR_STALE || err == CELLAR_ABSENT;
    if (!there && code == CELLAR_ABSENT && read == 0) { return; }
    const uint32_t count = there && info.tag_count != 0 ? l1_tags_of(c->l1, k, tags, &born) : 0;
    const uint32_t user = cache_deps_from(tags, count);
    if (!there || (read != born && !BASE_MUTANT("deps.other_tags"))) {
        /* an error, or an unknown deadline, or not the value that was read */
        cache_run_spoil(r, r->noted);
        return;
    }
    r->until_ms = BASE_MIN(r->until_ms, info.expires_ms);
    cache_run_user(r, tags, user);
    if (user < count) { cache_run_inherit(r, tags + user, count - user, born); }
}

CELLAR_PRIVATE void cache_run_keeps(cache_run *r, const uint64_t *tags, uint32_t count,
                                    uint64_t born)
{
    r->noted = base_load_sc(&r->s->tag_epoch);
    if (count != 0) { cache_run_inherit(r, tags, count, born); }
}

CELLAR_PRIVATE cache_run_verdict cache_run_settle(cache_run *r, struct cellar_load *ld)
{
    cache_run_user(r, ld->fps, ld->tag_count);
    const uint32_t count = base_load_rlx(&r->count);
    if (base_load_rlx(&r->unsound) != 0 || r->until_ms <= ld->call->now_ms) {
        return CACHE_RUN_UNSOUND;
    }
    memcpy(ld->fps, r->user, r->user_count * sizeof r->user[0]);
    ld->tag_count = ld->list_count = r->user_count;
    if (count == 0) { return CACHE_RUN_SOUND; }
    const uint64_t born = base_add_sc(&r->s->tag_epoch, (uint64_t)1) + 1;
    BASE_POINT("deps.publish");
    for (uint32_t i = 0; i < count && !BASE_MUTANT("deps.publish_blind"); i++) {
        if (!cache_dep_same(r, &r->dep[i])) { return CACHE_RUN_ENDED; }
    }
    /* The tags of the user count from the start of the load. */
    if (cache_tags_valid(r->s, ld->tag_born, ld->fps, ld->tag_count) == 0) { ld->tag_born = born; }
    uint64_t *to = ld->fps + ld->tag_count;
    *to++ = CACHE_TIER_TAG_OF_LIFE;
    *to++ = (uint64_t)r->until_ms;
    for (uint32_t i = 0; i < count; i++) { *to++ = r->dep[i].tag; }
    ld->list_count += CACHE_DEP_HEAD + count;
    return CACHE_RUN_SOUND;
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
