/* SPDX-License-Identifier: MIT
 *
 * Aim:    counters are exact with many threads, ended threads, reused slots, a budget that refuses
 *         blocks, and a store that evicts while a block is made.
 * Method: sums against the additions of the test; an allocator that refuses on order. */
#include "tests/support/t.h"

#include <pthread.h>

#include "stats/stats.h"

static base_account account;

static stats *open_stats(uint64_t limit_bytes)
{
    base_account_init(&account, limit_bytes, NULL);
    stats *st = stats_create(&account);
    T_REQUIRE(st != NULL);
    return st;
}

static void close_stats(stats *st)
{
    stats_destroy(st);
    T_EQ_U64(base_load_rlx(&account.used), 0);
    T_EQ_U64(base_load_rlx(&account.by_module[BASE_MOD_STATS]), 0);
}

typedef struct adder {
    stats *st;
    uint32_t slot;
    uint64_t times;
} adder;

static void *add_outcomes(void *arg)
{
    const adder *a = arg;
    for (uint64_t i = 0; i < a->times; i++) {
        stats_block *mine = stats_mine(a->st, a->slot);
        stats_add(mine, (stats_id)(STATS_HIT_L1 + (int)(i % 5)), 1);
        if (i % 4 == 0) { stats_count(a->st, STATS_TICK, 3); }
    }
    return NULL;
}

#define STATS(fn) T_WITH(fn, stats *st, st, open_stats(64u << 20), close_stats(st))

T_CASE_ON(eight_threads_sum_exact, STATS)
{
    adder a = { st, 0, 1000000 };
    pthread_t id[8];
    uint64_t namespace[STATS_NAMESPACE_COUNT];
    for (int i = 0; i < 8; i++) { T_REQUIRE(pthread_create(&id[i], NULL, add_outcomes, &a) == 0); }
    /* While the adders run, readers see ascending sums. */
    uint64_t last = 0;
    for (int i = 0; i < 200; i++) {
        stats_read_slot(st, 0, namespace);
        T_CHECK(stats_gets(namespace) >= last);
        last = stats_gets(namespace);
    }
    for (int i = 0; i < 8; i++) { pthread_join(id[i], NULL); }
    stats_read_slot(st, 0, namespace);
    T_EQ_U64(stats_gets(namespace), 8u * a.times);
    T_EQ_U64(namespace[STATS_MISS], 8u * a.times / 5);
    T_EQ_U64((uint64_t)(1e6 * stats_hit_ratio(namespace) + .5), 800000);
    T_EQ_U64(stats_read_store(st, STATS_TICK), 8u * a.times / 4 * 3);
}

T_CASE(hit_ratio_without_traffic_is_zero)
{
    const uint64_t none[STATS_NAMESPACE_COUNT] = { 0 };
    T_CHECK(stats_hit_ratio(none) == 0);
}

T_CASE_ON(ended_threads_leave_sums_and_no_rows, STATS)
{
    adder a = { st, 0, 50 };
    t_live_and_end(add_outcomes, &a);
    const uint64_t after_one = base_load_rlx(&account.used);
    for (int i = 1; i < 2000; i++) { t_live_and_end(add_outcomes, &a); }
    uint64_t namespace[STATS_NAMESPACE_COUNT];
    stats_read_slot(st, 0, namespace);
    T_EQ_U64(stats_gets(namespace), 2000u * a.times);
    /* Records are reused: at most eight rows, not 2,000. */
    T_CHECK(base_load_rlx(&account.used) <= after_one + 8 * (sizeof(stats_row) + 1024));
}

T_CASE_ON(reused_slot_starts_at_zero_and_keeps_totals, STATS)
{
    T_REQUIRE(stats_slot_open(st, 5));
    stats_add(stats_mine(st, 5), STATS_SET, 7);
    stats_add(stats_mine(st, 0), STATS_SET, 2);
    T_EQ_U64(stats_read(st, 5, STATS_SET), 7);
    T_REQUIRE(stats_slot_open(st, 5));
    T_EQ_U64(stats_read(st, 5, STATS_SET), 0);
    stats_add(stats_mine(st, 5), STATS_SET, 1);
    T_EQ_U64(stats_read(st, 5, STATS_SET), 1);
    uint64_t all[STATS_NAMESPACE_COUNT];
    stats_read_all(st, all);
    T_EQ_U64(all[STATS_SET], 10);
    T_EQ_U64(stats_read(st, 6, STATS_SET), 0); /* never opened */
}

T_CASE_ON(counting_under_a_lock_never_allocates, STATS)
{
    const uint64_t before = base_load_rlx(&account.used);
    stats_add(stats_held(st, 0), STATS_SET, 1); /* the shared block */
    T_EQ_U64(base_load_rlx(&account.used), before);
    T_CHECK(stats_held(st, 0)->shared);
    stats_add(stats_mine(st, 0), STATS_SET, 1);
    T_CHECK(stats_held(st, 0) == stats_mine(st, 0));
    stats_add(stats_held(st, 0), STATS_SET, 1);
    T_EQ_U64(stats_read(st, 0, STATS_SET), 3);
}

T_CASE_ON(every_slot_number_counts, STATS)
{
    static const uint32_t slot[] = { 1, 7, 8, 9, 255, 256, 1000, STATS_SLOTS_MAX - 1 };
    for (size_t i = 0; i < sizeof slot / sizeof slot[0]; i++) {
        T_REQUIRE(stats_slot_open(st, slot[i]));
        stats_add(stats_mine(st, slot[i]), STATS_DELETE, slot[i]);
        T_CHECK(stats_mine(st, slot[i]) == stats_mine(st, slot[i]));
        T_CHECK(((uintptr_t)stats_mine(st, slot[i]) & (BASE_PAD - 1)) == 0);
    }
    for (size_t i = 0; i < sizeof slot / sizeof slot[0]; i++) {
        T_EQ_U64(stats_read(st, slot[i], STATS_DELETE), slot[i]);
    }
}

T_CASE_ON(refused_block_loses_no_count, STATS)
{
    base_account_limit(&account, base_load_rlx(&account.used)); /* no free byte */
    adder a = { st, 0, 200000 };
    pthread_t id[4];
    for (int i = 0; i < 4; i++) { T_REQUIRE(pthread_create(&id[i], NULL, add_outcomes, &a) == 0); }
    for (int i = 0; i < 4; i++) { pthread_join(id[i], NULL); }
    uint64_t namespace[STATS_NAMESPACE_COUNT];
    stats_read_slot(st, 0, namespace);
    T_EQ_U64(stats_gets(namespace), 4u * a.times);
    T_EQ_U64(stats_read_store(st, STATS_TICK), 4u * a.times / 4 * 3);
    T_CHECK(stats_mine(st, 0)->shared);
    T_CHECK(!stats_slot_open(st, 3));
    /* Not every call tries to allocate again, but the thread gets its block within 300 calls. */
    base_account_limit(&account, 64u << 20);
    int calls = 0;
    while (stats_mine(st, 0)->shared && calls < 1000) { calls++; }
    T_CHECK(calls < 300);
}

static stats *evicting;
static int evictions;

static bool evict_and_count(void *ctx, uint64_t bytes)
{
    (void)ctx, (void)bytes;
    T_CHECK(++evictions < 100); /* nested calls must not call make_room */
    stats_add(stats_mine(evicting, 0), STATS_EVICT_CAPACITY, 1);
    stats_count(evicting, STATS_LISTENER_CALL, 1);
    stats_time(evicting, STATS_OP_SET, 10);
    base_account_limit(&account, base_load_rlx(&account.limit) + 65536);
    return true;
}

T_CASE_ON(count_during_make_room_does_not_recurse, STATS)
{
    evicting = st;
    evictions = 0;
    base_account_limit(&account, base_load_rlx(&account.used));
    account.make_room = evict_and_count;
    stats_add(stats_mine(st, 0), STATS_SET, 1);
    T_EQ_I64(evictions, 1);
    T_CHECK(!stats_mine(st, 0)->shared);
    T_EQ_U64(stats_read(st, 0, STATS_EVICT_CAPACITY), 1);
    T_EQ_U64(stats_read_store(st, STATS_LISTENER_CALL), 1);
}

static int allocations_left;

static void *count_down_alloc(size_t bytes, void *ctx)
{
    (void)ctx;
    return allocations_left-- > 0 ? calloc(1, bytes) : NULL;
}

static void count_down_free(void *p, size_t bytes, void *ctx) { (void)ctx, (void)bytes; free(p); }

T_CASE(refused_allocation_leaves_no_memory_behind)
{
    const base_alloc_hooks hooks = { count_down_alloc, count_down_free, NULL, NULL };
    int made = 0;
    for (int n = 0; n < 20 && !made; n++) {
        base_account_init(&account, 64u << 20, &hooks);
        allocations_left = n;
        stats *st = stats_create(&account);
        if (st != NULL) {
            made = n;
            /* Each call works with and without memory. */
            for (int more = 0; more < 8; more++) {
                allocations_left = more;
                (void)stats_slot_open(st, 300u + (uint32_t)more * 256u);
                stats_add(stats_mine(st, 0), STATS_SET, 1);
                stats_time(st, STATS_OP_SET, 1);
            }
            T_EQ_U64(stats_read(st, 0, STATS_SET), 8);
        }
        stats_destroy(st);
        T_EQ_U64(base_load_rlx(&account.used), 0);
    }
    T_CHECK(made >= 3);
}

/* The smallest budget must keep 60 % for values: eight busy threads take at most 3 % of it. */
T_CASE(small_budgets_pay_little)
{
    stats *st = open_stats(1u << 20);
    adder a = { st, 0, 1000 };
    pthread_t id[8];
    for (int i = 0; i < 8; i++) { T_REQUIRE(pthread_create(&id[i], NULL, add_outcomes, &a) == 0); }
    for (int i = 0; i < 8; i++) { pthread_join(id[i], NULL); }
    for (int op = 0; op < STATS_OP_COUNT; op++) { stats_time(st, (stats_op)op, 100); }
    T_EQ_U64(st->stripes, 1);
    T_CHECK(base_load_rlx(&account.used) <= (1u << 20) / 33); /* 3 % */
    close_stats(st);
}

static void entry(stats *st, uint32_t generation, uint64_t by)
{
    if (!stats_entry_add(stats_mine(st, 0), generation, by)) {
        stats_entry_slow(st, 0, generation, by);
    }
}

typedef struct mover {
    stats *st;
    uint64_t by;
} mover;

static void *move_entries(void *arg)
{
    const mover *m = arg;
    for (unsigned i = 0; i < 100000; i++) { entry(m->st, 7, m->by); }
    return NULL;
}

T_CASE_ON(entries_count_the_last_generation, STATS)
{
    T_EQ_U64(stats_entries(st, 0), 0);
    entry(st, 0, STATS_ENTRY_IN);
    T_EQ_U64(stats_entries(st, 0), 1);
    T_EQ_U64(stats_entries(st, 5), 0); /* never opened */
    stats_entries_begin(st, 0, 7);
    T_EQ_U64(stats_entries(st, 0), 0);
    entry(st, 0, STATS_ENTRY_OUT); /* of the generation before: before and after a new one */
    entry(st, 7, STATS_ENTRY_IN);
    entry(st, 0, STATS_ENTRY_OUT);
    entry(st, 7, STATS_ENTRY_IN);
    entry(st, 7, STATS_ENTRY_OUT);
    T_EQ_U64(stats_entries(st, 0), 1);
    stats_entry_slow(st, 0, 7, STATS_ENTRY_IN); /* as without a block of this thread */
    T_EQ_U64(stats_entries(st, 0), 2);
    /* Threads that only store and threads that only remove: each sum wraps, the total does not. */
    mover m[4] = { { st, STATS_ENTRY_IN }, { st, STATS_ENTRY_OUT }, { st, STATS_ENTRY_IN },
                   { st, STATS_ENTRY_OUT } };
    pthread_t id[4];
    for (int i = 0; i < 4; i++) {
        T_REQUIRE(pthread_create(&id[i], NULL, move_entries, &m[i]) == 0);
    }
    for (int i = 0; i < 4; i++) { T_EQ_I64(pthread_join(id[i], NULL), 0); }
    T_EQ_U64(stats_entries(st, 0), 2);
    entry(st, 7, STATS_ENTRY_OUT);
    entry(st, 7, STATS_ENTRY_OUT);
    entry(st, 7, STATS_ENTRY_OUT); /* counted before the thread that stored it counts */
    T_EQ_U64(stats_entries(st, 0), 0);
    entry(st, 7, STATS_ENTRY_IN);
    T_EQ_U64(stats_entries(st, 0), 0);
}

T_MAIN("stats_counters")
