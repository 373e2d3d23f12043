/* SPDX-License-Identifier: MIT
 *
 * Aim:    Reads of one process never go backwards: a value that a read brought from the server past
 *         memory is not followed by the older one of memory. An equal or a newer entry stays.
 * Method: Two stores are two clients of a server in memory. The value in the server changes without
 *         a report. The proof ends before a read, and comes back behind it. A clock of the test. */
#include "tests/support/asleep.h"
#include "tests/support/spaces.h"
#include "tests/support/tier_clients.h"

/* Change the value in the server; the clients do not hear it. */
static void change_unheard(const char *value)
{
    shared_row *r = shared_find(&server, "k", 1, false);
    T_REQUIRE(r != NULL && r->there);
    r->value_len = strlen(value);
    memcpy(r->value, value, r->value_len);
    r->check = ++server.next_check;
}

static void prove(void)
{
    one.host->proven(one.host->ctx, now_ms + 2000);
    two.host->proven(two.host->ctx, now_ms + 2000);
}

/* Open both clients with proofs; memory of the second one has "old". */
static void begin_old(cellar_tier_proof proof)
{
    make_clients();
    one.table.proof = two.table.proof = proof;
    two.table.get_many = shared_get_many;
    two.table.ask = shared_ask;
    two.table.ask_lease = shared_ask_lease;
    attach_both();
    prove();
    sets(ns[0], "k", "old");
    has(ns[1], "k", "old");
    T_CHECK(in_memory(ns[1], &two, "k"));
}
#define OLD(fn) T_WITHIN(fn, begin_old(CELLAR_TIER_PROOF_MISS), end())

static cellar_err load_never(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    T_CHECK(!"the loader runs");
    return load_fails(ld, key, len, ctx);
}

static void take(cellar_err err, const void *value, size_t len, const char *want)
{
    T_EQ_I64(err, CELLAR_OK);
    T_EQ_U64(len, strlen(want));
    if (len == strlen(want)) { T_EQ_MEM(value, want, len); }
}

enum { BY_GET, BY_WITH, BY_VERSION, BY_PEEK, BY_ALLOC, BY_MANY, BY_LOAD, BY_BULK, BY_LEASE, WAYS };

static void read_two(const char *want)
{
    char buf[2][8];
    size_t hits = 0;
    cellar_get_item it[2] = { item_of("k", buf[0], 8), item_of("none", buf[1], 8) };
    T_EQ_I64(cellar_get_many(ns[1], it, 2, &hits), CELLAR_OK);
    take(it[0].status, buf[0], it[0].value_len, want);
}

static cellar_err load_no_keys(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    (void)keys, (void)ctx;
    T_EQ_U64(count, 1);
    return cellar_load_fail(ld, 1, 0, 0);
}

static void load_two(const char *want)
{
    cellar_result r[2] = { cellar_result_default(), cellar_result_default() };
    cellar_load_item it[2] = { { "k", 1, &r[0], CELLAR_OK, 0 }, { "other", 5, &r[1], CELLAR_OK, 0 } };
    (void)cellar_get_or_load_many(ns[1], it, 2, NULL, load_no_keys, NULL);
    take(it[0].status, r[0].value, r[0].value_len, want);
    for (unsigned i = 0; i < 2; i++) { cellar_result_free(&r[i]); }
}

/* A lease that is asked for is answered with the value, which the next call finds. */
static void read_by_lease(const char *want)
{
    cellar_result r = cellar_result_default();
    cellar_lease lease = { { 0 } };
    T_EQ_I64(cellar_lease_acquire(ns[1], "k", 1, NULL, NULL, &lease, &r), CELLAR_PENDING);
    shared_answer(&two);
    has(ns[1], "k", want);
}

/* Read the key of the second client in one of the ways, past memory. */
static void reads(unsigned way, const char *want)
{
    char buf[8];
    size_t len = 0;
    void *copy = NULL;
    cellar_get_opts o = cellar_get_opts_default();
    cellar_entry_info info = cellar_entry_info_default();
    cellar_err err = CELLAR_OK;
    switch (way) {
    case BY_GET: has(ns[1], "k", want); break;
    case BY_VERSION:
        o.flags = CELLAR_GET_WANT_VERSION;
        o.info = &info;
        /* fall through */
    case BY_WITH:
    case BY_PEEK:
        if (way == BY_PEEK) { o.flags = CELLAR_GET_PEEK; }
        err = cellar_get_with(ns[1], "k", 1, &o, buf, sizeof buf, &len);
        take(err, buf, len, want);
        break;
    case BY_ALLOC:
        err = cellar_get_alloc(ns[1], "k", 1, &copy, &len);
        take(err, copy, len, want);
        cellar_free(copy);
        break;
    case BY_MANY: read_two(want); break;
    case BY_LOAD:
        (void)loaded(1, NULL, load_never, NULL, CELLAR_OK, want);
        break;
    case BY_BULK: load_two(want); break;
    default: read_by_lease(want); break;
    }
}

/* Change the key unheard, read it past memory, and read it again with a proof. `passing`: memory
 * must not keep the reply. */
static void read_past_memory(unsigned way, cellar_tier_proof proof, bool passing)
{
    begin_old(proof);
    two.no_keep = passing;
    change_unheard("new");
    now_ms += 2000;
    reads(way, "new");
    prove();
    has(ns[1], "k", "new");
    two.no_keep = false;
    has(ns[1], "k", "new");
    T_CHECK(in_memory(ns[1], &two, "k"));
    end();
}

T_CASE(entry_that_differs_from_a_reply_ends)
{
    for (unsigned way = 0; way < WAYS; way++) {
        read_past_memory(way, CELLAR_TIER_PROOF_MISS, false);
        read_past_memory(way, CELLAR_TIER_PROOF_MISS, true);
        if (way >= BY_LOAD) { continue; } /* a load takes the stale value */
        read_past_memory(way, CELLAR_TIER_PROOF_STALE, false);
    }
}

/* A version comes from the server, also with a proof. */
T_CASE_ON(entry_that_differs_from_a_version_read_ends, OLD)
{
    change_unheard("new");
    reads(BY_VERSION, "new");
    has(ns[1], "k", "new");
}

T_CASE(entry_that_equals_a_reply_stays)
{
    for (unsigned way = 0; way < WAYS; way++) {
        begin_old(CELLAR_TIER_PROOF_MISS);
        now_ms += 2000;
        reads(way, "old");
        prove();
        T_CHECK(in_memory(ns[1], &two, "k"));
        end();
    }
}

T_CASE_ON(value_ends_by_a_negative_reply, OLD)
{
    char buf[8];
    const cellar_stats before = space_stats(ns[1]);
    shared_find(&server, "k", 1, false)->negative = true;
    now_ms += 2000;
    for (unsigned i = 0; i < 3; i++) {
        T_EQ_I64(cellar_get(ns[1], "k", 1, buf, sizeof buf, NULL), CELLAR_ABSENT);
        prove();
    }
    const cellar_stats after = space_stats(ns[1]);
    T_EQ_U64(after.ended[CELLAR_CAUSE_REMOTE], before.ended[CELLAR_CAUSE_REMOTE] + 1);
    T_EQ_U64(after.entries, before.entries);
}

T_CASE_ON(reply_over_an_expired_entry_counts_its_end, OLD)
{
    uint64_t id;
    sets(ns[0], "k", "new");
    shared_row *r = shared_find(&server, "k", 1, false);
    r->deadline_ms = now_ms + 100;
    has(ns[1], "k", "new");
    const cellar_stats before = space_stats(ns[1]);
    T_EQ_I64(cellar_listener_add(ns[1], 0, hear, NULL, &id), CELLAR_OK);
    now_ms += 200;
    r->deadline_ms = now_ms + 1000; /* another process has set it */
    has(ns[1], "k", "new");
    T_CHECK(in_memory(ns[1], &two, "k"));
    const cellar_stats after = space_stats(ns[1]);
    T_EQ_U64(heard[CELLAR_CAUSE_EXPIRED], 1);
    T_EQ_U64(after.ended[CELLAR_CAUSE_EXPIRED], before.ended[CELLAR_CAUSE_EXPIRED] + 1);
    T_EQ_U64(after.namespace_entries, before.namespace_entries);
}

/* ---- several at a time ---- */

static _Atomic int gate; /* 1: a reply waits; 2: it may go on */
static const char *steps; /* what the next calls of `get` do while their reply is on its way */

static void step_inside(shared_client *m, const char *call)
{
    const bool moves = strcmp(call, "get") == 0 || strcmp(call, "filled") == 0;
    const char step = moves && steps != NULL && *steps != '\0' ? *steps++ : 0;
    switch (step) {
    case 'r': has(ns[1], "k", "old"); break; /* another slow read */
    case 'c':
        change_unheard("new");
        has(ns[1], "k", "new");
        break;
    case 'p': /* a newer reply that memory does not keep */
    case 'l': /* .. that does not fit its caller */
        change_unheard("new");
        m->no_keep = step == 'p';
        if (step == 'p') { has(ns[1], "k", "new"); }
        else { T_EQ_I64(cellar_get(ns[1], "k", 1, NULL, 0, NULL), CELLAR_E_BUFFER); }
        m->no_keep = false;
        break;
    case 'a': /* a newer reply that a heard change has overtaken */
        change_unheard("new");
        shared_answer(m);
        break;
    case 'e': /* a newer reply that memory keeps, and that ends by its time there */
        change_unheard("new");
        has(ns[1], "k", "new");
        T_CHECK(in_memory(ns[1], &two, "k"));
        now_ms += 11;
        break;
    case 'w': /* the reply waits */
        atomic_store(&gate, 1);
        while (atomic_load(&gate) != 2) { sched_yield(); }
        break;
    case 'h': /* a change is heard, then a reply of before the fill comes */
        m->host->changed(m->host->ctx, "k", 1);
        change_unheard("old");
        has(ns[1], "k", "old");
        change_unheard("load");
        break;
    case 'o':
        m->host->changed(m->host->ctx, "k", 1);
        sets(ns[1], "k", "own");
        break;
    default: break;
    }
}

/* The second client has no entry of the key. */
static void begin_steps(const char *what)
{
    begin_old(CELLAR_TIER_PROOF_MISS);
    two.host->changed(two.host->ctx, "k", 1);
    two.inside = step_inside;
    steps = what;
}

T_CASE(older_reply_behind_a_newer_one_is_not_stored)
{
    static const char *const older[] = { "c", "rc" }; /* two: the second one finds no entry */
    for (unsigned i = 0; i < 2; i++) {
        begin_steps(older[i]);
        has(ns[1], "k", "old"); /* it began first */
        has(ns[1], "k", "new");
        T_CHECK(in_memory(ns[1], &two, "k"));
        end();
    }
}

T_CASE(reply_older_than_one_that_memory_did_not_keep_is_not_stored)
{
    static const char *const newer[] = { "p", "l" };
    for (unsigned i = 0; i < 2; i++) {
        begin_steps(newer[i]);
        has(ns[1], "k", "old"); /* it began first */
        T_CHECK(!in_memory(ns[1], &two, "k"));
        has(ns[1], "k", "new");
        T_CHECK(in_memory(ns[1], &two, "k"));
        end();
    }
}

T_CASE(reply_older_than_an_overtaken_one_is_not_stored)
{
    cellar_result r = cellar_result_default();
    cellar_lease lease = { { 0 } };
    begin_steps("a");
    T_EQ_I64(cellar_lease_acquire(ns[1], "k", 1, NULL, NULL, &lease, &r), CELLAR_PENDING);
    two.host->changed(two.host->ctx, "k", 1);
    has(ns[1], "k", "old"); /* the server read it before the newer one, which has answered */
    T_CHECK(!in_memory(ns[1], &two, "k"));
    has(ns[1], "k", "new");
    T_CHECK(in_memory(ns[1], &two, "k"));
    end();
}

static cellar_err load_one(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key, (void)len, (void)ctx;
    return cellar_load_value(ld, "load", 4);
}

/* Load the key; `what` happens when the server has the value and memory has not. */
static void load_while(const char *what, const char *then)
{
    begin_steps(what);
    two.quiet_fill = true;
    shared_find(&server, "k", 1, false)->there = false;
    T_AFTER_U64(loaded(1, NULL, load_one, NULL, CELLAR_OK, "load"), *steps, '\0');
    has(ns[1], "k", then);
    T_CHECK(in_memory(ns[1], &two, "k"));
    end();
}

T_CASE(loaded_value_older_than_a_reply_is_not_stored)
{
    load_while("-c", "new"); /* one look, then the fill */
    load_while("-p", "new");
}

T_CASE(reply_older_than_a_fill_does_not_stay) { load_while("-h", "load"); }

T_CASE(reply_older_than_one_that_has_left_memory_is_not_stored)
{
    make_clients();
    two.table.max_ttl_ms = 10;
    one.table.proof = two.table.proof = CELLAR_TIER_PROOF_MISS;
    attach_both();
    prove();
    sets(ns[0], "k", "old");
    two.inside = step_inside;
    steps = "e";
    has(ns[1], "k", "old"); /* it began first */
    T_CHECK(!in_memory(ns[1], &two, "k"));
    has(ns[1], "k", "new");
    end();
}

static _Atomic int loader; /* thread that has begun its load last */

static void *load_there(void *want)
{
    atomic_store(&loader, asleep_self());
    (void)loaded(1, NULL, load_never, NULL, CELLAR_OK, want);
    return NULL;
}

/* The second load begins after a read has returned the newer value. It finds the first load on its
 * way, with an older reply. */
T_CASE(load_takes_no_older_reply_from_a_load_before)
{
    static char old[] = "old", new[] = "new";
    pthread_t first, second;
    begin_steps("w");
    atomic_store(&gate, 0);
    T_REQUIRE(pthread_create(&first, NULL, load_there, old) == 0);
    while (atomic_load(&gate) != 1) { sched_yield(); }
    change_unheard("new");
    reads(BY_PEEK, "new");
    atomic_store(&loader, 0);
    T_REQUIRE(pthread_create(&second, NULL, load_there, new) == 0);
    while (!asleep(atomic_load(&loader))) { sched_yield(); }
    atomic_store(&gate, 2);
    T_EQ_I64(pthread_join(first, NULL), 0);
    T_EQ_I64(pthread_join(second, NULL), 0);
    has(ns[1], "k", "new");
    end();
}

static _Atomic unsigned loaders;

/* Load while another call waits for the load. */
static cellar_err load_joined(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    if (atomic_fetch_add(&loaders, 1) == 0) {
        atomic_store(&gate, 1);
        while (!asleep(atomic_load(&loader))) { sched_yield(); }
    }
    return load_one(ld, key, len, ctx);
}

static void *load_refused(void *ctx)
{
    if (ctx != NULL) { atomic_store(&loader, asleep_self()); }
    (void)loaded(1, NULL, load_joined, NULL, CELLAR_OK, "load");
    return NULL;
}

/* The tier takes no value and gives no number: calls that wait get the value all the same. */
T_CASE(load_that_the_tier_refuses_answers_all_that_joined)
{
    pthread_t first, second;
    begin_steps("");
    T_EQ_I64(cellar_delete_by_tag(ns[1], "t", 1, CELLAR_TAG_HARD), CELLAR_OK); /* an epoch begins */
    shared_row *row = shared_find(&server, "k", 1, false);
    row->there = false;
    atomic_store(&gate, 0);
    atomic_store(&loader, 0);
    atomic_store(&loaders, 0);
    T_REQUIRE(pthread_create(&first, NULL, load_refused, NULL) == 0);
    while (atomic_load(&gate) != 1) { sched_yield(); }
    server.replies += 1000; /* above the epoch */
    row->there = true;
    reads(BY_PEEK, "old");
    row->there = false;
    two.answer = CELLAR_INVALIDATED;
    T_REQUIRE(pthread_create(&second, NULL, load_refused, &loader) == 0);
    T_EQ_I64(pthread_join(first, NULL), 0);
    T_EQ_I64(pthread_join(second, NULL), 0);
    T_EQ_U64(loaders, 1);
    two.answer = CELLAR_OK;
    end();
}

static cellar_err refuse(const void *old, size_t len, cellar_buf *out, void *want)
{
    (void)out;
    take(CELLAR_OK, old, len, want);
    return CELLAR_E_INVAL;
}

T_CASE_ON(entry_older_than_what_an_update_has_seen_ends, OLD)
{
    static char old[] = "old", new[] = "new";
    T_EQ_I64(cellar_update(ns[1], "k", 1, NULL, refuse, old), CELLAR_E_INVAL);
    T_CHECK(in_memory(ns[1], &two, "k"));
    change_unheard("new");
    T_EQ_I64(cellar_update(ns[1], "k", 1, NULL, refuse, new), CELLAR_E_INVAL);
    has(ns[1], "k", "new");
}

T_CASE_ON(entry_of_another_length_than_a_reply_ends, OLD)
{
    cellar_entry_info info = cellar_entry_info_default();
    change_unheard("longer");
    T_EQ_I64(cellar_entry_info_get(ns[1], "k", 1, CELLAR_GET_WANT_VERSION, &info), CELLAR_OK);
    T_EQ_U64(info.value_len, 6);
    has(ns[1], "k", "longer");
}

T_CASE(entry_of_a_change_since_the_look_stays_and_is_the_answer)
{
    begin_steps("o");
    has(ns[1], "k", "own");
    T_CHECK(in_memory(ns[1], &two, "k"));
    end();
    begin_steps("o");
    reads(BY_VERSION, "own"); /* only the server has a version: it is asked again */
    T_CHECK(in_memory(ns[1], &two, "k"));
    end();
}

T_MAIN("api_tier_backwards")
