/* SPDX-License-Identifier: MIT
 *
 * Aim:    test_remote_coherence finds a store that keeps an own value although the key changed
 *         behind the own set.
 * Method: the same race, with the own value stored again at the answer of the server. */
#include "cache/call.h"
#include "cache/stamp.h"

#define RUN_AFTER_SET(k, value, len) own_store(k, value, len)
#define RUN_SIDE(s) (own_users = (s)->users)

static cellar *own_users;
static void own_store(const void *key, const void *value, size_t len);

#include "tests/support/coherence_run.h"

/* Store a value as if the key had not changed. */
static void own_store(const void *key, const void *value, size_t len)
{
    const cellar_tier_key *k = key;
    cache_store *s = own_users->store;
    cache_scope *scope = base_thread_self()->change_scopes;
    l1_put_spec p = { .value = value, .value_len = len, .deadline_ms = BASE_NEVER_MS,
                      .kind = (uint8_t)L1_VALUE, .change = L1_CHANGE_BACKFILL };
    l1_key lk;
    cache_key(own_users, &lk, k->bytes, k->len);
    T_REQUIRE(scope != NULL);
    scope->expect = CACHE_STAMP_CHANGES(base_load_acq(cache_stamp(s, lk.hash)));
    scope->globs = base_load_acq(&s->glob_epoch);
    (void)l1_put(s->l1, &lk, &p);
}

T_CASE(own_value_stored_unchecked_stays_old)
{
    static engine server;
    T_CHECK(run_until_stale(&server, 40, 800, false));
}

T_MAIN("cellar_remote_coherence_own")
