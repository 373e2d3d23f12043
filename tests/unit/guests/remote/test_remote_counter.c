/* SPDX-License-Identifier: MIT
 *
 * Aim:    shared counters: no increment is lost, refused or counted twice over processes; no call
 *         without an answer removes a counter; an ended counter begins again.
 * Method: two sides stand for two processes. Their threads count each code of cellar_increment:
 *         acknowledged <= counter <= acknowledged + those without an answer. The server stands still, or a proxy holds the
 *         requests of one call and then cuts the link, so that they never arrive.
 * SIZE    T_SCALE=n: n times the increments. 10: 16 callers x 500. */
#include <signal.h>

#include "cellar_entry.h"
#include "cellar_invalidate.h"
#include "tests/support/byte_proxy.h"
#include "tests/support/counter.h"
#include "tests/support/two_sides.h"

#define KEY "n", 1

static int64_t counted(const side *s)
{
    int64_t n = -1;
    T_EQ_I64(cellar_increment(s->users, KEY, 0, 0, COUNTER_PRESENT, &n), CELLAR_OK);
    return n;
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

T_CASE(increments_of_16_callers_are_exact_and_never_busy)
{
    both_open(NULL);
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
    side_fence(&a);
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

T_CASE(value_of_8_bytes_becomes_a_counter_and_keeps_tags_flags_and_ttl)
{
    const cellar_bytes tag = { "t", 1 };
    const int64_t seven = 7;
    cellar_set_opts o = { .struct_size = sizeof o, .tags = &tag, .tag_count = 1, .user_flags = 9,
                          .ttl_ms = 600000 };
    both_open(NULL);
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

T_CASE(counter_of_an_ended_tag_generation_or_ttl_begins_again)
{
    const cellar_bytes tag = { "t", 1 };
    cellar_set_opts o = { .struct_size = sizeof o, .tags = &tag, .tag_count = 1 };
    int64_t now;
    both_open(NULL);
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

T_CASE(shared_counter_at_the_limits_of_int64_is_exact)
{
    int64_t now;
    both_open(NULL);
    T_EQ_I64(add(&a, INT64_MAX - 2, 0), INT64_MAX - 2);
    T_EQ_I64(add(&b, 1, 0), INT64_MAX - 1);
    T_EQ_I64(cellar_increment(a.users, KEY, 5, 0, NULL, &now), CELLAR_E_RANGE);
    T_EQ_I64(now, INT64_MAX);
    T_EQ_I64(add(&b, INT64_MIN, 0), -1);
    T_EQ_I64(cellar_increment(b.users, KEY, INT64_MIN, 0, NULL, &now), CELLAR_E_RANGE);
    T_EQ_I64(now, INT64_MIN);
    T_CHECK(cellar_delete(a.users, KEY) >= 0);
    T_EQ_I64(cellar_increment(a.users, KEY, 1, INT64_MAX, NULL, &now), CELLAR_E_RANGE);
    T_EQ_I64(counted(&b), INT64_MAX);
}

T_CASE(value_that_is_no_counter_is_a_type_error_and_stays)
{
    int64_t now = 77;
    both_open(NULL);
    T_CHECK(side_set(&a, "n", "text") == CELLAR_OK);
    T_EQ_I64(cellar_increment(b.users, KEY, 1, 0, NULL, &now), CELLAR_E_TYPE);
    T_CHECK(side_has(&b, "n", "text"));
    T_CHECK(engine_ask(&server, "SET app:users:n foreign") != NULL);
    T_EQ_I64(cellar_increment(b.users, KEY, 1, 0, NULL, &now), CELLAR_E_TYPE);
    const redisReply *got = engine_ask(&server, "GET app:users:n");
    T_CHECK(got != NULL && got->type == REDIS_REPLY_STRING && strcmp(got->str, "foreign") == 0);
}

/* ---- No answer ------------------------------------------------------------------------------- */

static byte_proxy proxy;

/* Open `a` behind a proxy, and `b` on the server. */
static void proxy_open(void)
{
    const cellar_remote_config ro = { .struct_size = sizeof ro, .io_ms = 100, .proof_ms = 60000 };
    T_REQUIRE(engine_start(&server, NULL));
    byte_proxy_open(&proxy, server.dir, server.socket);
    side_open(&a, proxy.path, &ro, NULL);
    side_open(&b, server.socket, NULL, NULL);
    both_fence();
}

static void proxy_hold(bool hold)
{
    for (uint32_t i = 0; i < atomic_load(&proxy.lines); i++) {
        if (!hold) { byte_proxy_cut(&proxy.line[i]); }
        atomic_store(&proxy.line[i].way[0].frozen, hold);
    }
}

/* Cut the link with what it holds, and wait until the journal of `a` is sent. */
static void proxy_cut(void)
{
    const uint64_t gaps = side_stats(&a).gaps;
    proxy_hold(false);
    for (cellar_remote_stats s = side_stats(&a);
         s.gaps == gaps || s.state != CELLAR_REMOTE_PROVEN || s.journal_keys != 0;
         s = side_stats(&a)) {
        engine_pause_ms(1);
    }
    both_fence();
}

static void proxy_close(void)
{
    side_close(&a);
    side_close(&b);
    byte_proxy_close(&proxy);
    engine_stop(&server);
}

T_CASE(increment_or_touch_without_an_answer_leaves_the_counter)
{
    int64_t now;
    proxy_open();
    T_EQ_I64(add(&a, 5, 0), 5);
    proxy_hold(true);
    T_EQ_I64(cellar_increment(a.users, KEY, 1, 0, NULL, &now), CELLAR_E_TIMEOUT);
    T_EQ_U64(side_stats(&a).journal_keys, 0);
    proxy_cut();
    T_EQ_I64(counted(&a), 5);
    T_EQ_I64(counted(&b), 5);
    proxy_close();
}

static const cellar_set_opts replace = { .struct_size = sizeof replace,
                                         .flags = CELLAR_REPLACE };

static cellar_err hold_and_append(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)ctx;
    proxy_hold(true);
    if (old_len != 0) { (void)cellar_buf_append(out, old, old_len); }
    return cellar_buf_append(out, "x", 1);
}

static cellar_err hold_and_keep(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    (void)ctx;
    proxy_hold(true);
    return cellar_buf_append(out, old, old_len);
}

T_CASE(update_without_an_answer_ends_the_state_that_it_read_and_no_other)
{
    proxy_open();
    T_CHECK(side_set(&a, "k", "old") == CELLAR_OK);
    T_EQ_I64(cellar_update(a.users, "k", 1, &replace, hold_and_append, NULL), CELLAR_DEFERRED);
    proxy_cut();
    T_CHECK(side_has(&a, "k", NULL) && side_has(&b, "k", NULL));
    T_CHECK(side_set(&a, "k", "old") == CELLAR_OK);
    T_EQ_I64(cellar_update(a.users, "k", 1, &replace, hold_and_append, NULL), CELLAR_DEFERRED);
    T_CHECK(side_set(&b, "k", "new") == CELLAR_OK);
    proxy_cut();
    T_CHECK(side_has(&a, "k", "new") && side_has(&b, "k", "new"));
    proxy_close();
}

T_CASE(update_without_an_answer_leaves_a_counter)
{
    proxy_open();
    T_EQ_I64(add(&b, 5, 0), 5);
    T_CHECK(cellar_update(a.users, KEY, &replace, hold_and_keep, NULL) == CELLAR_DEFERRED);
    proxy_cut();
    T_EQ_I64(counted(&b), 5);
    proxy_close();
}

T_MAIN("remote_counter")
