/* SPDX-License-Identifier: MIT
 *
 * table: find, attach, unlink and free records of flights. */
#ifndef FLIGHT_TABLE_H
#define FLIGHT_TABLE_H

#include "flight/types.h"

BASE_INLINE flight_shard *flight_shard_of(const flight_table *t, uint64_t hash)
{
    return &t->shard[(uint32_t)base_mix64(hash) & t->mask];
}

BASE_INLINE flight **flight_bucket(flight_shard *s, uint64_t hash)
{
    return &s->bucket[(base_mix64(hash) >> 32) % FLIGHT_BUCKETS];
}

/* Return an upper bound of the bytes of one table. */
CELLAR_PRIVATE uint64_t flight_table_bytes(const base_account *a);
/* Create a table. All its memory is charged to module FLIGHT. Return NULL if no memory is left. */
CELLAR_PRIVATE flight_table *flight_table_create(const flight_config *cfg);
CELLAR_PRIVATE void flight_table_destroy(flight_table *t); /* no flight is left; NULL is allowed */

/* Make a record with room for the key. NULL: no memory. */
CELLAR_PRIVATE flight *flight_record_new(flight_table *t, uint32_t key_len);
CELLAR_PRIVATE void flight_record_free(flight_table *t, flight *f); /* NULL is allowed */
/* Take a spare record. NULL: none is left, or the key is too long for it. */
CELLAR_PRIVATE flight *flight_spare_take(flight_shard *s, uint32_t key_len) SYNC_HOLDS(FLIGHT);
CELLAR_PRIVATE void flight_init(flight *f, const flight_ask *ask, uint32_t takeovers);
CELLAR_PRIVATE void flight_attach(flight_shard *s, flight *f) SYNC_HOLDS(FLIGHT);
/* Find the flight of this key that readers find. With `side` find also flights of loads without
 * single flight. */
CELLAR_PRIVATE flight *flight_find(flight_shard *s, const flight_key *k, bool side,
                                   const flight *after) SYNC_HOLDS(FLIGHT);
CELLAR_PRIVATE void flight_unlink(flight_shard *s, flight *f) SYNC_HOLDS(FLIGHT);
/* Return the flight after `f`, with NULL the first: the attached ones, then the detached ones. */
CELLAR_PRIVATE flight *flight_after(flight_shard *s, const flight *f) SYNC_HOLDS(FLIGHT);
/* Make the flight final, unless it is final already. */
CELLAR_PRIVATE void flight_settle(flight *f, const flight_outcome *o, flight_ended *e)
    SYNC_HOLDS(FLIGHT);
CELLAR_PRIVATE void flight_announce(flight_table *t, const flight_ended *e);
/* End a flight without an outcome, and close its lease: another thread leads the next one. */
CELLAR_PRIVATE void flight_cancel(flight_shard *s, flight *f, flight_ended *e) SYNC_HOLDS(FLIGHT);
/* Tell waiters and subscribers. `report`: tell lease_lost of an open lease with a note, too. */
CELLAR_PRIVATE void flight_cancelled(flight_table *t, const flight_ended *e, bool report);
/* Make `self` the leader of the flight; NULL: no leader. */
CELLAR_PRIVATE void flight_lead_take(flight *f, base_thread_record *self);
/* Free what a forked child took from threads that do not exist there. */
CELLAR_PRIVATE void flight_free_lost(flight_table *t);
CELLAR_PRIVATE void flight_list_cut(flight **list, flight *f);

typedef struct flight_rest {
    flight *record;
    flight_bytes *value, *kept, *tags;
} flight_rest;

/* Drop one ref under the lock. Return what the caller frees after the lock. */
CELLAR_PRIVATE flight_rest flight_let_go(flight_shard *s, flight *f) SYNC_HOLDS(FLIGHT);
CELLAR_PRIVATE void flight_rest_free(flight_table *t, const flight_rest *rest);
CELLAR_PRIVATE void flight_unref(flight_table *t, flight *f);
CELLAR_PRIVATE flight_sub *flight_sub_new(flight_table *t, void (*fn)(void *), void *ctx);
CELLAR_PRIVATE void flight_sub_free(flight_table *t, flight_sub *s);

/* ---- what a flight is ---- */

BASE_INLINE flight_key flight_key_of(const flight *f)
{
    return (flight_key){ f->key, f->key_len, f->generation, f->hash };
}
BASE_INLINE uint64_t flight_tag_born(const flight *f) { return f->tag_born; }
/* Note that the leader publishes "not modified": only the value that it has seen may get it. */
BASE_INLINE void flight_renews(flight *f) { f->renews = true; }
BASE_INLINE void flight_note(flight *f, uint64_t note) { f->note = note; }
BASE_INLINE uint64_t flight_noted(const flight *f) { return f->note; }
BASE_INLINE int64_t flight_hard_at(const flight *f) { return f->hard_at_ms; }
BASE_INLINE uint32_t flight_takeovers(const flight *f)
{
    return FLIGHT_TAKEOVERS(base_load_rlx(&f->state));
}

BASE_INLINE uint32_t flight_count(const flight_table *t) { return base_load_rlx(&t->open); }
/* Count waiters and subscriptions. */
BASE_INLINE uint32_t flight_waiting(const flight_table *t) { return base_load_rlx(&t->waiters); }

#endif
