/* SPDX-License-Identifier: MIT
 *
 * Aim:    A generation number is not reused while an entry carries it, or a call that began under
 *         it runs. The end of a half of the numbers ends all entries once, in memory and on disk,
 *         and the disk goes on.
 * Method: The counter is set to the end of its half by hand while entries of the first generations
 *         exist, more than one step of maintenance removes. Two ends later the numbers are the
 *         same ones. */
#include "cache/handle.h"
#include "cache/generation.h"
#include "store/store.h"
#include "tests/support/t.h"

#include "cache/types.h"
#include "tests/support/api_kit.h"
#include "tests/support/child.h"
#include "tests/support/disk_store.h"
#include "tests/support/said.h"
#include "tests/support/settings.h"

enum { ENTRIES = 600000 };

static cellar_err put(cellar *c, uint32_t key, uint32_t value)
{
    return cellar_set(c, &key, sizeof key, &value, sizeof value, NULL);
}

/* The next draw is the first of the other half. */
static void use_up_numbers(cellar *c)
{
    cache_store *s = c->store;
    sync_take(NAMESPACE, &s->namespace_lock);
    s->next_generation |= 0x7fffffff;
    sync_drop(NAMESPACE, &s->namespace_lock);
}

static cellar *namespace(cellar *c, const char *name)
{
    cellar *v = NULL;
    T_REQUIRE(cellar_namespace_open(c, name, NULL, &v) == CELLAR_OK);
    return v;
}

/* Open a namespace that writes each set to the disk. */
static cellar *through(cellar *c, const char *name)
{
    const cellar_namespace_config o = { .struct_size = sizeof o,
                                        .l2_write = CELLAR_L2_WRITE_THROUGH };
    cellar *v = NULL;
    T_REQUIRE(cellar_namespace_open(c, name, &o, &v) == CELLAR_OK);
    return v;
}

/* b may be NULL. */
static void shut(cellar *c, cellar *a, cellar *b)
{
    T_EQ_I64(cellar_namespace_close(a), CELLAR_OK);
    T_EQ_I64(cellar_namespace_close(b), CELLAR_OK);
    api_shut(c);
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

T_CASE(generation_numbers_restart_after_emptying_store)
{
    cellar *c = api_open(128u << 20), *a = namespace(c, "a"), *b = namespace(c, "b");
    T_EQ_U64(base_load_rlx(&a->generation), 1);
    for (uint32_t key = 0; key < ENTRIES; key++) {
        if (!T_EQ_I64(put(a, key, key), CELLAR_OK)) { break; }
    }
    cellar *const namespaces[3] = { c, a, b };
    for (int half = 0; half < 2; half++) {
        use_up_numbers(c);
        T_EQ_I64(cellar_clear(b), CELLAR_OK);
        T_EQ_I64(cellar_integrity_check(c), CELLAR_OK); /* before any write could repair it */
        for (int i = 0; half == 0 && i < 3; i++) { /* no call that runs has one of the numbers */
            T_CHECK(base_load_rlx(&namespaces[i]->generation) > 0x7fffffff);
        }
    }
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
    shut(c, a, b);
}

T_CASE(new_namespace_restarts_generation_numbers)
{
    cellar *c = api_open(128u << 20), *a = namespace(c, "a");
    T_EQ_I64(put(a, 7, 7), CELLAR_OK);
    use_up_numbers(c);
    cellar *b = namespace(c, "b");
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    T_EQ_I64(put(b, 8, 8), CELLAR_OK);
    cellar *const namespaces[3] = { c, a, b };
    T_EQ_I64(cellar_delete(b, "\10\0\0\0", 4), CELLAR_OK);
    expect_nothing_old(namespaces);
    shut(c, a, b);
}

static const struct span { cellar *c, *b; } *spanned;

/* Use up both halves of the numbers, so that others get the one under which the update began. */
static cellar_err restarts_numbers(const void *old, size_t old_len, cellar_buf *out, void *ctx)
{
    unsigned *halves = ctx;
    (void)old, (void)old_len;
    for (; *halves > 0; --*halves) {
        use_up_numbers(spanned->c);
        T_EQ_I64(cellar_clear(spanned->b), CELLAR_OK);
    }
    return cellar_buf_append(out, "x", 1);
}

T_CASE(update_that_spans_a_restart_lands_in_its_namespace)
{
    cellar *c = api_open(4u << 20), *a = namespace(c, "a"), *b = namespace(c, "b");
    const struct span s = { c, b };
    spanned = &s;
    unsigned halves = 1;
    T_EQ_I64(cellar_update(a, "k", 1, NULL, restarts_numbers, &halves), CELLAR_OK);
    T_EQ_STR(api_look(a, "k"), "x");
    T_EQ_STR(api_look(b, "k"), "MISS");
    T_EQ_STR(api_look(c, "k"), "MISS");
    shut(c, a, b);
}

static bool is_there(cellar *v, const char *key)
{
    return cellar_contains(v, key, strlen(key)) == CELLAR_OK;
}

static cellar *disk_store_at(uint32_t first_generation)
{
    cellar *c = NULL;
    settings cfg = { SETTINGS_SIZES, .config.memory_bytes = 4u << 20, .config.l2_path = store,
                     .config.l2_bytes = 64u << 20, .host.no_threads = 1, .host.log = listen_to };
    const cellar_config linked = settings_config(&cfg);
    T_REQUIRE(cache_open(&linked, NULL, first_generation, &c) == CELLAR_OK);
    return c;
}

/* Each life is one of the store: closed at its end, opened again by the next. */
T_CASE(disk_goes_on_when_numbers_restart)
{
    static const uint32_t first[] = { UINT32_MAX - 5, (uint32_t)INT32_MAX - 5 };
    for (size_t i = 0; i < 2; i++) {
        store_begin();
        said[0] = '\0';
        cellar *c = disk_store_at(first[i]), *a = through(c, "a"), *b = through(c, "b");
        cellar *closed = namespace(c, "closed"); /* not open when the numbers restart */
        T_EQ_I64(api_put(closed, "k", "old", NULL), CELLAR_OK);
        T_EQ_I64(cellar_namespace_close(closed), CELLAR_OK);
        T_EQ_I64(api_put(b, "old", "b", NULL), CELLAR_OK);
        while (lines_with("are used up") == 0) { T_EQ_I64(cellar_clear(a), CELLAR_OK); }
        T_CHECK(!is_there(b, "old"));
        T_EQ_I64(api_put(a, "gone", "a", NULL), CELLAR_OK);
        T_EQ_I64(api_put(b, "kept", "b", NULL), CELLAR_OK); /* OK: the disk has it */
        T_EQ_I64(api_put(c, "root", "r", NULL), CELLAR_OK);
        T_EQ_I64(cellar_clear(a), CELLAR_OK);
        T_EQ_I64(api_put(a, "kept", "a", NULL), CELLAR_OK);
        for (int life = 0; life < 3; life++) {
            shut(c, a, b);
            c = disk_store_at(0);
            a = through(c, "a");
            b = through(c, "b");
            closed = namespace(c, "closed");
            T_CHECK(!is_there(closed, "k"));
            T_CHECK(!is_there(b, "old") && !is_there(a, "gone"));
            T_EQ_STR(api_look(a, "kept"), "a");
            T_EQ_STR(api_look(b, "kept"), "b");
            T_EQ_STR(api_look(c, "root"), "r");
            cache_generation_info info; /* as an event or the eviction of an entry asks */
            const uint32_t now = base_load_rlx(&c->generation);
            T_CHECK(cache_generation_namespace(c->store, now, &info) == c);
            cache_namespace_release(c);
            T_EQ_I64(cellar_clear(closed), CELLAR_OK);
            T_EQ_I64(api_put(closed, "l", "l", NULL), CELLAR_OK);
            T_EQ_I64(cellar_namespace_close(closed), CELLAR_OK);
        }
        T_EQ_I64(lines_with("are used up"), 1);
        shut(c, a, b);
        store_end();
    }
}

/* Store an entry, use up both halves of the numbers, and store another one. Return 0 if
 * the namespace has the number of its first entry again, without that entry. */
static int numbers_come_again(void)
{
    cellar *c = disk_store_at(1), *a = through(c, "a");
    const uint32_t number = base_load_rlx(&a->generation);
    bool ok = api_put(a, "old", "a", NULL) == CELLAR_OK;
    for (int half = 0; half < 2; half++) {
        use_up_numbers(c);
        ok = cellar_clear(c) == CELLAR_OK && !is_there(a, "old") && ok;
    }
    ok = ok && base_load_rlx(&a->generation) == number;
    return api_put(a, "new", "a", NULL) == CELLAR_OK && ok ? 0 : 1;
}

/* The process dies without a close: the log alone tells that the records ended. */
T_CASE(numbers_that_come_again_find_no_record)
{
    store_begin();
    T_EQ_I64(in_child(fork(), numbers_come_again), 0);
    for (int life = 0; life < 2; life++) {
        cellar *c = disk_store_at(0), *a = through(c, "a");
        T_CHECK(!is_there(a, "old") && is_there(a, "new"));
        shut(c, a, NULL);
    }
    store_end();
}

T_ONE_THREAD;
T_MAIN("cache_generation")
