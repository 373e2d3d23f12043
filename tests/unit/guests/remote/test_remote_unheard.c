/* SPDX-License-Identifier: MIT
 *
 * Aim:    memory keeps no value for which the server reports no change.
 * Method: two stores in this process stand for two processes; redis-server is real; a fence, never
 *         a pause, comes before each look. */
#include "cellar_admin.h"
#include "cellar_load.h"
#include "tests/support/byte_proxy.h"
#include "tests/support/loader.h"
#include "tests/support/two_sides.h"

static cellar_err load_old(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    return cellar_load_value(load, "old", 3);
}

static void side_load_with(const side *s, const char *key, uint32_t flags)
{
    cellar_result out = cellar_result_default();
    cellar_load_opts o = { .struct_size = sizeof o, .flags = flags };
    T_CHECK(cellar_get_or_load(s->users, key, strlen(key), &o, load_old, NULL, &out) ==
            CELLAR_OK);
    cellar_result_free(&out);
}

static void side_load(const side *s, const char *key) { side_load_with(s, key, 0); }

static cellar_err load_old_of_all(cellar_load *load, const cellar_bytes *keys, size_t count,
                                  void *ctx)
{
    (void)keys, (void)ctx;
    for (size_t i = 0; i < count; i++) { (void)loader_value(load, i, "old", 3); }
    return CELLAR_OK;
}

static void side_load_many(const side *s, const char *key, uint32_t flags)
{
    cellar_result out = cellar_result_default();
    cellar_load_item item = { .key = key, .key_len = strlen(key), .result = &out };
    cellar_load_opts o = { .struct_size = sizeof o, .flags = flags };
    T_CHECK(cellar_get_or_load_many(s->users, &item, 1, &o, load_old_of_all, NULL) == CELLAR_OK);
    cellar_result_free(&out);
}

/* The digest names no key, and no process has written one. A refresh does not read the server. */
T_CASE(long_key_of_a_load_is_heard)
{
    static const uint32_t flags[] = { 0, CELLAR_LOAD_REFRESH, CELLAR_LOAD_NO_L2 };
    for (unsigned i = 0; i < 12; i++) {
        cellar_remote_namespace_config o = cellar_remote_namespace_config_default();
        char key[601];
        if (i >= 6) { o.write = CELLAR_REMOTE_INVALIDATE; }
        both_open(&o);
        memset(key, 'x', 600);
        key[600] = '\0';
        (i / 3 % 2 != 0 ? side_load_many : side_load_with)(&b, key, flags[i % 3]);
        T_CHECK(side_has(&b, key, "old"));
        T_CHECK(side_set(&a, key, "new") == CELLAR_OK);
        side_fence(&b);
        T_CHECK(side_has(&b, key, i < 6 ? "new" : NULL));
        both_close();
    }
}

/* The server is no disk: a load without the disk reads its value, and shares its own. */
T_CASE(load_without_the_disk_agrees_with_the_server)
{
    both_open(NULL);
    T_CHECK(side_set(&a, "there", "new") == CELLAR_OK);
    side_load_with(&b, "there", CELLAR_LOAD_NO_L2);
    side_load_many(&b, "there", CELLAR_LOAD_NO_L2);
    T_CHECK(side_has(&b, "there", "new"));
    side_load_with(&b, "k", CELLAR_LOAD_NO_L2);
    T_CHECK(side_has(&a, "k", "old"));
}

T_CASE(load_without_a_lease_ends_with_a_delete)
{
    cellar_lease lease;
    cellar_result out = cellar_result_default();
    both_open(NULL);
    cellar_err err = CELLAR_PENDING;
    for (int i = 0; i < 2000 && err == CELLAR_PENDING; i++) {
        err = cellar_lease_acquire(b.users, "k", 1, NULL, NULL, &lease, &out);
        engine_pause_ms(1);
    }
    T_EQ_I64(err, CELLAR_LEASED);
    T_CHECK(cellar_lease_fulfill(b.users, &lease, "old", 3, NULL) == CELLAR_OK);
    T_CHECK(side_has(&b, "k", "old"));
    T_CHECK(cellar_delete(a.users, "k", 1) >= CELLAR_OK);
    side_fence(&b);
    T_CHECK(side_has(&b, "k", NULL));
}

/* The journal of one process deletes a key that the server never had. */
T_CASE(journal_of_invalidate_is_heard)
{
    static byte_proxy p;
    cellar_remote_namespace_config o = cellar_remote_namespace_config_default();
    o.write = CELLAR_REMOTE_INVALIDATE;
    T_REQUIRE(engine_start(&server, NULL));
    byte_proxy_open(&p, server.dir, server.socket);
    side_open(&a, p.path, NULL, &o);
    side_open(&b, server.socket, NULL, &o);
    side_fence(&b);
    side_load(&b, "k");
    T_CHECK(side_has(&b, "k", "old"));
    for (int i = 0; i < 2; i++) { atomic_store(&p.line[i].way[0].left, 0); }
    T_CHECK(cellar_delete(a.users, "k", 1) == CELLAR_DEFERRED);
    for (int i = 0; i < 2000 && side_stats(&a).replayed == 0; i++) { engine_pause_ms(5); }
    T_EQ_U64(side_stats(&a).replayed, 1);
    T_CHECK(side_proven(&b));
    side_fence(&b);
    T_CHECK(side_has(&b, "k", NULL));
}

/* The clear of a namespace that one process does not share raises the epoch all the same. */
T_CASE(set_with_a_new_tag_reaches_the_server)
{
    cellar *orders;
    both_open(NULL);
    T_CHECK(side_set(&a, "warm", "1") == CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(b.store, "orders", NULL, &orders) == CELLAR_OK);
    T_REQUIRE(cellar_remote_attach(b.r, orders, NULL) == CELLAR_OK && side_proven(&b));
    side_fence(&b);
    T_CHECK(cellar_clear(orders) == CELLAR_OK);
    side_fence(&a);
    T_CHECK(side_set_tagged(&a, "k", "v", "new") == CELLAR_OK);
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:users:k")), 1);
    T_CHECK(side_has(&b, "k", "v"));
    T_CHECK(cellar_namespace_close(orders) == CELLAR_OK);
}

/* A load begins, and the process reads numbers more often than it keeps pairs of epochs. */
static cellar_err load_beside_tags(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    const side *s = ctx;
    for (int i = 0; i < 100; i++) {
        char tag[16];
        (void)snprintf(tag, sizeof tag, "t%d", i);
        T_CHECK(side_set_tagged(s, "other", "1", tag) == CELLAR_OK);
    }
    return load_old(load, key, key_len, NULL);
}

T_CASE(long_load_reaches_the_server)
{
    cellar_result out = cellar_result_default();
    both_open(NULL);
    T_CHECK(cellar_get_or_load(a.users, "k", 1, NULL, load_beside_tags, &a, &out) == CELLAR_OK);
    cellar_result_free(&out);
    T_CHECK(side_has(&b, "k", "old"));
}

static cellar_err load_tagged(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    const cellar_bytes tag = { "first", 5 };
    T_CHECK(loader_tags(load, &tag, 1) == CELLAR_OK);
    return load_old(load, key, key_len, ctx);
}

T_CASE(load_with_a_new_tag_reaches_the_server)
{
    cellar *orders;
    cellar_result out = cellar_result_default();
    both_open(NULL);
    T_REQUIRE(cellar_namespace_open(b.store, "orders", NULL, &orders) == CELLAR_OK);
    T_REQUIRE(cellar_remote_attach(b.r, orders, NULL) == CELLAR_OK && side_proven(&b));
    side_fence(&b);
    T_CHECK(cellar_clear(orders) == CELLAR_OK);
    side_fence(&a); /* heard, and its request is on the way */
    side_fence(&a); /* answered */
    T_CHECK(cellar_get_or_load(a.users, "k", 1, NULL, load_tagged, NULL, &out) == CELLAR_OK);
    cellar_result_free(&out);
    T_CHECK(side_has(&b, "k", "old"));
    T_CHECK(cellar_namespace_close(orders) == CELLAR_OK);
}

/* Return whether acquiring a lease ends with the value "hello" of the server. */
static bool lease_finds(const side *s, const char *key)
{
    cellar_lease lease;
    cellar_result out = cellar_result_default();
    cellar_err err = CELLAR_PENDING;
    for (int i = 0; i < 1000 && err == CELLAR_PENDING; i++) {
        err = cellar_lease_acquire(s->users, key, strlen(key), NULL, NULL, &lease, &out);
        if (err == CELLAR_PENDING) { engine_pause_ms(1); }
    }
    const bool found = err == CELLAR_OK && out.value_len == 5 && memcmp(out.value, "hello", 5) == 0;
    cellar_result_free(&out);
    return found;
}

T_CASE(lease_finds_a_raw_value)
{
    cellar_remote_namespace_config o = { .struct_size = sizeof o, .values = CELLAR_REMOTE_RAW };
    both_open(&o);
    T_CHECK(engine_ask(&server, "SET app:users:k hello PX 60000") != NULL);
    T_CHECK(lease_finds(&a, "k"));
}

T_CASE(lease_finds_the_value_of_a_long_key)
{
    char key[601];
    both_open(NULL);
    memset(key, 'x', 600);
    key[600] = '\0';
    T_CHECK(side_set(&a, key, "hello") == CELLAR_OK);
    T_CHECK(lease_finds(&b, key));
    T_CHECK(side_set(&a, key, "new") == CELLAR_OK);
    side_fence(&b);
    T_CHECK(side_has(&b, key, "new"));
}

static _Atomic bool no_memory;
static _Atomic uint32_t refused;

/* Refuse the block of a request for all numbers; the parser has smaller and larger ones. */
static void *scarce_alloc(size_t size, void *ctx)
{
    (void)ctx;
    if (!atomic_load(&no_memory) || size < 2500 || size > 4000) {
        return aligned_alloc(16, (size + 15) / 16 * 16);
    }
    atomic_fetch_add(&refused, 1);
    return NULL;
}

static void scarce_free(void *block, size_t size, void *ctx)
{
    (void)size, (void)ctx;
    free(block);
}

T_CASE(flush_without_memory_ends_all)
{
    side s;
    char url[512];
    cellar_config cfg = cellar_config_default();
    T_REQUIRE(engine_start(&server, NULL));
    cellar_host_config host = { .struct_size = sizeof host, .alloc = scarce_alloc,
                                .free = scarce_free };
    cfg.memory_bytes = 16u << 20;
    cfg.host = &host;
    (void)snprintf(url, sizeof url, "unix://%s?prefix=app", server.socket);
    T_REQUIRE(cellar_open(&cfg, &s.store) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(s.store, "users", NULL, &s.users) == CELLAR_OK);
    T_REQUIRE(cellar_remote_open(s.store, url, NULL, &s.r) == CELLAR_OK);
    T_REQUIRE(cellar_remote_attach(s.r, s.users, NULL) == CELLAR_OK && side_proven(&s));
    side_fence(&s);
    T_CHECK(side_set(&s, "k", "1") == CELLAR_OK);
    atomic_store(&no_memory, true);
    T_CHECK(engine_ask(&server, "FLUSHALL") != NULL);
    for (int i = 0; i < 2000 && side_stats(&s).flushes == 0; i++) { engine_pause_ms(1); }
    for (int i = 0; i < 100 && atomic_load(&refused) == 0; i++) { engine_pause_ms(1); }
    atomic_store(&no_memory, false);
    T_CHECK(atomic_load(&refused) != 0);
    T_CHECK(side_proven(&s));
    side_fence(&s);
    T_CHECK(side_has(&s, "k", NULL));
    T_CHECK(side_set(&s, "k", "2") == CELLAR_OK && side_has(&s, "k", "2"));
    side_close(&s);
}

/* The server closes *subscriber* instead of sending more than its limit. */
T_CASE(message_above_the_output_limit_ends_memory)
{
    static const char sets[] = "for i = 1, 4000 do "
                               "redis.call('SET', KEYS[1] .. string.rep('x', 400) .. i, 'v') end "
                               "return redis.call('UNLINK', KEYS[1] .. 'k')";
    static const char *const more[] = { "--client-output-buffer-limit", "pubsub 64kb 64kb 0",
                                        NULL };
    T_REQUIRE(engine_start(&server, more));
    side_open(&a, server.socket, NULL, NULL);
    T_CHECK(side_set(&a, "k", "old") == CELLAR_OK && side_has(&a, "k", "old"));
    const uint64_t gaps = side_stats(&a).gaps;
    T_EQ_I64(engine_number(engine_ask(&server, "EVAL %s 1 app:users:", sets)), 1);
    for (int i = 0; i < 5000 && side_stats(&a).gaps == gaps; i++) { engine_pause_ms(2); }
    T_CHECK(side_stats(&a).gaps > gaps);
    T_CHECK(side_proven(&a));
    T_CHECK(side_has(&a, "k", NULL));
    T_CHECK(side_set(&a, "k", "new") == CELLAR_OK && side_has(&a, "k", "new"));
}

T_MAIN("cellar_remote_unheard")
