/* SPDX-License-Identifier: MIT
 *
 * Aim:    figures, settings, scripts, limits, the Bloom filter and the CELLAR commands answer for the
 *         store and its entries.
 * Method: conversations with a port in the thread of the test; the clock of the store is virtual. */
#include <signal.h>

#include "tests/support/bloom_kit.h"
#include "tests/support/port_kit.h"

static resp_kit k;

T_ONE_THREAD;

#define RELEASE   "c3f8721cbb97f72bc19e972846bd7aaf91901658"
#define EXTEND    "a4e8783852e6b949f9ef3a97212805108459a890"
#define REACQUIRE "1cac51482acf5858da00f6d685d68f886cd6b6b2"
#define INCR_OLD  "f4a7da3e5d8ea3b46642af08427151cae0190400"
#define INCR_ANY  "4d15273b16b10c15e1d9202cbe93c959ab7d250b"

static bool has(const char *text, const char *part)
{
    if (strstr(text, part) != NULL) { return true; }
    printf("# \"%s\" is not in \"%.1500s\"\n", part, text);
    return false;
}

/* ---- Figures and settings -------------------------------------------------------------------- */

T_CASE(info_has_what_clients_read)
{
    rk_open(&k, true);
    T_EQ_STR(rk_line(&k, "MSET a 1 b 2"), "+OK");
    T_EQ_STR(rk_line(&k, "MGET a none"), "[1 nil]");
    const char *info = rk_line(&k, "INFO");
    static const char *const parts[] = {
        "# Server", "redis_version:7.0.0", "cellar_version:", "# Clients", "connected_clients:1",
        "blocked_clients:0", "# Memory", "used_memory:", "maxmemory:8388608", "# Persistence",
        "loading:0", "rdb_bgsave_in_progress:0", "aof_rewrite_in_progress:0", "# Stats",
        "total_connections_received:1", "total_commands_processed:3", "keyspace_hits:1",
        "keyspace_misses:1", "expired_keys:0", "evicted_keys:0", "# Keyspace",
        "db0:keys=2,expires=0,avg_ttl=0",
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) { T_CHECK(has(info, parts[i])); }
    info = rk_line(&k, "INFO clients KEYSPACE");
    T_CHECK(has(info, "# Clients") && has(info, "# Keyspace"));
    T_CHECK(strstr(info, "# Server") == NULL);
    T_EQ_STR(rk_line(&k, "INFO nothing"), "");
    T_CHECK(has(rk_line(&k, "INFO everything"), "# Cellar"));
}

T_CASE(info_counts_keys_with_a_ttl)
{
    rk_open(&k, true);
    T_EQ_STR(rk_line(&k, "MSET a 1 b 2"), "+OK");
    T_EQ_STR(rk_line(&k, "SETEX c 100 3"), "+OK");
    T_EQ_STR(rk_line(&k, "SETEX d 300 4"), "+OK");
    T_CHECK(has(rk_line(&k, "INFO keyspace"), "db0:keys=4,expires=2,avg_ttl=200000"));
    T_EQ_STR(rk_line(&k, "PERSIST c"), ":1");
    T_CHECK(has(rk_line(&k, "INFO keyspace"), "db0:keys=4,expires=1,avg_ttl=300000"));
    cellar_set_opts o = cellar_set_opts_default();
    for (uint32_t i = 0; i < 20000; i++) {
        o.ttl_ms = i % 4 == 0 ? 50000 : CELLAR_TTL_NONE;
        T_REQUIRE(cellar_set(k.db, &i, sizeof i, "v", 1, &o) == CELLAR_OK);
    }
    unsigned long long keys = 0, expires = 0, ttl_ms = 0; /* of a part of the keys */
    const char *info = strstr(rk_line(&k, "INFO keyspace"), "db0:");
    T_REQUIRE(info != NULL);
    T_EQ_I64(sscanf(info, "db0:keys=%llu,expires=%llu,avg_ttl=%llu", &keys, &expires, &ttl_ms), 3);
    T_EQ_U64(keys, 20004);
    T_CHECK(expires > 3000 && expires < 7000 && ttl_ms >= 50000 && ttl_ms < 60000);
}

T_CASE(settings_take_effect)
{
    rk_open(&k, true);
    int64_t v = 0;
    static const char *const talk[][2] = {
        { "CONFIG GET maxmemory", "[maxmemory 8388608]" },
        { "CONFIG SET maxmemory 6mb", "+OK" }, { "CONFIG GET MAXMEM?RY", "[maxmemory 6291456]" },
        { "CONFIG GET save appendonly", "[appendonly no save ]" }, { "CONFIG GET nothing", "[]" },
        { "CONFIG GET maxmemory-policy", "[maxmemory-policy adaptive]" },
        { "CONFIG SET maxmemory-policy allkeys-lru loglevel debug", "+OK" },
        { "CONFIG GET maxmemory-policy", "[maxmemory-policy allkeys-lru]" },
        { "CONFIG GET loglevel", "[loglevel debug]" },
        { "CONFIG SET timeout 77 maxclients 5", "+OK" },
        { "CONFIG GET timeout", "[timeout 77]" }, { "CONFIG GET maxclients", "[maxclients 5]" },
        { "CONFIG SET timeout 0", "+OK" }, { "CONFIG GET timeout", "[timeout 0]" },
        { "CONFIG GET databases", "[databases 16]" }, { "CONFIG GET requirepass", "[]" },
        { "CONFIG RESETSTAT", "+OK" },
    };
    RK_TALK(&k, talk);
    T_EQ_I64(cellar_option_get(k.store, CELLAR_OPT_MEMORY_BYTES, &v), CELLAR_OK);
    T_EQ_I64(v, 6 << 20);
    T_EQ_I64(cellar_option_get(k.store, CELLAR_OPT_EVICTION, &v), CELLAR_OK);
    T_EQ_I64(v, CELLAR_EVICT_LRU);
    T_EQ_I64(cellar_option_get(k.store, CELLAR_OPT_LOG_LEVEL, &v), CELLAR_OK);
    T_EQ_I64(v, CELLAR_LOG_DEBUG);
    T_CHECK(has(rk_line(&k, "INFO stats"), "total_commands_processed:1\\x0d"));
}

T_CASE(wrong_settings_change_nothing)
{
    rk_open(&k, true);
    static const char *const talk[][2] = {
        { "CONFIG SET foo bar",
          "-ERR Unknown option or number of arguments for CONFIG SET - 'foo'" },
        { "CONFIG SET maxmemory 6mb foo bar",
          "-ERR Unknown option or number of arguments for CONFIG SET - 'foo'" },
#define EIGHT(text) text text text text text text text text
        { "CONFIG SET " EIGHT("0123456789abcdef") "0 bar", /* 128 bytes of the name are told */
          "-ERR Unknown option or number of arguments for CONFIG SET - '"
          EIGHT("0123456789abcdef") "'" },
#undef EIGHT
        { "CONFIG SET maxmemory", "-ERR wrong number of arguments for 'config|set' command" },
        { "CONFIG SET maxmemory 6mb timeout",
          "-ERR wrong number of arguments for 'config|set' command" },
        { "CONFIG GET", "-ERR wrong number of arguments for 'config|get' command" },
        { "CONFIG FOO", "-ERR unknown subcommand 'FOO'. Try CONFIG HELP." },
        { "CONFIG SET save 900", "-ERR CONFIG SET failed (possibly related to argument 'save') - "
                                 "can't set immutable config" },
        { "CONFIG SET timeout abc",
          "-ERR CONFIG SET failed (possibly related to argument 'timeout') - argument couldn't be "
          "parsed into an integer" },
        { "CONFIG SET maxmemory 6x",
          "-ERR CONFIG SET failed (possibly related to argument 'maxmemory') - argument must be a "
          "memory value" },
        { "CONFIG SET maxmemory 1gb",
          "-ERR CONFIG SET failed (possibly related to argument 'maxmemory') - the budget cannot "
          "have this size while the store is open" },
        { "CONFIG SET timeout 7 loglevel debug maxclients 65",
          "-ERR CONFIG SET failed (possibly related to argument 'maxclients') - the port was "
          "opened for fewer clients" },
        { "CONFIG GET timeout", "[timeout 300]" }, { "CONFIG GET loglevel", "[loglevel notice]" },
        { "CONFIG SET maxclients 65",
          "-ERR CONFIG SET failed (possibly related to argument 'maxclients') - the port was "
          "opened for fewer clients" },
        { "CONFIG SET maxclients 0",
          "-ERR CONFIG SET failed (possibly related to argument 'maxclients') - the port was "
          "opened for fewer clients" },
        { "CONFIG GET maxmemory", "[maxmemory 8388608]" },
    };
    RK_TALK(&k, talk);
    T_CHECK(has(rk_line(&k, "CONFIG SET loglevel loud"), "argument(s) must be one of"));
    T_CHECK(has(rk_line(&k, "CONFIG SET maxmemory-policy none"), "argument(s) must be one of"));
    T_CHECK(has(rk_line(&k, "CONFIG SET maxmemory 99999999999gb"), "memory value"));
}

T_CASE(memory_that_a_pin_holds_keeps_the_budget)
{
    static unsigned char value[3 << 20];
    cellar_pinned pin;
    rk_open(&k, true);
    T_REQUIRE(cellar_set(k.db, "a", 1, value, sizeof value, NULL) == CELLAR_OK);
    T_REQUIRE(cellar_pin(k.db, "a", 1, &pin) == CELLAR_OK);
    T_CHECK(has(rk_line(&k, "CONFIG SET maxmemory 3mb"), "pinned entries hold the memory"));
    T_EQ_STR(rk_line(&k, "CONFIG GET maxmemory"), "[maxmemory 8388608]");
    T_EQ_STR(rk_line(&k, "SET b 1"), "+OK");
    cellar_unpin(&pin);
}

T_CASE(object_and_memory_describe_an_entry)
{
    rk_open(&k, true);
    static const char *const talk[][2] = {
        { "SET n 12345", "+OK" }, { "OBJECT ENCODING n", "int" }, { "SET s word", "+OK" },
        { "OBJECT ENCODING s", "embstr" }, { "SETRANGE s 100 x", ":101" },
        { "OBJECT ENCODING s", "raw" }, { "OBJECT REFCOUNT n", ":1" },
        { "OBJECT IDLETIME n", ":0" }, { "OBJECT FREQ none", "nil" },
        { "OBJECT REFCOUNT none", "nil" }, { "MEMORY USAGE n", ":31" },
        { "MEMORY USAGE n SAMPLES 5", ":31" }, { "MEMORY USAGE none", "nil" },
        { "MEMORY USAGE n SAMPLES", "-ERR syntax error" },
        { "MEMORY USAGE n SAMPLES x", "-ERR value is not an integer or out of range" },
        { "MEMORY USAGE", "-ERR wrong number of arguments for 'memory|usage' command" },
        { "MEMORY FOO", "-ERR unknown subcommand 'FOO'. Try MEMORY HELP." },
        { "OBJECT FOO n", "-ERR unknown subcommand 'FOO'. Try OBJECT HELP." },
        { "OBJECT FREQ", "-ERR wrong number of arguments for 'object|freq' command" },
        { "LATENCY LATEST", "[]" }, { "LATENCY RESET", ":0" },
    };
    RK_TALK(&k, talk);
    T_CHECK(rk_line(&k, "OBJECT FREQ n")[0] == ':');
    T_CHECK(has(rk_line(&k, "TIME"), "["));
}

T_CASE(save_needs_a_disk_tier)
{
    rk_open(&k, true);
    T_CHECK(has(rk_line(&k, "SAVE"), "-ERR the store has no disk tier"));
    T_CHECK(has(rk_line(&k, "BGSAVE"), "-ERR the store has no disk tier"));
    T_EQ_STR(rk_line(&k, "BGSAVE FOO"), "-ERR syntax error");
    T_EQ_STR(rk_line(&k, "LASTSAVE"), ":0");
}

T_CASE(debug_sleep_refuses_what_is_no_time)
{
    rk_open(&k, true);
    static const char *const talk[][2] = {
        { "DEBUG SLEEP 0", "+OK" }, { "DEBUG SLEEP -1", "-ERR value is not a valid float" },
        { "DEBUG SLEEP abc", "-ERR value is not a valid float" },
        { "DEBUG SLEEP 1e9", "-ERR value is not a valid float" },
        { "DEBUG SEGFAULT", "-ERR unknown subcommand 'SEGFAULT'. Try DEBUG HELP." },
        { "SHUTDOWN FOO", "-ERR syntax error" },
    };
    RK_TALK(&k, talk);
}

/* ---- Scripts --------------------------------------------------------------------------------- */

T_CASE(locks_of_redis_py_work_by_name)
{
    rk_open(&k, true);
    static const char *const talk[][2] = {
        { "SET lock token NX PX 10000", "+OK" }, { "EVALSHA " RELEASE " 1 lock other", ":0" },
        { "GET lock", "token" }, { "EVALSHA " EXTEND " 1 lock token 5000 0", ":1" },
        { "PTTL lock", ":15000" }, { "EVALSHA " EXTEND " 1 lock token 5000 1", ":1" },
        { "PTTL lock", ":5000" }, { "EVALSHA " EXTEND " 1 lock other 5000 0", ":0" },
        { "PTTL lock", ":5000" }, { "EVALSHA " REACQUIRE " 1 lock token 7000", ":1" },
        { "PTTL lock", ":7000" }, { "EVALSHA " REACQUIRE " 1 lock other 9000", ":0" },
        { "PTTL lock", ":7000" }, { "EVALSHA " RELEASE " 1 lock token", ":1" },
        { "EXISTS lock", ":0" }, { "EVALSHA " RELEASE " 1 lock token", ":0" },
        { "EVALSHA " EXTEND " 1 lock token 5000 0", ":0" }, { "SET lock token", "+OK" },
        { "EVALSHA " EXTEND " 1 lock token 5000 0", ":0" }, /* no TTL to extend */
        { "EVALSHA " REACQUIRE " 1 lock token 0", ":1" }, { "EXISTS lock", ":0" },
    };
    RK_TALK(&k, talk);
}

T_CASE(increments_of_django_redis_work_by_name)
{
    rk_open(&k, true);
    static const char *const talk[][2] = {
        { "EVALSHA " INCR_OLD " 1 n 5", "nil" }, { "EXISTS n", ":0" },
        { "EVALSHA " INCR_ANY " 1 n 5", ":5" }, { "EVALSHA " INCR_OLD " 1 n -7", ":-2" },
        { "SET n text", "+OK" },
        { "EVALSHA " INCR_OLD " 1 n 1", "-ERR value is not an integer or out of range" },
    };
    RK_TALK(&k, talk);
}

T_CASE(unknown_scripts_are_refused)
{
    rk_open(&k, true);
    T_EQ_STR(rk(&k, "EVAL", "return 1", "0", NULL), "-ERR scripts are not supported");
    T_EQ_STR(rk(&k, "EVAL", "return 1", "1", NULL),
             "-ERR Number of keys can't be greater than number of args");
    T_EQ_STR(rk(&k, "EVAL", "return 1", "-1", NULL), "-ERR Number of keys can't be negative");
    T_EQ_STR(rk(&k, "SCRIPT", "LOAD", "return 1", NULL), "-ERR scripts are not supported");
    static const char *const talk[][2] = {
        { "EVALSHA abc 0", "-NOSCRIPT No matching script. Please use EVAL." },
        { "EVALSHA 0000000000000000000000000000000000000000 0",
          "-NOSCRIPT No matching script. Please use EVAL." },
        { "EVALSHA " RELEASE " 0", "-ERR this script takes 1 key and 1 arguments" },
        { "EVALSHA " RELEASE " 1 lock", "-ERR this script takes 1 key and 1 arguments" },
        { "EVALSHA " RELEASE " x lock t", "-ERR value is not an integer or out of range" },
        { "SCRIPT EXISTS abc " EXTEND " " INCR_ANY, "[:0 :1 :1]" },
        { "SCRIPT FOO", "-ERR unknown subcommand 'FOO'. Try SCRIPT HELP." },
        { "SCRIPT EXISTS", "-ERR wrong number of arguments for 'script|exists' command" },
    };
    RK_TALK(&k, talk);
    T_EQ_STR(rk(&k, "EVALSHA", RELEASE, "1", "", "t", NULL), "-ERR invalid key");
}

/* Read the text between `from` and the next three quotes in a file. Return its length, 0: none. */
static size_t script_in(const char *path, const char *from, char *out, size_t cap)
{
    static char text[200000];
    FILE *f = fopen(path, "r");
    if (f == NULL) { return 0; }
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    (void)fclose(f);
    const char *at = strstr(text, from);
    const char *end = at != NULL ? strstr(at + strlen(from), "\"\"\"") : NULL;
    if (end == NULL) { return 0; }
    at += strlen(from);
    const size_t len = (size_t)(end - at) < cap ? (size_t)(end - at) : 0;
    memcpy(out, at, len);
    out[len] = '\0';
    return len;
}

T_CASE(scripts_are_known_by_the_text_of_the_client)
{
    static const char lock[] = "/usr/lib/python3/dist-packages/redis/lock.py";
    static const char django[] = "/usr/lib/python3/dist-packages/django_redis/client/default.py";
    static const struct { const char *path, *from, *name; } rows[] = {
        { lock, "LUA_RELEASE_SCRIPT = \"\"\"", RELEASE },
        { lock, "LUA_EXTEND_SCRIPT = \"\"\"", EXTEND },
        { lock, "LUA_REACQUIRE_SCRIPT = \"\"\"", REACQUIRE },
        { django, "ignore_key_check:\n                    lua = \"\"\"", INCR_OLD },
        { django, "else:\n                    lua = \"\"\"", INCR_ANY },
    };
    size_t seen = 0;
    char text[4096];
    rk_open(&k, true);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (script_in(rows[i].path, rows[i].from, text, sizeof text) == 0) { continue; }
        seen++;
        T_EQ_STR(rk(&k, "SCRIPT", "LOAD", text, NULL), rows[i].name);
        text[0] = ' '; /* another text */
        T_EQ_STR(rk(&k, "SCRIPT", "LOAD", text, NULL), "-ERR scripts are not supported");
    }
    rk_close(&k);
    if (seen == 0) { T_SKIP("no python3-redis, no python3-django-redis"); }
}

/* ---- CL.THROTTLE ----------------------------------------------------------------------------- */

T_CASE(throttle_admits_the_burst_and_then_denies)
{
    rk_open(&k, true);
    char want[64];
    for (int left = 4; left >= 0; left--) { /* a burst of 4 and one more; one an hour */
        snprintf(want, sizeof want, "[:0 :5 :%d :-1 :%d]", left, (5 - left) * 3600);
        T_EQ_STR(rk_line(&k, "CL.THROTTLE user 4 1 3600"), want);
    }
    T_EQ_STR(rk_line(&k, "CL.THROTTLE user 4 1 3600"), "[:1 :5 :0 :3600 :18000]");
    T_EQ_STR(rk_line(&k, "CL.THROTTLE user 4 1 3600 0"), "[:0 :5 :0 :-1 :18000]");
    T_EQ_STR(rk_line(&k, "CL.THROTTLE other 4 1 3600 6"), "[:1 :5 :0 :-1 :0]"); /* never */
    T_EQ_STR(rk_line(&k, "EXISTS other"), ":0");
    T_EQ_STR(rk_line(&k, "CL.THROTTLE other 4 1 3600 5"), "[:0 :5 :0 :-1 :18000]");
    T_CHECK(rk_line(&k, "PTTL other")[0] == ':');
    T_EQ_STR(rk_line(&k, "DEL user"), ":1");
    T_EQ_STR(rk_line(&k, "CL.THROTTLE user 0 1 3600"), "[:0 :1 :0 :-1 :3600]");
}

T_CASE(throttle_refuses_wrong_numbers)
{
    rk_open(&k, true);
    static const char *const lines[] = {
        "CL.THROTTLE k -1 1 1", "CL.THROTTLE k 1 0 1", "CL.THROTTLE k 1 1 0", "CL.THROTTLE k 1 1",
        "CL.THROTTLE k x 1 1", "CL.THROTTLE k 1 1 1 -1", "CL.THROTTLE k 1 1 1 1 1",
        "CL.THROTTLE k 9223372036854775807 1 1", "CL.THROTTLE k 9000000000 1 9000000000",
        "CL.THROTTLE k 1 1 9223372036854775807", "CL.THROTTLE k 1 9223372036854775807 1",
        "CL.THROTTLE k 1 1 1 9223372036854775807",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        if (!T_CHECK(strncmp(rk_line(&k, lines[i]), "-ERR ", 5) == 0)) {
            printf("# %s: %s\n", lines[i], k.text);
        }
    }
    T_EQ_STR(rk_line(&k, "SET k word"), "+OK");
    T_CHECK(has(rk_line(&k, "CL.THROTTLE k 1 1 1"), "-ERR the value of the key is no time"));
    T_EQ_STR(rk_line(&k, "GET k"), "word");
}

/* ---- Bloom filter ---------------------------------------------------------------------------- */

T_CASE(bloom_commands_use_the_filter_of_the_database)
{
    rk_open(&k, true);
    T_CHECK(has(rk_line(&k, "BF.EXISTS db0 a"), "-ERR not found"));
    T_EQ_I64(bloom_size(k.db, 1000), CELLAR_OK);
    static const char *const talk[][2] = {
        { "BF.EXISTS db0 a", ":0" }, { "BF.ADD db0 a", ":1" }, { "BF.ADD db0 a", ":0" },
        { "BF.EXISTS db0 a", ":1" }, { "BF.MADD db0 a b c", "[:0 :1 :1]" },
        { "BF.MEXISTS db0 a x c", "[:1 :0 :1]" },
    };
    RK_TALK(&k, talk);
    T_CHECK(has(rk_line(&k, "BF.INFO db0"), "Capacity :1000"));
    T_CHECK(has(rk_line(&k, "BF.EXISTS other a"), "-ERR not found"));
    T_EQ_STR(rk(&k, "BF.ADD", "db0", "", NULL), "-ERR invalid key");
    T_EQ_I64(cellar_bloom_check(k.db, "b", 1), CELLAR_OK);
}

/* ---- CELLAR commands ------------------------------------------------------------------------- */

T_CASE(why_and_meta_explain_a_key)
{
    rk_open(&k, true);
    T_CHECK(has(rk_line(&k, "CELLAR.WHY a"), "answer unknown"));
    T_EQ_STR(rk_line(&k, "SET a 1 EX 10"), "+OK");
    T_CHECK(has(rk_line(&k, "CELLAR.WHY a"), "answer live"));
    const char *meta = rk_line(&k, "CELLAR.META a");
    T_CHECK(has(meta, "kind value") && has(meta, "tier memory") && has(meta, "value_len :1"));
    T_CHECK(has(meta, "ttl_left_ms :10000") && has(meta, "tagged :0"));
    T_EQ_STR(rk_line(&k, "DEL a"), ":1");
    T_CHECK(has(rk_line(&k, "CELLAR.WHY a"), "answer gone cause deleted"));
    T_EQ_STR(rk_line(&k, "CELLAR.META a"), "nil");
    T_CHECK(has(rk_line(&k, "HELLO 3"), "proto :3"));
    T_CHECK(rk_line(&k, "CELLAR.WHY a")[0] == '{');
}

T_CASE(tags_and_versions_invalidate)
{
    rk_open(&k, true);
    const cellar_bytes tag = { "team", 4 };
    cellar_set_opts o = { .struct_size = sizeof o, .tags = &tag, .tag_count = 1 };
    T_EQ_I64(cellar_set(k.db, "a", 1, "1", 1, &o), CELLAR_OK);
    T_CHECK(has(rk_line(&k, "CELLAR.META a"), "tagged :1"));
    T_EQ_STR(rk_line(&k, "CELLAR.TAGDEL team"), "+OK");
    T_EQ_STR(rk_line(&k, "GET a"), "nil");
    static const struct { const char *line; bool keeps; } changes[] = {
        { "INCR a", true }, { "APPEND a 1", true }, { "SETRANGE a 0 2", true },
        { "INCRBYFLOAT a 1", true }, { "GETEX a EX 100", true }, { "EXPIRE a 100", true },
        { "PERSIST a", true }, { "SET a 2", false }, { "SET a 2 GET", false },
        { "SET a 2 KEEPTTL GET", false }, { "GETSET a 2", false },
    };
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        T_EQ_I64(cellar_set(k.db, "a", 1, "1", 1, &o), CELLAR_OK);
        (void)rk_line(&k, changes[i].line);
        T_CHECK((strstr(rk_line(&k, "CELLAR.META a"), "tagged :1") != NULL) == changes[i].keeps);
    }
    T_EQ_STR(rk_line(&k, "CELLAR.TAGDEL team SOFT"), "+OK");
    T_EQ_STR(rk_line(&k, "CELLAR.TAGDEL team HARD"), "-ERR syntax error");
    T_CHECK(has(rk(&k, "CELLAR.TAGDEL", "", NULL), "-ERR a tag has 1..128 bytes"));
    T_EQ_STR(rk_line(&k, "SET b 1"), "+OK");
    T_EQ_STR(rk_line(&k, "CELLAR.BUMP"), ":2");
    T_EQ_STR(rk_line(&k, "GET b"), "nil");
    T_CHECK(has(rk_line(&k, "CELLAR.POLICY RELOAD"), "-ERR the port was opened without"));
    T_EQ_STR(rk_line(&k, "CELLAR.POLICY"), "-ERR wrong number of arguments for 'cellar.policy' "
                                           "command");
}

static char policy_path[T_FOLDER_MAX + 8];

static void rk_with_policy(cellar_resp_config *o) { o->policy_file = policy_path; }

static void write_policy(const char *text)
{
    FILE *f = fopen(policy_path, "w");
    T_REQUIRE(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

T_CASE(policy_reload_reads_the_file_of_the_port)
{
    char folder[T_FOLDER_MAX], longer[1026];
    cellar_resp *none = NULL;
    t_folder(folder);
    (void)snprintf(policy_path, sizeof policy_path, "%s/p", folder);
    rk_open_on(&k, api_open(8 << 20), rk_with_policy);
    policy_path[0] = '\0'; /* the port has a copy */
    T_CHECK(has(rk_line(&k, "CELLAR.POLICY RELOAD"), "-ERR the present rules stay: "));
    T_EQ_STR(rk_line(&k, "SET secret 1"), "+OK");
    (void)snprintf(policy_path, sizeof policy_path, "%s/p", folder);
    write_policy("[*]\ndeny secret*\n");
    T_EQ_STR(rk_line(&k, "CELLAR.POLICY RELOAD"), "+OK");
    T_CHECK(has(rk_line(&k, "SET secret 1"), "denied"));
    write_policy("[*]\nkey\n");
    T_CHECK(has(rk_line(&k, "CELLAR.POLICY RELOAD"), ":2:4: error: the rule has no pattern"));
    T_CHECK(has(rk_line(&k, "SET secret 1"), "denied"));
    memset(longer, 'a', sizeof longer);
    longer[1024] = '\0';
    cellar_resp_config o = { .struct_size = sizeof o, .policy_file = longer };
    T_EQ_I64(cellar_resp_open(k.store, &o, &none), CELLAR_E_INVAL);
    rk_close(&k);
    t_wipe(folder);
}

T_CASE(figures_of_the_store_are_complete)
{
    rk_open(&k, true);
    T_EQ_STR(rk_line(&k, "SET a 1"), "+OK");
    char value[8];
    for (int i = 0; i < 3000; i++) { (void)cellar_get(k.db, "a", 1, value, sizeof value, NULL); }
    T_CHECK(has(rk_line(&k, "CELLAR.TOPK 5"), "key a gets_per_s"));
    T_CHECK(has(rk_line(&k, "CELLAR.TOPK 0"), "-ERR the number of keys must be 1..64"));
    T_CHECK(has(rk_line(&k, "CELLAR.TOPK x"), "-ERR value is not an integer"));
    cellar *own = NULL;
    T_EQ_I64(cellar_namespace_open(k.store, "own", NULL, &own), CELLAR_OK);
    T_EQ_I64(cellar_set(own, "a", 1, "b", 1, NULL), CELLAR_OK);
    T_CHECK(has(rk_line(&k, "CELLAR.NAMESPACES"), "db :0 name db0 entries :1"));
    T_CHECK(has(rk_line(&k, "CELLAR.NAMESPACES"), "db :-1 name own entries :1"));
    T_EQ_I64(cellar_namespace_close(own), CELLAR_OK);
    T_CHECK(has(rk_line(&k, "CELLAR.METRICS"), "# HELP cellar_"));
    static char text[65536];
    size_t len = 0;
    T_EQ_I64(cellar_metrics_write(k.store, text, sizeof text, &len), CELLAR_OK);
    rc_queue_words(&k.client, (const rc_word[]){ { "CELLAR.METRICS", 14 } }, 1);
    rk_flush(&k);
    (void)rk_wait(&k);
    T_CHECK(strtoull(k.client.in + 1, NULL, 10) >= len - 64); /* a bulk of the whole text */
}

static volatile sig_atomic_t term_seen;

static void note_term(int signal) { term_seen = signal; }

T_CASE(shutdown_ends_the_process_as_sigterm_does)
{
    struct sigaction had, noted = { .sa_handler = note_term };
    rk_open(&k, true);
    T_REQUIRE(sigaction(SIGTERM, &noted, &had) == 0);
    const int a = peer();
    T_EQ_STR(ask(a, "SHUTDOWN NOSAVE\r\n"), "");
    T_EQ_I64(term_seen, SIGTERM);
    T_EQ_I64(sigaction(SIGTERM, &had, NULL), 0);
}

T_MAIN("resp_commands_own")
