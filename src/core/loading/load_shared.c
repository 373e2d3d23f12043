/* SPDX-License-Identifier: MIT
 *
 * load_shared: one load of a key over all processes that share its namespace.
 *
 * PICTURE    led, nothing in the tier -> lease -> LEASED: loader -> fill -> memory
 *                                             -> PENDING: end the flight, wait -> again
 *                                             -> a value (here, or in memory): end it -> again
 *                                             -> other: loader; the tier gets nothing
 * INVARIANTS A lease is filled or given back once, by the call that holds it, also if its thread
 *            ends inside the loader. Beside a pending change of the key none is asked for.
 *            Behind a get without an answer in time the tier is not asked: the call loads, and
 *            memory keeps nothing.
 *            The stamp of the key is read before the tier is asked, the bell before the stamp is
 *            compared: a change of the key after the request ends the wait, no other one does.
 *            A bulk load asks for the values of all its keys together, behind the begin of their
 *            flights, then for their leases. It loads what it leads before it waits: two processes
 *            that lead keys of each other cannot block.
 *            For leases of the host a row keeps a lease that the tier granted, or a wait for
 *            another process; with a granted lease of the key no acquire waits. The row is noted
 *            before its stamp is compared, and a change raises the stamp before it looks for rows:
 *            no change is missed.
 *            After a miss the next acquire loads without a lease, unless the stamp has moved: else
 *            memory could keep the loaded value beside one that another process has stored since.
 * LOCKING    lease_lock, a leaf, for the rows. Changes from outside ring the bell of the store.
 * LIMITS     A wait ends at the wait limit of the call, or alone_ms behind the proof. 256 rows: if
 *            none is free, the key is loaded without a lease. Tick and drop release unused ones.
 * SEE ALSO   load_look.c, load_lead.c, cache/shared.c. */
#include "loading/load_shared.h"

#include "cache/change_shared.h"
#include "cache/generation.h"
#include "cache/lookup.h"
#include "cache/shared.h"
#include "cache/stamp.h"
#include "cache/write_order.h"

#define CACHE_SHARED_SLICE_MS 50 /* longest sleep: a close, or a clock of the host, ends the wait */

CELLAR_PRIVATE const cache_shared *cache_shared_leases(const cache_call *call)
{
    const uint32_t no = CELLAR_LOAD_BYPASS | CELLAR_LOAD_NO_STORE;
    const cache_shared *h = cache_shared_of(call->c);
    const bool leases = h != NULL && h->t.lease != NULL && (call->p->flags & no) == 0 &&
                        !call->instead && !cache_is_off(call->c);
    return leases ? h : NULL;
}

BASE_SIZE_BEGIN

/* Return whether a load waits for no other process: the proof has been gone for alone_ms, and no
 * change is heard. A load that waited asks for the lease again; PENDING then means to load without
 * one. */
static bool cache_shared_alone(const cache_shared *h)
{
    const int64_t until_ms = base_add_sat(base_load_rlx(&h->gone_ms), h->t.alone_ms);
    return base_now_ms(&h->store->clock) >= until_ms;
}

/* Sleep until the bell rings or the proof is gone, at most to the deadline, in slices. */
static void cache_shared_sleep(const cellar *c, const cache_shared *h, uint32_t bell,
                               int64_t until_ms)
{
    cache_store *s = h->store;
    (void)base_add_sc(&s->asleep, 1u);
    while (base_load_acq(&s->shared_bell) == bell && !cache_load_ends(c) &&
           !cache_shared_alone(h)) {
        const int64_t left_ms = until_ms - base_now_ms(&s->clock);
        if (left_ms <= 0) { break; }
        const int64_t slice_ms = BASE_MIN(left_ms, CACHE_SHARED_SLICE_MS);
        (void)sync_wait(&s->shared_bell, bell, base_now_ns() + (uint64_t)slice_ms * 1000000u);
    }
    (void)base_sub_ar(&s->asleep, 1u);
}

/* ---- the answer of the tier ---- */

CELLAR_PRIVATE void cache_shared_unlease(cache_call *call)
{
    if (BASE_LIKELY(!call->leased)) { return; }
    const cache_shared *h = cache_shared_of(call->c);
    const cellar_tier_key key = cache_shared_key(call->k.bytes, call->k.len, call->k.hash);
    call->leased = false;
    if (h != NULL) { h->t.unlease(h->t.ctx, &key, &call->lease); }
}

/* End the flight of a key that another process loads: a change detaches it. */
static void cache_shared_busy(cache_call *call)
{
    cache_hand_over(call, CACHE_CALL_ELSEWHERE);
    if (call->job != NULL) {
        call->state = CACHE_CALL_ANSWERED; /* that process refreshes the entry */
    } else if (call->old != NULL) {
        cache_answer_old(call, CELLAR_SOURCE_STALE_REVALIDATE);
    } else if ((call->p->flags & CELLAR_LOAD_NO_WAIT) != 0) {
        cache_answer(call, CELLAR_PENDING, CELLAR_SOURCE_NONE);
    }
}

/* Answer a refresh with the newer value of the tier, which memory may not have heard of yet. */
static void cache_shared_newer(cache_call *call)
{
    const flight_phase how = cache_tier_look(call);
    if (how != FLIGHT_LOADING) { cache_release(call, how); }
}

/* Return whether the load replaces a value. */
static bool cache_shared_refreshes(const cache_call *call)
{
    return call->old != NULL || (call->p->flags & CELLAR_LOAD_REFRESH) != 0;
}

/* Tell the tier which value a refresh replaces. One that the call asks for replaces any value, also
 * one that memory does not have. */
static void cache_shared_old(const cache_call *call, cellar_tier_entry *e)
{
    const bool any = (call->p->flags & CELLAR_LOAD_REFRESH) != 0;
    if (!cache_shared_refreshes(call)) { return; }
    e->flags = CELLAR_TIER_REFRESH;
    e->deadline_ms = any ? BASE_NEVER_MS : call->found.expires_ms;
}

/* Invalidate flights of the key except `but`, and back-fills on their way: they may hold a value
 * that was deleted before the lease was granted. A tier need not report a delete by another process
 * just before the lease (NOLOOP of a server). A get may have brought the deleted value since the
 * look of the load. Return whether memory has a fresh entry. The caller ends that entry. */
static bool cache_shared_came(cellar *c, flight_table *t, l1_key *k, flight *but)
{
    cache_store *s = c->store;
    cache_scope f = { .below = CACHE_BELOW_KNOWS };
    uint64_t stamp;
    l1_info info;
    if (!cache_has_stamps(s)) { return false; }
    cache_rekey(c, k);
    cache_stamp_raise_noted(s, k->hash, cache_stamp(s, k->hash), &f, &stamp, false);
    const flight_key key = { k->bytes, k->len, k->generation, k->hash };
    if (t != NULL) { flight_invalidate(t, &key, but); }
    base_fence_sc(); /* a back-fill sees the raise, or the look waits for its window */
    const cellar_err look = l1_inspect(c->l1, k, NULL, 0, &info, L1_PEEK | L1_STALE_OK);
    return look == CELLAR_OK || look == CELLAR_ABSENT;
}

CELLAR_PRIVATE void cache_shared_drop(cache_call *call)
{
    l1_key k = call->k;
    if (!call->leased) { return; }
    cache_shared_unlease(call);
    cache_rekey(call->c, &k);
    cache_shared_changed(call->c, &k);
}

/* Return whether memory has a fresh entry behind a granted lease. A refresh keeps the old value:
 * the tier reports each change of that value, and the report detaches the flight. */
static bool cache_shared_late(const cache_call *call)
{
    bool alone;
    l1_key k = call->k;
    const bool keeps =
        cache_shared_refreshes(call) && !flight_is_detached(call->t, call->f, &alone);
    return !keeps && cache_shared_came(call->c, call->t, &k, call->f);
}

/* Take the answer to a request for a lease. After LOOKS the caller calls cache_shared_drop, when
 * its listeners may load keys. */
static void cache_shared_take(cache_call *call, cellar_err err)
{
    const cache_shared *h = cache_shared_of(call->c);
    const bool busy = err == CELLAR_PENDING, alone = cache_shared_alone(h);
    call->leased = err == CELLAR_LEASED;
    call->unsure = cache_shared_unsure(err) || (busy && alone);
    if (busy && !alone) {
        cache_shared_busy(call);
        return;
    }
    const bool late = call->leased && cache_shared_late(call);
    if (!late && err != CELLAR_OK && err != CELLAR_ABSENT) { return; }
    if (!late && call->old != NULL) {
        cache_shared_newer(call);
    } else if (call->job == NULL && ++call->losses < CACHE_ROUNDS) { /* it came since the look */
        cache_hand_over(call, CACHE_CALL_LOOKS);
    } else {
        cache_shared_drop(call);
        call->unsure = true;
    }
}

/* ---- many keys ---- */

typedef struct cache_shared_looks { /* led calls that look into the tier together */
    size_t count;
    cellar_tier_get get[CACHE_SHARED_CLAIMS];
    cache_seen seen[CACHE_SHARED_CLAIMS];
    flight_bytes *b[CACHE_SHARED_CLAIMS];
    cache_call *of[CACHE_SHARED_CLAIMS];
} cache_shared_looks;

/* Describe a call to the tier, with room for a value of `len` bytes. */
static void cache_shared_look(cache_shared_looks *w, cache_call *call, size_t len)
{
    const size_t n = w->count;
    w->b[n] = flight_bytes_new(&call->c->store->hooks, len);
    w->of[n] = call;
    if (w->b[n] == NULL) { return; }
    if (cache_tier_describe(call->c, &call->k, true, w->b[n]->data, len, &w->get[n], &w->seen[n])) {
        w->count++;
    } else {
        flight_bytes_drop(w->b[n]);
    }
}

/* Take one answer. Return whether the value needs more room. */
static bool cache_shared_looked(cache_call *call, flight_bytes *b, cellar_tier_get *get,
                                const cache_seen *seen, uint64_t born)
{
    cache_found m;
    const cellar_err err = cache_tier_got(call->c, &call->k, seen, get, born, &m);
    call->unsure = m.silent;
    if (err == CELLAR_OK) { b->len = get->value_len; } else { flight_bytes_drop(b); }
    if (err != CELLAR_OK && err != CELLAR_ABSENT) { return err == CELLAR_E_BUFFER; }
    cache_release(call, cache_tier_found(call, &m, err == CELLAR_OK ? b : NULL));
    return false;
}

/* Look into the tier with one request, and with another one for the long values. */
static void cache_shared_look_many(cache_call *const *calls, size_t count)
{
    cache_shared_looks w;
    const cache_shared *h = cache_shared_of(calls[0]->c);
    w.count = 0;
    for (size_t i = 0; i < count; i++) {
        if (cache_tier_looks(calls[i]) && cache_asks_tier(calls[i]) &&
            (calls[i]->p->flags & CELLAR_LOAD_BYPASS) == 0) {
            cache_shared_look(&w, calls[i], CACHE_LOOK_TRY);
        }
    }
    for (unsigned round = 0; w.count != 0 && h != NULL; round++) {
        const size_t n = w.count;
        const uint64_t born = base_load_acq(&h->store->tag_epoch);
        h->t.get_many(h->t.ctx, w.get, n);
        w.count = 0;
        for (size_t i = 0; i < n; i++) {
            if (cache_shared_looked(w.of[i], w.b[i], &w.get[i], &w.seen[i], born) &&
                round < CACHE_ROUNDS) {
                cache_shared_look(&w, w.of[i], w.get[i].value_len);
            }
        }
    }
}

/* Let a call look again while a change of its key is pending: it may reach the tier behind a load.
 * After some looks, or inside a listener of that change, memory does not keep the loaded value. */
static void cache_shared_held(cache_call *call)
{
    const bool again = call->job == NULL && call->old == NULL &&
                       base_thread_self()->change_scopes == NULL &&
                       ++call->losses < CACHE_ROUNDS;
    if (again) { cache_hand_over(call, CACHE_CALL_LOOKS); } else { call->unsure = true; }
}

/* Describe the led calls that take a lease to the tier. Return their count. */
static size_t cache_shared_claims(cache_call *const *calls, size_t count, cellar_tier_claim *claim,
                                  cache_call **of)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        cache_call *call = calls[i];
        uint64_t globs;
        if (call->state != CACHE_CALL_LEADS || cache_shared_leases(call) == NULL) { continue; }
        if (!cache_tier_watch(call->c->store, call->k.hash, &call->changes, &globs) &&
            !cache_others_pend(call->c, &call->k)) {
            cache_shared_held(call);
            continue;
        }
        memset(&claim[n], 0, sizeof claim[n]);
        claim[n].key = cache_shared_key(call->k.bytes, call->k.len, call->k.hash);
        cache_shared_old(call, &claim[n].e);
        of[n++] = call;
    }
    return n;
}

/* Ask for the leases. Return whether the tier answered in time. */
static bool cache_shared_lease_many(cache_call *const *calls, size_t count)
{
    cellar_tier_claim claim[CACHE_SHARED_CLAIMS];
    cache_call *of[CACHE_SHARED_CLAIMS];
    bool silent = false;
    const cache_shared *h = cache_shared_of(calls[0]->c);
    const size_t n = cache_shared_claims(calls, count, claim, of);
    if (n == 0) { return true; }
    const int64_t hold_ms = calls[0]->p->ms[CACHE_HARD];
    const bool many = n > 1 && h->t.lease_many != NULL;
    if (many) { h->t.lease_many(h->t.ctx, claim, n, hold_ms); }
    for (size_t i = 0; i < n; i++) {
        cellar_tier_claim *q = &claim[i];
        if (!many) { q->err = h->t.lease(h->t.ctx, &q->key, hold_ms, &q->e, &q->l); }
        silent = silent || q->err == CELLAR_E_TIMEOUT;
        of[i]->lease = q->l;
        cache_shared_take(of[i], q->err);
        if (of[i]->state == CACHE_CALL_ELSEWHERE) { /* a wait begins its patience */
            of[i]->until_ms = BASE_MIN(cache_patience(of[i]), q->e.deadline_ms);
        }
    }
    return !silent;
}

CELLAR_PRIVATE bool cache_shared_lead_many(cache_call *const *calls, size_t count, bool silent)
{
    if (!silent && count != 0 && cache_shared_asks_many(calls[0]->c)) {
        cache_shared_look_many(calls, count);
        for (size_t i = 0; i < count; i++) { silent = silent || calls[i]->unsure; }
    }
    if (!silent) { return count != 0 && !cache_shared_lease_many(calls, count); }
    for (size_t i = 0; i < count; i++) { calls[i]->unsure = true; }
    return true;
}

/* Return whether a call in the state ELSEWHERE has to look again. */
static bool cache_shared_is_due(const cache_call *call)
{
    const cache_store *s = call->c->store;
    uint64_t now, globs;
    const cache_shared *h = cache_shared_of(call->c);
    if (h == NULL || cache_shared_alone(h) || cache_load_ends(call->c) ||
        base_load_acq(&call->c->generation) != call->k.generation ||
        base_load_acq(&s->tag_epoch) != call->tag_epoch || /* perhaps a gap: changes were missed */
        base_now_ms(&s->clock) >= call->until_ms) {
        return true;
    }
    (void)cache_tier_watch(s, call->k.hash, &now, &globs);
    return now != call->changes;
}

/* End the wait for another process: LOOKS, or ANSWERED if the wait limit of the call has passed. */
static void cache_shared_due(cache_call *call)
{
    call->state = CACHE_CALL_LOOKS;
    if (base_now_ms(&call->c->store->clock) < cache_patience(call)) { return; }
    stats_add(cache_mine(call->c), STATS_LOAD_TIMEOUT, 1);
    cache_answer_in_vain(call, CELLAR_E_TIMEOUT);
}

CELLAR_PRIVATE void cache_shared_wait(cache_call *calls, size_t count)
{
    const cellar *c = calls[0].c;
    for (bool ready = false; !ready;) {
        const uint32_t bell = base_load_acq(&c->store->shared_bell);
        int64_t until_ms = BASE_NEVER_MS;
        for (size_t i = 0; i < count; i++) {
            cache_call *call = &calls[i];
            const bool waits = call->state == CACHE_CALL_ELSEWHERE;
            ready = ready || call->state == CACHE_CALL_LOOKS;
            if (waits) { until_ms = BASE_MIN(until_ms, call->until_ms); }
            if (waits && cache_shared_is_due(call)) {
                cache_shared_due(call);
                ready = true;
            }
        }
        const cache_shared *h = cache_shared_of(c);
        if (!ready && h != NULL) { cache_shared_sleep(c, h, bell, until_ms); }
    }
}

CELLAR_PRIVATE void cache_shared_lead(cache_call *call)
{
    if (cache_shared_leases(call) == NULL || call->unsure) { return; }
    (void)cache_shared_lease_many(&call, 1);
    if (call->state == CACHE_CALL_LOOKS) { cache_shared_drop(call); }
    if (call->state == CACHE_CALL_ELSEWHERE) { cache_shared_wait(call, 1); }
}

/* ---- leases of the host ---- */

#define CACHE_TIER_LEASE_PROBES 8u

SYNC_HOLDS(WRITE_ORDER)
static cache_tier_lease_row *cache_tier_lease_at(const cache_shared *h, uint64_t hash, unsigned i)
{
    return &h->leases[(base_mix64(hash) + i) % CACHE_TIER_LEASE_ROWS];
}

/* Release the lease of a row that left the table GRANTED. */
static void cache_tier_lease_release(const cache_shared *h, const cache_tier_lease_row *row)
{
    if (row->state != CACHE_TIER_LEASE_GRANTED) { return; }
    const cellar_tier_key key = cache_shared_key(row->key, row->key_len, row->hash);
    h->t.unlease(h->t.ctx, &key, &row->lease);
    base_free(&h->store->account, BASE_MOD_STORE, row->key, row->key_len);
}

/* Note a row, over a free one or one of the same key or past its time, which *row then is. Return
 * false if all are in use, or with *granted if the wait is one for a lease of this process. */
static bool cache_tier_lease_note(cache_shared *h, cache_tier_lease_row *row, bool *granted)
{
    const int64_t now_ms = base_now_ms(&h->store->clock);
    cache_tier_lease_row *room = NULL;
    sync_take(WRITE_ORDER, &h->lease_lock);
    for (unsigned i = 0; i < CACHE_TIER_LEASE_PROBES; i++) {
        cache_tier_lease_row *at = cache_tier_lease_at(h, row->hash, i);
        const bool same = at->hash == row->hash;
        const bool held = at->state == CACHE_TIER_LEASE_GRANTED && now_ms < at->until_ms;
        *granted = *granted || (held && same && row->state == CACHE_TIER_LEASE_BUSY);
        if (room == NULL && at->state != CACHE_TIER_LEASE_BUSY && (same || !held)) { room = at; }
    }
    if (*granted) { room = NULL; }
    if (room != NULL) {
        const cache_tier_lease_row old = *room;
        *room = *row;
        *row = old;
        (void)base_add_sc(&h->leases_used, old.state == CACHE_TIER_LEASE_FREE ? 1u : 0u);
    }
    sync_drop(WRITE_ORDER, &h->lease_lock);
    return room != NULL;
}

CELLAR_PRIVATE bool cache_tier_lease_take(cache_call *call)
{
    uint64_t changes, globs;
    cache_shared *h = cache_shared_of(call->c);
    cache_tier_lease_row row = { .key = NULL };
    sync_take(WRITE_ORDER, &h->lease_lock);
    for (unsigned i = 0; i < CACHE_TIER_LEASE_PROBES && !call->leased; i++) {
        cache_tier_lease_row *at = cache_tier_lease_at(h, call->k.hash, i);
        row = *at;
        call->leased = row.state == CACHE_TIER_LEASE_GRANTED && row.hash == call->k.hash &&
                       call->now_ms < row.until_ms;
        if (call->leased) { at->state = CACHE_TIER_LEASE_FREE; }
    }
    sync_drop(WRITE_ORDER, &h->lease_lock);
    if (!call->leased) { return false; }
    (void)base_sub_ar(&h->leases_used, 1u);
    (void)cache_tier_watch(h->store, call->k.hash, &changes, &globs);
    /* A fill that does not compare must not follow a change. Asking again may never end beside a
     * key with the same stamp that changes all the time. */
    call->leased = h->t.blind_fill == 0 || changes == row.changes;
    if (!call->leased) {
        call->unsure = true;
        cache_tier_lease_release(h, &row);
        return true;
    }
    base_free(&h->store->account, BASE_MOD_STORE, row.key, row.key_len);
    call->lease = row.lease;
    return true;
}

CELLAR_PRIVATE bool cache_tier_lease_ask(const cache_shared *h, const l1_key *k,
                                         int64_t hold_ms, const cellar_tier_ticket *ticket)
{
    const cellar_tier_key key = cache_shared_key(k->bytes, k->len, k->hash);
    return h->t.ask_lease(h->t.ctx, &key, hold_ms, ticket);
}

/* Take a row that matches. Return false if there is none. */
static bool cache_tier_lease_pick(cache_shared *h, uint64_t hash, bool due,
                                  cache_tier_lease_row *out)
{
    const cache_store *s = h->store;
    const int64_t now_ms = base_now_ms(&s->clock);
    const bool alone = cache_shared_alone(h);
    bool found = false;
    sync_take(WRITE_ORDER, &h->lease_lock);
    for (uint32_t i = 0; i < CACHE_TIER_LEASE_ROWS && !found; i++) {
        cache_tier_lease_row *at = &h->leases[i];
        const bool busy = at->state == CACHE_TIER_LEASE_BUSY;
        if (at->state == CACHE_TIER_LEASE_FREE || (hash != 0 && at->hash != hash)) { continue; }
        uint64_t changes = at->changes, globs;
        if (due && busy) { (void)cache_tier_watch(s, at->hash, &changes, &globs); }
        const bool over = now_ms >= at->until_ms ||
                          (busy ? alone || changes != at->changes : base_load_sc(&h->dropped));
        if (busy ? due && !over : !due || !over) { continue; }
        *out = *at;
        at->state = CACHE_TIER_LEASE_FREE;
        found = true;
    }
    if (found) { (void)base_sub_ar(&h->leases_used, 1u); }
    sync_drop(WRITE_ORDER, &h->lease_lock);
    return found;
}

/* Cancel the flight that the tier holds: its subscribers acquire again. */
static void cache_tier_lease_cancel(const cache_shared *h, const flight_lease *l)
{
    flight_table *t = base_load_sc(&h->store->flights);
    flight *f = t != NULL ? flight_claim(t, l, h->id) : NULL;
    if (f != NULL) { flight_end(t, f, &FLIGHT_HANDS_OVER); }
}

CELLAR_PRIVATE void cache_tier_lease_wake(cache_shared *h, uint64_t hash, bool due)
{
    cache_tier_lease_row row;
    while (base_load_sc(&h->leases_used) != 0 && cache_tier_lease_pick(h, hash, due, &row)) {
        cache_tier_lease_release(h, &row);
        if (row.state == CACHE_TIER_LEASE_BUSY) {
            cache_tier_lease_cancel(h, &(flight_lease){ row.id, row.check });
        }
    }
}

CELLAR_PRIVATE void cache_tier_lease_drop(cellar *c)
{
    cache_shared *h = cache_shared_of(c);
    if (h == NULL) { return; }
    base_store_sc(&h->dropped, true); /* an answer under way leaves its lease to the tick */
    cache_tier_lease_wake(h, 0, true);
}

CELLAR_PRIVATE void cache_tier_lease_tick(cache_store *s)
{
    for (cache_shared *h = base_load_acq(&s->shared); h != NULL; h = h->next) {
        cache_tier_lease_wake(h, 0, true);
    }
}

CELLAR_PRIVATE void cache_tier_lease_answered(cellar *c, cache_shared *h,
                                              const cellar_tier_ticket *ticket,
                                              const cellar_tier_key *key, cellar_err err,
                                              const cellar_tier_lease *lease, int64_t until_ms)
{
    const bool leased = err == CELLAR_LEASED;
    const flight_lease l = { ticket->id, ticket->check };
    cellar_tier_ticket now = *ticket;
    l1_key k;
    cache_key(c, &k, key->bytes, key->len);
    if (leased && cache_shared_came(c, base_load_sc(&h->store->flights), &k, NULL)) {
        h->t.unlease(h->t.ctx, key, lease);
        cache_shared_changed(c, &k);
        cache_tier_lease_cancel(h, &l);
        return;
    }
    now.changes += leased; /* by cache_shared_came */
    cache_tier_lease_row row = { .state = leased ? CACHE_TIER_LEASE_GRANTED
                                           : CACHE_TIER_LEASE_BUSY,
                                 .hash = key->hash, .changes = now.changes,
                                 .until_ms = until_ms, .id = l.id, .check = l.check };
    bool granted = false;
    if (leased) {
        row.lease = *lease;
        row.key_len = key->len;
        row.key = base_alloc(&h->store->account, BASE_MOD_STORE, key->len, NULL);
        if (row.key != NULL) { memcpy(row.key, key->bytes, key->len); }
    }
    const bool room = !leased || row.key != NULL;
    const bool noted = room && cache_tier_lease_note(h, &row, &granted);
    if (room) { cache_tier_lease_release(h, &row); } /* that of an older row, or this one */
    if (noted && leased) { cache_tier_lease_wake(h, key->hash, false); }
    if (noted && !leased) {
        uint64_t changes, globs;
        (void)cache_tier_watch(h->store, key->hash, &changes, &globs);
        if (changes != ticket->changes) { cache_tier_lease_wake(h, key->hash, false); }
        return;
    }
    if (!noted && !granted) {
        if (!room) { h->t.unlease(h->t.ctx, key, lease); }
        /* the next acquire loads without a lease */
        cache_missed_note(h->store, key->hash, cache_missed_seen(&now, h->life != 0), false);
    }
    cache_tier_lease_cancel(h, &l);
}

BASE_SIZE_END
