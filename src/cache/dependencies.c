/* SPDX-License-Identifier: MIT
 *
 * dependencies: a loaded value carries the tags of all keys that its loader read.
 *
 * PICTURE    loader: [deps.note] watch the tag, remember its epoch; then look at the key
 *            publish: born = a new epoch, then all words are as remembered; else not stored
 *            join: a tag noted before the call began has changed -> the flight is left
 * INVARIANTS A value is born with a drawn epoch, then its words are compared. So each later change
 *            is newer than the value.
 *            Each published value with dependencies has its own epoch: born identifies the value.
 *            A run is one call of a loader. Its list only grows; joiners of its flights read it.
 * LOCKING    None of its own.
 * LIMITS     64 keys and 16 tags of namespaces per value. More keys, or a full bucket: the tag of
 *            all changes of the namespace stands for the key.
 * SEE ALSO   dependency_table.c (the tags); README.md, "Dependencies": proof, times, disk, rejected
 *            designs. Not tracked: reads in other stores, in scans, or outside loaders; leases. */
#include "cache/dependencies.h"

#include "cache/dependency_table.h"
#include "cache/generation.h"

BASE_SIZE_BEGIN

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

/* Mark the run: it read what it could not record, after epoch `noted`. */
static void cache_run_spoil(cache_run *r, uint64_t noted)
{
    if (base_load_rlx(&r->unsound) == 0) { base_store_sc(&r->unsound, noted + 1); }
    (void)cache_deps_draw(r->s); /* later callers have a later epoch */
}

CELLAR_PRIVATE cache_run *cache_run_begin(cellar *c)
{
    cache_store *s = c->store;
    cache_run *r = base_alloc(&s->account, BASE_MOD_DEPS, sizeof *r, NULL);
    if (r == NULL) { return NULL; }
    r->s = s;
    r->until_ms = BASE_NEVER_MS;
    /* no token: the reads of this thread are unknown */
    if (base_thread_self()->index == 0) { cache_run_spoil(r, cache_deps_epoch(s)); }
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
    return cache_dep_epoch(r->s, dep->tag) == dep->seen;
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
    r->noted = cache_deps_epoch(r->s);
    cache_run_key(r, k);
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

/* Add the dependencies of a value. If there are too many, each change of their namespaces stands
 * for them: the tags are compared again after those are watched. */
static void cache_run_inherit(cache_run *r, const uint64_t *tags, uint32_t count)
{
    bool full = false;
    for (uint32_t i = CACHE_DEP_HEAD; i < count; i++) {
        const bool key = (tags[i] & CACHE_DEP_KEY) != 0;
        if (cache_run_has(r, tags[i])) {
            continue; /* noted before this value was read, and it was valid then */
        }
        if (key && r->keys == CELLAR_DEPENDENCIES_MAX) {
            full = true;
            continue;
        }
        const uint64_t epoch = cache_dep_epoch(r->s, tags[i]);
        cache_run_append(r, tags[i], epoch <= tags[2] ? epoch : 0);
    }
    if (!full) { return; }
    stats_count(r->s->stats, STATS_LIMIT_DEPS, 1);
    for (uint32_t i = CACHE_DEP_HEAD; i < count; i++) {
        if ((tags[i] & CACHE_DEP_KEY) == 0) { cache_run_namespace(r, tags[i] | CACHE_DEP_ANY); }
    }
    base_fence_sc(); /* pairs with the fence in cache_deps_changed */
    if (!cache_deps_valid(r->s, tags, count)) { cache_run_spoil(r, r->noted); }
}

CELLAR_PRIVATE void cache_deps_seen(cellar *c, const l1_key *k, cellar_err code)
{
    cache_run *r = cache_run_here(c);
    uint64_t tags[BASE_TAGS_MAX], born = 0;
    l1_info info;
    if (r == NULL || code == CELLAR_MISS) { return; }
    const uint64_t read = base_thread_self()->tags_read;
    const cellar_err err = l1_inspect(c->l1, k, NULL, 0, &info, L1_PEEK | L1_STALE_OK);
    const bool there = err == CELLAR_OK || err == CELLAR_STALE || err == CELLAR_ABSENT;
    if (!there && code == CELLAR_ABSENT && read == 0) { return; }
    const uint32_t count = there && info.tag_count != 0 ? l1_tags_of(c->l1, k, tags, &born) : 0;
    const uint32_t user = cache_deps_from(tags, count);
    const bool same = read == cache_deps_identity(tags, count);
    if (!there || !same) {
        /* an error, or an unknown deadline, or not the value that was read */
        cache_run_spoil(r, r->noted);
        return;
    }
    r->until_ms = BASE_MIN(r->until_ms, info.expires_ms);
    cache_run_user(r, tags, user);
    if (user < count) { cache_run_inherit(r, tags + user, count - user); }
}

CELLAR_PRIVATE void cache_run_keeps(cache_run *r, const uint64_t *tags, uint32_t count)
{
    r->noted = cache_deps_epoch(r->s);
    if (count != 0) { cache_run_inherit(r, tags, count); }
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
    const uint64_t born = cache_deps_draw(r->s);
    BASE_POINT("deps.publish");
    for (uint32_t i = 0; i < count; i++) {
        if (!cache_dep_same(r, &r->dep[i])) { return CACHE_RUN_ENDED; }
    }
    uint64_t *to = ld->fps + ld->tag_count;
    *to++ = CACHE_TIER_TAG_OF_LIFE;
    *to++ = (uint64_t)r->until_ms;
    *to++ = born;
    for (uint32_t i = 0; i < count; i++) { *to++ = r->dep[i].tag; }
    ld->list_count += CACHE_DEP_HEAD + count;
    return CACHE_RUN_SOUND;
}

BASE_SIZE_END
