/* SPDX-License-Identifier: MIT
 *
 * Aim:    A namespace with a table of cellar_tier_attach shares its entries with other processes.
 *         Each change reaches the server before it returns; each change from outside ends the entry
 *         in memory, and no reply that was on its way brings an older value back.
 * Method: Two stores are two clients of a server in memory. The server acts in the middle of calls.
 *         A clock of the test. */
#include "tests/support/t.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cellar_invalidate.h"
#include "cellar_load.h"
#include "cellar_observe.h"
#include "tests/support/asleep.h"
#include "tests/support/settings.h"
#include "tests/support/shared_kit.h"

static shared_server server;
static shared_client one, two;
static cellar *root[2], *ns[2]; /* of the two clients */
static int64_t now_ms; /* atomic where threads run */
static unsigned heard[CELLAR_CAUSE_COUNT];

static int64_t read_clock(void *ctx)
{
    (void)ctx;
    return __atomic_load_n(&now_ms, __ATOMIC_SEQ_CST);
}

static void hear(const cellar_event *e, void *ctx)
{
    (void)ctx;
    heard[e->cause]++;
}

static settings plain(void)
{
    settings s = settings_default();
    s.config.memory_bytes = 4u << 20;
    s.host.clock = read_clock;
    s.host.no_threads = 1;
    return s;
}

static cellar *open_store(unsigned i, const settings *s)
{
    cellar_namespace_opts o = cellar_namespace_opts_default();
    o.tier = CELLAR_TIER_L1;
    T_EQ_I64(settings_open(s, &root[i]), CELLAR_OK);
    T_EQ_I64(cellar_namespace_open(root[i], "users", &o, &ns[i]), CELLAR_OK);
    return ns[i];
}

static void make_clients(void)
{
    now_ms = 1000000;
    memset(heard, 0, sizeof heard);
    shared_server_init(&server);
    shared_client_init(&one, &server);
    shared_client_init(&two, &server);
}

static void attach_both(void)
{
    const settings s = plain();
    T_EQ_I64(cellar_tier_attach(open_store(0, &s), &one.table), CELLAR_OK);
    T_EQ_I64(cellar_tier_attach(open_store(1, &s), &two.table), CELLAR_OK);
}

static void begin(void)
{
    make_clients();
    attach_both();
}

static void end(void)
{
    for (unsigned i = 0; i < 2; i++) {
        T_EQ_I64(cellar_close(ns[i]), CELLAR_OK);
        T_EQ_I64(cellar_close(root[i]), CELLAR_OK);
    }
    T_EQ_U64(one.closes + two.closes, 2);
}

static void sets(cellar *c, const char *key, const char *value)
{
    T_EQ_I64(cellar_set(c, key, strlen(key), value, strlen(value), NULL), CELLAR_OK);
}

/* Check the value of a key; NULL: a miss. */
static void has(cellar *c, const char *key, const char *want)
{
    char buf[64] = "";
    size_t len = 0;
    const cellar_err err = cellar_get(c, key, strlen(key), buf, sizeof buf - 1, &len);
    T_EQ_I64(err, want != NULL ? CELLAR_OK : CELLAR_MISS);
    if (want != NULL) { T_EQ_STR(buf, want); }
}

/* Check whether memory has the key. */
static bool in_memory(cellar *c, shared_client *m, const char *key)
{
    char buf[64];
    const unsigned gets = m->gets;
    const cellar_err err = cellar_get(c, key, strlen(key), buf, sizeof buf, NULL);
    return err == CELLAR_OK && m->gets == gets;
}

/* ---- writes and reads ---- */

static void set_reaches_the_server_and_other_clients(void)
{
    begin();
    sets(ns[0], "k", "1");
    T_EQ_U64(one.puts, 1);
    T_CHECK(in_memory(ns[0], &one, "k"));
    has(ns[1], "k", "1");
    T_CHECK(in_memory(ns[1], &two, "k"));
    T_EQ_U64(two.puts, 0);
    end();
}

static void set_elsewhere_ends_the_entry_with_cause_remote(void)
{
    uint64_t id;
    begin();
    T_EQ_I64(cellar_listener_add(ns[1], 0, hear, NULL, &id), CELLAR_OK);
    sets(ns[0], "k", "1");
    has(ns[1], "k", "1");
    sets(ns[0], "k", "2");
    T_EQ_U64(heard[CELLAR_CAUSE_REMOTE], 1);
    cellar_reason why = cellar_reason_default();
    T_EQ_I64(cellar_why(ns[1], "k", 1, &why), CELLAR_OK);
    T_EQ_U64(why.answer, CELLAR_WHY_GONE);
    T_EQ_U64(why.cause, CELLAR_CAUSE_REMOTE);
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(ns[1], CELLAR_SCOPE_NAMESPACE, &st), CELLAR_OK);
    T_EQ_U64(st.ended[CELLAR_CAUSE_REMOTE], 1);
    has(ns[1], "k", "2");
    T_EQ_U64(two.puts + two.removes, 0);
    T_EQ_I64(cellar_listener_remove(ns[1], id), CELLAR_OK);
    end();
}

static void delete_reaches_the_server_without_an_entry_in_memory(void)
{
    begin();
    sets(ns[0], "k", "1");
    T_EQ_I64(cellar_delete(ns[1], "k", 1), CELLAR_MISS); /* memory had none */
    T_EQ_U64(two.removes, 1);
    has(ns[0], "k", NULL);
    has(ns[1], "k", NULL);
    end();
}

static void negative_entry_is_shared(void)
{
    cellar_set_opts o = cellar_set_opts_default();
    begin();
    o.flags = CELLAR_NEGATIVE;
    o.ttl_ms = 1000;
    T_EQ_I64(cellar_set(ns[0], "k", 1, NULL, 0, &o), CELLAR_OK);
    char buf[8];
    T_EQ_I64(cellar_get(ns[1], "k", 1, buf, sizeof buf, NULL), CELLAR_ABSENT);
    now_ms += 2000;
    T_EQ_I64(cellar_get(ns[1], "k", 1, buf, sizeof buf, NULL), CELLAR_MISS);
    end();
}

static void entry_that_memory_must_not_keep_is_read_again(void)
{
    begin();
    sets(ns[0], "k", "1");
    two.no_keep = true;
    has(ns[1], "k", "1");
    has(ns[1], "k", "1");
    T_EQ_U64(two.gets, 2);
    end();
}

static void life_in_memory_is_bounded(void)
{
    make_clients();
    one.table.max_ttl_ms = two.table.max_ttl_ms = 5000;
    attach_both();
    sets(ns[0], "k", "1");
    has(ns[1], "k", "1");
    T_CHECK(in_memory(ns[0], &one, "k") && in_memory(ns[1], &two, "k"));
    now_ms += 6000;
    T_CHECK(!in_memory(ns[1], &two, "k"));
    T_CHECK(!in_memory(ns[0], &one, "k"));
    end();
}

static void other_namespaces_do_not_know_the_tier(void)
{
    begin();
    sets(root[0], "k", "1");
    T_EQ_U64(one.puts, 0);
    has(root[0], "other", NULL);
    T_EQ_U64(one.gets, 0);
    T_EQ_I64(cellar_clear(root[0]), CELLAR_OK);
    T_EQ_U64(one.clears, 0);
    end();
}

/* ---- codes of the server ---- */

static void deferred_write_leaves_memory(void)
{
    begin();
    sets(ns[0], "k", "1");
    one.answer = CELLAR_DEFERRED;
    T_EQ_I64(cellar_set(ns[0], "k", 1, "2", 1, NULL), CELLAR_DEFERRED);
    T_EQ_I64(cellar_delete(ns[0], "other", 5), CELLAR_DEFERRED);
    one.answer = CELLAR_OK;
    T_CHECK(!in_memory(ns[0], &one, "k"));
    has(ns[0], "k", "1");
    end();
}

static void strict_write_returns_timeout(void)
{
    begin();
    one.answer = CELLAR_E_TIMEOUT;
    T_EQ_I64(cellar_set(ns[0], "k", 1, "2", 1, NULL), CELLAR_E_TIMEOUT);
    cellar_error_info info = cellar_error_info_default();
    T_EQ_I64(cellar_last_error(ns[0], &info), CELLAR_OK);
    T_EQ_I64(info.code, CELLAR_E_TIMEOUT);
    cellar_set_item items[2] = { { .key = "a", .key_len = 1, .value = "1", .value_len = 1 },
                                 { .key = "b", .key_len = 1, .value = "1", .value_len = 1 } };
    size_t stored = 9;
    T_EQ_I64(cellar_set_many(ns[0], items, 2, NULL, &stored), CELLAR_OK);
    T_EQ_U64(stored, 0);
    T_EQ_I64(items[1].status, CELLAR_E_TIMEOUT);
    T_EQ_I64(cellar_clear(ns[0]), CELLAR_E_TIMEOUT);
    T_EQ_I64(cellar_delete_by_tag(root[0], "t", 1, CELLAR_TAG_HARD), CELLAR_E_TIMEOUT);
    uint64_t removed;
    T_EQ_I64(cellar_delete_by_pattern(ns[0], "*", 1, &removed), CELLAR_E_TIMEOUT);
    one.answer = CELLAR_OK;
    has(ns[0], "k", NULL);
    end();
}

/* ---- many keys ---- */

static void clear_ends_the_entries_of_all_clients(void)
{
    uint64_t id;
    begin();
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
    end();
}

static void tag_ends_entries_of_all_clients(void)
{
    const cellar_bytes tag = { "t", 1 };
    cellar_set_opts o = cellar_set_opts_default();
    begin();
    o.tags = &tag;
    o.tag_count = 1;
    T_EQ_I64(cellar_set(ns[0], "k", 1, "1", 1, &o), CELLAR_OK);
    sets(ns[0], "other", "1");
    has(ns[1], "k", "1");
    has(ns[1], "other", "1");
    T_EQ_I64(cellar_delete_by_tag(root[0], "t", 1, CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_U64(one.tags, 1);
    T_EQ_U64(two.tags, 0);
    has(ns[0], "k", NULL);
    has(ns[1], "k", NULL);
    has(ns[1], "other", "1");
    end();
}

static void pattern_reaches_the_server_once(void)
{
    begin();
    sets(ns[0], "k", "1");
    sets(ns[0], "l", "1");
    uint64_t removed = 0;
    T_EQ_I64(cellar_delete_by_pattern(ns[0], "*", 1, &removed), CELLAR_OK);
    T_EQ_U64(removed, 2);
    T_EQ_U64(one.patterns, 1);
    T_EQ_U64(one.removes, 0);
    has(ns[0], "k", NULL);
    end();
}

/* All entries end, and a get fills memory again, before the server deletes. */
static void end_and_fill(shared_client *m, const char *call)
{
    if (strcmp(call, "pattern") != 0) { return; }
    m->host->ended(m->host->ctx, 0);
    has(ns[0], "k", "1");
}

static void entries_end_within_a_pattern_delete(void)
{
    begin();
    sets(ns[0], "k", "1");
    one.inside = end_and_fill;
    T_EQ_I64(cellar_delete_by_pattern(ns[0], "*", 1, NULL), CELLAR_OK);
    one.inside = NULL;
    has(ns[0], "k", NULL);
    end();
}

/* ---- a reply on its way ---- */

static const char *act;
static void outside(shared_client *m, const char *call)
{
    if (strncmp(call, "get", 3) != 0 || act == NULL) { return; }
    const char *what = act;
    act = NULL;
    if (strcmp(what, "set") == 0) { sets(ns[0], "k", "new"); }
    if (strcmp(what, "set 1") == 0) { sets(ns[0], "1", "new"); }
    if (strcmp(what, "own 1") == 0) { sets(ns[1], "1", "new"); }
    if (strcmp(what, "delete 1") == 0) { (void)cellar_delete(ns[0], "1", 1); }
    if (strcmp(what, "pattern") == 0) {
        (void)cellar_delete_by_pattern(ns[1], "*", 1, NULL);
    }
    if (strcmp(what, "delete") == 0) { (void)cellar_delete(ns[0], "k", 1); }
    if (strcmp(what, "clear") == 0) { (void)cellar_clear(ns[0]); }
    if (strcmp(what, "tag") == 0) {
        (void)cellar_delete_by_tag(ns[0], "t", 1, CELLAR_TAG_HARD);
    }
    if (strcmp(what, "ended") == 0) { m->host->ended(m->host->ctx, 0); }
    if (strcmp(what, "own") == 0) { sets(ns[1], "k", "new"); }
    if (strcmp(what, "close") == 0) { T_EQ_I64(cellar_close(ns[1]), CELLAR_OK); }
}

static void reply_on_its_way_brings_nothing_old_back(void)
{
    static const char *const acts[] = { "set", "delete", "clear", "tag", "ended", "own" };
    const cellar_bytes tag = { "t", 1 };
    for (unsigned i = 0; i < sizeof acts / sizeof acts[0]; i++) {
        cellar_set_opts o = cellar_set_opts_default();
        o.tags = &tag;
        o.tag_count = 1;
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
    cellar_set_opts o = cellar_set_opts_default();
    o.flags = CELLAR_ONLY_IF_PRESENT;
    (void)cellar_set(ns[1], "k", 1, "1", 1, &o);
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
    const cellar_err err = cellar_increment(ns[1], "k", 1, 1, 0, 0, 0, &n);
    T_CHECK(err == CELLAR_OK || two.answer != CELLAR_OK);
}

/* The server orders the older change behind the newer one and does not report it: own changes are
 * not reported. */
static void change_that_an_end_overtook_leaves_nothing_older_in_memory(void)
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
static void change_behind_a_judged_or_refused_one_reaches_the_server(void)
{
    static void (*const newers[])(void) = { set_if_overtaken, increment_overtaken, set_newer };
    static const cellar_err answers[] = { CELLAR_CONFLICT, CELLAR_E_TYPE, CELLAR_E_SPACE,
                                          CELLAR_E_BREAKER_OPEN, CELLAR_E_TIMEOUT, CELLAR_OK };
    const unsigned count = sizeof answers / sizeof answers[0];
    for (unsigned i = 0; i < 2 * 3 * count; i++) {
        uint64_t id;
        const bool deletes = i % 2 == 1;
        make_clients();
        two.table.add = add_like_a_set;
        attach_both();
        sets(ns[1], "k", "0");
        T_EQ_I64(cellar_listener_add(ns[1], 0, make_newer, NULL, &id), CELLAR_OK);
        newer = newers[i / 2 % 3];
        newer_answer = answers[i / 6];
        if (newer == set_newer && newer_answer == CELLAR_OK) { newer_answer = CELLAR_E_LIMIT; }
        if (deletes) { T_EQ_I64(cellar_delete(ns[1], "k", 1), CELLAR_OK); }
        else { sets(ns[1], "k", "older"); }
        T_CHECK(newer == NULL);
        has(ns[0], "k", deletes ? NULL : "older");
        has(ns[1], "k", deletes ? NULL : "older");
        T_EQ_I64(cellar_listener_remove(ns[1], id), CELLAR_OK);
        end();
    }
}

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

static void equal_gets_are_one_question(void)
{
    begin();
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
    end();
}

static void equal_gets_of_a_value_that_memory_does_not_keep_ask_each(void)
{
    begin();
    two.no_keep = true;
    sets(ns[0], "k", "value");
    begin_equal(8);
    T_EQ_U64(end_equal(CELLAR_OK, "value"), EQUAL);
    end();
}

static void get_behind_a_change_does_not_wait_for_an_older_question(void)
{
    begin();
    sets(ns[0], "k", "old");
    begin_equal(8);
    sets(ns[0], "k", "new");
    has(ns[1], "k", "new");
    T_EQ_U64(gets_of(&two), 2);
    (void)end_equal(CELLAR_OK, "new");
    has(ns[1], "k", "new");
    end();
}

static void get_inside(shared_client *m, const char *call)
{
    if (strcmp(call, "get") != 0) { return; }
    m->inside = NULL;
    has(ns[1], "k", "value");
}

static void get_inside_the_same_get_asks_for_itself(void)
{
    begin();
    sets(ns[0], "k", "value");
    two.inside = get_inside;
    has(ns[1], "k", "value");
    T_EQ_U64(two.gets, 2);
    end();
}

/* ---- many keys in one question ---- */

#define ASKED 40u /* more than one group of cellar_get_many */
static char many_key[ASKED][4], many_buf[ASKED][8];

static cellar_get_item item_of(const char *key, char *buf, size_t cap)
{
    return (cellar_get_item){ .key = key, .key_len = strlen(key), .buf = buf, .buf_cap = cap };
}

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

static void missed_keys_are_asked_in_one_question(void)
{
    cellar_get_item it[ASKED];
    begin_many(true);
    has(ns[1], "3", "3"); /* in memory */
    const unsigned gets = two.gets;
    T_EQ_U64(get_all(it), ASKED - 2);
    T_EQ_U64(two.manys, 1);
    T_EQ_U64(two.many_keys, ASKED - 1);
    T_EQ_U64(two.gets, gets);
    for (unsigned i = 0; i < ASKED; i++) {
        const bool there = i < ASKED - 2;
        T_EQ_I64(it[i].status, there ? CELLAR_OK : CELLAR_MISS);
        T_EQ_STR(many_buf[i], there ? many_key[i] : "");
        T_EQ_U64(it[i].value_len, strlen(many_buf[i]));
        T_CHECK(!there || in_memory(ns[1], &two, many_key[i]));
    }
    T_EQ_U64(get_all(it), ASKED - 2); /* the two that are left again */
    T_EQ_U64(two.manys, 2);
    T_EQ_U64(two.many_keys, ASKED + 1);
    end();
}

static void silent_tier_gets_one_question_for_many_keys(void)
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
    T_EQ_U64(two.manys, 1);
    T_EQ_U64(two.gets, 0);
    T_EQ_U64(hits, 0);
    for (unsigned i = 0; i < COLD; i++) { T_EQ_I64(it[i].status, CELLAR_MISS); }
    end();
}

static void tier_without_get_many_is_asked_key_by_key(void)
{
    cellar_get_item it[ASKED];
    begin_many(false);
    T_EQ_U64(get_all(it), ASKED - 2);
    T_EQ_U64(two.gets, ASKED);
    end();
}

static void question_reports_all_outcomes_of_a_get(void)
{
    cellar_get_item it[5];
    char buf[5][8];
    cellar_set_opts o = cellar_set_opts_default();
    make_clients();
    two.table.get_many = shared_get_many;
    attach_both();
    o.user_flags = 7;
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

static void answer_of_many_that_a_change_overtook_is_not_stored(void)
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
        T_CHECK(in_memory(ns[1], &two, "2") == one_key); /* a key that nothing changed */
        has(ns[1], "1", i == 0 || i == 4 ? "new" : i == 3 ? "1" : NULL);
        end();
    }
}

static void missed_key_that_a_change_brings_is_found(void)
{
    cellar_get_item it[ASKED];
    begin_many(true);
    T_EQ_I64(cellar_delete(ns[0], "1", 1), CELLAR_OK);
    two.inside = outside;
    act = "set 1";
    T_EQ_U64(get_all(it), ASKED - 2);
    two.inside = NULL;
    T_EQ_STR(many_buf[1], "new");
    /* again, alone; a missing key with the same stamp asks again as well */
    T_CHECK(two.gets >= 1 && two.gets <= 3);
    end();
}

static void answer_of_a_question_is_stored_unless_the_key_changed(void)
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

/* Another process stores a value between the answer and the next acquire. */
static void acquire_asks_again_after_a_change(void)
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
        shared_answer(&two);
        T_EQ_I64(asks(&lease), CELLAR_OK);
        has(ns[1], "k", "theirs");
        end();
    }
}

/* Another process stores a newer value in a gap; memory keeps the older one as stale. */
static void acquire_asks_for_a_value_that_a_gap_made_stale(void)
{
    cellar_lease lease;
    begin_asking(CELLAR_TIER_PROOF_STALE);
    const cellar_tier_host *const host = two.host;
    sets(ns[0], "k", "old");
    has(ns[1], "k", "old");
    two.host = NULL;
    sets(ns[0], "k", "theirs");
    two.host = host;
    host->ended(host->ctx, CELLAR_TAG_SOFT);
    T_EQ_I64(asks(&lease), CELLAR_STALE);
    T_CHECK(lease.opaque[0] == 0 && lease.opaque[1] == 0);
    shared_answer(&two);
    T_EQ_I64(asks(&lease), CELLAR_OK);
    T_CHECK(in_memory(ns[1], &two, "k"));
    has(ns[1], "k", "theirs");
    end();
}

static void acquire_without_a_change_asks_once(void)
{
    cellar_lease lease;
    begin_asking(CELLAR_TIER_PROOF_STALE);
    T_EQ_I64(asks(&lease), CELLAR_PENDING);
    shared_answer(&two);
    T_EQ_I64(asks(&lease), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_fulfill(ns[1], &lease, "loaded", 6, NULL), CELLAR_OK);
    T_CHECK(in_memory(ns[1], &two, "k"));
    end();
}

static cellar_err load_any(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key;
    (void)len;
    (void)ctx;
    return cellar_load_value(ld, "loaded", 6);
}

static void load_is_not_kept_if_the_tier_does_not_tell_what_it_has(void)
{
    static const cellar_err codes[] = { CELLAR_E_BUSY, CELLAR_E_LIMIT, CELLAR_E_TIMEOUT };
    for (unsigned i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        cellar_result r = cellar_result_default();
        cellar_lease lease;
        begin_asking(CELLAR_TIER_PROOF_NONE);
        two.lease_answer = codes[i];
        T_EQ_I64(cellar_get_or_load(ns[1], "k", 1, NULL, load_any, NULL, &r), CELLAR_OK);
        T_EQ_MEM(r.value, "loaded", 6);
        T_CHECK((r.flags & CELLAR_RESULT_NOT_STORED) != 0);
        cellar_result_free(&r);
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
static void forced_refresh_replaces_a_value_of_the_server(void)
{
    for (unsigned known = 0; known < 2; known++) {
        cellar_load_opts o = cellar_load_opts_default();
        cellar_result r = cellar_result_default();
        o.flags = CELLAR_LOAD_REFRESH;
        begin_asking(CELLAR_TIER_PROOF_NONE);
        sets(ns[0], "k", "old");
        if (known == 1) { has(ns[1], "k", "old"); }
        T_EQ_I64(cellar_get_or_load(ns[1], "k", 1, &o, load_any, NULL, &r), CELLAR_OK);
        cellar_result_free(&r);
        T_EQ_U64(two.leases, 1);
        T_EQ_U64(two.fills, 1);
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
static void load_during_an_own_set_is_not_kept(void)
{
    begin_asking(CELLAR_TIER_PROOF_NONE);
    two.inside = load_inside_put;
    sets(ns[1], "k", "set");
    T_CHECK(two.inside == NULL);
    has(ns[1], "k", "set");
    end();
}

/* ---- loads and changes ---- */

static cellar_err load_during_set(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key;
    (void)len;
    (void)ctx;
    sets(ns[0], "k", "theirs");
    return cellar_load_value(ld, "loaded before", 13);
}

static cellar_err load_none(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key;
    (void)len;
    (void)ctx;
    return cellar_load_absent(ld);
}

static void change_elsewhere_during_a_load_discards_its_result(void)
{
    begin();
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(ns[1], "k", 1, NULL, load_during_set, NULL, &r), CELLAR_OK);
    T_CHECK((r.flags & CELLAR_RESULT_INVALIDATED) != 0);
    cellar_result_free(&r);
    has(ns[1], "k", "theirs");
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
    (void)key;
    (void)len;
    (void)ctx;
    return cellar_load_value(ld, "new", 3);
}

static cellar_err load_fails(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key;
    (void)len;
    (void)ctx;
    return cellar_load_fail(ld, 1, 0, 0);
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

static void memory_answers_until_the_proof_ends(void)
{
    for (unsigned stale = 0; stale < 2; stale++) {
        begin_proven(stale != 0 ? CELLAR_TIER_PROOF_STALE : CELLAR_TIER_PROOF_MISS);
        T_EQ_U64(found_by_calls(ns[1]), 8);
        now_ms += 1900;
        T_EQ_U64(found_by_calls(ns[1]), 8);
        now_ms += 100;
        T_EQ_U64(found_by_calls(ns[1]), 0);
        two.host->proven(two.host->ctx, now_ms + 2000);
        T_EQ_U64(found_by_calls(ns[1]), 8);
        two.host->proven(two.host->ctx, 0);
        T_EQ_U64(found_by_calls(ns[1]), 0);
        end();
    }
}

/* Keys of 8 to 16 bytes have the shortest path: it compares one clock with proof and deadline. */
static void plain_hit_ends_with_proof_and_deadline(void)
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
        now_ms += 100;
        T_CHECK(!in_memory(ns[0], &one, "user:0001"));
        end();
    }
}

static void nothing_is_answered_before_the_first_proof(void)
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

static void get_without_proof_asks_the_server(void)
{
    begin_proven(CELLAR_TIER_PROOF_MISS);
    server.row[0].used = true;
    now_ms += 5000;
    T_CHECK(!in_memory(ns[1], &two, "k"));
    has(ns[1], "k", "old");
    end();
}

static void value_without_proof_is_stale_for_calls_that_take_it(void)
{
    for (unsigned stale = 0; stale < 2; stale++) {
        begin_proven(stale != 0 ? CELLAR_TIER_PROOF_STALE : CELLAR_TIER_PROOF_MISS);
        two.lease_answer = CELLAR_E_IO; /* the server is away */
        char buf[8];
        cellar_get_opts o = cellar_get_opts_default();
        cellar_entry_info info = cellar_entry_info_default();
        o.flags = CELLAR_GET_ALLOW_STALE;
        now_ms += 5000;
        const cellar_err want = stale != 0 ? CELLAR_STALE : CELLAR_MISS;
        T_EQ_I64(cellar_get_with(ns[1], "k", 1, &o, buf, sizeof buf, NULL), want);
        o.info = &info;
        T_EQ_I64(cellar_get_with(ns[1], "k", 1, &o, buf, sizeof buf, NULL), want);
        T_EQ_I64(cellar_entry_info_get(ns[1], "k", 1, 0, &info), want);
        cellar_result r = cellar_result_default();
        const cellar_err got = cellar_get_or_load(ns[1], "k", 1, NULL, load_fails, NULL, &r);
        T_EQ_I64(got, stale != 0 ? CELLAR_STALE : CELLAR_E_LOADER);
        cellar_result_free(&r);
        T_EQ_I64(cellar_get_or_load(ns[1], "k", 1, NULL, load_new, NULL, &r),
                 stale != 0 ? CELLAR_STALE : CELLAR_OK);
        cellar_result_free(&r);
        end();
    }
}

/* ---- a soft end ---- */

static void end_softly(void) { two.host->ended(two.host->ctx, CELLAR_TAG_SOFT); }

/* Read the key of the second client, with stale values allowed. */
static cellar_err read_stale(const char *want)
{
    char buf[8] = "";
    cellar_get_opts o = cellar_get_opts_default();
    o.flags = CELLAR_GET_ALLOW_STALE;
    const cellar_err err = cellar_get_with(ns[1], "k", 1, &o, buf, sizeof buf - 1, NULL);
    if (want != NULL) { T_EQ_STR(buf, want); }
    return err;
}

static void softly_ended_value_is_stale_and_never_fresh(void)
{
    begin_proven(CELLAR_TIER_PROOF_STALE);
    cellar_entry_info info = cellar_entry_info_default();
    T_EQ_I64(cellar_entry_info_get(ns[1], "k", 1, 0, &info), CELLAR_OK);
    T_EQ_U64(info.flags & CELLAR_INFO_TAGGED, 0); /* the tag of its life is not one of the user */
    T_EQ_U64(found_by_calls(ns[1]), 8);
    end_softly();
    T_EQ_U64(found_by_calls(ns[1]), 0);
    T_EQ_I64(read_stale("old"), CELLAR_STALE);
    end_softly(); /* a second gap keeps it, too */
    two.host->proven(two.host->ctx, 0);
    T_EQ_U64(found_by_calls(ns[1]), 0);
    T_EQ_I64(read_stale("old"), CELLAR_STALE);
    two.host->proven(two.host->ctx, now_ms + 2000);
    sets(ns[1], "k", "own");
    T_EQ_U64(found_by_calls(ns[1]), 8);
    T_EQ_I64(read_stale("own"), CELLAR_OK);
    end();
}

static void softly_ended_value_yields_to_the_server(void)
{
    begin_proven(CELLAR_TIER_PROOF_STALE);
    server.row[0].used = true;
    memcpy(server.row[0].value, "new", 3); /* a change that was not heard */
    end_softly();
    T_EQ_I64(read_stale("new"), CELLAR_OK);
    has(ns[1], "k", "new");
    T_CHECK(in_memory(ns[1], &two, "k"));
    end();
}

static void hard_end_leaves_no_stale_value(void)
{
    for (unsigned i = 0; i < 6; i++) {
        begin_proven(CELLAR_TIER_PROOF_STALE);
        const cellar_bytes tag = { "t", 1 };
        cellar_set_opts o = cellar_set_opts_default();
        o.tags = &tag;
        o.tag_count = 1;
        T_EQ_I64(cellar_set(ns[1], "k", 1, "old", 3, &o), CELLAR_OK);
        server.row[0].used = false;
        end_softly();
        T_EQ_I64(read_stale("old"), CELLAR_STALE);
        switch (i) {
        case 0: two.host->ended(two.host->ctx, CELLAR_TAG_HARD); break;
        case 1: two.host->changed(two.host->ctx, "k", 1); break;
        case 2: two.host->tag_ended(two.host->ctx, "t", 1, CELLAR_TAG_HARD); break;
        case 3: T_EQ_I64(cellar_clear(ns[1]), CELLAR_OK); break;
        case 4: T_EQ_I64(cellar_version_increment(ns[1], NULL), CELLAR_OK); break;
        default: (void)cellar_delete(ns[1], "k", 1); break;
        }
        T_EQ_I64(read_stale(NULL), CELLAR_MISS);
        end();
    }
}

static void soft_end_without_stale_proof_is_hard(void)
{
    begin_proven(CELLAR_TIER_PROOF_MISS);
    end_softly();
    T_EQ_I64(read_stale(NULL), CELLAR_MISS);
    T_EQ_U64(found_by_calls(ns[1]), 0);
    end();
}

static void stale_window_bounds_a_softly_ended_value(void)
{
    begin_proven(CELLAR_TIER_PROOF_STALE);
    cellar_set_opts o = cellar_set_opts_default();
    o.ttl_ms = 1000;
    o.stale_ms = 500;
    T_EQ_I64(cellar_set(ns[1], "k", 1, "old", 3, &o), CELLAR_OK);
    server.row[0].used = false;
    end_softly();
    now_ms += 1400;
    T_EQ_I64(read_stale("old"), CELLAR_STALE);
    now_ms += 200;
    T_EQ_I64(read_stale(NULL), CELLAR_MISS);
    end();
}

/* End all entries while the reply is on its way. */
static void end_inside(shared_client *m, const char *call)
{
    if (strcmp(call, "get") == 0) { m->host->ended(m->host->ctx, CELLAR_TAG_SOFT); }
}

static void reply_that_a_soft_end_overtook_is_not_stored(void)
{
    begin_proven(CELLAR_TIER_PROOF_STALE);
    two.host->changed(two.host->ctx, "k", 1);
    server.row[0].used = true;
    two.inside = end_inside;
    has(ns[1], "k", "old");
    two.inside = NULL;
    server.row[0].used = false;
    T_EQ_I64(read_stale(NULL), CELLAR_MISS);
    T_EQ_U64(found_by_calls(ns[1]), 0);
    end();
}

static cellar_err load_over_a_soft_end(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    end_softly();
    return load_new(ld, key, len, ctx);
}

static void load_that_a_soft_end_overtook_is_stale(void)
{
    begin_proven(CELLAR_TIER_PROOF_STALE);
    two.host->changed(two.host->ctx, "k", 1);
    cellar_result r = cellar_result_default();
    two.lease_answer = CELLAR_E_IO; /* memory only */
    T_EQ_I64(cellar_get_or_load(ns[1], "k", 1, NULL, load_over_a_soft_end, NULL, &r), CELLAR_OK);
    cellar_result_free(&r);
    T_EQ_U64(found_by_calls(ns[1]), 0);
    T_EQ_I64(read_stale("new"), CELLAR_STALE);
    end();
}

static void refresh_of_a_softly_ended_value_asks_the_server_first(void)
{
    begin_proven(CELLAR_TIER_PROOF_STALE);
    server.row[0].used = true;
    end_softly();
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(ns[1], "k", 1, NULL, load_fails, NULL, &r), CELLAR_OK);
    T_EQ_MEM(r.value, "old", 3);
    cellar_result_free(&r);
    T_EQ_U64(two.leases, 0);
    T_EQ_U64(found_by_calls(ns[1]), 8);
    end();
}

static void remembered_failure_is_kept_with_stale_proof(void)
{
    begin_proven(CELLAR_TIER_PROOF_STALE);
    two.host->changed(two.host->ctx, "k", 1);
    cellar_result r = cellar_result_default();
    cellar_load_opts o = cellar_load_opts_default();
    o.error_ttl_ms = 1000;
    two.lease_answer = CELLAR_E_IO; /* a released lease is a change that is heard */
    T_EQ_I64(cellar_get_or_load(ns[1], "k", 1, &o, load_fails, NULL, &r), CELLAR_E_LOADER);
    T_EQ_I64(cellar_get_or_load(ns[1], "k", 1, &o, load_new, NULL, &r), CELLAR_E_LOADER);
    end();
}

static cellar_err load_same(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key;
    (void)len;
    (void)ctx;
    return cellar_load_not_modified(ld);
}

static void value_found_the_same_is_fresh_until_the_next_soft_end(void)
{
    begin_proven(CELLAR_TIER_PROOF_STALE);
    cellar_result r = cellar_result_default();
    two.lease_answer = CELLAR_E_IO;
    end_softly();
    T_EQ_I64(cellar_get_or_load(ns[1], "k", 1, NULL, load_same, NULL, &r), CELLAR_OK);
    cellar_result_free(&r);
    T_EQ_U64(found_by_calls(ns[1]), 8);
    end_softly();
    T_EQ_U64(found_by_calls(ns[1]), 0);
    T_EQ_I64(read_stale("old"), CELLAR_STALE);
    two.lease_answer = CELLAR_OK; /* with a lease the same value is filled */
    T_EQ_I64(cellar_get_or_load(ns[1], "k", 1, NULL, load_same, NULL, &r), CELLAR_OK);
    cellar_result_free(&r);
    T_EQ_U64(two.fills, 1);
    end();
}

static void load_without_proof_runs_the_loader(void)
{
    begin_proven(CELLAR_TIER_PROOF_MISS);
    cellar_result r = cellar_result_default();
    cellar_load_opts o = cellar_load_opts_default();
    o.flags = CELLAR_LOAD_PIN;
    T_EQ_I64(cellar_get_or_load(ns[1], "k", 1, NULL, load_new, NULL, &r), CELLAR_OK);
    T_EQ_MEM(r.value, "old", 3);
    cellar_result_free(&r);
    now_ms += 5000;
    T_EQ_I64(cellar_get_or_load(ns[1], "k", 1, &o, load_new, NULL, &r), CELLAR_OK);
    T_EQ_MEM(r.value, "new", 3);
    cellar_result_free(&r);
    end();
}

static void namespace_without_handles_hears_changes(void)
{
    begin_proven(CELLAR_TIER_PROOF_MISS);
    server.row[0].used = true;
    for (unsigned all = 0; all < 2; all++) {
        T_EQ_I64(cellar_close(ns[1]), CELLAR_OK);
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
    end();
}

static void forked_child_answers_nothing_that_needs_a_proof(void)
{
    begin_proven(CELLAR_TIER_PROOF_MISS);
    const pid_t pid = fork();
    if (pid == 0) { _exit((int)found_by_calls(ns[1])); }
    int status = 1;
    T_EQ_I64(waitpid(pid, &status, 0), pid);
    T_EQ_I64(status, 0);
    end();
}

/* ---- leases ---- */

static unsigned loads[2]; /* runs of the loader, by client; atomic */
static bool waits;        /* the loader waits until the other client has asked for the lease */

static unsigned asked_leases(void)
{
    pthread_mutex_lock(&server.lock);
    const unsigned asked = one.leases + two.leases;
    pthread_mutex_unlock(&server.lock);
    return asked;
}

static cellar_err load_counted(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key;
    (void)len;
    __atomic_add_fetch(&loads[(intptr_t)ctx], 1, __ATOMIC_SEQ_CST);
    while (waits && asked_leases() < 2) { sched_yield(); }
    return cellar_load_value(ld, "v", 1);
}

static cellar_result loaded_by(intptr_t i, cellar_loader_fn fn, cellar_err want)
{
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(ns[i], "k", 1, NULL, fn, (void *)i, &r), want);
    return r;
}

static _Atomic int joiner; /* thread of the last call */

static void *load_in_thread(void *arg)
{
    atomic_store(&joiner, asleep_self());
    cellar_result r = loaded_by((intptr_t)arg, load_counted, CELLAR_OK);
    T_EQ_MEM(r.value, "v", 1);
    T_EQ_U64(r.flags, 0);
    cellar_result_free(&r);
    return NULL;
}

static void begin_leases(void)
{
    begin();
    waits = false;
    loads[0] = loads[1] = 0;
}

static void key_is_loaded_once_by_two_processes(void)
{
    pthread_t thread[2];
    begin_leases();
    waits = true;
    for (intptr_t i = 0; i < 2; i++) {
        T_EQ_I64(pthread_create(&thread[i], NULL, load_in_thread, (void *)i), 0);
    }
    for (unsigned i = 0; i < 2; i++) { T_EQ_I64(pthread_join(thread[i], NULL), 0); }
    T_EQ_U64(loads[0] + loads[1], 1);
    T_EQ_U64(one.fills + two.fills, 1);
    T_EQ_U64(one.unleases + two.unleases, 0);
    has(ns[0], "k", "v");
    has(ns[1], "k", "v");
    end();
}

static void change_during_a_load_ends_its_lease(void)
{
    begin_leases();
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(ns[1], "k", 1, NULL, load_during_set, NULL, &r), CELLAR_OK);
    T_EQ_U64(two.fills, 1);
    T_CHECK((r.flags & CELLAR_RESULT_INVALIDATED) != 0);
    cellar_result_free(&r);
    has(ns[1], "k", "theirs");
    has(ns[0], "k", "theirs");
    end();
}

static void failed_load_gives_the_lease_back(void)
{
    begin_leases();
    cellar_result r = loaded_by(0, load_fails, CELLAR_E_LOADER);
    cellar_result_free(&r);
    T_EQ_U64(one.unleases, 1);
    r = loaded_by(1, load_counted, CELLAR_OK);
    cellar_result_free(&r);
    T_EQ_U64(loads[1], 1);
    T_EQ_U64(two.fills, 1);
    end();
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

static void lease_ends_a_value_that_came_behind_the_look(void)
{
    begin_leases();
    one.late = true;
    one.inside = set_and_drop;
    cellar_result r = loaded_by(0, load_looks_into_memory, CELLAR_OK);
    T_EQ_U64(r.flags, 0);
    cellar_result_free(&r);
    T_EQ_U64(one.unleases, 1);
    T_EQ_U64(one.fills, 1);
    has(ns[0], "k", "v");
    has(ns[1], "k", "v");
    end();
}

static void load_again(const cellar_event *e, void *ctx)
{
    hear(e, ctx);
    cellar_result r = loaded_by(0, load_counted, CELLAR_OK);
    cellar_result_free(&r);
}

static void listener_of_a_value_that_a_lease_ends_loads_the_key(void)
{
    uint64_t id = 0;
    begin_leases();
    T_EQ_I64(cellar_listener_add(ns[0], CELLAR_CAUSE_BIT(REMOTE), load_again, NULL,
                                 &id), CELLAR_OK);
    one.late = true;
    one.inside = set_and_drop;
    cellar_result r = loaded_by(0, load_counted, CELLAR_OK);
    cellar_result_free(&r);
    T_EQ_U64(heard[CELLAR_CAUSE_REMOTE], 1);
    T_EQ_U64(loads[0], 1);
    T_EQ_I64(cellar_listener_remove(ns[0], id), CELLAR_OK);
    end();
}

/* Hold a lease until another call of this process waits, which begins behind the lease. */
static cellar_err load_held(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key;
    (void)len;
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
    cellar_load_opts o = cellar_load_opts_default();
    o.flags = CELLAR_LOAD_NO_JOIN;
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(ns[0], "k", 1, &o, load_held, &behind, &r), CELLAR_OK);
    cellar_result_free(&r);
}

static void call_behind_a_lease_does_not_join_a_load_before_it(void)
{
    begin_leases();
    atomic_store(&joiner, 0);
    sets(ns[1], "k", "theirs");
    one.inside = drop_beside;
    cellar_result r = loaded_by(0, load_counted, CELLAR_OK);
    cellar_result_free(&r);
    T_EQ_I64(pthread_join(behind, NULL), 0);
    T_EQ_U64(loads[0], 0);
    has(ns[0], "k", "v");
    end();
}

static cellar_err load_ends_thread(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)ld;
    (void)key;
    (void)len;
    (void)ctx;
    pthread_exit(NULL);
}

static void *load_and_exit(void *arg)
{
    cellar_result r = cellar_result_default();
    (void)cellar_get_or_load(ns[0], "k", 1, NULL, load_ends_thread, NULL, &r);
    return arg;
}

static void thread_exit_in_loader_gives_the_lease_back(void)
{
    pthread_t thread;
    begin_leases();
    T_EQ_I64(pthread_create(&thread, NULL, load_and_exit, NULL), 0);
    T_EQ_I64(pthread_join(thread, NULL), 0);
    T_EQ_U64(one.unleases, 1);
    cellar_result r = loaded_by(1, load_counted, CELLAR_OK);
    cellar_result_free(&r);
    end();
}

static void negative_result_is_filled(void)
{
    begin_leases();
    cellar_result r = cellar_result_default();
    cellar_load_opts o = cellar_load_opts_default();
    o.negative_ttl_ms = 1000;
    T_EQ_I64(cellar_get_or_load(ns[0], "k", 1, &o, load_none, NULL, &r), CELLAR_ABSENT);
    T_EQ_U64(one.fills, 1);
    T_EQ_I64(cellar_get_or_load(ns[1], "k", 1, &o, load_counted, NULL, &r), CELLAR_ABSENT);
    end();
}

static void *join_load(void *arg)
{
    atomic_store(&joiner, asleep_self());
    cellar_result r = loaded_by(0, load_counted, CELLAR_OK);
    T_EQ_I64(r.source, CELLAR_SOURCE_JOINED);
    T_EQ_U64(r.flags, CELLAR_RESULT_NOT_SHARED);
    cellar_result_free(&r);
    return arg;
}

static cellar_err load_joined(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    pthread_t *thread = ctx;
    T_EQ_I64(pthread_create(thread, NULL, join_load, NULL), 0);
    while (!asleep(atomic_load(&joiner))) { (void)sched_yield(); }
    return load_counted(ld, key, len, NULL);
}

static void load_without_a_lease_reaches_memory_only(void)
{
    pthread_t thread;
    cellar_result r = cellar_result_default();
    begin_leases();
    atomic_store(&joiner, 0);
    one.lease_answer = CELLAR_E_IO;
    T_EQ_I64(cellar_get_or_load(ns[0], "k", 1, NULL, load_joined, &thread, &r), CELLAR_OK);
    T_EQ_U64(r.flags, CELLAR_RESULT_NOT_SHARED);
    cellar_result_free(&r);
    T_EQ_I64(pthread_join(thread, NULL), 0);
    T_EQ_U64(loads[0], 1);
    T_EQ_U64(one.fills + one.puts, 0);
    T_CHECK(in_memory(ns[0], &one, "k"));
    has(ns[1], "k", NULL);
    end();
}

static void load_behind_a_silent_get_asks_no_more_and_is_not_kept(void)
{
    begin_leases();
    one.get_answer = CELLAR_E_TIMEOUT;
    cellar_result r = loaded_by(0, load_counted, CELLAR_OK);
    cellar_result_free(&r);
    T_EQ_U64(one.gets, 1);
    T_EQ_U64(one.leases + one.fills + one.puts, 0);
    T_CHECK(!in_memory(ns[0], &one, "k"));
    one.get_answer = CELLAR_OK;
    r = loaded_by(0, load_counted, CELLAR_OK);
    cellar_result_free(&r);
    T_EQ_U64(one.fills, 1);
    has(ns[0], "k", "v");
    end();
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

static void blind_fill_does_not_follow_a_change(void)
{
    static char own;
    for (unsigned i = 0; i < 2; i++) {
        cellar_result r = cellar_result_default();
        begin_blind();
        T_EQ_I64(cellar_get_or_load(ns[0], "k", 1, NULL, load_during_change, i ? &own : NULL, &r),
                 CELLAR_OK);
        T_EQ_MEM(r.value, "old", 3);
        T_EQ_U64(r.flags, NOT_KEPT);
        cellar_result_free(&r);
        T_EQ_U64(one.fills, 0);
        T_EQ_U64(one.unleases, 1);
        has(ns[0], "k", NULL);
        has(ns[1], "k", NULL);
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

static void delete_waits_for_a_blind_fill(void)
{
    for (unsigned i = 0; i < 2; i++) {
        all = i != 0;
        begin_blind();
        one.inside = delete_in_fill;
        cellar_result r = loaded_by(0, load_counted, CELLAR_OK);
        cellar_result_free(&r);
        T_EQ_U64(one.fills, 1);
        T_EQ_I64(pthread_join(deleting, NULL), 0);
        T_EQ_U64(one.removes + one.clears, 1);
        T_CHECK(!server.row[0].used);
        end();
    }
}

static cellar_err load_until_released(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)key;
    (void)len;
    (void)ctx;
    atomic_store(&first, true);
    while (atomic_load(&held)) { (void)sched_yield(); }
    return cellar_load_value(ld, "old", 3);
}

static void *load_released(void *arg)
{
    cellar_result r = loaded_by(0, load_until_released, CELLAR_OK);
    T_EQ_U64(r.flags, NOT_KEPT);
    cellar_result_free(&r);
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

static void blind_fill_does_not_follow_a_delete_of_many(void)
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
        T_EQ_U64(one.fills, 0);
        T_EQ_U64(one.unleases, 1);
        end();
    }
}

static void lost_fill_leaves_memory_alone(void)
{
    begin_leases();
    one.answer = CELLAR_DEFERRED;
    cellar_result r = loaded_by(0, load_counted, CELLAR_OK);
    T_CHECK((r.flags & CELLAR_RESULT_NOT_STORED) != 0);
    T_CHECK((r.flags & CELLAR_RESULT_INVALIDATED) == 0);
    cellar_result_free(&r);
    one.answer = CELLAR_OK;
    has(ns[0], "k", NULL);
    end();
}

/* Let another client hold the lease of the key for `ms`. */
static void hold_lease(int64_t ms)
{
    const cellar_tier_key k = { "k", 1, 0 };
    cellar_tier_entry e;
    cellar_tier_lease l;
    memset(&e, 0, sizeof e);
    T_EQ_I64(shared_lease(&two, &k, ms, &e, &l), CELLAR_LEASED);
}

static void *pass_time(void *arg)
{
    while (asked_leases() < 2) { sched_yield(); } /* hold_lease was the first */
    __atomic_add_fetch(&now_ms, *(const int64_t *)arg, __ATOMIC_SEQ_CST);
    return NULL;
}

static void lease_of_a_dead_process_ends_by_time(void)
{
    pthread_t thread;
    int64_t ms = 1500;
    begin_leases();
    hold_lease(1000);
    T_EQ_I64(pthread_create(&thread, NULL, pass_time, &ms), 0);
    cellar_result r = loaded_by(0, load_counted, CELLAR_OK);
    T_EQ_I64(pthread_join(thread, NULL), 0);
    cellar_result_free(&r);
    T_EQ_U64(loads[0], 1);
    end();
}

static void wait_for_another_process_ends_at_its_limit(void)
{
    pthread_t thread;
    int64_t ms = 100000;
    begin_leases();
    hold_lease(1000000);
    T_EQ_I64(pthread_create(&thread, NULL, pass_time, &ms), 0);
    cellar_result r = loaded_by(0, load_counted, CELLAR_E_TIMEOUT);
    T_EQ_I64(pthread_join(thread, NULL), 0);
    cellar_result_free(&r);
    T_EQ_U64(loads[0], 0);
    end();
}

static void *load_and_wait(void *tid)
{
    atomic_store((_Atomic int *)tid, asleep_self());
    cellar_result r = loaded_by(0, load_counted, CELLAR_OK);
    cellar_result_free(&r);
    return tid;
}

static void wait_for_another_process_ends_by_changes_of_its_key(void)
{
    pthread_t thread;
    static _Atomic int tid;
    atomic_store(&tid, 0);
    begin_leases();
    hold_lease(1000000);
    T_EQ_I64(pthread_create(&thread, NULL, load_and_wait, (void *)&tid), 0);
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
    T_EQ_I64(pthread_join(thread, NULL), 0);
    T_EQ_U64(asked_leases(), 3);
    end();
}

static void load_that_must_not_wait_is_pending(void)
{
    begin_leases();
    hold_lease(1000);
    cellar_result r = cellar_result_default();
    cellar_load_opts o = cellar_load_opts_default();
    o.flags = CELLAR_LOAD_NO_WAIT;
    T_EQ_I64(cellar_get_or_load(ns[0], "k", 1, &o, load_counted, NULL, &r), CELLAR_PENDING);
    end();
}

static void *load_until_closed(void *arg)
{
    cellar_result r = cellar_result_default();
    const cellar_err err = cellar_get_or_load(ns[0], "k", 1, NULL, load_counted, NULL, &r);
    T_CHECK(err == CELLAR_E_CLOSED);
    return arg;
}

static void close_ends_the_wait_for_another_process(void)
{
    pthread_t thread;
    begin_leases();
    hold_lease(1000000);
    T_EQ_I64(pthread_create(&thread, NULL, load_until_closed, NULL), 0);
    while (asked_leases() < 2) { sched_yield(); }
    T_EQ_I64(cellar_close(root[0]), CELLAR_OK);
    T_EQ_I64(pthread_join(thread, NULL), 0);
    T_EQ_I64(cellar_close(ns[0]), CELLAR_OK);
    T_EQ_I64(cellar_close(ns[1]), CELLAR_OK);
    T_EQ_I64(cellar_close(root[1]), CELLAR_OK);
}

static void stale_value_is_served_while_another_process_refreshes(void)
{
    begin_leases();
    cellar_set_opts o = cellar_set_opts_default();
    o.ttl_ms = 1000;
    o.stale_ms = 10000;
    T_EQ_I64(cellar_set(ns[0], "k", 1, "old", 3, &o), CELLAR_OK);
    now_ms += 2000;
    pthread_mutex_lock(&server.lock);
    server.row[0].lease = 77; /* beside the old value */
    server.row[0].lease_ms = now_ms + 1000;
    pthread_mutex_unlock(&server.lock);
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(ns[0], "k", 1, NULL, load_counted, NULL, &r), CELLAR_STALE);
    cellar_result_free(&r);
    T_EQ_U64(loads[0], 0);
    server.row[0].lease = 0;
    (void)cellar_get_or_load(ns[0], "k", 1, NULL, load_counted, NULL, &r);
    cellar_result_free(&r);
    T_EQ_U64(loads[0], 1);
    T_EQ_U64(one.fills, 1);
    end();
}

/* ---- leases of bulk loads ---- */

enum { BULK = 40 }; /* keys: more than one question */

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
        (void)cellar_load_item_value(ld, i, keys[i].data, keys[i].len);
    }
    return CELLAR_OK;
}

static cellar_err load_none_of_all(cellar_load *ld, const cellar_bytes *keys, size_t count,
                                   void *ctx)
{
    (void)ld;
    (void)keys;
    (void)count;
    (void)ctx;
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
    cellar_load_opts o = cellar_load_opts_default();
    o.flags = b->flags;
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

static void keys_are_loaded_once_by_bulk_loads_of_two_processes(void)
{
    static bulk b[2];
    for (unsigned together = 0; together < 2; together++) {
        pthread_t thread[2];
        begin_leases();
        end();
        make_clients();
        if (together != 0) { one.table.lease_many = two.table.lease_many = shared_lease_many; }
        attach_both();
        waits = true;
        for (unsigned i = 0; i < 2; i++) {
            bulk_make(&b[i], (intptr_t)i, BULK, load_all);
            T_EQ_I64(pthread_create(&thread[i], NULL, bulk_run, &b[i]), 0);
        }
        for (unsigned i = 0; i < 2; i++) { T_EQ_I64(pthread_join(thread[i], NULL), 0); }
        T_EQ_U64(loads[0] + loads[1], BULK);
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

static void bulk_load_asks_for_the_values_of_its_keys_together(void)
{
    static bulk b;
    begin_together();
    sets(ns[1], "1", "1");
    sets(ns[1], "39", "39");
    bulk_make(&b, 0, BULK, load_all);
    (void)bulk_run(&b);
    T_EQ_U64(one.gets, 0);
    T_EQ_U64(one.manys, 2);
    T_EQ_U64(one.many_keys, BULK);
    T_EQ_U64(loads[0], BULK - 2);
    T_EQ_U64(one.fills, BULK - 2);
    T_EQ_U64(b.r[1].source, CELLAR_SOURCE_L2);
    T_EQ_U64(b.r[2].source, CELLAR_SOURCE_LOADED);
    bulk_right(&b);
    T_CHECK(in_memory(ns[0], &one, "1") && in_memory(ns[0], &one, "39"));
    end();
}

/* Load all keys. Check that the tier was asked `gets`, `manys` and `leases` times, that none of the
 * values is in memory, and that the next load asks again. */
static void bulk_meets_silence(unsigned gets, unsigned manys, unsigned leases)
{
    static bulk b;
    bulk_make(&b, 0, BULK, load_all);
    (void)bulk_run(&b);
    T_EQ_U64(loads[0], BULK);
    bulk_right(&b);
    T_EQ_U64(one.gets, gets);
    T_EQ_U64(one.manys, manys);
    T_EQ_U64(one.lease_manys, leases);
    T_EQ_U64(one.fills + one.puts, 0);
    T_CHECK(!in_memory(ns[0], &one, "0") && !in_memory(ns[0], &one, "39"));
    one.get_answer = one.lease_answer = CELLAR_OK;
    (void)bulk_run(&b);
    bulk_right(&b);
    T_EQ_U64(one.fills, BULK);
    end();
}

static void bulk_load_asks_a_silent_tier_once_and_keeps_nothing(void)
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

static void bulk_load_loads_its_own_keys_before_it_waits(void)
{
    static bulk b;
    pthread_t thread;
    begin_leases();
    const cellar_tier_key k = { "1", 1, 0 };
    cellar_tier_entry e = { 0 };
    cellar_tier_lease l;
    T_EQ_I64(shared_lease(&two, &k, 1000000, &e, &l), CELLAR_LEASED);
    bulk_make(&b, 0, 3, load_all);
    T_EQ_I64(pthread_create(&thread, NULL, bulk_run, &b), 0);
    while (__atomic_load_n(&loads[0], __ATOMIC_SEQ_CST) == 0) { sched_yield(); }
    cellar_tier_entry v = { .deadline_ms = INT64_MAX };
    T_EQ_I64(shared_fill(&two, &k, &l, "1", 1, &v), CELLAR_OK);
    T_EQ_I64(pthread_join(thread, NULL), 0);
    T_EQ_U64(loads[0], 2);
    bulk_right(&b);
    end();
}

static void equal_keys_of_a_bulk_load_wait_together(void)
{
    static bulk b;
    pthread_t thread;
    int64_t ms = 1500;
    begin_leases();
    const cellar_tier_key k = { "0", 1, 0 };
    cellar_tier_entry e = { 0 };
    cellar_tier_lease l;
    T_EQ_I64(shared_lease(&two, &k, 1000, &e, &l), CELLAR_LEASED);
    bulk_make(&b, 0, 2, load_all);
    b.text[1][0] = '0';
    T_EQ_I64(pthread_create(&thread, NULL, pass_time, &ms), 0);
    (void)bulk_run(&b); /* the process is dead: its lease ends by time */
    T_EQ_I64(pthread_join(thread, NULL), 0);
    T_EQ_U64(loads[0], 1);
    bulk_right(&b);
    end();
}

static void bulk_wait_for_another_process_ends_at_its_limit(void)
{
    for (unsigned no_wait = 0; no_wait < 2; no_wait++) {
        static bulk b;
        pthread_t thread;
        int64_t ms = 100000;
        begin_leases();
        const cellar_tier_key k = { "0", 1, 0 };
        cellar_tier_entry e = { 0 };
        cellar_tier_lease l;
        T_EQ_I64(shared_lease(&two, &k, 1000000, &e, &l), CELLAR_LEASED);
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

static void change_during_a_bulk_load_ends_the_lease_of_its_key(void)
{
    static bulk b;
    begin_leases();
    bulk_make(&b, 0, 3, load_all_during_set);
    (void)bulk_run(&b);
    T_EQ_U64(b.r[0].flags, 0);
    T_CHECK((b.r[1].flags & CELLAR_RESULT_INVALIDATED) != 0);
    T_EQ_U64(b.r[2].flags, 0);
    bulk_right(&b);
    has(ns[0], "1", "theirs");
    has(ns[1], "1", "theirs");
    has(ns[1], "2", "2");
    end();
}

static void bulk_load_without_values_gives_its_leases_back(void)
{
    static bulk b;
    pthread_t thread;
    begin_leases();
    bulk_make(&b, 0, 3, load_none_of_all);
    (void)bulk_run(&b);
    T_EQ_I64(b.item[1].status, CELLAR_E_LOADER);
    T_EQ_U64(one.unleases, 3);
    bulk_make(&b, 0, 3, load_all_and_exit);
    T_EQ_I64(pthread_create(&thread, NULL, bulk_run, &b), 0);
    T_EQ_I64(pthread_join(thread, NULL), 0);
    T_EQ_U64(one.unleases, 6);
    bulk_make(&b, 1, 3, load_all);
    (void)bulk_run(&b);
    T_EQ_U64(loads[1], 3);
    bulk_right(&b);
    end();
}

static void close_ends_the_bulk_wait_for_another_process(void)
{
    static bulk b;
    pthread_t thread;
    begin_leases();
    const cellar_tier_key k = { "0", 1, 0 };
    cellar_tier_entry e = { 0 };
    cellar_tier_lease l;
    T_EQ_I64(shared_lease(&two, &k, 1000000, &e, &l), CELLAR_LEASED);
    bulk_make(&b, 0, 1, load_all);
    T_EQ_I64(pthread_create(&thread, NULL, bulk_run, &b), 0);
    while (asked_leases() < 2) { sched_yield(); }
    T_EQ_I64(cellar_close(root[0]), CELLAR_OK);
    T_EQ_I64(pthread_join(thread, NULL), 0);
    T_EQ_I64(b.item[0].status, CELLAR_E_CLOSED);
    T_EQ_I64(cellar_close(ns[0]), CELLAR_OK);
    T_EQ_I64(cellar_close(ns[1]), CELLAR_OK);
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

static void listener_inside_a_bulk_load_does_not_wait_for_its_keys(void)
{
    static bulk b;
    uint64_t id = 0;
    begin_leases();
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
    end();
}

/* ---- leases of the host over processes ---- */

static unsigned called; /* subscribers */

static void count_call(void *ctx)
{
    (void)ctx;
    called++;
}

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
    shared_answer_lease(server.client[i]);
    T_EQ_I64(acquired(i, &lease, NULL), CELLAR_LEASED);
    return lease;
}

static void lease_of_the_host_is_one_over_processes(void)
{
    begin_far();
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
    shared_answer_lease(&two);
    T_EQ_I64(acquired(1, &other, "v"), CELLAR_OK);
    has(ns[0], "k", "v");
    T_EQ_U64(two.fills + two.puts + one.unleases, 0);
    end();
}

static void change_inside(shared_client *m, const char *call)
{
    if (strcmp(call, "answer") == 0) { m->host->changed(m->host->ctx, "k", 1); }
}

/* Let the tier grant a lease while memory has a value that was deleted unheard. */
static void lease_of_the_host_ends_a_value_that_came_behind_the_look(void)
{
    cellar_lease lease;
    begin_far();
    one.late = true;
    sets(ns[1], "k", "theirs");
    T_EQ_I64(acquired(0, &lease, NULL), CELLAR_PENDING);
    has(ns[0], "k", "theirs");
    server.row[0].used = false;
    shared_answer_lease(&one);
    T_EQ_U64(called, 1);
    T_EQ_U64(one.unleases, 1);
    lease = leased_by(0);
    T_EQ_I64(cellar_lease_fulfill(ns[0], &lease, "2", 1, NULL), CELLAR_OK);
    has(ns[0], "k", "2");
    has(ns[1], "k", "2");
    end();
}

static void lease_of_the_host_keeps_a_stale_value(void)
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
    shared_answer_lease(&two);
    T_EQ_I64(read_stale("old"), CELLAR_STALE);
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

static void value_on_its_way_does_not_enter_memory_behind_a_lease(void)
{
    begin_far();
    sets(ns[1], "k", "theirs");
    one.inside = lease_inside;
    has(ns[0], "k", "theirs"); /* read before the delete */
    T_CHECK(!in_memory(ns[0], &one, "k"));
    T_EQ_I64(cellar_lease_fulfill(ns[0], &inner, "2", 1, NULL), CELLAR_OK);
    has(ns[0], "k", "2");
    end();
}

static void wait_for_another_process_ends_with(void (*event)(void))
{
    cellar_lease lease, other;
    begin_far();
    lease = leased_by(0);
    called = 0;
    T_EQ_I64(acquired(1, &other, NULL), CELLAR_PENDING);
    shared_answer_lease(&two);
    T_EQ_U64(called, 0);
    event();
    T_EQ_U64(called, 1);
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
    cellar_tick(root[1], 1000, NULL);
    T_EQ_U64(called, 0);
    now_ms += one.hold_ms + 1;
    cellar_tick(root[1], 1000, NULL);
}
static void event_is_a_release(void)
{
    server.row[0].lease = 0; /* as the release of a leader does */
    event_is_a_change();
}

static void host_that_waits_for_another_process_is_called(void)
{
    wait_for_another_process_ends_with(event_is_a_change);
    wait_for_another_process_ends_with(event_is_an_end);
    wait_for_another_process_ends_with(event_is_the_end_of_the_lease);
    wait_for_another_process_ends_with(event_is_a_release);
}

static void change_before_the_answer_ends_the_wait_of_the_host(void)
{
    begin_far();
    cellar_lease lease = leased_by(0), other;
    called = 0;
    T_EQ_I64(acquired(1, &other, NULL), CELLAR_PENDING);
    two.inside = change_inside;
    shared_answer_lease(&two);
    two.inside = NULL;
    T_EQ_U64(called, 1);
    T_EQ_I64(cellar_lease_release(ns[0], &lease, 0), CELLAR_OK);
    end();
}

/* A change detaches the first question: the second one meets the lease that the first one brings. */
static void two_questions_of_one_process_do_not_wait_for_each_other(void)
{
    for (unsigned order = 0; order < 2; order++) {
        cellar_tier_ticket question[2];
        cellar_lease lease;
        begin_far();
        for (unsigned i = 0; i < 2; i++) {
            T_EQ_I64(acquired(0, &lease, NULL), CELLAR_PENDING);
            question[i] = one.ticket;
            if (i == 0) { one.host->changed(one.host->ctx, "k", 1); }
        }
        T_CHECK(memcmp(&question[0], &question[1], sizeof question[0]) != 0);
        for (unsigned i = 0; i < 2; i++) {
            one.ticket = question[i ^ order];
            shared_answer_lease(&one);
        }
        T_EQ_I64(acquired(0, &lease, NULL), CELLAR_LEASED);
        T_EQ_I64(cellar_lease_fulfill(ns[0], &lease, "v", 1, NULL), CELLAR_OK);
        has(ns[1], "k", "v");
        end();
    }
}

static void ended_lease_of_the_host_stores_nothing(void)
{
    begin_far();
    cellar_lease lease = leased_by(0);
    sets(ns[1], "k", "theirs");
    T_EQ_I64(cellar_lease_fulfill(ns[0], &lease, "v", 1, NULL), CELLAR_INVALIDATED);
    has(ns[0], "k", "theirs");
    has(ns[1], "k", "theirs");
    end();
}

static void released_lease_of_the_host_goes_back_to_the_server(void)
{
    for (int32_t failed = 0; failed < 2; failed++) {
        begin_far();
        cellar_lease lease = leased_by(0);
        T_EQ_I64(cellar_lease_release(ns[0], &lease, failed), CELLAR_OK);
        T_EQ_U64(one.unleases, 1);
        lease = leased_by(1);
        T_EQ_I64(cellar_lease_fulfill(ns[1], &lease, "v", 1, NULL), CELLAR_OK);
        has(ns[0], "k", "v");
        end();
    }
}

/* ---- changes that depend on the state of the key ---- */

static const char *between; /* key that the other client sets between read and write */
static void come_between(shared_client *m, const char *call)
{
    if (between == NULL || strcmp(call, "put") != 0) { return; }
    const char *key = between;
    between = NULL;
    cellar *c = m == &one ? ns[1] : ns[0];
    T_EQ_I64(cellar_set(c, key, 1, "\5\0\0\0\0\0\0\0", 8, NULL), CELLAR_OK);
}

static void conditions_hold_for_the_server(void)
{
    begin();
    cellar_set_opts o = cellar_set_opts_default();
    sets(ns[0], "k", "1");
    o.flags = CELLAR_ONLY_IF_ABSENT;
    T_EQ_I64(cellar_set(ns[1], "k", 1, "2", 1, &o), CELLAR_EXISTS);
    T_EQ_I64(cellar_set(ns[1], "new", 3, "2", 1, &o), CELLAR_OK);
    has(ns[0], "new", "2");
    o.flags = CELLAR_ONLY_IF_PRESENT;
    T_EQ_I64(cellar_set(ns[1], "none", 4, "2", 1, &o), CELLAR_MISS);
    T_EQ_I64(cellar_set(ns[1], "k", 1, "2", 1, &o), CELLAR_OK);
    has(ns[0], "k", "2");
    end();
}

static void version_is_the_state_of_the_server(void)
{
    begin();
    char buf[8];
    uint64_t version = 0;
    cellar_set_opts o = cellar_set_opts_default();
    cellar_get_opts g = cellar_get_opts_default();
    cellar_entry_info info = cellar_entry_info_default();
    sets(ns[0], "k", "1");
    g.flags = CELLAR_GET_WANT_VERSION;
    g.info = &info;
    T_EQ_I64(cellar_get_with(ns[1], "k", 1, &g, buf, sizeof buf, NULL), CELLAR_OK);
    T_EQ_U64(info.version, server.row[0].check);
    o.flags = CELLAR_ONLY_IF_VERSION;
    o.if_version = info.version;
    o.new_version = &version;
    T_EQ_I64(cellar_set(ns[0], "k", 1, "2", 1, &o), CELLAR_OK);
    T_EQ_U64(version, server.row[0].check);
    T_EQ_I64(cellar_set(ns[0], "k", 1, "3", 1, &o), CELLAR_CONFLICT);
    T_EQ_I64(cellar_set(ns[0], "none", 4, "3", 1, &o), CELLAR_CONFLICT);
    T_EQ_I64(cellar_entry_info_get(ns[1], "k", 1, CELLAR_GET_WANT_VERSION, &info), CELLAR_OK);
    T_EQ_U64(info.version, version);
    cellar_delete_opts d = cellar_delete_opts_default();
    d.if_version = version + 1;
    T_EQ_I64(cellar_delete_with(ns[1], "k", 1, &d), CELLAR_CONFLICT);
    d.if_version = version;
    T_EQ_I64(cellar_delete_with(ns[1], "k", 1, &d), CELLAR_OK);
    T_EQ_I64(cellar_delete_with(ns[1], "k", 1, &d), CELLAR_MISS);
    has(ns[0], "k", NULL);
    end();
}

static void increment_loses_no_update_of_another_process(void)
{
    begin();
    int64_t now = 0;
    T_EQ_I64(cellar_increment(ns[0], "n", 1, 2, 10, 0, 0, &now), CELLAR_OK);
    T_EQ_I64(now, 12);
    T_EQ_I64(cellar_increment(ns[1], "n", 1, 3, 0, 0, 0, &now), CELLAR_OK);
    T_EQ_I64(now, 15);
    one.inside = come_between; /* sets 5 */
    between = "n";
    T_EQ_I64(cellar_increment(ns[0], "n", 1, 1, 0, 0, 0, &now), CELLAR_OK);
    T_EQ_I64(now, 6);
    one.inside = NULL;
    sets(ns[0], "text", "1");
    T_EQ_I64(cellar_increment(ns[1], "text", 4, 1, 0, 0, 0, &now), CELLAR_E_TYPE);
    T_EQ_I64(cellar_increment(ns[1], "none", 4, 1, 0, 0, CELLAR_ONLY_IF_PRESENT, &now),
             CELLAR_MISS);
    T_EQ_I64(cellar_increment(ns[1], "n", 1, INT64_MAX, 0, 0, 0, &now), CELLAR_E_RANGE);
    T_EQ_I64(now, INT64_MAX);
    one.answer = CELLAR_E_TIMEOUT;
    T_EQ_I64(cellar_increment(ns[0], "n", 1, 1, 0, 0, 0, &now), CELLAR_E_TIMEOUT);
    one.answer = CELLAR_OK;
    end();
}

static cellar_err add_two(void *ctx, const cellar_tier_key *k, int64_t delta, int64_t *number,
                          const cellar_tier_entry *e)
{
    (void)ctx;
    (void)k;
    *number += delta;
    return e == NULL ? CELLAR_MISS : CELLAR_OK;
}

static void tier_that_adds_is_asked_to_add(void)
{
    make_clients();
    one.table.add = add_two;
    attach_both();
    int64_t now = 0;
    T_EQ_I64(cellar_increment(ns[0], "n", 1, 2, 10, 0, 0, &now), CELLAR_OK);
    T_EQ_I64(now, 12);
    T_EQ_I64(cellar_increment(ns[0], "n", 1, 2, 0, 0, CELLAR_ONLY_IF_PRESENT, &now), CELLAR_MISS);
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
    (void)old;
    (void)old_len;
    (void)out;
    (void)ctx;
    return CELLAR_REMOVED;
}

static void update_sees_the_value_of_the_server(void)
{
    begin();
    const cellar_bytes tag = { "t", 1 };
    cellar_set_opts o = cellar_set_opts_default();
    o.tags = &tag;
    o.tag_count = 1;
    o.user_flags = 7;
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
    end();
}

static void delete_returns_the_old_value_of_the_server(void)
{
    begin();
    void *old = NULL;
    size_t len = 0;
    cellar_delete_opts d = cellar_delete_opts_default();
    d.old_value = &old;
    d.old_value_len = &len;
    sets(ns[0], "k", "1");
    T_EQ_I64(cellar_delete_with(ns[1], "k", 1, &d), CELLAR_OK);
    T_EQ_U64(len, 1);
    T_EQ_STR((const char *)old, "1");
    cellar_free(old);
    has(ns[0], "k", NULL);
    T_EQ_I64(cellar_delete_with(ns[1], "k", 1, &d), CELLAR_MISS);
    end();
}

static void touch_sets_the_deadline_for_all(void)
{
    begin();
    cellar_set_opts o = cellar_set_opts_default();
    o.ttl_ms = 1000;
    T_EQ_I64(cellar_set(ns[0], "k", 1, "1", 1, &o), CELLAR_OK);
    T_EQ_I64(cellar_touch(ns[1], "k", 1, 60000), CELLAR_OK);
    now_ms += 5000;
    has(ns[0], "k", "1");
    T_EQ_I64(cellar_touch(ns[1], "none", 4, 60000), CELLAR_MISS);
    o.flags = CELLAR_KEEP_TTL;
    o.ttl_ms = 0;
    T_EQ_I64(cellar_set(ns[0], "k", 1, "2", 1, &o), CELLAR_OK);
    T_EQ_I64(server.row[0].deadline_ms, 1000000 + 60000);
    end();
}

/* ---- attach, close, fork ---- */

static void attach_refuses_what_it_cannot_serve(void)
{
    make_clients();
    settings s = plain();
    cellar *c = open_store(0, &s);
    cellar_tier_table t = one.table;
    T_EQ_I64(cellar_tier_attach(NULL, &t), CELLAR_E_INVAL);
    T_EQ_I64(cellar_tier_attach(c, NULL), CELLAR_E_INVAL);
    t.struct_size = 12;
    T_CHECK(cellar_tier_attach(c, &t) < 0);
    t = one.table;
    t.put = NULL;
    T_EQ_I64(cellar_tier_attach(c, &t), CELLAR_E_INVAL);
    t = one.table;
    t.max_ttl_ms = -1;
    T_EQ_I64(cellar_tier_attach(c, &t), CELLAR_E_INVAL);
    t = one.table;
    t.blind_fill = 2;
    T_EQ_I64(cellar_tier_attach(c, &t), CELLAR_E_INVAL);
    cellar_namespace_opts o = cellar_namespace_opts_default();
    cellar *hidden = NULL;
    o.hidden = 1;
    T_EQ_I64(cellar_namespace_open(root[0], "hidden", &o, &hidden), CELLAR_OK);
    T_EQ_I64(cellar_tier_attach(hidden, &one.table), CELLAR_E_UNSUPPORTED);
    T_EQ_I64(cellar_close(hidden), CELLAR_OK);
    sets(c, "k", "before");
    T_EQ_I64(cellar_tier_attach(c, &one.table), CELLAR_OK);
    has(c, "k", NULL);
    T_EQ_STR(one.host->name, "users");
    T_EQ_I64(cellar_tier_attach(c, &two.table), CELLAR_E_BUSY);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_EQ_I64(cellar_close(root[0]), CELLAR_OK);
    T_EQ_U64(one.closes, 1);
}

static unsigned allocations, fail_at;
static void *count_alloc(size_t size, void *ctx)
{
    (void)ctx;
    return ++allocations == fail_at ? NULL : malloc(size);
}
static void count_free(void *p, size_t size, void *ctx)
{
    (void)size;
    (void)ctx;
    free(p);
}

static void failed_allocation_changes_nothing(void)
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
        T_EQ_I64(cellar_close(c), CELLAR_OK);
        T_EQ_I64(cellar_close(root[0]), CELLAR_OK);
    }
}

static void host_serves_a_dropped_namespace_until_close(void)
{
    begin();
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
    end();
}

static void refused_host_ends_the_attach(void)
{
    make_clients();
    settings s = plain();
    cellar *c = open_store(0, &s);
    one.answer = CELLAR_E_CONFIG;
    T_EQ_I64(cellar_tier_attach(c, &one.table), CELLAR_E_CONFIG);
    one.answer = CELLAR_OK;
    sets(c, "k", "1");
    T_EQ_U64(one.puts, 0);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_EQ_I64(cellar_close(root[0]), CELLAR_OK);
    T_EQ_U64(one.closes, 0);
}

/* A number that the host raises orders sets against what the tier reads behind it. */
static void set_tells_the_epoch_of_its_begin(void)
{
    begin();
    sets(ns[0], "k", "1");
    const uint64_t before = server.row[0].born;
    const uint64_t epoch = one.host->epoch(one.host->ctx);
    T_CHECK(before < epoch);
    sets(ns[0], "k", "2");
    T_EQ_U64(server.row[0].born, epoch);
    T_CHECK(one.host->epoch(one.host->ctx) > epoch);
    end();
}

static void many_namespaces_share_one_slot(void)
{
    enum { MANY = 12 };
    static shared_client more[MANY];
    cellar *c[MANY];
    begin();
    cellar_namespace_opts o = cellar_namespace_opts_default();
    o.tier = CELLAR_TIER_L1;
    for (unsigned i = 0; i < MANY; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "n%u", i);
        T_EQ_I64(cellar_namespace_open(root[0], name, &o, &c[i]), CELLAR_OK);
        server.clients = 2;
        shared_client_init(&more[i], &server);
        more[i].table.tick = shared_tick;
        T_EQ_I64(cellar_tier_attach(c[i], &more[i].table), CELLAR_OK);
        sets(c[i], name, "1");
        T_EQ_U64(more[i].puts, 1);
    }
    server.clients = 2;
    (void)cellar_tick(root[0], 1000, NULL);
    for (unsigned i = 0; i < MANY; i++) {
        T_EQ_U64(more[i].ticks, 1);
        T_EQ_I64(cellar_close(c[i]), CELLAR_OK);
    }
    end();
    for (unsigned i = 0; i < MANY; i++) { T_EQ_U64(more[i].closes, 1); }
}

static void forked_child_has_memory_only(void)
{
    begin();
    sets(ns[0], "k", "1");
    const pid_t pid = fork();
    if (pid == 0) {
        const unsigned puts = one.puts, gets = one.gets;
        char buf[8];
        bool fine = cellar_set(ns[0], "k", 1, "2", 1, NULL) == CELLAR_OK;
        fine = fine && cellar_get(ns[0], "none", 4, buf, sizeof buf, NULL) == CELLAR_MISS;
        fine = fine && cellar_get(ns[0], "k", 1, buf, sizeof buf, NULL) == CELLAR_OK;
        fine = fine && cellar_clear(ns[0]) == CELLAR_OK && one.clears == 0;
        fine = fine && cellar_tier_attach(ns[0], &one.table) == CELLAR_E_UNSUPPORTED;
        fine = fine && one.puts == puts && one.gets == gets && one.forks == 1;
        (void)cellar_close(ns[0]);
        (void)cellar_close(root[0]);
        _exit(fine && one.closes == 0 ? 0 : 1);
    }
    int status = 1;
    T_EQ_I64(waitpid(pid, &status, 0), pid);
    T_EQ_I64(status, 0);
    T_EQ_U64(one.forks, 0);
    end();
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

static void read_after_a_set_of_any_client_sees_it(void)
{
    pthread_t thread[4];
    begin();
    reported[0] = reported[1] = 0;
    for (intptr_t i = 0; i < 4; i++) {
        T_EQ_I64(pthread_create(&thread[i], NULL, i < 2 ? changer : reader, (void *)(i % 2)), 0);
    }
    for (unsigned i = 0; i < 4; i++) { T_EQ_I64(pthread_join(thread[i], NULL), 0); }
    end();
}

T_MAIN("api_tier", T_CASE(set_reaches_the_server_and_other_clients),
       T_CASE(set_elsewhere_ends_the_entry_with_cause_remote),
       T_CASE(delete_reaches_the_server_without_an_entry_in_memory),
       T_CASE(negative_entry_is_shared), T_CASE(entry_that_memory_must_not_keep_is_read_again),
       T_CASE(life_in_memory_is_bounded), T_CASE(other_namespaces_do_not_know_the_tier),
       T_CASE(deferred_write_leaves_memory), T_CASE(strict_write_returns_timeout),
       T_CASE(clear_ends_the_entries_of_all_clients), T_CASE(tag_ends_entries_of_all_clients),
       T_CASE(pattern_reaches_the_server_once),
       T_CASE(entries_end_within_a_pattern_delete), T_CASE(reply_on_its_way_brings_nothing_old_back),
       T_CASE(change_that_an_end_overtook_leaves_nothing_older_in_memory),
       T_CASE(change_behind_a_judged_or_refused_one_reaches_the_server),
       T_CASE(equal_gets_are_one_question),
       T_CASE(equal_gets_of_a_value_that_memory_does_not_keep_ask_each),
       T_CASE(get_behind_a_change_does_not_wait_for_an_older_question),
       T_CASE(get_inside_the_same_get_asks_for_itself),
       T_CASE(acquire_asks_again_after_a_change),
       T_CASE(acquire_without_a_change_asks_once),
       T_CASE(acquire_asks_for_a_value_that_a_gap_made_stale),
       T_CASE(load_is_not_kept_if_the_tier_does_not_tell_what_it_has),
       T_CASE(load_during_an_own_set_is_not_kept),
       T_CASE(forced_refresh_replaces_a_value_of_the_server),
       T_CASE(missed_keys_are_asked_in_one_question),
       T_CASE(silent_tier_gets_one_question_for_many_keys),
       T_CASE(tier_without_get_many_is_asked_key_by_key),
       T_CASE(question_reports_all_outcomes_of_a_get),
       T_CASE(answer_of_many_that_a_change_overtook_is_not_stored),
       T_CASE(missed_key_that_a_change_brings_is_found),
       T_CASE(answer_of_a_question_is_stored_unless_the_key_changed),
       T_CASE(change_elsewhere_during_a_load_discards_its_result),
       T_CASE(memory_answers_until_the_proof_ends),
       T_CASE(plain_hit_ends_with_proof_and_deadline),
       T_CASE(nothing_is_answered_before_the_first_proof),
       T_CASE(get_without_proof_asks_the_server),
       T_CASE(value_without_proof_is_stale_for_calls_that_take_it),
       T_CASE(softly_ended_value_is_stale_and_never_fresh),
       T_CASE(softly_ended_value_yields_to_the_server), T_CASE(hard_end_leaves_no_stale_value),
       T_CASE(soft_end_without_stale_proof_is_hard),
       T_CASE(stale_window_bounds_a_softly_ended_value),
       T_CASE(reply_that_a_soft_end_overtook_is_not_stored),
       T_CASE(load_that_a_soft_end_overtook_is_stale),
       T_CASE(refresh_of_a_softly_ended_value_asks_the_server_first),
       T_CASE(remembered_failure_is_kept_with_stale_proof),
       T_CASE(value_found_the_same_is_fresh_until_the_next_soft_end),
       T_CASE(load_without_proof_runs_the_loader),
       T_CASE(namespace_without_handles_hears_changes),
       T_CASE(forked_child_answers_nothing_that_needs_a_proof),
       T_CASE(key_is_loaded_once_by_two_processes),
       T_CASE(change_during_a_load_ends_its_lease), T_CASE(failed_load_gives_the_lease_back),
       T_CASE(thread_exit_in_loader_gives_the_lease_back), T_CASE(negative_result_is_filled),
       T_CASE(load_without_a_lease_reaches_memory_only),
       T_CASE(load_behind_a_silent_get_asks_no_more_and_is_not_kept),
       T_CASE(lost_fill_leaves_memory_alone),
       T_CASE(blind_fill_does_not_follow_a_change), T_CASE(delete_waits_for_a_blind_fill),
       T_CASE(blind_fill_does_not_follow_a_delete_of_many),
       T_CASE(lease_ends_a_value_that_came_behind_the_look),
       T_CASE(listener_of_a_value_that_a_lease_ends_loads_the_key),
       T_CASE(call_behind_a_lease_does_not_join_a_load_before_it),
       T_CASE(lease_of_a_dead_process_ends_by_time),
       T_CASE(wait_for_another_process_ends_at_its_limit),
       T_CASE(wait_for_another_process_ends_by_changes_of_its_key),
       T_CASE(load_that_must_not_wait_is_pending), T_CASE(close_ends_the_wait_for_another_process),
       T_CASE(stale_value_is_served_while_another_process_refreshes),
       T_CASE(keys_are_loaded_once_by_bulk_loads_of_two_processes),
       T_CASE(bulk_load_asks_for_the_values_of_its_keys_together),
       T_CASE(bulk_load_asks_a_silent_tier_once_and_keeps_nothing),
       T_CASE(bulk_load_loads_its_own_keys_before_it_waits),
       T_CASE(equal_keys_of_a_bulk_load_wait_together),
       T_CASE(bulk_wait_for_another_process_ends_at_its_limit),
       T_CASE(change_during_a_bulk_load_ends_the_lease_of_its_key),
       T_CASE(bulk_load_without_values_gives_its_leases_back),
       T_CASE(close_ends_the_bulk_wait_for_another_process),
       T_CASE(listener_inside_a_bulk_load_does_not_wait_for_its_keys),
       T_CASE(lease_of_the_host_is_one_over_processes),
       T_CASE(lease_of_the_host_ends_a_value_that_came_behind_the_look),
       T_CASE(lease_of_the_host_keeps_a_stale_value),
       T_CASE(value_on_its_way_does_not_enter_memory_behind_a_lease),
       T_CASE(host_that_waits_for_another_process_is_called),
       T_CASE(change_before_the_answer_ends_the_wait_of_the_host),
       T_CASE(two_questions_of_one_process_do_not_wait_for_each_other),
       T_CASE(ended_lease_of_the_host_stores_nothing),
       T_CASE(released_lease_of_the_host_goes_back_to_the_server),
       T_CASE(conditions_hold_for_the_server), T_CASE(version_is_the_state_of_the_server),
       T_CASE(increment_loses_no_update_of_another_process),
       T_CASE(tier_that_adds_is_asked_to_add), T_CASE(update_sees_the_value_of_the_server),
       T_CASE(delete_returns_the_old_value_of_the_server), T_CASE(touch_sets_the_deadline_for_all),
       T_CASE(attach_refuses_what_it_cannot_serve), T_CASE(failed_allocation_changes_nothing),
       T_CASE(host_serves_a_dropped_namespace_until_close),
       T_CASE(refused_host_ends_the_attach), T_CASE(set_tells_the_epoch_of_its_begin),
       T_CASE(many_namespaces_share_one_slot), T_CASE(forked_child_has_memory_only),
       T_CASE(read_after_a_set_of_any_client_sees_it))
