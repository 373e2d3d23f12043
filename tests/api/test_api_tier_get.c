/* SPDX-License-Identifier: MIT
 *
 * Aim:    Gets of a namespace with a tier ask the server as rarely as the answers allow. Equal
 *         gets share a request, many keys go in one request, and a call asks again only after
 *         a change. No value is stored that a change overtook.
 * Method: Two stores are two clients of a server in memory. The server acts in the middle of
 *         calls and counts them. A clock of the test. */
#include <stdio.h>

#include "tests/support/asleep.h"
#include "tests/support/spaces.h"
#include "tests/support/tier_clients.h"

/* ---- equal gets ---- */

enum { EQUAL = 16 };
typedef struct equal_get {
    pthread_t thread;
    _Atomic int tid;
    size_t cap;
    cellar_err err;
    char got[8];
} equal_get;
static equal_get equal[EQUAL];
static _Atomic bool first, held; /* the first reply waits */

static void *get_equal(void *arg)
{
    equal_get *e = arg;
    atomic_store(&e->tid, asleep_self());
    e->err = cellar_get_str(ns[1], "k", e->got, e->cap);
    return NULL;
}

static void hold_first_reply(shared_client *m, const char *call)
{
    (void)m;
    if (strcmp(call, "get") != 0 || !atomic_exchange(&first, false)) { return; }
    while (atomic_load(&held)) { (void)sched_yield(); }
}

static unsigned gets_of(const shared_client *m)
{
    pthread_mutex_lock(&server.lock);
    const unsigned gets = m->gets;
    pthread_mutex_unlock(&server.lock);
    return gets;
}

/* Start the gets with buffers of `cap` bytes. Return when one reply is held and all other gets
 * sleep, or have asked as well. */
static void begin_equal(size_t cap)
{
    memset(equal, 0, sizeof equal);
    atomic_store(&first, true);
    atomic_store(&held, true);
    two.gets = 0;
    two.inside = hold_first_reply;
    for (unsigned i = 0; i < EQUAL; i++) {
        equal[i].cap = cap;
        T_EQ_I64(pthread_create(&equal[i].thread, NULL, get_equal, &equal[i]), 0);
        while (i == 0 && gets_of(&two) == 0) { (void)sched_yield(); }
    }
    for (unsigned waiting = 0; waiting < EQUAL - 1 && gets_of(&two) == 1;) {
        waiting = 0;
        for (unsigned i = 1; i < EQUAL; i++) { waiting += asleep(atomic_load(&equal[i].tid)); }
    }
}

/* Let the reply go, and check the result of all gets but the first one. Return how many asked. */
static unsigned end_equal(cellar_err err, const char *want)
{
    atomic_store(&held, false);
    for (unsigned i = 0; i < EQUAL; i++) { T_EQ_I64(pthread_join(equal[i].thread, NULL), 0); }
    for (unsigned i = 1; i < EQUAL; i++) {
        T_EQ_I64(equal[i].err, err);
        if (err == CELLAR_OK) { T_EQ_STR(equal[i].got, want); }
    }
    return two.gets;
}

T_CASE_ON(equal_gets_are_one_request, CLIENTS)
{
    sets(ns[0], "k", "value");
    begin_equal(8);
    T_EQ_U64(end_equal(CELLAR_OK, "value"), 1);
    T_EQ_STR(equal[0].got, "value");
    (void)cellar_delete(ns[0], "k", 1);
    begin_equal(8);
    T_EQ_U64(end_equal(CELLAR_MISS, NULL), 1);
    sets(ns[0], "k", "value");
    begin_equal(2);
    T_EQ_U64(end_equal(CELLAR_E_BUFFER, NULL), 1);
}

T_CASE_ON(equal_gets_of_a_value_that_memory_does_not_keep_ask_each, CLIENTS)
{
    two.no_keep = true;
    sets(ns[0], "k", "value");
    begin_equal(8);
    T_EQ_U64(end_equal(CELLAR_OK, "value"), EQUAL);
}

T_CASE_ON(get_behind_a_change_does_not_wait_for_an_older_request, CLIENTS)
{
    sets(ns[0], "k", "old");
    begin_equal(8);
    sets(ns[0], "k", "new");
    has(ns[1], "k", "new");
    T_EQ_U64(gets_of(&two), 2);
    (void)end_equal(CELLAR_OK, "new");
    has(ns[1], "k", "new");
}

static void get_inside(shared_client *m, const char *call)
{
    if (strcmp(call, "get") != 0) { return; }
    m->inside = NULL;
    has(ns[1], "k", "value");
}

T_CASE_ON(get_inside_the_same_get_asks_for_itself, CLIENTS)
{
    sets(ns[0], "k", "value");
    two.inside = get_inside;
    has(ns[1], "k", "value");
    T_EQ_U64(two.gets, 2);
}

/* ---- many keys in one request ---- */

#define ASKED 40u /* more than one group of cellar_get_many */
static char many_key[ASKED][4], many_buf[ASKED][8];

/* Get all keys by the second client. Return the hits. */
static size_t get_all(cellar_get_item *it)
{
    size_t hits = 0;
    for (unsigned i = 0; i < ASKED; i++) {
        (void)snprintf(many_key[i], sizeof many_key[i], "%u", i);
        memset(many_buf[i], 0, sizeof many_buf[i]);
        it[i] = item_of(many_key[i], many_buf[i], 7);
    }
    T_EQ_I64(cellar_get_many(ns[1], it, ASKED, &hits), CELLAR_OK);
    return hits;
}

static void fill_many(void)
{
    for (unsigned i = 0; i < ASKED - 2; i++) {
        (void)snprintf(many_key[i], sizeof many_key[i], "%u", i);
        sets(ns[0], many_key[i], many_key[i]);
    }
}

static void begin_many(bool together)
{
    make_clients();
    if (together) { two.table.get_many = shared_get_many; }
    attach_both();
    fill_many();
}
#define MANY(fn) T_WITHIN(fn, begin_many(true), end())

T_CASE_ON(missed_keys_are_asked_in_one_request, MANY)
{
    cellar_get_item it[ASKED];
    has(ns[1], "3", "3"); /* in memory */
    const unsigned gets = two.gets;
    T_EQ_U64(get_all(it), ASKED - 2);
    T_FIELDS(two, manys, 1, many_keys, ASKED - 1, gets, gets);
    for (unsigned i = 0; i < ASKED; i++) {
        const bool there = i < ASKED - 2;
        T_EQ_I64(it[i].status, there ? CELLAR_OK : CELLAR_MISS);
        T_EQ_STR(many_buf[i], there ? many_key[i] : "");
        T_EQ_U64(it[i].value_len, strlen(many_buf[i]));
        T_CHECK(!there || in_memory(ns[1], &two, many_key[i]));
    }
    T_EQ_U64(get_all(it), ASKED - 2); /* the two that are left again */
    T_FIELDS(two, manys, 2, many_keys, ASKED + 1);
}

T_CASE(silent_tier_gets_one_request_for_many_keys)
{
    enum { COLD = 300 };
    static cellar_get_item it[COLD];
    static char key[COLD][8];
    size_t hits = 1;
    begin_many(true);
    for (unsigned i = 0; i < COLD; i++) {
        const int len = snprintf(key[i], sizeof key[i], "c%u", i);
        it[i] = (cellar_get_item){ .key = key[i], .key_len = (size_t)len };
    }
    two.get_answer = CELLAR_E_TIMEOUT;
    T_EQ_I64(cellar_get_many(ns[1], it, COLD, &hits), CELLAR_OK);
    T_FIELDS(two, manys, 1, gets, 0);
    T_EQ_U64(hits, 0);
    for (unsigned i = 0; i < COLD; i++) { T_EQ_I64(it[i].status, CELLAR_MISS); }
    end();
}

T_CASE(tier_without_get_many_is_asked_key_by_key)
{
    cellar_get_item it[ASKED];
    begin_many(false);
    T_EQ_U64(get_all(it), ASKED - 2);
    T_EQ_U64(two.gets, ASKED);
    end();
}

T_CASE(request_reports_all_outcomes_of_a_get)
{
    cellar_get_item it[5];
    char buf[5][8];
    make_clients();
    two.table.get_many = shared_get_many;
    attach_both();
    cellar_set_opts o = { .struct_size = sizeof o, .user_flags = 7 };
    T_EQ_I64(cellar_set(ns[0], "flags", 5, "1", 1, &o), CELLAR_OK);
    sets(ns[0], "long", "much too long");
    o = cellar_set_opts_default();
    o.flags = CELLAR_NEGATIVE;
    o.ttl_ms = 1000;
    T_EQ_I64(cellar_set(ns[0], "none", 4, NULL, 0, &o), CELLAR_OK);
    o = cellar_set_opts_default();
    o.ttl_ms = 10;
    T_EQ_I64(cellar_set(ns[0], "over", 4, "1", 1, &o), CELLAR_OK);
    now_ms += 10;
    static const char *const key[] = { "flags", "long", "none", "over", "flags" };
    for (unsigned i = 0; i < 5; i++) {
        it[i] = item_of(key[i], buf[i], sizeof buf[i]);
    }
    size_t hits = 0;
    T_EQ_I64(cellar_get_many(ns[1], it, 5, &hits), CELLAR_OK);
    T_EQ_U64(hits, 2);
    T_CHECK(it[0].status == CELLAR_OK && it[0].user_flags == 7 && it[0].value_len == 1);
    T_CHECK(it[1].status == CELLAR_E_BUFFER && it[1].value_len == 13);
    T_CHECK(it[2].status == CELLAR_ABSENT && it[3].status == CELLAR_MISS);
    T_CHECK(it[4].status == CELLAR_OK && it[4].value_len == 1 && buf[4][0] == '1');
    T_EQ_U64(two.manys, 1);
    end();
}

T_CASE(answer_of_many_that_a_change_overtook_is_not_stored)
{
    static const char *const acts[] = { "set 1", "delete 1", "clear", "ended", "own 1", "pattern" };
    for (unsigned i = 0; i < sizeof acts / sizeof acts[0]; i++) {
        cellar_get_item it[ASKED];
        begin_many(true);
        two.inside = outside;
        act = acts[i];
        (void)get_all(it);
        two.inside = NULL;
        const bool one_key = i < 2 || i == 4;
        unsigned stored = 0; /* keys that nothing changed; some may share a stamp with one */
        for (unsigned k = 2; k < 12; k++) { stored += in_memory(ns[1], &two, many_key[k]); }
        T_CHECK(one_key ? stored >= 5 : stored == 0);
        has(ns[1], "1", i == 0 || i == 4 ? "new" : i == 3 ? "1" : NULL);
        end();
    }
}

T_CASE_ON(missed_key_that_a_change_brings_is_found, MANY)
{
    cellar_get_item it[ASKED];
    T_EQ_I64(cellar_delete(ns[0], "1", 1), CELLAR_OK);
    two.inside = outside;
    act = "set 1";
    T_EQ_U64(get_all(it), ASKED - 2);
    two.inside = NULL;
    T_EQ_STR(many_buf[1], "new");
    /* again, alone; a missing key with the same stamp asks again as well */
    T_CHECK(two.gets >= 1 && two.gets <= 3);
}

T_CASE(answer_of_a_request_is_stored_unless_the_key_changed)
{
    for (unsigned changed = 0; changed < 2; changed++) {
        make_clients();
        two.table.ask = shared_ask;
        attach_both();
        sets(ns[0], "k", "old");
        cellar_lease lease;
        cellar_result r = cellar_result_default();
        T_EQ_I64(cellar_lease_acquire(ns[1], "k", 1, NULL, NULL, &lease, &r), CELLAR_PENDING);
        if (changed == 1) { two.host->changed(two.host->ctx, "k", 1); }
        shared_answer(&two);
        T_CHECK(in_memory(ns[1], &two, "k") == (changed == 0));
        end();
    }
}

/* ---- a tier that has no value, or does not tell ---- */

/* Acquire the key of client 1, which has no leases of the server. */
static cellar_err asks(cellar_lease *lease)
{
    cellar_result r = cellar_result_default();
    const cellar_err err = cellar_lease_acquire(ns[1], "k", 1, NULL, NULL, lease, &r);
    cellar_result_free(&r);
    return err;
}

static void begin_asking(cellar_tier_proof proof)
{
    make_clients();
    two.table.ask = shared_ask;
    two.table.proof = proof;
    attach_both();
    two.host->proven(two.host->ctx, INT64_MAX);
}
#define ASKING(fn) T_WITHIN(fn, begin_asking(CELLAR_TIER_PROOF_STALE), end())

/* Another process stores a value between the answer and the next acquire. */
T_CASE(acquire_asks_again_after_a_change)
{
    for (unsigned heard_it = 0; heard_it < 2; heard_it++) {
        cellar_lease lease;
        begin_asking(CELLAR_TIER_PROOF_STALE);
        const cellar_tier_host *const host = two.host;
        T_EQ_I64(asks(&lease), CELLAR_PENDING);
        shared_answer(&two);
        if (heard_it == 0) { two.host = NULL; } /* a lost connection */
        sets(ns[0], "k", "theirs");
        two.host = host;
        if (heard_it == 0) { host->ended(host->ctx, CELLAR_TAG_SOFT); }
        T_EQ_I64(asks(&lease), CELLAR_PENDING);
        T_AFTER_I64(shared_answer(&two), asks(&lease), CELLAR_OK);
        has(ns[1], "k", "theirs");
        end();
    }
}

/* Another process stores a newer value in a gap; memory keeps the older one as stale. */
T_CASE_ON(acquire_asks_for_a_value_that_a_gap_made_stale, ASKING)
{
    cellar_lease lease;
    const cellar_tier_host *const host = two.host;
    sets(ns[0], "k", "old");
    has(ns[1], "k", "old");
    two.host = NULL;
    sets(ns[0], "k", "theirs");
    two.host = host;
    host->ended(host->ctx, CELLAR_TAG_SOFT);
    T_EQ_I64(asks(&lease), CELLAR_STALE);
    T_CHECK(lease.opaque[0] == 0 && lease.opaque[1] == 0);
    T_AFTER_I64(shared_answer(&two), asks(&lease), CELLAR_OK);
    T_CHECK(in_memory(ns[1], &two, "k"));
    has(ns[1], "k", "theirs");
}

T_CASE_ON(acquire_without_a_change_asks_once, ASKING)
{
    cellar_lease lease;
    T_EQ_I64(asks(&lease), CELLAR_PENDING);
    T_AFTER_I64(shared_answer(&two), asks(&lease), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_fulfill(ns[1], &lease, "loaded", 6, NULL), CELLAR_OK);
    T_CHECK(in_memory(ns[1], &two, "k"));
}

static cellar_err load_any(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key, (void)len, (void)ctx;
    return cellar_load_value(ld, "loaded", 6);
}

T_CASE(load_is_not_kept_if_the_tier_does_not_tell_what_it_has)
{
    static const cellar_err codes[] = { CELLAR_E_BUSY, CELLAR_E_LIMIT, CELLAR_E_TIMEOUT };
    for (unsigned i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        cellar_lease lease;
        begin_asking(CELLAR_TIER_PROOF_NONE);
        two.lease_answer = codes[i];
        const cellar_result r = loaded(1, NULL, load_any, NULL, CELLAR_OK, "loaded");
        T_CHECK((r.flags & CELLAR_RESULT_NOT_STORED) != 0);
        T_EQ_I64(asks(&lease), CELLAR_PENDING);
        const cellar_tier_key k = { "k", 1, 0 };
        two.host->answered(two.host->ctx, &two.ticket, &k, codes[i], NULL, 0, NULL);
        T_EQ_I64(asks(&lease), CELLAR_LEASED);
        T_EQ_I64(cellar_lease_fulfill(ns[1], &lease, "loaded", 6, NULL), CELLAR_DROPPED);
        has(ns[1], "k", NULL);
        end();
    }
}

/* Memory does not have the old value. */
T_CASE(forced_refresh_replaces_a_value_of_the_server)
{
    for (unsigned known = 0; known < 2; known++) {
        begin_asking(CELLAR_TIER_PROOF_NONE);
        sets(ns[0], "k", "old");
        if (known == 1) { has(ns[1], "k", "old"); }
        (void)loaded(1, LOAD_OPTS(.flags = CELLAR_LOAD_REFRESH), load_any, NULL, CELLAR_OK, NULL);
        T_FIELDS(two, leases, 1, fills, 1);
        has(ns[1], "k", "loaded");
        has(ns[0], "k", "loaded");
        end();
    }
}

static void load_inside_put(shared_client *m, const char *call)
{
    cellar_lease lease;
    if (strcmp(call, "put") != 0) { return; }
    m->inside = NULL;
    m->host->changed(m->host->ctx, "k", 1); /* memory loses the value of the set */
    T_EQ_I64(asks(&lease), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_fulfill(ns[1], &lease, "loaded", 6, NULL), CELLAR_DROPPED);
}

/* The server does not report the set to its own client. */
T_CASE(load_during_an_own_set_is_not_kept)
{
    begin_asking(CELLAR_TIER_PROOF_NONE);
    two.inside = load_inside_put;
    sets(ns[1], "k", "set");
    T_CHECK(two.inside == NULL);
    has(ns[1], "k", "set");
    end();
}

T_MAIN("api_tier_get")
