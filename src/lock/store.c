/* SPDX-License-Identifier: MIT
 *
 * store: the table of keyed locks: stripes, records, their pages, tick, fork, open and close.
 *
 * PICTURE    key -> hash -> stripe (64) --near hint--> record        read without a lock
 *                                  \----uthash-------> record        under the stripe lock
 *            page (4 KiB) = head | 21 records; a page belongs to one stripe, or to none
 *            region = all pages; reserved and writable at open, touched on first use
 * INVARIANTS A key is in at most one record of the index. A record of the index is held, waited
 * for,
 *            in a report, or one of at most LOCK_IDLE_MAX idle ones of its stripe.
 *            stripe.floor >= each fence of a key that left the index; table.high >= each fence in a
 *            returned page; a stripe that takes a page raises its floor to `high`. So the fences of
 *            a record always rise, and a word never returns.
 *            bytes charged == the table + 4096 for each page in use + uthash + long keys.
 * LOCKING    The stripe lock (rank LOCK) for everything except the words of records; chunk_lock
 *            (rank LOCK_CHUNK) for pages that change hands. Pages are returned to the system and
 *            lost leases are reported after the stripe lock is dropped (lock_leave).
 * ENDS       A record leaves the index frozen, so an old hint or handle meets an unexpected word.
 *            Pages stay mapped until close: a late look reads an old record or zeros, and its
 *            compare-exchange fails.
 * FORK       The child drops all locks: their owners do not exist there. fork_fence separates
 *            handles of the parent from those of the child.
 * LIMITS     max_locks keys, max_bytes bytes; each has a code and a counter */
#include <string.h>

#include "base/open_error.h"
#include "base/random.h"
#include "cellar_admin.h"
#include "lock/lock_int.h"

#define LOCK_BYTES_DEFAULT ((uint64_t)32 << 20)
#define LOCK_BYTES_MIN ((uint64_t)256 << 10)
#define LOCK_COUNT_DEFAULT 65536u
#define LOCK_COUNT_MAX (UINT64_C(1) << 24)
#define LOCK_FENCE_MAX (UINT64_C(1) << 61)
#define LOCK_FENCES_A_MS 20 /* bits: fences a millisecond that a key may use and keep their order
                             * over a restart; the wall clock fits above them until 2109 */
#define LOCK_TOO_SMALL "max_bytes is too small for max_locks: raise it"
#define LOCK_SPARE_CHUNKS 4u /* of a stripe: for idle and unused records, besides max_locks */

/* ---- pages ---- */

/* Add a page to the stripe. NULL: *why is the code. */
static lock_chunk *lock_chunk_attach(cellar_locks *t, lock_stripe *s, cellar_err *why)
    SYNC_HOLDS(LOCK)
{
    if (!base_charge(&t->account, BASE_MOD_LOCK, BASE_PAGE)) {
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
    if (!BASE_MUTANT("lock.floor_ignores_high")) { s->floor = BASE_MAX(s->floor, t->high); }
    sync_drop(LOCK_CHUNK, &t->chunk_lock);
    if (number == UINT32_MAX) {
        base_uncharge(&t->account, BASE_MOD_LOCK, BASE_PAGE);
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
    c->next = s->chunks;
    c->prev = NULL;
    if (c->next != NULL) { c->next->prev = c; }
    s->chunks = c;
    s->spare_count += LOCK_PER_CHUNK;
    return c;
}

static void lock_chunk_unlink(lock_stripe *s, lock_chunk *c) SYNC_HOLDS(LOCK)
{
    if (c->prev != NULL) { c->prev->next = c->next; } else { s->chunks = c->next; }
    if (c->next != NULL) { c->next->prev = c->prev; }
    c->next = c->prev = NULL;
}

/* Detach an empty page from its stripe; lock_leave returns it. */
static void lock_chunk_detach(cellar_locks *t, lock_stripe *s, lock_chunk *c, lock_after *a)
    SYNC_HOLDS(LOCK)
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
        base_uncharge(&t->account, BASE_MOD_LOCK, BASE_PAGE);
        c = next;
    }
}

/* ---- records ---- */

CELLAR_PRIVATE lock_record *lock_find(const lock_stripe *s, const lock_want *w)
{
    lock_record *r = NULL;
    HASH_FIND_BYHASHVALUE(hh, s->index, w->key, (unsigned)w->key_len, (unsigned)w->hash, r);
    return r;
}

/* Add a record to uthash. Return false if memory is missing; nothing changed then. */
static bool lock_index_add(cellar_locks *t, lock_stripe *s, lock_record *r) SYNC_HOLDS(LOCK)
{
    base_account *base_table_account = &t->account;
    const base_module base_table_module = BASE_MOD_LOCK;
    const unsigned hash = (unsigned)base_load_rlx(&r->hash);
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, s->index, lock_key(r), r->key_len, hash, r);
    return r->hh.tbl != NULL;
}

static void lock_index_del(cellar_locks *t, lock_stripe *s, lock_record *r) SYNC_HOLDS(LOCK)
{
    base_account *base_table_account = &t->account;
    const base_module base_table_module = BASE_MOD_LOCK;
    HASH_DELETE(hh, s->index, r);
    r->hh.tbl = NULL;
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
    if (c->spare == NULL) { /* the page was full, so it is in no list */
        c->next = s->chunks;
        c->prev = NULL;
        if (c->next != NULL) { c->next->prev = c; }
        s->chunks = c;
    }
    r->key.next_spare = c->spare;
    c->spare = r;
    c->used--;
    s->spare_count++;
    if (c->used == 0 && s->spare_count > LOCK_SPARE_MAX + LOCK_PER_CHUNK) {
        lock_chunk_detach(t, s, c, a);
    }
}

CELLAR_PRIVATE lock_record *lock_insert(cellar_locks *t, lock_stripe *s, const lock_want *w,
                                        unsigned char *block, cellar_err *why)
{
    if (base_add_rlx(&t->count, 1u) >= t->max_locks) {
        *why = CELLAR_E_LIMIT;
        goto uncount;
    }
    lock_record *r = lock_spare_take(t, s, why);
    if (r == NULL) { goto uncount; }
    BASE_ASSERT(lock_fence(base_load_rlx(&r->word)) <= s->floor);
    r->first = NULL;
    r->pins = 0;
    r->key_len = (uint32_t)w->key_len;
    if (block != NULL) {
        r->key.out = block;
    } else {
        memcpy(r->key.in, w->key, w->key_len);
    }
    base_store_rlx(&r->hash, w->hash);
    base_store_rlx(&r->lease_of, UINT64_C(0));
    base_store_rel(&r->word, lock_word(s->floor, LOCK_FROZEN));
    const uint64_t refused = base_load_rlx(&t->account.refused);
    if (!lock_index_add(t, s, r)) {
        *why = base_load_rlx(&t->account.refused) != refused ? CELLAR_E_SPACE : CELLAR_E_NOMEM;
        lock_after none = { .chunk = NULL };
        lock_spare_put(t, s, r, &none);
        BASE_ASSERT(none.chunk == NULL); /* the record was taken just now: too few are unused */
        goto uncount;
    }
    s->acquired -= s->floor;
    base_store_rlx(&s->record_count, base_load_rlx(&s->record_count) + 1);
    return r;
uncount:
    (void)base_sub_rlx(&t->count, 1u);
    return NULL;
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

static void lock_remove(cellar_locks *t, lock_stripe *s, lock_record *r, uint64_t fence,
                        lock_after *a) SYNC_HOLDS(LOCK)
{
    const uint64_t hash = base_load_rlx(&r->hash);
    _Atomic uint32_t *near = lock_near(s, hash);
    for (uint32_t i = 0; i < 2; i++) {
        if (base_load_rlx(&near[i]) == lock_hint(hash, lock_number(t, r))) {
            base_store_rlx(&near[i], 0u);
        }
    }
    lock_index_del(t, s, r);
    if (r->key_len > LOCK_KEY_INLINE) {
        base_free(&t->account, BASE_MOD_LOCK, r->key.out, r->key_len);
    }
    if (!BASE_MUTANT("lock.floor_not_raised")) { s->floor = BASE_MAX(s->floor, fence); }
    s->acquired += fence;
    base_store_rel(&r->word, lock_word(fence, LOCK_FROZEN));
    base_store_rlx(&s->record_count, base_load_rlx(&s->record_count) - 1);
    lock_spare_put(t, s, r, a);
    (void)base_sub_rlx(&t->count, 1u);
}

/* Add a hint in place of the older of the two. Do not rewrite an equal hint: other threads read
 * it. */
static void lock_hint_put(lock_stripe *s, uint64_t hash, uint32_t number) SYNC_HOLDS(LOCK)
{
    _Atomic uint32_t *near = lock_near(s, hash);
    const uint32_t hint = lock_hint(hash, number), first = base_load_rlx(&near[0]);
    if (first == hint || base_load_rlx(&near[1]) == hint) { return; }
    if (first != 0) { base_store_rlx(&near[1], first); }
    base_store_rlx(&near[0], hint);
}

CELLAR_PRIVATE void lock_settle(cellar_locks *t, lock_stripe *s, lock_record *r, uint64_t fence,
                                bool held, bool drop, lock_after *a)
{
    uint64_t bits = held ? LOCK_HELD : 0;
    if (r->first != NULL && !BASE_MUTANT("lock.waiters_unmarked")) {
        bits |= LOCK_FROZEN;
    } else if (!held && r->pins == 0 &&
               (drop || base_load_rlx(&s->record_count) > LOCK_IDLE_MAX)) {
        lock_remove(t, s, r, fence, a);
        return;
    }
    lock_hint_put(s, base_load_rlx(&r->hash), lock_number(t, r));
    BASE_POINT("lock.settle");
    base_store_rel(&r->word, lock_word(fence, bits));
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
        if (!BASE_MUTANT("lock.grant_without_wake")) { sync_wake(a->wake[i], 1); }
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

/* ---- the tick ---- */

/* Tick one record: remove it if idle; if lost, make it idle and prepare the report. Return true if
 * it was lost. */
static bool lock_tick_one(cellar_locks *t, lock_stripe *s, lock_record *r, int64_t now_ms,
                          bool report, lock_after *a) SYNC_HOLDS(LOCK)
{
    cellar_lock_lost cause = CELLAR_LOCK_LOST_EXPIRED;
    const uint64_t w = lock_freeze(r);
    const bool held = (w & LOCK_HELD) != 0;
    if (report && held && r->first == NULL && lock_over(r, w, now_ms, &cause)) {
        lock_note_lost(s, r, lock_fence(w), now_ms, cause, a);
        s->acquired--; /* the fence rises without a new owner, so that late handles are lost */
        lock_settle(t, s, r, lock_fence(w) + 1, false, false, a);
        return true;
    }
    lock_settle(t, s, r, lock_fence(w), held, true, a);
    return false;
}

/* Report at most one lost lock of a stripe; remove its idle records. Return true if one was
 * lost. */
static bool lock_tick_stripe(cellar_locks *t, lock_stripe *s, int64_t now_ms, bool report)
{
    lock_after a = { .chunk = NULL };
    bool lost = false;
    sync_take(LOCK, &s->lock);
    for (lock_record *r = s->index, *next = NULL; r != NULL && !lost; r = next) {
        next = r->hh.next;
        lost = lock_tick_one(t, s, r, now_ms, report, &a);
    }
    for (lock_chunk *c = s->chunks, *next = NULL; c != NULL; c = next) {
        next = c->next;
        if (c->used == 0) { lock_chunk_detach(t, s, c, &a); }
    }
    lock_leave(t, s, &a);
    return lost;
}

CELLAR_PRIVATE void lock_sweep(cellar_locks *t)
{
    for (uint32_t i = 0; i < LOCK_STRIPES; i++) {
        (void)lock_tick_stripe(t, &t->stripe[i], 0, false);
    }
}

CELLAR_API cellar_err cellar_locks_tick(cellar_locks *t, uint64_t *lost_count)
{
    if (lost_count != NULL) { *lost_count = 0; }
    if (t == NULL) { return CELLAR_E_INVAL; }
    const int64_t now_ms = base_now_ms(&t->clock);
    for (uint32_t i = 0; i < LOCK_STRIPES; i++) {
        /* Bounded: a lost lock is not held any more, and new leases end after now_ms. */
        while (lock_tick_stripe(t, &t->stripe[i], now_ms, true)) {
            if (lost_count != NULL) { ++*lost_count; }
        }
    }
    return CELLAR_OK;
}

/* ---- audit ---- */

static bool lock_audit_record(cellar_locks *t, const lock_stripe *s, const lock_record *r)
{
    const uint64_t word = base_load_acq(&r->word);
    uint32_t waiters = 0;
    for (const lock_waiter *w = r->first; w != NULL; w = w->next != r->first ? w->next : NULL) {
        if (w->next->prev != w) { return false; }
        waiters++;
    }
    return (waiters == 0 || (word & LOCK_FROZEN) != 0) && r->key_len > 0 &&
           lock_stripe_of(t, base_load_rlx(&r->hash)) == s &&
           base_hash(&t->hash_key, 0, lock_key(r), r->key_len) == base_load_rlx(&r->hash) &&
           lock_chunk_of(t, r)->stripe == (uint32_t)(s - t->stripe) + 1;
}

static bool lock_audit_stripe(cellar_locks *t, lock_stripe *s)
{
    sync_take(LOCK, &s->lock);
    uint32_t records = 0, spare = 0;
    bool ok = true;
    for (const lock_record *r = s->index; r != NULL; r = r->hh.next) {
        ok = ok && lock_audit_record(t, s, r);
        records++;
    }
    for (const lock_chunk *c = s->chunks; c != NULL; c = c->next) {
        uint32_t here = 0;
        for (const lock_record *r = c->spare; r != NULL; r = r->key.next_spare) {
            /* A record outside the index cannot be taken. */
            ok = ok && (base_load_rlx(&r->word) & LOCK_BITS) != LOCK_HELD;
            here++;
        }
        ok = ok && here == LOCK_PER_CHUNK - c->used && here > 0;
        spare += here;
    }
    ok = ok && spare == s->spare_count && records == base_load_rlx(&s->record_count);
    sync_drop(LOCK, &s->lock);
    return ok;
}

CELLAR_PRIVATE bool lock_audit(cellar_locks *t)
{
    bool ok = true;
    for (uint32_t i = 0; i < LOCK_STRIPES; i++) { ok = lock_audit_stripe(t, &t->stripe[i]) && ok; }
    return ok;
}

/* ---- fork ---- */

static void lock_fork_prepare(void *ctx) SYNC_UNCHECKED;
static void lock_fork_parent(void *ctx) SYNC_UNCHECKED;
static void lock_fork_child(void *ctx) SYNC_UNCHECKED;

static void lock_fork_prepare(void *ctx)
{
    cellar_locks *t = ctx;
    for (uint32_t i = 0; i < LOCK_STRIPES; i++) { sync_take(LOCK, &t->stripe[i].lock); }
    sync_take(LOCK_CHUNK, &t->chunk_lock);
}

static void lock_fork_parent(void *ctx)
{
    cellar_locks *t = ctx;
    sync_drop(LOCK_CHUNK, &t->chunk_lock);
    for (uint32_t i = LOCK_STRIPES; i-- > 0;) { sync_drop(LOCK, &t->stripe[i].lock); }
}

/* Drop every record of a stripe. No thread is left that could look at one. */
static void lock_stripe_clear(cellar_locks *t, lock_stripe *s) SYNC_HOLDS(LOCK)
{
    base_account *base_table_account = &t->account;
    const base_module base_table_module = BASE_MOD_LOCK;
    for (lock_record *r = s->index; r != NULL; r = r->hh.next) {
        const uint64_t fence = lock_fence(base_load_rlx(&r->word));
        s->floor = BASE_MAX(s->floor, fence);
        s->acquired += fence;
        if (r->key_len > LOCK_KEY_INLINE) {
            base_free(&t->account, BASE_MOD_LOCK, r->key.out, r->key_len);
        }
    }
    HASH_CLEAR(hh, s->index);
    for (uint32_t i = 0; i < LOCK_NEAR; i++) { base_store_rlx(&s->near[i], 0u); }
    base_store_rlx(&s->record_count, 0u);
    s->chunks = NULL;
    s->spare_count = s->waiter_count = 0;
}

/* Return every page. */
static void lock_clear(cellar_locks *t) SYNC_HOLDS(LOCK)
{
    for (uint32_t i = 0; i < LOCK_STRIPES; i++) { lock_stripe_clear(t, &t->stripe[i]); }
    base_store_rlx(&t->count, UINT64_C(0));
    if (t->chunk_top > 0) {
        base_region_discard(&t->region, 0, (size_t)t->chunk_top * BASE_PAGE);
    }
    const uint64_t in_use = t->chunk_top - t->free_count;
    base_uncharge(&t->account, BASE_MOD_LOCK, in_use * BASE_PAGE);
    t->chunk_top = t->free_count = 0;
}

static void lock_fork_child(void *ctx)
{
    cellar_locks *t = ctx;
    lock_clear(t);
    for (uint32_t i = 0; i < LOCK_STRIPES; i++) {
        lock_stripe *s = &t->stripe[i];
        t->high = BASE_MAX(t->high, s->floor);
        base_store_rlx(&s->fork_fence, s->floor);
        sync_reset(&s->lock);
    }
    sync_reset(&t->chunk_lock);
}

/* ---- open and close ---- */

static cellar_err lock_open_fail(cellar_err code, const char *why)
{
    return base_open_fail(code, 0, "cellar_locks_open: %s", why);
}

/* Copy and check the options of the caller. */
static cellar_err lock_config_in(const cellar_locks_config *cfg, cellar_locks_config *out,
                                 cellar_host_opts *host)
{
    const char *why;
    *out = cellar_locks_config_default();
    *host = cellar_host_opts_default();
    cellar_err err = base_open_opts(out, sizeof *out, cfg, "cellar_locks_open",
                                    "cellar_locks_config");
    if (err == CELLAR_OK) {
        err = base_open_opts(host, sizeof *host, out->host, "cellar_locks_open",
                             "cellar_host_opts");
    }
    if (err != CELLAR_OK) { return err; }
    if (out->max_locks == 0) { out->max_locks = LOCK_COUNT_DEFAULT; }
    if (out->max_bytes == 0) { out->max_bytes = LOCK_BYTES_DEFAULT; }
    if (host->name == NULL || *host->name == '\0') { host->name = "locks"; }
    if (base_broken(out->max_locks > LOCK_COUNT_MAX, "max_locks must be at most 2^24", &why) ||
        base_broken(out->max_bytes < LOCK_BYTES_MIN, "max_bytes must be at least 256 KiB", &why) ||
        base_broken(out->fence_start >= LOCK_FENCE_MAX, "fence_start must be below 2^61", &why) ||
        base_broken(out->barging > 1, "barging must be 0 or 1", &why) ||
        base_broken(strnlen(host->name, CELLAR_NAME_MAX + 1) > CELLAR_NAME_MAX,
                    "host.name must have at most 64 bytes", &why)) {
        return lock_open_fail(CELLAR_E_INVAL, why);
    }
    return out->reserved0 == 0 ? CELLAR_OK
           : lock_open_fail(CELLAR_E_UNSUPPORTED, "cellar_locks_config.reserved0 must be 0");
}

/* Set the clock. A clock of the host serves as the precise and the coarse one. */
static void lock_clock_init(cellar_locks *t, const cellar_host_opts *host)
{
    t->look_ms = BASE_NEVER_MS;
    if (host->clock == NULL) {
        base_clock_ready();
    } else {
        t->clock = (base_clock){ .precise_ms = host->clock, .coarse_ms = host->clock,
                                 .ctx = host->clock_ctx };
        t->look_ms = LOCK_LOOK_MS;
    }
}

static void lock_stripes_init(cellar_locks *t, uint64_t fence_start)
{
    if (fence_start == 0) {
        const int64_t wall_ms = base_wall_ms();
        fence_start = (wall_ms > 0 ? (uint64_t)wall_ms : 1) << LOCK_FENCES_A_MS;
    }
    t->high = BASE_MIN(fence_start, LOCK_FENCE_MAX);
    for (uint32_t i = 0; i < LOCK_STRIPES; i++) { t->stripe[i].floor = t->high; }
}

CELLAR_API cellar_err cellar_locks_open(const cellar_locks_config *cfg, cellar_locks **out)
{
    if (out == NULL) { return lock_open_fail(CELLAR_E_INVAL, "out must not be NULL"); }
    *out = NULL;
    cellar_locks_config full;
    cellar_host_opts host;
    cellar_err err = lock_config_in(cfg, &full, &host);
    if (err != CELLAR_OK) { return err; }
    const char *why = "no memory for the table";
    err = CELLAR_E_NOMEM;
    void *raw = base_alloc_raw(NULL, sizeof(cellar_locks) + BASE_PAD);
    if (raw == NULL) { goto out; }
    cellar_locks *t = (cellar_locks *)(void *)(uintptr_t)base_round_up((uintptr_t)raw, BASE_PAD);
    memset(t, 0, sizeof *t);
    t->raw = raw;
    t->max_locks = full.max_locks;
    t->barging = full.barging;
    memcpy(t->name, host.name, strlen(host.name));
    t->chunk_max = (uint32_t)(full.max_locks / LOCK_PER_CHUNK) + 1 +
                   LOCK_STRIPES * LOCK_SPARE_CHUNKS;
    base_account_init(&t->account, full.max_bytes, NULL);
    if (!base_charge(&t->account, BASE_MOD_LOCK, sizeof(cellar_locks) + BASE_PAD)) {
        err = CELLAR_E_SPACE;
        why = LOCK_TOO_SMALL;
        goto drop_raw;
    }
    unsigned char secret[32];
    why = "no random bytes from the kernel";
    if (!base_random_bytes(secret, sizeof secret)) { goto drop_raw; }
    base_hash_key_init(&t->hash_key, BASE_HASH_FOLD, secret);
    lock_clock_init(t, &host);
    lock_stripes_init(t, full.fence_start);
    bool refused = false;
    why = "no memory or address space for max_locks: lower it";
    t->free_chunks = base_alloc(&t->account, BASE_MOD_LOCK, t->chunk_max * sizeof(uint32_t),
                                &refused);
    if (t->free_chunks == NULL) {
        if (base_broken(refused, LOCK_TOO_SMALL, &why)) { err = CELLAR_E_SPACE; }
        goto drop_raw;
    }
    const size_t bytes = (size_t)t->chunk_max * BASE_PAGE;
    if (!base_region_reserve(&t->region, bytes, bytes)) { goto drop_free; }
    if (!base_region_commit(&t->region, 0, bytes)) { goto drop_region; }
    t->records = t->region.base;
    t->fork = (base_fork_node){ .prepare = lock_fork_prepare, .parent = lock_fork_parent,
                                .child = lock_fork_child, .ctx = t };
    why = "no memory for the fork handlers";
    if (!base_fork_register(&t->fork)) { goto drop_region; }
    *out = t;
    return CELLAR_OK;
drop_region:
    base_region_release(&t->region);
drop_free:
    base_free(&t->account, BASE_MOD_LOCK, t->free_chunks, t->chunk_max * sizeof(uint32_t));
drop_raw:
    base_free_raw(NULL, raw, sizeof(cellar_locks) + BASE_PAD);
out:
    return lock_open_fail(err, why);
}

static void lock_close_clear(cellar_locks *t) SYNC_UNCHECKED;
static void lock_close_clear(cellar_locks *t) { lock_clear(t); } /* no other call runs */

CELLAR_API void cellar_locks_close(cellar_locks *t)
{
    if (t == NULL) { return; }
    base_fork_unregister(&t->fork);
    lock_close_clear(t);
    base_region_release(&t->region);
    base_free(&t->account, BASE_MOD_LOCK, t->free_chunks, t->chunk_max * sizeof(uint32_t));
    BASE_ASSERT(base_load_rlx(&t->account.used) == sizeof(cellar_locks) + BASE_PAD);
    base_free_raw(NULL, t->raw, sizeof(cellar_locks) + BASE_PAD);
}

CELLAR_API cellar_err cellar_locks_watch(cellar_locks *t, cellar_lock_watch_fn fn, void *ctx)
{
    if (t == NULL) { return CELLAR_E_INVAL; }
    sync_take(LOCK_CHUNK, &t->chunk_lock);
    t->watch = fn;
    t->watch_ctx = ctx;
    sync_drop(LOCK_CHUNK, &t->chunk_lock);
    return CELLAR_OK;
}
