/* SPDX-License-Identifier: MIT
 *
 * Aim:    commands are atomic against threads of the process, see entries of the disk tier, and
 *         survive a failure of every allocation.
 * Method: the port runs in its own thread beside a thread of the process; a store is reopened, so
 *         that its entries are on disk only; each allocation of a conversation fails once. */
#include "tests/support/port_kit.h"
#include "tests/support/toy_cipher.h"

#include "base/fault.h"
#include "cellar_load.h"
#include "cellar_remote.h"

static resp_kit k;

/* ---- Threads --------------------------------------------------------------------------------- */

#define ROUNDS 3000

static cellar_err add_one(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)ctx;
    char text[32] = "0";
    if (old != NULL) { memcpy(text, old, old_len); }
    text[old != NULL ? old_len : 1] = '\0';
    const int len = snprintf(text, sizeof text, "%ld", strtol(text, NULL, 10) + 1);
    return cellar_buf_append(out, text, (size_t)len);
}

static void *count_in_process(void *arg)
{
    cellar *db = arg;
    const cellar_set_opts o = cellar_set_opts_default();
    for (uint64_t i = 0; i < t_share(ROUNDS) / T_COST; i++) {
        cellar_err err;
        do { err = cellar_update(db, "n", 1, &o, add_one, NULL); } while (err == CELLAR_E_BUSY);
        T_EQ_I64(err, CELLAR_OK);
    }
    return NULL;
}

/* Wait for a reply of a port that runs in its own thread. */
static const char *heard(void)
{
    size_t len;
    const char *p = rc_reply(&k.client, &len);
    T_REQUIRE(len > 0 && len < sizeof k.text);
    memcpy(k.text, p, len);
    k.text[len] = '\0';
    return k.text;
}

T_CASE(incr_of_a_client_loses_no_update_of_a_thread)
{
    pthread_t thread;
    rk_open(&k, true);
    T_REQUIRE(cellar_resp_start(k.port) == CELLAR_OK);
    T_REQUIRE(pthread_create(&thread, NULL, count_in_process, k.db) == 0);
    const uint64_t rounds = t_share(ROUNDS) / T_COST;
    const rc_word incr[] = { { "INCR", 4 }, { "n", 1 } };
    for (uint64_t i = 0; i < rounds; i++) {
        rc_queue_words(&k.client, incr, 2);
        rc_flush(&k.client);
        T_CHECK(heard()[0] == ':');
    }
    T_REQUIRE(pthread_join(thread, NULL) == 0);
    rc_queue_words(&k.client, (const rc_word[]){ { "GET", 3 }, { "n", 1 } }, 2);
    rc_flush(&k.client);
    const char *got = strchr(heard(), '\n');
    T_REQUIRE(got != NULL);
    T_EQ_U64(strtoull(got, NULL, 10), 2 * rounds);
}

/* ---- Disk ------------------------------------------------------------------------------------ */

static cellar *open_on_disk(const char *path)
{
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 8 << 20, .config.l2_path = path,
                     .config.l2_bytes = 32 << 20, .host.clock = api_clock, .host.no_threads = 1 };
    return api_open_with(&cfg);
}

/* Return whether a scan lists the key. A call of SCAN reads for 1 ms at most, so that a slow machine
 * needs several. */
static bool scan_lists(const char *key)
{
    char line[64], cursor[32] = "0";
    bool listed = false;
    do {
        snprintf(line, sizeof line, "SCAN %s COUNT 1000", cursor);
        const char *reply = rk_line(&k, line);
        T_REQUIRE(sscanf(reply, "[%31[0-9]", cursor) == 1);
        listed = listed || strstr(reply, key) != NULL;
    } while (strcmp(cursor, "0") != 0);
    return listed;
}

T_ALONE(entries_on_disk_are_present)
{
    char path[T_FOLDER_MAX];
    atomic_store(&api_now_ms, API_START_MS);
    t_folder(path);
    cellar *c = open_on_disk(path), *db;
    T_REQUIRE(cellar_namespace_open(c, "db0", NULL, &db) == CELLAR_OK);
    static const char *const keys[] = { "a", "b", "d", "e", "f", "g", "h", "n" };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        T_EQ_I64(cellar_set_str(db, keys[i], "7", CELLAR_TTL_NONE), CELLAR_OK);
    }
    T_EQ_I64(cellar_namespace_close(db), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    rk_open_on(&k, open_on_disk(path), NULL);
    T_CHECK(strstr(rk_line(&k, "CELLAR.META a"), "tier disk") != NULL);
    T_EQ_STR(rk_line(&k, "DBSIZE"), ":8");
    (void)rk_line(&k, "GET b"); /* in memory and on disk */
    T_EQ_STR(rk_line(&k, "DBSIZE"), ":8");
    T_EQ_U64(strlen(rk_line(&k, "KEYS *")), 17); /* [a b d e f g h n], each once */
    T_EQ_U64(strlen(rk_line(&k, "KEYS [a-d]")), 7);
    T_CHECK(scan_lists("n"));
    T_EQ_U64(strlen(rk_line(&k, "RANDOMKEY")), 1);
    static const char *const talk[][2] = {
        { "DEL a a none", ":1" }, { "GET a", "nil" }, { "EXISTS b", ":1" }, { "SETNX d 8", ":0" },
        { "EXPIRE e 100", ":1" }, { "TTL e", ":100" }, { "GETDEL f", "7" }, { "EXISTS f", ":0" },
        { "INCR n", ":8" }, { "APPEND g x", ":2" }, { "RENAME h hh", "+OK" }, { "GET hh", "7" },
        { "EXPIRE b 0", ":1" }, { "EXISTS b", ":0" }, { "SAVE", "+OK" },
    };
    RK_TALK(&k, talk);
    T_CHECK(strtoll(rk_line(&k, "LASTSAVE") + 1, NULL, 10) > 0);
    rk_close(&k);
    t_wipe(path);
}

static const char *asked, *answer; /* a command while an entry is in no level, and its reply */
static uint64_t secret;

static void *ask_meanwhile(void *arg)
{
    const char *line = asked;
    asked = NULL;
    T_EQ_STR(rk_line(&k, line), answer);
    return arg;
}

static int seal_during_ask(const unsigned char *nonce, const void *aad, size_t aad_len,
                           const void *in, size_t in_len, void *out, void *ctx)
{
    pthread_t t;
    if (asked != NULL) {
        T_REQUIRE(pthread_create(&t, NULL, ask_meanwhile, NULL) == 0);
        T_REQUIRE(pthread_join(t, NULL) == 0);
    }
    return toy_seal(nonce, aad, aad_len, in, in_len, out, ctx);
}

/* A command that says that there is no key ends an entry on its way to the disk. */
T_ALONE(entry_on_its_way_to_disk_ends_at_the_answer_none)
{
    static const char *const none[][2] = {
        { "GETEX k PXAT 1", "nil" }, { "EXPIRE k -1 XX", ":0" }, { "EXPIRE k 9 LT", ":0" },
        { "EVALSHA a4e8783852e6b949f9ef3a97212805108459a890 1 k 7 5000 0", ":0" },
        { "RENAME k x", "-ERR no such key" }, { "COPY k x", ":0" },
        { "RENAME k k", "-ERR no such key" }, { "PERSIST k", ":0" }, { "GETEX k PERSIST", "nil" },
    };
    char path[T_FOLDER_MAX];
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        t_folder(path);
        cellar_l2_cipher crypt = { .struct_size = sizeof crypt, .ctx = &secret, .open = toy_open,
                                   .seal = seal_during_ask, .overhead_bytes = sizeof secret };
        settings cfg = api_config(8 << 20);
        cfg.config.max_entries = 1;
        cfg.config.l2_path = path;
        cfg.config.l2_bytes = 32 << 20;
        cfg.l2.cipher = &crypt;
        rk_open_on(&k, api_open_with(&cfg), NULL);
        T_EQ_I64(cellar_set_str(k.db, "k", "7", 100000), CELLAR_OK);
        T_EQ_STR(rk_line(&k, "GET k"), "7");
        asked = none[i][0];
        answer = none[i][1];
        T_EQ_I64(cellar_set_str(k.db, "b", "7", 0), CELLAR_OK); /* evicts k */
        T_CHECK(asked == NULL);
        if (!T_EQ_STR(rk_line(&k, "GET k"), "nil")) { printf("# %s\n", none[i][0]); }
        rk_close(&k);
        t_wipe(path);
    }
}

static cellar_err load_behind_ask(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    pthread_t t;
    (void)key, (void)key_len;
    T_REQUIRE(pthread_create(&t, NULL, ask_meanwhile, ctx) == 0);
    T_REQUIRE(pthread_join(t, NULL) == 0);
    return cellar_load_value(load, "older", 5);
}

/* A change that says that there is no key ends a load that has read the source before. */
T_ALONE(load_ends_at_the_answer_none)
{
    static const char *const none[][2] = {
        { "GETDEL k", "nil" }, { "SET k 9 XX GET", "nil" }, { "SET k 9 XX", "nil" },
        { "GETEX k PXAT 1", "nil" }, { "EXPIRE k -1", ":0" }, { "DEL k", ":0" },
        { "EVALSHA f4a7da3e5d8ea3b46642af08427151cae0190400 1 k 1", "nil" },
    };
    rk_open(&k, true);
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        asked = none[i][0];
        answer = none[i][1];
        cellar_result r = cellar_result_default();
        (void)cellar_get_or_load(k.db, "k", 1, NULL, load_behind_ask, NULL, &r);
        cellar_result_free(&r);
        if (!T_EQ_STR(rk_line(&k, "GET k"), "nil")) { printf("# %s\n", none[i][0]); }
        T_EQ_STR(rk_line(&k, "DEL k"), ":0");
    }
    rk_close(&k);
}

/* WATCH changes nothing: the load stores its value, and EXEC sees it. */
T_ALONE(load_goes_on_behind_a_watch)
{
    rk_open(&k, true);
    asked = "WATCH k";
    answer = "+OK";
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(k.db, "k", 1, NULL, load_behind_ask, NULL, &r), CELLAR_OK);
    cellar_result_free(&r);
    T_EQ_STR(rk_line(&k, "GET k"), "older");
    T_EQ_STR(rk_line(&k, "MULTI"), "+OK");
    T_EQ_STR(rk_line(&k, "SET k 1"), "+QUEUED");
    T_EQ_STR(rk_line(&k, "EXEC"), "nil[]");
    rk_close(&k);
}

/* A server that does not answer is no proof that there is no key. */
T_CASE(change_beside_a_server_that_does_not_answer_is_an_error)
{
    static const char *const ask_for[] = {
        "INCR n", "SETNX n 1", "SET n 1 XX", "GETDEL n", "EXPIRE n 9", "EXPIRE n 9 XX",
        "EXPIRE n -1", "PERSIST n", "MSETNX n 1", "GETEX n EX 9", "RENAME n x", "COPY n x", "WATCH n",
        "EVALSHA a4e8783852e6b949f9ef3a97212805108459a890 1 n 7 5000 0",
    };
    const cellar_remote_config o = { .struct_size = sizeof o, .no_thread = 1 };
    cellar_remote *r = NULL;
    rk_open(&k, true);
    T_REQUIRE(cellar_remote_open(k.store, "unix:///nowhere/r.sock", &o, &r) == CELLAR_OK);
    T_REQUIRE(cellar_remote_attach(r, k.db, NULL) == CELLAR_OK);
    for (size_t i = 0; i < sizeof ask_for / sizeof ask_for[0]; i++) {
        const char *reply = rk_line(&k, ask_for[i]);
        const bool refused = reply[0] == '-' && strstr(reply, "no such key") == NULL;
        if (!T_CHECK(refused)) { printf("# %s: %s\n", ask_for[i], reply); }
    }
    cellar_remote_close(r);
    rk_close(&k);
}

/* ---- Failures -------------------------------------------------------------------------------- */

static const char *const failing[] = {
    "SET a 1", "SET a 2 GET", "GETEX a PERSIST", "GETEX a EX 100", "GETDEL a", "APPEND b word",
    "SETRANGE b 600 x", "INCR n", "INCRBYFLOAT n 1.5", "MSET a 1 b 2", "MGET a b", "GETRANGE b 0 -1",
    "KEYS *", "SCAN 0 COUNT 100", "RANDOMKEY", "RENAME a c", "COPY c a", "DBSIZE", "EXPIRE a 100",
    "EVALSHA 1cac51482acf5858da00f6d685d68f886cd6b6b2 1 b x 100", "CL.THROTTLE t 5 1 1",
    "CELLAR.METRICS", "CELLAR.NAMESPACES", "CELLAR.TAGDEL t", "CONFIG GET *", "INFO", "BF.INFO db0",
};

T_ALONE(each_failed_allocation_is_an_error_or_a_closed_connection)
{
    for (size_t i = 0; i < sizeof failing / sizeof failing[0]; i++) {
        for (uint64_t nth = 1; nth < 40; nth++) {
            rk_open(&k, true);
            T_EQ_STR(rk_line(&k, "MSET a 1 b 2 n 3"), "+OK");
            (void)base_fault_alloc_arm(nth, false);
            const char *reply = rk_line(&k, failing[i]);
            const bool failed = base_fault_alloc_site() != NULL;
            (void)base_fault_alloc_arm(0, false);
            if (failed && !T_CHECK(strcmp(reply, "") != 0)) { printf("# %s\n", failing[i]); }
            if (strcmp(reply, "closed") != 0) { T_EQ_STR(rk_line(&k, "PING"), "+PONG"); }
            rk_close(&k);
            if (!failed) { break; }
        }
    }
}

T_MAIN("resp_commands_shared")
