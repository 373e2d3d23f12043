/* SPDX-License-Identifier: MIT
 *
 * Aim:    used <= limit at every instant; used == sum of modules at rest; each failure returns NULL
 *         and changes nothing; blocks are zero, aligned and returned to the system.
 * Method: threads that charge while another one checks; n-th failure for every n; hooks that count;
 *         uthash on a budget that is used up. */
#include "tests/support/t.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/random.h"
#include "base/sync.h"
#include "base/table.h"

static uint64_t sum_of(base_account *a)
{
    uint64_t sum = 0;
    for (int m = 0; m < BASE_MOD_COUNT; m++) { sum += base_load_rlx(&a->by_module[m]); }
    return sum;
}

T_CASE(the_bound_is_exact)
{
    base_account a;
    base_account_init(&a, 100, NULL);
    T_CHECK(base_charge(&a, BASE_MOD_TAG, 60));
    T_CHECK(base_charge(&a, BASE_MOD_BIG, 40));
    T_CHECK(!base_charge(&a, BASE_MOD_BIG, 1));
    T_CHECK(!base_charge(&a, BASE_MOD_BIG, UINT64_MAX));
    T_CHECK(base_charge(&a, BASE_MOD_BIG, 0));
    T_EQ_U64(base_load_rlx(&a.refused), 2);
    T_EQ_U64(base_load_rlx(&a.peak), 100);
    T_EQ_U64(sum_of(&a), 100);
    base_account_limit(&a, 50); /* used is above: no charge until it is below */
    T_CHECK(!base_charge(&a, BASE_MOD_BIG, 0) && !base_charge(&a, BASE_MOD_BIG, 1));
    base_uncharge(&a, BASE_MOD_TAG, 60);
    T_CHECK(base_charge(&a, BASE_MOD_TAG, 10));
    T_CHECK(!base_charge(&a, BASE_MOD_TAG, 1));
    base_uncharge(&a, BASE_MOD_TAG, 10);
    base_uncharge(&a, BASE_MOD_BIG, 40);
    T_EQ_U64(base_load_rlx(&a.used), 0);
    T_EQ_U64(base_load_rlx(&a.peak), 100);
}

/* ---- make_room ---- */

static struct { base_account *a; int asked; uint64_t bytes; bool helps; } room;

static bool make_room(void *ctx, uint64_t bytes)
{
    T_CHECK(ctx == &room);
    room.asked++;
    room.bytes = bytes;
    if (room.helps) { base_uncharge(room.a, BASE_MOD_SEGMENT, 90); }
    return room.helps;
}

T_CASE(refused_charge_calls_make_room_once)
{
    base_account a;
    base_account_init(&a, 100, NULL);
    a.make_room = make_room;
    a.make_room_ctx = &room;
    room.a = &a;
    room.asked = 0;
    room.helps = true;
    T_CHECK(base_charge(&a, BASE_MOD_SEGMENT, 90));
    T_CHECK(!base_charge(&a, BASE_MOD_TAG, 20)); /* never calls make_room */
    T_EQ_I64(room.asked, 0);
    T_CHECK(base_charge_room(&a, BASE_MOD_TAG, 20));
    T_EQ_I64(room.asked, 1);
    T_EQ_U64(room.bytes, 20);
    room.helps = false;
    bool refused = false;
    T_CHECK(base_alloc(&a, BASE_MOD_TAG, 100, &refused) == NULL);
    T_CHECK(refused);
    T_EQ_I64(room.asked, 2);
    T_CHECK(base_alloc_held(&a, BASE_MOD_TAG, 100, &refused) == NULL);
    T_EQ_I64(room.asked, 2);
    base_uncharge(&a, BASE_MOD_TAG, 20);
    T_EQ_U64(sum_of(&a), 0);
}

/* ---- threads ---- */

enum { LIMIT = 10000 };
static struct { base_account a; _Atomic uint32_t stop; _Atomic uint64_t looks; } shared;

static void charge_main(void *arg)
{
    base_rng r;
    base_rng_seed(&r, t_seed() + (uintptr_t)arg);
    for (int i = 0; i < 100000 || base_load_rlx(&shared.looks) < 100; i++) {
        uint64_t bytes = base_rng_below(&r, 6000), more = base_rng_below(&r, 6000);
        base_module m = (base_module)base_rng_below(&r, BASE_MOD_COUNT);
        if (!base_charge(&shared.a, m, bytes)) { continue; }
        T_CHECK(base_load_rlx(&shared.a.used) <= LIMIT);
        if (base_charge(&shared.a, BASE_MOD_TAG, more)) {
            T_CHECK(base_load_rlx(&shared.a.used) <= LIMIT);
            base_uncharge(&shared.a, BASE_MOD_TAG, more);
        }
        base_uncharge(&shared.a, m, bytes);
    }
}

static void watch_main(void *arg)
{
    (void)arg;
    while (base_load_rlx(&shared.stop) == 0) {
        T_CHECK(base_load_rlx(&shared.a.used) <= LIMIT);
        T_CHECK(base_load_rlx(&shared.a.peak) <= LIMIT);
        (void)base_add_rlx(&shared.looks, UINT64_C(1));
    }
}

T_CASE(never_above_the_limit)
{
    base_account_init(&shared.a, LIMIT, NULL);
    base_store_rlx(&shared.stop, 0u);
    base_thread t[3], watcher;
    T_REQUIRE(base_thread_start(&watcher, watch_main, NULL, "watch", 0) == 0);
    for (uintptr_t i = 0; i < 3; i++) {
        T_REQUIRE(base_thread_start(&t[i], charge_main, (void *)i, "charge", 0) == 0);
    }
    for (int i = 0; i < 3; i++) { base_thread_join(&t[i]); }
    base_store_rlx(&shared.stop, 1u);
    base_thread_join(&watcher);
    T_EQ_U64(base_load_rlx(&shared.a.used), 0);
    T_EQ_U64(sum_of(&shared.a), 0);
    T_CHECK(base_load_rlx(&shared.a.refused) > 0);
    for (int m = 0; m < BASE_MOD_COUNT; m++) {
        T_EQ_U64(base_load_rlx(&shared.a.by_module[m]), 0);
    }
}

/* ---- blocks ---- */

T_CASE(blocks_are_zero_aligned_and_charged)
{
    base_account a;
    base_account_init(&a, UINT64_C(1) << 40, NULL);
    static const size_t sizes[] = { 1, 8, 24, 25, 100, 4096, BASE_MAP_BYTES - 1, BASE_MAP_BYTES,
                                    BASE_MAP_BYTES + 1, 3 << 20 };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t n = sizes[i];
        for (int round = 0; round < 2; round++) {
            unsigned char *p = base_alloc(&a, BASE_MOD_BIG, n, NULL);
            T_REQUIRE(p != NULL);
            T_EQ_U64((uintptr_t)p % 16, 0);
            T_CHECK(p[0] == 0 && p[n / 2] == 0 && p[n - 1] == 0);
            memset(p, 0xff, n);
            T_EQ_U64(base_load_rlx(&a.used), base_block_bytes(&a, n));
            T_CHECK(base_block_bytes(&a, n) >= n);
            T_EQ_U64(base_live_bytes(), n);
            base_free(&a, BASE_MOD_BIG, p, n);
            T_EQ_U64(base_load_rlx(&a.used), 0);
        }
    }
    base_free(&a, BASE_MOD_BIG, NULL, 100);
    bool refused = false;
    T_CHECK(base_alloc(&a, BASE_MOD_BIG, SIZE_MAX - 5, &refused) == NULL && refused);
    T_EQ_U64(base_block_bytes(&a, BASE_MAP_BYTES) % BASE_PAGE, 0);
}

T_CASE(freed_large_block_returns_its_pages)
{
    base_account a;
    base_account_init(&a, UINT64_C(1) << 40, NULL);
    unsigned char *p = base_alloc(&a, BASE_MOD_BIG, 1 << 20, NULL);
    T_REQUIRE(p != NULL);
    unsigned char resident;
    T_EQ_I64(mincore((void *)((uintptr_t)p & ~(uintptr_t)4095), 4096, &resident), 0);
    base_free(&a, BASE_MOD_BIG, p, 1 << 20);
    T_EQ_I64(mincore((void *)((uintptr_t)p & ~(uintptr_t)4095), 4096, &resident), -1);
}

/* Calls of the library that the system refuses, as at its limit of mappings under mlockall. */
static unsigned refusing, unlocks;

int munmap(void *at, size_t bytes)
{
    return (refusing & 1u) != 0 ? -1 : (int)syscall(SYS_munmap, at, bytes);
}

int madvise(void *at, size_t bytes, int advice)
{
    return (refusing & 2u) != 0 ? -1 : (int)syscall(SYS_madvise, at, bytes, advice);
}

int munlock(const void *at, size_t bytes)
{
    (void)at, (void)bytes;
    unlocks++;
    if ((refusing & 4u) == 0) { refusing &= ~2u; }
    return 0;
}

/* Faulty sequence: munmap fails at the limit of mappings, then madvise, because mlockall locked the
 * pages. The process ended. */
T_CASE(free_of_a_locked_block_at_the_limit_of_mappings_returns)
{
    base_account a;
    base_account_init(&a, UINT64_C(1) << 40, NULL);
    for (unsigned how = 1; how < 8; how += 2) { /* with and without 2 and 4 */
        unsigned char *p = base_alloc(&a, BASE_MOD_BIG, 1 << 20, NULL);
        T_REQUIRE(p != NULL);
        unsigned char *const page = (unsigned char *)((uintptr_t)p & ~(uintptr_t)4095);
        memset(p, 7, 1000);
        unlocks = 0;
        refusing = how;
        base_free(&a, BASE_MOD_BIG, p, 1 << 20);
        refusing = 0;
        T_EQ_U64(unlocks, (how & 2u) != 0);
        T_CHECK(how == 7 || page[1000] == 0); /* its pages are gone, but for the last case */
        T_EQ_I64(munmap(page, 1 << 20), 0); /* no page more: it may be of a sanitizer */
    }
}

T_CASE(each_armed_allocation_fails)
{
    base_account a;
    base_account_init(&a, 1 << 20, NULL);
    for (uint64_t nth = 1; nth <= 4; nth++) {
        (void)base_fault_alloc_arm(nth, false);
        uint64_t got = 0;
        for (uint64_t call = 1; call <= 4; call++) {
            bool refused = true;
            void *p = call % 2 == 0 ? base_alloc_raw(NULL, 10)
                                    : base_alloc(&a, BASE_MOD_TAG, 10, &refused);
            T_CHECK((p == NULL) == (call == nth));
            if (p == NULL && call % 2 == 1) { T_CHECK(!refused); }
            got += p != NULL;
            if (call % 2 == 0) {
                base_free_raw(NULL, p, 10);
            } else {
                base_free(&a, BASE_MOD_TAG, p, 10);
            }
            T_EQ_U64(base_load_rlx(&a.used), 0);
        }
        T_EQ_U64(got, 3);
        T_EQ_STR(base_fault_alloc_site(), nth % 2 == 0 ? "base.alloc_raw" : "base.alloc");
        T_EQ_U64(base_fault_alloc_arm(0, false), 4);
    }
    (void)base_fault_alloc_arm(2, true);
    void *first = base_alloc_raw(NULL, 1);
    T_CHECK(first != NULL);
    for (int i = 0; i < 5; i++) { T_CHECK(base_alloc_raw(NULL, 1) == NULL); }
    (void)base_fault_alloc_arm(0, false);
    base_free_raw(NULL, first, 1);
}

/* ---- hooks ---- */

static struct { uint64_t live, calls; bool fail; } hook;
static void *hook_alloc(size_t bytes, void *ctx)
{
    T_CHECK(ctx == &hook);
    if (hook.fail) { return NULL; }
    hook.calls++;
    hook.live += bytes;
    void *p = malloc(bytes);
    if (p != NULL) { memset(p, 0xaa, bytes); }
    return p;
}
static void hook_free(void *p, size_t bytes, void *ctx)
{
    T_CHECK(ctx == &hook && p != NULL);
    hook.live -= bytes;
    free(p);
}

T_CASE(hooks_receive_the_size_of_every_block)
{
    base_alloc_hooks h = { hook_alloc, hook_free, &hook, NULL };
    base_account a;
    base_account_init(&a, 1 << 30, &h);
    unsigned char *small = base_alloc(&a, BASE_MOD_TAG, 100, NULL);
    unsigned char *large = base_alloc(&a, BASE_MOD_TAG, 1 << 20, NULL);
    void *raw = base_alloc_raw(&h, 50);
    T_REQUIRE(small != NULL && large != NULL && raw != NULL);
    T_CHECK(small[99] == 0 && large[(1 << 20) - 1] == 0);
    T_EQ_U64(hook.calls, 3);
    T_EQ_U64(hook.live, 100 + (1 << 20) + 50);
    base_free(&a, BASE_MOD_TAG, small, 100);
    base_free(&a, BASE_MOD_TAG, large, 1 << 20);
    base_free_raw(&h, raw, 50);
    T_EQ_U64(hook.live, 0);
    hook.fail = true;
    bool refused = true;
    T_CHECK(base_alloc(&a, BASE_MOD_TAG, 100, &refused) == NULL && !refused);
    T_EQ_U64(base_load_rlx(&a.used), 0);
}

/* ---- uthash on a budget ---- */

typedef struct item {
    uint32_t id;
    UT_hash_handle hh;
} item;

/* Return the number of items from `first` on, in the order of their ids and all found by key. */
static uint32_t items_in_order(const item *first)
{
    uint32_t n = 0;
    for (const item *i = first; i != NULL; i = i->hh.next, n++) {
        const item *next = i->hh.next;
        T_CHECK(next == NULL || (next->id > i->id && next->hh.prev == i));
        T_CHECK(BASE_TABLE_FIND(hh, first, &i->id, 4, i->id * 2654435761u) == i);
    }
    return n;
}

T_CASE(table_calls_keep_order_and_survive_a_full_budget)
{
    base_account a, *base_table_account = &a;
    base_module base_table_module = BASE_MOD_FLIGHT;
    static item items[2000];
    for (uint64_t limit = 0; limit <= 40000; limit += 2000) { /* no table, few buckets, all */
        base_account_init(&a, limit, NULL);
        item *head = NULL;
        uint32_t in = 0;
        for (uint32_t i = 0; i < 2000; i++) {
            items[i] = (item){ .id = i };
            BASE_TABLE_ADD(hh, head, &items[i].id, 4, i * 2654435761u, &items[i]);
            in += items[i].hh.tbl != NULL;
        }
        T_EQ_U64(items_in_order(head), in);
        T_CHECK(limit > 2000 || in < 2000);
        T_CHECK(limit < 40000 || in == 2000);
        for (uint32_t i = 0; i < 2000; i++) { /* the first ones, the last ones, some between */
            if (items[i].hh.tbl == NULL || (i >= 3 && i < 1990 && i % 3 == 0)) { continue; }
            BASE_TABLE_REMOVE(hh, head, &items[i]);
            T_CHECK(BASE_TABLE_FIND(hh, head, &i, 4, i * 2654435761u) == NULL);
            in--;
        }
        T_EQ_U64(items_in_order(head), in);
        while (head != NULL) {
            item *last = head;
            while (last->hh.next != NULL) { last = last->hh.next; }
            BASE_TABLE_REMOVE(hh, head, last);
        }
        T_EQ_U64(base_load_rlx(&a.used), 0);
    }
}

T_MAIN("base_mem")
