/* SPDX-License-Identifier: MIT
 *
 * table: the records of running loads, found by key; references to them; loaded values.
 *
 * PICTURE    keyed hash -> shard {lock | count | bucket -> flight -> flight .. | detached | spare}
 *            flight {state, refs, outcome | key}
 *            state: 3 bits phase | WAITERS | 4 bits take-overs
 *            attached --unlink (publish, end, invalidate, take over)--> detached --last ref-->
 *            spare or freed
 * INVARIANTS count == attached flights of the shard == flights in its buckets.
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
 * SEE ALSO   flight/README.md: proofs of publishing, cycles and references; rejected designs.
 *            flight.c (enter, lead, end), wait.c, lease.c, invalidate.c. */
#include "flight/types.h"

#define FLIGHT_SHARDS_MAX 64u
#define FLIGHT_SPARES 8u

/* ---- bytes with several holders ---- */

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
    b->hooks = base_hooks_keep(hooks);
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

/* ---- subscriptions ---- */

CELLAR_PRIVATE flight_sub *flight_sub_new(flight_table *t, void (*fn)(void *), void *ctx)
{
    flight_sub *s = base_alloc(t->account, BASE_MOD_FLIGHT, sizeof *s, NULL);
    if (s == NULL) { return NULL; }
    s->fn = fn;
    s->ctx = ctx;
    s->id = base_add_rlx(&t->next_gen, (uint64_t)1) + 1;
    return s;
}

CELLAR_PRIVATE void flight_sub_free(flight_table *t, flight_sub *s)
{
    base_free(t->account, BASE_MOD_FLIGHT, s, sizeof *s);
}

/* ---- records ---- */

static size_t flight_record_bytes(uint32_t key_room)
{
    return offsetof(flight, key) + (size_t)key_room;
}

CELLAR_PRIVATE flight *flight_record_new(flight_table *t, uint32_t key_len)
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

CELLAR_PRIVATE flight *flight_spare_take(flight_shard *s, uint32_t key_len)
{
    if (s->spare == NULL || key_len > FLIGHT_KEY_ROOM) { return NULL; }
    flight *f = s->spare;
    s->spare = f->next;
    s->spare_count--;
    return f;
}

static void flight_list_add(flight **list, flight *f)
{
    f->prev = NULL;
    f->next = *list;
    if (f->next != NULL) { f->next->prev = f; }
    *list = f;
}

CELLAR_PRIVATE void flight_list_cut(flight **list, flight *f)
{
    if (f->next != NULL) { f->next->prev = f->prev; }
    if (f->prev != NULL) { f->prev->next = f->next; } else { *list = f->next; }
    f->next = f->prev = NULL;
}

/* ---- attached ---- */

CELLAR_PRIVATE flight *flight_find(flight_shard *s, const flight_key *k, bool side,
                                   const flight *after)
{
    flight *f = after != NULL ? after->chain : *flight_bucket(s, k->hash);
    for (; f != NULL; f = f->chain) {
        if (f->hash == k->hash && f->key_len == k->len && f->generation == k->generation &&
            (side || f->kind != FLIGHT_SIDE) && memcmp(f->key, k->bytes, k->len) == 0) {
            break;
        }
    }
    return f;
}

CELLAR_PRIVATE flight *flight_after(flight_shard *s, const flight *f)
{
    flight *next = f == NULL ? s->attached : f->next;
    return next == NULL && (f == NULL || f->attached) ? s->detached : next;
}

CELLAR_PRIVATE void flight_attach(flight_shard *s, flight *f)
{
    flight **bucket = flight_bucket(s, f->hash);
    f->chain = *bucket;
    *bucket = f;
    flight_list_add(&s->attached, f);
    f->attached = true;
    (void)base_add_sc(&s->count, 1u);
}

CELLAR_PRIVATE void flight_unlink(flight_shard *s, flight *f)
{
    flight **at = flight_bucket(s, f->hash);
    BASE_ASSERT(f->attached && base_load_rlx(&f->refs) > 0);
    while (*at != f) { at = &(*at)->chain; }
    *at = f->chain;
    flight_list_cut(&s->attached, f);
    f->attached = false;
    (void)base_sub_ar(&s->count, 1u);
    flight_list_add(&s->detached, f);
}

/* Record the leading thread of `f`, for the cycle check. The record of index 0, which many threads
 * share, waits for no flight and leads none. */
CELLAR_PRIVATE void flight_lead_take(flight *f, base_thread_record *self)
{
    base_store_rel(&f->leader, self); /* acquire in flight_cycle */
}

CELLAR_PRIVATE void flight_init(flight *f, const flight_ask *ask, uint32_t takeovers)
{
    const flight_key *k = &ask->key;
    flight_table *t = f->table;
    const bool queued = ask->kind == FLIGHT_JOB;
    BASE_ASSERT(base_load_rlx(&f->refs) == 0 && f->kept == NULL && f->tags == NULL);
    BASE_ASSERT(f->subs == NULL && f->result.value == NULL);
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
    f->renews = f->replaced = false;
    flight_lead_take(f, queued ? NULL : base_thread_self());
    f->start_ms = ask->now_ms;
    f->hard_at_ms = queued ? BASE_NEVER_MS : base_add_sat(ask->now_ms, ask->hard_timeout_ms);
    f->tag_born = ask->tag_born;
    f->note = 0;
    f->outer = NULL;
    f->depth = 0;
}

CELLAR_PRIVATE void flight_settle(flight *f, const flight_outcome *o, flight_ended *e)
{
    const uint32_t state = base_load_rlx(&f->state);
    e->wake = NULL;
    e->subs = NULL;
    if (FLIGHT_PHASE(state) > FLIGHT_LOADING) { return; }
    f->result = *o;
    base_store_rlx(&f->leader, (base_thread_record *)NULL);
    base_store_rel(&f->state, (state & ~7u) | (uint32_t)o->phase); /* acquire in flight_wait */
    if ((state & FLIGHT_WAITERS) != 0) { e->wake = f; }
    e->subs = f->subs;
    f->subs = NULL;
}

CELLAR_PRIVATE void flight_announce(flight_table *t, const flight_ended *e)
{
    BASE_POINT("flight.wake");
    if (e->wake != NULL) { sync_wake(&e->wake->state, INT32_MAX); }
    for (flight_sub *s = e->subs; s != NULL;) {
        flight_sub *next = s->next;
        sync_assert_none();
        s->fn(s->ctx);
        flight_sub_free(t, s);
        (void)base_sub_ar(&t->waiters, 1u);
        s = next;
    }
}

CELLAR_PRIVATE flight_rest flight_let_go(flight_shard *s, flight *f)
{
    flight_rest rest = { .record = NULL };
    BASE_REQUIRE(base_load_rlx(&f->refs) > 0);
    if (base_sub_ar(&f->refs, 1u) != 1) { return rest; } /* other threads lower it without the
                                                          * lock */
    BASE_ASSERT(!f->attached && f->subs == NULL);
    flight_list_cut(&s->detached, f);
    rest.value = f->result.value;
    rest.kept = f->kept;
    rest.tags = f->tags;
    f->result.value = f->kept = f->tags = NULL;
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

CELLAR_PRIVATE void flight_rest_free(flight_table *t, const flight_rest *rest)
{
    flight_bytes_drop(rest->value);
    flight_bytes_drop(rest->kept);
    flight_bytes_drop(rest->tags);
    flight_record_free(t, rest->record);
}

/* Drop one ref without the lock, unless it is the last. Return false then. */
static bool flight_unref_shared(flight *f)
{
    uint32_t refs = base_load_rlx(&f->refs);
    while (refs > 1) {
        BASE_POINT("flight.unref");
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

CELLAR_PRIVATE void flight_cancel(flight_shard *s, flight *f, flight_ended *e)
{
    if (f->attached) { flight_unlink(s, f); }
    flight_settle(f, &FLIGHT_HANDS_OVER, e);
    e->f = f;
    e->lost = f->lease_open;
    if (f->lease_open) {
        f->lease_open = false; /* the ref of the lease becomes ours */
    } else {
        (void)base_add_rlx(&f->refs, 1u);
    }
}

CELLAR_PRIVATE void flight_cancelled(flight_table *t, const flight_ended *e, bool expired)
{
    flight *f = e->f;
    sync_assert_none();
    if (e->lost && t->lease_lost != NULL) { t->lease_lost(t->ctx, f, expired); }
    flight_announce(t, e);
    flight_unref(t, f);
}

BASE_SIZE_BEGIN

/* ---- the table ---- */

/* Return the number of shards: one per 256 KiB of budget. A shard takes about 3 KiB. */
static uint32_t flight_shard_count(const base_account *a)
{
    const uint64_t n = base_pow2_floor(base_load_rlx(&a->limit) >> 18);
    return (uint32_t)base_clamp(n, 4, FLIGHT_SHARDS_MAX);
}

CELLAR_PRIVATE uint64_t flight_table_bytes(const base_account *a)
{
    const size_t shard = sizeof(flight_shard) + FLIGHT_SPARES * sizeof(flight);
    return sizeof(flight_table) + BASE_PAD + (uint64_t)flight_shard_count(a) * shard;
}

CELLAR_PRIVATE flight_table *flight_table_create(const flight_config *cfg)
{
    const uint32_t shards = flight_shard_count(cfg->account);
    const size_t bytes = (size_t)flight_table_bytes(cfg->account);
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
    }
    return t;
}

CELLAR_PRIVATE void flight_table_destroy(flight_table *t)
{
    if (t == NULL) { return; }
    BASE_ASSERT(base_load_rlx(&t->open) == 0);
    base_free(t->account, BASE_MOD_FLIGHT, t->raw, t->raw_bytes);
}

BASE_SIZE_END
