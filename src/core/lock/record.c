/* SPDX-License-Identifier: MIT
 *
 * record: the records of keyed locks, their pages, and the index of a stripe.
 *
 * PICTURE    key -> hash -> stripe (64..256) --near hint--> record   read without a lock
 *                                       \----chain--------> record   under the stripe lock
 *            page (4 KiB) = head | 31 records; a page belongs to one stripe, or to none
 *            region = all pages; reserved and writable at open, touched on first use
 * INVARIANTS A key is in at most one record of the index. A record of the index is held, waited
 *            for, in a report, or one of at most LOCK_IDLE_MAX idle ones of its stripe.
 *            table.count == sum over stripes of record_count + credit, at most max_locks.
 *            stripe.floor >= each fence of a key that left the index; table.high >= each fence in a
 *            returned page; a stripe that takes a page raises its floor to `high`. So the fences of
 *            a record always rise, and a word never returns.
 *            bytes charged == the table + 4096 for each page in use + long keys.
 * LOCKING    The stripe lock (rank LOCK) for everything except the words of records; chunk_lock
 *            (rank LOCK_CHUNK) for pages that change hands. Pages are returned to the system and
 *            lost holds are reported after the stripe lock is dropped (lock_leave).
 * ENDS       A record leaves the index frozen, so an old hint or handle meets an unexpected word.
 *            Pages stay mapped until close: a late look reads an old record or zeros, and its
 *            compare-exchange fails.
 * LIMITS     max_locks keys, max_bytes bytes; each has a code and a counter */
#include <string.h>

#include "lock/record.h"

BASE_SIZE_BEGIN

/* ---- tenure ---- */

CELLAR_PRIVATE bool lock_over(const lock_record *r, uint64_t word, int64_t now_ms,
                              cellar_lock_lost *cause)
{
    if (!lock_is_announced(r, lock_fence(word))) { return false; }
    *cause = CELLAR_LOCK_LOST_EXPIRED;
    if (base_load_rlx(&r->hold_end) <= now_ms) { return true; }
    *cause = CELLAR_LOCK_LOST_OWNER_DIED;
    return (base_load_rlx(&r->flags) & CELLAR_LOCK_THREAD_BOUND) != 0 &&
           base_thread_gone(base_load_rlx(&r->owner));
}

CELLAR_PRIVATE void lock_note_lost(lock_stripe *s, lock_record *r, uint64_t fence, int64_t now_ms,
                                   cellar_lock_lost cause, lock_after *a)
{
    BASE_ASSERT(a->lost == NULL);
    s->count[cause == CELLAR_LOCK_LOST_EXPIRED ? STATS_LOCK_EXPIRED : STATS_LOCK_OWNER_DIED]++;
    r->pins++; /* keeps key and record in place until the watcher has returned */
    a->lost = r;
    a->lost_fence = fence;
    a->lost_held_ms = BASE_MAX(now_ms - base_load_rlx(&r->since), 0);
    a->cause = cause;
}

/* ---- pages ---- */

static void lock_chunk_link(lock_stripe *s, lock_chunk *c) SYNC_HOLDS(LOCK)
{
    c->next = s->chunks;
    c->prev = NULL;
    if (c->next != NULL) { c->next->prev = c; }
    s->chunks = c;
}

/* Add a page to the stripe. NULL: *why is the code. */
static lock_chunk *lock_chunk_attach(cellar_locks *t, lock_stripe *s, cellar_err *why)
    SYNC_HOLDS(LOCK)
{
    if (!base_charge(&t->obj.account, BASE_MOD_LOCK, BASE_PAGE)) {
        *why = CELLAR_E_SPACE;
        return NULL;
    }
    uint32_t number = UINT32_MAX;
    sync_take(LOCK_CHUNK, &t->chunk_lock);
    if (t->free_count > 0) {
        number = t->free_chunks[--t->free_count];
    } else if (t->chunk_top < t->chunk_max) {
        number = t->chunk_top++;
    }
    s->floor = BASE_MAX(s->floor, t->high);
    sync_drop(LOCK_CHUNK, &t->chunk_lock);
    if (number == UINT32_MAX) {
        base_uncharge(&t->obj.account, BASE_MOD_LOCK, BASE_PAGE);
        *why = CELLAR_E_LIMIT;
        return NULL;
    }
    lock_chunk *c = (lock_chunk *)(void *)(t->records + (size_t)number * BASE_PAGE);
    BASE_ASSERT(c->stripe == 0 && c->used == 0);
    c->stripe = (uint32_t)(s - t->stripe) + 1;
    for (uint32_t i = LOCK_PER_CHUNK; i-- > 0;) {
        lock_record *r = lock_at(t, number << 5 | i);
        r->key.next_spare = c->spare;
        c->spare = r;
    }
    lock_chunk_link(s, c);
    s->spare_count += LOCK_PER_CHUNK;
    return c;
}

static void lock_chunk_unlink(lock_stripe *s, lock_chunk *c) SYNC_HOLDS(LOCK)
{
    if (c->prev != NULL) { c->prev->next = c->next; } else { s->chunks = c->next; }
    if (c->next != NULL) { c->next->prev = c->prev; }
    c->next = c->prev = NULL;
}

CELLAR_PRIVATE void lock_chunk_detach(cellar_locks *t, lock_stripe *s, lock_chunk *c,
                                      lock_after *a)
{
    BASE_ASSERT(c->used == 0 && s->spare_count >= LOCK_PER_CHUNK);
    lock_chunk_unlink(s, c);
    s->spare_count -= LOCK_PER_CHUNK;
    sync_take(LOCK_CHUNK, &t->chunk_lock);
    t->high = BASE_MAX(t->high, s->floor);
    sync_drop(LOCK_CHUNK, &t->chunk_lock);
    c->next = a->chunk;
    a->chunk = c;
}

static void lock_chunks_return(cellar_locks *t, lock_chunk *c)
{
    while (c != NULL) {
        lock_chunk *next = c->next;
        const size_t at = (size_t)((unsigned char *)c - t->records);
        base_region_discard(&t->region, at, BASE_PAGE);
        sync_take(LOCK_CHUNK, &t->chunk_lock);
        t->free_chunks[t->free_count++] = (uint32_t)(at / BASE_PAGE);
        sync_drop(LOCK_CHUNK, &t->chunk_lock);
        base_uncharge(&t->obj.account, BASE_MOD_LOCK, BASE_PAGE);
        c = next;
    }
}

/* ---- records ---- */

CELLAR_PRIVATE lock_record *lock_find(const cellar_locks *t, const lock_want *w)
{
    for (uint32_t n = *lock_head(t, w->hash); n != 0;) {
        lock_record *r = lock_at(t, n - 1);
        if (base_load_rlx(&r->hash) == w->hash && r->key_len == w->key_len &&
            memcmp(lock_key(r), w->key, w->key_len) == 0) {
            return r;
        }
        n = r->next;
    }
    return NULL;
}

CELLAR_PRIVATE lock_record *lock_behind(const cellar_locks *t, const lock_stripe *s,
                                        const lock_record *r)
{
    const uint32_t *end = &t->heads[(size_t)(s - t->stripe + 1) << t->head_bits];
    const uint32_t *head = end - ((size_t)1 << t->head_bits);
    if (r != NULL) {
        if (r->next != 0) { return lock_at(t, r->next - 1); }
        head = lock_head(t, base_load_rlx(&r->hash)) + 1;
    }
    while (head < end && *head == 0) { head++; }
    return head < end ? lock_at(t, *head - 1) : NULL;
}

static void lock_index_add(cellar_locks *t, lock_stripe *s, lock_record *r) SYNC_HOLDS(LOCK)
{
    const uint64_t hash = base_load_rlx(&r->hash);
    uint32_t *head = lock_head(t, hash);
    r->next = *head & INT32_MAX;
    *lock_newest(s, hash) = *head = lock_number(t, r) + 1;
}

static void lock_index_del(cellar_locks *t, lock_stripe *s, lock_record *r) SYNC_HOLDS(LOCK)
{
    const uint64_t hash = base_load_rlx(&r->hash);
    const uint32_t number = lock_number(t, r) + 1;
    uint32_t *head = lock_head(t, hash), *newest = lock_newest(s, hash);
    if (*head == number) {
        *head = r->next;
    } else {
        lock_record *before = lock_at(t, *head - 1);
        while (before->next != number) { before = lock_at(t, before->next - 1); }
        before->next = r->next;
    }
    if (*newest == number) { *newest = *head; }
}

static lock_record *lock_spare_take(cellar_locks *t, lock_stripe *s, cellar_err *why)
    SYNC_HOLDS(LOCK)
{
    lock_chunk *c = s->chunks;
    if (c == NULL) {
        c = lock_chunk_attach(t, s, why);
        if (c == NULL) { return NULL; }
    }
    lock_record *r = c->spare;
    c->spare = r->key.next_spare;
    c->used++;
    s->spare_count--;
    if (c->spare == NULL) { lock_chunk_unlink(s, c); }
    return r;
}

static void lock_spare_put(cellar_locks *t, lock_stripe *s, lock_record *r, lock_after *a)
    SYNC_HOLDS(LOCK)
{
    lock_chunk *c = lock_chunk_of(t, r);
    if (c->spare == NULL) { lock_chunk_link(s, c); } /* it was full: in no list */
    r->key.next_spare = c->spare;
    c->spare = r;
    c->used--;
    s->spare_count++;
    if (c->used == 0 && s->spare_count > LOCK_SPARE_MAX + LOCK_PER_CHUNK) {
        lock_chunk_detach(t, s, c, a);
    }
}

CELLAR_PRIVATE void lock_credit_return(cellar_locks *t, lock_stripe *s, uint32_t n)
{
    s->credit -= n;
    (void)base_sub_rlx(&t->count, (uint64_t)n);
}

/* Take credit for one record at least. Return false if max_locks is reached. */
static bool lock_credit_take(cellar_locks *t, lock_stripe *s) SYNC_HOLDS(LOCK)
{
    while (s->credit == 0) {
        const uint64_t count = base_load_rlx(&t->count);
        const uint64_t n = BASE_MIN(t->max_locks - count, LOCK_CREDIT);
        if (n == 0) { return false; }
        if (base_cas_ar(&t->count, count, count + n)) { s->credit = (uint32_t)n; }
    }
    return true;
}

CELLAR_PRIVATE uint64_t lock_freeze(lock_record *r)
{
    for (;;) { /* a lost round is progress of the owner or a new owner */
        const uint64_t w = base_load_acq(&r->word);
        if ((w & LOCK_FROZEN) != 0) { return w; }
        BASE_POINT("lock.freeze");
        if (base_cas_ar(&r->word, w, w | LOCK_FROZEN)) { return w | LOCK_FROZEN; }
    }
}

static void lock_hint_clear(const cellar_locks *t, lock_stripe *s, lock_record *r) SYNC_HOLDS(LOCK)
{
    const uint64_t hash = base_load_rlx(&r->hash);
    _Atomic uint32_t *near = lock_near(s, hash);
    for (uint32_t i = 0; i < 2; i++) {
        if (base_load_rlx(&near[i]) == lock_hint(hash, lock_number(t, r))) {
            base_store_rlx(&near[i], 0u);
        }
    }
    r->hinted = 0;
}

/* Take a frozen record that no thread needs out of the index. The caller puts it to use. */
static void lock_unindex(cellar_locks *t, lock_stripe *s, lock_record *r, uint64_t fence)
    SYNC_HOLDS(LOCK)
{
    if (r->hinted) { lock_hint_clear(t, s, r); }
    lock_index_del(t, s, r);
    if (r->key_len > LOCK_KEY_INLINE) {
        base_free(&t->obj.account, BASE_MOD_LOCK, r->key.out, r->key_len);
    }
    s->floor = BASE_MAX(s->floor, fence);
    s->acquired += fence;
    base_store_rel(&r->word, lock_word(fence, LOCK_FROZEN));
}

/* Count a change of the records in the index. Their line is one that fast paths read. */
static void lock_count(lock_stripe *s, int32_t change) SYNC_HOLDS(LOCK)
{
    s->credit -= (uint32_t)change;
    base_store_rlx(&s->record_count, base_load_rlx(&s->record_count) + (uint32_t)change);
}

/* Add a hint in place of the older of the two. Do not rewrite an equal hint: other threads read
 * it. */
static void lock_hint_put(const cellar_locks *t, lock_stripe *s, lock_record *r) SYNC_HOLDS(LOCK)
{
    const uint64_t hash = base_load_rlx(&r->hash);
    _Atomic uint32_t *near = lock_near(s, hash);
    const uint32_t hint = lock_hint(hash, lock_number(t, r)), first = base_load_rlx(&near[0]);
    r->hinted = 1;
    if (first == hint || base_load_rlx(&near[1]) == hint) { return; }
    if (first != 0) { base_store_rlx(&near[1], first); }
    base_store_rlx(&near[0], hint);
}

CELLAR_PRIVATE void lock_settle(cellar_locks *t, lock_stripe *s, lock_record *r, uint64_t fence,
                                bool held, bool drop, lock_after *a)
{
    uint64_t bits = held ? LOCK_HELD : 0;
    if (r->first != NULL) {
        bits |= LOCK_FROZEN;
    } else if (!held && r->pins == 0 &&
               (drop || base_load_rlx(&s->record_count) > LOCK_IDLE_MAX)) {
        lock_unindex(t, s, r, fence);
        lock_count(s, -1);
        lock_spare_put(t, s, r, a);
        if (s->credit > 2 * LOCK_CREDIT) { lock_credit_return(t, s, LOCK_CREDIT); }
        return;
    }
    lock_hint_put(t, s, r);
    BASE_POINT("lock.settle");
    base_store_rel(&r->word, lock_word(fence, bits));
}

/* Return a recent record: its lines are probably in the cache, and the head of its chain perhaps in
 * the line that an insert of this hash writes; NULL: none. */
static lock_record *lock_recent(const cellar_locks *t, lock_stripe *s, uint64_t hash)
    SYNC_HOLDS(LOCK)
{
    for (uint64_t part = 0; part < LOCK_PARTS; part++) {
        const uint32_t n = *lock_newest(s, hash + part * LOCK_LINE_HEADS);
        if (n != 0) { return lock_at(t, n - 1); }
    }
    return lock_behind(t, s, NULL);
}

/* Take a recent record of a full stripe out of the index, for another key. Return NULL if it is not
 * idle. */
static lock_record *lock_reuse(cellar_locks *t, lock_stripe *s, uint64_t hash) SYNC_HOLDS(LOCK)
{
    if (base_load_rlx(&s->record_count) < LOCK_IDLE_MAX) { return NULL; }
    lock_record *r = lock_recent(t, s, hash);
    if (r == NULL || r->pins > 0) { return NULL; }
    const uint64_t w = base_load_acq(&r->word);
    BASE_POINT("lock.freeze");
    if ((w & LOCK_BITS) != 0 || !base_cas_ar(&r->word, w, w | LOCK_FROZEN)) { return NULL; }
    lock_unindex(t, s, r, lock_fence(w));
    return r;
}

CELLAR_PRIVATE lock_record *lock_insert(cellar_locks *t, lock_stripe *s, const lock_want *w,
                                        unsigned char *block, cellar_err *why)
{
    lock_record *r = lock_reuse(t, s, w->hash);
    if (r == NULL) {
        *why = CELLAR_E_LIMIT;
        r = lock_credit_take(t, s) ? lock_spare_take(t, s, why) : NULL;
        if (r == NULL) { return NULL; }
        lock_count(s, 1);
    }
    BASE_ASSERT(lock_fence(base_load_rlx(&r->word)) <= s->floor);
    r->first = NULL;
    r->pins = 0;
    r->key_len = (uint16_t)w->key_len;
    if (block != NULL) {
        r->key.out = block;
    } else {
        memcpy(r->key.in, w->key, w->key_len);
    }
    base_store_rlx(&r->hash, w->hash);
    base_store_rlx(&r->hold_of, UINT64_C(0));
    lock_index_add(t, s, r);
    s->acquired -= s->floor;
    return r;
}

/* Unpin a record after the report of its loss. */
static void lock_unpin(cellar_locks *t, lock_record *r)
{
    lock_stripe *s = lock_stripe_of(t, base_load_rlx(&r->hash));
    lock_after a = { .chunk = NULL };
    sync_take(LOCK, &s->lock);
    const uint64_t w = lock_freeze(r);
    r->pins--;
    lock_settle(t, s, r, lock_fence(w), (w & LOCK_HELD) != 0, false, &a);
    sync_drop(LOCK, &s->lock);
    lock_chunks_return(t, a.chunk);
}

CELLAR_PRIVATE void lock_leave(cellar_locks *t, lock_stripe *s, lock_after *a)
{
    sync_drop(LOCK, &s->lock);
    for (uint32_t i = 0; i < a->wake_count; i++) {
        /* The thread may have left since: then no thread sleeps on that word; it is not read. */
        sync_wake(a->wake[i], 1);
    }
    lock_chunks_return(t, a->chunk);
    if (a->lost == NULL) { return; }
    sync_take(LOCK_CHUNK, &t->chunk_lock);
    const cellar_lock_watch_fn fn = t->watch;
    void *ctx = t->watch_ctx;
    sync_drop(LOCK_CHUNK, &t->chunk_lock);
    if (fn != NULL) {
        sync_assert_none();
        fn(lock_key(a->lost), a->lost->key_len, a->lost_fence, a->lost_held_ms, a->cause, ctx);
    }
    lock_unpin(t, a->lost);
}

BASE_SIZE_END
