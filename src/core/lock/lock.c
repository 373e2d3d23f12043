/* SPDX-License-Identifier: MIT
 *
 * lock: keyed locks: acquire, wait, extend, release, describe.
 *
 * PICTURE    acquire  hint -> record idle? --CAS--> held; hold written, then hold_of     (fast)
 *                     else under the stripe lock: free -> take; lost -> report, take;
 *                     held -> append to the queue, freeze the word, sleep on an own event
 *            release  CAS held -> idle                                                     (fast)
 *                     else (a thread waits or looks) under the stripe lock: pass on
 * INVARIANTS At most one fence holds a record. Fences of a key rise by one with each owner, and by
 *            one when a hold ends without a next owner. While a thread waits, the word is frozen.
 *            The first waiter watches the hold: it sleeps no longer than the hold lasts, and a
 *            new first waiter is woken to look again. A tenure without complete fields cannot end:
 *            its owner is between two instructions of lock_fast.
 * LOCKING    The stripe lock for everything except two exchanges, idle -> held and held -> idle.
 *            FROZEN keeps them out: freezing is a CAS on the same word. A wait ends when bit 0 of
 *            the event of the waiter is set, once, under the stripe lock; or when its deadline is
 *            over and the waiter finds that bit clear. So a lock passed on in the last instant is
 *            kept.
 * HOLDS      End by the clock and hold_end of the tenure. Holds from one second start at an upper
 *            bound of the time (base_clock_ahead): never short, up to 64 ms long. The hold ends
 *            the lock of a thread that exits; THREAD_BOUND locks are taken over when the kernel
 *            does not know the thread any more.
 * LIMITS     A lost round of a compare-exchange is progress of another thread.
 * SEE ALSO   README.md in this folder: walk, proof, cost, rejected designs. */
#include <limits.h>
#include <string.h>

#include "base/open_error.h"
#include "base/opts.h"
#include "lock/record.h"
#include "lock/tick.h"

/* ---- tenure ---- */

/* Write the tenure fields of the owner, hold_of last. */
BASE_ALWAYS_INLINE void lock_tell(cellar_locks *t, const base_thread_record *self, lock_record *r,
                                  uint64_t fence, const lock_want *w)
{
    int64_t from_ms, ahead_ms;
    if (BASE_UNLIKELY(w->hold_ms < LOCK_PRECISE_MS)) {
        from_ms = ahead_ms = base_now_ms(&t->obj.clock);
    } else {
        ahead_ms = base_clock_ahead(&t->obj.clock, self, &from_ms);
    }
    base_store_rlx(&r->since, from_ms);
    base_store_rlx(&r->hold_end, base_add_sat(ahead_ms, w->hold_ms)); /* NEVER stays NEVER */
    base_store_rlx(&r->owner, w->tid);
    base_store_rlx(&r->flags, w->flags | (w->note != NULL ? LOCK_NOTED : 0));
    if (BASE_UNLIKELY(w->note != NULL)) { /* without a note its line stays unwritten */
        const size_t len = strnlen(w->note, CELLAR_LOCK_NOTE_MAX);
        memcpy(r->note, w->note, len);
        r->note[len] = '\0';
    }
    BASE_POINT("lock.tell");
    base_store_rel(&r->hold_of, fence);
}

/* ---- the queue, under the stripe lock ---- */

static void lock_after_wake(lock_after *a, lock_waiter *w)
{
    BASE_ASSERT(a->wake_count < 2);
    a->wake[a->wake_count++] = &w->event;
}

/* Let the first waiter look at hold and owner again. Awake it does so before it sleeps. */
static void lock_kick(lock_record *r, lock_after *a)
{
    lock_waiter *first = r->first;
    if (first == NULL) { return; }
    const uint32_t event = base_load_rlx(&first->event);
    if ((event & LOCK_SLEEPS) == 0) { return; }
    base_store_rel(&first->event, event - LOCK_SLEEPS + LOCK_KICK);
    lock_after_wake(a, first);
}

static void lock_enqueue(lock_stripe *s, lock_record *r, lock_waiter *w) SYNC_HOLDS(LOCK)
{
    lock_waiter *first = r->first;
    if (first == NULL) {
        w->next = w->prev = w;
        r->first = w;
    } else {
        w->next = first;
        w->prev = first->prev;
        first->prev->next = w;
        first->prev = w;
    }
    s->waiter_count++;
}

static void lock_dequeue(lock_stripe *s, lock_record *r, lock_waiter *w) SYNC_HOLDS(LOCK)
{
    if (r->first == w) { r->first = w->next == w ? NULL : w->next; }
    w->next->prev = w->prev;
    w->prev->next = w->next;
    s->waiter_count--;
}

/* Make the first waiter the owner of the frozen record. Set its event last: from then on it may use
 * and release the lock, or be gone. Without other waiters the word loses FROZEN. */
BASE_COLD static void lock_hand_over(cellar_locks *t, lock_stripe *s, lock_record *r,
                                     uint64_t fence, lock_after *a) SYNC_HOLDS(LOCK)
{
    lock_waiter *first = r->first;
    const uint32_t event = base_load_rlx(&first->event) | LOCK_GRANTED;
    lock_dequeue(s, r, first);
    fence++;
    lock_tell(t, base_thread_self(), r, fence, first->want);
    first->fence = fence;
    s->count[STATS_LOCK_HANDED_OVER]++;
    lock_settle(t, s, r, fence, true, false, a);
    BASE_POINT("lock.grant");
    base_store_rel(&first->event, event);
    if ((event & LOCK_SLEEPS) != 0) { lock_after_wake(a, first); }
    lock_kick(r, a);
}

/* Pass the lock on to the first waiter, or make it idle. `fence`: that of the last owner. */
static void lock_pass_on(cellar_locks *t, lock_stripe *s, lock_record *r, uint64_t fence, bool lost,
                         lock_after *a) SYNC_HOLDS(LOCK)
{
    if (r->first != NULL && !t->barging) {
        lock_hand_over(t, s, r, fence, a);
        return;
    }
    lock_kick(r, a); /* barging: the first waiter competes with running threads */
    if (lost) {
        s->acquired--; /* the fence rises without an owner, so that copies of the handle are lost */
        fence++;
    }
    lock_settle(t, s, r, fence, false, false, a);
}

static void lock_out(const cellar_locks *t, const lock_stripe *s, const lock_record *r,
                     uint64_t fence, cellar_lock *out)
{
    out->opaque = lock_opaque((uint32_t)(s - t->stripe), lock_number(t, r));
    out->fence = fence;
}

BASE_SIZE_BEGIN

/* ---- waiting ---- */

/* Return the time until which the waiter may sleep, on the clock of sync_wait. */
static uint64_t lock_sleep_until(const cellar_locks *t, const lock_record *r, const lock_waiter *me,
                                 int64_t now_ms)
{
    int64_t until_ms = me->want->deadline_ms;
    if (r->first == me) {
        const uint64_t word = base_load_rlx(&r->word);
        if (!lock_is_announced(r, lock_fence(word))) {
            until_ms = BASE_MIN(until_ms, now_ms + LOCK_UNTOLD_MS);
        } else {
            until_ms = BASE_MIN(until_ms, base_load_rlx(&r->hold_end));
            if ((base_load_rlx(&r->flags) & CELLAR_LOCK_THREAD_BOUND) != 0) {
                until_ms = BASE_MIN(until_ms, now_ms + LOCK_ALIVE_MS);
            }
        }
    }
    if (until_ms == BASE_NEVER_MS && t->look_ms == BASE_NEVER_MS) { return UINT64_MAX; }
    const int64_t sleep_ms = BASE_MIN(until_ms > now_ms ? until_ms - now_ms : 0, t->look_ms);
    const uint64_t now_ns = base_now_ns(), most_ms = (UINT64_MAX - now_ns) / 1000000u;
    return (uint64_t)sleep_ms > most_ms ? UINT64_MAX : now_ns + (uint64_t)sleep_ms * 1000000u;
}

/* Take the lock for the first waiter, if it is free or lost. Return false if it is neither. */
static bool lock_wait_take(cellar_locks *t, lock_stripe *s, lock_record *r, int64_t now_ms,
                           lock_after *a) SYNC_HOLDS(LOCK)
{
    const uint64_t word = base_load_acq(&r->word);
    BASE_ASSERT((word & LOCK_FROZEN) != 0 || BASE_SIM);
    if ((word & LOCK_HELD) != 0) {
        cellar_lock_lost cause;
        if (!lock_over(r, word, now_ms, &cause)) { return false; }
        lock_note_lost(s, r, lock_fence(word), now_ms, cause, a);
    }
    lock_hand_over(t, s, r, lock_fence(word), a);
    return true;
}

/* Leave the queue after the deadline. */
static void lock_wait_leave(cellar_locks *t, lock_stripe *s, lock_record *r, lock_waiter *me,
                            lock_after *a) SYNC_HOLDS(LOCK)
{
    const uint64_t word = base_load_acq(&r->word);
    const bool led = r->first == me;
    lock_dequeue(s, r, me);
    if (led) { lock_kick(r, a); }
    lock_settle(t, s, r, lock_fence(word), (word & LOCK_HELD) != 0, false, a);
    s->count[STATS_LOCK_TIMEOUT]++;
}

/* Wait a moment for the turn of this waiter: a wake-up costs more than a short tenure. */
static void lock_wait_awake(const lock_waiter *me)
{
    for (int i = sync_spins() * LOCK_AWAKE; i > 0; i--) {
        if ((base_load_rlx(&me->event) & LOCK_GRANTED) != 0) { return; }
        base_pause();
    }
}

/* Wait in the queue. Caller holds the stripe lock; the function drops it. */
static cellar_err lock_wait(cellar_locks *t, lock_stripe *s, lock_record *r, lock_waiter *me,
                            int64_t now_ms, lock_after *a, cellar_lock *out) SYNC_DROPS(LOCK)
{
    for (;;) {
        const uint32_t seen = base_load_rlx(&me->event);
        const bool asleep = (seen & LOCK_SLEEPS) != 0;
        const uint64_t until_ns = asleep ? lock_sleep_until(t, r, me, now_ms) : 0;
        lock_leave(t, s, a);
        memset(a, 0, sizeof *a);
        BASE_POINT("lock.wait");
        if (asleep) { (void)sync_wait(&me->event, seen, until_ns); } else { lock_wait_awake(me); }
        if ((base_load_acq(&me->event) & LOCK_GRANTED) != 0) {
            lock_out(t, s, r, me->fence, out);
            return CELLAR_OK;
        }
        sync_take(LOCK, &s->lock);
        now_ms = base_now_ms(&t->obj.clock);
        const bool granted = (base_load_acq(&me->event) & LOCK_GRANTED) != 0;
        if (granted || (r->first == me && lock_wait_take(t, s, r, now_ms, a))) {
            lock_leave(t, s, a);
            lock_out(t, s, r, me->fence, out);
            return CELLAR_OK;
        }
        if (me->want->deadline_ms <= now_ms) {
            lock_wait_leave(t, s, r, me, a);
            lock_leave(t, s, a);
            return CELLAR_E_TIMEOUT;
        }
        if (!asleep) { base_store_rlx(&me->event, seen | LOCK_SLEEPS); }
    }
}

BASE_SIZE_END

/* ---- acquire ---- */

/* Undo a take of another key with the same 64-bit hash. */
BASE_COLD static void lock_untake(cellar_locks *t, lock_record *r, uint64_t fence)
{
    lock_stripe *s = lock_stripe_of(t, base_load_rlx(&r->hash));
    lock_after a = { .chunk = NULL };
    sync_take(LOCK, &s->lock);
    (void)lock_freeze(r);
    s->acquired--;
    lock_pass_on(t, s, r, fence, false, &a);
    lock_leave(t, s, &a);
}

/* Compare keys, short ones by words: memcmp is a call. */
BASE_ALWAYS_INLINE bool lock_same(const unsigned char *a, const unsigned char *b, size_t len)
{
    if (len < 8 || len > LOCK_KEY_INLINE) { return memcmp(a, b, len) == 0; }
    uint64_t different = base_hash_r8(a + len - 8) ^ base_hash_r8(b + len - 8);
    for (size_t i = 0; i + 8 < len; i += 8) {
        different |= base_hash_r8(a + i) ^ base_hash_r8(b + i);
    }
    return different == 0;
}

/* Find the record that a hint names for this hash. Do not read a line of another key. */
BASE_ALWAYS_INLINE bool lock_hinted(lock_stripe *s, uint64_t hash, uint32_t *number)
{
    const _Atomic uint32_t *near = lock_near(s, hash);
    uint32_t hint = base_load_rlx(&near[0]);
    if (hint >> LOCK_HINT_BITS != lock_tag(hash)) {
        hint = base_load_rlx(&near[1]);
        if (BASE_UNLIKELY(hint >> LOCK_HINT_BITS != lock_tag(hash))) { return false; }
    }
    *number = (hint & ((UINT32_C(1) << LOCK_HINT_BITS) - 1)) - 1;
    return true;
}

/* Take an idle record that a hint names, with one exchange. Return false if that was impossible. */
BASE_ALWAYS_INLINE bool lock_fast(cellar_locks *t, const base_thread_record *self, lock_stripe *s,
                                  const lock_want *w, cellar_lock *out)
{
    uint32_t number;
    if (BASE_UNLIKELY(!lock_hinted(s, w->hash, &number))) { return false; }
    lock_record *r = lock_at(t, number);
    BASE_PREFETCH(&r->key);
    const uint64_t word = base_load_acq(&r->word);
    if (BASE_UNLIKELY((word & LOCK_BITS) != 0 || word == 0 ||
                      base_load_rlx(&r->hash) != w->hash)) {
        return false;
    }
    const uint64_t fence = lock_fence(word) + 1;
    BASE_POINT("lock.fast.take");
    if (BASE_UNLIKELY(!base_cas_ar(&r->word, word, lock_word(fence, LOCK_HELD)))) { return false; }
    /* The record is taken, so its key stays: now the bytes can be compared without a race. */
    if (BASE_UNLIKELY(base_load_rlx(&r->hash) != w->hash || r->key_len != w->key_len ||
                      !lock_same(lock_key(r), w->key, w->key_len))) {
        lock_untake(t, r, fence);
        return false;
    }
    lock_tell(t, self, r, fence, w);
    out->opaque = lock_opaque((uint32_t)(w->hash >> t->stripe_shift), number);
    out->fence = fence;
    return true;
}

/* Handle a lock that another owner holds: BUSY, DEADLOCK, or wait. The word is frozen. Drop the
 * stripe lock. */
static cellar_err lock_held(cellar_locks *t, lock_stripe *s, lock_record *r, uint64_t word,
                            lock_want *w, int64_t now_ms, lock_after *a, cellar_lock *out)
    SYNC_DROPS(LOCK)
{
    w->deadline_ms = w->wait_timeout_ms == 0 ? INT64_MIN : base_add_sat(now_ms, w->wait_timeout_ms);
    const bool mine = lock_is_announced(r, lock_fence(word)) &&
                      base_load_rlx(&r->owner) == w->tid &&
                      (base_load_rlx(&r->flags) & CELLAR_LOCK_THREAD_BOUND) != 0;
    if (w->deadline_ms <= now_ms || mine) {
        s->count[w->deadline_ms <= now_ms ? STATS_LOCK_BUSY : STATS_LOCK_DEADLOCK]++;
        lock_settle(t, s, r, lock_fence(word), true, false, a);
        lock_leave(t, s, a);
        return w->deadline_ms <= now_ms ? CELLAR_E_BUSY : CELLAR_E_DEADLOCK;
    }
    lock_waiter me = { .want = w };
    s->count[STATS_LOCK_WAIT]++;
    lock_enqueue(s, r, &me);
    lock_settle(t, s, r, lock_fence(word), true, false, a);
    return lock_wait(t, s, r, &me, now_ms, a, out);
}

/* Take a frozen record, or wait for it. Drop the stripe lock. */
static cellar_err lock_meet(cellar_locks *t, lock_stripe *s, lock_record *r, uint64_t word,
                            lock_want *w, lock_after *a, cellar_lock *out) SYNC_DROPS(LOCK)
{
    cellar_lock_lost cause;
    uint64_t fence = lock_fence(word);
    bool held = (word & LOCK_HELD) != 0;
    /* A precise reading costs as much as all the rest: only for a held or awaited lock. */
    const int64_t now_ms = held || r->first != NULL ? base_now_ms(&t->obj.clock) : 0;
    if (held && lock_over(r, word, now_ms, &cause)) {
        lock_note_lost(s, r, fence, now_ms, cause, a);
        held = false;
    }
    if (!held && r->first != NULL && !t->barging) { /* the longest waiter comes first */
        lock_hand_over(t, s, r, fence, a);
        word = lock_freeze(r); /* the new owner may have released it already */
        fence = lock_fence(word);
        held = (word & LOCK_HELD) != 0;
    }
    if (held) { return lock_held(t, s, r, word, w, now_ms, a, out); }
    lock_tell(t, base_thread_self(), r, ++fence, w);
    lock_settle(t, s, r, fence, true, false, a);
    lock_leave(t, s, a);
    lock_out(t, s, r, fence, out);
    return CELLAR_OK;
}

/* Acquire under the stripe lock. After E_LIMIT and E_SPACE the caller sweeps idle records and tries
 * again. */
static cellar_err lock_slow_once(cellar_locks *t, lock_stripe *s, lock_want *w,
                                 unsigned char **block, cellar_lock *out)
{
    lock_after a = { .chunk = NULL };
    BASE_PREFETCH_W(lock_head(t, w->hash)); /* arrives together with the line of the stripe */
    sync_take(LOCK, &s->lock);
    lock_prefetch(t, s, w->hash);
    lock_record *r = lock_find(t, w);
    if (r != NULL) { return lock_meet(t, s, r, lock_freeze(r), w, &a, out); }
    cellar_err err = CELLAR_OK;
    r = lock_insert(t, s, w, *block, &err);
    if (r == NULL) {
        lock_leave(t, s, &a);
        return err;
    }
    *block = NULL;
    const uint64_t fence = s->floor + 1; /* no hint yet: a key that comes once needs none */
    lock_tell(t, base_thread_self(), r, fence, w);
    base_store_rel(&r->word, lock_word(fence, LOCK_HELD));
    lock_leave(t, s, &a);
    lock_out(t, s, r, fence, out);
    return CELLAR_OK;
}

/* Wait a moment for an owner that holds the lock as briefly, before the queue: a thread in the
 * queue costs each release a wake-up. A thread that waits there already comes first: its record is
 * frozen. */
static bool lock_spin(cellar_locks *t, const base_thread_record *self, lock_stripe *s,
                      const lock_want *w, cellar_lock *out)
{
    uint32_t number;
    if (w->wait_timeout_ms == 0 || !lock_hinted(s, w->hash, &number)) { return false; }
    const lock_record *r = lock_at(t, number);
    for (int i = sync_spins(); i > 0; i--) {
        const uint64_t bits = base_load_rlx(&r->word) & LOCK_BITS;
        if (bits == 0 && lock_fast(t, self, s, w, out)) { return true; }
        if ((bits & LOCK_FROZEN) != 0 || base_load_rlx(&r->hash) != w->hash) { return false; }
        base_pause();
    }
    return false;
}

BASE_NOINLINE static cellar_err lock_slow(cellar_locks *t, const base_thread_record *self,
                                          lock_stripe *s, lock_want *w, cellar_lock *out)
{
    if (lock_spin(t, self, s, w, out)) { return CELLAR_OK; }
    unsigned char *block = NULL;
    cellar_err err = CELLAR_OK;
    if (w->key_len > LOCK_KEY_INLINE) {
        bool refused = false;
        block = base_alloc(&t->obj.account, BASE_MOD_LOCK, w->key_len, &refused);
        if (block == NULL) {
            err = refused ? CELLAR_E_SPACE : CELLAR_E_NOMEM;
            goto refuse;
        }
        memcpy(block, w->key, w->key_len);
    }
    err = lock_slow_once(t, s, w, &block, out);
    if (err == CELLAR_E_LIMIT || err == CELLAR_E_SPACE) {
        /* Idle records and credits of other stripes may use the room. */
        lock_sweep(t);
        err = lock_slow_once(t, s, w, &block, out);
    }
    if (block != NULL) { base_free(&t->obj.account, BASE_MOD_LOCK, block, w->key_len); }
    if (err != CELLAR_E_LIMIT && err != CELLAR_E_SPACE && err != CELLAR_E_NOMEM) { return err; }
refuse:
    sync_take(LOCK, &s->lock);
    s->count[err == CELLAR_E_LIMIT ? STATS_LOCK_REJECTED_LIMIT : STATS_LOCK_REJECTED_MEMORY]++;
    sync_drop(LOCK, &s->lock);
    return err;
}

/* Keep why options of `call` are refused. */
BASE_COLD static cellar_err lock_want_refuse(const char *call, const cellar_lock_opts *o,
                                             cellar_err err)
{
    const uint32_t known = CELLAR_LOCK_THREAD_BOUND | CELLAR_LOCK_NO_END | CELLAR_LOCK_NO_WAIT;
    if (err == CELLAR_E_UNSUPPORTED) {
        return base_open_fail(err, 0, "%s: flags 0x%x or reserved0 are unknown: "
                              "this library and its header do not have them", call,
                              (unsigned)(o->flags & ~known));
    }
    if (o->wait_timeout_ms < 0) {
        return base_open_fail(err, 0, "%s: wait_timeout_ms must be 0 or more (got %lld)", call,
                              (long long)o->wait_timeout_ms);
    }
    if (o->hold_ms < 0) {
        return base_open_fail(err, 0, "%s: hold_ms must be 0 or more (got %lld)", call,
                              (long long)o->hold_ms);
    }
    return base_refuse(err, call,
                       (o->flags & CELLAR_LOCK_NO_END) != 0
                           ? "CELLAR_LOCK_NO_END needs CELLAR_LOCK_THREAD_BOUND"
                           : "note must have at most 23 bytes");
}

/* Refuse arguments of a call. */
BASE_COLD static cellar_err lock_call_refuse(const char *call, const void *key, size_t key_len)
{
    if (key == NULL || key_len - 1 < CELLAR_KEY_MAX) {
        return base_refuse(CELLAR_E_INVAL, call, "t, key and out must not be NULL");
    }
    return base_open_fail(CELLAR_E_INVAL, 0, "%s: key must have 1..65,535 bytes (got %zu)", call,
                          key_len);
}

/* Copy and check the options of a call. */
BASE_ALWAYS_INLINE cellar_err lock_want_init(const char *call, const cellar_lock_opts *o,
                                             lock_want *w)
{
    cellar_lock_opts copy;
    if (BASE_UNLIKELY(o->struct_size != sizeof copy)) {
        const cellar_err err = base_opts_in(&copy, sizeof copy, o);
        if (err == CELLAR_E_UNSUPPORTED) { return lock_want_refuse(call, &copy, err); }
        if (err != CELLAR_OK) {
            return base_refuse(err, call, "start from cellar_lock_opts_default()");
        }
        o = &copy;
    }
    const uint32_t known = CELLAR_LOCK_THREAD_BOUND | CELLAR_LOCK_NO_END | CELLAR_LOCK_NO_WAIT;
    if (BASE_UNLIKELY((o->flags & ~known) != 0 || o->reserved0 != 0)) {
        return lock_want_refuse(call, o, CELLAR_E_UNSUPPORTED);
    }
    if (BASE_UNLIKELY((o->flags & CELLAR_LOCK_NO_END) != 0)) {
        if ((o->flags & CELLAR_LOCK_THREAD_BOUND) == 0) {
            return lock_want_refuse(call, o, CELLAR_E_INVAL);
        }
        w->hold_ms = BASE_NEVER_MS;
    } else {
        if (BASE_UNLIKELY(o->hold_ms < 0)) { return lock_want_refuse(call, o, CELLAR_E_INVAL); }
        w->hold_ms = o->hold_ms != 0 ? o->hold_ms : LOCK_HOLD_DEFAULT_MS;
    }
    if (BASE_UNLIKELY(o->wait_timeout_ms < 0 ||
                      (o->note != NULL &&
                       strnlen(o->note, CELLAR_LOCK_NOTE_MAX + 1) > CELLAR_LOCK_NOTE_MAX))) {
        return lock_want_refuse(call, o, CELLAR_E_INVAL);
    }
    w->note = o->note;
    w->flags = o->flags & ~CELLAR_LOCK_NO_WAIT; /* the lock has the others */
    if (o->wait_timeout_ms != 0) { w->wait_timeout_ms = o->wait_timeout_ms; }
    if ((o->flags & CELLAR_LOCK_NO_WAIT) != 0) { w->wait_timeout_ms = 0; }
    return CELLAR_OK;
}

CELLAR_PRIVATE cellar_err lock_opts_check(const char *call, const cellar_lock_opts *o)
{
    lock_want w;
    return lock_want_init(call, o, &w);
}

CELLAR_API cellar_err cellar_lock_acquire(cellar_locks *t, const void *key, size_t key_len,
                                          const cellar_lock_opts *o, cellar_lock *out)
{
    if (BASE_UNLIKELY(out == NULL)) { return lock_call_refuse("cellar_lock_acquire", NULL, 0); }
    *out = (cellar_lock){ 0, 0 };
    if (BASE_UNLIKELY(t == NULL || key == NULL || key_len - 1 >= CELLAR_KEY_MAX)) {
        return lock_call_refuse("cellar_lock_acquire", key, key_len);
    }
    if (BASE_UNLIKELY(t->obj.forked)) { return CELLAR_E_FORKED; }
    const base_thread_record *self = base_thread_self();
    lock_want w = { .key = key, .key_len = key_len,
                    .hash = base_hash(&t->hash_key, 0, key, key_len),
                    .hold_ms = LOCK_HOLD_DEFAULT_MS,
                    .wait_timeout_ms = LOCK_WAIT_DEFAULT_MS };
    w.tid = BASE_LIKELY(self->index != 0) ? base_load_rlx(&self->tid) : base_thread_id_slow();
    if (o != NULL) {
        const cellar_err err = lock_want_init("cellar_lock_acquire", o, &w);
        if (BASE_UNLIKELY(err != CELLAR_OK)) { return err; }
    }
    lock_stripe *s = lock_stripe_of(t, w.hash);
    if (BASE_LIKELY(lock_fast(t, self, s, &w, out))) { return CELLAR_OK; }
    return lock_slow(t, self, s, &w, out);
}

/* ---- handles ---- */

/* Return the code for a handle that names no lock of the table. */
BASE_COLD static cellar_err lock_handle_bad(cellar_locks *t, const cellar_lock *lk)
{
    if (t == NULL || lk == NULL) { return CELLAR_E_INVAL; }
    if (t->obj.forked) { return CELLAR_E_FORKED; }
    lock_stripe *s = &t->stripe[lock_handle_stripe(lk) % t->stripe_count];
    sync_take(LOCK, &s->lock);
    s->count[STATS_LOCK_NOT_OWNER]++;
    sync_drop(LOCK, &s->lock);
    return CELLAR_E_NOT_OWNER;
}

/* Find stripe and record of a handle. Any code but OK: it names no lock of the table. */
BASE_ALWAYS_INLINE cellar_err lock_handle(cellar_locks *t, const cellar_lock *lk, lock_stripe **s,
                                          lock_record **r)
{
    if (BASE_UNLIKELY(t == NULL || lk == NULL || lock_handle_stripe(lk) >= t->stripe_count)) {
        return lock_handle_bad(t, lk);
    }
    *s = &t->stripe[lock_handle_stripe(lk)];
    if (BASE_UNLIKELY(lk->fence == 0 || !lock_number_ok(t, lock_handle_record(lk)))) {
        return lock_handle_bad(t, lk);
    }
    *r = lock_at(t, lock_handle_record(lk));
    return CELLAR_OK;
}

/* Freeze the record if the handle owns it; else return false with *err, and count it. The word is
 * compared before it is frozen: the record may belong to another key by now. A word frozen in vain
 * loses FROZEN again: a copy of the handle was faster, and perhaps the next owner, too. */
static bool lock_owned(lock_stripe *s, lock_record *r, const cellar_lock *lk, cellar_err *err)
    SYNC_HOLDS(LOCK)
{
    uint64_t word = base_load_acq(&r->word);
    bool ours = (word | LOCK_FROZEN) == lock_word(lk->fence, LOCK_BITS);
    if (ours) {
        BASE_POINT("lock.owned");
        word = lock_freeze(r);
        ours = word == lock_word(lk->fence, LOCK_BITS);
        const bool may = ours && ((base_load_rlx(&r->flags) & CELLAR_LOCK_THREAD_BOUND) == 0 ||
                                  base_load_rlx(&r->owner) == base_thread_id());
        if (may) { return true; }
        if (r->first == NULL) { base_store_rel(&r->word, word & ~LOCK_FROZEN); }
    }
    const bool gone = !ours && (lk->fence < lock_fence(word) || lk->fence <= s->floor);
    *err = gone ? CELLAR_E_LOST : CELLAR_E_NOT_OWNER;
    s->count[gone ? STATS_LOCK_LOST : STATS_LOCK_NOT_OWNER]++;
    return false;
}

/* ---- release ---- */

BASE_NOINLINE static cellar_err lock_release_slow(cellar_locks *t, lock_stripe *s, lock_record *r,
                                                  const cellar_lock *lk)
{
    lock_after a = { .chunk = NULL };
    cellar_err err = CELLAR_OK;
    sync_take(LOCK, &s->lock);
    if (!lock_owned(s, r, lk, &err)) {
        lock_leave(t, s, &a);
        return err;
    }
    const bool lost = base_clock_reached(&t->obj.clock, base_load_rlx(&r->hold_end));
    if (lost) {
        lock_note_lost(s, r, lk->fence, base_now_ms(&t->obj.clock), CELLAR_LOCK_LOST_EXPIRED, &a);
        s->count[STATS_LOCK_LOST]++;
        err = CELLAR_E_LOST;
    }
    lock_pass_on(t, s, r, lk->fence, lost, &a);
    lock_leave(t, s, &a);
    return err;
}

CELLAR_API cellar_err cellar_lock_release(cellar_locks *t, cellar_lock *lk)
{
    lock_stripe *s = NULL;
    lock_record *r = NULL;
    cellar_err err = lock_handle(t, lk, &s, &r);
    if (BASE_UNLIKELY(err != CELLAR_OK)) { return err; }
    const uint64_t word = lock_word(lk->fence, LOCK_HELD);
    /* The tenure fields belong to the handle while the word matches; else take the slow path. */
    if (BASE_LIKELY(base_load_acq(&r->word) == word &&
                    base_load_rlx(&s->record_count) <= LOCK_IDLE_MAX &&
                    (base_load_rlx(&r->flags) & CELLAR_LOCK_THREAD_BOUND) == 0 &&
                    !base_clock_reached(&t->obj.clock, base_load_rlx(&r->hold_end)))) {
        BASE_POINT("lock.fast.release");
        if (BASE_LIKELY(base_cas_ar(&r->word, word, lock_word(lk->fence, 0)))) {
            *lk = (cellar_lock){ 0, 0 };
            return CELLAR_OK;
        }
    }
    err = lock_release_slow(t, s, r, lk);
    if (err == CELLAR_OK) { *lk = (cellar_lock){ 0, 0 }; }
    return err;
}

/* ---- extend, check, describe ---- */

CELLAR_API cellar_err cellar_lock_extend(cellar_locks *t, const cellar_lock *lk, int64_t hold_ms)
{
    lock_stripe *s = NULL;
    lock_record *r = NULL;
    if (hold_ms < 1) {
        return base_open_fail(CELLAR_E_INVAL, 0, "cellar_lock_extend: hold_ms must be at least 1 "
                              "(got %lld)", (long long)hold_ms);
    }
    cellar_err err = lock_handle(t, lk, &s, &r);
    if (err == CELLAR_E_INVAL) { return base_refuse(err, __func__, "t and lk must not be NULL"); }
    if (err != CELLAR_OK) { return err; }
    lock_after a = { .chunk = NULL };
    sync_take(LOCK, &s->lock);
    if (!lock_owned(s, r, lk, &err)) {
        lock_leave(t, s, &a);
        return err;
    }
    /* Read under the lock: the next owner reads it there, too, so one of both comes first. */
    const int64_t now_ms = base_now_ms(&t->obj.clock);
    const int64_t end_ms = base_load_rlx(&r->hold_end);
    if (end_ms <= now_ms) {
        s->count[STATS_LOCK_LOST]++;
        err = CELLAR_E_LOST;
    } else {
        const int64_t until_ms = base_add_sat(now_ms, hold_ms);
        base_store_rlx(&r->hold_end, until_ms);
        if (until_ms < end_ms) { lock_kick(r, &a); }
    }
    lock_settle(t, s, r, lk->fence, true, false, &a);
    lock_leave(t, s, &a);
    return err;
}

CELLAR_API cellar_err cellar_lock_check(cellar_locks *t, const cellar_lock *lk)
{
    lock_stripe *s = NULL;
    lock_record *r = NULL;
    cellar_err err = lock_handle(t, lk, &s, &r);
    if (err != CELLAR_OK) { return err; }
    const uint64_t held = lock_word(lk->fence, LOCK_BITS);
    if ((base_load_acq(&r->word) | LOCK_FROZEN) == held) {
        const int64_t end_ms = base_load_acq(&r->hold_end);
        if ((base_load_acq(&r->word) | LOCK_FROZEN) == held) { /* the hold was of this tenure */
            return base_clock_reached(&t->obj.clock, end_ms) ? CELLAR_E_LOST : CELLAR_OK;
        }
    }
    sync_take(LOCK, &s->lock);
    const bool gone = lk->fence < lock_fence(base_load_acq(&r->word)) || lk->fence <= s->floor;
    sync_drop(LOCK, &s->lock);
    return gone ? CELLAR_E_LOST : CELLAR_E_NOT_OWNER;
}

BASE_SIZE_BEGIN

/* Describe a frozen, held record. */
static void lock_describe(const lock_record *r, uint64_t word, int64_t now_ms,
                          cellar_lock_info *out)
{
    out->fence = lock_fence(word);
    const lock_waiter *first = r->first, *w = first;
    for (; w != NULL; w = w->next != first ? w->next : NULL) { out->waiters++; }
    if (!lock_is_announced(r, out->fence)) { return; } /* acquired at this instant */
    const int64_t end_ms = base_load_rlx(&r->hold_end);
    out->held_ms = BASE_MAX(now_ms - base_load_rlx(&r->since), 0);
    out->hold_left_ms = end_ms == BASE_NEVER_MS ? end_ms : BASE_MAX(end_ms - now_ms, 0);
    out->owner_tid = base_load_rlx(&r->owner);
    const uint32_t flags = base_load_rlx(&r->flags);
    out->flags = flags & ~LOCK_NOTED;
    if ((flags & LOCK_NOTED) != 0) { memcpy(out->note, r->note, sizeof out->note); }
}

CELLAR_API cellar_err cellar_lock_info_get(cellar_locks *t, const void *key, size_t key_len,
                                           cellar_lock_info *out)
{
    if (t == NULL || key == NULL || key_len == 0 || key_len > CELLAR_KEY_MAX || out == NULL) {
        return CELLAR_E_INVAL;
    }
    if (t->obj.forked) { return CELLAR_E_FORKED; }
    const lock_want w = { .key = key, .key_len = key_len,
                          .hash = base_hash(&t->hash_key, 0, key, key_len) };
    cellar_lock_info full = cellar_lock_info_default();
    lock_stripe *s = lock_stripe_of(t, w.hash);
    lock_after a = { .chunk = NULL };
    bool held = false;
    const int64_t now_ms = base_now_ms(&t->obj.clock);
    sync_take(LOCK, &s->lock);
    lock_record *r = lock_find(t, &w);
    if (r != NULL) {
        const uint64_t word = lock_freeze(r);
        held = (word & LOCK_HELD) != 0;
        if (held) { lock_describe(r, word, now_ms, &full); }
        lock_settle(t, s, r, lock_fence(word), held, false, &a);
    }
    lock_leave(t, s, &a);
    return held ? base_opts_out(out, &full, sizeof full) : CELLAR_MISS;
}

BASE_SIZE_END
