/* SPDX-License-Identifier: MIT
 *
 * Aim:    Each object that the store accepted is freed exactly once, after its entry is gone and its
 *         last hold is released; a hold keeps it through each end of the entry. What the store did
 *         not accept stays with the caller. Calls of bytes and of objects refuse each other.
 * Method: A ledger: each object knows how often it is held, whether it is stored, and that it was
 *         freed. free_fn checks all three. Random calls of threads: test_object_ledger.c. */
#include "tests/support/api_kit.h"
#include "tests/support/refusals.h"
#include "tests/support/scan.h"
#include "tests/support/spaces.h"

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

static void use(cellar_held *h)
{
    hold(h);
    drop(h);
}

static const cellar_object_config things = { .struct_size = sizeof things, .free_fn = free_thing };
static cellar *c, *ns; /* of the case */

static void begin(uint64_t budget)
{
    atomic_store(&born, 0);
    atomic_store(&freed, 0);
    for (unsigned i = 0; i < CELLAR_CAUSE_COUNT; i++) { atomic_store(&causes[i], 0); }
    c = closed_later(api_open(budget));
    ns = space_with(c, "things", SPACE_OPTS(.object = &things));
}

static void end(void)
{
    T_AFTER_U64(left_close(), atomic_load(&freed), atomic_load(&born));
}

#define TYPE(call) { CELLAR_E_TYPE, (call) }
#define THINGS(fn) T_WITHIN(fn, begin(4u << 20), end())

static cellar_err put(const char *key, size_t charge)
{
    thing *t = new_thing(charge);
    const cellar_err err = cellar_object_set(ns, key, strlen(key), t, charge, NULL);
    if (err != CELLAR_OK) { forget(t); }
    return err;
}

static cellar_err take(const char *key, cellar_held *h)
{
    const cellar_err err = cellar_object_acquire(ns, key, strlen(key), h);
    if (err == CELLAR_OK) { hold(h); }
    return err;
}

static uint64_t count(cellar_cause why) { return atomic_load(&causes[why]); }

T_CASE_ON(each_end_of_an_entry_frees_its_object_once, THINGS)
{
    cellar_held h[9];
    T_EQ_I64(put("a", 100), CELLAR_OK);
    T_EQ_I64(put("a", 200), CELLAR_OK);
    T_EQ_U64(count(CELLAR_CAUSE_REPLACED), 1);
    T_EQ_I64(take("a", &h[0]), CELLAR_OK);
    T_EQ_U64(h[0].charge, 200);
    T_EQ_I64(take("none", &h[1]), CELLAR_MISS);
    T_CHECK(h[1].object == NULL);
    T_EQ_I64(cellar_delete(ns, "a", 1), CELLAR_OK);
    T_EQ_U64(atomic_load(&freed), 1); /* held */
    T_AFTER_U64(drop(&h[0]), count(CELLAR_CAUSE_DELETED), 1);
    cellar_object_release(&h[0]); /* zeroed */
    cellar_object_release(NULL);
    /* more holds than a thread has slots, and one more by another way */
    T_EQ_I64(put("b", 0), CELLAR_OK);
    for (unsigned i = 0; i < 9; i++) { T_EQ_I64(take("b", &h[i]), CELLAR_OK); }
    cellar_held more;
    T_EQ_I64(cellar_object_retain(&h[3], &more), CELLAR_OK);
    hold(&more);
    T_EQ_I64(cellar_clear(ns), CELLAR_OK);
    while (cellar_tick(c, 1000000, NULL) == CELLAR_PENDING) { }
    for (unsigned i = 0; i < 9; i++) { drop(&h[i]); }
    T_EQ_U64(count(CELLAR_CAUSE_CLEARED), 0);
    T_AFTER_U64(drop(&more), count(CELLAR_CAUSE_CLEARED), 1);
    /* expired, tagged, versioned */
    const cellar_bytes tag = { "t", 1 };
    T_EQ_I64(cellar_object_set(ns, "x", 1, new_thing(5), 5, SET_OPTS(.ttl_ms = 10)), CELLAR_OK);
    T_AFTER_I64(atomic_fetch_add(&api_now_ms, 11), take("x", &h[0]), CELLAR_MISS);
    while (cellar_tick(c, 1000000, NULL) == CELLAR_PENDING) { }
    T_EQ_U64(count(CELLAR_CAUSE_EXPIRED), 1);
    T_EQ_I64(cellar_object_set(ns, "y", 1, new_thing(6), 6,
                               SET_OPTS(.tags = &tag, .tag_count = 1)), CELLAR_OK);
    T_EQ_I64(take("y", &h[0]), CELLAR_OK);
    T_EQ_I64(cellar_delete_by_tag(ns, "t", 1, CELLAR_TAG_HARD), CELLAR_OK);
    T_EQ_I64(take("y", &h[1]), CELLAR_MISS);
    T_AFTER_I64(drop(&h[0]), cellar_touch(ns, "y", 1, 1000), CELLAR_MISS);
    T_EQ_I64(put("y", 7), CELLAR_OK);
    T_EQ_U64(count(CELLAR_CAUSE_TAG), 1);
    T_EQ_I64(cellar_touch(ns, "y", 1, 1000000000), CELLAR_OK);
    T_EQ_I64(take("y", &h[0]), CELLAR_OK);
    drop(&h[0]);
    T_EQ_I64(cellar_set(ns, "y", 1, NULL, 0, SET_OPTS(.flags = CELLAR_NEGATIVE)), CELLAR_OK);
    T_EQ_U64(count(CELLAR_CAUSE_NEGATIVE), 1);
    T_EQ_I64(take("y", &h[0]), CELLAR_ABSENT);
    T_EQ_I64(put("z", 8), CELLAR_OK);
    T_AFTER_U64(left_close(), count(CELLAR_CAUSE_CLOSED), 1);
}

/* The second open of a namespace: the objects must be those of the first one, and options that say
 * nothing else keep the others. */
T_CASE_ON(second_open_names_the_same_objects, THINGS)
{
    cellar *again;
    cellar_object_config oc = things;
    cellar_namespace_config o = { .struct_size = sizeof o, .object = &oc, .default_ttl_ms = 1000,
                                  .max_entries = 3 };
    T_REQUIRE(cellar_namespace_open(c, "things", &o, &again) == CELLAR_OK);
    T_CHECK(again == ns);
    T_EQ_I64(cellar_namespace_close(again), CELLAR_OK);
    o.default_ttl_ms = 0;
    o.max_entries = 0;
    T_REQUIRE(cellar_namespace_open(c, "things", &o, &again) == CELLAR_OK);
    for (unsigned i = 0; i < 4; i++) { T_EQ_I64(put(t_numbered("k", i), 1), CELLAR_OK); }
    const cellar_entry_info info = key_info(ns, "k3");
    T_CHECK(info.ttl_left_ms > 0 && info.ttl_left_ms <= 1000);
    T_EQ_I64(cellar_namespace_close(again), CELLAR_OK);
    T_EQ_U64(atomic_load(&freed), 1);

    oc.ctx = c;
    T_EQ_I64(cellar_namespace_open(c, "things", &o, &again), CELLAR_E_TYPE);
    (void)space_of(c, "bytes");
    T_EQ_I64(cellar_namespace_open(c, "bytes", &o, &again), CELLAR_E_TYPE);
}

T_CASE_ON(held_object_outlives_its_store, THINGS)
{
    cellar_held h, copy;
    T_EQ_I64(put("a", 100), CELLAR_OK);
    T_EQ_I64(put("b", 100), CELLAR_OK);
    T_EQ_I64(take("a", &h), CELLAR_OK);
    T_EQ_U64(store_stats(c).objects_held, 1);
    close_now(ns);
    close_now(c);
    T_EQ_U64(atomic_load(&freed), 1);
    T_EQ_I64(cellar_object_retain(&h, &copy), CELLAR_OK);
    hold(&copy);
    T_AFTER_U64(drop(&h), atomic_load(&freed), 1);
    T_AFTER_U64(drop(&copy), atomic_load(&freed), 2);
    T_EQ_U64(count(CELLAR_CAUSE_CLOSED), 2);
}

/* A record has 31 bits of a charge; a larger one stands in the cell. The budget is a number. */
T_CASE(charge_of_gigabytes_is_told_and_counted)
{
    if (sizeof(size_t) < 8) { return; }
    const uint64_t charges[] = { 0, (UINT64_C(1) << 31) - 2, (UINT64_C(1) << 31) - 1,
                                 UINT64_C(1) << 31, (UINT64_C(1) << 32) + 5 };
    begin(UINT64_C(16) << 30);
    for (unsigned i = 0; i < sizeof charges / sizeof charges[0]; i++) {
        cellar_held h, kept;
        T_EQ_I64(put("k", (size_t)charges[i]), CELLAR_OK);
        T_EQ_I64(take("k", &h), CELLAR_OK);
        T_EQ_U64(h.charge, charges[i]);
        T_EQ_I64(cellar_touch(ns, "k", 1, 60000), CELLAR_OK); /* the record is written again */
        T_EQ_I64(take("k", &kept), CELLAR_OK);
        T_EQ_U64(kept.charge, charges[i]);
        T_EQ_U64(key_info(ns, "k").value_len, charges[i]);
        const cellar_stats st = store_stats(c);
        T_CHECK(st.used_bytes > charges[i]);
        drop(&h);
        drop(&kept);
    }
    end();
}

T_CASE(object_without_room_is_refused_where_loads_refresh_values)
{
    begin(1u << 20);
    cellar_policy_rule rule = cellar_policy_rule_default();
    rule.kind = CELLAR_POLICY_GLOB, rule.pattern = "*";
    rule.ttl_ms = 60000, rule.refresh_ms = 1000;
    T_EQ_I64(cellar_policy_set(c, &rule, 1), CELLAR_OK);
    T_EQ_I64(put("k", 50), CELLAR_OK);
    T_EQ_I64(put("k", (1u << 19) + 1), CELLAR_E_TOOBIG);
    T_EQ_U64(atomic_load(&freed), 1); /* the old one */
    end();
}

T_CASE(charge_counts_and_held_objects_leave_no_room)
{
    enum { MOST = 64 };
    begin(1u << 20);
    cellar_held h[MOST];
    unsigned n = 0;
    T_EQ_I64(put("big", (1u << 19) + 1), CELLAR_E_TOOBIG);
    T_EQ_I64(put("half", 1u << 19), CELLAR_OK);
    T_EQ_I64(cellar_delete(ns, "half", 4), CELLAR_OK);
    for (unsigned i = 0; i < 1000; i++) { /* evicts by charge */
        T_EQ_I64(put(t_numbered("k", i), 50000), CELLAR_OK);
    }
    T_CHECK(count(CELLAR_CAUSE_EVICTED) > 950);
    cellar_err err = CELLAR_OK;
    for (unsigned i = 0; i < MOST && err == CELLAR_OK; i++) {
        err = put(t_numbered("h", i), 50000);
        if (err == CELLAR_OK) { T_EQ_I64(take(t_numbered("h", i), &h[n++]), CELLAR_OK); }
    }
    T_EQ_I64(err, CELLAR_E_SPACE);
    T_CHECK(n >= 10);
    const cellar_stats st = store_stats(c);
    T_CHECK(st.used_bytes <= 1u << 20);
    T_EQ_U64(st.objects_held, n);
    while (n != 0) { drop(&h[--n]); }
    T_EQ_I64(put("again", 50000), CELLAR_OK);
    end();
}

T_CASE_ON(lowered_budget_is_busy_while_objects_are_held, THINGS)
{
    cellar_held h[20];
    for (unsigned i = 0; i < 20; i++) {
        T_EQ_I64(put(t_numbered("h", i), 100000), CELLAR_OK);
        T_EQ_I64(take(t_numbered("h", i), &h[i]), CELLAR_OK);
    }
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_MEMORY_BYTES, 1 << 20), CELLAR_E_BUSY);
    T_EQ_U64(atomic_load(&freed), 0);
    for (unsigned i = 0; i < 20; i++) { drop(&h[i]); }
    T_EQ_U64(atomic_load(&freed), 20);
    T_EQ_U64(count(CELLAR_CAUSE_EVICTED), 20);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_MEMORY_BYTES, 1 << 20), CELLAR_OK);
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

T_CASE_ON(scans_listeners_and_patterns_know_objects, THINGS)
{
    uint64_t id, cursor = 0, deleted = 0;
    unsigned seen = 0;
    atomic_store(&heard, 0);
    T_EQ_I64(cellar_listener_add(ns, 0, hear, NULL, &id), CELLAR_OK);
    T_EQ_I64(put("user:1", 9), CELLAR_OK);
    T_EQ_I64(put("user:2", 9), CELLAR_OK);
    do {
        T_EQ_I64(cellar_scan(ns, &cursor, SCAN(NULL, 0, 1000), see, &seen), CELLAR_OK);
    } while (cursor != 0);
    T_EQ_U64(seen, 2);
    T_EQ_I64(cellar_delete_by_pattern(ns, "user:*", 6, &deleted), CELLAR_OK);
    T_EQ_U64(deleted, 2);
    T_EQ_U64(atomic_load(&heard), 2);
    T_EQ_U64(count(CELLAR_CAUSE_PATTERN), 2);
}

T_CASE_ON(root_holds_objects_and_long_keys_do, THINGS)
{
    static char key[60000];
    settings s = api_config(4u << 20);
    cellar *root = NULL;
    cellar_held h;
    s.config.root = SPACE_OPTS(.object = &things);
    memset(key, 'k', sizeof key);
    T_REQUIRE(settings_open(&s, &root) == CELLAR_OK);
    closed_later(root);
    thing *t = new_thing(300);
    T_EQ_I64(cellar_object_set(root, key, sizeof key, t, 300, NULL), CELLAR_OK);
    T_EQ_I64(cellar_object_acquire(root, key, sizeof key, &h), CELLAR_OK);
    T_CHECK(h.object == t);
    hold(&h);
    T_EQ_I64(cellar_integrity_check(root), CELLAR_OK);
    T_EQ_I64(cellar_delete(root, key, sizeof key), CELLAR_OK);
    T_AFTER_U64(drop(&h), count(CELLAR_CAUSE_DELETED), 1);
}

T_CASE_ON(calls_of_bytes_and_of_objects_refuse_each_other, THINGS)
{
    cellar *bad = NULL;
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
    cellar_object_config none = cellar_object_config_default();
    cellar_namespace_config tiered = { .struct_size = sizeof tiered, .object = &things,
                                       .tier = CELLAR_TIER_L2 };
    cellar_delete_opts d = { .struct_size = sizeof d, .old_value = &value, .old_value_len = &len };
    T_EQ_I64(put("k", 1), CELLAR_OK);
    T_EQ_I64(put("empty", 0), CELLAR_OK);
    REFUSALS("bytes and objects", TYPE(cellar_object_set(c, "k", 1, t, 1, NULL)),
             TYPE(cellar_object_acquire(c, "k", 1, &h)), TYPE(cellar_set(ns, "k", 1, "v", 1, NULL)),
             TYPE(cellar_set_many(ns, &si, 1, NULL, NULL)), TYPE(cellar_get_many(ns, &gi, 1, NULL)),
             TYPE(cellar_get(ns, "k", 1, buf, 8, &len)), TYPE(cellar_get(ns, "x", 1, buf, 8, &len)),
             TYPE(cellar_get_alloc(ns, "k", 1, &value, &len)), TYPE(cellar_pin(ns, "k", 1, &p)),
             TYPE(cellar_get_range(ns, "k", 1, 0, buf, 8, &len)), TYPE(cellar_reserve(ns, 10000, &p)),
             TYPE(cellar_increment(ns, "k", 1, 1, 0, NULL, &n)),
             TYPE(cellar_value_damaged(ns, "k", 1, "v", 1)),
             TYPE(cellar_get_or_load(ns, "k", 1, NULL, NULL, NULL, &r)),
             TYPE(cellar_delete_with(ns, "empty", 5, &d)),
             INVAL(cellar_namespace_open(c, "bad", SPACE_OPTS(.object = &none), &bad)),
             { CELLAR_E_UNSUPPORTED, cellar_namespace_open(c, "bad", &tiered, &bad) },
             INVAL(cellar_object_set(ns, "k", 1, NULL, 1, NULL)),
             INVAL(cellar_object_acquire(ns, "k", 1, NULL)), INVAL(cellar_object_retain(NULL, &h)));
    forget(t);
    T_EQ_I64(cellar_contains(ns, "empty", 5), CELLAR_OK);
    T_EQ_I64(cellar_contains(ns, "k", 1), CELLAR_OK);
    T_EQ_I64(key_info(ns, "k").kind, CELLAR_KIND_OBJECT);
    T_EQ_U64(key_info(ns, "k").value_len, 1);
}

static _Atomic unsigned loads;
#define LOADER(name) \
    static cellar_err name(cellar_load *load, const void *key, size_t key_len, void *ctx)

LOADER(load_thing)
{
    (void)key, (void)key_len;
    atomic_fetch_add(&loads, 1);
    if (ctx != NULL) { (void)cellar_delete(ctx, "l", 1); } /* the load is invalid now */
    return cellar_load_object(load, new_thing(30), 30);
}

LOADER(load_twice)
{
    (void)key, (void)key_len, (void)ctx;
    (void)cellar_load_object(load, new_thing(30), 30);
    return cellar_load_object(load, new_thing(31), 31);
}

LOADER(load_bytes)
{
    (void)key, (void)key_len, (void)ctx;
    return cellar_load_value(load, "v", 1);
}

LOADER(load_huge)
{
    (void)key, (void)key_len, (void)ctx;
    return cellar_load_object(load, new_thing(3u << 20), 3u << 20);
}

T_CASE_ON(loads_and_leases_hand_out_holds, THINGS)
{
    cellar_held h, other;
    cellar_lease lease;
    atomic_store(&loads, 0);
    for (unsigned i = 0; i < 3; i++) {
        T_EQ_I64(cellar_object_get_or_load(ns, "l", 1, NULL, load_thing, NULL, &h), CELLAR_OK);
        use(&h);
    }
    T_EQ_U64(atomic_load(&loads), 1);
    T_EQ_I64(cellar_delete(ns, "l", 1), CELLAR_OK);
    T_EQ_U64(atomic_load(&freed), 1);
    /* a delete during the load: the caller has the object, memory does not */
    T_EQ_I64(cellar_object_get_or_load(ns, "l", 1, NULL, load_thing, ns, &h), CELLAR_OK);
    hold(&h);
    T_EQ_I64(take("l", &other), CELLAR_MISS);
    T_EQ_U64(atomic_load(&freed), 1);
    T_AFTER_U64(drop(&h), atomic_load(&freed), 2);
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
    t = new_thing(0);
    T_EQ_I64(cellar_object_set(ns, "p", 1, t, 0, SET_OPTS(.user_flags = 1)), CELLAR_OK);
    T_EQ_I64(cellar_object_get_or_load(ns, "p", 1, &pins, load_thing, NULL, &h), CELLAR_OK);
    T_CHECK(h.object == t);
    use(&h);
    /* stale: the old object while the load fails */
    cellar_load_opts lo = { .struct_size = sizeof lo, .ttl_ms = 10, .stale_ms = 60000,
                            .jitter_pct = CELLAR_OFF };
    T_EQ_I64(cellar_object_get_or_load(ns, "s", 1, &lo, load_thing, NULL, &h), CELLAR_OK);
    void *old = h.object;
    use(&h);
    atomic_fetch_add(&api_now_ms, 20);
    T_EQ_I64(cellar_object_get_or_load(ns, "s", 1, &lo, load_bytes, NULL, &h), CELLAR_STALE);
    T_CHECK(h.object == old);
    use(&h);
}

LOADER(load_fails)
{
    (void)key, (void)key_len, (void)ctx;
    return cellar_load_fail(load, -77, 0, CELLAR_FAIL_FINAL);
}

T_CASE_ON(result_of_a_load_tells_error_source_and_flags, THINGS)
{
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
    T_FIELDS(r, loader_err, 0, value_len, 30);
    T_CHECK(r.value == NULL && r.buf == NULL && r.opaque[0] == 0);
    T_AFTER_I64(drop(&h), put("k", 50), CELLAR_OK);
    T_EQ_I64(cellar_object_get_or_load(ns, "k", 1, &lo, NULL, NULL, &h), CELLAR_E_INVAL);
    T_EQ_I64(cellar_object_get_or_load(ns, "k", 1, &lo, load_fails, NULL, &h), CELLAR_OK);
    use(&h);
    T_FIELDS(r, source, CELLAR_SOURCE_L1, flags, 0, value_len, 50);
    T_EQ_I64(cellar_object_lease_acquire(ns, "k", 1, &lo, NULL, &lease, &h), CELLAR_OK);
    T_AFTER_I64(use(&h), r.source, CELLAR_SOURCE_L1);
    /* a remembered failure: its code, without a load */
    lo.error_ttl_ms = 1000;
    T_EQ_I64(cellar_object_get_or_load(ns, "f", 1, &lo, load_fails, NULL, &h), CELLAR_E_LOADER);
    T_EQ_I64(cellar_object_get_or_load(ns, "f", 1, &lo, load_thing, NULL, &h), CELLAR_E_LOADER);
    T_FIELDS(r, loader_err, -77, source, CELLAR_SOURCE_ERROR_ENTRY);
    lo.result = &small;
    T_EQ_I64(cellar_object_get_or_load(ns, "k", 1, &lo, load_fails, NULL, &h), CELLAR_E_INVAL);
    T_EQ_I64(cellar_object_lease_acquire(ns, "k", 1, &lo, NULL, &lease, &h), CELLAR_E_INVAL);
}

/* End when three other calls wait for this load. */
LOADER(load_when_awaited)
{
    while (store_stats(c).load_waiters < 3) { sched_yield(); }
    return load_thing(load, key, key_len, ctx);
}

static void *load_awaited(void *unused)
{
    (void)unused;
    cellar_held h;
    T_EQ_I64(cellar_object_get_or_load(ns, "k", 1, NULL, load_when_awaited, NULL, &h), CELLAR_OK);
    use(&h);
    return NULL;
}

T_CASE_ON(four_threads_hold_the_object_of_one_load, THINGS)
{
    char each[4];
    atomic_store(&loads, 0);
    T_AFTER_U64(together(4, load_awaited, each, 1), atomic_load(&loads), 1);
    T_EQ_U64(atomic_load(&born), 1);
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

LOADER(load_too_big)
{
    (void)key, (void)key_len;
    return cellar_load_object(load, ctx, 3u << 20);
}

T_CASE_ON(free_fn_of_a_refused_object_runs_alone, THINGS)
{
    cellar_held h;
    unsigned frees = 0;
    cellar_object_config oc = { .struct_size = sizeof oc, .free_fn = free_in_steps, .ctx = &frees };
    free_deepest = 0;
    free_deletes = space_with(c, "steps", SPACE_OPTS(.object = &oc));
    T_EQ_I64(cellar_object_set(free_deletes, "other", 5, &oc, 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_object_get_or_load(free_deletes, "k", 1, NULL, load_too_big, &oc, &h),
             CELLAR_E_TOOBIG);
    T_EQ_U64(frees, 2);
    T_EQ_U64(free_deepest, 1);
    T_CHECK(store_stats(c).used_bytes <= 4u << 20); /* no charge was taken, none is given back */
}

static void free_counted(void *object, size_t charge, cellar_cause why, void *ctx)
{
    (void)object, (void)charge, (void)why;
    ++*(unsigned *)ctx;
}

T_CASE_ON(free_fn_of_two_namespaces_has_the_ctx_of_each, THINGS)
{
    unsigned frees[2] = { 0, 0 };
    for (unsigned i = 0; i < 2; i++) {
        const cellar_object_config oc = { .struct_size = sizeof oc, .free_fn = free_counted,
                                          .ctx = &frees[i] };
        cellar *v = space_with(c, t_numbered("v", i), SPACE_OPTS(.object = &oc));
        T_EQ_I64(cellar_object_set(v, "k", 1, &frees, 1, NULL), CELLAR_OK);
        T_EQ_I64(cellar_delete(v, "k", 1), CELLAR_OK);
        T_EQ_U64(frees[i], 1);
    }
}

/* Release a copy of a hold: 0 of a slot, 1 of a count, 2 of a count while the cell has the next
 * object, which is held. */
static void release_a_copy(unsigned form)
{
    begin(4u << 20);
    cellar_held h, copy, other;
    if (put("a", 1) != CELLAR_OK || take("a", &h) != CELLAR_OK) { _exit(7); }
    if (form != 0) {
        if (cellar_object_retain(&h, &copy) != CELLAR_OK) { _exit(7); }
        drop(&h);
        h = copy;
        hold(&h);
    }
    copy = h;
    drop(&h);
    if (form == 2 && (cellar_delete(ns, "a", 1) != CELLAR_OK || put("b", 1) != CELLAR_OK ||
                      take("b", &h) != CELLAR_OK ||
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
