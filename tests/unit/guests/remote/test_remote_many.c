/* SPDX-License-Identifier: MIT
 *
 * Aim:    cellar_get_many on a shared namespace asks the server once for all keys that memory does
 *         not have; a close leaves nothing behind. Lost connections: test_remote_cuts.
 * Method: two stores stand for two processes; redis-server is real and counts what it reads. Side
 *         `a` is behind a proxy that holds or cuts the answers. */
#include "cellar_invalidate.h"
#include "cellar_load.h"
#include "tests/support/two_sides.h"

#define MANY 128u

static char key[MANY][640], value[MANY][32];
static cellar_get_item item[MANY];

/* Open both sides, of which `a` has a proxy and this io_ms. */
static void many_open(bool raw, int64_t io_ms)
{
    const cellar_remote_config ro = { .struct_size = sizeof ro, .proof_ms = 60000, .io_ms = io_ms };
    const cellar_remote_namespace_config o = side_raw(raw);
    both_open_far(&ro, &o);
    T_CHECK(side_set(&b, "first", "1") == CELLAR_OK); /* it makes the generation */
    side_fence(&a);
}

/* Set all keys by `b`: plain ones, one that is not printable, one with a digest. */
static void set_all(const cellar_bytes *tag)
{
    cellar_set_opts o = { .struct_size = sizeof o, .tags = tag, .tag_count = tag != NULL ? 1 : 0 };
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(key[i], sizeof key[i], i == 5 ? "\n%0600u" : i == 6 ? "\n%u" : "%u", i);
        T_CHECK(cellar_set(b.users, key[i], strlen(key[i]), key[i], 1, &o) == CELLAR_OK);
    }
    side_fence(&a);
}

/* Get all keys by `a`, and check the values. Return the hits. */
static size_t get_all(void)
{
    size_t hits = 0, right = 0;
    for (unsigned i = 0; i < MANY; i++) {
        item[i] = (cellar_get_item){ .key = key[i], .key_len = strlen(key[i]), .buf = value[i],
                                     .buf_cap = sizeof value[i] };
    }
    T_CHECK(cellar_get_many(a.users, item, MANY, &hits) == CELLAR_OK);
    for (unsigned i = 0; i < MANY; i++) {
        T_CHECK(item[i].status == CELLAR_OK || item[i].status == CELLAR_MISS);
        if (item[i].status != CELLAR_OK) { continue; }
        right++;
        T_CHECK(item[i].value_len == 1 && value[i][0] == key[i][0]);
    }
    T_EQ_U64(right, hits);
    return hits;
}

static uint64_t server_reads(void)
{
    return engine_told(&server, "stats", "total_reads_processed:");
}

static uint64_t server_gets(void)
{
    return engine_told(&server, "commandstats", "cmdstat_get:calls=");
}

/* Reads of the server that are not for the keys: INFO, a marker. */
#define READS_BESIDE 8u

T_CASE(keys_of_one_call_take_one_round_trip)
{
    for (int i = 0; i < 2; i++) {
        many_open(i == 1, 10000);
        set_all(NULL);
        const uint64_t gets = server_gets(), reads = server_reads();
        T_CHECK(reads > 0);
        T_EQ_U64(get_all(), MANY);
        T_EQ_U64(server_gets() - gets, MANY);
        T_CHECK(server_reads() - reads <= READS_BESIDE);
        const uint64_t asked = side_stats(&a).gets;
        T_EQ_U64(asked, MANY);
        T_EQ_U64(side_stats(&a).hits, MANY);
        T_EQ_U64(get_all(), MANY); /* in memory, but for the key with a digest */
        T_EQ_U64(side_stats(&a).gets, asked + 1);
        left_close();
    }
}

T_CASE(unknown_number_of_a_tag_is_read_once)
{
    const cellar_bytes tag = { "news", 4 };
    many_open(false, 10000);
    set_all(&tag);
    const uint64_t reads = server_reads();
    T_EQ_U64(get_all(), MANY);
    T_CHECK(server_reads() - reads <= READS_BESIDE + 4);
    T_CHECK(cellar_delete_by_tag(b.users, "news", 4, CELLAR_TAG_HARD) == CELLAR_OK);
    side_fence(&a);
    T_EQ_U64(get_all(), 0);
}

static cellar_err load_no_more(cellar_load *ld, const cellar_bytes *keys, size_t count, void *ctx)
{
    (void)ld, (void)keys, (void)ctx;
    T_EQ_U64(count, 0);
    return CELLAR_E_IO;
}

T_CASE(bulk_load_finds_values_of_any_length_together)
{
    static cellar_load_item it[MANY];
    static cellar_result r[MANY];
    static char text[2000];
    many_open(false, 10000);
    set_all(NULL);
    memset(text, 'x', sizeof text);
    for (unsigned i = 0; i < MANY; i++) {
        if (i % 2 != 0) {
            T_CHECK(cellar_set(b.users, key[i], strlen(key[i]), text, 512 + i, NULL) == CELLAR_OK);
        }
        r[i] = cellar_result_default();
        it[i] = (cellar_load_item){ .key = key[i], .key_len = strlen(key[i]), .result = &r[i] };
    }
    side_fence(&a);
    const uint64_t reads = server_reads();
    T_EQ_I64(cellar_get_or_load_many(a.users, it, MANY, NULL, load_no_more, NULL), CELLAR_OK);
    T_CHECK(server_reads() - reads <= 2 * MANY / 32 + READS_BESIDE);
    for (unsigned i = 0; i < MANY; i++) {
        T_EQ_I64(it[i].status, CELLAR_OK);
        T_EQ_U64(r[i].value_len, i % 2 != 0 ? 512 + i : 1);
        T_EQ_MEM(r[i].value, i % 2 != 0 ? text : key[i], r[i].value_len);
        cellar_result_free(&r[i]);
    }
}

static void *get_in_thread(void *hits)
{
    *(size_t *)hits = get_all();
    return NULL;
}

/* Hold the answers of the server and begin a get of all keys. Return when the server has executed
 * all requests, or false after `most_ms`. */
static bool get_begin(pthread_t *thread, size_t *hits, byte_proxy_way *answers, int64_t most_ms)
{
    const int64_t end_ms = engine_now_ms() + most_ms;
    const uint64_t gets = server_gets();
    atomic_store(&answers->frozen, true);
    T_REQUIRE(pthread_create(thread, NULL, get_in_thread, hits) == 0);
    while (server_gets() < gets + MANY && engine_now_ms() < end_ms) { engine_pause_ms(2); }
    return server_gets() == gets + MANY;
}

/* Return what the server sends to `a` as answers: its first connection. */
static byte_proxy_way *answers_of_a(void)
{
    const uint32_t lines = atomic_load(&proxy.lines);
    T_REQUIRE(lines >= 2);
    return &proxy.line[lines - 2].way[1];
}

T_CASE(close_waits_for_the_request)
{
    pthread_t thread;
    size_t hits = 1;
    byte_proxy_way *answers;
    for (int64_t io_ms = 200;; io_ms *= 2) { /* until all are sent within it */
        many_open(false, io_ms);
        set_all(NULL);
        answers = answers_of_a();
        if (get_begin(&thread, &hits, answers, io_ms)) { break; }
        T_REQUIRE(io_ms < 5000 && pthread_join(thread, NULL) == 0);
        left_close();
    }
    left_drop(&a);
    cellar_remote_close(a.r);
    T_EQ_I64(pthread_join(thread, NULL), 0);
    T_EQ_U64(hits, 0);
    atomic_store(&answers->frozen, false);
    T_EQ_U64(get_all(), 0);
    T_CHECK(cellar_namespace_close(a.users) == CELLAR_OK && cellar_close(a.store) == CELLAR_OK);
}

/* It costs one io_ms, not one for each key. */
T_CASE(call_of_many_keys_waits_once_for_a_frozen_server)
{
    many_open(false, 200);
    set_all(NULL);
    const uint64_t timeouts = side_stats(&a).timeouts;
    engine_signal(&server, SIGSTOP);
    T_EQ_U64(get_all(), 0);
    T_EQ_U64(side_stats(&a).timeouts, timeouts + 1);
    engine_signal(&server, SIGCONT);
}

T_CASE(deferred_deletes_are_misses_without_the_server)
{
    many_open(false, 300);
    cellar_get_item it[2];
    const char *const names[] = { "x", "y" };
    for (int i = 0; i < 2; i++) { T_CHECK(side_set(&b, names[i], "old") == CELLAR_OK); }
    engine_signal(&server, SIGSTOP);
    for (int i = 0; i < 2; i++) {
        T_CHECK(side_set(&a, names[i], "new") == CELLAR_DEFERRED);
        it[i] = (cellar_get_item){ .key = names[i], .key_len = 1, .buf = value[i], .buf_cap = 8 };
    }
    /* The request of the journal times out, too: once in five calls. One of the call would each
     * time. */
    uint64_t before = 0, after = 1;
    for (int i = 0; i < 5 && after != before; i++) {
        before = side_stats(&a).timeouts;
        T_CHECK(cellar_get_many(a.users, it, 2, NULL) == CELLAR_OK);
        T_CHECK(it[0].status == CELLAR_MISS && it[1].status == CELLAR_MISS);
        after = side_stats(&a).timeouts;
    }
    T_EQ_U64(after, before);
    engine_signal(&server, SIGCONT);
}

T_MAIN("remote_many")
