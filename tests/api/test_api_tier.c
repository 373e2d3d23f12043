/* SPDX-License-Identifier: MIT
 *
 * Aim:    A namespace with a table of cellar_tier_attach shares its entries with other processes.
 *         Each change reaches the server before it returns; each change from outside ends the entry
 *         in memory, and no reply that was on its way brings an older value back.
 * Method: Two stores are two clients of a server in memory. The server acts in the middle of calls.
 *         A clock of the test. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/counter.h"
#include "tests/support/rules.h"
#include "tests/support/spaces.h"
#include "tests/support/tier_clients.h"
#include "tests/support/told.h"

/* ---- codes of the server ---- */

T_CASE_ON(deferred_write_leaves_memory, CLIENTS)
{
    sets(ns[0], "k", "1");
    one.answer = CELLAR_DEFERRED;
    T_EQ_I64(cellar_set(ns[0], "k", 1, "2", 1, NULL), CELLAR_DEFERRED);
    T_EQ_I64(cellar_delete(ns[0], "other", 5), CELLAR_DEFERRED);
    cellar *again = NULL;
    T_EQ_I64(cellar_namespace_open(root[0], "users", SPACE_OPTS(.version = 7), &again), CELLAR_OK);
    T_CHECK(again == ns[0]);
    T_EQ_I64(cellar_namespace_close(again), CELLAR_OK);
    one.answer = CELLAR_OK;
    T_CHECK(!in_memory(ns[0], &one, "k"));
    has(ns[0], "k", "1");
}

/* Delete "k" by a pattern. */
static cellar_err delete_like(const char *pattern, uint64_t want)
{
    uint64_t removed = 9;
    const cellar_err err = cellar_delete_by_pattern(ns[0], pattern, strlen(pattern), &removed);
    T_EQ_U64(removed, want);
    return err;
}

T_CASE_ON(pattern_without_wildcards_returns_the_code_of_the_server, CLIENTS)
{
    static const cellar_err answers[] = { CELLAR_OK, CELLAR_DEFERRED, CELLAR_E_TIMEOUT };
    for (unsigned i = 0; i < 3; i++) {
        sets(ns[0], "k", "1");
        one.answer = answers[i];
        T_EQ_I64(delete_like("k", 1), answers[i]);
        T_EQ_I64(delete_like("k", 0), answers[i]);
        one.answer = CELLAR_OK;
    }
    T_CHECK(strstr(error_text(ns[0]), "shared server") != NULL);
}

T_CASE_ON(delete_that_the_server_refused_leaves_memory, CLIENTS)
{
    static const char *const patterns[] = { "k", "k*", NULL };
    for (unsigned i = 0; i < 3; i++) {
        sets(ns[0], "k", "1");
        sets(ns[0], "other", "1");
        one.answer = CELLAR_E_TIMEOUT;
        T_EQ_I64(patterns[i] != NULL ? delete_like(patterns[i], 1) : cellar_clear(ns[0]),
                 CELLAR_E_TIMEOUT);
        one.answer = CELLAR_OK;
        T_CHECK(!in_memory(ns[0], &one, "k"));
        T_CHECK(in_memory(ns[0], &one, "other") == (patterns[i] != NULL));
        has(ns[0], "k", "1"); /* the server has it */
    }
}

/* Open the namespace of the first client with a version. */
static cellar_err open_version(uint32_t version)
{
    const cellar_namespace_config o = { .struct_size = sizeof o, .version = version };
    cellar *again = NULL;
    const cellar_err err = cellar_namespace_open(root[0], "users", &o, &again);
    T_CHECK((again == ns[0]) == (err == CELLAR_OK));
    if (err == CELLAR_OK) { T_EQ_I64(cellar_namespace_close(again), CELLAR_OK); }
    return err;
}

T_CASE_ON(version_that_the_server_refused_ends_the_entries_in_the_next_open, CLIENTS)
{
    uint32_t version = 9;
    for (unsigned i = 0; i < 2; i++) {
        sets(ns[0], "k", "1");
        one.answer = CELLAR_E_TIMEOUT;
        if (i == 0) {
            T_EQ_I64(open_version(7), CELLAR_E_TIMEOUT);
            T_CHECK(strstr(error_text(root[0]), "did not confirm the version") != NULL);
        } else {
            T_EQ_I64(cellar_version_set(ns[0], 8, &version), CELLAR_E_TIMEOUT);
            T_EQ_U64(version, 7);
            T_EQ_I64(cellar_version_set(ns[0], 0, &version), CELLAR_E_TIMEOUT);
            T_EQ_U64(version, 7);
        }
        one.answer = CELLAR_OK;
        T_CHECK(!in_memory(ns[0], &one, "k"));
        T_EQ_I64(open_version(7 + i), CELLAR_OK);
        has(ns[0], "k", NULL);
        sets(ns[0], "k", "2");
        T_EQ_I64(open_version(7 + i), CELLAR_OK); /* the same one ends nothing */
        has(ns[0], "k", "2");
    }
}

/* ---- fields of an entry ---- */

static const shared_row *row_of(const char *key)
{
    const shared_row *r = shared_find(&server, key, strlen(key), false);
    T_REQUIRE(r != NULL);
    return r;
}

static cellar_err add_x(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)ctx;
    (void)cellar_buf_append(out, old, old_len);
    return cellar_buf_append(out, "x", 1);
}

T_CASE_ON(kept_times_have_the_stale_window_of_the_value, CLIENTS)
{
    const cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 1000, .stale_ms = 7000 };
    cellar_set_opts keep = { .struct_size = sizeof keep, .flags = CELLAR_KEEP_TTL };
    T_EQ_I64(cellar_set(ns[0], "k", 1, "1", 1, &o), CELLAR_OK);
    now_ms += 10;
    T_EQ_I64(cellar_update(ns[1], "k", 1, &keep, add_x, NULL), CELLAR_OK);
    has(ns[0], "k", "1x");
    T_EQ_I64(row_of("k")->deadline_ms, now_ms + 990);
    T_EQ_I64(row_of("k")->stale_ms, 7000);
    T_EQ_I64(cellar_set(ns[0], "k", 1, "2", 1, &keep), CELLAR_OK);
    T_EQ_I64(row_of("k")->stale_ms, 7000);
    keep.flags |= CELLAR_NEGATIVE; /* it has no stale window */
    T_EQ_I64(cellar_set(ns[0], "k", 1, NULL, 0, &keep), CELLAR_OK);
    T_EQ_I64(row_of("k")->deadline_ms, now_ms + 990);
    T_EQ_I64(row_of("k")->stale_ms, 0);
}

T_CASE_ON(idle_time_ends_an_entry_in_memory_alone, CLIENTS)
{
    const cellar_set_opts o = { .struct_size = sizeof o, .idle_ms = 1000, .max_age_ms = 9000 };
    cellar_entry_info info = cellar_entry_info_default();
    T_EQ_I64(cellar_set(ns[0], "k", 1, "v", 1, &o), CELLAR_OK);
    T_CHECK(in_memory(ns[0], &one, "k"));
    now_ms += 1000;
    T_CHECK(!in_memory(ns[0], &one, "k")); /* the server brings it back */
    T_EQ_I64(cellar_entry_info_get(ns[0], "k", 1, 0, &info), CELLAR_OK);
    T_EQ_I64(info.idle_ms, 0);
    T_EQ_I64(info.ttl_left_ms, 8000);
}

T_CASE_ON(touched_value_and_counter_keep_their_cost, CLIENTS)
{
    const cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 1000, .cost_us = 5000 };
    int64_t n = 0;
    T_EQ_I64(cellar_set(ns[0], "k", 1, "1", 1, &o), CELLAR_OK);
    const uint32_t cost = row_of("k")->cost;
    T_EQ_I64(cellar_touch(ns[1], "k", 1, 5000), CELLAR_OK);
    T_EQ_U64(row_of("k")->cost, cost);
    for (unsigned i = 0; i < 2; i++) {
        T_EQ_I64(cellar_increment(ns[0], "n", 1, 1, 0, &o, &n), CELLAR_OK);
        T_EQ_U64(row_of("n")->cost, cost);
    }
    T_CHECK(cost != 0);
}

T_CASE_ON(touch_of_a_negative_entry_changes_nothing, CLIENTS)
{
    const cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 1000, .flags = CELLAR_NEGATIVE };
    T_EQ_I64(cellar_set(ns[0], "n", 1, NULL, 0, &o), CELLAR_OK);
    T_EQ_I64(cellar_touch(ns[1], "n", 1, 5000), CELLAR_ABSENT);
    T_EQ_I64(row_of("n")->deadline_ms, now_ms + 1000);
    T_AFTER_I64(now_ms += 1000, cellar_touch(ns[1], "n", 1, 5000), CELLAR_MISS);
}

/* Report the bytes of "k" to a client as damaged. */
static cellar_err report(cellar *c, const char *bytes)
{
    return cellar_value_damaged(c, "k", 1, bytes, strlen(bytes));
}

T_CASE_ON(damaged_value_leaves_the_server, CLIENTS)
{
    for (unsigned i = 0; i < 2; i++) { /* memory of the client has the value, or not */
        T_AFTER_I64(sets(ns[0], "k", "bad"), report(ns[i], "other"), CELLAR_MISS);
        has(ns[1 - i], "k", "bad");
        T_EQ_I64(report(ns[i], "bad"), CELLAR_OK);
        has(ns[0], "k", NULL);
        has(ns[1], "k", NULL);
        T_EQ_I64(report(ns[i], "bad"), CELLAR_MISS);
    }
    sets(ns[0], "k", "bad");
    one.answer = CELLAR_E_TIMEOUT;
    T_EQ_I64(report(ns[0], "bad"), CELLAR_E_TIMEOUT);
    one.answer = CELLAR_OK;
    T_CHECK(!in_memory(ns[0], &one, "k"));
    one.get_answer = CELLAR_E_UNSUPPORTED; /* it compares no states */
    T_EQ_I64(report(ns[0], "other"), CELLAR_MISS);
    T_EQ_I64(report(ns[0], "bad"), CELLAR_OK);
    one.get_answer = CELLAR_OK;
    has(ns[0], "k", NULL);
}

/* ---- many keys ---- */

T_CASE_ON(clear_ends_the_entries_of_all_clients, CLIENTS)
{
    uint64_t id;
    T_EQ_I64(cellar_listener_add(ns[1], 0, hear, NULL, &id), CELLAR_OK);
    sets(ns[0], "k", "1");
    has(ns[1], "k", "1");
    T_EQ_I64(cellar_clear(ns[0]), CELLAR_OK);
    T_EQ_U64(one.clears, 1);
    T_EQ_U64(two.clears, 0);
    has(ns[0], "k", NULL);
    has(ns[1], "k", NULL);
    while (cellar_tick(root[1], 10000, NULL) == CELLAR_PENDING) {}
    T_EQ_U64(heard[CELLAR_CAUSE_REMOTE], 1);
    T_EQ_I64(cellar_listener_remove(ns[1], id), CELLAR_OK);
}

T_CASE_ON(tag_ends_entries_of_all_clients, CLIENTS)
{
    const cellar_bytes tag = { "t", 1 };
    T_EQ_I64(cellar_set(ns[0], "k", 1, "1", 1, SET_OPTS(.tags = &tag, .tag_count = 1)), CELLAR_OK);
    sets(ns[0], "other", "1");
    has(ns[1], "k", "1");
    has(ns[1], "other", "1");
    T_EQ_I64(cellar_delete_by_tag(root[0], "t", 1, CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_U64(one.tags, 1);
    T_EQ_U64(two.tags, 0);
    has(ns[0], "k", NULL);
    has(ns[1], "k", NULL);
    has(ns[1], "other", "1");
}

/* All entries end, and a get fills memory again, before the server deletes. */
static void end_and_fill(shared_client *m, const char *call)
{
    if (strcmp(call, "pattern") != 0) { return; }
    m->host->ended(m->host->ctx, 0);
    has(ns[0], "k", "1");
}

T_CASE_ON(entries_end_within_a_pattern_delete, CLIENTS)
{
    sets(ns[0], "k", "1");
    one.inside = end_and_fill;
    T_EQ_I64(cellar_delete_by_pattern(ns[0], "*", 1, NULL), CELLAR_OK);
    one.inside = NULL;
    has(ns[0], "k", NULL);
}

/* ---- a reply on its way ---- */

T_CASE(reply_on_its_way_brings_nothing_old_back)
{
    static const char *const acts[] = { "set", "delete", "clear", "tag", "ended", "own" };
    const cellar_bytes tag = { "t", 1 };
    for (unsigned i = 0; i < sizeof acts / sizeof acts[0]; i++) {
        cellar_set_opts o = { .struct_size = sizeof o, .tags = &tag, .tag_count = 1 };
        begin();
        T_EQ_I64(cellar_set(ns[0], "k", 1, "old", 3, &o), CELLAR_OK);
        two.inside = outside;
        act = acts[i];
        char buf[8];
        (void)cellar_get(ns[1], "k", 1, buf, sizeof buf, NULL);
        two.inside = NULL;
        const bool there = i == 0 || i == 4 || i == 5;
        has(ns[1], "k", !there ? NULL : i == 4 ? "old" : "new");
        end();
    }
}

/* ---- a change on its way ---- */

/* End the namespace inside the next change, and set the key again. */
static void end_and_set(shared_client *m, const char *call)
{
    if (strncmp(call, "get", 3) == 0 || strcmp(call, "clear") == 0) { return; }
    m->inside = NULL;
    if (strcmp(act, "clear") == 0) { T_EQ_I64(cellar_clear(ns[1]), CELLAR_OK); }
    else { m->host->ended(m->host->ctx, CELLAR_TAG_HARD); }
    sets(ns[1], "k", "2");
}

static void set_overtaken(void) { sets(ns[1], "k", "1"); }

static void set_if_overtaken(void)
{
    (void)cellar_set(ns[1], "k", 1, "1", 1, SET_OPTS(.flags = CELLAR_ONLY_IF_PRESENT));
}

static void delete_overtaken(void) { (void)cellar_delete(ns[1], "k", 1); }

static cellar_err add_like_a_set(void *ctx, const cellar_tier_key *k, int64_t delta,
                                 int64_t *number, const cellar_tier_entry *e)
{
    cellar_tier_entry put = { .deadline_ms = INT64_MAX };
    (void)e;
    *number += delta;
    return shared_put(ctx, k, "1", 1, &put);
}

static void increment_overtaken(void)
{
    int64_t n = 0;
    const cellar_err err = cellar_increment(ns[1], "k", 1, 1, 0, NULL, &n);
    T_CHECK(err == CELLAR_OK || two.answer != CELLAR_OK);
}

/* The server orders the older change behind the newer one and does not report it: own changes are
 * not reported. */
T_CASE(change_that_an_end_overtook_leaves_nothing_older_in_memory)
{
    static void (*const changes[])(void) = { set_overtaken, set_if_overtaken, delete_overtaken,
                                             increment_overtaken };
    static const char *const ends[] = { "ended", "clear" };
    for (unsigned i = 0; i < 2 * sizeof changes / sizeof changes[0]; i++) {
        char there[8] = "", got[8] = "";
        make_clients();
        two.table.add = add_like_a_set;
        attach_both();
        sets(ns[1], "k", "0");
        act = ends[i % 2];
        two.inside = end_and_set;
        changes[i / 2]();
        T_CHECK(two.inside == NULL);
        const cellar_err theirs = cellar_get_str(ns[0], "k", there, sizeof there);
        T_EQ_I64(cellar_get_str(ns[1], "k", got, sizeof got), theirs);
        T_EQ_STR(got, there);
        end();
    }
    act = NULL;
}

static void (*newer)(void);
static cellar_err newer_answer;

static void set_newer(void) { (void)cellar_set(ns[1], "k", 1, "newer", 5, NULL); }
static void delete_all(void) { (void)cellar_delete_by_pattern(ns[1], "*", 1, NULL); }
static void clear_all(void) { (void)cellar_clear(ns[1]); }

/* Make a newer change when the older one has left memory and not reached the tier. */
static void make_newer(const cellar_event *e, void *ctx)
{
    void (*const change)(void) = newer;
    (void)e, (void)ctx;
    if (change == NULL) { return; }
    newer = NULL;
    two.answer = newer_answer;
    change();
    two.answer = CELLAR_OK;
}

/* What the tier judges hides no older change, and neither does what it refuses. */
T_CASE(change_behind_a_judged_or_refused_one_reaches_the_server)
{
    static void (*const newers[])(void) = { set_if_overtaken, increment_overtaken, set_newer,
                                            delete_all, clear_all };
    static const cellar_err answers[] = { CELLAR_CONFLICT, CELLAR_E_TYPE, CELLAR_E_SPACE,
                                          CELLAR_E_BREAKER_OPEN, CELLAR_E_TIMEOUT, CELLAR_OK };
    const unsigned count = sizeof answers / sizeof answers[0];
    for (unsigned i = 0; i < 2 * 5 * count; i++) {
        uint64_t id;
        const bool deletes = i % 2 == 1;
        make_clients();
        two.table.add = add_like_a_set;
        two.table.blind_fill = newers[i / 2 % 5] == clear_all;
        attach_both();
        cellar_result r = cellar_result_default(); /* a table of loads */
        (void)cellar_get_or_load(ns[1], "l", 1, NULL, load_fails, NULL, &r);
        cellar_result_free(&r);
        sets(ns[1], "k", "0");
        T_EQ_I64(cellar_listener_add(ns[1], 0, make_newer, NULL, &id), CELLAR_OK);
        newer = newers[i / 2 % 5];
        newer_answer = answers[i / 10];
        const bool judged = newer == set_if_overtaken || newer == increment_overtaken;
        if (!judged && newer_answer >= CELLAR_OK) { newer_answer = CELLAR_E_LIMIT; }
        if (deletes) { T_EQ_I64(cellar_delete(ns[1], "k", 1), CELLAR_OK); }
        else { sets(ns[1], "k", "older"); }
        T_CHECK(newer == NULL);
        has(ns[0], "k", deletes ? NULL : "older");
        has(ns[1], "k", deletes ? NULL : "older");
        T_EQ_I64(cellar_listener_remove(ns[1], id), CELLAR_OK);
        end();
    }
}

/* ---- changes that depend on the state of the key ---- */

static const char *between; /* key that the other client sets between read and change */
static void come_between(shared_client *m, const char *call)
{
    if (between == NULL || (strcmp(call, "put") != 0 && strcmp(call, "remove") != 0)) { return; }
    const char *key = between;
    between = NULL;
    cellar *c = m == &one ? ns[1] : ns[0];
    T_EQ_I64(cellar_set(c, key, 1, "\5\0\0\0\0\0\0\0", 8, NULL), CELLAR_OK);
}

T_CASE_ON(conditions_hold_for_the_server, CLIENTS)
{
    sets(ns[0], "k", "1");
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_ONLY_IF_ABSENT };
    T_EQ_I64(cellar_set(ns[1], "k", 1, "2", 1, &o), CELLAR_EXISTS);
    T_EQ_I64(cellar_set(ns[1], "new", 3, "2", 1, &o), CELLAR_OK);
    has(ns[0], "new", "2");
    o.flags = CELLAR_ONLY_IF_PRESENT;
    T_EQ_I64(cellar_set(ns[1], "none", 4, "2", 1, &o), CELLAR_MISS);
    T_EQ_I64(cellar_set(ns[1], "k", 1, "2", 1, &o), CELLAR_OK);
    has(ns[0], "k", "2");
}

T_CASE_ON(condition_takes_a_stale_value_of_the_server_for_none, CLIENTS)
{
    const cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 1000, .stale_ms = 7000 };
    cellar_set_opts absent = { .struct_size = sizeof absent, .flags = CELLAR_ONLY_IF_ABSENT };
    T_EQ_I64(cellar_set(ns[0], "k", 1, "1", 1, &o), CELLAR_OK);
    T_EQ_I64(cellar_set(ns[1], "k", 1, "2", 1, &absent), CELLAR_EXISTS);
    now_ms += 1000;
    T_EQ_I64(cellar_set(ns[1], "k", 1, "2", 1, &absent), CELLAR_OK);
    has(ns[0], "k", "2");
    T_EQ_I64(cellar_set(ns[0], "k", 1, "1", 1, &o), CELLAR_OK);
    now_ms += 1000;
    T_EQ_I64(cellar_update(ns[1], "k", 1, NULL, add_x, NULL), CELLAR_OK);
    has(ns[0], "k", "x");
}

T_CASE_ON(version_is_the_state_of_the_server, CLIENTS)
{
    char buf[8];
    uint64_t version = 0;
    cellar_entry_info info = cellar_entry_info_default();
    sets(ns[0], "k", "1");
    cellar_get_opts g = { .struct_size = sizeof g, .flags = CELLAR_GET_WANT_VERSION,
                          .info = &info };
    T_EQ_I64(cellar_get_with(ns[1], "k", 1, &g, buf, sizeof buf, NULL), CELLAR_OK);
    T_EQ_U64(info.version, server.row[0].check);
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_ONLY_IF_VERSION,
                          .if_version = info.version, .new_version = &version };
    T_EQ_I64(cellar_set(ns[0], "k", 1, "2", 1, &o), CELLAR_OK);
    T_EQ_U64(version, server.row[0].check);
    T_EQ_I64(cellar_set(ns[0], "k", 1, "3", 1, &o), CELLAR_CONFLICT);
    T_EQ_I64(cellar_set(ns[0], "none", 4, "3", 1, &o), CELLAR_CONFLICT);
    T_EQ_I64(cellar_entry_info_get(ns[1], "k", 1, CELLAR_GET_WANT_VERSION, &info), CELLAR_OK);
    T_EQ_U64(info.version, version);
    cellar_delete_opts d = { .struct_size = sizeof d, .if_version = version + 1 };
    T_EQ_I64(cellar_delete_with(ns[1], "k", 1, &d), CELLAR_CONFLICT);
    d.if_version = version;
    T_EQ_I64(cellar_delete_with(ns[1], "k", 1, &d), CELLAR_OK);
    T_EQ_I64(cellar_delete_with(ns[1], "k", 1, &d), CELLAR_MISS);
    has(ns[0], "k", NULL);
}

T_CASE_ON(increment_loses_no_update_of_another_process, CLIENTS)
{
    int64_t now = 0;
    T_EQ_I64(cellar_increment(ns[0], "n", 1, 2, 10, NULL, &now), CELLAR_OK);
    T_EQ_I64(now, 12);
    T_EQ_I64(cellar_increment(ns[1], "n", 1, 3, 0, NULL, &now), CELLAR_OK);
    T_EQ_I64(now, 15);
    one.inside = come_between; /* sets 5 */
    between = "n";
    T_EQ_I64(cellar_increment(ns[0], "n", 1, 1, 0, NULL, &now), CELLAR_OK);
    T_EQ_I64(now, 6);
    one.inside = NULL;
    sets(ns[0], "text", "1");
    T_EQ_I64(cellar_increment(ns[1], "text", 4, 1, 0, NULL, &now), CELLAR_E_TYPE);
    T_EQ_I64(cellar_increment(ns[1], "none", 4, 1, 0, COUNTER_PRESENT, &now),
             CELLAR_MISS);
    T_EQ_I64(cellar_increment(ns[1], "n", 1, INT64_MAX, 0, NULL, &now), CELLAR_E_RANGE);
    T_EQ_I64(now, INT64_MAX);
    one.answer = CELLAR_E_TIMEOUT;
    T_EQ_I64(cellar_increment(ns[0], "n", 1, 1, 0, NULL, &now), CELLAR_E_TIMEOUT);
    one.answer = CELLAR_OK;
    T_EQ_I64(rules_set(ns[0], "[*]\ndeny no*\n", 13, NULL, NULL), CELLAR_OK);
    T_EQ_I64(cellar_increment(ns[0], "no", 2, 1, 0, NULL, &now), CELLAR_E_DENIED);
}

static cellar_err add_two(void *ctx, const cellar_tier_key *k, int64_t delta, int64_t *number,
                          const cellar_tier_entry *e)
{
    (void)ctx, (void)k;
    *number += delta;
    return e == NULL ? CELLAR_MISS : CELLAR_OK;
}

T_CASE(tier_that_adds_is_asked_to_add)
{
    make_clients();
    one.table.add = add_two;
    attach_both();
    int64_t now = 0;
    T_EQ_I64(cellar_increment(ns[0], "n", 1, 2, 10, NULL, &now), CELLAR_OK);
    T_EQ_I64(now, 12);
    T_EQ_I64(cellar_increment(ns[0], "n", 1, 2, 0, COUNTER_PRESENT, &now), CELLAR_MISS);
    T_EQ_U64(one.puts, 0);
    end();
}

static cellar_err append(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    if (old_len != 0) { (void)cellar_buf_append(out, old, old_len); }
    (void)cellar_buf_append(out, ctx, strlen(ctx));
    return CELLAR_OK;
}

static cellar_err remove_it(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)old, (void)old_len, (void)out, (void)ctx;
    return CELLAR_REMOVED;
}

T_CASE_ON(update_sees_the_value_of_the_server, CLIENTS)
{
    const cellar_bytes tag = { "t", 1 };
    cellar_set_opts o = { .struct_size = sizeof o, .tags = &tag, .tag_count = 1, .user_flags = 7 };
    T_EQ_I64(cellar_set(ns[0], "k", 1, "a", 1, &o), CELLAR_OK);
    T_EQ_I64(cellar_update(ns[1], "k", 1, NULL, append, (void *)(uintptr_t)"b"), CELLAR_OK);
    has(ns[0], "k", "ab");
    T_EQ_U64(server.row[0].user_flags, 7);
    T_EQ_U64(server.row[0].tag_count, 1);
    two.inside = come_between;
    between = "k";
    T_EQ_I64(cellar_update(ns[1], "k", 1, NULL, append, (void *)(uintptr_t)"c"), CELLAR_OK);
    two.inside = NULL;
    T_EQ_U64(server.row[0].value_len, 9); /* the 8 bytes that came between, and "c" */
    T_EQ_I64(cellar_update(ns[1], "k", 1, NULL, remove_it, NULL), CELLAR_REMOVED);
    has(ns[0], "k", NULL);
    T_EQ_I64(cellar_update(ns[1], "k", 1, NULL, remove_it, NULL), CELLAR_MISS);
    T_EQ_I64(cellar_update(ns[1], "k", 1, NULL, append, (void *)(uintptr_t)"x"), CELLAR_OK);
    has(ns[0], "k", "x");
}

/* Read the source; then a client changes what is cached, and finds none. */
static cellar_err older_than_a_change(cellar_load *load, const void *key, size_t len, void *ctx)
{
    const unsigned how = *(unsigned *)ctx;
    cellar *by = ns[how % 2];
    const cellar_set_opts there = { .struct_size = sizeof there, .flags = CELLAR_ONLY_IF_PRESENT };
    int64_t sum;
    T_EQ_I64(how < 2   ? cellar_update(by, key, len, NULL, remove_it, NULL)
             : how < 4 ? cellar_update(by, key, len, &there, append, (void *)(uintptr_t)"x")
             : how < 6 ? cellar_set(by, key, len, "new", 3, &there)
                       : cellar_increment(by, key, len, 1, 0, &there, &sum), CELLAR_MISS);
    return cellar_load_value(load, "old", 3);
}

static unsigned rounds;
static void come_between_each_round(shared_client *m, const char *call)
{
    if (strcmp(call, "put") != 0) { return; }
    rounds++;
    m->inside = NULL;
    sets(ns[0], "k", "other");
    m->inside = come_between_each_round;
}

T_CASE_ON(update_that_loses_64_rounds_is_busy_with_a_text_and_keeps_the_value, CLIENTS)
{
    sets(ns[0], "k", "other");
    two.inside = come_between_each_round;
    rounds = 0;
    T_EQ_I64(cellar_update(ns[1], "k", 1, NULL, append, (void *)(uintptr_t)"x"), CELLAR_E_BUSY);
    two.inside = NULL;
    T_EQ_U64(rounds, 64);
    T_CHECK(strstr(error_text(ns[1]), "64 tries lost to other writers") != NULL);
    has(ns[0], "k", "other");
}

T_CASE_ON(change_that_finds_no_value_ends_a_load, CLIENTS)
{
    for (unsigned how = 0; how < 8; how++) {
        cellar_result r = cellar_result_default();
        T_EQ_I64(cellar_get_or_load(ns[1], "k", 1, NULL, older_than_a_change, &how, &r), CELLAR_OK);
        T_EQ_U64(r.value_len, 3);
        cellar_result_free(&r);
        has(ns[1], "k", NULL);
        has(ns[0], "k", NULL);
    }
}

T_CASE_ON(removals_of_nothing_keep_a_newer_value, CLIENTS)
{
    void *old = NULL;
    size_t len = 0;
    cellar_delete_opts d = { .struct_size = sizeof d, .old_value = &old, .old_value_len = &len };
    two.inside = come_between;
    between = "k";
    T_EQ_I64(cellar_update(ns[1], "k", 1, NULL, remove_it, NULL), CELLAR_REMOVED);
    between = "j";
    T_EQ_I64(cellar_delete_with(ns[1], "j", 1, &d), CELLAR_OK);
    T_EQ_U64(len, 8);
    cellar_free(old);
}

T_CASE_ON(delete_returns_the_old_value_of_the_server, CLIENTS)
{
    void *old = NULL;
    size_t len = 0;
    cellar_delete_opts d = { .struct_size = sizeof d, .old_value = &old, .old_value_len = &len };
    sets(ns[0], "k", "1");
    T_EQ_I64(cellar_delete_with(ns[1], "k", 1, &d), CELLAR_OK);
    T_EQ_U64(len, 1);
    T_EQ_STR((const char *)old, "1");
    cellar_free(old);
    has(ns[0], "k", NULL);
    T_EQ_I64(cellar_delete_with(ns[1], "k", 1, &d), CELLAR_MISS);
}

static void deletes_old(uint64_t count)
{
    void *old = NULL;
    size_t len = 0;
    cellar_delete_opts o = { .struct_size = sizeof o, .old_value = &old, .old_value_len = &len };
    T_EQ_I64(cellar_delete_with(ns[0], "k", 1, &o), CELLAR_OK);
    cellar_free(old);
    T_EQ_U64(space_stats(ns[0]).deletes, count);
}

/* A change that the server judges or refuses, and a load, end the entry of memory: each was a
 * delete. That of a value which the server alone had was none. */
T_CASE_ON(deletes_alone_count_as_deletes, CLIENTS)
{
    const cellar_set_opts present = { .struct_size = sizeof present,
                                      .flags = CELLAR_ONLY_IF_PRESENT };
    const cellar_load_opts forced = { .struct_size = sizeof forced, .flags = CELLAR_LOAD_REFRESH };
    sets(ns[0], "k", "1");
    T_EQ_I64(cellar_set(ns[0], "k", 1, "2", 1, &present), CELLAR_OK);
    has(ns[0], "k", "2");
    T_EQ_I64(cellar_touch(ns[0], "k", 1, 1000), CELLAR_OK);
    has(ns[0], "k", "2");
    (void)loaded(0, &forced, load_counted, NULL, CELLAR_OK, "v");
    has(ns[0], "k", "v");
    one.answer = CELLAR_E_TIMEOUT;
    T_EQ_I64(cellar_set(ns[0], "k", 1, "4", 1, NULL), CELLAR_E_TIMEOUT);
    one.answer = CELLAR_OK;
    T_EQ_U64(space_stats(ns[0]).deletes, 0);
    has(ns[0], "k", "v");
    deletes_old(1);
    sets(ns[1], "k", "3");
    deletes_old(2);
}

T_CASE_ON(touch_sets_the_deadline_for_all, CLIENTS)
{
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 1000 };
    T_EQ_I64(cellar_set(ns[0], "k", 1, "1", 1, &o), CELLAR_OK);
    T_EQ_I64(cellar_touch(ns[1], "k", 1, 60000), CELLAR_OK);
    now_ms += 5000;
    has(ns[0], "k", "1");
    T_EQ_I64(cellar_touch(ns[1], "none", 4, 60000), CELLAR_MISS);
    o.flags = CELLAR_KEEP_TTL;
    o.ttl_ms = 0;
    T_EQ_I64(cellar_set(ns[0], "k", 1, "2", 1, &o), CELLAR_OK);
    T_EQ_I64(server.row[0].deadline_ms, 1000000 + 60000);
}

static uint64_t drawn;

/* Draw an epoch behind the reading, and let another process change the key before the first write. */
static void draw_and_come_between(shared_client *m, const char *call)
{
    if (strcmp(call, "get") == 0) { drawn = m->host->epoch(m->host->ctx); }
    if (strcmp(call, "put") != 0 || rounds++ != 0) { return; }
    m->inside = NULL;
    sets(ns[0], "k", "8 others");
    m->inside = draw_and_come_between;
}

/* An end between reading and write leaves the state that the tier compares: the epoch tells. */
T_CASE_ON(change_of_a_state_is_born_in_the_round_that_read_it, CLIENTS)
{
    const cellar_set_opts there = { .struct_size = sizeof there, .flags = CELLAR_ONLY_IF_PRESENT };
    int64_t sum;
    for (unsigned i = 0; i < 4; i++) {
        sets(ns[1], "k", "8 bytes.");
        const uint64_t begin = two.host->epoch(two.host->ctx);
        rounds = 0;
        two.inside = draw_and_come_between;
        T_EQ_I64(i == 0   ? cellar_touch(ns[1], "k", 1, 60000)
                 : i == 1 ? cellar_set(ns[1], "k", 1, "new", 3, &there)
                 : i == 2 ? cellar_increment(ns[1], "k", 1, 1, 0, NULL, &sum)
                          : cellar_update(ns[1], "k", 1, NULL, append, (void *)(uintptr_t)"x"),
                 CELLAR_OK);
        two.inside = NULL;
        T_EQ_U64(rounds, 2);
        T_EQ_U64(server.row[0].born, begin + 1); /* of the second round, and not behind it */
        T_EQ_U64(drawn, begin + 2);
    }
}

/* ---- attach, close, fork ---- */

T_CASE(attach_refuses_what_it_cannot_serve)
{
    make_clients();
    settings s = plain();
    cellar *c = open_store(0, &s);
    cellar_tier_table wrong[5] = { one.table, one.table, one.table, one.table, one.table };
    wrong[1].put = NULL;
    wrong[2].max_ttl_ms = -1;
    wrong[3].blind_fill = 2;
    wrong[4].struct_size = 12;
    T_EQ_I64(cellar_tier_attach(NULL, &wrong[0]), CELLAR_E_INVAL);
    T_EQ_I64(cellar_tier_attach(c, NULL), CELLAR_E_INVAL);
    for (unsigned i = 1; i < 4; i++) { T_EQ_I64(cellar_tier_attach(c, &wrong[i]), CELLAR_E_INVAL); }
    T_CHECK(cellar_tier_attach(c, &wrong[4]) < 0);
    cellar *hidden = space_with(root[0], "hidden", SPACE_OPTS(.hidden = 1));
    T_EQ_I64(cellar_tier_attach(hidden, &one.table), CELLAR_E_UNSUPPORTED);
    close_now(hidden);
    sets(c, "k", "before");
    T_EQ_I64(cellar_tier_attach(c, &one.table), CELLAR_OK);
    has(c, "k", NULL);
    T_EQ_STR(one.host->name, "users");
    T_EQ_I64(cellar_tier_attach(c, &two.table), CELLAR_E_BUSY);
    T_EQ_I64(cellar_namespace_close(c), CELLAR_OK);
    T_EQ_I64(cellar_close(root[0]), CELLAR_OK);
    T_EQ_U64(one.closes, 1);
}

static unsigned allocations, fail_at;
static void *count_alloc(size_t size, void *ctx)
{
    (void)ctx;
    return ++allocations == fail_at ? NULL : malloc(size);
}
static void count_free(void *p, size_t size, void *ctx) { (void)size, (void)ctx; free(p); }

T_CASE(failed_allocation_changes_nothing)
{
    make_clients();
    one.table.get_many = shared_get_many;
    settings s = plain();
    s.host.alloc = count_alloc;
    s.host.free = count_free;
    for (unsigned nth = 1, failed = 1; failed != 0; nth++) {
        fail_at = 0;
        cellar *c = open_store(0, &s);
        allocations = 0;
        fail_at = nth;
        const cellar_err err = cellar_tier_attach(c, &one.table);
        failed = err != CELLAR_OK;
        T_CHECK(!failed || err == CELLAR_E_NOMEM);
        fail_at = 0;
        if (failed) { T_EQ_I64(cellar_tier_attach(c, &one.table), CELLAR_OK); }
        sets(c, "k", "1");
        for (unsigned i = 1; i < 6; i++) { /* each step of a read, a load and a tag */
            T_EQ_I64(cellar_clear(c), CELLAR_OK);
            allocations = 0;
            fail_at = i;
            char buf[8];
            (void)cellar_set(c, "k", 1, "2", 1, NULL);
            (void)cellar_get(c, "k", 1, buf, sizeof buf, NULL);
            one.host->changed(one.host->ctx, "k", 1);
            cellar_get_item it[] = { item_of("k", buf, sizeof buf), item_of("none", buf, 0) };
            T_EQ_I64(cellar_get_many(c, it, 2, NULL), CELLAR_OK);
            T_EQ_I64(it[0].status, CELLAR_OK);
            (void)cellar_delete_by_tag(c, "t", 1, CELLAR_TAG_HARD);
            one.host->changed(one.host->ctx, "k", 1);
            one.host->ended(one.host->ctx, 0);
            fail_at = 0;
        }
        has(c, "k", "2");
        T_EQ_I64(cellar_namespace_close(c), CELLAR_OK);
        T_EQ_I64(cellar_close(root[0]), CELLAR_OK);
    }
}

T_CASE_ON(host_serves_a_dropped_namespace_until_close, CLIENTS)
{
    const cellar_tier_host *h = two.host;
    void *p = h->alloc(h->ctx, 100);
    T_CHECK(p != NULL);
    h->release(h->ctx, p, 100);
    h->release(h->ctx, NULL, 100);
    T_EQ_I64(h->now_ms(h->ctx), now_ms);
    T_EQ_I64(cellar_namespace_drop(root[1], "users"), CELLAR_OK);
    T_EQ_U64(two.clears, 0);
    h->changed(h->ctx, "k", 1);
    h->changed(h->ctx, "", 0);
    h->ended(h->ctx, 0);
    h->tag_ended(h->ctx, "t", 1, CELLAR_TAG_HARD);
    cellar_tier_ticket none;
    memset(&none, 0, sizeof none);
    const cellar_tier_key k = { "k", 1, 0 };
    h->answered(h->ctx, &none, &k, CELLAR_MISS, NULL, 0, NULL);
}

T_CASE(refused_host_ends_the_attach)
{
    make_clients();
    settings s = plain();
    cellar *c = open_store(0, &s);
    one.answer = CELLAR_E_CONFIG;
    T_EQ_I64(cellar_tier_attach(c, &one.table), CELLAR_E_CONFIG);
    one.answer = CELLAR_OK;
    T_AFTER_U64(sets(c, "k", "1"), one.puts, 0);
    T_EQ_I64(cellar_namespace_close(c), CELLAR_OK);
    T_EQ_I64(cellar_close(root[0]), CELLAR_OK);
    T_EQ_U64(one.closes, 0);
}

/* A number that the host raises orders sets against what the tier reads behind it. */
T_CASE_ON(set_tells_the_epoch_of_its_begin, CLIENTS)
{
    sets(ns[0], "k", "1");
    const uint64_t before = server.row[0].born, epoch = one.host->epoch(one.host->ctx);
    T_CHECK(before < epoch);
    T_AFTER_U64(sets(ns[0], "k", "2"), server.row[0].born, epoch);
    T_CHECK(one.host->epoch(one.host->ctx) > epoch);
}

T_CASE(many_namespaces_share_one_slot)
{
    enum { MANY = 12 };
    static shared_client more[MANY];
    cellar *c[MANY];
    begin();
    for (unsigned i = 0; i < MANY; i++) {
        const char *name = t_numbered("n", i);
        c[i] = space_with(root[0], name, SPACE_OPTS(.tier = CELLAR_TIER_L1));
        server.clients = 2;
        shared_client_init(&more[i], &server);
        T_EQ_I64(cellar_tier_attach(c[i], &more[i].table), CELLAR_OK);
        T_AFTER_U64(sets(c[i], name, "1"), more[i].puts, 1);
    }
    server.clients = 2;
    left_close();
    end();
    for (unsigned i = 0; i < MANY; i++) { T_EQ_U64(more[i].closes, 1); }
}

T_CASE_ON(forked_child_calls_no_server, CLIENTS)
{
    sets(ns[0], "k", "1");
    const pid_t pid = fork();
    if (pid == 0) {
        const unsigned puts = one.puts, gets = one.gets;
        char buf[8];
        bool fine = cellar_set(ns[0], "k", 1, "2", 1, NULL) == CELLAR_E_FORKED;
        fine = fine && cellar_get(ns[0], "k", 1, buf, sizeof buf, NULL) == CELLAR_E_FORKED;
        fine = fine && cellar_clear(ns[0]) == CELLAR_E_FORKED && one.clears == 0;
        fine = fine && cellar_tier_attach(ns[0], &one.table) == CELLAR_E_FORKED;
        fine = fine && one.puts == puts && one.gets == gets && one.forks == 1;
        (void)cellar_namespace_close(ns[0]);
        (void)cellar_close(root[0]);
        _exit(fine && one.closes == 0 ? 0 : 1);
    }
    int status = 1;
    T_EQ_I64(waitpid(pid, &status, 0), pid);
    T_EQ_I64(status, 0);
    T_EQ_U64(one.forks, 0);
}

/* ---- threads ---- */

#define ROUNDS 1000
static int reported[2]; /* newest number of a key that was set; atomic */

/* Set rising numbers of a key by one client, and read each at once. */
static void *changer(void *arg)
{
    const char key[2] = { (char)('a' + (intptr_t)arg), '\0' };
    cellar *c = ns[(intptr_t)arg];
    for (int n = 1; n <= ROUNDS; n++) {
        char text[32], buf[32] = "";
        size_t len = 0;
        (void)snprintf(text, sizeof text, "%d", n);
        T_EQ_I64(cellar_set(c, key, 1, text, strlen(text), NULL), CELLAR_OK);
        T_EQ_I64(cellar_get(c, key, 1, buf, sizeof buf - 1, &len), CELLAR_OK);
        T_EQ_I64(strtol(buf, NULL, 10), n);
        __atomic_store_n(&reported[(intptr_t)arg], n, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

/* Read both keys by one client: each number belongs to a reported change, or is newer. */
static void *reader(void *arg)
{
    for (unsigned i = 0; i < 4 * ROUNDS; i++) {
        const char key[2] = { (char)('a' + i % 2), '\0' };
        char buf[32] = "";
        size_t len = 0;
        const int sure = __atomic_load_n(&reported[i % 2], __ATOMIC_SEQ_CST);
        if (cellar_get(ns[(intptr_t)arg], key, 1, buf, sizeof buf - 1, &len) == CELLAR_OK) {
            T_CHECK(strtol(buf, NULL, 10) >= sure);
        }
    }
    return NULL;
}

T_CASE_ON(read_after_a_set_of_any_client_sees_it, CLIENTS)
{
    pthread_t thread[4];
    reported[0] = reported[1] = 0;
    for (intptr_t i = 0; i < 4; i++) {
        thread[i] = beside(i < 2 ? changer : reader, (void *)(i % 2));
    }
    for (unsigned i = 0; i < 4; i++) { joined(thread[i]); }
}

T_MAIN("api_tier")
