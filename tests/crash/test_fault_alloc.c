/* SPDX-License-Identifier: MIT
 *
 * Aim:    Any allocation, mapping or thread start may fail. The call returns the code of its
 *         contract, the store stays consistent, no memory is leaked, and the same call then works.
 * Method: A scenario with every public function runs once to count its allocations. Then it runs
 *         with each allocation failing once, with all allocations failing from each one on, and
 *         with random failures. Afterwards a value is the last one set with OK, or a miss; the
 *         number of blocks is back at its start. Counts and sites are printed. */
#include "tests/support/scan.h"
#include "tests/support/t.h"

#include "base/mem.h"
#include "cellar.h"
#include "cellar_entry.h"
#include "cellar_invalidate.h"
#include "cellar_object.h"
#include "cellar_observe.h"
#include "cellar_admin.h"
#include "tests/support/settings.h"

static _Atomic int64_t now_ms;

static int64_t read_clock(void *ctx) { (void)ctx; return atomic_load(&now_ms); }

typedef struct run {
    uint64_t failed;      /* calls with E_NOMEM or E_SPACE */
    uint64_t unexpected;  /* calls with any other code outside their contract */
} run;

/* Return true for OK; accept the two codes of missing memory. */
static bool fine(run *r, cellar_err err, const char *call)
{
    if (err == CELLAR_OK) { return true; }
    if (err == CELLAR_E_NOMEM || err == CELLAR_E_SPACE) {
        r->failed++;
        return false;
    }
    r->unexpected++;
    printf("# %s: %s\n", call, cellar_code_name(err));
    return false;
}
#define FINE(call) fine(r, (call), #call)

static cellar_err enlarge(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    void *p;
    (void)ctx;
    cellar_err err = cellar_buf_append(out, old, old != NULL ? old_len : 0);
    if (err == CELLAR_OK) { err = cellar_buf_resize(out, old_len + 3000, &p); }
    return err;
}

static bool any(const cellar_scan_entry *e, void *ctx)
{
    (void)ctx;
    (void)e;
    return true;
}

static void hear(const cellar_event *e, void *ctx) { (void)e; ++*(unsigned *)ctx; }

/* A value set with OK reads back; a key has its old value or misses after a failed set. */
static void set_and_check(run *r, cellar *c, const char *key, const void *value, size_t len)
{
    static unsigned char got[500000];
    size_t got_len = 0;
    const bool stored = FINE(cellar_set(c, key, strlen(key), value, len, NULL));
    const cellar_err err = cellar_get(c, key, strlen(key), got, sizeof got, &got_len);
    if (stored) {
        T_EQ_I64(err, CELLAR_OK);
        T_EQ_U64(got_len, len);
        T_EQ_MEM(got, value, len);
    } else {
        T_EQ_I64(err, CELLAR_MISS); /* the value that it replaces is not served */
    }
}

static void use_entries(run *r, cellar *c)
{
    static unsigned char big[400000];
    void *copy;
    size_t len;
    uint64_t cursor = 0;
    cellar_pinned pin;
    cellar_entry_info info = cellar_entry_info_default();
    memset(big, 'b', sizeof big);
    set_and_check(r, c, "small", "value", 5);
    set_and_check(r, c, "small", "value of another length", 23);
    set_and_check(r, c, "big", big, sizeof big);
    set_and_check(r, c, "big", big, sizeof big - 1);
    for (uint32_t i = 0; i < 3000; i++) { /* the index grows */
        (void)FINE(cellar_set(c, &i, sizeof i, big, 100, NULL));
    }
    cellar_err err = cellar_get_alloc(c, "big", 3, &copy, &len);
    if (err != CELLAR_MISS && FINE(err)) {
        T_EQ_U64(len, sizeof big - 1);
        cellar_free(copy);
    }
    err = cellar_pin(c, "big", 3, &pin);
    if (err != CELLAR_MISS && FINE(err)) { cellar_unpin(&pin); }
    (void)FINE(cellar_update(c, "grows", 5, NULL, enlarge, NULL));
    (void)FINE(cellar_update(c, "grows", 5, NULL, enlarge, NULL));
    err = cellar_entry_info_get(c, "small", 5, CELLAR_GET_WANT_VERSION, &info);
    if (err != CELLAR_MISS) { (void)FINE(err); }
    (void)FINE(cellar_increment(c, "n", 1, 1, 0, NULL, NULL));
    do {
        if (!FINE(cellar_scan(c, &cursor, SCAN(NULL, 0, 1000), any, NULL))) { break; }
    } while (cursor != 0);
    err = cellar_touch(c, "small", 5, 5000);
    if (err != CELLAR_MISS) { (void)FINE(err); }
    (void)cellar_delete(c, "big", 3);
}

static void use_namespaces(run *r, cellar *c)
{
    static const cellar_ttl_class cls = { "one", 50 };
    char name[16];
    cellar_namespace_config o = { .struct_size = sizeof o, .ttl_classes = &cls,
                                  .ttl_class_count = 1 };
    for (int i = 0; i < 70; i++) { /* pages, tables of names and of generations grow */
        cellar *v;
        snprintf(name, sizeof name, "namespace%d", i % 100);
        if (!FINE(cellar_namespace_open(c, name, i % 3 == 0 ? &o : NULL, &v))) {
            T_CHECK(v == NULL);
            continue;
        }
        (void)FINE(cellar_set(v, "k", 1, name, strlen(name), NULL));
        T_EQ_I64(cellar_clear(v), CELLAR_OK);
        T_EQ_I64(cellar_contains(v, "k", 1), CELLAR_MISS);
        T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
        if (i % 5 == 0) { T_EQ_I64(cellar_namespace_drop(c, name), CELLAR_OK); }
    }
}

static int64_t objects; /* accepted, not freed */

static void free_object(void *object, size_t charge, cellar_cause why, void *ctx)
{
    (void)object, (void)charge, (void)why, (void)ctx;
    objects--;
}

static cellar_err load_object(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)key, (void)key_len;
    objects++; /* the load takes it in any case */
    return cellar_load_object(load, ctx, 5000);
}

/* An object that is not accepted stays here; each other one is freed once. */
static void use_objects(run *r, cellar *c)
{
    static char thing;
    cellar *v;
    cellar_object_config oc = { .struct_size = sizeof oc, .free_fn = free_object };
    cellar_namespace_config o = { .struct_size = sizeof o, .object = &oc };
    if (!FINE(cellar_namespace_open(c, "objects", &o, &v))) { return; }
    for (uint32_t i = 0; i < 600; i++) { /* cells grow */
        objects += FINE(cellar_object_set(v, &i, sizeof i, &thing, 100, NULL));
    }
    for (uint32_t i = 590; i < 610; i++) {
        cellar_held h, more;
        const cellar_err err =
            cellar_object_get_or_load(v, &i, sizeof i, NULL, load_object, &thing, &h);
        if (err == CELLAR_E_LOADER) {
            r->failed++;
        } else if (FINE(err)) {
            T_EQ_I64(cellar_object_retain(&h, &more), CELLAR_OK);
            cellar_object_release(&h);
            T_CHECK(more.object == &thing);
            cellar_object_release(&more);
        }
    }
    for (uint32_t i = 610; i < 620; i++) {
        cellar_held h;
        cellar_lease lease;
        const cellar_err err = cellar_object_lease_acquire(v, &i, sizeof i, NULL, NULL, &lease, &h);
        if (err != CELLAR_LEASED) {
            (void)FINE(err);
        } else if (FINE(cellar_object_lease_fulfill(v, &lease, &thing, 100, NULL))) {
            objects++;
        } else {
            T_CHECK(lease.opaque[0] == 0);
        }
    }
    T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
}

static void scenario(run *r, bool threads)
{
    cellar *c;
    unsigned heard = 0;
    uint64_t id = 0;
    atomic_store(&now_ms, 1000);
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 3u << 20, .host.clock = read_clock,
                     .host.no_threads = !threads };
    if (!FINE(settings_open(&cfg, &c))) {
        T_CHECK(c == NULL);
        return;
    }
    T_EQ_I64(cellar_listener_add(c, 0, hear, &heard, &id), CELLAR_OK);
    use_namespaces(r, c);
    use_entries(r, c);
    use_objects(r, c);
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_MEMORY_BYTES, 2 << 20), CELLAR_OK);
    (void)FINE(cellar_option_set(c, CELLAR_OPT_MAINTENANCE_THREAD, 1));
    T_EQ_I64(cellar_option_set(c, CELLAR_OPT_MAINTENANCE_THREAD, 0), CELLAR_OK);
    T_CHECK(cellar_tick(c, 1000, NULL) >= CELLAR_OK);
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
    T_CHECK(st.used_bytes <= st.budget_bytes);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
    T_EQ_I64(objects, 0);
}

/* Run the scenario with call `nth` failing; check for leaks and a working store. */
static uint64_t run_failing(uint64_t nth, bool sticky, const char **site)
{
    const uint64_t blocks = base_live_blocks(), bytes = base_live_bytes();
    run r = { 0, 0 };
    (void)base_fault_alloc_arm(nth, sticky);
    scenario(&r, false);
    if (site != NULL) { *site = base_fault_alloc_site(); }
    const uint64_t calls = base_fault_alloc_arm(0, false);
    if (!T_EQ_U64(r.unexpected, 0) || !T_EQ_U64(base_live_blocks(), blocks) ||
        !T_EQ_U64(base_live_bytes(), bytes)) {
        printf("# call %llu of the scenario failing%s\n", (unsigned long long)nth,
               sticky ? ", and all after it" : "");
    }
    if (nth == 0) { T_EQ_U64(r.failed, 0); }
    return calls;
}

T_ALONE(each_armed_allocation_fails)
{
    const char *sites[64];
    unsigned hits[64], count = 0;
    const uint64_t calls = run_failing(0, false, NULL);
    T_CHECK(calls > 100);
    const uint64_t share = calls / t_share(calls); /* the first ones, then one in `share` */
    for (uint64_t nth = 1; nth <= calls && !t_failed(); nth += nth < 40 ? 1 : share) {
        const char *site = NULL;
        (void)run_failing(nth, false, &site);
        if (site == NULL) { continue; } /* this run took another path with fewer allocations */
        unsigned i = 0;
        while (i < count && strcmp(sites[i], site) != 0) { i++; }
        if (i == count && count < 64) {
            sites[count] = site;
            hits[count++] = 0;
        }
        hits[i]++;
    }
    printf("# %llu allocations, one of %llu failed once:", (unsigned long long)calls,
           (unsigned long long)share);
    for (unsigned i = 0; i < count; i++) { printf(" %s %u", sites[i], hits[i]); }
    printf("\n");
    T_CHECK(count >= 3);
    (void)run_failing(0, false, NULL);
}

T_ALONE(allocations_that_keep_failing_leave_store_consistent)
{
    const uint64_t calls = run_failing(0, false, NULL);
    uint64_t step = 1;
    for (uint64_t nth = 1; nth <= calls && !t_failed(); nth += step) {
        (void)run_failing(nth, true, NULL);
        if (nth > 40) { step = 1 + calls / 100; }
    }
    (void)run_failing(0, false, NULL);
}

T_CASE(failed_thread_start_leaves_nothing_behind)
{
    if (T_TSAN) {
        T_SKIP("one thread, thousands of runs: too slow under ThreadSanitizer");
        return;
    }
    run r = { 0, 0 };
    (void)base_fault_alloc_arm(0, false);
    scenario(&r, true);
    const uint64_t calls = base_fault_alloc_arm(0, false);
    T_EQ_U64(r.failed + r.unexpected, 0);
    unsigned refused = 0;
    for (uint64_t nth = 1; nth <= calls && nth < 60; nth++) {
        const uint64_t blocks = base_live_blocks();
        r = (run){ 0, 0 };
        (void)base_fault_alloc_arm(nth, false);
        scenario(&r, true);
        (void)base_fault_alloc_arm(0, false);
        refused += r.failed > 0;
        T_EQ_U64(r.unexpected, 0);
        T_EQ_U64(base_live_blocks(), blocks);
    }
    T_CHECK(refused > 5);
}

T_MAIN("fault_alloc")
