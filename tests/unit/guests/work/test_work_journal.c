/* SPDX-License-Identifier: MIT
 *
 * Aim:    an accepted task is in the journal until its final state is. After a crash it comes back
 *         with its id, attempts, times, key and group, and runs again only if its end was not
 *         committed. The file has one owner and one schema. Damage, foreign files and bad paths are
 *         refused with a reason. Errors of the disk refuse a submit and lose nothing.
 * Method: both clocks are variables; the test calls cellar_tick. A crash is a copy of the files
 *         at that moment, opened by the next pool. Bytes and rows of the file are changed by hand;
 *         limits of the process make writes and allocations fail. */
#include <sys/mman.h>

#include "base/fault.h"
#include "cellar_bus.h"
#include "tests/support/child.h"
#include "tests/support/each_allocation.h"
#include "tests/support/journal_kit.h"
#include "work/journal.h"

T_ONE_THREAD;

/* ---- cases ---- */

T_CASE(build_without_sqlite_is_unsupported)
{
    if (HAS_SQLITE) {
        T_SKIP("this build has SQLite");
        return;
    }
    begin();
    T_EQ_I64(cellar_pool_open(&config, &p), CELLAR_E_UNSUPPORTED);
    T_CHECK(p == NULL && strstr(said, "built without SQLite") != NULL);
    end();
}

T_CASE_ON(submitted_tasks_survive_a_crash, JOURNAL)
{
    unsigned char trace[CELLAR_TASK_TRACE_BYTES] = { 1, 2, 3 };
    cellar_submit_opts o = { .struct_size = sizeof o, .tag = "blue", .content_type = "text/plain",
                             .trace = trace, .priority = 7 };
    const cellar_task_id a = submit("a", &o), b = submit("b", NULL), mine = { 77, 0 };
    o = (cellar_submit_opts){ .struct_size = sizeof o, .id_in = &mine, .priority = 1 };
    (void)submit("c", &o);
    T_AFTER_U64(crash(), figures().restored, 3);
    T_EQ_U64(figures().unregistered, 3);
    cellar_task_status st = status_of(a);
    T_EQ_STR(st.tag, "blue");
    T_FIELDS(st, priority, 7, submitted_wall_ms, wall_ms);
    names();
    T_EQ_U64(figures().unregistered, 0);
    T_EQ_I64(cellar_task_submit(p, "t", "c", 1, &o, NULL), CELLAR_EXISTS);
    T_AFTER_U64(tick(), ran_count, 3);
    T_EQ_U64(last_id.hi, 77);
    T_EQ_I64(state_of(a), CELLAR_E_NOT_FOUND);
    T_EQ_I64(state_of(b), CELLAR_E_NOT_FOUND);
    T_EQ_I64(cellar_task_submit(p, "t", "c", 1, &o, NULL), CELLAR_OK);
    T_EQ_I64(cellar_task_cancel(p, mine), CELLAR_OK);
    T_AFTER_U64(crash(), figures().restored, 0);
}

T_CASE_ON(a_task_that_ends_the_process_becomes_a_dead_letter, JOURNAL)
{
    const cellar_task_id a = submit("a", NULL);
    for (uint32_t i = 1; i <= 3; i++) {
        copies = true;
        T_AFTER_U64(pass(1), last_attempt, i);
        next_process();
    }
    T_EQ_I64(state_of(a), CELLAR_TASK_FAILED);
    T_EQ_U64(figures().dead, 1);
    T_AFTER_U64(tick(), ran_count, 3);
    cellar_task_status st = status_of(a);
    T_EQ_STR(st.error, "the process ended during the last attempt");
    T_AFTER_I64(crash(), state_of(a), CELLAR_TASK_FAILED); /* a dead letter stays one */
    names();
    T_EQ_I64(cellar_task_requeue(p, a), CELLAR_OK);
    crash_and_restart();
    T_AFTER_U64(pass(1), last_attempt, 1);
    T_EQ_U64(figures().ok, 1);
}

/* Fault: the attempts of a task that had left counted for a new one with its id_in. */
T_CASE_ON(attempts_of_a_task_that_left_are_not_those_of_its_id, JOURNAL)
{
    const cellar_task_id id = { 7, 7 };
    const cellar_submit_opts o = { .struct_size = sizeof o, .id_in = &id };
    answer = cellar_verdict_retry_after(0);
    (void)submit("a", &o);
    while (ran_count < 3) { pass(1); }
    T_EQ_I64(cellar_task_purge(p, id), CELLAR_OK);
    (void)submit("b", &o);
    clear();
    crash_and_restart();
    T_AFTER_STR(tick(), ran, "b");
    T_EQ_U64(last_attempt, 1);
}

T_CASE_ON(a_snoozed_attempt_is_not_counted, JOURNAL)
{
    (void)submit("a", NULL);
    answer = cellar_verdict_snooze(1000);
    for (uint32_t i = 0; i < 5; i++) { pass(1000); }
    T_EQ_U64(ran_count, 5);
    T_EQ_U64(last_attempt, 1);
    crash_and_restart();
    T_AFTER_U64(pass(1000), last_attempt, 1);
    copies = true;
    pass(1000);
    next_process();
    T_AFTER_U64(pass(1), last_attempt, 2);
}

T_CASE_ON(due_times_survive_a_crash, JOURNAL)
{
    cellar_submit_opts o = { .struct_size = sizeof o, .delay_ms = 10000 };
    (void)submit("d", &o);
    o.delay_ms = 0;
    o.eta_wall_ms = wall_ms + 20000;
    (void)submit("e", &o);
    o.eta_wall_ms = 0;
    o.expires_ms = 5000;
    (void)submit("x", &o);
    crash_copy();
    mono_ms += 123456; /* another boot */
    wall_ms += 4000;
    next_process();
    T_EQ_I64(cellar_pool_set(p, CELLAR_POOL_SET_WORKERS, NULL, 1), CELLAR_E_UNSUPPORTED);
    T_AFTER_STR(pass(1000), ran, "");
    T_EQ_U64(figures().expired, 1);
    T_AFTER_STR(pass(4999), ran, "");
    T_AFTER_STR(pass(1), ran, "d");
    T_AFTER_STR(pass(9999), ran, "d");
    T_AFTER_STR(pass(1), ran, "de");
}

T_CASE_ON(overdue_tasks_begin_at_the_restore_rate, JOURNAL)
{
    for (int i = 0; i < 20; i++) { (void)submit("a", NULL); }
    config.restore_rate = 10;
    crash_and_restart();
    tick();
    const size_t first = ran_count;
    T_CHECK(first <= 1);
    pass(1000);
    T_CHECK(ran_count >= 10 && ran_count <= 11);
    T_AFTER_U64(pass(1000), ran_count, 20);
}

T_CASE_ON(a_task_of_an_unknown_name_can_be_cancelled, JOURNAL)
{
    const cellar_task_id a = submit("a", NULL), b = submit("b", NULL);
    T_AFTER_I64(crash(), cellar_task_cancel(p, a), CELLAR_OK);
    T_AFTER_I64(pass(1), cellar_task_cancel(p, b), CELLAR_OK); /* parked now */
    T_AFTER_U64(crash(), figures().restored, 0);
}

T_CASE_ON(unique_keys_are_rebuilt, JOURNAL)
{
    cellar_submit_opts o = { .struct_size = sizeof o, .unique_key = "k" };
    const cellar_task_id a = submit("a", &o);
    crash_and_restart();
    cellar_task_id id;
    T_EQ_I64(cellar_task_submit(p, "t", "b", 1, &o, &id), CELLAR_EXISTS);
    T_EQ_U64(id.hi, a.hi);
    T_EQ_U64(id.lo, a.lo);
    T_AFTER_I64(tick(), cellar_task_submit(p, "t", "c", 1, &o, &id), CELLAR_OK);
    /* The newer task takes a key that the older one no longer keeps. */
    o.unique_states = 1u << CELLAR_TASK_RETRY;
    T_EQ_I64(cellar_task_cancel(p, id), CELLAR_OK);
    const cellar_task_id old = submit("d", &o), young = submit("e", &o);
    (void)old;
    crash_and_restart();
    o.on_conflict = CELLAR_TASK_CONFLICT_DEBOUNCE;
    o.unique_states = 0;
    T_EQ_I64(cellar_task_cancel(p, young), CELLAR_OK);
    T_EQ_I64(cellar_task_submit(p, "t", "f", 1, &o, NULL), CELLAR_OK); /* the key was its own */
    T_AFTER_STR(tick(), ran, "afd");
}

/* The wall clock goes back by a day before the close, or after it. */
T_CASE(what_has_ended_at_the_close_stays_so_if_the_clock_goes_back)
{
    if (without_sqlite()) { return; }
    for (int before = 0; before < 2; before++) {
        start();
        cellar_submit_opts key = cellar_submit_opts_default(), life = key, limit = key;
        key.unique_key = "k";
        key.unique_ttl_ms = 5000;
        key.delay_ms = 60000;
        limit.unique_key = "l";
        limit.unique_ttl_ms = 5000;
        limit.on_conflict = CELLAR_TASK_CONFLICT_THROTTLE;
        life.expires_ms = 5000;
        life.delay_ms = 60000;
        (void)submit("a", &key);
        (void)submit("b", &limit);
        const cellar_task_id expires = submit("c", &life);
        pass(4000);
        limit.unique_key = "m";
        (void)submit("d", &limit);
        if (before) { wall_ms -= 86400000; }
        T_AFTER_STR(pass(1000), ran, "bd");
        close_it();
        if (!before) { wall_ms -= 86400000; }
        open_it();
        names();
        T_EQ_I64(cellar_task_submit(p, "t", "d", 1, &limit, NULL), CELLAR_EXISTS);
        limit.unique_key = "l";
        T_EQ_I64(cellar_task_submit(p, "t", "e", 1, &limit, NULL), CELLAR_OK);
        T_EQ_I64(cellar_task_submit(p, "t", "f", 1, &key, NULL), CELLAR_OK);
        pass(4000); /* m has the rest of its time if the rows are of the new clock */
        limit.unique_key = "m";
        T_EQ_I64(cellar_task_submit(p, "t", "g", 1, &limit, NULL),
                 before ? CELLAR_OK : CELLAR_EXISTS);
        T_AFTER_STR(pass(60000), ran, before ? "bdegaf" : "bdeaf");
        T_EQ_I64(state_of(expires), CELLAR_E_NOT_FOUND);
        T_EQ_U64(figures().expired, 1);
        end();
    }
}

T_CASE_ON(the_ttl_of_a_unique_key_survives_a_crash, JOURNAL)
{
    for (int debounced = 0; debounced < 2; debounced++) {
        const char key[] = { (char)('k' + debounced), '\0' };
        cellar_submit_opts o = { .struct_size = sizeof o, .unique_key = key, .unique_ttl_ms = 5000,
                                 .on_conflict = CELLAR_TASK_CONFLICT_DEBOUNCE, .delay_ms = 60000 };
        (void)submit("a", &o);
        if (debounced) {
            pass(4000);
            (void)submit("b", &o);
        }
        crash_and_restart();
        o.on_conflict = CELLAR_TASK_CONFLICT_REJECT;
        T_EQ_I64(cellar_task_submit(p, "t", "c", 1, &o, NULL), CELLAR_EXISTS);
        pass(4999);
        T_EQ_I64(cellar_task_submit(p, "t", "c", 1, &o, NULL), CELLAR_EXISTS);
        pass(1);
        (void)submit("d", &o);
        T_AFTER_STR(pass(60000), ran, debounced ? "adbd" : "ad");
    }
}

T_CASE_ON(a_key_past_its_unique_ttl_is_not_taken_back_by_a_crash, JOURNAL)
{
    cellar_submit_opts o = { .struct_size = sizeof o, .unique_key = "k" };
    answer = cellar_verdict_fail();
    const cellar_task_id dead = submit("a", &o);
    pass(1);
    answer = cellar_verdict_ok();
    o.unique_ttl_ms = 5000;
    o.delay_ms = 60000;
    (void)submit("b", &o);
    pass(5000);
    T_EQ_I64(cellar_task_requeue(p, dead), CELLAR_OK);
    crash_and_restart();
    T_EQ_I64(cellar_task_submit(p, "t", "c", 1, &o, NULL), CELLAR_EXISTS);
    T_AFTER_STR(pass(60000), ran, "aab");
}

/* Fault: the open gave the key to the younger task, in a state in which it does not keep it. */
T_CASE_ON(a_key_outside_its_unique_states_is_not_taken_back_by_a_crash, JOURNAL)
{
    cellar_submit_opts o = { .struct_size = sizeof o, .unique_key = "k" }, b = o;
    answer = cellar_verdict_fail();
    const cellar_task_id dead = submit("a", &o);
    pass(1);
    answer = cellar_verdict_ok();
    b.unique_states = 1u << CELLAR_TASK_QUEUED;
    b.delay_ms = 60000;
    (void)submit("b", &b);
    T_EQ_I64(cellar_task_requeue(p, dead), CELLAR_OK);
    T_EQ_I64(cellar_task_submit(p, "t", "c", 1, &o, NULL), CELLAR_EXISTS);
    crash_and_restart();
    T_EQ_I64(cellar_task_submit(p, "t", "c", 1, &o, NULL), CELLAR_EXISTS);
    T_AFTER_STR(pass(60000), ran, "aab");
}

/* Fault: a submit that the disk refused kept the key, also over a crash. */
T_CASE_ON(a_refused_submit_gives_a_key_back, JOURNAL)
{
    cellar_submit_opts o = { .struct_size = sizeof o, .unique_key = "k", .delay_ms = 2000 };
    o.unique_states = 1u << CELLAR_TASK_SCHEDULED;
    answer = cellar_verdict_retry_after(1000);
    (void)submit("a", &o);
    pass(2000);
    limit_files(4096);
    T_CHECK(is_disk_error(cellar_task_submit(p, "t", "b", 1, &o, NULL)));
    limit_files(0);
    answer = cellar_verdict_snooze(5000);
    pass(1000);
    for (int i = 0; i < 2; i++) {
        T_EQ_I64(cellar_task_submit(p, "t", "c", 1, &o, NULL), CELLAR_EXISTS);
        crash_and_restart();
    }
}

T_CASE_ON(tasks_of_a_removed_name_leave_the_journal, JOURNAL)
{
    answer = cellar_verdict_fail();
    const cellar_task_id dead = submit("d", NULL);
    tick();
    answer = cellar_verdict_ok();
    (void)submit("l", NULL);
    T_EQ_I64(cellar_task_unregister(p, "t"), CELLAR_OK);
    T_EQ_I64(state_of(dead), CELLAR_E_NOT_FOUND);
    T_EQ_U64(figures().live, 0);
    T_AFTER_U64(crash(), figures().restored, 0);
    T_EQ_I64(cellar_task_unregister(p, "t"), CELLAR_E_NOT_FOUND);
    names();
    (void)submit("r", NULL);
    crash(); /* a name that is not registered yet is removed as well */
    T_EQ_U64(figures().unregistered, 1);
    T_EQ_I64(cellar_task_unregister(p, "t"), CELLAR_OK);
    T_AFTER_U64(crash(), figures().restored, 0);
}

T_CASE_ON(a_final_state_is_seen_after_its_commit, JOURNAL)
{
    const cellar_task_id a = submit("a", NULL);
    (void)submit("b", NULL);
    looks_at = a;
    T_AFTER_STR(tick(), ran, "ab"); /* b runs before the commit of a */
    T_EQ_I64(looked, CELLAR_TASK_RUNNING);
    T_EQ_I64(state_of(a), CELLAR_E_NOT_FOUND);
}

T_CASE_ON(no_final_state_comes_back, JOURNAL)
{
    (void)submit("a", NULL);
    answer = cellar_verdict_cancelled();
    tick();
    answer = cellar_verdict_fail();
    const cellar_task_id dead = submit("b", NULL);
    tick();
    cellar_submit_opts o = { .struct_size = sizeof o, .expires_ms = 1 };
    (void)submit("c", &o);
    pass(2);
    const cellar_task_id gone = submit("d", NULL);
    T_EQ_I64(cellar_task_cancel(p, gone), CELLAR_OK);
    T_EQ_I64(cellar_task_purge(p, dead), CELLAR_OK);
    T_AFTER_U64(crash(), figures().restored, 0);
}

/* ---- after a task ---- */

static cellar_task_id after(cellar_task_id before, const char *name, const char *payload,
                            cellar_task_run_on run_on)
{
    cellar_task_id id = { 0, 0 };
    const cellar_task_item item = { name, payload, strlen(payload), NULL };
    T_EQ_I64(submit_after(p, before, &item, run_on, &id), CELLAR_OK);
    return id;
}

static cellar_task_id submit_giving(const char *payload)
{
    cellar_task_id id = { 0, 0 };
    T_EQ_I64(cellar_task_submit(p, "give", payload, 1, NULL, &id), CELLAR_OK);
    return id;
}

T_CASE_ON(a_task_that_waits_survives_a_crash, JOURNAL)
{
    const cellar_task_id a = submit_giving("x");
    const cellar_task_id b = after(a, "join", "", CELLAR_TASK_ON_SUCCESS);
    const cellar_task_id c = after(b, "t", "c", CELLAR_TASK_ON_SUCCESS);
    const cellar_task_id d = after(a, "t", "d", CELLAR_TASK_ON_FAILURE);
    T_AFTER_U64(crash_and_restart(), figures().live, 4);
    T_EQ_I64(state_of(b), CELLAR_TASK_WAITING);
    T_EQ_I64(cellar_tick(p, 0, NULL), CELLAR_PENDING);
    T_EQ_I64(state_of(d), CELLAR_E_NOT_FOUND); /* cancelled */
    crash(); /* the end of a is in the journal, with its result */
    names();
    T_EQ_I64(state_of(c), CELLAR_TASK_WAITING);
    T_AFTER_STR(tick(), ran, "xc");
    T_AFTER_U64(crash(), figures().restored, 0);
}

/* Each rule meets each end: before the crash, after it, or before the submit. */
T_CASE(the_recorded_state_decides_after_a_crash)
{
    if (without_sqlite()) { return; }
    for (int at = 0; at < 3; at++) {
        for (int ok = 0; ok < 2; ok++) {
            for (cellar_task_run_on on = CELLAR_TASK_ON_SUCCESS; on <= CELLAR_TASK_ALWAYS; on++) {
                cellar *results;
                cellar_config store = cellar_config_default();
                clear();
                begin();
                store.host = &host;
                T_REQUIRE(cellar_open(&store, &results) == CELLAR_OK);
                config.results = results;
                open_it();
                names();
                answer = ok != 0 ? cellar_verdict_ok() : cellar_verdict_fail();
                const cellar_task_id a = submit_giving("x");
                if (at == 2) { tick(); }
                (void)after(a, "join", "", on);
                if (at == 0) { T_EQ_I64(cellar_tick(p, 0, NULL), CELLAR_PENDING); }
                crash_and_restart();
                tick();
                const bool runs = on == CELLAR_TASK_ALWAYS ||
                                  (on == CELLAR_TASK_ON_SUCCESS) == (ok != 0);
                T_EQ_STR(ran, !runs ? "" : ok != 0 ? "x" : "-");
                T_EQ_U64(figures().live, 0);
                end();
                T_EQ_I64(cellar_close(results), CELLAR_OK);
            }
        }
    }
}

static cellar_task_id uncommitted;

static cellar_verdict submits_after(const cellar_task *t, void *ctx)
{
    (void)t, (void)ctx;
    T_EQ_I64(state_of(uncommitted), CELLAR_TASK_RUNNING);
    (void)after(uncommitted, "join", "", CELLAR_TASK_ON_SUCCESS);
    if (copies) { crash_copy(); }
    return cellar_verdict_ok();
}

T_CASE(an_end_that_is_not_committed_decides)
{
    if (without_sqlite()) { return; }
    for (int crashes = 0; crashes < 2; crashes++) {
        start();
        T_EQ_I64(cellar_task_register(p, "s", submits_after, NULL, NULL), CELLAR_OK);
        uncommitted = submit_giving("x");
        T_EQ_I64(cellar_task_submit(p, "s", NULL, 0, NULL, NULL), CELLAR_OK);
        copies = crashes != 0;
        T_AFTER_STR(tick(), ran, "x");
        if (crashes != 0) {
            clear();
            T_AFTER_I64(next_process(), state_of(uncommitted), CELLAR_E_NOT_FOUND);
            T_AFTER_STR(tick(), ran, "x");
        }
        end();
    }
}

T_CASE_ON(a_row_that_was_deleted_by_hand_did_not_succeed, JOURNAL)
{
    const cellar_task_id a = submit("a", NULL);
    (void)after(a, "t", "b", CELLAR_TASK_ON_SUCCESS);
    (void)after(a, "t", "c", CELLAR_TASK_ON_FAILURE);
    close_it();
    sql("DELETE FROM task WHERE after_id IS NULL");
    open_it();
    names();
    T_AFTER_STR(tick(), ran, "c");
    T_EQ_U64(figures().cancelled, 1);
}

T_CASE_ON(a_refused_submit_after_leaves_the_task_before_it, JOURNAL)
{
    const cellar_task_id a = submit("a", NULL);
    const cellar_task_item item = { "t", "b", 1, NULL };
    limit_files(4096);
    T_CHECK(is_disk_error(submit_after(p, a, &item, CELLAR_TASK_ALWAYS, NULL)));
    limit_files(0);
    (void)after(a, "t", "c", CELLAR_TASK_ALWAYS);
    T_AFTER_STR(tick(), ran, "ac");
    T_EQ_U64(figures().submitted, 2);
    for (uint64_t nth = 1;; nth++) {
        const cellar_task_id d = submit("d", NULL);
        (void)base_fault_alloc_arm(nth, false);
        const cellar_err err = submit_after(p, d, &item, CELLAR_TASK_ALWAYS, NULL);
        (void)base_fault_alloc_arm(0, false);
        tick();
        if (err == CELLAR_OK) { break; }
        T_EQ_I64(err, CELLAR_E_NOMEM);
    }
    T_EQ_U64(figures().live, 0);
}

static unsigned taken;

static void takes(void *payload, size_t len, void *ctx)
{
    (void)payload, (void)len, (void)ctx;
    taken++;
}

/* Fault: a submit that its key answered was E_IO, and free_fn got the payload all the same. */
T_CASE_ON(a_submit_that_fails_tells_whose_the_payload_is, JOURNAL)
{
    static const cellar_task_conflict how[] = { CELLAR_TASK_CONFLICT_RETURN,
                                                CELLAR_TASK_CONFLICT_DEBOUNCE };
    static char b[] = "b";
    for (unsigned i = 0; i < 3; i++) { /* the last key is new */
        const char key[] = { (char)('k' + i), '\0' };
        cellar_submit_opts o = { .struct_size = sizeof o, .unique_key = key, .delay_ms = 60000,
                                 .on_conflict = how[i % 2] };
        const cellar_task_id none = { 0, 0 }, a = i < 2 ? submit("a", &o) : none;
        cellar_task_id id;
        (void)submit("e", NULL);
        limit_files(4096);
        tick(); /* an end is not written */
        o.free_fn = takes;
        taken = 0;
        const cellar_err err = cellar_task_submit(p, "t", b, 1, &o, &id);
        T_CHECK(i == 0 ? err == CELLAR_OK : is_disk_error(err));
        T_CHECK(id.hi == a.hi && id.lo == a.lo);
        T_EQ_U64(taken, i == 0);
        limit_files(0);
        pass(60000);
        T_EQ_U64(taken, i < 2);
    }
    T_EQ_STR(ran, "eaebe");
}

/* SQLite takes 10^9 bytes in a row. */
#define TOO_BIG ((size_t)1000000001)

static const void *big; /* TOO_BIG bytes that no call reads */

static cellar_verdict gives_too_much(const cellar_task *t, void *ctx)
{
    (void)ctx;
    T_EQ_I64(cellar_task_result_set(t, big, TOO_BIG), CELLAR_E_TOOBIG);
    return cellar_verdict_ok();
}

static void keeps(void *payload, size_t len, void *ctx) { (void)payload, (void)len, (void)ctx; }

T_CASE_ON(bytes_that_fit_in_no_row_are_refused, JOURNAL)
{
    const cellar_submit_opts o = { .struct_size = sizeof o, .free_fn = keeps };
    big = mmap(NULL, TOO_BIG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    T_REQUIRE(big != MAP_FAILED);
    close_it();
    config.queue_bytes = UINT64_C(1) << 32;
    config.max_message_bytes = UINT64_C(1) << 30;
    open_it();
    T_EQ_I64(cellar_task_register(p, "t", gives_too_much, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_task_submit(p, "t", big, TOO_BIG, &o, NULL), CELLAR_E_TOOBIG);
    T_EQ_I64(cellar_bus_publish(p, "q", big, TOO_BIG, NULL), CELLAR_E_TOOBIG);
    (void)submit("a", NULL);
    tick();
    T_EQ_U64(figures().ok, 1);
    T_REQUIRE(munmap((void *)(uintptr_t)big, TOO_BIG) == 0);
}

/* Fault: after a restart dead letters left in the order of their submits. */
T_CASE(dead_letters_leave_in_the_order_of_their_ends_after_a_crash)
{
    for (int i = 0; i < 2 && !without_sqlite(); i++) { /* by dead_ttl_ms, by dead_cap */
        const cellar_submit_opts o = { .struct_size = sizeof o, .delay_ms = 50000 };
        clear();
        begin();
        config.dead_ttl_ms = i == 0 ? 60000 : 0;
        config.dead_cap = i == 0 ? 0 : 2;
        open_it();
        names();
        answer = cellar_verdict_fail();
        const cellar_task_id late = submit("l", &o), soon = submit("s", NULL);
        (void)tick();
        T_AFTER_I64(pass(50000), state_of(late), CELLAR_TASK_FAILED);
        T_EQ_I64(state_of(soon), CELLAR_TASK_FAILED);
        crash_and_restart();
        if (i != 0) { (void)submit("x", NULL); }
        T_AFTER_I64(pass(20000), state_of(late), CELLAR_TASK_FAILED);
        T_EQ_I64(state_of(soon), CELLAR_E_NOT_FOUND);
        end();
    }
}

T_CASE_ON(an_unwritten_dead_letter_leaves_with_its_name, JOURNAL)
{
    answer = cellar_verdict_fail();
    signal(SIGXFSZ, SIG_IGN);
    (void)submit("a", NULL);
    limit_files(4096);
    tick();
    T_EQ_STR(ran, "a");
    T_EQ_U64(figures().journal_pending, 1);
    T_CHECK(is_disk_error(cellar_task_unregister(p, "t")));
    limit_files(0);
    pass(1000);
    T_EQ_U64(figures().journal_pending, 0);
    T_EQ_U64(figures().dead, 0);
    crash();
    T_EQ_U64(figures().restored, 0);
}

/* ---- the file ---- */

static int opens_in_child(void)
{
    cellar_pool *q;
    host.no_threads = 0;
    return cellar_pool_open(&config, &q) == CELLAR_E_BUSY ? 0 : 1;
}

/* Fault: the attempts that had begun were in a file beside the link. */
T_CASE(link_to_a_journal_is_the_journal)
{
    char link[T_FOLDER_MAX + 8];
    cellar_pool *q;
    if (without_sqlite()) { return; }
    for (unsigned by_link = 0; by_link < 2; by_link++) {
        clear();
        begin();
        snprintf(link, sizeof link, "%s/link", folder);
        T_REQUIRE(symlink("tasks", link) == 0);
        config.journal_path = by_link != 0 ? link : path;
        open_it();
        names();
        T_EQ_I64(cellar_pool_open(&config, &q), CELLAR_E_BUSY);
        T_CHECK(q == NULL);
        config.journal_path = by_link != 0 ? path : link;
        T_EQ_I64(cellar_pool_open(&config, &q), CELLAR_E_BUSY);
        T_EQ_I64(in_child(fork(), opens_in_child), 0);
        config.journal_path = path;
        (void)submit("a", NULL);
        copies = true;
        (void)tick();
        next_process();
        T_AFTER_STR(tick(), ran, "aa");
        T_EQ_U64(last_attempt, 2);
        end();
    }
}

static int submits_in_child(void)
{
    if (cellar_task_submit(p, "t", "b", 1, NULL, NULL) != CELLAR_E_FORKED) { return 1; }
    return cellar_pool_close(p) == CELLAR_OK ? 0 : 2;
}

T_CASE(rolled_back_transaction_has_ended)
{
    static base_account account;
    journal *j;
    uint64_t number[2];
    const char *why;
    if (without_sqlite()) { return; }
    begin();
    base_account_init(&account, 64u << 20, NULL);
    T_REQUIRE(journal_open(&account, path, false, &j, number, &why) == CELLAR_OK);
    for (int i = 0; i < 2; i++) {
        T_EQ_I64(journal_write(j, JOURNAL_BEGIN, NULL), CELLAR_OK);
        journal_rollback(j);
    }
    journal_close(&account, j);
    end();
}

T_CASE_ON(a_child_has_no_journal, JOURNAL)
{
    (void)submit("a", NULL);
    T_EQ_I64(in_child(fork(), submits_in_child), 0);
    crash_and_restart();
    T_AFTER_STR(tick(), ran, "a");
}

static size_t bytes_of(char *to, size_t cap)
{
    FILE *f = fopen(path, "r");
    T_REQUIRE(f != NULL);
    const size_t n = fread(to, 1, cap, f);
    T_CHECK(n > 0 && n < cap);
    T_EQ_I64(fclose(f), 0);
    return n;
}

/* Refuse the file of `config`, which is not damaged, with the code, and leave its bytes. */
static void refused_untouched(cellar_err want)
{
    static char was[65536], is[sizeof was];
    for (unsigned i = 0; i < 2; i++) {
        const size_t n = bytes_of(was, sizeof was);
        said[0] = '\0';
        T_EQ_I64(cellar_pool_open(&config, &p), want);
        T_CHECK(p == NULL && strstr(said, path) != NULL);
        T_EQ_U64(bytes_of(is, sizeof is), n);
        T_EQ_MEM(is, was, n);
        config.on_bad_journal = CELLAR_JOURNAL_SET_ASIDE;
    }
}

T_CASE(a_journal_of_another_schema_is_refused_untouched)
{
    if (without_sqlite()) { return; }
    static const char *const change[] = { "PRAGMA user_version=99", "PRAGMA user_version=3",
                                          "PRAGMA journal_mode=DELETE; PRAGMA user_version=1" };
    for (size_t i = 0; i < sizeof change / sizeof *change; i++) {
        start();
        close_it();
        sql(change[i]);
        refused_untouched(CELLAR_E_NEWER_FORMAT);
        T_CHECK(strstr(said, "another version of the library") != NULL);
        end();
    }
}

T_CASE(a_foreign_database_is_refused)
{
    if (without_sqlite()) { return; }
    clear();
    begin();
    sql("CREATE TABLE mine(a); INSERT INTO mine VALUES(1)");
    refused_untouched(CELLAR_E_FOREIGN);
    sql("INSERT INTO mine VALUES(2)");
    end();
}

static void write_at(off_t at, const char *text)
{
    const int fd = open(path, O_WRONLY | O_CREAT, 0600);
    T_REQUIRE(fd >= 0 && pwrite(fd, text, strlen(text), at) == (ssize_t)strlen(text));
    T_REQUIRE(close(fd) == 0);
}

T_CASE(journal_damaged)
{
    if (without_sqlite()) { return; }
    static const off_t at[] = { 0, 100, 4096 + 3, 8192 + 1 };
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        start();
        for (int k = 0; k < 50; k++) { (void)submit("payload of some bytes", NULL); }
        close_it();
        write_at(at[i], "this is no page of a database at all: this is no page of a database");
        said[0] = '\0';
        T_EQ_I64(cellar_pool_open(&config, &p), CELLAR_E_CORRUPT);
        T_CHECK(p == NULL && strstr(said, path) != NULL);
        T_EQ_I64(cellar_pool_open(&config, &p), CELLAR_E_CORRUPT);
        config.on_bad_journal = CELLAR_JOURNAL_SET_ASIDE;
        open_it();
        char bad[T_FOLDER_MAX + 16];
        snprintf(bad, sizeof bad, "%s.bad.1", path);
        T_CHECK(strstr(said, bad) != NULL);
        names();
        (void)submit("a", NULL);
        T_EQ_I64(access(bad, F_OK), 0);
        close_it();
        open_it();
        T_EQ_U64(figures().restored, 1);
        end();
    }
}

T_CASE(a_row_out_of_range_is_damage)
{
    if (without_sqlite()) { return; }
    static const char *const change[] = {
        "UPDATE task SET state=4", "UPDATE task SET priority=10", "UPDATE task SET attempt=-1",
        "UPDATE task SET id=x'00'", "UPDATE task SET name=''", "UPDATE task SET inputs=70000",
        "UPDATE task SET then_id=x'01', member=0", "INSERT INTO input VALUES(x'02',0,7,NULL)",
        "UPDATE task SET error=hex(zeroblob(200))", "DROP TABLE input",
    };
    for (size_t i = 0; i < sizeof change / sizeof *change; i++) {
        start();
        (void)submit("a", NULL);
        close_it();
        sql(change[i]);
        const cellar_err err = cellar_pool_open(&config, &p);
        if (err == CELLAR_OK) { /* an input of no task is cleaned up */
            T_EQ_U64(i, 7);
        } else {
            T_EQ_I64(err, CELLAR_E_CORRUPT);
        }
        end();
    }
}

static uint32_t freed;

/* Submit from inside the thread that commits. */
static void frees(void *payload, size_t len, void *ctx)
{
    (void)payload, (void)len, (void)ctx;
    cellar_submit_opts o = { .struct_size = sizeof o, .free_fn = ++freed < 5 ? frees : NULL };
    cellar_task_id id;
    T_EQ_I64(cellar_task_submit(p, "t", "n", 1, &o, &id), CELLAR_OK);
    if (freed == 3) { T_EQ_I64(cellar_task_cancel(p, id), CELLAR_OK); }
}

T_CASE_ON(a_free_fn_may_submit, JOURNAL)
{
    freed = 0;
    cellar_submit_opts o = { .struct_size = sizeof o, .free_fn = frees };
    const cellar_task_id a = submit("a", &o);
    T_AFTER_U64(pass(1), freed, 5);
    T_EQ_STR(ran, "annnn");
    T_EQ_I64(state_of(a), CELLAR_E_NOT_FOUND);
    T_AFTER_U64(crash(), figures().restored, 0);
}

/* Check that the journal at `where` is refused for a reason. */
static void refused_for(const char *where, const char *reason)
{
    char text[200];
    cellar_error_info e = cellar_error_info_default();
    config.journal_path = where;
    T_EQ_I64(cellar_pool_open(&config, &p), CELLAR_E_IO);
    T_EQ_I64(cellar_last_error(NULL, &e), CELLAR_OK);
    (void)snprintf(text, sizeof text, "cellar_pool_open: journal: %s: %s", reason, where);
    T_EQ_STR(e.text, text);
    T_EQ_I64(e.sys_errno, 0);
}

T_CASE(bad_paths_are_refused)
{
    if (without_sqlite()) { return; }
    clear();
    begin();
    config.journal_path = "";
    T_EQ_I64(cellar_pool_open(&config, &p), CELLAR_E_INVAL);
    config.journal_path = ":memory:";
    T_EQ_I64(cellar_pool_open(&config, &p), CELLAR_E_INVAL);
    refused_for("/nowhere/at/all/tasks", "no such file or folder");
    refused_for(folder, "this is a folder");
    config.journal_path = path;
    config.on_full = CELLAR_POOL_DROP_OLDEST;
    T_EQ_I64(cellar_pool_open(&config, &p), CELLAR_E_INVAL);
    end();
}

/* ---- errors of the disk ---- */

T_CASE_ON(journal_full, JOURNAL)
{
    const cellar_task_id a = submit("a", NULL);
    limit_files(4096);
    cellar_task_id id = { 1, 1 };
    T_CHECK(is_disk_error(cellar_task_submit(p, "t", "b", 1, NULL, &id)));
    const cellar_task_item items[] = { { "t", "c", 1, NULL }, { "t", "d", 1, NULL } };
    T_CHECK(is_disk_error(cellar_task_submit_many(p, items, 2, CELLAR_LINKS_NONE, NULL)));
    T_CHECK(is_disk_error(cellar_task_submit_many(p, items, 2, CELLAR_LINKS_GROUP, NULL)));
    T_EQ_U64(figures().live, 1);
    tick(); /* a runs; its end cannot be written */
    T_EQ_STR(ran, "a");
    T_EQ_I64(state_of(a), CELLAR_TASK_RUNNING);
    T_EQ_I64(cellar_task_wait(p, a, 0, NULL), CELLAR_PENDING);
    T_EQ_U64(figures().journal_pending, 1);
    T_CHECK(figures().journal_errors >= 3);
    T_CHECK(strstr(said, "a commit failed") != NULL);
    pass(10);
    const uint64_t errors = figures().journal_errors;
    limit_files(0);
    T_AFTER_U64(pass(1), figures().journal_errors, errors); /* not before the next try */
    T_EQ_U64(figures().journal_pending, 1);
    T_AFTER_U64(pass(1000), figures().journal_pending, 0);
    T_EQ_I64(state_of(a), CELLAR_E_NOT_FOUND);
    (void)submit("e", NULL);
    T_AFTER_U64(crash(), figures().restored, 1);
    names();
    T_AFTER_STR(tick(), ran, "ae");
}

T_CASE_ON(close_without_a_disk_runs_the_task_again, JOURNAL)
{
    (void)submit("a", NULL);
    limit_files(4096);
    tick();
    close_it();
    T_CHECK(strstr(said, "closed without the last 1 changes") != NULL);
    limit_files(0);
    open_it();
    names();
    T_AFTER_STR(pass(1), ran, "aa");
    T_EQ_U64(last_attempt, 2); /* the attempt that ended is counted */
}

T_CASE_ON(each_allocation_may_fail, JOURNAL)
{
    const cellar_task_item items[] = { { "give", "x", 1, NULL }, { "give", "y", 1, NULL },
                                       { "join", NULL, 0, NULL } };
    T_EQ_I64(submit_linked(p, items, 3, CELLAR_LINKS_GROUP, CELLAR_TASK_ALWAYS, NULL), CELLAR_OK);
    T_EQ_I64(cellar_tick(p, 0, NULL), CELLAR_PENDING);
    (void)submit("a", NULL);
    close_it();
    for (uint64_t nth = 1;; nth++) {
        (void)base_fault_alloc_arm(nth, false);
        const cellar_err err = cellar_pool_open(&config, &p);
        const uint64_t calls = base_fault_alloc_arm(0, false);
        if (err == CELLAR_OK) {
            T_CHECK(calls < nth || nth > 1); /* some are optional */
            T_EQ_U64(figures().restored, 3);
            if (calls < nth) { break; }
            close_it();
        } else {
            T_EQ_I64(err, CELLAR_E_NOMEM);
            T_CHECK(p == NULL);
        }
    }
    names();
    cellar_submit_opts o = { .struct_size = sizeof o, .unique_key = "k" };
    cellar_err err;
    EACH_ALLOCATION_FAILS(err, cellar_task_submit(p, "t", "b", 1, &o, NULL)) { }
    T_AFTER_U64(pass(1), figures().ok, 5 - 1);
}

T_CASE_ON(a_restored_task_has_no_room_for_an_error, JOURNAL)
{
    for (int i = 0; i < 1000; i++) { (void)submit("a", NULL); }
    close_it();
    open_it();
    const uint64_t plain = figures().bytes;
    close_it();
    sql("UPDATE task SET error='no connection'");
    open_it();
    const uint64_t with_errors = figures().bytes;
    T_CHECK(with_errors - plain >= 1000 * (CELLAR_TASK_TEXT_MAX + 1)); /* and the allocator */
}

T_CASE_ON(throttle_keys_survive_a_crash, JOURNAL)
{
    cellar_task_id id, other;
    cellar_submit_opts o = { .struct_size = sizeof o, .unique_key = "k", .unique_ttl_ms = 5000,
                             .on_conflict = CELLAR_TASK_CONFLICT_THROTTLE };
    const cellar_task_id a = submit("a", &o);
    tick();
    pass(2000);
    crash(); /* a has ended: only its key is left */
    names();
    T_EQ_U64(figures().restored, 0);
    T_EQ_I64(cellar_task_submit(p, "t", "b", 1, &o, &id), CELLAR_EXISTS);
    T_CHECK(memcmp(&id, &a, sizeof a) == 0);
    T_AFTER_I64(pass(2999), cellar_task_submit(p, "t", "b", 1, &o, &id), CELLAR_EXISTS);
    pass(1);
    const cellar_task_id c = submit("c", &o);
    crash(); /* the key has a new time and a live task */
    names();
    T_EQ_I64(cellar_task_submit(p, "t", "d", 1, &o, &other), CELLAR_EXISTS);
    T_CHECK(memcmp(&other, &c, sizeof c) == 0);
    pass(5000);
    for (char key[] = "a"; *key <= 'j'; ++*key) { /* each takes one that is over with it */
        o.unique_key = key;
        o.unique_ttl_ms = 1;
        (void)submit("e", &o);
        pass(1);
    }
    close_it();
    sql("CREATE TABLE seen(n INTEGER CHECK(n <= 3));"
        "INSERT INTO seen SELECT count(*) FROM throttle; DROP TABLE seen;");
    T_EQ_STR(ran, "aceeeeeeeeee");
}

T_CASE_ON(a_refused_throttle_key_is_not_in_force, JOURNAL)
{
    cellar_submit_opts o = { .struct_size = sizeof o, .unique_key = "k", .unique_ttl_ms = 5000,
                             .on_conflict = CELLAR_TASK_CONFLICT_THROTTLE };
    limit_files(4096);
    T_CHECK(is_disk_error(cellar_task_submit(p, "t", "b", 1, &o, NULL)));
    limit_files(0);
    crash_and_restart();
    (void)submit("c", &o);
    close_it();
    cellar_err err;
    EACH_ALLOCATION_FAILS(err, cellar_pool_open(&config, &p)) { }
    names();
    T_EQ_I64(cellar_task_submit(p, "t", "b", 1, &o, NULL), CELLAR_EXISTS);
    close_it();
    sql("UPDATE throttle SET key=''");
    T_EQ_I64(cellar_pool_open(&config, &p), CELLAR_E_CORRUPT);
}

T_MAIN("work_journal")
