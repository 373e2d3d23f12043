/* SPDX-License-Identifier: MIT
 *
 * Aim:    a copy of a directory that was in use opens empty, whatever SUPER said at that moment; a
 *         copy of a closed one serves what the store served, and nothing else ever comes out of a
 *         copy whose files were taken at different moments around a close.
 * Method: a disk made of memory is kept as it is at several moments of two lives; copies are put
 *         together of SUPER, META, data.seg and each slot of the stage of any moment, and opened,
 *         or killed at each step of that and opened again; the oracle is what the directory itself
 *         served after the close that SUPER tells of. */
#include "tests/support/l2_kit.h"

enum { LIVE, LATER, SYNCED, BUSY, CLOSED, AGAIN, CHANGED, CLOSED_AGAIN, MOMENTS };

static l2_dev dev, copy, killed, moment[MOMENTS];
static l2_kit kit, other;
static uint32_t seen[MOMENTS][L2_KIT_KEYS]; /* versions; of moments that are no close: none */

static void nothing_is_left(void) { T_EQ_U64(base_live_blocks(), 0); }
T_AFTER_EACH(nothing_is_left);

static void keep(int m) { l2_dev_clone(&dev, &moment[m], NULL); }

/* Opened where it is, from a second disk with the same files: what it serves then. */
static void closed(int m)
{
    l2_close(kit.d);
    kit.d = NULL;
    keep(m);
    l2_dev_clone(&dev, &copy, NULL);
    l2_dev_file *snap = l2_dev_find(&copy, "index.snap");
    T_REQUIRE(snap != NULL);
    snap->name[0] = '\0'; /* by the footers, as any copy is opened */
    l2_kit_init(&other, &copy);
    other.cfg.seg_count = 6;
    other.cfg.level = kit.cfg.level;
    T_REQUIRE(l2_kit_open(&other) == CELLAR_OK);
    l2_kit_warm(&other);
    while (l2_tick(other.d, 1000)) {} /* with index.snap, too, the oldest is reclaimed */
    for (uint32_t i = 0; i < L2_KIT_KEYS; i++) { seen[m][i] = l2_kit_look(&other, i, L2_KIT_VGEN); }
    l2_kit_kill(&other);
}

static void changes(uint32_t version, uint32_t step)
{
    for (uint32_t i = 0; i < L2_KIT_KEYS; i += step) {
        l2_kit_del(&kit, i);
        (void)l2_tick(kit.d, 1000);
        if (i % (2 * step) != 0) { continue; }
        T_EQ_I64(l2_kit_put(&kit, i, version, L2_KIT_VGEN), CELLAR_OK);
    }
}

static void lived(l2_level level)
{
    memset(seen, 0, sizeof seen);
    for (int m = 0; m < MOMENTS; m++) { l2_dev_init(&moment[m]); }
    l2_dev_init(&copy);
    l2_kit_begin(&kit, &dev, level);
    l2_kit_fill(&kit, 1);
    keep(LIVE);
    changes(2, 3);
    l2_kit_fill(&kit, 3);
    keep(LATER);
    changes(4, 2);
    T_EQ_I64(l2_sync(kit.d), CELLAR_OK);
    keep(SYNCED);
    changes(5, 5);
    changes(6, 3);
    keep(BUSY);
    changes(7, 4);
    closed(CLOSED);
    dev.locked = false;
    T_REQUIRE(l2_kit_open(&kit) == CELLAR_OK);
    l2_kit_warm(&kit);
    changes(8, 5);
    keep(AGAIN);
    l2_kit_fill(&kit, 9);
    changes(10, 3);
    keep(CHANGED);
    changes(11, 7);
    closed(CLOSED_AGAIN);
}

static void died(void)
{
    for (int m = 0; m < MOMENTS; m++) { l2_dev_fini(&moment[m]); }
    l2_dev_fini(&copy);
    l2_dev_fini(&dev);
}

static int file_at(const char *name)
{
    for (int i = 0; i < DEV_FILES; i++) {
        if (strcmp(dev.file[i].name, name) == 0) { return i; }
    }
    return -1;
}

/* Bytes [at, at + n) of a file as they were at that moment. */
static void take(const char *name, int from, size_t at, size_t n)
{
    const int i = file_at(name);
    T_REQUIRE(i >= 0);
    const l2_dev_file *f = &moment[from].file[i];
    l2_dev_file *c = &copy.file[i];
    n = BASE_MIN(n, f->size - BASE_MIN(at, f->size));
    if (f->size > c->size) { c->size = f->size; }
    if (n > 0) { memcpy(c->live + at, f->live + at, n); }
}

/* 0: it opened empty; else how many keys it serves. Anything but what `oracle` says is a fault. */
static uint32_t opened(l2_dev *v, const uint32_t *oracle)
{
    uint32_t served = 0;
    l2_kit_init(&other, v);
    other.cfg.seg_count = 6;
    other.cfg.level = kit.cfg.level;
    T_REQUIRE(l2_kit_open(&other) == CELLAR_OK);
    l2_kit_warm(&other);
    while (l2_tick(other.d, 1000)) {} /* with index.snap, too, the oldest is reclaimed */
    for (uint32_t i = 0; i < L2_KIT_KEYS; i++) {
        const uint32_t version = l2_kit_look(&other, i, L2_KIT_VGEN);
        served += version != 0;
        if (version != 0) { T_EQ_U64(version, oracle[i]); }
    }
    T_EQ_STR(l2_audit(other.d), NULL);
    l2_kit_kill(&other);
    return served;
}

static void other_files(void)
{
    for (int i = 0; i < DEV_FILES; i++) {
        copy.file[i].ino += 100;
        copy.file[i].durable_size = copy.file[i].size;
    }
}

static uint32_t held(int m)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < L2_KIT_KEYS; i++) { n += seen[m][i] != 0; }
    return n;
}

static void whole_copies(l2_level level)
{
    lived(level);
    for (int m = 0; m < MOMENTS; m++) {
        l2_dev_clone(&moment[m], &copy, NULL);
        other_files();
        const uint32_t n = opened(&copy, seen[m]);
        T_EQ_U64(n, held(m)); /* none, if it was in use */
    }
    T_CHECK(held(CLOSED) > L2_KIT_KEYS / 4 && held(CLOSED_AGAIN) > L2_KIT_KEYS / 4);
    died();
}

static void a_copy_counts_if_the_store_was_closed(void)
{
    whole_copies(L2_DROP);
    whole_copies(L2_KEEP);
    whole_copies(L2_ALWAYS);
}

/* cp takes one file after the other, and the slots of the stage one after the other, too. */
static void mixed(uint32_t n)
{
    const uint32_t seg = 16384;
    const int super = n % MOMENTS, meta = n / MOMENTS % MOMENTS;
    const int data = n / (MOMENTS * MOMENTS) % MOMENTS;
    const int slot0 = n / (MOMENTS * MOMENTS * MOMENTS) % MOMENTS;
    const int slot1 = n / (MOMENTS * MOMENTS * MOMENTS * MOMENTS) % MOMENTS;
    l2_dev_clone(&moment[super], &copy, NULL);
    if (n % 3 == 0) { copy.boot[15]++; } /* taken to another machine */
    take("META.0", meta, 0, SIZE_MAX / 2);
    take("META.1", meta, 0, SIZE_MAX / 2);
    take("data.seg", data, 0, SIZE_MAX / 2);
    take("stage.buf", slot0, 0, seg);
    take("stage.buf", slot1, seg, seg);
    other_files();
}

#define MIXTURES ((uint32_t)MOMENTS * MOMENTS * MOMENTS * MOMENTS * MOMENTS)

static void mixed_copies(l2_level level)
{
    uint32_t copies = 0, served = 0; /* served: those that serve something */
    lived(level);
    for (uint32_t n = 0; n < MIXTURES && !t_failed(); n++) {
        const uint32_t super = n % MOMENTS;
        /* What is in use opens empty before anything else is looked at: a few of those will do. */
        if (super != CLOSED && super != CLOSED_AGAIN && n % 61 != 0) { continue; }
        mixed(n);
        copies++;
        served += opened(&copy, seen[super]) != 0;
    }
    T_CHECK(served >= 2 && served < copies / 2);
    died();
}

static uint32_t left; /* calls until the kill */

static void kill_now(void *ctx)
{
    (void)ctx;
    if (left > 0 && --left == 0) { l2_dev_clone(&copy, &killed, NULL); }
}

static void a_copy_killed_while_it_is_opened_serves_nothing_dead(void)
{
    uint32_t kills = 0;
    lived(L2_DROP);
    l2_dev_init(&killed);
    for (uint32_t n = 0; n < MIXTURES && !t_failed(); n += 37) {
        const uint32_t super = n % MOMENTS;
        if (super != CLOSED && super != CLOSED_AGAIN) { continue; }
        for (uint32_t at = 1; !t_failed(); at++) {
            mixed(n);
            left = at;
            copy.hook = kill_now;
            (void)opened(&copy, seen[super]);
            copy.hook = NULL;
            if (left > 0) { break; } /* there are fewer calls */
            kills++;
            (void)opened(&killed, seen[super]);
        }
    }
    T_CHECK(kills > 1000);
    l2_dev_fini(&killed);
    died();
}

/* Opens whose n-th allocation is refused; the next one: at most what `oracle` has. False: there are
 * fewer allocations. */
static bool opened_without_memory(uint64_t nth, const uint32_t *oracle, uint32_t *served)
{
    l2_kit_init(&other, &copy);
    other.cfg.seg_count = 6;
    other.cfg.level = kit.cfg.level;
    (void)base_fault_alloc_arm(nth, false);
    const cellar_err err = l2_kit_open(&other);
    const bool more = base_fault_alloc_arm(0, false) >= nth;
    T_CHECK(err == CELLAR_OK || err == CELLAR_E_NOMEM);
    const bool failed = err != CELLAR_OK;
    l2_kit_kill(&other);
    copy.locked = false;
    *served = UINT32_MAX; /* it was opened: what a kill leaves of that is its own */
    if (failed) { *served = opened(&copy, oracle); }
    return more;
}

static void a_copy_that_finds_no_memory_is_as_it_was(void)
{
    uint32_t failed = 0;
    lived(L2_DROP);
    for (int m = CLOSED; m <= CLOSED_AGAIN; m += CLOSED_AGAIN - CLOSED) {
        bool more = true;
        for (uint64_t nth = 1; more && !t_failed(); nth++) {
            uint32_t served;
            l2_dev_clone(&moment[m], &copy, NULL);
            other_files();
            more = opened_without_memory(nth, seen[m], &served);
            failed += served != UINT32_MAX;
            if (served != UINT32_MAX) { T_EQ_U64(served, held(m)); }
        }
    }
    T_CHECK(failed > 10);
    for (uint32_t n = 0; n < MIXTURES && !t_failed(); n += 131) {
        const uint32_t super = n % MOMENTS;
        bool more = super == CLOSED || super == CLOSED_AGAIN;
        for (uint64_t nth = 1; more && !t_failed(); nth++) {
            uint32_t served;
            mixed(n);
            more = opened_without_memory(nth, seen[super], &served);
        }
    }
    died();
}

static void nothing_dead_comes_out_of_a_mixed_copy_at_drop(void) { mixed_copies(L2_DROP); }
static void nothing_dead_comes_out_of_a_mixed_copy_at_keep(void) { mixed_copies(L2_KEEP); }

T_ONE_THREAD;
T_MAIN("l2_copies", T_CASE(a_copy_counts_if_the_store_was_closed),
       T_CASE(nothing_dead_comes_out_of_a_mixed_copy_at_drop),
       T_CASE(nothing_dead_comes_out_of_a_mixed_copy_at_keep),
       T_CASE(a_copy_killed_while_it_is_opened_serves_nothing_dead),
       T_CASE(a_copy_that_finds_no_memory_is_as_it_was))
