/* SPDX-License-Identifier: MIT
 *
 * Aim:    database 0 of a port with shared_bytes is a store of the port's own; clients that track
 *         hear of each change once, in order, and of nothing else; control keys are never evicted.
 * Method: a port on a socket file, driven by steps, on the clock of the test. */
#include <grp.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/support/port_kit.h"
#include "tests/support/said.h"

#include "base/fault.h"

#define SHARED_BYTES (UINT64_C(4) << 20)
#define PREFIXES_MAX 1024 /* of a client */

static void with_shared(cellar_resp_config *o)
{
    o->shared_bytes = SHARED_BYTES;
    o->writable = 0;
}

static void writable_too(cellar_resp_config *o)
{
    with_shared(o);
    o->writable = o->danger = 1;
}

static const char *heard(int fd) { return ask(fd, ""); }

#define HEAR "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n"
#define ONE(len, key) HEAR "*1\r\n$" len "\r\n" key "\r\n"

/* A worker: `data` tracks, `hears` gets the messages. */
typedef struct worker {
    int data, hears;
    long id; /* of `hears` */
} worker;

static bool begins(const char *text, const char *with)
{
    const bool same = strncmp(text, with, strlen(with)) == 0;
    if (!same) { T_EQ_STR(text, with); }
    return same;
}

/* Let a client track with these words, for `hears`. Return the reply. */
static const char *track(const worker *w, int fd, const char *words)
{
    char text[512];
    (void)snprintf(text, sizeof text, "CLIENT TRACKING ON BCAST REDIRECT %ld %s\r\n", w->id, words);
    return ask(fd, text);
}

static worker worker_of(const char *words)
{
    worker w = { peer(), peer(), 0 };
    T_REQUIRE(sscanf(ask(w.hears, "CLIENT ID\r\n"), ":%ld", &w.id) == 1);
    T_REQUIRE(begins(ask(w.hears, "SUBSCRIBE __redis__:invalidate\r\n"), "*3"));
    T_EQ_STR(track(&w, w.data, words), "+OK\r\n");
    return w;
}

/* Run the port while one allocation fails. Return whether there was one. */
static bool run_without(uint64_t nth)
{
    (void)base_fault_alloc_arm(nth, false);
    port_run();
    const bool fired = base_fault_alloc_site() != NULL;
    (void)base_fault_alloc_arm(0, false);
    return fired;
}

/* Store a value of 2 KiB under a key with a number. */
static void set_long(int fd, const char *key, int number)
{
    static char text[2200], value[2048];
    memset(value, 'v', sizeof value - 1);
    (void)snprintf(text, sizeof text, "SET %s%d %s\r\n", key, number, value);
    T_EQ_STR(ask(fd, text), "+OK\r\n");
}

/* ---- the store ---- */

T_CASE(database_0_is_a_store_of_its_own)
{
    port_begin_with(with_shared);
    const int a = peer();
    T_EQ_STR(ask(a, "SET k v\r\nGET k\r\n"), "+OK\r\n$1\r\nv\r\n");
    char got[8];
    T_EQ_I64(cellar_get(port_store, "k", 1, got, sizeof got, NULL), CELLAR_MISS);
    T_EQ_STR(ask(a, "SELECT 1\r\n"), "+OK\r\n");
    T_CHECK(begins(ask(a, "SET k v\r\n"), "-READONLY "));
    T_CHECK(begins(ask(a, "SELECT 0\r\nPUBLISH a b\r\n") + 5, "-READONLY "));
    T_CHECK(strstr(ask(a, "MULTI\r\nSELECT 1\r\nSET k w\r\nEXEC\r\n"), "-ERR a transaction ") != NULL);
    T_EQ_STR(ask(a, "GET k\r\n"), "$1\r\nw\r\n");
}

T_CASE(program_keeps_its_other_databases)
{
    port_begin_with(writable_too);
    const int a = peer();
    T_EQ_STR(ask(a, "SELECT 1\r\nSET k 1\r\nSELECT 0\r\nEXISTS k\r\n"), "+OK\r\n+OK\r\n+OK\r\n:0\r\n");
    cellar *db;
    char got[8];
    T_REQUIRE(cellar_namespace_open(port_store, "db1", NULL, &db) == CELLAR_OK);
    T_EQ_I64(cellar_get(db, "k", 1, got, sizeof got, NULL), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(db), CELLAR_OK);
    T_EQ_STR(ask(a, "SET app:~e 7\r\nSET k 2\r\nFLUSHALL\r\nEXISTS k app:~e\r\n"),
             "+OK\r\n+OK\r\n+OK\r\n:0\r\n");
}

T_CASE(ttls_of_the_program_leave_the_shared_store_alone)
{
    static const cellar_policy_rule rule = { .struct_size = sizeof rule, .pattern = "*",
                                             .kind = CELLAR_POLICY_GLOB, .ttl_ms = 600000 };
    settings cfg = api_config(16u << 20);
    cfg.config.default_ttl_ms = 300000;
    cfg.config.rules = &rule;
    cfg.config.rule_count = 1;
    port_begin_on(api_open_with(&cfg), writable_too);
    const int a = peer();
    T_EQ_STR(ask(a, "SET k 1\r\nINCR n\r\nTTL k\r\nTTL n\r\n"), "+OK\r\n:1\r\n:-1\r\n:-1\r\n");
    T_EQ_STR(ask(a, "SET ~k 1\r\nINCR ~n\r\nTTL ~k\r\nTTL ~n\r\n"), "+OK\r\n:1\r\n:-1\r\n:-1\r\n");
    T_EQ_STR(ask(a, "SELECT 1\r\nSET k 1\r\nTTL k\r\n"), "+OK\r\n+OK\r\n:600\r\n");
}

/* Each command sees a control key as it sees any other one. */
T_CASE(commands_work_on_control_keys)
{
    static const char *const both[] = {
        "SET %s v\r\n", "GET %s\r\n", "SET %s w NX\r\n", "SET %s w NX GET PX 100\r\n",
        "SET %s x XX KEEPTTL\r\n", "STRLEN %s\r\n", "TYPE %s\r\n", "EXISTS %s\r\n", "PTTL %s\r\n",
        "PEXPIRE %s 5000\r\n", "PTTL %s\r\n", "SET %s y KEEPTTL\r\n", "PTTL %s\r\n",
        "PERSIST %s\r\n", "TTL %s\r\n", "APPEND %s zz\r\n", "GET %s\r\n", "GETSET %s 5\r\n",
        "INCRBY %s 7\r\n", "OBJECT ENCODING %s\r\n", "INCRBY %s none\r\n", "MGET %s none\r\n", "GETDEL %s\r\n", "GET %s\r\n",
        "MSET %s 1 other 2\r\n", "SETRANGE %s 3 abc\r\n", "GET %s\r\n", "GETRANGE %s 1 4\r\n",
        "COPY %s other REPLACE\r\n", "GET other\r\n", "RENAME %1$s %1$sx\r\n",
        "RENAME %1$sx %1$s\r\n", "TOUCH %s\r\n", "GET %s\r\n", "UNLINK %s\r\n",
        "UNLINK %s\r\n", "SETNX %s n\r\n", "SETNX %s n\r\n", "PEXPIRE %s 0\r\n", "EXISTS %s\r\n",
        "SET %s v PX 100\r\n",
    };
    port_begin_with(with_shared);
    const int a = peer();
    for (size_t i = 0; i < sizeof both / sizeof *both; i++) {
        char text[2][96], first[256];
        (void)snprintf(text[0], sizeof text[0], both[i], "app:key");
        (void)snprintf(text[1], sizeof text[1], both[i], "app:~k:key");
        (void)snprintf(first, sizeof first, "%s", ask(a, text[0]));
        T_EQ_STR(ask(a, text[1]), first);
    }
    port_pass(101);
    T_EQ_STR(ask(a, "GET app:key\r\nGET app:~k:key\r\n"), "$-1\r\n$-1\r\n");
}

/* A limited call changes nothing, so two calls are enough. */
T_CASE(throttle_counts_on_a_control_key)
{
    port_begin_with(with_shared);
    const int a = peer();
    T_CHECK(begins(ask(a, "CL.THROTTLE ~k 0 1 3600\r\n"), "*5\r\n:0\r\n"));
    T_CHECK(begins(ask(a, "CL.THROTTLE ~k 0 1 3600\r\n"), "*5\r\n:1\r\n"));
    T_EQ_STR(ask(a, "SET ~k text\r\n"), "+OK\r\n");
    T_CHECK(begins(ask(a, "CL.THROTTLE ~k 0 1 3600\r\n"), "-ERR the value of "));
}

T_CASE(watch_sees_changes_of_control_keys)
{
    static const char *const changes[] = { "SET ~k 2\r\n", "PEXPIRE ~k 5000\r\n", "PERSIST ~k\r\n",
                                           "DEL ~k\r\n", "SET ~k 3\r\n", "GET ~k\r\n" };
    port_begin_with(with_shared);
    const int a = peer(), b = peer();
    T_EQ_STR(ask(a, "SET ~k 1\r\n"), "+OK\r\n");
    for (size_t i = 0; i < 6; i++) {
        T_EQ_STR(ask(a, "WATCH ~k\r\nMULTI\r\nPING\r\n"), "+OK\r\n+OK\r\n+QUEUED\r\n");
        T_CHECK(*ask(b, changes[i]) != '-');
        T_EQ_STR(ask(a, "EXEC\r\n"), i < 5 ? "*-1\r\n" : "*1\r\n+PONG\r\n");
    }
}

/* A value that cannot be sent is not taken. */
T_CASE(refused_getdel_and_getex_keep_the_key)
{
    static const char *const takes[] = { "GETDEL %s\r\n", "GETEX %s PXAT 1\r\n" };
    static const char *const keys[] = { "k", "~k" };
    static char value[70000], text[70100];
    memset(value, 'v', sizeof value - 1);
    port_begin_with(with_shared);
    const int a = peer();
    for (size_t i = 0; i < 4; i++) {
        bool fired = true;
        for (uint64_t n = 1; fired; n++) {
            (void)snprintf(text, sizeof text, "SET %s %s\r\n", keys[i % 2], value);
            T_EQ_STR(ask(a, text), "+OK\r\n");
            const int b = peer();
            (void)snprintf(text, sizeof text, takes[i / 2], keys[i % 2]);
            T_CHECK(tell_text(b, text));
            fired = run_without(n);
            const bool taken = strlen(hear(b, &(bool){ false })) > sizeof value;
            (void)snprintf(text, sizeof text, "EXISTS %s\r\n", keys[i % 2]);
            T_EQ_STR(ask(a, text), taken ? ":0\r\n" : ":1\r\n");
            T_CHECK(fired || (taken && n > 1));
            close(b);
            port_run();
        }
    }
}

/* The table may have this key alone: it ends with its last key, and begins again. */
T_CASE(write_without_memory_keeps_a_control_key)
{
    char text[128];
    bool fired = true;
    port_begin_with(with_shared);
    const int a = peer();
    for (uint64_t n = 1; fired; n++) {
        T_EQ_STR(ask(a, "DEL ~k\r\nSET ~k v\r\n") + 4, "+OK\r\n");
        (void)snprintf(text, sizeof text, "SET ~k %064d\r\n", 1);
        T_CHECK(tell_text(a, text));
        fired = run_without(n);
        const bool refused = strncmp(ask(a, ""), "-OOM", 4) == 0;
        T_EQ_STR(ask(a, "STRLEN ~k\r\n"), refused ? ":1\r\n" : ":64\r\n");
    }
}

static int64_t creeping_clock(void *ctx)
{
    (void)ctx;
    return atomic_fetch_add(&api_now_ms, 1);
}

static void with_creeping_clock(cellar_resp_config *o)
{
    with_shared(o);
    ((cellar_host_config *)(uintptr_t)o->host)->clock = creeping_clock;
}

/* A command that finds a key in its last ms does not give it a life without an end. */
T_CASE(key_in_its_last_ms_ends)
{
    static const char *const keeps[] = { "COPY %s new REPLACE\r\n", "COPY %s ~new REPLACE\r\n",
                                         "RENAME %s new\r\n", "SET %s w XX KEEPTTL\r\n" };
    char text[128], key[16];
    port_begin_with(with_creeping_clock);
    const int a = peer();
    for (int life_ms = 1; life_ms < 60; life_ms++) {
        for (int i = 0; i < 8; i++) {
            (void)snprintf(key, sizeof key, "%c%d", "~n"[i % 2], life_ms);
            (void)snprintf(text, sizeof text, "SET %s v PX %d\r\n", key, life_ms);
            const size_t len = strlen(text);
            (void)snprintf(text + len, sizeof text - len, keeps[i / 2], key);
            (void)ask(a, text);
            (void)snprintf(text, sizeof text, "PTTL %s\r\nPTTL new\r\nPTTL ~new\r\n", key);
            T_CHECK(strstr(ask(a, text), ":-1\r\n") == NULL);
        }
    }
}

/* A request that adds to a key in its last ms does not give it a life without an end either, and a
 * request for a lock in its last ms either waits for it or has it. */
T_CASE(addition_and_lock_in_the_last_ms_of_a_key_end)
{
    static const char *const adds[] = { "INCR ~%d\r\n", "CELLAR.TIER add 1 ~%d 1 0 5 0\r\n",
                                        "CELLAR.TIER add 1 n%d 1 0 5 0\r\n" };
    char text[128], key[16];
    port_begin_with(with_creeping_clock);
    const int a = peer();
    for (int life_ms = 1; life_ms < 60; life_ms++) {
        for (int i = 0; i < 3; i++) {
            (void)snprintf(key, sizeof key, "%c%d", i < 2 ? '~' : 'n', life_ms);
            (void)snprintf(text, sizeof text, "DEL %s\r\nSET %s 5 PX %d\r\n", key, key, life_ms);
            (void)ask(a, text);
            (void)snprintf(text, sizeof text, adds[i], life_ms);
            const bool added = strchr(ask(a, text), '6') != NULL; /* to the value of the key */
            (void)snprintf(text, sizeof text, "PTTL %s\r\n", key);
            T_CHECK(strcmp(ask(a, text), ":-1\r\n") != 0 || !added);
        }
        (void)snprintf(text, sizeof text, "DEL ~l\r\nCELLAR.TIER lock 2 ~l ~f aa %d\r\n", life_ms);
        (void)ask(a, text);
        T_CHECK(strncmp(ask(a, "CELLAR.TIER lock 2 ~l ~f bb 50\r\n") + 4, ":0\r\n:-", 6) != 0);
    }
}

T_CASE(flood_of_values_evicts_no_control_key)
{
    char text[64];
    port_begin_with(with_shared);
    const int a = peer();
    for (int i = 0; i < 500; i++) {
        (void)snprintf(text, sizeof text, "SET app:~k:%d v%d\r\n", i, i);
        T_EQ_STR(ask(a, text), "+OK\r\n");
    }
    for (int i = 0; i < 4000; i++) { set_long(a, "app:n:", i); }
    T_EQ_STR(ask(a, "EXISTS app:n:0\r\n"), ":0\r\n");
    for (int i = 0; i < 500; i++) {
        (void)snprintf(text, sizeof text, "EXISTS app:~k:%d\r\n", i);
        T_EQ_STR(ask(a, text), ":1\r\n");
    }
}

T_CASE(full_table_of_control_keys_refuses_new_ones)
{
    port_begin_with(with_shared);
    const int a = peer();
    char text[64];
    int stored = 0;
    const char *got = "+OK\r\n";
    while (strcmp(got, "+OK\r\n") == 0) {
        (void)snprintf(text, sizeof text, "SET ~app:%d v PX %d\r\n", stored, stored < 10 ? 50 : 5000);
        got = ask(a, text);
        stored += *got == '+';
    }
    T_CHECK(strncmp(got, "-OOM ", 5) == 0);
    T_CHECK(stored > 1000);
    T_EQ_STR(ask(a, "SET ~app:11 w\r\nSET app:value v\r\n"), "+OK\r\n+OK\r\n");
    port_pass(51); /* ten have expired */
    T_EQ_STR(ask(a, "SET ~app:new v\r\n"), "+OK\r\n");
}

/* ---- tracking ---- */

/* Send a line from a client; check the reply, and what the worker hears. */
static void change(const worker *w, int fd, const char *line, const char *reply, const char *hears)
{
    T_EQ_STR(ask(fd, line), reply);
    T_EQ_STR(heard(w->hears), hears);
}

#define OK "+OK\r\n"

T_CASE(change_is_heard_by_clients_with_its_prefix)
{
    port_begin_with(with_shared);
    const worker w = worker_of("PREFIX app:a: PREFIX app:b:");
    const int a = peer();
    change(&w, a, "SET app:a:1 v\r\nSET app:c:1 v\r\nSET app:b:22 v\r\n", OK OK OK,
           ONE("7", "app:a:1") ONE("8", "app:b:22"));
    /* what changes nothing is not heard */
    change(&w, a, "SET app:a:1 v NX\r\nSET app:a:2 v XX\r\nUNLINK app:a:2\r\nPEXPIRE app:a:2 9\r\n",
           "$-1\r\n$-1\r\n:0\r\n:0\r\n", "");
    change(&w, a, "SET app:a:1 v NX GET\r\nGET app:a:1\r\n", "$1\r\nv\r\n$1\r\nv\r\n", "");
    change(&w, a, "INCRBY app:a:1 1\r\n", "-ERR value is not an integer or out of range\r\n", "");
    change(&w, a, "MSET app:a:1 v app:x v app:a:2 v\r\n", OK,
           HEAR "*2\r\n$7\r\napp:a:1\r\n$7\r\napp:a:2\r\n");
    change(&w, a, "PEXPIRE app:a:1 100\r\nUNLINK app:a:2\r\n", ":1\r\n:1\r\n",
           ONE("7", "app:a:1") ONE("7", "app:a:2"));
}

T_CASE(repeated_on_adds_prefixes)
{
    port_begin_with(with_shared);
    const worker w = worker_of("NOLOOP PREFIX app:a:");
    const int a = peer();
    T_EQ_STR(track(&w, w.data, "NOLOOP PREFIX app:b:"), OK);
    change(&w, a, "SET app:a:1 v\r\nSET app:b:1 v\r\n", OK OK,
           ONE("7", "app:a:1") ONE("7", "app:b:1"));
    T_CHECK(begins(ask(w.data, "CLIENT TRACKING ON BCAST PREFIX app:\r\n"),
                   "-ERR Prefix 'app:' overlaps"));
    T_EQ_STR(ask(w.data, "CLIENT TRACKING OFF\r\n"), OK);
    T_CHECK(begins(ask(w.data, "CLIENT TRACKING ON BCAST PREFIX a PREFIX ab\r\n"), "-ERR Prefix"));
    T_CHECK(strstr(ask(a, "INFO clients\r\n"), "tracking_clients:0\r\n") != NULL);
    change(&w, a, "SET app:a:1 v\r\n", OK, "");
}

T_CASE(noloop_hides_own_changes_alone)
{
    port_begin_with(with_shared);
    const worker w = worker_of("NOLOOP PREFIX app:");
    const int a = peer();
    change(&w, w.data, "SET app:1 v\r\n", OK, "");
    change(&w, a, "SET app:1 v\r\n", OK, ONE("5", "app:1"));
    /* in one round: own, foreign, own */
    (void)tell_text(w.data, "SET app:1 x\r\n");
    (void)tell_text(a, "SET app:1 y\r\n");
    port_run();
    T_EQ_STR(heard(w.hears), ONE("5", "app:1"));
}

T_CASE(refused_on_changes_nothing)
{
    port_begin_with(with_shared);
    const worker w = worker_of("PREFIX app:");
    T_CHECK(begins(track(&w, w.data, "PREFIX app:1 NOLOOP"), "-ERR Prefix 'app:1' overlaps"));
    T_EQ_STR(ask(w.data, "CLIENT TRACKING ON BCAST PREFIX b PREFIX cx PREFIX c\r\n"),
             "-ERR Prefix 'cx' overlaps with another provided prefix 'c'. Prefixes for a single "
             "client must not overlap.\r\n");
    T_EQ_STR(ask(w.data, "CLIENT TRACKING ON BCAST PREFIX b PREFIX app:\r\n"),
             "-ERR Prefix 'app:' overlaps with an existing prefix 'app:'. Prefixes for a single "
             "client must not overlap.\r\n");
    change(&w, w.data, "SET b v\r\nSET cx v\r\nSET app:1 v\r\n", OK OK OK, ONE("5", "app:1"));
}

T_CASE(on_without_memory_changes_nothing)
{
    char text[128];
    bool fired = true;
    port_begin_with(with_shared);
    const worker w = worker_of("PREFIX app:");
    const int a = peer();
    (void)snprintf(text, sizeof text, "CLIENT TRACKING ON BCAST PREFIX x PREFIX y REDIRECT %ld\r\n", w.id);
    for (uint64_t n = 1; fired; n++) {
        const int b = peer();
        T_CHECK(tell_text(b, text));
        fired = run_without(n);
        const bool on = strcmp(hear(b, &(bool){ false }), OK) == 0;
        change(&w, a, "SET x v\r\nSET y v\r\n", OK OK, on ? ONE("1", "x") ONE("1", "y") : "");
        T_CHECK(fired || (on && n > 2));
        close(b);
        port_run();
    }
}

/* As in Redis, but a key with two prefixes of the client is in its message once. */
T_CASE(on_without_prefix_hears_all_keys_once)
{
    port_begin_with(with_shared);
    const worker w = worker_of("PREFIX app: PREFIX b");
    for (int i = 0; i < 2; i++) {
        T_EQ_STR(track(&w, w.data, ""), OK);
        change(&w, w.data, "SET app:1 v\r\nSET z v\r\n", OK OK, ONE("5", "app:1") ONE("1", "z"));
    }
    T_CHECK(begins(ask(w.data, "CLIENT TRACKING ON BCAST PREFIX b\r\n"), "-ERR Prefix 'b'"));
}

T_CASE(prefixes_of_a_client_are_bounded)
{
    static char text[32 * PREFIXES_MAX + 256];
    size_t len = (size_t)snprintf(text, sizeof text, "CLIENT TRACKING ON BCAST");
    port_begin_with(with_shared);
    const int a = peer();
    (void)ask(a, "HELLO 3\r\n");
    for (int i = 0; i < PREFIXES_MAX; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, " PREFIX %d:", i);
    }
    (void)snprintf(text + len, sizeof text - len, " PREFIX more\r\n");
    T_EQ_STR(ask(a, text), "-ERR a client may have at most 1024 prefixes\r\n");
    (void)snprintf(text + len, sizeof text - len, "\r\n");
    T_EQ_STR(ask(a, text), "+OK\r\n");
    T_CHECK(begins(ask(a, "CLIENT TRACKING ON BCAST PREFIX more\r\n"), "-ERR a client may"));
}

/* A SET with a time in the past is announced as in Redis: other workers may have a value. */
T_CASE(set_in_the_past_is_heard)
{
    static const struct { const char *set; const char *heard; } sets[] = {
        { "SET app:1 v EXAT 1\r\n", ONE("5", "app:1") },
        { "SET app:1 v EXAT 1 NX GET\r\n", ONE("5", "app:1") },
        { "SET app:1 v EXAT 1 XX\r\n", "" },
        { "SET app:1 v\r\n", ONE("5", "app:1") },
        { "SET app:1 v EXAT 1 NX\r\n", "" },
        { "SET app:1 v EXAT 1 XX\r\n", ONE("5", "app:1") },
        { "SET app:~ v EXAT 1\r\n", ONE("5", "app:~") },
    };
    port_begin_with(with_shared);
    const worker w = worker_of("PREFIX app:");
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        T_CHECK(*ask(w.data, sets[i].set) != '-');
        T_EQ_STR(heard(w.hears), sets[i].heard);
    }
    T_EQ_STR(ask(w.data, "EXISTS app:1 app:~\r\n"), ":0\r\n");
}

T_CASE(eviction_and_end_of_life_are_heard)
{
    port_begin_with(with_shared);
    const worker w = worker_of("NOLOOP PREFIX app:");
    T_EQ_STR(ask(w.data, "SET app:1 v PX 100\r\nSET app:~k:1 v PX 100\r\nSET app:first v\r\n"),
             "+OK\r\n+OK\r\n+OK\r\n");
    T_EQ_STR(heard(w.hears), "");
    port_pass(101);
    for (int i = 0; i < 20; i++) { port_pass(100); }
    const char *got = heard(w.hears);
    T_CHECK(strstr(got, "app:1\r\n") != NULL);
    T_CHECK(strstr(got, "app:~k:1\r\n") != NULL);
    bool evicted = false;
    for (int i = 0; i < 4000 && !evicted; i++) {
        set_long(w.data, "x:", i);
        evicted = strstr(heard(w.hears), "app:first\r\n") != NULL;
    }
    T_CHECK(evicted);
}

T_CASE(clears_are_heard_as_nil)
{
    static const char *const clears[] = { "FLUSHDB\r\n", "FLUSHALL\r\n", "CELLAR.BUMP\r\n",
                                          "CELLAR.TAGDEL red\r\n" };
    port_begin_with(writable_too);
    const worker w = worker_of("PREFIX app:");
    for (size_t i = 0; i < 4; i++) {
        (void)ask(w.data, clears[i]);
        T_EQ_STR(heard(w.hears), HEAR "*-1\r\n");
    }
}

#define MANY 100 /* clients; each message needs a block of 16 KiB, all of them more than the share */

static void small_share(cellar_resp_config *o)
{
    writable_too(o);
    o->resp_buffer_bytes = 1u << 20;
}

/* Room for the messages sends some of them, which changes the order of all clients. */
static void many_hear_once(const char *begin, const char *what)
{
    int many[MANY];
    port_begin_with(small_share);
    const int a = peer();
    for (int i = 0; i < MANY; i++) {
        many[i] = peer_connect();
        T_CHECK(tell_text(many[i], begin));
    }
    port_run();
    for (int i = 0; i < MANY; i++) { (void)heard(many[i]); }
    T_EQ_STR(ask(a, "FLUSHDB\r\n"), "+OK\r\n");
    for (int i = 0; i < MANY; i++) {
        const char *const first = strstr(heard(many[i]), what);
        T_CHECK(first != NULL && strstr(first + 1, what) == NULL);
        close(many[i]);
    }
    close(a);
    port_end();
}

T_CASE(many_clients_hear_each_message_once)
{
    many_hear_once("HELLO 3\r\nCLIENT TRACKING ON BCAST\r\n", "invalidate\r\n_\r\n");
    many_hear_once("MONITOR\r\n", "\"FLUSHDB\"\r\n");
}

T_CASE(getdel_without_a_reply_needs_no_memory_for_it)
{
    static char part[64 << 10];
    memset(part, 'v', sizeof part);
    port_begin_with(small_share);
    const int fd = peer();
    T_CHECK(tell_text(fd, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1310720\r\n"));
    for (int i = 0; i < 20 && tell(fd, part, sizeof part); i++) { port_run(); }
    T_EQ_STR(ask(fd, "\r\n"), "+OK\r\n");
    T_EQ_STR(ask(fd, "CLIENT REPLY OFF\r\nGETDEL k\r\nCLIENT REPLY ON\r\nEXISTS k\r\n"),
             "+OK\r\n:0\r\n");
}

T_CASE(resp3_client_hears_pushes_between_replies)
{
    port_begin_with(with_shared);
    const int a = peer(), b = peer();
    (void)ask(a, "HELLO 3\r\n");
    T_EQ_STR(ask(a, "CLIENT TRACKING ON BCAST\r\n"), "+OK\r\n");
    T_EQ_STR(ask(b, "SET k v\r\n"), "+OK\r\n");
    T_EQ_STR(heard(a), ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n");
    T_EQ_STR(ask(a, "MULTI\r\nSET k w\r\nGET k\r\nEXEC\r\n"),
             "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n$1\r\nw\r\n"
             ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n");
}

T_CASE(redirection_ends_with_its_target)
{
    port_begin_with(with_shared);
    const worker w = worker_of("PREFIX app:");
    close(w.hears);
    port_run();
    T_EQ_STR(ask(w.data, "SET app:1 v\r\nRESET\r\nSET app:1 v\r\n"), "+OK\r\n+RESET\r\n+OK\r\n");
    T_CHECK(begins(ask(w.data, "CLIENT TRACKING ON BCAST REDIRECT 99\r\n"), "-ERR The client ID"));
    T_CHECK(begins(ask(w.data, "CLIENT TRACKING ON\r\n"), "-ERR the port tracks no single"));
    T_CHECK(begins(ask(w.data, "CLIENT TRACKING MAYBE\r\n"), "-ERR syntax error"));
}

/* A client of RESP3 is told: its target hears of nothing any more. */
T_CASE(resp3_client_hears_that_its_target_is_gone)
{
    port_begin_with(with_shared);
    const worker w = worker_of("PREFIX app:");
    char text[96], redir[32];
    T_CHECK(strstr(ask(w.data, "HELLO 3\r\n"), "proto\r\n:3\r\n") != NULL);
    const int again = peer(); /* RESP2: nothing is pushed */
    T_EQ_STR(track(&w, again, ""), OK);
    (void)snprintf(redir, sizeof redir, " redir=%ld ", w.id);
    T_CHECK(strstr(ask(again, "CLIENT INFO\r\n"), " flags=tBU ") != NULL);
    T_CHECK(strstr(port_heard, redir) != NULL);
    close(w.hears);
    port_run();
    T_CHECK(strstr(ask(again, "CLIENT INFO\r\n"), " flags=tRBU ") != NULL);
    (void)snprintf(text, sizeof text, ">2\r\n$21\r\ntracking-redir-broken\r\n:%ld\r\n", w.id);
    T_EQ_STR(heard(w.data), text);
    T_EQ_STR(heard(again), "");
    T_EQ_STR(ask(w.data, "SET app:1 v\r\n"), "+OK\r\n");
}

/* Without memory for the keys of the changes all keys count as changed. */
T_CASE(changes_without_memory_are_heard_as_nil)
{
    bool fired = true;
    port_begin_with(with_shared);
    const worker w = worker_of("PREFIX app:");
    const int a = peer();
    for (uint64_t n = 1; fired; n++) {
        T_CHECK(*ask(a, "PING\r\n") == '+');
        (void)tell_text(a, "SET app:1 v\r\n");
        fired = run_without(n);
        const bool set = strcmp(hear(a, &(bool){ false }), OK) == 0;
        const char *got = heard(w.hears);
        T_CHECK(!set || strcmp(got, ONE("5", "app:1")) == 0 || strcmp(got, HEAR "*-1\r\n") == 0);
    }
}

T_CASE(wait_has_no_replica_to_wait_for)
{
    port_begin_with(with_shared);
    const int a = peer();
    T_EQ_STR(ask(a, "WAIT 1 1000\r\nWAIT 0 0\r\n"), ":0\r\n:0\r\n");
    T_CHECK(begins(ask(a, "WAIT x 0\r\n"), "-ERR value is not an integer"));
    T_CHECK(begins(ask(a, "WAIT 1 x\r\n"), "-ERR timeout is not an integer"));
    T_CHECK(begins(ask(a, "WAIT 1 -1\r\n"), "-ERR timeout is negative"));
}

T_CASE(info_tells_of_the_shared_store)
{
    port_begin_with(with_shared);
    const worker w = worker_of("PREFIX app:");
    (void)ask(w.data, "SET app:~e 1\r\nSET app:1 v\r\n");
    const char *got = ask(w.data, "INFO\r\n");
    T_CHECK(strstr(got, "tracking_clients:1\r\n") != NULL);
    T_CHECK(strstr(got, "\r\nmaxmemory:4194304\r\n") != NULL);
    T_CHECK(strstr(got, "\r\nshared_keys:1\r\n") != NULL);
    T_CHECK(strstr(got, "shared_control_max:524288\r\nshared_control_keys:1\r\n") != NULL);
}

T_CASE(metrics_tell_of_the_shared_store)
{
    static char text[1 << 16];
    size_t len = 0;
    port_begin_with(with_shared);
    const int a = peer();
    (void)ask(a, "SET app:~e 1\r\nSET app:1 v\r\nGET app:1\r\nGET app:2\r\n");
    T_CHECK(strstr(ask(a, "CELLAR.METRICS\r\n"), "\ncellar_entries 1\n") != NULL);
    T_CHECK(strstr(ask(a, "SELECT 1\r\nCELLAR.METRICS\r\n"), "\ncellar_entries 0\n") != NULL);
    T_REQUIRE(cellar_metrics_write(port, text, sizeof text, &len) == CELLAR_OK);
    static const char *const lines[] = { "entries{port=\"port\"} 1", "budget_bytes{port=\"port\"} 3407872",
        "control_budget_bytes{port=\"port\"} 524288", "hits_total{port=\"port\"} 1",
        "misses_total{port=\"port\"} 1", "sets_total{port=\"port\"} 1" };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char line[96];
        (void)snprintf(line, sizeof line, "\ncellar_port_shared_%s\n", lines[i]);
        if (!T_CHECK(strstr(text, line) != NULL)) { printf("# %s\n", lines[i]); }
    }
    T_CHECK(strstr(text, "\ncellar_port_shared_control_bytes{port=\"port\"} 0\n") == NULL);
    close(a);
    port_end();
    port_begin();
    T_REQUIRE(cellar_metrics_write(port, text, sizeof text, &len) == CELLAR_OK);
    T_CHECK(strstr(text, "cellar_port_clients") != NULL && strstr(text, "_shared_") == NULL);
}

T_CASE(size_of_the_shared_store_changes)
{
    port_begin_with(writable_too);
    const int a = peer();
    char text[64];
    T_CHECK(strstr(ask(a, "CONFIG GET maxmemory\r\n"), "4194304") != NULL);
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(text, sizeof text, "SET ~app:%d v\r\n", i);
        T_EQ_STR(ask(a, text), "+OK\r\n");
    }
    T_CHECK(begins(ask(a, "CONFIG SET maxmemory 2mb\r\n"), "-ERR CONFIG SET failed"));
    T_EQ_STR(ask(a, "CONFIG SET maxmemory 3mb\r\n"), "+OK\r\n");
    T_CHECK(strstr(ask(a, "INFO memory\r\n"), "\r\nmaxmemory:3145728\r\n") != NULL);
    T_EQ_STR(ask(a, "EXISTS ~app:0 ~app:999\r\n"), ":2\r\n");
    T_EQ_STR(ask(a, "CONFIG SET maxmemory 8mb\r\n"), "+OK\r\n");
    T_CHECK(strstr(ask(a, "INFO shared\r\n"), "shared_control_max:1048576\r\n") != NULL);
}

/* Values are evicted for a bound below what is held, and each of them is heard. */
T_CASE(lower_bound_evicts_values_that_are_heard)
{
    char text[64];
    port_begin_with(writable_too);
    const worker w = worker_of("PREFIX app:");
    uint32_t there = 0, gone = 0;
    for (int i = 0; i < 1200; i++) { set_long(w.data, "app:", i); }
    T_EQ_STR(ask(w.data, "SET app:~e 7\r\n"), "+OK\r\n");
    for (bool more = true; more;) { more = *heard(w.hears) != '\0'; }
    T_EQ_STR(ask(w.data, "CONFIG SET maxmemory 2mb\r\n"), "+OK\r\n");
    port_pass(101);
    T_CHECK(strstr(ask(w.data, "INFO memory\r\n"), "\r\nmaxmemory:2097152\r\n") != NULL);
    char *const keys = strdup(heard(w.hears));
    for (int i = 0; i < 1200; i++) {
        (void)snprintf(text, sizeof text, "EXISTS app:%d\r\n", i);
        const bool here = strcmp(ask(w.data, text), ":1\r\n") == 0;
        (void)snprintf(text, sizeof text, "\r\napp:%d\r\n", i);
        there += here;
        gone += strstr(keys, text) != NULL;
        T_CHECK(here || strstr(keys, text) != NULL);
    }
    T_CHECK(there > 0 && gone > 0);
    T_EQ_STR(ask(w.data, "GET app:~e\r\n"), "$1\r\n7\r\n");
    free(keys);
}

static void with_log(cellar_resp_config *o)
{
    with_shared(o);
    ((cellar_host_config *)(uintptr_t)o->host)->log = listen_to;
}

/* Clients that are there stay: the log says why no other one comes. */
T_CASE(removed_socket_file_is_logged_once)
{
    char away[sizeof port_path + 4];
    port_begin_with(with_log);
    const int a = peer();
    (void)snprintf(away, sizeof away, "%s.old", port_path);
    for (int n = 1; n < 3; n++) {
        T_EQ_I64(rename(port_path, away), 0);
        for (int i = 0; i < 3; i++) { port_pass(1001); }
        T_EQ_I64(lines_with("was removed: no client can connect"), n);
        T_EQ_STR(ask(a, "PING\r\n"), "+PONG\r\n");
        T_EQ_I64(rename(away, port_path), 0);
        port_pass(101);
        const int b = peer();
        T_EQ_STR(ask(b, "PING\r\n"), "+PONG\r\n");
        close(b);
    }
}

/* The path is the one at the open, also for the end of the file. */
T_CASE(port_knows_its_socket_file_from_any_folder)
{
    cellar_host_config host;
    port_store_open();
    cellar_resp_config o = port_opts(&host);
    with_log(&o);
    o.unix_path = "port";
    said[0] = '\0';
    const int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    T_REQUIRE(here >= 0 && chdir(port_folder) == 0);
    T_REQUIRE(cellar_resp_open(port_store, &o, &port) == CELLAR_OK);
    T_REQUIRE(chdir("/") == 0);
    port_pass(101);
    T_EQ_STR(said, "");
    port_end();
    T_REQUIRE(fchdir(here) == 0);
}

/* ---- the group of the socket file ---- */

static char group_text[16];
static void with_group(cellar_resp_config *o)
{
    with_shared(o);
    o->unix_group = group_text;
}

/* Ask the port as a user without rights, in a group or in none. Return whether it answers. The path
 * begins in the folder of the port: the folders above it may be closed to the user. */
static bool stranger_is_served(gid_t group, bool in)
{
    int status = -1;
    const pid_t pid = fork();
    if (pid == 0) {
        const struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "port" };
        char got = 0;
        const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        _exit(chdir(port_folder) == 0 && setgroups(in, &group) == 0 && setgid(65534) == 0 &&
              setuid(65534) == 0 &&
              connect(fd, (const struct sockaddr *)&at, sizeof at) == 0 &&
              send(fd, "PING\r\n", 6, MSG_NOSIGNAL) == 6 && recv(fd, &got, 1, 0) == 1 &&
              got == '+' ? 0 : 1);
    }
    T_REQUIRE(pid > 0);
    while (waitpid(pid, &status, WNOHANG) == 0) { (void)cellar_resp_step(port, 1); }
    return status == 0;
}

T_CASE(socket_file_serves_its_group)
{
    if (geteuid() != 0) {
        T_SKIP("only root changes users");
        return;
    }
    (void)snprintf(group_text, sizeof group_text, "root");
    port_begin_with(with_group);
    port_end();
    (void)snprintf(group_text, sizeof group_text, "4711");
    port_begin_with(with_group);
    struct stat st;
    T_REQUIRE(stat(port_path, &st) == 0);
    T_EQ_U64(st.st_mode & 07777, 0660);
    T_EQ_U64(st.st_gid, 4711);
    T_REQUIRE(chmod(port_folder, 0755) == 0);
    T_CHECK(stranger_is_served(4711, true));
    T_CHECK(!stranger_is_served(4711, false)); /* the file has the wrong mode for it */
    T_REQUIRE(chmod(port_path, 0666) == 0);
    T_CHECK(!stranger_is_served(4711, false)); /* the port closes it */
    T_CHECK(stranger_is_served(4711, true));
}

T_ONE_THREAD;
T_MAIN("cellar_resp_shared")
