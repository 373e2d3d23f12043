/* SPDX-License-Identifier: MIT
 *
 * Aim:    Each object that the store accepted is freed exactly once, after its entry is gone and its
 *         last hold is released; a hold keeps it through each end of the entry. What the store did
 *         not accept stays with the caller. Calls of bytes and of objects refuse each other.
 * Method: A ledger: each object knows how often it is held, whether it is stored, and that it was
 *         freed. free_fn checks all three. Random calls of threads: test_object_ledger.c. */
#include "tests/support/api_kit.h"
#include "tests/support/scan.h"

#include "cellar_object.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define ALIVE 0x616c697665u
typedef struct thing {
    _Atomic uint64_t alive; /* ALIVE until it is freed */
    _Atomic int32_t held;
    size_t charge;
} thing;

static _Atomic uint64_t born, freed, causes[CELLAR_CAUSE_COUNT];
static cellar *in_free;          /* free_fn calls this namespace */

static thing *new_thing(size_t charge)
{
    thing *t = calloc(1, sizeof *t);
    T_REQUIRE(t != NULL);
    t->charge = charge;
    atomic_store(&t->alive, ALIVE);
    atomic_fetch_add(&born, 1);
    return t;
}

static void free_thing(void *object, size_t charge, cellar_cause why, void *ctx)
{
    thing *t = object;
    (void)ctx;
    T_REQUIRE(atomic_exchange(&t->alive, 0) == ALIVE);
    T_REQUIRE(atomic_load(&t->held) == 0);
    T_REQUIRE(t->charge == charge);
    T_REQUIRE((unsigned)why < CELLAR_CAUSE_COUNT);
    atomic_fetch_add(&causes[why], 1);
    atomic_fetch_add(&freed, 1);
    free(t);
    if (in_free != NULL) { (void)cellar_delete(in_free, "nested", 6); }
}

/* What the caller keeps is no object of the ledger. */
static void forget(thing *t)
{
    T_REQUIRE(atomic_load(&t->alive) == ALIVE);
    atomic_fetch_sub(&born, 1);
    free(t);
}

static void hold(cellar_held *h)
{
    thing *t = h->object;
    T_REQUIRE(atomic_load(&t->alive) == ALIVE);
    T_REQUIRE(h->charge == t->charge);
    atomic_fetch_add(&t->held, 1);
}

static void drop(cellar_held *h)
{
    thing *t = h->object;
    T_REQUIRE(atomic_load(&t->alive) == ALIVE);
    atomic_fetch_sub(&t->held, 1);
    cellar_object_release(h);
    T_CHECK(h->object == NULL);
}

static void reset(void)
{
    atomic_store(&born, 0);
    atomic_store(&freed, 0);
    for (unsigned i = 0; i < CELLAR_CAUSE_COUNT; i++) { atomic_store(&causes[i], 0); }
    in_free = NULL;
}

static cellar *begin(uint64_t budget, cellar **ns)
{
    settings s = api_config(budget);
    cellar *c = NULL;
    cellar_object_config oc = { .struct_size = sizeof oc, .free_fn = free_thing };
    cellar_namespace_config o = { .struct_size = sizeof o, .object = &oc };
    reset();
    T_REQUIRE(settings_open(&s, &c) == CELLAR_OK);
    T_REQUIRE(cellar_namespace_open(c, "things", &o, ns) == CELLAR_OK);
    return c;
}

static void end(cellar *c, cellar *ns)
{
    T_EQ_I64(cellar_namespace_close(ns), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_EQ_U64(atomic_load(&freed), atomic_load(&born));
}

static cellar_err put(cellar *ns, const char *key, size_t charge)
{
    thing *t = new_thing(charge);
    const cellar_err err = cellar_object_set(ns, key, strlen(key), t, charge, NULL);
    if (err != CELLAR_OK) { forget(t); }
    return err;
}

static cellar_err take(cellar *ns, const char *key, cellar_held *h)
{
    const cellar_err err = cellar_object_acquire(ns, key, strlen(key), h);
    if (err == CELLAR_OK) { hold(h); }
    return err;
}

static void tick(cellar *c)
{
    while (cellar_tick(c, 1000000, NULL) == CELLAR_PENDING) { }
}

static uint64_t count(cellar_cause why) { return atomic_load(&causes[why]); }

T_CASE(each_end_of_an_entry_frees_its_object_once)
{
    cellar *ns, *c = begin(4u << 20, &ns);
    cellar_held h[9];
    T_EQ_I64(put(ns, "a", 100), CELLAR_OK);
    T_EQ_I64(put(ns, "a", 200), CELLAR_OK);
    T_EQ_U64(count(CELLAR_CAUSE_REPLACED), 1);
    T_EQ_I64(take(ns, "a", &h[0]), CELLAR_OK);
    T_EQ_U64(h[0].charge, 200);
    T_EQ_I64(take(ns, "none", &h[1]), CELLAR_MISS);
    T_CHECK(h[1].object == NULL);
    T_EQ_I64(cellar_delete(ns, "a", 1), CELLAR_OK);
    T_EQ_U64(atomic_load(&freed), 1); /* held */
    drop(&h[0]);
    T_EQ_U64(count(CELLAR_CAUSE_DELETED), 1);
    cellar_object_release(&h[0]); /* zeroed */
    cellar_object_release(NULL);
    /* more holds than a thread has slots, and one more by another way */
    T_EQ_I64(put(ns, "b", 0), CELLAR_OK);
    for (unsigned i = 0; i < 9; i++) { T_EQ_I64(take(ns, "b", &h[i]), CELLAR_OK); }
    cellar_held more;
    T_EQ_I64(cellar_object_retain(&h[3], &more), CELLAR_OK);
    hold(&more);
    T_EQ_I64(cellar_clear(ns), CELLAR_OK);
    tick(c);
    for (unsigned i = 0; i < 9; i++) { drop(&h[i]); }
    T_EQ_U64(count(CELLAR_CAUSE_CLEARED), 0);
    drop(&more);
    T_EQ_U64(count(CELLAR_CAUSE_CLEARED), 1);
    /* expired, tagged, versioned */
    const cellar_bytes tag = { "t", 1 };
    cellar_set_opts o = { .struct_size = sizeof o, .ttl_ms = 10 };
    thing *t = new_thing(5);
    T_EQ_I64(cellar_object_set(ns, "x", 1, t, 5, &o), CELLAR_OK);
    atomic_fetch_add(&api_now_ms, 11);
    T_EQ_I64(take(ns, "x", &h[0]), CELLAR_MISS);
    tick(c);
    T_EQ_U64(count(CELLAR_CAUSE_EXPIRED), 1);
    o.ttl_ms = 0;
    o.tags = &tag;
    o.tag_count = 1;
    t = new_thing(6);
    T_EQ_I64(cellar_object_set(ns, "y", 1, t, 6, &o), CELLAR_OK);
    T_EQ_I64(take(ns, "y", &h[0]), CELLAR_OK);
    T_EQ_I64(cellar_delete_by_tag(ns, "t", 1, CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_I64(take(ns, "y", &h[1]), CELLAR_MISS);
    drop(&h[0]);
    T_EQ_I64(cellar_touch(ns, "y", 1, 1000), CELLAR_MISS);
    T_EQ_I64(put(ns, "y", 7), CELLAR_OK);
    T_EQ_U64(count(CELLAR_CAUSE_TAG), 1);
    T_EQ_I64(cellar_touch(ns, "y", 1, 1000000000), CELLAR_OK);
    T_EQ_I64(take(ns, "y", &h[0]), CELLAR_OK);
    drop(&h[0]);
    o = cellar_set_opts_default();
    o.flags = CELLAR_NEGATIVE;
    T_EQ_I64(cellar_set(ns, "y", 1, NULL, 0, &o), CELLAR_OK);
    T_EQ_U64(count(CELLAR_CAUSE_NEGATIVE), 1);
    T_EQ_I64(take(ns, "y", &h[0]), CELLAR_ABSENT);
    T_EQ_I64(put(ns, "z", 8), CELLAR_OK);
    end(c, ns);
    T_EQ_U64(count(CELLAR_CAUSE_CLOSED), 1);
}

/* The second open of a namespace: the objects must be those of the first one, and options that say
 * nothing else keep the others. */
T_CASE(second_open_names_the_same_objects)
{
    cellar *ns, *again, *bytes, *c = begin(4u << 20, &ns);
    cellar_object_config oc = { .struct_size = sizeof oc, .free_fn = free_thing };
    cellar_namespace_config o = { .struct_size = sizeof o, .object = &oc, .default_ttl_ms = 1000,
                                  .max_entries = 3 };
    T_REQUIRE(cellar_namespace_open(c, "things", &o, &again) == CELLAR_OK);
    T_CHECK(again == ns);
    T_EQ_I64(cellar_namespace_close(again), CELLAR_OK);
    o.default_ttl_ms = 0;
    o.max_entries = 0;
    T_REQUIRE(cellar_namespace_open(c, "things", &o, &again) == CELLAR_OK);
    for (unsigned i = 0; i < 4; i++) { T_EQ_I64(put(ns, (const char *[]){ "a", "b", "c", "d" }[i], 1), CELLAR_OK); }
    cellar_entry_info info = cellar_entry_info_default();
    T_EQ_I64(cellar_entry_info_get(ns, "d", 1, 0, &info), CELLAR_OK);
    T_CHECK(info.ttl_left_ms > 0 && info.ttl_left_ms <= 1000);
    T_EQ_I64(cellar_namespace_close(again), CELLAR_OK);
    T_EQ_U64(atomic_load(&freed), 1);

    oc.ctx = c;
    T_EQ_I64(cellar_namespace_open(c, "things", &o, &again), CELLAR_E_TYPE);
    T_REQUIRE(cellar_namespace_open(c, "bytes", NULL, &bytes) == CELLAR_OK);
    T_EQ_I64(cellar_namespace_open(c, "bytes", &o, &again), CELLAR_E_TYPE);
    T_EQ_I64(cellar_namespace_close(bytes), CELLAR_OK);
    end(c, ns);
}

T_CASE(held_object_outlives_its_store)
{
    cellar *ns, *c = begin(4u << 20, &ns);
    cellar_held h, copy;
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(put(ns, "a", 100), CELLAR_OK);
    T_EQ_I64(put(ns, "b", 100), CELLAR_OK);
    T_EQ_I64(take(ns, "a", &h), CELLAR_OK);
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
    T_EQ_U64(st.objects_held, 1);
    T_EQ_I64(cellar_namespace_close(ns), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_EQ_U64(atomic_load(&freed), 1);
    T_EQ_I64(cellar_object_retain(&h, &copy), CELLAR_OK);
    hold(&copy);
    drop(&h);
    T_EQ_U64(atomic_load(&freed), 1);
    drop(&copy);
    T_EQ_U64(atomic_load(&freed), 2);
    T_EQ_U64(count(CELLAR_CAUSE_CLOSED), 2);
}

/* A record has 31 bits of a charge; a larger one stands in the cell. The budget is a number. */
T_CASE(charge_of_gigabytes_is_told_and_counted)
{
    if (sizeof(size_t) < 8) { return; }
    const uint64_t charges[] = { 0, (UINT64_C(1) << 31) - 2, (UINT64_C(1) << 31) - 1,
                                 UINT64_C(1) << 31, (UINT64_C(1) << 32) + 5 };
    cellar *ns, *c = begin(UINT64_C(16) << 30, &ns);
    for (unsigned i = 0; i < sizeof charges / sizeof charges[0]; i++) {
        cellar_held h, kept;
        cellar_entry_info info = cellar_entry_info_default();
        cellar_stats st = cellar_stats_default();
        T_EQ_I64(put(ns, "k", (size_t)charges[i]), CELLAR_OK);
        T_EQ_I64(take(ns, "k", &h), CELLAR_OK);
        T_EQ_U64(h.charge, charges[i]);
        T_EQ_I64(cellar_touch(ns, "k", 1, 60000), CELLAR_OK); /* the record is written again */
        T_EQ_I64(take(ns, "k", &kept), CELLAR_OK);
        T_EQ_U64(kept.charge, charges[i]);
        T_EQ_I64(cellar_entry_info_get(ns, "k", 1, 0, &info), CELLAR_OK);
        T_EQ_U64(info.value_len, charges[i]);
        T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
        T_CHECK(st.used_bytes > charges[i]);
        drop(&h);
        drop(&kept);
    }
    end(c, ns);
}

T_CASE(charge_counts_and_held_objects_leave_no_room)
{
    enum { MOST = 64 };
    cellar *ns, *c = begin(1u << 20, &ns);
    cellar_held h[MOST];
    char key[16];
    unsigned n = 0;
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(put(ns, "big", (1u << 19) + 1), CELLAR_E_TOOBIG);
    T_EQ_I64(put(ns, "half", 1u << 19), CELLAR_OK);
    T_EQ_I64(cellar_delete(ns, "half", 4), CELLAR_OK);
    for (unsigned i = 0; i < 1000; i++) { /* evicts by charge */
        (void)snprintf(key, sizeof key, "k%u", i);
        T_EQ_I64(put(ns, key, 50000), CELLAR_OK);
    }
    T_CHECK(count(CELLAR_CAUSE_EVICTED) > 950);
    cellar_err err = CELLAR_OK;
    for (unsigned i = 0; i < MOST && err == CELLAR_OK; i++) {
        (void)snprintf(key, sizeof key, "h%u", i);
        err = put(ns, key, 50000);
        if (err == CELLAR_OK) { T_EQ_I64(take(ns, key, &h[n++]), CELLAR_OK); }
    }
    T_EQ_I64(err, CELLAR_E_SPACE);
    T_CHECK(n >= 10);
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
    T_CHECK(st.used_bytes <= 1u << 20);
    T_EQ_U64(st.objects_held, n);
    while (n != 0) { drop(&h[--n]); }
    T_EQ_I64(put(ns, "again", 50000), CELLAR_OK);
    end(c, ns);
}

T_CASE(lowered_budget_is_busy_while_objects_are_held)
{
    cellar *ns, *c = begin(4u << 20, &ns);
    cellar_held h[20];
    char key[16];
    for (unsigned i = 0; i < 20; i++) {
        (void)snprintf(key, sizeof key, "h%u", i);
        T_EQ_I64(put(ns, key, 100000), CELLAR_OK);
        T_EQ_I64(take(ns, key, &h[i]), CELLAR_OK);
    }
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_MEMORY_BYTES, 1 << 20), CELLAR_E_BUSY);
    T_EQ_U64(atomic_load(&freed), 0);
    for (unsigned i = 0; i < 20; i++) { drop(&h[i]); }
    T_EQ_U64(atomic_load(&freed), 20);
    T_EQ_U64(count(CELLAR_CAUSE_EVICTED), 20);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_MEMORY_BYTES, 1 << 20), CELLAR_OK);
    end(c, ns);
}

static _Atomic unsigned heard;
static void hear(const cellar_event *e, void *ctx)
{
    (void)ctx;
    T_CHECK(e->kind == CELLAR_KIND_OBJECT && e->value == NULL && e->value_len == 9);
    atomic_fetch_add(&heard, 1);
}

static bool see(const cellar_scan_entry *e, void *ctx)
{
    T_CHECK(e->kind == CELLAR_KIND_OBJECT && e->value == NULL && e->value_len == 9);
    ++*(unsigned *)ctx;
    return true;
}

T_CASE(scans_listeners_and_patterns_know_objects)
{
    cellar *ns, *c = begin(4u << 20, &ns);
    uint64_t id, cursor = 0, deleted = 0;
    unsigned seen = 0;
    atomic_store(&heard, 0);
    T_EQ_I64(cellar_listener_add(ns, 0, hear, NULL, &id), CELLAR_OK);
    T_EQ_I64(put(ns, "user:1", 9), CELLAR_OK);
    T_EQ_I64(put(ns, "user:2", 9), CELLAR_OK);
    do {
        T_EQ_I64(cellar_scan(ns, &cursor, SCAN(NULL, 0, 1000), see, &seen), CELLAR_OK);
    } while (cursor != 0);
    T_EQ_U64(seen, 2);
    T_EQ_I64(cellar_delete_by_pattern(ns, "user:*", 6, &deleted), CELLAR_OK);
    T_EQ_U64(deleted, 2);
    T_EQ_U64(atomic_load(&heard), 2);
    T_EQ_U64(count(CELLAR_CAUSE_PATTERN), 2);
    end(c, ns);
}

T_CASE(root_holds_objects_and_long_keys_do)
{
    static char key[60000];
    settings s = api_config(4u << 20);
    cellar *c = NULL;
    cellar_held h;
    cellar_object_config oc = { .struct_size = sizeof oc, .free_fn = free_thing };
    cellar_namespace_config o = { .struct_size = sizeof o, .object = &oc };
    s.config.root = &o;
    reset();
    memset(key, 'k', sizeof key);
    T_REQUIRE(settings_open(&s, &c) == CELLAR_OK);
    thing *t = new_thing(300);
    T_EQ_I64(cellar_object_set(c, key, sizeof key, t, 300, NULL), CELLAR_OK);
    T_EQ_I64(cellar_object_acquire(c, key, sizeof key, &h), CELLAR_OK);
    T_CHECK(h.object == t);
    hold(&h);
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(cellar_delete(c, key, sizeof key), CELLAR_OK);
    drop(&h);
    T_EQ_U64(count(CELLAR_CAUSE_DELETED), 1);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_EQ_U64(atomic_load(&freed), atomic_load(&born));
}

T_CASE(calls_of_bytes_and_of_objects_refuse_each_other)
{
    cellar *ns, *c = begin(4u << 20, &ns), *bad = NULL;
    cellar_held h;
    char buf[8];
    size_t len;
    int64_t n;
    thing *t = new_thing(1);
    cellar_pinned p;
    cellar_result r = cellar_result_default();
    void *value;
    cellar_set_item si = { .key = "k", .key_len = 1, .value = "v", .value_len = 1 };
    cellar_get_item gi = { .key = "k", .key_len = 1, .buf = buf, .buf_cap = 8 };
    T_EQ_I64(put(ns, "k", 1), CELLAR_OK);
    T_EQ_I64(cellar_object_set(c, "k", 1, t, 1, NULL), CELLAR_E_TYPE);
    forget(t);
    T_EQ_I64(cellar_object_acquire(c, "k", 1, &h), CELLAR_E_TYPE);
    T_EQ_I64(cellar_set(ns, "k", 1, "v", 1, NULL), CELLAR_E_TYPE);
    T_EQ_I64(cellar_set_many(ns, &si, 1, NULL, NULL), CELLAR_E_TYPE);
    T_EQ_I64(cellar_get(ns, "k", 1, buf, 8, &len), CELLAR_E_TYPE);
    T_EQ_I64(cellar_get(ns, "other", 5, buf, 8, &len), CELLAR_E_TYPE);
    T_EQ_I64(cellar_get_many(ns, &gi, 1, NULL), CELLAR_E_TYPE);
    T_EQ_I64(cellar_get_alloc(ns, "k", 1, &value, &len), CELLAR_E_TYPE);
    T_EQ_I64(cellar_get_range(ns, "k", 1, 0, buf, 8, &len), CELLAR_E_TYPE);
    T_EQ_I64(cellar_pin(ns, "k", 1, &p), CELLAR_E_TYPE);
    T_EQ_I64(cellar_reserve(ns, 10000, &p), CELLAR_E_TYPE);
    T_EQ_I64(cellar_increment(ns, "k", 1, 1, 0, NULL, &n), CELLAR_E_TYPE);
    T_EQ_I64(cellar_value_damaged(ns, "k", 1, "v", 1), CELLAR_E_TYPE);
    T_EQ_I64(cellar_get_or_load(ns, "k", 1, NULL, NULL, NULL, &r), CELLAR_E_TYPE);
    cellar_delete_opts d = { .struct_size = sizeof d, .old_value = &value, .old_value_len = &len };
    T_EQ_I64(put(ns, "empty", 0), CELLAR_OK);
    T_EQ_I64(cellar_delete_with(ns, "empty", 5, &d), CELLAR_E_TYPE);
    T_EQ_I64(cellar_contains(ns, "empty", 5), CELLAR_OK);
    T_EQ_I64(cellar_contains(ns, "k", 1), CELLAR_OK);
    cellar_entry_info info = cellar_entry_info_default();
    T_EQ_I64(cellar_entry_info_get(ns, "k", 1, 0, &info), CELLAR_OK);
    T_EQ_I64(info.kind, CELLAR_KIND_OBJECT);
    T_EQ_U64(info.value_len, 1);
    cellar_object_config oc = cellar_object_config_default();
    cellar_namespace_config o = { .struct_size = sizeof o, .object = &oc };
    T_EQ_I64(cellar_namespace_open(c, "bad", &o, &bad), CELLAR_E_INVAL);
    oc.free_fn = free_thing;
    o.tier = CELLAR_TIER_L2;
    T_EQ_I64(cellar_namespace_open(c, "bad", &o, &bad), CELLAR_E_UNSUPPORTED);
    T_EQ_I64(cellar_object_set(ns, "k", 1, NULL, 1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_object_acquire(ns, "k", 1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_object_retain(NULL, &h), CELLAR_E_INVAL);
    end(c, ns);
}

static _Atomic unsigned loads;
static cellar_err load_thing(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len;
    atomic_fetch_add(&loads, 1);
    if (ctx != NULL) { (void)cellar_delete(ctx, "l", 1); } /* the load is invalid now */
    return cellar_load_object(load, new_thing(30), 30);
}

static cellar_err load_twice(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    (void)cellar_load_object(load, new_thing(30), 30);
    return cellar_load_object(load, new_thing(31), 31);
}

static cellar_err load_bytes(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    return cellar_load_value(load, "v", 1);
}

static cellar_err load_huge(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    return cellar_load_object(load, new_thing(3u << 20), 3u << 20);
}

T_CASE(loads_and_leases_hand_out_holds)
{
    cellar *ns, *c = begin(4u << 20, &ns);
    cellar_held h, other;
    cellar_lease lease;
    atomic_store(&loads, 0);
    for (unsigned i = 0; i < 3; i++) {
        T_EQ_I64(cellar_object_get_or_load(ns, "l", 1, NULL, load_thing, NULL, &h), CELLAR_OK);
        hold(&h);
        drop(&h);
    }
    T_EQ_U64(atomic_load(&loads), 1);
    T_EQ_I64(cellar_delete(ns, "l", 1), CELLAR_OK);
    T_EQ_U64(atomic_load(&freed), 1);
    /* a delete during the load: the caller has the object, memory does not */
    T_EQ_I64(cellar_object_get_or_load(ns, "l", 1, NULL, load_thing, ns, &h), CELLAR_OK);
    hold(&h);
    T_EQ_I64(take(ns, "l", &other), CELLAR_MISS);
    T_EQ_U64(atomic_load(&freed), 1);
    drop(&h);
    T_EQ_U64(atomic_load(&freed), 2);
    T_EQ_I64(cellar_object_get_or_load(ns, "t", 1, NULL, load_twice, NULL, &h),
             CELLAR_E_RESULT_TWICE);
    T_EQ_U64(atomic_load(&freed), 4);
    T_CHECK(cellar_object_get_or_load(ns, "t", 1, NULL, load_bytes, NULL, &h) < 0);
    T_CHECK(cellar_object_get_or_load(ns, "t", 1, NULL, load_huge, NULL, &h) < 0);
    T_EQ_U64(atomic_load(&freed), 5);
    /* leases */
    T_EQ_I64(cellar_object_lease_acquire(ns, "q", 1, NULL, NULL, &lease, &h), CELLAR_LEASED);
    thing *t = new_thing(40);
    T_EQ_I64(cellar_object_lease_fulfill(ns, &lease, t, 40, NULL), CELLAR_OK);
    T_EQ_I64(cellar_object_lease_fulfill(ns, &lease, t, 40, NULL), CELLAR_E_LEASE);
    T_EQ_I64(cellar_object_lease_acquire(ns, "q", 1, NULL, NULL, &lease, &h), CELLAR_OK);
    T_CHECK(h.object == t);
    hold(&h);
    T_EQ_I64(cellar_object_lease_acquire(ns, "r", 1, NULL, NULL, &lease, &other), CELLAR_LEASED);
    T_EQ_I64(cellar_delete(ns, "r", 1), CELLAR_MISS);
    t = new_thing(41);
    T_EQ_I64(cellar_object_lease_fulfill(ns, &lease, t, 41, NULL), CELLAR_INVALIDATED);
    T_EQ_U64(atomic_load(&freed), 6);
    drop(&h);
    /* an object that is refused: the lease ends, the object stays with the caller */
    T_EQ_I64(cellar_object_lease_acquire(ns, "u", 1, NULL, NULL, &lease, &other), CELLAR_LEASED);
    t = new_thing(3u << 20);
    T_EQ_I64(cellar_object_lease_fulfill(ns, &lease, t, 3u << 20, NULL), CELLAR_E_TOOBIG);
    T_CHECK(lease.opaque[0] == 0);
    T_EQ_I64(cellar_object_lease_fulfill(ns, &lease, t, 3u << 20, NULL), CELLAR_E_LEASE);
    T_EQ_I64(cellar_object_lease_acquire(ns, "u", 1, NULL, NULL, &lease, &other), CELLAR_LEASED);
    T_EQ_I64(cellar_lease_release(ns, &lease, -1), CELLAR_OK);
    forget(t);
    /* PIN pins no object: a hit without the short path, charge 0 */
    cellar_load_opts pins = { .struct_size = sizeof pins, .flags = CELLAR_LOAD_PIN };
    cellar_set_opts so = { .struct_size = sizeof so, .user_flags = 1 };
    t = new_thing(0);
    T_EQ_I64(cellar_object_set(ns, "p", 1, t, 0, &so), CELLAR_OK);
    T_EQ_I64(cellar_object_get_or_load(ns, "p", 1, &pins, load_thing, NULL, &h), CELLAR_OK);
    T_CHECK(h.object == t);
    hold(&h);
    drop(&h);
    /* stale: the old object while the load fails */
    cellar_load_opts lo = { .struct_size = sizeof lo, .ttl_ms = 10, .stale_ms = 60000,
                            .jitter_pct = CELLAR_OFF };
    T_EQ_I64(cellar_object_get_or_load(ns, "s", 1, &lo, load_thing, NULL, &h), CELLAR_OK);
    void *old = h.object;
    hold(&h);
    drop(&h);
    atomic_fetch_add(&api_now_ms, 20);
    T_EQ_I64(cellar_object_get_or_load(ns, "s", 1, &lo, load_bytes, NULL, &h), CELLAR_STALE);
    T_CHECK(h.object == old);
    hold(&h);
    drop(&h);
    end(c, ns);
}

static cellar_err load_fails(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len, (void)ctx;
    return cellar_load_fail(load, -77, 0, CELLAR_FAIL_FINAL);
}

T_CASE(result_of_a_load_tells_error_source_and_flags)
{
    cellar *ns, *c = begin(4u << 20, &ns);
    cellar_held h;
    cellar_lease lease;
    cellar_result r = cellar_result_default(), small = { .struct_size = 12 };
    cellar_load_opts lo = { .struct_size = sizeof lo, .result = &r };
    T_EQ_I64(cellar_object_get_or_load(ns, "e", 1, &lo, load_fails, NULL, &h), CELLAR_E_LOADER);
    T_EQ_I64(r.loader_err, -77);
    T_CHECK(h.object == NULL);
    T_EQ_I64(cellar_object_get_or_load(ns, "l", 1, &lo, load_thing, ns, &h), CELLAR_OK);
    hold(&h);
    T_EQ_I64(r.source, CELLAR_SOURCE_LOADED);
    T_EQ_U64(r.flags & CELLAR_RESULT_INVALIDATED, CELLAR_RESULT_INVALIDATED);
    T_EQ_I64(r.loader_err, 0);
    T_EQ_U64(r.value_len, 30);
    T_CHECK(r.value == NULL && r.buf == NULL && r.opaque[0] == 0);
    drop(&h);
    T_EQ_I64(put(ns, "k", 50), CELLAR_OK);
    T_EQ_I64(cellar_object_get_or_load(ns, "k", 1, &lo, NULL, NULL, &h), CELLAR_E_INVAL);
    T_EQ_I64(cellar_object_get_or_load(ns, "k", 1, &lo, load_fails, NULL, &h), CELLAR_OK);
    hold(&h);
    drop(&h);
    T_EQ_I64(r.source, CELLAR_SOURCE_L1);
    T_EQ_U64(r.flags, 0);
    T_EQ_U64(r.value_len, 50);
    T_EQ_I64(cellar_object_lease_acquire(ns, "k", 1, &lo, NULL, &lease, &h), CELLAR_OK);
    hold(&h);
    drop(&h);
    T_EQ_I64(r.source, CELLAR_SOURCE_L1);
    /* a remembered failure: its code, without a load */
    lo.error_ttl_ms = 1000;
    T_EQ_I64(cellar_object_get_or_load(ns, "f", 1, &lo, load_fails, NULL, &h), CELLAR_E_LOADER);
    T_EQ_I64(cellar_object_get_or_load(ns, "f", 1, &lo, load_thing, NULL, &h), CELLAR_E_LOADER);
    T_EQ_I64(r.loader_err, -77);
    T_EQ_I64(r.source, CELLAR_SOURCE_ERROR_ENTRY);
    lo.result = &small;
    T_EQ_I64(cellar_object_get_or_load(ns, "k", 1, &lo, load_fails, NULL, &h), CELLAR_E_INVAL);
    T_EQ_I64(cellar_object_lease_acquire(ns, "k", 1, &lo, NULL, &lease, &h), CELLAR_E_INVAL);
    end(c, ns);
}

/* End when three other calls wait for this load. */
static cellar_err load_when_awaited(cellar_load *load, const void *key, size_t key_len, void *ns)
{
    cellar_stats st = cellar_stats_default();
    do {
        sched_yield();
        T_REQUIRE(cellar_stats_get(ns, CELLAR_SCOPE_STORE, &st) == CELLAR_OK);
    } while (st.load_waiters < 3);
    return load_thing(load, key, key_len, NULL);
}

static void *load_awaited(void *ns)
{
    cellar_held h;
    T_REQUIRE(cellar_object_get_or_load(ns, "k", 1, NULL, load_when_awaited, ns, &h) == CELLAR_OK);
    hold(&h);
    drop(&h);
    return NULL;
}

T_CASE(four_threads_hold_the_object_of_one_load)
{
    cellar *ns, *c = begin(4u << 20, &ns);
    pthread_t t[4];
    atomic_store(&loads, 0);
    for (unsigned i = 0; i < 4; i++) { T_REQUIRE(pthread_create(&t[i], NULL, load_awaited, ns) == 0); }
    for (unsigned i = 0; i < 4; i++) { pthread_join(t[i], NULL); }
    T_EQ_U64(atomic_load(&loads), 1);
    T_EQ_U64(atomic_load(&born), 1);
    end(c, ns);
}

static unsigned free_depth, free_deepest;
static cellar *free_deletes; /* free_fn deletes keys of this namespace */
static void free_in_steps(void *object, size_t charge, cellar_cause why, void *ctx)
{
    (void)object, (void)charge, (void)why;
    if (++free_depth > free_deepest) { free_deepest = free_depth; }
    ++*(unsigned *)ctx;
    (void)cellar_delete(free_deletes, "other", 5);
    free_depth--;
}

static cellar_err load_too_big(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len;
    return cellar_load_object(load, ctx, 3u << 20);
}

T_CASE(free_fn_of_a_refused_object_runs_alone)
{
    cellar *c = api_open(4u << 20);
    cellar_held h;
    cellar_stats st = cellar_stats_default();
    unsigned frees = 0;
    free_deepest = 0;
    cellar_object_config oc = { .struct_size = sizeof oc, .free_fn = free_in_steps, .ctx = &frees };
    cellar_namespace_config o = { .struct_size = sizeof o, .object = &oc };
    T_REQUIRE(cellar_namespace_open(c, "steps", &o, &free_deletes) == CELLAR_OK);
    T_EQ_I64(cellar_object_set(free_deletes, "other", 5, &o, 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_object_get_or_load(free_deletes, "k", 1, NULL, load_too_big, &oc, &h),
             CELLAR_E_TOOBIG);
    T_EQ_U64(frees, 2);
    T_EQ_U64(free_deepest, 1);
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
    T_CHECK(st.used_bytes <= 4u << 20); /* no charge was taken, none is given back */
    T_EQ_I64(cellar_namespace_close(free_deletes), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

T_CASE(free_fn_inside_free_fn_waits)
{
    cellar *ns, *c = begin(4u << 20, &ns);
    T_EQ_I64(put(ns, "nested", 1), CELLAR_OK);
    T_EQ_I64(put(ns, "a", 1), CELLAR_OK);
    in_free = ns;
    T_EQ_I64(cellar_delete(ns, "a", 1), CELLAR_OK);
    T_EQ_U64(atomic_load(&freed), 2);
    in_free = NULL;
    end(c, ns);
}

/* Release a copy of a hold: 0 of a slot, 1 of a count, 2 of a count while the cell has the next
 * object, which is held. */
static void release_a_copy(unsigned form)
{
    cellar *ns, *c = begin(4u << 20, &ns);
    cellar_held h, copy, other;
    if (put(ns, "a", 1) != CELLAR_OK || take(ns, "a", &h) != CELLAR_OK) { _exit(7); }
    if (form != 0) {
        if (cellar_object_retain(&h, &copy) != CELLAR_OK) { _exit(7); }
        drop(&h);
        h = copy;
        hold(&h);
    }
    copy = h;
    drop(&h);
    if (form == 2 && (cellar_delete(ns, "a", 1) != CELLAR_OK || put(ns, "b", 1) != CELLAR_OK ||
                      take(ns, "b", &h) != CELLAR_OK ||
                      cellar_object_retain(&h, &other) != CELLAR_OK)) {
        _exit(7);
    }
    cellar_object_release(&copy);
    cellar_stats st = cellar_stats_default();
    (void)cellar_stats_get(c, CELLAR_SCOPE_STORE, &st);
    _exit(st.release_errors == 1 ? 0 : 8); /* not in a debug build */
}

T_CASE(second_release_of_a_hold_aborts_or_is_counted)
{
    for (unsigned form = 0; form < 3; form++) {
        int status = 0;
        fflush(stdout);
        const pid_t child = fork();
        T_REQUIRE(child >= 0);
        if (child == 0) {
            const struct rlimit none = { 0, 0 };
            (void)setrlimit(RLIMIT_CORE, &none);
            if (freopen("/dev/null", "w", stderr) == NULL) { _exit(2); }
            (void)signal(SIGABRT, SIG_DFL);
            release_a_copy(form);
        }
        T_REQUIRE(waitpid(child, &status, 0) == child);
        T_CHECK(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT));
    }
}

T_MAIN("api_objects")
