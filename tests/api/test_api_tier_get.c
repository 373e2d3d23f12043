/* SPDX-License-Identifier: MIT
 *
 * Aim:    Gets of a namespace with a tier ask the server as rarely as the answers allow. Equal
 *         gets share a request, many keys go in one request, and a call asks again only after
 *         a change. No value is stored that a change overtook. A hit in memory is answered only
 *         while the tier proves it; a value without proof, or one that ended softly, is stale.
 * Method: Two stores are two clients of a server in memory. The server acts in the middle of
 *         calls and counts them. The test ends proofs and entries. A clock of the test. */
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

/* Repeat equal gets until one alone asks, 20 times at most: a get that sleeps on a lock before it
 * joins may be late. value NULL: there is none. Return how many asked. */
static unsigned asked_at_once(const char *value, size_t cap, cellar_err err)
{
    unsigned asked = 0;
    for (unsigned n = 0; n < 20 && asked != 1; n++) {
        (void)cellar_delete(ns[0], "k", 1);
        if (value != NULL) { sets(ns[0], "k", value); }
        begin_equal(cap);
        asked = end_equal(err, value);
    }
    return asked;
}

T_CASE_ON(equal_gets_are_one_request, CLIENTS)
{
    T_EQ_U64(asked_at_once("value", 8, CELLAR_OK), 1);
    T_EQ_STR(equal[0].got, "value");
    T_EQ_U64(asked_at_once(NULL, 8, CELLAR_MISS), 1);
    T_EQ_U64(asked_at_once("value", 2, CELLAR_E_BUFFER), 1);
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
    unsigned asked = 0;
    for (unsigned n = 0; n < 20 && asked != 2; n++) { /* again if one was late */
        sets(ns[0], "k", "old");
        begin_equal(8);
        sets(ns[0], "k", "new");
        has(ns[1], "k", "new");
        asked = gets_of(&two);
        (void)end_equal(CELLAR_OK, "new");
        has(ns[1], "k", "new");
    }
    T_EQ_U64(asked, 2);
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

T_CASE_ON(acquire_of_what_is_cached_asks_no_server, ASKING)
{
    const cellar_load_opts o = { .struct_size = sizeof o, .flags = CELLAR_LOAD_ONLY_IF_CACHED };
    cellar_result r = cellar_result_default();
    cellar_lease lease;
    sets(ns[0], "k", "v");
    T_EQ_I64(cellar_lease_acquire(ns[1], "k", 1, &o, NULL, &lease, &r), CELLAR_MISS);
    T_EQ_U64(two.asks + two.gets, 0);
    (void)loaded(1, &o, NULL, NULL, CELLAR_OK, "v"); /* a load does */
    T_EQ_I64(cellar_lease_acquire(ns[1], "k", 1, &o, NULL, &lease, &r), CELLAR_OK);
    cellar_result_free(&r);
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

/* ---- proof ---- */

/* Read the key by each call that takes no stale value. Return how many found it. */
static unsigned found_by_calls(cellar *c)
{
    char buf[8];
    void *copy = NULL;
    size_t len = 0, hits = 0;
    cellar_pinned pin = { 0 };
    cellar_get_opts o = cellar_get_opts_default();
    cellar_entry_info info = cellar_entry_info_default();
    cellar_get_item item = { .key = "k", .key_len = 1, .buf = buf, .buf_cap = sizeof buf };
    unsigned found = cellar_get(c, "k", 1, buf, sizeof buf, NULL) == CELLAR_OK;
    found += cellar_get_with(c, "k", 1, &o, buf, sizeof buf, NULL) == CELLAR_OK;
    o.info = &info;
    found += cellar_get_with(c, "k", 1, &o, buf, sizeof buf, NULL) == CELLAR_OK;
    found += peek(c, "k", 1, buf, sizeof buf, NULL) == CELLAR_OK;
    found += cellar_contains(c, "k", 1) == CELLAR_OK;
    found += cellar_get_alloc(c, "k", 1, &copy, &len) == CELLAR_OK;
    found += cellar_pin(c, "k", 1, &pin) == CELLAR_OK;
    T_EQ_I64(cellar_get_many(c, &item, 1, &hits), CELLAR_OK);
    cellar_free(copy);
    cellar_unpin(&pin);
    return found + (unsigned)hits;
}

static cellar_err load_new(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key, (void)len, (void)ctx;
    return cellar_load_value(ld, "new", 3);
}

/* Open both clients with proofs; the server of the second one then does not answer. */
static void begin_proven(cellar_tier_proof proof)
{
    make_clients();
    one.table.proof = two.table.proof = proof;
    attach_both();
    for (unsigned i = 0; i < 2; i++) {
        const cellar_tier_host *h = server.client[i]->host;
        h->proven(h->ctx, now_ms + 2000);
    }
    sets(ns[0], "k", "old");
    has(ns[1], "k", "old");
    server.row[0].used = false; /* only memory has it */
}
#define MISS(fn) T_WITHIN(fn, begin_proven(CELLAR_TIER_PROOF_MISS), end())
#define STALE(fn) T_WITHIN(fn, begin_proven(CELLAR_TIER_PROOF_STALE), end())

T_CASE(memory_answers_until_the_proof_ends)
{
    for (unsigned stale = 0; stale < 2; stale++) {
        begin_proven(stale != 0 ? CELLAR_TIER_PROOF_STALE : CELLAR_TIER_PROOF_MISS);
        T_EQ_U64(found_by_calls(ns[1]), 8);
        T_AFTER_U64(now_ms += 1900, found_by_calls(ns[1]), 8);
        T_AFTER_U64(now_ms += 100, found_by_calls(ns[1]), 0);
        two.host->proven(two.host->ctx, now_ms + 2000);
        T_EQ_U64(found_by_calls(ns[1]), 8);
        two.host->proven(two.host->ctx, 0);
        T_EQ_U64(found_by_calls(ns[1]), 0);
        end();
    }
}

/* Keys of 8 to 16 bytes have the shortest path: it compares one clock with proof and deadline. */
T_CASE(plain_hit_ends_with_proof_and_deadline)
{
    for (unsigned i = 0; i < 4; i++) {
        const bool needs = (i & 1) != 0;
        const int64_t life_ms = (i & 2) != 0 ? 500 : 5000;
        make_clients();
        one.table.proof = needs ? CELLAR_TIER_PROOF_MISS : CELLAR_TIER_PROOF_NONE;
        one.table.max_ttl_ms = life_ms;
        attach_both();
        one.host->proven(one.host->ctx, now_ms + 2000);
        sets(ns[0], "user:0001", "1");
        const int64_t ends_ms = needs && life_ms > 2000 ? 2000 : life_ms;
        now_ms += ends_ms - 100;
        T_CHECK(in_memory(ns[0], &one, "user:0001"));
        const cellar_stats st = space_stats(ns[0]);
        T_EQ_U64(st.gets - st.misses, 1);
        now_ms += 100;
        T_CHECK(!in_memory(ns[0], &one, "user:0001"));
        end();
    }
}

T_CASE(nothing_is_answered_before_the_first_proof)
{
    make_clients();
    one.table.proof = CELLAR_TIER_PROOF_MISS;
    attach_both();
    sets(ns[0], "k", "1");
    server.row[0].used = false;
    has(ns[0], "k", NULL);
    has(ns[1], "k", NULL);
    end();
}

T_CASE_ON(get_without_proof_asks_the_server, MISS)
{
    server.row[0].used = true;
    now_ms += 5000;
    T_CHECK(!in_memory(ns[1], &two, "k"));
    has(ns[1], "k", "old");
}

T_CASE(value_without_proof_is_stale_for_calls_that_take_it)
{
    for (unsigned stale = 0; stale < 2; stale++) {
        begin_proven(stale != 0 ? CELLAR_TIER_PROOF_STALE : CELLAR_TIER_PROOF_MISS);
        two.lease_answer = CELLAR_E_IO; /* the server is away */
        char buf[8];
        cellar_entry_info info = cellar_entry_info_default();
        cellar_get_opts o = { .struct_size = sizeof o, .flags = CELLAR_GET_ALLOW_STALE };
        now_ms += 5000;
        const cellar_err want = stale != 0 ? CELLAR_STALE : CELLAR_MISS;
        T_EQ_I64(cellar_get_with(ns[1], "k", 1, &o, buf, sizeof buf, NULL), want);
        o.info = &info;
        T_EQ_I64(cellar_get_with(ns[1], "k", 1, &o, buf, sizeof buf, NULL), want);
        info.flags = 0;
        T_EQ_I64(cellar_get_with(ns[1], "k", 1, &o, NULL, 0, NULL),
                 stale != 0 ? CELLAR_E_BUFFER : want);
        T_EQ_U64(info.flags & CELLAR_INFO_STALE, stale != 0 ? CELLAR_INFO_STALE : 0);
        T_EQ_I64(cellar_entry_info_get(ns[1], "k", 1, 0, &info), want);
        const cellar_err failed = stale != 0 ? CELLAR_STALE : CELLAR_E_LOADER;
        (void)loaded(1, NULL, load_fails, NULL, failed, NULL);
        (void)loaded(1, NULL, load_new, NULL, stale != 0 ? CELLAR_STALE : CELLAR_OK, NULL);
        end();
    }
}

/* ---- a soft end ---- */

T_CASE_ON(softly_ended_value_is_stale_and_never_fresh, STALE)
{
    const cellar_entry_info info = key_info(ns[1], "k");
    T_EQ_U64(info.flags & CELLAR_INFO_TAGGED, 0); /* the tag of its life is not one of the user */
    T_EQ_U64(found_by_calls(ns[1]), 8);
    T_AFTER_U64(end_softly(), found_by_calls(ns[1]), 0);
    T_EQ_I64(read_stale("old"), CELLAR_STALE);
    end_softly(); /* a second gap keeps it, too */
    two.host->proven(two.host->ctx, 0);
    T_EQ_U64(found_by_calls(ns[1]), 0);
    T_EQ_I64(read_stale("old"), CELLAR_STALE);
    two.host->proven(two.host->ctx, now_ms + 2000);
    T_AFTER_U64(sets(ns[1], "k", "own"), found_by_calls(ns[1]), 8);
    T_EQ_I64(read_stale("own"), CELLAR_OK);
}

T_CASE(hard_end_leaves_no_stale_value)
{
    for (unsigned i = 0; i < 6; i++) {
        begin_proven(CELLAR_TIER_PROOF_STALE);
        const cellar_bytes tag = { "t", 1 };
        cellar_set_opts o = { .struct_size = sizeof o, .tags = &tag, .tag_count = 1 };
        T_EQ_I64(cellar_set(ns[1], "k", 1, "old", 3, &o), CELLAR_OK);
        server.row[0].used = false;
        T_AFTER_I64(end_softly(), read_stale("old"), CELLAR_STALE);
        switch (i) {
        case 0: two.host->ended(two.host->ctx, CELLAR_TAG_HARD); break;
        case 1: two.host->changed(two.host->ctx, "k", 1); break;
        case 2: two.host->tag_ended(two.host->ctx, "t", 1, CELLAR_TAG_HARD); break;
        case 3: T_EQ_I64(cellar_clear(ns[1]), CELLAR_OK); break;
        case 4: T_EQ_I64(cellar_version_set(ns[1], 0, NULL), CELLAR_OK); break;
        default: (void)cellar_delete(ns[1], "k", 1); break;
        }
        T_EQ_I64(read_stale(NULL), CELLAR_MISS);
        end();
    }
}

T_CASE_ON(soft_end_without_stale_proof_is_hard, MISS)
{
    T_AFTER_I64(end_softly(), read_stale(NULL), CELLAR_MISS);
    T_EQ_U64(found_by_calls(ns[1]), 0);
}

/* End all entries while the reply is on its way. */
static void end_inside(shared_client *m, const char *call)
{
    if (strcmp(call, "get") == 0) { m->host->ended(m->host->ctx, CELLAR_TAG_SOFT); }
}

T_CASE_ON(reply_that_a_soft_end_overtook_is_not_stored, STALE)
{
    two.host->changed(two.host->ctx, "k", 1);
    server.row[0].used = true;
    two.inside = end_inside;
    has(ns[1], "k", "old");
    two.inside = NULL;
    server.row[0].used = false;
    T_EQ_I64(read_stale(NULL), CELLAR_MISS);
    T_EQ_U64(found_by_calls(ns[1]), 0);
}

static cellar_err load_over_a_soft_end(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    end_softly();
    return load_new(ld, key, len, ctx);
}

T_CASE_ON(load_that_a_soft_end_overtook_is_stale, STALE)
{
    two.host->changed(two.host->ctx, "k", 1);
    two.lease_answer = CELLAR_E_IO; /* memory only */
    (void)loaded(1, NULL, load_over_a_soft_end, NULL, CELLAR_OK, NULL);
    T_EQ_U64(found_by_calls(ns[1]), 0);
    T_EQ_I64(read_stale("new"), CELLAR_STALE);
}

T_CASE_ON(refresh_of_a_softly_ended_value_asks_the_server_first, STALE)
{
    server.row[0].used = true;
    end_softly();
    T_AFTER_U64(loaded(1, NULL, load_fails, NULL, CELLAR_OK, "old"), two.leases, 0);
    T_EQ_U64(found_by_calls(ns[1]), 8);
}

static cellar_err load_same(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key, (void)len, (void)ctx;
    return cellar_load_not_modified(ld);
}

T_CASE_ON(value_found_the_same_is_fresh_until_the_next_soft_end, STALE)
{
    two.lease_answer = CELLAR_E_IO;
    end_softly();
    T_AFTER_U64(loaded(1, NULL, load_same, NULL, CELLAR_OK, NULL), found_by_calls(ns[1]), 8);
    T_AFTER_U64(end_softly(), found_by_calls(ns[1]), 0);
    T_EQ_I64(read_stale("old"), CELLAR_STALE);
    two.lease_answer = CELLAR_OK; /* with a lease the same value is filled */
    T_AFTER_U64(loaded(1, NULL, load_same, NULL, CELLAR_OK, NULL), two.fills, 1);
}

T_CASE_ON(load_without_proof_runs_the_loader, MISS)
{
    (void)loaded(1, NULL, load_new, NULL, CELLAR_OK, "old");
    now_ms += 5000;
    (void)loaded(1, LOAD_OPTS(.flags = CELLAR_LOAD_PIN), load_new, NULL, CELLAR_OK, "new");
}

static cellar_err load_new_each(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    for (size_t i = 0; i < count; i++) {
        T_EQ_I64(cellar_load_select(ld, i), CELLAR_OK);
        T_EQ_I64(load_new(ld, keys[i].data, keys[i].len, ctx), CELLAR_OK);
    }
    return CELLAR_OK;
}

T_CASE(bulk_load_without_proof_runs_the_loader)
{
    for (unsigned own = 0; own < 2; own++) { /* with room of the caller, and without */
        char buf[8];
        begin_proven(CELLAR_TIER_PROOF_MISS);
        cellar_result r = cellar_result_default();
        r.buf = own != 0 ? buf : NULL;
        r.buf_cap = own != 0 ? sizeof buf : 0;
        cellar_load_item it = { .key = "k", .key_len = 1, .result = &r };
        T_EQ_I64(cellar_get_or_load_many(ns[1], &it, 1, NULL, load_new_each, NULL), CELLAR_OK);
        T_EQ_I64(it.status, CELLAR_OK);
        T_EQ_MEM(r.value, "old", 3);
        cellar_result_free(&r);
        now_ms += 5000;
        T_EQ_I64(cellar_get_or_load_many(ns[1], &it, 1, NULL, load_new_each, NULL), CELLAR_OK);
        T_EQ_I64(it.status, CELLAR_OK);
        T_EQ_MEM(r.value, "new", 3);
        cellar_result_free(&r);
        end();
    }
}

T_CASE_ON(namespace_without_handles_hears_changes, MISS)
{
    server.row[0].used = true;
    for (unsigned all = 0; all < 2; all++) {
        T_EQ_I64(cellar_namespace_close(ns[1]), CELLAR_OK);
        if (all != 0) { two.host->ended(two.host->ctx, 0); } else { sets(ns[0], "k", "new"); }
        server.row[0].used = false;
        T_EQ_I64(cellar_namespace_open(root[1], "users", NULL, &ns[1]), CELLAR_OK);
        has(ns[1], "k", NULL);
        sets(ns[1], "k", "again");
        has(ns[1], "k", "again");
    }
    now_ms += 5000;
    server.row[0].used = false;
    has(ns[1], "k", NULL); /* it needs a proof as before */
}

T_MAIN("api_tier_get")
