/* SPDX-License-Identifier: MIT
 *
 * Aim:    a shared namespace reads through, writes through, hears others, and ends what they end.
 *         A lost control key revives nothing. What the server did not confirm is deleted later.
 * Method: two stores in this process stand for two processes; redis-server is real; a fence, never
 *         a pause, comes before each look. T_SCALE=n: control keys are lost n times as often. */
#include "cellar_entry.h"
#include "cellar_invalidate.h"
#include "cellar_load.h"
#include "cellar_observe.h"
#include "remote/share.h"
#include "tests/support/two_sides.h"

T_CASE_ON(change_by_another_client_is_heard, BOTH_SIDES)
{
    T_CHECK(side_set(&a, "k", "1") == CELLAR_OK && side_set(&a, "l\n", "1") == CELLAR_OK);
    T_CHECK(side_has(&b, "k", "1") && side_has(&b, "l\n", "1"));
    T_EQ_I64(engine_number(engine_ask(&server, "DEL app:users:k app:users:#x6c0a")), 2);
    side_fence(&a);
    side_fence(&b);
    T_CHECK(side_has(&a, "k", NULL) && side_has(&b, "k", NULL) && side_has(&b, "l\n", NULL));
    T_CHECK(side_set(&a, "k", "2") == CELLAR_OK);
    T_CHECK(engine_ask(&server, "FLUSHALL") != NULL);
    side_fence(&a);
    T_CHECK(side_has(&a, "k", NULL));
    T_CHECK(side_set(&a, "k", "3") == CELLAR_OK);
    side_fence(&b); /* also of the flush and of the new generation */
    T_CHECK(side_has(&b, "k", "3"));
}

/* Copy what the server has of a key, of any type. */
static size_t dump_of(const char *key, char *to, size_t cap)
{
    const redisReply *r = engine_ask(&server, "DUMP app:users:%s", key);
    if (r == NULL || r->type != REDIS_REPLY_STRING || r->len > cap) { return 0; }
    memcpy(to, r->str, r->len);
    return r->len;
}

/* Let a key be one of another program: text of `len` bytes; 0: a list; -1: a newer envelope. */
static void foreign_make(const char *key, int len)
{
    char bytes[200];
    memset(bytes, 'x', sizeof bytes);
    T_CHECK(engine_ask(&server, "DEL app:users:%s", key) != NULL);
    if (len > 0) {
        T_CHECK(engine_ask(&server, "SET app:users:%s %b", key, bytes, (size_t)len) != NULL);
    } else if (len == 0) {
        T_CHECK(engine_ask(&server, "LPUSH app:users:%s x", key) != NULL);
    } else {
        T_CHECK(side_set(&b, key, "v") == CELLAR_OK);
        T_CHECK(engine_ask(&server, "SETRANGE app:users:%s 3 \x7f", key) != NULL);
    }
    side_fence(&a);
}

/* Fulfill a lease. */
static cellar_err lease_own(const char *key, uint32_t flags)
{
    cellar_lease lease;
    const cellar_load_opts o = { .struct_size = sizeof o, .flags = flags };
    T_EQ_I64(side_acquire(&a, key, &o, &lease, NULL), CELLAR_LEASED);
    return cellar_lease_fulfill(a.users, &lease, "own", 3, NULL);
}

static cellar_err update_own(const void *old, size_t len, cellar_buf *out, void *ctx)
{
    (void)ctx;
    T_CHECK(old == NULL && len == 0);
    return cellar_buf_append(out, "own", 3);
}

/* The calls that run a loader, each without and with a refresh, and those with a condition. */
enum { LOADS = 6, CONDITIONS = 4 };

static cellar_err own_by(size_t way, const char *key)
{
    const uint32_t flags = way % 2 != 0 ? CELLAR_LOAD_REFRESH : 0;
    void *old = NULL;
    size_t old_len = 0;
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_ONLY_IF_ABSENT };
    cellar_delete_opts d = { .struct_size = sizeof d, .old_value = &old,
                             .old_value_len = &old_len };
    switch (way) {
    case 0: case 1: return side_load(&a, key, "own", flags);
    case 2: case 3: return side_load_many(&a, key, "own", flags);
    case 4: case 5: return lease_own(key, flags);
    case 6: return cellar_set(a.users, key, strlen(key), "own", 3, &o);
    case 7: return cellar_update(a.users, key, strlen(key), NULL, update_own, NULL);
    case 8: return cellar_increment(a.users, key, strlen(key), 1, 0, NULL, NULL);
    default: return cellar_delete_with(a.users, key, strlen(key), &d);
    }
}

/* Loads run, and leave the value and no lease; a call with a condition is a type error. */
T_CASE_ON(value_of_another_program_is_not_overwritten, BOTH_SIDES)
{
    static const int lens[] = { 2, 48, 49, 55, 56, 200, 0, -1 };
    const size_t count = sizeof lens / sizeof lens[0];
    char before[512], after[512];
    for (size_t i = 0; i < (LOADS + CONDITIONS) * count && !t_failed(); i++) {
        const int len = lens[i % count];
        const size_t way = i / count;
        foreign_make("k", len);
        const size_t size = dump_of("k", before, sizeof before);
        const uint64_t gets = side_stats(&a).gets;
        T_EQ_I64(own_by(way, "k"), way < LOADS ? CELLAR_OK : CELLAR_E_TYPE);
        T_CHECK(way < LOADS || side_stats(&a).gets <= gets + 2);
        if (way < 4) { T_EQ_STR(side_loaded.text, "own"); }
        T_CHECK(size != 0 && dump_of("k", after, sizeof after) == size);
        T_EQ_MEM(after, before, size);
        side_sent(&a);
        T_EQ_I64(engine_number(engine_ask(&server, "EXISTS ~app:lease:users:k")), 0);
        if (t_failed()) { printf("# value %d, way %zu\n", len, way); }
    }
    T_CHECK(side_stats(&a).foreign >= 3 && side_stats(&a).newer >= 1);
    T_CHECK(side_set(&a, "k", "2") == CELLAR_OK); /* a set replaces it */
    side_fence(&b);
    T_CHECK(side_has(&b, "k", "2"));
}

T_CASE(value_above_the_limit_of_the_store_is_a_miss)
{
    enum { LIMIT = 1000 };
    cellar_tuning_config tuning = { .struct_size = sizeof tuning, .max_value_bytes = LIMIT };
    cellar_config cfg = cellar_config_default();
    cfg.tuning = &tuning;
    for (int raw = 0; raw < 2; raw++) {
        const cellar_remote_namespace_config o = side_raw(raw);
        char value[LIMIT + 1], got[LIMIT + 1];
        size_t len = 0;
        memset(value, 'x', sizeof value);
        T_REQUIRE(engine_start(&server, NULL));
        side_open_own(&a, server.socket, &(side_own){ .store = &cfg, .o = &o });
        side_open(&b, server.socket, NULL, &o);
        both_fence();
        T_EQ_I64(cellar_set(b.users, "fits", 4, value, LIMIT, NULL), CELLAR_OK);
        T_EQ_I64(cellar_set(b.users, "k", 1, value, LIMIT + 1, NULL), CELLAR_OK);
        both_fence();
        T_EQ_I64(cellar_get(a.users, "fits", 4, got, sizeof got, &len), CELLAR_OK);
        T_EQ_I64(cellar_get(a.users, "k", 1, got, sizeof got, &len), CELLAR_MISS);
        T_EQ_U64(side_stats(&a).too_big, 1);
        T_EQ_I64(cellar_get(b.users, "k", 1, got, sizeof got, &len), CELLAR_OK);
        for (size_t way = 0; way < LOADS; way++) { /* a load does not replace it */
            T_EQ_I64(own_by(way, "k"), CELLAR_OK);
            T_CHECK(way >= 4 || strcmp(side_loaded.text, "own") == 0);
            side_fence(&b);
            T_EQ_I64(cellar_get(b.users, "k", 1, got, sizeof got, &len), CELLAR_OK);
            T_EQ_U64(len, LIMIT + 1);
            T_EQ_I64(cellar_set(b.users, "k", 1, value, LIMIT + 1, NULL), CELLAR_OK);
            side_fence(&a);
        }
        T_EQ_I64(cellar_set(a.users, "k", 1, value, LIMIT + 1, NULL), CELLAR_E_TOOBIG);
        T_EQ_I64(cellar_set(b.users, "k", 1, value, LIMIT + 1, NULL), CELLAR_OK);
        both_fence();
        if (raw) { /* an update, and a delete that returns the value */
            T_EQ_I64(own_by(LOADS + 1, "k"), CELLAR_E_TOOBIG);
            T_EQ_I64(own_by(LOADS + 3, "k"), CELLAR_E_TOOBIG);
            T_EQ_I64(cellar_value_damaged(a.users, "k", 1, value, LIMIT), CELLAR_MISS);
            T_EQ_I64(cellar_touch(a.users, "k", 1, 60000), CELLAR_OK);
        }
        T_EQ_I64(own_by(LOADS, "k"), raw ? CELLAR_EXISTS : CELLAR_OK);
        side_fence(&b);
        T_EQ_I64(cellar_get(b.users, "k", 1, got, sizeof got, &len), CELLAR_OK);
        T_EQ_U64(len, raw ? LIMIT + 1 : 3);
        left_close();
    }
}

/* A condition counts a value in its stale window as none: behind its TTL, and by a tag. */
T_CASE_ON(condition_replaces_a_stale_value, BOTH_SIDES)
{
    const cellar_bytes tag = { "t", 1 };
    cellar_set_opts o = { .struct_size = sizeof o, .stale_ms = 60000, .tags = &tag,
                          .tag_count = 1 };
    for (size_t i = 0; i < 2 * CONDITIONS; i++) {
        const size_t way = LOADS + i / 2;
        o.ttl_ms = i % 2 != 0 ? 1 : 60000;
        T_EQ_I64(cellar_set(b.users, "k", 1, "old", 3, &o), CELLAR_OK);
        T_EQ_I64(cellar_delete_by_tag(b.store, "t", 1, CELLAR_TAG_SOFT), CELLAR_OK);
        both_fence();
        while (!side_has(&a, "k", NULL)) { engine_pause_ms(1); }
        T_EQ_I64(own_by(way, "k"), way == LOADS + 3 ? CELLAR_MISS : CELLAR_OK);
    }
}

static cellar_err update_never(const void *old, size_t len, cellar_buf *out, void *ctx)
{
    (void)old, (void)len, (void)out, (void)ctx;
    T_CHECK(!"called");
    return CELLAR_OK;
}

/* An error of the server says nothing about the key. */
T_CASE(condition_fails_with_an_error_of_the_server)
{
    const cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_ONLY_IF_PRESENT };
    for (int i = 0; i < 6; i++) {
        const cellar_remote_namespace_config mode = side_raw(i >= 3);
        both_open(&mode);
        T_EQ_I64(side_set(&a, "k", "old"), CELLAR_OK);
        T_CHECK(engine_ask(&server, "ACL SETUSER default resetkeys %%W~app:users:k ~app:~* "
                                    "~~app:*") != NULL);
        const cellar_err err =
            i % 3 == 0   ? cellar_touch(a.users, "k", 1, 60000)
            : i % 3 == 1 ? cellar_set(a.users, "k", 1, "new", 3, &o)
                         : cellar_update(a.users, "k", 1, NULL, update_never, NULL);
        T_EQ_I64(err, CELLAR_E_IO);
        left_close();
    }
}

/* Delete the key when the function has its value: the next round finds none. */
static cellar_err update_lost(const void *old, size_t len, cellar_buf *out, void *ctx)
{
    (void)len, (void)ctx;
    if (old != NULL) { T_EQ_I64(engine_number(engine_ask(&server, "DEL app:users:k")), 1); }
    return cellar_buf_append(out, "new", 3);
}

T_CASE_ON(value_behind_a_lost_one_has_no_window_of_it, BOTH_SIDES)
{
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 60000, .stale_ms = 60000 };
    T_EQ_I64(cellar_set(a.users, "k", 1, "old", 3, &o), CELLAR_OK);
    o.flags = CELLAR_KEEP_TTL;
    o.stale_ms = 0; /* none */
    T_EQ_I64(cellar_update(a.users, "k", 1, &o, update_lost, NULL), CELLAR_OK);
    T_CHECK(engine_number(engine_ask(&server, "PTTL app:users:k")) <= 60000);
}

/* Share another namespace of a side. */
static cellar *share_more(const side *s, const cellar_namespace_config *o)
{
    cellar *c = NULL;
    T_REQUIRE(cellar_namespace_open(s->store, "more", o, &c) == CELLAR_OK);
    T_REQUIRE(cellar_remote_attach(s->r, c, NULL) == CELLAR_OK);
    T_REQUIRE(side_proven(s));
    side_fence(s);
    return c;
}

T_CASE_ON(version_from_before_the_attach_ends_nothing_on_the_server, BOTH_SIDES)
{
    const cellar_namespace_config second = { .struct_size = sizeof second, .version = 2 };
    char got[8];
    cellar *const first = share_more(&a, NULL);
    T_EQ_I64(cellar_set(first, "k", 1, "1", 1, NULL), CELLAR_OK);
    cellar *const later = share_more(&b, &second);
    T_EQ_I64(cellar_get_str(later, "k", got, sizeof got), CELLAR_OK);
    T_EQ_I64(cellar_version_set(later, 2, NULL), CELLAR_OK);
    side_fence(&a);
    T_EQ_I64(cellar_get_str(first, "k", got, sizeof got), CELLAR_MISS);
    T_EQ_I64(cellar_namespace_close(first), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(later), CELLAR_OK);
}

T_CASE_ON(dropped_namespace_keeps_its_values_and_its_name_on_the_server, BOTH_SIDES)
{
    cellar *again = NULL;
    T_EQ_I64(side_set(&a, "k", "1"), CELLAR_OK);
    T_EQ_I64(cellar_namespace_drop(a.store, "users"), CELLAR_OK);
    T_CHECK(side_has(&b, "k", "1"));
    T_REQUIRE(cellar_namespace_open(a.store, "users", NULL, &again) == CELLAR_OK);
    T_EQ_I64(cellar_remote_attach(a.r, again, NULL), CELLAR_E_BUSY);
    T_EQ_I64(cellar_namespace_close(again), CELLAR_OK);
}

/* One namespace of a remote hears of a tag for the whole store. The first one may be gone. */
T_CASE_ON(tag_is_heard_behind_a_drop_of_the_first_namespace, BOTH_SIDES)
{
    const cellar_bytes tag = { "t", 1 };
    const cellar_set_opts o = { .struct_size = sizeof o, .tags = &tag, .tag_count = 1 };
    char got[2];
    size_t len;
    cellar *more = NULL;
    T_REQUIRE(cellar_namespace_open(a.store, "more", NULL, &more) == CELLAR_OK);
    T_REQUIRE(cellar_remote_attach(a.r, more, NULL) == CELLAR_OK);
    T_EQ_I64(cellar_namespace_drop(a.store, "users"), CELLAR_OK);
    T_REQUIRE(side_proven(&a));
    side_fence(&a);
    T_EQ_I64(cellar_set(more, "k", 1, "1", 1, &o), CELLAR_OK);
    T_EQ_I64(cellar_get(more, "k", 1, got, sizeof got, &len), CELLAR_OK);
    T_EQ_I64(cellar_delete_by_tag(b.store, "t", 1, CELLAR_TAG_HARD), CELLAR_OK);
    side_fence(&a);
    T_EQ_I64(cellar_get(more, "k", 1, got, sizeof got, &len), CELLAR_MISS);
    T_EQ_I64(cellar_namespace_close(more), CELLAR_OK);
}

/* Nothing is heard behind the close of the remote: memory answers in no mode. */
T_CASE(nothing_is_in_memory_behind_the_close_of_the_remote)
{
    for (int mode = CELLAR_REMOTE_MISS; mode <= CELLAR_REMOTE_TRUST; mode++) {
        const cellar_remote_namespace_config o = { .struct_size = sizeof o,
                                                   .offline = (cellar_remote_offline)mode };
        both_open(&o);
        T_EQ_I64(side_set(&a, "k", "1"), CELLAR_OK);
        T_CHECK(side_has(&a, "k", "1"));
        cellar_remote_close(a.r);
        a.r = NULL;
        T_EQ_I64(side_set(&b, "k", "2"), CELLAR_OK);
        T_CHECK(side_has(&a, "k", NULL));
        T_EQ_I64(side_load(&a, "l", "own", 0), CELLAR_OK);
        T_CHECK(side_has(&a, "l", NULL));
        T_EQ_I64(side_load_many(&a, "m", "own", 0), CELLAR_OK);
        T_CHECK(side_has(&a, "m", NULL));
        T_EQ_I64(lease_own("n", 0), CELLAR_OK);
        T_CHECK(side_has(&a, "n", NULL));
        T_EQ_I64(side_set(&a, "k", "3"), CELLAR_E_CLOSED);
        T_CHECK(side_has(&a, "k", NULL));
        left_close();
    }
}

static char saved[512];
static size_t saved_len;

static void bytes_save(const char *name)
{
    const redisReply *r = engine_ask(&server, "GET %s", name);
    T_REQUIRE(r != NULL && r->type == REDIS_REPLY_STRING && r->len <= sizeof saved);
    memcpy(saved, r->str, r->len);
    saved_len = r->len;
}

/* Bring the bytes of before back, as a late writer or an older replica does. */
static void bytes_bring_back(const char *name)
{
    T_CHECK(engine_ask(&server, "SET %s %b PX 60000", name, saved, saved_len) != NULL);
}

T_CASE(ended_value_stays_dead_without_its_control_keys)
{
    static const char *const lost[] = { "DEL app:~g:users", "DEL app:~t:t", "DEL app:~s:t",
                                        "DEL app:~e", "DEL none", "FLUSHALL" };
    const size_t count = sizeof lost / sizeof *lost;
    for (uint64_t i = 0; i < 2 * count * t_env_u64("T_SCALE", 1) && !t_failed(); i++) {
        side late;
        both_open(NULL);
        T_CHECK(side_set_tagged(&a, "k", "0", "t") == CELLAR_OK); /* makes the key of the tag */
        T_CHECK(side_set_tagged(&a, "k", "1", "t") == CELLAR_OK);
        T_CHECK(side_has(&b, "k", "1"));
        bytes_save("app:users:k");
        const cellar_tag_mode mode = i / count % 2 == 0 ? CELLAR_TAG_HARD : CELLAR_TAG_SOFT;
        cellar *const by = mode == CELLAR_TAG_HARD ? a.users : a.store;
        T_CHECK(cellar_delete_by_tag(by, "t", 1, mode) == CELLAR_OK);
        side_fence(&b);
        T_CHECK(side_has(&a, "k", NULL) && side_has(&b, "k", NULL));
        T_CHECK(engine_ask(&server, lost[i % count]) != NULL);
        bytes_bring_back("app:users:k");
        side_fence(&a);
        side_fence(&b);
        T_CHECK(side_has(&a, "k", NULL) && side_has(&b, "k", NULL));
        side_open(&late, server.socket, NULL, NULL);
        T_CHECK(side_has(&late, "k", NULL));
        T_CHECK(side_set_tagged(&late, "k", "2", "t") == CELLAR_OK);
        T_CHECK(side_set_tagged(&late, "k", "2", "t") == CELLAR_OK);
        side_fence(&b);
        T_CHECK(side_has(&b, "k", "2"));
        side_close(&late);
        left_close();
    }
}

T_CASE(invalidate_keeps_values_out_of_the_server)
{
    cellar_remote_namespace_config o = cellar_remote_namespace_config_default();
    o.write = CELLAR_REMOTE_INVALIDATE;
    both_open(&o);
    T_CHECK(side_set(&a, "k", "1") == CELLAR_OK);
    side_fence(&b); /* a late message would end the value of b */
    T_CHECK(side_set(&b, "k", "2") == CELLAR_OK);
    side_fence(&a);
    T_CHECK(side_has(&a, "k", NULL) && side_has(&b, "k", "2"));
    T_CHECK(cellar_delete(a.users, "k", 1) >= CELLAR_OK);
    side_fence(&b);
    T_CHECK(side_has(&b, "k", NULL));
}

T_CASE_ON(pattern_ends_keys_of_each_spelling, BOTH_SIDES)
{
    T_CHECK(side_set(&a, "u:1", "1") == CELLAR_OK && side_set(&a, "u:\t", "1") == CELLAR_OK);
    T_CHECK(side_set(&a, "v:1", "1") == CELLAR_OK);
    T_CHECK(side_has(&b, "u:1", "1") && side_has(&b, "u:\t", "1") && side_has(&b, "v:1", "1"));
    T_CHECK(cellar_delete_by_pattern(a.users, "u:*", 3, NULL) == CELLAR_OK);
    side_fence(&b);
    T_CHECK(side_has(&a, "u:1", NULL) && side_has(&a, "u:\t", NULL) && side_has(&a, "v:1", "1"));
    T_CHECK(side_has(&b, "u:1", NULL) && side_has(&b, "u:\t", NULL) && side_has(&b, "v:1", "1"));
}

T_CASE(full_journal_ends_the_namespace)
{
    T_REQUIRE(engine_start(&server, NULL));
    cellar_remote_config ro = { .struct_size = sizeof ro, .io_ms = 200, .proof_ms = 60000,
                                .journal_keys = 2 };
    side_open(&a, server.socket, &ro, NULL);
    side_open(&b, server.socket, NULL, NULL);
    T_CHECK(side_set(&b, "1", "v") == CELLAR_OK && side_set(&b, "9", "v") == CELLAR_OK);
    both_fence(); /* a knows the number of the generation that the first set made */
    T_CHECK(side_has(&b, "9", "v"));
    engine_signal(&server, SIGSTOP);
    for (char key[2] = "1"; key[0] < '5'; key[0]++) {
        T_CHECK(cellar_delete(a.users, key, 1) == CELLAR_DEFERRED);
    }
    engine_signal(&server, SIGCONT);
    T_CHECK(side_stats(&a).overflows != 0);
    (void)cellar_remote_fence(a.r, 10000); /* a proof sends the journal */
    side_sent(&a);
    for (int i = 0; i < 2000 && !side_has(&b, "9", NULL); i++) { engine_pause_ms(5); }
    T_CHECK(side_proven(&b));
    side_fence(&b);
    T_CHECK(side_has(&b, "9", NULL) && side_has(&b, "1", NULL));
}

/* A tag that was heard and not read has no number here; one that this process has ended knows one. */
T_CASE_ON(full_server_takes_a_link_back_that_heard_of_tags, BOTH_SIDES)
{
    T_EQ_I64(side_set_tagged(&a, "k", "v", "used"), CELLAR_OK);
    T_EQ_I64(cellar_delete_by_tag(b.users, "heard", 5, CELLAR_TAG_HARD), CELLAR_OK);
    for (int i = 0; i < 4; i++) { /* the first one is heard, the second one has a place */
        both_fence();
        T_EQ_I64(cellar_delete_by_tag(a.users, i < 2 ? "hard" : "soft", 4,
                                      i < 2 ? CELLAR_TAG_HARD : CELLAR_TAG_SOFT), CELLAR_OK);
    }
    T_EQ_I64(engine_number(engine_ask(&server, "DEL app:~t:heard")), 1); /* as by its TTL */
    both_fence();
    T_CHECK(engine_ask(&server, "CONFIG SET maxmemory 1") != NULL);
    const uint64_t gaps = side_stats(&a).gaps;
    T_CHECK(engine_cut(&server, "pubsub") > 0);
    while (side_stats(&a).gaps == gaps) { engine_pause_ms(1); }
    T_CHECK(side_proven(&a));
    T_CHECK(engine_ask(&server, "CONFIG SET maxmemory 0") != NULL);
    T_CHECK(side_proven(&b));
}

/* Return the answer of a get that takes stale values. */
static cellar_err stale_of(const side *s, const char *key, const char *want)
{
    char got[64] = "";
    cellar_get_opts o = { .struct_size = sizeof o, .flags = CELLAR_GET_ALLOW_STALE };
    const cellar_err err = cellar_get_with(s->users, key, strlen(key), &o, got, sizeof got, NULL);
    if (err == CELLAR_OK || err == CELLAR_STALE) { T_EQ_STR(got, want); }
    return err;
}

/* Break all links, run up to 2 commands before they are back, and wait for the proof of a. */
static void gap_with(const char *const *commands)
{
    const uint64_t gaps = side_stats(&a).gaps;
    T_CHECK(engine_ask(&server, "MULTI") != NULL);
    T_CHECK(engine_ask(&server, "CLIENT KILL TYPE normal SKIPME yes") != NULL);
    T_CHECK(engine_ask(&server, "CLIENT KILL TYPE pubsub SKIPME yes") != NULL);
    for (int i = 0; i < 3 && commands[i] != NULL; i++) {
        T_CHECK(engine_ask(&server, commands[i]) != NULL);
    }
    T_CHECK(engine_ask(&server, "EXEC") != NULL);
    while (side_stats(&a).gaps == gaps) { engine_pause_ms(1); }
    T_REQUIRE(side_proven(&a));
    side_fence(&a);
}

T_CASE(stale_values_outlive_a_gap_unless_something_was_cleared)
{
    static const struct {
        cellar_remote_offline offline;
        cellar_remote_values values;
        cellar_err want;
        const char *commands[3];
    } rows[] = {
        { CELLAR_REMOTE_SERVE_STALE, CELLAR_REMOTE_ENVELOPE, CELLAR_STALE, { "DEL app:users:k" } },
        { CELLAR_REMOTE_SERVE_STALE, CELLAR_REMOTE_ENVELOPE, CELLAR_MISS,
          { "INCR app:~e", "COPY app:~e app:~g:users REPLACE" } }, /* a clear */
        { CELLAR_REMOTE_SERVE_STALE, CELLAR_REMOTE_ENVELOPE, CELLAR_MISS,
          { "INCR app:~e", "COPY app:~e app:~t:t REPLACE", "DEL app:users:k" } }, /* of a tag */
        { CELLAR_REMOTE_SERVE_STALE, CELLAR_REMOTE_ENVELOPE, CELLAR_MISS, { "FLUSHALL" } },
        { CELLAR_REMOTE_SERVE_STALE, CELLAR_REMOTE_RAW, CELLAR_MISS, { "DEL app:users:k" } },
        { CELLAR_REMOTE_MISS, CELLAR_REMOTE_ENVELOPE, CELLAR_MISS, { "DEL app:users:k" } },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        cellar_remote_namespace_config o = { .struct_size = sizeof o, .offline = rows[i].offline,
                                             .values = rows[i].values };
        both_open(&o);
        T_CHECK(side_set(&a, "k", "1") == CELLAR_OK && side_has(&a, "k", "1"));
        for (int n = 0; n < 3; n++) { side_fence(&a); } /* the proofs reach the epoch */
        for (int gap = 0; gap < 2; gap++) {
            gap_with(rows[i].commands);
            T_CHECK(side_has(&a, "k", NULL));
            T_EQ_I64(stale_of(&a, "k", "1"), rows[i].want);
        }
        T_CHECK(side_set(&a, "k", "2") == CELLAR_OK && side_has(&a, "k", "2"));
        left_close();
    }
}

static void *get_slowly(void *arg)
{
    (void)side_has(arg, "other", NULL);
    return NULL;
}

static _Atomic bool frozen, waiter_ended;

/* Call again after a late answer, until the server is frozen. */
static void *wait_at_a_frozen_server(void *out)
{
    while (cellar_remote_lock_acquire(a.r, "lock", 4, NULL, out) == CELLAR_E_TIMEOUT &&
           !atomic_load(&frozen)) { }
    atomic_store(&waiter_ended, true);
    return NULL;
}

/* A thread of the parent is inside a call, another one waits for a lock, and the journal has a key:
 * the child has the record of the waiter, but not the thread behind it. */
T_CASE(child_of_a_fork_closes)
{
    cellar_remote_lock lk, other, waited;
    pthread_t t, w;
    cellar_remote_config ro = { .struct_size = sizeof ro, .io_ms = 200, .proof_ms = 60000 };
    T_REQUIRE(engine_start(&server, NULL));
    side_open(&a, server.socket, &ro, NULL);
    for (int i = 0; i < 20; i++) {
        if (cellar_remote_lock_acquire(a.r, "lock", 4, NULL, &lk) == CELLAR_OK) { break; }
    }
    T_CHECK(lk.fence > 0);
    T_REQUIRE(pthread_create(&w, NULL, wait_at_a_frozen_server, &waited) == 0);
    while (atomic_load(&a.r->share->lock_waits) != 1) {
        T_REQUIRE(!atomic_load(&waiter_ended));
        sched_yield();
    }
    engine_signal(&server, SIGSTOP);
    atomic_store(&frozen, true);
    T_EQ_I64(side_set(&a, "k", "1"), CELLAR_DEFERRED);
    const cellar_rule rule = cellar_rule_token_bucket(5, CELLAR_HOUR_NS, 5);
    cellar_remote_limiter *l;
    T_REQUIRE(cellar_remote_limiter_open(a.r, &rule, NULL, &l) == CELLAR_OK);
    T_REQUIRE(pthread_create(&t, NULL, get_slowly, &a) == 0);
    engine_pause_ms(20); /* the more often the thread is inside */
    const pid_t child = fork();
    if (child == 0) {
        (void)alarm(60);
        cellar_remote_stats st = cellar_remote_stats_default();
        T_EQ_I64(cellar_remote_fence(a.r, 10), CELLAR_E_FORKED);
        T_EQ_I64(cellar_remote_stats_get(a.r, &st), CELLAR_E_FORKED);
        T_EQ_I64(cellar_remote_state_get(a.r), CELLAR_REMOTE_DOWN);
        T_EQ_I64(cellar_remote_attach(a.r, a.users, NULL), CELLAR_E_FORKED);
        T_EQ_I64(cellar_remote_lock_acquire(a.r, "lock", 4, NULL, &other), CELLAR_E_FORKED);
        T_EQ_I64(cellar_remote_limiter_check(l, "k", 1, 1, NULL), CELLAR_E_FORKED);
        cellar_remote_limiter_close(l);
        cellar_remote_close(a.r);
        T_EQ_I64(cellar_namespace_close(a.users), CELLAR_OK);
        T_EQ_I64(cellar_close(a.store), CELLAR_OK);
        _exit(t_failed());
    }
    T_EQ_I64(engine_child(child), 0);
    pthread_join(t, NULL);
    engine_signal(&server, SIGCONT);
    cellar_remote_limiter_close(l);
    T_CHECK(side_proven(&a));
    (void)cellar_remote_lock_release(a.r, "lock", 4, &lk); /* the waiter may have given up */
    pthread_join(w, NULL);
}

static void *wait_for_lock(void *out)
{
    T_EQ_I64(cellar_remote_lock_acquire(a.r, "lock", 4, NULL, out), CELLAR_OK);
    return NULL;
}

/* Acquire in the I/O thread the lock for which another thread waits. */
static void acquire_here(const cellar_event *e, void *code)
{
    cellar_remote_lock lk;
    (void)e;
    cellar_lock_opts o = { .struct_size = sizeof o, .wait_timeout_ms = 100 };
    *(cellar_err *)code = cellar_remote_lock_acquire(a.r, "lock", 4, &o, &lk);
}

/* The I/O thread would wait behind the thread that only the I/O thread can wake. */
T_CASE_ON(lock_in_a_callback_of_the_remote_is_refused, BOTH_SIDES)
{
    cellar_remote_lock held, waited;
    cellar_err code = CELLAR_OK;
    uint64_t id;
    pthread_t t;
    T_EQ_I64(cellar_remote_lock_acquire(b.r, "lock", 4, NULL, &held), CELLAR_OK);
    T_EQ_I64(cellar_listener_add(a.users, CELLAR_CAUSE_BIT(REMOTE), acquire_here, &code, &id),
             CELLAR_OK);
    T_CHECK(side_set(&a, "k", "1") == CELLAR_OK && side_has(&a, "k", "1"));
    T_REQUIRE(pthread_create(&t, NULL, wait_for_lock, &waited) == 0);
    while (atomic_load(&a.r->share->lock_waits) != 1) { sched_yield(); }
    T_CHECK(side_set(&b, "k", "2") == CELLAR_OK);
    side_fence(&a);
    T_EQ_I64(code, CELLAR_E_DEADLOCK);
    T_EQ_I64(cellar_listener_remove(a.users, id), CELLAR_OK);
    T_EQ_I64(cellar_remote_lock_release(b.r, "lock", 4, &held), CELLAR_OK);
    pthread_join(t, NULL);
    T_EQ_I64(cellar_remote_lock_release(a.r, "lock", 4, &waited), CELLAR_OK);
}

/* ---- no call is a cancellation point ---- */

static bool returned;

static void cancel_step(void) { (void)cellar_remote_step(a.r, 0); }
static void fence(void) { (void)cellar_remote_fence(a.r, 10); }
static void set(void) { (void)side_set(&a, "k", "v"); }
static void close_remote(void) { cellar_remote_close(a.r); }

static void lock(void)
{
    cellar_remote_lock lk;
    (void)cellar_remote_lock_acquire(a.r, "k", 1, NULL, &lk);
}

static void *cancelled(void *call)
{
    void (*const *fn)(void) = call;
    T_EQ_I64(pthread_cancel(pthread_self()), 0);
    (*fn)();
    returned = true;
    return NULL;
}

static void calls(void (*fn)(void))
{
    pthread_t t;
    returned = false;
    T_EQ_I64(pthread_create(&t, NULL, cancelled, &fn), 0);
    T_EQ_I64(pthread_join(t, NULL), 0);
    T_CHECK(returned);
}

T_CASE(cancelled_thread_ends_behind_its_call)
{
    cellar_remote_config ro = side_patient();
    ro.io_ms = 50;
    for (uint32_t no_thread = 0; no_thread < 2; no_thread++) {
        ro.no_thread = no_thread;
        T_REQUIRE(engine_start(&server, NULL));
        side_open(&a, server.socket, &ro, NULL);
        side_fence(&a);
        calls(cancel_step);
        calls(fence);
        calls(lock);
        engine_signal(&server, SIGSTOP);
        calls(set);
        engine_signal(&server, SIGCONT);
        calls(close_remote);
        a.r = NULL;
        left_close();
    }
}

T_MAIN("cellar_remote_tier")
