/* SPDX-License-Identifier: MIT
 *
 * Aim:    each bad day of a server has its code, its counter and one line in the log, and the
 *         remote comes back without a call of the program.
 * Method: redis-server is real, and is made slow, full, read-only, loading and so on. Lines of the
 *         log at level WARNING are counted; the lost links by reason come from the metrics. */
#include <sys/stat.h>

#include "cellar_admin.h"
#include "cellar_entry.h"
#include "cellar_invalidate.h"
#include "cellar_observe.h"
#include "tests/support/two_sides.h"

static _Atomic int warnings;
static uint64_t gaps_before; /* the attach may make one */

static void count_line(cellar_log_level level, const char *module, cellar_err code,
                       const char *text, void *ctx)
{
    (void)code, (void)text, (void)ctx;
    T_EQ_STR(module, "remote");
    if (level <= CELLAR_LOG_WARNING) { atomic_fetch_add(&warnings, 1); }
}

/* Open side a with a log and a short wait of calls. Double it until a set is in time. */
static void day_open(int64_t io_ms, const char *user)
{
    cellar_remote_config ro = side_patient();
    cellar_host_config host = { .struct_size = sizeof host, .log = count_line,
                                .log_level = CELLAR_LOG_DEBUG };
    ro.host = &host;
    ro.user = user;
    ro.password = user != NULL ? "secret" : NULL;
    for (ro.io_ms = io_ms;; ro.io_ms *= 2) {
        atomic_store(&warnings, 0);
        side_open(&a, server.socket, &ro, NULL);
        side_fence(&a); /* the generation exists */
        const cellar_err err = side_set(&a, "k", "old");
        if (err == CELLAR_OK) { break; }
        T_REQUIRE(err == CELLAR_DEFERRED && ro.io_ms < 5000);
        side_close(&a);
    }
    T_CHECK(side_has(&a, "k", "old"));
    gaps_before = side_stats(&a).gaps;
}

static void day_begin(int64_t io_ms)
{
    T_REQUIRE(engine_start(&server, NULL));
    day_open(io_ms, NULL);
}

static uint64_t gaps(void) { return side_stats(&a).gaps - gaps_before; }

/* Return how often a link was lost or refused for a reason. */
static long lost(const char *reason)
{
    static char text[65536];
    char name[96];
    T_CHECK(cellar_metrics_write(a.r, text, sizeof text, NULL) == CELLAR_OK);
    (void)snprintf(name, sizeof name, "lost_links_total{remote=\"app\",reason=\"%s\"} ", reason);
    const char *at = strstr(text, name);
    return at != NULL ? strtol(at + strlen(name), NULL, 10) : -1;
}

static void await_lost(const char *reason, long count)
{
    for (int i = 0; i < 10000 && lost(reason) < count; i++) { engine_pause_ms(1); }
    T_CHECK(lost(reason) >= count);
}

/* Wait until the remote is back and has sent its journal. */
static void await_recovery(void)
{
    side_sent(&a);
    side_fence(&a);
}

/* The server answers again: the key of the write that it did not take is deleted. */
static void recovers_without_the_old_value(void)
{
    await_recovery();
    T_CHECK(side_has(&a, "k", NULL));
    T_CHECK(side_set(&a, "k", "new") == CELLAR_OK && side_has(&a, "k", "new"));
    T_EQ_I64(warnings, 1);
}

/* Set a key with a tag; a late set is repeated. */
static void set_tagged(cellar *c, const char *key, const char *value, const char *tag)
{
    const cellar_bytes t = { tag, strlen(tag) };
    cellar_set_opts o = { .struct_size = sizeof o, .tags = &t, .tag_count = 1 };
    cellar_err err = CELLAR_DEFERRED;
    for (int i = 0; i < 20 && err == CELLAR_DEFERRED; i++) {
        err = cellar_set(c, key, strlen(key), value, strlen(value), &o);
    }
    T_EQ_I64(err, CELLAR_OK);
}

T_CASE(call_waits_once_for_a_frozen_server)
{
    day_begin(300);
    engine_signal(&server, SIGSTOP);
    T_EQ_I64(side_load(&a, "cold", "new", 0), CELLAR_OK);
    T_EQ_U64(side_stats(&a).timeouts, 1);
    T_CHECK(side_has(&a, "cold", NULL)); /* memory has not kept it */
    T_EQ_U64(side_stats(&a).timeouts, 2);
    T_EQ_I64(side_set_tagged(&a, "k", "late", "unknown"), CELLAR_DEFERRED);
    T_EQ_U64(side_stats(&a).deletes, 0); /* sent by the call */
    T_EQ_U64(side_stats(&a).deferred, 1);
    engine_signal(&server, SIGCONT);
    await_recovery();
    T_EQ_U64(gaps(), 0); /* a late answer costs the write, not the link */
    T_CHECK(side_has(&a, "k", NULL));
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:users:k")), 0);
    set_tagged(a.users, "k", "new", "unknown");
    T_CHECK(side_has(&a, "k", "new"));
}

/* Return how many SETs the server has executed, also in scripts. */
static uint64_t server_sets(void)
{
    return engine_told(&server, "commandstats", "cmdstat_set:calls=");
}

T_CASE(tag_of_many_namespaces_is_ended_once)
{
    enum { MORE = 3 };
    static const char *const names[MORE] = { "raw", "x", "y" };
    cellar *more[MORE];
    char got[8];
    size_t len;
    bool frozen = false, once = false; /* two SETs, the epoch and the tag, unless a marker comes */
    for (int round = 0; round < 21 && !frozen; round++) {
        frozen = once;
        day_begin(frozen ? 500 : 10000);
        for (int i = 0; i < MORE; i++) {
            const cellar_remote_namespace_config o = side_raw(i == 0);
            T_REQUIRE(cellar_namespace_open(a.store, names[i], NULL, &more[i]) == CELLAR_OK);
            T_REQUIRE(cellar_remote_attach(a.r, more[i], &o) == CELLAR_OK);
        }
        await_recovery();
        set_tagged(a.users, "t", "old", "tag");
        for (int i = 1; i < MORE; i++) { set_tagged(more[i], "t", "old", "tag"); }
        await_recovery();
        const uint64_t sets = server_sets();
        const uint64_t timeouts = side_stats(&a).timeouts;
        if (frozen) { engine_signal(&server, SIGSTOP); }
        T_EQ_I64(cellar_delete_by_tag(a.users, "tag", 3, CELLAR_TAG_HARD),
                 frozen ? CELLAR_DEFERRED : CELLAR_OK);
        T_EQ_U64(side_stats(&a).timeouts - timeouts, frozen);
        if (frozen) { engine_signal(&server, SIGCONT); }
        once = frozen || server_sets() - sets == 2;
        await_recovery();
        T_CHECK(side_has(&a, "t", NULL));
        for (int i = 1; i < MORE; i++) {
            T_EQ_I64(cellar_get(more[i], "t", 1, got, sizeof got, &len), CELLAR_MISS);
        }
        for (int i = 0; i < MORE; i++) { T_CHECK(cellar_namespace_close(more[i]) == CELLAR_OK); }
        left_close();
    }
    T_CHECK(frozen);
}

enum { DURABLE_THREADS = 6, DURABLE_SETS = 4 };

/* Open side a with a durable namespace. */
static void durable_begin(int64_t io_ms, cellar_remote_write write)
{
    cellar_remote_config ro = side_patient();
    ro.io_ms = io_ms;
    cellar_remote_namespace_config o = { .struct_size = sizeof o, .durable = 1, .write = write };
    side_open(&a, server.socket, &ro, &o);
    side_fence(&a);
}

static void *set_durably(void *arg)
{
    char key[16];
    for (int i = 0; i < DURABLE_SETS; i++) {
        (void)snprintf(key, sizeof key, "%s-%d", (const char *)arg, i);
        T_EQ_I64(side_set(&a, key, "v"), CELLAR_OK);
        T_CHECK(side_has(&a, "absent", NULL)); /* a get behind the WAIT of another thread */
    }
    return NULL;
}

static void set_durably_by_threads(void)
{
    static char name[DURABLE_THREADS][4];
    pthread_t thread[DURABLE_THREADS];
    for (int i = 0; i < DURABLE_THREADS; i++) {
        (void)snprintf(name[i], sizeof name[i], "%d", i);
        T_REQUIRE(pthread_create(&thread[i], NULL, set_durably, name[i]) == 0);
    }
    for (int i = 0; i < DURABLE_THREADS; i++) { T_EQ_I64(pthread_join(thread[i], NULL), 0); }
    T_EQ_U64(side_stats(&a).timeouts, 0);
    T_EQ_U64(side_stats(&a).deferred, 0);
    T_EQ_U64(side_stats(&a).journal_keys, 0);
}

/* The event loop of this server sleeps for 1 s if nothing happens. */
T_CASE(durable_writes_without_a_replica_are_counted_and_stored)
{
    static const char *const slow[] = { "--hz", "1", "--dynamic-hz", "no", NULL };
    const uint64_t sets = DURABLE_THREADS * DURABLE_SETS;
    int64_t now = 0;
    cellar_set_opts absent = { .struct_size = sizeof absent, .flags = CELLAR_ONLY_IF_ABSENT };
    T_REQUIRE(engine_start(&server, engine_is_port() ? NULL : slow));
    durable_begin(10000, CELLAR_REMOTE_THROUGH);
    set_durably_by_threads();
    T_EQ_U64(side_stats(&a).replicas_short, sets);
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:users:0-0 app:users:5-3")), 2);
    T_EQ_I64(cellar_delete(a.users, "0-0", 3), CELLAR_OK);
    T_EQ_I64(cellar_increment(a.users, "n", 1, 1, 0, NULL, &now), CELLAR_OK);
    T_EQ_I64(cellar_set(a.users, "c", 1, "v", 1, &absent), CELLAR_OK);
    T_EQ_U64(side_stats(&a).replicas_short, sets + 3);
    T_EQ_I64(cellar_set(a.users, "c", 1, "v", 1, &absent), CELLAR_EXISTS);
    T_EQ_I64(side_load(&a, "l", "new", 0), CELLAR_OK);
    T_EQ_U64(side_stats(&a).replicas_short, sets + 3);
    side_close(&a);
    durable_begin(10000, CELLAR_REMOTE_BEHIND);
    T_EQ_I64(side_set(&a, "b", "v"), CELLAR_OK);
    T_EQ_U64(side_stats(&a).replicas_short, 0);
}

T_CASE(durable_writes_reach_a_replica)
{
    static engine replica;
    T_REQUIRE(engine_start_on(&server, true, NULL));
    T_REQUIRE(engine_start(&replica, NULL));
    T_CHECK(engine_ask(&replica, "REPLICAOF 127.0.0.1 %u", server.port) != NULL);
    for (int i = 0; i < 10000; i++) {
        const redisReply *info = engine_ask(&server, "INFO replication");
        if (info != NULL && strstr(info->str, "state=online") != NULL) { break; }
        engine_pause_ms(1);
    }
    durable_begin(10000, CELLAR_REMOTE_THROUGH);
    set_durably_by_threads();
    T_EQ_U64(side_stats(&a).replicas_short, 0);
    T_EQ_I64(engine_number(engine_ask(&replica, "EXISTS app:users:0-0 app:users:5-3")), 2);
    engine_signal(&replica, SIGSTOP);
    T_EQ_I64(side_set(&a, "k", "v"), CELLAR_OK);
    T_EQ_U64(side_stats(&a).replicas_short, 1);
    engine_signal(&replica, SIGCONT);
}

T_CASE(dead_server_comes_back_empty)
{
    int64_t now = 0;
    cellar_remote_lock lk, copy, other;
    day_begin(10000);
    side_open(&b, server.socket, NULL, NULL);
    side_fence(&b);
    T_CHECK(side_has(&b, "k", "old"));
    T_EQ_I64(cellar_remote_lock_acquire(a.r, "lock", 4, NO_WAIT, &lk), CELLAR_OK);
    copy = lk;
    engine_kill(&server);
    await_lost("connect", 4);
    T_CHECK(side_has(&a, "k", NULL));
    T_EQ_I64(side_set(&a, "k", "late"), CELLAR_DEFERRED);
    T_EQ_I64(cellar_increment(a.users, "n", 1, 1, 0, NULL, &now), CELLAR_E_BREAKER_OPEN);
    T_CHECK(side_stats(&a).refused_breaker >= 1);
    T_EQ_I64(cellar_remote_lock_acquire(a.r, "lock", 4, NO_WAIT, &other), CELLAR_E_BREAKER_OPEN);
    T_EQ_I64(cellar_remote_lock_extend(a.r, "lock", 4, &lk, 30000), CELLAR_E_BREAKER_OPEN);
    engine_restart(&server);
    recovers_without_the_old_value();
    T_CHECK(side_proven(&b));
    side_fence(&b);
    T_CHECK(side_has(&b, "k", "new"));
    T_EQ_U64(gaps(), 1);
    T_EQ_I64(cellar_remote_lock_acquire(b.r, "lock", 4, NO_WAIT, &other), CELLAR_OK);
    T_CHECK(other.fence > lk.fence);
    T_EQ_I64(cellar_remote_lock_release(a.r, "lock", 4, &lk), CELLAR_E_LOST);
    T_EQ_I64(cellar_remote_lock_release(a.r, "lock", 4, &copy), CELLAR_E_LOST);
    T_EQ_I64(cellar_remote_lock_check(b.r, &other), CELLAR_OK);
}

/* Check that the last errors name the memory of the server. Replace that of the store. */
static void server_is_blamed(void)
{
    cellar_error_info i = cellar_error_info_default();
    char text[120];
    T_EQ_I64(cellar_last_error(a.users, &i), CELLAR_OK);
    T_EQ_I64(i.code, CELLAR_E_SPACE);
    T_EQ_STR(i.text, "the shared server is out of memory: raise its maxmemory, shared_bytes");
    T_EQ_I64(cellar_remote_last_error(a.r, &i), CELLAR_OK);
    T_EQ_I64(i.code, CELLAR_E_SPACE);
    (void)snprintf(text, sizeof text, "remote: server %.48s is out of memory: raise its maxmemory",
                   server.socket);
    T_EQ_STR(i.text, text);
    T_EQ_I64(cellar_set(a.users, "", 0, "", 0, NULL), CELLAR_E_INVAL);
}

T_CASE(full_server_is_logged_once_and_keeps_counters)
{
    int64_t now = 0;
    day_begin(10000);
    side_open(&b, server.socket, NULL, NULL);
    T_CHECK(side_has(&b, "k", "old"));
    T_EQ_I64(cellar_increment(a.users, "n", 1, 5, 0, NULL, &now), CELLAR_OK);
    T_CHECK(engine_ask(&server, "CONFIG SET maxmemory 1") != NULL);
    for (int i = 0; i < 3; i++) {
        T_EQ_I64(side_set(&a, "k", "late"), CELLAR_E_SPACE);
        server_is_blamed();
        side_fence(&a);
    }
    T_EQ_U64(side_stats(&a).refused_memory, 3);
    side_fence(&b);
    T_CHECK(side_has(&b, "k", NULL));
    T_EQ_I64(cellar_increment(a.users, "n", 1, 1, 0, NULL, &now), CELLAR_E_SPACE);
    server_is_blamed();
    T_CHECK(engine_ask(&server, "CONFIG SET maxmemory 0") != NULL);
    recovers_without_the_old_value();
    T_EQ_U64(gaps(), 0);
    T_EQ_I64(cellar_increment(a.users, "n", 1, 1, 0, NULL, &now), CELLAR_OK);
    T_EQ_I64(now, 6); /* the counter is as it was */
}

/* A replica, and one that does not serve because its primary is away (MASTERDOWN). */
T_CASE(server_that_is_no_primary_is_left_until_it_is_one)
{
    for (int serves = 0; serves < 2; serves++) {
        day_begin(10000);
        T_CHECK(engine_ask(&server, "CONFIG SET replica-serve-stale-data %s",
                           serves ? "yes" : "no") != NULL);
        T_CHECK(engine_ask(&server, "REPLICAOF 127.0.0.1 1") != NULL);
        if (!serves) { T_CHECK(side_has(&a, "other", NULL)); }
        if (!serves) { await_lost("replica", 3); }
        T_EQ_I64(side_set(&a, "k", "late"), CELLAR_DEFERRED);
        await_lost("replica", 2);
        T_EQ_I64(lost("read_only"), serves);
        T_CHECK(engine_ask(&server, "REPLICAOF NO ONE") != NULL);
        recovers_without_the_old_value();
        left_close();
    }
}

/* Let the server save, or fail to: a folder has the name of the file. */
static void save_now(const char *status)
{
    char want[64];
    (void)snprintf(want, sizeof want, "rdb_last_bgsave_status:%s\r\n", status);
    T_CHECK(engine_ask(&server, "BGSAVE") != NULL);
    for (int i = 0; i < 10000; i++) {
        const redisReply *info = engine_ask(&server, "INFO persistence");
        T_REQUIRE(info != NULL);
        if (strstr(info->str, want) != NULL) { return; }
        engine_pause_ms(1);
    }
    T_CHECK(!"saved");
}

T_CASE(server_that_cannot_save_is_left)
{
    char file[T_FOLDER_MAX + 16];
    day_begin(10000);
    (void)snprintf(file, sizeof file, "%s/dump.rdb", server.dir);
    T_REQUIRE(mkdir(file, 0700) == 0);
    T_CHECK(engine_ask(&server, "CONFIG SET save %s", "3600 1") != NULL);
    save_now("err");
    T_EQ_I64(side_set(&a, "k", "late"), CELLAR_DEFERRED);
    await_lost("cannot_save", 3);
    T_REQUIRE(rmdir(file) == 0);
    save_now("ok");
    recovers_without_the_old_value();
}

/* It is the longest time for which a value stays that a dead process had in its journal. */
T_CASE(value_lives_no_longer_than_max_ttl)
{
    cellar_remote_config ro = side_patient();
    cellar_entry_info info = cellar_entry_info_default();
    ro.max_ttl_ms = 600000;
    T_REQUIRE(engine_start(&server, NULL));
    side_open(&a, server.socket, &ro, NULL);
    side_fence(&a);
    T_EQ_I64(side_set(&a, "k", "v"), CELLAR_OK);
    T_EQ_I64(cellar_entry_info_get(a.users, "k", 1, 0, &info), CELLAR_OK);
    T_CHECK(info.ttl_left_ms > 0 && info.ttl_left_ms <= 600000);
    const long long left_ms = engine_number(engine_ask(&server, "PTTL app:users:k"));
    T_CHECK(left_ms > 0 && left_ms <= 600000);
}

/* A right that the user loses while the link stands. */
T_CASE(lost_right_is_named)
{
    T_REQUIRE(engine_start(&server, NULL));
    T_CHECK(engine_ask(&server, "ACL SETUSER u reset on >secret ~* &* +@all") != NULL);
    day_open(10000, "u");
    T_CHECK(engine_ask(&server, "ACL SETUSER u -set") != NULL);
    T_EQ_I64(side_set(&a, "k", "late"), CELLAR_DEFERRED);
    await_lost("right", 1);
    cellar_error_info e = cellar_error_info_default();
    T_EQ_I64(cellar_remote_last_error(a.r, &e), CELLAR_OK);
    T_EQ_I64(e.code, CELLAR_E_DENIED);
    T_CHECK(strstr(e.text, "'set'") != NULL);
    T_EQ_I64(cellar_remote_state_get(a.r), CELLAR_REMOTE_DOWN);
    T_EQ_I64(warnings, 1);
}

T_MAIN("cellar_remote_bad_days")
