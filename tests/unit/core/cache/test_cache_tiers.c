/* SPDX-License-Identifier: MIT
 *
 * Aim:    Each namespace has a tier of its own: the disk, none, or another one. An answer that
 *         arrives later ends the lease that waits for it.
 * Method: A disk in a folder, and a server in memory as the tier of one namespace; a clock of the
 *         test. */
#include "tests/support/t.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "cache/stamp.h"
#include "cellar_batch.h"
#include "store/tier_attach.h"
#include "tests/support/disk_store.h"
#include "tests/support/settings.h"
#include "tests/support/shared_kit.h"

static shared_server server;
static shared_client far, others; /* of the test, and of another process */

static struct {
    cellar *root, *own, *none; /* on the disk, on `far`, without a tier */
} t;
static unsigned told;

static cellar *open_without(cellar *root, const char *name)
{
    cellar *c = NULL;
    cellar_namespace_config o = { .struct_size = sizeof o, .tier = CELLAR_TIER_L1 };
    T_EQ_I64(cellar_namespace_open(root, name, &o, &c), CELLAR_OK);
    return c;
}

/* asks: `far` answers later. */
static void begin(bool asks)
{
    told = 0;
    store_begin();
    shared_server_init(&server);
    shared_client_init(&far, &server);
    shared_client_init(&others, &server);
    if (asks) {
        far.table.ask = shared_ask;
        far.table.lease = NULL;
    }
    settings s = { SETTINGS_SIZES, .config.memory_bytes = 4u << 20, .config.l2_path = store,
                   .config.l2_bytes = CELLAR_L2_BYTES_MIN, .l2.min_ttl_ms = 1,
                   .l2.write = CELLAR_L2_WRITE_ON_SET, .host.clock = read_clock,
                   .host.no_threads = 1 };
    T_REQUIRE(settings_open(&s, &t.root) == CELLAR_OK);
    t.own = open_without(t.root, "own");
    t.none = open_without(t.root, "none");
    T_EQ_I64(cellar_tier_attach(t.own, &far.table), CELLAR_OK);
}

static void end(void)
{
    T_EQ_I64(cellar_namespace_close(t.own), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(t.none), CELLAR_OK);
    T_EQ_I64(cellar_close(t.root), CELLAR_OK);
    T_EQ_U64(far.closes, 1);
    store_end();
}

#define STORES(fn) T_WITHIN(fn, begin(false), end())
#define LATER(fn) T_WITHIN(fn, begin(true), end())

static l2_stats on_disk(void)
{
    l2_stats st;
    l2_stats_get(t.root->store->disk, &st);
    return st;
}

/* Another process sets a key, or with NULL deletes it. */
static void outside(const char *key, const char *value)
{
    const cellar_tier_key k = { key, strlen(key), 0 };
    cellar_tier_entry e;
    memset(&e, 0, sizeof e);
    e.deadline_ms = INT64_MAX;
    T_EQ_I64(value != NULL ? shared_put(&others, &k, value, strlen(value), &e)
                           : shared_remove(&others, &k, NULL), CELLAR_OK);
}

static void sets(cellar *c, const char *key, const char *value)
{
    T_EQ_I64(cellar_set(c, key, strlen(key), value, strlen(value), NULL), CELLAR_OK);
}

/* Check that the key has the value; NULL: none. */
static void has(cellar *c, const char *key, const char *value)
{
    char buf[64];
    size_t len = 0;
    const cellar_err err = cellar_get(c, key, strlen(key), buf, sizeof buf, &len);
    T_EQ_I64(err, value != NULL ? CELLAR_OK : CELLAR_MISS);
    if (value != NULL) {
        T_EQ_U64(len, strlen(value));
        T_EQ_I64(memcmp(buf, value, len), 0);
    }
}

T_CASE_ON(each_namespace_writes_to_its_own_tier, STORES)
{
    sets(t.root, "a", "on disk");
    T_EQ_U64(on_disk().puts, 1);
    T_EQ_U64(far.puts, 0);
    sets(t.own, "a", "far away");
    T_EQ_U64(on_disk().puts, 1);
    T_EQ_U64(far.puts, 1);
    sets(t.none, "a", "here");
    T_EQ_U64(on_disk().puts, 1);
    T_EQ_U64(far.puts, 1);
    has(t.root, "a", "on disk");
    has(t.own, "a", "far away");
    has(t.none, "a", "here");
}

static cellar_err flush(const cellar_write *writes, size_t count, void *ctx)
{
    (void)writes, (void)count, (void)ctx;
    return CELLAR_OK;
}

static cellar_err attach_queue(cellar *c)
{
    cellar_host_config host = { .struct_size = sizeof host, .no_threads = 1 };
    cellar_batcher_config cfg = { .struct_size = sizeof cfg, .host = &host };
    return cellar_namespace_batch(c, &cfg, flush, NULL, NULL, NULL);
}

T_CASE_ON(attach_clears_and_refuses_a_second_tier, STORES)
{
    sets(t.none, "k", "old");
    T_EQ_I64(attach_queue(t.none), CELLAR_OK);
    has(t.none, "k", NULL);
    T_EQ_I64(attach_queue(t.none), CELLAR_E_BUSY);
    T_EQ_I64(attach_queue(t.own), CELLAR_E_BUSY);
    T_EQ_I64(attach_queue(t.root), CELLAR_E_BUSY);
    T_EQ_I64(cellar_tier_attach(t.none, &others.table), CELLAR_E_BUSY);
    for (unsigned i = 3; i <= CACHE_TIERS_MAX; i++) { /* three are there */
        char name[16];
        (void)snprintf(name, sizeof name, "more%u", i);
        cellar *c = open_without(t.root, name);
        T_EQ_I64(attach_queue(c), i < CACHE_TIERS_MAX ? CELLAR_OK : CELLAR_E_LIMIT);
        T_EQ_I64(cellar_namespace_close(c), CELLAR_OK);
    }
}

T_CASE_ON(change_of_an_ended_generation_is_ignored, STORES)
{
    const uint32_t before = base_load_acq(&t.none->generation);
    sets(t.none, "k", "old");
    T_EQ_I64(cellar_clear(t.none), CELLAR_OK);
    sets(t.none, "k", "new");
    cache_tier_changed(t.root->store, before, "k", 1);
    has(t.none, "k", "new");
    cache_tier_changed(t.root->store, base_load_acq(&t.none->generation), "k", 1);
    has(t.none, "k", NULL);
}

/* ---- changes on their way to a queue ---- */

static _Atomic unsigned putting; /* calls of `put` that wait until `held` is false */
static _Atomic bool held;

static cellar_err put_waits(void *ctx, const cellar_tier_key *k, const void *value,
                            size_t value_len, cellar_tier_entry *e)
{
    (void)atomic_fetch_add(&putting, 1);
    while (atomic_load(&held)) { (void)sched_yield(); }
    return shared_put(ctx, k, value, value_len, e);
}

static bool no_tick(void *ctx, uint64_t budget_us)
{
    (void)ctx, (void)budget_us;
    return false;
}

/* Make the namespace without a tier one with a queue of writes. */
static void begin_queue(void)
{
    begin(false);
    others.table.tick = no_tick;
    others.table.put = put_waits;
    T_EQ_I64(cellar_tier_attach(t.none, &others.table), CELLAR_OK);
    atomic_store(&held, false);
    atomic_store(&putting, 0);
}

#define QUEUES(fn) T_WITHIN(fn, begin_queue(), end())

/* Let memory lose a key, as by an eviction. */
static void lose(const char *key)
{
    others.host->changed(others.host->ctx, key, strlen(key));
    T_EQ_I64(cellar_contains(t.none, key, strlen(key)), CELLAR_OK); /* below */
}

static uint64_t stamp_of(const char *key)
{
    const uint64_t hash = base_hash(t.none->hash_key, base_load_acq(&t.none->generation), key,
                                    strlen(key));
    return base_mix64(hash) & t.root->store->stamp_mask;
}

static void *set_key(void *key)
{
    sets(t.none, key, "other");
    return NULL;
}

static void *add_one(void *number)
{
    T_EQ_I64(cellar_increment(t.none, "k", 1, 1, 0, NULL, number), CELLAR_OK);
    return NULL;
}

static cellar_err load_not(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)ld, (void)key, (void)len, (void)ctx;
    T_CHECK(false); /* the queue has the value */
    return CELLAR_E_LOADER;
}

/* A stamp with two pending changes does not say of which keys they are. */
T_CASE_ON(changes_of_other_keys_do_not_hide_what_a_queue_has, QUEUES)
{
    static char other[2][8];
    pthread_t thread[2];
    int64_t number = 0;
    cellar_result r = cellar_result_default();
    for (unsigned i = 0, n = 0; n < 2; i++) {
        (void)snprintf(other[n], sizeof other[n], "o%u", i);
        n += stamp_of(other[n]) == stamp_of("k");
    }
    (void)add_one(&number);
    (void)add_one(&number);
    lose("k");
    atomic_store(&held, true);
    atomic_store(&putting, 0);
    for (unsigned i = 0; i < 2; i++) {
        T_REQUIRE(pthread_create(&thread[i], NULL, set_key, other[i]) == 0);
    }
    while (atomic_load(&putting) < 2) { (void)sched_yield(); }
    T_EQ_I64(cellar_get_or_load(t.none, "k", 1, NULL, load_not, NULL, &r), CELLAR_OK);
    cellar_result_free(&r);
    lose("k");
    T_EQ_I64(cellar_touch(t.none, "k", 1, 1000), CELLAR_OK);
    atomic_store(&held, false);
    for (unsigned i = 0; i < 2; i++) { T_EQ_I64(pthread_join(thread[i], NULL), 0); }
    lose("k");
    (void)add_one(&number);
    T_EQ_I64(number, 3);
}

/* ---- answers that arrive later ---- */

static void tell(void *ctx) { (void)ctx; told++; }

static cellar_err acquire(cellar *c, const char *key, bool subscribe, cellar_lease *lease)
{
    const cellar_subscriber waiter = { tell, NULL };
    cellar_result r = cellar_result_default();
    const cellar_err err = cellar_lease_acquire(c, key, strlen(key), NULL,
                                                subscribe ? &waiter : NULL, lease, &r);
    if (err == CELLAR_OK) { T_EQ_MEM(r.value, "theirs", 6); }
    cellar_result_free(&r);
    return err;
}

/* Answer the last request with `value`; NULL: the server has nothing. */
static void answers(const char *key, const char *value)
{
    const cellar_tier_key k = { key, strlen(key), 0 };
    cellar_tier_entry e;
    memset(&e, 0, sizeof e);
    e.deadline_ms = INT64_MAX;
    far.host->answered(far.host->ctx, &far.ticket, &k, value != NULL ? CELLAR_OK : CELLAR_MISS,
                       value, value != NULL ? strlen(value) : 0, &e);
}

T_CASE_ON(tier_that_cannot_answer_gives_the_lease, LATER)
{
    cellar_lease lease;
    far.cannot_answer = true;
    T_EQ_I64(acquire(t.own, "k", true, &lease), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_release(t.own, &lease, 0), CELLAR_OK);
    T_EQ_U64(far.asks, 0);
}

T_CASE_ON(change_after_the_request_discards_the_answer, LATER)
{
    cellar_lease lease;
    T_EQ_I64(acquire(t.own, "k", true, &lease), CELLAR_PENDING);
    T_EQ_I64(cellar_delete(t.own, "k", 1), CELLAR_MISS);
    answers("k", "theirs");
    T_EQ_U64(told, 1);
    T_EQ_I64(cellar_contains(t.own, "k", 1), CELLAR_MISS);
    T_EQ_I64(acquire(t.own, "k", true, &lease), CELLAR_PENDING);
    outside("k", "newer");
    answers("k", "theirs");
    T_EQ_I64(cellar_contains(t.own, "k", 1), CELLAR_OK); /* below, the newer one */
    has(t.own, "k", "newer");
}

T_CASE_ON(answer_after_the_lease_has_ended_has_no_effect, LATER)
{
    cellar_lease lease;
    T_EQ_I64(acquire(t.own, "k", true, &lease), CELLAR_PENDING);
    now_ms += 3600000; /* past hard_timeout_ms */
    T_EQ_I64(cellar_tick(t.root, 1000, NULL), CELLAR_OK);
    T_EQ_U64(told, 1);
    answers("k", "theirs");
    T_EQ_I64(cellar_contains(t.own, "k", 1), CELLAR_MISS);
    T_EQ_U64(told, 1);
}

static cellar_err load_never(cellar_load *ld, const void *key, size_t len, void *ctx)
{
    (void)ld, (void)key, (void)len, (void)ctx;
    T_CHECK(false); /* the answer ends the load */
    return CELLAR_E_LOADER;
}

static void *load_in_thread(void *arg)
{
    cellar_result r = cellar_result_default();
    T_EQ_I64(cellar_get_or_load(arg, "k", 1, NULL, load_never, NULL, &r), CELLAR_OK);
    T_EQ_U64(r.value_len, 6);
    T_EQ_I64(r.source, CELLAR_SOURCE_JOINED);
    cellar_result_free(&r);
    return NULL;
}

T_CASE_ON(thread_that_loads_waits_for_the_answer, LATER)
{
    cellar_lease lease;
    pthread_t thread;
    T_EQ_I64(acquire(t.own, "k", false, &lease), CELLAR_PENDING);
    T_EQ_I64(pthread_create(&thread, NULL, load_in_thread, t.own), 0);
    cellar_stats st = cellar_stats_default();
    do {
        T_EQ_I64(cellar_stats_get(t.root, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
        sched_yield();
    } while (st.load_waiters == 0);
    answers("k", "theirs");
    T_EQ_I64(pthread_join(thread, NULL), 0);
}

T_MAIN("cache_tiers")
