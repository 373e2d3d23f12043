/* SPDX-License-Identifier: MIT
 *
 * tier_answer: the answer of a tier that arrives later, to the lease that the tier holds.
 *
 * PICTURE    cellar_lease_acquire -> lease of the tier -> ask ... answered -> claim the lease
 *            -> entry: back-fill, end of the flight -> subscribers acquire again: a hit
 *            -> miss: note it, cancel the flight -> subscribers acquire again: one gets the lease
 * INVARIANTS An entry that changed since the request is not stored: the back-fill compares the
 *            stamp. An answer after the lease has ended has no effect.
 * SEE ALSO   lease.c (the request), cache/lookup.c (the back-fill). */
#include "loading/tier_answer.h"

#include "cache/call.h"
#include "cache/generation.h"
#include "cache/handle.h"
#include "cache/lookup.h"
#include "cache/write_order.h"
#include "loading/load_call.h"
#include "loading/load_shared.h"

BASE_SIZE_BEGIN

/* Fill the outcome of the flight with the entry, and put the entry into L1. */
static void cache_answer_entry(cellar *c, const l1_key *k, const cache_tier_ticket *ticket,
                               bool negative, const void *value, size_t value_len,
                               const cache_tier_meta *meta, flight_outcome *o)
{
    flight_bytes *b =
        negative ? NULL : flight_bytes_new(&c->store->hooks, BASE_MAX(value_len, (size_t)1));
    if (!negative && b == NULL) { return; } /* the flight is cancelled: subscribers ask again */
    cache_tier_meta m = *meta;
    m.kind = negative ? (uint8_t)L1_NEGATIVE : m.kind;
    if (!m.passing) {
        (void)cache_backfill(c, k, value, negative ? 0 : value_len, &m, ticket->changes,
                             ticket->globs);
    }
    o->phase = negative ? FLIGHT_NONE : FLIGHT_OK;
    o->source = CELLAR_SOURCE_L2;
    o->deadline_ms = meta->deadline_ms;
    if (meta->tag_count != 0 || c->proof_stale) { o->flags |= FLIGHT_TAGGED; }
    if (b == NULL) { return; }
    b->len = value_len;
    if (value_len != 0) { memcpy(b->data, value, value_len); }
    b->user_flags = meta->user_flags;
    o->value = b;
}

CELLAR_PRIVATE void cache_tier_answered(void *ctx, const cache_tier_ticket *ticket,
                                        const void *key, size_t len, cellar_err err,
                                        const void *value, size_t value_len,
                                        const cache_tier_meta *meta)
{
    cache_store *s = ctx;
    cache_generation_info info;
    const flight_lease l = { ticket->id, ticket->check };
    if (cache_key_bad(key, len)) { return; }
    cellar *c = cache_generation_namespace(s, ticket->generation, &info);
    if (c == NULL) { return; }
    if (!cache_load_begin(c)) {
        cache_namespace_release(c);
        return;
    }
    flight_table *t = base_load_sc(&s->flights);
    flight *f = t != NULL ? flight_claim(t, &l, c->id) : NULL;
    if (f != NULL) {
        flight_outcome o = { .phase = FLIGHT_CANCELLED };
        const l1_key k = { key, (uint32_t)len, ticket->generation,
                           base_hash(c->hash_key, ticket->generation, key, len) };
        const bool there = err == CELLAR_OK || err == CELLAR_ABSENT;
        if (there && !base_clock_reached(&s->clock, meta->deadline_ms)) {
            cache_answer_entry(c, &k, ticket, err == CELLAR_ABSENT, value, value_len, meta, &o);
        } else {
            cache_missed_note(s, k.hash, cache_missed_seen(ticket, c->proof_stale),
                              cache_shared_unsure(err));
        }
        flight_end(t, f, &o);
    }
    cache_load_end(s);
    cache_namespace_release(c);
}

BASE_SIZE_END
