/* SPDX-License-Identifier: MIT
 *
 * Aim:    RAW: increments, updates and conditions of several processes and of clients in other
 *         languages lose no change, keep the life of the value, and leave foreign text alone.
 * Method: two stores in this process stand for two processes; redis-server is real. Threads race on
 *         one key; the sums say whether a change was lost. */
#include "cellar_entry.h"
#include "tests/support/counter.h"
#include "tests/support/two_sides.h"

enum { ROUNDS = 100 };

static void raw_open(const cellar_remote_namespace_config *more)
{
    cellar_remote_namespace_config o = cellar_remote_namespace_config_default();
    if (more != NULL) { o = *more; }
    o.values = CELLAR_REMOTE_RAW;
    both_open(&o);
}

static bool server_has(const char *key, const char *want)
{
    const redisReply *got = engine_ask(&server, "GET app:users:%s", key);
    T_REQUIRE(got != NULL);
    return want == NULL ? got->type == REDIS_REPLY_NIL
                        : got->type == REDIS_REPLY_STRING && strcmp(got->str, want) == 0;
}

static cellar_err add(const side *s, int64_t delta, int64_t init, int64_t ttl_ms, uint32_t flags,
                      int64_t *now)
{
    return cellar_increment(s->users, "n", 1, delta, init, COUNTER_OPTS(ttl_ms, flags), now);
}

static void *count_up(void *ctx)
{
    int64_t now;
    for (int i = 0; i < ROUNDS; i++) { T_EQ_I64(add(ctx, 1, 0, 0, 0, &now), CELLAR_OK); }
    return NULL;
}

T_CASE(increments_of_processes_and_other_clients_add_up)
{
    pthread_t t;
    int64_t now = 0;
    raw_open(NULL);
    T_REQUIRE(pthread_create(&t, NULL, count_up, &a) == 0);
    for (int i = 0; i < ROUNDS; i++) { T_CHECK(engine_ask(&server, "INCR app:users:n") != NULL); }
    (void)count_up(&b);
    pthread_join(t, NULL);
    T_EQ_I64(add(&a, -5, 0, 0, 0, &now), CELLAR_OK);
    T_EQ_I64(now, 3 * ROUNDS - 5);
    T_CHECK(server_has("n", "295") && side_has(&a, "n", "295"));
    side_fence(&b);
    T_CHECK(side_has(&b, "n", "295"));
}

T_CASE(counter_keeps_its_ttl_or_the_lack_of_one)
{
    int64_t now = 0;
    raw_open(NULL);
    T_EQ_I64(add(&a, 1, 0, 0, CELLAR_ONLY_IF_PRESENT, &now), CELLAR_MISS);
    T_CHECK(server_has("n", NULL));
    T_CHECK(engine_ask(&server, "SET app:users:n 41") != NULL);
    T_EQ_I64(add(&a, 1, 0, 1000, CELLAR_ONLY_IF_PRESENT, &now), CELLAR_OK);
    T_EQ_I64(now, 42);
    T_EQ_I64(engine_number(engine_ask(&server, "PTTL app:users:n")), -1);
    T_CHECK(engine_ask(&server, "SET app:users:n 7 PX 90000000") != NULL);
    T_EQ_I64(add(&b, 1, 0, 1000, 0, &now), CELLAR_OK);
    T_CHECK(engine_number(engine_ask(&server, "PTTL app:users:n")) > 80000000);
    T_EQ_I64(engine_number(engine_ask(&server, "DEL app:users:n")), 1);
    T_EQ_I64(add(&b, 1, 99, 600000, 0, &now), CELLAR_OK);
    T_EQ_I64(now, 100);
    const long long left = engine_number(engine_ask(&server, "PTTL app:users:n"));
    T_CHECK(left > 0 && left <= 600000);
}

/* RAW has no stale window: the server would give the value to other processes as a fresh one. */
T_CASE(value_ends_in_the_server_without_its_stale_window)
{
    const cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 60000, .stale_ms = 3000000 };
    int64_t now = 0;
    raw_open(NULL);
    T_EQ_I64(cellar_set(a.users, "k", 1, "v", 1, &o), CELLAR_OK);
    T_EQ_I64(cellar_increment(a.users, "n", 1, 1, 0, &o, &now), CELLAR_OK);
    T_CHECK(engine_number(engine_ask(&server, "PTTL app:users:k")) <= 60000);
    T_CHECK(engine_number(engine_ask(&server, "PTTL app:users:n")) <= 60000);
    T_EQ_I64(cellar_touch(a.users, "k", 1, 90000), CELLAR_OK);
    T_CHECK(engine_number(engine_ask(&server, "PTTL app:users:k")) <= 90000);
}

T_CASE(counter_at_the_limits_of_int64_is_exact)
{
    int64_t now = 0;
    raw_open(NULL);
    T_CHECK(engine_ask(&server, "SET app:users:n 9223372036854775800") != NULL);
    T_EQ_I64(add(&a, 1, 0, 0, 0, &now), CELLAR_OK);
    T_EQ_I64(now, INT64_C(9223372036854775801));
    T_EQ_I64(add(&a, 10, 0, 0, 0, &now), CELLAR_E_RANGE);
    T_EQ_I64(now, INT64_MAX);
    T_CHECK(server_has("n", "9223372036854775807"));
    T_EQ_I64(engine_number(engine_ask(&server, "DEL app:users:n")), 1);
    T_EQ_I64(add(&a, -10, INT64_MIN, 0, 0, &now), CELLAR_E_RANGE);
    T_EQ_I64(now, INT64_MIN);
    T_CHECK(server_has("n", "-9223372036854775808"));
}

T_CASE(foreign_text_is_no_counter)
{
    static const char *const texts[] = { "3.5", "1 ", "abc", "99999999999999999999" };
    int64_t now = 77;
    raw_open(NULL);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        T_CHECK(engine_ask(&server, "SET app:users:n %s", texts[i]) != NULL);
        T_EQ_I64(add(&a, 1, 0, 0, 0, &now), CELLAR_E_TYPE);
        T_CHECK(server_has("n", texts[i]));
    }
    T_CHECK(engine_ask(&server, "DEL app:users:n") != NULL);
    T_CHECK(engine_ask(&server, "LPUSH app:users:n x") != NULL);
    T_EQ_I64(add(&a, 1, 0, 0, 0, &now), CELLAR_E_TYPE);
    T_EQ_I64(now, 77);
    T_CHECK(side_has(&a, "n", NULL));
}

static cellar_err set_if(const side *s, const char *value, uint32_t flags, uint64_t *version)
{
    cellar_set_opts o = { .struct_size = sizeof o, .flags = flags,
                          .if_version = flags == CELLAR_ONLY_IF_VERSION ? *version : 0,
                          .new_version = version };
    return cellar_set(s->users, "k", 1, value, strlen(value), &o);
}

T_CASE(conditions_are_those_of_the_server)
{
    uint64_t version = 0, other = 12345;
    raw_open(NULL);
    T_EQ_I64(set_if(&a, "0", CELLAR_ONLY_IF_PRESENT, &version), CELLAR_MISS);
    T_EQ_I64(set_if(&a, "1", CELLAR_ONLY_IF_ABSENT, &version), CELLAR_OK);
    T_EQ_I64(set_if(&b, "2", CELLAR_ONLY_IF_ABSENT, &other), CELLAR_EXISTS);
    T_EQ_I64(set_if(&b, "3", CELLAR_ONLY_IF_VERSION, &version), CELLAR_OK);
    T_EQ_I64(set_if(&a, "4", CELLAR_ONLY_IF_VERSION, &other), CELLAR_CONFLICT);
    T_CHECK(server_has("k", "3"));
    T_CHECK(engine_ask(&server, "SET app:users:k foreign") != NULL);
    T_EQ_I64(set_if(&a, "5", CELLAR_ONLY_IF_VERSION, &version), CELLAR_CONFLICT);
    T_EQ_I64(set_if(&a, "6", CELLAR_ONLY_IF_PRESENT, &version), CELLAR_OK);
    T_CHECK(server_has("k", "6"));
    side_fence(&b);
    T_CHECK(side_has(&b, "k", "6"));
    cellar_delete_opts d = { .struct_size = sizeof d, .if_version = other };
    T_EQ_I64(cellar_delete_with(b.users, "k", 1, &d), CELLAR_CONFLICT);
    d.if_version = version;
    T_EQ_I64(cellar_delete_with(b.users, "k", 1, &d), CELLAR_OK);
    T_CHECK(server_has("k", NULL));
}

T_CASE(condition_over_a_list_is_a_type_error)
{
    uint64_t version = 0;
    raw_open(NULL);
    T_CHECK(engine_ask(&server, "LPUSH app:users:k x") != NULL);
    T_EQ_I64(set_if(&a, "7", CELLAR_ONLY_IF_ABSENT, &version), CELLAR_E_TYPE);
}

T_CASE(version_of_a_get_is_that_of_the_server)
{
    char got[8];
    raw_open(NULL);
    T_CHECK(engine_ask(&server, "SET app:users:k old PX 600000") != NULL);
    for (int i = 0; i < 2; i++) { /* from the server, from memory */
        cellar_entry_info info = cellar_entry_info_default();
        size_t len;
        cellar_get_opts o = { .struct_size = sizeof o, .info = &info,
                              .flags = CELLAR_GET_WANT_VERSION };
        T_EQ_I64(cellar_get_with(a.users, "k", 1, &o, got, sizeof got, &len), CELLAR_OK);
        uint64_t version = info.version;
        T_EQ_I64(set_if(&a, "old", CELLAR_ONLY_IF_VERSION, &version), CELLAR_OK);
        T_EQ_U64(version, info.version); /* equal bytes */
        T_EQ_I64(set_if(&b, "old", CELLAR_ONLY_IF_VERSION, &version), CELLAR_OK);
    }
}

static cellar_err append_x(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)ctx;
    if (old_len != 0) { (void)cellar_buf_append(out, old, old_len); }
    return cellar_buf_append(out, "x", 1);
}

static void *append_many(void *ctx)
{
    const side *s = ctx;
    for (int i = 0; i < 20; i++) {
        cellar_err err;
        while ((err = cellar_update(s->users, "k", 1, NULL, append_x, NULL)) == CELLAR_E_BUSY) {}
        T_EQ_I64(err, CELLAR_OK);
    }
    return NULL;
}

T_CASE(updates_of_processes_and_other_clients_lose_nothing)
{
    pthread_t t;
    raw_open(NULL);
    T_CHECK(engine_ask(&server, "SET app:users:k %b", "", (size_t)0) != NULL); /* empty, not absent */
    T_REQUIRE(pthread_create(&t, NULL, append_many, &a) == 0);
    for (int i = 0; i < 20; i++) { T_CHECK(engine_ask(&server, "APPEND app:users:k x") != NULL); }
    (void)append_many(&b);
    pthread_join(t, NULL);
    T_EQ_I64(engine_number(engine_ask(&server, "STRLEN app:users:k")), 60);
}

T_CASE(update_keeps_the_life_in_the_server)
{
    cellar_remote_namespace_config o = { .struct_size = sizeof o, .local_ttl_ms = 50 };
    raw_open(&o);
    cellar_set_opts keep = { .struct_size = sizeof keep, .flags = CELLAR_KEEP_TTL };
    T_CHECK(engine_ask(&server, "SET app:users:k a PX 600000") != NULL);
    T_CHECK(side_has(&a, "k", "a"));
    T_EQ_I64(cellar_update(a.users, "k", 1, &keep, append_x, NULL), CELLAR_OK);
    T_CHECK(server_has("k", "ax"));
    const long long left = engine_number(engine_ask(&server, "PTTL app:users:k"));
    T_CHECK(left > 500000 && left <= 600000);
    T_EQ_I64(cellar_touch(a.users, "k", 1, 60000), CELLAR_OK);
    T_CHECK(engine_number(engine_ask(&server, "PTTL app:users:k")) <= 60000);
    T_CHECK(server_has("k", "ax"));
}

T_CASE(full_server_refuses_conditions_and_keeps_values)
{
    uint64_t version = 0;
    int64_t now = 0;
    raw_open(NULL);
    T_CHECK(engine_ask(&server, "MSET app:users:n 1 app:users:k 1") != NULL);
    T_CHECK(engine_ask(&server, "CONFIG SET maxmemory 1") != NULL);
    T_EQ_I64(add(&a, 1, 0, 0, 0, &now), CELLAR_E_SPACE);
    T_EQ_I64(set_if(&a, "2", CELLAR_ONLY_IF_PRESENT, &version), CELLAR_E_SPACE);
    T_CHECK(server_has("n", "1") && server_has("k", "1"));
    T_CHECK(engine_ask(&server, "CONFIG SET maxmemory 0") != NULL);
    T_EQ_I64(add(&a, 1, 0, 0, 0, &now), CELLAR_OK);
}

T_CASE(condition_without_an_answer_deletes_nothing)
{
    int64_t now = 0;
    cellar_remote_config ro = { .struct_size = sizeof ro, .io_ms = 300, .proof_ms = 60000 };
    cellar_remote_namespace_config o = { .struct_size = sizeof o, .values = CELLAR_REMOTE_RAW };
    T_REQUIRE(engine_start(&server, NULL));
    side_open(&a, server.socket, &ro, &o);
    side_fence(&a);
    T_CHECK(engine_ask(&server, "SET app:users:n 1") != NULL);
    engine_signal(&server, SIGSTOP);
    T_EQ_I64(add(&a, 1, 0, 0, 0, &now), CELLAR_E_TIMEOUT);
    T_EQ_U64(side_stats(&a).timeouts, 1);
    T_EQ_U64(side_stats(&a).journal_keys, 0);
    engine_signal(&server, SIGCONT);
    side_fence(&a);
    const char *const is = server_has("n", "2") ? "2" : "1"; /* 2: executed late, and heard */
    T_CHECK(server_has("n", is) && side_has(&a, "n", is));
}

T_CASE(conditions_need_through)
{
    int64_t now = 0;
    uint64_t version = 0;
    cellar_remote_namespace_config o = { .struct_size = sizeof o, .write = CELLAR_REMOTE_BEHIND };
    raw_open(&o);
    T_EQ_I64(add(&a, 1, 0, 0, 0, &now), CELLAR_E_UNSUPPORTED);
    T_EQ_I64(set_if(&a, "1", CELLAR_ONLY_IF_ABSENT, &version), CELLAR_E_UNSUPPORTED);
    T_CHECK(server_has("n", NULL) && server_has("k", NULL));
}

T_MAIN("cellar_remote_raw")
