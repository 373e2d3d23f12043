/* SPDX-License-Identifier: MIT
 *
 * Aim:    A generation number is not reused while an entry carries it.
 * Method: The counter is set to its end by hand while entries of the first generations exist, more
 *         than one step of maintenance removes. The new numbers are the same ones. */
#include "store/store.h"
#include "tests/support/t.h"

#include "cache/types.h"
#include "tests/support/api_kit.h"
#include "tests/support/settings.h"

enum { ENTRIES = 600000 };

static cellar_err put(cellar *c, uint32_t key, uint32_t value)
{
    return cellar_set(c, &key, sizeof key, &value, sizeof value, NULL);
}

static void use_up_numbers(cellar *c)
{
    cache_store *s = c->store;
    sync_take(NAMESPACE, &s->namespace_lock);
    s->next_generation = 0;
    sync_drop(NAMESPACE, &s->namespace_lock);
}

static cellar *open_store(void)
{
    settings cfg = settings_default();
    cellar *c = NULL;
    cfg.config.memory_bytes = 128u << 20;
    cfg.host.no_threads = 1;
    T_REQUIRE(settings_open(&cfg, &c) == CELLAR_OK);
    return c;
}

/* No namespace sees an old entry, whatever its new number. */
static void expect_nothing_old(cellar *const namespaces[3])
{
    unsigned seen = 0;
    for (uint32_t key = 0; key < ENTRIES; key++) {
        for (int i = 0; i < 3; i++) {
            seen += cellar_contains(namespaces[i], &key, sizeof key) == CELLAR_OK;
        }
    }
    T_EQ_U64(seen, 0);
}

static void generation_numbers_restart_after_emptying_store(void)
{
    cellar *c = open_store(), *a, *b;
    T_EQ_I64(cellar_namespace_open(c, "a", NULL, &a), CELLAR_OK);
    T_EQ_I64(cellar_namespace_open(c, "b", NULL, &b), CELLAR_OK);
    T_EQ_U64(base_load_rlx(&a->generation), 1);
    for (uint32_t key = 0; key < ENTRIES; key++) {
        if (!T_EQ_I64(put(a, key, key), CELLAR_OK)) { break; }
    }
    use_up_numbers(c);
    T_EQ_I64(cellar_clear(b), CELLAR_OK);
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK); /* before any write could repair it */
    cellar *const namespaces[3] = { c, a, b };
    uint32_t again = 0; /* namespaces with the number of a's entries */
    for (int i = 0; i < 3; i++) { again += base_load_rlx(&namespaces[i]->generation) == 1; }
    T_EQ_U64(again, 1);
    expect_nothing_old(namespaces);
    for (int i = 0; i < 3; i++) { T_EQ_I64(put(namespaces[i], 100 + (uint32_t)i, 1), CELLAR_OK); }
    for (int i = 0; i < 3; i++) { /* none of these writes empties the store a second time */
        const uint32_t key = 100 + (uint32_t)i;
        T_EQ_I64(cellar_contains(namespaces[i], &key, sizeof key), CELLAR_OK);
    }
    T_EQ_I64(put(a, 7, 7), CELLAR_OK);
    T_EQ_I64(cellar_contains(a, "\7\0\0\0", 4), CELLAR_OK);
    T_EQ_I64(cellar_contains(b, "\7\0\0\0", 4), CELLAR_MISS);
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(a), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(b), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

static void new_namespace_restarts_generation_numbers(void)
{
    cellar *c = open_store(), *a, *b;
    T_EQ_I64(cellar_namespace_open(c, "a", NULL, &a), CELLAR_OK);
    T_EQ_I64(put(a, 7, 7), CELLAR_OK);
    use_up_numbers(c);
    T_EQ_I64(cellar_namespace_open(c, "b", NULL, &b), CELLAR_OK);
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(put(b, 8, 8), CELLAR_OK);
    cellar *const namespaces[3] = { c, a, b };
    T_EQ_I64(cellar_delete(b, "\10\0\0\0", 4), CELLAR_OK);
    expect_nothing_old(namespaces);
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(a), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(b), CELLAR_OK);
    T_EQ_I64(cellar_close(c), CELLAR_OK);
}

static cellar *namespace(cellar *c, const char *name)
{
    cellar *v = NULL;
    T_REQUIRE(cellar_namespace_open(c, name, NULL, &v) == CELLAR_OK);
    return v;
}

/* All of L1 is emptied once, no old value returns, namespaces stay separate. */
static void generation_numbers_run_out_between_clears(void)
{
    settings cfg = settings_default();
    cfg.config.memory_bytes = 4u << 20;
    cfg.host.no_threads = 1;
    const cellar_config linked = settings_config(&cfg);
    cellar *c = NULL;
    T_REQUIRE(cache_open(&linked, NULL, UINT32_MAX - 3, &c) == CELLAR_OK);
    cellar *a = namespace(c, "a"), *b = namespace(c, "b");
    char value[16];
    for (int round = 0; round < 40; round++) {
        snprintf(value, sizeof value, "%d", round);
        T_EQ_I64(api_put(a, "k", value, NULL), CELLAR_OK);
        T_EQ_I64(api_put(b, "k", "b", NULL), CELLAR_OK);
        T_EQ_I64(api_put(c, "k", "root", NULL), CELLAR_OK);
        T_EQ_STR(api_look(a, "k"), value);
        T_EQ_STR(api_look(b, "k"), "b");
        T_EQ_STR(api_look(c, "k"), "root");
        T_EQ_I64(cellar_clear(a), CELLAR_OK);
        T_EQ_STR(api_look(a, "k"), "MISS");
        const char *left = api_look(b, "k");
        T_CHECK(strcmp(left, "b") == 0 || strcmp(left, "MISS") == 0);
        T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    }
    for (int i = 0; i < 10; i++) {
        cellar *v = namespace(c, "x");
        (void)api_put(v, "k", "x", NULL);
        T_EQ_I64(cellar_namespace_close(v), CELLAR_OK);
        T_EQ_I64(cellar_namespace_drop(c, "x"), CELLAR_OK);
    }
    T_EQ_I64(cellar_namespace_close(a), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(b), CELLAR_OK);
    api_shut(c);
}

T_ONE_THREAD;
T_MAIN("cache_generation", T_CASE(generation_numbers_restart_after_emptying_store),
       T_CASE(new_namespace_restarts_generation_numbers),
       T_CASE(generation_numbers_run_out_between_clears))
