/* SPDX-License-Identifier: MIT
 *
 * flight: the table of running loads, and the futex word on which waiters of one load wait.
 *
 * PICTURE    keyed hash -> shard {lock | count | table -> sentinel, flight, flight .. | detached |
 *            spare}
 *            flight {state, refs, outcome | key}
 *            state: 3 bits phase | WAITERS | 4 bits take-overs
 *            attached --unlink (publish, end, invalidate, take over)--> detached --last ref-->
 *            spare or freed
 * INVARIANTS count == flights in the table without the sentinel == attached flights of the shard.
 *            A key has at most one attached flight that readers find.
 *            refs > 0 while a flight is in either list; refs never rises from 0.
 *            The outcome is written once, under the lock of the shard, before the phase becomes
 *            final.
 *            The number of records in use == t->open.
 * LOCKING    One lock per shard, rank FLIGHT: table work only, no allocation, never two shards. Odd
 *            windows of L1 take it, so its holder does nothing that waits. GRAPH is taken alone.
 * COMPLETION One thread completes a flight: its leader, or the thread that takes the flight over,
 *            expires its lease or closes the store. Waiters keep it alive by refs, subscriptions by
 *            its list.
 * LIMITS     max_flights records; max_waiters waiters and subscriptions; 8 spare records per shard.
 *            Threads beyond BASE_THREAD_MAX have no token: hard_at ends a cycle through them.
 * SEE ALSO   src/load/README.md: proofs of publishing, cycles and references; rejected designs.
 *            flight_change.c (invalidation, figures, audit), flight_lease.c, flight_fork.c. */
#include "load/flight_int.h"

#define FLIGHT_SHARDS_MAX 64u
#define FLIGHT_SPARES 8u
#define FLIGHT_SLICE_NS UINT64_C(10000000) /* longest sleep when the host supplies the clock */

static sync_lock flight_graph;   /* rank GRAPH; guards waits_for of every base_thread_self */

/* ---- bytes ---- */

#define FLIGHT_BYTES_HEAD ((sizeof(flight_bytes) + 15) & ~(size_t)15)

CELLAR_PRIVATE flight_bytes *flight_bytes_new(const base_alloc_hooks *hooks, size_t len)
{
    size_t bytes;
    if (!base_size_add(FLIGHT_BYTES_HEAD, len, &bytes)) { return NULL; }
    flight_bytes *b = base_alloc_raw(hooks, bytes);
    if (b == NULL) { return NULL; }
    memset(b, 0, sizeof *b);
    base_store_rlx(&b->refs, 1u);
    b->len = len;
    b->data = (unsigned char *)b + FLIGHT_BYTES_HEAD;
    b->block_bytes = bytes;
    b->hooks = *hooks;
    return b;
}

CELLAR_PRIVATE flight_bytes *flight_bytes_give(const base_alloc_hooks *hooks, void *p, size_t len,
                                               void (*free_fn)(void *, void *), void *free_ctx)
{
    flight_bytes *b = flight_bytes_new(hooks, 0);
    if (b == NULL) { return NULL; }
    b->data = p;
    b->len = len;
    b->free_fn = free_fn;
    b->free_ctx = free_ctx;
    return b;
}

CELLAR_PRIVATE void flight_bytes_drop(flight_bytes *b)
{
    if (b == NULL || base_sub_ar(&b->refs, 1u) != 1) { return; }
    sync_assert_none();
    if (b->free_fn != NULL) { b->free_fn(b->data, b->free_ctx); }
    const base_alloc_hooks hooks = b->hooks;
    base_free_raw(&hooks, b, b->block_bytes);
}

/* ---- the table ---- */

static bool flight_sentinel_add(flight_table *t, flight_shard *s)
{
    base_account *base_table_account = t->account;
    const base_module base_table_module = BASE_MOD_FLIGHT;
    flight *f = &s->sentinel;
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, s->table, f->key, 0, 0u, f);
    if (f->hh.tbl == NULL) { return false; }
    f->hh.tbl->noexpand = 1;
    return true;
}

static void flight_sentinel_drop(flight_table *t, flight_shard *s)
{
    base_account *base_table_account = t->account;
    const base_module base_table_module = BASE_MOD_FLIGHT;
    if (s->table == NULL) { return; }
    flight *f = &s->sentinel;
    HASH_DELETE(hh, s->table, f);
}

/* Return the number of shards: one per 256 KiB of budget. A shard takes about 3 KiB. */
static uint32_t flight_shard_count(const base_account *a)
{
    const uint64_t n = base_pow2_floor(base_load_rlx(&a->limit) >> 18);
    return (uint32_t)base_clamp(n, 4, FLIGHT_SHARDS_MAX);
}

CELLAR_PRIVATE uint64_t flight_table_bytes(const base_account *a)
{
    const size_t hash = sizeof(UT_hash_table) + HASH_INITIAL_NUM_BUCKETS * sizeof(UT_hash_bucket);
    const size_t shard = sizeof(flight_shard) + FLIGHT_SPARES * sizeof(flight) + hash + 256;
    return sizeof(flight_table) + 4096 + (uint64_t)flight_shard_count(a) * shard;
}

CELLAR_PRIVATE flight_table *flight_table_create(const flight_config *cfg)
{
    const uint32_t shards = flight_shard_count(cfg->account);
    const size_t spares = (size_t)shards * FLIGHT_SPARES * sizeof(flight);
    const size_t bytes = sizeof(flight_table) + BASE_PAD + shards * sizeof(flight_shard) + spares;
    unsigned char *raw = base_alloc(cfg->account, BASE_MOD_FLIGHT, bytes, NULL);
    if (raw == NULL) { return NULL; }
    flight_table *t = (flight_table *)(void *)raw;
    t->account = cfg->account;
    t->clock = cfg->clock;
    t->raw = raw;
    t->raw_bytes = bytes;
    t->mask = shards - 1;
    t->max_flights = cfg->max_flights;
    t->max_waiters = cfg->max_waiters;
    t->callers = cfg->callers;
    t->notes_free = cfg->notes_free;
    t->lease_lost = cfg->lease_lost;
    t->ctx = cfg->ctx;
    const uintptr_t at = ((uintptr_t)(raw + sizeof *t) + BASE_PAD - 1) & ~(uintptr_t)(BASE_PAD - 1);
    t->shard = (flight_shard *)at;
    flight *spare = (flight *)(void *)(t->shard + shards);
    for (uint32_t i = 0; i < shards; i++) {
        flight_shard *s = &t->shard[i];
        for (uint32_t j = 0; j < FLIGHT_SPARES; j++, spare++) {
            spare->resident = true;
            spare->table = t;
            spare->key_room = FLIGHT_KEY_ROOM;
            spare->next = s->spare;
            s->spare = spare;
            s->spare_count++;
        }
        if (!flight_sentinel_add(t, s)) {
            flight_table_destroy(t);
            return NULL;
        }
    }
    return t;
}

CELLAR_PRIVATE void flight_table_destroy(flight_table *t)
{
    if (t == NULL) { return; }
    flight_free_lost(t);
    BASE_ASSERT(base_load_rlx(&t->open) == 0);
    for (uint32_t i = 0; i <= t->mask; i++) { flight_sentinel_drop(t, &t->shard[i]); }
    base_free(t->account, BASE_MOD_FLIGHT, t->raw, t->raw_bytes);
}

/* ---- records ---- */

static size_t flight_record_bytes(uint32_t key_room)
{
    return offsetof(flight, key) + (size_t)key_room;
}

static flight *flight_record_new(flight_table *t, uint32_t key_len)
{
    const uint32_t room = BASE_MAX(key_len, FLIGHT_KEY_ROOM);
    flight *f = base_alloc(t->account, BASE_MOD_FLIGHT, flight_record_bytes(room), NULL);
    if (f == NULL) { return NULL; }
    f->key_room = room;
    f->table = t;
    return f;
}

CELLAR_PRIVATE void flight_record_free(flight_table *t, flight *f)
{
    if (f == NULL) { return; }
    BASE_ASSERT(!f->resident);
    base_free(t->account, BASE_MOD_FLIGHT, f, flight_record_bytes(f->key_room));
}

static flight *flight_spare_take(flight_shard *s, uint32_t key_len) SYNC_HOLDS(FLIGHT);
static flight *flight_spare_take(flight_shard *s, uint32_t key_len)
{
    if (s->spare == NULL || key_len > FLIGHT_KEY_ROOM) { return NULL; }
    flight *f = s->spare;
    s->spare = f->next;
    s->spare_count--;
    return f;
}

static void flight_list_add(flight_shard *s, flight *f) SYNC_HOLDS(FLIGHT);
static void flight_list_add(flight_shard *s, flight *f)
{
    f->prev = NULL;
    f->next = s->detached;
    if (f->next != NULL) { f->next->prev = f; }
    s->detached = f;
}

CELLAR_PRIVATE void flight_list_cut(flight_shard *s, flight *f)
{
    if (f->next != NULL) { f->next->prev = f->prev; }
    if (f->prev != NULL) { f->prev->next = f->next; } else { s->detached = f->next; }
    f->next = f->prev = NULL;
}

/* ---- attached ---- */

CELLAR_PRIVATE flight *flight_find(flight_shard *s, const flight_key *k, bool side,
                                   const flight *after)
{
    const unsigned hashv = flight_hashv(k->hash);
    UT_hash_table *table = s->table->hh.tbl;
    unsigned bucket;
    HASH_TO_BKT(hashv, table->num_buckets, bucket);
    UT_hash_handle *at = after != NULL ? after->hh.hh_next : table->buckets[bucket].hh_head;
    for (; at != NULL; at = at->hh_next) {
        flight *f = (flight *)ELMT_FROM_HH(table, at);
        if (at->hashv == hashv && f->key_len == k->len && f->generation == k->generation &&
            f != &s->sentinel && (side || f->kind != FLIGHT_SIDE) &&
            memcmp(f->key, k->bytes, k->len) == 0) {
            return f;
        }
    }
    return NULL;
}

static void flight_attach(flight_shard *s, flight *f) SYNC_HOLDS(FLIGHT);
static void flight_attach(flight_shard *s, flight *f)
{
    base_account *base_table_account = f->table->account; /* unused: the buckets exist already */
    const base_module base_table_module = BASE_MOD_FLIGHT;
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, s->table, f->key, f->key_len, flight_hashv(f->hash), f);
    f->attached = true;
    (void)base_add_sc(&s->count, 1u);
    (void)base_table_account;
    (void)base_table_module;
}

CELLAR_PRIVATE void flight_unlink(flight_shard *s, flight *f)
{
    base_account *base_table_account = f->table->account; /* unused: the sentinel stays */
    const base_module base_table_module = BASE_MOD_FLIGHT;
    BASE_ASSERT(f->attached && base_load_rlx(&f->refs) > 0);
    HASH_DELETE(hh, s->table, f);
    f->attached = false;
    (void)base_sub_ar(&s->count, 1u);
    flight_list_add(s, f);
    (void)base_table_account;
    (void)base_table_module;
}

/* Record the leading thread of `f`, for the cycle check and for a fork. */
CELLAR_PRIVATE void flight_lead_take(flight *f, base_thread_record *self)
{
    if (self != NULL && self->index == 0) { self = NULL; } /* many threads share index 0: no
                                                            * token */
    base_store_rel(&f->leader, self); /* acquire in flight_cycle */
}

static void flight_init(flight *f, const flight_ask *ask, uint32_t takeovers)
{
    const flight_key *k = &ask->key;
    flight_table *t = f->table;
    const bool queued = ask->kind == FLIGHT_JOB;
    BASE_ASSERT(base_load_rlx(&f->refs) == 0 && f->draft == NULL && f->subs == NULL);
    BASE_ASSERT(f->result.value == NULL && base_load_rlx(&f->notes) == NULL);
    base_store_rlx(&f->state, (uint32_t)(queued ? FLIGHT_QUEUED : FLIGHT_LOADING) |
                              takeovers * FLIGHT_TAKEOVER);
    base_store_rlx(&f->refs, 1u);
    f->gen = base_add_rlx(&t->next_gen, (uint64_t)1) + 1;
    f->hash = k->hash;
    f->generation = k->generation;
    f->key_len = k->len;
    memcpy(f->key, k->bytes, k->len); /* key_len <= key_room: flight_enter */
    f->namespace_id = ask->namespace_id;
    f->kind = (uint8_t)ask->kind;
    f->lease_open = false; /* set by flight_lease_open */
    f->nonce = (uint32_t)base_mix64(k->hash ^ base_mix64(f->gen));
    f->frame = 0; /* no leading frame yet; see flight_led_from */
    flight_lead_take(f, queued ? NULL : base_thread_self());
    f->start_ms = ask->now_ms;
    f->hard_at_ms = queued ? BASE_NEVER_MS : base_add_sat(ask->now_ms, ask->hard_timeout_ms);
    f->tag_born = ask->tag_born;
    f->note = 0;
    memset(&f->will, 0, sizeof f->will);
    memset(&f->result, 0, sizeof f->result);
    f->outer = NULL;
    f->depth = 0;
}

CELLAR_PRIVATE bool flight_settle(flight_shard *s, flight *f, const flight_outcome *o,
                                  flight_ended *e)
{
    const uint32_t state = base_load_rlx(&f->state);
    (void)s;
    e->wake = NULL;
    e->subs = NULL;
    if (FLIGHT_PHASE(state) > FLIGHT_LOADING) { return false; }
    f->result = *o;
    base_store_rlx(&f->leader, (base_thread_record *)NULL);
    base_store_rel(&f->state, (state & ~7u) | (uint32_t)o->phase); /* acquire in flight_wait */
    if ((state & FLIGHT_WAITERS) != 0) { e->wake = f; }
    e->subs = f->subs;
    f->subs = NULL;
    return true;
}

CELLAR_PRIVATE void flight_announce(flight_table *t, const flight_ended *e)
{
    BASE_POINT("flight.wake");
    if (e->wake != NULL && !BASE_MUTANT("flight.no_wake")) {
        sync_wake(&e->wake->state, INT32_MAX);
    }
    for (flight_sub *s = e->subs; s != NULL;) {
        flight_sub *next = s->next;
        sync_assert_none();
        s->fn(s->ctx);
        flight_sub_free(t, s);
        (void)base_sub_ar(&t->waiters, 1u);
        s = next;
    }
}

/* Drop one ref under the lock. Return what the caller frees after the lock. */
typedef struct flight_rest {
    flight *record;
    flight_bytes *value, *draft;
    void *notes;
} flight_rest;

static flight_rest flight_let_go(flight_shard *s, flight *f) SYNC_HOLDS(FLIGHT);
static flight_rest flight_let_go(flight_shard *s, flight *f)
{
    flight_rest rest = { NULL, NULL, NULL, NULL };
    BASE_REQUIRE(base_load_rlx(&f->refs) > 0);
    if (base_sub_ar(&f->refs, 1u) != 1) { return rest; } /* other threads lower it without the
                                                          * lock */
    BASE_ASSERT(!f->attached && f->subs == NULL);
    flight_list_cut(s, f);
    rest.value = f->result.value;
    rest.draft = f->draft;
    rest.notes = base_load_rlx(&f->notes);
    f->result.value = f->draft = NULL;
    base_store_rlx(&f->notes, (void *)NULL);
    (void)base_sub_ar(&f->table->open, 1u);
    if (f->resident) {
        f->next = s->spare;
        s->spare = f;
        s->spare_count++;
    } else {
        rest.record = f;
    }
    return rest;
}

static void flight_rest_free(flight_table *t, const flight_rest *rest)
{
    flight_bytes_drop(rest->value);
    flight_bytes_drop(rest->draft);
    if (rest->notes != NULL) { t->notes_free(rest->notes); }
    flight_record_free(t, rest->record);
}

/* Drop one ref without the lock, unless it is the last. Return false then. */
static bool flight_unref_shared(flight *f)
{
    uint32_t refs = base_load_rlx(&f->refs);
    while (refs > 1) {
        BASE_POINT("flight.unref");
        if (BASE_MUTANT("flight.plain_unref")) {
            base_store_rlx(&f->refs, refs - 1);
            return true;
        }
        if (base_cas_ar(&f->refs, refs, refs - 1)) { return true; }
        refs = base_load_rlx(&f->refs);
    }
    return false;
}

CELLAR_PRIVATE void flight_unref(flight_table *t, flight *f)
{
    flight_shard *s = flight_shard_of(t, f->hash);
    if (flight_unref_shared(f)) { return; }
    sync_take(FLIGHT, &s->lock);
    const flight_rest rest = flight_let_go(s, f);
    sync_drop(FLIGHT, &s->lock);
    flight_rest_free(t, &rest);
}

/* ---- enter ---- */

typedef struct flight_turn { /* result of one look under the lock */
    flight_entry entry;
    flight *f;
    bool again;          /* a record must be allocated first */
    flight_ended ended;  /* of the flight taken over; we hold a ref of that flight */
    flight *late;
    bool lost;           /* the late flight was an open lease */
} flight_turn;

CELLAR_PRIVATE void flight_tell_lost(const flight_table *t, const flight *f)
{
    sync_assert_none();
    if (f->note != 0 && t->lease_lost != NULL) { t->lease_lost(t->ctx, f->generation, f->note); }
}

static bool flight_stuck(const flight *f, const flight_ask *ask)
{
    const uint32_t takeovers = FLIGHT_TAKEOVERS(base_load_rlx(&f->state));
    const int64_t grace = base_add_sat(f->hard_at_ms,
                                       BASE_MIN(ask->hard_timeout_ms, INT64_MAX / 10) * 10);
    return takeovers >= ask->leader_retries && ask->now_ms < grace;
}

static void flight_turn_found(flight_table *t, flight *f, const flight_ask *ask, flight_turn *turn)
    SYNC_HOLDS(FLIGHT);
static void flight_turn_found(flight_table *t, flight *f, const flight_ask *ask, flight_turn *turn)
{
    const uint32_t state = base_load_rlx(&f->state);
    turn->f = f;
    if (FLIGHT_PHASE(state) == FLIGHT_QUEUED && ask->take_queued) {
        f->start_ms = ask->now_ms;
        f->hard_at_ms = base_add_sat(ask->now_ms, ask->hard_timeout_ms); /* read in flight_sleep */
        base_store_rel(&f->state, (state & ~7u) | (uint32_t)FLIGHT_LOADING);
        (void)base_add_rlx(&f->refs, 1u);
        f->kind = (uint8_t)ask->kind;
        turn->entry = FLIGHT_LED;
        return;
    }
    turn->entry = FLIGHT_TAKEN;
    if (!ask->join && ask->sub == NULL) { return; }
    if (base_add_rlx(&t->waiters, 1u) >= t->max_waiters) {
        (void)base_sub_ar(&t->waiters, 1u);
        turn->entry = FLIGHT_CROWDED;
    } else if (ask->join) {
        (void)base_add_rlx(&f->refs, 1u);
        base_store_rel(&f->state, state | FLIGHT_WAITERS);
        turn->entry = FLIGHT_JOINED;
    } else {
        ask->sub->next = f->subs;
        f->subs = ask->sub;
    }
}

/* Get the record for a new flight. Return false if none is at hand. */
static bool flight_turn_record(flight_table *t, flight_shard *s, const flight_ask *ask,
                               flight **fresh, flight_turn *turn) SYNC_HOLDS(FLIGHT);
static bool flight_turn_record(flight_table *t, flight_shard *s, const flight_ask *ask,
                               flight **fresh, flight_turn *turn)
{
    if (base_add_rlx(&t->open, 1u) >= t->max_flights) {
        (void)base_sub_ar(&t->open, 1u);
        turn->entry = FLIGHT_FULL;
        return false;
    }
    if (*fresh == NULL) { *fresh = flight_spare_take(s, ask->key.len); }
    if (*fresh == NULL) {
        (void)base_sub_ar(&t->open, 1u);
        turn->again = true;
        return false;
    }
    return true;
}

static void flight_turn_take(flight_table *t, flight_shard *s, const flight_ask *ask,
                             flight **fresh, flight_turn *turn) SYNC_HOLDS(FLIGHT);
static void flight_turn_take(flight_table *t, flight_shard *s, const flight_ask *ask,
                             flight **fresh, flight_turn *turn)
{
    flight *f = flight_find(s, &ask->key, false, NULL);
    uint32_t takeovers = 0;
    if (ask->kind == FLIGHT_SIDE) { f = NULL; }
    const bool late = f != NULL && ask->now_ms >= f->hard_at_ms;
    if (f != NULL && !late) {
        flight_turn_found(t, f, ask, turn);
        return;
    }
    if (ask->only_join) {
        turn->entry = FLIGHT_TAKEN;
        return;
    }
    if (late && flight_stuck(f, ask)) {
        turn->entry = FLIGHT_STUCK;
        return;
    }
    if (!flight_turn_record(t, s, ask, fresh, turn)) { return; }
    if (late) {
        takeovers = BASE_MIN(FLIGHT_TAKEOVERS(base_load_rlx(&f->state)) + 1u, 15u);
        flight_unlink(s, f);
        (void)flight_settle(s, f, &FLIGHT_HANDS_OVER, &turn->ended);
        turn->lost = f->lease_open;
        if (f->lease_open) {
            f->lease_open = false; /* the ref of the lease becomes ours */
        } else {
            (void)base_add_rlx(&f->refs, 1u);
        }
        turn->late = f;
    }
    flight_init(*fresh, ask, takeovers);
    flight_attach(s, *fresh);
    turn->f = *fresh;
    turn->entry = FLIGHT_LED;
    *fresh = NULL;
}

CELLAR_PRIVATE flight_entry flight_enter(flight_table *t, const flight_ask *ask, flight **out)
{
    flight_shard *s = flight_shard_of(t, ask->key.hash);
    flight *fresh = NULL;
    flight_turn turn;
    if (BASE_UNLIKELY(base_load_rlx(&t->lost) != NULL)) { flight_free_lost(t); }
    for (;;) {
        memset(&turn, 0, sizeof turn);
        BASE_POINT("flight.enter");
        sync_take(FLIGHT, &s->lock);
        flight_turn_take(t, s, ask, &fresh, &turn);
        sync_drop(FLIGHT, &s->lock);
        if (!turn.again) { break; }
        fresh = flight_record_new(t, ask->key.len);
        if (fresh == NULL) { return FLIGHT_NO_MEMORY; }
    }
    if (turn.late != NULL) {
        if (turn.lost) { flight_tell_lost(t, turn.late); }
        flight_announce(t, &turn.ended);
        flight_unref(t, turn.late);
    }
    flight_record_free(t, fresh);
    if (turn.entry == FLIGHT_LED) {
        base_fence_sc(); /* between count and the second look: src/load/README.md */
        BASE_POINT("flight.lead");
    } else {
        BASE_POINT("flight.join");
    }
    *out = turn.f;
    return turn.entry;
}

CELLAR_PRIVATE bool flight_start(flight_table *t, flight *f, int64_t now_ms,
                                 int64_t hard_timeout_ms)
{
    flight_shard *s = flight_shard_of(t, f->hash);
    flight_ended ended = { NULL, NULL };
    sync_take(FLIGHT, &s->lock);
    const uint32_t state = base_load_rlx(&f->state);
    const bool ours = FLIGHT_PHASE(state) == FLIGHT_QUEUED && f->attached;
    if (FLIGHT_PHASE(state) == FLIGHT_QUEUED && !f->attached) { /* its entry changed */
        (void)flight_settle(s, f, &FLIGHT_HANDS_OVER, &ended);
    } else if (ours) {
        f->start_ms = now_ms;
        f->hard_at_ms = base_add_sat(now_ms, hard_timeout_ms); /* read in flight_sleep */
        base_store_rel(&f->state, (state & ~7u) | (uint32_t)FLIGHT_LOADING);
    }
    sync_drop(FLIGHT, &s->lock);
    flight_announce(t, &ended);
    return ours;
}

/* ---- leaders ---- */

CELLAR_PRIVATE bool flight_deep(const base_thread_record *self)
{
    const flight *f = self->index != 0 ? self->leads : NULL;
    return f != NULL && f->depth >= FLIGHT_DEPTH_MAX;
}

CELLAR_PRIVATE void flight_lead_begin(flight *f, uintptr_t frame)
{
    base_thread_record *self = base_thread_self();
    if (self->index == 0) { return; } /* many threads share index 0: no token */
    flight *outer = self->leads;
    f->outer = outer;
    f->frame = frame;
    f->depth = outer == NULL ? 1 : outer->frame == frame ? outer->depth : outer->depth + 1;
    base_store_rel(&f->leader, self); /* acquire in flight_cycle */
    self->leads = f;
}

CELLAR_PRIVATE void flight_lead_end(flight *f)
{
    base_thread_record *self = base_thread_self();
    if (self->index != 0) { self->leads = f->outer; }
}

CELLAR_PRIVATE bool flight_led_from(const flight *f, uintptr_t frame)
{
    base_thread_record *self = base_thread_self();
    return self->index != 0 && base_load_acq(&f->leader) == self && f->frame == frame;
}

CELLAR_PRIVATE void flight_reap(uintptr_t frame)
{
    base_thread_record *self = base_thread_self();
    if (BASE_LIKELY(self->leads == NULL) || self->index == 0) { return; }
    for (flight *f = self->leads; f != NULL && base_frame_is_gone(self, f->frame, frame);) {
        flight *outer = f->outer;
        flight_table *t = f->table;
        flight_will will = f->will;
        const bool last = outer == NULL || outer->frame != f->frame;
        self->leads = outer;
        flight_end(t, f, &FLIGHT_HANDS_OVER);
        if (will.lost != NULL) { will.lost(&will); }
        if (last) { (void)base_sub_ar(t->callers, 1u); } /* the table may be freed after this */
        f = outer;
    }
}

CELLAR_PRIVATE void flight_draft(flight *f, flight_bytes *value) { f->draft = value; }
CELLAR_PRIVATE flight_bytes *flight_drafted(const flight *f) { return f->draft; }
CELLAR_PRIVATE void flight_notes_set(flight *f, void *notes)
{
    BASE_ASSERT(base_load_rlx(&f->notes) == NULL);
    base_store_rel(&f->notes, notes);
}
CELLAR_PRIVATE void *flight_notes(const flight *f) { return base_load_acq(&f->notes); }
CELLAR_PRIVATE void flight_will_set(flight *f, const flight_will *will)
{
    static const flight_will none = { .lost = NULL };
    f->will = will != NULL ? *will : none;
}

/* ---- the end ---- */

static void flight_end_locked(flight_shard *s, flight *f, const flight_outcome *o,
                              flight_ended *ended) SYNC_HOLDS(FLIGHT);
static void flight_end_locked(flight_shard *s, flight *f, const flight_outcome *o,
                              flight_ended *ended)
{
    const bool keep = BASE_MUTANT("flight.no_unlink_on_fail") && o->phase == FLIGHT_FAILED;
    if (BASE_MUTANT("flight.clear_any")) {
        const flight_key k = { f->key, f->key_len, f->generation, f->hash };
        flight *any = flight_find(s, &k, false, NULL);
        if (any != NULL && any != f) { flight_unlink(s, any); }
    }
    if (f->attached && !keep) { flight_unlink(s, f); }
    (void)flight_settle(s, f, o, ended);
}

CELLAR_PRIVATE void flight_end(flight_table *t, flight *f, const flight_outcome *o)
{
    flight_shard *s = flight_shard_of(t, f->hash);
    flight_ended ended;
    flight_rest rest = { NULL, NULL, NULL, NULL };
    sync_take(FLIGHT, &s->lock);
    flight_end_locked(s, f, o, &ended);
    const bool taken = f->result.value == o->value;
    /* refs == 1 and unlinked: no other thread can reach the flight, so the ref is dropped here. */
    const bool alone = (base_load_acq(&f->refs) == 1 && ended.subs == NULL) ||
                       BASE_MUTANT("flight.wake_after_unref");
    if (alone) { rest = flight_let_go(s, f); }
    sync_drop(FLIGHT, &s->lock);
    flight_bytes *untaken = taken ? NULL : o->value;
    if (alone) {
        flight_rest_free(t, &rest);
        if (BASE_MUTANT("flight.wake_after_unref")) {
            BASE_REQUIRE(base_load_rlx(&f->refs) > 0);
            flight_announce(t, &ended);
        }
    } else {
        flight_announce(t, &ended);
        flight_unref(t, f);
    }
    flight_bytes_drop(untaken);
}

/* ---- waiting ---- */

/* Record that this thread waits for `f`. Return true, without an edge, if that closes a cycle. The
 * caller drops the edge with flight_edge_drop. */
static bool flight_cycle(base_thread_record *self, flight *f)
{
    bool cycle = false;
    sync_take(GRAPH, &flight_graph);
    self->waits_for = f;
    for (const flight *at = f; at != NULL;) {
        if (FLIGHT_PHASE(base_load_acq(&at->state)) > FLIGHT_LOADING) { break; }
        const base_thread_record *leader = base_load_acq(&at->leader);
        if (leader == NULL) { break; }
        cycle = leader == self;
        if (cycle) { break; }
        at = leader->waits_for;
    }
    if (cycle) { self->waits_for = NULL; }
    sync_drop(GRAPH, &flight_graph);
    return cycle;
}

CELLAR_PRIVATE void flight_graph_reset(void) { sync_reset(&flight_graph); }

static void flight_edge_drop(base_thread_record *self)
{
    sync_take(GRAPH, &flight_graph);
    self->waits_for = NULL;
    sync_drop(GRAPH, &flight_graph);
}

/* Return the end of the wait on the clock of the kernel. With a clock of the host the wait is cut
 * into slices. */
static uint64_t flight_until_ns(const flight_table *t, int64_t now_ms, int64_t until_ms)
{
    const uint64_t now_ns = base_now_ns();
    if (until_ms == BASE_NEVER_MS) { return UINT64_MAX; }
    const uint64_t left_ms = (uint64_t)BASE_MAX(until_ms - now_ms, 0);
    uint64_t left_ns = left_ms > UINT64_MAX / 4000000 ? UINT64_MAX / 4 : left_ms * 1000000;
    if (t->clock->precise_ms != NULL) { left_ns = BASE_MIN(left_ns, FLIGHT_SLICE_NS); }
    return now_ns + left_ns;
}

static flight_waited flight_sleep(const flight_table *t, flight *f, int64_t deadline_ms)
{
    for (;;) {
        const uint32_t state = base_load_acq(&f->state); /* release in flight_settle */
        if (FLIGHT_PHASE(state) > FLIGHT_LOADING) { return FLIGHT_DONE; }
        const int64_t now_ms = base_now_ms(t->clock);
        const int64_t hard_timeout_ms = FLIGHT_PHASE(state) == FLIGHT_QUEUED ? BASE_NEVER_MS
                                                                     : f->hard_at_ms;
        if (now_ms >= deadline_ms) { return FLIGHT_LATE; }
        if (now_ms >= hard_timeout_ms) { return FLIGHT_HARD; }
        const uint64_t until = flight_until_ns(t, now_ms, BASE_MIN(deadline_ms, hard_timeout_ms));
        if (BASE_MUTANT("flight.lost_wake")) {
            (void)sync_wait(&f->state, base_load_acq(&f->state), until);
        } else {
            (void)sync_wait(&f->state, state, until);
        }
    }
}

static void flight_outcome_copy(const flight *f, flight_outcome *out)
{
    *out = f->result;
    (void)flight_bytes_ref(out->value);
}

CELLAR_PRIVATE flight_waited flight_wait(flight_table *t, flight *f, int64_t deadline_ms,
                                         flight_outcome *out)
{
    base_thread_record *self = base_thread_self();
    flight_shard *s = flight_shard_of(t, f->hash);
    const bool edge = self->leads != NULL && self->index != 0;
    flight_waited how = FLIGHT_CYCLE;
    if (!edge || !flight_cycle(self, f)) {
        how = flight_sleep(t, f, deadline_ms);
        if (edge) { flight_edge_drop(self); }
    }
    if (how == FLIGHT_DONE) { /* The outcome is constant now and needs no lock. */
        flight_outcome_copy(f, out);
        flight_unref(t, f);
        (void)base_sub_ar(&t->waiters, 1u);
        return how;
    }
    sync_take(FLIGHT, &s->lock);
    if (FLIGHT_PHASE(base_load_rlx(&f->state)) > FLIGHT_LOADING) { /* completed meanwhile */
        how = FLIGHT_DONE;
        flight_outcome_copy(f, out);
    }
    if (how == FLIGHT_LATE && BASE_MUTANT("flight.timeout_free")) {
        base_store_rlx(&f->refs, 1u);
    }
    const flight_rest rest = flight_let_go(s, f);
    sync_drop(FLIGHT, &s->lock);
    flight_rest_free(t, &rest);
    (void)base_sub_ar(&t->waiters, 1u);
    return how;
}

CELLAR_PRIVATE void flight_hold(flight *f) { (void)base_add_rlx(&f->refs, 1u); }

CELLAR_PRIVATE void flight_leave(flight_table *t, flight *f)
{
    flight_unref(t, f);
    (void)base_sub_ar(&t->waiters, 1u);
}
