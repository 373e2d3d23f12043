/* SPDX-License-Identifier: MIT
 *
 * Aim:    a large value that is filled in the memory of the store becomes an entry without a copy,
 *         and leaves nothing behind when it does not.
 * Method: reservations beside sets, pins, evictions and deletes; the account and the integrity
 *         check as oracle. */
#include "tests/support/api_kit.h"

#include "cellar_admin.h"
#include "cellar_entry.h"
#include "cellar_observe.h"

enum { LEN = 1 << 20 };

static uint64_t used(cellar *c)
{
    cellar_stats st = cellar_stats_default();
    T_EQ_I64(cellar_stats_get(c, CELLAR_SCOPE_STORE, &st), CELLAR_OK);
    return st.used_bytes;
}

static cellar_pinned reserved(cellar *c, size_t len, int fill)
{
    cellar_pinned p;
    T_REQUIRE(cellar_reserve(c, len, &p) == CELLAR_OK && p.value_len == len);
    memset((void *)(uintptr_t)p.value, fill, len);
    return p;
}

#define STORE(fn) T_WITH(fn, cellar *c, c, api_open(16 << 20), api_shut(c))

T_CASE_ON(set_of_reserved_bytes_takes_them, STORE)
{
    cellar_pinned p = reserved(c, LEN, 'a'), q;
    const void *place = p.value;
    const uint64_t before = used(c);
    T_EQ_I64(cellar_set(c, "k", 1, p.value, LEN, NULL), CELLAR_OK);
    cellar_unpin(&p);
    T_EQ_I64(cellar_pin(c, "k", 1, &q), CELLAR_OK);
    T_CHECK(q.value == place && q.value_len == LEN);
    T_CHECK(((const char *)q.value)[0] == 'a' && ((const char *)q.value)[LEN - 1] == 'a');
    cellar_unpin(&q);
    T_CHECK(used(c) < before + LEN / 2);
    T_EQ_I64(cellar_delete(c, "k", 1), CELLAR_OK);
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
}

T_CASE_ON(unpin_without_a_set_frees_the_bytes, STORE)
{
    const uint64_t before = used(c);
    for (int i = 0; i < 100; i++) {
        cellar_pinned p = reserved(c, LEN, 'a');
        cellar_unpin(&p);
        cellar_unpin(&p); /* zeroed: no effect */
    }
    T_CHECK(used(c) < before + LEN / 4);
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
}

T_CASE_ON(refused_set_leaves_the_reservation, STORE)
{
    cellar_set_opts o = { .struct_size = sizeof o, .flags = CELLAR_ONLY_IF_ABSENT };
    T_EQ_I64(cellar_set(c, "k", 1, "old", 3, NULL), CELLAR_OK);
    cellar_pinned p = reserved(c, LEN, 'b');
    const void *place = p.value;
    T_EQ_I64(cellar_set(c, "k", 1, p.value, LEN, &o), CELLAR_EXISTS);
    T_EQ_I64(cellar_set(c, "m", 1, p.value, LEN, &o), CELLAR_OK);
    cellar_unpin(&p);
    T_EQ_I64(cellar_pin(c, "m", 1, &p), CELLAR_OK);
    T_CHECK(p.value == place);
    cellar_unpin(&p);
}

T_CASE_ON(any_other_set_copies, STORE)
{
    cellar_pinned p = reserved(c, LEN, 'c'), q;
    const char *place = p.value;
    T_EQ_I64(cellar_set(c, "short", 5, place, LEN - 100000, NULL), CELLAR_OK);
    T_EQ_I64(cellar_set(c, "inside", 6, place + 1, LEN - 1, NULL), CELLAR_OK);
    T_EQ_I64(cellar_set(c, "first", 5, place, LEN, NULL), CELLAR_OK);
    T_EQ_I64(cellar_set(c, "second", 6, place, LEN, NULL), CELLAR_OK); /* taken by the first */
    static const char *const key[] = { "short", "inside", "second", "first" };
    for (size_t i = 0; i < 4; i++) {
        T_EQ_I64(cellar_pin(c, key[i], strlen(key[i]), &q), CELLAR_OK);
        T_CHECK((q.value == place) == (i == 3));
        T_CHECK(((const char *)q.value)[q.value_len - 1] == 'c');
        cellar_unpin(&q);
    }
    cellar_unpin(&p);
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
}

T_CASE_ON(entry_that_goes_while_its_bytes_are_held_frees_them_later, STORE)
{
    cellar_pinned p = reserved(c, LEN, 'd');
    T_EQ_I64(cellar_set(c, "k", 1, p.value, LEN, NULL), CELLAR_OK);
    T_EQ_I64(cellar_delete(c, "k", 1), CELLAR_OK);
    for (int i = 0; i < 40; i++) { /* evicts, and asks for retired blocks */
        char key[16];
        const int len = snprintf(key, sizeof key, "k%d", i);
        static char value[LEN];
        T_EQ_I64(cellar_set(c, key, (size_t)len, value, sizeof value, NULL), CELLAR_OK);
    }
    T_CHECK(((const char *)p.value)[0] == 'd' && ((const char *)p.value)[LEN - 1] == 'd');
    cellar_unpin(&p);
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
}

T_CASE(reservations_are_bounded_by_the_budget)
{
    enum { MOST = 16 };
    cellar *c = api_open(8 << 20);
    cellar_pinned p[MOST];
    int count = 0;
    while (count < MOST && cellar_reserve(c, LEN, &p[count]) == CELLAR_OK) { count++; }
    T_CHECK(count >= 5 && count < 8);
    T_CHECK(p[count].value == NULL);
    T_EQ_I64(cellar_reserve(c, LEN, &p[count]), CELLAR_E_SPACE);
    while (count > 0) { cellar_unpin(&p[--count]); }
    T_EQ_I64(cellar_reserve(c, 6 << 20, &p[0]), CELLAR_E_TOOBIG);
    T_EQ_I64(cellar_reserve(c, 0, &p[0]), CELLAR_E_INVAL);
    T_EQ_I64(cellar_reserve(c, 1, NULL), CELLAR_E_INVAL);
    T_EQ_I64(cellar_reserve(NULL, 1, &p[0]), CELLAR_E_INVAL);
    p[0] = reserved(c, 10, 'e'); /* short: the set copies */
    T_EQ_I64(cellar_set(c, "k", 1, p[0].value, 10, NULL), CELLAR_OK);
    cellar_unpin(&p[0]);
    T_EQ_I64(cellar_integrity_check(c), CELLAR_OK);
    api_shut(c);
}

T_MAIN("api_reserve")
