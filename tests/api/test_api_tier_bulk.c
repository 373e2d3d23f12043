/* SPDX-License-Identifier: MIT
 *
 * Aim:    Bulk loads of two processes load each key once, load their own keys before they wait
 *         for keys of the other process, and return in time with every lease given back.
 * Method: Two stores are two clients of a server in memory that grants leases; threads load the
 *         same keys. A clock of the test. */
#include <stdio.h>

#include "tests/support/loader.h"
#include "tests/support/tier_clients.h"

/* ---- leases of bulk loads ---- */

enum { BULK = 40 }; /* keys: more than one request */

typedef struct bulk { /* one bulk load of keys "0", "1", .. */
    intptr_t client;
    uint32_t flags;
    size_t count;
    cellar_loader_many_fn fn;
    char text[BULK][8];
    cellar_load_item item[BULK];
    cellar_result r[BULK];
} bulk;

static cellar_err load_all(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    __atomic_add_fetch(&loads[(intptr_t)ctx], (unsigned)count, __ATOMIC_SEQ_CST);
    while (waits && asked_leases() < 2 * BULK) { sched_yield(); }
    for (size_t i = 0; i < count; i++) {
        (void)loader_value(ld, i, keys[i].data, keys[i].len);
    }
    return CELLAR_OK;
}

static cellar_err load_none_of_all(cellar_load *ld, const cellar_bytes *keys, size_t count,
                                   void *ctx)
{
    (void)ld, (void)keys, (void)count, (void)ctx;
    return CELLAR_E_IO;
}

static cellar_err load_all_and_exit(cellar_load *ld, const cellar_bytes *keys, size_t count,
                                    void *ctx)
{
    (void)load_none_of_all(ld, keys, count, ctx);
    pthread_exit(NULL);
}

static cellar_err load_all_during_set(cellar_load *ld, const cellar_bytes *keys, size_t count,
                                      void *ctx)
{
    sets(ns[1], "1", "theirs");
    return load_all(ld, keys, count, ctx);
}

static void bulk_make(bulk *b, intptr_t client, size_t count, cellar_loader_many_fn fn)
{
    memset(b, 0, sizeof *b);
    b->client = client;
    b->count = count;
    b->fn = fn;
    for (size_t i = 0; i < count; i++) {
        const int len = snprintf(b->text[i], sizeof b->text[i], "%zu", i);
        b->r[i] = cellar_result_default();
        b->item[i] = (cellar_load_item){ .key = b->text[i], .key_len = (size_t)len,
                                         .result = &b->r[i] };
    }
}

static void *bulk_run(void *arg)
{
    bulk *b = arg;
    cellar_load_opts o = { .struct_size = sizeof o, .flags = b->flags };
    T_EQ_I64(cellar_get_or_load_many(ns[b->client], b->item, b->count, &o, b->fn,
                                     (void *)b->client), CELLAR_OK);
    return NULL;
}

/* Check that all items have their value. */
static void bulk_right(bulk *b)
{
    for (size_t i = 0; i < b->count; i++) {
        T_EQ_I64(b->item[i].status, CELLAR_OK);
        T_EQ_MEM(b->r[i].value, b->text[i], b->item[i].key_len);
        cellar_result_free(&b->r[i]);
    }
}

T_CASE(keys_are_loaded_once_by_bulk_loads_of_two_processes)
{
    static bulk b[2];
    for (unsigned together = 0; together < 2; together++) {
        begin_leases();
        end();
        make_clients();
        if (together != 0) { one.table.lease_many = two.table.lease_many = shared_lease_many; }
        attach_both();
        waits = true;
        for (unsigned i = 0; i < 2; i++) { bulk_make(&b[i], (intptr_t)i, BULK, load_all); }
        const pthread_t thread = beside(bulk_run, &b[0]);
        (void)bulk_run(&b[1]);
        T_AFTER_U64(joined(thread), loads[0] + loads[1], BULK);
        T_EQ_U64(one.fills + two.fills, BULK);
        T_EQ_U64(one.unleases + two.unleases, 0);
        T_CHECK(together == 0 || one.lease_manys >= 2);
        bulk_right(&b[0]);
        bulk_right(&b[1]);
        end();
    }
}

static void begin_together(void)
{
    begin_leases();
    end();
    make_clients();
    one.table.get_many = shared_get_many;
    one.table.lease_many = shared_lease_many;
    attach_both();
}

T_CASE(bulk_load_asks_for_the_values_of_its_keys_together)
{
    static bulk b;
    begin_together();
    sets(ns[1], "1", "1");
    sets(ns[1], "39", "39");
    bulk_make(&b, 0, BULK, load_all);
    (void)bulk_run(&b);
    T_FIELDS(one, gets, 0, manys, 2, many_keys, BULK);
    T_EQ_U64(loads[0], BULK - 2);
    T_EQ_U64(one.fills, BULK - 2);
    T_EQ_U64(b.r[1].source, CELLAR_SOURCE_L2);
    T_EQ_U64(b.r[2].source, CELLAR_SOURCE_LOADED);
    bulk_right(&b);
    T_CHECK(in_memory(ns[0], &one, "1") && in_memory(ns[0], &one, "39"));
    end();
}

T_CASE(load_of_one_key_asks_for_one_lease_alone)
{
    static bulk b;
    begin_together();
    bulk_make(&b, 0, 1, load_all);
    (void)bulk_run(&b);
    T_FIELDS(one, leases, 1, lease_manys, 0, fills, 1);
    bulk_right(&b);
    end();
}

/* Load all keys. Check that the tier was asked `gets`, `manys` and `leases` times, that none of the
 * values is in memory, and that the next load asks again. */
static void bulk_meets_silence(unsigned gets, unsigned manys, unsigned leases)
{
    static bulk b;
    bulk_make(&b, 0, BULK, load_all);
    T_AFTER_U64(bulk_run(&b), loads[0], BULK);
    bulk_right(&b);
    T_FIELDS(one, gets, gets, manys, manys, lease_manys, leases);
    T_EQ_U64(one.fills + one.puts, 0);
    T_CHECK(!in_memory(ns[0], &one, "0") && !in_memory(ns[0], &one, "39"));
    one.get_answer = one.lease_answer = CELLAR_OK;
    (void)bulk_run(&b);
    bulk_right(&b);
    T_EQ_U64(one.fills, BULK);
    end();
}

T_CASE(bulk_load_waits_for_no_other_process_when_the_proof_is_gone)
{
    static bulk b[2];
    begin_together();
    bulk_make(&b[0], 1, BULK, load_all);
    for (size_t i = 0; i < BULK; i++) { /* a process that never fills its leases */
        (void)hold_lease(b[0].text[i], 1000000);
    }
    one.host->proven(one.host->ctx, now_ms + 1000);
    bulk_make(&b[1], 0, BULK, load_all);
    const pthread_t thread = beside(bulk_run, &b[1]);
    while (asked_leases() < 2 * BULK) { sched_yield(); }
    T_EQ_U64(__atomic_load_n(&loads[0], __ATOMIC_SEQ_CST), 0);
    one.host->proven(one.host->ctx, 0);
    T_AFTER_U64(joined(thread), loads[0], BULK);
    T_EQ_U64(one.fills + one.puts, 0);
    bulk_right(&b[1]);
    end();
}

T_CASE(bulk_load_asks_a_silent_tier_once_and_keeps_nothing)
{
    begin_together();
    one.get_answer = CELLAR_E_TIMEOUT;
    bulk_meets_silence(0, 1, 0);
    begin_together();
    one.lease_answer = CELLAR_E_TIMEOUT;
    bulk_meets_silence(0, 1, 1);
    begin_leases();
    one.get_answer = CELLAR_E_TIMEOUT;
    bulk_meets_silence(1, 0, 0);
}

#define STORE(fn) T_WITHIN(fn, begin_leases(), end())

T_CASE_ON(bulk_load_loads_its_own_keys_before_it_waits, STORE)
{
    static bulk b;
    const cellar_tier_key k = { "1", 1, 0 };
    const cellar_tier_lease l = hold_lease("1", 1000000);
    bulk_make(&b, 0, 3, load_all);
    const pthread_t thread = beside(bulk_run, &b);
    while (__atomic_load_n(&loads[0], __ATOMIC_SEQ_CST) == 0) { sched_yield(); }
    cellar_tier_entry v = { .deadline_ms = INT64_MAX };
    T_EQ_I64(shared_fill(&two, &k, &l, "1", 1, &v), CELLAR_OK);
    T_AFTER_U64(joined(thread), loads[0], 2);
    bulk_right(&b);
}

T_CASE_ON(equal_keys_of_a_bulk_load_wait_together, STORE)
{
    static bulk b;
    int64_t ms = 1500;
    (void)hold_lease("0", 1000);
    bulk_make(&b, 0, 2, load_all);
    b.text[1][0] = '0';
    const pthread_t thread = beside(pass_time, &ms);
    (void)bulk_run(&b); /* the process is dead: its lease ends by time */
    T_AFTER_U64(joined(thread), loads[0], 1);
    bulk_right(&b);
}

T_CASE(bulk_wait_for_another_process_ends_at_its_limit)
{
    for (unsigned no_wait = 0; no_wait < 2; no_wait++) {
        static bulk b;
        pthread_t thread;
        int64_t ms = 100000;
        begin_leases();
        (void)hold_lease("0", 1000000);
        bulk_make(&b, 0, 2, load_all);
        b.flags = no_wait != 0 ? CELLAR_LOAD_NO_WAIT : 0u;
        if (no_wait == 0) { T_EQ_I64(pthread_create(&thread, NULL, pass_time, &ms), 0); }
        (void)bulk_run(&b);
        if (no_wait == 0) { T_EQ_I64(pthread_join(thread, NULL), 0); }
        T_EQ_I64(b.item[0].status, no_wait != 0 ? CELLAR_PENDING : CELLAR_E_TIMEOUT);
        T_EQ_I64(b.item[1].status, CELLAR_OK);
        T_EQ_U64(loads[0], 1);
        cellar_result_free(&b.r[1]);
        end();
    }
}

T_CASE_ON(change_during_a_bulk_load_ends_the_lease_of_its_key, STORE)
{
    static bulk b;
    bulk_make(&b, 0, 3, load_all_during_set);
    T_AFTER_U64(bulk_run(&b), b.r[0].flags, 0);
    T_CHECK((b.r[1].flags & CELLAR_RESULT_INVALIDATED) != 0);
    T_EQ_U64(b.r[2].flags, 0);
    bulk_right(&b);
    has(ns[0], "1", "theirs");
    has(ns[1], "1", "theirs");
    has(ns[1], "2", "2");
}

T_CASE_ON(bulk_load_without_values_gives_its_leases_back, STORE)
{
    static bulk b;
    bulk_make(&b, 0, 3, load_none_of_all);
    T_AFTER_I64(bulk_run(&b), b.item[1].status, CELLAR_E_LOADER);
    T_EQ_U64(one.unleases, 3);
    bulk_make(&b, 0, 3, load_all_and_exit);
    const pthread_t thread = beside(bulk_run, &b);
    T_AFTER_U64(joined(thread), one.unleases, 6);
    bulk_make(&b, 1, 3, load_all);
    T_AFTER_U64(bulk_run(&b), loads[1], 3);
    bulk_right(&b);
}

T_CASE(close_ends_the_bulk_wait_for_another_process)
{
    static bulk b;
    begin_leases();
    (void)hold_lease("0", 1000000);
    bulk_make(&b, 0, 1, load_all);
    const pthread_t thread = beside(bulk_run, &b);
    while (asked_leases() < 2) { sched_yield(); }
    T_EQ_I64(cellar_close(root[0]), CELLAR_OK);
    T_AFTER_I64(joined(thread), b.item[0].status, CELLAR_E_CLOSED);
    T_EQ_I64(cellar_namespace_close(ns[0]), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(ns[1]), CELLAR_OK);
    T_EQ_I64(cellar_close(root[1]), CELLAR_OK);
}

/* Let another process set key "0", this one read it, and the other one delete it unheard. */
static void drop_first(shared_client *m, const char *call)
{
    if (strcmp(call, "lease") != 0) { return; }
    m->inside = NULL;
    sets(ns[1], "0", "0");
    has(ns[0], "0", "0");
    server.row[0].used = false;
}

static cellar_err said;

static void load_second(const cellar_event *e, void *ctx)
{
    cellar_result r = cellar_result_default();
    hear(e, ctx);
    said = cellar_get_or_load(ns[0], "1", 1, NULL, load_counted, (void *)(intptr_t)0, &r);
    cellar_result_free(&r);
}

T_CASE_ON(listener_inside_a_bulk_load_does_not_wait_for_its_keys, STORE)
{
    static bulk b;
    uint64_t id = 0;
    T_EQ_I64(cellar_listener_add(ns[0], CELLAR_CAUSE_BIT(REMOTE), load_second, NULL, &id),
             CELLAR_OK);
    one.late = true;
    one.inside = drop_first;
    bulk_make(&b, 0, 3, load_all);
    (void)bulk_run(&b);
    bulk_right(&b);
    T_EQ_U64(heard[CELLAR_CAUSE_REMOTE], 1);
    T_EQ_I64(said, CELLAR_E_DEADLOCK);
    T_EQ_U64(one.unleases, 1);
    has(ns[1], "0", "0");
    T_EQ_I64(cellar_listener_remove(ns[0], id), CELLAR_OK);
}

/* Set tags of all keys, twice, and in between options of key "1"; then a tag of key "0". */
static cellar_err load_all_tagged(cellar_load *ld, const cellar_bytes *keys, size_t count,
                                  void *ctx)
{
    const cellar_bytes all = { "all", 3 }, before = { "before", 6 };
    T_EQ_I64(loader_tags(ld, &before, 1), CELLAR_OK);
    T_EQ_I64(cellar_load_select(ld, 1), CELLAR_OK);
    T_EQ_I64(loader_cost(ld, 5), CELLAR_OK); /* it has the tags of this moment */
    T_EQ_I64(cellar_load_select(ld, count), CELLAR_E_INVAL);
    T_EQ_I64(loader_tags(ld, &all, 1), CELLAR_OK);
    T_EQ_I64(cellar_load_select(ld, 0), CELLAR_OK);
    T_EQ_I64(loader_tags(ld, &keys[0], 1), CELLAR_OK);
    return load_all(ld, keys, count, ctx);
}

T_CASE_ON(bulk_load_shares_values_with_their_tags, STORE)
{
    static bulk b;
    bulk_make(&b, 0, 3, load_all_tagged);
    T_AFTER_U64(bulk_run(&b), b.r[0].flags | b.r[1].flags | b.r[2].flags, 0);
    bulk_right(&b);
    T_EQ_STR(shared_tags(&server, "0"), "0,");
    T_EQ_STR(shared_tags(&server, "1"), "before,");
    T_EQ_STR(shared_tags(&server, "2"), "all,");
    has(ns[0], "2", "2");
    has(ns[1], "0", "0");
    T_EQ_I64(cellar_delete_by_tag(ns[1], "0", 1, CELLAR_TAG_HARD), CELLAR_OK);
    has(ns[0], "0", NULL);
    has(ns[0], "1", "1");
}

T_MAIN("api_tier_bulk")
