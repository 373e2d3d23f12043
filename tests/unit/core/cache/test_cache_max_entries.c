/* SPDX-License-Identifier: MIT
 *
 * Aim:    A call that evicts for the bound of a namespace ends although the namespace is dropped
 *         meanwhile, also while the drop waits for a tier. A namespace that could not be created
 *         keeps no quota of the rules that were loaded meanwhile.
 * Method: A lock of the disk keeps the drop waiting until the other call ended. An allocator that
 *         loads rules in another thread and then refuses. */
#include "cache/call.h"
#include "l1/cap.h"
#include "l2/types.h"
#include "tests/support/disk_store.h"
#include "tests/support/rules.h"
#include "tests/support/settings.h"
#include "tests/support/t.h"

#include <stdio.h>

/* ---- drop ------------------------------------------------------------------------------------ */

static _Atomic uint32_t first_evicted, held, trimmed;
static cellar *root, *bounded;

/* Wait for a flag. Return false after some seconds, so that a failed test ends. */
static bool wait_for(_Atomic uint32_t *flag)
{
    const uint64_t end_ns = base_now_ns() + UINT64_C(60000000000) * t_patience();
    while (atomic_load(flag) == 0 && base_now_ns() < end_ns) { base_yield(); }
    return atomic_load(flag) != 0;
}

static void hear(const cellar_event *e, void *ctx)
{
    (void)ctx;
    if (e->cause != CELLAR_CAUSE_EVICTED || atomic_exchange(&first_evicted, 1) != 0) { return; }
    const uint64_t end_ns = base_now_ns() + UINT64_C(60000000000) * t_patience();
    while (!cache_is_closed(bounded) && base_now_ns() < end_ns) { base_yield(); }
    T_CHECK(cache_is_closed(bounded));
}

/* Hold the lock that a drop takes when it tells the disk. */
static void *hold(void *arg)
{
    l2 *d = arg;
    sync_take(L2_DEV, &d->namespace_lock);
    atomic_store(&held, 1);
    T_CHECK(wait_for(&trimmed));
    sync_drop(L2_DEV, &d->namespace_lock);
    return NULL;
}

static void *trim(void *arg)
{
    (void)arg;
    T_EQ_I64(cellar_option_set(bounded, CELLAR_OPT_NAMESPACE_MAX_ENTRIES, 1), CELLAR_OK);
    atomic_store(&trimmed, 1);
    return NULL;
}

T_CASE(eviction_for_a_bound_ends_while_a_drop_waits)
{
    uint64_t id;
    pthread_t t, holder;
    store_begin();
    settings s = { SETTINGS_SIZES, .config.memory_bytes = 4u << 20, .config.l2_path = store,
                   .config.l2_bytes = CELLAR_L2_BYTES_MIN, .host.no_threads = 1 };
    T_REQUIRE(settings_open(&s, &root) == CELLAR_OK);
    cellar_namespace_config o = { .struct_size = sizeof o, .max_entries = 10 };
    T_REQUIRE(cellar_namespace_open(root, "v", &o, &bounded) == CELLAR_OK);
    for (char key = 'a'; key < 'k'; key++) {
        T_EQ_I64(cellar_set(bounded, &key, 1, "v", 1, NULL), CELLAR_OK);
    }
    T_EQ_I64(cellar_listener_add(bounded, 0, hear, NULL, &id), CELLAR_OK);
    T_REQUIRE(pthread_create(&t, NULL, trim, NULL) == 0);
    T_CHECK(wait_for(&first_evicted));
    T_REQUIRE(pthread_create(&holder, NULL, hold, root->store->disk) == 0);
    T_CHECK(wait_for(&held));
    T_EQ_I64(cellar_namespace_drop(root, "v"), CELLAR_OK);
    T_EQ_I64(pthread_join(t, NULL), 0);
    T_EQ_I64(pthread_join(holder, NULL), 0);
    T_EQ_I64(cellar_namespace_close(bounded), CELLAR_OK);
    T_EQ_I64(cellar_integrity_check(root), CELLAR_OK);
    T_EQ_I64(cellar_close(root), CELLAR_OK);
    store_end();
}

/* ---- quota ----------------------------------------------------------------------------------- */

static _Atomic uint32_t armed, refused, loaded;

static void *load_rules(void *arg)
{
    static const char text[] = "[v]\nset quota_max=60%\n";
    (void)arg;
    T_CHECK(wait_for(&refused));
    T_EQ_I64(rules_set(root, text, sizeof text - 1, NULL, NULL), CELLAR_OK);
    atomic_store(&loaded, 1);
    return NULL;
}

/* Refuse the memory of the first bound, after the rules were loaded. */
static void *some_memory(size_t bytes, void *ctx)
{
    void *p = NULL;
    (void)ctx;
    if (bytes == sizeof(struct l1_caps) && atomic_exchange(&armed, 0) != 0) {
        atomic_store(&refused, 1);
        T_CHECK(wait_for(&loaded));
        return NULL;
    }
    return posix_memalign(&p, 16, bytes) == 0 ? p : NULL;
}

static void free_memory(void *p, size_t bytes, void *ctx) { (void)bytes, (void)ctx; free(p); }

T_CASE(namespace_that_was_not_created_keeps_no_quota)
{
    cellar *v = NULL;
    pthread_t t;
    settings s = { SETTINGS_SIZES, .config.memory_bytes = 4u << 20, .host.no_threads = 1,
                   .host.alloc = some_memory, .host.free = free_memory };
    T_REQUIRE(settings_open(&s, &root) == CELLAR_OK);
    T_REQUIRE(pthread_create(&t, NULL, load_rules, NULL) == 0);
    cellar_namespace_config o = { .struct_size = sizeof o, .max_entries = 10 };
    atomic_store(&armed, 1);
    T_EQ_I64(cellar_namespace_open(root, "v", &o, &v), CELLAR_E_NOMEM);
    T_EQ_I64(pthread_join(t, NULL), 0);
    T_EQ_U64(atomic_load(&loaded), 1);
    o = cellar_namespace_config_default();
    o.quota_max_pct = 60;
    for (unsigned i = 0; i < L1_QUOTAS; i++) { /* all numbers are free */
        char name[16];
        (void)snprintf(name, sizeof name, "w%u", i);
        T_EQ_I64(cellar_namespace_open(root, name, &o, &v), CELLAR_OK);
        T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
    }
    T_EQ_I64(cellar_close(root), CELLAR_OK);
}

T_MAIN("cache_max_entries")
