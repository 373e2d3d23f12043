/* SPDX-License-Identifier: MIT
 *
 * demoted: long values that left memory and are on their way to the disk.
 *
 * PICTURE    eviction -> put: no room in the log now -> pin of the block -> list -> maintenance
 *            puts it in pieces, as the log gets room -> unpinned
 * INVARIANTS A value of the list is in no other level: a get of its key misses meanwhile. A put
 *            compares the stamp of the eviction, so a value that was loaded or set since is never
 *            replaced. One of a generation that ended is dropped.
 *            The pinned bytes stay charged. They are at most an eighth of the budget and one value.
 * LOCKING    demoted_lock (rank LISTEN) for the list. The one thread of cache_demoted_work alone
 *            removes from it; it puts without a lock. */
#include "cache/demoted.h"

#include "cache/generation.h"
#include "cache/handle.h"
#include "cache/stamp.h"

BASE_SIZE_BEGIN

#define CACHE_DEMOTED_LEAST ((size_t)64 << 10) /* shorter values are dropped */
#define CACHE_DEMOTED_MOST 8u
#define CACHE_DEMOTED_SHARE 8u

typedef struct cache_demoted {
    struct cache_demoted *next;
    size_t bytes; /* of this block */
    l2_key key;
    l2_meta meta;
    l2_parts parts;
    uint64_t stamp;
    const void *value;
    size_t value_len;
    uint32_t slot; /* the pin of the value */
    unsigned char tail[]; /* fingerprints of tags, key */
} cache_demoted;

/* Reserve a place in the list for `len` bytes. */
static bool cache_demoted_room(cache_store *s, size_t len)
{
    const uint64_t most = base_load_rlx(&s->account.limit) / CACHE_DEMOTED_SHARE;
    sync_take(LISTEN, &s->demoted_lock);
    const uint32_t count = base_load_rlx(&s->demoted_count);
    const bool room = count < CACHE_DEMOTED_MOST && s->demoted_bytes <= most;
    if (room) {
        s->demoted_bytes += len;
        base_store_rel(&s->demoted_count, count + 1);
    }
    sync_drop(LISTEN, &s->demoted_lock);
    return room;
}

static void cache_demoted_room_back(cache_store *s, size_t len)
{
    sync_take(LISTEN, &s->demoted_lock);
    s->demoted_bytes -= len;
    (void)base_sub_rlx(&s->demoted_count, 1u);
    sync_drop(LISTEN, &s->demoted_lock);
}

CELLAR_PRIVATE void cache_demoted_keep(cache_store *s, const l1_left *what,
                                       const l2_key *k, const l2_meta *m)
{
    const size_t tags = m->tag_count * sizeof(uint64_t);
    const size_t bytes = sizeof(cache_demoted) + tags + k->len;
    if (what->value_len < CACHE_DEMOTED_LEAST || !cache_demoted_room(s, what->value_len)) {
        return;
    }
    /* base_alloc would evict again */
    cache_demoted *e = base_alloc_held(&s->account, BASE_MOD_STORE, bytes, NULL);
    if (e == NULL || !l1_pin_left(s->l1, what, &e->slot)) {
        base_free(&s->account, BASE_MOD_STORE, e, e != NULL ? bytes : 0);
        cache_demoted_room_back(s, what->value_len);
        return;
    }
    e->next = NULL;
    e->bytes = bytes;
    e->key = *k;
    e->meta = *m;
    e->parts = *m->parts;
    e->stamp = what->stamp;
    e->value = what->value;
    e->value_len = what->value_len;
    e->meta.parts = &e->parts;
    e->meta.tag_fps = e->tail;
    e->key.bytes = e->tail + tags;
    if (tags != 0) { memcpy(e->tail, m->tag_fps, tags); }
    memcpy(e->tail + tags, k->bytes, k->len);
    sync_take(LISTEN, &s->demoted_lock);
    cache_demoted **last = &s->demoted;
    while (*last != NULL) { last = &(*last)->next; }
    *last = e;
    sync_drop(LISTEN, &s->demoted_lock);
    cache_thread_ring(s);
}

static void cache_demoted_free(cache_store *s, cache_demoted *e)
{
    l1_unpin_slot(s->l1, e->slot);
    cache_demoted_room_back(s, e->value_len);
    base_free(&s->account, BASE_MOD_STORE, e, e->bytes);
}

/* Take the oldest value off the list; NULL: none. */
static cache_demoted *cache_demoted_next(cache_store *s, bool take)
{
    sync_take(LISTEN, &s->demoted_lock);
    cache_demoted *e = s->demoted;
    if (take && e != NULL) { s->demoted = e->next; }
    sync_drop(LISTEN, &s->demoted_lock);
    return e;
}

CELLAR_PRIVATE bool cache_demoted_work(cache_store *s)
{
    l2 *const d = cache_disk(s);
    bool on = false;
    for (cache_demoted *e; d != NULL && (e = cache_demoted_next(s, false)) != NULL;) {
        const size_t done = e->parts.done;
        const l2_current current = { cache_stamp_is, s, e->stamp };
        const cellar_err err = cache_generation_alive(s, e->key.generation)
            ? l2_put(d, &e->key, e->value, e->value_len, &e->meta, &current) : CELLAR_MISS;
        on = on || e->parts.done > done || err != CELLAR_DROPPED;
        if (err == CELLAR_DROPPED && !l2_off(d)) { return on; }
        cache_demoted_free(s, cache_demoted_next(s, true));
    }
    return false;
}

CELLAR_PRIVATE void cache_demoted_drop(cache_store *s)
{
    for (cache_demoted *e; (e = cache_demoted_next(s, true)) != NULL;) { cache_demoted_free(s, e); }
}

BASE_SIZE_END
