/* SPDX-License-Identifier: MIT
 *
 * Aim:    Two processes load a key once: leases of the server exclude the second load, waits for
 *         another process end by each change, limit and close, and no lost process or thread
 *         keeps a lease. A fill that does not see changes follows none.
 * Method: Two stores are two clients of a server in memory that grants leases. The server acts
 *         in the middle of calls. A clock of the test. */
#include "tests/support/asleep.h"
#include "tests/support/spaces.h"
#include "tests/support/tier_clients.h"

static _Atomic bool first, held; /* a load, a fill or a deleter waits for the other one */

static cellar_err load_none(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key, (void)len, (void)ctx;
    return cellar_load_absent(ld);
}

/* ---- leases ---- */

static cellar_result loaded_by(intptr_t i, cellar_loader_fn fn, cellar_err want)
{
    return loaded((unsigned)i, NULL, fn, (void *)i, want, want == CELLAR_OK ? NULL : "");
}

static _Atomic int joiner; /* thread of the last call */

static void *load_in_thread(void *arg)
{
    atomic_store(&joiner, asleep_self());
    const cellar_result r = loaded((unsigned)(intptr_t)arg, NULL, load_counted, arg, CELLAR_OK, "v");
    T_EQ_U64(r.flags, 0);
    return NULL;
}

#define STORE(fn) T_WITHIN(fn, begin_leases(), end())
#define STORE2(fn) T_WITHIN(fn, begin_far(), end())

T_CASE_ON(key_is_loaded_once_by_two_processes, STORE)
{
    waits = true;
    const pthread_t thread = beside(load_in_thread, (void *)1);
    (void)load_in_thread((void *)0);
    T_AFTER_U64(joined(thread), loads[0] + loads[1], 1);
    T_EQ_U64(one.fills + two.fills, 1);
    T_EQ_U64(one.unleases + two.unleases, 0);
    has(ns[0], "k", "v");
    has(ns[1], "k", "v");
}

T_CASE_ON(change_during_a_load_ends_its_lease, STORE)
{
    const cellar_result r = loaded(1, NULL, load_during_set, NULL, CELLAR_OK, NULL);
    T_EQ_U64(two.fills, 1);
    T_CHECK((r.flags & CELLAR_RESULT_INVALIDATED) != 0);
    has(ns[1], "k", "theirs");
    has(ns[0], "k", "theirs");
}

T_CASE_ON(failed_load_gives_the_lease_back, STORE)
{
    T_AFTER_U64(loaded_by(0, load_fails, CELLAR_E_LOADER), one.unleases, 1);
    T_AFTER_U64(loaded_by(1, load_counted, CELLAR_OK), loads[1], 1);
    T_EQ_U64(two.fills, 1);
}

/* Let another process set a key, this one read it, and the other one delete it unheard. */
static void set_and_drop(shared_client *m, const char *call)
{
    if (strcmp(call, "lease") != 0) { return; }
    m->inside = NULL;
    sets(ns[1], "k", "theirs");
    has(ns[0], "k", "theirs");
    T_CHECK(in_memory(ns[0], &one, "k"));
    server.row[0].used = false;
}

static cellar_err load_looks_into_memory(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    T_CHECK(!in_memory(ns[0], &one, "k"));
    return load_counted(ld, key, len, ctx);
}

T_CASE_ON(lease_ends_a_value_that_came_behind_the_look, STORE)
{
    one.late = true;
    one.inside = set_and_drop;
    T_EQ_U64(loaded_by(0, load_looks_into_memory, CELLAR_OK).flags, 0);
    T_FIELDS(one, unleases, 1, fills, 1);
    has(ns[0], "k", "v");
    has(ns[1], "k", "v");
}

static void load_again(const cellar_event *e, void *ctx)
{
    hear(e, ctx);
    (void)loaded_by(0, load_counted, CELLAR_OK);
}

T_CASE_ON(listener_of_a_value_that_a_lease_ends_loads_the_key, STORE)
{
    uint64_t id = 0;
    T_EQ_I64(cellar_listener_add(ns[0], CELLAR_CAUSE_BIT(REMOTE), load_again, NULL,
                                 &id), CELLAR_OK);
    one.late = true;
    one.inside = set_and_drop;
    T_AFTER_U64(loaded_by(0, load_counted, CELLAR_OK), heard[CELLAR_CAUSE_REMOTE], 1);
    T_EQ_U64(loads[0], 1);
    T_EQ_I64(cellar_listener_remove(ns[0], id), CELLAR_OK);
}

/* Hold a lease until another call of this process waits, which begins behind the lease. */
static cellar_err load_held(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key, (void)len;
    T_EQ_I64(pthread_create(ctx, NULL, load_in_thread, (void *)(intptr_t)0), 0);
    while (!asleep(atomic_load(&joiner))) { (void)sched_yield(); }
    return cellar_load_value(ld, "v", 1);
}

static pthread_t behind;

/* Delete the key that a load reads now, and hide that by a lease of a load beside it. */
static void drop_beside(shared_client *m, const char *call)
{
    if (strcmp(call, "get") != 0) { return; }
    m->inside = NULL;
    server.row[0].used = false;
    (void)loaded(0, LOAD_OPTS(.flags = CELLAR_LOAD_NO_JOIN), load_held, &behind, CELLAR_OK, NULL);
}

T_CASE_ON(call_behind_a_lease_does_not_join_a_load_before_it, STORE)
{
    atomic_store(&joiner, 0);
    sets(ns[1], "k", "theirs");
    one.inside = drop_beside;
    T_AFTER_I64(loaded_by(0, load_counted, CELLAR_OK), pthread_join(behind, NULL), 0);
    T_EQ_U64(loads[0], 0);
    has(ns[0], "k", "v");
}

static cellar_err load_ends_thread(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)ld, (void)key, (void)len, (void)ctx;
    pthread_exit(NULL);
}

static void *load_and_exit(void *arg)
{
    cellar_result r = cellar_result_default();
    (void)cellar_get_or_load(ns[0], "k", 1, NULL, load_ends_thread, NULL, &r);
    return arg;
}

T_CASE_ON(thread_exit_in_loader_gives_the_lease_back, STORE)
{
    const pthread_t thread = beside(load_and_exit, NULL);
    T_AFTER_U64(joined(thread), one.unleases, 1);
    (void)loaded_by(1, load_counted, CELLAR_OK);
}

T_CASE_ON(negative_result_is_filled, STORE)
{
    cellar_result r = cellar_result_default();
    cellar_load_opts o = { .struct_size = sizeof o, .negative_ttl_ms = 1000 };
    T_EQ_I64(cellar_get_or_load(ns[0], "k", 1, &o, load_none, NULL, &r), CELLAR_ABSENT);
    T_EQ_U64(one.fills, 1);
    T_EQ_I64(cellar_get_or_load(ns[1], "k", 1, &o, load_counted, NULL, &r), CELLAR_ABSENT);
}

static void *join_load(void *arg)
{
    atomic_store(&joiner, asleep_self());
    cellar_result r = loaded_by(0, load_counted, CELLAR_OK);
    T_FIELDS(r, source, CELLAR_SOURCE_JOINED, flags, CELLAR_RESULT_NOT_SHARED);
    return arg;
}

static cellar_err load_joined(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    pthread_t *thread = ctx;
    T_EQ_I64(pthread_create(thread, NULL, join_load, NULL), 0);
    while (!asleep(atomic_load(&joiner))) { (void)sched_yield(); }
    return load_counted(ld, key, len, NULL);
}

T_CASE_ON(load_without_a_lease_reaches_memory_only, STORE)
{
    pthread_t thread;
    atomic_store(&joiner, 0);
    one.lease_answer = CELLAR_E_IO;
    T_EQ_U64(loaded(0, NULL, load_joined, &thread, CELLAR_OK, NULL).flags, CELLAR_RESULT_NOT_SHARED);
    T_EQ_I64(pthread_join(thread, NULL), 0);
    T_EQ_U64(loads[0], 1);
    T_EQ_U64(one.fills + one.puts, 0);
    T_CHECK(in_memory(ns[0], &one, "k"));
    has(ns[1], "k", NULL);
}

T_CASE_ON(load_behind_a_silent_get_asks_no_more_and_is_not_kept, STORE)
{
    one.get_answer = CELLAR_E_TIMEOUT;
    T_AFTER_U64(loaded_by(0, load_counted, CELLAR_OK), one.gets, 1);
    T_EQ_U64(one.leases + one.fills + one.puts, 0);
    T_CHECK(!in_memory(ns[0], &one, "k"));
    one.get_answer = CELLAR_OK;
    T_AFTER_U64(loaded_by(0, load_counted, CELLAR_OK), one.fills, 1);
    has(ns[0], "k", "v");
}

/* ---- a fill that does not see changes ---- */

#define NOT_KEPT \
    (CELLAR_RESULT_NOT_STORED | CELLAR_RESULT_INVALIDATED | CELLAR_RESULT_NOT_SHARED)

static void begin_blind(void)
{
    make_clients();
    one.table.blind_fill = 1;
    attach_both();
}

/* End the load of the key by a change of this process, or by one that it hears. */
static cellar_err load_during_change(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    if (ctx != NULL) {
        (void)cellar_delete(ns[0], key, len);
    } else {
        one.host->changed(one.host->ctx, key, len);
    }
    return cellar_load_value(ld, "old", 3);
}

T_CASE(blind_fill_does_not_follow_a_change)
{
    static char own;
    for (unsigned i = 0; i < 2; i++) {
        begin_blind();
        const cellar_result r = loaded(0, NULL, load_during_change, i ? &own : NULL, CELLAR_OK, "old");
        T_EQ_U64(r.flags, NOT_KEPT);
        T_FIELDS(one, fills, 0, unleases, 1);
        has(ns[0], "k", NULL);
        has(ns[1], "k", NULL);
        end();
    }
}

/* ---- loads beside a set on its way ---- */

static const cellar_load_opts *beside_opts;
static cellar_loader_fn beside_fn;
static pthread_t running;

static cellar_err load_fallback(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key, (void)len, (void)ctx;
    return cellar_load_value(ld, "fallback", 8);
}

static cellar_err load_waits(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    atomic_store(&first, true);
    while (atomic_load(&held)) { (void)sched_yield(); }
    return load_counted(ld, key, len, ctx);
}

static void *load_once(void *arg)
{
    cellar_result r = cellar_result_default();
    (void)cellar_get_or_load(ns[0], "k", 1, beside_opts, beside_fn, NULL, &r);
    cellar_result_free(&r);
    return arg;
}

/* The set is in memory, not on the server. Memory loses it to a heard change, and loads. */
static void load_before_put(shared_client *m, const char *call)
{
    if (strcmp(call, "put") != 0) { return; }
    m->inside = NULL;
    m->host->changed(m->host->ctx, "k", 1);
    running = beside(load_once, NULL);
    if (beside_fn != load_waits) { joined(running); }
    while (beside_fn == load_waits && !atomic_load(&first)) { (void)sched_yield(); }
}

/* Its value, its failure and its fallback end with the set, and no later call joins it. */
T_CASE(load_beside_a_set_on_its_way_to_the_server_keeps_nothing)
{
    static const cellar_loader_fn fns[] = { load_counted, load_fails, load_fails, load_waits };
    for (unsigned i = 0; i < 8; i++) {
        const unsigned way = i / 2;
        cellar_load_opts o = { .struct_size = sizeof o, .error_ttl_ms = way == 1 ? 1000 : 0 };
        if (way == 2) { o.fallback[0] = (cellar_fallback){ load_fallback, NULL }; }
        make_clients();
        loads[0] = 0;
        if (i % 2 != 0) { /* without leases */
            one.table.lease = NULL;
            one.table.fill = NULL;
            one.table.unlease = NULL;
        }
        one.quiet_fill = true;
        attach_both();
        atomic_store(&first, false);
        atomic_store(&held, way == 3);
        beside_opts = &o;
        beside_fn = fns[way];
        one.inside = load_before_put;
        sets(ns[0], "k", "set");
        T_EQ_U64(one.leases, 0);
        (void)loaded(0, LOAD_OPTS(.flags = CELLAR_LOAD_NO_WAIT), load_counted, NULL,
                     CELLAR_OK, "set");
        atomic_store(&held, false);
        if (way == 3) { joined(running); }
        T_EQ_U64(loads[0], way % 3 == 0);
        has(ns[0], "k", "set");
        has(ns[1], "k", "set");
        end();
    }
}

static pthread_t deleting;
static _Atomic int deleter; /* its tid */
static bool all;            /* it clears the namespace */

static void *delete_key(void *arg)
{
    atomic_store(&deleter, asleep_self());
    (void)(all ? cellar_clear(ns[0]) : cellar_delete(ns[0], "k", 1));
    return arg;
}

/* Delete the key while it is filled. The delete reaches the server, or waits. */
static void delete_in_fill(shared_client *m, const char *call)
{
    if (strcmp(call, all ? "clear" : "remove") == 0) { atomic_store(&held, false); }
    if (strcmp(call, "fill") != 0) { return; }
    atomic_store(&held, true);
    atomic_store(&deleter, 0);
    T_EQ_I64(pthread_create(&deleting, NULL, delete_key, NULL), 0);
    while (atomic_load(&held) && !asleep(atomic_load(&deleter))) { (void)sched_yield(); }
    T_CHECK(atomic_load(&held));
    T_EQ_U64(m->removes + m->clears, 0);
}

T_CASE(delete_waits_for_a_blind_fill)
{
    for (unsigned i = 0; i < 2; i++) {
        all = i != 0;
        begin_blind();
        one.inside = delete_in_fill;
        T_AFTER_U64(loaded_by(0, load_counted, CELLAR_OK), one.fills, 1);
        T_EQ_I64(pthread_join(deleting, NULL), 0);
        T_EQ_U64(one.removes + one.clears, 1);
        T_CHECK(!server.row[0].used);
        end();
    }
}

static cellar_err load_until_released(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key, (void)len, (void)ctx;
    atomic_store(&first, true);
    while (atomic_load(&held)) { (void)sched_yield(); }
    return cellar_load_value(ld, "old", 3);
}

static void *load_released(void *arg)
{
    T_EQ_U64(loaded_by(0, load_until_released, CELLAR_OK).flags, NOT_KEPT);
    return arg;
}

/* The load ends while the tier deletes. */
static void end_load_inside(shared_client *m, const char *call)
{
    (void)m;
    if (strcmp(call, "clear") != 0 && strcmp(call, "pattern") != 0) { return; }
    atomic_store(&held, false);
    T_EQ_I64(pthread_join(deleting, NULL), 0);
}

T_CASE(blind_fill_does_not_follow_a_delete_of_many)
{
    for (unsigned i = 0; i < 2; i++) {
        begin_blind();
        one.inside = end_load_inside;
        atomic_store(&held, true);
        atomic_store(&first, false);
        T_EQ_I64(pthread_create(&deleting, NULL, load_released, NULL), 0);
        while (!atomic_load(&first)) { (void)sched_yield(); }
        T_EQ_I64(i == 0 ? cellar_clear(ns[0]) : cellar_delete_by_pattern(ns[0], "*", 1, NULL),
                 CELLAR_OK);
        T_FIELDS(one, fills, 0, unleases, 1);
        end();
    }
}

T_CASE_ON(lost_fill_leaves_memory_alone, STORE)
{
    one.answer = CELLAR_DEFERRED;
    cellar_result r = loaded_by(0, load_counted, CELLAR_OK);
    T_CHECK((r.flags & CELLAR_RESULT_NOT_STORED) != 0);
    T_CHECK((r.flags & CELLAR_RESULT_INVALIDATED) == 0);
    one.answer = CELLAR_OK;
    has(ns[0], "k", NULL);
}

T_CASE_ON(lease_of_a_dead_process_ends_by_time, STORE)
{
    int64_t ms = 1500;
    (void)hold_lease("k", 1000);
    const pthread_t thread = beside(pass_time, &ms);
    (void)loaded_by(0, load_counted, CELLAR_OK);
    T_AFTER_U64(joined(thread), loads[0], 1);
}

T_CASE_ON(wait_for_another_process_ends_at_its_limit, STORE)
{
    int64_t ms = 100000;
    (void)hold_lease("k", 1000000);
    const pthread_t thread = beside(pass_time, &ms);
    (void)loaded_by(0, load_counted, CELLAR_E_TIMEOUT);
    T_AFTER_U64(joined(thread), loads[0], 0);
}

static void *load_and_wait(void *tid)
{
    atomic_store((_Atomic int *)tid, asleep_self());
    (void)loaded_by(0, load_counted, CELLAR_OK);
    return tid;
}

T_CASE(wait_for_another_process_ends_by_changes_of_its_key)
{
    static _Atomic int tid;
    atomic_store(&tid, 0);
    begin_leases();
    (void)hold_lease("k", 1000000);
    const pthread_t thread = beside(load_and_wait, (void *)&tid);
    while (asked_leases() < 2) { (void)sched_yield(); } /* hold_lease was the first */
    for (unsigned i = 0; i < 20; i++) {
        while (!asleep(atomic_load(&tid))) { (void)sched_yield(); }
        one.host->changed(one.host->ctx, "other", 5);
    }
    while (!asleep(atomic_load(&tid))) { (void)sched_yield(); }
    T_EQ_U64(asked_leases(), 2);
    pthread_mutex_lock(&server.lock);
    server.row[0].used = false;
    pthread_mutex_unlock(&server.lock);
    one.host->changed(one.host->ctx, "k", 1);
    T_AFTER_U64(joined(thread), asked_leases(), 3);
    end();
}

/* Lose the proof, at once or by its end, and let 49 ms of alone_ms pass. */
static void lose_proof(bool by_its_end)
{
    one.host->proven(one.host->ctx, now_ms + 1000);
    if (by_its_end) { (void)__atomic_add_fetch(&now_ms, 1000, __ATOMIC_SEQ_CST); }
    else { one.host->proven(one.host->ctx, 0); }
    (void)__atomic_add_fetch(&now_ms, 49, __ATOMIC_SEQ_CST);
    if (!by_its_end) { one.host->proven(one.host->ctx, 0); } /* the loss counts once */
}

static void begin_alone(cellar_tier_proof proof)
{
    begin_leases();
    end();
    make_clients();
    one.table.proof = proof;
    one.table.alone_ms = 50;
    attach_both();
}

T_CASE(wait_for_another_process_ends_when_the_proof_is_gone)
{
    static _Atomic int tid;
    for (unsigned way = 0; way < 4; way++) {
        pthread_t thread;
        atomic_store(&tid, 0);
        begin_alone(way < 2 ? CELLAR_TIER_PROOF_MISS : CELLAR_TIER_PROOF_NONE);
        (void)hold_lease("k", 1000000);
        T_EQ_I64(pthread_create(&thread, NULL, load_and_wait, (void *)&tid), 0);
        while (asked_leases() < 2) { (void)sched_yield(); }
        lose_proof(way % 2 != 0);
        /* Some names share a place of waiters with the key: changes of one of the others are not
         * those of the key. */
        uint64_t asked;
        char other = 'a';
        do {
            T_REQUIRE(other <= 'h');
            asked = asked_leases();
            for (unsigned i = 0; i < 20; i++) {
                while (!asleep(atomic_load(&tid))) { (void)sched_yield(); }
                one.host->changed(one.host->ctx, &other, 1);
            }
            while (!asleep(atomic_load(&tid))) { (void)sched_yield(); }
            other++;
        } while (asked_leases() != asked);
        (void)__atomic_add_fetch(&now_ms, 1, __ATOMIC_SEQ_CST);
        T_EQ_I64(pthread_join(thread, NULL), 0);
        T_EQ_U64(asked_leases(), asked + 1);
        T_EQ_U64(loads[0], 1);
        T_EQ_U64(one.fills + one.puts, 0);
        T_CHECK(!in_memory(ns[0], &one, "k"));
        end();
    }
}

enum { CALLERS = 24 };

static _Atomic unsigned own; /* calls that ran the loader; the others got the value of such a call */

static void *load_as_one_of_many(void *tid)
{
    atomic_store((_Atomic int *)tid, asleep_self());
    const cellar_result r = loaded(0, NULL, load_counted, NULL, CELLAR_OK, "v");
    T_CHECK(r.source == CELLAR_SOURCE_LOADED || r.source == CELLAR_SOURCE_JOINED);
    if (r.source == CELLAR_SOURCE_LOADED) { atomic_fetch_add(&own, 1); }
    return tid;
}

T_CASE(waits_of_many_calls_end_when_the_proof_is_gone)
{
    static _Atomic int tid[CALLERS];
    pthread_t thread[CALLERS];
    begin_alone(CELLAR_TIER_PROOF_MISS);
    (void)hold_lease("k", 1000000);
    atomic_store(&own, 0);
    for (unsigned i = 0; i < CALLERS; i++) {
        atomic_store(&tid[i], 0);
        thread[i] = beside(load_as_one_of_many, (void *)&tid[i]);
    }
    while (asked_leases() < 2) { (void)sched_yield(); }
    for (unsigned i = 0; i < CALLERS; i++) {
        while (!asleep(atomic_load(&tid[i]))) { (void)sched_yield(); }
    }
    T_EQ_U64(__atomic_load_n(&loads[0], __ATOMIC_SEQ_CST), 0);
    lose_proof(false);
    (void)__atomic_add_fetch(&now_ms, 1, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < CALLERS; i++) { joined(thread[i]); }
    T_CHECK(atomic_load(&own) >= 1);
    T_EQ_U64(loads[0], atomic_load(&own));
    T_EQ_U64(one.fills + one.puts, 0);
    end();
}

T_CASE_ON(load_that_must_not_wait_is_pending, STORE)
{
    (void)hold_lease("k", 1000);
    cellar_result r = cellar_result_default();
    cellar_load_opts o = { .struct_size = sizeof o, .flags = CELLAR_LOAD_NO_WAIT };
    T_EQ_I64(cellar_get_or_load(ns[0], "k", 1, &o, load_counted, NULL, &r), CELLAR_PENDING);
}

static void *load_until_closed(void *arg)
{
    cellar_result r = cellar_result_default();
    const cellar_err err = cellar_get_or_load(ns[0], "k", 1, NULL, load_counted, NULL, &r);
    T_CHECK(err == CELLAR_E_CLOSED);
    return arg;
}

T_CASE(close_ends_the_wait_for_another_process)
{
    begin_leases();
    (void)hold_lease("k", 1000000);
    const pthread_t thread = beside(load_until_closed, NULL);
    while (asked_leases() < 2) { sched_yield(); }
    T_EQ_I64(cellar_close(root[0]), CELLAR_OK);
    joined(thread);
    T_EQ_I64(cellar_namespace_close(ns[0]), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(ns[1]), CELLAR_OK);
    T_EQ_I64(cellar_close(root[1]), CELLAR_OK);
}

T_CASE_ON(stale_value_is_served_while_another_process_refreshes, STORE)
{
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 1000, .stale_ms = 10000 };
    T_EQ_I64(cellar_set(ns[0], "k", 1, "old", 3, &o), CELLAR_OK);
    now_ms += 2000;
    pthread_mutex_lock(&server.lock);
    server.row[0].lease = 77; /* beside the old value */
    server.row[0].lease_ms = now_ms + 1000;
    pthread_mutex_unlock(&server.lock);
    T_AFTER_U64(loaded(0, NULL, load_counted, NULL, CELLAR_STALE, NULL), loads[0], 0);
    server.row[0].lease = 0;
    T_AFTER_U64(loaded(0, NULL, load_counted, NULL, CELLAR_OK, NULL), loads[0], 1);
    T_EQ_U64(one.fills, 1);
}

/* Let another process replace an old value, by a value or by its absence, unheard. */
static void renew(bool negative)
{
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 1000, .stale_ms = 10000 };
    T_EQ_I64(cellar_set(ns[0], "k", 1, "old", 3, &o), CELLAR_OK);
    now_ms += 2000;
    shared_row *r = &server.row[0];
    r->negative = negative;
    r->deadline_ms = now_ms + 5000;
    memcpy(r->value, "new", 3);
}

T_CASE_ON(refresh_takes_the_newer_value_of_another_process, STORE)
{
    renew(false);
    T_AFTER_U64(loaded(0, NULL, load_counted, NULL, CELLAR_OK, "new"), loads[0], 0);
    T_CHECK(in_memory(ns[0], &one, "k"));
    T_EQ_U64(one.fills + one.unleases, 0);
}

T_CASE_ON(refresh_takes_the_newer_absence_of_another_process, STORE)
{
    renew(true);
    T_AFTER_U64(loaded(0, NULL, load_counted, NULL, CELLAR_ABSENT, ""), loads[0], 0);
    T_EQ_I64(cellar_get_str(ns[0], "k", (char[8]){ 0 }, 8), CELLAR_ABSENT);
    T_EQ_U64(one.gets, 1);
}

/* ---- leases of the host over processes ---- */

static unsigned called; /* subscribers */

static void count_call(void *ctx) { (void)ctx; called++; }

static void begin_far(void)
{
    make_clients();
    for (unsigned i = 0; i < 2; i++) {
        shared_client *m = server.client[i];
        m->table.ask = shared_ask;
        m->table.ask_lease = shared_ask_lease;
    }
    attach_both();
    called = 0;
}

/* Acquire the key, with a subscriber. *lease: all zero without one. */
static cellar_err acquired(unsigned i, cellar_lease *lease, const char *want)
{
    const cellar_subscriber s = { count_call, NULL };
    cellar_result r = cellar_result_default();
    const cellar_err err = cellar_lease_acquire(ns[i], "k", 1, NULL, &s, lease, &r);
    if (err == CELLAR_OK && want != NULL) { T_EQ_MEM(r.value, want, strlen(want)); }
    cellar_result_free(&r);
    return err;
}

/* Let client `i` acquire the key and hear the answer of the server, until it has the lease. */
static cellar_lease leased_by(unsigned i)
{
    cellar_lease lease;
    T_EQ_I64(acquired(i, &lease, NULL), CELLAR_PENDING);
    T_AFTER_I64(shared_answer_lease(server.client[i]), acquired(i, &lease, NULL), CELLAR_LEASED);
    return lease;
}

T_CASE_ON(lease_of_the_host_is_one_over_processes, STORE2)
{
    cellar_lease lease = leased_by(0), other;
    T_EQ_U64(called, 1);
    T_EQ_I64(acquired(1, &other, NULL), CELLAR_PENDING);
    shared_answer_lease(&two);
    T_EQ_I64(acquired(1, &other, NULL), CELLAR_PENDING); /* client 0 loads */
    T_EQ_U64(called, 1);
    T_EQ_I64(cellar_lease_fulfill(ns[0], &lease, "v", 1, NULL), CELLAR_OK);
    T_EQ_U64(one.fills, 1);
    T_EQ_U64(called, 3); /* both subscribers of client 1 */
    T_EQ_I64(acquired(1, &other, NULL), CELLAR_PENDING);
    T_AFTER_I64(shared_answer_lease(&two), acquired(1, &other, "v"), CELLAR_OK);
    has(ns[0], "k", "v");
    T_EQ_U64(two.fills + two.puts + one.unleases, 0);
}

static void change_inside(shared_client *m, const char *call)
{
    if (strcmp(call, "answer") == 0) { m->host->changed(m->host->ctx, "k", 1); }
}

/* Let the tier grant a lease while memory has a value that was deleted unheard. */
T_CASE_ON(lease_of_the_host_ends_a_value_that_came_behind_the_look, STORE2)
{
    cellar_lease lease;
    one.late = true;
    T_AFTER_I64(sets(ns[1], "k", "theirs"), acquired(0, &lease, NULL), CELLAR_PENDING);
    has(ns[0], "k", "theirs");
    server.row[0].used = false;
    T_AFTER_U64(shared_answer_lease(&one), called, 1);
    T_EQ_U64(one.unleases, 1);
    lease = leased_by(0);
    T_EQ_I64(cellar_lease_fulfill(ns[0], &lease, "2", 1, NULL), CELLAR_OK);
    has(ns[0], "k", "2");
    has(ns[1], "k", "2");
}

T_CASE(lease_of_the_host_keeps_a_stale_value)
{
    cellar_lease lease;
    cellar_result r = cellar_result_default();
    make_clients();
    two.table.proof = CELLAR_TIER_PROOF_STALE;
    two.table.ask = shared_ask;
    two.table.ask_lease = shared_ask_lease;
    attach_both();
    two.host->proven(two.host->ctx, now_ms + 2000);
    sets(ns[1], "k", "old");
    server.row[0].used = false;
    end_softly();
    (void)cellar_lease_acquire(ns[1], "k", 1, NULL, NULL, &lease, &r);
    cellar_result_free(&r);
    T_AFTER_I64(shared_answer_lease(&two), read_stale("old"), CELLAR_STALE);
    T_EQ_I64(cellar_lease_acquire(ns[1], "k", 1, NULL, NULL, &lease, &r), CELLAR_STALE);
    T_EQ_MEM(r.value, "old", 3);
    cellar_result_free(&r);
    T_EQ_I64(cellar_lease_fulfill(ns[1], &lease, "new", 3, NULL), CELLAR_OK);
    has(ns[1], "k", "new");
    end();
}

static cellar_lease inner;

static void lease_inside(shared_client *m, const char *call)
{
    if (strcmp(call, "get") != 0) { return; }
    m->inside = NULL;
    server.row[0].used = false;
    inner = leased_by(0);
}

T_CASE_ON(value_on_its_way_does_not_enter_memory_behind_a_lease, STORE2)
{
    sets(ns[1], "k", "theirs");
    one.inside = lease_inside;
    has(ns[0], "k", "theirs"); /* read before the delete */
    T_CHECK(!in_memory(ns[0], &one, "k"));
    T_EQ_I64(cellar_lease_fulfill(ns[0], &inner, "2", 1, NULL), CELLAR_OK);
    has(ns[0], "k", "2");
}

static void wait_for_another_process_ends_with(void (*event)(void))
{
    cellar_lease lease, other;
    begin_far();
    lease = leased_by(0);
    called = 0;
    T_EQ_I64(acquired(1, &other, NULL), CELLAR_PENDING);
    T_AFTER_U64(shared_answer_lease(&two), called, 0);
    T_AFTER_U64(event(), called, 1);
    (void)cellar_lease_release(ns[0], &lease, 0);
    lease = leased_by(1);
    T_EQ_I64(cellar_lease_fulfill(ns[1], &lease, "2", 1, NULL), CELLAR_OK);
    has(ns[0], "k", "2");
    end();
}

static void event_is_a_change(void) { two.host->changed(two.host->ctx, "k", 1); }
static void event_is_an_end(void) { two.host->ended(two.host->ctx, CELLAR_TAG_HARD); }
static void event_is_the_end_of_the_lease(void)
{
    T_AFTER_U64(cellar_tick(root[1], 1000, NULL), called, 0);
    now_ms += one.hold_ms + 1;
    cellar_tick(root[1], 1000, NULL);
}
static void event_is_a_lost_proof(void)
{
    two.host->proven(two.host->ctx, now_ms + 1000);
    T_AFTER_U64(cellar_tick(root[1], 1000, NULL), called, 0);
    two.host->proven(two.host->ctx, 0);
    cellar_tick(root[1], 1000, NULL);
}
static void event_is_a_release(void)
{
    server.row[0].lease = 0; /* as the release of a leader does */
    event_is_a_change();
}

T_CASE(host_that_waits_for_another_process_is_called)
{
    wait_for_another_process_ends_with(event_is_a_change);
    wait_for_another_process_ends_with(event_is_an_end);
    wait_for_another_process_ends_with(event_is_the_end_of_the_lease);
    wait_for_another_process_ends_with(event_is_a_lost_proof);
    wait_for_another_process_ends_with(event_is_a_release);
}

T_CASE_ON(change_before_the_answer_ends_the_wait_of_the_host, STORE2)
{
    cellar_lease lease = leased_by(0), other;
    called = 0;
    T_EQ_I64(acquired(1, &other, NULL), CELLAR_PENDING);
    two.inside = change_inside;
    shared_answer_lease(&two);
    two.inside = NULL;
    T_EQ_U64(called, 1);
    T_EQ_I64(cellar_lease_release(ns[0], &lease, 0), CELLAR_OK);
}

/* A change detaches the first request: the second one meets the lease that the first one brings. */
T_CASE(two_requests_of_one_process_do_not_wait_for_each_other)
{
    for (unsigned order = 0; order < 2; order++) {
        cellar_tier_ticket request[2];
        cellar_lease lease;
        begin_far();
        for (unsigned i = 0; i < 2; i++) {
            T_EQ_I64(acquired(0, &lease, NULL), CELLAR_PENDING);
            request[i] = one.ticket;
            if (i == 0) { one.host->changed(one.host->ctx, "k", 1); }
        }
        T_CHECK(memcmp(&request[0], &request[1], sizeof request[0]) != 0);
        for (unsigned i = 0; i < 2; i++) {
            one.ticket = request[i ^ order];
            shared_answer_lease(&one);
        }
        T_EQ_I64(acquired(0, &lease, NULL), CELLAR_LEASED);
        T_EQ_I64(cellar_lease_fulfill(ns[0], &lease, "v", 1, NULL), CELLAR_OK);
        has(ns[1], "k", "v");
        end();
    }
}

/* The fill of a table that does not compare would follow the set. */
T_CASE(granted_lease_fills_nothing_behind_a_set)
{
    cellar_lease lease;
    for (unsigned blind = 0; blind < 2; blind++) {
        make_clients();
        one.table.blind_fill = blind;
        one.table.ask = shared_ask;
        one.table.ask_lease = shared_ask_lease;
        attach_both();
        T_EQ_I64(acquired(0, &lease, NULL), CELLAR_PENDING);
        shared_answer_lease(&one);
        sets(ns[0], "k", "set");
        one.host->changed(one.host->ctx, "k", 1);
        T_EQ_I64(acquired(0, &lease, NULL), CELLAR_LEASED);
        T_EQ_U64(one.unleases, blind);
        T_EQ_I64(cellar_lease_fulfill(ns[0], &lease, "v", 1, NULL),
                 blind ? CELLAR_DROPPED : CELLAR_INVALIDATED);
        T_EQ_U64(one.fills, !blind);
        has(ns[0], "k", "set");
        end();
    }
}

T_CASE_ON(ended_lease_of_the_host_stores_nothing, STORE2)
{
    cellar_lease lease = leased_by(0);
    sets(ns[1], "k", "theirs");
    T_EQ_I64(cellar_lease_fulfill(ns[0], &lease, "v", 1, NULL), CELLAR_INVALIDATED);
    has(ns[0], "k", "theirs");
    has(ns[1], "k", "theirs");
}

/* ---- leases of the host that nothing fills ---- */

static void key_is_free(unsigned unleases)
{
    T_EQ_U64(one.unleases, unleases);
    T_EQ_U64(server.row[0].used, false);
}

T_CASE_ON(granted_lease_that_no_acquire_takes_is_released, STORE2)
{
    cellar_lease lease;
    T_EQ_I64(acquired(0, &lease, NULL), CELLAR_PENDING);
    shared_answer_lease(&one);
    now_ms += one.hold_ms - 1;
    T_AFTER_U64(cellar_tick(root[0], 1000, NULL), one.unleases, 0);
    now_ms += 1;
    cellar_tick(root[0], 1000, NULL);
    key_is_free(1);
}

T_CASE_ON(acquired_lease_that_nothing_ends_is_released, STORE2)
{
    cellar_lease lease = leased_by(0);
    now_ms += one.hold_ms;
    cellar_tick(root[0], 1000, NULL);
    key_is_free(1);
    T_EQ_I64(cellar_lease_fulfill(ns[0], &lease, "v", 1, NULL), CELLAR_E_LEASE);
}

/* The namespace ends in the middle: the lease is on its way, granted, or acquired. */
T_CASE(lease_of_a_dropped_namespace_is_released)
{
    for (unsigned stage = 0; stage < 3; stage++) {
        cellar_lease lease;
        begin_far();
        T_EQ_I64(acquired(0, &lease, NULL), CELLAR_PENDING);
        if (stage > 0) { shared_answer_lease(&one); }
        if (stage > 1) { T_EQ_I64(acquired(0, &lease, NULL), CELLAR_LEASED); }
        T_EQ_I64(cellar_namespace_drop(root[0], "users"), CELLAR_OK);
        if (stage == 0) { shared_answer_lease(&one); }
        key_is_free(1);
        lease = leased_by(1);
        T_EQ_I64(cellar_lease_release(ns[1], &lease, 0), CELLAR_OK);
        end();
    }
}

T_MAIN("api_tier_lease")
