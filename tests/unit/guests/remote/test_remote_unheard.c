/* SPDX-License-Identifier: MIT
 *
 * Aim:    memory keeps no value for which the server reports no change, also where the server has no
 *         key for a loaded value. What a process sets or loads reaches the server. A lease that the
 *         server gave to a caller that does not know it delays no other process.
 * Method: two stores in this process stand for two processes; redis-server is real; a fence, never
 *         a pause, comes before each look. */
#include "cellar_admin.h"
#include "cellar_invalidate.h"
#include "cellar_load.h"
#include "tests/support/two_sides.h"

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
        T_EQ_I64((i / 3 % 2 != 0 ? side_load_many : side_load)(&b, key, "old", flags[i % 3]),
                 CELLAR_OK);
        T_CHECK(side_has(&b, key, "old"));
        T_CHECK(side_set(&a, key, "new") == CELLAR_OK);
        side_fence(&b);
        T_CHECK(side_has(&b, key, i < 6 ? "new" : NULL));
        left_close();
    }
}

/* The server is no disk: a load without the disk reads its value, and shares its own. */
T_CASE_ON(load_without_the_disk_agrees_with_the_server, BOTH_SIDES)
{
    T_CHECK(side_set(&a, "there", "new") == CELLAR_OK);
    T_EQ_I64(side_load(&b, "there", "old", CELLAR_LOAD_NO_L2), CELLAR_OK);
    T_EQ_I64(side_load_many(&b, "there", "old", CELLAR_LOAD_NO_L2), CELLAR_OK);
    T_CHECK(side_has(&b, "there", "new"));
    T_EQ_I64(side_load(&b, "k", "old", CELLAR_LOAD_NO_L2), CELLAR_OK);
    T_CHECK(side_has(&a, "k", "old"));
}

/* The journal of one process deletes a key that the server never had. */
T_CASE(journal_of_invalidate_is_heard)
{
    cellar_remote_namespace_config o = cellar_remote_namespace_config_default();
    o.write = CELLAR_REMOTE_INVALIDATE;
    both_open_far(NULL, &o);
    T_EQ_I64(side_load(&b, "k", "old", 0), CELLAR_OK);
    T_CHECK(side_has(&b, "k", "old"));
    for (int i = 0; i < 2; i++) { atomic_store(&proxy.line[i].way[0].left, 0); }
    T_CHECK(cellar_delete(a.users, "k", 1) == CELLAR_DEFERRED);
    for (int i = 0; i < 2000 && side_stats(&a).replayed == 0; i++) { engine_pause_ms(5); }
    T_EQ_U64(side_stats(&a).replayed, 1);
    T_CHECK(side_proven(&b));
    side_fence(&b);
    T_CHECK(side_has(&b, "k", NULL));
}

/* Its birth is the epoch that the process knows, so it is older than the clear. */
T_CASE(set_before_a_clear_is_heard_has_no_value)
{
    both_open_far(NULL, NULL);
    T_EQ_I64(side_set(&a, "k", "before"), CELLAR_OK);
    atomic_store(&proxy.line[1].way[1].frozen, true); /* the subscriber of a */
    T_EQ_I64(cellar_clear(b.users), CELLAR_OK);
    T_EQ_I64(side_set(&a, "k", "behind"), CELLAR_OK);
    atomic_store(&proxy.line[1].way[1].frozen, false);
    side_fence(&a);
    T_CHECK(side_has(&b, "k", NULL) && side_has(&a, "k", NULL));
    T_EQ_I64(side_set(&a, "k", "after"), CELLAR_OK);
    side_fence(&b);
    T_CHECK(side_has(&b, "k", "after") && side_has(&a, "k", "after"));
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
    return side_loader(load, key, key_len, "old");
}

T_CASE_ON(long_load_reaches_the_server, BOTH_SIDES)
{
    cellar_result out = cellar_result_default();
    T_CHECK(cellar_get_or_load(a.users, "k", 1, NULL, load_beside_tags, &a, &out) == CELLAR_OK);
    cellar_result_free(&out);
    T_CHECK(side_has(&b, "k", "old"));
}

static cellar_err load_tagged(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    const cellar_bytes tag = { "first", 5 };
    (void)ctx;
    T_CHECK(loader_tags(load, &tag, 1) == CELLAR_OK);
    return side_loader(load, key, key_len, "old");
}

/* The clear of a namespace that one process does not share raises the epoch all the same. */
T_CASE_ON(new_tag_behind_a_clear_elsewhere_reaches_the_server, BOTH_SIDES)
{
    cellar *orders;
    cellar_result out = cellar_result_default();
    T_CHECK(side_set(&a, "warm", "1") == CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(b.store, "orders", NULL, &orders) == CELLAR_OK);
    T_REQUIRE(cellar_remote_attach(b.r, orders, NULL) == CELLAR_OK && side_proven(&b));
    side_fence(&b);
    T_CHECK(cellar_clear(orders) == CELLAR_OK);
    side_fence(&a); /* heard, and its request is on the way */
    T_CHECK(side_set_tagged(&a, "k", "v", "new") == CELLAR_OK);
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:users:k")), 1);
    T_CHECK(side_has(&b, "k", "v"));
    T_CHECK(cellar_clear(orders) == CELLAR_OK);
    side_fence(&a);
    side_fence(&a); /* answered */
    T_CHECK(cellar_get_or_load(a.users, "l", 1, NULL, load_tagged, NULL, &out) == CELLAR_OK);
    cellar_result_free(&out);
    T_CHECK(side_has(&b, "l", "old"));
    T_CHECK(cellar_namespace_close(orders) == CELLAR_OK);
}

/* ---- leases of the host ---- */

/* With a full server as well: the request for a lease is a SET, which it refuses whether the key has
 * a value. */
T_CASE(acquire_finds_the_value_of_the_server)
{
    for (int way = 0; way < 4; way++) { /* a plain value, a full server, a RAW value, a long key */
        const cellar_remote_namespace_config o = side_raw(way == 2);
        cellar_lease lease;
        char key[601] = "k";
        if (way == 1 && engine_is_port()) { continue; } /* it evicts values */
        if (way == 3) { memset(key, 'x', 600); }
        both_open(&o);
        T_EQ_I64(side_set(&a, key, "hello"), CELLAR_OK);
        if (way == 1) { T_CHECK(engine_ask(&server, "CONFIG SET maxmemory 1") != NULL); }
        T_EQ_I64(side_acquire(&b, key, NULL, &lease, "hello"), CELLAR_OK);
        T_EQ_U64(side_stats(&b).leases_taken, 0);
        if (way == 1) { T_CHECK(engine_ask(&server, "CONFIG SET maxmemory 0") != NULL); }
        T_CHECK(side_has(&b, key, "hello"));
        T_EQ_I64(side_set(&a, key, "new"), CELLAR_OK);
        side_fence(&b);
        T_CHECK(side_has(&b, key, "new"));
        left_close();
    }
}

/* A full server gives no lease. */
T_CASE(value_of_a_lease_ends_with_a_change)
{
    for (int full = 0; full < 1 + !engine_is_port(); full++) {
        cellar_lease lease;
        both_open(NULL);
        T_CHECK(engine_ask(&server, "CONFIG SET maxmemory %d", full) != NULL);
        T_EQ_I64(side_acquire(&b, "k", NULL, &lease, NULL), CELLAR_LEASED);
        T_EQ_I64(cellar_lease_fulfill(b.users, &lease, "old", 3, NULL), CELLAR_OK);
        T_CHECK(engine_ask(&server, "CONFIG SET maxmemory 0") != NULL);
        T_CHECK(side_has(&b, "k", "old") && side_has(&a, "k", full ? NULL : "old"));
        T_EQ_I64(side_set(&a, "k", "new"), CELLAR_OK);
        side_fence(&b);
        T_CHECK(side_has(&b, "k", "new"));
        T_CHECK(cellar_delete(a.users, "k", 1) >= CELLAR_OK);
        side_fence(&b);
        T_CHECK(side_has(&b, "k", NULL));
        left_close();
    }
}

/* The number of the tag is read before the value is judged. */
T_CASE_ON(host_gets_a_value_whose_tag_is_new_to_its_process, BOTH_SIDES)
{
    cellar_lease lease;
    T_EQ_I64(side_set_tagged(&a, "k", "v", "t"), CELLAR_OK);
    side_fence(&b);
    T_EQ_I64(side_acquire(&b, "k", NULL, &lease, "v"), CELLAR_OK);
    T_EQ_U64(side_stats(&b).leases_taken, 0);
    T_EQ_I64(cellar_delete_by_tag(a.users, "t", 1, CELLAR_TAG_HARD), CELLAR_OK);
    side_fence(&b);
    T_EQ_I64(side_acquire(&b, "k", NULL, &lease, NULL), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_fulfill(b.users, &lease, "2", 1, NULL), CELLAR_OK);
}

/* ---- memory ---- */

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
    cellar_host_config host = { .struct_size = sizeof host, .alloc = scarce_alloc,
                                .free = scarce_free };
    cellar_config cfg = cellar_config_default();
    cfg.memory_bytes = 16u << 20;
    cfg.host = &host;
    T_REQUIRE(engine_start(&server, NULL));
    side_open_own(&a, server.socket, &(side_own){ .store = &cfg });
    side_fence(&a);
    T_CHECK(side_set(&a, "k", "1") == CELLAR_OK);
    atomic_store(&no_memory, true);
    T_CHECK(engine_ask(&server, "FLUSHALL") != NULL);
    for (int i = 0; i < 20000 && side_stats(&a).flushes == 0; i++) { engine_pause_ms(1); }
    for (int i = 0; i < 20000 && atomic_load(&refused) == 0; i++) { engine_pause_ms(1); }
    atomic_store(&no_memory, false);
    T_CHECK(atomic_load(&refused) != 0);
    T_CHECK(side_proven(&a));
    side_fence(&a);
    T_CHECK(side_has(&a, "k", NULL));
    T_CHECK(side_set(&a, "k", "2") == CELLAR_OK && side_has(&a, "k", "2"));
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

/* ---- loads without a lease: a full server ---- */

/* The ways to share a namespace, each with loads that have no lease. */
static cellar_remote_namespace_config way(int i)
{
    cellar_remote_namespace_config o = cellar_remote_namespace_config_default();
    if (i == 1) { o.write = CELLAR_REMOTE_INVALIDATE; }
    if (i == 2) { o.values = CELLAR_REMOTE_RAW; }
    if (i == 3) { o.write = CELLAR_REMOTE_BEHIND; }
    return o;
}
enum { WAYS = 4 };

/* Limit the memory of the server: 1 byte or none. */
static void server_full(bool full)
{
    T_CHECK(engine_ask(&server, "CONFIG SET maxmemory %d", full) != NULL);
}

/* Load a key while the server is full: memory has the value, the server has not. */
static void load_alone(const side *s, const char *key)
{
    server_full(true);
    T_EQ_I64(side_load(s, key, "old", 0), CELLAR_OK);
    server_full(false);
    T_CHECK(side_has(s, key, "old"));
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:users:%s app:users:#x753a0a", key)), 0);
}

static void pattern_reaches_them(bool full)
{
    for (int i = 0; i < WAYS; i++) {
        const cellar_remote_namespace_config o = way(i);
        uint64_t deleted = 0;
        both_open(&o);
        load_alone(&a, "u:1");
        load_alone(&a, "v:1");
        load_alone(&b, "u:1");
        load_alone(&b, "u:\n");
        server_full(full);
        T_EQ_I64(cellar_delete_by_pattern(a.users, "u:*", 3, &deleted), CELLAR_OK);
        side_fence(&a);
        side_fence(&b);
        T_EQ_U64(deleted, 1);
        T_CHECK(side_has(&a, "u:1", NULL) && side_has(&a, "v:1", "old"));
        T_CHECK(side_has(&b, "u:1", NULL) && side_has(&b, "u:\n", NULL));
        left_close();
    }
}

T_CASE(pattern_delete_is_heard) { pattern_reaches_them(false); }
T_CASE(pattern_delete_of_a_full_server_is_heard) { pattern_reaches_them(true); }

static void change_of_a_full_server_is_heard(bool clear)
{
    for (int i = 0; i < WAYS; i++) {
        const cellar_remote_namespace_config o = way(i);
        both_open(&o);
        load_alone(&b, "k");
        server_full(true);
        if (clear) {
            T_EQ_I64(cellar_clear(a.users), CELLAR_OK);
        } else {
            T_EQ_I64(cellar_delete(a.users, "k", 1), CELLAR_MISS); /* memory of a had no value */
            side_sent(&a);
        }
        side_fence(&b);
        T_CHECK(side_has(&b, "k", NULL));
        left_close();
    }
}

T_CASE(delete_on_a_full_server_is_heard) { change_of_a_full_server_is_heard(false); }
T_CASE(clear_on_a_full_server_is_heard) { change_of_a_full_server_is_heard(true); }

/* Numbers of namespaces are few; each new tag would need more memory. */
T_CASE_ON(full_server_takes_a_new_namespace_but_no_new_tag, BOTH_SIDES)
{
    cellar *orders;
    T_REQUIRE(cellar_namespace_open(a.store, "orders", NULL, &orders) == CELLAR_OK);
    server_full(true);
    T_CHECK(cellar_remote_attach(a.r, orders, NULL) == CELLAR_OK);
    T_CHECK(cellar_remote_fence(a.r, 10000) == CELLAR_OK && side_proven(&a));
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:~g:orders")), 1);
    T_EQ_I64(side_set_tagged(&a, "k", "v", "new"), CELLAR_DEFERRED);
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:~t:new")), 0);
    T_CHECK(cellar_namespace_close(orders) == CELLAR_OK);
}

/* Memory would keep the loaded value, and the server the old one. */
T_CASE(forced_refresh_on_a_full_server_is_not_kept)
{
    for (int i = 0; i < WAYS; i++) {
        const cellar_remote_namespace_config o = way(i);
        if (o.write == CELLAR_REMOTE_INVALIDATE) { continue; } /* the server has no values */
        both_open(&o);
        T_EQ_I64(side_set(&b, "k", "new"), CELLAR_OK);
        side_sent(&b);
        server_full(true);
        T_EQ_I64(side_load(&a, "k", "old", CELLAR_LOAD_REFRESH), CELLAR_OK);
        server_full(false);
        T_CHECK(side_has(&a, "k", "new") && side_has(&b, "k", "new"));
        left_close();
    }
}

/* ---- leases without an owner ---- */

/* The server holds writes, or replies are cut, while a load asks for its lease. The lease ends by
 * itself 31 s later: no case waits so long. */
enum { WAIT_MS = 10000 };

/* Wait until the server has none of the keys that hold a lease. */
static bool no_lease(void)
{
    for (int i = 0; i < WAIT_MS; i += 2) {
        const long long n =
            engine_number(engine_ask(&server, "EXISTS app:users:k ~app:lease:users:k"));
        if (n == 0 && side_stats(&a).journal_keys == 0) { return true; }
        engine_pause_ms(2);
    }
    return false;
}

/* The load is one of a key, of a RAW key, or a bulk load. */
T_CASE(lease_without_an_answer_is_released)
{
    for (int i = 0; i < 3; i++) {
        const cellar_remote_namespace_config o = side_raw(i == 1);
        cellar_remote_config ro = side_patient();
        ro.io_ms = 50;
        T_REQUIRE(engine_start(&server, NULL));
        side_open(&a, server.socket, &ro, &o);
        side_fence(&a);
        T_CHECK(engine_ask(&server, "CLIENT PAUSE 60000 WRITE") != NULL);
        T_EQ_I64((i == 2 ? side_load_many : side_load)(&a, "k", "v", 0), CELLAR_OK);
        T_EQ_U64(side_stats(&a).journal_keys, 1);
        T_CHECK(engine_ask(&server, "CLIENT UNPAUSE") != NULL);
        T_CHECK(no_lease());
        T_EQ_U64(side_stats(&a).leases_taken, 0);
        left_close();
    }
}

/* The server gives the lease; its reply and the connection are lost. */
T_CASE(lease_behind_a_lost_reply_is_released)
{
    for (int raw = 0; raw < 2; raw++) {
        const cellar_remote_namespace_config o = side_raw(raw);
        T_REQUIRE(engine_start(&server, NULL));
        byte_proxy_open(&proxy, server.dir, server.socket);
        side_open(&a, proxy.path, NULL, &o);
        side_fence(&a);
        atomic_store(&proxy.line[0].way[1].left, raw ? 11 : 6); /* the reply of the get, and 1 byte */
        T_EQ_I64(side_load(&a, "k", "v", 0), CELLAR_OK);
        T_CHECK(no_lease());
        left_close();
    }
}

/* The loader fails while the server is away. */
static cellar_err load_beside_a_cut(cellar_load *l, const void *key, size_t key_len, void *ctx)
{
    (void)l, (void)key, (void)key_len, (void)ctx;
    T_CHECK(engine_cut(&server, "normal") > 0);
    for (int i = 0; i < WAIT_MS && side_stats(&a).gaps == 0; i++) { engine_pause_ms(1); }
    return CELLAR_E_IO;
}

T_CASE(lease_of_a_failed_load_is_released_behind_a_gap)
{
    for (int raw = 0; raw < 2; raw++) {
        const cellar_remote_namespace_config o = side_raw(raw);
        cellar_result out = cellar_result_default();
        T_REQUIRE(engine_start(&server, NULL));
        side_open(&a, server.socket, NULL, &o);
        side_fence(&a);
        T_CHECK(cellar_get_or_load(a.users, "k", 1, NULL, load_beside_a_cut, NULL, &out) < 0);
        cellar_result_free(&out);
        T_CHECK(no_lease());
        left_close();
    }
}

/* The time to fill it ends, or its namespace is dropped. */
T_CASE(lease_of_a_host_that_nothing_fills_is_released)
{
    for (int drop = 0; drop < 2; drop++) {
        const cellar_load_opts o = { .struct_size = sizeof o, .hard_timeout_ms = drop ? 60000 : 100 };
        cellar_lease lease;
        T_REQUIRE(engine_start(&server, NULL));
        side_open(&a, server.socket, NULL, NULL);
        side_fence(&a);
        T_EQ_I64(side_acquire(&a, "k", &o, &lease, NULL), CELLAR_LEASED);
        if (drop) {
            T_EQ_U64(side_stats(&a).leases_held, 1);
            T_EQ_I64(cellar_namespace_drop(a.store, "users"), CELLAR_OK);
        }
        T_CHECK(no_lease());
        T_EQ_U64(side_stats(&a).leases_held, 0);
        left_close();
    }
}

/* The refresh does not wait for its own lease. */
T_CASE(refresh_of_a_stale_value_has_one_lease)
{
    const cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 1, .stale_ms = 60000 };
    T_REQUIRE(engine_start(&server, NULL));
    side_open(&a, server.socket, NULL, NULL);
    T_EQ_I64(cellar_set(a.users, "k", 1, "old", 3, &o), CELLAR_OK);
    while (!side_has(&a, "k", NULL)) { engine_pause_ms(1); }
    T_EQ_I64(side_load(&a, "k", "new", 0), CELLAR_OK);
    T_CHECK(side_has(&a, "k", "new"));
    T_EQ_U64(side_stats(&a).leases_taken, 1);
}

T_CASE(empty_value_of_raw_is_stored)
{
    const cellar_remote_namespace_config o = side_raw(true);
    T_REQUIRE(engine_start(&server, NULL));
    side_open(&a, server.socket, NULL, &o);
    side_fence(&a);
    T_EQ_I64(side_load(&a, "k", "", 0), CELLAR_OK);
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS app:users:k")), 1);
    T_EQ_I64(engine_number(engine_ask(&server, "EXISTS ~app:lease:users:k")), 0);
}

T_MAIN("cellar_remote_unheard")
