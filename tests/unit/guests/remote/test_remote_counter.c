/* SPDX-License-Identifier: MIT
 *
 * Aim:    shared counters: no increment is lost, refused or counted twice over processes; no call
 *         without an answer removes a counter; an ended counter begins again. RAW: increments,
 *         updates and conditions of processes and of clients in other languages lose no change, keep
 *         the life of the value, and leave foreign text alone.
 * Method: two sides stand for two processes. Their threads count each code of cellar_increment:
 *         acknowledged <= counter <= acknowledged + those without an answer. The server stands still,
 *         or a proxy holds the requests of one call and then cuts the link, so that they never
 *         arrive.
 * SIZE    T_SCALE=n: n times the increments. 10: 16 callers x 500. */
#include "cellar_entry.h"
#include "cellar_invalidate.h"
#include "tests/support/counter.h"
#include "tests/support/two_sides.h"

#define KEY "n", 1

static int64_t counted(const side *s)
{
    int64_t n = -1;
    T_EQ_I64(cellar_increment(s->users, KEY, 0, 0, COUNTER_PRESENT, &n), CELLAR_OK);
    return n;
}

/* Open both sides with RAW values and more options; NULL: none. */
static void raw_open(const cellar_remote_namespace_config *more)
{
    cellar_remote_namespace_config o = cellar_remote_namespace_config_default();
    if (more != NULL) { o = *more; }
    o.values = CELLAR_REMOTE_RAW;
    both_open(&o);
}

#define RAW(fn) T_WITHIN(fn, raw_open(NULL), left_close())

static bool server_has(const char *key, const char *want)
{
    const redisReply *got = engine_ask(&server, "GET app:users:%s", key);
    T_REQUIRE(got != NULL);
    return want == NULL ? got->type == REDIS_REPLY_NIL
                        : got->type == REDIS_REPLY_STRING && strcmp(got->str, want) == 0;
}

/* ---- Many callers ---------------------------------------------------------------------------- */

enum { CALLERS = 16 };

typedef struct tally {
    pthread_t thread;
    const side *s;
    uint64_t n, ok, unknown, other;
    cellar_err other_code;
} tally;

/* Increment n times, and count the codes. */
static void *count_up(void *arg)
{
    tally *t = arg;
    for (uint64_t i = 0; i < t->n; i++) {
        int64_t now;
        const cellar_err err = cellar_increment(t->s->users, KEY, 1, 0, NULL, &now);
        t->ok += err == CELLAR_OK;
        t->unknown += err == CELLAR_E_TIMEOUT;
        if (err == CELLAR_OK || err == CELLAR_E_TIMEOUT) { continue; }
        if (err == CELLAR_E_BREAKER_OPEN) { /* the link is away: nothing was sent */
            engine_pause_ms(1);
            continue;
        }
        t->other++;
        t->other_code = err;
    }
    return NULL;
}

/* Increment n times by each of `count` callers of both sides; the server stands still some times. */
static tally all_count_up(size_t count, uint64_t n, int stops)
{
    tally t[CALLERS], all = { .n = n * count };
    for (size_t i = 0; i < count; i++) {
        t[i] = (tally){ .s = i % 2 == 0 ? &a : &b, .n = n };
        T_REQUIRE(pthread_create(&t[i].thread, NULL, count_up, &t[i]) == 0);
    }
    for (int i = 0; i < stops; i++) {
        engine_pause_ms(40);
        engine_signal(&server, SIGSTOP);
        engine_pause_ms(120);
        engine_signal(&server, SIGCONT);
    }
    for (size_t i = 0; i < count; i++) {
        pthread_join(t[i].thread, NULL);
        all.ok += t[i].ok;
        all.unknown += t[i].unknown;
        all.other += t[i].other;
        if (t[i].other != 0) { printf("# code %d\n", (int)t[i].other_code); }
    }
    T_EQ_U64(all.other, 0);
    return all;
}

T_CASE_ON(increments_of_16_callers_are_exact_and_never_busy, BOTH_SIDES)
{
    const tally t = all_count_up(CALLERS, 50 * t_env_u64("T_SCALE", 1), 0);
    T_EQ_U64(t.ok, t.n);
    both_fence();
    T_EQ_I64(counted(&a), (int64_t)t.n);
}

T_CASE(increments_around_a_stopped_server_are_not_lost)
{
    const cellar_remote_config ro = { .struct_size = sizeof ro, .io_ms = 50, .proof_ms = 60000 };
    T_REQUIRE(engine_start(&server, NULL));
    side_open(&a, server.socket, &ro, NULL);
    side_open(&b, server.socket, &ro, NULL);
    const tally t = all_count_up(4, 1000 * t_env_u64("T_SCALE", 1), 3);
    side_close(&a);
    side_open(&a, server.socket, NULL, NULL); /* which is patient */
    const uint64_t now = t.ok + t.unknown > 0 ? (uint64_t)counted(&a) : 0;
    T_CHECK(t.ok <= now && now <= t.ok + t.unknown);
}

/* ---- States of a key ------------------------------------------------------------------------- */

static int64_t add(const side *s, int64_t delta, int64_t init)
{
    int64_t now = -1;
    T_EQ_I64(cellar_increment(s->users, KEY, delta, init, NULL, &now), CELLAR_OK);
    return now;
}

T_CASE_ON(value_of_8_bytes_becomes_a_counter_and_keeps_tags_flags_and_ttl, BOTH_SIDES)
{
    const cellar_bytes tag = { "t", 1 };
    const int64_t seven = 7;
    cellar_set_opts o = { .struct_size = sizeof o, .tags = &tag, .tag_count = 1, .user_flags = 9,
                          .ttl_ms = 600000 };
    T_EQ_I64(cellar_set(a.users, KEY, &seven, 8, &o), CELLAR_OK);
    T_EQ_I64(add(&b, 1, 0), 8);
    T_EQ_I64(add(&a, 1, 0), 9);
    char bytes[8];
    size_t len;
    cellar_entry_info info = cellar_entry_info_default();
    cellar_get_opts g = { .struct_size = sizeof g, .info = &info };
    side_fence(&b);
    T_EQ_I64(cellar_get_with(b.users, KEY, &g, bytes, sizeof bytes, &len), CELLAR_OK);
    T_EQ_U64(info.user_flags, 9);
    T_CHECK(info.ttl_left_ms > 0 && info.ttl_left_ms <= 600000);
    T_EQ_I64(cellar_delete_by_tag(a.users, "t", 1, CELLAR_TAG_HARD), CELLAR_OK);
    both_fence();
    T_EQ_I64(add(&b, 1, 40), 41);
    T_EQ_I64(add(&a, 1, 40), 42);
}

T_CASE_ON(counter_of_an_ended_tag_generation_or_ttl_begins_again, BOTH_SIDES)
{
    const cellar_bytes tag = { "t", 1 };
    cellar_set_opts o = { .struct_size = sizeof o, .tags = &tag, .tag_count = 1 };
    int64_t now;
    T_EQ_I64(cellar_increment(a.users, KEY, 5, 0, &o, &now), CELLAR_OK);
    T_EQ_I64(add(&b, 1, 0), 6);
    T_EQ_I64(cellar_delete_by_tag(b.users, "t", 1, CELLAR_TAG_SOFT), CELLAR_OK);
    both_fence();
    T_EQ_I64(add(&a, 1, 0), 1);
    T_EQ_I64(add(&b, 1, 0), 2);
    T_EQ_I64(cellar_clear(a.users), CELLAR_OK);
    both_fence();
    T_EQ_I64(add(&b, 1, 10), 11);
    both_fence();
    T_EQ_I64(add(&a, 1, 10), 12);
    T_CHECK(cellar_delete(a.users, KEY) >= 0);
    T_EQ_I64(cellar_increment(b.users, KEY, 1, 0, COUNTER_PRESENT, &now), CELLAR_MISS);
    T_EQ_I64(cellar_increment(b.users, KEY, 1, 0, COUNTER_OPTS(30, 0), &now), CELLAR_OK);
    T_EQ_I64(now, 1);
    for (int i = 0; i < 5000; i++) {
        if (cellar_increment(a.users, KEY, 0, 0, COUNTER_PRESENT, &now) == CELLAR_MISS) { break; }
        engine_pause_ms(1);
    }
    T_EQ_I64(add(&a, 1, 7), 8);
}

T_CASE(counter_at_the_limits_of_int64_is_exact)
{
    for (int raw = 0; raw < 2; raw++) {
        const cellar_remote_namespace_config o = side_raw(raw);
        int64_t now;
        both_open(&o);
        T_EQ_I64(add(&a, INT64_MAX - 2, 0), INT64_MAX - 2);
        T_EQ_I64(add(&b, 1, 0), INT64_MAX - 1);
        T_EQ_I64(cellar_increment(a.users, KEY, 5, 0, NULL, &now), CELLAR_E_RANGE);
        T_EQ_I64(now, INT64_MAX);
        T_CHECK(!raw || server_has("n", "9223372036854775807"));
        T_EQ_I64(add(&b, INT64_MIN, 0), -1);
        T_EQ_I64(cellar_increment(b.users, KEY, INT64_MIN, 0, NULL, &now), CELLAR_E_RANGE);
        T_EQ_I64(now, INT64_MIN);
        T_CHECK(!raw || server_has("n", "-9223372036854775808"));
        T_CHECK(cellar_delete(a.users, KEY) >= 0);
        T_EQ_I64(cellar_increment(a.users, KEY, 1, INT64_MAX, NULL, &now), CELLAR_E_RANGE);
        T_EQ_I64(counted(&b), INT64_MAX);
        left_close();
    }
}

T_CASE_ON(value_that_is_no_counter_is_a_type_error_and_stays, BOTH_SIDES)
{
    int64_t now = 77;
    T_CHECK(side_set(&a, "n", "text") == CELLAR_OK);
    T_EQ_I64(cellar_increment(b.users, KEY, 1, 0, NULL, &now), CELLAR_E_TYPE);
    T_CHECK(side_has(&b, "n", "text"));
}

/* ---- No answer ------------------------------------------------------------------------------- */

/* Open `a` behind a proxy, and `b` on the server. The io_ms of `a` is long enough for `first`. */
static void proxy_open(bool raw, cellar_err (*first)(void))
{
    cellar_remote_config ro = { .struct_size = sizeof ro, .io_ms = 50, .proof_ms = 60000 };
    const cellar_remote_namespace_config o = side_raw(raw);
    cellar_err err = CELLAR_E_TIMEOUT;
    while ((err == CELLAR_E_TIMEOUT || err == CELLAR_DEFERRED || err == CELLAR_MISS) &&
           ro.io_ms < 5000) {
        left_close();
        ro.io_ms *= 2;
        both_open_far(&ro, &o);
        err = first();
    }
    T_EQ_I64(err, CELLAR_OK);
}

static cellar_err add_5(void)
{
    int64_t now;
    return cellar_increment(a.users, KEY, 5, 0, NULL, &now);
}

static cellar_err set_old(void) { return side_set(&a, "k", "old"); }

/* Have the counter of `b` in the memory of `a`. */
static cellar_err get_5(void)
{
    char bytes[8];
    size_t len;
    T_EQ_I64(add(&b, 5, 0), 5);
    return cellar_get(a.users, KEY, bytes, sizeof bytes, &len);
}

/* Return what `a` counts. Its wait is short: ask again after a late answer. */
static int64_t counted_by_a(void)
{
    int64_t n = -1;
    cellar_err err = CELLAR_E_TIMEOUT;
    for (int i = 0; i < 200 && err == CELLAR_E_TIMEOUT; i++) {
        err = cellar_increment(a.users, KEY, 0, 0, COUNTER_PRESENT, &n);
    }
    T_EQ_I64(err, CELLAR_OK);
    return n;
}

static void proxy_hold(void)
{
    for (uint32_t i = 0; i < atomic_load(&proxy.lines); i++) {
        atomic_store(&proxy.line[i].way[0].frozen, true);
    }
}

/* Cut the link with what it holds, and wait until the journal of `a` is sent. */
static void proxy_cut(void)
{
    const uint64_t gaps = side_stats(&a).gaps;
    byte_proxy_cut_all(&proxy);
    byte_proxy_freeze(&proxy, 0, false);
    while (side_stats(&a).gaps == gaps) { engine_pause_ms(1); }
    side_sent(&a);
    both_fence();
}

T_CASE(increment_without_an_answer_leaves_the_counter)
{
    for (int raw = 0; raw < 2; raw++) {
        int64_t now;
        proxy_open(raw, add_5);
        proxy_hold();
        T_EQ_I64(cellar_increment(a.users, KEY, 1, 0, NULL, &now), CELLAR_E_TIMEOUT);
        T_EQ_U64(side_stats(&a).timeouts, 1);
        T_EQ_U64(side_stats(&a).journal_keys, 0);
        proxy_cut();
        T_EQ_I64(counted_by_a(), 5);
        T_EQ_I64(counted(&b), 5);
        left_close();
    }
}

static const cellar_set_opts replace = { .struct_size = sizeof replace,
                                         .flags = CELLAR_REPLACE };

static cellar_err hold_and_append(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)ctx;
    proxy_hold();
    if (old_len != 0) { (void)cellar_buf_append(out, old, old_len); }
    return cellar_buf_append(out, "x", 1);
}

T_CASE(update_without_an_answer_ends_the_state_that_it_read_and_no_other)
{
    for (int set = 0; set < 2; set++) {
        proxy_open(false, set_old);
        T_EQ_I64(cellar_update(a.users, "k", 1, &replace, hold_and_append, NULL), CELLAR_DEFERRED);
        if (set) { T_CHECK(side_set(&b, "k", "new") == CELLAR_OK); }
        proxy_cut();
        T_CHECK(side_has(&b, "k", set ? "new" : NULL));
        for (int i = 0; i < 200 && set && side_has(&a, "k", NULL); i++) { } /* late answers */
        T_CHECK(set ? !side_has(&a, "k", "old") : side_has(&a, "k", NULL));
        left_close();
    }
}

T_CASE(update_without_an_answer_leaves_a_counter)
{
    proxy_open(false, get_5);
    T_CHECK(cellar_update(a.users, KEY, &replace, hold_and_append, NULL) == CELLAR_DEFERRED);
    proxy_cut();
    T_EQ_I64(counted(&b), 5);
}

/* ---- RAW ------------------------------------------------------------------------------------- */

enum { ROUNDS = 100 };

static cellar_err raw_add(const side *s, int64_t delta, int64_t init, int64_t ttl_ms, uint32_t flags,
                      int64_t *now)
{
    return cellar_increment(s->users, "n", 1, delta, init, COUNTER_OPTS(ttl_ms, flags), now);
}

static void *raw_count_up(void *ctx)
{
    int64_t now;
    for (int i = 0; i < ROUNDS; i++) { T_EQ_I64(raw_add(ctx, 1, 0, 0, 0, &now), CELLAR_OK); }
    return NULL;
}

T_CASE_ON(increments_of_processes_and_other_clients_add_up, RAW)
{
    pthread_t t;
    int64_t now = 0;
    T_REQUIRE(pthread_create(&t, NULL, raw_count_up, &a) == 0);
    for (int i = 0; i < ROUNDS; i++) { T_CHECK(engine_ask(&server, "INCR app:users:n") != NULL); }
    (void)raw_count_up(&b);
    pthread_join(t, NULL);
    T_EQ_I64(raw_add(&a, -5, 0, 0, 0, &now), CELLAR_OK);
    T_EQ_I64(now, 3 * ROUNDS - 5);
    T_CHECK(server_has("n", "295") && side_has(&a, "n", "295"));
    side_fence(&b);
    T_CHECK(side_has(&b, "n", "295"));
}

T_CASE_ON(counter_keeps_its_ttl_or_the_lack_of_one, RAW)
{
    int64_t now = 0;
    T_EQ_I64(raw_add(&a, 1, 0, 0, CELLAR_ONLY_IF_PRESENT, &now), CELLAR_MISS);
    T_CHECK(server_has("n", NULL));
    T_CHECK(engine_ask(&server, "SET app:users:n 41") != NULL);
    T_EQ_I64(raw_add(&a, 1, 0, 1000, CELLAR_ONLY_IF_PRESENT, &now), CELLAR_OK);
    T_EQ_I64(now, 42);
    T_EQ_I64(engine_number(engine_ask(&server, "PTTL app:users:n")), -1);
    T_CHECK(engine_ask(&server, "SET app:users:n 7 PX 90000000") != NULL);
    T_EQ_I64(raw_add(&b, 1, 0, 1000, 0, &now), CELLAR_OK);
    T_CHECK(engine_number(engine_ask(&server, "PTTL app:users:n")) > 80000000);
    T_EQ_I64(engine_number(engine_ask(&server, "DEL app:users:n")), 1);
    T_EQ_I64(raw_add(&b, 1, 99, 600000, 0, &now), CELLAR_OK);
    T_EQ_I64(now, 100);
    const long long left = engine_number(engine_ask(&server, "PTTL app:users:n"));
    T_CHECK(left > 0 && left <= 600000);
}

/* RAW has no stale window: the server would give the value to other processes as a fresh one. */
T_CASE_ON(value_ends_in_the_server_without_its_stale_window, RAW)
{
    const cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 60000, .stale_ms = 3000000 };
    int64_t now = 0;
    T_EQ_I64(cellar_set(a.users, "k", 1, "v", 1, &o), CELLAR_OK);
    T_EQ_I64(cellar_increment(a.users, "n", 1, 1, 0, &o, &now), CELLAR_OK);
    T_CHECK(engine_number(engine_ask(&server, "PTTL app:users:k")) <= 60000);
    T_CHECK(engine_number(engine_ask(&server, "PTTL app:users:n")) <= 60000);
    T_EQ_I64(cellar_touch(a.users, "k", 1, 90000), CELLAR_OK);
    T_CHECK(engine_number(engine_ask(&server, "PTTL app:users:k")) <= 90000);
}

T_CASE_ON(foreign_text_is_no_counter, RAW)
{
    static const char *const texts[] = { "3.5", "1 ", "abc", "99999999999999999999" };
    int64_t now = 77;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        T_CHECK(engine_ask(&server, "SET app:users:n %s", texts[i]) != NULL);
        T_EQ_I64(raw_add(&a, 1, 0, 0, 0, &now), CELLAR_E_TYPE);
        T_CHECK(server_has("n", texts[i]));
    }
    T_CHECK(engine_ask(&server, "DEL app:users:n") != NULL);
    T_CHECK(engine_ask(&server, "LPUSH app:users:n x") != NULL);
    T_EQ_I64(raw_add(&a, 1, 0, 0, 0, &now), CELLAR_E_TYPE);
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
    for (int raw = 0; raw < 2; raw++) {
        const cellar_remote_namespace_config o = side_raw(raw);
        uint64_t version = 0, other = 12345;
        both_open(&o);
        T_EQ_I64(set_if(&a, "0", CELLAR_ONLY_IF_PRESENT, &version), CELLAR_MISS);
        T_EQ_I64(set_if(&a, "1", CELLAR_ONLY_IF_ABSENT, &version), CELLAR_OK);
        T_EQ_I64(set_if(&b, "2", CELLAR_ONLY_IF_ABSENT, &other), CELLAR_EXISTS);
        T_EQ_I64(set_if(&b, "3", CELLAR_ONLY_IF_VERSION, &version), CELLAR_OK);
        T_EQ_I64(set_if(&a, "4", CELLAR_ONLY_IF_VERSION, &other), CELLAR_CONFLICT);
        side_fence(&a);
        T_CHECK(side_has(&a, "k", "3"));
        if (raw) {
            T_CHECK(engine_ask(&server, "SET app:users:k foreign") != NULL);
            T_EQ_I64(set_if(&a, "5", CELLAR_ONLY_IF_VERSION, &version), CELLAR_CONFLICT);
        }
        T_EQ_I64(set_if(&a, "6", CELLAR_ONLY_IF_PRESENT, &version), CELLAR_OK);
        side_fence(&b);
        T_CHECK(side_has(&b, "k", "6") && (!raw || server_has("k", "6")));
        cellar_delete_opts d = { .struct_size = sizeof d, .if_version = other };
        T_EQ_I64(cellar_delete_with(b.users, "k", 1, &d), CELLAR_CONFLICT);
        d.if_version = version;
        T_EQ_I64(cellar_delete_with(b.users, "k", 1, &d), CELLAR_OK);
        T_CHECK(server_has("k", NULL));
        T_EQ_I64(side_set(&a, "k", "7"), CELLAR_OK);
        T_EQ_I64(cellar_clear(a.users), CELLAR_OK);
        T_EQ_I64(set_if(&a, "8", CELLAR_ONLY_IF_ABSENT, &version), CELLAR_OK); /* a dead value */
        side_fence(&b);
        T_CHECK(side_has(&b, "k", "8"));
        left_close();
    }
}

T_CASE_ON(condition_over_a_list_is_a_type_error, RAW)
{
    uint64_t version = 0;
    T_CHECK(engine_ask(&server, "LPUSH app:users:k x") != NULL);
    T_EQ_I64(set_if(&a, "7", CELLAR_ONLY_IF_ABSENT, &version), CELLAR_E_TYPE);
}

T_CASE_ON(version_of_a_get_is_that_of_the_server, RAW)
{
    char got[8];
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

T_CASE_ON(updates_of_processes_and_other_clients_lose_nothing, RAW)
{
    pthread_t t;
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

T_CASE_ON(full_server_refuses_conditions_and_keeps_values, RAW)
{
    uint64_t version = 0;
    int64_t now = 0;
    T_CHECK(engine_ask(&server, "MSET app:users:n 1 app:users:k 1") != NULL);
    T_CHECK(engine_ask(&server, "CONFIG SET maxmemory 1") != NULL);
    T_EQ_I64(raw_add(&a, 1, 0, 0, 0, &now), CELLAR_E_SPACE);
    T_EQ_I64(set_if(&a, "2", CELLAR_ONLY_IF_PRESENT, &version), CELLAR_E_SPACE);
    T_CHECK(server_has("n", "1") && server_has("k", "1"));
    T_CHECK(engine_ask(&server, "CONFIG SET maxmemory 0") != NULL);
    T_EQ_I64(raw_add(&a, 1, 0, 0, 0, &now), CELLAR_OK);
}

T_CASE(conditions_need_through)
{
    int64_t now = 0;
    uint64_t version = 0;
    cellar_remote_namespace_config o = { .struct_size = sizeof o, .write = CELLAR_REMOTE_BEHIND };
    raw_open(&o);
    T_EQ_I64(raw_add(&a, 1, 0, 0, 0, &now), CELLAR_E_UNSUPPORTED);
    T_EQ_I64(set_if(&a, "1", CELLAR_ONLY_IF_ABSENT, &version), CELLAR_E_UNSUPPORTED);
    T_CHECK(server_has("n", NULL) && server_has("k", NULL));
}

T_MAIN("remote_counter")
