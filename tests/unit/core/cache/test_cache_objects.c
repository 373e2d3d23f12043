/* SPDX-License-Identifier: MIT
 *
 * Aim:    An object with as many holds as its count has room for refuses further ones by E_LIMIT,
 *         in each call that would give one, and is freed once when they end. A namespace of
 *         objects stays one if the log level changes while it opens.
 * Method: The test writes the count of the cell, as if as many holds existed, and puts it back.
 *         The source of namespace.c is part of this program: a look at the log level waits. */
#include "cache/talk.h"

static int level_beside_an_open(const cellar *v);
#define cache_log_limit level_beside_an_open
#include "store/namespace.c"
#undef cache_log_limit

#include "tests/support/api_kit.h"

#include "cellar_object.h"
#include "l1/object.h"

static unsigned freed;

static void free_number(void *object, size_t charge, cellar_cause why, void *ctx)
{
    (void)object, (void)charge, (void)why, (void)ctx;
    freed++;
}

static cellar *root, *ns;

static void begin(void)
{
    const cellar_object_config oc = { .struct_size = sizeof oc, .free_fn = free_number };
    const cellar_namespace_config o = { .struct_size = sizeof o, .object = &oc };
    freed = 0;
    root = api_open(4u << 20);
    T_REQUIRE(cellar_namespace_open(root, "things", &o, &ns) == CELLAR_OK);
}

static void end(void)
{
    T_EQ_I64(cellar_namespace_close(ns), CELLAR_OK);
    api_shut(root);
}

#define OBJECTS(fn) T_WITHIN(fn, begin(), end())

static cellar_err load_none(cellar_load *load, const void *key, size_t key_len, void *ctx)
{
    (void)load, (void)key, (void)key_len, (void)ctx;
    return CELLAR_E_IO;
}

T_CASE_ON(hold_beyond_the_count_is_refused, OBJECTS)
{
    cellar_set_opts ends = cellar_set_opts_default();
    cellar_load_opts lo = cellar_load_opts_default();
    cellar_held h[L1_HOLD_SLOTS], more;
    cellar_lease lease;
    ends.ttl_ms = 10;
    ends.stale_ms = 1000;
    T_EQ_I64(cellar_object_set(ns, "a", 1, &freed, 100, &ends), CELLAR_OK);
    for (unsigned i = 0; i < L1_HOLD_SLOTS; i++) {
        T_REQUIRE(cellar_object_acquire(ns, "a", 1, &h[i]) == CELLAR_OK);
    }
    l1_cells *const cells = (l1_cells *)(uintptr_t)h[0].opaque[0];
    l1_cell *const b = (l1_cell *)(void *)cells->region.base + (L1_HOLD_CELL(h[0].opaque[1]) >> 1)
                       - 1;
    const uint64_t most = L1_CELL_COUNT_MOST - L1_CELL_COUNT(base_load_rlx(&b->word));
    (void)base_add_ar(&b->word, most - 1);
    T_EQ_I64(cellar_object_acquire(ns, "a", 1, &more), CELLAR_OK); /* the last one */
    cellar_held last = more;
    T_EQ_I64(cellar_object_acquire(ns, "a", 1, &more), CELLAR_E_LIMIT);
    T_CHECK(more.object == NULL);
    T_EQ_I64(cellar_object_retain(&last, &more), CELLAR_E_LIMIT);
    T_CHECK(more.object == NULL);
    lo.flags = CELLAR_LOAD_ONLY_IF_CACHED;
    T_EQ_I64(cellar_object_get_or_load(ns, "a", 1, &lo, load_none, NULL, &more), CELLAR_E_LIMIT);
    atomic_fetch_add(&api_now_ms, 20); /* stale: a lease comes with the hold */
    lo = cellar_load_opts_default();
    T_EQ_I64(cellar_object_lease_acquire(ns, "a", 1, &lo, NULL, &lease, &more), CELLAR_E_LIMIT);
    T_CHECK(lease.opaque[0] == 0 && more.object == NULL);
    (void)base_sub_ar(&b->word, (uint64_t)1); /* room for the call, but not for the hold */
    T_EQ_I64(cellar_object_lease_acquire(ns, "a", 1, &lo, NULL, &lease, &more), CELLAR_E_LIMIT);
    T_CHECK(lease.opaque[0] == 0 && more.object == NULL);
    (void)base_sub_ar(&b->word, most - 2);
    T_EQ_I64(cellar_object_lease_acquire(ns, "a", 1, &lo, NULL, &lease, &more), CELLAR_STALE);
    T_CHECK(lease.opaque[0] != 0); /* the one that had no hold was given back */
    T_EQ_I64(cellar_lease_release(ns, &lease, 0), CELLAR_OK);
    /* the end of the entry counts the slots, also above the limit */
    (void)base_add_ar(&b->word, most - 2);
    T_EQ_I64(cellar_delete(ns, "a", 1), CELLAR_MISS); /* its TTL has passed */
    (void)base_sub_ar(&b->word, most - 2);
    cellar_object_release(&more);
    cellar_object_release(&last);
    for (unsigned i = 0; i < L1_HOLD_SLOTS; i++) {
        T_EQ_U64(freed, 0);
        cellar_object_release(&h[i]);
    }
    T_EQ_U64(freed, 1);
}

/* A thread that took the word of the list before others took and gave back cells must see that. */
T_CASE_ON(word_of_the_list_of_free_cells_does_not_repeat, OBJECTS)
{
    uint64_t word = 0;
    for (int i = 0; i < 3; i++) {
        cellar_held h;
        T_EQ_I64(cellar_object_set(ns, "a", 1, &freed, 100, NULL), CELLAR_OK);
        T_REQUIRE(cellar_object_acquire(ns, "a", 1, &h) == CELLAR_OK);
        const l1_cells *cells = (const l1_cells *)(uintptr_t)h.opaque[0];
        cellar_object_release(&h);
        T_EQ_I64(cellar_delete(ns, "a", 1), CELLAR_OK);
        T_CHECK(base_load_rlx(&cells->free) != word);
        word = base_load_rlx(&cells->free);
    }
}

static cellar_held far;

/* Acquire "a" in a thread with a record in the second page of hold lines. */
static void acquire_far(void *arg)
{
    base_thread next;
    (void)arg;
    if (base_thread_self()->index < BASE_PAGE / sizeof(l1_hold_line)) {
        T_REQUIRE(base_thread_start(&next, acquire_far, arg, "far", 0) == 0);
        base_thread_join(&next);
    } else {
        T_EQ_I64(cellar_object_acquire(ns, "a", 1, &far), CELLAR_OK);
    }
}

T_CASE_ON(hold_of_a_far_thread_outlives_its_entry, OBJECTS)
{
    T_EQ_I64(cellar_object_set(ns, "a", 1, &freed, 100, NULL), CELLAR_OK);
    acquire_far(NULL);
    T_EQ_I64(cellar_delete(ns, "a", 1), CELLAR_OK);
    T_EQ_U64(freed, 0);
    cellar_object_release(&far);
    T_EQ_U64(freed, 1);
}

/* ---- a change of the log level while a namespace opens ---- */

static pthread_t changer;
static _Atomic unsigned step; /* 1: the namespace opens; 2: the change waits; 3: it is over */

/* Wait, in the change of the log level, until the opener has set its bit. */
static int level_beside_an_open(const cellar *v)
{
    if (v->slot != 0 && step == 1) {
        step = 2;
        while ((v->state & CACHE_OBJECTS) == 0) { base_yield(); }
        step = 3;
    }
    return cache_log_limit(v);
}

static void *change_level(void *store)
{
    T_EQ_I64(cellar_option_set(store, CELLAR_OPT_LOG_LEVEL, CELLAR_LOG_ERROR), CELLAR_OK);
    return NULL;
}

/* The first allocation behind the seat of the namespace is that of the table of cells. */
static void *alloc_beside(size_t size, void *ctx)
{
    (void)ctx;
    if (root != NULL && step == 0 && cache_namespace_at(root->store, 1) != NULL) {
        step = 1;
        T_REQUIRE(pthread_create(&changer, NULL, change_level, root) == 0);
        while (step == 1) { base_yield(); }
    }
    return malloc(size);
}

static void free_beside(void *block, size_t size, void *ctx) { (void)size, (void)ctx; free(block); }

static void say_nothing(cellar_log_level level, const char *module, cellar_err code,
                        const char *text, void *ctx)
{
    (void)level, (void)module, (void)code, (void)text, (void)ctx;
}

T_CASE(level_that_changes_beside_an_open_leaves_objects)
{
    const cellar_object_config oc = { .struct_size = sizeof oc, .free_fn = free_number };
    const cellar_namespace_config o = { .struct_size = sizeof o, .object = &oc };
    settings cfg = api_config(4u << 20);
    cfg.host.alloc = alloc_beside;
    cfg.host.free = free_beside;
    cfg.host.log = say_nothing;
    root = NULL;
    root = api_open_with(&cfg);
    T_REQUIRE(cellar_namespace_open(root, "things", &o, &ns) == CELLAR_OK);
    T_REQUIRE(step != 0 && pthread_join(changer, NULL) == 0);
    T_EQ_U64(step, 3);
    T_EQ_I64(cellar_object_set(ns, "a", 1, &freed, 100, NULL), CELLAR_OK);
    T_EQ_I64(cellar_set(ns, "b", 1, "bytes", 5, NULL), CELLAR_E_TYPE);
    end();
}

T_MAIN("cache_objects")
