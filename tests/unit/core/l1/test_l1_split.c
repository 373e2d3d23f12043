/* SPDX-License-Identifier: MIT
 *
 * Aim:    growing the index by one bucket at a time loses no key and no use counter, also when a
 *         page of it is refused. Contraction loses none either.
 * Method: after each insert from 0 to 10^6 probe an earlier key. Keys used before the growth keep
 *         their counters. Inserts while the budget (or the system) refuses at each point: every
 *         entry without a reported end must hit. A tick turns full pages of the index into huge
 *         pages, none beyond the charge, and again after a part was given back. A used up overflow
 *         area gives no half twice. */
#include "l1/index.h"
#include "tests/support/l1_kit.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MANY = 1000000, HOT = 500 };

static kit z; /* the store of the running case */

T_CASE(every_insert_keeps_the_earlier_ones)
{
    const uint64_t n = kit_scale(MANY);
    kit_open(&z, KIT_MIB(256), NULL);
    kit_rng r = {t_seed()};
    uint64_t buf;
    size_t len;
    for (uint64_t i = 0; i < HOT; i++) { T_EQ_I64(kit_put(&z, i, i, 8), CELLAR_OK); }
    for (uint64_t i = 0; i < 3 * HOT; i++) {
        T_EQ_I64(kit_get(&z, i % HOT, &buf, 8, &len), CELLAR_OK);
    }
    for (uint64_t i = HOT; i < n && t_failed() == 0; i++) {
        T_EQ_I64(kit_put(&z, i, i, 8), CELLAR_OK);
        uint64_t earlier = HOT + kit_below(&r, i - HOT + 1);
        T_EQ_I64(kit_get(&z, earlier, &buf, 8, &len), CELLAR_OK);
        T_CHECK(kit_is(&buf, len, earlier, earlier));
    }
    l1_stats s = kit_stats(&z);
    T_EQ_U64(s.entries, n);
    T_EQ_U64(s.evicted, 0);
    T_CHECK(s.splits + 2000 > n / 9 / 2);
    /* Bytes per entry beyond key and value; 16 key, 8 value. */
    double over = (double)(kit_used(&z) - n * 24) / (double)n;
    printf("# %.1f bytes an entry over key and value\n", over);
    T_CHECK(over < 40 || n < 500000);
    for (uint64_t i = 0; i < HOT; i++) {
        kit_key key;
        l1_info info;
        T_EQ_I64(l1_inspect(z.c, kit_key_of(&z, &key, 0, i), NULL, 0, &info, L1_PEEK), CELLAR_OK);
        T_EQ_U64(info.uses, 3); /* in its present bucket */
    }
    for (uint64_t i = 0; i < n; i++) { T_CHECK(kit_has(&z, i)); }
    for (uint64_t i = n; i < n + HOT; i++) { T_CHECK(!kit_has(&z, i)); }
    T_EQ_U64(kit_stats(&z).fallback_reads, 0); /* neither hits nor misses take a lock */
    kit_audit(&z);
    /* And back: delete most, merge the buckets, find the rest. */
    for (uint64_t i = 0; i < n; i++) {
        if (i % 50 != 0) { T_EQ_I64(kit_del(&z, i), CELLAR_OK); }
    }
    (void)l1_tick(z.c, UINT64_MAX);
    kit_audit(&z);
    T_CHECK(kit_stats(&z).merges > n / 20);
    for (uint32_t i = 0; i < z.c->stripe_count; i++) { /* each change has a word of its own */
        const l1_stripe *of = &z.c->stripe[i];
        T_EQ_U64(base_load_rlx(&of->ls) >> 40, of->splits + of->merges);
    }
    for (uint64_t i = 0; i < n; i += 50) { T_CHECK(kit_has(&z, i)); }
    for (uint64_t i = 0; i < HOT; i += 50) {
        kit_key key;
        l1_info info;
        T_EQ_I64(l1_inspect(z.c, kit_key_of(&z, &key, 0, i), NULL, 0, &info, L1_PEEK), CELLAR_OK);
        T_EQ_U64(info.uses, 3);
    }
    kit_close(&z);
}

/* A set takes a half also if l1_ovf_ready found none: splits may have freed one. */
T_CASE(used_up_overflow_area_gives_no_half)
{
    uint32_t taken = 0;
    kit_open(&z, KIT_MIB(256), &(l1_config){ .stripes = 1 });
    l1_stripe *s = &z.c->stripe[0];
    T_REQUIRE(z.c->overflow_limit == UINT16_MAX);
    sync_take(L1_STRIPE, &s->lock);
    while (l1_ovf_ready(z.c, s, 0)) {
        taken++;
        T_REQUIRE(l1_ovf_take(s, 0) == taken);
    }
    T_EQ_U64(taken, UINT16_MAX);
    T_EQ_U64(l1_ovf_take(s, 0), 0);
    T_EQ_U64(s->group[0].high, taken);
    while (taken > 0) { l1_ovf_give(s, 0, (uint16_t)taken--); }
    sync_drop(L1_STRIPE, &s->lock);
    kit_close(&z);
}

T_CASE(pages_of_free_halves_are_those_of_their_group)
{
    const uint64_t number = (uint64_t)1 << L1_GROUP_SHIFT; /* of the second group */
    kit_open(&z, KIT_MIB(256), &(l1_config){ .stripes = 1 });
    l1_stripe *s = &z.c->stripe[0];
    T_REQUIRE(z.c->group_count > 1);
    sync_take(L1_STRIPE, &s->lock);
    T_REQUIRE(l1_ovf_ready(z.c, s, number));
    const uint16_t n = l1_ovf_take(s, number);
    l1_bucket *b = l1_half(s, number, n).b;
    base_store_rlx(&b->tag[0], (uint16_t)1);
    l1_ovf_give(s, number, n);
    l1_overflow_rest(z.c, s);
    T_EQ_U64(base_load_rlx(&b->tag[0]), 0); /* the system has the page back */
    sync_drop(L1_STRIPE, &s->lock);
    kit_close(&z);
}

/* ---- refused growth -------------------------------------------------------------------------- */
enum { SOME = 60000 };
static uint8_t there[SOME]; /* set, and no end reported */

static void on_left(void *ctx, const l1_left *what)
{
    (void)ctx;
    uint64_t id = kit_id_of(what->key, what->key_len);
    if (T_CHECK(id < SOME)) {
        T_CHECK(there[id] == 1);
        there[id] = 0;
    }
}

static void check_all(kit *k)
{
    for (uint64_t i = 0; i < SOME; i++) { T_EQ_U64(kit_has(k, i), there[i]); }
    kit_audit(k);
}

T_CASE(growth_refused_by_the_account)
{
    l1_config cfg = {.hooks = {.left = on_left}, .stripes = 4};
    memset(there, 0, sizeof there);
    kit_open(&z, KIT_MIB(8), &cfg);
    l1_want_left(z.c, true);
    kit_rng r = {t_seed()};
    uint64_t hog = 0, until = 0;
    for (uint64_t i = 0; i < SOME && t_failed() == 0; i++) {
        /* Take the free rest of the budget for a while, at changing places. */
        if (hog == 0 && kit_one_in(&r, 60)) {
            uint64_t room = base_load_rlx(&z.account.limit) - kit_used(&z),
            leave = kit_below(&r, 4) * 4096;
            hog = room > leave ? room - leave : 0;
            if (hog != 0 && !base_charge(&z.account, BASE_MOD_NAMESPACE, hog)) { hog = 0; }
            until = i + kit_below(&r, 400);
        }
        if (hog != 0 && i >= until) {
            base_uncharge(&z.account, BASE_MOD_NAMESPACE, hog);
            hog = 0;
        }
        cellar_err err = kit_put(&z, i, i, 8 + kit_below(&r, 40));
        T_CHECK(err == CELLAR_OK || (err == CELLAR_E_SPACE && hog != 0));
        there[i] = err == CELLAR_OK;
        uint64_t earlier = kit_below(&r, i + 1);
        T_EQ_U64(kit_has(&z, earlier), there[earlier]);
        if (i % 20000 == 19999) { check_all(&z); }
    }
    if (hog != 0) { base_uncharge(&z.account, BASE_MOD_NAMESPACE, hog); }
    check_all(&z);
    l1_want_left(z.c, false);
    kit_close(&z);
}

static uint64_t growth_refused_at(uint64_t nth, uint32_t stripes)
{
    l1_config cfg = {.hooks = {.left = on_left}, .stripes = stripes};
    memset(there, 0, sizeof there);
    kit_open(&z, KIT_MIB(8), &cfg);
    l1_want_left(z.c, true);
    base_fault_alloc_arm(nth, nth % 3 == 0);
    for (uint64_t i = 0; i < 6000; i++) {
        cellar_err err = kit_put(&z, i, i, 8 + i % 40);
        T_CHECK(err == CELLAR_OK || err == CELLAR_E_SPACE || err == CELLAR_E_NOMEM);
        there[i] = err == CELLAR_OK;
    }
    const bool refused = base_fault_alloc_site() != NULL;
    base_fault_alloc_arm(0, false);
    for (uint64_t i = 0; i < 6000; i++) { T_EQ_U64(kit_has(&z, i), there[i]); }
    T_EQ_I64(kit_put(&z, 0, 0, 8), CELLAR_OK); /* works again */
    l1_want_left(z.c, false);
    kit_close(&z);
    return refused;
}

/* Pages of buckets of four stripes become writable together: more places with one stripe. */
T_CASE(growth_refused_by_the_system)
{
    uint64_t failed = 0;
    for (uint64_t nth = 1; nth < 200; nth += 1 + nth / 16 * KIT_SLOW) {
        failed += growth_refused_at(nth, 1) + growth_refused_at(nth, 4);
    }
    T_CHECK(failed > 20);
}

/* ---- huge pages: made of full pages, given back, made again ----------------------------------- */
/* Check that the index is huge pages up to its last full one. Return the bytes that are. */
static size_t check_collapsed(const kit *k)
{
    const uint64_t index = base_load_rlx(&k->account.by_module[BASE_MOD_INDEX]);
    const size_t done = (size_t)k->c->index_collapsed;
    printf("# %zu of %" PRIu64 " bytes tried%s\n", done, index,
           k->c->collapse_off ? "; this kernel gives no huge pages" : "");
    if (!k->c->collapse_off) {
        T_CHECK(done + (uintptr_t)k->c->index_region.base % BASE_HUGE >= BASE_HUGE);
        T_CHECK(done <= index && index - done < 2 * BASE_HUGE);
        T_EQ_U64(((uintptr_t)k->c->index_region.base + done) % BASE_HUGE, 0);
    }
    return done;
}

static bool no_collapse; /* the kernel knows no MADV_COLLAPSE */

int madvise(void *at, size_t bytes, int advice)
{
    if (no_collapse && advice == 25) { advice = -1; }
    return (int)syscall(SYS_madvise, at, bytes, advice);
}

T_CASE(the_index_becomes_huge_pages)
{
    const uint64_t n = 420000; /* with 64 stripes: two full huge pages, a part of a third */
    l1_config cfg = {.max_entries = 0};
    kit_open(&z, KIT_MIB(256), &cfg);
    for (uint64_t i = 0; i < n; i++) { T_EQ_I64(kit_put(&z, i, i, 8), CELLAR_OK); }
    const uint64_t used = kit_used(&z);
    const uint64_t index = base_load_rlx(&z.account.by_module[BASE_MOD_INDEX]);
    T_CHECK(index > 2 * BASE_HUGE && index < 4 * BASE_HUGE);
    const size_t none = (size_t)z.c->index_collapsed;
    (void)l1_tick(z.c, UINT64_MAX);
    T_EQ_U64(z.c->index_collapsed, none); /* it has just grown */
    kit_forward(&z, 3000);
    no_collapse = true; /* such a kernel is asked once */
    T_CHECK(l1_index_collapse(z.c));
    z.c->index_collapsed = none;
    T_EQ_I64(l1_index_collapse_due_ms(z.c), BASE_NEVER_MS);
    no_collapse = z.c->collapse_off = false;
    (void)l1_tick(z.c, UINT64_MAX);
    T_EQ_U64(kit_used(&z), used);
    T_EQ_I64(l1_index_collapse_due_ms(z.c), BASE_NEVER_MS); /* done, or the kernel cannot */
    const size_t done = check_collapsed(&z);
    for (uint64_t i = 0; i < n; i++) { T_CHECK(kit_has(&z, i)); }
    kit_audit(&z);
    /* Pages in the middle of a huge page are given back: it is made again once it is full. */
    for (uint64_t i = 0; i < n; i++) {
        if (i % 50 != 0) { T_EQ_I64(kit_del(&z, i), CELLAR_OK); }
    }
    (void)l1_tick(z.c, UINT64_MAX);
    T_CHECK(kit_stats(&z).merges > 0);
    T_CHECK(z.c->index_collapsed <= done);
    T_CHECK(z.c->collapse_off || z.c->index_collapsed < done);
    for (uint64_t i = 0; i < n; i++) { T_EQ_I64(kit_put(&z, i, i, 8), CELLAR_OK); }
    kit_forward(&z, 3000);
    (void)l1_tick(z.c, UINT64_MAX);
    (void)check_collapsed(&z); /* one page more or less: lanes tell their entries late */
    for (uint64_t i = 0; i < n; i++) { T_CHECK(kit_has(&z, i)); }
    kit_close(&z);
}

/* Return the bytes of [from, from + bytes) in huge pages, as the kernel reports. */
static uint64_t huge_bytes(const void *from, size_t bytes)
{
    const uintptr_t lo = (uintptr_t)from, hi = lo + bytes;
    char text[512];
    uint64_t kib, sum = 0;
    bool inside = false;
    FILE *f = fopen("/proc/self/smaps", "r");
    if (f == NULL) { return 0; }
    while (fgets(text, sizeof text, f) != NULL) {
        uintptr_t start, end;
        if (sscanf(text, "%" SCNxPTR "-%" SCNxPTR " ", &start, &end) == 2) {
            inside = start < hi && end > lo;
        } else if (inside && sscanf(text, "AnonHugePages: %" SCNu64, &kib) == 1) {
            sum += kib << 10;
        }
    }
    fclose(f);
    return sum;
}

static bool the_kernel_gives_huge_pages(void)
{
    base_region r;
    T_REQUIRE(base_region_reserve(&r, 4 * BASE_HUGE, 4 * BASE_HUGE));
    base_region_huge(&r, true);
    T_REQUIRE(base_region_commit(&r, 0, 4 * BASE_HUGE));
    memset(r.base, 1, 4 * BASE_HUGE);
    const bool all = huge_bytes(r.base, 4 * BASE_HUGE) == 4 * BASE_HUGE;
    base_region_release(&r);
    return all;
}

typedef struct huge_now { uint64_t index, arena; } huge_now;

static huge_now huge_of(const kit *k)
{
    return (huge_now){ huge_bytes(k->c->index_region.base, k->c->index_region.reserved_bytes),
                       huge_bytes(k->c->arena_region.base, k->c->arena_region.reserved_bytes) };
}

/* Fill a store in this mode. Return its huge pages before and after a tick. */
static void fill_in_mode(l1_huge mode, uint64_t budget, huge_now *filled, huge_now *ticked)
{
    const uint64_t n = 420000;
    l1_config cfg = {.huge_pages = (uint8_t)mode};
    kit_open(&z, budget, &cfg);
    for (uint64_t i = 0; i < n; i++) { T_EQ_I64(kit_put(&z, i, i, 8), CELLAR_OK); }
    *filled = huge_of(&z);
    (void)l1_tick(z.c, UINT64_MAX); /* notes the size of the index */
    kit_forward(&z, 3000);
    (void)l1_tick(z.c, UINT64_MAX);
    *ticked = huge_of(&z);
    printf("# mode %d: index %" PRIu64 " then %" PRIu64 ", arena %" PRIu64 " then %" PRIu64 "\n",
           (int)mode, filled->index, ticked->index, filled->arena, ticked->arena);
    for (uint64_t i = 0; i < n; i += 997) { T_CHECK(kit_has(&z, i)); }
    kit_close(&z);
}

T_CASE(each_mode_makes_its_huge_pages)
{
    huge_now filled, ticked;
    fill_in_mode(L1_HUGE_NEVER, KIT_MIB(256), &filled, &ticked);
    T_CHECK(filled.index + filled.arena + ticked.index + ticked.arena == 0);
    if (!the_kernel_gives_huge_pages()) {
        T_SKIP("the kernel gives no huge pages");
        return;
    }
    fill_in_mode(L1_HUGE_NOW, KIT_MIB(128), &filled, &ticked);
    huge_now later;
    fill_in_mode(L1_HUGE_LATER, KIT_MIB(32), &later, &later);
    if (!the_kernel_gives_huge_pages()) { /* memory became short meanwhile */
        T_SKIP("the kernel gives no huge pages");
        return;
    }
    T_CHECK(filled.index >= BASE_HUGE && filled.arena >= BASE_HUGE); /* immediately */
    T_CHECK(ticked.index >= 2 * BASE_HUGE && ticked.arena >= BASE_HUGE);
    T_CHECK(later.index >= BASE_HUGE && later.arena >= BASE_HUGE);
    T_CHECK(ticked.index >= later.index);
}

T_ONE_THREAD;
T_MAIN("l1_split")
